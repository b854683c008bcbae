/* passes/narrow.c -- what products read is stored as bf16, f16 or tf32, where the target multiplies that.
 *
 * Requires: types, layouts.  Keeps: values up to that rounding, types, order.  Breaks: nothing.  Idempotent.
 *
 * A value becomes narrow if a contraction with constant weights reads it in steps of several products, directly or
 * behind a movement of elements, and if kernels that convert as they load and store (contractions, loops) are
 * all that touches it; on a GPU also if attention reads it, but for tf32.  Arithmetic stays f32: sums of products, what is fused behind
 * them, and whatever else reads the value.  Inputs and outputs of the graph keep their type.  Tf32 saves no memory, only that each product rounds what it reads:
 * a value that something else reads stays as it is. */
#include "codegen/lower.h"
#include "passes/pass.h"

typedef struct Narrower {
	MloGraph *g;
	MloLowerCx lower;
	MloElem elem;
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
	v->layout.stored = w->elem;
	dot = mlo_contract_dot(&w->lower, n, n);
	v->layout.stored = EL_none;
	return dot > 1;
}

/* Is n one of the products around a softmax, and v neither its scores nor what becomes of them? */
static bool attends(const Narrower *w, const MloValue *v, const MloNode *n)
{
	const MloNode *u = n;

	if (!w->lower.target->gpu || w->elem == EL_tf32 || n->op != OP_matmul || n->in[0]->data || n->in[1]->data)
		return false;
	if (n->in[0]->def && n->in[0]->def->op == OP_softmax)
		return n->in[1] == v;
	do
		u = mlo_only_user(w->g, u->out[0]);
	while (u && u->nout == 1 && mlo_op_info(u->op)->kind == OK_ELTWISE);
	if (!u || u->op != OP_softmax)
		return false;
	n = mlo_only_user(w->g, u->out[0]);
	return n && n->op == OP_matmul && n->in[0] == u->out[0];
}

static bool wants(Narrower *w, MloValue *v, const MloNode *n)
{
	MloOpKind kind = mlo_op_info(n->op)->kind;

	return kind == OK_CONTRACT ? pairs(w, v, n) || attends(w, v, n) : kind == OK_MOVE && n->out[0]->layout.stored;
}

static bool wanted(Narrower *w, MloValue *v)
{
	size_t n = 0, all = 0;

	for (const MloUse *u = v->uses; u; u = u->next, all++)
		n += wants(w, v, u->node);
	return w->elem == EL_tf32 ? all && n == all : n > 0;
}

static MloElem elem_of(const MloPassCx *cx)
{
	if (cx->precision == EL_bf16 && mlo_target_bf16(cx->target))
		return EL_bf16;
	if (cx->precision == EL_f16 && mlo_target_f16(cx->target))
		return EL_f16;
	return cx->precision == EL_tf32 && mlo_target_tf32(cx->target) ? EL_tf32 : EL_none;
}

MloStatus mlo_pass_narrow(MloGraph *g, MloPassCx *cx)
{
	Narrower w = {.g = g, .lower = {.arena = cx->arena, .graph = g, .target = cx->target}, .elem = elem_of(cx)};

	if (!w.elem)
		return MLO_OK;
	for (MloNode *n = g->last; n; n = n->prev) {
		MloValue *v = n->nout == 1 ? n->out[0] : NULL;

		if (v && !v->layout.stored && wanted(&w, v) && storable(&w, v)) {
			v->layout.stored = w.elem;
			cx->changed++;
		}
	}
	return MLO_OK;
}
