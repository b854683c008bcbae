/* tools/quantize_correct.c -- what makes up for the errors of quantization, by running samples. */
#include <math.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/quantize.h"

/* -- channels of a tensor -------------------------------------------------------------------------- */

/* A tensor as [outer][channels][inner]. */
typedef struct Channels {
	int64_t outer, n, inner;
} Channels;

static Channels channels_of(const MloTensor *t, int axis)
{
	Channels c = {1, t->dim[axis], 1};

	for (int i = 0; i < t->rank; i++) {
		c.outer *= i < axis ? t->dim[i] : 1;
		c.inner *= i > axis ? t->dim[i] : 1;
	}
	return c;
}

/* -- migration ------------------------------------------------------------------------------------- */

typedef struct Spread {
	MloPtq *q;
	size_t *tensor; /* by output asked for */
	int *inner;     /* dimensions behind that of the channels */
	size_t n;
} Spread;

static void watch(Spread *s, Probe *p, const MloPtq *there)
{
	MloPtq *q = s->q;

	for (size_t i = 0; i < q->ntensors; i++) {
		MloPtqTensor *t = &q->tensor[i];
		int64_t channels;

		if (!mlo_ptq_migrates(q, t, &channels, &s->inner[s->n]))
			continue;
		t->channel_lo = MLO_NEWN(q->a, double, (size_t)channels + 1);
		t->channel_hi = MLO_NEWN(q->a, double, (size_t)channels + 1);
		t->channel_sum = MLO_NEWN(q->a, double, (size_t)channels + 1);
		t->channel_square = MLO_NEWN(q->a, double, (size_t)channels + 1);
		s->tensor[s->n++] = i;
		probe_ask(p, there->tensor[i].g, there->tensor[i].v, q->a);
	}
}

static MloStatus see_channels(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Spread *s = user;

	for (size_t i = 0; i < s->n; i++) {
		MloPtqTensor *t = &s->q->tensor[s->tensor[i]];
		const MloTensor *v = out[i];
		Channels c = channels_of(v, v->rank - 1 - s->inner[i]);
		const float *p = v->data;

		if (!mlo_tensor_elems(v)) /* in a branch that was not taken */
			continue;
		for (int64_t o = 0; o < c.outer; o++)
			for (int64_t k = 0; k < c.n; k++) {
				float lo = 0, hi = 0;
				double sum = 0, square = 0;

				for (int64_t e = 0; e < c.inner; e++, p++) {
					lo = *p < lo ? *p : lo;
					hi = *p > hi ? *p : hi;
					sum += *p;
					square += (double)*p * *p;
				}
				t->channel_lo[k] = fmin(t->channel_lo[k], lo);
				t->channel_hi[k] = fmax(t->channel_hi[k], hi);
				t->channel_sum[k] += sum;
				t->channel_square[k] += square;
			}
		t->channel_count += c.outer * c.inner;
	}
	return MLO_OK;
}

MloStatus quantize_migrate(Quantize *x, int64_t samples)
{
	Spread s = {.q = x->q,
		    .tensor = MLO_NEWN(x->a, size_t, x->q->ntensors + 1),
		    .inner = MLO_NEWN(x->a, int, x->q->ntensors + 1)};
	Probe p, *list = &p;
	MloStatus st = MLO_OK;

	MLO_TRY(probe_open(&p, x->g, x->d));
	p.g->noutputs = 0; /* only what leads there is needed */
	p.outputs = 0;
	watch(&s, &p, mlo_ptq_new(x->a, p.g, &x->opt->ptq));
	if (s.n)
		st = probe_run(x, &list, 1, samples < x->opt->data.samples ? samples : x->opt->data.samples, "spread", see_channels,
			       &s, x->d);
	probe_close(&p);
	for (size_t i = 0; i < s.n; i++)
		if (!x->q->tensor[s.tensor[i]].channel_count) /* no sample took its branch */
			x->q->tensor[s.tensor[i]].channel_lo = NULL;
	if (st == MLO_OK && s.n)
		x->migrated = mlo_ptq_migrate(x->q, x->opt->migrate);
	return st;
}

/* -- biases ---------------------------------------------------------------------------------------- */

typedef struct Bias {
	size_t *layer; /* by output asked for */
	size_t n, skip;
	double **sum; /* [channels]: float minus quantised, each layer alone on float inputs */
	int64_t *count;
	const MloPtq *q;
} Bias;

static MloStatus add_difference(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Bias *b = user;

	for (size_t i = 0; i < b->n; i++) {
		const MloTensor *want = out[b->skip + 2 * i], *got = out[b->skip + 2 * i + 1];
		Channels c = channels_of(want, mlo_ptq_convolves(b->q->layer[b->layer[i]].kind) ? 1 : want->rank - 1);
		const float *p = want->data, *g = got->data;

		if (!mlo_tensor_elems(want))
			continue;
		for (int64_t o = 0; o < c.outer; o++)
			for (int64_t k = 0; k < c.n; k++) {
				double s = 0;

				for (int64_t e = 0; e < c.inner; e++, p++, g++)
		s += (double)*p - *g;
				b->sum[i][k] += s;
			}
		b->count[i] += c.outer * c.inner;
	}
	return MLO_OK;
}

bool quantize_bias_corrects(const MloPtqLayer *l)
{
	return l->on && (mlo_ptq_convolves(l->kind) || (l->kind == PTQ_MATMUL && mlo_layer_bias(l)));
}

static void take_bias(Quantize *x, const Bias *b, size_t i)
{
	MloPtqLayer *l = &x->q->layer[b->layer[i]];
	const MloValue *old = mlo_layer_bias(l);
	const MloTensor *from = l->bias ? l->bias : old ? old->data : NULL;
	int64_t n = l->n->in[1]->data->dim[mlo_ptq_weight_axis(l->kind)];
	MloTensor *t = mlo_tensor_new(x->a, EL_f32, 1, &n);

	for (int64_t c = 0; c < n; c++)
		mlo_tensor_set_f64(t, c, (from ? mlo_tensor_f64(from, c) : 0) + b->sum[i][c] / (double)b->count[i]);
	l->bias = t;
}

static void ask_sums(Quantize *x, Bias *b, Probe *p, const MloPtq *at, MloValue *const *alone)
{
	for (size_t i = 0; i < x->q->nlayers; i++) {
		const MloPtqLayer *l = &x->q->layer[i];

		if (!quantize_bias_corrects(l))
			continue;
		probe_ask(p, at->layer[i].g, at->layer[i].sum, x->a);
		probe_ask(p, at->layer[i].g, alone[i], x->a);
		b->sum[b->n] = MLO_NEWN(x->a, double, (size_t)l->n->in[1]->data->dim[mlo_ptq_weight_axis(l->kind)] + 1);
		b->layer[b->n++] = i;
	}
}

MloStatus quantize_correct_bias(Quantize *x, int64_t samples)
{
	Bias b = {.q = x->q,
		  .layer = MLO_NEWN(x->a, size_t, x->q->nlayers + 1),
		  .count = MLO_NEWN(x->a, int64_t, x->q->nlayers + 1),
		  .sum = MLO_NEWN(x->a, double *, x->q->nlayers + 1)};
	MloValue **alone = MLO_NEWN(x->a, MloValue *, x->q->nlayers + 1);
	Probe p, *list = &p;
	MloPtq *at;
	MloStatus st;

	MLO_TRY(probe_open(&p, x->g, x->d));
	b.skip = p.outputs;
	st = mlo_ptq_alone(x->q, p.g, &at, alone, x->d);
	ask_sums(x, &b, &p, at, alone);
	if (st == MLO_OK && b.n)
		st = probe_run(x, &list, 1, samples < x->opt->data.samples ? samples : x->opt->data.samples, "correct biases",
			       add_difference, &b, x->d);
	for (size_t i = 0; i < b.n && st == MLO_OK; i++)
		if (b.count[i])
			take_bias(x, &b, i);
	probe_close(&p);
	return st;
}
