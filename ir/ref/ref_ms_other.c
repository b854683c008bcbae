/* ir/ref/ref_ms_other.c -- operators of ONNX Runtime: products with packed weights, crops, inverses. */
#include "ir/ref/ref_elem.h"

/* -- matmul_nbits ----------------------------------------------------------------------------- */

enum { STRIP = 16, CHUNK = 32 };

typedef struct NBits {
	const RefTensor *a, *w, *scales, *zero, *group, *bias;
	int64_t n, k, bits, block, blocks;
} NBits;

/* Number i of a row of packed numbers, the lowest bits first. */
REF_INLINE int64_t unpack(const uint8_t *row, int64_t i, int64_t bits)
{
	int64_t bit = i * bits;
	return row[bit / 8] >> bit % 8 & ((1 << bits) - 1);
}

REF_INLINE double zero_point(const NBits *b, int64_t row, int64_t block)
{
	if (!b->zero)
		return (double)(1 << (b->bits - 1));
	if (b->zero->elem != EL_u8)
		return ref_get_f64(b->zero, row * b->blocks + block);
	int64_t bytes = (b->blocks * b->bits + 7) / 8;
	return (double)unpack((const uint8_t *)b->zero->data + row * bytes, block, b->bits);
}

/* Weights k, k+1, ... of a row (of one result column). */
static void weights(const NBits *b, int64_t row, int64_t k, int64_t n, double *w)
{
	int64_t bytes = (b->block * b->bits + 7) / 8, last = -1;
	const uint8_t *packed = (const uint8_t *)b->w->data + row * b->blocks * bytes;
	double zero = 0, scale = 0;
	for (int64_t i = 0; i < n; i++) {
		int64_t block = (k + i) / b->block, g = block;
		if (b->group) {
			g = ((const int32_t *)b->group->data)[k + i];
			g = g < 0 ? 0 : g >= b->blocks ? b->blocks - 1 : g;
		}
		if (g != last) {
			zero = zero_point(b, row, g);
			scale = ref_get_f64(b->scales, row * b->blocks + g);
			last = g;
		}
		w[i] = ((double)unpack(packed + block * bytes, (k + i) % b->block, b->bits) - zero) * scale;
	}
}

REF_INLINE void add_products(const NBits *b, int64_t m, int64_t rows, int64_t k, int64_t n, const double *w,
                             double *acc, bool f32)
{
	for (int64_t r = 0; r < rows; r++) {
		int64_t at = (m + r) * b->k + k;
		for (int64_t i = 0; i < n; i++)
			acc[r] += w[i] * (f32 ? ((const float *)b->a->data)[at + i] : ref_get_f64(b->a, at + i));
	}
}

void ref_matmul_nbits(const RefCall *c)
{
	const RefAttr *t = c->attr;
	const RefTensor *y = &c->out[0];
	NBits b = {&c->in[0], &c->in[1], &c->in[2], ref_in(c, 3), ref_in(c, 4), ref_in(c, 5), 0, 0, 0, 0, 0};
	b.n = t[ATTR_matmul_nbits_N].i;
	b.k = t[ATTR_matmul_nbits_K].i;
	b.bits = t[ATTR_matmul_nbits_bits].i;
	b.block = t[ATTR_matmul_nbits_block_size].i;
	b.blocks = (b.k + b.block - 1) / b.block;
	int64_t all = ref_count_dims(b.a->dim, 0, b.a->rank - 1);
	for (int64_t m = 0; m < all; m += STRIP) {
		int64_t rows = all - m < STRIP ? all - m : STRIP;
		for (int64_t n = 0; n < b.n; n++) {
			double acc[STRIP] = {0}, w[CHUNK], bias = b.bias ? ref_get_f64(b.bias, n) : 0;
			for (int64_t k = 0; k < b.k; k += CHUNK) {
				int64_t len = b.k - k < CHUNK ? b.k - k : CHUNK;
				weights(&b, n, k, len, w);
				if (b.a->elem == EL_f32)
					add_products(&b, m, rows, k, len, w, acc, true);
				else
					add_products(&b, m, rows, k, len, w, acc, false);
			}
			for (int64_t r = 0; r < rows; r++)
				ref_put_f64(y, (m + r) * b.n + n, acc[r] + bias);
		}
	}
}

/* -- crop_and_resize ---------------------------------------------------------------------------- */

/* Position i of n between from and to, of `size` pixels; a single one is in the middle. In float32: where
 * a position falls half-way between pixels is part of the result. */
REF_INLINE float sample(float from, float to, int64_t i, int64_t n, int64_t size)
{
	float last = (float)(size - 1);
	if (n == 1)
		return (float)(0.5 * (double)(from + to) * (double)last);
	if (i == n - 1)
		return to * last;
	return from * last + (float)i * ((to - from) * last / (float)(n - 1));
}

/* x at (row, col), which are inside, of the plane that begins at `base`. */
static double pixel(const RefTensor *x, int64_t base, double row, double col, bool nearest)
{
	int64_t width = x->dim[3];
	if (nearest)
		return ref_get_f64(x, base + (int64_t)refm_floor(row + 0.5) * width + (int64_t)refm_floor(col + 0.5));
	int64_t top = (int64_t)refm_floor(row), bottom = (int64_t)refm_ceil(row);
	int64_t left = (int64_t)refm_floor(col), right = (int64_t)refm_ceil(col);
	double u = row - (double)top, v = col - (double)left;
	double a = ref_get_f64(x, base + top * width + left), b = ref_get_f64(x, base + top * width + right);
	double d = ref_get_f64(x, base + bottom * width + left), e = ref_get_f64(x, base + bottom * width + right);
	a += (b - a) * v;
	d += (e - d) * v;
	return a + (d - a) * u;
}

REF_INLINE float edge(const RefTensor *box, int64_t r, int k) { return (float)ref_get_f64(box, 4 * r + k); }

void ref_crop_and_resize(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *box = &c->in[1], *image = &c->in[2], *y = &c->out[0];
	bool nearest = ref_text_is(c->attr[ATTR_crop_and_resize_mode].s, "nearest");
	double outside = c->attr[ATTR_crop_and_resize_extrapolation_value].f;
	int64_t height = x->dim[2], width = x->dim[3], channels = x->dim[1], to = 0;
	for (int64_t r = 0; r < y->dim[0]; r++) {
		int64_t b = ref_get_i64(image, r);
		for (int64_t ch = 0; ch < channels; ch++)
			for (int64_t i = 0; i < y->dim[2]; i++)
				for (int64_t j = 0; j < y->dim[3]; j++, to++) {
					double row = sample(edge(box, r, 0), edge(box, r, 2), i, y->dim[2], height);
					double col = sample(edge(box, r, 1), edge(box, r, 3), j, y->dim[3], width);
					bool in = b >= 0 && b < x->dim[0] && row >= 0 && row <= (double)(height - 1) &&
					          col >= 0 && col <= (double)(width - 1);
					int64_t base = (b * channels + ch) * height * width;
					ref_put_f64(y, to, in ? pixel(x, base, row, col, nearest) : outside);
				}
	}
}

/* -- inverse -------------------------------------------------------------------------------------- */

enum { MAX_ROWS = 512 };

REF_INLINE double at(const RefTensor *y, int64_t base, int64_t n, int64_t i, int64_t j)
{
	return ref_get_f64(y, base + i * n + j);
}

static void swap(const RefTensor *y, int64_t i, int64_t j)
{
	double t = ref_get_f64(y, i);
	ref_put_f64(y, i, ref_get_f64(y, j));
	ref_put_f64(y, j, t);
}

/* Gauss and Jordan in place: column k of the matrix gives way to that of the inverse. */
static void eliminate(const RefTensor *y, int64_t base, int64_t n, int64_t k)
{
	double pivot = at(y, base, n, k, k);
	ref_put_f64(y, base + k * n + k, 1);
	for (int64_t j = 0; j < n; j++)
		ref_put_f64(y, base + k * n + j, at(y, base, n, k, j) / pivot);
	for (int64_t i = 0; i < n; i++) {
		double f = at(y, base, n, i, k);
		if (i == k)
			continue;
		ref_put_f64(y, base + i * n + k, 0);
		for (int64_t j = 0; j < n; j++)
			ref_put_f64(y, base + i * n + j, at(y, base, n, i, j) - f * at(y, base, n, k, j));
	}
}

static void invert(const RefTensor *y, int64_t base, int64_t n)
{
	int16_t moved[MAX_ROWS];
	for (int64_t k = 0; k < n; k++) {
		int64_t best = k;
		for (int64_t i = k + 1; i < n; i++)
			if (refm_abs(at(y, base, n, i, k)) > refm_abs(at(y, base, n, best, k)))
				best = i;
		moved[k] = (int16_t)best;
		for (int64_t j = 0; best != k && j < n; j++)
			swap(y, base + k * n + j, base + best * n + j);
		eliminate(y, base, n, k);
	}
	/* rows exchanged in the matrix are columns exchanged in its inverse */
	for (int64_t k = n; k-- > 0;)
		for (int64_t i = 0; moved[k] != k && i < n; i++)
			swap(y, base + i * n + k, base + i * n + moved[k]);
}

void ref_inverse(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t n = x->dim[x->rank - 1], matrices = ref_count_dims(x->dim, 0, x->rank - 2);
	ref_copy(y->data, 0, x->data, 0, matrices * n * n, ref_elem_bits(y->elem));
	for (int64_t m = 0; n <= MAX_ROWS && m < matrices; m++)
		invert(y, m * n * n, n);
}
