/* tests/ptx/parse.c -- PTX text: directives, variables and functions. Statements: statement.c. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ptx/lex.h"
#include "tests/ptx/memory.h"
#include "tests/ptx/parse.h"

static const struct {
	const char *name;
	uint8_t bytes;
	char kind;
} types[PTX_NTYPES] = {{"none", 0, 0},
#define X(name, text, bytes, kind) {text, bytes, kind},
		       PTX_TYPES(X)
#undef X
};

unsigned ptx_type_bytes(PtxType t)
{
	return types[t].bytes;
}

char ptx_type_kind(PtxType t)
{
	return types[t].kind;
}

const char *ptx_type_name(PtxType t)
{
	return types[t].name;
}

PtxType ptx_type_named(const char *text)
{
	for (PtxType t = 1; t < PTX_NTYPES; t++)
		if (!strcmp(types[t].name, text))
			return t;
	return PTX_NOTYPE;
}

/* -- memory and errors -- */

void *ptx_alloc(PtxModule *m, size_t bytes)
{
	void *at;

	bytes = (bytes + 15) & ~(size_t)15;
	if (bytes > m->left) {
		const size_t room = bytes > 65536 ? bytes : 65536;
		PtxBlockMem *b = calloc(1, sizeof(PtxBlockMem) + 16 + room);

		if (!b)
			abort();
		b->next = m->blocks;
		m->blocks = b;
		m->free = (char *)b + 16;
		m->left = room;
	}
	at = m->free;
	m->free += bytes;
	m->left -= bytes;
	return at;
}

void ptx_fail(PtxParse *p, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->m->error, sizeof p->m->error, format, args);
	va_end(args);
	p->m->error_line = p->line;
	longjmp(p->fail, 1);
}

/* -- names -- */

static unsigned hash(const char *s)
{
	unsigned h = 2166136261u;

	while (*s)
		h = (h ^ (unsigned char)*s++) * 16777619u;
	return h % PTX_HASH;
}

static PtxSymbol *find(PtxParse *p, const char *name)
{
	for (PtxSymbol *s = p->names[hash(name)]; s; s = s->chain)
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}

PtxSymbol *ptx_lookup(PtxParse *p, const char *name)
{
	return find(p, name);
}

PtxSymbol *ptx_declare(PtxParse *p, const char *name, PtxSymbolKind kind)
{
	PtxSymbol *s = ptx_alloc(p->m, sizeof *s);
	const unsigned h = hash(name);

	s->name = name;
	s->kind = kind;
	s->chain = p->names[h];
	p->names[h] = s;
	if (p->scope) {
		s->scope = p->scope->symbols;
		p->scope->symbols = s;
	}
	return s;
}

void ptx_open_scope(PtxParse *p)
{
	PtxScope *s = ptx_alloc(p->m, sizeof *s);

	s->up = p->scope;
	p->scope = s;
}

/* Branches of the scope are given their labels; those to labels of scopes around it go there. */
static void resolve(PtxParse *p, PtxScope *s)
{
	for (PtxFix *x = s->fixes, *next; x; x = next) {
		PtxLabel *l = s->labels;

		next = x->next;
		while (l && strcmp(l->name, x->label))
			l = l->next;
		if (l) {
			PtxInst *i = &p->func->code[x->inst];

			/* while code may move, targets are numbers */
			if (x->target == UINT32_MAX)
				i->imm = l->at;
			else
				((uintptr_t *)(void *)i->targets)[x->target] = l->at;
		} else if (s->up && s->up->up) {
			x->next = s->up->fixes;
			s->up->fixes = x;
		} else {
			p->line = x->line;
			ptx_fail(p, "no label %s", x->label);
		}
	}
}

void ptx_close_scope(PtxParse *p)
{
	PtxScope *s = p->scope;

	if (p->func)
		resolve(p, s);
	for (PtxSymbol *y = s->symbols; y; y = y->scope) {
		PtxSymbol **at = &p->names[hash(y->name)];

		while (*at !=
		       y) /* names of outer scopes may have been added meanwhile: a function's, from inside of it */
			at = &(*at)->chain;
		*at = y->chain;
	}
	p->scope = s->up;
}

void ptx_add_fix(PtxParse *p, const char *label, uint32_t inst, uint32_t target)
{
	PtxFix *x = ptx_alloc(p->m, sizeof *x);

	x->label = label;
	x->inst = inst;
	x->target = target;
	x->line = p->line;
	x->next = p->scope->fixes;
	p->scope->fixes = x;
}

/* -- slots -- */

int32_t ptx_new_slot(PtxParse *p, uint32_t bytes)
{
	PtxFunc *f = p->func;
	const uint32_t room = (bytes * PTX_LANES + 63) & ~63u;
	int32_t slot;

	f->nregs[bytes <= 1 ? 0 : bytes <= 2 ? 1 : bytes <= 4 ? 2 : 3]++;
	if (f->entry) {
		slot = (int32_t)f->file_bytes;
		f->file_bytes += room;
	} else {
		p->m->device_bytes += (int32_t)room;
		slot = -p->m->device_bytes;
	}
	return slot;
}

int32_t ptx_const(PtxParse *p, uint64_t value, uint32_t bytes, const PtxSymbol *shared)
{
	PtxFunc *f = p->func;
	PtxConst *c;

	if (bytes < 8)
		value &= (UINT64_C(1) << 8 * bytes) - 1;
	for (uint32_t k = 0; k < f->nconsts; k++) {
		c = &f->consts[k];
		if (c->value == value && c->bytes == bytes && c->shared == shared)
			return c->slot;
	}
	if (f->nconsts == f->consts_room) {
		PtxConst *more = ptx_alloc(p->m, sizeof *more * (2 * f->consts_room + 16));

		if (f->nconsts)
			memcpy(more, f->consts, sizeof *more * f->nconsts);
		f->consts = more;
		f->consts_room = 2 * f->consts_room + 16;
	}
	c = &f->consts[f->nconsts++];
	c->value = value;
	c->bytes = (uint8_t)bytes;
	c->shared = shared;
	c->slot = ptx_new_slot(p, bytes);
	return c->slot;
}

/* -- variables -- */

/* One initial value: a number, or the address of a variable. */
static uint64_t initial(PtxParse *p, PtxType t)
{
	uint64_t value = 0;

	if (ptx_at_word(p)) {
		const bool generic = ptx_accept_word(p, "generic");
		PtxSymbol *s;

		if (generic)
			ptx_expect(p, '(');
		s = ptx_lookup(p, ptx_word(p));
		if (!s || s->kind != PTX_SYM_VAR)
			ptx_fail(p, "initial values are numbers or variables declared before");
		if (generic)
			ptx_expect(p, ')');
		value = s->address;
		if (ptx_accept(p, '+'))
			value += (uint64_t)ptx_integer(p);
	} else {
		const PtxNumber n = ptx_number(p);

		value = (uint64_t)n.bits;
		if (t == PTX_F32 && n.is_float && !n.is_f32) {
			double d;
			float f;

			memcpy(&d, &value, sizeof d);
			f = (float)d;
			memcpy(&value, &f, sizeof f);
		}
		if (ptx_accept(p, '(')) { /* mask(name): some bytes of an address */
			const uint64_t mask = value;
			const PtxSymbol *s;

			(void)ptx_accept_word(p, "generic");
			s = ptx_lookup(p, ptx_word(p));
			if (!s)
				ptx_fail(p, "unknown variable in an initial value");
			ptx_expect(p, ')');
			value = (s->address & mask) >> (mask ? __builtin_ctzll(mask) : 0);
		}
	}
	return value;
}

static void initialise(PtxParse *p, const PtxSymbol *s, PtxType t)
{
	const unsigned bytes = ptx_type_bytes(t);
	uint8_t *host = ptx_memory_host(s->address);
	uint64_t at = 0;
	unsigned depth = 0;

	do {
		while (ptx_accept(p, '{'))
			depth++;
		if (!ptx_accept(p, '}')) {
			const uint64_t v = initial(p, t);

			if (at + bytes > s->size)
				ptx_fail(p, "too many initial values for %s", s->name);
			memcpy(host + at, &v, bytes);
			at += bytes;
		} else {
			depth--;
		}
		while (depth && ptx_accept(p, '}'))
			depth--;
	} while (ptx_accept(p, ','));
	if (depth)
		ptx_fail(p, "'}' expected");
}

static void add_device_var(PtxParse *p, PtxSymbol *s)
{
	PtxModule *m = p->m;
	uint64_t *more;

	if (s->align < 256)
		s->align = 256;
	if (ptx_memory_alloc(s->size ? s->size : 1, s->space == PTX_CONST ? PTX_MEMORY_CONST : PTX_MEMORY_MODULE,
			     &s->address))
		ptx_fail(p, "no device memory for %s of %llu bytes", s->name, (unsigned long long)s->size);
	more = ptx_alloc(m, sizeof *more * (m->nvars + 1));
	if (m->nvars)
		memcpy(more, m->vars, sizeof *more * m->nvars);
	more[m->nvars++] = s->address;
	m->vars = more;
	memset(ptx_memory_host(s->address), 0, s->size);
}

static PtxType type_here(PtxParse *p, unsigned *vector)
{
	const char *t = ptx_dotted(p);
	PtxType type;

	*vector = 1;
	if (t && (!strcmp(t, "v2") || !strcmp(t, "v4"))) {
		*vector = (unsigned)(t[1] - '0');
		ptx_space(p);
		t = ptx_dotted(p);
	}
	type = t ? ptx_type_named(t) : PTX_NOTYPE;
	if (!type)
		ptx_fail(p, "a type expected, not .%s", t ? t : "");
	return type;
}

/* Alignment, type, name and dimensions; what is left: initial values, or the next name. */
PtxSymbol *ptx_variable(PtxParse *p, PtxSpace space, bool external, PtxType *type)
{
	uint32_t align = 0;
	unsigned vector;
	PtxSymbol *s;
	uint64_t count = 1;
	bool open = false;

	ptx_space(p);
	while (ptx_accept_word(p, ".align")) {
		align = (uint32_t)ptx_integer(p);
		ptx_space(p);
	}
	*type = type_here(p, &vector);
	ptx_space(p);
	while (*p->p == '.') { /* what pointer parameters say of themselves */
		const char *word = ptx_dotted(p);

		if (!strcmp(word, "align"))
			(void)ptx_integer(p);
		else if (strcmp(word, "ptr") && strcmp(word, "global") && strcmp(word, "shared") &&
			 strcmp(word, "const") && strcmp(word, "local"))
			ptx_fail(p, "unexpected .%s", word);
		ptx_space(p);
	}
	s = ptx_declare(p, ptx_word(p), PTX_SYM_VAR);
	while (ptx_accept(p, '[')) {
		if (ptx_accept(p, ']')) {
			open = true;
			continue;
		}
		count *= (uint64_t)ptx_integer(p);
		ptx_expect(p, ']');
	}
	s->space = space;
	s->type = *type;
	s->align = align ? align : ptx_type_bytes(*type) * vector;
	s->size = open ? 0 : count * ptx_type_bytes(*type) * vector;
	s->external = external;
	s->dynamic = open && space == PTX_SHARED;
	return s;
}

static void module_variable(PtxParse *p, PtxSpace space, bool external)
{
	PtxType type;
	PtxSymbol *s = ptx_variable(p, space, external, &type);

	if (space == PTX_SHARED) {
		ptx_expect(p, ';');
		return;
	}
	if (external)
		ptx_fail(p, "no definition of %s in this module", s->name);
	/* an open dimension is given by its values: counted by their commas */
	if (!s->size && ptx_accept(p, '=')) {
		uint64_t n = 1;

		for (const char *c = p->p; *c && *c != ';'; c++)
			n += *c == ',';
		s->size = n * ptx_type_bytes(type);
		add_device_var(p, s);
		initialise(p, s, type);
	} else {
		add_device_var(p, s);
		if (ptx_accept(p, '='))
			initialise(p, s, type);
	}
	ptx_expect(p, ';');
}

/* -- functions -- */

static void param_list(PtxParse *p, PtxFunc *f, bool results)
{
	PtxSymbol *list[256];
	uint32_t n = 0, at = 0;

	if (!ptx_accept(p, '('))
		return;
	while (!ptx_accept(p, ')')) {
		PtxSymbol *s;
		PtxType type;

		if (n == 256)
			ptx_fail(p, "more than 256 parameters");
		if (ptx_accept_word(p, ".reg")) {
			s = ptx_variable(p, PTX_REG, false, &type);
			s->kind = PTX_SYM_REG;
			s->slot = ptx_new_slot(p, ptx_type_bytes(type));
			s->stride = ptx_type_bytes(type);
		} else if (ptx_accept_word(p, ".param")) {
			s = ptx_variable(p, PTX_PARAM, false, &type);
			at = (at + s->align - 1) & ~(s->align - 1);
			s->address = at;
			at += (uint32_t)s->size;
			if (!f->entry)
				ptx_place_param(p, s);
		} else {
			ptx_fail(p, "a parameter expected before '%.20s'", p->p);
		}
		list[n++] = s;
		ptx_accept(p, ',');
	}
	*(results ? &f->nresults : &f->nparams) = n;
	*(results ? &f->results : &f->params) = memcpy(ptx_alloc(p->m, sizeof *list * n), list, sizeof *list * n);
	if (!results)
		f->param_bytes = at;
}

/* Parameters of device functions and calls lie in the file. */
void ptx_place_param(PtxParse *p, PtxSymbol *s)
{
	s->in_file = true;
	s->stride = (uint32_t)((s->size + 7) & ~UINT64_C(7));
	if (s->align > 8)
		s->stride = (s->stride + s->align - 1) & ~(s->align - 1);
	s->slot = ptx_new_slot(p, s->stride);
}

static void tuning(PtxParse *p, PtxFunc *f)
{
	uint32_t *n = f->req_threads;

	for (;;) {
		if (ptx_accept_word(p, ".maxntid")) {
			f->max_threads = (uint32_t)ptx_integer(p);
			while (ptx_accept(p, ','))
				f->max_threads *= (uint32_t)ptx_integer(p);
		} else if (ptx_accept_word(p, ".reqntid")) {
			n[0] = (uint32_t)ptx_integer(p);
			n[1] = ptx_accept(p, ',') ? (uint32_t)ptx_integer(p) : 1;
			n[2] = ptx_accept(p, ',') ? (uint32_t)ptx_integer(p) : 1;
		} else if (ptx_accept_word(p, ".minnctapersm") || ptx_accept_word(p, ".maxnreg") ||
			   ptx_accept_word(p, ".maxnctapersm")) {
			(void)ptx_integer(p);
		} else if (ptx_accept_word(p, ".pragma")) {
			ptx_skip_to(p, ';');
		} else if (!ptx_accept_word(p, ".noreturn")) {
			return;
		}
	}
}

enum { SPECIAL_BYTES = 8192 }; /* room for special registers at the beginning of each file */

static PtxFunc *function(PtxParse *p, bool entry)
{
	PtxFunc *f = ptx_alloc(p->m, sizeof *f), *old = NULL;
	PtxSymbol *s;

	f->entry = entry;
	f->module = p->m;
	f->file_bytes = SPECIAL_BYTES;
	p->func = f;
	/* the name is known outside, its parameters inside: declared first, in the scope of the module */
	ptx_open_scope(p);
	if (!entry)
		param_list(p, f, true);
	f->name = ptx_word(p);
	s = ptx_lookup(p, f->name);
	if (s && (s->kind != PTX_SYM_FUNC || s->func->entry))
		ptx_fail(p, "%s is declared twice", f->name);
	if (s)
		old = s->func;
	param_list(p, f, false);
	tuning(p, f);
	if (ptx_accept(p, '{')) {
		PtxScope *module_scope = p->scope->up, *own = p->scope;

		f->defined = true;
		if (old && old->defined)
			ptx_fail(p, "%s is defined twice", f->name);
		if (!s) {
			p->scope = module_scope;
			s = ptx_declare(p, f->name, PTX_SYM_FUNC);
			p->scope = own;
		}
		if (old) { /* calls that were decoded know the declaration: it becomes the function */
			f->next = old->next;
			*old = *f;
			f = p->func = old;
		} else {
			f->next = p->m->funcs;
			p->m->funcs = f;
		}
		s->func = f;
		ptx_body(p);
		ptx_close_scope(p);
		ptx_func_flow(p, f);
		ptx_func_watch(p, f);
	} else {
		ptx_expect(p, ';');
		ptx_close_scope(p);
		if (!s) {
			s = ptx_declare(p, f->name, PTX_SYM_FUNC);
			s->func = f;
			f->next = p->m->funcs;
			p->m->funcs = f;
		}
	}
	p->func = NULL;
	return f;
}

/* -- the module -- */

static void target(PtxParse *p)
{
	ptx_space(p);
	if (strncmp(p->p, "sm_", 3))
		ptx_fail(p, "unknown target '%.12s'", p->p);
	p->p += 3;
	p->m->sm = (int)ptx_integer(p);
	p->m->exact = ptx_accept_word(p, "a");
	if (p->m->exact && p->m->version < 80)
		ptx_fail(p, "PTX .version %d.%d does not support .target sm_%da", p->m->version / 10,
			 p->m->version % 10, p->m->sm);
	while (ptx_accept(p, ','))
		(void)ptx_word(p);
}

/* .version 8.5: read as two whole numbers. */
static void version(PtxParse *p)
{
	char *end;

	if (!ptx_accept_word(p, ".version"))
		ptx_fail(p, "a module begins with .version");
	ptx_space(p);
	p->m->version = 10 * (int)strtol(p->p, &end, 10);
	if (*end != '.')
		ptx_fail(p, "a version is two numbers");
	p->m->version += (int)strtol(end + 1, &end, 10);
	p->p = end;
}

static void top(PtxParse *p)
{
	static const struct {
		const char *name;
		PtxSpace space;
	} spaces[] = {{".global", PTX_GLOBAL}, {".const", PTX_CONST}, {".shared", PTX_SHARED}};
	bool external = false;

	if (ptx_accept_word(p, ".file") || ptx_accept_word(p, ".loc")) {
		while (*p->p && *p->p != '\n')
			p->p++;
		return;
	}
	if (ptx_accept_word(p, ".section")) {
		ptx_skip_to(p, '{');
		ptx_skip_to(p, '}');
		return;
	}
	if (ptx_accept_word(p, ".pragma")) {
		ptx_skip_to(p, ';');
		return;
	}
	if (ptx_accept_word(p, ".extern"))
		external = true;
	else if (!ptx_accept_word(p, ".visible") && !ptx_accept_word(p, ".weak"))
		(void)ptx_accept_word(p, ".common");
	for (unsigned k = 0; k < sizeof spaces / sizeof *spaces; k++)
		if (ptx_accept_word(p, spaces[k].name)) {
			module_variable(p, spaces[k].space, external);
			return;
		}
	if (ptx_accept_word(p, ".entry"))
		function(p, true);
	else if (ptx_accept_word(p, ".func")) {
		(void)ptx_accept_word(p, ".noreturn");
		function(p, false);
	} else
		ptx_fail(p, "unexpected '%.20s'", p->p);
}

/* What every device bounds. */
static void check_sizes(PtxParse *p, const PtxFunc *f)
{
	const uint32_t params = p->m->version >= 81 ? 32764 : 4352;

	if (f->param_bytes > params)
		ptx_fail(p, "%s has %u bytes of parameters, at most %u are possible", f->name, f->param_bytes, params);
	if (f->shared_bytes > 49152)
		ptx_fail(p, "%s uses too much shared data (%u bytes, 49152 max)", f->name, f->shared_bytes);
}

static void read_module(PtxParse *p)
{
	version(p);
	if (!ptx_accept_word(p, ".target"))
		ptx_fail(p, ".target expected");
	target(p);
	if (ptx_accept_word(p, ".address_size") && ptx_integer(p) != 64)
		ptx_fail(p, "only addresses of 64 bits are supported");
	ptx_space(p);
	while (*p->p) {
		top(p);
		ptx_space(p);
	}
	ptx_link_calls(p);
	for (PtxFunc *f = p->m->funcs; f; f = f->next)
		if (f->entry) {
			ptx_func_finish(p->m, f);
			check_sizes(p, f);
		}
}

bool ptx_module_load(PtxModule *m, const char *text)
{
	PtxParse *p = calloc(1, sizeof *p);
	bool good = false;

	if (!p)
		abort();
	p->m = m;
	p->p = text;
	p->line = 1;
	if (!setjmp(p->fail)) {
		ptx_open_scope(p);
		ptx_special_slots(p);
		read_module(p);
		good = true;
	}
	free(p);
	return good;
}

void ptx_module_free(PtxModule *m)
{
	for (uint32_t k = 0; k < m->nvars; k++)
		ptx_memory_free(m->vars[k]);
	for (PtxBlockMem *b = m->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	memset(m, 0, sizeof *m);
}

PtxFunc *ptx_module_entry(const PtxModule *m, const char *name)
{
	for (PtxFunc *f = m->funcs; f; f = f->next)
		if (f->entry && !strcmp(f->name, name))
			return f;
	return NULL;
}
