/* tests/unit/test_runtime_threads.c -- the pool: every task is done once, sleepers are woken when that pays.
 *
 * The sources are compiled in here, so that the test sees their insides. */
#define MLRT_LOCAL static
#pragma GCC diagnostic ignored "-Wunused-function" /* not all of it is tested here */
#include "runtime/threads.c"
#include "runtime/error.c"

#include <CUnit/CUnit.h>
#include <stdlib.h>

void suite_runtime_threads(void);

enum { THREADS = 3, TASKS = 64 };

typedef struct Work {
	atomic_int next;
	atomic_int done[TASKS];
	atomic_int helped; /* tasks done by others than the caller */
} Work;

static void *take_memory(void *user, size_t bytes)
{
	void *p;

	(void)user;
	return posix_memalign(&p, MLRT_ALIGN, bytes) == 0 ? p : NULL;
}

static void give_memory(void *user, void *p, size_t bytes)
{
	(void)user;
	(void)bytes;
	free(p);
}

static Pool *new_pool(int cpus)
{
	const MlrtAllocator al = {NULL, take_memory, give_memory};
	MlrtError err = {0};
	Pool *p = mlrt_pool_new(THREADS, cpus, &al, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

static void part(void *arg, int i)
{
	Work *w = arg;
	int t;

	while ((t = atomic_fetch_add(&w->next, 1)) < TASKS) {
		atomic_fetch_add(&w->done[t], 1);
		if (i > 0)
			atomic_fetch_add(&w->helped, 1);
	}
}

static bool all_done_once(const Work *w)
{
	for (int t = 0; t < TASKS; t++)
		if (atomic_load(&w->done[t]) != 1)
			return false;
	return true;
}

static void pause_us(long us)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000 * us}, NULL);
}

/* Until both workers sleep; false: they never do. */
static bool wait_for_sleep(const Pool *p)
{
	for (int i = 0; i < 10000; i++) {
		if (sleeps(&p->worker[0]) && sleeps(&p->worker[1]))
			return true;
		pause_us(1000);
	}
	return false;
}

static void every_task_once(void)
{
	enum { ROUNDS = 3000 };
	Pool *p = new_pool(THREADS); /* spin as if there were cores for all */
	int wrong = 0;

	for (int round = 0; round < ROUNDS; round++) {
		Work w = {0};
		bool asleep = mlrt_pool_start(p, part, &w, THREADS);

		part(&w, 0);
		mlrt_pool_finish(p, THREADS, asleep);
		wrong += !all_done_once(&w);
		if (round % 500 == 0)
			pause_us(2000);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	mlrt_pool_free(p);
}

static void short_work_lets_sleep(void)
{
	Pool *p = new_pool(THREADS);

	CU_ASSERT_FATAL(wait_for_sleep(p));
	for (int round = 0; round < 50; round++) {
		Work w = {0};
		bool asleep = mlrt_pool_start(p, part, &w, THREADS);

		CU_ASSERT(asleep);
		part(&w, 0);
		p->last = mlrt_ticks(); /* the work was short, whatever else this machine did meanwhile */
		mlrt_pool_finish(p, THREADS, asleep);
		p->alone = p->alone < p->wake / 2 ? p->alone : p->wake / 2;
		CU_ASSERT(all_done_once(&w));
		CU_ASSERT_EQUAL(atomic_load(&w.helped), 0);
		p->last -= 2 * p->pause; /* a pause, long enough that earlier work does not count */
	}
	CU_ASSERT(sleeps(&p->worker[0]) && sleeps(&p->worker[1]));
	mlrt_pool_free(p);
}

/* Worked without the sleepers for long, in one call or in several shortly after each other. */
static void long_work_wakes(void)
{
	for (int calls = 1; calls <= 4; calls += 3) {
		Pool *p = new_pool(THREADS);
		Work w = {0};
		bool asleep = false;

		CU_ASSERT_FATAL(wait_for_sleep(p));
		for (int i = 0; i < calls; i++) {
			if (i > 0)
				mlrt_pool_finish(p, THREADS, asleep);
			asleep = mlrt_pool_start(p, part, &w, THREADS);
			if (asleep)
				p->last -= p->wake / (uint64_t)calls + 1; /* time goes by */
		}
		while (asleep)
			asleep = mlrt_pool_nudge(p, part, &w, THREADS);
		for (int i = 0; i < 10000 && atomic_load(&w.next) < TASKS; i++)
			pause_us(1000);
		CU_ASSERT(atomic_load(&w.helped) == TASKS);
		mlrt_pool_finish(p, THREADS, asleep);
		CU_ASSERT(all_done_once(&w));
		mlrt_pool_free(p);
	}
}

/* More threads than cores: who spins would keep off its core the one it waits for. */
static void crowded(void)
{
	Pool *p = new_pool(1);

	CU_ASSERT_EQUAL(p->spin, 0);
	for (int round = 0; round < 300; round++) {
		Work w = {0};
		bool asleep = mlrt_pool_start(p, part, &w, THREADS);

		part(&w, 0);
		mlrt_pool_finish(p, THREADS, asleep);
		CU_ASSERT(all_done_once(&w));
	}
	mlrt_pool_free(p);
}

void suite_runtime_threads(void)
{
	CU_pSuite s = CU_add_suite("runtime_threads", NULL, NULL);

	CU_ADD_TEST(s, every_task_once);
	CU_ADD_TEST(s, short_work_lets_sleep);
	CU_ADD_TEST(s, long_work_wakes);
	CU_ADD_TEST(s, crowded);
}
