/* tools/prune.h -- mlopt prune: from a model and samples to one with zeros. */
#ifndef MLO_TOOLS_PRUNE_H
#define MLO_TOOLS_PRUNE_H
#include "prune/prune.h"
#include "quant/lift.h"
#include "targets/target.h"
#include "tools/probe.h"

typedef struct PruneOptions {
	MloPtqOptions ptq;     /* patterns of names: which layers */
	ProbeData data;
	MloPrunePattern pattern;
	bool magnitude;        /* the smallest weights go; else those that cost least by what layers read */
	bool int8;             /* activations are quantised, weights rounded: what is written is in QDQ form */
	bool uniform;          /* the same share of each layer */
	int fits;              /* of what is left to the dense model, over all layers, after the pruning */
	int steps;             /* of all layers at once, downhill for the outputs, after that (distill_descend()) */
	double damping;
	/* How much is pruned: one of these. */
	double sparsity;       /* share of the weights of layers that are pruned; 0: the next ones */
	double speedup;        /* predicted; 0: the next one */
	double max_drop;       /* as much as costs no more points, in percent; < 0: no bound */
	const char *eval, *labels, *metric; /* for that, see tools/labelled.h; eval: NULL: none */
	const char *target;    /* that times are predicted for; NULL: this machine */
} PruneOptions;

#define PRUNE_DEFAULTS                                                                               \
	{                                                                                            \
		.data = {.samples = 1024}, .pattern = {.kind = PRUNE_UNSTRUCTURED, .rows = 1, .cols = 1}, .damping = 0.01, .fits = 1, \
		.max_drop = -1, .metric = "top1"                                                     \
	}

typedef struct Prune {
	MloArena *a;
	MloDiag *d;
	const PruneOptions *opt;
	MloGraph *source, *student; /* as loaded; student: NULL where there is one model */
	MloGraph *kept;   /* what is written instead of g, not owned; NULL: g is */
	MloGraph *dense;  /* in float, as it should compute */
	MloGraph *start;  /* the same with activations in QDQ form; NULL: they are float32 */
	MloGraph *g;      /* what is pruned: at first a clone of `start` or `dense` */
	MloPtq *q;        /* of g */
	MloPruneList list;
	MloPtq *from;     /* of dense, where its layers are others than those of g; else NULL: as q */
	size_t *twin;     /* by layer of the list: its index there */
	int64_t **map;    /* by layer: which of the twin's outputs each of its own is; NULL, or NULL of a layer: the same */
	MloLifted *lifted; /* weights of g that were integers; NULL: none */
	size_t nlifted;
	MloPruneCurve *curve; /* by layer of the list; n: 0 where it is not pruned; NULL: not known */
	/* Predicted nanoseconds of a run on one thread: [layer * PRUNE_LEVELS + level]; NULL: not known. */
	double *ns, dense_ns, ns_after; /* of the whole model, before and after; NAN: not known */
	const MloTarget *variant; /* that they are for */
	/* Activations of g are in QDQ form, and layers of q that have `stored` are weights of 8 bits: whatever becomes of those
	 * weights is rounded to such. */
	bool quantised;
	struct Quantize *int8; /* that `start` comes from; NULL: it does not */
	bool hold;        /* of the samples, one in HOLD_EACH says whether a layer gains: else it stays as it was */
	bool raw;         /* rows are of all samples, as the layer would read them without quantization; no sums */
	bool descends;    /* sums are of slopes of the outputs' error instead of what is wanted */
	bool judging;     /* nothing changes: all layers at once may make up for what comes past them */
	double *before;   /* by layer: dB of its results on the samples that are held out, as it was; NULL: not known */
	bool *stays;      /* by layer: it did not gain */
	double *share;    /* by layer: of its weights, gone with channels; NULL: no channels were removed */
	int64_t samples;  /* seen */
	double output_sqnr; /* dB of all outputs; NAN: not known */
	double accuracy, float_accuracy; /* percent; NAN: not known */
	bool over_budget; /* the bound is not met even so */
} Prune;

/* Loads the model and makes it ready.  `x` needs prune_close() in any case. */
MloStatus prune_open(Prune *x, MloArena *a, const PruneOptions *opt, MloDiag *d) MLO_CHECKED;
void prune_begin(Prune *x, MloArena *a, const PruneOptions *opt, MloDiag *d); /* nothing is loaded yet */
void prune_close(Prune *x);
/* x->g is the dense model again. */
MloStatus prune_reset(Prune *x) MLO_CHECKED;
/* Prunes as the layers' sparsities say. */
MloStatus prune_run(Prune *x) MLO_CHECKED;
/* All layers, in order, as near to the dense model as their zeros allow. */
MloStatus prune_fit(Prune *x) MLO_CHECKED;
enum { PRUNE_MEASURED = 32 };
MloStatus prune_measure(Prune *x, int64_t samples) MLO_CHECKED; /* x->output_sqnr */
MloStatus prune_write(Prune *x, const char *path) MLO_CHECKED;
/* All of it but the writing, with the options as they are; `plan`: no more than finding the sparsities.
 * MLO_ERR_MODEL with over_budget: the best there is, with a message. */
MloStatus prune_all(Prune *x, bool plan) MLO_CHECKED;

/* -- what layers read and should give (tools/prune_gather.c) */
enum { HOLD_EACH = 4 };
typedef struct PruneSums {
	MloPruneStats *of; /* [groups] */
	MloPruneRows *rows;   /* [groups]: single inputs and what is wanted for them, of x->hold and x->raw; else NULL */
	double signal;     /* variance of what the layer's results become part of, per input, summed over the outputs */
} PruneSums;
typedef MloStatus PruneSeeFn(void *user, size_t layer, PruneSums *sums);
/* Of each layer that is pruned, in order, what it reads in x->g and what it should give for that: results of x->dense or,
 * where a result is added to another value of x->g, what makes that sum what it is in x->dense.  A run of the samples is
 * for as many layers as memory and time ask for; `together`: as memory allows, for x->g is not going to change. */
MloStatus prune_each(Prune *x, bool together, const char *what, PruneSeeFn *see, void *user) MLO_CHECKED;
bool prune_one_by_one(const Prune *x); /* layers are changed one at a time, each behind what the others have become */

/* -- a layer (tools/prune_layer.c) */
/* By its sums: it is pruned as its sparsity says or, `fit`, as near to what it should give as its zeros allow. */
MloStatus prune_layer(Prune *x, size_t layer, const PruneSums *sums, bool fit) MLO_CHECKED;
/* dB of its results in x->g, by its rows. */
double prune_judge(Prune *x, size_t layer, const PruneSums *sums);
/* Weights w[groups][rows][k] and biases (NULL: none), times `by`, are added to those of x->g. */
void prune_move(Prune *x, size_t layer, const double *w, const double *bias, double by);
void prune_smallest(Prune *x, const MloPruneLayer *l); /* its smallest weights go */

/* -- how many zeros each layer gets (tools/prune_allocate.c) */
MloStatus prune_curves(Prune *x) MLO_CHECKED; /* x->curve */
/* The layers' sparsities for a share of zeros in all, or for a predicted speed-up; false: that is more than there is. */
bool prune_allocate(Prune *x, double sparsity);
bool prune_allocate_speed(Prune *x, double speedup);
/* Of the model as the layers' sparsities say: predicted time, and noise (squares, of the signal) that layers make. */
double prune_predicted(const Prune *x, size_t layer, double sparsity);
double prune_expected(const Prune *x, size_t layer);

/* -- in integers, too (tools/prune_int8.c) */
MloStatus prune_int8_open(Prune *x) MLO_CHECKED; /* loads the model and finds ranges: x->dense and x->start */
void prune_int8_close(Prune *x);
void prune_int8_mark(Prune *x); /* which layers of x->q are rounded; layers that are not pruned, too */
void prune_store_nearest(Prune *x, MloPtqLayer *l); /* weights of x->g, each rounded to the nearest */

/* -- whole channels (tools/prune_channels.c) */
MloStatus prune_channels(Prune *x, bool plan) MLO_CHECKED; /* finds and removes them, as the options say */

/* -- predicted times (tools/prune_times.c): x->ns and x->dense_ns, by the curves' levels */
MloStatus prune_times(Prune *x) MLO_CHECKED;
MloStatus prune_time_after(Prune *x, const MloGraph *g) MLO_CHECKED; /* x->ns_after, of g */

/* -- as much as a bound on the loss allows (tools/prune_budget.c) */
MloStatus prune_within(Prune *x) MLO_CHECKED;

/* -- a student and its teacher (tools/distill.c): the same with another model in the place of the dense one */
/* opt->model is the teacher; layers of the student that give what a layer of the teacher gives, by name or else by their
 * order among those of the same shape, are fitted to those.  The student may be in QDQ form.  `x` needs prune_close() in any case. */
MloStatus distill_open(Prune *x, MloArena *a, const PruneOptions *opt, const char *student, MloDiag *d) MLO_CHECKED;
/* opt->fits times; *before: dB of the outputs.  If they do not gain, the student stays as it is, with a note. */
MloStatus distill_run(Prune *x, double *before) MLO_CHECKED;
/* Other ranges for quantised activations of x->g, where the layers that read them come nearer to what they should give
 * (tools/distill_ranges.c); *changed: of how many. */
MloStatus distill_ranges(Prune *x, size_t *changed) MLO_CHECKED;

/* Layers with fewer outputs than their twins: x->map, and why not where there is none (tools/distill_channels.c). */
MloStatus distill_channels(Prune *x) MLO_CHECKED;
/* Moves all layers at once, opt->steps times, to where the outputs come nearer to the teacher's (tools/distill_descend.c): of models
 * without branches, float32. */
MloStatus distill_descend(Prune *x) MLO_CHECKED;
/* Adds nodes to g, a clone of x->g that q is of: by layer of the list, the derivative of the outputs' square error by what the layer
 * gives; NULL: it is not known. */
MloStatus distill_slopes(Prune *x, MloGraph *g, const MloPtq *q, MloValue **slope) MLO_CHECKED;
/* Of worth[rows][cols], rows <= cols: a column for each row, in rising order, with the largest sum, which is returned. */
double distill_assign(MloArena *a, const double *worth, int64_t rows, int64_t cols, int64_t *to);

/* -- reports (tools/prune_report.c) */
void prune_report_text(const Prune *x, bool plan);
void prune_report_json(const Prune *x, bool plan);
#endif
