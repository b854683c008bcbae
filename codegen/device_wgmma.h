/* codegen/device_wgmma.h -- contractions on Hopper's tensor cores: products that groups of four warps start, and that read both operands out
 * of shared memory (PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions").
 *
 * Stages are brought and walked through as for mma.sync (codegen/device_mma_stage.h): their rows, with pieces turned by the number of the
 * row, are what descriptors of matrices call a swizzle of 128 or 64 bytes.  A group makes 64 rows of all columns of the tile. */
#ifndef MLO_CODEGEN_DEVICE_WGMMA_H
#define MLO_CODEGEN_DEVICE_WGMMA_H
#include "codegen/device_mma_stage.h"

enum { GROUP_WARPS = 4, GROUP_THREADS = GROUP_WARPS * DEVICE_WARP, GROUP_ROWS = 64, GROUP_MOST_COLUMNS = 256 };

/* Once, before all tiles: registers for sums, descriptors. */
void wgmma_begin(Mma *m);
/* Sums are zero. */
void wgmma_clear(Mma *m);
/* What the thread's copies brought is seen by products that start behind the next barrier. */
void wgmma_publish(Mma *m);
/* Starts to multiply the stage at `base`, and so many bytes behind. */
void wgmma_multiply(Mma *m, LLVMValueRef base, int64_t behind);
/* Waits until no more than so many stages are being multiplied. */
void wgmma_wait(Mma *m, int pending);
/* Sums of the tile, to where the epilogue finds them. */
void wgmma_store(Mma *m);
#endif
