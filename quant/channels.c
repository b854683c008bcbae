/* quant/channels.c -- scale moved from one side of an activation to the other, channel by channel.
 *
 * Where a value comes from a product, or a normalisation, through nothing but Relu, and only products read it, its
 * channel c may be divided by s[c] there and the weights that meet it multiplied by s[c]: the network computes the
 * same.  Cross-layer equalization (Nagel et al. 2019) makes the weights on both sides equally large, for one scale
 * per tensor; migration (SmoothQuant, Xiao et al. 2023) makes the activation's channels more alike. */
#include <math.h>
#include <string.h>

#include "passes/match.h"
#include "quant/ptq.h"

typedef struct Edge {
	MloNode *from;    /* conv, matmul or layer_norm */
	MloNode *bias;    /* the add behind a matmul, or NULL */
	MloValue *v;      /* what is read */
	int64_t n;        /* channels */
} Edge;

/* -- constants ------------------------------------------------------------------------------------- */

/* Operand `slot` with element e times s[(e / inner) % n], or divided by it. */
static void scale_operand(MloGraph *g, MloNode *n, uint32_t slot, int64_t inner, const double *s, int64_t count, bool divide)
{
	const MloTensor *t = n->in[slot]->data;
	MloTensor *r = mlo_tensor_new(g->arena, t->elem, t->rank, t->dim);

	for (int64_t e = 0, all = mlo_tensor_elems(t); e < all; e++) {
		double k = s[e / inner % count];

		mlo_tensor_set_f64(r, e, divide ? mlo_tensor_f64(t, e) / k : mlo_tensor_f64(t, e) * k);
	}
	mlo_node_set_in(g, n, slot, mlo_graph_const(g, r, n->in[slot]->name));
}

static int64_t window(const MloTensor *w) /* taps of a convolution's weights */
{
	int64_t n = 1;

	for (int i = 2; i < w->rank; i++)
		n *= w->dim[i];
	return n;
}

static bool depthwise(const MloNode *n, int64_t channels)
{
	return mlo_attr_i(n, ATTR_conv_group) == channels && n->in[1]->data->dim[1] == 1 && n->in[1]->data->dim[0] == channels;
}

static void divide_producer(MloGraph *g, const Edge *e, const double *s)
{
	MloNode *n = e->from;

	if (n->op == OP_conv) {
		scale_operand(g, n, 1, window(n->in[1]->data) * n->in[1]->data->dim[1], s, e->n, true);
		if (n->nin > 2 && n->in[2])
			scale_operand(g, n, 2, 1, s, e->n, true);
	} else { /* matmul: columns; layer_norm: scale and shift */
		scale_operand(g, n, 1, 1, s, e->n, true);
		if (n->op == OP_layer_norm && n->nin > 2 && n->in[2])
			scale_operand(g, n, 2, 1, s, e->n, true);
	}
	if (e->bias)
		scale_operand(g, e->bias, (uint32_t)mlo_const_side(e->bias), 1, s, e->n, true);
}

static void multiply_consumer(MloGraph *g, MloNode *n, const Edge *e, const double *s)
{
	const MloTensor *w = n->in[1]->data;

	scale_operand(g, n, 1, n->op == OP_conv ? window(w) : w->dim[1], s, e->n, false);
}

/* -- where it is possible -------------------------------------------------------------------------- */

static const MloPtqLayer *layer_of(const MloPtq *q, const MloNode *n)
{
	for (size_t i = 0; i < q->nlayers; i++)
		if (q->layer[i].n == n)
			return &q->layer[i];
	return NULL;
}

/* Is v read only as the input of layers whose weights have its n channels? */
static bool read_by_weights(const MloPtq *q, const MloValue *v, int64_t n)
{
	if (mlo_is_output(q->g, v))
		return false;
	for (const MloUse *u = v->uses; u; u = u->next) {
		const MloPtqLayer *l = layer_of(q, u->node);
		const MloTensor *w;

		if (!l || !l->on || u->slot != 0 || (l->kind != PTQ_CONV && l->kind != PTQ_MATMUL))
			return false;
		w = u->node->in[1]->data;
		if (l->kind == PTQ_MATMUL ? w->dim[0] != n
					  : !depthwise(u->node, n) && (mlo_attr_i(u->node, ATTR_conv_group) != 1 || w->dim[1] != n))
			return false;
	}
	return v->uses != NULL;
}

/* Channels of a vector operand, -1: it is none. */
static int64_t vector(const MloValue *v)
{
	return v && v->data && v->data->elem == EL_f32 && v->data->rank == 1 ? v->data->dim[0] : -1;
}

static bool producer(const MloGraph *g, MloValue *v, Edge *e)
{
	MloNode *n = v->def;
	const MloTensor *w;

	if (n->op == OP_add && v->type.rank > 1 && mlo_const_side(n) >= 0) {
		MloValue *c = n->in[mlo_const_side(n)], *product = n->in[1 - mlo_const_side(n)];

		if (!mlo_def_only(product, OP_matmul) || mlo_is_output(g, product) || vector(c) < 0)
			return false;
		e->bias = n;
		n = product->def;
	}
	w = n->nin > 1 && n->in[1] ? n->in[1]->data : NULL;
	if (!w || w->elem != EL_f32)
		return false;
	e->from = n;
	if (n->op == OP_conv && (n->nin < 3 || !n->in[2] || vector(n->in[2]) == w->dim[0]))
		e->n = w->dim[0];
	else if (n->op == OP_matmul && w->rank == 2)
		e->n = w->dim[1];
	else if (n->op == OP_layer_norm && v == n->out[0] && vector(n->in[1]) > 0 && (n->nin < 3 || !n->in[2] || vector(n->in[2]) > 0))
		e->n = w->dim[0];
	else
		return false;
	return !e->bias || vector(e->bias->in[mlo_const_side(e->bias)]) == e->n;
}

static bool find_edge(const MloPtq *q, const MloPtqTensor *t, Edge *e)
{
	MloValue *v = t->v;

	*e = (Edge){.v = v};
	while (v->def && (v->def->op == OP_relu || v->def->op == OP_leaky_relu)) {
		v = v->def->in[0];
		if (v->nuse != 1 || mlo_is_output(q->g, v))
			return false;
	}
	return t->wanted && v->def && producer(q->g, v, e) && read_by_weights(q, e->v, e->n);
}

/* -- factors --------------------------------------------------------------------------------------- */

static void largest(const MloTensor *t, int64_t inner, int64_t n, double *most)
{
	for (int64_t e = 0, all = mlo_tensor_elems(t); e < all; e++)
		most[e / inner % n] = fmax(most[e / inner % n], fabs(mlo_tensor_f64(t, e)));
}

static void consumer_weights(const Edge *e, double *most)
{
	for (const MloUse *u = e->v->uses; u; u = u->next) {
		const MloTensor *w = u->node->in[1]->data;

		largest(w, u->node->op == OP_conv ? window(w) : w->dim[1], e->n, most);
	}
}

static void apply(MloPtq *q, const Edge *e, const double *s)
{
	struct {
		MloNode **items;
		size_t n, cap;
	} to = {0};

	for (const MloUse *u = e->v->uses; u; u = u->next)
		MLO_PUSH(q->a, &to, u->node);
	for (size_t i = 0; i < to.n; i++)
		multiply_consumer(q->g, to.items[i], e, s);
	divide_producer(q->g, e, s);
}

/* Powers of two are exact; the rest is rounded like any other weight. */
static double bounded(double s)
{
	return s > 1e-4 && s < 1e4 ? s : s >= 1e4 ? 1e4 : s > 0 ? 1e-4 : 1;
}

static size_t equalize_once(MloPtq *q, double *change)
{
	size_t n = 0;

	for (size_t i = 0; i < q->ntensors; i++) {
		double *a, *b;
		const MloTensor *w;
		Edge e;

		if (!find_edge(q, &q->tensor[i], &e) || e.from->op == OP_layer_norm)
			continue;
		a = MLO_NEWN(q->a, double, (size_t)e.n + 1);
		b = MLO_NEWN(q->a, double, (size_t)e.n + 1);
		w = e.from->in[1]->data;
		largest(w, e.from->op == OP_conv ? window(w) * w->dim[1] : 1, e.n, a);
		consumer_weights(&e, b);
		for (int64_t c = 0; c < e.n; c++) {
			a[c] = a[c] > 0 && b[c] > 0 ? bounded(sqrt(a[c] / b[c])) : 1;
			*change = fmax(*change, fabs(log(a[c])));
		}
		apply(q, &e, a);
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

bool mlo_ptq_migrates(const MloPtq *q, const MloPtqTensor *t)
{
	Edge e;

	return find_edge(q, t, &e);
}

size_t mlo_ptq_migrate(MloPtq *q, double alpha)
{
	size_t n = 0;

	for (size_t i = 0; i < q->ntensors; i++) {
		const MloPtqTensor *t = &q->tensor[i];
		double *s;
		Edge e;

		if (!t->channel_max || !find_edge(q, t, &e))
			continue;
		s = MLO_NEWN(q->a, double, (size_t)e.n + 1);
		consumer_weights(&e, s);
		for (int64_t c = 0; c < e.n; c++)
			s[c] = s[c] > 0 && t->channel_max[c] > 0 ? bounded(pow(t->channel_max[c], alpha) / pow(s[c], 1 - alpha)) : 1;
		apply(q, &e, s);
		n++;
	}
	return n;
}
