/* passes/canon_shape.c -- rules of canon.def for reshapes, transposes and repetition. */
#include <string.h>

#include "passes/canon.h"

/* -- reshape and its special cases ----------------------------------------------------------- */

bool canon_to_reshape(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloType to = n->out[0]->type;
	MloValue *y = mlo_rw_reshape(g, n, n, n->in[0], &to, cx);

	return y && mlo_rw_replace(g, n, y);
}

/* Whether the shape operand already is what mlo_rw_reshape() would make. */
static bool has_spec(const MloNode *n, const int64_t *spec, int rank, bool allowzero)
{
	int64_t now[MLO_MAX_RANK];

	return mlo_const_ints(n->in[1], now, MLO_MAX_RANK) == rank &&
	       !memcmp(now, spec, sizeof *spec * (size_t)rank) &&
	       (mlo_attr_i(n, ATTR_reshape_allowzero) != 0) == allowzero;
}

bool canon_reshape(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	const MloNode *inner = mlo_def_op(n->in[0], OP_reshape);
	MloValue *x = inner ? inner->in[0] : n->in[0], *y;
	MloType to = n->out[0]->type;
	int64_t spec[MLO_MAX_RANK];
	bool allowzero;

	if (mlo_type_same(&x->type, &to))
		return mlo_rw_replace(g, n, x);
	if (!mlo_reshape_spec(&x->type, &to, spec, &allowzero))
		return false;
	if (!inner && has_spec(n, spec, to.rank, allowzero))
		return false;
	y = mlo_rw_reshape(g, n, n, x, &to, cx);
	return y && mlo_rw_replace(g, n, y);
}

/* -- transpose ------------------------------------------------------------------------------- */

static void perm_of(const MloNode *n, int64_t *perm)
{
	int count, rank = n->in[0]->type.rank;
	const int64_t *p = mlo_attr_ints(n, ATTR_transpose_perm, &count);

	for (int i = 0; i < rank; i++)
		perm[i] = count ? p[i] : rank - 1 - i;
}

/* Whether only dimensions of 1 move past others: then the order in memory stays. */
static bool is_formal(const MloType *t, const int64_t *perm)
{
	int64_t last = -1;

	for (int i = 0; i < t->rank; i++) {
		if (mlo_has_dim(t, (int)perm[i], 1))
			continue;
		if (perm[i] < last)
			return false;
		last = perm[i];
	}
	return true;
}

/* Dimensions other than 1, in their order. */
static int solid_dims(const MloType *t, int *dim)
{
	int n = 0;

	for (int i = 0; i < t->rank; i++)
		if (!mlo_has_dim(t, i, 1))
			dim[n++] = i;
	return n;
}

/* Behind a transpose and a reshape that only adds or drops dimensions of 1: directly behind the transpose, with
 * the reshape last. */
static bool before_reshape(MloGraph *g, MloNode *n, const int64_t *perm, MloPassCx *cx)
{
	const MloNode *r = mlo_def_only(n->in[0], OP_reshape);
	int from[MLO_MAX_RANK], to[MLO_MAX_RANK], at = 0, solid;
	int64_t moved[MLO_MAX_RANK];
	MloValue *x = r ? r->in[0] : NULL, *y;
	MloNode *t;

	if (!mlo_def_only(x, OP_transpose) || !mlo_type_static(&x->type) || !mlo_type_static(&n->in[0]->type))
		return false;
	solid = solid_dims(&x->type, from);
	if (solid != solid_dims(&n->in[0]->type, to))
		return false;
	for (int k = 0; k < solid; k++)
		if (x->type.dim[from[k]].k != n->in[0]->type.dim[to[k]].k)
			return false;
	for (int i = 0; i < x->type.rank; i++)
		if (mlo_has_dim(&x->type, i, 1))
			moved[at++] = i;
	for (int i = 0; i < n->in[0]->type.rank; i++)
		for (int k = 0; k < solid; k++)
			if (to[k] == perm[i])
				moved[at++] = from[k];
	t = mlo_rw_node(g, n, OP_transpose, n, &x, 1);
	mlo_attr_set_ints(g, t, ATTR_transpose_perm, moved, x->type.rank);
	y = mlo_rw_reshape(g, n, n, mlo_rw_done(g, t, cx), &n->out[0]->type, cx);
	return y && mlo_rw_replace(g, n, y);
}

bool canon_transpose(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	const MloNode *inner = mlo_def_op(n->in[0], OP_transpose);
	MloValue *x = n->in[0], *y;
	MloType to = n->out[0]->type;
	int64_t perm[MLO_MAX_RANK], first[MLO_MAX_RANK];
	MloNode *t;
	int count;

	if (x->type.rank < 0)
		return false;
	perm_of(n, perm);
	if (is_formal(&x->type, perm)) {
		y = mlo_rw_reshape(g, n, n, x, &to, cx);
		return y && mlo_rw_replace(g, n, y);
	}
	if (before_reshape(g, n, perm, cx))
		return true;
	mlo_attr_ints(n, ATTR_transpose_perm, &count);
	if (!inner && count)
		return false;
	if (inner) {
		perm_of(inner, first);
		for (int i = 0; i < x->type.rank; i++)
			perm[i] = first[perm[i]];
		x = inner->in[0];
	}
	t = mlo_rw_node(g, n, OP_transpose, n, &x, 1);
	mlo_attr_set_ints(g, t, ATTR_transpose_perm, perm, x->type.rank);
	return mlo_rw_replace(g, n, mlo_rw_done(g, t, cx));
}

/* -- repetition and resampling by nothing ---------------------------------------------------- */

bool canon_expand(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	(void)cx;
	return mlo_type_same(&n->in[0]->type, &n->out[0]->type) && mlo_rw_replace(g, n, n->in[0]);
}

bool canon_tile(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	(void)cx;
	return mlo_const_all(n->in[1], 1) && mlo_rw_replace(g, n, n->in[0]);
}

/* Operands that say nothing: a region where none is cropped (often written as an empty tensor),
 * and empty scales. */
static bool drop_unread(MloGraph *g, MloNode *n, bool crops)
{
	bool changed = false;

	for (uint32_t i = 1; i < n->nin && i < 3; i++) {
		MloValue *v = n->in[i];

		if (!v || (i == 1 ? crops : !v->data || mlo_tensor_elems(v->data) > 0))
			continue;
		mlo_node_set_in(g, n, i, NULL);
		changed = true;
	}
	return changed;
}

bool canon_resize(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	const MloValue *scales = n->nin > 2 ? n->in[2] : NULL;
	const char *mode = mlo_attr_s(n, ATTR_resize_coordinate_transformation_mode);
	bool crops = !strcmp(mode, "tf_crop_and_resize");

	(void)cx;
	if (drop_unread(g, n, crops))
		return true;
	/* Without scales the sizes are given: equal sizes scale by 1. */
	if (!mlo_type_same(&n->in[0]->type, &n->out[0]->type) || crops)
		return false;
	if (scales && scales->data && mlo_tensor_elems(scales->data) && !mlo_const_all(scales, 1))
		return false;
	if (scales && !scales->data)
		return false;
	return mlo_rw_replace(g, n, n->in[0]);
}

/* -- axes ------------------------------------------------------------------------------------ */

bool canon_axis(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int slot = mlo_attr_slot(n->op, "axis", 4), rank = n->in[0]->type.rank;
	int64_t axis = mlo_attr_i(n, slot);

	(void)g, (void)cx;
	if (axis >= 0 || rank < 0 || axis + rank < 0)
		return false;
	mlo_attr_set_i(n, slot, axis + rank);
	return true;
}

/* -- pad ------------------------------------------------------------------------------------- */

/* Pads of all axes, begins then ends; false when they are not constant. */
static bool full_pads(const MloNode *n, int64_t *pads)
{
	int rank = n->in[0]->type.rank, count = rank, given;
	int64_t axes[MLO_MAX_RANK], p[2 * MLO_MAX_RANK];

	if (rank < 0)
		return false;
	for (int i = 0; i < rank; i++)
		axes[i] = i;
	if (n->nin > 3 && n->in[3])
		count = mlo_const_ints(n->in[3], axes, MLO_MAX_RANK);
	given = mlo_const_ints(n->in[1], p, 2 * MLO_MAX_RANK);
	if (count < 0 || given != 2 * count)
		return false;
	memset(pads, 0, sizeof *pads * 2 * (size_t)rank);
	for (int i = 0; i < count; i++) {
		int64_t a = axes[i] < 0 ? axes[i] + rank : axes[i];

		if (a < 0 || a >= rank)
			return false;
		pads[a] = p[i];
		pads[rank + a] = p[count + i];
	}
	return true;
}

bool canon_pad(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int rank = n->in[0]->type.rank;
	int64_t pads[2 * MLO_MAX_RANK];
	bool none = true;
	MloNode *p;

	if (!full_pads(n, pads))
		return false;
	for (int i = 0; i < 2 * rank; i++)
		none &= !pads[i];
	if (none)
		return mlo_rw_replace(g, n, n->in[0]);
	if (n->nin < 4 || !n->in[3])
		return false;
	p = mlo_rw_node(g, n, OP_pad, n,
	                (MloValue *[]){n->in[0], mlo_graph_const_i64s(g, 1, pads, 2 * rank), n->in[2]},
	                n->in[2] ? 3 : 2);
	mlo_attr_set_s(g, p, ATTR_pad_mode, mlo_attr_s(n, ATTR_pad_mode));
	return mlo_rw_replace(g, n, mlo_rw_done(g, p, cx));
}
