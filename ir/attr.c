/* ir/attr.c -- attributes of nodes, by table slot. */
#include <stdlib.h>
#include <string.h>

#include "ir/graph.h"

static MloAttr *slot_of(const MloNode *n, int slot, MloAttrKind kind)
{
	const MloOpInfo *info = mlo_op_info(n->op);

	if (slot < 0 || slot >= info->nattr || info->attr[slot].kind != kind)
		MLO_BUG("%s has no attribute of that kind in slot %d", info->name, slot);
	return &n->attr[slot];
}

static const char *default_text(const MloNode *n, int slot)
{
	return mlo_op_info(n->op)->attr[slot].def;
}

int64_t mlo_attr_i(const MloNode *n, int slot)
{
	const MloAttr *a = slot_of(n, slot, AK_INT);

	return a->set ? a->i : strtoll(default_text(n, slot), NULL, 10);
}

double mlo_attr_f(const MloNode *n, int slot)
{
	const MloAttr *a = slot_of(n, slot, AK_FLOAT);

	return a->set ? a->f : strtod(default_text(n, slot), NULL);
}

const char *mlo_attr_s(const MloNode *n, int slot)
{
	const MloAttr *a = slot_of(n, slot, AK_STR);

	return a->set ? a->s : default_text(n, slot);
}

const int64_t *mlo_attr_ints(const MloNode *n, int slot, int *count)
{
	const MloAttr *a = slot_of(n, slot, AK_INTS);

	*count = a->set ? a->n : 0;
	return a->ints;
}

const double *mlo_attr_floats(const MloNode *n, int slot, int *count)
{
	const MloAttr *a = slot_of(n, slot, AK_FLOATS);

	*count = a->set ? a->n : 0;
	return a->floats;
}

void mlo_attr_set_i(MloNode *n, int slot, int64_t v)
{
	MloAttr *a = slot_of(n, slot, AK_INT);

	a->i = v;
	a->set = v != strtoll(default_text(n, slot), NULL, 10);
}

void mlo_attr_set_f(MloNode *n, int slot, double v)
{
	MloAttr *a = slot_of(n, slot, AK_FLOAT);
	double def = strtod(default_text(n, slot), NULL);

	a->set = v != def && ((double)(float)v != v || (float)v != (float)def);
	a->f = a->set ? v : def;
}

void mlo_attr_set_s(MloGraph *g, MloNode *n, int slot, const char *v)
{
	MloAttr *a = slot_of(n, slot, AK_STR);

	a->set = strcmp(v, default_text(n, slot)) != 0;
	a->s = a->set ? mlo_strdup(g->arena, v) : default_text(n, slot);
}

void mlo_attr_set_ints(MloGraph *g, MloNode *n, int slot, const int64_t *v, int count)
{
	MloAttr *a = slot_of(n, slot, AK_INTS);

	a->set = count > 0;
	a->n = count;
	a->ints = count ? mlo_dup(g->arena, v, (size_t)count * sizeof *v) : NULL;
}

void mlo_attr_set_floats(MloGraph *g, MloNode *n, int slot, const double *v, int count)
{
	MloAttr *a = slot_of(n, slot, AK_FLOATS);

	a->set = count > 0;
	a->n = count;
	a->floats = count ? mlo_dup(g->arena, v, (size_t)count * sizeof *v) : NULL;
}

MloGraph *mlo_attr_graph(const MloNode *n, int slot)
{
	return slot_of(n, slot, AK_GRAPH)->graph;
}

MloGraph *mlo_node_body(const MloNode *n, int *at)
{
	const MloOpInfo *info = mlo_op_info(n->op);

	while (*at < info->nattr) {
		int slot = (*at)++;

		if (info->attr[slot].kind == AK_GRAPH && n->attr[slot].graph)
			return n->attr[slot].graph;
	}
	return NULL;
}

void mlo_attr_set_graph(MloNode *n, int slot, MloGraph *body)
{
	MloAttr *a = slot_of(n, slot, AK_GRAPH);

	a->graph = body;
	a->set = body != NULL;
}
