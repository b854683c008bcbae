/* frontend/onnx_ms_quant.c -- importers of com.microsoft operators on quantized tensors.
 *
 * Each becomes dequantize, the float operator, quantize: the form in which exporters write quantized
 * models, too, so that one set of passes serves both. */
#include "frontend/onnx_ms.h"

/* Operands i..i+2: a quantized tensor, its scale, its zero point (may be absent). */
static MloValue *triple(OnnxNode *n, uint32_t i)
{
	onnx_check_scale(n, n->in[i + 1], false);
	return ms_dequantize(n, n->in[i], n->in[i + 1], onnx_in(n, i + 2), 1);
}

/* v becomes result 0, quantized by operands i (scale) and i+1 (zero point), to the type of operand 0. */
static void finish(OnnxNode *n, MloValue *v, uint32_t i, uint32_t like)
{
	onnx_check_scale(n, n->in[i], true);
	onnx_result(n, 0, ms_quantize(n, v, n->in[i], onnx_in(n, i + 1), 1, onnx_elem_beside(n->in[like])));
}

static bool present(OnnxNode *n, const uint32_t *at, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (!onnx_in(n, at[i])) {
			onnx_fail(n, MLO_ERR_MODEL, "operand %u is missing", at[i]);
			return false;
		}
	return true;
}

#define PRESENT(n, ...) \
	present(n, (const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* QLinearAdd, QLinearMul. */
void import_ms_qlinear_binary(OnnxNode *n)
{
	if (onnx_arity(n, 2, 8) && PRESENT(n, 0, 1, 3, 4, 6))
		finish(n, onnx_op2(n, n->row->op, triple(n, 0), triple(n, 3)), 6, 0);
}

/* QLinearLeakyRelu, QLinearSigmoid: x, scale, zero, scale and zero of the result. */
void import_ms_qlinear_unary(OnnxNode *n)
{
	MloNode *m;
	MloValue *x;

	if (!onnx_arity(n, 2, 5) || !PRESENT(n, 3))
		return;
	x = triple(n, 0);
	m = onnx_node(n, n->row->op, &x, 1, 1);
	onnx_attrs(n, m);
	finish(n, onnx_infer(n, m), 3, 0);
}

/* `opset` says which meaning of `axis` counts: before 13 it began a flattened row. */
void import_ms_qlinear_softmax(OnnxNode *n)
{
	int64_t axis = onnx_int(n, "axis", -1), opset = onnx_int(n, "opset", 13);
	MloValue *x, *shape;
	MloNode *m;

	if (!onnx_arity(n, 2, 5) || !PRESENT(n, 3) || !ms_rank(n, 0, 1, MLO_MAX_RANK))
		return;
	x = triple(n, 0);
	if (opset >= 13 || axis == -1 || axis == x->type.rank - 1) {
		finish(n, ms_softmax(n, x, axis), 3, 0);
		return;
	}
	shape = onnx_op1(n, OP_shape, x);
	m = onnx_node(n, OP_flatten, &x, 1, 1);
	mlo_attr_set_i(m, ATTR_flatten_axis, axis);
	m = onnx_node(n, OP_reshape, (MloValue *[]){ms_softmax(n, onnx_infer(n, m), -1), shape}, 2, 1);
	mlo_attr_set_i(m, ATTR_reshape_allowzero, 1);
	finish(n, onnx_infer(n, m), 3, 0);
}

/* QLinearAveragePool, QLinearGlobalAveragePool. */
void import_ms_qlinear_pool(OnnxNode *n)
{
	bool last = onnx_int(n, "channels_last", 0) != 0;
	MloValue *x, *y;
	MloNode *m;

	if (!onnx_arity(n, 2, 5) || !PRESENT(n, 3) || !ms_rank(n, 0, 3, MLO_MAX_RANK))
		return;
	x = triple(n, 0);
	x = last ? ms_channels_first(n, x) : x;
	m = onnx_node(n, n->row->op, &x, 1, 1);
	onnx_attrs(n, m);
	y = onnx_infer(n, m);
	finish(n, last ? ms_channels_last(n, y) : y, 3, 0);
}

void import_ms_qlinear_reduce_mean(OnnxNode *n)
{
	MloValue *in[2];
	MloNode *m;

	if (!onnx_arity(n, 2, 5) || !PRESENT(n, 3))
		return;
	in[0] = triple(n, 0);
	in[1] = onnx_ints_operand(n, "axes");
	m = onnx_node(n, OP_reduce_mean, in, in[1] ? 2 : 1, 1);
	mlo_attr_set_i(m, ATTR_reduce_mean_keepdims, onnx_int(n, "keepdims", 1));
	finish(n, onnx_infer(n, m), 3, 0);
}

/* (scale, zero) of the result, then a tensor, its scale and zero point for every part. */
void import_ms_qlinear_concat(OnnxNode *n)
{
	uint32_t parts = n->nin > 2 ? (n->nin - 2 + 2) / 3 : 0;
	MloValue **in = MLO_NEWN(n->im->tmp, MloValue *, parts + 1);
	MloNode *m;

	if (!onnx_arity(n, 1, UINT32_MAX) || !PRESENT(n, 2, 3))
		return;
	for (uint32_t i = 0; i < parts; i++) {
		if (!PRESENT(n, 2 + 3 * i, 3 + 3 * i))
			return;
		in[i] = triple(n, 2 + 3 * i);
	}
	m = onnx_node(n, OP_concat, in, parts, 1);
	mlo_attr_set_i(m, ATTR_concat_axis, onnx_int(n, "axis", 0));
	finish(n, onnx_infer(n, m), 0, 2);
}

/* (condition, x, scale, zero, y, scale, zero, scale and zero of the result) */
void import_ms_qlinear_where(OnnxNode *n)
{
	if (onnx_arity(n, 9, 9))
		finish(n, onnx_op3(n, OP_where, n->in[0], triple(n, 1), triple(n, 4)), 7, 1);
}

/* (x, scale, zero, w, scale, zero, scale and zero of the result, bias): as ai.onnx, or channels last. */
void import_ms_qlinear_conv(OnnxNode *n)
{
	bool last = onnx_int(n, "channels_last", 0) != 0;
	MloValue *in[3], *scale;
	MloNode *m;

	if (!onnx_arity(n, 8, 9) || !ms_rank(n, 0, 3, MLO_MAX_RANK))
		return;
	in[0] = triple(n, 0);
	in[0] = last ? ms_channels_first(n, in[0]) : in[0];
	in[1] = ms_dequantize(n, n->in[3], n->in[4], n->in[5], 0);
	in[2] = onnx_in(n, 8);
	if (in[2]) { /* whole numbers, in units of both scales */
		scale = onnx_op2(n, OP_mul, n->in[1], n->in[4]);
		in[2] = ms_dequantize(n, in[2], scale, NULL, 0);
	}
	m = onnx_node(n, OP_conv, in, in[2] ? 3 : 2, 1);
	onnx_attrs(n, m);
	onnx_infer(n, m);
	finish(n, last ? ms_channels_last(n, m->out[0]) : m->out[0], 6, 0);
}
