/* runtime/elem.c -- element types: names, ONNX codes, storage; the bytes of a tensor. */
#include <string.h>

#include "runtime/internal.h"

/* Below 8 bits elements are packed. */
static const Elem elems[] = {
	{"f32", 1, 32, 4},    {"u8", 2, 8, 1},     {"i8", 3, 8, 1},        {"u16", 4, 16, 2},
	{"i16", 5, 16, 2},    {"i32", 6, 32, 4},   {"i64", 7, 64, 8},      {"str", 8, 128, 8},
	{"bool", 9, 8, 1},    {"f16", 10, 16, 2},  {"f64", 11, 64, 8},     {"u32", 12, 32, 4},
	{"u64", 13, 64, 8},   {"c64", 14, 64, 4},  {"c128", 15, 128, 8},   {"bf16", 16, 16, 2},
	{"f8e4m3fn", 17, 8, 1}, {"f8e4m3fnuz", 18, 8, 1}, {"f8e5m2", 19, 8, 1}, {"f8e5m2fnuz", 20, 8, 1},
	{"u4", 21, 4, 1},     {"i4", 22, 4, 1},    {"f4e2m1", 23, 4, 1},   {"f8e8m0", 24, 8, 1},
	{"u2", 25, 2, 1},     {"i2", 26, 2, 1},
};

MLRT_LOCAL const Elem *mlrt_elem_named(const char *name)
{
	for (size_t i = 0; name && i < sizeof elems / sizeof *elems; i++)
		if (strcmp(elems[i].name, name) == 0)
			return &elems[i];
	return NULL;
}

MLRT_LOCAL const Elem *mlrt_elem_code(uint32_t code)
{
	return code >= 1 && code <= sizeof elems / sizeof *elems ? &elems[code - 1] : NULL;
}

/* By MlrtValueKind. */
static const char kinds[][8] = {"tensor", "seq", "opt", "opt_seq", "map", "seq_map"};

MLRT_LOCAL const char *mlrt_kind_text(uint32_t kind)
{
	return kinds[kind];
}

MLRT_LOCAL bool mlrt_kind_named(const char *name, uint32_t *kind)
{
	for (*kind = 0; *kind < sizeof kinds / sizeof *kinds; ++*kind)
		if (strcmp(kinds[*kind], name) == 0)
			return true;
	return false;
}

MLRT_LOCAL bool mlrt_tensor_bytes(const Elem *e, int rank, const int64_t *dims, uint64_t *bytes)
{
	uint64_t count = 1, bits;
	bool empty = false;

	for (int i = 0; i < rank; i++) {
		if (dims[i] < 0)
			return false;
		if (dims[i] == 0)
			empty = true;
		else if (__builtin_mul_overflow(count, (uint64_t)dims[i], &count))
			return false;
	}
	count = empty ? 0 : count;
	if (__builtin_mul_overflow(count, e->bits, &bits) || bits > INT64_MAX)
		return false;
	*bytes = (bits + 7) / 8;
	return *bytes <= SIZE_MAX / 2;
}
