/* frontend/onnx_ops_old.c -- importers of the forms that operators had before opset 7. */
#include "frontend/onnx_ops.h"

/* `v` with `count` dimensions of 1 appended. */
static MloValue *append_ones(OnnxNode *n, MloValue *v, int count)
{
	int64_t axes[MLO_MAX_RANK];

	for (int i = 0; i < count; i++)
		axes[i] = v->type.rank + i;
	return onnx_op2(n, OP_unsqueeze, v, onnx_i64s(n, axes, count));
}

/* Broadcasting was asked for, and the second operand could be aligned at any axis of the first. */
void import_binary_old(OnnxNode *n)
{
	bool wanted = onnx_int(n, "broadcast", 0) != 0;
	int64_t axis;
	MloValue *b;
	int ra, rb;

	if (!onnx_arity(n, 2, 2))
		return;
	ra = n->in[0]->type.rank;
	rb = n->in[1]->type.rank;
	b = n->in[1];
	axis = onnx_int(n, "axis", ra - rb);
	onnx_ignore(n, "consumed_inputs");
	if (wanted && ra != MLO_RANK_UNKNOWN && rb != MLO_RANK_UNKNOWN && axis != ra - rb) {
		axis += axis < 0 ? ra : 0;
		if (axis < 0 || axis + rb > ra) {
			onnx_fail(n, MLO_ERR_MODEL, "axis %lld does not fit operands of %d and %d dimensions",
				  (long long)axis, ra, rb);
			return;
		}
		b = append_ones(n, b, ra - rb - (int)axis);
	}
	onnx_result(n, 0, onnx_op2(n, n->row->op, n->in[0], b));
}

/* A slope of one dimension went by channel. */
void import_prelu_old(OnnxNode *n)
{
	MloValue *slope;

	if (!onnx_arity(n, 2, 2))
		return;
	slope = n->in[1];
	onnx_ignore(n, "consumed_inputs");
	if (slope->type.rank == 1 && n->in[0]->type.rank > 2)
		slope = append_ones(n, slope, n->in[0]->type.rank - 2);
	onnx_result(n, 0, onnx_op2(n, OP_prelu, n->in[0], slope));
}

void import_gemm_old(OnnxNode *n)
{
	onnx_ignore(n, "broadcast");
	onnx_plain(n, OP_gemm);
}

void import_reshape_old(OnnxNode *n)
{
	MloValue *shape = onnx_ints_operand(n, "shape");

	onnx_ignore(n, "consumed_inputs");
	if (!onnx_arity(n, 1, 1))
		return;
	if (!shape)
		onnx_fail(n, MLO_ERR_MODEL, "attribute 'shape' is missing");
	else
		onnx_result(n, 0, onnx_op2(n, OP_reshape, n->in[0], shape));
}
