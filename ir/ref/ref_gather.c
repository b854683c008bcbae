/* ir/ref/ref_gather.c -- results whose elements are picked by index operands.
 *
 * Indices outside their axis (the executor refuses them) give zeros: no access outside the operand. */
#include "ir/ref/ref_elem.h"

/* y[i][j].. = x with the position along axis replaced by index[i][j].. */
void ref_gather_elements(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *index = &c->in[1], *y = &c->out[0];
	int axis = ref_axis(c->attr[ATTR_gather_elements_axis].i, x->rank), bits = ref_elem_bits(x->elem);
	int64_t at[REF_MAX_RANK] = {0, 0, 0, 0, 0, 0, 0, 0}, from[REF_MAX_RANK], n = ref_count(y);
	ref_strides(x->dim, x->rank, from);
	ref_advance_by(at, y->dim, y->rank, n > 0 ? c->part : 0);
	for (int64_t i = c->part; i < n; i += ref_step(c), ref_advance_by(at, y->dim, y->rank, ref_step(c))) {
		int64_t k = ref_wrap(ref_get_i64(index, i), x->dim[axis]), src = k * from[axis];
		bool inside = k >= 0;
		for (int d = 0; d < x->rank; d++) {
			src += d == axis ? 0 : at[d] * from[d];
			inside = inside && (d == axis || at[d] < x->dim[d]);
		}
		if (inside)
			ref_copy_elem(y->data, i, x->data, src, bits);
		else
			ref_zero(y->data, i, 1, bits);
	}
}

/* The last dimension of index holds positions in the dimensions of x behind the batch. */
void ref_gather_nd(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *index = &c->in[1], *y = &c->out[0];
	int batch = (int)c->attr[ATTR_gather_nd_batch_dims].i, bits = ref_elem_bits(x->elem);
	int len = (int)index->dim[index->rank - 1];
	int64_t from[REF_MAX_RANK], batches = ref_count_dims(x->dim, 0, batch);
	int64_t tuples = ref_count_dims(index->dim, batch, index->rank - 1);
	int64_t slice = ref_count_dims(x->dim, batch + len, x->rank);
	int64_t whole = ref_count_dims(x->dim, batch, x->rank);
	ref_strides(x->dim, x->rank, from);
	for (int64_t t = c->part; t < batches * tuples; t += ref_step(c)) {
		int64_t src = t / tuples * whole;
		bool inside = true;
		for (int d = 0; d < len; d++) {
			int64_t k = ref_wrap(ref_get_i64(index, t * len + d), x->dim[batch + d]);
			inside = inside && k >= 0;
			src += k * from[batch + d];
		}
		if (inside)
			ref_copy(y->data, t * slice, x->data, src, slice, bits);
		else
			ref_zero(y->data, t * slice, slice, bits);
	}
}

/* indices, depth, values (off, on): a new dimension in which one element is on; none for an index outside. */
void ref_one_hot(const RefCall *c)
{
	const RefTensor *index = &c->in[0], *values = &c->in[2], *y = &c->out[0];
	int axis = ref_axis(c->attr[ATTR_one_hot_axis].i, y->rank), bits = ref_elem_bits(y->elem);
	int64_t depth = y->dim[axis], inner = ref_count_dims(y->dim, axis + 1, y->rank), n = ref_count(y);
	for (int64_t i = c->part; i < n; i += ref_step(c)) {
		int64_t at = i / (depth * inner) * inner + i % inner;
		int64_t k = ref_wrap(ref_get_i64(index, at), depth);
		ref_copy_elem(y->data, i, values->data, k == i / inner % depth, bits);
	}
}

/* The first lens[b] elements along the time axis of batch b in reverse order, the others as they are. */
void ref_reverse_sequence(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *lens = &c->in[1], *y = &c->out[0];
	bool batch_first = c->attr[ATTR_reverse_sequence_batch_axis].i == 0;
	int bits = ref_elem_bits(x->elem);
	int64_t inner = ref_count_dims(x->dim, 2, x->rank), time = x->dim[batch_first];
	for (int64_t i = 0; i < x->dim[0] * x->dim[1]; i++) {
		int64_t a = i / x->dim[1], b = i % x->dim[1], t = batch_first ? b : a;
		int64_t len = ref_get_i64(lens, batch_first ? a : b);
		len = len > time ? time : len;
		int64_t from = t < len ? len - 1 - t : t;
		int64_t src = batch_first ? a * x->dim[1] + from : from * x->dim[1] + b;
		ref_copy(y->data, i * inner, x->data, src * inner, inner, bits);
	}
}

/* The slices along axis (flattened x without one) whose condition holds; conditions may be fewer. */
void ref_compress(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *keep = &c->in[1], *y = &c->out[0];
	int64_t axis = c->attr[ATTR_compress_axis].i, outer = 1, n = ref_count(x), inner = 1, rows = ref_count(y);
	int bits = ref_elem_bits(x->elem);
	if (axis != INT64_MAX) {
		int d = ref_axis(axis, x->rank);
		outer = ref_count_dims(x->dim, 0, d);
		n = x->dim[d];
		inner = ref_count_dims(x->dim, d + 1, x->rank);
		rows = y->dim[d];
	}
	int64_t given = ref_count(keep) < n ? ref_count(keep) : n, row = 0;
	for (int64_t i = 0; i < given && row < rows; i++) {
		if (!ref_get_i64(keep, i))
			continue;
		for (int64_t o = 0; o < outer; o++)
			ref_copy(y->data, (o * rows + row) * inner, x->data, (o * n + i) * inner, inner, bits);
		row++;
	}
	for (; row < rows; row++) /* more rows than conditions that hold: not what the result should be */
		for (int64_t o = 0; o < outer; o++)
			ref_zero(y->data, (o * rows + row) * inner, inner, bits);
}

/* Positions of the elements that are not zero, one column each. */
void ref_non_zero(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t *pos = y->data, at[REF_MAX_RANK] = {0, 0, 0, 0, 0, 0, 0, 0}, columns = y->dim[1], col = 0;
	bool is_float = ref_is_float(x->elem);
	for (int64_t i = 0, n = ref_count(x); i < n && col < columns; i++, ref_advance(at, x->dim, x->rank)) {
		if (is_float ? ref_get_f64(x, i) == 0 : ref_get_i64(x, i) == 0)
			continue;
		for (int d = 0; d < x->rank; d++)
			pos[d * columns + col] = at[d];
		col++;
	}
	for (; col < columns; col++)
		for (int d = 0; d < x->rank; d++)
			pos[d * columns + col] = 0;
}

/* Cropped or padded with zeros on both sides, one more at the end where the difference is odd. */
void ref_center_crop_pad(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t at[REF_MAX_RANK] = {0, 0, 0, 0, 0, 0, 0, 0}, from[REF_MAX_RANK], shift[REF_MAX_RANK];
	int bits = ref_elem_bits(x->elem);
	ref_strides(x->dim, x->rank, from);
	for (int d = 0; d < x->rank; d++) {
		int64_t more = x->dim[d] - y->dim[d];
		shift[d] = more > 0 ? more / 2 : -(-more / 2);
	}
	for (int64_t i = 0, n = ref_count(y); i < n; i++, ref_advance(at, y->dim, y->rank)) {
		int64_t src = 0;
		bool inside = true;
		for (int d = 0; d < x->rank; d++) {
			int64_t k = at[d] + shift[d];
			inside = inside && k >= 0 && k < x->dim[d];
			src += k * from[d];
		}
		if (inside)
			ref_copy_elem(y->data, i, x->data, src, bits);
		else
			ref_zero(y->data, i, 1, bits);
	}
}
