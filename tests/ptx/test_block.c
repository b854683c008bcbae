/* tests/ptx/test_block.c -- threads of a block work together: shared memory, barriers, shuffles, atomics. */
#include <stdlib.h>

#include "tests/ptx/test.h"

static void reduce(void *m)
{
	enum { N = 1000, THREADS = 128 };
	TestBuffer x = test_buffer(N * 4), y = test_buffer(8);
	const uint64_t args[] = {x.device, y.device, N};
	float sum = 0;
	uint32_t below = 0;

	for (int k = 0; k < N; k++) {
		const float v = (float)(k * 37 % 101 - 40);

		((float *)x.host)[k] = v;
		sum += v;
		below += v < 0;
	}
	test_put(&x);
	CALL(test_run(m, "reduce", (N + THREADS - 1) / THREADS, THREADS, 0, 3, args));
	test_get(&y);
	CHECK_THAT(((float *)y.host)[0] == sum, "%g, not %g", ((float *)y.host)[0], sum);
	CHECK(((uint32_t *)y.host)[1] == below);
	test_free(&x);
	test_free(&y);
}

static void reverse(void *m)
{
	enum { THREADS = 256, BLOCKS = 3, N = THREADS * BLOCKS };
	TestBuffer x = test_buffer(N * 4), y = test_buffer(N * 4);
	const uint64_t args[] = {x.device, y.device, N};
	int bad = 0;

	for (int k = 0; k < N; k++)
		((int *)x.host)[k] = k;
	test_put(&x);
	CALL(test_run(m, "reverse", BLOCKS, THREADS, THREADS * 4, 3, args));
	test_get(&y);
	for (int k = 0; k < N; k++)
		bad += ((int *)y.host)[k] != k / THREADS * THREADS + THREADS - 1 - k % THREADS;
	CHECK(bad == 0);
	test_free(&x);
	test_free(&y);
}

void test_block(const char *cases)
{
	char *text = test_read(cases, "reduce.ptx");
	void *m = test_load(text);

	free(text);
	if (!m)
		return;
	reduce(m);
	reverse(m);
	CALL(cuModuleUnload(m));
}
