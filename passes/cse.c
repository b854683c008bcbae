/* passes/cse.c -- share equal computations and equal constants.
 * Requires: types.  Keeps: types, order.  Breaks: nothing.  Idempotent.
 *
 * Constants are told apart by type and a sample of their bytes first, so of large weights only
 * likely twins are compared in full. */
#include <string.h>
#include <xxhash.h>

#include "passes/match.h"

enum { SAMPLE = 512 }; /* bytes at each end of a constant that go into its key */

/* Open addressing; the caller knows how many keys will come. */
typedef struct Table {
	struct { uint64_t key; void *item; } *slot;
	size_t mask;
} Table;

static Table table_new(MloArena *a, size_t n)
{
	size_t size = 16;
	Table t;

	while (size < 2 * n)
		size *= 2;
	t.mask = size - 1;
	t.slot = mlo_alloc(a, size, sizeof *t.slot);
	return t;
}

/* The first item with that key for which `same` holds; else stores `item` and returns NULL. */
static void *table_put(Table *t, uint64_t key, void *item, bool (*same)(const void *a, const void *b))
{
	size_t i = key & t->mask;

	for (; t->slot[i].item; i = (i + 1) & t->mask)
		if (t->slot[i].key == key && same(t->slot[i].item, item))
			return t->slot[i].item;
	t->slot[i].key = key;
	t->slot[i].item = item;
	return NULL;
}

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	return XXH3_64bits_withSeed(p, n, h);
}

/* -- constants ------------------------------------------------------------------------------- */

static uint64_t const_key(const MloTensor *t)
{
	uint64_t h = mix((uint64_t)t->elem * 31 + (uint64_t)t->rank, t->dim, sizeof *t->dim * (size_t)t->rank);

	if (t->nbytes <= 2 * SAMPLE)
		return mix(h, t->data, t->nbytes);
	h = mix(h, t->data, SAMPLE);
	return mix(h, (const char *)t->data + t->nbytes - SAMPLE, SAMPLE);
}

static bool same_const(const void *a, const void *b)
{
	const MloValue *x = a, *y = b;

	return mlo_tensor_equal(x->data, y->data);
}

static void share_constants(MloGraph *g, MloPassCx *cx)
{
	Table t = table_new(cx->arena, g->consts.n);

	for (size_t i = 0; i < g->consts.n; i++) {
		MloValue *v = g->consts.items[i], *first;

		if (!v->nuse || v->data->elem == EL_str || mlo_is_output(g, v))
			continue;
		first = table_put(&t, const_key(v->data), v, same_const);
		if (first) {
			mlo_graph_replace(g, v, first);
			cx->changed++;
		}
	}
}

/* -- nodes ----------------------------------------------------------------------------------- */

/* Attribute `slot` as bytes: the value that is in force, so that a default equals its spelling out. */
static uint64_t attr_key(const MloNode *n, int slot, uint64_t h)
{
	int64_t i;
	double f;
	int count;
	const void *p;

	switch (mlo_op_info(n->op)->attr[slot].kind) {
	case AK_INT: i = mlo_attr_i(n, slot); return mix(h, &i, sizeof i);
	case AK_FLOAT: f = mlo_attr_f(n, slot); return mix(h, &f, sizeof f);
	case AK_STR: p = mlo_attr_s(n, slot); return mix(h, p, strlen(p));
	case AK_INTS: p = mlo_attr_ints(n, slot, &count); return mix(h, p, 8 * (size_t)count);
	case AK_FLOATS: p = mlo_attr_floats(n, slot, &count); return mix(h, p, 8 * (size_t)count);
	case AK_GRAPH: return h; /* bodies are never equal, see below */
	}
	MLO_BUG("attribute kind");
}

static bool attr_same(const MloNode *a, const MloNode *b, int slot)
{
	int na, nb;
	const void *p, *q;

	switch (mlo_op_info(a->op)->attr[slot].kind) {
	case AK_INT: return mlo_attr_i(a, slot) == mlo_attr_i(b, slot);
	case AK_FLOAT: return mlo_attr_f(a, slot) == mlo_attr_f(b, slot);
	case AK_STR: return !strcmp(mlo_attr_s(a, slot), mlo_attr_s(b, slot));
	case AK_INTS:
		p = mlo_attr_ints(a, slot, &na);
		q = mlo_attr_ints(b, slot, &nb);
		return na == nb && (!na || !memcmp(p, q, 8 * (size_t)na));
	case AK_FLOATS:
		p = mlo_attr_floats(a, slot, &na);
		q = mlo_attr_floats(b, slot, &nb);
		return na == nb && (!na || !memcmp(p, q, 8 * (size_t)na));
	case AK_GRAPH: return !mlo_attr_graph(a, slot) && !mlo_attr_graph(b, slot);
	}
	MLO_BUG("attribute kind");
}

static bool swapped(const MloNode *n)
{
	return mlo_op_has(n->op, TR_COMMUTES) && n->nin == 2 && n->in[0]->id > n->in[1]->id;
}

static const MloValue *operand(const MloNode *n, uint32_t i)
{
	return n->in[swapped(n) && i < 2 ? 1 - i : i];
}

static uint64_t node_key(const MloNode *n)
{
	uint64_t h = (uint64_t)n->op * 1009 + n->nin * 31 + n->nout;

	for (uint32_t i = 0; i < n->nin; i++) {
		uint32_t id = operand(n, i) ? operand(n, i)->id + 1 : 0;

		h = mix(h, &id, sizeof id);
	}
	for (int i = 0; i < mlo_op_info(n->op)->nattr; i++)
		h = attr_key(n, i, h);
	return h;
}

static bool same_node(const void *a, const void *b)
{
	const MloNode *x = a, *y = b;

	if (x->op != y->op || x->nin != y->nin || x->nout != y->nout || x->group != y->group)
		return false;
	for (uint32_t i = 0; i < x->nin; i++)
		if (operand(x, i) != operand(y, i))
			return false;
	for (uint32_t i = 0; i < x->nout; i++)
		if (!x->out[i] != !y->out[i] || (x->out[i] && (x->out[i]->layout.block != y->out[i]->layout.block ||
		                                               x->out[i]->layout.stored != y->out[i]->layout.stored)))
			return false;
	for (int i = 0; i < mlo_op_info(x->op)->nattr; i++)
		if (!attr_same(x, y, i))
			return false;
	return true;
}

static void share(MloGraph *g, MloNode *first, MloNode *n)
{
	mlo_origin_add(g, first, n->origin);
	for (uint32_t i = 0; i < n->nout; i++) {
		if (!n->out[i])
			continue;
		if (!first->out[i]->name || (mlo_is_output(g, n->out[i]) && !mlo_is_output(g, first->out[i])))
			first->out[i]->name = n->out[i]->name ? n->out[i]->name : first->out[i]->name;
		mlo_graph_replace(g, n->out[i], first->out[i]);
	}
	mlo_graph_remove(g, n);
}

MloStatus mlo_pass_cse(MloGraph *g, MloPassCx *cx)
{
	size_t count = 0;
	Table t;

	share_constants(g, cx);
	for (MloNode *n = g->first; n; n = n->next)
		count++;
	t = table_new(cx->arena, count);
	for (MloNode *n = g->first, *next, *first; n; n = next) {
		next = n->next;
		if (!mlo_op_has(n->op, TR_PURE))
			continue;
		first = table_put(&t, node_key(n), n, same_node);
		if (first) {
			share(g, first, n);
			cx->changed++;
		}
	}
	return MLO_OK;
}
