/* quant/lift.c -- weights out of QDQ form, and ranges of its activations. */
#include "quant/lift.h"

#include <math.h>
#include <string.h>

#include "passes/match.h"

/* -- what is dequantised ------------------------------------------------------------------------------- */

MloNode *mlo_lift_source(const MloValue *v)
{
	while (v && v->def && (mlo_op_info(v->def->op)->kind == OK_MOVE || v->def->op == OP_max_pool))
		v = v->def->in[0];
	return mlo_def_op(v, OP_dequantize_linear);
}

static const MloTensor *operand(const MloNode *n, uint32_t i)
{
	return i < n->nin && n->in[i] ? n->in[i]->data : NULL;
}

static bool has_operand(const MloNode *n, uint32_t i)
{
	return i < n->nin && n->in[i];
}

/* Has a node that quantises or dequantises one scale and zero point, both constant? */
static bool one_scale(const MloNode *n)
{
	const MloTensor *scale = operand(n, 1), *zero = operand(n, 2);

	return scale && mlo_tensor_elems(scale) == 1 && (!has_operand(n, 2) || (zero && mlo_tensor_elems(zero) == 1));
}

double mlo_lift_scale(const MloValue *v)
{
	return mlo_tensor_f64(mlo_lift_source(v)->in[1]->data, 0);
}

/* -- weights ------------------------------------------------------------------------------------------- */

static const char *scales_fit(const MloNode *dq, const MloTensor *q, int axis)
{
	const MloTensor *scale = operand(dq, 1), *zero = operand(dq, 2);
	int64_t n = mlo_tensor_elems(scale), at = mlo_attr_i(dq, ATTR_dequantize_linear_axis);

	if (mlo_attr_i(dq, ATTR_dequantize_linear_block_size))
		return "its weights have a scale for each block";
	if (scale->elem != EL_f32)
		return "its scales are not float32";
	if (n != 1 && ((at + q->rank) % q->rank != axis || n != q->dim[axis]))
		return "scales of its weights are not those of outputs";
	return zero && mlo_tensor_elems(zero) != n ? "its zero points are not as many as its scales" : NULL;
}

static MloValue *dequantised(MloGraph *g, const MloPtqStored *s, int axis, const char *name)
{
	MloTensor *t = mlo_tensor_new(g->arena, EL_f32, s->q->rank, s->q->dim);
	int64_t inner = 1, scales = mlo_tensor_elems(s->scale);

	for (int i = axis + 1; i < t->rank; i++)
		inner *= t->dim[i];
	for (int64_t e = 0, n = mlo_tensor_elems(t); e < n; e++) {
		int64_t c = scales > 1 ? e / inner % t->dim[axis] : 0;

		mlo_tensor_set_f64(t, e, (mlo_tensor_f64(s->q, e) - (s->zero ? mlo_tensor_f64(s->zero, c) : 0)) *
						 mlo_tensor_f64(s->scale, c));
	}
	return mlo_graph_const(g, t, name);
}

/* The name without what was put behind it when integers were made of the value. */
static const char *stem(MloGraph *g, const char *name)
{
	static const char end[] = "_quantized";
	size_t n = name ? strlen(name) : 0, tail = sizeof end - 1;

	return n > tail && !strcmp(name + n - tail, end) ? mlo_sprintf(g->arena, "%.*s", (int)(n - tail), name) : name;
}

/* `v` instead of what was dequantised there. */
static void take_operand(MloGraph *g, MloNode *n, uint32_t slot, MloValue *v)
{
	MloNode *old = n->in[slot]->def;

	mlo_node_set_in(g, n, slot, v);
	mlo_rw_sweep(g, old);
}

/* The float32 constant that v, a bias of integers, stands for; NULL: it is none. */
static MloValue *bias_of(MloGraph *g, const MloValue *v)
{
	const MloNode *dq = mlo_def_op(v, OP_dequantize_linear);
	const MloTensor *q = dq ? operand(dq, 0) : NULL, *scale = dq ? operand(dq, 1) : NULL;

	if (!q || !scale || q->elem != EL_i32 || q->rank != 1 || (has_operand(dq, 2) && !mlo_const_all(dq->in[2], 0)) ||
	    (mlo_tensor_elems(scale) != 1 && mlo_tensor_elems(scale) != q->dim[0]))
		return NULL;
	return dequantised(g, &(MloPtqStored){.q = q, .scale = scale}, 0, stem(g, dq->in[0]->name));
}

/* Why not; NULL: they are in *s. */
static const char *weights_of(MloGraph *g, const MloNode *n, int axis, MloPtqStored *s)
{
	const MloNode *dq = mlo_def_op(n->in[1], OP_dequantize_linear);
	const MloNode *from = mlo_lift_source(n->in[0]);
	const MloTensor *q;

	if (!dq)
		return n->in[1]->data ? "its weights are not quantised" : "its weights are no constants";
	q = operand(dq, 0);
	if (!q || !operand(dq, 1) || (has_operand(dq, 2) && !operand(dq, 2)))
		return "its weights are no constants";
	if (!from || !one_scale(from))
		return "what it reads has no scale that is known";
	if (q->elem != EL_i8 && q->elem != EL_u8)
		return "its weights do not have 8 bits";
	if (n->op == OP_matmul && q->rank != 2)
		return "its weights are no matrix";
	if (n->op == OP_conv && has_operand(n, 2) && !n->in[2]->data && !bias_of(g, n->in[2]))
		return "its bias is no constant";
	*s = (MloPtqStored){.q = q, .scale = operand(dq, 1), .zero = operand(dq, 2)};
	return scales_fit(dq, q, axis);
}

/* -- layers -------------------------------------------------------------------------------------------- */

static MloNode *with_bias(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	const MloTensor *w = n->in[1]->data;
	MloValue *in[3] = {n->in[0], n->in[1],
			   mlo_graph_const(g, mlo_tensor_new(g->arena, EL_f32, 1, w->dim),
					   mlo_sprintf(g->arena, "%s_bias", mlo_node_name(n)))};
	MloNode *with = mlo_rw_node(g, n, OP_conv, n, in, 3);

	mlo_rw_copy_attrs(with, n);
	mlo_rw_replace(g, n, mlo_rw_done(g, with, cx));
	return with;
}

static MloNode *lift_conv_bias(MloGraph *g, MloNode *n, MloPtqStored *s, MloPassCx *cx)
{
	s->bias = true;
	if (!has_operand(n, 2))
		return with_bias(g, n, cx);
	s->bias = !n->in[2]->data;
	if (s->bias)
		take_operand(g, n, 2, bias_of(g, n->in[2]));
	return n;
}

static bool reads_activation(const MloNode *n)
{
	return (n->op == OP_conv || n->op == OP_matmul) && n->in[0]->type.elem == EL_f32 && mlo_lift_source(n->in[0]) &&
	       !n->in[0]->data;
}

size_t mlo_lift(MloArena *a, MloGraph *g, MloLifted **out, MloDiag *d)
{
	MloPassCx cx = {.arena = a, .diag = d};
	struct {
		MloLifted *items;
		size_t n, cap;
	} list = {0};

	for (MloNode *n = g->first, *next; n; n = next) {
		MloLifted l = {.n = n};
		const int axis = n->op == OP_conv ? 0 : 1;

		next = n->next;
		if (!reads_activation(n) || (!n->in[1]->data && !mlo_def_op(n->in[1], OP_dequantize_linear)) ||
		    (n->in[1]->def && !operand(n->in[1]->def, 0))) /* a product of activations */
			continue;
		l.off = weights_of(g, n, axis, &l.stored);
		if (!l.off) {
			take_operand(g, n, 1, dequantised(g, &l.stored, axis, stem(g, n->in[1]->def->in[0]->name)));
			if (n->op == OP_conv)
				l.n = lift_conv_bias(g, n, &l.stored, &cx);
			else
				l.stored.bias = n->in[0]->type.rank == 2; /* of Gemm */
		}
		MLO_PUSH(a, &list, l);
	}
	*out = list.items;
	return list.n;
}

void mlo_lift_mark(MloPtq *q, MloLifted *list, size_t n)
{
	for (size_t i = 0; i < q->nlayers; i++)
		for (size_t k = 0; k < n; k++)
			if (!list[k].off && list[k].n == q->layer[i].n)
				q->layer[i].stored = &list[k].stored;
}

/* -- activations --------------------------------------------------------------------------------------- */

static bool same_numbers(const MloNode *a, const MloNode *b)
{
	return operand(a, 1) && operand(b, 1) && mlo_tensor_equal(operand(a, 1), operand(b, 1)) &&
	       has_operand(a, 2) == has_operand(b, 2) &&
	       (!has_operand(a, 2) || (operand(a, 2) && operand(b, 2) && mlo_tensor_equal(operand(a, 2), operand(b, 2))));
}

/* Does whatever reads the integers of n dequantise them, by the same numbers? */
static bool only_dequantised(const MloGraph *g, const MloNode *n)
{
	for (const MloUse *u = n->out[0]->uses; u; u = u->next)
		if (u->node->op != OP_dequantize_linear || u->slot != 0 || !same_numbers(n, u->node))
			return false;
	return n->out[0]->nuse > 0 && !mlo_is_output(g, n->out[0]);
}

static void limits(MloElem e, double *lo, double *hi)
{
	const int bits = (int)mlo_elem_bits(e);
	const bool is_signed = mlo_elem_class(e) == EC_INT;

	*lo = is_signed ? -ldexp(1, bits - 1) : 0;
	*hi = ldexp(1, bits - is_signed) - 1;
}

static MloLiftPair pair_of(MloNode *n)
{
	double lo, hi, scale = mlo_tensor_f64(operand(n, 1), 0), zero = has_operand(n, 2) ? mlo_tensor_f64(operand(n, 2), 0) : 0;
	MloElem e = n->out[0]->type.elem;

	limits(e, &lo, &hi);
	return (MloLiftPair){.quantize = n,
			     .range = {(lo - zero) * scale, (hi - zero) * scale},
			     .symmetric = mlo_elem_class(e) == EC_INT && zero == 0,
			     .positive = mlo_elem_class(e) == EC_UINT && !has_operand(n, 2)};
}

static size_t root(const MloLiftPair *p, size_t i)
{
	while (p[i].group != i)
		i = p[i].group;
	return i;
}

static size_t index_of(const MloLiftPair *p, size_t n, const MloNode *quantize)
{
	size_t i = 0;

	while (i < n && p[i].quantize != quantize)
		i++;
	return i;
}

/* The pair that v was dequantised by. */
static size_t source_of(const MloLiftPair *p, size_t n, const MloValue *v)
{
	const MloNode *dq = mlo_def_op(v, OP_dequantize_linear);

	return dq && dq->in[0]->def ? index_of(p, n, dq->in[0]->def) : n;
}

/* What only moves values, and concatenations, keep their integers if both sides have the same numbers. */
static void share(MloLiftPair *p, size_t n, const MloPtqLayer *l)
{
	const MloNode *q = l->n->out[0]->uses ? l->n->out[0]->uses->node : NULL;
	size_t to = q && q->op == OP_quantize_linear ? index_of(p, n, q) : n;

	for (uint32_t i = 0; to < n && i < (l->kind == PTQ_MOVE ? 1 : l->n->nin); i++) {
		size_t from = source_of(p, n, l->n->in[i]);

		if (from < n && same_numbers(p[from].quantize, p[to].quantize)) {
			size_t a = root(p, from), b = root(p, to);

			p[a > b ? a : b].group = a > b ? b : a;
		}
	}
}

size_t mlo_lift_pairs(MloArena *a, const MloPtq *q, MloLiftPair **out)
{
	struct {
		MloLiftPair *items;
		size_t n, cap;
	} list = {0};

	for (MloNode *n = q->g->first; n; n = n->next) {
		MloLiftPair p;

		if (n->op != OP_quantize_linear || n->in[0]->type.elem != EL_f32 || n->in[0]->data || !one_scale(n) ||
		    operand(n, 1)->elem != EL_f32 || !mlo_elem_is_int(n->out[0]->type.elem) ||
		    mlo_elem_bits(n->out[0]->type.elem) < 8 || !only_dequantised(q->g, n))
			continue;
		p = pair_of(n);
		p.group = list.n;
		MLO_PUSH(a, &list, p);
	}
	for (size_t i = 0; i < q->nlayers; i++)
		if (q->layer[i].kind == PTQ_MOVE || q->layer[i].n->op == OP_concat)
			share(list.items, list.n, &q->layer[i]);
	for (size_t i = 0; i < list.n; i++)
		list.items[i].group = root(list.items, i);
	*out = list.items;
	return list.n;
}

static void set_number(MloGraph *g, const MloLiftPair *p, uint32_t slot, double v)
{
	MloNode *n = p->quantize;
	const MloTensor *old = n->in[slot]->data;
	MloTensor *t = mlo_tensor_new(g->arena, old->elem, old->rank, old->dim);
	MloValue *c;

	mlo_tensor_set_f64(t, 0, v);
	if (mlo_tensor_equal(t, old))
		return;
	c = mlo_graph_const(g, t, n->in[slot]->name);
	mlo_node_set_in(g, n, slot, c);
	for (const MloUse *u = n->out[0]->uses; u; u = u->next)
		mlo_node_set_in(g, u->node, slot, c);
}

void mlo_lift_set(MloGraph *g, const MloLiftPair *p, MloRange r)
{
	bool zeroed = has_operand(p->quantize, 2);
	double scale;
	int32_t zero;

	mlo_range_numbers(r, p->quantize->out[0]->type.elem, p->symmetric, &scale, &zero);
	MLO_ASSERT(zeroed || !zero);
	set_number(g, p, 1, scale);
	if (zeroed)
		set_number(g, p, 2, zero);
}
