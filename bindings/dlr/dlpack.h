/* bindings/dlr/dlpack.h -- the layout of tensors that DLPack defines (dmlc/dlpack, dlpack.h, from version 0.2 on): what
 * SetDLRInputTensor() and its like exchange.  Names are those of that header, which clients include themselves: this
 * one is not installed. */
#ifndef MLOPT_DLR_DLPACK_H
#define MLOPT_DLR_DLPACK_H
#include <stdint.h>

typedef struct DLDataType {
	uint8_t code; /* see dtypes.def */
	uint8_t bits;
	uint16_t lanes; /* 1: no vectors */
} DLDataType;

typedef struct DLTensor {
	void *data;
	struct {
		int32_t type, id;
	} device;
	int32_t ndim;
	DLDataType dtype;
	int64_t *shape;
	int64_t *strides;     /* in elements; NULL: dense, row-major */
	uint64_t byte_offset; /* from `data` to the first element */
} DLTensor;

typedef struct DLManagedTensor {
	DLTensor tensor;
	void *manager;
	void (*deleter)(struct DLManagedTensor *self);
} DLManagedTensor;
#endif
