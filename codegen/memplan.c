/* codegen/memplan.c -- offsets of activations in one arena, and of weights in their blob.
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

void program_plan_memory(Program *p)
{
	Buffer **order = MLO_NEWN(p->arena, Buffer *, p->buffer.n + 1);
	Buffer **placed = MLO_NEWN(p->arena, Buffer *, p->buffer.n + 1);
	size_t n = 0, nplaced = 0;

	p->arena_bytes = p->weight_bytes = 0;
	for (size_t i = 0; i < p->buffer.n; i++) {
		Buffer *b = &p->buffer.items[i];

		if (b->kind == BUF_ARENA && b->last >= 0) {
			order[n++] = b;
		} else if (b->kind == BUF_WEIGHT) {
			b->offset = p->weight_bytes;
			p->weight_bytes += round_up(b->bytes);
		}
	}
	qsort(order, n, sizeof *order, larger_first);
	for (size_t i = 0; i < n; i++) {
		place(placed, &nplaced, order[i]);
		if (order[i]->offset + round_up(order[i]->bytes) > p->arena_bytes)
			p->arena_bytes = order[i]->offset + round_up(order[i]->bytes);
	}
}
