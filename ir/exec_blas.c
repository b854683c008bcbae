/* ir/exec_blas.c -- float32 convolutions and matrix products by OpenBLAS.
 *
 * Convolutions unfold their windows into the columns of a matrix (im2col), some output rows at a
 * time, so that scratch memory stays bounded.  Depthwise ones are plain loops over rows. */
#include <cblas.h>
#include <string.h>

#include "ir/exec_internal.h"
#include "ir/ref/ref_geometry.h"

enum { SCRATCH_FLOATS = 1 << 22, SMALL = 2048 };

typedef struct Conv {
	RefGeom g;
	int64_t images, group, channels, outputs; /* channels, outputs: per group */
	int64_t taps, in_size, out_size;          /* per channel */
	int64_t rows, width;                      /* of the result: out_size = rows * width */
} Conv;

static int64_t product(const int64_t *v, int n)
{
	int64_t p = 1;
	for (int i = 0; i < n; i++)
		p *= v[i];
	return p;
}

static void describe(Conv *v, const RefCall *c, int64_t group)
{
	const RefTensor *x = &c->in[0], *w = &c->in[1], *y = &c->out[0];
	v->g.nd = x->rank - 2;
	for (int i = 0; i < v->g.nd; i++) {
		v->g.in[i] = x->dim[i + 2];
		v->g.kernel[i] = w->dim[i + 2];
	}
	v->images = x->dim[0];
	v->group = group;
	v->channels = x->dim[1] / group;
	v->outputs = y->dim[1] / group;
	v->taps = product(v->g.kernel, v->g.nd);
	v->in_size = product(v->g.in, v->g.nd);
	v->out_size = product(y->dim + 2, v->g.nd);
	v->width = y->dim[y->rank - 1];
	v->rows = v->width ? v->out_size / v->width : 0;
}

static void describe_conv(Conv *v, const RefCall *c)
{
	const RefAttr *a = c->attr, *s = &a[ATTR_conv_strides], *d = &a[ATTR_conv_dilations];
	const RefAttr *p = &a[ATTR_conv_pads];
	describe(v, c, a[ATTR_conv_group].i);
	ref_geom_lists(&v->g, s->ints, s->n, d->ints, d->n, p->ints, p->n);
	ref_geom_window(&v->g, ref_auto_pad(a[ATTR_conv_auto_pad].s), false);
}

static void describe_transposed(Conv *v, const RefCall *c)
{
	const RefAttr *a = c->attr, *s = &a[ATTR_conv_transpose_strides];
	const RefAttr *d = &a[ATTR_conv_transpose_dilations], *p = &a[ATTR_conv_transpose_pads];
	const RefAttr *op = &a[ATTR_conv_transpose_output_padding], *os = &a[ATTR_conv_transpose_output_shape];
	describe(v, c, a[ATTR_conv_transpose_group].i);
	ref_geom_lists(&v->g, s->ints, s->n, d->ints, d->n, p->ints, p->n);
	ref_geom_transposed(&v->g, ref_auto_pad(a[ATTR_conv_transpose_auto_pad].s), op->ints, op->n, os->ints,
	                    os->n);
}

static bool is_unit(const Conv *v)
{
	for (int i = 0; i < v->g.nd; i++)
		if (v->g.kernel[i] != 1 || v->g.stride[i] != 1 || v->g.begin[i] || v->g.end[i])
			return false;
	return true;
}

static int64_t clamp_chunk(int64_t n, int64_t each)
{
	int64_t fit = each > 0 ? SCRATCH_FLOATS / each : n;
	return fit < 1 ? 1 : fit > n ? n : fit;
}

static int64_t chunk_rows(const Conv *v)
{
	return clamp_chunk(v->rows, v->channels * v->taps * v->width);
}

static int64_t ceil_div(int64_t a, int64_t b)
{
	return a > 0 ? (a + b - 1) / b : -(-a / b);
}

/* Input positions first, first + stride, ...: the columns [*lo, *hi) of n that lie in [0, width). */
static void inside(int64_t first, int64_t stride, int64_t width, int64_t n, int64_t *lo, int64_t *hi)
{
	*lo = first < 0 ? ceil_div(-first, stride) : 0;
	*hi = ceil_div(width - first, stride);
	*lo = *lo > n ? n : *lo;
	*hi = *hi > n ? n : *hi < *lo ? *lo : *hi;
}

/* Output row `row` and tap `tap`: offset of the input row in a channel (-1: padding) and its first column. */
static int64_t input_row(const RefGeom *g, int64_t row, int64_t tap, int64_t *first)
{
	int last = g->nd - 1;
	int64_t at = 0, step = g->in[last];
	*first = tap % g->kernel[last] * g->dilation[last] - g->begin[last];
	tap /= g->kernel[last];
	for (int d = last; d-- > 0; row /= g->out[d], tap /= g->kernel[d]) {
		int64_t i = row % g->out[d] * g->stride[d] + tap % g->kernel[d] * g->dilation[d] - g->begin[d];
		if (i < 0 || i >= g->in[d])
			return -1;
		at += i * step;
		step *= g->in[d];
	}
	return at;
}

static void unfold_row(const Conv *v, const float *x, int64_t row, int64_t tap, float *to)
{
	const RefGeom *g = &v->g;
	int last = g->nd - 1;
	int64_t first, lo, hi, stride = g->stride[last], at = input_row(g, row, tap, &first);
	if (at < 0) {
		memset(to, 0, (size_t)v->width * sizeof *to);
		return;
	}
	inside(first, stride, g->in[last], v->width, &lo, &hi);
	for (int64_t j = 0; j < lo; j++)
		to[j] = 0;
	if (stride == 1)
		memcpy(to + lo, x + at + first + lo, (size_t)(hi - lo) * sizeof *to);
	else
		for (int64_t j = lo; j < hi; j++)
			to[j] = x[at + first + j * stride];
	for (int64_t j = hi; j < v->width; j++)
		to[j] = 0;
}

/* col[channel, tap][row, column] of output rows [r0, r1). */
static void unfold(const Conv *v, const float *x, int64_t r0, int64_t r1, float *col)
{
	for (int64_t c = 0; c < v->channels; c++, x += v->in_size)
		for (int64_t t = 0; t < v->taps; t++)
			for (int64_t r = r0; r < r1; r++, col += v->width)
				unfold_row(v, x, r, t, col);
}

static void fill_bias(const Conv *v, const RefTensor *b, float *y)
{
	int64_t m = v->group * v->outputs;
	for (int64_t i = 0; i < v->images * m; i++) {
		float bias = b && b->data ? ((const float *)b->data)[i % m] : 0;
		for (int64_t k = 0; k < v->out_size; k++)
			y[i * v->out_size + k] = bias;
	}
}

static void conv_gemm(const RefCall *c, const Conv *v, float *scratch)
{
	const float *x = c->in[0].data, *weights = c->in[1].data;
	float *y = c->out[0].data;
	int64_t k = v->channels * v->taps, step = chunk_rows(v);
	bool unit = is_unit(v);
	fill_bias(v, c->nin > 2 ? &c->in[2] : NULL, y);
	for (int64_t i = 0; i < v->images * v->group; i++) {
		const float *w = weights + i % v->group * v->outputs * k;
		const float *xi = x + i * v->channels * v->in_size;
		float *yi = y + i * v->outputs * v->out_size;
		for (int64_t r = 0; r < v->rows; r += step) {
			int64_t end = r + step < v->rows ? r + step : v->rows;
			int64_t n = (end - r) * v->width;
			const float *col = xi + r * v->width;
			if (!unit) {
				unfold(v, xi, r, end, scratch);
				col = scratch;
			}
			cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)v->outputs, (int)n, (int)k,
			            1, w, (int)k, col, (int)(unit ? v->out_size : n), 1,
			            yi + r * v->width, (int)v->out_size);
		}
	}
}

/* One input channel per output: rows are added up tap by tap. */
static void conv_depthwise(const RefCall *c, const Conv *v)
{
	const RefGeom *g = &v->g;
	int64_t m = v->group * v->outputs, stride = g->stride[g->nd - 1], width = g->in[g->nd - 1];
	float *y = c->out[0].data;
	fill_bias(v, c->nin > 2 ? &c->in[2] : NULL, y);
	for (int64_t i = 0; i < v->images * m; i++) {
		const float *w = (const float *)c->in[1].data + i % m * v->taps;
		const float *x = (const float *)c->in[0].data + i / v->outputs * v->in_size;
		for (int64_t r = 0; r < v->rows; r++, y += v->width)
			for (int64_t t = 0; t < v->taps; t++) {
				int64_t first, lo, hi, at = input_row(g, r, t, &first);
				float k = w[t];
				inside(first, stride, width, v->width, &lo, &hi);
				if (at < 0)
					continue;
				const float *row = x + at + first;
				if (stride == 1)
					for (int64_t j = lo; j < hi; j++)
						y[j] += k * row[j];
				else
					for (int64_t j = lo; j < hi; j++)
						y[j] += k * row[j * stride];
			}
	}
}

/* Adds one unfolded row of products (input row `row`, one tap) to the result image. */
static void fold_row(const Conv *v, const float *from, int64_t row, int64_t tap, float *y)
{
	const RefGeom *g = &v->g;
	int last = g->nd - 1;
	int64_t kx = tap % g->kernel[last], at = 0, step = g->out[last];
	tap /= g->kernel[last];
	for (int d = last; d-- > 0; row /= g->in[d], tap /= g->kernel[d]) {
		int64_t o = row % g->in[d] * g->stride[d] + tap % g->kernel[d] * g->dilation[d] - g->begin[d];
		if (o < 0 || o >= g->out[d])
			return;
		at += o * step;
		step *= g->out[d];
	}
	int64_t first = kx * g->dilation[last] - g->begin[last], lo, hi;
	inside(first, g->stride[last], g->out[last], g->in[last], &lo, &hi);
	for (int64_t j = lo; j < hi; j++)
		y[at + first + j * g->stride[last]] += from[j];
}

static int64_t chunk_outputs(const Conv *v)
{
	return clamp_chunk(v->outputs, v->taps * v->in_size);
}

/* Each input element times all weights of its channel, then added where the windows put it. */
static void conv_transposed(const RefCall *c, const Conv *v, float *scratch)
{
	const float *x = c->in[0].data, *weights = c->in[1].data;
	int64_t all = v->outputs * v->taps, step = chunk_outputs(v), in_width = v->g.in[v->g.nd - 1];
	int64_t in_rows = v->in_size / in_width;
	fill_bias(v, c->nin > 2 ? &c->in[2] : NULL, c->out[0].data);
	for (int64_t i = 0; i < v->images * v->group; i++)
		for (int64_t m = 0; m < v->outputs; m += step) {
			int64_t n = v->outputs - m < step ? v->outputs - m : step;
			const float *w = weights + i % v->group * v->channels * all + m * v->taps;
			float *y = (float *)c->out[0].data + (i * v->outputs + m) * v->out_size;
			cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)(n * v->taps),
			            (int)v->in_size, (int)v->channels, 1, w, (int)all,
			            x + i * v->channels * v->in_size, (int)v->in_size, 0, scratch,
			            (int)v->in_size);
			for (int64_t k = 0; k < n * v->taps * in_rows; k++)
				fold_row(v, scratch + k * in_width, k % in_rows, k / in_rows % v->taps,
				         y + k / in_rows / v->taps * v->out_size);
		}
}

static void gemm(const RefCall *c)
{
	const RefTensor *a = &c->in[0], *b = &c->in[1], *y = &c->out[0];
	bool ta = c->attr[ATTR_gemm_transA].i != 0, tb = c->attr[ATTR_gemm_transB].i != 0;
	int64_t m = y->dim[0], n = y->dim[1], k = a->dim[ta ? 0 : 1];
	const RefTensor *t = c->nin > 2 && c->in[2].data ? &c->in[2] : NULL;
	float beta = (float)c->attr[ATTR_gemm_beta].f, *r = y->data;
	if (t) {
		int64_t cols = t->rank > 0 ? t->dim[t->rank - 1] : 1, rows = t->rank > 1 ? t->dim[0] : 1;
		for (int64_t i = 0; i < m; i++)
			for (int64_t j = 0; j < n; j++)
				r[i * n + j] = beta * ((const float *)t->data)[(rows == 1 ? 0 : i * cols) +
				                                               (cols == 1 ? 0 : j)];
	}
	cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n,
	            (int)k, (float)c->attr[ATTR_gemm_alpha].f, a->data, (int)(ta ? m : k), b->data,
	            (int)(tb ? k : n), t ? 1 : 0, r, (int)n);
}

/* Batch strides of an operand for the batch dimensions of the result: 0 where it is broadcast. */
static void batch_strides(const RefTensor *t, int batch, int64_t size, int64_t *stride)
{
	for (int d = batch; d-- > 0;) {
		int e = d - (batch - (t->rank - 2));
		int64_t n = e >= 0 && t->rank > 2 ? t->dim[e] : 1;
		stride[d] = n == 1 ? 0 : size;
		size *= n;
	}
}

static void matmul(const RefCall *c)
{
	const RefTensor *a = &c->in[0], *b = &c->in[1], *y = &c->out[0];
	int64_t m = a->rank > 1 ? a->dim[a->rank - 2] : 1, k = a->dim[a->rank - 1];
	int64_t n = b->rank > 1 ? b->dim[b->rank - 1] : 1, sa[MLO_MAX_RANK], sb[MLO_MAX_RANK];
	int batch = y->rank - (a->rank > 1) - (b->rank > 1);
	int64_t count = product(y->dim, batch);
	if (b->rank <= 2) { /* one right side for all: the batch is more rows */
		m *= count;
		count = 1;
		batch = 0;
	}
	batch_strides(a, batch, m * k, sa);
	batch_strides(b, batch, k * n, sb);
	for (int64_t i = 0; i < count; i++) {
		int64_t pa = 0, pb = 0, rest = i;
		for (int d = batch; d-- > 0; rest /= y->dim[d]) {
			pa += rest % y->dim[d] * sa[d];
			pb += rest % y->dim[d] * sb[d];
		}
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1,
		            (const float *)a->data + pa, (int)k, (const float *)b->data + pb, (int)n, 0,
		            (float *)y->data + i * m * n, (int)n);
	}
}

static int64_t elements(const RefTensor *t)
{
	return product(t->dim, t->rank);
}

bool mlo_exec_blas_takes(MloOp op, const RefCall *c, size_t *scratch)
{
	Conv v;
	*scratch = 0;
	if ((op != OP_conv && op != OP_conv_transpose && op != OP_matmul && op != OP_gemm) ||
	    c->in[0].elem != EL_f32)
		return false;
	if (elements(&c->in[0]) == 0 || elements(&c->in[1]) == 0 || elements(&c->out[0]) == 0)
		return false;
	if (elements(&c->in[0]) > INT32_MAX || elements(&c->in[1]) > INT32_MAX || elements(&c->out[0]) > INT32_MAX)
		return false;
	if (op == OP_gemm || op == OP_matmul)
		return elements(&c->in[0]) + elements(&c->in[1]) > SMALL;
	if (c->in[0].rank < 3)
		return false;
	if (op == OP_conv) {
		describe_conv(&v, c);
		if (v.channels > 1 || v.outputs > 8)
			*scratch = is_unit(&v) ? 0 : (size_t)(v.channels * v.taps * chunk_rows(&v) * v.width);
	} else {
		describe_transposed(&v, c);
		*scratch = (size_t)(chunk_outputs(&v) * v.taps * v.in_size);
	}
	return true;
}

void mlo_exec_blas(MloOp op, const RefCall *c, float *scratch)
{
	Conv v;
	if (op == OP_gemm) {
		gemm(c);
	} else if (op == OP_matmul) {
		matmul(c);
	} else if (op == OP_conv) {
		describe_conv(&v, c);
		if (v.channels > 1 || v.outputs > 8)
			conv_gemm(c, &v, scratch);
		else
			conv_depthwise(c, &v);
	} else {
		describe_transposed(&v, c);
		conv_transposed(c, &v, scratch);
	}
}
