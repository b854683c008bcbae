/* ir/ref/ref_sizes.c -- result sizes that depend on the values of operands. */
#include "ir/ref/ref_elem.h"

/* -1 when one is, or when the number of elements is beyond 64 bits. */
static int64_t mul(int64_t a, int64_t b)
{
	int64_t r;
	return a < 0 || b < 0 || __builtin_mul_overflow(a, b, &r) ? -1 : r;
}

static int64_t add(int64_t a, int64_t b)
{
	int64_t r;
	return __builtin_add_overflow(a, b, &r) || r < 0 ? -1 : r;
}

/* n / 2 + 1, for the bins of real signals of n samples; -1 when n is negative. */
static int64_t half_and_one(int64_t n) { return n < 0 ? -1 : n / 2 + 1; }

static void copy_dims(int64_t *dims, const RefTensor *t)
{
	for (int d = 0; d < t->rank; d++)
		dims[d] = t->dim[d];
}

/* Axis i of a list of axes (NULL: the i-th dimension); -1: none of the tensor. */
static int axis_at(const RefTensor *axes, int64_t i, int rank)
{
	return (int)ref_wrap(axes ? ref_get_i64(axes, i) : i, rank);
}

void size_broadcast(const RefCall *c, int64_t *dims)
{
	int rank = c->out[0].rank;
	for (int d = 0; d < rank; d++)
		dims[d] = 1;
	for (int i = 0; i < c->nin; i++) {
		const RefTensor *t = &c->in[i];
		for (int d = 0; d < t->rank; d++) {
			int64_t *to = &dims[d + rank - t->rank], n = t->dim[d];
			if (*to != n && n != 1)
				*to = *to == 1 ? n : -1;
		}
	}
}

/* -- movement ------------------------------------------------------------------------------------- */

void size_reshape(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *shape = &c->in[1];
	bool zero = c->attr[ATTR_reshape_allowzero].i != 0;
	int64_t rest = -1, known = 1, all = ref_count(x);
	for (int64_t i = 0, n = ref_count(shape); i < n && i < c->out[0].rank; i++) {
		int64_t k = ref_get_i64(shape, i);
		k = k == 0 && !zero ? i < x->rank ? x->dim[i] : -1 : k < -1 ? -1 : k;
		dims[i] = k;
		if (ref_get_i64(shape, i) == -1 && rest < 0)
			rest = i;
		else
			known = mul(known, k);
	}
	if (rest >= 0 && known > 0 && all % known == 0)
		dims[rest] = all / known;
	else if (rest >= 0 && known == 0 && all == 0)
		dims[rest] = 0;
	else if (c->out[0].rank > 0 && known != all)
		dims[0] = -1;
}

void size_squeeze(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *axes = ref_in(c, 1);
	bool drop[REF_MAX_RANK], bad = false;
	int to = 0, rank = c->out[0].rank;
	for (int d = 0; d < x->rank; d++)
		drop[d] = !axes && x->dim[d] == 1;
	for (int64_t i = 0, n = axes ? ref_count(axes) : 0; i < n; i++) {
		int d = axis_at(axes, i, x->rank);
		bad = bad || d < 0 || x->dim[d] != 1;
		if (d >= 0)
			drop[d] = true;
	}
	for (int d = 0; d < x->rank; d++)
		if (!drop[d] && to < rank)
			dims[to++] = x->dim[d];
		else if (!drop[d])
			bad = true;
	for (int d = 0; d < rank && (bad || to != rank); d++)
		dims[d] = -1;
}

void size_unsqueeze(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *axes = &c->in[1];
	int rank = c->out[0].rank, from = 0;
	bool bad = false;
	for (int d = 0; d < rank; d++)
		dims[d] = 0;
	for (int64_t i = 0, n = ref_count(axes); i < n; i++) {
		int d = axis_at(axes, i, rank);
		bad = bad || d < 0 || dims[d] == 1;
		if (d >= 0)
			dims[d] = 1;
	}
	for (int d = 0; d < rank; d++)
		if (dims[d] != 1)
			dims[d] = from < x->rank ? x->dim[from++] : -1;
	for (int d = 0; d < rank && (bad || from != x->rank); d++)
		dims[d] = -1;
}

void size_expand(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *shape = &c->in[1];
	int rank = c->out[0].rank, n = (int)ref_count(shape);
	for (int d = 0; d < rank; d++) {
		int s = d - (rank - n), e = d - (rank - x->rank);
		int64_t want = s < 0 ? 1 : ref_get_i64(shape, s), have = e < 0 ? 1 : x->dim[e];
		dims[d] = want == 1 || want == have ? have : have == 1 ? want : -1;
	}
}

void size_tile(const RefCall *c, int64_t *dims)
{
	for (int d = 0; d < c->out[0].rank; d++)
		dims[d] = d < ref_count(&c->in[1]) ? mul(c->in[0].dim[d], ref_get_i64(&c->in[1], d)) : -1;
}

void size_split(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *sizes = ref_in(c, 1);
	int axis = ref_axis(c->attr[ATTR_split_axis].i, x->rank);
	int64_t left = x->dim[axis], part = (left + c->nout - 1) / c->nout;
	bool bad = sizes && ref_count(sizes) != c->nout;
	for (int i = 0; i < c->nout; i++) {
		int64_t n = bad ? -1 : sizes ? ref_get_i64(sizes, i) : left < part ? left : part;
		n = n < 0 || n > left || (sizes && i == c->nout - 1 && n != left) ? -1 : n;
		copy_dims(dims + i * REF_SIZES, x);
		dims[i * REF_SIZES + axis] = n;
		left -= n < 0 ? 0 : n;
	}
}

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }

static int64_t slice_count(int64_t dim, int64_t start, int64_t end, int64_t step)
{
	if (step == 0)
		return -1;
	start += start < 0 ? dim : 0;
	end += end < 0 ? dim : 0;
	start = step > 0 ? clamp(start, 0, dim) : clamp(start, 0, dim - 1);
	end = step > 0 ? clamp(end, 0, dim) : clamp(end, -1, dim - 1);
	int64_t span = step > 0 ? end - start : start - end;
	uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
	return span <= 0 || dim == 0 ? 0 : (int64_t)((uint64_t)(span - 1) / stride) + 1;
}

void size_slice(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *starts = &c->in[1], *ends = &c->in[2];
	const RefTensor *axes = ref_in(c, 3), *steps = ref_in(c, 4);
	int64_t n = ref_count(starts);
	bool bad = ref_count(ends) != n || (axes && ref_count(axes) != n) || (steps && ref_count(steps) != n);
	copy_dims(dims, x);
	for (int64_t i = 0; i < n && !bad; i++) {
		int d = axis_at(axes, i, x->rank);
		if (d < 0)
			bad = true;
		else
			dims[d] = slice_count(x->dim[d], ref_get_i64(starts, i), ref_get_i64(ends, i),
			                      steps ? ref_get_i64(steps, i) : 1);
	}
	for (int d = 0; d < x->rank && bad; d++)
		dims[d] = -1;
}

void size_pad(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *pads = &c->in[1], *axes = ref_in(c, 3);
	int64_t n = axes ? ref_count(axes) : x->rank;
	bool bad = ref_count(pads) != 2 * n;
	copy_dims(dims, x);
	for (int64_t i = 0; i < n && !bad; i++) {
		int d = axis_at(axes, i, x->rank);
		int64_t more;
		bad = d < 0 || __builtin_add_overflow(ref_get_i64(pads, i), ref_get_i64(pads, i + n), &more);
		if (!bad)
			dims[d] = add(x->dim[d], more);
	}
	for (int d = 0; d < x->rank && bad; d++)
		dims[d] = -1;
}

/* -- reductions ------------------------------------------------------------------------------------- */

static void reduced(const RefCall *c, int64_t *dims, int keepdims_slot, int noop_slot)
{
	const RefTensor *x = &c->in[0], *axes = ref_in(c, 1);
	int64_t n = axes ? ref_count(axes) : 0;
	bool all = n == 0 && !c->attr[noop_slot].i, keep = c->attr[keepdims_slot].i != 0, drop[REF_MAX_RANK];
	bool bad = false;
	int to = 0, rank = c->out[0].rank;
	for (int d = 0; d < x->rank; d++)
		drop[d] = all;
	for (int64_t i = 0; i < n; i++) {
		int d = axis_at(axes, i, x->rank);
		bad = bad || d < 0 || drop[d];
		if (d >= 0)
			drop[d] = true;
	}
	for (int d = 0; d < x->rank && !bad; d++) {
		if (drop[d] && !keep)
			continue;
		bad = to >= rank;
		if (!bad)
			dims[to++] = drop[d] ? 1 : x->dim[d];
	}
	for (int d = 0; d < rank && (bad || to != rank); d++)
		dims[d] = -1;
}

#define REDUCED(id)                                                                       \
	void size_##id(const RefCall *c, int64_t *dims)                                   \
	{                                                                                 \
		reduced(c, dims, ATTR_##id##_keepdims, ATTR_##id##_noop_with_empty_axes); \
	}
REDUCED(reduce_sum)
REDUCED(reduce_mean)
REDUCED(reduce_max)
REDUCED(reduce_min)
REDUCED(reduce_prod)
REDUCED(reduce_l2)
REDUCED(reduce_log_sum_exp)

/* -- resize ----------------------------------------------------------------------------------------- */

static int64_t whole(double size)
{
	return size >= 0 && size <= 0x1p60 ? (int64_t)refm_floor(size) : -1;
}

/* keep_aspect_ratio_policy: the scale of all axes, 0 for "stretch". */
static double common_scale(const RefCall *c, const RefTensor *sizes, const RefAttr *axes)
{
	const RefTensor *x = &c->in[0];
	const char *policy = c->attr[ATTR_resize_keep_aspect_ratio_policy].s;
	bool larger = ref_text_is(policy, "not_smaller");
	double best = 0;
	if (!larger && !ref_text_is(policy, "not_larger"))
		return 0;
	for (int64_t i = 0, n = ref_count(sizes); i < n; i++) {
		int d = axes->n ? ref_axis(axes->ints[i], x->rank) : (int)i;
		double s = (double)ref_get_i64(sizes, i) / (double)x->dim[d];
		if (i == 0 || (larger ? s > best : s < best))
			best = s;
	}
	return best;
}

void size_resize(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *scales = ref_in(c, 2), *sizes = ref_in(c, 3);
	const RefAttr *axes = &c->attr[ATTR_resize_axes];
	int64_t n = axes->n ? axes->n : x->rank;
	copy_dims(dims, x);
	if (scales && ref_count(scales) == 0)
		scales = NULL;
	const RefTensor *given = scales ? scales : sizes;
	bool bad = !given || ref_count(given) != n;
	double common = !bad && !scales ? common_scale(c, sizes, axes) : 0;
	for (int64_t i = 0; i < n && !bad; i++) {
		int d = axes->n ? ref_axis(axes->ints[i], x->rank) : (int)i;
		dims[d] = scales ? whole((double)x->dim[d] * ref_get_f64(scales, i)) :
		          common != 0 ? whole((double)x->dim[d] * common + 0.5) : ref_get_i64(sizes, i);
	}
	for (int d = 0; d < x->rank && bad; d++)
		dims[d] = -1;
}

/* -- shapes ------------------------------------------------------------------------------------------- */

/* The elements of `shape` as they are. */
static void dims_from(const RefCall *c, const RefTensor *shape, int64_t *dims)
{
	for (int d = 0; d < c->out[0].rank; d++)
		dims[d] = d < ref_count(shape) ? ref_get_i64(shape, d) : -1;
}

void size_constant_of_shape(const RefCall *c, int64_t *dims) { dims_from(c, &c->in[0], dims); }

void size_range(const RefCall *c, int64_t *dims)
{
	if (ref_is_float(c->in[0].elem)) {
		double start = ref_get_f64(&c->in[0], 0), limit = ref_get_f64(&c->in[1], 0);
		double delta = ref_get_f64(&c->in[2], 0), n = refm_ceil((limit - start) / delta);
		dims[0] = delta == 0 || !(n <= 0x1p60) ? -1 : n > 0 ? (int64_t)n : 0;
		return;
	}
	int64_t start = ref_get_i64(&c->in[0], 0), limit = ref_get_i64(&c->in[1], 0);
	int64_t delta = ref_get_i64(&c->in[2], 0);
	uint64_t step = delta < 0 ? 0 - (uint64_t)delta : (uint64_t)delta;
	uint64_t span = delta < 0 ? (uint64_t)start - (uint64_t)limit : (uint64_t)limit - (uint64_t)start;
	bool none = delta < 0 ? start <= limit : limit <= start;
	dims[0] = delta == 0 ? -1 : none ? 0 : (int64_t)((span - 1) / step) + 1;
}

void size_hann_window(const RefCall *c, int64_t *dims) { dims[0] = ref_get_i64(&c->in[0], 0); }
void size_hamming_window(const RefCall *c, int64_t *dims) { size_hann_window(c, dims); }
void size_blackman_window(const RefCall *c, int64_t *dims) { size_hann_window(c, dims); }

void size_mel_weight_matrix(const RefCall *c, int64_t *dims)
{
	dims[0] = half_and_one(ref_get_i64(&c->in[1], 0));
	dims[1] = ref_get_i64(&c->in[0], 0);
}

/* -- signals -------------------------------------------------------------------------------------------- */

void size_dft(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *length = ref_in(c, 1), *where = ref_in(c, 2);
	bool onesided = c->attr[ATTR_dft_onesided].i != 0, real = onesided && c->attr[ATTR_dft_inverse].i != 0;
	int rank = x->rank, axis = where ? axis_at(where, 0, rank) : rank - 2;
	bool bad = axis < 0 || axis == rank - 1;
	copy_dims(dims, x);
	dims[rank - 1] = real ? 1 : 2;
	if (!bad) {
		int64_t n = length ? ref_get_i64(length, 0) : real ? 2 * (x->dim[axis] - 1) : x->dim[axis];
		dims[axis] = n < 1 ? -1 : onesided && !real ? half_and_one(n) : n;
	}
	for (int d = 0; d < rank && bad; d++)
		dims[d] = -1;
}

void size_stft(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *window = ref_in(c, 2), *size = ref_in(c, 3);
	int64_t step = ref_get_i64(&c->in[1], 0), length = x->dim[1];
	int64_t n = size ? ref_get_i64(size, 0) : window ? window->dim[0] : length;
	dims[0] = x->dim[0];
	dims[1] = step < 1 || n < 1 || n > length ? -1 : (length - n) / step + 1;
	dims[2] = c->attr[ATTR_stft_onesided].i ? half_and_one(n) : n;
	dims[3] = 2;
}

void size_col2im(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *image = &c->in[1], *block = &c->in[2];
	int64_t size = 1, rank = c->out[0].rank;
	dims[0] = x->dim[0];
	for (int64_t i = 0; i < rank - 2; i++) {
		dims[i + 2] = i < ref_count(image) ? ref_get_i64(image, i) : -1;
		size = i < ref_count(block) ? mul(size, ref_get_i64(block, i)) : -1;
	}
	dims[1] = size > 0 && x->dim[1] % size == 0 ? x->dim[1] / size : -1;
}

/* -- results picked by indices -------------------------------------------------------------------------- */

void size_top_k(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0];
	int axis = ref_axis(c->attr[ATTR_top_k_axis].i, x->rank);
	int64_t k = ref_count(&c->in[1]) == 1 ? ref_get_i64(&c->in[1], 0) : -1;
	for (int i = 0; i < c->nout; i++) {
		copy_dims(dims + i * REF_SIZES, x);
		dims[i * REF_SIZES + axis] = k > x->dim[axis] ? -1 : k;
	}
}

void size_one_hot(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0];
	int axis = ref_axis(c->attr[ATTR_one_hot_axis].i, x->rank + 1);
	for (int d = 0; d <= x->rank; d++)
		dims[d] = d == axis ? ref_get_i64(&c->in[1], 0) : x->dim[d - (d > axis)];
}

void size_center_crop_pad(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *shape = &c->in[1];
	const RefAttr *axes = &c->attr[ATTR_center_crop_pad_axes];
	copy_dims(dims, x);
	for (int64_t i = 0, n = ref_count(shape); i < n; i++)
		if (axes->n ? i < axes->n : i < x->rank)
			dims[axes->n ? ref_axis(axes->ints[i], x->rank) : i] = ref_get_i64(shape, i);
}

/* The size is (N, C, ..): the grid has no channels, but a last dimension of coordinates. */
void size_affine_grid(const RefCall *c, int64_t *dims)
{
	const RefTensor *size = &c->in[1];
	int rank = c->out[0].rank;
	for (int d = 0; d < rank - 1; d++)
		dims[d] = ref_count(size) == rank ? ref_get_i64(size, d ? d + 1 : 0) : -1;
	dims[0] = dims[0] == c->in[0].dim[0] ? dims[0] : -1;
	dims[rank - 1] = rank - 2;
}

void size_max_unpool(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *shape = ref_in(c, 2);
	const RefAttr *kernel = &c->attr[ATTR_max_unpool_kernel_shape], *strides = &c->attr[ATTR_max_unpool_strides];
	const RefAttr *pads = &c->attr[ATTR_max_unpool_pads];
	int nd = x->rank - 2;
	if (shape) {
		dims_from(c, shape, dims);
		return;
	}
	copy_dims(dims, x);
	for (int s = 0; s < nd; s++) {
		int64_t step = s < strides->n ? strides->ints[s] : 1;
		int64_t pad = s + nd < pads->n ? pads->ints[s] + pads->ints[s + nd] : 0;
		dims[s + 2] = add((x->dim[s + 2] - 1) * step, kernel->ints[s] - pad);
	}
}

void size_non_zero(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0];
	bool is_float = ref_is_float(x->elem);
	dims[0] = x->rank;
	dims[1] = 0;
	for (int64_t i = 0, n = ref_count(x); i < n; i++)
		dims[1] += is_float ? ref_get_f64(x, i) != 0 : ref_get_i64(x, i) != 0;
}

void size_compress(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0], *keep = &c->in[1];
	int64_t axis = c->attr[ATTR_compress_axis].i, count = 0;
	bool flat = axis == INT64_MAX;
	int d = flat ? 0 : ref_axis(axis, x->rank);
	int64_t n = flat ? ref_count(x) : x->dim[d], given = ref_count(keep);
	for (int64_t i = 0; i < n && i < given; i++)
		count += ref_get_i64(keep, i) != 0;
	if (!flat)
		copy_dims(dims, x);
	dims[d] = count;
}

void size_unique(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0];
	int64_t axis = c->attr[ATTR_unique_axis].i, n = ref_unique_count(x, axis);
	bool flat = axis == INT64_MAX;
	int d = flat ? 0 : ref_axis(axis, x->rank);
	if (!flat)
		copy_dims(dims, x);
	dims[d] = n;
	for (int i = 1; i < c->nout; i++)
		dims[i * REF_SIZES] = i != 2 ? n : flat ? ref_count(x) : x->dim[d];
}

void size_non_max_suppression(const RefCall *c, int64_t *dims)
{
	dims[0] = ref_nms_count(c);
	dims[1] = 3;
}
