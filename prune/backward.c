/* prune/backward.c -- see backward.h */
#include "prune/backward.h"

#include <string.h>

#include "passes/match.h"

MloBackward mlo_backward_new(MloArena *a, MloGraph *g, MloDiag *d)
{
	return (MloBackward){.g = g, .a = a, .d = d, .n = g->next_id, .by = MLO_NEWN(a, MloValue *, g->next_id + 1), .last = g->last};
}

static MloValue *op(MloBackward *b, MloOp o, MloValue *x, MloValue *y)
{
	MloPassCx cx = {.arena = b->a, .diag = b->d};

	return mlo_rw_op(b->g, NULL, o, NULL, &cx, x, y);
}

void mlo_backward_add(MloBackward *b, const MloValue *v, MloValue *dv)
{
	MloValue **by;

	if (v->data || v->id >= b->n)
		return;
	by = &b->by[v->id];
	*by = *by ? op(b, OP_add, *by, dv) : dv;
}

/* -- operators ------------------------------------------------------------------------------------------------- */

/* What a convolution with these strides leaves out at the ends of its input. */
static bool left_over(const MloNode *n, int64_t *out)
{
	const MloTensor *w = n->in[1]->data;
	int rank = w->rank - 2, ns, nd, np;
	const int64_t *stride = mlo_attr_ints(n, ATTR_conv_strides, &ns), *dilation = mlo_attr_ints(n, ATTR_conv_dilations, &nd);
	const int64_t *pad = mlo_attr_ints(n, ATTR_conv_pads, &np);

	for (int i = 0; i < rank; i++) {
		MloDim in = n->in[0]->type.dim[2 + i], to = n->out[0]->type.dim[2 + i];
		int64_t reach = (w->dim[2 + i] - 1) * (i < nd ? dilation[i] : 1) + 1;

		if (!mlo_dim_known(in) || !mlo_dim_known(to))
			return false;
		out[i] = in.k - ((to.k - 1) * (i < ns ? stride[i] : 1) + reach - (np ? pad[i] + pad[rank + i] : 0));
		if (out[i] < 0)
			return false;
	}
	return true;
}

static void copy_ints(MloBackward *b, const MloNode *from, int slot, MloNode *to, int at)
{
	int n;
	const int64_t *v = mlo_attr_ints(from, slot, &n);

	if (n)
		mlo_attr_set_ints(b->g, to, at, v, n);
}

static void by_conv(MloBackward *b, const MloNode *n, MloValue *dy)
{
	MloPassCx cx = {.arena = b->a, .diag = b->d};
	MloValue *in[2] = {dy, n->in[1]};
	int64_t rest[MLO_MAX_RANK];
	MloNode *t;

	if (!n->in[1]->data || strcmp(mlo_attr_s(n, ATTR_conv_auto_pad), "NOTSET") != 0 || !left_over(n, rest))
		return;
	t = mlo_rw_node(b->g, NULL, OP_conv_transpose, NULL, in, 2);
	copy_ints(b, n, ATTR_conv_strides, t, ATTR_conv_transpose_strides);
	copy_ints(b, n, ATTR_conv_dilations, t, ATTR_conv_transpose_dilations);
	copy_ints(b, n, ATTR_conv_pads, t, ATTR_conv_transpose_pads);
	copy_ints(b, n, ATTR_conv_kernel_shape, t, ATTR_conv_transpose_kernel_shape);
	mlo_attr_set_i(t, ATTR_conv_transpose_group, mlo_attr_i(n, ATTR_conv_group));
	mlo_attr_set_ints(b->g, t, ATTR_conv_transpose_output_padding, rest, n->in[1]->data->rank - 2);
	mlo_backward_add(b, n->in[0], mlo_rw_done(b->g, t, &cx));
}

static void by_matmul(MloBackward *b, const MloNode *n, MloValue *dy)
{
	const MloTensor *w = n->in[1]->data;
	MloTensor *t;

	if (!w || w->rank != 2)
		return;
	t = mlo_tensor_new(b->g->arena, w->elem, 2, (int64_t[]){w->dim[1], w->dim[0]});
	for (int64_t i = 0; i < w->dim[0]; i++)
		for (int64_t j = 0; j < w->dim[1]; j++)
			mlo_tensor_set_f64(t, j * w->dim[0] + i, mlo_tensor_f64(w, i * w->dim[1] + j));
	mlo_backward_add(b, n->in[0], op(b, OP_matmul, dy, mlo_graph_const(b->g, t, NULL)));
}

/* Where the value passed unchanged, its derivative does. */
static void by_clamp(MloBackward *b, const MloNode *n, MloValue *dy)
{
	MloValue *in[3] = {op(b, OP_equal, n->in[0], n->out[0]), dy, mlo_graph_const_f32(b->g, 0)};
	MloPassCx cx = {.arena = b->a, .diag = b->d};

	mlo_backward_add(b, n->in[0], mlo_rw_done(b->g, mlo_rw_node(b->g, NULL, OP_where, NULL, in, 3), &cx));
}

static void by_mean(MloBackward *b, const MloNode *n, MloValue *dy)
{
	const MloType *t = &n->in[0]->type;
	int64_t dim[MLO_MAX_RANK], count = 1;
	MloTensor *part;

	for (int i = 0; i < t->rank; i++) {
		if (i > 1 && !mlo_dim_known(t->dim[i]))
			return;
		dim[i] = i > 1 ? t->dim[i].k : 1;
		count *= dim[i];
	}
	part = mlo_tensor_new(b->g->arena, EL_f32, t->rank, dim);
	for (int64_t i = 0; i < count; i++)
		mlo_tensor_set_f64(part, i, 1.0 / (double)count);
	mlo_backward_add(b, n->in[0], op(b, OP_mul, dy, mlo_graph_const(b->g, part, NULL)));
}

static void by_reshape(MloBackward *b, const MloNode *n, MloValue *dy)
{
	MloPassCx cx = {.arena = b->a, .diag = b->d};
	MloValue *dx = mlo_rw_reshape(b->g, NULL, n, dy, &n->in[0]->type, &cx);

	if (dx)
		mlo_backward_add(b, n->in[0], dx);
}

static void by_add(MloBackward *b, const MloNode *n, MloValue *dy)
{
	for (int i = 0; i < 2; i++)
		if (mlo_type_same(&n->in[i]->type, &n->out[0]->type))
			mlo_backward_add(b, n->in[i], dy);
}

static void step(MloBackward *b, const MloNode *n, MloValue *dy)
{
	switch (n->op) {
	case OP_conv: by_conv(b, n, dy); break;
	case OP_matmul: by_matmul(b, n, dy); break;
	case OP_add: by_add(b, n, dy); break;
	case OP_relu:
	case OP_clip: by_clamp(b, n, dy); break;
	case OP_global_average_pool: by_mean(b, n, dy); break;
	case OP_reshape:
	case OP_flatten:
	case OP_squeeze:
	case OP_unsqueeze: by_reshape(b, n, dy); break;
	case OP_identity: mlo_backward_add(b, n->in[0], dy); break;
	case OP_dequantize_linear:
		if (n->in[0]->def && n->in[0]->def->op == OP_quantize_linear)
			mlo_backward_add(b, n->in[0]->def->in[0], dy);
		break;
	default: break;
	}
}

MloStatus mlo_backward_run(MloBackward *b)
{
	for (MloNode *n = b->last; n; n = n->prev)
		if (n->nout > 0 && n->out[0] && b->by[n->out[0]->id])
			step(b, n, b->by[n->out[0]->id]);
	return mlo_infer_graph(b->g, b->d);
}
