/* ir/ref/ref_math.c -- scalar functions from plain arithmetic: exponential, trigonometric, inverse, pow, fmod. */
#include "ir/ref/ref_math.h"

/* ln 2 in two parts; the first has 33 bits, so that its product with an exponent is exact. */
#define LN2_HI 0x1.62e42fefp-1
#define LN2_LO 0x1.473de6af278edp-34

/* 2**k as a factor, for -1022 <= k <= 1023. */
static double power_of_two(int k)
{
	return refm_from_bits((uint64_t)(k + 1023) << 52);
}

/* x * 2**k, rounding once more only where the result is subnormal. */
static double scale(double x, int k)
{
	while (k > 1023) {
		x *= power_of_two(1023);
		k -= 1023;
	}
	while (k < -1022) {
		x *= power_of_two(-969);
		k += 969;
	}
	return x * power_of_two(k);
}

/* (e**r - 1 - r) / r**2 for |r| <= 0.36, by its Taylor series. */
static double exp_tail(double r)
{
	double p = 1.0 / 1307674368000.0;
	p = p * r + 1.0 / 87178291200.0;
	p = p * r + 1.0 / 6227020800.0;
	p = p * r + 1.0 / 479001600.0;
	p = p * r + 1.0 / 39916800.0;
	p = p * r + 1.0 / 3628800.0;
	p = p * r + 1.0 / 362880.0;
	p = p * r + 1.0 / 40320.0;
	p = p * r + 1.0 / 5040.0;
	p = p * r + 1.0 / 720.0;
	p = p * r + 1.0 / 120.0;
	p = p * r + 1.0 / 24.0;
	p = p * r + 1.0 / 6.0;
	return p * r + 0.5;
}

double refm_exp(double x)
{
	if (refm_isnan(x))
		return x;
	if (x > 709.8)
		return refm_inf();
	if (x < -746.0)
		return 0;
	/* x = k ln 2 + r, |r| <= ln 2 / 2 */
	double k = refm_rint(x * 1.4426950408889634);
	double r = (x - k * LN2_HI) - k * LN2_LO;
	return scale(1.0 + (r + r * r * exp_tail(r)), (int)k);
}

double refm_expm1(double x)
{
	if (refm_abs(x) < 0.35)
		return x + x * x * exp_tail(x);
	return refm_exp(x) - 1.0;
}

/* 2 atanh(s) - 2 s for |s| <= 0.172. */
static double atanh_tail(double s)
{
	double z = s * s;
	double p = 2.0 / 23;
	p = p * z + 2.0 / 21;
	p = p * z + 2.0 / 19;
	p = p * z + 2.0 / 17;
	p = p * z + 2.0 / 15;
	p = p * z + 2.0 / 13;
	p = p * z + 2.0 / 11;
	p = p * z + 2.0 / 9;
	p = p * z + 2.0 / 7;
	p = p * z + 2.0 / 5;
	p = p * z + 2.0 / 3;
	return p * z * s;
}

double refm_log(double x)
{
	if (refm_isnan(x) || x < 0)
		return refm_nan();
	if (x == 0)
		return -refm_inf();
	if (x == refm_inf())
		return x;
	int e = 0;
	if (x < 0x1p-1022) {
		x *= 0x1p54;
		e = -54;
	}
	/* x = m * 2**e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)) */
	uint64_t u = refm_bits(x);
	e += (int)(u >> 52) - 1023;
	double m = refm_from_bits((u & UINT64_C(0x000fffffffffffff)) | UINT64_C(0x3ff0000000000000));
	if (m > 1.4142135623730951) {
		m *= 0.5;
		e++;
	}
	double s = (m - 1.0) / (m + 1.0);
	return e * LN2_HI + (2.0 * s + (atanh_tail(s) + e * LN2_LO));
}

double refm_log1p(double x)
{
	if (refm_abs(x) < 0.25) {
		double s = x / (2.0 + x);
		return 2.0 * s + atanh_tail(s);
	}
	return refm_log(1.0 + x);
}

double refm_tanh(double x)
{
	if (refm_isnan(x))
		return x;
	double a = refm_abs(x);
	if (a > 20.0)
		return __builtin_copysign(1.0, x);
	double e = refm_expm1(2.0 * a);
	return __builtin_copysign(e / (e + 2.0), x);
}

double refm_sigmoid(double x)
{
	if (x >= 0)
		return 1.0 / (1.0 + refm_exp(-x));
	double e = refm_exp(x);
	return e / (1.0 + e);
}

/* erf(x) / x as a polynomial in x**2 for |x| <= 1 (Chebyshev interpolation, error 5e-17). */
static double erf_small(double x)
{
	double z = x * x;
	double p = -1.1372848856791674e-09 + z * 5.957176147748911e-11;
	p = p * z + 1.4659775274047436e-08;
	p = p * z - 1.6350312701054695e-07;
	p = p * z + 1.6461000484121368e-06;
	p = p * z - 1.4925595266831182e-05;
	p = p * z + 0.0001205533111164271;
	p = p * z - 0.000854832698083379;
	p = p * z + 0.0052239776248180145;
	p = p * z - 0.026866170645076792;
	p = p * z + 0.11283791670954879;
	p = p * z - 0.3761263890318375;
	p = p * z + 1.1283791670955126;
	return p * x;
}

/* exp(x**2) erfc(x) as a polynomial in (x - 2) / (x + 2) for 1 <= x <= 6 (error 5e-16). */
static double erfcx_middle(double x)
{
	double t = (x - 2.0) / (x + 2.0);
	double p = 4.146302183268488e-06 - t * 2.22812957637235e-07;
	p = p * t + 1.859427387429402e-06;
	p = p * t - 1.4166339069117108e-05;
	p = p * t - 2.7640727821912852e-05;
	p = p * t + 2.7560352756678313e-05;
	p = p * t + 0.00017436477257256738;
	p = p * t + 4.355265359817883e-05;
	p = p * t - 0.0009819771114740715;
	p = p * t - 0.0008471431229415333;
	p = p * t + 0.006997461739200575;
	p = p * t + 0.0037328924016564484;
	p = p * t - 0.07897858101571269;
	p = p * t + 0.24165819424248763;
	p = p * t - 0.4271858474139585;
	return p * t + 0.2553956763105057;
}

double refm_erf(double x)
{
	if (refm_isnan(x))
		return x;
	double a = refm_abs(x);
	if (a <= 1.0)
		return erf_small(x);
	if (a >= 6.0)
		return __builtin_copysign(1.0, x);
	return __builtin_copysign(1.0 - refm_exp(-a * a) * erfcx_middle(a), x);
}

/* The bits of 2 / pi after the binary point, first bit first. */
static const uint64_t two_over_pi[20] = {
	0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561,
	0xb7246e3a424dd2e0, 0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484,
	0xe99c7026b45f7e41, 0x3991d639835339f4, 0x9c845f8bbdf9283b, 0x1ff897ffde05980f,
	0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d, 0x7527bac7ebe5f17b,
	0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab, 0xf0cfbc209af4361d,
};

/* 64 bits of 2 / pi from bit `at` on; bits before the point are 0. */
static uint64_t pi_bits(int at)
{
	int word = at >= 0 ? at / 64 : -((63 - at) / 64);
	int shift = at - word * 64;
	uint64_t hi = word >= 0 && word < 20 ? two_over_pi[word] : 0;
	uint64_t lo = word + 1 >= 0 && word + 1 < 20 ? two_over_pi[word + 1] : 0;
	return shift ? hi << shift | lo >> (64 - shift) : hi;
}

/* a * b + add in two words; in halves, since not every compiler has wider integers. */
static uint64_t multiply_wide(uint64_t a, uint64_t b, uint64_t add, uint64_t *high)
{
	uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
	uint64_t low = a0 * b0, mid = a1 * b0 + (low >> 32), cross = a0 * b1 + (uint32_t)mid;
	uint64_t sum = (cross << 32 | (uint32_t)low) + add;
	*high = a1 * b1 + (mid >> 32) + (cross >> 32) + (sum < add);
	return sum;
}

/* Payne and Hanek: for large x the product with 2 / pi modulo 4, from the 192 bits that matter. */
static double reduce_large(double x, int *quadrant)
{
	uint64_t u = refm_bits(x);
	uint64_t m = (u & UINT64_C(0x000fffffffffffff)) | UINT64_C(0x0010000000000000);
	int at = (int)(u >> 52) - 1075 - 2;
	uint64_t carry0, carry1;
	uint64_t w0 = multiply_wide(m, pi_bits(at + 128), 0, &carry0);
	uint64_t w1 = multiply_wide(m, pi_bits(at + 64), carry0, &carry1);
	uint64_t w2 = m * pi_bits(at) + carry1;
	int q = (int)(w2 >> 62);
	w2 &= UINT64_C(0x3fffffffffffffff);
	bool up = w2 >> 61;
	if (up) { /* above one half: count from the next quadrant down */
		q++;
		w0 = ~w0;
		w1 = ~w1;
		w2 = ~w2 & UINT64_C(0x3fffffffffffffff);
	}
	double f = (double)w2 * 0x1p-62 + ((double)w1 * 0x1p-126 + (double)w0 * 0x1p-190);
	*quadrant = q & 3;
	return (up ? -f : f) * 1.5707963267948966;
}

/* |x| - k pi / 2 with |result| <= pi / 4; *quadrant = k mod 4. */
static double reduce(double x, int *quadrant)
{
	x = refm_abs(x);
	if (x > 1e6)
		return reduce_large(x, quadrant);
	/* The first three parts of pi / 2 have 33 bits: products with k are exact. */
	double k = refm_rint(x * 0.6366197723675814);
	*quadrant = (int)((int64_t)k & 3);
	double r = x - k * 0x1.921fb544p+0;
	r -= k * 0x1.0b4611a6p-34;
	r -= k * 0x1.3198a2e0p-69;
	return r - k * 0x1.b839a252049c1p-104;
}

static double sin_small(double r)
{
	double z = r * r;
	double p = 1.0 / 355687428096000.0;
	p = 1.0 / 1307674368000.0 - p * z;
	p = 1.0 / 6227020800.0 - p * z;
	p = 1.0 / 39916800.0 - p * z;
	p = 1.0 / 362880.0 - p * z;
	p = 1.0 / 5040.0 - p * z;
	p = 1.0 / 120.0 - p * z;
	p = 1.0 / 6.0 - p * z;
	return r - r * z * p;
}

static double cos_small(double r)
{
	double z = r * r;
	double p = 1.0 / 6402373705728000.0;
	p = 1.0 / 20922789888000.0 - p * z;
	p = 1.0 / 87178291200.0 - p * z;
	p = 1.0 / 479001600.0 - p * z;
	p = 1.0 / 3628800.0 - p * z;
	p = 1.0 / 40320.0 - p * z;
	p = 1.0 / 720.0 - p * z;
	p = 1.0 / 24.0 - p * z;
	p = 0.5 - p * z;
	return 1.0 - z * p;
}

/* sin(quadrant * pi / 2 + r) */
static double sin_at(int quadrant, double r)
{
	double v = quadrant & 1 ? cos_small(r) : sin_small(r);
	return quadrant & 2 ? -v : v;
}

double refm_sin(double x)
{
	int q;
	if (!(refm_abs(x) < refm_inf()))
		return refm_nan();
	if (x == 0)
		return x;
	double r = reduce(x, &q);
	double v = sin_at(q, r);
	return x < 0 ? -v : v;
}

double refm_cos(double x)
{
	int q;
	if (!(refm_abs(x) < refm_inf()))
		return refm_nan();
	double r = reduce(x, &q);
	return sin_at((q + 1) & 3, r);
}

static double pow_int(double x, int64_t n)
{
	double r = 1.0;
	uint64_t k = n < 0 ? (uint64_t)-n : (uint64_t)n;
	for (; k; k >>= 1, x *= x)
		if (k & 1)
			r *= x;
	return n < 0 ? 1.0 / r : r;
}

/* The corner cases of C's pow: y = 0 and x = 1 give 1; negative x needs an integer y. */
double refm_pow(double x, double y)
{
	if (y == 0 || x == 1.0)
		return 1.0;
	if (refm_isnan(x) || refm_isnan(y))
		return refm_nan();
	bool whole = refm_trunc(y) == y;
	bool odd = whole && refm_abs(y) < 9007199254740992.0 && ((int64_t)y & 1);
	if (whole && refm_abs(y) <= 32.0)
		return pow_int(x, (int64_t)y);
	double a = refm_abs(x);
	if (refm_abs(y) == refm_inf())
		return a == 1.0 ? 1.0 : (a > 1.0) == (y > 0) ? refm_inf() : 0.0;
	if (x < 0 && !whole && a < refm_inf())
		return refm_nan();
	double v;
	if (a == 0 || a == refm_inf())
		v = (a == 0) == (y > 0) ? 0.0 : refm_inf();
	else
		v = y == 0.5 ? refm_sqrt(a) : refm_exp(y * refm_log(a));
	return odd ? __builtin_copysign(v, x) : v;
}

/* Long division, one bit per step: exact. */
double refm_fmod(double x, double y)
{
	double a = refm_abs(x), b = refm_abs(y);
	if (!(a < refm_inf()) || refm_isnan(y) || b == 0)
		return refm_nan();
	while (a >= b) {
		/* The largest b * 2**k <= a; multiplying by a power of two is exact here. */
		int k = (int)(refm_bits(a) >> 52) - (int)(refm_bits(b) >> 52);
		double d = k > 1 ? scale(b, k - 1) : b;
		while (d + d <= a)
			d += d;
		a -= d;
	}
	return __builtin_copysign(a, x);
}

/* -- inverse trigonometric and hyperbolic functions ------------------------------------------ */

#define HALF_PI 1.5707963267948966
#define LN2 0.6931471805599453

/* Two half-angle steps bring the argument below 0.2, where the series converges fast. */
static double atan_01(double x)
{
	bool upper = x > 0.41421356237309503;
	double t = upper ? (x - 1.0) / (x + 1.0) : x;
	t /= 1.0 + refm_sqrt(1.0 + t * t);
	double z = t * t, p = 1.0 / 27;
	for (int k = 25; k >= 3; k -= 2)
		p = 1.0 / k - z * p;
	t = 2.0 * (t - t * z * p);
	return upper ? HALF_PI / 2 + t : t;
}

double refm_atan(double x)
{
	if (refm_isnan(x))
		return x;
	double a = refm_abs(x);
	return __builtin_copysign(a > 1.0 ? HALF_PI - atan_01(1.0 / a) : atan_01(a), x);
}

double refm_asin(double x)
{
	return refm_abs(x) > 1.0 ? refm_nan() : refm_atan(x / refm_sqrt((1.0 - x) * (1.0 + x)));
}

double refm_acos(double x)
{
	return refm_abs(x) > 1.0 ? refm_nan() : 2.0 * refm_atan(refm_sqrt((1.0 - x) / (1.0 + x)));
}

double refm_asinh(double x)
{
	double a = refm_abs(x);
	double v = a > 1e8 ? refm_log(a) + LN2 : refm_log1p(a + a * a / (1.0 + refm_sqrt(1.0 + a * a)));
	return refm_isnan(x) ? x : __builtin_copysign(v, x);
}

double refm_acosh(double x)
{
	double t = x - 1.0;
	if (!(x >= 1.0))
		return refm_nan();
	return x > 1e8 ? refm_log(x) + LN2 : refm_log1p(t + refm_sqrt(t * (2.0 + t)));
}

double refm_atanh(double x)
{
	double a = refm_abs(x);
	return a <= 1.0 ? __builtin_copysign(0.5 * refm_log1p(2.0 * a / (1.0 - a)), x) : refm_nan();
}

double refm_sinh(double x)
{
	double a = refm_abs(x), v;
	if (a > 20.0) { /* e**a would overflow before sinh does */
		double h = refm_exp(0.5 * a);
		v = 0.5 * h * h;
	} else {
		double e = refm_expm1(a);
		v = 0.5 * (e + e / (e + 1.0));
	}
	return refm_isnan(x) ? x : __builtin_copysign(v, x);
}

double refm_cosh(double x)
{
	double h = refm_exp(0.5 * refm_abs(x));
	return 0.5 * h * h + 0.5 / h / h;
}

double refm_tan(double x)
{
	return refm_sin(x) / refm_cos(x);
}
