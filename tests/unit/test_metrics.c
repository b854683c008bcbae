/* tests/unit/test_metrics.c -- metrics against the numbers that scikit-learn 1.2.1 gives for the same data. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ir_fixture.h"
#include "tools/metrics.h"

void suite_metrics(void);

enum { N = 24, CLASSES = 5, ROWS = 8, OUTPUTS = 2 };

/* Class 4 has no sample and is never predicted. */
static const int64_t label[N] = {0, 1, 2, 3, 1, 2, 2, 1, 3, 0, 1, 1, 2, 1, 0, 0, 0, 0, 0, 3, 0, 2, 3, 0};
static const double logit[N * CLASSES] = {
	-0.2, 1.6, 0.2, -1.7, -1,
	-1.2, 0.2, -0.5, -0.7, -0.3,
	-0.1, -0.6, 1.2, 0.8, -2.5,
	-0.3, -1, -0.2, -0.5, -0.9,
	0, 0.5, -1, -0.4, -2,
	-1.4, 0.2, -0.3, 1.2, -0.2,
	-2, 0.3, -0.3, 0, -0.9,
	-2, 0.6, -0.3, 1, -2.1,
	0.7, -1.1, -0.3, 0, 0.5,
	1.4, 2.4, 0.6, 0.8, -0.1,
	-0.6, 0.7, 1.4, -0.4, -0.7,
	0, 1.4, -0.4, -0.2, -0.7,
	0.1, -0.9, 1.7, -1.3, -2.1,
	-1.3, 1.8, -0.4, -1, -2,
	1.2, -1.1, -1.3, 0.6, -2.1,
	0.5, -0, -0.4, -0.1, 0.4,
	0.3, -1.3, -1.8, -0.2, -1.3,
	1.1, -0.5, -0.5, -0.7, -1.4,
	1, -0.4, 0.1, 1.9, -0.4,
	-1.6, 1.7, 0.3, -0.1, 0,
	0.8, -0.6, -0.6, -1, -0.9,
	1.1, -0.3, 1.2, 1.9, -2.1,
	0.3, -0.3, -1.1, -0.2, -0.9,
	1.2, -0.5, 0.1, 0.7, -0.6,
};
static const int64_t two_label[N] = {0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0};
static const double two_score[N] = {0.9, 0.5, 1.5, 2.8, 0.6, 1.1, 1.7, -0.9, 0.7, 0.8, 0.6, 1.5, 1, -1.5, 1.9, 1.1, -1.1, 1.4, 0, -0.8, -0.4, 0.5, 2.6, -0.8};
static const double target[ROWS * OUTPUTS] = {-0.51, -0.55, -0.76, -1.83, 0.44, 2.15, 0, -1.85, -2.3, 0.24, -1.41, -1.26, -3.36, 3.9, 1.83, -1.95};
static const double value[ROWS * OUTPUTS] = {-0.06, 0.12, -1.95, -2.1, 0.25, 2.47, -0.06, -1.97, -2.33, 1.17, -0.33, -1.52, -3.82, 5.25, 1.34, -2.24};

/* As eval does: the best class, and how many are better than the label. */
static MloPredictions predictions(MloArena *a, const int64_t *labels, const double *scores, size_t n, size_t width)
{
	int64_t *pred = MLO_NEWN(a, int64_t, n), *rank = MLO_NEWN(a, int64_t, n);
	double *own = mlo_dup(a, scores, n * width * sizeof *scores);
	MloPredictions p = {.n = n, .width = width, .label = labels, .pred = pred, .rank = rank, .score = own};

	for (size_t i = 0; i < n; i++) {
		const double *row = own + i * width;

		for (size_t c = 0; c < width; c++) {
			pred[i] = row[c] > row[pred[i]] ? (int64_t)c : pred[i];
			rank[i] += row[c] > row[labels[i]] || (row[c] == row[labels[i]] && (int64_t)c < labels[i]);
		}
	}
	mlo_scores_normalise(own, n, width);
	mlo_metrics_sort(a, &p);
	return p;
}

static double measured(MloArena *a, const char *name, const MloPredictions *p)
{
	MloMetrics m;
	MloDiag d = {0};

	CU_ASSERT_EQUAL_FATAL(mlo_metrics_parse(a, name, &m, &d), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_metrics_check(&m, p, &d), MLO_OK);
	return mlo_metric_value(&m.list.items[0], p, NULL);
}

typedef struct Expected {
	const char *name;
	double value;
} Expected;

static void compare(MloArena *a, const MloPredictions *p, const Expected *want, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const double got = measured(a, want[i].name, p);

		if (!(fabs(got - want[i].value) < 1e-14))
			printf("\n  %s is %.17g, expected %.17g", want[i].name, got, want[i].value);
		CU_ASSERT(fabs(got - want[i].value) < 1e-14);
	}
}

static void classifications(void)
{
	static const Expected want[] = {
		{"top1", 0.5},
		{"top2", 0.75},
		{"top3", 0.91666666666666663},
		{"accuracy", 0.5},
		{"precision_macro", 0.4375},
		{"recall_macro", 0.43333333333333335},
		{"f1_macro", 0.43043884220354811},
		{"precision_micro", 0.5},
		{"recall_micro", 0.5},
		{"f1_micro", 0.5},
		{"precision_weighted", 0.51041666666666663},
		{"recall_weighted", 0.5},
		{"f1_weighted", 0.50015561780267659},
		{"specificity_macro", 0.83479532163742687},
		{"roc_auc", 0.7521076998050682},
		{"roc_auc_weighted", 0.78528265107212469},
		{"average_precision", 0.56973097300303188},
	};
	MloArena *a = mlo_arena_new();
	MloPredictions p = predictions(a, label, logit, N, CLASSES);
	MloClassCount c[CLASSES];

	compare(a, &p, want, sizeof want / sizeof *want);
	mlo_metrics_count(&p, NULL, c);
	CU_ASSERT(c[0].right == 6 && c[0].labels == 9 && c[0].predicted == 8);
	CU_ASSERT(c[3].right == 0 && c[3].labels == 4 && c[3].predicted == 4);
	CU_ASSERT(c[4].labels == 0 && c[4].predicted == 0 && mlo_class_precision(&c[4]) == 0);
	mlo_arena_free(a);
}

/* Of two columns whatever is the same on both sides of softmax; equal scores count half. */
static void two_classes(void)
{
	static const Expected want[] = {
		{"roc_auc", 0.73333333333333328},
		{"average_precision", 0.66776038050547859},
		{"f1_macro", 0.58041958041958042},
	};
	MloArena *a = mlo_arena_new();
	double score[2 * N];
	MloPredictions p;

	for (int i = 0; i < N; i++) {
		score[2 * i] = 0;
		score[2 * i + 1] = two_score[i];
	}
	p = predictions(a, two_label, score, N, 2);
	compare(a, &p, want, sizeof want / sizeof *want);
	for (int i = 0; i < N; i++) {
		score[2 * i + 1] = 1 / (1 + exp(-two_score[i]));
		score[2 * i] = 1 - score[2 * i + 1];
	}
	p = predictions(a, two_label, score, N, 2);
	compare(a, &p, want, 2);
	CU_ASSERT_EQUAL(p.score[1], score[1]); /* probabilities stay */
	mlo_arena_free(a);
}

/* Scores near certainty keep their order through softmax. */
static void certainty_has_degrees(void)
{
	static const int64_t labels[] = {0, 1, 1};
	static const double score[] = {0, 50, 0, 60, 0, 70};
	MloArena *a = mlo_arena_new();
	MloPredictions p = predictions(a, labels, score, 3, 2);

	CU_ASSERT_EQUAL(measured(a, "roc_auc", &p), 1);
	mlo_arena_free(a);
}

static void regressions(void)
{
	static const Expected want[] = {
		{"mae", 0.51000000000000001},
		{"mse", 0.42218749999999999},
		{"rmse", 0.64975957091835135},
		{"r2", 0.85664236058951704},
		{"mape", 0.68128478157807348}, /* of targets that are not zero */
	};
	MloArena *a = mlo_arena_new();
	const MloPredictions p = {.n = ROWS, .width = OUTPUTS, .score = value, .target = target};
	const MloPredictions same = {.n = 2, .width = 1, .score = (double[]){3, 3}, .target = (double[]){3, 3}};
	const MloPredictions off = {.n = 2, .width = 1, .score = (double[]){3, 4}, .target = (double[]){3, 3}};
	MloMetrics m;
	const char *note;

	compare(a, &p, want, sizeof want / sizeof *want);
	CU_ASSERT_EQUAL(measured(a, "r2", &same), 1);
	CU_ASSERT_EQUAL(measured(a, "r2", &off), 0);
	CU_ASSERT_EQUAL_FATAL(mlo_metrics_parse(a, "mape", &m, NULL), MLO_OK);
	note = mlo_metric_note(a, &m.list.items[0], &p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(note);
	CU_ASSERT_STRING_EQUAL(note, "1 targets are zero and left out");
	CU_ASSERT_PTR_NULL(mlo_metric_note(a, &m.list.items[0], &same));
	mlo_arena_free(a);
}

/* Counting a sample k times is having it k times. */
static void counts_repeat_samples(void)
{
	MloArena *a = mlo_arena_new();
	MloPredictions once = predictions(a, label, logit, N, CLASSES), all;
	int64_t *labels = MLO_NEWN(a, int64_t, 3 * N);
	double *scores = MLO_NEWN(a, double, 3 * N * CLASSES);
	uint32_t count[N];
	size_t n = 0;
	MloMetrics m;

	for (size_t i = 0; i < N; i++) {
		count[i] = (uint32_t)(i * 7 % 4);
		for (uint32_t k = 0; k < count[i]; k++, n++) {
			labels[n] = label[i];
			memcpy(scores + n * CLASSES, logit + i * CLASSES, CLASSES * sizeof *scores);
		}
	}
	all = predictions(a, labels, scores, n, CLASSES);
	CU_ASSERT_EQUAL_FATAL(mlo_metrics_parse(a, "classification", &m, NULL), MLO_OK);
	CU_ASSERT(m.confusion && m.list.n > 15);
	for (size_t i = 0; i < m.list.n; i++)
		CU_ASSERT_DOUBLE_EQUAL(mlo_metric_value(&m.list.items[i], &once, count),
				       mlo_metric_value(&m.list.items[i], &all, NULL), 1e-14);
	mlo_arena_free(a);
}

static bool refused(const char *metric, const MloPredictions *p, const char *what)
{
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloMetrics m;
	MloStatus st = mlo_metrics_parse(a, metric, &m, &d);
	bool said;

	if (st == MLO_OK && p)
		st = mlo_metrics_check(&m, p, &d);
	said = st != MLO_OK && d.nerrors == 1 && ir_said(&d, what);
	mlo_diag_free(&d);
	mlo_arena_free(a);
	return said;
}

static void bad_data_is_refused(void)
{
	const int64_t ones[] = {1, 1}, wrong[] = {0, 7}, below[] = {-1, 0};
	const double fine[] = {0, 1, 1, 0}, nan[] = {0, 1, NAN, 0};
	MloPredictions p = {.n = 2, .width = 2, .label = ones, .pred = ones, .rank = ones, .score = fine, .target = fine};

	CU_ASSERT(refused("roc_auc", &p, "all 2 labels are 1"));
	p.label = wrong;
	CU_ASSERT(refused("top1", &p, "label 7 of sample 1 is out of range, the model has 2 classes"));
	p.label = below;
	CU_ASSERT(refused("f1", &p, "label -1 of sample 0"));
	p.label = (int64_t[]){0, 1};
	p.score = nan;
	CU_ASSERT(refused("roc_auc", &p, "the score of class 0 for sample 1 is nan"));
	CU_ASSERT(refused("mae", &p, "prediction 0 of sample 1 is nan"));
	p.score = NULL;
	CU_ASSERT(refused("average_precision", &p, "names classes"));
	p.score = fine;
	p.target = nan;
	CU_ASSERT(refused("r2", &p, "target 0 of sample 1 is nan"));
	p.n = 0;
	CU_ASSERT(refused("top1", &p, "no samples"));
	CU_ASSERT(refused("top0", NULL, "'top0' is not known"));
	CU_ASSERT(refused("top1,,f1", NULL, "'' is not known"));
	CU_ASSERT(refused("f", NULL, "'f' is not known"));
	CU_ASSERT(refused("f1,mae", NULL, "at a time"));
}

/* Two models of 400 samples, right in 300 and 340 of them. */
static void intervals_are_those_of_theory(void)
{
	enum { SAMPLES = 400 };
	int64_t labels[SAMPLES] = {0}, a_rank[SAMPLES], b_rank[SAMPLES];
	MloPredictions a = {.n = SAMPLES, .width = 2, .label = labels, .pred = labels, .rank = a_rank}, b = a;
	MloArena *arena = mlo_arena_new();
	double mean = 0, square = 0, half;
	MloInterval i, again, other, none;
	MloMetrics m;

	b.rank = b_rank;
	for (int k = 0; k < SAMPLES; k++) {
		a_rank[k] = k % 4 == 0;
		b_rank[k] = k % 20 < 3;
		mean += (double)(a_rank[k] - b_rank[k]) / SAMPLES;
		square += (double)((a_rank[k] - b_rank[k]) * (a_rank[k] - b_rank[k])) / SAMPLES;
	}
	half = 1.96 * sqrt((square - mean * mean) / SAMPLES);
	CU_ASSERT_EQUAL_FATAL(mlo_metrics_parse(arena, "top1", &m, NULL), MLO_OK);
	mlo_metrics_bootstrap(&m, &a, &b, 4000, 1, NULL, &i);
	mlo_metrics_bootstrap(&m, &a, &b, 4000, 1, NULL, &again);
	mlo_metrics_bootstrap(&m, &a, &b, 4000, 2, NULL, &other);
	mlo_metrics_bootstrap(&m, &a, &a, 100, 1, NULL, &none);
	CU_ASSERT_DOUBLE_EQUAL(mean, 0.1, 1e-12);
	CU_ASSERT_DOUBLE_EQUAL(i.lo, mean - half, 0.1 * half);
	CU_ASSERT_DOUBLE_EQUAL(i.hi, mean + half, 0.1 * half);
	CU_ASSERT(i.lo == again.lo && i.hi == again.hi);
	CU_ASSERT(i.lo != other.lo || i.hi != other.hi);
	CU_ASSERT(none.lo == 0 && none.hi == 0);
	mlo_arena_free(arena);
}

void suite_metrics(void)
{
	CU_pSuite s = CU_add_suite("metrics", NULL, NULL);

	CU_add_test(s, "classifications", classifications);
	CU_add_test(s, "two classes", two_classes);
	CU_add_test(s, "certainty has degrees", certainty_has_degrees);
	CU_add_test(s, "regressions", regressions);
	CU_add_test(s, "counts repeat samples", counts_repeat_samples);
	CU_add_test(s, "bad data is refused", bad_data_is_refused);
	CU_add_test(s, "intervals are those of theory", intervals_are_those_of_theory);
}
