/* tools/quantize_report.c -- what was quantised, and how: as text and as JSON. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/quantize.h"

static const char *scheme(const Quantize *x, const MloPtqLayer *l)
{
	static const char *const activation[2][2] = {{"u8", "u16"}, {"s8", "s16"}};
	const char *a;

	if (!l->on)
		return "float";
	if (l->kind == PTQ_LSTM)
		return x->opt->ptq.per_tensor ? "dynamic u8 x s8" : "dynamic u8 x s8/ch";
	a = activation[x->opt->ptq.symmetric][mlo_ptq_tensor(x->q, mlo_layer_input(l))->wide];
	if (mlo_ptq_weighs(l->kind))
		return mlo_sprintf(x->a, "%s x s8%s", a, x->opt->ptq.per_tensor ? "" : "/channel");
	return a;
}

/* The tensor whose range it reads; NULL: none that was found beforehand. */
static const MloPtqTensor *range_of(const Quantize *x, const MloPtqLayer *l)
{
	return l->kind == PTQ_LSTM ? NULL : mlo_ptq_tensor(x->q, mlo_layer_input(l));
}

static const char *reason(const MloPtqLayer *l)
{
	if (l->on)
		return l->wide ? l->wide : "";
	return l->off ? l->off : "its result is not read by quantised operators, or its operands are not quantised";
}

static size_t count(const Quantize *x, bool on, bool contractions)
{
	size_t n = 0;

	for (size_t i = 0; i < x->q->nlayers; i++)
		n += (!on || x->q->layer[i].on) && (!contractions || mlo_ptq_contracts(x->q->layer[i].kind));
	return n;
}

static size_t raised(const Quantize *x)
{
	size_t n = 0;

	for (size_t i = 0; i < x->q->nlayers; i++)
		n += x->q->layer[i].on && x->q->layer[i].wide;
	return n;
}

/* A layer that moves or joins values matters only where it is quantised. */
static bool shown(const MloPtqLayer *l, bool all)
{
	return all || mlo_ptq_contracts(l->kind) || l->on || l->off;
}

void report_summary(const Quantize *x, FILE *to)
{
	fprintf(to, "%zu of %zu contractions and %zu other operators quantised", count(x, true, true),
		count(x, false, true), count(x, true, false) - count(x, true, true));
	if (raised(x))
		fprintf(to, ", %zu of them reading 16 bits", raised(x));
	if (x->migrated)
		fprintf(to, ", %zu activations scaled by channel", x->migrated);
	if (x->samples)
		fprintf(to, ", %lld samples", (long long)x->samples);
	if (isfinite(x->output_sqnr))
		fprintf(to, ", outputs SQNR %.1f dB", x->output_sqnr);
	if (isfinite(x->accuracy))
		fprintf(to, ", %s %.2f%% (float %.2f%%)", x->opt->metric, x->accuracy, x->float_accuracy);
	fprintf(to, "\n");
}

void report_speed(const Quantize *x, const MloTarget *t)
{
	size_t on = count(x, true, true);

	if (!isfinite(x->speed))
		return;
	if (on)
		cli_note("%s: %zu of %zu contractions in integers, %.2f times as fast as float32 (%.3f ms, %s)", t->name, on,
			 count(x, false, true), x->speed, x->float_ns * 1e-6, x->speed_from);
	else
		cli_note("%s: integers are not faster than float32 (%.3f ms, %s): the model stays float", t->name, x->float_ns * 1e-6,
			 x->speed_from);
}

void report_text(const Quantize *x, bool all)
{
	printf("%-40s %-20s %-16s %-24s %s\n", "node", "operator", "scheme", "range of the input", "SQNR dB");
	for (size_t i = 0; i < x->q->nlayers; i++) {
		const MloPtqLayer *l = &x->q->layer[i];
		const MloPtqTensor *t = range_of(x, l);
		char range[64] = "", sqnr[32] = "", times[64] = "", alone[96] = "";

		if (!shown(l, all))
			continue;
		if (l->on && t)
			snprintf(range, sizeof range, "%.4g .. %.4g", t->range.lo, t->range.hi);
		if (l->on && isfinite(l->sqnr))
			snprintf(sqnr, sizeof sqnr, "%.1f", l->sqnr);
		if (l->on && isfinite(l->int_ns))
			snprintf(times, sizeof times, "  %.4f ms, float32 %.4f ms", l->int_ns * 1e-6, l->float_ns * 1e-6);
		if (isfinite(l->alone_accuracy))
			snprintf(alone, sizeof alone, "  (alone: outputs %.1f dB, %s %.2f%%)", l->alone_sqnr, x->opt->metric, l->alone_accuracy);
		else if (isfinite(l->alone_sqnr) && x->opt->rank)
			snprintf(alone, sizeof alone, "  (alone: outputs %.1f dB)", l->alone_sqnr);
		printf("%-40s %-20s %-16s %-24s %s%s%s%s%s\n", mlo_node_name(l->n), mlo_op_info(l->n->op)->name, scheme(x, l),
		       range, sqnr, alone, times, l->on && *reason(l) ? "  " : "", reason(l));
	}
	report_summary(x, stdout);
}

static json_t *layer(const Quantize *x, const MloPtqLayer *l)
{
	const MloPtqTensor *t = range_of(x, l);
	json_t *j = json_pack("{s:s,s:s,s:b,s:s}", "node", mlo_node_name(l->n), "op", mlo_op_info(l->n->op)->name,
			      "quantized", l->on, "scheme", scheme(x, l));

	if (l->on && t) {
		json_object_set_new(j, "input_range", json_pack("[f,f]", t->range.lo, t->range.hi));
		json_object_set_new(j, "input_scale", json_real(t->scale));
		json_object_set_new(j, "input_zero_point", json_integer(t->zero));
		json_object_set_new(j, "input_channels_scaled", json_boolean(t->factor != NULL));
	}
	if (l->on && isfinite(l->sqnr))
		json_object_set_new(j, "sqnr_db", json_real(l->sqnr));
	if (isfinite(l->alone_sqnr))
		json_object_set_new(j, "alone_output_sqnr_db", json_real(l->alone_sqnr));
	if (isfinite(l->alone_accuracy))
		json_object_set_new(j, "alone_accuracy", json_real(l->alone_accuracy));
	if (isfinite(l->int_ns)) {
		json_object_set_new(j, "ms", json_real(l->int_ns * 1e-6));
		json_object_set_new(j, "float_ms", json_real(l->float_ns * 1e-6));
	}
	if (*reason(l))
		json_object_set_new(j, "reason", json_string(reason(l)));
	return j;
}

json_t *report_json(const Quantize *x)
{
	json_t *root = json_object(), *layers = json_array();

	for (size_t i = 0; i < x->q->nlayers; i++)
		json_array_append_new(layers, layer(x, &x->q->layer[i]));
	json_object_set_new(root, "model", json_string(x->opt->data.model));
	json_object_set_new(root, "samples", json_integer(x->samples));
	json_object_set_new(root, "range_method", json_string(mlo_range_text(x->opt->ptq.range)));
	if (isfinite(x->output_sqnr))
		json_object_set_new(root, "output_sqnr_db", json_real(x->output_sqnr));
	if (isfinite(x->output_cosine))
		json_object_set_new(root, "output_cosine", json_real(x->output_cosine));
	if (isfinite(x->accuracy)) {
		json_object_set_new(root, "metric", json_string(x->opt->metric));
		json_object_set_new(root, "accuracy", json_real(x->accuracy));
		json_object_set_new(root, "float_accuracy", json_real(x->float_accuracy));
	}
	if (isfinite(x->speed)) {
		json_object_set_new(root, "speed_to_float", json_real(x->speed));
		json_object_set_new(root, "times", json_string(x->speed_from));
	}
	json_object_set_new(root, "within_budget", json_boolean(!x->over_budget));
	json_object_set_new(root, "layers", layers);
	return root;
}
