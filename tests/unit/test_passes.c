/* tests/unit/test_passes.c -- the pass manager, and that passes preserve what graphs compute. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/exec.h"
#include "passes/quant.h"
#include "tests/unit/random_graph.h"

static const char everything[] = "infer,fold,canon,fold,cse,recompose,bnfold,canon,fold,cse,dce";

/* -- results stay ---------------------------------------------------------------------------- */

static double nmse(const MloTensor *got, const MloTensor *want)
{
	double err = 0, ref = 0;
	int64_t n = mlo_tensor_elems(want);

	if (mlo_tensor_elems(got) != n || got->rank != want->rank || got->elem != want->elem)
		return INFINITY;
	for (int64_t i = 0; i < n; i++) {
		double a = mlo_tensor_f64(got, i), b = mlo_tensor_f64(want, i);

		if (isnan(a) && isnan(b))
			continue;
		err += (a - b) * (a - b);
		ref += b * b;
	}
	/* Results near zero are what is left of larger terms: they count as 0.01 each. */
	return err / (ref + 1e-4 * (double)n + 1e-30);
}

static MloTensor **outputs_of(MloGraph *g, const MloTensor *x, MloDiag *d)
{
	MloTensor **out = MLO_NEWN(g->arena, MloTensor *, g->noutputs);

	return mlo_exec_graph(g->arena, g, &x, out, NULL, NULL, d) == MLO_OK ? out : NULL;
}

/* Runs the graph of `seed` before and after the passes. */
static bool preserved(uint64_t seed, int size, const char *passes)
{
	MloGraph *before = random_graph(seed, size), *after = mlo_graph_clone(before);
	MloTensor *x = random_tensor(before->arena, seed, &before->inputs[0]->type), **a, **b;
	MloPassOptions opt = {.limit = -1, .verify_each = true};
	MloDiag d = {0};
	bool ok = mlo_passes_run(after, passes, NULL, &opt, &d) == MLO_OK;

	a = ok ? outputs_of(before, x, &d) : NULL;
	b = a ? outputs_of(after, x, &d) : NULL;
	ok = b && before->noutputs == after->noutputs;
	for (uint32_t i = 0; ok && i < before->noutputs; i++) {
		double e = nmse(b[i], a[i]);

		ok = e <= 1e-8 && !strcmp(before->output_names[i], after->output_names[i]);
		if (!ok)
			fprintf(stderr, "  output %u: nmse %g\n", i, e);
	}
	if (!ok)
		mlo_diag_print(&d, "test_passes", stderr);
	mlo_diag_free(&d);
	mlo_graph_free(after);
	mlo_graph_free(before);
	return ok;
}

/* Which pass is to blame, and how small a graph shows it. */
static void explain(uint64_t seed, int size)
{
	char list[256];

	while (size > 1 && !preserved(seed, size - 1, everything))
		size--;
	snprintf(list, sizeof list, "%s", everything);
	for (char *cut; (cut = strrchr(list, ',')); ) {
		*cut = 0;
		if (preserved(seed, size, list))
			break;
		cut[0] = 0;
	}
	fprintf(stderr, "  replay: MLOPT_TEST_SEED=%llu; %d patterns; right up to passes '%s'\n",
	        (unsigned long long)seed, size, list);
}

static void random_graphs_compute_the_same(void)
{
	/* MLOPT_TEST_SEED=S replays one graph, MLOPT_TEST_SEEDS=N takes N of them. */
	const char *one = getenv("MLOPT_TEST_SEED"), *many = getenv("MLOPT_TEST_SEEDS");
	uint64_t first = one ? strtoull(one, NULL, 0) : 1;
	uint64_t count = one ? 1 : many ? strtoull(many, NULL, 0) : 300;

	for (uint64_t seed = first; seed < first + count; seed++) {
		int size = 1 + (int)(seed % 17);
		bool ok = preserved(seed, size, everything);

		CU_ASSERT_TRUE(ok);
		if (!ok) {
			explain(seed, size);
			return;
		}
	}
}

/* A second run finds nothing to do. */
static void passes_are_idempotent(void)
{
	for (uint64_t seed = 1; seed < 100; seed++) {
		MloGraph *g = random_graph(seed, 1 + (int)(seed % 13));
		MloStr a = {.arena = g->arena}, b = {.arena = g->arena};
		MloDiag d = {0};

		CU_ASSERT_EQUAL(mlo_passes_run(g, everything, NULL, NULL, &d), MLO_OK);
		CU_ASSERT_EQUAL(mlo_passes_run(g, everything, NULL, NULL, &d), MLO_OK);
		mlo_print(&a, g, true);
		CU_ASSERT_EQUAL(mlo_passes_run(g, everything, NULL, NULL, &d), MLO_OK);
		mlo_print(&b, g, true);
		CU_ASSERT_STRING_EQUAL(mlo_str_text(&a), mlo_str_text(&b));
		mlo_diag_free(&d);
		mlo_graph_free(g);
	}
}

/* -- the manager ----------------------------------------------------------------------------- */

static MloGraph *dead_chain(void)
{
	MloGraph *g = mlo_graph_new("t");
	MloType t = mlo_type(EL_f32, 1, (int64_t[]){4});
	MloValue *x = mlo_graph_input(g, "x", &t), *y;

	y = mlo_graph_op(g, NULL, OP_relu, NULL, &x, 1);
	mlo_graph_op(g, NULL, OP_relu, NULL, &y, 1);
	mlo_graph_output(g, x, "x");
	return g;
}

static void count_passes(void *user, const char *pass, double seconds, size_t changed)
{
	size_t *n = user;

	CU_ASSERT_PTR_NOT_NULL(mlo_pass_find(pass));
	CU_ASSERT_TRUE(seconds >= 0);
	n[0]++;
	n[1] += changed;
}

static void dead_chain_goes_in_one_walk(void)
{
	MloGraph *g = dead_chain();
	size_t n[2] = {0};
	MloPassOptions opt = {.limit = -1, .timing = count_passes, .timing_user = n, .verify_each = true};

	CU_ASSERT_EQUAL(mlo_passes_run(g, "dce", NULL, &opt, NULL), MLO_OK);
	CU_ASSERT_EQUAL(n[0], 1);
	CU_ASSERT_EQUAL(n[1], 2);
	CU_ASSERT_PTR_NULL(g->first);
	mlo_graph_free(g);
}

static void limit_stops_the_list(void)
{
	MloGraph *g = dead_chain();
	size_t n[2] = {0};
	MloPassOptions opt = {.limit = 2, .timing = count_passes, .timing_user = n};

	CU_ASSERT_EQUAL(mlo_passes_run(g, "infer,cse,dce,dce", NULL, &opt, NULL), MLO_OK);
	CU_ASSERT_EQUAL(n[0], 2);
	mlo_graph_free(g);
}

static void unknown_pass_is_refused_before_any_runs(void)
{
	MloGraph *g = dead_chain();
	MloDiag d = {0};

	CU_ASSERT_EQUAL(mlo_passes_run(g, "dce,nonsense", NULL, NULL, &d), MLO_ERR_USAGE);
	CU_ASSERT_EQUAL(d.nerrors, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(d.lines[0].text, "'nonsense'"));
	CU_ASSERT_PTR_NOT_NULL(g->first);
	mlo_diag_free(&d);
	mlo_graph_free(g);
}

static void needs_are_checked(void)
{
	MloGraph *g = dead_chain();
	MloType open = g->inputs[0]->type;
	MloDiag d = {0};

	CU_ASSERT_EQUAL(mlo_passes_run(g, "fuse", NULL, NULL, &d), MLO_ERR_USAGE); /* no layouts yet */
	open.dim[0] = mlo_dim_sym(g->syms, "batch");
	g->inputs[0]->type = open;
	CU_ASSERT_EQUAL(mlo_passes_run(g, "infer,layout", NULL, NULL, &d), MLO_ERR_USAGE); /* for which target? */
	CU_ASSERT_EQUAL(d.nerrors, 2);
	CU_ASSERT_EQUAL(mlo_passes_run(g, "infer,layout,fuse", mlo_target_native(), NULL, &d), MLO_OK); /* open sizes */
	mlo_diag_free(&d);
	mlo_graph_free(g);
}

static void keep_dump(void *user, const char *pass, const char *text)
{
	CU_ASSERT_STRING_EQUAL(pass, "dce");
	CU_ASSERT_PTR_NULL(strstr(text, "relu"));
	++*(int *)user;
}

static void dump_after_one_pass(void)
{
	MloGraph *g = dead_chain();
	int dumps = 0;
	MloPassOptions opt = {.limit = -1, .dump_after = "dce", .dump = keep_dump, .dump_user = &dumps};

	CU_ASSERT_EQUAL(mlo_passes_run(g, "infer,dce,cse", NULL, &opt, NULL), MLO_OK);
	CU_ASSERT_EQUAL(dumps, 1);
	mlo_graph_free(g);
}

/* -- quantization ------------------------------------------------------------------------------ */

static void integers_of_numbers(void)
{
	MloQuant q = {.elem = EL_u8, .scale = 0.5, .zero = 10, .lo = 0, .hi = 255};

	CU_ASSERT(mlo_quant_value(&q, 0) == 10);
	CU_ASSERT(mlo_quant_value(&q, 0.25) == 10); /* halves to even */
	CU_ASSERT(mlo_quant_value(&q, 0.75) == 12);
	CU_ASSERT(mlo_quant_value(&q, -1e30) == 0);
	CU_ASSERT(mlo_quant_value(&q, INFINITY) == 255);
}

static void ranges_of_integers(void)
{
	double lo, hi;

	CU_ASSERT(mlo_quant_range(EL_i4, &lo, &hi) && lo == -8 && hi == 7);
	CU_ASSERT(mlo_quant_range(EL_u8, &lo, &hi) && lo == 0 && hi == 255);
	CU_ASSERT(mlo_quant_range(EL_i16, &lo, &hi) && lo == -32768 && hi == 32767);
	CU_ASSERT(!mlo_quant_range(EL_i32, &lo, &hi) && !mlo_quant_range(EL_f16, &lo, &hi));
}

void suite_passes(void);
void suite_passes(void)
{
	CU_pSuite s = CU_add_suite("passes", NULL, NULL);

	CU_add_test(s, "dead chain goes in one walk", dead_chain_goes_in_one_walk);
	CU_add_test(s, "limit stops the list", limit_stops_the_list);
	CU_add_test(s, "unknown pass is refused before any runs", unknown_pass_is_refused_before_any_runs);
	CU_add_test(s, "needs are checked", needs_are_checked);
	CU_add_test(s, "dump after one pass", dump_after_one_pass);
	CU_add_test(s, "random graphs compute the same", random_graphs_compute_the_same);
	CU_add_test(s, "integers of numbers", integers_of_numbers);
	CU_add_test(s, "ranges of integers", ranges_of_integers);
	CU_add_test(s, "passes are idempotent", passes_are_idempotent);
}
