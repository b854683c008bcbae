/* codegen/device_plan_groups.c -- contractions on tensor cores: which tiles, where groups of four warps multiply (device_wgmma.h). */
#include "codegen/device_pixels.h"
#include "codegen/device_plan_model.h"

enum { LEAST_STAGES = 3, MOST_PIXEL_STAGES = 8, COLUMNS_STEP = 32 /* sums are turned within so many */, MOST_GROUPS = 4 };
enum { ROUND_ISSUE = 60 /* of a warp, in a stage */, GROUP_REGISTERS = 56 /* of a thread, beside sums */ };
enum { PIXEL_ISSUE = 7 /* of a piece that a table says the place of */ };

static int threads_of(const DevicePlan *p)
{
	return p->groups * GROUP_THREADS;
}

static int64_t tile_stage_bytes(const DevicePlan *p)
{
	int64_t b = ceil_div((int64_t)p->columns * p->words / PIECE_WORDS, threads_of(p)) * threads_of(p) * PIECE;

	return (int64_t)p->rows * p->words * 4 + b;
}

static int64_t shared_of(const Model *m, const DevicePlan *p)
{
	int64_t sizes = m->inside ? 0 : m->c->nky * m->c->nkx * ((int64_t)p->rows * 4 + 16);
	int64_t sums = (int64_t)p->rows * p->columns * 4, bytes = p->stages * tile_stage_bytes(p);

	return (bytes > sums ? bytes : sums) + sizes;
}

/* columns: of a product. */
static int registers_of(int columns)
{
	return columns / 2 + GROUP_REGISTERS;
}

/* Pieces of a thread lie in rows that are turned alike. */
static bool is_possible(const Model *m, const DevicePlan *p)
{
	int64_t threads = threads_of(p), a = (int64_t)p->rows * p->words / PIECE_WORDS, b = (int64_t)p->columns * p->words / PIECE_WORDS;

	return a % threads == 0 && a / threads <= MAX_PIECES && ceil_div(b, threads) <= MAX_PIECES &&
	       threads * registers_of(p->columns) <= m->gpu->sm_registers && shared_of(m, p) <= m->gpu->block_shared;
}

static int64_t resident(const Model *m, int threads, int registers, int64_t shared)
{
	int64_t n = mlo_gpu_resident(m->gpu, threads, registers, shared);

	return n > 1 ? n : 1;
}

/* What a multiprocessor is busy with, in cycles of a stage. */
typedef struct Busy {
	double rows, columns;    /* that come from memory, of a stage */
	double a_rows, b_rows;   /* that groups read for the products of a step, A each its own */
	double copy_issue;       /* instructions for pieces, in all */
} Busy;

static double stage_cycles(const Model *m, const DevicePlan *p, const Busy *b, double busy)
{
	double tile = (double)p->rows * p->columns, bytes = (double)p->words * 4, come = b->rows + b->columns;
	double tensor = tile * p->words * mma_word_elems(m->kind) / m->products;
	double shared = (b->a_rows + p->groups * b->b_rows + come) * bytes / SHARED_BYTES, l2 = come * bytes / L2_BYTES;
	double issue = (p->groups * GROUP_WARPS * ROUND_ISSUE + b->copy_issue / DEVICE_WARP) / SCHEDULERS;

	return largest(largest(largest(tensor, shared), largest(l2, issue)), LATENCY / ((p->stages - 2) * busy));
}

static double output_cycles(const DevicePlan *p)
{
	double tile = (double)p->rows * p->columns;

	return largest(tile / DEVICE_WARP * OUTPUT_ISSUE / SCHEDULERS, tile * 4 * 2 / SHARED_BYTES);
}

static int64_t stages_of(const Model *m, const DevicePlan *p)
{
	return ceil_div(m->c->nk, (int64_t)p->words * mma_word_elems(m->kind)) * m->c->nky * m->c->nkx;
}

/* blocks: of all tiles and parts. */
static double time_of(const Model *m, const DevicePlan *p, const Busy *b, int64_t blocks, int64_t held)
{
	int64_t most = ceil_div(blocks, m->gpu->sms), busy = most < held ? most : held;
	double tile = (double)p->rows * p->columns * 4, cycles, parts = 0, memory = m->memory_ns;

	cycles = (double)most * (double)stages_of(m, p) / p->parts * stage_cycles(m, p, b, (double)busy);
	cycles += (double)ceil_div(most, held) * START;
	if (p->parts > 1) {
		cycles += (double)most * tile / L2_BYTES + MEET;
		parts = (double)p->parts * tile / L2_BYTES;
		if (tile * (double)blocks > (double)m->gpu->l2 / 2)
			memory += 2 * tile * (double)blocks / m->gpu->gbytes;
	}
	cycles += (double)ceil_div(blocks / p->parts, m->gpu->sms) * (output_cycles(p) + parts);
	return largest(cycles / m->gpu->clock_ghz, memory) + 0.1 * cycles / m->gpu->clock_ghz;
}

static void keep_better(const DevicePlan *p, DevicePlan *best)
{
	if (best->ns == 0 || p->ns < best->ns)
		*best = *p;
}

/* -- groups of rows ---------------------------------------------------------------------------------- */

/* Each group reads its rows, and all columns. */
static void try_rows(const Model *m, DevicePlan *p, DevicePlan *best)
{
	int64_t all = stages_of(m, p), tiles = device_tile_count(m->k, m->c, p->rows, p->columns);
	double pieces = (double)p->words / PIECE_WORDS;
	Busy b = {.rows = p->rows, .columns = p->columns, .a_rows = p->rows, .b_rows = p->columns,
	          .copy_issue = pieces * (p->rows * (m->inside ? 1.2 : 1.6) + p->columns * 1.1)};

	for (p->parts = 1; p->parts <= DEVICE_MOST_PARTS && p->parts <= all; p->parts++)
		for (p->stages = MAX_STAGES; p->stages >= LEAST_STAGES && all % p->parts == 0; p->stages--) {
			if (!is_possible(m, p))
				continue;
			p->ns = time_of(m, p, &b, tiles * p->parts, resident(m, threads_of(p), registers_of(p->columns), shared_of(m, p)));
			keep_better(p, best);
		}
}

/* -- groups of columns, and all taps out of the same pixels ------------------------------------------- */

static void try_pixels_of(const Model *m, DevicePlan *p, DevicePlan *best)
{
	PixelShape s;
	int64_t shared;
	Busy b = {.columns = p->columns, .a_rows = p->columns, .b_rows = p->rows};

	if (!device_pixels_shape(m->c, m->kind, p, &s) || threads_of(p) * registers_of(p->rows) > m->gpu->sm_registers)
		return;
	shared = device_pixels_shared(m->c, &s, p);
	if (shared > m->gpu->block_shared)
		return;
	b.rows = (double)s.slots / (double)s.taps;
	b.copy_issue = (double)p->words / PIECE_WORDS * (b.columns * 1.1 + b.rows * PIXEL_ISSUE);
	p->ns = time_of(m, p, &b, device_pixels_blocks(m->c, &s, p), resident(m, threads_of(p), registers_of(p->rows), shared));
	keep_better(p, best);
}

static void try_pixels(const Model *m, DevicePlan *p, DevicePlan *best)
{
	p->pixels = true;
	p->parts = 1;
	p->groups = p->columns / GROUP_ROWS;
	p->warps_m = p->groups * GROUP_WARPS;
	for (p->rows = 8; p->rows <= GROUP_MOST_COLUMNS && p->columns % GROUP_ROWS == 0; p->rows += 8)
		for (p->stages = MOST_PIXEL_STAGES; p->stages >= LEAST_STAGES; p->stages--)
			if (wgmma_takes(m->kind, p->rows))
				try_pixels_of(m, p, best);
	p->pixels = false;
}

void device_plan_groups(const Model *m, int columns, int words, DevicePlan *best)
{
	DevicePlan p = {.slices = 1, .warps_n = 1};

	if (m->kind->word == EL_tf32 && m->kind->a != EL_tf32)
		return; /* it is rounded in registers */
	if (!m->gpu->warpgroups || !m->async || m->c->b.kept || !device_index_fits(m->k))
		return;
	for (p.words = MMA_MOST_WORDS; p.words >= MMA_LEAST_WORDS; p.words /= 2)
		for (p.columns = GROUP_MOST_COLUMNS; p.columns >= COLUMNS_STEP; p.columns -= COLUMNS_STEP) {
			if ((words && words != p.words) || (columns && columns != p.columns) || !device_plan_takes(m->c, m->kind, p.columns, p.words))
				continue;
			for (p.groups = 1; p.groups <= MOST_GROUPS && wgmma_takes(m->kind, p.columns); p.groups++) {
				p.rows = p.groups * GROUP_ROWS;
				p.warps_m = p.groups * GROUP_WARPS;
				try_rows(m, &p, best);
			}
			try_pixels(m, &p, best);
		}
}
