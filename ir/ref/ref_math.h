/* ir/ref/ref_math.h -- scalar math of the reference kernels, without a C library.
 *
 * Everything is computed in float64 with an error of a few float64 ulp, so that a result rounded
 * to float32 is within one float32 ulp (in practice correctly rounded nearly always). */
#ifndef MLO_IR_REF_MATH_H
#define MLO_IR_REF_MATH_H
#include <stdbool.h>
#include <stdint.h>

double refm_exp(double x);
double refm_expm1(double x);
double refm_log(double x);
double refm_log1p(double x);
double refm_tanh(double x);
double refm_erf(double x);
double refm_sin(double x);
double refm_cos(double x);
double refm_pow(double x, double y);
double refm_fmod(double x, double y); /* exact; the sign of x */
double refm_sigmoid(double x);
double refm_tan(double x);
double refm_asin(double x);
double refm_acos(double x);
double refm_atan(double x);
double refm_sinh(double x);
double refm_cosh(double x);
double refm_asinh(double x);
double refm_acosh(double x);
double refm_atanh(double x);

static inline uint64_t refm_bits(double x)
{
	union { double f; uint64_t u; } c = {x};
	return c.u;
}

static inline double refm_from_bits(uint64_t u)
{
	union { uint64_t u; double f; } c = {u};
	return c.f;
}

static inline float refm_from_bits32(uint32_t u)
{
	union { uint32_t u; float f; } c = {u};
	return c.f;
}

static inline double refm_inf(void) { return refm_from_bits(UINT64_C(0x7ff0000000000000)); }
static inline double refm_nan(void) { return refm_from_bits(UINT64_C(0x7ff8000000000000)); }
static inline bool refm_isnan(double x) { return x != x; }
static inline double refm_abs(double x) { return __builtin_fabs(x); }
static inline double refm_sqrt(double x) { return __builtin_sqrt(x); }

/* From 2**52 on every float64 is an integer; adding 1.5 * 2**52 rounds, halves to even. */
static inline double refm_rint(double x)
{
	if (!(refm_abs(x) < 4503599627370496.0))
		return x;
	double r = (x + 6755399441055744.0) - 6755399441055744.0;
	return __builtin_copysign(r, x);
}

static inline double refm_trunc(double x)
{
	if (!(refm_abs(x) < 4503599627370496.0))
		return x;
	return __builtin_copysign((double)(int64_t)x, x);
}

static inline double refm_floor(double x)
{
	double t = refm_trunc(x);
	return t > x ? t - 1 : t;
}

static inline double refm_ceil(double x)
{
	double t = refm_trunc(x);
	return t < x ? __builtin_copysign(t + 1, x) : t;
}
#endif
