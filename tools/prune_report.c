/* tools/prune_report.c -- what becomes of each layer: as text and as JSON. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "tools/prune.h"

static double share(const MloPruneLayer *l, bool plan)
{
	return plan ? l->sparsity : l->zeros;
}

static const char *reason(const Prune *x, size_t i)
{
	const MloPruneLayer *l = &x->list.layer[i];

	return l->off ? l->off : x->stays && x->stays[i] ? "did not gain: as it was" : NULL;
}

/* dB of a layer's results: as they turned out, or as they are expected to. */
static double quality(const Prune *x, size_t i, bool plan)
{
	if (!plan)
		return x->list.layer[i].sqnr;
	return x->curve && prune_expected(x, i) > 0 ? -10 * log10(prune_expected(x, i)) : NAN;
}

static void totals(const Prune *x, bool plan, double *weights, double *zeros)
{
	*weights = *zeros = 0;
	for (size_t i = 0; i < x->list.n; i++) {
		const MloPruneLayer *l = &x->list.layer[i];

		*weights += (double)mlo_prune_weights(l);
		*zeros += share(l, plan) * (double)mlo_prune_weights(l);
	}
}

/* Predicted, of the whole model. */
static double time_after(const Prune *x, bool plan)
{
	double all = x->dense_ns;

	if (!plan)
		return x->ns_after;
	for (size_t i = 0; i < x->list.n && x->ns; i++)
		all += prune_predicted(x, i, share(&x->list.layer[i], plan)) - prune_predicted(x, i, 0);
	return all;
}

static void summary(const Prune *x, bool plan)
{
	double weights, zeros, after = time_after(x, plan);

	totals(x, plan, &weights, &zeros);
	printf("%.1f%% of %.0f weights %s %s", 100 * zeros / weights, weights, plan ? "would be" : "are", x->share ? "gone" : "zero");
	if (x->opt->int8)
		printf(", in integers of 8 bits");
	if (x->samples)
		printf(", %lld samples", (long long)x->samples);
	if (isfinite(x->output_sqnr))
		printf(", outputs SQNR %.1f dB", x->output_sqnr);
	if (isfinite(x->accuracy))
		printf(", %s %.2f%% (dense %.2f%%)", x->opt->metric, x->accuracy, x->float_accuracy);
	if (isfinite(after))
		printf(", predicted %.3f ms instead of %.3f ms on %s, %.2f times as fast", after * 1e-6, x->dense_ns * 1e-6,
		       x->variant->name, x->dense_ns / after);
	printf("\n");
}

void prune_report_text(const Prune *x, bool plan)
{
	printf("%-40s %10s %7s%s %8s%s\n", "node", "weights", x->share ? "gone" : "zeros", x->before ? "   before" : "",
	       x->before ? "after dB" : "SQNR dB", x->ns ? "         ms  speed-up" : "");
	for (size_t i = 0; i < x->list.n; i++) {
		const MloPruneLayer *l = &x->list.layer[i];
		char before[32] = "", sqnr[32] = "", times[64] = "";

		if (x->before && isfinite(x->before[i]))
			snprintf(before, sizeof before, "%.1f", x->before[i]);
		if (isfinite(quality(x, i, plan)))
			snprintf(sqnr, sizeof sqnr, "%.1f", quality(x, i, plan));
		if (x->ns) {
			double ns = prune_predicted(x, i, share(l, plan));

			snprintf(times, sizeof times, " %10.4f %9.2f", ns * 1e-6, ns > 0 ? prune_predicted(x, i, 0) / ns : 1);
		}
		printf("%-40s %10lld %6.1f%%%*s %8s%s%s%s\n", mlo_node_name(l->n), (long long)mlo_prune_weights(l),
		       100 * share(l, plan), x->before ? 9 : 0, before, sqnr, times, reason(x, i) ? "  " : "",
		       reason(x, i) ? reason(x, i) : "");
	}
	summary(x, plan);
}

static json_t *layer(const Prune *x, size_t i, bool plan)
{
	const MloPruneLayer *l = &x->list.layer[i];
	json_t *j = json_pack("{s:s,s:I,s:f}", "node", mlo_node_name(l->n), "weights", (json_int_t)mlo_prune_weights(l),
			      "sparsity", share(l, plan));

	if (isfinite(quality(x, i, plan)))
		json_object_set_new(j, "sqnr_db", json_real(quality(x, i, plan)));
	if (x->ns) {
		json_object_set_new(j, "ms", json_real(prune_predicted(x, i, share(l, plan)) * 1e-6));
		json_object_set_new(j, "dense_ms", json_real(prune_predicted(x, i, 0) * 1e-6));
	}
	if (x->before && isfinite(x->before[i]))
		json_object_set_new(j, "before_sqnr_db", json_real(x->before[i]));
	if (reason(x, i))
		json_object_set_new(j, "reason", json_string(reason(x, i)));
	return j;
}

void prune_report_json(const Prune *x, bool plan)
{
	json_t *root = json_object(), *layers = json_array();
	double weights, zeros, after = time_after(x, plan);

	for (size_t i = 0; i < x->list.n; i++)
		json_array_append_new(layers, layer(x, i, plan));
	totals(x, plan, &weights, &zeros);
	json_object_set_new(root, "model", json_string(x->opt->data.model));
	json_object_set_new(root, "pattern", json_string(mlo_pattern_text(x->a, &x->opt->pattern)));
	json_object_set_new(root, "method", json_string(x->opt->magnitude ? "magnitude" : "second-order"));
	json_object_set_new(root, "int8", json_boolean(x->opt->int8));
	json_object_set_new(root, "samples", json_integer(x->samples));
	json_object_set_new(root, "weights", json_real(weights));
	json_object_set_new(root, "sparsity", json_real(zeros / weights));
	if (isfinite(x->output_sqnr))
		json_object_set_new(root, "output_sqnr_db", json_real(x->output_sqnr));
	if (isfinite(x->accuracy)) {
		json_object_set_new(root, "metric", json_string(x->opt->metric));
		json_object_set_new(root, "accuracy", json_real(x->accuracy));
		json_object_set_new(root, "dense_accuracy", json_real(x->float_accuracy));
	}
	if (isfinite(after)) {
		json_object_set_new(root, "variant", json_string(x->variant->name));
		json_object_set_new(root, "predicted_ms", json_real(after * 1e-6));
		json_object_set_new(root, "dense_ms", json_real(x->dense_ns * 1e-6));
		json_object_set_new(root, "predicted_speedup", json_real(x->dense_ns / after));
	}
	json_object_set_new(root, "within_budget", json_boolean(!x->over_budget));
	json_object_set_new(root, "layers", layers);
	json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	printf("\n");
	json_decref(root);
}
