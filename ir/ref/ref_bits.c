/* ir/ref/ref_bits.c -- operators on the bits of elements. */
#include "ir/ref/ref_elem.h"

typedef int64_t BitsI64(int64_t a, int64_t b, int bits);

REF_INLINE void binary(const RefCall *c, BitsI64 *f)
{
	const RefTensor *a = &c->in[0], *b = &c->in[1], *r = &c->out[0];
	const RefTensor *in[2] = {a, b};
	int bits = ref_elem_bits(a->elem);
	RefNest s;
	ref_nest_broadcast(&s, r->rank, r->dim, 2, in);
	int last = s.rank - 1;
	int64_t n = s.dim[last], to = 0;
	for (; s.rows > 0; ref_nest_next(&s), to += n)
		for (int64_t i = 0; i < n; i++) {
			int64_t x = ref_get_i64(a, s.offset[0] + i * s.stride[0][last]);
			int64_t y = ref_get_i64(b, s.offset[1] + i * s.stride[1][last]);
			ref_put_i64(r, to + i, f(x, y, bits));
		}
}

REF_INLINE int64_t and_(int64_t a, int64_t b, int bits)
{
	(void)bits;
	return a & b;
}

REF_INLINE int64_t or_(int64_t a, int64_t b, int bits)
{
	(void)bits;
	return a | b;
}

REF_INLINE int64_t xor_(int64_t a, int64_t b, int bits)
{
	(void)bits;
	return a ^ b;
}

/* Shifts by the width of the type or more leave nothing. */
REF_INLINE int64_t left(int64_t a, int64_t b, int bits)
{
	return (uint64_t)b >= (uint64_t)bits ? 0 : (int64_t)((uint64_t)a << b);
}

REF_INLINE int64_t right(int64_t a, int64_t b, int bits)
{
	return (uint64_t)b >= (uint64_t)bits ? 0 : (int64_t)((uint64_t)a >> b);
}

void ref_bit_and(const RefCall *c) { binary(c, and_); }
void ref_bit_or(const RefCall *c) { binary(c, or_); }
void ref_bit_xor(const RefCall *c) { binary(c, xor_); }

void ref_bit_shift(const RefCall *c)
{
	if (ref_text_is(c->attr[ATTR_bit_shift_direction].s, "RIGHT"))
		binary(c, right);
	else
		binary(c, left);
}

void ref_bit_not(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	for (int64_t i = 0, n = ref_count(y); i < n; i++)
		ref_put_i64(y, i, ~ref_get_i64(&c->in[0], i));
}

void ref_bit_cast(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	ref_copy(y->data, 0, c->in[0].data, 0, ref_count(y), ref_elem_bits(y->elem));
}
