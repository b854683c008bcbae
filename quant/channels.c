/* quant/channels.c -- scale moved from one side of an activation to the other, channel by channel.
 *
 * Where only products read a value, its channel c may be divided by s[c] where it comes from and the weights that
 * meet it multiplied by s[c]: the network computes the same.  It can be divided in a product, a normalisation or a
 * constant factor; what is added behind that is divided, too, and Relu lets scale pass.  Cross-layer equalization
 * (Nagel et al. 2019) makes the weights on both sides equally large, for one scale per tensor; what migration does
 * with it is in quant/migrate.c. */
#include "quant/channels.h"

#include <math.h>

#include "passes/match.h"

/* -- constants ------------------------------------------------------------------------------------- */

/* Operand `slot` with element e times s[(e / inner) % n], or divided by it. */
static void scale_operand(MloGraph *g, MloNode *n, uint32_t slot, int64_t inner, const double *s, int64_t count,
			  bool divide)
{
	const MloTensor *t = n->in[slot]->data;
	MloTensor *r = mlo_tensor_new(g->arena, t->elem, t->rank, t->dim);

	for (int64_t e = 0, all = mlo_tensor_elems(t); e < all; e++) {
		double k = s[e / inner % count];

		mlo_tensor_set_f64(r, e, divide ? mlo_tensor_f64(t, e) / k : mlo_tensor_f64(t, e) * k);
	}
	mlo_node_set_in(g, n, slot, mlo_graph_const(g, r, n->in[slot]->name));
}

/* The constant of an add or mul, one for all channels or one for each, divided by s. */
static void divide_constant(MloGraph *g, MloNode *n, const MloEdge *e, const double *s)
{
	int side = mlo_const_side(n);
	const MloTensor *t = n->in[side]->data;
	int64_t dim[MLO_MAX_RANK], count = mlo_tensor_elems(t);
	MloTensor *r;

	dim[0] = e->n;
	for (int i = 1; i <= e->inner; i++)
		dim[i] = 1;
	r = mlo_tensor_new(g->arena, EL_f32, e->inner + 1, dim);
	for (int64_t c = 0; c < e->n; c++)
		mlo_tensor_set_f64(r, c, mlo_tensor_f64(t, count > 1 ? c : 0) / s[c]);
	mlo_node_set_in(g, n, (uint32_t)side, mlo_graph_const(g, r, n->in[side]->name));
}

int64_t mlo_conv_window(const MloTensor *w)
{
	int64_t n = 1;

	for (int i = 2; i < w->rank; i++)
		n *= w->dim[i];
	return n;
}

bool mlo_conv_is_depthwise(const MloNode *n, int64_t channels)
{
	return mlo_attr_i(n, ATTR_conv_group) == channels && n->in[1]->data->dim[1] == 1 &&
	       n->in[1]->data->dim[0] == channels;
}

static void divide_producer(MloGraph *g, const MloEdge *e, const double *s)
{
	MloNode *n = e->from;

	if (n->op == OP_conv) {
		scale_operand(g, n, 1, mlo_conv_window(n->in[1]->data) * n->in[1]->data->dim[1], s, e->n, true);
		if (n->nin > 2 && n->in[2])
			scale_operand(g, n, 2, 1, s, e->n, true);
	} else if (n->op == OP_mul) {
		divide_constant(g, n, e, s);
	} else { /* matmul: columns; layer_norm: scale and shift */
		scale_operand(g, n, 1, 1, s, e->n, true);
		if (n->op == OP_layer_norm && n->nin > 2 && n->in[2])
			scale_operand(g, n, 2, 1, s, e->n, true);
	}
	for (int i = 0; i < e->nshifts; i++)
		divide_constant(g, e->shift[i], e, s);
}

static void multiply_consumer(MloGraph *g, MloNode *n, const MloEdge *e, const double *s)
{
	const MloTensor *w = n->in[1]->data;

	scale_operand(g, n, 1, n->op == OP_conv ? mlo_conv_window(w) : w->dim[1], s, e->n, false);
}

void mlo_edge_scale(MloPtq *q, const MloEdge *e, const double *s)
{
	struct {
		MloNode **items;
		size_t n, cap;
	} to = {0};

	for (const MloUse *u = e->v->uses; u; u = u->next)
		MLO_PUSH(q->a, &to, u->node);
	for (size_t i = 0; i < to.n; i++)
		multiply_consumer(e->g, to.items[i], e, s);
	divide_producer(e->g, e, s);
}

/* -- where it is possible -------------------------------------------------------------------------- */

static const MloPtqLayer *layer_of(const MloPtq *q, const MloNode *n)
{
	for (size_t i = 0; i < q->nlayers; i++)
		if (q->layer[i].n == n)
			return &q->layer[i];
	return NULL;
}

/* Is v read only as the input of layers that are on, of as many channels?  Sets those. */
static bool read_by_weights(const MloPtq *q, MloEdge *e)
{
	const MloValue *v = e->v;

	if (mlo_is_output(e->g, v))
		return false;
	for (const MloUse *u = v->uses; u; u = u->next) {
		const MloPtqLayer *l = layer_of(q, u->node);
		const MloTensor *w;
		int64_t n;
		int inner;

		if (!l || !l->on || u->slot != 0 || (l->kind != PTQ_CONV && l->kind != PTQ_MATMUL))
			return false;
		w = u->node->in[1]->data;
		inner = l->kind == PTQ_CONV ? w->rank - 2 : 0;
		n = l->kind == PTQ_MATMUL || mlo_conv_is_depthwise(u->node, w->dim[0]) ? w->dim[0] : w->dim[1];
		if (l->kind == PTQ_CONV && mlo_attr_i(u->node, ATTR_conv_group) != 1 && n != w->dim[0])
			return false;
		if (e->n && (n != e->n || inner != e->inner))
			return false;
		e->n = n;
		e->inner = inner;
	}
	return v->uses != NULL;
}

/* Channels of a vector operand, -1: it is none. */
static int64_t vector(const MloValue *v)
{
	return v && v->data && v->data->elem == EL_f32 && v->data->rank == 1 ? v->data->dim[0] : -1;
}

/* The other operand of an add or mul of a constant that is one number, or one for each channel; NULL: it is none. */
static MloValue *behind_constant(const MloNode *n, const MloEdge *e)
{
	int side = mlo_const_side(n), rank, axis;
	const MloTensor *t = side >= 0 ? n->in[side]->data : NULL;

	if (!t || t->elem != EL_f32 || !mlo_type_same(&n->in[1 - side]->type, &e->v->type))
		return NULL;
	rank = e->v->type.rank;
	axis = t->rank - 1 - e->inner;
	if (mlo_tensor_elems(t) == 1 && t->rank <= rank)
		return n->in[1 - side];
	return mlo_tensor_elems(t) == e->n && axis >= 0 && t->rank <= rank && t->dim[axis] == e->n ? n->in[1 - side] : NULL;
}

/* Does node n give channels that can be divided in it? */
static bool divisible(const MloNode *n, const MloEdge *e)
{
	const MloTensor *w = n->nin > 1 && n->in[1] ? n->in[1]->data : NULL;

	if (!w || w->elem != EL_f32)
		return false;
	switch (n->op) {
	case OP_conv:
		return e->inner == w->rank - 2 && w->dim[0] == e->n && (n->nin < 3 || !n->in[2] || vector(n->in[2]) == e->n);
	case OP_matmul:
		return e->inner == 0 && w->rank == 2 && w->dim[1] == e->n;
	case OP_layer_norm:
		return e->inner == 0 && vector(n->in[1]) == e->n && (n->nin < 3 || !n->in[2] || vector(n->in[2]) == e->n);
	default:
		return false;
	}
}

bool mlo_edge_find(const MloPtq *q, const MloPtqTensor *t, MloEdge *e)
{
	MloValue *v = t->v;

	*e = (MloEdge){.g = t->g, .v = v};
	if (!t->wanted || v->type.rank == MLO_RANK_UNKNOWN || !read_by_weights(q, e) || v->type.rank <= e->inner + 1)
		return false;
	for (; v->def && v->def->out[0] == v; ) {
		MloNode *n = v->def;
		MloValue *next = n->op == OP_relu || n->op == OP_leaky_relu ? n->in[0] : NULL;

		e->from = n;
		if (divisible(n, e) || (n->op == OP_mul && behind_constant(n, e)))
			return true;
		if (n->op == OP_add && e->nshifts < EDGE_MAX_SHIFTS && (next = behind_constant(n, e)))
			e->shift[e->nshifts++] = n;
		if (!next || next->nuse != 1 || mlo_is_output(e->g, next))
			return false;
		v = next;
	}
	return false;
}

/* -- equalization ---------------------------------------------------------------------------------- */

static void largest(const MloTensor *t, int64_t inner, int64_t n, double *most)
{
	for (int64_t e = 0, all = mlo_tensor_elems(t); e < all; e++)
		most[e / inner % n] = fmax(most[e / inner % n], fabs(mlo_tensor_f64(t, e)));
}

void mlo_edge_weights(const MloEdge *e, double *most)
{
	for (const MloUse *u = e->v->uses; u; u = u->next) {
		const MloTensor *w = u->node->in[1]->data;

		largest(w, u->node->op == OP_conv ? mlo_conv_window(w) : w->dim[1], e->n, most);
	}
}

double mlo_edge_bounded(double s)
{
	return s > 1e-4 && s < 1e4 ? s : s >= 1e4 ? 1e4 : s > 0 ? 1e-4 : 1;
}

static size_t equalize_once(MloPtq *q, double *change)
{
	size_t n = 0;

	for (size_t i = 0; i < q->ntensors; i++) {
		double *a, *b;
		const MloTensor *w;
		MloEdge e;

		if (!mlo_edge_find(q, &q->tensor[i], &e) || e.from->op == OP_layer_norm || e.from->op == OP_mul)
			continue;
		a = MLO_NEWN(q->a, double, (size_t)e.n + 1);
		b = MLO_NEWN(q->a, double, (size_t)e.n + 1);
		w = e.from->in[1]->data;
		largest(w, e.from->op == OP_conv ? mlo_conv_window(w) * w->dim[1] : 1, e.n, a);
		mlo_edge_weights(&e, b);
		for (int64_t c = 0; c < e.n; c++) {
			a[c] = a[c] > 0 && b[c] > 0 ? mlo_edge_bounded(sqrt(a[c] / b[c])) : 1;
			*change = fmax(*change, fabs(log(a[c])));
		}
		mlo_edge_scale(q, &e, a);
		n++;
	}
	return n;
}

size_t mlo_ptq_equalize(MloPtq *q)
{
	enum { ROUNDS = 10 };
	size_t n = 0;

	for (int round = 0; round < ROUNDS; round++) {
		double change = 0;

		n = equalize_once(q, &change);
		if (change < 0.02)
			break;
	}
	return n;
}
