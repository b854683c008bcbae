/* ir/ref/ref_resize.c -- resampling in any number of dimensions.
 *
 * Every axis is a separable filter: result o looks at position x(o) of the operand and weighs the
 * elements i around it by K((i - x) * sharpness).  Columns are handled a strip at a time: their
 * filter is computed once and used for all rows. */
#include "ir/ref/ref_elem.h"

enum { STRIP = 64, STORED_TAPS = 4 };

typedef enum Coord {
	CO_HALF_PIXEL, CO_SYMMETRIC, CO_PYTORCH, CO_ALIGN, CO_ASYMMETRIC, CO_TF_NN, CO_TF_CROP
} Coord;
typedef enum Mode { MODE_NEAREST, MODE_LINEAR, MODE_CUBIC } Mode;
typedef enum Near { NEAR_PREFER_FLOOR, NEAR_PREFER_CEIL, NEAR_FLOOR, NEAR_CEIL } Near;

typedef struct Axis {
	int64_t in, out, stride;
	double scale, roi_start, roi_end;
	bool active;                  /* false: the index is passed through */
} Axis;

typedef struct Resize {
	Axis axis[REF_MAX_RANK];
	int rank;
	Coord coord;
	Mode mode;
	Near near;
	double cubic_a, extrapolation;
	bool exclude_outside, antialias;
} Resize;

/* The filter of one result index along one axis. */
typedef struct Filter {
	int64_t first;
	int n;
	double x, sharpness, norm;
	double w[STORED_TAPS];        /* when n <= STORED_TAPS */
	bool outside;                 /* takes the extrapolation value */
} Filter;

static double position(const Resize *r, const Axis *a, int64_t o)
{
	double width = a->scale * (double)a->in, last = (double)(a->in - 1), half = (double)o + 0.5;
	switch (r->coord) {
	case CO_HALF_PIXEL: return half / a->scale - 0.5;
	case CO_SYMMETRIC: return (double)a->in / 2 * (1.0 - (double)a->out / width) + half / a->scale - 0.5;
	case CO_PYTORCH: return a->out > 1 ? half / a->scale - 0.5 : 0.0;
	case CO_ALIGN: return width == 1.0 || a->out == 1 ? 0.0 : (double)o * last / (width - 1.0);
	case CO_ASYMMETRIC: return (double)o / a->scale;
	case CO_TF_NN: return half / a->scale;
	case CO_TF_CROP: break;
	}
	if (a->out > 1)
		return a->roi_start * last +
		       (double)o * (a->roi_end - a->roi_start) * last / (double)(a->out - 1);
	return 0.5 * (a->roi_start + a->roi_end) * last;
}

static bool is_outside(const Resize *r, const Axis *a, double x)
{
	return r->coord == CO_TF_CROP && (x < 0 || x > (double)(a->in - 1));
}

static int64_t clamp_index(int64_t i, int64_t n)
{
	return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static int64_t nearest(const Resize *r, const Axis *a, int64_t o)
{
	double x = position(r, a, o), v = x;
	if (!a->active)
		return o;
	if (is_outside(r, a, x))
		return -1;
	switch (r->near) {
	case NEAR_PREFER_FLOOR: v = refm_ceil(x - 0.5); break;
	case NEAR_PREFER_CEIL: v = refm_floor(x + 0.5); break;
	case NEAR_FLOOR: v = refm_floor(x); break;
	case NEAR_CEIL: v = refm_ceil(x); break;
	}
	return clamp_index((int64_t)v, a->in);
}

static double filter_kernel(const Resize *r, double t)
{
	double d = refm_abs(t), a = r->cubic_a;
	if (r->mode == MODE_LINEAR)
		return d < 1 ? 1 - d : 0;
	if (d <= 1)
		return ((a + 2) * d - (a + 3)) * d * d + 1;
	return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

static double raw_weight(const Resize *r, const Axis *a, const Filter *f, int k)
{
	int64_t i = f->first + k;
	if (r->exclude_outside && (i < 0 || i >= a->in))
		return 0;
	return filter_kernel(r, ((double)i - f->x) * f->sharpness);
}

static double weight(const Resize *r, const Axis *a, const Filter *f, int k)
{
	return f->n <= STORED_TAPS ? f->w[k] : raw_weight(r, a, f, k) / f->norm;
}

static void filter(const Resize *r, const Axis *a, int64_t o, Filter *f)
{
	f->outside = false;
	if (!a->active) {
		f->first = o;
		f->n = 1;
		f->w[0] = 1;
		return;
	}
	f->x = position(r, a, o);
	f->outside = is_outside(r, a, f->x);
	f->sharpness = r->antialias && a->scale < 1 ? a->scale : 1;
	double reach = (r->mode == MODE_CUBIC ? 2 : 1) / f->sharpness;
	f->first = (int64_t)refm_floor(f->x - reach) + 1;
	f->n = (int)((int64_t)refm_ceil(f->x + reach) - f->first);
	double sum = 0;
	for (int k = 0; k < f->n; k++) {
		double w = raw_weight(r, a, f, k);
		sum += w;
		if (f->n <= STORED_TAPS)
			f->w[k] = w;
	}
	bool renormalise = r->antialias || r->exclude_outside;
	f->norm = renormalise && sum != 0 ? sum : 1;
	for (int k = 0; k < f->n && f->n <= STORED_TAPS; k++)
		f->w[k] /= f->norm;
}

/* -- scales and attributes ----------------------------------------------------------------------- */

static Coord coord_of(const char *s)
{
	return ref_text_is(s, "half_pixel_symmetric") ? CO_SYMMETRIC :
	       ref_text_is(s, "pytorch_half_pixel") ? CO_PYTORCH :
	       ref_text_is(s, "align_corners") ? CO_ALIGN :
	       ref_text_is(s, "asymmetric") ? CO_ASYMMETRIC :
	       ref_text_is(s, "tf_half_pixel_for_nn") ? CO_TF_NN :
	       ref_text_is(s, "tf_crop_and_resize") ? CO_TF_CROP : CO_HALF_PIXEL;
}

static Near near_of(const char *s)
{
	return ref_text_is(s, "round_prefer_ceil") ? NEAR_PREFER_CEIL :
	       ref_text_is(s, "floor") ? NEAR_FLOOR :
	       ref_text_is(s, "ceil") ? NEAR_CEIL : NEAR_PREFER_FLOOR;
}

/* The one scale of all resized axes under keep_aspect_ratio_policy, 0 for "stretch". */
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

static void setup_axes(Resize *r, const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	const RefTensor *roi = ref_in(c, 1), *scales = ref_in(c, 2), *sizes = ref_in(c, 3);
	const RefAttr *axes = &c->attr[ATTR_resize_axes];
	int64_t n = axes->n ? axes->n : x->rank, nroi = roi ? ref_count(roi) : 0;
	int64_t stride[REF_MAX_RANK];
	if (scales && ref_count(scales) == 0)
		scales = NULL;
	double common = sizes && !scales ? common_scale(c, sizes, axes) : 0;
	ref_strides(x->dim, x->rank, stride);
	for (int d = 0; d < x->rank; d++)
		r->axis[d] = (Axis){x->dim[d], y->dim[d], stride[d], 1, 0, 1, false};
	for (int64_t i = 0; i < n; i++) {
		int d = axes->n ? ref_axis(axes->ints[i], x->rank) : (int)i;
		Axis *a = &r->axis[d];
		a->scale = scales ? ref_get_f64(scales, i) : common != 0 ? common :
		           (double)y->dim[d] / (double)x->dim[d];
		if (nroi == 2 * n) {
			a->roi_start = ref_get_f64(roi, i);
			a->roi_end = ref_get_f64(roi, i + n);
		}
		a->active = a->scale != 1 || a->in != a->out ||
		            (r->coord == CO_TF_CROP && (a->roi_start != 0 || a->roi_end != 1));
	}
}

static void setup(Resize *r, const RefCall *c)
{
	const RefAttr *a = c->attr;
	const char *mode = a[ATTR_resize_mode].s;
	r->rank = c->in[0].rank;
	r->coord = coord_of(a[ATTR_resize_coordinate_transformation_mode].s);
	r->mode = ref_text_is(mode, "cubic") ? MODE_CUBIC :
	          ref_text_is(mode, "linear") ? MODE_LINEAR : MODE_NEAREST;
	r->near = near_of(a[ATTR_resize_nearest_mode].s);
	r->cubic_a = a[ATTR_resize_cubic_coeff_a].f;
	r->extrapolation = a[ATTR_resize_extrapolation_value].f;
	r->exclude_outside = a[ATTR_resize_exclude_outside].i != 0;
	r->antialias = a[ATTR_resize_antialias].i != 0;
	setup_axes(r, c);
}

/* -- the loops -------------------------------------------------------------------------------------- */

/* n rows further on: the last axis stays. */
static void next_row(const Resize *r, int64_t *at, int64_t n)
{
	for (int d = r->rank - 1; d-- > 0 && n > 0;) {
		n += at[d];
		at[d] = n < r->axis[d].out ? n : n % r->axis[d].out;
		n = n < r->axis[d].out ? 0 : n / r->axis[d].out;
	}
}

static void nearest_strip(const Resize *r, const RefTensor *x, const RefTensor *y, int64_t col, int64_t n,
                          int64_t rows, const RefCall *c)
{
	const Axis *inner = &r->axis[r->rank - 1];
	int64_t from[STRIP], at[REF_MAX_RANK] = {0, 0, 0, 0, 0, 0, 0, 0};
	int bits = ref_elem_bits(y->elem);
	for (int64_t j = 0; j < n; j++)
		from[j] = nearest(r, inner, col + j);
	next_row(r, at, c->part);
	for (int64_t row = c->part; row < rows; row += ref_step(c), next_row(r, at, ref_step(c))) {
		int64_t base = 0, to = row * inner->out + col;
		for (int d = 0; d < r->rank - 1; d++) {
			int64_t i = nearest(r, &r->axis[d], at[d]);
			base = i < 0 || base < 0 ? -1 : base + i * r->axis[d].stride;
		}
		for (int64_t j = 0; j < n; j++)
			if (base < 0 || from[j] < 0)
				ref_put_f64(y, to + j, r->extrapolation);
			else if (bits == 32)
				((uint32_t *)y->data)[to + j] = ((const uint32_t *)x->data)[base + from[j]];
			else
				ref_copy_elem(y->data, to + j, x->data, base + from[j], bits);
	}
}

/* acc[j] += w * (row at base, filtered along the last axis). */
static void add_row(const Resize *r, const RefTensor *x, int64_t base, double w, const Filter *f, int64_t n,
                    double *acc)
{
	const Axis *inner = &r->axis[r->rank - 1];
	for (int64_t j = 0; j < n; j++) {
		double sum = 0;
		for (int k = 0; k < f[j].n; k++) {
			int64_t i = base + clamp_index(f[j].first + k, inner->in);
			double v = x->elem == EL_f32 ? ((const float *)x->data)[i] : ref_get_f64(x, i);
			sum += weight(r, inner, &f[j], k) * v;
		}
		acc[j] += w * sum;
	}
}

/* All combinations of the outer axes' taps; false when the row lies outside. */
static bool add_rows(const Resize *r, const RefTensor *x, const int64_t *at, const Filter *f, int64_t n,
                     double *acc)
{
	Filter outer[REF_MAX_RANK];
	int tap[REF_MAX_RANK] = {0, 0, 0, 0, 0, 0, 0, 0};
	int last = r->rank - 1, d;
	for (d = 0; d < last; d++) {
		filter(r, &r->axis[d], at[d], &outer[d]);
		if (outer[d].outside)
			return false;
	}
	do {
		int64_t base = 0;
		double w = 1;
		for (d = 0; d < last; d++) {
			const Axis *a = &r->axis[d];
			base += clamp_index(outer[d].first + tap[d], a->in) * a->stride;
			w *= weight(r, a, &outer[d], tap[d]);
		}
		if (w != 0)
			add_row(r, x, base, w, f, n, acc);
		for (d = last; d-- > 0; tap[d] = 0)
			if (++tap[d] < outer[d].n)
				break;
	} while (d >= 0);
	return true;
}

/* Integers are rounded to nearest and saturate. */
static void filter_strip(const Resize *r, const RefTensor *x, const RefTensor *y, int64_t col, int64_t n,
                         int64_t rows, const RefCall *c)
{
	const Axis *inner = &r->axis[r->rank - 1];
	Filter f[STRIP];
	int64_t at[REF_MAX_RANK] = {0, 0, 0, 0, 0, 0, 0, 0};
	bool whole = !ref_is_float(y->elem);
	for (int64_t j = 0; j < n; j++)
		filter(r, inner, col + j, &f[j]);
	next_row(r, at, c->part);
	for (int64_t row = c->part; row < rows; row += ref_step(c), next_row(r, at, ref_step(c))) {
		double acc[STRIP];
		for (int64_t j = 0; j < n; j++)
			acc[j] = 0;
		bool inside = add_rows(r, x, at, f, n, acc);
		for (int64_t j = 0; j < n; j++) {
			double v = inside && !f[j].outside ? acc[j] : r->extrapolation;
			ref_put_f64(y, row * inner->out + col + j, whole ? refm_rint(v) : v);
		}
	}
}

void ref_resize(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	Resize r;
	if (ref_count(y) == 0)
		return;
	if (ref_count(x) == 0) { /* nothing to sample */
		ref_zero(y->data, 0, ref_count(y), ref_elem_bits(y->elem));
		return;
	}
	if (x->rank == 0) {
		ref_copy_elem(y->data, 0, x->data, 0, ref_elem_bits(y->elem));
		return;
	}
	setup(&r, c);
	int64_t rows = ref_count_dims(y->dim, 0, y->rank - 1), width = y->dim[y->rank - 1];
	for (int64_t col = 0; col < width; col += STRIP) {
		int64_t n = width - col < STRIP ? width - col : STRIP;
		if (r.mode == MODE_NEAREST)
			nearest_strip(&r, x, y, col, n, rows, c);
		else
			filter_strip(&r, x, y, col, n, rows, c);
	}
}
