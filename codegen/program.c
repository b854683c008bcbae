/* codegen/program.c -- a grouped graph becomes a list of kernel calls on buffers. */
#include "codegen/program.h"

#include <string.h>

#include "codegen/contract.h"

typedef struct Builder {
	Program *p;
	MloLowerCx cx;
	View *view;
	int *buffer_of;              /* per value id: buffer of a root value, -1 unknown */
	struct { uint64_t *items; size_t n, cap; } keys;
} Builder;

const char *const mlo_tier_name[MLO_TIER_COUNT] = {"contract", "loops", "library"};

/* -- buffers -------------------------------------------------------------------------------- */

static int64_t value_bytes(const MloValue *v)
{
	return (mlo_value_storage(v) * mlo_elem_bits(v->type.elem) + 7) / 8;
}

static int new_buffer(Builder *b, Buffer buf)
{
	buf.first = INT32_MAX;
	buf.last = -1;
	MLO_PUSH(b->p->arena, &b->p->buffer, buf);
	return (int)b->p->buffer.n - 1;
}

static int weight_buffer(Builder *b, const MloTensor *t)
{
	uint64_t hash = mlo_tensor_hash(t);
	Buffer buf = {.kind = BUF_WEIGHT, .bytes = (int64_t)t->nbytes, .data = t, .hash = hash};

	for (size_t i = 0; i < b->p->buffer.n; i++) {
		const Buffer *old = &b->p->buffer.items[i];

		if (old->kind == BUF_WEIGHT && old->hash == hash && old->bytes == buf.bytes &&
		    !memcmp(old->data->data, t->data, t->nbytes))
			return (int)i;
	}
	return new_buffer(b, buf);
}

static MloValue *root_value(Builder *b, MloValue *v, int64_t *offset)
{
	*offset = 0;
	while (b->view[v->id].parent) {
		*offset += b->view[v->id].offset;
		v = b->view[v->id].parent;
	}
	return v;
}

static int buffer_of(Builder *b, MloValue *root)
{
	int *at = &b->buffer_of[root->id];

	if (*at < 0)
		*at = root->data ? weight_buffer(b, root->data)
		                 : new_buffer(b, (Buffer){.kind = BUF_ARENA, .bytes = value_bytes(root)});
	return *at;
}

/* Graph inputs live in the caller's buffers; so does an output whose bytes are a whole root value. */
static void place_ends(Builder *b)
{
	const MloGraph *g = b->p->graph;

	for (uint32_t i = 0; i < g->ninputs; i++)
		b->buffer_of[g->inputs[i]->id] =
			new_buffer(b, (Buffer){.kind = BUF_INPUT, .index = i, .bytes = value_bytes(g->inputs[i])});
	for (uint32_t i = 0; i < g->noutputs; i++) {
		int64_t offset;
		MloValue *v = g->outputs[i], *r = root_value(b, v, &offset);

		if (!r->data && r->def && !offset && b->buffer_of[r->id] < 0 && value_bytes(r) == value_bytes(v) &&
		    !r->layout.block && !v->layout.block)
			b->buffer_of[r->id] = new_buffer(b, (Buffer){.kind = BUF_OUTPUT, .index = i, .bytes = value_bytes(r)});
	}
}

/* -- steps ---------------------------------------------------------------------------------- */

static void touch(Builder *b, int buffer, int step)
{
	Buffer *buf = &b->p->buffer.items[buffer];

	buf->first = step < buf->first ? step : buf->first;
	buf->last = step > buf->last ? step : buf->last;
}

static const MloKernel *unique_kernel(Builder *b, const MloKernel *k, int *number)
{
	uint64_t key = mlo_kernel_key(k);

	for (size_t i = 0; i < b->keys.n; i++) {
		if (b->keys.items[i] == key) {
			*number = (int)i;
			return b->p->unique.items[i];
		}
	}
	MLO_PUSH(b->p->arena, &b->keys, key);
	MLO_PUSH(b->p->arena, &b->p->unique, k);
	*number = (int)b->keys.n - 1;
	return k;
}

static void add_step(Builder *b, const MloLowered *low, MloStepInfo info)
{
	Program *p = b->p;
	const MloKernel *k = low->kernel;
	Step s = {.info = info, .arg = MLO_NEWN(p->arena, StepArg, k->arg.n)};
	int64_t scratch = (int64_t)mlo_kernel_scratch(k);

	for (size_t i = 0; i < k->arg.n; i++) {
		const KArg *a = &k->arg.items[i];
		StepArg *sa = &s.arg[i];

		sa->bytes = (a->count * mlo_elem_bits(a->elem) + 7) / 8;
		if (a->dir == KA_SCRATCH) {
			sa->buffer = -1;
		} else if (low->bind[i].packed) {
			sa->buffer = weight_buffer(b, low->bind[i].packed);
		} else {
			sa->buffer = buffer_of(b, root_value(b, low->bind[i].value, &sa->offset));
		}
		if (sa->buffer >= 0)
			touch(b, sa->buffer, (int)p->step.n);
	}
	s.kernel = unique_kernel(b, k, &s.unique);
	s.info.key = b->keys.items[s.unique];
	s.info.flops = k->flops;
	s.info.bytes = k->bytes;
	s.info.ntasks = k->ntasks;
	if (!s.info.name)
		s.info.name = k->name;
	p->scratch_bytes = scratch > p->scratch_bytes ? scratch : p->scratch_bytes;
	MLO_PUSH(p->arena, &p->step, s);
}

/* A kernel that copies n bytes' worth of elements. */
static MloLowered copy_kernel(Builder *b, MloValue *from, MloValue *to)
{
	enum { CHUNK = 16384 };
	MloLowered low = {.kernel = mlo_kernel_new(b->p->arena, "copy"), .bind = MLO_NEWN(b->p->arena, MloBinding, 2)};
	MloKernel *k = low.kernel;
	int64_t n = mlo_value_storage(from);
	int in = mlo_kernel_arg(k, KA_IN, from->type.elem, n), out = mlo_kernel_arg(k, KA_OUT, from->type.elem, n), c, i;
	KCursor top = kb_top(k), par, vec;
	const KIdx *at;

	par = kb_loop(&top, KL_PAR, kx_const(k, (n + CHUNK - 1) / CHUNK), &c);
	at = kx_mul(k, kx_var(k, c), CHUNK);
	vec = kb_loop(&par, KL_VEC, kx_min(k, kx_const(k, CHUNK), kx_add(k, kx_const(k, n), kx_mul(k, at, -1))), &i);
	at = kx_add(k, at, kx_var(k, i));
	kb_store(&vec, out, at, NULL, kb_load(&vec, in, at, NULL, 0));
	kb_finish(k);
	low.bind[0].value = from;
	low.bind[1].value = to;
	return low;
}

static const char *type_text(Builder *b, const MloValue *v)
{
	MloStr s = {.arena = b->p->arena};

	mlo_type_print(&s, &v->type);
	return mlo_str_text(&s);
}

static const char *schedule_text(Builder *b, const MloKernel *k)
{
	MloStr s = {.arena = b->p->arena};

	if (k->body && k->body->kind == KS_CONTRACT)
		mlo_schedule_text(&s, k->body->contract);
	return mlo_str_text(&s);
}

static const MloOrigin *group_origin(Builder *b, const MloNode *first, const MloNode *last)
{
	MloOrigin *head = NULL, **tail = &head;

	for (const MloNode *n = first; n; n = n == last ? NULL : n->next) {
		for (const MloOrigin *o = n->origin; o; o = o->next) {
			*tail = mlo_dup(b->p->arena, o, sizeof *o);
			(*tail)->next = NULL;
			tail = &(*tail)->next;
		}
	}
	return head;
}

static MloStatus lower_tiers(Builder *b, MloNode *first, MloNode *last, MloLowered *low, MloTier *tier)
{
	static const struct {
		MloStatus (*lower)(MloLowerCx *, MloNode *, MloNode *, MloLowered *);
		MloTier tier;
	} lowering[] = {{mlo_lower_contract, MLO_TIER_CONTRACT},
	                {mlo_lower_loops, MLO_TIER_LOOPS},
	                {mlo_lower_forest, MLO_TIER_LOOPS},
	                {mlo_lower_recurrent, MLO_TIER_LOOPS},
	                {mlo_lower_call, MLO_TIER_LIBRARY}};

	for (size_t t = 0; t < sizeof lowering / sizeof *lowering; t++) {
		MloStatus st = lowering[t].lower(&b->cx, first, last, low);

		*tier = lowering[t].tier;
		if (st != MLO_ERR_UNSUPPORTED)
			return st;
	}
	return MLO_ERR_UNSUPPORTED;
}

static MloStatus concat_rest(Builder *b, MloNode *n)
{
	/* some operands are in place already: copy the others behind them */
	MloValue *y = n->out[0];
	int64_t at = 0, axis = mlo_attr_i(n, ATTR_concat_axis);

	axis = axis < 0 ? axis + y->type.rank : axis;
	for (uint32_t i = 0; i < n->nin; i++) {
		MloValue *x = n->in[i], *part;

		if (!view_operand_in_place(b->view, n, i)) {
			MloLowered low = copy_kernel(b, x, x);

			part = MLO_NEW(b->p->arena, MloValue);
			*part = *x;
			part->id = b->p->graph->next_id; /* the spare view slot: rewritten for each copy */
			b->view[part->id] = (View){y, value_bytes(y) / y->type.dim[axis].k * at};
			low.bind[1].value = part;
			add_step(b, &low, (MloStepInfo){.tier = MLO_TIER_LOOPS, .origin = group_origin(b, n, n),
			                                .shape = type_text(b, x), .schedule = ""});
		}
		at += x->type.dim[axis].k;
	}
	return MLO_OK;
}

static bool concat_in_place(Builder *b, const MloNode *n)
{
	for (uint32_t i = 0; i < n->nin; i++)
		if (view_operand_in_place(b->view, n, i))
			return true;
	return false;
}

static MloStatus lower_group(Builder *b, MloNode *first, MloNode *last)
{
	MloLowered low;
	MloTier tier;
	MloStatus st;

	if (first == last && first->nout && view_node_free(b->view, first))
		return MLO_OK;
	if (first == last && first->op == OP_concat && concat_in_place(b, first))
		return concat_rest(b, first);
	st = lower_tiers(b, first, last, &low, &tier);
	if (st == MLO_ERR_UNSUPPORTED && first != last) {
		/* fused further than lowering can: node by node then */
		for (MloNode *n = first; n; n = n == last ? NULL : n->next)
			MLO_TRY(lower_group(b, n, n));
		return MLO_OK;
	}
	if (st == MLO_ERR_UNSUPPORTED)
		return mlo_error(b->cx.diag, MLO_ERR_UNSUPPORTED, "node '%s' (%s): no kernel for %s", mlo_node_name(first),
		                 mlo_op_info(first->op)->name, first->nout ? type_text(b, first->out[0]) : "it");
	if (st != MLO_OK)
		return st;
	add_step(b, &low, (MloStepInfo){.tier = tier, .origin = group_origin(b, first, last),
	                                .shape = type_text(b, last->out[0]), .schedule = schedule_text(b, low.kernel)});
	return MLO_OK;
}

/* Outputs that are inputs, constants, parts of something, or named twice. */
static void copy_outputs(Builder *b)
{
	const MloGraph *g = b->p->graph;

	for (uint32_t i = 0; i < g->noutputs; i++) {
		int64_t offset;
		MloValue *v = g->outputs[i], *r = root_value(b, v, &offset), *to;
		const Buffer *at = b->buffer_of[r->id] >= 0 ? &b->p->buffer.items[b->buffer_of[r->id]] : NULL;
		MloLowered low;

		if (at && at->kind == BUF_OUTPUT && at->index == i)
			continue;
		low = copy_kernel(b, v, v);
		to = MLO_NEW(b->p->arena, MloValue);
		*to = *v;
		to->data = NULL;
		to->id = g->next_id;
		b->view[to->id] = (View){0};
		b->buffer_of[to->id] = new_buffer(b, (Buffer){.kind = BUF_OUTPUT, .index = i, .bytes = value_bytes(v)});
		low.bind[1].value = to;
		add_step(b, &low, (MloStepInfo){.tier = MLO_TIER_LOOPS, .shape = type_text(b, v), .schedule = ""});
	}
}

MloStatus program_build(Program *p, MloArena *a, const MloGraph *g, const MloTarget *t, MloDiag *d)
{
	Builder b = {.p = p, .cx = {.arena = a, .graph = g, .target = t, .diag = d}};
	MloStatus st = MLO_OK;

	*p = (Program){.arena = a, .graph = g, .target = t, .diag = d};
	b.view = views_find(a, g);
	b.buffer_of = MLO_NEWN(a, int, g->next_id + 1);
	for (uint32_t i = 0; i <= g->next_id; i++)
		b.buffer_of[i] = -1;
	place_ends(&b);
	for (MloNode *n = g->first, *last; n; n = last->next) {
		for (last = n; n->group && last->next && last->next->group == n->group;)
			last = last->next;
		if (lower_group(&b, n, last) != MLO_OK)
			st = MLO_ERR_UNSUPPORTED; /* go on: report every node without a kernel */
	}
	if (st != MLO_OK)
		return st;
	copy_outputs(&b);
	program_plan_memory(p);
	return MLO_OK;
}
