/* ir/ref/ref_integer.c -- products of 8-bit integers, summed up in 32 bits; dynamic quantization. */
#include "ir/ref/ref_dynamic.h"
#include "ir/ref/ref_geometry.h"

REF_INLINE int32_t load8(const void *p, int64_t i, bool is_signed)
{
	return is_signed ? ((const int8_t *)p)[i] : ((const uint8_t *)p)[i];
}

/* Element i of an optional zero point with one element, or more. */
static int32_t zero_at(const RefTensor *z, int64_t i)
{
	return z ? (int32_t)ref_get_i64(z, ref_count(z) == 1 ? 0 : i) : 0;
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

enum { STRIP = 64 };

/* -- conv_integer ---------------------------------------------------------------------------- */

typedef struct Conv {
	RefGeom g;
	const void *x, *w;
	bool xs, ws; /* signed */
	int32_t xz;
	int64_t size, taps, channels;
} Conv;

REF_INLINE int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

/* acc[j] += w * (x[row + first + j * stride] - zero point) for the j in [0, n) whose column is inside:
 * pads hold the zero point, so they add nothing. */
REF_INLINE void add_tap(uint32_t *acc, int64_t n, int32_t w, const Conv *v, int64_t row, int64_t first,
                        int64_t stride, bool xs)
{
	int64_t lo = first < 0 ? ceil_div(-first, stride) : 0;
	int64_t hi = ceil_div(v->g.in[v->g.nd - 1] - first, stride);
	hi = hi > n ? n : hi;
	if (stride == 1)
		for (int64_t j = lo; j < hi; j++)
			acc[j] += (uint32_t)(w * (load8(v->x, row + first + j, xs) - v->xz));
	else
		for (int64_t j = lo; j < hi; j++)
			acc[j] += (uint32_t)(w * (load8(v->x, row + first + j * stride, xs) - v->xz));
}

/* One strip of an output row: outer spatial position `o`, columns [col, col + n). */
REF_INLINE void conv_strip(const Conv *v, int64_t image, int64_t weights, const int64_t *o, int64_t col,
                           int64_t n, int32_t wz, uint32_t *acc, bool xs)
{
	const RefGeom *g = &v->g;
	int last = g->nd - 1;
	int64_t width = g->kernel[last], tap = weights;
	for (int64_t c = 0; c < v->channels; c++, image += v->size) {
		int64_t k[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
		do {
			int64_t row = 0;
			bool inside = true;
			for (int d = 0; d < last; d++) {
				int64_t i = o[d] * g->stride[d] + k[d] * g->dilation[d] - g->begin[d];
				inside = inside && i >= 0 && i < g->in[d];
				row = row * g->in[d] + i;
			}
			row = image + row * g->in[last];
			for (int64_t kx = 0; inside && kx < width; kx++)
				add_tap(acc, n, load8(v->w, tap + kx, v->ws) - wz, v, row,
				        col * g->stride[last] + kx * g->dilation[last] - g->begin[last],
				        g->stride[last], xs);
			tap += width;
		} while (advance(k, g->kernel, last));
	}
}

/* One image and output channel. */
static void conv_plane(const Conv *v, int64_t from, int64_t weights, int32_t wz, int32_t *to)
{
	const RefGeom *g = &v->g;
	int last = g->nd - 1;
	int64_t o[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
	do {
		for (int64_t col = 0; col < g->out[last]; col += STRIP) {
			int64_t n = g->out[last] - col < STRIP ? g->out[last] - col : STRIP;
			uint32_t acc[STRIP];
			for (int64_t j = 0; j < n; j++)
				acc[j] = 0;
			if (v->taps > 0 && v->xs)
				conv_strip(v, from, weights, o, col, n, wz, acc, true);
			else if (v->taps > 0)
				conv_strip(v, from, weights, o, col, n, wz, acc, false);
			for (int64_t j = 0; j < n; j++)
				*to++ = (int32_t)acc[j];
		}
	} while (advance(o, g->out, last));
}

/* Operands and sizes, but what attributes say. */
static void operands(Conv *v, const RefCall *c, int64_t channels)
{
	const RefTensor *x = &c->in[0], *w = &c->in[1];
	RefGeom *g = &v->g;
	v->x = x->data;
	v->w = w->data;
	v->xs = x->elem == EL_i8;
	v->ws = w->elem == EL_i8;
	v->xz = zero_at(ref_in(c, 2), 0);
	v->channels = channels;
	g->nd = x->rank - 2;
	for (int i = 0; i < g->nd; i++) {
		g->in[i] = x->dim[i + 2];
		g->kernel[i] = w->dim[i + 2];
	}
	v->size = ref_count_dims(g->in, 0, g->nd);
	v->taps = ref_count_dims(g->kernel, 0, g->nd);
}

void ref_conv_integer(const RefCall *c)
{
	const RefAttr *a = c->attr;
	const RefAttr *s = &a[ATTR_conv_integer_strides], *d = &a[ATTR_conv_integer_dilations];
	const RefAttr *p = &a[ATTR_conv_integer_pads];
	const RefTensor *x = &c->in[0], *w = &c->in[1], *y = &c->out[0];
	Conv v;
	RefGeom *g = &v.g;
	operands(&v, c, w->dim[1]);
	ref_geom_lists(g, s->ints, s->n, d->ints, d->n, p->ints, p->n);
	ref_geom_window(g, ref_auto_pad(a[ATTR_conv_integer_auto_pad].s), false);
	for (int i = 0; i < g->nd; i++)
		g->out[i] = y->dim[i + 2];
	int64_t m = y->dim[1], of_group = m / a[ATTR_conv_integer_group].i;
	if (ref_count(y) == 0)
		return;
	int64_t plane = ref_count_dims(g->out, 0, g->nd);
	for (int64_t image = 0; image < y->dim[0] * m; image++) {
		int64_t oc = image % m, from = (image / m * x->dim[1] + oc / of_group * v.channels) * v.size;
		conv_plane(&v, from, oc * v.channels * v.taps, zero_at(ref_in(c, 3), oc),
		           (int32_t *)y->data + image * plane);
	}
}

/* -- conv_transpose_integer ------------------------------------------------------------------ */

/* Where in x tap k of output o comes from, as an offset; -1: from nowhere. */
static int64_t tap_source(const RefGeom *g, const int64_t *o, const int64_t *k)
{
	int64_t at = 0;
	for (int d = 0; d < g->nd; d++) {
		int64_t i = o[d] + g->begin[d] - k[d] * g->dilation[d];
		if (i < 0 || i % g->stride[d] || i / g->stride[d] >= g->in[d])
			return -1;
		at = at * g->in[d] + i / g->stride[d];
	}
	return at;
}

/* One output: the image at `from`, the weights of output channel oc. */
static int32_t transposed_sum(const Conv *v, int64_t from, int64_t oc, int64_t outputs, const int64_t *o, int32_t wz)
{
	int64_t k[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0}, tap = 0;
	uint32_t sum = 0;
	do {
		int64_t at = tap_source(&v->g, o, k);
		for (int64_t c = 0; at >= 0 && c < v->channels; c++) {
			int32_t w = load8(v->w, (c * outputs + oc) * v->taps + tap, v->ws) - wz;
			sum += (uint32_t)(w * (load8(v->x, from + c * v->size + at, v->xs) - v->xz));
		}
		tap++;
	} while (advance(k, v->g.kernel, v->g.nd));
	return (int32_t)sum;
}

void ref_conv_transpose_integer(const RefCall *c)
{
	const RefAttr *a = c->attr;
	const RefAttr *s = &a[ATTR_conv_transpose_integer_strides], *d = &a[ATTR_conv_transpose_integer_dilations];
	const RefAttr *p = &a[ATTR_conv_transpose_integer_pads], *op = &a[ATTR_conv_transpose_integer_output_padding];
	const RefTensor *x = &c->in[0], *w = &c->in[1], *y = &c->out[0];
	int32_t *to = (int32_t *)y->data;
	Conv v;
	operands(&v, c, x->dim[1]);
	ref_geom_lists(&v.g, s->ints, s->n, d->ints, d->n, p->ints, p->n);
	ref_geom_transposed(&v.g, REF_PAD_NOTSET, op->ints, op->n, NULL, 0);
	if (ref_count(y) == 0)
		return;
	for (int64_t image = 0; image < y->dim[0] * y->dim[1]; image++) {
		int64_t oc = image % y->dim[1], from = image / y->dim[1] * x->dim[1] * v.size;
		int64_t o[REF_GEOM_DIMS] = {0, 0, 0, 0, 0, 0};
		do
			*to++ = transposed_sum(&v, from, oc, w->dim[1], o, zero_at(ref_in(c, 3), oc));
		while (advance(o, v.g.out, v.g.nd));
	}
}

/* -- matmul_integer --------------------------------------------------------------------------- */

typedef struct Matrix {
	const RefTensor *t, *zero;
	bool is_signed;
	int64_t rows, columns, stride[REF_MAX_RANK]; /* strides of the batch dimensions, 0 where broadcast */
} Matrix;

/* rank: batch dimensions of the result. */
static void matrix(Matrix *m, const RefTensor *t, const RefTensor *zero, bool left, int rank)
{
	int n = t->rank > 2 ? t->rank - 2 : 0;
	m->t = t;
	m->zero = zero;
	m->is_signed = t->elem == EL_i8;
	m->rows = t->rank > 1 ? t->dim[t->rank - 2] : left ? 1 : t->dim[0];
	m->columns = t->rank > 1 || left ? t->dim[t->rank - 1] : 1;
	int64_t step = m->rows * m->columns;
	for (int d = rank, e = n; d-- > 0;) {
		e--;
		m->stride[d] = e < 0 || t->dim[e] == 1 ? 0 : step;
		step *= e < 0 ? 1 : t->dim[e];
	}
}

/* The zero point of row or column k in a batch: one for all, one per line, or one per line and batch. */
static int32_t line_zero(const Matrix *m, int64_t first, int64_t lines, int64_t k)
{
	int64_t n = m->zero ? ref_count(m->zero) : 0, size = m->rows * m->columns;
	int64_t at = n > lines && size > 0 ? first / size * lines + k : k;
	return n == 0 ? 0 : zero_at(m->zero, at < n ? at : n - 1);
}

/* acc[j] += sum over k of (a - za) * b; the zero points of b come in afterwards. */
REF_INLINE void product_strip(const Matrix *a, const Matrix *b, int64_t fa, int64_t fb, int32_t za, int64_t n,
                              uint32_t *acc, bool bs)
{
	for (int64_t k = 0; k < a->columns; k++) {
		int32_t v = load8(a->t->data, fa + k, a->is_signed) - za;
		for (int64_t j = 0; j < n; j++)
			acc[j] += (uint32_t)(v * load8(b->t->data, fb + k * b->columns + j, bs));
	}
}

/* Row i of a, `sum` the sum of its elements less their zero point. */
static void product_row(const Matrix *a, const Matrix *b, int64_t fa, int64_t fb, int64_t i, int32_t *y)
{
	int32_t za = line_zero(a, fa, a->rows, i);
	uint32_t sum = 0;
	fa += i * a->columns;
	for (int64_t k = 0; k < a->columns; k++)
		sum += (uint32_t)(load8(a->t->data, fa + k, a->is_signed) - za);
	for (int64_t j0 = 0; j0 < b->columns; j0 += STRIP) {
		int64_t n = b->columns - j0 < STRIP ? b->columns - j0 : STRIP;
		uint32_t acc[STRIP];
		for (int64_t j = 0; j < n; j++)
			acc[j] = 0;
		if (b->is_signed)
			product_strip(a, b, fa, fb + j0, za, n, acc, true);
		else
			product_strip(a, b, fa, fb + j0, za, n, acc, false);
		for (int64_t j = 0; j < n; j++)
			y[j0 + j] = (int32_t)(acc[j] - sum * (uint32_t)line_zero(b, fb, b->columns, j0 + j));
	}
}

void ref_matmul_integer(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	int rank = y->rank - (c->in[0].rank > 1) - (c->in[1].rank > 1);
	int64_t at[REF_MAX_RANK] = {0, 0, 0, 0, 0, 0, 0, 0};
	Matrix a, b;
	matrix(&a, &c->in[0], ref_in(c, 2), true, rank);
	matrix(&b, &c->in[1], ref_in(c, 3), false, rank);
	int32_t *to = y->data;
	if (ref_count(y) == 0)
		return;
	do {
		int64_t fa = 0, fb = 0;
		for (int d = 0; d < rank; d++) {
			fa += at[d] * a.stride[d];
			fb += at[d] * b.stride[d];
		}
		for (int64_t i = 0; i < a.rows; i++, to += b.columns)
			product_row(&a, &b, fa, fb, i, to);
	} while (advance(at, y->dim, rank));
}

/* -- dynamic_quantize_linear ------------------------------------------------------------------ */

void ref_dynamic_quantize_linear(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = ref_out(c, 0), *scale = ref_out(c, 1), *zero = ref_out(c, 2);
	const float *v = x->data;
	int64_t n = ref_count(x);
	RefDynamic q = {0};

	ref_dynamic_see(&q, v, n);
	ref_dynamic_close(&q);
	if (scale)
		ref_put_f64(scale, 0, q.scale);
	if (zero)
		ref_put_f64(zero, 0, q.zero);
	for (int64_t i = 0; y && i < n; i++)
		ref_put_f64(y, i, ref_dynamic_byte(&q, v[i]));
}
