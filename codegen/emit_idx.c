/* codegen/emit_idx.c -- index expressions and guards, scalar and by lane.
 *
 * In a vector context an index is base + stride * lane wherever that can be known; only then is a
 * load one vector load (stride 1) or one scalar load (stride 0) instead of a gather. */
#include "codegen/emit_internal.h"

static int64_t gcd(int64_t a, int64_t b)
{
	a = a < 0 ? -a : a;
	b = b < 0 ? -b : b;
	while (b) {
		int64_t t = a % b;
		a = b;
		b = t;
	}
	return a;
}

/* A number that divides x at lane 0; 0 when x is 0. */
static int64_t divisor(const Emit *e, const KIdx *x)
{
	int64_t g;

	switch (x->op) {
	case KI_CONST:
		return x->k < 0 ? -x->k : x->k;
	case KI_VAR:
		return x->k == e->vec_var && e->vec_aligned ? e->lanes : 1;
	case KI_ADD:
	case KI_MIN:
	case KI_MAX:
		return gcd(divisor(e, x->a), divisor(e, x->b));
	case KI_MUL:
		return divisor(e, x->a) * (x->b ? divisor(e, x->b) : x->k < 0 ? -x->k : x->k);
	case KI_SIZE:
		return e->k->size.items[x->k].of;
	case KI_DIV:
		g = divisor(e, x->a);
		return !x->b && g % x->k == 0 ? g / x->k : 1;
	case KI_MOD:
		return gcd(divisor(e, x->a), x->b ? divisor(e, x->b) : x->k);
	default:
		return 1;
	}
}

/* -- arithmetic, scalar or vector ----------------------------------------------------------- */

static LLVMValueRef floor_div(Emit *e, LLVMValueRef a, LLVMValueRef k, bool negative, LLVMValueRef *rem)
{
	LLVMTypeRef t = LLVMTypeOf(a);
	LLVMValueRef zero = emit_const_i(t, 0), q, r, low;

	if (!negative) {
		q = LLVMBuildUDiv(e->b, a, k, "");
		*rem = LLVMBuildURem(e->b, a, k, "");
		return q;
	}
	q = LLVMBuildSDiv(e->b, a, k, "");
	r = LLVMBuildSRem(e->b, a, k, "");
	low = LLVMBuildICmp(e->b, LLVMIntSLT, r, zero, "");
	*rem = LLVMBuildSelect(e->b, low, LLVMBuildAdd(e->b, r, k, ""), r, "");
	return LLVMBuildAdd(e->b, q, LLVMBuildSExt(e->b, low, t, ""), "");
}

/* Applies x's operation to operands of one type. */
static LLVMValueRef apply(Emit *e, const KIdx *x, LLVMValueRef a, LLVMValueRef b)
{
	LLVMTypeRef t = LLVMTypeOf(a);
	LLVMValueRef r, q, c;
	int64_t lo, hi;

	switch (x->op) {
	case KI_ADD:
		return emit_lanes(a) ? LLVMBuildAdd(e->b, a, b, "") : LLVMBuildNSWAdd(e->b, a, b, "");
	case KI_MUL:
		b = b ? b : emit_const_i(t, x->k);
		return emit_lanes(a) ? LLVMBuildMul(e->b, a, b, "") : LLVMBuildNSWMul(e->b, a, b, "");
	case KI_MIN:
		c = LLVMBuildICmp(e->b, LLVMIntSLT, a, b, "");
		return LLVMBuildSelect(e->b, c, a, b, "");
	case KI_MAX:
		c = LLVMBuildICmp(e->b, LLVMIntSGT, a, b, "");
		return LLVMBuildSelect(e->b, c, a, b, "");
	default:
		MLO_ASSERT(x->op == KI_DIV || x->op == KI_MOD);
		kx_range(e->k, x->a, &lo, &hi);
		q = floor_div(e, a, b ? b : emit_const_i(t, x->k), lo < 0, &r);
		return x->op == KI_DIV ? q : r;
	}
}

static LLVMValueRef value_as(Emit *e, int value, LLVMTypeRef scalar)
{
	LLVMValueRef v = e->val[value];
	MloElemClass cls = mlo_elem_class(e->k->value.items[value].type);

	return LLVMBuildIntCast2(e->b, v, emit_vec(scalar, emit_lanes(v)), cls == EC_INT, "");
}

LLVMValueRef emit_idx(Emit *e, const KIdx *x)
{
	LLVMValueRef v;

	if (x->op == KI_CONST)
		return emit_index(e, x->k);
	if (x->op == KI_VAR)
		return e->var[x->k];
	if (x->op == KI_SIZE)
		return e->size[x->k];
	if (x->op == KI_VALUE) {
		v = value_as(e, (int)x->k, e->index);
		return emit_lanes(v) ? LLVMBuildExtractElement(e->b, v, emit_index(e, 0), "") : v;
	}
	return apply(e, x, emit_idx(e, x->a), x->b ? emit_idx(e, x->b) : NULL);
}

/* -- by lane ---------------------------------------------------------------------------------- */

/* Do all parts of x fit 32 bits (so that lanes can be computed twice as fast)? */
static bool fits32(const Emit *e, const KIdx *x)
{
	int64_t lo, hi;

	kx_range(e->k, x, &lo, &hi);
	/* Room to spare: a masked vector may stand past the end of its variable's range. */
	if (lo < -(1 << 30) || hi > (1 << 30))
		return false;
	return (!x->a || fits32(e, x->a)) && (!x->b || fits32(e, x->b));
}

static bool varies(const Emit *e, const KIdx *x)
{
	if (x->op == KI_VAR)
		return x->k == e->vec_var;
	if (x->op == KI_VALUE)
		return emit_lanes(e->val[x->k]) > 0;
	return (x->a && varies(e, x->a)) || (x->b && varies(e, x->b));
}

static LLVMValueRef lane_vec(Emit *e, const KIdx *x, LLVMTypeRef scalar)
{
	LLVMValueRef base;

	if (!varies(e, x)) {
		base = LLVMBuildIntCast2(e->b, emit_idx(e, x), scalar, true, "");
		return emit_splat(e, base, e->lanes);
	}
	if (x->op == KI_VAR) {
		base = LLVMBuildIntCast2(e->b, e->var[x->k], scalar, true, "");
		return LLVMBuildAdd(e->b, emit_splat(e, base, e->lanes),
		                    emit_iota(e, scalar, e->lanes, 1), "");
	}
	if (x->op == KI_VALUE)
		return value_as(e, (int)x->k, scalar);
	return apply(e, x, lane_vec(e, x->a, scalar), x->b ? lane_vec(e, x->b, scalar) : NULL);
}

LLVMValueRef emit_lane_vec(Emit *e, const KIdx *x)
{
	/* sums with values that depend on data have no useful range: those use 64 bits */
	bool narrow = !kx_has_value(x) && fits32(e, x);

	return lane_vec(e, x, narrow ? LLVMInt32TypeInContext(e->ctx) : e->index);
}

/* Lane stride of x; false when the lanes do not form a progression. */
static bool lane_stride(const Emit *e, const KIdx *x, int64_t *stride)
{
	int64_t s, g;

	*stride = 0;
	if (!varies(e, x))
		return true;
	switch (x->op) {
	case KI_VAR:
		*stride = 1;
		return true;
	case KI_ADD:
		if (!lane_stride(e, x->a, stride) || !lane_stride(e, x->b, &s))
			return false;
		*stride += s;
		return true;
	case KI_MUL:
		if (!lane_stride(e, x->a, stride) || (x->b && *stride))
			return false;
		*stride *= x->k;
		return true;
	case KI_DIV:
	case KI_MOD:
		if (!lane_stride(e, x->a, &s))
			return false;
		*stride = x->op == KI_MOD ? s : 0;
		/* base is a multiple of g, and so is the divisor: base % k <= k - g, and the lanes
		 * reach less than g further, so that none of them crosses a multiple of k. */
		g = gcd(divisor(e, x->a), x->b ? divisor(e, x->b) : x->k);
		return s == 0 || (s > 0 && (e->lanes - 1) * s < g);
	default:
		return false;
	}
}

bool emit_idx_stride(const Emit *e, const KIdx *x, int64_t *stride)
{
	return !kx_has_value(x) && lane_stride(e, x, stride);
}

bool emit_idx_multiple(const Emit *e, const KIdx *x, int64_t n)
{
	return divisor(e, x) % n == 0;
}

LaneIdx emit_lane_idx(Emit *e, const KIdx *x)
{
	LaneIdx r = {0};

	if (e->lanes == 0 || lane_stride(e, x, &r.stride)) {
		r.base = emit_idx(e, x);
		return r;
	}
	r.vec = emit_lane_vec(e, x);
	return r;
}

/* -- guards ------------------------------------------------------------------------------------- */

static LLVMValueRef both(Emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return a ? LLVMBuildAnd(e->b, a, b, "") : b;
}

/* A size in the type of v, at most what it can hold. */
static LLVMValueRef size_like(Emit *e, int size, LLVMValueRef v)
{
	LLVMTypeRef t = emit_scalar_type(LLVMTypeOf(v));
	LLVMValueRef s = e->size[size], most = emit_index(e, INT32_MAX);

	if (LLVMGetIntTypeWidth(t) == 32)
		s = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, s, most, ""), s, most, "");
	return emit_splat(e, LLVMBuildIntCast2(e->b, s, t, true, ""), emit_lanes(v));
}

void emit_guard(Emit *e, const KGuard *g, LLVMValueRef *uniform, LLVMValueRef *mask)
{
	*uniform = NULL;
	*mask = NULL;
	for (; g; g = g->next) {
		int64_t lo, hi;
		LLVMValueRef v, c;

		kx_range(e->k, g->e, &lo, &hi);
		if (lo >= 0 && hi < g->extent && !kx_has_value(g->e)) /* of a number: sizes are below 0 */
			continue;
		v = e->lanes && varies(e, g->e) ? emit_lane_vec(e, g->e) : emit_idx(e, g->e);
		/* 0 <= v < extent is one unsigned comparison. An extent beyond v's width always
		 * exceeds v, as v's range was checked when the width was chosen. */
		if (g->extent < 0)
			c = LLVMBuildICmp(e->b, LLVMIntULT, v, size_like(e, (int)(-1 - g->extent), v), "");
		else if (LLVMGetIntTypeWidth(emit_scalar_type(LLVMTypeOf(v))) == 32 && g->extent > INT32_MAX)
			c = LLVMBuildICmp(e->b, LLVMIntSGE, v, emit_const_i(LLVMTypeOf(v), 0), "");
		else
			c = LLVMBuildICmp(e->b, LLVMIntULT, v, emit_const_i(LLVMTypeOf(v), g->extent), "");
		if (emit_lanes(c))
			*mask = both(e, *mask, c);
		else
			*uniform = both(e, *uniform, c);
	}
}
