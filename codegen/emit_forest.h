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
	int lanes;            /* of the vectors of the walk at hand: 0 for scalars */
	int ways;
	int shift;            /* rows per column of keys, as a power of two */
	LLVMValueRef keys;    /* where the keys of the group (or the row alone) begin */
	LLVMValueRef idx[FOREST_MAX_WAYS]; /* allocas: the node that each lane stands at */
} EmitForest;

/* p + n elements */
LLVMValueRef forest_at(EmitForest *f, LLVMTypeRef type, LLVMValueRef p, LLVMValueRef n);
LLVMValueRef forest_load(EmitForest *f, LLVMTypeRef type, LLVMValueRef p, LLVMValueRef n);
void forest_store(EmitForest *f, LLVMTypeRef type, LLVMValueRef p, LLVMValueRef n, LLVMValueRef v);
/* Elements of `type` at p + index (i32, per lane) steps of `step`. */
LLVMValueRef forest_gather(EmitForest *f, LLVMTypeRef type, LLVMTypeRef step, LLVMValueRef p,
			   LLVMValueRef index);
LLVMValueRef forest_const(EmitForest *f, int64_t v);           /* i32, splat over the lanes at hand */
LLVMValueRef forest_iota(EmitForest *f, int way);               /* number of each lane in its group */

/* emit_forest_keys.c: fills f->keys from rows whose first is x (pointer); `last` (i64) is the last row that
 * is there, later lanes repeat it. */
void forest_fill(EmitForest *f, LLVMValueRef x, LLVMValueRef last);
#endif
