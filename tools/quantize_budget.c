/* tools/quantize_budget.c -- as many layers in integers as a bound on the loss allows.
 *
 * Layers are ranked by the noise that outputs have when that layer alone is quantised; the worst go back to float, or
 * first, if the options say so and it helps, have their activations in 16 bits: a list of steps.  1, 2, 4, ... of them are
 * taken until the bound holds, then bisection finds the fewest that do.  The ranking alone is of use to a report. */
#include <math.h>

#include "tools/cli.h"
#include "tools/labelled.h"
#include "tools/quantize.h"

enum { RANK_SAMPLES = 16, BOUND_SAMPLES = 64 };

/* -- the bound ------------------------------------------------------------------------------------- */

/* What the bound may do with a layer, and how far it alone takes the outputs from the float model before that (SQNR). */
typedef struct Step {
	size_t layer;
	bool raise; /* its activations get 16 bits; else it goes back to float */
	double noise;
} Step;

/* A layer as the options and corrections have it, and its bias as corrected for 16 bits. */
typedef struct Asked {
	const char *wide;
	const MloTensor *bias, *wide_bias;
} Asked;

typedef struct Budget {
	Quantize *x;
	Labelled l;
	size_t *layer;  /* contractions that are quantised */
	size_t nlayers;
	Asked *asked;   /* by layer of the plan */
	Step *step;     /* the worst layer first */
	size_t n, done; /* how many there are, and how many were taken */
} Budget;

static bool labelled(const Quantize *x)
{
	return x->opt->eval != NULL;
}

/* "3 layers in float", and how many read 16 bits. */
static const char *where(const Quantize *x)
{
	return x->opt->raise ? mlo_sprintf(x->a, "%zu layers in 16 bits, %zu in float", x->raised, x->back)
			     : mlo_sprintf(x->a, "%zu layers in float", x->back);
}

static bool met(const Quantize *x)
{
	const QuantizeOptions *o = x->opt;

	return (!(o->max_drop >= 0) || x->float_accuracy - x->accuracy <= o->max_drop + 1e-9) &&
	       (!(o->min_sqnr > 0) || x->output_sqnr >= o->min_sqnr) &&
	       (!(o->min_cosine > 0) || x->output_cosine >= o->min_cosine);
}

static MloStatus judge(Budget *b, bool *holds)
{
	Quantize *x = b->x;
	const QuantizeOptions *o = x->opt;

	MLO_TRY(quantize_build(x));
	MLO_TRY(quantize_measure(x, BOUND_SAMPLES));
	if (labelled(x))
		MLO_TRY(labelled_accuracy(&b->l, x->result, &x->accuracy, x->d));
	*holds = met(x);
	if (labelled(x))
		cli_note("%s: %s %.2f%% of %.2f%%, SQNR %.1f dB", where(x), o->metric, x->accuracy, x->float_accuracy,
			 x->output_sqnr);
	else
		cli_note("%s: SQNR %.1f dB, cosine %.5f", where(x), x->output_sqnr, x->output_cosine);
	return MLO_OK;
}

/* The layer with the least SQNR first; equal ones stay in the order of the graph. */
static void sort(Budget *b)
{
	for (size_t i = 1; i < b->n; i++)
		for (size_t k = i; k > 0 && b->step[k].noise < b->step[k - 1].noise; k--) {
			Step t = b->step[k];

			b->step[k] = b->step[k - 1];
			b->step[k - 1] = t;
		}
}

static void plan(Quantize *x)
{
	mlo_ptq_plan(x->q);
	mlo_ptq_ranges(x->q);
}

/* A layer in 8 bits, or in what it was asked for, or in 16. */
static void put(Budget *b, size_t layer, const char *wide)
{
	MloPtqLayer *l = &b->x->q->layer[layer];
	const Asked *asked = &b->asked[layer];

	l->off = NULL;
	l->wide = wide ? wide : asked->wide;
	l->bias = wide ? asked->wide_bias : asked->bias;
}

/* The layers as the first `count` steps leave them. */
static void take_steps(Budget *b, size_t count)
{
	Quantize *x = b->x;

	for (size_t i = 0; i < b->nlayers; i++)
		put(b, b->layer[i], NULL);
	x->back = x->raised = 0;
	for (size_t i = 0; i < count; i++) {
		const Step *s = &b->step[i];
		const char *why = mlo_sprintf(x->a, "alone it leaves the outputs at %.1f dB", s->noise);

		x->raised -= !s->raise && x->q->layer[s->layer].wide != b->asked[s->layer].wide;
		if (s->raise)
			put(b, s->layer, why);
		else
			x->q->layer[s->layer].off = why;
		*(s->raise ? &x->raised : &x->back) += 1;
	}
	b->done = count;
	plan(x);
}

/* -- ranking --------------------------------------------------------------------------------------- */

/* What biases would be if all layers read 16 bits. */
static MloStatus correct_wide(Budget *b)
{
	Quantize *x = b->x;

	for (size_t i = 0; i < b->nlayers; i++)
		put(b, b->layer[i], "ranked");
	plan(x);
	if (x->opt->correct_bias)
		MLO_TRY(quantize_correct_bias(x, QUANTIZE_BIAS_SAMPLES));
	for (size_t i = 0; i < b->nlayers; i++)
		b->asked[b->layer[i]].wide_bias = x->q->layer[b->layer[i]].bias;
	return MLO_OK;
}

/* SQNR of the outputs when that layer alone is quantised, with 16 bits where it is `raised`. */
static MloStatus alone(Budget *b, size_t layer, bool raised, double *out)
{
	Quantize *x = b->x;

	for (size_t k = 0; k < b->nlayers; k++)
		x->q->layer[b->layer[k]].off = "ranked";
	put(b, layer, raised ? "ranked" : NULL);
	plan(x);
	MLO_TRY(quantize_measure(x, RANK_SAMPLES));
	*out = x->output_sqnr;
	return MLO_OK;
}

/* For the report; the metric of a layer alone is asked for, since it takes a run of all labelled samples. */
static MloStatus keep(Budget *b, size_t layer, double noise)
{
	Quantize *x = b->x;
	MloPtqLayer *l = &x->q->layer[layer];

	l->alone_sqnr = noise;
	if (!x->opt->rank || !labelled(x))
		return MLO_OK;
	MLO_TRY(quantize_build(x));
	return labelled_accuracy(&b->l, x->result, &l->alone_accuracy, x->d);
}

/* The steps of a layer: 16 bits are one where they take half of the noise away. */
static MloStatus rank_layer(Budget *b, size_t layer)
{
	const double half = 3.01;
	Step raise = {.layer = layer, .raise = true}, back = {.layer = layer};

	MLO_TRY(alone(b, layer, false, &raise.noise));
	MLO_TRY(keep(b, layer, raise.noise));
	back.noise = raise.noise;
	if (b->x->opt->raise && !b->asked[layer].wide) {
		MLO_TRY(alone(b, layer, true, &back.noise));
		if (back.noise >= raise.noise + half)
			b->step[b->n++] = raise;
		else
			back.noise = raise.noise;
	}
	b->step[b->n++] = back;
	return MLO_OK;
}

static MloStatus rank(Budget *b)
{
	if (b->x->opt->raise)
		MLO_TRY(correct_wide(b));
	b->step = MLO_NEWN(b->x->a, Step, 2 * b->nlayers + 1);
	for (size_t i = 0; i < b->nlayers; i++) {
		MLO_TRY(rank_layer(b, b->layer[i]));
		cli_progress("rank layers", (double)i + 1, (double)b->nlayers);
	}
	sort(b);
	b->done = b->n; /* as things are now, nothing was judged */
	return MLO_OK;
}

/* -- the search ------------------------------------------------------------------------------------ */

/* The fewest steps, between `bad`, which are too few, and `good`. */
static MloStatus bisect(Budget *b, size_t bad, size_t good)
{
	bool holds;

	while (good - bad > 1) {
		size_t middle = bad + (good - bad) / 2;

		take_steps(b, middle);
		MLO_TRY(judge(b, &holds));
		*(holds ? &good : &bad) = middle;
	}
	if (b->done == good)
		return MLO_OK;
	take_steps(b, good);
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

	if (b->done != best) {
		take_steps(b, best);
		MLO_TRY(judge(b, &holds));
	}
	x->over_budget = true;
	if (labelled(x))
		mlo_error(x->d, MLO_ERR_MODEL,
			  "the budget cannot be met: with %s, of %zu, %s is %.2f%%, %.2f points lost", where(x), b->nlayers,
			  x->opt->metric, x->accuracy, x->float_accuracy - x->accuracy);
	else
		mlo_error(x->d, MLO_ERR_MODEL,
			  "the budget cannot be met: with %s, of %zu, SQNR is %.1f dB, cosine %.5f", where(x), b->nlayers,
			  x->output_sqnr, x->output_cosine);
	mlo_hint(x->d, "try --round or more samples; --keep-best writes this result all the same");
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

		take_steps(b, count);
		MLO_TRY(judge(b, &holds));
		if (holds)
			return bisect(b, bad, count);
		best = quality(b->x) > highest ? count : best;
		highest = fmax(highest, quality(b->x));
		bad = count;
	}
	return cannot(b, best);
}

static MloStatus begin(Budget *b, Quantize *x)
{
	const QuantizeOptions *o = x->opt;
	const LabelledOptions l = {o->data.model, o->eval, o->labels, o->data.preprocess, o->metric, &o->data.run};

	*b = (Budget){.x = x,
		      .layer = MLO_NEWN(x->a, size_t, x->q->nlayers + 1),
		      .asked = MLO_NEWN(x->a, Asked, x->q->nlayers + 1)};
	for (size_t i = 0; i < x->q->nlayers; i++) {
		const MloPtqLayer *p = &x->q->layer[i];

		b->asked[i] = (Asked){p->wide, p->bias, p->bias};
		if (p->on && mlo_ptq_contracts(p->kind))
			b->layer[b->nlayers++] = i;
	}
	if (!labelled(x))
		return MLO_OK;
	MLO_TRY(labelled_read(x->a, &l, &b->l, x->d));
	return labelled_accuracy(&b->l, x->g, &x->float_accuracy, x->d);
}

MloStatus quantize_within(Quantize *x)
{
	Budget b;
	bool holds;

	MLO_TRY(begin(&b, x));
	MLO_TRY(judge(&b, &holds));
	if (!holds)
		return search(&b);
	if (!x->opt->rank)
		return MLO_OK;
	MLO_TRY(rank(&b));
	take_steps(&b, 0);
	return judge(&b, &holds);
}

MloStatus quantize_rank(Quantize *x)
{
	Budget b;

	MLO_TRY(begin(&b, x));
	MLO_TRY(rank(&b));
	take_steps(&b, 0);
	if (!labelled(x))
		return MLO_OK;
	MLO_TRY(quantize_build(x));
	return labelled_accuracy(&b.l, x->result, &x->accuracy, x->d);
}
