/* codegen/emit_value.c -- loads and stores: vector, broadcast, gathered, masked. */
#include "codegen/device_internal.h"
#include "codegen/emit_internal.h"

#include <string.h>

/* -- storage formats ------------------------------------------------------------------------ */

LLVMTypeRef emit_mem_type(Emit *e, MloElem elem)
{
	return elem == EL_bool ? LLVMInt8TypeInContext(e->ctx)
	       : elem == EL_f16 || elem == EL_bf16 ? LLVMInt16TypeInContext(e->ctx)
	       : emit_type(e, elem);
}

static LLVMTypeRef float_like(LLVMValueRef v, LLVMTypeRef scalar)
{
	return emit_vec(scalar, emit_lanes(v));
}

/* f16 bits to f32 without conversion instructions: the exponent is moved by a multiplication,
 * which also normalises denormals; infinities and NaN get the exponent they need. */
static LLVMValueRef f16_bits_to_f32(Emit *e, LLVMValueRef h)
{
	LLVMTypeRef i32 = float_like(h, LLVMInt32TypeInContext(e->ctx));
	LLVMTypeRef f32 = float_like(h, LLVMFloatTypeInContext(e->ctx));
	LLVMValueRef w = LLVMBuildZExt(e->b, h, i32, ""), sign, mag, v, big;

	sign = LLVMBuildShl(e->b, LLVMBuildAnd(e->b, w, emit_const_i(i32, 0x8000), ""),
	                    emit_const_i(i32, 16), "");
	mag = LLVMBuildAnd(e->b, w, emit_const_i(i32, 0x7fff), "");
	big = LLVMBuildICmp(e->b, LLVMIntUGE, mag, emit_const_i(i32, 0x7c00), "");
	mag = LLVMBuildShl(e->b, mag, emit_const_i(i32, 13), "");
	v = LLVMBuildFMul(e->b, LLVMBuildBitCast(e->b, mag, f32, ""), emit_const_f(f32, 0x1p112), "");
	v = LLVMBuildBitCast(e->b, v, i32, "");
	v = emit_select(e, big, LLVMBuildOr(e->b, mag, emit_const_i(i32, 0x7f800000), ""), v);
	return LLVMBuildBitCast(e->b, LLVMBuildOr(e->b, v, sign, ""), f32, "");
}

/* f32 to f16 bits, nearest even.  Normal results: add half of what is cut off, minus one if even.
 * Denormal results: adding 0.5 leaves the rounded mantissa in the low bits of the sum. */
static LLVMValueRef f32_to_f16_bits(Emit *e, LLVMValueRef x)
{
	LLVMTypeRef i32 = float_like(x, LLVMInt32TypeInContext(e->ctx));
	LLVMTypeRef f32 = LLVMTypeOf(x), i16 = float_like(x, LLVMInt16TypeInContext(e->ctx));
	LLVMValueRef w = LLVMBuildBitCast(e->b, x, i32, ""), sign, mag, odd, norm, sub, out, c;

	sign = LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, w, emit_const_i(i32, 16), ""),
	                    emit_const_i(i32, 0x8000), "");
	mag = LLVMBuildAnd(e->b, w, emit_const_i(i32, 0x7fffffff), "");
	odd = LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, mag, emit_const_i(i32, 13), ""),
	                   emit_const_i(i32, 1), "");
	norm = LLVMBuildAdd(e->b, mag, emit_const_i(i32, -0x38000000 + 0xfff), "");
	norm = LLVMBuildLShr(e->b, LLVMBuildAdd(e->b, norm, odd, ""), emit_const_i(i32, 13), "");
	sub = LLVMBuildFAdd(e->b, LLVMBuildBitCast(e->b, mag, f32, ""), emit_const_f(f32, 0.5), "");
	sub = LLVMBuildSub(e->b, LLVMBuildBitCast(e->b, sub, i32, ""), emit_const_i(i32, 0x3f000000), "");
	c = LLVMBuildICmp(e->b, LLVMIntULT, mag, emit_const_i(i32, 0x38800000), "");
	out = emit_select(e, c, sub, norm);
	c = LLVMBuildICmp(e->b, LLVMIntUGE, mag, emit_const_i(i32, 0x477ff000), "");
	out = emit_select(e, c, emit_const_i(i32, 0x7c00), out);
	c = LLVMBuildICmp(e->b, LLVMIntUGT, mag, emit_const_i(i32, 0x7f800000), "");
	out = emit_select(e, c, emit_const_i(i32, 0x7e00), out);
	return LLVMBuildTrunc(e->b, LLVMBuildOr(e->b, out, sign, ""), i16, "");
}

static LLVMValueRef f32_to_bf16_bits(Emit *e, LLVMValueRef x)
{
	LLVMTypeRef i16 = float_like(x, LLVMInt16TypeInContext(e->ctx));
	LLVMTypeRef i32 = float_like(x, LLVMInt32TypeInContext(e->ctx));
	LLVMValueRef w = LLVMBuildBitCast(e->b, x, i32, ""), top, r, nan;

	r = e->t->dots->bf16 && emit_lanes(x) ? emit_bf16_bits(e, x) : NULL;
	if (r)
		return r;
	top = LLVMBuildLShr(e->b, w, emit_const_i(i32, 16), "");
	r = LLVMBuildAnd(e->b, top, emit_const_i(i32, 1), "");
	r = LLVMBuildAdd(e->b, LLVMBuildAdd(e->b, w, r, ""), emit_const_i(i32, 0x7fff), "");
	r = LLVMBuildLShr(e->b, r, emit_const_i(i32, 16), "");
	nan = LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, "");
	r = emit_select(e, nan, LLVMBuildOr(e->b, top, emit_const_i(i32, 0x40), ""), r);
	return LLVMBuildTrunc(e->b, r, i16, "");
}

LLVMValueRef emit_from_memory(Emit *e, MloElem elem, LLVMValueRef v)
{
	LLVMTypeRef f32 = float_like(v, LLVMFloatTypeInContext(e->ctx));
	LLVMTypeRef i32 = float_like(v, LLVMInt32TypeInContext(e->ctx));

	if (elem == EL_bool)
		return LLVMBuildICmp(e->b, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "");
	if (elem == EL_bf16) {
		v = LLVMBuildShl(e->b, LLVMBuildZExt(e->b, v, i32, ""), emit_const_i(i32, 16), "");
		return LLVMBuildBitCast(e->b, v, f32, "");
	}
	if (elem != EL_f16)
		return v;
	if (!emit_has(e, "f16c"))
		return f16_bits_to_f32(e, v);
	v = LLVMBuildBitCast(e->b, v, float_like(v, LLVMHalfTypeInContext(e->ctx)), "");
	return LLVMBuildFPExt(e->b, v, f32, "");
}

LLVMValueRef emit_tf32_bits(Emit *e, LLVMValueRef x)
{
	LLVMTypeRef i32 = float_like(x, LLVMInt32TypeInContext(e->ctx));
	LLVMValueRef w = LLVMBuildBitCast(e->b, x, i32, ""), r;

	MLO_ASSERT(mlo_target_tf32(e->t));
	if (!emit_lanes(x))
		return emit_intrinsic(e, "llvm.nvvm.f2tf32.rna", NULL, 0, &x, 1);
	r = LLVMBuildAnd(e->b, LLVMBuildAdd(e->b, w, emit_const_i(i32, 0x1000), ""), emit_const_i(i32, -0x2000), "");
	return emit_select(e, LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, ""), w, r);
}

static LLVMValueRef to_memory(Emit *e, MloElem elem, LLVMValueRef v)
{
	LLVMValueRef halves = e->t->gpu && (elem == EL_bf16 || elem == EL_f16) ? device_halves(e, v, elem) : NULL;

	if (halves)
		return halves;
	if (elem == EL_bool)
		return LLVMBuildZExt(e->b, v, float_like(v, LLVMInt8TypeInContext(e->ctx)), "");
	if (elem == EL_tf32)
		return LLVMBuildBitCast(e->b, emit_tf32_bits(e, v), LLVMTypeOf(v), "");
	if (elem == EL_bf16)
		return f32_to_bf16_bits(e, v);
	if (elem != EL_f16)
		return v;
	if (!emit_has(e, "f16c"))
		return f32_to_f16_bits(e, v);
	v = LLVMBuildFPTrunc(e->b, v, float_like(v, LLVMHalfTypeInContext(e->ctx)), "");
	return LLVMBuildBitCast(e->b, v, float_like(v, LLVMInt16TypeInContext(e->ctx)), "");
}

/* -- addresses -------------------------------------------------------------------------------- */

typedef struct Access {
	MloElem elem;
	LLVMTypeRef mem;       /* scalar type in memory */
	unsigned align;
	LLVMValueRef ptr;      /* the argument */
	LLVMValueRef mask;     /* vector of i1, or NULL */
} Access;

static Access access_new(Emit *e, int arg, LLVMValueRef mask)
{
	MloElem elem = e->k->arg.items[arg].elem;

	return (Access){.elem = elem, .mem = emit_mem_type(e, elem), .align = mlo_elem_bits(elem) / 8,
	                .ptr = e->arg[arg], .mask = mask};
}

static LLVMValueRef element(Emit *e, const Access *a, LLVMValueRef idx)
{
	return LLVMBuildInBoundsGEP2(e->b, a->mem, a->ptr, &idx, 1, "");
}

static LLVMValueRef load_at(Emit *e, const Access *a, LLVMTypeRef type, LLVMValueRef ptr)
{
	LLVMValueRef v = LLVMBuildLoad2(e->b, type, ptr, "");

	LLVMSetAlignment(v, a->align);
	return v;
}

/* Lanes that lie beside each other, as one access. */
static Access in_row(const Emit *e, const Access *a)
{
	Access all = *a;

	if (e->vec_whole)
		all.align *= (unsigned)e->lanes;
	return all;
}

static LLVMValueRef all_true(Emit *e)
{
	return LLVMConstAllOnes(LLVMVectorType(LLVMInt1TypeInContext(e->ctx), (unsigned)e->lanes));
}

static LLVMValueRef lane_indices(Emit *e, const LaneIdx *x)
{

	if (x->vec)
		return x->vec;
	return LLVMBuildAdd(e->b, emit_splat(e, x->base, e->lanes),
	                    emit_iota(e, e->index, e->lanes, x->stride), "");
}

/* A pointer per lane.  A progression keeps its base scalar, so that the lane offsets are a constant. */
static LLVMValueRef lane_pointers(Emit *e, const Access *a, const LaneIdx *x)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef idx, ptr = a->ptr;

	if (!x->vec) {
		bool small = x->stride > -(1 << 24) && x->stride < (1 << 24);

		ptr = LLVMBuildGEP2(e->b, a->mem, ptr, (LLVMValueRef[]){x->base}, 1, "");
		idx = emit_iota(e, small ? i32 : e->index, e->lanes, x->stride);
	} else {
		idx = x->vec;
	}
	return LLVMBuildGEP2(e->b, a->mem, ptr, &idx, 1, "");
}

/* Where the machine has no masked access, excluded lanes read element 0 instead of being skipped. */
static LLVMValueRef gather(Emit *e, const Access *a, const LaneIdx *x, int64_t count)
{
	LLVMTypeRef type = emit_vec(a->mem, e->lanes);
	LLVMValueRef idx, p, v = LLVMGetPoison(type), lane;
	bool hw = emit_has_masks(e, a->align) && a->align >= 4 && e->t->vector_bytes >= 64;

	if (hw || (a->mask && count == 0)) {
		p = lane_pointers(e, a, x);
		LLVMTypeRef over[2] = {type, LLVMTypeOf(p)};
		LLVMValueRef arg[4] = {p, emit_const_i(LLVMInt32TypeInContext(e->ctx), a->align),
		                       a->mask ? a->mask : all_true(e), LLVMConstNull(type)};

		return emit_intrinsic(e, "llvm.masked.gather", over, 2, arg, 4);
	}
	idx = lane_indices(e, x);
	if (a->mask)
		idx = emit_select(e, a->mask, idx, LLVMConstNull(LLVMTypeOf(idx)));
	for (int i = 0; i < e->lanes; i++) {
		lane = LLVMBuildExtractElement(e->b, idx, emit_index(e, i), "");
		lane = LLVMBuildIntCast2(e->b, lane, e->index, true, "");
		lane = load_at(e, a, a->mem, element(e, a, lane));
		v = LLVMBuildInsertElement(e->b, v, lane, emit_index(e, i), "");
	}
	return v;
}

/* -- loads ---------------------------------------------------------------------------------------- */

static LLVMValueRef load_lanes(Emit *e, const Access *a, const KInst *in)
{
	LaneIdx x = emit_lane_idx(e, in->idx);
	LLVMTypeRef type = emit_vec(a->mem, e->lanes);
	int64_t count = e->k->arg.items[in->arg].count;

	if (!x.vec && x.stride == 0 && !a->mask)
		return load_at(e, a, a->mem, element(e, a, x.base));
	if (!x.vec && x.stride == 1 && !a->mask) {
		const Access row = in_row(e, a);

		return load_at(e, &row, type, element(e, a, x.base));
	}
	if (!x.vec && x.stride == 1 && emit_has_masks(e, a->align)) {
		LLVMValueRef p = LLVMBuildGEP2(e->b, a->mem, a->ptr, &x.base, 1, "");
		LLVMTypeRef over[2] = {type, LLVMTypeOf(p)};
		LLVMValueRef arg[4] = {p, emit_const_i(LLVMInt32TypeInContext(e->ctx), a->align), a->mask,
		                       LLVMConstNull(type)};

		return emit_intrinsic(e, "llvm.masked.load", over, 2, arg, 4);
	}
	return gather(e, a, &x, count);
}

static LLVMValueRef other_value(const KInst *in, LLVMTypeRef type)
{
	LLVMTypeRef s = emit_scalar_type(type);

	if (LLVMGetTypeKind(s) != LLVMIntegerTypeKind)
		return emit_const_f(type, in->other);
	return emit_const_i(type, (int64_t)in->other);
}

/* The load itself, without uniform guards. */
static LLVMValueRef load_plain(Emit *e, const KInst *in, LLVMValueRef guard)
{
	LLVMValueRef mask = guard, v;
	Access a;
	LaneIdx x;

	if (e->lanes == 0) {
		a = access_new(e, in->arg, NULL);
		v = load_at(e, &a, a.mem, element(e, &a, emit_idx(e, in->idx)));
		return emit_from_memory(e, a.elem, v);
	}
	if (e->mask)
		mask = mask ? LLVMBuildAnd(e->b, mask, e->mask, "") : e->mask;
	x = emit_lane_idx(e, in->idx);
	/* Lane 0 is always real, so that a uniform address needs no mask of real lanes. */
	if (!x.vec && x.stride == 0 && !guard)
		mask = NULL;
	a = access_new(e, in->arg, mask);
	v = emit_from_memory(e, a.elem, load_lanes(e, &a, in));
	if (guard)
		v = emit_select(e, guard, emit_splat(e, v, e->lanes),
		                other_value(in, emit_vec(emit_type(e, in->type), e->lanes)));
	return v;
}

/* A condition that is the same for all lanes: a branch around the load. */
static LLVMValueRef load_guarded(Emit *e, const KInst *in, LLVMValueRef cond, LLVMValueRef mask)
{
	LLVMBasicBlockRef from = LLVMGetInsertBlock(e->b);
	LLVMBasicBlockRef yes = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "in");
	LLVMBasicBlockRef join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "join");
	LLVMValueRef v, phi, other;

	LLVMBuildCondBr(e->b, cond, yes, join);
	LLVMPositionBuilderAtEnd(e->b, yes);
	v = load_plain(e, in, mask);
	yes = LLVMGetInsertBlock(e->b);
	LLVMBuildBr(e->b, join);
	LLVMPositionBuilderAtEnd(e->b, join);
	phi = LLVMBuildPhi(e->b, LLVMTypeOf(v), "");
	other = other_value(in, LLVMTypeOf(v));
	LLVMAddIncoming(phi, (LLVMValueRef[]){other, v}, (LLVMBasicBlockRef[]){from, yes}, 2);
	return phi;
}

LLVMValueRef emit_load(Emit *e, const KInst *in)
{
	LLVMValueRef cond, mask;

	emit_guard(e, in->guard, &cond, &mask);
	return cond ? load_guarded(e, in, cond, mask) : load_plain(e, in, mask);
}

/* -- stores --------------------------------------------------------------------------------------- */

static void store_at(Emit *e, const Access *a, LLVMValueRef v, LLVMValueRef ptr)
{
	LLVMSetAlignment(LLVMBuildStore(e->b, v, ptr), a->align);
}

static void store_masked(Emit *e, const Access *a, LLVMValueRef v, LLVMValueRef ptr, const char *name)
{
	LLVMTypeRef over[2] = {LLVMTypeOf(v), LLVMTypeOf(ptr)};
	LLVMValueRef arg[4] = {v, ptr, emit_const_i(LLVMInt32TypeInContext(e->ctx), a->align),
	                       a->mask ? a->mask : all_true(e)};

	emit_intrinsic(e, name, over, 2, arg, 4);
}

static void store_lanes(Emit *e, const Access *a, const KStmt *s, LLVMValueRef v, bool guarded)
{
	LaneIdx x = emit_lane_idx(e, s->idx);

	if (!x.vec && x.stride == 0 && !emit_lanes(v) && !guarded) {
		store_at(e, a, to_memory(e, a->elem, v), element(e, a, x.base));
		return;
	}
	v = to_memory(e, a->elem, emit_splat(e, v, e->lanes));
	const Access row = in_row(e, a);
	if (!x.vec && x.stride == 1 && !a->mask)
		store_at(e, &row, v, element(e, a, x.base));
	else if (!x.vec && x.stride == 1)
		store_masked(e, a, v, LLVMBuildGEP2(e->b, a->mem, a->ptr, &x.base, 1, ""),
		             "llvm.masked.store");
	else
		store_masked(e, a, v, lane_pointers(e, a, &x), "llvm.masked.scatter");
}

static void store_plain(Emit *e, const KStmt *s, LLVMValueRef mask)
{
	LLVMValueRef v = e->val[s->value];
	bool guarded = mask != NULL;
	Access a;

	if (e->lanes == 0) {
		a = access_new(e, s->arg, NULL);
		store_at(e, &a, to_memory(e, a.elem, v), element(e, &a, emit_idx(e, s->idx)));
		return;
	}
	if (e->mask)
		mask = mask ? LLVMBuildAnd(e->b, mask, e->mask, "") : e->mask;
	a = access_new(e, s->arg, mask);
	store_lanes(e, &a, s, v, guarded);
}

void emit_store(Emit *e, const KStmt *s)
{
	LLVMBasicBlockRef yes, join;
	LLVMValueRef cond, mask;

	emit_guard(e, s->guard, &cond, &mask);
	if (!cond) {
		store_plain(e, s, mask);
		return;
	}
	yes = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "in");
	join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "join");
	LLVMBuildCondBr(e->b, cond, yes, join);
	LLVMPositionBuilderAtEnd(e->b, yes);
	store_plain(e, s, mask);
	LLVMBuildBr(e->b, join);
	LLVMPositionBuilderAtEnd(e->b, join);
}
