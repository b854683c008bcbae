/* tests/device/run.c -- kernels of GPUs against the interpreter of kernels: random ones, and contractions of each kind.
 *
 * usage: run [CASE]   (a part of its name).  LD_LIBRARY_PATH has the driver, of tests/ptx or a real one; PTX_TEST_SM tells the former
 * which device it is, MLO_TEST_SM the tests for which one code is made. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/device/device.h"
#include "tests/unit/kernel_random.h"

enum { KERNELS = 120, FEW_BLOCKS = 3 };

static int passed, failed;

static void count(bool ok)
{
	passed += ok;
	failed += !ok;
}

/* -- random kernels ---------------------------------------------------------------------------------- */

static bool try_random(MloArena *a, const MloTarget *t, uint64_t seed)
{
	bool approx, ok;
	MloKernel *k = kernel_random_new(a, seed, true, &approx);
	KernelBuffers in = kernel_buffers_new(a, k, seed, false), want = kernel_buffers_new(a, k, seed, false);
	DeviceBuffer *got = MLO_NEWN(a, DeviceBuffer, k->arg.n + 1);
	char name[64];
	MloDiag d = {0};

	snprintf(name, sizeof name, "random kernel %llu", (unsigned long long)seed);
	for (size_t i = 0; i < k->arg.n; i++)
		if (k->arg.items[i].dir != KA_SCRATCH)
			got[i] = (DeviceBuffer){in.arg[i], 0, (size_t)k->arg.items[i].count * mlo_elem_bits(k->arg.items[i].elem) / 8};
	ok = mlo_kernel_interp(k, want.arg, 0, k->ntasks, &d) == MLO_OK && device_run(k, t, name, got, seed % 2 ? FEW_BLOCKS : 0, &d) &&
	     device_same(k, name, got, want.arg, approx ? 1e-10 : 0);
	if (!ok) {
		MloStr s = {.arena = a};

		mlo_kernel_print(&s, k, true);
		printf("%s", mlo_str_text(&s));
	}
	mlo_diag_free(&d);
	kernel_buffers_free(&in);
	kernel_buffers_free(&want);
	return ok;
}

/* -- contractions ------------------------------------------------------------------------------------ */

#define F32 1e-12
#define SHORT 1e-6 /* of products that are exact, of f16 and bf16: sums of f32; else of what is rounded to them */
#define ROUNDED 1e-4
static const DeviceContract contracts[] = {
	{"f32 3x3", EL_f32, EL_f32, 2, 9, 11, 40, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, F32, 0},
	{"f32 3x3 dense strides", EL_f32, EL_f32, 1, 15, 13, 3, 20, 1, 3, 2, 1, 0, DEVICE_DENSE, F32, 0},
	{"f32 rows", EL_f32, EL_f32, 1, 1, 130, 96, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, F32, 0},
	{"f32 odd rows", EL_f32, EL_f32, 1, 1, 33, 37, 19, 1, 1, 1, 0, 0, DEVICE_ROWS, F32, 0},
	{"f32 groups", EL_f32, EL_f32, 1, 7, 7, 32, 32, 3, 3, 1, 1, 0, DEVICE_BLOCKS, F32, 0},
	{"f32 depthwise", EL_f32, EL_f32, 1, 9, 9, 1, 1, 64, 3, 1, 1, 0, DEVICE_BLOCKS, F32, 0},
	{"f32 long", EL_f32, EL_f32, 1, 1, 5, 512, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, F32, 0},
	{"bf16 3x3", EL_bf16, EL_bf16, 2, 9, 11, 64, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT, 0},
	{"bf16 tails", EL_bf16, EL_bf16, 1, 9, 11, 40, 33, 1, 3, 2, 1, 0, DEVICE_BLOCKS, SHORT, 0},
	{"bf16 rows", EL_bf16, EL_bf16, 1, 1, 200, 192, 256, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT, 0},
	{"bf16 long", EL_bf16, EL_bf16, 1, 1, 5, 1024, 64, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT, 0},
	{"bf16 groups", EL_bf16, EL_bf16, 1, 7, 7, 64, 64, 2, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT, 0},
	{"f32 by f16", EL_f32, EL_f16, 1, 9, 9, 64, 64, 1, 3, 1, 1, 0, DEVICE_BLOCKS, ROUNDED, 0},
	{"f32 by bf16", EL_f32, EL_bf16, 1, 1, 70, 96, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, ROUNDED, 0},
	{"u8 3x3", EL_u8, EL_i8, 2, 9, 11, 64, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, 0, 0},
	{"u8 zero point", EL_u8, EL_i8, 1, 9, 11, 48, 33, 1, 3, 1, 1, 117, DEVICE_BLOCKS, 0, 0},
	{"i8 zero point", EL_i8, EL_i8, 1, 1, 90, 128, 64, 1, 1, 1, 0, -5, DEVICE_ROWS, 0, 0},
	{"bf16 long rows", EL_bf16, EL_bf16, 1, 1, 70, 1600, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT, 0},
	{"i8 long rows", EL_i8, EL_i8, 1, 1, 70, 3200, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, 0, 0},
	{"f32 few tiles", EL_f32, EL_f32, 1, 1, 5, 1300, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, F32, 0},
	{"f32 taps of few tiles", EL_f32, EL_f32, 1, 7, 7, 96, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, F32, 0},
	{"bf16 few tiles", EL_bf16, EL_bf16, 1, 7, 7, 256, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT, 0},
	{"f16 few tiles", EL_f32, EL_f16, 1, 7, 7, 256, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, ROUNDED, 0},
	/* as a device of few multiprocessors would have them: tiles for whole ones */
	{"bf16 wide tiles", EL_bf16, EL_bf16, 1, 1, 260, 96, 256, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT, 2},
	{"bf16 wide tile", EL_bf16, EL_bf16, 1, 1, 256, 128, 250, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT, 1},
	{"bf16 long tiles", EL_bf16, EL_bf16, 1, 17, 17, 64, 64, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT, 2},
	{"i8 wide tiles", EL_i8, EL_i8, 1, 1, 260, 128, 256, 1, 1, 1, 0, 3, DEVICE_ROWS, 0, 2},
	{"u8 long tiles", EL_u8, EL_i8, 1, 17, 17, 64, 64, 1, 3, 1, 1, 117, DEVICE_BLOCKS, 0, 2},
	{"f16 wide tiles", EL_f32, EL_f16, 1, 1, 260, 96, 256, 1, 1, 1, 0, 0, DEVICE_ROWS, ROUNDED, 2},
	{"u8 few tiles", EL_u8, EL_i8, 1, 7, 7, 256, 70, 1, 3, 1, 1, 117, DEVICE_BLOCKS, 0, 0},
	{"i8 rows", EL_i8, EL_i8, 1, 1, 200, 256, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, 0, 0},
	{"u8 depthwise", EL_u8, EL_i8, 1, 9, 9, 1, 1, 64, 3, 1, 1, 3, DEVICE_BLOCKS, 0, 0},
};

static void fill(KernelRandom *r, MloElem t, void *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += mlo_elem_bits(t) / 8) {
		float f = (float)((int)kernel_random(r, 2001) - 1000) / 1000;
		int32_t whole = (int32_t)kernel_random(r, 1 << 20);
		uint32_t bits;
		uint16_t h;

		memcpy(&bits, &f, 4);
		/* the sign, exponents and a few bits of f16, of numbers between 1/16 and 2 */
		h = (uint16_t)(bits >> 16 & 0x8000);
		h = t == EL_bf16 ? (uint16_t)(bits >> 16) : (uint16_t)(h | (11 + kernel_random(r, 5)) << 10 | kernel_random(r, 1024));
		memcpy((char *)p + i, t == EL_f32 ? (void *)&f : mlo_elem_is_float(t) ? (void *)&h : (void *)&whole, mlo_elem_bits(t) / 8);
	}
}

/* The device as if it had so many multiprocessors. */
static const MloTarget *cut_down(MloArena *a, const MloTarget *t, int sms)
{
	MloTarget *cut = mlo_dup(a, t, sizeof *t);
	MloGpu *gpu = mlo_dup(a, t->gpu, sizeof *t->gpu);
	double share = (double)sms / gpu->sms;

	gpu->sms = sms;
	gpu->f32 *= share;
	gpu->f16 *= share;
	gpu->i8 *= share;
	gpu->gbytes *= share;
	cut->gpu = gpu;
	return cut;
}

static bool try_contract(MloArena *a, const MloTarget *t, const DeviceContract *c, unsigned blocks)
{
	MloKernel *k = device_contract(a, t, c);
	DeviceBuffer *got = MLO_NEWN(a, DeviceBuffer, k->arg.n + 1);
	void **want = MLO_NEWN(a, void *, k->arg.n + 1), **arg = MLO_NEWN(a, void *, k->arg.n + 1);
	KernelRandom r = {kernel_test_seed(17)};
	MloDiag d = {0};
	bool ok = mlo_kernel_verify(k, &d) == MLO_OK;

	for (size_t i = 0; i < k->arg.n && ok; i++) {
		const KArg *g = &k->arg.items[i];

		got[i].bytes = (size_t)g->count * mlo_elem_bits(g->elem) / 8;
		got[i].host = arg[i] = mlo_alloc(a, got[i].bytes, 1);
		fill(&r, g->elem, got[i].host, got[i].bytes);
	}
	if (ok)
		device_weights(k, arg);
	for (size_t i = 0; i < k->arg.n && ok; i++)
		want[i] = mlo_dup(a, got[i].host, got[i].bytes);
	mlo_diag_print(&d, c->name, stdout);
	ok = ok && mlo_kernel_interp(k, want, 0, k->ntasks, &d) == MLO_OK && device_run(k, t, c->name, got, blocks, &d) &&
	     device_same(k, c->name, got, want, c->most);
	mlo_diag_free(&d);
	return ok;
}

/* -------------------------------------------------------------------------------------------------- */

static void run_all(const MloTarget *t, const char *only)
{
	MloArena *a = mlo_arena_new();

	for (size_t i = 0; i < sizeof contracts / sizeof *contracts; i++)
		if (!only || strstr(contracts[i].name, only))
			count(try_contract(a, contracts[i].sms ? cut_down(a, t, contracts[i].sms) : t, &contracts[i], i % 2 ? FEW_BLOCKS : 0));
	if (!only || !strcmp(only, "random"))
		for (uint64_t i = 0; i < KERNELS; i++)
			count(try_random(a, t, kernel_test_seed(5000) + i));
	mlo_arena_free(a);
}

int main(int argc, char **argv)
{
	const char *sm = getenv("MLO_TEST_SM");
	char why[300], name[32];
	const MloTargetSet *set;

	snprintf(name, sizeof name, "sm_%s", sm ? sm : "80");
	set = mlo_target_find(name, NULL);
	if (!set || !device_open(why, sizeof why)) {
		printf("SKIP device: %s\n0 passed, 0 failed, 1 skipped\n", set ? why : "no such target");
		return 0;
	}
	run_all(set->variant[0], argc > 1 ? argv[1] : NULL);
	device_close();
	printf("%d passed, %d failed, 0 skipped\n", passed, failed);
	return failed > 0;
}
