/* tests/unit/random_graph.h -- small random graphs that hold what exporters write. */
#ifndef MLO_TESTS_RANDOM_GRAPH_H
#define MLO_TESTS_RANDOM_GRAPH_H
#include "ir/graph.h"

/* A graph of about `size` patterns (convolutions with batch norm, written-out activations and
 * normalisations, shape arithmetic, movement) over one input x : f32[1,c,h,w]; several outputs.
 * The same seed gives the same graph. */
MloGraph *random_graph(uint64_t seed, int size);
/* Values in -1..1, in the arena of the graph. */
MloTensor *random_tensor(MloArena *a, uint64_t seed, const MloType *t);
#endif
