/* tests/support/models.h -- models to test with: lists as tests/models/models.list, and what was recorded of each model. */
#ifndef MLO_TESTS_MODELS_H
#define MLO_TESTS_MODELS_H
#include "tests/support/support.h"

/* A line: where the model is, and what it says. */
typedef struct ModelEntry {
	const char *name;
	const char *path; /* of a folder in $MLOPT_MODELS; of a model in $MLOPT_ZOO, without .onnx */
	bool zoo, int8;   /* int8: the word behind the name */
} ModelEntry;

/* Calls f for each model of the list that is there and of whose name one of n names is a part (n = 0: for all).  Those that are not
 * there are counted as skipped, aloud.  False: the list cannot be read. */
bool support_models(const char *list, char *const *names, int n, void (*f)(void *user, const ModelEntry *e), void *user, Score *score);

/* A model with its recorded inputs, which bind the sizes that it leaves open, and outputs. */
typedef struct Model {
	const char *name;
	char onnx[5000];
	MloArena *a;
	MloGraph *g;
	MloTensor *in[64], *want[64];
} Model;
MloStatus support_load(const ModelEntry *e, Model *m, MloDiag *d) MLO_CHECKED;
void support_unload(Model *m); /* after a failed load, too */

/* Is anything of it quantised? */
bool support_is_quantised(const MloGraph *g);
/* Quantises g, a float model, by what these inputs make of it; NULL: with all ranges from -1 to 1.  *out is a new graph, which
 * shares data with g, which is changed.  *out NULL: there is nothing to be quantised. */
MloStatus support_quantise(MloGraph *g, const MloTensor *const *in, MloGraph **out, MloDiag *d) MLO_CHECKED;
#endif
