/* ir/exec_object.c -- the executor's operators on sequences, optionals and maps.
 *
 * Objects are immutable: a changed sequence is a new list of the same items. */
#include <string.h>

#include "ir/exec_dyn.h"

typedef struct ObjectCall {
	DynFrame *f;
	const MloNode *n;
	const MloTensor *const *in;
	MloTensor **out;
} ObjectCall;

static MloTensor *wrap(ObjectCall *c, MloTypeKind kind, MloElem elem, MloElem key, int64_t n, const MloTensor *item)
{
	MloObject *o = MLO_NEW(c->f->arena, MloObject);
	MloTensor *t = MLO_NEW(c->f->arena, MloTensor);

	*o = (MloObject){kind, elem, key, n, item};
	t->object = o;
	return t;
}

static MloTensor *items(ObjectCall *c, int64_t n)
{
	return MLO_NEWN(c->f->arena, MloTensor, (size_t)n + 1);
}

static const MloObject *object(const ObjectCall *c, uint32_t i)
{
	return c->in[i]->object;
}

static MloTensor *same(const MloTensor *t)
{
	return (MloTensor *)(uintptr_t)t;
}

/* Operand i as a position in 0..n-1 (..n when inserting). */
static MloStatus position(ObjectCall *c, uint32_t i, int64_t n, bool insert, int64_t *out)
{
	const MloTensor *t = i < c->n->nin ? c->in[i] : NULL;
	int64_t p;

	if (!t) {
		*out = insert ? n : n - 1;
	} else {
		if (mlo_tensor_elems(t) != 1)
			return mlo_node_error(c->f->d, MLO_ERR_MODEL, c->n, "the position is not a single number");
		p = mlo_tensor_i64(t, 0);
		*out = p < 0 ? p + n : p;
	}
	if (*out >= 0 && *out < n + insert)
		return MLO_OK;
	return mlo_node_error(c->f->d, MLO_ERR_MODEL, c->n, "position %lld in a sequence of %lld items",
	                      (long long)(t ? mlo_tensor_i64(t, 0) : -1), (long long)n);
}

static MloStatus run_sequence_empty(ObjectCall *c)
{
	MloElem e = mlo_elem_from_onnx((int)mlo_attr_i(c->n, ATTR_sequence_empty_elem));

	c->out[0] = wrap(c, MLO_SEQ, e, EL_none, 0, items(c, 0));
	return MLO_OK;
}

static MloStatus run_sequence_construct(ObjectCall *c)
{
	MloTensor *it = items(c, c->n->nin);

	for (uint32_t i = 0; i < c->n->nin; i++)
		it[i] = *c->in[i];
	c->out[0] = wrap(c, MLO_SEQ, c->in[0]->elem, EL_none, c->n->nin, it);
	return MLO_OK;
}

static MloStatus run_sequence_at(ObjectCall *c)
{
	int64_t p;

	MLO_TRY(position(c, 1, object(c, 0)->n, false, &p));
	c->out[0] = same(&object(c, 0)->item[p]);
	return MLO_OK;
}

static MloStatus run_sequence_insert(ObjectCall *c)
{
	const MloObject *s = object(c, 0);
	MloTensor *it = items(c, s->n + 1);
	int64_t p;

	MLO_TRY(position(c, 2, s->n, true, &p));
	for (int64_t i = 0; i <= s->n; i++)
		it[i] = i < p ? s->item[i] : i > p ? s->item[i - 1] : *c->in[1];
	c->out[0] = wrap(c, MLO_SEQ, s->elem, EL_none, s->n + 1, it);
	return MLO_OK;
}

static MloStatus run_sequence_erase(ObjectCall *c)
{
	const MloObject *s = object(c, 0);
	MloTensor *it = items(c, s->n);
	int64_t p;

	MLO_TRY(position(c, 1, s->n, false, &p));
	for (int64_t i = 0; i + 1 < s->n; i++)
		it[i] = s->item[i < p ? i : i + 1];
	c->out[0] = wrap(c, s->kind, s->elem, s->key, s->n - 1, it);
	return MLO_OK;
}

static MloStatus scalar(ObjectCall *c, MloElem e, int64_t v)
{
	MLO_TRY(mlo_dyn_tensor(c->f, c->n, e, 0, NULL, &c->out[0]));
	mlo_tensor_set_i64(c->out[0], 0, v);
	return MLO_OK;
}

static MloStatus run_sequence_length(ObjectCall *c)
{
	return scalar(c, EL_i64, object(c, 0)->n);
}

/* -- cutting and joining -------------------------------------------------------------------- */

/* Bytes of a block of `n` elements; types of less than a byte are refused before. */
static size_t bytes_of(const MloTensor *t, int64_t n)
{
	return (size_t)n * (mlo_elem_bits(t->elem) / 8);
}

static MloStatus whole_bytes(ObjectCall *c, MloElem e)
{
	return mlo_elem_bits(e) >= 8 ? MLO_OK
	                             : mlo_node_error(c->f->d, MLO_ERR_UNSUPPORTED, c->n,
	                                              "elements of less than a byte in a sequence");
}

/* Product of the dimensions from..to-1. */
static int64_t product(const MloTensor *t, int from, int to)
{
	int64_t n = 1;

	for (int i = from; i < to; i++)
		n *= t->dim[i];
	return n;
}

/* Copies between part [at, at + len) of dimension `axis` of the whole and a part of that length. */
static void copy_part(const MloTensor *whole, int axis, int64_t at, int64_t len, const MloTensor *part, bool to_part)
{
	int64_t outer = product(whole, 0, axis), inner = product(whole, axis + 1, whole->rank);
	size_t run = bytes_of(whole, len * inner), row = bytes_of(whole, whole->dim[axis] * inner);
	char *w = (char *)(uintptr_t)whole->data + bytes_of(whole, at * inner), *p = (char *)(uintptr_t)part->data;

	for (int64_t i = 0; run && i < outer; i++, w += row, p += run)
		memcpy(to_part ? p : w, to_part ? w : p, run);
}

static MloStatus take_part(ObjectCall *c, int axis, int64_t at, int64_t len, bool drop, MloTensor *to)
{
	const MloTensor *x = c->in[0];
	int64_t dims[MLO_MAX_RANK];
	MloTensor *t;
	int r = 0;

	for (int i = 0; i < x->rank; i++)
		if (i != axis || !drop)
			dims[r++] = i == axis ? len : x->dim[i];
	MLO_TRY(mlo_dyn_tensor(c->f, c->n, x->elem, r, dims, &t));
	copy_part(x, axis, at, len, t, true);
	*to = *t;
	return MLO_OK;
}

static MloStatus run_split_to_sequence(ObjectCall *c)
{
	const MloTensor *x = c->in[0], *sizes = c->n->nin > 1 ? c->in[1] : NULL;
	int axis = (int)mlo_attr_i(c->n, ATTR_split_to_sequence_axis);
	bool drop = !sizes && !mlo_attr_i(c->n, ATTR_split_to_sequence_keepdims), list = sizes && sizes->rank == 1;
	int64_t each, count, at = 0, len;
	MloTensor *it;

	axis += axis < 0 ? x->rank : 0;
	if (axis < 0 || axis >= x->rank)
		return mlo_node_error(c->f->d, MLO_ERR_MODEL, c->n, "axis %d of a tensor of rank %d", axis, x->rank);
	MLO_TRY(whole_bytes(c, x->elem));
	each = sizes && !list ? mlo_tensor_i64(sizes, 0) : 1;
	if (each < 1)
		return mlo_node_error(c->f->d, MLO_ERR_MODEL, c->n, "parts of size %lld", (long long)each);
	count = list ? sizes->dim[0] : x->dim[axis] / each + (x->dim[axis] % each != 0);
	it = items(c, count);
	for (int64_t i = 0; i < count; i++, at += len) {
		len = list ? mlo_tensor_i64(sizes, i) : x->dim[axis] - at < each ? x->dim[axis] - at : each;
		if (len < 0 || len > x->dim[axis] - at)
			break;
		MLO_TRY(take_part(c, axis, at, len, drop, &it[i]));
	}
	if (at != x->dim[axis])
		return mlo_node_error(c->f->d, MLO_ERR_MODEL, c->n, "sizes do not sum up to the %lld of axis %d",
		                      (long long)x->dim[axis], axis);
	c->out[0] = wrap(c, MLO_SEQ, x->elem, EL_none, count, it);
	return MLO_OK;
}

/* The items as parts of one tensor: with `stack` each gets a dimension of 1 there. */
static MloStatus join_shape(ObjectCall *c, const MloObject *s, int axis, bool stack, MloTensor *whole)
{
	*whole = s->item[0];
	for (int64_t i = 0; i < s->n; i++) {
		const MloTensor *t = &s->item[i];
		bool fits = t->rank == s->item[0].rank && t->elem == s->elem;

		for (int k = 0; fits && k < t->rank; k++)
			fits = (k == axis && !stack) || t->dim[k] == s->item[0].dim[k];
		if (!fits)
			return mlo_node_error(c->f->d, MLO_ERR_MODEL, c->n, "item %lld has another shape than the first",
			                      (long long)i);
		whole->dim[axis] = i && !stack ? whole->dim[axis] + t->dim[axis] : whole->dim[axis];
	}
	if (!stack)
		return MLO_OK;
	for (int k = whole->rank++; k > axis; k--)
		whole->dim[k] = whole->dim[k - 1];
	whole->dim[axis] = s->n;
	return MLO_OK;
}

static MloStatus run_concat_from_sequence(ObjectCall *c)
{
	const MloObject *s = object(c, 0);
	bool stack = mlo_attr_i(c->n, ATTR_concat_from_sequence_new_axis) != 0;
	int axis = (int)mlo_attr_i(c->n, ATTR_concat_from_sequence_axis), rank;
	MloTensor whole;
	int64_t at = 0;

	if (s->n == 0)
		return mlo_node_error(c->f->d, MLO_ERR_MODEL, c->n, "the sequence is empty");
	rank = s->item[0].rank + stack;
	axis += axis < 0 ? rank : 0;
	if (axis < 0 || axis >= rank || rank > MLO_MAX_RANK)
		return mlo_node_error(c->f->d, MLO_ERR_MODEL, c->n, "axis %d of a result of rank %d", axis, rank);
	MLO_TRY(whole_bytes(c, s->elem));
	MLO_TRY(join_shape(c, s, axis, stack, &whole));
	MLO_TRY(mlo_dyn_tensor(c->f, c->n, s->elem, whole.rank, whole.dim, &c->out[0]));
	for (int64_t i = 0; i < s->n; i++) {
		int64_t len = stack ? 1 : s->item[i].dim[axis];

		copy_part(c->out[0], axis, at, len, &s->item[i], false);
		at += len;
	}
	return MLO_OK;
}

/* -- optionals and maps --------------------------------------------------------------------- */

static MloStatus run_same_object(ObjectCall *c)
{
	c->out[0] = same(c->in[0]);
	return MLO_OK;
}

static MloStatus run_optional(ObjectCall *c)
{
	const MloTensor *x = c->n->nin ? c->in[0] : NULL;
	const MloType *t = &c->n->out[0]->type;

	c->out[0] = wrap(c, t->kind, t->elem, EL_none, x != NULL, x ? x : items(c, 0));
	return MLO_OK;
}

static bool is_optional(const MloTensor *t)
{
	return t->object && (t->object->kind == MLO_OPT || t->object->kind == MLO_OPT_SEQ);
}

static MloStatus run_optional_get(ObjectCall *c)
{
	if (is_optional(c->in[0]) && object(c, 0)->n == 0)
		return mlo_node_error(c->f->d, MLO_ERR_MODEL, c->n, "the optional is empty");
	c->out[0] = same(is_optional(c->in[0]) ? object(c, 0)->item : c->in[0]);
	return MLO_OK;
}

static MloStatus run_optional_has(ObjectCall *c)
{
	const MloTensor *x = c->n->nin ? c->in[0] : NULL;

	return scalar(c, EL_bool, x && !(is_optional(x) && x->object->n == 0));
}

static MloStatus run_zip_map(ObjectCall *c)
{
	const MloTensor *x = c->in[0], *keys = c->in[1];
	int64_t k = x->rank ? x->dim[x->rank - 1] : 0, n = x->rank == 2 ? x->dim[0] : 1;
	MloTensor *it = items(c, n);

	MLO_TRY(whole_bytes(c, x->elem));
	if (x->rank < 1 || x->rank > 2 || k != keys->dim[0])
		return mlo_node_error(c->f->d, MLO_ERR_MODEL, c->n, "there are %lld keys for %lld values",
		                      (long long)keys->dim[0], (long long)k);
	for (int64_t i = 0; i < n; i++) {
		MloTensor *pair = items(c, 2);

		pair[0] = *keys;
		pair[1] = (MloTensor){.elem = x->elem, .rank = 1, .dim = {k}, .nbytes = bytes_of(x, k),
		                      .data = (const char *)x->data + bytes_of(x, i * k)};
		it[i] = *wrap(c, MLO_MAP, x->elem, keys->elem, 2, pair);
	}
	c->out[0] = wrap(c, MLO_SEQ_MAP, x->elem, keys->elem, n, it);
	return MLO_OK;
}

static bool same_key(const MloTensor *a, int64_t i, const MloTensor *b, int64_t k)
{
	const MloText *s = (const MloText *)a->data + i, *t = (const MloText *)b->data + k;

	if (a->elem != EL_str)
		return mlo_tensor_i64(a, i) == mlo_tensor_i64(b, k);
	return s->n == t->n && (s->n == 0 || !memcmp(s->s, t->s, (size_t)s->n));
}

static MloStatus run_dict_vectorizer(ObjectCall *c)
{
	const MloTensor *keys = &object(c, 0)->item[0], *values = &object(c, 0)->item[1], *want = c->in[1];
	int64_t n = want->dim[0];
	MloTensor *t;

	MLO_TRY(whole_bytes(c, values->elem));
	MLO_TRY(mlo_dyn_tensor(c->f, c->n, values->elem, 2, (int64_t[]){1, n}, &t));
	for (int64_t i = 0; i < n; i++)
		for (int64_t k = 0; k < keys->dim[0]; k++)
			if (same_key(want, i, keys, k)) {
				memcpy((char *)(uintptr_t)t->data + bytes_of(t, i),
				       (const char *)values->data + bytes_of(t, k), bytes_of(t, 1));
				break;
			}
	c->out[0] = t;
	return MLO_OK;
}

MloStatus mlo_dyn_object(DynFrame *f, const MloNode *n, const MloTensor *const *in, MloTensor **out)
{
	static const struct { MloOp op; MloStatus (*run)(ObjectCall *c); } table[] = {
		{OP_same_object, run_same_object},
		{OP_sequence_empty, run_sequence_empty}, {OP_sequence_construct, run_sequence_construct},
		{OP_sequence_at, run_sequence_at}, {OP_sequence_insert, run_sequence_insert},
		{OP_sequence_erase, run_sequence_erase}, {OP_sequence_length, run_sequence_length},
		{OP_split_to_sequence, run_split_to_sequence}, {OP_concat_from_sequence, run_concat_from_sequence},
		{OP_optional, run_optional}, {OP_optional_get, run_optional_get}, {OP_optional_has, run_optional_has},
		{OP_zip_map, run_zip_map}, {OP_dict_vectorizer, run_dict_vectorizer},
	};
	ObjectCall c = {f, n, in, out};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (table[i].op == n->op)
			return table[i].run(&c);
	MLO_BUG("%s is not an operator on objects", mlo_op_info(n->op)->name);
}
