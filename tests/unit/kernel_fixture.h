/* tests/unit/kernel_fixture.h -- kernels to machine code in this process. */
#ifndef MLO_TESTS_KERNEL_FIXTURE_H
#define MLO_TESTS_KERNEL_FIXTURE_H
#include "codegen/kernel.h"
#include "targets/object.h"
#include "targets/target.h"

typedef void KernelFn(void *const *args, int64_t begin, int64_t end, void *scratch);

typedef struct KernelImage {
	void *map;
	size_t n;
	KernelFn **fn; /* per kernel */
} KernelImage;

/* Compiles all kernels into one image; false (and diagnostics in d) when anything fails. */
bool kernel_image_load(KernelImage *im, const MloTarget *t, MloKernel *const *k, int n, MloDiag *d);
void kernel_image_free(KernelImage *im);

/* The variants of this machine: [0] the native one, [1] the architecture's baseline. */
const MloTarget *kernel_test_target(int i);

/* A target with a matrix unit whose code runs here: this machine's instructions, and tiles.h for the unit. */
const MloTarget *kernel_tile_target(void);
/* One with products of matrices in registers: pairs.h does them. */
const MloTarget *kernel_pair_target(void);

/* Random numbers that replay from a seed. */
typedef struct KernelRandom { uint64_t s; } KernelRandom;
uint32_t kernel_random(KernelRandom *r, uint32_t below);

/* Where the tests' seed comes from: MLO_TEST_SEED in the environment, else `fallback`. */
uint64_t kernel_test_seed(uint64_t fallback);
#endif
