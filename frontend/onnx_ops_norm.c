/* frontend/onnx_ops_norm.c -- importers of normalisations over batches, channels and regions. */
#include "frontend/onnx_ops.h"

/* The rank of operand 0, at least `min`; -1 after an error. */
static int rank_of(OnnxNode *n, int min)
{
	int rank = n->in[0]->type.rank;

	if (rank >= min)
		return rank;
	if (rank == MLO_RANK_UNKNOWN)
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "the number of dimensions of operand 0 is not known");
	else
		onnx_fail(n, MLO_ERR_MODEL, "operand 0 has %d dimensions, at least %d are needed", rank, min);
	return -1;
}

static MloValue *mean_over(OnnxNode *n, MloValue *x, MloValue *axes, bool keep)
{
	MloNode *m = onnx_node(n, OP_reduce_mean, (MloValue *[]){x, axes}, 2, 1);

	mlo_attr_set_i(m, ATTR_reduce_mean_keepdims, keep);
	return onnx_infer(n, m);
}

static MloValue *scaled(OnnxNode *n, MloValue *v, double k)
{
	return onnx_op2(n, OP_mul, v, onnx_scalar(n, onnx_elem_beside(v), k));
}

/* -- batch normalisation ---------------------------------------------------------------------- */

/* Before opset 9: statistics per element, operands in the shape of one image. */
static void per_element(OnnxNode *n, double epsilon)
{
	MloValue *v = onnx_op2(n, OP_sub, n->in[0], n->in[3]), *std;

	std = onnx_op2(n, OP_add, n->in[4], onnx_scalar(n, onnx_elem_beside(n->in[4]), epsilon));
	v = onnx_op2(n, OP_div, v, onnx_op1(n, OP_sqrt, std));
	v = onnx_op2(n, OP_mul, v, n->in[1]);
	onnx_result(n, 0, onnx_op2(n, OP_add, v, n->in[2]));
}

/* What a running statistic becomes. */
static void update(OnnxNode *n, uint32_t i, MloValue *old, MloValue *now, double momentum)
{
	MloElem e = onnx_elem_beside(old);

	now = scaled(n, onnx_cast(n, now, e), 1 - momentum);
	onnx_result(n, i, onnx_op2(n, OP_add, scaled(n, old, momentum), now));
}

/* Training: the statistics are those of the batch.  Results: y, running mean and variance, and
 * before opset 14 the statistics of the batch, too. */
static void train(OnnxNode *n, double epsilon, double momentum)
{
	int rank = rank_of(n, 2);
	int64_t axes[MLO_MAX_RANK];
	MloValue *x, *over, *mean, *d, *var;
	MloNode *m;

	if (rank < 0)
		return;
	for (int i = 0; i < rank - 1; i++)
		axes[i] = i ? i + 1 : 0;
	over = onnx_i64s(n, axes, rank - 1);
	x = onnx_wide(n, n->in[0]);
	mean = mean_over(n, x, over, false);
	d = onnx_op2(n, OP_sub, x, onnx_per_channel(n, mean, rank));
	var = mean_over(n, onnx_op2(n, OP_mul, d, d), over, false);
	m = onnx_node(n, OP_batch_norm, (MloValue *[]){n->in[0], n->in[1], n->in[2], mean, var}, 5, 1);
	mlo_attr_set_f(m, ATTR_batch_norm_epsilon, epsilon);
	onnx_result(n, 0, onnx_infer(n, m));
	update(n, 1, n->in[3], mean, momentum);
	update(n, 2, n->in[4], var, momentum);
	if (onnx_wanted(n, 3))
		onnx_result(n, 3, onnx_op1(n, OP_identity, mean));
	if (onnx_wanted(n, 4))
		onnx_result(n, 4, onnx_op1(n, OP_identity, var));
}

/* Opset 14 says what is wanted; before, more results than one did, or (opset 6) is_test. */
void import_batch_norm(OnnxNode *n)
{
	double epsilon = onnx_float(n, "epsilon", 1e-5), momentum = onnx_float(n, "momentum", 0.9);
	int64_t mode = onnx_int(n, "training_mode", 0), spatial = n->opset < 9 ? onnx_int(n, "spatial", 1) : 1;
	bool training = n->opset >= 14 ? mode != 0 : n->opset >= 7 ? n->nout > 1 : !onnx_int(n, "is_test", 0);
	MloNode *m;

	onnx_ignore(n, "consumed_inputs");
	if (!onnx_arity(n, 5, 5))
		return;
	if (training && !spatial) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "training with spatial = 0 is not supported");
	} else if (training) {
		train(n, epsilon, momentum);
	} else if (!spatial) {
		per_element(n, epsilon);
	} else {
		m = onnx_node(n, OP_batch_norm, n->in, 5, 1);
		mlo_attr_set_f(m, ATTR_batch_norm_epsilon, epsilon);
		onnx_finish(n, m);
	}
}

/* -- normalisation of channels and groups of them ------------------------------------------------ */

/* x as [N, parts, rest], each row normalised: (x - mean) / sqrt(var + epsilon). */
static MloValue *normalized_rows(OnnxNode *n, MloValue *x, int64_t parts, double epsilon)
{
	MloValue *rows = onnx_op2(n, OP_reshape, x, onnx_i64s(n, (int64_t[]){0, parts, -1}, 3));
	MloValue *one = onnx_scalar(n, onnx_elem_beside(x), 1);
	MloNode *m = onnx_node(n, OP_layer_norm, (MloValue *[]){rows, one}, 2, 1);

	mlo_attr_set_i(m, ATTR_layer_norm_axis, 2);
	mlo_attr_set_f(m, ATTR_layer_norm_epsilon, epsilon);
	return onnx_infer(n, m);
}

static MloValue *shaped_like(OnnxNode *n, MloValue *v, MloValue *x)
{
	MloNode *m = onnx_node(n, OP_reshape, (MloValue *[]){v, onnx_op1(n, OP_shape, x)}, 2, 1);

	mlo_attr_set_i(m, ATTR_reshape_allowzero, 1); /* the shape is literal */
	return onnx_infer(n, m);
}

static MloValue *affine(OnnxNode *n, MloValue *v, int rank)
{
	v = onnx_op2(n, OP_mul, v, onnx_per_channel(n, n->in[1], rank));
	return onnx_op2(n, OP_add, v, onnx_per_channel(n, n->in[2], rank));
}

void import_instance_norm(OnnxNode *n)
{
	double epsilon = onnx_float(n, "epsilon", 1e-5);
	int rank;

	onnx_ignore(n, "consumed_inputs");
	if (!onnx_arity(n, 3, 3) || (rank = rank_of(n, 2)) < 0)
		return;
	onnx_result(n, 0, affine(n, shaped_like(n, normalized_rows(n, n->in[0], 0, epsilon), n->in[0]), rank));
}

/* Scale and bias are given per channel; before opset 21 per group. */
void import_group_norm(OnnxNode *n)
{
	double epsilon = onnx_float(n, "epsilon", 1e-5);
	int64_t groups = onnx_int(n, "num_groups", 0);
	MloValue *v;
	int rank;

	onnx_ignore(n, "stash_type"); /* float32: no kernel computes in less */
	if (!onnx_arity(n, 3, 3) || (rank = rank_of(n, 2)) < 0)
		return;
	if (groups < 1) {
		onnx_fail(n, MLO_ERR_MODEL, "num_groups is %lld", (long long)groups);
		return;
	}
	v = normalized_rows(n, n->in[0], groups, epsilon);
	if (n->opset < 21)
		onnx_result(n, 0, shaped_like(n, affine(n, v, 3), n->in[0]));
	else
		onnx_result(n, 0, affine(n, shaped_like(n, v, n->in[0]), rank));
}

/* (x - mean) / (sqrt(var) + 1e-9) */
void import_mean_variance_norm(OnnxNode *n)
{
	MloValue *axes = onnx_ints_operand(n, "axes"), *x, *d, *std;

	if (!onnx_arity(n, 1, 1))
		return;
	if (!axes)
		axes = onnx_i64s(n, (int64_t[]){0, 2, 3}, 3);
	x = onnx_wide(n, n->in[0]);
	d = onnx_op2(n, OP_sub, x, mean_over(n, x, axes, true));
	std = onnx_op1(n, OP_sqrt, mean_over(n, onnx_op2(n, OP_mul, d, d), axes, true));
	std = onnx_op2(n, OP_add, std, onnx_scalar(n, onnx_elem_beside(x), 1e-9));
	onnx_result(n, 0, onnx_cast(n, onnx_op2(n, OP_div, d, std), onnx_elem_beside(n->in[0])));
}

/* x / (bias + alpha * mean of the squares of `size` neighbouring channels) ** beta: a pooling over
 * channels, once they are a spatial dimension.  Channels that are not there count as zeros. */
void import_lrn(OnnxNode *n)
{
	double alpha = onnx_float(n, "alpha", 1e-4), beta = onnx_float(n, "beta", 0.75);
	double bias = onnx_float(n, "bias", 1);
	int64_t size = onnx_int(n, "size", 0), kernel[MLO_MAX_RANK], pads[2 * MLO_MAX_RANK] = {0};
	MloValue *x, *v, *one;
	MloNode *m;
	MloElem e;
	int rank;

	if (!onnx_arity(n, 1, 1) || (rank = rank_of(n, 2)) < 0)
		return;
	if (size < 1 || rank == MLO_MAX_RANK) {
		onnx_fail(n, size < 1 ? MLO_ERR_MODEL : MLO_ERR_LIMIT, "size %lld, %d dimensions", (long long)size,
			  rank);
		return;
	}
	x = onnx_wide(n, n->in[0]);
	e = onnx_elem_beside(x);
	one = onnx_i64s(n, (int64_t[]){1}, 1);
	for (int i = 0; i < rank - 1; i++)
		kernel[i] = i ? 1 : size;
	pads[0] = (size - 1) / 2;
	pads[rank - 1] = size - 1 - pads[0];
	v = onnx_op2(n, OP_unsqueeze, onnx_op2(n, OP_mul, x, x), one);
	m = onnx_node(n, OP_average_pool, &v, 1, 1);
	mlo_attr_set_ints(n->g, m, ATTR_average_pool_kernel_shape, kernel, rank - 1);
	mlo_attr_set_ints(n->g, m, ATTR_average_pool_pads, pads, 2 * (rank - 1));
	mlo_attr_set_i(m, ATTR_average_pool_count_include_pad, 1);
	v = scaled(n, onnx_op2(n, OP_squeeze, onnx_infer(n, m), one), alpha);
	v = onnx_op2(n, OP_add, v, onnx_scalar(n, e, bias));
	v = onnx_op2(n, OP_div, x, onnx_op2(n, OP_pow, v, onnx_scalar(n, e, beta)));
	onnx_result(n, 0, onnx_cast(n, v, onnx_elem_beside(n->in[0])));
}
