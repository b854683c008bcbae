/* codegen/device_plan.c -- contractions on tensor cores: which tiles. */
#include <math.h>

#include "codegen/device_plan.h"

#include "codegen/device_plan_model.h"

/* -- what can be made -------------------------------------------------------------------------------- */

/* Pieces of A: n elements that lie beside each other, at multiples of n. */
static bool pieces_fit(const KContract *c, int64_t n, int64_t depth)
{
	const int64_t whole[] = {c->a.b0, c->a.b1, c->a.y, c->a.x, c->group_k, c->a.block < c->nk || c->group_k ? c->a.blk : 0};

	/* channels of stages and pieces add up */
	if ((c->a.block < c->nk || c->group_k) && ((c->a.block % depth && depth % c->a.block) || c->group_k % c->a.block))
		return false;
	if (c->a.k != 1 || ((c->a.block < c->nk || c->group_k) && c->a.block % n) || (c->nk % n && c->a.block % n))
		return false;
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
		if (whole[i] < 0 || whole[i] % n)
			return false;
	return true;
}

bool device_plan_takes(const KContract *c, const MmaKind *kind, int columns, int words)
{
	int64_t n = (int64_t)PIECE_WORDS * mma_word_elems(kind);

	return !c->wino && !c->depth && !c->sparse.spread && !c->scale.on && c->b.packed && c->nk > 0 && c->nc > 0 &&
	       !c->a_at && !c->y_lo && c->nky * c->nkx <= MMA_MOST_TAPS && (words == MMA_LEAST_WORDS || words == MMA_MOST_WORDS) &&
	       pieces_fit(c, n, (int64_t)words * mma_word_elems(kind)) && (!c->group_k || (c->group_c > 0 && c->group_c % columns == 0));
}

static int threads_of(const DevicePlan *p)
{
	return p->warps_m * p->warps_n * DEVICE_WARP;
}

static int64_t stages_of(const Model *m, const DevicePlan *p)
{
	return ceil_div(m->c->nk, (int64_t)p->words * mma_word_elems(m->kind)) * m->c->nky * m->c->nkx;
}

/* Do stages lie at places that a loop can step to (device_mma_walk.c)?  Slices of all parts share out channels, or rows of taps. */
static bool walks(const Model *m, const DevicePlan *p)
{
	int64_t depth = (int64_t)p->words * mma_word_elems(m->kind), n = (int64_t)p->slices * p->parts;

	return m->c->nk % depth == 0 && mma_row_sharers(m->c, m->c->nk / depth, n);
}

/* Of weights, in a stage. */
static int64_t weight_bytes(const Model *m, const DevicePlan *p)
{
	return m->c->b.kept ? kept_stage_bytes(m->c) : (int64_t)p->columns * p->words * 4;
}

/* A thread's pieces of them. */
static int weight_pieces(const Model *m, const DevicePlan *p)
{
	return (int)ceil_div(weight_bytes(m, p) / PIECE, threads_of(p));
}

static int64_t tile_stage_bytes(const Model *m, const DevicePlan *p)
{
	return (int64_t)p->rows * p->words * 4 + (int64_t)weight_pieces(m, p) * threads_of(p) * PIECE;
}

/* Of a thread, about; what is on its way is in registers where it does not go by cp.async. */
static int registers_of(const Model *m, const DevicePlan *p)
{
	int wm = p->rows / p->warps_m, wn = p->columns / p->warps_n, a = p->rows * p->words / PIECE_WORDS / threads_of(p);
	int b = weight_pieces(m, p);

	return wm * wn / DEVICE_WARP + wm / 4 + wn / 4 + OTHER + (m->async ? 3 * a : 7 * a + 4 * b);
}

static int64_t shared_of(const Model *m, const DevicePlan *p)
{
	int64_t sizes = m->inside ? 0 : m->c->nky * m->c->nkx * ((int64_t)p->rows * 4 + 16);
	int64_t sums = (int64_t)p->rows / p->warps_m * p->columns * 4 * p->slices, bytes = p->stages * tile_stage_bytes(m, p) * p->slices;
	int64_t given = ((int64_t)p->rows * (p->slices - 1) + device_border_classes(m->c)) * p->columns * 4; /* by a slice to another, and a table */

	sums = sums > given ? sums : given + 4 * (4 + p->slices);
	return (bytes > sums ? bytes : sums) + sizes;
}

/* Each thread brings as many pieces of A, and, unless zeros are left out, of B, whose rows are turned alike (mma_plan_pieces). */
static bool is_whole(const Model *m, const DevicePlan *p)
{
	int threads = threads_of(p), a = p->rows * p->words / PIECE_WORDS, b = p->columns * p->words / PIECE_WORDS;

	return a % threads == 0 && (b % threads == 0 || m->c->b.kept) && a / threads <= MAX_PIECES && weight_pieces(m, p) <= MAX_PIECES &&
	       threads * PIECE_WORDS / p->words % 8 == 0;
}

static bool is_possible(const Model *m, const DevicePlan *p)
{
	int threads = threads_of(p) * p->slices, registers = registers_of(m, p);

	return threads <= MOST_THREADS && registers <= MOST_REGISTERS && threads * registers <= m->gpu->sm_registers &&
	       shared_of(m, p) <= m->gpu->block_shared && (!m->async ? p->stages == 2 : true);
}

/* -- what it takes ----------------------------------------------------------------------------------- */

static int64_t resident(const Model *m, const DevicePlan *p)
{
	int64_t threads = (int64_t)threads_of(p) * p->slices, n = m->gpu->sm_threads / threads;
	int64_t by_registers = m->gpu->sm_registers / ((registers_of(m, p) + 7) / 8 * 8 * threads);
	int64_t by_shared = m->gpu->sm_shared / (shared_of(m, p) + 1024);

	n = n < by_registers ? n : by_registers;
	n = n < by_shared ? n : by_shared;
	return n > 1 ? n : 1;
}

/* What a multiprocessor is busy with, in cycles of each of its parts. */
typedef struct Load {
	double tensor, shared, l2, issue;
} Load;

/* Until all of it is done: what is busy for much less than the slowest part is hidden behind it, what is busy for as long is not, quite. */
static double together(const Load *l)
{
	double tensor = l->tensor * l->tensor, shared = l->shared * l->shared, l2 = l->l2 * l->l2, issue = l->issue * l->issue;

	return sqrt(sqrt(tensor * tensor + shared * shared + l2 * l2 + issue * issue));
}

/* Instructions of a warp, for a stage: fragments, products, pieces and their sizes, and what pointers take. */
static double stage_issue(const Model *m, const DevicePlan *p)
{
	double wm = (double)p->rows / p->warps_m / 16, wn = (double)p->columns / p->warps_n / 8, half = m->c->b.kept ? 0.5 : 1;
	double each = m->gpu->capability >= 80 ? half : m->kind->word == EL_i8 ? 4 : 2;
	double a = (double)p->rows * p->words / PIECE_WORDS / threads_of(p), b = weight_pieces(m, p);
	double piece = m->async ? 1 : (m->wide ? 7 : 2) + (m->inside ? 0 : m->wide ? 10 : 5), issue;

	issue = (double)p->words / STEP * (wm + wn / 2 * half + wm * wn * each) + STAGE_ISSUE;
	issue += a * (piece + (m->inside ? 0 : 0.3)) + b * (m->async ? 1 : 2);
	return issue + (walks(m, p) ? 0 : 20 + 3 * a);
}

/* Of a stage. */
static Load stage_load(const Model *m, const DevicePlan *p)
{
	double warps = p->warps_m * p->warps_n, tile = (double)p->rows * p->columns, bytes = (double)p->words * 4;
	double half = m->c->b.kept ? 0.5 : 1, fragments = warps * ((double)p->rows / p->warps_m + (double)p->columns / p->warps_n * half) * bytes;
	Load l = {.tensor = tile * p->words * mma_word_elems(m->kind) / m->products * half,
	          .shared = (fragments + (double)tile_stage_bytes(m, p)) / SHARED_BYTES,
	          .l2 = (p->rows * (m->wide ? 2 : 1) * bytes * m->there + (double)weight_bytes(m, p)) / L2_BYTES,
	          .issue = warps * stage_issue(m, p) / SCHEDULERS};

	return l;
}

/* Where stages do not lie at such places, each of them is looked up, between the products. */
#define SEARCH 1.2

/* Cycles of a stage of a tile, where `busy` blocks share the multiprocessor.  A warp waits for its fragments, unless others multiply
 * meanwhile. */
static double stage_cycles(const Model *m, const DevicePlan *p, double busy)
{
	Load l = stage_load(m, p);
	double warps = p->warps_m * p->warps_n, per_scheduler = largest(busy * warps * p->slices / SCHEDULERS, 0.25);
	double step = l.tensor * STEP / p->words * SCHEDULERS / warps, flying = (p->stages - 1) * busy * p->slices, cycles;

	l.tensor *= 1 + FRAGMENTS / (per_scheduler * step);
	cycles = together(&l) + BARRIER / (busy * p->slices);
	cycles *= walks(m, p) ? 1 : SEARCH;
	return largest(cycles, LATENCY / flying);
}

/* Behind the products, each output goes through the epilogue; slices give each other their sums, by way of shared memory, where those of
 * sparse weights go in any case. */
static double output_cycles(const Model *m, const DevicePlan *p)
{
	double tile = (double)p->rows * p->columns, given = m->c->b.kept ? p->slices : p->slices - 1;

	return largest(tile / DEVICE_WARP * (OUTPUT_ISSUE + given) / SCHEDULERS, tile * 4 * 2 * given / SHARED_BYTES);
}

static double time_of(const Model *m, const DevicePlan *p)
{
	int64_t tiles = device_tile_count(m->k, m->c, p->rows, p->columns), blocks = tiles * p->parts, held = resident(m, p);
	int64_t most = ceil_div(blocks, m->gpu->sms), busy = most < held ? most : held;
	double tile = (double)p->rows * p->columns * 4, cycles, parts = 0, memory = m->memory_ns;

	cycles = (double)most * (double)stages_of(m, p) / p->parts * stage_cycles(m, p, (double)busy);
	cycles += (double)ceil_div(most, held) * START;
	if (p->parts > 1) {
		cycles += (double)most * (tile / L2_BYTES + tile / SHARED_BYTES) + MEET;
		parts = (double)p->parts * tile / L2_BYTES;
		if (tile * (double)blocks > (double)m->gpu->l2 / 2)
			memory += 2 * tile * (double)blocks / m->gpu->gbytes;
	}
	cycles += (double)ceil_div(tiles, m->gpu->sms) * (output_cycles(m, p) + parts);
	return largest(cycles / m->gpu->clock_ghz, memory) + 0.1 * cycles / m->gpu->clock_ghz;
}

/* -- the best ---------------------------------------------------------------------------------------- */

static void judge(const Model *m, DevicePlan *p, DevicePlan *best)
{
	if (!is_possible(m, p))
		return;
	p->ns = time_of(m, p);
	if (best->ns == 0 || p->ns < best->ns)
		*best = *p;
}

/* Slices take turns at the stages of a part; parts have as many of them, and are for multiprocessors that would have no tile. */
static void try_slices(const Model *m, DevicePlan *p, DevicePlan *best)
{
	int64_t all = stages_of(m, p);
	static const int slices[] = {1, 2, 3, 4, 8};
	int most = m->k->size.n ? 1 : DEVICE_MOST_PARTS, stages = mma_walk_stages(m->c, MAX_STAGES);
	int64_t tiles = device_tile_count(m->k, m->c, p->rows, p->columns);

	for (p->parts = 1; p->parts <= most && p->parts <= all && (p->parts - 1) * tiles < m->gpu->sms; p->parts++)
		for (size_t i = 0; i < sizeof slices / sizeof *slices && all % p->parts == 0; i++) {
			p->slices = slices[i];
			for (p->stages = m->async ? stages : 2; p->stages >= 2 && p->slices <= all / p->parts; p->stages--)
				judge(m, p, best);
		}
}

static void try_warps(const Model *m, DevicePlan *p, DevicePlan *best)
{
	static const int lengths[] = {16, 32, 48, 64, 80, 96, 112, 128};
	enum { MOST_WARPS = 8, MOST_ROWS = 256 };
	int wn = p->columns / p->warps_n;

	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		for (p->warps_m = 1; p->warps_m <= 4 && p->warps_m * p->warps_n <= MOST_WARPS; p->warps_m++) {
			p->rows = lengths[i] * p->warps_m;
			if (lengths[i] * wn / DEVICE_WARP <= (m->async ? MAX_SUMS : MAX_STAGED_SUMS) && p->rows <= MOST_ROWS && is_whole(m, p))
				try_slices(m, p, best);
		}
}

/* Of positions of an output, by taps: the share whose input is there. */
static double inside_share(int64_t n, int64_t taps, int64_t stride, int64_t pad, int64_t dilation, int64_t in)
{
	int64_t there = 0;

	if (n <= 0 || in <= 0)
		return 1;
	for (int64_t k = 0; k < taps; k++)
		for (int64_t i = 0; i < n; i++) {
			int64_t at = i * stride - pad + k * dilation;

			there += at >= 0 && at < in;
		}
	return (double)there / (double)(n * taps);
}

static Model model_of(const MloTarget *t, const MloKernel *k, const KContract *c, const MmaKind *kind)
{
	const MloGpu *g = t->gpu;
	Model m = {.gpu = g, .k = k, .c = c, .kind = kind};
	int64_t images = mlo_kernel_guess(k, c->nb0) * mlo_kernel_guess(k, c->nb1), nc = mlo_kernel_guess(k, c->nc);
	double size = mlo_elem_bits(c->a.elem) / 8.0, groups = c->group_k ? (double)nc / (double)c->group_c : 1, bytes;

	m.wide = mlo_elem_bits(c->a.elem) != mlo_elem_bits(kind->word);
	m.async = g->capability >= 80 && !m.wide;
	m.inside = mma_taps_inside(c);
	m.there = inside_share(c->ny, c->nky, c->sy, c->py, c->dy, c->in_y) * inside_share(c->nx, c->nkx, c->sx, c->px, c->dx, c->in_x);
	m.products = (kind->word == EL_i8 ? g->i8 : kind->word == EL_tf32 ? g->tf32 : g->f16) * 1e3 / 2 / g->sms / g->clock_ghz;
	bytes = (double)(images * mlo_kernel_guess(k, c->in_y) * mlo_kernel_guess(k, c->in_x)) * (double)c->nk * groups * size;
	bytes += (double)(images * mlo_kernel_guess(k, c->ny) * mlo_kernel_guess(k, c->nx) * nc) * size;
	bytes += (double)nc * (double)(c->nk * c->nky * c->nkx) * mlo_elem_bits(c->b.elem) / 8.0;
	m.memory_ns = bytes / g->gbytes;
	return m;
}

bool device_plan(const MloTarget *t, const MloKernel *k, const KContract *c, int columns, int words, DevicePlan *best)
{
	const MmaKind *kind = mma_kind(t->gpu->capability, c->a.elem, c->b.elem);
	Model m;
	DevicePlan p = {0};

	*best = p;
	if (!kind)
		return false;
	m = model_of(t, k, c, kind);
	for (p.words = MMA_MOST_WORDS; p.words >= MMA_LEAST_WORDS; p.words /= 2)
		for (p.columns = MMA_MOST_COLUMNS; p.columns >= MMA_LEAST_COLUMNS; p.columns /= 2) {
			if ((words && words != p.words) || (columns && columns != p.columns) || !device_plan_takes(c, kind, p.columns, p.words))
				continue;
			if (!m.async && p.words > MMA_LEAST_WORDS) /* pieces on their way are in registers */
				continue;
			for (p.warps_n = 1; p.warps_n <= 4; p.warps_n *= 2)
				if (p.columns / p.warps_n >= 16 && p.columns / p.warps_n <= 64)
					try_warps(&m, &p, best);
		}
	device_plan_groups(&m, columns, words, best);
	return best->ns > 0;
}
