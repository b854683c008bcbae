/* tools/manifest.h -- the JSON manifest of a package (fields: runtime/format.h). */
#ifndef MLO_TOOLS_MANIFEST_H
#define MLO_TOOLS_MANIFEST_H
#include <jansson.h>

#include "codegen/compile.h"
#include "ir/graph.h"
#include "mlopt/mlopt.h"

typedef struct MloManifestVariant {
	const MloTarget *target;
	const MloVariant *made;
	const char *precision; /* of products */
	size_t code, weights, program; /* blob numbers */
	size_t launches, cubin; /* of a GPU; cubin: 0 for none */
	size_t golden;         /* likewise, if there are golden vectors: */
	const void *golden_data; /* that blob; NULL: none */
} MloManifestVariant;

typedef struct MloManifest {
	const MloGraph *graph; /* as imported: names, costs */
	const MloGraph *typed; /* after all passes: types of inputs and outputs */
	const MloptOptions *opt;
	const MloManifestVariant *variant; /* best first */
	size_t nvariants;
	const size_t (*state)[2]; /* input, output */
	size_t nstates;
	const char *const (*options)[2]; /* names and values beside those of opt */
	size_t noptions;
} MloManifest;

/* Compact JSON text owned by `a`; the same for the same input, byte for byte. */
MloStatus mlo_manifest_text(MloArena *a, const MloManifest *m, const char **text, MloDiag *d) MLO_CHECKED;

/* Why a step, as it stands in a manifest, has its schedule: "cost model", or what was measured. */
enum { MLO_WHY_TEXT = 96 };
void mlo_manifest_why(const json_t *step, char *text, size_t n);
#endif
