/* frontend/onnx_ms_block.c -- importers of com.microsoft operators on weights quantized by blocks. */
#include "frontend/onnx_ms.h"

/* (a, weights, scales, zero points, groups, bias) */
void import_ms_matmul_nbits(OnnxNode *n)
{
	onnx_ignore(n, "accuracy_level"); /* how coarse the arithmetic may be */
	if (onnx_int(n, "weight_prepacked", 0) != 0)
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "prepacked weights are not supported");
	onnx_plain(n, OP_matmul_nbits);
}

/* -- GatherBlockQuantized ---------------------------------------------------------------------------- */

/* The constant v of bytes that hold two numbers each, along the last dimension. */
static MloValue *as_nibbles(OnnxNode *n, const MloValue *v)
{
	MloTensor *t;

	if (!v->data || v->data->rank < 1) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "packed numbers that are not constant are not supported");
		return NULL;
	}
	t = mlo_dup(n->g->arena, v->data, sizeof *t);
	t->elem = EL_u4;
	t->dim[t->rank - 1] *= 2;
	return mlo_graph_const(n->g, t, NULL);
}

/* A constant of the shape of `like`, all elements `x`. */
static MloValue *filled(OnnxNode *n, const MloValue *like, MloElem e, double x)
{
	int64_t dim[MLO_MAX_RANK];
	MloTensor *t;

	for (int i = 0; i < like->type.rank; i++)
		dim[i] = like->type.dim[i].k;
	t = mlo_tensor_new(n->g->arena, e, like->type.rank, dim);
	for (int64_t i = 0, count = mlo_tensor_elems(t); i < count; i++)
		mlo_tensor_set_f64(t, i, x);
	return mlo_graph_const(n->g, t, NULL);
}

typedef struct Blocks {
	MloValue *data, *scales, *zero;
	int64_t axis, gather, size;
} Blocks;

static MloValue *gather(OnnxNode *n, MloValue *v, int64_t axis)
{
	MloNode *m = onnx_node(n, OP_gather, (MloValue *[]){v, n->in[1]}, 2, 1);

	mlo_attr_set_i(m, ATTR_gather_axis, axis);
	return onnx_infer(n, m);
}

static MloValue *dequantize(OnnxNode *n, const Blocks *b, int64_t axis)
{
	MloNode *m = onnx_node(n, OP_dequantize_linear, (MloValue *[]){b->data, b->scales, b->zero}, b->zero ? 3 : 2, 1);

	mlo_attr_set_i(m, ATTR_dequantize_linear_axis, axis);
	mlo_attr_set_i(m, ATTR_dequantize_linear_block_size, b->size);
	return onnx_infer(n, m);
}

/* Bytes hold one number of 8 bits or two of 4, with a zero point in the middle of their range. */
static bool unpack_bytes(OnnxNode *n, Blocks *b)
{
	int64_t bits = onnx_int(n, "bits", 4), blocks;
	int last = b->data->type.rank - 1;

	if (b->data->type.elem != EL_u8)
		return true;
	if (bits != 4 && bits != 8) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "%lld bits are not supported", (long long)bits);
		return false;
	}
	if (!mlo_type_static(&b->scales->type) || b->scales->type.rank != last + 1) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "the shape of the scales is not known, or does not fit");
		return false;
	}
	blocks = b->scales->type.dim[last].k;
	if (bits == 4) {
		b->data = as_nibbles(n, b->data);
		if (b->data && b->zero)
			b->zero = as_nibbles(n, b->zero);
		if (!b->data || (n->nin > 3 && n->in[3] && !b->zero))
			return false;
		if (b->zero && b->zero->type.rank == last + 1 && b->zero->type.dim[last].k != blocks)
			b->zero = ms_slice(n, b->zero, last, 0, blocks);
	}
	if (!b->zero)
		b->zero = filled(n, b->scales, bits == 4 ? EL_u4 : EL_u8, bits == 4 ? 8 : 128);
	return true;
}

/* (data, indices, scales, zero points): rows are picked before they are dequantized. */
void import_ms_gather_block_quantized(OnnxNode *n)
{
	Blocks b = {.axis = onnx_int(n, "quantize_axis", 1), .gather = onnx_int(n, "gather_axis", 0)};
	int rank;

	b.size = onnx_int(n, "block_size", 128);
	if (!onnx_arity(n, 3, 4) || !ms_rank(n, 0, 1, MLO_MAX_RANK) || !ms_rank(n, 1, 0, MLO_MAX_RANK))
		return;
	rank = n->in[0]->type.rank;
	b.data = n->in[0];
	b.scales = n->in[2];
	b.zero = onnx_in(n, 3);
	b.axis += b.axis < 0 ? rank : 0;
	b.gather += b.gather < 0 ? rank : 0;
	if (b.axis < 0 || b.axis >= rank || b.gather < 0 || b.gather >= rank || b.size < 1) {
		onnx_fail(n, MLO_ERR_MODEL, "the axes do not fit %d dimensions", rank);
		return;
	}
	if (!unpack_bytes(n, &b))
		return;
	onnx_int(n, "bits", 4);
	if (b.axis == b.gather) {
		onnx_result(n, 0, gather(n, dequantize(n, &b, b.axis), b.gather));
		return;
	}
	b.data = gather(n, b.data, b.gather);
	b.scales = gather(n, b.scales, b.gather);
	b.zero = b.zero ? gather(n, b.zero, b.gather) : NULL;
	onnx_result(n, 0, dequantize(n, &b, b.axis < b.gather ? b.axis : b.axis - 1 + n->in[1]->type.rank));
}
