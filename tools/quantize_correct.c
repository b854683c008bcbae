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

static Channels channels_of(const MloTensor *t, bool image)
{
	int axis = image ? 1 : t->rank - 1;
	Channels c = {1, t->dim[axis], 1};

	for (int i = 0; i < t->rank; i++) {
		c.outer *= i < axis ? t->dim[i] : 1;
		c.inner *= i > axis ? t->dim[i] : 1;
	}
	return c;
}

/* -- migration ------------------------------------------------------------------------------------- */

static bool read_by_conv(const MloValue *v)
{
	return v->uses && v->uses->node->op == OP_conv;
}

void quantize_watch_channels(Quantize *x)
{
	for (size_t i = 0; i < x->q->ntensors; i++) {
		MloPtqTensor *t = &x->q->tensor[i];
		const MloType *type = &t->v->type;
		int axis = read_by_conv(t->v) ? 1 : type->rank - 1;

		if (mlo_ptq_migrates(x->q, t) && axis > 0 && mlo_dim_known(type->dim[axis]))
			t->channel_max = MLO_NEWN(x->a, double, (size_t)type->dim[axis].k + 1);
	}
}

void quantize_see_channels(MloPtqTensor *t, const MloTensor *v)
{
	Channels c = channels_of(v, read_by_conv(t->v));
	const float *p = v->data;

	for (int64_t o = 0; o < c.outer; o++)
		for (int64_t k = 0; k < c.n; k++)
			for (int64_t i = 0; i < c.inner; i++, p++)
				t->channel_max[k] = fmax(t->channel_max[k], fabsf(*p));
}

/* -- biases ---------------------------------------------------------------------------------------- */

typedef struct Bias {
	size_t *layer; /* by output asked for */
	size_t n, skip;
	double **sum;  /* [channels]: float minus quantised, each layer alone on float inputs */
	int64_t *count;
	const MloPtq *q;
} Bias;

static MloStatus add_difference(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Bias *b = user;

	for (size_t i = 0; i < b->n; i++) {
		const MloTensor *want = out[b->skip + 2 * i], *got = out[b->skip + 2 * i + 1];
		Channels c = channels_of(want, b->q->layer[b->layer[i]].kind == PTQ_CONV);
		const float *p = want->data, *g = got->data;

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

static bool correctable(const MloPtqLayer *l)
{
	return l->on && (l->kind == PTQ_CONV || (l->kind == PTQ_MATMUL && mlo_layer_bias(l)));
}

static void take_bias(Quantize *x, const Bias *b, size_t i)
{
	MloPtqLayer *l = &x->q->layer[b->layer[i]];
	const MloValue *old = mlo_layer_bias(l);
	const MloTensor *from = l->bias ? l->bias : old ? old->data : NULL;
	int64_t n = l->n->in[1]->data->dim[l->kind == PTQ_CONV ? 0 : 1];
	MloTensor *t = mlo_tensor_new(x->a, EL_f32, 1, &n);

	for (int64_t c = 0; c < n; c++)
		mlo_tensor_set_f64(t, c, (from ? mlo_tensor_f64(from, c) : 0) + b->sum[i][c] / (double)b->count[i]);
	l->bias = t;
}

static void ask_sums(Quantize *x, Bias *b, Probe *p, const MloPtq *at, MloValue *const *alone)
{
	for (size_t i = 0; i < x->q->nlayers; i++) {
		const MloPtqLayer *l = &x->q->layer[i];

		if (!correctable(l))
			continue;
		probe_ask(p, at->layer[i].sum, x->a);
		probe_ask(p, alone[i], x->a);
		b->sum[b->n] = MLO_NEWN(x->a, double, (size_t)l->n->in[1]->data->dim[l->kind == PTQ_CONV ? 0 : 1] + 1);
		b->layer[b->n++] = i;
	}
}

MloStatus quantize_correct_bias(Quantize *x, int64_t samples)
{
	Bias b = {.q = x->q, .layer = MLO_NEWN(x->a, size_t, x->q->nlayers + 1), .count = MLO_NEWN(x->a, int64_t, x->q->nlayers + 1),
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
		st = probe_run(x, &list, 1, samples < x->opt->samples ? samples : x->opt->samples, "correct biases", add_difference, &b,
			       x->d);
	for (size_t i = 0; i < b.n && st == MLO_OK; i++)
		take_bias(x, &b, i);
	probe_close(&p);
	return st;
}
