/* ir/infer_generate.c -- result types of operators that test, scan, fill or draw. */
#include "ir/infer.h"

#include <string.h>

/* The element type of an ONNX code given as an attribute. */
static MloStatus elem_of_attr(const InferCx *c, const char *name, size_t n, MloElem *out)
{
	int64_t code = mlo_attr_i(c->n, mlo_attr_slot(c->n->op, name, n));

	*out = code > 0 && code < 1000 ? mlo_elem_from_onnx((int)code) : EL_none;
	if (*out == EL_none)
		return infer_error(c, "unknown element type code %lld", (long long)code);
	return MLO_OK;
}

static MloStatus check_scalar(const InferCx *c, uint32_t i)
{
	const MloType *t = infer_in(c, i);

	if (!t || !mlo_type_static(t) || mlo_type_elems(t) == 1)
		return MLO_OK;
	return infer_error(c, "'%s' is %s, not a scalar", infer_name(c, i), infer_type_text(c, t));
}

static MloStatus check_int(const InferCx *c, uint32_t i)
{
	const MloType *t = infer_in(c, i);

	if (!t || mlo_elem_is_int(t->elem))
		return MLO_OK;
	return infer_error(c, "'%s' is %s, integers are expected", infer_name(c, i), mlo_elem_text(t->elem));
}

MloStatus infer_test(InferCx *c)
{
	MloType t = *infer_in(c, 0);

	if (!mlo_elem_is_float(t.elem))
		return infer_error(c, "'%s' is %s, floats are expected", infer_name(c, 0), mlo_elem_text(t.elem));
	t.elem = EL_bool;
	return infer_out(c, 0, &t);
}

MloStatus infer_bcast_int(InferCx *c)
{
	MLO_TRY(check_int(c, 0));
	return infer_bcast(c);
}

MloStatus infer_bit_shift(InferCx *c)
{
	const char *to = mlo_attr_s(c->n, ATTR_bit_shift_direction);

	if (strcmp(to, "LEFT") && strcmp(to, "RIGHT"))
		return infer_error(c, "direction '%s' is not one of LEFT, RIGHT", to);
	return infer_bcast_int(c);
}

/* Types of the same size; strings are pointers, not bits. */
MloStatus infer_bit_cast(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	MloElem from = t.elem;

	MLO_TRY(elem_of_attr(c, "to", 2, &t.elem));
	if (mlo_elem_bits(from) != mlo_elem_bits(t.elem) || from == EL_str || t.elem == EL_str)
		return infer_error(c, "%s and %s have different sizes", mlo_elem_text(from), mlo_elem_text(t.elem));
	return infer_out(c, 0, &t);
}

MloStatus infer_cumulative(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	int64_t v[INFER_MAX_VALUES];
	int n, axis;

	MLO_TRY(check_int(c, 1));
	MLO_TRY(check_scalar(c, 1));
	if (x->rank >= 0 && infer_ints(c, 1, v, &n) && n == 1)
		MLO_TRY(infer_axis(c, v[0], x->rank, &axis));
	return infer_same(c);
}

MloStatus infer_trilu(InferCx *c)
{
	const MloType *x = infer_in(c, 0);

	if (x->rank >= 0 && x->rank < 2)
		return infer_error(c, "'%s' is %s, at least two dimensions are expected", infer_name(c, 0),
		                   infer_type_text(c, x));
	MLO_TRY(check_int(c, 1));
	MLO_TRY(check_scalar(c, 1));
	return infer_same(c);
}

MloStatus infer_eye_like(InferCx *c)
{
	MloType t = *infer_in(c, 0);

	if (t.rank >= 0 && t.rank != 2)
		return infer_error(c, "'%s' is %s, a matrix is expected", infer_name(c, 0), infer_type_text(c, &t));
	if (mlo_attr_i(c->n, ATTR_eye_like_dtype))
		MLO_TRY(elem_of_attr(c, "dtype", 5, &t.elem));
	return infer_out(c, 0, &t);
}

/* The operand is the shape. */
MloStatus infer_random(InferCx *c)
{
	MloType t = {.elem = EL_none};
	InferValues v;

	MLO_TRY(check_int(c, 0));
	MLO_TRY(elem_of_attr(c, "dtype", 5, &t.elem));
	if (!mlo_elem_is_float(t.elem))
		return infer_error(c, "random numbers of type %s", mlo_elem_text(t.elem));
	if (c->n->op == OP_random_uniform && mlo_attr_i(c->n, ATTR_random_uniform_twister)) {
		double seed = mlo_attr_f(c->n, ATTR_random_uniform_seed);

		if (!(seed >= 0 && seed <= UINT32_MAX && seed == (double)(uint32_t)seed))
			return infer_error(c, "seed %g is no 32-bit integer", seed);
	}
	infer_values(c, c->n->in[0], &v);
	if (v.n > MLO_MAX_RANK)
		return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "a result of rank %d, more than %d", v.n,
		                      MLO_MAX_RANK);
	t.rank = v.n < 0 ? MLO_RANK_UNKNOWN : v.n;
	for (int i = 0; i < t.rank; i++)
		t.dim[i] = v.d[i];
	return infer_out(c, 0, &t);
}

MloStatus infer_multinomial(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	int64_t samples = mlo_attr_i(c->n, ATTR_multinomial_sample_size);
	MloType t = {.rank = 2, .dim = {DIM_UNKNOWN, {samples, NULL}}};

	MLO_TRY(elem_of_attr(c, "dtype", 5, &t.elem));
	if (!mlo_elem_is_int(t.elem))
		return infer_error(c, "class numbers of type %s", mlo_elem_text(t.elem));
	if (samples < 0)
		return infer_error(c, "sample_size is %lld", (long long)samples);
	if (x->rank >= 0 && x->rank != 2)
		return infer_error(c, "'%s' is %s, a matrix is expected", infer_name(c, 0), infer_type_text(c, x));
	if (x->rank == 2 && dim_is(x->dim[1], 0))
		return infer_error(c, "'%s' has no classes", infer_name(c, 0));
	if (x->rank == 2)
		t.dim[0] = x->dim[0];
	return infer_out(c, 0, &t);
}

/* The value of an integer scalar as a size; DIM_UNKNOWN when not known. */
static MloStatus size_operand(InferCx *c, uint32_t i, MloDim *out)
{
	InferValues v;

	*out = DIM_UNKNOWN;
	MLO_TRY(check_int(c, i));
	MLO_TRY(check_scalar(c, i));
	infer_values(c, c->n->in[i], &v);
	if (v.n == 1)
		*out = v.d[0];
	if (!out->e && !dim_is_unknown(*out) && out->k < 0)
		return infer_error(c, "size '%s' is %lld", infer_name(c, i), (long long)out->k);
	return MLO_OK;
}

MloStatus infer_window(InferCx *c)
{
	MloType t = {.rank = 1};

	MLO_TRY(elem_of_attr(c, "output_datatype", 15, &t.elem));
	MLO_TRY(size_operand(c, 0, &t.dim[0]));
	return infer_out(c, 0, &t);
}

MloStatus infer_mel_weight_matrix(InferCx *c)
{
	MloType t = {.rank = 2};
	MloDim length;

	MLO_TRY(elem_of_attr(c, "output_datatype", 15, &t.elem));
	MLO_TRY(size_operand(c, 0, &t.dim[1]));
	MLO_TRY(size_operand(c, 1, &length));
	for (uint32_t i = 2; i < 5; i++)
		MLO_TRY(check_scalar(c, i));
	t.dim[0] = infer_add(c, infer_div(c, length, mlo_dim(2)), mlo_dim(1));
	return infer_out(c, 0, &t);
}
