/* tests/ptx/wgmma.h -- between wgmma.c (instructions, order, what is in flight) and wgmma_product.c
 * (operands, products). */
#ifndef MLOPT_TESTS_PTX_WGMMA_H
#define MLOPT_TESTS_PTX_WGMMA_H

#include "tests/ptx/ops.h"

enum {
	PTX_WGMMA_ROWS = 64,
	PTX_WGMMA_COLS = 256,
	PTX_WGMMA_DEPTH = 32,
	PTX_WGMMA_WARPS = 4,
	PTX_CHUNK = 16, /* bytes of a row of a core matrix, as which operands lie in shared memory */
	PTX_WGMMA_CHUNKS = 2 * (PTX_WGMMA_ROWS + PTX_WGMMA_COLS)
};

/* A product: registers of D and then those of A are in PtxInst.list, descriptors of A and B, or of B alone,
 * in a and b. */
typedef struct PtxWgmma {
	uint16_t cols;
	uint8_t depth;
	uint8_t type[3];         /* of d, a, b */
	uint8_t sums, fragments; /* registers of D and A; fragments 0: A is in shared memory */
	bool negated[2];         /* A, B: their elements count negated */
	bool across[2];          /* A, B: not the depth, but rows or columns lie side by side in memory */
	const int32_t *watched;  /* of the registers in list: PtxWarp.registers */
} PtxWgmma;

/* What a product reads of shared memory until its warps have waited for it. */
struct PtxFlight {
	struct PtxFlight *next;
	uint32_t number, waiting; /* of the product in its warps; warps that have not waited yet */
	uint32_t n, chunks[PTX_WGMMA_CHUNKS];
};

static inline const PtxWgmma *ptx_wgmma_of(const PtxInst *i)
{
	return (const PtxWgmma *)(uintptr_t)i->imm;
}

/* The product of four warps, `first` and those behind it: reads operands now, notes in f what was read; false
 * after a finding. */
bool ptx_wgmma_multiply(PtxWarp *first, const PtxInst *i, PtxFlight *f);

#endif
