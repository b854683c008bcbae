/* tests/ptx/flow.c -- where the ways of a branch meet, and which instructions are in loops.
 *
 * Lanes that part at a branch join at the nearest instruction that all ways to the function's end pass: the immediate
 * post-dominator of its block. Sources: Fung and others, "Dynamic Warp Formation and Scheduling" (2007); Cooper,
 * Harvey, Kennedy, "A Simple, Fast Dominance Algorithm". */
#include <stdlib.h>
#include <string.h>

#include "tests/ptx/exec.h"

typedef struct Block {
	uint32_t first, end;     /* instructions */
	uint32_t nnext, next_room;
	uint32_t *next;          /* numbers of blocks; the function's end is block n */
	uint32_t order;          /* in a walk backwards from the end; UINT32_MAX: not reached */
	uint32_t join;
	uint16_t loop;
} Block;

typedef struct Flow {
	PtxParse *p;
	PtxFunc *f;
	Block *blocks;
	uint32_t n;
	uint32_t *of;            /* block of each instruction */
} Flow;

static bool ends_block(const PtxInst *i)
{
	return i->run == ptx_run_bra || i->run == ptx_run_brx || i->run == ptx_run_ret || i->run == ptx_run_exit ||
	       i->run == ptx_run_trap;
}

static void add_next(Flow *w, Block *b, uint32_t to)
{
	if (b->nnext == b->next_room) {
		uint32_t *more = ptx_alloc(w->p->m, sizeof *more * (2 * b->next_room + 2));

		if (b->nnext)
			memcpy(more, b->next, sizeof *more * b->nnext);
		b->next = more;
		b->next_room = 2 * b->next_room + 2;
	}
	b->next[b->nnext++] = to;
}

static void find_blocks(Flow *w)
{
	PtxFunc *f = w->f;
	bool *leads = calloc(f->ncode + 2, 1);

	if (!leads)
		abort();
	leads[0] = true;
	for (uint32_t k = 0; k < f->ncode; k++) {
		const PtxInst *i = &f->code[k];

		if (i->run == ptx_run_bra)
			leads[i->imm] = true;
		else if (i->run == ptx_run_brx)
			for (uint32_t t = 0; t < i->n; t++)
				leads[((const uintptr_t *)(const void *)i->targets)[t]] = true;
		if (ends_block(i))
			leads[k + 1] = true;
	}
	for (uint32_t k = 0; k < f->ncode; k++)
		w->n += leads[k];
	w->blocks = ptx_alloc(w->p->m, sizeof *w->blocks * (w->n + 1));
	w->of = ptx_alloc(w->p->m, sizeof *w->of * (f->ncode + 1));
	w->n = 0;
	for (uint32_t k = 0; k < f->ncode; k++) {
		if (leads[k]) {
			if (w->n)
				w->blocks[w->n - 1].end = k;
			w->blocks[w->n++].first = k;
		}
		w->of[k] = w->n - 1;
	}
	w->of[f->ncode] = w->n;
	if (w->n)
		w->blocks[w->n - 1].end = f->ncode;
	free(leads);
}

static void link_blocks(Flow *w)
{
	for (uint32_t k = 0; k < w->n; k++) {
		Block *b = &w->blocks[k];
		const PtxInst *i = &w->f->code[b->end - 1];

		if (i->run == ptx_run_bra) {
			add_next(w, b, w->of[i->imm]);
			if (i->guard)
				add_next(w, b, w->of[b->end]);
		} else if (i->run == ptx_run_brx) {
			for (uint32_t t = 0; t < i->n; t++)
				add_next(w, b, w->of[((const uintptr_t *)(const void *)i->targets)[t]]);
			if (i->guard)
				add_next(w, b, w->of[b->end]);
		} else {
			if (ends_block(i))
				add_next(w, b, w->n);
			if (!ends_block(i) || i->guard)
				add_next(w, b, w->of[b->end]);
		}
	}
}

/* Numbers blocks in an order in which those nearer to the end come first, as far as loops allow. Gives the list. */
static uint32_t *order_blocks(Flow *w, uint32_t *count)
{
	uint32_t *prev_first = calloc(w->n + 2, sizeof *prev_first), *prev, *stack, *post, *at;
	uint32_t depth = 0, npost = 0;

	for (uint32_t k = 0; k < w->n; k++)
		for (uint32_t t = 0; t < w->blocks[k].nnext; t++)
			prev_first[w->blocks[k].next[t] + 1]++;
	for (uint32_t k = 0; k <= w->n; k++)
		prev_first[k + 1] += prev_first[k];
	prev = calloc(prev_first[w->n + 1] + 1, sizeof *prev);
	at = malloc(sizeof *at * (w->n + 2));
	memcpy(at, prev_first, sizeof *at * (w->n + 1));
	for (uint32_t k = 0; k < w->n; k++)
		for (uint32_t t = 0; t < w->blocks[k].nnext; t++)
			prev[at[w->blocks[k].next[t]]++] = k;
	memcpy(at, prev_first, sizeof *at * (w->n + 1));
	stack = malloc(sizeof *stack * (w->n + 2));
	post = ptx_alloc(w->p->m, sizeof *post * (w->n + 1));
	for (uint32_t k = 0; k <= w->n; k++)
		w->blocks[k].order = UINT32_MAX;
	stack[depth++] = w->n;
	w->blocks[w->n].order = 0;
	while (depth) {
		const uint32_t b = stack[depth - 1];

		if (at[b] < prev_first[b + 1]) {
			const uint32_t c = prev[at[b]++];

			if (w->blocks[c].order == UINT32_MAX) {
				w->blocks[c].order = 0;
				stack[depth++] = c;
			}
		} else {
			post[npost++] = b;
			depth--;
		}
	}
	for (uint32_t k = 0; k < npost; k++)
		w->blocks[post[k]].order = npost - 1 - k;
	free(prev_first);
	free(prev);
	free(at);
	free(stack);
	*count = npost;
	return post;
}

static uint32_t meet(const Flow *w, uint32_t a, uint32_t b)
{
	while (a != b) {
		while (w->blocks[a].order > w->blocks[b].order)
			a = w->blocks[a].join;
		while (w->blocks[b].order > w->blocks[a].order)
			b = w->blocks[b].join;
	}
	return a;
}

static void find_joins(Flow *w)
{
	uint32_t npost, *post = order_blocks(w, &npost);
	bool changed = true;

	for (uint32_t k = 0; k <= w->n; k++)
		w->blocks[k].join = UINT32_MAX;
	w->blocks[w->n].join = w->n;
	while (changed) {
		changed = false;
		for (uint32_t k = npost; k-- > 0;) {
			Block *b = &w->blocks[post[k]];
			uint32_t join = UINT32_MAX;

			if (post[k] == w->n)
				continue;
			for (uint32_t t = 0; t < b->nnext; t++) {
				const uint32_t s = b->next[t];

				if (w->blocks[s].order != UINT32_MAX && w->blocks[s].join != UINT32_MAX)
					join = join == UINT32_MAX ? s : meet(w, join, s);
			}
			if (join != b->join) {
				b->join = join;
				changed = true;
			}
		}
	}
}

/* Loops: branches back in the text, which is how compilers lay loops out; the innermost is the shortest. */
static void find_loops(Flow *w)
{
	PtxFunc *f = w->f;
	uint32_t n = 1;
	uint32_t *from, *to;

	for (uint32_t k = 0; k < w->n; k++)
		for (uint32_t t = 0; t < w->blocks[k].nnext; t++)
			n += w->blocks[k].next[t] <= k;
	f->loops = ptx_alloc(w->p->m, sizeof *f->loops * n);
	from = ptx_alloc(w->p->m, sizeof *from * n);
	to = ptx_alloc(w->p->m, sizeof *to * n);
	n = 1;
	for (uint32_t k = 0; k < w->n; k++)
		for (uint32_t t = 0; t < w->blocks[k].nnext; t++) {
			const uint32_t head = w->blocks[k].next[t];
			uint32_t l = 1;

			if (head > k)
				continue;
			while (l < n && from[l] != head) /* several ways back to one head are one loop */
				l++;
			from[l] = head;
			to[l] = k;
			n += l == n;
		}
	f->nloops = n;
	for (uint32_t l = 1; l < n; l++)
		f->loops[l].line = f->code[w->blocks[from[l]].first].line;
	for (uint32_t k = 0; k < w->n; k++) {
		uint32_t best = 0;

		for (uint32_t l = 1; l < n; l++)
			if (from[l] <= k && k <= to[l] && (!best || to[l] - from[l] < to[best] - from[best]))
				best = l;
		for (uint32_t i = w->blocks[k].first; i < w->blocks[k].end; i++)
			f->code[i].loop = (uint16_t)best;
	}
	for (uint32_t l = 1; l < n; l++)
		for (uint32_t k = 1; k < n; k++)
			if (k != l && from[k] <= from[l] && to[l] <= to[k] &&
			    (!f->loops[l].parent ||
			     to[k] - from[k] < to[f->loops[l].parent] - from[f->loops[l].parent]))
				f->loops[l].parent = k;
}

void ptx_func_flow(PtxParse *p, PtxFunc *f)
{
	Flow w = {.p = p, .f = f};

	/* A function may end without ret. */
	p->stmt = (PtxStmt){.op = "ret", .text = "ret", .line = p->line};
	ptx_decode(p, 0, false);
	find_blocks(&w);
	link_blocks(&w);
	find_joins(&w);
	find_loops(&w);
	for (uint32_t k = 0; k < f->ncode; k++) {
		PtxInst *i = &f->code[k];
		const uint32_t join = w.blocks[w.of[k]].join;

		if (i->run == ptx_run_bra || i->run == ptx_run_brx)
			i->join = join < w.n ? &f->code[w.blocks[join].first] : NULL;
		if (i->run == ptx_run_bra)
			i->target = &f->code[i->imm];
		else if (i->run == ptx_run_brx)
			for (uint32_t t = 0; t < i->n; t++)
				((const PtxInst **)(uintptr_t)i->targets)[t] =
					&f->code[((const uintptr_t *)(const void *)i->targets)[t]];
	}
}

/* -- what a kernel reaches -- */

static void reach(PtxFunc *entry, const PtxFunc *f)
{
	for (uint32_t k = 0; k < entry->nreached; k++)
		if (entry->reached[k] == f)
			return;
	entry->reached[entry->nreached++] = f;
	for (uint32_t k = 0; k < f->ncallees; k++)
		reach(entry, f->callees[k]);
}

static void place_shared(PtxFunc *entry, const PtxSymbol *s)
{
	for (uint32_t k = 0; k < entry->nshared; k++)
		if (entry->shared[k] == s)
			return;
	entry->shared[entry->nshared] = s;
	if (!s->dynamic) {
		entry->shared_bytes = (entry->shared_bytes + s->align - 1) & ~(s->align - 1);
		entry->shared_at[entry->nshared] = entry->shared_bytes;
		entry->shared_bytes += (uint32_t)s->size;
	}
	entry->nshared++;
}

void ptx_func_finish(PtxModule *m, PtxFunc *f)
{
	uint32_t nfuncs = 0, nconsts = 0, align = 16;

	for (const PtxFunc *g = m->funcs; g; g = g->next) {
		nfuncs++;
		nconsts += g->nconsts;
	}
	f->reached = ptx_alloc(m, sizeof *f->reached * nfuncs);
	reach(f, f);
	f->shared = ptx_alloc(m, sizeof *f->shared * (nconsts + 1));
	f->shared_at = ptx_alloc(m, sizeof *f->shared_at * (nconsts + 1));
	for (uint32_t k = 0; k < f->nreached; k++) {
		const PtxFunc *g = f->reached[k];

		for (uint32_t c = 0; c < g->nconsts; c++)
			if (g->consts[c].shared) {
				place_shared(f, g->consts[c].shared);
				if (g->consts[c].shared->dynamic && g->consts[c].shared->align > align)
					align = g->consts[c].shared->align;
			}
	}
	f->dynamic_base = (f->shared_bytes + align - 1) & ~(align - 1);
	for (uint32_t k = 0; k < f->nshared; k++)
		if (f->shared[k]->dynamic)
			f->shared_at[k] = f->dynamic_base;
	f->max_dynamic = f->shared_bytes < 49152 ? 49152 - f->shared_bytes : 0;
}
