/* ir/ref/ref_signal.c -- Fourier transforms, blocks added up to images, determinants. */
#include "ir/ref/ref_elem.h"

/* -- Fourier transforms ----------------------------------------------------------------------- */

enum { RESYNC = 64 }; /* steps after which a turning phase is computed anew */
static const double two_pi = 6.283185307179586476925;

typedef struct Complex { double re, im; } Complex;

/* `count` samples `step` apart (in elements), with an imaginary part beside each when complex; zeros
 * follow them.  The window, when there is one, multiplies. */
typedef struct Signal {
	const RefTensor *t, *window;
	int64_t at, step, count;
	bool is_complex;
} Signal;

static Complex sample(const Signal *s, int64_t i)
{
	Complex v = {0, 0};
	if (i >= s->count)
		return v;
	double w = s->window ? ref_get_f64(s->window, i) : 1;
	v.re = w * ref_get_f64(s->t, s->at + i * s->step);
	if (s->is_complex)
		v.im = w * ref_get_f64(s->t, s->at + i * s->step + 1);
	return v;
}

static Complex times(Complex a, Complex b)
{
	return (Complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

/* a * b mod n; lengths are far below 2^32. */
static int64_t product_mod(int64_t a, int64_t b, int64_t n)
{
	return (int64_t)((uint64_t)a * (uint64_t)b % (uint64_t)n);
}

/* exp(2 pi i k / n) with 0 <= k < n. */
static Complex phase(int64_t k, int64_t n)
{
	double a = two_pi * ((double)k / (double)n);
	return (Complex){refm_cos(a), refm_sin(a)};
}

/* sum of s[i] * exp(sign * 2 pi i k i / n) over n samples. */
static Complex bin(const Signal *s, int64_t n, int64_t k, bool inverse)
{
	int64_t turn = inverse || k == 0 ? k % n : n - k % n, last = n < s->count ? n : s->count;
	Complex step = phase(turn % n, n), w = {1, 0}, sum = {0, 0};
	for (int64_t i = 0; i < last; i++) {
		if (i % RESYNC == 0)
			w = phase(product_mod(i, turn % n, n), n);
		Complex v = times(sample(s, i), w);
		sum.re += v.re;
		sum.im += v.im;
		w = times(w, step);
	}
	return sum;
}

/* Sample i of the real signal whose spectrum is s and its mirror image. */
static double real_sample(const Signal *s, int64_t n, int64_t i)
{
	double sum = 0;
	for (int64_t k = 0; k <= n / 2; k++) {
		Complex v = times(sample(s, k), phase(product_mod(k, i, n), n));
		sum += k == 0 || 2 * k == n ? v.re : 2 * v.re;
	}
	return sum / (double)n;
}

/* Where the results of one transform go: `count` of them, `step` elements apart. */
static void transform(const Signal *s, int64_t n, bool inverse, const RefTensor *y, int64_t to, int64_t count,
                      int64_t step)
{
	double scale = inverse ? 1 / (double)n : 1;
	for (int64_t k = 0; k < count; k++) {
		Complex v = bin(s, n, k, inverse);
		ref_put_f64(y, to + k * step, v.re * scale);
		ref_put_f64(y, to + k * step + 1, v.im * scale);
	}
}

static void fill_zero(const RefTensor *y)
{
	for (int64_t i = 0, n = ref_count(y); i < n; i++)
		ref_put_f64(y, i, 0);
}

void ref_dft(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *length = ref_in(c, 1), *where = ref_in(c, 2), *y = &c->out[0];
	int rank = x->rank, axis = where ? ref_axis(ref_get_i64(where, 0), rank) : rank - 2;
	bool inverse = c->attr[ATTR_dft_inverse].i != 0, real = inverse && c->attr[ATTR_dft_onesided].i != 0;
	if (axis < 0 || axis >= rank - 1 || ref_count_dims(x->dim, 0, axis) != ref_count_dims(y->dim, 0, axis) ||
	    ref_count_dims(x->dim, axis + 1, rank - 1) != ref_count_dims(y->dim, axis + 1, rank - 1)) {
		fill_zero(y);
		return;
	}
	int64_t n = length ? ref_get_i64(length, 0) : real ? 2 * (x->dim[axis] - 1) : x->dim[axis];
	int64_t inner = ref_count_dims(x->dim, axis + 1, rank - 1), parts = x->dim[rank - 1];
	int64_t outer = ref_count_dims(x->dim, 0, axis), count = y->dim[axis], out_parts = y->dim[rank - 1];
	if (n < 1)
		n = 1;
	for (int64_t o = 0; o < outer * inner; o++) {
		Signal s = {.t = x, .at = (o / inner * x->dim[axis] * inner + o % inner) * parts,
			.step = inner * parts, .count = x->dim[axis], .is_complex = parts == 2};
		int64_t to = (o / inner * count * inner + o % inner) * out_parts;
		if (!real)
			transform(&s, n, inverse, y, to, count, inner * out_parts);
		for (int64_t i = 0; real && i < count; i++)
			ref_put_f64(y, to + i * inner * out_parts, real_sample(&s, n, i));
	}
}

void ref_stft(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *window = ref_in(c, 2), *size = ref_in(c, 3), *y = &c->out[0];
	int64_t step = ref_get_i64(&c->in[1], 0), length = x->dim[1], parts = x->rank > 2 ? x->dim[2] : 1;
	int64_t n = size ? ref_get_i64(size, 0) : window ? window->dim[0] : length;
	int64_t frames = y->dim[1], bins = y->dim[2];
	for (int64_t f = 0; f < y->dim[0] * frames; f++) {
		int64_t from = (int64_t)((uint64_t)(f % frames) * (uint64_t)step);
		if (from < 0 || from > length)
			from = length;
		Signal s = {.t = x, .window = window, .at = (f / frames * length + from) * parts, .step = parts,
			.count = n, .is_complex = parts == 2};
		if (window && window->dim[0] < s.count)
			s.count = window->dim[0];
		s.count = length - from < s.count ? length - from : s.count;
		transform(&s, n < 1 ? 1 : n, false, y, f * bins * 2, bins, 2);
	}
}

/* -- images from blocks ------------------------------------------------------------------------ */

typedef struct Blocks {
	int spatial;
	int64_t size; /* of a block; 0: the shapes do not fit */
	int64_t image[REF_MAX_RANK], block[REF_MAX_RANK], pad[REF_MAX_RANK], stride[REF_MAX_RANK],
		dilation[REF_MAX_RANK], columns[REF_MAX_RANK];
} Blocks;

static int64_t item(const RefAttr *a, int i, int64_t def) { return i < a->n ? a->ints[i] : def; }

static Blocks blocks_of(const RefCall *c)
{
	const RefAttr *a = c->attr;
	Blocks k;
	int64_t rows = c->in[0].dim[1];
	k.spatial = c->out[0].rank - 2;
	k.size = 1;
	for (int i = 0; i < k.spatial; i++) {
		k.image[i] = c->out[0].dim[i + 2];
		k.block[i] = ref_get_i64(&c->in[2], i);
		if (k.block[i] < 1 || k.block[i] > rows || k.size * k.block[i] > rows) {
			k.size = 0;
			return k;
		}
		k.size *= k.block[i];
		k.pad[i] = item(&a[ATTR_col2im_pads], i, 0);
		k.stride[i] = item(&a[ATTR_col2im_strides], i, 1);
		k.dilation[i] = item(&a[ATTR_col2im_dilations], i, 1);
		int64_t covered = k.image[i] + k.pad[i] + item(&a[ATTR_col2im_pads], i + k.spatial, 0) -
		                  k.dilation[i] * (k.block[i] - 1) - 1;
		k.columns[i] = covered < 0 ? 0 : covered / k.stride[i] + 1;
	}
	return k;
}

/* The column that puts element `in_block` of its block at this pixel; -1: none does. */
static int64_t column_at(const Blocks *k, const int64_t *pixel, int64_t in_block)
{
	int64_t at[REF_MAX_RANK], column = 0;
	for (int i = k->spatial; i-- > 0; in_block /= k->block[i])
		at[i] = pixel[i] + k->pad[i] - in_block % k->block[i] * k->dilation[i];
	for (int i = 0; i < k->spatial; i++) {
		if (at[i] < 0 || at[i] % k->stride[i] || at[i] / k->stride[i] >= k->columns[i])
			return -1;
		column = column * k->columns[i] + at[i] / k->stride[i];
	}
	return column;
}

void ref_col2im(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	Blocks k = blocks_of(c);
	int64_t pixels = ref_count_dims(y->dim, 2, y->rank);
	int64_t rows = x->dim[1], columns = x->dim[2], planes = y->dim[0] * y->dim[1];
	bool floats = ref_is_float(y->elem);
	for (int64_t i = 0; i < planes * pixels; i++) {
		int64_t pixel[REF_MAX_RANK], rest = i % pixels, plane = i / pixels;
		double sum = 0;
		uint64_t isum = 0;
		for (int d = k.spatial; d-- > 0; rest /= y->dim[d + 2])
			pixel[d] = rest % y->dim[d + 2];
		for (int64_t b = 0; b < k.size; b++) {
			int64_t column = column_at(&k, pixel, b), row = plane * k.size + b;
			if (column < 0 || column >= columns || row >= x->dim[0] * rows)
				continue;
			if (floats)
				sum += ref_get_f64(x, row * columns + column);
			else
				isum += (uint64_t)ref_get_i64(x, row * columns + column);
		}
		if (floats)
			ref_put_f64(y, i, sum);
		else
			ref_put_i64(y, i, (int64_t)isum);
	}
}

/* -- determinants ------------------------------------------------------------------------------- */

static void swap_rows(double *a, double *b, int64_t n)
{
	for (int64_t k = 0; k < n; k++) {
		double t = a[k];
		a[k] = b[k];
		b[k] = t;
	}
}

/* Elimination with the largest pivot of each column; the determinant of the n x n matrix m. */
static double eliminate(double *m, int64_t n)
{
	double det = 1;
	for (int64_t k = 0; k < n; k++) {
		int64_t best = k;
		for (int64_t i = k + 1; i < n; i++)
			if (refm_abs(m[i * n + k]) > refm_abs(m[best * n + k]))
				best = i;
		if (best != k) {
			swap_rows(m + best * n, m + k * n, n);
			det = -det;
		}
		det *= m[k * n + k];
		if (m[k * n + k] == 0)
			return det;
		for (int64_t i = k + 1; i < n; i++) {
			double f = m[i * n + k] / m[k * n + k];
			for (int64_t j = k; j < n; j++)
				m[i * n + j] -= f * m[k * n + j];
		}
	}
	return det;
}

void ref_det(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t n = x->dim[x->rank - 1], count = ref_count(y);
	double *work = c->out[1].data;
	for (int64_t i = 0; i < ref_count(x); i++)
		work[i] = ref_get_f64(x, i);
	for (int64_t i = 0; i < count; i++)
		ref_put_f64(y, i, eliminate(work + i * n * n, n));
}
