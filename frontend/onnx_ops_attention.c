/* frontend/onnx_ops_attention.c -- importers of attention and what belongs to it. */
#include "frontend/onnx_ops.h"

/* A node with all results that the operator has; the importers name those that the model names. */
static MloNode *with_all_results(OnnxNode *n)
{
	const MloOpInfo *info = mlo_op_info(n->row->op);
	MloNode *m;

	if (!onnx_arity(n, (uint32_t)info->min_in, (uint32_t)info->max_in))
		return NULL;
	if (n->nout > (uint32_t)info->max_out) {
		onnx_fail(n, MLO_ERR_MODEL, "has %u results, at most %d are known", n->nout, info->max_out);
		return NULL;
	}
	m = onnx_node(n, n->row->op, n->in, n->nin, (uint32_t)info->max_out);
	onnx_attrs(n, m);
	return m;
}

void import_attention(OnnxNode *n)
{
	MloNode *m = with_all_results(n);

	onnx_ignore(n, "softmax_precision"); /* never less than asked for */
	if (!m)
		return;
	if (!onnx_wanted(n, 3)) /* the last stage costs nothing more */
		mlo_attr_set_i(m, ATTR_attention_qk_matmul_output_mode, 3);
	onnx_infer(n, m);
	for (uint32_t i = 0; i < n->nout; i++)
		onnx_result(n, i, m->out[i]);
	for (uint32_t i = 1; i < 3; i++)
		if (!onnx_wanted(n, i))
			m->out[i] = NULL;
}

/* -- FlexAttention ------------------------------------------------------------------------------------ */

static MloValue *size_of(OnnxNode *n, MloValue *v, int dim)
{
	MloNode *m = onnx_node(n, OP_shape, &v, 1, 1);

	mlo_attr_set_i(m, ATTR_shape_start, dim);
	mlo_attr_set_i(m, ATTR_shape_end, dim + 1);
	return onnx_infer(n, m);
}

static MloValue *join(OnnxNode *n, MloValue *const *in, uint32_t count)
{
	MloNode *m = onnx_node(n, OP_concat, in, count, 1);

	mlo_attr_set_i(m, ATTR_concat_axis, 0);
	return onnx_infer(n, m);
}

/* kv with each of its heads as often as heads of q share it. */
static MloValue *repeat_heads(OnnxNode *n, MloValue *kv, MloValue *q)
{
	const int64_t second = 2, unit = 1;
	MloValue *one = onnx_i64s(n, &unit, 1), *times, *wide, *size[4];

	if (kv->type.rank == 4 && q->type.rank == 4 && mlo_dim_same(kv->type.dim[1], q->type.dim[1]))
		return kv;
	times = onnx_op2(n, OP_div, size_of(n, q, 1), size_of(n, kv, 1));
	wide = onnx_op2(n, OP_unsqueeze, kv, onnx_i64s(n, &second, 1));
	wide = onnx_op2(n, OP_expand, wide, join(n, (MloValue *[]){one, one, times, one, one}, 5));
	for (int i = 0; i < 4; i++)
		size[i] = size_of(n, i == 1 ? q : kv, i);
	return onnx_op2(n, OP_reshape, wide, join(n, size, 4));
}

/* What the graph in `attr` makes of v; v itself where there is none. */
static MloValue *modified(OnnxNode *n, const char *attr, MloValue *v)
{
	OnnxBody b;

	if (!onnx_attr(n, attr) || !onnx_body_inline(n, attr, &b))
		return v;
	if (b.proto->n_input == 1 && b.proto->n_output == 1) {
		onnx_body_bind(&b, 0, v);
		onnx_body_nodes(&b);
		v = onnx_body_result(&b, 0);
	} else {
		onnx_fail(n, MLO_ERR_MODEL, "'%s' has %zu inputs and %zu outputs, one each is expected", attr,
			  b.proto->n_input, b.proto->n_output);
	}
	onnx_body_close(&b);
	n->failed |= b.inner.failed || !v;
	return v;
}

static MloValue *scaled_scores(OnnxNode *n, MloValue *q, MloValue *k)
{
	const MloElem e = onnx_elem_beside(q);
	MloValue *scale, *swapped;
	MloNode *t;

	if (onnx_attr(n, "scale"))
		scale = onnx_scalar(n, e, onnx_float(n, "scale", 0));
	else
		scale = onnx_op1(n, OP_reciprocal, onnx_op1(n, OP_sqrt, onnx_cast(n, size_of(n, q, 3), e)));
	t = onnx_node(n, OP_transpose, &k, 1, 1);
	mlo_attr_set_ints(n->g, t, ATTR_transpose_perm, (const int64_t[]){0, 1, 3, 2}, 4);
	swapped = onnx_infer(n, t);
	return onnx_op2(n, OP_matmul, onnx_op2(n, OP_mul, q, scale), swapped);
}

/* softmax(score_mod(q @ k' * scale)), prob_mod, @ v, written out. */
static void modified_attention(OnnxNode *n)
{
	const MloElem e = onnx_elem_beside(n->in[0]);
	int64_t code = onnx_int(n, "softmax_precision", mlo_elem_onnx(e == EL_f64 ? EL_f64 : EL_f32));
	MloElem precise = code > 0 && code < 256 ? mlo_elem_from_onnx((int)code) : EL_none;
	MloValue *q = onnx_wide(n, n->in[0]), *k = repeat_heads(n, onnx_wide(n, n->in[1]), q);
	MloValue *v = repeat_heads(n, onnx_wide(n, n->in[2]), q), *p;
	MloNode *m;

	if (!mlo_elem_is_float(precise)) {
		onnx_fail(n, MLO_ERR_MODEL, "softmax_precision %lld is no floating type", (long long)code);
		return;
	}
	p = modified(n, "score_mod", onnx_cast(n, scaled_scores(n, q, k), precise));
	if (n->failed)
		return;
	m = onnx_node(n, OP_softmax, &p, 1, 1);
	mlo_attr_set_i(m, ATTR_softmax_axis, -1);
	p = modified(n, "prob_mod", onnx_infer(n, m));
	if (n->failed)
		return;
	p = onnx_op2(n, OP_matmul, onnx_cast(n, p, onnx_elem_beside(v)), v);
	onnx_result(n, 0, onnx_cast(n, p, e));
}

void import_flex_attention(OnnxNode *n)
{
	MloNode *m;
	double scale = onnx_float(n, "scale", 0);

	if (!onnx_arity(n, 3, 3))
		return;
	if (onnx_attr(n, "score_mod") || onnx_attr(n, "prob_mod")) {
		modified_attention(n);
		return;
	}
	onnx_ignore(n, "softmax_precision");
	m = onnx_node(n, OP_attention, n->in, 3, 4);
	mlo_attr_set_i(m, ATTR_attention_qk_matmul_output_mode, 3);
	if (onnx_attr(n, "scale"))
		mlo_attr_set_f(m, ATTR_attention_scale, scale);
	onnx_result(n, 0, onnx_infer(n, m));
	m->out[1] = m->out[2] = NULL;
}

/* -- others --------------------------------------------------------------------------------------------- */

/* Operators whose results are all made, wanted or not. */
void import_whole(OnnxNode *n)
{
	MloNode *m = with_all_results(n);

	onnx_ignore(n, "chunk_size"); /* a hint to how it is computed */
	if (m)
		onnx_finish(n, m);
}

/* DFT before opset 20: the axis is an attribute. */
void import_dft_attr(OnnxNode *n)
{
	MloValue *in[3] = {0};
	MloNode *m;
	int64_t axis = onnx_int(n, "axis", 1);

	if (!onnx_arity(n, 1, 2))
		return;
	in[0] = n->in[0];
	in[1] = onnx_in(n, 1);
	in[2] = mlo_graph_const_i64s(n->g, 0, &axis, 1);
	m = onnx_node(n, OP_dft, in, 3, 1);
	onnx_attrs(n, m);
	onnx_finish(n, m);
}
