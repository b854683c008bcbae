/* frontend/onnx_ms_integer.c -- importers of com.microsoft products of integers, whose sums are exact. */
#include "frontend/onnx_ms.h"

/* a @ b in 32 bits; the zero points may be absent. */
static MloValue *product(OnnxNode *n, MloValue *a, MloValue *b, MloValue *za, MloValue *zb)
{
	MloValue *in[] = {a, b, za, zb};

	return onnx_infer(n, onnx_node(n, OP_matmul_integer, in, zb ? 4 : za ? 3 : 2, 1));
}

static MloValue *scaled(OnnxNode *n, MloValue *sum, MloValue *a, MloValue *b)
{
	return onnx_op2(n, OP_mul, onnx_cast(n, sum, EL_f32), onnx_op2(n, OP_mul, a, b));
}

static MloValue *transposed(OnnxNode *n, uint32_t i, const char *attr)
{
	return onnx_int(n, attr, 0) ? ms_swap_last(n, n->in[i]) : n->in[i];
}

/* (a, scale, zero, b, scale, zero, c, scale and zero of the result): float without the last two; c counts in
 * units of both scales. */
void import_ms_qgemm(OnnxNode *n)
{
	double alpha = onnx_float(n, "alpha", 1);
	MloValue *sum, *y;

	if (!onnx_arity(n, 6, 9) || !ms_rank(n, 0, 2, 2) || !ms_rank(n, 3, 2, 2))
		return;
	sum = product(n, transposed(n, 0, "transA"), transposed(n, 3, "transB"), n->in[2], n->in[5]);
	sum = ms_add(n, sum, onnx_in(n, 6));
	y = scaled(n, sum, ms_scale(n, n->in[1], alpha), n->in[4]);
	if (onnx_in(n, 7))
		y = ms_quantize(n, y, n->in[7], onnx_in(n, 8), 1, onnx_elem_beside(n->in[0]));
	onnx_result(n, 0, y);
}

/* (a, b, scale a, scale b, zero a, zero b, bias) */
void import_ms_matmul_integer_to_float(OnnxNode *n)
{
	if (onnx_arity(n, 4, 7))
		onnx_result(n, 0,
			    ms_add(n, scaled(n, product(n, n->in[0], n->in[1], onnx_in(n, 4), onnx_in(n, 5)), n->in[2],
					     n->in[3]),
				   onnx_in(n, 6)));
}

/* (a: float, b, scale b, zero b, bias): a is quantized to its own range. */
void import_ms_dynamic_quantize_matmul(OnnxNode *n)
{
	MloNode *m;

	if (!onnx_arity(n, 3, 5))
		return;
	m = onnx_node(n, OP_dynamic_quantize_linear, n->in, 1, 3);
	onnx_infer(n, m);
	onnx_result(n, 0,
		    ms_add(n, scaled(n, product(n, m->out[0], n->in[1], m->out[2], onnx_in(n, 3)), m->out[1], n->in[2]),
			   onnx_in(n, 4)));
}

void import_ms_matmul_integer16(OnnxNode *n)
{
	if (onnx_arity(n, 2, 2))
		onnx_result(n, 0,
			    onnx_op2(n, OP_matmul, onnx_cast(n, n->in[0], EL_i32), onnx_cast(n, n->in[1], EL_i32)));
}

/* (a, zero a, b, zero b) */
void import_ms_mul_integer(OnnxNode *n)
{
	MloValue *v[2];

	if (!onnx_arity(n, 3, 4) || !n->in[0] || !n->in[2])
		return;
	for (uint32_t i = 0; i < 2; i++) {
		v[i] = onnx_cast(n, n->in[2 * i], EL_i32);
		if (onnx_in(n, 2 * i + 1))
			v[i] = onnx_op2(n, OP_sub, v[i], onnx_cast(n, n->in[2 * i + 1], EL_i32));
	}
	onnx_result(n, 0, onnx_op2(n, OP_mul, v[0], v[1]));
}
