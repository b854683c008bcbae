/* codegen/program.c -- a grouped graph becomes a list of steps on buffers. */
#include "codegen/program.h"

#include <string.h>

#include "codegen/builder.h"
#include "codegen/contract.h"
#include "codegen/estimate.h"
#include "codegen/winograd.h"
#include "codegen/winograd.h"

const char *const mlo_tier_name[MLO_TIER_COUNT] = {"contract", "loops", "library"};

/* -- buffers -------------------------------------------------------------------------------- */

static int64_t value_bytes(const MloValue *v)
{
	return (mlo_value_storage(v) * mlo_elem_bits(mlo_value_elem(v)) + 7) / 8;
}

static int new_buffer(Builder *b, Buffer buf)
{
	buf.first = INT32_MAX;
	buf.last = -1;
	buf.offset_slot = -1;
	MLO_PUSH(b->plan->arena, &b->p->buffer, buf);
	return (int)b->p->buffer.n - 1;
}

static bool same_text(const MloTensor *x, const MloTensor *y)
{
	const MloText *s = x->data, *t = y->data;

	for (int64_t i = 0; i < mlo_tensor_elems(x); i++)
		if (s[i].n != t[i].n || memcmp(s[i].s, t[i].s, (size_t)s[i].n) != 0)
			return false;
	return true;
}

static uint32_t weight_of(Plan *p, const MloTensor *t)
{
	Weight w = {.data = t, .hash = mlo_tensor_hash(t), .bytes = (int64_t)t->nbytes};
	const MloText *s = t->data;

	if (t->elem == EL_str) {
		w.bytes = 0;
		for (int64_t i = 0; i < mlo_tensor_elems(t); i++)
			w.bytes += (int64_t)sizeof(MlrtStringRef) + s[i].n;
	}
	for (size_t i = 0; i < p->weight.n; i++) {
		const Weight *old = &p->weight.items[i];

		if (old->hash == w.hash && old->bytes == w.bytes && (old->data->elem == EL_str) == (t->elem == EL_str) &&
		    (t->elem == EL_str ? same_text(old->data, t) : !memcmp(old->data->data, t->data, t->nbytes)))
			return (uint32_t)i;
	}
	if (t->elem == EL_str)
		w.strings = p->nstrings++;
	MLO_PUSH(p->arena, &p->weight, w);
	return (uint32_t)p->weight.n - 1;
}

static int weight_buffer(Builder *b, const MloTensor *t)
{
	uint32_t w = weight_of(b->plan, t);
	int64_t bytes = t->elem == EL_str ? (int64_t)sizeof(MloText) * mlo_tensor_elems(t) : b->plan->weight.items[w].bytes;

	for (size_t i = 0; i < b->p->buffer.n; i++)
		if (b->p->buffer.items[i].kind == BUF_WEIGHT && b->p->buffer.items[i].index == w)
			return (int)i;
	return new_buffer(b, (Buffer){.kind = BUF_WEIGHT, .index = w, .bytes = bytes, .bytes_slot = -1});
}

MloValue *builder_root(Builder *b, MloValue *v, int64_t *offset)
{
	*offset = 0;
	while (b->view[v->id].parent) {
		*offset += b->view[v->id].offset;
		v = b->view[v->id].parent;
	}
	return v;
}

static MloStatus make_buffer(Builder *b, MloValue *root, int *out)
{
	Buffer buf = {.kind = BUF_ARENA};

	MLO_TRY(sizes_bytes(b, root, &buf.bytes, &buf.bytes_slot));
	if (buf.bytes_slot >= 0) {
		buf.kind = b->p->slots.slot.items[buf.bytes_slot].early && root->type.elem != EL_str ? BUF_PLANNED : BUF_OWN;
		buf.index = b->p->nbuffers++;
	}
	*out = new_buffer(b, buf);
	return MLO_OK;
}

MloStatus builder_buffer_of(Builder *b, MloValue *root, int *out)
{
	int *at = &b->buffer_of[root->id];

	if (*at < 0 && root->data)
		*at = weight_buffer(b, root->data);
	else if (*at < 0)
		MLO_TRY(make_buffer(b, root, at));
	*out = *at;
	return MLO_OK;
}

static MloStatus place_input(Builder *b, uint32_t i)
{
	MloValue *v = b->p->graph->inputs[i];
	Buffer buf = {.kind = BUF_INPUT, .index = i};

	if (mlo_type_object(&v->type))
		return MLO_OK;
	MLO_TRY(sizes_bytes(b, v, &buf.bytes, &buf.bytes_slot));
	b->buffer_of[v->id] = new_buffer(b, buf);
	return MLO_OK;
}

/* An output of the whole model whose bytes are a whole root value is computed where the caller wants it,
 * if its size is known before the first step. */
static MloStatus place_output(Builder *b, uint32_t i)
{
	int64_t offset, bytes, whole;
	int slot, whole_slot;
	MloValue *v = b->p->graph->outputs[i], *r;

	if (mlo_type_object(&v->type) || v->type.elem == EL_str)
		return MLO_OK;
	r = builder_root(b, v, &offset);
	if (r->data || !r->def || offset || b->buffer_of[r->id] >= 0 || r->layout.block || v->layout.block ||
	    r->layout.stored)
		return MLO_OK;
	if (!b->plan->flat && control_is(r->def))
		return MLO_OK;
	for (int d = 0; d < r->type.rank; d++)
		if (slots_dim(&b->p->slots, r->type.dim[d]) < 0)
			return MLO_OK;
	for (int d = 0; d < v->type.rank; d++)
		if (slots_dim(&b->p->slots, v->type.dim[d]) < 0)
			return MLO_OK;
	MLO_TRY(sizes_bytes(b, v, &bytes, &slot));
	MLO_TRY(sizes_bytes(b, r, &whole, &whole_slot));
	if (bytes == whole && slot == whole_slot)
		b->buffer_of[r->id] = new_buffer(b, (Buffer){.kind = BUF_OUTPUT, .index = i, .bytes = bytes, .bytes_slot = slot});
	return MLO_OK;
}

static MloStatus place_ends(Builder *b)
{
	const MloGraph *g = b->p->graph;

	for (uint32_t i = 0; i < g->ninputs; i++)
		MLO_TRY(place_input(b, i));
	for (uint32_t i = 0; i < g->noutputs && b->p->number == 0; i++)
		MLO_TRY(place_output(b, i));
	return MLO_OK;
}

/* -- steps ---------------------------------------------------------------------------------- */

void builder_touch(Builder *b, int buffer, int step)
{
	Buffer *buf = &b->p->buffer.items[buffer];

	buf->first = step < buf->first ? step : buf->first;
	buf->last = step > buf->last ? step : buf->last;
}

static const MloKernel *unique_kernel(Plan *p, const MloKernel *k, int *number)
{
	uint64_t key = mlo_kernel_key(k);

	for (size_t i = 0; i < p->key.n; i++) {
		if (p->key.items[i] == key) {
			*number = (int)i;
			return p->unique.items[i];
		}
	}
	MLO_PUSH(p->arena, &p->key, key);
	MLO_PUSH(p->arena, &p->unique, k);
	*number = (int)p->key.n - 1;
	return k;
}

MloStatus builder_arg(Builder *b, MloValue *v, int step, bool result, StepArg *out)
{
	MloValue *root = builder_root(b, v, &out->offset);
	const Buffer *buf;

	out->bytes_slot = -1;
	MLO_TRY(builder_buffer_of(b, root, &out->buffer));
	buf = &b->p->buffer.items[out->buffer];
	out->reserve = result && buf->kind == BUF_OWN && buf->last < 0;
	MLO_TRY(sizes_bytes(b, v, &out->bytes, &out->bytes_slot));
	builder_touch(b, out->buffer, step);
	if (v->type.elem == EL_str) /* the characters of strings are read through pointers */
		b->p->buffer.items[out->buffer].last = INT32_MAX;
	return MLO_OK;
}

static MloStatus kernel_arg(Builder *b, const MloLowered *low, size_t i, int sizes, int result, StepArg *sa)
{
	const MloKernel *k = low->kernel;
	const KArg *a = &k->arg.items[i];
	bool size_call = k->body && k->body->kind == KS_CALL && k->body->call->sizes;
	int step = (int)b->p->step.n;

	*sa = (StepArg){.buffer = STEP_SCRATCH, .bytes_slot = -1};
	sa->bytes = a->count < 0 ? 0 : (a->count * mlo_elem_bits(a->elem) + 7) / 8;
	if (a->dir == KA_SIZES || (size_call && (int)i == k->body->call->sizes_arg)) {
		sa->buffer = STEP_SIZES;
		sa->slot = a->dir == KA_SIZES ? sizes : result;
	} else if (a->dir == KA_SCRATCH) {
		return MLO_OK;
	} else if (low->bind[i].packed) {
		sa->buffer = weight_buffer(b, low->bind[i].packed);
		builder_touch(b, sa->buffer, step);
	} else {
		int64_t bytes = sa->bytes;

		MLO_TRY(builder_arg(b, low->bind[i].value, step, a->dir != KA_IN, sa));
		if (a->count >= 0) {
			sa->bytes = bytes;
			sa->bytes_slot = -1;
		}
	}
	return MLO_OK;
}

MloStatus builder_kernel_step(Builder *b, const MloLowered *low, int result, MloStepInfo info)
{
	Program *p = b->p;
	const MloKernel *k = low->kernel;
	Step s = {.kind = MLRT_STEP_KERNEL, .info = info, .arg = MLO_NEWN(b->plan->arena, StepArg, k->arg.n + 1), .tasks_slot = -1};
	int64_t scratch = (int64_t)mlo_kernel_scratch(k);
	int sizes = 0;

	if (k->sizes_arg >= 0)
		MLO_TRY(sizes_of_kernel(b, low, &sizes));
	for (size_t i = 0; i < k->arg.n; i++)
		MLO_TRY(kernel_arg(b, low, i, sizes, result, &s.arg[i]));
	if (k->ntasks < 0)
		s.tasks_slot = sizes - 1 - (int)k->ntasks;
	s.kernel = unique_kernel(b->plan, k, &s.unique);
	s.info.key = b->plan->key.items[s.unique];
	s.info.flops = k->flops;
	s.info.bytes = k->bytes;
	s.info.ns = mlo_kernel_ns(b->plan->target, k, wino_weights_stay(b->plan->target, b->cx.weight_bytes));
	s.info.open = k->sizes_arg >= 0;
	s.info.ntasks = mlo_kernel_guess(k, k->ntasks);
	if (!s.info.name)
		s.info.name = k->name;
	b->plan->scratch_bytes = scratch > b->plan->scratch_bytes ? scratch : b->plan->scratch_bytes;
	s.late_end = p->slots.late.n;
	MLO_PUSH(b->plan->arena, &p->step, s);
	return MLO_OK;
}

/* A kernel that copies n bytes' worth of elements. */
static MloLowered copy_kernel(Builder *b, MloValue *from, MloValue *to)
{
	enum { CHUNK = 16384 };
	MloLowered low = {.kernel = mlo_kernel_new(b->plan->arena, "copy"), .bind = MLO_NEWN(b->plan->arena, MloBinding, 2)};
	MloKernel *k = low.kernel;
	int64_t n = mlo_value_storage(from);
	int in = mlo_kernel_arg(k, KA_IN, mlo_value_elem(from), n), c, i;
	int out = mlo_kernel_arg(k, KA_OUT, mlo_value_elem(to), n);
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

const char *builder_type_text(Builder *b, const MloValue *v)
{
	MloStr s = {.arena = b->plan->arena};

	mlo_type_print(&s, &v->type);
	return mlo_str_text(&s);
}

/* The type of the first result that somebody wants. */
static const char *result_text(Builder *b, const MloNode *n)
{
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i])
			return builder_type_text(b, n->out[i]);
	return "it";
}

/* Register tiles of the contractions in loops: of both products of attention; of one of a GPU queries and keys. */
static void tiles_inside(MloStr *out, const KStmt *s, int *n)
{
	for (; s && *n < 2; s = s->next) {
		if (s->kind == KS_LOOP)
			tiles_inside(out, s->body, n);
		else if (s->kind == KS_CONTRACT)
			mlo_str_add(out, "%s%dx%d", (*n)++ ? ", " : "tiles ", s->contract->cols,
			            s->contract->vecs * s->contract->lanes);
		else if (s->kind == KS_ATTENTION)
			mlo_str_add(out, "tiles %dx%d %s", s->attention->rows, s->attention->keys, mlo_elem_text(s->attention->word));
	}
}

static const char *schedule_text(Builder *b, const MloKernel *k)
{
	MloStr s = {.arena = b->plan->arena};
	int n = 0;

	if (k->body && k->body->kind == KS_CONTRACT)
		mlo_schedule_text(&s, k->body->contract);
	else
		tiles_inside(&s, k->body, &n);
	return mlo_str_text(&s);
}

/* Products of several terms at a time are those of tensor cores. */
static const char *products_text(const Builder *b, const MloKernel *k)
{
	const KContract *c = k->body && k->body->kind == KS_CONTRACT ? k->body->contract : NULL;

	if (!b->plan->target->gpu || !c)
		return NULL;
	return c->dot > 1 && c->b.elem == EL_f32 ? "tf32" : mlo_elem_text(c->dot > 1 ? c->b.elem : EL_f32);
}

const MloOrigin *builder_origin(Builder *b, const MloNode *first, const MloNode *last)
{
	MloOrigin *head = NULL, **tail = &head;

	for (const MloNode *n = first; n; n = n == last ? NULL : n->next) {
		for (const MloOrigin *o = n->origin; o; o = o->next) {
			*tail = mlo_dup(b->plan->arena, o, sizeof *o);
			(*tail)->next = NULL;
			tail = &(*tail)->next;
		}
	}
	return head;
}

/* Contractions and loops want all sizes in the types; what is open goes to the library, node by node. */
static bool lowers(const MloNode *first, const MloNode *last)
{
	for (const MloNode *n = first;; n = n->next) {
		if (!mlo_node_lowers(n))
			return false;
		if (n == last)
			return true;
	}
}

MloStatus program_lower(MloLowerCx *cx, MloTier from, MloNode *first, MloNode *last, MloLowered *low, MloTier *tier)
{
	static const struct {
		MloStatus (*lower)(MloLowerCx *, MloNode *, MloNode *, MloLowered *);
		MloTier tier;
		bool open; /* decides about open sizes itself */
	} lowering[] = {{mlo_lower_attention, MLO_TIER_CONTRACT, false},
	                {mlo_lower_bands, MLO_TIER_CONTRACT, false},
	                {mlo_lower_contract, MLO_TIER_CONTRACT, false},
	                {mlo_lower_loops, MLO_TIER_LOOPS, false},
	                {mlo_lower_forest, MLO_TIER_LOOPS, true},
	                {mlo_lower_recurrent, MLO_TIER_LOOPS, false},
	                {mlo_lower_call, MLO_TIER_LIBRARY, true}};

	for (size_t t = 0; t < sizeof lowering / sizeof *lowering; t++) {
		bool takes = lowering[t].tier >= from && (lowering[t].open || lowers(first, last));
		MloStatus st = takes ? lowering[t].lower(cx, first, last, low) : MLO_ERR_UNSUPPORTED;

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

			part = MLO_NEW(b->plan->arena, MloValue);
			*part = *x;
			part->id = b->p->graph->next_id; /* the spare view slot: rewritten for each copy */
			b->view[part->id] = (View){y, value_bytes(y) / y->type.dim[axis].k * at};
			low.bind[1].value = part;
			MLO_TRY(builder_kernel_step(b, &low, -1, (MloStepInfo){.tier = MLO_TIER_LOOPS, .origin = builder_origin(b, n, n),
			                                .shape = builder_type_text(b, x), .schedule = ""}));
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

/* A value that shares another one's bytes must have as many. */
static MloStatus check_view(Builder *b, const MloNode *n)
{
	int64_t bytes, whole;
	int slot, whole_slot;
	Slots *s = &b->p->slots;

	if (n->op == OP_concat || n->op == OP_slice)
		return MLO_OK;
	MLO_TRY(sizes_bytes(b, n->out[0], &bytes, &slot));
	MLO_TRY(sizes_bytes(b, n->in[0], &whole, &whole_slot));
	if (slot >= 0 || whole_slot >= 0)
		slots_check(s, MLRT_X_CHECK_EQ, slot < 0 ? slots_const(s, bytes) : slot,
		            whole_slot < 0 ? slots_const(s, whole) : whole_slot, -1);
	return MLO_OK;
}

/* A string is a pointer to memory of the host's. */
static MloStatus check_device(const Builder *b, const MloNode *n)
{
	for (uint32_t i = 0; b->plan->target->gpu && !mlo_op_has(n->op, TR_OBJECT) && i < n->nin + n->nout; i++) {
		const MloValue *v = i < n->nin ? n->in[i] : n->out[i - n->nin];

		if (v && v->type.elem == EL_str)
			return mlo_node_error(b->cx.diag, MLO_ERR_UNSUPPORTED, n, "strings cannot be computed with on a GPU (%s)",
			                      b->plan->target->name);
	}
	return MLO_OK;
}

static MloStatus lower_group(Builder *b, MloNode *first, MloNode *last)
{
	MloLowered low;
	MloTier tier;
	MloStatus st;

	MLO_TRY(check_device(b, first));
	if (!b->plan->flat && control_is(first))
		return control_step(b, first);
	for (MloNode *n = first; !b->plan->flat && n; n = n == last ? NULL : n->next) {
		MLO_TRY(sizes_of_results(b, n));
		sizes_that_must_meet(b, n);
		MLO_TRY(sizes_of_outputs(b, n));
	}
	if (first == last && first->nout && view_node_free(b->view, first))
		return b->plan->flat ? MLO_OK : check_view(b, first);
	if (first == last && first->op == OP_concat && concat_in_place(b, first))
		return concat_rest(b, first);
	st = program_lower(&b->cx, b->plan->opt->tier, first, last, &low, &tier);
	if (st == MLO_ERR_UNSUPPORTED && first != last) {
		/* fused further than lowering can: node by node then */
		for (MloNode *n = first; n; n = n == last ? NULL : n->next)
			MLO_TRY(lower_group(b, n, n));
		return MLO_OK;
	}
	if (st == MLO_ERR_UNSUPPORTED)
		return mlo_error(b->cx.diag, MLO_ERR_UNSUPPORTED, "node '%s' (%s): no kernel for %s", mlo_node_name(first),
		                 mlo_op_info(first->op)->name, result_text(b, first));
	if (st != MLO_OK)
		return st;
	return builder_kernel_step(b, &low, -1, (MloStepInfo){.tier = tier, .origin = builder_origin(b, first, last),
	                           .shape = result_text(b, last), .schedule = schedule_text(b, low.kernel),
	                           .products = products_text(b, low.kernel), .choice = low.choice, .tunable = low.tunable});
}

/* Outputs that are inputs, constants, parts of something, or named twice. */
static MloStatus copy_outputs(Builder *b)
{
	const MloGraph *g = b->p->graph;

	for (uint32_t i = 0; i < g->noutputs; i++) {
		int64_t offset;
		MloValue *v = g->outputs[i], *r = builder_root(b, v, &offset), *to;
		const Buffer *at = b->buffer_of[r->id] >= 0 ? &b->p->buffer.items[b->buffer_of[r->id]] : NULL;
		MloLowered low;

		if (at && at->kind == BUF_OUTPUT && at->index == i)
			continue;
		low = copy_kernel(b, v, v);
		to = MLO_NEW(b->plan->arena, MloValue);
		*to = *v;
		to->data = NULL;
		to->id = g->next_id;
		b->view[to->id] = (View){0};
		b->buffer_of[to->id] =
			new_buffer(b, (Buffer){.kind = BUF_OUTPUT, .index = i, .bytes = value_bytes(v), .bytes_slot = -1});
		low.bind[1].value = to;
		MLO_TRY(builder_kernel_step(b, &low, -1, (MloStepInfo){.tier = MLO_TIER_LOOPS, .shape = builder_type_text(b, v),
		                                                       .schedule = ""}));
	}
	return MLO_OK;
}

static MloStatus lower_all(Builder *b)
{
	MloStatus st = MLO_OK;

	for (MloNode *n = b->p->graph->first, *last; n; n = last->next) {
		MloStatus one;

		for (last = n; n->group && last->next && last->next->group == n->group;)
			last = last->next;
		one = lower_group(b, n, last);
		if (one != MLO_OK && one != MLO_ERR_UNSUPPORTED)
			return one;
		if (one != MLO_OK)
			st = one; /* go on: report every node without a kernel */
	}
	return st;
}

static int *unknown_ids(Builder *b)
{
	size_t n = (size_t)b->p->graph->next_id + 1;
	int *ids = MLO_NEWN(b->plan->arena, int, n);

	memset(ids, 0xff, n * sizeof *ids);
	return ids;
}

/* Bytes of the constants that nodes read. */
static int64_t constant_bytes(const MloGraph *g)
{
	int64_t bytes = 0;

	for (const MloNode *n = g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nin; i++)
			bytes += n->in[i] && n->in[i]->data ? (int64_t)n->in[i]->data->nbytes : 0;
	return bytes;
}

MloStatus program_new(Plan *plan, const MloGraph *g, Program **out)
{
	Builder b = {.plan = plan, .p = MLO_NEW(plan->arena, Program),
	             .cx = {.arena = plan->arena, .graph = g, .target = plan->target, .diag = plan->diag,
	                    .direct_only = plan->opt->direct_only, .weights = plan->opt->weights, .precision = plan->opt->precision,
	                    .chooser = plan->opt->chooser, .weight_bytes = constant_bytes(g)}};

	*out = b.p;
	b.p->graph = g;
	b.p->number = (uint32_t)plan->program.n;
	b.p->arena_slot = -1;
	b.p->slots.arena = plan->arena;
	MLO_PUSH(plan->arena, &plan->program, b.p);
	b.view = views_find(plan->arena, g);
	b.buffer_of = unknown_ids(&b);
	b.dims_of = unknown_ids(&b);
	b.chars_of = unknown_ids(&b);
	b.value_of = unknown_ids(&b);
	if (!plan->flat)
		MLO_TRY(sizes_of_inputs(&b));
	MLO_TRY(place_ends(&b));
	if (!plan->flat)
		MLO_TRY(control_inputs(&b));
	MLO_TRY(lower_all(&b));
	MLO_TRY(plan->flat ? copy_outputs(&b) : control_outputs(&b));
	if (plan->flat && !plan->target->gpu)
		program_find_sets(plan, b.p);
	else
		program_plan_memory(plan, b.p);
	return MLO_OK;
}

static bool is_flat(const MloGraph *g)
{
	for (const MloNode *n = g->first; n; n = n->next)
		if (!mlo_node_static(n))
			return false;
	for (uint32_t i = 0; i < g->ninputs + g->noutputs; i++) {
		const MloType *t = i < g->ninputs ? &g->inputs[i]->type : &g->outputs[i - g->ninputs]->type;

		if (!mlo_type_static(t) || t->elem == EL_str)
			return false;
	}
	return true;
}

MloStatus plan_build(Plan *p, MloArena *a, const MloGraph *g, const MloTarget *t, const MloCodegenOptions *opt,
                     MloDiag *d)
{
	Program *main;

	*p = (Plan){.arena = a, .target = t, .diag = d, .opt = opt, .flat = is_flat(g)};
	MLO_TRY(program_new(p, g, &main));
	plan_weights(p);
	return MLO_OK;
}
