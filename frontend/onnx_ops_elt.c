/* frontend/onnx_ops_elt.c -- importers of elementwise operators, and import_plain. */
#include <string.h>

#include "frontend/onnx_ops.h"

void import_plain(OnnxNode *n)
{
	onnx_plain(n, n->row->op);
}

static bool known_elem(OnnxNode *n, int64_t code)
{
	if (code >= 0 && code <= 255 && mlo_elem_from_onnx((int)code) != EL_none)
		return true;
	onnx_fail(n, MLO_ERR_MODEL, "element type %lld is not known", (long long)code);
	return false;
}

/* To and from strings; false when neither is one. */
static bool cast_text(OnnxNode *n, int64_t to)
{
	bool is = n->in[0]->type.elem == EL_str, becomes = to == mlo_elem_onnx(EL_str);
	MloNode *m;

	if (!is && !becomes)
		return false;
	onnx_ignore(n, "saturate");
	m = onnx_node(n, is && becomes ? OP_identity : is ? OP_from_string : OP_to_string, n->in, 1, 1);
	if (is && !becomes)
		mlo_attr_set_i(m, ATTR_from_string_to, to);
	onnx_finish(n, m);
	return true;
}

/* How f8e8m0 is rounded (opset 24). */
static bool round_mode_ok(OnnxNode *n, const char *mode)
{
	if (!strcmp(mode, "up") || !strcmp(mode, "down") || !strcmp(mode, "nearest"))
		return true;
	onnx_fail(n, MLO_ERR_MODEL, "round_mode '%s' is not one of up, down, nearest", mode);
	return false;
}

static void cast_to(OnnxNode *n, int64_t to)
{
	const char *mode = onnx_str(n, "round_mode", "up");
	MloNode *m;

	if (!known_elem(n, to) || !round_mode_ok(n, mode))
		return;
	if (cast_text(n, to))
		return;
	m = onnx_node(n, OP_cast, n->in, 1, 1);
	mlo_attr_set_i(m, ATTR_cast_to, to);
	mlo_attr_set_i(m, ATTR_cast_saturate, onnx_int(n, "saturate", 1));
	if (to == mlo_elem_onnx(EL_f8e8m0))
		mlo_attr_set_s(n->g, m, ATTR_cast_round_mode, mode);
	onnx_finish(n, m);
}

void import_cast(OnnxNode *n)
{
	if (!onnx_arity(n, 1, 1))
		return;
	if (!onnx_attr(n, "to"))
		onnx_fail(n, MLO_ERR_MODEL, "attribute 'to' is missing");
	else
		cast_to(n, onnx_int(n, "to", 0));
}

void import_cast_like(OnnxNode *n)
{
	if (!onnx_arity(n, 2, 2))
		return;
	if (n->in[1]->type.elem == EL_none)
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "the element type of operand 1 is not known");
	else
		cast_to(n, mlo_elem_onnx(n->in[1]->type.elem));
}

/* Clip-6: the bounds are attributes. */
void import_clip_attr(OnnxNode *n)
{
	MloValue *in[3] = {0};
	MloElem e;

	if (!onnx_arity(n, 1, 1))
		return;
	e = onnx_elem_beside(n->in[0]);
	in[0] = n->in[0];
	if (onnx_attr(n, "min"))
		in[1] = onnx_scalar(n, e, onnx_float(n, "min", 0));
	if (onnx_attr(n, "max"))
		in[2] = onnx_scalar(n, e, onnx_float(n, "max", 0));
	onnx_finish(n, onnx_node(n, OP_clip, in, in[2] ? 3 : in[1] ? 2 : 1, 1));
}

/* max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) is alpha * elu(x / alpha). */
void import_celu(OnnxNode *n)
{
	double alpha = onnx_float(n, "alpha", 1);
	MloValue *a, *v;

	if (!onnx_arity(n, 1, 1))
		return;
	a = onnx_scalar(n, onnx_elem_beside(n->in[0]), alpha);
	v = onnx_op1(n, OP_elu, onnx_op2(n, OP_div, n->in[0], a));
	onnx_result(n, 0, onnx_op2(n, OP_mul, v, a));
}

/* swish(a) * b */
void import_swiglu(OnnxNode *n)
{
	MloNode *gate;

	if (!onnx_arity(n, 2, 2))
		return;
	gate = onnx_node(n, OP_swish, n->in, 1, 1);
	mlo_attr_set_f(gate, ATTR_swish_alpha, onnx_float(n, "alpha", 1));
	onnx_result(n, 0, onnx_op2(n, OP_mul, onnx_infer(n, gate), n->in[1]));
}

void import_thresholded_relu(OnnxNode *n)
{
	double alpha = onnx_float(n, "alpha", 1);
	MloElem e;
	MloValue *above;

	if (!onnx_arity(n, 1, 1))
		return;
	e = onnx_elem_beside(n->in[0]);
	above = onnx_op2(n, OP_greater, n->in[0], onnx_scalar(n, e, alpha));
	onnx_result(n, 0, onnx_op3(n, OP_where, above, n->in[0], onnx_scalar(n, e, 0)));
}

static MloValue *chain(OnnxNode *n)
{
	MloValue *v = n->in[0];

	for (uint32_t i = 1; i < n->nin; i++)
		v = onnx_op2(n, n->row->op, v, n->in[i]);
	return v;
}

void import_variadic(OnnxNode *n)
{
	if (onnx_arity(n, n->nin ? n->nin : 1, UINT32_MAX))
		onnx_result(n, 0, chain(n));
}

void import_mean(OnnxNode *n)
{
	if (!onnx_arity(n, n->nin ? n->nin : 1, UINT32_MAX))
		return;
	onnx_result(n, 0, onnx_op2(n, OP_div, chain(n), onnx_scalar(n, onnx_elem_beside(n->in[0]), n->nin)));
}
