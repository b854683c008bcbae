/* ir/infer_object.c -- result types of operators on sequences, optionals and maps.
 *
 * In the type of an object, a dimension that is no number means no more than "some size": items may
 * differ in it, so it never becomes the dimension of a tensor. */
#include "ir/infer.h"

static MloStatus need_kind(const InferCx *c, uint32_t i, bool ok, const char *what)
{
	if (ok)
		return MLO_OK;
	return infer_error(c, "operand '%s' is %s, %s is needed", infer_name(c, i), infer_type_text(c, infer_in(c, i)),
	                   what);
}

static MloStatus need_position(const InferCx *c, uint32_t i)
{
	const MloType *t = infer_in(c, i);

	if (!t)
		return MLO_OK;
	return need_kind(c, i, !mlo_type_object(t) && (t->elem == EL_i64 || t->elem == EL_i32), "an i64 or i32 scalar");
}

/* What a tensor taken out of objects of type t is. */
static MloType item_type(const MloType *t)
{
	MloType r = {.elem = t->elem, .rank = t->rank};

	for (int i = 0; i < r.rank; i++)
		r.dim[i] = t->dim[i].e ? DIM_UNKNOWN : t->dim[i];
	return r;
}

/* What items of types a and b have in common. */
static MloType join(const MloType *a, const MloType *b)
{
	MloType r = *a;

	if (a->rank != b->rank) {
		r.rank = MLO_RANK_UNKNOWN;
		return r;
	}
	for (int i = 0; i < r.rank; i++)
		if (a->dim[i].e || b->dim[i].e || a->dim[i].k != b->dim[i].k)
			r.dim[i] = DIM_UNKNOWN;
	return r;
}

static MloStatus sequence_out(InferCx *c, MloType t)
{
	t.kind = MLO_SEQ;
	t.key = EL_none;
	for (int i = 0; i < t.rank; i++)
		if (t.dim[i].e)
			t.dim[i] = DIM_UNKNOWN;
	return infer_out(c, 0, &t);
}

static MloStatus attr_elem(InferCx *c, int slot, MloElem *e)
{
	int64_t code = mlo_attr_i(c->n, slot);

	*e = code > 0 && code < 1000 ? mlo_elem_from_onnx((int)code) : EL_none;
	return *e == EL_none ? infer_error(c, "element type %lld is not known", (long long)code) : MLO_OK;
}

MloStatus infer_sequence_empty(InferCx *c)
{
	MloElem e;

	MLO_TRY(attr_elem(c, ATTR_sequence_empty_elem, &e));
	return sequence_out(c, infer_unranked(e));
}

MloStatus infer_sequence_construct(InferCx *c)
{
	MloType t = *infer_in(c, 0);

	for (uint32_t i = 0; i < c->n->nin; i++) {
		MLO_TRY(need_kind(c, i, !mlo_type_object(infer_in(c, i)), "a tensor"));
		MLO_TRY(infer_same_elem(c, 0, i));
		t = join(&t, infer_in(c, i));
	}
	return sequence_out(c, t);
}

MloStatus infer_sequence_at(InferCx *c)
{
	const MloType *s = infer_in(c, 0);
	MloType t = item_type(s);

	MLO_TRY(need_kind(c, 0, s->kind == MLO_SEQ || s->kind == MLO_SEQ_MAP, "a sequence"));
	MLO_TRY(need_position(c, 1));
	if (s->kind == MLO_SEQ_MAP) {
		t.kind = MLO_MAP;
		t.key = s->key;
	}
	return infer_out(c, 0, &t);
}

MloStatus infer_sequence_insert(InferCx *c)
{
	const MloType *s = infer_in(c, 0), *x = infer_in(c, 1);
	const MloNode *def = c->n->in[0]->def;

	MLO_TRY(need_kind(c, 0, s->kind == MLO_SEQ, "a sequence of tensors"));
	MLO_TRY(need_kind(c, 1, !mlo_type_object(x), "a tensor"));
	MLO_TRY(need_position(c, 2));
	MLO_TRY(infer_same_elem(c, 0, 1));
	return sequence_out(c, def && def->op == OP_sequence_empty ? *x : join(x, s));
}

MloStatus infer_sequence_erase(InferCx *c)
{
	const MloType *s = infer_in(c, 0);

	MLO_TRY(need_kind(c, 0, s->kind == MLO_SEQ || s->kind == MLO_SEQ_MAP, "a sequence"));
	MLO_TRY(need_position(c, 1));
	return infer_out(c, 0, s);
}

MloStatus infer_sequence_length(InferCx *c)
{
	const MloType *s = infer_in(c, 0);

	MLO_TRY(need_kind(c, 0, s->kind == MLO_SEQ || s->kind == MLO_SEQ_MAP, "a sequence"));
	return infer_out(c, 0, &(MloType){.elem = EL_i64});
}

MloStatus infer_split_to_sequence(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	const MloType *sizes = infer_in(c, 1);
	int axis;

	MLO_TRY(need_kind(c, 0, !mlo_type_object(&t), "a tensor"));
	MLO_TRY(need_position(c, 1));
	if (sizes && sizes->rank > 1)
		return infer_error(c, "sizes '%s' are %s: a scalar or a vector is needed", infer_name(c, 1),
		                   infer_type_text(c, sizes));
	if (t.rank < 0)
		return sequence_out(c, t);
	MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_split_to_sequence_axis), t.rank, &axis));
	if (!sizes && !mlo_attr_i(c->n, ATTR_split_to_sequence_keepdims)) {
		for (int i = axis; i + 1 < t.rank; i++)
			t.dim[i] = t.dim[i + 1];
		t.rank--;
	} else {
		t.dim[axis] = sizes ? DIM_UNKNOWN : mlo_dim(1);
	}
	return sequence_out(c, t);
}

MloStatus infer_concat_from_sequence(InferCx *c)
{
	const MloType *s = infer_in(c, 0);
	MloType t = item_type(s);
	bool stack = mlo_attr_i(c->n, ATTR_concat_from_sequence_new_axis) != 0;
	int axis;

	MLO_TRY(need_kind(c, 0, s->kind == MLO_SEQ, "a sequence of tensors"));
	if (t.rank < 0)
		return infer_out(c, 0, &t);
	if (t.rank + stack > MLO_MAX_RANK)
		return infer_error(c, "the result has more than %d dimensions", MLO_MAX_RANK);
	t.rank += stack;
	MLO_TRY(infer_axis(c, mlo_attr_i(c->n, ATTR_concat_from_sequence_axis), t.rank, &axis));
	for (int i = t.rank - 1; stack && i > axis; i--)
		t.dim[i] = t.dim[i - 1];
	t.dim[axis] = DIM_UNKNOWN;
	return infer_out(c, 0, &t);
}

MloStatus infer_optional(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t;

	if (!x) {
		t = infer_unranked(EL_f32);
		MLO_TRY(attr_elem(c, ATTR_optional_elem, &t.elem));
		t.kind = mlo_attr_i(c->n, ATTR_optional_seq) ? MLO_OPT_SEQ : MLO_OPT;
		return infer_out(c, 0, &t);
	}
	MLO_TRY(need_kind(c, 0, x->kind == MLO_TENSOR || x->kind == MLO_SEQ, "a tensor or a sequence of tensors"));
	t = item_type(x);
	t.kind = x->kind == MLO_SEQ ? MLO_OPT_SEQ : MLO_OPT;
	return infer_out(c, 0, &t);
}

MloStatus infer_optional_get(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t;

	if (x->kind != MLO_OPT && x->kind != MLO_OPT_SEQ)
		return infer_out(c, 0, x);
	t = item_type(x);
	t.kind = x->kind == MLO_OPT_SEQ ? MLO_SEQ : MLO_TENSOR;
	return infer_out(c, 0, &t);
}

MloStatus infer_optional_has(InferCx *c)
{
	return infer_out(c, 0, &(MloType){.elem = EL_bool});
}

static MloStatus need_keys(const InferCx *c, uint32_t i, MloElem e)
{
	const MloType *t = infer_in(c, i);
	bool ok = t->kind == MLO_TENSOR && (t->rank == 1 || t->rank < 0) && (t->elem == EL_i64 || t->elem == EL_str);

	return need_kind(c, i, ok && (e == EL_none || t->elem == e), "a vector of keys");
}

MloStatus infer_zip_map(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *keys = infer_in(c, 1);
	MloType t = {.elem = x->elem, .rank = MLO_RANK_UNKNOWN, .kind = MLO_SEQ_MAP, .key = keys->elem};
	MloDim both;

	MLO_TRY(need_kind(c, 0, x->kind == MLO_TENSOR && x->rank <= 2 && x->rank != 0, "a vector or matrix"));
	MLO_TRY(need_keys(c, 1, EL_none));
	if (x->rank > 0 && keys->rank == 1 && !infer_meet(x->dim[x->rank - 1], keys->dim[0], &both))
		return infer_error(c, "'%s' is %s, there are %s keys", infer_name(c, 0), infer_type_text(c, x),
		                   infer_dim_text(c, keys->dim[0]));
	return infer_out(c, 0, &t);
}

MloStatus infer_dict_vectorizer(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *keys = infer_in(c, 1);
	MloType t = {.elem = x->elem, .rank = 2, .dim = {mlo_dim(1), DIM_UNKNOWN}};

	MLO_TRY(need_kind(c, 0, x->kind == MLO_MAP, "a map"));
	MLO_TRY(need_keys(c, 1, x->key));
	if (keys->rank == 1)
		t.dim[1] = keys->dim[0];
	return infer_out(c, 0, &t);
}
