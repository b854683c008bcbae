/* tests/ptx/exec.c -- a warp runs: its lanes in step, those that part at a branch one group after the other. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/block.h"

void ptx_finding(PtxWarp *w, const PtxInst *i, int lane, PtxError error, const char *format, ...)
{
	PtxExec *x = w->x;
	const PtxBlock *b = w->block;
	char what[256];
	va_list args;

	if (x->error)
		return;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	x->error = error;
	snprintf(x->finding, sizeof x->finding, "%s, line %u (%s), block %u,%u,%u, thread %u: %s", x->kernel->name,
		 i ? i->line : 0, i ? i->text : "", b->id[0], b->id[1], b->id[2],
		 w->number * PTX_LANES + (uint32_t)(lane < 0 ? __builtin_ctz(w->now.mask ? w->now.mask : 1) : lane),
		 what);
}

/* -- groups of lanes -- */

static void pop(PtxWarp *w)
{
	do {
		if (!w->depth) {
			w->now.mask = 0;
			w->state = PTX_DONE;
			return;
		}
		w->now = w->stack[--w->depth];
	} while (!w->now.mask);
}

static bool push(PtxWarp *w, const PtxInst *i, PtxFrame f)
{
	if (w->depth == PTX_MAX_FRAMES) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "more than %d nested branches and calls", PTX_MAX_FRAMES);
		return false;
	}
	w->stack[w->depth++] = f;
	return true;
}

PTX_RUNNER(bra)
{
	const uint32_t rest = w->now.mask & ~m;

	if (!rest) {
		w->now.pc = i->target;
		return;
	}
	if (!m)
		return;
	/* those that wait where both ways meet; those that go on; the others jump now */
	if (i->join && i->join != w->now.join &&
	    !push(w, i, (PtxFrame){i->join, w->now.join, w->now.mask, w->now.call}))
		return;
	if (i->target == i->join) {
		w->now = (PtxFrame){w->now.pc, i->join, rest, w->now.call};
		return;
	}
	if (w->now.pc != i->join && !push(w, i, (PtxFrame){w->now.pc, i->join, rest, w->now.call}))
		return;
	w->now = (PtxFrame){i->target, i->join, m, w->now.call};
}

PTX_RUNNER(brx)
{
	const uint32_t *index = SLOT(uint32_t, i->a);
	uint32_t left = m;
	const uint32_t rest = w->now.mask & ~m;
	const uint32_t call = w->now.call;

	if (!m)
		return;
	if (i->join && i->join != w->now.join && !push(w, i, (PtxFrame){i->join, w->now.join, w->now.mask, call}))
		return;
	if (rest && !push(w, i, (PtxFrame){w->now.pc, i->join, rest, call}))
		return;
	while (left) {
		const uint32_t k = index[__builtin_ctz(left)];
		uint32_t same = 0;

		EACH same |= (uint32_t)(index[l] == k) << l;
		same &= left;
		if (k >= i->n) {
			ptx_finding(w, i, -1, PTX_ILLEGAL_INSTRUCTION, "brx.idx %u of %u targets", k, i->n);
			return;
		}
		if (i->targets[k] != i->join && !push(w, i, (PtxFrame){i->targets[k], i->join, same, call}))
			return;
		left &= ~same;
	}
	pop(w);
}

static void copy_param(PtxWarp *w, const PtxCopy *c, uint32_t m)
{
	for (; m; m &= m - 1) {
		const unsigned l = (unsigned)__builtin_ctz(m);

		memcpy(w->file + c->to + l * c->to_stride, w->file + c->from + l * c->from_stride, c->size);
	}
}

PTX_RUNNER(call)
{
	PtxFrame back = w->now;

	if (!m)
		return;
	for (uint32_t k = 0; k < w->depth; k++)
		if (w->stack[k].pc >= i->callee->code && w->stack[k].pc < i->callee->code + i->callee->ncode) {
			ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "%s calls itself: not supported", i->callee->name);
			return;
		}
	for (uint32_t k = 0; k < i->nargs; k++)
		copy_param(w, &i->copies[k], m);
	/* the caller goes on at the call's results, with all lanes of the group; those not in m do nothing there */
	back.pc = i;
	if (!push(w, i, back))
		return;
	w->now = (PtxFrame){i->callee->code, NULL, m, w->now.call + 1};
}

/* Lanes return: out of all groups of this call. */
PTX_RUNNER(ret)
{
	const uint32_t call = w->now.call;

	if (!m)
		return;
	if (!call) {
		ptx_run_exit(w, i, m);
		return;
	}
	w->now.mask &= ~m;
	for (uint32_t k = w->depth; k-- > 0 && w->stack[k].call == call;)
		w->stack[k].mask &= ~m;
	if (w->now.mask)
		return;
	while (w->depth && w->stack[w->depth - 1].call == call && !w->stack[w->depth - 1].mask)
		w->depth--;
	w->now = w->stack[--w->depth];
	if (w->now.call != call) { /* back in the caller */
		const PtxInst *at = w->now.pc;
		uint32_t lanes = w->now.mask;

		if (at->guard)
			lanes &= at->guard_not ? ~PRED(at->guard) : PRED(at->guard);
		for (uint32_t k = at->nargs; k < at->ncopies; k++)
			copy_param(w, &at->copies[k], lanes);
		w->now.pc = at + 1;
	}
}

PTX_RUNNER(exit)
{
	const uint32_t call = w->now.call;

	if (!m)
		return;
	w->live &= ~m;
	w->now.mask &= ~m;
	for (uint32_t k = 0; k < w->depth; k++)
		w->stack[k].mask &= ~m;
	if (w->now.mask)
		return;
	pop(w);
	if (w->state == PTX_RUNNING && w->now.call != call) /* whoever called is gone: past the call */
		w->now.pc++;
}

PTX_RUNNER(trap)
{
	if (m)
		ptx_finding(w, i, -1, PTX_ILLEGAL_INSTRUCTION, "trap");
}

PTX_RUNNER(nop)
{
}

enum { SLICE = 1 << 20 }; /* instructions until other warps get their turn: they may be what this one waits for */

void ptx_warp_run(PtxWarp *w)
{
	PtxExec *x = w->x;
	uint32_t slice = SLICE;

	w->yields = false;
	while (w->state == PTX_RUNNING && !w->yields && slice--) {
		const PtxInst *i;
		uint32_t m = w->now.mask;

		while (w->now.pc == w->now.join) {
			pop(w);
			if (w->state != PTX_RUNNING)
				return;
			m = w->now.mask;
		}
		i = w->now.pc++;
		if (i->guard) {
			m &= i->guard_not ? ~PRED(i->guard) : PRED(i->guard);
			if (!m && i->cls != PTX_CLASS_CONTROL)
				continue;
		}
		if (x->counts)
			ptx_count(w, i, m);
		if (i->ntouched && !ptx_wgmma_touch(w, i))
			return;
		i->run(w, i, m);
		if (x->error)
			return;
	}
	if (x->steps_left < SLICE - slice) {
		ptx_finding(w, w->now.pc, -1, PTX_LAUNCH_TIMEOUT, "the kernel runs for too many instructions");
		return;
	}
	x->steps_left -= SLICE - slice;
}
