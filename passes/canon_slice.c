/* passes/canon_slice.c -- rules of canon.def for concat, split, slice and gather. */
#include <string.h>

#include "passes/canon.h"

enum { MAX_PARTS = 4096 };

static int64_t front_axis(const MloNode *n, int slot)
{
	int64_t axis = mlo_attr_i(n, slot);

	return axis < 0 ? axis + n->out[0]->type.rank : axis;
}

/* A slice of step 1 of every axis in one form: [start, end) per axis of `t`, which is known. */
static MloValue *make_slice(MloGraph *g, MloNode *n, MloValue *x, const int64_t *start,
                            const int64_t *end, MloPassCx *cx)
{
	int64_t lo[MLO_MAX_RANK], hi[MLO_MAX_RANK], axes[MLO_MAX_RANK];
	int count = 0;
	MloValue *in[4] = {x};

	for (int i = 0; i < x->type.rank; i++) {
		if (start[i] == 0 && (end[i] < 0 || mlo_has_dim(&x->type, i, end[i])))
			continue;
		lo[count] = start[i];
		hi[count] = end[i];
		axes[count++] = i;
	}
	if (!count)
		return x;
	in[1] = mlo_graph_const_i64s(g, 1, lo, count);
	in[2] = mlo_graph_const_i64s(g, 1, hi, count);
	in[3] = mlo_graph_const_i64s(g, 1, axes, count);
	return mlo_rw_done(g, mlo_rw_node(g, n, OP_slice, n, in, 4), cx);
}

/* -- slice ----------------------------------------------------------------------------------- */

/* A slice with constant bounds and steps of 1: start and end per axis; end -1: the whole axis (its
 * size may be unknown).  False when it is anything else. */
static bool bounds_of(const MloNode *n, int64_t *start, int64_t *end)
{
	const MloType *t = &n->in[0]->type;
	int64_t lo[MLO_MAX_RANK], hi[MLO_MAX_RANK], axes[MLO_MAX_RANK], steps[MLO_MAX_RANK];
	int count = mlo_const_ints(n->in[1], lo, MLO_MAX_RANK), rank = t->rank;

	if (rank < 0 || count < 0 || mlo_const_ints(n->in[2], hi, MLO_MAX_RANK) != count)
		return false;
	for (int i = 0; i < count; i++)
		axes[i] = i;
	if (n->nin > 3 && n->in[3] && mlo_const_ints(n->in[3], axes, MLO_MAX_RANK) != count)
		return false;
	if (n->nin > 4 && n->in[4]) {
		if (mlo_const_ints(n->in[4], steps, MLO_MAX_RANK) != count)
			return false;
		for (int i = 0; i < count; i++)
			if (steps[i] != 1)
				return false;
	}
	for (int i = 0; i < rank; i++) {
		start[i] = 0;
		end[i] = -1;
	}
	for (int i = 0; i < count; i++) {
		int64_t a = axes[i] < 0 ? axes[i] + rank : axes[i], k;

		if (a < 0 || a >= rank || !mlo_dim_known(t->dim[a]))
			return false;
		k = t->dim[a].k;
		lo[i] = lo[i] < 0 ? lo[i] + k : lo[i];
		hi[i] = hi[i] < 0 ? hi[i] + k : hi[i];
		start[a] = lo[i] < 0 ? 0 : lo[i] > k ? k : lo[i];
		end[a] = hi[i] < 0 ? 0 : hi[i] > k ? k : hi[i];
		if (end[a] < start[a])
			end[a] = start[a];
	}
	return true;
}

static bool is_normal(const MloNode *n, const int64_t *start, const int64_t *end)
{
	int64_t lo[MLO_MAX_RANK], hi[MLO_MAX_RANK], axes[MLO_MAX_RANK];
	int count = mlo_const_ints(n->in[1], lo, MLO_MAX_RANK);

	if (n->nin != 4 || !n->in[3])
		return false;
	mlo_const_ints(n->in[2], hi, MLO_MAX_RANK);
	mlo_const_ints(n->in[3], axes, MLO_MAX_RANK);
	for (int i = 0; i < count; i++) {
		if (axes[i] < 0 || (i && axes[i] <= axes[i - 1]))
			return false;
		if (lo[i] != start[axes[i]] || hi[i] != end[axes[i]])
			return false;
		if (!lo[i] && mlo_has_dim(&n->in[0]->type, (int)axes[i], hi[i]))
			return false; /* the whole axis: not worth a mention */
	}
	return true;
}

bool canon_slice(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int64_t start[MLO_MAX_RANK], end[MLO_MAX_RANK];
	MloType to = n->out[0]->type;

	if (mlo_type_same(&n->in[0]->type, &to) && mlo_type_static(&to) && bounds_of(n, start, end))
		return mlo_rw_replace(g, n, n->in[0]);
	if (!bounds_of(n, start, end) || is_normal(n, start, end))
		return false;
	return mlo_rw_replace(g, n, make_slice(g, n, n->in[0], start, end, cx));
}

/* The only axis a normal slice cuts, or -1. */
static int only_axis(const MloType *t, const int64_t *start, const int64_t *end)
{
	int axis = -1;

	for (int i = 0; i < t->rank; i++) {
		if (!start[i] && (end[i] < 0 || mlo_has_dim(t, i, end[i])))
			continue;
		if (axis >= 0)
			return -1;
		axis = i;
	}
	return axis;
}

bool canon_slice_concat(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int64_t start[MLO_MAX_RANK], end[MLO_MAX_RANK], at = 0;
	const MloNode *cat = mlo_def_op(n->in[0], OP_concat);
	int axis;

	(void)cx;
	if (!cat || !bounds_of(n, start, end))
		return false;
	axis = only_axis(&n->in[0]->type, start, end);
	if (axis < 0 || axis != front_axis(cat, ATTR_concat_axis))
		return false;
	for (uint32_t i = 0; i < cat->nin && at <= start[axis]; i++) {
		MloDim d = cat->in[i]->type.dim[axis];

		if (!mlo_dim_known(d))
			return false;
		if (at == start[axis] && at + d.k == end[axis] && d.k)
			return mlo_rw_replace(g, n, cat->in[i]);
		at += d.k;
	}
	return false;
}

bool canon_slice_chain(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int64_t start[MLO_MAX_RANK], end[MLO_MAX_RANK], s0[MLO_MAX_RANK], e0[MLO_MAX_RANK];
	const MloNode *inner = mlo_def_op(n->in[0], OP_slice);

	if (!inner || !bounds_of(n, start, end) || !bounds_of(inner, s0, e0))
		return false;
	for (int i = 0; i < n->in[0]->type.rank; i++) {
		end[i] = end[i] < 0 ? e0[i] : s0[i] + end[i];
		start[i] += s0[i];
	}
	return mlo_rw_replace(g, n, make_slice(g, n, inner->in[0], start, end, cx));
}

/* -- split and gather ------------------------------------------------------------------------ */

bool canon_split(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0];
	int64_t start[MLO_MAX_RANK] = {0}, end[MLO_MAX_RANK], axis = mlo_attr_i(n, ATTR_split_axis), at = 0;

	if (x->type.rank < 0)
		return false;
	axis = axis < 0 ? axis + x->type.rank : axis;
	for (uint32_t i = 0; i < n->nout; i++)
		if (!n->out[i] || n->out[i]->type.rank < 0 || !mlo_dim_known(n->out[i]->type.dim[axis]))
			return false;
	for (uint32_t i = 0; i < n->nout; i++) {
		MloValue *old = n->out[i], *part;

		for (int d = 0; d < x->type.rank; d++)
			end[d] = -1;
		start[axis] = at;
		end[axis] = at += old->type.dim[axis].k;
		if (!old->nuse)
			continue;
		part = make_slice(g, n, x, start, end, cx);
		if (part == x) { /* split into one */
			part = mlo_rw_op(g, n, OP_identity, n, cx, x, NULL);
		}
		part->name = old->name;
		mlo_graph_replace(g, old, part);
	}
	mlo_rw_sweep(g, n);
	return true;
}

/* Constant indices first, first+1, ...: how many, 0 when they are something else. */
static int64_t index_run(const MloTensor *t, int64_t size, int64_t *first)
{
	int64_t count = mlo_tensor_elems(t);

	for (int64_t i = 0; i < count; i++) {
		int64_t k = mlo_tensor_i64(t, i);

		k = k < 0 ? k + size : k;
		if (k < 0 || k >= size)
			return 0;
		if (i == 0)
			*first = k;
		else if (k != *first + i)
			return 0;
	}
	return count;
}

bool canon_gather(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0], *y;
	MloType to = n->out[0]->type;
	int64_t start[MLO_MAX_RANK] = {0}, end[MLO_MAX_RANK], axis = mlo_attr_i(n, ATTR_gather_axis);
	int64_t spec[MLO_MAX_RANK], first = 0, count;
	bool allowzero;

	if (!n->in[1]->data || n->in[1]->type.rank > 1 || x->type.rank < 0)
		return false;
	axis = axis < 0 ? axis + x->type.rank : axis;
	if (!mlo_dim_known(x->type.dim[axis]))
		return false;
	count = index_run(n->in[1]->data, x->type.dim[axis].k, &first);
	if (!count)
		return false;
	for (int i = 0; i < x->type.rank; i++)
		end[i] = -1;
	start[axis] = first;
	end[axis] = first + count;
	/* Decide before anything is made. A scalar index also drops the axis. */
	if (n->in[1]->type.rank == 0 && !mlo_reshape_spec(&x->type, &to, spec, &allowzero))
		return false;
	y = make_slice(g, n, x, start, end, cx);
	y = mlo_rw_reshape(g, n, n, y, &to, cx);
	return y && mlo_rw_replace(g, n, y);
}

/* -- concat ---------------------------------------------------------------------------------- */

static bool rebuild_concat(MloGraph *g, MloNode *n, MloValue **in, uint32_t count, MloPassCx *cx)
{
	MloNode *c = mlo_rw_node(g, n, OP_concat, n, in, count);

	mlo_attr_set_i(c, ATTR_concat_axis, front_axis(n, ATTR_concat_axis));
	return mlo_rw_replace(g, n, mlo_rw_done(g, c, cx));
}

static const MloNode *same_concat(const MloValue *v, int64_t axis)
{
	const MloNode *c = mlo_def_op(v, OP_concat);

	return c && front_axis(c, ATTR_concat_axis) == axis ? c : NULL;
}

bool canon_concat(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int64_t axis = front_axis(n, ATTR_concat_axis);
	struct { MloValue **items; size_t n, cap; } in = {0};
	bool changed = false;

	if (n->nin == 1)
		return mlo_rw_replace(g, n, n->in[0]);
	if (n->out[0]->type.rank < 0)
		return false;
	for (uint32_t i = 0; i < n->nin; i++) {
		const MloNode *inner = n->in[i]->nuse == 1 ? same_concat(n->in[i], axis) : NULL;

		if (n->in[i]->type.rank > 0 && mlo_has_dim(&n->in[i]->type, (int)axis, 0)) {
			changed = true;
			continue;
		}
		for (uint32_t j = 0; inner && j < inner->nin; j++)
			MLO_PUSH(cx->arena, &in, inner->in[j]);
		if (!inner)
			MLO_PUSH(cx->arena, &in, n->in[i]);
		changed |= inner != NULL;
	}
	return changed && in.n && rebuild_concat(g, n, in.items, (uint32_t)in.n, cx);
}

/* The operands with nested concats of the same axis opened; the number of them, 0 if too many. */
static uint32_t flatten_concat(const MloNode *n, int64_t axis, MloValue **out, uint32_t max)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < n->nin; i++) {
		const MloNode *inner = same_concat(n->in[i], axis);
		uint32_t k;

		if (count >= max)
			return 0;
		if (!inner) {
			out[count++] = n->in[i];
			continue;
		}
		k = flatten_concat(inner, axis, out + count, max - count);
		if (!k)
			return 0;
		count += k;
	}
	return count;
}

/* DenseNet makes every layer's input as concat(x0, ..., xk).  Sharing the prefix makes each a
 * concat of two, which the memory plan can place without copying the first. */
bool canon_concat_prefix(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int64_t axis = front_axis(n, ATTR_concat_axis);
	MloValue **mine, **theirs;
	const MloNode *best = NULL;
	uint32_t best_n = 0;

	if (n->nin < 3 || n->nin > MAX_PARTS || n->out[0]->type.rank < 0)
		return false;
	mine = n->in;
	theirs = MLO_NEWN(cx->arena, MloValue *, n->nin);
	/* Prefixes are made shortly before: stop where the first operand is made. */
	for (const MloNode *c = n->prev; c && c != mine[0]->def; c = c->prev) {
		uint32_t k;

		if (c->op != OP_concat || front_axis(c, ATTR_concat_axis) != axis || !mlo_node_used(c))
			continue;
		k = flatten_concat(c, axis, theirs, n->nin);
		if (k <= best_n || k < 2 || k >= n->nin || memcmp(mine, theirs, k * sizeof *mine))
			continue;
		best = c;
		best_n = k;
	}
	if (!best)
		return false;
	theirs[0] = best->out[0];
	memcpy(theirs + 1, mine + best_n, (n->nin - best_n) * sizeof *mine);
	return rebuild_concat(g, n, theirs, n->nin - best_n + 1, cx);
}
