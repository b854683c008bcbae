/* ir/infer_sized.c -- operators whose result sizes follow from what operands hold: sizes of constants. */
#include "ir/exec.h"
#include "ir/infer.h"

static RefTensor tensor_of(MloArena *a, const MloTensor *t)
{
	unsigned bytes = mlo_elem_bits(t->elem) / 8, align = bytes > 8 ? 8 : bytes ? bytes : 1;
	const void *data = t->nbytes ? t->data : "";

	if ((uintptr_t)data % align)
		data = mlo_dup(a, data, t->nbytes);
	return (RefTensor){(void *)(uintptr_t)data, t->dim, t->rank, (int32_t)t->elem};
}

static bool all_constant(const InferCx *c)
{
	for (uint32_t i = 0; i < c->n->nin; i++)
		if (c->n->in[i] && !c->n->in[i]->data)
			return false;
	return true;
}

static MloStatus compute(InferCx *c, MloArena *a, MloType *t)
{
	uint32_t nin = c->n->nin, nout = c->n->nout;
	RefTensor *in = MLO_NEWN(a, RefTensor, nin + 1), *out = MLO_NEWN(a, RefTensor, nout + 1);
	int64_t *dims = MLO_NEWN(a, int64_t, (size_t)nout * REF_SIZES + 1);
	RefAttr *attr = MLO_NEWN(a, RefAttr, (size_t)mlo_op_info(c->n->op)->nattr + 1);

	for (uint32_t i = 0; i < nin; i++)
		if (c->n->in[i])
			in[i] = tensor_of(a, c->n->in[i]->data);
	for (uint32_t i = 0; i < nout; i++)
		out[i] = (RefTensor){.rank = t[i].rank, .elem = (int32_t)t[i].elem};
	mlo_ref_attrs(a, c->n, attr);
	mlo_size_kernel(c->n->op)(&(RefCall){.in = in, .out = out, .attr = attr, .nin = (int32_t)nin, .nout = (int32_t)nout}, dims);
	for (uint32_t i = 0; i < nout; i++)
		for (int d = 0; d < t[i].rank; d++) {
			int64_t k = dims[i * REF_SIZES + (uint32_t)d];

			if (k < 0)
				return infer_error(c, "the operands ask for a result that cannot be");
			if (dim_is_unknown(t[i].dim[d]))
				t[i].dim[d] = mlo_dim(k);
		}
	return MLO_OK;
}

MloStatus infer_sized_out(InferCx *c, MloType *t)
{
	bool ranked = true;

	for (uint32_t i = 0; i < c->n->nout; i++)
		ranked = ranked && t[i].rank >= 0;
	if (ranked && all_constant(c)) {
		MloArena *a = mlo_arena_new();
		MloStatus st = a ? compute(c, a, t) : MLO_ERR_NOMEM;

		mlo_arena_free(a);
		MLO_TRY(st);
	}
	for (uint32_t i = 0; i < c->n->nout; i++)
		MLO_TRY(infer_out(c, i, &t[i]));
	return MLO_OK;
}

static MloStatus computable(const InferCx *c, const MloType *x)
{
	MloElemClass k = mlo_elem_class(x->elem);

	if (k == EC_COMPLEX)
		return infer_error(c, "'%s' is %s, which has no order", infer_name(c, 0), mlo_elem_text(x->elem));
	return MLO_OK;
}

MloStatus infer_non_zero(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t = {.elem = EL_i64, .rank = 2, .dim = {DIM_UNKNOWN, DIM_UNKNOWN}};

	if (x->rank >= 0)
		t.dim[0] = mlo_dim(x->rank);
	return infer_sized_out(c, &t);
}

static MloDim elements(InferCx *c, const MloType *x)
{
	MloDim n = mlo_dim(1);

	for (int i = 0; i < x->rank; i++)
		n = infer_mul(c, n, x->dim[i]);
	return n;
}

/* The slices along an axis become an unknown number; flat: elements. */
static MloStatus slices(InferCx *c, int64_t attr, MloType *t, bool *flat, int *axis)
{
	*t = *infer_in(c, 0);
	*flat = attr == INT64_MAX;
	*axis = 0;
	if (*flat)
		*t = (MloType){.elem = t->elem, .rank = 1, .dim = {DIM_UNKNOWN}};
	else if (t->rank >= 0) {
		MLO_TRY(infer_axis(c, attr, t->rank, axis));
		t->dim[*axis] = DIM_UNKNOWN;
	}
	return MLO_OK;
}

/* The conditions that hold, of those that meet one of the n slices. */
static MloDim count_kept(const MloTensor *keep, MloDim n)
{
	int64_t count = 0, most = mlo_tensor_elems(keep);

	if (dim_is_unknown(n) || n.e)
		return DIM_UNKNOWN;
	for (int64_t i = 0; i < most && i < n.k; i++)
		count += mlo_tensor_i64(keep, i) != 0;
	return mlo_dim(count);
}

MloStatus infer_compress(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *keep = infer_in(c, 1);
	MloType t;
	bool flat;
	int axis;

	if (keep->elem != EL_bool || (keep->rank >= 0 && keep->rank != 1))
		return infer_error(c, "'%s' is %s, a vector of bools is expected", infer_name(c, 1),
		                   infer_type_text(c, keep));
	MLO_TRY(slices(c, mlo_attr_i(c->n, ATTR_compress_axis), &t, &flat, &axis));
	if (c->n->in[1]->data && x->rank >= 0)
		t.dim[axis] = count_kept(c->n->in[1]->data, flat ? elements(c, x) : x->dim[axis]);
	return infer_sized_out(c, &t);
}

MloStatus infer_unique(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t[4];
	bool flat;
	int axis;

	if (!c->n->out[0])
		return infer_error(c, "the first result is needed");
	MLO_TRY(computable(c, x));
	MLO_TRY(slices(c, mlo_attr_i(c->n, ATTR_unique_axis), &t[0], &flat, &axis));
	for (int i = 1; i < 4; i++)
		t[i] = (MloType){.elem = EL_i64, .rank = 1, .dim = {DIM_UNKNOWN}};
	if (x->rank >= 0)
		t[2].dim[0] = flat ? elements(c, x) : x->dim[axis];
	MLO_TRY(infer_sized_out(c, t));
	for (uint32_t i = 1; i < c->n->nout; i += 2) { /* one each per different slice */
		t[i].dim[0] = c->n->out[0]->type.rank < 0 ? DIM_UNKNOWN : c->n->out[0]->type.dim[axis];
		MLO_TRY(infer_out(c, i, &t[i]));
	}
	return MLO_OK;
}

MloStatus infer_non_max_suppression(InferCx *c)
{
	const MloType *boxes = infer_in(c, 0), *scores = infer_in(c, 1);
	MloType t = {.elem = EL_i64, .rank = 2, .dim = {DIM_UNKNOWN, mlo_dim(3)}};
	MloDim n;

	for (uint32_t i = 0; i < 2; i++)
		if (infer_in(c, i)->rank >= 0 && infer_in(c, i)->rank != 3)
			return infer_error(c, "'%s' is %s, three dimensions are expected", infer_name(c, i),
			                   infer_type_text(c, infer_in(c, i)));
	if (boxes->rank == 3 && mlo_dim_known(boxes->dim[2]) && boxes->dim[2].k != 4)
		return infer_error(c, "'%s' is %s, boxes have four numbers", infer_name(c, 0),
		                   infer_type_text(c, boxes));
	if (boxes->rank == 3 && scores->rank == 3) {
		if (!infer_meet(boxes->dim[0], scores->dim[0], &n) || !infer_meet(boxes->dim[1], scores->dim[2], &n))
			return infer_error(c, "boxes '%s' %s and scores '%s' %s do not fit", infer_name(c, 0),
			                   infer_type_text(c, boxes), infer_name(c, 1), infer_type_text(c, scores));
		if (mlo_dim_known(n) && n.k > REF_NMS_BOXES)
			return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "%lld boxes, more than %d", (long long)n.k,
			                      REF_NMS_BOXES);
	}
	return infer_sized_out(c, &t);
}
