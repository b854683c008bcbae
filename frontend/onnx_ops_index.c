/* frontend/onnx_ops_index.c -- importers of operators that pick, sample and order elements; optimisers. */
#include <string.h>

#include "frontend/onnx_ops.h"

/* TopK-1: k is an attribute. */
void import_top_k_attr(OnnxNode *n)
{
	int64_t k = onnx_int(n, "k", -1);
	MloValue *in[2];
	MloNode *m;

	if (!onnx_arity(n, 1, 1))
		return;
	in[0] = n->in[0];
	in[1] = onnx_i64s(n, &k, 1);
	m = onnx_node(n, OP_top_k, in, 2, 2);
	onnx_attrs(n, m);
	onnx_finish(n, m);
}

/* Opset 20 renamed the modes. */
void import_grid_sample(OnnxNode *n)
{
	const char *mode = onnx_str(n, "mode", "linear");
	MloNode *m;

	if (!onnx_arity(n, 2, 2))
		return;
	m = onnx_node(n, OP_grid_sample, n->in, 2, 1);
	onnx_attrs(n, m);
	mode = !strcmp(mode, "bilinear") ? "linear" : !strcmp(mode, "bicubic") ? "cubic" : mode;
	mlo_attr_set_s(n->g, m, ATTR_grid_sample_mode, mode);
	onnx_finish(n, m);
}

/* RoiAlign-10: coordinates were not shifted by half a pixel. */
void import_roi_align_old(OnnxNode *n)
{
	MloNode *m;

	if (!onnx_arity(n, 3, 3))
		return;
	m = onnx_node(n, OP_roi_align, n->in, 3, 1);
	onnx_attrs(n, m);
	mlo_attr_set_s(n->g, m, ATTR_roi_align_coordinate_transformation_mode, "output_half_pixel");
	onnx_finish(n, m);
}

/* Operands rate, step, then all tensors, all gradients, all states ..; one node of ours per tensor. */
void import_optimiser(OnnxNode *n)
{
	const MloOpInfo *info = mlo_op_info(n->row->op);
	uint32_t parts = (uint32_t)info->min_in - 2, states = parts - 1, count;

	if (!onnx_arity(n, (uint32_t)info->min_in, UINT32_MAX))
		return;
	count = (n->nin - 2) / parts;
	if (count * parts + 2 != n->nin || n->nout != count * states) {
		onnx_fail(n, MLO_ERR_MODEL, "has %u operands and %u results, %u tensors need %u and %u", n->nin,
			  n->nout, count, count * parts + 2, count * states);
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		MloValue *in[6] = {n->in[0], n->in[1]};
		MloNode *m;

		for (uint32_t k = 0; k < parts; k++)
			in[2 + k] = n->in[2 + k * count + i];
		m = onnx_node(n, n->row->op, in, parts + 2, states);
		onnx_attrs(n, m);
		onnx_infer(n, m);
		for (uint32_t k = 0; k < states; k++)
			onnx_result(n, k * count + i, m->out[k]);
	}
}
