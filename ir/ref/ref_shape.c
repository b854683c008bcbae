/* ir/ref/ref_shape.c -- operators computed from shapes and scalars alone. */
#include "ir/ref/ref_elem.h"

void ref_shape(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t start = c->attr[ATTR_shape_start].i;
	start = start < 0 ? start + x->rank : start;
	start = start < 0 ? 0 : start;
	for (int64_t i = 0, n = ref_count(y); i < n; i++)
		((int64_t *)y->data)[i] = x->dim[start + i];
}

void ref_constant_of_shape(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	double value = c->attr[ATTR_constant_of_shape_value].f;
	for (int64_t i = 0, n = ref_count(y); i < n; i++)
		ref_put_f64(y, i, value);
}

void ref_range(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	int64_t n = ref_count(y);
	if (ref_is_float(y->elem)) {
		double start = ref_get_f64(&c->in[0], 0), delta = ref_get_f64(&c->in[2], 0);
		for (int64_t i = 0; i < n; i++)
			ref_put_f64(y, i, start + (double)i * delta);
	} else {
		int64_t start = ref_get_i64(&c->in[0], 0), delta = ref_get_i64(&c->in[2], 0);
		for (int64_t i = 0; i < n; i++)
			ref_put_i64(y, i, (int64_t)((uint64_t)start + (uint64_t)i * (uint64_t)delta));
	}
}
