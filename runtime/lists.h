/* runtime/lists.h -- steps of a list that are no kernels: control flow, sequences and their kin. */
#ifndef MLRT_LISTS_H
#define MLRT_LISTS_H
#include "runtime/session.h"

/* -- their types, checked when a package is opened: list_check.c, list_steps.c ---------------------------- */

typedef struct StepCheck {
	const List *list;
	const Body *body;
	uint32_t number;
	const MlrtBodyStep *step;
} StepCheck;

/* Operand or result i of the step; NULL: absent, or not there. */
static inline const MlrtValue *value_at(const StepCheck *c, uint32_t i)
{
	const uint32_t ref = i < c->step->n ? c->body->ref[c->step->first + i] : MLRT_ABSENT;

	return ref == MLRT_ABSENT ? NULL : &c->body->value[ref];
}

static inline uint32_t noperands(const StepCheck *c)
{
	return c->step->n - c->step->nresults;
}

static inline bool is_tensor(const MlrtValue *v)
{
	return v && v->kind == MLRT_V_TENSOR;
}

static inline bool same_type(const MlrtValue *a, const MlrtValue *b)
{
	return a && b && a->kind == b->kind && a->elem == b->elem && a->key == b->key &&
	       (a->kind != MLRT_V_TENSOR || a->rank == b->rank);
}

/* list_steps.c: an IF, LOOP or OBJECT whose references exist and may be used as they are. */
MLRT_LOCAL bool mlrt_list_check(const StepCheck *c);

/* -- running them: control.c, object_ops.c ---------------------------------------------------------------- */

/* loop: that of a LOOP, else NULL. */
MLRT_LOCAL MlrtStatus mlrt_list_run(Frame *f, const MlrtBodyStep *step, Loop *loop, MlrtError *err);
MLRT_LOCAL MlrtStatus mlrt_step_object(Frame *f, const MlrtBodyStep *step, MlrtError *err);
/* The items of a sequence one behind the other along `axis`, or stacked on it. */
MLRT_LOCAL MlrtStatus mlrt_concat(Frame *f, const MlrtObject *seq, int64_t axis, bool stack, uint32_t result,
				  MlrtError *err);
#endif
