/* tools/dataset.h -- arrays of samples and labels: .npy and IDX files (MNIST's format), also gzipped. */
#ifndef MLO_TOOLS_DATASET_H
#define MLO_TOOLS_DATASET_H
#include "ir/type.h"

/* The kind is found by the first bytes. The tensor lives as long as `a`. */
MloStatus mlo_dataset_read(MloArena *a, const char *path, MloTensor **out, MloDiag *d) MLO_CHECKED;
/* From memory that outlives `a`; `name` is what messages call it. */
MloStatus mlo_dataset_parse(MloArena *a, const void *bytes, size_t n, const char *name, MloTensor **out,
			    MloDiag *d) MLO_CHECKED;
#endif
