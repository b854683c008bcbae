/* ir/ref/ref_scatter.c -- a tensor with elements replaced at, or combined into, positions given by indices.
 *
 * Indices outside their axis (the executor refuses them) are skipped. */
#include "ir/ref/ref_elem.h"

typedef enum Reduction { RED_NONE, RED_ADD, RED_MUL, RED_MAX, RED_MIN } Reduction;

static Reduction reduction_of(const char *s)
{
	return ref_text_is(s, "add") ? RED_ADD :
	       ref_text_is(s, "mul") ? RED_MUL :
	       ref_text_is(s, "max") ? RED_MAX :
	       ref_text_is(s, "min") ? RED_MIN : RED_NONE;
}

static void combine_float(const RefTensor *y, int64_t to, const RefTensor *u, int64_t from, Reduction how)
{
	double a = ref_get_f64(y, to), b = ref_get_f64(u, from);
	double min = b < a || b != b ? b : a, max = b > a || b != b ? b : a;
	ref_put_f64(y, to, how == RED_ADD ? a + b : how == RED_MUL ? a * b : how == RED_MAX ? max : min);
}

static void combine_int(const RefTensor *y, int64_t to, const RefTensor *u, int64_t from, Reduction how)
{
	uint64_t a = (uint64_t)ref_get_i64(y, to), b = (uint64_t)ref_get_i64(u, from);
	bool more = ref_order_key(u, from) > ref_order_key(y, to);
	uint64_t r = how == RED_ADD ? a + b : how == RED_MUL ? a * b : more == (how == RED_MAX) ? b : a;
	ref_put_i64(y, to, (int64_t)r);
}

/* y[to] = y[to] with u[from] */
static void combine(const RefTensor *y, int64_t to, const RefTensor *u, int64_t from, Reduction how)
{
	if (how == RED_NONE)
		ref_copy_elem(y->data, to, u->data, from, ref_elem_bits(y->elem));
	else if (ref_is_float(y->elem))
		combine_float(y, to, u, from, how);
	else
		combine_int(y, to, u, from, how);
}

static void start_with(const RefTensor *y, const RefTensor *x)
{
	if (y->data != x->data)
		ref_copy(y->data, 0, x->data, 0, ref_count(y), ref_elem_bits(y->elem));
}

void ref_scatter_elements(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *index = &c->in[1], *u = &c->in[2], *y = &c->out[0];
	Reduction how = reduction_of(c->attr[ATTR_scatter_elements_reduction].s);
	int axis = ref_axis(c->attr[ATTR_scatter_elements_axis].i, x->rank);
	int64_t at[REF_MAX_RANK] = {0, 0, 0, 0, 0, 0, 0, 0}, stride[REF_MAX_RANK], n = ref_count(index);
	ref_strides(x->dim, x->rank, stride);
	start_with(y, x);
	for (int64_t i = 0; i < n; i++, ref_advance(at, index->dim, index->rank)) {
		int64_t k = ref_wrap(ref_get_i64(index, i), x->dim[axis]), to = k * stride[axis];
		bool inside = k >= 0;
		for (int d = 0; d < x->rank; d++) {
			to += d == axis ? 0 : at[d] * stride[d];
			inside = inside && (d == axis || at[d] < x->dim[d]);
		}
		if (inside)
			combine(y, to, u, i, how);
	}
}

/* The last dimension of index holds positions in the first dimensions of x; slices are updated. */
void ref_scatter_nd(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *index = &c->in[1], *u = &c->in[2], *y = &c->out[0];
	Reduction how = reduction_of(c->attr[ATTR_scatter_nd_reduction].s);
	int len = (int)index->dim[index->rank - 1];
	int64_t stride[REF_MAX_RANK], tuples = ref_count_dims(index->dim, 0, index->rank - 1);
	int64_t slice = ref_count_dims(x->dim, len, x->rank);
	ref_strides(x->dim, x->rank, stride);
	start_with(y, x);
	for (int64_t t = 0; t < tuples; t++) {
		int64_t to = 0;
		bool inside = true;
		for (int d = 0; d < len; d++) {
			int64_t k = ref_wrap(ref_get_i64(index, t * len + d), x->dim[d]);
			inside = inside && k >= 0;
			to += k * stride[d];
		}
		for (int64_t j = 0; j < slice && inside; j++)
			combine(y, to + j, u, t * slice + j, how);
	}
}

/* Undoes max pooling: every element goes to its index in the flattened result, the rest is 0.  Where
 * output_shape asks for a larger result, indices still count in the size that the windows give. */
void ref_max_unpool(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *index = &c->in[1], *y = &c->out[0];
	const RefAttr *kernel = &c->attr[ATTR_max_unpool_kernel_shape], *strides = &c->attr[ATTR_max_unpool_strides];
	const RefAttr *pads = &c->attr[ATTR_max_unpool_pads];
	int64_t size[REF_MAX_RANK], stride[REF_MAX_RANK], n = ref_count(x), all = 1;
	int nd = x->rank - 2;
	for (int d = 0; d < x->rank; d++) {
		int s = d - 2;
		size[d] = x->dim[d];
		if (s >= 0)
			size[d] = (x->dim[d] - 1) * (s < strides->n ? strides->ints[s] : 1) + kernel->ints[s] -
			          (s + nd < pads->n ? pads->ints[s] + pads->ints[s + nd] : 0);
		all = size[d] > 0 ? all * size[d] : 0;
	}
	ref_strides(y->dim, y->rank, stride);
	ref_zero(y->data, 0, ref_count(y), ref_elem_bits(y->elem));
	for (int64_t i = 0; i < n; i++) {
		int64_t k = ref_get_i64(index, i), to = 0;
		bool inside = k >= 0 && k < all;
		for (int d = x->rank; d-- > 0 && inside; k /= size[d]) {
			inside = k % size[d] < y->dim[d];
			to += k % size[d] * stride[d];
		}
		if (inside)
			ref_copy_elem(y->data, to, x->data, i, ref_elem_bits(y->elem));
	}
}
