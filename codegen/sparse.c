/* codegen/sparse.c -- contractions by sparse weights: where things lie, and the choice of a schedule.
 *
 * The cost model counts, per tile, the copy of its input; per row of weights, what finding its end and moving its sums take; per
 * weight, the loads of its registers of input, from the first-level cache or, where a run does not stay there, from the second. */
#include "codegen/sparse.h"

#include <math.h>

#include "codegen/estimate.h"

/* Measured on Zen 5: loads of whole vectors per cycle as operands of multiply-adds, from either cache; to begin and end a row; to
 * move a register of sums. */
#define L1_LOADS 1.5
#define L2_LOADS 0.65
#define LEAST_TERM 1.6
#define ROW_OVERHEAD 15.0
#define MOVE_SUM 1.5
/* To load a piece of a position, to transpose a vector by one stage, to store it; from there to the epilogue. */
#define COPY_LOAD 0.8
#define COPY_STAGE 0.7
#define COPY_STORE 1.2
#define OUTPUT_CYCLES 6.0
#define TILE_OVERHEAD 100.0
/* Estimates are no better: only what gains so much is worth it. */
#define WORTH 0.9

static int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static double max_of(double a, double b) { return a > b ? a : b; }

/* -- where things lie --------------------------------------------------------------------------------- */

int64_t sparse_piece(const KContract *c)
{
	/* blocks are there as a whole; rows of channels only as far as there are channels */
	int64_t most = c->a.block < c->nk ? c->a.block : c->nk, n = c->lanes;

	while (n > 1 && most % (n * c->dot))
		n /= 2;
	return n;
}

int64_t sparse_copy_vectors(const KContract *c)
{
	int64_t piece = sparse_piece(c);

	return div_up(mlo_contract_steps(c), piece) * piece * sparse_plane(c);
}

int64_t sparse_sum_vectors(const KContract *c)
{
	return (c->sparse.runs > 1 ? c->c_chunk : 1) * c->lanes * sparse_registers(c);
}

int64_t sparse_scratch_bytes(const KContract *c)
{
	return (sparse_copy_vectors(c) + sparse_sum_vectors(c) + c->lanes) * c->lanes * 4;
}

/* -- what can be done ------------------------------------------------------------------------------------ */

bool sparse_can(const MloTarget *t, const KContract *c)
{
	bool floats = c->dot == 1 && c->a.elem == EL_f32 && c->b.elem == EL_f32, bytes = contract_lane_dot(c) == 4;

	return (floats || bytes) && contract_dot_pieces(t, c) == 1 && c->b.packed && !c->group_k && !c->scale.on && !c->a_at && !c->b_at &&
	       !c->y_lo && c->a.k == 1 && c->nk % contract_lane_dot(c) == 0 && contract_zero_fits(c) && contract_sizes_known(c);
}

int sparse_most_registers(const MloTarget *t, int group)
{
	/* beside the sums, a weight of each channel, an input, and one more under way */
	return (t->vector_regs - group - 3) / group;
}

bool sparse_fits(const MloTarget *t, const KContract *c)
{
	bool by_columns = mlo_contract_by_columns(c);

	if (c->vecs != 1 || c->wino || c->depth || c->c_outer || c->sparse.spread < 1 || c->sparse.spread > c->lanes || c->rows < 1 ||
	    c->cols < 1 || c->sparse.group < 1 || c->lanes % c->sparse.group || c->c_chunk < 1 || c->c_chunk > mlo_contract_ctiles(c) ||
	    sparse_registers(c) > sparse_most_registers(t, c->sparse.group))
		return false;
	if (by_columns ? c->sparse.spread != c->lanes || c->rows != 1 || c->y_chunk != (int64_t)c->sparse.spread * c->cols
	               : (int64_t)c->sparse.spread * c->cols < c->nx || c->y_chunk != (int64_t)sparse_down(c) * c->rows)
		return false;
	return c->sparse.runs >= 1 && c->sparse.runs <= mlo_contract_steps(c) && sparse_scratch_bytes(c) <= t->l2;
}

/* -- the cost model --------------------------------------------------------------------------------------- */

/* A weight and its registers of input. */
static double term_cycles(const MloTarget *t, const KContract *c)
{
	double n = sparse_registers(c), group = c->sparse.group, bytes = (double)(sparse_run(c) * sparse_plane(c) * t->vector_bytes);
	double far = bytes > (double)t->l1d ? 1 - (double)t->l1d / bytes : 0;
	double near = max_of(n * group / t->fma_per_cycle, (n + group) / L1_LOADS);

	return max_of(near * (1 - far) + max_of(near, n / L2_LOADS) * far, LEAST_TERM);
}

static double copy_cycles(const KContract *c)
{
	double piece = (double)sparse_piece(c);

	return (double)sparse_copy_vectors(c) * (c->lanes * COPY_LOAD / piece + COPY_STAGE * log2(piece) + COPY_STORE);
}

static double tile_cycles(const MloTarget *t, const KContract *c, int64_t weights)
{
	double rows = (double)sparse_rows(c), n = sparse_registers(c);
	double outputs = n * (double)(mlo_contract_ctiles(c) * c->lanes);
	double moves = c->sparse.runs > 1 ? 1.5 : 0.5; /* of sums; where they come from memory as well, three times as many */

	return rows * (ROW_OVERHEAD + n * c->sparse.group * MOVE_SUM * moves) + (double)weights * term_cycles(t, c) +
	       outputs * OUTPUT_CYCLES + (double)mlo_contract_csplits(c) * (copy_cycles(c) + TILE_OVERHEAD);
}

double sparse_cycles(const MloTarget *t, const KContract *c, int64_t weights)
{
	return (double)(contract_images(c) * mlo_contract_chunks(c)) * tile_cycles(t, c, weights);
}

typedef struct Search {
	const MloTarget *t;
	int64_t weights;
	KContract best;
	double cycles; /* of best */
} Search;

static void consider(Search *s, const KContract *c)
{
	double cycles;

	if (!sparse_fits(s->t, c))
		return;
	cycles = sparse_cycles(s->t, c, s->weights);
	cycles *= contract_unbalanced(s->t, cycles, contract_images(c) * mlo_contract_chunks(c) * mlo_contract_csplits(c));
	if (cycles >= s->cycles)
		return;
	s->cycles = cycles;
	s->best = *c;
}

static void try_runs(Search *s, KContract *c)
{
	int64_t tiles = mlo_contract_ctiles(c), steps = mlo_contract_steps(c);

	for (c->sparse.runs = 1; c->sparse.runs <= steps; c->sparse.runs *= 2) {
		for (int64_t parts = 1; parts <= tiles; parts *= 2) {
			c->c_chunk = div_up(tiles, parts);
			consider(s, c);
		}
	}
}

/* Tiles of whole rows of outputs. */
static void try_images(Search *s, int registers, KContract *c)
{
	for (c->sparse.spread = 1; c->sparse.spread <= c->lanes; c->sparse.spread *= 2) {
		c->cols = (int)div_up(c->nx, c->sparse.spread);
		for (c->rows = 1; c->rows * c->cols <= registers; c->rows++) {
			c->y_chunk = (int64_t)sparse_down(c) * c->rows;
			try_runs(s, c);
			if (c->y_chunk >= c->ny)
				break;
		}
	}
}

double sparse_schedule(const MloTarget *t, int registers, int64_t weights, KContract *c)
{
	Search s = {.t = t, .weights = weights, .cycles = INFINITY};
	KContract w = *c;

	w.vecs = w.rows = 1;
	w.wino = w.depth = 0;
	w.strips = false;
	w.c_outer = false;
	if (mlo_contract_by_columns(&w)) {
		w.sparse.spread = w.lanes;
		for (w.cols = 1; w.cols <= registers; w.cols++) {
			w.y_chunk = (int64_t)w.sparse.spread * w.cols;
			try_runs(&s, &w);
			if (w.y_chunk >= w.nx)
				break;
		}
	} else if (w.nx <= (int64_t)registers * w.lanes) {
		try_images(&s, registers, &w);
	}
	if (s.best.sparse.spread)
		*c = s.best;
	return s.cycles;
}

void mlo_schedule_sparse(const MloTarget *t, const MloKernel *k, const MloSparsity *weights, bool weights_stay, KContract *c)
{
	KContract dense = *c, chosen = {0}; /* with a plausible number of columns */
	double best;

	if (c->nx < 0)
		dense.nx = dense.in_x = mlo_kernel_guess(k, c->nx);
	if (weights->n[0] < 1 || !sparse_can(t, &dense))
		return;
	best = WORTH * mlo_contract_cycles(t, &dense, 0, weights_stay);
	for (int i = 0; i < MLO_SPARSE_GROUPS; i++) {
		KContract w = dense;
		double cycles;

		w.dot = contract_lane_dot(c);
		w.sparse.group = 1 << i;
		cycles = sparse_schedule(t, sparse_most_registers(t, w.sparse.group), weights->n[i], &w);
		if (cycles < (i ? WORTH : 1) * best) {
			best = cycles;
			chosen = w;
		}
	}
	if (!chosen.sparse.spread)
		return;
	chosen.nx = c->nx;
	chosen.in_x = c->in_x;
	*c = chosen;
}
