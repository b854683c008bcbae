/* tests/ptx/async.c -- cp.async: copies to shared memory that happen when they are waited for, not before. */
#include <stdlib.h>

#include "tests/ptx/mbarrier.h"
#include "tests/ptx/memory.h"
#include "tests/ptx/ops.h"

static PtxPending *new_pending(PtxWarp *w)
{
	if (w->npending == w->pending_room) {
		w->pending_room = 2 * w->pending_room + 256;
		w->pending = realloc(w->pending, sizeof *w->pending * w->pending_room);
		if (!w->pending)
			abort();
	}
	return &w->pending[w->npending++];
}

/* Reads of the source: all bytes of those that copy all, each byte of those that do not. */
static bool check_source(PtxWarp *w, const PtxInst *i, uint32_t m, const uint64_t *from, const uint32_t *size)
{
	uint8_t *host[PTX_LANES];
	uint32_t whole = 0, part = 0;

	EACH {
		whole |= (uint32_t)(size[l] == i->bytes) << l;
		part |= (uint32_t)(size[l] > 0 && size[l] < i->bytes) << l;
	}
	if ((whole & m) && !ptx_access(w, i, whole & m, PTX_GLOBAL, from, i->bytes, PTX_ASYNC_READ, host))
		return false;
	for (uint32_t left = part & m; left; left &= left - 1) {
		const unsigned l = (unsigned)__builtin_ctz(left);
		uint64_t each[PTX_LANES];

		if (from[l] % i->bytes) {
			ptx_finding(w, i, (int)l, PTX_MISALIGNED, "copies from %#llx, not a multiple of %u",
				    (unsigned long long)from[l], i->bytes);
			return false;
		}
		for (unsigned k = 0; k < size[l]; k++) {
			each[l] = from[l] + k;
			if (!ptx_access(w, i, 1u << l, PTX_GLOBAL, each, 1, PTX_ASYNC_READ, host))
				return false;
		}
	}
	return true;
}

static void run_copy(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t to[PTX_LANES], from[PTX_LANES];
	uint32_t size[PTX_LANES];
	uint8_t *host[PTX_LANES];

	ptx_addresses(w, i, to);
	for (unsigned l = 0; l < PTX_LANES; l++) {
		from[l] = i->list[2] ? SLOT(uint32_t, i->list[0])[l] : SLOT(uint64_t, i->list[0])[l];
		from[l] += (uint64_t)(int64_t)i->list[1];
		size[l] = i->b ? SLOT(uint32_t, i->b)[l] : i->bytes;
		if (i->c && IN(PRED(i->c) ^ (i->flags & PTX_NOT ? PTX_FULL : 0), l)) /* the source is ignored */
			size[l] = 0;
		if (IN(m, l) && size[l] > i->bytes) {
			ptx_finding(w, i, (int)l, PTX_ILLEGAL_INSTRUCTION, "%u bytes of %u", size[l], i->bytes);
			return;
		}
	}
	if (!check_source(w, i, m, from, size) || !ptx_access(w, i, m, PTX_SHARED, to, i->bytes, PTX_ASYNC_WRITE, host))
		return;
	for (uint32_t left = m; left; left &= left - 1) {
		const unsigned l = (unsigned)__builtin_ctz(left);

		*new_pending(w) = (PtxPending){from[l], (uint32_t)to[l], i->bytes, (uint8_t)size[l]};
	}
}

static void land(PtxWarp *w, uint32_t n, uint32_t clock, unsigned by)
{
	for (uint32_t k = 0; k < n; k++) {
		const PtxPending *c = &w->pending[k];
		uint8_t *to = w->block->shared + c->to;

		if (c->valid)
			memcpy(to, ptx_memory_host(c->from), c->valid);
		memset(to + c->valid, 0, (size_t)c->bytes - c->valid);
		ptx_check_landed(w, c->to, c->bytes, clock, by);
	}
	w->landed += n;
	w->npending -= n;
	memmove(w->pending, w->pending + n, sizeof *w->pending * w->npending);
}

void ptx_copies_land(PtxWarp *w, uint32_t upto, uint32_t clock)
{
	uint32_t n = upto > w->landed ? upto - w->landed : 0;

	if (!n)
		return;
	land(w, n, clock, PTX_BY_COPY);
	for (uint32_t k = 0; k < w->ngroups; k++) {
		const uint32_t of = w->groups[k] < n ? w->groups[k] : n;

		w->groups[k] -= of;
		n -= of;
	}
}

/* All but the newest `keep` groups are done. */
static void wait_groups(PtxWarp *w, uint32_t keep)
{
	uint32_t n = 0, done = w->ngroups > keep ? w->ngroups - keep : 0;

	for (uint32_t k = 0; k < done; k++)
		n += w->groups[k];
	if (!done)
		return;
	land(w, n, w->clock[w->number], PTX_BY_ITSELF);
	w->ngroups -= done;
	memmove(w->groups, w->groups + done, sizeof *w->groups * w->ngroups);
}

static void run_commit(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint32_t n = w->npending;

	for (uint32_t k = 0; k < w->ngroups; k++)
		n -= w->groups[k];
	if (w->ngroups == PTX_MAX_GROUPS) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "more than %d groups of copies", PTX_MAX_GROUPS);
		return;
	}
	w->groups[w->ngroups++] = n;
}

static void run_wait_group(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	wait_groups(w, (uint32_t)i->imm);
	w->unfenced |= m;
}

static void run_wait_all(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	land(w, w->npending, w->clock[w->number], PTX_BY_ITSELF);
	w->ngroups = 0;
	w->unfenced |= m;
}

/* -- decoding -- */

static void take_source(PtxParse *p, PtxInst *i, const PtxOperand *o)
{
	PtxInst from = {0};
	int32_t *list = ptx_alloc(p->m, 3 * sizeof *list);

	ptx_address(p, &from, o, PTX_GLOBAL);
	list[0] = from.a;
	list[1] = (int32_t)from.imm;
	list[2] = from.flags & PTX_ADDR32;
	i->list = list;
}

static void decode_copy(PtxParse *p, PtxInst *i)
{
	PtxStmt *s = &p->stmt;
	const bool all = ptx_take(s, "ca");
	const PtxOperand *o;

	if ((!all && !ptx_take(s, "cg")) || (!ptx_take(s, "shared") && !ptx_take(s, "shared::cta")) ||
	    !ptx_take(s, "global"))
		ptx_fail(p, "%s: .ca or .cg, .shared.global is expected", s->text);
	ptx_take_cache_levels(p);
	o = ptx_operand(p, 2);
	if (o->kind != PTX_OP_IMM || (o->value != 16 && (!all || (o->value != 4 && o->value != 8))))
		ptx_fail(p, "%s: copies of %lld bytes", s->text, (long long)o->value);
	i->run = run_copy;
	i->cls = PTX_CLASS_ASYNC;
	i->bytes = (uint8_t)o->value;
	i->space = PTX_SHARED;
	ptx_address(p, i, ptx_operand(p, 0), PTX_SHARED);
	take_source(p, i, ptx_operand(p, 1));
	if (s->nops > 3) {
		o = ptx_operand(p, 3);
		if (o->kind == PTX_OP_REG && o->type == PTX_PRED) {
			i->c = ptx_source(p, o, PTX_PRED, false);
			i->flags |= o->negated ? PTX_NOT : 0;
		} else {
			i->b = ptx_source(p, o, PTX_U32, false);
		}
	}
}

static void decode_cp(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	PtxStmt *s = &p->stmt;

	if (!ptx_take(s, "async"))
		ptx_fail(p, "unknown instruction %s", s->text);
	ptx_need(p, 80, 70, "cp.async");
	if (ptx_take(s, "bulk")) {
		ptx_decode_bulk(p, i);
		return;
	}
	if (ptx_take(s, "mbarrier")) {
		ptx_decode_copies_arrive(p, i);
		return;
	}
	if (ptx_take(s, "commit_group")) {
		i->run = run_commit;
	} else if (ptx_take(s, "wait_group")) {
		const PtxOperand *o = ptx_operand(p, 0);

		if (o->kind != PTX_OP_IMM || o->value < 0)
			ptx_fail(p, "%s: a number of groups is expected", s->text);
		i->run = run_wait_group;
		i->imm = o->value;
	} else if (ptx_take(s, "wait_all")) {
		i->run = run_wait_all;
	} else {
		decode_copy(p, i);
		return;
	}
	i->cls = PTX_CLASS_ASYNC_CONTROL;
}

const PtxOp ptx_async_ops[] = {
	{"cp", NULL, decode_cp, 0, NULL},
	{0},
};
