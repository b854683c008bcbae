/* codegen/program_sets.c -- steps that may run side by side.
 *
 * A set is steps one behind the other that need nothing of each other.  The runtime runs it as one fork and join of
 * threads, in place of one for each, and whole members that are too small to be split on different threads.  Steps
 * further down that need nothing of those in between are brought forward for it where they are small.  Buffers that
 * one member needs live as long as the set, and sets that would make the arena grow by more than a little are left. */
#include <string.h>

#include "codegen/program.h"

enum { WINDOW = 16 }; /* how far a step may be brought forward */
#define ARENA_GROWTH 1.02
#define MOVED_SHARE 2 /* of the second-level cache: what a step that is brought forward may read and write */

double program_step_ns(const MloTarget *t, const Step *s)
{
	double lanes = t->vector_bytes / 4.0;
	double cycles = s->info.flops / (2 * lanes * t->fma_per_cycle) + s->info.bytes / (2 * t->bytes_per_cycle);

	return cycles / t->clock_ghz;
}

bool program_step_whole(const MloTarget *t, const Step *s)
{
	return s->tasks_slot < 0 && (s->info.ntasks < 2 || program_step_ns(t, s) < mlo_target_divides_ns(t));
}

bool program_step_writes(const Step *s, size_t arg)
{
	KArgDir dir = s->kernel->arg.items[arg].dir;

	return dir == KA_OUT || dir == KA_INOUT;
}

/* Does one of the two write what the other one touches? */
static bool meet(const Step *x, const Step *y)
{
	for (size_t i = 0; i < x->kernel->arg.n; i++) {
		for (size_t k = 0; k < y->kernel->arg.n; k++) {
			const StepArg *a = &x->arg[i], *b = &y->arg[k];

			if (a->buffer >= 0 && a->buffer == b->buffer && (program_step_writes(x, i) || program_step_writes(y, k)) &&
			    a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes)
				return true;
		}
	}
	return false;
}

/* Steps [at, at + n) are a set to be, or one step. */
typedef struct Set {
	size_t at, n;
	size_t before; /* where the set, or step, before it begins */
	bool forks;  /* it is worth a fork already */
	double ns, tail; /* of all members; see tail_ns */
} Set;

/* Could step j run right behind the set and beside it? */
static bool is_free(const Program *p, const Set *set, size_t j)
{
	for (size_t i = set->at; i < j; i++)
		if (meet(&p->step.items[i], &p->step.items[j]))
			return false;
	return true;
}

static bool touches(const Step *s, int buffer)
{
	for (size_t k = 0; k < s->kernel->arg.n; k++)
		if (s->arg[k].buffer == buffer)
			return true;
	return false;
}

/* Do the set's members, or the steps right before them, touch all activations that s reads?  Then they lie in the
 * caches still. */
static bool is_warm(const Program *p, const Set *set, const Step *s)
{
	for (size_t k = 0; k < s->kernel->arg.n; k++) {
		int buffer = s->arg[k].buffer;
		bool found = buffer < 0 || program_step_writes(s, k) || p->buffer.items[buffer].kind == BUF_WEIGHT;

		for (size_t i = set->before; i < set->at + set->n && !found; i++)
			found = touches(&p->step.items[i], buffer);
		if (!found)
			return false;
	}
	return true;
}

static double less(double x, double y)
{
	return x < y ? x : y;
}

/* What threads wait for at most at the end of a step: one of its tasks. */
static double tail_ns(const MloTarget *t, const Step *s)
{
	return program_step_ns(t, s) / (program_step_whole(t, s) ? 1 : (double)s->info.ntasks);
}

/* Nanoseconds saved where s runs beside the set: a fork and join, and half of the time in which threads wait for the
 * last task of one and now work on the other. */
static double saved_ns(const MloTarget *t, const Set *set, const Step *s)
{
	return t->fork_ns + (less(set->tail, program_step_ns(t, s)) + less(tail_ns(t, s), set->ns)) / 2;
}

/* Steps that no thread helps with so far must be worth a fork. */
static bool pays(const MloTarget *t, const Set *set, const Step *s)
{
	bool forks = set->forks || !program_step_whole(t, s);

	return less(program_step_ns(t, s), set->ns) > (forks ? t->fork_ns / 4 : t->fork_ns);
}

/* What is brought forward must be found in the caches, and may be gone from them when it is needed: a quarter of the
 * time that its data take from memory. */
static bool may_move(const MloTarget *t, const Program *p, const Set *set, const Step *s)
{
	double gone = s->info.bytes / (4 * t->bytes_per_cycle) / t->clock_ghz;

	return s->info.bytes <= (double)t->l2 * MOVED_SHARE && saved_ns(t, set, s) > gone && is_warm(p, set, s);
}

static void move_step(Program *p, size_t from, size_t to)
{
	Step s = p->step.items[from];

	if (from > to)
		memmove(&p->step.items[to + 1], &p->step.items[to], (from - to) * sizeof s);
	else
		memmove(&p->step.items[from], &p->step.items[from + 1], (to - from) * sizeof s);
	p->step.items[to] = s;
}

static void touch(Program *p, const Step *s, int first, int last)
{
	for (size_t k = 0; k < s->kernel->arg.n; k++) {
		Buffer *b = s->arg[k].buffer < 0 ? NULL : &p->buffer.items[s->arg[k].buffer];

		if (!b)
			continue;
		b->first = first < b->first ? first : b->first;
		b->last = last > b->last ? last : b->last;
	}
}

/* Lives of buffers by the steps as they are ordered now, from the beginning of a set to its end; then their places. */
static int64_t plan(Plan *plan, Program *p)
{
	for (size_t i = 0; i < p->buffer.n; i++) {
		p->buffer.items[i].first = INT32_MAX;
		p->buffer.items[i].last = -1;
	}
	for (size_t i = 0, end; i < p->step.n; i = end) {
		for (end = i + 1; end < p->step.n && p->step.items[end].beside;)
			end++;
		for (size_t k = i; k < end; k++)
			touch(p, &p->step.items[k], (int)i, (int)end - 1);
	}
	program_plan_memory(plan, p);
	return p->arena_bytes;
}

/* Step j joins the set; false: that would take too much memory. */
static bool join(Plan *pl, Program *p, Set *set, size_t j, int64_t most)
{
	Step *s = &p->step.items[set->at + set->n];

	move_step(p, j, set->at + set->n);
	s->beside = true;
	if (plan(pl, p) <= most) {
		set->n++;
		set->ns += program_step_ns(pl->target, s);
		set->tail = tail_ns(pl->target, s) > set->tail ? tail_ns(pl->target, s) : set->tail;
		set->forks = true;
		return true;
	}
	s->beside = false;
	move_step(p, set->at + set->n, j);
	return false;
}

void program_find_sets(Plan *pl, Program *p)
{
	int64_t most = (int64_t)((double)plan(pl, p) * ARENA_GROWTH);
	Set set = {0};

	for (; set.at < p->step.n; set.before = set.at, set.at += set.n) {
		const Step *first = &p->step.items[set.at];

		set.n = 1;
		set.ns = program_step_ns(pl->target, first);
		set.tail = tail_ns(pl->target, first);
		set.forks = !program_step_whole(pl->target, first);
		for (size_t j = set.at + 1; j < p->step.n && j <= set.at + WINDOW && set.n < MLRT_MAX_SET; j++) {
			const Step *s = &p->step.items[j];

			if (pays(pl->target, &set, s) && is_free(p, &set, j) &&
			    (j == set.at + set.n || may_move(pl->target, p, &set, s)))
				join(pl, p, &set, j, most);
		}
	}
	plan(pl, p);
}
