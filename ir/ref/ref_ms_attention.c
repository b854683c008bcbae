/* ir/ref/ref_ms_attention.c -- attention with grouped heads and a cache of keys and values. */
#include "ir/ref/ref_elem.h"

enum { COLUMNS = 128 };

typedef struct Gqa {
	const RefTensor *q, *k, *v, *past_k, *past_v, *bias, *sinks;
	int64_t batch, rows, heads, kv_heads, size, cache; /* B, S, heads, heads of keys, H, rows of the past */
	int64_t past, window;                              /* rows of the past that count, of one batch entry */
	double scale, softcap;
	bool sink, f32;
} Gqa;

REF_INLINE double load(const RefTensor *t, int64_t i, bool f32)
{
	return f32 ? ((const float *)t->data)[i] : ref_get_f64(t, i);
}

/* Row t of a key (or value) head: in the cache, or among the new ones. */
REF_INLINE const RefTensor *key_row(const Gqa *g, const RefTensor *fresh, const RefTensor *past, int64_t b,
                                    int64_t head, int64_t t, int64_t *at)
{
	if (t < g->past) {
		*at = ((b * g->kv_heads + head) * g->cache + t) * g->size;
		return past;
	}
	*at = ((b * g->rows + t - g->past) * g->kv_heads + head) * g->size;
	return fresh;
}

REF_INLINE double bias_at(const Gqa *g, int64_t b, int64_t h, int64_t s, int64_t t)
{
	const RefTensor *m = g->bias;
	if (!m || t >= m->dim[3])
		return 0;
	b = m->dim[0] == 1 ? 0 : b;
	h = m->dim[1] == 1 ? 0 : h;
	return ref_get_f64(m, ((b * m->dim[1] + h) * m->dim[2] + s) * m->dim[3] + t);
}

/* How much query s of head h wants key t. */
REF_INLINE double score(const Gqa *g, int64_t b, int64_t h, int64_t s, int64_t t, bool f32)
{
	int64_t q = ((b * g->rows + s) * g->heads + h) * g->size, at;
	const RefTensor *k = key_row(g, g->k, g->past_k, b, h / (g->heads / g->kv_heads), t, &at);
	double sum = 0;
	for (int64_t i = 0; i < g->size; i++)
		sum += load(g->q, q + i, f32) * load(k, at + i, f32);
	sum *= g->scale;
	if (g->softcap > 0)
		sum = g->softcap * refm_tanh(sum / g->softcap);
	return sum + bias_at(g, b, h, s, t);
}

/* One result row: columns [col, col + n) of head h. */
static void attend(const Gqa *g, const RefTensor *y, int64_t b, int64_t h, int64_t s, int64_t col, int64_t n)
{
	int64_t end = g->past + s + 1, begin = g->window >= 0 && end > g->window ? end - g->window : 0, at;
	double max = g->sink ? (g->sinks ? ref_get_f64(g->sinks, h) : 0) : -refm_inf(), sum = 0, acc[COLUMNS];
	double sink = max;
	for (int64_t t = begin; t < end; t++) {
		double v = score(g, b, h, s, t, g->f32);
		max = v > max || v != v ? v : max;
	}
	sum = g->sink ? refm_exp(sink - max) : 0;
	for (int64_t i = 0; i < n; i++)
		acc[i] = 0;
	for (int64_t t = begin; t < end; t++) {
		double p = refm_exp(score(g, b, h, s, t, g->f32) - max);
		const RefTensor *v = key_row(g, g->v, g->past_v, b, h / (g->heads / g->kv_heads), t, &at);
		sum += p;
		for (int64_t i = 0; i < n; i++)
			acc[i] += p * load(v, at + col + i, g->f32);
	}
	int64_t to = ((b * g->rows + s) * g->heads + h) * g->size + col;
	for (int64_t i = 0; i < n; i++)
		ref_put_f64(y, to + i, acc[i] / sum);
}

/* The cache that the next run gets: past rows, the new ones, zeros. */
static void present(const Gqa *g, const RefTensor *fresh, const RefTensor *past, const RefTensor *to, int64_t b)
{
	int bits = ref_elem_bits(to->elem);
	int64_t rows = to->dim[2], at;
	for (int64_t h = 0; h < g->kv_heads; h++)
		for (int64_t t = 0; t < rows; t++) {
			int64_t row = ((b * g->kv_heads + h) * rows + t) * g->size;
			if (t < g->past + g->rows) {
				const RefTensor *from = key_row(g, fresh, past, b, h, t, &at);
				ref_copy(to->data, row, from->data, at, g->size, bits);
			} else {
				for (int64_t i = 0; i < g->size; i++)
					ref_put_f64(to, row + i, 0);
			}
		}
}

static Gqa setup(const RefCall *c)
{
	const RefAttr *a = c->attr;
	Gqa g = {.q = &c->in[0], .k = &c->in[1], .v = &c->in[2], .past_k = ref_in(c, 5), .past_v = ref_in(c, 6)};
	g.bias = ref_in(c, 7);
	g.sinks = ref_in(c, 8);
	g.batch = g.q->dim[0];
	g.rows = g.q->dim[1];
	g.heads = a[ATTR_group_query_attention_num_heads].i;
	g.kv_heads = a[ATTR_group_query_attention_kv_num_heads].i;
	g.size = g.q->dim[2] / g.heads;
	g.cache = g.past_k ? g.past_k->dim[2] : 0;
	g.window = a[ATTR_group_query_attention_local_window_size].i;
	g.scale = a[ATTR_group_query_attention_scale].f;
	if (g.scale == 0)
		g.scale = 1.0 / refm_sqrt((double)g.size);
	g.softcap = a[ATTR_group_query_attention_softcap].f;
	g.sink = g.sinks || a[ATTR_group_query_attention_smooth_softmax].i > 0;
	g.f32 = g.q->elem == EL_f32;
	return g;
}

/* When all rows are new ones nothing of the past counts; else what the length leaves for it. */
static int64_t past_rows(const RefCall *c, const Gqa *g, int64_t b)
{
	int64_t past;
	if (ref_get_i64(&c->in[4], 0) == g->rows)
		return 0;
	past = ref_get_i64(&c->in[3], b);
	past = past > g->cache + g->rows ? g->cache : past + 1 - g->rows;
	return past < 0 ? 0 : past > g->cache ? g->cache : past;
}

void ref_group_query_attention(const RefCall *c)
{
	const RefTensor *y = &c->out[0], *present_k = ref_out(c, 1), *present_v = ref_out(c, 2);
	Gqa g = setup(c);
	for (int64_t b = 0; b < g.batch; b++) {
		g.past = past_rows(c, &g, b);
		for (int64_t h = 0; h < g.heads; h++)
			for (int64_t s = 0; s < g.rows; s++)
				for (int64_t col = 0; col < g.size; col += COLUMNS)
					attend(&g, y, b, h, s, col, g.size - col < COLUMNS ? g.size - col : COLUMNS);
		if (present_k)
			present(&g, g.k, g.past_k, present_k, b);
		if (present_v)
			present(&g, g.v, g.past_v, present_v, b);
	}
}
