/* ir/infer_index.c -- result types of slice, pad, gather, tile, resize, depth_to_space. */
#include <math.h>
#include <string.h>

#include "ir/infer.h"

static int64_t clamp(int64_t v, int64_t lo, int64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* Everything is a number: the definition, word by word. */
static int64_t slice_count(int64_t dim, int64_t start, int64_t end, int64_t step)
{
	__int128 span;

	start += start < 0 ? dim : 0;
	end += end < 0 ? dim : 0;
	start = step > 0 ? clamp(start, 0, dim) : clamp(start, 0, dim - 1);
	end = step > 0 ? clamp(end, 0, dim) : clamp(end, -1, dim - 1);
	span = step > 0 ? (__int128)end - start : (__int128)start - end;
	if (span <= 0 || dim == 0)
		return 0;
	return (int64_t)((span - 1) / (step > 0 ? step : -(__int128)step) + 1);
}

/* Exporters write such numbers for "to the end"; no symbolic size is meant to reach them. */
enum { SLICE_END = 1000000000 };

/* The position p (negative: from the end) within 0..dim. */
static MloDim slice_pos(InferCx *c, MloDim dim, MloDim p)
{
	int64_t lo, hi;

	if (!p.e && p.k >= SLICE_END && dim.e)
		return dim;
	if (p.e || p.k >= 0)
		return infer_min(c, dim, p);
	mlo_dim_range(dim, &lo, &hi);
	if (p.k < -hi)
		return mlo_dim(0);
	return infer_max(c, mlo_dim(0), mlo_dim_add(c->syms, dim, p));
}

static MloDim slice_dim(InferCx *c, MloDim dim, MloDim start, MloDim end, MloDim step)
{
	int64_t lo, hi;
	MloDim n, from;

	if (dim_is_unknown(dim) || dim_is_unknown(start) || dim_is_unknown(end) || dim_is_unknown(step) || step.e)
		return DIM_UNKNOWN;
	if (!dim.e && !start.e && !end.e)
		return mlo_dim(slice_count(dim.k, start.k, end.k, step.k));
	mlo_dim_range(dim, &lo, &hi);
	if (step.k < 0) { /* only the common case: all of it, backwards */
		if (start.e || end.e || (start.k != -1 && start.k < hi - 1) || end.k >= -hi)
			return DIM_UNKNOWN;
		return infer_div(c, infer_add(c, dim, mlo_dim(-(step.k + 1))), mlo_dim(-step.k));
	}
	/* A symbolic position is a size, so it is not negative. */
	from = slice_pos(c, dim, start);
	n = slice_pos(c, dim, end);
	if (!dim_is(from, 0))
		n = infer_max(c, mlo_dim(0), mlo_dim_sub(c->syms, n, from));
	return infer_div(c, infer_add(c, n, mlo_dim(step.k - 1)), step);
}

MloStatus infer_slice(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	InferValues start, end, axes = {.n = -1}, steps = {.n = -1};
	bool seen[MLO_MAX_RANK] = {false};

	if (t.rank < 0)
		return infer_out(c, 0, &t);
	infer_values(c, c->n->in[1], &start);
	infer_values(c, c->n->in[2], &end);
	if (infer_in(c, 3))
		infer_values(c, c->n->in[3], &axes);
	if (infer_in(c, 4))
		infer_values(c, c->n->in[4], &steps);
	if (start.n < 0 || end.n < 0 || (infer_in(c, 3) && axes.n < 0)) {
		for (int i = 0; i < t.rank; i++)
			t.dim[i] = DIM_UNKNOWN;
		return infer_out(c, 0, &t);
	}
	if (start.n != end.n || start.n > t.rank || (axes.n >= 0 && axes.n != start.n) ||
	    (steps.n >= 0 && steps.n != start.n))
		return infer_error(c, "%d starts, %d ends, %d axes and %d steps for '%s' %s", start.n, end.n,
		                   axes.n < 0 ? start.n : axes.n, steps.n < 0 ? start.n : steps.n,
		                   infer_name(c, 0), infer_type_text(c, &t));
	for (int i = 0; i < start.n; i++) {
		MloDim step = !infer_in(c, 4) ? mlo_dim(1) : steps.n < 0 ? DIM_UNKNOWN : steps.d[i];
		int axis = i;

		if (dim_is(step, 0))
			return infer_error(c, "step 0 in position %d", i);
		if (axes.n >= 0 && (dim_is_unknown(axes.d[i]) || axes.d[i].e)) {
			for (int k = 0; k < t.rank; k++)
				t.dim[k] = DIM_UNKNOWN;
			break;
		}
		if (axes.n >= 0)
			MLO_TRY(infer_axis(c, axes.d[i].k, t.rank, &axis));
		if (seen[axis])
			return infer_error(c, "axis %d is named twice", axis);
		seen[axis] = true;
		t.dim[axis] = slice_dim(c, t.dim[axis], start.d[i], end.d[i], step);
	}
	return infer_out(c, 0, &t);
}

/* -- pad ------------------------------------------------------------------------------------ */

static MloStatus pad_axis(InferCx *c, MloType *t, int axis, MloDim lo, MloDim hi, bool constant)
{
	MloDim d = t->dim[axis], sum = infer_add(c, d, infer_add(c, lo, hi));

	if (!sum.e && !dim_is_unknown(sum) && sum.k < 0)
		return infer_error(c, "pads %lld and %lld leave nothing of dimension %d of '%s' (%lld)",
		                   (long long)lo.k, (long long)hi.k, axis, infer_name(c, 0), (long long)d.k);
	if (!constant && dim_is(d, 0) && !dim_is(sum, 0))
		return infer_error(c, "dimension %d of '%s' is 0: nothing to pad with", axis, infer_name(c, 0));
	t->dim[axis] = sum;
	return MLO_OK;
}

MloStatus infer_pad(InferCx *c)
{
	static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
	const char *mode = mlo_attr_s(c->n, ATTR_pad_mode);
	MloType t = *infer_in(c, 0);
	InferValues pads, axes = {.n = t.rank};
	int m = 0;

	while (m < 4 && strcmp(mode, modes[m]))
		m++;
	if (m == 4)
		return infer_error(c, "mode '%s' is not one of constant, reflect, edge, wrap", mode);
	MLO_TRY(infer_same_elem(c, 0, 2));
	if (t.rank < 0)
		return infer_out(c, 0, &t);
	for (int i = 0; i < t.rank; i++)
		axes.d[i] = mlo_dim(i);
	if (infer_in(c, 3))
		infer_values(c, c->n->in[3], &axes);
	infer_values(c, c->n->in[1], &pads);
	for (int i = 0; i < axes.n; i++)
		if (dim_is_unknown(axes.d[i]) || axes.d[i].e)
			axes.n = -1;
	if (pads.n < 0 || axes.n < 0) {
		for (int i = 0; i < t.rank; i++)
			t.dim[i] = DIM_UNKNOWN;
		return infer_out(c, 0, &t);
	}
	if (pads.n != 2 * axes.n)
		return infer_error(c, "%d pads for %d axes", pads.n, axes.n);
	for (int i = 0; i < axes.n; i++) {
		int axis;

		MLO_TRY(infer_axis(c, axes.d[i].k, t.rank, &axis));
		MLO_TRY(pad_axis(c, &t, axis, pads.d[i], pads.d[axes.n + i], m == 0));
	}
	return infer_out(c, 0, &t);
}

/* -- gather, tile, depth_to_space ----------------------------------------------------------- */

MloStatus infer_gather(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *idx = infer_in(c, 1);
	MloType t = {.elem = x->elem};
	int axis;

	if (idx->elem != EL_i64 && idx->elem != EL_i32)
		return infer_error(c, "indices '%s' are %s, not i32 or i64", infer_name(c, 1),
		                   mlo_elem_text(idx->elem));
	if (x->rank < 0 || idx->rank < 0)
		return infer_out(c, 0, &(MloType){.elem = x->elem, .rank = MLO_RANK_UNKNOWN});
	MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_gather_axis), x->rank, &axis));
	if (x->rank + idx->rank - 1 > MLO_MAX_RANK)
		return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "a result of rank %d, more than %d",
		                      x->rank + idx->rank - 1, MLO_MAX_RANK);
	for (int i = 0; i < axis; i++)
		t.dim[t.rank++] = x->dim[i];
	for (int i = 0; i < idx->rank; i++)
		t.dim[t.rank++] = idx->dim[i];
	for (int i = axis + 1; i < x->rank; i++)
		t.dim[t.rank++] = x->dim[i];
	return infer_out(c, 0, &t);
}

MloStatus infer_tile(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	InferValues v;

	infer_values(c, c->n->in[1], &v);
	if (t.rank >= 0 && v.n >= 0 && v.n != t.rank)
		return infer_error(c, "%d repeats for '%s' %s", v.n, infer_name(c, 0), infer_type_text(c, &t));
	for (int i = 0; i < t.rank; i++) {
		MloDim r = v.n < 0 ? DIM_UNKNOWN : v.d[i];

		if (!r.e && !dim_is_unknown(r) && r.k < 0)
			return infer_error(c, "%lld repeats of dimension %d", (long long)r.k, i);
		t.dim[i] = infer_mul(c, t.dim[i], r);
	}
	return infer_out(c, 0, &t);
}

MloStatus infer_depth_to_space(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	int64_t b = mlo_attr_i(c->n, ATTR_depth_to_space_blocksize);
	const char *mode = mlo_attr_s(c->n, ATTR_depth_to_space_mode);

	if (b < 1 || b > 1 << 20)
		return infer_error(c, "blocksize is %lld", (long long)b);
	if (strcmp(mode, "DCR") && strcmp(mode, "CRD"))
		return infer_error(c, "mode '%s' is not one of DCR, CRD", mode);
	if (t.rank < 0)
		return infer_out(c, 0, &t);
	if (t.rank != 4)
		return infer_error(c, "'%s' is %s, four dimensions are expected", infer_name(c, 0),
		                   infer_type_text(c, &t));
	if (mlo_dim_known(t.dim[1]) && t.dim[1].k % (b * b))
		return infer_error(c, "%lld channels of '%s' do not divide into blocks of %lld by %lld",
		                   (long long)t.dim[1].k, infer_name(c, 0), (long long)b, (long long)b);
	t.dim[1] = infer_div(c, t.dim[1], mlo_dim(b * b));
	t.dim[2] = infer_mul(c, t.dim[2], mlo_dim(b));
	t.dim[3] = infer_mul(c, t.dim[3], mlo_dim(b));
	return infer_out(c, 0, &t);
}

MloStatus infer_space_to_depth(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	int64_t b = mlo_attr_i(c->n, ATTR_space_to_depth_blocksize);

	if (b < 1 || b > 1 << 20)
		return infer_error(c, "blocksize is %lld", (long long)b);
	if (t.rank < 0)
		return infer_out(c, 0, &t);
	if (t.rank != 4)
		return infer_error(c, "'%s' is %s, four dimensions are expected", infer_name(c, 0),
		                   infer_type_text(c, &t));
	for (int i = 2; i < 4; i++) {
		if (mlo_dim_known(t.dim[i]) && t.dim[i].k % b)
			return infer_error(c, "dimension %d of '%s' is %lld, no multiple of the block size %lld", i,
			                   infer_name(c, 0), (long long)t.dim[i].k, (long long)b);
		t.dim[i] = infer_div(c, t.dim[i], mlo_dim(b));
	}
	t.dim[1] = infer_mul(c, t.dim[1], mlo_dim(b * b));
	return infer_out(c, 0, &t);
}

/* -- resize --------------------------------------------------------------------------------- */

/* floor(dim * scale) */
static MloStatus scaled(InferCx *c, MloDim d, double scale, MloDim *out)
{
	double inverse = 1 / scale, size;

	if (!(scale > 0) || scale > 0x1p30)
		return infer_error(c, "scale %g", scale);
	*out = DIM_UNKNOWN;
	if (d.e && scale == floor(scale)) {
		*out = infer_mul(c, d, mlo_dim((int64_t)scale));
	} else if (d.e && inverse == floor(inverse) && inverse < 0x1p30) {
		*out = infer_div(c, d, mlo_dim((int64_t)inverse));
	} else if (!d.e && !dim_is_unknown(d)) {
		size = floor((double)d.k * scale);
		*out = mlo_dim(size > 0x1p60 ? (int64_t)1 << 60 : (int64_t)size);
	}
	return MLO_OK;
}

/* keep_aspect_ratio_policy: one scale for all axes, the smallest or largest that sizes ask for. */
static MloStatus keep_aspect(InferCx *c, const MloType *x, const int *axis, int n, MloDim *size)
{
	const char *policy = mlo_attr_s(c->n, ATTR_resize_keep_aspect_ratio_policy);
	bool larger_one = !strcmp(policy, "not_smaller");
	double best = 0;

	if (!strcmp(policy, "stretch"))
		return MLO_OK;
	if (!larger_one && strcmp(policy, "not_larger"))
		return infer_error(c, "keep_aspect_ratio_policy '%s' is not one of stretch, not_larger, not_smaller",
		                   policy);
	for (int i = 0; i < n; i++) {
		double s;

		if (size[i].e || dim_is_unknown(size[i]) || x->dim[axis[i]].e || x->dim[axis[i]].k == 0) {
			for (int k = 0; k < n; k++)
				size[k] = DIM_UNKNOWN;
			return MLO_OK;
		}
		s = (double)size[i].k / (double)x->dim[axis[i]].k;
		if (i == 0 || (larger_one ? s > best : s < best))
			best = s;
	}
	for (int i = 0; i < n; i++)
		size[i] = mlo_dim((int64_t)fmin(floor((double)x->dim[axis[i]].k * best + 0.5), 0x1p60));
	return MLO_OK;
}

static bool is_empty(const MloType *t)
{
	return !t || mlo_type_elems(t) == 0;
}

static MloStatus resize_axes(InferCx *c, int rank, int *axis, int *n)
{
	const int64_t *v = mlo_attr_ints(c->n, ATTR_resize_axes, n);
	bool seen[MLO_MAX_RANK] = {false};

	if (*n > rank)
		return infer_error(c, "%d axes for %d dimensions", *n, rank);
	for (int i = 0; i < *n; i++) {
		MLO_TRY(infer_axis(c, v[i], rank, &axis[i]));
		if (seen[axis[i]])
			return infer_error(c, "axis %lld is named twice", (long long)v[i]);
		seen[axis[i]] = true;
	}
	if (*n == 0)
		for (*n = 0; *n < rank; ++*n)
			axis[*n] = *n;
	return MLO_OK;
}

static MloStatus resize_by_scales(InferCx *c, MloType *t, const int *axis, int n)
{
	const MloTensor *s = c->n->in[2]->data;

	if (s && (!mlo_elem_is_float(s->elem) || mlo_tensor_elems(s) != n))
		return infer_error(c, "%lld scales for %d dimensions", (long long)mlo_tensor_elems(s), n);
	for (int i = 0; i < n; i++) {
		MloDim *d = &t->dim[axis[i]];

		if (!s)
			*d = DIM_UNKNOWN;
		else
			MLO_TRY(scaled(c, *d, mlo_tensor_f64(s, i), d));
	}
	return MLO_OK;
}

MloStatus infer_resize(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	bool scales = !is_empty(infer_in(c, 2)), sizes = !is_empty(infer_in(c, 3));
	int axis[MLO_MAX_RANK], n;
	InferValues v;

	if (t.rank < 0)
		return infer_out(c, 0, &t);
	if (scales == sizes)
		return infer_error(c, "%s", scales ? "both scales and sizes" : "neither scales nor sizes");
	MLO_TRY(resize_axes(c, t.rank, axis, &n));
	if (scales) {
		MLO_TRY(resize_by_scales(c, &t, axis, n));
		return infer_out(c, 0, &t);
	}
	infer_values(c, c->n->in[3], &v);
	if (v.n >= 0 && v.n != n)
		return infer_error(c, "%d sizes for %d dimensions", v.n, n);
	for (int i = 0; i < n && v.n < 0; i++)
		v.d[i] = DIM_UNKNOWN;
	MLO_TRY(keep_aspect(c, &t, axis, n, v.d));
	for (int i = 0; i < n; i++)
		t.dim[axis[i]] = v.d[i];
	return infer_out(c, 0, &t);
}
