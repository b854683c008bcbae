/* codegen/emit_slide.c -- depthwise contractions whose columns lie beside each other: they share their
 * inputs.
 *
 * Bytes: four pixels of a channel block lie beside each other in A. Loaded together and transposed, each lane
 * of 32 bits holds the four pixels of its channel, and one step of four products serves as many taps. The
 * weights are put where the taps of the column at hand fall among the four pixels, zeros elsewhere; so two
 * columns of three taps share what was loaded, and windows move away from the image's edge instead of reading
 * beyond it. */
#include <string.h>

#include "codegen/emit_contract.h"

/* Term by term: an input is loaded once for all columns that read it. */
static void slide_terms(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, Edge edge)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	DotOperand w[CONTRACT_SLIDE_TAPS], x[(64 + 1) * CONTRACT_SLIDE_TAPS];

	MLO_ASSERT(t->row == 0 && t->nrow == 1);
	for (int j = 0; j < c->vecs; j++) {
		memset(x, 0, sizeof x);
		for (int kx = 0; kx < c->nkx; kx++)
			w[kx] = contract_weights(t, addc(e, b_off, kx * t->wtile), j);
		for (int i = 0; i < cols; i++) {
			LLVMValueRef acc = t->acc[i * c->vecs + j],
				     sum = LLVMBuildLoad2(e->b, t->vec, acc, "");

			for (int kx = 0; kx < c->nkx; kx++) {
				DotOperand *at = &x[i * c->sx + kx];

				if ((edge.kind == AT || edge.kind == LAST) &&
				    contract_outside(c, edge, cols, kx, i))
					continue;
				if (!at->n)
					*at = contract_input(
						t, add(e, addn(e, a_off, i * c->sx + kx, c->a.x), t->blk[j]),
						1);
				sum = contract_multiply(t, at, &w[kx], sum);
			}
			LLVMBuildStore(e->b, sum, acc);
		}
	}
}

/* -- bytes -------------------------------------------------------------------------------------- */

enum { PIXELS = 4 }; /* of a window: bytes per lane of 32 bits */

/* Can the target do steps of four products for them? */
static bool takes_bytes(const MloTarget *t, const KContract *four)
{
	int pieces;

	if (mlo_elem_bits(four->a.elem) != 8 || four->a.x != four->lanes)
		return false;
	pieces = contract_dot_pieces(t, four);
	return pieces == 2 ||
	       (pieces == 1 && contract_takes_signed(t, four->a.elem) == (four->a.elem == EL_i8));
}

/* [PIXELS][lanes] bytes as lanes of PIXELS bytes. */
static LLVMValueRef turned(Tile *t, LLVMValueRef bytes)
{
	Emit *e = t->e;
	int lanes = t->c->lanes;
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef mask[PIXELS * 64];

	for (int i = 0; i < PIXELS * lanes; i++)
		mask[i] = emit_const_i(i32, i % PIXELS * lanes + i / PIXELS);
	bytes = LLVMBuildShuffleVector(e->b, bytes, LLVMGetPoison(LLVMTypeOf(bytes)),
				       LLVMConstVector(mask, (unsigned)(PIXELS * lanes)), "");
	return LLVMBuildBitCast(e->b, bytes, LLVMVectorType(i32, (unsigned)lanes), "");
}

static LLVMValueRef load_bytes(Tile *t, bool weights, LLVMValueRef off, int64_t n)
{
	LLVMTypeRef type = LLVMVectorType(LLVMInt8TypeInContext(t->e->ctx), (unsigned)n);
	LLVMValueRef v = LLVMBuildLoad2(t->e->b, type, contract_address(t, weights, off), "");

	LLVMSetAlignment(v, 1);
	return v;
}

/* a, then b. */
static LLVMValueRef joined(Emit *e, LLVMValueRef a, LLVMValueRef b)
{
	int n = 2 * emit_lanes(a);
	LLVMValueRef mask[PIXELS * 64];

	for (int i = 0; i < n; i++)
		mask[i] = emit_const_i(LLVMInt32TypeInContext(e->ctx), i);
	return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, (unsigned)n), "");
}

/* One vector of channels of a tile: windows loaded so far, and weights by where their taps fall. */
typedef struct Slide {
	Tile *t;                             /* its contraction has steps of PIXELS products */
	LLVMValueRef w[CONTRACT_SLIDE_TAPS]; /* lanes of bytes, by tap */
	LLVMValueRef a_off;
	int64_t lo, hi; /* pixels of the image, from the first column's first tap on */
	struct {
		int64_t base;
		DotOperand x;
	} window[2 * 64];
	LLVMValueRef word[CONTRACT_SLIDE_TAPS / PIXELS + 1]; /* the same, PIXELS of them together */
	struct {
		int64_t from, lo, hi, at;
		DotOperand w;
	} weights[16];
	int nwindow, nweights;
} Slide;

/* A window that holds pixels first..last. */
static int window_of(Slide *s, int64_t first, int64_t last)
{
	const KContract *c = s->t->c;
	int64_t base = first < s->hi - PIXELS ? first : s->hi - PIXELS;
	int at = s->nwindow;

	for (int k = 0; k < s->nwindow; k++)
		if (s->window[k].base <= first && last < s->window[k].base + PIXELS)
			return k;
	MLO_ASSERT(base >= s->lo && at < 2 * 64);
	s->window[at].base = base;
	s->window[at].x =
		contract_split(s->t,
			       turned(s->t, load_bytes(s->t, false, addn(s->t->e, s->a_off, base, c->a.x),
						       PIXELS * (int64_t)c->lanes)),
			       c->a.elem == EL_i8);
	s->nwindow++;
	return at;
}

/* Weights of the taps from `from` on, side by side in each lane. */
static LLVMValueRef word_of(Slide *s, int64_t from)
{
	Emit *e = s->t->e;
	LLVMValueRef part[PIXELS], *word = &s->word[from / PIXELS];

	if (!*word) {
		for (int64_t p = 0; p < PIXELS; p++)
			part[p] = from + p < s->t->c->nkx ? s->w[from + p] : LLVMConstNull(LLVMTypeOf(s->w[0]));
		*word = turned(s->t, joined(e, joined(e, part[0], part[1]), joined(e, part[2], part[3])));
	}
	return *word;
}

/* Weights of taps [lo, hi) of those from `from` on, the first one at pixel `at` of a window. */
static const DotOperand *weights_of(Slide *s, int64_t from, int64_t lo, int64_t hi, int64_t at)
{
	Emit *e = s->t->e;
	int64_t moved = at - (lo - from), end = from + PIXELS < s->t->c->nkx ? from + PIXELS : s->t->c->nkx;
	LLVMValueRef word, bits;
	uint32_t some = 0;
	bool others = false;
	int k = 0;

	for (; k < s->nweights; k++)
		if (s->weights[k].from == from && s->weights[k].lo == lo && s->weights[k].hi == hi && s->weights[k].at == at)
			return &s->weights[k].w;
	if (k == (int)(sizeof s->weights / sizeof *s->weights))
		k = s->nweights = 0; /* they are made anew */
	word = word_of(s, from);
	bits = emit_const_i(LLVMTypeOf(word), 8 * (moved < 0 ? -moved : moved));
	if (moved)
		word = moved < 0 ? LLVMBuildLShr(e->b, word, bits, "") : LLVMBuildShl(e->b, word, bits, "");
	for (int64_t p = 0; p < PIXELS; p++) {
		int64_t tap = from + p - moved;

		if (p >= at && p < at + hi - lo)
			some |= 0xffu << 8 * p;
		else
			others |= tap >= from && tap < end;
	}
	if (others)
		word = LLVMBuildAnd(e->b, word, emit_const_i(LLVMTypeOf(word), (int32_t)some), "");
	s->weights[k].from = from;
	s->weights[k].lo = lo;
	s->weights[k].hi = hi;
	s->weights[k].at = at;
	s->weights[k].w = contract_split(s->t, word, true);
	s->nweights++;
	return &s->weights[k].w;
}

/* Up to PIXELS taps from `from` on, of the column whose first tap is at pixel `start`. */
static LLVMValueRef add_taps(Slide *s, int64_t start, int64_t from, LLVMValueRef sum)
{
	const KContract *c = s->t->c;
	int64_t lo = from, hi = from + PIXELS < c->nkx ? from + PIXELS : c->nkx;
	int w;

	while (lo < hi && start + lo < s->lo)
		lo++;
	while (lo < hi && start + hi > s->hi)
		hi--;
	if (lo == hi)
		return sum;
	w = window_of(s, start + lo, start + hi - 1);
	return contract_multiply(s->t, &s->window[w].x, weights_of(s, from, lo, hi, start + lo - s->window[w].base), sum);
}

/* False, and nothing emitted: the target has no such steps, or the tile spans too few pixels. */
static bool slide_bytes(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, Edge edge)
{
	KContract four = *t->c;
	Tile tile = *t;
	Slide s = {.t = &tile, .hi = (cols - 1) * four.sx + four.nkx};

	four.dot = PIXELS;
	tile.c = &four;
	if (edge.kind == AT) {
		int64_t first = edge.at * four.sx - four.px; /* column of the image */

		s.lo = first < 0 ? -first : 0;
		s.hi = four.in_x - first < s.hi ? four.in_x - first : s.hi;
	}
	if (edge.kind == LAST || s.hi - s.lo < PIXELS || !takes_bytes(t->e->t, &four))
		return false;
	for (int j = 0; j < four.vecs; j++) {
		s.nwindow = s.nweights = 0;
		memset(s.word, 0, sizeof s.word);
		s.a_off = add(t->e, a_off, t->blk[j]);
		for (int64_t kx = 0; kx < four.nkx; kx++)
			s.w[kx] = load_bytes(t, true,
					     addc(t->e, b_off, kx * t->wtile + (int64_t)j * four.lanes),
					     four.lanes);
		for (int i = 0; i < cols; i++) {
			LLVMValueRef acc = t->acc[i * four.vecs + j],
				     sum = LLVMBuildLoad2(t->e->b, t->vec, acc, "");

			for (int64_t from = 0; from < four.nkx; from += PIXELS)
				sum = add_taps(&s, i * four.sx, from, sum);
			LLVMBuildStore(t->e->b, sum, acc);
		}
	}
	return true;
}

void contract_slide(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, Edge edge)
{
	if (contract_by_halves(t->e->t, t->c))
		contract_half_slide(t, cols, a_off, b_off, edge);
	else if (!slide_bytes(t, cols, a_off, b_off, edge))
		slide_terms(t, cols, a_off, b_off, edge);
}
