/* tests/unit/kernel_random.h -- random small kernels and buffers for them. */
#ifndef MLO_TESTS_KERNEL_RANDOM_H
#define MLO_TESTS_KERNEL_RANDOM_H
#include "tests/unit/kernel_fixture.h"

/* A kernel of loads with strides, guards, casts, reductions, tails.  Its results are exact whatever
 * the order of operations, unless *approx: then the last operation is an elementary function.
 * `fma`: fused multiply-adds may be used (they differ where the machine has none). */
MloKernel *kernel_random_new(MloArena *a, uint64_t seed, bool fma, bool *approx);

/* Buffers for all arguments but scratch, the same content for the same seed. The first element past
 * the end (or, if `low`, the last one before the start) lies in memory that traps. */
typedef struct KernelBuffers { void **arg; void **map; size_t *bytes; int n; } KernelBuffers;
KernelBuffers kernel_buffers_new(MloArena *a, const MloKernel *k, uint64_t seed, bool low);
void kernel_buffers_free(KernelBuffers *b);
/* A float element as it lies in memory. */
double kernel_number(MloElem t, const void *p);
#endif
