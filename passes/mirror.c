/* passes/mirror.c -- convolutions whose filters are mirror images of themselves take half the products.
 * Requires: types.  Keeps: types, order, origins.  Breaks: nothing.  Idempotent.
 *
 * Windowed cosines and sines, of which models make their spectrograms, are even or odd about the middle of
 * the window: w[c + k] = +-w[c - k].  The terms of both sides share a factor, so
 *
 *   sum over k of w[k] x[k] = sum over k >= 0 of w[c + k] (x[c + k] +- x[c - k]).
 *
 * The sums in parentheses are the same for all filters: a gather of each side, then one matrix product with
 * half the terms.  Values differ by rounding only: filters must agree to less than float32 resolves. */
#include <math.h>
#include <string.h>

#include "passes/match.h"

/* Fewer filters or taps do not pay for the sums. */
enum { LEAST_FILTERS = 32, LEAST_TAPS = 64 };

typedef struct Mirror {
	int64_t filters, taps, frames, stride;
	bool odd;
} Mirror;

/* The data need not be aligned. */
static double tap(const MloValue *w, int64_t filter, int64_t k)
{
	float v;

	memcpy(&v, (const char *)w->data->data + (filter * w->type.dim[2].k + k) * (int64_t)sizeof v, sizeof v);
	return v;
}

/* The first tap has no partner and must be 0; so must the middle one when the sides have opposite signs. */
static bool mirrored(const MloValue *w, const Mirror *m)
{
	int64_t c = m->taps / 2;
	double sign = m->odd ? -1 : 1, most = 0, differ = 0;

	for (int64_t f = 0; f < m->filters; f++) {
		for (int64_t k = 0; k < m->taps; k++)
			most = fmax(most, fabs(tap(w, f, k)));
		differ = fmax(differ, fabs(tap(w, f, 0)));
		for (int64_t k = 0; k < c; k++)
			differ = fmax(differ, fabs(tap(w, f, c + k) - sign * tap(w, f, c - k)));
	}
	return differ <= most * 0x1p-26;
}

static bool all_are(const MloNode *n, int slot, int64_t v)
{
	int count;
	const int64_t *a = mlo_attr_ints(n, slot, &count);

	for (int i = 0; i < count; i++)
		if (a[i] != v)
			return false;
	return true;
}

static bool matches(const MloNode *n, Mirror *m)
{
	const MloValue *x, *w, *y;
	const int64_t *strides;
	int count;

	if (n->op != OP_conv)
		return false;
	x = n->in[0];
	w = n->in[1];
	y = n->out[0];
	strides = mlo_attr_ints(n, ATTR_conv_strides, &count);
	if (!w->data || w->type.elem != EL_f32 || w->type.rank != 3 || !mlo_type_static(&x->type) ||
	    !mlo_type_static(&y->type) || mlo_attr_i(n, ATTR_conv_group) != 1)
		return false;
	if (x->type.dim[0].k != 1 || x->type.dim[1].k != 1 || !all_are(n, ATTR_conv_pads, 0) ||
	    !all_are(n, ATTR_conv_dilations, 1) || strcmp(mlo_attr_s(n, ATTR_conv_auto_pad), "NOTSET") != 0)
		return false;
	*m = (Mirror){.filters = w->type.dim[0].k, .taps = w->type.dim[2].k, .frames = y->type.dim[2].k,
	              .stride = count ? strides[0] : 1};
	if (m->filters < LEAST_FILTERS || m->taps < LEAST_TAPS || m->taps % 2 || m->frames < 1)
		return false;
	if (mirrored(w, m))
		return true;
	m->odd = true;
	return mirrored(w, m);
}

/* One side of all frames, [frames, taps / 2]: x[stride * t + c + sign * k]. */
static MloValue *side(MloGraph *g, MloNode *n, const Mirror *m, MloValue *x, int sign, MloPassCx *cx)
{
	int64_t c = m->taps / 2;
	MloTensor *at = mlo_tensor_new(g->arena, EL_i64, 2, (int64_t[]){m->frames, c});
	int64_t *to = (int64_t *)(uintptr_t)at->data;

	for (int64_t t = 0; t < m->frames; t++)
		for (int64_t k = 0; k < c; k++)
			to[t * c + k] = m->stride * t + c + sign * k;
	return mlo_rw_op(g, n, OP_gather, n, cx, x, mlo_graph_const(g, at, NULL));
}

/* Both sides meet in the middle, where an even sum counts the value twice. */
static MloValue *half_filters(MloGraph *g, const MloValue *w, const Mirror *m)
{
	int64_t c = m->taps / 2;
	MloTensor *t = mlo_tensor_new(g->arena, EL_f32, 2, (int64_t[]){c, m->filters});
	float *to = (float *)(uintptr_t)t->data;

	for (int64_t f = 0; f < m->filters; f++)
		for (int64_t k = 0; k < c; k++)
			to[k * m->filters + f] = (float)(k ? tap(w, f, c + k) : m->odd ? 0 : tap(w, f, c) / 2);
	return mlo_graph_const(g, t, NULL);
}

static bool rewrite(MloGraph *g, MloNode *n, const Mirror *m, MloPassCx *cx)
{
	MloType line = mlo_type(EL_f32, 1, (int64_t[]){n->in[0]->type.dim[2].k});
	MloType rows = mlo_type(EL_f32, 3, (int64_t[]){1, m->frames, m->filters});
	MloValue *x = mlo_rw_reshape(g, n, n, n->in[0], &line, cx), *before, *after, *v;
	MloNode *t;

	after = side(g, n, m, x, 1, cx); /* in this order: arguments are evaluated in any */
	before = side(g, n, m, x, -1, cx);
	v = mlo_rw_op(g, n, m->odd ? OP_sub : OP_add, n, cx, after, before);
	v = mlo_rw_op(g, n, OP_matmul, n, cx, v, half_filters(g, n->in[1], m));
	if (n->nin > 2 && n->in[2])
		v = mlo_rw_op(g, n, OP_add, n, cx, v, n->in[2]);
	v = mlo_rw_reshape(g, n, n, v, &rows, cx);
	t = mlo_rw_node(g, n, OP_transpose, n, &v, 1);
	mlo_attr_set_ints(g, t, ATTR_transpose_perm, (int64_t[]){0, 2, 1}, 3);
	return mlo_rw_replace(g, n, mlo_rw_done(g, t, cx));
}

MloStatus mlo_pass_mirror(MloGraph *g, MloPassCx *cx)
{
	Mirror m;

	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		if (matches(n, &m))
			cx->changed += rewrite(g, n, &m, cx);
	}
	return MLO_OK;
}
