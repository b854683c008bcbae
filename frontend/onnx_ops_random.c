/* frontend/onnx_ops_random.c -- importers of random numbers, and of Dropout.
 *
 * A package gives the same numbers at every run: they are functions of the seed.  Nodes that name
 * none get one of their own. */
#include <string.h>

#include "frontend/onnx_ops.h"

/* Halves do not collide with the seeds that models choose. */
static double seed_of(OnnxNode *n)
{
	return onnx_attr(n, "seed") ? onnx_float(n, "seed", 0) : (double)n->im->ncreated + 0.5;
}

/* Attributes of n, and the element type: that of attribute dtype, else `e`. */
static MloNode *draw(OnnxNode *n, MloOp op, MloValue *operand, MloElem e)
{
	MloNode *m = onnx_node(n, op, &operand, 1, 1);
	double seed = seed_of(n);

	onnx_attrs(n, m);
	mlo_attr_set_f(m, mlo_attr_slot(op, "seed", 4), seed);
	mlo_attr_set_i(m, mlo_attr_slot(op, "dtype", 5), onnx_int(n, "dtype", mlo_elem_onnx(e)));
	return m;
}

void import_random(OnnxNode *n)
{
	MloValue *shape = onnx_ints_operand(n, "shape");

	if (!onnx_arity(n, 0, 0))
		return;
	if (!shape)
		onnx_fail(n, MLO_ERR_MODEL, "attribute 'shape' is missing");
	else
		onnx_finish(n, draw(n, n->row->op, shape, EL_f32));
}

void import_random_like(OnnxNode *n)
{
	if (!onnx_arity(n, 1, 1))
		return;
	onnx_finish(n, draw(n, n->row->op, onnx_op1(n, OP_shape, n->in[0]), onnx_elem_beside(n->in[0])));
}

void import_multinomial(OnnxNode *n)
{
	if (onnx_arity(n, 1, 1))
		onnx_finish(n, draw(n, OP_multinomial, n->in[0], EL_i32));
}

/* Numbers in [0, 1) of float type e, in the shape of x. */
static MloValue *uniform_like(OnnxNode *n, MloValue *x, MloElem e, double seed, bool twister)
{
	MloValue *shape = onnx_op1(n, OP_shape, x);
	MloNode *m = onnx_node(n, OP_random_uniform, &shape, 1, 1);

	mlo_attr_set_i(m, ATTR_random_uniform_dtype, mlo_elem_onnx(e));
	mlo_attr_set_f(m, ATTR_random_uniform_seed, seed);
	mlo_attr_set_i(m, ATTR_random_uniform_twister, twister);
	return onnx_infer(n, m);
}

/* 1 with probability x */
void import_bernoulli(OnnxNode *n)
{
	MloValue *p;
	MloElem e;
	int64_t to;

	if (!onnx_arity(n, 1, 1))
		return;
	e = onnx_elem_beside(n->in[0]);
	to = onnx_int(n, "dtype", mlo_elem_onnx(e));
	p = onnx_wide(n, n->in[0]);
	e = to > 0 && to < 256 ? mlo_elem_from_onnx((int)to) : EL_none;
	if (e == EL_none) {
		onnx_fail(n, MLO_ERR_MODEL, "element type %lld is not known", (long long)to);
		return;
	}
	p = onnx_op2(n, OP_less, uniform_like(n, p, onnx_elem_beside(p), seed_of(n), false), p);
	onnx_result(n, 0, onnx_cast(n, p, e));
}

/* -- Dropout ----------------------------------------------------------------------------------------- */

/* A bool tensor in the shape of x, or ones of x's type (before opset 10). */
static MloValue *all_kept(OnnxNode *n, MloElem e)
{
	MloValue *shape = onnx_op1(n, OP_shape, n->in[0]);
	MloNode *mask = onnx_node(n, OP_constant_of_shape, &shape, 1, 1);

	mlo_attr_set_i(mask, ATTR_constant_of_shape_elem, mlo_elem_onnx(e));
	mlo_attr_set_f(mask, ATTR_constant_of_shape_value, 1);
	return onnx_infer(n, mask);
}

/* What Dropout keeps.  Its definition draws from NumPy's generator, so a given seed says what is kept. */
static MloValue *kept(OnnxNode *n, MloValue *x, MloValue *ratio)
{
	int64_t seed = onnx_int(n, "seed", 0);
	bool twister = onnx_attr(n, "seed") && seed >= 0 && seed <= UINT32_MAX;
	MloElem e = twister ? EL_f64 : onnx_elem_beside(x);
	MloValue *u = uniform_like(n, x, e, twister ? (double)seed : (double)n->im->ncreated + 0.5, twister);

	return onnx_op2(n, OP_greater_equal, u, onnx_cast(n, ratio, e));
}

/* keep = random >= ratio; y = keep ? x / (1 - ratio) : 0.  `train` may be known at run time only. */
static void drop(OnnxNode *n, MloValue *train)
{
	MloValue *x = onnx_wide(n, n->in[0]), *ratio = onnx_in(n, 1), *keep, *left, *y;
	MloElem e = onnx_elem_beside(x);

	ratio = ratio ? onnx_cast(n, ratio, e) : onnx_scalar(n, e, 0.5);
	keep = kept(n, x, ratio);
	left = onnx_op2(n, OP_sub, onnx_scalar(n, e, 1), ratio);
	y = onnx_op3(n, OP_where, keep, onnx_op2(n, OP_div, x, left), onnx_scalar(n, e, 0));
	if (!train->data) {
		y = onnx_op3(n, OP_where, train, y, x);
		keep = onnx_op2(n, OP_or, onnx_op1(n, OP_not, train), keep);
	}
	onnx_result(n, 0, onnx_cast(n, y, onnx_elem_beside(n->in[0])));
	if (onnx_wanted(n, 1))
		onnx_result(n, 1, keep);
}

/* Does nothing at inference; its mask keeps everything then.  Operands: x, ratio, training mode. */
void import_dropout(OnnxNode *n)
{
	MloValue *train = onnx_in(n, 2);
	MloElem e;

	onnx_ignore(n, "ratio");
	onnx_ignore(n, "seed");
	onnx_ignore(n, "is_test");
	if (!onnx_arity(n, 1, n->opset < 12 ? 1 : 3))
		return;
	if (train && !(train->data && mlo_tensor_elems(train->data) == 1 && !mlo_tensor_i64(train->data, 0))) {
		drop(n, train);
		return;
	}
	e = n->opset < 10 ? onnx_elem_beside(n->in[0]) : EL_bool;
	onnx_result(n, 0, onnx_op1(n, OP_identity, n->in[0]));
	if (onnx_wanted(n, 1))
		onnx_result(n, 1, all_kept(n, e));
}
