/* passes/qmove.c -- quantization moves past operators that only move elements.
 * Requires: types.  Keeps: types of the results, order, origins.  Breaks: nothing.  Idempotent.
 *
 * Dequantization sinks below transposes, slices, pooling by maximum and the like; quantization rises above those
 * whose result nobody else reads. So whatever moves elements moves 8 bits of each, contractions find
 * dequantised operands and quantised results beside them, and a quantization that meets the dequantization
 * that undoes it goes with it. Each step takes one (de)quantization past one node, down or up, never back.
 * Both sides are equal bit by bit: quantization with one scale, larger than 0, is the same function of every
 * element and keeps their order. */
#include <string.h>

#include "passes/quant.h"

/* Types whose elements kernels move. */
static bool in_bytes(const MloQuant *q)
{
	return mlo_elem_bits(q->elem) == 8;
}

/* n over other data operands, before n. A pad gets the integer that stands for its value. */
static MloNode *moved(MloGraph *g, MloNode *n, MloValue *const *data, const MloQuant *q, MloPassCx *cx)
{
	MloValue **in = MLO_NEWN(cx->arena, MloValue *, n->nin + 3);
	uint32_t nin = n->nin;
	MloNode *m;

	memcpy(in, n->in, n->nin * sizeof *in);
	memcpy(in, data, mlo_quant_moved(n) * sizeof *in);
	if (n->op == OP_pad && q) {
		double value = nin > 2 && in[2] ? mlo_tensor_f64(in[2]->data, 0) : 0;

		in[2] = mlo_rw_scalar(g, q->elem, mlo_quant_value(q, value));
		nin = nin < 3 ? 3 : nin;
	}
	m = mlo_graph_node(g, n, n->op, in, nin, n->nout);
	mlo_origin_add(g, m, n->origin);
	mlo_rw_copy_attrs(m, n);
	for (uint32_t i = 0; i < n->nout; i++)
		if (!n->out[i])
			m->out[i] = NULL;
	if (mlo_infer_node(g, m, cx->diag) != MLO_OK)
		MLO_BUG("an ill-typed %s for node '%s'", mlo_op_info(n->op)->name, mlo_node_name(n));
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i]) { /* may know sizes better */
			m->out[i]->type = n->out[i]->type;
			m->out[i]->type.elem = data[0]->type.elem;
		}
	cx->changed++;
	return m;
}

/* A (de)quantization like `like` of another operand, whose type is still to be inferred. */
static MloNode *again(MloGraph *g, MloNode *before, const MloNode *like, MloValue *x)
{
	MloValue *in[3] = {x, like->in[1], like->nin > 2 ? like->in[2] : NULL};
	MloNode *n = mlo_rw_node(g, before, like->op, like, in, like->nin);

	mlo_rw_copy_attrs(n, like);
	return n;
}

/* -- down -------------------------------------------------------------------------------------- */

/* Scales along an axis follow it through a transpose. */
static bool turned_axis(const MloNode *n, int64_t *axis)
{
	int np;
	const int64_t *perm = mlo_attr_ints(n, ATTR_transpose_perm, &np);

	for (int i = 0; n->op == OP_transpose && i < n->in[0]->type.rank; i++)
		if ((np ? perm[i] : n->in[0]->type.rank - 1 - i) == *axis) {
			*axis = i;
			return true;
		}
	return false;
}

/* May the dequantization `d` of n's first operand be done behind n?  *axis: of its scales there, or -1. */
static bool sinks(const MloNode *d, const MloNode *n, MloQuant *q, int64_t *axis)
{
	*axis = mlo_quant_axis(d);
	if (*axis >= 0)
		return d->in[0]->data && turned_axis(n, axis);
	if (!mlo_quant_from(d, q) || (!in_bytes(q) && (!d->in[0]->data || n->op == OP_gather)))
		return false;
	return n->op != OP_pad || n->nin < 3 || !n->in[2] || mlo_const_is(n->in[2], 0);
}

static void sink(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	uint32_t count = mlo_quant_moved(n);
	MloValue **data = MLO_NEWN(cx->arena, MloValue *, count + 1);
	MloNode *d = n->in[0] ? mlo_def_op(n->in[0], OP_dequantize_linear) : NULL, *m;
	MloQuant q, other;
	int64_t axis, same;

	if (!d || !sinks(d, n, &q, &axis))
		return;
	for (uint32_t i = 0; i < count; i++) {
		MloNode *e = mlo_def_op(n->in[i], OP_dequantize_linear);

		if (!e || (e != d && (axis >= 0 || !sinks(e, n, &other, &same) || !mlo_quant_same(&q, &other))))
			return;
		data[i] = e->in[0];
	}
	m = moved(g, n, data, axis < 0 ? &q : NULL, cx);
	for (uint32_t i = 0; i < n->nout; i++) {
		MloNode *y;

		if (!n->out[i])
			continue;
		y = again(g, n, d, m->out[i]);
		if (axis >= 0)
			mlo_attr_set_i(y, ATTR_dequantize_linear_axis, axis);
		mlo_rw_done(g, y, cx);
		y->out[0]->name = n->out[i]->name;
		mlo_graph_replace(g, n->out[i], y->out[0]);
	}
	mlo_rw_sweep(g, n);
}

/* -- up ---------------------------------------------------------------------------------------- */

typedef struct Rising {
	MloGraph *g;
	MloPassCx *cx;
	struct { MloNode **items; size_t n, cap; } todo; /* quantizations */
} Rising;

/* The integers of v under quantization `n`: those that v was dequantised from, or v quantised before `at`. */
static MloValue *integers(Rising *r, MloNode *at, const MloNode *n, const MloQuant *q, MloValue *v)
{
	MloQuant from;
	MloNode *new;

	if (mlo_quant_from(v->def, &from) && mlo_quant_same(q, &from))
		return v->def->in[0];
	new = again(r->g, at, n, v);
	MLO_PUSH(r->cx->arena, &r->todo, new);
	return mlo_rw_done(r->g, new, r->cx);
}

static void rise(Rising *r, MloNode *n)
{
	MloNode *m = n->in[0]->def;
	MloValue **data;
	MloQuant q, from;

	if (!m || !mlo_quant_to(n, &q) || !in_bytes(&q))
		return;
	if (mlo_quant_from(m, &from) && mlo_quant_same(&q, &from)) {
		r->cx->changed += mlo_rw_replace(r->g, n, m->in[0]);
		return;
	}
	if (!mlo_quant_moves(m) || n->in[0]->nuse != 1 || m->nout != 1)
		return;
	data = MLO_NEWN(r->cx->arena, MloValue *, m->nin);
	for (uint32_t i = 0; i < mlo_quant_moved(m); i++)
		data[i] = integers(r, m, n, &q, m->in[i]);
	mlo_rw_replace(r->g, n, moved(r->g, m, data, &q, r->cx)->out[0]);
}

MloStatus mlo_pass_qmove(MloGraph *g, MloPassCx *cx)
{
	Rising r = {.g = g, .cx = cx};

	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		if (mlo_quant_moves(n) && mlo_node_used(n))
			sink(g, n, cx);
	}
	for (MloNode *n = g->first; n; n = n->next)
		if (n->op == OP_quantize_linear)
			MLO_PUSH(cx->arena, &r.todo, n);
	while (r.todo.n) {
		MloNode *n = r.todo.items[--r.todo.n];

		if (n->in[0] && mlo_node_used(n))
			rise(&r, n);
	}
	return MLO_OK;
}
