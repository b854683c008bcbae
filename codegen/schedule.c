/* codegen/schedule.c -- schedules of contractions from the target's facts, without measuring.
 *
 * The model counts cycles of one register tile: per term of the sum, multiply-adds over the vector
 * units, loads over two load ports, weights over the path from the second-level cache, and the
 * latency of one multiply-add that every accumulator has to wait for; per tile, a constant.  Tiles are
 * chosen by the sum over all tiles of the output, so that a tail costs what it really costs. */
#include "codegen/contract.h"

enum { FMA_LATENCY = 4, LOADS_PER_CYCLE = 2, L2_BYTES_PER_CYCLE = 32, WANTED_TASKS = 32, MAX_VECS = 8, MAX_COLS = 28 };
/* Loop control per term, and what a tile costs beside its terms: clearing and storing accumulators. */
#define TERM_OVERHEAD 0.25
#define TILE_OVERHEAD 10.0

static double max_of(double a, double b)
{
	return a > b ? a : b;
}

static double tile_cycles(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	bool depthwise = contract_is_depthwise(c);
	double terms = (double)(c->nk * c->nky * c->nkx), vector = c->lanes * 4.0;
	double term = max_of(cols * vecs / t->fma_per_cycle,
	                     (double)(depthwise ? cols * vecs + vecs : cols + vecs) / LOADS_PER_CYCLE);

	/* weights that do not stay in the first-level cache between tiles come from the second */
	if (terms * vecs * vector > (double)t->l1d / 2)
		term = max_of(term, vecs * vector / L2_BYTES_PER_CYCLE);
	return terms * (max_of(term, FMA_LATENCY) + TERM_OVERHEAD) + TILE_OVERHEAD + cols * vecs;
}

/* Rows of A that lie a large power of two apart fall into the same sets of the first-level cache:
 * more of them than it has ways (two left for the weights) would evict each other at every term. */
static bool columns_collide(const MloTarget *t, const KContract *c, int cols)
{
	int64_t way = t->l1d / t->l1d_ways, stride = c->sx * c->a.x * 4, sets = 1;

	if (stride < 1024 || contract_is_depthwise(c))
		return false;
	while (sets * stride % way && sets < cols)
		sets++;
	return cols > sets * (t->l1d_ways > 4 ? t->l1d_ways - 3 : t->l1d_ways);
}

bool contract_tile_fits(const MloTarget *t, int cols, int vecs)
{
	return cols * vecs + vecs + 2 < t->vector_regs;
}

static double row_cycles(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	int64_t whole = c->nx / cols, rest = c->nx % cols;

	return (double)whole * tile_cycles(t, c, cols, vecs) + (rest ? tile_cycles(t, c, (int)rest, vecs) : 0);
}

static void choose_tile(const MloTarget *t, KContract *c)
{
	int64_t nvec = (c->nc + c->lanes - 1) / c->lanes;
	double best = 0;

	c->vecs = 0;
	for (int vecs = 1; vecs <= MAX_VECS; vecs++) {
		bool splits_group = c->group_k && !contract_is_depthwise(c) && c->group_c % ((int64_t)vecs * c->lanes);

		if ((vecs > nvec || splits_group) && vecs > 1)
			continue;
		for (int cols = 1; cols <= MAX_COLS && cols <= c->nx && contract_tile_fits(t, cols, vecs); cols++) {
			double cycles = (double)((nvec + vecs - 1) / vecs) * row_cycles(t, c, cols, vecs);

			if (columns_collide(t, c, cols))
				break;
			if (!c->vecs || cycles < best) {
				best = cycles;
				c->vecs = vecs;
				c->cols = cols;
			}
		}
	}
}

/* Two rows per tile halve the way of the weights from the second-level cache, where one row of the
 * image is too short to hide it. */
static void choose_rows(const MloTarget *t, KContract *c)
{
	int64_t weights = c->nk * c->nky * c->nkx * c->vecs * c->lanes * 4;

	c->rows = 1;
	if (!mlo_contract_by_columns(c) && !contract_is_depthwise(c) && c->ny > 1 && weights > t->l1d / 2 &&
	    2 * c->cols * c->vecs + c->vecs + 1 <= t->vector_regs)
		c->rows = 2;
}

/* Which operand is streamed again: inputs per channel tile, or weights per chunk. */
static void choose_order(const MloTarget *t, KContract *c)
{
	bool cols = mlo_contract_by_columns(c);
	int64_t extent = cols ? c->nx : c->ny, unit = cols ? c->cols : c->rows;
	int64_t units = (extent + unit - 1) / unit, tiles = mlo_contract_ctiles(c), chunks, fit;
	int64_t a_bytes = 4 * c->nk * (c->group_k ? c->nc / c->group_c : 1) * c->in_x * (cols ? 1 : c->in_y);
	int64_t w_bytes = 4 * c->nk * c->nky * c->nkx * c->nc;
	int64_t batch = c->nb0 * c->nb1;

	/* enough tasks to balance, but not more than there are units */
	chunks = (WANTED_TASKS + batch * tiles - 1) / (batch * tiles);
	c->c_outer = a_bytes <= t->l2 / 2 || a_bytes <= w_bytes;
	if (!c->c_outer) {
		/* a chunk's inputs stay in half of the second-level cache while all weights pass */
		fit = (a_bytes + t->l2 / 2 - 1) / (t->l2 / 2);
		chunks = chunks > fit ? chunks : fit;
	}
	chunks = chunks > units ? units : chunks < 1 ? 1 : chunks;
	c->y_chunk = (units + chunks - 1) / chunks * unit;
}

void mlo_schedule_contract(const MloTarget *t, KContract *c)
{
	c->lanes = t->vector_bytes / 4;
	choose_tile(t, c);
	choose_rows(t, c);
	choose_order(t, c);
}

void mlo_schedule_text(MloStr *out, const KContract *c)
{
	if (c->wino)
		mlo_str_add(out, "Winograd %dx%d, ", c->wino, c->wino);
	mlo_str_add(out, "tile %dx%d, chunk %lld, %s outer", c->cols, c->vecs * c->lanes, (long long)c->y_chunk,
	            c->c_outer ? "channels" : "rows");
}

bool contract_heavy_epilogue(const MloKernel *k, const KStmt *s)
{
	for (const KStmt *b = s->body; b; b = b->next) {
		KOp op = b->kind == KS_LET ? k->value.items[b->value].op : K_add;

		if (op == K_exp || op == K_log || op == K_tanh || op == K_erf || op == K_sin || op == K_cos ||
		    op == K_sigmoid || op == K_pow || op == K_mod || op == K_fmod)
			return true;
	}
	return false;
}
