/* ir/infer_attention.c -- result types of attention and what belongs to it. */
#include <string.h>

#include "ir/infer.h"

static bool is_rank(const MloType *t, int rank) { return !t || t->rank < 0 || t->rank == rank; }

static MloStatus need_rank(InferCx *c, uint32_t i, int rank)
{
	if (is_rank(infer_in(c, i), rank))
		return MLO_OK;
	return infer_error(c, "'%s' is %s, rank %d is expected", infer_name(c, i),
	                   infer_type_text(c, infer_in(c, i)), rank);
}

/* Dimension d of operand i must be `want`. */
static MloStatus need_dim(InferCx *c, uint32_t i, int d, MloDim want)
{
	const MloType *t = infer_in(c, i);
	MloDim ignored;

	if (!t || t->rank <= d || infer_meet(t->dim[d], want, &ignored))
		return MLO_OK;
	return infer_error(c, "'%s' is %s: dimension %d should be %s", infer_name(c, i), infer_type_text(c, t), d,
	                   infer_dim_text(c, want));
}

static MloStatus need_floats(InferCx *c, uint32_t i)
{
	if (!infer_in(c, i) || mlo_elem_is_float(infer_in(c, i)->elem))
		return MLO_OK;
	return infer_error(c, "'%s' is %s, not of a floating type", infer_name(c, i),
	                   mlo_elem_text(infer_in(c, i)->elem));
}

static MloStatus need_ints(InferCx *c, uint32_t i)
{
	if (!infer_in(c, i) || infer_in(c, i)->elem == EL_i64 || infer_in(c, i)->elem == EL_i32)
		return MLO_OK;
	return infer_error(c, "'%s' is %s, not i64", infer_name(c, i), mlo_elem_text(infer_in(c, i)->elem));
}

/* -- attention ------------------------------------------------------------------------------ */

typedef struct HeadDims { MloDim batch, heads, rows, size; } HeadDims;

/* Operand i as [batch, heads, rows, size]. */
static MloStatus heads_of(InferCx *c, uint32_t i, int64_t count, HeadDims *h)
{
	const MloType *t = infer_in(c, i);

	*h = (HeadDims){DIM_UNKNOWN, DIM_UNKNOWN, DIM_UNKNOWN, DIM_UNKNOWN};
	if (t->rank < 0)
		return MLO_OK;
	if (t->rank != 3 && t->rank != 4)
		return infer_error(c, "'%s' is %s, rank 3 or 4 is expected", infer_name(c, i),
		                   infer_type_text(c, t));
	h->batch = t->dim[0];
	if (t->rank == 4) {
		h->heads = t->dim[1];
		h->rows = t->dim[2];
		h->size = t->dim[3];
		return MLO_OK;
	}
	if (count < 1 || count > MLO_MAX_ELEMS)
		return infer_error(c, "'%s' has rank 3, and the number of heads is %lld", infer_name(c, i),
		                   (long long)count);
	if (mlo_dim_known(t->dim[2]) && t->dim[2].k % count)
		return infer_error(c, "'%s' is %s: %lld heads do not divide the last dimension", infer_name(c, i),
		                   infer_type_text(c, t), (long long)count);
	h->heads = mlo_dim(count);
	h->rows = t->dim[1];
	h->size = infer_div(c, t->dim[2], mlo_dim(count));
	return MLO_OK;
}

/* The mask broadcasts to the scores; its last dimension may be shorter (or one). */
static MloStatus check_mask(InferCx *c, const MloType *scores)
{
	const MloType *m = infer_in(c, 3);
	MloDim ignored;

	if (!m)
		return MLO_OK;
	if (m->elem != EL_bool)
		MLO_TRY(need_floats(c, 3));
	if (m->rank > 4)
		return infer_error(c, "mask '%s' is %s, of more than 4 dimensions", infer_name(c, 3),
		                   infer_type_text(c, m));
	for (int i = 0; i + 1 < m->rank; i++) {
		MloDim want = scores->dim[4 - m->rank + i];

		if (!dim_is(m->dim[i], 1) && !infer_meet(m->dim[i], want, &ignored))
			return infer_error(c, "mask '%s' is %s, the scores are %s", infer_name(c, 3),
			                   infer_type_text(c, m), infer_type_text(c, scores));
	}
	if (m->rank > 0 && mlo_dim_known(m->dim[m->rank - 1]) && mlo_dim_known(scores->dim[3]) &&
	    !dim_is_unknown(scores->dim[3]) && m->dim[m->rank - 1].k > scores->dim[3].k)
		return infer_error(c, "mask '%s' is %s, the scores are %s", infer_name(c, 3), infer_type_text(c, m),
		                   infer_type_text(c, scores));
	return MLO_OK;
}

/* A past of keys or values, operand i: [batch, heads, rows, size]. Its rows go before those of h. */
static MloStatus add_past(InferCx *c, uint32_t i, HeadDims *h)
{
	const MloType *t = infer_in(c, i);

	if (!t)
		return MLO_OK;
	MLO_TRY(need_rank(c, i, 4));
	MLO_TRY(infer_same_elem(c, i - 3, i));
	MLO_TRY(need_dim(c, i, 0, h->batch));
	MLO_TRY(need_dim(c, i, 1, h->heads));
	MLO_TRY(need_dim(c, i, 3, h->size));
	h->rows = t->rank == 4 ? infer_add(c, h->rows, t->dim[2]) : DIM_UNKNOWN;
	return MLO_OK;
}

static MloStatus check_heads(InferCx *c, const HeadDims *q, const HeadDims *k, const HeadDims *v)
{
	const MloType *lengths = infer_in(c, 6);
	MloDim ignored;

	if (!infer_meet(q->size, k->size, &ignored))
		return infer_error(c, "queries have %s features by head, keys have %s", infer_dim_text(c, q->size),
		                   infer_dim_text(c, k->size));
	if (!infer_meet(q->batch, k->batch, &ignored) || !infer_meet(q->batch, v->batch, &ignored))
		return infer_error(c, "batches differ: %s queries, %s keys, %s values", infer_dim_text(c, q->batch),
		                   infer_dim_text(c, k->batch), infer_dim_text(c, v->batch));
	if (!infer_meet(k->heads, v->heads, &ignored) || !infer_meet(k->rows, v->rows, &ignored))
		return infer_error(c, "keys are %s heads of %s rows, values %s of %s", infer_dim_text(c, k->heads),
		                   infer_dim_text(c, k->rows), infer_dim_text(c, v->heads),
		                   infer_dim_text(c, v->rows));
	if (mlo_dim_known(q->heads) && mlo_dim_known(k->heads) && !dim_is_unknown(q->heads) &&
	    !dim_is_unknown(k->heads) && (k->heads.k == 0 ? q->heads.k != 0 : q->heads.k % k->heads.k != 0))
		return infer_error(c, "%lld query heads do not divide among %lld key heads",
		                   (long long)q->heads.k, (long long)k->heads.k);
	if (!lengths)
		return MLO_OK;
	MLO_TRY(need_ints(c, 6));
	MLO_TRY(need_rank(c, 6, 1));
	return need_dim(c, 6, 0, q->batch);
}

MloStatus infer_attention(InferCx *c)
{
	MloType q = *infer_in(c, 0), k = *infer_in(c, 1), v = *infer_in(c, 2), scores = {.rank = 4};
	HeadDims hq, hk, hv;

	if (!c->n->out[3])
		return infer_error(c, "the scores are absent");
	for (uint32_t i = 0; i < 3; i++)
		MLO_TRY(need_floats(c, i));
	if (q.rank >= 0 && k.rank >= 0 && v.rank >= 0 && (q.rank != k.rank || k.rank != v.rank))
		return infer_error(c, "ranks differ: %d, %d, %d", q.rank, k.rank, v.rank);
	MLO_TRY(heads_of(c, 0, mlo_attr_i(c->n, ATTR_attention_q_num_heads), &hq));
	MLO_TRY(heads_of(c, 1, mlo_attr_i(c->n, ATTR_attention_kv_num_heads), &hk));
	MLO_TRY(heads_of(c, 2, mlo_attr_i(c->n, ATTR_attention_kv_num_heads), &hv));
	MLO_TRY(add_past(c, 4, &hk));
	MLO_TRY(add_past(c, 5, &hv));
	MLO_TRY(check_heads(c, &hq, &hk, &hv));
	scores = (MloType){.elem = q.elem, .rank = 4, .dim = {hq.batch, hq.heads, hq.rows, hk.rows}};
	MLO_TRY(check_mask(c, &scores));
	MLO_TRY(infer_out(c, 3, &scores));
	k = (MloType){.elem = k.elem, .rank = 4, .dim = {hk.batch, hk.heads, hk.rows, hk.size}};
	v = (MloType){.elem = v.elem, .rank = 4, .dim = {hv.batch, hv.heads, hv.rows, hv.size}};
	MLO_TRY(infer_out(c, 1, &k));
	MLO_TRY(infer_out(c, 2, &v));
	if (q.rank == 4)
		q.dim[3] = hv.size;
	if (q.rank == 3)
		q.dim[2] = infer_mul(c, hq.heads, hv.size);
	return infer_out(c, 0, &q);
}

MloStatus infer_linear_attention(InferCx *c)
{
	const MloType *q = infer_in(c, 0), *v = infer_in(c, 2), *decay = infer_in(c, 4), *beta = infer_in(c, 5);
	const char *rule = mlo_attr_s(c->n, ATTR_linear_attention_update_rule);
	MloType y = {.elem = q->elem, .rank = 3}, state = {.elem = q->elem, .rank = 4};
	HeadDims hq, hk, hv;
	int64_t kv_heads = mlo_attr_i(c->n, ATTR_linear_attention_kv_num_heads);
	int64_t q_heads = mlo_attr_i(c->n, ATTR_linear_attention_q_num_heads);

	if (strcmp(rule, "linear") && strcmp(rule, "gated") && strcmp(rule, "delta") && strcmp(rule, "gated_delta"))
		return infer_error(c, "update rule '%s' is not known", rule);
	if (!c->n->out[0] || !c->n->out[1])
		return infer_error(c, "a result is absent, both are needed");
	if (kv_heads < 1 || q_heads < 1 || q_heads % kv_heads)
		return infer_error(c, "%lld query heads do not divide among %lld key heads", (long long)q_heads,
		                   (long long)kv_heads);
	for (uint32_t i = 0; i < c->n->nin; i++)
		MLO_TRY(need_floats(c, i));
	for (uint32_t i = 0; i < 6; i++)
		MLO_TRY(need_rank(c, i, i == 3 ? 4 : 3));
	MLO_TRY(heads_of(c, 0, q_heads, &hq));
	MLO_TRY(heads_of(c, 1, kv_heads, &hk));
	MLO_TRY(heads_of(c, 2, kv_heads, &hv));
	for (uint32_t i = 1; i < 6; i++) {
		MLO_TRY(need_dim(c, i, 0, hq.batch));
		if (i != 3)
			MLO_TRY(need_dim(c, i, 1, hq.rows));
	}
	if (!infer_meet(hq.size, hk.size, &hk.size))
		return infer_error(c, "queries have %s features by head, keys have %s", infer_dim_text(c, hq.size),
		                   infer_dim_text(c, hk.size));
	if (decay && decay->rank == 3 && !dim_is(decay->dim[2], kv_heads))
		MLO_TRY(need_dim(c, 4, 2, infer_mul(c, hk.size, mlo_dim(kv_heads))));
	if (beta && beta->rank == 3 && !dim_is(beta->dim[2], 1))
		MLO_TRY(need_dim(c, 5, 2, mlo_dim(kv_heads)));
	state.dim[0] = hq.batch;
	state.dim[1] = mlo_dim(kv_heads);
	state.dim[2] = hk.size;
	state.dim[3] = hv.size;
	for (int i = 0; i < 4; i++)
		MLO_TRY(need_dim(c, 3, i, state.dim[i]));
	if (infer_in(c, 3))
		state.elem = infer_in(c, 3)->elem;
	y.dim[0] = hq.batch;
	y.dim[1] = hq.rows;
	y.dim[2] = v->rank == 3 ? infer_mul(c, hv.size, mlo_dim(q_heads)) : DIM_UNKNOWN;
	MLO_TRY(infer_out(c, 0, &y));
	return infer_out(c, 1, &state);
}

/* -- what goes with it ------------------------------------------------------------------------ */

MloStatus infer_causal_conv(InferCx *c)
{
	const MloType *w = infer_in(c, 1);
	const char *act = mlo_attr_s(c->n, ATTR_causal_conv_with_state_activation);
	MloType x = *infer_in(c, 0), state;

	if (strcmp(act, "none") && strcmp(act, "silu") && strcmp(act, "swish"))
		return infer_error(c, "activation '%s' is not known", act);
	if (!c->n->out[0] || !c->n->out[1])
		return infer_error(c, "a result is absent, both are needed");
	for (uint32_t i = 0; i < c->n->nin; i++)
		MLO_TRY(need_floats(c, i));
	MLO_TRY(need_rank(c, 0, 3));
	MLO_TRY(need_rank(c, 1, 3));
	MLO_TRY(need_rank(c, 2, 1));
	MLO_TRY(need_rank(c, 3, 3));
	state = (MloType){.elem = x.elem, .rank = 3, .dim = {DIM_UNKNOWN, DIM_UNKNOWN, DIM_UNKNOWN}};
	if (x.rank < 0) {
		MLO_TRY(infer_out(c, 0, &x));
		return infer_out(c, 1, &state);
	}
	MLO_TRY(need_dim(c, 1, 0, x.dim[1]));
	MLO_TRY(need_dim(c, 1, 1, mlo_dim(1)));
	MLO_TRY(need_dim(c, 2, 0, x.dim[1]));
	state.dim[0] = x.dim[0];
	state.dim[1] = x.dim[1];
	if (w->rank == 3 && dim_is(w->dim[2], 0))
		return infer_error(c, "weight '%s' is %s: an empty kernel", infer_name(c, 1), infer_type_text(c, w));
	state.dim[2] = w->rank == 3 ? infer_sub(c, w->dim[2], mlo_dim(1)) : DIM_UNKNOWN;
	for (int i = 0; i < 3; i++)
		MLO_TRY(need_dim(c, 3, i, state.dim[i]));
	MLO_TRY(infer_out(c, 0, &x));
	return infer_out(c, 1, &state);
}

/* The tables of cosines and sines are [positions, half] with positions given, else [batch, rows, half]. */
static MloStatus check_tables(InferCx *c, const HeadDims *x, MloDim half)
{
	int rank = infer_in(c, 3) ? 2 : 3;

	for (uint32_t i = 1; i < 3; i++) {
		MLO_TRY(need_rank(c, i, rank));
		MLO_TRY(need_dim(c, i, rank - 1, half));
		if (rank == 3) {
			MLO_TRY(need_dim(c, i, 0, x->batch));
			MLO_TRY(need_dim(c, i, 1, x->rows));
		}
		MLO_TRY(need_floats(c, i));
	}
	MLO_TRY(need_ints(c, 3));
	MLO_TRY(need_rank(c, 3, 2));
	MLO_TRY(need_dim(c, 3, 0, x->batch));
	return need_dim(c, 3, 1, x->rows);
}

MloStatus infer_rotary_embedding(InferCx *c)
{
	int64_t turned = mlo_attr_i(c->n, ATTR_rotary_embedding_rotary_embedding_dim);
	HeadDims x;
	MloDim half;

	MLO_TRY(need_floats(c, 0));
	MLO_TRY(heads_of(c, 0, mlo_attr_i(c->n, ATTR_rotary_embedding_num_heads), &x));
	if (turned < 0 || turned % 2 || (mlo_dim_known(x.size) && !dim_is_unknown(x.size) && turned > x.size.k))
		return infer_error(c, "%lld features of %s are to be turned", (long long)turned,
		                   infer_dim_text(c, x.size));
	half = turned ? mlo_dim(turned / 2) : infer_div(c, x.size, mlo_dim(2));
	MLO_TRY(check_tables(c, &x, half));
	return infer_out(c, 0, infer_in(c, 0));
}

MloStatus infer_tensor_scatter(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	const MloType *u = infer_in(c, 1);
	const char *mode = mlo_attr_s(c->n, ATTR_tensor_scatter_mode);
	int axis;

	if (strcmp(mode, "linear") && strcmp(mode, "circular"))
		return infer_error(c, "mode is '%s', not linear or circular", mode);
	MLO_TRY(infer_same_elem(c, 0, 1));
	if (mlo_elem_bits(t.elem) < 8)
		return infer_error(c, "'%s' is %s", infer_name(c, 0), mlo_elem_text(t.elem));
	MLO_TRY(need_ints(c, 2));
	MLO_TRY(need_rank(c, 2, 1));
	if (t.rank < 0)
		return infer_out(c, 0, &t);
	MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_tensor_scatter_axis), t.rank, &axis));
	if (axis == 0)
		return infer_error(c, "axis is that of the batch");
	MLO_TRY(need_rank(c, 1, t.rank));
	for (int i = 0; i < t.rank; i++)
		if (i != axis)
			MLO_TRY(need_dim(c, 1, i, t.dim[i]));
	if (u->rank == t.rank && mlo_dim_known(u->dim[axis]) && mlo_dim_known(t.dim[axis]) &&
	    u->dim[axis].k > t.dim[axis].k)
		return infer_error(c, "update '%s' is %s, the cache is %s", infer_name(c, 1), infer_type_text(c, u),
		                   infer_type_text(c, &t));
	MLO_TRY(need_dim(c, 2, 0, t.dim[0]));
	return infer_out(c, 0, &t);
}
