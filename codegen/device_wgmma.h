/* codegen/device_wgmma.h -- products of matrices on Hopper, which groups of four warps start, and which read both operands out of shared memory
 * (PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions").
 *
 * Operands are rows of terms, of 64 rows of A, and of all of B that make the columns of the product.  Where a stage is brought as for mma.sync
 * (codegen/device_mma_stage.h), its rows, with pieces turned by the number of the row, are what descriptors of matrices call a swizzle of
 * 128 or 64 bytes. */
#ifndef MLO_CODEGEN_DEVICE_WGMMA_H
#define MLO_CODEGEN_DEVICE_WGMMA_H
#include "codegen/device_mma.h"
#include "codegen/device_internal.h"

enum { GROUP_WARPS = 4, GROUP_THREADS = GROUP_WARPS * DEVICE_WARP, GROUP_ROWS = 64, GROUP_MOST_COLUMNS = 256, GROUP_STEP_BYTES = 32 };

enum { GROUP_SUMS = 4 /* of a thread, in each 8 columns */ };

typedef struct Wgmma {
	Emit *e;
	const MmaKind *kind;
	int columns;             /* of a product: a multiple of 8, up to GROUP_MOST_COLUMNS */
	bool turned;             /* A are weights, and B activations */
	int steps;               /* products of a stage, of 32 bytes of each row */
	int64_t a_step, b_step;  /* bytes from one to the next */
	LLVMValueRef a, b;       /* descriptors of the first stage, A of the group's rows */
} Wgmma;

/* Are there products of so many columns? */
bool wgmma_takes(const MmaKind *kind, int columns);
/* Descriptors of matrices that begin so many bytes behind the start of dynamic shared memory, whose rows have so many words, turned; or of which
 * each 8 rows have 16 bytes of terms beside each other, the next 16 bytes of them `along` bytes later, and the next rows 128 bytes. */
LLVMValueRef wgmma_turned_rows(Emit *e, LLVMValueRef at, int words);
LLVMValueRef wgmma_planes(Emit *e, LLVMValueRef at, int64_t along);
LLVMValueRef wgmma_group(Emit *e, LLVMValueRef thread); /* the number of the thread's group */
/* Once, before all tiles: registers for sums. */
void wgmma_begin(const Wgmma *w);
void wgmma_clear(const Wgmma *w); /* sums are zero */
/* What the thread's copies brought is seen by products that start behind the next barrier. */
void wgmma_publish(const Wgmma *w);
/* Starts to multiply the stage so many bytes behind the first one in A and B, a sum of a value (NULL: 0) and a number for each. */
void wgmma_multiply(const Wgmma *w, LLVMValueRef a, int64_t a_behind, LLVMValueRef b, int64_t b_behind);
/* Waits until no more than so many stages are being multiplied. */
void wgmma_wait(const Wgmma *w, int pending);
/* Of each 8 columns a thread has four sums, as a lane has of a fragment of mma.sync: of rows lane / 4 of the 16 of its warp, and 8 behind that,
 * those of columns 2 * (lane % 4) and the next one.  A value, once nothing is being multiplied. */
LLVMValueRef wgmma_sum(const Wgmma *w, int sum, LLVMTypeRef type);
/* Sum number `sum` of the thread, or two from there on, so many bytes behind a place in shared memory. */
void wgmma_store(const Wgmma *w, int sum, int n, LLVMValueRef at, int64_t behind);
#endif
