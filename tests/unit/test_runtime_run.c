/* tests/unit/test_runtime_run.c -- sessions: results, threads, the application's memory and pool, limits. */
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/package_fixture.h"

void suite_runtime_run(void);

static MlrtSession *new_session(MlrtModel *m, int threads)
{
	const MlrtSessionOptions opt = {.threads = threads};
	MlrtSession *s = NULL;
	MlrtError err;

	if (mlrt_session_new(m, &opt, &s, &err) != MLRT_OK)
		CU_FAIL(err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	return s;
}

static int different(const int64_t *v, int n)
{
	int count = 0;

	for (int i = 0; i < n; i++) {
		int seen = 0;

		for (int k = 0; k < i; k++)
			seen |= v[k] == v[i];
		count += !seen;
	}
	return count;
}

static void runs_on_any_number_of_threads(void)
{
	static const int threads[] = {1, 2, 3, 5, 8, 13, 64};
	Fixture f;

	fix_init(&f);
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
		const int parts = threads[t] < FIX_WHERE ? threads[t] : FIX_WHERE;
		MlrtSession *s = new_session(m, threads[t]);
		FixData d;

		CU_ASSERT_EQUAL(mlrt_session_threads(s), threads[t]);
		for (int run = 0; run < 200; run++) {
			fix_data(&d, run);
			CU_ASSERT_EQUAL(fix_run(s, &d, NULL), MLRT_OK);
			CU_ASSERT(fix_right(&d));
			/* each thread that took tasks had scratch memory of its own, on lines of its own */
			CU_ASSERT(different(d.where, FIX_WHERE) >= 1 && different(d.where, FIX_WHERE) <= parts);
			CU_ASSERT(d.where[0] == d.where[FIX_WHERE - 1] ||
			          llabs(d.where[0] - d.where[FIX_WHERE - 1]) >= 64);
		}
		mlrt_session_free(s);
	}
	mlrt_model_close(m);
	fix_free(&f);
}

static void workers_sleep_and_wake(void)
{
	const struct timespec pause = {0, 3000000};
	struct timespec before, after;
	Fixture f;
	FixData d;
	double busy;

	fix_init(&f);
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	MlrtSession *s = new_session(m, 4);
	for (int run = 0; run < 20; run++) {
		nanosleep(&pause, NULL);
		fix_data(&d, run);
		CU_ASSERT_EQUAL(fix_run(s, &d, NULL), MLRT_OK);
		CU_ASSERT(fix_right(&d));
	}
	nanosleep(&pause, NULL);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	nanosleep(&(struct timespec){0, 100000000}, NULL);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	busy = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) * 1e-9;
	CU_ASSERT(busy < 0.03); /* of 0.1 s, and three workers */
	mlrt_session_free(s);
	mlrt_model_close(m);
	fix_free(&f);
}

typedef struct Job {
	MlrtModel *model;
	int seed, threads, wrong;
} Job;

static void *run_job(void *arg)
{
	Job *j = arg;
	MlrtSession *s = NULL;
	FixData d;

	j->wrong =
		mlrt_session_new(j->model, &(MlrtSessionOptions){.threads = j->threads}, &s, NULL) != MLRT_OK;
	for (int run = 0; !j->wrong && run < 300; run++) {
		fix_data(&d, j->seed + run);
		j->wrong = fix_run(s, &d, NULL) != MLRT_OK || !fix_right(&d);
	}
	mlrt_session_free(s);
	return NULL;
}

static void sessions_of_one_model_run_side_by_side(void)
{
	Fixture f;
	pthread_t thread[4];
	Job job[4];

	fix_init(&f);
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	for (int i = 0; i < 4; i++) {
		job[i] = (Job){m, i * 1000, 1 + i % 2, 0};
		CU_ASSERT_EQUAL_FATAL(pthread_create(&thread[i], NULL, run_job, &job[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		CU_ASSERT_EQUAL(job[i].wrong, 0);
	}
	mlrt_model_close(m);
	fix_free(&f);
}

/* An application's pool that runs everything itself, backwards. */
typedef struct Foreign {
	int calls, most;
	MlrtSession *reenter; /* run this session from within, which must be refused */
	MlrtStatus reentered;
} Foreign;

static void backwards(void *user, void (*task)(void *arg, int i), void *arg, int n)
{
	Foreign *f = user;
	FixData d;

	f->calls++;
	f->most = n > f->most ? n : f->most;
	if (f->reenter) {
		fix_data(&d, 1);
		f->reentered = fix_run(f->reenter, &d, NULL);
	}
	while (n-- > 0)
		task(arg, n);
}

static void pool_of_the_application(void)
{
	Foreign foreign = {0};
	const MlrtPool pool = {&foreign, 3, backwards}, none = {&foreign, 0, backwards},
		       null = {&foreign, 2, NULL};
	MlrtSession *s = NULL;
	Fixture f;
	FixData d;

	fix_init(&f);
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	CU_ASSERT_EQUAL(mlrt_session_new(m, &(MlrtSessionOptions){.pool = &none}, &s, NULL),
			MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL(mlrt_session_new(m, &(MlrtSessionOptions){.pool = &null}, &s, NULL),
			MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL_FATAL(mlrt_session_new(m, &(MlrtSessionOptions){.pool = &pool}, &s, NULL), MLRT_OK);
	CU_ASSERT_EQUAL(mlrt_session_threads(s), 3);
	fix_data(&d, 5);
	CU_ASSERT_EQUAL(fix_run(s, &d, NULL), MLRT_OK);
	CU_ASSERT(fix_right(&d));
	CU_ASSERT(different(d.where, FIX_WHERE) <= 3);
	CU_ASSERT_EQUAL(foreign.calls, 2); /* the step that is too small to split stays with the caller */
	CU_ASSERT_EQUAL(foreign.most, 3);
	foreign.reenter = s;
	CU_ASSERT_EQUAL(fix_run(s, &d, NULL), MLRT_OK);
	CU_ASSERT_EQUAL(foreign.reentered, MLRT_ERR_ARGUMENT);
	CU_ASSERT(fix_right(&d));
	mlrt_session_free(s);
	mlrt_model_close(m);
	fix_free(&f);
}

/* An application's allocator that counts, and that can fail. */
typedef struct Heap {
	long live, calls, fail_at;
	int shift; /* returns misaligned blocks */
} Heap;

static void *heap_alloc(void *user, size_t bytes)
{
	Heap *h = user;
	char *p = ++h->calls == h->fail_at ? NULL : aligned_alloc(64, (bytes + 127) / 64 * 64);

	if (!p)
		return NULL;
	memset(p, 0xa5, bytes); /* nothing may rely on zeros */
	h->live += (long)bytes;
	return p + h->shift;
}

static void heap_release(void *user, void *p, size_t bytes)
{
	Heap *h = user;

	h->live -= (long)bytes;
	free((char *)p - h->shift);
}

static void memory_of_the_application(void)
{
	Heap heap = {0};
	const MlrtAllocator al = {&heap, heap_alloc, heap_release}, half = {&heap, heap_alloc, NULL};
	const MlrtSessionOptions opt = {.threads = 2, .allocator = &al};
	MlrtSession *s = NULL;
	MlrtError err;
	Fixture f;
	FixData d;
	long calls;

	fix_init(&f);
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	CU_ASSERT_EQUAL(mlrt_session_new(m, &(MlrtSessionOptions){.allocator = &half}, &s, &err),
			MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL_FATAL(mlrt_session_new(m, &opt, &s, &err), MLRT_OK);
	CU_ASSERT(heap.live > 256);
	calls = heap.calls;
	fix_data(&d, 3);
	CU_ASSERT_EQUAL(fix_run(s, &d, NULL), MLRT_OK);
	CU_ASSERT(fix_right(&d));
	CU_ASSERT_EQUAL(heap.calls, calls); /* a run takes nothing */
	mlrt_session_free(s);
	CU_ASSERT_EQUAL(heap.live, 0);
	for (long n = 1; n <= calls; n++) { /* each block in turn is refused */
		heap = (Heap){.fail_at = n};
		CU_ASSERT_EQUAL(mlrt_session_new(m, &opt, &s, &err), MLRT_ERR_NOMEM);
		CU_ASSERT_PTR_NULL(s);
		CU_ASSERT_EQUAL(heap.live, 0);
	}
	heap = (Heap){.shift = 8};
	CU_ASSERT_EQUAL(mlrt_session_new(m, &opt, &s, &err), MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL(heap.live, 0);
	mlrt_model_close(m);
	fix_free(&f);
}

static void wrong_pointers_are_refused(void)
{
	Fixture f;
	FixData d;
	MlrtError err;
	_Alignas(8) char odd[200];

	fix_init(&f);
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	MlrtSession *s = new_session(m, 1), *none;
	CU_ASSERT_EQUAL(mlrt_session_run(s, NULL, (void *[]){d.y, d.where}, &err), MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL(mlrt_session_run(s, (const void *[]){NULL}, (void *[]){d.y, d.where}, &err),
			MLRT_ERR_ARGUMENT);
	CU_ASSERT_STRING_EQUAL(err.text, "input 'x' is NULL");
	CU_ASSERT_EQUAL(mlrt_session_run(s, (const void *[]){d.x}, (void *[]){d.y, NULL}, &err),
			MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL(mlrt_session_run(s, (const void *[]){odd + 1}, (void *[]){d.y, d.where}, &err),
			MLRT_ERR_ARGUMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "not aligned to 4"));
	CU_ASSERT_EQUAL(mlrt_session_run(s, (const void *[]){d.x}, (void *[]){d.x + 39, d.where}, &err),
			MLRT_ERR_ARGUMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "overlap"));
	CU_ASSERT_EQUAL(mlrt_session_new(m, &(MlrtSessionOptions){.threads = -1}, &none, &err),
			MLRT_ERR_ARGUMENT);
	CU_ASSERT_PTR_NULL(none);
	CU_ASSERT_EQUAL(mlrt_session_new(m, &(MlrtSessionOptions){.threads = 100000}, &none, &err),
			MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL(mlrt_session_new(NULL, NULL, &none, &err), MLRT_ERR_ARGUMENT);
	mlrt_session_free(NULL);
	mlrt_model_close(NULL);
	mlrt_session_free(s);
	mlrt_model_close(m);
	fix_free(&f);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static void impossible_memory_is_an_error(void)
{
	puts("\n  skipped: the sanitizer's malloc aborts instead of failing");
}
#else
static void impossible_memory_is_an_error(void)
{
	Fixture f;
	MlrtSession *s = NULL;
	MlrtError err;

	fix_init(&f);
	f.program.head.arena_bytes = 1ll << 60;
	fix_edit(&f, "\"arena_bytes\":256", "\"arena_bytes\":1152921504606846976");
	fix_edit(&f, "\"arena_bytes\":256", "\"arena_bytes\":1152921504606846976");
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	CU_ASSERT_EQUAL(mlrt_session_new(m, NULL, &s, &err), MLRT_ERR_NOMEM);
	mlrt_model_close(m);
	fix_free(&f);
}
#endif

static void profile_counts_only_while_on(void)
{
	Fixture f;
	FixData d;
	uint64_t sum = 0, again = 0;

	fix_init(&f);
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	MlrtSession *s = new_session(m, 1);
	CU_ASSERT_EQUAL(mlrt_session_steps(s), 3);
	fix_data(&d, 1);
	fix_run(s, &d, NULL);
	CU_ASSERT_EQUAL(mlrt_session_step_ns(s, 0), 0);
	mlrt_session_profile(s, 1);
	for (int i = 0; i < 100; i++)
		fix_run(s, &d, NULL);
	mlrt_session_profile(s, 0);
	for (size_t i = 0; i < 4; i++)
		sum += mlrt_session_step_ns(s, i);
	CU_ASSERT(sum > 0);
	fix_run(s, &d, NULL);
	for (size_t i = 0; i < 4; i++)
		again += mlrt_session_step_ns(s, i);
	CU_ASSERT_EQUAL(sum, again);
	mlrt_session_free(s);
	mlrt_model_close(m);
	fix_free(&f);
}

void suite_runtime_run(void)
{
	CU_pSuite s = CU_add_suite("runtime_run", NULL, NULL);

	CU_ADD_TEST(s, runs_on_any_number_of_threads);
	CU_ADD_TEST(s, workers_sleep_and_wake);
	CU_ADD_TEST(s, sessions_of_one_model_run_side_by_side);
	CU_ADD_TEST(s, pool_of_the_application);
	CU_ADD_TEST(s, memory_of_the_application);
	CU_ADD_TEST(s, wrong_pointers_are_refused);
	CU_ADD_TEST(s, impossible_memory_is_an_error);
	CU_ADD_TEST(s, profile_counts_only_while_on);
}
