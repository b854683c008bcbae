/* codegen/program.h -- what one run does: steps, their arguments, and where every buffer lies.
 *
 * Built from a grouped graph; consumed by the compiler (machine code) and by the interpreter.
 * Views (reshape, a member of a concat, a contiguous slice) share the buffer of another value and
 * cost no step.  A graph is a program; so is each body of its `if` and `loop` nodes. */
#ifndef MLO_CODEGEN_PROGRAM_H
#define MLO_CODEGEN_PROGRAM_H
#include "codegen/compile.h"
#include "codegen/lower.h"
#include "codegen/slots.h"

/* PLANNED: the size is known before the first step, a place in the growing arena; OWN: known only when
 * the value is made, a block of its own. */
typedef enum BufferKind { BUF_ARENA, BUF_WEIGHT, BUF_INPUT, BUF_OUTPUT, BUF_PLANNED, BUF_OWN } BufferKind;

typedef struct Buffer {
	BufferKind kind;
	uint32_t index;          /* INPUT, OUTPUT: which one; WEIGHT: in Plan.weight; PLANNED, OWN: number among those */
	int64_t bytes;           /* where bytes_slot is -1 */
	int bytes_slot, offset_slot;
	int first, last;         /* steps between which the content lives */
	int64_t offset;          /* ARENA: planned place */
} Buffer;

/* What an argument points to. bytes_slot, where not -1, is the slot of its size instead of `bytes`. */
enum { STEP_SCRATCH = -1, STEP_SIZES = -2 /* slots from `slot` on */ };
typedef struct StepArg {
	int buffer;
	int64_t offset, bytes;
	int bytes_slot, slot;
	bool reserve;            /* the step begins the buffer's life (OWN) */
} StepArg;

typedef struct Program Program;

/* One step. KERNEL: kernel, unique, arg, tasks_slot. Others: refs are values, operands and then results. */
typedef struct Step {
	enum MlrtStepKind kind;
	const MloKernel *kernel; /* the first of its kind: equal kernels are one */
	int unique;              /* its number in Plan.unique */
	StepArg *arg;            /* kernel->arg.n entries */
	int tasks_slot;          /* -1: kernel->ntasks */
	size_t late_end;         /* expressions Slots.late[.., late_end) are done when it runs */
	uint32_t *ref;
	uint32_t nref, nresults;
	enum MlrtObjectOp object;
	Program *sub[2];
	int64_t imm[2];
	bool beside;             /* may run at the same time as the step before it, and those that that one runs beside */
	MloStepInfo info;
} Step;

/* A value that the runtime deals with itself. */
typedef struct RunValue {
	enum MlrtValueKind kind;
	MloElem elem, key;
	int rank, first_dim;     /* tensors */
	StepArg arg;
	int own;                 /* results: the OWN buffer, or -1 */
	int object;
} RunValue;

typedef struct Plan Plan;
struct Program {
	const MloGraph *graph;
	uint32_t number;
	struct { Buffer *items; size_t n, cap; } buffer;
	struct { Step *items; size_t n, cap; } step;
	struct { RunValue *items; size_t n, cap; } value;
	uint32_t *input, *output; /* values, in the order of the graph's */
	Slots slots;
	uint32_t nbuffers, nobjects; /* PLANNED and OWN ones */
	int64_t arena_bytes;
	int arena_slot;          /* bytes of the PLANNED buffers' arena, or -1 */
};

typedef struct Weight {
	const MloTensor *data;
	uint64_t hash;           /* of type and bytes */
	int64_t bytes, offset;
	uint32_t strings;        /* number among the constants of strings */
	bool whole;              /* some step reads more than what it looks up by data */
} Weight;

/* Everything that one variant runs. */
struct Plan {
	MloArena *arena;
	const MloTarget *target;
	MloDiag *diag;
	struct { Program **items; size_t n, cap; } program; /* main first, bodies behind whoever names them */
	struct { const MloKernel **items; size_t n, cap; } unique;
	struct { uint64_t *items; size_t n, cap; } key;     /* of unique[] */
	const MloLaunch *launch; /* of a GPU: of unique[], once they are emitted */
	struct { Weight *items; size_t n, cap; } weight;
	uint32_t nstrings;
	int64_t weight_bytes, scratch_bytes;
	bool pooled;             /* weights lie in opt->pool */
	int64_t lookup_bytes;    /* at the end of the weights: tables that steps only look up in */
	const MloCodegenOptions *opt;
	bool flat;               /* all sizes known, tensors of numbers, nothing branches: one program */
};

MloStatus plan_build(Plan *p, MloArena *a, const MloGraph *g, const MloTarget *t, const MloCodegenOptions *opt,
                     MloDiag *d) MLO_CHECKED;

/* A group of nodes by the first tier, of `from` and those behind it, that takes it; MLO_ERR_UNSUPPORTED: none does, and *tier is of no
 * meaning. */
MloStatus program_lower(MloLowerCx *cx, MloTier from, MloNode *first, MloNode *last, MloLowered *low, MloTier *tier) MLO_CHECKED;

/* program_sets.c: finds steps of a flat program that may run side by side, and plans its memory. */
void program_find_sets(Plan *plan, Program *p);
double program_step_ns(const MloTarget *t, const Step *s); /* of one thread, an estimate */
/* Shorter than about a few forks and joins of threads: it is not split. */
bool program_step_whole(const MloTarget *t, const Step *s);
bool program_step_writes(const Step *s, size_t arg);

/* memplan.c: places of buffers, and the sizes of what holds them. */
void program_plan_memory(Plan *plan, Program *p);
void plan_weights(Plan *p);

/* pool.c: places of weights among those of other variants; false: too few of them are there. */
bool plan_pool(Plan *p);

/* program_write.c: the PROGRAM blob from the plan and the kernels' places in the code, and the weights blob. */
MloStatus plan_write(const Plan *p, const uint64_t *code, MloBytes *out, MloDiag *d) MLO_CHECKED;
const MloPiece *plan_weight_pieces(const Plan *p, size_t *n);
MlrtArg plan_flat_arg(const Plan *p, const Program *g, const StepArg *sa); /* where an argument of a flat program lies */

/* program_object.c: all of a flat program as one object with one function (MloCodegenOptions.function). */
MloStatus plan_object(const Plan *p, MloVariant *out, MloDiag *d) MLO_CHECKED;

/* views.c: which values live inside another value's buffer. parent NULL: a buffer of its own. */
typedef struct View { MloValue *parent; int64_t offset; } View;
View *views_find(MloArena *a, const MloGraph *g); /* indexed by value id */
/* Operand i of concat n is computed where it belongs; of one that comes several times, only the first. */
bool view_operand_in_place(const View *views, const MloNode *n, uint32_t i);
/* Whether a node is nothing but views of its operands, and if not all of them, which are (concat). */
bool view_node_free(const View *views, const MloNode *n);
#endif
