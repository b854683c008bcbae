/* tools/golden.h -- golden vectors of a package (compile --golden): inputs, and what the reference executor makes of them. */
#ifndef MLO_TOOLS_GOLDEN_H
#define MLO_TOOLS_GOLDEN_H
#include "tools/compile.h"

typedef struct GoldenOptions {
	const char *what;          /* "random[:N]", "calib[:N]", or data as of tools/calib.h */
	const char *calib, *recipe; /* data of "calib"; how data becomes inputs (tools/preprocess.h); may be NULL */
} GoldenOptions;
enum { GOLDEN_DATA = 4, GOLDEN_MOST = 64 }; /* vectors taken from data, and at most */

/* Checks `what` without reading data. */
MloStatus golden_check(const GoldenOptions *o, MloDiag *d) MLO_CHECKED;
/* A GOLDEN blob (runtime/format.h) for graph g, in `a`: MloCompileHooks.golden, of which `options` is the user.
 * Dimensions that are open have the least size that they may have.  The same graph and inputs: the same bytes on every machine. */
MloStatus golden_make(void *options, MloArena *a, const MloGraph *g, MloElem precision, MloPiece *out, MloDiag *d) MLO_CHECKED;
#endif
