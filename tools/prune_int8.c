/* tools/prune_int8.c -- pruning and quantization at once: activations are quantised from the start, and what becomes of weights
 * is rounded layer by layer, so that those behind make up for it. */
#include "quant/lift.h"
#include "tools/prune.h"
#include "tools/quantize.h"
#include "tools/window.h"

/* Ranges are of the dense model, for which fewer samples than for the weights are enough. */
MloStatus prune_int8_open(Prune *x)
{
	const PruneOptions *o = x->opt;
	QuantizeOptions *q = MLO_NEW(x->a, QuantizeOptions);
	bool lstm = false;
	int samples;

	*q = (QuantizeOptions)QUANTIZE_DEFAULTS;
	samples = q->data.samples;
	q->data = o->data;
	q->data.samples = samples < o->data.samples ? samples : o->data.samples;
	x->int8 = MLO_NEW(x->a, Quantize);
	MLO_TRY(quantize_open(x->int8, x->a, q, x->d));
	for (size_t i = 0; i < x->int8->q->nlayers; i++)
		if (x->int8->q->layer[i].kind == PTQ_LSTM) {
			x->int8->q->layer[i].off = "it has no QDQ form";
			lstm = true;
		}
	if (lstm) {
		mlo_ptq_plan(x->int8->q);
		mlo_note(x->d, "LSTMs stay float32: --int8 writes QDQ form, which they have not");
	}
	MLO_TRY(quantize_calibrate(x->int8));
	x->quantised = true;
	x->dense = mlo_graph_clone(x->int8->g);
	x->start = mlo_graph_clone(x->int8->g);
	if (!x->dense || !x->start)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	return mlo_ptq_apply_activations(x->int8->q, x->start, x->d);
}

void prune_int8_close(Prune *x)
{
	if (x->int8)
		quantize_close(x->int8);
	x->int8 = NULL;
}

/* In a convolution, and in Gemm. */
static bool bias_is_integer(const MloPtqLayer *l)
{
	return mlo_ptq_convolves(l->kind) || l->n->in[0]->type.rank == 2;
}

void prune_store_nearest(Prune *x, MloPtqLayer *l)
{
	MloPtqStored *s = MLO_NEW(x->a, MloPtqStored);
	const MloTensor *w = l->n->in[1]->data;
	MloTensor *q = mlo_tensor_new(x->a, EL_i8, w->rank, w->dim), *now = mlo_tensor_new(x->g->arena, EL_f32, w->rank, w->dim);
	MloTensor *scale, *zero;
	MloPtqWeights of;

	mlo_ptq_weights(x->q, l, mlo_lift_scale(mlo_layer_input(l)), &of);
	scale = mlo_tensor_new(x->a, EL_f32, 1, &of.channels);
	zero = mlo_tensor_new(x->a, EL_i8, 1, &of.channels);
	for (int64_t c = 0; c < of.channels; c++)
		mlo_tensor_set_f64(scale, c, of.scale[c]);
	for (int64_t e = 0, n = mlo_tensor_elems(w); e < n; e++) {
		double by = of.scale[mlo_weight_channel(&of, e)];
		int8_t v = mlo_weight_round(mlo_tensor_f64(w, e), by);

		mlo_tensor_set_i64(q, e, v);
		mlo_tensor_set_f64(now, e, v * by);
	}
	*s = (MloPtqStored){.q = q, .scale = scale, .zero = zero, .bias = bias_is_integer(l)};
	l->stored = s;
	mlo_node_set_in(x->g, l->n, 1, mlo_graph_const(x->g, now, l->n->in[1]->name));
}

/* Layers that are quantised but not pruned are fitted, where that can be, and rounded all the same. */
static void take_layer(Prune *x, size_t i)
{
	MloPtqLayer *l = &x->q->layer[i];
	MloPtqStored *s;
	size_t k = 0;

	while (k < x->list.n && x->list.layer[k].index != i)
		k++;
	if (k == x->list.n || l->g != x->g || (x->list.layer[k].n->op == OP_conv && !window_known(x->list.layer[k].n))) {
		prune_store_nearest(x, l);
		return;
	}
	s = MLO_NEW(x->a, MloPtqStored);
	s->bias = bias_is_integer(l); /* weights and scales come with the fit */
	l->stored = s;
	if (x->list.layer[k].off) {
		x->list.layer[k].off = NULL;
		x->list.layer[k].whole = true;
	}
}

/* The next layer with weights of `q`, from *at on: both lists have them in one order. */
static const MloPtqLayer *next_layer(const MloPtq *q, size_t *at)
{
	while (*at < q->nlayers && !mlo_ptq_weighs(q->layer[*at].kind))
		++*at;
	return *at < q->nlayers ? &q->layer[(*at)++] : NULL;
}

void prune_int8_mark(Prune *x)
{
	size_t at = 0;

	x->from = mlo_ptq_new(x->a, x->dense, &x->opt->ptq);
	x->twin = MLO_NEWN(x->a, size_t, x->list.n + 1);
	for (size_t i = 0; i < x->q->nlayers; i++) {
		const MloPtqLayer *l;

		if (!mlo_ptq_weighs(x->q->layer[i].kind))
			continue;
		l = next_layer(x->int8->q, &at);
		MLO_ASSERT(l && l->kind == x->q->layer[i].kind);
		for (size_t k = 0; k < x->list.n; k++)
			if (x->list.layer[k].index == i)
				x->twin[k] = (size_t)(l - x->int8->q->layer);
		if (l->on)
			take_layer(x, i);
	}
}
