/* ir/infer_shape.c -- result types of operators that work on shapes. */
#include <math.h>

#include "ir/infer.h"

MloStatus infer_shape(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t = {.elem = EL_i64, .rank = 1, .dim = {DIM_UNKNOWN}};
	int64_t from = mlo_attr_i(c->n, ATTR_shape_start), to = mlo_attr_i(c->n, ATTR_shape_end);

	if (x->rank >= 0) {
		from = from < -x->rank ? 0 : from < 0 ? from + x->rank : from > x->rank ? x->rank : from;
		to = to < -x->rank ? 0 : to < 0 ? to + x->rank : to > x->rank ? x->rank : to;
		t.dim[0] = mlo_dim(to > from ? to - from : 0);
	}
	return infer_out(c, 0, &t);
}

MloStatus infer_constant_of_shape(InferCx *c)
{
	InferValues v;
	int64_t code = mlo_attr_i(c->n, ATTR_constant_of_shape_elem);
	MloType t = {.elem = code > 0 && code < 1000 ? mlo_elem_from_onnx((int)code) : EL_none};

	if (t.elem == EL_none)
		return infer_error(c, "unknown element type code %lld", (long long)code);
	infer_values(c, c->n->in[0], &v);
	if (v.n > MLO_MAX_RANK)
		return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "a result of rank %d, more than %d", v.n,
		                      MLO_MAX_RANK);
	t.rank = v.n < 0 ? MLO_RANK_UNKNOWN : v.n;
	for (int i = 0; i < t.rank; i++)
		t.dim[i] = v.d[i];
	return infer_out(c, 0, &t);
}

/* max(ceil((limit - start) / delta), 0) */
static MloStatus count_floats(InferCx *c, MloDim *n)
{
	double v[3], count;

	for (uint32_t i = 0; i < 3; i++) {
		const MloTensor *t = c->n->in[i]->data;

		if (!t || mlo_tensor_elems(t) != 1)
			return MLO_OK;
		v[i] = mlo_tensor_f64(t, 0);
	}
	count = ceil((v[1] - v[0]) / v[2]);
	if (v[2] == 0 || isnan(count))
		return infer_error(c, "range from %g to %g by %g", v[0], v[1], v[2]);
	*n = mlo_dim(count <= 0 ? 0 : count > 0x1p60 ? (int64_t)1 << 60 : (int64_t)count);
	return MLO_OK;
}

static MloStatus count_ints(InferCx *c, MloDim *n)
{
	InferValues v[3];
	MloDim start, limit, delta;

	for (uint32_t i = 0; i < 3; i++) {
		infer_values(c, c->n->in[i], &v[i]);
		if (v[i].n != 1 || dim_is_unknown(v[i].d[0]))
			return MLO_OK;
	}
	start = v[0].d[0];
	limit = v[1].d[0];
	delta = v[2].d[0];
	if (dim_is(delta, 0))
		return infer_error(c, "range by steps of 0");
	if (!start.e && !limit.e && !delta.e) {
		__int128 span = (__int128)limit.k - start.k, step = delta.k;

		if (step < 0) {
			span = -span;
			step = -step;
		}
		span = span <= 0 ? 0 : (span + step - 1) / step;
		*n = mlo_dim(span > INT64_MAX ? INT64_MAX : (int64_t)span);
	} else if (dim_is(delta, 1)) { /* a symbolic limit is taken to lie past the start */
		*n = infer_sub(c, limit, start);
	}
	return MLO_OK;
}

MloStatus infer_range(InferCx *c)
{
	MloType t = {.elem = infer_in(c, 0)->elem, .rank = 1, .dim = {DIM_UNKNOWN}};

	MLO_TRY(infer_same_elem(c, 0, 1));
	MLO_TRY(infer_same_elem(c, 0, 2));
	for (uint32_t i = 0; i < 3; i++) {
		const MloType *x = infer_in(c, i);

		if (mlo_type_static(x) && mlo_type_elems(x) != 1)
			return infer_error(c, "'%s' is %s, not a scalar", infer_name(c, i), infer_type_text(c, x));
	}
	if (mlo_elem_is_float(t.elem))
		MLO_TRY(count_floats(c, &t.dim[0]));
	else if (mlo_elem_is_int(t.elem))
		MLO_TRY(count_ints(c, &t.dim[0]));
	else
		return infer_error(c, "range over %s", mlo_elem_text(t.elem));
	return infer_out(c, 0, &t);
}
