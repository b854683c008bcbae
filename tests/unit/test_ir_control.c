/* tests/unit/test_ir_control.c -- bodies, loops, objects and strings: text form, inference, execution. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "frontend/onnx_regex.h"
#include "ir/exec.h"
#include "passes/pass.h"
#include "tests/unit/ir_fixture.h"

/* x doubles its length in each of n iterations; the lengths before are scanned. */
static const char growing[] =
	"graph @g(%x: f32[n], %trip: i64[]) -> (%y, %lengths) {\n"
	"  %y, %lengths = loop(%trip, _, %x) {carried=1, body=graph (%i: i64[], %c: bool[], %v: f32[k]) -> (%c, %w, %len) {\n"
	"    %w = concat(%v, %v)\n"
	"    %len = shape(%v)\n"
	"  }}\n"
	"}\n";

static MloTensor *floats(MloArena *a, int64_t n)
{
	MloTensor *t = mlo_tensor_new(a, EL_f32, 1, &n);

	for (int64_t i = 0; i < n; i++)
		mlo_tensor_set_f64(t, i, (double)i);
	return t;
}

static MloTensor *number(MloArena *a, int64_t v)
{
	MloTensor *t = mlo_tensor_new(a, EL_i64, 0, NULL);

	mlo_tensor_set_i64(t, 0, v);
	return t;
}

static void bodies_print_and_parse(void)
{
	MloGraph *g = ir_graph(growing), *again, *copy;
	const char *text;

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	text = ir_text(g);
	again = ir_graph(text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(again);
	CU_ASSERT_STRING_EQUAL(ir_text(again), text);
	copy = mlo_graph_clone(g);
	CU_ASSERT_STRING_EQUAL(ir_text(copy), text);
	CU_ASSERT_EQUAL(mlo_verify(copy, NULL), MLO_OK);
	mlo_graph_free(g);
	mlo_graph_free(again);
	mlo_graph_free(copy);
}

static void loops_may_change_shapes(void)
{
	MloGraph *g = ir_graph(growing);
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_FALSE(mlo_type_static(&g->outputs[0]->type));
	CU_ASSERT_EQUAL(g->outputs[1]->type.rank, 2);
	for (int64_t trip = 0; trip < 5; trip++) {
		const MloTensor *in[] = {floats(a, 3), number(a, trip)};
		MloTensor *out[2];

		CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(a, g, in, out, NULL, NULL, &d), MLO_OK);
		CU_ASSERT_EQUAL(out[0]->dim[0], 3 << trip);
		CU_ASSERT_EQUAL(out[1]->dim[0], trip);
		for (int64_t i = 0; i < out[0]->dim[0]; i++)
			CU_ASSERT_EQUAL(mlo_tensor_f64(out[0], i), (double)(i % 3));
		for (int64_t i = 0; i < trip; i++)
			CU_ASSERT_EQUAL(mlo_tensor_i64(out[1], i), 3 << i);
	}
	mlo_diag_free(&d);
	mlo_arena_free(a);
	mlo_graph_free(g);
}

static void sizes_that_disagree_are_refused(void)
{
	MloGraph *g = ir_graph("graph (%x: f32[n], %y: f32[m]) -> (%z) { %z = add(%x, %y) }");
	MloArena *a = mlo_arena_new();
	const MloTensor *in[] = {floats(a, 3), floats(a, 4)};
	MloTensor *out[1];
	MloDiag d = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL(mlo_exec_graph(a, g, in, out, NULL, NULL, &d), MLO_ERR_MODEL);
	CU_ASSERT(ir_said(&d, "3 against 4"));
	mlo_diag_free(&d);
	mlo_arena_free(a);
	mlo_graph_free(g);
}

static void constant_conditions_choose_a_branch(void)
{
	MloGraph *g = ir_graph("graph (%x: f32[4]) -> (%y) {\n"
	                       "  const %c: bool[] = [0]\n"
	                       "  %y = if(%c, %x) {then_branch=graph (%a: f32[4]) -> (%r) { %r = exp(%a) },\n"
	                       "                   else_branch=graph (%a: f32[4]) -> (%r) { %b = neg(%a) %r = relu(%b) }}\n"
	                       "}");
	MloDiag d = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL_FATAL(mlo_passes_run(g, "infer,fold,dce", NULL, NULL, &d), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_verify(g, &d), MLO_OK);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g->first);
	CU_ASSERT_EQUAL(g->first->op, OP_neg);
	CU_ASSERT_EQUAL(g->last->op, OP_relu);
	CU_ASSERT_STRING_EQUAL(g->outputs[0]->name, "y");
	mlo_diag_free(&d);
	mlo_graph_free(g);
}

static void sequences_hold_tensors_of_any_size(void)
{
	MloGraph *g = ir_graph("graph (%x: f32[7]) -> (%y, %n, %s) {\n"
	                       "  const %p: i64[] = [-1]\n"
	                       "  const %three: i64[] = [3]\n"
	                       "  %s = split_to_sequence(%x, %three)\n"
	                       "  %n = sequence_length(%s)\n"
	                       "  %last = sequence_at(%s, %p)\n"
	                       "  %t = sequence_insert(%s, %last, %p)\n"
	                       "  %y = concat_from_sequence(%t)\n"
	                       "}");
	MloArena *a = mlo_arena_new();
	const MloTensor *in[] = {floats(a, 7)};
	static const double want[] = {0, 1, 2, 3, 4, 5, 6, 6};
	MloTensor *out[3];
	MloDiag d = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(a, g, in, out, NULL, NULL, &d), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(out[0]->dim[0], 8);
	for (int i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(mlo_tensor_f64(out[0], i), want[i]);
	CU_ASSERT_EQUAL(mlo_tensor_i64(out[1], 0), 3);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out[2]->object);
	CU_ASSERT_EQUAL(out[2]->object->n, 3);
	mlo_diag_free(&d);
	mlo_arena_free(a);
	mlo_graph_free(g);
}

static void objects_are_no_tensors(void)
{
	CU_ASSERT(ir_refused("graph (%x: seq(f32[*])) -> (%y) { %y = relu(%x) }", "relu takes tensors"));
	CU_ASSERT(ir_refused("graph (%x: map(f32,f32)) -> (%x) { }", "keys of a map are i64 or str"));
	CU_ASSERT(ir_refused("graph (%x: f32[2]) -> (%y) { %y = loop(_, _, %x) {carried=1} }", "body is missing"));
}

static void a_copy_of_an_optional_is_one(void)
{
	MloGraph *g = ir_graph("graph (%x: f32[2]) -> (%y, %p) { %o = optional(%x)\n %p = same_object(%o)\n"
	                       " %y = optional_get(%p) }");
	MloArena *a = mlo_arena_new();
	MloTensor *x = mlo_tensor_new(a, EL_f32, 1, (const int64_t[]){2}), *out[2];
	const MloTensor *in[] = {x};

	mlo_tensor_set_f64(x, 1, 3);
	CU_ASSERT_EQUAL(g->outputs[1]->type.kind, MLO_OPT);
	CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(a, g, in, out, NULL, NULL, NULL), MLO_OK);
	CU_ASSERT_EQUAL(mlo_tensor_f64(out[0], 1), 3);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out[1]->object);
	CU_ASSERT(out[1]->object->kind == MLO_OPT && out[1]->object->n == 1);
	mlo_arena_free(a);
	mlo_graph_free(g);
}

/* -- strings -------------------------------------------------------------------------------- */

static void text_is(MloElem e, double v, const char *want)
{
	MloGraph *g = ir_graph(e == EL_f32 ? "graph (%x: f32[]) -> (%y) { %y = to_string(%x) }"
	                                   : "graph (%x: f64[]) -> (%y) { %y = to_string(%x) }");
	MloArena *a = mlo_arena_new();
	MloTensor *x = mlo_tensor_new(a, e, 0, NULL), *out[1];
	const MloTensor *in[] = {x};
	const MloText *s;

	mlo_tensor_set_f64(x, 0, v);
	CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(a, g, in, out, NULL, NULL, NULL), MLO_OK);
	s = out[0]->data;
	CU_ASSERT_EQUAL_FATAL(s->n, (int64_t)strlen(want));
	CU_ASSERT(!memcmp(s->s, want, strlen(want)));
	mlo_arena_free(a);
	mlo_graph_free(g);
}

static void floats_are_written_short(void)
{
	text_is(EL_f32, 0.1, "0.1");
	text_is(EL_f32, 16777216, "16777216.0");
	text_is(EL_f32, 1e-5, "1e-05");
	text_is(EL_f32, -0x1p-149, "-1e-45");
	text_is(EL_f32, 3.4028234663852886e38, "3.4028235e+38");
	text_is(EL_f64, 0.1, "0.1");
	text_is(EL_f64, 1.0 / 3, "0.3333333333333333");
	text_is(EL_f64, 5e-324, "5e-324");
	text_is(EL_f64, 1.7976931348623157e308, "1.7976931348623157e+308");
	text_is(EL_f64, -__builtin_inf(), "-INF");
}

static double number_of(const char *text)
{
	MloGraph *g = ir_graph("graph (%x: str[]) -> (%y) { %y = from_string(%x) {to=11} }");
	MloArena *a = mlo_arena_new();
	MloTensor *x = mlo_tensor_new(a, EL_str, 0, NULL), *out[1];
	const MloTensor *in[] = {x};
	double v = -1;

	*(MloText *)(uintptr_t)x->data = (MloText){text, (int64_t)strlen(text)};
	if (mlo_exec_graph(a, g, in, out, NULL, NULL, NULL) == MLO_OK)
		v = mlo_tensor_f64(out[0], 0);
	mlo_arena_free(a);
	mlo_graph_free(g);
	return v;
}

static void numbers_are_read_exactly(void)
{
	CU_ASSERT_EQUAL(number_of("0.1"), 0.1);
	CU_ASSERT_EQUAL(number_of("-2.5e3"), -2500);
	CU_ASSERT_EQUAL(number_of("179769313486231570814527423731704356798070e267"), 1.7976931348623157e308);
	CU_ASSERT_EQUAL(number_of("4.9406564584124654e-324"), 5e-324);
	CU_ASSERT_EQUAL(number_of("9007199254740993"), 9007199254740992.0);
	CU_ASSERT_EQUAL(number_of("9007199254740993.00000000000000000001"), 9007199254740994.0);
	CU_ASSERT(__builtin_isinf(number_of("inf")));
	CU_ASSERT(__builtin_isnan(number_of("two")));
}

static bool accepts(const char *pattern, const char *text)
{
	MloArena *a = mlo_arena_new();
	const char *why;
	const MloTensor *t = onnx_regex_table(a, pattern, strlen(pattern), &why);
	const int32_t *row = t ? t->data : NULL;
	int64_t state = t ? 0 : -1;
	bool yes;

	for (; *text && state >= 0; text++)
		state = row[state * 257 + (unsigned char)*text];
	yes = state >= 0 && row[state * 257 + 256];
	mlo_arena_free(a);
	return yes;
}

static void regular_expressions_match_whole_strings(void)
{
	CU_ASSERT(accepts("a|bc", "bc") && !accepts("a|bc", "abc"));
	CU_ASSERT(accepts("(ab)*c?", "ababc") && accepts("(ab)*c?", "") && !accepts("(ab)*c?", "aba"));
	CU_ASSERT(accepts("[a-c]{2,3}", "abc") && !accepts("[a-c]{2,3}", "a") && !accepts("[a-c]{2,3}", "aabc"));
	CU_ASSERT(accepts("[^a]", "\xc3\xa4") && !accepts("[^a]", "a") && accepts(".", "\xe2\x82\xac"));
	CU_ASSERT(accepts("^\\w[\\w.-]+@[[:alnum:]-]+\\.com$", "a.b@c-d.com") && !accepts("\\d+", "12a"));
	CU_ASSERT(accepts("a+?b{3}", "aabbb") && !accepts("a+?b{3}", "bbb"));
	CU_ASSERT(accepts("(^|x)a($|y)", "a") && accepts("(^|x)a($|y)", "xay") && !accepts("(^|x)a($|y)", "aya"));
	CU_ASSERT(!accepts("(a", "a") && !accepts("a**", "a") && !accepts("\\1", "1"));
}

void suite_ir_control(void);

void suite_ir_control(void)
{
	CU_pSuite s = CU_add_suite("ir_control", NULL, NULL);

	CU_add_test(s, "bodies print, parse and copy", bodies_print_and_parse);
	CU_add_test(s, "a loop's carried value may change its shape", loops_may_change_shapes);
	CU_add_test(s, "sizes that disagree in a run are refused", sizes_that_disagree_are_refused);
	CU_add_test(s, "a constant condition chooses a branch", constant_conditions_choose_a_branch);
	CU_add_test(s, "sequences hold tensors of any size", sequences_hold_tensors_of_any_size);
	CU_add_test(s, "objects are no tensors", objects_are_no_tensors);
	CU_add_test(s, "a copy of an optional is one", a_copy_of_an_optional_is_one);
	CU_add_test(s, "floats are written with the fewest digits", floats_are_written_short);
	CU_add_test(s, "numbers are read exactly", numbers_are_read_exactly);
	CU_add_test(s, "regular expressions match whole strings", regular_expressions_match_whole_strings);
}
