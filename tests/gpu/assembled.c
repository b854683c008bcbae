/* tests/gpu/assembled.c -- kernels through NVIDIA's assembler, each of them once.
 *
 * A module has one kernel behind the other, and all global names of a kernel begin with that of its entry:
 * "k" and 16 hexadecimal digits (targets/ptx.c).  What the assembler says of an entry does not depend on the
 * others. */
#include "tests/gpu/assembled.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { SYMBOL = 17 /* characters */, FIRST_ROOM = 1 << 12 };

struct Fact {
	uint64_t hash; /* 0: none */
	unsigned registers, shared, stack, spilled;
};

typedef struct Part {
	const char *text;
	size_t n;
	char name[SYMBOL + 1];
	uint64_t hash;
} Part;

typedef struct Parts {
	Part *part;
	size_t n, head; /* head: bytes of the module before the first one */
} Parts;

/* -- facts ------------------------------------------------------------------------------------------ */

static Fact *place_of(const Assembled *x, uint64_t hash)
{
	size_t i = hash & (x->room - 1);

	while (x->fact[i].hash && x->fact[i].hash != hash)
		i = (i + 1) & (x->room - 1);
	return &x->fact[i];
}

static MloStatus remember(Assembled *x, const Fact *f, MloDiag *d)
{
	Assembled more = *x;

	if (x->n * 2 >= x->room) {
		more.room = x->room ? x->room * 2 : FIRST_ROOM;
		more.fact = calloc(more.room, sizeof *more.fact);
		if (!more.fact)
			return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
		for (size_t i = 0; i < x->room; i++)
			if (x->fact[i].hash)
				*place_of(&more, x->fact[i].hash) = x->fact[i];
		free(x->fact);
		*x = more;
	}
	x->n += !place_of(x, f->hash)->hash;
	*place_of(x, f->hash) = *f;
	return MLO_OK;
}

static MloStatus read_facts(Assembled *x, MloDiag *d)
{
	FILE *f = x->path ? fopen(x->path, "r") : NULL;
	MloStatus st = MLO_OK;
	unsigned long long hash;
	Fact fact;

	while (f && st == MLO_OK &&
	       fscanf(f, "%llx %u %u %u %u\n", &hash, &fact.registers, &fact.shared, &fact.stack,
		      &fact.spilled) == 5) {
		fact.hash = hash;
		st = remember(x, &fact, d);
	}
	if (f && st == MLO_OK && !feof(f))
		st = mlo_error(d, MLO_ERR_IO, "'%s' is not a list of kernels", x->path);
	if (f)
		fclose(f);
	return st;
}

/* Several processes may do that at a time: a line is written at once. */
static void write_fact(const Assembled *x, const Fact *fact)
{
	FILE *f = x->path ? fopen(x->path, "a") : NULL;

	if (!f)
		return;
	fprintf(f, "%016llx %u %u %u %u\n", (unsigned long long)fact->hash, fact->registers, fact->shared,
		fact->stack, fact->spilled);
	fclose(f);
}

MloStatus assembled_open(Assembled *x, const char *path, MloDiag *d)
{
	MloBytes said;

	*x = (Assembled){.path = path && *path ? path : NULL};
	MLO_TRY(mlo_ptxas_version(&said, d));
	x->version = XXH3_64bits(said.data, said.n);
	free(said.data);
	return read_facts(x, d);
}

void assembled_close(Assembled *x)
{
	free(x->fact);
}

/* -- the parts of a module --------------------------------------------------------------------------- */

/* The first name of a kernel in n characters, or NULL. */
static const char *symbol_in(const char *at, size_t n)
{
	for (size_t i = 0; i + SYMBOL <= n; i++) {
		size_t digits = 0;

		if (at[i] != 'k' || (i && (isalnum((unsigned char)at[i - 1]) || at[i - 1] == '_')))
			continue;
		while (digits < SYMBOL - 1 && isxdigit((unsigned char)at[i + 1 + digits]))
			digits++;
		if (digits == SYMBOL - 1)
			return at + i;
	}
	return NULL;
}

/* Of its text without its names, of the directives that the module begins with, and of the assembler. */
static uint64_t hash_of(const Assembled *x, const char *head, size_t nhead, const Part *p)
{
	XXH3_state_t *s = XXH3_createState();
	const char *at = p->text, *end = p->text + p->n, *name;
	uint64_t hash;

	if (!s)
		return 0;
	XXH3_64bits_reset_withSeed(s, x->version);
	XXH3_64bits_update(s, head, nhead);
	for (; (name = memmem(at, (size_t)(end - at), p->name, SYMBOL)) != NULL; at = name + SYMBOL)
		XXH3_64bits_update(s, at, (size_t)(name - at) + 1); /* with the "k" */
	XXH3_64bits_update(s, at, (size_t)(end - at));
	hash = XXH3_64bits_digest(s);
	XXH3_freeState(s);
	return hash;
}

/* A kernel begins with the first line that has its name. */
static MloStatus split(const Assembled *x, const MloBytes *module, Parts *out, MloDiag *d)
{
	const char *text = (const char *)module->data, *end = text + module->n - 1; /* without its NUL */
	Part *p = NULL;

	for (const char *line = text, *next; line < end; line = next) {
		const char *stop = memchr(line, '\n', (size_t)(end - line)), *name;

		next = stop ? stop + 1 : end;
		name = symbol_in(line, (size_t)(next - line));
		if (name && (!p || memcmp(p->name, name, SYMBOL) != 0)) {
			Part *more = realloc(out->part, (out->n + 1) * sizeof *more);

			if (!more)
				return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
			out->part = more;
			p = &more[out->n++];
			*p = (Part){.text = line};
			memcpy(p->name, name, SYMBOL);
		}
		if (p)
			p->n = (size_t)(next - p->text);
		else
			out->head = (size_t)(next - text);
	}
	for (size_t i = 0; i < out->n; i++)
		out->part[i].hash = hash_of(x, text, out->head, &out->part[i]);
	return MLO_OK;
}

/* -- the assembler ----------------------------------------------------------------------------------- */

/* A module of those parts that nothing is known of; n of them. */
static MloStatus join_new(const Assembled *x, const MloBytes *module, const Parts *parts, MloBytes *out,
			  size_t *n, MloDiag *d)
{
	*n = 0;
	*out = (MloBytes){malloc(module->n), parts->head};
	if (!out->data)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	memcpy(out->data, module->data, parts->head);
	for (size_t i = 0; i < parts->n; i++) {
		const Part *p = &parts->part[i];

		if (x->room && place_of(x, p->hash)->hash)
			continue;
		memcpy(out->data + out->n, p->text, p->n);
		out->n += p->n;
		++*n;
	}
	out->data[out->n++] = 0;
	return MLO_OK;
}

static MloStatus take(Assembled *x, const Parts *parts, const MloPtxasEntry *e, MloDiag *d)
{
	for (size_t i = 0; i < parts->n; i++) {
		const Fact fact = {parts->part[i].hash, e->registers, e->shared, e->stack, e->spilled};

		if (strcmp(parts->part[i].name, e->name))
			continue;
		write_fact(x, &fact);
		x->ran++;
		return remember(x, &fact, d);
	}
	return mlo_error(d, MLO_ERR_TARGET, "ptxas says of an entry '%s', which is the name of no kernel",
			 e->name);
}

static MloStatus run(Assembled *x, const MloTarget *t, const Parts *parts, const MloBytes *fresh, MloDiag *d)
{
	MloBytes said = {0};
	MloPtxasEntry e;
	const char *at;
	MloStatus st;

	MLO_TRY(mlo_ptxas(t, fresh, NULL, &said, d));
	at = (const char *)said.data;
	for (st = MLO_OK; st == MLO_OK && mlo_ptxas_next(&at, &e);)
		st = take(x, parts, &e, d);
	free(said.data);
	return st;
}

static MloStatus tell(const Assembled *x, const Parts *parts,
		      void (*each)(void *user, const MloPtxasEntry *e), void *user, MloDiag *d)
{
	for (size_t i = 0; i < parts->n; i++) {
		const Part *p = &parts->part[i];
		const Fact *f = x->room ? place_of(x, p->hash) : NULL;
		MloPtxasEntry e = {.name = ""};

		if (!f || !f->hash)
			return mlo_error(d, MLO_ERR_TARGET, "ptxas says nothing of the kernel '%s'", p->name);
		memcpy(e.name, p->name, sizeof p->name);
		e.registers = f->registers;
		e.shared = f->shared;
		e.stack = f->stack;
		e.spilled = f->spilled;
		each(user, &e);
	}
	return MLO_OK;
}

MloStatus assembled_module(Assembled *x, const MloTarget *t, const MloBytes *module,
			   void (*each)(void *user, const MloPtxasEntry *e), void *user, MloDiag *d)
{
	Parts parts = {0};
	MloBytes fresh = {0};
	size_t n;
	MloStatus st = split(x, module, &parts, d);

	if (st == MLO_OK)
		st = join_new(x, module, &parts, &fresh, &n, d);
	if (st == MLO_OK && n)
		st = run(x, t, &parts, &fresh, d);
	if (st == MLO_OK)
		st = tell(x, &parts, each, user, d);
	free(fresh.data);
	free(parts.part);
	return st;
}
