/* quant/round.c -- weights rounded up or down so that the layer's results, not the weights, are nearest.
 *
 * With inputs x of a layer (windows of a convolution) the square error of its results is d' H d for each output
 * channel, d being the errors of its weights and H = sum x x'.  Coordinate descent goes over the weights and takes
 * the other neighbour wherever that makes the sum smaller (the problem of AdaRound, Nagel et al. 2020, without
 * relaxing it). */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "quant/ptq.h"

enum { SWEEPS = 3, LIMIT = 127 };
#define DAMPING 0.01

typedef struct Rows {
	const MloRoundInput *in;
	const MloPtqWeights *w;
	int64_t k;       /* weights of a channel */
	float *error;    /* [k]: of the channel at hand, in units of the weights */
	float *gradient; /* H d */
	int8_t *out;
} Rows;

int64_t mlo_round_taps(const MloPtqLayer *l)
{
	const MloTensor *w = l->n->in[1]->data;

	return l->kind == PTQ_CONV ? mlo_tensor_elems(w) / w->dim[0] : w->dim[0];
}

int64_t mlo_round_groups(const MloPtqLayer *l)
{
	return l->kind == PTQ_CONV ? mlo_attr_i(l->n, ATTR_conv_group) : 1;
}

void mlo_round_add(MloRoundInput *in, int64_t group, const float *x, int64_t rows)
{
	float *h = in->h + group * in->k * in->k;

	for (int64_t r = 0; r < rows && in->sum; r++)
		for (int64_t i = 0; i < in->k; i++)
			in->sum[group * in->k + i] += x[r * in->k + i];
	if (in->sum)
		in->rows[group] += rows;
	cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)in->k, (int)rows, 1, x, (int)in->k, 1, h, (int)in->k);
}

/* Products of what differs from the mean. */
static void centre(const MloRoundInput *in, int64_t group)
{
	float *h = in->h + group * in->k * in->k;
	const double *sum = in->sum + group * in->k;

	for (int64_t i = 0; i < in->k; i++)
		for (int64_t j = i; j < in->k; j++)
			h[i * in->k + j] -= (float)(sum[i] * sum[j] / (double)in->rows[group]);
}

/* Of a group, both halves, and a little of the inputs' size on the diagonal: what layers will read is quantised, and
 * inputs never seen should not matter wildly. */
static void complete(const MloRoundInput *in, int64_t group)
{
	float *h = in->h + group * in->k * in->k;
	int64_t k = in->k;
	double trace = 0;

	for (int64_t i = 0; i < k; i++)
		trace += h[i * k + i];
	if (in->sum && in->rows[group])
		centre(in, group);
	for (int64_t i = 0; i < k; i++) {
		h[i * k + i] += (float)(DAMPING * trace / (double)k + 1e-12);
		for (int64_t j = 0; j < i; j++)
			h[i * k + j] = h[j * k + i];
	}
}

static int64_t element(const Rows *r, int64_t channel, int64_t i)
{
	return r->w->axis == 0 ? channel * r->k + i : i * r->w->channels + channel;
}

/* H d, of errors d. */
static void slope(Rows *r, const float *h)
{
	cblas_ssymv(CblasRowMajor, CblasUpper, (int)r->k, 1, h, (int)r->k, r->error, 1, 0, r->gradient, 1);
}

/* The square error of the channel's results in the end. */
static double descend(Rows *r, const float *h, int64_t channel, double scale)
{
	int64_t k = r->k;

	for (int64_t i = 0; i < k; i++) {
		double w = mlo_tensor_f64(r->w->w, element(r, channel, i));
		int8_t q = mlo_weight_round(w, scale);

		r->out[element(r, channel, i)] = q;
		r->error[i] = (float)(q * scale - w);
	}
	slope(r, h);
	for (int sweep = 0; sweep < SWEEPS; sweep++) {
		int64_t flips = 0;

		for (int64_t i = 0; i < k; i++) {
			int8_t *q = &r->out[element(r, channel, i)];
			int step = r->error[i] > 0 ? -1 : 1;
			double delta = step * scale;

			if (*q + step > LIMIT || *q + step < -LIMIT || fabs(r->error[i] + delta) >= scale ||
			    2 * delta * r->gradient[i] + delta * delta * h[i * k + i] >= 0)
				continue;
			*q = (int8_t)(*q + step);
			r->error[i] += (float)delta;
			cblas_saxpy((int)k, (float)delta, h + i * k, 1, r->gradient, 1);
			flips++;
		}
		if (!flips)
			break;
	}
	return cblas_dsdot((int)k, r->error, 1, r->gradient, 1);
}

static Rows rows_of(MloArena *a, const MloPtqWeights *w, const MloRoundInput *in)
{
	return (Rows){.in = in,
		      .w = w,
		      .k = in->k,
		      .error = MLO_NEWN(a, float, (size_t)in->k),
		      .gradient = MLO_NEWN(a, float, (size_t)in->k),
		      .out = MLO_NEWN(a, int8_t, (size_t)mlo_tensor_elems(w->w))};
}

const int8_t *mlo_round_layer(MloArena *a, const MloPtqWeights *w, MloRoundInput *in)
{
	Rows r = rows_of(a, w, in);
	int64_t per = w->channels / in->groups;

	for (int64_t g = 0; g < in->groups; g++) {
		complete(in, g);
		for (int64_t c = g * per; c < (g + 1) * per; c++)
			descend(&r, in->h + g * in->k * in->k, c, w->scale[w->nscales > 1 ? c : 0]);
	}
	return r.out;
}

/* -- with scales ------------------------------------------------------------------------------------------ */

static double largest(const Rows *r, int64_t channel)
{
	double most = 0;

	for (int64_t i = 0; i < r->k; i++)
		most = fmax(most, fabs(mlo_tensor_f64(r->w->w, element(r, channel, i))));
	return most;
}

/* By least squares, for the integers that there are: w'Hq / q'Hq. Uses up the errors. */
static double scale_of(Rows *r, const float *h, int64_t channel)
{
	double wq = 0, qq = 0;

	for (int64_t i = 0; i < r->k; i++)
		r->error[i] = r->out[element(r, channel, i)];
	slope(r, h);
	for (int64_t i = 0; i < r->k; i++) {
		qq += (double)r->error[i] * r->gradient[i];
		wq += mlo_tensor_f64(r->w->w, element(r, channel, i)) * r->gradient[i];
	}
	return qq > 0 ? wq / qq : 0;
}

/* Rounding and scale in turns, from the scale on in which all weights fit. */
static double descend_scaled(Rows *r, const float *h, int64_t channel, double floor)
{
	enum { TURNS = 2 };
	double scale = (float)fmax(fmax(largest(r, channel) / LIMIT, floor), PTQ_LEAST_SCALE), best = scale;
	double least = descend(r, h, channel, scale);

	for (int turn = 0; turn < TURNS; turn++) {
		double error;

		scale = (float)scale_of(r, h, channel);
		if (!(scale > floor) || scale < PTQ_LEAST_SCALE)
			break;
		error = descend(r, h, channel, scale);
		if (!(error < least))
			break;
		least = error;
		best = scale;
	}
	descend(r, h, channel, best);
	return best;
}

const int8_t *mlo_round_scaled(MloArena *a, MloPtqWeights *w, MloRoundInput *in)
{
	Rows r = rows_of(a, w, in);
	int64_t per = w->channels / in->groups;

	w->nscales = w->channels;
	for (int64_t g = 0; g < in->groups; g++) {
		complete(in, g);
		for (int64_t c = g * per; c < (g + 1) * per; c++)
			w->scale[c] = descend_scaled(&r, in->h + g * in->k * in->k, c, w->scale[c]);
	}
	return r.out;
}
