/* tools/inspect.h -- the reports that `mlopt inspect` prints. */
#ifndef MLO_TOOLS_INSPECT_H
#define MLO_TOOLS_INSPECT_H
#include <jansson.h>

#include "ir/graph.h"
#include "package/package.h"

MloStatus inspect_graph(const MloGraph *g, bool json, MloDiag *d) MLO_CHECKED;
MloStatus inspect_node(const MloGraph *g, const char *name, MloDiag *d) MLO_CHECKED;
/* `variant` NULL: the first one that runs here, else the first; `node` not NULL: only steps that compute it; `ptxas`: it is of a GPU, and registers are shown.
 */
MloStatus inspect_package(json_t *manifest, const MloPackageFile *file, const char *variant, const char *node,
			  bool json, bool ptxas, MloDiag *d) MLO_CHECKED;
/* The time that the device of a variant for GPUs needs at least for each step (targets/gpus.def) into "launch" of its steps. */
void inspect_bounds(json_t *variant);
/* Registers, spills and occupancy into "launch" of the variant's steps: `ptxas` assembles its PTX for that. */
MloStatus inspect_device(const MloPackageFile *file, json_t *variant, MloDiag *d) MLO_CHECKED;
#endif
