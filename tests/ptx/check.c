/* tests/ptx/check.c -- who touched which memory, and whether something orders them.
 *
 * Shared memory: each 4 bytes remember their last writer and its clock, the warps that have read since and
 * their clocks, which bytes have a value, and whether a copy is under way. A warp's clock advances at
 * barriers, where warps learn each other's clocks; an access that is not known to have happened before
 * another one of a different warp, one of them a write, is a race. Within a warp order is taken for granted.
 * Global memory: each 4 bytes remember which block of which launch touched them. A block may read what
 * another one wrote if that one published it and this one acquired it (exec.h). */
#include <stdlib.h>

#include "tests/ptx/exec.h"
#include "tests/ptx/memory.h"

enum { SEVERAL = 255 };

static bool before(const PtxWarp *w, unsigned other, uint32_t clock)
{
	return other == w->number || w->clock[other] >= clock;
}

/* Whether the last write is known to be over. Of several writers only the time is known. */
static bool written_before(const PtxWarp *w, const PtxShadow *s)
{
	return s->writer == SEVERAL ? w->clock[w->number] > s->write_clock : before(w, s->writer, s->write_clock);
}

static bool race(PtxWarp *w, const PtxInst *i, int lane, uint32_t at, const char *now, const char *then, unsigned other)
{
	ptx_finding(w, i, lane, PTX_LAUNCH_FAILED,
		    "race: warp %u %s byte %u of shared memory that warp %u %s, with no barrier between", w->number,
		    now, at, other, then);
	return false;
}

static uint32_t reader_clock(const PtxBlock *b, const PtxShadow *s, unsigned reader)
{
	return s->read_clock == (uint32_t)PTX_MIXED ? b->vectors[s->vector - 1][reader] : s->read_clock;
}

static void new_vector(PtxBlock *b, PtxShadow *s)
{
	if (b->nvectors == b->vectors_room) {
		b->vectors_room = 2 * b->vectors_room + 1024;
		b->vectors = realloc(b->vectors, sizeof *b->vectors * b->vectors_room);
		if (!b->vectors)
			abort();
	}
	s->vector = ++b->nvectors;
}

static void add_reader(PtxWarp *w, PtxShadow *s)
{
	PtxBlock *b = w->block;
	const uint32_t now = w->clock[w->number], me = 1u << w->number;
	uint32_t left = 0;

	if ((s->readers & me) && reader_clock(b, s, w->number) == now)
		return;
	if (s->readers && s->read_clock == now) {
		s->readers |= me;
		return;
	}
	/* earlier readers that this one comes after need not be remembered */
	for (uint32_t r = s->readers & ~me; r; r &= r - 1)
		if (!before(w, (unsigned)__builtin_ctz(r), reader_clock(b, s, (unsigned)__builtin_ctz(r))))
			left |= r & -r;
	s->readers = left | me;
	if (!left) {
		s->read_clock = now;
		return;
	}
	if (!s->vector)
		new_vector(b, s);
	for (uint32_t r = left; r; r &= r - 1)
		b->vectors[s->vector - 1][__builtin_ctz(r)] = reader_clock(b, s, (unsigned)__builtin_ctz(r));
	b->vectors[s->vector - 1][w->number] = now;
	s->read_clock = (uint32_t)PTX_MIXED;
}

static bool check_read(PtxWarp *w, const PtxInst *i, int lane, uint32_t at, PtxShadow *s, uint8_t bytes)
{
	if (bytes & ~s->init) {
		ptx_finding(w, i, lane, PTX_LAUNCH_FAILED, "reads byte %u of shared memory, which was never written",
			    at);
		return false;
	}
	if ((bytes & s->bytes) && s->writer != SEVERAL && !written_before(w, s))
		return race(w, i, lane, at, "reads", "wrote", s->writer);
	add_reader(w, s);
	return true;
}

static bool being_read(PtxWarp *w, const PtxInst *i, int lane, uint32_t at)
{
	ptx_finding(w, i, lane, PTX_LAUNCH_FAILED,
		    "race: byte %u of shared memory is written while a product of a warpgroup reads it that "
		    "is not waited for",
		    at);
	return false;
}

static bool check_write(PtxWarp *w, const PtxInst *i, int lane, uint32_t at, PtxShadow *s, uint8_t bytes, bool async)
{
	const uint8_t me = (uint8_t)w->number;

	if (s->flights)
		return being_read(w, i, lane, at);
	if ((bytes & s->bytes) && s->writer != SEVERAL && !written_before(w, s))
		return race(w, i, lane, at, "writes", "wrote", s->writer);
	/* readers of other bytes of the same word may go on */
	if (bytes == 15 || s->bytes == bytes)
		for (uint32_t r = s->readers; r; r &= r - 1)
			if (!before(w, (unsigned)__builtin_ctz(r),
				    reader_clock(w->block, s, (unsigned)__builtin_ctz(r))))
				return race(w, i, lane, at, "writes", "read", (unsigned)__builtin_ctz(r));
	if ((s->bytes & ~bytes) && s->writer != me && !written_before(w, s)) {
		s->writer = SEVERAL;
		s->bytes |= bytes;
	} else {
		s->bytes = s->writer == me && s->write_clock == w->clock[me] ? s->bytes | bytes : bytes;
		s->writer = me;
	}
	s->write_clock = w->clock[me];
	s->proxy = w->proxy[me];
	s->last = me;
	s->readers = 0;
	s->init |= bytes;
	s->async = async ? s->async | bytes : s->async;
	return true;
}

bool ptx_check_shared(PtxWarp *w, const PtxInst *i, int lane, uint32_t at, unsigned bytes, PtxAccess access)
{
	const bool writes = access == PTX_WRITE || access == PTX_ASYNC_WRITE;

	for (unsigned done = 0; done < bytes;) {
		PtxShadow *s = &w->block->shadow[(at + done) / 4];
		unsigned first, n;
		uint8_t mask;

		if (ptx_shadow_seen(w, s, access)) {
			done += 4 - (at + done) % 4;
			continue;
		}
		first = (at + done) % 4;
		n = 4 - first < bytes - done ? 4 - first : bytes - done;
		mask = (uint8_t)(((1u << n) - 1) << first);
		if (s->object) {
			ptx_finding(w, i, lane, PTX_LAUNCH_FAILED,
				    "byte %u of shared memory is one of an mbarrier", at + done);
			return false;
		}
		if (s->async & mask) {
			ptx_finding(w, i, lane, PTX_LAUNCH_FAILED,
				    "race: byte %u of shared memory is the goal of a cp.async that is not waited for",
				    at + done);
			return false;
		}
		if (access == PTX_ATOMIC && s->flights)
			return being_read(w, i, lane, at + done);
		if (access == PTX_ATOMIC) { /* ordered by themselves, but need a value */
			if (mask & ~s->init) {
				ptx_finding(w, i, lane, PTX_LAUNCH_FAILED,
					    "updates byte %u of shared memory, which was never written", at);
				return false;
			}
		} else if (writes ? !check_write(w, i, lane, at + done, s, mask, access == PTX_ASYNC_WRITE)
				  : !check_read(w, i, lane, at + done, s, mask)) {
			return false;
		}
		done += n;
	}
	return true;
}

/* A copy has arrived: a write of its warp, at this time. */
void ptx_check_landed(PtxWarp *w, uint32_t at, unsigned bytes, uint32_t clock, unsigned by)
{
	for (unsigned k = 0; k < bytes; k++) {
		PtxShadow *s = &w->block->shadow[(at + k) / 4];

		s->async &= (uint8_t)~(1u << (at + k) % 4);
		s->write_clock = clock;
		s->proxy = by == PTX_BY_COPY ? w->block->proxy_fences : w->proxy[w->number];
		s->last = (uint8_t)(by == PTX_BY_ITSELF ? w->number : by);
	}
}

void ptx_check_object(PtxBlock *b, uint32_t at, unsigned bytes, bool object)
{
	for (unsigned k = 0; k < bytes; k += 4) {
		b->shadow[(at + k) / 4].object = object;
		b->shadow[(at + k) / 4].init = 0;
	}
}

/* -- operands of products, which the asynchronous proxy reads -- */

enum { WARPGROUP = 4, PIECE = 4 }; /* PIECE: words */

/* All four warps have read the word at the time that is theirs. */
static bool all_seen(const PtxWarp *w, const PtxShadow *s, uint32_t now)
{
	return (s->readers >> w->number & 15) == 15 && s->read_clock == now && s->init == 15 && !s->async;
}

static bool read_by_all(PtxWarp *w, const PtxInst *i, uint32_t at, PtxShadow *s)
{
	if (s->async) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED,
			    "race: byte %u of shared memory is the goal of a cp.async that is not waited for",
			    at);
		return false;
	}
	for (unsigned v = 0; v < WARPGROUP; v++)
		if (!check_read(w + v, i, -1, at, s, 15))
			return false;
	return true;
}

/* Whether what was written last is known to the asynchronous proxy: fenced says up to when of each warp,
 * copied of copies. */
static bool known_to_proxy(const PtxShadow *s, const uint32_t *fenced, uint32_t copied)
{
	return s->last < PTX_MAX_WARPS ? fenced[s->last] > s->proxy
				       : s->last == PTX_BY_ASYNC_PROXY || copied > s->proxy;
}

bool ptx_known_to_proxy(const PtxWarp *w, uint32_t at)
{
	return known_to_proxy(&w->block->shadow[at / 4], w->proxy, w->fenced_at);
}

static void unknown_to_proxy(PtxWarp *w, const PtxInst *i, int lane, uint32_t at, const PtxShadow *s,
			     const char *verb)
{
	if (s->last == PTX_BY_COPY)
		ptx_finding(w, i, lane, PTX_LAUNCH_FAILED,
			    "%s byte %u of shared memory, where a cp.async wrote, with no fence.proxy.async "
			    "since that was waited for",
			    verb, at);
	else
		ptx_finding(w, i, lane, PTX_LAUNCH_FAILED,
			    "%s byte %u of shared memory, which warp %u wrote with no fence.proxy.async%s "
			    "behind it",
			    verb, at, s->last,
			    w->block->warps[s->last].proxy[s->last] > s->proxy ? " and barrier" : "");
}

bool ptx_check_goal(PtxWarp *w, const PtxInst *i, int lane, uint32_t at, unsigned bytes)
{
	for (unsigned k = 0; k < bytes; k += 4) {
		const PtxShadow *s = &w->block->shadow[(at + k) / 4];

		if (s->init && !known_to_proxy(s, w->proxy, w->fenced_at)) {
			unknown_to_proxy(w, i, lane, at + k, s, "copies to");
			return false;
		}
	}
	return true;
}

bool ptx_check_operands(PtxWarp *w, const PtxInst *i, const uint32_t *at, unsigned n)
{
	uint32_t fenced[PTX_MAX_WARPS], now = w->clock[w->number], copied = w->fenced_at;

	memcpy(fenced, w->proxy, sizeof fenced);
	for (unsigned v = 1; v < WARPGROUP; v++) {
		const PtxWarp *o = w + v;

		now = o->clock[o->number] == now ? now : 0;
		copied = o->fenced_at < copied ? o->fenced_at : copied;
		for (unsigned k = 0; k < PTX_MAX_WARPS; k++)
			fenced[k] = o->proxy[k] < fenced[k] ? o->proxy[k] : fenced[k];
	}
	for (unsigned k = 0; k < n * PIECE; k++) {
		const uint32_t here = at[k / PIECE] + k % PIECE * 4;
		PtxShadow *s = &w->block->shadow[here / 4];

		if (!all_seen(w, s, now) && !read_by_all(w, i, here, s))
			return false;
		if (!known_to_proxy(s, fenced, copied)) {
			unknown_to_proxy(w, i, -1, here, s, "reads");
			return false;
		}
		s->flights++;
	}
	return true;
}

bool ptx_check_operands_over(PtxWarp *w, const PtxInst *i, const uint32_t *at, unsigned n, bool for_all)
{
	for (unsigned k = 0; k < n * PIECE; k++) {
		const uint32_t here = at[k / PIECE] + k % PIECE * 4;
		PtxShadow *s = &w->block->shadow[here / 4];

		if (!ptx_shadow_seen(w, s, PTX_READ) && !check_read(w, i, -1, here, s, 15))
			return false;
		s->flights -= for_all;
	}
	return true;
}

/* -- global memory: launch (18 bits), epoch of the write (6), bytes (4), how (2), block (34) -- */

enum { READ = 1, READ_BY_SEVERAL, WRITTEN };
enum { LAST_EPOCH = 63, LAUNCHES = 0x3ffff };

static uint64_t mark(uint64_t launch, unsigned epoch, unsigned bytes, unsigned how, uint64_t block)
{
	return (launch & LAUNCHES) << 46 | (uint64_t)epoch << 40 | (uint64_t)bytes << 36 | (uint64_t)how << 34 | block;
}

static bool global_race(PtxWarp *w, const PtxInst *i, int lane, uint64_t at, const char *now, const char *then,
			uint64_t block)
{
	ptx_finding(w, i, lane, PTX_LAUNCH_FAILED, "race: %s %#llx, which block %llu of the same launch %s", now,
		    (unsigned long long)at, (unsigned long long)block, then);
	return false;
}

static bool is_known(const PtxWarp *w, uint64_t block, unsigned epoch)
{
	const PtxOrder *o = &w->block->order;

	return o->acquired && before(w, o->acquirer, o->acquire_clock) && w->x->published && w->x->published[block] > epoch;
}

/* What warps wrote that this one knows to be done is before the fence. */
void ptx_check_fence(PtxWarp *w)
{
	PtxOrder *o = &w->block->order;

	o->fenced = true;
	for (unsigned n = 0; n < w->block->nwarps; n++)
		o->fenced = o->fenced && before(w, n, w->block->warps[n].wrote);
	if (w->updated)
		*o = (PtxOrder){.fenced = o->fenced, .epoch = o->epoch, .acquired = true, .acquirer = w->number, .acquire_clock = w->clock[w->number]};
}

/* An atomic operation on global memory tells others what lies before the block's last fence, if that is all it wrote: what it writes
 * from then on is of another epoch, the last of which has no end. */
static void update(PtxWarp *w)
{
	PtxOrder *o = &w->block->order;
	PtxExec *x = w->x;

	w->updated = true;
	if (!x->published)
		x->published = calloc((size_t)x->grid[0] * x->grid[1] * x->grid[2], sizeof *x->published);
	if (!x->published)
		abort();
	if (o->fenced)
		x->published[w->block->linear] = (uint8_t)(o->epoch + 1);
	if (o->fenced && o->epoch < LAST_EPOCH)
		o->epoch++;
}

static void written(PtxWarp *w)
{
	w->wrote = w->clock[w->number];
	w->block->order.fenced = false;
	if (w->x->published && w->block->order.epoch == LAST_EPOCH)
		w->x->published[w->block->linear] = LAST_EPOCH;
}

static bool check_word(PtxWarp *w, const PtxInst *i, int lane, uint64_t at, unsigned bytes, bool writes, uint64_t *s)
{
	const uint64_t launch = w->x->launch & LAUNCHES, block = w->block->linear, old = *s & ((UINT64_C(1) << 34) - 1);
	unsigned how = (unsigned)(*s >> 34 & 3);
	const unsigned touched = (unsigned)(*s >> 36 & 15), epoch = w->block->order.epoch, then = (unsigned)(*s >> 40 & LAST_EPOCH);

	if (*s >> 46 != launch)
		how = 0;
	if (!writes && how == WRITTEN && (touched & bytes) && (i->flags & PTX_READONLY))
		return global_race(w, i, lane, at, "reads by .nc", "wrote", old);
	if (!how || old == block) {
		if (!(how == WRITTEN && !writes) && how != READ_BY_SEVERAL)
			*s = mark(launch, epoch, how == WRITTEN || !writes ? touched | bytes : bytes, writes ? WRITTEN : READ,
				  block);
		else if (how == READ_BY_SEVERAL && writes)
			return global_race(w, i, lane, at, "writes", "and others read", old);
		return true;
	}
	if (writes && how == WRITTEN && (touched & bytes))
		return global_race(w, i, lane, at, "writes", "wrote", old);
	if (writes && how != WRITTEN && bytes == 15)
		return global_race(w, i, lane, at, "writes", "read", old);
	if (!writes && how == WRITTEN && (touched & bytes) && !is_known(w, old, then))
		return global_race(w, i, lane, at, "reads", "wrote", old);
	*s = writes           ? mark(launch, epoch, bytes, WRITTEN, block)
	     : how == WRITTEN ? *s
			      : mark(launch, epoch, touched | bytes, READ_BY_SEVERAL, old);
	return true;
}

bool ptx_check_global(PtxWarp *w, const PtxInst *i, int lane, uint64_t at, unsigned bytes, PtxAccess access)
{
	const bool writes = access == PTX_WRITE;

	if (access == PTX_ATOMIC) {
		update(w);
		return true;
	}
	if (writes)
		written(w);
	for (unsigned done = 0; done < bytes;) {
		const unsigned first = (unsigned)(at + done) % 4,
			       n = 4 - first < bytes - done ? 4 - first : bytes - done;

		if (!check_word(w, i, lane, at + done, ((1u << n) - 1) << first, writes, ptx_memory_shadow(at + done)))
			return false;
		done += n;
	}
	return true;
}
