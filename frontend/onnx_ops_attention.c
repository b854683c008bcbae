/* frontend/onnx_ops_attention.c -- importers of attention and what belongs to it. */
#include "frontend/onnx_ops.h"

/* A node with all results that the operator has; the importers name those that the model names. */
static MloNode *with_all_results(OnnxNode *n)
{
	const MloOpInfo *info = mlo_op_info(n->row->op);
	MloNode *m;

	if (!onnx_arity(n, (uint32_t)info->min_in, (uint32_t)info->max_in))
		return NULL;
	if (n->nout > (uint32_t)info->max_out) {
		onnx_fail(n, MLO_ERR_MODEL, "has %u results, at most %d are known", n->nout, info->max_out);
		return NULL;
	}
	m = onnx_node(n, n->row->op, n->in, n->nin, (uint32_t)info->max_out);
	onnx_attrs(n, m);
	return m;
}

void import_attention(OnnxNode *n)
{
	MloNode *m = with_all_results(n);

	onnx_ignore(n, "softmax_precision"); /* never less than asked for */
	if (!m)
		return;
	if (!onnx_wanted(n, 3)) /* the last stage costs nothing more */
		mlo_attr_set_i(m, ATTR_attention_qk_matmul_output_mode, 3);
	onnx_infer(n, m);
	for (uint32_t i = 0; i < n->nout; i++)
		onnx_result(n, i, m->out[i]);
	for (uint32_t i = 1; i < 3; i++)
		if (!onnx_wanted(n, i))
			m->out[i] = NULL;
}

/* Without its subgraphs this is attention: scores and probabilities are not changed. */
void import_flex_attention(OnnxNode *n)
{
	MloNode *m;
	double scale = onnx_float(n, "scale", 0);

	if (onnx_attr(n, "score_mod") || onnx_attr(n, "prob_mod")) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "graphs that change scores or probabilities are not supported yet");
		return;
	}
	onnx_ignore(n, "softmax_precision");
	if (!onnx_arity(n, 3, 3))
		return;
	m = onnx_node(n, OP_attention, n->in, 3, 4);
	mlo_attr_set_i(m, ATTR_attention_qk_matmul_output_mode, 3);
	if (onnx_attr(n, "scale"))
		mlo_attr_set_f(m, ATTR_attention_scale, scale);
	onnx_result(n, 0, onnx_infer(n, m));
	m->out[1] = m->out[2] = NULL;
}

/* Operators whose results are all made, wanted or not. */
void import_whole(OnnxNode *n)
{
	MloNode *m = with_all_results(n);

	onnx_ignore(n, "chunk_size"); /* a hint to how it is computed */
	if (m)
		onnx_finish(n, m);
}

/* DFT before opset 20: the axis is an attribute. */
void import_dft_attr(OnnxNode *n)
{
	MloValue *in[3] = {0};
	MloNode *m;
	int64_t axis = onnx_int(n, "axis", 1);

	if (!onnx_arity(n, 1, 2))
		return;
	in[0] = n->in[0];
	in[1] = onnx_in(n, 1);
	in[2] = mlo_graph_const_i64s(n->g, 0, &axis, 1);
	m = onnx_node(n, OP_dft, in, 3, 1);
	onnx_attrs(n, m);
	onnx_finish(n, m);
}
