/* quant/weights.c -- integers for constant weights and biases. */
#include <math.h>
#include <string.h>

#include "passes/match.h"
#include "quant/ptq.h"

enum { LEVELS = 127 };

int8_t mlo_weight_round(double v, double scale)
{
	double r = rint(v / scale);

	return (int8_t)(r < -LEVELS ? -LEVELS : r > LEVELS ? LEVELS : r);
}

/* Elements behind one of an output channel that are of the same. */
static int64_t inner(const MloPtqWeights *w)
{
	int64_t n = 1;

	for (int i = w->axis + 1; i < w->w->rank; i++)
		n *= w->w->dim[i];
	return n;
}

int64_t mlo_weight_channel(const MloPtqWeights *w, int64_t e)
{
	return e / inner(w) % w->channels;
}

const MloValue *mlo_layer_bias(const MloPtqLayer *l)
{
	const MloNode *n = l->n;
	const MloNode *next;
	int side;

	if (mlo_ptq_convolves(l->kind))
		return n->nin > 2 ? n->in[2] : NULL;
	if (l->kind != PTQ_MATMUL || n->out[0] == l->result)
		return NULL;
	next = n->out[0]->uses->node;
	side = next->op == OP_add ? mlo_const_side(next) : -1;
	if (side < 0 || next->in[side]->data->elem != EL_f32)
		return NULL;
	return next->in[side]->type.rank == 1 && mlo_has_dim(&next->in[side]->type, 0, n->in[1]->data->dim[1])
		       ? next->in[side]
		       : NULL;
}

/* Square error of a channel's weights in that scale. */
static double error(const MloPtqWeights *w, int64_t channel, double scale)
{
	int64_t n = mlo_tensor_elems(w->w) / w->channels, run = inner(w);
	double sum = 0;

	for (int64_t i = 0; i < n; i++) {
		int64_t at = (i / run * w->channels + channel) * run + i % run;
		double v = mlo_tensor_f64(w->w, at), d = v - mlo_weight_round(v, scale) * scale;

		sum += d * d;
	}
	return sum;
}

static double least_error(const MloPtqWeights *w, int64_t channel, double full)
{
	enum { STEPS = 40 };
	double best = full, least = error(w, channel, full);

	for (int k = 1; k < STEPS; k++) {
		double scale = full * (1 - 0.5 * k / STEPS), e = error(w, channel, scale);

		if (e < least) {
			least = e;
			best = scale;
		}
	}
	return best;
}

static void largest(const MloPtqWeights *w, double *most)
{
	int64_t n = mlo_tensor_elems(w->w);

	for (int64_t i = 0; i < n; i++) {
		double v = fabs(mlo_tensor_f64(w->w, i));
		int64_t c = mlo_weight_channel(w, i);

		most[c] = v > most[c] ? v : most[c];
	}
}

/* A bias of up to 2^30 times the scale of the products fits. */
double mlo_weight_room(double bias, double input)
{
	return input > 0 ? fabs(bias) / input / (1 << 30) : 0;
}

void mlo_weight_scales(const MloPtq *q, MloPtqWeights *w)
{
	double *most = MLO_NEWN(q->a, double, (size_t)w->channels + 1), all = 0;

	largest(w, most);
	for (int64_t c = 0; c < w->channels; c++)
		all = fmax(all, most[c]);
	for (int64_t c = 0; c < w->channels; c++) {
		double scale = (q->opt.per_tensor ? all : most[c]) / LEVELS;

		if (scale > 1e-20 && q->opt.weight_mse && !q->opt.per_tensor)
			scale = least_error(w, c, scale);
		most[c] = (float)fmax(scale, PTQ_LEAST_SCALE);
	}
	w->nscales = q->opt.per_tensor ? 1 : w->channels;
	w->scale = most;
}

void mlo_ptq_weights(const MloPtq *q, const MloPtqLayer *l, double input, MloPtqWeights *out)
{
	const MloTensor *w = l->n->in[1]->data;
	const MloValue *b = mlo_layer_bias(l);
	const MloTensor *bias = l->bias ? l->bias : b ? b->data : NULL;

	*out = (MloPtqWeights){.w = w, .axis = mlo_ptq_weight_axis(l->kind)};
	out->channels = w->dim[out->axis];
	mlo_weight_scales(q, out);
	for (int64_t c = 0; c < out->channels; c++)
		out->scale[c] = (float)fmax(out->scale[c], bias ? mlo_weight_room(mlo_tensor_f64(bias, c), input) : 0);
	for (int64_t c = 1; q->opt.per_tensor && c < out->channels; c++)
		out->scale[0] = fmax(out->scale[0], out->scale[c]);
}
