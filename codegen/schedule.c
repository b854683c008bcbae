/* codegen/schedule.c -- schedules of contractions from the target's facts, without measuring.
 *
 * The model counts cycles of one register tile: per term of the sum, multiply-adds over the vector
 * units, loads over two load ports, weights over the path from the second-level cache, and the
 * latency of one multiply-add that every accumulator has to wait for; per tile, a constant.  Tiles are
 * chosen by the sum over all tiles of the output, so that a tail costs what it really costs. */
#include "codegen/contract.h"

enum { FMA_LATENCY = 4, LOADS_PER_CYCLE = 2, L2_BYTES_PER_CYCLE = 32, L3_BYTES_PER_CYCLE = 12, WANTED_TASKS = 32 };
/* Loop control per term, and what a tile costs beside its terms: clearing and storing accumulators. */
#define TERM_OVERHEAD 0.1
#define TILE_OVERHEAD 10.0

static double max_of(double a, double b)
{
	return a > b ? a : b;
}

/* As tile_cycles, of columns that share their inputs (contract_slides). */
static double slide_cycles(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	double taps, inputs, adds, row;

	cols += contract_by_halves(t, c) ? cols % 2 : 0;
	taps = (double)c->nkx;
	inputs = (double)((cols - 1) * c->sx + c->nkx);
	adds = cols * vecs * taps * contract_dot_cost(t, c);
	row = max_of(adds / t->fma_per_cycle, (inputs + taps) * vecs / LOADS_PER_CYCLE);

	/* the sums of a column wait for each other */
	row = max_of(row, FMA_LATENCY * taps);
	return (double)c->nky * (row + 1) + TILE_OVERHEAD + cols * vecs;
}

static double vector_bytes(const KContract *c)
{
	return (double)(contract_vector(c) * mlo_elem_bits(c->b.elem)) / 8;
}

double contract_split_cost(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	int pieces = contract_dot_pieces(t, c);

	return c->dot == 4 && pieces > 1 ? pieces * cols + 1.5 * pieces * vecs : 0;
}

/* A step where products come in halves: one unit makes them, two take everything else; and what waits for neither takes its place in
 * the queue. */
static double half_cycles(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	const double in_queue = 0.05;
	double products = 2 * cols * vecs, all = contract_dot_cost(t, c) * cols * vecs + 2 * cols;

	return max_of(products, all / 2) / t->fma_per_cycle + in_queue * (all + vecs + cols);
}

/* Vectors that a step of a tile loads, and instructions beside its products. */
static double loads_of(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	bool each = contract_is_depthwise(c) || contract_taps_overflow(t, c, cols, vecs); /* product loads its input */

	if (contract_pairs(c))
		return cols / 2 * (contract_pair_adjacent(c) ? 1 : 2) + 2 * vecs;
	return each ? cols * vecs + vecs : cols + vecs;
}

static double beside(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	double pair = (double)t->register_bytes / t->vector_bytes * cols / 2;
	bool alone = vecs == 1 && c->dot == 1 && mlo_target_by_lane(t) && !contract_is_depthwise(c); /* LLVM loads into all lanes then */

	return contract_pairs(c) ? pair * ((contract_pair_adjacent(c) ? 0 : 1) + c->a.flip) : contract_split_cost(t, c, cols, vecs) + (alone ? cols : 0);
}

static double tile_cycles(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	double terms = (double)(mlo_contract_steps(c) * c->nky * c->nkx), vector = vector_bytes(c);
	double term;

	if (contract_slides(c))
		return slide_cycles(t, c, cols, vecs);
	cols += contract_pairs(c) ? cols % 2 : 0;
	if (c->b.part)
		return terms * half_cycles(t, c, cols, vecs) + TILE_OVERHEAD + cols * vecs;
	term = max_of((cols * vecs * contract_dot_cost(t, c) + beside(t, c, cols, vecs)) / t->fma_per_cycle, loads_of(t, c, cols, vecs) / LOADS_PER_CYCLE);
	/* weights that do not stay in the first-level cache between tiles come from the second */
	if (terms * vecs * vector > (double)t->l1d / 2)
		term = max_of(term, vecs * vector / L2_BYTES_PER_CYCLE);
	/* nor, read again, from the second where they fill it together with the next ones */
	if (c->nx > cols && terms * vecs * vector > (double)t->l2 / 2)
		term = max_of(term, vecs * vector / L3_BYTES_PER_CYCLE);
	return terms * (max_of(term, FMA_LATENCY) + TERM_OVERHEAD) + TILE_OVERHEAD + cols * vecs;
}

/* Rows of A that lie a large power of two apart fall into the same sets of the first-level cache:
 * more of them than it has ways (two left for the weights) would evict each other at every term. */
static bool columns_collide(const MloTarget *t, const KContract *c, int cols)
{
	int64_t way = t->l1d / t->l1d_ways, stride = c->sx * c->a.x * mlo_elem_bits(c->a.elem) / 8, sets = 1;

	if (stride < 1024 || contract_is_depthwise(c))
		return false;
	while (sets * stride % way && sets < cols)
		sets++;
	return cols > sets * (t->l1d_ways > 4 ? t->l1d_ways - 3 : t->l1d_ways);
}

/* SVE loads an element into all lanes from up to REACH bytes behind a register: columns that lie farther apart take one each, of
 * which there are POINTERS beside those of loops. */
static bool columns_reached(const MloTarget *t, const KContract *c, int cols)
{
	enum { REACH = 252, POINTERS = 10 };

	return !mlo_target_sve(t) || contract_is_depthwise(c) || cols <= POINTERS ||
	       (c->a.x >= 0 && (cols - 1) * c->sx * c->a.x * mlo_elem_bits(c->a.elem) / 8 <= REACH);
}

bool contract_tile_fits(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	if (contract_pairs(c) && cols % 2)
		return false;
	if (cols == (contract_pairs(c) ? 2 : 1) && vecs == 1) /* nothing is smaller */
		return true;
	if (!columns_reached(t, c, cols))
		return false;
	if (contract_slides(c)) /* the weights of a row of taps, and as many inputs */
		return cols * vecs + (int)c->nkx * vecs + (int)c->nkx < t->vector_regs;
	if (contract_pairs(c)) { /* an operand of each pair of columns, and the weights that they are multiplied by */
		double pair = (double)t->register_bytes / t->vector_bytes;

		return cols * vecs + pair * cols / 2 + 3 + c->a.flip <= t->vector_regs;
	}
	if (c->b.part) /* one input, and products */
		return cols * vecs + (vecs + 1) * 2 + 1 + c->a.flip < t->vector_regs;
	return cols * vecs + (vecs + 2) * contract_dot_pieces(t, c) + c->a.flip < t->vector_regs;
}

static double row_cycles(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	int64_t whole = c->nx / cols, rest = c->nx % cols;

	return (double)whole * tile_cycles(t, c, cols, vecs) + (rest ? tile_cycles(t, c, (int)rest, vecs) : 0);
}

bool contract_splits_group(const KContract *c, int vecs)
{
	return c->group_k && !contract_is_depthwise(c) && c->group_c % ((int64_t)vecs * c->lanes);
}

double contract_row_cycles(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	int64_t nvec = (c->nc + c->lanes - 1) / c->lanes;

	return (double)((nvec + vecs - 1) / vecs) * row_cycles(t, c, cols, vecs);
}

/* -- code ------------------------------------------------------------------------------------------------ */

/* Instructions of a register tile's code. */
static double tile_instructions(const MloTarget *t, const KContract *c, int64_t cols, int vecs, bool edge)
{
	enum { EPILOGUE = 10, PATTERNS = 2 }; /* of a vector; taps that are inside for the same columns */
	int64_t steps = mlo_contract_steps(c), terms;

	if (contract_slides(c))
		terms = c->nkx;
	else if (edge)
		terms = PATTERNS;
	else
		terms = steps < CONTRACT_UNROLL ? steps : CONTRACT_UNROLL;
	return (double)terms * ((double)(cols * vecs) * contract_dot_cost(t, c) + contract_split_cost(t, c, (int)cols, vecs)) +
	       (double)(cols * vecs * EPILOGUE);
}

/* Cycles until the code of all tiles of a row has come from the second-level cache: in a model of many small layers, none stays in the
 * first.  (mlperf_vww_mobilenet in 8-bit integers on a Zen 5: with 2 bytes per cycle 3 % faster than without, with 1 no faster and
 * float32 slower.) */
static double code_cycles(const MloTarget *t, const KContract *c, int cols, int vecs)
{
	enum { INSTRUCTION_BYTES = 5, BYTES_PER_CYCLE = 2, APART = 16 }; /* instructions of an epilogue that is not that of whole tiles */
	double n = 0;

	if (mlo_target_bare(t) || c->nx < 0)
		return 0;
	for (int64_t x = 0, seen = 0; x < c->nx; x += cols) {
		int64_t here = c->nx - x < cols ? c->nx - x : cols;
		bool edge = !mlo_contract_by_columns(c) && contract_at_edge(c, x, here);

		if (edge || here < cols || !seen)
			n += tile_instructions(t, c, here, vecs, edge);
		if (here < cols && x)
			n += APART;
		seen |= !edge && here == cols;
	}
	return n * INSTRUCTION_BYTES / BYTES_PER_CYCLE;
}

/* Lengths of a row that a tile is judged by: one, or of those that a run may bring, a few. */
enum { MAX_SAMPLES = 12, FEW = 8, LONGEST_SAMPLE = 1024 };
typedef struct Samples { int64_t nx[MAX_SAMPLES]; int n; } Samples;

static Samples sample_rows(const MloKernel *k, const KContract *open, int64_t shortest)
{
	Samples s = {.nx = {open->nx}, .n = 1};
	int64_t lo, hi;

	if (open->nx >= 0)
		return s;
	lo = k->size.items[-1 - open->nx].lo;
	hi = k->size.items[-1 - open->nx].hi;
	lo = lo < shortest ? shortest : lo;
	hi = hi < LONGEST_SAMPLE ? hi : LONGEST_SAMPLE;
	s.n = 0;
	for (; lo < hi && s.n < MAX_SAMPLES - 1; lo = lo < FEW ? FEW : 2 * lo)
		s.nx[s.n++] = lo;
	s.nx[s.n++] = hi > lo ? hi : lo;
	return s;
}

/* The tile whose cycles are, in the mean over all samples, closest to those of the best tile for that sample:
 * the fastest one where there is just one. */
typedef struct Search {
	const Samples *s;
	double best[MAX_SAMPLES], ratio;
	bool judge, whole; /* whole: no tile has fewer vectors than others */
	int vecs;          /* of all tiles; 0: any */
} Search;

static double rows_of(const KContract *c)
{
	double n = (double)contract_images(c) * (double)c->ny;

	return n > 1 ? n : 1;
}

static void try_tile(const MloTarget *t, KContract *c, Search *f, int cols, int vecs)
{
	KContract row = *c;
	double sum = 0;

	for (int i = 0; i < f->s->n; i++) {
		double cycles;

		row.nx = f->s->nx[i];
		cycles = contract_row_cycles(t, &row, cols, vecs) + code_cycles(t, &row, cols, vecs) / rows_of(&row);
		if (!f->judge && (f->best[i] == 0 || cycles < f->best[i]))
			f->best[i] = cycles;
		sum += cycles / f->best[i];
	}
	if (f->judge && (!c->vecs || sum < f->ratio)) {
		f->ratio = sum;
		c->vecs = vecs;
		c->cols = cols;
	}
}

/* Of open rows: depthwise, the channel blocks of an image lie a number of elements apart that only the run
 * knows; else the weights of a tile are streamed for each few columns and have to stay close. */
static bool too_wide(const MloTarget *t, const KContract *c, int vecs)
{
	double weights = (double)(mlo_contract_steps(c) * c->nky * c->nkx * vecs) * vector_bytes(c);

	return contract_is_depthwise(c) || weights > (double)t->l2 / 8;
}

static void try_tiles(const MloTarget *t, KContract *c, Search *f)
{
	int64_t nvec = (c->nc + c->lanes - 1) / c->lanes, longest = f->s->nx[f->s->n - 1];

	for (int vecs = 1; vecs <= CONTRACT_MAX_VECS; vecs++) {
		if ((f->whole && nvec % vecs) || (f->vecs && vecs != f->vecs))
			continue;
		if ((vecs > nvec || contract_splits_group(c, vecs) || (f->s->n > 1 && too_wide(t, c, vecs))) && vecs > 1)
			continue;
		int step = contract_pairs(c) ? 2 : 1;

		for (int cols = step; cols <= CONTRACT_MAX_COLS && cols < longest + step && contract_tile_fits(t, c, cols, vecs); cols += step) {
			if (columns_collide(t, c, cols) && cols > step)
				break;
			try_tile(t, c, f, cols, vecs);
		}
	}
}

/* How much longer it may take with as many vectors as the target's tiles usually have. */
#define USUAL 1.08

static void choose_tile(const MloTarget *t, KContract *c, const Samples *s, bool whole)
{
	Search f = {.s = s, .whole = whole};
	KContract usual = *c;
	double least;

	c->vecs = 0;
	try_tiles(t, c, &f);
	f.judge = true;
	try_tiles(t, c, &f);
	least = f.ratio;
	f.vecs = contract_is_depthwise(c) ? 1 : t->tile_vecs;
	usual.vecs = 0;
	if (t->tile_vecs && !(contract_pairs(c) && !contract_pair_adjacent(c))) /* where wide tiles save more */
		try_tiles(t, &usual, &f);
	if (usual.vecs && f.ratio <= USUAL * least)
		*c = usual;
}

bool contract_two_rows_fit(const MloTarget *t, const KContract *c)
{
	if (contract_pairs(c))
		return contract_tile_fits(t, c, 2 * c->cols, c->vecs);
	return 2 * c->cols * c->vecs + (c->vecs + 1) * contract_dot_pieces(t, c) + c->a.flip <= t->vector_regs;
}

/* Two rows per tile halve the way of the weights from the second-level cache, where one row of the
 * image is too short to hide it. */
static void choose_rows(const MloTarget *t, KContract *c)
{
	int64_t weights = c->nky * c->nkx * contract_tap_bytes(c);

	c->rows = 1;
	if (!mlo_contract_by_columns(c) && !contract_is_depthwise(c) && c->ny > 1 && weights > t->l1d / 2 &&
	    contract_two_rows_fit(t, c))
		c->rows = 2;
}

/* Which operand is streamed again: inputs per channel tile, or weights per chunk. */
static void choose_order(const MloTarget *t, KContract *c)
{
	bool cols = mlo_contract_by_columns(c);
	int64_t extent = cols ? c->nx : c->ny, unit = cols ? c->cols : c->rows;
	int64_t units = (extent + unit - 1) / unit, tiles = mlo_contract_ctiles(c), chunks, fit;
	int64_t a_bytes = mlo_elem_bits(c->a.elem) / 8 * c->nk * (c->group_k ? c->nc / c->group_c : 1) * c->in_x *
	                  (cols ? 1 : c->in_y);
	int64_t w_bytes = mlo_elem_bits(c->b.elem) / 8 * c->nk * c->nky * c->nkx * c->nc;
	int64_t batch = c->nb0 * c->nb1;

	/* enough tasks to balance, but not more than there are units */
	chunks = (WANTED_TASKS + batch * tiles - 1) / (batch * tiles);
	/* depthwise, no channel tile reads what another one has read */
	c->c_outer = contract_is_depthwise(c) || a_bytes <= t->l2 / 2 || a_bytes <= w_bytes;
	if (!c->c_outer) {
		/* a chunk's inputs stay in half of the second-level cache while all weights pass */
		fit = (a_bytes + t->l2 / 2 - 1) / (t->l2 / 2);
		chunks = chunks > fit ? chunks : fit;
	}
	chunks = chunks > units ? units : chunks < 1 ? 1 : chunks;
	c->y_chunk = (units + chunks - 1) / chunks * unit;
}

/* As choose_order, of rows or columns that a run brings: chunks whose inputs stay in the second-level
 * cache while all weights pass, so that neither is streamed often, however many there are. */
static void choose_open_order(const MloTarget *t, KContract *c)
{
	enum { MOST_UNITS = 16 };
	bool cols = mlo_contract_by_columns(c);
	int64_t unit = cols ? c->cols : c->rows, fit;
	int64_t bytes = mlo_elem_bits(c->a.elem) / 8 * c->nk * (c->group_k ? c->nc / c->group_c : 1) *
	                (cols ? 1 : c->in_x * c->sy);

	fit = t->l2 / 2 / (bytes * unit + 1);
	c->c_outer = false;
	c->y_chunk = unit * (fit < 1 ? 1 : fit > MOST_UNITS ? MOST_UNITS : fit);
}

void contract_schedule_rows(const MloTarget *t, KContract *c)
{
	choose_rows(t, c);
	choose_order(t, c);
}

void mlo_schedule_contract(const MloTarget *t, const MloKernel *k, int64_t shortest, KContract *c)
{
	KContract at = *c; /* with plausible sizes */
	int64_t *open[] = {MLO_CONTRACT_OPEN(at)};
	Samples s = sample_rows(k, c, shortest);

	for (size_t i = 0; i < sizeof open / sizeof *open; i++)
		*open[i] = mlo_kernel_guess(k, *open[i]);
	at.lanes = t->vector_bytes / 4;
	choose_tile(t, &at, &s, false);
	if (c->nx >= 0)
		choose_rows(t, &at);
	else
		at.rows = 1; /* code for one row is enough */
	if ((mlo_contract_by_columns(c) ? c->nx : c->ny) < 0)
		choose_open_order(t, &at);
	else
		choose_order(t, &at);
	c->lanes = at.lanes;
	c->vecs = at.vecs;
	c->cols = at.cols;
	c->rows = at.rows;
	c->y_chunk = at.y_chunk;
	c->c_outer = at.c_outer;
}

void mlo_schedule_band(const MloTarget *t, int64_t channels, KContract *c)
{
	KContract part = *c;
	Samples s = {.nx = {c->nx}, .n = 1};

	part.nc = channels;
	part.lanes = t->vector_bytes / 4;
	choose_tile(t, &part, &s, channels < c->nc);
	choose_rows(t, &part);
	c->lanes = part.lanes;
	c->vecs = part.vecs;
	c->cols = part.cols;
	c->rows = part.rows;
	c->y_chunk = c->ny;
	c->c_outer = true;
}

bool contract_sizes_known(const KContract *c)
{
	const int64_t known[] = {c->ny, c->nc, c->nk, c->in_y, c->group_c, c->a.x, c->a.block, c->a.blk, c->a.k};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i] < 0)
			return false;
	if (mlo_contract_by_columns(c) && c->nx < 0)
		return c->in_x == c->nx && c->sx == 1;
	return c->nx >= 0 && c->in_x >= 0 && c->a.y >= 0;
}

/* How much longer that one of several threads takes that has the most tasks. */
static double excess(int64_t tasks, int64_t threads)
{
	return (double)((tasks + threads - 1) / threads * threads) / (double)tasks - 1;
}

double contract_unbalanced(const MloTarget *t, double cycles, int64_t tasks)
{
	if (cycles < mlo_target_divides_ns(t) * t->clock_ghz)
		return 1;
	return 1 + 0.5 * excess(tasks, 2) + 0.1 * excess(tasks, 8);
}

void mlo_schedule_text(MloStr *out, const KContract *c)
{
	if (c->wino)
		mlo_str_add(out, "Winograd %dx%d, ", c->nky == 3 ? c->wino : 1, c->nkx == 3 ? c->wino : 1);
	if (c->depth) {
		mlo_str_add(out, "matrix unit, %d steps, tile %dx%d, chunk %lldx%lld", c->depth, c->rows * c->cols, c->vecs * c->lanes,
		            (long long)c->y_chunk, (long long)c->c_chunk * c->vecs * c->lanes);
		return;
	}
	if (c->sparse.spread) {
		mlo_str_add(out, "sparse, groups of %d, tile %dx%d of %dx%d lanes, %lld runs, chunk %lld", c->sparse.group, c->rows, c->cols,
		            c->lanes / c->sparse.spread, c->sparse.spread, (long long)c->sparse.runs, (long long)c->c_chunk * c->lanes);
		return;
	}
	if (c->strips) {
		mlo_str_add(out, "strips, tile %dx%d, chunk %lldx%lld", c->rows * c->cols, c->vecs * c->lanes, (long long)c->y_chunk,
		            (long long)c->c_chunk * c->vecs * c->lanes);
		return;
	}
	if (c->b.kept)
		mlo_str_add(out, "half of the terms, ");
	if (c->b.patch)
		mlo_str_add(out, "patch, ");
	mlo_str_add(out, "tile %dx%d, chunk %lld, %s outer", c->cols, c->vecs * c->lanes, (long long)c->y_chunk,
	            c->c_outer ? "channels" : "rows");
}

bool contract_heavy_epilogue(const MloKernel *k, const KStmt *s)
{
	for (const KStmt *b = s->body; b; b = b->next) {
		KOp op = b->kind == KS_LET ? k->value.items[b->value].op : K_add;

		if (op == K_exp || op == K_log || op == K_tanh || op == K_erf || op == K_sin || op == K_cos ||
		    op == K_sigmoid || op == K_decay || op == K_phi || op == K_pow || op == K_mod || op == K_fmod)
			return true;
	}
	return false;
}
