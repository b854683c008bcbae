/* tools/eval.h -- a model's predictions for a data set, and the report on them. */
#ifndef MLO_TOOLS_EVAL_H
#define MLO_TOOLS_EVAL_H
#include <jansson.h>

#include "tools/metrics.h"
#include "tools/model.h"

typedef struct EvalRequest {
	const char *data, *labels; /* files, see tools/dataset.h */
	const char *recipe;        /* see tools/preprocess.h; may be NULL */
	const char *output;        /* NULL: the first */
	ModelOptions model;
	int64_t limit;             /* samples; 0: all */
	MloMetrics metrics;
} EvalRequest;

typedef struct EvalData {
	MloTensor *sample, *label;
	int64_t n;                 /* samples to use */
} EvalData;

MloStatus eval_read(MloArena *a, const EvalRequest *r, EvalData *out, MloDiag *d) MLO_CHECKED;
/* Runs the model on all samples; the predictions are owned by `a` and fit the metrics. */
MloStatus eval_model(MloArena *a, const EvalRequest *r, const EvalData *data, const char *path, MloPredictions *out,
		     MloDiag *d) MLO_CHECKED;

/* One model or two, and how sure the difference is. */
typedef struct EvalResult {
	const EvalRequest *request;
	const char *path[2];
	MloPredictions p[2];
	int models;
	int resamples;             /* 0: no interval */
	uint64_t seed;
	MloInterval *interval;     /* per metric, of two models */
} EvalResult;

/* eval_report.c */
void eval_print(MloArena *a, const EvalResult *r);
json_t *eval_json(MloArena *a, const EvalResult *r);
#endif
