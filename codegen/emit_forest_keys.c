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

LLVMValueRef forest_index(EmitForest *f, int arg, LLVMValueRef n)
{
	return LLVMBuildSExt(f->e->b, forest_load(f, f->i32, f->e->arg[arg], n), f->i64, "");
}

/* -- keys ------------------------------------------------------------------------------------------------ */

static LLVMValueRef word(EmitForest *f, int32_t v)
{
	return LLVMConstInt(f->i32, (unsigned long long)(int64_t)v, 1);
}

static LLVMValueRef field(EmitForest *f, LLVMValueRef column, int which)
{
	Emit *e = f->e;
	LLVMValueRef n = LLVMBuildAdd(e->b, LLVMBuildMul(e->b, column, emit_index(e, FOREST_FIELDS), ""),
				      emit_index(e, which), "");

	return forest_load(f, f->i32, e->arg[f->f->column_arg], n);
}

/* forest_key() of codegen/forest.h */
static LLVMValueRef ordered(EmitForest *f, LLVMValueRef bits)
{
	LLVMBuilderRef b = f->e->b;
	LLVMValueRef sign = LLVMBuildAShr(b, bits, word(f, 31), "");
	LLVMValueRef key = LLVMBuildXor(b, bits, LLVMBuildAnd(b, sign, word(f, INT32_MAX), ""), "");

	return emit_select(f->e, LLVMBuildICmp(b, LLVMIntEQ, bits, word(f, INT32_MIN), ""), word(f, 0), key);
}

static LLVMValueRef is_nan(EmitForest *f, LLVMValueRef bits)
{
	LLVMValueRef size = LLVMBuildAnd(f->e->b, bits, word(f, INT32_MAX), "");

	return LLVMBuildICmp(f->e->b, LLVMIntSGT, size, word(f, 0x7f800000), "");
}

/* LEFT where the key (in the alloca `slot`) is one of set[first..last), else RIGHT. */
static void membership(EmitForest *f, LLVMValueRef slot, LLVMValueRef first, LLVMValueRef last)
{
	Emit *e = f->e;
	LLVMValueRef key = LLVMBuildLoad2(e->b, f->i32, slot, ""), one, hit;
	EmitLoop l;

	LLVMBuildStore(e->b, word(f, FOREST_RIGHT), slot);
	one = emit_for(e, &l, LLVMBuildSExt(e->b, first, f->i64, ""), LLVMBuildSExt(e->b, last, f->i64, ""),
		       emit_index(e, 1), "set");
	hit = LLVMBuildICmp(e->b, LLVMIntEQ, key, forest_load(f, f->i32, e->arg[f->f->set_arg], one), "");
	hit = emit_select(e, hit, word(f, FOREST_LEFT), LLVMBuildLoad2(e->b, f->i32, slot, ""));
	LLVMBuildStore(e->b, hit, slot);
	emit_end(e, &l);
}

/* One column of one row; offset: of its first feature, in elements. */
static void fill_key(EmitForest *f, LLVMValueRef x, LLVMValueRef offset, LLVMValueRef column, int way,
		     LLVMValueRef slot)
{
	Emit *e = f->e;
	LLVMBasicBlockRef sets = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "sets");
	LLVMBasicBlockRef plain = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "plain");
	LLVMValueRef first = field(f, column, FOREST_FIRST), bits, key, at;

	at = LLVMBuildSExt(e->b, field(f, column, FOREST_FEATURE), f->i64, "");
	bits = forest_load(f, f->i32, x, LLVMBuildAdd(e->b, offset, at, ""));
	LLVMBuildStore(e->b, ordered(f, bits), slot);
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSGE, first, word(f, 0), ""), sets, plain);
	LLVMPositionBuilderAtEnd(e->b, sets);
	membership(f, slot, first, field(f, column, FOREST_LAST));
	LLVMBuildBr(e->b, plain);
	LLVMPositionBuilderAtEnd(e->b, plain);
	key = LLVMBuildLoad2(e->b, f->i32, slot, "");
	key = emit_select(e, is_nan(f, bits), field(f, column, FOREST_NAN), key);
	at = LLVMBuildAdd(e->b, column, emit_index(e, way * f->f->columns), "");
	forest_store(f, f->i32, f->keys, at, key);
}

void forest_fill(EmitForest *f, LLVMValueRef x, LLVMValueRef last)
{
	Emit *e = f->e;
	LLVMValueRef slot = emit_alloca(e, f->i32, "key"), offset[FOREST_MAX_WAYS], column;
	EmitLoop l;

	for (int w = 0; w < f->ways; w++) {
		LLVMValueRef row = emit_index(e, w);

		row = emit_select(e, LLVMBuildICmp(e->b, LLVMIntSGT, row, last, ""), last, row);
		offset[w] = LLVMBuildMul(e->b, row, emit_index(e, f->f->features), "");
	}
	column = emit_for(e, &l, emit_index(e, 0), emit_index(e, f->f->leaf_columns), emit_index(e, 1), "leaf");
	for (int w = 0; w < f->ways; w++)
		forest_store(f, f->i32, f->keys, LLVMBuildAdd(e->b, column, emit_index(e, w * f->f->columns), ""),
			     word(f, FOREST_LEFT));
	emit_end(e, &l);
	column = emit_for(e, &l, emit_index(e, f->f->leaf_columns), emit_index(e, f->f->columns), emit_index(e, 1), "column");
	for (int w = 0; w < f->ways; w++)
		fill_key(f, x, offset[w], column, w, slot);
	emit_end(e, &l);
}
