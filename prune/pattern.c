/* prune/pattern.c -- which weights go together, and which of them are the largest. */
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
	out->kind = PRUNE_CHANNEL;
	if (!strcmp(text, "channel"))
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
	case PRUNE_CHANNEL: return "channel";
	default: return "unstructured";
	}
}

/* -- the largest of many ----------------------------------------------------------------------------- */

static void swap(double *v, int64_t i, int64_t j)
{
	double t = v[i];

	v[i] = v[j];
	v[j] = t;
}

/* The value that would stand at `at` if v[n] were sorted in falling order; v is reordered (Hoare's selection). */
static double select_at(double *v, int64_t n, int64_t at)
{
	int64_t lo = 0, hi = n - 1;

	while (lo < hi) {
		double pivot = v[lo + (hi - lo) / 2];
		int64_t i = lo, j = hi;

		while (i <= j) {
			while (v[i] > pivot)
				i++;
			while (v[j] < pivot)
				j--;
			if (i <= j)
				swap(v, i++, j--);
		}
		if (at <= j)
			hi = j;
		else if (at >= i)
			lo = i;
		else
			break;
	}
	return v[at];
}

/* one[i] of n, the `keep` largest being set, of equal ones the first; scratch[n]. */
static void largest(const double *v, int64_t n, int64_t keep, double *scratch, uint8_t *one)
{
	double least;
	int64_t above = 0;

	memset(one, keep >= n, (size_t)n);
	if (keep <= 0 || keep >= n)
		return;
	memcpy(scratch, v, sizeof *v * (size_t)n);
	least = select_at(scratch, n, keep - 1);
	for (int64_t i = 0; i < n; i++)
		above += v[i] > least;
	for (int64_t i = 0; i < n; i++)
		one[i] = v[i] > least || (v[i] == least && above < keep && ++above);
}

static void choose_nm(const MloPrunePattern *p, const double *score, int64_t n, uint8_t *keep)
{
	double scratch[LARGEST];

	for (int64_t at = 0; at < n; at += p->of)
		largest(score + at, p->of, p->keep, scratch, keep + at);
}

static int64_t kept(int64_t n, double sparsity)
{
	return (int64_t)((1 - sparsity) * (double)n + 0.5);
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
	largest(unit, n, kept(n, sparsity), MLO_NEWN(a, double, (size_t)n), one);
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
	if (p->rows * p->cols > 1)
		choose_units(p, score, rows, k, sparsity, keep, a);
	else
		largest(score, rows * k, kept(rows * k, sparsity), MLO_NEWN(a, double, (size_t)(rows * k)), keep);
	mlo_arena_free(a);
}
