/* tests/ptx/decode.c -- what all decoders share: modifiers, operands, constants; instructions are found by name. */
#include "tests/ptx/ops.h"

/* -- modifiers -- */

bool ptx_take(PtxStmt *s, const char *mod)
{
	for (uint32_t k = 0; k < s->nmods; k++)
		if (!s->used[k] && !strcmp(s->mods[k], mod))
			return s->used[k] = true;
	return false;
}

int ptx_take_one(PtxStmt *s, const char *const *names)
{
	for (int n = 0; names[n]; n++)
		if (ptx_take(s, names[n]))
			return n;
	return -1;
}

PtxType ptx_take_type(PtxParse *p)
{
	PtxStmt *s = &p->stmt;

	for (uint32_t k = 0; k < s->nmods; k++) {
		const PtxType t = s->used[k] ? PTX_NOTYPE : ptx_type_named(s->mods[k]);

		if (t) {
			s->used[k] = true;
			return t;
		}
	}
	ptx_fail(p, "%s: a type is missing", s->text);
}

PtxSpace ptx_take_space(PtxStmt *s)
{
	static const char *const names[] = {"global",      "const",        "shared",      "local", "param",
					    "shared::cta", "param::entry", "param::func", NULL};
	static const PtxSpace spaces[] = {PTX_GLOBAL, PTX_CONST, PTX_SHARED, PTX_LOCAL,
					  PTX_PARAM, PTX_SHARED, PTX_PARAM, PTX_PARAM};
	const int n = ptx_take_one(s, names);

	return n < 0 ? PTX_GENERIC : spaces[n];
}

void ptx_take_cache_levels(PtxParse *p)
{
	PtxStmt *s = &p->stmt;

	for (uint32_t k = 0; k < s->nmods; k++)
		if (!strncmp(s->mods[k], "L1::", 4) || !strncmp(s->mods[k], "L2::", 4)) {
			s->used[k] = true;
			ptx_need(p, 75, 74, s->mods[k]);
		}
}

void ptx_need(PtxParse *p, int sm, int version, const char *what)
{
	if (p->m->sm < sm)
		ptx_fail(p, "%s: %s requires .target sm_%d or higher", p->stmt.text, what, sm);
	if (p->m->version < version)
		ptx_fail(p, "%s: %s requires PTX ISA .version %d.%d or later", p->stmt.text, what, version / 10,
			 version % 10);
}

void ptx_need_exact(PtxParse *p, int version, const char *what)
{
	if (!p->m->exact || p->m->sm != 90)
		ptx_fail(p, "%s: %s not supported on .target sm_%d%s, requires .target sm_90a", p->stmt.text,
			 what, p->m->sm, p->m->exact ? "a" : "");
	ptx_need(p, 90, version, what);
}

/* -- operands -- */

const PtxOperand *ptx_operand(PtxParse *p, unsigned n)
{
	if (n >= p->stmt.nops)
		ptx_fail(p, "%s: operand %u is missing", p->stmt.text, n + 1);
	return &p->stmt.ops[n];
}

void ptx_operands(PtxParse *p, unsigned n)
{
	if (p->stmt.nops != n)
		ptx_fail(p, "%s: %u operands, not %u", p->stmt.text, p->stmt.nops, n);
}

unsigned ptx_operand_bytes(const PtxOperand *o, PtxType t)
{
	const unsigned n = ptx_type_bytes(o->kind == PTX_OP_REG ? o->type : t);

	return n == 1 ? 2 : n;
}

static uint64_t immediate(PtxParse *p, const PtxOperand *o, PtxType t)
{
	uint64_t value = (uint64_t)o->value;
	double d;
	float f;

	if (!o->is_float) {
		if (ptx_type_kind(t) == 'f' && t != PTX_TF32)
			ptx_fail(p, "%s: a whole number where .%s is expected", p->stmt.text, ptx_type_name(t));
		return value;
	}
	if (t == PTX_F64 || ptx_type_bytes(t) == 8) {
		if (o->is_f32) {
			f = ptx_bits_f32((uint32_t)value);
			d = f;
			memcpy(&value, &d, sizeof d);
		}
	} else if (ptx_type_bytes(t) == 4) {
		if (!o->is_f32) {
			memcpy(&d, &value, sizeof d);
			f = (float)d;
			value = ptx_f32_bits(f);
		}
	} else {
		ptx_fail(p, "%s: a float where .%s is expected", p->stmt.text, ptx_type_name(t));
	}
	return value;
}

static int32_t symbol(PtxParse *p, const PtxOperand *o, unsigned bytes)
{
	const PtxSymbol *s = o->sym;

	if (s->kind == PTX_SYM_FUNC)
		ptx_fail(p, "%s: addresses of functions are not supported", p->stmt.text);
	if (s->in_file)
		ptx_fail(p, "%s: addresses of parameters of device functions are not supported", p->stmt.text);
	if (s->space == PTX_SHARED)
		return ptx_const(p, (uint64_t)o->value, bytes, s);
	return ptx_const(p, s->address + (uint64_t)o->value, bytes, NULL);
}

static void check_width(PtxParse *p, const PtxOperand *o, PtxType t, bool wider)
{
	const unsigned have = ptx_operand_bytes(o, t), want = ptx_type_bytes(t);

	if ((o->type == PTX_PRED) != (t == PTX_PRED))
		ptx_fail(p, "%s: %s", p->stmt.text, t == PTX_PRED ? "a predicate is expected" : "unexpected predicate");
	if (t == PTX_PRED || have == want || (wider && have >= want))
		return;
	ptx_fail(p, "%s: a register of %u bytes where .%s is expected", p->stmt.text, have, ptx_type_name(t));
}

int32_t ptx_source(PtxParse *p, const PtxOperand *o, PtxType t, bool wider)
{
	const unsigned bytes = ptx_type_bytes(t) < 2 && t != PTX_PRED ? 2 : ptx_type_bytes(t);

	switch (o->kind) {
	case PTX_OP_REG:
		check_width(p, o, t, wider);
		return o->slot;
	case PTX_OP_IMM:
		return ptx_const(p, immediate(p, o, t), bytes, NULL);
	case PTX_OP_SYMBOL:
		return symbol(p, o, bytes);
	case PTX_OP_LABEL:
		ptx_fail(p, "unknown name %s", o->label);
	default:
		ptx_fail(p, "%s: a register or a number is expected", p->stmt.text);
	}
}

int32_t ptx_dest(PtxParse *p, const PtxOperand *o, PtxType t, bool wider)
{
	if (o->kind == PTX_OP_SINK)
		return 0;
	if (o->kind == PTX_OP_LABEL)
		ptx_fail(p, "unknown name %s", o->label);
	if (o->kind != PTX_OP_REG || (o->slot > 0 && o->slot < PTX_SPECIAL_END))
		ptx_fail(p, "%s: the result goes to no register", p->stmt.text);
	check_width(p, o, t, wider);
	return o->slot;
}

int32_t *ptx_list(PtxParse *p, const PtxOperand *o, PtxType t, bool dest, unsigned want)
{
	const unsigned n = o->kind == PTX_OP_VECTOR ? o->count : 1;
	const PtxOperand *parts = o->kind == PTX_OP_VECTOR ? &p->stmt.parts[o->first] : o;
	int32_t *list;

	if (n != want)
		ptx_fail(p, "%s: %u registers, not %u", p->stmt.text, n, want);
	list = ptx_alloc(p->m, sizeof *list * (n + 1));
	for (unsigned k = 0; k < n; k++)
		list[k] = dest ? ptx_dest(p, &parts[k], t, false) : ptx_source(p, &parts[k], t, false);
	return list;
}

void ptx_address(PtxParse *p, PtxInst *i, const PtxOperand *o, PtxSpace space)
{
	if (o->kind != PTX_OP_ADDRESS)
		ptx_fail(p, "%s: an address is expected", p->stmt.text);
	i->imm = o->value;
	if (o->sym) {
		PtxOperand base = *o;

		if (o->sym->kind == PTX_SYM_VAR && o->sym->space != space && space != PTX_GENERIC)
			ptx_fail(p, "%s: %s is in another space", p->stmt.text, o->sym->name);
		if (o->sym->kind == PTX_SYM_VAR && space == PTX_GENERIC && o->sym->space != PTX_GLOBAL &&
		    o->sym->space != PTX_CONST)
			ptx_fail(p, "%s: %s has no generic address without cvta", p->stmt.text, o->sym->name);
		base.value = 0;
		i->a = symbol(p, &base, 8);
	} else if (o->slot) {
		if (ptx_type_bytes(o->type) == 4)
			i->flags |= PTX_ADDR32;
		else if (ptx_type_bytes(o->type) != 8)
			ptx_fail(p, "%s: an address of %u bytes", p->stmt.text, ptx_type_bytes(o->type));
		i->a = o->slot;
	} else {
		i->a = ptx_const(p, 0, 8, NULL);
	}
}

/* -- instructions -- */

void ptx_special_slots(PtxParse *p)
{
	static const struct {
		const char *name;
		int32_t slot;
		PtxType type;
	} specials[] = {
		{"%tid", PTX_TID, PTX_U32},
		{"%ntid", PTX_NTID, PTX_U32},
		{"%ctaid", PTX_CTAID, PTX_U32},
		{"%nctaid", PTX_NCTAID, PTX_U32},
		{"%laneid", PTX_LANEID, PTX_U32},
		{"%warpid", PTX_WARPID, PTX_U32},
		{"%nwarpid", PTX_NWARPID, PTX_U32},
		{"%lanemask_eq", PTX_MASK_EQ, PTX_U32},
		{"%lanemask_le", PTX_MASK_EQ + PTX_SLOT, PTX_U32},
		{"%lanemask_lt", PTX_MASK_EQ + 2 * PTX_SLOT, PTX_U32},
		{"%lanemask_ge", PTX_MASK_EQ + 3 * PTX_SLOT, PTX_U32},
		{"%lanemask_gt", PTX_MASK_EQ + 4 * PTX_SLOT, PTX_U32},
		{"%dynamic_smem_size", PTX_DYNAMIC_SIZE, PTX_U32},
		{"%total_smem_size", PTX_TOTAL_SIZE, PTX_U32},
		{"%clock", PTX_CLOCK, PTX_U32},
		{"%clock64", PTX_CLOCK, PTX_U64},
		{"%globaltimer", PTX_CLOCK, PTX_U64},
		{"%smid", PTX_ZERO, PTX_U32},
		{"%gridid", PTX_ZERO, PTX_U64},
	};
	PtxSymbol *s;

	for (unsigned k = 0; k < sizeof specials / sizeof *specials; k++)
		for (unsigned d = 0; d < (k < 4 ? 4 : 1); d++) {
			char name[32];
			const size_t n = strlen(specials[k].name);

			memcpy(name, specials[k].name, n + 1);
			if (k < 4)
				memcpy(name + n, (const char *[]){".x", ".y", ".z", ".w"}[d], 3);
			s = ptx_declare(p, memcpy(ptx_alloc(p->m, n + 4), name, strlen(name) + 1), PTX_SYM_SPECIAL);
			s->slot = specials[k].slot + (int32_t)d * PTX_SLOT;
			s->type = specials[k].type;
		}
	s = ptx_declare(p, "WARP_SZ", PTX_SYM_VAR);
	s->space = PTX_GENERIC;
	s->address = PTX_LANES;
}

PtxInst *ptx_emit(PtxParse *p)
{
	PtxFunc *f = p->func;
	PtxInst *i;

	if (f->ncode == f->room) {
		PtxInst *more = ptx_alloc(p->m, sizeof *more * (2 * f->room + 64));

		if (f->ncode)
			memcpy(more, f->code, sizeof *more * f->ncode);
		f->code = more;
		f->room = 2 * f->room + 64;
	}
	i = &f->code[f->ncode++];
	i->line = (uint32_t)p->stmt.line;
	i->id = p->m->ninsts++;
	i->text = p->stmt.text;
	return i;
}

/* Kind of the first type among the modifiers; 0: none. */
static char first_kind(const PtxStmt *s)
{
	for (uint32_t k = 0; k < s->nmods; k++)
		if (ptx_type_named(s->mods[k]))
			return ptx_type_kind(ptx_type_named(s->mods[k]));
	return 0;
}

static const PtxOp *find_op(const PtxStmt *s)
{
	static const PtxOp *const tables[] = {
		ptx_int_ops,    ptx_float_ops,    ptx_half_ops, ptx_compare_ops, ptx_convert_ops,
		ptx_access_ops, ptx_atomic_ops,   ptx_warp_ops, ptx_control_ops, ptx_mma_ops,
		ptx_wgmma_ops,  ptx_mbarrier_ops, ptx_async_ops};
	const char kind = first_kind(s);

	for (unsigned t = 0; t < sizeof tables / sizeof *tables; t++)
		for (const PtxOp *o = tables[t]; o->name; o++)
			if (!strcmp(o->name, s->op) && (!o->kinds || (kind && strchr(o->kinds, kind))))
				return o;
	return NULL;
}

/* All registers that the statement names; which of them are a product's is known when the function has been
 * read. */
static void note_registers(PtxParse *p, PtxInst *i)
{
	const PtxStmt *s = &p->stmt;
	int32_t *list = ptx_alloc(p->m, sizeof *list * (s->nops + s->nparts + 1u));

	for (uint32_t k = 0; k < s->nops + s->nparts; k++) {
		const PtxOperand *o = k < s->nops ? &s->ops[k] : &s->parts[k - s->nops];

		if (o->slot && (o->kind == PTX_OP_REG || o->kind == PTX_OP_ADDRESS))
			list[i->ntouched++] = o->slot;
	}
	i->touched = list;
}

void ptx_decode(PtxParse *p, int32_t guard, bool guard_not)
{
	const PtxOp *op = find_op(&p->stmt);
	PtxInst *i;

	if (!op)
		ptx_fail(p, "unknown instruction %s", p->stmt.text);
	i = ptx_emit(p);
	i->guard = guard;
	i->guard_not = guard_not;
	op->decode(p, i, op);
	if (p->m->exact)
		note_registers(p, i);
	for (uint32_t k = 0; k < p->stmt.nmods; k++)
		if (!p->stmt.used[k])
			ptx_fail(p, "%s: unexpected .%s", p->stmt.text, p->stmt.mods[k]);
}
