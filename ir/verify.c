/* ir/verify.c -- checks the invariants of a graph; each broken one has its own message.
 *
 * Structure first; when it holds, types: what a node's result is said to be must not contradict
 * what inference gives. */
#include <stdlib.h>
#include <string.h>

#include "ir/graph.h"

typedef struct VerifyCx {
	const MloGraph *g;
	MloDiag *d;
	MloArena *tmp;
	const MloValue **seen; /* by id: values defined so far */
	uint32_t *uses;        /* by id: uses counted */
	MloStatus st;
	int depth;             /* of bodies */
} VerifyCx;

static void broken(VerifyCx *c, const MloNode *n, const char *fmt, ...) MLO_PRINTF(3, 4);

static void broken(VerifyCx *c, const MloNode *n, const char *fmt, ...)
{
	char text[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n)
		mlo_node_error(c->d, MLO_ERR_MODEL, n, "%s", text);
	else
		mlo_error(c->d, MLO_ERR_MODEL, "%s", text);
	c->st = MLO_ERR_MODEL;
}

static const char *name_of(VerifyCx *c, const MloValue *v)
{
	char buf[24];

	return mlo_strdup(c->tmp, mlo_value_name(v, buf));
}

static void check_type(VerifyCx *c, const MloValue *v)
{
	const MloType *t = &v->type;

	if (t->rank < MLO_RANK_UNKNOWN || t->rank > MLO_MAX_RANK) {
		broken(c, v->def, "value '%s' has rank %d", name_of(c, v), t->rank);
		return;
	}
	if ((t->key != EL_none) != (t->kind == MLO_MAP || t->kind == MLO_SEQ_MAP))
		broken(c, v->def, "value '%s' has keys but is no map, or the reverse", name_of(c, v));
	for (int i = 0; i < t->rank; i++)
		if (!t->dim[i].e && (t->dim[i].k < 0 || t->dim[i].k > MLO_MAX_ELEMS))
			broken(c, v->def, "dimension %d of value '%s' is %lld", i, name_of(c, v),
			       (long long)t->dim[i].k);
	if (mlo_type_static(t) && mlo_type_elems(t) < 0)
		broken(c, v->def, "value '%s' has more than 2^40 elements", name_of(c, v));
	if (v->layout.block && t->rank >= 0 && t->rank < 2)
		broken(c, v->def, "value '%s' of rank %d has the blocked layout c%d", name_of(c, v), t->rank,
		       v->layout.block);
	if (v->layout.stored && (t->elem != EL_f32 || !v->def))
		broken(c, v->def, "value '%s' of %s is stored as %s", name_of(c, v), mlo_elem_text(t->elem), mlo_elem_text(v->layout.stored));
	if (v->layout.block < 0)
		broken(c, v->def, "value '%s' has the layout block %d", name_of(c, v), v->layout.block);
}

/* A value appears where it is defined. */
static void define(VerifyCx *c, const MloValue *v)
{
	if (v->id >= c->g->next_id || c->seen[v->id]) {
		broken(c, v->def, "value '%s' has the id %u, which is %s", name_of(c, v), v->id,
		       v->id >= c->g->next_id ? "out of range" : "taken");
		return;
	}
	c->seen[v->id] = v;
	check_type(c, v);
}

static bool is_defined(const VerifyCx *c, const MloValue *v)
{
	return v->id < c->g->next_id && c->seen[v->id] == v;
}

static void check_const(VerifyCx *c, const MloValue *v)
{
	MloType t;
	int64_t bytes;

	if (!v->data || v->def) {
		broken(c, NULL, "constant '%s' has %s", name_of(c, v), v->data ? "a definition" : "no data");
		return;
	}
	t = mlo_tensor_type(v->data);
	bytes = mlo_type_bytes(&t);
	if (!mlo_type_same(&t, &v->type))
		broken(c, NULL, "constant '%s' has another type than its data", name_of(c, v));
	else if (bytes < 0 || (uint64_t)bytes != v->data->nbytes || (bytes && !v->data->data))
		broken(c, NULL, "constant '%s' holds %zu bytes, its type needs %lld", name_of(c, v),
		       v->data->nbytes, (long long)bytes);
}

static void check_roots(VerifyCx *c)
{
	const MloGraph *g = c->g;

	for (uint32_t i = 0; i < g->ninputs; i++) {
		define(c, g->inputs[i]);
		if (g->inputs[i]->def || g->inputs[i]->data)
			broken(c, g->inputs[i]->def, "input '%s' has a definition", name_of(c, g->inputs[i]));
		if (g->inputs[i]->type.elem == EL_none)
			broken(c, NULL, "input '%s' has no element type", name_of(c, g->inputs[i]));
	}
	for (size_t i = 0; i < g->consts.n; i++) {
		define(c, g->consts.items[i]);
		check_const(c, g->consts.items[i]);
	}
}

static void check_arity(VerifyCx *c, const MloNode *n)
{
	const MloOpInfo *info = mlo_op_info(n->op);

	if ((int64_t)n->nin < info->min_in || (info->max_in >= 0 && (int64_t)n->nin > info->max_in))
		broken(c, n, "%u operands, %s takes %d to %d", n->nin, info->name, info->min_in, info->max_in);
	if ((int64_t)n->nout < info->min_out || (info->max_out >= 0 && (int64_t)n->nout > info->max_out))
		broken(c, n, "%u results, %s gives %d to %d", n->nout, info->name, info->min_out, info->max_out);
	for (uint32_t i = 0; i < n->nin; i++)
		if (!n->in[i] && ((int)i < info->min_in || mlo_op_has(n->op, TR_VARIADIC)))
			broken(c, n, "operand %u is absent, %s needs it", i, info->name);
	for (int i = 0; i < info->nattr; i++)
		if (n->attr[i].set && (n->attr[i].n < 0 || (info->attr[i].kind == AK_STR && !n->attr[i].s)))
			broken(c, n, "attribute %s is malformed", info->attr[i].name);
	for (int i = 0; i < info->nattr; i++)
		if (info->attr[i].kind == AK_GRAPH && n->attr[i].set != (n->attr[i].graph != NULL))
			broken(c, n, "attribute %s is malformed", info->attr[i].name);
}

static void check_operand(VerifyCx *c, const MloNode *n, uint32_t i)
{
	const MloValue *v = n->in[i];

	if (!v)
		return;
	if (!is_defined(c, v))
		broken(c, n, "operand %u, '%s', is not defined before it", i, name_of(c, v));
	else
		c->uses[v->id]++;
	if (n->use[i].node != n || n->use[i].slot != i)
		broken(c, n, "operand %u, '%s', was set without its use list", i, name_of(c, v));
}

static void check_node(VerifyCx *c, const MloNode *n)
{
	check_arity(c, n);
	for (uint32_t i = 0; i < n->nin; i++)
		check_operand(c, n, i);
	for (uint32_t i = 0; i < n->nout; i++) {
		const MloValue *v = n->out[i];

		if (!v)
			continue;
		if (v->def != n || v->out_index != i || v->data)
			broken(c, n, "result %u, '%s', does not point back to its node", i, name_of(c, v));
		define(c, v);
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Members of one group follow each other. */
static void check_groups(VerifyCx *c)
{
	struct { uint32_t *items; size_t n, cap; } starts = {0};
	uint32_t group = 0;

	for (const MloNode *n = c->g->first; n; n = n->next) {
		if (n->group && n->group != group)
			MLO_PUSH(c->tmp, &starts, n->group);
		group = n->group;
	}
	if (starts.n)
		qsort(starts.items, starts.n, sizeof *starts.items, by_value);
	for (size_t i = 1; i < starts.n; i++)
		if (starts.items[i] == starts.items[i - 1])
			broken(c, NULL, "group %u is not contiguous", starts.items[i]);
}

static void check_uses(VerifyCx *c)
{
	const MloGraph *g = c->g;

	for (uint32_t i = 0; i < g->noutputs; i++) {
		if (!is_defined(c, g->outputs[i]))
			broken(c, NULL, "output %u, '%s', is not defined in the graph", i, name_of(c, g->outputs[i]));
		else
			c->uses[g->outputs[i]->id]++;
	}
	for (uint32_t id = 0; id < g->next_id; id++) {
		const MloValue *v = c->seen[id];

		if (v && v->nuse != c->uses[id])
			broken(c, v->def, "value '%s' has %u uses, %u are recorded", name_of(c, v), c->uses[id],
			       v->nuse);
	}
}

static void check_links(VerifyCx *c)
{
	const MloNode *prev = NULL;

	for (const MloNode *n = c->g->first; n; prev = n, n = n->next)
		if (n->prev != prev) {
			broken(c, n, "the node list is not linked backwards");
			return;
		}
	if (c->g->last != prev)
		broken(c, NULL, "the node list does not end with its last node");
}

/* Inference of a node changes the types in its bodies too: they are put back, those in bodies of bodies
 * included. */
typedef struct SavedTypes {
	struct { struct SavedType { MloValue *v; MloType t; } *items; size_t n, cap; } list;
} SavedTypes;

static void save_types(VerifyCx *c, SavedTypes *s, const MloNode *n)
{
	const MloGraph *b;

	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i])
			MLO_PUSH(c->tmp, &s->list, ((struct SavedType){n->out[i], n->out[i]->type}));
	for (int at = 0; (b = mlo_node_body(n, &at));) {
		for (uint32_t i = 0; i < b->ninputs; i++)
			MLO_PUSH(c->tmp, &s->list, ((struct SavedType){b->inputs[i], b->inputs[i]->type}));
		for (const MloNode *m = b->first; m; m = m->next)
			save_types(c, s, m);
	}
}

static bool agree(const MloType *a, const MloType *b)
{
	bool same = a->elem == b->elem && a->kind == b->kind && a->key == b->key;

	same = same && (a->rank == b->rank || a->rank < 0 || b->rank < 0);
	for (int k = 0; same && k < a->rank && k < b->rank; k++)
		same = !mlo_dim_differ(a->dim[k], b->dim[k]);
	return same || a->elem == EL_none || b->elem == EL_none;
}

/* What is written against what inference says: types may be less known, never contradict. */
static void check_inferred(VerifyCx *c, MloNode *n)
{
	MloType *found = MLO_NEWN(c->tmp, MloType, n->nout + 1);
	SavedTypes saved = {0};
	MloStatus st;

	save_types(c, &saved, n);
	st = mlo_infer_node((MloGraph *)(uintptr_t)c->g, n, c->d);
	if (st != MLO_OK)
		c->st = st;
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i])
			found[i] = n->out[i]->type;
	for (size_t i = 0; i < saved.list.n; i++)
		saved.list.items[i].v->type = saved.list.items[i].t;
	for (uint32_t i = 0; i < n->nout; i++) {
		MloStr a = {.arena = c->tmp}, b = {.arena = c->tmp};

		if (!n->out[i] || st != MLO_OK || agree(&found[i], &n->out[i]->type))
			continue;
		mlo_type_print(&a, &n->out[i]->type);
		mlo_type_print(&b, &found[i]);
		broken(c, n, "result '%s' is said to be %s, but is %s", name_of(c, n->out[i]), mlo_str_text(&a),
		       mlo_str_text(&b));
	}
}

static void verify_graph(VerifyCx *c);

/* A body is a graph of its own: ids count from 0 in it. */
static void check_bodies(VerifyCx *c, const MloNode *n)
{
	const MloGraph *b;

	for (int at = 0; (b = mlo_node_body(n, &at));) {
		VerifyCx inner = {.g = b, .d = c->d, .tmp = c->tmp, .st = MLO_OK, .depth = c->depth + 1};

		if (inner.depth > MLO_MAX_DEPTH)
			broken(c, n, "bodies are nested more than %d deep", MLO_MAX_DEPTH);
		else if (b->syms != c->g->syms || b->arena != c->g->arena)
			broken(c, n, "a body is of another graph");
		else
			verify_graph(&inner);
		if (inner.st != MLO_OK)
			c->st = inner.st;
	}
}

static void verify_graph(VerifyCx *c)
{
	c->seen = MLO_NEWN(c->tmp, const MloValue *, c->g->next_id);
	c->uses = MLO_NEWN(c->tmp, uint32_t, c->g->next_id);
	check_links(c);
	if (c->st == MLO_OK) {
		check_roots(c);
		for (const MloNode *n = c->g->first; n; n = n->next) {
			check_node(c, n);
			check_bodies(c, n);
		}
		check_uses(c);
		check_groups(c);
	}
	for (MloNode *n = c->g->first; n && c->st == MLO_OK; n = n->next)
		check_inferred(c, n);
}

MloStatus mlo_verify(const MloGraph *g, MloDiag *d)
{
	MloArena *tmp = mlo_arena_new();
	VerifyCx c = {.g = g, .d = d, .tmp = tmp, .st = MLO_OK};

	if (!tmp)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	verify_graph(&c);
	mlo_arena_free(tmp);
	return c.st;
}
