/* ir/clone.c -- a deep copy of a graph into an arena of its own. */
#include "ir/graph.h"
#include "ir/text.h"

typedef struct Cloner {
	MloGraph *to;
	MloValue **map; /* by id of the original */
	MloArena *scratch;
} Cloner;

static void copy_graph(MloArena *scratch, MloGraph *to, const MloGraph *g);

static MloType copy_type(Cloner *c, const MloType *t)
{
	MloType r = *t;

	for (int i = 0; i < t->rank; i++)
		r.dim[i] = mlo_dim_copy(c->to->syms, t->dim[i]);
	return r;
}

static void copy_value(Cloner *c, MloValue *to, const MloValue *from)
{
	to->name = from->name ? mlo_strdup(c->to->arena, from->name) : NULL;
	to->type = copy_type(c, &from->type);
	to->layout = from->layout;
	c->map[from->id] = to;
}

static void copy_attr(Cloner *c, MloNode *to, const MloAttr *a, int slot)
{
	MloArena *arena = c->to->arena;
	MloAttr *b = &to->attr[slot];

	*b = *a;
	if (a->set && a->s)
		b->s = mlo_strdup(arena, a->s);
	if (a->ints)
		b->ints = mlo_dup(arena, a->ints, (size_t)a->n * sizeof *a->ints);
	if (a->floats)
		b->floats = mlo_dup(arena, a->floats, (size_t)a->n * sizeof *a->floats);
	if (a->graph) {
		b->graph = mlo_graph_body(c->to, a->graph->name);
		copy_graph(c->scratch, b->graph, a->graph);
	}
}

static void copy_node(Cloner *c, const MloNode *n)
{
	MloValue **in = MLO_NEWN(c->scratch, MloValue *, n->nin);
	MloNode *m;

	for (uint32_t i = 0; i < n->nin; i++)
		in[i] = n->in[i] ? c->map[n->in[i]->id] : NULL;
	m = mlo_graph_node(c->to, NULL, n->op, in, n->nin, n->nout);
	m->group = n->group;
	mlo_origin_add(c->to, m, n->origin);
	for (int i = 0; i < mlo_op_info(n->op)->nattr; i++)
		copy_attr(c, m, &n->attr[i], i);
	for (uint32_t i = 0; i < n->nout; i++) {
		if (n->out[i])
			copy_value(c, m->out[i], n->out[i]);
		else
			m->out[i] = NULL;
	}
}

static void copy_graph(MloArena *scratch, MloGraph *to, const MloGraph *g)
{
	Cloner c = {.to = to, .map = MLO_NEWN(scratch, MloValue *, g->next_id), .scratch = scratch};

	for (uint32_t i = 0; i < g->ninputs; i++) {
		MloType t = copy_type(&c, &g->inputs[i]->type);

		copy_value(&c, mlo_graph_input(c.to, NULL, &t), g->inputs[i]);
	}
	for (size_t i = 0; i < g->consts.n; i++) {
		const MloValue *v = g->consts.items[i];

		if (v->nuse) {
			MloTensor *t = mlo_dup(c.to->arena, v->data, sizeof *v->data);

			copy_value(&c, mlo_graph_const(c.to, t, NULL), v);
		}
	}
	for (const MloNode *n = g->first; n; n = n->next)
		copy_node(&c, n);
	for (uint32_t i = 0; i < g->noutputs; i++)
		mlo_graph_output(c.to, c.map[g->outputs[i]->id], g->output_names[i]);
	for (const MloMeta *m = g->meta; m; m = m->next)
		mlo_graph_meta(c.to, m->key, m->value);
}

MloGraph *mlo_graph_clone(const MloGraph *g)
{
	MloArena *scratch = mlo_arena_new();
	MloGraph *to = mlo_graph_new(g->name);

	if (!scratch || !to) {
		mlo_arena_free(scratch);
		mlo_graph_free(to);
		return NULL;
	}
	mlo_symbols_copy(to->syms, g->syms);
	copy_graph(scratch, to, g);
	mlo_arena_free(scratch);
	return to;
}

MloGraph *mlo_body_clone(MloGraph *g, const MloGraph *body)
{
	MloGraph *to = mlo_graph_body(g, body->name);
	MloArena *scratch = mlo_arena_new();

	copy_graph(scratch ? scratch : g->arena, to, body);
	mlo_arena_free(scratch);
	return to;
}
