/* passes/recompose.c -- recognise operators that exporters write out in smaller ones.
 * Requires: types, canon, cse.  Keeps: types, order.  Breaks: nothing.  Idempotent.
 *
 * Each matcher looks at one root node.  Products are matched as a set of factors, so the order in
 * which an exporter multiplies does not matter. */
#include <math.h>
#include <string.h>

#include "passes/match.h"

enum { MAX_FACTORS = 6 };

/* x0 * x1 * ... * k, gathered through multiplications and divisions that have no other reader. */
typedef struct Product {
	MloValue *factor[MAX_FACTORS];
	int n;
	double k;
} Product;

static bool gather_product(MloValue *v, Product *p, bool root)
{
	MloNode *mul = root ? mlo_def_op(v, OP_mul) : mlo_def_only(v, OP_mul);
	MloNode *div = root ? mlo_def_op(v, OP_div) : mlo_def_only(v, OP_div);
	double k;

	if (mlo_const_scalar(v, &k)) {
		p->k *= k;
		return true;
	}
	if (div && mlo_const_scalar(div->in[1], &k) && k != 0) {
		p->k /= k;
		return gather_product(div->in[0], p, false);
	}
	if (mul)
		return gather_product(mul->in[0], p, false) && gather_product(mul->in[1], p, false);
	if (p->n == MAX_FACTORS)
		return false;
	p->factor[p->n++] = v;
	return true;
}

static Product product_of(MloValue *v)
{
	Product p = {.k = 1};

	if (!gather_product(v, &p, true))
		p.n = 0;
	return p;
}

/* x + k with a scalar k, in either order. */
static MloValue *plus_scalar(const MloNode *add, double k, double tolerance)
{
	double c;
	int side = add ? mlo_const_side(add) : -1;

	if (side < 0 || !mlo_const_scalar(add->in[side], &c) || !mlo_near(c, k, tolerance))
		return NULL;
	return add->in[1 - side];
}

/* Puts `n`, a new node whose attributes are set, in the place of root; returns n. */
static MloNode *replace(MloGraph *g, MloNode *root, MloNode *n, MloPassCx *cx)
{
	bool done = mlo_rw_replace(g, root, mlo_rw_done(g, n, cx));

	MLO_ASSERT(done);
	return n;
}

static MloNode *replace1(MloGraph *g, MloNode *root, MloOp op, MloValue *x, int slot, double attr,
                     MloPassCx *cx)
{
	MloNode *n;

	if (!mlo_type_same(&x->type, &root->out[0]->type))
		return NULL;
	n = mlo_rw_node(g, root, op, root, &x, 1);
	if (slot >= 0)
		mlo_attr_set_f(n, slot, attr);
	return replace(g, root, n, cx);
}

/* -- gelu ------------------------------------------------------------------------------------ */

/* erf(x / sqrt 2): x. */
static MloValue *erf_argument(const MloValue *v)
{
	const MloNode *erf = mlo_def_only(v, OP_erf);
	Product p;

	if (!erf || erf->in[0]->nuse != 1)
		return NULL;
	p = product_of(erf->in[0]);
	return p.n == 1 && mlo_near(p.k, 0.70710678118654752, 1e-5) ? p.factor[0] : NULL;
}

/* x * x * x or x ** 3 with the factor 0.044715: the cube's operand must be x. */
static bool is_scaled_cube(MloValue *v, const MloValue *x)
{
	Product p = product_of(v);
	const MloNode *pow = p.n == 1 ? mlo_def_only(p.factor[0], OP_pow) : NULL;

	if (!mlo_near(p.k, 0.044715, 1e-4))
		return false;
	if (pow)
		return pow->in[0] == x && mlo_const_is(pow->in[1], 3);
	for (int i = 0; i < p.n; i++)
		if (p.factor[i] != x)
			return false;
	return p.n == 3;
}

/* tanh(sqrt(2/pi) * (x + 0.044715 x^3)): x. */
static MloValue *tanh_argument(const MloValue *v)
{
	const MloNode *tanh = mlo_def_only(v, OP_tanh), *sum;
	Product p;

	if (!tanh || tanh->in[0]->nuse != 1)
		return NULL;
	p = product_of(tanh->in[0]);
	sum = p.n == 1 ? mlo_def_only(p.factor[0], OP_add) : NULL;
	if (!sum || !mlo_near(p.k, 0.79788456080286536, 1e-5))
		return NULL;
	for (int i = 0; i < 2; i++)
		if (is_scaled_cube(sum->in[1 - i], sum->in[i]))
			return sum->in[i];
	return NULL;
}

/* 0.5 * x * (1 + erf(...)) or with tanh, factors in any order. */
static MloNode *recompose_gelu(MloGraph *g, MloNode *root, const Product *p, MloPassCx *cx)
{
	if (p->n != 2 || !mlo_near(p->k, 0.5, 1e-6))
		return NULL;
	for (int i = 0; i < 2; i++) {
		MloValue *inner = plus_scalar(mlo_def_only(p->factor[i], OP_add), 1, 0), *x = p->factor[1 - i];
		MloNode *n;

		if (!inner || (erf_argument(inner) != x && tanh_argument(inner) != x))
			continue;
		if (!mlo_type_same(&x->type, &root->out[0]->type))
			continue;
		n = mlo_rw_node(g, root, OP_gelu, root, &x, 1);
		if (mlo_def_op(inner, OP_tanh))
			mlo_attr_set_s(g, n, ATTR_gelu_approximate, "tanh");
		return replace(g, root, n, cx);
	}
	return NULL;
}

/* -- swish, hard_swish, hard_sigmoid --------------------------------------------------------- */

static MloNode *recompose_swish(MloGraph *g, MloNode *root, const Product *p, MloPassCx *cx)
{
	if (p->n != 2 || p->k != 1)
		return NULL;
	for (int i = 0; i < 2; i++) {
		MloValue *x = p->factor[1 - i];
		const MloNode *s = mlo_def_only(p->factor[i], OP_sigmoid);
		Product arg;

		if (!s)
			continue;
		if (s->in[0] == x)
			return replace1(g, root, OP_swish, x, -1, 0, cx);
		arg = product_of(s->in[0]);
		if (s->in[0]->nuse == 1 && arg.n == 1 && arg.factor[0] == x)
			return replace1(g, root, OP_swish, x, ATTR_swish_alpha, arg.k, cx);
	}
	return NULL;
}

/* clip(x + 3, 0, 6): x. */
static MloValue *relu6_argument(const MloValue *v)
{
	const MloNode *clip = mlo_def_only(v, OP_clip);

	if (!clip || clip->nin < 3 || !mlo_const_is(clip->in[1], 0) || !mlo_const_is(clip->in[2], 6))
		return NULL;
	return plus_scalar(mlo_def_only(clip->in[0], OP_add), 3, 0);
}

static MloNode *recompose_hard_swish(MloGraph *g, MloNode *root, const Product *p, MloPassCx *cx)
{
	for (int i = 0; i < 2 && p->n == 2; i++) {
		MloValue *x = p->factor[1 - i];
		const MloNode *h = mlo_def_only(p->factor[i], OP_hard_sigmoid);

		if (h && p->k == 1 && h->in[0] == x && mlo_attr_f(h, ATTR_hard_sigmoid_beta) == 0.5 &&
		    mlo_near(mlo_attr_f(h, ATTR_hard_sigmoid_alpha), 1.0 / 6, 1e-6))
			return replace1(g, root, OP_hard_swish, x, -1, 0, cx);
		if (mlo_near(p->k, 1.0 / 6, 1e-6) && relu6_argument(p->factor[i]) == x)
			return replace1(g, root, OP_hard_swish, x, -1, 0, cx);
	}
	return NULL;
}

/* clip(x + 3, 0, 6) / 6 -> hard_sigmoid.  Not where a product goes on to a hard_swish. */
static MloNode *recompose_hard_sigmoid(MloGraph *g, MloNode *root, const Product *p, MloPassCx *cx)
{
	MloValue *x = p->n == 1 && mlo_near(p->k, 1.0 / 6, 1e-6) ? relu6_argument(p->factor[0]) : NULL;
	MloNode *n;

	if (!x || !mlo_type_same(&x->type, &root->out[0]->type))
		return NULL;
	n = mlo_rw_node(g, root, OP_hard_sigmoid, root, &x, 1);
	mlo_attr_set_f(n, ATTR_hard_sigmoid_alpha, 1.0 / 6);
	mlo_attr_set_f(n, ATTR_hard_sigmoid_beta, 0.5);
	return replace(g, root, n, cx);
}

static MloNode *recompose_product(MloGraph *g, MloNode *root, MloPassCx *cx)
{
	MloNode *n;
	Product p;

	if (!mlo_elem_is_float(root->out[0]->type.elem))
		return NULL;
	p = product_of(root->out[0]);
	n = recompose_gelu(g, root, &p, cx);
	n = n ? n : recompose_swish(g, root, &p, cx);
	n = n ? n : recompose_hard_swish(g, root, &p, cx);
	n = n ? n : recompose_hard_sigmoid(g, root, &p, cx);
	return n;
}

/* -- softmax --------------------------------------------------------------------------------- */

/* The single axis a reduction with keepdims goes over, or -1. */
static int one_kept_axis(const MloNode *r)
{
	int64_t axes[MLO_MAX_RANK];
	int n = r ? mlo_reduce_axes(r, axes) : -1;

	return n == 1 && mlo_attr_i(r, ATTR_reduce_sum_keepdims) ? (int)axes[0] : -1;
}

/* exp(x) / sum(exp(x)), with or without the maximum taken off x first. */
static MloNode *recompose_softmax(MloGraph *g, MloNode *root, MloPassCx *cx)
{
	MloNode *sum = mlo_def_only(root->in[1], OP_reduce_sum), *e = mlo_def_op(root->in[0], OP_exp);
	MloNode *sub, *max, *n;
	int axis = one_kept_axis(sum);
	MloValue *x;

	if (axis < 0 || !e || sum->in[0] != e->out[0] || e->out[0]->nuse != 2)
		return NULL;
	x = e->in[0];
	sub = mlo_def_only(x, OP_sub);
	max = sub ? mlo_def_only(sub->in[1], OP_reduce_max) : NULL;
	if (max && max->in[0] == sub->in[0] && one_kept_axis(max) == axis)
		x = sub->in[0];
	n = mlo_rw_node(g, root, OP_softmax, root, &x, 1);
	mlo_attr_set_i(n, ATTR_softmax_axis, axis);
	return replace(g, root, n, cx);
}

/* -- layer norm ------------------------------------------------------------------------------ */

typedef struct Norm {
	MloValue *x;
	int axis;    /* first normalised axis */
	double eps;
} Norm;

/* A mean over the trailing axes from *axis on, dimensions kept. */
static MloNode *trailing_mean(const MloValue *v, int *axis)
{
	MloNode *r = mlo_def_op(v, OP_reduce_mean);
	int64_t axes[MLO_MAX_RANK];
	int n = r ? mlo_reduce_axes(r, axes) : -1, rank = r ? r->in[0]->type.rank : 0;

	if (n < 1 || !mlo_attr_i(r, ATTR_reduce_mean_keepdims) || axes[0] != rank - n)
		return NULL;
	*axis = rank - n;
	return r;
}

/* d * d or d ** 2. */
static bool is_square(const MloValue *v, const MloValue *d)
{
	const MloNode *mul = mlo_def_op(v, OP_mul), *pow = mlo_def_op(v, OP_pow);

	if (mul)
		return mul->in[0] == d && mul->in[1] == d;
	return pow && pow->in[0] == d && mlo_const_is(pow->in[1], 2);
}

/* d = x - mean(x): x. */
static bool is_centred(const MloValue *d, Norm *m)
{
	const MloNode *sub = mlo_def_op(d, OP_sub), *mean;
	int axis;

	mean = sub ? trailing_mean(sub->in[1], &axis) : NULL;
	if (!mean || mean->in[0] != sub->in[0])
		return false;
	m->x = sub->in[0];
	m->axis = axis;
	return true;
}

/* v = mean(d * d) + eps. */
static bool is_variance(const MloValue *v, const MloValue *d, Norm *m)
{
	const MloNode *add = mlo_def_op(v, OP_add), *mean;
	int side = add ? mlo_const_side(add) : -1, axis;

	if (side < 0 || !mlo_const_scalar(add->in[side], &m->eps))
		return false;
	mean = trailing_mean(add->in[1 - side], &axis);
	return mean && axis == m->axis && is_square(mean->in[0], d);
}

/* Whether s is 1 / sqrt(v), in any spelling; v is returned. */
static const MloValue *inverse_root(const MloValue *s)
{
	const MloNode *rec = mlo_def_op(s, OP_reciprocal), *div = mlo_def_op(s, OP_div);
	const MloNode *pow = mlo_def_op(s, OP_pow), *root = NULL;

	if (pow && mlo_const_is(pow->in[1], -0.5))
		return pow->in[0];
	if (rec)
		root = mlo_def_op(rec->in[0], OP_sqrt);
	else if (div && mlo_const_is(div->in[0], 1))
		root = mlo_def_op(div->in[1], OP_sqrt);
	return root ? root->in[0] : NULL;
}

/* (x - mean) / sqrt(var + eps): the root is the division, or the product with the inverse. */
static bool is_norm(const MloNode *root, Norm *m)
{
	if (root->op == OP_div) {
		const MloNode *sqrt = mlo_def_op(root->in[1], OP_sqrt);
		const MloNode *pow = mlo_def_op(root->in[1], OP_pow);
		const MloValue *v = sqrt ? sqrt->in[0] : pow && mlo_const_is(pow->in[1], 0.5) ? pow->in[0] : NULL;

		return v && is_centred(root->in[0], m) && is_variance(v, root->in[0], m);
	}
	for (int i = 0; i < 2; i++) {
		const MloValue *v = inverse_root(root->in[i]), *d = root->in[1 - i];

		if (v && is_centred(d, m) && is_variance(v, d, m))
			return true;
	}
	return false;
}

/* The constant as a tensor of exactly the normalised shape; NULL when it is something else. */
static MloValue *affine_operand(MloGraph *g, const MloValue *c, const Norm *m)
{
	const MloType *t = &m->x->type;
	int64_t want[MLO_MAX_RANK];
	int n = t->rank - m->axis, extra;

	if (!c->data || c->data->elem != t->elem || c->data->rank < n)
		return NULL;
	extra = c->data->rank - n;
	for (int i = 0; i < extra; i++)
		if (c->data->dim[i] != 1)
			return NULL;
	for (int i = 0; i < n; i++) {
		want[i] = c->data->dim[extra + i];
		if (!mlo_has_dim(t, m->axis + i, want[i]))
			return NULL;
	}
	return mlo_rw_view(g, c, n, want);
}

static MloValue *ones(MloGraph *g, const Norm *m)
{
	const MloType *t = &m->x->type;
	int64_t dims[MLO_MAX_RANK], count;
	MloTensor *r;

	for (int i = m->axis; i < t->rank; i++) {
		if (!mlo_dim_known(t->dim[i]))
			return NULL;
		dims[i - m->axis] = t->dim[i].k;
	}
	r = mlo_tensor_new(g->arena, t->elem, t->rank - m->axis, dims);
	count = mlo_tensor_elems(r);
	for (int64_t i = 0; i < count; i++)
		mlo_tensor_set_f64(r, i, 1);
	return mlo_graph_const(g, r, NULL);
}

/* The one reader of root's result if it is that operator with a fitting constant: moves root on. */
static MloValue *take_affine(MloGraph *g, MloNode **root, MloOp op, const Norm *m)
{
	MloNode *n = (*root)->out[0]->nuse == 1 ? mlo_only_user(g, (*root)->out[0]) : NULL;
	int side = n && n->op == op ? mlo_const_side(n) : -1;
	MloValue *c = side >= 0 ? affine_operand(g, n->in[side], m) : NULL;

	if (c)
		*root = n;
	return c;
}

static MloNode *recompose_layer_norm(MloGraph *g, MloNode *root, MloPassCx *cx)
{
	MloNode *start = root, *n;
	MloValue *in[3] = {NULL};
	Norm m;

	if (!is_norm(root, &m) || !mlo_type_same(&m.x->type, &root->out[0]->type))
		return NULL;
	in[0] = m.x;
	in[1] = take_affine(g, &root, OP_mul, &m);
	if (!in[1] && !(in[1] = ones(g, &m)))
		return NULL;
	in[2] = take_affine(g, &root, OP_add, &m);
	n = mlo_rw_node(g, start, OP_layer_norm, start, in, in[2] ? 3 : 2);
	mlo_attr_set_i(n, ATTR_layer_norm_axis, m.axis);
	mlo_attr_set_f(n, ATTR_layer_norm_epsilon, m.eps);
	return replace(g, root, n, cx);
}

/* -- the scale of attention scores ---------------------------------------------------------------- */

/* Whether v is x @ w [+ b] with constants and has one reader: bnfold takes a scale of it in. */
static bool is_projection(const MloValue *v)
{
	const MloNode *add = mlo_def_only(v, OP_add), *mul;
	int side = add ? mlo_const_side(add) : -1;

	mul = mlo_def_only(side >= 0 ? add->in[1 - side] : v, OP_matmul);
	return mul && mul->in[1]->data && !mul->in[0]->data;
}

/* (q @ k) / c, where q is a projection that was only moved about: scale the projection. */
static MloNode *recompose_scale(MloGraph *g, MloNode *root, MloPassCx *cx)
{
	int side = mlo_const_side(root);
	MloNode *dot = side >= 0 ? mlo_def_only(root->in[1 - side], OP_matmul) : NULL;
	double c;

	if (!dot || !mlo_const_scalar(root->in[side], &c) || (root->op == OP_div && (side != 1 || c == 0)))
		return NULL;
	if (!mlo_elem_is_float(root->out[0]->type.elem) || !mlo_type_same(&root->out[0]->type, &dot->out[0]->type))
		return NULL;
	for (uint32_t i = 0; i < 2; i++) {
		MloNode *user = dot, *move;
		MloValue *v = dot->in[i], *k;
		uint32_t slot = i;

		while ((move = mlo_def_only(v, OP_reshape)) || (move = mlo_def_only(v, OP_transpose))) {
			user = move;
			slot = 0;
			v = move->in[0];
		}
		if (!is_projection(v))
			continue;
		k = mlo_rw_scalar(g, v->type.elem, root->op == OP_div ? 1 / c : c);
		mlo_node_set_in(g, user, slot, mlo_rw_op(g, user, OP_mul, root, cx, v, k));
		return mlo_rw_replace(g, root, dot->out[0]) ? dot : NULL;
	}
	return NULL;
}

/* -- the pass -------------------------------------------------------------------------------- */

static const struct Matcher {
	MloOp root;
	MloNode *(*match)(MloGraph *g, MloNode *root, MloPassCx *cx); /* the node that took its place */
} matchers[] = {
	{OP_div, recompose_softmax},    {OP_div, recompose_layer_norm}, {OP_mul, recompose_layer_norm},
	{OP_mul, recompose_product},    {OP_div, recompose_product},    {OP_mul, recompose_scale},
	{OP_div, recompose_scale},
};

MloStatus mlo_pass_recompose(MloGraph *g, MloPassCx *cx)
{
	/* Backwards: the outermost product is the pattern, not one of its factors.  A match may remove
	 * nodes on both sides of the root, so go on from what took its place. */
	for (MloNode *n = g->last; n; n = n->prev) {
		for (size_t i = 0; i < sizeof matchers / sizeof *matchers; i++) {
			MloNode *done;

			if (matchers[i].root != n->op || !mlo_node_used(n))
				continue;
			done = matchers[i].match(g, n, cx);
			if (done) {
				cx->changed++;
				n = done;
				break;
			}
		}
	}
	return MLO_OK;
}
