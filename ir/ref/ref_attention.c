/* ir/ref/ref_attention.c -- attention over heads, rotary positions, caches of keys and values. */
#include "ir/ref/ref_elem.h"

REF_INLINE double get(const RefTensor *t, int64_t i)
{
	return t->elem == EL_f32 ? ((const float *)t->data)[i] : ref_get_f64(t, i);
}

/* q, k, v or y: [batch, heads, rows, size], or [batch, rows, heads * size]. */
typedef struct Heads {
	const RefTensor *t;
	int64_t heads, rows, size, batch_step, head_step, row_step;
} Heads;

static Heads heads_of(const RefTensor *t, int64_t heads)
{
	Heads h = {.t = t};
	if (t->rank == 4) {
		h.heads = t->dim[1];
		h.rows = t->dim[2];
		h.size = h.row_step = t->dim[3];
		h.head_step = h.rows * h.size;
		h.batch_step = h.heads * h.head_step;
	} else {
		h.heads = heads;
		h.rows = t->dim[1];
		h.size = h.head_step = heads ? t->dim[2] / heads : 0;
		h.row_step = t->dim[2];
		h.batch_step = h.rows * h.row_step;
	}
	return h;
}

static int64_t row_at(const Heads *h, int64_t b, int64_t head, int64_t row)
{
	return b * h->batch_step + head * h->head_step + row * h->row_step;
}

/* Keys or values: the past ones before those of this call. */
typedef struct Cache { Heads now, past; int64_t rows; } Cache;

static Cache cache_of(const RefTensor *now, const RefTensor *past, int64_t heads)
{
	Cache c = {.now = heads_of(now, heads)};
	c.past.rows = 0;
	if (past)
		c.past = heads_of(past, heads);
	c.rows = c.past.rows + c.now.rows;
	return c;
}

static const RefTensor *cache_row(const Cache *c, int64_t b, int64_t head, int64_t row, int64_t *at)
{
	bool old = row < c->past.rows;
	const Heads *h = old ? &c->past : &c->now;
	*at = row_at(h, b, head, old ? row : row - c->past.rows);
	return h->t;
}

static void copy_cache(const Cache *c, const RefTensor *to)
{
	Heads h = heads_of(to, 0);
	int bits = ref_elem_bits(to->elem);
	for (int64_t b = 0; b < to->dim[0]; b++)
		for (int64_t head = 0; head < h.heads; head++)
			for (int64_t row = 0; row < h.rows; row++) {
				int64_t at;
				const RefTensor *from = cache_row(c, b, head, row, &at);
				ref_copy(to->data, row_at(&h, b, head, row), from->data, at, h.size, bits);
			}
}

typedef struct Attention {
	Heads q, y;
	Cache k, v;
	const RefTensor *mask, *lengths, *scores;
	double scale, softcap;
	bool causal;
} Attention;

/* One row of scores: a query against all keys. */
typedef struct Query {
	const Attention *a;
	int64_t b, head, kv_head, row;
	int64_t at;     /* of the row in the scores */
	int64_t length; /* keys that are there */
	int64_t last;   /* the last key that causality lets through */
	int64_t mask;   /* the row of the mask; its keys are `mask_step` apart */
	int64_t mask_step, mask_size;
} Query;

static double raw_score(const Query *q, int64_t j)
{
	const Attention *a = q->a;
	int64_t at, from = row_at(&a->q, q->b, q->head, q->row);
	const RefTensor *k = cache_row(&a->k, q->b, q->kv_head, j, &at);
	double s = 0;
	for (int64_t i = 0; i < a->q.size; i++)
		s += get(a->q.t, from + i) * get(k, at + i);
	return s * a->scale;
}

static double capped(const Attention *a, double s)
{
	return a->softcap > 0 ? a->softcap * refm_tanh(s / a->softcap) : s;
}

/* What is added to the score of key j: 0, -inf, or the mask. */
static double bias(const Query *q, int64_t j)
{
	const RefTensor *m = q->a->mask;
	if (j > q->last || j >= q->length)
		return -refm_inf();
	if (!m)
		return 0;
	if (q->mask_size > 1 && j >= q->mask_size) /* keys past the end of the mask */
		return -refm_inf();
	int64_t at = q->mask + j * q->mask_step;
	if (m->elem == EL_bool)
		return ref_get_i64(m, at) ? 0 : -refm_inf();
	return get(m, at);
}

/* Writes the row of probabilities; keys that the bias rules out get exactly 0, whatever their score. */
static void softmax_row(const Query *q)
{
	const RefTensor *s = q->a->scores;
	int64_t n = q->a->k.rows;
	double max = -refm_inf(), sum = 0;
	for (int64_t j = 0; j < n; j++) {
		double extra = bias(q, j), v = extra == -refm_inf() ? extra : capped(q->a, raw_score(q, j)) + extra;
		ref_put_f64(s, q->at + j, v);
		max = v > max || v != v ? v : max;
	}
	if (max == -refm_inf()) { /* nothing to attend to */
		for (int64_t j = 0; j < n; j++)
			ref_put_f64(s, q->at + j, 0);
		return;
	}
	for (int64_t j = 0; j < n; j++)
		sum += refm_exp(get(s, q->at + j) - max);
	for (int64_t j = 0; j < n; j++)
		ref_put_f64(s, q->at + j, refm_exp(get(s, q->at + j) - max) / sum);
}

static void weighted_values(const Query *q)
{
	const Attention *a = q->a;
	int64_t to = row_at(&a->y, q->b, q->head, q->row);
	for (int64_t i = 0; i < a->v.now.size; i++) {
		double sum = 0;
		for (int64_t j = 0; j < a->k.rows; j++) {
			int64_t at;
			double p = get(a->scores, q->at + j);
			const RefTensor *v = cache_row(&a->v, q->b, q->kv_head, j, &at);
			if (p != 0)
				sum += p * get(v, at + i);
		}
		ref_put_f64(a->y.t, to + i, sum);
	}
}

/* The scores as the model wants to see them: 0 products, 1 capped, 2 with the bias, 3 probabilities. */
static void stage_row(const Query *q, int64_t stage)
{
	for (int64_t j = 0; stage < 3 && j < q->a->k.rows; j++) {
		double v = raw_score(q, j);
		if (stage >= 1)
			v = capped(q->a, v);
		if (stage == 2)
			v += bias(q, j);
		ref_put_f64(q->a->scores, q->at + j, v);
	}
}

static void place_mask(Query *q)
{
	const RefTensor *m = q->a->mask;
	int64_t at[4] = {q->b, q->head, q->row, 0}, step = 1;
	for (int d = m ? m->rank : 0; d-- > 0; step *= m->dim[d]) {
		if (d == m->rank - 1) {
			q->mask_size = m->dim[d];
			q->mask_step = m->dim[d] > 1;
		} else if (m->dim[d] > 1) {
			q->mask += at[4 - m->rank + d] * step;
		}
	}
}

static void attend(const Attention *a, int64_t b, int64_t head, int64_t row, int64_t stage)
{
	int64_t share = a->k.now.heads ? a->q.heads / a->k.now.heads : 1;
	Query q = {.a = a, .b = b, .head = head, .kv_head = share ? head / share : 0, .row = row};
	q.at = ((b * a->q.heads + head) * a->q.rows + row) * a->k.rows;
	q.length = a->lengths ? ref_get_i64(a->lengths, b) : a->k.rows;
	q.last = a->k.rows;
	if (a->causal)
		q.last = row + (a->k.past.rows || !a->lengths ? a->k.past.rows : q.length - a->q.rows);
	place_mask(&q);
	softmax_row(&q);
	weighted_values(&q);
	stage_row(&q, stage);
}

void ref_attention(const RefCall *c)
{
	const RefAttr *attr = c->attr;
	int64_t nq = attr[ATTR_attention_q_num_heads].i, nkv = attr[ATTR_attention_kv_num_heads].i;
	Attention a;
	a.q = heads_of(&c->in[0], nq);
	a.y = heads_of(&c->out[0], nq);
	a.k = cache_of(&c->in[1], ref_in(c, 4), nkv);
	a.v = cache_of(&c->in[2], ref_in(c, 5), nkv);
	a.mask = ref_in(c, 3);
	a.lengths = ref_in(c, 6);
	a.scores = &c->out[3];
	a.scale = attr[ATTR_attention_scale].f;
	if (refm_isnan(a.scale))
		a.scale = 1 / refm_sqrt((double)a.q.size);
	a.softcap = attr[ATTR_attention_softcap].f;
	a.causal = attr[ATTR_attention_is_causal].i != 0;
	if (ref_out(c, 1))
		copy_cache(&a.k, &c->out[1]);
	if (ref_out(c, 2))
		copy_cache(&a.v, &c->out[2]);
	for (int64_t b = 0; b < c->in[0].dim[0]; b++)
		for (int64_t head = 0; head < a.q.heads; head++)
			for (int64_t row = 0; row < a.q.rows; row++)
				attend(&a, b, head, row, attr[ATTR_attention_qk_matmul_output_mode].i);
}

/* -- rotary positions ------------------------------------------------------------------------- */

void ref_rotary_embedding(const RefCall *c)
{
	const RefTensor *cosines = &c->in[1], *sines = &c->in[2], *positions = ref_in(c, 3);
	Heads x = heads_of(&c->in[0], c->attr[ATTR_rotary_embedding_num_heads].i);
	const RefTensor *y = &c->out[0];
	int64_t turned = c->attr[ATTR_rotary_embedding_rotary_embedding_dim].i;
	bool interleaved = c->attr[ATTR_rotary_embedding_interleaved].i != 0;
	int64_t half = (turned ? turned : x.size) / 2, width = cosines->dim[cosines->rank - 1];
	int64_t angles = ref_count_dims(cosines->dim, 0, cosines->rank - 1);
	int64_t total = c->in[0].dim[0] * x.heads * x.rows;
	if (angles == 0 || width < half)
		return;
	for (int64_t n = 0; n < total; n++) {
		int64_t row = n % x.rows, head = n / x.rows % x.heads, b = n / x.rows / x.heads;
		int64_t at = row_at(&x, b, head, row), p = b * x.rows + row;
		if (positions)
			p = ref_get_i64(positions, p);
		p = (p < 0 ? 0 : p < angles ? p : angles - 1) * width;
		for (int64_t i = 0; i < half; i++) {
			int64_t i1 = at + (interleaved ? 2 * i : i), i2 = at + (interleaved ? 2 * i + 1 : i + half);
			double co = get(cosines, p + i), si = get(sines, p + i);
			double x1 = get(x.t, i1), x2 = get(x.t, i2);
			ref_put_f64(y, i1, co * x1 - si * x2);
			ref_put_f64(y, i2, si * x1 + co * x2);
		}
		ref_copy(y->data, at + 2 * half, x.t->data, at + 2 * half, x.size - 2 * half, ref_elem_bits(y->elem));
	}
}

/* -- caches ----------------------------------------------------------------------------------- */

/* Rows past the end of the cache are dropped, or go on at its start. */
void ref_tensor_scatter(const RefCall *c)
{
	const RefTensor *cache = &c->in[0], *update = &c->in[1], *first = ref_in(c, 2), *y = &c->out[0];
	int axis = ref_axis(c->attr[ATTR_tensor_scatter_axis].i, y->rank), bits = ref_elem_bits(y->elem);
	bool circular = ref_text_is(c->attr[ATTR_tensor_scatter_mode].s, "circular");
	int64_t rows = y->dim[axis], news = update->dim[axis], inner = ref_count_dims(y->dim, axis + 1, y->rank);
	int64_t outer = ref_count_dims(y->dim, 0, axis), per_batch = ref_count_dims(y->dim, 1, axis);
	ref_copy(y->data, 0, cache->data, 0, ref_count(y), bits);
	for (int64_t o = 0; o < outer; o++) {
		int64_t at = first ? ref_get_i64(first, o / per_batch) : 0;
		for (int64_t i = 0; i < news && rows > 0; i++) {
			int64_t to = circular ? (at % rows + i) % rows : at < 0 || at >= rows ? -1 : at + i;
			to += circular && to < 0 ? rows : 0;
			if (to >= 0 && to < rows)
				ref_copy(y->data, (o * rows + to) * inner, update->data, (o * news + i) * inner, inner, bits);
		}
	}
}
