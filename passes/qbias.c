/* passes/qbias.c -- zero points of the inputs of integer products go into what is added to the sums.
 * Requires: types, integer, unsign.  Keeps: types, order, origins.  Breaks: nothing.  Idempotent.
 *
 *     sum of (x - zero) * w  =  sum of x * w  -  zero * sum of w
 *
 * where every term counts at every position, that is, where a convolution has no pads. What is taken away is one
 * number per channel, and joins the bias there is. 32-bit sums wrap, so both sides are equal always. */
#include <string.h>

#include "passes/match.h"

static bool no_pads(const MloNode *n)
{
	const char *how = mlo_attr_s(n, ATTR_conv_integer_auto_pad);
	int count;
	const int64_t *pads = mlo_attr_ints(n, ATTR_conv_integer_pads, &count);

	for (int i = 0; i < count; i++)
		if (pads[i] != 0)
			return false;
	return !strcmp(how, "VALID") || !strcmp(how, "NOTSET");
}

/* -zero * sum of w for each channel along `axis`, in a shape that broadcasts over a result of `rank` dimensions. */
static MloTensor *taken_away(MloGraph *g, const MloTensor *w, int axis, int64_t zero, int rank)
{
	int64_t dims[MLO_MAX_RANK], inner = 1, count = w->dim[axis];
	MloTensor *t;
	uint32_t *to;

	for (int d = w->rank - 1; d > axis; d--)
		inner *= w->dim[d];
	for (int d = 0; d < rank; d++)
		dims[d] = d ? 1 : count;
	t = mlo_tensor_new(g->arena, EL_i32, rank, dims);
	to = (uint32_t *)t->data;
	for (int64_t i = 0, n = mlo_tensor_elems(w); i < n; i++)
		to[i / inner % count] -= (uint32_t)zero * (uint32_t)((const int8_t *)w->data)[i];
	return t;
}

/* The node that adds a constant of the same shape to n and is its only reader, or NULL. */
static MloNode *bias_of(const MloGraph *g, const MloNode *n, const MloTensor *like, uint32_t *at)
{
	MloNode *u = mlo_only_user(g, n->out[0]);
	const MloTensor *b;

	if (!u || u->op != OP_add)
		return NULL;
	*at = u->in[0] == n->out[0];
	b = u->in[*at]->data;
	if (!b || b->rank != like->rank || memcmp(b->dim, like->dim, sizeof *b->dim * (size_t)b->rank) != 0)
		return NULL;
	return u;
}

static void join_bias(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	bool conv = n->op == OP_conv_integer;
	MloValue *zero = n->nin > 2 ? n->in[2] : NULL, *y;
	const MloValue *w = n->in[1];
	int axis = conv ? 0 : w->type.rank - 1, rank = n->out[0]->type.rank;
	MloTensor *t;
	MloNode *m, *u;
	double z;
	uint32_t at;

	if (!w->data || w->type.elem != EL_i8 || !mlo_const_scalar(zero, &z) || (n->nin > 3 && n->in[3]) ||
	    rank < 2 || (conv ? !no_pads(n) : w->type.rank != 2))
		return;
	t = taken_away(g, w->data, axis, (int64_t)z, conv ? rank - 1 : 1);
	m = mlo_rw_node(g, n, n->op, n, n->in, 2);
	mlo_rw_copy_attrs(m, n);
	y = mlo_rw_done(g, m, cx);
	y->type = n->out[0]->type;
	u = bias_of(g, n, t, &at);
	if (u) {
		for (int64_t i = 0, k = mlo_tensor_elems(t); i < k; i++)
			((uint32_t *)t->data)[i] += (uint32_t)mlo_tensor_i64(u->in[at]->data, i);
		mlo_node_set_in(g, u, at, mlo_graph_const(g, t, u->in[at]->name));
	} else {
		y = mlo_rw_op(g, n, OP_add, n, cx, y, mlo_graph_const(g, t, NULL));
		y->type = n->out[0]->type;
	}
	cx->changed += mlo_rw_replace(g, n, y);
}

MloStatus mlo_pass_qbias(MloGraph *g, MloPassCx *cx)
{
	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		if (n->op == OP_conv_integer || n->op == OP_matmul_integer)
			join_bias(g, n, cx);
	}
	return MLO_OK;
}
