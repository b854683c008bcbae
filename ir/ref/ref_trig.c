/* ir/ref/ref_trig.c -- trigonometric and hyperbolic functions, tests of floats, and shrink. */
#include "ir/ref/ref_elem.h"

typedef double Function(double x);

REF_INLINE void map(const RefCall *c, Function *f)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t n = ref_count(y);
	if (x->elem == EL_f32)
		for (int64_t i = c->part; i < n; i += ref_step(c))
			((float *)y->data)[i] = (float)f(((const float *)x->data)[i]);
	else
		for (int64_t i = c->part; i < n; i += ref_step(c))
			ref_put_f64(y, i, f(ref_get_f64(x, i)));
}

void ref_acos(const RefCall *c) { map(c, refm_acos); }
void ref_acosh(const RefCall *c) { map(c, refm_acosh); }
void ref_asin(const RefCall *c) { map(c, refm_asin); }
void ref_asinh(const RefCall *c) { map(c, refm_asinh); }
void ref_atan(const RefCall *c) { map(c, refm_atan); }
void ref_atanh(const RefCall *c) { map(c, refm_atanh); }
void ref_cosh(const RefCall *c) { map(c, refm_cosh); }
void ref_sinh(const RefCall *c) { map(c, refm_sinh); }
void ref_tan(const RefCall *c) { map(c, refm_tan); }

void ref_is_nan(const RefCall *c)
{
	uint8_t *y = c->out[0].data;
	for (int64_t i = 0, n = ref_count(&c->out[0]); i < n; i++)
		y[i] = refm_isnan(ref_get_f64(&c->in[0], i));
}

void ref_is_inf(const RefCall *c)
{
	bool negative = c->attr[ATTR_is_inf_detect_negative].i != 0;
	bool positive = c->attr[ATTR_is_inf_detect_positive].i != 0;
	uint8_t *y = c->out[0].data;
	for (int64_t i = 0, n = ref_count(&c->out[0]); i < n; i++) {
		double x = ref_get_f64(&c->in[0], i);
		y[i] = (positive && x == refm_inf()) || (negative && x == -refm_inf());
	}
}

/* Integers go by way of float64: the bounds need not be whole. */
void ref_shrink(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	double bias = c->attr[ATTR_shrink_bias].f, bound = c->attr[ATTR_shrink_lambd].f;
	for (int64_t i = 0, n = ref_count(y); i < n; i++) {
		double v = ref_get_f64(x, i);
		ref_put_f64(y, i, v < -bound ? v + bias : v > bound ? v - bias : 0);
	}
}
