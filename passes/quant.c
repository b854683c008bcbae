/* passes/quant.c -- what (de)quantization nodes say. */
#include "passes/quant.h"

#include <math.h>
#include <string.h>

bool mlo_quant_range(MloElem e, double *lo, double *hi)
{
	MloElemClass c = mlo_elem_class(e);
	int bits = (int)mlo_elem_bits(e);

	if ((c != EC_INT && c != EC_UINT) || bits > 16)
		return false;
	*lo = c == EC_INT ? -ldexp(1, bits - 1) : 0;
	*hi = *lo + ldexp(1, bits) - 1;
	return true;
}

/* Both operators have these operands: x, scale, zero point. */
static bool read_quant(const MloNode *n, MloElem ints, MloElem floats, MloQuant *q)
{
	const MloValue *zero = n->nin > 2 ? n->in[2] : NULL;

	*q = (MloQuant){.elem = ints};
	return floats == EL_f32 && n->in[1]->type.elem == EL_f32 && mlo_quant_axis(n) == -1 &&
	       mlo_quant_range(ints, &q->lo, &q->hi) && mlo_const_scalar(n->in[1], &q->scale) && q->scale > 0 &&
	       isfinite(q->scale) && (!zero || mlo_const_scalar(zero, &q->zero));
}

bool mlo_quant_to(const MloNode *n, MloQuant *q)
{
	return n && n->op == OP_quantize_linear && !mlo_attr_i(n, ATTR_quantize_linear_precision) &&
	       read_quant(n, n->out[0]->type.elem, n->in[0]->type.elem, q);
}

bool mlo_quant_from(const MloNode *n, MloQuant *q)
{
	return n && n->op == OP_dequantize_linear && read_quant(n, n->in[0]->type.elem, n->out[0]->type.elem, q);
}

bool mlo_quant_same(const MloQuant *a, const MloQuant *b)
{
	return a->elem == b->elem && a->scale == b->scale && a->zero == b->zero;
}

double mlo_quant_value(const MloQuant *q, double x)
{
	double v = rint((double)((float)x / (float)q->scale)) + q->zero;

	return v < q->lo ? q->lo : v > q->hi ? q->hi : v;
}

int mlo_quant_axis(const MloNode *n)
{
	bool to = n->op == OP_quantize_linear;
	int64_t axis = mlo_attr_i(n, to ? ATTR_quantize_linear_axis : ATTR_dequantize_linear_axis);
	const MloType *scale = &n->in[1]->type;
	int rank = n->in[0]->type.rank;

	if (mlo_attr_i(n, to ? ATTR_quantize_linear_block_size : ATTR_dequantize_linear_block_size) && scale->rank > 0)
		return -2;
	if (mlo_type_elems(scale) == 1)
		return -1;
	axis = axis < 0 ? axis + rank : axis;
	return scale->rank == 1 && axis >= 0 && axis < rank ? (int)axis : -2;
}

/* -- what moves elements ---------------------------------------------------------------------- */

static bool constant_pad(const MloNode *n)
{
	const MloValue *v = n->nin > 2 ? n->in[2] : NULL;

	return !strcmp(mlo_attr_s(n, ATTR_pad_mode), "constant") && (!v || (v->data && mlo_tensor_elems(v->data) == 1));
}

static bool nearest(const MloNode *n)
{
	return !strcmp(mlo_attr_s(n, ATTR_resize_mode), "nearest") &&
	       strcmp(mlo_attr_s(n, ATTR_resize_coordinate_transformation_mode), "tf_crop_and_resize") != 0;
}

bool mlo_quant_moves(const MloNode *n)
{
	switch (n->op) {
	case OP_identity:
	case OP_transpose:
	case OP_reshape:
	case OP_flatten:
	case OP_squeeze:
	case OP_unsqueeze:
	case OP_slice:
	case OP_split:
	case OP_gather:
	case OP_concat:
	case OP_depth_to_space:
	case OP_space_to_depth:
	case OP_global_max_pool:
		return true;
	case OP_max_pool:
		return n->nout < 2 || !n->out[1];
	case OP_pad:
		return constant_pad(n);
	case OP_resize:
		return nearest(n);
	default:
		return false;
	}
}

uint32_t mlo_quant_moved(const MloNode *n)
{
	return n->op == OP_concat ? n->nin : 1;
}
