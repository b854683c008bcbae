/* ir/ref/ref_reduce.c -- reductions over axes.
 *
 * Floating sums are kept in float64.  An empty reduction gives the neutral element. */
#include "ir/ref/ref_elem.h"

/* Kept dimensions form the outer nest, reduced ones the inner. */
typedef struct Split { RefNest kept, reduced; int64_t n; } Split;

/* No row is kept, and y is zero, when axes do not leave y's shape. */
static void split(Split *s, const RefTensor *x, const bool *reduce, const RefTensor *y)
{
	int64_t stride[REF_MAX_RANK], kd[REF_MAX_RANK], ks[REF_MAX_RANK], rd[REF_MAX_RANK], rs[REF_MAX_RANK];
	int nk = 0, nr = 0;
	kd[0] = rd[0] = 1;
	ref_strides(x->dim, x->rank, stride);
	for (int d = 0; d < x->rank; d++) {
		if (reduce[d]) {
			rd[nr] = x->dim[d];
			rs[nr++] = stride[d];
		} else {
			kd[nk] = x->dim[d];
			ks[nk++] = stride[d];
		}
	}
	const int64_t *pk = ks, *pr = rs;
	ref_nest(&s->kept, nk, kd, 1, &pk);
	ref_nest(&s->reduced, nr, rd, 1, &pr);
	s->n = ref_count_dims(rd, 0, nr);
	if (ref_count_dims(kd, 0, nk) != ref_count(y)) {
		s->kept.rows = 0;
		ref_zero(y->data, 0, ref_count(y), ref_elem_bits(y->elem));
	}
}

static void axes_of(const RefCall *c, int noop_slot, bool *reduce)
{
	const RefTensor *x = &c->in[0], *axes = ref_in(c, 1);
	int64_t n = axes ? ref_count(axes) : 0;
	bool all = n == 0 && !c->attr[noop_slot].i;
	for (int d = 0; d < x->rank; d++)
		reduce[d] = all;
	for (int64_t i = 0; i < n; i++) {
		int64_t d = ref_wrap(ref_get_i64(axes, i), x->rank);
		if (d >= 0)
			reduce[d] = true;
	}
}

typedef double StepF64(double acc, double x);
typedef int64_t StepI64(int64_t acc, int64_t x, bool is_unsigned);
typedef double EndF64(double acc, int64_t n);
typedef int64_t EndI64(int64_t acc, int64_t n, bool is_unsigned);

REF_INLINE double fold_f64(const RefTensor *x, int64_t base, RefNest *r, double acc, StepF64 *step)
{
	int64_t n = r->dim[r->rank - 1], stride = r->stride[0][r->rank - 1];
	for (ref_nest_restart(r); r->rows > 0; ref_nest_next(r)) {
		int64_t at = base + r->offset[0];
		if (x->elem == EL_f32) {
			const float *p = (const float *)x->data + at;
			for (int64_t i = 0; i < n; i++)
				acc = step(acc, p[i * stride]);
		} else {
			for (int64_t i = 0; i < n; i++)
				acc = step(acc, ref_get_f64(x, at + i * stride));
		}
	}
	return acc;
}

REF_INLINE int64_t fold_i64(const RefTensor *x, int64_t base, RefNest *r, int64_t acc, bool is_unsigned,
                            StepI64 *step)
{
	int64_t n = r->dim[r->rank - 1], stride = r->stride[0][r->rank - 1];
	for (ref_nest_restart(r); r->rows > 0; ref_nest_next(r))
		for (int64_t i = 0; i < n; i++)
			acc = step(acc, ref_get_i64(x, base + r->offset[0] + i * stride), is_unsigned);
	return acc;
}

REF_INLINE void reduce(const RefCall *c, int noop_slot, double start, StepF64 *step, EndF64 *end,
                       int64_t start_i, StepI64 *step_i, EndI64 *end_i)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	bool axes[REF_MAX_RANK], is_float = ref_is_float(x->elem), u = ref_is_unsigned(x->elem);
	Split s;
	int64_t to = 0;
	axes_of(c, noop_slot, axes);
	split(&s, x, axes, y);
	int64_t n = s.kept.dim[s.kept.rank - 1], stride = s.kept.stride[0][s.kept.rank - 1];
	for (; s.kept.rows > 0; ref_nest_next(&s.kept))
		for (int64_t j = 0; j < n; j++) {
			int64_t base = s.kept.offset[0] + j * stride;
			if (is_float) {
				ref_put_f64(y, to++, end(fold_f64(x, base, &s.reduced, start, step), s.n));
				continue;
			}
			int64_t acc = fold_i64(x, base, &s.reduced, start_i, u, step_i);
			ref_put_i64(y, to++, end_i(acc, s.n, u));
		}
}

REF_INLINE double same(double acc, int64_t n)
{
	(void)n;
	return acc;
}

REF_INLINE int64_t same_i(int64_t acc, int64_t n, bool is_unsigned)
{
	(void)n;
	(void)is_unsigned;
	return acc;
}

REF_INLINE double sum(double acc, double x) { return acc + x; }
REF_INLINE int64_t sum_i(int64_t acc, int64_t x, bool is_unsigned)
{
	(void)is_unsigned;
	return (int64_t)((uint64_t)acc + (uint64_t)x);
}

void ref_reduce_sum(const RefCall *c)
{
	reduce(c, ATTR_reduce_sum_noop_with_empty_axes, 0, sum, same, 0, sum_i, same_i);
}

REF_INLINE double mean(double acc, int64_t n) { return acc / (double)n; }
REF_INLINE int64_t mean_i(int64_t acc, int64_t n, bool is_unsigned)
{
	if (n == 0)
		return 0;
	return is_unsigned ? (int64_t)((uint64_t)acc / (uint64_t)n) : acc / n;
}

void ref_reduce_mean(const RefCall *c)
{
	reduce(c, ATTR_reduce_mean_noop_with_empty_axes, 0, sum, mean, 0, sum_i, mean_i);
}

REF_INLINE double larger(double acc, double x) { return x > acc || x != x ? x : acc; }
REF_INLINE int64_t larger_i(int64_t acc, int64_t x, bool is_unsigned)
{
	return (is_unsigned ? (uint64_t)x > (uint64_t)acc : x > acc) ? x : acc;
}

void ref_reduce_max(const RefCall *c)
{
	reduce(c, ATTR_reduce_max_noop_with_empty_axes, -refm_inf(), larger, same,
	       ref_int_min(c->in[0].elem), larger_i, same_i);
}

REF_INLINE double smaller(double acc, double x) { return x < acc || x != x ? x : acc; }
REF_INLINE int64_t smaller_i(int64_t acc, int64_t x, bool is_unsigned)
{
	return (is_unsigned ? (uint64_t)x < (uint64_t)acc : x < acc) ? x : acc;
}

void ref_reduce_min(const RefCall *c)
{
	int elem = c->in[0].elem;
	reduce(c, ATTR_reduce_min_noop_with_empty_axes, refm_inf(), smaller, same,
	       elem == EL_u64 ? -1 : ref_int_max(elem), smaller_i, same_i);
}

REF_INLINE double prod(double acc, double x) { return acc * x; }
REF_INLINE int64_t prod_i(int64_t acc, int64_t x, bool is_unsigned)
{
	(void)is_unsigned;
	return (int64_t)((uint64_t)acc * (uint64_t)x);
}

void ref_reduce_prod(const RefCall *c)
{
	reduce(c, ATTR_reduce_prod_noop_with_empty_axes, 1, prod, same, 1, prod_i, same_i);
}

REF_INLINE double squares(double acc, double x) { return acc + x * x; }
REF_INLINE int64_t squares_i(int64_t acc, int64_t x, bool is_unsigned)
{
	(void)is_unsigned;
	return (int64_t)((uint64_t)acc + (uint64_t)x * (uint64_t)x);
}
REF_INLINE double root(double acc, int64_t n)
{
	(void)n;
	return refm_sqrt(acc);
}
REF_INLINE int64_t root_i(int64_t acc, int64_t n, bool is_unsigned)
{
	(void)n;
	(void)is_unsigned;
	return (int64_t)refm_sqrt((double)acc);
}

void ref_reduce_l2(const RefCall *c)
{
	reduce(c, ATTR_reduce_l2_noop_with_empty_axes, 0, squares, root, 0, squares_i, root_i);
}

/* The largest element is taken out of the exponent, so that nothing overflows. */
static double log_sum_exp(const RefTensor *x, int64_t base, RefNest *r)
{
	double max = fold_f64(x, base, r, -refm_inf(), larger), sum = 0;
	int64_t n = r->dim[r->rank - 1], stride = r->stride[0][r->rank - 1];
	if (refm_abs(max) == refm_inf() || refm_isnan(max))
		return max;
	for (ref_nest_restart(r); r->rows > 0; ref_nest_next(r))
		for (int64_t i = 0; i < n; i++)
			sum += refm_exp(ref_get_f64(x, base + r->offset[0] + i * stride) - max);
	return max + refm_log(sum);
}

void ref_reduce_log_sum_exp(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	bool axes[REF_MAX_RANK];
	Split s;
	int64_t to = 0;
	axes_of(c, ATTR_reduce_log_sum_exp_noop_with_empty_axes, axes);
	split(&s, x, axes, y);
	int64_t n = s.kept.dim[s.kept.rank - 1], stride = s.kept.stride[0][s.kept.rank - 1];
	for (; s.kept.rows > 0; ref_nest_next(&s.kept))
		for (int64_t j = 0; j < n; j++)
			ref_put_f64(y, to++, log_sum_exp(x, s.kept.offset[0] + j * stride, &s.reduced));
}

/* Whether element i beats element j; NaN beats everything but NaN. */
static bool beats(const RefTensor *x, int64_t i, int64_t j, bool max)
{
	if (ref_is_float(x->elem)) {
		double a = ref_get_f64(x, i), b = ref_get_f64(x, j);
		if (a != a || b != b)
			return a != a && b == b;
		return max ? a > b : a < b;
	}
	int64_t a = ref_get_i64(x, i), b = ref_get_i64(x, j);
	if (ref_is_unsigned(x->elem))
		return max ? (uint64_t)a > (uint64_t)b : (uint64_t)a < (uint64_t)b;
	return max ? a > b : a < b;
}

static void arg_reduce(const RefCall *c, int64_t axis_attr, bool select_last, bool max)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int axis = ref_axis(axis_attr, x->rank);
	int64_t n = x->dim[axis], inner = ref_count_dims(x->dim, axis + 1, x->rank);
	int64_t outer = ref_count_dims(x->dim, 0, axis), to = 0;
	for (int64_t o = 0; o < outer; o++)
		for (int64_t i = 0; i < inner; i++) {
			int64_t base = o * n * inner + i, best = 0;
			for (int64_t k = 1; k < n; k++) {
				bool better = beats(x, base + k * inner, base + best * inner, max);
				if (better ||
				    (select_last && !beats(x, base + best * inner, base + k * inner, max)))
					best = k;
			}
			((int64_t *)y->data)[to++] = best;
		}
}

void ref_arg_max(const RefCall *c)
{
	arg_reduce(c, c->attr[ATTR_arg_max_axis].i, c->attr[ATTR_arg_max_select_last_index].i != 0, true);
}

void ref_arg_min(const RefCall *c)
{
	arg_reduce(c, c->attr[ATTR_arg_min_axis].i, c->attr[ATTR_arg_min_select_last_index].i != 0, false);
}
