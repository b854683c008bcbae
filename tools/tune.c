/* tools/tune.c -- which schedules are measured, in which order, and what is kept of that. */
#include "tools/tune.h"

#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/tune_race.h"

/* A kernel with a smaller share of the model's time is left as it is. */
#define LEAST_SHARE 0.002
/* Gains below are taken for noise. */
#define LEAST_GAIN 0.01
/* A kernel is measured again and again, but with less and less right to. */
#define PATIENCE 0.93
#define RACE_SECONDS 0.2
enum { RACE_KERNELS = 32, MOST_TRIALS = 64, CONFIRM_EVERY = 8, CONFIRM_PASSES = 3 };

typedef struct Tune {
	MloArena *a;
	MloDiag *d;
	const MloGraph *g;
	const TuneOptions *opt;
	const MloTarget *target;
	TuneResult *out;
	struct { TuneKernel *items; size_t n, cap; } kernel;
	const uint32_t *made;   /* group of each step of the package compiled last */
	size_t open;            /* contractions of open sizes */
	Runner base;            /* schedules of the cost model */
	MloTensor **in;
	Race race;
	double start, race_cost; /* seconds of the last race, with its compilation */
} Tune;

/* -- schedules into the compiler, steps out of it -------------------------------------------------- */

static TuneKernel *find(Tune *t, CacheKey key)
{
	for (size_t i = 0; i < t->kernel.n; i++)
		if (t->kernel.items[i].id.key.hi == key.hi && t->kernel.items[i].id.key.lo == key.lo)
			return &t->kernel.items[i];
	return NULL;
}

static TuneKernel *meet(Tune *t, const MloTunable *id)
{
	TuneKernel k = {.id = *id, .trying = mlo_schedule_of(id->c)};

	k.id.name = mlo_strdup(t->a, id->name);
	k.id.c = mlo_dup(t->a, id->c, sizeof *id->c);
	k.resumed = mlo_tuned_get(t->a, t->opt->compile.cache_dir, &k.id, &k.known, t->d);
	MLO_PUSH(t->a, &t->kernel, k);
	return &t->kernel.items[t->kernel.n - 1];
}

static MloChoice choose(void *user, const MloTunable *id, MloSchedule *s)
{
	Tune *t = user;
	TuneKernel *k = find(t, id->key);

	*s = (k ? k : meet(t, id))->trying;
	return (MloChoice){.from = MLO_CHOICE_MODEL};
}

static void take_steps(void *user, const MloVariant *v)
{
	Tune *t = user;
	const bool first = !t->made;
	uint32_t *group = MLO_NEWN(t->a, uint32_t, v->nsteps + 1);

	for (size_t i = 0; i < v->nsteps; i++) {
		const MloStepInfo *s = &v->steps[i];
		TuneKernel *k = s->tier == MLO_TIER_CONTRACT ? find(t, s->tunable) : NULL;

		group[i] = k ? (uint32_t)(k - t->kernel.items) : RACE_ALONE;
		if (!first)
			continue;
		t->open += s->tier == MLO_TIER_CONTRACT && !k;
		if (k && !k->steps++)
			k->shape = mlo_strdup(t->a, s->shape);
	}
	t->made = group;
}

/* A package with what each kernel is trying. */
static MloStatus compile(Tune *t, MloArena *a, MloCompiled *out)
{
	const MloCompileHooks hooks = {.chooser = {choose, t}, .made = take_steps, .only = t->target, .user = t};

	return mlo_compile_hooked(a, t->g, &t->opt->compile, &hooks, NULL, out, t->d);
}

/* What is tried against the cost model, for that long. */
static MloStatus race(Tune *t, double seconds)
{
	const double start = cli_now();
	MloArena *a = mlo_arena_new();
	MloCompiled made;
	Runner runner;
	MloStatus st;

	if (!a)
		return mlo_error(t->d, MLO_ERR_NOMEM, "out of memory");
	st = compile(t, a, &made);
	if (st == MLO_OK)
		st = runner_open(&runner, t->g->name, made.bytes, made.n, t->target->name, t->d);
	if (st == MLO_OK) {
		t->race.group_of[1] = t->made;
		t->race.seconds = seconds;
		st = race_run(&t->race, &t->base, &runner, t->d);
		runner_close(&runner);
	}
	mlo_arena_free(a);
	t->out->races++;
	t->race_cost = cli_now() - start;
	return st;
}

/* -- candidates ------------------------------------------------------------------------------------- */

static MloTrial *trial_of(TuneKernel *k, const MloSchedule *s)
{
	for (size_t i = 0; i < k->known.trial.n; i++)
		if (mlo_schedule_same(&k->known.trial.items[i].s, s))
			return &k->known.trial.items[i];
	return NULL;
}

static bool untried(TuneKernel *k, const MloScheduleList *list, MloSchedule *out)
{
	for (size_t i = 0; i < list->n; i++) {
		if (trial_of(k, &list->items[i]))
			continue;
		*out = list->items[i];
		return true;
	}
	return false;
}

static const MloTrial *best_trial(const TuneKernel *k)
{
	const MloTrial *best = NULL;

	for (size_t i = 0; i < k->known.trial.n; i++)
		if (!best || k->known.trial.items[i].ratio < best->ratio)
			best = &k->known.trial.items[i];
	return best;
}

/* By turns what the cost model holds for good and what is close to the best so far. */
static bool next_trial(TuneKernel *k, MloSchedule *out)
{
	MloArena *a = mlo_arena_new();
	const MloTrial *best = best_trial(k);
	const bool better = best && best->ratio < 1 - LEAST_GAIN;
	MloScheduleList far = {0}, near = {0};
	bool found;

	if (!a || k->known.trial.n >= MOST_TRIALS) {
		mlo_arena_free(a);
		return false;
	}
	mlo_schedule_candidates(a, &k->id, &far);
	mlo_schedule_neighbours(a, &k->id, better ? &best->s : &k->known.model, &near);
	if (k->known.trial.n % 2)
		found = untried(k, &near, out) || untried(k, &far, out);
	else
		found = untried(k, &far, out) || untried(k, &near, out);
	mlo_arena_free(a);
	return found;
}

static double worth(const TuneKernel *k)
{
	double w = k->share;

	if (k->known.done || k->share < LEAST_SHARE)
		return 0;
	for (size_t i = 0; i < k->known.trial.n; i++)
		w *= PATIENCE;
	return w;
}

static int worth_more(const void *x, const void *y)
{
	const double a = worth(*(TuneKernel *const *)x), b = worth(*(TuneKernel *const *)y);

	return (a < b) - (a > b);
}

/* Gives the kernels that are worth most a candidate each; the others get the cost model's schedule. */
static size_t pick(Tune *t, TuneKernel **picked)
{
	const size_t n = t->kernel.n;
	TuneKernel **order = MLO_NEWN(t->a, TuneKernel *, n + 1);
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		order[i] = &t->kernel.items[i];
		order[i]->trying = order[i]->known.model;
	}
	qsort(order, n, sizeof *order, worth_more);
	for (size_t i = 0; i < n && count < RACE_KERNELS && worth(order[i]) > 0; i++) {
		if (worth(order[i]) < worth(order[0]) / 10 && count)
			break;
		if (next_trial(order[i], &order[i]->trying))
			picked[count++] = order[i];
		else
			order[i]->known.done = true;
	}
	return count;
}

static MloStatus keep(Tune *t, const TuneKernel *k)
{
	return mlo_tuned_put(t->opt->compile.cache_dir, &k->id, &k->known, t->d);
}

static double ratio_of(const Tune *t, const TuneKernel *k)
{
	return t->race.group[k - t->kernel.items].median;
}

static MloStatus explore(Tune *t, bool *more)
{
	TuneKernel *picked[RACE_KERNELS];
	const size_t n = pick(t, picked);

	*more = n > 0;
	if (!n)
		return MLO_OK;
	MLO_TRY(race(t, RACE_SECONDS));
	for (size_t i = 0; i < n && *t->opt->stop < 2; i++) {
		const MloTrial one = {picked[i]->trying, ratio_of(t, picked[i])};

		MLO_PUSH(t->a, &picked[i]->known.trial, one);
		picked[i]->measured++;
		t->out->measured++;
		MLO_TRY(keep(t, picked[i]));
	}
	return MLO_OK;
}

/* -- confirmation -------------------------------------------------------------------------------------- */

/* The best by what was measured once, if that beats what is confirmed; else that. */
static MloSchedule contender(const TuneKernel *k)
{
	const MloTrial *best = best_trial(k);

	return best && best->ratio < 1 - k->known.gain - LEAST_GAIN ? best->s : k->known.best;
}

/* What the race says of a contender; false: it stays or becomes what it was not in the race. */
static bool judge(Tune *t, TuneKernel *k)
{
	const double gain = 1 - ratio_of(t, k);
	const bool held = mlo_schedule_same(&k->trying, &k->known.best);
	MloTrial *tr = trial_of(k, &k->trying);

	if (mlo_schedule_same(&k->trying, &k->known.model))
		return true;
	if (tr)
		tr->ratio = 1 - gain;
	if (gain >= LEAST_GAIN && (held || gain > k->known.gain)) {
		k->known.best = k->trying;
		k->known.gain = gain;
		return true;
	}
	if (held) {
		k->known.best = k->known.model;
		k->known.gain = 0;
	}
	return false;
}

static void tell(Tune *t)
{
	size_t faster = 0;
	MloStr s = {.arena = t->a};

	for (size_t i = 0; i < t->kernel.n; i++)
		faster += t->kernel.items[i].known.gain > 0;
	mlo_str_add(&s, "%.0f s: %zu schedules measured, %zu of %zu kernels faster, the model takes %.1f %% less time",
		    cli_now() - t->start, t->out->measured, faster, t->kernel.n, 100 * (1 - t->out->ratio));
	if (t->opt->note)
		t->opt->note(t->opt->user, mlo_str_text(&s));
}

/* Races the best schedules together until what is kept is what was raced. */
static MloStatus confirm(Tune *t)
{
	const double seconds = t->opt->budget / 20, longest = 2;
	bool settled = false;

	for (int pass = 0; pass < CONFIRM_PASSES && !settled && *t->opt->stop < 2; pass++) {
		for (size_t i = 0; i < t->kernel.n; i++)
			t->kernel.items[i].trying = contender(&t->kernel.items[i]);
		MLO_TRY(race(t, seconds < RACE_SECONDS ? RACE_SECONDS : seconds > longest ? longest : seconds));
		settled = true;
		for (size_t i = 0; i < t->kernel.n && *t->opt->stop < 2; i++) {
			TuneKernel *k = &t->kernel.items[i];

			settled = judge(t, k) && settled;
			if (k->known.trial.n)
				MLO_TRY(keep(t, k));
		}
		t->out->ratio = t->race.all.median;
		t->out->before_ms = t->race.all.ns / 1e6;
	}
	tell(t);
	return MLO_OK;
}

/* -- the whole -------------------------------------------------------------------------------------------- */

/* The variant of the target that this machine would run. */
static MloStatus find_target(Tune *t)
{
	const char *name = t->opt->compile.target ? t->opt->compile.target : "native";
	const MloTargetSet *set = mlo_target_find(name, t->d);
	char why[256] = "";

	if (!set)
		return MLO_ERR_USAGE;
	for (size_t i = 0; set->variant[i] && !t->target; i++)
		if (mlo_target_runs_here(set->variant[i], why, sizeof why))
			t->target = set->variant[i];
	if (t->target)
		return MLO_OK;
	mlo_error(t->d, MLO_ERR_TARGET, "target '%s' cannot be measured here: it %s", name, why);
	mlo_hint(t->d, "run 'mlopt tune' on such a machine, and 'mlopt compile' with the same --cache-dir");
	return MLO_ERR_TARGET;
}

/* How the time divides among kernels, at first sight. */
static MloStatus look(Tune *t)
{
	enum { RUNS = 3 };
	double all = 0;

	for (int i = 0; i < RUNS; i++)
		MLO_TRY(runner_run(&t->base, t->in, t->d));
	for (size_t i = 0; i < t->base.nsteps; i++) {
		const uint32_t g = t->race.group_of[0][i];

		all += t->base.ns[i];
		if (g != RACE_ALONE)
			t->kernel.items[g].ns += t->base.ns[i];
	}
	for (size_t i = 0; i < t->kernel.n; i++)
		t->kernel.items[i].share = all > 0 ? t->kernel.items[i].ns / all : 0;
	return MLO_OK;
}

static bool time_left(const Tune *t)
{
	/* another race, and the confirmation */
	return cli_now() - t->start + (1 + CONFIRM_PASSES) * t->race_cost < t->opt->budget;
}

static MloStatus search(Tune *t)
{
	bool more = true;

	for (size_t i = 1; more && !*t->opt->stop && (i == 1 || time_left(t)); i++) {
		MLO_TRY(explore(t, &more));
		if (i % CONFIRM_EVERY == 0 && more && time_left(t))
			MLO_TRY(confirm(t));
		cli_progress("tune", cli_now() - t->start, t->opt->budget);
	}
	cli_progress("tune", 1, 1);
	t->out->complete = !more;
	return *t->opt->stop < 2 ? confirm(t) : MLO_OK;
}

static int more_expensive(const void *x, const void *y)
{
	const TuneKernel *a = x, *b = y;

	return (a->ns < b->ns) - (a->ns > b->ns);
}

static MloStatus tune(Tune *t, MloArena *a)
{
	MloCompiled made;
	MloStatus st;

	MLO_TRY(compile(t, a, &made));
	MLO_TRY(runner_open(&t->base, t->g->name, made.bytes, made.n, t->target->name, t->d));
	t->in = MLO_NEWN(t->a, MloTensor *, t->base.m.nin + 1);
	model_fill(t->a, &t->base.m, t->in, 1);
	race_new(&t->race, t->a, t->in, t->kernel.n);
	t->race.group_of[0] = t->made;
	t->race.stop = t->opt->stop;
	st = look(t);
	if (t->open)
		mlo_warn(t->d, "%zu contractions of open sizes keep the cost model's schedules; --shape binds sizes", t->open);
	if (st == MLO_OK && t->kernel.n)
		st = search(t);
	runner_close(&t->base);
	return st;
}

MloStatus tune_model(MloArena *a, const MloGraph *g, const TuneOptions *opt, TuneResult *out, MloDiag *d)
{
	Tune t = {.a = a, .d = d, .g = g, .opt = opt, .out = out, .start = cli_now()};
	MloArena *base = mlo_arena_new();
	MloStatus st;

	*out = (TuneResult){.name = g->name, .ratio = 1, .complete = true};
	if (!base)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	st = find_target(&t);
	if (st == MLO_OK)
		st = tune(&t, base);
	mlo_arena_free(base);
	MLO_TRY(st);
	qsort(t.kernel.items, t.kernel.n, sizeof *t.kernel.items, more_expensive);
	out->variant = t.target->name;
	out->kernel = t.kernel.items;
	out->n = t.kernel.n;
	out->seconds = cli_now() - t.start;
	return MLO_OK;
}
