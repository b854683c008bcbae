/* codegen/contract.h -- what lowering, scheduling and emission of contractions agree on. */
#ifndef MLO_CODEGEN_CONTRACT_H
#define MLO_CODEGEN_CONTRACT_H
#include "codegen/kernel.h"
#include "targets/target.h"

/* One input channel per output channel: A is read in vectors, not broadcast. */
static inline bool contract_is_depthwise(const KContract *c)
{
	return c->nk == 1 && c->group_c == 1 && c->group_k == 1;
}

/* Depthwise columns that lie beside each other read mostly the same inputs: the taps of a row are then unrolled,
 * and an input stays in a register from one column to the next. */
enum { CONTRACT_SLIDE_TAPS = 7 };
static inline bool contract_slides(const KContract *c)
{
	return contract_is_depthwise(c) && c->nkx > 1 && c->nkx <= CONTRACT_SLIDE_TAPS && c->dx == 1 && c->sx < c->nkx;
}

/* Every group's channels start at the first lane of a block of A. */
static inline bool contract_group_aligned(const KContract *c)
{
	return c->group_k % c->a.block == 0;
}

/* Do the sums of a register tile stay in registers?  Beside them and the weights, LLVM's scheduler has two
 * broadcast inputs under way; a tile that leaves no register free after that had one of its sums spilled and
 * reloaded in every term. */
bool contract_tile_fits(const MloTarget *t, const KContract *c, int cols, int vecs);
/* Fills the schedule fields from the extents (sizes are those of k) and the target's facts. shortest: rows of
 * an open length are seldom shorter. */
void mlo_schedule_contract(const MloTarget *t, const MloKernel *k, int64_t shortest, KContract *c);
/* Sizes of tiles that are tried. */
enum { CONTRACT_MAX_VECS = 8, CONTRACT_MAX_COLS = 28 };
/* Would a tile of so many vectors reach into a second group of channels? */
bool contract_splits_group(const KContract *c, int vecs);
/* Estimated cycles of a row of outputs, all channels, in tiles of cols x vecs; extents are numbers. */
double contract_row_cycles(const MloTarget *t, const KContract *c, int cols, int vecs);
/* Rows, chunks and order of c, whose tile is chosen and whose extents are numbers. */
void contract_schedule_rows(const MloTarget *t, KContract *c);
/* "7x32 chunk 14 c-outer" for reports. */
void mlo_schedule_text(MloStr *out, const KContract *c);

/* Does the epilogue hold vector math that is too long to repeat for every accumulator? */
bool contract_heavy_epilogue(const MloKernel *k, const KStmt *s);
#endif
