/* codegen/emit_quantize.c -- floats to integers of at most 16 bits and back, as quantization does it.
 *
 * What is rounded, moved by a whole number, cast to such integers and perhaps made a float again takes as few
 * instructions as the machine has for it.  Results are those of the operations one by one, bit for bit: bounds are
 * whole numbers, so that clamping may come before rounding, and what replaces a division has been tried where results
 * change. */
#include <math.h>
#include <string.h>

#include "codegen/emit_internal.h"

static bool is_signed(MloElem t)
{
	return mlo_elem_class(t) == EC_INT;
}

static const KInst *value_at(const Emit *e, int v)
{
	return &e->k->value.items[v];
}

/* rint(x) + shift, as integers of type `to` hold it. */
typedef struct Rounding {
	int x;              /* value number */
	MloElem to;
	double shift;       /* a small whole number */
	double lo, hi;      /* bounds of x that leave rint(x) + shift in the type */
} Rounding;

/* Does value v hold rint(x), or rint(x) and a small whole number? */
static bool is_rounded(const Emit *e, int v, MloElem to, Rounding *r)
{
	const KInst *in = value_at(e, v), *k;

	*r = (Rounding){.to = to};
	if (in->op == K_add) {
		k = value_at(e, in->b);
		if (k->op != K_const || k->imm != rint(k->imm) || fabs(k->imm) > 65536)
			return false;
		r->shift = k->imm;
		in = value_at(e, in->a);
	}
	r->x = in->a;
	r->lo = (is_signed(to) ? -ldexp(1, (int)mlo_elem_bits(to) - 1) : 0) - r->shift;
	r->hi = r->lo + ldexp(1, (int)mlo_elem_bits(to)) - 1;
	return in->op == K_rint && in->type == EL_f32;
}

/* Value v is such integers that were made floats: what they were made from. */
static bool is_dequantized(const Emit *e, int v, Rounding *r)
{
	const KInst *in = value_at(e, v), *whole = in->op == K_cast ? value_at(e, in->a) : NULL;

	return whole && in->type == EL_f32 && whole->op == K_cast && mlo_elem_bits(whole->type) <= 16 &&
	       whole->type != EL_bool && mlo_elem_class(whole->type) == EC_UINT && value_at(e, whole->a)->type == EL_f32 &&
	       is_rounded(e, whole->a, whole->type, r);
}

/* -- division by a constant ---------------------------------------------------------------------- */

/* x / s as x * high + x * low, where high is the reciprocal, not above it, and low what it lacks: infinite x stay so. */
typedef struct Reciprocal {
	float high, low;
} Reciprocal;

static float quotient(const Reciprocal *f, float x)
{
	return fmaf(x, f->high, x * f->low);
}

/* Both quotients grow with x.  So they round alike everywhere if they do around every x at which the result of
 * rounding changes. */
static bool divides(const Reciprocal *f, float s, double lo, double hi)
{
	enum { AROUND = 4 };

	for (double k = lo; k < hi; k++) {
		float x = (float)((k + 0.5) * (double)s);

		for (int i = 0; i < AROUND; i++)
			x = nextafterf(x, -INFINITY);
		if (rint((double)(x / s)) > k)
			return false;
		for (int i = 0; i <= 2 * AROUND; i++, x = nextafterf(x, INFINITY))
			if (rint((double)(x / s)) != rint((double)quotient(f, x)))
				return false;
		if (rint((double)(x / s)) <= k)
			return false;
	}
	return true;
}

/* The quotient of values a and s; NULL: there is no shorter form of it. */
static LLVMValueRef divided(Emit *e, const Rounding *r, int a, float s, int lanes)
{
	LLVMValueRef x = emit_splat(e, e->val[a], lanes);
	LLVMTypeRef t = LLVMTypeOf(x);
	Reciprocal f;

	f.high = (float)(1 / (double)s);
	if ((double)f.high > 1 / (double)s)
		f.high = nextafterf(f.high, 0);
	f.low = (float)(1 / (double)s - (double)f.high);
	if (!divides(&f, s, r->lo, r->hi))
		return NULL;
	if (f.low == 0)
		return LLVMBuildFMul(e->b, x, emit_const_f(t, f.high), "");
	return emit_fma(e, x, emit_const_f(t, f.high), LLVMBuildFMul(e->b, x, emit_const_f(t, f.low), ""));
}

static LLVMValueRef at_least(Emit *e, LLVMValueRef x, double lo) /* NaN: lo */
{
	LLVMValueRef c = LLVMBuildFCmp(e->b, LLVMRealOGT, x, emit_const_f(LLVMTypeOf(x), lo), "");

	return emit_select(e, c, x, emit_const_f(LLVMTypeOf(x), lo));
}

static LLVMValueRef at_most(Emit *e, LLVMValueRef x, double hi)
{
	LLVMValueRef c = LLVMBuildFCmp(e->b, LLVMRealOLT, x, emit_const_f(LLVMTypeOf(x), hi), "");

	return emit_select(e, c, x, emit_const_f(LLVMTypeOf(x), hi));
}

/* The number to be rounded between its bounds. */
static LLVMValueRef bounded(Emit *e, Rounding *r, int lanes);

/* A large number that leaves no bits behind the point: adding it rounds, to nearest, halves to even. */
static const double rounder = 0x1.8p23;
enum { ROUNDER_BITS = 0x4b400000 };

/* rint(x), clamped to the bounds, and the shift where it is `shifted`. */
static LLVMValueRef clamped(Emit *e, const Rounding *from, bool shifted, int lanes);

/* -- sums of two quantised numbers ------------------------------------------------------------------- */

/* A float (value - less) * scale: value is one of the whole numbers lo..hi. */
typedef struct Part {
	int value;      /* its number; of the operation before it is made a float, where that is `made` */
	bool made;      /* from a rounded float, see clamped() */
	Rounding made_of;
	double less, lo, hi;
	float scale;
} Part;

static bool part_of(const Emit *e, int v, Part *p)
{
	const KInst *in = value_at(e, v), *k = in->op == K_mul ? value_at(e, in->b) : NULL, *bytes;
	MloElem elem;

	if (!k || k->op != K_const)
		return false;
	*p = (Part){.value = in->a, .scale = (float)k->imm};
	in = value_at(e, p->value);
	if (in->op == K_sub && value_at(e, in->b)->op == K_const) {
		p->less = value_at(e, in->b)->imm;
		p->value = in->a;
		in = value_at(e, p->value);
	}
	bytes = in->op == K_cast && in->type == EL_f32 ? value_at(e, in->a) : NULL;
	if (!bytes || (bytes->type != EL_u8 && bytes->type != EL_i8))
		return false;
	elem = bytes->type;
	p->lo = elem == EL_i8 ? -128 : 0;
	p->hi = p->lo + 255;
	p->made = is_dequantized(e, p->value, &p->made_of);
	if (p->made) { /* the shift need not be added */
		p->less -= p->made_of.shift;
		p->lo -= p->made_of.shift;
		p->hi -= p->made_of.shift;
	}
	return true;
}

/* a * of_a + (b * of_b + plus) */
typedef struct Sum {
	float of_a, of_b, plus;
} Sum;

static float times(float a, float b)
{
	volatile float p = a * b; /* rounded, whatever the compiler would make of a sum */

	return p;
}

static double limited(double v, double lo, double hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* Is it as good as the quotient of the sum, for all pairs of bytes? */
static bool sum_fits(const Sum *f, const Part *a, const Part *b, float s, const Rounding *r)
{
	for (double i = a->lo; i <= a->hi; i++)
		for (double k = b->lo; k <= b->hi; k++) {
			float x = times((float)(i - a->less), a->scale), y = times((float)(k - b->less), b->scale);
			float v = fmaf((float)i, f->of_a, fmaf((float)k, f->of_b, f->plus));

			if (limited(rint((double)((x + y) / s)), r->lo, r->hi) + r->shift !=
			    limited(rint((double)v), r->lo + r->shift, r->hi + r->shift))
				return false;
		}
	return true;
}

/* The factors of a sum that fits, next to those that would be right without rounding. */
static bool find_sum(const Part *a, const Part *b, float s, const Rounding *r, Sum *out)
{
	enum { NEAR = 5 };
	const float low_a = nextafterf(nextafterf(a->scale / s, 0), 0), low_b = nextafterf(nextafterf(b->scale / s, 0), 0);
	float of_a = low_a, of_b;

	for (int i = 0; i < NEAR; i++, of_a = nextafterf(of_a, INFINITY)) {
		of_b = low_b;
		for (int k = 0; k < NEAR; k++, of_b = nextafterf(of_b, INFINITY)) {
			double plus = -a->less * (double)of_a - b->less * (double)of_b + r->shift;

			*out = (Sum){of_a, of_b, (float)plus};
			if (sum_fits(out, a, b, s, r))
				return true;
		}
	}
	return false;
}

/* Without the shift of what it was rounded to; the sign of a zero does not matter in a sum. */
static LLVMValueRef part_value(Emit *e, const Part *p, int lanes)
{
	Rounding r = p->made_of;
	LLVMValueRef x;

	if (!p->made)
		return emit_splat(e, e->val[p->value], lanes);
	x = bounded(e, &r, lanes);
	return r.shift == p->made_of.shift ? emit_rint(e, x) : clamped(e, &p->made_of, false, lanes);
}

/* The quotient of the sum of two quantised numbers by s, with the shift; NULL: v is none, or there is no shorter form. */
static LLVMValueRef sum_of_two(Emit *e, Rounding *r, int v, float s, int lanes)
{
	const KInst *in = value_at(e, v);
	LLVMTypeRef t = emit_vec(LLVMFloatTypeInContext(e->ctx), lanes);
	LLVMValueRef y;
	Part a, b;
	Sum f;

	if (in->op != K_add || mlo_elem_bits(r->to) > 8 || !part_of(e, in->a, &a) || !part_of(e, in->b, &b) ||
	    !find_sum(&a, &b, s, r, &f))
		return NULL;
	y = emit_fma(e, part_value(e, &b, lanes), emit_const_f(t, f.of_b), emit_const_f(t, f.plus));
	y = emit_fma(e, part_value(e, &a, lanes), emit_const_f(t, f.of_a), y);
	r->lo += r->shift;
	r->hi += r->shift;
	r->shift = 0;
	return y;
}

/* The number to be rounded, which may have the shift in it then; a quotient only has to be right as far as rounding goes. */
static LLVMValueRef to_round(Emit *e, Rounding *r, int lanes)
{
	const KInst *in = value_at(e, r->x), *k = in->op == K_div ? value_at(e, in->b) : NULL;
	LLVMValueRef x = NULL;
	float s;

	if (k && k->op == K_const && in->type == EL_f32 && emit_has(e, "fma")) {
		s = (float)k->imm;
		if (s > 0x1p-60f && s < 0x1p60f) { /* no part of it is denormal */
			x = sum_of_two(e, r, in->a, s, lanes);
			x = x ? x : divided(e, r, in->a, s, lanes);
		}
	}
	return x ? x : emit_splat(e, e->val[r->x], lanes);
}

static LLVMValueRef bounded(Emit *e, Rounding *r, int lanes)
{
	LLVMValueRef x = to_round(e, r, lanes);

	return at_most(e, at_least(e, x, r->lo), r->hi);
}

/* -- to integers ---------------------------------------------------------------------------------- */

/* The target's instruction that answers the smallest integer for whatever does not fit; NULL: there is none. */
static LLVMValueRef convert(Emit *e, LLVMValueRef x)
{
	const char *name = e->t->dots->round;
	LLVMTypeRef fn, i32 = LLVMInt32TypeInContext(e->ctx), i16 = LLVMInt16TypeInContext(e->ctx);
	unsigned id;

	if (!name || emit_lanes(x) * 4 != e->t->vector_bytes)
		return NULL;
	id = LLVMLookupIntrinsicID(name, strlen(name));
	MLO_ASSERT(id);
	fn = LLVMIntrinsicGetType(e->ctx, id, NULL, 0);
	/* the masked form: what is left of the result, which lanes, the rounding mode in force */
	LLVMValueRef args[] = {x, LLVMConstNull(emit_vec(i32, emit_lanes(x))), LLVMConstAllOnes(i16), emit_const_i(i32, 4)};

	return LLVMBuildCall2(e->b, fn, LLVMGetIntrinsicDeclaration(e->mod, id, NULL, 0), args, LLVMCountParamTypes(fn), "");
}

/* Unsigned integers where what lies above the type is a large number, as unsigned ones have it. */
static LLVMValueRef narrowed(Emit *e, const Rounding *r, LLVMValueRef v)
{
	LLVMTypeRef wide = LLVMTypeOf(v), narrow = emit_vec(emit_type(e, r->to), emit_lanes(v));
	LLVMValueRef most = emit_const_i(wide, (1 << mlo_elem_bits(r->to)) - 1);

	v = emit_intrinsic(e, "llvm.umin", &wide, 1, (LLVMValueRef[]){v, most}, 2);
	return LLVMBuildTrunc(e->b, v, narrow, "");
}

/* The nearest i32 to a number of few bits; over: both types. */
static LLVMValueRef nearest(Emit *e, LLVMValueRef x, LLVMTypeRef *over)
{
	if (emit_has(e, "lrint") && !emit_scalable(e)) /* of SVE, LLVM makes scalars */
		return emit_intrinsic(e, "llvm.lrint", over, 2, &x, 1);
	x = LLVMBuildFAdd(e->b, x, emit_const_f(over[1], rounder), "");
	x = LLVMBuildBitCast(e->b, x, over[0], "");
	return LLVMBuildSub(e->b, x, emit_const_i(over[0], ROUNDER_BITS), "");
}

/* The same where conversions make 0 of NaN, which bounds keep: no instruction looks for it. */
static LLVMValueRef signed_by_conversion(Emit *e, const Rounding *r, LLVMValueRef x, LLVMTypeRef *over)
{
	LLVMTypeRef t = over[1];

	x = emit_intrinsic(e, "llvm.maximum", &t, 1, (LLVMValueRef[]){x, emit_const_f(t, r->lo)}, 2);
	x = emit_rint(e, emit_intrinsic(e, "llvm.minimum", &t, 1, (LLVMValueRef[]){x, emit_const_f(t, r->hi)}, 2));
	if (r->shift != 0)
		x = LLVMBuildFAdd(e->b, x, emit_const_f(t, r->shift), "");
	x = emit_intrinsic(e, "llvm.fptosi.sat", over, 2, &x, 1);
	return LLVMBuildTrunc(e->b, x, emit_vec(emit_type(e, r->to), emit_lanes(x)), "");
}

LLVMValueRef emit_cast_rounded(Emit *e, int value, MloElem to, int lanes)
{
	Rounding r;
	LLVMValueRef x, v = NULL, shift;
	LLVMTypeRef over[2];

	if (mlo_elem_bits(to) > 16 || !is_rounded(e, value, to, &r))
		return NULL;
	x = to_round(e, &r, lanes);
	over[0] = emit_vec(LLVMInt32TypeInContext(e->ctx), lanes);
	over[1] = LLVMTypeOf(x);
	if (is_signed(to) && emit_converts_nan(e))
		return signed_by_conversion(e, &r, x, over);
	shift = emit_const_i(over[0], (int64_t)r.shift);
	v = at_least(e, x, r.lo);
	if (!is_signed(to) && emit_has(e, "avx512bw") && r.shift >= 0) {
		LLVMValueRef whole = convert(e, v);

		if (whole)
			return narrowed(e, &r, LLVMBuildAdd(e->b, whole, shift, ""));
	}
	v = at_most(e, v, r.hi);
	v = nearest(e, v, over);
	v = LLVMBuildTrunc(e->b, LLVMBuildAdd(e->b, v, shift, ""), emit_vec(emit_type(e, to), lanes), "");
	if (is_signed(to))
		v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, ""), LLVMConstNull(LLVMTypeOf(v)), v);
	return v;
}

/* -- and back --------------------------------------------------------------------------------------- */

static LLVMValueRef clamped(Emit *e, const Rounding *from, bool shifted, int lanes)
{
	Rounding r = *from;
	LLVMValueRef x = bounded(e, &r, lanes);
	LLVMTypeRef t = LLVMTypeOf(x);

	x = LLVMBuildFAdd(e->b, x, emit_const_f(t, rounder), "");
	return LLVMBuildFSub(e->b, x, emit_const_f(t, rounder - r.shift + (shifted ? 0 : from->shift)), "");
}

LLVMValueRef emit_dequantized(Emit *e, int value, int lanes)
{
	Rounding r;

	return is_dequantized(e, value, &r) ? clamped(e, &r, true, lanes) : NULL;
}

LLVMValueRef emit_centred(Emit *e, int value, int zero, int lanes)
{
	const KInst *z = value_at(e, zero);
	Rounding r;

	if (z->op != K_const || !is_dequantized(e, value, &r) || z->imm != r.shift)
		return NULL;
	return clamped(e, &r, false, lanes);
}
