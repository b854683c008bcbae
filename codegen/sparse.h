/* codegen/sparse.h -- contractions by weights that are mostly zero.
 *
 * Only weights that are not zero are kept, in rows, one for each output channel, and multiplied one by one: for each of them,
 * lanes of A that lie in as many positions are loaded, multiplied by the one weight and added to the sums of that channel, which
 * stay in registers for the whole row (Elsen, Dukhan, Gale, Simonyan, "Fast Sparse ConvNets", 2020).  A step of several terms
 * (KContract.dot) counts as one weight, which is zero if all of its terms are.  A `group` of channels may share a row, each weight
 * of which is then one for each of them: what is loaded of A is multiplied as often.
 *
 * Lanes are positions: `spread` of them lie side by side in rows of outputs, `cols` outputs apart, and so do the rows of lanes,
 * `rows` outputs apart.  So a register holds what lies at the same place of as many small tiles of rows x cols outputs, and all
 * registers of a tile, with their taps, are whole vectors: a neighbour of every lane is a neighbour of the register.
 *
 * A task copies what its outputs read of A into scratch memory in that form, [step][row][column][lane][dot], pads filled with
 * the zero point; lanes that are no outputs repeat some of the image.  Weights come as streams: values, and for each a byte, how far
 * the vector of the copy that the tile's first register multiplies it with lies behind that of the weight before, or behind the
 * first one of its run.  Where a byte is not enough, weights that are zero stand in between.  What zeros are multiplied with does not count: dense sums of
 * an infinite input and a weight of zero are NaN, these may not be.  Long reductions are
 * divided into `runs` of steps, so that what a run reads stays in the first-level cache; sums wait in scratch memory meanwhile. */
#ifndef MLO_CODEGEN_SPARSE_H
#define MLO_CODEGEN_SPARSE_H
#include "codegen/contract.h"
#include "codegen/schedule.h"

enum { SPARSE_FARTHEST = UINT8_MAX };

static inline int sparse_down(const KContract *c) { return c->lanes / c->sparse.spread; } /* lanes below each other */
static inline int sparse_registers(const KContract *c) { return c->rows * c->cols; }      /* of a tile */
/* Rows and columns of vectors that a tile reads, and vectors of a step. */
static inline int64_t sparse_height(const KContract *c) { return (c->rows - 1) * contract_copy_stride_y(c) + (c->nky - 1) * c->dy + 1; }
static inline int64_t sparse_width(const KContract *c) { return (c->cols - 1) * contract_copy_stride_x(c) + (c->nkx - 1) * c->dx + 1; }
static inline int64_t sparse_plane(const KContract *c) { return sparse_height(c) * sparse_width(c); }
/* Steps of a run; the last one may have fewer. */
static inline int64_t sparse_run(const KContract *c)
{
	return (mlo_contract_steps(c) + c->sparse.runs - 1) / c->sparse.runs;
}

/* Where, among the vectors of its run, the weight of a step at a tap finds its input, in units of so many vectors. */
static inline int64_t sparse_unit(const KContract *c) { return c->nky * c->nkx == 1 ? sparse_plane(c) : 1; }
static inline int64_t sparse_place(const KContract *c, int64_t step, int64_t ky, int64_t kx)
{
	return ((step % sparse_run(c) * sparse_height(c) + ky * c->dy) * sparse_width(c) + kx * c->dx) / sparse_unit(c);
}

/* Rows of weights: those of all channels for the first run, then those for the next one. */
static inline int64_t sparse_run_rows(const KContract *c) { return mlo_contract_ctiles(c) * c->lanes / c->sparse.group; }
static inline int64_t sparse_rows(const KContract *c) { return sparse_run_rows(c) * c->sparse.runs; }

int64_t sparse_piece(const KContract *c);         /* steps that lie side by side in A and are copied at once, a power of two */
int64_t sparse_copy_vectors(const KContract *c);  /* scratch memory: the copy, */
int64_t sparse_sum_vectors(const KContract *c);   /* sums, `registers` vectors per channel; then `lanes` vectors of one tile */
int64_t sparse_scratch_bytes(const KContract *c);

/* Can such a contraction be done in this way, whatever its weights? */
bool sparse_can(const MloTarget *t, const KContract *c);
/* Is this a schedule that the emitter can do, for a contraction that has the form? */
bool sparse_fits(const MloTarget *t, const KContract *c);
/* Estimated cycles with `weights` steps that are not zero for their group. */
double sparse_cycles(const MloTarget *t, const KContract *c, int64_t weights);
/* The fastest schedule for c's groups whose tiles have at most so many registers; answers its estimated cycles, more where it leaves threads
 * idle.  Infinite, and c is left, where there is none. */
double sparse_schedule(const MloTarget *t, int registers, int64_t weights, KContract *c);
int sparse_most_registers(const MloTarget *t, int group);
/* Puts the fastest such schedule in the place of the one that c has, where it is estimated to be faster.  Sizes are those of k;
 * weights_stay: codegen/winograd.h. */
void mlo_schedule_sparse(const MloTarget *t, const MloKernel *k, const MloSparsity *weights, bool weights_stay, KContract *c);
#endif
