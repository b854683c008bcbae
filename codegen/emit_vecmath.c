/* codegen/emit_vecmath.c -- elementary functions as inline polynomial code, on scalars and vectors.
 *
 * Bounds in units in the last place, tested in tests/unit/test_vecmath.c (with fused multiply-add;
 * where the machine has none, the same bounds hold for f32):
 *
 *            f32     f64
 *   exp      2       2       overflow to inf, gradual underflow, exp(-inf) = 0
 *   log      2       2       log(0) = -inf, log(x < 0) = NaN, denormal arguments exact
 *   tanh     4       1e-14 relative
 *   sigmoid  4       4       f32: between 0 and 1.7e-38 below x = -87
 *   erf      4       1e-14 relative
 *   decay    2       2       for arguments of 0 and less
 *   phi      4       1e-14 absolute; f32 below 0: 1e-5 relative, below -6 1e-14 absolute
 *   sin cos  4 for |x| <= 1e6 (f64: 1e-14 absolute for |x| <= 1e5); slowly worse up to 2^30, beyond
 *            that reduced to an angle of 0; inf gives NaN
 *   pow      2       1e-12 relative; special cases as C's pow
 *
 * NaN in gives NaN out.  Polynomials of erf are interpolated at Chebyshev nodes (relative errors
 * below 5e-9 for f32, 1e-16 for f64), that of the logarithm of phi is fitted to 1e-7 (1 + |log| / 3), those
 * of exp (f64) are Taylor's; the others are the classic minimax coefficients of Cephes (f32) and fdlibm
 * (f64). */
#include <math.h>

#include "codegen/emit_internal.h"

typedef LLVMValueRef V;

/* -- shorthand --------------------------------------------------------------------------------- */

static bool is_f64(V x)
{
	return LLVMGetTypeKind(emit_scalar_type(LLVMTypeOf(x))) == LLVMDoubleTypeKind;
}

static V num(V like, double v)
{
	return emit_const_f(LLVMTypeOf(like), v);
}

static V add(Emit *e, V a, V b)
{
	return LLVMBuildFAdd(e->b, a, b, "");
}

static V sub(Emit *e, V a, V b)
{
	return LLVMBuildFSub(e->b, a, b, "");
}

static V mul(Emit *e, V a, V b)
{
	return LLVMBuildFMul(e->b, a, b, "");
}

static V quo(Emit *e, V a, V b)
{
	return LLVMBuildFDiv(e->b, a, b, "");
}

static V bits_of(Emit *e, V x)
{
	return LLVMBuildBitCast(e->b, x, emit_int_like(e, LLVMTypeOf(x)), "");
}

static V from_bits(Emit *e, V i, LLVMTypeRef t)
{
	return LLVMBuildBitCast(e->b, i, t, "");
}

static V int_k(V like, int64_t v)
{
	return emit_const_i(LLVMTypeOf(like), v);
}

static V gt(Emit *e, V a, double b)
{
	return LLVMBuildFCmp(e->b, LLVMRealOGT, a, num(a, b), "");
}

static V lt(Emit *e, V a, double b)
{
	return LLVMBuildFCmp(e->b, LLVMRealOLT, a, num(a, b), "");
}

/* Within [lo, hi]; NaN stays. */
static V clamp(Emit *e, V x, double lo, double hi)
{
	x = emit_select(e, gt(e, x, hi), num(x, hi), x);
	return emit_select(e, lt(e, x, lo), num(x, lo), x);
}

static V fabs_(Emit *e, V x)
{
	return emit_unary(e, "llvm.fabs", x);
}

static V copysign_(Emit *e, V mag, V sign)
{
	LLVMTypeRef t = LLVMTypeOf(mag);

	return emit_intrinsic(e, "llvm.copysign", &t, 1, (V[]){mag, sign}, 2);
}

/* c[0] x^(n-1) + ... + c[n-1] */
static V horner(Emit *e, V x, const double *c, int n)
{
	V r = num(x, c[0]);

	for (int i = 1; i < n; i++)
		r = emit_fma(e, r, x, num(x, c[i]));
	return r;
}
#define POLY(e, x, ...) \
	horner(e, x, (const double[]){__VA_ARGS__}, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)))

/* The same in pairs, so that fewer steps wait for each other (Estrin's scheme); x * x must not overflow. */
static V pairwise(Emit *e, V x, const double *c, int n)
{
	V v[16];
	int m = (n + 1) / 2;

	MLO_ASSERT(n >= 2 && m <= 16);
	for (int i = 0; i < m; i++) { /* from the constant term up */
		int at = n - 1 - 2 * i;

		v[i] = at > 0 ? emit_fma(e, x, num(x, c[at - 1]), num(x, c[at])) : num(x, c[0]);
	}
	for (; m > 1; m = (m + 1) / 2) {
		x = mul(e, x, x);
		for (int i = 0; i < m / 2; i++)
			v[i] = emit_fma(e, v[2 * i + 1], x, v[2 * i]);
		if (m % 2)
			v[m / 2] = v[m - 1];
	}
	return v[0];
}
#define PAIRED(e, x, ...) \
	pairwise(e, x, (const double[]){__VA_ARGS__}, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)))

V emit_fma(Emit *e, V a, V b, V c)
{
	LLVMTypeRef t = LLVMTypeOf(a);

	if (!emit_has(e, "fma"))
		return add(e, mul(e, a, b), c);
	return emit_intrinsic(e, "llvm.fma", &t, 1, (V[]){a, b, c}, 3);
}

/* -- rounding ----------------------------------------------------------------------------------- */

/* Adding 1.5 * 2^(mantissa bits) leaves x, rounded to an integer, in the low bits of the sum. */
static double magic(V x)
{
	return is_f64(x) ? 0x1.8p52 : 0x1.8p23;
}

V emit_rint(Emit *e, V x)
{
	double big = is_f64(x) ? 0x1p52 : 0x1p23;
	V a, r;

	if (emit_has(e, "avx2"))
		return emit_unary(e, "llvm.roundeven", x);
	a = fabs_(e, x);
	r = sub(e, add(e, a, num(x, big)), num(x, big));
	return copysign_(e, emit_select(e, lt(e, a, big), r, a), x);
}

V emit_floor(Emit *e, V x)
{
	V r, over;

	if (emit_has(e, "avx2"))
		return emit_unary(e, "llvm.floor", x);
	r = emit_rint(e, x);
	over = LLVMBuildFCmp(e->b, LLVMRealOGT, r, x, "");
	return copysign_(e, emit_select(e, over, sub(e, r, num(x, 1)), r), x);
}

/* -- exp ------------------------------------------------------------------------------------------ */

/* p * 2^n for p near 1 and any n that exp produces, in two steps so that results may be denormal. */
static V scale(Emit *e, V p, V n)
{
	int64_t bias = is_f64(p) ? 1023 : 127, shift = is_f64(p) ? 52 : 23;
	V half = LLVMBuildAShr(e->b, n, int_k(n, 1), ""), rest = LLVMBuildSub(e->b, n, half, "");

	half = LLVMBuildShl(e->b, LLVMBuildAdd(e->b, half, int_k(n, bias), ""), int_k(n, shift), "");
	rest = LLVMBuildShl(e->b, LLVMBuildAdd(e->b, rest, int_k(n, bias), ""), int_k(n, shift), "");
	p = mul(e, p, from_bits(e, half, LLVMTypeOf(p)));
	return mul(e, p, from_bits(e, rest, LLVMTypeOf(p)));
}

/* e^r, or for f32 e^-r, where |r| <= ln(2) / 2. */
static V exp_poly(Emit *e, V r, bool minus)
{
	double s = minus ? -1 : 1;
	V p;

	if (is_f64(r))
		return POLY(e, r, 1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880,
		            1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1);
	p = PAIRED(e, r, 1.3814320573e-3, s * 8.3688510659e-3, 4.1668401084e-2, s * 1.6666519524e-1, 4.9999993373e-1);
	return add(e, emit_fma(e, mul(e, r, r), p, minus ? LLVMBuildFNeg(e->b, r, "") : r), num(r, 1));
}

static V math_exp(Emit *e, V x)
{
	bool wide = is_f64(x);
	V t, n, r;

	x = wide ? clamp(e, x, -746, 710) : clamp(e, x, -104, 89);
	t = emit_fma(e, x, num(x, M_LOG2E), num(x, magic(x)));
	n = sub(e, t, num(x, magic(x)));
	r = emit_fma(e, n, num(x, wide ? -6.93147180369123816490e-01 : -0.693359375), x);
	r = emit_fma(e, n, num(x, wide ? -1.90821492927058770002e-10 : 2.12194440e-4), r);
	t = bits_of(e, t);
	return scale(e, exp_poly(e, r, false), LLVMBuildSub(e->b, t, bits_of(e, num(x, magic(x))), ""));
}

/* -- log ------------------------------------------------------------------------------------------ */

/* x = m * 2^k with m in [sqrt(1/2), sqrt(2)); answers m - 1 and k as floats. */
static V split_log(Emit *e, V x, V *k)
{
	bool wide = is_f64(x);
	LLVMTypeRef t = LLVMTypeOf(x);
	V tiny = lt(e, x, wide ? 0x1p-1022 : 0x1p-126), i, root, n;
	int64_t shift = wide ? 52 : 23;

	x = emit_select(e, tiny, mul(e, x, num(x, wide ? 0x1p54 : 0x1p24)), x);
	root = bits_of(e, num(x, M_SQRT1_2));
	i = LLVMBuildSub(e->b, bits_of(e, x), root, "");
	n = LLVMBuildAShr(e->b, i, int_k(i, shift), "");
	i = LLVMBuildAdd(e->b, LLVMBuildAnd(e->b, i, int_k(i, ((int64_t)1 << shift) - 1), ""), root, "");
	/* n is small: a conversion by the magic sum, which every machine does in vectors */
	n = LLVMBuildAdd(e->b, n, bits_of(e, num(x, magic(x))), "");
	n = sub(e, from_bits(e, n, t), num(x, magic(x)));
	*k = emit_select(e, tiny, sub(e, n, num(x, wide ? 54 : 24)), n);
	return sub(e, from_bits(e, i, t), num(x, 1));
}

static V log_f32(Emit *e, V f, V k)
{
	V z = mul(e, f, f), y;

	y = POLY(e, f, 7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
	         -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1);
	y = mul(e, mul(e, y, f), z);
	y = emit_fma(e, k, num(k, -2.12194440e-4), y);
	y = emit_fma(e, z, num(z, -0.5), y);
	return emit_fma(e, k, num(k, 0.693359375), add(e, f, y));
}

static V log_f64(Emit *e, V f, V k)
{
	V s = quo(e, f, add(e, f, num(f, 2))), z = mul(e, s, s), h = mul(e, num(f, 0.5), mul(e, f, f)), r;

	r = POLY(e, z, 1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
	         2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
	         6.666666666666735130e-01, 0);
	r = mul(e, s, add(e, h, r));
	r = sub(e, sub(e, h, emit_fma(e, k, num(k, 1.90821492927058770002e-10), r)), f);
	return sub(e, mul(e, k, num(k, 6.93147180369123816490e-01)), r);
}

static V math_log(Emit *e, V x)
{
	V k, f = split_log(e, x, &k), r = is_f64(x) ? log_f64(e, f, k) : log_f32(e, f, k), odd;

	/* zero, negative, infinite or NaN: x + (inf or NaN) */
	odd = emit_select(e, lt(e, x, 0), num(x, NAN), num(x, INFINITY));
	odd = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOEQ, x, num(x, 0), ""), num(x, -INFINITY), odd);
	k = LLVMBuildAnd(e->b, gt(e, x, 0), lt(e, x, INFINITY), "");
	return emit_select(e, k, r, add(e, x, odd));
}

/* -- sigmoid, tanh, erf ------------------------------------------------------------------------------ */

/* e^x, or e^-x, for f32 with the exponent within [-87, 88.7], where neither it nor the power of two leaves the
 * normal numbers (2^128 times less than 1 included): the exponent of two is added in place.  The sign goes into the
 * constants. */
static V exp_normal_f32(Emit *e, V x, bool minus)
{
	double s = minus ? -1 : 1;
	V t = emit_fma(e, x, num(x, s * M_LOG2E), num(x, magic(x))), n = sub(e, t, num(x, magic(x))), r, p;

	r = emit_fma(e, n, num(x, s * -0.693359375), x);
	r = emit_fma(e, n, num(x, s * 2.12194440e-4), r);
	p = bits_of(e, exp_poly(e, r, minus));
	/* the magic sum's bits above n are shifted out */
	p = LLVMBuildAdd(e->b, p, LLVMBuildShl(e->b, bits_of(e, t), int_k(p, 23), ""), "");
	p = from_bits(e, p, LLVMTypeOf(x));
	if (e->t->gpu) /* whose NaN has all bits set, and would become a number by that sum */
		p = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, ""), x, p);
	return p;
}

/* a / b where the machine's reciprocal estimate and a Newton step may stand for the division. */
static V quo_estimate(Emit *e, V a, V b)
{
	V q = quo(e, a, b);

	if (!LLVMIsConstant(q))
		LLVMSetFastMathFlags(q, LLVMFastMathAllowReciprocal);
	return q;
}

/* f32, x <= 0: what is too small for exp_normal_f32 is replaced afterwards. */
static V math_decay(Emit *e, V x)
{
	double low = is_f64(x) ? -708 : -87;
	V r = is_f64(x) ? math_exp(e, x) : exp_normal_f32(e, x, false);

	return emit_select(e, lt(e, x, low), num(x, 0), r);
}

/* f32: 1 / (1 + e^-x); e^88.7 is still finite, its reciprocal denormal or zero.  f64: t = e^-|x| never overflows, 1 / (1 + t) or
 * t / (1 + t). */
static V math_sigmoid(Emit *e, V x)
{
	V one = num(x, 1), t;

	if (!is_f64(x)) {
		t = exp_normal_f32(e, clamp(e, x, -88.7, 87), true);
		return quo_estimate(e, one, add(e, t, one));
	}
	t = math_exp(e, LLVMBuildFNeg(e->b, fabs_(e, x), ""));
	return quo(e, emit_select(e, lt(e, x, 0), t, one), add(e, t, one));
}

static V tanh_small(Emit *e, V x)
{
	V z = mul(e, x, x), p;

	if (!is_f64(x)) {
		p = POLY(e, z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1,
		         -3.33332819422e-1);
	} else {
		p = quo(e, POLY(e, z, -9.64399179425052238628e-1, -9.92877231001918586564e1,
		                -1.61468768441708447952e3),
		        POLY(e, z, 1, 1.12811678491632931402e2, 2.23548839060100448583e3,
		             4.84406305325125486048e3));
	}
	return emit_fma(e, mul(e, p, z), x, x);
}

static V math_tanh(Emit *e, V x)
{
	V a = fabs_(e, x), one = num(x, 1);
	V t = math_exp(e, mul(e, a, num(x, -2)));

	t = quo(e, sub(e, one, t), add(e, one, t));
	return emit_select(e, lt(e, a, 0.625), tanh_small(e, x), copysign_(e, t, x));
}

static V erf_f32(Emit *e, V x, V a)
{
	V z = mul(e, a, a), small, large;

	small = POLY(e, z, 8.351897081e-5, -0.0008138792386, 0.005200729667, -0.02685929726, 0.1128369415,
	             -0.3761263369, 0.1283791666);
	small = emit_fma(e, small, x, x);
	a = clamp(e, a, 0, 4);
	large = POLY(e, a, 1.643063656e-6, -4.616385863e-5, 0.0005975857702, -0.004762625833, 0.02642763715,
	             -0.1100871665, -0.6318239181, -1.130231055, 0.0003185396624);
	large = copysign_(e, sub(e, num(x, 1), math_exp(e, large)), x);
	return emit_select(e, lt(e, fabs_(e, x), 0.92), small, large);
}

/* Above 1: 1 - e^(-a*a) * erfcx(a), the latter as a polynomial of (a - 2) / (a + 2). */
static V erf_f64(Emit *e, V x, V a)
{
	V z = mul(e, x, x), small, large, u;

	small = POLY(e, z, -7.79589882700214224e-10, 1.37200645467776856e-8, -1.62084838018717059e-7,
	             1.64474247033173624e-6, -0.0000149247369074196603, 0.000120552949048397079,
	             -0.000854832597538969208, 0.00522397760711642273, -0.0268661706432377704,
	             0.112837916709450063, -0.376126389031835404, 0.128379167095512567);
	small = emit_fma(e, small, x, x);
	a = clamp(e, a, 1, 6);
	u = quo(e, sub(e, a, num(x, 2)), add(e, a, num(x, 2)));
	large = POLY(e, u, 3.91705929992538851e-6, 1.82014319597500905e-6, -0.0000140675326945820577,
	             -0.0000276473054436100538, 0.0000275431281856667173, 0.000174366972329468635,
	             0.0000435542024527058955, -0.000981977320813102272, -0.000847143198076042359,
	             0.00699746174775357363, 0.00373289240349223978, -0.0789785810158525347,
	             0.241658194242469857, -0.427185847413957885, 0.255395676310505745);
	u = math_exp(e, LLVMBuildFNeg(e->b, mul(e, a, a), ""));
	large = emit_fma(e, LLVMBuildFNeg(e->b, u, ""), large, num(x, 1));
	return emit_select(e, lt(e, fabs_(e, x), 1), small, copysign_(e, large, x));
}

static V math_erf(Emit *e, V x)
{
	V a = fabs_(e, x);

	return is_f64(x) ? erf_f64(e, x, a) : erf_f32(e, x, a);
}

/* f32: below 0 the exponential of a polynomial that falls to where decay is 0, above 0 what is missing from 1. */
static V math_phi(Emit *e, V x)
{
	V a = fabs_(e, x), p;

	if (is_f64(x))
		return emit_fma(e, math_erf(e, mul(e, x, num(x, M_SQRT1_2))), num(x, 0.5), num(x, 0.5));
	a = emit_select(e, gt(e, a, 16), num(x, 16), a);
	p = PAIRED(e, a, -1.0937391075e-8, 3.5734996117e-7, -4.9795366925e-6, 3.7262992256e-5, -0.00013797806869,
	           -0.00011966679959, 0.0049662466068, -0.036454414505, -0.31827293316, -0.79788845945, -M_LN2);
	p = math_decay(e, p);
	return emit_select(e, lt(e, x, 0), p, sub(e, num(x, 1), p));
}

/* -- sin, cos --------------------------------------------------------------------------------------- */

/* The angle in [-pi/4, pi/4] after taking *quarter (as an integer) quarter turns; x is f64.
 * pi/2 is split so that n times the leading parts is exact up to n = 2^20 even without fma. */
static V reduce_angle(Emit *e, V x, V *quarter)
{
	V in = lt(e, fabs_(e, x), 0x1p30), t, n, r;

	x = emit_select(e, in, x, mul(e, x, num(x, 0)));
	t = emit_fma(e, x, num(x, M_2_PI), num(x, magic(x)));
	*quarter = bits_of(e, t);
	n = sub(e, t, num(x, magic(x)));
	r = emit_fma(e, n, num(x, -1.57079632673412561417e+00), x);
	r = emit_fma(e, n, num(x, -6.07710050630396597660e-11), r);
	return emit_fma(e, n, num(x, -2.02226624879595063154e-21), r);
}

static V sin_poly(Emit *e, V r, V z)
{
	V p;

	if (is_f64(r))
		p = POLY(e, z, 1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
		         -1.98412698298579493134e-04, 8.33333333332248946124e-03, -1.66666666666666324348e-01);
	else
		p = POLY(e, z, -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1);
	return emit_fma(e, mul(e, p, z), r, r);
}

static V cos_poly(Emit *e, V z)
{
	V p;

	if (is_f64(z))
		p = POLY(e, z, -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
		         2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02);
	else
		p = POLY(e, z, 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2);
	p = mul(e, mul(e, p, z), z);
	return add(e, emit_fma(e, z, num(z, -0.5), num(z, 1)), p);
}

/* f32 angles are reduced in f64: then the reduction is exact for far more than anyone needs. */
static V sin_cos(Emit *e, V x, int64_t turn)
{
	LLVMTypeRef t = LLVMTypeOf(x), f64 = emit_vec(LLVMDoubleTypeInContext(e->ctx), emit_lanes(x));
	LLVMTypeRef i = emit_int_like(e, t);
	V q, r, z, swap, v, sign;

	r = reduce_angle(e, is_f64(x) ? x : LLVMBuildFPExt(e->b, x, f64, ""), &q);
	if (!is_f64(x)) {
		r = LLVMBuildFPTrunc(e->b, r, t, "");
		q = LLVMBuildTrunc(e->b, q, i, "");
	}
	q = LLVMBuildAdd(e->b, q, int_k(q, turn), "");
	z = mul(e, r, r);
	swap = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildAnd(e->b, q, int_k(q, 1), ""), int_k(q, 0), "");
	v = emit_select(e, swap, cos_poly(e, z), sin_poly(e, r, z));
	sign = LLVMBuildAnd(e->b, q, int_k(q, 2), "");
	sign = LLVMBuildShl(e->b, sign, int_k(q, is_f64(x) ? 62 : 30), "");
	return from_bits(e, LLVMBuildXor(e->b, bits_of(e, v), sign, ""), t);
}

static V math_sin(Emit *e, V x)
{
	return sin_cos(e, x, 0);
}

static V math_cos(Emit *e, V x)
{
	return sin_cos(e, x, 1);
}

/* -- pow -------------------------------------------------------------------------------------------- */

/* f64 in and out: e^(y log |x|), then C's special cases. */
static V pow_f64(Emit *e, V x, V y)
{
	V a = fabs_(e, x), ay = fabs_(e, y), r, whole, odd, h, c, inf = num(x, INFINITY), one = num(x, 1);
	V i = bits_of(e, x);

	r = math_exp(e, mul(e, y, math_log(e, a)));
	h = mul(e, y, num(y, 0.5));
	whole = LLVMBuildFCmp(e->b, LLVMRealOEQ, emit_floor(e, y), y, "");
	odd = LLVMBuildFCmp(e->b, LLVMRealUNE, emit_floor(e, h), h, "");
	odd = LLVMBuildAnd(e->b, odd, whole, "");
	c = LLVMBuildAnd(e->b, LLVMBuildFCmp(e->b, LLVMRealOEQ, a, one, ""),
	                 LLVMBuildFCmp(e->b, LLVMRealOEQ, ay, inf, ""), "");
	r = emit_select(e, c, one, r);
	c = LLVMBuildICmp(e->b, LLVMIntSLT, i, int_k(i, 0), "");
	r = emit_select(e, LLVMBuildAnd(e->b, c, odd, ""), LLVMBuildFNeg(e->b, r, ""), r);
	c = LLVMBuildAnd(e->b, lt(e, x, 0), gt(e, x, -INFINITY), "");
	c = LLVMBuildAnd(e->b, c, LLVMBuildNot(e->b, whole, ""), "");
	r = emit_select(e, c, num(x, NAN), r);
	c = LLVMBuildOr(e->b, LLVMBuildFCmp(e->b, LLVMRealOEQ, y, num(y, 0), ""),
	                LLVMBuildFCmp(e->b, LLVMRealOEQ, x, one, ""), "");
	return emit_select(e, c, one, r);
}

static bool is_splat_of(V y, double v)
{
	if (!LLVMIsConstant(y))
		return false;
	return y == num(y, v); /* constants are unique in a context */
}

V emit_pow(Emit *e, V x, V y)
{
	LLVMTypeRef t = LLVMTypeOf(x), f64 = emit_vec(LLVMDoubleTypeInContext(e->ctx), emit_lanes(x));

	if (is_splat_of(y, 1))
		return x;
	if (is_splat_of(y, 2))
		return mul(e, x, x);
	if (is_splat_of(y, 3))
		return mul(e, mul(e, x, x), x);
	if (is_splat_of(y, -1))
		return quo(e, num(x, 1), x);
	if (is_f64(x))
		return pow_f64(e, x, y);
	x = LLVMBuildFPExt(e->b, x, f64, "");
	y = LLVMBuildFPExt(e->b, y, f64, "");
	return LLVMBuildFPTrunc(e->b, pow_f64(e, x, y), t, "");
}

/* -- fmod ------------------------------------------------------------------------------------------- */

/* r mod b for r >= 0, b > 0: subtracts b * 2^k, the largest such multiple not above r, until none is
 * left.  Every step is exact. Lanes that are finished, or not finite, stay. */
static V reduce_mod(Emit *e, V r, V b)
{
	LLVMTypeRef t = LLVMTypeOf(r);
	LLVMBasicBlockRef from = LLVMGetInsertBlock(e->b);
	LLVMBasicBlockRef head = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "mod");
	LLVMBasicBlockRef body = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "modstep");
	LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "moddone");
	V phi, more, any, k, m, next;

	LLVMBuildBr(e->b, head);
	LLVMPositionBuilderAtEnd(e->b, head);
	phi = LLVMBuildPhi(e->b, t, "");
	more = LLVMBuildFCmp(e->b, LLVMRealOGE, phi, b, "");
	any = emit_lanes(more) ? emit_unary(e, "llvm.vector.reduce.or", more) : more;
	LLVMBuildCondBr(e->b, any, body, done);
	LLVMPositionBuilderAtEnd(e->b, body);
	m = bits_of(e, b);
	k = LLVMBuildSub(e->b, bits_of(e, phi), m, "");
	k = LLVMBuildAnd(e->b, k, int_k(k, (int64_t)0x7ff << 52), "");
	m = from_bits(e, LLVMBuildAdd(e->b, m, k, ""), t); /* b * 2^k <= r, or twice that */
	next = LLVMBuildFCmp(e->b, LLVMRealOGT, m, phi, "");
	m = emit_select(e, next, mul(e, m, num(m, 0.5)), m);
	next = emit_select(e, more, sub(e, phi, m), phi);
	LLVMBuildBr(e->b, head);
	LLVMAddIncoming(phi, (V[]){r, next}, (LLVMBasicBlockRef[]){from, LLVMGetInsertBlock(e->b)}, 2);
	LLVMPositionBuilderAtEnd(e->b, done);
	return phi;
}

V emit_fmod(Emit *e, V x, V y)
{
	LLVMTypeRef t = LLVMTypeOf(x), f64 = emit_vec(LLVMDoubleTypeInContext(e->ctx), emit_lanes(x));
	bool wide = is_f64(x);
	V x0 = x, b, r, ok, tiny, up;

	x = wide ? x : LLVMBuildFPExt(e->b, x, f64, "");
	y = wide ? y : LLVMBuildFPExt(e->b, y, f64, "");
	r = fabs_(e, x);
	b = fabs_(e, y);
	ok = LLVMBuildAnd(e->b, lt(e, r, INFINITY), gt(e, b, 0), "");
	/* Nothing to do for x inf, y 0 or NaN (the answer is NaN): keep the loop finite. */
	r = emit_select(e, ok, r, num(r, 0));
	b = emit_select(e, ok, b, num(b, 1));
	if (wide) { /* a denormal (or nearly) divisor: first by a multiple of it, then all scaled up */
		tiny = lt(e, b, 0x1p-960);
		up = emit_select(e, tiny, num(b, 0x1p60), num(b, 1));
		b = mul(e, b, up);
		r = mul(e, reduce_mod(e, r, b), up);
		r = quo(e, reduce_mod(e, r, b), up);
	} else {
		r = reduce_mod(e, r, b);
	}
	r = copysign_(e, emit_select(e, ok, r, num(r, NAN)), x);
	r = wide ? r : LLVMBuildFPTrunc(e->b, r, t, "");
	ok = LLVMBuildFCmp(e->b, LLVMRealUNO, x0, x0, "");
	return emit_select(e, ok, x0, r);
}

/* -- dispatch ---------------------------------------------------------------------------------------- */

static V (*const math[K_COUNT])(Emit *, V) = {
	[K_exp] = math_exp, [K_decay] = math_decay, [K_phi] = math_phi, [K_log] = math_log,
	[K_tanh] = math_tanh, [K_erf] = math_erf,
	[K_sin] = math_sin, [K_cos] = math_cos, [K_sigmoid] = math_sigmoid,
};

LLVMValueRef emit_vecmath(Emit *e, KOp op, LLVMValueRef x)
{
	MLO_ASSERT(math[op]);
	return math[op](e, x);
}
