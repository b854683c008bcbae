/* passes/attend.c -- attention without a cache, written out as products and a softmax.
 * Requires: types.  Keeps: types, order, origins.  Breaks: nothing.  Idempotent.
 *
 * fuse then takes the parts as one kernel, and the projections around them join in.  Heads that share a key
 * head become a dimension along which keys and values are broadcast.  A query whose mask lets nothing through
 * yields 0, as the operator says, where the softmax alone yields NaN. */
#include <math.h>

#include "passes/match.h"

typedef struct Sizes {
	int64_t heads, shared;        /* of queries, of keys */
	MloDim nq, nk;                /* rows */
	int64_t size, values;         /* columns of a head's keys and values */
	bool packed;                  /* [batch, rows, heads * size], else [batch, heads, rows, size] */
} Sizes;

typedef struct Attend {
	MloGraph *g;
	MloPassCx *cx;
	MloNode *n;
	Sizes s;
} Attend;

static MloValue *operand(const MloNode *n, uint32_t i)
{
	return i < n->nin ? n->in[i] : NULL;
}

static bool wanted(const MloNode *n, uint32_t i)
{
	return i < n->nout && n->out[i] && n->out[i]->nuse;
}

/* Rows may be of an open number. */
static bool fits(MloDim d, bool rows)
{
	return mlo_dim_known(d) ? d.k > 0 : rows;
}

static bool sizes_of(const MloNode *n, Sizes *s)
{
	const MloType *q = &n->in[0]->type, *k = &n->in[1]->type, *v = &n->in[2]->type;

	if (q->rank < 3 || k->rank != q->rank || v->rank != q->rank || q->elem != EL_f32 ||
	    k->elem != EL_f32 || v->elem != EL_f32)
		return false;
	for (int d = 1; d < q->rank; d++)
		if (!fits(q->dim[d], d == q->rank - 2) || !fits(k->dim[d], d == q->rank - 2) || !fits(v->dim[d], d == q->rank - 2))
			return false;
	s->packed = q->rank == 3;
	s->heads = s->packed ? mlo_attr_i(n, ATTR_attention_q_num_heads) : q->dim[1].k;
	s->shared = s->packed ? mlo_attr_i(n, ATTR_attention_kv_num_heads) : k->dim[1].k;
	if (s->heads < 1 || s->shared < 1 || s->heads % s->shared)
		return false;
	s->nq = q->dim[q->rank - 2];
	s->nk = k->dim[q->rank - 2];
	s->size = q->dim[q->rank - 1].k / (s->packed ? s->heads : 1);
	s->values = v->dim[q->rank - 1].k / (s->packed ? s->shared : 1);
	return s->size > 0 && s->values > 0 && mlo_dim_same(v->dim[q->rank - 2], s->nk);
}

/* The mask, if there is one, says something about each key. */
static bool mask_fits(const MloNode *n, const Sizes *s)
{
	const MloValue *m = operand(n, 3);
	const MloType *t = m ? &m->type : NULL;

	if (!m)
		return true;
	if ((t->elem != EL_bool && t->elem != EL_f32) || t->rank < 1 || t->rank > 4 ||
	    !mlo_dim_same(t->dim[t->rank - 1], s->nk))
		return false;
	if (t->rank >= 2 && !mlo_dim_known(t->dim[t->rank - 2]) && !mlo_dim_same(t->dim[t->rank - 2], s->nq))
		return false;
	/* with shared heads it is taken apart, which takes numbers */
	return t->rank < 3 || (mlo_dim_known(t->dim[t->rank - 3]) &&
	                       (s->heads == s->shared || (mlo_dim_known(t->dim[t->rank - 2]) && mlo_dim_known(s->nk))));
}

static bool can(const MloNode *n, Sizes *s)
{
	if (n->op != OP_attention || operand(n, 4) || operand(n, 5) || operand(n, 6) || wanted(n, 1) ||
	    wanted(n, 2) || wanted(n, 3))
		return false;
	if (!sizes_of(n, s) || !mask_fits(n, s))
		return false;
	/* which keys come later is a constant */
	return !mlo_attr_i(n, ATTR_attention_is_causal) || (mlo_dim_known(s->nq) && mlo_dim_known(s->nk));
}

/* -- pieces -------------------------------------------------------------------------------------- */

static MloValue *op(Attend *a, MloOp o, MloValue *x, MloValue *y)
{
	return mlo_rw_op(a->g, a->n, o, a->n, a->cx, x, y);
}

static MloValue *number(Attend *a, double v)
{
	return mlo_rw_scalar(a->g, EL_f32, v);
}

static MloValue *shaped(Attend *a, MloValue *x, const int64_t *dims, int n)
{
	return op(a, OP_reshape, x, mlo_graph_const_i64s(a->g, 1, dims, n));
}

/* For a reshape: it finds an open one itself. */
static int64_t number_of(MloDim d)
{
	return mlo_dim_known(d) ? d.k : -1;
}

static MloValue *moved(Attend *a, MloValue *x, const int64_t *perm, int n)
{
	MloNode *t = mlo_rw_node(a->g, a->n, OP_transpose, a->n, &x, 1);

	mlo_attr_set_ints(a->g, t, ATTR_transpose_perm, perm, n);
	return mlo_rw_done(a->g, t, a->cx);
}

/* [batch, heads, rows, columns], or with shared heads [batch, shared, each, rows, columns]; swapped: columns
 * before rows. */
static MloValue *by_heads(Attend *a, MloValue *x, int64_t heads, int64_t size, bool swapped)
{
	const Sizes *s = &a->s;
	int64_t each = heads / s->shared, r = swapped ? 1 : 0;

	if (s->heads == s->shared) {
		if (s->packed)
			return moved(a, shaped(a, x, (int64_t[]){0, 0, heads, size}, 4),
				     (int64_t[]){0, 2, 1 + 2 * r, 3 - 2 * r}, 4);
		return swapped ? moved(a, x, (int64_t[]){0, 1, 3, 2}, 4) : x;
	}
	if (s->packed) {
		x = shaped(a, x, (int64_t[]){0, 0, s->shared, each, size}, 5);
		return moved(a, x, (int64_t[]){0, 2, 3, swapped ? 4 : 1, swapped ? 1 : 4}, 5);
	}
	x = shaped(a, x, (int64_t[]){0, s->shared, each, number_of(heads == s->heads ? s->nq : s->nk), size}, 5);
	return swapped ? moved(a, x, (int64_t[]){0, 1, 2, 4, 3}, 5) : x;
}

static MloValue *joined(Attend *a, MloValue *y)
{
	const Sizes *s = &a->s;
	bool five = s->heads != s->shared;

	if (!s->packed)
		return five ? shaped(a, y, (int64_t[]){0, s->heads, number_of(s->nq), s->values}, 4) : y;
	y = five ? moved(a, y, (int64_t[]){0, 3, 1, 2, 4}, 5) : moved(a, y, (int64_t[]){0, 2, 1, 3}, 4);
	return shaped(a, y, (int64_t[]){0, 0, s->heads * s->values}, 3);
}

/* -- masks ---------------------------------------------------------------------------------------- */

/* True where a key comes after its query. */
static MloValue *later(Attend *a)
{
	int64_t nq = a->s.nq.k, nk = a->s.nk.k;
	MloTensor *t = mlo_tensor_new(a->g->arena, EL_bool, 2, (int64_t[]){nq, nk});

	for (int64_t i = 0; i < nq * nk; i++)
		((uint8_t *)t->data)[i] = i % nk > i / nk;
	return mlo_graph_const(a->g, t, NULL);
}

static MloValue *choose(Attend *a, MloValue *c, MloValue *x, MloValue *y)
{
	return mlo_rw_done(a->g, mlo_rw_node(a->g, a->n, OP_where, a->n, (MloValue *[]){c, x, y}, 3), a->cx);
}

/* What is added to the scores, or NULL; *dead: whether that may be -inf for all keys of a query. */
static MloValue *bias_of(Attend *a, bool *dead)
{
	MloValue *m = operand(a->n, 3), *low = number(a, -INFINITY), *zero = number(a, 0);
	bool causal = mlo_attr_i(a->n, ATTR_attention_is_causal) != 0;

	*dead = m != NULL;
	if (m && m->type.elem == EL_bool)
		m = choose(a, m, zero, low);
	if (causal)
		m = choose(a, later(a), low, m ? m : zero);
	return m;
}

/* A mask of heads for scores with shared heads apart. */
static MloValue *mask_by_heads(Attend *a, MloValue *m)
{
	const MloType *t = &m->type;
	int head = t->rank - 3, at = 0;
	int64_t spec[MLO_MAX_RANK];
	bool many;

	if (head < 0 || a->s.heads == a->s.shared)
		return m;
	many = t->dim[head].k != 1;
	for (int d = 0; d < head; d++)
		spec[at++] = 0;
	spec[at++] = many ? a->s.shared : 1;
	spec[at++] = many ? a->s.heads / a->s.shared : 1;
	spec[at++] = t->dim[head + 1].k;
	spec[at++] = t->dim[head + 2].k;
	return shaped(a, m, spec, at);
}

/* 0 for queries that may look at nothing. */
static MloValue *without_dead(Attend *a, MloValue *y, MloValue *bias)
{
	int64_t last = bias->type.rank - 1;
	MloValue *most = op(a, OP_reduce_max, bias, mlo_graph_const_i64s(a->g, 1, &last, 1));

	most = op(a, OP_equal, most, number(a, -INFINITY));
	return choose(a, most, number(a, 0), y);
}

static bool attend(Attend *a)
{
	MloNode *n = a->n;
	double scale = mlo_attr_f(n, ATTR_attention_scale), cap = mlo_attr_f(n, ATTR_attention_softcap);
	MloValue *q = by_heads(a, n->in[0], a->s.heads, a->s.size, false),
		 *k = by_heads(a, n->in[1], a->s.shared, a->s.size, true);
	MloValue *v = by_heads(a, n->in[2], a->s.shared, a->s.values, false), *s, *bias;
	bool dead;

	if (isnan(scale))
		scale = 1 / sqrt((double)a->s.size);
	s = op(a, OP_matmul, q, k);
	s = op(a, OP_mul, s, number(a, scale));
	if (cap > 0) {
		s = op(a, OP_mul, s, number(a, 1 / cap));
		s = op(a, OP_tanh, s, NULL);
		s = op(a, OP_mul, s, number(a, cap));
	}
	bias = bias_of(a, &dead);
	if (bias) {
		bias = mask_by_heads(a, bias);
		s = op(a, OP_add, s, bias);
	}
	s = op(a, OP_matmul, op(a, OP_softmax, s, NULL), v);
	if (dead)
		s = without_dead(a, s, bias);
	return mlo_rw_replace(a->g, n, joined(a, s));
}

MloStatus mlo_pass_attend(MloGraph *g, MloPassCx *cx)
{
	for (MloNode *n = g->first, *next; n; n = next) {
		Attend a = {.g = g, .cx = cx, .n = n};

		next = n->next;
		if (can(n, &a.s))
			cx->changed += attend(&a);
	}
	return MLO_OK;
}
