/* tests/ptx/block.c -- blocks of a grid, one after the other; the warps of a block take turns, barriers bring them
 * together. */
#include <fenv.h>
#include <stdlib.h>

#include "tests/ptx/block.h"

/* -- preparing -- */

static uint64_t shared_address(const PtxFunc *k, const PtxSymbol *s)
{
	uint32_t n = 0;

	while (k->shared[n] != s)
		n++;
	return k->shared_at[n];
}

static void fill32(char *file, int32_t slot, uint32_t value)
{
	for (int l = 0; l < PTX_LANES; l++)
		((uint32_t *)(void *)(file + slot))[l] = value;
}

static void fill_const(const PtxFunc *kernel, const PtxConst *c, char *file)
{
	uint64_t value = c->value;

	if (c->shared)
		value += shared_address(kernel, c->shared);
	if (c->bytes == 1)
		*(uint32_t *)(void *)(file + c->slot) = value ? PTX_FULL : 0;
	else
		for (int l = 0; l < PTX_LANES; l++)
			memcpy(file + c->slot + l * c->bytes, &value, c->bytes);
}

static void fill_file(PtxWarp *w)
{
	const PtxExec *x = w->x;
	const PtxFunc *k = x->kernel;

	for (uint32_t f = 0; f < k->nreached; f++)
		for (uint32_t c = 0; c < k->reached[f]->nconsts; c++)
			fill_const(k, &k->reached[f]->consts[c], w->file);
	for (int d = 0; d < 3; d++) {
		fill32(w->file, PTX_NTID + d * PTX_SLOT, x->threads[d]);
		fill32(w->file, PTX_NCTAID + d * PTX_SLOT, x->grid[d]);
	}
	fill32(w->file, PTX_NTID + 3 * PTX_SLOT, 1);
	fill32(w->file, PTX_NCTAID + 3 * PTX_SLOT, 1);
	fill32(w->file, PTX_WARPID, w->number);
	fill32(w->file, PTX_NWARPID, x->block.nwarps);
	fill32(w->file, PTX_DYNAMIC_SIZE, x->dynamic_shared);
	fill32(w->file, PTX_TOTAL_SIZE, x->block.shared_bytes);
	for (uint32_t l = 0; l < PTX_LANES; l++) {
		const uint32_t t = w->number * PTX_LANES + l;
		uint32_t *s = (uint32_t *)(void *)w->file + l;

		s[PTX_TID / 4] = t % x->threads[0];
		s[PTX_TID / 4 + PTX_LANES] = t / x->threads[0] % x->threads[1];
		s[PTX_TID / 4 + 2 * PTX_LANES] = t / x->threads[0] / x->threads[1];
		s[PTX_LANEID / 4] = l;
		s[PTX_MASK_EQ / 4] = 1u << l;
		s[PTX_MASK_EQ / 4 + PTX_LANES] = (2u << l) - 1;
		s[PTX_MASK_EQ / 4 + 2 * PTX_LANES] = (1u << l) - 1;
		s[PTX_MASK_EQ / 4 + 3 * PTX_LANES] = ~((1u << l) - 1);
		s[PTX_MASK_EQ / 4 + 4 * PTX_LANES] = ~((2u << l) - 1);
	}
}

static void *zeroed(size_t n, size_t size)
{
	void *at = calloc(n ? n : 1, size);

	if (!at)
		abort();
	return at;
}

static void prepare(PtxExec *x)
{
	PtxBlock *b = &x->block;
	const PtxFunc *k = x->kernel;
	const uint32_t threads = x->threads[0] * x->threads[1] * x->threads[2];
	const size_t below = ((size_t)k->module->device_bytes + 63) & ~(size_t)63;
	char *aligned;

	b->x = x;
	b->nwarps = (threads + PTX_LANES - 1) / PTX_LANES;
	b->shared_bytes = k->dynamic_base + x->dynamic_shared;
	b->shared = zeroed(b->shared_bytes + 16, 1);
	b->shadow = zeroed(b->shared_bytes / 4 + 4, sizeof *b->shadow);
	b->warps = zeroed(b->nwarps, sizeof *b->warps);
	x->file_bytes = below + ((k->file_bytes + 63) & ~63u);
	/* Registers of device functions that the kernel does not reach stay pages that nobody touches. */
	x->files = zeroed(x->file_bytes * b->nwarps + 64, 1);
	aligned = (char *)(((uintptr_t)x->files + 63) & ~(uintptr_t)63);
	for (uint32_t n = 0; n < b->nwarps; n++) {
		PtxWarp *w = &b->warps[n];
		const uint32_t lanes = threads - n * PTX_LANES;

		w->x = x;
		w->block = b;
		w->number = n;
		w->file = aligned + n * x->file_bytes + below;
		w->exists = lanes >= PTX_LANES ? PTX_FULL : (1u << lanes) - 1;
		if (k->local_bytes)
			w->local = zeroed(k->local_bytes, PTX_LANES);
		if (k->module->device_local)
			w->device_local = zeroed(k->module->device_local, PTX_LANES);
		w->registers = zeroed(k->module->nwatched, sizeof *w->registers);
		fill_file(w);
	}
}

void ptx_exec_free(PtxExec *x)
{
	ptx_wgmma_clear(&x->block);
	ptx_mbarrier_clear(&x->block);
	for (uint32_t n = 0; x->block.warps && n < x->block.nwarps; n++) {
		free(x->block.warps[n].local);
		free(x->block.warps[n].device_local);
		free(x->block.warps[n].pending);
		free(x->block.warps[n].registers);
	}
	free(x->block.warps);
	free(x->block.shared);
	free(x->block.shadow);
	free(x->block.vectors);
	free(x->files);
	free(x->published);
}

/* -- barriers -- */

void ptx_learn(uint32_t *clock, uint32_t *proxy, const uint32_t *new_clock, const uint32_t *new_proxy)
{
	for (unsigned v = 0; v < PTX_MAX_WARPS; v++) {
		clock[v] = new_clock[v] > clock[v] ? new_clock[v] : clock[v];
		proxy[v] = new_proxy[v] > proxy[v] ? new_proxy[v] : proxy[v];
	}
}

void ptx_tick(PtxWarp *w)
{
	w->clock[w->number] = ++w->block->clock;
}

PTX_RUNNER(fence)
{
	(void)m;
	if (i->mode)
		ptx_check_fence(w);
}

/* What the lanes have written to shared memory becomes known to the asynchronous proxy. */
PTX_RUNNER(fence_proxy)
{
	w->unfenced &= ~m;
	if (!w->unfenced)
		w->proxy[w->number]++;
	if (m == w->live)
		w->fenced_at = ++w->block->proxy_fences;
}

PTX_RUNNER(warp_sync)
{
	const uint32_t *mask = SLOT(uint32_t, i->a);

	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);

		if ((mask[l] & w->live) & ~m) {
			ptx_finding(w, i, l, PTX_LAUNCH_FAILED,
				    "bar.warp.sync waits for lanes %#x, of which only %#x are here", mask[l], m);
			return;
		}
	}
}

PTX_RUNNER(bar)
{
	const unsigned first = (unsigned)__builtin_ctz(m);
	const uint32_t id = SLOT(uint32_t, i->a)[first];
	const uint32_t count = i->b ? SLOT(uint32_t, i->b)[first] : 0;
	PtxBlock *b = w->block;
	uint32_t p;

	if (m != w->live) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "divergent barrier: lanes %#x of %#x are here", m, w->live);
		return;
	}
	if (id > 15 || count % PTX_LANES || (i->b && !count) || (i->mode == PTX_BAR_ARRIVE && !count)) {
		ptx_finding(w, i, -1, PTX_ILLEGAL_INSTRUCTION, "barrier %u of %u threads", id, count);
		return;
	}
	if (i->mode >= PTX_BAR_AND) {
		p = (i->flags & PTX_NOT ? ~PRED(i->c) : PRED(i->c)) & m;
		b->red_or[id] |= p;
		b->red_and[id] |= p ^ m; /* lanes that say no */
		b->red_count[id] += (uint32_t)__builtin_popcount(p);
	}
	if (i->mode == PTX_BAR_ARRIVE) {
		b->arrived[id] += PTX_LANES;
		ptx_learn(b->told[id].clock, b->told[id].proxy, w->clock, w->proxy);
		ptx_tick(w);
		return;
	}
	w->state = PTX_WAITING;
	w->barrier = id;
	w->barrier_count = count;
	w->at = i;
}

static void give_result(PtxWarp *w, const PtxBlock *b)
{
	const PtxInst *i = w->at;
	const uint32_t id = w->barrier;
	uint32_t t[PTX_LANES];

	if (i->mode == PTX_BAR_AND)
		ptx_put_pred(w, i->d, b->red_and[id] ? 0 : PTX_FULL, w->now.mask);
	else if (i->mode == PTX_BAR_OR)
		ptx_put_pred(w, i->d, b->red_or[id] ? PTX_FULL : 0, w->now.mask);
	else if (i->mode == PTX_BAR_POPC) {
		EACH t[l] = b->red_count[id];
		ptx_put(w, i->d, t, 4, w->now.mask);
	}
}

static void release(PtxBlock *b, uint32_t id)
{
	PtxKnown known = b->told[id];

	for (uint32_t n = 0; n < b->nwarps; n++)
		if (b->warps[n].state == PTX_WAITING && b->warps[n].barrier == id)
			ptx_learn(known.clock, known.proxy, b->warps[n].clock, b->warps[n].proxy);
	b->clock++;
	for (uint32_t n = 0; n < b->nwarps; n++) {
		PtxWarp *w = &b->warps[n];

		if (w->state != PTX_WAITING || w->barrier != id)
			continue;
		memcpy(w->clock, known.clock, sizeof known.clock);
		memcpy(w->proxy, known.proxy, sizeof known.proxy);
		w->clock[n] = b->clock;
		give_result(w, b);
		w->state = PTX_RUNNING;
	}
	b->arrived[id] = 0;
	memset(&b->told[id], 0, sizeof b->told[id]);
	b->red_and[id] = b->red_or[id] = b->red_count[id] = 0;
}

/* Lets warps go whose barrier is complete; false: none could. */
static bool open_barriers(PtxBlock *b)
{
	bool opened = false;

	for (uint32_t id = 0; id < 16; id++) {
		uint32_t waiting = 0, count = 0, live = 0, here = 0;

		for (uint32_t n = 0; n < b->nwarps; n++) {
			const PtxWarp *w = &b->warps[n];

			live += w->state != PTX_DONE;
			if (w->state == PTX_WAITING && w->barrier == id) {
				here++;
				waiting += PTX_LANES;
				if (w->barrier_count)
					count = w->barrier_count;
			}
		}
		if (!here)
			continue;
		if (count ? waiting + b->arrived[id] >= count : here == live) {
			release(b, id);
			opened = true;
		}
	}
	return opened;
}

static void stuck(PtxBlock *b)
{
	PtxWarp *first = NULL, *other = NULL, *awaits = NULL;

	for (uint32_t n = 0; n < b->nwarps; n++) {
		PtxWarp *w = &b->warps[n];

		if (w->state != PTX_WAITING)
			continue;
		if (w->barrier == PTX_AT_MBARRIER)
			awaits = w;
		if (!first)
			first = w;
		else if (w->at != first->at)
			other = w;
	}
	if (awaits)
		ptx_finding(awaits, awaits->at, -1, PTX_LAUNCH_FAILED,
			    "waits for the mbarrier at %#x, whose phase does not end", awaits->awaited);
	else if (first && other)
		ptx_finding(first, first->at, -1, PTX_LAUNCH_FAILED,
			    "divergent barrier: warp %u waits here, warp %u in line %u", first->number, other->number,
			    other->at->line);
	else if (first && first->barrier >= PTX_WARPGROUP)
		ptx_finding(first, first->at, -1, PTX_LAUNCH_FAILED,
			    "not all warps of the warpgroup reach this");
	else if (first)
		ptx_finding(first, first->at, -1, PTX_LAUNCH_FAILED, "a barrier that too few threads reach");
}

/* -- a block, a grid -- */

static void start(PtxBlock *b)
{
	const PtxExec *x = b->x;

	memset(b->shadow, 0, sizeof *b->shadow * (b->shared_bytes / 4 + 1));
	memset(b->shared, 0xcd, b->shared_bytes);
	ptx_wgmma_clear(b);
	ptx_mbarrier_clear(b);
	b->proxy_fences = b->nvectors = 0;
	memset(b->arrived, 0, sizeof b->arrived);
	memset(b->told, 0, sizeof b->told);
	b->clock = 1;
	b->order = (PtxOrder){.fenced = true};
	for (uint32_t n = 0; n < b->nwarps; n++) {
		PtxWarp *w = &b->warps[n];

		w->live = w->exists;
		w->now = (PtxFrame){x->kernel->code, NULL, w->exists, 0};
		w->depth = 0;
		w->state = PTX_RUNNING;
		w->npending = w->ngroups = w->landed = w->wrote = 0;
		w->yields = false;
		w->max_registers = 0;
		w->fenced_at = w->unfenced = w->fences = w->products = w->products_done = w->products_groups =
			w->nproduct_ends = 0;
		memset(w->registers, 0, sizeof *w->registers * x->kernel->module->nwatched);
		memset(w->proxy, 0, sizeof w->proxy);
		w->updated = w->multiplied = false;
		memset(w->clock, 0, sizeof w->clock);
		w->clock[n] = 1;
		for (int d = 0; d < 3; d++)
			fill32(w->file, PTX_CTAID + d * PTX_SLOT, b->id[d]);
	}
}

static bool any(const PtxBlock *b, PtxState state)
{
	for (uint32_t n = 0; n < b->nwarps; n++)
		if (b->warps[n].state == state)
			return true;
	return false;
}

static void run_block(PtxBlock *b)
{
	PtxExec *x = b->x;

	start(b);
	for (;;) {
		for (uint32_t n = 0; n < b->nwarps; n++) {
			PtxWarp *w = &b->warps[n];

			if (w->state == PTX_RUNNING)
				ptx_warp_run(w);
			if (x->error)
				return;
		}
		if (open_barriers(b) || any(b, PTX_RUNNING))
			continue;
		if (any(b, PTX_WAITING))
			stuck(b);
		return;
	}
}

static bool has_atomics(const PtxExec *x)
{
	for (uint32_t f = 0; f < x->kernel->nreached; f++)
		if (x->kernel->reached[f]->atomics)
			return true;
	return false;
}

/* How many of the grid's blocks run. */
static uint64_t how_many(const PtxExec *x, uint64_t blocks)
{
	const uint64_t few = x->middle ? x->middle : x->sample && !has_atomics(x) ? x->sample : blocks;

	return few < blocks ? few : blocks;
}

/* The i-th of n of them. */
static uint32_t which(const PtxExec *x, uint64_t i, uint64_t n, uint64_t blocks)
{
	if (x->backwards)
		i = n - 1 - i;
	return (uint32_t)(x->middle && n < blocks ? blocks / 2 / n * n + i : (i + 1) * blocks / n - 1);
}

void ptx_exec_run(PtxExec *x)
{
	PtxBlock *b = &x->block;
	const uint64_t blocks = (uint64_t)x->grid[0] * x->grid[1] * x->grid[2], n = how_many(x, blocks);
	fenv_t env;

	/* whoever launches may count denormals as zero */
	fegetenv(&env);
	fesetenv(FE_DFL_ENV);
	prepare(x);
	for (uint64_t i = 0; i < n && !x->error; i++) {
		b->linear = which(x, i, n, blocks);
		b->id[0] = b->linear % x->grid[0];
		b->id[1] = b->linear / x->grid[0] % x->grid[1];
		b->id[2] = b->linear / x->grid[0] / x->grid[1];
		run_block(b);
	}
	fesetenv(&env);
}
