/* ir/ref/ref_linear_attention.c -- attention as a recurrence, and the convolution that goes before it. */
#include "ir/ref/ref_elem.h"

enum { COLUMN = 1024 };

/* A column of the state [keys, values]: columns do not touch each other, so one is worked on at a
 * time, in full precision as long as it fits; a longer one is kept in the result. */
typedef struct Column {
	double fast[COLUMN];
	const RefTensor *t;
	int64_t n, at, step;
} Column;

REF_INLINE double column_get(const Column *s, int64_t i)
{
	return s->n <= COLUMN ? s->fast[i] : ref_get_f64(s->t, s->at + i * s->step);
}

REF_INLINE void column_put(Column *s, int64_t i, double v)
{
	if (s->n <= COLUMN)
		s->fast[i] = v;
	else
		ref_put_f64(s->t, s->at + i * s->step, v);
}

typedef struct Linear {
	const RefTensor *q, *k, *v, *decay, *beta, *y;
	int64_t steps, q_heads, heads, keys, values;
	double scale;
	bool delta; /* writes the difference from what the state holds for the key */
} Linear;

/* The state of step t - 1 becomes that of step t: s = decay * s + key x what is new. */
static void update(const Linear *l, Column *s, int64_t row, int64_t head, int64_t j)
{
	int64_t k = (row * l->heads + head) * l->keys;
	double known = 0, fresh = ref_get_f64(l->v, (row * l->heads + head) * l->values + j);
	if (l->decay) {
		bool by_key = l->decay->dim[2] != l->heads || l->keys == 1;
		for (int64_t i = 0; i < l->keys; i++)
			column_put(s, i, column_get(s, i) * refm_exp(ref_get_f64(l->decay,
			                                    by_key ? k + i : row * l->heads + head)));
	}
	for (int64_t i = 0; l->delta && i < l->keys; i++)
		known += column_get(s, i) * ref_get_f64(l->k, k + i);
	if (l->delta)
		fresh -= known;
	if (l->delta && l->beta)
		fresh *= ref_get_f64(l->beta, l->beta->dim[2] == 1 ? row : row * l->heads + head);
	for (int64_t i = 0; i < l->keys; i++)
		column_put(s, i, column_get(s, i) + ref_get_f64(l->k, k + i) * fresh);
}

/* All steps of one column; every query head of the group reads it. */
static void column(const Linear *l, Column *s, int64_t b, int64_t head, int64_t j)
{
	int64_t group = l->heads ? l->q_heads / l->heads : 0;
	for (int64_t t = 0; t < l->steps; t++) {
		int64_t row = b * l->steps + t;
		update(l, s, row, head, j);
		for (int64_t h = head * group; h < (head + 1) * group; h++) {
			int64_t q = (row * l->q_heads + h) * l->keys;
			double sum = 0;
			for (int64_t i = 0; i < l->keys; i++)
				sum += ref_get_f64(l->q, q + i) * column_get(s, i);
			ref_put_f64(l->y, (row * l->q_heads + h) * l->values + j, sum * l->scale);
		}
	}
}

void ref_linear_attention(const RefCall *c)
{
	const RefAttr *a = c->attr;
	const RefTensor *past = ref_in(c, 3), *state = &c->out[1];
	const char *rule = a[ATTR_linear_attention_update_rule].s;
	Linear l = {.q = &c->in[0], .k = &c->in[1], .v = &c->in[2], .decay = ref_in(c, 4), .beta = ref_in(c, 5),
		.y = &c->out[0], .steps = c->in[0].dim[1], .q_heads = a[ATTR_linear_attention_q_num_heads].i,
		.heads = state->dim[1], .keys = state->dim[2], .values = state->dim[3]};
	Column s;
	s.t = state;
	s.n = l.keys;
	s.step = l.values;
	l.delta = ref_text_is(rule, "delta") || ref_text_is(rule, "gated_delta");
	l.scale = a[ATTR_linear_attention_scale].f;
	if (l.scale == 0)
		l.scale = 1 / refm_sqrt((double)l.keys);
	if (!ref_text_is(rule, "gated") && !ref_text_is(rule, "gated_delta"))
		l.decay = NULL;
	for (int64_t n = 0; n < state->dim[0] * l.heads; n++)
		for (int64_t j = 0; j < l.values; j++) {
			s.at = n * l.keys * l.values + j;
			for (int64_t i = 0; i < l.keys; i++)
				column_put(&s, i, past ? ref_get_f64(past, s.at + i * s.step) : 0);
			column(&l, &s, n / l.heads, n % l.heads, j);
			for (int64_t i = 0; i < l.keys; i++)
				ref_put_f64(state, s.at + i * s.step, column_get(&s, i));
		}
}

/* -- causal convolution ----------------------------------------------------------------------- */

/* Element i of the past followed by the row of x; n is the length of the past. */
static double padded(const RefTensor *past, const RefTensor *x, int64_t row, int64_t i, int64_t n)
{
	if (i < n)
		return past ? ref_get_f64(past, row * n + i) : 0;
	return ref_get_f64(x, row * x->dim[2] + i - n);
}

void ref_causal_conv_with_state(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *w = &c->in[1], *b = ref_in(c, 2), *past = ref_in(c, 3);
	const RefTensor *y = &c->out[0], *state = &c->out[1];
	int64_t channels = x->dim[1], length = x->dim[2], k = w->dim[2];
	bool silu = !ref_text_is(c->attr[ATTR_causal_conv_with_state_activation].s, "none");
	for (int64_t row = 0; row < x->dim[0] * channels; row++) {
		int64_t ch = row % channels;
		for (int64_t t = 0; t < length; t++) {
			double sum = b ? ref_get_f64(b, ch) : 0;
			for (int64_t i = 0; i < k; i++)
				sum += ref_get_f64(w, ch * k + i) * padded(past, x, row, t + i, k - 1);
			ref_put_f64(y, row * length + t, silu ? sum * refm_sigmoid(sum) : sum);
		}
		for (int64_t i = 0; i < k - 1; i++)
			ref_put_f64(state, row * (k - 1) + i, padded(past, x, row, length + i, k - 1));
	}
}
