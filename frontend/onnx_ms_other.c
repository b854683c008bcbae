/* frontend/onnx_ms_other.c -- importers of com.microsoft operators of other kinds. */
#include "frontend/onnx_ms.h"

/* (x, axis: an integer) */
void import_ms_expand_dims(OnnxNode *n)
{
	int64_t one = 1;
	MloValue *axis;

	if (!onnx_arity(n, 2, 2))
		return;
	axis = ms_reshape(n, onnx_cast(n, n->in[1], EL_i64), &one, 1);
	onnx_result(n, 0, onnx_op2(n, OP_unsqueeze, n->in[0], axis));
}

/* Distances of all rows of a to all rows of b, from |a|^2 - 2ab + |b|^2. */
void import_ms_cdist(OnnxNode *n)
{
	const char *metric = onnx_str(n, "metric", "sqeuclidean");
	MloValue *a, *b, *aa, *bb, *d;
	MloElem e;

	if (!onnx_arity(n, 2, 2) || !ms_rank(n, 0, 2, 2) || !ms_rank(n, 1, 2, 2))
		return;
	a = n->in[0];
	b = n->in[1];
	e = onnx_elem_beside(a);
	aa = ms_reduce(n, OP_reduce_sum, onnx_op2(n, OP_mul, a, a), 1, true);
	bb = ms_reduce(n, OP_reduce_sum, onnx_op2(n, OP_mul, b, b), 1, false);
	d = onnx_op2(n, OP_add, onnx_op2(n, OP_add, ms_gemm(n, a, b, NULL, false, true, -2, 1), aa), bb);
	d = onnx_op2(n, OP_max, d, onnx_scalar(n, e, 0));
	onnx_result(n, 0, metric[0] == 'e' ? onnx_op1(n, OP_sqrt, d) : d);
}

/* The pads are an operand; here they must be constant. (x, w, pads, bias) */
void import_ms_conv_transpose_pads(OnnxNode *n)
{
	MloValue *in[3] = {0};
	const MloTensor *pads;
	int64_t v[2 * MLO_MAX_RANK], count;
	MloNode *m;

	if (!onnx_arity(n, 2, 4))
		return;
	in[0] = n->in[0];
	in[1] = n->in[1];
	in[2] = onnx_in(n, 3);
	m = onnx_node(n, OP_conv_transpose, in, in[2] ? 3 : 2, 1);
	onnx_attrs(n, m);
	if (onnx_in(n, 2)) {
		pads = n->in[2]->data;
		count = pads ? mlo_tensor_elems(pads) : 0;
		if (!pads || pads->elem != EL_i64 || count > 2 * MLO_MAX_RANK) {
			onnx_fail(n, MLO_ERR_UNSUPPORTED, "pads that are not constant are not supported");
			return;
		}
		for (int64_t i = 0; i < count; i++)
			v[i] = mlo_tensor_i64(pads, i);
		mlo_attr_set_ints(n->g, m, ATTR_conv_transpose_pads, v, (int)count);
	}
	onnx_finish(n, m);
}

/* (weight, indices, padding index, ...): what else there is matters in training only. */
void import_ms_torch_embedding(OnnxNode *n)
{
	if (onnx_arity(n, 2, 4))
		onnx_result(n, 0, onnx_op2(n, OP_gather, n->in[0], n->in[1]));
}

/* Integers are summed up as i32. */
void import_ms_reduce_sum_integer(OnnxNode *n)
{
	MloValue *in[2];
	MloNode *m;

	if (!onnx_arity(n, 1, 1))
		return;
	in[0] = onnx_cast(n, n->in[0], EL_i32);
	in[1] = onnx_ints_operand(n, "axes");
	m = onnx_node(n, OP_reduce_sum, in, in[1] ? 2 : 1, 1);
	mlo_attr_set_i(m, ATTR_reduce_sum_keepdims, onnx_int(n, "keepdims", 1));
	onnx_finish(n, m);
}

/* 1 where x is something that the attributes forbid. */
static MloValue *not_finite(OnnxNode *n, MloValue *x, bool inf, bool nan)
{
	MloValue *a = inf ? onnx_op1(n, OP_is_inf, x) : NULL, *b = nan ? onnx_op1(n, OP_is_nan, x) : NULL;
	MloValue *bad = !a ? b : !b ? a : onnx_op2(n, OP_or, a, b);
	MloNode *m;

	bad = onnx_cast(n, bad, EL_i32);
	m = onnx_node(n, OP_reduce_max, &bad, 1, 1);
	mlo_attr_set_i(m, ATTR_reduce_max_keepdims, 0);
	return onnx_infer(n, m);
}

/* One bool for all operands. */
void import_ms_is_all_finite(OnnxNode *n)
{
	bool inf_only = onnx_int(n, "isinf_only", 0) != 0, nan_only = onnx_int(n, "isnan_only", 0) != 0;
	MloValue *bad = NULL, *v;

	if (!onnx_arity(n, n->nin ? n->nin : 1, UINT32_MAX))
		return;
	if (inf_only && nan_only) {
		onnx_fail(n, MLO_ERR_MODEL, "isinf_only and isnan_only exclude each other");
		return;
	}
	for (uint32_t i = 0; i < n->nin; i++) {
		v = not_finite(n, n->in[i], !nan_only, !inf_only);
		bad = bad ? onnx_op2(n, OP_max, bad, v) : v;
	}
	onnx_result(n, 0, onnx_op2(n, OP_equal, bad, onnx_scalar(n, EL_i32, 0)));
}
