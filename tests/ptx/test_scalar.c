/* tests/ptx/test_scalar.c -- each instruction of scalar.def on all values of 16 bits, or on many of more, against the
 * same in C. Kernels are written here, into a file that an assembler judges, too. */
#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/test.h"

enum { N = 65536, THREADS = 256 };

/* -- what instructions do -- */

static int32_t clamp32(int64_t x)
{
	return x < INT32_MIN ? INT32_MIN : x > INT32_MAX ? INT32_MAX : (int32_t)x;
}

static uint32_t count_bits(uint64_t x)
{
	uint32_t n = 0;

	for (; x; x >>= 1)
		n += x & 1;
	return n;
}

static int high_bit(uint64_t x)
{
	int n = -1;

	for (; x; x >>= 1)
		n++;
	return n;
}

static uint64_t reverse(uint64_t x)
{
	uint64_t r = 0;

	for (int k = 0; k < 64; k++)
		r |= (x >> k & 1) << (63 - k);
	return r;
}

static uint32_t pick_bytes(uint32_t x, uint32_t y, uint32_t sel)
{
	uint8_t bytes[8], r[4];
	uint32_t all;

	memcpy(bytes, &x, 4);
	memcpy(bytes + 4, &y, 4);
	for (int k = 0; k < 4; k++) {
		const unsigned s = sel >> 4 * k & 15;

		r[k] = s < 8 ? bytes[s] : bytes[s - 8] < 128 ? 0 : 255;
	}
	memcpy(&all, r, 4);
	return all;
}

static int dot4(uint32_t x, uint32_t y, bool xs, bool ys)
{
	int sum = 0;

	for (int k = 0; k < 32; k += 8) {
		const int a = xs ? (int8_t)(x >> k) : (uint8_t)(x >> k), b = ys ? (int8_t)(y >> k) : (uint8_t)(y >> k);

		sum += a * b;
	}
	return sum;
}

/* Volatile, so that the mode holds when it is computed. */
static float rounded32(int mode, char op, float x, float y, float z)
{
	volatile float a = x, b = y, c = z, r;

	fesetround(mode);
	r = op == '+'   ? a + b
	    : op == '-' ? a - b
	    : op == '*' ? a * b
	    : op == '/' ? a / b
	    : op == 'f' ? fmaf(a, b, c)
			: sqrtf(a);
	fesetround(FE_TONEAREST);
	return r;
}

static double rounded64(int mode, char op, double x, double y, double z)
{
	volatile double a = x, b = y, c = z, r;

	fesetround(mode);
	r = op == '+' ? a + b : op == '/' ? a / b : fma(a, b, c);
	fesetround(FE_TONEAREST);
	return r;
}

#define CONVERSION(NAME, FROM, TO)                                                                             \
	static TO NAME(int mode, FROM x)                                                                       \
	{                                                                                                      \
		volatile FROM a = x;                                                                           \
		volatile TO r;                                                                                 \
		fesetround(mode);                                                                              \
		r = (TO)a;                                                                                     \
		fesetround(FE_TONEAREST);                                                                      \
		return r;                                                                                      \
	}
CONVERSION(whole32, int32_t, float)
CONVERSION(unsigned32, uint64_t, float)
CONVERSION(whole64, int64_t, double)
CONVERSION(single, double, float)

static float flushed(float x)
{
	return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}

static float unit(float x)
{
	return x != x || x <= 0 ? 0 : x > 1 ? 1 : x;
}

/* A whole number, bounded; of 128 bits, so that all types have room. */
static __int128 bounded(double x, __int128 low, __int128 high)
{
	if (x != x)
		return 0;
	return x < (double)low ? low : x >= (double)high ? high : (__int128)x;
}

static float from_bf16(uint16_t h)
{
	const uint32_t bits = (uint32_t)h << 16;
	float f;

	memcpy(&f, &bits, 4);
	return f;
}

static uint16_t bf16(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, 4);
	return x != x ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* float32 has 24 bits, three times those of bfloat16, but sums may reach further down: then they are odd, so that no
 * tie is made. */
static uint16_t bf16_fma(uint16_t x, uint16_t y, uint16_t z)
{
	volatile double p = (double)from_bf16(x) * from_bf16(y), c = from_bf16(z), down, up;
	volatile float cut;
	float f;
	uint32_t bits;

	fesetround(FE_TOWARDZERO);
	down = p + c;
	cut = (float)down; /* towards zero, too */
	fesetround(FE_TONEAREST);
	f = cut;
	if (down != down)
		return 0x7fff;
	memcpy(&bits, &f, 4);
	fesetround(FE_UPWARD);
	up = p + c;
	fesetround(FE_DOWNWARD);
	down = p + c;
	fesetround(FE_TONEAREST);
	if (isfinite(f) && (up != down || (double)f != down))
		bits |= 1;
	memcpy(&f, &bits, 4);
	return bf16(f);
}

static uint16_t bf16_min(uint16_t x, uint16_t y)
{
	const float a = from_bf16(x), b = from_bf16(y);

	return a != a && b != b ? 0x7fff : a != a ? y : b != b || a < b || (a == b && signbit(a)) ? x : y;
}

static uint16_t positive(uint16_t h)
{
	return h & 0x8000 && (h & 0x7fff) <= 0x7f80 ? 0 : h;
}

static uint32_t tf32(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, 4);
	if (x != x)
		return 0x7fffffff;
	return isinf(x) ? bits : (bits + 0x1000) & 0xffffe000;
}

static uint16_t half_product(uint32_t x, uint32_t y)
{
	const uint16_t hx = (uint16_t)x, hy = (uint16_t)y;
	_Float16 a, b, r;
	uint16_t h;

	memcpy(&a, &hx, 2);
	memcpy(&b, &hy, 2);
	r = (_Float16)((float)a * (float)b);
	memcpy(&h, &r, 2);
	return r != r ? 0x7fff : h;
}

/* -- the instructions -- */

#define RESULT(T, TD, EXPR)                                                                                    \
	{                                                                                                      \
		TD d;                                                                                          \
		T x, y, z;                                                                                     \
		memcpy(&x, in, sizeof x);                                                                      \
		memcpy(&y, in + 1, sizeof y);                                                                  \
		memcpy(&z, in + 2, sizeof z);                                                                  \
		(void)x;                                                                                       \
		(void)y;                                                                                       \
		(void)z;                                                                                       \
		d = (EXPR);                                                                                    \
		memset(out, 0, sizeof *out);                                                                   \
		memcpy(out, &d, sizeof d);                                                                     \
		return;                                                                                        \
	}
#define OP(TEXT, T, R, TD, RD, EXPR)                                                                           \
	case __COUNTER__ - FIRST:                                                                              \
		RESULT(T, TD, EXPR)
#define NEAR OP
enum { FIRST = __COUNTER__ + 1 };

/* What instruction k makes of three operands (and n, a shift). */
static void expected(size_t k, const uint64_t *in, uint32_t n, uint64_t *out)
{
	switch (k) {
#include "tests/ptx/scalar.def"
	}
}
#undef OP
#undef NEAR

typedef struct Scalar {
	const char *text, *from, *to; /* registers */
	unsigned from_bytes, to_bytes;
	bool from_float, to_float, near;
} Scalar;

#define IS_FLOAT(T) _Generic((T)0, float: true, double: true, _Float16: true, default: false)
#define ROW(TEXT, T, R, TD, RD, NEAR) {TEXT, R, RD, sizeof(T), sizeof(TD), IS_FLOAT(T), IS_FLOAT(TD), NEAR},
#define OP(TEXT, T, R, TD, RD, EXPR) ROW(TEXT, T, R, TD, RD, false)
#define NEAR(TEXT, T, R, TD, RD, EXPR) ROW(TEXT, T, R, TD, RD, true)
static const Scalar scalars[] = {
#include "tests/ptx/scalar.def"
};
enum { NSCALARS = sizeof scalars / sizeof *scalars };

static char *write_kernels(const char *folder)
{
	char path[4096];
	FILE *o;

	snprintf(path, sizeof path, "%s/scalar.ptx", folder);
	o = fopen(path, "w");
	if (!o)
		return NULL;
	fputs(".version 7.8\n.target sm_80\n.address_size 64\n", o);
	for (size_t k = 0; k < NSCALARS; k++) {
		const Scalar *s = &scalars[k];

		fprintf(o, "\n.visible .entry k%zu(.param .u64 x, .param .u64 r)\n{\n", k);
		fprintf(o,
			"\t.reg .b32 %%t, %%u, %%v, %%n;\n\t.reg .b64 %%x, %%r;\n\t.reg .%s %%a, %%b, %%c;\n\t.reg .%s "
			"%%d;\n",
			s->from, s->to);
		fputs("\tmov.u32 %t, %ctaid.x;\n\tmov.u32 %u, %ntid.x;\n\tmov.u32 %v, %tid.x;\n\tmad.lo.u32 %t, %t, "
		      "%u, %v;\n",
		      o);
		fputs("\tld.param.u64 %x, [x];\n\tld.param.u64 %r, [r];\n\tmad.wide.u32 %x, %t, 32, %x;\n", o);
		fputs("\tmad.wide.u32 %r, %t, 8, %r;\n\tld.global.u32 %n, [%x+24];\n", o);
		for (int v = 0; v < 3; v++)
			fprintf(o, "\tld.global.%s %%%c, [%%x+%d];\n", s->from, 'a' + v, 8 * v);
		fprintf(o, "\t%s\n\tst.global.%s [%%r], %%d;\n\tret;\n}\n", s->text, s->to);
	}
	fclose(o);
	return test_read(folder, "scalar.ptx");
}

static uint64_t random_bits(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* Floats near 1, near those of the result's limits, and any bits; whole numbers alike. */
static uint64_t value_for(const Scalar *s)
{
	const uint64_t bits = random_bits();
	const int shift = (int)(random_bits() % 64), kind = (int)(random_bits() % 4);
	double d = (double)(int64_t)(bits >> shift) / 256;
	float f = (float)d;
	uint64_t v = 0;

	if (s->from_float && kind && s->from_bytes == 8)
		memcpy(&v, &d, 8);
	else if (s->from_float && kind && s->from_bytes == 4)
		memcpy(&v, &f, 4);
	else
		v = kind == 1 ? (uint64_t)((int64_t)bits >> shift) : kind == 2 ? (bits & 7) - 4 : bits;
	return v;
}

static void fill(const Scalar *s, uint64_t *in, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		for (int v = 0; v < 3; v++)
			in[4 * k + v] = value_for(s);
		if (s->from_bytes == 2)
			in[4 * k] = k;
		in[4 * k + 3] = random_bits() % 72;
	}
}

static double as_double(const Scalar *s, uint64_t bits)
{
	float f;
	double d;
	_Float16 h;

	memcpy(&d, &bits, 8);
	memcpy(&f, &bits, 4);
	memcpy(&h, &bits, 2);
	return s->to_bytes == 8 ? d : s->to_bytes == 4 ? f : (double)h;
}

static bool same(const Scalar *s, uint64_t got, uint64_t want)
{
	const double a = s->to_float ? as_double(s, got) : 0, b = s->to_float ? as_double(s, want) : 0;

	if (!s->to_float || !(a != a && b != b))
		return got == want || (s->near && fabs(a - b) <= fabs(b) * 0x1p-21 + 0x1p-140);
	return true;
}

static void test_one(void *module, size_t k, TestBuffer *in, TestBuffer *out)
{
	const Scalar *s = &scalars[k];
	const size_t n = s->from_bytes == 2 ? N : N / 16;
	const uint64_t args[] = {in->device, out->device};
	char name[16];
	size_t bad = 0;

	snprintf(name, sizeof name, "k%zu", k);
	fill(s, in->host, n);
	test_put(in);
	if (CALL(test_run(module, name, (unsigned)(n / THREADS), THREADS, 0, 2, args)))
		return;
	test_get(out);
	for (size_t j = 0; j < n; j++) {
		const uint64_t *x = (const uint64_t *)in->host + 4 * j;
		const uint64_t mask = s->to_bytes == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * s->to_bytes) - 1;
		const uint64_t got = ((const uint64_t *)out->host)[j] & mask;
		uint64_t want;

		expected(k, x, (uint32_t)x[3], &want);
		if (same(s, got, want) || bad++)
			continue;
		CHECK_THAT(false, "%s of %#llx, %#llx, %#llx (%llu): %#llx, not %#llx", s->text,
			   (unsigned long long)x[0], (unsigned long long)x[1], (unsigned long long)x[2],
			   (unsigned long long)x[3], (unsigned long long)got, (unsigned long long)want);
	}
	test_passed += !bad;
}

void test_scalar(const char *folder)
{
	char *text = write_kernels(folder);
	void *module = test_load(text);
	TestBuffer in = test_buffer(N * 32), out = test_buffer(N * 8);

	for (size_t k = 0; module && k < NSCALARS; k++)
		test_one(module, k, &in, &out);
	free(text);
	test_free(&in);
	test_free(&out);
	if (module)
		CALL(cuModuleUnload(module));
}
