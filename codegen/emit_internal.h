/* codegen/emit_internal.h -- what the files of the emitter share beyond emit.h. */
#ifndef MLO_CODEGEN_EMIT_INTERNAL_H
#define MLO_CODEGEN_EMIT_INTERNAL_H
#include "codegen/emit.h"

/* Capabilities of the target that its facts imply. */
/* An x86 feature by name ("fma"), which other machines have likewise or need not; some lack a few. */
bool emit_has(const Emit *e, const char *need);
bool emit_takes_memory(const Emit *e); /* does arithmetic take an operand from memory, wherever it lies?  (Intel SDM, VEX and EVEX) */
bool emit_has_masks(const Emit *e, unsigned bytes); /* masked loads and stores of elements this wide */

/* Lanes of a value or type: 0 for scalars. */
int emit_lanes(LLVMValueRef v);
LLVMTypeRef emit_vec(LLVMTypeRef scalar, int lanes); /* lanes 0: the scalar itself */
LLVMTypeRef emit_scalar_type(LLVMTypeRef t);
LLVMTypeRef emit_int_like(Emit *e, LLVMTypeRef t);   /* integers as wide as t's floats, same lanes */
LLVMValueRef emit_splat(Emit *e, LLVMValueRef v, int lanes);
LLVMValueRef emit_iota(Emit *e, LLVMTypeRef scalar, int lanes, int64_t step); /* 0, step, 2*step, ... */
LLVMValueRef emit_const_f(LLVMTypeRef t, double v);  /* splat when t is a vector */
LLVMValueRef emit_const_i(LLVMTypeRef t, int64_t v);

/* Call an intrinsic overloaded on the n types `over`. */
LLVMValueRef emit_intrinsic(Emit *e, const char *name, LLVMTypeRef *over, unsigned n, LLVMValueRef *args,
                            unsigned nargs);
LLVMValueRef emit_unary(Emit *e, const char *name, LLVMValueRef x); /* overloaded on x's type */
LLVMValueRef emit_select(Emit *e, LLVMValueRef c, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef emit_fma(Emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
LLVMValueRef emit_rint(Emit *e, LLVMValueRef x);
LLVMValueRef emit_floor(Emit *e, LLVMValueRef x);
LLVMValueRef emit_pow(Emit *e, LLVMValueRef x, LLVMValueRef y);
LLVMValueRef emit_fmod(Emit *e, LLVMValueRef x, LLVMValueRef y);
LLVMValueRef emit_minmax(Emit *e, MloElem type, bool max, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef emit_combine(Emit *e, KOp accop, MloElem type, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef emit_alloca(Emit *e, LLVMTypeRef t, const char *name); /* in the entry block */
LLVMValueRef emit_identity(Emit *e, KOp accop, MloElem type, int lanes); /* what combines with any value to that value */
LLVMTypeRef emit_mem_type(Emit *e, MloElem elem);    /* as stored: bool is i8, f16 and bf16 are i16 */

LLVMValueRef emit_from_memory(Emit *e, MloElem elem, LLVMValueRef v); /* such an element, or a vector of them, as a value */

/* An index in a vector context: base + stride * lane, or (vec != NULL) any index per lane. */
typedef struct LaneIdx {
	LLVMValueRef base;
	int64_t stride;
	LLVMValueRef vec; /* lanes x i32 or i64 */
} LaneIdx;
LaneIdx emit_lane_idx(Emit *e, const KIdx *x);
/* Only the stride; false where lanes form no progression, or it depends on data.  Emits nothing. */
/* Is x, at lane 0, a multiple of n for sure?  Emits nothing; of e, what says which lanes there are is enough, and the kernel. */
bool emit_idx_multiple(const Emit *e, const KIdx *x, int64_t n);
bool emit_idx_stride(const Emit *e, const KIdx *x, int64_t *stride);
LLVMValueRef emit_lane_vec(Emit *e, const KIdx *x);  /* always as a vector of i32 or i64 */

/* All guards: *uniform is an i1 or NULL (holds always), *mask a vector of i1 or NULL. */
void emit_guard(Emit *e, const KGuard *g, LLVMValueRef *uniform, LLVMValueRef *mask);

/* emit_registers.c.  An instruction of the target, as LLVM names its intrinsic, on vectors of whole registers, whatever their
 * element types: of results of type `sum`, from operands of type `narrow` (NULL: only those of the result's). */
LLVMValueRef emit_instruction(Emit *e, const char *name, LLVMTypeRef sum, LLVMTypeRef narrow, LLVMValueRef *args, unsigned n);
bool emit_scalable(const Emit *e);                   /* are registers SVE's? */
LLVMValueRef emit_broadcast(Emit *e, LLVMValueRef v, int lanes); /* what was loaded, in all lanes */
/* NEON multiplies by one lane of an operand; a load into all lanes would take a unit that multiplies, one of two lanes does not.
 * Lane `lane` of the two of 32 bits there, in all lanes. */
bool emit_takes_lanes(const Emit *e);
LLVMValueRef emit_load_lane(Emit *e, LLVMValueRef at, int lane, int lanes);
bool emit_converts_nan(const Emit *e);               /* to integer 0; minima and maxima keep it.  (Arm ARM, FCVTZS, FMAX.) */
/* a and b, 64 bits each, side by side in each 128 bits of a vector of i64; and such a pair from memory. */
LLVMValueRef emit_pair(Emit *e, LLVMValueRef a, LLVMValueRef b, int bytes);
LLVMValueRef emit_pair_load(Emit *e, LLVMValueRef at, int bytes);
/* f32 as the i32 that tensor cores take, lanes or one: rounded, to the nearest, halves away from zero. */
LLVMValueRef emit_tf32_bits(Emit *e, LLVMValueRef x);
/* Lanes of f32 as those of bf16, by the instruction that comes with products of these; NULL: there is none for so many. */
LLVMValueRef emit_bf16_bits(Emit *e, LLVMValueRef x);
/* Vectors side by side in one; v is changed. n: a power of two. */
LLVMValueRef emit_joined(Emit *e, LLVMValueRef *v, int n);

LLVMValueRef emit_value(Emit *e, const KInst *in);   /* emit_ops.c */
/* emit_quantize.c: value `value`, which is rounded, as integers of type `to`; a cast of such integers to f32; that less the
 * constant `zero`.  NULL: the values are not of this form. */
LLVMValueRef emit_cast_rounded(Emit *e, int value, MloElem to, int lanes);
LLVMValueRef emit_dequantized(Emit *e, int value, int lanes);
LLVMValueRef emit_centred(Emit *e, int value, int zero, int lanes);
LLVMValueRef emit_load(Emit *e, const KInst *in);
void emit_store(Emit *e, const KStmt *s);
void emit_loop(Emit *e, const KStmt *s);
bool emit_crossing(Emit *e, const KStmt *s);         /* emit_cross.c; false, and nothing emitted: s is no such loop */
/* r[0..n): of vectors of n lanes, lane k of r[i] becomes lane i of r[k].  bytes: of a lane. */
void emit_transpose(Emit *e, LLVMValueRef *r, int n, unsigned bytes);
/* The same within each piece of n lanes of wider vectors. */
void emit_transpose_pieces(Emit *e, LLVMValueRef *r, int n);
void emit_acc_init(Emit *e, const KStmt *s);
void emit_acc(Emit *e, const KStmt *s);
LLVMValueRef emit_accum(Emit *e, int acc);
void emit_tables(Emit *e);                           /* emit.c: the tables of values and the builder, in e->arena */
void emit_bind_sizes(Emit *e);                       /* loads the sizes of the run */
/* Task number to the variables of the n loops of the task space, the last one fastest. */
void emit_bind_task(Emit *e, LLVMValueRef task, const KStmt **par, int n);
void emit_forest(Emit *e, const KStmt *s);           /* emit_forest.c; runs tasks begin..end itself */
void emit_call(Emit *e, const KStmt *s);             /* emit_call.c */
void emit_winograd(Emit *e, const KStmt *s);         /* emit_winograd.c; runs tasks begin..end itself */
void emit_matrix(Emit *e, const KStmt *s);           /* emit_matrix.c; likewise */
void emit_sparse(Emit *e, const KStmt *s);           /* emit_sparse.c; likewise */
void emit_strips(Emit *e, const KStmt *s);           /* emit_strips.c; likewise */
#endif
