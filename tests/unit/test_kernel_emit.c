/* tests/unit/test_kernel_emit.c -- machine code against the interpreter, on random kernels.
 *
 * A failure prints the kernel and its seed; MLO_TEST_SEED=SEED runs that kernel first. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/kernel_random.h"

enum { KERNELS = 80 };

static bool same(MloElem t, bool approx, const unsigned char *a, const unsigned char *b)
{
	double x, y, e;

	if (!mlo_elem_is_float(t))
		return memcmp(a, b, mlo_elem_bits(t) / 8) == 0;
	x = kernel_number(t, a);
	y = kernel_number(t, b);
	if (t == EL_bf16 && fabs(x) < 0x1p-126 && fabs(y) < 0x1p-126)
		return true; /* VCVTNEPS2BF16 takes denormals for zeros (Intel SDM volume 2), as all arithmetic of a run does */
	if (x == y || (isnan(x) && isnan(y)))
		return true;
	e = !approx ? 0 : t == EL_f32 ? 1e-6 : t == EL_f16 ? 2e-3 : 1e-2;
	return fabs(x - y) <= e * fabs(y) + (approx ? 2e-38 : 0);
}

/* Compares every result, and the bytes around them. */
static bool compare(const MloKernel *k, bool approx, KernelBuffers *got, KernelBuffers *want, uint64_t seed,
		    const char *where)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (int i = 0; i < got->n; i++) {
		const KArg *a = &k->arg.items[i];
		size_t size = mlo_elem_bits(a->elem) / 8, n = (size_t)a->count * size;
		size_t at = (size_t)((char *)got->arg[i] - (char *)got->map[i]) - page;
		unsigned char *g = got->arg[i], *w = want->arg[i];

		if (memcmp((char *)got->map[i] + page, (char *)want->map[i] + page, at) ||
		    memcmp(g + n, w + n, got->bytes[i] - at - n)) {
			printf("\n  %s: seed %llu: bytes around a%d changed", where, (unsigned long long)seed, i);
			return false;
		}
		for (size_t j = 0; j < n; j += size)
			if (!same(a->elem, approx, g + j, w + j)) {
				printf("\n  %s: seed %llu: a%d[%zu] differs: ", where,
				       (unsigned long long)seed, i, j / size);
				for (size_t b = size; b-- > 0;)
					printf("%02x", g[j + b]);
				printf(", expected ");
				for (size_t b = size; b-- > 0;)
					printf("%02x", w[j + b]);
				return false;
			}
	}
	return true;
}

static bool run_one(MloArena *a, const MloKernel *k, KernelFn *fn, uint64_t seed, bool approx, const char *where)
{
	bool low = seed & 1, ok;
	KernelBuffers got = kernel_buffers_new(a, k, seed, low), want = kernel_buffers_new(a, k, seed, low);
	int64_t mid = k->ntasks / 2;
	MloDiag d = {0};

	ok = mlo_kernel_interp(k, want.arg, 0, k->ntasks, &d) == MLO_OK;
	if (ok) {
		fn(got.arg, mid, k->ntasks, NULL); /* tasks in two pieces */
		fn(got.arg, 0, mid, NULL);
		ok = compare(k, approx, &got, &want, seed, where);
	}
	mlo_diag_print(&d, "test", stdout);
	mlo_diag_free(&d);
	kernel_buffers_free(&got);
	kernel_buffers_free(&want);
	return ok;
}

static void show(MloArena *a, const MloKernel *k)
{
	MloStr s = {.arena = a};

	mlo_kernel_print(&s, k, true);
	printf("\n%s", mlo_str_text(&s));
}

static void differential(int which, const MloTarget *t, uint64_t first)
{
	MloArena *a = mlo_arena_new();
	MloKernel *k[KERNELS];
	bool approx[KERNELS];
	KernelImage im;
	MloDiag d = {0};
	bool fma = which == 0;
	int bad = 0;

	for (int i = 0; i < KERNELS; i++) {
		k[i] = kernel_random_new(a, first + (uint64_t)i, fma, &approx[i]);
		if (mlo_kernel_verify(k[i], &d) != MLO_OK) {
			show(a, k[i]);
			mlo_diag_print(&d, "test", stdout);
			CU_FAIL_FATAL("a random kernel does not verify");
		}
	}
	if (!kernel_image_load(&im, t, k, KERNELS, &d)) {
		mlo_diag_print(&d, "test", stdout);
		CU_FAIL_FATAL("compilation failed");
	}
	for (int i = 0; i < KERNELS && bad < 3; i++)
		if (!run_one(a, k[i], im.fn[i], first + (uint64_t)i, approx[i], t->name)) {
			show(a, k[i]);
			bad++;
		}
	CU_ASSERT_EQUAL(bad, 0);
	kernel_image_free(&im);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

static void native(void)
{
	differential(0, kernel_test_target(0), kernel_test_seed(1000));
}

static void baseline(void)
{
	differential(1, kernel_test_target(1), kernel_test_seed(2000));
}

static void narrow(void)
{
	MloTarget t = *kernel_test_target(0);

	t.vector_bytes = t.vector_bytes > 16 ? t.vector_bytes / 2 : 16;
	differential(0, &t, kernel_test_seed(3000));
}

/* Kernels with sizes of the run, at several sizes: element by element against the interpreter. */
static void sizes(void)
{
	static const char text[] =
		"kernel sum(in f32[*], out f32[*], sizes i64[2]) sizes(0..100, 1..64) vars() {\n"
		"  call reduce_sum (a0 f32[s0,4,s1], none) -> (a1 f32[s0,1,1]) {}\n"
		"}\n",
	loop[] = "kernel copy(in f32[s0*4 + s1], out f32[s0*4 + s1], sizes i64[2]) sizes(0..100, 0..100) vars(500) {\n"
		 "  seq v0 < s0*4 + s1 {\n"
		 "    %0 = load.f32 a0[v0] if v0 < 100 else 7\n"
		 "    a1[s0*4 + s1 + -1 + v0*-1] = %0\n"
		 "  }\n"
		 "}\n";
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloKernel *k[2] = {mlo_kernel_parse(a, text, sizeof text - 1, &d), mlo_kernel_parse(a, loop, sizeof loop - 1, &d)};
	KernelRandom r = {kernel_test_seed(77)};
	static float in[100 * 4 * 64], out[500], want[500];
	KernelImage im;

	CU_ASSERT_FATAL(k[0] && k[1] && kernel_image_load(&im, kernel_test_target(0), k, 2, &d));
	for (size_t i = 0; i < sizeof in / sizeof *in; i++)
		in[i] = (float)kernel_random(&r, 100);
	for (int i = 0; i < 40; i++) {
		int64_t size[2] = {kernel_random(&r, 21), 1 + kernel_random(&r, 20)};

		for (int j = 0; j < 2; j++) {
			memset(out, 0x55, sizeof out);
			memset(want, 0x55, sizeof want);
			im.fn[j]((void *[]){in, out, size}, 0, 1, NULL);
			CU_ASSERT_EQUAL(mlo_kernel_interp(k[j], (void *[]){in, want, size}, 0, 1, &d), MLO_OK);
			CU_ASSERT_EQUAL(memcmp(out, want, sizeof out), 0);
		}
	}
	kernel_image_free(&im);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

/* Open extents: strides, guards, quotients and the number of tasks are sizes; any range of tasks. */
static void open_extents(void)
{
	static const char text[] =
		"kernel shift(in f32[s2], in f32[s1], out f32[s2], sizes i64[3]) sizes(0..9, 1..37, 0..333) tasks s0 vars(9, 37) {\n"
		"  par v0 < s0 {\n"
		"    vec v1 < s1 {\n"
		"      %0 = load.f32 a0[v0*s1 + v1 + 1] if v1 + 1 < s1 else 7\n"
		"      %1 = load.f32 a1[(v0*s1 + v1) mod s1]\n"
		"      %2 = mul.f32 %0, %1\n"
		"      %3 = index.f32 (v0*s1 + v1)/s1\n"
		"      %4 = add.f32 %2, %3\n"
		"      a2[v0*s1 + v1] = %4\n"
		"    }\n"
		"  }\n"
		"}\n";
	enum { ROWS = 9, MOST = 37 };
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloKernel *k = mlo_kernel_parse(a, text, sizeof text - 1, &d);
	float in[ROWS * MOST], by[MOST], out[ROWS * MOST], want[ROWS * MOST];
	KernelImage im;

	mlo_diag_print(&d, "test", stdout);
	CU_ASSERT_FATAL(k && k->ntasks == -1 && kernel_image_load(&im, kernel_test_target(0), &k, 1, &d));
	for (int i = 0; i < ROWS * MOST; i++)
		in[i] = (float)i;
	for (int i = 0; i < MOST; i++)
		by[i] = (float)(i * i);
	for (int64_t width = 1; width <= MOST; width += width < 4 ? 1 : 11)
		for (int64_t lo = 0; lo <= ROWS; lo++) {
			int64_t size[3] = {ROWS, width, ROWS * width};

			memset(out, 0, sizeof out);
			memset(want, 0, sizeof want);
			im.fn[0]((void *[]){in, by, out, size}, lo, ROWS, NULL);
			CU_ASSERT_EQUAL(mlo_kernel_interp(k, (void *[]){in, by, want, size}, lo, ROWS, &d), MLO_OK);
			CU_ASSERT_EQUAL(memcmp(out, want, sizeof out), 0);
			for (int64_t i = 0; i < ROWS * width; i++) {
				float next = i % width + 1 < width ? in[i + 1] : 7;

				CU_ASSERT_EQUAL(out[i], i / width < lo ? 0 : next * by[i % width] + (float)(i / width));
			}
		}
	kernel_image_free(&im);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

void suite_kernel_emit(void);
void suite_kernel_emit(void)
{
	CU_pSuite s = CU_add_suite("kernel_emit", NULL, NULL);

	CU_add_test(s, "random kernels, native", native);
	CU_add_test(s, "random kernels, baseline", baseline);
	CU_add_test(s, "kernels with sizes", sizes);
	CU_add_test(s, "open extents", open_extents);
	CU_add_test(s, "random kernels, half the vector width", narrow);
}
