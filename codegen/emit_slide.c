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
	struct {
		int8_t tap[PIXELS];
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

/* Weights of the tap at each pixel of a window, -1: none. */
static const DotOperand *weights_of(Slide *s, const int8_t *tap)
{
	Emit *e = s->t->e;
	LLVMValueRef part[PIXELS], zero = LLVMConstNull(LLVMTypeOf(s->w[0]));
	int at = s->nweights;

	for (int k = 0; k < s->nweights; k++)
		if (!memcmp(s->weights[k].tap, tap, PIXELS))
			return &s->weights[k].w;
	if (at == (int)(sizeof s->weights / sizeof *s->weights))
		at = s->nweights = 0; /* they are made anew */
	for (int p = 0; p < PIXELS; p++)
		part[p] = tap[p] < 0 ? zero : s->w[tap[p]];
	memcpy(s->weights[at].tap, tap, PIXELS);
	s->weights[at].w = contract_split(
		s->t, turned(s->t, joined(e, joined(e, part[0], part[1]), joined(e, part[2], part[3]))),
		true);
	s->nweights++;
	return &s->weights[at].w;
}

/* Up to PIXELS taps from `from` on, of the column whose first tap is at pixel `start`. */
static LLVMValueRef add_taps(Slide *s, int64_t start, int64_t from, LLVMValueRef sum)
{
	const KContract *c = s->t->c;
	int64_t to = from + PIXELS < c->nkx ? from + PIXELS : c->nkx, base;
	int8_t tap[PIXELS] = {-1, -1, -1, -1};
	int w;

	while (from < to && start + from < s->lo)
		from++;
	while (from < to && start + to > s->hi)
		to--;
	if (from == to)
		return sum;
	w = window_of(s, start + from, start + to - 1);
	base = s->window[w].base;
	for (int64_t k = from; k < to; k++)
		tap[start + k - base] = (int8_t)k;
	return contract_multiply(s->t, &s->window[w].x, weights_of(s, tap), sum);
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
