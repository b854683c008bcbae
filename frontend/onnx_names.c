/* frontend/onnx_names.c -- a hash map from names to pointers, in an arena. */
#include <string.h>

#include "frontend/onnx_import.h"

static uint64_t hash(const char *s)
{
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then mixed: low bits pick the slot */

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 0x100000001b3u;
	return h ^ h >> 29;
}

static struct OnnxName *slot(const OnnxNames *m, const char *key)
{
	size_t i = hash(key) & (m->cap - 1);

	while (m->slots[i].key && strcmp(m->slots[i].key, key) != 0)
		i = (i + 1) & (m->cap - 1);
	return &m->slots[i];
}

void *onnx_names_get(const OnnxNames *m, const char *key)
{
	return m->cap ? slot(m, key)->val : NULL;
}

static void grow(OnnxNames *m)
{
	OnnxNames bigger = {.arena = m->arena, .n = m->n, .cap = m->cap ? m->cap * 2 : 64};

	bigger.slots = MLO_NEWN(m->arena, struct OnnxName, bigger.cap);
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i].key)
			*slot(&bigger, m->slots[i].key) = m->slots[i];
	*m = bigger;
}

bool onnx_names_add(OnnxNames *m, const char *key, void *val)
{
	struct OnnxName *s;

	if (m->n * 2 >= m->cap)
		grow(m);
	s = slot(m, key);
	if (s->key)
		return false;
	*s = (struct OnnxName){key, val};
	m->n++;
	return true;
}
