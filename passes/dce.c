/* passes/dce.c -- remove nodes whose results nobody reads.
 * Requires: topological order.  Keeps: types, order, groups, layouts.  Breaks: nothing.  Idempotent. */
#include "passes/pass.h"

MloStatus mlo_pass_dce(MloGraph *g, MloPassCx *cx)
{
	/* Backwards, so one walk removes a whole dead chain. */
	for (MloNode *n = g->last, *prev; n; n = prev) {
		prev = n->prev;
		if (!mlo_node_used(n) && mlo_op_has(n->op, TR_PURE)) {
			mlo_graph_remove(g, n);
			cx->changed++;
		}
	}
	return MLO_OK;
}
