/* codegen/lower_call.c -- the library tier: one node becomes a call of its reference kernel. */
#include "codegen/lower.h"

#include <string.h>

typedef struct Binds { MloBinding *items; size_t n, cap; } Binds;

/* Values that are computed but never named (strings) have no place in compiled models. */
static MloStatus check_value(MloLowerCx *cx, const MloNode *n, const MloValue *v)
{
	if (!mlo_type_static(&v->type))
		return mlo_error(cx->diag, MLO_ERR_UNSUPPORTED, "node '%s' (%s): the shape of '%s' is not known",
		                 mlo_node_name(n), mlo_op_info(n->op)->name, v->name ? v->name : "?");
	if (v->type.elem == EL_str)
		return mlo_error(cx->diag, MLO_ERR_UNSUPPORTED,
		                 "node '%s' (%s): strings cannot be computed in a compiled model", mlo_node_name(n),
		                 mlo_op_info(n->op)->name);
	if (v->layout.block)
		return mlo_error(cx->diag, MLO_ERR_UNSUPPORTED, "node '%s' (%s): blocked layout in the library tier",
		                 mlo_node_name(n), mlo_op_info(n->op)->name);
	return MLO_OK;
}

static KCallTensor tensor(MloKernel *k, Binds *b, MloValue *v, KArgDir dir)
{
	KCallTensor t = {.arg = -1};
	if (!v)
		return t;
	t.elem = v->type.elem;
	t.rank = v->type.rank;
	for (int d = 0; d < t.rank; d++)
		t.dim[d] = v->type.dim[d].k;
	for (size_t i = 0; i < b->n; i++)
		if (b->items[i].value == v)
			t.arg = (int)i;
	if (t.arg < 0) {
		t.arg = mlo_kernel_arg(k, dir, t.elem, mlo_value_storage(v));
		MLO_PUSH(k->arena, b, ((MloBinding){.value = v}));
	}
	return t;
}

/* Arithmetic of one run, roughly: an operation per element read or written. */
static double estimate(const MloNode *n)
{
	double ops = 0;
	for (uint32_t i = 0; i < n->nin + n->nout; i++) {
		const MloValue *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
		if (v)
			ops += (double)mlo_type_elems(&v->type);
	}
	if (mlo_op_info(n->op)->kind == OK_CONTRACT) /* every weight meets every position */
		ops = 2 * (double)mlo_type_elems(&n->in[1]->type) * (double)mlo_type_elems(&n->out[0]->type) /
		      (double)(n->out[0]->type.rank > 1 ? n->out[0]->type.dim[1].k : 1);
	return ops;
}

MloStatus mlo_lower_call(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out)
{
	if (first != last)
		return MLO_ERR_UNSUPPORTED;
	MloNode *n = first;
	for (uint32_t i = 0; i < n->nin + n->nout; i++) {
		MloValue *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
		if (v)
			MLO_TRY(check_value(cx, n, v));
	}
	MloKernel *k = mlo_kernel_new(cx->arena, mlo_op_info(n->op)->name);
	Binds b = {0};
	KCall c = {.op = n->op, .nin = (int)n->nin, .nout = (int)n->nout, .node = n};
	c.in = MLO_NEWN(cx->arena, KCallTensor, n->nin + 1);
	c.out = MLO_NEWN(cx->arena, KCallTensor, n->nout + 1);
	for (uint32_t i = 0; i < n->nin; i++)
		c.in[i] = tensor(k, &b, n->in[i], KA_IN);
	for (uint32_t i = 0; i < n->nout; i++)
		c.out[i] = tensor(k, &b, n->out[i], KA_OUT);
	KCursor at = kb_top(k);
	kb_call(&at, &c);
	k->flops = estimate(n);
	kb_finish(k);
	*out = (MloLowered){.kernel = k, .bind = b.items};
	return MLO_OK;
}
