/* codegen/device_plan_groups.c -- contractions on tensor cores: which tiles, where groups of four warps multiply (device_wgmma.h). */
#include "codegen/device_plan_model.h"

enum { LEAST_STAGES = 3, COLUMNS_STEP = 32 /* sums are turned within so many */, MOST_GROUPS = 4 };
enum { ROUND_ISSUE = 60 /* of a warp, in a stage */, GROUP_REGISTERS = 56 /* of a thread, beside sums */ };

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

static int registers_of(const DevicePlan *p)
{
	return p->columns / 2 + GROUP_REGISTERS;
}

/* Pieces of a thread lie in rows that are turned alike. */
static bool is_possible(const Model *m, const DevicePlan *p)
{
	int64_t threads = threads_of(p), a = (int64_t)p->rows * p->words / PIECE_WORDS, b = (int64_t)p->columns * p->words / PIECE_WORDS;

	return a % threads == 0 && a / threads <= MAX_PIECES && ceil_div(b, threads) <= MAX_PIECES &&
	       threads * registers_of(p) <= m->gpu->sm_registers && shared_of(m, p) <= m->gpu->block_shared;
}

static int64_t resident(const Model *m, const DevicePlan *p)
{
	int64_t n = m->gpu->sm_registers / ((registers_of(p) + 7) / 8 * 8 * threads_of(p)), by_shared = m->gpu->sm_shared / (shared_of(m, p) + 1024);

	n = n < by_shared ? n : by_shared;
	return n > 1 ? n : 1;
}

/* Of a stage: each group reads its rows and all columns, in every step. */
static double stage_cycles(const Model *m, const DevicePlan *p, double busy)
{
	double tile = (double)p->rows * p->columns, bytes = (double)p->words * 4, rows = p->rows, columns = p->columns;
	double tensor = tile * p->words * mma_word_elems(m->kind) / m->products;
	double shared = (rows + p->groups * columns + rows + columns) * bytes / SHARED_BYTES, l2 = (rows + columns) * bytes / L2_BYTES;
	double pieces = (double)p->words / PIECE_WORDS / DEVICE_WARP;
	double issue = (p->groups * GROUP_WARPS * ROUND_ISSUE + pieces * (rows * (m->inside ? 1.2 : 1.6) + columns * 1.1)) / SCHEDULERS;

	return largest(largest(largest(tensor, shared), largest(l2, issue)), LATENCY / ((p->stages - 2) * busy));
}

static double output_cycles(const DevicePlan *p)
{
	double tile = (double)p->rows * p->columns;

	return largest(tile / DEVICE_WARP * OUTPUT_ISSUE / SCHEDULERS, tile * 4 * 2 / SHARED_BYTES);
}

static double time_of(const Model *m, const DevicePlan *p)
{
	int64_t tiles = device_tile_count(m->k, m->c, p->rows, p->columns), blocks = tiles * p->parts, held = resident(m, p);
	int64_t all = ceil_div(m->c->nk, (int64_t)p->words * mma_word_elems(m->kind)) * m->c->nky * m->c->nkx;
	int64_t most = ceil_div(blocks, m->gpu->sms), busy = most < held ? most : held;
	double tile = (double)p->rows * p->columns * 4, cycles, parts = 0, memory = m->memory_ns;

	cycles = (double)most * (double)all / p->parts * stage_cycles(m, p, (double)busy);
	cycles += (double)ceil_div(most, held) * START;
	if (p->parts > 1) {
		cycles += (double)most * tile / L2_BYTES + MEET;
		parts = (double)p->parts * tile / L2_BYTES;
		if (tile * (double)blocks > (double)m->gpu->l2 / 2)
			memory += 2 * tile * (double)blocks / m->gpu->gbytes;
	}
	cycles += (double)ceil_div(tiles, m->gpu->sms) * (output_cycles(p) + parts);
	return largest(cycles / m->gpu->clock_ghz, memory) + 0.1 * cycles / m->gpu->clock_ghz;
}

static void try_parts(const Model *m, DevicePlan *p, DevicePlan *best)
{
	int64_t all = ceil_div(m->c->nk, (int64_t)p->words * mma_word_elems(m->kind)) * m->c->nky * m->c->nkx;

	for (p->parts = 1; p->parts <= DEVICE_MOST_PARTS && p->parts <= all; p->parts++)
		for (p->stages = MAX_STAGES; p->stages >= LEAST_STAGES && all % p->parts == 0; p->stages--) {
			if (!is_possible(m, p))
				continue;
			p->ns = time_of(m, p);
			if (best->ns == 0 || p->ns < best->ns)
				*best = *p;
		}
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
			if ((words && words != p.words) || (columns && columns != p.columns) || !wgmma_takes(m->kind, p.columns) ||
			    !device_plan_takes(m->c, m->kind, p.columns, p.words))
				continue;
			for (p.groups = 1; p.groups <= MOST_GROUPS; p.groups++) {
				p.rows = p.groups * GROUP_ROWS;
				p.warps_m = p.groups * GROUP_WARPS;
				try_parts(m, &p, best);
			}
		}
}
