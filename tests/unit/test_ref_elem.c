/* tests/unit/test_ref_elem.c -- element types in the reference kernels: coding, rounding, packing. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <string.h>

#include "ir/ref/ref_elem.h"
#include "ir/type.h"

void suite_ref_elem(void);

static RefTensor tensor(void *data, int elem, const int64_t *dim)
{
	return (RefTensor){data, dim, 1, elem};
}

/* Every code of the small float types reads as the value from which it is stored again. */
static void codes_round_trip(void)
{
	static const int types[] = {EL_f16, EL_bf16, EL_f8e4m3fn, EL_f8e4m3fnuz, EL_f8e5m2, EL_f8e5m2fnuz};
	const int64_t dim = 1;
	for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
		uint32_t n = ref_elem_bits(types[k]) == 16 ? 65536 : 256;
		for (uint32_t code = 0; code < n; code++) {
			uint16_t in = (uint16_t)code, out = 0;
			RefTensor a = tensor(&in, types[k], &dim), b = tensor(&out, types[k], &dim);
			double v = ref_get_f64(&a, 0);
			ref_put_cast(&b, 0, v, false);
			bool ok = isnan(v) ? isnan(ref_get_f64(&b, 0)) : in == out;
			if (!ok)
				CU_FAIL("a code does not round trip");
		}
	}
}

/* Between two neighbouring codes: nearest, ties to the even code. */
static void halves_go_to_even(void)
{
	const int64_t dim = 1;
	for (uint32_t code = 0; code < 0x7bff; code++) {
		uint16_t lo = (uint16_t)code, hi = (uint16_t)(code + 1), out;
		RefTensor a = tensor(&lo, EL_f16, &dim), b = tensor(&hi, EL_f16, &dim);
		RefTensor r = tensor(&out, EL_f16, &dim);
		double x = ref_get_f64(&a, 0), y = ref_get_f64(&b, 0), mid = (x + y) / 2;
		ref_put_f64(&r, 0, mid);
		if (out != (code & 1 ? hi : lo))
			CU_FAIL("a tie does not go to even");
		ref_put_f64(&r, 0, nextafter(mid, y));
		if (out != hi)
			CU_FAIL("not the nearest");
	}
}

static uint8_t f8(int elem, double x, bool saturate)
{
	const int64_t dim = 1;
	uint8_t code = 0;
	RefTensor t = tensor(&code, elem, &dim);
	ref_put_cast(&t, 0, x, saturate);
	return code;
}

static void float8_overflow(void)
{
	CU_ASSERT_EQUAL(f8(EL_f8e4m3fn, 1000, true), 0x7e);
	CU_ASSERT_EQUAL(f8(EL_f8e4m3fn, 1000, false), 0x7f);
	CU_ASSERT_EQUAL(f8(EL_f8e4m3fn, -INFINITY, true), 0xfe);
	CU_ASSERT_EQUAL(f8(EL_f8e5m2, 1e6, true), 0x7b);
	CU_ASSERT_EQUAL(f8(EL_f8e5m2, 1e6, false), 0x7c);
	CU_ASSERT_EQUAL(f8(EL_f8e4m3fnuz, 1000, false), 0x80);
	CU_ASSERT_EQUAL(f8(EL_f8e4m3fnuz, -0.0, true), 0);
	CU_ASSERT_EQUAL(f8(EL_f8e5m2fnuz, NAN, true), 0x80);
}

static void packed_types(void)
{
	uint8_t bytes[4] = {0};
	const int64_t dim = 5;
	RefTensor t = tensor(bytes, EL_i4, &dim);
	static const int64_t v[5] = {-8, 7, 0, -1, 3};
	for (int i = 0; i < 5; i++)
		ref_put_i64(&t, i, v[i]);
	for (int i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(ref_get_i64(&t, i), v[i]);
	CU_ASSERT_EQUAL(bytes[0], 0x78); /* the first element in the low nibble */
	ref_put_f64(&t, 1, 100.0);
	CU_ASSERT_EQUAL(ref_get_i64(&t, 1), 7);
	CU_ASSERT_EQUAL(ref_get_i64(&t, 0), -8);
}

static void casts_saturate(void)
{
	int64_t word = 0;
	const int64_t dim = 1;
	RefTensor i8 = tensor(&word, EL_i8, &dim), u8 = tensor(&word, EL_u8, &dim);
	RefTensor i64 = tensor(&word, EL_i64, &dim), u64 = tensor(&word, EL_u64, &dim);
	ref_put_f64(&i8, 0, -200.7);
	CU_ASSERT_EQUAL(ref_get_i64(&i8, 0), -128);
	ref_put_f64(&u8, 0, -3.0);
	CU_ASSERT_EQUAL(ref_get_i64(&u8, 0), 0);
	ref_put_f64(&u8, 0, 2.99);
	CU_ASSERT_EQUAL(ref_get_i64(&u8, 0), 2);
	ref_put_f64(&i64, 0, 1e30);
	CU_ASSERT_EQUAL(ref_get_i64(&i64, 0), INT64_MAX);
	ref_put_f64(&i64, 0, NAN);
	CU_ASSERT_EQUAL(ref_get_i64(&i64, 0), 0);
	ref_put_f64(&u64, 0, 1.8e19);
	CU_ASSERT_EQUAL((uint64_t)ref_get_i64(&u64, 0), UINT64_C(18000000000000000000));
	ref_put_i64(&i8, 0, 300);
	CU_ASSERT_EQUAL(ref_get_i64(&i8, 0), 44);
}

/* The constants of ir/ and the kernels must read every type the same way. */
static void agrees_with_tensors(void)
{
	uint8_t bytes[16];
	int64_t dims[1] = {1};
	for (int elem = EL_none + 1; elem < EL_COUNT; elem++) {
		MloElemClass k = ref_elem_class(elem);
		if (k == EC_COMPLEX || k == EC_STRING)
			continue;
		for (unsigned seed = 0; seed < 300; seed++) {
			for (unsigned b = 0; b < sizeof bytes; b++)
				bytes[b] = (uint8_t)((seed * 2654435761u >> (b % 4 * 7)) + b * 37 * seed);
			if (elem == EL_bool)
				bytes[0] &= 1;
			RefTensor r = tensor(bytes, elem, dims);
			MloTensor t = {.elem = (MloElem)elem, .rank = 1, .dim = {1}, .data = bytes, .nbytes = 16};
			double a = ref_get_f64(&r, 0), b = mlo_tensor_f64(&t, 0);
			if (isnan(a) ? !isnan(b) : a != b) {
				CU_FAIL("a value is read differently");
				break;
			}
		}
	}
}

void suite_ref_elem(void)
{
	CU_pSuite s = CU_add_suite("ref_elem", NULL, NULL);
	CU_add_test(s, "small float codes round trip", codes_round_trip);
	CU_add_test(s, "float16 rounds halves to even", halves_go_to_even);
	CU_add_test(s, "8-bit floats overflow as ONNX says", float8_overflow);
	CU_add_test(s, "packed types", packed_types);
	CU_add_test(s, "casts saturate", casts_saturate);
	CU_add_test(s, "constants and kernels agree", agrees_with_tensors);
}
