/* ir/ref/ref_grid.c -- sampling at positions given by a grid, and making such grids. */
#include "ir/ref/ref_elem.h"

enum { GRID_DIMS = REF_MAX_RANK - 2 };

typedef enum GridPad { GRID_ZEROS, GRID_BORDER, GRID_REFLECTION } GridPad;

/* What a sample reads along one dimension: up to four positions (-1: zero) and their weights. */
typedef struct Taps {
	int n;
	int64_t at[4];
	double weight[4];
} Taps;

typedef struct Grid {
	int mode; /* taps per dimension: 1 nearest, 2 linear, 4 cubic */
	GridPad pad;
	bool align;
} Grid;

static double clamp(double x, double lo, double hi) { return x > lo ? x < hi ? x : hi : lo; }

/* Into [lo, hi] by reflections at both ends. */
static double reflect(double x, double lo, double hi)
{
	double width = hi - lo, over = x < lo ? lo - x : x > hi ? x - hi : 0;
	if (over == 0 || !(width > 0))
		return over == 0 ? x : lo;
	double turns = refm_trunc(over / width), rest = over - turns * width;
	bool even = refm_fmod(turns, 2) == 0;
	return (x < lo) == even ? lo + rest : hi - rest;
}

/* The element at integer position i of n. */
static int64_t pixel(const Grid *g, double i, int64_t n)
{
	double last = (double)(n - 1), x = i;
	if (g->pad == GRID_BORDER)
		x = clamp(i, 0, last);
	else if (g->pad == GRID_REFLECTION)
		x = clamp(refm_trunc(reflect(i, g->align ? 0 : -0.5, g->align ? last : last + 0.5)), 0, last);
	return x >= 0 && x <= last ? (int64_t)x : -1;
}

static void cubic_weights(double t, double *w)
{
	const double a = -0.75;
	double s = 1 - t, u = t + 1, v = 2 - t;
	w[0] = ((a * u - 5 * a) * u + 8 * a) * u - 4 * a;
	w[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
	w[2] = ((a + 2) * s - (a + 3)) * s * s + 1;
	w[3] = ((a * v - 5 * a) * v + 8 * a) * v - 4 * a;
}

/* v: the position from -1 to 1 along a dimension of n elements. */
static void taps(const Grid *g, double v, int64_t n, Taps *t)
{
	double lo = g->align ? 0 : -0.5, hi = (double)n - (g->align ? 1 : 0.5);
	double x = g->align ? (v + 1) / 2 * (double)(n - 1) : ((v + 1) * (double)n - 1) / 2;
	x = refm_isnan(x) ? -2 : clamp(x, -0x1p50, 0x1p50);
	if (g->mode == 1)
		x = refm_rint(x);
	if ((x < lo || x > hi) && g->pad == GRID_BORDER)
		x = clamp(x, 0, (double)(n - 1));
	else if ((x < lo || x > hi) && g->pad == GRID_REFLECTION)
		x = reflect(x, lo, hi);
	double base = g->mode == 1 ? refm_trunc(x) : refm_floor(x), rest = x - base;
	t->n = g->mode;
	t->weight[0] = g->mode == 1 ? 1 : 1 - rest;
	t->weight[1] = rest;
	if (g->mode == 4)
		cubic_weights(rest, t->weight);
	for (int k = 0; k < t->n; k++)
		t->at[k] = pixel(g, base + k - (g->mode == 4), n);
}

/* The weighted sum over all combinations of taps, x in strides of the sampled dimensions. */
static double sample(const RefTensor *x, int64_t base, const Taps *t, const int64_t *stride, int nd)
{
	int64_t k[GRID_DIMS] = {0, 0, 0, 0, 0, 0}, n[GRID_DIMS];
	double sum = 0;
	for (int d = 0; d < nd; d++)
		n[d] = t[d].n;
	do {
		int64_t at = base;
		double w = 1;
		for (int d = 0; d < nd; d++) {
			int64_t i = t[d].at[k[d]];
			w = i < 0 ? 0 : w * t[d].weight[k[d]];
			at += (i < 0 ? 0 : i) * stride[d];
		}
		sum += w == 0 ? 0 : w * ref_get_f64(x, at);
	} while (ref_advance(k, n, nd));
	return sum;
}

/* Bits, for types without arithmetic; nearest only. */
static void copy_sample(const RefTensor *y, int64_t to, const RefTensor *x, int64_t base, const Taps *t,
                        const int64_t *stride, int nd)
{
	int64_t at = base;
	for (int d = 0; d < nd && at >= 0; d++)
		at = t[d].at[0] < 0 ? -1 : at + t[d].at[0] * stride[d];
	if (at < 0)
		ref_zero(y->data, to, 1, ref_elem_bits(y->elem));
	else
		ref_copy_elem(y->data, to, x->data, at, ref_elem_bits(y->elem));
}

static Grid grid_of(const RefCall *c)
{
	const RefAttr *a = c->attr;
	const char *mode = a[ATTR_grid_sample_mode].s, *pad = a[ATTR_grid_sample_padding_mode].s;
	Grid g;
	g.mode = ref_text_is(mode, "nearest") ? 1 : ref_text_is(mode, "cubic") ? 4 : 2;
	g.pad = ref_text_is(pad, "border") ? GRID_BORDER :
	        ref_text_is(pad, "reflection") ? GRID_REFLECTION : GRID_ZEROS;
	g.align = a[ATTR_grid_sample_align_corners].i != 0;
	return g;
}

/* x[N,C,D1..Dr], grid[N,O1..Or,r]: y[N,C,O1..Or].  A grid entry names the last dimension first. */
void ref_grid_sample(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *grid = &c->in[1], *y = &c->out[0];
	int nd = x->rank - 2;
	int64_t stride[REF_MAX_RANK], places = ref_count_dims(y->dim, 2, y->rank), channels = x->dim[1];
	Grid g = grid_of(c);
	Taps t[GRID_DIMS];
	ref_strides(x->dim, x->rank, stride);
	if (ref_count(y) == 0)
		return;
	for (int64_t i = c->part; i < x->dim[0] * places; i += ref_step(c)) {
		for (int d = 0; d < nd; d++)
			taps(&g, ref_get_f64(grid, i * nd + nd - 1 - d), x->dim[d + 2], &t[d]);
		for (int64_t ch = 0; ch < channels; ch++) {
			int64_t image = i / places * channels + ch, base = image * stride[1];
			int64_t to = image * places + i % places;
			if (g.mode == 1)
				copy_sample(y, to, x, base, t, stride + 2, nd);
			else
				ref_put_f64(y, to, sample(x, base, t, stride + 2, nd));
		}
	}
}

/* theta[N,r,r+1], size: y[N,O1..Or,r] = theta (position, 1); positions name the last dimension first. */
void ref_affine_grid(const RefCall *c)
{
	const RefTensor *theta = &c->in[0], *y = &c->out[0];
	int nd = y->rank - 2;
	bool align = c->attr[ATTR_affine_grid_align_corners].i != 0;
	int64_t at[REF_MAX_RANK] = {0, 0, 0, 0, 0, 0, 0, 0}, n = ref_count_dims(y->dim, 0, y->rank - 1);
	ref_advance_by(at, y->dim, y->rank - 1, n > 0 ? c->part : 0);
	for (int64_t i = c->part; i < n; i += ref_step(c), ref_advance_by(at, y->dim, y->rank - 1, ref_step(c)))
		for (int row = 0; row < nd; row++) {
			int64_t from = (at[0] * nd + row) * (nd + 1);
			double sum = ref_get_f64(theta, from + nd);
			for (int k = 0; k < nd; k++) {
				double size = (double)y->dim[nd - k], p = (double)at[nd - k];
				double v = !align ? (2 * p + 1) / size - 1 : size > 1 ? 2 * p / (size - 1) - 1 : -1;
				sum += v * ref_get_f64(theta, from + k);
			}
			ref_put_f64(y, i * nd + row, sum);
		}
}

/* -- deformable convolution ------------------------------------------------------------------------- */

typedef struct Deform {
	int64_t stride[2], dilation[2], begin[2], group, offset_group;
} Deform;

static Deform deform_of(const RefCall *c)
{
	const RefAttr *strides = &c->attr[ATTR_deform_conv_strides], *pads = &c->attr[ATTR_deform_conv_pads];
	const RefAttr *dilations = &c->attr[ATTR_deform_conv_dilations];
	Deform f = {.group = c->attr[ATTR_deform_conv_group].i, .offset_group = c->attr[ATTR_deform_conv_offset_group].i};
	for (int d = 0; d < 2; d++) {
		f.stride[d] = d < strides->n ? strides->ints[d] : 1;
		f.dilation[d] = d < dilations->n ? dilations->ints[d] : 1;
		f.begin[d] = d < pads->n ? pads->ints[d] : 0;
	}
	return f;
}

/* Linear between the four elements around (p0, p1); zero outside. */
static double plane_at(const RefTensor *x, int64_t base, const int64_t *size, double p0, double p1)
{
	const Grid g = {2, GRID_ZEROS, true};
	const int64_t stride[2] = {size[1], 1};
	double p[2] = {p0, p1};
	Taps t[2];
	for (int d = 0; d < 2; d++) {
		double v = refm_isnan(p[d]) ? -2 : clamp(p[d], -0x1p50, 0x1p50), low = refm_floor(v);
		t[d].n = 2;
		t[d].weight[1] = v - low;
		t[d].weight[0] = 1 - t[d].weight[1];
		t[d].at[0] = pixel(&g, low, size[d]);
		t[d].at[1] = pixel(&g, low + 1, size[d]);
	}
	return sample(x, base, t, stride, 2);
}

/* One element: image n, result channel m, position o. */
static double deform_sum(const RefCall *c, const Deform *f, int64_t n, int64_t m, const int64_t *o)
{
	const RefTensor *x = &c->in[0], *w = &c->in[1], *offset = &c->in[2], *mask = ref_in(c, 4), *y = &c->out[0];
	int64_t channels = x->dim[1], per_group = w->dim[1], kh = w->dim[2], kw = w->dim[3];
	int64_t place = o[0] * y->dim[3] + o[1], plane = y->dim[2] * y->dim[3];
	int64_t first = m / (w->dim[0] / f->group) * per_group, per_offset = channels / f->offset_group;
	double sum = 0;
	for (int64_t ch = 0; ch < per_group; ch++)
		for (int64_t k = 0; k < kh * kw; k++) {
			int64_t og = n * f->offset_group + (first + ch) / per_offset, tap = og * kh * kw + k;
			double p0 = (double)(o[0] * f->stride[0] - f->begin[0] + k / kw * f->dilation[0]);
			double p1 = (double)(o[1] * f->stride[1] - f->begin[1] + k % kw * f->dilation[1]);
			p0 += ref_get_f64(offset, 2 * tap * plane + place);
			p1 += ref_get_f64(offset, (2 * tap + 1) * plane + place);
			double v = plane_at(x, (n * channels + first + ch) * x->dim[2] * x->dim[3], x->dim + 2, p0, p1);
			double scale = mask ? ref_get_f64(mask, tap * plane + place) : 1;
			sum += v * scale * ref_get_f64(w, (m * per_group + ch) * kh * kw + k);
		}
	return sum;
}

void ref_deform_conv(const RefCall *c)
{
	const RefTensor *bias = ref_in(c, 3), *y = &c->out[0];
	Deform f = deform_of(c);
	int64_t at[4] = {0, 0, 0, 0}, n = ref_count(y);
	ref_advance_by(at, y->dim, 4, n > 0 ? c->part : 0);
	for (int64_t i = c->part; i < n; i += ref_step(c), ref_advance_by(at, y->dim, 4, ref_step(c)))
		ref_put_f64(y, i, deform_sum(c, &f, at[0], at[1], at + 2) + (bias ? ref_get_f64(bias, at[1]) : 0));
}
