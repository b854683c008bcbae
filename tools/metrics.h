/* tools/metrics.h -- how good predictions are: classification, ranking by scores, regression.
 *
 * Every metric is a function of the samples and of how often each of them counts, so that a bootstrap resample
 * (Efron 1979) is nothing but other counts.  Definitions are those of scikit-learn's sklearn.metrics:
 *   - averages: macro, the mean over classes that occur as a label or as a prediction; micro, of the sums over all
 *     classes; weighted, by the number of labels.  A quotient by zero (a class never predicted) is 0.
 *   - specificity: the share of the samples of other classes that are not taken for this one.
 *   - ROC-AUC: the probability that a sample of the class has a higher score than one of another class, equal
 *     scores counting half (Hanley and McNeil 1982); average precision: the sum of precision times the gain of
 *     recall at each score.  Of two classes that of class 1; of more the mean of one class versus the rest.
 *     Classes without a sample, or with all of them, are left out.
 *   - R2: the mean over outputs; an output whose targets are all equal counts 1 if met exactly, else 0.
 *   - MAPE: a share, not percent; targets that are zero are left out (scikit-learn divides by a tiny number). */
#ifndef MLO_TOOLS_METRICS_H
#define MLO_TOOLS_METRICS_H
#include "ir/base/arena.h"
#include "ir/base/diag.h"

/* Samples, their labels, and what a model says of them.  Arrays are not owned. */
typedef struct MloPredictions {
	size_t n;             /* samples */
	size_t width;         /* classes; of a regression, numbers per sample */
	const int64_t *label; /* n: class numbers from 0 on */
	const int64_t *pred;  /* n: the class predicted; may be beyond `width` if the model names classes itself */
	const int64_t *rank;  /* n: how many classes are better than the label */
	const double *score;  /* n x width, or NULL if no metric of ranks is wanted; of a regression its numbers */
	const double *target; /* n x width, of a regression */
	uint32_t **order;     /* per class: samples by falling score; see mlo_metrics_sort() */
} MloPredictions;

typedef enum MloMetricKind { METRIC_CLASSES, METRIC_RANKS, METRIC_NUMBERS } MloMetricKind;
typedef struct MloMetric {
	const char *name;
	MloMetricKind kind;
	double (*value)(const MloPredictions *p, const uint32_t *count, int k);
	int k;                /* of topK */
} MloMetric;
typedef struct MloMetrics {
	struct { MloMetric *items; size_t n, cap; } list;
	bool confusion;       /* the matrix is wanted, too */
} MloMetrics;

/* "top1,f1": names, or their beginnings up to an underscore (f1: all of f1_...), topK, confusion,
 * `classification` and `regression` (all of them).  Both kinds at a time are refused. */
MloStatus mlo_metrics_parse(MloArena *a, const char *text, MloMetrics *out, MloDiag *d) MLO_CHECKED;
bool mlo_metrics_need(const MloMetrics *m, MloMetricKind kind);

/* Labels out of range, numbers that are not finite, metrics that these samples do not define: an error. */
MloStatus mlo_metrics_check(const MloMetrics *m, const MloPredictions *p, MloDiag *d) MLO_CHECKED;
/* Prepares metrics of ranks: fills p->order. */
void mlo_metrics_sort(MloArena *a, MloPredictions *p);
/* count[i]: how often sample i counts; NULL: once.  NaN: the samples that count do not define it. */
double mlo_metric_value(const MloMetric *m, const MloPredictions *p, const uint32_t *count);
/* What was left out of the value, as a sentence, or NULL. */
const char *mlo_metric_note(MloArena *a, const MloMetric *m, const MloPredictions *p);

/* Per class: samples predicted right, labels, predictions. */
typedef struct MloClassCount { double right, labels, predicted; } MloClassCount;
void mlo_metrics_count(const MloPredictions *p, const uint32_t *count, MloClassCount *per_class);
double mlo_class_precision(const MloClassCount *c);
double mlo_class_recall(const MloClassCount *c);
double mlo_class_f1(const MloClassCount *c);
double mlo_class_specificity(const MloClassCount *c, double samples); /* NaN: no sample of another class */

/* Scores for metrics of ranks: rows that are no probabilities become logarithms of their softmax, which are in
 * the same order across samples. In place, n x width. */
void mlo_scores_normalise(double *score, size_t n, size_t width);

/* 95 % of the differences b - a over `resamples` bootstrap resamples lie between lo and hi, by percentiles; both
 * models see the same resamples, which follow from the seed. */
typedef struct MloInterval { double lo, hi; } MloInterval;
void mlo_metrics_bootstrap(const MloMetrics *m, const MloPredictions *a, const MloPredictions *b, int resamples,
			   uint64_t seed, void (*progress)(double done, double total), MloInterval *out);

/* metrics_rank.c */
double mlo_roc_auc(const MloPredictions *p, size_t c, const uint32_t *count); /* of class c versus the rest */
double mlo_average_precision(const MloPredictions *p, size_t c, const uint32_t *count);
#define METRIC(name, kind, value) double value_##value(const MloPredictions *p, const uint32_t *count, int k);
#include "tools/metrics.def"
#endif
