/* codegen/device_team.c -- threads of a task together: barriers, shuffles, reductions. */
#include "codegen/device_internal.h"

void device_if(Emit *e, DeviceIf *i, LLVMValueRef cond)
{
	LLVMBasicBlockRef yes = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "in");

	i->join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "join");
	LLVMBuildCondBr(e->b, cond, yes, i->join);
	LLVMPositionBuilderAtEnd(e->b, yes);
}

void device_endif(Emit *e, DeviceIf *i)
{
	LLVMBuildBr(e->b, i->join);
	LLVMMoveBasicBlockAfter(i->join, LLVMGetInsertBlock(e->b));
	LLVMPositionBuilderAtEnd(e->b, i->join);
}

void device_block_barrier(Emit *e)
{
	emit_intrinsic(e, "llvm.nvvm.barrier0", NULL, 0, NULL, 0);
}

void device_barrier(Emit *e)
{
	if (e->team->size > DEVICE_WARP)
		device_block_barrier(e);
	else if (e->team->size > 1)
		emit_intrinsic(e, "llvm.nvvm.bar.warp.sync", NULL, 0, &e->team->members, 1);
}

/* -- shuffles ---------------------------------------------------------------------------------------- */

static LLVMValueRef shuffle_word(Emit *e, LLVMValueRef v, int flip)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef arg[4] = {e->team->members, v, emit_const_i(i32, flip), emit_const_i(i32, DEVICE_WARP - 1)};

	return emit_intrinsic(e, "llvm.nvvm.shfl.sync.bfly.i32", NULL, 0, arg, 4);
}

/* Shuffles move words of 32 bits: v in one of them, or in two. */
LLVMValueRef device_shuffle(Emit *e, LLVMValueRef v, int flip)
{
	LLVMTypeRef t = LLVMTypeOf(v), i32 = LLVMInt32TypeInContext(e->ctx), i64 = LLVMInt64TypeInContext(e->ctx), bits;
	LLVMTypeKind kind = LLVMGetTypeKind(t);
	LLVMValueRef high, r;

	bits = kind == LLVMFloatTypeKind ? i32 : kind == LLVMDoubleTypeKind ? i64 : t;
	v = LLVMBuildBitCast(e->b, v, bits, "");
	if (LLVMGetIntTypeWidth(bits) <= 32) {
		r = shuffle_word(e, LLVMBuildIntCast2(e->b, v, i32, false, ""), flip);
	} else {
		high = LLVMBuildTrunc(e->b, LLVMBuildLShr(e->b, v, emit_const_i(i64, 32), ""), i32, "");
		high = LLVMBuildZExt(e->b, shuffle_word(e, high, flip), i64, "");
		r = LLVMBuildZExt(e->b, shuffle_word(e, LLVMBuildTrunc(e->b, v, i32, ""), flip), i64, "");
		r = LLVMBuildOr(e->b, r, LLVMBuildShl(e->b, high, emit_const_i(i64, 32), ""), "");
	}
	return LLVMBuildBitCast(e->b, LLVMBuildIntCast2(e->b, r, bits, false, ""), t, "");
}

/* -- reductions -------------------------------------------------------------------------------------- */

static LLVMValueRef part_at(Emit *e, LLVMValueRef warp)
{
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);

	if (!e->team->parts)
		e->team->parts = device_static_shared(e, LLVMArrayType2(i64, MLO_DEVICE_THREADS / DEVICE_WARP), "parts");
	return LLVMBuildInBoundsGEP2(e->b, i64, e->team->parts, &warp, 1, "");
}

/* What the warps of a block have found, in their order: the same in each thread. */
static LLVMValueRef across_warps(Emit *e, KOp op, MloElem type, LLVMValueRef v)
{
	LLVMTypeRef t = LLVMTypeOf(v), mem = type == EL_bool ? LLVMInt8TypeInContext(e->ctx) : t;
	LLVMValueRef warp = LLVMBuildUDiv(e->b, e->team->lane, emit_index(e, DEVICE_WARP), ""), first, sum = NULL, part;
	DeviceIf i;

	first = LLVMBuildAnd(e->b, e->team->lane, emit_index(e, DEVICE_WARP - 1), "");
	device_if(e, &i, LLVMBuildICmp(e->b, LLVMIntEQ, first, emit_index(e, 0), ""));
	LLVMBuildStore(e->b, type == EL_bool ? LLVMBuildZExt(e->b, v, mem, "") : v, part_at(e, warp));
	device_endif(e, &i);
	device_block_barrier(e);
	for (int w = 0; w < e->team->size / DEVICE_WARP; w++) {
		part = LLVMBuildLoad2(e->b, mem, part_at(e, emit_index(e, w)), "");
		part = type == EL_bool ? LLVMBuildTrunc(e->b, part, t, "") : part;
		sum = sum ? emit_combine(e, op, type, sum, part) : part;
	}
	device_block_barrier(e);
	return sum;
}

LLVMValueRef device_reduce(Emit *e, KOp op, MloElem type, LLVMValueRef v)
{
	int width = e->team->size < DEVICE_WARP ? e->team->size : DEVICE_WARP;

	for (int flip = width / 2; flip; flip /= 2)
		v = emit_combine(e, op, type, v, device_shuffle(e, v, flip));
	return e->team->size > DEVICE_WARP ? across_warps(e, op, type, v) : v;
}
