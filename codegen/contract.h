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

/* Steps of more terms than that are stages of tensor cores (codegen/device_mma.h). */
enum { CONTRACT_MOST_DOT = 8 };

/* Are steps products of matrices: two columns of outputs by two channels in each 128 bits, of 64 bits of terms?  (Arm ARM, SMMLA,
 * BFMMLA.)  The sums of two columns are then woven together while terms are added: 64 bits of the one, 64 of the other. */
static inline bool contract_pairs(const KContract *c)
{
	return c->dot * mlo_elem_bits(c->a.elem) == 64 && c->dot > 1;
}

/* Terms that a lane of 32 bits takes at once by itself. */
static inline int contract_lane_dot(const KContract *c)
{
	return contract_pairs(c) ? c->dot / 2 : c->dot;
}

/* Do the pixels of two columns lie so that a load of 128 bits takes a step of both? */
static inline bool contract_pair_adjacent(const KContract *c)
{
	return c->a.x >= 0 && c->sx * c->a.x == c->dot;
}

/* Depthwise columns that lie beside each other read mostly the same inputs: the taps of a row are then unrolled,
 * and an input stays in a register from one column to the next. */
enum { CONTRACT_SLIDE_TAPS = 7 };
static inline bool contract_slides(const KContract *c)
{
	return contract_is_depthwise(c) && c->nkx > 1 && c->nkx <= CONTRACT_SLIDE_TAPS && c->dx == 1 && c->sx < c->nkx;
}

/* Does it take the sums of the weights of each tap out of an argument of their own? */
static inline bool contract_has_sums(const KContract *c)
{
	return c->zero.sums && !contract_is_depthwise(c);
}

/* Every group's channels start at the first lane of a block of A. */
static inline bool contract_group_aligned(const KContract *c)
{
	return c->group_k % c->a.block == 0;
}

/* Bytes of a vector of B, and elements from one to the next: a tile's vectors lie beside each other. */
static inline int64_t contract_vector(const KContract *c)
{
	return (int64_t)c->lanes * c->dot;
}

/* From one step to the next in B, in elements; and B's share of a tap and a channel tile, in bytes. */
static inline int64_t contract_step(const KContract *c)
{
	return c->b.packed ? c->vecs * contract_vector(c) : c->b.k;
}

static inline int64_t contract_tap_bytes(const KContract *c)
{
	return mlo_contract_steps(c) * c->vecs * contract_vector(c) * mlo_elem_bits(c->b.elem) / 8;
}

/* How a step of `dot` terms is done on the target (emit_dot.c): does its instruction take bytes of A as signed ones?
 * In how many pieces are operands, and how many instructions as long as a multiply-add take them? */
bool contract_takes_signed(const MloTarget *t, MloElem a);
/* Are products of bytes made half a register at a time, in 16 bits?  (emit_halves.c) */
bool contract_by_halves(const MloTarget *t, const KContract *c);
/* Packs B for that, where it is so for c's steps. */
void contract_choose_part(const MloTarget *t, KContract *c);
/* Takes products of matrices for c's steps where the target has them and there is more than a column to share a step. */
void contract_choose_pairs(const MloTarget *t, KContract *c);
/* How the sign of A and its zero point are dealt with, for the schedule that c has. */
void contract_choose_sign(const MloTarget *t, KContract *c);
int contract_dot_pieces(const MloTarget *t, const KContract *c);
double contract_dot_cost(const MloTarget *t, const KContract *c);
/* Instructions of a step that take operands of bytes apart, where no instruction multiplies them as they are. */
double contract_split_cost(const MloTarget *t, const KContract *c, int cols, int vecs);
/* Does it take so long that code does not matter? */
bool contract_takes_long(const MloTarget *t, const KContract *c);

/* Taps of few channels are straight code, in which an input could be kept that the next tap reads, too.  Is that more than there are
 * registers for, beside the sums of a tile of so many positions?  Then each product reads its input anew. */
enum { CONTRACT_UNROLL = 4 }; /* steps of a run of channels */
static inline bool contract_taps_overflow(const MloTarget *t, const KContract *c, int positions, int vecs)
{
	return !contract_is_depthwise(c) && c->nkx > 1 && c->nk >= 0 && c->nk < 2 * CONTRACT_UNROLL &&
	       positions * (vecs + 1) + vecs > t->vector_regs;
}

/* Do taps of columns [x0, x0 + cols) lie outside the image? */
static inline bool contract_at_edge(const KContract *c, int64_t x0, int64_t cols)
{
	return x0 * c->sx - c->px < 0 || (x0 + cols - 1) * c->sx + (c->nkx - 1) * c->dx - c->px >= c->in_x;
}

/* Copies of A in scratch memory: along an axis of one tap they hold only the pixels that are read.  From one output to the next, and
 * from one copied pixel to the next one in A. */
static inline int64_t contract_copy_stride_x(const KContract *c) { return c->nkx == 1 ? 1 : c->sx; }
static inline int64_t contract_copy_stride_y(const KContract *c) { return c->nky == 1 ? 1 : c->sy; }
static inline int64_t contract_copy_from_x(const KContract *c) { return c->nkx == 1 ? c->sx : 1; }
static inline int64_t contract_copy_from_y(const KContract *c) { return c->nky == 1 ? c->sy : 1; }

/* An open number of images counts as a few. */
static inline int64_t contract_images(const KContract *c)
{
	enum { A_FEW = 8 };

	return (c->nb0 < 0 ? A_FEW : c->nb0) * (c->nb1 < 0 ? 1 : c->nb1);
}

/* Do the sums of a register tile stay in registers?  Beside them and the weights, LLVM's scheduler has two
 * broadcast inputs under way; a tile that leaves no register free after that had one of its sums spilled and
 * reloaded in every term. */
bool contract_tile_fits(const MloTarget *t, const KContract *c, int cols, int vecs);
bool contract_two_rows_fit(const MloTarget *t, const KContract *c); /* those of two rows of c's tile */
/* Are sizes numbers, but for those of batches, and for the columns where chunks are columns? */
bool contract_sizes_known(const KContract *c);
/* Is the zero point an element of A?  Copies of A are padded with it. */
static inline bool contract_zero_fits(const KContract *c)
{
	int64_t lo = c->a.elem == EL_i8 ? INT8_MIN : 0;

	return c->zero.given ? c->zero.at == 0 : c->zero.at >= lo && c->zero.at <= lo + UINT8_MAX;
}
/* How many times as long something of so many cycles and tasks takes where threads wait for the one that has the most tasks: a
 * single thread counts half, two of them as much, many of them a little.  What is over before a second thread has begun is not
 * divided. */
double contract_unbalanced(const MloTarget *t, double cycles, int64_t tasks);
/* Fills the schedule fields from the extents (sizes are those of k) and the target's facts. shortest: rows of
 * an open length are seldom shorter. */
void mlo_schedule_contract(const MloTarget *t, const MloKernel *k, int64_t shortest, KContract *c);
/* The same for an image whose rows are made band by band, so many of its channels at a time, whole tiles of them. */
void mlo_schedule_band(const MloTarget *t, int64_t channels, KContract *c);
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
