/* codegen/emit_strips.c -- contractions that read copies of their input (codegen/strips.h says where things lie).
 *
 * A task copies the input of its chunk, then makes its channel tiles, one after the other, as a contraction of stride 1 without
 * edges.  A step of a pixel is copied through a register of whole numbers, so that units that multiply have no part in it. */
#include "codegen/emit_contract.h"
#include "codegen/strips.h"

typedef struct Strips {
	Tile from;                  /* what is copied: the contraction as it is */
	Tile to;                    /* what is computed: strips_form() */
	ContractTask task;
	LLVMTypeRef word;           /* a step of a pixel */
	LLVMValueRef pad;
} Strips;

enum { TOGETHER = 2 }; /* steps, and pixels, that are copied at once */

/* Step st (a value) of strip ph of row `row`, its first pixel: elements from the start of the copy. */
static LLVMValueRef strip_at(const Strips *s, LLVMValueRef row, LLVMValueRef st, int64_t ph)
{
	const KContract *c = s->from.c, *f = s->to.c;
	Emit *e = s->from.e;

	return addc(e, add(e, muln(e, row, f->a.y), muln(e, st, f->a.blk)), ph * strips_width(c) * c->dot);
}

static void store_word(const Strips *s, LLVMValueRef off, LLVMValueRef word)
{
	const KContract *c = s->from.c;

	LLVMSetAlignment(LLVMBuildStore(s->from.e->b, word, contract_element(&s->to, c->w_arg, c->a.elem, off)), STRIPS_UNIT);
}

/* n pads. */
static void fill(const Strips *s, LLVMValueRef to, LLVMValueRef n)
{
	Emit *e = s->from.e;
	EmitLoop l;
	LLVMValueRef q = emit_for(e, &l, emit_index(e, 0), n, emit_index(e, 1), "pad");

	store_word(s, add(e, to, muln(e, q, s->from.c->dot)), s->pad);
	emit_end(e, &l);
}

/* Bytes of the other sign. */
static LLVMValueRef flipped(const Strips *s, LLVMValueRef word)
{
	return s->from.c->a.flip ? LLVMBuildXor(s->from.e->b, word, emit_const_i(s->word, (int64_t)0x8080808080808080), "") : word;
}

/* Steps, of whose terms `live` are there, of some pixels from `from` on: `apart` elements from one to the next. */
static void copy_words(Strips *s, LLVMValueRef to, LLVMValueRef from, int64_t apart, int steps, int live, int pixels)
{
	const KContract *c = s->from.c, *f = s->to.c;
	Emit *e = s->from.e;
	LLVMValueRef word[TOGETHER][TOGETHER];

	for (int q = 0; q < pixels; q++)
		for (int i = 0; i < steps; i++)
			word[i][q] = flipped(s, contract_step_word(&s->from, addc(e, from, q * apart + i * c->dot), live));
	for (int i = 0; i < steps; i++)
		for (int q = 0; q < pixels; q++)
			store_word(s, addc(e, to, i * f->a.blk + q * c->dot), word[i][q]);
}

/* The same for any number of pixels, a value. */
static void copy_pixels(Strips *s, LLVMValueRef to, LLVMValueRef from, LLVMValueRef n, int steps, int live)
{
	const KContract *c = s->from.c;
	Emit *e = s->from.e;
	int64_t apart = contract_copy_from_x(c) * contract_copy_stride_x(c) * c->a.x;
	LLVMValueRef whole = muln(e, divc(e, n, TOGETHER), TOGETHER), q;
	EmitLoop l;

	q = emit_for(e, &l, emit_index(e, 0), whole, emit_index(e, TOGETHER), "pixel");
	copy_words(s, add(e, to, muln(e, q, c->dot)), add(e, from, muln(e, q, apart)), apart, steps, live, TOGETHER);
	emit_end(e, &l);
	q = emit_for(e, &l, whole, n, emit_index(e, 1), "pixel");
	copy_words(s, add(e, to, muln(e, q, c->dot)), add(e, from, muln(e, q, apart)), apart, steps, live, 1);
	emit_end(e, &l);
}

/* Where step st, a value, of a pixel lies, from its first one on. */
static LLVMValueRef step_at(const Strips *s, LLVMValueRef st)
{
	const KContract *c = s->from.c;
	Emit *e = s->from.e;
	LLVMValueRef k = muln(e, st, c->dot);

	return add(e, muln(e, divc(e, k, c->a.block), c->a.blk), remc(e, k, c->a.block));
}

/* Pixels of a strip that lie inside of the image: [*lo, *lo + *n). */
static void inside_of(const Strips *s, int64_t ph, int64_t *lo, LLVMValueRef *n)
{
	const KContract *c = s->from.c;
	int64_t by = contract_copy_from_x(c) * contract_copy_stride_x(c), width = strips_width(c), hi;

	if (mlo_contract_by_columns(c)) {
		*lo = 0;
		*n = s->task.nx;
		return;
	}
	*lo = ph >= c->px ? 0 : (c->px - ph + by - 1) / by;
	hi = c->in_x + c->px > ph ? (c->in_x + c->px - ph + by - 1) / by : 0;
	*lo = *lo < width ? *lo : width;
	hi = hi < width ? hi : width;
	*n = emit_index(s->from.e, hi > *lo ? hi - *lo : 0);
}

/* `steps` steps from st on, each of `live` terms, of strip ph of row iy of the image; copied row number r. */
static void copy_strip(Strips *s, LLVMValueRef r, LLVMValueRef iy, LLVMValueRef st, int64_t ph, int steps, int live)
{
	const KContract *c = s->from.c;
	Emit *e = s->from.e;
	bool by_columns = mlo_contract_by_columns(c);
	int64_t by = contract_copy_from_x(c) * contract_copy_stride_x(c), lo;
	LLVMValueRef row = add(e, s->from.a0, muln(e, iy, c->a.y)), n, from, end;

	inside_of(s, ph, &lo, &n);
	from = by_columns ? add(e, row, muln(e, muln(e, s->task.x0, c->sx), c->a.x)) : addc(e, row, (lo * by + ph - c->px) * c->a.x);
	copy_pixels(s, addc(e, strip_at(s, r, st, ph), lo * c->dot), add(e, from, step_at(s, st)), n, steps, live);
	if (by_columns)
		return;
	end = addc(e, n, lo);
	for (int i = 0; i < steps; i++) {
		LLVMValueRef at = strip_at(s, r, addc(e, st, i), ph);

		if (lo)
			fill(s, at, emit_index(e, lo));
		if (LLVMConstIntGetSExtValue(end) < strips_width(c))
			fill(s, add(e, at, muln(e, end, c->dot)), LLVMBuildNSWSub(e->b, emit_index(e, strips_width(c)), end, ""));
	}
}

static void copy_steps(Strips *s, LLVMValueRef r, LLVMValueRef iy, LLVMValueRef st, int steps, int live)
{
	for (int64_t ph = 0; ph < strips_phases(s->from.c); ph++)
		copy_strip(s, r, iy, st, ph, steps, live);
}

/* Row iy of the image. */
static void copy_row(Strips *s, LLVMValueRef r, LLVMValueRef iy)
{
	const KContract *c = s->from.c;
	Emit *e = s->from.e;
	int together = c->a.block % (TOGETHER * c->dot) == 0 ? TOGETHER : 1; /* of the same block */
	int64_t whole = c->nk / c->dot, main = whole / together * together;
	EmitLoop l;

	copy_steps(s, r, iy, emit_for(e, &l, emit_index(e, 0), emit_index(e, main), emit_index(e, together), "step"), together, c->dot);
	emit_end(e, &l);
	if (whole > main)
		copy_steps(s, r, iy, emit_index(e, main), 1, c->dot);
	if (c->nk % c->dot)
		copy_steps(s, r, iy, emit_index(e, whole), 1, (int)(c->nk % c->dot));
}

static void fill_row(const Strips *s, LLVMValueRef r)
{
	const KContract *c = s->from.c;
	Emit *e = s->from.e;
	EmitLoop l;
	LLVMValueRef st = emit_for(e, &l, emit_index(e, 0), emit_index(e, mlo_contract_steps(c)), emit_index(e, 1), "step");

	fill(s, strip_at(s, r, st, 0), emit_index(e, strips_phases(c) * strips_width(c)));
	emit_end(e, &l);
}

/* Row iy, which may lie above or below the image. */
static void copy_any_row(Strips *s, LLVMValueRef r, LLVMValueRef iy)
{
	ContractRow row;
	bool any = contract_row_begin(&s->from, iy, &row);

	copy_row(s, r, iy);
	if (!any)
		return;
	contract_row_else(&s->from, &row);
	fill_row(s, r);
	contract_row_end(&s->from, &row);
}

static void copy_input(Strips *s)
{
	const KContract *c = s->from.c;
	Emit *e = s->from.e;
	EmitLoop l;
	LLVMValueRef rows = addc(e, muln(e, s->task.ny, contract_copy_stride_y(c)), strips_height(c, 0)), r, iy;

	r = emit_for(e, &l, emit_index(e, 0), rows, emit_index(e, 1), "row");
	iy = add(e, addc(e, muln(e, s->task.y0, c->sy), -c->py), muln(e, r, contract_copy_from_y(c)));
	copy_any_row(s, r, iy);
	emit_end(e, &l);
}

/* A step of the zero point, as it is multiplied. */
static LLVMValueRef pad_word(const Strips *s)
{
	const KContract *c = s->from.c;
	Emit *e = s->from.e;
	LLVMValueRef z;

	if (!c->zero.given && !c->zero.at && !c->a.flip)
		return LLVMConstNull(s->word);
	z = emit_const_i(s->word, c->zero.at & 0xff);
	if (c->zero.given)
		z = LLVMBuildZExt(e->b, LLVMBuildLoad2(e->b, LLVMInt8TypeInContext(e->ctx), e->arg[c->zero.z_arg], ""), s->word, "");
	z = LLVMBuildMul(e->b, z, emit_const_i(s->word, 0x0101010101010101), "");
	return flipped(s, z);
}

static void channel_tile(Strips *s, LLVMValueRef ct)
{
	const KContract *c = s->from.c;
	Tile *t = &s->to;
	Emit *e = t->e;

	t->ct = ct;
	t->c_first = muln(e, ct, t->wtile);
	t->b0 = muln(e, ct, c->nky * c->nkx * mlo_contract_steps(c) * contract_step(c));
	if (mlo_contract_by_columns(c))
		contract_columns(t, divc(e, s->task.x0, c->y_chunk));
	else
		contract_rows(t, s->task.y0, add(e, s->task.y0, s->task.ny));
}

void emit_strips(Emit *e, const KStmt *st)
{
	const KContract *c = st->contract, form = strips_form(c);
	LLVMValueRef acc[512];
	Strips s = {.from = {.e = e, .s = st, .c = c, .rows = 1, .ways = 1, .lane = -1}, .word = LLVMInt64TypeInContext(e->ctx)};
	EmitLoop task, once, tiles;

	s.from.wtile = (int64_t)c->vecs * c->lanes;
	s.to = s.from;
	s.to.c = &form;
	s.to.phases = strips_phases(c);
	s.to.phase = strips_width(c) * c->dot;
	s.to.b_arg = c->b_arg;
	contract_begin(&s.to, acc, sizeof acc / sizeof *acc);
	s.from.vec = s.to.vec;
	contract_zero_point(&s.from);
	s.to.zero = s.from.zero;
	s.pad = pad_word(&s);
	contract_task(&s.from, emit_for(e, &task, e->begin, e->end, emit_index(e, 1), "task"), &s.task);
	s.to.b[0] = s.from.b[0];
	s.to.b[1] = s.from.b[1];
	s.to.kk0 = emit_index(e, 0);
	s.to.a0 = LLVMBuildNSWNeg(e->b, add(e, muln(e, s.task.y0, form.sy * form.a.y), muln(e, s.task.x0, form.a.x)), "");
	emit_for(e, &once, emit_index(e, 0), s.task.anew, emit_index(e, 1), "anew");
	copy_input(&s);
	emit_end(e, &once);
	channel_tile(&s, emit_for(e, &tiles, s.task.ct_lo, s.task.ct_hi, emit_index(e, 1), "tile"));
	emit_end(e, &tiles);
	emit_end(e, &task);
}
