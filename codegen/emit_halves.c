/* codegen/emit_halves.c -- products of bytes where they come in 16 bits, half a register of bytes at a time (contract_by_halves).
 *
 * Two products fit 16 bits where no weight is -128: 2 * 128 * 127 < 2^15.  A step of four terms has therefore two parts of two terms
 * for each lane of 32 bits: the products of the second part are added to those of the first one, and what has become of two neighbours
 * is added to the lane, three instructions for four products in each lane.  Depthwise, half a register is a vector of channels of two
 * columns, and the products of two taps are added before they are widened.  (Arm ARM, SMULL, SMLAL, SADALP, SADDW.) */
#include <string.h>

#include "codegen/emit_contract.h"

static LLVMTypeRef vector_of(Emit *e, unsigned bits, int n)
{
	return LLVMVectorType(LLVMIntTypeInContext(e->ctx, bits), (unsigned)n);
}

/* Elements at[0..n-1] of v. */
static LLVMValueRef picked(Emit *e, LLVMValueRef v, const int *at, int n)
{
	LLVMValueRef mask[64];

	MLO_ASSERT(n <= 64);
	for (int i = 0; i < n; i++)
		mask[i] = emit_const_i(LLVMInt32TypeInContext(e->ctx), at[i]);
	return LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(mask, (unsigned)n), "");
}

static LLVMValueRef product(Emit *e, LLVMValueRef a, LLVMValueRef b)
{
	LLVMTypeRef type = vector_of(e, 16, emit_lanes(a));

	return emit_intrinsic(e, e->t->dots->half_s8s8, &type, 1, (LLVMValueRef[]){a, b}, 2);
}

/* -- steps of four terms -------------------------------------------------------------------------------- */

/* The two parts of an operand. */
typedef struct Half {
	LLVMValueRef part[2];
} Half;

static LLVMValueRef add_neighbours(Tile *t, LLVMValueRef sum, LLVMValueRef products)
{
	LLVMTypeRef over[] = {t->vec, LLVMTypeOf(products)};

	return LLVMBuildAdd(t->e->b, sum, emit_intrinsic(t->e, t->e->t->dots->neighbours, over, 2, &products, 1), "");
}

/* Of a step of `live` terms. */
static LLVMValueRef multiply(Tile *t, const Half *x, const Half *w, int live, LLVMValueRef sum)
{
	Emit *e = t->e;
	LLVMValueRef first = product(e, x->part[0], w->part[0]), second;

	if (live <= t->c->b.part)
		return add_neighbours(t, sum, first);
	second = product(e, x->part[1], w->part[1]);
	if (t->c->b.small)
		return add_neighbours(t, sum, LLVMBuildAdd(e->b, first, second, ""));
	return add_neighbours(t, add_neighbours(t, sum, first), second);
}

static Half weights_of(Tile *t, LLVMValueRef off, int j)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	Half w;

	for (int p = 0; p < 2; p++) {
		LLVMValueRef at = addc(e, off, mlo_contract_place(c, (int64_t)j * c->lanes, 2 * p));

		w.part[p] = LLVMBuildLoad2(e->b, vector_of(e, 8, 2 * c->lanes), contract_address(t, true, at), "");
		LLVMSetAlignment(w.part[p], 1);
	}
	return w;
}

/* Word `at` of steps side by side, each part in all lanes. */
static Half spread(Tile *t, LLVMValueRef words, int at)
{
	Emit *e = t->e;
	int lanes = t->c->lanes;
	LLVMValueRef pairs = LLVMBuildBitCast(e->b, words, vector_of(e, 16, 2 * emit_lanes(words)), "");
	Half x;

	for (int p = 0; p < 2; p++) {
		int from[64];

		for (int i = 0; i < lanes; i++)
			from[i] = 2 * at + p;
		x.part[p] = LLVMBuildBitCast(e->b, picked(e, pairs, from, lanes), vector_of(e, 8, 2 * lanes), "");
	}
	return x;
}

static LLVMValueRef flipped(Tile *t, LLVMValueRef words)
{
	return t->c->a.flip ? LLVMBuildXor(t->e->b, words, emit_const_i(LLVMTypeOf(words), (int32_t)0x80808080), "") : words;
}

/* n steps that lie side by side in A from off on, or one that may lack terms. */
static LLVMValueRef load_words(Tile *t, LLVMValueRef off, int n, int live)
{
	Emit *e = t->e;
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef v;

	if (n == 1) {
		v = LLVMBuildInsertElement(e->b, LLVMGetPoison(LLVMVectorType(i32, 2)), contract_step_word(t, off, live), emit_index(e, 0), "");
	} else {
		v = LLVMBuildLoad2(e->b, LLVMVectorType(i32, (unsigned)n), contract_address(t, false, off), "");
		LLVMSetAlignment(v, 1);
	}
	return flipped(t, v);
}

/* Steps of columns from i on, none of them left out, that one load can bring. */
static int together(const Tile *t, int i, int cols, int live, const bool *skip)
{
	const KContract *c = t->c;
	int most = c->lanes, n = 1;

	if (!contract_pair_adjacent(c) || (live < c->dot && c->a.block % c->dot))
		return 1;
	while (n < most && i + n < cols && !(skip && skip[i + n]))
		n++;
	return n >= most ? most : n >= 2 ? 2 : 1;
}

/* The columns of row r. */
static void row_step(Tile *t, int r, int cols, LLVMValueRef a_off, int live, const bool *skip, const Half *w)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef row = addn(e, a_off, r * c->sy, c->a.y), words = NULL;

	for (int i = 0, left = 0, at = 0; i < cols; i++, left--, at++) {
		Half x;

		if (skip && skip[i])
			continue;
		if (left <= 0) {
			LLVMValueRef off = addn(e, row, i * c->sx, c->a.x);
			int ahead = t->lane > 0 ? t->lane : 0; /* beside the step before it: one load for both */

			left = together(t, i, cols, live, skip);
			at = left == 1 && t->lane >= 0 ? ahead : 0;
			words = left == 1 && t->lane >= 0 ? load_words(t, addc(e, off, -(int64_t)ahead * c->dot), 2, live)
			                                  : load_words(t, off, left, live);
		}
		x = spread(t, words, at);
		for (int j = 0; j < c->vecs; j++) {
			LLVMValueRef acc = t->acc[(r * c->cols + i + t->turn * cols) * c->vecs + j];

			LLVMBuildStore(e->b, multiply(t, &x, &w[j], live, LLVMBuildLoad2(e->b, t->vec, acc, "")), acc);
		}
	}
	/* LLVM's scheduler would make the products of several steps before it adds the first ones, and spill them */
	contract_keep_order(e);
}

void contract_half_step(Tile *t, int cols, LLVMValueRef a_off, int live, const bool *skip, LLVMValueRef b_off)
{
	Half w[16];

	for (int j = 0; j < t->c->vecs; j++)
		w[j] = weights_of(t, b_off, j);
	for (int r = t->row; r < t->row + t->nrow; r++)
		row_step(t, r, cols, a_off, live, skip, w);
}

/* -- depthwise ------------------------------------------------------------------------------------------ */

/* A vector of channels for a tile of columns. */
typedef struct Slide {
	Tile *t;
	int cols;
	LLVMValueRef a_off;                  /* of the first column's first tap */
	LLVMValueRef w[CONTRACT_SLIDE_TAPS]; /* of each tap, for two columns */
	Edge edge;
} Slide;

/* The channels of so many pixels, as one word.  (Four bytes are no vector to LLVM, which would widen them one by one.) */
static LLVMValueRef load_channels(Slide *s, bool weights, LLVMValueRef off, int pixels)
{
	Emit *e = s->t->e;
	LLVMTypeRef word = LLVMIntTypeInContext(e->ctx, 8 * (unsigned)(pixels * s->t->c->lanes));
	LLVMValueRef v = LLVMBuildLoad2(e->b, word, contract_address(s->t, weights, off), "");

	LLVMSetAlignment(v, 1);
	return v;
}

/* a, then b, as bytes. */
static LLVMValueRef joined(Slide *s, LLVMValueRef a, LLVMValueRef b)
{
	Emit *e = s->t->e;
	LLVMValueRef v = LLVMGetPoison(LLVMVectorType(LLVMTypeOf(a), 2));

	v = LLVMBuildInsertElement(e->b, v, a, emit_index(e, 0), "");
	v = LLVMBuildInsertElement(e->b, v, b, emit_index(e, 1), "");
	return LLVMBuildBitCast(e->b, v, vector_of(e, 8, 2 * s->t->c->lanes), "");
}

static bool lacks(const Slide *s, int64_t i, int64_t kx)
{
	const KContract *c = s->t->c;

	return i >= s->cols || (s->edge.kind != INNER && contract_outside(c, s->edge, s->cols, kx, i));
}

/* What tap kx of columns i and i + 1 reads; NULL: nothing.  What one of them lacks is 0. */
static LLVMValueRef pair_input(Slide *s, int i, int64_t kx)
{
	const KContract *c = s->t->c;
	Emit *e = s->t->e;
	bool lack[2] = {lacks(s, i, kx), lacks(s, i + 1, kx)};
	LLVMTypeRef word = LLVMIntTypeInContext(e->ctx, 8 * (unsigned)c->lanes);
	LLVMValueRef x[2], v;

	if (lack[0] && lack[1])
		return NULL;
	if (!lack[0] && !lack[1] && c->sx == 1 && c->a.x == c->lanes) {
		v = load_channels(s, false, addn(e, s->a_off, i + kx, c->a.x), 2);
		v = LLVMBuildBitCast(e->b, v, vector_of(e, 8, 2 * c->lanes), "");
	} else {
		for (int k = 0; k < 2; k++) {
			LLVMValueRef off = addn(e, s->a_off, (i + k) * c->sx + kx, c->a.x);

			x[k] = lack[k] ? LLVMConstInt(word, c->a.flip ? 0x80808080 : 0, 0) : load_channels(s, false, off, 1);
		}
		v = joined(s, x[0], x[1]);
	}
	return c->a.flip ? LLVMBuildXor(e->b, v, emit_const_i(LLVMTypeOf(v), 0x80), "") : v;
}

/* Adds products of 16 bits to the sums of columns i and i + 1. */
static void add_products(Slide *s, int i, int j, LLVMValueRef products)
{
	const KContract *c = s->t->c;
	Emit *e = s->t->e;

	for (int k = 0; k < 2 && i + k < s->cols; k++) {
		LLVMValueRef acc = s->t->acc[(i + k) * c->vecs + j], sum = LLVMBuildLoad2(e->b, s->t->vec, acc, "");
		int from[64];

		for (int l = 0; l < c->lanes; l++)
			from[l] = k * c->lanes + l;
		sum = LLVMBuildAdd(e->b, sum, LLVMBuildSExt(e->b, picked(e, products, from, c->lanes), s->t->vec, ""), "");
		LLVMBuildStore(e->b, sum, acc);
	}
}

static void slide_pair(Slide *s, int i, int j)
{
	const KContract *c = s->t->c;
	Emit *e = s->t->e;
	LLVMValueRef before = NULL;

	for (int64_t kx = 0; kx < c->nkx; kx++) {
		LLVMValueRef x = pair_input(s, i, kx), p = x ? product(e, x, s->w[kx]) : NULL;

		if (!p)
			continue;
		if (before) {
			add_products(s, i, j, LLVMBuildAdd(e->b, before, p, ""));
			before = NULL;
		} else if (c->b.small) {
			before = p;
		} else {
			add_products(s, i, j, p);
		}
	}
	if (before)
		add_products(s, i, j, before);
}

void contract_half_slide(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, Edge edge)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	Slide s = {.t = t, .cols = cols, .edge = edge};

	MLO_ASSERT(t->row == 0 && t->nrow == 1);
	for (int j = 0; j < c->vecs; j++) {
		s.a_off = add(e, a_off, t->blk[j]);
		for (int64_t kx = 0; kx < c->nkx; kx++) {
			LLVMValueRef w = load_channels(&s, true, addc(e, b_off, kx * t->wtile + (int64_t)j * c->lanes), 1);

			s.w[kx] = joined(&s, w, w);
		}
		for (int i = 0; i < cols; i += 2)
			slide_pair(&s, i, j);
	}
}
