/* ir/graph.c -- building and editing graphs; use lists are kept here. */
#include "ir/graph.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* -- graphs and values ---------------------------------------------------------------------- */

MloGraph *mlo_graph_new(const char *name)
{
	MloArena *a = mlo_arena_new();
	MloGraph *g;
	jmp_buf guard;

	if (!a)
		return NULL;
	if (setjmp(guard)) {
		mlo_arena_free(a);
		return NULL;
	}
	mlo_arena_guard(a, &guard);
	g = MLO_NEW(a, MloGraph);
	g->arena = a;
	g->syms = mlo_symbols_new(a);
	g->name = name ? mlo_strdup(a, name) : NULL;
	mlo_arena_guard(a, NULL);
	return g;
}

MloGraph *mlo_graph_body(MloGraph *g, const char *name)
{
	MloGraph *b = MLO_NEW(g->arena, MloGraph);

	b->arena = g->arena;
	b->syms = g->syms;
	b->body = true;
	b->name = name ? mlo_strdup(g->arena, name) : NULL;
	return b;
}

void mlo_graph_free(MloGraph *g)
{
	if (g)
		mlo_arena_free(g->arena);
}

static MloValue *new_value(MloGraph *g, const char *name)
{
	MloValue *v = MLO_NEW(g->arena, MloValue);

	v->name = name ? mlo_strdup(g->arena, name) : NULL;
	v->type.rank = MLO_RANK_UNKNOWN;
	v->id = g->next_id++;
	return v;
}

/* Room for one more pointer in an array that doubles whenever its length is a power of two. */
static void *room(MloArena *a, void *items, uint32_t n)
{
	void **bigger;

	if (n & (n - 1) || (n == 0 && items))
		return items;
	bigger = MLO_NEWN(a, void *, n ? 2 * (size_t)n : 1);
	if (n)
		memcpy(bigger, items, n * sizeof *bigger);
	return bigger;
}

MloValue *mlo_graph_input(MloGraph *g, const char *name, const MloType *t)
{
	MloValue *v = new_value(g, name);

	v->type = *t;
	g->inputs = room(g->arena, g->inputs, g->ninputs);
	g->inputs[g->ninputs++] = v;
	return v;
}

void mlo_graph_output(MloGraph *g, MloValue *v, const char *name)
{
	g->outputs = room(g->arena, g->outputs, g->noutputs);
	g->output_names = room(g->arena, g->output_names, g->noutputs);
	g->output_names[g->noutputs] = name ? mlo_strdup(g->arena, name) : NULL;
	g->outputs[g->noutputs++] = v;
	v->nuse++;
}

MloValue *mlo_graph_const(MloGraph *g, const MloTensor *t, const char *name)
{
	MloValue *v = new_value(g, name);

	v->type = mlo_tensor_type(t);
	v->data = t;
	MLO_PUSH(g->arena, &g->consts, v);
	return v;
}

MloValue *mlo_graph_const_i64s(MloGraph *g, int rank, const int64_t *v, int n)
{
	int64_t dim = n;
	MloTensor *t;

	MLO_ASSERT(rank == 1 || (rank == 0 && n == 1));
	t = mlo_tensor_new(g->arena, EL_i64, rank, &dim);
	for (int i = 0; i < n; i++)
		mlo_tensor_set_i64(t, i, v[i]);
	return mlo_graph_const(g, t, NULL);
}

MloValue *mlo_graph_const_f32(MloGraph *g, float v)
{
	MloTensor *t = mlo_tensor_new(g->arena, EL_f32, 0, NULL);

	mlo_tensor_set_f64(t, 0, (double)v);
	return mlo_graph_const(g, t, NULL);
}

void mlo_graph_meta(MloGraph *g, const char *key, const char *value)
{
	MloMeta **at = &g->meta;

	while (*at && strcmp((*at)->key, key))
		at = &(*at)->next;
	if (!*at) {
		*at = MLO_NEW(g->arena, MloMeta);
		(*at)->key = mlo_strdup(g->arena, key);
	}
	(*at)->value = mlo_strdup(g->arena, value);
}

/* -- uses ----------------------------------------------------------------------------------- */

static void link_use(MloNode *n, uint32_t slot, MloValue *v)
{
	MloUse *u = &n->use[slot];

	n->in[slot] = v;
	*u = (MloUse){.node = n, .slot = slot};
	if (!v)
		return;
	u->next = v->uses;
	if (v->uses)
		v->uses->prev = u;
	v->uses = u;
	v->nuse++;
}

static void unlink_use(MloNode *n, uint32_t slot)
{
	MloUse *u = &n->use[slot];
	MloValue *v = n->in[slot];

	if (!v)
		return;
	MLO_ASSERT(v->nuse > 0);
	if (u->prev)
		u->prev->next = u->next;
	else
		v->uses = u->next;
	if (u->next)
		u->next->prev = u->prev;
	v->nuse--;
}

void mlo_node_set_in(MloGraph *g, MloNode *n, uint32_t i, MloValue *v)
{
	(void)g;
	MLO_ASSERT(i < n->nin);
	unlink_use(n, i);
	link_use(n, i, v);
}

void mlo_graph_replace(MloGraph *g, MloValue *old, MloValue *with)
{
	if (old == with)
		return;
	while (old->uses) {
		MloUse *u = old->uses;
		MloNode *n = u->node;
		uint32_t slot = u->slot;

		unlink_use(n, slot);
		link_use(n, slot, with);
	}
	for (uint32_t i = 0; old->nuse && i < g->noutputs; i++)
		if (g->outputs[i] == old) {
			g->outputs[i] = with;
			old->nuse--;
			with->nuse++;
		}
}

bool mlo_node_used(const MloNode *n)
{
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i] && n->out[i]->nuse)
			return true;
	return false;
}

bool mlo_is_output(const MloGraph *g, const MloValue *v)
{
	for (uint32_t i = 0; i < g->noutputs; i++)
		if (g->outputs[i] == v)
			return true;
	return false;
}

MloNode *mlo_only_user(const MloGraph *g, const MloValue *v)
{
	(void)g;
	return v->nuse == 1 && v->uses ? v->uses->node : NULL;
}

/* -- nodes ---------------------------------------------------------------------------------- */

static void link_node(MloGraph *g, MloNode *n, MloNode *before)
{
	n->next = before;
	n->prev = before ? before->prev : g->last;
	if (n->prev)
		n->prev->next = n;
	else
		g->first = n;
	if (before)
		before->prev = n;
	else
		g->last = n;
}

static void unlink_node(MloGraph *g, MloNode *n)
{
	if (n->prev)
		n->prev->next = n->next;
	else
		g->first = n->next;
	if (n->next)
		n->next->prev = n->prev;
	else
		g->last = n->prev;
}

/* Reading `set` is optional for users: unset attributes hold their default too. */
static void default_attrs(MloNode *n)
{
	const MloOpInfo *info = mlo_op_info(n->op);

	for (int i = 0; i < info->nattr; i++) {
		const char *def = info->attr[i].def;

		if (info->attr[i].kind == AK_INT)
			n->attr[i].i = strtoll(def, NULL, 10);
		else if (info->attr[i].kind == AK_FLOAT)
			n->attr[i].f = strtod(def, NULL);
		else if (info->attr[i].kind == AK_STR)
			n->attr[i].s = def;
	}
}

MloNode *mlo_graph_node(MloGraph *g, MloNode *before, MloOp op, MloValue *const *in, uint32_t nin,
                        uint32_t nout)
{
	MloNode *n = MLO_NEW(g->arena, MloNode);
	const MloOpInfo *info = mlo_op_info(op);

	n->op = op;
	n->nin = nin;
	n->nout = nout;
	n->in = MLO_NEWN(g->arena, MloValue *, nin);
	n->use = MLO_NEWN(g->arena, MloUse, nin);
	n->out = MLO_NEWN(g->arena, MloValue *, nout);
	if (info->nattr)
		n->attr = MLO_NEWN(g->arena, MloAttr, (size_t)info->nattr);
	default_attrs(n);
	for (uint32_t i = 0; i < nin; i++)
		link_use(n, i, in[i]);
	for (uint32_t i = 0; i < nout; i++) {
		n->out[i] = new_value(g, NULL);
		n->out[i]->def = n;
		n->out[i]->out_index = i;
	}
	link_node(g, n, before);
	return n;
}

MloValue *mlo_node_add_out(MloGraph *g, MloNode *n)
{
	MloValue **out = MLO_NEWN(g->arena, MloValue *, (size_t)n->nout + 1), *v = new_value(g, NULL);

	for (uint32_t i = 0; i < n->nout; i++)
		out[i] = n->out[i];
	v->def = n;
	v->out_index = n->nout;
	out[n->nout++] = v;
	n->out = out;
	return v;
}

MloValue *mlo_graph_op(MloGraph *g, MloNode *before, MloOp op, const MloNode *like,
                       MloValue *const *in, uint32_t nin)
{
	MloNode *n = mlo_graph_node(g, before, op, in, nin, 1);

	if (like)
		mlo_origin_add(g, n, like->origin);
	/* A failure leaves the type unknown; inference of the whole graph reports it. */
	if (mlo_infer_node(g, n, NULL) != MLO_OK)
		n->out[0]->type = (MloType){.rank = MLO_RANK_UNKNOWN};
	return n->out[0];
}

void mlo_graph_remove(MloGraph *g, MloNode *n)
{
	MLO_ASSERT(!mlo_node_used(n));
	for (uint32_t i = 0; i < n->nin; i++) {
		unlink_use(n, i);
		n->in[i] = NULL;
	}
	unlink_node(g, n);
}

void mlo_graph_move(MloGraph *g, MloNode *n, MloNode *before)
{
	if (n == before)
		return;
	unlink_node(g, n);
	link_node(g, n, before);
}

/* -- origins -------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

void mlo_origin_add(MloGraph *g, MloNode *n, const MloOrigin *from)
{
	for (; from; from = from->next) {
		MloOrigin **at = &n->origin;

		while (*at && !(same_text((*at)->name, from->name) && same_text((*at)->op, from->op) &&
		                (*at)->opset == from->opset))
			at = &(*at)->next;
		if (*at)
			continue;
		*at = MLO_NEW(g->arena, MloOrigin);
		(*at)->name = from->name ? mlo_strdup(g->arena, from->name) : NULL;
		(*at)->op = from->op ? mlo_strdup(g->arena, from->op) : NULL;
		(*at)->opset = from->opset;
	}
}

const char *mlo_node_name(const MloNode *n)
{
	return n->origin && n->origin->name ? n->origin->name : mlo_op_info(n->op)->name;
}

void mlo_graph_set_output(MloGraph *g, uint32_t i, MloValue *v)
{
	MLO_ASSERT(i < g->noutputs && g->outputs[i]->nuse > 0);
	g->outputs[i]->nuse--;
	v->nuse++;
	g->outputs[i] = v;
}

void mlo_graph_unload(const MloGraph *g)
{
	for (const MloMapped *m = g->mapped; m; m = m->next)
		(void)madvise(m->p, m->bytes, MADV_DONTNEED);
}
