/* codegen/emit_ops.c -- the operations of kops.def, on scalars and vectors alike. */
#include <math.h>

#include "codegen/emit_internal.h"

/* Operands have one shape (all scalar or all of the same lanes); `type` is the operands' type. */
typedef LLVMValueRef EmitOp(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v);

static bool is_float(LLVMValueRef v)
{
	LLVMTypeKind k = LLVMGetTypeKind(emit_scalar_type(LLVMTypeOf(v)));

	return k == LLVMFloatTypeKind || k == LLVMDoubleTypeKind;
}

static bool is_signed(MloElem t)
{
	return mlo_elem_class(t) == EC_INT;
}

static LLVMValueRef one(LLVMValueRef like)
{
	return emit_const_i(LLVMTypeOf(like), 1);
}

static LLVMValueRef zero(LLVMValueRef like)
{
	return LLVMConstNull(LLVMTypeOf(like));
}

/* -- leaves ---------------------------------------------------------------------------------- */

static LLVMValueRef op_const(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	LLVMTypeRef t = emit_type(e, in->type);

	(void)type, (void)v;
	if (!mlo_elem_is_float(in->type))
		return emit_const_i(t, in->type == EL_bool ? in->ival != 0 : in->ival);
	return emit_const_f(t, in->type == EL_f32 ? (float)in->imm : in->imm);
}

static LLVMValueRef int_to(Emit *e, LLVMValueRef v, bool from_signed, MloElem to)
{
	LLVMTypeRef t = emit_vec(emit_type(e, to), emit_lanes(v));

	if (to == EL_bool)
		return LLVMBuildICmp(e->b, LLVMIntNE, v, zero(v), "");
	if (!mlo_elem_is_float(to))
		return LLVMBuildIntCast2(e->b, v, t, from_signed, "");
	return from_signed ? LLVMBuildSIToFP(e->b, v, t, "") : LLVMBuildUIToFP(e->b, v, t, "");
}

static LLVMValueRef op_index(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	LaneIdx x = emit_lane_idx(e, in->idx);

	(void)type, (void)v;
	if (!x.vec && x.stride == 0)
		return int_to(e, x.base, true, in->type);
	return int_to(e, emit_lane_vec(e, in->idx), true, in->type);
}

static LLVMValueRef op_load(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	(void)type, (void)v;
	return emit_load(e, in);
}

static LLVMValueRef op_accum(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	(void)type, (void)v;
	return emit_accum(e, in->arg);
}

static LLVMValueRef op_product(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	(void)in, (void)type, (void)v;
	MLO_ASSERT(e->product);
	return e->product;
}

/* -- casts ------------------------------------------------------------------------------------ */

/* Float to integer by clamping first: x86's conversions answer one fixed number for whatever does not
 * fit, and LLVM's own saturating conversion falls back to single lanes there. */
static LLVMValueRef saturate(Emit *e, MloElem from, MloElem to, LLVMValueRef x)
{
	unsigned bits = mlo_elem_bits(to), mantissa = from == EL_f32 ? 24 : 53;
	bool sign = is_signed(to), narrow = bits <= 16;
	LLVMTypeRef t = LLVMTypeOf(x), i = emit_vec(emit_type(e, to), emit_lanes(x)), via = i;
	double lo = sign ? -ldexp(1, (int)bits - 1) : 0, top = ldexp(1, (int)bits - sign), hi = top - 1;
	LLVMValueRef y, r, c;

	if (bits - sign > mantissa) /* the largest float below the limit */
		hi = top - ldexp(1, (int)(bits - sign - mantissa));
	c = LLVMBuildFCmp(e->b, LLVMRealOGT, x, emit_const_f(t, lo), ""); /* NaN: lo */
	y = emit_select(e, c, x, emit_const_f(t, lo));
	c = LLVMBuildFCmp(e->b, LLVMRealOLT, y, emit_const_f(t, hi), "");
	y = emit_select(e, c, y, emit_const_f(t, hi));
	if (narrow)
		via = emit_vec(LLVMInt32TypeInContext(e->ctx), emit_lanes(x));
	r = sign || narrow ? LLVMBuildFPToSI(e->b, y, via, "") : LLVMBuildFPToUI(e->b, y, via, "");
	r = narrow ? LLVMBuildTrunc(e->b, r, i, "") : r;
	if (hi != top - 1 || bits == 64) {
		c = LLVMBuildFCmp(e->b, LLVMRealOGE, x, emit_const_f(t, top), "");
		r = emit_select(e, c, emit_const_i(i, (int64_t)(UINT64_MAX >> (64 - bits + sign))), r);
	}
	if (sign)
		r = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, ""), zero(r), r);
	return r;
}

static LLVMValueRef op_cast(Emit *e, const KInst *in, MloElem from, LLVMValueRef *v)
{
	LLVMTypeRef t = emit_vec(emit_type(e, in->type), emit_lanes(v[0]));
	LLVMTypeRef over[2] = {t, LLVMTypeOf(v[0])};
	LLVMValueRef r;

	if (from == in->type)
		return v[0];
	if (!mlo_elem_is_float(from)) {
		r = in->type == EL_f32 ? emit_dequantized(e, in->a, emit_lanes(v[0])) : NULL;
		return r ? r : int_to(e, v[0], is_signed(from), in->type);
	}
	if (in->type == EL_bool)
		return LLVMBuildFCmp(e->b, LLVMRealUNE, v[0], zero(v[0]), "");
	if (mlo_elem_is_float(in->type))
		return LLVMBuildFPCast(e->b, v[0], t, "");
	r = from == EL_f32 ? emit_cast_rounded(e, in->a, in->type, emit_lanes(v[0])) : NULL;
	if (r)
		return r;
	if (e->t->arch[0] == 'x' || emit_scalable(e)) /* of SVE, LLVM makes scalars of what saturates */
		return saturate(e, from, in->type, v[0]);
	return emit_intrinsic(e, is_signed(in->type) ? "llvm.fptosi.sat" : "llvm.fptoui.sat", over, 2, v, 1);
}

/* -- arithmetic ------------------------------------------------------------------------------- */

#define ARITH(id, fop, iop)                                                                      \
	static LLVMValueRef op_##id(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)     \
	{                                                                                        \
		(void)in, (void)type;                                                            \
		return is_float(v[0]) ? LLVMBuild##fop(e->b, v[0], v[1], "")                     \
		                      : LLVMBuild##iop(e->b, v[0], v[1], "");                    \
	}
ARITH(add, FAdd, Add)
ARITH(mul, FMul, Mul)

static LLVMValueRef op_sub(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	LLVMValueRef r = type == EL_f32 ? emit_centred(e, in->a, in->b, emit_lanes(v[0])) : NULL;

	if (r)
		return r;
	return is_float(v[0]) ? LLVMBuildFSub(e->b, v[0], v[1], "") : LLVMBuildSub(e->b, v[0], v[1], "");
}

/* Exact through floating point: the quotient of two n-bit integers is at least 2^-n (relatively)
 * away from any other integer, which f32 (n <= 16) and f64 (n <= 32) resolve.  Vector machines have
 * no integer division. */
static LLVMValueRef divide_as_float(Emit *e, LLVMValueRef a, LLVMValueRef b, bool sign, unsigned bits)
{
	LLVMTypeRef f = emit_vec(bits <= 16 ? LLVMFloatTypeInContext(e->ctx) : LLVMDoubleTypeInContext(e->ctx),
	                         emit_lanes(a));
	LLVMTypeRef t = LLVMTypeOf(a);
	LLVMValueRef q;

	if (!sign) {
		q = LLVMBuildFDiv(e->b, LLVMBuildUIToFP(e->b, a, f, ""), LLVMBuildUIToFP(e->b, b, f, ""), "");
		return LLVMBuildFPToUI(e->b, q, t, "");
	}
	q = LLVMBuildFDiv(e->b, LLVMBuildSIToFP(e->b, a, f, ""), LLVMBuildSIToFP(e->b, b, f, ""), "");
	return LLVMBuildFPToSI(e->b, q, t, "");
}

/* a / b truncated; 0 where b is 0; the most negative number by -1 wraps. */
static LLVMValueRef int_div(Emit *e, MloElem type, LLVMValueRef a, LLVMValueRef b)
{
	LLVMValueRef by0 = LLVMBuildICmp(e->b, LLVMIntEQ, b, zero(b), ""), safe, q, minus = NULL;
	unsigned bits = mlo_elem_bits(type);
	bool sign = is_signed(type);

	safe = emit_select(e, by0, one(b), b);
	if (sign) {
		minus = LLVMBuildICmp(e->b, LLVMIntEQ, b, emit_const_i(LLVMTypeOf(b), -1), "");
		safe = emit_select(e, minus, one(b), safe);
	}
	if (emit_lanes(a) && bits <= 32 && !LLVMIsConstant(b))
		q = divide_as_float(e, a, safe, sign, bits);
	else
		q = sign ? LLVMBuildSDiv(e->b, a, safe, "") : LLVMBuildUDiv(e->b, a, safe, "");
	if (sign)
		q = emit_select(e, minus, LLVMBuildNeg(e->b, a, ""), q);
	return emit_select(e, by0, zero(q), q);
}

static LLVMValueRef op_div(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	(void)in;
	return is_float(v[0]) ? LLVMBuildFDiv(e->b, v[0], v[1], "") : int_div(e, type, v[0], v[1]);
}

static LLVMValueRef op_fmod(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	LLVMValueRef q, r;

	(void)in;
	if (is_float(v[0]))
		return emit_fmod(e, v[0], v[1]);
	q = int_div(e, type, v[0], v[1]);
	r = LLVMBuildSub(e->b, v[0], LLVMBuildMul(e->b, q, v[1], ""), "");
	return emit_select(e, LLVMBuildICmp(e->b, LLVMIntEQ, v[1], zero(r), ""), zero(r), r);
}

static LLVMValueRef op_mod(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	LLVMValueRef r = op_fmod(e, in, type, v), off, differ, z = zero(r);

	if (is_float(r)) {
		differ = LLVMBuildXor(e->b, LLVMBuildFCmp(e->b, LLVMRealOLT, r, z, ""),
		                      LLVMBuildFCmp(e->b, LLVMRealOLT, v[1], z, ""), "");
		off = LLVMBuildAnd(e->b, differ, LLVMBuildFCmp(e->b, LLVMRealONE, r, z, ""), "");
		return emit_select(e, off, LLVMBuildFAdd(e->b, r, v[1], ""), r);
	}
	if (!is_signed(type))
		return r;
	differ = LLVMBuildICmp(e->b, LLVMIntSLT, LLVMBuildXor(e->b, r, v[1], ""), z, "");
	off = LLVMBuildAnd(e->b, differ, LLVMBuildICmp(e->b, LLVMIntNE, r, z, ""), "");
	return emit_select(e, off, LLVMBuildAdd(e->b, r, v[1], ""), r);
}

static LLVMValueRef op_fma(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	(void)in, (void)type;
	if (!is_float(v[0]))
		return LLVMBuildAdd(e->b, LLVMBuildMul(e->b, v[0], v[1], ""), v[2], "");
	return emit_fma(e, v[0], v[1], v[2]);
}

/* x86's min and max answer their second operand when either is NaN: a comparison and selection
 * becomes that one instruction, and only a NaN in the first operand needs mending. */
LLVMValueRef emit_minmax(Emit *e, MloElem type, bool max, LLVMValueRef a, LLVMValueRef b)
{
	LLVMValueRef c, m;

	if (!is_float(a)) {
		bool sign = is_signed(type);

		c = LLVMBuildICmp(e->b, max ? sign ? LLVMIntSGT : LLVMIntUGT : sign ? LLVMIntSLT : LLVMIntULT,
		                  a, b, "");
		return emit_select(e, c, a, b);
	}
	if (e->t->arch[0] != 'x') {
		m = emit_intrinsic(e, max ? "llvm.maximum" : "llvm.minimum", (LLVMTypeRef[]){LLVMTypeOf(a)}, 1,
		                   (LLVMValueRef[]){a, b}, 2);
		return m;
	}
	if (LLVMIsConstant(b)) {
		LLVMValueRef t = a;
		a = b;
		b = t;
	}
	c = LLVMBuildFCmp(e->b, max ? LLVMRealOGT : LLVMRealOLT, a, b, "");
	m = emit_select(e, c, a, b);
	if (LLVMIsConstant(a) && !LLVMIsUndef(a))
		return m; /* constants in kernels are numbers; a NaN constant is mended by op_min/op_max */
	/* a constant, not a: LLVM would join the two selections and compare b twice, one after the other */
	return emit_select(e, LLVMBuildFCmp(e->b, LLVMRealUNO, a, a, ""), emit_const_f(LLVMTypeOf(a), NAN), m);
}

static bool is_nan_const(const Emit *e, int value)
{
	const KInst *in = &e->k->value.items[value];

	return in->op == K_const && mlo_elem_is_float(in->type) && isnan(in->imm);
}

static LLVMValueRef extreme(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v, bool max)
{
	if (is_nan_const(e, in->a))
		return v[0];
	if (is_nan_const(e, in->b))
		return v[1];
	return emit_minmax(e, type, max, v[0], v[1]);
}

static LLVMValueRef op_min(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	return extreme(e, in, type, v, false);
}

static LLVMValueRef op_max(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	return extreme(e, in, type, v, true);
}

LLVMValueRef emit_combine(Emit *e, KOp op, MloElem type, LLVMValueRef a, LLVMValueRef b)
{
	if (op == K_min || op == K_max) /* what mends a NaN in the new value waits for nothing */
		return emit_minmax(e, type, op == K_max, b, a);
	if (is_float(a))
		return op == K_add ? LLVMBuildFAdd(e->b, a, b, "") : LLVMBuildFMul(e->b, a, b, "");
	return op == K_add ? LLVMBuildAdd(e->b, a, b, "") : LLVMBuildMul(e->b, a, b, "");
}

/* Integer powers by squaring; negative exponents give 0, except of 1 and -1. */
static LLVMValueRef int_pow(Emit *e, MloElem type, LLVMValueRef x, LLVMValueRef y)
{
	LLVMTypeRef t = LLVMTypeOf(x);
	LLVMValueRef r = one(x), p = x, u = y, minus1, bit, neg, is1;
	unsigned bits = mlo_elem_bits(type);

	for (unsigned i = 0; i < bits; i++) {
		bit = LLVMBuildAnd(e->b, u, emit_const_i(t, (int64_t)((uint64_t)1 << i)), "");
		bit = LLVMBuildICmp(e->b, LLVMIntNE, bit, zero(x), "");
		r = emit_select(e, bit, LLVMBuildMul(e->b, r, p, ""), r);
		p = LLVMBuildMul(e->b, p, p, "");
	}
	if (!is_signed(type))
		return r;
	is1 = LLVMBuildICmp(e->b, LLVMIntEQ, x, one(x), "");
	minus1 = LLVMBuildICmp(e->b, LLVMIntEQ, x, emit_const_i(t, -1), "");
	bit = LLVMBuildTrunc(e->b, y, LLVMTypeOf(is1), "");
	neg = emit_select(e, is1, one(x), emit_select(e, minus1,
	                  emit_select(e, bit, emit_const_i(t, -1), one(x)), zero(x)));
	return emit_select(e, LLVMBuildICmp(e->b, LLVMIntSLT, y, zero(y), ""), neg, r);
}

static LLVMValueRef op_pow(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	(void)in;
	return is_float(v[0]) ? emit_pow(e, v[0], v[1]) : int_pow(e, type, v[0], v[1]);
}

static LLVMValueRef op_neg(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	(void)in, (void)type;
	return is_float(v[0]) ? LLVMBuildFNeg(e->b, v[0], "") : LLVMBuildNeg(e->b, v[0], "");
}

static LLVMValueRef op_abs(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	LLVMValueRef c;

	(void)in;
	if (is_float(v[0]))
		return emit_unary(e, "llvm.fabs", v[0]);
	if (!is_signed(type))
		return v[0];
	c = LLVMBuildICmp(e->b, LLVMIntSLT, v[0], zero(v[0]), "");
	return emit_select(e, c, LLVMBuildNeg(e->b, v[0], ""), v[0]);
}

static LLVMValueRef op_sign(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)
{
	LLVMTypeRef t = LLVMTypeOf(v[0]);
	LLVMValueRef z = zero(v[0]), pos, neg, r;

	(void)in;
	if (is_float(v[0])) { /* zero and NaN answer themselves */
		pos = LLVMBuildFCmp(e->b, LLVMRealOGT, v[0], z, "");
		neg = LLVMBuildFCmp(e->b, LLVMRealOLT, v[0], z, "");
		r = emit_select(e, pos, emit_const_f(t, 1), v[0]);
		return emit_select(e, neg, emit_const_f(t, -1), r);
	}
	r = LLVMBuildZExt(e->b, LLVMBuildICmp(e->b, LLVMIntNE, v[0], z, ""), t, "");
	if (!is_signed(type))
		return r;
	neg = LLVMBuildICmp(e->b, LLVMIntSLT, v[0], z, "");
	return emit_select(e, neg, emit_const_i(t, -1), r);
}

#define FLOAT_UNARY(id, call)                                                                    \
	static LLVMValueRef op_##id(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)     \
	{                                                                                        \
		(void)in, (void)type;                                                            \
		return is_float(v[0]) ? (call) : v[0];                                           \
	}
FLOAT_UNARY(floor, emit_floor(e, v[0]))
FLOAT_UNARY(ceil, LLVMBuildFNeg(e->b, emit_floor(e, LLVMBuildFNeg(e->b, v[0], "")), ""))
FLOAT_UNARY(rint, emit_rint(e, v[0]))
FLOAT_UNARY(sqrt, emit_unary(e, "llvm.sqrt", v[0]))
FLOAT_UNARY(exp, emit_vecmath(e, K_exp, v[0]))
FLOAT_UNARY(decay, emit_vecmath(e, K_decay, v[0]))
FLOAT_UNARY(phi, emit_vecmath(e, K_phi, v[0]))
FLOAT_UNARY(log, emit_vecmath(e, K_log, v[0]))
FLOAT_UNARY(tanh, emit_vecmath(e, K_tanh, v[0]))
FLOAT_UNARY(erf, emit_vecmath(e, K_erf, v[0]))
FLOAT_UNARY(sin, emit_vecmath(e, K_sin, v[0]))
FLOAT_UNARY(cos, emit_vecmath(e, K_cos, v[0]))
FLOAT_UNARY(sigmoid, emit_vecmath(e, K_sigmoid, v[0]))

/* -- comparisons and bits ---------------------------------------------------------------------- */

static LLVMValueRef compare(Emit *e, MloElem type, LLVMRealPredicate f, LLVMIntPredicate s,
                            LLVMIntPredicate u, LLVMValueRef *v)
{
	if (is_float(v[0]))
		return LLVMBuildFCmp(e->b, f, v[0], v[1], "");
	return LLVMBuildICmp(e->b, is_signed(type) ? s : u, v[0], v[1], "");
}

#define COMPARE(id, f, s, u)                                                                     \
	static LLVMValueRef op_##id(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)     \
	{                                                                                        \
		(void)in;                                                                        \
		return compare(e, type, LLVMReal##f, LLVMInt##s, LLVMInt##u, v);                 \
	}
COMPARE(eq, OEQ, EQ, EQ)
COMPARE(lt, OLT, SLT, ULT)
COMPARE(le, OLE, SLE, ULE)

#define BITS(id, build)                                                                          \
	static LLVMValueRef op_##id(Emit *e, const KInst *in, MloElem type, LLVMValueRef *v)     \
	{                                                                                        \
		(void)in, (void)type;                                                            \
		return build;                                                                    \
	}
BITS(and, LLVMBuildAnd(e->b, v[0], v[1], ""))
BITS(or, LLVMBuildOr(e->b, v[0], v[1], ""))
BITS(xor, LLVMBuildXor(e->b, v[0], v[1], ""))
BITS(not, LLVMBuildNot(e->b, v[0], ""))
BITS(select, emit_select(e, v[0], v[1], v[2]))

/* -- dispatch ------------------------------------------------------------------------------------ */

static const struct { EmitOp *emit; int n; } ops[K_COUNT] = {
#define KOP(id, n, meaning) [K_##id] = {op_##id, n},
#include "codegen/kops.def"
};

LLVMValueRef emit_value(Emit *e, const KInst *in)
{
	int operand[3] = {in->a, in->b, in->c}, n = ops[in->op].n, lanes = 0;
	LLVMValueRef v[3] = {0};

	for (int i = 0; i < n; i++) {
		v[i] = e->val[operand[i]];
		if (emit_lanes(v[i]) > lanes)
			lanes = emit_lanes(v[i]);
	}
	for (int i = 0; i < n; i++)
		v[i] = emit_splat(e, v[i], lanes);
	return ops[in->op].emit(e, in, n ? e->k->value.items[in->a].type : in->type, v);
}
