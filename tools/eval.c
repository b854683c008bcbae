/* tools/eval.c -- runs a model over a data set and keeps what metrics need. */
#include "tools/eval.h"

#include <math.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/dataset.h"
#include "tools/preprocess.h"

/* Class numbers that a model itself names are below; labels then, too. */
enum { MOST_CLASSES = 1 << 20 };

typedef struct Eval {
	MloArena *a;
	MloDiag *d;
	const EvalRequest *r;
	const EvalData *data;
	const char *path;
	Model m;
	MloPreprocess pre;
	MloTensor **in, **out;
	size_t scores;             /* which output */
	int64_t batch, elems;      /* elements of the output per sample */
	bool numbers, keep;        /* a regression; scores are kept */
	int64_t *pred, *rank;
	double *score;
} Eval;

/* -- data ------------------------------------------------------------------------------------- */

static MloStatus check_labels(const EvalRequest *r, EvalData *e, MloDiag *d)
{
	const bool numbers = mlo_metrics_need(&r->metrics, METRIC_NUMBERS);
	const int64_t n = e->sample->rank ? e->sample->dim[0] : 0;
	const int64_t have = numbers ? (e->label->rank ? e->label->dim[0] : 0) : mlo_tensor_elems(e->label);

	if (!numbers && !mlo_elem_is_int(e->label->elem))
		return mlo_error(d, MLO_ERR_MODEL, "'%s' holds %s, labels are whole numbers", r->labels,
				 mlo_elem_text(e->label->elem));
	if (e->label->elem == EL_str || mlo_elem_class(e->label->elem) == EC_COMPLEX)
		return mlo_error(d, MLO_ERR_MODEL, "'%s' holds %s, targets are numbers", r->labels,
				 mlo_elem_text(e->label->elem));
	if (have != n)
		return mlo_error(d, MLO_ERR_MODEL, "'%s' holds %lld samples, '%s' %lld %s", r->data, (long long)n, r->labels,
				 (long long)have, numbers ? "targets" : "labels");
	e->n = r->limit && r->limit < n ? r->limit : n;
	if (!e->n)
		return mlo_error(d, MLO_ERR_MODEL, "'%s' holds no samples", r->data);
	return e->n <= UINT32_MAX ? MLO_OK : mlo_error(d, MLO_ERR_LIMIT, "'%s' holds more than 2^32 samples", r->data);
}

MloStatus eval_read(MloArena *a, const EvalRequest *r, EvalData *out, MloDiag *d)
{
	MLO_TRY(mlo_dataset_read(a, r->data, &out->sample, d));
	MLO_TRY(mlo_dataset_read(a, r->labels, &out->label, d));
	return check_labels(r, out, d);
}

/* -- the model ----------------------------------------------------------------------------------- */

static MloStatus find_scores(Eval *e)
{
	const ModelTensor *t;
	const MloTensor *y;

	for (e->scores = 0; e->r->output && e->scores < e->m.nout; e->scores++) {
		if (strcmp(e->m.out[e->scores].name, e->r->output) == 0)
			break;
	}
	if (e->scores >= e->m.nout)
		return mlo_error(e->d, MLO_ERR_USAGE, "%s has no output '%s'", e->path, e->r->output ? e->r->output : "");
	t = &e->m.out[e->scores];
	if (t->elem == EL_str || mlo_elem_class(t->elem) == EC_COMPLEX)
		return mlo_error(e->d, MLO_ERR_UNSUPPORTED, "output '%s' holds %s, not scores", t->name,
				 mlo_elem_text(t->elem));
	y = e->out[e->scores];
	if (y->rank < 1 || y->dim[0] != e->batch)
		return mlo_error(e->d, MLO_ERR_MODEL, "output '%s' is %s, its first dimension is not the batch of %lld", t->name,
				 model_type_text(e->a, t), (long long)e->batch);
	e->elems = mlo_tensor_elems(y) / (e->batch ? e->batch : 1);
	if (e->elems < 1)
		return mlo_error(e->d, MLO_ERR_MODEL, "output '%s' is %s: no scores", t->name, model_type_text(e->a, t));
	return MLO_OK;
}

static MloStatus bind(Eval *e)
{
	if (e->m.nin != 1)
		return mlo_error(e->d, MLO_ERR_UNSUPPORTED, "%s has %zu inputs, eval feeds one", e->path, e->m.nin);
	MLO_TRY(mlo_preprocess_bind(&e->pre, e->r->data, e->data->sample, e->m.in[0].rank, e->m.in[0].pick, e->d));
	e->batch = e->m.in[0].rank ? e->m.in[0].pick[0] : 1;
	e->in = MLO_NEWN(e->a, MloTensor *, 1);
	e->in[0] = model_tensor(e->a, &e->m.in[0]);
	e->out = model_outputs(e->a, &e->m);
	MLO_TRY(model_run(&e->m, e->in, e->out, e->d)); /* tells open sizes of outputs */
	return find_scores(e);
}

/* -- what it says ----------------------------------------------------------------------------------- */

/* The model names the class itself: an integer, or one number that is above a half for class 1. */
static bool names_class(const Eval *e)
{
	return e->elems == 1 && mlo_elem_is_int(e->m.out[e->scores].elem);
}

static size_t width_of(const Eval *e)
{
	return (size_t)(e->elems == 1 && !e->numbers ? 2 : e->elems);
}

/* The scores of sample i of the batch: of one number, those of its two classes. */
static void scores_of(const Eval *e, int64_t i, double *row)
{
	const MloTensor *t = e->out[e->scores];

	for (int64_t c = 0; c < e->elems; c++)
		row[c] = mlo_tensor_f64(t, i * e->elems + c);
	if (e->elems == 1 && !e->numbers) {
		row[1] = row[0];
		row[0] = 1 - row[1];
	}
}

/* Equal scores: the lower class number is the better one. */
static MloStatus judge(Eval *e, const double *row, int64_t sample)
{
	const int64_t label = mlo_tensor_i64(e->data->label, sample), width = (int64_t)width_of(e);
	int64_t best = 0, better = 0;

	for (int64_t c = 0; c < width; c++) {
		if (isnan(row[c]))
			return mlo_error(e->d, MLO_ERR_MODEL, "%s: the score of class %lld for sample %lld is NaN", e->path,
					 (long long)c, (long long)sample);
		best = row[c] > row[best] ? c : best;
		if (label >= 0 && label < width)
			better += row[c] > row[label] || (row[c] == row[label] && c < label);
	}
	e->pred[sample] = best;
	e->rank[sample] = better;
	return MLO_OK;
}

static MloStatus take(Eval *e, double *row, int64_t i, int64_t sample)
{
	if (names_class(e) && !e->numbers) {
		e->pred[sample] = mlo_tensor_i64(e->out[e->scores], i);
		e->rank[sample] = e->pred[sample] == mlo_tensor_i64(e->data->label, sample) ? 0 : INT64_MAX;
		return MLO_OK;
	}
	scores_of(e, i, row);
	if (e->keep)
		memcpy(e->score + sample * (int64_t)width_of(e), row, width_of(e) * sizeof *row);
	return e->numbers ? MLO_OK : judge(e, row, sample);
}

static MloStatus run_all(Eval *e)
{
	double *row = MLO_NEWN(e->a, double, width_of(e) + 1);

	for (int64_t at = 0; at < e->data->n; at += e->batch) {
		const int64_t n = e->data->n - at < e->batch ? e->data->n - at : e->batch;

		mlo_preprocess_apply(&e->pre, e->data->sample, at, n, e->in[0]);
		MLO_TRY(model_run(&e->m, e->in, e->out, e->d));
		for (int64_t i = 0; i < n; i++)
			MLO_TRY(take(e, row, i, at + i));
		cli_progress("eval", (double)(at + n), (double)e->data->n);
	}
	return MLO_OK;
}

/* Of classes that the model names: up to the largest that is seen. */
static size_t classes_seen(const Eval *e, const int64_t *label)
{
	int64_t most = 1;

	for (int64_t i = 0; i < e->data->n; i++) {
		most = label[i] > most ? label[i] : most;
		if (e->pred[i] > most && e->pred[i] < MOST_CLASSES)
			most = e->pred[i];
	}
	return (size_t)(most < MOST_CLASSES ? most : MOST_CLASSES - 1) + 1;
}

static MloStatus targets(Eval *e, MloPredictions *out)
{
	const MloTensor *t = e->data->label;
	const int64_t per_sample = mlo_tensor_elems(t) / t->dim[0];
	double *v = MLO_NEWN(e->a, double, e->data->n * per_sample + 1);

	if (per_sample != e->elems)
		return mlo_error(e->d, MLO_ERR_MODEL, "'%s' holds %lld targets per sample, output '%s' of %s %lld numbers", e->r->labels,
				 (long long)per_sample, e->m.out[e->scores].name, e->path, (long long)e->elems);
	for (int64_t i = 0; i < e->data->n * per_sample; i++)
		v[i] = mlo_tensor_f64(t, i);
	out->target = v;
	return MLO_OK;
}

static void labels(Eval *e, MloPredictions *out)
{
	int64_t *v = MLO_NEWN(e->a, int64_t, e->data->n + 1);

	for (int64_t i = 0; i < e->data->n; i++)
		v[i] = mlo_tensor_i64(e->data->label, i);
	out->label = v;
	if (names_class(e))
		out->width = classes_seen(e, v);
	if (e->keep && !names_class(e))
		out->score = e->score;
}

static MloStatus predict(Eval *e, MloPredictions *out)
{
	const size_t n = (size_t)e->data->n;

	MLO_TRY(bind(e));
	*out = (MloPredictions){.n = n, .width = width_of(e)};
	out->pred = e->pred = MLO_NEWN(e->a, int64_t, n + 1);
	out->rank = e->rank = MLO_NEWN(e->a, int64_t, n + 1);
	if (e->keep)
		e->score = MLO_NEWN(e->a, double, n * width_of(e) + 1);
	if (e->numbers)
		MLO_TRY(targets(e, out));
	MLO_TRY(run_all(e));
	if (e->numbers)
		out->score = e->score;
	else
		labels(e, out);
	MLO_TRY(mlo_metrics_check(&e->r->metrics, out, e->d));
	if (e->numbers)
		return MLO_OK;
	if (out->score)
		mlo_scores_normalise(e->score, n, out->width);
	mlo_metrics_prepare(e->a, out);
	return MLO_OK;
}

static MloStatus evaluate(Eval *e, MloStatus opened, MloPredictions *out)
{
	MloStatus st;

	MLO_TRY(opened);
	e->numbers = mlo_metrics_need(&e->r->metrics, METRIC_NUMBERS);
	e->keep = e->numbers || mlo_metrics_need(&e->r->metrics, METRIC_RANKS);
	st = mlo_preprocess_parse(&e->pre, e->r->recipe, e->d);
	if (st == MLO_OK)
		st = predict(e, out);
	model_close(&e->m);
	return st;
}

MloStatus eval_model(MloArena *a, const EvalRequest *r, const EvalData *data, const char *path, MloPredictions *out,
		     MloDiag *d)
{
	Eval e = {.a = a, .d = d, .r = r, .data = data, .path = path};

	return evaluate(&e, model_open(&e.m, path, &r->model, d), out);
}

MloStatus eval_graph(MloArena *a, const EvalRequest *r, const EvalData *data, const MloGraph *g, const char *path,
		     MloPredictions *out, MloDiag *d)
{
	Eval e = {.a = a, .d = d, .r = r, .data = data, .path = path};
	MloStatus st = model_open_graph(&e.m, g, &r->model, d);

	if (st == MLO_OK && (st = model_pick(&e.m, r->model.shapes, r->model.nshapes, d)) != MLO_OK)
		model_close(&e.m);
	return evaluate(&e, st, out);
}
