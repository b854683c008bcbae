/* tools/quantize_times.c -- how long layers take in float and in integers on a variant: measured here, as measured before,
 * or as the cost model has it.
 *
 * The float model and the quantised one are compiled and compared step by step.  Measured are both in turns
 * (tools/tune_race.h).  What was measured is kept in the cache, keyed by the kernels of all steps and the target, so that
 * the next call for the same programs decides by the same numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/cache.h"
#include "tools/cli.h"
#include "tools/quantize.h"
#include "tools/tune_race.h"

#define SECONDS 0.5

/* A compiled contestant. */
typedef struct Side {
	MloCompiled made;
	Runner runner;      /* where it is open */
	bool open;
	size_t nsteps;
	uint32_t *group;    /* of steps: their layers */
	double *ns;         /* of steps, estimated */
	MloStr keys;        /* a line for each step: what decides how long it takes */
} Side;

struct QuantizeTimer {
	Quantize *x;
	const MloTarget *t;
	MloArena *a;
	bool measure;
	Side base, *side;   /* the float model; which one is being made */
};

/* -- steps and their layers ---------------------------------------------------------------------------- */

static bool names(const MloOrigin *o, const char *name)
{
	for (; o; o = o->next)
		if (!strcmp(o->name, name))
			return true;
	return false;
}

static uint32_t layer_of(const MloPtq *q, const MloStepInfo *step)
{
	for (size_t k = 0; k < q->nlayers; k++)
		if (mlo_ptq_contracts(q->layer[k].kind) && names(step->origin, mlo_node_name(q->layer[k].n)))
			return (uint32_t)k;
	return RACE_ALONE;
}

static void take_steps(void *user, const MloVariant *v)
{
	QuantizeTimer *m = user;
	Side *s = m->side;

	s->nsteps = v->nsteps;
	s->group = MLO_NEWN(m->a, uint32_t, v->nsteps + 1);
	s->ns = MLO_NEWN(m->a, double, v->nsteps + 1);
	s->keys = (MloStr){.arena = m->a};
	for (size_t i = 0; i < v->nsteps; i++) {
		s->group[i] = layer_of(m->x->q, &v->steps[i]);
		s->ns[i] = v->steps[i].ns;
		mlo_str_add(&s->keys, "step %016llx %lld %lld\n", (unsigned long long)v->steps[i].key,
			    (long long)v->steps[i].ntasks, s->group[i] == RACE_ALONE ? -1 : (long long)s->group[i]);
	}
}

static const char *cache_of(const QuantizeTimer *m)
{
	const ModelOptions *o = &m->x->opt->data.run;

	return o->no_cache ? NULL : o->cache_dir ? o->cache_dir : mlo_default_cache(m->a);
}

static MloStatus compile(QuantizeTimer *m, const MloGraph *g, Side *out)
{
	const MloCompileHooks hooks = {.made = take_steps, .only = m->t, .user = m};
	MloptOptions opt = MLOPT_OPTIONS_INIT;

	opt.target = m->x->opt->target;
	opt.cache_dir = cache_of(m);
	m->side = out;
	return mlo_compile_hooked(m->a, g, &opt, &hooks, NULL, &out->made, m->x->d);
}

/* -- estimates ------------------------------------------------------------------------------------------- */

static void add(const Side *s, double *of_layer, double *all)
{
	for (size_t i = 0; i < s->nsteps; i++) {
		*all += s->ns[i];
		if (s->group[i] != RACE_ALONE)
			of_layer[s->group[i]] += s->ns[i];
	}
}

static MloPtqTime compared(double float_ns, double int_ns)
{
	return (MloPtqTime){float_ns, float_ns > 0 ? int_ns / float_ns : 1};
}

static void estimate(QuantizeTimer *m, const Side *now, MloPtqTimes *out)
{
	const size_t n = m->x->q->nlayers;
	double *first = MLO_NEWN(m->a, double, n + 1), *second = MLO_NEWN(m->a, double, n + 1);

	add(&m->base, first, &first[n]);
	add(now, second, &second[n]);
	for (size_t i = 0; i < n; i++)
		out->layer[i] = second[i] > 0 ? compared(first[i], second[i]) : (MloPtqTime){0};
	out->all = compared(first[n], second[n]);
}

/* -- kept times ------------------------------------------------------------------------------------------ */

static CacheKey key_of(QuantizeTimer *m, Side *now)
{
	const ModelOptions *o = &m->x->opt->data.run;
	MloStr s = {.arena = m->a};

	for (size_t i = 0; i < o->nshapes; i++)
		mlo_str_add(&s, "shape %s\n", o->shapes[i]);
	mlo_str_add(&s, "float\n%sintegers\n%s", mlo_str_text(&m->base.keys), mlo_str_text(&now->keys));
	return cache_key(m->t, mlo_str_text(&s), s.n);
}

static bool kept(QuantizeTimer *m, CacheKey key, MloPtqTimes *out)
{
	const char *dir = cache_of(m);
	CacheFound found = CACHE_ABSENT;
	MloBytes content = {0};
	bool ok = false;

	if (dir && m->x->opt->times != QUANTIZE_TIMES_ANEW)
		found = cache_get(dir, key, CACHE_TIMES, &content);
	if (found == CACHE_FOUND)
		ok = mlo_ptq_times_read(mlo_strndup(m->a, (const char *)content.data, content.n), m->x->q->nlayers, out);
	free(content.data);
	if (found != CACHE_ABSENT && !ok)
		mlo_warn(m->x->d, "times measured before are not used: their file in the cache was damaged");
	return ok;
}

static void keep(QuantizeTimer *m, CacheKey key, const MloPtqTimes *t)
{
	const char *dir = cache_of(m);
	MloStr s = {.arena = m->a};
	MloBytes content;

	mlo_ptq_times_write(&s, m->x->q->nlayers, t);
	content = (MloBytes){(unsigned char *)mlo_str_text(&s), s.n};
	if (dir && !cache_put(dir, key, CACHE_TIMES, &content))
		mlo_warn(m->x->d, "times cannot be kept in '%s': the next call measures again, and may decide otherwise", dir);
}

/* -- measuring -------------------------------------------------------------------------------------------- */

static MloStatus open_side(QuantizeTimer *m, Side *s)
{
	const ModelOptions *o = &m->x->opt->data.run;

	if (s->open)
		return MLO_OK;
	MLO_TRY(runner_open(&s->runner, m->x->g->name, s->made.bytes, s->made.n, m->t->name, m->x->d));
	s->open = true;
	return model_pick(&s->runner.m, o->shapes, o->nshapes, m->x->d);
}

static void close_side(Side *s)
{
	if (s->open)
		runner_close(&s->runner);
	s->open = false;
}

static MloStatus measure(QuantizeTimer *m, Side *now, MloPtqTimes *out)
{
	const size_t n = m->x->q->nlayers;
	MloTensor **in;
	Race race;

	MLO_TRY(open_side(m, &m->base));
	MLO_TRY(open_side(m, now));
	in = MLO_NEWN(m->a, MloTensor *, m->base.runner.m.nin + 1);
	model_fill(m->a, &m->base.runner.m, in, 1);
	race_new(&race, m->a, in, n);
	race.group_of[0] = m->base.group;
	race.group_of[1] = now->group;
	race.seconds = SECONDS;
	MLO_TRY(race_run(&race, &m->base.runner, &now->runner, m->x->d));
	for (size_t i = 0; i < n; i++)
		if (race.group[i].ratio.n)
			out->layer[i] = (MloPtqTime){race.group[i].ns, race.group[i].median};
	out->all = (MloPtqTime){race.all.ns, race.all.median};
	return MLO_OK;
}

bool quantize_times_how(const char *text, QuantizeTimes *out)
{
	static const char *const names[] = {"measured", "anew", "estimated"};

	for (int i = 0; i < 3; i++)
		if (!strcmp(text, names[i])) {
			*out = (QuantizeTimes)i;
			return true;
		}
	cli_usage("--times is measured, anew or estimated, not '%s'", text);
	return false;
}

/* -- a timer ---------------------------------------------------------------------------------------------- */

MloStatus quantize_timer_open(QuantizeTimer **out, MloArena *a, Quantize *x, const MloTarget *t)
{
	QuantizeTimer *m = *out = MLO_NEW(a, QuantizeTimer);
	char why[64];

	*m = (QuantizeTimer){.x = x, .t = t, .a = a, .measure = x->opt->times != QUANTIZE_TIMES_ESTIMATED};
	if (m->measure && !mlo_target_runs_here(t, why, sizeof why)) {
		mlo_note(x->d, "times on %s are estimates of the cost model: it %s", t->name, why);
		m->measure = false;
	}
	x->speed_from = m->measure ? "measured before" : "estimated";
	return compile(m, x->g, &m->base);
}

void quantize_timer_close(QuantizeTimer *m)
{
	close_side(&m->base);
}

MloStatus quantize_times(void *timer, MloPtqTimes *out)
{
	QuantizeTimer *m = timer;
	Side now = {0};
	CacheKey key;
	MloStatus st;

	MLO_TRY(quantize_build(m->x));
	MLO_TRY(compile(m, m->x->result, &now));
	if (!m->measure) {
		estimate(m, &now, out);
		return MLO_OK;
	}
	key = key_of(m, &now);
	if (kept(m, key, out))
		return MLO_OK;
	st = measure(m, &now, out);
	close_side(&now);
	MLO_TRY(st);
	keep(m, key, out);
	m->x->speed_from = "measured";
	return MLO_OK;
}
