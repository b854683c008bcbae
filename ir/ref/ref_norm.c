/* ir/ref/ref_norm.c -- softmax, hardmax; layer, root-mean-square, Lp and batch normalisation. */
#include "ir/ref/ref_elem.h"

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

/* One row of n elements `step` apart. */
REF_INLINE void softmax_row(const RefTensor *x, const RefTensor *y, int64_t base, int64_t n, int64_t step,
                            bool logarithm, bool f32)
{
	double max = -refm_inf(), sum = 0;
	for (int64_t k = 0; k < n; k++) {
		double v = load(x, base + k * step, f32);
		max = v > max || v != v ? v : max;
	}
	for (int64_t k = 0; k < n; k++) {
		double e = refm_exp(load(x, base + k * step, f32) - max);
		sum += e;
		if (!logarithm)
			store(y, base + k * step, e, f32);
	}
	double log_sum = logarithm ? refm_log(sum) : 0, scale = 1.0 / sum;
	for (int64_t k = 0; k < n; k++) {
		int64_t i = base + k * step;
		if (logarithm)
			store(y, i, load(x, i, f32) - max - log_sum, f32);
		else if (f32)
			store(y, i, load(y, i, f32) * scale, f32);
		else
			store(y, i, refm_exp(load(x, i, f32) - max) * scale, f32);
	}
}

REF_INLINE void softmax(const RefCall *c, int64_t axis_attr, bool logarithm)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int axis = ref_axis(axis_attr, x->rank);
	if (x->rank == 0) {
		ref_put_f64(y, 0, logarithm ? 0 : 1);
		return;
	}
	int64_t n = x->dim[axis], inner = ref_count_dims(x->dim, axis + 1, x->rank);
	int64_t outer = ref_count_dims(x->dim, 0, axis);
	/* Outside float32 results are coarser than exp: it is computed twice, y cannot keep it; so
	 * operand and result must not be the same memory then. */
	for (int64_t o = 0; o < outer; o++)
		for (int64_t i = 0; i < inner; i++)
			if (x->elem == EL_f32)
				softmax_row(x, y, o * n * inner + i, n, inner, logarithm, true);
			else
				softmax_row(x, y, o * n * inner + i, n, inner, logarithm, false);
}

void ref_softmax(const RefCall *c) { softmax(c, c->attr[ATTR_softmax_axis].i, false); }
void ref_log_softmax(const RefCall *c) { softmax(c, c->attr[ATTR_log_softmax_axis].i, true); }

/* Offset in t (which broadcasts to the last dimensions of x) of element k of a row of x. */
static int64_t broadcast_offset(const RefTensor *t, const RefTensor *x, int axis, int64_t k)
{
	int64_t at = 0, step = 1;
	for (int d = x->rank; d-- > axis; k /= x->dim[d]) {
		int e = d - (x->rank - t->rank);
		if (e < 0)
			break;
		if (t->dim[e] != 1)
			at += k % x->dim[d] * step;
		step *= t->dim[e];
	}
	return at;
}

/* scale or bias: f32 and of the row's length in the common case. */
REF_INLINE double row_param(const RefTensor *t, const RefTensor *x, int axis, int64_t k, bool plain)
{
	return plain ? ((const float *)t->data)[k] : ref_get_f64(t, broadcast_offset(t, x, axis, k));
}

void ref_layer_norm(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *scale = &c->in[1], *bias = ref_in(c, 2), *y = &c->out[0];
	const RefTensor *out_mean = ref_out(c, 1), *out_inv = ref_out(c, 2);
	int axis = ref_axis(c->attr[ATTR_layer_norm_axis].i, x->rank);
	int64_t n = ref_count_dims(x->dim, axis, x->rank), rows = ref_count_dims(x->dim, 0, axis);
	double epsilon = c->attr[ATTR_layer_norm_epsilon].f;
	bool f32 = x->elem == EL_f32;
	bool plain_s = scale->elem == EL_f32 && ref_count(scale) == n;
	bool plain_b = bias && bias->elem == EL_f32 && ref_count(bias) == n;
	for (int64_t r = 0, base = 0; r < rows; r++, base += n) {
		double sum = 0, squares = 0;
		for (int64_t k = 0; k < n; k++)
			sum += load(x, base + k, f32);
		double mean = sum / (double)n;
		for (int64_t k = 0; k < n; k++) {
			double d = load(x, base + k, f32) - mean;
			squares += d * d;
		}
		double inv = 1.0 / refm_sqrt(squares / (double)n + epsilon);
		for (int64_t k = 0; k < n; k++) {
			double v = (load(x, base + k, f32) - mean) * inv * row_param(scale, x, axis, k, plain_s);
			store(y, base + k, bias ? v + row_param(bias, x, axis, k, plain_b) : v, f32);
		}
		if (out_mean)
			ref_put_f64(out_mean, r, mean);
		if (out_inv)
			ref_put_f64(out_inv, r, inv);
	}
}

void ref_rms_norm(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *scale = &c->in[1], *y = &c->out[0];
	int axis = ref_axis(c->attr[ATTR_rms_norm_axis].i, x->rank);
	int64_t n = ref_count_dims(x->dim, axis, x->rank), rows = ref_count_dims(x->dim, 0, axis);
	double epsilon = c->attr[ATTR_rms_norm_epsilon].f;
	bool f32 = x->elem == EL_f32, to_f32 = y->elem == EL_f32;
	bool plain = scale->elem == EL_f32 && ref_count(scale) == n;
	for (int64_t r = 0, base = 0; r < rows; r++, base += n) {
		double squares = 0;
		for (int64_t k = 0; k < n; k++) {
			double v = load(x, base + k, f32);
			squares += v * v;
		}
		double inv = 1.0 / refm_sqrt(squares / (double)n + epsilon);
		for (int64_t k = 0; k < n; k++)
			store(y, base + k, load(x, base + k, f32) * inv * row_param(scale, x, axis, k, plain),
			      to_f32);
	}
}

/* Lines of n elements `step` apart: the i-th starts here. */
REF_INLINE int64_t line_start(int64_t i, int64_t n, int64_t step)
{
	return i / step * n * step + i % step;
}

/* 1 at the first maximum, 0 elsewhere. */
void ref_hardmax(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int axis = x->rank ? ref_axis(c->attr[ATTR_hardmax_axis].i, x->rank) : 0;
	int64_t n = x->rank ? x->dim[axis] : 1, step = ref_count_dims(x->dim, axis + 1, x->rank);
	for (int64_t i = 0, lines = n ? ref_count(x) / n : 0; i < lines; i++) {
		int64_t base = line_start(i, n, step), best = 0;
		for (int64_t k = 1; k < n; k++)
			if (ref_get_f64(x, base + k * step) > ref_get_f64(x, base + best * step))
				best = k;
		for (int64_t k = 0; k < n; k++)
			ref_put_f64(y, base + k * step, k == best);
	}
}

/* Lines of zeros stay zeros. */
void ref_lp_norm(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int axis = x->rank ? ref_axis(c->attr[ATTR_lp_norm_axis].i, x->rank) : 0;
	int64_t n = x->rank ? x->dim[axis] : 1, step = ref_count_dims(x->dim, axis + 1, x->rank);
	bool one = c->attr[ATTR_lp_norm_p].i == 1, f32 = x->elem == EL_f32;
	for (int64_t i = 0, lines = n ? ref_count(x) / n : 0; i < lines; i++) {
		int64_t base = line_start(i, n, step);
		double sum = 0;
		for (int64_t k = 0; k < n; k++) {
			double v = load(x, base + k * step, f32);
			sum += one ? refm_abs(v) : v * v;
		}
		double norm = one ? sum : refm_sqrt(sum);
		for (int64_t k = 0; k < n; k++)
			store(y, base + k * step, norm == 0 ? 0 : load(x, base + k * step, f32) / norm, f32);
	}
}

void ref_batch_norm(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	double epsilon = c->attr[ATTR_batch_norm_epsilon].f;
	int64_t channels = x->rank > 1 ? x->dim[1] : 1, n = ref_count_dims(x->dim, 2, x->rank);
	int64_t images = x->rank > 0 ? x->dim[0] : 1;
	bool f32 = x->elem == EL_f32;
	for (int64_t i = 0; i < images * channels; i++) {
		int64_t ch = i % channels;
		double factor = ref_get_f64(&c->in[1], ch) / refm_sqrt(ref_get_f64(&c->in[4], ch) + epsilon);
		double mean = ref_get_f64(&c->in[3], ch), bias = ref_get_f64(&c->in[2], ch);
		for (int64_t k = i * n; k < (i + 1) * n; k++)
			store(y, k, (load(x, k, f32) - mean) * factor + bias, f32);
	}
}
