/* codegen/strips.c -- copies of inputs for products of matrices in registers: where things lie, and the choice of a schedule.
 *
 * The cost model counts the register tiles of the contraction over the copy as it does all others (schedule.c), and the copy. */
#include "codegen/strips.h"

#include <math.h>

/* Cycles to copy a step of a pixel; of a row of a step beside that. */
#define UNIT_CYCLES 0.5
#define STRIP_CYCLES 4.0
/* It has to be faster than tiles on the input itself by so much. */
#define WORTH 0.98

static int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* -- where things lie --------------------------------------------------------------------------------- */

int64_t strips_phases(const KContract *c)
{
	return contract_copy_stride_x(c);
}

int64_t strips_width(const KContract *c)
{
	int64_t columns = mlo_contract_by_columns(c) ? c->y_chunk : c->nx;

	return div_up(columns + (c->nkx - 1) * c->dx / strips_phases(c), 2) * 2;
}

int64_t strips_step(const KContract *c)
{
	enum { COLLIDES = 1024, LINE = 64 }; /* steps a multiple of that apart would fall into the same few sets of a cache */
	int64_t bytes = strips_phases(c) * strips_width(c) * STRIPS_UNIT;

	return (bytes % COLLIDES ? bytes : bytes + LINE) / STRIPS_UNIT * c->dot;
}

int64_t strips_height(const KContract *c, int64_t rows)
{
	return (rows - 1) * contract_copy_stride_y(c) + (c->nky - 1) * c->dy + 1;
}

static int64_t chunk_rows(const KContract *c)
{
	return mlo_contract_by_columns(c) ? c->ny : c->y_chunk;
}

int64_t strips_scratch_bytes(const KContract *c)
{
	return strips_height(c, chunk_rows(c)) * mlo_contract_steps(c) * strips_step(c) / c->dot * STRIPS_UNIT;
}

KContract strips_form(const KContract *c)
{
	KContract f = *c;

	f.a_arg = c->w_arg;
	f.a.block = f.a.x = c->dot;
	f.a.k = 1;
	f.a.blk = strips_step(c);
	f.a.y = mlo_contract_steps(c) * f.a.blk;
	f.a.flip = false;
	f.px = f.py = 0;
	f.sx = 1;
	f.sy = contract_copy_stride_y(c);
	f.in_x = c->nx + (c->nkx - 1) * c->dx;
	f.in_y = strips_height(c, c->ny);
	return f;
}

/* -- what can be done ------------------------------------------------------------------------------------ */

bool strips_can(const KContract *c)
{
	return contract_pairs(c) && !contract_pair_adjacent(c) && !c->group_k && !c->a_at && !c->b_at && !c->y_lo && c->nx >= 0 &&
	       contract_zero_fits(c) && contract_sizes_known(c) && (!mlo_contract_by_columns(c) || (c->nx - 1) * c->sx < c->in_x);
}

bool strips_fits(const MloTarget *t, const KContract *c)
{
	bool by_columns = mlo_contract_by_columns(c);
	int64_t extent = by_columns ? c->nx : c->ny, unit = by_columns ? c->cols : 1;
	KContract form = strips_form(c);

	return c->c_chunk >= 1 && c->c_chunk <= mlo_contract_ctiles(c) && !c->wino && !c->depth && !c->sparse.spread && !c->c_outer &&
	       !contract_splits_group(c, c->vecs) && c->y_chunk >= 1 && c->y_chunk % unit == 0 && c->y_chunk <= div_up(extent, unit) * unit &&
	       contract_tile_fits(t, &form, c->cols, c->vecs) && c->rows <= 2 &&
	       (c->rows == 1 || (!by_columns && c->ny > 1 && contract_two_rows_fit(t, &form))) && strips_scratch_bytes(c) <= t->l2;
}

/* -- the cost model --------------------------------------------------------------------------------------- */

/* A chunk of `extent` rows or columns. */
static double chunk_cycles(const MloTarget *t, const KContract *c, int64_t extent)
{
	KContract form = strips_form(c);
	bool by_columns = mlo_contract_by_columns(c);
	double strips = (double)(strips_height(c, by_columns ? c->ny : extent) * mlo_contract_steps(c) * strips_phases(c));
	double pixels = by_columns ? (double)extent : (double)strips_width(c);

	form.nx = by_columns ? extent : c->nx;
	return contract_row_cycles(t, &form, c->cols, c->vecs) * (double)(by_columns ? c->ny : extent) +
	       strips * (pixels * UNIT_CYCLES + STRIP_CYCLES) * (double)mlo_contract_csplits(c);
}

double strips_cycles(const MloTarget *t, const KContract *c)
{
	int64_t extent = mlo_contract_by_columns(c) ? c->nx : c->ny, rest = extent % c->y_chunk;
	double image = (double)(extent / c->y_chunk) * chunk_cycles(t, c, c->y_chunk);

	return (double)contract_images(c) * (image + (rest ? chunk_cycles(t, c, rest) : 0));
}

double strips_schedule(const MloTarget *t, KContract *c)
{
	bool by_columns = mlo_contract_by_columns(c);
	int64_t unit = by_columns ? c->cols : c->rows, units = div_up(by_columns ? c->nx : c->ny, unit), tiles = mlo_contract_ctiles(c);
	KContract w = *c;
	double best = INFINITY;

	w.c_outer = false;
	w.wino = w.depth = 0;
	w.strips = true;
	for (int64_t parts = 1; parts < 2 * units; parts *= 2) {
		w.y_chunk = div_up(units, parts < units ? parts : units) * unit;
		for (int64_t splits = 1; splits <= tiles; splits *= 2) {
			double cycles;

			w.c_chunk = div_up(tiles, splits);
			if (!strips_fits(t, &w) || strips_scratch_bytes(&w) > t->l2 / 2)
				continue;
			cycles = strips_cycles(t, &w);
			cycles *= contract_unbalanced(t, cycles, contract_images(c) * mlo_contract_chunks(&w) * mlo_contract_csplits(&w));
			if (cycles >= best)
				continue;
			best = cycles;
			*c = w;
		}
	}
	return best;
}

void mlo_schedule_strips(const MloTarget *t, const MloKernel *k, KContract *c)
{
	KContract form, chosen = *c;
	double cycles;

	if (!strips_can(c) || c->depth)
		return;
	form = strips_form(c);
	mlo_schedule_contract(t, k, c->nx, &form);
	chosen.vecs = form.vecs;
	chosen.cols = form.cols;
	chosen.rows = form.rows;
	cycles = strips_schedule(t, &chosen);
	if (cycles < WORTH * contract_row_cycles(t, c, c->cols, c->vecs) * (double)(c->ny * contract_images(c)))
		*c = chosen;
}
