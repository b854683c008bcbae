/* tools/prune_times.c -- how long layers would take with so many zeros: as the cost model has it.
 *
 * The model is compiled for the target with the smallest weights of all layers left out, at each level of the curves:
 * what the compiler makes of zeros on that target is what it will make of them.  Which weights are zero hardly matters. */
#include <math.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/compile.h"
#include "tools/prune.h"

typedef struct Timer {
	const Prune *x;
	double *ns; /* [layers], added to */
	double all;
} Timer;

static bool named(const MloOrigin *o, const char *name)
{
	for (; o; o = o->next)
		if (!strcmp(o->name, name))
			return true;
	return false;
}

static void add_steps(void *user, const MloVariant *v)
{
	Timer *t = user;
	const MloPruneList *list = &t->x->list;

	for (size_t i = 0; i < v->nsteps; i++) {
		size_t k = 0;

		t->all += v->steps[i].ns;
		while (k < list->n && !named(v->steps[i].origin, mlo_node_name(list->layer[k].n)))
			k++;
		if (t->ns && k < list->n)
			t->ns[k] += v->steps[i].ns;
	}
}

static MloStatus compile(Prune *x, const MloGraph *g, Timer *t)
{
	const MloCompileHooks hooks = {.made = add_steps, .only = x->variant, .user = t};
	MloptOptions opt = MLOPT_OPTIONS_INIT;
	MloArena *a = mlo_arena_new();
	MloCompiled made;
	MloStatus st;

	if (!a)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	opt.target = x->opt->target;
	opt.cache_dir = x->opt->data.run.no_cache ? NULL : x->opt->data.run.cache_dir ? x->opt->data.run.cache_dir : mlo_default_cache(a);
	st = mlo_compile_hooked(a, g, &opt, &hooks, NULL, &made, x->d);
	mlo_arena_free(a);
	return st;
}

static MloStatus find_variant(Prune *x)
{
	const MloTargetSet *set = mlo_target_find(x->opt->target ? x->opt->target : "native", x->d);

	if (!set)
		return MLO_ERR_USAGE;
	x->variant = set->variant[0];
	return MLO_OK;
}

/* The smallest weights of each layer at level `i` of its curve are 0. */
static void leave_out(const Prune *x, MloGraph *g, const MloPruneList *list, int i)
{
	for (size_t k = 0; k < list->n; k++) {
		const MloPruneLayer *l = &list->layer[k];
		const MloPruneCurve *c = &x->curve[k];

		if (c->n)
			mlo_weights_smallest(g, l, l->n, &x->opt->pattern, c->level[i < c->n ? i : c->n - 1]);
	}
}

static MloStatus time_level(Prune *x, int i)
{
	MloGraph *g = mlo_graph_clone(x->dense);
	Timer t = {.x = x, .ns = MLO_NEWN(x->a, double, x->list.n + 1)};
	MloPruneList list;
	MloStatus st;

	if (!g)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	mlo_prune_layers(x->a, mlo_ptq_new(x->a, g, &x->opt->ptq), &x->opt->pattern, &list);
	if (i)
		leave_out(x, g, &list, i);
	st = compile(x, g, &t);
	mlo_graph_free(g);
	for (size_t k = 0; k < x->list.n; k++)
		x->ns[k * PRUNE_LEVELS + (size_t)i] = t.ns[k];
	if (!i)
		x->dense_ns = t.all;
	return st;
}

MloStatus prune_times(Prune *x)
{
	int n = 1;

	MLO_TRY(find_variant(x));
	x->ns = MLO_NEWN(x->a, double, (x->list.n + 1) * PRUNE_LEVELS);
	for (size_t k = 0; k < x->list.n; k++)
		n = x->curve[k].n > n ? x->curve[k].n : n;
	for (int i = 0; i < n; i++) {
		MLO_TRY(time_level(x, i));
		cli_progress("predict times", i + 1, n);
	}
	return MLO_OK;
}

MloStatus prune_time_after(Prune *x, const MloGraph *g)
{
	Timer t = {.x = x};

	MLO_TRY(compile(x, g, &t));
	x->ns_after = t.all;
	return MLO_OK;
}
