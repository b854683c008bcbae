/* tools/c_header.h -- the C header of a model that was compiled to one function. */
#ifndef MLO_TOOLS_C_HEADER_H
#define MLO_TOOLS_C_HEADER_H
#include "ir/graph.h"

typedef struct CHeader {
	const char *prefix;      /* of all names, a C identifier: the function is PREFIX_run */
	const char *target, *tool; /* for a comment: the machine, and what made it */
	const MloGraph *typed;   /* inputs and outputs, static tensors of numbers */
	uint64_t arena_bytes, scratch_bytes; /* activations, and behind them what kernels work in */
	uint64_t stack_bytes, code_bytes, constant_bytes, weight_bytes;
} CHeader;

/* The whole text, owned by `a`; the same for the same input. */
const char *c_header_text(MloArena *a, const CHeader *h);
/* `name` as a C identifier: other characters become '_', and one is put in front of a digit. */
const char *c_identifier(MloArena *a, const char *name);
#endif
