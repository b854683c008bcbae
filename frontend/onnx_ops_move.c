/* frontend/onnx_ops_move.c -- importers of operators that move elements. */
#include <string.h>

#include "frontend/onnx_ops.h"

/* Squeeze and Unsqueeze before opset 13. */
void import_axes_attr(OnnxNode *n)
{
	MloValue *in[2] = {0};

	if (!onnx_arity(n, 1, 1))
		return;
	in[0] = n->in[0];
	in[1] = onnx_ints_operand(n, "axes");
	if (!in[1] && n->row->op == OP_unsqueeze)
		onnx_fail(n, MLO_ERR_MODEL, "attribute 'axes' is missing");
	else
		onnx_finish(n, onnx_node(n, n->row->op, in, in[1] ? 2 : 1, 1));
}

void import_concat(OnnxNode *n)
{
	if (!onnx_attr(n, "axis"))
		onnx_fail(n, MLO_ERR_MODEL, "attribute 'axis' is missing");
	else if (onnx_arity(n, n->nin ? n->nin : 1, UINT32_MAX))
		onnx_plain(n, OP_concat);
}

/* num_outputs (opset 18): parts of equal size, rounded up, the last one takes what remains. */
static MloValue *uneven_sizes(OnnxNode *n, int64_t axis)
{
	const MloType *t = &n->in[0]->type;
	int64_t *sizes, left, part;

	if (t->rank == MLO_RANK_UNKNOWN || axis < -t->rank || axis >= t->rank)
		return NULL;
	axis += axis < 0 ? t->rank : 0;
	if (!mlo_dim_known(t->dim[axis]) || t->dim[axis].k % n->nout == 0)
		return NULL;
	left = t->dim[axis].k;
	part = (left + n->nout - 1) / n->nout;
	sizes = MLO_NEWN(n->im->tmp, int64_t, n->nout);
	for (uint32_t i = 0; i < n->nout; i++) {
		sizes[i] = left < part ? left : part;
		left -= sizes[i];
	}
	return onnx_i64s(n, sizes, (int)n->nout);
}

void import_split(OnnxNode *n)
{
	MloValue *in[2] = {0};
	int64_t axis = onnx_int(n, "axis", 0), parts = n->nout;
	MloNode *m;

	if (!onnx_arity(n, 1, n->opset < 13 ? 1 : 2))
		return;
	if (n->nout == 0) {
		onnx_fail(n, MLO_ERR_MODEL, "has no results");
		return;
	}
	in[0] = n->in[0];
	in[1] = n->opset < 13 ? onnx_ints_operand(n, "split") : onnx_in(n, 1);
	if (n->opset >= 18 && !in[1]) {
		parts = onnx_int(n, "num_outputs", n->nout);
		in[1] = uneven_sizes(n, axis);
	}
	if (parts != n->nout)
		onnx_fail(n, MLO_ERR_MODEL, "num_outputs is %lld, but the node has %u results",
			  (long long)parts, n->nout);
	m = onnx_node(n, OP_split, in, in[1] ? 2 : 1, n->nout);
	mlo_attr_set_i(m, ATTR_split_axis, axis);
	onnx_finish(n, m);
}

/* Slice-1: starts, ends and axes are attributes. */
void import_slice_attr(OnnxNode *n)
{
	MloValue *in[4] = {0};

	if (!onnx_arity(n, 1, 1))
		return;
	in[0] = n->in[0];
	in[1] = onnx_ints_operand(n, "starts");
	in[2] = onnx_ints_operand(n, "ends");
	in[3] = onnx_ints_operand(n, "axes");
	if (!in[1] || !in[2])
		onnx_fail(n, MLO_ERR_MODEL, "attribute '%s' is missing", in[1] ? "ends" : "starts");
	else
		onnx_finish(n, onnx_node(n, OP_slice, in, in[3] ? 4 : 3, 1));
}

/* Pad-2: pads and value are attributes. */
void import_pad_attr(OnnxNode *n)
{
	MloValue *in[3] = {0};
	double value = onnx_float(n, "value", 0);
	MloNode *m;

	if (!onnx_arity(n, 1, 1))
		return;
	in[0] = n->in[0];
	in[1] = onnx_ints_operand(n, "pads");
	if (!in[1]) {
		onnx_fail(n, MLO_ERR_MODEL, "attribute 'pads' is missing");
		return;
	}
	if (value != 0)
		in[2] = onnx_scalar(n, n->in[0]->type.elem == EL_none ? EL_f32 : n->in[0]->type.elem, value);
	m = onnx_node(n, OP_pad, in, in[2] ? 3 : 2, 1);
	onnx_attrs(n, m);
	onnx_finish(n, m);
}

/* -- resampling ------------------------------------------------------------------------------------ */

/* What Upsample and Resize-10 do: coordinates are divided by the scale, nearest rounds down. */
static void resize_asymmetric(OnnxNode *n, MloValue *scales)
{
	MloValue *in[3] = {n->in[0], NULL, scales};
	const char *mode = onnx_str(n, "mode", "nearest");
	MloNode *m = onnx_node(n, OP_resize, in, 3, 1);

	mlo_attr_set_s(n->g, m, ATTR_resize_mode, !strcmp(mode, "bilinear") ? "linear" : mode);
	mlo_attr_set_s(n->g, m, ATTR_resize_coordinate_transformation_mode, "asymmetric");
	mlo_attr_set_s(n->g, m, ATTR_resize_nearest_mode, "floor");
	onnx_finish(n, m);
}

/* Upsample-9 and Resize-10: the scales are an operand. */
void import_upsample(OnnxNode *n)
{
	if (onnx_arity(n, 2, 2))
		resize_asymmetric(n, n->in[1]);
}

void import_upsample_attr(OnnxNode *n)
{
	int count;
	const float *f = onnx_floats(n, "scales", &count);
	int64_t dim = count;
	MloTensor *t;

	if (!onnx_arity(n, 1, 1))
		return;
	if (!f) {
		onnx_fail(n, MLO_ERR_MODEL, "attribute 'scales' is missing");
		return;
	}
	t = mlo_tensor_new(n->g->arena, EL_f32, 1, &dim);
	for (int i = 0; i < count; i++)
		mlo_tensor_set_f64(t, i, f[i]);
	resize_asymmetric(n, mlo_graph_const(n->g, t, NULL));
}

/* From opset 11 on. Exporters write an empty tensor for an operand that is not given. */
void import_resize(OnnxNode *n)
{
	MloValue *in[4] = {0};
	const char *coordinates = onnx_str(n, "coordinate_transformation_mode", "half_pixel");
	uint32_t nin = 0;
	MloNode *m;

	if (!onnx_arity(n, 1, 4))
		return;
	for (uint32_t i = 0; i < n->nin; i++) {
		MloValue *v = n->in[i];

		if (v && i > 0 && onnx_empty(v))
			v = NULL;
		if (v && i == 1 && strcmp(coordinates, "tf_crop_and_resize") != 0)
			v = NULL; /* the region of interest means nothing else */
		in[i] = v;
		nin = v ? i + 1 : nin;
	}
	if (!in[2] == !in[3]) {
		onnx_fail(n, MLO_ERR_MODEL, "has %s",
			  in[2] ? "both scales and sizes" : "neither scales nor sizes");
		return;
	}
	m = onnx_node(n, OP_resize, in, nin, 1);
	onnx_attrs(n, m);
	onnx_finish(n, m);
}
