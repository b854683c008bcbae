/* ir/infer_gather.c -- result types of operators that pick, place and order elements by indices. */
#include <string.h>

#include "ir/infer.h"

static MloStatus check_index(const InferCx *c, uint32_t i)
{
	const MloType *t = infer_in(c, i);

	if (!mlo_elem_is_int(t->elem))
		return infer_error(c, "'%s' is %s, indices are expected", infer_name(c, i), infer_type_text(c, t));
	return MLO_OK;
}

static MloStatus no_shape(InferCx *c, MloElem e)
{
	MloType t = infer_unranked(e);

	return infer_out(c, 0, &t);
}

/* Indices have the rank of x, and no more of any other dimension than x has. */
static MloStatus check_beside(InferCx *c, int axis)
{
	const MloType *x = infer_in(c, 0), *index = infer_in(c, 1);

	if (index->rank != x->rank)
		return infer_error(c, "'%s' is %s, '%s' is %s: ranks differ", infer_name(c, 0), infer_type_text(c, x),
		                   infer_name(c, 1), infer_type_text(c, index));
	for (int d = 0; d < x->rank; d++)
		if (d != axis && mlo_dim_known(x->dim[d]) && mlo_dim_known(index->dim[d]) &&
		    index->dim[d].k > x->dim[d].k)
			return infer_error(c, "indices '%s' %s reach beyond '%s' %s in dimension %d", infer_name(c, 1),
			                   infer_type_text(c, index), infer_name(c, 0), infer_type_text(c, x), d);
	return MLO_OK;
}

MloStatus infer_gather_elements(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *index = infer_in(c, 1);
	MloType t = *index;
	int axis;

	t.elem = x->elem;
	MLO_TRY(check_index(c, 1));
	if (x->rank >= 0 && index->rank >= 0) {
		MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_gather_elements_axis), x->rank, &axis));
		MLO_TRY(check_beside(c, axis));
	}
	return infer_out(c, 0, &t);
}

/* The length of the tuples that index tensor i holds; -1: not known. */
static MloStatus tuple_length(InferCx *c, uint32_t i, int most, int *len)
{
	const MloType *t = infer_in(c, i);
	MloDim d;

	*len = -1;
	if (t->rank == 0)
		return infer_error(c, "'%s' is %s, at least one dimension is expected", infer_name(c, i),
		                   infer_type_text(c, t));
	d = t->dim[t->rank - 1];
	if (!mlo_dim_known(d))
		return MLO_OK;
	if (d.k < 0 || d.k > most)
		return infer_error(c, "'%s' %s holds positions in %lld dimensions, there are %d", infer_name(c, i),
		                   infer_type_text(c, t), (long long)d.k, most);
	*len = (int)d.k;
	return MLO_OK;
}

MloStatus infer_gather_nd(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *index = infer_in(c, 1);
	int64_t batch = mlo_attr_i(c->n, ATTR_gather_nd_batch_dims);
	MloType t = {.elem = x->elem};
	int len, rank;

	MLO_TRY(check_index(c, 1));
	if (x->rank < 0 || index->rank < 0)
		return no_shape(c, x->elem);
	if (batch < 0 || batch > x->rank || batch > index->rank - 1)
		return infer_error(c, "batch_dims is %lld, '%s' is %s, '%s' is %s", (long long)batch, infer_name(c, 0),
		                   infer_type_text(c, x), infer_name(c, 1), infer_type_text(c, index));
	MLO_TRY(tuple_length(c, 1, x->rank - (int)batch, &len));
	if (len < 0)
		return no_shape(c, x->elem);
	rank = index->rank - 1 + x->rank - (int)batch - len;
	if (rank > MLO_MAX_RANK)
		return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "a result of rank %d, more than %d", rank,
		                      MLO_MAX_RANK);
	for (int d = 0; d < index->rank - 1; d++) {
		t.dim[t.rank] = index->dim[d];
		if (d < batch && !infer_meet(index->dim[d], x->dim[d], &t.dim[t.rank]))
			return infer_error(c, "batch dimension %d of '%s' %s and '%s' %s differs", d, infer_name(c, 0),
			                   infer_type_text(c, x), infer_name(c, 1), infer_type_text(c, index));
		t.rank++;
	}
	for (int d = (int)batch + len; d < x->rank; d++)
		t.dim[t.rank++] = x->dim[d];
	return infer_out(c, 0, &t);
}

/* -- scatter -------------------------------------------------------------------------------- */

static MloStatus check_reduction(const InferCx *c, const char *s)
{
	static const char *const names[] = {"none", "add", "mul", "max", "min"};
	MloElemClass k = mlo_elem_class(infer_in(c, 0)->elem);

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!strcmp(s, names[i])) {
			if (i > 0 && (k == EC_STRING || k == EC_COMPLEX))
				return infer_error(c, "reduction %s of %s", s, mlo_elem_text(infer_in(c, 0)->elem));
			return MLO_OK;
		}
	return infer_error(c, "reduction '%s' is not one of none, add, mul, max, min", s);
}

static MloStatus check_updates(InferCx *c, const MloType *want)
{
	const MloType *u = infer_in(c, 2);
	bool fits = u->rank == want->rank;
	MloDim d;

	if (u->rank < 0)
		return MLO_OK;
	for (int i = 0; i < want->rank && fits; i++)
		fits = infer_meet(u->dim[i], want->dim[i], &d);
	if (!fits)
		return infer_error(c, "updates '%s' are %s, %s is expected", infer_name(c, 2), infer_type_text(c, u),
		                   infer_type_text(c, want));
	return MLO_OK;
}

MloStatus infer_scatter_elements(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType want = *infer_in(c, 1);
	int axis;

	MLO_TRY(check_index(c, 1));
	MLO_TRY(infer_same_elem(c, 0, 2));
	MLO_TRY(check_reduction(c, mlo_attr_s(c->n, ATTR_scatter_elements_reduction)));
	want.elem = x->elem;
	if (x->rank >= 0 && want.rank >= 0) {
		MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_scatter_elements_axis), x->rank, &axis));
		MLO_TRY(check_beside(c, axis));
		MLO_TRY(check_updates(c, &want));
	}
	return infer_out(c, 0, x);
}

MloStatus infer_scatter_nd(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *index = infer_in(c, 1);
	MloType want = {.elem = x->elem};
	int len;

	MLO_TRY(check_index(c, 1));
	MLO_TRY(infer_same_elem(c, 0, 2));
	MLO_TRY(check_reduction(c, mlo_attr_s(c->n, ATTR_scatter_nd_reduction)));
	if (x->rank < 0 || index->rank < 0)
		return infer_out(c, 0, x);
	MLO_TRY(tuple_length(c, 1, x->rank, &len));
	if (len >= 0 && index->rank - 1 + x->rank - len <= MLO_MAX_RANK) {
		for (int d = 0; d < index->rank - 1; d++)
			want.dim[want.rank++] = index->dim[d];
		for (int d = len; d < x->rank; d++)
			want.dim[want.rank++] = x->dim[d];
		MLO_TRY(check_updates(c, &want));
	}
	return infer_out(c, 0, x);
}

/* -- one hot, top k, sequences ------------------------------------------------------------------ */

/* Operand i, which must have one element, as a size. */
static MloStatus one_size(InferCx *c, uint32_t i, MloDim *out)
{
	const MloTensor *data = c->n->in[i]->data;
	int64_t elems = mlo_type_elems(infer_in(c, i));
	InferValues v;

	*out = DIM_UNKNOWN;
	if (elems >= 0 && elems != 1)
		return infer_error(c, "'%s' is %s, one number is expected", infer_name(c, i),
		                   infer_type_text(c, infer_in(c, i)));
	infer_values(c, c->n->in[i], &v);
	if (data && mlo_elem_is_float(data->elem))
		*out = mlo_dim(mlo_tensor_i64(data, 0));
	else if (v.n == 1)
		*out = v.d[0];
	if (!out->e && !dim_is_unknown(*out) && out->k < 0)
		return infer_error(c, "'%s' is %lld", infer_name(c, i), (long long)out->k);
	return MLO_OK;
}

MloStatus infer_one_hot(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *values = infer_in(c, 2);
	MloType t = {.elem = values->elem, .rank = x->rank < 0 ? MLO_RANK_UNKNOWN : x->rank + 1};
	int64_t pair = mlo_type_elems(values);
	MloDim depth;
	int axis;

	if (pair >= 0 && pair != 2)
		return infer_error(c, "'%s' is %s, two values (off, on) are expected", infer_name(c, 2),
		                   infer_type_text(c, values));
	MLO_TRY(one_size(c, 1, &depth));
	if (x->rank < 0)
		return infer_out(c, 0, &t);
	if (t.rank > MLO_MAX_RANK)
		return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "a result of rank %d, more than %d", t.rank,
		                      MLO_MAX_RANK);
	MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_one_hot_axis), t.rank, &axis));
	for (int d = 0; d < t.rank; d++)
		t.dim[d] = d == axis ? depth : x->dim[d - (d > axis)];
	return infer_out(c, 0, &t);
}

MloStatus infer_top_k(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t = *x;
	MloDim k;
	int axis = 0;

	if (mlo_elem_class(x->elem) == EC_COMPLEX || mlo_elem_class(x->elem) == EC_STRING)
		return infer_error(c, "'%s' is %s, numbers are expected", infer_name(c, 0), mlo_elem_text(x->elem));
	MLO_TRY(one_size(c, 1, &k));
	if (t.rank >= 0) {
		MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_top_k_axis), t.rank, &axis));
		if (!k.e && !dim_is_unknown(k) && mlo_dim_known(t.dim[axis]) && k.k > t.dim[axis].k)
			return infer_error(c, "k is %lld, axis %d of '%s' has %lld elements", (long long)k.k, axis,
			                   infer_name(c, 0), (long long)t.dim[axis].k);
		t.dim[axis] = k;
	}
	MLO_TRY(infer_out(c, 0, &t));
	if (c->n->out[0])
		t = c->n->out[0]->type; /* the same fresh symbol */
	t.elem = EL_i64;
	return infer_out(c, 1, &t);
}

MloStatus infer_reverse_sequence(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *lens = infer_in(c, 1);
	int64_t batch = mlo_attr_i(c->n, ATTR_reverse_sequence_batch_axis);
	int64_t time = mlo_attr_i(c->n, ATTR_reverse_sequence_time_axis);
	MloDim n;

	MLO_TRY(check_index(c, 1));
	if ((batch != 0 && batch != 1) || time != 1 - batch)
		return infer_error(c, "batch_axis is %lld, time_axis %lld: 0 and 1 are expected", (long long)batch,
		                   (long long)time);
	if (x->rank >= 0 && x->rank < 2)
		return infer_error(c, "'%s' is %s, at least two dimensions are expected", infer_name(c, 0),
		                   infer_type_text(c, x));
	if (lens->rank >= 0 && (lens->rank != 1 || (x->rank >= 0 && !infer_meet(lens->dim[0], x->dim[batch], &n))))
		return infer_error(c, "'%s' is %s, a length for each sequence of '%s' %s is expected",
		                   infer_name(c, 1), infer_type_text(c, lens), infer_name(c, 0),
		                   infer_type_text(c, x));
	return infer_out(c, 0, x);
}

/* -- sizes from operands ------------------------------------------------------------------------- */

MloStatus infer_center_crop_pad(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	int naxes;
	const int64_t *axes = mlo_attr_ints(c->n, ATTR_center_crop_pad_axes, &naxes);
	InferValues v;
	int axis;

	if (t.rank < 0)
		return infer_out(c, 0, &t);
	infer_values(c, c->n->in[1], &v);
	if (v.n >= 0 && v.n != (naxes ? naxes : t.rank))
		return infer_error(c, "%d sizes for %d dimensions", v.n, naxes ? naxes : t.rank);
	for (int i = 0; i < (naxes ? naxes : t.rank); i++) {
		MLO_TRY(infer_axis(c, naxes ? axes[i] : i, t.rank, &axis));
		t.dim[axis] = v.n < 0 ? DIM_UNKNOWN : v.d[i];
	}
	return infer_out(c, 0, &t);
}

/* A list attribute of `want` entries of at least `least`, or absent. */
static MloStatus check_list(const InferCx *c, int slot, int want, int64_t least, const char *name)
{
	int n;
	const int64_t *v = mlo_attr_ints(c->n, slot, &n);

	if (n && n != want)
		return infer_error(c, "%s has %d entries, %d expected", name, n, want);
	for (int i = 0; i < n; i++)
		if (v[i] < least || v[i] > 1 << 30)
			return infer_error(c, "%s[%d] is %lld", name, i, (long long)v[i]);
	return MLO_OK;
}

static MloStatus unpool_geometry(InferCx *c, MloType *t)
{
	int nd = t->rank - 2, n, nstrides, npads;
	const int64_t *kernel = mlo_attr_ints(c->n, ATTR_max_unpool_kernel_shape, &n);
	const int64_t *strides = mlo_attr_ints(c->n, ATTR_max_unpool_strides, &nstrides);
	const int64_t *pads = mlo_attr_ints(c->n, ATTR_max_unpool_pads, &npads);

	if (n != nd)
		return infer_error(c, "kernel_shape has %d entries, %d expected", n, nd);
	MLO_TRY(check_list(c, ATTR_max_unpool_kernel_shape, nd, 1, "kernel_shape"));
	MLO_TRY(check_list(c, ATTR_max_unpool_strides, nd, 1, "strides"));
	MLO_TRY(check_list(c, ATTR_max_unpool_pads, 2 * nd, 0, "pads"));
	for (int i = 0; i < nd; i++) {
		MloDim steps = infer_sub(c, t->dim[i + 2], mlo_dim(1));
		int64_t more = kernel[i] - (npads ? pads[i] + pads[i + nd] : 0);

		t->dim[i + 2] = infer_add(c, infer_mul(c, steps, mlo_dim(nstrides ? strides[i] : 1)), mlo_dim(more));
		if (!t->dim[i + 2].e && !dim_is_unknown(t->dim[i + 2]) && t->dim[i + 2].k < 1)
			return infer_error(c, "spatial dimension %d would be %lld", i, (long long)t->dim[i + 2].k);
	}
	return MLO_OK;
}

MloStatus infer_max_unpool(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	const MloType *index = infer_in(c, 1);
	InferValues v;
	MloDim d;

	MLO_TRY(check_index(c, 1));
	if (t.rank < 0)
		return infer_out(c, 0, &t);
	if (t.rank < 3)
		return infer_error(c, "'%s' is %s, at least three dimensions are expected", infer_name(c, 0),
		                   infer_type_text(c, &t));
	for (int i = 0; i < t.rank && index->rank >= 0; i++)
		if (index->rank != t.rank || !infer_meet(t.dim[i], index->dim[i], &d))
			return infer_error(c, "'%s' is %s, but '%s' %s", infer_name(c, 0), infer_type_text(c, &t),
			                   infer_name(c, 1), infer_type_text(c, index));
	MLO_TRY(unpool_geometry(c, &t));
	if (infer_in(c, 2)) {
		infer_values(c, c->n->in[2], &v);
		if (v.n >= 0 && v.n != t.rank)
			return infer_error(c, "output_shape has %d entries, %d expected", v.n, t.rank);
		for (int i = 0; i < t.rank; i++)
			t.dim[i] = v.n < 0 ? DIM_UNKNOWN : v.d[i];
	}
	return infer_out(c, 0, &t);
}
