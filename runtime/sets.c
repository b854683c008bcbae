/* runtime/sets.c -- sets of calls that run side by side: who runs what.
 *
 * A set is one fork and join.  Each thread has one contiguous share of each member, and takes what others have not
 * begun when it has done its own.  Members too small to be split go whole to one thread, the dearest first, each to
 * the thread that has least; the others make up for it, so that shares cost about the same (list scheduling by
 * falling cost: Graham, "Bounds on multiprocessing timing anomalies", 1969). */
#include "runtime/session.h"

/* Steps of the set that begins with step i. */
static uint32_t set_size(const Program *p, uint32_t i)
{
	uint32_t n = 1;

	while (i + n < p->head->nsteps && (p->step[i + n].flags & MLRT_STEP_BESIDE))
		n++;
	return n;
}

MLRT_LOCAL size_t mlrt_set_cuts(const Program *p, int threads, size_t *most)
{
	size_t cuts = 0;

	*most = 1;
	for (uint32_t i = 0, n; p->head && i < p->head->nsteps; i += n) {
		n = set_size(p, i);
		cuts += n > 1 && threads > 1 ? n * ((size_t)threads + 1) : 0;
		*most = n > *most ? n : *most;
	}
	return cuts;
}

static double cost_of(const Call *c)
{
	return (double)c->ntasks * c->cost;
}

/* The dearest of the members that go whole and are not dealt yet; n: there is none. */
static uint32_t dearest(const Call *set, uint32_t n, uint32_t dealt)
{
	uint32_t best = n;

	for (uint32_t m = 0; m < n; m++)
		if (set[m].parts == 1 && !(dealt >> m & 1) && (best == n || cost_of(&set[m]) > cost_of(&set[best])))
			best = m;
	return best;
}

static int least_of(const double *load, int threads)
{
	int least = 0;

	for (int i = 1; i < threads; i++)
		if (load[i] < load[least])
			least = i;
	return least;
}

/* What thread i may still get of a share of `fair`. */
static double spare(double load, double fair)
{
	return load < fair ? fair - load : 0;
}

static void deal_set(const Call *set, uint32_t n, int threads, int64_t *cut)
{
	double load[MAX_THREADS] = {0}, fair = 0, rooms = 0, before = 0;
	uint32_t dealt = 0, m;

	for (m = 0; m < n; m++)
		fair += cost_of(&set[m]) / threads;
	while (m = dearest(set, n, dealt), m < n) {
		const int to = least_of(load, threads);

		load[to] += cost_of(&set[m]);
		dealt |= 1u << m;
		for (int i = 0; i <= threads; i++)
			cut[m * (uint32_t)(threads + 1) + (uint32_t)i] = i > to ? set[m].ntasks : 0;
	}
	for (int i = 0; i < threads; i++)
		rooms += spare(load[i], fair);
	for (int i = 0; i <= threads; i++) {
		for (m = 0; m < n; m++)
			if (!(dealt >> m & 1))
				cut[m * (uint32_t)(threads + 1) + (uint32_t)i] =
					i == threads ? set[m].ntasks
						     : (int64_t)((double)set[m].ntasks * (before / rooms) + 0.5);
		before += i < threads ? spare(load[i], fair) : 0;
	}
}

MLRT_LOCAL void mlrt_sets_deal(MlrtSession *s)
{
	const Program *p = &s->model->program;
	int64_t *cut = s->cut;

	if (s->threads == 1)
		return;
	for (uint32_t i = 0, n; i < p->head->nsteps; i += n) {
		n = set_size(p, i);
		if (n == 1)
			continue;
		s->call[i].members = n;
		deal_set(&s->call[i], n, s->threads, cut);
		for (uint32_t m = 0; m < n; m++, cut += s->threads + 1)
			s->call[i + m].cut = cut;
	}
}
