/* tools/quantize_speed.c -- layers that would be slower in integers stay float.
 *
 * The float model and the quantised one are compiled for a variant and run here in turns, step by step.  Layers whose
 * steps take longer in integers go back to float; then the model as it is now, with what it converts between the two,
 * runs against the float model again.  What does not gain is undone, and a model that is slower in the end than the
 * float one stays float as a whole. */
#include <math.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/quantize.h"
#include "tools/tune_race.h"

/* Less than so much, and a share of the whole model, is taken for noise. */
#define SLOWER 1.05
#define MATTERS 0.002
#define SECONDS 0.5
enum { ROUNDS = 3 };

typedef struct Speed {
	Quantize *x;
	const MloTarget *t;
	MloArena *a;
	Runner base;            /* the float model */
	uint32_t *group[2];     /* of steps: their layers */
	int who;                /* whose steps are being made */
	MloTensor **in;
	Race race;
} Speed;

/* -- which layer a step belongs to -------------------------------------------------------------------- */

static bool names(const MloOrigin *o, const char *name)
{
	for (; o; o = o->next)
		if (!strcmp(o->name, name))
			return true;
	return false;
}

static void take_steps(void *user, const MloVariant *v)
{
	Speed *s = user;
	const MloPtq *q = s->x->q;
	uint32_t *group = MLO_NEWN(s->a, uint32_t, v->nsteps + 1);

	for (size_t i = 0; i < v->nsteps; i++) {
		group[i] = RACE_ALONE;
		for (size_t k = 0; k < q->nlayers && group[i] == RACE_ALONE; k++)
			if (mlo_ptq_contracts(q->layer[k].kind) && names(v->steps[i].origin, mlo_node_name(q->layer[k].n)))
				group[i] = (uint32_t)k;
	}
	s->group[s->who] = group;
}

static MloStatus open_runner(Speed *s, int who, const MloGraph *g, Runner *out)
{
	const QuantizeOptions *o = s->x->opt;
	const MloCompileHooks hooks = {.made = take_steps, .only = s->t, .user = s};
	MloptOptions opt = MLOPT_OPTIONS_INIT;
	MloCompiled made;
	MloStatus st;

	opt.target = s->x->opt->target;
	opt.cache_dir = o->run.cache_dir ? o->run.cache_dir : mlo_default_cache(s->a);
	s->who = who;
	MLO_TRY(mlo_compile_hooked(s->a, g, &opt, &hooks, NULL, &made, s->x->d));
	MLO_TRY(runner_open(out, g->name, made.bytes, made.n, s->t->name, s->x->d));
	st = model_pick(&out->m, o->run.shapes, o->run.nshapes, s->x->d);
	if (st != MLO_OK)
		runner_close(out);
	return st;
}

/* -- a race --------------------------------------------------------------------------------------------- */

static MloStatus race(Speed *s, double *ratio)
{
	Quantize *x = s->x;
	Runner now;
	MloStatus st;

	MLO_TRY(quantize_build(x));
	MLO_TRY(open_runner(s, 1, x->result, &now));
	for (int i = 0; i < 2; i++)
		s->race.group_of[i] = s->group[i];
	s->race.seconds = SECONDS;
	st = race_run(&s->race, &s->base, &now, x->d);
	runner_close(&now);
	*ratio = s->race.all.median;
	for (size_t i = 0; i < x->q->nlayers && st == MLO_OK; i++) {
		MloPtqLayer *l = &x->q->layer[i];

		if (!s->race.group[i].ratio.n || !l->on)
			continue;
		l->float_ns = s->race.group[i].ns;
		l->int_ns = s->race.group[i].ns * s->race.group[i].median;
	}
	return st;
}

static void plan(Quantize *x)
{
	mlo_ptq_plan(x->q);
	mlo_ptq_ranges(x->q);
}

/* Those that are slower go back to float; was[i]: what they were.  How many. */
static size_t turn_off(Speed *s, const char **was)
{
	MloPtq *q = s->x->q;
	size_t n = 0;

	for (size_t i = 0; i < q->nlayers; i++) {
		MloPtqLayer *l = &q->layer[i];

		was[i] = l->off;
		if (!l->on || !(l->int_ns > SLOWER * l->float_ns) || l->int_ns - l->float_ns < MATTERS * s->race.all.ns)
			continue;
		l->off = mlo_sprintf(s->x->a, "%.4f ms in integers, %.4f ms in float32", l->int_ns * 1e-6, l->float_ns * 1e-6);
		n++;
	}
	plan(s->x);
	return n;
}

static void stay_float(Speed *s, double ratio)
{
	MloPtq *q = s->x->q;

	for (size_t i = 0; i < q->nlayers; i++)
		if (mlo_ptq_contracts(q->layer[i].kind) && !q->layer[i].off)
			q->layer[i].off = mlo_sprintf(s->x->a, "the model takes %.2f times as long in integers", ratio);
	plan(s->x);
}

static MloStatus search(Speed *s)
{
	MloPtq *q = s->x->q;
	const char **was = MLO_NEWN(s->a, const char *, q->nlayers + 1);
	double best, ratio;

	MLO_TRY(race(s, &best));
	for (int i = 0; i < ROUNDS && turn_off(s, was); i++) {
		MLO_TRY(race(s, &ratio));
		if (ratio >= best) {
			for (size_t k = 0; k < q->nlayers; k++)
				q->layer[k].off = was[k];
			plan(s->x);
			break;
		}
		best = ratio;
	}
	if (best > 1)
		stay_float(s, best);
	s->x->speed = 1 / best;
	s->x->float_ns = s->race.all.ns;
	return MLO_OK;
}

MloStatus quantize_speed(Quantize *x, const MloTarget *t)
{
	Speed s = {.x = x, .t = t, .a = mlo_arena_new()};
	char why[64];
	MloStatus st;

	if (!s.a)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	if (!mlo_target_runs_here(t, why, sizeof why)) {
		mlo_note(x->d, "whether integers are faster on %s was not measured: it %s", t->name, why);
		mlo_arena_free(s.a);
		return MLO_OK;
	}
	st = open_runner(&s, 0, x->g, &s.base);
	if (st == MLO_OK) {
		s.in = MLO_NEWN(s.a, MloTensor *, s.base.m.nin + 1);
		model_fill(s.a, &s.base.m, s.in, 1);
		race_new(&s.race, s.a, s.in, x->q->nlayers);
		st = search(&s);
		runner_close(&s.base);
	}
	mlo_arena_free(s.a);
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
		plan(x);
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
