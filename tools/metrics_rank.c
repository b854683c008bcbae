/* tools/metrics_rank.c -- metrics of scores: ROC-AUC and average precision of one class versus the rest. */
#include <math.h>
#include <stdlib.h>

#include "tools/metrics.h"

static double times(const uint32_t *count, size_t i)
{
	return count ? count[i] : 1;
}

/* -- scores ------------------------------------------------------------------------------------ */

/* Rows of probabilities sum to 1, but for rounding. */
static bool are_probabilities(const double *row, size_t width)
{
	double sum = 0;

	for (size_t c = 0; c < width; c++) {
		if (row[c] < 0)
			return false;
		sum += row[c];
	}
	return fabs(sum - 1) < 1e-3;
}

/* The largest score's own term stays out of the sum, so that what is close to certain keeps its order. */
static void log_softmax(double *row, size_t width)
{
	size_t most = 0;
	double rest = 0, top;

	for (size_t c = 1; c < width; c++)
		most = row[c] > row[most] ? c : most;
	top = row[most];
	for (size_t c = 0; c < width; c++)
		rest += c == most ? 0 : exp(row[c] - top);
	for (size_t c = 0; c < width; c++)
		row[c] = row[c] - top - log1p(rest);
}

void mlo_scores_normalise(double *score, size_t n, size_t width)
{
	for (size_t i = 0; i < n; i++)
		if (!are_probabilities(score + i * width, width)) {
			for (size_t k = 0; k < n; k++)
				log_softmax(score + k * width, width);
			return;
		}
}

/* -- order --------------------------------------------------------------------------------------- */

typedef struct Column {
	const double *score;
	size_t width;
} Column;

static int falling(const void *x, const void *y, void *user)
{
	const Column *c = user;
	const uint32_t i = *(const uint32_t *)x, j = *(const uint32_t *)y;
	const double a = c->score[i * c->width], b = c->score[j * c->width];

	if (a != b)
		return a < b ? 1 : -1;
	return i < j ? -1 : i > j;
}

void mlo_metrics_sort(MloArena *a, MloPredictions *p)
{
	p->order = MLO_NEWN(a, uint32_t *, p->width + 1);
	for (size_t c = 0; c < p->width; c++) {
		Column column = {p->score + c, p->width};

		if (p->width == 2 && c == 0)
			continue; /* of two classes the second one is looked at */
		p->order[c] = MLO_NEWN(a, uint32_t, p->n + 1);
		for (size_t i = 0; i < p->n; i++)
			p->order[c][i] = (uint32_t)i;
		qsort_r(p->order[c], p->n, sizeof(uint32_t), falling, &column);
	}
}

/* Samples of one score, of the class and of others. */
typedef struct Step { double in, out; } Step;

/* Counts samples from order[at] on that have the same score; answers where the next score begins. */
static size_t step_of(const MloPredictions *p, size_t c, const uint32_t *count, size_t at, Step *s)
{
	const uint32_t *order = p->order[c];
	const double score = p->score[order[at] * p->width + c];

	*s = (Step){0, 0};
	for (; at < p->n && p->score[order[at] * p->width + c] == score; at++) {
		const bool in = p->label[order[at]] == (int64_t)c;

		*(in ? &s->in : &s->out) += times(count, order[at]);
	}
	return at;
}

double mlo_roc_auc(const MloPredictions *p, size_t c, const uint32_t *count)
{
	double in = 0, out = 0, above = 0; /* above: pairs in which the sample of the class has the higher score */
	Step s;

	for (size_t at = 0; at < p->n;) {
		at = step_of(p, c, count, at, &s);
		above += s.out * (in + s.in / 2);
		in += s.in;
		out += s.out;
	}
	return in > 0 && out > 0 ? above / (in * out) : NAN;
}

double mlo_average_precision(const MloPredictions *p, size_t c, const uint32_t *count)
{
	double in = 0, all = 0, sum = 0;
	Step s;

	for (size_t at = 0; at < p->n;) {
		at = step_of(p, c, count, at, &s);
		in += s.in;
		all += s.in + s.out;
		sum += all > 0 ? s.in * (in / all) : 0;
	}
	return in > 0 ? sum / in : NAN;
}

/* -- averages --------------------------------------------------------------------------------------- */

static double labels_of(const MloPredictions *p, size_t c, const uint32_t *count)
{
	double n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += p->label[i] == (int64_t)c ? times(count, i) : 0;
	return n;
}

typedef double OfClass(const MloPredictions *p, size_t c, const uint32_t *count);

static double versus_rest(const MloPredictions *p, const uint32_t *count, OfClass *of, bool weighted)
{
	double sum = 0, weight = 0;

	if (p->width == 2)
		return of(p, 1, count);
	for (size_t c = 0; c < p->width; c++) {
		const double one = of(p, c, count), w = weighted ? labels_of(p, c, count) : 1;

		if (isnan(one))
			continue;
		sum += w * one;
		weight += w;
	}
	return weight > 0 ? sum / weight : NAN;
}

double value_roc_auc(const MloPredictions *p, const uint32_t *count, int k)
{
	(void)k;
	return versus_rest(p, count, mlo_roc_auc, false);
}

double value_roc_auc_weighted(const MloPredictions *p, const uint32_t *count, int k)
{
	(void)k;
	return versus_rest(p, count, mlo_roc_auc, true);
}

double value_average_precision(const MloPredictions *p, const uint32_t *count, int k)
{
	(void)k;
	return versus_rest(p, count, mlo_average_precision, false);
}
