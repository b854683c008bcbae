/* ir/infer_region.c -- result types of sampling, regions of interest, losses and optimisers. */
#include <string.h>

#include "ir/infer.h"

/* What is known of the rank of operand i must be `rank`. */
static MloStatus want_rank(const InferCx *c, uint32_t i, int rank)
{
	const MloType *t = infer_in(c, i);

	if (!t || t->rank < 0 || t->rank == rank)
		return MLO_OK;
	return infer_error(c, "'%s' is %s, rank %d is expected", infer_name(c, i), infer_type_text(c, t), rank);
}

/* Dimension d of operand i must be `want` as far as both are known. */
static MloStatus want_dim(const InferCx *c, uint32_t i, int d, MloDim want)
{
	const MloType *t = infer_in(c, i);
	MloDim met;

	if (!t || t->rank < 0 || infer_meet(t->dim[d], want, &met))
		return MLO_OK;
	return infer_error(c, "dimension %d of '%s' %s should be %s", d, infer_name(c, i), infer_type_text(c, t),
	                   infer_dim_text(c, want));
}

static MloStatus one_of(const InferCx *c, const char *name, const char *s, const char *const *names)
{
	MloStr all = {.arena = c->g->arena};

	for (int i = 0; names[i]; i++) {
		if (!strcmp(s, names[i]))
			return MLO_OK;
		mlo_str_add(&all, "%s%s", i ? ", " : "", names[i]);
	}
	return infer_error(c, "%s '%s' is not one of %s", name, s, mlo_str_text(&all));
}

#define ONE_OF(c, op, attr, ...) \
	one_of(c, #attr, mlo_attr_s((c)->n, ATTR_##op##_##attr), (const char *const[]){__VA_ARGS__, NULL})

/* -- sampling ------------------------------------------------------------------------------- */

MloStatus infer_grid_sample(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *grid = infer_in(c, 1);
	bool nearest = !strcmp(mlo_attr_s(c->n, ATTR_grid_sample_mode), "nearest");
	MloElemClass k = mlo_elem_class(x->elem);
	MloType t = *x;

	MLO_TRY(ONE_OF(c, grid_sample, mode, "nearest", "linear", "cubic"));
	MLO_TRY(ONE_OF(c, grid_sample, padding_mode, "zeros", "border", "reflection"));
	if (!nearest && (k == EC_STRING || k == EC_COMPLEX))
		return infer_error(c, "%s cannot be interpolated", mlo_elem_text(x->elem));
	if (!mlo_elem_is_float(grid->elem))
		return infer_error(c, "grid '%s' is %s, floats are expected", infer_name(c, 1),
		                   mlo_elem_text(grid->elem));
	if (x->rank < 0)
		return infer_out(c, 0, x);
	if (x->rank < 3)
		return infer_error(c, "'%s' is %s, at least three dimensions are expected", infer_name(c, 0),
		                   infer_type_text(c, x));
	MLO_TRY(want_rank(c, 1, x->rank));
	MLO_TRY(want_dim(c, 1, 0, x->dim[0]));
	MLO_TRY(want_dim(c, 1, x->rank - 1, mlo_dim(x->rank - 2)));
	for (int d = 2; d < t.rank; d++)
		t.dim[d] = grid->rank < 0 ? DIM_UNKNOWN : grid->dim[d - 1];
	return infer_out(c, 0, &t);
}

MloStatus infer_affine_grid(InferCx *c)
{
	MloType t = infer_unranked(infer_in(c, 0)->elem);
	InferValues v;

	infer_values(c, c->n->in[1], &v);
	if (v.n < 0)
		return infer_out(c, 0, &t);
	if (v.n != 4 && v.n != 5)
		return infer_error(c, "size has %d entries, 4 or 5 are expected", v.n);
	t.rank = v.n;
	MLO_TRY(want_rank(c, 0, 3));
	MLO_TRY(want_dim(c, 0, 0, v.d[0]));
	MLO_TRY(want_dim(c, 0, 1, mlo_dim(v.n - 2)));
	MLO_TRY(want_dim(c, 0, 2, mlo_dim(v.n - 1)));
	t.dim[0] = v.d[0];
	for (int d = 1; d < t.rank - 1; d++)
		t.dim[d] = v.d[d + 1];
	t.dim[t.rank - 1] = mlo_dim(v.n - 2);
	return infer_out(c, 0, &t);
}

/* -- regions ---------------------------------------------------------------------------------- */

/* y[regions, channels of x, height, width] */
static MloStatus region_out(InferCx *c, int64_t height, int64_t width)
{
	const MloType *x = infer_in(c, 0), *rois = infer_in(c, 1);
	MloType t = {.elem = x->elem, .rank = 4, .dim = {DIM_UNKNOWN, DIM_UNKNOWN}};

	if (height < 1 || width < 1 || height > 1 << 30 || width > 1 << 30)
		return infer_error(c, "regions of %lld by %lld", (long long)height, (long long)width);
	MLO_TRY(want_rank(c, 0, 4));
	MLO_TRY(want_rank(c, 1, 2));
	if (rois->rank == 2)
		t.dim[0] = rois->dim[0];
	if (x->rank == 4)
		t.dim[1] = x->dim[1];
	t.dim[2] = mlo_dim(height);
	t.dim[3] = mlo_dim(width);
	return infer_out(c, 0, &t);
}

MloStatus infer_roi_align(InferCx *c)
{
	const MloType *rois = infer_in(c, 1);
	int64_t ratio = mlo_attr_i(c->n, ATTR_roi_align_sampling_ratio);

	MLO_TRY(ONE_OF(c, roi_align, mode, "avg", "max"));
	MLO_TRY(ONE_OF(c, roi_align, coordinate_transformation_mode, "half_pixel", "output_half_pixel"));
	if (ratio > 1 << 12)
		return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "sampling_ratio %lld, more than %d",
		                      (long long)ratio, 1 << 12);
	MLO_TRY(want_rank(c, 1, 2));
	MLO_TRY(want_dim(c, 1, 1, mlo_dim(4)));
	MLO_TRY(want_rank(c, 2, 1));
	MLO_TRY(want_dim(c, 2, 0, rois->rank == 2 ? rois->dim[0] : DIM_UNKNOWN));
	if (!mlo_elem_is_int(infer_in(c, 2)->elem))
		return infer_error(c, "'%s' is %s, indices of images are expected", infer_name(c, 2),
		                   infer_type_text(c, infer_in(c, 2)));
	return region_out(c, mlo_attr_i(c->n, ATTR_roi_align_output_height),
	                  mlo_attr_i(c->n, ATTR_roi_align_output_width));
}

MloStatus infer_max_roi_pool(InferCx *c)
{
	int n;
	const int64_t *shape = mlo_attr_ints(c->n, ATTR_max_roi_pool_pooled_shape, &n);

	if (n != 2)
		return infer_error(c, "pooled_shape has %d entries, 2 are expected", n);
	MLO_TRY(want_rank(c, 1, 2));
	MLO_TRY(want_dim(c, 1, 1, mlo_dim(5)));
	return region_out(c, shape[0], shape[1]);
}

static MloStatus deform_list(const InferCx *c, const char *name, int slot, int want, int64_t least)
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

static int64_t entry(const MloNode *n, int slot, int i, int64_t absent)
{
	int count;
	const int64_t *v = mlo_attr_ints(n, slot, &count);

	return count ? v[i] : absent;
}

/* Spatial size i of the result, by the kernel in w. */
static MloDim deform_size(InferCx *c, const MloType *x, const MloType *w, int i)
{
	int64_t stride = entry(c->n, ATTR_deform_conv_strides, i, 1);
	int64_t dilation = entry(c->n, ATTR_deform_conv_dilations, i, 1);
	int64_t pads = entry(c->n, ATTR_deform_conv_pads, i, 0) + entry(c->n, ATTR_deform_conv_pads, i + 2, 0);
	MloDim reach = infer_mul(c, infer_sub(c, w->dim[i + 2], mlo_dim(1)), mlo_dim(dilation));
	MloDim room = infer_sub(c, infer_add(c, x->dim[i + 2], mlo_dim(pads - 1)), reach);

	return infer_add(c, infer_div(c, room, mlo_dim(stride)), mlo_dim(1));
}

/* Channels of offsets (2 per tap) and of the mask, in groups. */
static MloStatus deform_taps(InferCx *c, const MloType *w, int64_t groups, const MloDim *size)
{
	MloDim taps = infer_mul(c, infer_mul(c, w->dim[2], w->dim[3]), mlo_dim(groups));

	for (uint32_t i = 2; i < 5; i += 2) {
		if (!infer_in(c, i))
			continue;
		MLO_TRY(want_rank(c, i, 4));
		MLO_TRY(want_dim(c, i, 1, i == 2 ? infer_mul(c, taps, mlo_dim(2)) : taps));
		MLO_TRY(want_dim(c, i, 2, size[0]));
		MLO_TRY(want_dim(c, i, 3, size[1]));
		if (infer_in(c, 0)->rank == 4)
			MLO_TRY(want_dim(c, i, 0, infer_in(c, 0)->dim[0]));
	}
	return MLO_OK;
}

MloStatus infer_deform_conv(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *w = infer_in(c, 1);
	int64_t group = mlo_attr_i(c->n, ATTR_deform_conv_group);
	int64_t offsets = mlo_attr_i(c->n, ATTR_deform_conv_offset_group);
	MloType t = {.elem = x->elem, .rank = 4};

	MLO_TRY(infer_same_elem(c, 0, 1));
	MLO_TRY(want_rank(c, 0, 4));
	MLO_TRY(want_rank(c, 1, 4));
	MLO_TRY(deform_list(c, "strides", ATTR_deform_conv_strides, 2, 1));
	MLO_TRY(deform_list(c, "dilations", ATTR_deform_conv_dilations, 2, 1));
	MLO_TRY(deform_list(c, "pads", ATTR_deform_conv_pads, 4, 0));
	MLO_TRY(deform_list(c, "kernel_shape", ATTR_deform_conv_kernel_shape, 2, 1));
	if (group < 1 || offsets < 1 || group > 1 << 30 || offsets > 1 << 30)
		return infer_error(c, "group is %lld, offset_group %lld", (long long)group, (long long)offsets);
	if (x->rank < 0 || w->rank < 0) {
		t = infer_unranked(x->elem);
		return infer_out(c, 0, &t);
	}
	MLO_TRY(want_dim(c, 0, 1, infer_mul(c, w->dim[1], mlo_dim(group))));
	if ((mlo_dim_known(w->dim[0]) && w->dim[0].k % group) || (mlo_dim_known(x->dim[1]) && x->dim[1].k % offsets))
		return infer_error(c, "group %lld and offset_group %lld do not divide '%s' %s and '%s' %s",
		                   (long long)group, (long long)offsets, infer_name(c, 0), infer_type_text(c, x),
		                   infer_name(c, 1), infer_type_text(c, w));
	for (int i = 0; i < 2; i++) {
		MLO_TRY(want_dim(c, 1, i + 2, mlo_dim(entry(c->n, ATTR_deform_conv_kernel_shape, i, w->dim[i + 2].k))));
		t.dim[i + 2] = deform_size(c, x, w, i);
	}
	t.dim[0] = x->dim[0];
	t.dim[1] = w->dim[0];
	MLO_TRY(deform_taps(c, w, offsets, &t.dim[2]));
	if (infer_in(c, 3)) {
		MLO_TRY(want_rank(c, 3, 1));
		MLO_TRY(want_dim(c, 3, 0, w->dim[0]));
	}
	return infer_out(c, 0, &t);
}

/* -- losses ------------------------------------------------------------------------------------- */

/* Labels: the scores' shape without the classes. */
static MloStatus loss_out(InferCx *c, const char *reduction)
{
	const MloType *x = infer_in(c, 0), *label = infer_in(c, 1);
	MloType t = {.elem = x->elem};

	MLO_TRY(one_of(c, "reduction", reduction, (const char *const[]){"none", "sum", "mean", NULL}));
	if (!mlo_elem_is_int(label->elem))
		return infer_error(c, "'%s' is %s, classes are expected", infer_name(c, 1),
		                   infer_type_text(c, label));
	if (x->rank >= 0) {
		if (x->rank < 2)
			return infer_error(c, "'%s' is %s, at least two dimensions are expected", infer_name(c, 0),
			                   infer_type_text(c, x));
		MLO_TRY(want_rank(c, 1, x->rank - 1));
		for (int d = 0; d < x->rank - 1; d++)
			MLO_TRY(want_dim(c, 1, d, x->dim[d ? d + 1 : 0]));
	}
	if (infer_in(c, 2)) {
		MLO_TRY(want_rank(c, 2, 1));
		if (x->rank >= 0)
			MLO_TRY(want_dim(c, 2, 0, x->dim[1]));
	}
	if (!strcmp(reduction, "none")) {
		t.rank = x->rank < 0 ? label->rank : x->rank - 1;
		for (int d = 0; d < t.rank; d++)
			t.dim[d] = x->rank < 0 ? label->dim[d] : x->dim[d ? d + 1 : 0];
	}
	return infer_out(c, 0, &t);
}

MloStatus infer_nll_loss(InferCx *c)
{
	return loss_out(c, mlo_attr_s(c->n, ATTR_nll_loss_reduction));
}

MloStatus infer_softmax_cross_entropy(InferCx *c)
{
	MLO_TRY(loss_out(c, mlo_attr_s(c->n, ATTR_softmax_cross_entropy_reduction)));
	return infer_out(c, 1, infer_in(c, 0));
}

/* -- optimisers: rate, step, x, gradient, state.. -> x, state.. ------------------------------------ */

MloStatus infer_optimiser(InferCx *c)
{
	const MloType *x = infer_in(c, 2);

	for (uint32_t i = 0; i < 2; i++) {
		int64_t n = mlo_type_elems(infer_in(c, i));

		if (n >= 0 && n != 1)
			return infer_error(c, "'%s' is %s, one number is expected", infer_name(c, i),
			                   infer_type_text(c, infer_in(c, i)));
	}
	for (uint32_t i = 3; i < c->n->nin; i++) {
		MLO_TRY(infer_same_elem(c, 2, i));
		if (x->rank < 0)
			continue;
		MLO_TRY(want_rank(c, i, x->rank));
		for (int d = 0; d < x->rank; d++)
			MLO_TRY(want_dim(c, i, d, x->dim[d]));
	}
	for (uint32_t i = 0; i < c->n->nout; i++)
		MLO_TRY(infer_out(c, i, x));
	return MLO_OK;
}
