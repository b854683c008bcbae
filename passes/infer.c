/* passes/infer.c -- infer the type and shape of every value.
 * Requires: typed inputs and constants.  Keeps: nodes and order.  Gives: types.  Breaks: nothing. */
#include "passes/pass.h"

MloStatus mlo_pass_infer(MloGraph *g, MloPassCx *cx)
{
	return mlo_infer_graph(g, cx->diag);
}
