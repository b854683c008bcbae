/* tests/unit/test_quant_lift.c -- weights out of QDQ form and back, ranges of activations, rounding with scales. */
#include <CUnit/CUnit.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "ir/exec.h"
#include "passes/pass.h"
#include "quant/lift.h"
#include "tests/unit/ir_fixture.h"
#include "tests/unit/quant_fixture.h"
#include "tests/unit/random_graph.h"

void suite_quant_lift(void);

/* A convolution without a bias, one with a bias behind pooling, a matrix product with one. */
static const char *const net =
	"graph @g(%x: f32[2,3,6,6]) -> (%y) {\n"
	"  const %w: f32[2,3,1,1] = [0.5, -0.25, 0.75, 0.125, 0.875, -0.5]\n"
	"  const %v: f32[1,2,1,1] = [0.5, -0.625]\n"
	"  const %b: f32[1] = [0.25]\n"
	"  const %m: f32[9,2] = [0.5, -0.25, 1, 0.3, 0.7, -0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, -1, -0.5]\n"
	"  const %c: f32[2] = [0.5, -0.25]\n"
	"  const %s: i64[2] = [2, 9]\n"
	"  %a = conv(%x, %w) : f32[2,2,6,6]\n"
	"  %p = max_pool(%a) {kernel_shape=[2, 2], strides=[2, 2]} : f32[2,2,3,3]\n"
	"  %d = conv(%p, %v, %b) : f32[2,1,3,3]\n"
	"  %e = reshape(%d, %s) : f32[2,9]\n"
	"  %f = matmul(%e, %m) : f32[2,2]\n"
	"  %y = add(%f, %c) : f32[2,2]\n"
	"}\n";

/* Within the rounding of sums, since a gemm of the one may be a product and an addition of the other. */
static bool same_results(const MloGraph *a, const MloGraph *b)
{
	MloArena *m = mlo_arena_new();
	MloDiag d = {0};
	const MloTensor *x = random_tensor(m, 99, &a->inputs[0]->type), *of[2][2];
	MloExec *exec[2] = {mlo_exec_new_plain(a, &d), mlo_exec_new_plain(b, &d)};
	bool same = true;

	for (int i = 0; i < 2; i++) {
		CU_ASSERT_PTR_NOT_NULL_FATAL(exec[i]);
		CU_ASSERT_EQUAL_FATAL(mlo_exec_run(exec[i], &x, of[i], &d), MLO_OK);
	}
	for (size_t i = 0; i < (size_t)mlo_tensor_elems(of[0][0]); i++) {
		const float v = ((const float *)of[0][0]->data)[i], w = ((const float *)of[1][0]->data)[i];

		same = same && fabsf(v - w) <= 4 * FLT_EPSILON * fmaxf(1, fabsf(v));
	}
	mlo_exec_free(exec[0]);
	mlo_exec_free(exec[1]);
	mlo_arena_free(m);
	return same;
}

static void what_is_lifted_is_lowered(void)
{
	MloPtqOptions opt = {.range = RANGE_MINMAX};
	MloLifted *list;
	MloGraph *g, *back;
	QuantFix f;
	MloPtq *q;
	size_t n;

	quant_begin(&f, net, &opt);
	quant_quantise(&f, 16);
	g = mlo_graph_clone(f.out);
	CU_ASSERT_EQUAL(mlo_passes_run(g, "float", NULL, NULL, &f.d), MLO_OK);
	n = mlo_lift(g->arena, g, &list, &f.d);
	CU_ASSERT_EQUAL_FATAL(n, 3);
	for (size_t i = 0; i < n; i++) {
		CU_ASSERT_PTR_NULL(list[i].off);
		CU_ASSERT(list[i].stored.bias);
		CU_ASSERT_PTR_NOT_NULL(list[i].n->in[1]->data);
	}
	CU_ASSERT_EQUAL_FATAL(list[0].n->nin, 3); /* a bias of zeros where there was none */
	CU_ASSERT_PTR_NOT_NULL(list[0].n->in[2]->data);
	CU_ASSERT_EQUAL(mlo_verify(g, &f.d), MLO_OK);
	CU_ASSERT(same_results(f.out, g));
	q = mlo_ptq_new(g->arena, g, &opt);
	mlo_lift_mark(q, list, n);
	back = mlo_graph_clone(g);
	CU_ASSERT_EQUAL(mlo_ptq_lower(q, back, &f.d), MLO_OK);
	CU_ASSERT_EQUAL(mlo_verify(back, &f.d), MLO_OK);
	CU_ASSERT(same_results(f.out, back));
	CU_ASSERT_EQUAL(quant_count(back, OP_dequantize_linear), quant_count(f.out, OP_dequantize_linear) + 1); /* that bias */
	CU_ASSERT_EQUAL(quant_count(back, OP_gemm), 1);
	mlo_graph_free(back);
	mlo_graph_free(g);
	quant_end(&f);
}

static const char *why_not(const char *weights, const char *node)
{
	static char text[2000];
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloLifted *list;
	MloGraph *g;
	const char *why;

	snprintf(text, sizeof text,
		 "graph @g(%%x: u8[1,2]) -> (%%y) {\n"
		 "  const %%s: f32[] = [0.5]\n  const %%z: u8[] = [3]\n%s"
		 "  %%v = dequantize_linear(%%x, %%s, %%z) : f32[1,2]\n%s"
		 "  %%y = matmul(%%v, %%u) : f32[1,2]\n}\n",
		 weights, node);
	g = ir_graph(text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL_FATAL(mlo_lift(a, g, &list, &d), 1);
	why = list[0].off;
	mlo_graph_free(g);
	mlo_arena_free(a);
	return why; /* a literal */
}

static void other_forms_stay(void)
{
	CU_ASSERT_PTR_NULL(why_not("  const %w: i8[2,2] = [1, 2, 3, 4]\n  const %t: f32[2] = [1, 2]\n",
				   "  %u = dequantize_linear(%w, %t) : f32[2,2]\n"));
	CU_ASSERT_STRING_EQUAL(why_not("  const %w: i8[2,2] = [1, 2, 3, 4]\n  const %t: f32[2] = [1, 2]\n",
				       "  %u = dequantize_linear(%w, %t) {axis=0} : f32[2,2]\n"),
			       "scales of its weights are not those of outputs");
	CU_ASSERT_STRING_EQUAL(why_not("  const %w: i16[2,2] = [1, 2, 3, 4]\n", "  %u = dequantize_linear(%w, %s) : f32[2,2]\n"),
			       "its weights do not have 8 bits");
	CU_ASSERT_STRING_EQUAL(why_not("  const %u: f32[2,2] = [1, 2, 3, 4]\n", ""), "its weights are not quantised");
}

static void pairs_share_numbers_where_values_move(void)
{
	MloPtqOptions opt = {.range = RANGE_MINMAX};
	MloLiftPair *p;
	QuantFix f;
	double was;
	size_t n;

	quant_begin(&f, net, &opt);
	quant_quantise(&f, 16);
	n = mlo_lift_pairs(f.out->arena, mlo_ptq_new(f.out->arena, f.out, &opt), &p);
	CU_ASSERT_EQUAL_FATAL(n, 5); /* x, a, p, d, e */
	CU_ASSERT_EQUAL(p[0].group, 0);
	CU_ASSERT_EQUAL(p[1].group, 1);
	CU_ASSERT_EQUAL(p[2].group, 1); /* behind pooling */
	CU_ASSERT_EQUAL(p[4].group, 3); /* behind reshaping */
	was = mlo_tensor_f64(p[0].quantize->in[1]->data, 0);
	CU_ASSERT_DOUBLE_EQUAL((p[0].range.hi - p[0].range.lo) / 255, was, 1e-6);
	mlo_lift_set(f.out, &p[0], (MloRange){-2, 3.1});
	CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_f64(p[0].quantize->in[1]->data, 0), 0.02, 1e-6);
	CU_ASSERT_EQUAL(mlo_tensor_i64(p[0].quantize->in[2]->data, 0), 100);
	CU_ASSERT_PTR_EQUAL(p[0].quantize->out[0]->uses->node->in[1], p[0].quantize->in[1]); /* dequantised by the same */
	CU_ASSERT_EQUAL(mlo_verify(f.out, &f.d), MLO_OK);
	quant_end(&f);
}

static void numbers_cover_a_range(void)
{
	const MloRange r = {-1, 3};
	double scale;
	int32_t zero;

	mlo_range_numbers(r, EL_u8, false, &scale, &zero);
	CU_ASSERT_DOUBLE_EQUAL(scale, 4.0 / 255, 1e-8);
	CU_ASSERT_EQUAL(zero, 64);
	mlo_range_numbers(r, EL_i8, false, &scale, &zero);
	CU_ASSERT_EQUAL(zero, -64);
	mlo_range_numbers(r, EL_i8, true, &scale, &zero);
	CU_ASSERT_DOUBLE_EQUAL(scale, 3.0 / 127, 1e-8);
	CU_ASSERT_EQUAL(zero, 0);
	mlo_range_numbers(r, EL_u16, false, &scale, &zero);
	CU_ASSERT_EQUAL(zero, 16384);
	mlo_range_numbers((MloRange){0, 0}, EL_u8, false, &scale, &zero);
	CU_ASSERT_EQUAL(scale, 1);
}

/* -- rounding ------------------------------------------------------------------------------------------- */

enum { K = 24, ROWS = 6 };

static MloRoundInput correlated(MloArena *a)
{
	MloRoundInput in = {.k = K, .groups = 1, .h = MLO_NEWN(a, float, K * K)};
	uint32_t s = 7;
	float x[64][K];

	for (int r = 0; r < 64; r++)
		for (int i = 0; i < K; i++) {
			s = s * 1664525u + 1013904223u;
			x[r][i] = (float)(s / 4294967296.0 - 0.5) + (i ? x[r][i - 1] : 0);
		}
	mlo_round_add(&in, 0, &x[0][0], 64);
	return in;
}

/* Of the layer's results. */
static double error_of(const MloTensor *w, const int8_t *q, const double *scale, int64_t nscales, const float *h)
{
	double sum = 0;

	for (int r = 0; r < ROWS; r++)
		for (int i = 0; i < K; i++)
			for (int j = 0; j < K; j++) {
				double a = q[r * K + i] * scale[nscales > 1 ? r : 0] - mlo_tensor_f64(w, r * K + i);
				double b = q[r * K + j] * scale[nscales > 1 ? r : 0] - mlo_tensor_f64(w, r * K + j);

				sum += a * b * h[i < j ? i * K + j : j * K + i];
			}
	return sum;
}

static void scales_are_chosen_with_the_integers(void)
{
	MloArena *a = mlo_arena_new();
	MloTensor *w = mlo_tensor_new(a, EL_f32, 2, (int64_t[]){ROWS, K});
	double full[ROWS], scale[ROWS] = {0}, least[ROWS];
	MloPtqWeights plain = {.w = w, .channels = ROWS, .scale = full, .nscales = ROWS};
	MloPtqWeights own = {.w = w, .channels = ROWS, .scale = scale}, bounded = {.w = w, .channels = ROWS, .scale = least};
	MloRoundInput in = correlated(a);
	const float *h = mlo_dup(a, in.h, sizeof(float) * K * K);
	const int8_t *q, *p;
	uint32_t s = 3;

	for (int r = 0; r < ROWS; r++) {
		full[r] = 0;
		least[r] = 0.5;
		for (int i = 0; i < K; i++) {
			double v;

			s = s * 1664525u + 1013904223u;
			v = i % 3 == 1 ? 0 : s / 4294967296.0 - 0.5;
			mlo_tensor_set_f64(w, r * K + i, v);
			full[r] = fmax(full[r], fabs(mlo_tensor_f64(w, r * K + i)) / 127);
		}
		full[r] = (float)full[r];
	}
	p = mlo_round_layer(a, &plain, &in);
	in = correlated(a);
	q = mlo_round_scaled(a, &own, &in);
	CU_ASSERT_EQUAL(own.nscales, ROWS);
	CU_ASSERT(error_of(w, q, scale, ROWS, h) < error_of(w, p, full, ROWS, h));
	for (int i = 0; i < ROWS * K; i++)
		CU_ASSERT(mlo_tensor_f64(w, i) != 0 || q[i] == 0);
	in = correlated(a);
	mlo_round_scaled(a, &bounded, &in);
	for (int r = 0; r < ROWS; r++)
		CU_ASSERT(least[r] >= 0.5);
	mlo_arena_free(a);
}

void suite_quant_lift(void)
{
	CU_pSuite s = CU_add_suite("quant_lift", NULL, NULL);

	CU_ADD_TEST(s, what_is_lifted_is_lowered);
	CU_ADD_TEST(s, other_forms_stay);
	CU_ADD_TEST(s, pairs_share_numbers_where_values_move);
	CU_ADD_TEST(s, numbers_cover_a_range);
	CU_ADD_TEST(s, scales_are_chosen_with_the_integers);
}
