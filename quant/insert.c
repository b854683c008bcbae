/* quant/insert.c -- QuantizeLinear and DequantizeLinear around the operators that work on integers. */
#include <math.h>
#include <string.h>

#include "passes/match.h"
#include "quant/lift.h"

typedef struct Insert {
	const MloPtq *q; /* with the numbers */
	MloPtq *at;      /* the same lists of the copy */
	MloGraph *g;     /* of the layer or tensor at hand: the copy, or a body of it */
	MloDiag *d;
	MloStatus status;
} Insert;

/* -- nodes and constants --------------------------------------------------------------------------- */

static const char *name_of(const Insert *x, const MloValue *v)
{
	return v->name ? v->name : v->def ? mlo_node_name(v->def) : mlo_sprintf(x->g->arena, "value%u", v->id);
}

static MloValue *constant(Insert *x, MloTensor *t, const char *base, const char *what)
{
	return mlo_graph_const(x->g, t, mlo_sprintf(x->g->arena, "%s_%s", base, what));
}

static MloValue *scalar(Insert *x, MloElem e, double v, const char *base, const char *what)
{
	MloTensor *t = mlo_tensor_new(x->g->arena, e, 0, NULL);

	mlo_tensor_set_f64(t, 0, v);
	return constant(x, t, base, what);
}

static MloValue *node(Insert *x, MloNode *before, MloOp op, MloValue *const *in, uint32_t nin, int axis,
		      const char *base, const char *type)
{
	MloNode *n = mlo_graph_node(x->g, before, op, in, nin, 1);
	MloOrigin o = {.name = mlo_sprintf(x->g->arena, "%s_%s", base, type), .op = type, .opset = 13};

	mlo_attr_set_i(n, op == OP_quantize_linear ? (int)ATTR_quantize_linear_axis : (int)ATTR_dequantize_linear_axis,
		       axis);
	mlo_origin_add(x->g, n, &o);
	n->out[0]->name =
		mlo_sprintf(x->g->arena, "%s_%s", base, op == OP_quantize_linear ? "quantized" : "dequantized");
	if (x->status == MLO_OK)
		x->status = mlo_infer_node(x->g, n, x->d);
	return n->out[0];
}

/* Of an activation with the numbers of t. `before`: where the first of the two nodes goes. */
static MloValue *pair(Insert *x, MloNode *before, MloValue *v, const MloPtqTensor *t)
{
	const char *base = name_of(x, v);
	MloValue *in[] = {v, scalar(x, EL_f32, t->scale, base, "scale"),
			  scalar(x, mlo_ptq_elem(x->q, t->wide), t->zero, base, "zero_point")};

	in[0] = node(x, before, OP_quantize_linear, in, 3, 1, base, "QuantizeLinear");
	return node(x, before, OP_dequantize_linear, in, 3, 1, base, "DequantizeLinear");
}

/* -- activations ----------------------------------------------------------------------------------- */

/* Does layer l read operand `slot` as an activation? */
static bool reads_slot(const MloPtqLayer *l, uint32_t slot)
{
	return slot == 0 || l->kind == PTQ_JOIN || (l->kind == PTQ_PRODUCT && slot == 1);
}

static const MloPtqLayer *layer_of(const MloPtq *q, const MloNode *n)
{
	for (size_t i = 0; i < q->nlayers; i++)
		if (q->layer[i].n == n)
			return &q->layer[i];
	return NULL;
}

/* Whatever reads what integers were made of reads them: the value itself has no other reader then. */
static bool redirected(const Insert *x, const MloPtqTensor *t, const MloUse *u)
{
	const MloPtqLayer *l = layer_of(x->at, u->node);

	return (t->made && t->v->def) || (l && l->on && reads_slot(l, u->slot));
}

static void quantize_tensor(Insert *x, size_t i)
{
	MloPtqTensor *t = &x->at->tensor[i];
	MloNode *before = t->v->def ? t->v->def->next : t->g->first;
	struct {
		MloUse *items;
		size_t n, cap;
	} uses = {0};
	MloValue *dq;

	x->g = t->g;
	for (const MloUse *u = t->v->uses; u; u = u->next)
		if (redirected(x, t, u))
			MLO_PUSH(x->q->a, &uses, *u);
	dq = pair(x, before, t->v, &x->q->tensor[i]);
	for (size_t k = 0; k < uses.n; k++)
		mlo_node_set_in(x->g, uses.items[k].node, uses.items[k].slot, dq);
}

/* Constant parts of a concatenation in the range of what they become part of. */
static void quantize_constants(Insert *x, size_t i)
{
	MloPtqLayer *l = &x->at->layer[i];
	const MloPtqTensor *t = mlo_ptq_tensor(x->q, x->q->layer[i].result);

	for (uint32_t k = 0; k < l->n->nin; k++)
		if (l->n->in[k]->data)
			mlo_node_set_in(x->g, l->n, k, pair(x, l->n, l->n->in[k], t));
}

/* -- weights and biases ---------------------------------------------------------------------------- */

static MloValue *scales(Insert *x, const MloPtqWeights *w, double factor, const char *base)
{
	MloTensor *t = mlo_tensor_new(x->g->arena, EL_f32, w->nscales > 1 ? 1 : 0, &w->nscales);

	for (int64_t c = 0; c < w->nscales; c++)
		mlo_tensor_set_f64(t, c, (float)w->scale[c] * factor);
	return constant(x, t, base, "scale");
}

/* Scale of what the layer reads. */
static double input_scale(const Insert *x, const MloPtqLayer *l)
{
	return l->stored ? mlo_lift_scale(mlo_layer_input(l)) : mlo_ptq_tensor(x->q, mlo_layer_input(l))->scale;
}

static void weights_of(const Insert *x, const MloPtqLayer *l, MloPtqWeights *w)
{
	if (!l->stored) {
		mlo_ptq_weights(x->q, l, input_scale(x, l), w);
		return;
	}
	*w = (MloPtqWeights){.w = l->n->in[1]->data, .axis = mlo_ptq_weight_axis(l->kind)};
	w->channels = w->w->dim[w->axis];
	w->nscales = mlo_tensor_elems(l->stored->scale);
	w->scale = MLO_NEWN(x->q->a, double, (size_t)w->nscales);
	for (int64_t c = 0; c < w->nscales; c++)
		w->scale[c] = mlo_tensor_f64(l->stored->scale, c);
}

static MloTensor *integers(Insert *x, const MloPtqLayer *l, const MloPtqWeights *w)
{
	MloTensor *t = mlo_tensor_new(x->g->arena, EL_i8, w->w->rank, w->w->dim);
	int8_t *out = (int8_t *)(uintptr_t)t->data;

	for (int64_t i = 0, n = mlo_tensor_elems(w->w); i < n; i++)
		out[i] = l->rounded ? l->rounded[i]
				    : mlo_weight_round(mlo_tensor_f64(w->w, i),
						       w->scale[w->nscales > 1 ? mlo_weight_channel(w, i) : 0]);
	return t;
}

static MloValue *weights(Insert *x, const MloPtqLayer *l, MloNode *before, const MloPtqWeights *w, const MloValue *from)
{
	const MloPtqStored *s = l->stored;
	const char *base = name_of(x, from);
	MloTensor *zero = s && s->zero ? mlo_tensor_copy(x->g->arena, s->zero)
				       : mlo_tensor_new(x->g->arena, s ? s->q->elem : EL_i8, w->nscales > 1 ? 1 : 0, &w->nscales);
	MloValue *in[3];

	in[0] = constant(x, s ? mlo_tensor_copy(x->g->arena, s->q) : integers(x, l, w), base, "quantized");
	in[1] = scales(x, w, 1, base);
	in[2] = constant(x, zero, base, "zero_point");
	return node(x, before, OP_dequantize_linear, in, 3, w->axis, base, "DequantizeLinear");
}

/* In 32 bits, in the scale of the products. */
static MloValue *bias(Insert *x, MloNode *before, const MloTensor *b, const MloPtqWeights *w, double input,
		      const char *base)
{
	MloTensor *t = mlo_tensor_new(x->g->arena, EL_i32, 1, &w->channels);
	MloValue *in[2] = {NULL, scales(x, w, input, base)};

	for (int64_t c = 0; c < w->channels; c++) {
		double step = mlo_tensor_f64(in[1]->data, w->nscales > 1 ? c : 0);
		double v = rint(mlo_tensor_f64(b, c) / step);

		mlo_tensor_set_i64(t, c, (int64_t)fmax(fmin(v, INT32_MAX), INT32_MIN));
	}
	in[0] = constant(x, t, base, "quantized");
	return node(x, before, OP_dequantize_linear, in, 2, 0, base, "DequantizeLinear");
}

/* `fresh` makes what was layer i's value `old`. */
static void becomes(Insert *x, size_t i, MloValue *old, MloNode *fresh)
{
	MloPtqLayer *l = &x->at->layer[i];
	MloValue *v = fresh->out[0];
	MloPtqTensor *t = mlo_ptq_tensor(x->at, old);

	v->type = old->type;
	v->name = old->name;
	l->n = fresh;
	l->sum = v;
	l->result = l->result == old ? v : l->result;
	t->v = v;
	mlo_graph_replace(x->g, old, v);
}

static void quantize_conv(Insert *x, size_t i)
{
	const MloPtqLayer *l = &x->q->layer[i];
	MloNode *n = x->at->layer[i].n, *fresh;
	double input = input_scale(x, l);
	const MloValue *old = n->nin > 2 ? n->in[2] : NULL;
	const MloTensor *b = l->bias ? l->bias : old ? old->data : NULL;
	MloPtqWeights w;
	MloValue *in[3] = {n->in[0], NULL, NULL};

	weights_of(x, l, &w);
	in[1] = weights(x, l, n, &w, n->in[1]);
	if (b && l->stored && !l->stored->bias)
		in[2] = n->in[2];
	else if (b)
		in[2] = bias(x, n, b, &w, input,
			     old ? name_of(x, old) : mlo_sprintf(x->g->arena, "%s_bias", mlo_node_name(n)));
	if (n->nin > 2 || !b) {
		mlo_node_set_in(x->g, n, 1, in[1]);
		if (b)
			mlo_node_set_in(x->g, n, 2, in[2]);
		return;
	}
	/* A bias where there was none takes a node with one operand more. */
	fresh = mlo_rw_node(x->g, n, n->op, n, in, 3);
	mlo_rw_copy_attrs(fresh, n);
	becomes(x, i, n->out[0], fresh);
	mlo_graph_remove(x->g, n);
}

/* A matrix and a bias right behind: Gemm, whose bias is an integer, too. */
static void to_gemm(Insert *x, size_t i, MloNode *n, MloNode *add, MloValue *b)
{
	MloValue *in[] = {n->in[0], n->in[1], b};
	MloNode *gemm = mlo_rw_node(x->g, add, OP_gemm, n, in, 3);

	mlo_origin_add(x->g, gemm, add->origin);
	becomes(x, i, add->out[0], gemm);
	mlo_graph_remove(x->g, add);
	mlo_graph_remove(x->g, n);
}

static void quantize_matmul(Insert *x, size_t i)
{
	const MloPtqLayer *l = &x->q->layer[i];
	MloNode *n = x->at->layer[i].n, *add;
	double input = input_scale(x, l);
	const MloValue *old = mlo_layer_bias(&x->at->layer[i]);
	MloPtqWeights w;

	weights_of(x, l, &w);
	mlo_node_set_in(x->g, n, 1, weights(x, l, n, &w, n->in[1]));
	if (!old || (l->stored && !l->stored->bias))
		return;
	add = n->out[0]->uses->node;
	if (n->in[0]->type.rank == 2) {
		to_gemm(x, i, n, add, bias(x, add, l->bias ? l->bias : old->data, &w, input, name_of(x, old)));
	} else if (l->bias) {
		mlo_node_set_in(x->g, add, (uint32_t)mlo_const_side(add), mlo_graph_const(x->g, l->bias, old->name));
	}
}

static void quantize_lstm(Insert *x, size_t i)
{
	MloPtqLayer *l = &x->at->layer[i];
	MloNode *n = l->n, *fresh = mlo_lstm_quantise(x->q, x->g, n, x->d);

	if (!fresh) {
		x->status = MLO_ERR_INTERNAL;
		return;
	}
	for (uint32_t k = 0; k < n->nout; k++)
		mlo_ptq_tensor(x->at, n->out[k])->v = fresh->out[k];
	l->n = fresh;
	l->sum = l->result = fresh->out[0];
	mlo_graph_remove(x->g, n);
}

/* -- one layer alone ------------------------------------------------------------------------------- */

/* The layer's sum from the float graph's own values: quantised input and weights, behind everything else. */
static MloValue *alone(Insert *x, size_t i, MloPassCx *cx)
{
	const MloPtqLayer *l = &x->q->layer[i];
	const MloPtqTensor *t = mlo_ptq_tensor(x->q, mlo_layer_input(l));
	MloNode *n = x->at->layer[i].n, *fresh;
	const MloValue *old = mlo_layer_bias(&x->at->layer[i]);
	MloValue *in[3] = {0}, *y;
	MloPtqWeights w;

	if (l->bias || old)
		in[2] = mlo_graph_const(x->g, l->bias ? l->bias : old->data, NULL);
	mlo_ptq_weights(x->q, l, t->scale, &w);
	in[0] = pair(x, NULL, n->in[0], t);
	in[1] = weights(x, l, NULL, &w, n->in[1]);
	fresh = mlo_rw_node(x->g, NULL, n->op, n, in, mlo_ptq_convolves(l->kind) && in[2] ? 3 : 2);
	mlo_rw_copy_attrs(fresh, n);
	y = mlo_rw_done(x->g, fresh, cx);
	return l->kind == PTQ_MATMUL && in[2] ? mlo_rw_op(x->g, NULL, OP_add, n, cx, y, in[2]) : y;
}

MloStatus mlo_ptq_alone(const MloPtq *q, MloGraph *copy, MloPtq **at, MloValue **sum, MloDiag *d)
{
	Insert x = {.q = q, .g = copy, .d = d};
	MloPassCx cx = {.arena = q->a, .diag = d};

	x.at = *at = mlo_ptq_new(q->a, copy, &q->opt);
	for (size_t i = 0; i < q->nlayers; i++) {
		const MloPtqLayer *l = &q->layer[i];

		x.g = x.at->layer[i].g;
		sum[i] = l->on && mlo_ptq_weighs(l->kind) ? alone(&x, i, &cx) : NULL;
	}
	return x.status;
}

/* -- all of it ------------------------------------------------------------------------------------- */

static Insert insert_begin(const MloPtq *q, MloGraph *copy, MloDiag *d)
{
	Insert x = {.q = q, .g = copy, .d = d};

	x.at = mlo_ptq_new(q->a, copy, &q->opt);
	MLO_ASSERT(x.at->nlayers == q->nlayers && x.at->ntensors == q->ntensors);
	for (size_t i = 0; i < q->nlayers; i++) {
		x.at->layer[i].off = q->layer[i].off;
		x.at->layer[i].wide = q->layer[i].wide;
	}
	mlo_ptq_plan(x.at);
	return x;
}

static void quantize_activations(Insert *x)
{
	for (size_t i = 0; i < x->q->ntensors; i++)
		if (x->at->tensor[i].wanted)
			quantize_tensor(x, i);
	for (size_t i = 0; i < x->q->nlayers; i++) {
		const MloPtqLayer *l = &x->at->layer[i];

		x->g = l->g;
		if (l->on && l->kind == PTQ_JOIN)
			quantize_constants(x, i);
	}
}

MloStatus mlo_ptq_apply_activations(const MloPtq *q, MloGraph *copy, MloDiag *d)
{
	Insert x = insert_begin(q, copy, d);

	quantize_activations(&x);
	return x.status;
}

MloStatus mlo_ptq_lower(const MloPtq *q, MloGraph *copy, MloDiag *d)
{
	Insert x = {.q = q, .g = copy, .d = d, .at = mlo_ptq_new(q->a, copy, &q->opt)};

	MLO_ASSERT(x.at->nlayers == q->nlayers && x.at->ntensors == q->ntensors);
	for (size_t i = 0; i < q->nlayers; i++) {
		x.g = x.at->layer[i].g;
		if (q->layer[i].stored && mlo_ptq_convolves(q->layer[i].kind))
			quantize_conv(&x, i);
		else if (q->layer[i].stored)
			quantize_matmul(&x, i);
	}
	return x.status;
}

MloStatus mlo_ptq_apply(const MloPtq *q, MloGraph *copy, MloPtq **at, MloDiag *d)
{
	Insert x = insert_begin(q, copy, d);

	if (at)
		*at = x.at;
	quantize_activations(&x);
	for (size_t i = 0; i < q->nlayers; i++) {
		const MloPtqLayer *l = &x.at->layer[i];

		x.g = l->g;
		if (l->on && mlo_ptq_convolves(l->kind))
			quantize_conv(&x, i);
		else if (l->on && l->kind == PTQ_MATMUL)
			quantize_matmul(&x, i);
		else if (l->on && l->kind == PTQ_LSTM)
			quantize_lstm(&x, i);
	}
	return x.status;
}
