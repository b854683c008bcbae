/* ir/ref/ref_elem.h -- elements of every type: load, store, copy; sizes and loops over shapes. */
#ifndef MLO_IR_REF_ELEM_H
#define MLO_IR_REF_ELEM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ir/op.h"
#include "ir/ref/ref.h"
#include "ir/ref/ref_math.h"

/* Typed loops are written once and specialised by inlining with constant arguments. */
#define REF_INLINE static inline __attribute__((always_inline))

enum { REF_MAX_RANK = 8 };

/* What the size functions share with the kernels. */
int64_t ref_unique_count(const RefTensor *x, int64_t axis);
int64_t ref_nms_count(const RefCall *c);

/* An EL_str element as the executor stores it. */
typedef struct RefText { const char *s; int64_t n; } RefText;

int ref_elem_bits(int elem);
MloElemClass ref_elem_class(int elem);
int ref_elem_from_onnx(int64_t code);       /* EL_none when unknown */
int64_t ref_int_max(int elem);              /* of integer types; u64: INT64_MAX */
int64_t ref_int_min(int elem);
REF_INLINE bool ref_is_float(int elem) { return ref_elem_class(elem) == EC_FLOAT; }
REF_INLINE bool ref_is_unsigned(int elem)
{
	MloElemClass k = ref_elem_class(elem);
	return k == EC_UINT || k == EC_BOOL;
}

/* Element i.  Integers read as floats are rounded, floats read as integers are truncated and
 * saturated (NaN: 0).  64-bit unsigned integers keep their bits in the int64_t. */
double ref_get_f64(const RefTensor *t, int64_t i);
int64_t ref_get_i64(const RefTensor *t, int64_t i);
/* Stores as Cast does: floats round to nearest even; integers from floats truncate and saturate,
 * from integers wrap; bool is x != 0.  8-bit floats saturate; ref_put_cast can say otherwise. */
void ref_put_f64(const RefTensor *t, int64_t i, double x);
void ref_put_i64(const RefTensor *t, int64_t i, int64_t x);
void ref_put_cast(const RefTensor *t, int64_t i, double x, bool saturate);
/* To f8e8m0, a power of two: how the fraction that it cannot hold is rounded. */
typedef enum RefRound { REF_ROUND_UP, REF_ROUND_DOWN, REF_ROUND_NEAREST } RefRound;
void ref_put_e8m0(const RefTensor *t, int64_t i, double x, bool saturate, RefRound mode);
/* x rounded to f16, bf16 or f32; as it is for other types. */
double ref_narrow(int elem, double x);
/* One element bit by bit; the types have the same size. */
void ref_copy_elem(void *dst, int64_t i, const void *src, int64_t j, int bits);
/* n elements, contiguous on both sides. */
void ref_copy(void *dst, int64_t i, const void *src, int64_t j, int64_t n, int bits);

REF_INLINE int64_t ref_count_dims(const int64_t *dim, int from, int to)
{
	int64_t n = 1;
	for (int i = from; i < to; i++)
		n *= dim[i];
	return n;
}

REF_INLINE int64_t ref_count(const RefTensor *t) { return ref_count_dims(t->dim, 0, t->rank); }

/* Operand i, or NULL when absent. */
REF_INLINE const RefTensor *ref_in(const RefCall *c, int i)
{
	return i < c->nin && c->in[i].data ? &c->in[i] : NULL;
}

REF_INLINE const RefTensor *ref_out(const RefCall *c, int i)
{
	return i < c->nout && c->out[i].data ? &c->out[i] : NULL;
}

REF_INLINE int ref_axis(int64_t axis, int rank) { return (int)(axis < 0 ? axis + rank : axis); }

REF_INLINE bool ref_text_is(const char *a, const char *b)
{
	if (!a)
		return *b == 0;
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* Index k of n elements, counted from the end when negative; -1: outside. */
REF_INLINE int64_t ref_wrap(int64_t k, int64_t n)
{
	k = k < 0 ? k + n : k;
	return k >= 0 && k < n ? k : -1;
}

/* The next position of a shape in row-major order; false after the last, then it is the first again. */
REF_INLINE bool ref_advance(int64_t *at, const int64_t *dim, int rank)
{
	for (int d = rank; d-- > 0;) {
		if (++at[d] < dim[d])
			return true;
		at[d] = 0;
	}
	return false;
}

/* The same, n positions further on. */
REF_INLINE void ref_advance_by(int64_t *at, const int64_t *dim, int rank, int64_t n)
{
	if (n == 1) {
		ref_advance(at, dim, rank);
		return;
	}
	for (int d = rank; d-- > 0 && n > 0;) {
		n += at[d];
		at[d] = n % dim[d];
		n /= dim[d];
	}
}

/* Callers share what a loop goes through: for (i = c->part; i < n; i += ref_step(c)). */
REF_INLINE int64_t ref_step(const RefCall *c)
{
	return c->parts > 1 ? c->parts : 1;
}

/* An integer that orders elements as their values do: -0 equals 0, NaN is the largest; bools and
 * numbers only. */
int64_t ref_order_key(const RefTensor *t, int64_t i);
/* n elements of zero bits: 0, false, the empty string. */
void ref_zero(void *dst, int64_t i, int64_t n, int bits);

/* Row-major strides in elements. */
REF_INLINE void ref_strides(const int64_t *dim, int rank, int64_t *stride)
{
	int64_t s = 1;
	for (int i = rank; i-- > 0; s *= dim[i])
		stride[i] = s;
}

/* A loop nest over a shape with up to three strided operands, beside a dense result.  Dimensions
 * of 1 are dropped and neighbours merged where every operand allows it, so that the innermost
 * loop is long.  rank >= 1 always. */
enum { REF_NEST_OPERANDS = 3, REF_NEST_RANK = 2 * REF_MAX_RANK };
typedef struct RefNest {
	int rank, noperands;
	int64_t dim[REF_NEST_RANK];
	int64_t stride[REF_NEST_OPERANDS][REF_NEST_RANK];
	int64_t at[REF_NEST_RANK];              /* the current row */
	int64_t offset[REF_NEST_OPERANDS];      /* of its first element, per operand */
	int64_t rows, total;                    /* left, this one included; at the start */
} RefNest;

/* stride[k] has `rank` entries for operand k.  For an empty shape rows is 0. */
void ref_nest(RefNest *s, int rank, const int64_t *dim, int noperands, const int64_t *const *stride);
/* The nest in which operands in[] broadcast to shape dim. */
void ref_nest_broadcast(RefNest *s, int rank, const int64_t *dim, int noperands,
                        const RefTensor *const *in);
void ref_nest_next(RefNest *s); /* to the next row */
/* After the last row: back to the first. */
REF_INLINE void ref_nest_restart(RefNest *s) { s->rows = s->total; }

/* dst (dense, from element 0) = src[offset + ...strides]. */
void ref_gather_strided(const RefTensor *dst, int rank, const int64_t *dim, const void *src,
                        int64_t offset, const int64_t *stride);
#endif
