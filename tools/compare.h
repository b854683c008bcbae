/* tools/compare.h -- how far the outputs of two models are apart over a data set: a float model and its quantised
 * form, a model and its package, or any two with the same inputs and outputs. */
#ifndef MLO_TOOLS_COMPARE_H
#define MLO_TOOLS_COMPARE_H
#include <jansson.h>

#include "tools/model.h"

/* The first model is the reference: signals are its outputs, noise is what the other one adds. */
typedef struct CompareRequest {
	const char *path[2];
	const char *data;            /* see tools/calib.h */
	const char *recipe;          /* see tools/preprocess.h; may be NULL */
	int64_t limit;               /* samples; 0: all */
	ModelOptions model;          /* of both, but `reference`: of the first */
	double min_cosine, min_sqnr, min_equal; /* bounds: least cosine of a sample, dB, share; 0: none */
} CompareRequest;

/* One output. Elements that are NaN or infinite on one side only are in `odd` and nowhere else but in `elems`. */
typedef struct CompareOutput {
	const char *name, *type;     /* of the first model */
	int64_t samples, elems, equal, odd;
	/* Cosine between outputs of a sample, 1 where both are zero: least, where, sum over the samples. */
	double cosine_least, cosine_sum;
	int64_t cosine_sample;
	double signal, noise;        /* sums of squares */
	double max_abs;              /* largest difference, the sample and its element; -1: all are equal */
	int64_t max_sample, max_elem;
} CompareOutput;

typedef struct CompareResult {
	const CompareRequest *request;
	CompareOutput *out;
	size_t nout;
	int64_t samples;
} CompareResult;

/* Runs both models on all samples; the result is owned by `a`. Inputs or outputs that do not fit are an error. */
MloStatus compare_models_over(MloArena *a, const CompareRequest *r, CompareResult *out, MloDiag *d) MLO_CHECKED;
double compare_sqnr(const CompareOutput *o);   /* dB; infinite without noise */
double compare_cosine(const CompareOutput *o); /* mean */
double compare_equal(const CompareOutput *o);  /* share of elements, 0..1 */

void compare_print(MloArena *a, const CompareResult *r);
json_t *compare_json(const CompareResult *r);
/* MLO_ERR_MODEL, with a message for each output that is below a bound, or that has odd elements while there is one. */
MloStatus compare_within(const CompareResult *r, MloDiag *d) MLO_CHECKED;
#endif
