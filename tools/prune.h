/* tools/prune.h -- mlopt prune: from a model and samples to one with zeros. */
#ifndef MLO_TOOLS_PRUNE_H
#define MLO_TOOLS_PRUNE_H
#include "prune/prune.h"
#include "tools/probe.h"

typedef struct PruneOptions {
	MloPtqOptions ptq;     /* patterns of names: which layers */
	const char *model, *calib, *preprocess;
	int samples;           /* at most, of the calibration data */
	MloPrunePattern pattern;
	double sparsity;       /* share of the weights of layers that are pruned */
	bool magnitude;        /* the smallest weights go; else those that cost least by what layers read */
	bool uniform;          /* the same share of each layer */
	int sweeps;            /* over all layers, after the first, that fit what is left to the float model */
	double damping;
	ModelOptions run;
} PruneOptions;

#define PRUNE_DEFAULTS                                                                               \
	{                                                                                            \
		.samples = 1024, .pattern = {.kind = PRUNE_UNSTRUCTURED, .rows = 1, .cols = 1}, .damping = 0.01, .sweeps = 1, \
	}

typedef struct Prune {
	MloArena *a;
	MloDiag *d;
	const PruneOptions *opt;
	ProbeData data;
	MloGraph *source; /* as loaded */
	MloGraph *dense;  /* in float, as it should compute: the teacher */
	MloGraph *g;      /* what is pruned: at first a clone of it */
	MloPtq *from, *q; /* of either: the same lists */
	MloPruneList list;
	MloPruneCurve *curve; /* by layer of the list; n: 0 where it is not pruned */
	int64_t samples;  /* seen */
	double output_sqnr; /* dB of all outputs; NAN: not known */
} Prune;

/* Loads the model and makes it ready.  `x` needs prune_close() in any case. */
MloStatus prune_open(Prune *x, MloArena *a, const PruneOptions *opt, MloDiag *d) MLO_CHECKED;
void prune_close(Prune *x);
/* Prunes as the layers' sparsities say. */
MloStatus prune_run(Prune *x) MLO_CHECKED;
MloStatus prune_measure(Prune *x, int64_t samples) MLO_CHECKED; /* x->output_sqnr */
MloStatus prune_write(Prune *x, const char *path) MLO_CHECKED;

/* -- what layers read and should give (tools/prune_gather.c) */
typedef struct PruneSums {
	MloPruneStats *of; /* [groups] */
	double signal;     /* variance of what the layer's results become part of, per input, summed over the outputs */
} PruneSums;
/* Sums of the layers which[0..n), in `a`: what they read in x->g, and what they should give for that: results of
 * x->dense or, where a result is added to another value of x->g, what makes that sum what it is in x->dense. */
MloStatus prune_gather(Prune *x, MloArena *a, const size_t *which, size_t n, PruneSums *out) MLO_CHECKED;
/* That of all layers that are pruned, as many at a time as memory and the time of runs allow; `see` gets each. */
typedef MloStatus PruneSeeFn(void *user, size_t layer, PruneSums *sums);
MloStatus prune_each(Prune *x, bool at_once, const char *what, PruneSeeFn *see, void *user) MLO_CHECKED;

/* -- how many zeros each layer gets (tools/prune_allocate.c) */
MloStatus prune_curves(Prune *x) MLO_CHECKED; /* x->curve: errors of layers */
MloStatus prune_allocate(Prune *x) MLO_CHECKED; /* the layers' sparsities, as the options say */

/* -- reports (tools/prune_report.c) */
void prune_report_text(const Prune *x);
void prune_report_json(const Prune *x);
#endif
