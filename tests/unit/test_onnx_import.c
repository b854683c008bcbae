/* tests/unit/test_onnx_import.c -- models as a whole: names, order, sizes, functions, what is refused. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "tests/unit/onnx_fixture.h"

void suite_onnx_import(void);

static void names_are_the_users(void)
{
	OnnxFix f;

	ox_model(&f, 17);
	ox_in(&f, "data:0", EL_f32, "1x3");
	ox_node(&f, "Relu", "data:0", "mid/dle")->name = "first";
	ox_node(&f, "Exp", "mid/dle", "out put"); /* two results for Exp would be wrong: see below */
	f.graph.node[1]->n_output = 1;
	ox_out(&f, "out");
	CU_ASSERT_PTR_NOT_NULL_FATAL(ox_load(&f));
	CU_ASSERT_STRING_EQUAL(f.g->inputs[0]->name, "data:0");
	CU_ASSERT_STRING_EQUAL(f.g->output_names[0], "out");
	CU_ASSERT_STRING_EQUAL(mlo_node_name(f.g->first), "first");
	CU_ASSERT_STRING_EQUAL(f.g->first->out[0]->name, "mid/dle");
	CU_ASSERT_STRING_EQUAL(mlo_node_name(f.g->last), "out"); /* unnamed: after its result */
	CU_ASSERT_STRING_EQUAL(f.g->name, "test");
	ox_free(&f);
}

static void initialised_inputs_are_constants(void)
{
	OnnxFix f;

	ox_model(&f, 8);
	ox_in(&f, "x", EL_f32, "2");
	ox_in(&f, "w", EL_f32, "2");
	ox_const(&f, "w", EL_f32, "2", (float[]){3, 4}, 8);
	ox_node(&f, "Mul", "x w", "y");
	ox_out(&f, "y");
	CU_ASSERT_PTR_NOT_NULL_FATAL(ox_load(&f));
	CU_ASSERT_EQUAL(f.g->ninputs, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ox_operand(&f, 0, 1));
	CU_ASSERT_EQUAL(mlo_tensor_f64(ox_operand(&f, 0, 1), 1), 4);
	ox_free(&f);
}

static void nodes_are_sorted(void)
{
	OnnxFix f;

	ox_model(&f, 17);
	ox_in(&f, "x", EL_f32, "2");
	ox_node(&f, "Sqrt", "b", "y");
	ox_node(&f, "Relu", "x", "a");
	ox_node(&f, "Exp", "a", "b");
	ox_out(&f, "y");
	CU_ASSERT_PTR_NOT_NULL_FATAL(ox_load(&f));
	CU_ASSERT_STRING_EQUAL(ox_ops(&f), "relu exp sqrt");
	ox_free(&f);
}

static void cycles_are_named(void)
{
	OnnxFix f;

	ox_model(&f, 17);
	ox_in(&f, "x", EL_f32, "2");
	ox_node(&f, "Relu", "x", "start");
	ox_node(&f, "Add", "start c", "a")->name = "one";
	ox_node(&f, "Exp", "a", "b")->name = "two";
	ox_node(&f, "Exp", "b", "c")->name = "three";
	ox_out(&f, "a");
	CU_ASSERT_PTR_NULL(ox_load(&f));
	CU_ASSERT(ox_says(&f, "cycle: 'two', 'three', 'one'") || ox_says(&f, "cycle"));
	CU_ASSERT(ox_says(&f, "'one'") && ox_says(&f, "'two'") && ox_says(&f, "'three'"));
	CU_ASSERT(!strstr(f.diag.lines[0].text, "start"));
	ox_free(&f);
}

static void all_unknown_operators_are_reported(void)
{
	OnnxFix f;

	ox_model(&f, 13);
	ox_in(&f, "x", EL_f32, "2");
	ox_node(&f, "Sigmoidd", "x", "a")->name = "n1";
	ox_node(&f, "my.Odd", "a", "b")->name = "n2";
	ox_node(&f, "my.Odd", "b", "c")->name = "n3";
	ox_node(&f, "HardSwish", "c", "d")->name = "n4";
	ox_node(&f, "other.Thing", "d", "e")->name = "n5";
	ox_node(&f, "Wonder", "e", "f")->name = "n6";
	ox_out(&f, "f");
	CU_ASSERT_PTR_NULL(ox_load(&f));
	CU_ASSERT_EQUAL(f.diag.nerrors, 5);
	CU_ASSERT_EQUAL(f.diag.lines[0].status, MLO_ERR_UNSUPPORTED);
	CU_ASSERT(ox_says(&f, "node 'n1': operator 'Sigmoidd' of domain 'ai.onnx', opset 13"));
	CU_ASSERT(ox_says(&f, "nearest operator known is 'Sigmoid'"));
	CU_ASSERT(ox_says(&f, "node 'n2' and 1 more: operator 'Odd' of domain 'my', opset 1"));
	CU_ASSERT(ox_says(&f, "from opset 14 on"));
	CU_ASSERT(ox_says(&f, "does not say which opset"));
	CU_ASSERT(ox_says(&f, "no such operator is known"));
	ox_free(&f);
}

/* One mistake each, with the words that must explain it. */
static void undefined(OnnxFix *f)
{
	ox_node(f, "Relu", "nobody", "y");
}
static void twice(OnnxFix *f)
{
	ox_node(f, "Relu", "x", "y");
	ox_node(f, "Exp", "x", "y");
}
static void again(OnnxFix *f)
{
	ox_in(f, "x", EL_f32, "1");
	ox_node(f, "Relu", "x", "y");
}
static void no_result(OnnxFix *f)
{
	ox_node(f, "Relu", "x", "z");
}
static void too_many(OnnxFix *f)
{
	ox_node(f, "Relu", "x x", "y");
}
static void too_few(OnnxFix *f)
{
	ox_node(f, "Add", "x", "y");
}
static void extra(OnnxFix *f)
{
	ox_node(f, "Relu", "x", "y z");
}
static void attribute(OnnxFix *f)
{
	ox_int(f, ox_node(f, "Relu", "x", "y"), "colour", 1);
}
static void kind(OnnxFix *f)
{
	ox_float(f, ox_node(f, "Softmax", "x", "y"), "axis", 1);
}
static void negative(OnnxFix *f)
{
	ox_in(f, "z", EL_f32, "-7");
	ox_node(f, "Relu", "x", "y");
}
static void ranks(OnnxFix *f)
{
	ox_in(f, "z", EL_f32, "1x1x1x1x1x1x1x1x1");
	ox_node(f, "Relu", "x", "y");
}
static void claims(OnnxFix *f)
{
	ox_in(f, "z", EL_f32, "1048576x1048576x1048576");
	ox_node(f, "Relu", "x", "y");
}
static void weight(OnnxFix *f)
{
	ox_const(f, "w", EL_f32, "8", "1234", 4);
	ox_node(f, "Relu", "w", "y");
}
static void recursion(OnnxFix *f)
{
	ox_inner(f, ox_function(f, "my", "A", "a", "b"), "my.B", "a", "b");
	ox_inner(f, ox_function(f, "my", "B", "a", "b"), "my.A", "a", "b");
	ox_node(f, "my.A", "x", "y");
}

static void mistakes_are_explained(void)
{
	static const struct {
		void (*build)(OnnxFix *);
		const char *says;
	} rows[] = {
		{undefined, "operand 'nobody' is no input"},
		{twice, "'y' is defined twice"},
		{again, "'x' is defined twice"},
		{no_result, "output 'y' is no input"},
		{too_many, "has 2 operands, at most 1 are known"},
		{too_few, "operand 1 is missing"},
		{extra, "result 1 ('z') is not supported"},
		{attribute, "attribute 'colour' is not known"},
		{kind, "attribute 'axis' is of kind FLOAT, INT is needed"},
		{negative, "input 'z' has a dimension of -7"},
		{ranks, "input 'z' has 9 dimensions"},
		{claims, "input 'z' is too large"},
		{weight, "tensor 'w': raw data has 4 bytes"},
		{recursion, "calls itself"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		OnnxFix f;

		ox_model(&f, 15);
		ox_in(&f, "x", EL_f32, "1x1");
		rows[i].build(&f);
		ox_out(&f, "y");
		CU_ASSERT_PTR_NULL(ox_load(&f));
		CU_ASSERT(ox_says(&f, rows[i].says));
		ox_free(&f);
	}
}

static void opsets_out_of_reach(void)
{
	OnnxFix f;

	ox_model(&f, 99);
	ox_in(&f, "x", EL_f32, "1");
	ox_node(&f, "Relu", "x", "y");
	ox_out(&f, "y");
	CU_ASSERT_PTR_NULL(ox_load(&f));
	CU_ASSERT(ox_says(&f, "the model is of opset 99"));
	ox_free(&f);
}

/* -- sizes ------------------------------------------------------------------------------------------ */

static void sized(OnnxFix *f, const char *const *bind, size_t n)
{
	MloBindDim *b;

	ox_model(f, 17);
	b = MLO_NEWN(f->a, MloBindDim, n + 1);
	ox_in(f, "x", EL_f32, "batchx3x?");
	ox_in(f, "m", EL_f32, "batchx1x1");
	ox_node(f, "Add", "x m", "y");
	ox_out(f, "y");
	for (size_t i = 0; i < n; i++)
		CU_ASSERT_EQUAL(mlo_bind_parse(f->a, bind[i], &b[i], &f->diag), MLO_OK);
	f->opt = (MloOnnxOptions){.bind = b, .nbind = n};
	ox_load(f);
}

static void sizes_can_be_bound(void)
{
	static const struct {
		const char *bind[2];
		size_t n;
		const char *type, *says;
	} rows[] = {
		{{0}, 0, "f32[batch,3,x#1]", NULL},
		{{"batch=4"}, 1, "f32[4,3,x#1]", NULL},
		{{"x=2x3x5"}, 1, "f32[2,3,5]", NULL},
		{{"x=?x3x5", "batch=7"}, 2, "f32[7,3,5]", NULL},
		{{"m=9x?x1", "x=?x?x8"}, 2, "f32[9,3,8]", NULL},
		{{"x=2x4x5"}, 1, NULL, "dimension 1 is 3 in the model, 4 in the given shape"},
		{{"x=2x3"}, 1, NULL, "has 3 dimensions, the given shape has 2"},
		{{"batch=4", "x=5x3x1"}, 2, NULL, "bound to both"},
		{{"chunk=4"}, 1, NULL, "no input or dimension is called 'chunk'"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		OnnxFix f;

		sized(&f, rows[i].bind, rows[i].n);
		CU_ASSERT_EQUAL(f.g != NULL, rows[i].type != NULL);
		if (f.g && rows[i].type && strcmp(ox_type(&f, 0), rows[i].type) != 0)
			CU_FAIL(ox_type(&f, 0));
		CU_ASSERT(!rows[i].says || ox_says(&f, rows[i].says));
		ox_free(&f);
	}
}

static void bindings_are_parsed(void)
{
	static const char *const bad[] = {
		"x", "=3", "x=3x", "x=axb", "x=-1", "x=3y4", "x=1x1x1x1x1x1x1x1x1", "x=99999999999999999999"};
	MloArena *a = mlo_arena_new();
	MloBindDim b;

	CU_ASSERT_EQUAL(mlo_bind_parse(a, "in=put=1x3x224", &b, NULL), MLO_OK);
	CU_ASSERT(!strcmp(b.name, "in=put") && b.rank == 3 && b.dim[0] == 1 && b.dim[2] == 224);
	CU_ASSERT_EQUAL(mlo_bind_parse(a, "s=", &b, NULL), MLO_OK);
	CU_ASSERT_EQUAL(b.rank, 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_EQUAL(mlo_bind_parse(a, bad[i], &b, NULL), MLO_ERR_USAGE);
	mlo_arena_free(a);
}

/* -- functions ---------------------------------------------------------------------------------------- */

static void functions_are_inlined(void)
{
	OnnxFix f;
	Onnx__FunctionProto *fn;
	Onnx__NodeProto *inner;
	Onnx__AttributeProto *ref, *def;

	ox_model(&f, 17);
	fn = ox_function(&f, "my", "Leaky", "a b", "c");
	inner = ox_inner(&f, fn, "LeakyRelu", "a", "t");
	inner->name = "act";
	ref = ox_attr(&f, inner, "alpha", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
	ref->ref_attr_name = "slope";
	ox_inner(&f, fn, "Clip", "t b", "c");
	def = MLO_NEW(f.a, Onnx__AttributeProto);
	onnx__attribute_proto__init(def);
	*def = (Onnx__AttributeProto){.base = def->base,
				      .name = "slope",
				      .has_type = true,
				      .type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT,
				      .has_f = true,
				      .f = 0.5f};
	fn->attribute_proto = &def;
	fn->n_attribute_proto = 1;
	ox_in(&f, "x", EL_f32, "2");
	ox_node(&f, "my.Leaky", "x", "y")->name = "call1";
	ox_float(&f, ox_node(&f, "my.Leaky", "y", "z"), "slope", 0.25f);
	ox_out(&f, "z");
	CU_ASSERT_PTR_NOT_NULL_FATAL(ox_load(&f));
	CU_ASSERT_STRING_EQUAL(ox_ops(&f), "leaky_relu clip leaky_relu clip");
	CU_ASSERT_EQUAL(mlo_attr_f(ox_at(&f, 0), ATTR_leaky_relu_alpha), 0.5);
	CU_ASSERT_EQUAL(mlo_attr_f(ox_at(&f, 2), ATTR_leaky_relu_alpha), 0.25);
	CU_ASSERT_EQUAL(ox_at(&f, 1)->nin, 1); /* b was left out */
	CU_ASSERT_STRING_EQUAL(mlo_node_name(ox_at(&f, 0)), "call1/act");
	CU_ASSERT_STRING_EQUAL(ox_at(&f, 0)->out[0]->name, "call1/t");
	CU_ASSERT_STRING_EQUAL(f.g->output_names[0], "z");
	ox_free(&f);
}

/* 2^30 nodes in a few hundred bytes. */
static void function_bombs_are_limited(void)
{
	OnnxFix f;
	char name[16], next[20];

	ox_model(&f, 17);
	for (int i = 0; i < 30; i++) {
		Onnx__FunctionProto *fn;

		snprintf(name, sizeof name, "F%d", i);
		snprintf(next, sizeof next, "my.F%d", i + 1);
		fn = ox_function(&f, "my", name, "a", "c");
		ox_inner(&f, fn, i < 29 ? next : "Relu", "a", "b");
		ox_inner(&f, fn, i < 29 ? next : "Relu", "b", "c");
	}
	ox_in(&f, "x", EL_f32, "2");
	ox_node(&f, "my.F0", "x", "y");
	ox_out(&f, "y");
	CU_ASSERT_PTR_NULL(ox_load(&f));
	CU_ASSERT(ox_says(&f, "more than"));
	ox_free(&f);
}

static void model_data_is_kept(void)
{
	OnnxFix f;
	Onnx__StringStringEntryProto e = ONNX__STRING_STRING_ENTRY_PROTO__INIT, *list = &e;
	int found = 0;

	ox_model(&f, 17);
	f.model.producer_name = "tester";
	e.key = "licence";
	e.value = "free";
	f.model.metadata_props = &list;
	f.model.n_metadata_props = 1;
	ox_in(&f, "x", EL_f32, "2");
	ox_node(&f, "Relu", "x", "y");
	ox_out(&f, "y");
	CU_ASSERT_PTR_NOT_NULL_FATAL(ox_load(&f));
	for (const MloMeta *m = f.g->meta; m; m = m->next)
		found += (!strcmp(m->key, "onnx.producer_name") && !strcmp(m->value, "tester")) ||
			 (!strcmp(m->key, "onnx.opset.ai.onnx") && !strcmp(m->value, "17")) ||
			 (!strcmp(m->key, "licence") && !strcmp(m->value, "free"));
	CU_ASSERT_EQUAL(found, 3);
	ox_free(&f);
}

static void files_that_are_no_models(void)
{
	static const char *const text[] = {"", "hello, world", "\x08\x08",
					   "\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"};

	for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
		MloDiag d = {0};

		CU_ASSERT_PTR_NULL(mlo_onnx_load_memory(text[i], strlen(text[i]), "t", NULL, NULL, &d));
		CU_ASSERT(d.nerrors == 1 && d.lines[0].status == MLO_ERR_FORMAT &&
			  !strcmp(d.lines[0].where, "t"));
		mlo_diag_free(&d);
	}
	CU_ASSERT_PTR_NULL(mlo_onnx_load("/nonexistent/model.onnx", NULL, NULL));
	CU_ASSERT_PTR_NULL(mlo_onnx_load("/tmp", NULL, NULL));
}

void suite_onnx_import(void)
{
	CU_pSuite s = CU_add_suite("onnx_import", NULL, NULL);

	CU_add_test(s, "names are the user's", names_are_the_users);
	CU_add_test(s, "initialised inputs are constants", initialised_inputs_are_constants);
	CU_add_test(s, "nodes are sorted", nodes_are_sorted);
	CU_add_test(s, "cycles are named", cycles_are_named);
	CU_add_test(s, "all unknown operators are reported", all_unknown_operators_are_reported);
	CU_add_test(s, "mistakes are explained", mistakes_are_explained);
	CU_add_test(s, "opsets out of reach", opsets_out_of_reach);
	CU_add_test(s, "sizes can be bound", sizes_can_be_bound);
	CU_add_test(s, "bindings are parsed", bindings_are_parsed);
	CU_add_test(s, "functions are inlined", functions_are_inlined);
	CU_add_test(s, "function bombs are limited", function_bombs_are_limited);
	CU_add_test(s, "model data is kept", model_data_is_kept);
	CU_add_test(s, "files that are no models", files_that_are_no_models);
}
