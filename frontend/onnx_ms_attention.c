/* frontend/onnx_ms_attention.c -- importers of com.microsoft attention, written out as products and softmax.
 *
 * Queries, keys and values are [batch, heads, sequence, head size] inside. */
#include "frontend/onnx_ms.h"

#include <math.h>

/* What softmax(q @ k' * scale + mask) @ v needs. */
typedef struct Attend {
	MloValue *q, *k, *v;
	MloValue *keep; /* bool, broadcasts to the scores: others get `filter` added; may be NULL */
	MloValue *bias; /* added to the scores; may be NULL */
	MloValue *scores; /* out: before the softmax */
	double filter, scale; /* scale 0: 1 / sqrt(head size) */
	bool causal;
} Attend;

/* [B, S, heads * size] to [B, heads, S, size] */
static MloValue *split_heads(OnnxNode *n, MloValue *v, int64_t heads)
{
	v = ms_reshape(n, v, (int64_t[]){0, 0, heads, -1}, 4);
	return ms_transpose(n, v, (int64_t[]){0, 2, 1, 3}, 4);
}

static MloValue *merge_heads(OnnxNode *n, MloValue *v)
{
	v = ms_transpose(n, v, (int64_t[]){0, 2, 1, 3}, 4);
	return ms_reshape(n, v, (int64_t[]){0, 0, -1}, 3);
}

static MloValue *unsqueeze(OnnxNode *n, MloValue *v, const int64_t *axes, int count)
{
	return onnx_op2(n, OP_unsqueeze, v, onnx_i64s(n, axes, count));
}

/* 0, 1, ... up to the size of dimension `axis` of v, as i64[size]. */
static MloValue *positions(OnnxNode *n, MloValue *v, int64_t axis)
{
	MloValue *size = onnx_op1(n, OP_squeeze, ms_dim(n, v, axis));

	return onnx_op3(n, OP_range, onnx_scalar(n, EL_i64, 0), size, onnx_scalar(n, EL_i64, 1));
}

/* True where key t is after query s, when the last query belongs to the last key: [S, T]. */
static MloValue *later_keys(OnnxNode *n, const Attend *a)
{
	MloValue *past = onnx_op2(n, OP_sub, ms_dim(n, a->k, 2), ms_dim(n, a->q, 2));
	MloValue *row = onnx_op2(n, OP_add, positions(n, a->q, 2), past);
	int64_t last = 1;

	return onnx_op2(n, OP_greater, positions(n, a->k, 2), unsqueeze(n, row, &last, 1));
}

static MloValue *attend(OnnxNode *n, Attend *a)
{
	MloDim size = a->q->type.rank == 4 ? a->q->type.dim[3] : (MloDim){0};
	double scale = a->scale;
	MloValue *x, *zero, *filter;
	MloElem e = onnx_elem_beside(a->q);

	if (scale == 0 && (!mlo_dim_known(size) || size.k <= 0)) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "the head size is not known");
		return NULL;
	}
	scale = scale == 0 ? 1 / sqrt((double)size.k) : scale;
	x = ms_scale(n, onnx_op2(n, OP_matmul, a->q, ms_swap_last(n, a->k)), scale);
	if (a->keep) {
		zero = onnx_scalar(n, e, 0);
		filter = onnx_scalar(n, e, a->filter);
		x = onnx_op2(n, OP_add, x, onnx_op3(n, OP_where, a->keep, zero, filter));
	}
	x = ms_add(n, x, a->bias);
	if (a->causal)
		x = onnx_op3(n, OP_where, later_keys(n, a), onnx_scalar(n, e, e == EL_f16 ? -65504 : -3.402823466e38),
			     x);
	a->scores = x;
	return onnx_op2(n, OP_matmul, ms_softmax(n, x, -1), a->v);
}

/* -- masks ---------------------------------------------------------------------------------------------- */

/* From lengths [B], or ends and starts [2 * B]: which of the T keys count, [B, 1, 1, T]. */
static MloValue *keep_range(OnnxNode *n, MloValue *mask, const Attend *a)
{
	MloValue *t = onnx_cast(n, positions(n, a->k, 2), onnx_elem_beside(mask)), *keep, *start;
	MloDim batch = a->q->type.dim[0], count = mask->type.dim[0];
	const int64_t shape[] = {-1, 1, 1, 1};

	if (mlo_dim_known(batch) && mlo_dim_known(count) && count.k == 2 * batch.k) {
		start = ms_reshape(n, ms_slice(n, mask, 0, batch.k, 2 * batch.k), shape, 4);
		mask = ms_slice(n, mask, 0, 0, batch.k);
		keep = onnx_op2(n, OP_less, t, ms_reshape(n, mask, shape, 4));
		return onnx_op2(n, OP_and, keep, onnx_op2(n, OP_greater_equal, t, start));
	}
	if (mlo_dim_known(batch) && mlo_dim_known(count) && count.k != batch.k) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "a mask of %lld lengths for a batch of %lld is not supported",
			  (long long)count.k, (long long)batch.k);
		return NULL;
	}
	return onnx_op2(n, OP_less, t, ms_reshape(n, mask, shape, 4));
}

/* A [B, 1, M, M] mask serves every length up to M: rows of the queries, columns of the keys. */
static MloValue *keep_window(OnnxNode *n, MloValue *keep, const Attend *a)
{
	MloValue *total = ms_dim(n, a->k, 2), *past = onnx_op2(n, OP_sub, total, ms_dim(n, a->q, 2));
	int64_t zero = 0, two = 2, three = 3;
	MloValue *rows[] = {keep, past, total, onnx_i64s(n, &two, 1)}, *cols[4];

	cols[0] = onnx_infer(n, onnx_node(n, OP_slice, rows, 4, 1));
	cols[1] = onnx_i64s(n, &zero, 1);
	cols[2] = total;
	cols[3] = onnx_i64s(n, &three, 1);
	return onnx_infer(n, onnx_node(n, OP_slice, cols, 4, 1));
}

/* Operand i as a->keep; false after an error. */
static bool set_mask(OnnxNode *n, uint32_t i, Attend *a)
{
	MloValue *mask = onnx_in(n, i), *keep;
	int64_t axes[] = {1, 2};

	if (!mask)
		return true;
	if (!ms_rank(n, i, 1, 4))
		return false;
	if (mask->type.rank == 1) {
		a->keep = keep_range(n, mask, a);
		return a->keep != NULL;
	}
	keep = onnx_op2(n, OP_greater, mask, onnx_scalar(n, onnx_elem_beside(mask), 0));
	if (mask->type.rank < 4)
		keep = unsqueeze(n, keep, axes, 4 - mask->type.rank);
	else
		keep = keep_window(n, keep, a);
	a->keep = keep;
	return true;
}

/* -- Attention, QAttention ---------------------------------------------------------------------------------- */

/* past and present: [2, B, heads, length, size], keys before values. */
static MloValue *half_of_past(OnnxNode *n, MloValue *past, int64_t i)
{
	int64_t zero = 0;

	return onnx_op2(n, OP_squeeze, ms_slice(n, past, 0, i, i + 1), onnx_i64s(n, &zero, 1));
}

static void take_past(OnnxNode *n, MloValue *past, Attend *a)
{
	int64_t zero = 0;

	if (past) {
		a->k = ms_concat2(n, half_of_past(n, past, 0), a->k, 2);
		a->v = ms_concat2(n, half_of_past(n, past, 1), a->v, 2);
	}
	if (onnx_wanted(n, 1))
		onnx_result(n, 1, ms_concat2(n, unsqueeze(n, a->k, &zero, 1), unsqueeze(n, a->v, &zero, 1), 0));
}

/* The product of input and weights, cut into queries, keys and values. */
static bool cut_qkv(OnnxNode *n, MloValue *qkv, int64_t heads, Attend *a)
{
	int count;
	const int64_t *sizes = onnx_ints(n, "qkv_hidden_sizes", &count);
	MloValue *in[] = {qkv, NULL};
	MloNode *m;

	if (sizes && count && count != 3) {
		onnx_fail(n, MLO_ERR_MODEL, "qkv_hidden_sizes has %d numbers, not 3", count);
		return false;
	}
	if (sizes && count)
		in[1] = onnx_i64s(n, sizes, 3);
	m = onnx_node(n, OP_split, in, in[1] ? 2 : 1, 3);
	mlo_attr_set_i(m, ATTR_split_axis, 2);
	onnx_infer(n, m);
	a->q = split_heads(n, m->out[0], heads);
	a->k = split_heads(n, m->out[1], heads);
	a->v = split_heads(n, m->out[2], heads);
	return true;
}

static int64_t num_heads(OnnxNode *n)
{
	int64_t heads = onnx_int(n, "num_heads", 0);

	if (heads < 1 || heads > 1 << 20)
		onnx_fail(n, MLO_ERR_MODEL, "num_heads is %lld", (long long)heads);
	return heads;
}

static bool plain_buffers(OnnxNode *n)
{
	onnx_ignore(n, "rotary_embedding_dim");
	if (onnx_int(n, "do_rotary", 0) != 0)
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "do_rotary is not supported");
	if (onnx_int(n, "past_present_share_buffer", 0) != 0)
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "past_present_share_buffer is not supported");
	return !n->failed;
}

static void self_attention(OnnxNode *n, MloValue *qkv, uint32_t mask, MloValue *past, MloValue *bias)
{
	Attend a = {.bias = bias, .causal = onnx_int(n, "unidirectional", 0) != 0};
	int64_t heads = num_heads(n);
	MloValue *y;

	a.filter = onnx_float(n, "mask_filter_value", -10000);
	a.scale = onnx_float(n, "scale", 0);
	if (!plain_buffers(n) || !cut_qkv(n, qkv, heads, &a))
		return;
	take_past(n, past, &a);
	if (!set_mask(n, mask, &a))
		return;
	y = attend(n, &a);
	if (y)
		onnx_result(n, 0, merge_heads(n, y));
}

/* (input, weights, bias, mask, past, attention bias) -> y, present */
void import_ms_attention(OnnxNode *n)
{
	if (!onnx_arity(n, 2, 6))
		return;
	self_attention(n, ms_add(n, onnx_op2(n, OP_matmul, n->in[0], n->in[1]), onnx_in(n, 2)), 3, onnx_in(n, 4),
		       onnx_in(n, 5));
}

/* (input, weight, bias, input scale, weight scale, mask, input zero, weight zero, past): 8-bit input, weight */
void import_ms_qattention(OnnxNode *n)
{
	MloValue *x, *w;

	if (!onnx_arity(n, 5, 9))
		return;
	x = ms_dequantize(n, n->in[0], n->in[3], onnx_in(n, 6), 0);
	w = ms_dequantize(n, n->in[1], n->in[4], onnx_in(n, 7), 1);
	self_attention(n, ms_add(n, onnx_op2(n, OP_matmul, x, w), n->in[2]), 5, onnx_in(n, 8), NULL);
}

/* -- MultiHeadAttention ------------------------------------------------------------------------------------- */

/* Part i of [B, S, heads, parts, size], as [B, heads, S, size]. */
static MloValue *unpack(OnnxNode *n, MloValue *v, int64_t i)
{
	int64_t axis = 3;

	v = onnx_op2(n, OP_squeeze, ms_slice(n, v, 3, i, i + 1), onnx_i64s(n, &axis, 1));
	return ms_transpose(n, v, (int64_t[]){0, 2, 1, 3}, 4);
}

/* Query, key and value without their biases. Keys and values of four dimensions have their heads already. */
static bool take_qkv(OnnxNode *n, int64_t heads, Attend *a)
{
	MloValue *q = n->in[0], *k = onnx_in(n, 1), *v = onnx_in(n, 2);

	if (!ms_rank(n, 0, 3, 5) || (k && !ms_rank(n, 1, 3, 5)) || (v && !ms_rank(n, 2, 3, 4)))
		return false;
	a->q = q->type.rank == 5 ? unpack(n, q, 0) : split_heads(n, q, heads);
	if (q->type.rank == 5) {
		a->k = unpack(n, q, 1);
		a->v = unpack(n, q, 2);
	} else if (k && k->type.rank == 5) {
		a->k = unpack(n, k, 0);
		a->v = unpack(n, k, 1);
	} else if (k && v) {
		a->k = k->type.rank == 4 ? k : split_heads(n, k, heads);
		a->v = v->type.rank == 4 ? v : split_heads(n, v, heads);
	} else {
		onnx_fail(n, MLO_ERR_MODEL, "key or value is missing");
		return false;
	}
	return true;
}

/* Adds bias[from ...] to v by head; returns where the next one begins, -1 after an error. */
static int64_t add_bias(OnnxNode *n, MloValue *bias, int64_t from, int64_t heads, MloValue **v)
{
	MloDim size = (*v)->type.dim[3];
	int64_t to;
	MloValue *part;

	if (!mlo_dim_known(size)) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "the head size is not known");
		return -1;
	}
	to = from + heads * size.k;
	part = ms_reshape(n, ms_slice(n, bias, 0, from, to), (int64_t[]){heads, 1, size.k}, 3);
	*v = onnx_op2(n, OP_add, *v, part);
	return to;
}

/* The bias of keys and values that come with heads (of another sequence) is in them already. */
static bool add_biases(OnnxNode *n, MloValue *bias, int64_t heads, Attend *a)
{
	const MloValue *k = onnx_in(n, 1);
	bool cross = k && k->type.rank == 4;
	int64_t at;

	if (!bias)
		return true;
	at = add_bias(n, bias, 0, heads, &a->q);
	if (at >= 0 && !cross)
		at = add_bias(n, bias, at, heads, &a->k);
	if (at >= 0 && !cross)
		at = add_bias(n, bias, at, heads, &a->v);
	return at >= 0;
}

/* (query, key, value, bias, key padding mask, attention bias, past key, past value)
 * -> y, present key, present value, scores */
void import_ms_multi_head_attention(OnnxNode *n)
{
	Attend a = {.causal = onnx_int(n, "unidirectional", 0) != 0};
	int64_t heads = num_heads(n);
	MloValue *y;

	a.filter = onnx_float(n, "mask_filter_value", -10000);
	a.scale = onnx_float(n, "scale", 0);
	if (n->failed || !onnx_arity(n, 1, 8) || !take_qkv(n, heads, &a) || !add_biases(n, onnx_in(n, 3), heads, &a))
		return;
	if (onnx_in(n, 6) && onnx_in(n, 7)) {
		a.k = ms_concat2(n, n->in[6], a.k, 2);
		a.v = ms_concat2(n, n->in[7], a.v, 2);
	}
	onnx_result(n, 1, a.k);
	onnx_result(n, 2, a.v);
	a.bias = onnx_in(n, 5);
	if (!set_mask(n, 4, &a))
		return;
	y = attend(n, &a);
	if (!y)
		return;
	onnx_result(n, 0, merge_heads(n, y));
	onnx_result(n, 3, a.scores);
}
