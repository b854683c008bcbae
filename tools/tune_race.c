/* tools/tune_race.c -- two packages in turns. */
#include "tools/tune_race.h"

#include <string.h>

#include "tools/cli.h"

enum { FEWEST_PAIRS = 5, MOST_PAIRS = 1000, PROCESSOR_TIME = 2 };

MloStatus runner_open(Runner *r, const char *name, const void *bytes, size_t n, const char *variant, MloDiag *d)
{
	const ModelOptions one = {.threads = 1, .variant = variant};

	MLO_TRY(model_open_bytes(&r->m, name, bytes, n, &one, d));
	r->nsteps = mlrt_session_steps(r->m.session);
	r->sum = MLO_NEWN(r->m.arena, uint64_t, r->nsteps + 1);
	r->ns = MLO_NEWN(r->m.arena, double, r->nsteps + 1);
	r->out = model_outputs(r->m.arena, &r->m);
	mlrt_session_profile(r->m.session, PROCESSOR_TIME);
	return MLO_OK;
}

MloStatus runner_run(Runner *r, MloTensor *const *in, MloDiag *d)
{
	MLO_TRY(model_run(&r->m, in, r->out, d));
	for (size_t i = 0; i < r->nsteps; i++) {
		const uint64_t now = mlrt_session_step_ns(r->m.session, i);

		r->ns[i] = (double)(now - r->sum[i]);
		r->sum[i] = now;
	}
	return MLO_OK;
}

void runner_close(Runner *r)
{
	model_close(&r->m);
}

void race_new(Race *r, MloArena *a, MloTensor *const *in, size_t ngroups)
{
	*r = (Race){.a = a, .in = in, .ngroups = ngroups, .group = MLO_NEWN(a, RaceGroup, ngroups + 1)};
	for (int i = 0; i < 2; i++)
		r->sum[i] = MLO_NEWN(a, double, ngroups + 1);
}

/* The last sum is that of all steps. */
static void add_up(const Race *r, int who, const Runner *from)
{
	double *sum = r->sum[who];

	memset(sum, 0, (r->ngroups + 1) * sizeof *sum);
	for (size_t i = 0; i < from->nsteps; i++) {
		const uint32_t g = r->group_of[who][i];

		if (g != RACE_ALONE)
			sum[g] += from->ns[i];
		sum[r->ngroups] += from->ns[i];
	}
}

static void note(Race *r, RaceGroup *g, size_t i)
{
	if (r->sum[0][i] <= 0 || r->sum[1][i] <= 0)
		return;
	samples_add(r->a, &g->ratio, r->sum[1][i] / r->sum[0][i]);
	samples_add(r->a, &g->first, r->sum[0][i]);
}

/* Who comes first changes from pair to pair. */
static MloStatus run_pair(Race *r, Runner *const runner[2], size_t pair, MloDiag *d)
{
	for (int turn = 0; turn < 2; turn++) {
		const int who = (int)((pair + (size_t)turn) % 2);

		MLO_TRY(runner_run(runner[who], r->in, d));
		add_up(r, who, runner[who]);
	}
	for (size_t i = 0; i < r->ngroups; i++)
		note(r, &r->group[i], i);
	note(r, &r->all, r->ngroups);
	return MLO_OK;
}

static void settle(RaceGroup *g)
{
	g->median = g->ratio.n ? samples_latency(&g->ratio).median : 1;
	g->ns = samples_latency(&g->first).median;
}

MloStatus race_run(Race *r, Runner *first, Runner *second, MloDiag *d)
{
	Runner *const runner[2] = {first, second};
	double start;

	for (size_t i = 0; i < r->ngroups; i++)
		r->group[i].ratio.n = r->group[i].first.n = 0;
	r->all.ratio.n = r->all.first.n = 0;
	MLO_TRY(runner_run(first, r->in, d)); /* memory is touched for the first time */
	MLO_TRY(runner_run(second, r->in, d));
	start = cli_now();
	for (size_t i = 0; i < MOST_PAIRS && (i < FEWEST_PAIRS || cli_now() - start < r->seconds); i++) {
		if (r->stop && *r->stop > 1)
			break;
		MLO_TRY(run_pair(r, runner, i, d));
	}
	for (size_t i = 0; i < r->ngroups; i++)
		settle(&r->group[i]);
	settle(&r->all);
	return MLO_OK;
}
