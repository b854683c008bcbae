/* tools/package_list.h -- what a package file consists of, and which packages a folder has. */
#ifndef MLO_TOOLS_PACKAGE_LIST_H
#define MLO_TOOLS_PACKAGE_LIST_H
#include <jansson.h>

#include "package/sign.h"

/* Keys by the names of their files. */
typedef struct NamedKey {
	const char *path;
	MlrtPublicKey key;
} NamedKey;
typedef struct NamedKeys {
	const NamedKey *items;
	size_t n;
} NamedKeys;

/* The manifest, to be released with json_decref(). */
MloStatus package_manifest(const MloPackageFile *p, const char *path, json_t **out, MloDiag *d) MLO_CHECKED;
/* Who signed, separated by commas: the file of a key that is named, else its id. "-": nobody. */
const char *package_signers(MloArena *a, const MloPackageFile *p, const NamedKeys *keys);
/* The parts of a package. */
MloStatus package_list_parts(const char *path, const NamedKeys *keys, MloDiag *d) MLO_CHECKED;
/* A line for each file NAME.mlopt of a folder, by name, and versions of a name in their order; a broken one is
 * listed with what is wrong. */
MloStatus package_list_folder(const char *path, const NamedKeys *keys, MloDiag *d) MLO_CHECKED;
#endif
