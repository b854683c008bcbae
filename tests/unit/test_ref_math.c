/* tests/unit/test_ref_math.c -- scalar math of the reference kernels against the C library. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <string.h>

#include "ir/ref/ref_math.h"

void suite_ref_math(void);

static uint64_t state;

static uint64_t random_bits(void)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	uint64_t x = state ^ state >> 33;
	return x * UINT64_C(0xff51afd7ed558ccd) ^ x >> 29;
}

static double uniform(double lo, double hi)
{
	return lo + (hi - lo) * ((double)(random_bits() >> 11) * 0x1p-53);
}

/* Distance of a from the correct value b in units of b's last float32 place. */
static double ulps(float a, double b)
{
	if (isnan(b) || isnan(a))
		return isnan(b) && isnan(a) ? 0 : INFINITY;
	float r = (float)b;
	if (a == r)
		return 0;
	if (isinf(a) || isinf(r))
		return INFINITY;
	float step = nextafterf(fabsf(r), INFINITY) - fabsf(r);
	return fabs((double)a - b) / step;
}

/* Worst float32 error over points of [lo, hi] and over all magnitudes inside it. */
static double worst(double (*f)(double), double (*truth)(double), double lo, double hi)
{
	double max = 0;
	for (int i = 0; i < 100000; i++) {
		float x = (float)uniform(lo, hi);
		if (i & 1)
			x = (float)(x * exp2(uniform(-30, 0)));
		double e = ulps((float)f(x), truth(x));
		max = e > max ? e : max;
	}
	return max;
}

/* Worst relative float64 error. */
static double relative(double (*f)(double), double (*truth)(double), double lo, double hi)
{
	double max = 0;
	for (int i = 0; i < 100000; i++) {
		double x = uniform(lo, hi), t = truth(x), e = fabs(f(x) - t) / fabs(t);
		max = e > max ? e : max;
	}
	return max;
}

static double sigmoid(double x)
{
	return (double)(1.0L / (1.0L + expl(-(long double)x)));
}

static void float32_results(void)
{
	CU_ASSERT(worst(refm_exp, exp, -104, 89) <= 0.5001);
	CU_ASSERT(worst(refm_expm1, expm1, -20, 20) <= 0.5001);
	CU_ASSERT(worst(refm_log, log, 0, 1e30) <= 0.5001);
	CU_ASSERT(worst(refm_log, log, 0.5, 2) <= 0.5001);
	CU_ASSERT(worst(refm_log1p, log1p, -0.999, 100) <= 0.5001);
	CU_ASSERT(worst(refm_tanh, tanh, -12, 12) <= 0.5001);
	CU_ASSERT(worst(refm_erf, erf, -6.5, 6.5) <= 0.5001);
	CU_ASSERT(worst(refm_sin, sin, -100, 100) <= 0.5001);
	CU_ASSERT(worst(refm_cos, cos, -100, 100) <= 0.5001);
	CU_ASSERT(worst(refm_sin, sin, -1e38, 1e38) <= 0.5001);
	CU_ASSERT(worst(refm_cos, cos, -1e9, 1e9) <= 0.5001);
	CU_ASSERT(worst(refm_sigmoid, sigmoid, -90, 90) <= 0.5001);
}

static void float64_results(void)
{
	CU_ASSERT(relative(refm_exp, exp, -700, 700) < 1e-15);
	CU_ASSERT(relative(refm_log, log, 1e-300, 1e300) < 1e-15);
	CU_ASSERT(relative(refm_tanh, tanh, 0.01, 19) < 2e-15);
	CU_ASSERT(relative(refm_erf, erf, 0.001, 5.9) < 2e-15);
	CU_ASSERT(relative(refm_sin, sin, 0.1, 1.5) < 1e-15);
}

static void special_values(void)
{
	CU_ASSERT_EQUAL(refm_exp(1000), INFINITY);
	CU_ASSERT_EQUAL(refm_exp(-INFINITY), 0);
	CU_ASSERT_EQUAL(refm_exp(0), 1);
	CU_ASSERT(refm_exp(-745) > 0);
	CU_ASSERT(isnan(refm_log(-1)));
	CU_ASSERT_EQUAL(refm_log(0), -INFINITY);
	CU_ASSERT_EQUAL(refm_log(INFINITY), INFINITY);
	CU_ASSERT_EQUAL(refm_log(1), 0);
	CU_ASSERT_DOUBLE_EQUAL(refm_log(5e-324), log(5e-324), 1e-12);
	CU_ASSERT(isnan(refm_sin(INFINITY)));
	CU_ASSERT(isnan(refm_cos(NAN)));
	CU_ASSERT(signbit(refm_sin(-0.0)));
	CU_ASSERT_EQUAL(refm_tanh(INFINITY), 1);
	CU_ASSERT_EQUAL(refm_erf(-INFINITY), -1);
	CU_ASSERT(isnan(refm_erf(NAN)));
	CU_ASSERT_EQUAL(refm_sigmoid(-INFINITY), 0);
}

static void rounding_agrees_with_libm(void)
{
	static const double points[] = {0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999999999999994, 1e15 + 0.5,
	                                4503599627370495.5, 4503599627370497.0, -1e300, INFINITY, -3.0};
	for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
		double x = points[i];
		CU_ASSERT_EQUAL(refm_rint(x), rint(x));
		CU_ASSERT_EQUAL(signbit(refm_rint(x)), signbit(rint(x)));
		CU_ASSERT_EQUAL(refm_floor(x), floor(x));
		CU_ASSERT_EQUAL(refm_ceil(x), ceil(x));
		CU_ASSERT_EQUAL(signbit(refm_ceil(x)), signbit(ceil(x)));
		CU_ASSERT_EQUAL(refm_trunc(x), trunc(x));
	}
	for (int i = 0; i < 100000; i++) {
		double x = uniform(-1000, 1000);
		if (refm_rint(x) != rint(x) || refm_floor(x) != floor(x) || refm_ceil(x) != ceil(x))
			CU_FAIL("rounding differs");
	}
}

static void pow_follows_c(void)
{
	static const double special[] = {0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, 1e300, 33, 1001, INFINITY,
	                                 -INFINITY, NAN};
	size_t n = sizeof special / sizeof *special;
	double max = 0;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			double want = pow(special[i], special[j]), got = refm_pow(special[i], special[j]);
			double slack = 1e-12 * fabs(want);
			CU_ASSERT(isnan(want) ? isnan(got) : got == want || fabs(got - want) <= slack);
		}
	for (int i = 0; i < 100000; i++) {
		float x = (float)uniform(0, 10), y = (float)uniform(-20, 20);
		double e = ulps((float)refm_pow(x, y), pow(x, y));
		max = e > max ? e : max;
	}
	CU_ASSERT(max <= 0.5001);
	CU_ASSERT_EQUAL(refm_pow(3, 2), 9);
	CU_ASSERT_EQUAL(refm_pow(-2, 31), -2147483648.0);
}

static void fmod_is_exact(void)
{
	CU_ASSERT_EQUAL(refm_fmod(1e308, 3e-308), fmod(1e308, 3e-308));
	CU_ASSERT_EQUAL(refm_fmod(1.0, 5e-324), fmod(1.0, 5e-324));
	CU_ASSERT(signbit(refm_fmod(-4.0, 2.0)));
	CU_ASSERT(isnan(refm_fmod(1.0, 0.0)));
	CU_ASSERT_EQUAL(refm_fmod(5.0, INFINITY), 5.0);
	for (int i = 0; i < 20000; i++) {
		double a = uniform(-1, 1) * exp2(uniform(-20, 60)), b = uniform(-1, 1) * exp2(uniform(-20, 20));
		if (refm_fmod(a, b) != fmod(a, b))
			CU_FAIL("fmod differs");
	}
}

void suite_ref_math(void)
{
	CU_pSuite s = CU_add_suite("ref_math", NULL, NULL);
	state = 42;
	CU_add_test(s, "results rounded to float32 are within half a place", float32_results);
	CU_add_test(s, "float64 results are within a few places", float64_results);
	CU_add_test(s, "special values", special_values);
	CU_add_test(s, "rounding agrees with the C library", rounding_agrees_with_libm);
	CU_add_test(s, "pow follows C", pow_follows_c);
	CU_add_test(s, "fmod is exact", fmod_is_exact);
}
