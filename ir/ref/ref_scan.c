/* ir/ref/ref_scan.c -- running sums and products along an axis. */
#include "ir/ref/ref_elem.h"

/* One line of n elements `step` apart, from `at` on; a negative step runs backwards. */
REF_INLINE void scan_f64(const RefTensor *x, const RefTensor *y, int64_t at, int64_t n, int64_t step,
                         bool exclusive, bool product)
{
	double acc = product ? 1 : 0;
	for (int64_t k = 0; k < n; k++, at += step) {
		double v = ref_get_f64(x, at), before = acc;
		acc = product ? acc * v : acc + v;
		ref_put_f64(y, at, exclusive ? before : acc);
	}
}

REF_INLINE void scan_i64(const RefTensor *x, const RefTensor *y, int64_t at, int64_t n, int64_t step,
                         bool exclusive, bool product)
{
	uint64_t acc = product ? 1 : 0;
	for (int64_t k = 0; k < n; k++, at += step) {
		uint64_t v = (uint64_t)ref_get_i64(x, at), before = acc;
		acc = product ? acc * v : acc + v;
		ref_put_i64(y, at, (int64_t)(exclusive ? before : acc));
	}
}

/* The axis is an operand; one outside the rank counts as the nearest inside. */
REF_INLINE void scan(const RefCall *c, bool exclusive, bool reverse, bool product)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	if (x->rank == 0) {
		scan_f64(x, y, 0, 1, 1, exclusive, product);
		return;
	}
	int64_t a = ref_get_i64(&c->in[1], 0);
	a = a < 0 ? a + x->rank : a;
	int axis = a < 0 ? 0 : a >= x->rank ? x->rank - 1 : (int)a;
	int64_t n = x->dim[axis], inner = ref_count_dims(x->dim, axis + 1, x->rank);
	int64_t outer = ref_count_dims(x->dim, 0, axis), step = reverse ? -inner : inner;
	for (int64_t o = 0; n > 0 && o < outer; o++)
		for (int64_t i = 0; i < inner; i++) {
			int64_t first = (o * n + (reverse ? n - 1 : 0)) * inner + i;
			if (ref_is_float(x->elem))
				scan_f64(x, y, first, n, step, exclusive, product);
			else
				scan_i64(x, y, first, n, step, exclusive, product);
		}
}

void ref_cum_sum(const RefCall *c)
{
	scan(c, c->attr[ATTR_cum_sum_exclusive].i != 0, c->attr[ATTR_cum_sum_reverse].i != 0, false);
}

void ref_cum_prod(const RefCall *c)
{
	scan(c, c->attr[ATTR_cum_prod_exclusive].i != 0, c->attr[ATTR_cum_prod_reverse].i != 0, true);
}
