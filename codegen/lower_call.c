/* codegen/lower_call.c -- the library tier: one node becomes a call of its reference kernel. */
#include "codegen/lower.h"

#include "ir/exec.h"

typedef struct Binds { MloBinding *items; size_t n, cap; } Binds;
typedef struct Call { MloKernel *k; Binds bind; } Call;

/* shapes: the data is not touched. */
static MloStatus check_value(MloLowerCx *cx, const MloNode *n, const MloValue *v, bool shapes)
{
	if (v->type.rank < 0)
		return mlo_error(cx->diag, MLO_ERR_UNSUPPORTED, "node '%s' (%s): the rank of '%s' is not known",
		                 mlo_node_name(n), mlo_op_info(n->op)->name, v->name ? v->name : "?");
	if ((v->layout.block || v->layout.stored) && !shapes)
		return mlo_error(cx->diag, MLO_ERR_UNSUPPORTED, "node '%s' (%s): layout of kernels in the library tier",
		                 mlo_node_name(n), mlo_op_info(n->op)->name);
	return MLO_OK;
}

static MloStatus check_values(MloLowerCx *cx, const MloNode *n, bool shapes)
{
	for (uint32_t i = 0; i < n->nin + n->nout; i++) {
		const MloValue *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
		if (v)
			MLO_TRY(check_value(cx, n, v, shapes));
	}
	return MLO_OK;
}

static int argument(Call *c, MloValue *v, KArgDir dir)
{
	for (size_t i = 0; i < c->bind.n; i++)
		if (c->bind.items[i].value == v)
			return (int)i;
	int64_t count = mlo_type_static(&v->type) ? mlo_value_storage(v) : -1;
	MLO_PUSH(c->k->arena, &c->bind, ((MloBinding){.value = v}));
	return mlo_kernel_arg(c->k, dir, v->type.elem, count);
}

static KCallTensor tensor(Call *c, MloValue *v, KArgDir dir)
{
	KCallTensor t = {.arg = -1};
	if (!v)
		return t;
	t.elem = v->type.elem;
	t.rank = v->type.rank;
	t.arg = argument(c, v, dir);
	return t;
}

static void dimensions(Call *c, KCallTensor *t, const MloValue *v)
{
	for (int d = 0; v && d < t->rank; d++)
		t->dim[d] = mlo_kernel_number(c->k, v->type.dim[d]);
}

/* Open dimensions count as their lower bound, but one at least. */
static double elements(const MloType *t)
{
	double n = 1;
	for (int d = 0; d < t->rank; d++) {
		int64_t lo, hi;
		mlo_dim_range(t->dim[d], &lo, &hi);
		n *= (double)(mlo_dim_known(t->dim[d]) || lo > 1 ? lo : 1);
	}
	return n;
}

/* Arithmetic of one run, roughly: an operation per element read or written. */
static double estimate(const MloNode *n)
{
	double ops = 0;
	for (uint32_t i = 0; i < n->nin + n->nout; i++) {
		const MloValue *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
		if (v)
			ops += elements(&v->type);
	}
	if (mlo_op_info(n->op)->kind == OK_CONTRACT) { /* every weight meets every position */
		const MloType *y = &n->out[0]->type;
		double channels = y->rank > 1 && mlo_dim_known(y->dim[1]) && y->dim[1].k ? (double)y->dim[1].k : 1;
		ops = 2 * elements(&n->in[1]->type) * elements(y) / channels;
	}
	return ops;
}

static KCall new_call(MloLowerCx *cx, const MloNode *n)
{
	KCall c = {.op = n->op, .nin = (int)n->nin, .nout = (int)n->nout, .node = n};
	c.in = MLO_NEWN(cx->arena, KCallTensor, n->nin + 1);
	c.out = MLO_NEWN(cx->arena, KCallTensor, n->nout + 1);
	return c;
}

static void finish(MloLowerCx *cx, Call *t, const KCall *c, MloLowered *out)
{
	KCursor at = kb_top(t->k);
	kb_call(&at, c);
	kb_finish(t->k);
	if (t->k->sizes_arg >= 0)
		MLO_PUSH(cx->arena, &t->bind, (MloBinding){0});
	*out = (MloLowered){.kernel = t->k, .bind = t->bind.items};
}

MloStatus mlo_lower_call(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out)
{
	MloNode *n = first;
	if (first != last || mlo_op_has(n->op, TR_OBJECT))
		return MLO_ERR_UNSUPPORTED;
	MLO_TRY(check_values(cx, n, false));
	Call t = {.k = mlo_kernel_new(cx->arena, mlo_op_info(n->op)->name)};
	t.k->syms = cx->graph->syms;
	KCall c = new_call(cx, n);
	for (uint32_t i = 0; i < n->nin; i++)
		c.in[i] = tensor(&t, n->in[i], KA_IN);
	for (uint32_t i = 0; i < n->nout; i++)
		c.out[i] = tensor(&t, n->out[i], KA_OUT);
	for (uint32_t i = 0; i < n->nin; i++)
		dimensions(&t, &c.in[i], n->in[i]);
	for (uint32_t i = 0; i < n->nout; i++)
		dimensions(&t, &c.out[i], n->out[i]);
	t.k->flops = estimate(n);
	finish(cx, &t, &c, out);
	return MLO_OK;
}

MloStatus mlo_lower_sizes(MloLowerCx *cx, MloNode *n, MloLowered *out)
{
	bool values = mlo_op_has(n->op, TR_SIZED); /* else shapes are all it needs */
	if (!mlo_size_kernel(n->op))
		return MLO_ERR_UNSUPPORTED;
	MLO_TRY(check_values(cx, n, !values));
	Call t = {.k = mlo_kernel_new(cx->arena, mlo_sprintf(cx->arena, "%s_sizes", mlo_op_info(n->op)->name))};
	t.k->syms = cx->graph->syms;
	KCall c = new_call(cx, n);
	c.sizes = true;
	for (uint32_t i = 0; i < n->nin; i++) {
		MloValue *v = n->in[i];
		c.in[i] = v && !values ? (KCallTensor){.arg = KC_SHAPE, .elem = v->type.elem, .rank = v->type.rank}
		                       : tensor(&t, v, KA_IN);
	}
	for (uint32_t i = 0; i < n->nout; i++) {
		const MloValue *v = n->out[i];
		c.out[i] = v ? (KCallTensor){.arg = KC_SHAPE, .elem = v->type.elem, .rank = v->type.rank} : (KCallTensor){.arg = -1};
	}
	c.sizes_arg = mlo_kernel_arg(t.k, KA_OUT, EL_i64, (int64_t)REF_SIZES * n->nout);
	MLO_PUSH(cx->arena, &t.bind, (MloBinding){0});
	for (uint32_t i = 0; i < n->nin; i++)
		dimensions(&t, &c.in[i], n->in[i]);
	finish(cx, &t, &c, out);
	return MLO_OK;
}
