/* codegen/matrix.c -- contractions on a matrix unit: where things lie, and the choice of a schedule.
 *
 * The cost model counts, per tile, the products by the unit (whole registers, however much of them is used), the way
 * of both operands into registers, and what storing the sums and the epilogue take; per task, the copy of its input. */
#include "codegen/matrix.h"

#include <math.h>

enum { L2_BYTES_PER_CYCLE = 32, L3_BYTES_PER_CYCLE = 12 };
/* Cycles to copy 64 bytes that lie in one piece, or in blocks, and of a pixel beside that; to store a vector of sums, and to load
 * it again where it is an output; of a tile, beside that. */
#define COPY_DENSE 2.0
#define COPY_BLOCKS 3.0
#define COPY_PIXEL 2.0
#define STORE_CYCLES 1.0
#define OUTPUT_CYCLES 2.0
#define TILE_OVERHEAD 30.0
/* The unit has to be faster than vectors by so much: the estimates are no better. */
#define WORTH 0.85

static int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static double max_of(double a, double b) { return a > b ? a : b; }

/* -- where things lie --------------------------------------------------------------------------------- */

int64_t matrix_chunk_x(const KContract *c)
{
	return mlo_contract_by_columns(c) ? c->y_chunk : c->nx;
}

int64_t matrix_chunk_y(const KContract *c)
{
	return mlo_contract_by_columns(c) ? c->ny : c->y_chunk;
}

int64_t matrix_width(const KContract *c)
{
	int64_t s = contract_copy_stride_x(c);

	return div_up((matrix_chunk_x(c) - 1) * s + (c->nkx - 1) * c->dx + 1, s) * s;
}

int64_t matrix_height(const KContract *c, int64_t rows)
{
	return (rows - 1) * contract_copy_stride_y(c) + (c->nky - 1) * c->dy + 1;
}

int64_t matrix_pitch(const KContract *c)
{
	return contract_copy_stride_y(c) * matrix_width(c) / contract_copy_stride_x(c);
}

bool matrix_joined(const KContract *c)
{
	int64_t x = matrix_chunk_x(c), y = matrix_chunk_y(c);

	return y > 1 && div_up((y - 1) * matrix_pitch(c) + x, c->cols) <= y * div_up(x, c->cols);
}

/* Positions of a line, and lines of a chunk. */
static int64_t line_of(const KContract *c)
{
	return matrix_joined(c) ? (matrix_chunk_y(c) - 1) * matrix_pitch(c) + c->nx : matrix_chunk_x(c);
}

static int64_t lines_of(const KContract *c)
{
	return matrix_joined(c) ? 1 : matrix_chunk_y(c);
}

int64_t matrix_copy_bytes(const KContract *c)
{
	int64_t first = (lines_of(c) - 1) * contract_copy_stride_y(c) * matrix_width(c); /* pixel of the last line */
	int64_t last = (div_up(line_of(c), c->cols) * c->cols - 1) * contract_copy_stride_x(c);
	int64_t reach = (c->nky - 1) * c->dy * matrix_width(c) + (c->nkx - 1) * c->dx + 1;
	int64_t rows = matrix_height(c, matrix_chunk_y(c)) * matrix_width(c), pixels = first + last + reach;

	return div_up((pixels > rows ? pixels : rows) * matrix_pixel(c), MATRIX_ROW) * MATRIX_ROW;
}

static int64_t sum_bytes(const KContract *c)
{
	return (int64_t)c->rows * c->cols * c->vecs * c->lanes * MATRIX_LANE;
}

int64_t matrix_scratch_bytes(const KContract *c)
{
	return matrix_copy_bytes(c) + sum_bytes(c);
}

/* -- what can be done ------------------------------------------------------------------------------------ */

static bool has_product(const MloMatrix *m, const KContract *c)
{
	return c->dot == 1 ? false
	       : c->a.elem == EL_bf16 ? m->bf16 && c->b.elem == EL_bf16
	       : c->a.elem == EL_u8   ? m->u8s8 != NULL
	                              : m->s8s8 != NULL;
}

bool matrix_can(const MloTarget *t, const KContract *c)
{
	if (!t->matrix || !has_product(t->matrix, c) || !c->b.packed || c->group_k || c->a_at || c->b_at || c->y_lo ||
	    c->a.k != 1 || c->lanes * MATRIX_LANE != t->matrix->row_bytes || !contract_zero_fits(c) || !contract_sizes_known(c))
		return false;
	return !mlo_contract_by_columns(c) || c->nx < 0 || (c->nx - 1) * c->sx < c->in_x;
}

bool matrix_fits(const MloTarget *t, const KContract *c)
{
	const MloMatrix *m = t->matrix;

	return c->depth >= 1 && c->depth <= m->rows && c->cols <= m->rows && c->vecs * c->rows + c->vecs + c->rows <= m->registers &&
	       c->c_chunk >= 1 && c->c_chunk <= mlo_contract_ctiles(c) && !c->wino && !c->c_outer &&
	       matrix_scratch_bytes(c) <= t->l2;
}

/* -- the cost model --------------------------------------------------------------------------------------- */

static double copy_cycles(const KContract *c)
{
	double pixels = (double)(matrix_height(c, matrix_chunk_y(c)) * matrix_width(c));
	bool blocks = c->a.block < c->nk;

	return pixels * ((double)matrix_pixel(c) / MATRIX_ROW * (blocks ? COPY_BLOCKS : COPY_DENSE) + COPY_PIXEL);
}

/* A tile with `rows` registers of positions. */
static double tile_cycles(const MloTarget *t, const KContract *c, int rows)
{
	const MloMatrix *m = t->matrix;
	double weights = (double)(matrix_products(c) * c->depth * c->vecs) * m->row_bytes;
	double one = max_of(rows * c->vecs * m->product_cycles, m->product_latency);

	one = max_of(one, m->row_cycles * (rows * c->cols + c->vecs * c->depth));
	if (weights > (double)t->l1d / 2)
		one = max_of(one, (double)(c->vecs * c->depth) * m->row_bytes / L2_BYTES_PER_CYCLE);
	if (weights + (double)matrix_scratch_bytes(c) > (double)t->l2 / 2)
		one = max_of(one, (double)(c->vecs * c->depth) * m->row_bytes / L3_BYTES_PER_CYCLE);
	return (double)matrix_products(c) * one + m->product_latency + rows * c->vecs * c->cols * STORE_CYCLES + TILE_OVERHEAD;
}

/* A whole chunk. */
static double chunk_cycles(const MloTarget *t, const KContract *c)
{
	int64_t tile = (int64_t)c->rows * c->cols, whole = line_of(c) / tile, rest = div_up(line_of(c) % tile, c->cols);
	double line = (double)whole * tile_cycles(t, c, c->rows) + (double)rest * tile_cycles(t, c, 1);

	line += (double)(line_of(c) * c->vecs) * OUTPUT_CYCLES;
	return (double)(mlo_contract_ctiles(c) * lines_of(c)) * line + (double)mlo_contract_csplits(c) * copy_cycles(c);
}

double matrix_cycles(const MloTarget *t, const KContract *c)
{
	int64_t extent = mlo_contract_by_columns(c) ? c->nx : c->ny;
	double image = (double)(extent / c->y_chunk) * chunk_cycles(t, c);
	KContract last = *c;

	last.y_chunk = extent % c->y_chunk;
	return (double)contract_images(c) * (image + (last.y_chunk ? chunk_cycles(t, &last) : 0));
}

/* Until weights that no cache holds have come from memory, once per run: whatever multiplies them. */
static double memory_cycles(const MloTarget *t, const KContract *c)
{
	double bytes = (double)(c->nc * c->nk * c->nky * c->nkx) * mlo_elem_bits(c->b.elem) / 8;

	return bytes > (double)t->l2 / 2 ? bytes / t->bytes_per_cycle : 0;
}

typedef struct Search {
	const MloTarget *t;
	KContract best;
	double cycles; /* of best */
} Search;

static void consider(Search *s, const KContract *c)
{
	double cycles;

	if (!matrix_fits(s->t, c) || matrix_scratch_bytes(c) > s->t->l2 / 2)
		return;
	cycles = matrix_cycles(s->t, c);
	cycles *= contract_unbalanced(s->t, cycles, contract_images(c) * mlo_contract_chunks(c) * mlo_contract_csplits(c));
	if (cycles >= s->cycles)
		return;
	s->cycles = cycles;
	s->best = *c;
}

/* All channels of a chunk in one task, or parts of them. */
static void try_splits(Search *s, KContract *c)
{
	int64_t tiles = mlo_contract_ctiles(c);

	for (int64_t parts = 1; parts <= tiles; parts *= 2) {
		c->c_chunk = div_up(tiles, parts);
		consider(s, c);
	}
}

static void try_chunks(Search *s, KContract *c)
{
	bool by_columns = mlo_contract_by_columns(c);
	int64_t unit = by_columns ? (int64_t)c->rows * c->cols : 1, units = div_up(by_columns ? c->nx : c->ny, unit);

	for (int64_t parts = 1; parts < 2 * units; parts *= 2) {
		c->y_chunk = div_up(units, parts < units ? parts : units) * unit;
		try_splits(s, c);
	}
}

/* Registers full of positions, or those of a row divided evenly. */
static void try_columns(Search *s, KContract *c)
{
	int64_t most = s->t->matrix->rows, even = div_up(c->nx, div_up(c->nx, most));

	c->cols = (int)even;
	try_chunks(s, c);
	if (even < most && c->ny > 1) {
		c->cols = (int)most;
		try_chunks(s, c);
	}
}

/* The most steps per product that leave the fewest products. */
static int depth_of(const MloTarget *t, const KContract *from)
{
	KContract c = *from;
	int best = 1;
	int64_t least = 0;

	for (c.depth = 1; c.depth <= t->matrix->rows; c.depth++) {
		int64_t n = matrix_products(&c);

		if (!least || n < least) {
			least = n;
			best = c.depth;
		}
	}
	return best;
}

double matrix_schedule(const MloTarget *t, int rows, int vecs, KContract *c)
{
	Search s = {.t = t, .cycles = INFINITY};
	KContract w = *c;

	if (vecs > div_up(c->nc, c->lanes) || vecs * rows + vecs + rows > t->matrix->registers)
		return INFINITY;
	w.depth = depth_of(t, c);
	w.c_outer = false;
	w.wino = 0;
	w.vecs = vecs;
	w.rows = rows;
	try_columns(&s, &w);
	if (s.best.depth)
		*c = s.best;
	return s.cycles;
}

/* Cycles with c's schedule, the weights' way from memory included. */
static double all_cycles(const MloTarget *t, const KContract *c)
{
	double products = c->depth ? matrix_cycles(t, c)
	                           : contract_row_cycles(t, c, c->cols, c->vecs) * (double)(c->ny * contract_images(c));

	return max_of(products, memory_cycles(t, c));
}

/* Of an open number of columns: by the geometric mean over several numbers up to a plausible one. */
static bool wins(const MloTarget *t, const KContract *vectors, const KContract *unit, bool open)
{
	enum { APART = 8 };
	KContract v = *vectors, u = *unit;
	double product = 1, n = 0;

	for (int64_t nx = v.nx; nx > 0; nx = open ? nx / APART : 0, n++) {
		v.nx = u.nx = nx;
		if (open)
			v.in_x = u.in_x = nx;
		product *= all_cycles(t, &u) / all_cycles(t, &v);
	}
	return pow(product, 1 / n) < WORTH;
}

void mlo_schedule_matrix(const MloTarget *t, const MloKernel *k, KContract *c)
{
	KContract at = *c, chosen = *c; /* with a plausible number of columns */
	double best = INFINITY;

	if (!matrix_can(t, c))
		return;
	if (c->nx < 0)
		at.nx = at.in_x = mlo_kernel_guess(k, c->nx);
	for (int vecs = 1; vecs <= MATRIX_MAX_VECS; vecs++) {
		for (int rows = 1; rows <= MATRIX_MAX_ROWS; rows++) {
			KContract w = at;
			double cycles = matrix_schedule(t, rows, vecs, &w);

			if (cycles >= best)
				continue;
			best = cycles;
			chosen = w;
		}
	}
	if (!chosen.depth || !wins(t, &at, &chosen, c->nx < 0))
		return;
	chosen.nx = c->nx;
	chosen.in_x = c->in_x;
	*c = chosen;
}
