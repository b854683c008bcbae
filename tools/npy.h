/* tools/npy.h -- NumPy's .npy files (versions 1 to 3), numeric types.
 *
 * Reading maps the file; a tensor in C order, native byte order and aligned points into the map,
 * everything else (Fortran order, big-endian) is copied.  Malformed and hostile headers are errors. */
#ifndef MLO_TOOLS_NPY_H
#define MLO_TOOLS_NPY_H
#include "ir/type.h"

/* The tensor and the map live as long as `a`. */
MloStatus mlo_npy_read(MloArena *a, const char *path, MloTensor **out, MloDiag *d) MLO_CHECKED;
/* From memory that outlives `a`; `name` is what messages call it. */
MloStatus mlo_npy_parse(MloArena *a, const void *bytes, size_t n, const char *name, MloTensor **out,
			MloDiag *d) MLO_CHECKED;
/* Version 1.0, C order.  Types that NumPy lacks are widened: bf16 and 8-bit floats to f32, 4-bit and
 * 2-bit integers to 8 bits. Strings become fixed-width Unicode. */
MloStatus mlo_npy_write(const char *path, const MloTensor *t, MloDiag *d) MLO_CHECKED;

/* A whole file, mapped read-only until `a` is freed; *bytes is never NULL on success. */
MloStatus mlo_map_file(MloArena *a, const char *path, const void **bytes, size_t *n, MloDiag *d) MLO_CHECKED;
#endif
