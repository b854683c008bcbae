/* tools/inspect.h -- the reports that `mlopt inspect` prints. */
#ifndef MLO_TOOLS_INSPECT_H
#define MLO_TOOLS_INSPECT_H
#include <jansson.h>

#include "ir/graph.h"

MloStatus inspect_graph(const MloGraph *g, bool json, MloDiag *d) MLO_CHECKED;
MloStatus inspect_node(const MloGraph *g, const char *name, MloDiag *d) MLO_CHECKED;
/* `variant` NULL: the first one that runs here, else the first; `node` not NULL: only steps that compute it.
 */
MloStatus inspect_package(json_t *manifest, size_t file_bytes, const char *variant, const char *node,
			  bool json, MloDiag *d) MLO_CHECKED;
#endif
