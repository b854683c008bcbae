/* tools/samples.c -- latencies of repeated runs, and what is said about them. */
#include "tools/samples.h"

#include <math.h>
#include <stdlib.h>

void samples_add(MloArena *a, Samples *s, double ms)
{
	MLO_PUSH(a, s, ms);
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double rank(const Samples *s, double share)
{
	size_t i = (size_t)ceil(share * (double)s->n);

	return s->items[i ? i - 1 : 0];
}

Latency samples_latency(Samples *s)
{
	Latency l = {.runs = s->n};

	if (!s->n)
		return l;
	qsort(s->items, s->n, sizeof *s->items, ascending);
	for (size_t i = 0; i < s->n; i++)
		l.mean += s->items[i] / (double)s->n;
	l.min = s->items[0];
	l.median = rank(s, 0.5);
	l.p90 = rank(s, 0.9);
	l.p99 = rank(s, 0.99);
	return l;
}

double samples_noise(const Latency *l)
{
	return l->min > 0 ? (l->median - l->min) / l->min : 0;
}
