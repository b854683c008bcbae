/* codegen/device_patch_end.c -- contractions on tensor cores out of a patch of the image: sums go through the epilogue.
 *
 * A lane has sums of some columns that follow each other, of each of its rows.  Where columns of the result lie beside each other, that
 * is a vector, and four lanes fill sectors of memory.  Else sums are turned around in shared memory, for threads that lie over rows. */
#include "codegen/device_patch.h"

enum { ROUNDS = 4 /* of a turn */ };

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
	int n = PATCH_CHANNELS;

	if (!device_columns_adjacent(&t->m.t))
		return 0;
	while (n > 1 && !columns_fit(t, n))
		n /= 2;
	return n;
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

/* Of the warp's rows, those from a multiple of 8 on, of which the lane has one. */
static void position_of(PatchTile *t, int64_t row, LLVMValueRef *y, LLVMValueRef *x)
{
	const PatchPlan *p = &t->plan;
	Emit *e = t->m.t.e;
	int64_t rows = t->m.mt * 16, each = p->wide / rows;
	LLVMValueRef warp = t->m.warp_m, own = tile_add(e, t->first_x, tile_div(e, t->m.lane, 4));

	if (p->wide <= rows) {
		*y = tile_addc(e, tile_add(e, t->first_y, tile_mul(e, warp, rows / p->wide)), row / p->wide);
		*x = tile_addc(e, own, row % p->wide);
		return;
	}
	*y = tile_add(e, t->first_y, tile_div(e, warp, each));
	*x = tile_addc(e, tile_add(e, own, tile_mul(e, tile_rem(e, warp, each), rows)), row);
}

/* What the lane has of columns from that at place `place` on, of a half of fragment i's rows. */
static LLVMValueRef sums_at(PatchTile *t, int i, int half, int64_t place)
{
	Mma *m = &t->m;
	Emit *e = m->t.e;
	int n = t->outputs;
	LLVMValueRef v = n > 1 ? LLVMGetPoison(emit_vec(m->sum_type, n)) : NULL, one;

	for (int k = 0; k < n; k++) {
		int64_t j = place / 8 + (place % 8 + k) / 2;

		one = LLVMBuildLoad2(e->b, m->sum_type, m->sum[(i * m->nt + j) * 4 + half * 2 + (place + k) % 2], "");
		v = n > 1 ? LLVMBuildInsertElement(e->b, v, one, emit_index(e, k), "") : one;
	}
	return v;
}

/* Columns lie beside each other: a lane has some of them of each of its rows. */
static void columns_first(PatchTile *t)
{
	Mma *m = &t->m;
	Emit *e = m->t.e;
	const KContract *c = m->t.c;
	enum { EACH = PATCH_CHANNELS };
	LLVMValueRef own = tile_add(e, m->t.column, tile_mul(e, tile_rem(e, m->lane, 4), PATCH_CHANNELS)), y, x, in, column;
	DeviceIf there, some;

	for (int i = 0; i < m->mt * 2; i++) {
		position_of(t, i * 8, &y, &x);
		in = is_output(t, y, x);
		if (in)
			device_if(e, &there, in);
		for (int at = 0; at < m->t.columns / 4; at += t->outputs) {
			column = tile_addc(e, own, at / EACH * 4 * EACH + at % EACH);
			if (c->nc % m->t.columns)
				device_if(e, &some, both(e, NULL, column, c->nc));
			outputs_of(t, y, x, column, sums_at(t, i / 2, i % 2, at / EACH * 4 * EACH + at % EACH / 2 * 8 + at % 2));
			if (c->nc % m->t.columns)
				device_endif(e, &some);
		}
		if (in)
			device_endif(e, &there);
	}
}

/* -- by rows ------------------------------------------------------------------------------------------ */

/* Words from a column of sums to the next one. */
static int64_t pitch_of(const PatchTile *t)
{
	return t->m.t.rows + PATCH_PAD;
}

static void turn_sums(PatchTile *t)
{
	Mma *m = &t->m;
	Emit *e = m->t.e;
	LLVMValueRef own = tile_add(e, tile_mul(e, m->warp_m, (int64_t)m->mt * 16), tile_div(e, m->lane, 4)), sum, at;

	own = tile_add(e, own, tile_mul(e, tile_rem(e, m->lane, 4), PATCH_CHANNELS * pitch_of(t)));
	for (int j = 0; j < m->nt; j++)
		for (int k = 0; k < 2; k++)
			for (int i = 0; i < m->mt * 2; i++) {
				at = device_word(e, tile_addc(e, own, patch_channel(j * 8 + k) * pitch_of(t) + i * 8));
				sum = LLVMBuildLoad2(e->b, m->sum_type, m->sum[(i / 2 * m->nt + j) * 4 + i % 2 * 2 + k], "");
				LLVMBuildStore(e->b, sum, at);
			}
}

/* Of one row of the tile, each `step`th column. */
static void some_columns(PatchTile *t, LLVMValueRef row, LLVMValueRef first, int step)
{
	const PatchPlan *p = &t->plan;
	const KContract *c = t->m.t.c;
	Emit *e = t->m.t.e;
	LLVMValueRef x = tile_add(e, t->first_x, tile_rem(e, row, p->wide)), y = tile_add(e, t->first_y, tile_div(e, row, p->wide)), in, column, v;
	DeviceIf there;
	EmitLoop l;

	first = emit_for(e, &l, first, emit_index(e, t->m.t.columns), emit_index(e, (int64_t)ROUNDS * step), "columns");
	for (int i = 0; i < ROUNDS; i++) {
		column = tile_addc(e, first, (int64_t)i * step);
		v = LLVMBuildLoad2(e->b, t->m.sum_type, device_word(e, tile_add(e, row, tile_mul(e, column, pitch_of(t)))), "sum");
		column = tile_add(e, t->m.t.column, column);
		in = is_output(t, y, x);
		in = c->nc % t->m.t.columns ? both(e, in, column, c->nc) : in;
		if (in)
			device_if(e, &there, in);
		outputs_of(t, y, x, column, v);
		if (in)
			device_endif(e, &there);
	}
	device_end_long(e, &l);
}

/* Rows lie beside each other: threads lie over them. */
static void rows_first(PatchTile *t)
{
	Emit *e = t->m.t.e;
	int rows = t->m.t.rows < t->m.t.threads ? t->m.t.rows : t->m.t.threads;
	LLVMValueRef thread = device_opaque(e, t->m.t.f->team.thread), row = tile_rem(e, thread, rows), first = tile_div(e, thread, rows);

	for (int i = 0; i < t->m.t.rows; i += rows)
		some_columns(t, tile_addc(e, row, i), first, t->m.t.threads / rows);
}

int64_t patch_shared(const PatchTile *t)
{
	int64_t bytes = t->plan.shared + t->plan.sums * 4;

	return t->outputs || bytes > t->plan.turned ? bytes : t->plan.turned;
}

void patch_outputs(PatchTile *t)
{
	Emit *e = t->m.t.e;

	if (t->outputs) {
		columns_first(t);
		return;
	}
	device_block_barrier(e);
	turn_sums(t);
	device_block_barrier(e);
	rows_first(t);
}
