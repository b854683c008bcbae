/* codegen/program_control.c -- steps of the runtime's own: branches, loops, sequences, optionals, maps; and
 * what goes into a program and comes out of it. */
#include "codegen/builder.h"

bool control_is(const MloNode *n)
{
	return mlo_op_has(n->op, TR_OBJECT);
}

/* -- values ----------------------------------------------------------------------------------- */

static enum MlrtValueKind kind_of(const MloType *t)
{
	static const enum MlrtValueKind kind[] = {
		[MLO_TENSOR] = MLRT_V_TENSOR, [MLO_SEQ] = MLRT_V_SEQ, [MLO_OPT] = MLRT_V_OPT,
		[MLO_OPT_SEQ] = MLRT_V_OPT_SEQ, [MLO_MAP] = MLRT_V_MAP, [MLO_SEQ_MAP] = MLRT_V_SEQ_MAP,
	};

	return kind[t->kind];
}

static uint32_t add_value(Builder *b, MloValue *v, RunValue r)
{
	MLO_PUSH(b->plan->arena, &b->p->value, r);
	b->value_of[v->id] = (int)b->p->value.n - 1;
	return (uint32_t)b->value_of[v->id];
}

static RunValue object_value(Builder *b, const MloValue *v)
{
	return (RunValue){.kind = kind_of(&v->type), .elem = v->type.elem, .key = v->type.key, .own = -1,
	                  .arg = {.buffer = STEP_SCRATCH, .bytes_slot = -1}, .object = (int)b->p->nobjects++};
}

/* v as an operand of step `step`. */
static MloStatus operand(Builder *b, MloValue *v, int step, uint32_t *out)
{
	RunValue r;

	if (!v) {
		*out = MLRT_ABSENT;
		return MLO_OK;
	}
	MLO_ASSERT(!v->layout.stored);
	if (v->layout.block || (v->type.rank < 0 && !mlo_type_object(&v->type)))
		return mlo_error(b->plan->diag, MLO_ERR_UNSUPPORTED, "the rank of '%s' is not known", v->name ? v->name : "?");
	if (b->value_of[v->id] >= 0) {
		int64_t offset;
		int buffer;

		*out = (uint32_t)b->value_of[v->id];
		if (mlo_type_object(&v->type))
			return MLO_OK;
		MLO_TRY(builder_buffer_of(b, builder_root(b, v, &offset), &buffer));
		builder_touch(b, buffer, step);
		return MLO_OK;
	}
	if (mlo_type_object(&v->type)) {
		*out = add_value(b, v, object_value(b, v));
		return MLO_OK;
	}
	r = (RunValue){.kind = MLRT_V_TENSOR, .elem = v->type.elem, .rank = v->type.rank, .own = -1};
	MLO_TRY(sizes_of(b, v, &r.first_dim));
	MLO_TRY(builder_arg(b, v, step, false, &r.arg));
	*out = add_value(b, v, r);
	return MLO_OK;
}

static int new_own(Builder *b, int slot)
{
	Buffer buf = {.kind = BUF_OWN, .index = b->p->nbuffers++, .bytes_slot = slot, .offset_slot = -1, .first = INT32_MAX, .last = -1};

	MLO_PUSH(b->plan->arena, &b->p->buffer, buf);
	return (int)b->p->buffer.n - 1;
}

/* v as a result: the runtime sets its sizes, and its buffer's bytes where they are not in its type. */
static MloStatus result(Builder *b, MloValue *v, int step, uint32_t *out)
{
	RunValue r;

	if (!v) {
		*out = MLRT_ABSENT;
		return MLO_OK;
	}
	if (mlo_type_object(&v->type)) {
		*out = add_value(b, v, object_value(b, v));
		return MLO_OK;
	}
	if (v->type.rank < 0)
		return mlo_error(b->plan->diag, MLO_ERR_UNSUPPORTED, "the rank of '%s' is not known", v->name ? v->name : "?");
	r = (RunValue){.kind = MLRT_V_TENSOR, .elem = v->type.elem, .rank = v->type.rank, .own = -1};
	r.first_dim = slots_new(&b->p->slots, v->type.rank, false, 64);
	if (mlo_type_static(&v->type) && v->type.elem != EL_str) {
		MLO_TRY(builder_arg(b, v, step, true, &r.arg));
	} else {
		int slot = slots_new(&b->p->slots, 1, false, 4096);

		r.own = b->buffer_of[v->id] = new_own(b, slot);
		r.arg = (StepArg){.buffer = r.own, .bytes_slot = slot};
		builder_touch(b, r.own, step);
		if (v->type.elem == EL_str)
			b->p->buffer.items[r.own].last = INT32_MAX;
	}
	*out = add_value(b, v, r);
	return MLO_OK;
}

/* -- steps -------------------------------------------------------------------------------------- */

typedef struct ObjectRow {
	enum MlrtObjectOp op;
	int attr[2]; /* what imm[] are; -1: 0 */
	bool known;
} ObjectRow;

#define ROW(id, object, a, b) [OP_##id] = {MLRT_OBJ_##object, {a, b}, true}
static const ObjectRow object_rows[OP_COUNT] = {
	ROW(same_object, OPTIONAL_GET, -1, -1), /* of an operand of the result's type: itself */
	ROW(sequence_empty, SEQ_EMPTY, -1, -1),
	ROW(sequence_construct, SEQ_CONSTRUCT, -1, -1),
	ROW(sequence_at, SEQ_AT, -1, -1),
	ROW(sequence_insert, SEQ_INSERT, -1, -1),
	ROW(sequence_erase, SEQ_ERASE, -1, -1),
	ROW(sequence_length, SEQ_LENGTH, -1, -1),
	ROW(split_to_sequence, SPLIT, ATTR_split_to_sequence_axis, ATTR_split_to_sequence_keepdims),
	ROW(concat_from_sequence, CONCAT, ATTR_concat_from_sequence_axis, ATTR_concat_from_sequence_new_axis),
	ROW(optional, OPTIONAL, -1, -1),
	ROW(optional_get, OPTIONAL_GET, -1, -1),
	ROW(optional_has, OPTIONAL_HAS, -1, -1),
	ROW(zip_map, ZIP_MAP, -1, -1),
	ROW(dict_vectorizer, DICT_VECTORIZER, -1, -1),
};
#undef ROW

static MloStatus kind_of_step(Builder *b, const MloNode *n, Step *s)
{
	const ObjectRow *row = &object_rows[n->op];

	if (n->op == OP_if) {
		s->kind = MLRT_STEP_IF;
		MLO_TRY(program_new(b->plan, mlo_attr_graph(n, ATTR_if_then_branch), &s->sub[0]));
		return program_new(b->plan, mlo_attr_graph(n, ATTR_if_else_branch), &s->sub[1]);
	}
	if (n->op == OP_loop) {
		s->kind = MLRT_STEP_LOOP;
		s->imm[0] = mlo_attr_i(n, ATTR_loop_carried);
		return program_new(b->plan, mlo_attr_graph(n, ATTR_loop_body), &s->sub[0]);
	}
	if (n->op == OP_never) {
		s->kind = MLRT_STEP_NEVER;
		return MLO_OK;
	}
	if (!row->known)
		return mlo_node_error(b->plan->diag, MLO_ERR_UNSUPPORTED, n, "no step of the runtime does this");
	s->kind = MLRT_STEP_OBJECT;
	s->object = row->op;
	for (int i = 0; i < 2; i++)
		s->imm[i] = row->attr[i] < 0 ? 0 : mlo_attr_i(n, row->attr[i]);
	return MLO_OK;
}

/* A loop that runs no iteration leaves the inner sizes of its scans as they are: tell what is known. */
static void preset_scans(Builder *b, const MloNode *n, const Step *s)
{
	for (uint32_t i = (uint32_t)s->imm[0]; i < n->nout; i++) {
		const MloValue *v = n->out[i];

		for (int d = 1; v && d < v->type.rank; d++) {
			int slot = slots_dim(&b->p->slots, v->type.dim[d]);

			if (slot >= 0)
				slots_set(&b->p->slots, b->p->value.items[b->value_of[v->id]].first_dim + d, slot);
		}
	}
}

static MloStatus bind_results(Builder *b, const MloNode *n)
{
	for (uint32_t i = 0; i < n->nout; i++) {
		MloValue *v = n->out[i];

		if (v && !mlo_type_object(&v->type))
			MLO_TRY(sizes_bind(b, v, b->p->value.items[b->value_of[v->id]].first_dim));
	}
	return MLO_OK;
}

MloStatus control_step(Builder *b, MloNode *n)
{
	int at = (int)b->p->step.n, most = mlo_op_info(n->op)->max_in;
	uint32_t nin = most > (int)n->nin ? (uint32_t)most : n->nin; /* absent ones have their place, too */
	Step s = {.nref = nin + n->nout, .nresults = n->nout, .tasks_slot = -1};

	s.ref = MLO_NEWN(b->plan->arena, uint32_t, s.nref + 1);
	MLO_TRY(kind_of_step(b, n, &s));
	for (uint32_t i = 0; i < nin; i++)
		MLO_TRY(operand(b, i < n->nin ? n->in[i] : NULL, at, &s.ref[i]));
	for (uint32_t i = 0; i < n->nout; i++)
		MLO_TRY(result(b, n->out[i], at, &s.ref[nin + i]));
	if (s.kind == MLRT_STEP_LOOP)
		preset_scans(b, n, &s);
	s.info = (MloStepInfo){.name = mlo_op_info(n->op)->name, .tier = MLO_TIER_LIBRARY, .origin = builder_origin(b, n, n),
	                       .ntasks = 1, .schedule = "", .shape = n->nout && n->out[0] ? builder_type_text(b, n->out[0]) : ""};
	s.late_end = b->p->slots.late.n;
	MLO_PUSH(b->plan->arena, &b->p->step, s);
	return bind_results(b, n);
}

/* -- ends --------------------------------------------------------------------------------------- */

MloStatus control_inputs(Builder *b)
{
	const MloGraph *g = b->p->graph;

	b->p->input = MLO_NEWN(b->plan->arena, uint32_t, g->ninputs + 1);
	for (uint32_t i = 0; i < g->ninputs; i++) {
		MLO_TRY(operand(b, g->inputs[i], 0, &b->p->input[i]));
		MLO_ASSERT(b->p->input[i] == i);
	}
	return MLO_OK;
}

static bool is_direct(Builder *b, MloValue *v)
{
	int64_t offset;
	int buffer = mlo_type_object(&v->type) ? -1 : b->buffer_of[builder_root(b, v, &offset)->id];

	return buffer >= 0 && b->p->buffer.items[buffer].kind == BUF_OUTPUT;
}

/* Expressions are computed before a step: behind the last one, an output that is copied gives them a place. It is
 * none that is made where the caller wants it; what the last step gives is not. */
static MloStatus copy_one(Builder *b)
{
	MloValue *from, *to = MLO_NEW(b->plan->arena, MloValue);
	Step s = {.kind = MLRT_STEP_COPY, .nref = 2, .nresults = 1, .tasks_slot = -1};
	uint32_t i = 0;

	while (i < b->p->graph->noutputs && is_direct(b, b->p->graph->outputs[i]))
		i++;
	MLO_ASSERT(i < b->p->graph->noutputs);
	from = b->p->graph->outputs[i];
	*to = *from;
	to->def = NULL;
	to->data = NULL;
	to->id = b->p->graph->next_id; /* the spare place of all lists by id */
	b->view[to->id] = (View){0};
	b->buffer_of[to->id] = b->value_of[to->id] = -1;
	s.ref = MLO_NEWN(b->plan->arena, uint32_t, 2);
	s.ref[0] = b->p->output[i];
	MLO_TRY(result(b, to, INT32_MAX, &s.ref[1]));
	b->p->output[i] = s.ref[1];
	s.info = (MloStepInfo){.name = "copy", .tier = MLO_TIER_LIBRARY, .ntasks = 1, .schedule = "",
	                       .shape = builder_type_text(b, from)};
	s.late_end = b->p->slots.late.n;
	MLO_PUSH(b->plan->arena, &b->p->step, s);
	return MLO_OK;
}

MloStatus control_outputs(Builder *b)
{
	const MloGraph *g = b->p->graph;

	b->p->output = MLO_NEWN(b->plan->arena, uint32_t, g->noutputs + 1);
	for (uint32_t i = 0; i < g->noutputs; i++)
		MLO_TRY(operand(b, g->outputs[i], INT32_MAX, &b->p->output[i]));
	if (g->noutputs && b->p->slots.late.n > (b->p->step.n ? b->p->step.items[b->p->step.n - 1].late_end : 0))
		MLO_TRY(copy_one(b));
	return MLO_OK;
}
