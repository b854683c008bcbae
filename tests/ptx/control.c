/* tests/ptx/control.c -- branches, calls, barriers, fences: decoding. Running: exec.c, block.c. */
#include "tests/ptx/block.h"
#include "tests/ptx/ops.h"
#include "tests/ptx/parse.h"

static void decode_bra(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const PtxOperand *o = ptx_operand(p, 0);

	(void)ptx_take(&p->stmt, "uni");
	ptx_operands(p, 1);
	if (o->kind != PTX_OP_LABEL)
		ptx_fail(p, "bra: a label is expected");
	i->run = ptx_run_bra;
	i->cls = PTX_CLASS_CONTROL;
	ptx_add_fix(p, o->label, p->func->ncode - 1, UINT32_MAX);
}

static void decode_brx(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const PtxOperand *o = ptx_operand(p, 1);
	const PtxLabel *l = NULL;

	(void)ptx_take(&p->stmt, "uni");
	if (!ptx_take(&p->stmt, "idx"))
		ptx_fail(p, "brx without .idx");
	for (const PtxScope *s = p->scope; s && !l; s = s->up)
		for (l = s->labels; l && (o->kind != PTX_OP_LABEL || strcmp(l->name, o->label)); l = l->next)
			;
	if (!l || !l->ntargets || l->ntargets > 255)
		ptx_fail(p, "brx.idx: no list of at most 255 targets");
	i->run = ptx_run_brx;
	i->cls = PTX_CLASS_CONTROL;
	i->a = ptx_source(p, ptx_operand(p, 0), PTX_U32, false);
	i->n = (uint8_t)l->ntargets;
	i->targets = ptx_alloc(p->m, sizeof *i->targets * l->ntargets);
	for (uint32_t k = 0; k < l->ntargets; k++)
		ptx_add_fix(p, l->targets[k], p->func->ncode - 1, k);
}

static void add_callee(PtxParse *p, const PtxFunc *callee)
{
	PtxFunc *f = p->func;
	const PtxFunc **more;

	for (uint32_t k = 0; k < f->ncallees; k++)
		if (f->callees[k] == callee)
			return;
	more = ptx_alloc(p->m, sizeof *more * (f->ncallees + 1));
	if (f->ncallees)
		memcpy(more, f->callees, sizeof *more * f->ncallees);
	more[f->ncallees++] = callee;
	f->callees = more;
}

/* One actual parameter, as source (or, of results, destination) of a copy. */
static PtxCopy actual(PtxParse *p, const PtxOperand *o, const PtxSymbol *formal, bool result)
{
	PtxCopy c = {.size = (uint32_t)formal->size};
	uint32_t stride;
	int32_t slot;

	if (o->kind == PTX_OP_SYMBOL && o->sym->in_file) {
		slot = o->sym->slot;
		stride = o->sym->stride;
		if (o->sym->size < formal->size)
			ptx_fail(p, "call: %s has fewer bytes than parameter %s", o->sym->name, formal->name);
	} else {
		slot = result ? ptx_dest(p, o, formal->type, false) : ptx_source(p, o, formal->type, false);
		stride = ptx_type_bytes(formal->type);
	}
	*(result ? &c.to : &c.from) = slot;
	*(result ? &c.to_stride : &c.from_stride) = stride;
	return c;
}

static void decode_call(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	PtxStmt *s = &p->stmt;
	const PtxOperand none = {.kind = PTX_OP_VECTOR}, *results = &none, *args = &none, *o = ptx_operand(p, 0);
	unsigned n = 0;
	PtxCopy *c;
	PtxFunc *f;

	(void)ptx_take(s, "uni");
	if (o->kind == PTX_OP_VECTOR) {
		results = o;
		o = ptx_operand(p, ++n);
	}
	if (s->nops > n + 1)
		args = ptx_operand(p, n + 1);
	if (o->kind != PTX_OP_SYMBOL || o->sym->kind != PTX_SYM_FUNC)
		ptx_fail(p, "call: only functions declared before can be called");
	f = o->sym->func;
	if (f->entry || results->count != f->nresults || args->count != f->nparams)
		ptx_fail(p, "call: %s has other parameters", f->name);
	i->run = ptx_run_call;
	i->cls = PTX_CLASS_CONTROL;
	i->callee = f;
	i->nargs = (uint16_t)f->nparams;
	i->ncopies = (uint16_t)(f->nparams + f->nresults);
	i->copies = c = ptx_alloc(p->m, sizeof *c * (i->ncopies + 1u));
	for (uint32_t k = 0; k < f->nparams; k++)
		c[k] = actual(p, &s->parts[args->first + k], f->params[k], false);
	for (uint32_t k = 0; k < f->nresults; k++)
		c[f->nparams + k] = actual(p, &s->parts[results->first + k], f->results[k], true);
	add_callee(p, f);
}

/* When all functions are known: where the parameters of those called lie. */
void ptx_link_calls(PtxParse *p)
{
	for (PtxFunc *f = p->m->funcs; f; f = f->next)
		for (uint32_t k = 0; k < f->ncode; k++) {
			const PtxInst *i = &f->code[k];
			PtxCopy *c = (PtxCopy *)(uintptr_t)i->copies;

			if (!i->callee)
				continue;
			p->line = (int)i->line;
			if (!i->callee->defined)
				ptx_fail(p, "call: no definition of %s", i->callee->name);
			for (uint32_t a = 0; a < i->callee->nparams; a++) {
				c[a].to = i->callee->params[a]->slot;
				c[a].to_stride = i->callee->params[a]->stride;
			}
			for (uint32_t a = 0; a < i->callee->nresults; a++) {
				c[i->nargs + a].from = i->callee->results[a]->slot;
				c[i->nargs + a].from_stride = i->callee->results[a]->stride;
			}
		}
}

static void decode_simple(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	PtxRun *const runs[] = {ptx_run_ret, ptx_run_exit, ptx_run_trap, ptx_run_nop};

	(void)ptx_take(&p->stmt, "uni");
	i->run = runs[op->variant];
	i->cls = PTX_CLASS_CONTROL;
}

/* Blocks see memory in order here: what a fence says is only checked. */
static void decode_fence(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const spaces[] = {"shared::cta", "shared::cluster", "global", NULL};
	PtxStmt *s = &p->stmt;

	(void)op;
	if (ptx_take(s, "mbarrier_init")) {
		ptx_need(p, 90, 80, "fence.mbarrier_init");
		if (!ptx_take(s, "release") || !ptx_take(s, "cluster"))
			ptx_fail(p, "%s: .release.cluster is expected", s->text);
		i->run = ptx_run_fence_init;
		i->cls = PTX_CLASS_BARRIER;
		return;
	}
	if (ptx_take(s, "proxy") && ptx_take(s, "async")) {
		ptx_need(p, 90, 80, "fence.proxy.async");
		i->run = ptx_take_one(s, spaces) == 2 ? ptx_run_nop : ptx_run_fence_proxy;
		i->cls = PTX_CLASS_ASYNC_CONTROL;
		return;
	}
	i->mode = ptx_take(s, "gl") || ptx_take(s, "gpu") || ptx_take(s, "sys"); /* else of the block */
	for (uint32_t k = 0; k < s->nmods; k++)
		s->used[k] = true;
	i->run = ptx_run_fence;
	i->cls = PTX_CLASS_BARRIER;
}

static void decode_hint(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	(void)op;
	for (uint32_t k = 0; k < p->stmt.nmods; k++)
		p->stmt.used[k] = true;
	i->run = ptx_run_nop;
	i->cls = PTX_CLASS_MOVE;
}

static void decode_bar(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const modes[] = {"sync", "arrive", "red", NULL};
	static const char *const reductions[] = {"and", "or", "popc", NULL};
	PtxStmt *s = &p->stmt;
	unsigned first = 0, last = s->nops;
	int mode;

	(void)ptx_take(s, "cta");
	(void)ptx_take(s, "aligned");
	i->cls = PTX_CLASS_BARRIER;
	if (ptx_take(s, "warp")) {
		if (!ptx_take(s, "sync"))
			ptx_fail(p, "bar.warp without .sync");
		ptx_operands(p, 1);
		i->a = ptx_source(p, ptx_operand(p, 0), PTX_B32, false);
		i->run = ptx_run_warp_sync;
		return;
	}
	mode = ptx_take_one(s, modes);
	if (mode < 0)
		ptx_fail(p, "%s: .sync, .arrive or .red is missing", s->text);
	i->run = ptx_run_bar;
	i->mode = (uint8_t)mode;
	if (mode == 2) {
		const int r = ptx_take_one(s, reductions);
		const PtxType t = ptx_take_type(p);
		const PtxOperand *q = ptx_operand(p, s->nops - 1);

		if (r < 0)
			ptx_fail(p, "%s: no such reduction", s->text);
		i->mode = (uint8_t)(PTX_BAR_AND + r);
		i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
		i->c = ptx_source(p, q, PTX_PRED, false);
		i->flags |= q->negated ? PTX_NOT : 0;
		first = 1;
		last--;
	}
	i->a = ptx_source(p, ptx_operand(p, first), PTX_U32, false);
	if (first + 1 < last)
		i->b = ptx_source(p, ptx_operand(p, first + 1), PTX_U32, false);
}

const PtxOp ptx_control_ops[] = {
	{.name = "bra", .decode = decode_bra},
	{.name = "brx", .decode = decode_brx},
	{.name = "call", .decode = decode_call},
	{.name = "ret", .decode = decode_simple, .variant = 0},
	{.name = "exit", .decode = decode_simple, .variant = 1},
	{.name = "trap", .decode = decode_simple, .variant = 2},
	{.name = "brkpt", .decode = decode_simple, .variant = 3},
	{.name = "nanosleep", .decode = decode_hint},
	{.name = "pmevent", .decode = decode_hint},
	{.name = "bar", .decode = decode_bar},
	{.name = "barrier", .decode = decode_bar},
	{.name = "membar", .decode = decode_fence},
	{.name = "fence", .decode = decode_fence},
	{.name = "prefetch", .decode = decode_hint},
	{.name = "prefetchu", .decode = decode_hint},
	{.name = "discard", .decode = decode_hint},
	{.name = "applypriority", .decode = decode_hint},
	{0},
};
