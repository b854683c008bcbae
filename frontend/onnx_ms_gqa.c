/* frontend/onnx_ms_gqa.c -- importer of com.microsoft GroupQueryAttention. */
#include "frontend/onnx_ms.h"

#include <string.h>

enum { QUERY, KEY, VALUE, PAST_KEY, PAST_VALUE, LENGTHS, TOTAL, COS, SIN, POSITIONS, BIAS, SINKS, OPERANDS };

/* Queries, keys and values that come as one tensor. */
static bool split_packed(OnnxNode *n, int64_t heads, int64_t kv_heads, MloValue **in)
{
	MloDim width = n->in[QUERY]->type.dim[2];
	MloValue *parts[2] = {n->in[QUERY], NULL};
	int64_t sizes[3], size;
	MloNode *m;

	if (!mlo_dim_known(width) || width.k % (heads + 2 * kv_heads)) {
		onnx_fail(n, MLO_ERR_MODEL, "the packed width does not divide into %lld heads",
			  (long long)(heads + 2 * kv_heads));
		return false;
	}
	size = width.k / (heads + 2 * kv_heads);
	sizes[0] = size * heads;
	sizes[1] = sizes[2] = size * kv_heads;
	parts[1] = onnx_i64s(n, sizes, 3);
	m = onnx_node(n, OP_split, parts, 2, 3);
	mlo_attr_set_i(m, ATTR_split_axis, 2);
	onnx_infer(n, m);
	for (int i = 0; i < 3; i++)
		in[i] = m->out[i];
	return true;
}

/* Where each new token stands, [B, S]: after the rows of the past that count. Those are none when the total
 * length is that of the new tokens, else what the lengths (less one) leave for them. */
static MloValue *positions(OnnxNode *n, MloValue *q)
{
	MloValue *rows = ms_dim(n, q, 1), *zero = onnx_scalar(n, EL_i64, 0), *one = onnx_scalar(n, EL_i64, 1);
	MloValue *total = onnx_cast(n, n->in[TOTAL], EL_i64), *lengths = onnx_cast(n, n->in[LENGTHS], EL_i64), *past;
	int64_t column[] = {-1, 1};

	lengths = ms_reshape(n, lengths, column, 2);
	past = onnx_op2(n, OP_sub, onnx_op2(n, OP_add, lengths, one), rows);
	past = onnx_op2(n, OP_max, past, zero);
	past = onnx_op3(n, OP_where, onnx_op2(n, OP_equal, total, rows), zero, past);
	return onnx_op2(n, OP_add, past, onnx_op3(n, OP_range, zero, onnx_op1(n, OP_squeeze, rows), one));
}

/* x[B, S, heads * size] turned; NULL after an error. */
static MloValue *rotate(OnnxNode *n, MloValue *x, int64_t heads, MloValue *ids, bool interleaved)
{
	x = ms_reshape(n, x, (int64_t[]){0, 0, heads, -1}, 4);
	x = ms_rotary(n, x, ids, n->in[COS], n->in[SIN], interleaved);
	return x ? ms_reshape(n, x, (int64_t[]){0, 0, -1}, 3) : NULL;
}

static bool take_rotary(OnnxNode *n, int64_t heads, int64_t kv_heads, MloValue **in)
{
	bool interleaved = onnx_int(n, "rotary_interleaved", 0) != 0;
	MloValue *ids;

	if (onnx_int(n, "do_rotary", 0) == 0)
		return true;
	if (!onnx_in(n, COS) || !onnx_in(n, SIN)) {
		onnx_fail(n, MLO_ERR_MODEL, "do_rotary needs the caches of cosines and sines");
		return false;
	}
	ids = onnx_in(n, POSITIONS) ? n->in[POSITIONS] : positions(n, in[QUERY]);
	in[QUERY] = rotate(n, in[QUERY], heads, ids, interleaved);
	in[KEY] = in[QUERY] ? rotate(n, in[KEY], kv_heads, ids, interleaved) : NULL;
	return in[KEY] != NULL;
}

/* A cache of whole numbers has scales beside it. */
static bool plain_cache(OnnxNode *n)
{
	const char *k = onnx_str(n, "k_quant_type", "NONE"), *v = onnx_str(n, "v_quant_type", "NONE");

	onnx_ignore(n, "kv_cache_bit_width");
	if (strcmp(k, "NONE") != 0 || strcmp(v, "NONE") != 0)
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "a quantized cache is not supported");
	if (onnx_int(n, "qk_output", 0) != 0)
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "qk_output is not supported");
	return !n->failed;
}

static void set_attrs(OnnxNode *n, MloNode *m, int64_t heads, int64_t kv_heads)
{
	mlo_attr_set_i(m, ATTR_group_query_attention_num_heads, heads);
	mlo_attr_set_i(m, ATTR_group_query_attention_kv_num_heads, kv_heads);
	mlo_attr_set_i(m, ATTR_group_query_attention_local_window_size, onnx_int(n, "local_window_size", -1));
	mlo_attr_set_f(m, ATTR_group_query_attention_scale, onnx_float(n, "scale", 0));
	mlo_attr_set_f(m, ATTR_group_query_attention_softcap, onnx_float(n, "softcap", 0));
	mlo_attr_set_i(m, ATTR_group_query_attention_smooth_softmax, onnx_int(n, "smooth_softmax", 0) > 0);
}

void import_ms_group_query_attention(OnnxNode *n)
{
	int64_t heads = onnx_int(n, "num_heads", 0), kv_heads = onnx_int(n, "kv_num_heads", 0);
	MloValue *in[OPERANDS] = {0};
	static const uint32_t from[] = {LENGTHS, TOTAL, PAST_KEY, PAST_VALUE, BIAS, SINKS};
	uint32_t count = 9;
	MloNode *m;

	if (!onnx_arity(n, 1, OPERANDS) || !plain_cache(n) || !ms_rank(n, QUERY, 3, 3))
		return;
	if (heads < 1 || kv_heads < 1 || heads > 1 << 20 || kv_heads > 1 << 20 || !onnx_in(n, LENGTHS) ||
	    !onnx_in(n, TOTAL)) {
		onnx_fail(n, MLO_ERR_MODEL, "num_heads, kv_num_heads or lengths are missing");
		return;
	}
	for (uint32_t i = 0; i <= VALUE; i++)
		in[i] = onnx_in(n, i);
	if (!in[KEY] != !in[VALUE])
		onnx_fail(n, MLO_ERR_MODEL, "key and value come together");
	else if ((in[KEY] || split_packed(n, heads, kv_heads, in)) && take_rotary(n, heads, kv_heads, in)) {
		for (uint32_t i = 0; i < 6; i++) /* those that must be there come first */
			in[3 + i] = onnx_in(n, from[i]);
		while (!in[count - 1])
			count--;
		m = onnx_node(n, OP_group_query_attention, in, count, 3);
		set_attrs(n, m, heads, kv_heads);
		onnx_finish(n, m);
	}
}
