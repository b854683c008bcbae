/* tools/prune_layer.c -- one layer: which weights go, what the others become, and how those are rounded. */
#include <math.h>
#include <string.h>

#include "passes/match.h"
#include "quant/lift.h"
#include "tools/prune.h"

/* The groups of a layer, one after the other.  `fit`: the zeros that there are stay, and no others come. */
typedef struct Work {
	Prune *x;
	MloPruneLayer *l;
	MloPtqLayer *p;
	MloArena *a;
	bool fit;
	double *w, *bias; /* of all groups; bias: NULL: there is none */
	double *q, *scale; /* weights as integers, and their scales by output; NULL: they are float32 */
	double error, signal;
} Work;

static double *biases(const Work *o)
{
	const MloValue *b = mlo_layer_bias(o->p);
	double *v;

	if (!b)
		return NULL;
	v = MLO_NEWN(o->x->a, double, (size_t)(o->l->rows * o->l->groups));
	for (int64_t i = 0; i < o->l->rows * o->l->groups; i++)
		v[i] = mlo_tensor_f64(b->data, i);
	return v;
}

static void set_bias(const Work *o)
{
	const MloPruneLayer *l = o->l;
	MloGraph *g = o->x->g;
	int64_t n = l->rows * l->groups;
	MloTensor *t = mlo_tensor_new(g->arena, EL_f32, 1, &n);
	MloValue *v;

	for (int64_t i = 0; i < n; i++)
		mlo_tensor_set_f64(t, i, o->bias[i]);
	v = mlo_graph_const(g, t, mlo_layer_bias(o->p)->name);
	if (l->n->op == OP_conv) {
		mlo_node_set_in(g, l->n, 2, v);
	} else {
		MloNode *add = l->n->out[0]->uses->node;

		mlo_node_set_in(g, add, (uint32_t)mlo_const_side(add), v);
	}
}

/* -- weights of a group -------------------------------------------------------------------------------------- */

static void prune_matrix(Work *o, const MloProblem *p, double *w)
{
	int64_t n = p->rows * p->k;
	const PruneOptions *opt = o->x->opt;
	uint8_t *keep = MLO_NEWN(o->a, uint8_t, (size_t)n);

	if (o->fit)
		for (int64_t i = 0; i < n; i++)
			keep[i] = w[i] != 0;
	else if (o->l->sparsity > 0)
		mlo_prune_search(p, &opt->pattern, o->l->sparsity, keep);
	else
		memset(keep, 1, (size_t)n);
	mlo_prune_refit(p, keep, w);
}

static void take_bias(Work *o, const MloProblem *p, int64_t group, const double *w)
{
	for (int64_t r = 0; r < p->rows && o->bias; r++) {
		double sum = p->mean_y[r];

		for (int64_t i = 0; i < p->k; i++)
			sum -= w[r * p->k + i] * p->mean_x[i];
		o->bias[group * p->rows + r] = sum;
	}
}

/* Biases in the scale of the products, if they are integers. */
static void round_bias(Work *o, int64_t first, int64_t rows)
{
	const double input = mlo_lift_scale(mlo_layer_input(o->p));

	for (int64_t r = first; r < first + rows && o->bias && o->p->stored->bias; r++) {
		double step = (float)(o->scale[r] * input);

		o->bias[r] = rint(o->bias[r] / step) * step;
	}
}

/* By the same H, without its damping: rounding has one of its own. */
static void round_matrix(Work *o, const MloProblem *p, int64_t group, double *w)
{
	int64_t k = p->k, n = p->rows * k, first = group * p->rows;
	MloTensor *t = mlo_tensor_new(o->a, EL_f32, 2, (int64_t[]){p->rows, k});
	MloPtqWeights weights = {.w = t, .channels = p->rows, .scale = o->scale + first};
	MloRoundInput in = {.k = k, .groups = 1, .h = MLO_NEWN(o->a, float, (size_t)(k * k))};
	double trace = 0, damp;
	const int8_t *q;

	for (int64_t i = 0; i < k; i++)
		trace += p->h[i * k + i];
	damp = trace / (double)k * p->damping / (1 + p->damping);
	for (int64_t i = 0; i < k * k; i++)
		in.h[i] = (float)(p->h[i] - (i % (k + 1) ? 0 : damp));
	for (int64_t i = 0; i < n; i++)
		mlo_tensor_set_f64(t, i, w[i]);
	for (int64_t r = first; r < first + p->rows; r++)
		o->scale[r] = o->bias ? mlo_weight_room(o->bias[r], mlo_lift_scale(mlo_layer_input(o->p))) : 0;
	q = mlo_round_scaled(o->a, &weights, &in);
	for (int64_t i = 0; i < n; i++) {
		o->q[first * k + i] = q[i];
		w[i] = (float)(q[i] * o->scale[first + i / k]);
	}
}

static void note_damping(const Work *o, const MloProblem *p, const MloPruneStats *s)
{
	const MloPruneLayer *l = o->l;

	if (o->fit)
		return;
	if (s->n < s->k)
		mlo_warn(o->x->d, "node '%s': %lld inputs were seen for %lld weights of each output: their Hessian is singular but for "
				  "its damping; more samples help", mlo_node_name(l->n), (long long)s->n, (long long)s->k);
	else if (p->damping > o->x->opt->damping)
		mlo_note(o->x->d, "node '%s': the Hessian is singular: damped by %g of its diagonal", mlo_node_name(l->n), p->damping);
}

/* *fitted: the samples say something about the weights. */
static MloStatus prune_group(Work *o, int64_t group, const MloPruneStats *s, bool *fitted)
{
	const Prune *x = o->x;
	double *w = o->w + group * s->rows * s->k;
	MloProblem p;

	mlo_weights_get(o->l, o->l->n, group, w);
	switch (mlo_problem_new(o->a, s, w, o->bias != NULL, x->opt->damping, &p)) {
	case PROBLEM_WILD:
		return mlo_node_error(x->d, MLO_ERR_MODEL, o->l->n, "reads or gives NaN or infinite numbers for samples of '%s'",
				      x->opt->data.calib);
	case PROBLEM_CONSTANT: *fitted = false; return MLO_OK;
	case PROBLEM_GIVEN: break;
	}
	note_damping(o, &p, s);
	if (!x->opt->magnitude)
		prune_matrix(o, &p, w);
	take_bias(o, &p, group, w);
	if (o->q) {
		round_matrix(o, &p, group, w);
		take_bias(o, &p, group, w);
		round_bias(o, group * p.rows, p.rows);
	}
	o->error += mlo_problem_error(&p, w);
	o->signal += p.signal;
	return MLO_OK;
}

/* Whatever the samples say. */
void prune_smallest(Prune *x, const MloPruneLayer *l)
{
	mlo_weights_smallest(x->g, l, l->n, &x->opt->pattern, l->sparsity);
}

/* -- samples that are held out ------------------------------------------------------------------------------- */

/* Of all groups, with weights and biases as they are in `o`. */
static double held_error(const Work *o, const PruneSums *sums, double *signal)
{
	const MloPruneLayer *l = o->l;
	int64_t k = mlo_prune_inputs(l);
	double sum = 0, part;

	*signal = 0;
	for (int64_t g = 0; g < l->groups; g++) {
		sum += mlo_rows_error(&sums->rows[g], l->rows, k, o->w + g * l->rows * k,
					o->bias ? o->bias + g * l->rows : NULL, false, &part);
		*signal += part;
	}
	return sum;
}

static double db(double signal, double error)
{
	return error > 0 ? 10 * log10(signal / error) : INFINITY;
}

/* The layer as it is in the graph. */
static Work as_it_is(Prune *x, size_t layer)
{
	MloPruneLayer *l = &x->list.layer[layer];
	Work o = {.x = x, .l = l, .p = &x->q->layer[l->index], .w = MLO_NEWN(x->a, double, (size_t)mlo_prune_weights(l))};

	o.bias = biases(&o);
	for (int64_t g = 0; g < l->groups; g++)
		mlo_weights_get(l, l->n, g, o.w + g * l->rows * mlo_prune_inputs(l));
	return o;
}

double prune_judge(Prune *x, size_t layer, const PruneSums *sums)
{
	Work o = as_it_is(x, layer);
	double signal, error = held_error(&o, sums, &signal);

	return db(signal, error);
}

/* Does the layer gain on samples that it was not fitted to? */
static bool gains(const Work *o, const PruneSums *sums)
{
	Work was = as_it_is(o->x, (size_t)(o->l - o->x->list.layer));
	double signal;

	return held_error(o, sums, &signal) < held_error(&was, sums, &signal);
}

void prune_move(Prune *x, size_t layer, const double *w, const double *bias, double by)
{
	Work o = as_it_is(x, layer);

	for (int64_t i = 0; i < mlo_prune_weights(o.l); i++)
		o.w[i] += by * w[i];
	for (int64_t i = 0; i < o.l->rows * o.l->groups && bias; i++)
		o.bias[i] += by * bias[i];
	mlo_weights_set(x->g, o.l, o.l->n, o.w);
	if (bias)
		set_bias(&o);
}

/* -- all of it ------------------------------------------------------------------------------------------------- */

static void store(Work *o)
{
	MloPtqStored *s = MLO_NEW(o->x->a, MloPtqStored);
	int64_t n = o->l->rows * o->l->groups;
	MloTensor *scale = mlo_tensor_new(o->x->a, EL_f32, 1, &n);

	for (int64_t i = 0; i < n; i++)
		mlo_tensor_set_f64(scale, i, o->scale[i]);
	*s = (MloPtqStored){.q = mlo_weights_tensor(o->x->a, o->l, o->l->n, EL_i8, o->q),
			    .scale = scale,
			    .zero = mlo_tensor_new(o->x->a, EL_i8, 1, &n),
			    .bias = o->p->stored->bias};
	o->p->stored = s;
}

static void commit(Work *o)
{
	mlo_weights_set(o->x->g, o->l, o->l->n, o->w);
	if (o->bias)
		set_bias(o);
	if (o->q)
		store(o);
}

MloStatus prune_layer(Prune *x, size_t layer, const PruneSums *sums, bool fit)
{
	MloPruneLayer *l = &x->list.layer[layer];
	Work o = {.x = x, .l = l, .p = &x->q->layer[l->index], .fit = fit};
	MloStatus st = MLO_OK;
	bool fitted = true;

	if (x->opt->magnitude)
		prune_smallest(x, l);
	o.w = MLO_NEWN(x->a, double, (size_t)mlo_prune_weights(l));
	o.bias = biases(&o);
	if (o.p->stored) {
		o.q = MLO_NEWN(x->a, double, (size_t)mlo_prune_weights(l));
		o.scale = MLO_NEWN(x->a, double, (size_t)(l->rows * l->groups));
	}
	for (int64_t group = 0; group < l->groups && st == MLO_OK && fitted; group++) {
		o.a = mlo_arena_new();
		if (!o.a)
			return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
		st = prune_group(&o, group, &sums->of[group], &fitted);
		mlo_arena_free(o.a);
	}
	MLO_TRY(st);
	if (!fitted) {
		mlo_warn(x->d, "node '%s' reads the same for all samples: %s", mlo_node_name(l->n),
			 fit ? "it stays as it is" : l->whole ? "its weights are rounded to the nearest" : "its smallest weights go");
		if (!fit)
			prune_smallest(x, l);
		if (!fit && o.p->stored)
			prune_store_nearest(x, o.p);
		return MLO_OK;
	}
	l->sqnr = db(o.signal, o.error);
	if (sums->rows && !gains(&o, sums))
		return MLO_OK;
	commit(&o);
	if (x->stays)
		x->stays[layer] = false;
	return MLO_OK;
}
