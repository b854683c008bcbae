/* runtime/object.c -- sequences, optionals and maps: memory, items, and what the application sees. */
#include "runtime/object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- the store ------------------------------------------------------------------------------- */

static Item *store_take(Store *s, uint64_t bytes)
{
	const uint64_t need = bytes + sizeof(Item);
	uint32_t c = 0;
	Item *i;

	if (bytes > SIZE_MAX / 4)
		return NULL;
	while (((uint64_t)STORE_SMALLEST << c) < need)
		if (++c == STORE_CLASSES)
			return NULL;
	i = s->free[c];
	if (i) {
		s->free[c] = i->next;
	} else {
		i = s->allocator.alloc(s->allocator.user, (size_t)STORE_SMALLEST << c);
		if (!i)
			return NULL;
		if ((uintptr_t)i % MLRT_ALIGN != 0) {
			s->allocator.release(s->allocator.user, i, (size_t)STORE_SMALLEST << c);
			return NULL;
		}
		i->every = s->every;
		s->every = i;
	}
	i->refs = 1;
	i->size_class = c;
	i->next = NULL;
	i->is_list = false;
	i->keys = i->values = NULL;
	i->elem = NULL;
	i->rank = 0;
	i->bytes = 0;
	return i;
}

MLRT_LOCAL void mlrt_store_free(Store *s)
{
	while (s->every) {
		Item *i = s->every;

		s->every = i->every;
		s->allocator.release(s->allocator.user, i, (size_t)STORE_SMALLEST << i->size_class);
	}
	memset(s->free, 0, sizeof s->free);
}

MLRT_LOCAL Item *mlrt_item_new(Store *s, const Elem *e, int rank, const int64_t *dims, uint64_t bytes, uint64_t room)
{
	Item *i = store_take(s, room);

	if (!i)
		return NULL;
	i->elem = e;
	i->rank = rank;
	i->bytes = bytes;
	if (rank > 0)
		memcpy(i->dims, dims, (size_t)rank * sizeof *dims);
	return i;
}

MLRT_LOCAL Item *mlrt_item_map(Store *s, Item *keys, Item *values)
{
	Item *i = keys && values ? store_take(s, 0) : NULL;

	if (!i) {
		mlrt_item_drop(s, keys);
		mlrt_item_drop(s, values);
		return NULL;
	}
	i->keys = keys;
	i->values = values;
	i->elem = values->elem;
	return i;
}

MLRT_LOCAL Item *mlrt_item_keep(Item *i)
{
	i->refs++;
	return i;
}

static Item **items_in(Item *list)
{
	return (Item **)(void *)list->data;
}

/* Lists hold items, and maps hold two; nothing holds a list. */
MLRT_LOCAL void mlrt_item_drop(Store *s, Item *i)
{
	if (!i || --i->refs > 0)
		return;
	for (uint64_t k = 0; i->is_list && k < i->bytes; k++)
		mlrt_item_drop(s, items_in(i)[k]);
	if (i->keys) {
		mlrt_item_drop(s, i->keys);
		mlrt_item_drop(s, i->values);
	}
	i->next = s->free[i->size_class];
	s->free[i->size_class] = i;
}

/* -- objects --------------------------------------------------------------------------------- */

MLRT_LOCAL Item *mlrt_object_at(const MlrtObject *o, size_t i)
{
	return items_in(o->list)[i];
}

MLRT_LOCAL void mlrt_object_empty(MlrtObject *o)
{
	mlrt_item_drop(o->store, o->list);
	o->list = NULL;
	o->n = 0;
	o->present = false;
}

/* A list that ends where this object ends, with room for one more. */
static bool make_room(MlrtObject *o)
{
	Item *old = o->list, *list;

	if (old && old->bytes == o->n &&
	    (o->n + 1) * sizeof(Item *) <= ((uint64_t)STORE_SMALLEST << old->size_class) - sizeof(Item))
		return true;
	list = store_take(o->store, (2 * o->n + 8) * sizeof(Item *));
	if (!list)
		return false;
	list->is_list = true;
	for (list->bytes = 0; list->bytes < o->n; list->bytes++)
		items_in(list)[list->bytes] = mlrt_item_keep(items_in(old)[list->bytes]);
	mlrt_item_drop(o->store, old);
	o->list = list;
	return true;
}

MLRT_LOCAL bool mlrt_object_push(MlrtObject *o, Item *i)
{
	if (!i || !make_room(o)) {
		mlrt_item_drop(o->store, i);
		return false;
	}
	items_in(o->list)[o->n++] = i;
	o->list->bytes++;
	o->present = true;
	return true;
}

static Item *copy_item(Store *s, const Item *i)
{
	uint64_t total;
	Item *copy;

	if (i->keys)
		return mlrt_item_map(s, copy_item(s, i->keys), copy_item(s, i->values));
	if (!mlrt_deep_bytes(i->elem, i->data, i->bytes, &total))
		return NULL;
	copy = mlrt_item_new(s, i->elem, i->rank, i->dims, i->bytes, total);
	if (copy)
		mlrt_deep_copy(i->elem, copy->data, i->data, i->bytes);
	return copy;
}

MLRT_LOCAL bool mlrt_object_assign(MlrtObject *dst, const MlrtObject *src)
{
	if (dst == src)
		return true;
	mlrt_object_empty(dst);
	if (dst->store == src->store) {
		dst->list = src->list ? mlrt_item_keep(src->list) : NULL;
		dst->n = src->n;
	}
	while (dst->n < src->n)
		if (!mlrt_object_push(dst, copy_item(dst->store, mlrt_object_at(src, dst->n))))
			return false;
	dst->present = src->present;
	return true;
}

MLRT_LOCAL void mlrt_object_assign_shorter(MlrtObject *dst, const MlrtObject *src)
{
	mlrt_object_assign(dst, src); /* of one store: that cannot fail */
	dst->n--;
}

MLRT_LOCAL void mlrt_object_swap(MlrtObject *a, MlrtObject *b)
{
	const MlrtObject old = *a;

	a->present = b->present;
	a->n = b->n;
	a->list = b->list;
	b->present = old.present;
	b->n = old.n;
	b->list = old.list;
}

/* -- strings --------------------------------------------------------------------------------- */

MLRT_LOCAL bool mlrt_deep_bytes(const Elem *e, const void *data, uint64_t bytes, uint64_t *total)
{
	const MlrtText *t = data;

	*total = bytes;
	if (e->code != ELEM_STR)
		return true;
	for (uint64_t i = 0; i < bytes / sizeof *t; i++)
		if (t[i].n < 0 || (t[i].n > 0 && !t[i].s) || __builtin_add_overflow(*total, (uint64_t)t[i].n, total))
			return false;
	return *total <= SIZE_MAX / 4;
}

MLRT_LOCAL void mlrt_deep_copy_to(const Elem *e, void *to, const void *from, uint64_t bytes, char **chars)
{
	MlrtText *t = to;

	if (bytes > 0)
		memmove(to, from, bytes);
	if (e->code != ELEM_STR)
		return;
	for (uint64_t i = 0; i < bytes / sizeof *t; i++) {
		if (t[i].n > 0)
			memmove(*chars, t[i].s, (size_t)t[i].n);
		t[i].s = *chars;
		*chars += t[i].n;
	}
}

MLRT_LOCAL void mlrt_deep_copy(const Elem *e, void *to, const void *from, uint64_t bytes)
{
	char *chars;

	if (bytes == 0)
		return;
	chars = (char *)to + bytes;
	mlrt_deep_copy_to(e, to, from, bytes, &chars);
}

/* -- for the application ----------------------------------------------------------------------- */

MlrtObject *mlrt_object_new(const char *kind, const char *elem, const char *key)
{
	const Elem *e = mlrt_elem_named(elem), *k = mlrt_elem_named(key);
	MlrtObject *o;
	uint32_t number;
	bool maps;

	if (!kind || !e || !mlrt_kind_named(kind, &number) || number == MLRT_V_TENSOR) {
		errno = EINVAL;
		return NULL;
	}
	maps = number == MLRT_V_MAP || number == MLRT_V_SEQ_MAP;
	if (maps ? !k || (k->code != ELEM_I64 && k->code != ELEM_STR) : key != NULL) {
		errno = EINVAL;
		return NULL;
	}
	o = calloc(1, sizeof *o);
	if (!o)
		return NULL;
	o->kind = number;
	o->elem = e;
	o->key = k;
	o->own.allocator = mlrt_default_allocator();
	o->store = &o->own;
	return o;
}

void mlrt_object_free(MlrtObject *o)
{
	if (!o || o->store != &o->own)
		return;
	mlrt_store_free(&o->own);
	free(o);
}

void mlrt_object_clear(MlrtObject *o, int present)
{
	mlrt_object_empty(o);
	o->present = present && o->kind == MLRT_V_OPT_SEQ;
}

static MlrtStatus new_item(MlrtObject *o, const Elem *e, const MlrtTensor *t, Item **out, MlrtError *err)
{
	uint64_t bytes, total;

	if (!t || t->rank < 0 || t->rank > MLRT_MAX_DIMS || !mlrt_tensor_bytes(e, t->rank, t->dims, &bytes))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "an item of no possible size");
	if (t->bytes < bytes || (bytes > 0 && !t->data))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "an item in %zu bytes of memory, its sizes need %llu",
				 t->data ? t->bytes : 0, (unsigned long long)bytes);
	if (!mlrt_deep_bytes(e, t->data, bytes, &total))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "an item with a string of negative length");
	*out = mlrt_item_new(o->store, e, t->rank, t->dims, bytes, total);
	if (!*out)
		return mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for an item of %llu bytes",
				 (unsigned long long)total);
	mlrt_deep_copy(e, (*out)->data, t->data, bytes);
	return MLRT_OK;
}

static MlrtStatus may_append(const MlrtObject *o, bool map, MlrtError *err)
{
	const bool maps = o->kind == MLRT_V_MAP || o->kind == MLRT_V_SEQ_MAP;

	if (o->store != &o->own)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "an object of a session cannot be changed");
	if (map != maps)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "an item of this kind is none of a %s",
				 mlrt_kind_text(o->kind));
	if (o->n > 0 && (o->kind == MLRT_V_OPT || o->kind == MLRT_V_MAP))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "the %s has its content already", mlrt_kind_text(o->kind));
	return MLRT_OK;
}

static MlrtStatus push_new(MlrtObject *o, Item *i, MlrtError *err)
{
	return mlrt_object_push(o, i) ? MLRT_OK : mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for an item");
}

MlrtStatus mlrt_object_append(MlrtObject *o, const MlrtTensor *item, MlrtError *err)
{
	MlrtStatus st = may_append(o, false, err);
	Item *i = NULL;

	if (!st)
		st = new_item(o, o->elem, item, &i, err);
	return st ? st : push_new(o, i, err);
}

MlrtStatus mlrt_object_append_map(MlrtObject *o, const MlrtTensor *keys, const MlrtTensor *values, MlrtError *err)
{
	MlrtStatus st = may_append(o, true, err);
	Item *k = NULL, *v = NULL;

	if (!st)
		st = new_item(o, o->key, keys, &k, err);
	if (!st)
		st = new_item(o, o->elem, values, &v, err);
	if (!st && (k->rank != 1 || v->rank != 1 || k->dims[0] != v->dims[0]))
		st = mlrt_fail(err, MLRT_ERR_ARGUMENT, "a map needs as many keys as values");
	if (st) {
		mlrt_item_drop(o->store, k);
		mlrt_item_drop(o->store, v);
		return st;
	}
	return push_new(o, mlrt_item_map(o->store, k, v), err);
}

const char *mlrt_object_kind(const MlrtObject *o)
{
	return mlrt_kind_text(o->kind);
}

const char *mlrt_object_elem(const MlrtObject *o)
{
	return o->elem->name;
}

const char *mlrt_object_key(const MlrtObject *o)
{
	return o->key ? o->key->name : NULL;
}

int mlrt_object_present(const MlrtObject *o)
{
	return o->present || o->kind == MLRT_V_SEQ || o->kind == MLRT_V_SEQ_MAP;
}

size_t mlrt_object_count(const MlrtObject *o)
{
	return o->n;
}

static void show(const Item *i, MlrtTensor *t)
{
	*t = (MlrtTensor){.data = (void *)(uintptr_t)i->data, .bytes = i->bytes, .rank = i->rank};
	memcpy(t->dims, i->dims, (size_t)i->rank * sizeof *i->dims);
}

MlrtStatus mlrt_object_item(const MlrtObject *o, size_t i, MlrtTensor *out)
{
	if (i >= o->n || mlrt_object_at(o, i)->keys)
		return MLRT_ERR_ARGUMENT;
	show(mlrt_object_at(o, i), out);
	return MLRT_OK;
}

MlrtStatus mlrt_object_map(const MlrtObject *o, size_t i, MlrtTensor *keys, MlrtTensor *values)
{
	if (i >= o->n || !mlrt_object_at(o, i)->keys)
		return MLRT_ERR_ARGUMENT;
	show(mlrt_object_at(o, i)->keys, keys);
	show(mlrt_object_at(o, i)->values, values);
	return MLRT_OK;
}
