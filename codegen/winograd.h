/* codegen/winograd.h -- Winograd's minimal filtering for 3x3, 3x1 and 1x3 convolutions of stride 1.
 *
 * Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), F(m x m, 3 x 3): an
 * m x m piece of the output is  A^T [ (G g G^T) . (B^T d B) ] A  with d the (m+2) x (m+2) piece of the
 * input and g the taps.  Per piece and pair of channels that is (m+2)^2 multiply-adds instead of
 * 9 m^2: 2.25 times fewer for m = 2, 4 times for m = 4.  Along an axis of one tap a piece is one output
 * and nothing is transformed: 1.5 and 2 times fewer.  The points are 0, 1, -1 (m = 2) and those
 * with 2, -2 (m = 4).  The result differs from the direct sum by rounding: up to about 10 times the
 * direct sum's own error for m = 4 (tests/unit/test_winograd.c bounds it). */
#ifndef MLO_CODEGEN_WINOGRAD_H
#define MLO_CODEGEN_WINOGRAD_H
#include "codegen/contract.h"

enum { WINO_MAX_M = 4, WINO_MAX_N = WINO_MAX_M + 2, WINO_MAX_POINTS = WINO_MAX_N * WINO_MAX_N };

/* Outputs of a piece along an axis; its points along the axis, and in all. */
static inline int wino_my(const KContract *c) { return c->nky == 3 ? c->wino : 1; }
static inline int wino_mx(const KContract *c) { return c->nkx == 3 ? c->wino : 1; }
static inline int wino_ny(const KContract *c) { return wino_my(c) + (int)c->nky - 1; }
static inline int wino_nx(const KContract *c) { return wino_mx(c) + (int)c->nkx - 1; }
static inline int wino_points(const KContract *c) { return wino_ny(c) * wino_nx(c); }
/* Vectors of input and of output channels; the last ones may have lanes past the channels. */
static inline int64_t wino_kvecs(const KContract *c) { return (c->nk + c->lanes - 1) / c->lanes; }
static inline int64_t wino_cvecs(const KContract *c) { return (c->nc + c->lanes - 1) / c->lanes; }
/* Pieces along a row of the output, and along a column. */
static inline int64_t wino_across(const KContract *c) { return (c->nx + wino_mx(c) - 1) / wino_mx(c); }
static inline int64_t wino_down(const KContract *c) { return (c->ny + wino_my(c) - 1) / wino_my(c); }
/* Pieces of one chunk, rounded up to whole register tiles. */
int64_t wino_pieces(const KContract *c);
/* Scratch memory of a task, in elements: the transformed input of a chunk, then the products of one
 * channel tile.  Both are laid out point by point, a step apart: transforms touch all points of a piece, which
 * must not fall into the same few sets of a cache. */
int64_t wino_input_step(const KContract *c);
int64_t wino_product_step(const KContract *c);
int64_t wino_input_elems(const KContract *c);
int64_t wino_scratch_elems(const KContract *c);

/* The matrices, row-major: B^T n x n, G n x 3, A^T m x n. m = 1: of an axis of one tap, the number 1. */
const double *wino_bt(int m);
const double *wino_g(int m);
const double *wino_at(int m);

/* Has this convolution a form by pieces? */
bool wino_can(const MloTarget *t, const KContract *c);
/* The schedule with pieces of m and `down` rows of pieces per chunk; answers the estimated cycles of the layer. */
double wino_schedule(const MloTarget *t, KContract *c, int m, int64_t down);
/* Chooses between direct and Winograd for a convolution that has its direct schedule; sets wino and
 * the schedule where Winograd is estimated to be faster. */
void mlo_schedule_winograd(const MloTarget *t, KContract *c);
/* The weight of a pair of channels at point p = row * wino_nx + column, from its taps [nky][nkx]. */
float wino_weight(const KContract *c, const float *tap, int p);
#endif
