/* ir/ref/ref_dynamic.h -- quantization of float32 numbers to u8 by their own range, as DynamicQuantizeLinear of ONNX
 * (https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html) has it: float32 arithmetic, the range contains 0. */
#ifndef MLO_IR_REF_DYNAMIC_H
#define MLO_IR_REF_DYNAMIC_H
#include "ir/ref/ref_elem.h"

typedef struct RefDynamic {
	float lo, hi;      /* of the numbers seen, 0 at first */
	float scale, zero; /* zero: a whole number in 0..255 */
} RefDynamic;

REF_INLINE void ref_dynamic_see(RefDynamic *q, const float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		q->lo = x[i] < q->lo ? x[i] : q->lo;
		q->hi = x[i] > q->hi ? x[i] : q->hi;
	}
}

/* Scale and zero point, once everything was seen. */
REF_INLINE void ref_dynamic_close(RefDynamic *q)
{
	float zero;

	q->scale = (q->hi - q->lo) / 255.0f;
	zero = q->scale > 0 ? (float)refm_rint(-q->lo / q->scale) : 0;
	q->zero = zero < 0 ? 0 : zero > 255 ? 255 : zero;
}

/* The byte that x becomes, a whole number; NaN becomes 0. */
REF_INLINE double ref_dynamic_byte(const RefDynamic *q, float x)
{
	double v = refm_rint(q->scale > 0 ? x / q->scale : 0) + (double)q->zero;

	return v > 0 ? v < 255 ? v : 255 : 0;
}
#endif
