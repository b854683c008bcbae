/* tests/support/values.h -- values of a run in a file, for a run on another (64-bit, little-endian) machine. */
#ifndef MLO_TESTS_VALUES_H
#define MLO_TESTS_VALUES_H
#include <stdbool.h>

#include "mlopt/runtime.h"

/* n values; elem[i]: element type of value i, as MlrtTensorInfo has it (of no matter for objects). */
bool values_write(const char *path, const MlrtTensor *v, const char *const *elem, size_t n);
/* The same back: a block for free() that holds what they point to, but for objects, which are new; or NULL. */
void *values_read(const char *path, MlrtTensor *v, size_t n);
#endif
