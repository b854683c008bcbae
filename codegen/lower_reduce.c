/* codegen/lower_reduce.c -- reductions over axes, and the place of an extremum. */
#include <math.h>

#include "codegen/lower_loops.h"

/* What an operator does: fold with acc from init, each element through before, the result through
 * after.  Extremum searches fold twice: the extremum, then the place of its first occurrence. */
typedef struct ReduceRow {
	KOp acc;
	bool square, mean, root, place;
	int init; /* 0, 1, or -1: lowest value, 2: highest value */
} ReduceRow;

enum { LOWEST = -1, HIGHEST = 2 };
static const ReduceRow rows[OP_COUNT] = {
	[OP_reduce_sum] = {K_add, 0, 0, 0, 0, 0},
	[OP_reduce_mean] = {K_add, 0, 1, 0, 0, 0},
	[OP_reduce_max] = {K_max, 0, 0, 0, 0, LOWEST},
	[OP_reduce_min] = {K_min, 0, 0, 0, 0, HIGHEST},
	[OP_reduce_prod] = {K_mul, 0, 0, 0, 0, 1},
	[OP_reduce_l2] = {K_add, 1, 0, 1, 0, 0},
	[OP_arg_max] = {K_max, 0, 0, 0, 1, LOWEST},
	[OP_arg_min] = {K_min, 0, 0, 0, 1, HIGHEST},
};

/* Which input axes are reduced. False: not known at compile time. */
static bool reduced_axes(const MloNode *n, bool *red)
{
	int rank = n->in[0]->type.rank, na = 0;
	int64_t axes[MLO_MAX_RANK];
	for (int d = 0; d < rank; d++)
		red[d] = false;
	if (rows[n->op].place) {
		int slot = n->op == OP_arg_max ? ATTR_arg_max_axis : ATTR_arg_min_axis;
		red[lw_axis(mlo_attr_i(n, slot), rank)] = true;
		return true;
	}
	if (!lw_const_i64s(n->nin > 1 ? n->in[1] : NULL, axes, &na, MLO_MAX_RANK))
		return false;
	if (!na && mlo_attr_i(n, mlo_attr_slot(n->op, "noop_with_empty_axes", 20)))
		return true;
	for (int d = 0; !na && d < rank; d++)
		red[d] = true;
	for (int i = 0; i < na; i++)
		red[lw_axis(axes[i], rank)] = true;
	return true;
}

bool lw_can_reduce(const MloNode *n)
{
	bool red[MLO_MAX_RANK];
	MloElem e = n->in[0]->type.elem;
	const ReduceRow *r = &rows[n->op];
	if (e == EL_bool || !reduced_axes(n, red))
		return false;
	if (r->root)
		return mlo_elem_is_float(e);
	if ((e == EL_u8 || e == EL_i8) && !r->place && r->acc != K_max && r->acc != K_min)
		return false;
	return true;
}

int lw_reduce_dims(const MloNode *n, LwDim *dim)
{
	bool red[MLO_MAX_RANK];
	int count = 0;
	bool ok = reduced_axes(n, red);
	MLO_ASSERT(ok);
	for (int d = 0; d < n->in[0]->type.rank; d++)
		if (red[d])
			dim[count++] = (LwDim){.extent = lw_size(n->in[0], d), .scale = 1, .axis = d, .var = -1};
	return count;
}

/* Index of the operand: kept axes from the result's index, reduced ones from the open loops. */
static void operand_index(Lower *w, const MloNode *n, const Ix *ix, Ix *in)
{
	bool red[MLO_MAX_RANK];
	int rank = n->in[0]->type.rank, r = 0;
	bool keep = n->out[0]->type.rank == rank;
	reduced_axes(n, red);
	for (int d = 0; d < rank; d++) {
		in[d] = red[d] ? ix_const(w, 0) : ix[r];
		if (keep || !red[d])
			r++;
	}
	const LwNest *s = w->nest;
	for (int i = s->nout; i < s->ndim; i++)
		in[s->dim[i].axis] = s->dim[i].ix;
}

static int extreme(Lower *w, MloElem e, bool low)
{
	unsigned bits = mlo_elem_bits(e);
	if (mlo_elem_is_float(e))
		return lw_const(w, e, low ? -INFINITY : INFINITY);
	if (mlo_elem_class(e) == EC_UINT)
		return lw_const_i(w, e, low ? 0 : (1LL << bits) - 1);
	int64_t most = (int64_t)(((uint64_t)1 << (bits - 1)) - 1);
	return lw_const_i(w, e, low ? -most - 1 : most);
}

static int init_value(Lower *w, MloElem e, int init)
{
	if (init == LOWEST || init == HIGHEST)
		return extreme(w, e, init == LOWEST);
	return lw_const(w, e, init);
}

static int finish(Lower *w, const MloNode *n, const ReduceRow *r, int v)
{
	MloElem e = n->in[0]->type.elem;
	MloDim count = mlo_dim(1);
	for (int i = w->nest->nout; i < w->nest->ndim; i++) /* dimensions of 1 are not in the list */
		count = mlo_dim_mul(w->k->syms, count, w->nest->dim[i].extent);
	if (r->mean)
		v = lw_op(w, K_div, e, v, lw_number_of(w, e, count), -1);
	if (r->root)
		v = lw_op(w, K_sqrt, e, v, -1, -1);
	return v;
}

/* Second fold of arg_max, arg_min: the first (or last) place that holds the extremum, or NaN. */
static int place_of(Lower *w, const MloNode *n, const Ix *ix, int best)
{
	MloElem e = n->in[0]->type.elem;
	int slot = n->op == OP_arg_max ? ATTR_arg_max_select_last_index : ATTR_arg_min_select_last_index;
	bool last = mlo_attr_i(n, slot);
	int along = n->op == OP_arg_max ? ATTR_arg_max_axis : ATTR_arg_min_axis;
	int axis = lw_axis(mlo_attr_i(n, along), n->in[0]->type.rank);
	MloDim end = mlo_dim_sub(w->k->syms, lw_size(n->in[0], axis), mlo_dim(1));
	Ix in[MLO_MAX_RANK];
	int none = lw_number_of(w, EL_i64, last ? mlo_dim(0) : end);
	int acc = lw_acc_init(w, none);
	lw_red_open(w);
	operand_index(w, n, ix, in);
	int x = lw_expr(w, n->in[0], in);
	int hit = lw_op(w, K_eq, EL_bool, x, best, -1);
	if (mlo_elem_is_float(e)) {
		int number = lw_op(w, K_eq, EL_bool, x, x, -1);
		hit = lw_op(w, K_or, EL_bool, hit, lw_op(w, K_not, EL_bool, number, -1, -1), -1);
	}
	int at = lw_number(w, EL_i64, in[axis].e);
	lw_acc(w, acc, last ? K_max : K_min, lw_op(w, K_select, EL_i64, hit, at, none));
	lw_red_close(w);
	return lw_accum(w, acc, EL_i64);
}

int lw_reduce(Lower *w, const MloNode *n, const Ix *ix)
{
	const ReduceRow *r = &rows[n->op];
	MloElem e = n->in[0]->type.elem;
	Ix in[MLO_MAX_RANK];
	MLO_ASSERT(n == w->anchor);
	int acc = lw_acc_init(w, init_value(w, e, r->init));
	lw_red_open(w);
	operand_index(w, n, ix, in);
	int x = lw_expr(w, n->in[0], in);
	if (r->square)
		x = lw_op(w, K_mul, e, x, x, -1);
	lw_acc(w, acc, r->acc, x);
	lw_red_close(w);
	int v = lw_accum(w, acc, e);
	return r->place ? place_of(w, n, ix, v) : finish(w, n, r, v);
}
