/* passes/widen.c -- (de)quantization is done in float32, by operators that fuse into the kernels around them.
 * Requires: types.  Keeps: types, order, origins.  Breaks: nothing.  Idempotent.
 *
 * Constants are dequantised now.  Quantising becomes scaling, rounding and clipping, dequantising the reverse;
 * what clamps a value before it is quantised becomes part of that clipping.  Between quantization to 16 bits,
 * which kernels do not store, and its dequantization integers become floats of the same values.  All steps
 * round as the operators do. */
#include <math.h>

#include "ir/exec.h"
#include "passes/quant.h"

static MloValue *cast(MloGraph *g, MloNode *n, MloValue *x, MloElem to, MloPassCx *cx)
{
	MloNode *c = mlo_rw_node(g, n, OP_cast, n, &x, 1);

	mlo_attr_set_i(c, ATTR_cast_to, mlo_elem_onnx(to));
	return mlo_rw_done(g, c, cx);
}

/* -- scales and zero points -------------------------------------------------------------------- */

/* A scale or zero point in a shape that broadcasts over x, as float32; NULL: there is no constant form, or too
 * little is known. */
static MloValue *operand(MloGraph *g, MloNode *n, MloValue *v, MloPassCx *cx)
{
	int axis = mlo_quant_axis(n), rank = n->in[0]->type.rank;
	int64_t dims[MLO_MAX_RANK], count = mlo_type_elems(&v->type);
	MloTensor *t;

	if (axis == -2 || v->type.rank > rank)
		return NULL;
	if (!v->data)
		return axis >= 0 ? NULL : v->type.elem == EL_f32 ? v : cast(g, n, v, EL_f32, cx);
	if (count == 1)
		return mlo_rw_scalar(g, EL_f32, mlo_tensor_f64(v->data, 0));
	for (int d = axis; d < rank; d++)
		dims[d - axis] = d > axis ? 1 : count;
	t = mlo_tensor_new(g->arena, EL_f32, rank - axis, dims);
	for (int64_t i = 0; i < count; i++)
		mlo_tensor_set_f64(t, i, mlo_tensor_f64(v->data, i));
	return mlo_graph_const(g, t, v->name);
}

typedef struct Scale {
	MloValue *scale, *zero; /* NULL: 1, 0 */
} Scale;

static bool scale_of(MloGraph *g, MloNode *n, Scale *s, MloPassCx *cx)
{
	MloValue *zero = n->nin > 2 ? n->in[2] : NULL;

	*s = (Scale){0};
	if (n->in[1]->type.elem != EL_f32 || n->in[0]->type.rank < 0 || mlo_type_elems(&n->in[1]->type) < 1)
		return false;
	if (!mlo_const_all(n->in[1], 1) && !(s->scale = operand(g, n, n->in[1], cx)))
		return false;
	return !zero || mlo_const_all(zero, 0) || (s->zero = operand(g, n, zero, cx)) != NULL;
}

static MloValue *with(MloGraph *g, MloNode *n, MloOp op, MloValue *x, MloValue *k, MloPassCx *cx)
{
	return k ? mlo_rw_op(g, n, op, n, cx, x, k) : x;
}

/* -- quantization ------------------------------------------------------------------------------ */

/* What clamps the value that `q` quantises and has no other reader narrows the range of the integers. */
static MloValue *unclamped(const MloGraph *g, const MloNode *q, double *lo, double *hi)
{
	MloValue *x = q->in[0];
	MloQuant s;

	if (!mlo_quant_to(q, &s))
		return x;
	for (MloNode *d = x->def; d && mlo_only_user(g, x) && (d->op == OP_relu || d->op == OP_clip); d = x->def) {
		double from = -INFINITY, to = INFINITY;

		if (d->op == OP_relu)
			from = 0;
		else if ((d->nin > 1 && d->in[1] && !mlo_const_scalar(d->in[1], &from)) ||
		         (d->nin > 2 && d->in[2] && !mlo_const_scalar(d->in[2], &to)) || !(from <= to))
			break;
		from = mlo_quant_value(&s, from);
		to = mlo_quant_value(&s, to);
		if (from > *hi) /* the outer clamp has the last word */
			*lo = *hi;
		else if (to < *lo)
			*hi = *lo;
		*lo = fmin(fmax(*lo, from), *hi);
		*hi = fmax(fmin(*hi, to), *lo);
		x = d->in[0];
	}
	return x;
}

static MloValue *clipped(MloGraph *g, MloNode *n, MloValue *v, double lo, double hi, MloPassCx *cx)
{
	MloValue *in[3] = {v, mlo_rw_scalar(g, EL_f32, lo), mlo_rw_scalar(g, EL_f32, hi)};

	return mlo_rw_done(g, mlo_rw_node(g, n, OP_clip, n, in, 3), cx);
}

/* The integers that `q` makes, as floats; not yet clamped to the range of their type, which a cast does. */
static MloValue *rounded(MloGraph *g, MloNode *before, const MloNode *q, const Scale *s, MloPassCx *cx)
{
	double lo, hi, least, most, zero = 0;
	MloValue *v;
	bool ranged = mlo_quant_range(q->out[0]->type.elem, &lo, &hi);

	MLO_ASSERT(ranged);
	least = lo;
	most = hi;
	v = with(g, before, OP_div, unclamped(g, q, &least, &most), s->scale, cx);
	if (s->zero && (least > lo || most < hi))
		zero = mlo_tensor_f64(s->zero->data, 0);
	if (least > lo || most < hi)
		v = clipped(g, before, v, least - zero, most - zero, cx);
	v = mlo_rw_op(g, before, OP_round, before, cx, v, NULL);
	return with(g, before, OP_add, v, s->zero, cx);
}

static bool quantizes(const MloNode *n)
{
	double lo, hi;

	return n && n->op == OP_quantize_linear && n->in[0]->type.elem == EL_f32 &&
	       mlo_quant_range(n->out[0]->type.elem, &lo, &hi) && mlo_elem_bits(n->out[0]->type.elem) >= 8 &&
	       !mlo_attr_i(n, ATTR_quantize_linear_precision);
}

static bool widen_quantize(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	Scale s;

	if (!quantizes(n) || !scale_of(g, n, &s, cx))
		return false;
	return mlo_rw_replace(g, n, cast(g, n, rounded(g, n, n, &s, cx), n->out[0]->type.elem, cx));
}

/* -- dequantization ---------------------------------------------------------------------------- */

/* Integers whose difference from a zero point float32 holds exactly; sums have none. */
static bool dequantizes(const MloNode *n)
{
	MloElem e = n->in[0]->type.elem;
	double lo, hi;

	return n->out[0]->type.elem == EL_f32 &&
	       ((mlo_quant_range(e, &lo, &hi) && mlo_elem_bits(e) >= 8) ||
	        (e == EL_i32 && (n->nin < 3 || !n->in[2] || mlo_const_all(n->in[2], 0))));
}

static bool widen_dequantize(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloNode *q = n->in[0]->def;
	double lo, hi;
	MloValue *v;
	Scale s, of;

	if (!dequantizes(n) || !scale_of(g, n, &s, cx))
		return false;
	if (mlo_elem_bits(n->in[0]->type.elem) == 16 && quantizes(q) && scale_of(g, q, &of, cx) &&
	    mlo_quant_range(n->in[0]->type.elem, &lo, &hi))
		v = clipped(g, n, rounded(g, n, q, &of, cx), lo, hi, cx);
	else
		v = cast(g, n, n->in[0], EL_f32, cx);
	v = with(g, n, OP_sub, v, s.zero, cx);
	v = with(g, n, OP_mul, v, s.scale, cx);
	return mlo_rw_replace(g, n, v);
}

/* -- quantization to a tensor's own range ------------------------------------------------------- */

/* The smallest (largest) element of x, but not above (below) 0. */
static MloValue *bound(MloGraph *g, MloNode *n, MloOp reduce, MloOp clamp, MloPassCx *cx)
{
	MloNode *m = mlo_rw_node(g, n, reduce, n, n->in, 1);

	mlo_attr_set_i(m, ATTR_reduce_max_keepdims, 0);
	return mlo_rw_op(g, n, clamp, n, cx, mlo_rw_done(g, m, cx), mlo_rw_scalar(g, EL_f32, 0));
}

static MloValue *rounded_quotient(MloGraph *g, MloNode *n, MloValue *a, MloValue *b, MloPassCx *cx)
{
	return mlo_rw_op(g, n, OP_round, n, cx, mlo_rw_op(g, n, OP_div, n, cx, a, b), NULL);
}

/* Scale and zero point by the range; a tensor of zeros has scale 0 and is divided by 1. */
static void widen_dynamic(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *lo = bound(g, n, OP_reduce_min, OP_min, cx), *hi = bound(g, n, OP_reduce_max, OP_max, cx);
	MloValue *scale, *zero, *y, *in[3];

	scale = mlo_rw_op(g, n, OP_sub, n, cx, hi, lo);
	scale = with(g, n, OP_div, scale, mlo_rw_scalar(g, EL_f32, 255), cx);
	in[0] = mlo_rw_op(g, n, OP_greater, n, cx, scale, mlo_rw_scalar(g, EL_f32, 0));
	in[1] = scale;
	in[2] = mlo_rw_scalar(g, EL_f32, 1);
	in[0] = mlo_rw_done(g, mlo_rw_node(g, n, OP_where, n, in, 3), cx);
	zero = rounded_quotient(g, n, mlo_rw_op(g, n, OP_neg, n, cx, lo, NULL), in[0], cx);
	zero = clipped(g, n, zero, 0, 255, cx);
	y = with(g, n, OP_add, rounded_quotient(g, n, n->in[0], in[0], cx), zero, cx);
	y = cast(g, n, y, EL_u8, cx);
	if (n->out[1])
		mlo_graph_replace(g, n->out[1], scale);
	if (n->out[2])
		mlo_graph_replace(g, n->out[2], cast(g, n, zero, EL_u8, cx));
	cx->changed += mlo_rw_replace(g, n, y);
}

static bool all_constant(const MloNode *n)
{
	for (uint32_t i = 0; i < n->nin; i++)
		if (n->in[i] && !n->in[i]->data)
			return false;
	return true;
}

static MloStatus dequantize_now(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	const MloTensor *in[3] = {0};
	MloTensor *out;
	int64_t dims[MLO_MAX_RANK];

	for (uint32_t i = 0; i < n->nin; i++)
		in[i] = n->in[i] ? n->in[i]->data : NULL;
	for (int i = 0; i < n->out[0]->type.rank; i++)
		dims[i] = n->out[0]->type.dim[i].k;
	out = mlo_tensor_new(g->arena, n->out[0]->type.elem, n->out[0]->type.rank, dims);
	MLO_TRY(mlo_exec_node(cx->arena, n, in, &out, true, cx->diag));
	cx->changed += mlo_rw_replace(g, n, mlo_graph_const(g, out, n->out[0]->name));
	return MLO_OK;
}

MloStatus mlo_pass_widen(MloGraph *g, MloPassCx *cx)
{
	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		if (n->op == OP_dequantize_linear && all_constant(n))
			MLO_TRY(dequantize_now(g, n, cx));
		else if (n->op == OP_dequantize_linear && mlo_node_used(n))
			cx->changed += widen_dequantize(g, n, cx);
		else if (n->op == OP_dynamic_quantize_linear && n->out[0] && n->in[0]->type.rank > 0)
			widen_dynamic(g, n, cx);
	}
	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		if (n->op == OP_quantize_linear && mlo_node_used(n))
			cx->changed += widen_quantize(g, n, cx);
	}
	return MLO_OK;
}
