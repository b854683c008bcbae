/* passes/layout.c -- choose blocked channel layouts; relayout nodes only at the edges.
 *
 * Requires: types.  Keeps: values (relayout is the identity), types.
 * Breaks: nothing.  Gives: layouts.
 *
 * Convolutions produce values in channel blocks as wide as a vector.  What follows and works lane by
 * lane (elementwise, pooling, concat, resampling) stays in that layout; everything else reads dense
 * values.  A convolution reads dense images of few channels as they are,
 * one of bytes in blocks of as many. */
#include "codegen/lower.h"
#include "passes/pass.h"

/* Dense inputs of at most this many channels are read in place by a convolution. */
enum { FEW_CHANNELS = 4 };

typedef struct Layouter {
	MloGraph *g;
	MloPassCx *cx;
	MloLowerCx lower;
	int block;
	MloValue **other;  /* per value id: the same value in the other layout, or NULL */
	uint32_t cap;
} Layouter;

/* v in the wanted layout: v itself, or the result of a relayout node before `at`. */
static MloValue *in_layout(Layouter *l, MloNode *at, MloValue *v, int block)
{
	MloValue *y;

	if (v->layout.block == block)
		return v;
	if (v->def && v->def->op == OP_relayout && v->def->in[0]->layout.block == block)
		return v->def->in[0];
	if (v->id < l->cap && l->other[v->id] && l->other[v->id]->layout.block == block)
		return l->other[v->id];
	y = mlo_graph_op(l->g, at, OP_relayout, v->def, &v, 1);
	y->layout.block = (int16_t)block;
	l->cx->changed++;
	if (v->id < l->cap)
		l->other[v->id] = y;
	return y;
}

static void operand_layout(Layouter *l, MloNode *n, uint32_t i, int block)
{
	if (n->in[i] && n->in[i]->layout.block != block)
		mlo_node_set_in(l->g, n, i, in_layout(l, n, n->in[i], block));
}

static void all_dense(Layouter *l, MloNode *n)
{
	for (uint32_t i = 0; i < n->nin; i++)
		operand_layout(l, n, i, 0);
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i])
			n->out[i]->layout.block = 0;
}

/* Elements that are found in blocked layouts: what contractions read and sum up, and what lies between. */
static bool has_blocks(MloElem e)
{
	return e == EL_f32 || e == EL_bf16 || e == EL_i32 || e == EL_u8 || e == EL_i8;
}

static bool blockable(const MloValue *v)
{
	return has_blocks(v->type.elem) && v->type.rank >= 3 && mlo_dim_known(v->type.dim[1]) && mlo_type_filled(&v->type);
}

static void layout_conv(Layouter *l, MloNode *n)
{
	MloValue *x = n->in[0], *y = n->out[0];
	bool few = x->type.rank > 1 && mlo_dim_known(x->type.dim[1]) && x->type.dim[1].k <= FEW_CHANNELS;

	y->layout.block = (int16_t)l->block;
	if (!x->layout.block && few && mlo_can_lower_contract(&l->lower, n, n))
		return;
	/* bytes are multiplied in steps of so many: a block of few channels is one step, not mostly room for others */
	if (!x->layout.block && few && n->op == OP_conv_integer) {
		operand_layout(l, n, 0, FEW_CHANNELS);
		if (mlo_can_lower_contract(&l->lower, n, n))
			return;
	}
	operand_layout(l, n, 0, l->block);
	if (mlo_can_lower_contract(&l->lower, n, n))
		return;
	all_dense(l, n);
}

/* Can a dense operand of a blocked result be read in place?  Yes if it does not vary over channels,
 * or over nothing else. */
static bool dense_operand_ok(const MloValue *v, const MloValue *y)
{
	int channel = 1 - (y->type.rank - v->type.rank);
	int64_t elems = mlo_type_elems(&v->type);

	return channel < 0 || v->type.dim[channel].k == 1 || v->type.dim[channel].k == elems;
}

/* Is the operand not broadcast, as far as can be seen? */
static bool spans(const MloType *t, const MloType *y)
{
	if (t->rank != y->rank || !mlo_dim_same(t->dim[1], y->dim[1]))
		return false;
	for (int d = 0; d < y->rank; d++)
		if (!mlo_dim_same(t->dim[d], y->dim[d]) && (mlo_dim_known(t->dim[d]) || mlo_dim_known(y->dim[d])))
			return false;
	return true;
}

static void layout_eltwise(Layouter *l, MloNode *n)
{
	MloValue *y = n->out[0];
	bool any = false;

	for (uint32_t i = 0; i < n->nin; i++)
		any = any || (n->in[i] && n->in[i]->layout.block && spans(&n->in[i]->type, &y->type));
	for (uint32_t i = 0; i < n->nin; i++)
		any = any && (!n->in[i] || has_blocks(n->in[i]->type.elem) || mlo_type_elems(&n->in[i]->type) == 1);
	if (!any || !blockable(y) || !mlo_can_lower_eltwise(n)) {
		all_dense(l, n);
		return;
	}
	y->layout.block = (int16_t)l->block;
	for (uint32_t i = 0; i < n->nin; i++)
		if (n->in[i] && !n->in[i]->layout.block && !dense_operand_ok(n->in[i], y))
			operand_layout(l, n, i, l->block);
}

/* One-operand nodes that work lane by lane where the loop tier has them in blocks. */
static void layout_lanewise(Layouter *l, MloNode *n)
{
	if (n->in[0]->layout.block && blockable(n->out[0]) && n->nout == 1 &&
	    n->in[0]->type.elem == n->out[0]->type.elem &&
	    mlo_dim_same(n->in[0]->type.dim[1], n->out[0]->type.dim[1])) {
		n->out[0]->layout.block = n->in[0]->layout.block;
		for (uint32_t i = 1; i < n->nin; i++)
			operand_layout(l, n, i, 0);
		if (mlo_can_lower_loops_node(n))
			return;
	}
	all_dense(l, n);
}

static void layout_concat(Layouter *l, MloNode *n)
{
	MloValue *y = n->out[0];
	int64_t axis = mlo_attr_i(n, ATTR_concat_axis);
	bool fits = blockable(y), any = false;

	axis = axis < 0 ? axis + y->type.rank : axis;
	for (uint32_t i = 0; i < n->nin; i++) {
		any = any || n->in[i]->layout.block;
		fits = fits && (axis != 1 || n->in[i]->type.dim[1].k % l->block == 0);
	}
	if (!any || !fits || axis != 1) {
		all_dense(l, n);
		return;
	}
	y->layout.block = (int16_t)l->block;
	for (uint32_t i = 0; i < n->nin; i++)
		operand_layout(l, n, i, l->block);
}

static void layout_node(Layouter *l, MloNode *n)
{
	MloOpKind kind = mlo_op_info(n->op)->kind;

	if (!mlo_node_lowers(n))
		all_dense(l, n);
	else if (n->op == OP_conv || n->op == OP_conv_transpose || n->op == OP_conv_integer ||
		 n->op == OP_conv_transpose_integer)
		layout_conv(l, n);
	else if (kind == OK_ELTWISE)
		layout_eltwise(l, n);
	else if (kind == OK_POOL || n->op == OP_resize || n->op == OP_pad)
		layout_lanewise(l, n);
	else if (n->op == OP_concat)
		layout_concat(l, n);
	else if (n->op != OP_relayout)
		all_dense(l, n);
}

MloStatus mlo_pass_layout(MloGraph *g, MloPassCx *cx)
{
	Layouter l = {.g = g, .cx = cx, .block = cx->target->block, .cap = g->next_id};

	l.lower = (MloLowerCx){.arena = cx->arena, .graph = g, .target = cx->target};
	l.other = MLO_NEWN(cx->arena, MloValue *, g->next_id + 1);
	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		layout_node(&l, n);
	}
	for (uint32_t i = 0; i < g->noutputs; i++) {
		MloValue *v = g->outputs[i];

		if (v->layout.block) {
			MloValue *dense = in_layout(&l, NULL, v, 0);

			mlo_graph_set_output(g, i, dense);
		}
	}
	return MLO_OK;
}
