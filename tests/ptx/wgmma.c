/* tests/ptx/wgmma.c -- warpgroups and their products: four warps, the first of which has a number that is a
 * multiple of four.
 *
 * The warps meet at each product, which is computed when the last of them is there; what happens to memory
 * and registers before they have waited for it is a finding. Of registers, as the PTX ISA has it: those of D
 * and A belong to the product until wgmma.wait_group; between other instructions that name them and a product
 * stands a wgmma.fence, which products of one shape with the same D do not need between each other. Of shared
 * memory: check.c. */
#include <stdlib.h>

#include "tests/ptx/block.h"
#include "tests/ptx/wgmma.h"

/* -- the warpgroup -- */

static PtxWarp *first_of(PtxWarp *w)
{
	return w - w->number % PTX_WGMMA_WARPS;
}

/* All lanes of a warp that has three others beside it. */
static bool whole(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	if (m != PTX_FULL) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "only lanes %#x of the warp are here", m);
		return false;
	}
	if (w->number / PTX_WGMMA_WARPS >= w->block->nwarps / PTX_WGMMA_WARPS) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED,
			    "warp %u belongs to no warpgroup: the block has %u warps", w->number,
			    w->block->nwarps);
		return false;
	}
	return true;
}

static bool meets(const PtxWarp *w)
{
	return w->state == PTX_WAITING && w->barrier == PTX_WARPGROUP + w->number / PTX_WGMMA_WARPS;
}

/* Whether the others wait for w at this product; false after a finding, too. */
static bool complete(PtxWarp *w, const PtxInst *i)
{
	const PtxWarp *first = first_of(w);
	unsigned here = 1;

	for (unsigned v = 0; v < PTX_WGMMA_WARPS; v++) {
		const PtxWarp *o = first + v;

		if (o == w || !meets(o))
			continue;
		here++;
		if (o->at != i) {
			ptx_finding(w, i, -1, PTX_LAUNCH_FAILED,
				    "divergent warpgroup: warp %u is here, warp %u in line %u", w->number,
				    o->number, o->at->line);
			return false;
		}
		if (o->products_groups != w->products_groups) {
			ptx_finding(w, i, -1, PTX_LAUNCH_FAILED,
				    "warp %u has committed %u groups of products, warp %u %u", w->number,
				    w->products_groups, o->number, o->products_groups);
			return false;
		}
	}
	return here == PTX_WGMMA_WARPS;
}

static void meet(PtxWarp *w, const PtxInst *i)
{
	w->state = PTX_WAITING;
	w->barrier = PTX_WARPGROUP + w->number / PTX_WGMMA_WARPS;
	w->at = i;
}

/* -- registers -- */

static bool under_way(const PtxWarp *w, const PtxRegister *r)
{
	return r->product && r->number > w->products_done;
}

bool ptx_wgmma_touch(PtxWarp *w, const PtxInst *i)
{
	for (unsigned k = 0; k < i->ntouched; k++) {
		PtxRegister *r = &w->registers[i->touched[k]];

		if (under_way(w, r)) {
			ptx_finding(
				w, i, -1, PTX_LAUNCH_FAILED,
				"touches a register of %s of the product in line %u, which is not waited for",
				r->sum ? "D" : "A", r->product->line);
			return false;
		}
		r->touched = i;
		r->fences = w->fences;
	}
	return true;
}

/* A register becomes one of D, or of A, of product i. */
static bool take_register(PtxWarp *w, const PtxInst *i, PtxRegister *r, bool sum)
{
	const PtxWgmma *now = ptx_wgmma_of(i), *then = r->product ? ptx_wgmma_of(r->product) : NULL;
	const char *name = sum ? "D" : "A";

	if (r->touched && r->fences == w->fences)
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED,
			    "%s named a register of %s in line %u, with no wgmma.fence between",
			    r->touched->text, name, r->touched->line);
	else if (under_way(w, r) && r->sum != sum)
		ptx_finding(
			w, i, -1, PTX_LAUNCH_FAILED,
			"a register of %s is one of %s of the product in line %u, which is not waited for",
			name, r->sum ? "D" : "A", r->product->line);
	else if (then && r->sum && sum && r->fences == w->fences &&
		 (then->cols != now->cols || then->depth != now->depth || then->type[0] != now->type[0]))
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED,
			    "the product in line %u has another shape and the same D, with no wgmma.fence "
			    "between",
			    r->product->line);
	else if (then && r->sum != sum && r->fences == w->fences)
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED,
			    "a register of %s is one of %s of the product in line %u, with no wgmma.fence "
			    "between",
			    name, r->sum ? "D" : "A", r->product->line);
	*r = (PtxRegister){.product = i, .number = w->products, .fences = w->fences, .sum = sum};
	return !w->x->error;
}

static bool take_registers(PtxWarp *w, const PtxInst *i)
{
	const PtxWgmma *s = ptx_wgmma_of(i);

	if (!w->fences) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "no wgmma.fence before the first product");
		return false;
	}
	for (unsigned k = 0; k < s->sums + (unsigned)s->fragments; k++)
		if (!take_register(w, i, &w->registers[s->watched[k]], k < s->sums))
			return false;
	return true;
}

/* -- running -- */

static void run_mma(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	PtxBlock *b = w->block;
	PtxWarp *first = first_of(w);
	PtxFlight *f, **list = &b->flights[w->number / PTX_WGMMA_WARPS];

	if (!whole(w, i, m))
		return;
	w->products++;
	if (!take_registers(w, i))
		return;
	if (!complete(w, i)) {
		meet(w, i);
		return;
	}
	f = malloc(sizeof *f);
	if (!f)
		abort();
	f->number = w->products;
	f->waiting = 15;
	f->next = *list;
	*list = f;
	if (!ptx_wgmma_multiply(first, i, f))
		return;
	for (unsigned v = 0; v < PTX_WGMMA_WARPS; v++)
		first[v].state = PTX_RUNNING;
}

void ptx_wgmma_clear(PtxBlock *b)
{
	for (unsigned g = 0; g < PTX_MAX_WARPGROUPS; g++)
		for (PtxFlight *f = b->flights[g], *next; f; f = next) {
			next = f->next;
			free(f);
		}
	memset(b->flights, 0, sizeof b->flights);
}

static void run_fence(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	if (whole(w, i, m))
		w->fences++;
}

static void run_commit(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	if (!whole(w, i, m))
		return;
	if (w->nproduct_ends == PTX_MAX_GROUPS) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "more than %d groups of products", PTX_MAX_GROUPS);
		return;
	}
	w->product_ends[w->nproduct_ends++] = w->products;
	w->products_groups++;
}

/* Products up to the number are over for this warp. */
static void finish(PtxWarp *w, const PtxInst *i, uint32_t number)
{
	const uint32_t me = 1u << w->number % PTX_WGMMA_WARPS;

	w->products_done = number;
	for (PtxFlight **at = &w->block->flights[w->number / PTX_WGMMA_WARPS], *f; (f = *at);) {
		if (f->number <= number && (f->waiting & me)) {
			f->waiting &= ~me;
			if (!ptx_check_operands_over(w, i, f->chunks, f->n, !f->waiting))
				return;
		}
		if (f->waiting) {
			at = &f->next;
			continue;
		}
		*at = f->next;
		free(f);
	}
}

static void run_wait(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t keep = (uint32_t)i->imm;
	uint32_t done;

	if (!whole(w, i, m) || w->nproduct_ends <= keep)
		return;
	done = w->nproduct_ends - keep;
	finish(w, i, w->product_ends[done - 1]);
	w->nproduct_ends -= done;
	memmove(w->product_ends, w->product_ends + done, sizeof *w->product_ends * w->nproduct_ends);
}

/* -- registers that warps give back and take -- */

enum { FILE_REGISTERS = 64 << 10, LEAST_REGISTERS = 24, MOST_REGISTERS = 256 };

/* What all warps have, those that never said taken as having the least. */
static uint32_t registers_taken(const PtxBlock *b)
{
	uint32_t sum = 0;

	for (uint32_t n = 0; n < b->nwarps; n++)
		sum += PTX_LANES * (b->warps[n].max_registers ? b->warps[n].max_registers : LEAST_REGISTERS);
	return sum;
}

static void run_registers(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	PtxWarp *first = first_of(w);
	const uint16_t n = (uint16_t)i->imm;

	if (!whole(w, i, m))
		return;
	if (w->max_registers && (i->mode ? n < w->max_registers : n > w->max_registers)) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "%u registers, of %u", n, w->max_registers);
		return;
	}
	w->max_registers = n;
	if (!complete(w, i)) {
		if (!w->x->error)
			meet(w, i);
		return;
	}
	if (i->mode && registers_taken(w->block) > FILE_REGISTERS) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "the block has no %u registers for each thread", n);
		return;
	}
	for (unsigned v = 0; v < PTX_WGMMA_WARPS; v++)
		first[v].state = PTX_RUNNING;
}

/* -- decoding -- */

/* .m64nNkK */
static void take_shape(PtxParse *p, PtxWgmma *s)
{
	PtxStmt *m = &p->stmt;
	const unsigned depth = 32 / ptx_type_bytes(s->type[1]);

	for (uint32_t k = 0; k < m->nmods; k++) {
		char *end;

		if (m->used[k] || strncmp(m->mods[k], "m64n", 4))
			continue;
		s->cols = (uint16_t)strtoul(m->mods[k] + 4, &end, 10);
		m->used[k] = true;
		if (s->cols < 8 || s->cols > PTX_WGMMA_COLS || s->cols % 8 || *end != 'k' ||
		    strtoul(end + 1, &end, 10) != depth || *end ||
		    (s->type[0] == PTX_S32 && s->cols % 16 && s->cols > 24))
			ptx_fail(p, "%s: no such shape of these types", m->text);
		s->depth = (uint8_t)depth;
		return;
	}
	ptx_fail(p, "%s: a shape is missing", m->text);
}

static void take_types(PtxParse *p, PtxWgmma *s)
{
	PtxType d, a, b;
	bool good;

	for (unsigned o = 0; o < 3; o++)
		s->type[o] = (uint8_t)ptx_take_type(p);
	d = s->type[0];
	a = s->type[1];
	b = s->type[2];
	good = a == PTX_F16 ? b == a && (d == PTX_F32 || d == PTX_F16)
	       : a == PTX_BF16 || a == PTX_TF32
		       ? b == a && d == PTX_F32
		       : (a == PTX_S8 || a == PTX_U8) && (b == PTX_S8 || b == PTX_U8) && d == PTX_S32;
	if (!good)
		ptx_fail(p, "%s: no products of such types", p->stmt.text);
	if (a != b)
		ptx_need_exact(p, 84, "a mix of signed and unsigned bytes");
}

/* An immediate that is one of two; whether it is the second. */
static bool take_choice(PtxParse *p, unsigned n, int64_t no, int64_t yes)
{
	const PtxOperand *o = ptx_operand(p, n);

	if (o->kind != PTX_OP_IMM || (o->value != no && o->value != yes))
		ptx_fail(p, "%s: operand %u is %lld or %lld", p->stmt.text, n + 1, (long long)no,
			 (long long)yes);
	return o->value == yes;
}

/* scale-d; of floats whether A and B are negated; of halves how they lie in memory. */
static void take_scales(PtxParse *p, PtxInst *i, PtxWgmma *s)
{
	const PtxOperand *o = ptx_operand(p, 3);
	const bool floats = s->type[0] != PTX_S32, halves = ptx_type_bytes(s->type[1]) == 2;
	unsigned n = 4;

	i->c = ptx_source(p, o, PTX_PRED, false);
	i->flags |= o->negated ? PTX_NOT : 0;
	for (unsigned k = 0; floats && k < 2; k++)
		s->negated[k] = take_choice(p, n++, 1, -1);
	for (unsigned k = s->fragments ? 1 : 0; halves && k < 2; k++)
		s->across[k] = take_choice(p, n++, 0, 1);
	ptx_operands(p, n);
}

static void decode_mma(PtxParse *p, PtxInst *i)
{
	PtxWgmma *s = ptx_alloc(p->m, sizeof *s);
	const PtxOperand *d = ptx_operand(p, 0), *a = ptx_operand(p, 1);
	int32_t *list;

	i->flags |= ptx_take(&p->stmt, "satfinite") ? PTX_SAT : 0;
	take_types(p, s);
	take_shape(p, s);
	if ((i->flags & PTX_SAT) && s->type[0] != PTX_S32)
		ptx_fail(p, "%s: unexpected .satfinite", p->stmt.text);
	s->sums = (uint8_t)(s->type[0] == PTX_F16 ? s->cols / 4 : s->cols / 2);
	s->fragments = a->kind == PTX_OP_VECTOR ? 4 : 0;
	list = ptx_alloc(p->m, sizeof *list * (s->sums + s->fragments + 1u));
	memcpy(list, ptx_list(p, d, s->type[0] == PTX_F32 ? PTX_F32 : PTX_B32, true, s->sums),
	       sizeof *list * s->sums);
	if (s->fragments)
		memcpy(list + s->sums, ptx_list(p, a, PTX_B32, false, s->fragments),
		       sizeof *list * s->fragments);
	else
		i->a = ptx_source(p, a, PTX_B64, false);
	i->b = ptx_source(p, ptx_operand(p, 2), PTX_B64, false);
	take_scales(p, i, s);
	i->list = list;
	i->imm = (int64_t)(intptr_t)s;
	i->run = run_mma;
	i->cls = PTX_CLASS_WGMMA;
}

static void decode_wgmma(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const kinds[] = {"fence", "commit_group", "wait_group", "mma_async", NULL};
	static PtxRun *const runs[] = {run_fence, run_commit, run_wait};
	PtxStmt *s = &p->stmt;
	const int kind = ptx_take_one(s, kinds);

	(void)op;
	if (kind < 0)
		ptx_fail(p, "unknown instruction %s", s->text);
	ptx_need_exact(p, 80, "wgmma");
	if (!ptx_take(s, "sync") || !ptx_take(s, "aligned"))
		ptx_fail(p, "%s: .sync.aligned is expected", s->text);
	if (kind == 3) {
		decode_mma(p, i);
		return;
	}
	ptx_operands(p, kind == 2 ? 1 : 0);
	if (kind == 2) {
		const PtxOperand *o = ptx_operand(p, 0);

		if (o->kind != PTX_OP_IMM || o->value < 0)
			ptx_fail(p, "%s: a number of groups is expected", s->text);
		i->imm = o->value;
	}
	i->run = runs[kind];
	i->cls = PTX_CLASS_ASYNC_CONTROL;
}

static void decode_registers(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const ways[] = {"dec", "inc", NULL};
	PtxStmt *s = &p->stmt;
	const int way = ptx_take_one(s, ways);
	const PtxOperand *o = ptx_operand(p, 0);

	(void)op;
	ptx_need_exact(p, 80, "setmaxnreg");
	if (way < 0 || !ptx_take(s, "sync") || !ptx_take(s, "aligned") || ptx_take_type(p) != PTX_U32)
		ptx_fail(p, "%s: .inc or .dec with .sync.aligned.u32 is expected", s->text);
	ptx_operands(p, 1);
	if (o->kind != PTX_OP_IMM || o->value < LEAST_REGISTERS || o->value > MOST_REGISTERS || o->value % 8)
		ptx_fail(p, "%s: a multiple of 8 from %d to %d is expected", s->text, LEAST_REGISTERS,
			 MOST_REGISTERS);
	i->mode = (uint8_t)way;
	i->imm = o->value;
	i->run = run_registers;
	i->cls = PTX_CLASS_ASYNC_CONTROL;
}

const PtxOp ptx_wgmma_ops[] = {
	{"setmaxnreg", NULL, decode_registers, 0, NULL},
	{"wgmma", NULL, decode_wgmma, 0, NULL},
	{0},
};

/* -- which registers are products' -- */

static size_t number_of(const PtxFunc *f, int32_t slot)
{
	return (size_t)(f->entry ? slot : -slot) / 64; /* the least that a register takes */
}

/* Numbers the registers of products; 0: none. */
static void number_registers(PtxParse *p, PtxFunc *f, int32_t *numbers)
{
	for (uint32_t k = 0; k < f->ncode; k++) {
		const PtxInst *i = &f->code[k];
		PtxWgmma *s = (PtxWgmma *)(uintptr_t)i->imm;
		int32_t *watched;

		if (i->run != run_mma)
			continue;
		s->watched = watched = ptx_alloc(p->m, sizeof *watched * (s->sums + s->fragments + 1u));
		for (unsigned r = 0; r < s->sums + (unsigned)s->fragments; r++) {
			int32_t *n = &numbers[number_of(f, i->list[r])];

			if (!*n)
				*n = (int32_t)++p->m->nwatched;
			watched[r] = *n - 1;
		}
	}
}

void ptx_func_watch(PtxParse *p, PtxFunc *f)
{
	const size_t room = (f->entry ? f->file_bytes : (size_t)p->m->device_bytes) / 64 + 1;
	int32_t *numbers = calloc(room, sizeof *numbers);

	if (!numbers)
		abort();
	number_registers(p, f, numbers);
	for (uint32_t k = 0; k < f->ncode; k++) {
		PtxInst *i = &f->code[k];
		int32_t *touched = (int32_t *)(uintptr_t)i->touched;
		uint16_t n = 0;

		for (unsigned r = 0; i->run != run_mma && r < i->ntouched; r++)
			if (numbers[number_of(f, touched[r])])
				touched[n++] = numbers[number_of(f, touched[r])] - 1;
		i->ntouched = n;
	}
	free(numbers);
}
