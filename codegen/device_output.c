/* codegen/device_output.c -- tiles of contractions: from sums to outputs, one at a time or several columns that lie beside each other.
 *
 * Where all that the epilogue reads and writes lies beside each other for neighbouring columns, or is the same for them, its statements are
 * emitted for a vector of columns: an access is one of several elements then, and a place is computed once for all of them.  What does not
 * depend on rows is computed once for all outputs of a column that a thread makes. */
#include "codegen/device_tile.h"

/* -- what epilogues look like ------------------------------------------------------------------------ */

/* The value of x where all variables are 0, but for one. */
static int64_t value_at(const KIdx *x, int var, int64_t v)
{
	int64_t a, b;

	if (x->op == KI_CONST)
		return x->k;
	if (x->op == KI_VAR)
		return x->k == var ? v : 0;
	if (x->op == KI_VALUE || x->op == KI_SIZE)
		return 0;
	a = value_at(x->a, var, v);
	b = x->b ? value_at(x->b, var, v) : x->k;
	switch (x->op) {
	case KI_ADD:
		return a + b;
	case KI_MUL:
		return a * b;
	case KI_MIN:
		return a < b ? a : b;
	case KI_MAX:
		return a > b ? a : b;
	default:
		return b <= 0 ? 0 : x->op == KI_DIV ? a / b : a % b;
	}
}

bool device_columns_adjacent(const DeviceTile *t)
{
	for (const KStmt *s = t->s->body; s; s = s->next)
		if (s->kind == KS_STORE)
			return value_at(s->idx, t->c->var[4], 1) - value_at(s->idx, t->c->var[4], 0) == 1;
	return true;
}

static const KInst *let_of(const DeviceTile *t, const KStmt *s)
{
	return s->kind == KS_LET ? &t->e->k->value.items[s->value] : NULL;
}

/* The argument that a statement accesses, and where; -1: none. */
static int access_of(const DeviceTile *t, const KStmt *s, const KIdx **at)
{
	const KInst *in = let_of(t, s);

	*at = in ? in->idx : s->idx;
	return in ? (in->op == K_load ? in->arg : -1) : s->kind == KS_STORE ? s->arg : -1;
}

static Emit lanes_of(const DeviceTile *t, int n)
{
	return (Emit){.k = t->e->k, .lanes = n, .vec_var = t->c->var[4], .vec_aligned = true};
}

/* Can a statement be that of n columns? */
static bool takes_lanes(const DeviceTile *t, const KStmt *s, int n)
{
	const Emit lanes = lanes_of(t, n);
	const KInst *in = let_of(t, s);
	const KIdx *at;
	int arg = access_of(t, s, &at);
	int64_t stride;

	if ((!in && s->kind != KS_STORE) || (in ? in->guard : s->guard) || (in && mlo_elem_bits(in->type) > 32))
		return false;
	if (arg < 0)
		return true;
	if (mlo_elem_bits(t->e->k->arg.items[arg].elem) > 32 || !emit_idx_stride(&lanes, at, &stride))
		return false;
	return stride == 1 ? emit_idx_multiple(&lanes, at, n) : stride == 0 && in;
}

int64_t device_output_length(const DeviceTile *t)
{
	enum { SHORT = 1, LONG = 30 };
	int64_t n = 0;

	for (const KStmt *s = t->s->body; s; s = s->next) {
		KOp op = s->kind == KS_LET ? t->e->k->value.items[s->value].op : K_const;

		n += op <= K_product ? 0 : (op >= K_sqrt && op <= K_sigmoid) || op == K_pow || op == K_fmod || op == K_mod ? LONG : SHORT;
	}
	return n;
}

int device_output_lanes(const DeviceTile *t, int most)
{
	for (int n = most; n > 1; n /= 2) {
		bool all = t->columns % n == 0 && t->c->nc > 0 && t->c->nc % n == 0;

		for (const KStmt *s = t->s->body; s && all; s = s->next)
			all = takes_lanes(t, s, n);
		if (all)
			return n;
	}
	return 1;
}

LLVMValueRef device_outputs_aligned(DeviceTile *t, int n)
{
	Emit *e = t->e;
	const Emit lanes = lanes_of(t, n);
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);
	LLVMValueRef any = emit_const_i(i64, 0), p;

	for (const KStmt *s = t->s->body; s; s = s->next) {
		const KIdx *at;
		int arg = access_of(t, s, &at);
		int64_t stride;

		if (arg < 0 || !emit_idx_stride(&lanes, at, &stride) || stride == 0)
			continue;
		p = LLVMBuildPtrToInt(e->b, e->arg[arg], i64, "");
		p = LLVMBuildAnd(e->b, p, emit_const_i(i64, n * (int64_t)mlo_elem_bits(e->k->arg.items[arg].elem) / 8 - 1), "");
		any = LLVMBuildOr(e->b, any, p, "");
	}
	return LLVMBuildICmp(e->b, LLVMIntEQ, any, emit_const_i(i64, 0), "");
}

static bool has_rows(const KContract *c, const KIdx *x)
{
	for (int i = 0; i < 4 && x->op == KI_VAR; i++)
		if (x->k == c->var[i])
			return true;
	return (x->a && has_rows(c, x->a)) || (x->b && has_rows(c, x->b));
}

static bool is_stored(const DeviceTile *t, int arg)
{
	for (const KStmt *s = t->s->body; s; s = s->next)
		if (s->kind == KS_STORE && s->arg == arg)
			return true;
	return false;
}

/* Is it the same for all rows?  kept: of values before it, likewise. */
static bool is_of_column(const DeviceTile *t, const KStmt *s, const bool *kept)
{
	const KInst *in = let_of(t, s);

	if (!in || in->op == K_product || in->op == K_accum)
		return false;
	if (in->op == K_const)
		return true;
	if (in->idx && (in->guard || kx_has_value(in->idx) || has_rows(t->c, in->idx)))
		return false;
	if (in->op == K_load)
		return !is_stored(t, in->arg);
	return (in->a < 0 || kept[in->a]) && (in->b < 0 || kept[in->b]) && (in->c < 0 || kept[in->c]);
}

/* -- zero points ------------------------------------------------------------------------------------- */

LLVMValueRef device_tap_sum(DeviceTile *t, LLVMValueRef column, int64_t i, int n)
{
	Emit *e = t->e;
	int64_t taps = t->c->nky * t->c->nkx;
	LLVMValueRef at = tile_mul(e, tile_div(e, column, t->columns), taps * t->columns);

	at = tile_add(e, at, tile_rem(e, column, t->columns));
	return device_load(t, t->c->zero.s_arg, tile_addc(e, at, i * t->columns), n, NULL);
}

/* Is the tap at distance y of a position, and all from there to the last one, on that side? */
static LLVMValueRef between(Emit *e, LLVMValueRef y, int64_t reach, int64_t n)
{
	return LLVMBuildICmp(e->b, LLVMIntULT, y, emit_index(e, n > reach ? n - reach : 0), "");
}

/* Weights of those taps that lie inside, added up.  y, x: where the first one lies. */
static LLVMValueRef sum_inside(DeviceTile *t, LLVMValueRef y, LLVMValueRef x, LLVMValueRef column, int n)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMTypeRef i32 = emit_vec(LLVMInt32TypeInContext(e->ctx), n > 1 ? n : 0);
	LLVMValueRef total = emit_const_i(i32, 0), v, in;

	for (int64_t i = 0; i < c->nky * c->nkx; i++) {
		v = t->tap_sums ? t->tap_sum[i] : device_tap_sum(t, column, i, n);
		if (!device_always_inside(c)) {
			in = LLVMBuildICmp(e->b, LLVMIntULT, tile_addc(e, y, i / c->nkx * c->dy), tile_num(e, c->in_y), "");
			in = LLVMBuildAnd(e->b, in, LLVMBuildICmp(e->b, LLVMIntULT, tile_addc(e, x, i % c->nkx * c->dx), tile_num(e, c->in_x), ""), "");
			v = LLVMBuildSelect(e->b, in, v, emit_const_i(i32, 0), "");
		}
		total = LLVMBuildAdd(e->b, total, v, "");
	}
	return total;
}

LLVMValueRef device_zero_point(DeviceTile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef zero = emit_const_i(i32, c->zero.at), v;

	if (!c->zero.given)
		return zero;
	v = device_load(t, c->zero.z_arg, emit_index(e, 0), 1, NULL);
	return LLVMBuildAdd(e->b, zero, LLVMBuildIntCast2(e->b, v, i32, c->a.elem == EL_i8, ""), "");
}

/* What the zero point of A has added to a sum: so many times the weights of those taps that lie inside, which are mostly all. */
static LLVMValueRef zero_share(DeviceTile *t, const DevicePosition *p, LLVMValueRef column, int n)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef y = tile_addc(e, tile_mul(e, p->y, c->sy), -c->py), x = tile_addc(e, tile_mul(e, p->x, c->sx), -c->px);
	LLVMTypeRef type = emit_vec(LLVMInt32TypeInContext(e->ctx), n > 1 ? n : 0);
	LLVMValueRef total, v, all;
	DeviceIf edge;

	if (p->border)
		return device_border_share(t, p->border, column, n);
	if (t->tap_sums && !device_always_inside(c) && c->in_y > 0 && c->in_x > 0) {
		v = emit_alloca(e, type, "weights");
		LLVMBuildStore(e->b, t->tap_all, v);
		all = between(e, y, (c->nky - 1) * c->dy, c->in_y);
		all = LLVMBuildAnd(e->b, all, between(e, x, (c->nkx - 1) * c->dx, c->in_x), "");
		device_if(e, &edge, LLVMBuildNot(e->b, all, ""));
		LLVMBuildStore(e->b, sum_inside(t, y, x, column, n), v);
		device_endif(e, &edge);
		total = LLVMBuildLoad2(e->b, type, v, "");
	} else {
		total = sum_inside(t, y, x, column, n);
	}
	return LLVMBuildMul(e->b, total, emit_splat(e, device_zero_point(t), n > 1 ? n : 0), "");
}

/* -- outputs ----------------------------------------------------------------------------------------- */

/* The context of n columns, the first of which is `column`. */
static void begin_lanes(DeviceTile *t, LLVMValueRef column, int n)
{
	Emit *e = t->e;

	e->var[t->c->var[4]] = column;
	if (n == 1)
		return;
	e->lanes = n;
	e->vec_var = t->c->var[4];
	e->vec_aligned = e->vec_whole = true;
}

static void end_lanes(DeviceTile *t)
{
	t->e->lanes = 0;
	t->e->vec_var = -1;
	t->e->vec_aligned = t->e->vec_whole = false;
}

static bool whole_rows(const DeviceTile *t)
{
	const KContract *c = t->c;
	int64_t n = 1;
	const int64_t extents[] = {c->ny, c->nx, t->together ? c->nb0 : 1, t->together ? c->nb1 : 1};

	if (t->pitch_x)
		return false;
	for (size_t i = 0; i < sizeof extents / sizeof *extents; i++) {
		if (extents[i] < 0)
			return false;
		n *= extents[i];
	}
	return n % t->rows == 0;
}

/* Where rows of images have a pitch: is it one of those that are outputs? */
static LLVMValueRef is_output(DeviceTile *t, LLVMValueRef row)
{
	DevicePosition p = device_position(t, row);
	LLVMValueRef in = LLVMBuildICmp(t->e->b, LLVMIntSLT, p.x, emit_index(t->e, t->c->nx), "");

	return LLVMBuildAnd(t->e->b, in, LLVMBuildICmp(t->e->b, LLVMIntSLT, p.y, emit_index(t->e, t->c->ny), ""), "");
}

static bool reads_rows(const DeviceTile *t)
{
	for (const KStmt *s = t->s->body; s; s = s->next) {
		const KInst *in = let_of(t, s);

		if (in && in->op == K_load && (in->guard || kx_has_value(in->idx) || has_rows(t->c, in->idx)))
			return true;
	}
	return false;
}

LLVMValueRef device_output_inside(DeviceTile *t, LLVMValueRef *row, LLVMValueRef column, bool repeats)
{
	Emit *e = t->e;
	LLVMValueRef in = NULL, there, last;

	if (t->pitch_x) {
		in = LLVMBuildICmp(e->b, LLVMIntSLT, *row, t->all_rows, "");
		in = LLVMBuildAnd(e->b, in, is_output(t, *row), "");
	} else if (!whole_rows(t) && (!repeats || reads_rows(t))) {
		in = LLVMBuildICmp(e->b, LLVMIntSLT, *row, t->all_rows, "");
	} else if (!whole_rows(t)) {
		last = tile_addc(e, t->all_rows, -1);
		*row = emit_intrinsic(e, "llvm.smin", &e->index, 1, (LLVMValueRef[]){*row, last}, 2);
	}
	if (t->c->nc % t->columns == 0)
		return in;
	there = LLVMBuildICmp(e->b, LLVMIntSLT, column, emit_index(e, t->c->nc), "");
	return in ? LLVMBuildAnd(e->b, in, there, "") : there;
}

/* A column that can be read, for those behind the last one. */
static LLVMValueRef there(DeviceTile *t, LLVMValueRef column, int n)
{
	LLVMValueRef last = emit_index(t->e, t->c->nc - n);

	if (t->c->nc % t->columns == 0)
		return column;
	return LLVMBuildSelect(t->e->b, LLVMBuildICmp(t->e->b, LLVMIntSLT, column, last, ""), column, last, "");
}

void device_output_columns(DeviceTile *t, LLVMValueRef column, int n)
{
	int64_t taps = t->c->nky * t->c->nkx;
	bool *kept = MLO_NEWN(t->e->arena, bool, t->e->k->value.n + 1);

	t->tap_sums = t->c->zero.sums && taps <= DEVICE_TAP_SUMS && !t->border;
	for (int64_t i = 0; i < taps && t->tap_sums; i++) {
		t->tap_sum[i] = device_tap_sum(t, column, i, n);
		t->tap_all = i ? LLVMBuildAdd(t->e->b, t->tap_all, t->tap_sum[i], "") : t->tap_sum[i];
	}
	begin_lanes(t, there(t, column, n), n);
	for (const KStmt *s = t->s->body; s; s = s->next)
		if (is_of_column(t, s, kept)) {
			emit_stmt(t->e, s);
			kept[s->value] = true;
		}
	end_lanes(t);
	t->kept = kept;
}

void device_output_columns_end(DeviceTile *t)
{
	t->tap_sums = false;
	t->kept = NULL;
}

void device_output(DeviceTile *t, const DevicePosition *p, LLVMValueRef column, LLVMValueRef sum)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int n = emit_lanes(sum) ? emit_lanes(sum) : 1;

	e->product = c->zero.sums ? LLVMBuildSub(e->b, sum, zero_share(t, p, column, n), "") : sum;
	e->var[c->var[0]] = p->b0;
	e->var[c->var[1]] = p->b1;
	e->var[c->var[2]] = p->y;
	e->var[c->var[3]] = p->x;
	begin_lanes(t, column, n);
	for (const KStmt *s = t->s->body; s; s = s->next)
		if (s->kind != KS_LET || !t->kept || !t->kept[s->value])
			emit_stmt(e, s);
	end_lanes(t);
}
