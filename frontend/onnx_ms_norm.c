/* frontend/onnx_ms_norm.c -- importers of the normalisations that ONNX Runtime fuses. */
#include "frontend/onnx_ms.h"

static bool is_narrow(MloElem e)
{
	return e == EL_f16 || e == EL_bf16;
}

/* x / sqrt(mean(x * x) + epsilon) * scale over the dimensions from `axis` on; *inverse: 1 / sqrt. */
static MloValue *rms_norm(OnnxNode *n, MloValue *x, MloValue *scale, MloValue **inverse)
{
	double epsilon = onnx_float(n, "epsilon", 1e-5);
	int64_t axis = onnx_int(n, "axis", -1), axes[MLO_MAX_RANK];
	MloElem e = onnx_elem_beside(x), wide = is_narrow(e) ? EL_f32 : e;
	int count = 0, rank = x->type.rank;
	MloValue *v = onnx_cast(n, x, wide), *mean;
	MloNode *m;

	if (axis < 0 && axis != -1 && rank != MLO_RANK_UNKNOWN)
		axis += rank;
	if (axis == -1)
		axes[count++] = -1;
	else if (rank == MLO_RANK_UNKNOWN)
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "the rank of operand 0 is not known");
	else if (axis < 0 || axis >= rank)
		onnx_fail(n, MLO_ERR_MODEL, "axis %lld does not fit %d dimensions", (long long)axis, rank);
	else
		for (int64_t i = axis; i < rank; i++)
			axes[count++] = i;
	m = onnx_node(n, OP_reduce_mean,
		      (MloValue *[]){onnx_op2(n, OP_mul, v, v), onnx_i64s(n, axes, count)}, 2, 1);
	mean = onnx_op2(n, OP_add, onnx_infer(n, m), onnx_scalar(n, wide, epsilon));
	*inverse = onnx_op1(n, OP_reciprocal, onnx_op1(n, OP_sqrt, mean));
	v = onnx_op2(n, OP_mul, v, *inverse);
	return onnx_cast(n, onnx_op2(n, OP_mul, v, onnx_cast(n, scale, wide)), e);
}

/* SimplifiedLayerNormalization(x, scale) -> y, 1 / rms; the optimizer also writes it in domain ai.onnx. */
void import_ms_rms_norm(OnnxNode *n)
{
	MloValue *inverse, *y;

	onnx_ignore(n, "stash_type");
	if (!onnx_arity(n, 2, 2))
		return;
	y = rms_norm(n, n->in[0], n->in[1], &inverse);
	onnx_result(n, 0, y);
	onnx_result(n, 1, inverse);
}

static MloNode *layer_norm(OnnxNode *n, MloValue *x, MloValue *scale, MloValue *bias, double epsilon, uint32_t nout)
{
	MloNode *m = onnx_node(n, OP_layer_norm, (MloValue *[]){x, scale, bias}, bias ? 3 : 2, nout);

	mlo_attr_set_f(m, ATTR_layer_norm_epsilon, epsilon);
	onnx_infer(n, m);
	return m;
}

/* (x, skip, gamma, beta, bias) -> y, mean, 1 / deviation, x + skip + bias. */
void import_ms_skip_layer_norm(OnnxNode *n)
{
	double epsilon = onnx_float(n, "epsilon", 1e-12);
	bool stats = onnx_wanted(n, 1) || onnx_wanted(n, 2);
	MloValue *sum;
	MloNode *m;

	if (!onnx_arity(n, 3, 5))
		return;
	sum = ms_add(n, ms_add(n, n->in[0], n->in[1]), onnx_in(n, 4));
	m = layer_norm(n, sum, n->in[2], onnx_in(n, 3), epsilon, stats ? 3 : 1);
	for (uint32_t i = 0; i < m->nout; i++)
		onnx_result(n, i, m->out[i]);
	onnx_result(n, 3, sum);
}

/* (x, skip, gamma, bias) -> y, -, 1 / rms, x + skip + bias. */
void import_ms_skip_rms_norm(OnnxNode *n)
{
	MloValue *sum, *y, *inverse;

	if (!onnx_arity(n, 3, 4))
		return;
	if (!onnx_attr(n, "epsilon")) {
		onnx_fail(n, MLO_ERR_MODEL, "attribute 'epsilon' is missing");
		return;
	}
	sum = ms_add(n, ms_add(n, n->in[0], n->in[1]), onnx_in(n, 3));
	y = rms_norm(n, sum, n->in[2], &inverse);
	onnx_result(n, 0, y);
	onnx_result(n, 2, inverse);
	onnx_result(n, 3, sum);
}

/* -- embeddings ------------------------------------------------------------------------------------------ */

static MloValue *lookup(OnnxNode *n, MloValue *table, MloValue *index)
{
	return onnx_op2(n, OP_gather, table, index);
}

/* Rows 0..S-1 of the table of positions. */
static MloValue *first_rows(OnnxNode *n, MloValue *table, MloValue *ids)
{
	int64_t zero = 0;
	MloValue *start = onnx_i64s(n, &zero, 1);
	MloValue *in[] = {table, start, ms_dim(n, ids, 1), start};

	return onnx_infer(n, onnx_node(n, OP_slice, in, 4, 1));
}

/* How many tokens of each sentence the mask keeps; without a mask zeros. */
static MloValue *mask_index(OnnxNode *n, MloValue *ids, MloValue *mask)
{
	MloNode *m;
	MloValue *size;

	if (mask)
		return ms_reduce(n, OP_reduce_sum, mask, 1, false);
	size = ms_dim(n, ids, 0);
	m = onnx_node(n, OP_constant_of_shape, &size, 1, 1);
	mlo_attr_set_i(m, ATTR_constant_of_shape_elem, mlo_elem_onnx(EL_i32));
	return onnx_infer(n, m);
}

/* The sum of three embeddings, normalised. */
static void embed(OnnxNode *n, MloValue *word, MloValue *position, MloValue *segment, MloValue *gamma,
		  MloValue *beta, MloValue *mask, MloValue *position_ids)
{
	MloValue *ids = n->in[0], *sum = lookup(n, word, ids);

	sum = ms_add(n, sum, position_ids ? lookup(n, position, position_ids) : first_rows(n, position, ids));
	if (onnx_in(n, 1) && segment)
		sum = ms_add(n, sum, lookup(n, segment, n->in[1]));
	onnx_result(n, 0, layer_norm(n, sum, gamma, beta, onnx_float(n, "epsilon", 1e-12), 1)->out[0]);
	if (onnx_wanted(n, 1))
		onnx_result(n, 1, mask_index(n, ids, mask));
	onnx_result(n, 2, sum);
}

/* (ids, segment ids, word, position, segment, gamma, beta, mask, position ids) -> y, mask index, sum */
void import_ms_embed_layer_norm(OnnxNode *n)
{
	onnx_ignore(n, "mask_index_type");
	if (!onnx_arity(n, 1, 9))
		return;
	if (!onnx_in(n, 2) || !onnx_in(n, 3) || !onnx_in(n, 5) || !onnx_in(n, 6))
		onnx_fail(n, MLO_ERR_MODEL, "an embedding, gamma or beta is missing");
	else
		embed(n, n->in[2], n->in[3], n->in[4], n->in[5], n->in[6], onnx_in(n, 7), onnx_in(n, 8));
}
