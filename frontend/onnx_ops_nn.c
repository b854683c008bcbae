/* frontend/onnx_ops_nn.c -- importers of softmax and of reductions. */
#include "frontend/onnx_ops.h"

/* Before opset 13: softmax over all dimensions from `axis` on, as if flattened to a matrix there. */
void import_softmax_flat(OnnxNode *n)
{
	int64_t axis = onnx_int(n, "axis", 1);
	MloValue *x, *shape, *flat;
	MloNode *m;
	int rank;

	if (!onnx_arity(n, 1, 1))
		return;
	x = n->in[0];
	rank = x->type.rank;
	if (axis == -1 || (rank != MLO_RANK_UNKNOWN && axis == rank - 1)) {
		m = onnx_node(n, n->row->op, &x, 1, 1);
		mlo_attr_set_i(m, mlo_attr_slot(n->row->op, "axis", 4), -1);
		onnx_finish(n, m);
		return;
	}
	shape = onnx_op1(n, OP_shape, x);
	m = onnx_node(n, OP_flatten, &x, 1, 1);
	mlo_attr_set_i(m, ATTR_flatten_axis, axis);
	flat = onnx_infer(n, m);
	m = onnx_node(n, n->row->op, &flat, 1, 1);
	mlo_attr_set_i(m, mlo_attr_slot(n->row->op, "axis", 4), -1);
	m = onnx_node(n, OP_reshape, (MloValue *[]){onnx_infer(n, m), shape}, 2, 1);
	mlo_attr_set_i(m, ATTR_reshape_allowzero, 1); /* the shape is literal */
	onnx_finish(n, m);
}

/* -- reductions ----------------------------------------------------------------------------------- */

/* A reduction of x with the axes of n, given as an attribute or, from opset `operand` on, an operand. */
static MloNode *reduction(OnnxNode *n, MloOp op, MloValue *x, int operand)
{
	MloValue *in[2] = {x, NULL};
	MloNode *m;
	int count;

	if (n->opset >= operand) {
		in[1] = onnx_in(n, 1);
	} else {
		const int64_t *axes = onnx_ints(n, "axes", &count);

		if (axes && count) /* an empty list meant all axes, as absence does */
			in[1] = onnx_i64s(n, axes, count);
	}
	m = onnx_node(n, op, in, in[1] ? 2 : 1, 1);
	onnx_attrs(n, m);
	return m;
}

/* Forms that came before the axes became an operand. */
void import_reduce_attr(OnnxNode *n)
{
	if (onnx_arity(n, 1, 1))
		onnx_finish(n, reduction(n, n->row->op, n->in[0], INT32_MAX));
}

void import_reduce_l1(OnnxNode *n)
{
	if (onnx_arity(n, 1, 2))
		onnx_finish(n, reduction(n, OP_reduce_sum, onnx_op1(n, OP_abs, n->in[0]), 18));
}

void import_reduce_sum_square(OnnxNode *n)
{
	if (onnx_arity(n, 1, 2))
		onnx_finish(n, reduction(n, OP_reduce_sum, onnx_op2(n, OP_mul, n->in[0], n->in[0]), 18));
}

void import_reduce_log_sum(OnnxNode *n)
{
	if (onnx_arity(n, 1, 2))
		onnx_result(n, 0,
			    onnx_op1(n, OP_log, onnx_infer(n, reduction(n, OP_reduce_sum, n->in[0], 18))));
}
