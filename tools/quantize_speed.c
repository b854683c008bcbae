/* tools/quantize_speed.c -- layers that would be slower in integers stay float: on one variant, and a graph for each. */
#include <math.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/quantize.h"

MloStatus quantize_speed(Quantize *x, const MloTarget *t)
{
	MloArena *a = mlo_arena_new();
	QuantizeTimer *timer;
	MloPtqTime all = {NAN, NAN};
	MloStatus st;

	if (!a)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	st = quantize_timer_open(&timer, a, x, t);
	if (st == MLO_OK)
		st = mlo_ptq_by_speed(x->q, quantize_times, timer, &all);
	quantize_timer_close(timer);
	mlo_arena_free(a);
	x->speed = 1 / all.ratio;
	x->float_ns = all.float_ns;
	return st;
}

MloStatus quantize_for_target(Quantize *x)
{
	const MloTargetSet *set;

	if (!x->opt->target)
		return MLO_OK;
	set = mlo_target_find(x->opt->target, x->d);
	if (!set)
		return MLO_ERR_USAGE;
	MLO_TRY(quantize_speed(x, set->variant[0]));
	report_speed(x, set->variant[0]);
	return MLO_OK;
}

/* -- every variant ----------------------------------------------------------------------------------------- */

MloStatus quantize_variants(Quantize *x, const MloTargetSet *set, QuantizeVariants *out)
{
	MloPtq *q = x->q;
	const char **off = MLO_NEWN(x->a, const char *, q->nlayers + 1);

	*out = (QuantizeVariants){0};
	for (size_t i = 0; i < q->nlayers; i++)
		off[i] = q->layer[i].off;
	while (out->n < QUANTIZE_MAX_VARIANTS && set->variant[out->n])
		out->n++;
	for (size_t v = out->n; v-- > 0;) { /* the best one last: the report is about it */
		for (size_t i = 0; i < q->nlayers; i++) {
			q->layer[i].off = off[i];
			q->layer[i].float_ns = q->layer[i].int_ns = NAN;
		}
		mlo_ptq_plan(q);
		mlo_ptq_ranges(q);
		out->target[v] = set->variant[v];
		x->speed = NAN;
		MLO_TRY(quantize_speed(x, set->variant[v]));
		MLO_TRY(quantize_build(x));
		out->graph[v] = x->result;
		x->result = NULL;
		report_speed(x, set->variant[v]);
	}
	return MLO_OK;
}

const MloGraph *quantize_graph_of(void *variants, const MloTarget *t)
{
	const QuantizeVariants *v = variants;

	for (size_t i = 0; i < v->n; i++)
		if (v->target[i] == t)
			return v->graph[i];
	MLO_BUG("no graph for %s", t->name);
}

void quantize_variants_free(QuantizeVariants *v)
{
	for (size_t i = 0; i < v->n; i++)
		mlo_graph_free(v->graph[i]);
	v->n = 0;
}
