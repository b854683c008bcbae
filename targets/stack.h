/* targets/stack.h -- how deep the stack gets below a function, by the frames that LLVM lays out. */
#ifndef MLO_TARGETS_STACK_H
#define MLO_TARGETS_STACK_H
#include <llvm-c/Types.h>

#include "targets/target.h"

typedef struct MloFrame {
	char *name;              /* of the function */
	uint64_t bytes;
} MloFrame;
typedef struct MloStack {
	MloFrame *frame;
	size_t n, cap;
	bool failed;             /* out of memory */
} MloStack;

/* Frames of m's functions, which are all there by now, are noted in *s (zeroed) as m becomes code: LLVM tells
 * each frame's size, what the function saves included.  Replaces the context's diagnostic handler. */
void mlo_stack_watch(LLVMModuleRef m, MloStack *s);
/* Once m has become code: the deepest stack below the entry of `function`, with its own frame, all calls and what
 * alignment may leave free.  Calls must not be recursive. */
uint64_t mlo_stack_depth(const MloTarget *t, LLVMModuleRef m, const char *function, const MloStack *s);
void mlo_stack_free(MloStack *s);
#endif
