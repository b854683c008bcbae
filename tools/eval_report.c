/* tools/eval_report.c -- metrics as text and as JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/eval.h"

/* A larger matrix is for programs. */
enum { MOST_SHOWN = 30 };

/* Shares of all samples are shown as percent, with the number of samples. */
static bool is_share(const MloMetric *m)
{
	return m->k > 0 || m->value == value_accuracy;
}

static void print_one(const EvalResult *r, const MloMetric *m)
{
	const double v = mlo_metric_value(m, &r->p[0], NULL);

	if (is_share(m))
		printf("%s %.2f%% (%.0f of %zu)\n", m->name, 100 * v, v * (double)r->p[0].n, r->p[0].n);
	else
		printf("%s %.6g\n", m->name, v);
}

static void print_two(const EvalResult *r, const MloMetric *m, const MloInterval *i)
{
	const double a = mlo_metric_value(m, &r->p[0], NULL), b = mlo_metric_value(m, &r->p[1], NULL);

	printf("%-20s %12.6g %12.6g %+12.6g", m->name, a, b, b - a);
	if (r->resamples)
		printf("  %+.6g to %+.6g%s", i->lo, i->hi, i->lo > 0 || i->hi < 0 ? "" : " (may be chance)");
	putchar('\n');
}

/* Counts [label][predicted]; predictions beyond the classes are not counted. */
static double *matrix_of(MloArena *a, const MloPredictions *p)
{
	double *m = MLO_NEWN(a, double, p->width * p->width + 1);

	for (size_t i = 0; i < p->n; i++)
		if (p->pred[i] >= 0 && (size_t)p->pred[i] < p->width)
			m[(size_t)p->label[i] * p->width + (size_t)p->pred[i]]++;
	return m;
}

static void print_confusion(MloArena *a, const MloPredictions *p)
{
	const double *m;

	if (p->width > MOST_SHOWN) {
		cli_note("mlopt: note: a confusion matrix of %zu classes is only in --json", p->width);
		return;
	}
	m = matrix_of(a, p);
	printf("label \\ predicted\n%8s", "");
	for (size_t c = 0; c < p->width; c++)
		printf(" %7zu", c);
	for (size_t i = 0; i < p->width * p->width; i++) {
		if (i % p->width == 0)
			printf("\n%8zu", i / p->width);
		printf(" %7.0f", m[i]);
	}
	putchar('\n');
}

void eval_print(MloArena *a, const EvalResult *r)
{
	const MloMetrics *m = &r->request->metrics;

	if (r->models == 2) {
		printf("A: %s\nB: %s\n%-20s %12s %12s %12s", r->path[0], r->path[1], "metric", "A", "B", "B - A");
		puts(r->resamples ? "  95% of resamples" : "");
	}
	for (size_t i = 0; i < m->list.n; i++) {
		if (r->models == 2)
			print_two(r, &m->list.items[i], r->interval + i);
		else
			print_one(r, &m->list.items[i]);
	}
	for (int k = 0; k < r->models && m->confusion; k++) {
		if (r->models == 2)
			printf("%s: ", k ? "B" : "A");
		print_confusion(a, &r->p[k]);
	}
	for (size_t i = 0; i < m->list.n; i++) {
		const char *note = mlo_metric_note(a, &m->list.items[i], &r->p[0]);

		if (note)
			cli_note("mlopt: note: %s: %s", m->list.items[i].name, note);
	}
}

/* JSON has no NaN. */
static json_t *number(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static json_t *classes_json(MloArena *a, const MloPredictions *p)
{
	MloClassCount *c = MLO_NEWN(a, MloClassCount, p->width + 1);
	json_t *list = json_array();

	mlo_metrics_count(p, NULL, c);
	for (size_t i = 0; i < p->width; i++) {
		json_t *j = json_pack("{s:f,s:f,s:f,s:I}", "precision", mlo_class_precision(&c[i]), "recall",
				      mlo_class_recall(&c[i]), "f1", mlo_class_f1(&c[i]), "labels", (json_int_t)c[i].labels);

		json_object_set_new(j, "specificity", number(mlo_class_specificity(&c[i], (double)p->n)));
		if (p->order && p->order[i]) {
			json_object_set_new(j, "roc_auc", number(mlo_roc_auc(p, i, NULL)));
			json_object_set_new(j, "average_precision", number(mlo_average_precision(p, i, NULL)));
		}
		json_array_append_new(list, j);
	}
	return list;
}

static json_t *confusion_json(MloArena *a, const MloPredictions *p)
{
	const double *m = matrix_of(a, p);
	json_t *rows = json_array(), *row = NULL;

	for (size_t i = 0; i < p->width * p->width; i++) {
		if (i % p->width == 0)
			json_array_append_new(rows, row = json_array());
		json_array_append_new(row, json_integer((json_int_t)m[i]));
	}
	return rows;
}

static json_t *model_json(MloArena *a, const EvalResult *r, int k)
{
	const MloMetrics *m = &r->request->metrics;
	json_t *j = json_object(), *values = json_object(), *notes = json_object();

	for (size_t i = 0; i < m->list.n; i++) {
		const MloMetric *one = &m->list.items[i];
		const char *note = mlo_metric_note(a, one, &r->p[k]);

		json_object_set_new(values, one->name, number(mlo_metric_value(one, &r->p[k], NULL)));
		if (note)
			json_object_set_new(notes, one->name, json_string(note));
	}
	json_object_set_new(j, "model", json_string(r->path[k]));
	json_object_set_new(j, "metrics", values);
	json_object_set_new(j, "notes", notes);
	if (m->confusion) {
		json_object_set_new(j, "confusion", confusion_json(a, &r->p[k]));
		json_object_set_new(j, "classes", classes_json(a, &r->p[k]));
	}
	return j;
}

static json_t *differences_json(const EvalResult *r)
{
	const MloMetrics *m = &r->request->metrics;
	json_t *all = json_object();

	for (size_t i = 0; i < m->list.n; i++) {
		const MloMetric *one = &m->list.items[i];
		json_t *j = json_object();

		json_object_set_new(j, "value",
				    number(mlo_metric_value(one, &r->p[1], NULL) - mlo_metric_value(one, &r->p[0], NULL)));
		if (r->resamples) {
			json_object_set_new(j, "lo", number(r->interval[i].lo));
			json_object_set_new(j, "hi", number(r->interval[i].hi));
		}
		json_object_set_new(all, one->name, j);
	}
	return all;
}

json_t *eval_json(MloArena *a, const EvalResult *r)
{
	json_t *j = json_object(), *models = json_array();

	json_object_set_new(j, "samples", json_integer((json_int_t)r->p[0].n));
	for (int k = 0; k < r->models; k++)
		json_array_append_new(models, model_json(a, r, k));
	json_object_set_new(j, "models", models);
	if (r->models == 2) {
		json_object_set_new(j, "difference", differences_json(r));
		json_object_set_new(j, "resamples", json_integer(r->resamples));
		json_object_set_new(j, "seed", json_integer((json_int_t)r->seed));
	}
	return j;
}
