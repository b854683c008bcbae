/* tools/prune_allocate.c -- sparsities of layers by what they cost the results, and by what they gain. */
#include <math.h>

#include "tools/cli.h"
#include "tools/prune.h"

/* Finer where errors grow faster. */
static const double levels[] = {0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98};
enum { LEVELS = sizeof levels / sizeof *levels };

static MloStatus add_curve(void *user, size_t layer, PruneSums *sums)
{
	Prune *x = user;
	const MloPruneLayer *l = &x->list.layer[layer];
	MloPruneCurve *c = &x->curve[layer];
	int64_t k = mlo_prune_inputs(l);

	c->n = LEVELS;
	for (int i = 0; i < LEVELS; i++) {
		c->level[i] = levels[i];
		c->cost[i] = (1 - levels[i]) * (double)mlo_prune_weights(l);
	}
	for (int64_t group = 0; group < l->groups; group++) {
		MloArena *a = mlo_arena_new();
		double *w, error[LEVELS];
		MloProblem p;

		if (!a)
			return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
		w = MLO_NEWN(a, double, (size_t)(l->rows * k));
		mlo_weights_get(l, l->n, group, w);
		if (mlo_problem_new(a, &sums->of[group], w, mlo_layer_bias(&x->q->layer[l->index]) != NULL, x->opt->damping, &p)) {
			mlo_prune_errors(&p, &x->opt->pattern, levels, LEVELS, error);
			for (int i = 0; i < LEVELS; i++)
				c->error[i] += (error[i] - p.floor) / sums->signal;
		}
		mlo_arena_free(a);
	}
	return MLO_OK;
}

MloStatus prune_curves(Prune *x)
{
	x->curve = MLO_NEWN(x->a, MloPruneCurve, x->list.n + 1);
	return prune_each(x, true, "sensitivity", add_curve, x);
}

MloStatus prune_allocate(Prune *x)
{
	MloPruneCurve *c = MLO_NEWN(x->a, MloPruneCurve, x->list.n + 1);
	double *sparsity = MLO_NEWN(x->a, double, x->list.n + 1), all = 0;
	size_t n = 0;

	for (size_t i = 0; i < x->list.n; i++)
		if (x->curve[i].n) {
			c[n++] = x->curve[i];
			all += x->curve[i].cost[0];
		}
	mlo_prune_allocate(c, n, all * (1 - x->opt->sparsity), true, sparsity);
	n = 0;
	for (size_t i = 0; i < x->list.n; i++)
		if (x->curve[i].n)
			x->list.layer[i].sparsity = sparsity[n++];
	return MLO_OK;
}
