/* runtime/frame.c -- frames: one program's memory in a session, and where its values lie. */
#include <string.h>

#include "runtime/session.h"

/* -- making them ------------------------------------------------------------------------------ */

/* Hands out parts of one block; with base NULL it only counts. */
typedef struct Carver {
	unsigned char *base;
	size_t used;
} Carver;

static void *carve(Carver *c, uint64_t n, size_t size)
{
	void *p = c->base ? c->base + c->used : NULL;

	c->used += (n * size + 15) & ~(size_t)15;
	return p;
}

static uint32_t count_kind(const Body *b, uint32_t kind)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < b->head->nsteps; i++)
		n += b->step[i].kind == kind;
	return n;
}

static void carve_frame(Frame *f, Carver *c)
{
	const MlrtBody *h = f->body->head;

	f->slot = carve(c, h->nslots, sizeof *f->slot);
	f->place = carve(c, (uint64_t)f->buffers + h->nbuffers, sizeof *f->place);
	f->arg = carve(c, h->nargs, sizeof *f->arg);
	f->arg_place = carve(c, h->nargs, sizeof *f->arg_place);
	f->late = carve(c, h->nargs, sizeof *f->late);
	f->step = carve(c, h->nsteps, sizeof *f->step);
	f->own = carve(c, h->nbuffers, sizeof *f->own);
	f->object = carve(c, h->nobjects, sizeof *f->object);
	f->loop = carve(c, f->nloops, sizeof *f->loop);
	f->carried = carve(c, f->ncarried, sizeof *f->carried);
	f->scan = carve(c, f->nscans, sizeof *f->scan);
}

static uint32_t place_of(const Frame *f, const MlrtBodyArg *a)
{
	switch (a->space) {
	case MLRT_ARENA: return PLACE_ARENA;
	case MLRT_WEIGHT: return PLACE_WEIGHT;
	case MLRT_SIZES: return PLACE_SIZES;
	case MLRT_STRINGS: return PLACE_FIXED + a->index;
	case MLRT_INPUT: return f->inputs + a->index;
	case MLRT_OUTPUT: return f->outputs + a->index;
	case MLRT_BUFFER: return f->buffers + a->index;
	default: return PLACE_NONE;
	}
}

static bool is_late(const MlrtBodyArg *a)
{
	return a->space == MLRT_INPUT || a->space == MLRT_OUTPUT || a->space == MLRT_BUFFER ||
	       a->offset_slot != MLRT_ABSENT || a->bytes_slot != MLRT_ABSENT;
}

static void resolve_fixed(Frame *f)
{
	for (uint32_t i = 0; i < f->body->head->nargs; i++) {
		const MlrtBodyArg *a = &f->body->arg[i];

		f->arg_place[i] = place_of(f, a);
		if (!is_late(a) && f->place[f->arg_place[i]].data)
			f->arg[i] = f->place[f->arg_place[i]].data + a->offset;
	}
}

/* Those that must be resolved before each call. */
static uint32_t find_late(Frame *f, FrameStep *out, const MlrtBodyStep *step, uint32_t used)
{
	out->first_late = used;
	for (uint32_t k = 0; k < step->n; k++) {
		const MlrtBodyArg *a = &f->body->arg[step->first + k];

		if (!is_late(a))
			continue;
		f->late[used++] = step->first + k;
		out->reserves |= (a->flags & MLRT_ARG_RESERVE) != 0;
	}
	out->nlate = used - out->first_late;
	return used;
}

static void prepare_loop(Frame *f, Loop *l, const MlrtBodyStep *step)
{
	const Body *body = &f->session->model->program.list.body[step->program[0]];
	const uint32_t *given = body->ref + body->head->ninputs + 1; /* carried, then scans */

	l->ncarried = (uint32_t)step->imm[0];
	l->nscans = step->nresults - l->ncarried;
	l->carried = f->carried + f->ncarried;
	l->scan = f->scan + f->nscans;
	for (uint32_t i = 0; i < step->nresults; i++) {
		const MlrtValue *v = &body->value[given[i]];
		MlrtObject *o = i < l->ncarried ? &l->carried[i].object : &l->scan[i - l->ncarried].texts;

		*o = (MlrtObject){.store = &f->session->store,
				  .kind = v->kind == MLRT_V_TENSOR ? MLRT_V_SEQ : v->kind,
				  .elem = mlrt_elem_code(v->elem),
				  .key = mlrt_elem_code(v->key)};
	}
	f->ncarried += l->ncarried;
	f->nscans += l->nscans;
}

static void prepare_steps(Frame *f)
{
	const MlrtSession *s = f->session;
	uint32_t late = 0, loops = 0;

	f->ncarried = f->nscans = 0; /* counted again */
	for (uint32_t i = 0; i < f->body->head->nsteps; i++) {
		const MlrtBodyStep *step = &f->body->step[i];
		FrameStep *out = &f->step[i];
		const int most = step->ntasks < (uint32_t)s->threads ? (int)step->ntasks : s->threads;

		if (step->kind == MLRT_STEP_LOOP) {
			out->loop = &f->loop[loops++];
			prepare_loop(f, out->loop, step);
		}
		if (step->kind != MLRT_STEP_KERNEL)
			continue;
		out->call = (Call){.kernel = s->device ? NULL : (Kernel *)(uintptr_t)(s->model->code.data + step->code),
				   .code = step->code, .nargs = step->n, .args = f->arg + step->first, .ntasks = step->ntasks,
				   .parts = step->flags & MLRT_STEP_WHOLE ? 1 : most};
		late = find_late(f, out, step, late);
	}
}

static void prepare_objects(Frame *f)
{
	const Body *b = f->body;

	for (uint32_t i = 0; i < b->head->nobjects; i++)
		f->object[i] = (MlrtObject){.store = &f->session->store, .elem = mlrt_elem_code(1)};
	for (uint32_t i = 0; i < b->head->nvalues; i++) {
		const MlrtValue *v = &b->value[i];

		if (v->kind == MLRT_V_TENSOR)
			continue;
		f->object[v->object].kind = v->kind;
		f->object[v->object].elem = mlrt_elem_code(v->elem);
		f->object[v->object].key = mlrt_elem_code(v->key);
	}
}

static void set_places(Frame *f)
{
	const MlrtModel *m = f->session->model;
	const List *l = &m->program.list;

	f->place[PLACE_ARENA] = (Place){f->arena.data, f->body->head->arena_bytes};
	f->place[PLACE_WEIGHT] = (Place){(unsigned char *)(uintptr_t)f->session->weights, m->weights.bytes};
	f->place[PLACE_SIZES] = (Place){(unsigned char *)f->slot, f->body->head->nslots * sizeof *f->slot};
	for (uint32_t i = 0; i < l->head->nstrings; i++)
		f->place[PLACE_FIXED + i] =
			(Place){(unsigned char *)m->strings[i], l->strings[i].count * sizeof(MlrtText)};
}

static MlrtStatus frame_new(MlrtSession *s, Frame *f, const Body *b, MlrtError *err)
{
	const MlrtBody *h = b->head;
	Carver c = {0};
	unsigned char *block;

	*f = (Frame){.session = s, .body = b, .inputs = PLACE_FIXED + s->model->program.list.head->nstrings};
	f->outputs = f->inputs + h->ninputs;
	f->buffers = f->outputs + h->noutputs;
	f->nloops = count_kind(b, MLRT_STEP_LOOP);
	for (uint32_t i = 0; i < h->nsteps; i++) {
		if (b->step[i].kind != MLRT_STEP_LOOP)
			continue;
		f->ncarried += (uint64_t)b->step[i].imm[0];
		f->nscans += b->step[i].nresults - (uint64_t)b->step[i].imm[0];
	}
	carve_frame(f, &c);
	block = mlrt_allocate(&s->allocator, c.used + MLRT_ALIGN, err);
	if (!block)
		return err->status;
	memset(block, 0, c.used + MLRT_ALIGN);
	f->bytes = c.used + MLRT_ALIGN;
	c = (Carver){block, 0};
	carve_frame(f, &c);
	if (h->arena_bytes > 0 && mlrt_block_reserve(s, &f->arena, h->arena_bytes, 0, err))
		return err->status;
	set_places(f);
	prepare_objects(f);
	resolve_fixed(f);
	prepare_steps(f);
	return MLRT_OK;
}

MLRT_LOCAL MlrtStatus mlrt_frames_new(MlrtSession *s, MlrtError *err)
{
	const List *l = &s->model->program.list;
	const size_t bytes = l->head->nprograms * sizeof *s->frame;
	MlrtStatus st = MLRT_OK;

	s->frame = mlrt_allocate(&s->allocator, bytes, err);
	if (!s->frame)
		return err->status;
	memset(s->frame, 0, bytes);
	for (uint32_t i = 0; !st && i < l->head->nprograms; i++)
		st = frame_new(s, &s->frame[i], &l->body[i], err);
	return st;
}

static void frame_free(MlrtSession *s, Frame *f)
{
	if (!f->bytes)
		return; /* never came to be */
	for (uint32_t i = 0; i < f->body->head->nbuffers; i++)
		mlrt_block_free(s, &f->own[i]);
	for (size_t i = 0; i < f->ncarried; i++) {
		mlrt_block_free(s, &f->carried[i].half[0]);
		mlrt_block_free(s, &f->carried[i].half[1]);
	}
	mlrt_block_free(s, &f->planned);
	mlrt_block_free(s, &f->arena);
	s->allocator.release(s->allocator.user, f->slot, f->bytes); /* the first part of the block */
}

MLRT_LOCAL void mlrt_frames_free(MlrtSession *s)
{
	const List *l = &s->model->program.list;

	if (!s->frame)
		return;
	for (uint32_t i = 0; i < l->head->nprograms; i++)
		frame_free(s, &s->frame[i]);
	s->allocator.release(s->allocator.user, s->frame, l->head->nprograms * sizeof *s->frame);
}

/* -- where values lie -------------------------------------------------------------------------- */

static bool add_slot(const Frame *f, uint32_t slot, uint64_t *v)
{
	if (slot == MLRT_ABSENT)
		return true;
	return f->slot[slot] >= 0 && !__builtin_add_overflow(*v, (uint64_t)f->slot[slot], v);
}

MLRT_LOCAL MlrtStatus mlrt_arg_place(const Frame *f, uint32_t arg, Place *out, MlrtError *err)
{
	const MlrtBodyArg *a = &f->body->arg[arg];
	const Place *p = &f->place[f->arg_place[arg]];
	uint64_t at = a->offset, n = a->bytes;

	if (!add_slot(f, a->offset_slot, &at) || !add_slot(f, a->bytes_slot, &n) || at > p->bytes || n > p->bytes - at)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%lld bytes at %lld of a value that has %llu", (long long)n,
				 (long long)at, (unsigned long long)p->bytes);
	*out = (Place){p->data ? p->data + at : NULL, n};
	return MLRT_OK;
}

MLRT_LOCAL MlrtStatus mlrt_own_reserve(Frame *f, uint32_t buffer, uint64_t bytes, uint64_t keep, MlrtError *err)
{
	MlrtStatus st = mlrt_block_reserve(f->session, &f->own[buffer], bytes, keep, err);

	if (!st)
		f->place[f->buffers + buffer] = (Place){f->own[buffer].data, bytes};
	return st;
}

MLRT_LOCAL MlrtStatus mlrt_view(const Frame *f, uint32_t value, View *out, MlrtError *err)
{
	const MlrtValue *v = &f->body->value[value];
	Place p = {0};
	MlrtStatus st = mlrt_arg_place(f, v->arg, &p, err);

	if (st)
		return st;
	out->elem = mlrt_elem_code(v->elem);
	out->rank = (int)v->rank;
	memcpy(out->dims, f->slot + v->first_dim, v->rank * sizeof *out->dims);
	if (!mlrt_tensor_bytes(out->elem, out->rank, out->dims, &out->bytes) || out->bytes > p.bytes ||
	    (uintptr_t)p.data % out->elem->align != 0)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "a value does not fit its %llu bytes",
				 (unsigned long long)p.bytes);
	out->data = p.data;
	return MLRT_OK;
}

MLRT_LOCAL MlrtStatus mlrt_result(Frame *f, uint32_t value, int rank, const int64_t *dims, uint64_t bytes,
				  unsigned char **out, MlrtError *err)
{
	const MlrtValue *v = &f->body->value[value];
	Place p = {0};
	MlrtStatus st = MLRT_OK;

	if ((uint32_t)rank != v->rank)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "a result has %d dimensions, it must have %u", rank,
				 (unsigned)v->rank);
	if (rank > 0)
		memcpy(f->slot + v->first_dim, dims, (size_t)rank * sizeof *dims);
	if (v->buffer != MLRT_ABSENT) {
		f->slot[f->body->buffer[v->buffer].bytes_slot] = (int64_t)bytes;
		st = mlrt_own_reserve(f, v->buffer, bytes, 0, err);
	}
	if (!st)
		st = mlrt_arg_place(f, v->arg, &p, err);
	if (!st && (p.bytes < bytes || (uintptr_t)p.data % mlrt_elem_code(v->elem)->align != 0))
		st = mlrt_fail(err, MLRT_ERR_ARGUMENT, "a result of %llu bytes in a place of %llu",
			       (unsigned long long)bytes, (unsigned long long)p.bytes);
	*out = p.data;
	return st;
}

MLRT_LOCAL MlrtStatus mlrt_store(Frame *f, uint32_t value, const View *src, MlrtError *err)
{
	unsigned char *to;
	uint64_t total;
	MlrtStatus st;

	if (!mlrt_deep_bytes(src->elem, src->data, src->bytes, &total))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "a string of negative length");
	st = mlrt_result(f, value, src->rank, src->dims, total, &to, err);
	if (!st)
		mlrt_deep_copy(src->elem, to, src->data, src->bytes);
	return st;
}

MLRT_LOCAL MlrtStatus mlrt_take_value(Frame *f, uint32_t to, const Frame *other, uint32_t from, MlrtError *err)
{
	const MlrtValue *v = &other->body->value[from];
	View x;
	MlrtStatus st;

	if (v->kind != MLRT_V_TENSOR)
		return mlrt_object_assign(&f->object[f->body->value[to].object], &other->object[v->object])
			       ? MLRT_OK
			       : mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for a sequence");
	st = mlrt_view(other, from, &x, err);
	return st ? st : mlrt_store(f, to, &x, err);
}

MLRT_LOCAL void mlrt_set_dims(Frame *f, uint32_t i, const int64_t *dims)
{
	const MlrtValue *v = &f->body->value[f->body->ref[i]];

	if (memcmp(f->slot + v->first_dim, dims, v->rank * sizeof *dims) == 0)
		return;
	memcpy(f->slot + v->first_dim, dims, v->rank * sizeof *dims);
	f->sized = false;
}
