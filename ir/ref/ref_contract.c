/* ir/ref/ref_contract.c -- convolution, transposed convolution, matrix products.
 *
 * Sums are kept in float64, a strip of results at a time, so that loops stay long and typed. */
#include "ir/ref/ref_elem.h"
#include "ir/ref/ref_geometry.h"

enum { STRIP = 64 };

REF_INLINE double load(const RefTensor *t, int64_t i, bool f32)
{
	return f32 ? ((const float *)t->data)[i] : ref_get_f64(t, i);
}

REF_INLINE void store(const RefTensor *t, int64_t i, double v, bool f32)
{
	if (f32)
		((float *)t->data)[i] = (float)v;
	else
		ref_put_f64(t, i, v);
}

/* Counts an index vector up; false when it wraps round to zero. */
REF_INLINE bool advance(int64_t *at, const int64_t *dim, int n)
{
	for (int d = n; d-- > 0;) {
		if (++at[d] < dim[d])
			return true;
		at[d] = 0;
	}
	return false;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
	return a > 0 ? (a + b - 1) / b : -(-a / b);
}

/* acc[j] += w * x[row + (j * stride)] for the j in [0, n) whose input column is inside. */
REF_INLINE void add_tap(double *acc, int64_t n, double w, const RefTensor *x, int64_t row, int64_t first,
                        int64_t stride, int64_t width, bool f32)
{
	int64_t lo = first < 0 ? ceil_div(-first, stride) : 0;
	int64_t hi = ceil_div(width - first, stride);
	hi = hi > n ? n : hi;
	for (int64_t j = lo; j < hi; j++)
		acc[j] += w * load(x, row + first + j * stride, f32);
}

/* One strip of an output row: outer spatial position `o`, columns [col, col + n). */
REF_INLINE void conv_strip(const RefTensor *x, const RefTensor *w, const RefGeom *g, int64_t image,
                           int64_t weights, int64_t channels, const int64_t *o, int64_t col, int64_t n,
                           double *acc, bool f32)
{
	int last = g->nd - 1;
	int64_t size = ref_count_dims(g->in, 0, g->nd), taps = ref_count_dims(g->kernel, 0, g->nd);
	for (int64_t c = 0; c < channels; c++, image += size, weights += taps) {
		int64_t k[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0}, tap = weights;
		do {
			int64_t row = 0;
			bool inside = true;
			for (int d = 0; d < last; d++) {
				int64_t i = o[d] * g->stride[d] + k[d] * g->dilation[d] - g->begin[d];
				inside = inside && i >= 0 && i < g->in[d];
				row = row * g->in[d] + i;
			}
			row = image + row * g->in[last];
			for (int64_t kx = 0; inside && kx < g->kernel[last]; kx++)
				add_tap(acc, n, load(w, tap + kx, f32), x, row,
				        col * g->stride[last] + kx * g->dilation[last] - g->begin[last],
				        g->stride[last], g->in[last], f32);
			tap += g->kernel[last];
		} while (advance(k, g->kernel, last));
	}
}

REF_INLINE void conv(const RefCall *c, const RefGeom *g, int64_t group, bool f32)
{
	const RefTensor *x = &c->in[0], *w = &c->in[1], *b = ref_in(c, 2), *y = &c->out[0];
	int64_t n = y->dim[0], m = y->dim[1], per = w->dim[1], of_group = m / group;
	int64_t in_size = ref_count_dims(g->in, 0, g->nd), taps = ref_count_dims(g->kernel, 0, g->nd);
	int64_t size = ref_count_dims(g->out, 0, g->nd), width = g->out[g->nd - 1];
	if (ref_count(y) == 0)
		return;
	for (int64_t image = c->part; image < n * m; image += ref_step(c)) {
		int64_t oc = image % m, to = image * size;
		int64_t from = (image / m * x->dim[1] + oc / of_group * per) * in_size;
		double bias = b ? load(b, oc, f32) : 0;
		int64_t o[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
		do {
			for (int64_t col = 0; col < width; col += STRIP) {
				int64_t len = width - col < STRIP ? width - col : STRIP;
				double acc[STRIP];
				for (int64_t j = 0; j < len; j++)
					acc[j] = bias;
				conv_strip(x, w, g, from, oc * per * taps, per, o, col, len, acc, f32);
				for (int64_t j = 0; j < len; j++)
					store(y, to++, acc[j], f32);
			}
		} while (advance(o, g->out, g->nd - 1));
	}
}

/* Spatial sizes from x, w, y; without spatial dimensions one of size 1 stands in. */
static void geometry(RefGeom *g, const RefTensor *x, const RefTensor *w, const RefTensor *y)
{
	g->nd = x->rank - 2;
	for (int i = 0; i < g->nd; i++) {
		g->in[i] = x->dim[i + 2];
		g->kernel[i] = w->dim[i + 2];
		g->out[i] = y->dim[i + 2];
	}
}

static void unit_geometry(RefGeom *g)
{
	if (g->nd > 0)
		return;
	g->nd = 1;
	g->in[0] = g->kernel[0] = g->out[0] = g->stride[0] = g->dilation[0] = 1;
	g->begin[0] = g->end[0] = 0;
}

void ref_conv(const RefCall *c)
{
	const RefAttr *a = c->attr;
	const RefAttr *s = &a[ATTR_conv_strides], *d = &a[ATTR_conv_dilations], *p = &a[ATTR_conv_pads];
	RefGeom g;
	geometry(&g, &c->in[0], &c->in[1], &c->out[0]);
	ref_geom_lists(&g, s->ints, s->n, d->ints, d->n, p->ints, p->n);
	ref_geom_window(&g, ref_auto_pad(a[ATTR_conv_auto_pad].s), false);
	unit_geometry(&g);
	if (c->in[0].elem == EL_f32)
		conv(c, &g, a[ATTR_conv_group].i, true);
	else
		conv(c, &g, a[ATTR_conv_group].i, false);
}

/* Column `ox` of a transposed row: all kx with ox + begin - kx * dilation divisible by the stride. */
REF_INLINE double transposed_row(const RefTensor *x, const RefTensor *w, const RefGeom *g, int64_t row,
                                 int64_t tap, int64_t ox, bool f32)
{
	int last = g->nd - 1;
	double sum = 0;
	for (int64_t kx = 0; kx < g->kernel[last]; kx++) {
		int64_t at = ox + g->begin[last] - kx * g->dilation[last];
		if (at >= 0 && at % g->stride[last] == 0 && at / g->stride[last] < g->in[last])
			sum += load(w, tap + kx, f32) * load(x, row + at / g->stride[last], f32);
	}
	return sum;
}

/* Adds the row of outer taps k of one input channel to a strip of results. */
REF_INLINE void transposed_tap(const RefTensor *x, const RefTensor *w, const RefGeom *g, int64_t image,
                               int64_t tap, const int64_t *o, const int64_t *k, int64_t col, int64_t n,
                               double *acc, bool f32)
{
	int last = g->nd - 1;
	int64_t row = 0;
	for (int d = 0; d < last; d++) {
		int64_t at = o[d] + g->begin[d] - k[d] * g->dilation[d];
		if (at < 0 || at % g->stride[d] || at / g->stride[d] >= g->in[d])
			return;
		row = row * g->in[d] + at / g->stride[d];
	}
	row = image + row * g->in[last];
	for (int64_t j = 0; j < n; j++)
		acc[j] += transposed_row(x, w, g, row, tap, col + j, f32);
}

REF_INLINE void conv_transpose(const RefCall *c, const RefGeom *g, int64_t group, bool f32)
{
	const RefTensor *x = &c->in[0], *w = &c->in[1], *b = ref_in(c, 2), *y = &c->out[0];
	int64_t m = y->dim[1], of_group = w->dim[1], per = x->dim[1] / group;
	int64_t size = ref_count_dims(g->in, 0, g->nd), taps = ref_count_dims(g->kernel, 0, g->nd);
	int64_t made = ref_count_dims(g->out, 0, g->nd), width = g->out[g->nd - 1];
	if (ref_count(y) == 0)
		return;
	for (int64_t image = c->part; image < y->dim[0] * m; image += ref_step(c)) {
		int64_t oc = image % m, first = oc / of_group * per, to = image * made;
		double bias = b ? load(b, oc, f32) : 0;
		int64_t o[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
		do {
			for (int64_t col = 0; col < width; col += STRIP) {
				int64_t len = width - col < STRIP ? width - col : STRIP;
				double acc[STRIP];
				for (int64_t j = 0; j < len; j++)
					acc[j] = bias;
				for (int64_t ic = first; ic < first + per; ic++) {
					int64_t k[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
					int64_t tap = (ic * of_group + oc % of_group) * taps;
					do {
						transposed_tap(x, w, g, (image / m * x->dim[1] + ic) * size, tap, o,
						               k, col, len, acc, f32);
						tap += g->kernel[g->nd - 1];
					} while (advance(k, g->kernel, g->nd - 1));
				}
				for (int64_t j = 0; j < len; j++)
					store(y, to++, acc[j], f32);
			}
		} while (advance(o, g->out, g->nd - 1));
	}
}

void ref_conv_transpose(const RefCall *c)
{
	const RefAttr *a = c->attr;
	const RefAttr *s = &a[ATTR_conv_transpose_strides], *d = &a[ATTR_conv_transpose_dilations];
	const RefAttr *p = &a[ATTR_conv_transpose_pads], *op = &a[ATTR_conv_transpose_output_padding];
	const RefAttr *os = &a[ATTR_conv_transpose_output_shape];
	RefGeom g;
	geometry(&g, &c->in[0], &c->in[1], &c->out[0]);
	ref_geom_lists(&g, s->ints, s->n, d->ints, d->n, p->ints, p->n);
	ref_geom_transposed(&g, ref_auto_pad(a[ATTR_conv_transpose_auto_pad].s), op->ints, op->n, os->ints,
	                    os->n);
	unit_geometry(&g);
	if (c->in[0].elem == EL_f32)
		conv_transpose(c, &g, a[ATTR_conv_transpose_group].i, true);
	else
		conv_transpose(c, &g, a[ATTR_conv_transpose_group].i, false);
}

/* -- matrix products ------------------------------------------------------------------------- */

/* Where a matrix lies: element (i, j) of tensor t at `at` + i * row + j * col. */
typedef struct Matrix { const RefTensor *t; int64_t at, row, col; } Matrix;

REF_INLINE void product_strip(const Matrix *a, const Matrix *b, int64_t i, int64_t j0, int64_t n, int64_t k,
                              double *acc, bool f32)
{
	for (int64_t j = 0; j < n; j++)
		acc[j] = 0;
	for (int64_t p = 0; p < k; p++) {
		double v = load(a->t, a->at + i * a->row + p * a->col, f32);
		int64_t at = b->at + p * b->row + j0 * b->col;
		if (b->col == 1)
			for (int64_t j = 0; j < n; j++)
				acc[j] += v * load(b->t, at + j, f32);
		else
			for (int64_t j = 0; j < n; j++)
				acc[j] += v * load(b->t, at + j * b->col, f32);
	}
}

static void product_int(const Matrix *a, const Matrix *b, const RefTensor *y, int64_t to, int64_t m,
                        int64_t n, int64_t k)
{
	for (int64_t i = 0; i < m; i++)
		for (int64_t j = 0; j < n; j++) {
			uint64_t sum = 0;
			for (int64_t p = 0; p < k; p++)
				sum += (uint64_t)ref_get_i64(a->t, a->at + i * a->row + p * a->col) *
				       (uint64_t)ref_get_i64(b->t, b->at + p * b->row + j * b->col);
			ref_put_i64(y, to++, (int64_t)sum);
		}
}

/* The optional third operand of gemm and the factors. */
typedef struct Epilogue { const RefTensor *c; int64_t row, col; double alpha, beta; } Epilogue;

REF_INLINE void product_float(const Matrix *a, const Matrix *b, const RefTensor *y, int64_t to, int64_t m,
                              int64_t n, int64_t k, const Epilogue *e, bool f32)
{
	for (int64_t i = 0; i < m; i++)
		for (int64_t j0 = 0; j0 < n; j0 += STRIP) {
			int64_t len = n - j0 < STRIP ? n - j0 : STRIP;
			double acc[STRIP];
			product_strip(a, b, i, j0, len, k, acc, f32);
			for (int64_t j = 0; j < len; j++) {
				double v = e->alpha * acc[j];
				if (e->c)
					v += e->beta * load(e->c, i * e->row + (j0 + j) * e->col, f32);
				store(y, to++, v, f32);
			}
		}
}

static void product(const Matrix *a, const Matrix *b, const RefTensor *y, int64_t to, int64_t m, int64_t n,
                    int64_t k, const Epilogue *e)
{
	if (y->elem == EL_f32)
		product_float(a, b, y, to, m, n, k, e, true);
	else if (ref_is_float(y->elem))
		product_float(a, b, y, to, m, n, k, e, false);
	else
		product_int(a, b, y, to, m, n, k);
}

void ref_matmul(const RefCall *c)
{
	const RefTensor *a = &c->in[0], *b = &c->in[1], *y = &c->out[0];
	/* A vector on the left is a row, on the right a column; its unit dimension is not in y. */
	int64_t m = a->rank > 1 ? a->dim[a->rank - 2] : 1, k = a->dim[a->rank - 1];
	int64_t n = b->rank > 1 ? b->dim[b->rank - 1] : 1;
	int batch = y->rank - (a->rank > 1) - (b->rank > 1);
	int64_t sa[REF_MAX_RANK], sb[REF_MAX_RANK], step_a = m * k, step_b = k * n;
	for (int d = batch; d-- > 0;) {
		int da = d - (batch - (a->rank - 2)), db = d - (batch - (b->rank - 2));
		int64_t na = da >= 0 && a->rank > 2 ? a->dim[da] : 1;
		int64_t nb = db >= 0 && b->rank > 2 ? b->dim[db] : 1;
		sa[d] = na == 1 ? 0 : step_a;
		sb[d] = nb == 1 ? 0 : step_b;
		step_a *= na;
		step_b *= nb;
	}
	Epilogue e = {NULL, 0, 0, 1, 0};
	int64_t at[REF_MAX_RANK] = {0, 0, 0, 0, 0, 0, 0, 0}, to = 0;
	if (ref_count(y) == 0)
		return;
	do {
		Matrix ma = {a, 0, k, 1}, mb = {b, 0, n, 1};
		for (int d = 0; d < batch; d++) {
			ma.at += at[d] * sa[d];
			mb.at += at[d] * sb[d];
		}
		product(&ma, &mb, y, to, m, n, k, &e);
		to += m * n;
	} while (advance(at, y->dim, batch));
}

void ref_gemm(const RefCall *c)
{
	const RefTensor *a = &c->in[0], *b = &c->in[1], *t = ref_in(c, 2), *y = &c->out[0];
	bool ta = c->attr[ATTR_gemm_transA].i != 0, tb = c->attr[ATTR_gemm_transB].i != 0;
	int64_t m = y->dim[0], n = y->dim[1], k = a->dim[ta ? 0 : 1];
	Matrix ma = {a, 0, ta ? 1 : k, ta ? m : 1}, mb = {b, 0, tb ? 1 : n, tb ? k : 1};
	Epilogue e = {t, 0, 0, c->attr[ATTR_gemm_alpha].f, c->attr[ATTR_gemm_beta].f};
	if (t) {
		int64_t cols = t->rank > 0 ? t->dim[t->rank - 1] : 1, rows = t->rank > 1 ? t->dim[0] : 1;
		e.col = cols == 1 ? 0 : 1;
		e.row = rows == 1 ? 0 : cols;
	}
	if (ref_is_float(y->elem)) {
		product(&ma, &mb, y, 0, m, n, k, &e);
		return;
	}
	/* Integers: exact, unless a factor is not whole. */
	bool whole = refm_trunc(e.alpha) == e.alpha && refm_trunc(e.beta) == e.beta &&
	             refm_abs(e.alpha) < 0x1p53 && refm_abs(e.beta) < 0x1p53;
	for (int64_t i = 0; i < m * n; i++) {
		Matrix ra = ma, rb = mb;
		ra.at = i / n * ma.row;
		rb.at = i % n * mb.col;
		product_int(&ra, &rb, y, i, 1, 1, k);
		int64_t sum = ref_get_i64(y, i), add = t ? ref_get_i64(t, i / n * e.row + i % n * e.col) : 0;
		if (whole)
			ref_put_i64(y, i, (int64_t)((uint64_t)sum * (uint64_t)(int64_t)e.alpha +
			                            (uint64_t)add * (uint64_t)(int64_t)e.beta));
		else
			ref_put_f64(y, i, e.alpha * (double)sum + e.beta * (double)add);
	}
}
