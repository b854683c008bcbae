/* codegen/device_mma_walk.c -- contractions on tensor cores: stages whose places in shared memory are known when they are compiled.
 *
 * The loop of a walk has several rounds in a row, each of which multiplies a stage and brings a later one.  Where channels of A go up by
 * as much from each stage of a tap to the next one, the loop goes over them and has a round for each tap, or it goes over the rows
 * of taps, whichever takes more turns.  What a round brings then lies at a constant distance from the thread's pointers, which go up once
 * in a turn, and its part of shared memory is a constant, too, if a turn has whole times as many rounds as there are parts; else parts change
 * places from turn to turn.  Where channels go otherwise, a stage is looked up in the table. */
#include "codegen/device_mma_stage.h"

enum { MOST_PRODUCTS = 2400 /* instructions in a turn */ };

typedef struct Walk {
	Mma *m;
	bool steps;                                    /* pointers go up in steps */
	bool by_rows;                                  /* the loop goes over rows of taps, else over channels */
	bool shared_rows;                              /* slices share out rows of taps, else channels */
	int64_t rows, chunks;                          /* steps: a slice's rows of taps, stages of a tap */
	int64_t rounds, turn;                          /* in all, of the loop */
	int ahead;                                     /* so many rounds are brought before they are multiplied */
	LLVMValueRef first;                            /* round of the turn at hand */
	LLVMValueRef from[MAX_PIECES], weights, sizes; /* steps: allocas of pointers and of a distance, for that round */
	LLVMValueRef part[MAX_STAGES];                 /* allocas: where stages are in shared memory; NULL: one behind the other */
} Walk;

/* Bytes from the slice's first stage to another one, in A, B, and the table of sizes. */
typedef struct Place {
	int64_t a, b, sizes;
} Place;

static int64_t b_bytes(const Mma *m)
{
	return (int64_t)m->t.columns * m->words * 4;
}

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

/* Of a round; those behind a turn are those of the next one. */
static Place place(const Walk *w, int64_t round)
{
	int64_t nkx = w->m->t.c->nkx, ky, kx, chunk, slices = w->m->t.slices;

	if (w->by_rows) {
		chunk = round % w->chunks;
		kx = round / w->chunks % nkx;
		ky = round / w->chunks / nkx;
	} else {
		kx = round % nkx;
		ky = round / nkx % w->rows;
		chunk = round / nkx / w->rows;
	}
	return w->shared_rows ? place_of(w->m, ky * slices, kx, chunk) : place_of(w->m, ky, kx, chunk * slices);
}

/* Instructions that multiply a stage. */
static int64_t products(const Mma *m)
{
	int64_t parts = !m->quarters ? 1 : m->kind->word == EL_f16 ? 2 : 4;

	return (int64_t)m->mt * m->nt * (m->words / STEP) * parts;
}

/* Rounds of a turn: as many as there are parts of shared memory, or a multiple, if that is few. */
static int64_t turn_of(const Walk *w)
{
	int64_t taps = w->by_rows ? w->m->t.c->nkx * w->chunks : w->m->t.c->nkx * w->rows, n = taps;

	while (taps < w->m->stages && n % w->m->stages)
		n += taps;
	return n;
}

static Walk plan_walk(Mma *m)
{
	const KContract *c = m->t.c;
	Walk w = {.m = m, .ahead = m->async ? m->stages - 1 : 1, .rows = c->nky, .chunks = m->per_tap, .rounds = m->all / m->t.slices,
	          .turn = m->stages};

	w.steps = c->nk % m->t.depth == 0 && depth_step(m);
	if (m->per_tap % m->t.slices == 0) {
		w.chunks /= m->t.slices;
	} else {
		w.shared_rows = true;
		w.steps = w.steps && c->nky % m->t.slices == 0;
		w.rows /= m->t.slices;
	}
	w.by_rows = w.rows > w.chunks;
	w.turn = w.steps ? turn_of(&w) : w.turn;
	w.steps = w.steps && w.turn * products(m) <= MOST_PRODUCTS;
	w.turn = w.steps ? w.turn : m->stages;
	return w;
}

bool mma_walks_in_steps(const Mma *m)
{
	return LLVMGetIntTypeWidth(m->t.e->index) == 32 && plan_walk((Mma *)m).steps;
}

bool mma_walks(const Mma *m)
{
	return mma_walks_in_steps(m) || (m->async && m->all % m->t.slices == 0 && LLVMGetIntTypeWidth(m->t.e->index) == 32);
}

/* Three, where a turn has three taps or nine. */
int mma_walk_stages(const Mma *m, int most)
{
	return most > 3 && m->t.c->nkx % 3 == 0 ? 3 : most;
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

/* step: from a slice's first stage to that of the next slice. */
static LLVMValueRef keep_pointer(Walk *w, LLVMValueRef p, int64_t step, const char *name)
{
	Emit *e = w->m->t.e;
	LLVMValueRef kept = emit_alloca(e, global_type(w), name);

	p = LLVMBuildAddrSpaceCast(e->b, p, global_type(w), "");
	LLVMBuildStore(e->b, moved(w, p, tile_mul(e, w->m->t.slice, step)), kept);
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
	Place next = w->shared_rows ? place_of(m, 1, 0, 0) : place_of(m, 0, 0, 1);

	for (int j = 0; j < m->a_pieces; j++)
		w->from[j] = keep_pointer(w, m->from[j], next.a, "from");
	w->weights = keep_pointer(w, mma_weights_at(m, emit_index(e, 0)), next.b, "weights");
	w->sizes = emit_alloca(e, e->index, "sizes");
	LLVMBuildStore(e->b, tile_mul(e, m->t.slice, next.sizes), w->sizes);
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
	Place p = place(w, round);
	int64_t behind;
	LLVMValueRef to = part_of(w, round, &behind), a_to = byte_at(m, tile_add(e, to, m->a_to)), b_to = byte_at(m, tile_add(e, to, m->b_to));

	for (int j = 0; j < m->a_pieces; j++)
		mma_copy_piece(m, a_to, behind + (int64_t)j * m->a_step, pointer(w, w->from[j]), p.a, size[j]);
	for (int j = 0; j < m->b_pieces; j++)
		mma_copy_piece(m, b_to, behind + (int64_t)j * m->b_step, pointer(w, w->weights), p.b + (int64_t)j * THREADS * PIECE, NULL);
}

/* Starts to bring what round `round` of the turn at hand multiplies. */
static void bring(Walk *w, int64_t round)
{
	Mma *m = w->m;
	Emit *e = m->t.e;
	LLVMValueRef size[MAX_PIECES] = {NULL}, from[MAX_PIECES];
	Place p = place(w, round);
	Stage s;

	if (!w->steps) {
		s = mma_stage(m, tile_add(e, tile_mul(e, tile_addc(e, w->first, round), m->t.slices), m->t.slice));
		mma_copy(m, &s, emit_index(e, 0), round % m->stages * stage_bytes(m));
		return;
	}
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

	mma_multiply(w->m, base, behind);
}

/* What was brought into registers, to where round `round` looks for it. */
static void put(Walk *w, int64_t round)
{
	int64_t behind;
	LLVMValueRef base = part_of(w, round, &behind);

	mma_put(w->m, base, behind);
}

static void one_round(Walk *w, int64_t round, bool ahead)
{
	Mma *m = w->m;
	LLVMValueRef pending = word_const(m, m->stages - 2);

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

/* To the next turn. */
static void step(Walk *w)
{
	Mma *m = w->m;
	Emit *e = m->t.e;
	Place p = place(w, w->turn);
	LLVMValueRef part[MAX_STAGES];

	for (int j = 0; j < m->a_pieces && w->steps; j++)
		LLVMBuildStore(e->b, moved(w, pointer(w, w->from[j]), emit_index(e, p.a)), w->from[j]);
	if (w->steps) {
		LLVMBuildStore(e->b, moved(w, pointer(w, w->weights), emit_index(e, p.b)), w->weights);
		LLVMBuildStore(e->b, tile_addc(e, distance(w, w->sizes), p.sizes), w->sizes);
	}
	for (int i = 0; i < m->stages && w->part[0]; i++)
		part[i] = distance(w, w->part[(i + w->turn) % m->stages]);
	for (int i = 0; i < m->stages && w->part[0]; i++)
		LLVMBuildStore(e->b, part[i], w->part[i]);
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
		step(&w);
		emit_end(e, &l);
	}
	w.first = emit_index(e, turns * w.turn);
	for (int64_t r = 0; r < left; r++)
		one_round(&w, r, r + w.ahead < left);
	if (m->async) {
		mma_async(m, "llvm.nvvm.cp.async.wait.all");
		device_block_barrier(e);
	}
}
