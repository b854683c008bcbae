/* tests/unit/test_quantize_emit.c -- machine code of quantization (codegen/emit_quantize.c) against its meaning.
 *
 * Kernels as lowering makes them run over every value at which a result changes and its neighbours, beside values that
 * no type holds.  What they must give comes from the operations one by one, here and by the interpreter: whole numbers
 * equal, bit for bit; NaN becomes 0. */
#include <CUnit/CUnit.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/kernel_fixture.h"

void suite_quantize_emit(void);

enum { NEAR = 3, MOST = 1 << 17, MOST_TEXT = 2048 };

typedef struct Type { const char *name; MloElem elem; double lo, hi; } Type;
static const Type types[] = {
	{"u8", EL_u8, 0, 255}, {"i8", EL_i8, -128, 127}, {"u16", EL_u16, 0, 65535}, {"i16", EL_i16, -32768, 32767}};

static float in[MOST], back[MOST], back_want[MOST];
static unsigned char out[2 * MOST], want[2 * MOST];

static size_t put(size_t n, float v)
{
	CU_ASSERT_FATAL(n < MOST);
	in[n] = v;
	return n + 1;
}

/* What no type holds, what is nearly nothing, and the signs of nothing. */
static size_t extremes(size_t n)
{
	static const float values[] = {0,	 FLT_TRUE_MIN, FLT_MIN, FLT_MIN / 2, FLT_MAX,  FLT_MAX / 2, 2147483648.0f,
				       4294967296.0f, 1e10f,	    1e30f,   8388607.5f,  8388609, 12582912,    INFINITY};

	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		n = put(n, values[i]);
		n = put(n, -values[i]);
	}
	return put(n, NAN);
}

/* Around (k + 0.5) * scale, where x / scale rounds to k or k + 1, and whole multiples, a step beyond the type at both
 * ends; of types of 16 bits only the ends and every so many in between. */
static size_t ties(const Type *t, double scale, double zero)
{
	size_t n = 0;

	for (double k = t->lo - zero - 2; k <= t->hi - zero + 1; k++) {
		float x = (float)((k + 0.5) * scale);
		const double from_end = fmin(k - (t->lo - zero), t->hi - zero - k);

		if (from_end > 300 && fmod(k, 97) != 0)
			continue;
		n = put(n, (float)(k * scale));
		for (int i = 0; i < NEAR; i++)
			x = nextafterf(x, -INFINITY);
		for (int i = 0; i <= 2 * NEAR; i++, x = nextafterf(x, INFINITY))
			n = put(n, x);
	}
	return extremes(n);
}

static void store(const Type *t, unsigned char *to, size_t i, double v)
{
	const int whole = isnan(v) ? 0 : (int)(v < t->lo ? t->lo : v > t->hi ? t->hi : v);

	if (mlo_elem_bits(t->elem) == 8)
		to[i] = (unsigned char)whole;
	else
		((uint16_t *)(void *)to)[i] = (uint16_t)whole;
}

static double load(const Type *t, const unsigned char *from, size_t i)
{
	switch (t->elem) {
	case EL_u8: return from[i];
	case EL_i8: return (int8_t)from[i];
	case EL_u16: return ((const uint16_t *)(const void *)from)[i];
	default: return (int16_t)((const uint16_t *)(const void *)from)[i];
	}
}

/* Runs a kernel over n values by machine code for t, and by the interpreter; args: in, out, and what is made of it. */
static void run(const char *text, const MloTarget *t, size_t n, size_t bytes)
{
	static unsigned char out_interp[2 * MOST];
	static float back_interp[MOST];
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloKernel *k = mlo_kernel_parse(a, text, strlen(text), &d);
	KernelImage im;

	mlo_diag_print(&d, "test", stdout);
	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CU_ASSERT_FATAL(kernel_image_load(&im, t, &k, 1, &d));
	memset(out, 0x55, sizeof out);
	memset(back, 0x55, sizeof back);
	im.fn[0]((void *[]){in, out, back}, 0, 1, NULL);
	CU_ASSERT_EQUAL(mlo_kernel_interp(k, (void *[]){in, out_interp, back_interp}, 0, 1, &d), MLO_OK);
	CU_ASSERT_EQUAL(memcmp(out, out_interp, n * bytes), 0);
	if (k->arg.n > 2) /* the sign of a zero does not matter: nothing divides by it */
		for (size_t i = 0; i < n; i++)
			CU_ASSERT_EQUAL(back[i], back_interp[i]);
	kernel_image_free(&im);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

/* The machine code of this machine and of the architecture's baseline, which has no fused multiply-adds. */
static void everywhere(const char *text, size_t n, size_t bytes, const char *what)
{
	for (int i = 0; i < 2; i++) {
		size_t wrong = 0;

		run(text, kernel_test_target(i), n, bytes);
		for (size_t k = 0; k < n * bytes && !wrong; k++)
			wrong = out[k] != want[k] ? k + 1 : 0;
		if (wrong)
			printf("\n  %s on %s: of %.9g\n", what, kernel_test_target(i)->name, (double)in[(wrong - 1) / bytes]);
		CU_ASSERT_EQUAL(wrong, 0);
	}
}

/* "%5 = add.f32 %4, zero" where there is a zero point; the number of the value that is rounded and moved. */
static int rounding(char *text, size_t size, size_t *at, double scale, double zero)
{
	*at += (size_t)snprintf(text + *at, size - *at,
				"    %%1 = const.f32 %.9g\n    %%2 = div.f32 %%0, %%1\n    %%3 = rint.f32 %%2\n", scale);
	if (zero == 0)
		return 3;
	*at += (size_t)snprintf(text + *at, size - *at, "    %%4 = const.f32 %.9g\n    %%5 = add.f32 %%3, %%4\n", zero);
	return 5;
}

static void quantize(const Type *t, double scale, double zero)
{
	size_t n = ties(t, scale, zero), at = 0, bytes = mlo_elem_bits(t->elem) / 8;
	char text[MOST_TEXT], what[64];
	int value;

	at += (size_t)snprintf(text, sizeof text, "kernel q(in f32[%zu], out %s[%zu]) vars(%zu) {\n  vec v0 < %zu {\n"
			       "    %%0 = load.f32 a0[v0]\n", n, t->name, n, n, n);
	value = rounding(text, sizeof text, &at, scale, zero);
	snprintf(text + at, sizeof text - at, "    %%%d = cast.%s %%%d\n    a1[v0] = %%%d\n  }\n}\n", value + 1, t->name, value,
		 value + 1);
	for (size_t i = 0; i < n; i++)
		store(t, want, i, (double)(rintf(in[i] / (float)scale) + (float)zero));
	snprintf(what, sizeof what, "%s of scale %.9g, zero point %g", t->name, scale, zero);
	everywhere(text, n, bytes, what);
}

static const double scales[] = {1,   0.5,   0.0371f, 0.1f,     1.0f / 3,    0.016141029074788094f, 7.25f,
				255, 1e-5f, 3e7f,    0x1p-80f, 0x1.8p-130f, 0x1p70f};

/* Zero points at both ends of their type, one inside, in the middle, none. */
static void quantized(void)
{
	for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
		const double lo = types[t].lo, hi = types[t].hi, zeros[] = {lo, hi, lo + 1, hi - 1, rint((lo + hi) / 2), 0};

		for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
			for (size_t k = i; k < i + 2; k++) /* each with two of them */
				if (mlo_elem_bits(types[t].elem) == 8 || i < 4)
					quantize(&types[t], scales[i], zeros[k % (sizeof zeros / sizeof *zeros)]);
	}
}

/* Back to floats, which no bytes come between: clamped, rounded by a large number, the zero point left out. */
static void dequantize(const Type *t, double scale, double zero)
{
	size_t n = ties(t, scale, zero), at = 0, bytes = mlo_elem_bits(t->elem) / 8;
	char text[MOST_TEXT], what[80];
	int value;

	at += (size_t)snprintf(text, sizeof text,
			       "kernel d(in f32[%zu], out %s[%zu], out f32[%zu]) vars(%zu) {\n  vec v0 < %zu {\n"
			       "    %%0 = load.f32 a0[v0]\n", n, t->name, n, n, n, n);
	value = rounding(text, sizeof text, &at, scale, zero);
	snprintf(text + at, sizeof text - at,
		 "    %%%d = cast.%s %%%d\n    a1[v0] = %%%d\n    %%%d = cast.f32 %%%d\n    %%%d = const.f32 %.9g\n"
		 "    %%%d = sub.f32 %%%d, %%%d\n    %%%d = mul.f32 %%%d, %%1\n    a2[v0] = %%%d\n  }\n}\n",
		 value + 1, t->name, value, value + 1, value + 2, value + 1, value + 3, zero, value + 4, value + 2, value + 3,
		 value + 5, value + 4, value + 5);
	for (size_t i = 0; i < n; i++) {
		store(t, want, i, (double)(rintf(in[i] / (float)scale) + (float)zero));
		back_want[i] = (float)(load(t, want, i) - zero) * (float)scale;
	}
	snprintf(what, sizeof what, "%s and back, scale %.9g, zero point %g", t->name, scale, zero);
	everywhere(text, n, bytes, what);
	for (size_t i = 0; i < n; i++)
		CU_ASSERT_EQUAL(back[i], back_want[i]);
}

static void quantized_and_back(void)
{
	for (size_t t = 0; t < sizeof types / sizeof *types; t++)
		for (size_t i = 0; i < 8; i++) {
			const double zeros[] = {0, types[t].lo, types[t].hi};

			if (i < 3 || mlo_elem_bits(types[t].elem) == 8)
				dequantize(&types[t], scales[i], zeros[i % 3]);
		}
}

/* -- sums of two quantised numbers ---------------------------------------------------------------------- */

typedef struct Operand { double scale, zero; } Operand;

/* All pairs of two bytes of type `from`, added and quantised to `to`. */
static void add(const Type *from, const Type *to, Operand a, Operand b, Operand y)
{
	static unsigned char *const left = (unsigned char *)in;
	enum { PAIRS = 65536 };
	char text[MOST_TEXT], what[128];

	for (int i = 0; i < PAIRS; i++) {
		double p, q;
		float x;

		left[2 * i] = (unsigned char)(i >> 8);
		left[2 * i + 1] = (unsigned char)i;
		p = load(from, left, 2 * (size_t)i);
		q = load(from, left, 2 * (size_t)i + 1);
		x = (float)(p - a.zero) * (float)a.scale + (float)(q - b.zero) * (float)b.scale;
		store(to, want, (size_t)i, (double)(rintf(x / (float)y.scale) + (float)y.zero));
	}
	snprintf(text, sizeof text,
		 "kernel s(in %s[131072], out %s[65536]) vars(65536) {\n  vec v0 < 65536 {\n"
		 "    %%0 = load.%s a0[v0*2]\n    %%1 = cast.f32 %%0\n    %%2 = const.f32 %.9g\n"
		 "    %%3 = sub.f32 %%1, %%2\n    %%4 = const.f32 %.9g\n    %%5 = mul.f32 %%3, %%4\n"
		 "    %%6 = load.%s a0[v0*2 + 1]\n    %%7 = cast.f32 %%6\n    %%8 = const.f32 %.9g\n"
		 "    %%9 = sub.f32 %%7, %%8\n    %%10 = const.f32 %.9g\n    %%11 = mul.f32 %%9, %%10\n"
		 "    %%12 = add.f32 %%5, %%11\n    %%13 = const.f32 %.9g\n    %%14 = div.f32 %%12, %%13\n"
		 "    %%15 = rint.f32 %%14\n    %%16 = const.f32 %.9g\n    %%17 = add.f32 %%15, %%16\n"
		 "    %%18 = cast.%s %%17\n    a1[v0] = %%18\n  }\n}\n",
		 from->name, to->name, from->name, a.zero, a.scale, from->name, b.zero, b.scale, y.scale, y.zero, to->name);
	snprintf(what, sizeof what, "%s (%.9g, %g) + (%.9g, %g) to %s (%.9g, %g)", from->name, a.scale, a.zero, b.scale,
		 b.zero, to->name, y.scale, y.zero);
	everywhere(text, PAIRS, 1, what);
}

static void sums(void)
{
	for (int t = 0; t < 2; t++) {
		const Type *u = &types[t], *v = &types[!t];

		add(u, u, (Operand){0.061298556f, u->lo}, (Operand){0.03348602f, 0}, (Operand){0.04917767f, u->hi});
		add(u, v, (Operand){0.5f, u->hi}, (Operand){0.25f, u->lo}, (Operand){1, v->lo}); /* ties all over */
		add(u, u, (Operand){0.1f, 3}, (Operand){0.1f, 3}, (Operand){0.1f, 3});
		add(u, u, (Operand){1e-6f, 10}, (Operand){100, 10}, (Operand){0.7f, 10});
		/* mostly beyond the type */
		add(u, v, (Operand){0.0371f, u->hi}, (Operand){0.0512f, u->hi}, (Operand){0.002f, v->hi});
	}
}

void suite_quantize_emit(void)
{
	CU_pSuite s = CU_add_suite("quantize_emit", NULL, NULL);

	CU_ADD_TEST(s, quantized);
	CU_ADD_TEST(s, quantized_and_back);
	CU_ADD_TEST(s, sums);
}
