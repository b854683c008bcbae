/* ir/ref/ref_quant.c -- linear quantization, per tensor, per axis and in blocks.
 *
 * The arithmetic is float32, or the narrower type that ONNX asks for: rounding x / scale in a wider
 * type would move ties. */
#include "ir/ref/ref_elem.h"

/* Which scale belongs to element i of x. */
typedef struct Scales {
	int64_t inner, axis, block, rows; /* elements below the axis; its size; block; scales along it */
	bool single;
} Scales;

static Scales scales(const RefTensor *x, const RefTensor *scale, int64_t axis_attr, int64_t block)
{
	Scales s = {1, 1, 1, 1, true};
	if (scale->rank == 0 || (scale->rank == 1 && scale->dim[0] == 1 && !block))
		return s;
	int axis = ref_axis(axis_attr, x->rank);
	block = scale->rank == x->rank ? block : 0;
	s.single = false;
	s.inner = ref_count_dims(x->dim, axis + 1, x->rank);
	s.axis = x->dim[axis];
	s.block = block ? block : 1;
	s.rows = block ? scale->dim[axis] : 0;
	return s;
}

REF_INLINE int64_t scale_at(const Scales *s, int64_t i)
{
	if (s->single)
		return 0;
	int64_t k = i / s->inner % s->axis;
	if (!s->rows)
		return k;
	int64_t row = k / s->block < s->rows ? k / s->block : s->rows - 1;
	return (i / s->inner / s->axis * s->rows + row) * s->inner + i % s->inner;
}

/* How many elements from any multiple of that number on share their scale. */
REF_INLINE int64_t run_length(const Scales *s, int64_t n)
{
	return s->single ? n : s->rows ? 1 : s->inner;
}

/* The type x is divided in: what `precision` says, else that of the scale. */
static int division_type(const RefTensor *scale, int64_t precision)
{
	int elem = precision ? ref_elem_from_onnx(precision) : scale->elem;
	return elem == EL_f16 || elem == EL_bf16 || elem == EL_f64 ? elem : EL_f32;
}

/* A quotient of two f16 or bf16 rounded to float32 first and then to them is still exactly rounded. */
REF_INLINE double quotient(double x, double scale, int type)
{
	if (type == EL_f64)
		return x / scale;
	if (type == EL_f32)
		return (float)x / (float)scale;
	return ref_narrow(type, (float)ref_narrow(type, x) / (float)ref_narrow(type, scale));
}

void ref_quantize_linear(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *scale = &c->in[1], *zero = ref_in(c, 2), *y = &c->out[0];
	const RefAttr *a = c->attr;
	Scales s = scales(x, scale, a[ATTR_quantize_linear_axis].i, a[ATTR_quantize_linear_block_size].i);
	bool whole = !ref_is_float(y->elem), saturate = a[ATTR_quantize_linear_saturate].i != 0;
	int type = division_type(scale, a[ATTR_quantize_linear_precision].i);
	bool f32 = x->elem == EL_f32 && type == EL_f32;
	int64_t n = ref_count(y), run = run_length(&s, n);
	for (int64_t first = 0; first < n; first += run) {
		int64_t k = scale_at(&s, first);
		double factor = ref_get_f64(scale, k), z = zero ? ref_get_f64(zero, k) : 0;
		for (int64_t i = first; i < first + run; i++) {
			double v = f32 ? ((const float *)x->data)[i] / (float)factor
			               : quotient(ref_get_f64(x, i), factor, type);
			if (whole)
				ref_put_f64(y, i, refm_rint(v) + z);
			else
				ref_put_cast(y, i, v + z, saturate);
		}
	}
}

void ref_dequantize_linear(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *scale = &c->in[1], *zero = ref_in(c, 2), *y = &c->out[0];
	const RefAttr *a = c->attr;
	Scales s = scales(x, scale, a[ATTR_dequantize_linear_axis].i, a[ATTR_dequantize_linear_block_size].i);
	bool whole = !ref_is_float(x->elem);
	int64_t n = ref_count(y), run = run_length(&s, n);
	for (int64_t first = 0; first < n; first += run) {
		int64_t k = scale_at(&s, first), zi = zero && whole ? ref_get_i64(zero, k) : 0;
		float factor = (float)ref_get_f64(scale, k);
		double zf = zero && !whole ? ref_get_f64(zero, k) : 0;
		for (int64_t i = first; i < first + run; i++) {
			float v = whole ? (float)(ref_get_i64(x, i) - zi) : (float)(ref_get_f64(x, i) - zf);
			ref_put_f64(y, i, v * factor);
		}
	}
}
