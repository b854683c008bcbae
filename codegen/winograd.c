/* codegen/winograd.c -- when Winograd's filtering pays, and its transforms as numbers. */
#include "codegen/winograd.h"

enum { L3_BYTES_PER_CYCLE = 8, L2_BYTES_PER_CYCLE = 32, MAX_VECS = 4, MAX_COLS = 28, FMA_LATENCY = 4, LINE_ELEMS = 16 };
/* Vector instructions of the input transform of one piece and of the output transform with its
 * epilogue, measured on AVX-512 as cycles per piece and vector of channels. */
#define INPUT_CYCLES 190.0
#define OUTPUT_CYCLES 240.0
/* Of those, along one axis alone. */
#define ONE_AXIS 0.6
/* Direct convolution reaches about this share of the multiply-adds a core can do, the products of
 * transformed pieces somewhat less: their sums are short. */
#define DIRECT_SHARE 0.9
#define PRODUCT_SHARE 0.82
#define MEMORY_SHARE 0.5
/* Which part of the way of weights from the second-level cache to each register tile is not hidden, where those of a point do not
 * stay in the first one. */
#define EXPOSED 0.15
/* What is gained must be worth the rounding. */
#define WORTH 0.85
/* Larger pieces have more weights; where those come from memory in every run, they also take time to load, room,
 * and bandwidth from other threads: they must gain this much over smaller pieces. */
#define LARGER_WORTH 0.9

int64_t wino_pieces(const KContract *c)
{
	int64_t n = c->y_chunk / wino_my(c) * wino_across(c);

	return (n + c->cols - 1) / c->cols * c->cols;
}

/* Room for n elements whose next neighbour falls into another set of every cache: an odd number of lines. */
static int64_t step_of(int64_t n)
{
	return ((n + LINE_ELEMS - 1) / LINE_ELEMS | 1) * LINE_ELEMS;
}

int64_t wino_input_step(const KContract *c)
{
	return step_of(wino_kvecs(c) * c->lanes * wino_pieces(c));
}

int64_t wino_product_step(const KContract *c)
{
	return step_of(wino_pieces(c) * c->vecs * c->lanes);
}

int64_t wino_input_elems(const KContract *c)
{
	return wino_points(c) * wino_input_step(c);
}

int64_t wino_scratch_elems(const KContract *c)
{
	return wino_input_elems(c) + wino_points(c) * wino_product_step(c);
}

static const double one = 1;

const double *wino_bt(int m)
{
	static const double two[] = {1, 0, -1, 0, 0, 1, 1, 0, 0, -1, 1, 0, 0, 1, 0, -1};
	static const double four[] = {4, 0, -5, 0, 1, 0, 0, -4, -4, 1, 1, 0, 0, 4, -4, -1, 1, 0,
	                              0, -2, -1, 2, 1, 0, 0, 2, -1, -2, 1, 0, 0, 4, 0, -5, 0, 1};

	return m == 1 ? &one : m == 2 ? two : four;
}

const double *wino_g(int m)
{
	static const double two[] = {1, 0, 0, 0.5, 0.5, 0.5, 0.5, -0.5, 0.5, 0, 0, 1};
	static const double four[] = {1. / 4, 0, 0, -1. / 6, -1. / 6, -1. / 6, -1. / 6, 1. / 6, -1. / 6,
	                              1. / 24, 1. / 12, 1. / 6, 1. / 24, -1. / 12, 1. / 6, 0, 0, 1};

	return m == 1 ? &one : m == 2 ? two : four;
}

const double *wino_at(int m)
{
	static const double two[] = {1, 1, 1, 0, 0, 1, -1, -1};
	static const double four[] = {1, 1, 1, 1, 1, 0, 0, 1, -1, 2, -2, 0, 0, 1, 1, 4, 4, 0, 0, 1, -1, 8, -8, 1};

	return m == 1 ? &one : m == 2 ? two : four;
}

float wino_weight(const KContract *c, const float *tap, int p)
{
	const double *row = wino_g(wino_my(c)) + p / wino_nx(c) * c->nky;
	const double *col = wino_g(wino_mx(c)) + p % wino_nx(c) * c->nkx;
	double sum = 0;

	for (int y = 0; y < c->nky; y++)
		for (int x = 0; x < c->nkx; x++)
			sum += row[y] * col[x] * (double)tap[y * c->nkx + x];
	return (float)sum;
}

static double max_of(double a, double b)
{
	return a > b ? a : b;
}

/* What a division into two tasks may cost a thread that does both. */
#define MAY_COST 1.05

bool wino_can(const MloTarget *t, const KContract *c)
{
	return mlo_contract_sum(c) == EL_f32 && c->ny >= 0 && c->nx >= 0 &&
	       (c->nky == 3 || c->nky == 1) && (c->nkx == 3 || c->nkx == 1) &&
	       c->nky + c->nkx > 2 && c->sy == 1 && c->sx == 1 && c->dy == 1 && c->dx == 1 && c->py <= c->nky / 2 &&
	       c->px <= c->nkx / 2 && !c->group_k && c->b.packed && c->a.block == c->lanes && c->a.k == 1 &&
	       t->vector_regs >= 16;
}

/* Cycles of the products of one channel tile over n pieces. */
static double product_cycles(const MloTarget *t, const KContract *c, int64_t n, int cols, int vecs)
{
	double weights = vecs * c->lanes * 4.0;
	/* a tile's transformed inputs, a term of each piece, come from the second-level cache */
	double loads = (cols + vecs) / 2.0 + cols * 4.0 / L2_BYTES_PER_CYCLE;
	double term = max_of(max_of(cols * vecs / t->fma_per_cycle, loads), FMA_LATENCY) + 0.25;

	if (weights * (double)c->nk > (double)t->l1d / 2)
		term += EXPOSED * weights / L2_BYTES_PER_CYCLE;
	return (double)((n + cols - 1) / cols) * (term * (double)c->nk + 10 + cols * vecs) * wino_points(c);
}

static double choose_tile(const MloTarget *t, KContract *c, int64_t most)
{
	int64_t n = c->y_chunk / wino_my(c) * wino_across(c), nvec = wino_cvecs(c);
	double best = 0;

	for (int vecs = 1; vecs <= MAX_VECS && vecs <= most && vecs <= nvec; vecs++) {
		for (int cols = 1; cols <= MAX_COLS && cols <= n && nvec % vecs == 0; cols++) {
			double cycles = product_cycles(t, c, n, cols, vecs) * (double)(nvec / vecs);

			if (!contract_tile_fits(t, c, cols, vecs) || (best > 0 && cycles >= best))
				continue;
			best = cycles;
			c->cols = cols;
			c->vecs = vecs;
		}
	}
	return best;
}

/* Cycles of the whole layer when a chunk has `down` rows of pieces and a tile up to `most` vectors; fills the
 * schedule. */
static double layer_cycles(const MloTarget *t, KContract *c, bool stay, int64_t down, int64_t most)
{
	double weights = mlo_elem_bits(c->b.elem) / 8.0 * wino_points(c) * (double)(c->nk * c->nc);
	double products, transforms, first, again;
	double pieces = (double)(down * wino_across(c)), chunks, scratch;

	c->y_chunk = down * wino_my(c);
	chunks = (double)((wino_down(c) + down - 1) / down) * (double)contract_images(c);
	products = choose_tile(t, c, most) / PRODUCT_SHARE;
	/* weights come from memory once per run, other layers having passed since, and the core has it to
	 * itself by half at best, unless those of all layers stay in the core's caches; for further chunks from
	 * whichever cache holds them */
	scratch = 4.0 * (double)wino_scratch_elems(c);
	first = weights / (stay ? L3_BYTES_PER_CYCLE : t->bytes_per_cycle * MEMORY_SHARE);
	again = weights / (weights + scratch > 0.9 * (double)t->l2 ? L3_BYTES_PER_CYCLE : L2_BYTES_PER_CYCLE);
	if (scratch > 0.75 * (double)t->l2)
		products *= 1.5;
	transforms = pieces * (INPUT_CYCLES * (double)wino_kvecs(c) + OUTPUT_CYCLES * (double)wino_cvecs(c)) *
	             wino_points(c) / WINO_MAX_POINTS * (c->nky == c->nkx ? 1 : ONE_AXIS) * (t->vector_regs < 32 ? 1.3 : 1) / (t->fma_per_cycle / 2);
	return max_of(products, first) + (chunks - 1) * max_of(products, again) + chunks * transforms;
}

static int64_t tasks_of_chunks(const KContract *c) { return mlo_contract_chunks(c) * contract_images(c); }

/* Tasks for several threads: chunks first, then channel tiles.  A thread transforms the input once for the parts
 * of a chunk that it is given together. */
static void split_channels(KContract *c)
{
	enum { WANTED = 6 };
	int64_t chunks = tasks_of_chunks(c), tiles = mlo_contract_ctiles(c);
	int64_t split = chunks >= WANTED ? 1 : (WANTED + chunks - 1) / chunks;
	int64_t least = chunks == 1 && tiles > 1 ? 2 : 1;

	split = split > tiles / 2 ? (tiles + 1) / 2 : split;
	/* every thread transforms the input anew: into more parts only while that is small beside the products */
	while (split > 1 && tiles / split * c->vecs * c->lanes < 64)
		split--;
	split = split < least ? least : split;
	c->c_chunk = (tiles + split - 1) / split;
}

void wino_elements(KContract *c)
{
	c->dot = 1;
	if (c->b.elem == EL_bf16)
		c->b.elem = EL_f32;
}

/* As wino_schedule, with tiles of up to `most` vectors. */
static double schedule(const MloTarget *t, KContract *c, bool stay, int m, int64_t down, int64_t most)
{
	double cycles;

	c->wino = m;
	c->rows = 1;
	wino_elements(c);
	cycles = layer_cycles(t, c, stay, down, most);
	split_channels(c);
	return cycles;
}

bool wino_weights_stay(const MloTarget *t, int64_t bytes)
{
	return bytes > 0 && bytes <= t->l2 + t->l3;
}

double wino_schedule(const MloTarget *t, KContract *c, bool stay, int m, int64_t down)
{
	return schedule(t, c, stay, m, down, MAX_VECS);
}

/* How much longer the one of two threads takes that has more tasks, by half: a single thread counts as much.  What is
 * over before a second thread has begun is not divided. */
static double unbalanced(const MloTarget *t, const KContract *c, double cycles)
{
	int64_t tasks = tasks_of_chunks(c) * mlo_contract_csplits(c);

	return cycles < mlo_target_divides_ns(t) * t->clock_ghz ? 1 : 1 + 0.5 * ((double)((tasks + 1) / 2 * 2) / (double)tasks - 1);
}

/* The fastest schedule of less than *best cycles with tiles of up to `most` vectors; *best is left where there is none. */
static void search(const MloTarget *t, const KContract *c, bool stay, int64_t most, double *best,
                   KContract *chosen)
{
	bool smaller = false;

	for (int m = 2; m <= WINO_MAX_M; m += 2) {
		double least = smaller && !stay ? LARGER_WORTH * *best : *best;
		KContract w = *c;

		w.wino = m;
		for (int64_t down = 1; down <= wino_down(&w); down++) {
			double cycles = schedule(t, &w, stay, m, down, most);

			cycles *= unbalanced(t, &w, cycles);
			if (cycles >= least)
				continue;
			least = *best = cycles;
			*chosen = w;
			smaller = true;
		}
	}
}

void mlo_schedule_winograd(const MloTarget *t, bool stay, KContract *c)
{
	double direct = (double)contract_images(c) * (double)(c->ny * c->nx * c->nk * c->nky * c->nkx) * (double)wino_cvecs(c) /
	                (t->fma_per_cycle * DIRECT_SHARE), best = WORTH * direct * contract_dot_cost(t, c) / c->dot;
	KContract chosen = *c;

	if (!wino_can(t, c))
		return;
	search(t, c, stay, MAX_VECS, &best, &chosen);
	if (!chosen.wino)
		return;
	/* One tile is nothing to share: two, where that costs one thread next to nothing. */
	if (tasks_of_chunks(&chosen) == 1 && mlo_contract_ctiles(&chosen) == 1 && wino_cvecs(c) > 1) {
		best *= MAY_COST;
		search(t, c, stay, wino_cvecs(c) / 2, &best, &chosen);
	}
	*c = chosen;
}
