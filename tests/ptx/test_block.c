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

/* Stages copied whole, in part, and not at all: what is not copied is zero. */
static void ring(void *m)
{
	enum { STAGES = 5, STAGE = 512 };
	TestBuffer x = test_buffer(STAGES * STAGE), y = test_buffer(STAGES * STAGE);

	for (int k = 0; k < STAGES * STAGE; k++)
		((uint8_t *)x.host)[k] = (uint8_t)(k * 7 % 255 + 1);
	test_put(&x);
	for (unsigned size = 0; size <= 16; size += 4) {
		const uint64_t args[] = {x.device, y.device, STAGES, 3, size};
		int bad = 0;

		CALL(test_run(m, "ring", 1, 32, 0, 5, args));
		test_get(&y);
		for (unsigned k = 0; k < STAGES * STAGE; k++)
			bad += ((uint8_t *)y.host)[k] != (k < 3 * STAGE || k % 16 < size ? ((uint8_t *)x.host)[k] : 0);
		CHECK_THAT(!bad, "ring, %u bytes: %d are wrong", size, bad);
	}
	test_free(&x);
	test_free(&y);
}

static void matrices(void *m)
{
	TestBuffer x = test_buffer(512), y = test_buffer(1024);
	const uint64_t args[] = {x.device, y.device};
	const uint16_t *in = x.host, *out = y.host;
	int bad = 0;

	for (int k = 0; k < 256; k++)
		((uint16_t *)x.host)[k] = (uint16_t)(k * 37);
	test_put(&x);
	CALL(test_run(m, "matrices", 1, 32, 0, 2, args));
	test_get(&y);
	/* matrix j, row r, column c: halves of x at 64 j + 8 r + c */
	for (int lane = 0; lane < 32; lane++)
		for (int j = 0; j < 4; j++)
			for (int e = 0; e < 2; e++) {
				const int row = lane / 4, col = lane % 4 * 2 + e, at = lane * 8 + j * 2 + e;

				bad += out[at] != in[64 * j + 8 * row + col];
				if (j < 3)
					bad += out[256 + at] != in[64 * j + 8 * col + row];
			}
	CHECK(bad == 0);
	test_free(&x);
	test_free(&y);
}

static void asynchronous(const char *cases)
{
	char *text = test_read(cases, "async.ptx");
	void *m = test_load(text);

	free(text);
	if (!m)
		return;
	ring(m);
	matrices(m);
	CALL(cuModuleUnload(m));
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
	asynchronous(cases);
}
