/* ir/infer_reduce.c -- result types of reductions. */
#include "ir/infer.h"

/* Drops the flagged dimensions, or makes them 1. */
static MloType reduced(const MloType *x, const bool *axis, bool keep)
{
	MloType t = {.elem = x->elem};

	for (int i = 0; i < x->rank; i++) {
		if (!axis[i])
			t.dim[t.rank++] = x->dim[i];
		else if (keep)
			t.dim[t.rank++] = mlo_dim(1);
	}
	return t;
}

MloStatus infer_reduce(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloOp op = c->n->op;
	bool keep = mlo_attr_i(c->n, mlo_attr_slot(op, "keepdims", 8)) != 0;
	bool noop = mlo_attr_i(c->n, mlo_attr_slot(op, "noop_with_empty_axes", 20)) != 0;
	bool axis[MLO_MAX_RANK], known, any = false;
	MloType t;

	if (x->rank < 0)
		return infer_out(c, 0, x);
	MLO_TRY(infer_axes(c, 1, x->rank, axis, &known));
	for (int i = 0; i < x->rank; i++)
		any |= axis[i];
	if (!known && infer_in(c, 1)) {
		t = *x;
		for (int i = 0; i < x->rank; i++)
			t.dim[i] = DIM_UNKNOWN;
		if (!keep)
			t = infer_fewer(c, x, 1);
		return infer_out(c, 0, &t);
	}
	for (int i = 0; i < x->rank && !any && !noop; i++)
		axis[i] = true; /* no axes: all */
	t = reduced(x, axis, keep);
	return infer_out(c, 0, &t);
}

MloStatus infer_arg_reduce(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloOp op = c->n->op;
	bool keep = mlo_attr_i(c->n, mlo_attr_slot(op, "keepdims", 8)) != 0;
	bool axis[MLO_MAX_RANK] = {false};
	MloType t = infer_unranked(EL_i64);
	int a;

	if (x->rank >= 0) {
		MLO_TRY(infer_axis(c, mlo_attr_i(c->n, mlo_attr_slot(op, "axis", 4)), x->rank, &a));
		if (dim_is(x->dim[a], 0))
			return infer_error(c, "'%s' %s has no element along axis %d", infer_name(c, 0),
			                   infer_type_text(c, x), a);
		axis[a] = true;
		t = reduced(x, axis, keep);
		t.elem = EL_i64;
	}
	return infer_out(c, 0, &t);
}
