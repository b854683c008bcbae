/* ir/infer_ms.c -- result types of the operators that ONNX Runtime adds to ONNX. */
#include "ir/infer.h"

/* -- group_query_attention -------------------------------------------------------------------- */

static MloStatus want_rank(InferCx *c, uint32_t i, int rank)
{
	const MloType *t = infer_in(c, i);

	if (t && t->rank >= 0 && t->rank != rank)
		return infer_error(c, "'%s' is %s, %d dimensions are expected", infer_name(c, i),
				   infer_type_text(c, t), rank);
	return MLO_OK;
}

/* Dimension d of operand i must be `want`. */
static MloStatus want_dim(InferCx *c, uint32_t i, int d, MloDim want)
{
	const MloType *t = infer_in(c, i);
	MloDim ignored;

	if (t && t->rank > d && !infer_meet(t->dim[d], want, &ignored))
		return infer_error(c, "dimension %d of '%s' is %s, %s is expected", d, infer_name(c, i),
				   infer_dim_text(c, t->dim[d]), infer_dim_text(c, want));
	return MLO_OK;
}

static MloDim dim_of(const InferCx *c, uint32_t i, int d)
{
	const MloType *t = infer_in(c, i);

	return t && t->rank > d ? t->dim[d] : DIM_UNKNOWN;
}

static MloStatus check_heads(InferCx *c, int64_t heads, int64_t kv_heads)
{
	if (heads < 1 || kv_heads < 1 || heads > MLO_MAX_ELEMS || heads % kv_heads)
		return infer_error(c, "%lld heads of queries do not divide into %lld of keys", (long long)heads,
				   (long long)kv_heads);
	if (!infer_in(c, 5) != !infer_in(c, 6))
		return infer_error(c, "past keys and past values come together");
	return MLO_OK;
}

/* q[B,S,heads*H], k and v[B,S,kv_heads*H], lengths[B], total: one integer, past[B,kv_heads,P,H] twice. */
static MloStatus check_gqa(InferCx *c, int64_t kv_heads, MloDim size)
{
	static const struct { uint32_t in; int rank; } of[] = {{0, 3}, {1, 3}, {2, 3}, {5, 4}, {6, 4}};
	MloDim width = infer_mul(c, size, mlo_dim(kv_heads));
	int64_t n;

	for (int i = 0; i < 5; i++) {
		MLO_TRY(want_rank(c, of[i].in, of[i].rank));
		MLO_TRY(infer_same_elem(c, 0, of[i].in));
		MLO_TRY(want_dim(c, of[i].in, 0, dim_of(c, 0, 0)));
	}
	for (uint32_t i = 1; i < 3; i++) {
		MLO_TRY(want_dim(c, i, 1, dim_of(c, 0, 1)));
		MLO_TRY(want_dim(c, i, 2, width));
	}
	for (uint32_t i = 5; i < 7; i++) {
		MLO_TRY(want_dim(c, i, 1, mlo_dim(kv_heads)));
		MLO_TRY(want_dim(c, i, 2, dim_of(c, 5, 2)));
		MLO_TRY(want_dim(c, i, 3, size));
	}
	for (uint32_t i = 3; i < 5; i++)
		if (infer_in(c, i)->elem != EL_i32 && infer_in(c, i)->elem != EL_i64)
			return infer_error(c, "'%s' holds no integers", infer_name(c, i));
	n = mlo_type_elems(infer_in(c, 3));
	if (n >= 0 && mlo_dim_known(dim_of(c, 0, 0)) && !dim_is_unknown(dim_of(c, 0, 0)) && n != dim_of(c, 0, 0).k)
		return infer_error(c, "%lld lengths for a batch of %lld", (long long)n,
				   (long long)dim_of(c, 0, 0).k);
	n = mlo_type_elems(infer_in(c, 4));
	return n >= 0 && n != 1 ? infer_error(c, "'%s' is not one number", infer_name(c, 4)) : MLO_OK;
}

/* The bias broadcasts over batch and heads; a sink per head. */
static MloStatus check_gqa_extras(InferCx *c, int64_t heads)
{
	const MloType *bias = infer_in(c, 7);

	MLO_TRY(want_rank(c, 7, 4));
	MLO_TRY(infer_same_elem(c, 0, 7));
	if (bias && bias->rank == 4) {
		if (!dim_is(bias->dim[0], 1))
			MLO_TRY(want_dim(c, 7, 0, dim_of(c, 0, 0)));
		if (!dim_is(bias->dim[1], 1))
			MLO_TRY(want_dim(c, 7, 1, mlo_dim(heads)));
		MLO_TRY(want_dim(c, 7, 2, dim_of(c, 0, 1)));
	}
	MLO_TRY(want_rank(c, 8, 1));
	return want_dim(c, 8, 0, mlo_dim(heads));
}

/* Rows of the present: the larger of the past's and the total length. */
static MloDim present_rows(InferCx *c)
{
	MloDim past = infer_in(c, 5) ? dim_of(c, 5, 2) : mlo_dim(0), total;
	InferValues v;

	infer_values(c, c->n->in[4], &v);
	total = v.n == 1 ? v.d[0] : DIM_UNKNOWN;
	if (dim_is_unknown(total) || dim_is_unknown(past))
		return DIM_UNKNOWN;
	if (!total.e && total.k < 0)
		return past;
	return mlo_dim_max(c->syms, past, total);
}

MloStatus infer_group_query_attention(InferCx *c)
{
	int64_t heads = mlo_attr_i(c->n, ATTR_group_query_attention_num_heads);
	int64_t kv_heads = mlo_attr_i(c->n, ATTR_group_query_attention_kv_num_heads);
	const MloType *q = infer_in(c, 0);
	MloType present = {.elem = q->elem, .rank = 4};
	MloDim size = DIM_UNKNOWN;

	MLO_TRY(check_heads(c, heads, kv_heads));
	if (q->rank == 3 && mlo_dim_known(q->dim[2]) && q->dim[2].k % heads)
		return infer_error(c, "%lld features do not divide into %lld heads", (long long)q->dim[2].k,
				   (long long)heads);
	if (q->rank == 3)
		size = infer_div(c, q->dim[2], mlo_dim(heads));
	MLO_TRY(check_gqa(c, kv_heads, size));
	MLO_TRY(check_gqa_extras(c, heads));
	present.dim[0] = dim_of(c, 0, 0);
	present.dim[1] = mlo_dim(kv_heads);
	present.dim[2] = present_rows(c);
	present.dim[3] = size;
	MLO_TRY(infer_out(c, 0, q));
	MLO_TRY(infer_out(c, 1, &present));
	if (c->n->out[1])
		present = c->n->out[1]->type; /* the same fresh symbols */
	return infer_out(c, 2, &present);
}

/* -- matmul_nbits --------------------------------------------------------------------------------- */

typedef struct NBits {
	int64_t n, k, bits, block, blocks;
} NBits;

static MloStatus nbits(InferCx *c, NBits *b)
{
	b->n = mlo_attr_i(c->n, ATTR_matmul_nbits_N);
	b->k = mlo_attr_i(c->n, ATTR_matmul_nbits_K);
	b->bits = mlo_attr_i(c->n, ATTR_matmul_nbits_bits);
	b->block = mlo_attr_i(c->n, ATTR_matmul_nbits_block_size);
	if (b->n < 1 || b->k < 1 || b->n > MLO_MAX_ELEMS / b->k)
		return infer_error(c, "N is %lld, K is %lld", (long long)b->n, (long long)b->k);
	if (b->bits != 2 && b->bits != 4 && b->bits != 8)
		return infer_error(c, "%lld bits are not supported: 2, 4 or 8", (long long)b->bits);
	if (b->block < 8 || b->block > 1 << 24)
		return infer_error(c, "block_size is %lld", (long long)b->block);
	b->blocks = (b->k + b->block - 1) / b->block;
	return MLO_OK;
}

/* Operand i, if present, must have `count` elements. */
static MloStatus want_count(InferCx *c, uint32_t i, int64_t count)
{
	const MloType *t = infer_in(c, i);
	int64_t n = t ? mlo_type_elems(t) : count;

	if (t && !mlo_type_static(t))
		return infer_error(c, "the size of '%s' is not known", infer_name(c, i));
	if (n != count)
		return infer_error(c, "'%s' has %lld elements, %lld are expected", infer_name(c, i), (long long)n,
				   (long long)count);
	return MLO_OK;
}

MloStatus infer_matmul_nbits(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	const MloType *zero = infer_in(c, 3);
	int64_t packed;
	NBits b = {0};

	MLO_TRY(nbits(c, &b));
	if (infer_in(c, 1)->elem != EL_u8)
		return infer_error(c, "'%s' is %s, not u8", infer_name(c, 1), mlo_elem_text(infer_in(c, 1)->elem));
	if (t.rank == 0)
		return infer_error(c, "'%s' is a scalar", infer_name(c, 0));
	if (t.rank > 0)
		MLO_TRY(want_dim(c, 0, t.rank - 1, mlo_dim(b.k)));
	MLO_TRY(want_count(c, 1, b.n * b.blocks * ((b.block * b.bits + 7) / 8)));
	MLO_TRY(want_count(c, 2, b.n * b.blocks));
	packed = (b.blocks * b.bits + 7) / 8;
	MLO_TRY(want_count(c, 3, b.n * (zero && zero->elem == EL_u8 ? packed : b.blocks)));
	if (infer_in(c, 4) && infer_in(c, 4)->elem != EL_i32)
		return infer_error(c, "'%s' is not i32", infer_name(c, 4));
	if (infer_in(c, 4)) { /* padded to whole blocks, or not */
		int64_t n = mlo_type_elems(infer_in(c, 4));

		MLO_TRY(want_count(c, 4, n == b.blocks * b.block ? n : b.k));
	}
	MLO_TRY(want_count(c, 5, b.n));
	if (t.rank > 0)
		t.dim[t.rank - 1] = mlo_dim(b.n);
	return infer_out(c, 0, &t);
}

/* -- others --------------------------------------------------------------------------------------- */

MloStatus infer_crop_and_resize(InferCx *c)
{
	MloType t = {.elem = infer_in(c, 0)->elem, .rank = 4};
	int64_t size[INFER_MAX_VALUES + 1];
	int n = 0;

	MLO_TRY(want_rank(c, 0, 4));
	MLO_TRY(want_rank(c, 1, 2));
	MLO_TRY(want_rank(c, 2, 1));
	MLO_TRY(want_dim(c, 1, 1, mlo_dim(4)));
	MLO_TRY(want_dim(c, 2, 0, dim_of(c, 1, 0)));
	MLO_TRY(infer_same_elem(c, 0, 1));
	if (infer_in(c, 2)->elem != EL_i32 && infer_in(c, 2)->elem != EL_i64)
		return infer_error(c, "'%s' holds no integers", infer_name(c, 2));
	t.dim[0] = dim_of(c, 1, 0);
	t.dim[1] = dim_of(c, 0, 1);
	t.dim[2] = t.dim[3] = DIM_UNKNOWN;
	if (infer_ints(c, 3, size, &n)) {
		if (n != 2 || size[0] < 1 || size[1] < 1 || size[0] > MLO_MAX_ELEMS || size[1] > MLO_MAX_ELEMS)
			return infer_error(c, "'%s' is not a size of two dimensions", infer_name(c, 3));
		t.dim[2] = mlo_dim(size[0]);
		t.dim[3] = mlo_dim(size[1]);
	}
	return infer_out(c, 0, &t);
}

MloStatus infer_inverse(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	MloDim ignored;

	if (t.rank < 0)
		return infer_out(c, 0, &t);
	if (t.rank < 2 || !infer_meet(t.dim[t.rank - 1], t.dim[t.rank - 2], &ignored))
		return infer_error(c, "'%s' is %s: no square matrices", infer_name(c, 0), infer_type_text(c, &t));
	if (mlo_dim_known(t.dim[t.rank - 1]) && t.dim[t.rank - 1].k > 512)
		return infer_error(c, "matrices of %lld rows are too large, at most 512 are supported",
				   (long long)t.dim[t.rank - 1].k);
	return infer_out(c, 0, &t);
}
