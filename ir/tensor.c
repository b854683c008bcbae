/* ir/tensor.c -- constant tensors: creation, element access in every type, hashing, comparison. */
#include <math.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "ir/type.h"

/* How a small float is coded: sign, `exp` exponent bits, `man` mantissa bits. */
typedef struct MiniFloat {
	int exp, man, bias;
	unsigned max;  /* code of the largest finite magnitude */
	unsigned inf;  /* code of infinity; 0: none, saturate instead */
	unsigned nan;  /* code that NaN becomes */
	bool saturate; /* overflow gives the largest value although there is an infinity */
	bool fnuz;     /* NaN is the code of -0; no -0 and no infinity */
} MiniFloat;

static const MiniFloat mini[EL_COUNT] = {
	[EL_f16] = {5, 10, 15, 0x7bff, 0x7c00, 0x7e00, false, false},
	[EL_bf16] = {8, 7, 127, 0x7f7f, 0x7f80, 0x7fc0, false, false},
	[EL_f8e4m3fn] = {4, 3, 7, 0x7e, 0, 0x7f, true, false},
	[EL_f8e4m3fnuz] = {4, 3, 8, 0x7f, 0, 0x80, true, true},
	[EL_f8e5m2] = {5, 2, 15, 0x7b, 0x7c, 0x7f, true, false},
	[EL_f8e5m2fnuz] = {5, 2, 16, 0x7f, 0, 0x80, true, true},
	[EL_f4e2m1] = {2, 1, 1, 0x7, 0, 0x8, true, false}, /* no NaN: it becomes -0 */
};

static unsigned mini_encode(const MiniFloat *f, double v)
{
	unsigned sign = signbit(v) ? 1u << (f->exp + f->man) : 0;
	int emin = 1 - f->bias, e;
	double a = fabs(v);
	uint64_t code;

	if (isnan(v))
		return f->nan;
	if (isinf(v)) {
		code = (uint64_t)f->max + 1;
	} else if (a == 0) {
		code = 0;
	} else {
		double scaled;

		frexp(a, &e);
		e = e - 1 < emin ? emin : e - 1;
		if (e > f->bias + 2)
			e = f->bias + 2; /* overflows below anyhow; keeps the code small */
		scaled = rint(ldexp(a, f->man - e));
		code = scaled > 0x1p40 ? (uint64_t)1 << 40 : (uint64_t)scaled;
		code += (uint64_t)(e - emin) << f->man;
	}
	if (code > f->max)
		code = f->saturate ? f->max : f->inf;
	if (f->fnuz && code == 0)
		sign = 0;
	return (unsigned)code | sign;
}

static double mini_decode(const MiniFloat *f, unsigned code)
{
	unsigned top = 1u << (f->exp + f->man), mag = code & (top - 1);
	int e = (int)(mag >> f->man);
	double m = mag & ((1u << f->man) - 1);

	if (f->fnuz && code == top)
		return NAN;
	if (mag > f->max)
		return mag != f->inf ? NAN : code & top ? -INFINITY : INFINITY;
	if (e)
		m += 1 << f->man;
	m = ldexp(m, (e ? e : 1) - f->bias - f->man);
	return code & top ? -m : m;
}

/* Exponent-only type without a sign: rounds up to a power of two. */
static unsigned e8m0_encode(double v)
{
	double a = fabs(v);
	int e;

	if (!isfinite(v))
		return 0xff;
	if (a <= 0x1p-127)
		return 0;
	if (a > 0x1p127)
		return 0xfe;
	if (frexp(a, &e) == 0.5)
		e--;
	return (unsigned)(e + 127);
}

int64_t mlo_tensor_elems(const MloTensor *t)
{
	MloType ty = mlo_tensor_type(t);

	return mlo_type_elems(&ty);
}

MloType mlo_tensor_type(const MloTensor *t)
{
	return mlo_type(t->elem, t->rank, t->dim);
}

MloTensor *mlo_tensor_new(MloArena *a, MloElem e, int rank, const int64_t *dims)
{
	MloType ty = mlo_type(e, rank, dims);
	int64_t bytes = mlo_type_bytes(&ty);
	MloTensor *t = MLO_NEW(a, MloTensor);

	MLO_ASSERT(bytes >= 0);
	t->elem = e;
	t->rank = rank;
	for (int i = 0; i < rank; i++)
		t->dim[i] = dims[i];
	t->nbytes = (size_t)bytes;
	t->data = mlo_alloc(a, t->nbytes, 1);
	return t;
}

MloTensor *mlo_tensor_copy(MloArena *a, const MloTensor *t)
{
	MloTensor *r = mlo_dup(a, t, sizeof *t), *items;
	MloObject *o;

	if (t->object) {
		o = mlo_dup(a, t->object, sizeof *o);
		items = MLO_NEWN(a, MloTensor, (size_t)o->n + 1);
		for (int64_t i = 0; i < o->n; i++)
			items[i] = *mlo_tensor_copy(a, &o->item[i]);
		o->item = items;
		r->object = o;
		return r;
	}
	r->data = mlo_alloc(a, t->nbytes + 1, 1);
	if (t->nbytes)
		memcpy((void *)(uintptr_t)r->data, t->data, t->nbytes);
	for (int64_t i = 0; t->elem == EL_str && i < mlo_tensor_elems(t); i++) {
		MloText *s = (MloText *)(uintptr_t)r->data + i;

		s->s = s->n ? mlo_dup(a, s->s, (size_t)s->n) : "";
	}
	return r;
}

/* The bits of element i of a type of at most 64 bits. */
static uint64_t get_bits(const MloTensor *t, int64_t i)
{
	unsigned bits = mlo_elem_bits(t->elem);
	const unsigned char *p = t->data;
	uint64_t v = 0;

	MLO_ASSERT(bits <= 64);
	if (bits < 8)
		return p[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
	for (unsigned b = 0; b < bits / 8; b++)
		v |= (uint64_t)p[(size_t)i * (bits / 8) + b] << (8 * b);
	return v;
}

static void set_bits(MloTensor *t, int64_t i, uint64_t v)
{
	unsigned bits = mlo_elem_bits(t->elem);
	unsigned char *p = (unsigned char *)(uintptr_t)t->data;

	MLO_ASSERT(bits <= 64);
	if (bits < 8) {
		unsigned shift = (unsigned)(i * bits % 8), mask = ((1u << bits) - 1) << shift;

		p += i * bits / 8;
		*p = (unsigned char)((*p & ~mask) | (((unsigned)v << shift) & mask));
		return;
	}
	for (unsigned b = 0; b < bits / 8; b++)
		p[(size_t)i * (bits / 8) + b] = (unsigned char)(v >> (8 * b));
}

static int64_t sign_extend(uint64_t v, unsigned bits)
{
	return bits == 64 ? (int64_t)v : (int64_t)(v << (64 - bits)) >> (64 - bits);
}

double mlo_tensor_f64(const MloTensor *t, int64_t i)
{
	uint64_t v = get_bits(t, i);
	unsigned bits = mlo_elem_bits(t->elem);

	if (mini[t->elem].exp)
		return mini_decode(&mini[t->elem], (unsigned)v);
	if (t->elem == EL_f8e8m0)
		return v == 0xff ? NAN : ldexp(1, (int)v - 127);
	if (t->elem == EL_f32) {
		uint32_t u = (uint32_t)v;
		float f;

		memcpy(&f, &u, sizeof f);
		return (double)f;
	}
	if (t->elem == EL_f64) {
		double f;

		memcpy(&f, &v, sizeof f);
		return f;
	}
	if (mlo_elem_class(t->elem) == EC_INT)
		return (double)sign_extend(v, bits);
	if (mlo_elem_class(t->elem) == EC_BOOL)
		return v != 0;
	MLO_ASSERT(mlo_elem_class(t->elem) == EC_UINT);
	return (double)v;
}

/* Truncates toward zero, saturates, NaN to 0. */
static int64_t to_i64(double v)
{
	if (isnan(v))
		return 0;
	if (v >= 0x1p63)
		return INT64_MAX;
	if (v <= -0x1p63)
		return INT64_MIN;
	return (int64_t)v;
}

int64_t mlo_tensor_i64(const MloTensor *t, int64_t i)
{
	MloElemClass cls = mlo_elem_class(t->elem);
	uint64_t v;

	if (cls == EC_FLOAT)
		return to_i64(mlo_tensor_f64(t, i));
	v = get_bits(t, i);
	if (cls == EC_INT)
		return sign_extend(v, mlo_elem_bits(t->elem));
	if (cls == EC_BOOL)
		return v != 0;
	MLO_ASSERT(cls == EC_UINT);
	return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

void mlo_tensor_set_i64(MloTensor *t, int64_t i, int64_t v)
{
	unsigned bits = mlo_elem_bits(t->elem);
	MloElemClass cls = mlo_elem_class(t->elem);

	if (cls == EC_FLOAT) {
		mlo_tensor_set_f64(t, i, (double)v);
		return;
	}
	if (cls == EC_BOOL) {
		v = v != 0;
	} else if (cls == EC_INT) {
		int64_t hi = bits == 64 ? INT64_MAX : ((int64_t)1 << (bits - 1)) - 1;

		v = v > hi ? hi : v < -hi - 1 ? -hi - 1 : v;
	} else {
		int64_t hi = bits == 64 ? INT64_MAX : ((int64_t)1 << bits) - 1;

		MLO_ASSERT(cls == EC_UINT);
		v = v > hi ? hi : v < 0 ? 0 : v;
	}
	set_bits(t, i, (uint64_t)v);
}

static uint64_t float_bits(MloElem e, double v)
{
	uint64_t u64;

	if (e == EL_f32) {
		float f = (float)v;
		uint32_t u;

		memcpy(&u, &f, sizeof u);
		return u;
	}
	if (e == EL_f8e8m0)
		return e8m0_encode(v);
	if (mini[e].exp)
		return mini_encode(&mini[e], v);
	memcpy(&u64, &v, sizeof u64);
	return u64;
}

void mlo_tensor_set_f64(MloTensor *t, int64_t i, double v)
{
	if (mlo_elem_class(t->elem) == EC_FLOAT)
		set_bits(t, i, float_bits(t->elem, v));
	else if (mlo_elem_class(t->elem) == EC_BOOL)
		set_bits(t, i, v != 0);
	else if (t->elem == EL_u64 && v >= 0x1p63)
		set_bits(t, i, v >= 0x1p64 ? UINT64_MAX : (uint64_t)v);
	else
		mlo_tensor_set_i64(t, i, to_i64(v));
}

/* Strings are hashed and compared by content, everything else by bytes. */
uint64_t mlo_tensor_hash(const MloTensor *t)
{
	XXH3_state_t st;
	int64_t n = t->elem == EL_str ? mlo_tensor_elems(t) : 0;
	unsigned char head[16 + 8 * MLO_MAX_RANK] = {0};

	head[0] = (unsigned char)mlo_elem_onnx(t->elem);
	head[1] = (unsigned char)t->rank;
	for (int i = 0; i < t->rank; i++)
		for (int b = 0; b < 8; b++)
			head[16 + 8 * i + b] = (unsigned char)((uint64_t)t->dim[i] >> (8 * b));
	XXH3_64bits_reset(&st);
	XXH3_64bits_update(&st, head, sizeof head);
	if (t->elem != EL_str && t->nbytes)
		XXH3_64bits_update(&st, t->data, t->nbytes);
	for (int64_t i = 0; i < n; i++) {
		const MloText *s = (const MloText *)t->data + i;

		XXH3_64bits_update(&st, &s->n, sizeof s->n);
		if (s->n)
			XXH3_64bits_update(&st, s->s, (size_t)s->n);
	}
	return XXH3_64bits_digest(&st);
}

bool mlo_tensor_equal(const MloTensor *a, const MloTensor *b)
{
	MloType ta = mlo_tensor_type(a), tb = mlo_tensor_type(b);
	int64_t n = mlo_type_elems(&ta);

	if (!mlo_type_same(&ta, &tb) || a->nbytes != b->nbytes)
		return false;
	if (a->elem != EL_str)
		return !a->nbytes || !memcmp(a->data, b->data, a->nbytes);
	for (int64_t i = 0; i < n; i++) {
		const MloText *s = (const MloText *)a->data + i, *t = (const MloText *)b->data + i;

		if (s->n != t->n || (s->n && memcmp(s->s, t->s, (size_t)s->n)))
			return false;
	}
	return true;
}
