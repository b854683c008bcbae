/* tests/unit/tiles.c -- the instructions of AMX in C. */
#include "tests/unit/tiles.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REGISTERS = 8, ROWS = 16, ROW_BYTES = 64 };

typedef union Row {
	uint8_t u8[ROW_BYTES];
	int8_t i8[ROW_BYTES];
	uint16_t bf16[ROW_BYTES / 2];
	int32_t i32[ROW_BYTES / 4];
	float f32[ROW_BYTES / 4];
} Row;

static _Thread_local struct Tiles {
	bool configured;
	int rows[REGISTERS], bytes[REGISTERS];
	Row row[REGISTERS][ROWS];
} tiles;

static void need(bool holds, const char *what)
{
	if (holds)
		return;
	printf("matrix unit: %s\n", what);
	abort();
}

static void need_register(uint8_t r)
{
	need(tiles.configured, "used before it is configured");
	need(r < REGISTERS && tiles.rows[r] > 0, "a register that is not configured");
}

static void configure(const uint8_t *form)
{
	memset(&tiles, 0, sizeof tiles);
	need(form[0] == 1 && form[1] == 0, "a palette other than 1");
	for (int i = 2; i < 64; i++)
		need(form[i] == 0 || (i >= 16 && i < 16 + 2 * REGISTERS) || (i >= 48 && i < 48 + REGISTERS), "reserved bytes");
	for (int r = 0; r < REGISTERS; r++) {
		tiles.rows[r] = form[48 + r];
		tiles.bytes[r] = form[16 + 2 * r] | form[17 + 2 * r] << 8;
		need(tiles.rows[r] <= ROWS && tiles.bytes[r] <= ROW_BYTES && !tiles.rows[r] == !tiles.bytes[r], "a shape");
	}
	tiles.configured = true;
}

static void release(void)
{
	tiles.configured = false;
}

static void zero(uint8_t r)
{
	need_register(r);
	memset(tiles.row[r], 0, sizeof tiles.row[r]);
}

static void load(uint8_t r, const char *at, int64_t stride)
{
	zero(r);
	for (int i = 0; i < tiles.rows[r]; i++)
		memcpy(&tiles.row[r][i], at + i * stride, (size_t)tiles.bytes[r]);
}

static void store(uint8_t r, char *at, int64_t stride)
{
	need_register(r);
	for (int i = 0; i < tiles.rows[r]; i++)
		memcpy(at + i * stride, &tiles.row[r][i], (size_t)tiles.bytes[r]);
}

static void check_product(uint8_t sum, uint8_t a, uint8_t b)
{
	need_register(sum);
	need_register(a);
	need_register(b);
	need(sum != a && sum != b && a != b, "one register twice in a product");
	need(tiles.rows[sum] == tiles.rows[a] && tiles.bytes[sum] == tiles.bytes[b] && tiles.bytes[a] == 4 * tiles.rows[b] &&
	     tiles.bytes[sum] % 4 == 0, "shapes that do not fit");
}

static void bytes_product(uint8_t sum, uint8_t a, uint8_t b, bool sign)
{
	check_product(sum, a, b);
	for (int m = 0; m < tiles.rows[sum]; m++)
		for (int k = 0; k < tiles.bytes[a]; k++)
			for (int n = 0; n < tiles.bytes[sum] / 4; n++) {
				int x = sign ? tiles.row[a][m].i8[k] : tiles.row[a][m].u8[k];
				int product = x * tiles.row[b][k / 4].i8[4 * n + k % 4];
				int32_t *to = &tiles.row[sum][m].i32[n];

				*to = (int32_t)((uint32_t)*to + (uint32_t)product);
			}
}

static void product_u8s8(uint8_t sum, uint8_t a, uint8_t b)
{
	bytes_product(sum, a, b, false);
}

static void product_s8s8(uint8_t sum, uint8_t a, uint8_t b)
{
	bytes_product(sum, a, b, true);
}

/* Denormals count as zero, and become zero. */
static float flush(float v)
{
	return fpclassify(v) == FP_SUBNORMAL ? 0 : v;
}

static float widen(uint16_t bf16)
{
	uint32_t bits = (uint32_t)bf16 << 16;
	float v;

	memcpy(&v, &bits, 4);
	return flush(v);
}

/* Even and odd terms are summed up apart, and then together with the sum. */
static void product_bf16(uint8_t sum, uint8_t a, uint8_t b)
{
	check_product(sum, a, b);
	for (int m = 0; m < tiles.rows[sum]; m++)
		for (int n = 0; n < tiles.bytes[sum] / 4; n++) {
			float part[2] = {0, 0}, *to = &tiles.row[sum][m].f32[n];

			for (int k = 0; k < tiles.bytes[a] / 2; k++)
				part[k % 2] = flush(fmaf(widen(tiles.row[a][m].bf16[k]), widen(tiles.row[b][k / 2].bf16[2 * n + k % 2]),
				                         part[k % 2]));
			*to = flush(flush(*to) + flush(part[0] + part[1]));
		}
}

void tiles_emulate(LLVMModuleRef m, const MloMatrix *unit)
{
	const struct { const char *name; uintptr_t function; } known[] = {
		{unit->config, (uintptr_t)configure}, {unit->release, (uintptr_t)release}, {unit->zero, (uintptr_t)zero},
		{unit->load, (uintptr_t)load}, {unit->store, (uintptr_t)store}, {unit->u8s8, (uintptr_t)product_u8s8},
		{unit->s8s8, (uintptr_t)product_s8s8}, {unit->bf16, (uintptr_t)product_bf16}};
	LLVMContextRef ctx = LLVMGetModuleContext(m);
	LLVMTypeRef i64 = LLVMInt64TypeInContext(ctx), ptr = LLVMPointerTypeInContext(ctx, 0);

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		LLVMValueRef fn = LLVMGetNamedFunction(m, known[i].name);

		if (!fn)
			continue;
		LLVMReplaceAllUsesWith(fn, LLVMConstIntToPtr(LLVMConstInt(i64, known[i].function, 0), ptr));
		LLVMDeleteFunction(fn);
	}
}
