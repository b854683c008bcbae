/* runtime/program.c -- the calls of one run, checked before anything is called. */
#include <stdlib.h>
#include <string.h>

#include "runtime/device.h"

static bool is_written(const MlrtArg *a)
{
	return (a->space & MLRT_WRITTEN) != 0;
}

static bool space_of(const Spaces *s, const MlrtArg *a, uint64_t *bytes)
{
	const Manifest *m = s->manifest;
	const uint32_t space = mlrt_arg_space(a);

	*bytes = 0;
	if (is_written(a) && space != MLRT_ARENA && space != MLRT_OUTPUT)
		return false;
	if (space == MLRT_INPUT || space == MLRT_OUTPUT) {
		const bool in = space == MLRT_INPUT;

		if (a->index >= (in ? m->ninputs : m->noutputs))
			return false;
		*bytes = in ? m->input[a->index].info.bytes : m->output[a->index].info.bytes;
		return true;
	}
	if (space == MLRT_ARENA)
		*bytes = s->arena;
	else if (space == MLRT_WEIGHT)
		*bytes = s->weights;
	return space <= MLRT_NONE && a->index == 0;
}

static MlrtStatus check_args(const Program *p, const Spaces *s, const char *variant, MlrtError *err)
{
	for (uint32_t i = 0; i < p->head->nargs; i++) {
		const MlrtArg *a = &p->arg[i];
		uint64_t bytes;

		if (!space_of(s, a, &bytes))
			return mlrt_damaged(err, variant, "argument %u is in space %u, index %u", (unsigned)i,
					    (unsigned)a->space, (unsigned)a->index);
		if (a->offset > bytes || a->bytes > bytes - a->offset)
			return mlrt_damaged(err, variant, "argument %u touches %llu bytes at %llu of %llu",
					    (unsigned)i, (unsigned long long)a->bytes, (unsigned long long)a->offset,
					    (unsigned long long)bytes);
	}
	return MLRT_OK;
}

static MlrtStatus check_steps(const Program *p, const Spaces *s, const Variant *v, MlrtError *err)
{
	const uint64_t misaligned = (uint64_t)mlrt_arch_misaligned(v->arch);

	for (uint32_t i = 0; i < p->head->nsteps; i++) {
		const MlrtStep *step = &p->step[i];

		if (step->code >= s->code || (step->code & misaligned))
			return mlrt_damaged(err, v->name, "step %u starts at %llu of %llu %s", (unsigned)i,
					    (unsigned long long)step->code, (unsigned long long)s->code,
					    mlrt_is_gpu(v) ? "kernels" : "code bytes");
		if (step->first_arg > p->head->nargs || step->nargs > p->head->nargs - step->first_arg)
			return mlrt_damaged(err, v->name, "step %u has arguments %u to %u of %u", (unsigned)i,
					    (unsigned)step->first_arg, (unsigned)(step->first_arg + step->nargs),
					    (unsigned)p->head->nargs);
		if (step->ntasks == 0 || (step->flags & 0xffu) > (MLRT_STEP_WHOLE | MLRT_STEP_BESIDE))
			return mlrt_damaged(err, v->name, "step %u has %u tasks, flags %u", (unsigned)i,
					    (unsigned)step->ntasks, (unsigned)step->flags);
	}
	return MLRT_OK;
}

/* Does one of the two steps write what the other one touches? */
static bool meet(const Program *p, const MlrtStep *x, const MlrtStep *y)
{
	for (uint32_t i = 0; i < x->nargs; i++) {
		for (uint32_t k = 0; k < y->nargs; k++) {
			const MlrtArg *a = &p->arg[x->first_arg + i], *b = &p->arg[y->first_arg + k];

			if ((is_written(a) || is_written(b)) && mlrt_arg_space(a) == mlrt_arg_space(b) &&
			    a->index == b->index && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes)
				return true;
		}
	}
	return false;
}

/* Step i, which is of a set with those from `first` on: arguments lie in their spaces, as has been checked. */
static MlrtStatus check_member(const Program *p, uint32_t first, uint32_t i, const Variant *v, MlrtError *err)
{
	const MlrtStep *step = &p->step[i];

	if (i - first >= MLRT_MAX_SET || step->flags >> MLRT_STEP_COST == 0 || p->step[first].flags >> MLRT_STEP_COST == 0)
		return mlrt_damaged(err, v->name, "step %u cannot run beside step %u", (unsigned)i, (unsigned)first);
	for (uint32_t k = first; k < i; k++)
		if (meet(p, &p->step[k], step))
			return mlrt_damaged(err, v->name, "steps %u and %u run side by side on the same memory",
					    (unsigned)k, (unsigned)i);
	return MLRT_OK;
}

static MlrtStatus check_sets(const Program *p, const Variant *v, MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	for (uint32_t i = 0, first = 0; !st && i < p->head->nsteps; i++) {
		if (!(p->step[i].flags & MLRT_STEP_BESIDE))
			first = i;
		else if (i == 0)
			st = mlrt_damaged(err, v->name, "step 0 runs beside none before it");
		else
			st = check_member(p, first, i, v, err);
	}
	return st;
}

static MlrtStatus check_head(const MlrtProgram *h, size_t bytes, const Variant *v, MlrtError *err)
{
	const uint64_t need =
		sizeof *h + (uint64_t)h->nsteps * sizeof(MlrtStep) + (uint64_t)h->nargs * sizeof(MlrtArg);

	if (h->magic != MLRT_PROGRAM_MAGIC || h->reserved != 0 || need != bytes)
		return mlrt_damaged(err, v->name, "program of %u steps, %u arguments in %zu bytes",
				    (unsigned)h->nsteps, (unsigned)h->nargs, bytes);
	if (h->arena_bytes != v->arena_bytes || h->scratch_bytes != v->scratch_bytes)
		return mlrt_damaged(err, v->name, "program and manifest state different memory sizes");
	if (h->arena_bytes > INT64_MAX / 2 || h->scratch_bytes > INT64_MAX / (1 << 16))
		return mlrt_damaged(err, v->name, "needs %llu bytes and %llu per thread",
				    (unsigned long long)h->arena_bytes, (unsigned long long)h->scratch_bytes);
	return MLRT_OK;
}

/* The kernels get what they were compiled for, so open sizes and strings take a list. */
static MlrtStatus check_ends(const Manifest *m, const Variant *v, MlrtError *err)
{
	for (size_t i = 0; i < m->ninputs + m->noutputs; i++) {
		const Tensor *t = i < m->ninputs ? &m->input[i] : &m->output[i - m->ninputs];

		if (t->kind || t->open || t->elem->code == ELEM_STR)
			return mlrt_damaged(err, v->name, "a flat program with '%.80s', whose size is open",
					    t->info.name);
	}
	return MLRT_OK;
}

static MlrtStatus read_flat(Program *p, size_t bytes, const Spaces *s, MlrtError *err)
{
	MlrtStatus st;

	p->head = p->copy;
	if (bytes < sizeof *p->head)
		return mlrt_damaged(err, s->variant->name, "program of %zu bytes", bytes);
	st = check_head(p->head, bytes, s->variant, err);
	if (!st)
		st = check_ends(s->manifest, s->variant, err);
	if (st)
		return st;
	p->step = (const MlrtStep *)(p->head + 1);
	p->arg = (const MlrtArg *)(p->step + p->head->nsteps);
	p->nsteps = p->head->nsteps;
	p->arena_bytes = p->head->arena_bytes;
	p->scratch_bytes = p->head->scratch_bytes;
	st = check_steps(p, s, s->variant, err);
	if (!st)
		st = check_args(p, s, s->variant->name, err);
	return st ? st : check_sets(p, s->variant, err);
}

MLRT_LOCAL MlrtStatus mlrt_program_read(Program *p, const Container *c, const Manifest *m, const Variant *v,
					MlrtError *err)
{
	const MlrtBlob *b = &c->blob[v->program];
	const MlrtBlob *w = v->weights == UINT64_MAX ? NULL : &c->blob[v->weights];
	Spaces s = {m, v, w ? c->file + w->offset : NULL, v->arena_bytes, w ? w->bytes : 0, c->blob[v->code].bytes};
	Launches launches = {0};
	uint32_t magic;
	MlrtStatus st = MLRT_OK;

	*p = (Program){0};
	if (mlrt_is_gpu(v)) {
		st = mlrt_launches_read(c, v, &launches, err);
		s.code = st ? 0 : launches.n;
	}
	if (st)
		return st;
	/* A copy: small, aligned, and out of reach of whoever writes to the file later. */
	p->copy = malloc(b->bytes + sizeof magic);
	if (!p->copy)
		return mlrt_no_memory(err);
	memcpy(p->copy, c->file + b->offset, b->bytes);
	memset((char *)p->copy + b->bytes, 0, sizeof magic);
	memcpy(&magic, p->copy, sizeof magic);
	st = magic == MLRT_LIST_MAGIC ? mlrt_list_read(p, b->bytes, &s, err) : read_flat(p, b->bytes, &s, err);
	if (st)
		mlrt_program_free(p);
	return st;
}

MLRT_LOCAL void mlrt_program_free(Program *p)
{
	free(p->list.body);
	free(p->copy);
	*p = (Program){0};
}
