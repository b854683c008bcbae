/* runtime/pace.c -- whether short runs are worth several threads: tried out, now and then.
 *
 * What a fork, a join and data that changes cores cost depends on where the cores are, and differs several times over
 * between machines, and on a virtual one from minute to minute.  So a session that has several threads measures: after
 * some runs on all threads it makes a few on the caller alone, or the other way around, and goes on in the way whose
 * shortest run was shorter.  Results are the same in both ways.  Trials become rare while they find nothing new; there
 * are none where runs take long, for those gain from threads, or where threads sleep when a run begins. */
#include "runtime/session.h"
#include "runtime/ticks.h"

enum {
	TRIAL = 4,          /* runs that count, in each way; what lies in the wrong core's caches is moved in one before */
	PATIENCE = 16,      /* runs until the threads must have woken up */
	FIRST = 32, LEAST = 128, MOST = 1024, /* runs between trials */
	LONG_US = 500       /* runs that are not tried on one thread */
};

static void note(Pace *p, uint64_t took)
{
	uint64_t *shortest = &p->shortest[p->alone];

	*shortest = took < *shortest ? took : *shortest;
}

static void next_trial(Pace *p, uint32_t wait)
{
	p->trying = 0;
	p->wait = p->left = wait;
	p->shortest[0] = p->shortest[1] = UINT64_MAX;
}

/* The other way is kept where it is faster by more than a twentieth. */
static void decide(Pace *p, bool seen)
{
	if (seen && p->shortest[p->alone] < p->shortest[!p->alone] / 20 * 19) {
		next_trial(p, LEAST);
		return;
	}
	p->alone = !p->alone;
	next_trial(p, 2 * p->wait < MOST ? 2 * p->wait : MOST);
}

static void try_on(Pace *p, uint64_t took)
{
	if (p->slept) {
		if (--p->patience == 0)
			decide(p, false);
		return;
	}
	if (p->trying <= TRIAL)
		note(p, took);
	if (--p->trying == 0)
		decide(p, true);
}

static void count_down(Pace *p, uint64_t took)
{
	if (p->slept || (!p->alone && took > mlrt_ticks_of(LONG_US))) {
		next_trial(p, p->wait);
		return;
	}
	if (p->left <= TRIAL)
		note(p, took);
	if (--p->left == 0) {
		p->alone = !p->alone;
		p->trying = TRIAL + 1;
		p->patience = PATIENCE;
	}
}

MLRT_LOCAL void mlrt_pace_forget(MlrtSession *s)
{
	s->pace.alone = false;
	next_trial(&s->pace, FIRST);
}

MLRT_LOCAL void mlrt_pace_begin(MlrtSession *s)
{
	s->pace.slept = false;
	s->pace.start = mlrt_ticks();
}

MLRT_LOCAL void mlrt_pace_end(MlrtSession *s)
{
	Pace *p = &s->pace;
	const uint64_t took = mlrt_ticks() - p->start;

	if (s->threads == 1 || s->profiling)
		return;
	if (p->trying > 0)
		try_on(p, took);
	else
		count_down(p, took);
}
