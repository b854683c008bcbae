/* ir/infer_eltwise.c -- result types of elementwise and row-wise operators. */
#include "ir/infer.h"

#include <string.h>

MloStatus infer_same(InferCx *c)
{
	return infer_out(c, 0, infer_in(c, 0));
}

MloStatus infer_cast(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	int64_t code = mlo_attr_i(c->n, ATTR_cast_to);
	const char *mode = mlo_attr_s(c->n, ATTR_cast_round_mode);

	if (strcmp(mode, "up") && strcmp(mode, "down") && strcmp(mode, "nearest"))
		return infer_error(c, "round_mode '%s' is not one of up, down, nearest", mode);
	t.elem = code > 0 && code < 1000 ? mlo_elem_from_onnx((int)code) : EL_none;
	if (t.elem == EL_none)
		return infer_error(c, "unknown element type code %lld", (long long)code);
	return infer_out(c, 0, &t);
}

static MloStatus broadcast(InferCx *c, MloElem result)
{
	MloType t = *infer_in(c, 0);

	MLO_TRY(infer_broadcast(c, &t, infer_in(c, 1)));
	t.elem = result == EL_none ? t.elem : result;
	return infer_out(c, 0, &t);
}

MloStatus infer_bcast(InferCx *c)
{
	MLO_TRY(infer_same_elem(c, 0, 1));
	return broadcast(c, EL_none);
}

MloStatus infer_bcast_first(InferCx *c)
{
	return broadcast(c, EL_none);
}

MloStatus infer_bcast_bool(InferCx *c)
{
	MLO_TRY(infer_same_elem(c, 0, 1));
	return broadcast(c, EL_bool);
}

MloStatus infer_where(InferCx *c)
{
	MloType t = *infer_in(c, 0);

	if (t.elem != EL_bool)
		return infer_error(c, "condition '%s' is %s, not bool", infer_name(c, 0), mlo_elem_text(t.elem));
	MLO_TRY(infer_same_elem(c, 1, 2));
	MLO_TRY(infer_broadcast(c, &t, infer_in(c, 1)));
	MLO_TRY(infer_broadcast(c, &t, infer_in(c, 2)));
	t.elem = infer_in(c, 1)->elem;
	return infer_out(c, 0, &t);
}

/* lo and hi are scalars; exporters also write one-element vectors. */
MloStatus infer_clip(InferCx *c)
{
	for (uint32_t i = 1; i < 3; i++) {
		const MloType *t = infer_in(c, i);

		if (!t)
			continue;
		MLO_TRY(infer_same_elem(c, 0, i));
		if (mlo_type_static(t) && mlo_type_elems(t) != 1)
			return infer_error(c, "bound '%s' is %s, not a scalar", infer_name(c, i),
			                   infer_type_text(c, t));
	}
	return infer_same(c);
}

MloStatus infer_softmax(InferCx *c)
{
	const MloType *t = infer_in(c, 0);
	int slot = mlo_attr_slot(c->n->op, "axis", 4), axis;

	if (t->rank > 0)
		MLO_TRY(infer_axis(c, mlo_attr_i(c->n, slot), t->rank, &axis));
	return infer_same(c);
}

/* Operand i must be a vector of the size of dimension `axis` of x (when both are known). */
static MloStatus per_channel(InferCx *c, uint32_t i, MloDim channels, const char *what)
{
	const MloType *t = infer_in(c, i);
	MloDim ignored;

	if (!t || t->rank < 0)
		return MLO_OK;
	if (t->rank != 1 || !infer_meet(t->dim[0], channels, &ignored))
		return infer_error(c, "%s '%s' is %s, '%s' has %s channels", what, infer_name(c, i),
		                   infer_type_text(c, t), infer_name(c, 0), infer_dim_text(c, channels));
	return MLO_OK;
}

MloStatus infer_batch_norm(InferCx *c)
{
	static const char *const what[] = {"", "scale", "bias", "mean", "variance"};
	const MloType *x = infer_in(c, 0);

	if (x->rank == 0)
		return infer_error(c, "'%s' is a scalar", infer_name(c, 0));
	for (uint32_t i = 1; i < 5; i++)
		MLO_TRY(per_channel(c, i, x->rank < 0 ? DIM_UNKNOWN : x->rank == 1 ? mlo_dim(1) : x->dim[1],
		                    what[i]));
	return infer_same(c);
}

/* Scale and bias, operands 1 and 2, broadcast to x. */
static MloStatus check_affine(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType wide = *x;

	for (uint32_t i = 1; i < 3; i++)
		if (infer_in(c, i))
			MLO_TRY(infer_broadcast(c, &wide, infer_in(c, i)));
	for (int i = 0; wide.rank >= 0 && i < wide.rank; i++)
		if (wide.rank != x->rank || (mlo_dim_known(x->dim[i]) && !mlo_dim_same(wide.dim[i], x->dim[i])))
			return infer_error(c, "scale or bias does not broadcast to '%s': %s", infer_name(c, 0),
			                   infer_type_text(c, x));
	return MLO_OK;
}

MloStatus infer_rms_norm(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t = *x;
	int axis;

	if (x->rank >= 0) {
		MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_rms_norm_axis), x->rank, &axis));
		MLO_TRY(check_affine(c));
	}
	t.elem = infer_in(c, 1)->elem;
	return infer_out(c, 0, &t);
}

MloStatus infer_layer_norm(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType stat = *x;
	int axis;

	stat.elem = EL_f32;
	if (x->rank >= 0) {
		MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_layer_norm_axis), x->rank, &axis));
		for (int i = axis; i < x->rank; i++)
			stat.dim[i] = mlo_dim(1);
		MLO_TRY(check_affine(c));
	}
	MLO_TRY(infer_out(c, 0, x));
	MLO_TRY(infer_out(c, 1, &stat));
	return infer_out(c, 2, &stat);
}
