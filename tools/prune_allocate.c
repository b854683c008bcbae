/* tools/prune_allocate.c -- sparsities of layers by what they cost the results, and by what they gain. */
#include <math.h>

#include "tools/cli.h"
#include "tools/prune.h"

/* Finer where errors grow faster. */
static const double levels[] = {0, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98};
enum { LEVELS = sizeof levels / sizeof *levels };

/* -- curves ------------------------------------------------------------------------------------------------ */

static void start_curve(const Prune *x, const MloPruneLayer *l, MloPruneCurve *c)
{
	const MloPrunePattern *p = &x->opt->pattern;
	const bool nm = p->kind == PRUNE_NM;

	*c = (MloPruneCurve){.n = nm ? 2 : LEVELS};
	for (int i = 0; i < c->n; i++) {
		c->level[i] = !nm ? levels[i] : i ? 1 - (double)p->keep / p->of : 0;
		c->cost[i] = (1 - c->level[i]) * (double)mlo_prune_weights(l);
	}
}

static MloStatus add_curve(void *user, size_t layer, PruneSums *sums)
{
	Prune *x = user;
	const MloPruneLayer *l = &x->list.layer[layer];
	const bool bias = mlo_layer_bias(&x->q->layer[l->index]) != NULL;
	MloPruneCurve *c = &x->curve[layer];
	int64_t k = mlo_prune_inputs(l);

	if (l->whole)
		return MLO_OK;
	start_curve(x, l, c);
	for (int64_t group = 0; group < l->groups; group++) {
		MloArena *a = mlo_arena_new();
		double *w, error[PRUNE_LEVELS];
		MloProblem p;

		if (!a)
			return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
		w = MLO_NEWN(a, double, (size_t)(l->rows * k));
		mlo_weights_get(l, l->n, group, w);
		if (mlo_problem_new(a, &sums->of[group], w, bias, x->opt->damping, &p) == PROBLEM_GIVEN && sums->signal > 0) {
			mlo_prune_errors(&p, &x->opt->pattern, c->level, c->n, error);
			for (int i = 0; i < c->n; i++)
				c->error[i] += (error[i] - error[0]) / sums->signal;
		}
		mlo_arena_free(a);
	}
	return MLO_OK;
}

MloStatus prune_curves(Prune *x)
{
	x->curve = MLO_NEWN(x->a, MloPruneCurve, x->list.n + 1);
	if (!x->opt->magnitude)
		return prune_each(x, true, "sensitivity", add_curve, x);
	for (size_t i = 0; i < x->list.n; i++)
		if (!x->list.layer[i].off && !x->list.layer[i].whole)
			start_curve(x, &x->list.layer[i], &x->curve[i]);
	return MLO_OK;
}

/* -- between levels ---------------------------------------------------------------------------------------- */

static double between(const MloPruneCurve *c, const double *v, double at)
{
	int i = 1;

	if (!c->n)
		return v[0];
	while (i + 1 < c->n && c->level[i] < at)
		i++;
	return v[i - 1] + (v[i] - v[i - 1]) * (at - c->level[i - 1]) / (c->level[i] - c->level[i - 1]);
}

double prune_predicted(const Prune *x, size_t layer, double sparsity)
{
	return between(&x->curve[layer], x->ns + layer * PRUNE_LEVELS, sparsity);
}

double prune_expected(const Prune *x, size_t layer)
{
	const MloPruneCurve *c = &x->curve[layer];

	return c->n ? between(c, c->error, x->list.layer[layer].sparsity) : 0;
}

/* -- shares -------------------------------------------------------------------------------------------------- */

/* Curves of the layers that are pruned, with costs from `cost`, or as they are; *all: the costs of all without zeros. */
static size_t gather_curves(const Prune *x, const double *cost, MloPruneCurve *c, double *all)
{
	size_t n = 0;

	*all = 0;
	for (size_t i = 0; i < x->list.n; i++) {
		if (!x->curve[i].n)
			continue;
		c[n] = x->curve[i];
		for (int k = 0; cost && k < c[n].n; k++)
			c[n].cost[k] = cost[i * PRUNE_LEVELS + (size_t)k];
		*all += c[n++].cost[0];
	}
	return n;
}

static void take(Prune *x, const double *sparsity)
{
	size_t n = 0;

	for (size_t i = 0; i < x->list.n; i++)
		x->list.layer[i].sparsity = x->curve[i].n ? sparsity[n++] : 0;
}

bool prune_allocate(Prune *x, double sparsity)
{
	MloPruneCurve *c = MLO_NEWN(x->a, MloPruneCurve, x->list.n + 1);
	double *each = MLO_NEWN(x->a, double, x->list.n + 1), all;
	size_t n = gather_curves(x, NULL, c, &all);
	bool ok = true;

	if (x->opt->pattern.kind == PRUNE_NM || x->opt->uniform || x->opt->magnitude)
		for (size_t i = 0; i < n; i++)
			each[i] = x->opt->pattern.kind == PRUNE_NM ? c[i].level[1] : sparsity;
	else
		ok = mlo_prune_allocate(c, n, all * (1 - sparsity), true, each);
	take(x, each);
	return ok;
}

bool prune_allocate_speed(Prune *x, double speedup)
{
	MloPruneCurve *c = MLO_NEWN(x->a, MloPruneCurve, x->list.n + 1);
	double *each = MLO_NEWN(x->a, double, x->list.n + 1), all;
	size_t n = gather_curves(x, x->ns, c, &all);
	bool ok = mlo_prune_allocate(c, n, x->dense_ns / speedup - (x->dense_ns - all), false, each);

	take(x, each);
	return ok;
}
