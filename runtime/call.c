/* runtime/call.c -- calls of kernels, shared among threads. */
#include <time.h>

#include "runtime/device.h"
#include "runtime/float_mode.h"
#include "runtime/session.h"

typedef struct Split {
	MlrtSession *session;
	const Call *call; /* n of them, side by side */
	uint32_t n;
	int parts;
	bool asleep; /* of part 0: threads of the pool sleep */
} Split;

static void run_part(void *arg, int i);

/* The next tasks of a share, [*first, answer); none: both are its end.  Half of what is left, so that a thread comes
 * back seldom and the last pieces, which others may take, are small. */
static int64_t claim(Share *share, int64_t least, int64_t *first)
{
	int64_t next = atomic_load_explicit(&share->next, memory_order_relaxed), to;

	do {
		const int64_t left = share->end - next;

		to = left <= least ? share->end : next + (left / 2 > least ? left / 2 : least);
	} while (next < to && !atomic_compare_exchange_weak_explicit(&share->next, &next, to, memory_order_relaxed,
								     memory_order_relaxed));
	*first = next;
	return to;
}

/* What nobody has begun of a share, by thread i. */
CALLS_KERNELS static void run_share(Split *split, const Call *c, Share *share, int i, unsigned char *scratch)
{
	enum { PIECES = 8 }; /* a share is handed out in so many pieces at most, or nearly */
	const int64_t least = c->ntasks / ((int64_t)split->parts * PIECES) + 1;
	int64_t first, to;

	while (to = claim(share, least, &first), first < to) {
		c->kernel(c->args, first, to, scratch);
		if (i == 0 && split->asleep && share->end - to > least)
			split->asleep = mlrt_pool_nudge(split->session->pool, run_part, split, split->parts);
	}
}

/* Part i of one call, or of several: its own contiguous share of the tasks of each, so that a thread meets the data it
 * made before, then what other parts have not begun: cores of a virtual machine are seldom equally fast.
 * Which thread runs a task changes nothing in its result. */
static void run_part(void *arg, int i)
{
	Split *split = arg;
	const MlrtSession *s = split->session;
	unsigned char *scratch = s->scratch + (size_t)i * s->scratch_stride;
	const uint64_t mode = mlrt_float_enter();

	for (int v = 0; v < split->parts; v++)
		for (uint32_t m = 0; m < split->n; m++)
			run_share(split, &split->call[m],
				  &s->share[m * (size_t)split->parts + (size_t)((i + v) % split->parts)], i, scratch);
	mlrt_float_leave(mode);
}

static void set_share(Share *share, int64_t from, int64_t to)
{
	atomic_store_explicit(&share->next, from, memory_order_relaxed);
	share->end = to;
}

static void deal(const Split *split)
{
	Share *share = split->session->share;

	for (uint32_t m = 0; m < split->n; m++) {
		const Call *c = &split->call[m];

		for (int i = 0; i < split->parts; i++, share++) {
			if (c->cut)
				set_share(share, c->cut[i], c->cut[i + 1]);
			else
				set_share(share, c->ntasks * i / split->parts, c->ntasks * (i + 1) / split->parts);
		}
	}
}

static void fork_join(Split *split)
{
	MlrtSession *s = split->session;

	deal(split);
	if (!s->pool) {
		s->foreign.parallel(s->foreign.user, run_part, split, split->parts);
		return;
	}
	split->asleep = mlrt_pool_start(s->pool, run_part, split, split->parts);
	s->pace.slept |= split->asleep;
	run_part(split, 0);
	mlrt_pool_finish(s->pool, split->parts, split->asleep);
}

CALLS_KERNELS static void run_call(MlrtSession *s, const Call *c)
{
	if (c->parts == 1 || s->pace.alone) {
		c->kernel(c->args, 0, c->ntasks, s->scratch);
		return;
	}
	fork_join(&(Split){s, c, 1, c->parts, false});
}

/* The call, or the set that begins with it; answers how many calls that were. */
static uint32_t run_calls(MlrtSession *s, const Call *c)
{
	if (c->members == 0 || s->pace.alone) {
		run_call(s, c);
		return 1;
	}
	fork_join(&(Split){s, c, c->members, s->threads, false});
	return c->members;
}

MLRT_LOCAL uint64_t mlrt_profile_ns(const MlrtSession *s)
{
	struct timespec t;

	clock_gettime(s->profiling == 2 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

MLRT_LOCAL void mlrt_call(MlrtSession *s, const Call *c)
{
	if (s->device) {
		s->device->call(s, c->code, c->args, c->nargs, c->ntasks);
		return;
	}
	run_call(s, c);
}

/* What a set has taken is told of each member by its cost. */
static void add_time(MlrtSession *s, uint32_t first, uint32_t n, uint64_t ns)
{
	double total = 0;

	for (uint32_t i = first; i < first + n; i++)
		total += (double)s->call[i].ntasks * s->call[i].cost;
	for (uint32_t i = first; i < first + n; i++)
		s->ns[i] += n == 1 ? ns : (uint64_t)((double)ns * ((double)s->call[i].ntasks * s->call[i].cost / total));
}

MLRT_LOCAL void mlrt_call_all(MlrtSession *s)
{
	const uint32_t ncalls = s->model->program.head->nsteps;

	if (!s->profiling) {
		for (uint32_t i = 0; i < ncalls;)
			i += run_calls(s, &s->call[i]);
		return;
	}
	for (uint32_t i = 0, n; i < ncalls; i += n) {
		const uint64_t start = mlrt_profile_ns(s);

		n = run_calls(s, &s->call[i]);
		add_time(s, i, n, mlrt_profile_ns(s) - start);
	}
}
