/* runtime/threads.c -- a small pool: workers spin for a while, then sleep on a futex.
 *
 * Each worker has a mailbox of one cache line.  The caller writes the task into it and sets the
 * state to WORK; the worker takes it by setting BUSY, and answers with IDLE.  So a fork and join costs
 * two transfers of one line per worker, and a system call only when the other side went to sleep.
 * When the caller has done its own part it takes back what no worker has begun: a worker that sleeps
 * or was preempted delays nobody, and the cut into parts, hence the result, stays the same.
 *
 * Waking a thread costs the caller tens of microseconds where the other core has to be woken too, more than
 * a small model takes.  So workers that sleep are left asleep until the caller has worked without them for
 * about as long as waking takes, pauses shorter than a worker spins not counted: then work comes often
 * enough, or is enough, to pay for it.  At worst that takes twice the time that knowing it all would take
 * (ski rental: Karlin, Manasse, Rudolph, Sleator, "Competitive snoopy caching", 1988).
 *
 *   IDLE    the worker spins               PARKED  the worker sleeps: wake it after setting WORK
 *   WORK    there is a task, not begun     BUSY    the worker runs it
 *   AWAITED BUSY, and the caller sleeps: the worker wakes it when done
 *   QUIT    the worker returns */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/internal.h"
#include "runtime/ticks.h"

enum { IDLE, PARKED, WORK, BUSY, AWAITED, QUIT };
enum { SPIN_US = 100, WAKE_US = 30, LINE = 128 };

typedef struct Worker {
	_Alignas(LINE) _Atomic uint32_t state;
	int number;
	void (*task)(void *arg, int i);
	void *arg;
	uint64_t spin; /* ticks */
	pthread_t thread;
} Worker;

struct Pool {
	MlrtAllocator allocator;
	size_t bytes;
	int nworkers;
	uint64_t spin, pause, wake;
	uint64_t alone, last; /* what the caller has worked without a sleeper, until when */
	Worker *worker;
};

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory"); /* `yield` does nothing on these cores */
#endif
}

/* Spins while *state is `value`, for a bounded time; returns what it became. */
static uint32_t spin_while(_Atomic uint32_t *state, uint32_t value, uint64_t limit)
{
	const uint64_t start = mlrt_ticks();

	for (;;) {
		for (int i = 0; i < 16; i++) {
			uint32_t now = atomic_load_explicit(state, memory_order_acquire);

			if (now != value)
				return now;
			relax();
		}
		if (mlrt_ticks() - start > limit)
			return value;
	}
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Waits while *state is `busy`: spins, then announces the sleep by `asleep` and sleeps. */
static uint32_t await(_Atomic uint32_t *state, uint32_t busy, uint32_t asleep, uint64_t limit)
{
	uint32_t now = spin_while(state, busy, limit);

	if (now != busy)
		return now;
	if (!atomic_compare_exchange_strong(state, &now, asleep))
		return now;
	while ((now = atomic_load_explicit(state, memory_order_acquire)) == asleep)
		futex_wait(state, asleep);
	return now;
}

/* Takes a task that was not begun: by the worker, who is then BUSY, or back by the caller. */
static bool take(Worker *w, uint32_t next)
{
	uint32_t expected = WORK;

	return atomic_compare_exchange_strong(&w->state, &expected, next);
}

static void *worker_main(void *arg)
{
	Worker *w = arg;

	while (await(&w->state, IDLE, PARKED, w->spin) != QUIT) {
		if (!take(w, BUSY))
			continue;
		w->task(w->arg, w->number);
		if (atomic_exchange(&w->state, IDLE) == AWAITED)
			futex_wake(&w->state);
	}
	return NULL;
}

static void post(Worker *w, uint32_t state)
{
	if (atomic_exchange(&w->state, state) == PARKED)
		futex_wake(&w->state);
}

static void give(Worker *w, void (*task)(void *arg, int i), void *arg)
{
	w->task = task;
	w->arg = arg;
	post(w, WORK);
}

static bool sleeps(const Worker *w)
{
	return atomic_load_explicit(&w->state, memory_order_acquire) == PARKED; /* then it reads its task no more */
}

/* The caller's time without a sleeper, up to now. */
static void count_alone(Pool *p)
{
	const uint64_t now = mlrt_ticks();

	p->alone += now - p->last;
	p->last = now;
}

/* Wakes who sleeps where the caller has worked alone for long enough. */
static bool wake(Pool *p, void (*task)(void *arg, int i), void *arg, int n)
{
	if (p->alone <= p->wake)
		return false;
	for (int i = 0; i < n - 1; i++)
		if (sleeps(&p->worker[i]))
			give(&p->worker[i], task, arg);
	p->alone = 0;
	return true;
}

MLRT_LOCAL bool mlrt_pool_start(Pool *p, void (*task)(void *arg, int i), void *arg, int n)
{
	bool asleep = false;

	for (int i = 0; i < n - 1; i++) {
		if (sleeps(&p->worker[i]))
			asleep = true;
		else
			give(&p->worker[i], task, arg);
	}
	if (!asleep)
		return false;
	if (mlrt_ticks() - p->last > p->pause)
		p->alone = 0;
	p->last = mlrt_ticks();
	return !wake(p, task, arg, n);
}

MLRT_LOCAL bool mlrt_pool_nudge(Pool *p, void (*task)(void *arg, int i), void *arg, int n)
{
	count_alone(p);
	return !wake(p, task, arg, n);
}

MLRT_LOCAL void mlrt_pool_finish(Pool *p, int n, bool asleep)
{
	if (asleep)
		count_alone(p);
	for (int i = 0; i < n - 1; i++)
		take(&p->worker[i], IDLE);
	for (int i = 0; i < n - 1; i++)
		await(&p->worker[i].state, BUSY, AWAITED, p->spin);
}

MLRT_LOCAL Pool *mlrt_pool_new(int threads, int cpus, const MlrtAllocator *al, MlrtError *err)
{
	const size_t head = (sizeof(Pool) + LINE - 1) / LINE * LINE;
	const size_t bytes = head + LINE + (size_t)(threads - 1) * sizeof(Worker);
	Pool *p = al->alloc(al->user, bytes);
	sigset_t all, old;
	int e = 0;

	if (!p) {
		mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for a pool of %d threads", threads);
		return NULL;
	}
	memset(p, 0, bytes);
	p->allocator = *al;
	p->bytes = bytes;
	/* More threads than CPUs: who spins keeps off the CPU the one it waits for. */
	p->spin = threads <= cpus ? mlrt_ticks_of(SPIN_US) : 0;
	p->pause = mlrt_ticks_of(SPIN_US);
	p->wake = mlrt_ticks_of(WAKE_US);
	p->worker = (Worker *)(((uintptr_t)p + head + LINE - 1) / LINE * LINE);
	/* The application's signals are for the application's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (!e && p->nworkers < threads - 1) {
		Worker *w = &p->worker[p->nworkers];

		w->number = p->nworkers + 1;
		w->spin = p->spin;
		e = pthread_create(&w->thread, NULL, worker_main, w);
		p->nworkers += !e;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (e) {
		mlrt_fail(err, MLRT_ERR_THREAD, "cannot start thread %d of %d: %s", p->nworkers + 2, threads,
			  strerror(e));
		mlrt_pool_free(p);
		return NULL;
	}
	return p;
}

MLRT_LOCAL void mlrt_pool_free(Pool *p)
{
	if (!p)
		return;
	for (int i = 0; i < p->nworkers; i++)
		post(&p->worker[i], QUIT);
	for (int i = 0; i < p->nworkers; i++)
		pthread_join(p->worker[i].thread, NULL);
	p->allocator.release(p->allocator.user, p, p->bytes);
}
