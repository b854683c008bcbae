/* tests/unit/test_runtime_quiet.c -- a run (of sizes seen before) allocates nothing and asks the kernel for nothing but wake-ups.
 *
 * A child process forbids itself all system calls but futex and a thread's first and last ones, then runs a
 * model many times: the kernel ends it at the first other call.  malloc() and its family are counted by
 * definitions that stand before the C library's. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/list_programs.h"
#include "tests/unit/package_fixture.h"

void suite_runtime_quiet(void);

#ifdef __has_feature /* how clang says it */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define COUNTS_MALLOC 0
static long mallocs;
#else
#define COUNTS_MALLOC 1
static long mallocs;
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

void *malloc(size_t n)
{
	__atomic_add_fetch(&mallocs, 1, __ATOMIC_RELAXED);
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	__atomic_add_fetch(&mallocs, 1, __ATOMIC_RELAXED);
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	__atomic_add_fetch(&mallocs, 1, __ATOMIC_RELAXED);
	return __libc_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
	__atomic_add_fetch(&mallocs, 1, __ATOMIC_RELAXED);
	return __libc_memalign(align, n);
}

int posix_memalign(void **p, size_t align, size_t n)
{
	__atomic_add_fetch(&mallocs, 1, __ATOMIC_RELAXED);
	*p = __libc_memalign(align, n);
	return *p ? 0 : ENOMEM;
}
#endif

static void runs_without_malloc(void)
{
	Fixture f;
	FixData d;

	if (!COUNTS_MALLOC) {
		puts("\n  skipped: malloc belongs to a sanitizer");
		return;
	}
	fix_init(&f);
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	for (int threads = 1; threads <= 3; threads++) {
		MlrtSession *s = NULL;
		long before = mallocs;

		CU_ASSERT_EQUAL_FATAL(
			mlrt_session_new(m, &(MlrtSessionOptions){.threads = threads}, &s, NULL), MLRT_OK);
		CU_ASSERT(mallocs > before); /* the counter counts */
		fix_data(&d, threads);
		before = mallocs;
		for (int run = 0; run < 100; run++)
			CU_ASSERT_EQUAL(fix_run(s, &d, NULL), MLRT_OK);
		CU_ASSERT_EQUAL(mallocs, before);
		mlrt_session_free(s);
	}
	mlrt_model_close(m);
	fix_free(&f);
}

/* Sizes that come with the run, an IF in a LOOP, a sequence that grows: each of a few sizes once, then quiet. */
static int run_loop(MlrtSession *s, int round)
{
	static int64_t x[64];
	int64_t m = 3 + round % 3, limit = round % 4;
	const int n = 10 + round % 5;
	const MlrtTensor in[] = {lf_ints(&m, 0), lf_ints(&limit, 0), lf_ints(x, 1, n)};
	MlrtTensor out[3] = {{0}};

	x[n - 1] = round;
	if (mlrt_session_run_tensors(s, in, out, NULL) != MLRT_OK)
		return 0;
	return ((int64_t *)out[0].data)[n - 1] == round * (1 + (m < limit ? m : limit)) && out[2].dims[0] == n * m;
}

enum { LOOP_ROUNDS = 60 }; /* all combinations of the sizes above */

static void loops_without_malloc(void)
{
	ListFixture f;

	if (!COUNTS_MALLOC) {
		puts("\n  skipped: malloc belongs to a sanitizer");
		return;
	}
	lp_loop(&f);
	MlrtModel *m = lf_open(&f);
	for (int threads = 1; threads <= 3; threads++) {
		MlrtSession *s = lf_session(m, threads);
		long before;

		for (int i = 0; i < LOOP_ROUNDS; i++)
			CU_ASSERT(run_loop(s, i));
		before = mallocs;
		for (int i = 0; i < 2 * LOOP_ROUNDS; i++)
			CU_ASSERT(run_loop(s, i));
		CU_ASSERT_EQUAL(mallocs, before);
		mlrt_session_free(s);
	}
	mlrt_model_close(m);
	lf_free(&f);
}

/* From here on, in all threads: futex, exit_group and what a thread does as it starts, or death. */
static int forbid_system_calls(void)
{
	struct sock_filter rule[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigprocmask, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_set_robust_list, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rseq, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = {sizeof rule / sizeof *rule, rule};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

enum { CHILD_FINE = 0, CHILD_WRONG = 1, CHILD_NO_SECCOMP = 77 };

static int child(MlrtModel *m, int threads, int also_getpid)
{
	MlrtSession *s = NULL;
	FixData d;

	if (mlrt_session_new(m, &(MlrtSessionOptions){.threads = threads}, &s, NULL) != MLRT_OK)
		return CHILD_WRONG;
	fix_data(&d, 1);
	if (forbid_system_calls() != 0)
		return CHILD_NO_SECCOMP;
	if (also_getpid)
		syscall(SYS_getpid);
	for (int run = 0; run < 300; run++) {
		if (fix_run(s, &d, NULL) != MLRT_OK || !fix_right(&d))
			return CHILD_WRONG;
		for (volatile long wait = run % 50 == 0 ? 1000000 : 0; wait > 0; wait--)
			; /* long enough for the workers to sleep */
	}
	return CHILD_FINE;
}

static int loop_child(MlrtModel *m, int threads, int also_getpid)
{
	MlrtSession *s = lf_session(m, threads);

	(void)also_getpid;
	for (int i = 0; i < LOOP_ROUNDS; i++)
		if (!run_loop(s, i))
			return CHILD_WRONG;
	if (forbid_system_calls() != 0)
		return CHILD_NO_SECCOMP;
	for (int i = 0; i < 3 * LOOP_ROUNDS; i++)
		if (!run_loop(s, i))
			return CHILD_WRONG;
	return CHILD_FINE;
}

typedef int Child(MlrtModel *m, int threads, int also_getpid);

static int status_of_child(Child *run, MlrtModel *m, int threads, int also_getpid)
{
	pid_t pid;
	int status = -1;

	fflush(NULL);
	pid = fork();
	CU_ASSERT_FATAL(pid >= 0);
	if (pid == 0)
		_exit(run(m, threads, also_getpid));
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return status;
}

static void runs_without_system_calls(void)
{
	Fixture f;

	if (!COUNTS_MALLOC) {
		puts("\n  skipped: a sanitizer makes system calls of its own");
		return;
	}
	fix_init(&f);
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	int status = status_of_child(child, m, 1, 1);

	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_NO_SECCOMP) {
		puts("\n  skipped: this system has no seccomp filters");
	} else {
		CU_ASSERT(WIFSIGNALED(status)); /* the trap works */
		for (int threads = 1; threads <= 3; threads++)
			CU_ASSERT_EQUAL(status_of_child(child, m, threads, 0), 0);
	}
	mlrt_model_close(m);
	fix_free(&f);
}

static void loops_without_system_calls(void)
{
	ListFixture f;
	int status;

	if (!COUNTS_MALLOC) {
		puts("\n  skipped: a sanitizer makes system calls of its own");
		return;
	}
	lp_loop(&f);
	MlrtModel *m = lf_open(&f);
	for (int threads = 1; threads <= 3; threads++) {
		status = status_of_child(loop_child, m, threads, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_NO_SECCOMP)
			puts("\n  skipped: this system has no seccomp filters");
		else
			CU_ASSERT_EQUAL(status, 0);
	}
	mlrt_model_close(m);
	lf_free(&f);
}

void suite_runtime_quiet(void)
{
	CU_pSuite s = CU_add_suite("runtime_quiet", NULL, NULL);

	CU_ADD_TEST(s, runs_without_malloc);
	CU_ADD_TEST(s, runs_without_system_calls);
	CU_ADD_TEST(s, loops_without_malloc);
	CU_ADD_TEST(s, loops_without_system_calls);
}
