/* tools/compile.h -- the compiler as a whole: model file to graph, graph to package. */
#ifndef MLO_TOOLS_COMPILE_H
#define MLO_TOOLS_COMPILE_H
#include "ir/graph.h"
#include "mlopt/mlopt.h"

/* Imports a model; the graph as written, types inferred, dimensions still symbolic. */
MloStatus mlo_load_model(const char *path, MloGraph **out, MloDiag *d) MLO_CHECKED;

/* Gives every dimension of the inputs a size: from "INPUT=1x3x224x224" and "SYMBOL=8" texts, 1 for
 * what is left, with a warning (`quiet`: without). Types are inferred again. */
MloStatus mlo_bind_shapes(MloGraph *g, const char *const *shapes, size_t nshapes, bool quiet, MloDiag *d) MLO_CHECKED;

/* A package in memory (malloc'ed) from a graph that is left as it is. All of opt but shapes. */
MloStatus mlo_compile_graph(const MloGraph *g, const MloptOptions *opt, void **bytes, size_t *n,
                            MloptReport *report, MloDiag *d) MLO_CHECKED;

/* Multiply-adds of one run of a graph with static shapes, and of one node. */
double mlo_graph_macs(const MloGraph *g);
double mlo_node_macs(const MloNode *n);
/* Elements of all constants that nodes use. */
int64_t mlo_graph_params(const MloGraph *g);

/* Where objects are kept by default: $XDG_CACHE_HOME/mlopt or ~/.cache/mlopt, or NULL; owned by `a`. */
const char *mlo_default_cache(MloArena *a);
#endif
