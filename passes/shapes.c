/* passes/shapes.c -- the shape operand of a reshape whose result has one open size need not be computed.
 *
 * Requires: types.  Keeps: values.  The open size is what is left (-1), or that of the same dimension of
 * the operand (0); with more of either kind, the operand stays. */
#include "passes/match.h"

/* The operand as a constant; false: it cannot say it. */
static bool constant_shape(const MloType *from, const MloType *to, int64_t *shape)
{
	int rest = 0;

	for (int i = 0; i < to->rank; i++) {
		if (mlo_has_dim(to, i, 0))
			return false;
		shape[i] = to->dim[i].k;
		if (mlo_dim_known(to->dim[i]))
			continue;
		shape[i] = i < from->rank && mlo_dim_same(from->dim[i], to->dim[i]) ? 0 : -1;
		rest += shape[i] == -1;
	}
	return rest <= 1;
}

MloStatus mlo_pass_shapes(MloGraph *g, MloPassCx *cx)
{
	for (MloNode *n = g->first; n; n = n->next) {
		int64_t shape[MLO_MAX_RANK];
		const MloType *to = n->op == OP_reshape && n->out[0] ? &n->out[0]->type : NULL;

		if (!to || to->rank < 1 || n->in[0]->type.rank < 0 || n->in[1]->data ||
		    !constant_shape(&n->in[0]->type, to, shape))
			continue;
		mlo_attr_set_i(n, ATTR_reshape_allowzero, 0);
		mlo_node_set_in(g, n, 1, mlo_graph_const_i64s(g, 1, shape, to->rank));
		cx->changed++;
	}
	return MLO_OK;
}
