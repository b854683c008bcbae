/* tests/support/values.c -- writes and reads values: 64-bit numbers, and bytes behind their length, aligned as
 * tensors are, so that a file in memory is what values point to. */
#include "tests/support/values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };
_Static_assert(sizeof(MlrtText) == 16, "texts are stored as they are");

/* -- writing ------------------------------------------------------------------------------------- */

static bool put(FILE *f, int64_t v)
{
	return fwrite(&v, sizeof v, 1, f) == 1;
}

static bool pad(FILE *f)
{
	static const char zero[ALIGN];
	const size_t n = (size_t)-ftell(f) % ALIGN;

	return fwrite(zero, 1, n, f) == n;
}

static bool put_bytes(FILE *f, const void *p, size_t n)
{
	return put(f, (int64_t)n) && pad(f) && (n == 0 || fwrite(p, 1, n, f) == n) && pad(f);
}

/* With its zero byte; NULL: "". */
static bool put_name(FILE *f, const char *s)
{
	return put_bytes(f, s ? s : "", s ? strlen(s) + 1 : 1);
}

static bool put_tensor(FILE *f, const MlrtTensor *t, const char *elem)
{
	const bool text = strcmp(elem, "str") == 0;
	const MlrtText *s = t->data;
	int64_t n = 1;
	bool ok = put(f, text) && put(f, t->rank);

	for (int i = 0; i < t->rank; i++) {
		ok = ok && put(f, t->dims[i]);
		n *= t->dims[i];
	}
	ok = ok && put_bytes(f, t->data, text ? (size_t)n * sizeof *s : t->bytes);
	for (int64_t i = 0; ok && text && i < n; i++)
		ok = put_bytes(f, s[i].s, (size_t)s[i].n);
	return ok;
}

static bool put_object(FILE *f, const MlrtObject *o)
{
	const char *key = mlrt_object_key(o), *elem = mlrt_object_elem(o);
	const size_t n = mlrt_object_count(o);
	bool ok = put_name(f, mlrt_object_kind(o)) && put_name(f, elem) && put_name(f, key) &&
		  put(f, mlrt_object_present(o)) && put(f, (int64_t)n);

	for (size_t i = 0; ok && i < n; i++) {
		MlrtTensor a = {0}, b = {0};

		if (key)
			ok = !mlrt_object_map(o, i, &a, &b) && put_tensor(f, &a, key) && put_tensor(f, &b, elem);
		else
			ok = !mlrt_object_item(o, i, &a) && put_tensor(f, &a, elem);
	}
	return ok;
}

bool values_write(const char *path, const MlrtTensor *v, const char *const *elem, size_t n)
{
	FILE *f = fopen(path, "wb");
	bool ok = f != NULL;

	for (size_t i = 0; ok && i < n; i++)
		ok = put(f, v[i].object != NULL) &&
		     (v[i].object ? put_object(f, v[i].object) : put_tensor(f, &v[i], elem[i]));
	return f && !fclose(f) && ok;
}

/* -- reading ------------------------------------------------------------------------------------- */

typedef struct Cursor { char *block; size_t at, n; } Cursor;

static bool get(Cursor *c, int64_t *v)
{
	if (c->n - c->at < sizeof *v)
		return false;
	memcpy(v, c->block + c->at, sizeof *v);
	c->at += sizeof *v;
	return true;
}

static void skip_padding(Cursor *c)
{
	const size_t end = (c->at + ALIGN - 1) / ALIGN * ALIGN;

	c->at = end < c->n ? end : c->n;
}

static void *get_bytes(Cursor *c, size_t *n)
{
	int64_t count;
	char *p;

	if (!get(c, &count))
		return NULL;
	skip_padding(c);
	if (count < 0 || (uint64_t)count > c->n - c->at)
		return NULL;
	p = c->block + c->at;
	c->at += *n = (size_t)count;
	skip_padding(c);
	return p;
}

static bool get_tensor(Cursor *c, MlrtTensor *t)
{
	int64_t text, rank;
	MlrtText *s;

	*t = (MlrtTensor){0};
	if (!get(c, &text) || !get(c, &rank) || rank < 0 || rank > 16)
		return false;
	t->rank = (int)rank;
	for (int i = 0; i < t->rank; i++)
		if (!get(c, &t->dims[i]))
			return false;
	t->data = s = get_bytes(c, &t->bytes);
	for (size_t i = 0; s && text && i < t->bytes / sizeof *s; i++) {
		size_t n;

		s[i].s = get_bytes(c, &n);
		if (!s[i].s)
			return false;
	}
	return t->data != NULL;
}

static bool get_object(Cursor *c, MlrtTensor *v)
{
	size_t len;
	const char *kind = get_bytes(c, &len), *elem = kind ? get_bytes(c, &len) : NULL;
	const char *key = elem ? get_bytes(c, &len) : NULL;
	int64_t present, n;

	if (!key || !get(c, &present) || !get(c, &n))
		return false;
	v->object = mlrt_object_new(kind, elem, *key ? key : NULL);
	if (v->object)
		mlrt_object_clear(v->object, (int)present);
	for (int64_t i = 0; v->object && i < n; i++) {
		MlrtTensor a, b;

		if (!get_tensor(c, &a) || (*key && !get_tensor(c, &b)))
			return false;
		if (*key ? mlrt_object_append_map(v->object, &a, &b, NULL)
			 : mlrt_object_append(v->object, &a, NULL))
			return false;
	}
	return v->object != NULL;
}

static bool load(const char *path, Cursor *c)
{
	FILE *f = fopen(path, "rb");
	long size = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
	bool ok = size >= 0;

	if (ok) {
		rewind(f);
		c->n = (size_t)size;
		c->block = aligned_alloc(ALIGN, (c->n + ALIGN) / ALIGN * ALIGN);
		ok = c->block && fread(c->block, 1, c->n, f) == c->n;
	}
	if (f)
		fclose(f);
	return ok;
}

void *values_read(const char *path, MlrtTensor *v, size_t n)
{
	Cursor c = {0};
	bool ok = load(path, &c);

	for (size_t i = 0; i < n; i++)
		v[i] = (MlrtTensor){0};
	for (size_t i = 0; ok && i < n; i++) {
		int64_t object;

		ok = get(&c, &object) && (object ? get_object(&c, &v[i]) : get_tensor(&c, &v[i]));
	}
	for (size_t i = 0; !ok && i < n; i++)
		mlrt_object_free(v[i].object);
	if (!ok)
		free(c.block);
	return ok ? c.block : NULL;
}
