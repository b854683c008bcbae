/* codegen/emit_contract_open.c -- contractions whose columns are a size of the run.
 *
 * Of columns of a matrix product, whole tiles are followed by code for each number of columns left over.
 * A row of an image of n columns becomes k = ceil(n / cols) tiles, two at least, of equal width: one of a few
 * widths, the tiles side by side but for the last one, which ends with the row and may take up columns again
 * that the one before it has made.  Only the first and the last tile see the edges of the image, so that what
 * is outside is known there.  Rows too short for that go column by column. */
#include "codegen/emit_contract.h"

static const Edge inner = {INNER, 0};

void contract_open_columns(Tile *t, LLVMValueRef chunk)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef lo = muln(e, chunk, c->y_chunk), hi, rest, whole, sw;
	LLVMBasicBlockRef join;
	EmitLoop l;

	t->y = emit_index(e, 0);
	contract_begin_rows(t);
	hi = pick(e, LLVMIntSLT, addc(e, lo, c->y_chunk), num(e, c->nx));
	rest = remc(e, LLVMBuildNSWSub(e->b, hi, lo, ""), c->cols);
	whole = LLVMBuildNSWSub(e->b, hi, rest, "");
	contract_tile(t, c->cols, emit_for(e, &l, lo, whole, emit_index(e, c->cols), "x"), inner);
	emit_end(e, &l);
	if (c->cols == 1)
		return;
	join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "done");
	sw = LLVMBuildSwitch(e->b, rest, join, (unsigned)c->cols - 1);
	for (int i = 1; i < c->cols; i++) {
		LLVMBasicBlockRef tail = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "rest");

		LLVMAddCase(sw, emit_index(e, i), tail);
		LLVMPositionBuilderAtEnd(e->b, tail);
		contract_tile(t, i, whole, inner);
		LLVMBuildBr(e->b, join);
	}
	LLVMPositionBuilderAtEnd(e->b, join);
}

enum { WIDTHS = 4 };

static int64_t ceil_of(int64_t n, int64_t by)
{
	return n <= 0 ? 0 : (n + by - 1) / by;
}

/* The last tile: `spare` columns of the image, fewer than the stride, are behind its last tap. */
static void emit_last_tile(Tile *t, int cols, LLVMValueRef x0, LLVMValueRef spare)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMBasicBlockRef join;
	LLVMValueRef sw;

	if (c->qx <= 0) {
		contract_tile(t, cols, x0, inner);
		return;
	}
	join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "last.done");
	sw = LLVMBuildSwitch(e->b, spare, join, (unsigned)c->sx);
	for (int64_t r = 0; r < c->sx; r++) {
		LLVMBasicBlockRef at = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "last");

		LLVMAddCase(sw, emit_index(e, r), at);
		LLVMPositionBuilderAtEnd(e->b, at);
		contract_tile(t, cols, x0, (Edge){LAST, r});
		LLVMBuildBr(e->b, join);
	}
	LLVMPositionBuilderAtEnd(e->b, join);
}

/* A whole row in `tiles` tiles of that width. */
static void emit_wide_row(Tile *t, int width, LLVMValueRef tiles)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef n = num(e, c->nx), reach, end = muln(e, addc(e, tiles, -1), width);
	EmitLoop l;

	/* in_x - (nx * sx - sx + reach - pads) */
	reach = addc(e, muln(e, n, c->sx), (c->nkx - 1) * c->dx + 1 - c->sx - c->px - c->qx);
	contract_tile(t, width, emit_index(e, 0), c->px > 0 ? (Edge){AT, 0} : inner);
	contract_tile(t, width, emit_for(e, &l, emit_index(e, width), end, emit_index(e, width), "x"), inner);
	emit_end(e, &l);
	emit_last_tile(t, width, addc(e, n, -width), LLVMBuildNSWSub(e->b, num(e, c->in_x), reach, ""));
}

/* Column x, wherever it lies. */
static void emit_column(Tile *t, LLVMValueRef x)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef left, right, zero = emit_index(e, 0);

	left = LLVMBuildNSWSub(e->b, emit_index(e, c->px), muln(e, x, c->sx), "");
	right = add(e, left, num(e, c->in_x));
	t->kx_lo = divc(e, addc(e, pick(e, LLVMIntSGT, left, zero), c->dx - 1), c->dx);
	t->kx_hi = divc(e, addc(e, pick(e, LLVMIntSGT, right, zero), c->dx - 1), c->dx);
	t->kx_hi = pick(e, LLVMIntSLT, t->kx_hi, emit_index(e, c->nkx));
	contract_tile(t, 1, x, (Edge){ANY, 0});
}

static void emit_narrow_row(Tile *t)
{
	Emit *e = t->e;
	EmitLoop l;

	emit_column(t, emit_for(e, &l, emit_index(e, 0), num(e, t->c->nx), emit_index(e, 1), "x"));
	emit_end(e, &l);
}

void contract_small_row(Tile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t lo = ceil_of(c->px, c->sx), reach = c->in_x + c->px - (c->nkx - 1) * c->dx, hi = ceil_of(reach, c->sx), n;
	LLVMValueRef x, left;
	EmitLoop l;

	lo = lo < c->nx ? lo : c->nx;
	hi = hi < c->nx ? hi : c->nx;
	n = hi > lo ? (hi - lo) / c->cols * c->cols : 0;
	if (n) {
		x = emit_for(e, &l, emit_index(e, lo), emit_index(e, lo + n), emit_index(e, c->cols), "x");
		contract_tile(t, c->cols, x, inner);
		emit_end(e, &l);
	}
	if (n == c->nx)
		return;
	x = emit_for(e, &l, emit_index(e, 0), emit_index(e, c->nx - n), emit_index(e, 1), "x");
	left = LLVMBuildICmp(e->b, LLVMIntSLT, x, emit_index(e, lo), "");
	emit_column(t, add(e, x, emit_select(e, left, emit_index(e, 0), emit_index(e, n))));
	emit_end(e, &l);
}

void contract_open_row(Tile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t edge = ceil_of(c->px, c->sx) > ceil_of(c->qx, c->sx) ? ceil_of(c->px, c->sx) : ceil_of(c->qx, c->sx);
	int64_t step = ceil_of(c->cols, WIDTHS), last = 0;
	LLVMBasicBlockRef join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "row.done");
	LLVMValueRef n = num(e, c->nx), tiles, want;

	tiles = pick(e, LLVMIntSGT, divc(e, addc(e, n, c->cols - 1), c->cols), emit_index(e, 2));
	want = LLVMBuildUDiv(e->b, add(e, n, addc(e, tiles, -1)), tiles, "");
	while (last < c->cols) {
		int64_t width = last + step < c->cols ? last + step : c->cols;
		LLVMBasicBlockRef take, next;
		LLVMValueRef fits, room;

		last = width;
		if (width < edge)
			continue;
		take = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "width");
		next = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "wider");
		fits = LLVMBuildICmp(e->b, LLVMIntSLE, want, emit_index(e, width), "");
		room = LLVMBuildICmp(e->b, LLVMIntSLE, addc(e, muln(e, addc(e, tiles, -1), width), edge), n, "");
		room = LLVMBuildAnd(e->b, room, LLVMBuildICmp(e->b, LLVMIntSGE, n, emit_index(e, width + edge), ""), "");
		LLVMBuildCondBr(e->b, LLVMBuildAnd(e->b, fits, room, ""), take, next);
		LLVMPositionBuilderAtEnd(e->b, take);
		emit_wide_row(t, (int)width, tiles);
		LLVMBuildBr(e->b, join);
		LLVMPositionBuilderAtEnd(e->b, next);
	}
	emit_narrow_row(t);
	LLVMBuildBr(e->b, join);
	LLVMPositionBuilderAtEnd(e->b, join);
}
