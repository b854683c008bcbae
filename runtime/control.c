/* runtime/control.c -- IF and LOOP: values that pass between a program and its bodies.
 *
 * A body reads what it is given where it lies; what it gives back is copied, because its memory is used
 * again when it runs again.  A loop's carried values lie in blocks of the loop, two for each: one is
 * read while the other is written. */
#include <string.h>

#include "runtime/lists.h"

enum { SCAN_AHEAD = 64 << 20 }; /* bytes that a loop may take at once for iterations to come */

static const MlrtValue *value_of(const Frame *f, uint32_t ref)
{
	return &f->body->value[f->body->ref[ref]];
}

/* Input i of the body becomes operand `value` of f, a tensor or an object. */
static MlrtStatus pass(Frame *f, uint32_t value, Frame *body, uint32_t i, MlrtError *err)
{
	const MlrtValue *v = &f->body->value[value];
	const MlrtValue *to = value_of(body, i);
	View x;
	MlrtStatus st;

	if (v->kind != MLRT_V_TENSOR)
		return mlrt_object_assign(&body->object[to->object], &f->object[v->object])
			       ? MLRT_OK
			       : mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for a sequence");
	st = mlrt_view(f, value, &x, err);
	if (st)
		return st;
	body->place[body->inputs + i] = (Place){(unsigned char *)(uintptr_t)x.data, x.bytes};
	mlrt_set_dims(body, i, x.dims);
	return MLRT_OK;
}

/* The one element of a condition or a trip count. */
static MlrtStatus scalar(const Frame *f, uint32_t value, void *out, MlrtError *err)
{
	View x;
	MlrtStatus st = mlrt_view(f, value, &x, err);

	if (st)
		return st;
	if (x.bytes != x.elem->bits / 8)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "a condition or count of %llu bytes",
				 (unsigned long long)x.bytes);
	memcpy(out, x.data, x.bytes);
	return MLRT_OK;
}

static MlrtStatus step_if(Frame *f, const MlrtBodyStep *step, MlrtError *err)
{
	const uint32_t *ref = f->body->ref + step->first, nin = step->n - step->nresults;
	unsigned char condition = 0;
	MlrtStatus st = scalar(f, ref[0], &condition, err);
	Frame *body = &f->session->frame[step->program[condition ? 0 : 1]];

	for (uint32_t i = 1; !st && i < nin; i++)
		st = pass(f, ref[i], body, i - 1, err);
	if (!st)
		st = mlrt_frame_size(body, err);
	if (!st)
		st = mlrt_frame_run(body, err);
	for (uint32_t i = 0; !st && i < step->nresults; i++)
		if (ref[nin + i] != MLRT_ABSENT)
			st = mlrt_take_value(f, ref[nin + i], body, body->body->ref[nin - 1 + i], err);
	return st;
}

/* -- loops ------------------------------------------------------------------------------------- */

typedef struct LoopRun {
	Frame *f, *body;
	Loop *loop;
	const uint32_t *operand, *result; /* values of f */
	const uint32_t *output;           /* values of the body: carried, then scans */
	int64_t trip;                     /* INT64_MAX: no limit */
} LoopRun;

/* The first iteration reads carried values where they lie. */
static MlrtStatus begin(LoopRun *r, MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	for (uint32_t i = 0; !st && i < r->loop->ncarried; i++) {
		const MlrtValue *v = &r->f->body->value[r->operand[2 + i]];
		Carried *c = &r->loop->carried[i];

		if (v->kind == MLRT_V_TENSOR)
			st = mlrt_view(r->f, r->operand[2 + i], &c->view, err);
		else if (!mlrt_object_assign(&c->object, &r->f->object[v->object]))
			st = mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for a sequence");
	}
	for (uint32_t i = 0; i < r->loop->nscans; i++) {
		r->loop->scan[i].data = NULL;
		mlrt_object_empty(&r->loop->scan[i].texts);
	}
	return st;
}

static MlrtStatus give_carried(LoopRun *r, MlrtError *err)
{
	for (uint32_t i = 0; i < r->loop->ncarried; i++) {
		const MlrtValue *to = value_of(r->body, 2 + i);
		const Carried *c = &r->loop->carried[i];

		if (to->kind != MLRT_V_TENSOR) {
			if (!mlrt_object_assign(&r->body->object[to->object], &c->object))
				return mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for a sequence");
			continue;
		}
		r->body->place[r->body->inputs + 2 + i] =
			(Place){(unsigned char *)(uintptr_t)c->view.data, c->view.bytes};
		mlrt_set_dims(r->body, 2 + i, c->view.dims);
	}
	return MLRT_OK;
}

static MlrtStatus keep_tensor(LoopRun *r, Carried *c, uint32_t value, MlrtError *err)
{
	Block *half = &c->half[r->loop->iteration & 1];
	uint64_t total;
	MlrtStatus st = mlrt_view(r->body, value, &c->next, err);

	if (st)
		return st;
	if (!mlrt_deep_bytes(c->next.elem, c->next.data, c->next.bytes, &total))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "a string of negative length");
	st = mlrt_block_reserve(r->f->session, half, total, 0, err);
	if (st)
		return st;
	mlrt_deep_copy(c->next.elem, half->data, c->next.data, c->next.bytes);
	c->next.data = half->data;
	return MLRT_OK;
}

/* What the body gives becomes what it takes next. All is read before anything is replaced. */
static MlrtStatus take_carried(LoopRun *r, MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	for (uint32_t i = 0; !st && i < r->loop->ncarried; i++) {
		const MlrtValue *v = &r->body->body->value[r->output[i]];
		Carried *c = &r->loop->carried[i];

		if (v->kind == MLRT_V_TENSOR)
			st = keep_tensor(r, c, r->output[i], err);
		else if (!mlrt_object_assign(&c->object, &r->body->object[v->object]))
			st = mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for a sequence");
	}
	for (uint32_t i = 0; !st && i < r->loop->ncarried; i++)
		r->loop->carried[i].view = r->loop->carried[i].next;
	return st;
}

static MlrtStatus scan_text(LoopRun *r, Scan *scan, const View *x, MlrtError *err)
{
	uint64_t total;
	Item *item;

	if (!mlrt_deep_bytes(x->elem, x->data, x->bytes, &total))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "a string of negative length");
	item = mlrt_item_new(&r->f->session->store, x->elem, x->rank, x->dims, x->bytes, total);
	if (item)
		mlrt_deep_copy(x->elem, item->data, x->data, x->bytes);
	return mlrt_object_push(&scan->texts, item) ? MLRT_OK : mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for strings");
}

/* Room for one more item behind those that there are. */
static MlrtStatus scan_room(LoopRun *r, Scan *scan, const MlrtValue *v, uint64_t bytes, MlrtError *err)
{
	const uint64_t done = (uint64_t)r->loop->iteration * bytes; /* exists, so it is no overflow */
	uint64_t need, all;
	Place p = {0};
	MlrtStatus st;

	if (__builtin_add_overflow(done, bytes, &need))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "a result too large");
	if (v->buffer != MLRT_ABSENT) {
		if (!done && !__builtin_mul_overflow((uint64_t)r->trip, bytes, &all) && all <= SCAN_AHEAD)
			need = all;
		if (done && need <= r->f->place[r->f->buffers + v->buffer].bytes)
			return MLRT_OK;
		st = mlrt_own_reserve(r->f, v->buffer, need, done, err);
		scan->data = r->f->own[v->buffer].data;
		return st;
	}
	st = mlrt_arg_place(r->f, v->arg, &p, err);
	if (!st && need > p.bytes)
		st = mlrt_fail(err, MLRT_ERR_ARGUMENT, "a result of %llu bytes in a place of %llu",
			       (unsigned long long)need, (unsigned long long)p.bytes);
	scan->data = p.data;
	return st;
}

static MlrtStatus take_scan(LoopRun *r, uint32_t i, MlrtError *err)
{
	const uint32_t result = r->result[r->loop->ncarried + i];
	const MlrtValue *v;
	Scan *scan = &r->loop->scan[i];
	View x = {0};
	MlrtStatus st;

	if (result == MLRT_ABSENT)
		return MLRT_OK;
	v = &r->f->body->value[result];
	st = mlrt_view(r->body, r->output[r->loop->ncarried + i], &x, err);

	if (st)
		return st;
	if (r->loop->iteration == 0)
		scan->item = x;
	if (memcmp(scan->item.dims, x.dims, (size_t)x.rank * sizeof *x.dims) != 0)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "iteration %lld gives another size than the first",
				 (long long)r->loop->iteration);
	if (x.elem->code == ELEM_STR)
		return scan_text(r, scan, &x, err);
	st = scan_room(r, scan, v, x.bytes, err);
	if (!st && x.bytes > 0)
		memcpy(scan->data + (uint64_t)r->loop->iteration * x.bytes, x.data, x.bytes);
	return st;
}

static MlrtStatus end_scan(LoopRun *r, uint32_t i, MlrtError *err)
{
	const uint32_t result = r->result[r->loop->ncarried + i];
	const MlrtValue *v = &r->f->body->value[result];
	const Scan *scan = &r->loop->scan[i];
	int64_t *dims = r->f->slot + v->first_dim;
	const int64_t n = r->loop->iteration;
	unsigned char *to;

	if (n == 0) { /* inner sizes are what was known before */
		int64_t none[MLRT_MAX_DIMS] = {0};

		for (uint32_t k = 1; k < v->rank; k++)
			none[k] = dims[k] > 0 ? dims[k] : 0;
		return mlrt_result(r->f, result, (int)v->rank, none, 0, &to, err);
	}
	if (scan->item.elem->code == ELEM_STR)
		return mlrt_concat(r->f, &scan->texts, 0, true, result, err);
	dims[0] = n;
	memcpy(dims + 1, scan->item.dims, (size_t)scan->item.rank * sizeof *dims);
	if (v->buffer == MLRT_ABSENT)
		return MLRT_OK;
	r->f->slot[r->f->body->buffer[v->buffer].bytes_slot] = n * (int64_t)scan->item.bytes;
	return mlrt_own_reserve(r->f, v->buffer, (uint64_t)n * scan->item.bytes, 0, err); /* it is there */
}

static MlrtStatus end(LoopRun *r, MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	for (uint32_t i = 0; !st && i < r->loop->ncarried; i++) {
		const Carried *c = &r->loop->carried[i];
		const MlrtValue *v;

		if (r->result[i] == MLRT_ABSENT)
			continue;
		v = &r->f->body->value[r->result[i]];
		if (v->kind == MLRT_V_TENSOR)
			st = mlrt_store(r->f, r->result[i], &c->view, err);
		else if (!mlrt_object_assign(&r->f->object[v->object], &c->object))
			st = mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for a sequence");
	}
	for (uint32_t i = 0; !st && i < r->loop->nscans; i++)
		if (r->result[r->loop->ncarried + i] != MLRT_ABSENT)
			st = end_scan(r, i, err);
	return st;
}

static MlrtStatus iterate(LoopRun *r, MlrtError *err)
{
	const uint32_t condition = r->body->body->ref[r->body->body->head->ninputs];
	MlrtStatus st = give_carried(r, err);

	if (!st)
		st = mlrt_frame_size(r->body, err);
	if (!st)
		st = mlrt_frame_run(r->body, err);
	for (uint32_t i = 0; !st && i < r->loop->nscans; i++)
		st = take_scan(r, i, err);
	if (!st)
		st = take_carried(r, err);
	return st ? st : scalar(r->body, condition, &r->loop->condition, err);
}

/* The iteration number and the condition, which the body reads where the loop keeps them. */
static void give_counters(LoopRun *r)
{
	static const int64_t dims[MLRT_MAX_DIMS] = {1}; /* if they have one at all */

	r->body->place[r->body->inputs] = (Place){(unsigned char *)&r->loop->iteration, sizeof r->loop->iteration};
	r->body->place[r->body->inputs + 1] = (Place){&r->loop->condition, 1};
	mlrt_set_dims(r->body, 0, dims);
	mlrt_set_dims(r->body, 1, dims);
}

static MlrtStatus step_loop(Frame *f, const MlrtBodyStep *step, Loop *loop, MlrtError *err)
{
	const uint32_t *ref = f->body->ref + step->first, nin = step->n - step->nresults;
	Frame *body = &f->session->frame[step->program[0]];
	LoopRun r = {f, body, loop, ref, ref + nin, body->body->ref + body->body->head->ninputs + 1, INT64_MAX};
	MlrtStatus st = MLRT_OK;

	loop->iteration = 0;
	loop->condition = 1;
	if (ref[0] != MLRT_ABSENT)
		st = scalar(f, ref[0], &r.trip, err);
	if (!st && ref[1] != MLRT_ABSENT)
		st = scalar(f, ref[1], &loop->condition, err);
	for (uint32_t i = 2 + loop->ncarried; !st && i < nin; i++)
		st = pass(f, ref[i], body, i, err);
	if (!st)
		st = begin(&r, err);
	give_counters(&r);
	while (!st && loop->iteration < r.trip && loop->condition) {
		st = iterate(&r, err);
		loop->iteration += !st;
	}
	return st ? st : end(&r, err);
}

MLRT_LOCAL MlrtStatus mlrt_list_run(Frame *f, const MlrtBodyStep *step, Loop *loop, MlrtError *err)
{
	switch (step->kind) {
	case MLRT_STEP_IF: return step_if(f, step, err);
	case MLRT_STEP_LOOP: return step_loop(f, step, loop, err);
	default: return mlrt_step_object(f, step, err);
	}
}
