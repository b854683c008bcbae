/* passes/integer.c -- products of dequantised tensors and weights become products of their integers.
 * Requires: types, canon, qmove.  Keeps: order, origins.  Breaks: nothing.  Idempotent.
 *
 *     quantize(clamp(conv(scale_x * (x - zero_x), scale_w[c] * (w - zero_w[c]), bias)))
 *
 * is  quantize(clamp(scale_x * scale_w[c] * (conv_integer(x, w, zero_x) + bias / (scale_x * scale_w[c])))),
 * where the sum is exact. The scale of the quantization divides that of the sum now, as QLinearConv has it:
 * float32, one rounding more per channel than the model's text. Weights lose their zero points where the
 * differences are 8-bit integers: they are constants, and kernels then need not know of any. */
#include <math.h>
#include <string.h>

#include "passes/quant.h"

/* A product y = x . w, w constant; channels of w run along `axis`, those of y along `out_axis`. */
typedef struct Product {
	MloNode *n; /* conv, conv_transpose or matmul */
	MloValue *x;
	MloQuant q;             /* of x */
	const MloTensor *w;     /* i8, without zero points */
	const MloTensor *scale; /* f32: one, or one per channel */
	int64_t channels;
	int out_axis;
} Product;

static int64_t channel_of(const MloTensor *t, int axis, int64_t i)
{
	for (int d = t->rank - 1; d > axis; d--)
		i /= t->dim[d];
	return i % t->dim[axis];
}

/* w - zero as i8; zero: absent, one, or one per channel along `axis`.  NULL: not all of them fit. */
static const MloTensor *plain_weights(MloArena *a, const MloTensor *w, const MloTensor *zero, int axis)
{
	MloTensor *t = mlo_tensor_new(a, EL_i8, w->rank, w->dim);
	int64_t n = mlo_tensor_elems(w), nz = zero ? mlo_tensor_elems(zero) : 0;
	int8_t *to = (int8_t *)t->data;

	for (int64_t i = 0; i < n; i++) {
		int64_t z = nz ? mlo_tensor_i64(zero, nz == 1 ? 0 : channel_of(w, axis, i)) : 0;
		int64_t v = mlo_tensor_i64(w, i) - z;

		if (v < INT8_MIN || v > INT8_MAX)
			return NULL;
		to[i] = (int8_t)v;
	}
	return t;
}

/* -- dequantised operands ---------------------------------------------------------------------- */

static bool read_weights(MloGraph *g, Product *p, const MloValue *v, int axis)
{
	const MloNode *d = mlo_def_op(v, OP_dequantize_linear);
	const MloValue *zero;
	double lo, hi;
	int along;

	if (!d || !d->in[0]->data || !d->in[1]->data || d->out[0]->type.elem != EL_f32 ||
	    d->in[1]->type.elem != EL_f32 || !mlo_quant_range(d->in[0]->type.elem, &lo, &hi) || hi > 255)
		return false;
	zero = d->nin > 2 ? d->in[2] : NULL;
	along = mlo_quant_axis(d);
	if ((zero && !zero->data) || (along != -1 && along != axis))
		return false;
	p->w = plain_weights(g->arena, d->in[0]->data, zero ? zero->data : NULL, axis);
	p->scale = d->in[1]->data;
	p->channels = d->in[0]->type.dim[axis].k;
	return p->w != NULL;
}

static bool read_input(Product *p, MloValue *v)
{
	if (!mlo_quant_from(v->def, &p->q) || mlo_elem_bits(p->q.elem) != 8 || v->def->in[0]->data)
		return false;
	p->x = v->def->in[0];
	return true;
}

/* Transposed: of one group, with pads that are numbers, whose taps do not overlap: others have no kernels of integers. */
static bool has_integer_form(const MloNode *n)
{
	int nk, ns, count;
	const int64_t *stride = mlo_attr_ints(n, ATTR_conv_transpose_strides, &ns);
	const MloType *w = &n->in[1]->type;

	mlo_attr_ints(n, ATTR_conv_transpose_output_shape, &count);
	nk = w->rank - 2;
	if (count || ns != nk || mlo_attr_i(n, ATTR_conv_transpose_group) != 1 ||
	    strcmp(mlo_attr_s(n, ATTR_conv_transpose_auto_pad), "NOTSET") != 0)
		return false;
	for (int i = 0; i < nk; i++)
		if (!mlo_has_dim(w, i + 2, stride[i]))
			return false;
	return true;
}

static bool read_product(MloGraph *g, Product *p, MloNode *n)
{
	int wr = n->in[1]->type.rank, yr = n->out[0]->type.rank;
	bool transposed = n->op == OP_conv_transpose, conv = n->op == OP_conv || transposed;

	if (transposed && !has_integer_form(n))
		return false;
	*p = (Product){.n = n, .out_axis = conv ? 1 : yr - 1};
	return yr >= 2 && wr >= 2 && read_input(p, n->in[0]) &&
	       read_weights(g, p, n->in[1], transposed ? 1 : conv ? 0 : wr - 1);
}

/* -- bias -------------------------------------------------------------------------------------- */

static float factor(const Product *p, int64_t c)
{
	return (float)p->q.scale * (float)mlo_tensor_f64(p->scale, mlo_tensor_elems(p->scale) == 1 ? 0 : c);
}

/* One element per channel, in a shape that broadcasts over the result. */
static MloTensor *per_channel(MloGraph *g, const Product *p, MloElem e)
{
	int64_t dims[MLO_MAX_RANK];
	int rank = p->n->out[0]->type.rank - p->out_axis;

	for (int i = 0; i < rank; i++)
		dims[i] = i ? 1 : p->channels;
	return mlo_tensor_new(g->arena, e, rank, dims);
}

/* A constant to add to the product, one element per channel or one for all: data, or its dequantization. */
typedef struct Bias {
	const MloTensor *data, *scale, *zero; /* scale: NULL for float data */
	const char *name;
} Bias;

static bool read_bias(const Product *p, const MloValue *v, int channel_dim, Bias *b)
{
	const MloNode *d = mlo_def_op(v, OP_dequantize_linear);
	const MloType *t = &v->type;
	int64_t n = mlo_type_elems(t);
	int axis;

	if (t->elem != EL_f32 ||
	    (n != 1 && (n != p->channels || channel_dim < 0 || !mlo_has_dim(t, channel_dim, n))))
		return false;
	*b = (Bias){.data = v->data, .name = v->name};
	if (v->data)
		return true;
	if (!d || !d->in[0]->data || !d->in[1]->data || (d->nin > 2 && d->in[2] && !d->in[2]->data))
		return false;
	axis = mlo_quant_axis(d);
	b->data = d->in[0]->data;
	b->scale = d->in[1]->data;
	b->zero = d->nin > 2 && d->in[2] ? d->in[2]->data : NULL;
	return axis == -1 || (axis >= 0 && axis == channel_dim);
}

/* The product's own bias, or one that is added to it alone: *n becomes the node behind which it is in. */
static bool find_bias(const MloGraph *g, const Product *p, MloNode **n, Bias *b)
{
	MloValue *own = (*n)->nin > 2 ? (*n)->in[2] : NULL;
	MloNode *u = mlo_only_user(g, (*n)->out[0]);

	if (own)
		return read_bias(p, own, own->type.rank - 1, b);
	if (!u || u->op != OP_add)
		return false;
	own = u->in[u->in[0] == (*n)->out[0]];
	if (!read_bias(p, own, p->out_axis - (u->out[0]->type.rank - own->type.rank), b) ||
	    own->type.rank > (*n)->out[0]->type.rank)
		return false;
	*n = u;
	return true;
}

static double element(const MloTensor *t, int64_t c)
{
	return mlo_tensor_f64(t, mlo_tensor_elems(t) == 1 ? 0 : c);
}

static float bias_at(const Bias *b, int64_t c)
{
	if (!b->scale)
		return (float)element(b->data, c);
	return (float)(element(b->data, c) - (b->zero ? element(b->zero, c) : 0)) *
	       (float)element(b->scale, c);
}

/* A bias in units of both scales, as exporters write it, is whole numbers to add to the sum. NULL: it is not
 * that. */
static MloTensor *whole_bias(MloGraph *g, const Product *p, const Bias *b)
{
	MloTensor *t = per_channel(g, p, EL_i32);
	bool exact = b->data->elem == EL_i32 && !(b->zero && element(b->zero, 0) != 0);

	for (int64_t c = 0; c < p->channels; c++) {
		double units = (double)bias_at(b, c) / factor(p, c);
		double whole = exact ? element(b->data, c) : rint(units);

		if (fabs(whole) > INT32_MAX / 2 || fabs(units - whole) > 1e-6 * fabs(whole))
			return NULL;
		mlo_tensor_set_f64(t, c, whole);
	}
	return t;
}

/* Any other, in units of `unit` (1: as it is). */
static MloTensor *float_bias(MloGraph *g, const Product *p, const Bias *b, double unit)
{
	MloTensor *t = per_channel(g, p, EL_f32);

	for (int64_t c = 0; c < p->channels; c++)
		mlo_tensor_set_f64(t, c, bias_at(b, c) / (float)unit);
	return t;
}

/* -- the product ------------------------------------------------------------------------------- */

static MloOp integer_op(MloOp op)
{
	return op == OP_conv ? OP_conv_integer : op == OP_conv_transpose ? OP_conv_transpose_integer : OP_matmul_integer;
}

/* Attributes of n in pairs: of its operator, of m's. */
static void copy_lists(MloGraph *g, MloNode *m, const MloNode *n, const int (*lists)[2], size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int len;
		const int64_t *v = mlo_attr_ints(n, lists[i][0], &len);

		mlo_attr_set_ints(g, m, lists[i][1], v, len);
	}
}

static void conv_attrs(MloGraph *g, MloNode *m, const MloNode *n)
{
	static const int lists[][2] = {{ATTR_conv_strides, ATTR_conv_integer_strides},
				       {ATTR_conv_dilations, ATTR_conv_integer_dilations},
				       {ATTR_conv_pads, ATTR_conv_integer_pads},
				       {ATTR_conv_kernel_shape, ATTR_conv_integer_kernel_shape}};

	copy_lists(g, m, n, lists, sizeof lists / sizeof *lists);
	mlo_attr_set_i(m, ATTR_conv_integer_group, mlo_attr_i(n, ATTR_conv_group));
	mlo_attr_set_s(g, m, ATTR_conv_integer_auto_pad, mlo_attr_s(n, ATTR_conv_auto_pad));
}

static void transposed_attrs(MloGraph *g, MloNode *m, const MloNode *n)
{
	static const int lists[][2] = {{ATTR_conv_transpose_strides, ATTR_conv_transpose_integer_strides},
				       {ATTR_conv_transpose_dilations, ATTR_conv_transpose_integer_dilations},
				       {ATTR_conv_transpose_pads, ATTR_conv_transpose_integer_pads},
				       {ATTR_conv_transpose_output_padding, ATTR_conv_transpose_integer_output_padding},
				       {ATTR_conv_transpose_kernel_shape, ATTR_conv_transpose_integer_kernel_shape}};

	copy_lists(g, m, n, lists, sizeof lists / sizeof *lists);
}

static MloValue *product(MloGraph *g, const Product *p, MloPassCx *cx)
{
	MloNode *n = p->n, *m;
	MloValue *zero = mlo_rw_scalar(g, p->q.elem, p->q.zero);
	MloValue *in[3] = {p->x, mlo_graph_const(g, p->w, n->in[1]->name), zero};

	m = mlo_rw_node(g, n, integer_op(n->op), n, in, p->q.zero != 0 ? 3 : 2);
	if (n->op == OP_conv)
		conv_attrs(g, m, n);
	else if (n->op == OP_conv_transpose)
		transposed_attrs(g, m, n);
	mlo_rw_done(g, m, cx);
	m->out[0]->type = n->out[0]->type; /* may know sizes better */
	m->out[0]->type.elem = EL_i32;
	return m->out[0];
}

/* scale_x * scale_w / unit */
static MloValue *scaled(MloGraph *g, const Product *p, MloValue *sum, double unit, MloPassCx *cx)
{
	int64_t count = mlo_tensor_elems(p->scale);
	MloTensor *t = mlo_tensor_new(g->arena, EL_f32, count > 1, &p->channels);
	MloValue *in[2] = {sum, NULL};
	MloNode *m;

	for (int64_t c = 0; c < count; c++)
		mlo_tensor_set_f64(t, c, factor(p, c) / (float)unit);
	in[1] = mlo_graph_const(g, t, NULL);
	m = mlo_rw_node(g, p->n, OP_dequantize_linear, p->n, in, 2);
	mlo_attr_set_i(m, ATTR_dequantize_linear_axis, p->out_axis);
	return mlo_rw_done(g, m, cx);
}

/* The quantization behind v, with nothing but clamping in between; NULL: there is none. */
static MloNode *quantized_by(MloGraph *g, const MloValue *v, MloQuant *q)
{
	MloNode *u = mlo_only_user(g, v);
	double bound;

	while (u && (u->op == OP_relu || u->op == OP_clip)) {
		for (uint32_t i = 1; i < u->nin; i++)
			if (u->in[i] && !mlo_const_scalar(u->in[i], &bound))
				return NULL;
		u = mlo_only_user(g, u->out[0]);
	}
	return u && mlo_quant_to(u, q) ? u : NULL;
}

/* What clamps `last` before `to` quantises it, on v in units of that; then rounded and clamped to the type.
 */
static MloValue *quantized(MloGraph *g, const Product *p, const MloNode *last, MloNode *to, double unit,
			   MloValue *v, MloPassCx *cx)
{
	MloValue *in[3] = {v, mlo_rw_scalar(g, EL_f32, 1), to->nin > 2 ? to->in[2] : NULL};
	MloNode *m;

	for (MloNode *u = mlo_only_user(g, last->out[0]); u != to; u = mlo_only_user(g, u->out[0])) {
		MloValue *bound[3] = {in[0], NULL, NULL};
		double x;

		for (uint32_t i = 1; i < u->nin; i++)
			if (u->in[i] && mlo_const_scalar(u->in[i], &x))
				bound[i] = mlo_rw_scalar(g, EL_f32, (float)x / (float)unit);
		in[0] = mlo_rw_done(g, mlo_rw_node(g, p->n, u->op, u, bound, u->nin), cx);
	}
	m = mlo_rw_node(g, p->n, OP_quantize_linear, to, in, to->nin);
	mlo_rw_copy_attrs(m, to);
	return mlo_rw_done(g, m, cx);
}

static void use_integers(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloNode *last = n, *to;
	MloTensor *whole;
	MloValue *v;
	Product p;
	Bias b;
	MloQuant q = {.scale = 1};
	bool biased;

	if (!read_product(g, &p, n))
		return;
	biased = find_bias(g, &p, &last, &b);
	if (!biased && n->nin > 2 && n->in[2])
		return;
	to = quantized_by(g, last->out[0], &q);
	v = product(g, &p, cx);
	whole = biased ? whole_bias(g, &p, &b) : NULL;
	if (whole)
		v = mlo_rw_op(g, n, OP_add, last, cx, v, mlo_graph_const(g, whole, b.name));
	v = scaled(g, &p, v, to ? q.scale : 1, cx);
	if (biased && !whole)
		v = mlo_rw_op(g, n, OP_add, last, cx, v,
			      mlo_graph_const(g, float_bias(g, &p, &b, to ? q.scale : 1), b.name));
	if (to)
		v = quantized(g, &p, last, to, q.scale, v, cx);
	cx->changed += mlo_rw_replace(g, to ? to : last, v);
}

/* -- integer operators of the model ------------------------------------------------------------ */

/* u8 weights, and those with zero points, as i8 without. */
static void use_plain_weights(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *zero = n->nin > 3 ? n->in[3] : NULL, *w = n->in[1], *x0 = n->nin > 2 ? n->in[2] : NULL;
	const MloTensor *plain;
	int64_t nz = zero ? mlo_type_elems(&zero->type) : 0;
	int axis = n->op == OP_conv_integer ? 0 : w->type.rank - 1;
	MloValue *in[3] = {n->in[0], NULL, x0};
	MloNode *m;

	if (!w->data || w->type.rank < 2 || (zero && !zero->data) || (w->type.elem == EL_i8 && !zero) ||
	    (nz > 1 && nz != w->data->dim[axis]))
		return;
	plain = plain_weights(g->arena, w->data, zero ? zero->data : NULL, axis);
	if (!plain)
		return;
	in[1] = mlo_graph_const(g, plain, w->name);
	m = mlo_rw_node(g, n, n->op, n, in, x0 ? 3 : 2);
	mlo_rw_copy_attrs(m, n);
	cx->changed += mlo_rw_replace(g, n, mlo_rw_done(g, m, cx));
}

MloStatus mlo_pass_integer(MloGraph *g, MloPassCx *cx)
{
	struct {
		MloNode **items;
		size_t n, cap;
	} list = {0};

	for (MloNode *n = g->first; n; n = n->next)
		if (n->op == OP_conv || n->op == OP_conv_transpose || n->op == OP_matmul || n->op == OP_conv_integer ||
		    n->op == OP_matmul_integer)
			MLO_PUSH(cx->arena, &list, n);
	for (size_t i = 0; i < list.n; i++) {
		MloNode *n = list.items[i];

		if (!mlo_node_used(n))
			continue;
		if (n->op == OP_conv_integer || n->op == OP_matmul_integer)
			use_plain_weights(g, n, cx);
		else
			use_integers(g, n, cx);
	}
	return MLO_OK;
}
