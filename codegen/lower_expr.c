/* codegen/lower_expr.c -- building expressions: open loops, placement, loads, memoised values. */
#include "codegen/lower_loops.h"

void lw_init(Lower *w, MloLowerCx *cx, MloNode *first, MloNode *last, MloNode *anchor, const char *name)
{
	*w = (Lower){.cx = cx, .arena = cx->arena, .first = first, .last = last, .anchor = anchor, .vec_var = -1};
	w->k = mlo_kernel_new(cx->arena, name);
	w->k->syms = cx->graph->syms;
	w->level[0].at = kb_top(w->k);
}

/* -- levels ------------------------------------------------------------------------------- */

int lw_open(Lower *w, KLoopKind kind, const KIdx *extent)
{
	MLO_ASSERT(w->top + 1 < LW_LEVELS);
	LwLevel *l = &w->level[w->top];
	int var;
	l->loop = l->at.tail;
	KCursor in = kb_loop(&l->at, kind, extent, &var);
	w->top++;
	w->level[w->top] = (LwLevel){.at = in};
	while (w->var_level.n <= (size_t)var)
		MLO_PUSH(w->arena, &w->var_level, w->top);
	w->var_level.items[var] = w->top;
	if (kind == KL_PAR)
		w->npar = w->top;
	if (kind == KL_VEC)
		w->vec_var = var;
	return var;
}

void lw_close(Lower *w)
{
	size_t keep = 0;
	for (size_t i = 0; i < w->memo.n; i++)
		if (w->memo.items[i].level < w->top)
			w->memo.items[keep++] = w->memo.items[i];
	w->memo.n = keep;
	if (w->vec_var >= 0 && w->var_level.items[w->vec_var] == w->top)
		w->vec_var = -1;
	w->top--;
	w->level[w->top].loop = NULL;
}

/* A cursor at the end of level `level`, before the loop that is open there; end_at puts it back. */
static KCursor begin_at(Lower *w, int level, KStmt **kept)
{
	*kept = NULL;
	if (level == w->top)
		return w->level[level].at;
	KStmt **slot = w->level[level].loop;
	MLO_ASSERT(slot);
	*kept = *slot;
	*slot = NULL;
	return (KCursor){w->k, slot};
}

static void end_at(Lower *w, int level, KCursor at, KStmt *kept)
{
	if (level == w->top) {
		w->level[level].at = at;
	} else {
		*at.tail = kept;
		w->level[level].loop = at.tail;
	}
	while (w->val_level.n < w->k->value.n)
		MLO_PUSH(w->arena, &w->val_level, level);
}

static int val_level(const Lower *w, int v)
{
	return v < 0 ? w->npar : w->val_level.items[v];
}

static int idx_level(const Lower *w, const KIdx *e)
{
	if (!e)
		return w->npar;
	if (e->op == KI_VAR)
		return w->var_level.items[e->k];
	if (e->op == KI_VALUE)
		return val_level(w, (int)e->k);
	int a = idx_level(w, e->a), b = idx_level(w, e->b);
	return a > b ? a : b;
}

bool lw_uses_var(const Lower *w, const KIdx *e, int var)
{
	if (!e || var < 0)
		return false;
	if (e->op == KI_VAR)
		return e->k == var;
	if (e->op == KI_VALUE)
		return val_level(w, (int)e->k) >= w->var_level.items[var];
	return lw_uses_var(w, e->a, var) || lw_uses_var(w, e->b, var);
}

static int max_level(int a, int b) { return a > b ? a : b; }

static int place(Lower *w, int level, KInst in)
{
	KStmt *kept;
	level = max_level(level, w->npar);
	KCursor at = begin_at(w, level, &kept);
	int v = kb_let(&at, in);
	end_at(w, level, at, kept);
	return v;
}

/* -- instructions ------------------------------------------------------------------------- */

int lw_op(Lower *w, KOp op, MloElem t, int a, int b, int c)
{
	int level = max_level(val_level(w, a), max_level(val_level(w, b), val_level(w, c)));
	return place(w, level, (KInst){.op = op, .type = t, .a = a, .b = b, .c = c});
}

int lw_const(Lower *w, MloElem t, double f)
{
	KStmt *kept;
	KCursor at = begin_at(w, w->npar, &kept);
	int v = mlo_elem_is_float(t) ? kb_const_f(&at, t, f) : kb_const_i(&at, t, (int64_t)f);
	end_at(w, w->npar, at, kept);
	return v;
}

int lw_const_i(Lower *w, MloElem t, int64_t i)
{
	KStmt *kept;
	KCursor at = begin_at(w, w->npar, &kept);
	int v = kb_const_i(&at, t, i);
	end_at(w, w->npar, at, kept);
	return v;
}

static void note(Lower *w, const KIdx *idx, const KGuard *guard, bool store, bool number)
{
	if (!w->probe)
		return;
	LwAccess a = {.idx = idx, .guard = guard, .store = store, .number = number, .inner = w->in_red};
	MLO_PUSH(w->arena, &w->access, a);
}

int lw_number(Lower *w, MloElem t, const KIdx *e)
{
	KStmt *kept;
	int level = idx_level(w, e);
	note(w, e, NULL, false, true);
	KCursor at = begin_at(w, level, &kept);
	int v = kb_index(&at, t, e);
	end_at(w, level, at, kept);
	return v;
}

int lw_load_arg(Lower *w, int arg, const KIdx *idx, const KGuard *guard, double other)
{
	KStmt *kept;
	int level = idx_level(w, idx);
	for (const KGuard *g = guard; g; g = g->next)
		level = max_level(level, idx_level(w, g->e));
	if (w->k->arg.items[arg].dir == KA_SCRATCH)
		level = w->top;
	note(w, idx, guard, false, false);
	KCursor at = begin_at(w, level, &kept);
	int v = kb_load(&at, arg, idx, guard, other);
	end_at(w, level, at, kept);
	return v;
}

/* Conditions under which v has an element (padding lanes count) at the index. */
static const KGuard *guards(Lower *w, const MloValue *v, const Ix *ix, bool lanes)
{
	const KGuard *guard = NULL;
	for (int d = v->type.rank - 1; d >= 0; d--) {
		MloDim extent = lw_size(v, d);
		int64_t B = v->layout.block;
		if (d == 1 && B && lanes)
			extent = mlo_dim((lw_dim(v, d) + B - 1) / B * B);
		if (ix_within(ix[d], extent))
			continue;
		KGuard *g = MLO_NEW(w->arena, KGuard);
		*g = (KGuard){.e = ix[d].e, .extent = mlo_kernel_number(w->k, extent), .next = guard};
		guard = g;
	}
	return guard;
}

static const KIdx *offset(Lower *w, const MloValue *v, const Ix *ix)
{
	const KIdx *e[MLO_MAX_RANK];
	for (int d = 0; d < v->type.rank; d++)
		e[d] = ix[d].e;
	return mlo_lower_offset(w->k, v, e);
}

int lw_load(Lower *w, const MloValue *v, const Ix *ix, double other, bool lanes)
{
	if (v->data && mlo_type_elems(&v->type) == 1 && !guards(w, v, ix, lanes)) {
		MloElem t = v->type.elem;
		if (mlo_elem_is_float(t))
			return lw_const(w, t, mlo_tensor_f64(v->data, 0));
		return lw_const_i(w, t, mlo_tensor_i64(v->data, 0));
	}
	return lw_load_arg(w, lw_arg(w, v, KA_IN), offset(w, v, ix), guards(w, v, ix, lanes), other);
}

int lw_reload(Lower *w, const MloValue *v, const Ix *ix)
{
	const KIdx *idx = offset(w, v, ix);
	note(w, idx, NULL, false, false);
	int r = kb_load(&w->level[w->top].at, lw_arg(w, v, KA_OUT), idx, NULL, 0);
	while (w->val_level.n < w->k->value.n)
		MLO_PUSH(w->arena, &w->val_level, w->top);
	return r;
}

void lw_store(Lower *w, const MloValue *v, const Ix *ix, int value)
{
	const KIdx *idx = offset(w, v, ix);
	const KGuard *guard = guards(w, v, ix, true);
	note(w, idx, guard, true, false);
	kb_store(&w->level[w->top].at, lw_arg(w, v, KA_OUT), idx, guard, value);
}

void lw_store_arg(Lower *w, int arg, const KIdx *idx, int value)
{
	kb_store(&w->level[w->top].at, arg, idx, NULL, value);
}

int lw_acc_init(Lower *w, int value)
{
	return kb_acc_init(&w->level[w->top].at, value);
}

void lw_acc(Lower *w, int acc, KOp op, int value)
{
	kb_acc(&w->level[w->top].at, acc, op, value);
}

int lw_accum(Lower *w, int acc, MloElem t)
{
	int v = kb_accum(&w->level[w->top].at, acc, t);
	while (w->val_level.n < w->k->value.n)
		MLO_PUSH(w->arena, &w->val_level, w->top);
	return v;
}

/* -- arguments ---------------------------------------------------------------------------- */

static int new_arg(Lower *w, KArgDir dir, MloElem e, MloDim count, MloBinding b)
{
	int arg = mlo_kernel_arg_dim(w->k, dir, e, count);
	MLO_ASSERT((size_t)arg == w->bind.n);
	MLO_PUSH(w->arena, &w->bind, b);
	return arg;
}

int lw_arg(Lower *w, const MloValue *v, KArgDir dir)
{
	for (size_t i = 0; i < w->bind.n; i++)
		if (w->bind.items[i].value == v)
			return (int)i;
	return new_arg(w, dir, mlo_value_elem(v), mlo_value_count(w->k->syms, v), (MloBinding){.value = (MloValue *)v});
}

int lw_table(Lower *w, const MloTensor *t)
{
	for (size_t i = 0; i < w->bind.n; i++)
		if (w->bind.items[i].packed && mlo_tensor_equal(w->bind.items[i].packed, t))
			return (int)i;
	return new_arg(w, KA_IN, t->elem, mlo_dim(mlo_tensor_elems(t)), (MloBinding){.packed = t});
}

int lw_scratch(Lower *w, MloElem e, int64_t count)
{
	return new_arg(w, KA_SCRATCH, e, mlo_dim(count), (MloBinding){0});
}

/* -- values ------------------------------------------------------------------------------- */

bool lw_inside(const Lower *w, const MloValue *v)
{
	if (!v->def)
		return false;
	for (const MloNode *n = w->first;; n = n->next) {
		if (n == v->def)
			return true;
		if (n == w->last)
			return false;
	}
}

bool lw_depends(const Lower *w, const MloValue *v, const MloNode *on)
{
	if (!on || !v || !lw_inside(w, v))
		return false;
	if (v->def == on)
		return true;
	for (uint32_t i = 0; i < v->def->nin; i++)
		if (lw_depends(w, v->def->in[i], on))
			return true;
	return false;
}

void lw_remember(Lower *w, const MloValue *v, const Ix *ix, int value)
{
	LwMemo m = {.v = v, .value = value, .level = max_level(val_level(w, value), 0)};
	for (int d = 0; d < v->type.rank; d++) {
		m.ix[d] = ix[d];
		m.level = max_level(m.level, idx_level(w, ix[d].e));
	}
	MLO_PUSH(w->arena, &w->memo, m);
}

static int recall(const Lower *w, const MloValue *v, const Ix *ix)
{
	for (size_t i = w->memo.n; i-- > 0;) {
		const LwMemo *m = &w->memo.items[i];
		bool same = m->v == v;
		for (int d = 0; same && d < v->type.rank; d++)
			same = kx_equal(m->ix[d].e, ix[d].e);
		if (same)
			return m->value;
	}
	return -1;
}

/* An operand's dimension that is neither 1 for sure nor the result's is one of the two: its last element is
 * as far as an index can go. */
static int eltwise(Lower *w, const MloNode *n, const Ix *ix)
{
	int *x = MLO_NEWN(w->arena, int, n->nin);
	const MloType *ot = &n->out[0]->type;
	int level = w->npar;
	for (uint32_t i = 0; i < n->nin; i++) {
		x[i] = -1;
		if (!mlo_eltwise_reads(n, i))
			continue;
		const MloType *t = &n->in[i]->type;
		Ix in[MLO_MAX_RANK];
		for (int d = 0; d < t->rank; d++) {
			int o = d + ot->rank - t->rank;
			bool bcast = lw_is(t->dim[d], 1) && (o < 0 || !lw_is(ot->dim[o], 1));
			in[d] = bcast || o < 0 ? ix_const(w, 0) : mlo_dim_same(t->dim[d], ot->dim[o]) ? ix[o] : ix_clamp(w, ix[o], t->dim[d]);
		}
		x[i] = lw_expr(w, n->in[i], in);
		level = max_level(level, val_level(w, x[i]));
	}
	KStmt *kept;
	KCursor at = begin_at(w, level, &kept);
	int v = mlo_lower_eltwise(&at, n, x);
	end_at(w, level, at, kept);
	MLO_ASSERT(v >= 0);
	return v;
}

int lw_expr(Lower *w, const MloValue *v, const Ix *ix)
{
	int r = recall(w, v, ix);
	if (r >= 0)
		return r;
	const MloNode *n = v->def;
	if (!lw_inside(w, v)) {
		r = lw_load(w, v, ix, 0, true);
	} else {
		MloOpKind kind = mlo_op_info(n->op)->kind;
		if (kind == OK_ELTWISE)
			r = eltwise(w, n, ix);
		else if (kind == OK_MOVE)
			r = lw_move(w, n, v, ix);
		else if (kind == OK_POOL)
			r = lw_pool(w, n, ix);
		else
			r = lw_reduce(w, n, ix);
	}
	lw_remember(w, v, ix, r);
	return r;
}

/* -- indices ------------------------------------------------------------------------------ */

static MloDim plus(Lower *w, MloDim a, MloDim b) { return mlo_dim_add(w->k->syms, a, b); }
static MloDim times(Lower *w, MloDim a, MloDim b) { return mlo_dim_mul(w->k->syms, a, b); }

Ix ix_var(Lower *w, int var, MloDim extent) { return (Ix){kx_var(w->k, var), mlo_dim(0), extent}; }
Ix ix_const(Lower *w, int64_t v) { return (Ix){kx_const(w->k, v), mlo_dim(v), mlo_dim(v + 1)}; }
bool ix_within(Ix a, MloDim extent) { return mlo_dim_le(mlo_dim(0), a.lo) && mlo_dim_le(a.end, extent); }

Ix ix_add(Lower *w, Ix a, Ix b)
{
	return (Ix){kx_add(w->k, a.e, b.e), plus(w, a.lo, b.lo), plus(w, plus(w, a.end, b.end), mlo_dim(-1))};
}

Ix ix_move(Lower *w, Ix a, MloDim by)
{
	return (Ix){kx_add(w->k, a.e, kx_dim(w->k, by)), plus(w, a.lo, by), plus(w, a.end, by)};
}

Ix ix_addc(Lower *w, Ix a, int64_t c)
{
	return c ? ix_move(w, a, mlo_dim(c)) : a;
}

/* Open factors are not negative. */
Ix ix_mul(Lower *w, Ix a, MloDim c)
{
	MloDim one = mlo_dim(1), last = plus(w, a.end, mlo_dim(-1));
	Ix r = {kx_mul_dim(w->k, a.e, c), times(w, a.lo, c), plus(w, times(w, last, c), one)};
	if (mlo_dim_known(c) && c.k < 0)
		r = (Ix){r.e, times(w, last, c), plus(w, times(w, a.lo, c), one)};
	return r;
}

/* The range of a quotient is exact where c divides its ends, as it does for parts of a flat index. */
Ix ix_div(Lower *w, Ix a, MloDim c)
{
	MloDim lo = mlo_dim_div(w->k->syms, a.lo, c), end;
	if (ix_within(a, c))
		return ix_const(w, 0);
	if (!mlo_dim_exact(w->k->syms, a.end, c, &end))
		end = plus(w, mlo_dim_div(w->k->syms, plus(w, a.end, mlo_dim(-1)), c), mlo_dim(1));
	if (mlo_dim_known(lo) && mlo_dim_known(end) && end.k == lo.k + 1)
		return ix_const(w, lo.k);
	return (Ix){kx_div_dim(w->k, a.e, c), lo, end};
}

Ix ix_mod(Lower *w, Ix a, MloDim c)
{
	if (ix_within(a, c))
		return a;
	if (lw_is(c, 1))
		return ix_const(w, 0);
	if (mlo_dim_known(c) && mlo_dim_known(a.lo) && mlo_dim_known(a.end)) {
		int64_t q = mlo_dim_div(w->k->syms, a.lo, c).k;
		if (q == mlo_dim_div(w->k->syms, mlo_dim(a.end.k - 1), c).k) /* one period: a plain difference */
			return ix_addc(w, a, -q * c.k);
	}
	return (Ix){kx_mod_dim(w->k, a.e, c), mlo_dim(0), c};
}

Ix ix_mulc(Lower *w, Ix a, int64_t c) { return ix_mul(w, a, mlo_dim(c)); }
Ix ix_divc(Lower *w, Ix a, int64_t c) { return ix_div(w, a, mlo_dim(c)); }
Ix ix_modc(Lower *w, Ix a, int64_t c) { return ix_mod(w, a, mlo_dim(c)); }

int lw_number_of(Lower *w, MloElem t, MloDim d)
{
	if (!mlo_dim_known(d))
		return lw_number(w, t, kx_dim(w->k, d));
	return mlo_elem_is_float(t) ? lw_const(w, t, (double)d.k) : lw_const_i(w, t, d.k);
}
