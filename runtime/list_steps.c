/* runtime/list_steps.c -- control flow and objects in a list: operands and results of the right types. */
#include "runtime/lists.h"

static bool is_number(const MlrtValue *v, uint32_t elem)
{
	return is_tensor(v) && v->elem == elem && v->rank <= 1;
}

static bool is_position(const MlrtValue *v)
{
	return is_number(v, ELEM_I64) || is_number(v, ELEM_I32);
}

static bool is_later(const StepCheck *c, uint32_t program)
{
	return program > c->number && program < c->list->head->nprograms;
}

static const MlrtValue *end_of(const Body *b, uint32_t i)
{
	return &b->value[b->ref[i]];
}

static bool check_if(const StepCheck *c)
{
	const MlrtBodyStep *s = c->step;

	if (noperands(c) < 1 || !is_number(value_at(c, 0), ELEM_BOOL))
		return false;
	for (int k = 0; k < 2; k++) {
		const Body *b;

		if (!is_later(c, s->program[k]))
			return false;
		b = &c->list->body[s->program[k]];
		if (b->head->ninputs != noperands(c) - 1 || b->head->noutputs != s->nresults)
			return false;
		for (uint32_t i = 0; i < s->n - 1; i++) /* captures and then results, as the body lists them */
			if (!same_type(value_at(c, i + 1), end_of(b, i)) &&
			    (value_at(c, i + 1) || i < b->head->ninputs))
				return false;
	}
	return true;
}

/* A scan adds a dimension in front. */
static bool is_scan_of(const MlrtValue *result, const MlrtValue *item)
{
	const Elem *e = mlrt_elem_code(item->elem);

	return is_tensor(result) && is_tensor(item) && result->elem == item->elem && result->rank == item->rank + 1 &&
	       e->bits >= 8;
}

static bool check_loop(const StepCheck *c)
{
	const MlrtBodyStep *s = c->step;
	const uint32_t nin = noperands(c);
	const Body *b;
	uint32_t nc, nb;

	if (nin < 2 || s->imm[0] < 0 || s->imm[0] > nin - 2 || s->imm[0] > s->nresults || !is_later(c, s->program[0]))
		return false;
	nc = (uint32_t)s->imm[0];
	b = &c->list->body[s->program[0]];
	nb = b->head->ninputs;
	if (nb != nin || b->head->noutputs != s->nresults + 1)
		return false;
	if ((value_at(c, 0) && !is_number(value_at(c, 0), ELEM_I64)) ||
	    (value_at(c, 1) && !is_number(value_at(c, 1), ELEM_BOOL)) || !is_number(end_of(b, 0), ELEM_I64) ||
	    !is_number(end_of(b, 1), ELEM_BOOL) || !is_number(end_of(b, nb), ELEM_BOOL))
		return false;
	for (uint32_t i = 2; i < nin; i++)
		if (!same_type(value_at(c, i), end_of(b, i)))
			return false;
	for (uint32_t i = 0; i < nc; i++)
		if (!same_type(end_of(b, 2 + i), end_of(b, nb + 1 + i)) ||
		    (value_at(c, nin + i) && !same_type(value_at(c, nin + i), end_of(b, 2 + i))))
			return false;
	for (uint32_t i = nc; i < s->nresults; i++)
		if (value_at(c, nin + i) && !is_scan_of(value_at(c, nin + i), end_of(b, nb + 1 + i)))
			return false;
	return true;
}

/* -- objects --------------------------------------------------------------------------------- */

static bool holds(const MlrtValue *object, uint32_t kind, const MlrtValue *tensor)
{
	return object && object->kind == kind && is_tensor(tensor) && tensor->elem == object->elem;
}

static bool is_seq_of_maps(const MlrtValue *seq, const MlrtValue *map)
{
	return seq && map && seq->kind == MLRT_V_SEQ_MAP && map->kind == MLRT_V_MAP && seq->elem == map->elem &&
	       seq->key == map->key;
}

static bool is_whole(const MlrtValue *v) /* not packed */
{
	return is_tensor(v) && mlrt_elem_code(v->elem)->bits >= 8;
}

static bool check_construct(const StepCheck *c, const MlrtValue *r)
{
	for (uint32_t i = 0; i < noperands(c); i++)
		if (!holds(r, MLRT_V_SEQ, value_at(c, i)))
			return false;
	return true;
}

static bool check_optional(const MlrtValue *a, const MlrtValue *r)
{
	if (!a)
		return r->kind == MLRT_V_OPT || r->kind == MLRT_V_OPT_SEQ;
	return holds(r, MLRT_V_OPT, a) || (a->kind == MLRT_V_SEQ && r->kind == MLRT_V_OPT_SEQ && a->elem == r->elem);
}

static bool check_get(const MlrtValue *a, const MlrtValue *r)
{
	if (!a)
		return false;
	return same_type(a, r) || holds(a, MLRT_V_OPT, r) ||
	       (a->kind == MLRT_V_OPT_SEQ && r->kind == MLRT_V_SEQ && a->elem == r->elem);
}

static bool check_zip(const MlrtValue *x, const MlrtValue *keys, const MlrtValue *r)
{
	return holds(r, MLRT_V_SEQ_MAP, x) && is_whole(x) && (x->rank == 1 || x->rank == 2) && is_tensor(keys) &&
	       keys->rank == 1 && keys->elem == r->key;
}

static bool check_vectorizer(const MlrtValue *map, const MlrtValue *words, const MlrtValue *r)
{
	return holds(map, MLRT_V_MAP, r) && is_whole(r) && r->rank == 2 && is_tensor(words) && words->rank == 1 &&
	       words->elem == map->key;
}

static bool is_seq(const MlrtValue *v)
{
	return v && (v->kind == MLRT_V_SEQ || v->kind == MLRT_V_SEQ_MAP);
}

static bool check_object_step(const StepCheck *c)
{
	static const struct { uint32_t least, most; } arity[MLRT_OBJ_COUNT] = {
		[MLRT_OBJ_SEQ_CONSTRUCT] = {0, UINT32_MAX},
		[MLRT_OBJ_SEQ_AT] = {2, 2},       [MLRT_OBJ_SEQ_INSERT] = {2, 3},   [MLRT_OBJ_SEQ_ERASE] = {1, 2},
		[MLRT_OBJ_SEQ_LENGTH] = {1, 1},   [MLRT_OBJ_SPLIT] = {1, 2},        [MLRT_OBJ_CONCAT] = {1, 1},
		[MLRT_OBJ_OPTIONAL] = {0, 1},     [MLRT_OBJ_OPTIONAL_GET] = {1, 1}, [MLRT_OBJ_OPTIONAL_HAS] = {0, 1},
		[MLRT_OBJ_ZIP_MAP] = {2, 2},      [MLRT_OBJ_DICT_VECTORIZER] = {2, 2},
	};
	const uint32_t op = c->step->object, n = noperands(c);
	const MlrtValue *a, *b, *d, *r;

	if (op >= MLRT_OBJ_COUNT || c->step->nresults != 1 || n < arity[op].least || n > arity[op].most)
		return false;
	a = n > 0 ? value_at(c, 0) : NULL;
	b = n > 1 ? value_at(c, 1) : NULL;
	d = n > 2 ? value_at(c, 2) : NULL;
	r = value_at(c, n);
	switch (op) {
	case MLRT_OBJ_SEQ_EMPTY: return r->kind == MLRT_V_SEQ;
	case MLRT_OBJ_SEQ_CONSTRUCT: return r->kind == MLRT_V_SEQ && check_construct(c, r);
	case MLRT_OBJ_SEQ_AT: return (holds(a, MLRT_V_SEQ, r) || is_seq_of_maps(a, r)) && is_position(b);
	case MLRT_OBJ_SEQ_INSERT: return holds(a, MLRT_V_SEQ, b) && (!d || is_position(d)) && same_type(a, r);
	case MLRT_OBJ_SEQ_ERASE: return is_seq(a) && (!b || is_position(b)) && same_type(a, r);
	case MLRT_OBJ_SEQ_LENGTH: return is_seq(a) && is_number(r, ELEM_I64) && r->rank == 0;
	case MLRT_OBJ_SPLIT: return holds(r, MLRT_V_SEQ, a) && is_whole(a) && a->rank > 0 && (!b || is_position(b));
	case MLRT_OBJ_CONCAT: return holds(a, MLRT_V_SEQ, r) && is_whole(r) && r->rank > 0;
	case MLRT_OBJ_OPTIONAL: return check_optional(a, r);
	case MLRT_OBJ_OPTIONAL_GET: return check_get(a, r);
	case MLRT_OBJ_OPTIONAL_HAS: return is_number(r, ELEM_BOOL) && r->rank == 0;
	case MLRT_OBJ_ZIP_MAP: return check_zip(a, b, r);
	default: return check_vectorizer(a, b, r);
	}
}

MLRT_LOCAL bool mlrt_list_check(const StepCheck *c)
{
	switch (c->step->kind) {
	case MLRT_STEP_IF: return check_if(c);
	case MLRT_STEP_LOOP: return check_loop(c);
	default: return check_object_step(c);
	}
}
