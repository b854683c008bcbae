/* codegen/device_mma_walk.c -- contractions on tensor cores: stages whose places in shared memory are known when they are compiled.
 *
 * The loop of a walk has as many rounds in a row as there are stages in shared memory.  Each of them reads and writes parts that lie at
 * a constant distance from where the thread's first pieces lie.  Of one tap, terms go up by as much from round to round, too: what is
 * left to compute are pointers, once for all rounds of the loop.  Else, a stage is looked up in the table. */
#include "codegen/device_mma_stage.h"

typedef struct Walk {
	Mma *m;
	bool steps;                             /* pointers go up in steps */
	int64_t rounds;                         /* in all */
	LLVMValueRef first;                     /* round of the loop at hand */
	LLVMValueRef from[MAX_PIECES], weights; /* steps: allocas of pointers, for that round */
} Walk;

/* From the channels of a stage to those of the next one in A, in elements; 0: that is not always the same. */
static int64_t depth_step(const Mma *m)
{
	const KContract *c = m->t.c;

	if (c->a.block >= c->nk || c->a.blk == c->a.block)
		return m->t.depth;
	return m->t.depth % c->a.block ? 0 : m->t.depth / c->a.block * c->a.blk;
}

static bool walks_in_steps(const Mma *m)
{
	return m->t.c->nky * m->t.c->nkx == 1 && !m->mask[0] && m->t.c->nk % m->t.depth == 0 && depth_step(m);
}

bool mma_walks(const Mma *m)
{
	return m->async && m->share % m->t.slices == 0 && LLVMGetIntTypeWidth(m->t.e->index) == 32;
}

/* -- where things are -------------------------------------------------------------------------------- */

static int64_t b_bytes(const Mma *m)
{
	return (int64_t)m->t.columns * m->words * 4;
}

/* From the pointers to what a round of the loop brings, in bytes; rounds behind its last are those of the next time. */
static int64_t a_behind(const Walk *w, int round)
{
	return round * depth_step(w->m) * w->m->t.slices * (mlo_elem_bits(w->m->t.c->a.elem) / 8);
}

static int64_t b_behind(const Walk *w, int round)
{
	return (int64_t)round * w->m->t.slices * b_bytes(w->m);
}

static int64_t shared_behind(const Walk *w, int round)
{
	return (int64_t)(round % w->m->stages) * stage_bytes(w->m);
}

static LLVMValueRef moved(Mma *m, LLVMValueRef p, int64_t bytes)
{
	return LLVMBuildGEP2(m->t.e->b, LLVMInt8TypeInContext(m->t.e->ctx), p, (LLVMValueRef[]){emit_index(m->t.e, bytes)}, 1, "");
}

static void keep_pointer(Walk *w, LLVMValueRef *place, LLVMValueRef p, int64_t step, const char *name)
{
	Emit *e = w->m->t.e;
	LLVMTypeRef global = LLVMPointerTypeInContext(e->ctx, 1), i8 = LLVMInt8TypeInContext(e->ctx);
	LLVMValueRef behind = tile_mul(e, stage_number(w->m, w->m->t.slice), step);

	*place = emit_alloca(e, global, name);
	p = LLVMBuildAddrSpaceCast(e->b, p, global, "");
	LLVMBuildStore(e->b, LLVMBuildGEP2(e->b, i8, p, &behind, 1, ""), *place);
}

static LLVMValueRef pointer(Walk *w, LLVMValueRef place)
{
	return LLVMBuildLoad2(w->m->t.e->b, LLVMPointerTypeInContext(w->m->t.e->ctx, 1), place, "");
}

static void plan(Walk *w)
{
	Mma *m = w->m;
	Emit *e = m->t.e;
	int64_t depth_bytes = depth_step(m) * (mlo_elem_bits(m->t.c->a.elem) / 8);

	for (int j = 0; j < m->a_pieces; j++)
		keep_pointer(w, &w->from[j], m->from[j], depth_bytes, "from");
	keep_pointer(w, &w->weights, mma_weights_at(m, emit_index(e, 0)), b_bytes(m), "weights");
}

/* -- rounds ------------------------------------------------------------------------------------------ */

/* Starts to bring what round `round` of the loop at hand multiplies. */
static void copy(Walk *w, int round)
{
	Mma *m = w->m;
	Emit *e = m->t.e;
	int64_t to = shared_behind(w, round);
	Stage s;

	if (!w->steps) {
		s = mma_stage(m, stage_number(m, tile_add(e, tile_mul(e, tile_addc(e, w->first, round), m->t.slices), m->t.slice)));
		mma_copy(m, &s, emit_index(e, 0), to);
		return;
	}
	for (int j = 0; j < m->a_pieces; j++)
		mma_copy_piece(m, byte_at(m, m->a_to), to + (int64_t)j * m->a_step, pointer(w, w->from[j]), a_behind(w, round), NULL);
	for (int j = 0; j < m->b_pieces; j++)
		mma_copy_piece(m, byte_at(m, m->b_to), to + (int64_t)j * m->b_step, pointer(w, w->weights),
		               b_behind(w, round) + (int64_t)j * m->t.threads * PIECE, NULL);
}

static void one_round(Walk *w, int round, bool ahead)
{
	Mma *m = w->m;
	LLVMValueRef pending = word_const(m, m->stages - 2);

	emit_intrinsic(m->t.e, "llvm.nvvm.cp.async.wait.group", NULL, 0, &pending, 1);
	device_block_barrier(m->t.e);
	if (ahead)
		copy(w, round + m->stages - 1);
	mma_async(m, "llvm.nvvm.cp.async.commit.group");
	mma_multiply(m, emit_index(m->t.e, 0), shared_behind(w, round));
}

static void step(Walk *w)
{
	Mma *m = w->m;
	LLVMBuilderRef b = m->t.e->b;

	for (int j = 0; j < m->a_pieces; j++)
		LLVMBuildStore(b, moved(m, pointer(w, w->from[j]), a_behind(w, m->stages)), w->from[j]);
	LLVMBuildStore(b, moved(m, pointer(w, w->weights), b_behind(w, m->stages)), w->weights);
}

/* As many times the loop as each of its rounds has a later one to bring; then what is left. */
void mma_walk(Mma *m)
{
	Emit *e = m->t.e;
	Walk w = {.m = m, .steps = walks_in_steps(m), .rounds = m->share / m->t.slices, .first = emit_index(m->t.e, 0)};
	int ahead = m->stages - 1;
	int64_t times = w.rounds < ahead ? 0 : (w.rounds - ahead) / m->stages, left = w.rounds - times * m->stages;
	EmitLoop l;

	if (w.steps)
		plan(&w);
	for (int r = 0; r < ahead; r++) {
		if (r < w.rounds)
			copy(&w, r);
		mma_async(m, "llvm.nvvm.cp.async.commit.group");
	}
	if (times) {
		w.first = emit_for(e, &l, emit_index(e, 0), emit_index(e, times * m->stages), emit_index(e, m->stages), "stages");
		for (int r = 0; r < m->stages; r++)
			one_round(&w, r, true);
		if (w.steps)
			step(&w);
		emit_end(e, &l);
	}
	w.first = emit_index(e, times * m->stages);
	for (int r = 0; r < left; r++)
		one_round(&w, r, r + ahead < left);
	mma_async(m, "llvm.nvvm.cp.async.wait.all");
	device_block_barrier(e);
}
