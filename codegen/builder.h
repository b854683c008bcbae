/* codegen/builder.h -- what the files that build a program share. */
#ifndef MLO_CODEGEN_BUILDER_H
#define MLO_CODEGEN_BUILDER_H
#include "codegen/program.h"

typedef struct Builder {
	Plan *plan;
	Program *p;
	MloLowerCx cx;
	View *view;
	int *buffer_of;  /* per value id: buffer of a root value, or -1 */
	int *dims_of;    /* its first slot of sizes, or -1 */
	int *chars_of;   /* strings: the slot of the bytes of its characters, or -1: none of its own */
	int *value_of;   /* its RunValue, or -1 */
} Builder;

/* program.c */
MloStatus program_new(Plan *plan, const MloGraph *g, Program **out) MLO_CHECKED;
MloStatus builder_buffer_of(Builder *b, MloValue *root, int *out) MLO_CHECKED;
/* Where v lies, for a step that reads it or makes it. */
MloStatus builder_arg(Builder *b, MloValue *v, int step, bool result, StepArg *out) MLO_CHECKED;
MloValue *builder_root(Builder *b, MloValue *v, int64_t *offset);
void builder_touch(Builder *b, int buffer, int step); /* its content is needed at that step */
/* result: the slots that a size kernel writes, or -1. */
MloStatus builder_kernel_step(Builder *b, const MloLowered *low, int result, MloStepInfo info) MLO_CHECKED;
const MloOrigin *builder_origin(Builder *b, const MloNode *first, const MloNode *last);
const char *builder_type_text(Builder *b, const MloValue *v);

/* program_sizes.c */
MloStatus sizes_of_inputs(Builder *b) MLO_CHECKED;
/* Slots of v's sizes, adjacent: an error when one is not known. */
MloStatus sizes_of(Builder *b, MloValue *v, int *first) MLO_CHECKED;
/* Bytes of v's buffer: a number, or (its slot is answered) known when the program runs. */
MloStatus sizes_bytes(Builder *b, MloValue *v, int64_t *bytes, int *slot) MLO_CHECKED;
/* Slots of what the sizes of a kernel stand for, adjacent. */
MloStatus sizes_of_kernel(Builder *b, const MloLowered *low, int *first) MLO_CHECKED;
/* Before a kernel of n runs: sizes of its results that nothing before it tells. */
MloStatus sizes_of_results(Builder *b, MloNode *n) MLO_CHECKED;
/* Sizes of n's operands that nobody has proved to go together are checked before its kernel runs. */
void sizes_that_must_meet(Builder *b, const MloNode *n);
/* While a step is to come: sizes of those results of n that the program puts out. */
MloStatus sizes_of_outputs(Builder *b, const MloNode *n) MLO_CHECKED;
/* Slots [first, first + rank) have been set to v's sizes: symbols are bound, what is known is checked. */
MloStatus sizes_bind(Builder *b, MloValue *v, int first) MLO_CHECKED;

/* program_control.c */
bool control_is(const MloNode *n);                /* a step of the runtime's, not a kernel */
MloStatus control_step(Builder *b, MloNode *n) MLO_CHECKED;
/* The values that are the program's inputs (the first ones of all) and outputs. */
MloStatus control_inputs(Builder *b) MLO_CHECKED;
MloStatus control_outputs(Builder *b) MLO_CHECKED;
#endif
