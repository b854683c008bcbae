/* tests/unit/test_vecmath.c -- the error bounds that codegen/emit_vecmath.c states. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/kernel_fixture.h"

enum { N = 4099 * 16, NOPS = 9 };
typedef struct Case {
	KOp op;
	const char *name;
	double (*exact)(double);
	double lo, hi;      /* f32 arguments beyond these are tested at special points only */
	double ulps;        /* f32 */
	double f64_error;   /* relative, or absolute for sin, cos and phi */
} Case;

static double exact_sigmoid(double x)
{
	return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static double exact_decay(double x)
{
	return exp(x);
}

static double exact_phi(double x)
{
	return 0.5 * erfc(-x * 0.70710678118654752440);
}

static const Case cases[NOPS] = {
	{K_exp, "exp", exp, -106, 90, 2, 5e-16},
	{K_log, "log", log, 0, 3e38, 2, 5e-16},
	{K_tanh, "tanh", tanh, -12, 12, 4, 1e-14},
	{K_erf, "erf", erf, -6, 6, 4, 1e-14},
	{K_sin, "sin", sin, -1e6, 1e6, 4, 1e-14},
	{K_cos, "cos", cos, -1e6, 1e6, 4, 1e-14},
	{K_sigmoid, "sigmoid", exact_sigmoid, -87, 110, 4, 9e-16},
	{K_decay, "decay", exact_decay, -110, 0, 2, 5e-16},
	{K_phi, "phi", exact_phi, -8, 8, 4, 1e-14},
};

static const double special[] = {0,        -0.0,     1,         -1,    0x1p-149, -0x1p-149, 0x1p-126,
				 0x1p-130, 88.72283, 88.7229,   -87.3, -103.9,   -104,      0.5,
				 0.625,    -0.625,   0.92,      3.9,   4,        9,         1e5,
				 -1e5,     INFINITY, -INFINITY, NAN,   3e38,     -3e38};

/* y[i] = op(x[i]) over n elements in a vec loop; lanes follow from the type and the target. */
static MloKernel *unary(MloArena *a, KOp op, MloElem type, int64_t n)
{
	MloKernel *k = mlo_kernel_new(a, "unary");
	int in = mlo_kernel_arg(k, KA_IN, type, n), out = mlo_kernel_arg(k, KA_OUT, type, n), v, x;
	KCursor top = kb_top(k), body = kb_loop(&top, KL_VEC, kx_const(k, n), &v);

	x = kb_load(&body, in, kx_var(k, v), NULL, 0);
	kb_store(&body, out, kx_var(k, v), NULL, kb_op(&body, op, type, x, -1, -1));
	kb_finish(k);
	return k;
}

static double ulp_error(float got, double want)
{
	float w = (float)want;
	int e;

	if (isnan(want))
		return isnan(got) ? 0 : INFINITY;
	if (isinf(w) || isinf(got))
		return got == w || fabs(want) > 0x1.fffffcp127 ? 0 : INFINITY;
	frexp(want, &e);
	return fabs((double)got - want) / ldexp(1, (e < -125 ? -125 : e) - 24);
}

static void fill(const Case *c, float *x, KernelRandom *r)
{
	for (int i = 0; i < N; i++) {
		double u = (kernel_random(r, 1 << 30) + 0.5) / (1 << 30);
		float small = ldexpf((float)u + 1, -(int)kernel_random(r, 40));

		x[i] = (float)(c->lo + (c->hi - c->lo) * u);
		if (i % 4 == 1)
			x[i] = c->lo < 0 && kernel_random(r, 2) ? -small : small;
		if (i % 4 == 2) /* any positive float, for log all binades */
			x[i] = c->op == K_log ? ldexpf((float)u + 1, (int)kernel_random(r, 275) - 149)
					      : (float)(u * 8 - 4);
		if (i % 4 == 3)
			x[i] = (float)((c->lo < -30 ? -30 : c->lo) + 60 * u);
	}
	for (size_t i = 0; i < sizeof special / sizeof *special; i++)
		x[i * 7] = (float)special[i];
	for (int i = 0; i < N && c->op == K_decay; i++)
		x[i] = -fabsf(x[i]);
}

/* Where f32 sigmoid fades out it may be anything from 0 to the smallest normal numbers; decay is 0. */
static bool faded(const Case *c, float x, float y)
{
	return x < -87 && ((c->op == K_sigmoid && y >= 0 && y <= 1.7e-38f) || (c->op == K_decay && y == 0));
}

static double error_of(const Case *c, float x, float y)
{
	double want = c->exact(x);

	if (faded(c, x, y))
		return 0;
	if (fabs(x) > 1e6 && (c->op == K_sin || c->op == K_cos) && !isinf(x))
		return fabs(y) <= 1.000001 ? 0 : INFINITY;
	if (c->op == K_phi && x < 0)
		return fabs(y - want) <= (x < -6 ? 1e-14 : 1e-5 * want) ? 0 : INFINITY;
	return ulp_error(y, want);
}

static void check_f32(const MloTarget *t)
{
	MloArena *a = mlo_arena_new();
	float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
	KernelRandom r = {kernel_test_seed(1)};
	MloKernel *k[NOPS];
	KernelImage im;
	MloDiag d = {0};

	for (int i = 0; i < NOPS; i++)
		k[i] = unary(a, cases[i].op, EL_f32, N);
	CU_ASSERT_FATAL(kernel_image_load(&im, t, k, NOPS, &d));
	for (int i = 0; i < NOPS; i++) {
		double worst = 0, at = 0;

		fill(&cases[i], x, &r);
		im.fn[i]((void *[]){x, y}, 0, 1, NULL);
		for (int j = 0; j < N; j++) {
			double e = error_of(&cases[i], x[j], y[j]);

			if (!(e <= worst)) {
				worst = e;
				at = x[j];
			}
		}
		if (!(worst <= cases[i].ulps) || getenv("MLO_TEST_VERBOSE"))
			printf("\n  %s f32 %s: %.3f ulp at %.9g", t->name, cases[i].name, worst, at);
		CU_ASSERT(worst <= cases[i].ulps);
	}
	kernel_image_free(&im);
	mlo_diag_free(&d);
	mlo_arena_free(a);
	free(x);
	free(y);
}

static void f32_native(void)
{
	check_f32(kernel_test_target(0));
}

static void f32_baseline(void)
{
	check_f32(kernel_test_target(1));
}

/* f32 code must not depend on the width: the same values in vectors of 4 and 8 lanes. */
static void f32_widths(void)
{
	MloTarget t = *kernel_test_target(0);

	for (t.vector_bytes = 16; t.vector_bytes < kernel_test_target(0)->vector_bytes; t.vector_bytes *= 2)
		check_f32(&t);
}

static void f64_native(void)
{
	MloArena *a = mlo_arena_new();
	double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
	float *f = malloc(N * sizeof *f);
	KernelRandom r = {kernel_test_seed(2)};
	MloKernel *k[NOPS];
	KernelImage im;
	MloDiag d = {0};

	for (int i = 0; i < NOPS; i++)
		k[i] = unary(a, cases[i].op, EL_f64, N);
	CU_ASSERT_FATAL(kernel_image_load(&im, kernel_test_target(0), k, NOPS, &d));
	for (int i = 0; i < NOPS; i++) {
		bool angle = cases[i].op == K_sin || cases[i].op == K_cos, flat = angle || cases[i].op == K_phi;
		double worst = 0, at = 0;

		fill(&cases[i], f, &r);
		for (int j = 0; j < N; j++)
			x[j] = f[j] * (1 + 1e-9 * (j % 16));
		im.fn[i]((void *[]){x, y}, 0, 1, NULL);
		for (int j = 0; j < N; j++) {
			double want = cases[i].exact(x[j]), e = fabs(y[j] - want);

			if ((angle && fabs(x[j]) > 1e5 && !isinf(x[j])) || want == y[j] ||
			    (isnan(want) && isnan(y[j])))
				continue;
			if (cases[i].op == K_decay && x[j] < -708 && y[j] == 0)
				continue;
			if (!flat)
				e /= fabs(want);
			if (!(e <= worst)) {
				worst = e;
				at = x[j];
			}
		}
		if (!(worst <= cases[i].f64_error) || getenv("MLO_TEST_VERBOSE"))
			printf("\n  f64 %s: %.3g at %.17g", cases[i].name, worst, at);
		CU_ASSERT(worst <= cases[i].f64_error);
	}
	kernel_image_free(&im);
	mlo_diag_free(&d);
	mlo_arena_free(a);
	free(x);
	free(y);
	free(f);
}

/* z = pow(x, y) and fmod(x, y) over all pairs of special and some random values. */
static MloKernel *binary(MloArena *a, KOp op, MloElem type, int64_t n)
{
	MloKernel *k = mlo_kernel_new(a, "binary");
	int x = mlo_kernel_arg(k, KA_IN, type, n), y = mlo_kernel_arg(k, KA_IN, type, n), v, p, q;
	int out = mlo_kernel_arg(k, KA_OUT, type, n);
	KCursor top = kb_top(k), body = kb_loop(&top, KL_VEC, kx_const(k, n), &v);

	p = kb_load(&body, x, kx_var(k, v), NULL, 0);
	q = kb_load(&body, y, kx_var(k, v), NULL, 0);
	kb_store(&body, out, kx_var(k, v), NULL, kb_op(&body, op, type, p, q, -1));
	kb_finish(k);
	return k;
}

static void pow_fmod(void)
{
	enum { S = 48, M = S * S };
	static float x[M], y[M], z[M];
	static double dx[M], dy[M], dz[M];
	MloArena *a = mlo_arena_new();
	KernelRandom r = {kernel_test_seed(3)};
	MloKernel *k[4] = {binary(a, K_pow, EL_f32, M), binary(a, K_fmod, EL_f32, M), binary(a, K_pow, EL_f64, M),
	                   binary(a, K_fmod, EL_f64, M)};
	float v[S] = {0,     -0.f,     1,         -1,  2,     -2,     3,         -3,   0.5f,
		      -0.5f, INFINITY, -INFINITY, NAN, 1e30f, 1e-30f, 0x1p-149f, 1.5f, -7.25f};
	MloDiag d = {0};

	for (int i = 18; i < S; i++)
		v[i] = ldexpf((float)kernel_random(&r, 2000) / 1000 - 1, (int)kernel_random(&r, 12) - 4);
	for (int i = 0; i < M; i++) {
		dx[i] = x[i] = v[i / S];
		dy[i] = y[i] = v[i % S];
	}
	dy[5] = 0x1p-1060;
	dx[5] = 1.2345e300;
	for (int t = 0; t < 2; t++) {
		KernelImage im;
		int bad = 0;

		CU_ASSERT_FATAL(kernel_image_load(&im, kernel_test_target(t), k, 4, &d));
		for (int op = 0; op < 2; op++) {
			im.fn[op]((void *[]){x, y, z}, 0, 1, NULL);
			im.fn[op + 2]((void *[]){dx, dy, dz}, 0, 1, NULL);
			for (int i = 0; i < M; i++) {
				double w = op ? fmod(x[i], y[i]) : pow(x[i], y[i]);
				double dw = op ? fmod(dx[i], dy[i]) : pow(dx[i], dy[i]);
				bool ok = ulp_error(z[i], w) <= (op ? 0 : 1.1);
				bool dok = dz[i] == dw || (isnan(dz[i]) && isnan(dw)) ||
					   (!op && fabs(dz[i] - dw) <= 1e-12 * fabs(dw));

				if (!ok && bad++ < 5)
					printf("\n  f32 op %d (%g, %g): %g, expected %g", op, x[i], y[i], z[i], w);
				if (!dok && bad++ < 5)
					printf("\n  f64 op %d (%g, %g): %g, expected %g", op, dx[i], dy[i],
					       dz[i], dw);
			}
		}
		CU_ASSERT_EQUAL(bad, 0);
		kernel_image_free(&im);
	}
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

void suite_vecmath(void);
void suite_vecmath(void)
{
	CU_pSuite s = CU_add_suite("vecmath", NULL, NULL);

	CU_add_test(s, "f32 functions, native", f32_native);
	CU_add_test(s, "f32 functions, baseline", f32_baseline);
	CU_add_test(s, "f32 functions, narrower vectors", f32_widths);
	CU_add_test(s, "f64 functions", f64_native);
	CU_add_test(s, "pow and fmod", pow_fmod);
}
