/* runtime/list_check.c -- the tables of one program of a list: every index and every constant extent; its steps. */
#include "runtime/more.h"

typedef struct Checked {
	const List *list;
	const Body *body;
	uint32_t number;
	const Spaces *spaces;
	MlrtError *err;
} Checked;

static MlrtStatus damaged(const Checked *c, const char *what, uint32_t i)
{
	return mlrt_damaged(c->err, c->spaces->variant->name, "%s %u of program %u is malformed", what, (unsigned)i,
			    (unsigned)c->number);
}

static bool is_slot(const Checked *c, uint32_t slot)
{
	return slot < c->body->head->nslots;
}

static bool is_slot_or_absent(const Checked *c, uint32_t slot)
{
	return slot == MLRT_ABSENT || is_slot(c, slot);
}

static bool is_expr(const Checked *c, const MlrtExpr *x)
{
	const MlrtBody *h = c->body->head;

	switch (x->op) {
	case MLRT_X_CONST:
		return is_slot(c, x->dst);
	case MLRT_X_COPY:
		return is_slot(c, x->dst) && is_slot(c, x->a);
	case MLRT_X_ALIGN:
		return is_slot(c, x->dst) && is_slot(c, x->a) && x->imm > 0;
	case MLRT_X_CHECK_GE0:
	case MLRT_X_CHECK_EQ:
	case MLRT_X_CHECK_LE:
	case MLRT_X_CHECK_GE:
		return is_slot(c, x->a) && (x->op == MLRT_X_CHECK_GE0 || is_slot(c, x->b)) &&
		       (x->imm == -1 || (x->imm >= 0 && x->imm / 16 < h->nvalues));
	default:
		return x->op < MLRT_X_ALIGN && is_slot(c, x->dst) && is_slot(c, x->a) && is_slot(c, x->b);
	}
}

/* Bytes of a space whose size is constant, UINT64_MAX of others; false if there is no such space. */
static bool space_bytes(const Checked *c, const MlrtBodyArg *a, uint64_t *bytes)
{
	const MlrtBody *h = c->body->head;
	const uint32_t *ends = c->body->ref;

	*bytes = UINT64_MAX;
	switch (a->space) {
	case MLRT_ARENA:
		*bytes = h->arena_bytes;
		return a->index == 0;
	case MLRT_WEIGHT:
		*bytes = c->spaces->weights;
		return a->index == 0;
	case MLRT_NONE:
		*bytes = 0;
		return a->index == 0;
	case MLRT_SIZES:
		*bytes = (uint64_t)h->nslots * sizeof(int64_t);
		return a->index == 0 && a->offset % sizeof(int64_t) == 0;
	case MLRT_STRINGS:
		if (a->index >= c->list->head->nstrings || a->offset % sizeof(MlrtText) != 0)
			return false;
		*bytes = c->list->strings[a->index].count * sizeof(MlrtText);
		return true;
	case MLRT_INPUT:
		return a->index < h->ninputs && c->body->value[ends[a->index]].kind == MLRT_V_TENSOR;
	case MLRT_OUTPUT:
		return c->number == 0 && a->index < h->noutputs &&
		       c->body->value[ends[h->ninputs + a->index]].kind == MLRT_V_TENSOR;
	case MLRT_BUFFER:
		return a->index < h->nbuffers;
	default:
		return false;
	}
}

static bool is_arg(const Checked *c, const MlrtBodyArg *a)
{
	uint64_t bytes;

	if (!space_bytes(c, a, &bytes) || a->reserved || a->flags > MLRT_ARG_RESERVE)
		return false;
	if (!is_slot_or_absent(c, a->offset_slot) || !is_slot_or_absent(c, a->bytes_slot))
		return false;
	if (a->flags && (a->space != MLRT_BUFFER || c->body->buffer[a->index].kind != MLRT_OWN))
		return false;
	return bytes == UINT64_MAX || (a->offset <= bytes && a->bytes <= bytes - a->offset);
}

static bool is_buffer(const Checked *c, const MlrtBuffer *b)
{
	if (b->reserved || !is_slot(c, b->bytes_slot))
		return false;
	if (b->kind == MLRT_PLANNED)
		return is_slot(c, b->offset_slot) && c->body->head->arena_slot != MLRT_ABSENT;
	return b->kind == MLRT_OWN && b->offset_slot == MLRT_ABSENT;
}

static bool is_tensor_value(const Checked *c, const MlrtValue *v)
{
	const MlrtBody *h = c->body->head;
	const MlrtBodyArg *a;

	if (v->rank > MLRT_MAX_DIMS || v->first_dim > h->nslots || v->rank > h->nslots - v->first_dim)
		return false;
	if (v->key || (v->object != MLRT_ABSENT && v->object != 0))
		return false;
	if (v->arg == MLRT_ABSENT)
		return v->buffer == MLRT_ABSENT;
	if (v->arg >= h->nargs)
		return false;
	a = &c->body->arg[v->arg];
	if (v->buffer == MLRT_ABSENT)
		return true;
	return v->buffer < h->nbuffers && c->body->buffer[v->buffer].kind == MLRT_OWN && a->space == MLRT_BUFFER &&
	       a->index == v->buffer;
}

static bool is_value(const Checked *c, const MlrtValue *v)
{
	const bool maps = v->kind == MLRT_V_MAP || v->kind == MLRT_V_SEQ_MAP;

	if (v->kind > MLRT_V_SEQ_MAP || !mlrt_elem_code(v->elem))
		return false;
	if (v->kind == MLRT_V_TENSOR)
		return is_tensor_value(c, v);
	return v->object < c->body->head->nobjects && (maps ? v->key == ELEM_I64 || v->key == ELEM_STR : v->key == 0) &&
	       v->arg == MLRT_ABSENT && v->buffer == MLRT_ABSENT && v->rank == 0;
}

/* Main's inputs and outputs are the manifest's. */
static bool is_as_stated(const MlrtValue *v, const Tensor *t)
{
	return v->kind == t->kind && v->elem == t->elem->code && v->key == (t->key ? t->key->code : 0) &&
	       (v->kind != MLRT_V_TENSOR || v->rank == (uint32_t)t->info.rank);
}

static MlrtStatus check_body_ends(const Checked *c)
{
	const MlrtBody *h = c->body->head;
	const Manifest *m = c->spaces->manifest;
	const uint64_t n = (uint64_t)h->ninputs + h->noutputs;

	if (n > h->nrefs || (c->number == 0 && (h->ninputs != m->ninputs || h->noutputs != m->noutputs)))
		return mlrt_damaged(c->err, c->spaces->variant->name, "program %u has %u inputs, %u outputs",
				    (unsigned)c->number, (unsigned)h->ninputs, (unsigned)h->noutputs);
	for (uint32_t i = 0; i < n; i++) {
		const bool in = i < h->ninputs;
		const MlrtValue *v;

		if (c->body->ref[i] >= h->nvalues)
			return damaged(c, "input or output", i);
		v = &c->body->value[c->body->ref[i]];
		if (!in && v->kind == MLRT_V_TENSOR && v->arg == MLRT_ABSENT)
			return damaged(c, "output", i - h->ninputs);
		if (c->number == 0 && !is_as_stated(v, in ? &m->input[i] : &m->output[i - h->ninputs]))
			return damaged(c, in ? "input" : "output", in ? i : i - h->ninputs);
	}
	return MLRT_OK;
}

MLRT_LOCAL MlrtStatus mlrt_body_check(const List *l, uint32_t number, const Spaces *s, MlrtError *err)
{
	const Checked c = {l, &l->body[number], number, s, err};
	const MlrtBody *h = c.body->head;
	MlrtStatus st;

	if (h->nprologue > h->nexprs || !is_slot_or_absent(&c, h->arena_slot))
		return damaged(&c, "head", 0);
	for (uint32_t i = 0; i < h->nvalues; i++)
		if (!is_value(&c, &c.body->value[i]))
			return damaged(&c, "value", i);
	for (uint32_t i = 0; i < h->nrefs; i++)
		if (c.body->ref[i] >= h->nvalues && c.body->ref[i] != MLRT_ABSENT)
			return damaged(&c, "reference", i);
	st = check_body_ends(&c); /* arguments name inputs and outputs */
	for (uint32_t i = 0; !st && i < h->nbuffers; i++)
		if (!is_buffer(&c, &c.body->buffer[i]))
			st = damaged(&c, "buffer", i);
	for (uint32_t i = 0; !st && i < h->nargs; i++)
		if (!is_arg(&c, &c.body->arg[i]))
			st = damaged(&c, "argument", i);
	for (uint32_t i = 0; !st && i < h->nexprs; i++)
		if (!is_expr(&c, &c.body->expr[i]))
			st = damaged(&c, "expression", i);
	return st;
}

/* -- steps ------------------------------------------------------------------------------------------------- */

static bool in_space(const StepCheck *c, const MlrtValue *v, uint32_t space)
{
	return is_tensor(v) && v->arg != MLRT_ABSENT && c->body->arg[v->arg].space == space;
}

/* What a body gives need not be of use to anyone. */
static bool may_lack_results(const StepCheck *c)
{
	return c->step->kind == MLRT_STEP_IF || c->step->kind == MLRT_STEP_LOOP;
}

/* Operands have a place to be read; results one to be written, and no operand lies in their buffers. */
static bool are_usable(const StepCheck *c)
{
	for (uint32_t i = 0; i < c->step->n; i++) {
		const MlrtValue *v = value_at(c, i);
		const bool result = i >= noperands(c);

		if (v && is_tensor(v) && v->arg == MLRT_ABSENT)
			return false;
		if (!result || (!v && may_lack_results(c)))
			continue;
		if (!v || in_space(c, v, MLRT_WEIGHT) || in_space(c, v, MLRT_INPUT) || in_space(c, v, MLRT_STRINGS) ||
		    in_space(c, v, MLRT_SIZES) || in_space(c, v, MLRT_NONE))
			return false;
		for (uint32_t k = 0; k < i && is_tensor(v) && v->buffer != MLRT_ABSENT; k++) {
			const MlrtValue *other = value_at(c, k);

			if (in_space(c, other, MLRT_BUFFER) && c->body->arg[other->arg].index == v->buffer)
				return false;
		}
	}
	return true;
}

static bool check_copy(const StepCheck *c)
{
	return noperands(c) == 1 && c->step->nresults == 1 && same_type(value_at(c, 0), value_at(c, 1));
}

static bool check_kernel(const StepCheck *c, const Spaces *s)
{
	const MlrtBodyStep *step = c->step;
	const uint64_t misaligned = (uint64_t)mlrt_arch_misaligned(s->variant->arch);

	if (step->code >= s->code || (step->code & misaligned) || step->flags > MLRT_STEP_WHOLE || step->nresults > 0)
		return false;
	if (step->first > c->body->head->nargs || step->n > c->body->head->nargs - step->first)
		return false;
	return step->ntasks_slot == MLRT_ABSENT ? step->ntasks > 0 : step->ntasks_slot < c->body->head->nslots;
}

static bool check_refs(const StepCheck *c)
{
	const MlrtBodyStep *s = c->step;

	return s->flags == 0 && s->first <= c->body->head->nrefs && s->n <= c->body->head->nrefs - s->first &&
	       s->nresults <= s->n && are_usable(c);
}

static bool check_step(const StepCheck *c, const Spaces *s, const More *more)
{
	const MlrtBody *h = c->body->head;

	if (c->step->first_expr > h->nexprs || c->step->nexprs > h->nexprs - c->step->first_expr)
		return false;
	switch (c->step->kind) {
	case MLRT_STEP_KERNEL: return check_kernel(c, s);
	case MLRT_STEP_IF:
	case MLRT_STEP_LOOP:
	case MLRT_STEP_OBJECT: return check_refs(c) && more->list_check(c);
	case MLRT_STEP_COPY: return check_refs(c) && check_copy(c);
	case MLRT_STEP_NEVER: return check_refs(c) && noperands(c) == 0;
	default: return false;
	}
}

MLRT_LOCAL MlrtStatus mlrt_steps_check(const List *l, uint32_t number, const Spaces *s, MlrtError *err)
{
	const Body *b = &l->body[number];
	const More *more = NULL;
	uint32_t end = 0; /* of the arguments used so far */

	for (uint32_t i = 0; i < b->head->nsteps; i++) {
		const StepCheck c = {l, b, number, &b->step[i]};
		const uint32_t kind = b->step[i].kind;
		const bool kernel = kind == MLRT_STEP_KERNEL;
		bool right;

		if (!more && (kind == MLRT_STEP_IF || kind == MLRT_STEP_LOOP || kind == MLRT_STEP_OBJECT)) {
			more = mlrt_more("control flow and sequences", err);
			if (!more)
				return MLRT_ERR_IO;
		}
		right = check_step(&c, s, more) && (!kernel || b->step[i].first >= end);
		if (right && kernel)
			end = b->step[i].first + b->step[i].n;
		if (!right)
			return mlrt_damaged(err, s->variant->name, "step %u of program %u is malformed", (unsigned)i,
					    (unsigned)number);
	}
	return MLRT_OK;
}
