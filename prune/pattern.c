/* prune/pattern.c -- which weights go together, and which of them are the largest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prune/prune.h"

enum { LARGEST = 64, BLOCK = 4 };

static bool read_size(const char **at, int *out)
{
	char *end;
	long v = strtol(*at, &end, 10);

	if (end == *at || **at < '0' || **at > '9' || v < 1 || v > LARGEST)
		return false;
	*at = end;
	*out = (int)v;
	return true;
}

bool mlo_pattern_parse(const char *text, MloPrunePattern *out)
{
	static const char block[] = "block=";

	*out = (MloPrunePattern){.kind = PRUNE_UNSTRUCTURED, .rows = 1, .cols = 1};
	if (!strcmp(text, "unstructured"))
		return true;
	out->kind = PRUNE_BLOCK;
	out->cols = BLOCK;
	if (!strcmp(text, "block"))
		return true;
	if (!strncmp(text, block, sizeof block - 1)) {
		text += sizeof block - 1;
		return read_size(&text, &out->rows) && *text++ == 'x' && read_size(&text, &out->cols) && !*text &&
		       out->rows * out->cols > 1;
	}
	out->kind = PRUNE_NM;
	out->cols = 1;
	return read_size(&text, &out->keep) && *text++ == ':' && read_size(&text, &out->of) && !*text &&
	       out->keep < out->of;
}

const char *mlo_pattern_text(MloArena *a, const MloPrunePattern *p)
{
	switch (p->kind) {
	case PRUNE_BLOCK: return mlo_sprintf(a, "block=%dx%d", p->rows, p->cols);
	case PRUNE_NM: return mlo_sprintf(a, "%d:%d", p->keep, p->of);
	default: return "unstructured";
	}
}

/* -- the largest of many ----------------------------------------------------------------------------- */

static int descending(const void *a, const void *b)
{
	const double *x = *(const double *const *)a, *y = *(const double *const *)b;

	if (*x != *y)
		return *x < *y ? 1 : -1;
	return x < y ? -1 : x > y; /* equal ones: the first */
}

/* one[i] of n, the `keep` largest being set; order[n] is scratch. */
static void largest(const double *v, int64_t n, int64_t keep, const double **order, uint8_t *one)
{
	for (int64_t i = 0; i < n; i++)
		order[i] = v + i;
	qsort(order, (size_t)n, sizeof *order, descending);
	memset(one, 0, (size_t)n);
	for (int64_t i = 0; i < keep; i++)
		one[order[i] - v] = 1;
}

static void choose_nm(const MloPrunePattern *p, const double *score, int64_t n, uint8_t *keep)
{
	const double *order[LARGEST];

	for (int64_t at = 0; at < n; at += p->of)
		largest(score + at, p->of, p->keep, order, keep + at);
}

static void choose_units(const MloPrunePattern *p, const double *score, int64_t rows, int64_t k, double sparsity,
			 uint8_t *keep, MloArena *a)
{
	int64_t across = k / p->cols, n = rows / p->rows * across;
	double *unit = MLO_NEWN(a, double, (size_t)n);
	uint8_t *one = MLO_NEWN(a, uint8_t, (size_t)n);

	for (int64_t r = 0; r < rows; r++)
		for (int64_t i = 0; i < k; i++)
			unit[r / p->rows * across + i / p->cols] += score[r * k + i];
	largest(unit, n, (int64_t)((1 - sparsity) * (double)n + 0.5), MLO_NEWN(a, const double *, (size_t)n), one);
	for (int64_t r = 0; r < rows; r++)
		for (int64_t i = 0; i < k; i++)
			keep[r * k + i] = one[r / p->rows * across + i / p->cols];
}

void mlo_pattern_choose(const MloPrunePattern *p, const double *score, int64_t rows, int64_t k, double sparsity,
			uint8_t *keep)
{
	MloArena *a;

	if (p->kind == PRUNE_NM) {
		choose_nm(p, score, rows * k, keep);
		return;
	}
	a = mlo_arena_new();
	MLO_ASSERT(a);
	choose_units(p, score, rows, k, sparsity, keep, a);
	mlo_arena_free(a);
}
