/* codegen/emit_forest.h -- what the two halves of the emitter of forests share. */
#ifndef MLO_CODEGEN_EMIT_FOREST_H
#define MLO_CODEGEN_EMIT_FOREST_H
#include "codegen/emit_internal.h"
#include "codegen/forest.h"

enum { FOREST_MAX_WAYS = 8 };

typedef struct EmitForest {
	Emit *e;
	const KForest *f;
	LLVMTypeRef i32, i64, f32;
	int ways;             /* of the walk at hand */
	LLVMValueRef keys;    /* of the group (or the row alone): row by row, a key per column */
	LLVMValueRef idx[FOREST_MAX_WAYS]; /* allocas (i64): the node that each walk stands at */
} EmitForest;

/* p + n elements */
LLVMValueRef forest_at(EmitForest *f, LLVMTypeRef type, LLVMValueRef p, LLVMValueRef n);
LLVMValueRef forest_load(EmitForest *f, LLVMTypeRef type, LLVMValueRef p, LLVMValueRef n);
void forest_store(EmitForest *f, LLVMTypeRef type, LLVMValueRef p, LLVMValueRef n, LLVMValueRef v);
/* The element of i32 table `arg` at n, as i64. */
LLVMValueRef forest_index(EmitForest *f, int arg, LLVMValueRef n);

/* emit_forest_keys.c: fills f->keys from rows whose first is x (pointer); `last` (i64) is the last row that
 * is there, later ones repeat it. */
void forest_fill(EmitForest *f, LLVMValueRef x, LLVMValueRef last);
#endif
