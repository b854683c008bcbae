/* runtime/object_ops.c -- operators on sequences, optionals and maps.
 *
 * Results are made beside the operands and then take the place of the old content, so that a result may
 * be an operand's object. */
#include <string.h>

#include "runtime/lists.h"

typedef struct ObjectStep {
	Frame *f;
	const MlrtBodyStep *step;
	const uint32_t *ref;
	uint32_t nin;
	MlrtError *err;
} ObjectStep;

static MlrtStatus no_memory(const ObjectStep *o)
{
	return mlrt_fail(o->err, MLRT_ERR_NOMEM, "no memory for a sequence");
}

/* NULL: absent. */
static const MlrtValue *operand(const ObjectStep *o, uint32_t i)
{
	return i >= o->nin || o->ref[i] == MLRT_ABSENT ? NULL : &o->f->body->value[o->ref[i]];
}

static const MlrtValue *result_value(const ObjectStep *o)
{
	return &o->f->body->value[o->ref[o->nin]];
}

static MlrtObject *result_object(const ObjectStep *o)
{
	return &o->f->object[result_value(o)->object];
}

static MlrtObject *object_of(const ObjectStep *o, uint32_t i)
{
	return &o->f->object[operand(o, i)->object];
}

static bool is_tensor_operand(const ObjectStep *o, uint32_t i)
{
	return operand(o, i) && operand(o, i)->kind == MLRT_V_TENSOR;
}

/* An empty object of the result's type. */
static MlrtObject empty_like_result(const ObjectStep *o)
{
	const MlrtObject *r = result_object(o);

	return (MlrtObject){.store = r->store, .kind = r->kind, .elem = r->elem, .key = r->key};
}

/* `made` becomes the result, whose old content goes. */
static MlrtStatus finish(const ObjectStep *o, MlrtObject *made, MlrtStatus st)
{
	if (!st)
		mlrt_object_swap(result_object(o), made);
	mlrt_object_empty(made);
	return st;
}

static Item *item_of(Store *s, const View *x)
{
	uint64_t total;
	Item *i;

	if (!mlrt_deep_bytes(x->elem, x->data, x->bytes, &total))
		return NULL;
	i = mlrt_item_new(s, x->elem, x->rank, x->dims, x->bytes, total);
	if (i)
		mlrt_deep_copy(x->elem, i->data, x->data, x->bytes);
	return i;
}

static MlrtStatus push_view(const ObjectStep *o, MlrtObject *to, const View *x)
{
	return mlrt_object_push(to, item_of(to->store, x)) ? MLRT_OK : no_memory(o);
}

static View view_of_item(const Item *i)
{
	View x = {.data = i->data, .elem = i->elem, .rank = i->rank, .bytes = i->bytes};

	memcpy(x.dims, i->dims, (size_t)i->rank * sizeof *i->dims);
	return x;
}

/* A position in [0, n + beyond), from the end where it is negative; the operand may be absent. */
static MlrtStatus position(const ObjectStep *o, uint32_t which, size_t n, int beyond, int64_t absent, size_t *out)
{
	int64_t at = absent;
	View x;

	if (operand(o, which)) {
		MlrtStatus st = mlrt_view(o->f, o->ref[which], &x, o->err);

		if (st)
			return st;
		if (x.bytes != x.elem->bits / 8)
			return mlrt_fail(o->err, MLRT_ERR_ARGUMENT, "a position of %llu bytes", (unsigned long long)x.bytes);
		at = x.elem->code == ELEM_I64 ? *(const int64_t *)x.data : *(const int32_t *)x.data;
	}
	if (at < -(int64_t)n || at >= (int64_t)n + beyond)
		return mlrt_fail(o->err, MLRT_ERR_ARGUMENT, "position %lld in a sequence of %zu", (long long)at, n);
	*out = (size_t)(at < 0 ? at + (int64_t)n : at);
	return MLRT_OK;
}

/* -- sequences ----------------------------------------------------------------------------------- */

static MlrtStatus construct(const ObjectStep *o)
{
	MlrtObject made = empty_like_result(o);
	MlrtStatus st = MLRT_OK;
	View x;

	for (uint32_t i = 0; !st && i < o->nin; i++) {
		st = mlrt_view(o->f, o->ref[i], &x, o->err);
		if (!st)
			st = push_view(o, &made, &x);
	}
	return finish(o, &made, st);
}

/* The items of `from` but [skip, skip + nskip), with `extra` (one reference, or NULL) before item `at`. */
static MlrtStatus rebuild(const ObjectStep *o, const MlrtObject *from, size_t skip, size_t nskip, Item *extra,
			  size_t at)
{
	MlrtObject made = empty_like_result(o);
	bool good = true;

	for (size_t i = 0; good && i <= from->n; i++) {
		if (extra && i == at) {
			good = mlrt_object_push(&made, extra);
			extra = NULL;
		}
		if (good && i < from->n && (i < skip || i >= skip + nskip))
			good = mlrt_object_push(&made, mlrt_item_keep(mlrt_object_at(from, i)));
	}
	mlrt_item_drop(made.store, extra);
	return finish(o, &made, good ? MLRT_OK : no_memory(o));
}

static MlrtStatus insert(const ObjectStep *o)
{
	const MlrtObject *seq = object_of(o, 0);
	MlrtObject made = empty_like_result(o);
	size_t at;
	Item *item;
	View x;
	MlrtStatus st = position(o, 2, seq->n, 1, (int64_t)seq->n, &at);

	if (!st)
		st = mlrt_view(o->f, o->ref[1], &x, o->err);
	if (st)
		return st;
	item = item_of(seq->store, &x);
	if (!item)
		return no_memory(o);
	if (at < seq->n)
		return rebuild(o, seq, seq->n, 0, item, at);
	mlrt_object_assign(&made, seq);
	return finish(o, &made, mlrt_object_push(&made, item) ? MLRT_OK : no_memory(o));
}

static MlrtStatus erase(const ObjectStep *o)
{
	const MlrtObject *seq = object_of(o, 0);
	MlrtObject made = empty_like_result(o);
	size_t at;
	MlrtStatus st = position(o, 1, seq->n, 0, -1, &at);

	if (st)
		return st;
	if (at + 1 < seq->n)
		return rebuild(o, seq, at, 1, NULL, 0);
	mlrt_object_assign_shorter(&made, seq);
	return finish(o, &made, MLRT_OK);
}

static MlrtStatus pick(const ObjectStep *o)
{
	const MlrtObject *seq = object_of(o, 0);
	MlrtObject made;
	View x;
	size_t at;
	MlrtStatus st = position(o, 1, seq->n, 0, 0, &at);

	if (st)
		return st;
	if (result_value(o)->kind == MLRT_V_TENSOR) {
		x = view_of_item(mlrt_object_at(seq, at));
		return mlrt_store(o->f, o->ref[o->nin], &x, o->err);
	}
	made = empty_like_result(o);
	st = mlrt_object_push(&made, mlrt_item_keep(mlrt_object_at(seq, at))) ? MLRT_OK : no_memory(o);
	return finish(o, &made, st);
}

static MlrtStatus store_scalar(const ObjectStep *o, const void *data, uint32_t elem)
{
	const Elem *e = mlrt_elem_code(elem);
	const View x = {.data = data, .elem = e, .bytes = e->bits / 8};

	return mlrt_store(o->f, o->ref[o->nin], &x, o->err);
}

static MlrtStatus length(const ObjectStep *o)
{
	const int64_t n = (int64_t)object_of(o, 0)->n;

	return store_scalar(o, &n, ELEM_I64);
}

/* -- tensors in parts ------------------------------------------------------------------------------ */

static bool resolve_axis(int64_t *axis, int rank)
{
	if (*axis < -rank || *axis >= rank)
		return false;
	*axis += *axis < 0 ? rank : 0;
	return true;
}

/* Elements before and behind an axis. */
static void around(const int64_t *dims, int rank, int64_t axis, uint64_t *outer, uint64_t *inner)
{
	*outer = *inner = 1;
	for (int i = 0; i < rank; i++)
		*(i < axis ? outer : inner) *= i == axis ? 1 : (uint64_t)dims[i];
}

/* What x has at index `i` before the axis and `from` on it. */
static const char *slice_at(const View *x, int64_t axis, uint64_t i, int64_t from, uint64_t inner)
{
	return (const char *)x->data + (i * (uint64_t)x->dims[axis] + (uint64_t)from) * inner * (x->elem->bits / 8);
}

/* The part [from, from + n) along an axis of x, as an item. */
static Item *cut(Store *s, const View *x, int64_t axis, int64_t from, int64_t n, bool squeeze)
{
	const uint64_t size = x->elem->bits / 8, nothing = 0;
	uint64_t outer, inner, bytes, total = 0;
	View part = *x;
	Item *item;
	char *chars;

	around(x->dims, x->rank, axis, &outer, &inner);
	part.dims[axis] = n;
	bytes = outer * (uint64_t)n * inner * size;
	for (uint64_t i = 0; bytes > nothing && i < outer; i++) {
		uint64_t one;

		if (!mlrt_deep_bytes(x->elem, slice_at(x, axis, i, from, inner), (uint64_t)n * inner * size, &one))
			return NULL;
		total += one;
	}
	if (squeeze) {
		part.rank--;
		memmove(part.dims + axis, part.dims + axis + 1, (size_t)(part.rank - axis) * sizeof *part.dims);
	}
	item = mlrt_item_new(s, x->elem, part.rank, part.dims, bytes, total);
	chars = item ? (char *)item->data + bytes : NULL;
	for (uint64_t i = 0; item && bytes > nothing && i < outer; i++)
		mlrt_deep_copy_to(x->elem, item->data + i * (uint64_t)n * inner * size,
				  slice_at(x, axis, i, from, inner), (uint64_t)n * inner * size, &chars);
	return item;
}

static int64_t read_int(const View *x, uint64_t i)
{
	return x->elem->code == ELEM_I64 ? ((const int64_t *)x->data)[i] : ((const int32_t *)x->data)[i];
}

/* Sizes of the parts: absent: 1 each; a scalar: each but the last; a list: those. */
static MlrtStatus split(const ObjectStep *o)
{
	MlrtObject made = empty_like_result(o);
	const bool sizes = operand(o, 1) != NULL, squeeze = !sizes && o->step->imm[1] == 0;
	int64_t axis = o->step->imm[0], at = 0;
	View x = {0}, size = {0};
	uint64_t count = 0;
	MlrtStatus st = mlrt_view(o->f, o->ref[0], &x, o->err);

	if (!st && sizes)
		st = mlrt_view(o->f, o->ref[1], &size, o->err);
	if (!st && !resolve_axis(&axis, x.rank))
		st = mlrt_fail(o->err, MLRT_ERR_ARGUMENT, "axis %lld of %d", (long long)axis, x.rank);
	count = !st && sizes ? size.bytes / (size.elem->bits / 8) : 0;
	for (uint64_t i = 0; !st && (sizes && size.rank > 0 ? i < count : at < x.dims[axis]); i++) {
		int64_t n = !sizes ? 1 : read_int(&size, size.rank > 0 ? i : 0);

		if (sizes && size.rank == 0 && n > x.dims[axis] - at)
			n = x.dims[axis] - at;
		if (n < 0 || n > x.dims[axis] - at || (size.rank == 0 && n == 0)) {
			st = mlrt_fail(o->err, MLRT_ERR_ARGUMENT, "a part of %lld at %lld of %lld", (long long)n,
				       (long long)at, (long long)x.dims[axis]);
			break;
		}
		if (!mlrt_object_push(&made, cut(made.store, &x, axis, at, n, squeeze)))
			st = no_memory(o);
		at += n;
	}
	if (!st && at != x.dims[axis])
		st = mlrt_fail(o->err, MLRT_ERR_ARGUMENT, "parts of %lld in all, the tensor has %lld", (long long)at,
			       (long long)x.dims[axis]);
	return finish(o, &made, st);
}

/* Sizes of the items together; false if they do not fit each other. */
static bool joined(const MlrtObject *seq, int64_t *axis, bool stack, int64_t *dims, int *rank)
{
	const Item *first = mlrt_object_at(seq, 0);
	int64_t sum = 0;

	*rank = first->rank + stack;
	if (*rank > MLRT_MAX_DIMS || !resolve_axis(axis, *rank))
		return false;
	for (size_t i = 0; i < seq->n; i++) {
		const Item *item = mlrt_object_at(seq, i);

		if (item->rank != first->rank)
			return false;
		for (int k = 0; k < item->rank; k++)
			if (item->dims[k] != first->dims[k] && (stack || k != *axis))
				return false;
		if (__builtin_add_overflow(sum, stack ? 1 : item->dims[*axis], &sum))
			return false;
	}
	for (int k = 0, from = 0; k < *rank; k++)
		dims[k] = stack && k == *axis ? 0 : first->dims[from++];
	dims[*axis] = sum;
	return true;
}

MLRT_LOCAL MlrtStatus mlrt_concat(Frame *f, const MlrtObject *seq, int64_t axis, bool stack, uint32_t result,
				  MlrtError *err)
{
	int64_t dims[MLRT_MAX_DIMS] = {0};
	uint64_t outer, inner, bytes, total = 0, one, row;
	unsigned char *to;
	char *chars;
	int rank;
	MlrtStatus st;

	if (seq->n == 0)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "a tensor of a sequence without items");
	if (!joined(seq, &axis, stack, dims, &rank) || !mlrt_tensor_bytes(seq->elem, rank, dims, &bytes))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "the items of a sequence do not fit each other");
	for (size_t i = 0; i < seq->n; i++) {
		const Item *item = mlrt_object_at(seq, i);

		if (!mlrt_deep_bytes(seq->elem, item->data, item->bytes, &one) || __builtin_add_overflow(total, one, &total))
			return mlrt_fail(err, MLRT_ERR_ARGUMENT, "a result too large");
	}
	st = mlrt_result(f, result, rank, dims, total, &to, err);
	if (st || bytes == 0)
		return st;
	around(dims, rank, axis, &outer, &inner);
	row = (uint64_t)dims[axis] * inner * (seq->elem->bits / 8);
	chars = (char *)to + bytes;
	for (uint64_t at = 0, i = 0; i < seq->n; i++) {
		const Item *item = mlrt_object_at(seq, i);
		const uint64_t part = item->bytes / outer;

		for (uint64_t k = 0; k < outer; k++)
			mlrt_deep_copy_to(seq->elem, to + k * row + at, item->data + k * part, part, &chars);
		at += part;
	}
	return MLRT_OK;
}

/* -- optionals --------------------------------------------------------------------------------------- */

static MlrtStatus optional(const ObjectStep *o)
{
	MlrtObject made = empty_like_result(o);
	MlrtStatus st = MLRT_OK;
	View x;

	if (is_tensor_operand(o, 0)) {
		st = mlrt_view(o->f, o->ref[0], &x, o->err);
		if (!st)
			st = push_view(o, &made, &x);
	} else if (operand(o, 0)) {
		if (!mlrt_object_assign(&made, object_of(o, 0)))
			st = no_memory(o);
		made.present = true;
	}
	return finish(o, &made, st);
}

static MlrtStatus optional_get(const ObjectStep *o)
{
	const MlrtObject *from;
	View x;

	if (is_tensor_operand(o, 0)) {
		MlrtStatus st = mlrt_view(o->f, o->ref[0], &x, o->err);

		return st ? st : mlrt_store(o->f, o->ref[1], &x, o->err);
	}
	from = object_of(o, 0);
	if (from->kind == MLRT_V_OPT_SEQ && result_value(o)->kind == MLRT_V_SEQ && !from->present)
		return mlrt_fail(o->err, MLRT_ERR_ARGUMENT, "the optional value has no content");
	if (result_value(o)->kind != MLRT_V_TENSOR)
		return mlrt_object_assign(result_object(o), from) ? MLRT_OK : no_memory(o);
	if (from->n == 0)
		return mlrt_fail(o->err, MLRT_ERR_ARGUMENT, "the optional value has no content");
	x = view_of_item(mlrt_object_at(from, 0));
	return mlrt_store(o->f, o->ref[1], &x, o->err);
}

static MlrtStatus optional_has(const ObjectStep *o)
{
	const MlrtValue *v = operand(o, 0);
	const bool opt = v && (v->kind == MLRT_V_OPT || v->kind == MLRT_V_OPT_SEQ);
	const unsigned char has = v && (!opt || mlrt_object_present(object_of(o, 0)));

	return store_scalar(o, &has, ELEM_BOOL);
}

/* -- maps ---------------------------------------------------------------------------------------------- */

/* One map for each row of x; the keys are the same for all. */
static MlrtStatus zip_map(const ObjectStep *o)
{
	MlrtObject made = empty_like_result(o);
	Item *keys = NULL;
	View x = {0}, k = {0};
	int64_t n = 0;
	MlrtStatus st = mlrt_view(o->f, o->ref[0], &x, o->err);

	if (!st)
		st = mlrt_view(o->f, o->ref[1], &k, o->err);
	if (!st && x.dims[x.rank - 1] != k.dims[0])
		st = mlrt_fail(o->err, MLRT_ERR_ARGUMENT, "%lld keys for %lld columns", (long long)k.dims[0],
			       (long long)x.dims[x.rank - 1]);
	if (!st) {
		n = x.rank == 2 ? x.dims[0] : 1;
		keys = item_of(made.store, &k);
		st = keys ? MLRT_OK : no_memory(o);
	}
	if (!st && x.rank == 1) {
		x.rank = 2;
		x.dims[1] = x.dims[0];
		x.dims[0] = 1;
	}
	for (int64_t i = 0; !st && i < n; i++) {
		Item *row = cut(made.store, &x, 0, i, 1, true);

		if (!mlrt_object_push(&made, mlrt_item_map(made.store, mlrt_item_keep(keys), row)))
			st = no_memory(o);
	}
	mlrt_item_drop(made.store, keys);
	return finish(o, &made, st);
}

static bool same_key(const Elem *e, const void *a, const void *b)
{
	const MlrtText *x = a, *y = b;

	if (e->code != ELEM_STR)
		return memcmp(a, b, e->bits / 8) == 0;
	return x->n == y->n && (x->n == 0 || memcmp(x->s, y->s, (size_t)x->n) == 0);
}

/* The value of word `w` in a map, or NULL. */
static const unsigned char *look_up(const Item *map, const View *words, int64_t w)
{
	const Elem *k = map->keys->elem;
	const void *key = (const char *)words->data + (size_t)w * (k->bits / 8);

	for (int64_t i = 0; i < map->keys->dims[0]; i++)
		if (same_key(k, map->keys->data + (size_t)i * (k->bits / 8), key))
			return map->values->data + (size_t)i * (map->values->elem->bits / 8);
	return NULL;
}

static MlrtStatus dict_vectorizer(const ObjectStep *o)
{
	const MlrtObject *map = object_of(o, 0);
	const uint64_t size = map->elem->bits / 8;
	uint64_t bytes, total = 0, one;
	View words;
	unsigned char *to;
	char *chars;
	MlrtStatus st = mlrt_view(o->f, o->ref[1], &words, o->err);

	if (!st && map->n != 1)
		st = mlrt_fail(o->err, MLRT_ERR_ARGUMENT, "a map without content");
	if (st)
		return st;
	bytes = (uint64_t)words.dims[0] * size;
	total = bytes;
	for (int64_t i = 0; i < words.dims[0]; i++) {
		const void *v = look_up(mlrt_object_at(map, 0), &words, i);

		if (v && mlrt_deep_bytes(map->elem, v, size, &one))
			total += one - size;
	}
	st = mlrt_result(o->f, o->ref[2], 2, (int64_t[]){1, words.dims[0]}, total, &to, o->err);
	if (st || bytes == 0)
		return st;
	memset(to, 0, bytes);
	chars = (char *)to + bytes;
	for (int64_t i = 0; i < words.dims[0]; i++) {
		const void *v = look_up(mlrt_object_at(map, 0), &words, i);

		if (v)
			mlrt_deep_copy_to(map->elem, to + (size_t)i * size, v, size, &chars);
	}
	return MLRT_OK;
}

MLRT_LOCAL MlrtStatus mlrt_step_object(Frame *f, const MlrtBodyStep *step, MlrtError *err)
{
	const ObjectStep o = {f, step, f->body->ref + step->first, step->n - step->nresults, err};

	switch (step->object) {
	case MLRT_OBJ_SEQ_EMPTY:
	case MLRT_OBJ_SEQ_CONSTRUCT: return construct(&o);
	case MLRT_OBJ_SEQ_AT: return pick(&o);
	case MLRT_OBJ_SEQ_INSERT: return insert(&o);
	case MLRT_OBJ_SEQ_ERASE: return erase(&o);
	case MLRT_OBJ_SEQ_LENGTH: return length(&o);
	case MLRT_OBJ_SPLIT: return split(&o);
	case MLRT_OBJ_CONCAT:
		return mlrt_concat(f, object_of(&o, 0), step->imm[0], step->imm[1] != 0, o.ref[1], err);
	case MLRT_OBJ_OPTIONAL: return optional(&o);
	case MLRT_OBJ_OPTIONAL_GET: return optional_get(&o);
	case MLRT_OBJ_OPTIONAL_HAS: return optional_has(&o);
	case MLRT_OBJ_ZIP_MAP: return zip_map(&o);
	default: return dict_vectorizer(&o);
	}
}
