/* tools/inputs.h -- `--input NAME=FILE|random`: values of a model's inputs from files. */
#ifndef MLO_TOOLS_INPUTS_H
#define MLO_TOOLS_INPUTS_H
#include "tools/model.h"

typedef struct GivenInput {
	const char *name; /* NULL: the only input */
	const char *file; /* NULL: random */
	MloTensor *tensor;
} GivenInput;

typedef struct Inputs {
	MloArena *a;
	GivenInput *given;
	size_t n;
} Inputs;

/* Reads the files, but for .pb: what those hold follows from the model. */
MloStatus inputs_read(Inputs *x, MloArena *a, const char *const *text, size_t n, MloDiag *d) MLO_CHECKED;
MloStatus inputs_read_pb(Inputs *x, GivenInput *g, const MloType *t, MloDiag *d) MLO_CHECKED;
/* in[i] for those that were given, with `random` as of model_fill(); the others stay as they are. */
MloStatus inputs_take(Inputs *x, const Model *m, uint64_t seed, MloTensor **in, MloDiag *d) MLO_CHECKED;
#endif
