/* codegen/program.h -- the calls of one run: kernels, their arguments, and where every buffer lies.
 *
 * Built from a grouped graph; consumed by the compiler (machine code) and by the interpreter.
 * Views (reshape, a member of a concat, a contiguous slice) share the buffer of another value and
 * cost no call. */
#ifndef MLO_CODEGEN_PROGRAM_H
#define MLO_CODEGEN_PROGRAM_H
#include "codegen/compile.h"
#include "codegen/lower.h"

typedef enum BufferKind { BUF_ARENA, BUF_WEIGHT, BUF_INPUT, BUF_OUTPUT } BufferKind;

typedef struct Buffer {
	BufferKind kind;
	uint32_t index;          /* INPUT, OUTPUT: which one */
	int64_t bytes;
	const MloTensor *data;   /* WEIGHT */
	uint64_t hash;           /* WEIGHT: of the data */
	int first, last;         /* ARENA: steps between which the content lives */
	int64_t offset;          /* ARENA, WEIGHT: planned place */
} Buffer;

typedef struct StepArg { int buffer; int64_t offset, bytes; } StepArg; /* buffer -1: scratch */

typedef struct Step {
	const MloKernel *kernel; /* the first of its kind: equal kernels are one */
	int unique;              /* its number in Program.unique */
	StepArg *arg;            /* kernel->arg.n entries */
	MloStepInfo info;
} Step;

typedef struct Program {
	MloArena *arena;
	const MloGraph *graph;
	const MloTarget *target;
	struct { Buffer *items; size_t n, cap; } buffer;
	struct { Step *items; size_t n, cap; } step;
	struct { const MloKernel **items; size_t n, cap; } unique;
	int64_t arena_bytes, weight_bytes, scratch_bytes;
	MloDiag *diag;
} Program;

MloStatus program_build(Program *p, MloArena *a, const MloGraph *g, const MloTarget *t, MloDiag *d) MLO_CHECKED;
void program_plan_memory(Program *p); /* memplan.c: fills the offsets and the totals */

/* views.c: which values live inside another value's buffer. parent NULL: a buffer of its own. */
typedef struct View { MloValue *parent; int64_t offset; } View;
View *views_find(MloArena *a, const MloGraph *g); /* indexed by value id */
/* Operand i of concat n is computed where it belongs; of one that comes several times, only the first. */
bool view_operand_in_place(const View *views, const MloNode *n, uint32_t i);
/* Whether a node is nothing but views of its operands, and if not all of them, which are (concat). */
bool view_node_free(const View *views, const MloNode *n);
#endif
