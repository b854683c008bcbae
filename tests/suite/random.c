/* tests/suite/random.c -- random graphs, compiled with and without optimisation, against the reference.
 *
 * usage: random FIRST COUNT [CACHE]: the graphs of seeds FIRST, FIRST+1, ...; CACHE keeps objects.
 * A failure names seed and level and the fewest patterns that show it: random SEED 1 replays it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/exec.h"
#include "tests/support/support.h"
#include "tests/unit/random_graph.h"

enum { MAX_OUT = 16 };

static const double allowed = 1e-8;

/* Results near zero are what is left of larger terms: each counts as at least 0.01. */
static double error_of(const MloTensor *got, const MloTensor *want)
{
	double err = 0, ref = 0;
	int64_t n = mlo_tensor_elems(want);

	if (got->elem != want->elem || mlo_tensor_elems(got) != n)
		return INFINITY;
	for (int64_t i = 0; i < n; i++) {
		double x = mlo_tensor_f64(got, i), y = mlo_tensor_f64(want, i);

		if (isnan(x) != isnan(y) || isinf(x) != isinf(y) || (isinf(x) && x != y))
			return INFINITY;
		if (!isfinite(y))
			continue;
		err += (x - y) * (x - y);
		ref += y * y;
	}
	return err / (ref + 1e-4 * (double)n + 1e-30);
}

/* One graph at one level. */
static MloStatus check(uint64_t seed, int size, const RunHow *how, MloDiag *d)
{
	MloGraph *g = random_graph(seed, size);
	const MloTensor *x = random_tensor(g->arena, seed, &g->inputs[0]->type);
	MloTensor *want[MAX_OUT], *got[MAX_OUT] = {0};
	MloStatus st = g->noutputs <= MAX_OUT ? mlo_infer_graph(g, d) : MLO_ERR_LIMIT;

	if (st == MLO_OK)
		st = mlo_exec_graph(g->arena, g, &x, want, NULL, NULL, d);
	if (st == MLO_OK)
		st = support_run(g->arena, g, how, &x, got, d);
	for (uint32_t i = 0; i < g->noutputs && st == MLO_OK; i++) {
		double e = error_of(got[i], want[i]);

		if (!(e <= allowed))
			st = mlo_error(d, MLO_ERR_INTERNAL, "output %u: NMSE %g, allowed %g", i, e, allowed);
	}
	mlo_graph_free(g);
	return st;
}

static bool passes(uint64_t seed, int size, const RunHow *how)
{
	MloDiag d = {0};
	bool ok = check(seed, size, how, &d) == MLO_OK;

	mlo_diag_free(&d);
	return ok;
}

static bool run_seed(uint64_t seed, const RunHow *how)
{
	int size = 1 + (int)(seed % 17), least = 1;
	MloDiag d = {0};
	bool ok = check(seed, size, how, &d) == MLO_OK;

	if (!ok) {
		while (least < size && passes(seed, least, how))
			least++;
		printf("FAIL seed %llu at level %d: %d patterns, %d show it\n", (unsigned long long)seed,
		       how->level, size, least);
		mlo_diag_print(&d, "random", stdout);
		fflush(stdout);
	}
	mlo_diag_free(&d);
	return ok;
}

int main(int argc, char **argv)
{
	static const int levels[] = {0, 2};
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
	Score score = {0};

	if (!count || argc > 4) {
		fprintf(stderr, "usage: random FIRST COUNT [CACHE]\n");
		return 2;
	}
	for (uint64_t seed = first; seed < first + count; seed++) {
		for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
			RunHow how = {.target = "native", .level = levels[i], .threads = 1,
			              .cache = argc > 3 ? argv[3] : NULL};
			bool ok = run_seed(seed, &how);

			score.passed += ok;
			score.failed += !ok;
		}
	}
	return support_finish(&score);
}
