/* codegen/device_mma_walk.c -- contractions on tensor cores: stages whose places in shared memory are known when they are compiled.
 *
 * Terms are taken channels after channels, and of those tap after tap.  A round multiplies a stage and brings a later one.  A lap is a
 * round for each tap of some channels, or for each tap of a row and some channels: what its rounds bring lies at constant distances from the
 * thread's pointers, which go up once in a lap.  A turn of the loop is a lap or some, so many that the products in it are most of what
 * it computes.  If a turn has whole times as many rounds as there are parts of shared memory, each round's part is a constant; else parts
 * change places from turn to turn.  Where channels of A do not go up by as much from each stage of a tap to the next one, a stage is
 * looked up in the table. */
#include "codegen/device_mma_stage.h"

enum {
	MOST_PRODUCTS = 2400, FEW_CHUNKS = 2,
	SHARE = 5,    /* products for each other math instruction: a turn need not have more */
	LOOP_MATH = 2, ROW_MATH = 6 /* of a turn; of a row of taps that others follow, which begin anew */
};

typedef struct Walk {
	Mma *m;
	bool steps;                  /* pointers go up in steps */
	int64_t across, down;        /* so many sharers share out rows of taps, channels */
	int64_t rows, chunks;        /* steps: a slice's rows of taps, stages of a tap */
	bool by_rows;                /* a lap is a row of taps of several */
	int64_t inner;               /* chunks that a lap takes of each tap, where that is a row */
	int64_t rounds, lap, turn;   /* in all, of pointers, of the loop */
	double beside;               /* math for each product, if that is much */
	int ahead;                   /* so many rounds are brought before they are multiplied */
	LLVMValueRef first;          /* round of the turn at hand */
	/* steps: allocas of pointers and of a distance, and of a number of the row of taps, for the lap that rounds are brought of */
	LLVMValueRef from[MAX_PIECES], weights, sizes, row;
	LLVMValueRef part[MAX_STAGES]; /* allocas: where stages are in shared memory; NULL: one behind the other */
} Walk;

/* Bytes from the slice's first stage to another one, in A, B, and the table of sizes. */
typedef struct Place {
	int64_t a, b, sizes;
} Place;

/* From the channels of a stage to those of the next one in A, in elements; 0: that is not always the same. */
static int64_t depth_step(const Mma *m)
{
	const KContract *c = m->t.c;

	if (c->a.block >= c->nk || c->a.blk == c->a.block)
		return m->t.depth;
	return m->t.depth % c->a.block ? 0 : m->t.depth / c->a.block * c->a.blk;
}

static Place place_of(const Mma *m, int64_t ky, int64_t kx, int64_t chunk)
{
	const KContract *c = m->t.c;
	int64_t tap = ky * c->nkx + kx, at = ky * c->dy * c->a.y + kx * c->dx * c->a.x + chunk * depth_step(m);

	return (Place){at * (mlo_elem_bits(c->a.elem) / 8), (tap * m->per_tap + chunk) * b_bytes(m), tap * mma_tap_bytes(m)};
}

/* Slices of all blocks that share a tile. */
static int64_t sharers(const Mma *m)
{
	return (int64_t)m->t.slices * m->t.parts;
}

/* The thread's, of these. */
static LLVMValueRef sharer(const Mma *m)
{
	return m->t.parts == 1 ? m->t.slice : tile_add(m->t.e, tile_mul(m->t.e, m->t.part, m->t.slices), m->t.slice);
}

/* Of the first taps of a row, and of a round behind them. */
static Place place(const Walk *w, int64_t row, int64_t round)
{
	int64_t nkx = w->m->t.c->nkx, kx = round / w->inner % nkx, ky, chunk;

	row += round / w->inner / nkx;
	ky = row % w->rows;
	chunk = row / w->rows * w->inner + round % w->inner;
	return place_of(w->m, ky * w->across, kx, chunk * w->down);
}

/* Instructions that multiply a stage. */
static int64_t products(const Mma *m)
{
	if (m->groups)
		return m->words / STEP;
	int64_t parts = !m->quarters ? 1 : m->kind->word == EL_f16 ? 2 : 4;

	return (int64_t)m->mt * m->nt * (m->words / STEP) * parts / (m->t.c->b.kept ? 2 : 1);
}

/* Math beside the products of a turn. */
static int64_t math_of(const Walk *w)
{
	const Mma *m = w->m;
	int64_t staged = m->sizes >= 0 && !m->async ? m->a_pieces : 0, moved = w->turn % m->stages ? 2 * m->stages * (1 + m->words / STEP) : 0;
	int64_t lap = m->a_pieces + 1 + (m->sizes >= 0) + (w->by_rows && w->chunks > w->inner ? ROW_MATH : 0);

	if (w->turn > w->rounds - w->ahead) /* there is no loop */
		return w->rounds / w->lap * lap + w->rounds * staged;
	return LOOP_MATH + w->turn / w->lap * lap + w->turn * staged + moved;
}

/* Takes turns of so many laps, if that is better: the shorter ones, if both are mostly products, else those that are more so. */
static void try_turn(Walk *best, bool by_rows, int64_t lap, int64_t laps)
{
	Walk w = *best;
	int64_t all, math;

	w.by_rows = by_rows;
	w.inner = by_rows && w.chunks <= FEW_CHUNKS ? w.chunks : 1;
	w.lap = lap;
	w.turn = lap * laps;
	all = products(w.m) * (w.turn > w.rounds - w.ahead ? w.rounds : w.turn);
	math = math_of(&w);
	if (all > MOST_PRODUCTS)
		return;
	w.beside = math * SHARE <= all ? 1.0 / SHARE : (double)math / (double)all;
	if (!best->turn || w.beside < best->beside)
		*best = w;
}

/* The first one that is mostly products. */
static void choose_turn(Walk *w)
{
	enum { MOST_LAPS = 8 };
	int64_t nkx = w->m->t.c->nkx, row = nkx * (w->chunks <= FEW_CHUNKS ? w->chunks : 1), taps = nkx * w->rows;

	w->turn = 0;
	for (int64_t n = 1; n <= MOST_LAPS; n++) {
		if (w->rows > 1)
			try_turn(w, true, row, n);
		try_turn(w, false, taps * n, 1);
	}
}

int64_t mma_row_sharers(const KContract *c, int64_t per_tap, int64_t n)
{
	for (int64_t across = 1; across <= n && across <= c->nky; across++)
		if (n % across == 0 && c->nky % across == 0 && per_tap % (n / across) == 0)
			return across;
	return 0;
}

static Walk plan_walk(Mma *m)
{
	const KContract *c = m->t.c;
	Walk w = {.m = m, .ahead = m->groups ? m->stages - 2 : m->async ? m->stages - 1 : 1, .rows = c->nky, .chunks = m->per_tap, .rounds = m->share / m->t.slices};

	w.across = mma_row_sharers(c, m->per_tap, sharers(m));
	w.steps = c->nk % m->t.depth == 0 && depth_step(m) && w.across;
	if (w.across) {
		w.down = sharers(m) / w.across;
		w.rows /= w.across;
		w.chunks /= w.down;
	}
	if (w.steps)
		choose_turn(&w);
	w.steps = w.steps && w.turn;
	if (!w.steps)
		w.turn = m->stages;
	return w;
}

bool mma_walks_in_steps(const Mma *m)
{
	return LLVMGetIntTypeWidth(m->t.e->index) == 32 && plan_walk((Mma *)m).steps;
}

bool mma_walks(const Mma *m)
{
	return mma_walks_in_steps(m) || (m->async && m->share % m->t.slices == 0 && LLVMGetIntTypeWidth(m->t.e->index) == 32);
}

/* Three, where a turn has three taps or nine. */
int mma_walk_stages(const KContract *c, int most)
{
	return most > 3 && c->nkx % 3 == 0 ? 3 : most;
}

/* -- where things are -------------------------------------------------------------------------------- */

static LLVMTypeRef global_type(const Walk *w)
{
	return LLVMPointerTypeInContext(w->m->t.e->ctx, 1);
}

static LLVMValueRef moved(const Walk *w, LLVMValueRef p, LLVMValueRef bytes)
{
	return LLVMBuildGEP2(w->m->t.e->b, LLVMInt8TypeInContext(w->m->t.e->ctx), p, &bytes, 1, "");
}

/* From the first stage of all to the slice's, where stages lie so far apart in rows of taps and in channels. */
static LLVMValueRef first_at(Walk *w, int64_t row, int64_t chunk)
{
	Emit *e = w->m->t.e;
	LLVMValueRef n = sharer(w->m), across = w->across == 1 ? NULL : tile_mul(e, tile_rem(e, n, w->across), row);
	LLVMValueRef down = w->down == 1 ? NULL : tile_mul(e, tile_div(e, n, w->across), chunk);

	return across && down ? tile_add(e, across, down) : across ? across : down ? down : emit_index(e, 0);
}

static LLVMValueRef keep_pointer(Walk *w, LLVMValueRef p, LLVMValueRef first, const char *name)
{
	Emit *e = w->m->t.e;
	LLVMValueRef kept = emit_alloca(e, global_type(w), name);

	p = LLVMBuildAddrSpaceCast(e->b, p, global_type(w), "");
	LLVMBuildStore(e->b, moved(w, p, first), kept);
	return kept;
}

static LLVMValueRef pointer(Walk *w, LLVMValueRef kept)
{
	return LLVMBuildLoad2(w->m->t.e->b, global_type(w), kept, "");
}

static LLVMValueRef distance(Walk *w, LLVMValueRef kept)
{
	return LLVMBuildLoad2(w->m->t.e->b, w->m->t.e->index, kept, "");
}

static void begin_steps(Walk *w)
{
	Mma *m = w->m;
	Emit *e = m->t.e;
	Place row = place_of(m, 1, 0, 0), chunk = place_of(m, 0, 0, 1);

	for (int j = 0; j < m->a_pieces; j++)
		w->from[j] = keep_pointer(w, m->from[j], first_at(w, row.a, chunk.a), "from");
	w->weights = keep_pointer(w, mma_weights_at(m, emit_index(e, 0)), first_at(w, row.b, chunk.b), "weights");
	w->sizes = emit_alloca(e, e->index, "sizes");
	LLVMBuildStore(e->b, first_at(w, row.sizes, chunk.sizes), w->sizes);
	w->row = emit_alloca(e, e->index, "row");
	LLVMBuildStore(e->b, emit_index(e, 0), w->row);
}

static void begin_parts(Walk *w)
{
	Mma *m = w->m;
	Emit *e = m->t.e;

	for (int i = 0; i < m->stages && w->turn % m->stages; i++) {
		w->part[i] = emit_alloca(e, e->index, "part");
		LLVMBuildStore(e->b, emit_index(e, (int64_t)i * stage_bytes(m)), w->part[i]);
	}
}

/* The part of shared memory for a round of the turn at hand: so many bytes behind what it answers. */
static LLVMValueRef part_of(Walk *w, int64_t round, int64_t *behind)
{
	int64_t i = round % w->m->stages;

	*behind = w->part[0] ? 0 : i * stage_bytes(w->m);
	return w->part[0] ? distance(w, w->part[i]) : emit_index(w->m->t.e, 0);
}

/* -- rounds ------------------------------------------------------------------------------------------ */

/* By cp.async. */
static void copy_pieces(Walk *w, int64_t round, LLVMValueRef *size)
{
	Mma *m = w->m;
	Emit *e = m->t.e;
	Place p = place(w, 0, round % w->lap);
	int64_t behind;
	LLVMValueRef to = part_of(w, round, &behind), a_to = byte_at(m, tile_add(e, to, m->a_to)), b_to = byte_at(m, tile_add(e, to, m->b_to));

	for (int j = 0; j < m->a_pieces; j++)
		device_copy_piece(e, a_to, behind + (int64_t)j * m->a_step, pointer(w, w->from[j]), p.a, size[j]);
	for (int j = 0; j < m->b_pieces; j++)
		device_copy_piece(e, b_to, behind + (int64_t)j * m->b_step, pointer(w, w->weights), p.b + mma_weights_behind(m, j), m->b_size[j]);
}

static LLVMValueRef either(Walk *w, LLVMValueRef last, int64_t yes, int64_t no)
{
	return LLVMBuildSelect(w->m->t.e->b, last, emit_index(w->m->t.e, yes), emit_index(w->m->t.e, no), "");
}

/* To the lap that is brought next: of rows of taps, the next one, or the first one of the next channels.  LLVM is not to see by what
 * pointers go up: it would make sums of what they share and what they do not, round by round, for the sake of fewer registers. */
static void step(Walk *w)
{
	Mma *m = w->m;
	Emit *e = m->t.e;
	bool turns = w->by_rows && w->chunks > w->inner;
	Place on = w->by_rows ? place(w, 1, 0) : place(w, 0, w->lap), back = place(w, w->rows, 0), last = place(w, w->rows - 1, 0);
	LLVMValueRef a = emit_index(e, on.a), b = emit_index(e, on.b), sizes = emit_index(e, on.sizes), row, end;

	if (turns) {
		row = distance(w, w->row);
		end = LLVMBuildICmp(e->b, LLVMIntEQ, row, emit_index(e, w->rows - 1), "");
		LLVMBuildStore(e->b, LLVMBuildSelect(e->b, end, emit_index(e, 0), tile_addc(e, row, 1), ""), w->row);
		a = either(w, end, back.a - last.a, on.a);
		b = either(w, end, back.b - last.b, on.b);
		sizes = either(w, end, -last.sizes, on.sizes);
	}
	for (int j = 0; j < m->a_pieces; j++)
		LLVMBuildStore(e->b, device_opaque(e, moved(w, pointer(w, w->from[j]), a)), w->from[j]);
	LLVMBuildStore(e->b, device_opaque(e, moved(w, pointer(w, w->weights), b)), w->weights);
	LLVMBuildStore(e->b, tile_add(e, distance(w, w->sizes), sizes), w->sizes);
}

/* Starts to bring what round `round` of the turn at hand multiplies. */
static void bring(Walk *w, int64_t round)
{
	Mma *m = w->m;
	Emit *e = m->t.e;
	LLVMValueRef size[MAX_PIECES] = {NULL}, from[MAX_PIECES];
	Stage s;
	Place p;

	if (!w->steps) {
		s = mma_stage(m, stage_number(m, tile_add(e, tile_mul(e, tile_addc(e, w->first, round), m->t.slices), m->t.slice)));
		mma_copy(m, &s, emit_index(e, 0), round % m->stages * stage_bytes(m));
		return;
	}
	if (round && round % w->lap == 0)
		step(w);
	p = place(w, 0, round % w->lap);
	if (m->sizes >= 0)
		mma_load_sizes(m, distance(w, w->sizes), p.sizes, size);
	if (m->async) {
		copy_pieces(w, round, size);
		return;
	}
	for (int j = 0; j < m->a_pieces; j++)
		from[j] = pointer(w, w->from[j]);
	mma_fetch_input(m, from, p.a, size);
	mma_fetch_weights(m, pointer(w, w->weights), p.b);
}

static void multiply(Walk *w, int64_t round)
{
	int64_t behind;
	LLVMValueRef base = part_of(w, round, &behind);

	if (w->m->groups)
		wgmma_multiply(&w->m->group, base, behind, base, behind);
	else
		mma_multiply(w->m, base, behind);
}

/* What was brought into registers, to where round `round` looks for it. */
static void put(Walk *w, int64_t round)
{
	int64_t behind;
	LLVMValueRef base = part_of(w, round, &behind);

	mma_put(w->m, base, behind);
}

/* Behind the barrier, all groups have what was brought for the round, and have multiplied what they waited for in the last one: the round before
 * that, whose part of shared memory is brought anew while two rounds are on their way. */
static void group_round(Walk *w, int64_t round, bool ahead)
{
	Mma *m = w->m;
	LLVMValueRef pending = word_const(m, w->ahead - 1);

	emit_intrinsic(m->t.e, "llvm.nvvm.cp.async.wait.group", NULL, 0, &pending, 1);
	wgmma_publish(&m->group);
	device_block_barrier(m->t.e);
	multiply(w, round);
	if (ahead)
		bring(w, round + w->ahead);
	mma_async(m, "llvm.nvvm.cp.async.commit.group");
	wgmma_wait(&m->group, 1);
}

static void one_round(Walk *w, int64_t round, bool ahead)
{
	Mma *m = w->m;
	LLVMValueRef pending = word_const(m, m->stages - 2);

	if (m->groups) {
		group_round(w, round, ahead);
		return;
	}
	if (m->async) {
		emit_intrinsic(m->t.e, "llvm.nvvm.cp.async.wait.group", NULL, 0, &pending, 1);
		device_block_barrier(m->t.e);
	}
	if (ahead)
		bring(w, round + w->ahead);
	if (m->async)
		mma_async(m, "llvm.nvvm.cp.async.commit.group");
	multiply(w, round);
	if (!m->async && ahead)
		put(w, round + w->ahead);
	if (!m->async)
		device_block_barrier(m->t.e);
}

static void first_rounds(Walk *w)
{
	Mma *m = w->m;

	for (int r = 0; r < w->ahead; r++) {
		if (r < w->rounds)
			bring(w, r);
		if (m->async)
			mma_async(m, "llvm.nvvm.cp.async.commit.group");
	}
	if (!m->async) {
		put(w, 0);
		device_block_barrier(m->t.e);
	}
}

/* Parts of shared memory for the next turn.  LLVM would know them behind the loop, and keep addresses for that. */
static void change_parts(Walk *w)
{
	Mma *m = w->m;
	LLVMValueRef part[MAX_STAGES];

	for (int i = 0; i < m->stages && w->part[0]; i++)
		part[i] = device_opaque(m->t.e, distance(w, w->part[(i + w->turn) % m->stages]));
	for (int i = 0; i < m->stages && w->part[0]; i++)
		LLVMBuildStore(m->t.e->b, part[i], w->part[i]);
}

/* As many turns as have a later round to bring in each of theirs; then what is left. */
void mma_walk(Mma *m)
{
	Emit *e = m->t.e;
	Walk w = plan_walk(m);
	int64_t turns = w.rounds < w.ahead ? 0 : (w.rounds - w.ahead) / w.turn, left = w.rounds - turns * w.turn;
	EmitLoop l;

	w.first = emit_index(e, 0);
	if (w.steps)
		begin_steps(&w);
	begin_parts(&w);
	first_rounds(&w);
	if (turns) {
		w.first = emit_for(e, &l, emit_index(e, 0), emit_index(e, turns * w.turn), emit_index(e, w.turn), "stages");
		for (int64_t r = 0; r < w.turn; r++)
			one_round(&w, r, true);
		change_parts(&w);
		device_end_long(e, &l);
	}
	w.first = emit_index(e, turns * w.turn);
	for (int64_t r = 0; r < left; r++)
		one_round(&w, r, r + w.ahead < left);
	if (m->groups)
		wgmma_wait(&m->group, 0);
	if (m->async) {
		mma_async(m, "llvm.nvvm.cp.async.wait.all");
		device_block_barrier(e);
	}
}
