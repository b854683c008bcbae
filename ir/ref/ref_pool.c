/* ir/ref/ref_pool.c -- reductions over windows. */
#include "ir/ref/ref_elem.h"
#include "ir/ref/ref_geometry.h"

/* One window: along each dimension input positions start, start + dilation, ... (n of them). */
typedef struct Window {
	int64_t start[REF_GEOM_DIMS], n[REF_GEOM_DIMS];
	bool empty;
} Window;

/* The part of window `o` that lies in [lo, hi) per dimension. */
static Window window_at(const RefGeom *g, const int64_t *o, bool padded)
{
	Window w;
	w.empty = false;
	for (int d = 0; d < g->nd; d++) {
		int64_t lo = padded ? -g->begin[d] : 0, hi = g->in[d] + (padded ? g->end[d] : 0);
		int64_t s = o[d] * g->stride[d] - g->begin[d], n = g->kernel[d], dil = g->dilation[d];
		if (s < lo) {
			int64_t skip = (lo - s + dil - 1) / dil;
			s += skip * dil;
			n -= skip;
		}
		int64_t room = hi > s ? (hi - s + dil - 1) / dil : 0;
		w.start[d] = s;
		w.n[d] = n < room ? n : room;
		w.empty = w.empty || w.n[d] <= 0;
	}
	return w;
}

/* Row-major offset of position k of the window in the input. */
REF_INLINE int64_t offset_of(const RefGeom *g, const Window *w, const int64_t *k)
{
	int64_t at = 0;
	for (int d = 0; d < g->nd; d++)
		at = at * g->in[d] + w->start[d] + k[d] * g->dilation[d];
	return at;
}

REF_INLINE double load(const RefTensor *t, int64_t i, bool f32)
{
	return f32 ? ((const float *)t->data)[i] : ref_get_f64(t, i);
}

REF_INLINE double window_sum(const RefTensor *x, int64_t base, const RefGeom *g, const Window *w, bool f32)
{
	int64_t k[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
	int last = g->nd - 1;
	double sum = 0;
	do {
		int64_t at = base + offset_of(g, w, k);
		for (int64_t i = 0; i < w->n[last]; i++)
			sum += load(x, at + i * g->dilation[last], f32);
	} while (ref_advance(k, w->n, last));
	return sum;
}

REF_INLINE int64_t window_max_f32(const float *x, const RefGeom *g, const Window *w, int64_t best)
{
	int64_t k[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
	int last = g->nd - 1;
	float max = x[best];
	do {
		int64_t at = offset_of(g, w, k);
		for (int64_t i = 0; i < w->n[last]; i++, at += g->dilation[last])
			if (x[at] > max || (x[at] != x[at] && max == max)) {
				max = x[at];
				best = at;
			}
	} while (ref_advance(k, w->n, last));
	return best;
}

/* Offset (from base) of the maximum; the first of equals; NaN is larger than everything. */
REF_INLINE int64_t window_max(const RefTensor *x, int64_t base, const RefGeom *g, const Window *w, bool f32)
{
	int64_t k[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
	int last = g->nd - 1;
	int64_t best = offset_of(g, w, k);
	double max = load(x, base + best, f32);
	if (f32)
		return window_max_f32((const float *)x->data + base, g, w, best);
	do {
		int64_t at = offset_of(g, w, k);
		for (int64_t i = 0; i < w->n[last]; i++, at += g->dilation[last]) {
			double v = load(x, base + at, f32);
			if (v > max || (v != v && max == max)) {
				max = v;
				best = at;
			}
		}
	} while (ref_advance(k, w->n, last));
	return best;
}

/* Index of a spatial offset counted with the first dimension fastest. */
static int64_t column_major(const RefGeom *g, int64_t at)
{
	int64_t index = 0, size = ref_count_dims(g->in, 0, g->nd);
	for (int d = g->nd; d-- > 0; at /= g->in[d]) {
		size /= g->in[d];
		index += at % g->in[d] * size;
	}
	return index;
}

static void pool_geometry(RefGeom *g, const RefCall *c, const RefAttr *kernel, const RefAttr *strides,
                          const RefAttr *dilations, const RefAttr *pads, const char *auto_pad, bool ceil_mode)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	g->nd = x->rank - 2;
	for (int d = 0; d < g->nd; d++) {
		g->in[d] = x->dim[d + 2];
		g->kernel[d] = kernel->ints[d];
	}
	ref_geom_lists(g, strides->ints, strides->n, dilations->ints, dilations->n, pads->ints, pads->n);
	ref_geom_window(g, ref_auto_pad(auto_pad), ceil_mode);
	for (int d = 0; d < g->nd; d++)
		g->out[d] = y->dim[d + 2];
}

/* Where nothing is under a window the result is the least value of the type. */
static void put_least(const RefTensor *y, int64_t i)
{
	if (ref_is_float(y->elem))
		ref_put_f64(y, i, -refm_inf());
	else
		ref_put_i64(y, i, ref_int_min(y->elem));
}

REF_INLINE void max_pool(const RefCall *c, const RefGeom *g, bool column, bool f32)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0], *index = ref_out(c, 1);
	int64_t size = ref_count_dims(g->in, 0, g->nd), to = 0, bits = ref_elem_bits(x->elem);
	if (ref_count(y) == 0)
		return;
	for (int64_t image = 0; image < x->dim[0] * x->dim[1]; image++) {
		int64_t o[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0}, base = image * size;
		do {
			Window w = window_at(g, o, false);
			int64_t best = w.empty ? 0 : window_max(x, base, g, &w, f32);
			if (w.empty)
				put_least(y, to);
			else if (f32)
				((float *)y->data)[to] = ((const float *)x->data)[base + best];
			else
				ref_copy_elem(y->data, to, x->data, base + best, (int)bits);
			if (index)
				((int64_t *)index->data)[to] = base + (column ? column_major(g, best) : best);
			to++;
		} while (ref_advance(o, g->out, g->nd));
	}
}

void ref_max_pool(const RefCall *c)
{
	const RefAttr *a = c->attr;
	bool column = a[ATTR_max_pool_storage_order].i != 0;
	RefGeom g;
	pool_geometry(&g, c, &a[ATTR_max_pool_kernel_shape], &a[ATTR_max_pool_strides],
	              &a[ATTR_max_pool_dilations], &a[ATTR_max_pool_pads], a[ATTR_max_pool_auto_pad].s,
	              a[ATTR_max_pool_ceil_mode].i != 0);
	if (c->in[0].elem == EL_f32)
		max_pool(c, &g, column, true);
	else
		max_pool(c, &g, column, false);
}

REF_INLINE void average_pool(const RefCall *c, const RefGeom *g, bool count_pads, bool f32)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t size = ref_count_dims(g->in, 0, g->nd), to = 0;
	if (ref_count(y) == 0)
		return;
	for (int64_t image = 0; image < x->dim[0] * x->dim[1]; image++) {
		int64_t o[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
		do {
			Window w = window_at(g, o, false), all = window_at(g, o, count_pads);
			double sum = w.empty ? 0 : window_sum(x, image * size, g, &w, f32);
			int64_t n = all.empty ? 1 : ref_count_dims(all.n, 0, g->nd);
			if (f32)
				((float *)y->data)[to++] = (float)(sum / (double)n);
			else
				ref_put_f64(y, to++, sum / (double)n);
		} while (ref_advance(o, g->out, g->nd));
	}
}

void ref_average_pool(const RefCall *c)
{
	const RefAttr *a = c->attr;
	bool count_pads = a[ATTR_average_pool_count_include_pad].i != 0;
	RefGeom g;
	pool_geometry(&g, c, &a[ATTR_average_pool_kernel_shape], &a[ATTR_average_pool_strides],
	              &a[ATTR_average_pool_dilations], &a[ATTR_average_pool_pads], a[ATTR_average_pool_auto_pad].s,
	              a[ATTR_average_pool_ceil_mode].i != 0);
	if (c->in[0].elem == EL_f32)
		average_pool(c, &g, count_pads, true);
	else
		average_pool(c, &g, count_pads, false);
}

void ref_global_average_pool(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t n = ref_count_dims(x->dim, 2, x->rank), images = x->dim[0] * x->dim[1];
	bool f32 = x->elem == EL_f32;
	for (int64_t i = 0; i < images; i++) {
		double sum = 0;
		for (int64_t k = 0; k < n; k++)
			sum += load(x, i * n + k, f32);
		ref_put_f64(y, i, sum / (double)n);
	}
}

void ref_global_max_pool(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t n = ref_count_dims(x->dim, 2, x->rank), images = x->dim[0] * x->dim[1];
	for (int64_t i = 0; i < images; i++) {
		double max = -refm_inf();
		for (int64_t k = 0; k < n; k++) {
			double v = ref_get_f64(x, i * n + k);
			max = v > max || v != v ? v : max;
		}
		ref_put_f64(y, i, max);
	}
}

/* -- Lp norms over windows: pads add nothing ------------------------------------------------- */

REF_INLINE double power_of(double x, int64_t p)
{
	double a = refm_abs(x);
	return p == 1 ? a : p == 2 ? a * a : refm_pow(a, (double)p);
}

REF_INLINE double root_of(double x, int64_t p)
{
	return p == 1 ? x : p == 2 ? refm_sqrt(x) : refm_pow(x, 1.0 / (double)p);
}

static double window_power(const RefTensor *x, int64_t base, const RefGeom *g, const Window *w, int64_t p)
{
	int64_t k[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
	double sum = 0;
	do
		sum += power_of(ref_get_f64(x, base + offset_of(g, w, k)), p);
	while (ref_advance(k, w->n, g->nd));
	return sum;
}

void ref_lp_pool(const RefCall *c)
{
	const RefAttr *a = c->attr;
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t p = a[ATTR_lp_pool_p].i, to = 0;
	RefGeom g;
	pool_geometry(&g, c, &a[ATTR_lp_pool_kernel_shape], &a[ATTR_lp_pool_strides], &a[ATTR_lp_pool_dilations],
	              &a[ATTR_lp_pool_pads], a[ATTR_lp_pool_auto_pad].s, a[ATTR_lp_pool_ceil_mode].i != 0);
	int64_t size = ref_count_dims(g.in, 0, g.nd);
	if (ref_count(y) == 0)
		return;
	for (int64_t image = 0; image < x->dim[0] * x->dim[1]; image++) {
		int64_t o[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
		do {
			Window w = window_at(&g, o, false);
			ref_put_f64(y, to++, w.empty ? 0 : root_of(window_power(x, image * size, &g, &w, p), p));
		} while (ref_advance(o, g.out, g.nd));
	}
}

void ref_global_lp_pool(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t n = ref_count_dims(x->dim, 2, x->rank), p = c->attr[ATTR_global_lp_pool_p].i;
	for (int64_t i = 0, images = x->dim[0] * x->dim[1]; i < images; i++) {
		double sum = 0;
		for (int64_t k = 0; k < n; k++)
			sum += power_of(ref_get_f64(x, i * n + k), p);
		ref_put_f64(y, i, root_of(sum, p));
	}
}
