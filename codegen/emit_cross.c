/* codegen/emit_cross.c -- two loops over memory that one walks along rows and the other along columns.
 *
 *   seq s { scalar values; vec v { loads, arithmetic, stores } }
 *
 * where some accesses follow each other along s instead of v: a change between dense and blocked images, a
 * transposition, with arithmetic on the way.  Lane by lane those accesses take an instruction per element.
 * Instead tiles of L x L elements are done at once, L being the lanes of a vector: what is read along s is loaded in
 * vectors along s and transposed in registers, the body runs for L rows of v, what is written along s is
 * transposed back.  Rows that make no whole tile at the end of s, and where the machine has no masks columns that
 * make no whole vector at the end of v, run as they would otherwise.
 *
 * Of two or four rows of bytes whose elements lie side by side in the result, `s + rows * v`, as the channels of a pixel do, the
 * rows are woven into one run. */
#include "codegen/emit_internal.h"

enum { MAX_CROSSED = 4, MAX_TILE = 16, MAX_BODY = 12, LANE_BYTES = 16, LEAST_ROWS = 4 };

typedef struct Crossing {
	const KStmt *seq, *vec;
	int lanes;
	unsigned min_bytes, max_bytes;
	const KStmt *load[MAX_CROSSED];                /* LETs of loads along s */
	const KStmt *store[MAX_CROSSED];
	int nload, nstore;
	LLVMValueRef in[MAX_CROSSED][MAX_TILE];        /* per row: a vector along v */
	LLVMValueRef out[MAX_CROSSED][MAX_TILE];
} Crossing;

/* -- which loops ----------------------------------------------------------------------------------- */

/* The context of vectors along var; var < 0: of scalars. */
static void along(Emit *e, int var, int lanes, LLVMValueRef mask)
{
	e->lanes = var < 0 ? 0 : lanes;
	e->vec_var = var;
	e->vec_aligned = var >= 0;
	e->mask = mask;
}

static int64_t stride_along(Emit *e, const Crossing *c, const KIdx *x, int var)
{
	int64_t stride;

	along(e, var, c->lanes, NULL);
	if (!emit_idx_stride(e, x, &stride))
		stride = -1;
	along(e, -1, 0, NULL);
	return stride;
}

/* 1: along v as it is, 2: along s, 0: neither. */
static int way(Emit *e, const Crossing *c, const KIdx *x, bool store)
{
	int64_t stride = stride_along(e, c, x, c->vec->var);

	if (stride == 1 || (stride == 0 && !store))
		return 1;
	return stride >= 0 && stride_along(e, c, x, c->seq->var) == 1 ? 2 : 0;
}

static void note(Crossing *c, MloElem t)
{
	unsigned n = t == EL_bool ? 1 : mlo_elem_bits(t) / 8;

	c->max_bytes = n > c->max_bytes ? n : c->max_bytes;
	c->min_bytes = n < c->min_bytes ? n : c->min_bytes;
}

/* Is s a loop of scalar LETs around one vec loop of LETs and stores?  Notes the widths of elements. */
static bool shaped(Emit *e, Crossing *c)
{
	const KStmt *s = c->seq->body;
	int n = 0;

	for (; s && s->kind == KS_LET; s = s->next)
		n++;
	if (!s || s->kind != KS_LOOP || s->loop != KL_VEC || s->next)
		return false;
	c->vec = s;
	for (s = s->body; s; s = s->next) {
		const KInst *in = s->kind == KS_LET ? &e->k->value.items[s->value] : NULL;

		if (++n > MAX_BODY || (s->kind != KS_LET && s->kind != KS_STORE))
			return false;
		if (in && in->op == K_load)
			note(c, e->k->arg.items[in->arg].elem);
		if (in && in->op != K_const && in->type != EL_bool)
			note(c, in->type);
		if (!in)
			note(c, e->k->arg.items[s->arg].elem);
	}
	return true;
}

static bool stores_to(const KStmt *s, int arg)
{
	for (; s; s = s->next)
		if (s->kind == KS_STORE && s->arg == arg)
			return true;
	return false;
}

/* Sorts the accesses of the vec loop; false where one fits neither way, or none is along s. */
static bool sort_accesses(Emit *e, Crossing *c)
{
	for (const KStmt *s = c->vec->body; s; s = s->next) {
		const KInst *in = s->kind == KS_LET ? &e->k->value.items[s->value] : NULL;
		int w;

		if (in && in->op != K_load)
			continue;
		w = way(e, c, in ? in->idx : s->idx, !in);
		if (w == 2 && in) {
			if (c->nload == MAX_CROSSED || stores_to(c->vec->body, in->arg))
				return false;
			c->load[c->nload++] = s;
		} else if (w == 2) {
			if (c->nstore == MAX_CROSSED)
				return false;
			c->store[c->nstore++] = s;
		} else if (w == 0) {
			return false;
		}
	}
	return c->nload + c->nstore > 0;
}

static bool uses_var(const KIdx *x, int var)
{
	return (x->op == KI_VAR && x->k == var) || x->op == KI_VALUE || (x->a && uses_var(x->a, var)) ||
	       (x->b && uses_var(x->b, var));
}

static bool find(Emit *e, Crossing *c)
{
	int64_t lo, hi;

	c->min_bytes = 8;
	if (e->lanes || !shaped(e, c) || c->max_bytes == 0 || uses_var(c->vec->extent, c->seq->var))
		return false;
	c->lanes = e->t->vector_bytes / (int)(c->max_bytes < 4 ? 4 : c->max_bytes);
	c->lanes = c->lanes > MAX_TILE ? MAX_TILE : c->lanes;
	kx_range(e->k, c->vec->extent, &lo, &hi);
	if (c->lanes < 4 || hi < c->lanes)
		return false;
	kx_range(e->k, c->seq->extent, &lo, &hi);
	if (hi < c->lanes)
		return false;
	return sort_accesses(e, c);
}

/* -- tiles ----------------------------------------------------------------------------------------- */

/* Lanes below `n`. */
static LLVMValueRef lanes_below(Emit *e, int lanes, LLVMValueRef n)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef most = emit_splat(e, LLVMBuildTrunc(e->b, n, i32, ""), lanes);

	return LLVMBuildICmp(e->b, LLVMIntULT, emit_iota(e, i32, lanes, 1), most, "");
}

typedef struct Tile {
	LLVMValueRef s, v; /* first row and column */
	int rows;
	LLVMValueRef left; /* columns, or NULL: all */
} Tile;

/* The context of vectors along s in column j of a tile. */
static void at_column(Emit *e, const Crossing *c, const Tile *t, int j)
{
	LLVMValueRef mask = NULL, real;

	e->var[c->seq->var] = t->s;
	e->var[c->vec->var] = LLVMBuildNSWAdd(e->b, t->v, emit_index(e, j), "");
	if (t->rows < c->lanes)
		mask = lanes_below(e, c->lanes, emit_index(e, t->rows));
	if (t->left) {
		real = emit_splat(e, LLVMBuildICmp(e->b, LLVMIntSLT, emit_index(e, j), t->left, ""), c->lanes);
		mask = mask ? LLVMBuildAnd(e->b, mask, real, "") : real;
	}
	along(e, c->seq->var, c->lanes, mask);
}

static void tile_loads(Emit *e, Crossing *c, const Tile *t, int i)
{
	const KInst *in = &e->k->value.items[c->load[i]->value];

	for (int j = 0; j < c->lanes; j++) {
		at_column(e, c, t, j);
		c->in[i][j] = emit_splat(e, emit_load(e, in), c->lanes);
	}
	emit_transpose(e, c->in[i], c->lanes, mlo_elem_bits(in->type) / 8);
}

static int index_of(const KStmt *const *list, int n, const KStmt *s)
{
	for (int i = 0; i < n; i++)
		if (list[i] == s)
			return i;
	return -1;
}

static void tile_row(Emit *e, Crossing *c, const Tile *t, int row)
{
	e->var[c->seq->var] = LLVMBuildNSWAdd(e->b, t->s, emit_index(e, row), "");
	e->var[c->vec->var] = t->v;
	along(e, -1, 0, NULL);
	for (const KStmt *s = c->seq->body; s != c->vec; s = s->next)
		e->val[s->value] = emit_value(e, &e->k->value.items[s->value]);
	along(e, c->vec->var, c->lanes, t->left ? lanes_below(e, c->lanes, t->left) : NULL);
	for (const KStmt *s = c->vec->body; s; s = s->next) {
		int i = s->kind == KS_LET ? index_of(c->load, c->nload, s) : index_of(c->store, c->nstore, s);

		if (s->kind == KS_LET)
			e->val[s->value] = i >= 0 ? c->in[i][row] : emit_value(e, &e->k->value.items[s->value]);
		else if (i < 0)
			emit_store(e, s);
		else
			c->out[i][row] = emit_splat(e, e->val[s->value], c->lanes);
	}
}

static void tile_stores(Emit *e, Crossing *c, const Tile *t, int i)
{
	const KStmt *s = c->store[i];

	for (int row = t->rows; row < c->lanes; row++)
		c->out[i][row] = LLVMGetPoison(LLVMTypeOf(c->out[i][0]));
	emit_transpose(e, c->out[i], c->lanes, mlo_elem_bits(e->k->value.items[s->value].type) / 8);
	for (int j = 0; j < c->lanes; j++) {
		at_column(e, c, t, j);
		e->val[s->value] = c->out[i][j];
		emit_store(e, s);
	}
}

static void tile(Emit *e, Crossing *c, const Tile *t)
{
	for (int i = 0; i < c->nload; i++)
		tile_loads(e, c, t, i);
	for (int row = 0; row < t->rows; row++)
		tile_row(e, c, t, row);
	for (int i = 0; i < c->nstore; i++)
		tile_stores(e, c, t, i);
	along(e, -1, 0, NULL);
}

/* -- loops over tiles ------------------------------------------------------------------------------ */

static LLVMValueRef whole_tiles(Emit *e, const Crossing *c, LLVMValueRef n)
{
	return LLVMBuildAnd(e->b, n, emit_index(e, -c->lanes), "");
}

/* Columns lo .. hi of rows from s on, one by one. */
static void scalar_columns(Emit *e, const Crossing *c, const Tile *t, LLVMValueRef lo, LLVMValueRef hi)
{
	EmitLoop rows, columns;
	LLVMValueRef end = LLVMBuildNSWAdd(e->b, t->s, emit_index(e, t->rows), "");

	e->var[c->seq->var] = emit_for(e, &rows, t->s, end, emit_index(e, 1), "row");
	for (const KStmt *s = c->seq->body; s != c->vec; s = s->next)
		e->val[s->value] = emit_value(e, &e->k->value.items[s->value]);
	e->var[c->vec->var] = emit_for(e, &columns, lo, hi, emit_index(e, 1), "column");
	emit_stmts(e, c->vec->body);
	emit_end(e, &columns);
	emit_end(e, &rows);
}

static void tiles_of_rows(Emit *e, Crossing *c, LLVMValueRef s, int rows)
{
	LLVMValueRef n = emit_idx(e, c->vec->extent), whole = whole_tiles(e, c, n);
	Tile t = {.s = s, .rows = rows};
	int64_t lo, hi;
	EmitLoop l;

	kx_range(e->k, c->vec->extent, &lo, &hi);
	t.v = emit_for(e, &l, emit_index(e, 0), whole, emit_index(e, c->lanes), "tile");
	tile(e, c, &t);
	emit_end(e, &l);
	if (lo == hi && hi % c->lanes == 0)
		return;
	if (!emit_has_masks(e, c->min_bytes)) {
		scalar_columns(e, c, &t, whole, n);
		return;
	}
	t.v = emit_for(e, &l, whole, n, emit_index(e, c->lanes), "tile");
	t.left = LLVMBuildSub(e->b, n, whole, "");
	tile(e, c, &t);
	emit_end(e, &l);
}

/* -- few rows, woven ------------------------------------------------------------------------------- */

static bool sort_woven(Emit *e, Crossing *c, int64_t rows)
{
	for (const KStmt *s = c->vec->body; s; s = s->next) {
		const KInst *in = s->kind == KS_LET ? &e->k->value.items[s->value] : NULL;
		int64_t stride;

		if (in && in->op != K_load)
			continue;
		stride = stride_along(e, c, in ? in->idx : s->idx, c->vec->var);
		if (in && ((stride != 0 && stride != 1) || stores_to(c->vec->body, in->arg)))
			return false;
		if (in)
			continue;
		if (c->nstore == MAX_CROSSED || s->guard || stride != rows || stride_along(e, c, s->idx, c->seq->var) != 1 ||
		    mlo_elem_bits(e->k->arg.items[s->arg].elem) != 8 || e->k->arg.items[s->arg].elem == EL_bool)
			return false;
		c->store[c->nstore++] = s;
	}
	return c->nstore > 0;
}

static bool find_woven(Emit *e, Crossing *c)
{
	int64_t lo, hi, least, rows;

	c->min_bytes = 8;
	if (e->lanes || !shaped(e, c) || c->max_bytes > 4 || uses_var(c->vec->extent, c->seq->var))
		return false;
	kx_range(e->k, c->seq->extent, &least, &rows);
	c->lanes = e->t->vector_bytes / 4;
	kx_range(e->k, c->vec->extent, &lo, &hi);
	return c->lanes >= 4 && c->lanes <= MAX_TILE && (rows == 2 || rows == 4) && least == rows &&
	       hi >= c->lanes && sort_woven(e, c, rows);
}

/* Elements of a and b in turn, units of `unit`; twice as long. */
static LLVMValueRef woven(Emit *e, LLVMValueRef a, LLVMValueRef b, int unit)
{
	enum { MOST = 4 * MAX_TILE };
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef mask[MOST];
	int n = emit_lanes(a);

	for (int i = 0; i < 2 * n; i++)
		mask[i] = emit_const_i(i32, i / (2 * unit) * unit + i % unit + (i / unit % 2 ? n : 0));
	return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, (unsigned)(2 * n)), "");
}

static void weave(Emit *e, Crossing *c, const Tile *t)
{
	for (int row = 0; row < t->rows; row++)
		tile_row(e, c, t, row);
	along(e, -1, 0, NULL);
	e->var[c->seq->var] = t->s;
	e->var[c->vec->var] = t->v;
	for (int i = 0; i < c->nstore; i++) {
		LLVMValueRef *r = c->out[i], v = woven(e, r[0], r[1], 1);

		if (t->rows == 4)
			v = woven(e, v, woven(e, r[2], r[3], 1), 2);
		e->val[c->store[i]->value] = v; /* stored from its first element on */
		emit_store(e, c->store[i]);
	}
}

static bool emit_woven(Emit *e, const KStmt *s)
{
	Crossing c = {.seq = s};
	Tile t = {.s = emit_index(e, 0)};
	LLVMValueRef n, whole;
	int64_t lo, hi;
	EmitLoop l;

	if (!find_woven(e, &c))
		return false;
	kx_range(e->k, s->extent, &lo, &hi);
	t.rows = (int)hi;
	n = emit_idx(e, c.vec->extent);
	whole = whole_tiles(e, &c, n);
	t.v = emit_for(e, &l, emit_index(e, 0), whole, emit_index(e, c.lanes), "run");
	weave(e, &c, &t);
	emit_end(e, &l);
	kx_range(e->k, c.vec->extent, &lo, &hi);
	if (lo != hi || hi % c.lanes)
		scalar_columns(e, &c, &t, whole, n);
	return true;
}

bool emit_crossing(Emit *e, const KStmt *s)
{
	Crossing c = {.seq = s};
	LLVMValueRef n, whole;
	int64_t lo, hi;
	EmitLoop l;
	bool masks;

	if (!find(e, &c))
		return emit_woven(e, s);
	masks = emit_has_masks(e, c.min_bytes);
	n = emit_idx(e, s->extent);
	whole = whole_tiles(e, &c, n);
	kx_range(e->k, s->extent, &lo, &hi);
	tiles_of_rows(e, &c, emit_for(e, &l, emit_index(e, 0), whole, emit_index(e, c.lanes), "rows"), c.lanes);
	emit_end(e, &l);
	if (lo == hi && hi % c.lanes == 0)
		return true;
	if (lo == hi && masks && hi % c.lanes >= LEAST_ROWS) {
		tiles_of_rows(e, &c, whole, (int)(hi % c.lanes));
		return true;
	}
	e->var[s->var] = emit_for(e, &l, whole, n, emit_index(e, 1), "i");
	emit_stmts(e, s->body);
	emit_end(e, &l);
	return true;
}
