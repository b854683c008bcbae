/* ir/exec_values.c -- operand values that select memory: wrong ones are refused before a kernel runs. */
#include <stdio.h>

#include "ir/exec_internal.h"

typedef MloStatus CheckFn(const MloNode *n, const RefCall *c, MloDiag *d);

static int64_t count_dims(const RefTensor *t, int from, int to)
{
	int64_t n = 1;
	for (int i = from; i < to; i++)
		n *= t->dim[i];
	return n;
}

static int64_t int_at(const RefTensor *t, int64_t i)
{
	switch (t->elem) {
	case EL_i64: return ((const int64_t *)t->data)[i];
	case EL_i32: return ((const int32_t *)t->data)[i];
	default: return 0;
	}
}

static MloStatus outside(const MloNode *n, int64_t k, const char *what, int64_t size, MloDiag *d)
{
	return mlo_error(d, MLO_ERR_MODEL, "node '%s' (%s): index %lld is outside %s of %lld elements",
	                 mlo_node_name(n), mlo_op_info(n->op)->name, (long long)k, what, (long long)size);
}

/* Every element of index selects among `size`, from the end when negative. */
static MloStatus along_axis(const MloNode *n, const RefCall *c, int64_t axis, MloDiag *d)
{
	const RefTensor *x = &c->in[0], *index = &c->in[1];
	char what[40];
	axis += axis < 0 ? x->rank : 0;
	snprintf(what, sizeof what, "axis %lld", (long long)axis);
	for (int64_t i = 0, count = count_dims(index, 0, index->rank); i < count; i++) {
		int64_t k = int_at(index, i), size = x->dim[axis];
		if (k < -size || k >= size)
			return outside(n, k, what, size, d);
	}
	return MLO_OK;
}

static MloStatus check_gather(const MloNode *n, const RefCall *c, MloDiag *d)
{
	return along_axis(n, c, c->attr[ATTR_gather_axis].i, d);
}

static MloStatus check_gather_elements(const MloNode *n, const RefCall *c, MloDiag *d)
{
	return along_axis(n, c, c->attr[ATTR_gather_elements_axis].i, d);
}

static MloStatus check_scatter_elements(const MloNode *n, const RefCall *c, MloDiag *d)
{
	return along_axis(n, c, c->attr[ATTR_scatter_elements_axis].i, d);
}

/* The last dimension of index holds positions in dimensions of x from `batch` on. */
static MloStatus tuples(const MloNode *n, const RefCall *c, int batch, MloDiag *d)
{
	const RefTensor *x = &c->in[0], *index = &c->in[1];
	int64_t len = index->dim[index->rank - 1], count = count_dims(index, 0, index->rank);
	char what[40];
	for (int64_t i = 0; i < count; i++) {
		int64_t axis = batch + i % len, k = int_at(index, i), size = x->dim[axis];
		snprintf(what, sizeof what, "axis %lld", (long long)axis);
		if (k < -size || k >= size)
			return outside(n, k, what, size, d);
	}
	return MLO_OK;
}

static MloStatus check_gather_nd(const MloNode *n, const RefCall *c, MloDiag *d)
{
	return tuples(n, c, (int)c->attr[ATTR_gather_nd_batch_dims].i, d);
}

static MloStatus check_scatter_nd(const MloNode *n, const RefCall *c, MloDiag *d)
{
	return tuples(n, c, 0, d);
}

static MloStatus check_max_unpool(const MloNode *n, const RefCall *c, MloDiag *d)
{
	int64_t size = count_dims(&c->out[0], 0, c->out[0].rank);
	for (int64_t i = 0, count = count_dims(&c->in[1], 0, c->in[1].rank); i < count; i++) {
		int64_t k = int_at(&c->in[1], i);
		if (k < 0 || k >= size)
			return outside(n, k, "the result", size, d);
	}
	return MLO_OK;
}

static MloStatus check_reverse_sequence(const MloNode *n, const RefCall *c, MloDiag *d)
{
	int64_t time = c->in[0].dim[c->attr[ATTR_reverse_sequence_time_axis].i == 1];
	for (int64_t i = 0, count = count_dims(&c->in[1], 0, c->in[1].rank); i < count; i++) {
		int64_t k = int_at(&c->in[1], i);
		if (k < 0 || k > time)
			return outside(n, k, "sequences", time, d);
	}
	return MLO_OK;
}

static MloStatus check_roi_align(const MloNode *n, const RefCall *c, MloDiag *d)
{
	for (int64_t i = 0, count = count_dims(&c->in[2], 0, c->in[2].rank); i < count; i++) {
		int64_t k = int_at(&c->in[2], i);
		if (k < 0 || k >= c->in[0].dim[0])
			return outside(n, k, "a batch", c->in[0].dim[0], d);
	}
	return MLO_OK;
}

/* Classes of labels, unless ignored. */
static MloStatus labels(const MloNode *n, const RefCall *c, int64_t ignore, MloDiag *d)
{
	for (int64_t i = 0, count = count_dims(&c->in[1], 0, c->in[1].rank); i < count; i++) {
		int64_t k = int_at(&c->in[1], i);
		if (k != ignore && (k < 0 || k >= c->in[0].dim[1]))
			return outside(n, k, "classes", c->in[0].dim[1], d);
	}
	return MLO_OK;
}

static MloStatus check_nll_loss(const MloNode *n, const RefCall *c, MloDiag *d)
{
	return labels(n, c, c->attr[ATTR_nll_loss_ignore_index].i, d);
}

static MloStatus check_softmax_cross_entropy(const MloNode *n, const RefCall *c, MloDiag *d)
{
	return labels(n, c, c->attr[ATTR_softmax_cross_entropy_ignore_index].i, d);
}

static CheckFn *const check_of[OP_COUNT] = {
	[OP_gather] = check_gather,
	[OP_gather_elements] = check_gather_elements,
	[OP_scatter_elements] = check_scatter_elements,
	[OP_gather_nd] = check_gather_nd,
	[OP_scatter_nd] = check_scatter_nd,
	[OP_max_unpool] = check_max_unpool,
	[OP_reverse_sequence] = check_reverse_sequence,
	[OP_roi_align] = check_roi_align,
	[OP_nll_loss] = check_nll_loss,
	[OP_softmax_cross_entropy] = check_softmax_cross_entropy,
};

MloStatus mlo_exec_check_values(const MloNode *n, const RefCall *c, MloDiag *d)
{
	return check_of[n->op] ? check_of[n->op](n, c, d) : MLO_OK;
}
