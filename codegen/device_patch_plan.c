/* codegen/device_patch_plan.c -- contractions on tensor cores out of a patch of the image: which tiles, and where the patch lies in shared
 * memory. */
#include "codegen/device_patch.h"

#include "codegen/device_plan.h"

/* Rounded from code that was looked at, as those of device_plan.c are, and of the same meaning. */
enum {
	SCHEDULERS = 4, SHARED_BYTES = 128, L2_BYTES = 48, START = 1200, OTHER = 56,
	OUTPUT_ISSUE = 3, ACCESS_ISSUE = 6, WEIGHT_ISSUE = 1, TILE_ISSUE = 80 /* of a warp: all else */, BANKS = 32, HALF = 16
};
enum { MOST_ACCESSES = 96 /* of a thread: they are not a loop */ };

static int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

static int64_t round_up(int64_t a, int64_t to)
{
	return ceil_div(a, to) * to;
}

static int64_t gcd(int64_t a, int64_t b)
{
	return b ? gcd(b, a % b) : a;
}

static int threads_of(const PatchPlan *p)
{
	return p->warps * 32;
}

/* -- the patch --------------------------------------------------------------------------------------- */

/* Pixels that can be read at once: those of rows begin and end there. */
static int choose_chunk(const KContract *c, const Patch *p)
{
	const int64_t elems = p->channels ? p->elems : 1, size = mlo_elem_bits(c->a.elem) / 8;
	const int64_t places[] = {c->a.b0, c->a.b1, c->a.y, p->planes > 1 && c->a.block < c->nk ? c->a.blk : 0, p->planes > 1 ? c->a.k * elems : 0,
	                          c->in_x * elems};

	if (c->a.x != elems)
		return 1;
	for (int n = 4; n > 1; n /= 2) {
		bool fits = n * elems * size <= 16 && n % patch_pixels(p) == 0;

		for (size_t i = 0; i < sizeof places / sizeof *places; i++)
			fits = fits && places[i] % (n * elems) == 0;
		if (fits)
			return n;
	}
	return 1;
}

/* Words from a row to the next one: no banks meet where a quad takes words of several rows. */
static int64_t choose_pitch(const PatchPlan *p, const KContract *c, int64_t least)
{
	const int64_t whole = p->chunk > patch_pixels(&p->p) ? p->chunk / patch_pixels(&p->p) : 1;
	int64_t pitch = round_up(least, whole), apart;

	if (p->p.across == PATCH_QUAD || p->p.by_planes)
		return pitch;
	for (int64_t i = 0; i < BANKS; i += whole) {
		apart = (pitch + i) * c->dy % BANKS;
		if (p->copies == 1 && p->p.across == 2 ? apart == HALF : apart == HALF / 2 || apart == BANKS - HALF / 2)
			return pitch + i;
	}
	return pitch;
}

/* Likewise of planes. */
static int64_t choose_plane(const PatchPlan *p)
{
	int64_t least = round_up(p->pitch * p->rows, 4), want = p->copies == 1 && p->p.across == 2 ? HALF : HALF / 2;

	if (p->p.across == PATCH_QUAD || !p->p.by_planes)
		return least;
	return least + (want + BANKS - least % BANKS) % BANKS;
}

static void lay_patch(PatchPlan *p, const KContract *c)
{
	const Patch *q = &p->p;
	int64_t step = patch_pixels(q), words, quads = ceil_div(q->words, q->across);

	p->chunk = choose_chunk(c, q);
	p->copies = step / gcd(step, c->sx);
	p->left = (p->chunk - (c->px + q->lead) % p->chunk) % p->chunk;
	p->pixels = round_up((p->wide - 1) * c->sx + p->left + quads * q->across * step, p->chunk > step ? p->chunk : step);
	p->rows = (p->high - 1) * c->sy + (patch_lines(q, c->nky, !q->by_planes) - 1) * c->dy + 1;
	p->planes = patch_lines(q, q->planes, q->by_planes);
	words = p->pixels / step + (p->copies > 1);
	p->pitch = choose_pitch(p, c, words);
	p->plane = choose_plane(p);
	p->copy = p->plane * p->planes + 4;
	p->copy += p->copies > 1 ? (HALF + BANKS - p->copy % BANKS) % BANKS : 0;
	p->sums = c->zero.given || c->zero.at ? threads_of(p) : 0;
	p->weights = q->quads * p->columns * PATCH_QUAD * 4;
	p->shared = round_up(p->weights + p->copies * p->copy * 4, 16);
	p->turned = (p->wide * p->high + PATCH_PAD) * p->columns * 4;
}

int device_patch_lanes(const PatchPlan *p)
{
	int64_t need = p->pixels / p->chunk;
	int n = 1;

	while (n < threads_of(p) && n < need)
		n *= 2;
	return n;
}

int64_t device_patch_along(const PatchPlan *p)
{
	return ceil_div(p->pixels / p->chunk, device_patch_lanes(p));
}

int64_t device_patch_down(const PatchPlan *p)
{
	return ceil_div(p->rows, threads_of(p) / device_patch_lanes(p));
}

/* -- the best ---------------------------------------------------------------------------------------- */

static double larger(double a, double b)
{
	return a > b ? a : b;
}

/* Cycles of a tile, where `busy` blocks share a multiprocessor: what is slowest of products, instructions, shared memory and L2. */
static double tile_cycles(const MloGpu *g, const KContract *c, const MmaKind *kind, const PatchPlan *p, double busy)
{
	double outputs = (double)(p->wide * p->high * p->columns), steps = (double)p->p.quads / 2 * p->warps, nt = p->columns / 8.0, brought;
	double each = g->capability >= 80 ? 1 : kind->word == EL_i8 ? 4 : 2, idle = busy * p->warps < SCHEDULERS ? SCHEDULERS / (busy * p->warps) : 1;
	double accesses = (double)(device_patch_along(p) * device_patch_down(p) * p->p.planes * p->warps), issue, shared, l2, peak, most;

	issue = steps * (4 * p->mt + nt / 2 + p->mt * nt * each) + accesses * ACCESS_ISSUE + p->warps * TILE_ISSUE;
	issue += (double)(p->weights / PIECE / 32) * WEIGHT_ISSUE + outputs / 32 * OUTPUT_ISSUE;
	peak = (kind->word == EL_i8 ? g->i8 : kind->word == EL_tf32 ? g->tf32 : g->f16) * 1e3 / 2 / g->sms / g->clock_ghz;
	brought = (double)(p->pixels * p->rows * c->nk) * mlo_elem_bits(c->a.elem) / 8 + (double)p->weights;
	shared = steps * (4 * p->mt + nt * 2) + (double)p->shared / SHARED_BYTES;
	l2 = (brought + outputs * mlo_elem_bits(c->b.elem) / 8) / L2_BYTES;
	most = larger(outputs * (double)(p->p.quads * PATCH_QUAD * p->p.elems) / peak, issue / SCHEDULERS) * idle;
	return larger(most, larger(shared, l2)) + START / busy;
}

/* Blocks that a multiprocessor holds. */
static int64_t resident(const MloGpu *g, const PatchPlan *p)
{
	int64_t registers = p->mt * p->columns / 2 + 8 * p->mt + p->columns / 2 + OTHER, n = g->sm_registers / (registers * threads_of(p));
	int64_t by_shared = g->sm_shared / (p->shared + p->sums * 4 + 1024), by_threads = g->sm_threads / threads_of(p);

	n = n < by_shared ? n : by_shared;
	n = n < by_threads ? n : by_threads;
	return n > 1 ? n : 1;
}

static double time_of(const MloGpu *g, const MloKernel *k, const KContract *c, const MmaKind *kind, const PatchPlan *p)
{
	int64_t images = mlo_kernel_guess(k, c->nb0) * mlo_kernel_guess(k, c->nb1), held = resident(g, p);
	int64_t tiles = images * ceil_div(c->ny, p->high) * ceil_div(c->nx, p->wide) * ceil_div(c->nc, p->columns), most = ceil_div(tiles, g->sms);
	double bytes, cycles = (double)most * tile_cycles(g, c, kind, p, (double)(most < held ? most : held));

	bytes = (double)(images * c->in_y * c->in_x * c->nk) * mlo_elem_bits(c->a.elem) / 8;
	bytes += (double)(images * c->ny * c->nx * c->nc) * mlo_elem_bits(c->b.elem) / 8;
	return larger(cycles / g->clock_ghz, bytes / g->gbytes) + 0.1 * cycles / g->clock_ghz;
}

static void judge(const MloTarget *t, const MloKernel *k, const KContract *c, const MmaKind *kind, PatchPlan *p, PatchPlan *best)
{
	p->high = p->warps * p->mt * 16 / p->wide;
	lay_patch(p, c);
	if ((p->shared + p->sums * 4 > p->turned ? p->shared + p->sums * 4 : p->turned) > t->gpu->block_shared ||
	    device_patch_along(p) * device_patch_down(p) * p->planes * p->copies > MOST_ACCESSES)
		return;
	p->ns = time_of(t->gpu, k, c, kind, p);
	if (best->ns == 0 || p->ns < best->ns)
		*best = *p;
}

bool device_patch_plan(const MloTarget *t, const MloKernel *k, const KContract *c, int columns, PatchPlan *best)
{
	enum { NARROWEST = 8, MOST_FRAGMENTS = 4, MOST_COLUMNS = 64, LEAST_COLUMNS = 16 };
	const MmaKind *kind = mma_kind(t->gpu->capability, c->a.elem, c->b.elem);
	PatchPlan p = {0};

	*best = p;
	if (!kind || kind->b != c->b.elem || !patch_of(c, &p.p))
		return false;
	for (p.columns = MOST_COLUMNS; p.columns >= LEAST_COLUMNS; p.columns /= 2)
		for (p.warps = 4; p.warps >= 2 && (!columns || columns == p.columns); p.warps /= 2)
			for (p.mt = MOST_FRAGMENTS; p.mt >= 1; p.mt /= 2)
				for (p.wide = NARROWEST; p.wide <= p.warps * p.mt * 16; p.wide *= 2)
					judge(t, k, c, kind, &p, best);
	return best->ns > 0;
}
