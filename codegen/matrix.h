/* codegen/matrix.h -- contractions on a matrix unit (struct MloMatrix).
 *
 * A task copies what its outputs read of A into scratch memory, pixel by pixel: [row][pixel][steps][dot], pads filled with the
 * zero point and steps behind the last channel with zeros.  There a row of a register of A is a run of steps, also through
 * the taps of a row (where they are not dilated), and the rows of a register are pixels that lie a constant number of bytes
 * apart, whatever the stride of the convolution.  B needs nothing: its order, 32 bits of terms for each of `lanes` channels,
 * is that of the unit.  Sums go to scratch memory, too, from where the epilogue takes them in vectors.
 *
 * Outputs are counted along lines.  A line is a row of outputs, or all rows of a chunk (matrix_joined), with those
 * positions in between that are no outputs. */
#ifndef MLO_CODEGEN_MATRIX_H
#define MLO_CODEGEN_MATRIX_H
#include "codegen/contract.h"

enum { MATRIX_LANE = 4, MATRIX_ROW = 64 }; /* bytes of a lane of sums; of a line of a cache */

/* Bytes of a pixel that are copied or filled, and to the next one: rows of a register that lie a large power of two apart would
 * fall into the same few sets of a cache.  Where runs go through several taps, nothing can stand between pixels. */
static inline int64_t matrix_filled(const KContract *c) { return mlo_contract_steps(c) * MATRIX_LANE; }
static inline int64_t matrix_pixel(const KContract *c)
{
	enum { COLLIDES = 1024 };
	int64_t n = matrix_filled(c);

	return mlo_contract_run_taps(c) == 1 && n % COLLIDES == 0 ? n + MATRIX_ROW : n;
}

/* Products of a run of steps, and in all. */
static inline int64_t matrix_run(const KContract *c) { return mlo_contract_steps(c) * mlo_contract_run_taps(c) / c->depth; }
static inline int64_t matrix_products(const KContract *c) { return matrix_run(c) * c->nky * (c->nkx / mlo_contract_run_taps(c)); }

/* Outputs of a chunk in a row, and rows. */
int64_t matrix_chunk_x(const KContract *c);
int64_t matrix_chunk_y(const KContract *c);
int64_t matrix_width(const KContract *c);  /* pixels of a copied row */
int64_t matrix_height(const KContract *c, int64_t rows); /* copied rows of so many rows of outputs */
bool matrix_joined(const KContract *c);
int64_t matrix_pitch(const KContract *c);  /* joined: positions from one row of outputs to the next */
/* Scratch memory of a task in bytes: the copy, then the sums of a tile. */
int64_t matrix_copy_bytes(const KContract *c);
int64_t matrix_scratch_bytes(const KContract *c);

/* Has the unit of the target this form of products? */
bool matrix_can(const MloTarget *t, const KContract *c);
/* Is this a schedule that the emitter can do, for a contraction that has the form? */
bool matrix_fits(const MloTarget *t, const KContract *c);
/* Estimated cycles of the contraction. */
double matrix_cycles(const MloTarget *t, const KContract *c);
/* The fastest schedule whose tiles are rows x vecs registers; answers its estimated cycles, more where it leaves threads idle.
 * Infinite, and c is left, where there is none. */
double matrix_schedule(const MloTarget *t, int rows, int vecs, KContract *c);
/* Tiles that are tried. */
enum { MATRIX_MAX_VECS = 3, MATRIX_MAX_ROWS = 3 };
/* Puts the fastest schedule on the matrix unit in the place of one for vectors, where it is estimated to be faster.  Sizes are
 * those of k. */
void mlo_schedule_matrix(const MloTarget *t, const MloKernel *k, KContract *c);
#endif
