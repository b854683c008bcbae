/* prune/remove.c -- channels that are not kept leave the graph. */
#include <string.h>

#include "prune/groups.h"

/* -- constants --------------------------------------------------------------------------------------------- */

/* Operand `slot` without what keep[n] leaves out along an axis. */
static void cut(MloGraph *g, MloNode *n, uint32_t slot, int axis, const uint8_t *keep, int64_t count)
{
	const MloTensor *t = n->in[slot]->data;
	int64_t dim[MLO_MAX_RANK], inner = 1, left = 0, at = 0;
	MloTensor *r;

	MLO_ASSERT(t->dim[axis] == count);
	for (int64_t i = 0; i < count; i++)
		left += keep[i];
	if (left == count)
		return;
	memcpy(dim, t->dim, sizeof dim);
	dim[axis] = left;
	for (int i = axis + 1; i < t->rank; i++)
		inner *= t->dim[i];
	r = mlo_tensor_new(g->arena, t->elem, t->rank, dim);
	for (int64_t e = 0, all = mlo_tensor_elems(t); e < all; e++)
		if (keep[e / inner % count])
			mlo_tensor_set_f64(r, at++, mlo_tensor_f64(t, e));
	mlo_node_set_in(g, n, slot, mlo_graph_const(g, r, n->in[slot]->name));
}

static void cut_vectors(MloGraph *g, MloNode *n, uint32_t from, const uint8_t *keep, int64_t count)
{
	for (uint32_t i = from; i < n->nin; i++)
		if (n->in[i])
			cut(g, n, i, 0, keep, count);
}

/* -- operators --------------------------------------------------------------------------------------------- */

static void cut_contraction(MloGroups *s, MloNode *n)
{
	const bool conv = n->op == OP_conv;
	int64_t in, out, left = 0;
	const uint8_t *of = mlo_groups_keep(s, n->in[0], &in), *to = mlo_groups_keep(s, n->out[0], &out);

	if (conv && mlo_conv_by_channel(n)) {
		cut(s->g, n, 1, 0, to, out);
		cut_vectors(s->g, n, 2, to, out);
		for (int64_t i = 0; i < out; i++)
			left += to[i];
		mlo_attr_set_i(n, ATTR_conv_group, left);
		return;
	}
	if (in && (!conv || mlo_attr_i(n, ATTR_conv_group) == 1) && n->in[1]->data)
		cut(s->g, n, 1, conv ? 1 : 0, of, in);
	if (out && n->in[1]->data) {
		cut(s->g, n, 1, conv ? 0 : 1, to, out);
		if (conv)
			cut_vectors(s->g, n, 2, to, out);
	}
}

/* Constants with an element per channel. */
static void cut_eltwise(MloGroups *s, MloNode *n)
{
	const MloChannels *c = &s->of[n->out[0]->id];
	int64_t count;
	const uint8_t *keep = mlo_groups_keep(s, n->out[0], &count);

	for (uint32_t i = 0; i < n->nin && count; i++) {
		const MloTensor *t = n->in[i] ? n->in[i]->data : NULL;
		int at = t ? t->rank - (n->out[0]->type.rank - c->axis) : -1;

		if (at >= 0 && t->dim[at] == count && count > 1)
			cut(s->g, n, i, at, keep, count);
	}
}

static void cut_reshape(MloGroups *s, MloNode *n)
{
	const MloTensor *spec = n->in[1]->data;
	int64_t count, left = 0, to[2];
	const uint8_t *keep = mlo_groups_keep(s, n->out[0], &count);

	if (!count || !spec || mlo_tensor_elems(spec) != 2)
		return;
	for (int64_t i = 0; i < count; i++)
		left += keep[i];
	to[0] = mlo_tensor_i64(spec, 0);
	to[1] = mlo_tensor_i64(spec, 1);
	if (to[1] != count || left == count)
		return; /* it says how many in other words */
	to[1] = left;
	mlo_node_set_in(s->g, n, 1, mlo_graph_const_i64s(s->g, 1, to, 2));
}

static void cut_norm(MloGroups *s, MloNode *n)
{
	int64_t count;
	const uint8_t *keep = mlo_groups_keep(s, n->out[0], &count);

	if (count)
		cut_vectors(s->g, n, 1, keep, count);
}

MloStatus mlo_groups_remove(MloGroups *s, MloDiag *d)
{
	for (MloNode *n = s->g->first; n; n = n->next) {
		if (n->op == OP_conv || n->op == OP_matmul)
			cut_contraction(s, n);
		else if (n->op == OP_reshape)
			cut_reshape(s, n);
		else if (n->op == OP_batch_norm)
			cut_norm(s, n);
		else if (mlo_op_info(n->op)->kind == OK_ELTWISE && n->nout == 1)
			cut_eltwise(s, n);
	}
	return mlo_infer_graph(s->g, d);
}
