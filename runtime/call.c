/* runtime/call.c -- calls of kernels, shared among threads. */
#include <time.h>

#include "runtime/float_mode.h"
#include "runtime/session.h"

typedef struct Split {
	const MlrtSession *session;
	const Call *call;
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

/* Part i of a call: its own contiguous share of the tasks, so that a thread meets the data it made
 * before, then what other parts have not begun: cores of a virtual machine are seldom equally fast.
 * Which thread runs a task changes nothing in its result. */
CALLS_KERNELS static void run_part(void *arg, int i)
{
	enum { PIECES = 8 }; /* a share is handed out in so many pieces at most, or nearly */
	Split *split = arg;
	const Call *c = split->call;
	const int64_t least = c->ntasks / ((int64_t)c->parts * PIECES) + 1;
	unsigned char *scratch = split->session->scratch + (size_t)i * split->session->scratch_stride;
	const uint64_t mode = mlrt_float_enter();

	for (int v = 0; v < c->parts; v++) {
		Share *share = &split->session->share[(i + v) % c->parts];
		int64_t first, to;

		while (to = claim(share, least, &first), first < to) {
			c->kernel(c->args, first, to, scratch);
			if (i == 0 && split->asleep && share->end - to > least)
				split->asleep = mlrt_pool_nudge(split->session->pool, run_part, split, c->parts);
		}
	}
	mlrt_float_leave(mode);
}

static void deal(const MlrtSession *s, const Call *c)
{
	for (int i = 0; i < c->parts; i++) {
		atomic_store_explicit(&s->share[i].next, c->ntasks * i / c->parts, memory_order_relaxed);
		s->share[i].end = c->ntasks * (i + 1) / c->parts;
	}
}

CALLS_KERNELS static void run_call(const MlrtSession *s, const Call *c)
{
	Split split = {s, c, false};

	if (c->parts == 1) {
		c->kernel(c->args, 0, c->ntasks, s->scratch);
		return;
	}
	deal(s, c);
	if (!s->pool) {
		s->foreign.parallel(s->foreign.user, run_part, &split, c->parts);
		return;
	}
	split.asleep = mlrt_pool_start(s->pool, run_part, &split, c->parts);
	run_part(&split, 0);
	mlrt_pool_finish(s->pool, c->parts, split.asleep);
}

MLRT_LOCAL uint64_t mlrt_profile_ns(const MlrtSession *s)
{
	struct timespec t;

	clock_gettime(s->profiling == 2 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

MLRT_LOCAL void mlrt_call(const MlrtSession *s, const Call *c)
{
	run_call(s, c);
}

MLRT_LOCAL void mlrt_call_all(MlrtSession *s)
{
	const uint32_t ncalls = s->model->program.head->nsteps;

	if (!s->profiling) {
		for (uint32_t i = 0; i < ncalls; i++)
			run_call(s, &s->call[i]);
		return;
	}
	for (uint32_t i = 0; i < ncalls; i++) {
		const uint64_t start = mlrt_profile_ns(s);

		run_call(s, &s->call[i]);
		s->ns[i] += mlrt_profile_ns(s) - start;
	}
}
