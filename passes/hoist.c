/* passes/hoist.c -- the input products of recurrent operators, for all steps at once.
 * Requires: types.  Keeps: types, order, origins.  Breaks: nothing.  Idempotent.
 *
 * x @ w' + bias does not wait for the state: it becomes one matrix product in front, with both
 * directions side by side, and the operator keeps the product with the state only.  Recurrent
 * biases join it, but for the one that a GRU with linear_before_reset multiplies by its gate.
 * Where weights are integers (lstm_integer), so is that product: of x quantised by its own range. */
#include <string.h>

#include "passes/match.h"

typedef struct Sizes { int64_t dirs, gates, hidden, inputs; } Sizes;

/* Element i of constant f32 data, which need not be aligned. */
static float item(const MloValue *v, int64_t i)
{
	float f;

	memcpy(&f, (const char *)v->data->data + i * (int64_t)sizeof f, sizeof f);
	return f;
}

enum { W_SCALE = 8, W_ZERO }; /* operands of lstm_integer */

static bool usable(const MloValue *v) { return v && v->data && v->type.elem == EL_f32; }

static MloValue *operand(const MloNode *n, uint32_t i) { return i < n->nin ? n->in[i] : NULL; }

static bool recurrent(const MloNode *n)
{
	return n->op == OP_rnn || n->op == OP_gru || n->op == OP_lstm || n->op == OP_lstm_integer;
}

/* Weights in integers, and scale and zero point of w constants?  With lengths, the range of x is not that of all steps. */
static bool integers(const MloNode *n)
{
	const MloValue *w = operand(n, 1), *r = operand(n, 2), *zero = operand(n, W_ZERO);

	return n->op == OP_lstm_integer && w && w->data && r && r->data && usable(operand(n, W_SCALE)) &&
	       (!zero || zero->data) && !operand(n, 4);
}

static bool hoistable(const MloNode *n, Sizes *s)
{
	const MloValue *x = n->in[0], *w = operand(n, 1);
	int turned = n->op == OP_lstm_integer; /* weights are */

	if (n->op == OP_lstm_integer ? !integers(n) : !usable(w) || !usable(operand(n, 2)))
		return false;
	if ((operand(n, 3) && !usable(operand(n, 3))) || x->type.rank != 3 || x->type.elem != EL_f32)
		return false;
	s->dirs = w->type.dim[0].k;
	s->inputs = w->type.dim[2 - turned].k;
	s->hidden = operand(n, 2)->type.dim[2 - turned].k;
	s->gates = s->hidden ? w->type.dim[1 + turned].k / s->hidden : 0;
	return s->dirs * s->gates * s->hidden * s->inputs > 0;
}

/* w[dirs][gates * hidden][inputs], of integers [dirs][inputs][gates * hidden], as a matrix [inputs][dirs * gates * hidden]. */
static MloValue *transposed(MloGraph *g, const MloValue *w, const Sizes *s)
{
	int64_t rows = s->dirs * s->gates * s->hidden, columns = s->gates * s->hidden;
	MloTensor *t = mlo_tensor_new(g->arena, w->type.elem, 2, (int64_t[]){s->inputs, rows});
	const size_t size = (size_t)mlo_elem_bits(w->type.elem) / 8;
	const char *from = w->data->data;
	char *to = (char *)(uintptr_t)t->data;

	for (int64_t i = 0; i < rows; i++)
		for (int64_t k = 0; k < s->inputs; k++) {
			int64_t at = w->type.elem == EL_f32 ? i * s->inputs + k : i / columns * columns * s->inputs + k * columns + i % columns;

			memcpy(to + (size_t)(k * rows + i) * size, from + (size_t)at * size, size);
		}
	return mlo_graph_const(g, t, NULL);
}

/* Scale or zero point of w for each column of that matrix. */
static MloValue *of_columns(MloGraph *g, const MloValue *v, const Sizes *s)
{
	int64_t rows = s->dirs * s->gates * s->hidden;
	MloTensor *t = mlo_tensor_new(g->arena, v->type.elem, 1, &rows);

	for (int64_t i = 0; i < rows; i++)
		mlo_tensor_set_f64(t, i, mlo_tensor_f64(v->data, v->type.rank == 2 ? i : i / (s->gates * s->hidden)));
	return mlo_graph_const(g, t, NULL);
}

/* x @ w' of bytes, in float32. */
static MloValue *integer_product(MloGraph *g, MloNode *n, const Sizes *s, MloPassCx *cx)
{
	MloNode *q = mlo_graph_node(g, n, OP_dynamic_quantize_linear, n->in, 1, 3);
	MloValue *in[4], *v;

	mlo_origin_add(g, q, n->origin);
	mlo_rw_done(g, q, cx);
	in[0] = q->out[0];
	in[1] = transposed(g, n->in[1], s);
	in[2] = q->out[2];
	in[3] = operand(n, W_ZERO) ? of_columns(g, n->in[W_ZERO], s) : NULL;
	v = mlo_rw_done(g, mlo_rw_node(g, n, OP_matmul_integer, n, in, in[3] ? 4 : 3), cx);
	v = mlo_rw_done(g, mlo_rw_node(g, n, OP_cast, n, &v, 1), cx);
	return mlo_rw_op(g, n, OP_mul, n, cx, v, mlo_rw_op(g, n, OP_mul, n, cx, q->out[1], of_columns(g, n->in[W_SCALE], s)));
}

/* Does the recurrent bias of gate g stay with the operator? */
static bool stays(const MloNode *n, int64_t g)
{
	return n->op == OP_gru && g == 2 && mlo_attr_i(n, ATTR_gru_linear_before_reset);
}

/* b[dirs][input biases, recurrent biases] as what is added to the product; *rest: what stays, or NULL. */
static MloValue *split_bias(MloGraph *g, const MloNode *n, const Sizes *s, MloValue **rest)
{
	int64_t half = s->gates * s->hidden;
	MloTensor *sum = mlo_tensor_new(g->arena, EL_f32, 1, (int64_t[]){s->dirs * half});
	MloTensor *left = mlo_tensor_new(g->arena, EL_f32, 2, (int64_t[]){s->dirs, 2 * half});
	float *to = (float *)(uintptr_t)sum->data, *keep = (float *)(uintptr_t)left->data;
	bool any = false;

	for (int64_t i = 0; i < s->dirs * half; i++) {
		int64_t d = i / half, at = d * 2 * half + i % half;
		float b = item(n->in[3], at + half);

		to[i] = item(n->in[3], at);
		if (stays(n, i % half / s->hidden)) {
			keep[at + half] = b;
			any |= b != 0;
		} else {
			to[i] += b;
		}
	}
	*rest = any ? mlo_graph_const(g, left, NULL) : NULL;
	return mlo_graph_const(g, sum, NULL);
}

/* First states of zeros, and lengths that are all the whole, say nothing. */
static void drop_defaults(MloGraph *g, MloNode *n)
{
	const MloValue *lens = operand(n, 4);

	for (uint32_t i = 5; i < n->nin && i < 7; i++)
		if (n->in[i] && n->in[i]->data && mlo_const_all(n->in[i], 0))
			mlo_node_set_in(g, n, i, NULL);
	if (lens && lens->data && n->in[0]->type.rank == 3 && mlo_dim_known(n->in[0]->type.dim[0]) &&
	    mlo_const_all(lens, (double)n->in[0]->type.dim[0].k))
		mlo_node_set_in(g, n, 4, NULL);
}

static void hoist(MloGraph *g, MloNode *n, const Sizes *s, MloPassCx *cx)
{
	MloValue *rest = NULL, *v;

	if (n->op == OP_lstm_integer)
		v = integer_product(g, n, s, cx);
	else
		v = mlo_rw_op(g, n, OP_matmul, n, cx, n->in[0], transposed(g, n->in[1], s));
	if (operand(n, 3))
		v = mlo_rw_op(g, n, OP_add, n, cx, v, split_bias(g, n, s, &rest));
	mlo_node_set_in(g, n, 0, v);
	mlo_node_set_in(g, n, 1, NULL);
	if (operand(n, 3))
		mlo_node_set_in(g, n, 3, rest);
	cx->changed++;
}

MloStatus mlo_pass_hoist(MloGraph *g, MloPassCx *cx)
{
	Sizes s;

	for (MloNode *n = g->first; n; n = n->next) {
		if (recurrent(n))
			drop_defaults(g, n);
		if (recurrent(n) && hoistable(n, &s))
			hoist(g, n, &s, cx);
	}
	return MLO_OK;
}
