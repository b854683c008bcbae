/* tools/quantize_budget.c -- as many layers in integers as a bound on the loss allows.
 *
 * Layers are ranked by the noise that outputs have when that layer alone is quantised; the worst go back to float,
 * 1, 2, 4, ... of them until the bound holds, then bisection finds the fewest that do. */
#include <math.h>

#include "tools/cli.h"
#include "tools/eval.h"
#include "tools/quantize.h"

enum { RANK_SAMPLES = 16, BOUND_SAMPLES = 64 };

/* -- accuracy -------------------------------------------------------------------------------------- */

typedef struct Labelled {
	EvalRequest request;
	EvalData data;
} Labelled;

static MloStatus read_labelled(Quantize *x, Labelled *l)
{
	const QuantizeOptions *o = x->opt;

	l->request = (EvalRequest){.data = o->eval, .labels = o->labels, .recipe = o->preprocess, .model = o->run};
	MLO_TRY(mlo_metrics_parse(x->a, o->metric, &l->request.metrics, x->d));
	if (l->request.metrics.list.n != 1 || mlo_metrics_need(&l->request.metrics, METRIC_NUMBERS))
		return mlo_error(x->d, MLO_ERR_USAGE,
				 "--metric %s: --max-drop is about one metric of classes, as top1 or f1_macro",
				 o->metric);
	return eval_read(x->a, &l->request, &l->data, x->d);
}

/* In percent. */
static MloStatus accuracy(Quantize *x, const MloGraph *g, Labelled *l, double *out)
{
	MloArena *a = mlo_arena_new();
	MloPredictions p;
	MloStatus st = a ? eval_graph(a, &l->request, &l->data, g, x->opt->model, &p, x->d)
			 : mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");

	if (st == MLO_OK)
		*out = 100 * mlo_metric_value(&l->request.metrics.list.items[0], &p, NULL);
	mlo_arena_free(a);
	return st;
}

/* -- the bound ------------------------------------------------------------------------------------- */

typedef struct Budget {
	Quantize *x;
	Labelled l;
	size_t *order; /* layers, the worst first */
	double *noise; /* by layer: SQNR of the outputs with that one alone */
	size_t n;
	bool ranked;
} Budget;

static bool labelled(const Quantize *x)
{
	return x->opt->eval != NULL;
}

static MloStatus judge(Budget *b, bool *holds)
{
	Quantize *x = b->x;
	const QuantizeOptions *o = x->opt;

	MLO_TRY(quantize_build(x));
	MLO_TRY(quantize_measure(x, BOUND_SAMPLES));
	if (labelled(x))
		MLO_TRY(accuracy(x, x->result, &b->l, &x->accuracy));
	*holds = (!labelled(x) || x->float_accuracy - x->accuracy <= o->max_drop + 1e-9) &&
		 (!(o->min_sqnr > 0) || x->output_sqnr >= o->min_sqnr) &&
		 (!(o->min_cosine > 0) || x->output_cosine >= o->min_cosine);
	if (labelled(x))
		cli_note("%zu layers in float: %s %.2f%% of %.2f%%, SQNR %.1f dB", x->back, o->metric, x->accuracy,
			 x->float_accuracy, x->output_sqnr);
	else
		cli_note("%zu layers in float: SQNR %.1f dB, cosine %.5f", x->back, x->output_sqnr, x->output_cosine);
	return MLO_OK;
}

/* The layer with the least SQNR first; equal ones stay in the order of the graph. */
static void sort(Budget *b)
{
	for (size_t i = 1; i < b->n; i++)
		for (size_t k = i; k > 0 && b->noise[b->order[k]] < b->noise[b->order[k - 1]]; k--) {
			size_t t = b->order[k];

			b->order[k] = b->order[k - 1];
			b->order[k - 1] = t;
		}
}

/* The first `count` of the order go back to float, the others are on again. */
static void turn_off(Budget *b, size_t count)
{
	Quantize *x = b->x;

	for (size_t i = 0; i < b->n; i++) {
		MloPtqLayer *l = &x->q->layer[b->order[i]];

		l->off = i >= count
				 ? NULL
				 : mlo_sprintf(x->a, "alone it leaves the outputs at %.1f dB", b->noise[b->order[i]]);
	}
	x->back = count;
	mlo_ptq_plan(x->q);
	mlo_ptq_ranges(x->q);
}

/* Each layer alone. */
static MloStatus rank(Budget *b)
{
	Quantize *x = b->x;

	for (size_t i = 0; i < b->n; i++) {
		for (size_t k = 0; k < b->n; k++)
			x->q->layer[b->order[k]].off = k == i ? NULL : "ranked";
		mlo_ptq_plan(x->q);
		mlo_ptq_ranges(x->q);
		MLO_TRY(quantize_measure(x, RANK_SAMPLES));
		b->noise[b->order[i]] = x->output_sqnr;
		cli_progress("rank layers", (double)i + 1, (double)b->n);
	}
	sort(b);
	x->back = b->n; /* as things are now, nothing was judged */
	return MLO_OK;
}

/* The fewest layers in float, between `bad`, which are too few, and `good`. */
static MloStatus bisect(Budget *b, size_t bad, size_t good)
{
	bool holds;

	while (good - bad > 1) {
		size_t middle = bad + (good - bad) / 2;

		turn_off(b, middle);
		MLO_TRY(judge(b, &holds));
		*(holds ? &good : &bad) = middle;
	}
	if (b->x->back == good)
		return MLO_OK;
	turn_off(b, good);
	return judge(b, &holds);
}

static double quality(const Quantize *x)
{
	return labelled(x) ? x->accuracy : x->output_sqnr;
}

/* Nothing quantised is left: the best there was is reported. */
static MloStatus cannot(Budget *b, size_t best)
{
	Quantize *x = b->x;
	bool holds;

	if (x->back != best) {
		turn_off(b, best);
		MLO_TRY(judge(b, &holds));
	}
	x->over_budget = true;
	if (labelled(x))
		mlo_error(x->d, MLO_ERR_MODEL,
			  "the budget cannot be met: with %zu of %zu layers in float %s is %.2f%%, %.2f points lost",
			  best, b->n, x->opt->metric, x->accuracy, x->float_accuracy - x->accuracy);
	else
		mlo_error(x->d, MLO_ERR_MODEL,
			  "the budget cannot be met: with %zu of %zu layers in float SQNR is %.1f dB, cosine %.5f",
			  best, b->n, x->output_sqnr, x->output_cosine);
	mlo_hint(x->d, "try --round, --migrate 0.5 or more samples; --keep-best writes this result all the same");
	return MLO_ERR_MODEL;
}

static MloStatus search(Budget *b)
{
	size_t bad = 0, best = 0;
	double highest = quality(b->x);
	bool holds;

	MLO_TRY(rank(b));
	for (size_t k = 1; bad + 1 < b->n; k *= 2) {
		size_t count = k < b->n ? k : b->n - 1;

		turn_off(b, count);
		MLO_TRY(judge(b, &holds));
		if (holds)
			return bisect(b, bad, count);
		best = quality(b->x) > highest ? count : best;
		highest = fmax(highest, quality(b->x));
		bad = count;
	}
	return cannot(b, best);
}

MloStatus quantize_within(Quantize *x)
{
	Budget b = {.x = x,
		    .order = MLO_NEWN(x->a, size_t, x->q->nlayers + 1),
		    .noise = MLO_NEWN(x->a, double, x->q->nlayers + 1)};
	bool holds;

	for (size_t i = 0; i < x->q->nlayers; i++)
		if (x->q->layer[i].on && mlo_ptq_contracts(x->q->layer[i].kind))
			b.order[b.n++] = i;
	if (labelled(x)) {
		MLO_TRY(read_labelled(x, &b.l));
		MLO_TRY(accuracy(x, x->g, &b.l, &x->float_accuracy));
	}
	MLO_TRY(judge(&b, &holds));
	return holds ? MLO_OK : search(&b);
}
