/* ir/ref/ref_elem.c -- load and store of single elements, for every element type. */
#include "ir/ref/ref_elem.h"

int ref_elem_bits(int elem)
{
	switch (elem) {
#define ELEM(id, onnx, bits, cls, text) case EL_##id: return bits;
#include "ir/elems.def"
	}
	return 0;
}

MloElemClass ref_elem_class(int elem)
{
	switch (elem) {
#define ELEM(id, onnx, bits, cls, text) case EL_##id: return EC_##cls;
#include "ir/elems.def"
	}
	return EC_STRING;
}

int ref_elem_from_onnx(int64_t code)
{
	switch (code) {
#define ELEM(id, onnx, bits, cls, text) case onnx: return EL_##id;
#include "ir/elems.def"
	}
	return EL_none;
}

int64_t ref_int_max(int elem)
{
	int bits = ref_elem_bits(elem);
	if (ref_elem_class(elem) == EC_BOOL)
		return 1;
	if (ref_elem_class(elem) == EC_INT)
		return (int64_t)(UINT64_MAX >> (65 - bits));
	return bits == 64 ? INT64_MAX : (int64_t)(UINT64_MAX >> (64 - bits));
}

int64_t ref_int_min(int elem)
{
	return ref_elem_class(elem) == EC_INT ? -ref_int_max(elem) - 1 : 0;
}

/* A small float format: sign, exponent, `mant` bits of fraction; emin is the exponent of the
 * smallest normal number; top the code of the largest finite one. */
typedef struct Format {
	int mant, emin;
	uint32_t top, inf, nan, sign; /* inf == nan: no infinity; sign == 0 in nan: nan is signless */
	bool negative_zero;
} Format;

REF_INLINE Format format_of(int elem)
{
	switch (elem) {
	case EL_f16: return (Format){10, -14, 0x7bff, 0x7c00, 0x7e00, 0x8000, true};
	case EL_bf16: return (Format){7, -126, 0x7f7f, 0x7f80, 0x7fc0, 0x8000, true};
	case EL_f8e4m3fn: return (Format){3, -6, 0x7e, 0x7f, 0x7f, 0x80, true};
	case EL_f8e4m3fnuz: return (Format){3, -7, 0x7f, 0x80, 0x80, 0x80, false};
	case EL_f8e5m2: return (Format){2, -14, 0x7b, 0x7c, 0x7f, 0x80, true};
	case EL_f8e5m2fnuz: return (Format){2, -15, 0x7f, 0x80, 0x80, 0x80, false};
	default: return (Format){1, 0, 0x7, 0x7, 0x8, 0x8, true}; /* f4e2m1: NaN becomes -0 */
	}
}

static uint32_t pack_float(double x, int elem, bool saturate)
{
	Format f = format_of(elem);
	double a = refm_abs(x);
	uint32_t sign = refm_bits(x) >> 63 ? f.sign : 0;
	if (refm_isnan(x))
		return f.nan == f.sign ? f.nan : f.nan | sign;
	/* code = (e - emin) << mant | significand: the hidden bit carries into the exponent. */
	uint32_t code = f.top + 1;
	if (a < 0x1p130) {
		int e = (int)(refm_bits(a) >> 52) - 1023;
		if (e < f.emin)
			e = f.emin;
		double unit = refm_from_bits((uint64_t)(1023 + f.mant - e) << 52);
		code = ((uint32_t)(e - f.emin) << f.mant) + (uint32_t)refm_rint(a * unit);
	}
	if (code > f.top) {
		bool wide = elem == EL_f16 || elem == EL_bf16;
		code = (saturate && !wide) || elem == EL_f4e2m1 ? f.top : f.inf;
		if (code == f.sign)
			return code;
	}
	return code || f.negative_zero ? code | sign : 0;
}

static double unpack_float(uint32_t code, int elem)
{
	Format f = format_of(elem);
	uint32_t m = code & ~f.sign;
	double sign = code & f.sign ? -1.0 : 1.0;
	if (f.negative_zero ? m > f.top : code == f.nan)
		return m == f.inf && f.inf != f.nan ? sign * refm_inf() : refm_nan();
	int e = (int)(m >> f.mant);
	uint32_t frac = m & ((1u << f.mant) - 1);
	if (e)
		frac |= 1u << f.mant;
	double unit = refm_from_bits((uint64_t)(1023 + (e ? e - 1 : 0) + f.emin - f.mant) << 52);
	return sign * frac * unit;
}

/* f8e8m0: 2**(code - 127), 255 is NaN; the sign is lost. */
static uint32_t pack_e8m0(double x, bool saturate, RefRound mode)
{
	double a = refm_abs(x);
	if (!(a < refm_inf()))
		return 0xff;
	int e = (int)(refm_bits(a) >> 52) - 1023;
	uint64_t fraction = refm_bits(a) & UINT64_C(0xfffffffffffff);
	if (mode == REF_ROUND_UP)
		e += fraction != 0;
	else if (mode == REF_ROUND_NEAREST)
		e += fraction >> 51 != 0;
	return e < -127 ? 0 : e <= 127 ? (uint32_t)(e + 127) : saturate ? 0xfe : 0xff;
}

/* Fewer than 8 bits: the lowest bits of a byte come first. */
static uint32_t get_packed(const void *p, int64_t i, int bits)
{
	int per = 8 / bits;
	return ((const uint8_t *)p)[i / per] >> (i % per * bits) & ((1u << bits) - 1);
}

static void put_packed(void *p, int64_t i, int bits, uint32_t v)
{
	int per = 8 / bits, shift = (int)(i % per) * bits;
	uint32_t mask = ((1u << bits) - 1) << shift;
	uint8_t *b = (uint8_t *)p + i / per;
	*b = (uint8_t)((*b & ~mask) | (v << shift & mask));
}

double ref_get_f64(const RefTensor *t, int64_t i)
{
	switch (t->elem) {
	case EL_f32: return ((const float *)t->data)[i];
	case EL_f64: return ((const double *)t->data)[i];
	case EL_f16:
	case EL_bf16: return unpack_float(((const uint16_t *)t->data)[i], t->elem);
	case EL_f8e4m3fn:
	case EL_f8e4m3fnuz:
	case EL_f8e5m2:
	case EL_f8e5m2fnuz: return unpack_float(((const uint8_t *)t->data)[i], t->elem);
	case EL_f4e2m1: return unpack_float(get_packed(t->data, i, 4), t->elem);
	case EL_u64: return (double)((const uint64_t *)t->data)[i];
	}
	if (t->elem == EL_f8e8m0) {
		uint32_t code = ((const uint8_t *)t->data)[i];
		return code == 0xff ? refm_nan() : refm_from_bits((uint64_t)(code + 896) << 52);
	}
	MloElemClass k = ref_elem_class(t->elem);
	return k == EC_INT || k == EC_UINT || k == EC_BOOL ? (double)ref_get_i64(t, i) : 0;
}

static int64_t saturate_i64(double x, int elem)
{
	if (refm_isnan(x))
		return 0;
	if (elem == EL_u64)
		return x >= 0x1p64 ? -1 : x <= 0 ? 0 : (int64_t)(uint64_t)x;
	if (x >= 0x1p63)
		return ref_int_max(elem);
	if (x < -0x1p63)
		return ref_int_min(elem);
	int64_t v = (int64_t)x;
	return v > ref_int_max(elem) ? ref_int_max(elem) : v < ref_int_min(elem) ? ref_int_min(elem) : v;
}

int64_t ref_get_i64(const RefTensor *t, int64_t i)
{
	switch (t->elem) {
	case EL_i64:
	case EL_u64: return ((const int64_t *)t->data)[i];
	case EL_i32: return ((const int32_t *)t->data)[i];
	case EL_u32: return ((const uint32_t *)t->data)[i];
	case EL_i16: return ((const int16_t *)t->data)[i];
	case EL_u16: return ((const uint16_t *)t->data)[i];
	case EL_i8: return ((const int8_t *)t->data)[i];
	case EL_u8: return ((const uint8_t *)t->data)[i];
	case EL_bool: return ((const uint8_t *)t->data)[i] != 0;
	case EL_u4: return get_packed(t->data, i, 4);
	case EL_i4: return (int64_t)(get_packed(t->data, i, 4) ^ 8) - 8;
	case EL_u2: return get_packed(t->data, i, 2);
	case EL_i2: return (int64_t)(get_packed(t->data, i, 2) ^ 2) - 2;
	}
	return saturate_i64(ref_get_f64(t, i), EL_i64);
}

void ref_put_i64(const RefTensor *t, int64_t i, int64_t x)
{
	switch (t->elem) {
	case EL_i64:
	case EL_u64: ((int64_t *)t->data)[i] = x; return;
	case EL_i32:
	case EL_u32: ((uint32_t *)t->data)[i] = (uint32_t)x; return;
	case EL_i16:
	case EL_u16: ((uint16_t *)t->data)[i] = (uint16_t)x; return;
	case EL_i8:
	case EL_u8: ((uint8_t *)t->data)[i] = (uint8_t)x; return;
	case EL_bool: ((uint8_t *)t->data)[i] = x != 0; return;
	case EL_u4:
	case EL_i4: put_packed(t->data, i, 4, (uint32_t)x); return;
	case EL_u2:
	case EL_i2: put_packed(t->data, i, 2, (uint32_t)x); return;
	case EL_f32: ((float *)t->data)[i] = (float)x; return;
	}
	ref_put_cast(t, i, (double)x, true);
}

void ref_put_cast(const RefTensor *t, int64_t i, double x, bool saturate)
{
	switch (t->elem) {
	case EL_f32: ((float *)t->data)[i] = (float)x; return;
	case EL_f64: ((double *)t->data)[i] = x; return;
	case EL_f16:
	case EL_bf16: ((uint16_t *)t->data)[i] = (uint16_t)pack_float(x, t->elem, false); return;
	case EL_f8e4m3fn:
	case EL_f8e4m3fnuz:
	case EL_f8e5m2:
	case EL_f8e5m2fnuz: ((uint8_t *)t->data)[i] = (uint8_t)pack_float(x, t->elem, saturate); return;
	case EL_f4e2m1: put_packed(t->data, i, 4, pack_float(x, t->elem, true)); return;
	case EL_f8e8m0: ((uint8_t *)t->data)[i] = (uint8_t)pack_e8m0(x, saturate, REF_ROUND_UP); return;
	case EL_bool: ((uint8_t *)t->data)[i] = x != 0; return;
	}
	MloElemClass k = ref_elem_class(t->elem);
	if (k == EC_INT || k == EC_UINT)
		ref_put_i64(t, i, saturate_i64(x, t->elem));
}

void ref_put_e8m0(const RefTensor *t, int64_t i, double x, bool saturate, RefRound mode)
{
	((uint8_t *)t->data)[i] = (uint8_t)pack_e8m0(x, saturate, mode);
}

double ref_narrow(int elem, double x)
{
	if (elem == EL_f16 || elem == EL_bf16)
		return unpack_float(pack_float(x, elem, false), elem);
	return elem == EL_f32 ? (float)x : x;
}

void ref_put_f64(const RefTensor *t, int64_t i, double x)
{
	ref_put_cast(t, i, x, true);
}

void ref_copy_elem(void *dst, int64_t i, const void *src, int64_t j, int bits)
{
	switch (bits) {
	case 8: ((uint8_t *)dst)[i] = ((const uint8_t *)src)[j]; return;
	case 16: ((uint16_t *)dst)[i] = ((const uint16_t *)src)[j]; return;
	case 32: ((uint32_t *)dst)[i] = ((const uint32_t *)src)[j]; return;
	case 64: ((uint64_t *)dst)[i] = ((const uint64_t *)src)[j]; return;
	case 128:
		((uint64_t *)dst)[2 * i] = ((const uint64_t *)src)[2 * j];
		((uint64_t *)dst)[2 * i + 1] = ((const uint64_t *)src)[2 * j + 1];
		return;
	}
	put_packed(dst, i, bits, get_packed(src, j, bits));
}

void ref_zero(void *dst, int64_t i, int64_t n, int bits)
{
	static const uint64_t none[2] = {0, 0};
	for (int64_t k = 0; k < n; k++)
		ref_copy_elem(dst, i + k, none, 0, bits);
}

int64_t ref_order_key(const RefTensor *t, int64_t i)
{
	if (!ref_is_float(t->elem)) {
		uint64_t k = (uint64_t)ref_get_i64(t, i);
		return (int64_t)(t->elem == EL_u64 ? k ^ (UINT64_C(1) << 63) : k);
	}
	double x = ref_get_f64(t, i) + 0.0;
	int64_t bits = (int64_t)refm_bits(x);
	return refm_isnan(x) ? INT64_MAX : bits < 0 ? bits ^ INT64_MAX : bits;
}
