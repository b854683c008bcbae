/* codegen/schedule.c -- schedules of contractions from the target's facts, without measuring.
 *
 * The model counts, per term of the sum, cycles of one register tile: multiply-adds over the
 * vector units, loads over two load ports, and the latency of one multiply-add that every
 * accumulator has to wait for.  Tiles are chosen by the sum over all tiles of the output, so that
 * a tail costs what it really costs. */
#include "codegen/contract.h"

enum { FMA_LATENCY = 4, LOADS_PER_CYCLE = 2, WANTED_TASKS = 32, MAX_VECS = 8, MAX_COLS = 28 };

static double term_cycles(const MloTarget *t, int cols, int vecs, bool depthwise)
{
	double fma = cols * vecs / t->fma_per_cycle;
	double loads = (double)(depthwise ? cols * vecs + vecs : cols + vecs) / LOADS_PER_CYCLE;
	double cycles = fma > loads ? fma : loads;

	return cycles > FMA_LATENCY ? cycles : FMA_LATENCY;
}

static bool tile_fits(const MloTarget *t, int cols, int vecs)
{
	return cols * vecs + vecs + 1 <= t->vector_regs;
}

static double row_cycles(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	int64_t whole = c->nx / cols, rest = c->nx % cols;
	bool dw = contract_is_depthwise(c);

	return (double)whole * term_cycles(t, cols, vecs, dw) + (rest ? term_cycles(t, (int)rest, vecs, dw) : 0);
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
		for (int cols = 1; cols <= MAX_COLS && cols <= c->nx; cols++) {
			double cycles;

			if (!tile_fits(t, cols, vecs))
				break;
			cycles = (double)((nvec + vecs - 1) / vecs) * row_cycles(t, c, cols, vecs);
			/* a wider tile must pay: it costs code and registers */
			if (!c->vecs || cycles < best * 0.995 ||
			    (cycles <= best && vecs == t->tile.vecs && cols <= t->tile.cols)) {
				best = cycles < best || !c->vecs ? cycles : best;
				c->vecs = vecs;
				c->cols = cols;
			}
		}
	}
	c->rows = 1;
}

/* Which operand is streamed again: inputs per channel tile, or weights per chunk. */
static void choose_order(const MloTarget *t, KContract *c)
{
	bool cols = mlo_contract_by_columns(c);
	int64_t extent = cols ? c->nx : c->ny, unit = cols ? c->cols : 1;
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
	choose_order(t, c);
}

void mlo_schedule_text(MloStr *out, const KContract *c)
{
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
