/* prune/search.c -- which weights stay, and what they become.
 *
 * With H the error of weights W is |(W - best) H^1/2|^2.  ADMM (Boyd et al. 2011; for pruning Boza 2024) goes to and fro
 * between the nearest matrix that has the zeros of the pattern and the best weights near that one, while the share of
 * zeros grows: unlike a pass over the columns, which decides each of them once, it takes decisions back.  Columns are
 * scaled so that the diagonal of H is 1: the size of a weight then is what leaving it out costs by itself. */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "prune/lapack.h"
#include "prune/prune.h"

enum { ROUNDS = 40, GRADUAL = 30 }; /* of them with a growing share */
#define RHO 1.0

typedef struct Admm {
	const MloProblem *p;
	int64_t m, k;
	double *inverse;        /* [k][k] of scaled H + RHO */
	double *start;          /* [m][k]: best H */
	double *w, *u, *z, *t;  /* [m][k]: weights, multipliers, what has zeros; scratch */
} Admm;

static void times(const double *w, const double *h, int64_t m, int64_t k, double *out)
{
	cblas_dsymm(CblasRowMajor, CblasRight, CblasUpper, (int)m, (int)k, 1, h, (int)k, w, (int)k, 0, out, (int)k);
}

static void admm_open(Admm *x, MloArena *a, const MloProblem *p)
{
	int64_t m = p->rows, k = p->k, n = m * k;
	double *d = MLO_NEWN(a, double, (size_t)k);
	bool ok;

	*x = (Admm){.p = p, .m = m, .k = k, .inverse = MLO_NEWN(a, double, (size_t)(k * k))};
	x->start = MLO_NEWN(a, double, (size_t)n);
	x->w = MLO_NEWN(a, double, (size_t)n);
	x->u = MLO_NEWN(a, double, (size_t)n);
	x->z = MLO_NEWN(a, double, (size_t)n);
	x->t = MLO_NEWN(a, double, (size_t)n);
	for (int64_t i = 0; i < k; i++)
		d[i] = sqrt(p->h[i * k + i]);
	for (int64_t i = 0; i < k; i++)
		for (int64_t j = 0; j < k; j++)
			x->inverse[i * k + j] = p->h[i * k + j] / (d[i] * d[j]);
	for (int64_t r = 0; r < m; r++)
		for (int64_t i = 0; i < k; i++)
			x->w[r * k + i] = p->best[r * k + i] * d[i];
	times(x->w, x->inverse, m, k, x->start);
	for (int64_t i = 0; i < k; i++)
		x->inverse[i * k + i] += RHO;
	ok = mlo_cholesky(x->inverse, k); /* as H is definite */
	MLO_ASSERT(ok);
	mlo_cholesky_invert(x->inverse, k);
}

static void admm_round(Admm *x, const MloPrunePattern *t, double sparsity, uint8_t *keep)
{
	int64_t n = x->m * x->k;

	for (int64_t i = 0; i < n; i++)
		x->t[i] = (x->w[i] + x->u[i]) * (x->w[i] + x->u[i]);
	mlo_pattern_choose(t, x->t, x->m, x->k, sparsity, keep);
	for (int64_t i = 0; i < n; i++) {
		x->z[i] = keep[i] ? x->w[i] + x->u[i] : 0;
		x->u[i] += x->w[i] - x->z[i];
		x->t[i] = x->start[i] + RHO * (x->z[i] - x->u[i]);
	}
	times(x->t, x->inverse, x->m, x->k, x->w);
}

void mlo_prune_search(const MloProblem *p, const MloPrunePattern *t, double sparsity, uint8_t *keep)
{
	MloArena *a = mlo_arena_new();
	Admm x;

	MLO_ASSERT(a);
	admm_open(&x, a, p);
	for (int i = 1; i <= ROUNDS; i++) {
		double left = i < GRADUAL ? 1 - (double)i / GRADUAL : 0;

		admm_round(&x, t, sparsity * (1 - left * left * left), keep);
	}
	mlo_arena_free(a);
}

/* -- values ---------------------------------------------------------------------------------------------- */

typedef struct Refit {
	const MloProblem *p;
	int64_t *at;   /* columns that stay */
	double *f, *b; /* H of those; what the weights are the solution for */
	double *c;     /* [rows][k]: best H */
} Refit;

static int64_t columns(const uint8_t *keep, int64_t k, int64_t *at)
{
	int64_t n = 0;

	for (int64_t i = 0; i < k; i++)
		if (keep[i])
			at[n++] = i;
	return n;
}

static void factor_of(Refit *x, int64_t n)
{
	bool ok;

	for (int64_t i = 0; i < n; i++)
		for (int64_t j = i; j < n; j++)
			x->f[i * n + j] = x->p->h[x->at[i] * x->p->k + x->at[j]];
	ok = mlo_cholesky(x->f, n); /* part of a definite matrix */
	MLO_ASSERT(ok);
}

/* The rows from `row` on that keep the same columns; how many they are. */
static int64_t refit_rows(Refit *x, int64_t row, const uint8_t *keep, double *w)
{
	int64_t k = x->p->k, n = columns(keep + row * k, k, x->at), same = 1;

	while (row + same < x->p->rows && !memcmp(keep + row * k, keep + (row + same) * k, (size_t)k))
		same++;
	memset(w + row * k, 0, sizeof *w * (size_t)(same * k));
	if (!n)
		return same;
	factor_of(x, n);
	for (int64_t r = row; r < row + same; r++) {
		for (int64_t i = 0; i < n; i++)
			x->b[i] = x->c[r * k + x->at[i]];
		mlo_cholesky_solve(x->f, n, x->b, 1);
		for (int64_t i = 0; i < n; i++)
			w[r * k + x->at[i]] = x->b[i];
	}
	return same;
}

void mlo_prune_refit(const MloProblem *p, const uint8_t *keep, double *w)
{
	MloArena *a = mlo_arena_new();
	Refit x = {.p = p};
	int64_t k = p->k, most = 0;

	MLO_ASSERT(a);
	x.at = MLO_NEWN(a, int64_t, (size_t)k);
	for (int64_t r = 0; r < p->rows; r++) {
		int64_t n = columns(keep + r * k, k, x.at);

		most = n > most ? n : most;
	}
	x.f = MLO_NEWN(a, double, (size_t)(most * most) + 1);
	x.b = MLO_NEWN(a, double, (size_t)most + 1);
	x.c = MLO_NEWN(a, double, (size_t)(p->rows * k));
	times(p->best, p->h, p->rows, k, x.c);
	for (int64_t r = 0; r < p->rows;)
		r += refit_rows(&x, r, keep, w);
	mlo_arena_free(a);
}
