/* tests/unit/test_onnx_extract.c -- models of one node, and what a failed import leaves for them. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "tests/unit/onnx_fixture.h"

void suite_onnx_extract(void);

static void see(void *user, const char *domain, const char *type)
{
	MloStr *types = user;

	mlo_str_add(types, "%s%s%s%s", types->n ? " " : "", domain, *domain ? ":" : "", type);
}

/* Loads f's model, takes `node` out of it and loads that; answers its operators. f->g is then the cut graph, or
 * NULL where it does not import either. */
static const char *cut(OnnxFix *f, const char *node)
{
	size_t n, ncut;
	const void *part;
	void *whole = ox_bytes(f, &n);
	MloGraph *partial = NULL;
	MloOnnxOptions opt = {.partial = &partial};
	MloGraph *g = mlo_onnx_load_memory(whole, n, "whole.onnx", NULL, &opt, &f->diag);
	MloStr seen = {.arena = f->a};

	CU_ASSERT(g == NULL || partial == NULL);
	mlo_diag_free(&f->diag);
	CU_ASSERT_EQUAL_FATAL(mlo_onnx_extract(f->a, whole, n, node, g ? g : partial, &part, &ncut, &f->diag), MLO_OK);
	mlo_graph_free(g);
	mlo_graph_free(partial);
	CU_ASSERT_EQUAL(mlo_onnx_nodes(f->a, part, ncut, see, &seen, &f->diag), MLO_OK);
	f->g = mlo_onnx_load_memory(part, ncut, "part.onnx", NULL, NULL, &f->diag);
	return mlo_str_text(&seen);
}

/* A model with x f32[2,3] and e = exp(x). */
static void begin(OnnxFix *f)
{
	ox_model(f, 17);
	ox_in(f, "x", EL_f32, "2x3");
	ox_node(f, "Exp", "x", "e");
	ox_out(f, "y");
}

/* The node behind one whose type only the import tells, which then fails. */
static void types_of_a_failed_import_are_used(void)
{
	OnnxFix f;

	begin(&f);
	ox_int(&f, ox_node(&f, "Relu", "e", "r"), "nonsense", 1);
	ox_node(&f, "Neg", "r", "y");
	CU_ASSERT_STRING_EQUAL(cut(&f, "r"), "Relu");
	CU_ASSERT_PTR_NULL(f.g);
	CU_ASSERT_EQUAL(f.diag.nerrors, 1);
	CU_ASSERT(ox_says(&f, "attribute 'nonsense' is not known"));
	ox_free(&f);
}

/* An operator that is not known tells no type: whoever reads it takes it along. */
static void what_has_no_type_comes_along(void)
{
	OnnxFix f;

	begin(&f);
	ox_node(&f, "Strange", "e", "s");
	ox_node(&f, "Stranger", "s e", "y");
	CU_ASSERT_STRING_EQUAL(cut(&f, "s"), "Strange");
	mlo_diag_free(&f.diag);
	CU_ASSERT_STRING_EQUAL(cut(&f, "y"), "Strange Stranger");
	CU_ASSERT(ox_says(&f, "Stranger"));
	ox_free(&f);
}

/* A sequence is no tensor type that the cut model could state. */
static void objects_come_with_their_makers(void)
{
	OnnxFix f;

	begin(&f);
	ox_in(&f, "i", EL_i64, "");
	ox_node(&f, "SequenceConstruct", "e e", "s");
	ox_node(&f, "SequenceAt", "s i", "y");
	CU_ASSERT_STRING_EQUAL(cut(&f, "y"), "SequenceConstruct SequenceAt");
	CU_ASSERT_PTR_NOT_NULL(f.g);
	ox_free(&f);
}

static void nodes_of_functions_stand_for_the_call(void)
{
	Onnx__FunctionProto *fn;
	OnnxFix f;

	begin(&f);
	fn = ox_function(&f, "mine", "Twice", "a", "c");
	ox_inner(&f, fn, "Exp", "a", "b");
	ox_inner(&f, fn, "Strange", "b", "c");
	ox_node(&f, "Twice", "e", "y")->domain = mlo_strdup(f.a, "mine");
	CU_ASSERT_STRING_EQUAL(cut(&f, "c"), "mine:Twice");
	CU_ASSERT_PTR_NULL(f.g);
	ox_free(&f);
}

static void other_names_are_refused(void)
{
	const void *part;
	OnnxFix f;
	size_t n;
	void *p;

	begin(&f);
	ox_node(&f, "Relu", "e", "y");
	p = ox_bytes(&f, &n);
	CU_ASSERT_EQUAL(mlo_onnx_extract(f.a, p, n, "z", NULL, &part, &n, &f.diag), MLO_ERR_USAGE);
	CU_ASSERT(ox_says(&f, "no node 'z'"));
	CU_ASSERT_EQUAL(mlo_onnx_extract(f.a, p, 5, "y", NULL, &part, &n, &f.diag), MLO_ERR_FORMAT);
	ox_free(&f);
}

void suite_onnx_extract(void)
{
	CU_pSuite s = CU_add_suite("onnx_extract", NULL, NULL);

	CU_ADD_TEST(s, types_of_a_failed_import_are_used);
	CU_ADD_TEST(s, what_has_no_type_comes_along);
	CU_ADD_TEST(s, objects_come_with_their_makers);
	CU_ADD_TEST(s, nodes_of_functions_stand_for_the_call);
	CU_ADD_TEST(s, other_names_are_refused);
}
