/* ir/ref/ref_unary.c -- elementwise operators with one operand (and clip). */
#include "ir/ref/ref_elem.h"

/* f64: the function, p: its parameters.  i64: the same on integers, NULL: by way of f64. */
typedef double UnaryF64(double x, const double *p);
typedef int64_t UnaryI64(int64_t x, bool is_unsigned);

REF_INLINE void unary(const RefCall *c, UnaryF64 *f64, const double *p, UnaryI64 *i64)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t n = ref_count(y);
	if (x->elem == EL_f32) {
		const float *a = x->data;
		float *r = y->data;
		for (int64_t i = 0; i < n; i++)
			r[i] = (float)f64(a[i], p);
	} else if (i64 && !ref_is_float(x->elem)) {
		bool u = ref_is_unsigned(x->elem);
		for (int64_t i = 0; i < n; i++)
			ref_put_i64(y, i, i64(ref_get_i64(x, i), u));
	} else {
		for (int64_t i = 0; i < n; i++)
			ref_put_f64(y, i, f64(ref_get_f64(x, i), p));
	}
}

/* Where float32 arithmetic gives the same result, without a detour. */
typedef float UnaryF32(float x, float p, float q);

REF_INLINE void unary_f32(const RefCall *c, UnaryF32 *f32, float p, float q)
{
	const float *x = c->in[0].data;
	float *y = c->out[0].data;
	for (int64_t i = 0, n = ref_count(&c->out[0]); i < n; i++)
		y[i] = f32(x[i], p, q);
}

REF_INLINE double relu(double x, const double *p)
{
	(void)p;
	return x < 0 ? 0 : x;
}

REF_INLINE int64_t relu_i(int64_t x, bool is_unsigned) { return !is_unsigned && x < 0 ? 0 : x; }

REF_INLINE float clip_f(float x, float lo, float hi)
{
	float v = x < lo ? lo : x;
	return v > hi ? hi : v;
}

/* Not inlined: with variable bounds compilers take min and max instructions, not branches. */
static __attribute__((noinline)) void clip_f32(const RefCall *c, float lo, float hi)
{
	unary_f32(c, clip_f, lo, hi);
}

void ref_relu(const RefCall *c)
{
	if (c->in[0].elem == EL_f32)
		clip_f32(c, 0, (float)refm_inf());
	else
		unary(c, relu, NULL, relu_i);
}

REF_INLINE double leaky_relu(double x, const double *p) { return x < 0 ? p[0] * x : x; }

REF_INLINE float leaky_relu_f(float x, float p, float q)
{
	(void)q;
	return x < 0 ? p * x : x;
}

void ref_leaky_relu(const RefCall *c)
{
	const double *alpha = &c->attr[ATTR_leaky_relu_alpha].f;
	if (c->in[0].elem == EL_f32 && (double)(float)*alpha == *alpha)
		unary_f32(c, leaky_relu_f, (float)*alpha, 0);
	else
		unary(c, leaky_relu, alpha, NULL);
}

REF_INLINE double sigmoid(double x, const double *p)
{
	(void)p;
	return refm_sigmoid(x);
}

void ref_sigmoid(const RefCall *c) { unary(c, sigmoid, NULL, NULL); }

REF_INLINE double clamp01(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }

REF_INLINE double hard_sigmoid(double x, const double *p) { return clamp01(p[0] * x + p[1]); }

void ref_hard_sigmoid(const RefCall *c)
{
	double p[2] = {c->attr[ATTR_hard_sigmoid_alpha].f, c->attr[ATTR_hard_sigmoid_beta].f};
	unary(c, hard_sigmoid, p, NULL);
}

REF_INLINE double hard_swish(double x, const double *p)
{
	(void)p;
	return x * clamp01(x / 6.0 + 0.5);
}

void ref_hard_swish(const RefCall *c) { unary(c, hard_swish, NULL, NULL); }

REF_INLINE double swish(double x, const double *p) { return x * refm_sigmoid(p[0] * x); }

void ref_swish(const RefCall *c) { unary(c, swish, &c->attr[ATTR_swish_alpha].f, NULL); }

REF_INLINE double gelu_erf(double x, const double *p)
{
	(void)p;
	return 0.5 * x * (1.0 + refm_erf(x * 0.70710678118654752));
}

REF_INLINE double gelu_tanh(double x, const double *p)
{
	(void)p;
	return 0.5 * x * (1.0 + refm_tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
}

void ref_gelu(const RefCall *c)
{
	if (ref_text_is(c->attr[ATTR_gelu_approximate].s, "tanh"))
		unary(c, gelu_tanh, NULL, NULL);
	else
		unary(c, gelu_erf, NULL, NULL);
}

/* log(1 + e**x), without overflow. */
REF_INLINE double softplus(double x, const double *p)
{
	(void)p;
	return x > 0 ? x + refm_log1p(refm_exp(-x)) : refm_log1p(refm_exp(x));
}

void ref_softplus(const RefCall *c) { unary(c, softplus, NULL, NULL); }

REF_INLINE double mish(double x, const double *p) { return x * refm_tanh(softplus(x, p)); }

void ref_mish(const RefCall *c) { unary(c, mish, NULL, NULL); }

REF_INLINE double elu(double x, const double *p) { return x < 0 ? p[0] * refm_expm1(x) : x; }

void ref_elu(const RefCall *c) { unary(c, elu, &c->attr[ATTR_elu_alpha].f, NULL); }

REF_INLINE double selu(double x, const double *p) { return p[1] * (x <= 0 ? p[0] * refm_expm1(x) : x); }

void ref_selu(const RefCall *c)
{
	double p[2] = {c->attr[ATTR_selu_alpha].f, c->attr[ATTR_selu_gamma].f};
	unary(c, selu, p, NULL);
}

REF_INLINE double softsign(double x, const double *p)
{
	(void)p;
	return x / (1.0 + refm_abs(x));
}

void ref_softsign(const RefCall *c) { unary(c, softsign, NULL, NULL); }

REF_INLINE double tanh_(double x, const double *p)
{
	(void)p;
	return refm_tanh(x);
}

void ref_tanh(const RefCall *c) { unary(c, tanh_, NULL, NULL); }

REF_INLINE double exp_(double x, const double *p)
{
	(void)p;
	return refm_exp(x);
}

void ref_exp(const RefCall *c) { unary(c, exp_, NULL, NULL); }

REF_INLINE double log_(double x, const double *p)
{
	(void)p;
	return refm_log(x);
}

void ref_log(const RefCall *c) { unary(c, log_, NULL, NULL); }

REF_INLINE double sqrt_(double x, const double *p)
{
	(void)p;
	return refm_sqrt(x);
}

void ref_sqrt(const RefCall *c) { unary(c, sqrt_, NULL, NULL); }

REF_INLINE double reciprocal(double x, const double *p)
{
	(void)p;
	return 1.0 / x;
}

void ref_reciprocal(const RefCall *c) { unary(c, reciprocal, NULL, NULL); }

REF_INLINE double erf_(double x, const double *p)
{
	(void)p;
	return refm_erf(x);
}

void ref_erf(const RefCall *c) { unary(c, erf_, NULL, NULL); }

REF_INLINE double sin_(double x, const double *p)
{
	(void)p;
	return refm_sin(x);
}

void ref_sin(const RefCall *c) { unary(c, sin_, NULL, NULL); }

REF_INLINE double cos_(double x, const double *p)
{
	(void)p;
	return refm_cos(x);
}

void ref_cos(const RefCall *c) { unary(c, cos_, NULL, NULL); }

REF_INLINE double abs_(double x, const double *p)
{
	(void)p;
	return refm_abs(x);
}

REF_INLINE int64_t abs_i(int64_t x, bool is_unsigned)
{
	return is_unsigned || x >= 0 ? x : (int64_t)-(uint64_t)x;
}

void ref_abs(const RefCall *c) { unary(c, abs_, NULL, abs_i); }

REF_INLINE double neg(double x, const double *p)
{
	(void)p;
	return -x;
}

REF_INLINE int64_t neg_i(int64_t x, bool is_unsigned)
{
	(void)is_unsigned;
	return (int64_t)-(uint64_t)x;
}

void ref_neg(const RefCall *c) { unary(c, neg, NULL, neg_i); }

REF_INLINE double sign(double x, const double *p)
{
	(void)p;
	return x > 0 ? 1.0 : x < 0 ? -1.0 : x;
}

REF_INLINE int64_t sign_i(int64_t x, bool is_unsigned)
{
	return is_unsigned ? x != 0 : (x > 0) - (x < 0);
}

void ref_sign(const RefCall *c) { unary(c, sign, NULL, sign_i); }

/* Rounding leaves integers as they are. */
REF_INLINE int64_t same_i(int64_t x, bool is_unsigned)
{
	(void)is_unsigned;
	return x;
}

REF_INLINE double floor_(double x, const double *p)
{
	(void)p;
	return refm_floor(x);
}

void ref_floor(const RefCall *c) { unary(c, floor_, NULL, same_i); }

REF_INLINE double ceil_(double x, const double *p)
{
	(void)p;
	return refm_ceil(x);
}

void ref_ceil(const RefCall *c) { unary(c, ceil_, NULL, same_i); }

REF_INLINE double round_(double x, const double *p)
{
	(void)p;
	return refm_rint(x);
}

void ref_round(const RefCall *c) { unary(c, round_, NULL, same_i); }

void ref_not(const RefCall *c)
{
	const uint8_t *x = c->in[0].data;
	uint8_t *y = c->out[0].data;
	for (int64_t i = 0, n = ref_count(&c->out[0]); i < n; i++)
		y[i] = !x[i];
}

static void copy_all(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	if (y->data != c->in[0].data)
		ref_copy(y->data, 0, c->in[0].data, 0, ref_count(y), ref_elem_bits(y->elem));
}

void ref_identity(const RefCall *c) { copy_all(c); }

void ref_relayout(const RefCall *c) { copy_all(c); }

static RefRound round_mode(const char *s)
{
	return ref_text_is(s, "down") ? REF_ROUND_DOWN : ref_text_is(s, "nearest") ? REF_ROUND_NEAREST : REF_ROUND_UP;
}

/* Integers to integers, and floats to integers of fewer than 8 bits, keep the low bits; everything
 * else goes by way of float64, or from integers straight to float32, so that there is one rounding. */
void ref_cast(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t n = ref_count(y);
	bool saturate = c->attr[ATTR_cast_saturate].i != 0;
	RefRound mode = round_mode(c->attr[ATTR_cast_round_mode].s);
	bool wrap = !ref_is_float(y->elem) && (!ref_is_float(x->elem) || ref_elem_bits(y->elem) < 8);
	if (x->elem == y->elem) {
		copy_all(c);
	} else if (wrap) {
		for (int64_t i = 0; i < n; i++)
			ref_put_i64(y, i, ref_get_i64(x, i));
	} else if (!ref_is_float(x->elem) && y->elem == EL_f32) {
		for (int64_t i = 0; i < n; i++) {
			int64_t v = ref_get_i64(x, i);
			((float *)y->data)[i] = x->elem == EL_u64 ? (float)(uint64_t)v : (float)v;
		}
	} else if (y->elem == EL_f8e8m0) {
		for (int64_t i = 0; i < n; i++)
			ref_put_e8m0(y, i, ref_get_f64(x, i), saturate, mode);
	} else {
		for (int64_t i = 0; i < n; i++)
			ref_put_cast(y, i, ref_get_f64(x, i), saturate);
	}
}

/* Unordered bounds follow numpy: the upper one is applied last. */
void ref_clip(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0], *lo = ref_in(c, 1), *hi = ref_in(c, 2);
	int64_t n = ref_count(y);
	if (ref_is_float(x->elem)) {
		double a = lo ? ref_get_f64(lo, 0) : -refm_inf(), b = hi ? ref_get_f64(hi, 0) : refm_inf();
		if (x->elem == EL_f32) {
			clip_f32(c, (float)a, (float)b);
			return;
		}
		for (int64_t i = 0; i < n; i++) {
			double v = ref_get_f64(x, i);
			v = v < a ? a : v;
			v = v > b ? b : v;
			ref_put_f64(y, i, v);
		}
		return;
	}
	uint64_t flip = x->elem == EL_u64 ? UINT64_C(1) << 63 : 0; /* orders unsigned as signed */
	int64_t a = lo ? (int64_t)((uint64_t)ref_get_i64(lo, 0) ^ flip) : INT64_MIN;
	int64_t b = hi ? (int64_t)((uint64_t)ref_get_i64(hi, 0) ^ flip) : INT64_MAX;
	for (int64_t i = 0; i < n; i++) {
		int64_t v = (int64_t)((uint64_t)ref_get_i64(x, i) ^ flip);
		v = v < a ? a : v;
		v = v > b ? b : v;
		ref_put_i64(y, i, (int64_t)((uint64_t)v ^ flip));
	}
}
