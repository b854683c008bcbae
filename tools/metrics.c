/* tools/metrics.c -- metrics of predicted classes and of regressions; names, checks, the bootstrap. */
#include "tools/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double times(const uint32_t *count, size_t i)
{
	return count ? count[i] : 1;
}

static double quotient(double a, double b)
{
	return b > 0 ? a / b : 0;
}

/* -- predicted classes ------------------------------------------------------------------------ */

void mlo_metrics_count(const MloPredictions *p, const uint32_t *count, MloClassCount *per_class)
{
	memset(per_class, 0, p->width * sizeof *per_class);
	for (size_t i = 0; i < p->n; i++) {
		const double w = times(count, i);

		per_class[p->label[i]].labels += w;
		if (p->pred[i] >= 0 && (size_t)p->pred[i] < p->width)
			per_class[p->pred[i]].predicted += w;
		per_class[p->label[i]].right += p->pred[i] == p->label[i] ? w : 0;
	}
}

double mlo_class_precision(const MloClassCount *c)
{
	return quotient(c->right, c->predicted);
}

double mlo_class_recall(const MloClassCount *c)
{
	return quotient(c->right, c->labels);
}

double mlo_class_f1(const MloClassCount *c)
{
	return quotient(2 * c->right, c->labels + c->predicted);
}

double mlo_class_specificity(const MloClassCount *c, double samples)
{
	const double others = samples - c->labels;

	return others > 0 ? (others - (c->predicted - c->right)) / others : NAN;
}

static double samples_of(const MloPredictions *p, const uint32_t *count)
{
	double n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += times(count, i);
	return n;
}

static double share_below(const MloPredictions *p, const uint32_t *count, int k)
{
	double right = 0;

	for (size_t i = 0; i < p->n; i++)
		right += p->rank[i] < k ? times(count, i) : 0;
	return right / samples_of(p, count);
}

double value_accuracy(const MloPredictions *p, const uint32_t *count, int k)
{
	double right = 0;

	(void)k;
	for (size_t i = 0; i < p->n; i++)
		right += p->pred[i] == p->label[i] ? times(count, i) : 0;
	return right / samples_of(p, count);
}

typedef double OfClass(const MloClassCount *c);

static MloClassCount *counted(const MloPredictions *p, const uint32_t *count)
{
	MloClassCount *c = calloc(p->width + 1, sizeof *c);

	if (!c)
		MLO_BUG("out of memory for %zu classes", p->width);
	mlo_metrics_count(p, count, c);
	return c;
}

static double macro(const MloPredictions *p, const uint32_t *count, OfClass *of)
{
	MloClassCount *c = counted(p, count);
	double sum = 0, classes = 0;

	for (size_t i = 0; i < p->width; i++) {
		if (c[i].labels + c[i].predicted == 0)
			continue;
		sum += of(&c[i]);
		classes++;
	}
	free(c);
	return sum / classes;
}

static double micro(const MloPredictions *p, const uint32_t *count, OfClass *of)
{
	MloClassCount *c = counted(p, count), all = {0, 0, 0};

	for (size_t i = 0; i < p->width; i++) {
		all.right += c[i].right;
		all.labels += c[i].labels;
		all.predicted += c[i].predicted;
	}
	free(c);
	return of(&all);
}

static double weighted(const MloPredictions *p, const uint32_t *count, OfClass *of)
{
	MloClassCount *c = counted(p, count);
	double sum = 0, labels = 0;

	for (size_t i = 0; i < p->width; i++) {
		sum += c[i].labels * of(&c[i]);
		labels += c[i].labels;
	}
	free(c);
	return sum / labels;
}

#define AVERAGED(metric, average)                                                                   \
	double value_##metric##_##average(const MloPredictions *p, const uint32_t *count, int k)     \
	{                                                                                           \
		(void)k;                                                                            \
		return average(p, count, mlo_class_##metric);                                       \
	}
AVERAGED(precision, macro)
AVERAGED(precision, micro)
AVERAGED(precision, weighted)
AVERAGED(recall, macro)
AVERAGED(recall, micro)
AVERAGED(recall, weighted)
AVERAGED(f1, macro)
AVERAGED(f1, micro)
AVERAGED(f1, weighted)

double value_specificity_macro(const MloPredictions *p, const uint32_t *count, int k)
{
	MloClassCount *c = counted(p, count);
	const double samples = samples_of(p, count);
	double sum = 0, classes = 0;

	(void)k;
	for (size_t i = 0; i < p->width; i++) {
		const double one = mlo_class_specificity(&c[i], samples);

		if (c[i].labels + c[i].predicted == 0 || isnan(one))
			continue;
		sum += one;
		classes++;
	}
	free(c);
	return sum / classes;
}

/* -- regressions ------------------------------------------------------------------------------- */

/* The mean over all numbers of what `of` says of target and prediction. */
static double mean_of(const MloPredictions *p, const uint32_t *count, double (*of)(double target, double value))
{
	double sum = 0;

	for (size_t i = 0; i < p->n; i++)
		for (size_t j = 0; j < p->width; j++)
			sum += times(count, i) * of(p->target[i * p->width + j], p->score[i * p->width + j]);
	return sum / (samples_of(p, count) * (double)p->width);
}

static double absolute(double target, double value)
{
	return fabs(target - value);
}

static double square(double target, double value)
{
	return (target - value) * (target - value);
}

double value_mae(const MloPredictions *p, const uint32_t *count, int k)
{
	(void)k;
	return mean_of(p, count, absolute);
}

double value_mse(const MloPredictions *p, const uint32_t *count, int k)
{
	(void)k;
	return mean_of(p, count, square);
}

double value_rmse(const MloPredictions *p, const uint32_t *count, int k)
{
	return sqrt(value_mse(p, count, k));
}

/* Of output j. */
static double r2_of(const MloPredictions *p, const uint32_t *count, size_t j)
{
	double n = 0, mean = 0, spread = 0, error = 0;

	for (size_t i = 0; i < p->n; i++) {
		n += times(count, i);
		mean += times(count, i) * p->target[i * p->width + j];
	}
	mean /= n;
	for (size_t i = 0; i < p->n; i++) {
		spread += times(count, i) * square(p->target[i * p->width + j], mean);
		error += times(count, i) * square(p->target[i * p->width + j], p->score[i * p->width + j]);
	}
	return spread > 0 ? 1 - error / spread : error > 0 ? 0 : 1;
}

double value_r2(const MloPredictions *p, const uint32_t *count, int k)
{
	double sum = 0;

	(void)k;
	for (size_t j = 0; j < p->width; j++)
		sum += r2_of(p, count, j);
	return sum / (double)p->width;
}

double value_mape(const MloPredictions *p, const uint32_t *count, int k)
{
	double sum = 0, n = 0;

	(void)k;
	for (size_t i = 0; i < p->n * p->width; i++) {
		const double w = times(count, i / p->width);

		if (p->target[i] == 0)
			continue;
		sum += w * fabs((p->target[i] - p->score[i]) / p->target[i]);
		n += w;
	}
	return n > 0 ? sum / n : NAN;
}

/* -- names ---------------------------------------------------------------------------------------- */

static const MloMetric table[] = {
#define METRIC(name, kind, value) {#name, METRIC_##kind, value_##value, 0},
#include "tools/metrics.def"
};

static bool is(const char *s, size_t n, const char *word)
{
	return strlen(word) == n && memcmp(s, word, n) == 0;
}

static void add_once(MloArena *a, MloMetrics *m, const MloMetric *one)
{
	for (size_t i = 0; i < m->list.n; i++)
		if (strcmp(m->list.items[i].name, one->name) == 0)
			return;
	MLO_PUSH(a, &m->list, *one);
}

/* "top5": false where it is none. */
static bool add_top(MloArena *a, MloMetrics *m, const char *s, size_t n)
{
	MloMetric one = {mlo_strndup(a, s, n), METRIC_CLASSES, share_below, 0};

	if (n < 4 || n > 9 || memcmp(s, "top", 3) != 0 || strspn(s + 3, "0123456789") < n - 3)
		return false;
	one.k = atoi(one.name + 3);
	if (one.k)
		add_once(a, m, &one);
	return one.k > 0;
}

static bool add_named(MloArena *a, MloMetrics *m, const char *s, size_t n)
{
	const bool classes = is(s, n, "classification"), numbers = is(s, n, "regression");
	bool found = classes || numbers;

	if (classes) {
		add_top(a, m, "top1", 4);
		add_top(a, m, "top5", 4);
	}
	m->confusion = m->confusion || classes || is(s, n, "confusion");
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		const char *name = table[i].name;
		const bool begins = strncmp(name, s, n) == 0 && (name[n] == 0 || name[n] == '_');

		if (begins || (numbers && table[i].kind == METRIC_NUMBERS) || (classes && table[i].kind != METRIC_NUMBERS)) {
			add_once(a, m, &table[i]);
			found = true;
		}
	}
	return found || is(s, n, "confusion");
}

bool mlo_metrics_need(const MloMetrics *m, MloMetricKind kind)
{
	for (size_t i = 0; i < m->list.n; i++)
		if (m->list.items[i].kind == kind)
			return true;
	return false;
}

MloStatus mlo_metrics_parse(MloArena *a, const char *text, MloMetrics *out, MloDiag *d)
{
	MloStr names = {.arena = a};

	*out = (MloMetrics){0};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		mlo_str_add(&names, ", %s", table[i].name);
	for (const char *s = text;; s++) {
		const size_t n = strcspn(s, ",");

		if (n == 0 || (!add_top(a, out, s, n) && !add_named(a, out, s, n))) {
			mlo_error(d, MLO_ERR_USAGE, "--metric: '%.*s' is not known", (int)n, s);
			mlo_hint(d, "top1, top5, confusion%s; classification or regression: all of those", mlo_str_text(&names));
			return MLO_ERR_USAGE;
		}
		s += n;
		if (!*s)
			break;
	}
	if (mlo_metrics_need(out, METRIC_NUMBERS) &&
	    (out->confusion || mlo_metrics_need(out, METRIC_CLASSES) || mlo_metrics_need(out, METRIC_RANKS)))
		return mlo_error(d, MLO_ERR_USAGE, "--metric %s: of classifications and of regressions at a time", text);
	return MLO_OK;
}

/* -- checks ----------------------------------------------------------------------------------------- */

static MloStatus check_numbers(const double *v, const MloPredictions *p, const char *what, MloDiag *d)
{
	for (size_t i = 0; v && i < p->n * p->width; i++)
		if (!isfinite(v[i]))
			return mlo_error(d, MLO_ERR_MODEL, "%s %zu of sample %zu is %f", what, i % p->width, i / p->width, v[i]);
	return MLO_OK;
}

static MloStatus check_labels(const MloMetrics *m, const MloPredictions *p, MloDiag *d)
{
	size_t first = 0;

	for (size_t i = 0; i < p->n; i++) {
		if (p->label[i] < 0 || (size_t)p->label[i] >= p->width)
			return mlo_error(d, MLO_ERR_MODEL, "label %lld of sample %zu is out of range, the model has %zu classes",
					 (long long)p->label[i], i, p->width);
		first += p->label[i] == p->label[0];
	}
	if (first == p->n && mlo_metrics_need(m, METRIC_RANKS))
		return mlo_error(d, MLO_ERR_MODEL, "all %zu labels are %lld: roc_auc and average_precision need samples of two classes",
				 p->n, (long long)p->label[0]);
	return MLO_OK;
}

MloStatus mlo_metrics_check(const MloMetrics *m, const MloPredictions *p, MloDiag *d)
{
	if (!p->n)
		return mlo_error(d, MLO_ERR_MODEL, "there are no samples");
	if (mlo_metrics_need(m, METRIC_NUMBERS)) {
		MLO_TRY(check_numbers(p->target, p, "target", d));
		return check_numbers(p->score, p, "prediction", d);
	}
	MLO_TRY(check_labels(m, p, d));
	for (size_t i = 0; p->score && i < p->n * p->width; i++)
		if (isnan(p->score[i]) || p->score[i] == INFINITY)
			return mlo_error(d, MLO_ERR_MODEL, "the score of class %zu for sample %zu is %f", i % p->width, i / p->width,
					 p->score[i]);
	if (!p->score && mlo_metrics_need(m, METRIC_RANKS))
		return mlo_error(d, MLO_ERR_MODEL, "roc_auc and average_precision need scores, the model names classes");
	return MLO_OK;
}

double mlo_metric_value(const MloMetric *m, const MloPredictions *p, const uint32_t *count)
{
	return m->value(p, count, m->k);
}

static size_t classes_without(const MloPredictions *p)
{
	MloClassCount *c = counted(p, NULL);
	size_t n = 0;

	for (size_t i = 0; i < p->width; i++)
		n += c[i].labels == 0;
	free(c);
	return n;
}

const char *mlo_metric_note(MloArena *a, const MloMetric *m, const MloPredictions *p)
{
	size_t zero = 0, empty;

	if (m->value == value_mape) {
		for (size_t i = 0; i < p->n * p->width; i++)
			zero += p->target[i] == 0;
		return zero ? mlo_sprintf(a, "%zu targets are zero and left out", zero) : NULL;
	}
	empty = m->kind == METRIC_RANKS && p->width > 2 ? classes_without(p) : 0;
	return empty ? mlo_sprintf(a, "%zu classes have no sample and are left out", empty) : NULL;
}

/* -- the bootstrap -------------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void resample(uint64_t *state, uint32_t *count, size_t n)
{
	memset(count, 0, n * sizeof *count);
	for (size_t i = 0; i < n; i++)
		count[(size_t)((double)(next_random(state) >> 11) * 0x1p-53 * (double)n)]++;
}

static int ascending(const void *x, const void *y)
{
	const double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

/* The nearest ranks of 2.5 and 97.5 percent of those that are defined. */
static MloInterval middle(double *v, size_t n)
{
	size_t defined = 0;

	for (size_t i = 0; i < n; i++)
		if (!isnan(v[i]))
			v[defined++] = v[i];
	if (!defined)
		return (MloInterval){NAN, NAN};
	qsort(v, defined, sizeof *v, ascending);
	return (MloInterval){v[(size_t)(0.025 * (double)(defined - 1) + 0.5)], v[(size_t)(0.975 * (double)(defined - 1) + 0.5)]};
}

void mlo_metrics_bootstrap(const MloMetrics *m, const MloPredictions *a, const MloPredictions *b, int resamples,
			   uint64_t seed, void (*progress)(double done, double total), MloInterval *out)
{
	const size_t n = (size_t)resamples, metrics = m->list.n;
	uint32_t *count = calloc(a->n + 1, sizeof *count);
	double *difference = calloc(n * metrics + 1, sizeof *difference);

	if (!count || !difference)
		MLO_BUG("out of memory for %zu resamples", n);
	MLO_ASSERT(a->n == b->n);
	for (size_t r = 0; r < n; r++) {
		resample(&seed, count, a->n);
		for (size_t i = 0; i < metrics; i++)
			difference[i * n + r] = mlo_metric_value(&m->list.items[i], b, count) -
						mlo_metric_value(&m->list.items[i], a, count);
		if (progress)
			progress((double)(r + 1), resamples);
	}
	for (size_t i = 0; i < metrics; i++)
		out[i] = middle(difference + i * n, n);
	free(count);
	free(difference);
}
