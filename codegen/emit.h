/* codegen/emit.h -- Kernel IR to LLVM IR.
 *
 * A kernel becomes one function  void SYMBOL(void *const *args, int64_t begin, int64_t end, void *scratch)
 * (begin and end as wide as a pointer) that runs tasks [begin, end).  args[] has one pointer per kernel argument
 * (those of KA_SCRATCH are
 * ignored: their memory is carved out of `scratch`, 64-byte aligned, in argument order). */
#ifndef MLO_CODEGEN_EMIT_H
#define MLO_CODEGEN_EMIT_H
#include <llvm-c/Core.h>

#include "codegen/kernel.h"
#include "targets/target.h"

/* State while one kernel is emitted.  In a vector context (lanes > 0) the variable vec_var runs over
 * vec_base .. vec_base+lanes-1, one per lane; values that depend on it are LLVM vectors. */
typedef struct Emit {
	LLVMContextRef ctx;
	LLVMModuleRef mod;
	LLVMBuilderRef b;
	const MloTarget *t;
	const MloKernel *k;
	LLVMTypeRef index;      /* of numbers of elements, tasks, rounds: as wide as a pointer */
	LLVMValueRef fn, begin, end, scratch;
	LLVMValueRef *arg;      /* per argument: pointer */
	LLVMValueRef *size;     /* per size: scalar index */
	LLVMValueRef *var;      /* per variable: current scalar index (vec_var: vec_base) */
	LLVMValueRef *val;      /* per value: scalar, or vector of `lanes` */
	LLVMValueRef *acc;      /* per accumulator: alloca */
	int *acc_lanes;         /* per accumulator: 0 scalar, else lanes of the vector it holds */
	LLVMValueRef product;   /* K_product, inside an epilogue */
	int lanes, vec_var;     /* vector context, or 0 and -1 */
	LLVMValueRef mask;      /* lanes x i1: which lanes are real; NULL: all */
	bool vec_aligned;       /* vec_base is a multiple of lanes */
	bool vec_whole;         /* what lanes have beside each other lies at a multiple of all of its bytes */
	struct Team *team;      /* device code: the threads that share a task (codegen/device_internal.h); else NULL */
	MloArena *arena;        /* for as long as the kernel is emitted */
	MloDiag *diag;
} Emit;

/* Builds the whole function into module m. `m` was prepared for t (mlo_object_prepare). */
MloStatus mlo_emit_kernel(LLVMModuleRef m, const MloTarget *t, const MloKernel *k, const char *symbol,
                          MloDiag *d) MLO_CHECKED;
/* The same with each pointer of args[] a parameter, those of KA_SCRATCH left out:
 * void SYMBOL(void *arg0, ..., int64_t begin, int64_t end, void *scratch), mlo_emit_pointers() of them in front. */
MloStatus mlo_emit_direct(LLVMModuleRef m, const MloTarget *t, const MloKernel *k, const char *symbol,
                          MloDiag *d) MLO_CHECKED;
unsigned mlo_emit_pointers(const MloKernel *k);

/* Pieces shared by the emitters (codegen/emit_*.c). */
void emit_stmt(Emit *e, const KStmt *s);
void emit_stmts(Emit *e, const KStmt *first);          /* a body in the current context */
void emit_contract(Emit *e, const KStmt *s);           /* emit_contract.c; runs tasks begin..end itself */
void emit_contract_inside(Emit *e, const KStmt *s);    /* all of one that stands in loops */
LLVMValueRef emit_idx(Emit *e, const KIdx *x);         /* scalar i64: value at lane 0 in a vector context */
LLVMValueRef emit_vecmath(Emit *e, KOp op, LLVMValueRef x); /* exp, tanh, ...: scalar or any vector of f32/f64 */

/* A counted loop: for (i = lo; i < hi; i += step). emit_for leaves the builder inside the body and
 * answers i; emit_end closes it. */
typedef struct EmitLoop { LLVMBasicBlockRef head, exit; LLVMValueRef phi; LLVMValueRef step; } EmitLoop;
LLVMValueRef emit_for(Emit *e, EmitLoop *l, LLVMValueRef lo, LLVMValueRef hi, LLVMValueRef step, const char *name);
void emit_end(Emit *e, EmitLoop *l);
LLVMValueRef emit_index(Emit *e, int64_t v);             /* of the type Emit.index */
LLVMTypeRef emit_type(Emit *e, MloElem elem);          /* scalar; bool is i1 as a value, i8 in memory */
/* Do all threads of a GPU's grid make the results of that call together?  Then each of them runs its one task. */
bool emit_call_shares(const MloTarget *t, const KCall *c);
#endif
