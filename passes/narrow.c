/* passes/narrow.c -- what products read is stored as bf16 or f16, where the target multiplies that.
 *
 * Requires: types, layouts.  Keeps: values up to that rounding, types, order.  Breaks: nothing.  Idempotent.
 *
 * A value becomes narrow if a contraction with constant weights reads it in steps of two products, directly or
 * behind a movement of elements, and if kernels that convert as they load and store (contractions, loops) are
 * all that touches it.  Arithmetic stays f32: sums of products, what is fused behind them, and whatever else reads
 * the value.  Inputs and outputs of the graph keep their type. */
#include "codegen/lower.h"
#include "passes/pass.h"

typedef struct Narrower {
	MloGraph *g;
	MloElem half;
	MloLowerCx lower;
} Narrower;

static bool is_contraction(const MloNode *n)
{
	return mlo_op_info(n->op)->kind == OK_CONTRACT;
}

static bool converts(Narrower *w, const MloNode *n)
{
	if (!mlo_node_lowers(n))
		return false;
	return is_contraction(n) ? mlo_can_lower_contract(&w->lower, n, n) : mlo_can_lower_loops_node(n);
}

/* Do only kernels touch v? */
static bool storable(Narrower *w, const MloValue *v)
{
	if (!v->def || v->type.elem != EL_f32 || !mlo_type_filled(&v->type) || mlo_is_output(w->g, v) ||
	    !converts(w, v->def))
		return false;
	for (const MloUse *u = v->uses; u; u = u->next)
		if (!converts(w, u->node))
			return false;
	return true;
}

/* Would the contraction take several of v's elements at once? */
static bool pairs(Narrower *w, MloValue *v, const MloNode *n)
{
	int dot;

	if (n->in[0] != v || !n->in[1]->data)
		return false;
	v->layout.half = (uint8_t)w->half;
	dot = mlo_contract_dot(&w->lower, n, n);
	v->layout.half = EL_none;
	return dot > 1;
}

static bool wanted(Narrower *w, MloValue *v)
{
	for (const MloUse *u = v->uses; u; u = u->next) {
		MloOpKind kind = mlo_op_info(u->node->op)->kind;

		if (kind == OK_CONTRACT ? pairs(w, v, u->node) : kind == OK_MOVE && u->node->out[0]->layout.half)
			return true;
	}
	return false;
}

MloStatus mlo_pass_narrow(MloGraph *g, MloPassCx *cx)
{
	Narrower w = {.g = g, .half = cx->precision, .lower = {.arena = cx->arena, .graph = g, .target = cx->target}};

	if (!(w.half == EL_bf16 && mlo_target_bf16(cx->target)) && !(w.half == EL_f16 && mlo_target_f16(cx->target)))
		return MLO_OK;
	for (MloNode *n = g->last; n; n = n->prev) {
		MloValue *v = n->nout == 1 ? n->out[0] : NULL;

		if (v && !v->layout.half && wanted(&w, v) && storable(&w, v)) {
			v->layout.half = (uint8_t)w.half;
			cx->changed++;
		}
	}
	return MLO_OK;
}
