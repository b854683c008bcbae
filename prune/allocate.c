/* prune/allocate.c -- what zeros cost each layer, and how many each of them gets. */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "prune/lapack.h"
#include "prune/prune.h"

/* -- the error of a layer by its sparsity ------------------------------------------------------------------ */

enum { COLUMNS = 128 };

/* A pass over the columns (SparseGPT, Frantar and Alistarh 2023): of each few the cheapest weights go, and those of
 * columns behind them make up for it.  U'U is the inverse of H. */
typedef struct Pass {
	const MloProblem *p;
	const double *u;
	double *w, *part, *error; /* [m][k], [m][COLUMNS] */
	uint8_t *keep;            /* [m][COLUMNS] */
} Pass;

static double pass_columns(Pass *x, const MloPrunePattern *t, double sparsity, int64_t b, int64_t n)
{
	int64_t m = x->p->rows, k = x->p->k;
	double sum = 0;

	for (int64_t r = 0; r < m; r++)
		for (int64_t i = 0; i < n; i++) {
			double v = x->w[r * k + b + i] / x->u[(b + i) * (k + 1)];

			x->part[r * n + i] = v * v;
		}
	mlo_pattern_choose(t, x->part, m, n, sparsity, x->keep);
	for (int64_t r = 0; r < m; r++)
		for (int64_t i = 0; i < n; i++) {
			double e = x->keep[r * n + i] ? 0 : x->w[r * k + b + i] / x->u[(b + i) * (k + 1)];

			x->error[r * n + i] = e;
			sum += e * e;
			if (e != 0)
				cblas_daxpy((int)(n - i), -e, x->u + (b + i) * (k + 1), 1, x->w + r * k + b + i, 1);
		}
	if (b + n < k)
		cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)(k - b - n), (int)n, -1, x->error, (int)n,
			    x->u + b * k + b + n, (int)k, 1, x->w + b + n, (int)k);
	return sum;
}

/* Blocks of a pattern lie within one piece. */
static int64_t piece(const MloPrunePattern *t)
{
	int64_t unit = t->kind == PRUNE_NM ? t->of : t->cols;

	return COLUMNS / unit * unit;
}

void mlo_prune_errors(const MloProblem *p, const MloPrunePattern *t, const double *level, int n, double *error)
{
	MloArena *a = mlo_arena_new();
	int64_t m = p->rows, k = p->k, step = piece(t);
	double *u;
	Pass x = {.p = p};
	bool ok;

	MLO_ASSERT(a);
	x.u = u = mlo_dup(a, p->h, sizeof *u * (size_t)(k * k));
	x.w = MLO_NEWN(a, double, (size_t)(m * k));
	x.part = MLO_NEWN(a, double, (size_t)(m * COLUMNS));
	x.error = MLO_NEWN(a, double, (size_t)(m * COLUMNS));
	x.keep = MLO_NEWN(a, uint8_t, (size_t)(m * COLUMNS));
	ok = mlo_cholesky(u, k);
	mlo_cholesky_invert(u, k);
	ok = ok && mlo_cholesky(u, k);
	for (int i = 0; i < n; i++) {
		error[i] = p->floor;
		memcpy(x.w, p->best, sizeof *x.w * (size_t)(m * k));
		for (int64_t b = 0; b < k && ok && level[i] > 0; b += step)
			error[i] += pass_columns(&x, t, level[i], b, b + step < k ? step : k - b);
	}
	mlo_arena_free(a);
}

/* -- how many zeros each layer gets -------------------------------------------------------------------------- */

/* From one level of a layer to another: on its convex hull, so that gains per cost only fall. */
typedef struct Move {
	size_t layer;
	int to;
	double price, saved; /* error for each unit that is saved, and how many units */
} Move;

static int by_price(const void *a, const void *b)
{
	const Move *x = a, *y = b;

	if (x->price != y->price)
		return x->price < y->price ? -1 : 1;
	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return x->to < y->to ? -1 : x->to > y->to;
}

static double price(const MloPruneCurve *c, int from, int to)
{
	return fmax(c->error[to] - c->error[from], 0) / (c->cost[from] - c->cost[to]);
}

static size_t hull(const MloPruneCurve *c, size_t layer, Move *out)
{
	size_t n = 0;

	for (int at = 0;;) {
		int best = -1;

		for (int i = at + 1; i < c->n; i++)
			if (c->cost[i] < c->cost[at] * (1 - 1e-9) && (best < 0 || price(c, at, i) <= price(c, at, best)))
				best = i;
		if (best < 0)
			return n;
		out[n++] = (Move){layer, best, price(c, at, best), c->cost[at] - c->cost[best]};
		at = best;
	}
}

bool mlo_prune_allocate(const MloPruneCurve *curve, size_t n, double most, bool partly, double *sparsity)
{
	MloArena *a = mlo_arena_new();
	Move *move;
	size_t moves = 0;
	double cost = 0;

	MLO_ASSERT(a);
	move = MLO_NEWN(a, Move, n * PRUNE_LEVELS + 1);
	for (size_t i = 0; i < n; i++) {
		moves += hull(&curve[i], i, move + moves);
		cost += curve[i].cost[0];
		sparsity[i] = curve[i].level[0];
	}
	qsort(move, moves, sizeof *move, by_price);
	for (size_t i = 0; i < moves && cost > most; i++) {
		double to = curve[move[i].layer].level[move[i].to], *s = &sparsity[move[i].layer];

		*s = partly && cost - move[i].saved < most ? *s + (to - *s) * (cost - most) / move[i].saved : to;
		cost -= move[i].saved;
	}
	mlo_arena_free(a);
	return cost <= most * (1 + 1e-9);
}
