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

/* The number to be rounded; a quotient in it only has to be right as far as that goes. */
static LLVMValueRef to_round(Emit *e, const Rounding *r, int lanes)
{
	const KInst *in = value_at(e, r->x), *k = in->op == K_div ? value_at(e, in->b) : NULL;
	LLVMValueRef x = emit_splat(e, e->val[r->x], lanes);
	LLVMTypeRef t = LLVMTypeOf(x);
	Reciprocal f;
	float s;

	if (!k || k->op != K_const || in->type != EL_f32 || !emit_has(e, "fma"))
		return x;
	s = (float)k->imm;
	if (!(s > 0x1p-60f && s < 0x1p60f)) /* no part of it is denormal */
		return x;
	f.high = (float)(1 / (double)s);
	if ((double)f.high > 1 / (double)s)
		f.high = nextafterf(f.high, 0);
	f.low = (float)(1 / (double)s - (double)f.high);
	if (!divides(&f, s, r->lo, r->hi))
		return x;
	x = emit_splat(e, e->val[in->a], lanes);
	if (f.low == 0)
		return LLVMBuildFMul(e->b, x, emit_const_f(t, f.high), "");
	return emit_fma(e, x, emit_const_f(t, f.high), LLVMBuildFMul(e->b, x, emit_const_f(t, f.low), ""));
}

/* -- to integers ---------------------------------------------------------------------------------- */

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
	shift = emit_const_i(over[0], (int64_t)r.shift);
	v = at_least(e, x, r.lo);
	if (!is_signed(to) && emit_has(e, "avx512bw") && r.shift >= 0) {
		LLVMValueRef whole = convert(e, v);

		if (whole)
			return narrowed(e, &r, LLVMBuildAdd(e->b, whole, shift, ""));
	}
	v = at_most(e, v, r.hi);
	v = emit_intrinsic(e, "llvm.lrint", over, 2, &v, 1);
	v = LLVMBuildTrunc(e->b, LLVMBuildAdd(e->b, v, shift, ""), emit_vec(emit_type(e, to), lanes), "");
	if (is_signed(to))
		v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, ""), LLVMConstNull(LLVMTypeOf(v)), v);
	return v;
}

/* -- and back --------------------------------------------------------------------------------------- */

/* Value v is such integers that were made floats: what they were made from. */
static bool is_dequantized(const Emit *e, int v, Rounding *r)
{
	const KInst *in = value_at(e, v), *whole = in->op == K_cast ? value_at(e, in->a) : NULL;

	return whole && in->type == EL_f32 && whole->op == K_cast && mlo_elem_bits(whole->type) <= 16 &&
	       whole->type != EL_bool && mlo_elem_class(whole->type) == EC_UINT && value_at(e, whole->a)->type == EL_f32 &&
	       is_rounded(e, whole->a, whole->type, r);
}

/* A large number that leaves no bits behind the point: adding it rounds, to nearest, halves to even. */
static const double rounder = 0x1.8p23;

static LLVMValueRef clamped(Emit *e, const Rounding *r, double less, int lanes)
{
	LLVMValueRef x = at_most(e, at_least(e, to_round(e, r, lanes), r->lo), r->hi);

	x = LLVMBuildFAdd(e->b, x, emit_const_f(LLVMTypeOf(x), rounder), "");
	return LLVMBuildFSub(e->b, x, emit_const_f(LLVMTypeOf(x), rounder + less), "");
}

LLVMValueRef emit_dequantized(Emit *e, int value, int lanes)
{
	Rounding r;

	return is_dequantized(e, value, &r) ? clamped(e, &r, -r.shift, lanes) : NULL;
}

LLVMValueRef emit_centred(Emit *e, int value, int zero, int lanes)
{
	const KInst *z = value_at(e, zero);
	Rounding r;

	if (z->op != K_const || !is_dequantized(e, value, &r) || z->imm != r.shift)
		return NULL;
	return clamped(e, &r, 0, lanes);
}
