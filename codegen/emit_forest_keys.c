/* codegen/emit_forest_keys.c -- the keys of rows, column by column, and the small pieces of both halves. */
#include "codegen/emit_forest.h"

/* -- pieces ------------------------------------------------------------------------------------------- */

LLVMValueRef forest_at(EmitForest *f, LLVMTypeRef type, LLVMValueRef p, LLVMValueRef n)
{
	return LLVMBuildInBoundsGEP2(f->e->b, type, p, &n, 1, "");
}

LLVMValueRef forest_load(EmitForest *f, LLVMTypeRef type, LLVMValueRef p, LLVMValueRef n)
{
	LLVMValueRef v = LLVMBuildLoad2(f->e->b, type, forest_at(f, emit_scalar_type(type), p, n), "");

	LLVMSetAlignment(v, type == f->i64 ? 8 : 4);
	return v;
}

void forest_store(EmitForest *f, LLVMTypeRef type, LLVMValueRef p, LLVMValueRef n, LLVMValueRef v)
{
	LLVMSetAlignment(LLVMBuildStore(f->e->b, v, forest_at(f, emit_scalar_type(type), p, n)), 4);
}

LLVMValueRef forest_gather(EmitForest *f, LLVMTypeRef type, LLVMTypeRef step, LLVMValueRef p,
			   LLVMValueRef index)
{
	Emit *e = f->e;
	int n = emit_lanes(index);
	LLVMTypeRef vec = emit_vec(type, n);
	LLVMValueRef at = forest_at(f, step, p, LLVMBuildSExt(e->b, index, emit_vec(f->i64, n), ""));
	LLVMTypeRef over[2] = {vec, LLVMTypeOf(at)};
	LLVMValueRef arg[4] = {at, LLVMConstInt(f->i32, type == f->i64 ? 8 : 4, 0), NULL, LLVMGetPoison(vec)};

	if (!n) {
		at = LLVMBuildLoad2(e->b, type, at, "");
		LLVMSetAlignment(at, type == f->i64 ? 8 : 4);
		return at;
	}
	arg[2] = emit_const_i(emit_vec(LLVMInt1TypeInContext(e->ctx), n), 1);
	return emit_intrinsic(e, "llvm.masked.gather", over, 2, arg, 4);
}

LLVMValueRef forest_const(EmitForest *f, int64_t v)
{
	return emit_const_i(emit_vec(f->i32, f->lanes), v);
}

LLVMValueRef forest_iota(EmitForest *f, int way)
{
	if (!f->lanes)
		return LLVMConstInt(f->i32, (unsigned long long)way, 0);
	return LLVMBuildAdd(f->e->b, emit_iota(f->e, f->i32, f->lanes, 1),
			    forest_const(f, (int64_t)way * f->lanes), "");
}

/* -- keys ------------------------------------------------------------------------------------------------ */

static LLVMValueRef field(EmitForest *f, LLVMValueRef column, int which)
{
	Emit *e = f->e;
	LLVMValueRef n = LLVMBuildAdd(e->b, LLVMBuildMul(e->b, column, emit_i64(e, FOREST_FIELDS), ""),
				      emit_i64(e, which), "");

	return forest_load(f, f->i32, e->arg[f->f->column_arg], n);
}

/* forest_key() of codegen/forest.h */
static LLVMValueRef ordered(EmitForest *f, LLVMValueRef bits)
{
	LLVMBuilderRef b = f->e->b;
	LLVMValueRef sign = LLVMBuildAShr(b, bits, forest_const(f, 31), "");
	LLVMValueRef key = LLVMBuildXor(b, bits, LLVMBuildAnd(b, sign, forest_const(f, 0x7fffffff), ""), "");
	LLVMValueRef zero = LLVMBuildICmp(b, LLVMIntEQ, bits, forest_const(f, INT32_MIN), "");

	return emit_select(f->e, zero, forest_const(f, 0), key);
}

static LLVMValueRef is_nan(EmitForest *f, LLVMValueRef bits)
{
	LLVMValueRef size = LLVMBuildAnd(f->e->b, bits, forest_const(f, 0x7fffffff), "");

	return LLVMBuildICmp(f->e->b, LLVMIntSGT, size, forest_const(f, 0x7f800000), "");
}

/* LEFT where the key (in the alloca `slot`) is one of set[first..last), RIGHT elsewhere. */
static void membership(EmitForest *f, LLVMValueRef slot, LLVMValueRef first, LLVMValueRef last)
{
	Emit *e = f->e;
	LLVMTypeRef type = emit_vec(f->i32, f->lanes);
	LLVMValueRef key = LLVMBuildLoad2(e->b, type, slot, ""), one, hit;
	EmitLoop l;

	LLVMBuildStore(e->b, forest_const(f, FOREST_RIGHT), slot);
	one = emit_for(e, &l, LLVMBuildSExt(e->b, first, f->i64, ""), LLVMBuildSExt(e->b, last, f->i64, ""),
		       emit_i64(e, 1), "set");
	one = emit_splat(e, forest_load(f, f->i32, e->arg[f->f->set_arg], one), f->lanes);
	hit = LLVMBuildICmp(e->b, LLVMIntEQ, key, one, "");
	hit = emit_select(e, hit, forest_const(f, FOREST_LEFT), LLVMBuildLoad2(e->b, type, slot, ""));
	LLVMBuildStore(e->b, hit, slot);
	emit_end(e, &l);
}

/* One column of one vector of rows; offset: of their first features, in elements. */
static void fill_vector(EmitForest *f, LLVMValueRef x, LLVMValueRef offset, LLVMValueRef column, int way,
			LLVMValueRef slot)
{
	Emit *e = f->e;
	LLVMTypeRef type = emit_vec(f->i32, f->lanes);
	LLVMBasicBlockRef sets = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "sets");
	LLVMBasicBlockRef plain = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "plain");
	LLVMValueRef first = field(f, column, FOREST_FIRST), bits, key, at;

	at = emit_splat(e, field(f, column, FOREST_FEATURE), f->lanes);
	bits = forest_gather(f, f->i32, f->i32, x, LLVMBuildAdd(e->b, offset, at, ""));
	LLVMBuildStore(e->b, ordered(f, bits), slot);
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSGE, first, LLVMConstNull(f->i32), ""), sets, plain);
	LLVMPositionBuilderAtEnd(e->b, sets);
	membership(f, slot, first, field(f, column, FOREST_LAST));
	LLVMBuildBr(e->b, plain);
	LLVMPositionBuilderAtEnd(e->b, plain);
	key = LLVMBuildLoad2(e->b, type, slot, "");
	key = emit_select(e, is_nan(f, bits), emit_splat(e, field(f, column, FOREST_NAN), f->lanes), key);
	at = LLVMBuildShl(e->b, column, emit_i64(e, f->shift), "");
	at = LLVMBuildAdd(e->b, at, emit_i64(e, (int64_t)way * (f->lanes ? f->lanes : 1)), "");
	forest_store(f, type, f->keys, at, key);
}

void forest_fill(EmitForest *f, LLVMValueRef x, LLVMValueRef last)
{
	Emit *e = f->e;
	LLVMTypeRef type = emit_vec(f->i32, f->lanes);
	LLVMValueRef slot = emit_alloca(e, type, "key"), offset[FOREST_MAX_WAYS], column;
	LLVMValueRef end = emit_splat(e, LLVMBuildTrunc(e->b, last, f->i32, ""), f->lanes);
	EmitLoop l;

	for (int w = 0; w < f->ways; w++) {
		LLVMValueRef row = forest_iota(f, w), beyond = LLVMBuildICmp(e->b, LLVMIntSGT, row, end, "");

		row = emit_select(e, beyond, end, row);
		offset[w] = LLVMBuildMul(e->b, row, forest_const(f, f->f->features), "");
		forest_store(f, type, f->keys, emit_i64(e, (int64_t)w * (f->lanes ? f->lanes : 1)),
			     forest_const(f, FOREST_LEFT));
	}
	column = emit_for(e, &l, emit_i64(e, 1), emit_i64(e, f->f->columns), emit_i64(e, 1), "column");
	for (int w = 0; w < f->ways; w++)
		fill_vector(f, x, offset[w], column, w, slot);
	emit_end(e, &l);
}
