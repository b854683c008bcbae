/* ir/ref/ref_binary.c -- elementwise operators with two broadcast operands, and where. */
#include "ir/ref/ref_elem.h"

/* The same function on floats, signed and unsigned integers. */
typedef float BinaryF32(float a, float b);
typedef double BinaryF64(double a, double b);
typedef int64_t BinaryI64(int64_t a, int64_t b, bool is_unsigned);

REF_INLINE void row_f32(float *r, const float *a, int64_t sa, const float *b, int64_t sb, int64_t n,
                        BinaryF32 *f)
{
	if (sa == 1 && sb == 1)
		for (int64_t i = 0; i < n; i++)
			r[i] = f(a[i], b[i]);
	else if (sa == 1 && sb == 0)
		for (int64_t i = 0; i < n; i++)
			r[i] = f(a[i], b[0]);
	else
		for (int64_t i = 0; i < n; i++)
			r[i] = f(a[i * sa], b[i * sb]);
}

REF_INLINE void row_i64(int64_t *r, const int64_t *a, int64_t sa, const int64_t *b, int64_t sb, int64_t n,
                        BinaryI64 *f)
{
	for (int64_t i = 0; i < n; i++)
		r[i] = f(a[i * sa], b[i * sb], false);
}

REF_INLINE void row_any(const RefTensor *r, int64_t to, const RefTensor *a, int64_t pa, int64_t sa,
                        const RefTensor *b, int64_t pb, int64_t sb, int64_t n, BinaryF64 *f, BinaryI64 *g)
{
	bool is_float = ref_is_float(a->elem), u = ref_is_unsigned(a->elem);
	for (int64_t i = 0; i < n; i++)
		if (is_float)
			ref_put_f64(r, to + i, f(ref_get_f64(a, pa + i * sa), ref_get_f64(b, pb + i * sb)));
		else
			ref_put_i64(r, to + i, g(ref_get_i64(a, pa + i * sa), ref_get_i64(b, pb + i * sb), u));
}

REF_INLINE void binary(const RefCall *c, BinaryF32 *f32, BinaryF64 *f64, BinaryI64 *i64)
{
	const RefTensor *a = &c->in[0], *b = &c->in[1], *r = &c->out[0];
	const RefTensor *in[2] = {a, b};
	RefNest s;
	ref_nest_broadcast(&s, r->rank, r->dim, 2, in);
	int64_t n = s.dim[s.rank - 1], to = 0;
	int64_t sa = s.stride[0][s.rank - 1], sb = s.stride[1][s.rank - 1];
	for (; s.rows > 0; ref_nest_next(&s), to += n) {
		int64_t pa = s.offset[0], pb = s.offset[1];
		if (r->elem == EL_f32)
			row_f32((float *)r->data + to, (const float *)a->data + pa, sa,
			        (const float *)b->data + pb, sb, n, f32);
		else if (r->elem == EL_i64)
			row_i64((int64_t *)r->data + to, (const int64_t *)a->data + pa, sa,
			        (const int64_t *)b->data + pb, sb, n, i64);
		else
			row_any(r, to, a, pa, sa, b, pb, sb, n, f64, i64);
	}
}

REF_INLINE float add_f(float a, float b) { return a + b; }
REF_INLINE double add_d(double a, double b) { return a + b; }
REF_INLINE int64_t add_i(int64_t a, int64_t b, bool is_unsigned)
{
	(void)is_unsigned;
	return (int64_t)((uint64_t)a + (uint64_t)b);
}

void ref_add(const RefCall *c) { binary(c, add_f, add_d, add_i); }

REF_INLINE float sub_f(float a, float b) { return a - b; }
REF_INLINE double sub_d(double a, double b) { return a - b; }
REF_INLINE int64_t sub_i(int64_t a, int64_t b, bool is_unsigned)
{
	(void)is_unsigned;
	return (int64_t)((uint64_t)a - (uint64_t)b);
}

void ref_sub(const RefCall *c) { binary(c, sub_f, sub_d, sub_i); }

REF_INLINE float mul_f(float a, float b) { return a * b; }
REF_INLINE double mul_d(double a, double b) { return a * b; }
REF_INLINE int64_t mul_i(int64_t a, int64_t b, bool is_unsigned)
{
	(void)is_unsigned;
	return (int64_t)((uint64_t)a * (uint64_t)b);
}

void ref_mul(const RefCall *c) { binary(c, mul_f, mul_d, mul_i); }

REF_INLINE float div_f(float a, float b) { return a / b; }
REF_INLINE double div_d(double a, double b) { return a / b; }

/* Truncates; a division by zero gives 0. */
REF_INLINE int64_t div_i(int64_t a, int64_t b, bool is_unsigned)
{
	if (b == 0)
		return 0;
	if (is_unsigned)
		return (int64_t)((uint64_t)a / (uint64_t)b);
	return b == -1 ? (int64_t)-(uint64_t)a : a / b;
}

void ref_div(const RefCall *c) { binary(c, div_f, div_d, div_i); }

REF_INLINE float max_f(float a, float b) { return a > b || a != a ? a : b; }
REF_INLINE double max_d(double a, double b) { return a > b || a != a ? a : b; }
REF_INLINE int64_t max_i(int64_t a, int64_t b, bool is_unsigned)
{
	return (is_unsigned ? (uint64_t)a > (uint64_t)b : a > b) ? a : b;
}

void ref_max(const RefCall *c) { binary(c, max_f, max_d, max_i); }

REF_INLINE float min_f(float a, float b) { return a < b || a != a ? a : b; }
REF_INLINE double min_d(double a, double b) { return a < b || a != a ? a : b; }
REF_INLINE int64_t min_i(int64_t a, int64_t b, bool is_unsigned)
{
	return (is_unsigned ? (uint64_t)a < (uint64_t)b : a < b) ? a : b;
}

void ref_min(const RefCall *c) { binary(c, min_f, min_d, min_i); }

REF_INLINE float fmod_f(float a, float b) { return (float)refm_fmod(a, b); }
REF_INLINE double fmod_d(double a, double b) { return refm_fmod(a, b); }
REF_INLINE int64_t fmod_i(int64_t a, int64_t b, bool is_unsigned)
{
	if (b == 0 || (b == -1 && !is_unsigned))
		return 0;
	return is_unsigned ? (int64_t)((uint64_t)a % (uint64_t)b) : a % b;
}

/* The remainder takes the sign of the divisor. */
REF_INLINE double mod_d(double a, double b)
{
	double r = refm_fmod(a, b);
	return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
REF_INLINE float mod_f(float a, float b) { return (float)mod_d(a, b); }
REF_INLINE int64_t mod_i(int64_t a, int64_t b, bool is_unsigned)
{
	int64_t r = fmod_i(a, b, is_unsigned);
	return !is_unsigned && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

void ref_mod(const RefCall *c)
{
	if (c->attr[ATTR_mod_fmod].i)
		binary(c, fmod_f, fmod_d, fmod_i);
	else
		binary(c, mod_f, mod_d, mod_i);
}

REF_INLINE float prelu_f(float x, float slope) { return x < 0 ? slope * x : x; }
REF_INLINE double prelu_d(double x, double slope) { return x < 0 ? slope * x : x; }
REF_INLINE int64_t prelu_i(int64_t x, int64_t slope, bool is_unsigned)
{
	return !is_unsigned && x < 0 ? mul_i(x, slope, false) : x;
}

void ref_prelu(const RefCall *c) { binary(c, prelu_f, prelu_d, prelu_i); }

REF_INLINE float and_f(float a, float b) { return a != 0 && b != 0; }
REF_INLINE double and_d(double a, double b) { return a != 0 && b != 0; }
REF_INLINE int64_t and_i(int64_t a, int64_t b, bool is_unsigned)
{
	(void)is_unsigned;
	return a && b;
}

void ref_and(const RefCall *c) { binary(c, and_f, and_d, and_i); }

REF_INLINE float or_f(float a, float b) { return a != 0 || b != 0; }
REF_INLINE double or_d(double a, double b) { return a != 0 || b != 0; }
REF_INLINE int64_t or_i(int64_t a, int64_t b, bool is_unsigned)
{
	(void)is_unsigned;
	return a || b;
}

void ref_or(const RefCall *c) { binary(c, or_f, or_d, or_i); }

REF_INLINE float xor_f(float a, float b) { return (a != 0) != (b != 0); }
REF_INLINE double xor_d(double a, double b) { return (a != 0) != (b != 0); }
REF_INLINE int64_t xor_i(int64_t a, int64_t b, bool is_unsigned)
{
	(void)is_unsigned;
	return !a != !b;
}

void ref_xor(const RefCall *c) { binary(c, xor_f, xor_d, xor_i); }

static int64_t ipow(int64_t a, int64_t n)
{
	uint64_t r = 1, x = (uint64_t)a;
	if (n < 0)
		return a == 1 ? 1 : a == -1 ? (n & 1 ? -1 : 1) : 0;
	for (; n; n >>= 1, x *= x)
		if (n & 1)
			r *= x;
	return (int64_t)r;
}

/* The exponent has a type of its own; integers to integer powers are exact and wrap. */
void ref_pow(const RefCall *c)
{
	const RefTensor *a = &c->in[0], *b = &c->in[1], *r = &c->out[0];
	const RefTensor *in[2] = {a, b};
	bool whole = !ref_is_float(a->elem) && !ref_is_float(b->elem);
	RefNest s;
	ref_nest_broadcast(&s, r->rank, r->dim, 2, in);
	int64_t n = s.dim[s.rank - 1], to = 0;
	int64_t sa = s.stride[0][s.rank - 1], sb = s.stride[1][s.rank - 1];
	for (; s.rows > 0; ref_nest_next(&s), to += n) {
		int64_t pa = s.offset[0], pb = s.offset[1];
		for (int64_t i = 0; i < n; i++, pa += sa, pb += sb)
			if (whole)
				ref_put_i64(r, to + i, ipow(ref_get_i64(a, pa), ref_get_i64(b, pb)));
			else
				ref_put_f64(r, to + i, refm_pow(ref_get_f64(a, pa), ref_get_f64(b, pb)));
	}
}

/* -- comparisons: how two elements stand; 0: unordered --------------------------------------- */
enum { LESS = 1, EQUAL = 2, GREATER = 4 };

REF_INLINE int order_text(const RefTensor *a, int64_t i, const RefTensor *b, int64_t j)
{
	const RefText *x = (const RefText *)a->data + i, *y = (const RefText *)b->data + j;
	if (x->n != y->n)
		return x->n < y->n ? LESS : GREATER;
	for (int64_t k = 0; k < x->n; k++)
		if (x->s[k] != y->s[k])
			return x->s[k] < y->s[k] ? LESS : GREATER;
	return EQUAL;
}

REF_INLINE int order_f64(double x, double y)
{
	return x < y ? LESS : x > y ? GREATER : x == y ? EQUAL : 0;
}

REF_INLINE int order_i64(int64_t x, int64_t y, bool is_unsigned)
{
	if (x == y)
		return EQUAL;
	return (is_unsigned ? (uint64_t)x < (uint64_t)y : x < y) ? LESS : GREATER;
}

REF_INLINE int order(const RefTensor *a, int64_t i, const RefTensor *b, int64_t j, MloElemClass k)
{
	if (a->elem == EL_f32)
		return order_f64(((const float *)a->data)[i], ((const float *)b->data)[j]);
	if (k == EC_FLOAT)
		return order_f64(ref_get_f64(a, i), ref_get_f64(b, j));
	if (k == EC_STRING)
		return order_text(a, i, b, j);
	return order_i64(ref_get_i64(a, i), ref_get_i64(b, j), k != EC_INT);
}

static void compare(const RefCall *c, int accept)
{
	const RefTensor *a = &c->in[0], *b = &c->in[1], *r = &c->out[0];
	const RefTensor *in[2] = {a, b};
	MloElemClass k = ref_elem_class(a->elem);
	RefNest s;
	ref_nest_broadcast(&s, r->rank, r->dim, 2, in);
	int64_t n = s.dim[s.rank - 1];
	int64_t sa = s.stride[0][s.rank - 1], sb = s.stride[1][s.rank - 1];
	uint8_t *to = r->data;
	for (; s.rows > 0; ref_nest_next(&s), to += n)
		for (int64_t i = 0; i < n; i++)
			to[i] = (order(a, s.offset[0] + i * sa, b, s.offset[1] + i * sb, k) & accept) != 0;
}

void ref_equal(const RefCall *c) { compare(c, EQUAL); }
void ref_less(const RefCall *c) { compare(c, LESS); }
void ref_less_equal(const RefCall *c) { compare(c, LESS | EQUAL); }
void ref_greater(const RefCall *c) { compare(c, GREATER); }
void ref_greater_equal(const RefCall *c) { compare(c, GREATER | EQUAL); }

void ref_where(const RefCall *c)
{
	const RefTensor *in[3] = {&c->in[0], &c->in[1], &c->in[2]}, *r = &c->out[0];
	const uint8_t *cond = c->in[0].data;
	int bits = ref_elem_bits(r->elem);
	RefNest s;
	ref_nest_broadcast(&s, r->rank, r->dim, 3, in);
	int last = s.rank - 1;
	int64_t n = s.dim[last], to = 0;
	for (; s.rows > 0; ref_nest_next(&s), to += n)
		for (int64_t i = 0; i < n; i++) {
			int k = cond[s.offset[0] + i * s.stride[0][last]] ? 1 : 2;
			int64_t from = s.offset[k] + i * s.stride[k][last];
			if (bits == 32)
				((uint32_t *)r->data)[to + i] = ((const uint32_t *)in[k]->data)[from];
			else
				ref_copy_elem(r->data, to + i, in[k]->data, from, bits);
		}
}
