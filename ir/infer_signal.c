/* ir/infer_signal.c -- result types of einsum, Fourier transforms, col2im and det. */
#include "ir/ref/ref_einsum.h"
#include "ir/infer.h"

static MloStatus need_floats(InferCx *c, uint32_t i)
{
	if (!infer_in(c, i) || mlo_elem_is_float(infer_in(c, i)->elem))
		return MLO_OK;
	return infer_error(c, "'%s' is %s, not of a floating type", infer_name(c, i),
	                   mlo_elem_text(infer_in(c, i)->elem));
}

/* Operand i is one integer: its value, when known.  Absent: not known. */
static MloStatus scalar(InferCx *c, uint32_t i, bool *known, int64_t *value)
{
	const MloType *t = infer_in(c, i);
	int64_t v[INFER_MAX_VALUES];
	int n = 0;

	*known = false;
	if (!t)
		return MLO_OK;
	if ((t->elem != EL_i64 && t->elem != EL_i32) || (mlo_type_static(t) && mlo_type_elems(t) != 1))
		return infer_error(c, "'%s' is %s, not one integer", infer_name(c, i), infer_type_text(c, t));
	*known = infer_ints(c, i, v, &n) && n == 1;
	if (*known)
		*value = v[0];
	return MLO_OK;
}

/* A size given by operand i. */
static MloStatus size(InferCx *c, uint32_t i, const char *what, MloDim *out)
{
	bool known;
	int64_t v = 0;

	MLO_TRY(scalar(c, i, &known, &v));
	if (known && (v < 1 || v > MLO_MAX_ELEMS))
		return infer_error(c, "%s is %lld", what, (long long)v);
	if (known || infer_in(c, i))
		*out = known ? mlo_dim(v) : DIM_UNKNOWN;
	return MLO_OK;
}

static MloDim half_and_one(InferCx *c, MloDim n)
{
	return infer_add(c, infer_div(c, n, mlo_dim(2)), mlo_dim(1));
}

/* The last dimension holds real, or real and imaginary parts. */
static MloStatus check_parts(InferCx *c, const MloType *x, bool real_only)
{
	MloDim parts = x->dim[x->rank - 1];

	if (!mlo_dim_known(parts) || parts.k == 1 || (parts.k == 2 && !real_only))
		return MLO_OK;
	return infer_error(c, "'%s' is %s: the last dimension should be %s", infer_name(c, 0),
	                   infer_type_text(c, x), real_only ? "1" : "1 or 2");
}

MloStatus infer_dft(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	bool inverse = mlo_attr_i(c->n, ATTR_dft_inverse) != 0, known;
	bool onesided = mlo_attr_i(c->n, ATTR_dft_onesided) != 0;
	MloDim n;
	int64_t where = -2;
	int axis;

	MLO_TRY(need_floats(c, 0));
	MLO_TRY(scalar(c, 2, &known, &where));
	n = DIM_UNKNOWN;
	MLO_TRY(size(c, 1, "the length", &n));
	if (t.rank < 0)
		return infer_out(c, 0, &t);
	if (t.rank < 2)
		return infer_error(c, "'%s' is %s, at least rank 2 is expected", infer_name(c, 0),
		                   infer_type_text(c, &t));
	MLO_TRY(check_parts(c, &t, onesided && !inverse));
	if (infer_in(c, 2) && !known) { /* any dimension may change */
		for (int i = 0; i < t.rank; i++)
			t.dim[i] = i < t.rank - 1 ? DIM_UNKNOWN : mlo_dim(onesided && inverse ? 1 : 2);
		return infer_out(c, 0, &t);
	}
	MLO_TRY(infer_axis(c, where, t.rank, &axis));
	if (axis == t.rank - 1)
		return infer_error(c, "axis %lld is that of real and imaginary parts", (long long)where);
	if (!infer_in(c, 1)) {
		MloDim last = infer_sub(c, t.dim[axis], mlo_dim(1));

		n = onesided && inverse ? infer_mul(c, last, mlo_dim(2)) : t.dim[axis];
	}
	t.dim[axis] = onesided && !inverse ? half_and_one(c, n) : n;
	t.dim[t.rank - 1] = mlo_dim(onesided && inverse ? 1 : 2);
	return infer_out(c, 0, &t);
}

MloStatus infer_stft(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *window = infer_in(c, 2);
	MloType t = {.elem = x->elem, .rank = 4, .dim = {DIM_UNKNOWN, DIM_UNKNOWN, DIM_UNKNOWN, mlo_dim(2)}};
	MloDim step = DIM_UNKNOWN, n = DIM_UNKNOWN, length = x->rank >= 2 ? x->dim[1] : DIM_UNKNOWN;

	MLO_TRY(need_floats(c, 0));
	MLO_TRY(need_floats(c, 2));
	if (x->rank >= 0 && x->rank != 2 && x->rank != 3)
		return infer_error(c, "'%s' is %s, rank 3 is expected", infer_name(c, 0), infer_type_text(c, x));
	if (x->rank == 3)
		MLO_TRY(check_parts(c, x, mlo_attr_i(c->n, ATTR_stft_onesided) != 0));
	if (window && window->rank >= 0 && window->rank != 1)
		return infer_error(c, "window '%s' is %s, not a vector", infer_name(c, 2),
		                   infer_type_text(c, window));
	MLO_TRY(size(c, 1, "the step", &step));
	n = window ? (window->rank == 1 ? window->dim[0] : DIM_UNKNOWN) : length;
	MLO_TRY(size(c, 3, "the window length", &n));
	if (mlo_dim_known(n) && mlo_dim_known(length) && !dim_is_unknown(n) && !dim_is_unknown(length) &&
	    n.k > length.k)
		return infer_error(c, "windows of %lld do not fit a signal of %lld", (long long)n.k,
		                   (long long)length.k);
	if (x->rank >= 0)
		t.dim[0] = x->dim[0];
	t.dim[1] = infer_add(c, infer_div(c, infer_sub(c, length, n), step), mlo_dim(1));
	t.dim[2] = mlo_attr_i(c->n, ATTR_stft_onesided) ? half_and_one(c, n) : n;
	return infer_out(c, 0, &t);
}

/* -- col2im ------------------------------------------------------------------------------------ */

static MloStatus check_list(InferCx *c, int slot, const char *what, int want, int64_t least)
{
	int n;
	const int64_t *v = mlo_attr_ints(c->n, slot, &n);

	if (n && want >= 0 && n != want)
		return infer_error(c, "%s has %d numbers, %d are needed", what, n, want);
	for (int i = 0; i < n; i++)
		if (v[i] < least || v[i] > INT32_MAX)
			return infer_error(c, "%s holds %lld", what, (long long)v[i]);
	return MLO_OK;
}

MloStatus infer_col2im(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *image = infer_in(c, 1), *block = infer_in(c, 2);
	MloType t = infer_unranked(x->elem);
	int64_t im[INFER_MAX_VALUES], bl[INFER_MAX_VALUES], size = 1;
	int spatial = -1, nim = 0, nbl = 0;

	for (uint32_t i = 1; i < 3; i++)
		if (infer_in(c, i)->elem != EL_i64 || (infer_in(c, i)->rank >= 0 && infer_in(c, i)->rank != 1))
			return infer_error(c, "'%s' is %s, not an i64 vector", infer_name(c, i),
			                   infer_type_text(c, infer_in(c, i)));
	if (x->rank >= 0 && x->rank != 3)
		return infer_error(c, "'%s' is %s, rank 3 is expected", infer_name(c, 0), infer_type_text(c, x));
	if (image->rank == 1 && mlo_dim_known(image->dim[0]))
		spatial = image->dim[0].k > MLO_MAX_RANK ? MLO_MAX_RANK : (int)image->dim[0].k;
	else if (block->rank == 1 && mlo_dim_known(block->dim[0]))
		spatial = block->dim[0].k > MLO_MAX_RANK ? MLO_MAX_RANK : (int)block->dim[0].k;
	if (spatial == 0 || spatial > MLO_MAX_RANK - 2)
		return infer_error(c, "images have %d dimensions", spatial);
	if (block->rank == 1 && spatial > 0 && mlo_dim_known(block->dim[0]) && block->dim[0].k != spatial)
		return infer_error(c, "images have %d dimensions, blocks %lld", spatial, (long long)block->dim[0].k);
	MLO_TRY(check_list(c, ATTR_col2im_dilations, "dilations", spatial, 1));
	MLO_TRY(check_list(c, ATTR_col2im_strides, "strides", spatial, 1));
	MLO_TRY(check_list(c, ATTR_col2im_pads, "pads", spatial < 0 ? -1 : 2 * spatial, 0));
	if (spatial < 0)
		return infer_out(c, 0, &t);
	t.rank = spatial + 2;
	for (int i = 0; i < t.rank; i++)
		t.dim[i] = DIM_UNKNOWN;
	if (x->rank == 3)
		t.dim[0] = x->dim[0];
	if (infer_ints(c, 1, im, &nim))
		for (int i = 0; i < nim && i < spatial; i++)
			t.dim[i + 2] = mlo_dim(im[i]);
	if (infer_ints(c, 2, bl, &nbl)) {
		for (int i = 0; i < nbl; i++) {
			if (bl[i] < 1 || bl[i] > INT32_MAX || size > MLO_MAX_ELEMS / bl[i])
				return infer_error(c, "blocks have the size %lld", (long long)bl[i]);
			size *= bl[i];
		}
		if (x->rank == 3 && mlo_dim_known(x->dim[1]) && x->dim[1].k % size)
			return infer_error(c, "'%s' is %s: blocks of %lld do not divide dimension 1",
			                   infer_name(c, 0), infer_type_text(c, x), (long long)size);
		t.dim[1] = x->rank == 3 ? infer_div(c, x->dim[1], mlo_dim(size)) : DIM_UNKNOWN;
	}
	return infer_out(c, 0, &t);
}

/* -- det, einsum -------------------------------------------------------------------------------- */

MloStatus infer_det(InferCx *c)
{
	MloType t = *infer_in(c, 0), work = t;
	MloDim ignored;

	MLO_TRY(need_floats(c, 0));
	if (!c->n->out[0] || !c->n->out[1])
		return infer_error(c, "a result is absent, both are needed");
	if (t.rank >= 0 && (t.rank < 2 || !infer_meet(t.dim[t.rank - 1], t.dim[t.rank - 2], &ignored)))
		return infer_error(c, "'%s' is %s, square matrices are expected", infer_name(c, 0),
		                   infer_type_text(c, &t));
	t.rank -= t.rank < 0 ? 0 : 2;
	work.elem = EL_f64;
	MLO_TRY(infer_out(c, 0, &t));
	return infer_out(c, 1, &work);
}

/* The size of a label: that of the operands that carry it, where it is not 1. */
static MloStatus label_size(InferCx *c, const Einsum *e, int label, MloDim *size)
{
	bool found = false;

	*size = mlo_dim(1);
	for (int i = 0; i < e->nin; i++)
		for (int d = 0; d < e->in[i].rank; d++) {
			MloDim dim = infer_in(c, (uint32_t)i)->dim[d];

			if (e->in[i].label[d] != label || dim_is(dim, 1))
				continue;
			if (found && !infer_meet(*size, dim, &dim))
				return infer_error(c, "'%s' is %s: dimension %d carries a label of size %s",
				                   infer_name(c, (uint32_t)i),
				                   infer_type_text(c, infer_in(c, (uint32_t)i)), d,
				                   infer_dim_text(c, *size));
			*size = dim;
			found = true;
		}
	return MLO_OK;
}

MloStatus infer_einsum(InferCx *c)
{
	MloType t = {.elem = infer_in(c, 0)->elem};
	MloElemClass class = mlo_elem_class(t.elem);
	int rank[EINSUM_OPERANDS];
	const char *wrong;
	Einsum e;

	if (class == EC_COMPLEX || class == EC_STRING || class == EC_BOOL)
		return infer_error(c, "'%s' is %s, not of a number type", infer_name(c, 0), mlo_elem_text(t.elem));
	if (c->n->nin > EINSUM_OPERANDS)
		return infer_error(c, "%u operands, at most %d are possible", c->n->nin, EINSUM_OPERANDS);
	for (uint32_t i = 0; i < c->n->nin; i++) {
		MLO_TRY(infer_same_elem(c, 0, i));
		rank[i] = infer_in(c, i)->rank;
		if (rank[i] < 0)
			t.rank = MLO_RANK_UNKNOWN;
	}
	if (t.rank < 0)
		return infer_out(c, 0, &t);
	wrong = einsum_parse(&e, mlo_attr_s(c->n, ATTR_einsum_equation), (int)c->n->nin, rank);
	if (wrong)
		return infer_error(c, "equation '%s': %s", mlo_attr_s(c->n, ATTR_einsum_equation), wrong);
	for (int label = 0; label < EINSUM_LABELS; label++) {
		MloDim size;

		MLO_TRY(label_size(c, &e, label, &size));
		for (int k = 0; k < e.out.rank; k++)
			if (e.out.label[k] == label)
				t.dim[k] = size;
	}
	t.rank = e.out.rank;
	return infer_out(c, 0, &t);
}
