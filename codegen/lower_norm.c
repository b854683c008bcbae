/* codegen/lower_norm.c -- row-wise normalisation: softmax, log_softmax, layer_norm, rms_norm.
 *
 * One kernel, several passes over each row while it is in the first-level cache; per-thread
 * scratch holds a row of intermediate values.  Rows along the last axis are vectorised along the
 * row; other rows are vectorised across the innermost axis, a vector of rows at a time. */
#include <math.h>

#include "codegen/lower_loops.h"

typedef struct Rows {
	const MloNode *n;
	MloElem t;
	int rank, from, to;     /* the row: axes [from, to) */
	MloDim length;          /* elements of a row */
	int64_t width;          /* rows side by side in one vec loop (1: vec along the row) */
	Ix ix[MLO_MAX_RANK];    /* index of the current element */
	Ix lane, at;            /* place among the rows side by side; in the row */
	int scratch;            /* argument, [length][width]; or the result, at the current element (in_place) */
	bool in_place;
	const MloValue *early[LW_STORES], *late[LW_STORES]; /* results before and after the normalisation */
	int nearly, nlate;
} Rows;

typedef struct NormRow {
	void (*fn)(Lower *w, Rows *r);
	int axis; /* attribute slot */
	bool tail; /* the row reaches to the last axis */
} NormRow;

static void row_softmax(Lower *w, Rows *r);
static void row_log_softmax(Lower *w, Rows *r);
static void row_layer_norm(Lower *w, Rows *r);
static void row_rms_norm(Lower *w, Rows *r);

static const NormRow rows[OP_COUNT] = {
	[OP_softmax] = {row_softmax, ATTR_softmax_axis, false},
	[OP_log_softmax] = {row_log_softmax, ATTR_log_softmax_axis, false},
	[OP_layer_norm] = {row_layer_norm, ATTR_layer_norm_axis, true},
	[OP_rms_norm] = {row_rms_norm, ATTR_rms_norm_axis, true},
};

enum { SIDE_BY_SIDE = 64 };

bool lw_can_rowwise(const MloNode *n)
{
	const MloValue *x = n->in[0];
	for (uint32_t i = 1; i < n->nout; i++)
		if (n->out[i] && n->out[i]->nuse)
			return false;
	return rows[n->op].fn && mlo_elem_is_float(x->type.elem) && x->type.elem == n->out[0]->type.elem &&
	       x->type.rank > 0 && !x->layout.block && !n->out[0]->layout.block;
}

/* -- one pass over the row ---------------------------------------------------------------- */

static void row_open(Lower *w, Rows *r)
{
	int var = lw_open(w, r->width == 1 ? KL_VEC : KL_SEQ, kx_dim(w->k, r->length));
	Ix v = ix_var(w, var, r->length);
	r->at = v;
	for (int d = r->to - 1; d >= r->from; d--) {
		MloDim k = lw_size(r->n->out[0], d);
		r->ix[d] = d == r->from ? v : ix_mod(w, v, k);
		v = ix_div(w, v, k);
	}
}

static void row_close(Lower *w) { lw_close(w); }

static const KIdx *scratch_at(Lower *w, const Rows *r)
{
	return ix_add(w, ix_mulc(w, r->at, r->width), r->lane).e;
}

/* Rows longer than that are kept where the result will be. */
enum { LONGEST_KEPT = 1 << 16 };

static int64_t longest(const Rows *r)
{
	int64_t lo, hi;
	mlo_dim_range(r->length, &lo, &hi);
	return hi;
}

static void keep(Lower *w, Rows *r, int v)
{
	if (r->in_place) {
		lw_store(w, r->late[0], r->ix, v);
		return;
	}
	if (r->scratch < 0)
		r->scratch = lw_scratch(w, r->t, longest(r) * r->width);
	lw_store_arg(w, r->scratch, scratch_at(w, r), v);
}

static int kept(Lower *w, const Rows *r)
{
	if (r->in_place)
		return lw_reload(w, r->late[0], r->ix);
	return lw_load_arg(w, r->scratch, scratch_at(w, r), NULL, 0);
}

/* The first pass computes the operand, later passes read what it kept, or load again. */
static int first_operand(Lower *w, Rows *r)
{
	const MloValue *x = r->n->in[0];
	int v = lw_expr(w, x, r->ix);
	if (lw_inside(w, x))
		keep(w, r, v);
	for (int i = 0; i < r->nearly; i++)
		lw_store(w, r->early[i], r->ix, lw_expr(w, r->early[i], r->ix));
	return v;
}

static int operand(Lower *w, Rows *r)
{
	return lw_inside(w, r->n->in[0]) ? kept(w, r) : lw_expr(w, r->n->in[0], r->ix);
}

static void result(Lower *w, Rows *r, int v)
{
	lw_remember(w, r->n->out[0], r->ix, v);
	for (int i = 0; i < r->nlate; i++)
		lw_store(w, r->late[i], r->ix, lw_expr(w, r->late[i], r->ix));
}

/* -- the operators ------------------------------------------------------------------------ */

static int row_max(Lower *w, Rows *r)
{
	int acc = lw_acc_init(w, lw_const(w, r->t, -INFINITY));
	row_open(w, r);
	lw_acc(w, acc, K_max, first_operand(w, r));
	row_close(w);
	return lw_accum(w, acc, r->t);
}

static int shifted(Lower *w, Rows *r, int max)
{
	return lw_op(w, K_sub, r->t, operand(w, r), max, -1);
}

/* exp(d), d <= 0, with 0 instead of denormal results: those take a hundred cycles each, and masked
 * rows are full of them. */
static int exp_down(Lower *w, MloElem t, int d)
{
	return lw_op(w, K_decay, t, d, -1, -1);
}

static void row_softmax(Lower *w, Rows *r)
{
	int max = row_max(w, r);
	int acc = lw_acc_init(w, lw_const(w, r->t, 0));
	row_open(w, r);
	int e = exp_down(w, r->t, shifted(w, r, max));
	keep(w, r, e);
	lw_acc(w, acc, K_add, e);
	row_close(w);
	int scale = lw_op(w, K_div, r->t, lw_const(w, r->t, 1), lw_accum(w, acc, r->t), -1);
	row_open(w, r);
	result(w, r, lw_op(w, K_mul, r->t, kept(w, r), scale, -1));
	row_close(w);
}

static void row_log_softmax(Lower *w, Rows *r)
{
	int max = row_max(w, r);
	int acc = lw_acc_init(w, lw_const(w, r->t, 0));
	row_open(w, r);
	lw_acc(w, acc, K_add, exp_down(w, r->t, shifted(w, r, max)));
	row_close(w);
	int log_sum = lw_op(w, K_log, r->t, lw_accum(w, acc, r->t), -1, -1);
	row_open(w, r);
	result(w, r, lw_op(w, K_sub, r->t, shifted(w, r, max), log_sum, -1));
	row_close(w);
}

static int mean_of(Lower *w, const Rows *r, int acc)
{
	int sum = lw_accum(w, acc, r->t);
	if (!mlo_dim_known(r->length))
		return lw_op(w, K_div, r->t, sum, lw_number_of(w, r->t, r->length), -1);
	return lw_op(w, K_mul, r->t, sum, lw_const(w, r->t, 1.0 / (double)r->length.k), -1);
}

/* Scale or bias at the current element: its axes are the last ones. */
static int parameter(Lower *w, const Rows *r, const MloValue *v)
{
	Ix ix[MLO_MAX_RANK];
	for (int d = 0; d < v->type.rank; d++)
		ix[d] = lw_is(lw_size(v, d), 1) ? ix_const(w, 0) : r->ix[d + r->rank - v->type.rank];
	return lw_expr(w, v, ix);
}

/* 1 / sqrt(mean + epsilon), mean: of what acc holds */
static int inverse_root(Lower *w, const Rows *r, int acc, double epsilon)
{
	int sum = lw_op(w, K_add, r->t, mean_of(w, r, acc), lw_const(w, r->t, epsilon), -1);
	return lw_op(w, K_div, r->t, lw_const(w, r->t, 1), lw_op(w, K_sqrt, r->t, sum, -1, -1), -1);
}

static void row_rms_norm(Lower *w, Rows *r)
{
	const MloNode *n = r->n;
	int acc = lw_acc_init(w, lw_const(w, r->t, 0));
	row_open(w, r);
	int x = first_operand(w, r);
	lw_acc(w, acc, K_add, lw_op(w, K_mul, r->t, x, x, -1));
	row_close(w);
	int inv = inverse_root(w, r, acc, mlo_attr_f(n, ATTR_rms_norm_epsilon));
	row_open(w, r);
	int y = lw_op(w, K_mul, r->t, operand(w, r), inv, -1);
	result(w, r, lw_op(w, K_mul, r->t, y, parameter(w, r, n->in[1]), -1));
	row_close(w);
}

static void row_layer_norm(Lower *w, Rows *r)
{
	const MloNode *n = r->n;
	int acc = lw_acc_init(w, lw_const(w, r->t, 0));
	row_open(w, r);
	lw_acc(w, acc, K_add, first_operand(w, r));
	row_close(w);
	int mean = mean_of(w, r, acc);
	acc = lw_acc_init(w, lw_const(w, r->t, 0));
	row_open(w, r);
	int dev = shifted(w, r, mean);
	lw_acc(w, acc, K_add, lw_op(w, K_mul, r->t, dev, dev, -1));
	row_close(w);
	int inv = inverse_root(w, r, acc, mlo_attr_f(n, ATTR_layer_norm_epsilon));
	row_open(w, r);
	int y = lw_op(w, K_mul, r->t, shifted(w, r, mean), inv, -1);
	y = lw_op(w, K_mul, r->t, y, parameter(w, r, n->in[1]), -1);
	if (n->nin > 2 && n->in[2])
		y = lw_op(w, K_add, r->t, y, parameter(w, r, n->in[2]), -1);
	result(w, r, y);
	row_close(w);
}

/* -- the group ---------------------------------------------------------------------------- */

/* Sorts the group's results; false: one of them is not of the row-wise operator's shape. */
static bool sort_results(Lower *w, Rows *r)
{
	const MloValue *main = r->n->out[0];
	for (MloNode *n = w->first;; n = n->next) {
		const MloValue *v = n->out[0];
		if (v && (v->nuse || n == w->last) && !mlo_group_internal(w->cx->graph, w->first, w->last, v)) {
			bool late = lw_depends(w, v, w->anchor);
			if (v->layout.block || v->type.rank != r->rank || r->nearly + r->nlate == LW_STORES)
				return false;
			for (int d = 0; d < r->rank; d++)
				if (!mlo_dim_same(lw_size(v, d), lw_size(main, d)))
					return false;
			*(late ? &r->late[r->nlate++] : &r->early[r->nearly++]) = v;
		}
		for (uint32_t i = 1; n != r->n && i < n->nout; i++)
			if (n->out[i] && n->out[i]->nuse)
				return false;
		/* After the normalisation only maps of the same shape: rows are finished one by one. */
		bool after = n != w->anchor && v && lw_depends(w, v, w->anchor);
		if (after && (mlo_op_info(n->op)->kind != OK_ELTWISE ||
		              !mlo_type_as_many(w->k->syms, &v->type, &main->type)))
			return false;
		if (n == w->last)
			return r->nlate > 0;
	}
}

static void open_outer(Lower *w, Rows *r)
{
	const MloValue *v = r->n->out[0];
	int last = r->rank - 1;
	for (int d = 0; d < r->rank; d++) {
		MloDim k = lw_size(v, d);
		if ((d >= r->from && d < r->to) || (r->width > 1 && d == last))
			continue;
		int var = lw_open(w, KL_PAR, kx_dim(w->k, k));
		r->ix[d] = ix_var(w, var, k);
	}
	r->lane = ix_const(w, 0);
	if (r->width == 1)
		return;
	MloDim k = lw_size(v, last), parts = mlo_dim_add(w->k->syms, k, mlo_dim(r->width - 1));
	int part = lw_open(w, KL_PAR, kx_dim(w->k, mlo_dim_div(w->k->syms, parts, mlo_dim(r->width))));
	const KIdx *base = kx_mul(w->k, kx_var(w->k, part), r->width), *len = kx_const(w->k, r->width);
	if (!mlo_dim_known(k) || k.k % r->width)
		len = kx_min(w->k, len, kx_add(w->k, kx_dim(w->k, k), kx_mul(w->k, base, -1)));
	int var = lw_open(w, KL_VEC, len);
	r->lane = ix_var(w, var, mlo_dim(r->width));
	r->ix[last] = (Ix){kx_add(w->k, base, r->lane.e), mlo_dim(0), k};
}

MloStatus lw_rowwise(Lower *w)
{
	const MloNode *n = w->anchor;
	const NormRow *row = &rows[n->op];
	Rows r = {.n = n, .t = n->out[0]->type.elem, .rank = n->out[0]->type.rank, .scratch = -1, .width = 1};
	r.from = lw_axis(mlo_attr_i(n, row->axis), r.rank);
	r.to = row->tail ? r.rank : r.from + 1;
	r.length = mlo_dim(1);
	for (int d = r.from; d < r.to; d++)
		r.length = mlo_dim_mul(w->k->syms, r.length, lw_size(n->out[0], d));
	MloDim inner = lw_size(n->out[0], r.rank - 1);
	if (r.to < r.rank && !lw_is(inner, 1))
		r.width = mlo_dim_known(inner) && inner.k < SIDE_BY_SIDE ? inner.k : SIDE_BY_SIDE;
	if (!sort_results(w, &r))
		return MLO_ERR_UNSUPPORTED;
	r.in_place = !mlo_dim_known(r.length) && longest(&r) * r.width > LONGEST_KEPT;
	if (r.in_place && r.late[0]->type.elem != r.t)
		return MLO_ERR_UNSUPPORTED;
	open_outer(w, &r);
	row->fn(w, &r);
	while (w->top > 0)
		lw_close(w);
	return MLO_OK;
}
