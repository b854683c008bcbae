/* tools/probe.h -- runs of graphs over the calibration samples, with inner values as outputs. */
#ifndef MLO_TOOLS_PROBE_H
#define MLO_TOOLS_PROBE_H
#include "tools/calib.h"

/* A batch of one run: out[i] of values that were asked for, `count` of its samples are new. */
typedef MloStatus ProbeFn(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d);
/* Which samples: of tools/calib.h, for the inputs of a model. */
typedef struct ProbeData {
	const char *model, *calib, *preprocess;
	int samples; /* at most */
	ModelOptions run;
} ProbeData;
typedef struct Probe {
	MloGraph *g;          /* owned: a clone */
	size_t outputs;       /* of the model, which come first */
} Probe;
/* A clone of g; walked in the same order, values are those of the original. */
MloStatus probe_open(Probe *p, const MloGraph *g, MloDiag *d) MLO_CHECKED;
/* out[p->outputs + k] for the k-th value asked for, v of g, the probe's graph or a branch in it: empty in runs that do not
 * take that branch. */
void probe_ask(Probe *p, MloGraph *g, MloValue *v, MloArena *a);
/* Compiles and runs the graphs side by side on the same samples; `see` gets the outputs of all, one after the other. */
MloStatus probe_samples(const ProbeData *x, Probe *const *p, size_t n, int64_t limit, const char *what, ProbeFn *see,
			void *user, MloDiag *d) MLO_CHECKED;
void probe_close(Probe *p);
#endif
