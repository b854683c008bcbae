/* tests/ptx/mma.h -- between mma.c (dense products), mma_sparse.c and matrix.c (loads and stores of fragments). */
#ifndef MLOPT_TESTS_PTX_MMA_H
#define MLOPT_TESTS_PTX_MMA_H

#include "tests/ptx/ops.h"

enum { PTX_MMA_ROWS = 16, PTX_MMA_COLS = 8, PTX_MMA_DEPTH = 128 };

/* What the operands of a product hold, unpacked: whole numbers or floats, by type. */
typedef struct PtxTile {
	union {
		float f[PTX_MMA_ROWS][PTX_MMA_DEPTH];
		int32_t i[PTX_MMA_ROWS][PTX_MMA_DEPTH];
	} a;
	union {
		float f[PTX_MMA_DEPTH][PTX_MMA_COLS];
		int32_t i[PTX_MMA_DEPTH][PTX_MMA_COLS];
	} b;
	union {
		float f[PTX_MMA_ROWS][PTX_MMA_COLS];
		int32_t i[PTX_MMA_ROWS][PTX_MMA_COLS];
	} c;
} PtxTile;

/* Of a product: its shape and types; registers are in PtxInst.list: d, a, b, c, one behind the other. */
typedef struct PtxMma {
	uint8_t rows, depth;       /* depth: of B */
	uint8_t type[4];           /* of d, a, b, c */
	uint8_t regs[4];           /* of each */
	uint8_t kept;              /* columns of A in registers: depth, or half of it */
	bool sparse;
	int32_t metadata;          /* slot */
	uint8_t selector;
} PtxMma;

/* Expands the kept columns of A, which lie in t->a, by the metadata; false after a finding. */
bool ptx_mma_expand(PtxWarp *w, const PtxInst *i, const PtxMma *s, PtxTile *t);
void ptx_decode_ldmatrix(PtxParse *p, PtxInst *i, const PtxOp *op); /* variant: 1 for stmatrix */

#endif
