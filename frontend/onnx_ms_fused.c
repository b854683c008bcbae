/* frontend/onnx_ms_fused.c -- importers of what ONNX Runtime's optimizer fuses: taken apart again. */
#include "frontend/onnx_ms.h"

#include <string.h>

/* -- activations and biases ------------------------------------------------------------------------- */

void import_ms_gelu(OnnxNode *n)
{
	if (onnx_arity(n, 1, 1))
		onnx_result(n, 0, ms_gelu(n, n->in[0], "none"));
}

/* FastGelu(x, bias) and BiasGelu(x, bias). */
void import_ms_fast_gelu(OnnxNode *n)
{
	if (onnx_arity(n, 1, 2))
		onnx_result(n, 0, ms_gelu(n, ms_add(n, n->in[0], onnx_in(n, 1)), "tanh"));
}

void import_ms_bias_gelu(OnnxNode *n)
{
	if (onnx_arity(n, 2, 2))
		onnx_result(n, 0, ms_gelu(n, ms_add(n, n->in[0], n->in[1]), "none"));
}

void import_ms_gemm_fast_gelu(OnnxNode *n)
{
	if (onnx_arity(n, 2, 3))
		onnx_result(n, 0, ms_gelu(n, ms_add(n, onnx_op2(n, OP_matmul, n->in[0], n->in[1]), onnx_in(n, 2)),
					  "tanh"));
}

void import_ms_quick_gelu(OnnxNode *n)
{
	double alpha = onnx_float(n, "alpha", 1.702);
	MloNode *m;

	if (!onnx_arity(n, 1, 1))
		return;
	m = onnx_node(n, OP_swish, n->in, 1, 1);
	mlo_attr_set_f(m, ATTR_swish_alpha, alpha);
	onnx_finish(n, m);
}

void import_ms_bias_add(OnnxNode *n)
{
	if (onnx_arity(n, 3, 3))
		onnx_result(n, 0, ms_add(n, ms_add(n, n->in[0], n->in[1]), n->in[2]));
}

/* The sum's left half times the gelu of its right half. */
void import_ms_bias_split_gelu(OnnxNode *n)
{
	MloNode *m;
	MloValue *sum;

	if (!onnx_arity(n, 2, 2))
		return;
	sum = ms_add(n, n->in[0], n->in[1]);
	m = onnx_node(n, OP_split, &sum, 1, 2);
	mlo_attr_set_i(m, ATTR_split_axis, -1);
	onnx_infer(n, m);
	onnx_result(n, 0, onnx_op2(n, OP_mul, m->out[0], ms_gelu(n, m->out[1], "none")));
}

/* Softmax of data + bias over all dimensions from `axis` on. */
void import_ms_bias_softmax(OnnxNode *n)
{
	int64_t axis = onnx_int(n, "axis", 1);
	MloValue *sum, *shape, *flat;
	MloNode *m;

	onnx_ignore(n, "is_inner_broadcast"); /* says how the bias broadcasts; its shape does, too */
	if (!onnx_arity(n, 2, 2))
		return;
	sum = ms_add(n, n->in[0], n->in[1]);
	if (axis == -1 || axis == sum->type.rank - 1) {
		onnx_result(n, 0, ms_softmax(n, sum, -1));
		return;
	}
	shape = onnx_op1(n, OP_shape, sum);
	m = onnx_node(n, OP_flatten, &sum, 1, 1);
	mlo_attr_set_i(m, ATTR_flatten_axis, axis);
	flat = ms_softmax(n, onnx_infer(n, m), -1);
	m = onnx_node(n, OP_reshape, (MloValue *[]){flat, shape}, 2, 1);
	mlo_attr_set_i(m, ATTR_reshape_allowzero, 1);
	onnx_finish(n, m);
}

/* BiasDropout(data, bias, residual, ratio, training mode), at inference. */
void import_ms_bias_dropout(OnnxNode *n)
{
	onnx_ignore(n, "seed");
	if (!onnx_arity(n, 2, 5))
		return;
	if (onnx_in(n, 4) && !(n->in[4]->data && mlo_tensor_i64(n->in[4]->data, 0) == 0))
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "training mode is not supported");
	else
		onnx_result(n, 0, ms_add(n, ms_add(n, n->in[0], n->in[1]), onnx_in(n, 2)));
}

/* -- contractions ------------------------------------------------------------------------------------ */

/* x, w, bias, addend (of the result, before the activation). */
void import_ms_fused_conv(OnnxNode *n)
{
	int nparam;
	const float *param = onnx_floats(n, "activation_params", &nparam);
	MloValue *y;
	MloNode *m;

	if (!onnx_arity(n, 2, 4))
		return;
	m = onnx_node(n, OP_conv, n->in, onnx_in(n, 2) ? 3 : 2, 1);
	onnx_attrs(n, m);
	y = ms_add(n, onnx_infer(n, m), onnx_in(n, 3));
	y = ms_activation(n, "activation", y, param, nparam);
	if (y)
		onnx_result(n, 0, y);
}

/* As FusedConv, channels last; the weight is as Conv's, or (NhwcConv) channels last, too. */
void import_ms_nhwc_conv(OnnxNode *n)
{
	bool plain = !strcmp(n->row->type, "NhwcConv");
	int nparam;
	const float *param = onnx_floats(n, "activation_params", &nparam);
	MloValue *in[3], *y;
	MloNode *m;

	if (!onnx_arity(n, 2, 4) || !ms_rank(n, 0, 3, MLO_MAX_RANK) || !ms_rank(n, 1, 3, MLO_MAX_RANK))
		return;
	in[0] = ms_channels_first(n, n->in[0]);
	in[1] = plain ? ms_channels_first(n, n->in[1]) : n->in[1];
	in[2] = onnx_in(n, 2);
	m = onnx_node(n, OP_conv, in, in[2] ? 3 : 2, 1);
	onnx_attrs(n, m);
	y = ms_add(n, ms_channels_last(n, onnx_infer(n, m)), onnx_in(n, 3));
	y = ms_activation(n, "activation", y, param, nparam);
	if (y)
		onnx_result(n, 0, y);
}

void import_ms_nhwc_max_pool(OnnxNode *n)
{
	MloValue *x;
	MloNode *m;

	if (!onnx_arity(n, 1, 1) || !ms_rank(n, 0, 3, MLO_MAX_RANK))
		return;
	x = ms_channels_first(n, n->in[0]);
	m = onnx_node(n, OP_max_pool, &x, 1, 1);
	onnx_attrs(n, m);
	onnx_result(n, 0, ms_channels_last(n, onnx_infer(n, m)));
}

void import_ms_fused_gemm(OnnxNode *n)
{
	static const char *const name[] = {"activation_alpha", "activation_beta"};
	float param[2];
	int nparam = 0;
	MloValue *y;
	MloNode *m;

	onnx_ignore(n, "activation_gamma");
	if (!onnx_arity(n, 2, 3))
		return;
	/* Selu's second parameter is called gamma. */
	for (; nparam < 2; nparam++) {
		const char *key = nparam == 1 && !strcmp(onnx_str(n, "activation", ""), "Selu") ? "activation_gamma"
												: name[nparam];
		onnx_ignore(n, name[nparam]);
		if (!onnx_attr(n, key))
			break;
		param[nparam] = (float)onnx_float(n, key, 0);
	}
	m = onnx_node(n, OP_gemm, n->in, n->nin, 1);
	onnx_attrs(n, m);
	y = ms_activation(n, "activation", onnx_infer(n, m), param, nparam);
	if (y)
		onnx_result(n, 0, y);
}

/* transBatch: the first dimension is the rows' (or the inner) one, the batch follows it. */
static MloValue *matmul_operand(OnnxNode *n, uint32_t i, const char *trans, const char *trans_batch)
{
	bool batch = onnx_int(n, trans_batch, 0) != 0, swap = onnx_int(n, trans, 0) != 0;
	MloValue *v = n->in[i];
	int64_t perm[MLO_MAX_RANK];
	int rank = v->type.rank;

	if (!batch && !swap)
		return v;
	if (!ms_rank(n, i, 1, MLO_MAX_RANK))
		return NULL;
	if (rank < 2)
		return v;
	for (int k = 0; k < rank; k++)
		perm[k] = k;
	for (int k = 0; batch && k < rank - 1; k++)
		perm[k] = k < rank - 2 ? k + 1 : 0;
	if (swap) {
		int64_t t = perm[rank - 1];

		perm[rank - 1] = perm[rank - 2];
		perm[rank - 2] = t;
	}
	return ms_transpose(n, v, perm, rank);
}

static bool is_matrix(const MloValue *v)
{
	return v->type.rank == 2;
}

/* FusedMatMul, TransposeMatMul: alpha * op(a) @ op(b), perhaps with an activation. */
void import_ms_fused_matmul(OnnxNode *n)
{
	double alpha = onnx_float(n, "alpha", 1);
	bool ta = onnx_int(n, "transA", 0) != 0, tb = onnx_int(n, "transB", 0) != 0;
	static const char *const name[] = {"activation_alpha", "activation_beta"};
	float param[2];
	int nparam = 0;
	MloValue *a, *b, *y;

	if (!onnx_arity(n, 2, 2))
		return;
	onnx_ignore(n, "activation_axis");
	onnx_ignore(n, "activation_gamma");
	for (int i = 0; i < 2; i++)
		if (onnx_attr(n, name[i]) && nparam == i)
			param[nparam++] = (float)onnx_float(n, name[i], 0);
	onnx_ignore(n, "transBatchA");
	onnx_ignore(n, "transBatchB");
	if (is_matrix(n->in[0]) && is_matrix(n->in[1])) {
		y = ms_gemm(n, n->in[0], n->in[1], NULL, ta, tb, alpha, 1);
	} else {
		a = matmul_operand(n, 0, "transA", "transBatchA");
		b = a ? matmul_operand(n, 1, "transB", "transBatchB") : NULL;
		if (!b)
			return;
		y = ms_scale(n, onnx_op2(n, OP_matmul, a, b), alpha);
	}
	y = ms_activation(n, "activation", y, param, nparam);
	if (y)
		onnx_result(n, 0, y);
}
