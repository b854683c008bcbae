/* tools/npz.h -- NumPy's .npz files: zip archives of .npy files, stored or deflated.
 *
 * Zip: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT; archives of 4 GiB and more (zip64) are refused. */
#ifndef MLO_TOOLS_NPZ_H
#define MLO_TOOLS_NPZ_H
#include "ir/type.h"

typedef struct MloNpz {
	size_t n;
	const char **name; /* of the arrays, without .npy */
	MloTensor **array;
} MloNpz;

/* All arrays of an archive; they live as long as `a`. */
MloStatus mlo_npz_read(MloArena *a, const char *path, MloNpz *out, MloDiag *d) MLO_CHECKED;
/* From memory that outlives `a`; `path` is what messages call it. */
MloStatus mlo_npz_parse(MloArena *a, const void *bytes, size_t n, const char *path, MloNpz *out, MloDiag *d) MLO_CHECKED;
#endif
