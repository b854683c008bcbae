/* codegen/memplan.c -- offsets of activations in arenas, and of weights in their blob.
 *
 * Greedy by size: the largest buffer first, each at the lowest place that is free during its whole
 * life (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020).
 * Buffers start at multiples of the cache line. */
#include <stdlib.h>

#include "codegen/program.h"

enum { ALIGN = 64 };

static int64_t round_up(int64_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static int larger_first(const void *x, const void *y)
{
	const Buffer *a = *(Buffer *const *)x, *b = *(Buffer *const *)y;

	if (a->bytes != b->bytes)
		return a->bytes < b->bytes ? 1 : -1;
	return a->first != b->first ? (a->first < b->first ? -1 : 1) : a < b ? -1 : a > b;
}

static bool overlap_in_time(const Buffer *a, const Buffer *b)
{
	return a->first <= b->last && b->first <= a->last;
}

/* Placed buffers are kept sorted by offset, so one walk finds the first gap. */
static void place(Buffer **placed, size_t *n, Buffer *buf)
{
	int64_t at = 0, need = round_up(buf->bytes);
	size_t i;

	for (i = 0; i < *n; i++) {
		const Buffer *other = placed[i];

		if (!overlap_in_time(other, buf))
			continue;
		if (other->offset >= at + need)
			break;
		if (other->offset + round_up(other->bytes) > at)
			at = other->offset + round_up(other->bytes);
	}
	buf->offset = at;
	for (i = *n; i > 0 && placed[i - 1]->offset > at; i--)
		placed[i] = placed[i - 1];
	placed[i] = buf;
	(*n)++;
}

static void plan_static(Plan *plan, Program *p)
{
	Buffer **order = MLO_NEWN(plan->arena, Buffer *, p->buffer.n + 1);
	Buffer **placed = MLO_NEWN(plan->arena, Buffer *, p->buffer.n + 1);
	size_t n = 0, nplaced = 0;

	p->arena_bytes = 0;
	for (size_t i = 0; i < p->buffer.n; i++)
		if (p->buffer.items[i].kind == BUF_ARENA && p->buffer.items[i].last >= 0)
			order[n++] = &p->buffer.items[i];
	qsort(order, n, sizeof *order, larger_first);
	for (size_t i = 0; i < n; i++) {
		place(placed, &nplaced, order[i]);
		if (order[i]->offset + round_up(order[i]->bytes) > p->arena_bytes)
			p->arena_bytes = order[i]->offset + round_up(order[i]->bytes);
	}
}

/* -- sizes known only when the program runs ----------------------------------------------------
 *
 * Buffers whose lives do not overlap share a bin, which is as large as the largest of them; the bins lie
 * behind each other. */

typedef struct Bin {
	int slot, last, offset;
	int64_t guess;
} Bin;

static int earlier_first(const void *x, const void *y)
{
	const Buffer *a = *(Buffer *const *)x, *b = *(Buffer *const *)y;

	return a->first != b->first ? (a->first < b->first ? -1 : 1) : a < b ? -1 : a > b;
}

/* The free bin whose size comes closest. */
static int choose_bin(const Bin *bin, int n, const Buffer *buf, int64_t guess)
{
	double best = 0;
	int chosen = -1;

	for (int i = 0; i < n; i++) {
		double a = (double)bin[i].guess + 1, b = (double)guess + 1, ratio = a > b ? a / b : b / a;

		if (bin[i].last >= buf->first)
			continue;
		if (bin[i].slot == buf->bytes_slot)
			return i;
		if (chosen < 0 || ratio < best) {
			best = ratio;
			chosen = i;
		}
	}
	return chosen;
}

static void plan_bins(Plan *plan, Program *p)
{
	Buffer **order = MLO_NEWN(plan->arena, Buffer *, p->buffer.n + 1);
	Bin *bin = MLO_NEWN(plan->arena, Bin, p->buffer.n + 1);
	int *bin_of = MLO_NEWN(plan->arena, int, p->buffer.n + 1), n = 0, nbins = 0, at = slots_const(&p->slots, 0);

	for (size_t i = 0; i < p->buffer.n; i++)
		if (p->buffer.items[i].kind == BUF_PLANNED)
			order[n++] = &p->buffer.items[i];
	if (n == 0)
		return;
	qsort(order, (size_t)n, sizeof *order, earlier_first);
	for (int i = 0; i < n; i++) {
		int64_t guess = p->slots.slot.items[order[i]->bytes_slot].guess;
		int b = choose_bin(bin, nbins, order[i], guess);

		if (b < 0) {
			b = nbins++;
			bin[b] = (Bin){.slot = order[i]->bytes_slot, .guess = guess};
		}
		bin[b].slot = slots_expr(&p->slots, MLRT_X_MAX, bin[b].slot, order[i]->bytes_slot, 0);
		bin[b].guess = guess > bin[b].guess ? guess : bin[b].guess;
		bin[b].last = order[i]->last;
		bin_of[i] = b;
	}
	for (int b = 0; b < nbins; b++) {
		bin[b].offset = at;
		at = slots_expr(&p->slots, MLRT_X_ADD, at, slots_expr(&p->slots, MLRT_X_ALIGN, bin[b].slot, -1, ALIGN), 0);
	}
	for (int i = 0; i < n; i++)
		order[i]->offset_slot = bin[bin_of[i]].offset;
	p->arena_slot = at;
}

void program_plan_memory(Plan *plan, Program *p)
{
	plan_static(plan, p);
	plan_bins(plan, p);
}

static void mark_whole(Plan *plan, const Program *p, const StepArg *a)
{
	const Buffer *b = a->buffer >= 0 ? &p->buffer.items[a->buffer] : NULL;

	if (b && b->kind == BUF_WEIGHT)
		plan->weight.items[b->index].whole = true;
}

/* Marks the constants of which some step reads more than it looks up. */
static void find_whole(Plan *plan, const Program *p)
{
	for (size_t i = 0; i < p->step.n; i++) {
		const Step *s = &p->step.items[i];

		for (size_t a = 0; s->kind == MLRT_STEP_KERNEL && a < s->kernel->arg.n; a++)
			if (!mlo_kernel_looks_up(s->kernel, (int)a))
				mark_whole(plan, p, &s->arg[a]);
	}
	for (size_t i = 0; i < p->value.n; i++)
		mark_whole(plan, p, &p->value.items[i].arg);
}

/* Tables come last, so that one number tells which part of the weights they are. */
void plan_weights(Plan *p)
{
	for (size_t i = 0; i < p->program.n; i++)
		find_whole(p, p->program.items[i]);
	p->weight_bytes = 0;
	for (int table = 0; table < 2; table++) {
		p->lookup_bytes = p->weight_bytes;
		for (size_t i = 0; i < p->weight.n; i++) {
			Weight *w = &p->weight.items[i];

			if (w->whole == (table == 1))
				continue;
			w->offset = p->weight_bytes;
			p->weight_bytes += round_up(w->bytes);
		}
	}
	p->lookup_bytes = p->weight_bytes - p->lookup_bytes;
	p->pooled = plan_pool(p);
}
