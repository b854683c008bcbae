/* ir/infer_move.c -- result types of operators that rearrange whole dimensions. */
#include "ir/infer.h"

MloStatus infer_transpose(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	int n;
	const int64_t *perm = mlo_attr_ints(c->n, ATTR_transpose_perm, &n);
	MloType t = *x;
	bool seen[MLO_MAX_RANK] = {false};

	if (x->rank < 0)
		return infer_out(c, 0, x);
	if (n && n != x->rank)
		return infer_error(c, "perm has %d entries, '%s' is %s", n, infer_name(c, 0),
		                   infer_type_text(c, x));
	for (int i = 0; i < x->rank; i++) {
		int64_t p = n ? perm[i] : x->rank - 1 - i;

		if (p < 0 || p >= x->rank || seen[p])
			return infer_error(c, "perm is no permutation: entry %d is %lld", i, (long long)p);
		seen[p] = true;
		t.dim[i] = x->dim[p];
	}
	return infer_out(c, 0, &t);
}

/* The size that -1 stands for: what of x the other dimensions of the result leave. */
static MloStatus reshape_rest(InferCx *c, const MloType *x, MloType *t, int at)
{
	MloDim num = mlo_dim(1), den = mlo_dim(1);
	bool used[MLO_MAX_RANK] = {false};

	/* Equal dimensions cancel first: that keeps symbolic quotients simple. */
	for (int i = 0; i < t->rank; i++) {
		int j = 0;

		if (i == at)
			continue;
		while (j < x->rank && (used[j] || dim_is_unknown(t->dim[i]) || dim_is(t->dim[i], 0) ||
		                       !mlo_dim_same(x->dim[j], t->dim[i])))
			j++;
		if (j < x->rank)
			used[j] = true;
		else
			den = infer_mul(c, den, t->dim[i]);
	}
	for (int j = 0; j < x->rank; j++)
		if (!used[j])
			num = infer_mul(c, num, x->dim[j]);
	if (!num.e && !den.e && !dim_is_unknown(num) && !dim_is_unknown(den) &&
	    (den.k == 0 ? num.k != 0 : num.k % den.k != 0))
		return infer_error(c, "'%s' %s does not divide into the other dimensions", infer_name(c, 0),
		                   infer_type_text(c, x));
	t->dim[at] = dim_is(den, 0) ? mlo_dim(0) : infer_div(c, num, den);
	return MLO_OK;
}

static MloStatus reshape_check(InferCx *c, const MloType *x, const MloType *t)
{
	int64_t a = mlo_type_elems(x), b;

	for (int i = 0; i < t->rank; i++)
		if (dim_is_unknown(t->dim[i]))
			return MLO_OK;
	b = mlo_type_elems(t);
	if (a >= 0 && mlo_type_static(t) && a != b)
		return infer_error(c, "'%s' %s has %lld elements, the new shape %s has %lld", infer_name(c, 0),
		                   infer_type_text(c, x), (long long)a, infer_type_text(c, t), (long long)b);
	return MLO_OK;
}

MloStatus infer_reshape(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t = {.elem = x->elem};
	bool zero = mlo_attr_i(c->n, ATTR_reshape_allowzero) != 0;
	int minus = -1, unknown = -1, nunknown = 0;
	InferValues v;

	infer_values(c, c->n->in[1], &v);
	if (v.n > MLO_MAX_RANK)
		return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "a result of rank %d, more than %d", v.n,
		                      MLO_MAX_RANK);
	t.rank = v.n < 0 ? MLO_RANK_UNKNOWN : v.n;
	for (int i = 0; i < t.rank; i++) {
		t.dim[i] = v.d[i];
		if (dim_is(v.d[i], 0) && !zero) {
			if (x->rank >= 0 && i >= x->rank)
				return infer_error(c, "0 in position %d, '%s' is %s", i, infer_name(c, 0),
				                   infer_type_text(c, x));
			t.dim[i] = x->rank < 0 ? DIM_UNKNOWN : x->dim[i];
		} else if (dim_is(v.d[i], -1)) {
			if (minus >= 0)
				return infer_error(c, "more than one -1 in the new shape");
			minus = i;
			t.dim[i] = DIM_UNKNOWN;
		} else if (dim_is_unknown(v.d[i])) {
			unknown = i;
			nunknown++;
		}
	}
	if (minus < 0 && nunknown == 1)
		minus = unknown; /* the one size that is not known follows from the others */
	if (minus >= 0 && x->rank >= 0)
		MLO_TRY(reshape_rest(c, x, &t, minus));
	if (x->rank >= 0)
		MLO_TRY(reshape_check(c, x, &t));
	return infer_out(c, 0, &t);
}

MloStatus infer_flatten(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t = {.elem = x->elem, .rank = 2, .dim = {DIM_UNKNOWN, DIM_UNKNOWN}};
	int64_t axis = mlo_attr_i(c->n, ATTR_flatten_axis);

	if (x->rank < 0)
		return infer_out(c, 0, &t);
	if (axis < -x->rank || axis > x->rank)
		return infer_error(c, "axis %lld is outside -%d..%d", (long long)axis, x->rank, x->rank);
	axis += axis < 0 ? x->rank : 0;
	t.dim[0] = t.dim[1] = mlo_dim(1);
	for (int i = 0; i < x->rank; i++)
		t.dim[i >= axis] = infer_mul(c, t.dim[i >= axis], x->dim[i]);
	return infer_out(c, 0, &t);
}

MloStatus infer_squeeze(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t = {.elem = x->elem};
	bool axis[MLO_MAX_RANK], known, given = infer_in(c, 1) != NULL;

	if (x->rank < 0)
		return infer_out(c, 0, x);
	MLO_TRY(infer_axes(c, 1, x->rank, axis, &known));
	if (given && !known) {
		t = infer_fewer(c, x, 1);
		return infer_out(c, 0, &t);
	}
	for (int i = 0; i < x->rank; i++) {
		int64_t lo, hi;

		mlo_dim_range(x->dim[i], &lo, &hi);
		if (given && axis[i] && (lo > 1 || hi < 1))
			return infer_error(c, "dimension %d of '%s' is %s, not 1", i, infer_name(c, 0),
			                   infer_dim_text(c, x->dim[i]));
		if (!given && x->dim[i].e && lo <= 1 && hi >= 1) /* may or may not be dropped */
			return infer_out(c, 0, &(MloType){.elem = x->elem, .rank = MLO_RANK_UNKNOWN});
		if (given ? !axis[i] : !dim_is(x->dim[i], 1))
			t.dim[t.rank++] = x->dim[i];
	}
	return infer_out(c, 0, &t);
}

MloStatus infer_unsqueeze(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t = {.elem = x->elem};
	bool axis[MLO_MAX_RANK], known;
	InferValues v;
	int from = 0;

	infer_values(c, c->n->in[1], &v);
	if (x->rank < 0 || v.n < 0)
		return infer_out(c, 0, &(MloType){.elem = x->elem, .rank = MLO_RANK_UNKNOWN});
	t.rank = x->rank + v.n;
	if (t.rank > MLO_MAX_RANK)
		return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "a result of rank %d, more than %d", t.rank,
		                      MLO_MAX_RANK);
	MLO_TRY(infer_axes(c, 1, t.rank, axis, &known));
	for (int i = 0; i < t.rank; i++)
		t.dim[i] = !known ? DIM_UNKNOWN : axis[i] ? mlo_dim(1) : x->dim[from++];
	return infer_out(c, 0, &t);
}

MloStatus infer_expand(InferCx *c)
{
	MloType t = *infer_in(c, 0), shape = {.elem = t.elem};
	InferValues v;

	infer_values(c, c->n->in[1], &v);
	if (v.n > MLO_MAX_RANK)
		return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "a result of rank %d, more than %d", v.n,
		                      MLO_MAX_RANK);
	shape.rank = v.n < 0 ? MLO_RANK_UNKNOWN : v.n;
	for (int i = 0; i < shape.rank; i++) {
		shape.dim[i] = v.d[i];
		if (!v.d[i].e && !dim_is_unknown(v.d[i]) && v.d[i].k < 0)
			return infer_error(c, "the new shape holds %lld", (long long)v.d[i].k);
	}
	MLO_TRY(infer_broadcast(c, &t, &shape));
	return infer_out(c, 0, &t);
}

MloStatus infer_concat(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	int axis = -1;

	for (uint32_t i = 1; i < c->n->nin; i++) {
		const MloType *x = infer_in(c, i);

		MLO_TRY(infer_same_elem(c, 0, i));
		if (t.rank < 0 || x->rank < 0) {
			t.rank = t.rank < 0 ? x->rank : t.rank;
			for (int k = 0; k < t.rank; k++)
				t.dim[k] = DIM_UNKNOWN;
			continue;
		}
		if (axis < 0)
			MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_concat_axis), t.rank, &axis));
		if (x->rank != t.rank)
			return infer_error(c, "'%s' is %s, '%s' is %s: ranks differ", infer_name(c, 0),
			                   infer_type_text(c, infer_in(c, 0)), infer_name(c, i),
			                   infer_type_text(c, x));
		for (int k = 0; k < t.rank; k++) {
			if (k == axis)
				t.dim[k] = infer_add(c, t.dim[k], x->dim[k]);
			else if (!infer_meet(t.dim[k], x->dim[k], &t.dim[k]))
				return infer_error(c, "'%s' is %s, '%s' is %s: dimension %d differs",
				                   infer_name(c, 0), infer_type_text(c, infer_in(c, 0)),
				                   infer_name(c, i), infer_type_text(c, x), k);
		}
	}
	if (t.rank >= 0 && axis < 0)
		MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_concat_axis), t.rank, &axis));
	return infer_out(c, 0, &t);
}

/* Sizes given: as they say. Otherwise equal parts, the last one smaller. */
static MloDim split_part(InferCx *c, MloDim whole, uint32_t i)
{
	MloDim n = mlo_dim(c->n->nout);
	MloDim part = infer_div(c, infer_add(c, whole, mlo_dim((int64_t)c->n->nout - 1)), n);

	if (i + 1 < c->n->nout)
		return part;
	return infer_sub(c, whole, infer_mul(c, part, mlo_dim((int64_t)c->n->nout - 1)));
}

/* The constant sizes of a split may be more than infer_values() holds. */
static MloStatus split_sizes(InferCx *c, MloDim whole, const MloTensor **sizes)
{
	const MloTensor *s = c->n->nin > 1 && c->n->in[1] ? c->n->in[1]->data : NULL;
	int64_t sum = 0;

	*sizes = s;
	if (!s)
		return MLO_OK;
	if (!mlo_elem_is_int(s->elem) || mlo_tensor_elems(s) != c->n->nout)
		return infer_error(c, "%lld sizes for %u results", (long long)mlo_tensor_elems(s), c->n->nout);
	for (uint32_t i = 0; i < c->n->nout; i++) {
		int64_t k = mlo_tensor_i64(s, i);

		if (k < 0 || k > MLO_MAX_ELEMS)
			return infer_error(c, "part %u has the size %lld", i, (long long)k);
		sum = sum > MLO_MAX_ELEMS ? sum : sum + k;
	}
	if (mlo_dim_known(whole) && sum != whole.k)
		return infer_error(c, "the sizes sum to %lld, '%s' has %lld", (long long)sum, infer_name(c, 0),
		                   (long long)whole.k);
	return MLO_OK;
}

MloStatus infer_split(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	const MloTensor *sizes = NULL;
	MloType t = *x;
	InferValues v = {.n = -1};
	int axis = 0;

	if (x->rank >= 0) {
		MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_split_axis), x->rank, &axis));
		MLO_TRY(split_sizes(c, x->dim[axis], &sizes));
		if (infer_in(c, 1))
			infer_values(c, c->n->in[1], &v);
	}
	for (uint32_t i = 0; i < c->n->nout; i++) {
		if (sizes)
			t.dim[axis] = mlo_dim(mlo_tensor_i64(sizes, i));
		else if (x->rank >= 0 && infer_in(c, 1))
			t.dim[axis] = v.n == (int)c->n->nout ? v.d[i] : DIM_UNKNOWN;
		else if (x->rank >= 0)
			t.dim[axis] = split_part(c, x->dim[axis], i);
		MLO_TRY(infer_out(c, i, &t));
	}
	return MLO_OK;
}
