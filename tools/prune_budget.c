/* tools/prune_budget.c -- as many zeros as a bound on the loss allows: bisection over the share of them. */
#include "tools/cli.h"
#include "tools/labelled.h"
#include "tools/prune.h"

#define MOST 0.98
#define FINE 0.02

static MloStatus judge(Prune *x, const Labelled *l, double share, bool *holds)
{
	MLO_TRY(prune_reset(x));
	prune_allocate(x, share);
	MLO_TRY(prune_run(x));
	MLO_TRY(labelled_accuracy(l, x->g, &x->accuracy, x->d));
	*holds = x->float_accuracy - x->accuracy <= x->opt->max_drop + 1e-9;
	cli_note("%.0f%% zeros: %s %.2f%% of %.2f%%", 100 * share, x->opt->metric, x->accuracy, x->float_accuracy);
	return MLO_OK;
}

MloStatus prune_within(Prune *x)
{
	const PruneOptions *o = x->opt;
	const LabelledOptions options = {o->data.model, o->eval, o->labels, o->data.preprocess, o->metric, &o->data.run};
	const bool nm = o->pattern.kind == PRUNE_NM; /* one share only */
	double good = 0, bad = MOST, last = 0;
	bool holds = false;
	Labelled l;

	MLO_TRY(labelled_read(x->a, &options, &l, x->d));
	MLO_TRY(labelled_accuracy(&l, x->dense, &x->float_accuracy, x->d));
	if (nm)
		MLO_TRY(judge(x, &l, 0, &holds));
	while (!nm && bad - good > FINE) {
		last = good + (bad - good) / 2;
		MLO_TRY(judge(x, &l, last, &holds));
		*(holds ? &good : &bad) = last;
	}
	if (good > 0 && last != good)
		MLO_TRY(judge(x, &l, good, &holds));
	if (good > 0 || holds)
		return MLO_OK;
	x->over_budget = true;
	mlo_error(x->d, MLO_ERR_MODEL, "the budget cannot be met: with the fewest zeros tried, %s is %.2f%%, %.2f points lost",
		  o->metric, x->accuracy, x->float_accuracy - x->accuracy);
	mlo_hint(x->d, "try more samples, another pattern or --exclude; --keep-best writes this result all the same");
	return MLO_ERR_MODEL;
}
