/* tools/prune_report.c -- what became of each layer: as text and as JSON. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "tools/prune.h"

void prune_report_text(const Prune *x)
{
	double all = 0, zeros = 0;

	printf("%-40s %10s %9s %9s\n", "node", "weights", "zeros", "SQNR dB");
	for (size_t i = 0; i < x->list.n; i++) {
		const MloPruneLayer *l = &x->list.layer[i];
		char sqnr[32] = "";

		if (isfinite(l->sqnr))
			snprintf(sqnr, sizeof sqnr, "%.1f", l->sqnr);
		printf("%-40s %10lld %8.1f%% %9s%s%s\n", mlo_node_name(l->n), (long long)mlo_prune_weights(l), 100 * l->zeros,
		       sqnr, l->off ? "  " : "", l->off ? l->off : "");
		all += (double)mlo_prune_weights(l);
		zeros += l->zeros * (double)mlo_prune_weights(l);
	}
	printf("%.1f%% of %.0f weights are zero, %lld samples\n", 100 * zeros / all, all, (long long)x->samples);
}
