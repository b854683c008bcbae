/* runtime/list.c -- reading a list of programs: where its tables lie, and the strings among the weights. */
#include <stdlib.h>
#include <string.h>

#include "runtime/internal.h"

/* No list of a real model comes near these; they bound what a session takes for frames. */
enum { MAX_SLOTS = 1 << 22, MAX_OBJECTS = 1 << 16 };

/* Advances over a table of n elements; false if it goes beyond `end`. */
static bool table(const unsigned char **at, const unsigned char *end, uint64_t n, size_t size, const void **out)
{
	const uint64_t bytes = (n * size + 7) & ~7ull; /* n has 32 bits */

	*out = *at;
	if (bytes > (uint64_t)(end - *at))
		return false;
	*at += bytes;
	return true;
}

static MlrtStatus read_body(Body *b, uint32_t number, const unsigned char **at, const unsigned char *end,
			    const Spaces *s, MlrtError *err)
{
	const unsigned char *start = *at;
	const void *t[7];

	if (!table(at, end, 1, sizeof(MlrtBody), &t[0]))
		return mlrt_damaged(err, s->variant->name, "program %u ends early", (unsigned)number);
	b->head = t[0];
	if (!table(at, end, b->head->nsteps, sizeof *b->step, &t[1]) ||
	    !table(at, end, b->head->nargs, sizeof *b->arg, &t[2]) ||
	    !table(at, end, b->head->nexprs, sizeof *b->expr, &t[3]) ||
	    !table(at, end, b->head->nbuffers, sizeof *b->buffer, &t[4]) ||
	    !table(at, end, b->head->nvalues, sizeof *b->value, &t[5]) ||
	    !table(at, end, b->head->nrefs, sizeof *b->ref, &t[6]) ||
	    b->head->bytes != (uint64_t)(*at - start))
		return mlrt_damaged(err, s->variant->name, "program %u of %llu bytes", (unsigned)number,
				    (unsigned long long)b->head->bytes);
	b->step = t[1];
	b->arg = t[2];
	b->expr = t[3];
	b->buffer = t[4];
	b->value = t[5];
	b->ref = t[6];
	return MLRT_OK;
}

static MlrtStatus check_strings(const List *l, const Spaces *s, MlrtError *err)
{
	for (uint32_t i = 0; i < l->head->nstrings; i++) {
		const MlrtStrings *t = &l->strings[i];

		if (t->offset > s->weights || t->count > (s->weights - t->offset) / sizeof(MlrtStringRef))
			return mlrt_damaged(err, s->variant->name, "%llu strings at %llu of %llu weight bytes",
					    (unsigned long long)t->count, (unsigned long long)t->offset,
					    (unsigned long long)s->weights);
		for (uint64_t k = 0; k < t->count; k++) {
			MlrtStringRef r;

			memcpy(&r, s->weight_data + t->offset + k * sizeof r, sizeof r);
			if (r.offset < 0 || r.n < 0 || (uint64_t)r.offset > s->weights ||
			    (uint64_t)r.n > s->weights - (uint64_t)r.offset)
				return mlrt_damaged(err, s->variant->name, "string %llu of table %u lies outside",
						    (unsigned long long)k, (unsigned)i);
		}
	}
	return MLRT_OK;
}

static MlrtStatus check_totals(const Program *p, const Spaces *s, MlrtError *err)
{
	const List *l = &p->list;
	uint64_t slots = 0, objects = 0, arena = 0;

	for (uint32_t i = 0; i < l->head->nprograms; i++) {
		const MlrtBody *h = l->body[i].head;

		slots += h->nslots;
		objects += h->nobjects;
		if (h->arena_bytes > INT64_MAX / 2 - arena)
			return mlrt_damaged(err, s->variant->name, "program %u needs %llu bytes", (unsigned)i,
					    (unsigned long long)h->arena_bytes);
		arena += h->arena_bytes;
	}
	if (slots > MAX_SLOTS || objects > MAX_OBJECTS)
		return mlrt_damaged(err, s->variant->name, "%llu sizes, %llu objects", (unsigned long long)slots,
				    (unsigned long long)objects);
	if (arena != l->head->arena_bytes || arena != s->variant->arena_bytes ||
	    l->head->scratch_bytes != s->variant->scratch_bytes)
		return mlrt_damaged(err, s->variant->name, "program and manifest state different memory sizes");
	if (l->head->scratch_bytes > INT64_MAX / (1 << 16))
		return mlrt_damaged(err, s->variant->name, "needs %llu bytes per thread",
				    (unsigned long long)l->head->scratch_bytes);
	return MLRT_OK;
}

/* How deep programs contain each other; they contain only later ones, see mlrt_steps_check(). */
static MlrtStatus check_nesting(const List *l, const Spaces *s, MlrtError *err)
{
	unsigned char *depth = calloc(l->head->nprograms, 1);
	MlrtStatus st = depth ? MLRT_OK : mlrt_no_memory(err);

	for (uint32_t i = 0; !st && i < l->head->nprograms; i++) {
		const Body *b = &l->body[i];

		for (uint32_t k = 0; !st && k < b->head->nsteps; k++) {
			const MlrtBodyStep *step = &b->step[k];
			const int n = step->kind == MLRT_STEP_IF ? 2 : step->kind == MLRT_STEP_LOOP ? 1 : 0;

			for (int q = 0; q < n; q++)
				if (depth[step->program[q]] <= depth[i])
					depth[step->program[q]] = depth[i] + 1;
		}
		if (depth[i] >= MLRT_MAX_NESTING)
			st = mlrt_damaged(err, s->variant->name, "program %u is nested too deep", (unsigned)i);
	}
	free(depth);
	return st;
}

static MlrtStatus read_bodies(Program *p, const unsigned char *at, const unsigned char *end, const Spaces *s,
			      MlrtError *err)
{
	List *l = &p->list;
	MlrtStatus st = MLRT_OK;

	l->body = calloc(l->head->nprograms, sizeof *l->body);
	if (!l->body)
		return mlrt_no_memory(err);
	for (uint32_t i = 0; !st && i < l->head->nprograms; i++) {
		st = read_body(&l->body[i], i, &at, end, s, err);
		if (!st) {
			l->body[i].first_step = p->nsteps;
			p->nsteps += l->body[i].head->nsteps;
		}
	}
	if (!st && at != end)
		st = mlrt_damaged(err, s->variant->name, "bytes behind the last program");
	return st;
}

MLRT_LOCAL MlrtStatus mlrt_list_read(Program *p, size_t bytes, const Spaces *s, MlrtError *err)
{
	const unsigned char *at = p->copy, *end = at + bytes;
	List *l = &p->list;
	const void *t;
	MlrtStatus st;

	if (!table(&at, end, 1, sizeof *l->head, &t))
		return mlrt_damaged(err, s->variant->name, "program of %zu bytes", bytes);
	l->head = t;
	if (l->head->bytes != bytes || l->head->reserved || l->head->nprograms == 0 ||
	    l->head->nprograms > MLRT_MAX_PROGRAMS ||
	    !table(&at, end, l->head->nstrings, sizeof *l->strings, &t))
		return mlrt_damaged(err, s->variant->name, "%u programs, %u tables of strings in %zu bytes",
				    (unsigned)l->head->nprograms, (unsigned)l->head->nstrings, bytes);
	l->strings = t;
	st = read_bodies(p, at, end, s, err);
	if (!st)
		st = check_totals(p, s, err);
	if (!st)
		st = check_strings(l, s, err);
	p->arena_bytes = l->head->arena_bytes;
	p->scratch_bytes = l->head->scratch_bytes;
	for (uint32_t i = 0; !st && i < l->head->nprograms; i++)
		st = mlrt_body_check(l, i, s, err);
	for (uint32_t i = 0; !st && i < l->head->nprograms; i++)
		st = mlrt_steps_check(l, i, s, err);
	return st ? st : check_nesting(l, s, err);
}
