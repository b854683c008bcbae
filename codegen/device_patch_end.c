/* codegen/device_patch_end.c -- contractions on tensor cores out of a patch of the image: sums go through the epilogue.
 *
 * What lies beside each other in the result goes to neighbouring threads: columns of a position, several to a thread, where columns do,
 * or positions of a row.  A turn of the loop has several outputs of a thread at constant distances, so that there is little to compute of places. */
#include "codegen/device_patch.h"

enum { PAIR = 2, MOST_LANES = 4, OUTPUTS = 16 /* of a turn, of a thread */ };

/* -- several columns at once -------------------------------------------------------------------------- */

static Emit lanes_of(const PatchTile *t, int n)
{
	return (Emit){.k = t->m.t.e->k, .lanes = n, .vec_var = t->m.t.c->var[4], .vec_aligned = true};
}

/* Does an access go to elements beside each other for n columns, the first at a multiple of n, or to one for all of them? */
static bool access_fits(const PatchTile *t, const KIdx *at, const KGuard *guard, int arg, bool store, int n)
{
	const Emit lanes = lanes_of(t, n);
	int64_t stride;

	if (guard || mlo_elem_bits(lanes.k->arg.items[arg].elem) > 32 || !emit_idx_stride(&lanes, at, &stride))
		return false;
	return stride == 1 ? emit_idx_multiple(&lanes, at, n) : stride == 0 && !store;
}

static bool columns_fit(const PatchTile *t, int n)
{
	if (t->m.t.c->nc % n)
		return false;
	for (const KStmt *s = t->m.t.s->body; s; s = s->next) {
		const KInst *in = s->kind == KS_LET ? &t->m.t.e->k->value.items[s->value] : NULL;

		if (in ? mlo_elem_bits(in->type) > 32 || (in->op == K_load && !access_fits(t, in->idx, in->guard, in->arg, false, n))
		       : s->kind != KS_STORE || !access_fits(t, s->idx, s->guard, s->arg, true, n))
			return false;
	}
	return true;
}

int patch_columns(const PatchTile *t)
{
	return !device_columns_adjacent(&t->m.t) ? 1 : columns_fit(t, MOST_LANES) ? MOST_LANES : columns_fit(t, PAIR) ? PAIR : 1;
}

LLVMValueRef patch_places(PatchTile *t)
{
	Emit *e = t->m.t.e;
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);
	LLVMValueRef any = emit_const_i(i64, 0), p;

	for (const KStmt *s = t->m.t.s->body; s && t->outputs > 1; s = s->next) {
		const KInst *in = s->kind == KS_LET ? &e->k->value.items[s->value] : NULL;
		int arg = in && in->op == K_load ? in->arg : s->kind == KS_STORE ? s->arg : -1;

		if (arg < 0)
			continue;
		p = LLVMBuildPtrToInt(e->b, e->arg[arg], i64, "");
		p = LLVMBuildAnd(e->b, p, emit_const_i(i64, t->outputs * (int64_t)mlo_elem_bits(e->k->arg.items[arg].elem) / 8 - 1), "");
		any = LLVMBuildOr(e->b, any, p, "");
	}
	return any;
}

/* -- outputs ------------------------------------------------------------------------------------------ */

/* Of the columns at hand, from `column` on. */
static void outputs_of(PatchTile *t, LLVMValueRef y, LLVMValueRef x, LLVMValueRef column, LLVMValueRef sum)
{
	const KContract *c = t->m.t.c;
	Emit *e = t->m.t.e;

	e->var[c->var[0]] = t->m.t.b0;
	e->var[c->var[1]] = t->m.t.b1;
	e->var[c->var[2]] = y;
	e->var[c->var[3]] = x;
	e->var[c->var[4]] = column;
	e->product = sum;
	if (t->outputs > 1) {
		e->lanes = t->outputs;
		e->vec_var = c->var[4];
		e->vec_aligned = e->vec_whole = true;
	}
	emit_stmts(e, t->m.t.s->body);
	e->lanes = 0;
	e->vec_var = -1;
	e->vec_aligned = e->vec_whole = false;
}

static LLVMValueRef both(Emit *e, LLVMValueRef a, LLVMValueRef i, int64_t n)
{
	LLVMValueRef b = LLVMBuildICmp(e->b, LLVMIntSLT, i, emit_index(e, n), "");

	return a ? LLVMBuildAnd(e->b, a, b, "") : b;
}

/* Is a position an output?  NULL: always. */
static LLVMValueRef is_output(PatchTile *t, LLVMValueRef y, LLVMValueRef x)
{
	const KContract *c = t->m.t.c;
	Emit *e = t->m.t.e;
	LLVMValueRef in = NULL;

	if (c->ny % t->plan.high)
		in = both(e, in, y, c->ny);
	if (c->nx % t->plan.wide)
		in = both(e, in, x, c->nx);
	return in;
}

/* Columns of a position, whose row of sums is `row`, from `first` on, if they are there. */
static void columns_at(PatchTile *t, LLVMValueRef row, LLVMValueRef y, LLVMValueRef x, LLVMValueRef first)
{
	const KContract *c = t->m.t.c;
	Emit *e = t->m.t.e;
	int n = t->outputs;
	LLVMTypeRef type = emit_vec(t->m.sum_type, n > 1 ? n : 0);
	LLVMValueRef in = is_output(t, y, x), column = tile_add(e, t->m.t.column, first), v;
	DeviceIf there;

	if (c->nc % t->m.t.columns)
		in = both(e, in, column, c->nc);
	v = LLVMBuildLoad2(e->b, type, device_word(e, device_sum_at(&t->m.t, emit_index(e, 0), t->m.t.rows, row, first)), "sum");
	LLVMSetAlignment(v, (unsigned)n * 4);
	if (in)
		device_if(e, &there, in);
	outputs_of(t, y, x, column, v);
	if (in)
		device_endif(e, &there);
}

/* Threads lie over the columns of some rows at a time. */
static void columns_first(PatchTile *t)
{
	const PatchPlan *p = &t->plan;
	Emit *e = t->m.t.e;
	int lanes = t->m.t.columns / t->outputs, rows = PATCH_THREADS / lanes, turn = OUTPUTS / t->outputs;
	LLVMValueRef thread = device_opaque(e, t->m.t.f->team.thread), own = tile_div(e, thread, lanes), first, row, x, y, line;
	LLVMValueRef column = tile_mul(e, tile_rem(e, thread, lanes), t->outputs);
	EmitLoop l;

	while (turn * rows > t->m.t.rows)
		turn /= 2;
	while (turn * rows < p->wide)
		turn *= 2;
	first = emit_for(e, &l, emit_index(e, 0), emit_index(e, t->m.t.rows), emit_index(e, (int64_t)turn * rows), "rows");
	line = tile_add(e, t->first_y, tile_div(e, first, p->wide));
	for (int i = 0; i < turn; i++) {
		row = tile_addc(e, own, (int64_t)i * rows);
		x = tile_addc(e, tile_rem(e, own, p->wide), (int64_t)i * rows % p->wide);
		y = tile_addc(e, tile_div(e, own, p->wide), (int64_t)i * rows / p->wide);
		columns_at(t, tile_add(e, first, row), tile_add(e, line, y), tile_add(e, t->first_x, x), column);
	}
	device_end_long(e, &l);
}

/* Threads lie over positions, of some columns at a time. */
static void rows_first(PatchTile *t)
{
	const PatchPlan *p = &t->plan;
	Emit *e = t->m.t.e;
	int columns = PATCH_THREADS / t->m.t.rows, turn = OUTPUTS / 4;
	LLVMValueRef thread = device_opaque(e, t->m.t.f->team.thread), row = tile_rem(e, thread, t->m.t.rows), first, x, y;
	EmitLoop l;

	x = tile_add(e, t->first_x, tile_rem(e, row, p->wide));
	y = tile_add(e, t->first_y, tile_div(e, row, p->wide));
	first = emit_for(e, &l, tile_div(e, thread, t->m.t.rows), emit_index(e, t->m.t.columns), emit_index(e, (int64_t)turn * columns), "columns");
	for (int i = 0; i < turn; i++)
		columns_at(t, row, y, x, tile_addc(e, first, (int64_t)i * columns));
	device_end_long(e, &l);
}

void patch_outputs(PatchTile *t)
{
	if (device_columns_adjacent(&t->m.t))
		columns_first(t);
	else
		rows_first(t);
}
