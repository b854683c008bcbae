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

/* What lane l should have got of the 16 words of `exchange`. */
static void exchanged(const uint32_t *x, unsigned l, uint32_t *e)
{
	const unsigned half = l & 16;
	uint32_t sum = 0, least = UINT32_MAX, all = 0, odd = 0, alike = 0;

	for (unsigned k = half; k < half + 16; k++) {
		sum += x[k];
		least = x[k] < least ? x[k] : least;
		odd |= (x[k] & 1) << k;
		alike |= (uint32_t)((x[k] & 3) == (x[l] & 3)) << k;
	}
	for (unsigned k = 0; k < 32; k++)
		all ^= x[k];
	e[0] = x[l >= 3 ? l - 3 : l];
	e[1] = x[l + 5 < 32 ? l + 5 : l];
	e[2] = x[l ^ 9];
	e[3] = x[(l & 24) + 3];
	e[5] = l % 8 + 2 < 8;
	e[4] = x[e[5] ? l + 2 : l];
	e[6] = odd;
	e[7] = sum;
	e[8] = least;
	e[9] = all;
	e[10] = alike;
	e[11] = 1;
	e[12] = 0xffffu << half;
	e[13] = UINT32_MAX;
	e[14] = l % 3 ? 0 : l / 3;
	e[15] = UINT32_MAX << l;
}

static void exchange(void *m)
{
	TestBuffer x = test_buffer(128), y = test_buffer(32 * 64);
	const uint64_t args[] = {x.device, y.device};

	for (unsigned k = 0; k < 32; k++)
		((uint32_t *)x.host)[k] = k * k * 2654435761u >> 7;
	test_put(&x);
	CALL(test_run(m, "exchange", 1, 32, 0, 2, args));
	test_get(&y);
	for (unsigned l = 0; l < 32; l++) {
		const uint32_t *got = (uint32_t *)y.host + 16 * l;
		uint32_t want[16];

		exchanged(x.host, l, want);
		for (unsigned k = 0; k < 16; k++)
			if (got[k] != want[k])
				CHECK_THAT(false, "lane %u, word %u: %#x, not %#x", l, k, got[k], want[k]);
	}
	CHECK(true);
	test_free(&x);
	test_free(&y);
}

static void atomics(void *m)
{
	enum { THREADS = 128 };
	TestBuffer x = test_buffer(8), y = test_buffer(1024);
	const uint64_t args[] = {x.device, y.device};
	const uint32_t *r = y.host;
	bool once[THREADS] = {0};
	int bad = 0;

	*(uint64_t *)x.host = 1234567890123;
	test_put(&x);
	CALL(test_run(m, "atomics", 1, THREADS, 0, 2, args));
	test_get(&x);
	test_get(&y);
	for (int k = 0; k < THREADS; k++) {
		bad += r[k] >= THREADS || once[r[k]];
		if (r[k] < THREADS)
			once[r[k]] = true;
	}
	CHECK(!bad && r[128] == THREADS && r[129] == THREADS - 1 && r[130] == THREADS % 7);
	CHECK(r[131] == 1 && ((const uint64_t *)y.host)[66] == 1234567890123 && *(uint64_t *)x.host == 77);
	test_free(&x);
	test_free(&y);
}

static void warps(const char *cases)
{
	char *text = test_read(cases, "warp.ptx");
	void *m = test_load(text);

	free(text);
	if (!m)
		return;
	exchange(m);
	atomics(m);
	CALL(cuModuleUnload(m));
}

static void ways(void *m)
{
	enum { THREADS = 96 };
	TestBuffer x = test_buffer(THREADS * 4), y = test_buffer(THREADS * 16);
	const uint64_t args[] = {x.device, y.device};
	uint32_t above = 0;

	for (uint32_t k = 0; k < THREADS; k++) {
		((uint32_t *)x.host)[k] = k * 7 % 4;
		above += k * 7 % 4 > 1;
	}
	test_put(&x);
	CALL(test_run(m, "ways", 1, THREADS, 0, 2, args));
	test_get(&y);
	for (uint32_t k = 0; k < THREADS; k++) {
		const uint32_t *got = (uint32_t *)y.host + 4 * k;
		const uint32_t way[] = {100, k + 1000, 1000, 0};

		CHECK(got[0] == way[k * 7 % 4]);
		CHECK(got[1] == (k % 2 == 0 ? 7 : k > 20 ? UINT32_MAX : 3 * k + 1));
		CHECK(got[2] == above && got[3] == 10 * (k % 4 + 1) + 30 - 5);
	}
	test_free(&x);
	test_free(&y);
}

static void control(const char *cases)
{
	char *text = test_read(cases, "control.ptx");
	void *m = test_load(text);

	free(text);
	if (!m)
		return;
	ways(m);
	CALL(cuModuleUnload(m));
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
	warps(cases);
	control(cases);
}
