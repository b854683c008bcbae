/* prune/channels.c -- what the channels that a layer reads are worth to it. */
#include <string.h>

#include "prune/lapack.h"
#include "prune/prune.h"

/* Columns of W that channel c of a layer's input meets, `repeat` elements each; how many. */
static int64_t columns_of(const MloPruneLayer *l, int64_t c, int64_t repeat, int64_t *out)
{
	int64_t n = 0;

	for (int64_t t = 0; t < l->taps; t++)
		for (int64_t r = 0; r < repeat; r++)
			out[n++] = t * l->channels + c * repeat + r;
	return n;
}

void mlo_channels_mask(const MloPruneLayer *l, const uint8_t *keep, int64_t repeat, uint8_t *column)
{
	for (int64_t i = 0; i < l->taps * l->channels; i++)
		column[i] = keep[i % l->channels / repeat];
}

/* What is left of H and its inverse: the columns that are not 0. */
typedef struct Rest {
	int64_t n, *at, *index; /* columns, and where each of all columns is among them */
	double *inverse;
} Rest;

static void invert_rest(MloArena *a, const MloProblem *p, const uint8_t *column, Rest *r)
{
	bool ok;

	*r = (Rest){.at = MLO_NEWN(a, int64_t, (size_t)p->k), .index = MLO_NEWN(a, int64_t, (size_t)p->k)};
	for (int64_t i = 0; i < p->k; i++)
		if (column[i]) {
			r->index[i] = r->n;
			r->at[r->n++] = i;
		}
	r->inverse = MLO_NEWN(a, double, (size_t)(r->n * r->n) + 1);
	for (int64_t i = 0; i < r->n; i++)
		for (int64_t j = 0; j < r->n; j++)
			r->inverse[i * r->n + j] = p->h[r->at[i] * p->k + r->at[j]];
	ok = !r->n || mlo_cholesky(r->inverse, r->n); /* part of a definite matrix */
	MLO_ASSERT(ok);
	if (r->n)
		mlo_cholesky_invert(r->inverse, r->n);
}

/* The error when a set of columns goes and the others make up for it: w' B^-1 w of each row, B being the
 * inverse's part. */
static double without(const MloProblem *p, const Rest *r, const double *w, const int64_t *at, int64_t n, double *b,
		      double *v)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < n; j++)
			b[i * n + j] = r->inverse[r->index[at[i]] * r->n + r->index[at[j]]];
	if (!mlo_cholesky(b, n))
		return 0;
	for (int64_t row = 0; row < p->rows; row++) {
		for (int64_t i = 0; i < n; i++)
			v[i] = w[row * p->k + at[i]];
		mlo_cholesky_solve(b, n, v, 1);
		for (int64_t i = 0; i < n; i++)
			sum += v[i] * w[row * p->k + at[i]];
	}
	return sum;
}

void mlo_channels_errors(const MloProblem *p, const MloPruneLayer *l, const uint8_t *keep, int64_t repeat, double *error)
{
	MloArena *a = mlo_arena_new();
	int64_t most = l->taps * repeat;
	double *w, *b, *v;
	uint8_t *mask, *column;
	int64_t *at;
	Rest rest;

	MLO_ASSERT(a);
	column = MLO_NEWN(a, uint8_t, (size_t)p->k);
	mask = MLO_NEWN(a, uint8_t, (size_t)(p->rows * p->k));
	w = MLO_NEWN(a, double, (size_t)(p->rows * p->k));
	at = MLO_NEWN(a, int64_t, (size_t)most);
	b = MLO_NEWN(a, double, (size_t)(most * most));
	v = MLO_NEWN(a, double, (size_t)most);
	mlo_channels_mask(l, keep, repeat, column);
	for (int64_t r = 0; r < p->rows; r++)
		memcpy(mask + r * p->k, column, (size_t)p->k);
	mlo_prune_refit(p, mask, w);
	invert_rest(a, p, column, &rest);
	for (int64_t c = 0; c < l->channels / repeat; c++)
		error[c] = keep[c] ? without(p, &rest, w, at, columns_of(l, c, repeat, at), b, v) : 0;
	mlo_arena_free(a);
}
