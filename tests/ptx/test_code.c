/* tests/ptx/test_code.c -- C that was compiled to PTX does what the same C does here. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/test.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#include "tests/ptx/kernels.c"
#pragma GCC diagnostic pop

enum { N = 1000, THREADS = 96, BLOCKS = (N + THREADS - 1) / THREADS };

static u64 random_bits(void)
{
	static u64 state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* Runs a kernel of one input and one output on the device; `expected` is what it should give. */
static void compare(void *module, const char *name, TestBuffer *in, const void *expected, size_t bytes)
{
	TestBuffer out = test_buffer(bytes);
	const uint64_t args[] = {in->device, out.device, N};

	test_put(in);
	CALL(test_run(module, name, BLOCKS, THREADS, 0, 3, args));
	test_get(&out);
	for (size_t k = 0; k < bytes; k++)
		if (((const u8 *)out.host)[k] != ((const u8 *)expected)[k]) {
			CHECK_THAT(false, "%s: byte %zu of %zu is %#x, not %#x", name, k, bytes,
				   ((const u8 *)out.host)[k], ((const u8 *)expected)[k]);
			test_free(&out);
			return;
		}
	CHECK_THAT(true, "%s", name);
	test_free(&out);
}

void test_code(const char *kernels)
{
	void *m = test_load(kernels);
	TestBuffer in = test_buffer(N * 8);
	union {
		u32 w[N];
		u64 d[N];
		float f[N];
		s8 b[N];
	} *e = calloc(1, sizeof *e);

	if (!m || !e)
		return;
	for (long i = 0; i < N; i++)
		((u32 *)in.host)[i] = (u32)(random_bits() % 5000);
	for (long i = 0; i < N; i++)
		collatz(in.host, e->w, N, i);
	compare(m, "collatz", &in, e, N * 4);
	for (long i = 0; i < N; i++)
		((u64 *)in.host)[i] = random_bits();
	for (long i = 0; i < N; i++)
		integers(in.host, e->d, N, i);
	compare(m, "integers", &in, e, N * 8);
	for (long i = 0; i < N; i++)
		bytes(in.host, e->b, N, i);
	compare(m, "bytes", &in, e, N);
	for (long i = 0; i < N; i++)
		((float *)in.host)[i] = (float)(random_bits() % 2000) / 64 - 10;
	for (long i = 0; i < N; i++)
		calls(in.host, e->f, N, i);
	compare(m, "calls", &in, e, N * 4);
	for (long i = 0; i < N; i++)
		((double *)in.host)[i] = (double)(random_bits() % 200000) / 977 - 100;
	for (long i = 0; i < N; i++)
		doubles(in.host, e->f, N, i);
	compare(m, "doubles", &in, e, N * 4);
	free(e);
	test_free(&in);
	CALL(cuModuleUnload(m));
}
