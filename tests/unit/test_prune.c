/* tests/unit/test_prune.c -- patterns, layers as matrices, which weights go, what the others become, and allocation. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <string.h>

#include "prune/prune.h"

void suite_prune(void);

static double uniform(uint32_t *s) /* in [-1, 1), reproducible */
{
	*s = *s * 1664525u + 1013904223u;
	return *s / 2147483648.0 - 1;
}

/* -- patterns ---------------------------------------------------------------------------------------- */

static void pattern_texts(void)
{
	static const char *const good[][2] = {{"unstructured", "unstructured"}, {"block", "block=1x4"}, {"block=16x1", "block=16x1"},
					      {"2:4", "2:4"}, {"4:8", "4:8"}};
	static const char *const bad[] = {"", "blocks", "block=", "block=4", "block=1x1", "block=0x4", "block=4x65", "block=4x4x",
					  "block=-1x4", "4:4", "0:4", "4:2", "2:", ":4", "2:4 ", "1.5:4", "2:4294967300"};
	MloArena *a = mlo_arena_new();
	MloPrunePattern p;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		CU_ASSERT(mlo_pattern_parse(good[i][0], &p));
		CU_ASSERT_STRING_EQUAL(mlo_pattern_text(a, &p), good[i][1]);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_FALSE(mlo_pattern_parse(bad[i], &p));
	mlo_arena_free(a);
}

static void chosen(const char *pattern, double sparsity, const char *want)
{
	/* sums of pairs along a row: 3 5 1 9; 4 4 8 2; along columns of two rows: 5 2 2 7 6 3 7 4 */
	static const double score[2][8] = {{1, 2, 0, 5, 1, 0, 5, 4}, {4, 0, 2, 2, 5, 3, 2, 0}};
	MloPrunePattern p;
	uint8_t keep[16];
	char got[17] = "";

	CU_ASSERT(mlo_pattern_parse(pattern, &p));
	mlo_pattern_choose(&p, &score[0][0], 2, 8, sparsity, keep);
	for (int i = 0; i < 16; i++)
		got[i] = keep[i] ? 'x' : '.';
	CU_ASSERT_STRING_EQUAL(got, want);
}

static void the_largest_stay(void)
{
	chosen("unstructured", 0.75, "...x..xx....x...");
	chosen("unstructured", 0.5, ".x.x..xxx.x.xx..");
	chosen("block=1x2", 0.5, "..xx..xxxx..xx..");
	chosen("block=2x1", 0.5, "x..xx.x.x..xx.x.");
	chosen("block=2x4", 0.5, "....xxxx....xxxx");
	chosen("2:4", 0, ".x.x..xxx.x.xx..");
	chosen("1:2", 0, ".x.xx.x.x.x.x.x.");
	chosen("unstructured", 0, "xxxxxxxxxxxxxxxx");
}

/* -- layers as matrices --------------------------------------------------------------------------------- */

static void channels_of_a_tap_lie_side_by_side(void)
{
	int64_t dim[] = {2, 2, 1, 2}, four[] = {1, 2, 4, 4};
	MloGraph *g = mlo_graph_new("g");
	MloTensor *w = mlo_tensor_new(g->arena, EL_f32, 4, dim);
	MloType type = mlo_type(EL_f32, 4, four);
	MloValue *in[2] = {mlo_graph_input(g, "x", &type), NULL};
	MloPtqOptions opt = {0};
	MloPrunePattern p;
	MloPruneList list;
	MloPtq *q;
	double v[8];

	for (int i = 0; i < 8; i++)
		mlo_tensor_set_f64(w, i, i + 1);
	in[1] = mlo_graph_const(g, w, "w");
	mlo_graph_output(g, mlo_graph_op(g, NULL, OP_conv, NULL, in, 2), "y");
	q = mlo_ptq_new(g->arena, g, &opt);
	CU_ASSERT(mlo_pattern_parse("block=1x2", &p));
	mlo_prune_layers(g->arena, q, &p, &list);
	CU_ASSERT_EQUAL_FATAL(list.n, 1);
	CU_ASSERT_PTR_NOT_NULL(list.layer[0].off); /* two channels of the input: not worth it */
	mlo_weights_get(&list.layer[0], list.layer[0].n, 0, v);
	CU_ASSERT(v[0] == 1 && v[1] == 3 && v[2] == 2 && v[3] == 4 && v[4] == 5 && v[5] == 7);
	mlo_weights_smallest(g, &list.layer[0], list.layer[0].n, &p, 0.5);
	w = (MloTensor *)(uintptr_t)list.layer[0].n->in[1]->data;
	for (int i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(mlo_tensor_f64(w, i), i < 4 ? 0 : i + 1);
	CU_ASSERT_STRING_EQUAL(list.layer[0].n->in[1]->name, "w");
	CU_ASSERT_EQUAL(mlo_weights_zeros(w), 0.5);
	mlo_graph_free(g);
}

/* -- problems ------------------------------------------------------------------------------------------- */

enum { M = 6, K = 24, N = 400 };

typedef struct Fix {
	MloArena *a;
	MloPruneStats s;
	MloProblem p;
	double w[M * K], bias[M];
	float x[N * K], y[N * M];
} Fix;
static Fix fix;

/* Inputs depend on each other; outputs are those of w where keep (NULL: all) says so, and a bias. */
static void make(const uint8_t *keep)
{
	uint32_t s = 7;

	fix.a = mlo_arena_new();
	fix.s = mlo_prune_stats(fix.a, M, K);
	for (int i = 0; i < M * K; i++)
		fix.w[i] = keep && !keep[i] ? 0 : uniform(&s);
	for (int i = 0; i < M; i++)
		fix.bias[i] = uniform(&s);
	for (int n = 0; n < N; n++) {
		double common = uniform(&s);

		for (int k = 0; k < K; k++)
			fix.x[n * K + k] = (float)(1 + (k % 3) * common + uniform(&s));
		for (int m = 0; m < M; m++) {
			double sum = fix.bias[m];

			for (int k = 0; k < K; k++)
				sum += fix.w[m * K + k] * fix.x[n * K + k];
			fix.y[n * M + m] = (float)sum;
		}
	}
	mlo_prune_add(&fix.s, fix.x, fix.y, N / 2);
	mlo_prune_add(&fix.s, fix.x + N / 2 * K, fix.y + N / 2 * M, N / 2);
}

/* The error of weights by its definition, constants being free. */
static double error_of(const double *w)
{
	double all = 0;

	for (int m = 0; m < M; m++) {
		double sum = 0, square = 0;

		for (int n = 0; n < N; n++) {
			double e = fix.y[n * M + m];

			for (int k = 0; k < K; k++)
				e -= w[m * K + k] * fix.x[n * K + k];
			sum += e / N;
			square += e * e / N;
		}
		all += square - sum * sum;
	}
	return all;
}

static void least_squares(void)
{
	double zero[M * K] = {0}, off[M * K];

	make(NULL);
	CU_ASSERT_EQUAL_FATAL(mlo_problem_new(fix.a, &fix.s, zero, true, 1e-9, &fix.p), PROBLEM_GIVEN);
	for (int i = 0; i < M * K; i++) {
		CU_ASSERT_DOUBLE_EQUAL(fix.p.best[i], fix.w[i], 1e-3);
		off[i] = fix.w[i] + 0.1 * (i % 3);
	}
	CU_ASSERT_DOUBLE_EQUAL(fix.p.signal, error_of(zero), 1e-3 * fix.p.signal);
	CU_ASSERT_DOUBLE_EQUAL(mlo_problem_error(&fix.p, off), error_of(off), 1e-3 * error_of(off));
	CU_ASSERT_DOUBLE_EQUAL(mlo_problem_error(&fix.p, zero), error_of(zero), 1e-3 * error_of(zero));
	CU_ASSERT(fix.p.floor < 1e-4 * fix.p.signal);
	mlo_arena_free(fix.a);
}

static void what_was_sparse_is_found(void)
{
	uint8_t want[M * K], keep[M * K];
	double w[M * K], zero[M * K] = {0};
	MloPrunePattern p;

	for (int i = 0; i < M * K; i++)
		want[i] = i / K % 2 ? i % 5 == 0 : i % 3 == 0;
	make(want);
	CU_ASSERT_EQUAL_FATAL(mlo_problem_new(fix.a, &fix.s, zero, true, 1e-9, &fix.p), PROBLEM_GIVEN);
	CU_ASSERT(mlo_pattern_parse("unstructured", &p));
	mlo_prune_search(&fix.p, &p, 0.7, keep);
	for (int i = 0; i < M * K; i++)
		CU_ASSERT(keep[i] || fabs(fix.w[i]) < 0.05 || !want[i]);
	mlo_prune_refit(&fix.p, want, w);
	for (int i = 0; i < M * K; i++) {
		CU_ASSERT_DOUBLE_EQUAL(w[i], fix.w[i], 1e-3);
		CU_ASSERT(want[i] || w[i] == 0);
	}
	mlo_arena_free(fix.a);
}

/* Against the smallest weights, which alone go, and which go while the others are fitted. */
static void better_than_magnitude(const char *pattern, double sparsity)
{
	uint8_t keep[M * K], small[M * K];
	double w[M * K], v[M * K], score[M * K], level[] = {0, sparsity}, error[2];
	MloPrunePattern p;
	int kept = 0;

	make(NULL);
	CU_ASSERT_EQUAL_FATAL(mlo_problem_new(fix.a, &fix.s, fix.w, true, 1e-3, &fix.p), PROBLEM_GIVEN);
	CU_ASSERT(mlo_pattern_parse(pattern, &p));
	mlo_prune_search(&fix.p, &p, sparsity, keep);
	mlo_prune_refit(&fix.p, keep, w);
	for (int i = 0; i < M * K; i++)
		score[i] = fix.w[i] * fix.w[i];
	mlo_pattern_choose(&p, score, M, K, sparsity, small);
	for (int i = 0; i < M * K; i++) {
		kept += keep[i];
		v[i] = small[i] ? fix.w[i] : 0;
		CU_ASSERT_EQUAL(w[i] != 0, keep[i]);
	}
	CU_ASSERT_DOUBLE_EQUAL(kept, (1 - sparsity) * M * K, 0.5);
	CU_ASSERT(error_of(w) < 0.65 * error_of(v));
	mlo_prune_refit(&fix.p, small, v);
	CU_ASSERT(error_of(w) < 1.2 * error_of(v)); /* here weights that depend on each other are rare */
	mlo_prune_errors(&fix.p, &p, level, 2, error);
	CU_ASSERT(error[0] >= fix.p.floor && error[0] < 0.01 * error[1]);
	CU_ASSERT(error[1] > 0.5 * error_of(w) && error[1] < 3 * error_of(w));
	mlo_arena_free(fix.a);
}

static void zeros_where_they_cost_least(void)
{
	better_than_magnitude("unstructured", 0.5);
	better_than_magnitude("unstructured", 0.75);
	better_than_magnitude("block=1x4", 0.5);
	better_than_magnitude("block=2x1", 0.5);
	better_than_magnitude("2:4", 0.5);
}

static void problems_that_are_none(void)
{
	make(NULL);
	for (int i = 0; i < N * K; i++)
		fix.x[i] = 3;
	fix.s = mlo_prune_stats(fix.a, M, K);
	mlo_prune_add(&fix.s, fix.x, fix.y, N);
	CU_ASSERT_EQUAL(mlo_problem_new(fix.a, &fix.s, fix.w, true, 0.01, &fix.p), PROBLEM_CONSTANT);
	fix.s = mlo_prune_stats(fix.a, M, K);
	CU_ASSERT_EQUAL(mlo_problem_new(fix.a, &fix.s, fix.w, true, 0.01, &fix.p), PROBLEM_CONSTANT);
	fix.x[5] = NAN;
	mlo_prune_add(&fix.s, fix.x, fix.y, N);
	CU_ASSERT_EQUAL(mlo_problem_new(fix.a, &fix.s, fix.w, true, 0.01, &fix.p), PROBLEM_WILD);
	mlo_arena_free(fix.a);
}

/* Fewer inputs than weights: damping decides, towards the weights that are there. */
static void few_inputs(void)
{
	double error;

	make(NULL);
	fix.s = mlo_prune_stats(fix.a, M, K);
	mlo_prune_add(&fix.s, fix.x, fix.y, 3);
	CU_ASSERT_EQUAL_FATAL(mlo_problem_new(fix.a, &fix.s, fix.w, true, 0.01, &fix.p), PROBLEM_GIVEN);
	error = error_of(fix.p.best);
	CU_ASSERT(error < 1e-6 * fix.p.signal);
	mlo_arena_free(fix.a);
}

/* -- allocation ----------------------------------------------------------------------------------------- */

static void allocation(void)
{
	MloPruneCurve c[] = {
		{.n = 3, .level = {0, 0.5, 0.9}, .cost = {100, 50, 10}, .error = {0, 1, 9}},   /* 0.02, then 0.2 per unit */
		{.n = 3, .level = {0, 0.5, 0.9}, .cost = {100, 50, 10}, .error = {0, 10, 12}}, /* both at once: 0.133 */
		{.n = 3, .level = {0, 0.5, 0.9}, .cost = {100, 100, 110}, .error = {0, 0, 1}}, /* gains nothing */
	};
	double s[3];

	CU_ASSERT(mlo_prune_allocate(c, 3, 300, true, s));
	CU_ASSERT(s[0] == 0 && s[1] == 0 && s[2] == 0);
	CU_ASSERT(mlo_prune_allocate(c, 3, 275, true, s));
	CU_ASSERT(s[0] == 0.25 && s[1] == 0 && s[2] == 0);
	CU_ASSERT(mlo_prune_allocate(c, 3, 275, false, s));
	CU_ASSERT(s[0] == 0.5 && s[1] == 0 && s[2] == 0);
	CU_ASSERT(mlo_prune_allocate(c, 3, 160, true, s));
	CU_ASSERT(s[0] == 0.5 && s[1] == 0.9 && s[2] == 0);
	CU_ASSERT(mlo_prune_allocate(c, 3, 120, true, s));
	CU_ASSERT(s[0] == 0.9 && s[1] == 0.9 && s[2] == 0);
	CU_ASSERT_FALSE(mlo_prune_allocate(c, 3, 119, true, s));
}

void suite_prune(void)
{
	CU_pSuite s = CU_add_suite("prune", NULL, NULL);

	CU_ADD_TEST(s, pattern_texts);
	CU_ADD_TEST(s, the_largest_stay);
	CU_ADD_TEST(s, channels_of_a_tap_lie_side_by_side);
	CU_ADD_TEST(s, least_squares);
	CU_ADD_TEST(s, what_was_sparse_is_found);
	CU_ADD_TEST(s, zeros_where_they_cost_least);
	CU_ADD_TEST(s, problems_that_are_none);
	CU_ADD_TEST(s, few_inputs);
	CU_ADD_TEST(s, allocation);
}
