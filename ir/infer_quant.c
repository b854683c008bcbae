/* ir/infer_quant.c -- result types of linear quantization. */
#include "ir/infer.h"

/* Blocked: the scale has x's shape but along the axis, where one serves `block` elements. */
static MloStatus check_blocks(InferCx *c, int64_t axis, int64_t block)
{
	const MloType *x = infer_in(c, 0), *s = infer_in(c, 1);
	MloDim ignored;
	int a;

	MLO_TRY(infer_axis(c, axis, x->rank, &a));
	for (int i = 0; i < x->rank; i++) {
		MloDim want = x->dim[i];

		if (i == a && (want.e || dim_is_unknown(want)))
			continue;
		if (i == a)
			want = mlo_dim((want.k + block - 1) / block);
		if (!infer_meet(s->dim[i], want, &ignored))
			return infer_error(c, "scale '%s' is %s for '%s' %s in blocks of %lld along axis %d",
			                   infer_name(c, 1), infer_type_text(c, s), infer_name(c, 0),
			                   infer_type_text(c, x), (long long)block, a);
	}
	return MLO_OK;
}

/* Scale: a scalar, one per index of axis, or (blocked) of x's rank. */
static MloStatus check_scale(InferCx *c, int64_t axis, int64_t block)
{
	const MloType *x = infer_in(c, 0), *s = infer_in(c, 1);
	MloDim ignored;
	int a;

	if (block < 0 || block > MLO_MAX_ELEMS)
		return infer_error(c, "block_size is %lld", (long long)block);
	if (x->rank < 0 || s->rank < 0 || s->rank == 0)
		return MLO_OK;
	if (block > 0 && s->rank == x->rank)
		return check_blocks(c, axis, block);
	if (s->rank != 1)
		return infer_error(c, "scale '%s' is %s: neither a scalar nor a vector", infer_name(c, 1),
		                   infer_type_text(c, s));
	if (dim_is(s->dim[0], 1) && (x->rank == 0 || axis < -x->rank || axis >= x->rank))
		return MLO_OK; /* one scale for all: the axis does not matter */
	MLO_TRY(infer_axis(c, axis, x->rank, &a));
	if (!dim_is(s->dim[0], 1) && !infer_meet(s->dim[0], x->dim[a], &ignored))
		return infer_error(c, "%s scales for axis %d of '%s', which has %s", infer_dim_text(c, s->dim[0]),
		                   a, infer_name(c, 0), infer_dim_text(c, x->dim[a]));
	return MLO_OK;
}

static MloStatus check_zero_point(InferCx *c)
{
	const MloType *s = infer_in(c, 1), *z = infer_in(c, 2);
	int64_t ns, nz;

	if (!z)
		return MLO_OK;
	ns = mlo_type_elems(s);
	nz = mlo_type_elems(z);
	if (ns >= 0 && nz >= 0 && ns != nz)
		return infer_error(c, "%lld zero points for %lld scales", (long long)nz, (long long)ns);
	return MLO_OK;
}

/* What numbers can be quantised to: whole ones of up to 16 bits, floats of up to 8. */
static bool quantised(MloElem e)
{
	switch (mlo_elem_class(e)) {
	case EC_INT:
	case EC_UINT: return mlo_elem_bits(e) <= 16;
	case EC_FLOAT: return mlo_elem_bits(e) <= 8;
	default: return false;
	}
}

static MloStatus elem_of_code(const InferCx *c, int64_t code, MloElem *out)
{
	*out = code > 0 && code < 1000 ? mlo_elem_from_onnx((int)code) : EL_none;
	if (*out == EL_none)
		return infer_error(c, "unknown element type code %lld", (long long)code);
	return MLO_OK;
}

MloStatus infer_quantize_linear(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	int64_t code = mlo_attr_i(c->n, ATTR_quantize_linear_output_dtype);

	MLO_TRY(check_scale(c, mlo_attr_i(c->n, ATTR_quantize_linear_axis),
	                    mlo_attr_i(c->n, ATTR_quantize_linear_block_size)));
	MLO_TRY(check_zero_point(c));
	if (infer_in(c, 2))
		t.elem = infer_in(c, 2)->elem;
	else if (code)
		MLO_TRY(elem_of_code(c, code, &t.elem));
	else
		t.elem = EL_u8;
	if (!quantised(t.elem))
		return infer_error(c, "%s is %s, to which nothing is quantised",
				   infer_in(c, 2) ? mlo_sprintf(c->g->arena, "zero point '%s'", infer_name(c, 2)) : "output_dtype",
				   mlo_elem_text(t.elem));
	return infer_out(c, 0, &t);
}

MloStatus infer_dequantize_linear(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	int64_t code = mlo_attr_i(c->n, ATTR_dequantize_linear_output_dtype);

	MLO_TRY(check_scale(c, mlo_attr_i(c->n, ATTR_dequantize_linear_axis),
	                    mlo_attr_i(c->n, ATTR_dequantize_linear_block_size)));
	MLO_TRY(check_zero_point(c));
	MLO_TRY(infer_same_elem(c, 0, 2));
	if (!quantised(t.elem) && t.elem != EL_i32)
		return infer_error(c, "'%s' is %s, no type of quantised numbers", infer_name(c, 0), mlo_elem_text(t.elem));
	t.elem = infer_in(c, 1)->elem;
	if (code)
		MLO_TRY(elem_of_code(c, code, &t.elem));
	return infer_out(c, 0, &t);
}

MloStatus infer_dynamic_quantize_linear(InferCx *c)
{
	MloType t = *infer_in(c, 0), scale = {.elem = EL_f32}, zero = {.elem = EL_u8};

	if (t.elem != EL_f32)
		return infer_error(c, "'%s' is %s, f32 is expected", infer_name(c, 0), mlo_elem_text(t.elem));
	t.elem = EL_u8;
	MLO_TRY(infer_out(c, 0, &t));
	MLO_TRY(infer_out(c, 1, &scale));
	return infer_out(c, 2, &zero);
}
