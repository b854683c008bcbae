/* tools/provenance.h -- where a package comes from: cryptographic hashes of the model, and a bill of materials. */
#ifndef MLO_TOOLS_PROVENANCE_H
#define MLO_TOOLS_PROVENANCE_H
#include "tools/manifest.h"

/* SHA-256 in hexadecimal. */
const char *mlo_sha256_text(MloArena *a, const void *bytes, size_t n);
/* Puts that of each file of external data into the graph's meta; `path`: of the model. */
MloStatus mlo_note_external(MloArena *a, MloGraph *g, const char *path, MloDiag *d) MLO_CHECKED;

/* What the manifest says of name, version and licence: options, else the model's own words, else NULL. */
const char *mlo_package_name(const MloManifest *m);
const char *mlo_package_version(const MloManifest *m);
const char *mlo_package_license(const MloManifest *m);
/* [{"name":LOCATION,"sha256":HEX}, ...]; NULL: the model has no external data. */
json_t *mlo_external_json(const MloGraph *g);
/* A CycloneDX 1.5 document (https://cyclonedx.org/docs/1.5/json/), without what differs from time to time: the package, the model
 * and the reference kernels whose code is in it, the tools that made the rest. */
json_t *mlo_sbom_json(const MloManifest *m);
/* JSON text; bytes that are no UTF-8 become '?'. */
json_t *mlo_json_text(const char *s);
#endif
