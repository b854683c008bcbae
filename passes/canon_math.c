/* passes/canon_math.c -- rules of canon.def for elementwise operators, batch_norm and gemm. */
#include <math.h>
#include <string.h>

#include "passes/canon.h"

enum { MAX_CHECKED = 1 << 20 }; /* constants larger than that are not searched for neutral elements */

bool canon_identity(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	(void)cx;
	/* Two graph outputs may be one value, but an output keeps a node that defines it. */
	return mlo_rw_replace(g, n, n->in[0]);
}

bool canon_cast(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	(void)cx;
	return n->in[0]->type.elem == n->out[0]->type.elem && mlo_rw_replace(g, n, n->in[0]);
}

bool canon_twice(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	const MloNode *inner = mlo_def_op(n->in[0], n->op);

	(void)cx;
	return inner && mlo_rw_replace(g, n, inner->in[0]);
}

bool canon_commute(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *a = n->in[0], *b = n->in[1];

	(void)cx;
	if (!a->data || b->data)
		return false;
	mlo_node_set_in(g, n, 0, b);
	mlo_node_set_in(g, n, 1, a);
	return true;
}

static bool small_const(const MloValue *v)
{
	return v->data && mlo_tensor_elems(v->data) <= MAX_CHECKED;
}

bool canon_neutral(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0], *c = n->in[1];

	(void)cx;
	if (!small_const(c) || !mlo_type_same(&x->type, &n->out[0]->type))
		return false;
	return mlo_const_all(c, n->op == OP_mul ? 1 : 0) && mlo_rw_replace(g, n, x);
}

static double negate(double x, double k)
{
	(void)k;
	return -x;
}

static double invert(double x, double k)
{
	(void)k;
	return 1 / x;
}

bool canon_sub(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0], *c = n->in[1];

	if (!c->data || x->data || !mlo_elem_is_float(x->type.elem))
		return false;
	c = mlo_rw_map(g, c, negate, 0);
	return mlo_rw_replace(g, n, mlo_rw_op(g, n, OP_add, n, cx, x, c));
}

/* Whether every element is a power of two whose inverse is normal, so that division is exact. */
static bool all_powers_of_two(const MloTensor *t)
{
	int64_t n = mlo_tensor_elems(t);

	for (int64_t i = 0; i < n; i++) {
		int e;
		double m = frexp(fabs(mlo_tensor_f64(t, i)), &e);

		if (m != 0.5 || e < -12 || e > 12)
			return false;
	}
	return true;
}

bool canon_div(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0], *c = n->in[1];

	if (!small_const(c) || x->data || !mlo_elem_is_float(x->type.elem))
		return false;
	if (!all_powers_of_two(c->data))
		return false;
	c = mlo_rw_map(g, c, invert, 0);
	return mlo_rw_replace(g, n, mlo_rw_op(g, n, OP_mul, n, cx, x, c));
}

bool canon_pow(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0];
	double k;

	if (!mlo_const_scalar(n->in[1], &k) || !mlo_elem_is_float(x->type.elem))
		return false;
	if (!mlo_type_same(&x->type, &n->out[0]->type))
		return false;
	if (k == 1)
		return mlo_rw_replace(g, n, x);
	if (k == 2)
		return mlo_rw_replace(g, n, mlo_rw_op(g, n, OP_mul, n, cx, x, x));
	return k == -1 && mlo_rw_replace(g, n, mlo_rw_op(g, n, OP_reciprocal, n, cx, x, NULL));
}

/* -- relu, clip, min, max -------------------------------------------------------------------- */

typedef struct Bounds {
	double lo, hi; /* infinite: open */
} Bounds;

/* The bounds of a clip; false when they are not constant. */
static bool bounds_of(const MloNode *n, Bounds *b)
{
	*b = (Bounds){-INFINITY, INFINITY};
	if (n->nin > 1 && n->in[1] && !mlo_const_scalar(n->in[1], &b->lo))
		return false;
	return !(n->nin > 2 && n->in[2]) || mlo_const_scalar(n->in[2], &b->hi);
}

static MloValue *make_clip(MloGraph *g, MloNode *n, MloValue *x, Bounds b, MloPassCx *cx)
{
	MloElem e = x->type.elem;
	MloValue *in[3] = {x, NULL, NULL};

	if (b.lo != -INFINITY)
		in[1] = mlo_rw_scalar(g, e, b.lo);
	if (b.hi != INFINITY)
		in[2] = mlo_rw_scalar(g, e, b.hi);
	return mlo_rw_done(g, mlo_rw_node(g, n, OP_clip, n, in, in[2] ? 3 : in[1] ? 2 : 1), cx);
}

/* Whether the operator's result is never below zero (NaN aside). */
static bool never_negative(const MloValue *v)
{
	static const MloOp ops[] = {OP_relu, OP_sigmoid, OP_hard_sigmoid, OP_exp, OP_abs, OP_sqrt,
	                            OP_softmax, OP_softplus, OP_reduce_l2};
	Bounds b;

	if (!v->def)
		return false;
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
		if (v->def->op == ops[i])
			return true;
	return v->def->op == OP_clip && bounds_of(v->def, &b) && b.lo >= 0;
}

bool canon_relu(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0];
	const MloNode *clip = mlo_def_only(x, OP_clip);
	Bounds b;

	if (never_negative(x))
		return mlo_rw_replace(g, n, x);
	if (!clip || !mlo_elem_is_float(x->type.elem) || !bounds_of(clip, &b) || b.hi < 0)
		return false;
	b.lo = fmax(b.lo, 0);
	return mlo_rw_replace(g, n, make_clip(g, n, clip->in[0], b, cx));
}

bool canon_clip_open(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0];
	Bounds b;

	if (!mlo_elem_is_float(x->type.elem) || !bounds_of(n, &b) || b.hi != INFINITY)
		return false;
	if (b.lo == -INFINITY)
		return mlo_rw_replace(g, n, x);
	return b.lo == 0 && mlo_rw_replace(g, n, mlo_rw_op(g, n, OP_relu, n, cx, x, NULL));
}

bool canon_clip_chain(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0];
	const MloNode *relu = mlo_def_op(x, OP_relu), *clip = mlo_def_op(x, OP_clip);
	Bounds b, first = {0, INFINITY};

	if (x->nuse != 1 || (!relu && !clip) || !mlo_elem_is_float(x->type.elem) || !bounds_of(n, &b))
		return false;
	if (clip && !bounds_of(clip, &first))
		return false;
	if (first.lo > first.hi || b.lo > b.hi)
		return false;
	/* min(max(min(max(x, l1), h1), l2), h2) is a clip to the second range clamped into by the first. */
	b = (Bounds){fmin(fmax(first.lo, b.lo), b.hi), fmin(fmax(first.hi, b.lo), b.hi)};
	return mlo_rw_replace(g, n, make_clip(g, n, (relu ? relu : clip)->in[0], b, cx));
}

bool canon_bound(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0];
	Bounds b = {-INFINITY, INFINITY};
	double k;

	if (!mlo_const_scalar(n->in[1], &k) || isnan(k) || !mlo_elem_is_float(x->type.elem))
		return false;
	if (!mlo_type_same(&x->type, &n->out[0]->type))
		return false;
	if (n->op == OP_max)
		b.lo = k;
	else
		b.hi = k;
	return mlo_rw_replace(g, n, make_clip(g, n, x, b, cx));
}

/* -- batch norm ------------------------------------------------------------------------------ */

bool canon_batch_norm(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0];
	int64_t channels, dims[MLO_MAX_RANK];
	MloTensor *scale, *shift;

	for (int i = 1; i < 5; i++)
		if (!n->in[i]->data)
			return false;
	if (x->type.rank < 2 || mlo_bn_folds(n))
		return false;
	channels = mlo_tensor_elems(n->in[1]->data);
	for (int i = 0; i < x->type.rank - 1; i++)
		dims[i] = i ? 1 : channels;
	scale = mlo_tensor_new(g->arena, x->type.elem, x->type.rank - 1, dims);
	shift = mlo_tensor_new(g->arena, x->type.elem, x->type.rank - 1, dims);
	for (int64_t c = 0; c < channels; c++) {
		double s = mlo_tensor_f64(n->in[1]->data, c) /
		           sqrt(mlo_tensor_f64(n->in[4]->data, c) + mlo_attr_f(n, ATTR_batch_norm_epsilon));

		mlo_tensor_set_f64(scale, c, s);
		mlo_tensor_set_f64(shift, c, mlo_tensor_f64(n->in[2]->data, c) -
		                             mlo_tensor_f64(n->in[3]->data, c) * s);
	}
	x = mlo_rw_op(g, n, OP_mul, n, cx, x, mlo_graph_const(g, scale, n->in[1]->name));
	x = mlo_rw_op(g, n, OP_add, n, cx, x, mlo_graph_const(g, shift, n->in[2]->name));
	return mlo_rw_replace(g, n, x);
}

/* -- gemm ------------------------------------------------------------------------------------ */

static double times(double x, double k)
{
	return x * k;
}

/* to[j][i] = from[i][j] in tiles, so that both sides stay in cache; `size` is a literal. */
static inline void transpose_tiles(char *to, const char *from, int64_t rows, int64_t cols, size_t size)
{
	for (int64_t i0 = 0; i0 < rows; i0 += 32)
		for (int64_t j0 = 0; j0 < cols; j0 += 32)
			for (int64_t j = j0; j < cols && j < j0 + 32; j++)
				for (int64_t i = i0; i < rows && i < i0 + 32; i++)
					memcpy(to + (size_t)(j * rows + i) * size,
					       from + (size_t)(i * cols + j) * size, size);
}

static MloTensor *transposed(MloArena *a, const MloTensor *t)
{
	int64_t rows = t->dim[0], cols = t->dim[1];
	size_t size = mlo_elem_bits(t->elem) / 8;
	MloTensor *r = mlo_tensor_new(a, t->elem, 2, (int64_t[]){cols, rows});

	if (size == 4)
		transpose_tiles((char *)r->data, t->data, rows, cols, 4);
	else if (size == 1)
		transpose_tiles((char *)r->data, t->data, rows, cols, 1);
	else
		transpose_tiles((char *)r->data, t->data, rows, cols, size);
	return r;
}

/* A dequantised constant matrix, transposed before it is dequantised; NULL: x is none. */
static MloValue *transposed_integers(MloGraph *g, MloNode *n, MloValue *x, MloPassCx *cx)
{
	MloNode *dq = mlo_def_op(x, OP_dequantize_linear), *t;
	MloValue *in[3] = {0};

	if (!dq || !dq->in[0]->data || mlo_elem_bits(dq->in[0]->data->elem) < 8 ||
	    mlo_attr_i(dq, ATTR_dequantize_linear_block_size))
		return NULL;
	for (uint32_t i = 0; i < dq->nin; i++)
		in[i] = dq->in[i];
	in[0] = mlo_graph_const(g, transposed(g->arena, in[0]->data), in[0]->name);
	t = mlo_rw_node(g, n, OP_dequantize_linear, dq, in, dq->nin);
	mlo_rw_copy_attrs(t, dq);
	if (in[1]->type.rank == 1)
		mlo_attr_set_i(t, ATTR_dequantize_linear_axis, 1 - (mlo_attr_i(dq, ATTR_dequantize_linear_axis) + 2) % 2);
	return mlo_rw_done(g, t, cx);
}

static MloValue *transpose2(MloGraph *g, MloNode *n, MloValue *x, MloPassCx *cx)
{
	MloValue *integers = transposed_integers(g, n, x, cx);
	MloNode *t;

	if (integers)
		return integers;

	if (x->data && mlo_elem_bits(x->data->elem) >= 8)
		return mlo_graph_const(g, transposed(g->arena, x->data), x->name);
	t = mlo_rw_node(g, n, OP_transpose, n, &x, 1);
	mlo_attr_set_ints(g, t, ATTR_transpose_perm, (int64_t[]){1, 0}, 2);
	return mlo_rw_done(g, t, cx);
}

static MloValue *scaled(MloGraph *g, MloNode *n, MloValue *x, double k, MloPassCx *cx)
{
	if (k == 1)
		return x;
	if (x->data)
		return mlo_rw_map(g, x, times, k);
	return mlo_rw_op(g, n, OP_mul, n, cx, x, mlo_rw_scalar(g, x->type.elem, k));
}

bool canon_gemm(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	double alpha = mlo_attr_f(n, ATTR_gemm_alpha), beta = mlo_attr_f(n, ATTR_gemm_beta);
	MloValue *a = n->in[0], *b = n->in[1], *c = n->nin > 2 ? n->in[2] : NULL, *y;

	if (!mlo_elem_is_float(a->type.elem) && (alpha != 1 || beta != 1))
		return false;
	if (mlo_attr_i(n, ATTR_gemm_transA))
		a = transpose2(g, n, a, cx);
	if (mlo_attr_i(n, ATTR_gemm_transB))
		b = transpose2(g, n, b, cx);
	if (b->data)
		b = scaled(g, n, b, alpha, cx);
	y = mlo_rw_op(g, n, OP_matmul, n, cx, a, b);
	if (!b->data)
		y = scaled(g, n, y, alpha, cx);
	if (c && beta != 0)
		y = mlo_rw_op(g, n, OP_add, n, cx, y, scaled(g, n, c, beta, cx));
	return mlo_rw_replace(g, n, y);
}
