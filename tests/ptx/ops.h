/* tests/ptx/ops.h -- instructions by name: each family has a table of those that it decodes and runs. */
#ifndef MLOPT_TESTS_PTX_OPS_H
#define MLOPT_TESTS_PTX_OPS_H

#include "tests/ptx/exec.h"

typedef struct PtxOp {
	const char *name, *kinds; /* kinds: ptx_type_kind() of the first type; NULL: whatever */
	void (*decode)(PtxParse *p, PtxInst *i, const struct PtxOp *op);
	int variant;
	const void *data;
} PtxOp;

/* Each ends with an empty row. */
extern const PtxOp ptx_int_ops[], ptx_float_ops[], ptx_half_ops[], ptx_compare_ops[], ptx_convert_ops[],
	ptx_access_ops[], ptx_atomic_ops[], ptx_warp_ops[], ptx_control_ops[], ptx_mma_ops[], ptx_wgmma_ops[],
	ptx_mbarrier_ops[], ptx_async_ops[];

/* The n-th operand; fails where the statement has less. */
const PtxOperand *ptx_operand(PtxParse *p, unsigned n);
void ptx_operands(PtxParse *p, unsigned n); /* fails unless there are n */

/* float16 and bfloat16 as bits */
uint16_t ptx_f64_to_f16(double x);
static inline float ptx_bf16_to_f32(uint16_t h)
{
	const uint32_t bits = (uint32_t)h << 16;
	float f;

	memcpy(&f, &bits, sizeof f);
	return f;
}
uint16_t ptx_f64_to_bf16(double x);

static inline uint32_t ptx_f32_bits(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof bits);
	return bits;
}

static inline float ptx_bits_f32(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof f);
	return f;
}

static inline float ptx_f16_to_f32(uint16_t h)
{
	/* the mantissa and exponent in their places are a float32 whose exponent is too small by 112 */
	const uint32_t bits = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
	float f;

	memcpy(&f, &bits, sizeof f);
	f *= 0x1p112f;
	return (h & 0x7c00) == 0x7c00 ? ptx_bits_f32(sign | 0x7f800000 | bits) : ptx_bits_f32(ptx_f32_bits(f) | sign);
}

#endif
