/* quant/migrate.c -- how far the weights that read an activation take over the spread of its channels.
 *
 * Channels of one activation share a scale: where one is much larger than the others, these keep few of the integers.
 * Divided by s[c] = (part of the range that channel c fills)^alpha, they become more alike, and the weights that meet
 * them less (SmoothQuant, Xiao et al. 2023).  With weights that have a scale for each channel, as those of depthwise
 * convolutions, nothing is lost by alpha 1.  Elsewhere the noise of both sides, as it reaches the readers' sums, says
 * which alpha is best: a step of a activations and of b weights are errors of a^2 / 12 and b^2 / 12 times the squares
 * of what they are multiplied by. */
#include <math.h>

#include "quant/channels.h"

enum { LEVELS = 127, STEPS = 4 }; /* alphas tried: 1/STEPS, ..., 1 */
#define LEAST   (1.0 / 64) /* a channel that was quiet in the samples need not always be */
#define GAIN_DB 2.5        /* less than this on the average may be the model's error as well */

/* -- noise ----------------------------------------------------------------------------------------- */

/* Weights of one reader, taps of a channel taken together. */
typedef struct Reader {
	int64_t outs, per;    /* sums, and channels that each reads: all, or its own */
	int64_t taps;
	float *square, *most; /* [outs][per]: sum of squares and largest one of the taps' weights */
} Reader;

typedef struct Noise {
	MloArena *a;
	const MloEdge *e;
	const MloPtqTensor *t;
	bool per_tensor, symmetric;
	Reader *reader;
	size_t n;
} Noise;

static void gather(MloArena *a, const MloNode *n, int64_t channels, Reader *r)
{
	const MloTensor *w = n->in[1]->data;
	bool conv = n->op == OP_conv, alone = conv && mlo_conv_is_depthwise(n, channels);

	*r = (Reader){.outs = conv ? w->dim[0] : w->dim[1], .per = alone ? 1 : channels};
	r->taps = conv ? mlo_conv_window(w) : 1;
	r->square = MLO_NEWN(a, float, (size_t)(r->outs * r->per) + 1);
	r->most = MLO_NEWN(a, float, (size_t)(r->outs * r->per) + 1);
	for (int64_t i = 0, all = mlo_tensor_elems(w); i < all; i++) {
		float v = (float)mlo_tensor_f64(w, i);
		int64_t at = conv ? i / r->taps : i % r->outs * r->per + i / r->outs;

		r->square[at] += v * v;
		r->most[at] = fmaxf(r->most[at], fabsf(v));
	}
}

static double variance(const Noise *x, int64_t c)
{
	double n = (double)x->t->channel_count, mean = x->t->channel_sum[c] / n;

	return fmax(x->t->channel_square[c] / n - mean * mean, 0);
}

/* The largest weight of sum o when channels are scaled by s. */
static double largest(const Reader *r, const double *s, int64_t o)
{
	double most = 0;

	for (int64_t k = 0; k < r->per; k++)
		most = fmax(most, r->most[o * r->per + k] * s[r->per > 1 ? k : o]);
	return most;
}

/* dB of noise against signal, over the sums of a reader; *n counts them.  What is the same in all samples is no signal:
 * a mean tells nothing, and biases make up for what weights' errors make of it. */
static double reader_noise(const Noise *x, const Reader *r, const double *s, double step, int64_t *n)
{
	double sum = 0, all = 0;

	for (int64_t o = 0; o < r->outs && x->per_tensor; o++)
		all = fmax(all, largest(r, s, o));
	for (int64_t o = 0; o < r->outs; o++) {
		double signal = 0, noise = 0, b = (x->per_tensor ? all : largest(r, s, o)) / LEVELS;

		for (int64_t k = 0; k < r->per; k++) {
			int64_t c = r->per > 1 ? k : o;
			double w = r->square[o * r->per + k], square = variance(x, c);

			signal += w * square;
			noise += step * step / 12 * s[c] * s[c] * w;
			noise += b * b / 12 * (double)r->taps * square / (s[c] * s[c]);
		}
		if (signal > 0 && noise > 0) {
			sum += 10 * log10(noise / signal);
			++*n;
		}
	}
	return sum;
}

static double noise_of(const Noise *x, const double *s)
{
	double lo = 0, hi = 0, sum = 0;
	int64_t n = 0;

	for (int64_t c = 0; c < x->e->n; c++) {
		lo = fmin(lo, x->t->channel_lo[c] / s[c]);
		hi = fmax(hi, x->t->channel_hi[c] / s[c]);
	}
	for (size_t i = 0; i < x->n; i++)
		sum += reader_noise(x, &x->reader[i], s, x->symmetric ? fmax(-lo, hi) / 127 : (hi - lo) / 255, &n);
	return n ? sum / (double)n : 0;
}

/* -- factors --------------------------------------------------------------------------------------- */

/* How channels are to become alike: within the range that there is, or beyond its shorter side. */
typedef enum Reach { WITHIN, BEYOND, REACHES } Reach;

/* The part of the range that a channel fills, to the power of alpha. */
static void factors(const MloPtqTensor *t, int64_t n, double alpha, Reach reach, double *s)
{
	double lo = 0, hi = 0;

	for (int64_t c = 0; c < n; c++) {
		lo = fmin(lo, t->channel_lo[c]);
		hi = fmax(hi, t->channel_hi[c]);
	}
	for (int64_t c = 0; c < n; c++) {
		double low = -t->channel_lo[c], high = t->channel_hi[c];
		double part = reach == BEYOND ? fmax(low, high) / fmax(-lo, hi)
					      : fmax(lo < 0 ? low / -lo : 0, hi > 0 ? high / hi : 0);

		s[c] = part > 0 ? pow(fmax(part, LEAST), alpha) : 1;
	}
}

/* The best there are; false: none is worth it. */
static bool best_factors(const MloPtq *q, const MloPtqTensor *t, const MloEdge *e, double *s)
{
	Noise x = {.a = mlo_arena_new(), .e = e, .t = t, .per_tensor = q->opt.per_tensor, .symmetric = q->opt.symmetric};
	double least, best = 0;
	Reach reach = WITHIN;

	if (!x.a)
		return false;
	for (const MloUse *u = e->v->uses; u; u = u->next)
		x.n++;
	x.reader = MLO_NEWN(x.a, Reader, x.n);
	x.n = 0;
	for (const MloUse *u = e->v->uses; u; u = u->next)
		gather(x.a, u->node, e->n, &x.reader[x.n++]);
	factors(t, e->n, 0, WITHIN, s);
	least = noise_of(&x, s) - GAIN_DB;
	for (int k = 0; k < REACHES * STEPS; k++) {
		double noise, alpha = (double)(k % STEPS + 1) / STEPS;

		factors(t, e->n, alpha, (Reach)(k / STEPS), s);
		noise = noise_of(&x, s);
		if (noise < least) {
			least = noise;
			best = alpha;
			reach = (Reach)(k / STEPS);
		}
	}
	factors(t, e->n, best, reach, s);
	mlo_arena_free(x.a);
	return best > 0;
}

/* As SmoothQuant has them, by the largest weights of the readers. */
static void given_factors(const MloPtqTensor *t, const MloEdge *e, double alpha, double *s)
{
	mlo_edge_weights(e, s);
	for (int64_t c = 0; c < e->n; c++) {
		double most = fmax(-t->channel_lo[c], t->channel_hi[c]);

		s[c] = s[c] > 0 && most > 0 ? mlo_edge_bounded(pow(most, alpha) / pow(s[c], 1 - alpha)) : 1;
	}
}

bool mlo_ptq_migrates(const MloPtq *q, const MloPtqTensor *t, int64_t *channels, int *inner)
{
	MloEdge e;

	if (!mlo_edge_find(q, t, &e))
		return false;
	*channels = e.n;
	*inner = e.inner;
	return true;
}

/* Factors are float32, so that a profile holds them as they are. */
static void scale(MloPtq *q, MloPtqTensor *t, const MloEdge *e, const double *s)
{
	t->factor = MLO_NEWN(q->a, double, (size_t)e->n + 1);
	t->nfactors = e->n;
	for (int64_t c = 0; c < e->n; c++)
		t->factor[c] = (float)s[c];
	mlo_edge_scale(q, e, t->factor);
}

bool mlo_ptq_scale(MloPtq *q, MloPtqTensor *t, const double *factor, int64_t n)
{
	MloEdge e;

	if (!mlo_edge_find(q, t, &e) || e.n != n)
		return false;
	scale(q, t, &e, factor);
	return true;
}

size_t mlo_ptq_migrate(MloPtq *q, double alpha)
{
	size_t n = 0;

	for (size_t i = 0; i < q->ntensors; i++) {
		MloPtqTensor *t = &q->tensor[i];
		double *s;
		MloEdge e;

		if (!t->channel_lo || !mlo_edge_find(q, t, &e))
			continue;
		s = MLO_NEWN(q->a, double, (size_t)e.n + 1);
		if (alpha == PTQ_MIGRATE_BEST) {
			if (!best_factors(q, t, &e, s))
				continue;
		} else {
			given_factors(t, &e, alpha, s);
		}
		scale(q, t, &e, s);
		n++;
	}
	return n;
}
