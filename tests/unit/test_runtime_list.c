/* tests/unit/test_runtime_list.c -- lists of programs: open sizes, bodies, states, and what is refused. */
#include <CUnit/CUnit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/list_programs.h"

void suite_runtime_list(void);

enum { MOST = 300 };

static void fill(int64_t *v, int n, int64_t start)
{
	for (int i = 0; i < n; i++)
		v[i] = start + 3 * i;
}

static void fails(MlrtSession *s, const MlrtTensor *in, MlrtTensor *out, const char *part)
{
	MlrtError err = {0};

	CU_ASSERT_EQUAL(mlrt_session_run_tensors(s, in, out, &err), MLRT_ERR_ARGUMENT);
	if (!strstr(err.text, part)) {
		printf("\n  '%s' lacks '%s'", err.text, part);
		CU_FAIL("wrong message");
	}
}

static void works(MlrtSession *s, const MlrtTensor *in, MlrtTensor *out)
{
	MlrtError err = {0};

	if (mlrt_session_run_tensors(s, in, out, &err) != MLRT_OK) {
		puts(err.text);
		CU_FAIL("a run failed");
	}
}

static void sizes_come_with_the_run(void)
{
	static const int sizes[] = {1, 7, 0, 300, 5, 299};
	int64_t x[MOST], z[MOST], y[MOST];
	ListFixture f;
	MlrtTensorInfo info;

	lp_sums(&f);
	MlrtModel *m = lf_open(&f);
	CU_ASSERT_EQUAL(mlrt_model_input(m, 0, &info), MLRT_OK);
	CU_ASSERT(info.rank == 1 && info.dims[0] == -1 && info.bytes == 0 && !strcmp(info.dim_names[0], "n"));
	CU_ASSERT_STRING_EQUAL(info.kind, "tensor");
	for (int threads = 1; threads <= 3; threads++) {
		MlrtSession *s = lf_session(m, threads);

		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			const int n = sizes[i];
			const MlrtTensor in[] = {lf_ints(x, 1, n), lf_ints(z, 1, n)};
			MlrtTensor out[] = {{.data = i % 2 ? y : NULL, .bytes = sizeof y}};

			fill(x, n, 100);
			fill(z, n, -5);
			works(s, in, out);
			CU_ASSERT(out[0].rank == 1 && out[0].dims[0] == n && out[0].bytes == 8 * (size_t)n);
			CU_ASSERT(n == 0 || !(i % 2) == (out[0].data != y));
			for (int k = 0; k < n; k++)
				CU_ASSERT_EQUAL(((int64_t *)out[0].data)[k], 2 * (x[k] + z[k]));
		}
		mlrt_session_free(s);
	}
	mlrt_model_close(m);
	lf_free(&f);
}

/* Runs with the tensors of the run before find everything resolved; a change of any of them is noticed. */
static void runs_like_the_last_one(void)
{
	int64_t x[MOST], z[MOST], other[MOST], y[MOST], y2[MOST];
	ListFixture f;

	lp_sums(&f);
	MlrtModel *m = lf_open(&f);
	for (int threads = 1; threads <= 2; threads++) {
		MlrtSession *s = lf_session(m, threads);

		for (int run = 0; run < 24; run++) {
			const int n = run / 8 == 1 ? 31 : 200; /* and each again and again */
			MlrtTensor in[] = {lf_ints(run % 8 == 5 ? other : x, 1, n), lf_ints(z, 1, n)};
			MlrtTensor out[] = {{.data = run % 8 < 3 ? y : run % 8 < 6 ? y2 : NULL, .bytes = sizeof y}};

			fill(x, n, run);
			fill(other, n, -7 * run);
			fill(z, n, 1000 * run);
			mlrt_session_profile(s, run % 8 == 4);
			if (run % 8 == 2) { /* nothing of the last run excuses this one */
				const size_t room = out[0].bytes;

				out[0].bytes = 8;
				fails(s, in, out, "needs");
				out[0].bytes = room;
			}
			works(s, in, out);
			CU_ASSERT(out[0].rank == 1 && out[0].dims[0] == n && out[0].bytes == 8 * (size_t)n);
			for (int k = 0; k < n; k++)
				CU_ASSERT_EQUAL(((int64_t *)out[0].data)[k], 2 * (((const int64_t *)in[0].data)[k] + z[k]));
		}
		mlrt_session_free(s);
	}
	mlrt_model_close(m);
	lf_free(&f);
}

static void wrong_tensors_are_refused(void)
{
	int64_t x[MOST] = {0}, y[MOST];
	ListFixture f;
	MlrtTensor in[] = {lf_ints(x, 1, 4), lf_ints(x, 1, 4)}, out[] = {{.data = y, .bytes = 31}};
	MlrtError err;

	lp_sums(&f);
	MlrtModel *m = lf_open(&f);
	MlrtSession *s = lf_session(m, 1);
	CU_ASSERT_EQUAL(mlrt_session_run(s, (const void *[]){x, x}, (void *[]){y}, &err), MLRT_ERR_ARGUMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "mlrt_session_run_tensors"));
	fails(s, in, out, "output 'y' needs 32 bytes, there are 31");
	out[0].bytes = 32;
	works(s, in, out);
	in[1] = lf_ints(x, 1, 5);
	fails(s, in, out, "input 'z', dimension 0 is 5, it must be 4");
	in[1] = lf_ints(x, 2, 4, 1);
	fails(s, in, out, "input 'z' has 2 dimensions, it must have 1");
	in[1] = lf_ints(x, 1, -4);
	fails(s, in, out, "dimension 0 is -4");
	in[1] = lf_ints(x, 1, 4);
	in[1].bytes--;
	fails(s, in, out, "input 'z' has 31 bytes, its sizes need 32");
	in[1] = lf_ints(NULL, 1, 4);
	fails(s, in, out, "input 'z' is NULL");
	in[1] = lf_ints((int64_t *)((char *)x + 4), 1, 4);
	fails(s, in, out, "not aligned to 8");
	in[1] = lf_ints(x, 1, 4);
	in[1].dims[0] = INT64_MAX / 4;
	fails(s, in, out, "too large");
	in[1] = lf_ints(y + 3, 1, 4);
	fails(s, in, out, "overlap");
	in[1] = lf_ints(x, 1, 4);
	works(s, in, out);
	mlrt_session_free(s);
	mlrt_model_close(m);
	lf_free(&f);
}

static void sizes_found_during_the_run(void)
{
	int64_t x[MOST], k;
	ListFixture f;

	fill(x, MOST, 1);
	lp_prefix(&f);
	MlrtModel *m = lf_open(&f);
	MlrtSession *s = lf_session(m, 2);
	for (k = 0; k <= MOST; k += 60) {
		const MlrtTensor in[] = {lf_ints(x, 1, MOST), lf_ints(&k, 0)};
		MlrtTensor out[] = {{0}};

		works(s, in, out);
		CU_ASSERT_EQUAL(out[0].dims[0], k);
		for (int i = 0; i < k; i++)
			CU_ASSERT_EQUAL(((int64_t *)out[0].data)[i], 2 * x[i]);
	}
	k = -1;
	const MlrtTensor in[] = {lf_ints(x, 1, 10), lf_ints(&k, 0)};
	MlrtTensor out[] = {{0}};
	fails(s, in, out, "the_slice: a size is -1");
	k = 11;
	fails(s, in, out, "the_slice: 88 bytes at 0 of a value that has 80");
	k = INT64_MAX / 4;
	fails(s, in, out, "the_slice: sizes 2305843009213693951 and 8 give one that is out of range");
	k = INT64_MAX / 16;
	CU_ASSERT_NOT_EQUAL(mlrt_session_run_tensors(s, in, out, NULL), MLRT_OK);
	k = 10;
	works(s, in, out);
	mlrt_session_free(s);
	mlrt_model_close(m);
	lf_free(&f);
}

static void loops_and_conditions(void)
{
	int64_t x[20], m, limit;
	ListFixture f;
	const int64_t *acc, *scan, *all;

	lp_loop(&f);
	MlrtModel *model = lf_open(&f);
	MlrtSession *s = lf_session(model, 2);
	for (int round = 0; round < 40; round++) {
		const int n = 1 + round * 7 % 20;
		const MlrtTensor in[] = {lf_ints(&m, 0), lf_ints(&limit, 0), lf_ints(x, 1, n)};
		MlrtTensor out[3] = {{0}};

		m = 1 + round * 3 % 11;
		limit = round % 9;
		fill(x, n, round);
		works(s, in, out);
		CU_ASSERT(out[0].dims[0] == n && out[1].rank == 2 && out[1].dims[0] == m && out[1].dims[1] == n);
		CU_ASSERT_EQUAL(out[2].dims[0], m * n);
		acc = out[0].data;
		scan = out[1].data;
		all = out[2].data;
		for (int i = 0; i < m; i++)
			for (int k = 0; k < n; k++) {
				CU_ASSERT_EQUAL(scan[i * n + k], x[k] * (1 + (i < limit ? i + 1 : limit)));
				CU_ASSERT_EQUAL(all[i * n + k], scan[i * n + k]);
			}
		for (int k = 0; k < n; k++)
			CU_ASSERT_EQUAL(acc[k], x[k] * (1 + (m < limit ? m : limit)));
	}
	const MlrtTensor in[] = {lf_ints(&m, 0), lf_ints(&limit, 0), lf_ints(x, 1, 3)};
	MlrtTensor out[3] = {{0}};
	m = 0;
	fails(s, in, out, "the_concat: a tensor of a sequence without items");
	mlrt_session_free(s);
	mlrt_model_close(model);
	lf_free(&f);
}

static void bodies_are_profiled(void)
{
	int64_t x[4] = {1, 2, 3, 4}, m = 5, limit = 2;
	const MlrtTensor in[] = {lf_ints(&m, 0), lf_ints(&limit, 0), lf_ints(x, 1, 4)};
	MlrtTensor out[3] = {{0}};
	ListFixture f;
	uint64_t sum = 0;

	lp_loop(&f);
	MlrtModel *model = lf_open(&f);
	MlrtSession *s = lf_session(model, 1);
	CU_ASSERT_EQUAL(mlrt_session_steps(s), 3 + 3 + 1);
	mlrt_session_profile(s, 1);
	for (int i = 0; i < 50; i++) {
		out[0].data = out[1].data = out[2].data = NULL;
		works(s, in, out);
	}
	for (size_t i = 0; i < 7; i++)
		sum += mlrt_session_step_ns(s, i) > 0;
	CU_ASSERT(sum >= 5); /* some steps may take no time that the clock shows */
	mlrt_session_free(s);
	mlrt_model_close(model);
	lf_free(&f);
}

static void results_in_session_memory_are_no_inputs(void)
{
	int64_t x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	MlrtTensor in[] = {lf_ints(x, 1, 4), lf_ints(x, 1, 4)}, out[] = {{0}};
	ListFixture f;

	lp_sums(&f);
	MlrtModel *m = lf_open(&f);
	MlrtSession *s = lf_session(m, 1);
	works(s, in, out);
	in[1] = lf_ints(out[0].data, 1, 4);
	out[0] = (MlrtTensor){0};
	fails(s, in, out, "input 'z' lies where the session keeps output 'y'");
	in[1] = lf_ints(x + 4, 1, 4);
	out[0] = (MlrtTensor){.data = x, .bytes = 0};
	fails(s, in, out, "needs 32 bytes");
	mlrt_session_free(s);
	mlrt_model_close(m);
	lf_free(&f);
}

/* -- states ------------------------------------------------------------------------------------------ */

static void states_grow(void)
{
	int64_t x[MOST];
	ListFixture f;
	MlrtError err;

	fill(x, MOST, 0);
	lp_append(&f);
	strcpy(f.more, "\"states\":[{\"input\":1,\"output\":0}],");
	lf_package(&f);
	MlrtModel *m = lf_open(&f);
	MlrtSession *s = lf_session(m, 1);
	for (int round = 0; round < 3; round++) {
		for (int at = 0; at < MOST; at += 10) {
			const MlrtTensor in[] = {lf_ints(x + at, 1, 10), {0}};
			MlrtTensor out[] = {{0}};

			works(s, in, out);
			CU_ASSERT_EQUAL_FATAL(out[0].dims[0], at + 10);
			CU_ASSERT_EQUAL(memcmp(out[0].data, x, (size_t)(at + 10) * sizeof *x), 0);
		}
		mlrt_session_reset(s);
	}
	MlrtTensor in[] = {lf_ints(x, 1, 10), {0}}, out[] = {{0}};
	works(s, in, out);
	out[0] = (MlrtTensor){.data = x, .bytes = 8}; /* a run that fails changes nothing */
	in[0] = lf_ints(x + 100, 1, 10);
	fails(s, in, out, "needs 160 bytes");
	in[1] = lf_ints(x + 50, 1, 2); /* the state is put aside once */
	out[0] = (MlrtTensor){0};
	works(s, in, out);
	CU_ASSERT_EQUAL(out[0].dims[0], 12);
	in[1] = (MlrtTensor){0};
	out[0] = (MlrtTensor){0};
	works(s, in, out);
	CU_ASSERT_EQUAL(out[0].dims[0], 22);
	CU_ASSERT_EQUAL(mlrt_session_state(s, 1, 0, &err), MLRT_ERR_ARGUMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "a state already"));
	CU_ASSERT_EQUAL(mlrt_session_state(s, 2, 0, &err), MLRT_ERR_ARGUMENT);
	mlrt_session_free(s);
	mlrt_model_close(m);
	lf_free(&f);
}

/* z is unknown at first: as long as x, because the dimension has the same name. */
static void first_states_take_sizes_by_name(void)
{
	int64_t x[4] = {1, 2, 3, 4};
	const MlrtTensor in[] = {lf_ints(x, 1, 4), {0}};
	ListFixture f;

	lp_sums(&f);
	MlrtModel *m = lf_open(&f);
	MlrtSession *s = lf_session(m, 1);
	CU_ASSERT_EQUAL(mlrt_session_state(s, 1, 0, NULL), MLRT_OK);
	for (int64_t run = 0, y = 0; run < 10; run++) {
		MlrtTensor out[] = {{0}};

		works(s, in, out);
		y = 2 * (x[3] + y);
		CU_ASSERT_EQUAL(((int64_t *)out[0].data)[3], y);
	}
	mlrt_session_free(s);
	mlrt_model_close(m);
	lf_free(&f);
}

/* -- memory ------------------------------------------------------------------------------------------ */

typedef struct Heap {
	long live, calls, fail_at;
} Heap;

static void *heap_alloc(void *user, size_t bytes)
{
	Heap *h = user;
	void *p = ++h->calls == h->fail_at ? NULL : aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (!p)
		return NULL;
	memset(p, 0xa5, bytes);
	h->live += (long)bytes;
	return p;
}

static void heap_release(void *user, void *p, size_t bytes)
{
	Heap *h = user;

	h->live -= (long)bytes;
	free(p);
}

static void memory_is_refused(void)
{
	Heap heap = {0};
	const MlrtAllocator al = {&heap, heap_alloc, heap_release};
	const MlrtSessionOptions opt = {.threads = 1, .allocator = &al};
	int64_t x[20], m = 7, limit = 3;
	const MlrtTensor in[] = {lf_ints(&m, 0), lf_ints(&limit, 0), lf_ints(x, 1, 20)};
	ListFixture f;
	MlrtSession *s = NULL;
	long calls, session;

	fill(x, 20, 4);
	lp_loop(&f);
	MlrtModel *model = lf_open(&f);
	CU_ASSERT_EQUAL_FATAL(mlrt_session_new(model, &opt, &s, NULL), MLRT_OK);
	session = heap.calls;
	works(s, in, (MlrtTensor[3]){{0}});
	calls = heap.calls;
	for (int i = 0; i < 10; i++)
		works(s, in, (MlrtTensor[3]){{0}});
	CU_ASSERT_EQUAL(heap.calls, calls); /* sizes seen before take nothing */
	mlrt_session_free(s);
	CU_ASSERT_EQUAL(heap.live, 0);
	for (long n = 1; n <= calls; n++) {
		MlrtStatus st;

		heap = (Heap){.fail_at = n};
		s = NULL;
		st = mlrt_session_new(model, &opt, &s, NULL);
		CU_ASSERT_EQUAL(st, n <= session ? MLRT_ERR_NOMEM : MLRT_OK);
		if (!st) {
			CU_ASSERT_EQUAL(mlrt_session_run_tensors(s, in, (MlrtTensor[3]){{0}}, NULL), MLRT_ERR_NOMEM);
			works(s, in, (MlrtTensor[3]){{0}}); /* and the next one goes well */
		}
		mlrt_session_free(s);
		CU_ASSERT_EQUAL(heap.live, 0);
	}
	mlrt_model_close(model);
	lf_free(&f);
}

/* -- damage ------------------------------------------------------------------------------------------ */

/* A child takes long to start under a sanitizer: then only some of the damage is tried. */
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { DAMAGE_STEP = 20 };
#else
enum { DAMAGE_STEP = 1 };
#endif

static int64_t numbers[64];

/* Inputs of any program of list_programs.h, by type and rank. */
static void run_with_anything(MlrtModel *m)
{
	static const MlrtText texts[4] = {{"one", 3}, {"two", 3}, {"", 0}, {"three", 5}};
	MlrtSession *s = NULL;
	MlrtTensor in[8] = {{0}}, out[8] = {{0}};
	MlrtTensorInfo info;

	if (mlrt_model_inputs(m) > 8 || mlrt_model_outputs(m) > 8 ||
	    mlrt_session_new(m, &(MlrtSessionOptions){.threads = 1}, &s, NULL))
		return;
	for (size_t i = 0; mlrt_model_input(m, i, &info) == MLRT_OK; i++) {
		in[i] = (MlrtTensor){.data = numbers, .bytes = sizeof numbers, .rank = info.rank, .dims = {4, 3}};
		for (int k = 0; k < info.rank; k++)
			in[i].dims[k] = info.dims[k] >= 0 ? info.dims[k] : in[i].dims[k];
		if (strcmp(info.elem, "str") == 0)
			in[i].data = (void *)(uintptr_t)texts;
		if (strcmp(info.kind, "tensor") != 0)
			in[i].object = mlrt_object_new(info.kind, info.elem, info.key);
	}
	for (int run = 0; run < 2; run++) {
		memset(out, 0, sizeof out);
		mlrt_session_run_tensors(s, in, out, NULL);
	}
	mlrt_session_free(s);
	for (size_t i = 0; i < 8; i++)
		mlrt_object_free(in[i].object);
}

/* In a child: a loop may have become endless, which a timer ends. */
static int survives(MlrtModel *m)
{
	int status = -1;
	pid_t pid = fork();

	CU_ASSERT_FATAL(pid >= 0);
	if (pid == 0) {
		setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 300000}}, NULL);
		run_with_anything(m);
		_exit(0);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return (WIFEXITED(status) && WEXITSTATUS(status) == 0) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}

/* Each word of the program takes each of some values. What opens must run or fail, not crash; programs with
 * kernels are only opened, because no runtime can tell whether a kernel gets the arguments it was made for. */
static void damage(void (*program)(ListFixture *f), int run)
{
	static const uint32_t values[] = {0, 1, 2, 5, 9, UINT32_MAX, UINT32_MAX - 1, 0x7fffffff};
	ListFixture f;
	unsigned char *whole;
	int opened = 0, refused = 0, crashed = 0;

	program(&f);
	whole = malloc(f.nprogram);
	CU_ASSERT_PTR_NOT_NULL_FATAL(whole);
	memcpy(whole, f.program, f.nprogram);
	for (size_t at = 0; at < f.nprogram; at += 4) {
		for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
			uint32_t old;
			MlrtModel *m = NULL;
			MlrtError err = {0};

			memcpy(&old, whole + at, 4);
			if (old == values[v] || (at / 4 + v) % DAMAGE_STEP != 0)
				continue;
			memcpy(f.program, whole, f.nprogram);
			memcpy(f.program + at, &values[v], 4);
			lf_package(&f);
			if (mlrt_model_open_memory(f.bytes, f.n, NULL, &m, &err) != MLRT_OK) {
				refused++;
				/* sizes that the fixture puts into the manifest, too, may be unfit for that already */
				CU_ASSERT((err.status == MLRT_ERR_FORMAT || err.status == MLRT_ERR_MANIFEST) && err.text[0]);
				continue;
			}
			opened++;
			if (run && !survives(m)) {
				printf("\n  word %zu of %zu, from %u to %u: crashed", at / 4, f.nprogram / 4, old, values[v]);
				crashed++;
			} else if (!run) {
				MlrtSession *s = NULL;

				if (mlrt_session_new(m, &(MlrtSessionOptions){.threads = 1}, &s, NULL) == MLRT_OK)
					mlrt_session_free(s);
			}
			mlrt_model_close(m);
		}
		mlo_arena_free(f.arena); /* packages pile up */
		f.arena = mlo_arena_new();
		f.program = mlo_alloc(f.arena, f.nprogram, 8);
	}
	CU_ASSERT_EQUAL(crashed, 0);
	CU_ASSERT(refused > 500 / DAMAGE_STEP && opened > 10 / DAMAGE_STEP);
	free(whole);
	lf_free(&f);
}

static void damaged_sums(void) { damage(lp_sums, 0); }
static void damaged_loop(void) { damage(lp_loop, 0); }
static void damaged_objects(void) { damage(lp_objects, 1); }
static void damaged_texts(void) { damage(lp_texts, 1); }
static void damaged_append(void) { damage(lp_append, 1); }

void suite_runtime_list(void)
{
	CU_pSuite s = CU_add_suite("runtime_list", NULL, NULL);

	CU_ADD_TEST(s, sizes_come_with_the_run);
	CU_ADD_TEST(s, runs_like_the_last_one);
	CU_ADD_TEST(s, wrong_tensors_are_refused);
	CU_ADD_TEST(s, sizes_found_during_the_run);
	CU_ADD_TEST(s, loops_and_conditions);
	CU_ADD_TEST(s, bodies_are_profiled);
	CU_ADD_TEST(s, results_in_session_memory_are_no_inputs);
	CU_ADD_TEST(s, states_grow);
	CU_ADD_TEST(s, first_states_take_sizes_by_name);
	CU_ADD_TEST(s, memory_is_refused);
	CU_ADD_TEST(s, damaged_sums);
	CU_ADD_TEST(s, damaged_loop);
	CU_ADD_TEST(s, damaged_objects);
	CU_ADD_TEST(s, damaged_texts);
	CU_ADD_TEST(s, damaged_append);
}
