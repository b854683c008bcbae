/* tests/device/run.c -- kernels of GPUs against the interpreter of kernels: random ones, contractions of each kind, and attention.
 *
 * usage: run [CASE]   (a part of its name).  LD_LIBRARY_PATH has the driver, of tests/ptx or a real one; PTX_TEST_SM tells the former
 * which device it is, MLO_TEST_SM the tests for which one code is made, MLO_TEST_WHOLE that each tile has a block of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/device/device.h"
#include "tests/unit/kernel_random.h"

enum { KERNELS = 120, ATTENTIONS = 24, PATCHES = 40, FEW_BLOCKS = 3 };

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
			got[i] = (DeviceBuffer){.host = in.arg[i], .bytes = (size_t)k->arg.items[i].count * mlo_elem_bits(k->arg.items[i].elem) / 8};
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
	{"f32 3x3", EL_f32, EL_f32, 2, 9, 11, 40, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, F32},
	{"f32 3x3 dense strides", EL_f32, EL_f32, 1, 15, 13, 3, 20, 1, 3, 2, 1, 0, DEVICE_DENSE, F32},
	{"f32 rows", EL_f32, EL_f32, 1, 1, 130, 96, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, F32},
	{"f32 odd rows", EL_f32, EL_f32, 1, 1, 33, 37, 19, 1, 1, 1, 0, 0, DEVICE_ROWS, F32},
	{"f32 groups", EL_f32, EL_f32, 1, 7, 7, 32, 32, 3, 3, 1, 1, 0, DEVICE_BLOCKS, F32},
	{"f32 depthwise", EL_f32, EL_f32, 1, 9, 9, 1, 1, 64, 3, 1, 1, 0, DEVICE_BLOCKS, F32},
	{"f32 long", EL_f32, EL_f32, 1, 1, 5, 512, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, F32},
	{"bf16 3x3", EL_bf16, EL_bf16, 2, 9, 11, 64, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT},
	{"bf16 tails", EL_bf16, EL_bf16, 1, 9, 11, 40, 33, 1, 3, 2, 1, 0, DEVICE_BLOCKS, SHORT},
	{"bf16 rows", EL_bf16, EL_bf16, 1, 1, 200, 192, 256, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT},
	{"bf16 long", EL_bf16, EL_bf16, 1, 1, 5, 1024, 64, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT},
	{"bf16 groups", EL_bf16, EL_bf16, 1, 7, 7, 64, 64, 2, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT},
	{"fp16 3x3", EL_f16, EL_f16, 2, 9, 11, 64, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT},
	{"fp16 tails", EL_f16, EL_f16, 1, 9, 11, 40, 33, 1, 3, 2, 1, 0, DEVICE_BLOCKS, SHORT},
	{"fp16 deep 3x3", EL_f16, EL_f16, 1, 8, 16, 192, 64, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT},
	{"fp16 valid 3x3", EL_f16, EL_f16, 1, 9, 9, 64, 64, 1, 3, 1, 0, 0, DEVICE_BLOCKS, SHORT},
	{"fp16 long rows", EL_f16, EL_f16, 1, 1, 70, 1600, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT},
	{"fp16 depthwise", EL_f16, EL_f32, 1, 9, 9, 1, 1, 64, 3, 1, 1, 0, DEVICE_BLOCKS, ROUNDED},
	{"bf16 deep 3x3", EL_bf16, EL_bf16, 1, 8, 16, 192, 64, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT},
	{"u8 deep 3x3", EL_u8, EL_i8, 1, 8, 16, 384, 64, 1, 3, 1, 1, 7, DEVICE_BLOCKS, 0},
	{"f32 by f16", EL_f32, EL_f16, 1, 9, 9, 64, 64, 1, 3, 1, 1, 0, DEVICE_BLOCKS, ROUNDED},
	{"f32 by bf16", EL_f32, EL_bf16, 1, 1, 70, 96, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, ROUNDED},
	{"tf32 3x3", EL_tf32, EL_tf32, 2, 9, 11, 64, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, F32},
	{"tf32 tails", EL_tf32, EL_tf32, 1, 9, 11, 40, 33, 1, 3, 2, 1, 0, DEVICE_BLOCKS, F32},
	{"tf32 groups", EL_tf32, EL_tf32, 1, 7, 7, 64, 64, 2, 3, 1, 1, 0, DEVICE_BLOCKS, F32},
	{"tf32 long rows", EL_tf32, EL_tf32, 1, 1, 70, 1024, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, F32},
	{"tf32 depthwise", EL_tf32, EL_f32, 1, 9, 9, 1, 1, 64, 3, 1, 1, 0, DEVICE_BLOCKS, F32},
	{"f32 by tf32", EL_f32, EL_tf32, 1, 9, 9, 64, 64, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT},
	{"f32 rows by tf32", EL_f32, EL_tf32, 1, 1, 70, 96, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT},
	{"u8 3x3", EL_u8, EL_i8, 1, 9, 11, 192, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, 0},
	{"u8 zero point", EL_u8, EL_i8, 1, 9, 11, 48, 33, 1, 3, 1, 1, 117, DEVICE_BLOCKS, 0},
	{"i8 zero point", EL_i8, EL_i8, 1, 1, 90, 128, 64, 1, 1, 1, 0, -5, DEVICE_ROWS, 0},
	{"bf16 long rows", EL_bf16, EL_bf16, 1, 1, 70, 1600, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT},
	{"i8 long rows", EL_i8, EL_i8, 1, 1, 70, 3072, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, 0},
	{"f32 few tiles", EL_f32, EL_f32, 1, 1, 5, 1300, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, F32},
	{"f32 taps of few tiles", EL_f32, EL_f32, 1, 7, 7, 96, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, F32},
	{"bf16 few tiles", EL_bf16, EL_bf16, 1, 7, 7, 256, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT},
	{"f16 few tiles", EL_f32, EL_f16, 1, 7, 7, 256, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, ROUNDED},
	{"u8 few tiles", EL_u8, EL_i8, 1, 7, 7, 256, 70, 1, 3, 1, 1, 117, DEVICE_BLOCKS, 0},
	{"i8 rows", EL_i8, EL_i8, 1, 1, 200, 256, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, 0},
	{"u8 depthwise", EL_u8, EL_i8, 1, 9, 9, 1, 1, 64, 3, 1, 1, 3, DEVICE_BLOCKS, 0},
};

/* As a device of so many multiprocessors would have them: tiles for whole ones. */
static const struct { DeviceContract of; int sms; } wide[] = {
	{{"bf16 wide tiles", EL_bf16, EL_bf16, 1, 1, 260, 96, 256, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT}, 2},
	{{"bf16 wide tile", EL_bf16, EL_bf16, 1, 1, 256, 128, 250, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT}, 1},
	{{"bf16 long tiles", EL_bf16, EL_bf16, 1, 17, 17, 64, 64, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT}, 2},
	{{"i8 wide tiles", EL_i8, EL_i8, 1, 1, 260, 128, 256, 1, 1, 1, 0, 3, DEVICE_ROWS, 0}, 2},
	{{"u8 long tiles", EL_u8, EL_i8, 1, 17, 17, 64, 64, 1, 3, 1, 1, 117, DEVICE_BLOCKS, 0}, 2},
	{{"bf16 groups of warps", EL_bf16, EL_bf16, 1, 1, 256, 320, 192, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT}, 2},
	{{"fp16 groups of warps", EL_f16, EL_f16, 1, 1, 200, 256, 90, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT}, 1},
	{{"u8 groups of warps", EL_u8, EL_i8, 1, 1, 256, 640, 192, 1, 1, 1, 0, 117, DEVICE_ROWS, 0}, 2},
	{{"bf16 strided groups of warps", EL_bf16, EL_bf16, 1, 30, 30, 64, 96, 1, 3, 2, 1, 0, DEVICE_BLOCKS, SHORT}, 1},
	{{"bf16 pixels", EL_bf16, EL_bf16, 3, 10, 14, 192, 120, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT}, 4},
	{{"fp16 pixels inside", EL_f16, EL_f16, 2, 13, 10, 128, 64, 1, 3, 1, 0, 0, DEVICE_BLOCKS, SHORT}, 2},
	{{"u8 pixels", EL_u8, EL_i8, 2, 12, 9, 256, 64, 1, 3, 1, 1, 117, DEVICE_BLOCKS, 0}, 2},
	{{"u8 wide pixels", EL_u8, EL_i8, 1, 9, 30, 64, 130, 1, 5, 1, 2, 3, DEVICE_BLOCKS, 0}, 2},
	{{"tf32 wide tiles", EL_tf32, EL_tf32, 1, 1, 260, 64, 256, 1, 1, 1, 0, 0, DEVICE_ROWS, F32}, 2},
	{{"f16 wide tiles", EL_f32, EL_f16, 1, 1, 260, 96, 256, 1, 1, 1, 0, 0, DEVICE_ROWS, ROUNDED}, 2},
};

/* Of weights half of whose terms are zero; skew: of A, in bytes. */
static const struct { DeviceContract of; size_t skew; } kept[] = {
	{{"f16 half 3x3", EL_f16, EL_f16, 2, 9, 11, 64, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT}, 0},
	{{"bf16 half 3x3", EL_bf16, EL_bf16, 2, 9, 11, 64, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT}, 0},
	{{"bf16 half tails", EL_bf16, EL_bf16, 1, 9, 11, 40, 33, 1, 3, 2, 1, 0, DEVICE_BLOCKS, SHORT}, 0},
	{{"bf16 half long rows", EL_bf16, EL_bf16, 1, 1, 70, 1600, 128, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT}, 0},
	{{"bf16 half groups", EL_bf16, EL_bf16, 1, 7, 7, 64, 64, 2, 3, 1, 1, 0, DEVICE_BLOCKS, SHORT}, 0},
	{{"bf16 half unaligned", EL_bf16, EL_bf16, 1, 1, 20, 192, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT}, 2},
	{{"tf32 half 3x3", EL_tf32, EL_tf32, 1, 9, 11, 64, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, F32}, 0},
	{{"f32 half rows by tf32", EL_f32, EL_tf32, 1, 1, 70, 96, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, SHORT}, 0},
	{{"tf32 half unaligned", EL_tf32, EL_tf32, 1, 1, 20, 96, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, F32}, 4},
	{{"u8 half 3x3", EL_u8, EL_i8, 2, 9, 11, 64, 70, 1, 3, 1, 1, 0, DEVICE_BLOCKS, 0}, 0},
	{{"u8 half zero point", EL_u8, EL_i8, 1, 9, 11, 48, 33, 1, 3, 1, 1, 117, DEVICE_BLOCKS, 0}, 0},
	{{"i8 half long rows", EL_i8, EL_i8, 1, 1, 70, 3200, 128, 1, 1, 1, 0, -5, DEVICE_ROWS, 0}, 0},
	{{"i8 half unaligned", EL_i8, EL_i8, 1, 1, 20, 320, 40, 1, 1, 1, 0, 0, DEVICE_ROWS, 0}, 1},
	{{"i8 half dense", EL_i8, EL_i8, 1, 5, 7, 40, 20, 1, 3, 1, 1, 0, DEVICE_DENSE, 0}, 0},
};

/* Of few channels: out of a patch of the image.  skew: of A, in bytes. */
static const struct { DeviceContract of; int64_t apart; size_t skew; } patches[] = {
	{{"patch fp16 7x7", EL_f32, EL_f16, 1, 36, 40, 3, 64, 1, 7, 2, 3, 0, DEVICE_DENSE, ROUNDED}, 1, 0},
	{{"patch bf16 7x7", EL_f32, EL_bf16, 1, 36, 40, 3, 64, 1, 7, 2, 3, 0, DEVICE_DENSE, ROUNDED}, 1, 0},
	{{"patch tf32 7x7", EL_f32, EL_tf32, 1, 36, 40, 3, 64, 1, 7, 2, 3, 0, DEVICE_DENSE, SHORT}, 1, 0},
	{{"patch u8 7x7", EL_u8, EL_i8, 1, 36, 40, 3, 64, 1, 7, 2, 3, 117, DEVICE_FOURS, 0}, 1, 0},
	{{"patch i8 7x7", EL_i8, EL_i8, 2, 35, 37, 3, 40, 1, 7, 2, 3, -5, DEVICE_FOURS, 0}, 1, 0},
	{{"patch fp16 3x3", EL_f32, EL_f16, 2, 17, 19, 3, 24, 1, 3, 1, 1, 0, DEVICE_DENSE, ROUNDED}, 1, 0},
	{{"patch fp16 rounded", EL_f16, EL_f16, 1, 16, 24, 3, 32, 1, 3, 2, 1, 0, DEVICE_DENSE, SHORT}, 1, 0},
	{{"patch tf32 rounded", EL_tf32, EL_tf32, 1, 16, 24, 3, 32, 1, 3, 2, 1, 0, DEVICE_DENSE, F32}, 1, 0},
	{{"patch bf16 blocks", EL_bf16, EL_bf16, 1, 13, 11, 3, 70, 1, 5, 1, 2, 0, DEVICE_FOURS, SHORT}, 1, 0},
	{{"patch tf32 3x3", EL_f32, EL_tf32, 1, 16, 16, 4, 16, 1, 3, 1, 1, 0, DEVICE_DENSE, SHORT}, 1, 0},
	{{"patch u8 3x3", EL_u8, EL_i8, 1, 16, 16, 3, 16, 1, 3, 1, 1, 3, DEVICE_FOURS, 0}, 1, 0},
	{{"patch line", EL_f32, EL_f16, 3, 1, 200, 2, 20, 1, 5, 1, 2, 0, DEVICE_DENSE, ROUNDED}, 1, 0},
	{{"patch pixels", EL_f32, EL_bf16, 1, 9, 9, 12, 20, 1, 1, 1, 0, 0, DEVICE_DENSE, ROUNDED}, 1, 0},
	{{"patch apart", EL_f32, EL_f16, 1, 20, 23, 3, 16, 1, 3, 1, 2, 0, DEVICE_DENSE, ROUNDED}, 2, 0},
	{{"patch unaligned", EL_f32, EL_f16, 1, 9, 12, 3, 20, 1, 3, 2, 1, 0, DEVICE_DENSE, ROUNDED}, 1, 4},
	{{"patch unaligned bytes", EL_u8, EL_i8, 1, 9, 12, 3, 20, 1, 3, 1, 1, 9, DEVICE_FOURS, 0}, 1, 1},
	{{"patch lanes", EL_f16, EL_f16, 1, 9, 12, 6, 20, 1, 3, 1, 1, 0, DEVICE_ROWS, SHORT}, 1, 0},
};

static void fill(KernelRandom *r, MloElem t, void *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += mlo_elem_bits(t) / 8) {
		float f = (float)((int)kernel_random(r, 2001) - 1000) / 1000;
		int32_t whole = (int32_t)kernel_random(r, 1 << 20);
		uint32_t bits;
		uint16_t h;

		f = t == EL_tf32 ? mlo_round_tf32(f) : f;
		memcpy(&bits, &f, 4);
		/* the sign, exponents and a few bits of f16, of numbers between 1/16 and 2 */
		h = (uint16_t)(bits >> 16 & 0x8000);
		h = t == EL_bf16 ? (uint16_t)(bits >> 16) : (uint16_t)(h | (11 + kernel_random(r, 5)) << 10 | kernel_random(r, 1024));
		memcpy((char *)p + i, mlo_elem_bits(t) == 32 && mlo_elem_is_float(t) ? (void *)&f : mlo_elem_is_float(t) ? (void *)&h : (void *)&whole, mlo_elem_bits(t) / 8);
	}
}

/* Runs k both ways, its first argument so many bytes behind an aligned place, with what `prepare` makes of arguments that are random. */
static bool try_kernel(MloArena *a, const MloTarget *t, const MloKernel *k, const char *name, unsigned blocks, double most, size_t skew,
                       void (*prepare)(const void *of, const MloKernel *k, void *const *arg), const void *of)
{
	DeviceBuffer *got = MLO_NEWN(a, DeviceBuffer, k->arg.n + 1);
	void **want = MLO_NEWN(a, void *, k->arg.n + 1), **arg = MLO_NEWN(a, void *, k->arg.n + 1);
	KernelRandom r = {kernel_test_seed(17)};
	MloDiag d = {0};
	bool ok = mlo_kernel_verify(k, &d) == MLO_OK;

	blocks = getenv("MLO_TEST_WHOLE") ? 0 : blocks;
	for (size_t i = 0; i < k->arg.n && ok; i++) {
		const KArg *g = &k->arg.items[i];

		got[i].bytes = (size_t)g->count * mlo_elem_bits(g->elem) / 8;
		got[i].skew = i == 0 ? skew : 0;
		got[i].host = arg[i] = mlo_alloc(a, got[i].bytes, 1);
		fill(&r, g->elem, got[i].host, got[i].bytes);
	}
	if (ok)
		prepare(of, k, arg);
	for (size_t i = 0; i < k->arg.n && ok; i++)
		want[i] = mlo_dup(a, got[i].host, got[i].bytes);
	mlo_diag_print(&d, name, stdout);
	ok = ok && mlo_kernel_interp(k, want, 0, k->ntasks, &d) == MLO_OK && device_run(k, t, name, got, blocks, &d) &&
	     device_same(k, name, got, want, most);
	mlo_diag_free(&d);
	return ok;
}

static void prepare_weights(const void *of, const MloKernel *k, void *const *arg)
{
	(void)of;
	device_weights(k, arg);
}

static void prepare_mask(const void *of, const MloKernel *k, void *const *arg)
{
	device_mask(of, k, arg);
}

/* -- attention --------------------------------------------------------------------------------------- */

static const DeviceAttentionCase attentions[] = {
	{"attention heads", EL_f32, EL_f32, 1, 2, 2, 128, 128, 64, 64, DEVICE_PACKED, 0, F32},
	{"attention masks", EL_f32, EL_f32, 2, 2, 1, 40, 75, 32, 24, DEVICE_APART, DEVICE_ADDED | DEVICE_DEAD, F32},
	{"attention choice", EL_f32, EL_f32, 1, 4, 2, 33, 70, 20, 80, DEVICE_PACKED, DEVICE_CHOSEN | DEVICE_CAP, F32},
	{"attention odd", EL_f32, EL_f32, 1, 3, 3, 19, 37, 13, 7, DEVICE_APART, DEVICE_ADDED, F32},
	{"attention turned", EL_f32, EL_f32, 1, 2, 2, 50, 90, 36, 40, DEVICE_TURNED, DEVICE_CHOSEN | DEVICE_DEAD, F32},
	{"attention wide", EL_f32, EL_f32, 1, 1, 1, 20, 70, 128, 128, DEVICE_APART, DEVICE_ADDED, F32},
	{"attention bf16", EL_bf16, EL_bf16, 1, 2, 2, 100, 128, 64, 64, DEVICE_PACKED, 0, ROUNDED},
	{"attention f32 by bf16", EL_f32, EL_bf16, 1, 4, 2, 40, 70, 40, 24, DEVICE_APART, DEVICE_ADDED | DEVICE_DEAD, ROUNDED},
	{"attention f32 by f16", EL_f32, EL_f16, 2, 2, 2, 70, 150, 64, 72, DEVICE_PACKED, DEVICE_CHOSEN | DEVICE_CAP, ROUNDED},
	{"attention odd f16", EL_f32, EL_f16, 1, 2, 2, 17, 45, 13, 9, DEVICE_TURNED, DEVICE_ADDED, ROUNDED},
	{"attention wide f16", EL_f32, EL_f16, 1, 1, 1, 33, 64, 128, 128, DEVICE_APART, 0, ROUNDED},
	{"attention wider bf16", EL_bf16, EL_bf16, 1, 1, 1, 20, 40, 256, 200, DEVICE_APART, DEVICE_ADDED, ROUNDED},
	{"attention few keys", EL_f32, EL_f32, 2, 2, 2, 70, 5, 16, 16, DEVICE_APART, 0, F32},
};

static const char *random_name(MloArena *a, uint64_t seed)
{
	return mlo_sprintf(a, "random attention %llu", (unsigned long long)seed);
}

static bool try_attention(MloArena *a, const MloTarget *t, const DeviceAttentionCase *c, unsigned blocks)
{
	MloKernel *k = device_attention(a, t, c);

	if (!k)
		printf("FAIL %s: no tile has room\n", c->name);
	return k && try_kernel(a, t, k, c->name, blocks, c->most, 0, prepare_mask, c);
}

static bool try_random_attention(MloArena *a, const MloTarget *t, uint64_t seed)
{
	KernelRandom r = {seed};
	static const MloElem elem[] = {EL_f32, EL_f32, EL_f32, EL_bf16}, word[] = {EL_f32, EL_f32, EL_f16, EL_bf16};
	DeviceAttentionCase c = {.name = random_name(a, seed), .elem = elem[kernel_random(&r, 4)], .word = word[kernel_random(&r, 4)]};
	int64_t by = kernel_random(&r, 3) ? 4 : 1; /* what can be read four words at once more often than not */

	c.batches = 1 + kernel_random(&r, 2);
	c.shared = 1 + kernel_random(&r, 2);
	c.heads = c.shared * (1 + kernel_random(&r, 2));
	c.queries = 1 + kernel_random(&r, 70);
	c.keys = 1 + kernel_random(&r, 140);
	c.terms = by * (1 + kernel_random(&r, by == 1 ? 40 : 16));
	c.columns = by * (1 + kernel_random(&r, by == 1 ? 40 : 16));
	c.layout = kernel_random(&r, 3);
	c.mask = (int)kernel_random(&r, 16);
	c.most = c.word == EL_f32 ? F32 : ROUNDED;
	return try_attention(a, t, &c, seed % 2 ? FEW_BLOCKS : 0);
}

/* -- few channels ------------------------------------------------------------------------------------ */

static bool try_patch(MloArena *a, const MloTarget *t, const DeviceContract *c, int64_t apart, unsigned blocks, size_t skew)
{
	MloKernel *k = device_contract(a, t, c, apart, false);
	bool tensor = c->b != EL_f32 && (t->gpu->capability >= 80 || (c->b != EL_bf16 && c->b != EL_tf32));

	if (tensor && !k->body->contract->b.patch) {
		printf("FAIL %s: no tensor cores\n", c->name);
		return false;
	}
	return try_kernel(a, t, k, c->name, blocks, c->most, skew, prepare_weights, NULL);
}

static const char *random_patch_name(MloArena *a, uint64_t seed)
{
	return mlo_sprintf(a, "random patch %llu", (unsigned long long)seed);
}

static bool try_random_patch(MloArena *a, const MloTarget *t, uint64_t seed)
{
	static const struct { MloElem a, b; double most; } kinds[] = {
		{EL_f32, EL_f16, ROUNDED}, {EL_f32, EL_bf16, ROUNDED}, {EL_f32, EL_tf32, SHORT}, {EL_f16, EL_f16, SHORT}, {EL_bf16, EL_bf16, SHORT},
		{EL_tf32, EL_tf32, F32}, {EL_u8, EL_i8, 0}, {EL_i8, EL_i8, 0}};
	static const int channels[] = {1, 2, 3, 3, 4, 6, 12}, fours[] = {1, 2, 3, 4};
	KernelRandom r = {seed};
	int kind = (int)kernel_random(&r, sizeof kinds / sizeof *kinds);
	bool bytes = kinds[kind].b == EL_i8, four = bytes || kernel_random(&r, 4) == 0, line = kernel_random(&r, 6) == 0;
	int64_t apart, by = kernel_random(&r, 3) ? 4 : 1; /* rows that can be read in longer accesses more often than not */
	DeviceContract c = {.name = random_patch_name(a, seed), .a = kinds[kind].a, .b = kinds[kind].b, .most = kinds[kind].most, .groups = 1};

	c.images = 1 + kernel_random(&r, 2);
	c.taps = 1 + kernel_random(&r, 7);
	c.stride = 1 + kernel_random(&r, 4);
	apart = 1 + (kernel_random(&r, 4) == 0);
	c.pad = kernel_random(&r, c.taps);
	c.y = line ? 1 : (c.taps - 1) * apart + 1 + kernel_random(&r, 30);
	c.x = ((c.taps - 1) * apart + by + kernel_random(&r, 40)) / by * by;
	c.terms = four ? fours[kernel_random(&r, 4)] : channels[kernel_random(&r, 7)];
	c.channels = 1 + kernel_random(&r, 70);
	c.zero = bytes && kernel_random(&r, 2) ? 7 + kernel_random(&r, 100) : 0;
	c.layout = four ? DEVICE_FOURS : kernel_random(&r, 8) ? DEVICE_DENSE : DEVICE_ROWS;
	return try_kernel(a, t, device_contract(a, t, &c, apart, false), c.name, seed % 2 ? FEW_BLOCKS : 0, c.most, 0, prepare_weights, NULL);
}

/* -------------------------------------------------------------------------------------------------- */

/* The device as if it had so many multiprocessors. */
static const MloTarget *cut_down(MloArena *a, const MloTarget *t, int sms)
{
	MloTarget *cut = mlo_dup(a, t, sizeof *t);
	MloGpu *gpu = mlo_dup(a, t->gpu, sizeof *t->gpu);
	double share = (double)sms / gpu->sms;

	gpu->sms = sms;
	gpu->f32 *= share;
	gpu->tf32 *= share;
	gpu->f16 *= share;
	gpu->i8 *= share;
	gpu->gbytes *= share;
	cut->gpu = gpu;
	return cut;
}

static void run_all(const MloTarget *t, const char *only)
{
	MloArena *a = mlo_arena_new();

	for (size_t i = 0; i < sizeof contracts / sizeof *contracts; i++)
		if (!only || strstr(contracts[i].name, only))
			count(try_kernel(a, t, device_contract(a, t, &contracts[i], 1, false), contracts[i].name, i % 2 ? FEW_BLOCKS : 0, contracts[i].most,
			                 0, prepare_weights, NULL));
	for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
		if (!only || strstr(wide[i].of.name, only)) {
			const MloTarget *cut = cut_down(a, t, wide[i].sms);

			count(try_kernel(a, cut, device_contract(a, cut, &wide[i].of, 1, false), wide[i].of.name, i % 2 ? FEW_BLOCKS : 0,
			                 wide[i].of.most, 0, prepare_weights, NULL));
		}
	for (size_t i = 0; i < sizeof patches / sizeof *patches; i++)
		if (!only || strstr(patches[i].of.name, only))
			count(try_patch(a, t, &patches[i].of, patches[i].apart, i % 2 ? FEW_BLOCKS : 0, patches[i].skew));
	for (uint64_t i = 0; i < PATCHES; i++)
		if (!only || strstr(random_patch_name(a, kernel_test_seed(9000) + i), only))
			count(try_random_patch(a, t, kernel_test_seed(9000) + i));
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		if (!only || strstr(kept[i].of.name, only))
			count(try_kernel(a, t, device_contract(a, t, &kept[i].of, 1, true), kept[i].of.name, i % 2 ? FEW_BLOCKS : 0, kept[i].of.most,
			                 kept[i].skew, prepare_weights, NULL));
	for (size_t i = 0; i < sizeof attentions / sizeof *attentions; i++)
		if (!only || strstr(attentions[i].name, only))
			count(try_attention(a, t, &attentions[i], i % 2 ? FEW_BLOCKS : 0));
	for (uint64_t i = 0; i < ATTENTIONS; i++)
		if (!only || strstr(random_name(a, kernel_test_seed(7000) + i), only))
			count(try_random_attention(a, t, kernel_test_seed(7000) + i));
	if (!only || !strcmp(only, "random"))
		for (uint64_t i = 0; i < KERNELS; i++)
			count(try_random(a, t, kernel_test_seed(5000) + i));
	mlo_arena_free(a);
}

/* MLO_TEST_SMS: schedules for a device of so many multiprocessors, few of which leave the terms of a tile in one piece. */
static void few_multiprocessors(MloTarget *t, MloGpu *gpu)
{
	const char *sms = getenv("MLO_TEST_SMS");

	*gpu = *t->gpu;
	gpu->sms = sms ? atoi(sms) : gpu->sms;
	t->gpu = gpu;
}

int main(int argc, char **argv)
{
	const char *sm = getenv("MLO_TEST_SM");
	char why[300], name[32];
	const MloTargetSet *set;
	MloTarget target;
	MloGpu gpu;

	snprintf(name, sizeof name, "sm_%s", sm ? sm : "80");
	set = mlo_target_find(name, NULL);
	if (!set || !device_open(why, sizeof why)) {
		printf("SKIP device: %s\n0 passed, 0 failed, 1 skipped\n", set ? why : "no such target");
		return 0;
	}
	target = *set->variant[0];
	few_multiprocessors(&target, &gpu);
	run_all(&target, argc > 1 ? argv[1] : NULL);
	device_close();
	printf("%d passed, %d failed, 0 skipped\n", passed, failed);
	return failed > 0;
}
