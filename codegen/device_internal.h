/* codegen/device_internal.h -- what the files that emit device code share.
 *
 * Statements are emitted as scalar code of one thread by the emitter of CPUs (codegen/emit.c) where nothing else is said:
 * Emit.team says which threads run a task together.  All of them run what stands outside of vec loops, with the same
 * values; the rounds of vec loops are shared out, neighbouring ones to neighbouring threads, and so are the outputs of
 * contractions inside of loops. */
#ifndef MLO_CODEGEN_DEVICE_INTERNAL_H
#define MLO_CODEGEN_DEVICE_INTERNAL_H
#include "codegen/device.h"
#include "codegen/emit_internal.h"

enum { DEVICE_WARP = 32 };

typedef struct Team {
	int size;             /* threads: a power of two; beyond a warp, all of a block */
	int threads;          /* of a block */
	LLVMValueRef thread;  /* of its block; these are of the type Emit.index */
	LLVMValueRef lane;    /* of its team */
	LLVMValueRef number;  /* of the team in its block */
	LLVMValueRef members; /* i32, a bit for each thread of its warp that is of the team; beyond a warp all */
	bool rare;            /* code that is hardly ever run: loops are not unrolled, so that it takes no registers from the rest */
	bool alone;           /* in a share of a vec loop: each thread has values of its own */
	const bool *shared;   /* per argument: threads read what others write */
	LLVMValueRef parts;   /* shared memory for what warps have reduced, or NULL */
} Team;

/* device_frame.c.  Starts the function of a kernel with what each has: arguments, sizes; the builder stands in its
 * body.  e: filled but for what device_begin() adds.  End: the return, and facts for the assembler. */
typedef struct DeviceFrame {
	Emit e;
	Team team;
	LLVMValueRef tasks; /* their number */
	LLVMBasicBlockRef entry, body;
} DeviceFrame;
void device_begin(DeviceFrame *f, LLVMModuleRef m, const MloKernel *k, const MloTarget *t, const char *symbol);
void device_end(DeviceFrame *f, const MloLaunch *launch);
/* Teams of `size` threads in blocks of `threads`. */
void device_team(DeviceFrame *f, int size, int threads);
/* Places of KA_SCRATCH arguments: `teams` times their bytes for each block, in shared memory where they are few. */
void device_scratch(DeviceFrame *f, int teams, MloLaunch *launch);
LLVMValueRef device_special(Emit *e, const char *name); /* a special register, as an index: "ctaid.x" */
LLVMValueRef device_dynamic_shared(Emit *e);            /* where the block's dynamic shared memory begins: ptr addrspace(3) */
/* As emit_end(), of a loop that has enough in a row: nobody unrolls it, nor does ptxas, which would spill registers for it. */
void device_end_long(Emit *e, EmitLoop *l);
void device_end_unrolled(Emit *e, EmitLoop *l, unsigned times); /* the same, but that so many turns become one */
LLVMValueRef device_static_shared(Emit *e, LLVMTypeRef t, const char *name);
/* Is all that k computes with indices within 32 bits? */
bool device_index_fits(const MloKernel *k);

/* device_team.c */
void device_block_barrier(Emit *e);
void device_barrier(Emit *e);                           /* of the team: what its threads have written is seen by all of them */
LLVMValueRef device_reduce(Emit *e, KOp op, MloElem type, LLVMValueRef v); /* of all threads' v, in each of them */
LLVMValueRef device_shuffle(Emit *e, LLVMValueRef v, int flip); /* v of the thread whose number differs in bits `flip` */

/* device_instruction.c */
/* v, an index or a pointer, as a value of which LLVM knows nothing: what is computed of it stays behind this place and has no other form. */
LLVMValueRef device_opaque(Emit *e, LLVMValueRef v);
/* f32 as the bits of f16 or bf16, rounded to nearest, halves to even: two by an instruction, from capability 8.0 on; NULL: there is none
 * that is better than what LLVM makes. */
LLVMValueRef device_halves(Emit *e, LLVMValueRef v, MloElem elem);
/* What is before this place is issued before what is behind it: ptxas moves nothing across an event of the performance monitor, which
 * is nothing to anybody else.  (Across barriers it moves what does not touch memory.) */
void device_settle(Emit *e);
/* cp.async of 16 bytes (PTX ISA), of which only the first `bytes` are read, NULL: all, and the rest becomes zeros.  to, from: and so many
 * bytes behind. */
void device_copy_piece(Emit *e, LLVMValueRef to, int64_t to_behind, LLVMValueRef from, int64_t from_behind, LLVMValueRef bytes);
/* Text of PTX that all threads of a warp run; operands by the letters of their registers, "r,l" (NULL: none); there is no result.  Memory is as
 * it says when it begins, and anew when it ends. */
void device_code(Emit *e, const char *text, const char *registers, LLVMValueRef *arg, unsigned n);
/* An intrinsic that adds a product of matrices to sums, of which, and of the operands, a thread has so many. */
void device_product(Emit *e, const char *name, LLVMValueRef *a, int na, LLVMValueRef *b, int nb, LLVMValueRef *sum, int ns);

/* if (cond) { ... } */
typedef struct DeviceIf { LLVMBasicBlockRef join; } DeviceIf;
void device_if(Emit *e, DeviceIf *i, LLVMValueRef cond);
void device_endif(Emit *e, DeviceIf *i);

/* device_loops.c: emits s where threads share it out; false: it is as on a CPU. */
bool device_stmt(Emit *e, const KStmt *s);

/* device_direct.c: outputs number first, first + step, ... of a contraction, each by the thread at hand. */
bool device_direct_takes(const KContract *c);
void device_direct(Emit *e, const KStmt *s, LLVMValueRef first, LLVMValueRef step);
/* device_mma_sparse.c: of packed weights without half of their terms (codegen/kept.h), that of term k of a stage and channel `lane` of its
 * tile, or zero. */
LLVMValueRef device_kept_weight(Emit *e, const KContract *c, LLVMValueRef stage, LLVMValueRef lane, LLVMValueRef k);
/* device_patch.c: where the weight of term k of a tap is for a channel, packed as a patch is read (codegen/patch.h). */
LLVMValueRef device_patch_weight(Emit *e, const KContract *c, LLVMValueRef channel, LLVMValueRef tap, LLVMValueRef k);
int64_t device_direct_outputs(const MloKernel *k, const KContract *c); /* plausible where it is open */
#endif
