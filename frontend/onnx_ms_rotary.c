/* frontend/onnx_ms_rotary.c -- importer of com.microsoft RotaryEmbedding: pairs of features turned by angles. */
#include "frontend/onnx_ms.h"

/* Rows of the cache for each token: [B or 1, S, 1, pairs], from position ids [B, S] or a first one [1]. */
static MloValue *angles(OnnxNode *n, MloValue *cache, MloValue *ids, MloValue *x)
{
	MloValue *size, *range;
	int64_t axis = 0, two = 2;

	if (ids->type.rank == 1) {
		size = onnx_op1(n, OP_squeeze, ms_dim(n, x, 1));
		range = onnx_op3(n, OP_range, onnx_scalar(n, EL_i64, 0), size, onnx_scalar(n, EL_i64, 1));
		ids = onnx_op2(n, OP_add, ids, range);
		ids = onnx_op2(n, OP_unsqueeze, ids, onnx_i64s(n, &axis, 1));
	}
	return onnx_op2(n, OP_unsqueeze, onnx_op2(n, OP_gather, cache, ids), onnx_i64s(n, &two, 1));
}

/* x[B, S, heads, 2 * pairs]: halves (or, interleaved, neighbours) are the pairs. */
static MloValue *turn(OnnxNode *n, MloValue *x, MloValue *cos, MloValue *sin, int64_t pairs, bool interleaved)
{
	MloValue *a, *b, *re, *im;
	int64_t last = 4, shape[] = {0, 0, 0, pairs, 2};

	if (interleaved) {
		x = ms_reshape(n, x, shape, 5);
		a = onnx_op2(n, OP_squeeze, ms_slice(n, x, 4, 0, 1), onnx_i64s(n, &last, 1));
		b = onnx_op2(n, OP_squeeze, ms_slice(n, x, 4, 1, 2), onnx_i64s(n, &last, 1));
	} else {
		a = ms_slice(n, x, 3, 0, pairs);
		b = ms_slice(n, x, 3, pairs, 2 * pairs);
	}
	re = onnx_op2(n, OP_sub, onnx_op2(n, OP_mul, a, cos), onnx_op2(n, OP_mul, b, sin));
	im = onnx_op2(n, OP_add, onnx_op2(n, OP_mul, a, sin), onnx_op2(n, OP_mul, b, cos));
	if (!interleaved)
		return ms_concat2(n, re, im, 3);
	re = onnx_op2(n, OP_unsqueeze, re, onnx_i64s(n, &last, 1));
	im = onnx_op2(n, OP_unsqueeze, im, onnx_i64s(n, &last, 1));
	return ms_reshape(n, ms_concat2(n, re, im, 4), (int64_t[]){0, 0, 0, 2 * pairs}, 4);
}

MloValue *ms_rotary(OnnxNode *n, MloValue *x, MloValue *ids, MloValue *cos, MloValue *sin, bool interleaved)
{
	MloDim pairs = cos->type.rank == 2 ? cos->type.dim[1] : (MloDim){0}, size = x->type.dim[3];
	MloValue *turned;

	if (!mlo_dim_known(pairs) || pairs.k < 1 || !mlo_dim_known(size)) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "the sizes of a head and of the cache are not known");
		return NULL;
	}
	if (2 * pairs.k > size.k) {
		onnx_fail(n, MLO_ERR_MODEL, "the cache turns %lld features, a head has %lld", 2 * (long long)pairs.k,
			  (long long)size.k);
		return NULL;
	}
	cos = angles(n, cos, ids, x);
	sin = angles(n, sin, ids, x);
	if (2 * pairs.k == size.k)
		return turn(n, x, cos, sin, pairs.k, interleaved);
	turned = turn(n, ms_slice(n, x, 3, 0, 2 * pairs.k), cos, sin, pairs.k, interleaved);
	return ms_concat2(n, turned, ms_slice(n, x, 3, 2 * pairs.k, size.k), 3);
}

/* Heads of x[B, S, D], where `num_heads` does not say: such that the cache turns whole heads. */
static int64_t heads_of(OnnxNode *n, int64_t given)
{
	const MloType *x = &n->in[0]->type, *cos = &n->in[2]->type;

	if (given > 0)
		return given;
	if (cos->rank == 2 && mlo_dim_known(cos->dim[1]) && cos->dim[1].k > 0 && mlo_dim_known(x->dim[2]))
		return x->dim[2].k / (2 * cos->dim[1].k);
	onnx_fail(n, MLO_ERR_UNSUPPORTED, "the number of heads is not known");
	return 0;
}

/* (x, position ids, cos cache, sin cache); x is [B, S, D] or [B, heads, S, size] */
void import_ms_rotary_embedding(OnnxNode *n)
{
	bool interleaved = onnx_int(n, "interleaved", 0) != 0, flat;
	int64_t heads = onnx_int(n, "num_heads", 0);
	MloValue *x, *y;

	onnx_ignore(n, "rotary_embedding_dim"); /* twice the width of the cache */
	onnx_ignore(n, "is_packed_batching");
	onnx_ignore(n, "scale");
	if (!onnx_arity(n, 4, 4) || !ms_rank(n, 0, 3, 4) || !ms_rank(n, 1, 1, 2))
		return;
	flat = n->in[0]->type.rank == 3;
	heads = flat ? heads_of(n, heads) : 0;
	if (n->failed)
		return;
	x = flat ? ms_reshape(n, n->in[0], (int64_t[]){0, 0, heads, -1}, 4)
		 : ms_transpose(n, n->in[0], (int64_t[]){0, 2, 1, 3}, 4);
	y = ms_rotary(n, x, n->in[1], n->in[2], n->in[3], interleaved);
	if (!y)
		return;
	y = flat ? ms_reshape(n, y, (int64_t[]){0, 0, -1}, 3) : ms_transpose(n, y, (int64_t[]){0, 2, 1, 3}, 4);
	onnx_result(n, 0, y);
}
