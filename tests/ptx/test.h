/* tests/ptx/test.h -- the tests of the interpreter: kernels run through the driver's functions. */
#ifndef MLOPT_TESTS_PTX_TEST_H
#define MLOPT_TESTS_PTX_TEST_H

#include <stdio.h>

#include "tests/ptx/driver_api.h"

extern int test_passed, test_failed;

/* Prints what failed. */
bool test_check(bool good, const char *file, int line, const char *format, ...) __attribute__((format(printf, 4, 5)));
#define CHECK(cond) test_check(cond, __FILE__, __LINE__, "%s", #cond)
#define CHECK_THAT(cond, ...) test_check(cond, __FILE__, __LINE__, __VA_ARGS__)
#define CALL(call) test_call(call, __FILE__, __LINE__, #call)
CUresult test_call(CUresult r, const char *file, int line, const char *what); /* must succeed */

char *test_read(const char *folder, const char *name); /* a file's text, malloc'd; NULL: there is none */
void *test_load(const char *text);                     /* a module; NULL after a failed check */

/* A buffer of the device and its copy here. */
typedef struct TestBuffer {
	CUdeviceptr device;
	void *host;
	size_t bytes;
} TestBuffer;
TestBuffer test_buffer(size_t bytes); /* zeros */
void test_put(TestBuffer *b);
void test_get(TestBuffer *b);
void test_free(TestBuffer *b);

/* Launches name of module with the n arguments (of 8 bytes each), waits; the error of the kernel. */
CUresult test_run(void *module, const char *name, unsigned blocks, unsigned threads, unsigned shared, unsigned n,
		  const uint64_t *args);

void test_context(void);             /* everything of the device anew; the report is written */
/* The number behind a name, in the part of a report that begins with another one; -1: there is none. */
long test_number(const char *report, const char *part, const char *name);

/* PTX: "{%reg0, ...}"; loads of n registers that each thread has of the buffer in parameter `base`, register k k * threads words further on. */
void test_print_list(FILE *o, const char *reg, int n);
void test_print_loads(FILE *o, const char *reg, const char *type, const char *base, int n, int threads);

/* Kernels that are put together from a common beginning and a body, and have one argument, x, a buffer; and
 * how they should end. */
typedef struct TestKernel {
	const char *name;
	CUresult error;
	unsigned threads;
	const char *body;
} TestKernel;

typedef struct TestKernels {
	const char *file, *version, *target; /* file: where they are written, for an assembler */
	const TestKernel *list;
	size_t n;
	void (*prologue)(FILE *o);
	void (*fill)(TestBuffer *x); /* NULL: with zeros */
	bool (*good)(const TestKernel *k,
		     const TestBuffer *x); /* of kernels without an error; NULL: nothing to look at */
	size_t bytes;                      /* of x */
} TestKernels;
void test_kernels(const char *folder, const TestKernels *k);

void test_code(const char *kernels); /* compiled C: arithmetic, divergence, calls, local memory */

void test_block(const char *cases);   /* reduce.ptx, async.ptx, warp.ptx, control.ptx */

void test_mma(const char *folder);    /* writes its kernels there */
void test_wgmma(const char *folder);  /* as above; these three for a device of capability 9.0 */
void test_wgmma_faults(const char *folder);
void test_mbarrier(const char *folder);
void test_scalar(const char *folder); /* as above */
void test_driver(const char *cases);  /* count.ptx */
void test_faults(const char *cases, const char *folder); /* faults.ptx; modules that are refused */

#endif
