/* ir/ref/ref_move.c -- operators whose results are copies of operand elements. */
#include "ir/ref/ref_elem.h"

void ref_transpose(const RefCall *c)
{
	const RefTensor *x = &c->in[0];
	const RefAttr *perm = &c->attr[ATTR_transpose_perm];
	int64_t dim[REF_MAX_RANK], from[REF_MAX_RANK], stride[REF_MAX_RANK];
	ref_strides(x->dim, x->rank, from);
	for (int d = 0; d < x->rank; d++) {
		int p = perm->n ? ref_axis(perm->ints[d], x->rank) : x->rank - 1 - d;
		dim[d] = x->dim[p];
		stride[d] = from[p];
	}
	ref_gather_strided(&c->out[0], x->rank, dim, x->data, 0, stride);
}

/* Shape changes leave the elements in their order. */
static void copy_all(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	if (y->data != c->in[0].data)
		ref_copy(y->data, 0, c->in[0].data, 0, ref_count(y), ref_elem_bits(y->elem));
}

void ref_reshape(const RefCall *c) { copy_all(c); }
void ref_flatten(const RefCall *c) { copy_all(c); }
void ref_squeeze(const RefCall *c) { copy_all(c); }
void ref_unsqueeze(const RefCall *c) { copy_all(c); }

void ref_expand(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t from[REF_MAX_RANK], stride[REF_MAX_RANK];
	ref_strides(x->dim, x->rank, from);
	for (int d = 0; d < y->rank; d++) {
		int e = d - (y->rank - x->rank);
		stride[d] = e < 0 || x->dim[e] == 1 ? 0 : from[e];
	}
	ref_gather_strided(y, y->rank, y->dim, x->data, 0, stride);
}

void ref_tile(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t from[REF_MAX_RANK], dim[REF_NEST_RANK], stride[REF_NEST_RANK];
	ref_strides(x->dim, x->rank, from);
	for (int d = 0; d < x->rank; d++) {
		dim[2 * d] = x->dim[d] ? y->dim[d] / x->dim[d] : 0;
		stride[2 * d] = 0;
		dim[2 * d + 1] = x->dim[d];
		stride[2 * d + 1] = from[d];
	}
	ref_gather_strided(y, 2 * x->rank, dim, x->data, 0, stride);
}

void ref_concat(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	int axis = ref_axis(c->attr[ATTR_concat_axis].i, y->rank), bits = ref_elem_bits(y->elem);
	int64_t outer = ref_count_dims(y->dim, 0, axis), inner = ref_count_dims(y->dim, axis + 1, y->rank);
	int64_t row = y->dim[axis] * inner, at = 0;
	for (int i = 0; i < c->nin; i++) {
		int64_t n = c->in[i].dim[axis] * inner;
		for (int64_t o = 0; o < outer && n > 0; o++)
			ref_copy(y->data, o * row + at, c->in[i].data, o * n, n, bits);
		at += n;
	}
}

/* A result that nobody wants has no shape either: part sizes come from the operand, if present. */
void ref_split(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *sizes = ref_in(c, 1);
	int axis = ref_axis(c->attr[ATTR_split_axis].i, x->rank), bits = ref_elem_bits(x->elem);
	int64_t outer = ref_count_dims(x->dim, 0, axis), inner = ref_count_dims(x->dim, axis + 1, x->rank);
	int64_t size = x->dim[axis], row = size * inner, at = 0;
	int64_t part = c->nout ? (size + c->nout - 1) / c->nout : 0;
	for (int i = 0; i < c->nout; i++) {
		const RefTensor *y = &c->out[i];
		int64_t n = sizes ? ref_get_i64(sizes, i) : i < c->nout - 1 ? part : size - part * i;
		n *= inner;
		for (int64_t o = 0; o < outer && y->data && n > 0; o++)
			ref_copy(y->data, o * n, x->data, o * row + at, n, bits);
		at += n;
	}
}

/* The first index along a dimension of n elements; bounds are clamped as ONNX's Slice says. */
static int64_t slice_start(int64_t start, int64_t step, int64_t n)
{
	int64_t lo = 0, hi = step > 0 ? n : n - 1;
	if (start < 0)
		start += n;
	return start < lo ? lo : start > hi ? hi : start;
}

void ref_slice(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0], *starts = &c->in[1];
	const RefTensor *axes = ref_in(c, 3), *steps = ref_in(c, 4);
	int64_t stride[REF_MAX_RANK], from[REF_MAX_RANK], offset = 0;
	ref_strides(x->dim, x->rank, from);
	for (int d = 0; d < x->rank; d++)
		stride[d] = from[d];
	for (int64_t i = 0, n = ref_count(starts); i < n; i++) {
		int d = axes ? ref_axis(ref_get_i64(axes, i), x->rank) : (int)i;
		int64_t step = steps ? ref_get_i64(steps, i) : 1;
		offset += slice_start(ref_get_i64(starts, i), step, x->dim[d]) * from[d];
		stride[d] = step * from[d];
	}
	if (ref_count(y) > 0)
		ref_gather_strided(y, y->rank, y->dim, x->data, offset, stride);
}

typedef enum PadMode { PAD_CONSTANT, PAD_EDGE, PAD_REFLECT, PAD_WRAP } PadMode;

/* Position i of the padded dimension in terms of the n given elements; -1: the constant. */
REF_INLINE int64_t pad_source(PadMode mode, int64_t i, int64_t n)
{
	if (i >= 0 && i < n)
		return i;
	if (mode == PAD_CONSTANT || n == 0)
		return -1;
	if (mode == PAD_EDGE)
		return i < 0 ? 0 : n - 1;
	int64_t period = mode == PAD_WRAP ? n : n > 1 ? 2 * (n - 1) : 1;
	i %= period;
	i = i < 0 ? i + period : i;
	return i < n ? i : period - i;
}

/* One row: outer positions resolved to `base` (negative: all constant), the last dimension here. */
static void pad_row(const RefTensor *y, int64_t to, const RefTensor *x, int64_t base, int64_t before,
                    PadMode mode, const RefTensor *value)
{
	int bits = ref_elem_bits(y->elem), last = y->rank - 1;
	for (int64_t i = 0; i < y->dim[last]; i++) {
		int64_t s = base < 0 ? -1 : pad_source(mode, i - before, x->dim[last]);
		if (s >= 0)
			ref_copy_elem(y->data, to + i, x->data, base + s, bits);
		else if (value)
			ref_copy_elem(y->data, to + i, value->data, 0, bits);
		else
			ref_put_i64(y, to + i, 0);
	}
}

static PadMode pad_mode(const char *s)
{
	return ref_text_is(s, "edge") ? PAD_EDGE :
	       ref_text_is(s, "reflect") ? PAD_REFLECT :
	       ref_text_is(s, "wrap") ? PAD_WRAP : PAD_CONSTANT;
}

void ref_pad(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0], *pads = &c->in[1], *axes = ref_in(c, 3);
	PadMode mode = pad_mode(c->attr[ATTR_pad_mode].s);
	int64_t before[REF_MAX_RANK], at[REF_MAX_RANK], from[REF_MAX_RANK], n = ref_count(pads) / 2;
	if (x->rank == 0) {
		ref_copy_elem(y->data, 0, x->data, 0, ref_elem_bits(y->elem));
		return;
	}
	ref_strides(x->dim, x->rank, from);
	for (int d = 0; d < x->rank; d++)
		before[d] = at[d] = 0;
	for (int64_t i = 0; i < n; i++)
		before[axes ? ref_axis(ref_get_i64(axes, i), x->rank) : i] = ref_get_i64(pads, i);
	int last = y->rank - 1;
	int64_t rows = ref_count_dims(y->dim, 0, last);
	for (int64_t r = 0, to = 0; r < rows; r++, to += y->dim[last]) {
		int64_t base = 0;
		for (int d = 0; d < last; d++) {
			int64_t s = pad_source(mode, at[d] - before[d], x->dim[d]);
			base = s < 0 || base < 0 ? -1 : base + s * from[d];
		}
		pad_row(y, to, x, base, before[last], mode, ref_in(c, 2));
		for (int d = last; d-- > 0;) {
			if (++at[d] < y->dim[d])
				break;
			at[d] = 0;
		}
	}
}

/* Indices outside the axis (the executor refuses them) give zeros: no access outside x. */
void ref_gather(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *index = &c->in[1], *y = &c->out[0];
	int axis = ref_axis(c->attr[ATTR_gather_axis].i, x->rank), bits = ref_elem_bits(x->elem);
	int64_t outer = ref_count_dims(x->dim, 0, axis), inner = ref_count_dims(x->dim, axis + 1, x->rank);
	int64_t n = ref_count(index), size = x->dim[axis], to = 0;
	for (int64_t o = 0; o < outer; o++)
		for (int64_t i = 0; i < n; i++, to += inner) {
			int64_t k = ref_get_i64(index, i);
			k = k < 0 ? k + size : k;
			if (k >= 0 && k < size)
				ref_copy(y->data, to, x->data, (o * size + k) * inner, inner, bits);
			else
				for (int64_t j = 0; j < inner && bits < 128; j++)
					ref_put_i64(y, to + j, 0);
		}
}

/* x[N,C,H,W] as [N, b, b, C', H, W] (DCR) or [N, C', b, b, H, W] (CRD), to [N, C', H, b, W, b]. */
void ref_depth_to_space(const RefCall *c)
{
	const RefTensor *x = &c->in[0];
	int64_t b = c->attr[ATTR_depth_to_space_blocksize].i;
	bool crd = ref_text_is(c->attr[ATTR_depth_to_space_mode].s, "CRD");
	int64_t ch = x->dim[1] / (b * b), hw = x->dim[2] * x->dim[3];
	int64_t channel = crd ? b * b * hw : hw, by = crd ? b * hw : b * ch * hw, bx = crd ? hw : ch * hw;
	int64_t dim[6] = {x->dim[0], ch, x->dim[2], b, x->dim[3], b};
	int64_t stride[6] = {x->dim[1] * hw, channel, x->dim[3], by, 1, bx};
	ref_gather_strided(&c->out[0], 6, dim, x->data, 0, stride);
}
