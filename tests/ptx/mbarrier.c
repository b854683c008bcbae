/* tests/ptx/mbarrier.c -- mbarrier: barriers that are objects in shared memory, and copies that arrive there.
 *
 * A phase is over when as many threads have arrived as expected and all bytes are there that were announced.
 * Whoever arrives makes known what lies before (its clock goes on, as at other barriers), whoever has seen
 * the phase end knows it. Copies arrive when the phase is waited for and nothing else is missing, not before.
 * try_wait lets other warps run until the phase is over: a barrier that stays incomplete is a finding. */
#include <stdlib.h>

#include "tests/ptx/block.h"
#include "tests/ptx/mbarrier.h"
#include "tests/ptx/memory.h"

enum { BYTES = 8, MAX_COUNT = (1 << 20) - 1 };

typedef struct Bulk { /* a bulk copy */
	struct Bulk *next;
	uint64_t from;
	uint32_t to, bytes, warp, clock;
} Bulk;

typedef struct Copies { /* lanes that arrive when copies of cp.async are there */
	struct Copies *next;
	uint32_t warp, upto, clock, lanes;
} Copies;

struct PtxMbarrier {
	struct PtxMbarrier *next;
	uint32_t at, maker, made;          /* its address; by which warp, at what time */
	uint32_t expected, pending, phase; /* arrivals of a phase, those that are missing */
	bool fenced;                       /* the asynchronous proxy knows it */
	int64_t bytes;                     /* announced and not copied */
	Bulk *bulk;
	Copies *copies;
	PtxKnown arriving, over; /* of this phase, of those before */
};

/* -- objects -- */

static void drop(PtxMbarrier *o)
{
	for (Bulk *b = o->bulk, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	for (Copies *c = o->copies, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(o);
}

void ptx_mbarrier_clear(PtxBlock *b)
{
	for (PtxMbarrier *o = b->mbarriers, *next; o; o = next) {
		next = o->next;
		drop(o);
	}
	b->mbarriers = NULL;
}

static void *made(size_t bytes)
{
	void *at = calloc(1, bytes);

	if (!at)
		abort();
	return at;
}

static bool check_place(PtxWarp *w, const PtxInst *i, int lane, uint64_t at)
{
	if (at % BYTES) {
		ptx_finding(w, i, lane, PTX_MISALIGNED, "an mbarrier at %#llx, not a multiple of 8",
			    (unsigned long long)at);
		return false;
	}
	if (at + BYTES > w->block->shared_bytes) {
		ptx_finding(w, i, lane, PTX_ILLEGAL_ADDRESS,
			    "an mbarrier at %#llx of %u bytes of shared memory", (unsigned long long)at,
			    w->block->shared_bytes);
		return false;
	}
	return true;
}

/* The object there; NULL after a finding. */
static PtxMbarrier *find(PtxWarp *w, const PtxInst *i, int lane, uint64_t at)
{
	PtxMbarrier *o = w->block->mbarriers;

	if (!check_place(w, i, lane, at))
		return NULL;
	while (o && o->at != at)
		o = o->next;
	if (!o)
		ptx_finding(w, i, lane, PTX_LAUNCH_FAILED, "no mbarrier at %#llx", (unsigned long long)at);
	if (o && o->maker != w->number && w->clock[o->maker] < o->made) {
		ptx_finding(w, i, lane, PTX_LAUNCH_FAILED,
			    "race: the mbarrier at %#x was made by warp %u, with no barrier between", o->at,
			    o->maker);
		return NULL;
	}
	return o;
}

static void lane_addresses(const PtxWarp *w, const PtxInst *i, uint64_t *at)
{
	ptx_addresses(w, i, at);
	for (unsigned l = 0; i->space == PTX_GENERIC && l < PTX_LANES; l++)
		at[l] -= PTX_SHARED_WINDOW;
}

static void run_init(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	PtxBlock *b = w->block;
	uint64_t at[PTX_LANES];

	lane_addresses(w, i, at);
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);
		const uint32_t count = SLOT(uint32_t, i->b)[l];
		PtxMbarrier *o;

		if (!check_place(w, i, l, at[l]) ||
		    !ptx_check_shared(w, i, l, (uint32_t)at[l], BYTES, PTX_WRITE))
			return;
		if (!count || count > MAX_COUNT) {
			ptx_finding(w, i, l, PTX_ILLEGAL_INSTRUCTION, "an mbarrier of %u arrivals", count);
			return;
		}
		o = made(sizeof *o);
		*o = (PtxMbarrier){.next = b->mbarriers,
				   .at = (uint32_t)at[l],
				   .maker = w->number,
				   .made = w->clock[w->number],
				   .expected = count,
				   .pending = count};
		b->mbarriers = o;
		ptx_check_object(b, o->at, BYTES, true);
	}
}

PTX_RUNNER(fence_init)
{
	for (PtxMbarrier *o = w->block->mbarriers; o; o = o->next)
		o->fenced = o->fenced || o->maker == w->number;
}

static void run_inval(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	PtxBlock *b = w->block;
	uint64_t at[PTX_LANES];

	lane_addresses(w, i, at);
	for (; m; m &= m - 1) {
		const int l = __builtin_ctz(m);
		PtxMbarrier **link = &b->mbarriers, *o = find(w, i, l, at[l]);

		if (!o)
			return;
		while (*link != o)
			link = &(*link)->next;
		*link = o->next;
		ptx_check_object(b, o->at, BYTES, false);
		drop(o);
	}
}

/* -- phases -- */

static void end_phase(PtxBlock *b, PtxMbarrier *o)
{
	o->phase++;
	o->pending = o->expected;
	ptx_learn(o->over.clock, o->over.proxy, o->arriving.clock, o->arriving.proxy);
	memset(&o->arriving, 0, sizeof o->arriving);
	for (uint32_t n = 0; n < b->nwarps; n++)
		if (b->warps[n].state == PTX_WAITING && b->warps[n].barrier == PTX_AT_MBARRIER &&
		    b->warps[n].awaited == o->at)
			b->warps[n].state = PTX_RUNNING;
}

static void land(PtxBlock *b, PtxMbarrier *o)
{
	for (Bulk *c = o->bulk, *next; c; c = next) {
		next = c->next;
		memcpy(b->shared + c->to, ptx_memory_host(c->from), c->bytes);
		ptx_check_landed(&b->warps[c->warp], c->to, c->bytes, c->clock, PTX_BY_ASYNC_PROXY);
		if (o->arriving.clock[c->warp] < c->clock)
			o->arriving.clock[c->warp] = c->clock;
		o->bytes -= c->bytes;
		free(c);
	}
	for (Copies *c = o->copies, *next; c; c = next) {
		next = c->next;
		ptx_copies_land(&b->warps[c->warp], c->upto, c->clock);
		if (o->arriving.clock[c->warp] < c->clock)
			o->arriving.clock[c->warp] = c->clock;
		o->pending -= c->lanes;
		free(c);
	}
	o->bulk = NULL;
	o->copies = NULL;
}

static bool awaited(const PtxBlock *b, const PtxMbarrier *o)
{
	for (uint32_t n = 0; n < b->nwarps; n++)
		if (b->warps[n].state == PTX_WAITING && b->warps[n].barrier == PTX_AT_MBARRIER &&
		    b->warps[n].awaited == o->at)
			return true;
	return false;
}

/* Ends the phase if nothing is missing, or, where somebody waits, nothing but copies that are under way. */
static void settle(PtxBlock *b, PtxMbarrier *o, bool waits)
{
	uint32_t lanes = 0;
	int64_t bytes = 0;

	for (const Bulk *c = o->bulk; c; c = c->next)
		bytes += c->bytes;
	for (const Copies *c = o->copies; c; c = c->next)
		lanes += c->lanes;
	if (o->pending != lanes || o->bytes != bytes)
		return;
	if (o->bulk || o->copies) {
		if (!waits && !awaited(b, o))
			return;
		land(b, o);
	}
	end_phase(b, o);
}

/* -- arriving -- */

enum { ARRIVE = 1, EXPECT = 2 }; /* PtxInst.mode */

static bool arrive(PtxWarp *w, const PtxInst *i, int lane, PtxMbarrier *o, uint32_t count)
{
	uint32_t lanes = 0;

	for (const Copies *c = o->copies; c; c = c->next)
		lanes += c->lanes;
	if (!count || count > o->pending - lanes) {
		ptx_finding(w, i, lane, PTX_LAUNCH_FAILED, "%u arrivals at an mbarrier that waits for %u",
			    count, o->pending - lanes);
		return false;
	}
	o->pending -= count;
	ptx_learn(o->arriving.clock, o->arriving.proxy, w->clock, w->proxy);
	return true;
}

static void run_arrive(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t at[PTX_LANES], state[PTX_LANES] = {0};

	lane_addresses(w, i, at);
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);
		PtxMbarrier *o = find(w, i, l, at[l]);
		const uint32_t operand = i->b ? SLOT(uint32_t, i->b)[l] : 1;

		if (!o)
			return;
		state[l] = o->phase;
		if (i->mode & EXPECT)
			o->bytes += operand;
		if ((i->mode & ARRIVE) && !arrive(w, i, l, o, i->mode & EXPECT ? 1 : operand))
			return;
		settle(w->block, o, false);
	}
	ptx_tick(w);
	if (i->d)
		ptx_put(w, i->d, state, 8, m);
}

static void run_copies_arrive(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t at[PTX_LANES];

	lane_addresses(w, i, at);
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);
		PtxMbarrier *o = find(w, i, l, at[l]);
		Copies *c;
		uint32_t lanes = 1;

		if (!o)
			return;
		for (const Copies *k = o->copies; k; k = k->next)
			lanes += k->lanes;
		if (!i->mode) /* one arrival more is expected */
			o->pending++;
		if (lanes > o->pending) {
			ptx_finding(w, i, l, PTX_LAUNCH_FAILED,
				    "more arrivals than the %u that the mbarrier waits for", o->pending);
			return;
		}
		if (o->copies && o->copies->warp == w->number && o->copies->clock == w->clock[w->number]) {
			o->copies->lanes++;
			continue;
		}
		c = made(sizeof *c);
		*c = (Copies){o->copies, w->number, w->landed + w->npending, w->clock[w->number], 1};
		o->copies = c;
	}
	for (uint32_t left = m; left; left &= left - 1)
		settle(w->block, find(w, i, __builtin_ctz(left), at[__builtin_ctz(left)]), false);
	ptx_tick(w);
}

/* -- waiting -- */

static bool is_over(const PtxWarp *w, const PtxInst *i, int lane, const PtxMbarrier *o)
{
	if (i->mode)
		return (SLOT(uint32_t, i->b)[lane] & 1) != (o->phase & 1);
	return (uint32_t)SLOT(uint64_t, i->b)[lane] != o->phase;
}

static void run_wait(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t at[PTX_LANES];
	uint32_t over = 0;

	lane_addresses(w, i, at);
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);
		PtxMbarrier *o = find(w, i, l, at[l]);

		if (!o)
			return;
		if (i->mode && SLOT(uint32_t, i->b)[l] > 1) {
			ptx_finding(w, i, l, PTX_ILLEGAL_INSTRUCTION, "%u is no parity",
				    SLOT(uint32_t, i->b)[l]);
			return;
		}
		if (!is_over(w, i, l, o))
			settle(w->block, o, true);
		if (is_over(w, i, l, o)) {
			over |= 1u << l;
			ptx_learn(w->clock, w->proxy, o->over.clock, o->over.proxy);
		} else if (i->n) { /* again when the phase is over */
			w->state = PTX_WAITING;
			w->barrier = PTX_AT_MBARRIER;
			w->awaited = o->at;
			w->at = w->now.pc = i;
			return;
		}
	}
	ptx_tick(w);
	ptx_put_pred(w, i->d, over, m);
	w->yields = over != m;
}

/* -- bulk copies -- */

static bool check_bulk(PtxWarp *w, const PtxInst *i, int lane, uint64_t to, uint64_t from, uint32_t bytes)
{
	const PtxAllocation *a = ptx_memory_find(from);

	if (!bytes || bytes % 16 || to % 16 || from % 16) {
		ptx_finding(w, i, lane, PTX_MISALIGNED,
			    "copies %u bytes from %#llx to %#llx, not multiples of 16", bytes,
			    (unsigned long long)from, (unsigned long long)to);
		return false;
	}
	if (to > w->block->shared_bytes || bytes > w->block->shared_bytes - to) {
		ptx_finding(w, i, lane, PTX_ILLEGAL_ADDRESS,
			    "copies %u bytes to %#llx of %u bytes of shared memory", bytes,
			    (unsigned long long)to, w->block->shared_bytes);
		return false;
	}
	if (!a || bytes > a->size - (from - a->base)) {
		ptx_finding(w, i, lane, PTX_ILLEGAL_ADDRESS,
			    "copies %u bytes from %#llx, not in one allocation", bytes,
			    (unsigned long long)from);
		return false;
	}
	return ptx_check_global(w, i, lane, from, bytes, PTX_ASYNC_READ) &&
	       ptx_check_goal(w, i, lane, (uint32_t)to, bytes) &&
	       ptx_check_shared(w, i, lane, (uint32_t)to, bytes, PTX_ASYNC_WRITE);
}

/* list: address of the source, its offset, whether it has 32 bits, then the same of the mbarrier. */
static uint64_t list_address(const PtxWarp *w, const int32_t *list, int lane)
{
	return (list[2] ? SLOT(uint32_t, list[0])[lane] : SLOT(uint64_t, list[0])[lane]) +
	       (uint64_t)(int64_t)list[1];
}

static void run_bulk(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t to[PTX_LANES];

	ptx_addresses(w, i, to);
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);
		const uint64_t from = list_address(w, i->list, l);
		const uint32_t bytes = SLOT(uint32_t, i->b)[l];
		PtxMbarrier *o = find(w, i, l, list_address(w, i->list + 3, l));
		Bulk *c;

		if (!o || !check_bulk(w, i, l, to[l], from, bytes))
			return;
		if (!o->fenced && !ptx_known_to_proxy(w, o->at)) {
			ptx_finding(w, i, l, PTX_LAUNCH_FAILED,
				    "the mbarrier at %#x was made with no fence.mbarrier_init or "
				    "fence.proxy.async behind it",
				    o->at);
			return;
		}
		c = made(sizeof *c);
		*c = (Bulk){o->bulk, from, (uint32_t)to[l], bytes, w->number, w->clock[w->number]};
		o->bulk = c;
		if (w->x->counts) {
			PtxCount *n = &w->x->counts[i->id];

			n->requests++;
			n->sectors += bytes / 32 + (from % 32 != 0);
			n->ideal += (bytes + 31) / 32;
		}
		settle(w->block, o, false);
	}
	ptx_tick(w);
}

/* -- decoding -- */

static void take_object(PtxParse *p, PtxInst *i, unsigned operand)
{
	PtxStmt *s = &p->stmt;

	if (ptx_take(s, "shared::cluster"))
		ptx_fail(p, "%s: mbarriers of other blocks are not supported", s->text);
	i->space = PTX_SHARED;
	if (ptx_take(s, "shared::cta"))
		ptx_need(p, 80, 78, ".shared::cta");
	else if (!ptx_take(s, "shared"))
		i->space = PTX_GENERIC;
	if (ptx_take_type(p) != PTX_B64)
		ptx_fail(p, "%s: .b64 is expected", s->text);
	ptx_address(p, i, ptx_operand(p, operand), i->space);
	i->cls = PTX_CLASS_BARRIER;
}

static void take_order(PtxParse *p)
{
	static const char *const orders[] = {"release", "acquire", "relaxed", NULL};
	PtxStmt *s = &p->stmt;

	if (ptx_take_one(s, orders) < 0)
		return;
	if (!ptx_take(s, "cta") && !ptx_take(s, "cluster"))
		ptx_fail(p, "%s: a scope is missing", s->text);
	ptx_need(p, 90, 80, "an order of memory");
}

static void decode_arrive(PtxParse *p, PtxInst *i, bool arrives)
{
	PtxStmt *s = &p->stmt;
	const bool expects = !arrives || ptx_take(s, "expect_tx");
	const unsigned first = arrives ? 1 : 0;

	if (expects)
		ptx_need(p, 90, 80, "expect_tx");
	take_order(p);
	take_object(p, i, first);
	ptx_operands(p, first + (expects || s->nops > first + 1 ? 2 : 1));
	if (arrives)
		i->d = ptx_dest(p, ptx_operand(p, 0), PTX_B64, false);
	if (s->nops > first + 1) {
		ptx_need(p, 90, 78, "a count without .noComplete");
		i->b = ptx_source(p, ptx_operand(p, first + 1), PTX_U32, false);
	}
	i->mode = (uint8_t)((arrives ? ARRIVE : 0) | (expects ? EXPECT : 0));
	i->run = run_arrive;
}

static void decode_wait(PtxParse *p, PtxInst *i, bool tries)
{
	PtxStmt *s = &p->stmt;

	i->n = tries;
	i->mode = ptx_take(s, "parity");
	if (tries)
		ptx_need(p, 90, 78, "try_wait");
	take_order(p);
	take_object(p, i, 1);
	if (s->nops != 4 || !tries) /* a hint of time */
		ptx_operands(p, 3);
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_PRED, false);
	i->b = ptx_source(p, ptx_operand(p, 2), i->mode ? PTX_U32 : PTX_B64, false);
	i->run = run_wait;
}

static void decode_mbarrier(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const kinds[] = {"init",     "inval",     "arrive", "test_wait",
					    "try_wait", "expect_tx", NULL};
	const int kind = ptx_take_one(&p->stmt, kinds);

	(void)op;
	ptx_need(p, 80, 70, "mbarrier");
	switch (kind) {
	case 0:
	case 1:
		take_object(p, i, 0);
		ptx_operands(p, kind ? 1 : 2);
		if (!kind)
			i->b = ptx_source(p, ptx_operand(p, 1), PTX_U32, false);
		i->run = kind ? run_inval : run_init;
		break;
	case 2:
		decode_arrive(p, i, true);
		break;
	case 3:
	case 4:
		decode_wait(p, i, kind == 4);
		break;
	case 5:
		decode_arrive(p, i, false);
		break;
	default:
		ptx_fail(p, "unknown instruction %s", p->stmt.text);
	}
}

void ptx_decode_copies_arrive(PtxParse *p, PtxInst *i)
{
	if (!ptx_take(&p->stmt, "arrive"))
		ptx_fail(p, "unknown instruction %s", p->stmt.text);
	i->mode = ptx_take(&p->stmt, "noinc");
	take_object(p, i, 0);
	ptx_operands(p, 1);
	i->run = run_copies_arrive;
	i->cls = PTX_CLASS_ASYNC_CONTROL;
}

static void take_address(PtxParse *p, unsigned operand, PtxSpace space, int32_t *list)
{
	PtxInst at = {0};

	ptx_address(p, &at, ptx_operand(p, operand), space);
	list[0] = at.a;
	list[1] = (int32_t)at.imm;
	list[2] = at.flags & PTX_ADDR32;
}

void ptx_decode_bulk(PtxParse *p, PtxInst *i)
{
	PtxStmt *s = &p->stmt;
	int32_t *list = ptx_alloc(p->m, 6 * sizeof *list);

	ptx_need(p, 90, 80, "cp.async.bulk");
	if (ptx_take(s, "shared::cta"))
		ptx_need(p, 90, 86, "a goal in .shared::cta");
	else if (!ptx_take(s, "shared::cluster"))
		ptx_fail(p, "%s: only copies to shared memory are supported", s->text);
	if (!ptx_take(s, "global") || !ptx_take(s, "mbarrier::complete_tx::bytes"))
		ptx_fail(p, "%s: .global.mbarrier::complete_tx::bytes is expected", s->text);
	ptx_operands(p, ptx_take(s, "L2::cache_hint") ? 5 : 4);
	ptx_address(p, i, ptx_operand(p, 0), PTX_SHARED);
	take_address(p, 1, PTX_GLOBAL, list);
	if (ptx_operand(p, 2)->kind == PTX_OP_IMM && ptx_operand(p, 2)->value % 16)
		ptx_fail(p, "%s: %lld bytes, not a multiple of 16", s->text,
			 (long long)ptx_operand(p, 2)->value);
	i->b = ptx_source(p, ptx_operand(p, 2), PTX_U32, false);
	take_address(p, 3, PTX_SHARED, list + 3);
	i->list = list;
	i->run = run_bulk;
	i->cls = PTX_CLASS_ASYNC_CONTROL;
}

const PtxOp ptx_mbarrier_ops[] = {
	{"mbarrier", NULL, decode_mbarrier, 0, NULL},
	{0},
};
