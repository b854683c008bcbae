/* prune/groups.c -- which channels depend on each other. */
#include "prune/groups.h"

#include <string.h>

#include "passes/match.h"

typedef struct Find {
	MloGroups *s;
	size_t *parent; /* of groups made so far, a forest */
	size_t made, room;
	const char **whole;
	int64_t *size;
} Find;

/* -- a forest of groups ------------------------------------------------------------------------------------ */

static size_t root(const Find *f, size_t i)
{
	while (f->parent[i] != i)
		i = f->parent[i];
	return i;
}

static void keep_whole(Find *f, const MloValue *v, const char *why)
{
	const MloChannels *c = v ? &f->s->of[v->id] : NULL;

	for (size_t i = 0; c && i < c->nruns; i++)
		if (!f->whole[root(f, c->run[i].group)])
			f->whole[root(f, c->run[i].group)] = why;
}

static void fresh(Find *f, MloValue *v, int axis, const char *whole)
{
	MloChannels *c = &f->s->of[v->id];
	size_t i = f->made;

	if (v->type.rank == MLO_RANK_UNKNOWN || axis >= v->type.rank || axis < 0 || !mlo_dim_known(v->type.dim[axis]))
		return;
	MLO_ASSERT(f->made < f->room);
	f->made++;
	f->parent[i] = i;
	f->whole[i] = whole;
	f->size[i] = v->type.dim[axis].k;
	*c = (MloChannels){.run = MLO_NEW(f->s->a, MloChannelRun), .nruns = 1, .axis = axis, .repeat = 1};
	c->run[0] = (MloChannelRun){i, f->size[i]};
}

static void carry(Find *f, const MloValue *from, const MloValue *to)
{
	f->s->of[to->id] = f->s->of[from->id];
}

/* Two values whose channels meet; false: they do not fit. */
static bool join(Find *f, const MloValue *x, const MloValue *y)
{
	const MloChannels *a = &f->s->of[x->id], *b = &f->s->of[y->id];

	if (!a->nruns || a->nruns != b->nruns || a->repeat != b->repeat || x->type.rank - a->axis != y->type.rank - b->axis)
		return false;
	for (size_t i = 0; i < a->nruns; i++)
		if (a->run[i].n != b->run[i].n)
			return false;
	for (size_t i = 0; i < a->nruns; i++) {
		size_t p = root(f, a->run[i].group), q = root(f, b->run[i].group);

		if (p == q)
			continue;
		f->parent[q > p ? q : p] = q > p ? p : q;
		if (!f->whole[p] && f->whole[q])
			f->whole[p] = f->whole[q];
		f->whole[q] = f->whole[p];
	}
	return true;
}

/* -- operators --------------------------------------------------------------------------------------------- */

bool mlo_conv_by_channel(const MloNode *n)
{
	const MloTensor *w = n->in[1]->data;
	int64_t groups = mlo_attr_i(n, ATTR_conv_group);

	return w && groups > 1 && w->dim[1] == 1 && w->dim[0] == groups;
}

static void stop(Find *f, MloNode *n, const char *why)
{
	for (uint32_t i = 0; i < n->nin; i++)
		keep_whole(f, n->in[i], why);
}

static const MloTensor *weights(const MloNode *n)
{
	const MloTensor *w = n->nin > 1 && n->in[1] ? n->in[1]->data : NULL;

	return w && w->elem == EL_f32 ? w : NULL;
}

static void conv(Find *f, MloNode *n)
{
	const MloTensor *w = weights(n);
	const bool bias = n->nin > 2 && n->in[2];

	if (w && (!bias || (n->in[2]->data && n->in[2]->data->elem == EL_f32))) {
		if (mlo_conv_by_channel(n) && f->s->of[n->in[0]->id].repeat == 1 && f->s->of[n->in[0]->id].axis == 1) {
			carry(f, n->in[0], n->out[0]);
			return;
		}
		if (mlo_attr_i(n, ATTR_conv_group) == 1) {
			fresh(f, n->out[0], 1, NULL);
			return;
		}
	}
	stop(f, n, "a grouped convolution, or one of weights that are computed, reads or gives them");
	fresh(f, n->out[0], 1, "a grouped convolution, or one of weights that are computed, gives them");
}

static void matmul(Find *f, MloNode *n)
{
	const MloTensor *w = weights(n);
	const MloChannels *c = &f->s->of[n->in[0]->id];

	if (!w || w->rank != 2 || n->in[0]->data || c->axis != n->in[0]->type.rank - 1) {
		stop(f, n, "a product of two activations, or over another axis, reads them");
		return;
	}
	fresh(f, n->out[0], n->out[0]->type.rank - 1, NULL);
}

/* Does a constant have one element, or one per channel of v, or one along its axis of channels? */
static bool constant_fits(const MloChannels *c, const MloValue *v, const MloTensor *t)
{
	int at = t->rank - (v->type.rank - c->axis);

	return mlo_tensor_elems(t) == 1 || at < 0 || t->dim[at] == 1 || mlo_has_dim(&v->type, c->axis, t->dim[at]);
}

static void eltwise(Find *f, MloNode *n)
{
	const MloValue *first = NULL;
	bool ok = n->nout == 1;

	for (uint32_t i = 0; i < n->nin; i++) {
		const MloValue *v = n->in[i];

		if (!v || v->data)
			continue;
		ok = ok && f->s->of[v->id].nruns && (!first || join(f, first, v));
		if (!first || v->type.rank > first->type.rank)
			first = v;
	}
	ok = ok && first && first->type.rank == n->out[0]->type.rank;
	for (uint32_t i = 0; ok && i < n->nin; i++)
		ok = !n->in[i] || !n->in[i]->data || constant_fits(&f->s->of[first->id], first, n->in[i]->data);
	if (!ok)
		stop(f, n, "values of other shapes meet them");
	else
		carry(f, first, n->out[0]);
}

static void concat(Find *f, MloNode *n)
{
	int64_t axis = mlo_attr_i(n, ATTR_concat_axis);
	int rank = n->out[0]->type.rank;
	size_t runs = 0;
	MloChannels *c = &f->s->of[n->out[0]->id];

	axis += axis < 0 ? rank : 0;
	for (uint32_t i = 0; i < n->nin; i++) {
		const MloChannels *p = &f->s->of[n->in[i]->id];

		if (!p->nruns || p->axis != axis || p->repeat != 1) {
			stop(f, n, "a concatenation along another axis, or with other values, reads them");
			return;
		}
		runs += p->nruns;
	}
	*c = (MloChannels){.run = MLO_NEWN(f->s->a, MloChannelRun, runs), .axis = (int)axis, .repeat = 1};
	for (uint32_t i = 0; i < n->nin; i++) {
		const MloChannels *p = &f->s->of[n->in[i]->id];

		memcpy(c->run + c->nruns, p->run, p->nruns * sizeof *p->run);
		c->nruns += p->nruns;
	}
}

/* [N, C, ...] to [N, C * ...]: more elements per channel. */
static void flatten(Find *f, MloNode *n)
{
	const MloChannels *from = &f->s->of[n->in[0]->id];
	const MloType *x = &n->in[0]->type, *y = &n->out[0]->type;
	int64_t inner = 1;
	bool ok = from->nruns && from->axis == 1 && y->rank == 2 && mlo_dim_same(x->dim[0], y->dim[0]) &&
		  (n->op != OP_reshape || n->in[1]->data);

	for (int i = 2; ok && i < x->rank; i++) {
		ok = mlo_dim_known(x->dim[i]);
		inner *= x->dim[i].k;
	}
	if (!ok) {
		stop(f, n, "they are reshaped");
		return;
	}
	carry(f, n->in[0], n->out[0]);
	f->s->of[n->out[0]->id].repeat = from->repeat * inner;
}

static bool reduces_behind(const MloNode *n, const MloChannels *c)
{
	int64_t axis[MLO_MAX_RANK];
	int count = mlo_reduce_axes(n, axis);

	return count > 0 && axis[0] > c->axis;
}

static void visit(Find *f, MloNode *n)
{
	const MloChannels *c = n->nin && n->in[0] ? &f->s->of[n->in[0]->id] : NULL;

	switch (n->op) {
	case OP_conv: conv(f, n); return;
	case OP_matmul: matmul(f, n); return;
	case OP_concat: concat(f, n); return;
	case OP_reshape:
	case OP_flatten: flatten(f, n); return;
	case OP_max_pool:
	case OP_average_pool:
	case OP_global_average_pool:
	case OP_global_max_pool:
		if (c->nruns && c->axis == 1 && (n->nout < 2 || !n->out[1] || !n->out[1]->nuse)) {
			carry(f, n->in[0], n->out[0]);
			return;
		}
		break;
	case OP_reduce_mean:
		if (c->nruns && reduces_behind(n, c)) {
			carry(f, n->in[0], n->out[0]);
			return;
		}
		break;
	case OP_batch_norm:
		if (c->nruns && c->axis == 1 && c->repeat == 1 && n->in[1]->data && n->in[2]->data && n->in[3]->data &&
		    n->in[4]->data) {
			carry(f, n->in[0], n->out[0]);
			return;
		}
		break;
	default:
		if (mlo_op_info(n->op)->kind == OK_ELTWISE) {
			eltwise(f, n);
			return;
		}
	}
	stop(f, n, mlo_sprintf(f->s->a, "'%s' (%s) reads them", mlo_node_name(n), mlo_op_info(n->op)->name));
}

/* -- the result --------------------------------------------------------------------------------------------- */

static void add_node(const Find *f, const MloValue *v, MloNode *n, bool makes, const size_t *number)
{
	const MloChannels *c = &f->s->of[v->id];

	for (size_t i = 0; i < c->nruns; i++) {
		MloChannelGroup *g = &f->s->group[number[root(f, c->run[i].group)]];
		MloNode **list = makes ? g->maker : g->reader;
		size_t *count = makes ? &g->makers : &g->readers;

		if (!*count || list[*count - 1] != n)
			list[(*count)++] = n;
	}
}

static bool contracts(const MloNode *n)
{
	return (n->op == OP_conv && !mlo_conv_by_channel(n)) || n->op == OP_matmul;
}

static void number_groups(Find *f, size_t nodes)
{
	MloGroups *s = f->s;
	size_t *number = MLO_NEWN(s->a, size_t, f->made + 1);

	s->group = MLO_NEWN(s->a, MloChannelGroup, f->made + 1);
	for (size_t i = 0; i < f->made; i++) {
		MloChannelGroup *g = &s->group[s->n];

		if (root(f, i) != i)
			continue;
		number[i] = s->n++;
		*g = (MloChannelGroup){.n = f->size[i], .whole = f->whole[i]};
		g->keep = MLO_NEWN(s->a, uint8_t, (size_t)f->size[i] + 1);
		g->maker = MLO_NEWN(s->a, MloNode *, nodes);
		g->reader = MLO_NEWN(s->a, MloNode *, nodes);
		memset(g->keep, 1, (size_t)g->n);
	}
	for (MloNode *n = s->g->first; n; n = n->next)
		if (contracts(n)) {
			add_node(f, n->in[0], n, false, number);
			add_node(f, n->out[0], n, true, number);
		}
	for (uint32_t v = 0; v < s->g->next_id; v++) {
		MloChannels *c = &s->of[v];
		MloChannelRun *run = MLO_NEWN(s->a, MloChannelRun, c->nruns + 1);

		for (size_t i = 0; i < c->nruns; i++) /* lists may be shared */
			run[i] = (MloChannelRun){number[root(f, c->run[i].group)], c->run[i].n};
		c->run = run;
	}
}

MloGroups *mlo_groups_new(MloArena *a, MloGraph *g)
{
	MloGroups *s = MLO_NEW(a, MloGroups);
	Find f = {.s = s};
	size_t nodes = 1;

	*s = (MloGroups){.a = a, .g = g, .of = MLO_NEWN(a, MloChannels, g->next_id + 1)};
	for (const MloNode *n = g->first; n; n = n->next)
		nodes++;
	f.room = nodes + g->ninputs;
	f.parent = MLO_NEWN(a, size_t, f.room);
	f.whole = MLO_NEWN(a, const char *, f.room);
	f.size = MLO_NEWN(a, int64_t, f.room);
	for (uint32_t i = 0; i < g->ninputs; i++)
		fresh(&f, g->inputs[i], g->inputs[i]->type.rank > 2 ? 1 : g->inputs[i]->type.rank - 1, "they are an input");
	for (MloNode *n = g->first; n; n = n->next)
		visit(&f, n);
	for (uint32_t i = 0; i < g->noutputs; i++)
		keep_whole(&f, g->outputs[i], "they are an output");
	number_groups(&f, nodes);
	return s;
}

const uint8_t *mlo_groups_keep(const MloGroups *s, const MloValue *v, int64_t *n)
{
	const MloChannels *c = &s->of[v->id];
	uint8_t *keep;
	int64_t at = 0;

	*n = 0;
	for (size_t i = 0; i < c->nruns; i++)
		*n += c->run[i].n * c->repeat;
	keep = MLO_NEWN(s->a, uint8_t, (size_t)*n + 1);
	for (size_t i = 0; i < c->nruns; i++)
		for (int64_t k = 0; k < c->run[i].n; k++)
			for (int64_t r = 0; r < c->repeat; r++)
				keep[at++] = s->group[c->run[i].group].keep[k];
	return keep;
}

int64_t mlo_group_left(const MloChannelGroup *c)
{
	int64_t n = 0;

	for (int64_t i = 0; i < c->n; i++)
		n += c->keep[i];
	return n;
}
