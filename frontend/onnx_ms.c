/* frontend/onnx_ms.c -- steps that the importers of com.microsoft operators share. */
#include "frontend/onnx_ms.h"

#include <string.h>

MloValue *ms_transpose(OnnxNode *n, MloValue *v, const int64_t *perm, int rank)
{
	MloNode *m = onnx_node(n, OP_transpose, &v, 1, 1);

	mlo_attr_set_ints(n->g, m, ATTR_transpose_perm, perm, rank);
	return onnx_infer(n, m);
}

MloValue *ms_swap_last(OnnxNode *n, MloValue *v)
{
	int64_t perm[MLO_MAX_RANK];
	int rank = v->type.rank;

	for (int i = 0; i < rank; i++)
		perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
	return rank < 2 ? v : ms_transpose(n, v, perm, rank);
}

MloValue *ms_reshape(OnnxNode *n, MloValue *v, const int64_t *dim, int rank)
{
	return onnx_op2(n, OP_reshape, v, onnx_i64s(n, dim, rank));
}

MloValue *ms_channels_first(OnnxNode *n, MloValue *v)
{
	int64_t perm[MLO_MAX_RANK] = {0};
	int rank = v->type.rank;

	for (int i = 1; i < rank; i++)
		perm[i] = i == 1 ? rank - 1 : i - 1;
	return rank < 3 ? v : ms_transpose(n, v, perm, rank);
}

MloValue *ms_channels_last(OnnxNode *n, MloValue *v)
{
	int64_t perm[MLO_MAX_RANK] = {0};
	int rank = v->type.rank;

	for (int i = 1; i < rank; i++)
		perm[i] = i == rank - 1 ? 1 : i + 1;
	return rank < 3 ? v : ms_transpose(n, v, perm, rank);
}

MloValue *ms_slice(OnnxNode *n, MloValue *v, int64_t axis, int64_t from, int64_t to)
{
	MloValue *in[] = {v, onnx_i64s(n, &from, 1), onnx_i64s(n, &to, 1), onnx_i64s(n, &axis, 1)};

	return onnx_infer(n, onnx_node(n, OP_slice, in, 4, 1));
}

MloValue *ms_concat2(OnnxNode *n, MloValue *a, MloValue *b, int64_t axis)
{
	MloNode *m = onnx_node(n, OP_concat, (MloValue *[]){a, b}, 2, 1);

	mlo_attr_set_i(m, ATTR_concat_axis, axis);
	return onnx_infer(n, m);
}

MloValue *ms_softmax(OnnxNode *n, MloValue *v, int64_t axis)
{
	MloNode *m = onnx_node(n, OP_softmax, &v, 1, 1);

	mlo_attr_set_i(m, ATTR_softmax_axis, axis);
	return onnx_infer(n, m);
}

MloValue *ms_reduce(OnnxNode *n, MloOp op, MloValue *v, int64_t axis, bool keep)
{
	MloNode *m = onnx_node(n, op, (MloValue *[]){v, onnx_i64s(n, &axis, 1)}, 2, 1);

	mlo_attr_set_i(m, mlo_attr_slot(op, "keepdims", 8), keep);
	return onnx_infer(n, m);
}

MloValue *ms_dim(OnnxNode *n, MloValue *v, int64_t axis)
{
	MloNode *m = onnx_node(n, OP_shape, &v, 1, 1);

	mlo_attr_set_i(m, ATTR_shape_start, axis);
	if (axis != -1)
		mlo_attr_set_i(m, ATTR_shape_end, axis + 1);
	return onnx_infer(n, m);
}

MloValue *ms_add(OnnxNode *n, MloValue *v, MloValue *b)
{
	return b ? onnx_op2(n, OP_add, v, b) : v;
}

MloValue *ms_scale(OnnxNode *n, MloValue *v, double factor)
{
	return factor == 1 ? v : onnx_op2(n, OP_mul, v, onnx_scalar(n, onnx_elem_beside(v), factor));
}

bool ms_rank(OnnxNode *n, uint32_t i, int lo, int hi)
{
	int rank = n->in[i]->type.rank;

	if (rank == MLO_RANK_UNKNOWN)
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "the rank of operand %u is not known", i);
	else if (rank < lo || rank > hi)
		onnx_fail(n, MLO_ERR_MODEL, "operand %u has %d dimensions, %d to %d are possible", i, rank, lo, hi);
	else
		return true;
	return false;
}

MloValue *ms_gelu(OnnxNode *n, MloValue *v, const char *approximate)
{
	MloNode *m = onnx_node(n, OP_gelu, &v, 1, 1);

	mlo_attr_set_s(n->g, m, ATTR_gelu_approximate, approximate);
	return onnx_infer(n, m);
}

MloValue *ms_gemm(OnnxNode *n, MloValue *a, MloValue *b, MloValue *c, bool ta, bool tb, double alpha, double beta)
{
	MloNode *m = onnx_node(n, OP_gemm, (MloValue *[]){a, b, c}, c ? 3 : 2, 1);

	mlo_attr_set_i(m, ATTR_gemm_transA, ta);
	mlo_attr_set_i(m, ATTR_gemm_transB, tb);
	mlo_attr_set_f(m, ATTR_gemm_alpha, alpha);
	mlo_attr_set_f(m, ATTR_gemm_beta, beta);
	return onnx_infer(n, m);
}

/* -- activations ------------------------------------------------------------------------------------- */

typedef MloValue *ActivationFn(OnnxNode *n, MloOp op, MloValue *x, const float *p);

static MloValue *act_plain(OnnxNode *n, MloOp op, MloValue *x, const float *p)
{
	(void)p;
	return onnx_op1(n, op, x);
}

/* The parameters are the operator's first attributes. */
static MloValue *act_attrs(OnnxNode *n, MloOp op, MloValue *x, const float *p)
{
	MloNode *m = onnx_node(n, op, &x, 1, 1);

	for (int i = 0; i < mlo_op_info(op)->nattr; i++)
		mlo_attr_set_f(m, i, p[i]);
	return onnx_infer(n, m);
}

static MloValue *act_clip(OnnxNode *n, MloOp op, MloValue *x, const float *p)
{
	return onnx_op3(n, op, x, onnx_scalar(n, onnx_elem_beside(x), p[0]), onnx_scalar(n, onnx_elem_beside(x), p[1]));
}

/* alpha * f(beta * x) */
static MloValue *act_scaled(OnnxNode *n, MloOp op, MloValue *x, const float *p)
{
	return ms_scale(n, onnx_op1(n, op, ms_scale(n, x, p[1])), p[0]);
}

static MloValue *act_thresholded(OnnxNode *n, MloOp op, MloValue *x, const float *p)
{
	MloValue *above = onnx_op2(n, OP_greater, x, onnx_scalar(n, onnx_elem_beside(x), p[0]));

	return onnx_op3(n, op, above, x, onnx_scalar(n, onnx_elem_beside(x), 0));
}

static MloValue *act_celu(OnnxNode *n, MloOp op, MloValue *x, const float *p)
{
	MloValue *a = onnx_scalar(n, onnx_elem_beside(x), p[0]);

	return onnx_op2(n, OP_mul, onnx_op1(n, op, onnx_op2(n, OP_div, x, a)), a);
}

static const struct Activation {
	const char *name;
	ActivationFn *fn;
	MloOp op;
	float def[2];
} activations[] = {
	{"Relu", act_plain, OP_relu, {0}},
	{"Tanh", act_plain, OP_tanh, {0}},
	{"Sigmoid", act_plain, OP_sigmoid, {0}},
	{"Softplus", act_plain, OP_softplus, {0}},
	{"Softsign", act_plain, OP_softsign, {0}},
	{"HardSwish", act_plain, OP_hard_swish, {0}},
	{"Gelu", act_plain, OP_gelu, {0}},
	{"LeakyRelu", act_attrs, OP_leaky_relu, {0.01f}},
	{"HardSigmoid", act_attrs, OP_hard_sigmoid, {0.2f, 0.5f}},
	{"Elu", act_attrs, OP_elu, {1}},
	{"Selu", act_attrs, OP_selu, {1.67326319217681884765625f, 1.05070102214813232421875f}},
	{"QuickGelu", act_attrs, OP_swish, {1.702f}},
	{"Celu", act_celu, OP_elu, {1}},
	{"Clip", act_clip, OP_clip, {-3.402823466e38f, 3.402823466e38f}},
	{"ScaledTanh", act_scaled, OP_tanh, {1, 1}},
	{"ParametricSoftplus", act_scaled, OP_softplus, {1, 1}},
	{"ThresholdedRelu", act_thresholded, OP_where, {1}},
};

MloValue *ms_activation(OnnxNode *n, const char *name, MloValue *x, const float *param, int nparam)
{
	const char *want = onnx_str(n, name, "");

	if (!*want)
		return x;
	for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
		const struct Activation *a = &activations[i];
		float p[2] = {a->def[0], a->def[1]};

		if (strcmp(a->name, want) != 0)
			continue;
		for (int k = 0; k < nparam && k < 2; k++)
			p[k] = param[k];
		return a->fn(n, a->op, x, p);
	}
	onnx_fail(n, MLO_ERR_UNSUPPORTED, "activation '%s' is not supported", want);
	return NULL;
}

/* -- quantization --------------------------------------------------------------------------------------- */

MloValue *ms_dequantize(OnnxNode *n, MloValue *x, MloValue *scale, MloValue *zero, int64_t axis)
{
	MloNode *m = onnx_node(n, OP_dequantize_linear, (MloValue *[]){x, scale, zero}, zero ? 3 : 2, 1);

	mlo_attr_set_i(m, ATTR_dequantize_linear_axis, axis);
	return onnx_infer(n, m);
}

MloValue *ms_quantize(OnnxNode *n, MloValue *v, MloValue *scale, MloValue *zero, int64_t axis, MloElem e)
{
	MloNode *m = onnx_node(n, OP_quantize_linear, (MloValue *[]){v, scale, zero}, zero ? 3 : 2, 1);

	mlo_attr_set_i(m, ATTR_quantize_linear_axis, axis);
	if (!zero && e != EL_u8)
		mlo_attr_set_i(m, ATTR_quantize_linear_output_dtype, mlo_elem_onnx(e));
	return onnx_infer(n, m);
}
