/* prune/backward.h -- derivatives of a sum over values of a graph, by the values before them, as nodes of the same graph.
 *
 * Reverse accumulation over the operators that convolutional networks are made of: convolutions, products with constant matrices,
 * additions, Relu and Clip, global average pooling, reshapes; quantization counts as the identity.  Others stop it. */
#ifndef MLO_PRUNE_BACKWARD_H
#define MLO_PRUNE_BACKWARD_H
#include "ir/graph.h"

typedef struct MloBackward {
	MloGraph *g;
	MloValue **by;  /* by value id: the derivative by that value; NULL: none is known */
	uint32_t n;
	MloArena *a;
	MloDiag *d;
	MloNode *last;  /* of the graph before nodes were added */
} MloBackward;

MloBackward mlo_backward_new(MloArena *a, MloGraph *g, MloDiag *d);
/* The sum has a term of which `dv`, of v's shape, is the derivative by v. */
void mlo_backward_add(MloBackward *b, const MloValue *v, MloValue *dv);
/* All derivatives that follow; shapes must be numbers. */
MloStatus mlo_backward_run(MloBackward *b) MLO_CHECKED;
#endif
