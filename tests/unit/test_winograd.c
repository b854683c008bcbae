/* tests/unit/test_winograd.c -- Winograd's filtering: its matrices, machine code against the
 * interpreter, and how far it is from the direct sum. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/winograd.h"
#include "tests/unit/kernel_random.h"

enum { KERNELS = 32 };

static int64_t pick(KernelRandom *r, int64_t lo, int64_t hi)
{
	return lo + kernel_random(r, (uint32_t)(hi - lo + 1));
}

/* A^T [(G g G^T) . (B^T d B)] A is the convolution of d with g. */
static void matrices(void)
{
	for (int m = 2; m <= 4; m += 2) {
		int n = m + 2;
		const double *bt = wino_bt(m), *at = wino_at(m);
		const KContract c = {.wino = m, .nky = 3, .nkx = 3};
		float g[9];
		double d[WINO_MAX_POINTS], v[WINO_MAX_POINTS];

		for (int i = 0; i < 9; i++)
			g[i] = (float)(i * 5 % 7) - 3;
		for (int i = 0; i < n * n; i++)
			d[i] = i * 11 % 17 - 8;
		for (int p = 0; p < n * n; p++) {
			v[p] = 0;
			for (int i = 0; i < n * n; i++)
				v[p] += bt[p / n * n + i / n] * bt[p % n * n + i % n] * d[i];
			v[p] *= wino_weight(&c, g, p);
		}
		for (int o = 0; o < m * m; o++) {
			double got = 0, want = 0;

			for (int p = 0; p < n * n; p++)
				got += at[o / m * n + p / n] * at[o % m * n + p % n] * v[p];
			for (int t = 0; t < 9; t++)
				want += g[t] * d[(o / m + t / 3) * n + o % m + t % 3];
			CU_ASSERT_DOUBLE_EQUAL(got, want, 1e-4);
		}
	}
}

/* Any convolution of 3x3, 3x1 or 1x3 taps, any schedule; out = relu(product + bias). */
static MloKernel *random_kernel(MloArena *a, uint64_t seed, const MloTarget *t)
{
	KernelRandom r = {seed};
	MloKernel *k = mlo_kernel_new(a, "winograd");
	int64_t lanes = t->vector_bytes / 4;
	KContract c = {.nb0 = pick(&r, 1, 2), .nb1 = 1, .ny = pick(&r, 1, 11), .nx = pick(&r, 1, 11),
	               .nk = pick(&r, 1, 2 * lanes), .nky = 3, .nkx = 3, .sy = 1, .sx = 1, .dy = 1, .dx = 1, .lanes = (int)lanes, .rows = 1,
	               .dot = 1, .a = {.elem = EL_f32}, .b = {.elem = EL_f32, .packed = true},
	               .wino = kernel_random(&r, 2) ? 2 : 4};
	KCursor top = kb_top(k), at;
	const KIdx *x;
	int bias, out, s;

	*(pick(&r, 0, 1) ? &c.nky : &c.nkx) = pick(&r, 0, 1) ? 1 : 3;
	c.py = pick(&r, 0, c.nky / 2);
	c.px = pick(&r, 0, c.nkx / 2);
	c.in_y = c.ny + c.nky - 1 - c.py - pick(&r, 0, c.py);
	c.in_x = c.nx + c.nkx - 1 - c.px - pick(&r, 0, c.px);
	c.vecs = (int)pick(&r, 1, 4);
	c.nc = c.group_c = lanes * c.vecs * pick(&r, 1, 3) - (pick(&r, 0, 1) ? pick(&r, 0, lanes - 1) : 0);
	c.cols = (int)pick(&r, 1, t->vector_regs / 2 / c.vecs - 1);
	c.y_chunk = wino_my(&c) * pick(&r, 1, 3);
	c.c_chunk = pick(&r, 1, 3);
	c.a.block = c.a.x = lanes;
	c.a.k = 1;
	c.a.y = c.in_x * lanes;
	c.a.blk = c.in_y * c.a.y;
	c.a.b0 = wino_kvecs(&c) * c.a.blk;
	c.a_arg = mlo_kernel_arg(k, KA_IN, EL_f32, c.a.b0 * c.nb0);
	c.b_arg = mlo_kernel_arg(k, KA_IN, EL_f32, wino_cvecs(&c) * lanes * wino_points(&c) * c.nk);
	bias = mlo_kernel_arg(k, KA_IN, EL_f32, c.nc);
	out = mlo_kernel_arg(k, KA_OUT, EL_f32, c.nb0 * c.ny * c.nx * c.nc);
	c.w_arg = mlo_kernel_arg(k, KA_SCRATCH, EL_f32, wino_scratch_elems(&c));
	for (int i = 0; i < 5; i++)
		c.var[i] = mlo_kernel_var(k, (int64_t[]){c.nb0, c.nb1, c.ny, c.nx, c.nc}[i]);
	at = kb_contract(&top, &c);
	x = kx_var(k, c.var[0]);
	for (int i = 2; i < 5; i++)
		x = kx_add(k, kx_mul(k, x, (int64_t[]){c.nb0, c.nb1, c.ny, c.nx, c.nc}[i]), kx_var(k, c.var[i]));
	s = kb_op(&at, K_product, EL_f32, -1, -1, -1);
	s = kb_op(&at, K_add, EL_f32, s, kb_load(&at, bias, kx_var(k, c.var[4]), NULL, 0), -1);
	if (kernel_random(&r, 2))
		s = kb_op(&at, K_max, EL_f32, s, kb_const_f(&at, EL_f32, 0), -1);
	kb_store(&at, out, x, NULL, s);
	kb_finish(k);
	return k;
}

/* The transformed weights are small integers here, so every sum is exact. */
static bool agrees(const MloKernel *k, KernelFn *fn, uint64_t seed, MloDiag *d)
{
	enum { OUT = 3 };
	KernelBuffers got = kernel_buffers_new(k->arena, k, seed, seed & 1);
	KernelBuffers want = kernel_buffers_new(k->arena, k, seed, seed & 1);
	size_t bytes = (mlo_kernel_scratch(k) + 63) / 64 * 64;
	void *scratch = aligned_alloc(64, bytes);
	bool ok = scratch && mlo_kernel_interp(k, want.arg, 0, k->ntasks, d) == MLO_OK;

	memset(scratch, 0xff, bytes); /* NaN: what is not written must not count */
	/* From the last on, one to three in a call: the tasks of a call share what they can. */
	for (int64_t to = k->ntasks, from; ok && to > 0; to = from) {
		from = to - 1 - (int64_t)(seed % 3);
		from = from < 0 ? 0 : from;
		fn(got.arg, from, to, scratch);
	}
	for (int64_t i = 0; ok && i < k->arg.items[OUT].count; i++)
		if (((float *)got.arg[OUT])[i] != ((float *)want.arg[OUT])[i]) {
			printf("\n  seed %llu: [%lld] is %g, expected %g", (unsigned long long)seed, (long long)i,
			       ((float *)got.arg[OUT])[i], ((float *)want.arg[OUT])[i]);
			ok = false;
		}
	free(scratch);
	kernel_buffers_free(&got);
	kernel_buffers_free(&want);
	return ok;
}

static void differential(const MloTarget *t, uint64_t first)
{
	MloArena *a = mlo_arena_new();
	MloKernel *k[KERNELS];
	KernelImage im;
	MloDiag d = {0};
	int bad = 0;

	for (int i = 0; i < KERNELS; i++) {
		k[i] = random_kernel(a, first + (uint64_t)i, t);
		CU_ASSERT_EQUAL(mlo_kernel_verify(k[i], &d), MLO_OK);
	}
	if (!kernel_image_load(&im, t, k, KERNELS, &d)) {
		mlo_diag_print(&d, "test", stdout);
		CU_FAIL_FATAL("compilation failed");
	}
	for (int i = 0; i < KERNELS && bad < 3; i++)
		if (!agrees(k[i], im.fn[i], first + (uint64_t)i, &d)) {
			MloStr s = {.arena = a};

			mlo_kernel_print(&s, k[i], true);
			printf("\n%s", mlo_str_text(&s));
			bad++;
		}
	CU_ASSERT_EQUAL(bad, 0);
	mlo_diag_print(&d, "test", stdout);
	kernel_image_free(&im);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

static void native(void)
{
	differential(kernel_test_target(0), kernel_test_seed(300));
}

static void baseline(void)
{
	differential(kernel_test_target(1), kernel_test_seed(400));
}

/* In float32, 64 channels of uniform data: normalised mean squared error against the exact sum. */
static void error_bound(void)
{
	enum { C = 64, PIECES = 200 };
	KernelRandom r = {7};

	for (int m = 2; m <= 4; m += 2) {
		const KContract k = {.wino = m, .nky = 3, .nkx = 3};
		int n = m + 2;
		double err = 0, norm = 0;

		for (int i = 0; i < PIECES; i++) {
			float sum[WINO_MAX_POINTS] = {0};
			double exact = 0, got = 0;

			for (int c = 0; c < C; c++) {
				float g[9], d[WINO_MAX_POINTS];

				for (int t = 0; t < 9; t++)
					g[t] = (float)kernel_random(&r, 1 << 20) / (1 << 19) - 1;
				for (int t = 0; t < n * n; t++)
					d[t] = (float)kernel_random(&r, 1 << 20) / (1 << 19) - 1;
				for (int p = 0; p < n * n; p++) {
					float v = 0;

					for (int t = 0; t < n * n; t++)
						v += (float)(wino_bt(m)[p / n * n + t / n] * wino_bt(m)[p % n * n + t % n]) * d[t];
					sum[p] += v * wino_weight(&k, g, p);
				}
				for (int t = 0; t < 9; t++)
					exact += (double)g[t] * (double)d[(1 + t / 3) * n + 1 + t % 3];
			}
			for (int p = 0; p < n * n; p++)
				got += wino_at(m)[n + p / n] * wino_at(m)[n + p % n] * (double)sum[p];
			err += (got - exact) * (got - exact);
			norm += exact * exact;
		}
		CU_ASSERT(err / norm < (m == 2 ? 1e-12 : 1e-11));
		CU_ASSERT(err > 0);
	}
}

void suite_winograd(void);
void suite_winograd(void)
{
	CU_pSuite s = CU_add_suite("winograd", NULL, NULL);

	CU_add_test(s, "the matrices convolve", matrices);
	CU_add_test(s, "random convolutions, native", native);
	CU_add_test(s, "random convolutions, baseline", baseline);
	CU_add_test(s, "the error is bounded", error_bound);
}
