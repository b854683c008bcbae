/* passes/widen.c -- quantised arithmetic that no kernel does in integers is done in float32.
 * Requires: types.  Keeps: types, order, origins.  Breaks: nothing.  Idempotent.
 *
 * Constants are dequantised now.  Quantising and dequantising with one constant scale becomes rounding,
 * clipping and scaling, which fuse into the kernels around them; between the two, integers become floats of
 * the same values, so that nothing is stored in between.  All steps round as the operators do. */
#include "ir/exec.h"
#include "passes/match.h"

typedef struct Scale {
	double scale, zero, lo, hi; /* of the integers: their range */
} Scale;

static bool range_of(MloElem e, Scale *s)
{
	static const struct { MloElem elem; double lo, hi; } known[] = {
		{EL_u8, 0, 255}, {EL_i8, -128, 127}, {EL_u16, 0, 65535}, {EL_i16, -32768, 32767}};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].elem == e) {
			s->lo = known[i].lo;
			s->hi = known[i].hi;
			return true;
		}
	return false;
}

/* One float32 scale and zero point for the whole tensor. */
static bool scale_of(const MloNode *n, Scale *s)
{
	const MloValue *scale = n->in[1], *zero = n->nin > 2 ? n->in[2] : NULL;

	s->zero = 0;
	return scale->type.elem == EL_f32 && mlo_const_scalar(scale, &s->scale) &&
	       (!zero || mlo_const_scalar(zero, &s->zero));
}

static bool quantizes(const MloNode *n, Scale *s)
{
	return n && n->op == OP_quantize_linear && n->in[0]->type.elem == EL_f32 &&
	       range_of(n->out[0]->type.elem, s) &&
	       !mlo_attr_i(n, ATTR_quantize_linear_block_size) && !mlo_attr_i(n, ATTR_quantize_linear_precision) &&
	       scale_of(n, s);
}

static bool dequantizes(const MloNode *n, Scale *s)
{
	return n->op == OP_dequantize_linear && n->out[0]->type.elem == EL_f32 && range_of(n->in[0]->type.elem, s) &&
	       !mlo_attr_i(n, ATTR_dequantize_linear_block_size) && scale_of(n, s);
}

static MloValue *with(MloGraph *g, MloNode *n, MloOp op, MloValue *x, double k, MloPassCx *cx)
{
	return mlo_rw_op(g, n, op, n, cx, x, mlo_rw_scalar(g, EL_f32, k));
}

static MloValue *cast(MloGraph *g, MloNode *n, MloValue *x, MloElem to, MloPassCx *cx)
{
	MloNode *c = mlo_rw_node(g, n, OP_cast, n, &x, 1);

	mlo_attr_set_i(c, ATTR_cast_to, mlo_elem_onnx(to));
	return mlo_rw_done(g, c, cx);
}

/* The integers that `q` makes, as floats. */
static MloValue *quantized(MloGraph *g, MloNode *before, const MloNode *q, const Scale *s, MloPassCx *cx)
{
	MloValue *v = with(g, before, OP_div, q->in[0], s->scale, cx);

	v = mlo_rw_op(g, before, OP_round, before, cx, v, NULL);
	if (s->zero != 0)
		v = with(g, before, OP_add, v, s->zero, cx);
	return with(g, before, OP_min, with(g, before, OP_max, v, s->lo, cx), s->hi, cx);
}

static bool widen_quantize(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	Scale s;
	MloValue *v;

	if (!quantizes(n, &s))
		return false;
	v = cast(g, n, quantized(g, n, n, &s, cx), n->out[0]->type.elem, cx);
	return mlo_rw_replace(g, n, v);
}

static bool widen_dequantize(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	const MloNode *q = n->in[0]->def;
	MloValue *v;
	Scale s, of;

	if (!dequantizes(n, &s))
		return false;
	v = quantizes(q, &of) ? quantized(g, n, q, &of, cx) : cast(g, n, n->in[0], EL_f32, cx);
	if (s.zero != 0)
		v = with(g, n, OP_sub, v, s.zero, cx);
	return mlo_rw_replace(g, n, with(g, n, OP_mul, v, s.scale, cx));
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
		else if (n->op == OP_dequantize_linear)
			cx->changed += widen_dequantize(g, n, cx);
	}
	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		if (n->op == OP_quantize_linear && mlo_node_used(n))
			cx->changed += widen_quantize(g, n, cx);
	}
	return MLO_OK;
}
