/* tests/ptx/statement.c -- what is in functions: declarations, labels, instructions and their operands. */
#include <stdlib.h>
#include <string.h>

#include "tests/ptx/exec.h"
#include "tests/ptx/lex.h"
#include "tests/ptx/parse.h"

/* Bytes of a register's values; predicates: 1. */
static unsigned register_bytes(PtxType t)
{
	const unsigned n = ptx_type_bytes(t);

	return n == 1 && ptx_type_kind(t) != 'p' ? 2 : n;
}

static void declare_registers(PtxParse *p)
{
	const char *t;
	PtxType type;

	ptx_space(p);
	t = ptx_dotted(p);
	type = t ? ptx_type_named(t) : PTX_NOTYPE;
	if (!type)
		ptx_fail(p, "registers of type .%s", t ? t : "");
	do {
		PtxSymbol *s = ptx_declare(p, ptx_word(p), PTX_SYM_REG);

		s->type = type;
		if (ptx_accept(p, '<')) {
			const int64_t count = ptx_integer(p);

			if (count < 1 || count > 1 << 20)
				ptx_fail(p, "%lld registers", (long long)count);
			s->count = (uint32_t)count;
			s->slots = ptx_alloc(p->m, sizeof *s->slots * (s->count + 1));
			ptx_expect(p, '>');
		}
	} while (ptx_accept(p, ','));
	ptx_expect(p, ';');
}

static void declare_variable(PtxParse *p, PtxSpace space)
{
	PtxType type;
	PtxSymbol *s = ptx_variable(p, space, false, &type);
	PtxFunc *f = p->func;

	if (s->size > 1 << 24)
		ptx_fail(p, "%s has %llu bytes", s->name, (unsigned long long)s->size);
	if (space == PTX_LOCAL) {
		uint32_t *bytes = f->entry ? &f->local_bytes : &p->m->device_local;

		*bytes = (*bytes + s->align - 1) & ~(s->align - 1);
		s->address = *bytes + (f->entry ? 0 : PTX_LOCAL_DEVICE);
		*bytes += (uint32_t)s->size;
	} else if (space == PTX_PARAM) {
		ptx_place_param(p, s);
	} else if (space != PTX_SHARED) {
		ptx_fail(p, "variables of this space belong outside of functions");
	}
	ptx_expect(p, ';');
}

/* A register by name: of a range, or alone; NULL: there is none. */
static bool find_register(PtxParse *p, const char *name, PtxOperand *o)
{
	PtxSymbol *s = ptx_lookup(p, name);
	int32_t *slot;
	size_t n = strlen(name), base = n;

	if (s && s->kind == PTX_SYM_REG && !s->count) {
		slot = &s->slot;
	} else if (s) {
		return false;
	} else {
		char *prefix;
		unsigned long k;

		while (base > 1 && name[base - 1] >= '0' && name[base - 1] <= '9')
			base--;
		if (base == n)
			return false;
		prefix = ptx_text(p, name, base);
		s = ptx_lookup(p, prefix);
		k = strtoul(name + base, NULL, 10);
		if (!s || s->kind != PTX_SYM_REG || k >= s->count)
			return false;
		slot = &s->slots[k];
	}
	if (!*slot)
		*slot = ptx_new_slot(p, register_bytes(s->type));
	o->kind = PTX_OP_REG;
	o->type = s->type;
	o->slot = *slot;
	return true;
}

static void word_operand(PtxParse *p, PtxOperand *o)
{
	const char *name = ptx_word(p);
	PtxSymbol *s;

	if (!strcmp(name, "_")) {
		o->kind = PTX_OP_SINK;
		return;
	}
	if (find_register(p, name, o))
		return;
	s = ptx_lookup(p, name);
	if (!s) {
		o->kind = PTX_OP_LABEL;
		o->label = name;
		return;
	}
	o->sym = s;
	if (s->kind == PTX_SYM_SPECIAL) {
		o->kind = PTX_OP_REG;
		o->type = s->type;
		o->slot = s->slot;
	} else {
		o->kind = PTX_OP_SYMBOL;
		o->label = name;
		if (s->kind == PTX_SYM_VAR && ptx_accept(p, '+'))
			o->value = ptx_integer(p);
	}
}

static PtxOperand operand(PtxParse *p);

static void address_operand(PtxParse *p, PtxOperand *o)
{
	PtxOperand base = {0};

	if (ptx_at_number(p)) {
		base.kind = PTX_OP_IMM;
		base.value = ptx_integer(p);
	} else {
		word_operand(p, &base);
		if (base.kind == PTX_OP_LABEL)
			ptx_fail(p, "unknown name %s in an address", base.label);
		if (ptx_accept(p, '+'))
			base.value += ptx_integer(p);
		else if (ptx_at_number(p)) /* name-4 */
			base.value += ptx_integer(p);
	}
	ptx_expect(p, ']');
	*o = base;
	o->kind = PTX_OP_ADDRESS;
}

static PtxOperand operand(PtxParse *p)
{
	PtxOperand o = {0};

	if (ptx_accept(p, '[')) {
		address_operand(p, &o);
	} else if (ptx_accept(p, '{')) {
		PtxStmt *s = &p->stmt;

		o.kind = PTX_OP_VECTOR;
		o.first = (uint8_t)s->nparts;
		while (!ptx_accept(p, '}')) {
			if (s->nparts == sizeof s->parts / sizeof *s->parts)
				ptx_fail(p, "too many elements of vectors");
			s->parts[s->nparts] = operand(p);
			if (s->parts[s->nparts].kind == PTX_OP_VECTOR)
				ptx_fail(p, "vectors of vectors");
			s->nparts++;
			o.count++;
			ptx_accept(p, ',');
		}
	} else if (ptx_accept(p, '!')) {
		word_operand(p, &o);
		o.negated = true;
	} else if (ptx_at_number(p)) {
		const PtxNumber n = ptx_number(p);

		o.kind = PTX_OP_IMM;
		o.value = n.bits;
		o.is_float = n.is_float;
		o.is_f32 = n.is_f32;
	} else {
		word_operand(p, &o);
	}
	return o;
}

static void add_operand(PtxParse *p, PtxOperand o)
{
	PtxStmt *s = &p->stmt;

	if (s->nops == PTX_MAX_OPERANDS)
		ptx_fail(p, "too many operands");
	s->ops[s->nops++] = o;
}

/* A list in parentheses, of a call: becomes one operand, a vector. */
static void call_list(PtxParse *p)
{
	PtxOperand o = {.kind = PTX_OP_VECTOR, .first = (uint8_t)p->stmt.nparts};

	while (!ptx_accept(p, ')')) {
		if (p->stmt.nparts == sizeof p->stmt.parts / sizeof *p->stmt.parts)
			ptx_fail(p, "too many arguments");
		p->stmt.parts[p->stmt.nparts++] = operand(p);
		o.count++;
		ptx_accept(p, ',');
	}
	add_operand(p, o);
}

static void instruction(PtxParse *p, const char *op)
{
	PtxStmt *s = &p->stmt;
	const char *mod, *from = p->p - strlen(op);
	int32_t guard = 0;
	bool guard_not = false;

	memset(s, 0, offsetof(PtxStmt, parts));
	s->nops = s->nparts = 0;
	s->line = p->line;
	if (*op == '@') {
		PtxOperand o = {0};

		guard_not = ptx_accept(p, '!');
		word_operand(p, &o);
		if (o.kind != PTX_OP_REG || o.type != PTX_PRED)
			ptx_fail(p, "a predicate expected behind '@'");
		guard = o.slot;
		ptx_space(p);
		from = p->p;
		op = ptx_word(p);
	}
	s->op = op;
	while ((mod = ptx_dotted(p))) {
		if (s->nmods == PTX_MAX_MODS)
			ptx_fail(p, "too many modifiers");
		s->mods[s->nmods++] = mod;
	}
	s->text = ptx_text(p, from, (size_t)(p->p - from));
	while (!ptx_accept(p, ';')) {
		PtxOperand o;

		if (!*p->p)
			ptx_fail(p, "';' expected");
		if (ptx_accept(p, '(')) {
			call_list(p);
			ptx_accept(p, ',');
			continue;
		}
		o = operand(p);
		o.pair = ptx_accept(p, '|');
		add_operand(p, o);
		if (!o.pair && !ptx_accept(p, ',')) {
			ptx_expect(p, ';');
			break;
		}
	}
	ptx_decode(p, guard, guard_not);
}

static void label(PtxParse *p, const char *name)
{
	PtxLabel *l = ptx_alloc(p->m, sizeof *l);

	l->name = name;
	l->at = p->func->ncode;
	l->next = p->scope->labels;
	p->scope->labels = l;
	if (ptx_accept_word(p, ".branchtargets")) {
		const char *targets[1024];

		do {
			if (l->ntargets == 1024)
				ptx_fail(p, "more than 1024 targets");
			targets[l->ntargets++] = ptx_word(p);
		} while (ptx_accept(p, ','));
		ptx_expect(p, ';');
		l->targets =
			memcpy(ptx_alloc(p->m, sizeof *targets * l->ntargets), targets, sizeof *targets * l->ntargets);
	} else if (ptx_accept_word(p, ".callprototype") || ptx_accept_word(p, ".calltargets")) {
		ptx_skip_to(p, ';');
	}
}

static bool directive(PtxParse *p)
{
	if (ptx_accept_word(p, ".reg"))
		declare_registers(p);
	else if (ptx_accept_word(p, ".local"))
		declare_variable(p, PTX_LOCAL);
	else if (ptx_accept_word(p, ".shared"))
		declare_variable(p, PTX_SHARED);
	else if (ptx_accept_word(p, ".param"))
		declare_variable(p, PTX_PARAM);
	else if (ptx_accept_word(p, ".pragma"))
		ptx_skip_to(p, ';');
	else if (ptx_accept_word(p, ".loc") || ptx_accept_word(p, ".file")) {
		while (*p->p && *p->p != '\n')
			p->p++;
	} else {
		return false;
	}
	return true;
}

void ptx_body(PtxParse *p)
{
	unsigned depth = 0;

	for (;;) {
		const char *word;

		if (ptx_accept(p, '}')) {
			if (!depth--)
				break;
			ptx_close_scope(p);
		} else if (ptx_accept(p, '{')) {
			ptx_open_scope(p);
			depth++;
		} else if (*p->p == '.') {
			if (!directive(p))
				ptx_fail(p, "unexpected '%.20s'", p->p);
		} else if (ptx_accept(p, '@')) {
			instruction(p, "@");
		} else if (ptx_accept(p, ';')) {
			;
		} else {
			word = ptx_word(p);
			ptx_space(p);
			if (*p->p == ':' && p->p[1] != ':') {
				p->p++;
				label(p, word);
			} else {
				instruction(p, word);
			}
		}
	}
}
