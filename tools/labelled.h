/* tools/labelled.h -- accuracy of graphs on labelled samples: what bounds on the loss are about. */
#ifndef MLO_TOOLS_LABELLED_H
#define MLO_TOOLS_LABELLED_H
#include "tools/eval.h"

typedef struct LabelledOptions {
	const char *model;              /* what messages call it */
	const char *eval, *labels;      /* files, see tools/dataset.h */
	const char *preprocess;         /* may be NULL */
	const char *metric;             /* one of tools/metrics.h that is about classes */
	const ModelOptions *run;
} LabelledOptions;

typedef struct Labelled {
	const char *model;
	EvalRequest request;
	EvalData data;
} Labelled;

/* Samples are owned by `a`. */
MloStatus labelled_read(MloArena *a, const LabelledOptions *o, Labelled *l, MloDiag *d) MLO_CHECKED;
/* In percent. */
MloStatus labelled_accuracy(const Labelled *l, const MloGraph *g, double *out, MloDiag *d) MLO_CHECKED;
#endif
