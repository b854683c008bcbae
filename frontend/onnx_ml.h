/* frontend/onnx_ml.h -- what the importers of domain ai.onnx.ml share. */
#ifndef MLO_FRONTEND_ONNX_ML_H
#define MLO_FRONTEND_ONNX_ML_H
#include "frontend/onnx_ops.h"

/* -- attributes: empty lists when absent -------------------------------------------------------------- */
typedef struct MlInts {
	const int64_t *v;
	int64_t n;
} MlInts;
MlInts ml_ints(OnnxNode *n, const char *name);

/* Floats, or the tensor attribute NAME_as_tensor where that is given; `wide` when that holds float64. */
typedef struct MlNumbers {
	const double *v;
	int64_t n;
	bool wide;
} MlNumbers;
MlNumbers ml_numbers(OnnxNode *n, const char *name);
MlNumbers ml_tensor(OnnxNode *n, const char *name); /* a tensor attribute of that very name */

/* Strings as a vector constant's data, NULL when absent. */
const MloTensor *ml_strings(OnnxNode *n, const char *name);

/* -- small graphs --------------------------------------------------------------------------------- */
MloValue *ml_const(OnnxNode *n, MloElem e, int rank, const int64_t *dims, const double *v);
MloValue *ml_vector(OnnxNode *n, MloElem e, MlNumbers v);
MloValue *ml_cast(OnnxNode *n, MloValue *v, MloElem e);      /* v itself when it has that type */
MloValue *ml_column(OnnxNode *n, MloValue *v, int64_t k);    /* [N,C] to [N,1] */
MloValue *ml_pair(OnnxNode *n, MloValue *a, MloValue *b);    /* [N,1] and [N,1] to [N,2] */
MloValue *ml_axis(OnnxNode *n, MloOp op, MloValue *v, const char *axis_attr, int64_t axis);
MloValue *ml_flat(OnnxNode *n, MloValue *v);                 /* [N,1] to [N] */
/* Operand 0 as a matrix of f32, or of f64 if it is that and `wide` allows it; NULL after an error. */
MloValue *ml_rows(OnnxNode *n, bool wide);

/* -- scores and labels ---------------------------------------------------------------------------- */
typedef enum MlPost { ML_NONE, ML_SOFTMAX, ML_LOGISTIC, ML_SOFTMAX_ZERO, ML_PROBIT, ML_POST_COUNT } MlPost;
MlPost ml_post_attr(OnnxNode *n); /* attribute post_transform as text */
MloValue *ml_post(OnnxNode *n, MloValue *s, MlPost post);
/* The scores [N,2] of a binary decision from the score s [N,1] of the positive class, as ONNX Runtime
 * gives them: complement when s is a probability, else opposites. */
MloValue *ml_two_scores(OnnxNode *n, MloValue *s, MlPost post, bool probability);

typedef struct MlLabels {
	MlInts ints;
	const MloTensor *strings;
	int64_t n;
} MlLabels;
MlLabels ml_labels(OnnxNode *n, const char *ints, const char *strings);
void ml_label_result(OnnxNode *n, const MlLabels *l, MloValue *index); /* index: i64[N]; result 0 */
MloValue *ml_positive(OnnxNode *n, MloValue *s, double above);           /* s [N,1] > above, as i64[N] */

/* -- forests (onnx_ml_table.c) -------------------------------------------------------------------- */
typedef struct MlTreeNode {
	int mode; /* of ir/ref/ref_tree.h */
	bool missing;
	int64_t feature, yes, no, first, count;
	double split;
	int64_t tree, id; /* the model's names, for messages */
} MlTreeNode;

typedef struct MlForest {
	MlTreeNode *node;
	int64_t nnodes;
	int64_t *root;
	int64_t nroots;
	int64_t *target; /* of each weight; those of a leaf are neighbours */
	double *weight;
	int64_t nweights;
	const double *member;
	int64_t nmembers;
	int64_t targets;
	bool wide; /* splits and weights are float64 */
} MlForest;

/* Checks that walks end: every node in the table, no way back. False after an error. */
bool ml_forest_check(OnnxNode *n, const MlForest *f);
/* The aggregated weights [N, targets] for rows x. */
MloValue *ml_forest_scores(OnnxNode *n, const MlForest *f, MloValue *x, const char *aggregate);
/* Their sums, and *none: which targets get no weight, bool[N, targets]. */
MloValue *ml_forest_votes(OnnxNode *n, const MlForest *f, MloValue *x, MloValue **none);
/* Does every row give target k a weight? */
bool ml_forest_always(OnnxNode *n, const MlForest *f, int64_t k);
#endif
