/* frontend/onnx_ops_quant.c -- importers of operators that compute on quantized tensors.
 *
 * They become an exact integer product, and quantization of it: sums of 32 bits are scaled by
 * (scale of a * scale of b / scale of y), rounded to nearest even, and saturated. */
#include "frontend/onnx_ops.h"

#include <float.h>
#include <math.h>

bool onnx_check_scale(OnnxNode *n, const MloValue *scale, bool divides)
{
	const MloTensor *t = scale ? scale->data : NULL;
	int64_t count = t && mlo_elem_is_float(t->elem) ? mlo_tensor_elems(t) : 0;

	for (int64_t i = 0; i < count; i++) {
		double v = mlo_tensor_f64(t, i);
		const char *what = isnan(v) ? "not a number" : isinf(v) ? "infinite" : v < 0 ? "negative" : v == 0 ? "zero"
		                 : t->elem == EL_f32 && v < (double)FLT_MIN ? "denormal, which kernels count as zero" : NULL;

		if (!what || (!divides && v >= 0 && !isinf(v)))
			continue;
		onnx_fail(n, MLO_ERR_MODEL, "scale '%s' is %s: element %lld is %g", scale->name ? scale->name : "", what,
		          (long long)i, v);
		return false;
	}
	return true;
}

void import_quantize_linear(OnnxNode *n)
{
	if (onnx_check_scale(n, onnx_in(n, 1), true))
		onnx_plain(n, OP_quantize_linear);
}

/* A channel all of whose numbers are 0 may have a scale of 0 here. */
void import_dequantize_linear(OnnxNode *n)
{
	if (onnx_check_scale(n, onnx_in(n, 1), false))
		onnx_plain(n, OP_dequantize_linear);
}

/* A scale as float32. */
static MloValue *scale_of(OnnxNode *n, uint32_t i)
{
	return onnx_cast(n, n->in[i], EL_f32);
}

/* Scales of operands 1 and 4, and 6 of the result. */
static bool scales_ok(OnnxNode *n)
{
	return onnx_check_scale(n, n->in[1], false) && onnx_check_scale(n, n->in[4], false) &&
	       onnx_check_scale(n, n->in[6], true);
}

static bool single(const MloValue *v)
{
	return mlo_type_elems(&v->type) == 1;
}

static MloValue *dequantized(OnnxNode *n, MloValue *x, MloValue *scale, MloValue *zero)
{
	return onnx_infer(n, onnx_node(n, OP_dequantize_linear, (MloValue *[]){x, scale, zero}, zero ? 3 : 2, 1));
}

static MloValue *quantized(OnnxNode *n, MloValue *x, MloValue *scale, MloValue *zero, int64_t axis)
{
	MloNode *m = onnx_node(n, OP_quantize_linear, (MloValue *[]){x, scale, zero}, 3, 1);

	mlo_attr_set_i(m, ATTR_quantize_linear_axis, axis);
	return onnx_infer(n, m);
}

/* scale a * scale b / scale y */
static MloValue *factor(OnnxNode *n, MloValue *a, MloValue *b, MloValue *y)
{
	return onnx_op2(n, OP_div, onnx_op2(n, OP_mul, a, b), y);
}

/* Operands: x, its scale and zero point, w, likewise, scale and zero point of y, bias (i32). */
void import_qlinear_conv(OnnxNode *n)
{
	MloValue *v, *bias;
	MloNode *m;

	if (!onnx_arity(n, 8, 9) || !scales_ok(n))
		return;
	m = onnx_node(n, OP_conv_integer, (MloValue *[]){n->in[0], n->in[3], n->in[2], n->in[5]}, 4, 1);
	onnx_attrs(n, m);
	v = onnx_infer(n, m);
	bias = onnx_in(n, 8);
	if (bias && v->type.rank == MLO_RANK_UNKNOWN)
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "the number of dimensions of the result is not known");
	else if (bias)
		v = onnx_op2(n, OP_add, v, onnx_per_channel(n, bias, v->type.rank));
	v = dequantized(n, v, factor(n, scale_of(n, 1), scale_of(n, 4), scale_of(n, 6)), NULL);
	onnx_result(n, 0, quantized(n, v, onnx_scalar(n, EL_f32, 1), n->in[7], 1));
}

/* A scale per row is a column. */
static MloValue *by_row(OnnxNode *n, MloValue *scale)
{
	if (scale->type.rank != 1 || single(scale))
		return scale;
	return onnx_op2(n, OP_unsqueeze, scale, onnx_i64s(n, (int64_t[]){1}, 1));
}

/* 8-bit floats (opset 21) have no integer product. */
static MloValue *float_product(OnnxNode *n)
{
	MloValue *a = dequantized(n, n->in[0], scale_of(n, 1), n->in[2]);
	MloValue *b = dequantized(n, n->in[3], scale_of(n, 4), n->in[5]);

	return onnx_op2(n, OP_div, onnx_op2(n, OP_matmul, a, b), by_row(n, scale_of(n, 6)));
}

/* Operands: a, its scale and zero point, b, likewise, scale and zero point of y. */
void import_qlinear_matmul(OnnxNode *n)
{
	MloValue *v, *s, *one;
	MloNode *m;

	if (!onnx_arity(n, 8, 8) || !scales_ok(n))
		return;
	if (mlo_elem_is_float(onnx_elem_beside(n->in[0])) && n->in[0]->type.elem != EL_none) {
		v = float_product(n);
	} else {
		m = onnx_node(n, OP_matmul_integer, (MloValue *[]){n->in[0], n->in[3], n->in[2], n->in[5]}, 4, 1);
		s = factor(n, by_row(n, scale_of(n, 1)), scale_of(n, 4), by_row(n, scale_of(n, 6)));
		v = onnx_op2(n, OP_mul, onnx_cast(n, onnx_infer(n, m), EL_f32), s);
	}
	one = onnx_scalar(n, EL_f32, 1);
	if (!single(n->in[7]))
		one = onnx_op2(n, OP_expand, one, onnx_op1(n, OP_shape, n->in[7]));
	onnx_result(n, 0, quantized(n, v, one, n->in[7], -2));
}
