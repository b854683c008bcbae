/* codegen/emit_epilogue.c -- what becomes of the sums of a register tile: the statements of a contraction's body, vector by vector. */
#include "codegen/emit_contract.h"

static LLVMValueRef tail_mask(Tile *t, int64_t real)
{
	LLVMValueRef bit[64];
	LLVMTypeRef i1 = LLVMInt1TypeInContext(t->e->ctx);

	for (int i = 0; i < t->c->lanes; i++)
		bit[i] = LLVMConstInt(i1, i < real, 0);
	return LLVMConstVector(bit, (unsigned)t->c->lanes);
}

LLVMValueRef contract_mask(Tile *t, int j)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef left = LLVMBuildNSWSub(e->b, num(e, c->nc), addc(e, t->c_first, (int64_t)j * c->lanes), "");

	return LLVMBuildICmp(e->b, LLVMIntSLT, emit_iota(e, e->index, c->lanes, 1),
	                     emit_splat(e, left, c->lanes), "");
}

/* Lanes of vector j that are channels: all, a constant mask, or where the channels are a size, whatever
 * is left. */
static LLVMValueRef channel_mask(Tile *t, int j, int64_t real)
{
	if (real >= 0)
		return real < t->c->lanes ? tail_mask(t, real) : NULL;
	return contract_mask(t, j);
}

/* Channels that vector j of a tile with `real` of them has; SOME: known when the kernel runs. */
enum { SOME = -1 };
static int64_t real_of(const Tile *t, int64_t real, int j)
{
	int64_t left = real - (int64_t)j * t->c->lanes;

	return real == SOME ? SOME : left < 0 ? 0 : left;
}

void contract_lanes(Tile *t, int j)
{
	const KContract *c = t->c;
	Emit *e = t->e;

	e->var[c->var[4]] = addc(e, t->c_first, (int64_t)j * c->lanes);
	e->lanes = c->lanes;
	e->vec_var = c->var[4];
	e->vec_aligned = true;
}

void contract_lanes_end(Tile *t)
{
	t->e->lanes = 0;
	t->e->vec_var = -1;
	t->e->mask = NULL;
}

/* Does it load what is the same for all columns? */
static bool of_channel(const Tile *t, const KStmt *s)
{
	const KInst *in = s->kind == KS_LET ? &t->e->k->value.items[s->value] : NULL;

	return in && in->op == K_load && !in->guard && in->idx->op == KI_VAR && in->idx->k == t->c->var[4];
}

/* Loads that for vectors [from, to) of the tile, once for all outputs that follow until t->kept is 0: LLVM does not know that no output
 * lies there.  Nothing is kept that takes no instruction anyway, but a register. */
static void keep_channels(Tile *t, int64_t real_channels, int from, int to)
{
	const KInst *bias;
	const KStmt *body = contract_bias(t, &bias);

	if (real_channels != SOME && real_channels % t->c->lanes == 0 && emit_takes_memory(t->e))
		return;
	for (int j = from; j < to; j++) {
		t->kept = 0;
		contract_lanes(t, j);
		t->e->mask = channel_mask(t, j, real_of(t, real_channels, j));
		for (const KStmt *s = bias ? body->next : body; s && t->kept < CONTRACT_KEPT; s = s->next)
			if (of_channel(t, s))
				t->channel[j][t->kept++] = emit_value(t->e, &t->e->k->value.items[s->value]);
		contract_lanes_end(t);
	}
}

void contract_output(Tile *t, LLVMValueRef x, int j, LLVMValueRef product, int64_t real)
{
	const KContract *c = t->c;
	const KStmt *body;
	const KInst *bias;
	Emit *e = t->e;

	e->var[c->var[0]] = t->b[0];
	e->var[c->var[1]] = t->b[1];
	e->var[c->var[2]] = t->y;
	e->var[c->var[3]] = x;
	contract_lanes(t, j);
	e->product = product;
	e->mask = channel_mask(t, j, real);
	body = contract_bias(t, &bias);
	if (bias) { /* products started from it */
		e->val[body->value] = product;
		body = body->next;
	}
	for (int kept = 0; body; body = body->next) {
		if (kept < t->kept && of_channel(t, body))
			e->val[body->value] = t->channel[j][kept++];
		else
			emit_stmt(e, body);
	}
	contract_lanes_end(t);
	e->product = NULL;
}

/* Heavy epilogues (vector math), all where code is to be small, and long ones are loops over the columns, `turn` at once, of vectors
 * [from, to) of the tile. */
static void epilogue_loop(Tile *t, int cols, int turn, LLVMValueRef x0, int64_t real_channels, int from, int to)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef buf = emit_alloca(e, LLVMArrayType(t->vec, (unsigned)(cols * (to - from))), ""), i, first, at;
	EmitLoop l;

	for (int k = 0; k < cols; k++)
		for (int j = from; j < to; j++) {
			LLVMValueRef v = LLVMBuildLoad2(e->b, t->vec, t->acc[k * c->vecs + j], "");

			at = emit_index(e, (int64_t)k * (to - from) + j - from);
			LLVMBuildStore(e->b, v, LLVMBuildInBoundsGEP2(e->b, t->vec, buf, &at, 1, ""));
		}
	keep_channels(t, real_channels, from, to);
	i = emit_for(e, &l, emit_index(e, 0), emit_index(e, cols), emit_index(e, turn), "col");
	for (int k = 0; k < turn; k++) {
		first = muln(e, addc(e, i, k), to - from);
		for (int j = from; j < to; j++) {
			at = addc(e, first, j - from);
			contract_output(t, add(e, x0, addc(e, i, k)), j,
			                LLVMBuildLoad2(e->b, t->vec, LLVMBuildInBoundsGEP2(e->b, t->vec, buf, &at, 1, ""), ""),
			                real_of(t, real_channels, j));
		}
	}
	emit_end(e, &l);
	t->kept = 0;
}

/* More than a bias and an activation? */
static bool long_epilogue(const Tile *t)
{
	enum { SHORT = 6 };
	int n = 0;

	for (const KStmt *s = t->s->body; s; s = s->next)
		n += s->kind != KS_LET || t->e->k->value.items[s->value].op >= K_accum;
	return n > SHORT;
}

/* Does what a loop adds to the epilogue of a vector, a store and a load mostly, take next to no time beside its terms? */
static bool many_terms(const Tile *t)
{
	enum { MANY = 48 }; /* instructions */
	const KContract *c = t->c;
	double apart = contract_split_cost(t->e->t, c, c->cols, c->vecs) / (c->cols * c->vecs);

	return c->nk > 0 && (double)(mlo_contract_steps(c) * c->nky * c->nkx) * (contract_dot_cost(t->e->t, c) + apart) >= MANY &&
	       long_epilogue(t);
}

/* Columns of a turn of the loop, all where there is to be none: their code is small anyway, or does not matter.  The vectors of a turn
 * do not wait for each other; wide ones, kept and read again at once, would take longer than their code saves.  (On a Zen 5,
 * a small MobileNet in 8-bit integers takes 9 % longer by loops with vectors of 64 bytes, with 32 bytes 1 % by turns of 8 and 3.5 % by
 * turns of 4.) */
static int turn_of(const Tile *t, int cols, bool alone)
{
	enum { NARROW = 16, WIDE = 64, FEWEST = 2 }; /* bytes; vectors of a turn */
	const KContract *c = t->c;
	int bytes = t->e->t->register_bytes, vectors = bytes <= NARROW ? 4 : 8, most = vectors / c->vecs > 1 ? vectors / c->vecs : 1;

	if (alone || many_terms(t))
		return 1;
	if (bytes >= WIDE || !long_epilogue(t) || contract_takes_long(t->e->t, c) || cols * c->vecs <= vectors)
		return cols;
	while (cols % most)
		most--;
	return most * c->vecs >= FEWEST ? most : cols;
}

static void epilogue_cols(Tile *t, int cols, LLVMValueRef x0, int64_t real_channels)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	bool alone = contract_heavy_epilogue(e->k, t->s) || mlo_target_bare(e->t); /* each vector in a loop of its own */
	int turn = turn_of(t, cols, alone), present = 0;

	if (turn < cols) {
		for (int j = 0, to; j < c->vecs && real_of(t, real_channels, j); j = to) {
			to = j + 1;
			while (to < c->vecs && real_of(t, real_channels, to) && !alone)
				to++;
			epilogue_loop(t, cols, turn, x0, real_channels, j, to);
		}
		return;
	}
	while (present < c->vecs && real_of(t, real_channels, present))
		present++;
	keep_channels(t, real_channels, 0, present);
	for (int i = 0; i < cols; i++)
		for (int j = 0; j < present; j++)
			contract_output(t, addc(e, x0, i), j, LLVMBuildLoad2(e->b, t->vec, t->acc[i * c->vecs + j], ""),
			                real_of(t, real_channels, j));
	t->kept = 0;
}

/* The last channel tile may be partial: its stores are masked, in code of their own. */
void contract_results(Tile *t, int cols, LLVMValueRef x0)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t tiles = (c->nc + t->wtile - 1) / t->wtile, rest = c->nc - (tiles - 1) * t->wtile;
	LLVMBasicBlockRef part, full, join;
	LLVMValueRef partial = LLVMBuildICmp(e->b, LLVMIntEQ, t->ct, emit_index(e, tiles - 1), "");

	if (c->nc < 0) {
		partial = LLVMBuildICmp(e->b, LLVMIntSGT, addc(e, t->c_first, t->wtile), num(e, c->nc), "");
		rest = SOME;
		tiles = 2;
	}
	if (rest == t->wtile || tiles == 1) {
		epilogue_cols(t, cols, x0, rest);
		return;
	}
	part = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "partial");
	full = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "full");
	join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "stored");
	LLVMBuildCondBr(e->b, partial, part, full);
	LLVMPositionBuilderAtEnd(e->b, part);
	epilogue_cols(t, cols, x0, rest);
	LLVMBuildBr(e->b, join);
	LLVMPositionBuilderAtEnd(e->b, full);
	epilogue_cols(t, cols, x0, t->wtile);
	LLVMBuildBr(e->b, join);
	LLVMPositionBuilderAtEnd(e->b, join);
}
