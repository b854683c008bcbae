/* codegen/emit_contract.c -- contractions: register tiles of products, epilogue on the accumulators.
 *
 * One generator serves convolution, depthwise convolution and matrix products (KContract says what
 * they have in common).  A task is one tile of vecs*lanes channels over one chunk of rows.  Inside,
 * each register tile keeps `cols` positions x `vecs` vectors of sums in registers over the whole
 * reduction: per term it loads `vecs` vectors of weights and `cols` broadcast inputs for
 * cols*vecs multiply-adds, the blocking of Goto and van de Geijn, "Anatomy of high-performance
 * matrix multiplication" (2008), applied to direct convolution as in Georganas et al., "Anatomy of
 * high-performance deep learning convolutions on SIMD architectures" (2018).
 *
 * Borders cost nothing inside: tap rows outside the image shorten the ky loop, tap columns outside
 * are left out when the code of the (few) border tiles is generated. */
#include <string.h>

#include "codegen/emit_contract.h"

enum { UNROLL = CONTRACT_UNROLL };

/* -- the terms ------------------------------------------------------------------------------ */

void contract_keep_order(Emit *e)
{
	if (!e->t->gpu) /* LLVM has no such thing for these */
		LLVMBuildFence(e->b, LLVMAtomicOrderingSequentiallyConsistent, 1, "");
}

/* One step at row r, column i of the tile, into the sums of column `to`: `live` inputs times `vecs` weight vectors. */
static void emit_position(Tile *t, int r, int i, int to, LLVMValueRef a_off, int live, const DotOperand *w)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef off = addn(e, addn(e, a_off, r * c->sy, c->a.y), i * c->sx, c->a.x);
	DotOperand x;

	if (!t->depthwise)
		x = contract_input(t, off, live);
	for (int j = 0; j < c->vecs; j++) {
		LLVMValueRef acc = t->acc[(r * c->cols + to) * c->vecs + j];
		LLVMValueRef sum = LLVMBuildLoad2(e->b, t->vec, acc, "");

		if (t->depthwise)
			x = contract_input(t, add(e, off, t->blk[j]), live);
		LLVMBuildStore(e->b, contract_multiply(t, &x, &w[j], sum), acc);
	}
	/* LLVM's scheduler would load the inputs of several steps before it multiplies the first ones, and spill them */
	if (c->dot > 1)
		contract_keep_order(e);
}

/* One step of `live` terms for `cols` columns: a_off is where the first column reads, skip[i] leaves one out. */
static void emit_step(Tile *t, int cols, LLVMValueRef a_off, int live, const bool *skip, LLVMValueRef b_off)
{
	const KContract *c = t->c;
	DotOperand w[16];

	if (t->ahead)
		contract_prefetch_next(t, b_off);
	if (contract_pairs(c)) {
		contract_pair_step(t, cols, a_off, live, skip, b_off);
		return;
	}
	if (c->b.part) {
		contract_half_step(t, cols, a_off, live, skip, b_off);
		return;
	}
	for (int j = 0; j < c->vecs; j++)
		w[j] = contract_weights(t, b_off, j);
	for (int r = t->row; r < t->row + t->nrow; r++)
		for (int i = 0; i < cols; i++)
			if (!skip || !skip[i])
				emit_position(t, r, i, i + t->turn * cols, a_off, live, w);
	if (contract_taps_overflow(t->e->t, c, t->nrow * cols, c->vecs))
		contract_keep_order(t->e);
}

/* The next step is number k, from an even one on, of `whole` whole ones. */
static void set_lane(Tile *t, int64_t k, int64_t whole)
{
	t->lane = k < whole && (k % 2 == 1 || k + 1 < whole) ? (int)(k % 2) : -1;
}

/* The steps of a turn, from k on. */
static void emit_turns(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, int live, LLVMValueRef k, int64_t step,
                       int64_t bstep, const bool *skip)
{
	Emit *e = t->e;

	for (int u = 0; u < t->unroll; u++) {
		t->turn = u % t->ways;
		set_lane(t, u, t->unroll);
		emit_step(t, cols, add(e, a_off, muln(e, addc(e, k, u), step)), live, skip,
		          add(e, b_off, muln(e, addc(e, k, u), bstep)));
	}
	t->turn = 0;
	t->lane = -1;
}

/* As emit_run, n a size. */
static void emit_open_run(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, int64_t n, int64_t step, int64_t bstep)
{
	Emit *e = t->e;
	LLVMValueRef main_n = LLVMBuildAnd(e->b, num(e, n), emit_index(e, -t->unroll), ""), k;
	EmitLoop l;

	k = emit_for(e, &l, emit_index(e, 0), main_n, emit_index(e, t->unroll), "k");
	emit_turns(t, cols, a_off, b_off, 1, k, step, bstep, NULL);
	emit_end(e, &l);
	k = emit_for(e, &l, main_n, num(e, n), emit_index(e, 1), "k");
	emit_step(t, cols, add(e, a_off, muln(e, k, step)), 1, NULL, add(e, b_off, muln(e, k, bstep)));
	emit_end(e, &l);
}

/* A run of n terms whose channels lie `step` apart in A: `dot` of them per step, the last one with what is left. */
static void emit_run(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, int64_t n, int64_t step,
                     int64_t bstep, const bool *skip)
{
	Emit *e = t->e;
	int dot = t->c->dot;
	int64_t steps = (n + dot - 1) / dot, main_n = n / dot / t->unroll * t->unroll;
	EmitLoop l;

	step *= dot; /* an open step has no dot but 1 */

	if (main_n > t->unroll) {
		LLVMValueRef k = emit_for(e, &l, emit_index(e, 0), emit_index(e, main_n), emit_index(e, t->unroll), "k");

		if (t->share)
			contract_prefetch_share(t, add(e, b_off, muln(e, k, bstep)));
		emit_turns(t, cols, a_off, b_off, dot, k, step, bstep, skip);
		emit_end(e, &l);
	} else {
		main_n = 0;
	}
	for (int64_t k = main_n; k < steps; k++) {
		set_lane(t, k, n / dot);
		emit_step(t, cols, addn(e, a_off, k, step), n - k * dot < dot ? (int)(n - k * dot) : dot, skip,
		          addn(e, b_off, k, bstep));
	}
	t->lane = -1;
}

/* The channels of a whole block of A. */
static void emit_block(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, LLVMValueRef kb, const bool *skip)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t bstep = contract_step(c);

	emit_run(t, cols, add(e, a_off, muln(e, kb, c->a.blk)), add(e, b_off, muln(e, muln(e, kb, c->a.block / c->dot), bstep)), c->a.block,
	         c->a.k, bstep, skip);
}

/* All channels of one tap. a_off: this tap's pixel of the first column at channel 0. */
static void emit_channels(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, const bool *skip)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t bstep = contract_step(c);
	int64_t block = c->a.block, whole = c->nk / block, rest = c->nk % block, many;
	EmitLoop l;

	if (t->depthwise) {
		emit_step(t, cols, a_off, 1, skip, b_off);
	} else if (c->nk < 0) {
		emit_open_run(t, cols, a_off, b_off, c->nk, c->a.k, bstep);
	} else if (contract_group_aligned(c)) {
		/* channels start at a block's first lane: whole blocks, several of a few steps at once, then the rest */
		many = block < t->unroll * c->dot ? t->unroll * c->dot / block : 1;
		if (whole / many > 1) {
			LLVMValueRef kb = emit_for(e, &l, emit_index(e, 0), emit_index(e, whole / many * many), emit_index(e, many), "kb");

			for (int64_t i = 0; i < many; i++)
				emit_block(t, cols, a_off, b_off, addc(e, kb, i), skip);
			emit_end(e, &l);
		}
		for (int64_t kb = whole / many > 1 ? whole / many * many : 0; kb < whole; kb++)
			emit_block(t, cols, a_off, b_off, emit_index(e, kb), skip);
		if (rest)
			emit_run(t, cols, addn(e, a_off, whole, c->a.blk), addn(e, b_off, whole * block / c->dot, bstep), rest,
			         c->a.k, bstep, skip);
	} else {
		LLVMValueRef k = emit_for(e, &l, emit_index(e, 0), emit_index(e, c->nk), emit_index(e, c->dot), "k");
		LLVMValueRef kk = add(e, t->kk0, k);
		LLVMValueRef off = add(e, muln(e, divc(e, kk, block), c->a.blk), muln(e, remc(e, kk, block), c->a.k));

		emit_step(t, cols, add(e, a_off, off), c->dot, skip, add(e, b_off, muln(e, divc(e, k, c->dot), bstep)));
		emit_end(e, &l);
	}
}

static const Edge inner = {INNER, 0};

bool contract_outside(const KContract *c, Edge edge, int cols, int64_t kx, int64_t i)
{
	int64_t ix = (edge.at + i) * c->sx + kx * c->dx - c->px;

	if (edge.kind == LAST)
		return kx * c->dx - (cols - 1 - i) * c->sx >= (c->nkx - 1) * c->dx + 1 - c->qx + edge.at;
	return ix < 0 || (c->in_x >= 0 && ix >= c->in_x);
}

void contract_inside(const KContract *c, Edge edge, int cols, int64_t i, int64_t *lo, int64_t *hi)
{
	*lo = 0;
	*hi = c->nkx;
	while (*lo < c->nkx && contract_outside(c, edge, cols, *lo, i))
		++*lo;
	while (*hi > *lo && contract_outside(c, edge, cols, *hi - 1, i))
		--*hi;
}

bool contract_takes_long(const MloTarget *t, const KContract *c)
{
	const double much = 1e6, many = 16e6; /* cycles; products, which narrow vectors take long for before there are many */
	double steps, outputs;

	if (c->nk < 0 || c->nc < 0 || c->nx < 0 || c->ny < 0)
		return true;
	steps = (double)(mlo_contract_steps(c) * c->nky * c->nkx);
	outputs = (double)contract_images(c) * (double)(c->ny * c->nx) * (double)c->nc;
	return outputs / c->lanes * steps * contract_dot_cost(t, c) / t->fma_per_cycle > much && outputs * steps * c->dot > many;
}

/* The first tap behind kx that lies outside for other columns; the next one where each has code of its own. */
static int64_t same_taps(const Tile *t, Edge edge, int cols, int64_t kx)
{
	const KContract *c = t->c;
	int64_t next = kx + 1;

	for (; next < c->nkx && !contract_takes_long(t->e->t, c); next++)
		for (int i = 0; i < cols; i++)
			if (contract_outside(c, edge, cols, next, i) != contract_outside(c, edge, cols, kx, i))
				return next;
	return next;
}

/* From one tap to the next in B. */
static int64_t tap_size(const KContract *c)
{
	return c->b.packed ? mlo_contract_steps(c) * contract_step(c) : 0;
}

/* Taps [lo, hi) of row ky, whose pixels lie in row `row` of A, the first column's first one at ix0. */
static void emit_tap_range(Tile *t, int cols, LLVMValueRef row, LLVMValueRef ix0, LLVMValueRef ky, LLVMValueRef lo, LLVMValueRef hi,
                           const bool *skip)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	EmitLoop l;
	LLVMValueRef kx = emit_for(e, &l, lo, hi, emit_index(e, 1), "kx");

	emit_channels(t, cols, add(e, row, muln(e, add(e, ix0, muln(e, kx, c->dx)), c->a.x)),
	              add(e, t->b0, muln(e, add(e, muln(e, ky, c->nkx), kx), tap_size(c))), skip);
	emit_end(e, &l);
}

/* The taps of a row of a copy in phases (strips.h): those of a remainder have the same phase.  One loop over all of them would have to
 * divide, and LLVM then makes a pointer of each address.  row, b_off: of column x0, of the row's first tap. */
static void emit_phases(Tile *t, int cols, LLVMValueRef row, LLVMValueRef b_off, int64_t tap)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t apart = t->phases;
	EmitLoop l;

	for (int64_t first = 0; first < apart && first < c->nkx; first++) {
		LLVMValueRef n = emit_index(e, (c->nkx - first + apart - 1) / apart), at = addc(e, row, first * c->dx % apart * t->phase), i;

		i = emit_for(e, &l, emit_index(e, 0), n, emit_index(e, 1), "tap");
		emit_channels(t, cols, add(e, at, muln(e, addc(e, muln(e, i, c->dx), first * c->dx / apart), c->a.x)),
		              add(e, b_off, muln(e, addc(e, muln(e, i, apart), first), tap)), NULL);
		emit_end(e, &l);
	}
}

/* Terms of the tap rows [ky_lo, ky_hi).  x0: first column. */
static void emit_taps(Tile *t, int cols, LLVMValueRef x0, Edge edge, LLVMValueRef ky_lo, LLVMValueRef ky_hi)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	EmitLoop ly;
	LLVMValueRef ky, row, ix0 = addc(e, muln(e, x0, c->sx), -c->px);
	int64_t tap = tap_size(c);
	bool one_ky = c->nky == 1 && c->py == 0;

	ky = one_ky ? emit_index(e, 0) : emit_for(e, &ly, ky_lo, ky_hi, emit_index(e, 1), "ky");
	row = add(e, t->a0, muln(e, add(e, addc(e, muln(e, t->y, c->sy), -c->py), muln(e, ky, c->dy)), c->a.y));
	if (contract_slides(c) && edge.kind != ANY) {
		contract_slide(t, cols, add(e, row, muln(e, ix0, c->a.x)), add(e, t->b0, muln(e, ky, c->nkx * tap)), edge);
	} else if (edge.kind == AT || edge.kind == LAST) {
		for (int64_t kx = 0, next; kx < c->nkx; kx = next) {
			bool skip[64], any = false;

			for (int i = 0; i < cols; i++) {
				skip[i] = contract_outside(c, edge, cols, kx, i);
				any |= !skip[i];
			}
			next = same_taps(t, edge, cols, kx);
			if (any)
				emit_tap_range(t, cols, row, ix0, ky, emit_index(e, kx), emit_index(e, next), skip);
		}
	} else if (c->nkx == 1 && edge.kind == INNER) {
		emit_channels(t, cols, add(e, row, muln(e, ix0, c->a.x)), add(e, t->b0, muln(e, ky, tap)), NULL);
	} else if (t->phases > 1) {
		emit_phases(t, cols, add(e, row, muln(e, ix0, c->a.x)), add(e, t->b0, muln(e, ky, c->nkx * tap)), tap);
	} else {
		bool any = edge.kind == ANY;

		emit_tap_range(t, cols, row, ix0, ky, any ? t->kx_lo : emit_index(e, 0), any ? t->kx_hi : emit_index(e, c->nkx), NULL);
	}
	if (!one_ky)
		emit_end(e, &ly);
}

/* Loops over channels take as many steps in a turn as hide what the loop itself takes; at the edges of images, which are many pieces of
 * code for few tiles, as few as nearly do. */
static int unroll_of(const Tile *t, int cols, Edge edge)
{
	enum { ENOUGH = 64, AT_EDGES = 16 }; /* instructions */
	int n_cols = t->nrow * cols;
	double step = n_cols * t->c->vecs * contract_dot_cost(t->e->t, t->c) + contract_split_cost(t->e->t, t->c, n_cols, t->c->vecs);
	bool inside = (edge.kind == INNER && t->nrow == t->rows) || contract_takes_long(t->e->t, t->c);
	bool lanes = emit_takes_lanes(t->e); /* of what one load has brought serve several steps */
	int n = lanes && t->c->dot > 1 ? 2 : 1;

	while (n < UNROLL && (t->share || (inside && lanes) || n * step < (inside ? ENOUGH : AT_EDGES)))
		n *= 2;
	return n;
}

/* As emit_taps, for t->nrow rows from t->row on. */
static void emit_rows_taps(Tile *t, int cols, LLVMValueRef x0, Edge edge, LLVMValueRef ky_lo, LLVMValueRef ky_hi)
{
	t->unroll = unroll_of(t, cols, edge);
	emit_taps(t, cols, x0, edge, ky_lo, ky_hi);
}

/* Sums of one register tile.  Of two rows the upper one may lack taps at the top that the lower one
 * has, and the other way round at the bottom: three runs of tap rows. */
static void emit_sums(Tile *t, int cols, LLVMValueRef x0, Edge edge)
{
	Emit *e = t->e;

	t->row = 0;
	t->nrow = 1;
	if (t->rows == 1) {
		emit_rows_taps(t, cols, x0, edge, t->ky_lo[0], t->ky_hi[0]);
		return;
	}
	if (t->c->nky == 1 && t->c->py == 0) {
		t->nrow = 2;
		emit_rows_taps(t, cols, x0, edge, t->ky_lo[0], t->ky_hi[0]);
		return;
	}
	t->row = 1;
	emit_rows_taps(t, cols, x0, edge, t->ky_lo[1], pick(e, LLVMIntSLT, t->ky_lo[0], t->ky_hi[1]));
	t->row = 0;
	t->nrow = 2;
	emit_rows_taps(t, cols, x0, edge, t->ky_lo[0], t->ky_hi[1]);
	t->nrow = 1;
	emit_rows_taps(t, cols, x0, edge, pick(e, LLVMIntSGT, t->ky_hi[1], t->ky_lo[0]), t->ky_hi[0]);
}

/* -- tiles, rows, tasks --------------------------------------------------------------------- */

/* Few sums would wait for each other's multiply-adds: those of columns that the tile does not have take turns with
 * them. */
static int ways_of(const Tile *t, int cols)
{
	enum { CHAINS = 8 }; /* latency times multiply-adds per cycle */
	const KContract *c = t->c;
	int ways = CHAINS / (cols * c->vecs);

	if (t->depthwise || contract_pairs(c) || t->rows > 1 || ways < 2)
		return 1;
	ways = ways < UNROLL ? ways : UNROLL;
	return ways < c->cols / cols ? ways : c->cols / cols;
}

static void add_ways(Tile *t, int cols)
{
	Emit *e = t->e;
	bool whole = mlo_contract_sum(t->c) == EL_i32;
	int n = cols * t->c->vecs;

	for (int i = 0; i < n * (t->ways - 1); i++) {
		LLVMValueRef a = LLVMBuildLoad2(e->b, t->vec, t->acc[i % n], "");
		LLVMValueRef b = LLVMBuildLoad2(e->b, t->vec, t->acc[i + n], "");

		LLVMBuildStore(e->b, whole ? LLVMBuildAdd(e->b, a, b, "") : LLVMBuildFAdd(e->b, a, b, ""), t->acc[i % n]);
	}
	t->ways = 1;
}

/* The sums of a register tile. */
static void tile_sums(Tile *t, int cols, LLVMValueRef x0, Edge edge)
{
	contract_start(t, cols, edge);
	contract_prefetch_tile(t, x0);
	t->ways = ways_of(t, cols);
	contract_weave(t, cols);
	emit_sums(t, cols, x0, edge);
	contract_unweave(t, cols);
	add_ways(t, cols);
}

/* What becomes of them. */
static void tile_results(Tile *t, int cols, LLVMValueRef x0)
{
	LLVMValueRef *all = t->acc, y = t->y;

	for (int r = 0; r < t->rows; r++) {
		t->acc = all + r * t->c->cols * t->c->vecs;
		t->y = addc(t->e, y, r);
		contract_results(t, cols, x0);
	}
	t->acc = all;
	t->y = y;
}

void contract_tile(Tile *t, int cols, LLVMValueRef x0, Edge edge)
{
	tile_sums(t, cols, x0, edge);
	tile_results(t, cols, x0);
}

/* The sums of the whole tile at x0, one of `n`: at an edge by code of its own. */
static void whole_tile_sums(Tile *t, LLVMValueRef x0, int64_t n)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMBasicBlockRef join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "summed");
	int64_t inside = n;

	for (int64_t x = 0; x < n * c->cols; x += c->cols)
		inside -= contract_at_edge(c, x, c->cols);
	for (int64_t x = 0, left = n - inside; x < n * c->cols; x += c->cols) {
		LLVMBasicBlockRef at, other;

		if (!contract_at_edge(c, x, c->cols))
			continue;
		at = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "edge");
		other = --left || inside ? LLVMAppendBasicBlockInContext(e->ctx, e->fn, "other") : NULL;
		if (other)
			LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, x0, emit_index(e, x), ""), at, other);
		else
			LLVMBuildBr(e->b, at);
		LLVMPositionBuilderAtEnd(e->b, at);
		tile_sums(t, c->cols, emit_index(e, x), (Edge){AT, x});
		LLVMBuildBr(e->b, join);
		if (other)
			LLVMPositionBuilderAtEnd(e->b, other);
	}
	if (inside) {
		tile_sums(t, c->cols, x0, inner);
		LLVMBuildBr(e->b, join);
	}
	LLVMPositionBuilderAtEnd(e->b, join);
}

/* All columns of one row: whole tiles in a loop, which have their epilogue in common, then what is left; or, where code does not matter,
 * border tiles one by one, inner ones in a loop. */
static void emit_row(Tile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t x = 0, whole = c->nx / c->cols;

	if (c->nx < 0) {
		contract_open_row(t);
		return;
	}
	if (mlo_target_bare(e->t)) {
		contract_small_row(t);
		return;
	}
	if (whole > 1 && !contract_takes_long(e->t, c)) {
		EmitLoop l;
		LLVMValueRef x0 = emit_for(e, &l, emit_index(e, 0), emit_index(e, whole * c->cols), emit_index(e, c->cols), "x");

		whole_tile_sums(t, x0, whole);
		tile_results(t, c->cols, x0);
		emit_end(e, &l);
		x = whole * c->cols;
	}
	while (x < c->nx) {
		int64_t cols = c->nx - x < c->cols ? c->nx - x : c->cols, n = 0;

		while (x + (n + 1) * c->cols <= c->nx && !contract_at_edge(c, x + n * c->cols, c->cols))
			n++;
		if (n > 1) {
			EmitLoop l;
			LLVMValueRef x0 = emit_for(e, &l, emit_index(e, x), emit_index(e, x + n * c->cols), emit_index(e, c->cols), "x");

			contract_tile(t, c->cols, x0, inner);
			emit_end(e, &l);
			x += n * c->cols;
		} else {
			contract_tile(t, (int)cols, emit_index(e, x), contract_at_edge(c, x, cols) ? (Edge){AT, x} : inner);
			x += cols;
		}
	}
}

/* Taps ky with 0 <= y*sy + ky*dy - py < in_y. */
void contract_begin_rows(Tile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef zero = emit_index(e, 0);

	for (int r = 0; r < t->rows; r++) {
		LLVMValueRef top = addc(e, muln(e, addc(e, t->y, r), c->sy), -c->py), lo, hi;

		lo = pick(e, LLVMIntSGT, LLVMBuildNSWSub(e->b, zero, top, ""), zero);
		t->ky_lo[r] = divc(e, addc(e, lo, c->dy - 1), c->dy);
		hi = pick(e, LLVMIntSGT, addc(e, LLVMBuildNSWSub(e->b, num(e, c->in_y), top, ""), c->dy - 1), zero);
		t->ky_hi[r] = pick(e, LLVMIntSLT, divc(e, hi, c->dy), emit_index(e, c->nky));
	}
	contract_row_start(t);
}

static void emit_row_range(Tile *t, LLVMValueRef lo, LLVMValueRef hi, int rows)
{
	Emit *e = t->e;
	EmitLoop l;

	t->rows = rows;
	t->y = emit_for(e, &l, lo, hi, emit_index(e, rows), "y");
	contract_begin_rows(t);
	emit_row(t);
	emit_end(e, &l);
	t->rows = 1;
}

void contract_rows(Tile *t, LLVMValueRef lo, LLVMValueRef hi)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef pairs;

	if (c->rows == 2) {
		pairs = LLVMBuildNSWSub(e->b, hi, remc(e, LLVMBuildNSWSub(e->b, hi, lo, ""), 2), "");
		emit_row_range(t, lo, pairs, 2);
		lo = pairs;
	}
	if (c->rows != 2 || c->y_lo || c->ny % 2 || c->y_chunk % 2)
		emit_row_range(t, lo, hi, 1);
}

static void emit_rows(Tile *t, LLVMValueRef chunk)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef lo = muln(e, chunk, c->y_chunk), hi;

	hi = pick(e, LLVMIntSLT, addc(e, lo, c->y_chunk), num(e, c->ny));
	if (c->y_lo) {
		lo = emit_idx(e, c->y_lo);
		hi = emit_idx(e, c->y_hi);
	}
	contract_rows(t, lo, hi);
}

/* Whole tiles in a loop, the last chunk's rest behind it. */
void contract_columns(Tile *t, LLVMValueRef chunk)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef lo = muln(e, chunk, c->y_chunk), hi, whole = emit_index(e, c->nx / c->cols * c->cols);
	int64_t rest = c->nx % c->cols;
	EmitLoop l;

	t->y = emit_index(e, 0);
	contract_begin_rows(t);
	hi = pick(e, LLVMIntSLT, addc(e, lo, c->y_chunk), whole);
	if (c->nx >= c->cols) {
		contract_tile(t, c->cols, emit_for(e, &l, lo, hi, emit_index(e, c->cols), "x"), inner);
		emit_end(e, &l);
	}
	if (rest) {
		LLVMBasicBlockRef tail = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "rest");
		LLVMBasicBlockRef join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "done");
		int64_t chunks = (c->nx + c->y_chunk - 1) / c->y_chunk;

		LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, chunk, emit_index(e, chunks - 1), ""), tail, join);
		LLVMPositionBuilderAtEnd(e->b, tail);
		contract_tile(t, (int)rest, whole, inner);
		LLVMBuildBr(e->b, join);
		LLVMPositionBuilderAtEnd(e->b, join);
	}
}

/* B read in place must not be read past its row's end. */
static void weight_masks(Tile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMTypeRef ivec = LLVMVectorType(e->index, (unsigned)c->lanes);

	if (c->b.packed || (c->nc >= 0 && c->nc % t->wtile == 0))
		return;
	for (int j = 0; j < c->vecs; j++) {
		LLVMValueRef lane[64], first = addc(e, t->c_first, (int64_t)j * c->lanes), room;

		for (int i = 0; i < c->lanes; i++)
			lane[i] = emit_index(e, i);
		room = LLVMBuildInsertElement(e->b, LLVMGetPoison(ivec), LLVMBuildNSWSub(e->b, num(e, c->nc), first, ""),
		                              emit_index(e, 0), "");
		room = LLVMBuildShuffleVector(e->b, room, LLVMGetPoison(ivec),
		                              LLVMConstNull(LLVMVectorType(LLVMInt32TypeInContext(e->ctx), (unsigned)c->lanes)), "");
		t->bmask[j] = LLVMBuildICmp(e->b, LLVMIntSLT, LLVMConstVector(lane, (unsigned)c->lanes), room, "");
	}
}

static LLVMValueRef ceil_div(Emit *e, int64_t n, int64_t by)
{
	return divc(e, addc(e, num(e, n), by - 1), by);
}

static LLVMValueRef chunks_of(Emit *e, const KContract *c)
{
	return ceil_div(e, mlo_contract_by_columns(c) ? c->nx : c->ny, c->y_chunk);
}

/* The last tile may have more vectors than there are blocks left in A: these read the last one. */
static void depthwise_blocks(Tile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t blocks = (c->nc + c->lanes - 1) / c->lanes;
	LLVMValueRef left = LLVMBuildNSWSub(e->b, emit_index(e, blocks - 1), muln(e, t->ct, c->vecs), "");

	for (int j = 0; j < c->vecs; j++) {
		LLVMValueRef at = emit_index(e, j);

		if (blocks % c->vecs)
			at = pick(e, LLVMIntSLT, at, left);
		t->blk[j] = muln(e, at, c->a.blk);
	}
}

/* Splits the task number into batch, chunk and channel tile; sets the bases that follow. */
static LLVMValueRef task_parts(Tile *t, LLVMValueRef task)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef chunks = chunks_of(e, c), tiles = ceil_div(e, c->nc, t->wtile);
	LLVMValueRef low = LLVMBuildURem(e->b, task, c->c_outer ? chunks : tiles, "");
	LLVMValueRef outer = LLVMBuildUDiv(e->b, task, c->c_outer ? chunks : tiles, "");
	LLVMValueRef n = LLVMBuildUDiv(e->b, outer, c->c_outer ? tiles : chunks, ""), chunk;

	outer = LLVMBuildURem(e->b, outer, c->c_outer ? tiles : chunks, "");
	t->ct = c->c_outer ? outer : low;
	chunk = c->c_outer ? low : outer;
	t->b[0] = LLVMBuildUDiv(e->b, n, num(e, c->nb1), "");
	t->b[1] = LLVMBuildURem(e->b, n, num(e, c->nb1), "");
	t->c_first = muln(e, t->ct, t->wtile);
	weight_masks(t);
	t->a0 = add(e, muln(e, t->b[0], c->a.b0), muln(e, t->b[1], c->a.b1));
	if (c->b.packed)
		t->b0 = muln(e, t->ct, c->nky * c->nkx * mlo_contract_steps(c) * contract_step(c));
	else
		t->b0 = add(e, t->c_first, add(e, muln(e, t->b[0], c->b.b0), muln(e, t->b[1], c->b.b1)));
	if (c->a_at)
		t->a0 = add(e, t->a0, emit_idx(e, c->a_at));
	if (c->b_at)
		t->b0 = add(e, t->b0, emit_idx(e, c->b_at));
	if (t->depthwise) {
		t->kk0 = t->c_first;
		depthwise_blocks(t);
		t->a0 = add(e, t->a0, muln(e, divc(e, t->c_first, c->a.block), c->a.blk));
	} else {
		t->kk0 = c->group_k ? muln(e, divc(e, t->c_first, c->group_c), c->group_k) : emit_index(e, 0);
		if (contract_group_aligned(c) && c->group_k)
			t->a0 = add(e, t->a0, muln(e, divc(e, t->kk0, c->a.block), c->a.blk));
	}
	return chunk;
}

void contract_begin(Tile *t, LLVMValueRef *acc, size_t most)
{
	const KContract *c = t->c;
	size_t n = (size_t)c->rows * (size_t)c->cols * (size_t)c->vecs;

	MLO_ASSERT(c->rows >= 1 && c->rows <= 2 && n <= most && c->cols <= 64 && c->vecs <= 16 && c->lanes <= 64);
	t->sum = emit_type(t->e, mlo_contract_sum(c));
	t->vec = LLVMVectorType(t->sum, (unsigned)c->lanes);
	t->acc = acc;
	for (size_t i = 0; i < n; i++)
		acc[i] = emit_alloca(t->e, t->vec, "");
}

static void emit_tasks(Emit *e, const KStmt *s, LLVMValueRef begin, LLVMValueRef end)
{
	const KContract *c = s->contract;
	Tile t = {.e = e, .s = s, .c = c, .b_arg = c->b_arg, .wtile = (int64_t)c->vecs * c->lanes, .rows = 1, .ways = 1, .unroll = UNROLL, .lane = -1, .depthwise = contract_is_depthwise(c)};
	LLVMValueRef chunk, acc[512];
	EmitLoop l;

	contract_begin(&t, acc, sizeof acc / sizeof *acc);
	contract_zero_point(&t);
	contract_scale_begin(&t);
	chunk = task_parts(&t, emit_for(e, &l, begin, end, emit_index(e, 1), "task"));
	contract_scale_weights(&t);
	contract_prefetch_plan(&t, chunk, chunks_of(e, c));
	if (mlo_contract_by_columns(c) && c->nx < 0)
		contract_open_columns(&t, chunk);
	else if (mlo_contract_by_columns(c))
		contract_columns(&t, chunk);
	else
		emit_rows(&t, chunk);
	emit_end(e, &l);
}

void emit_contract(Emit *e, const KStmt *s)
{
	if (s->contract->wino)
		emit_winograd(e, s);
	else if (s->contract->depth)
		emit_matrix(e, s);
	else if (s->contract->sparse.spread)
		emit_sparse(e, s);
	else if (s->contract->strips)
		emit_strips(e, s);
	else
		emit_tasks(e, s, e->begin, e->end);
}

void emit_contract_inside(Emit *e, const KStmt *s)
{
	const KContract *c = s->contract;
	LLVMValueRef n = LLVMBuildNSWMul(e->b, num(e, c->nb0), num(e, c->nb1), "");

	n = LLVMBuildNSWMul(e->b, n, chunks_of(e, c), "");
	n = LLVMBuildNSWMul(e->b, n, ceil_div(e, c->nc, (int64_t)c->vecs * c->lanes), "");
	emit_tasks(e, s, emit_index(e, 0), n);
}
