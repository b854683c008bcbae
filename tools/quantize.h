/* tools/quantize.h -- mlopt quantize: from a model and samples to a quantised graph. */
#ifndef MLO_TOOLS_QUANTIZE_H
#define MLO_TOOLS_QUANTIZE_H
#include <jansson.h>

#include "quant/ptq.h"
#include "quant/speed.h"
#include "targets/target.h"
#include "tools/probe.h"

/* Where times of layers come from: what was measured before or is now, is measured now, the cost model. */
typedef enum QuantizeTimes { QUANTIZE_TIMES_MEASURED, QUANTIZE_TIMES_ANEW, QUANTIZE_TIMES_ESTIMATED } QuantizeTimes;

typedef struct QuantizeOptions {
	MloPtqOptions ptq;
	ProbeData data;
	const MloLoadOptions *load; /* NULL: the model as it is but for `consts`, open sizes left open */
	const char *const *consts;  /* as MloLoadOptions has them */
	size_t nconsts;
	const char *load_profile, *save_profile;
	bool equalize;        /* weights across layers, before anything is run */
	double migrate;       /* see mlo_ptq_migrate(); 0: none */
	bool correct_bias, round;
	/* A bound on what may be lost; no bounds: none. */
	const char *eval, *labels; /* labelled samples, prepared as the others; NULL: none */
	const char *metric;   /* one of tools/metrics.h that is about classes */
	double max_drop;      /* points of it, in percent; < 0: no bound */
	double min_sqnr, min_cosine; /* of all outputs; 0: no bound */
	bool rank;            /* what each layer alone costs is reported, see quantize_rank() */
	bool raise;           /* layers read 16 bits before they go back to float, where that is of use */
	const char *target; /* layers that are slower in integers there stay float; NULL: speed does not matter */
	QuantizeTimes times;
} QuantizeOptions;

/* Everything that costs no more than a few runs of the samples. */
#define QUANTIZE_DEFAULTS                                                                            \
	{                                                                                            \
		.ptq = {.range = RANGE_MSE, .percentile = 99.99}, .data = {.samples = 300}, .migrate = PTQ_MIGRATE_BEST, .correct_bias = true, .metric = "top1", \
		.max_drop = -1                                                                       \
	}

typedef struct Quantize {
	MloArena *a;
	MloDiag *d;
	const QuantizeOptions *opt;
	MloGraph *source;  /* as loaded */
	MloGraph *g;       /* in float, as it is quantised */
	MloPtq *q;
	MloGraph *result;  /* in QDQ form; NULL before it is made */
	double output_sqnr; /* dB of all outputs on some of the samples; NAN: not known */
	double output_cosine; /* between all outputs of one graph and those of the other */
	double accuracy, float_accuracy; /* percent; NAN: not known */
	double speed, float_ns; /* how many times as fast as the float model, which takes so long on the target; NAN: not known */
	size_t migrated;   /* activations whose channels were scaled */
	const char *speed_from; /* "measured", "measured before" or "estimated" */
	size_t back, raised; /* layers that the bound sent back to float, or has read 16 bits */
	bool over_budget;  /* even so it is not met */
	int64_t samples;   /* seen */
} Quantize;

/* Loads the model and makes it ready; graphs share data, so that all live until the end. `x` needs quantize_close() in any case. */
MloStatus quantize_open(Quantize *x, MloArena *a, const QuantizeOptions *opt, MloDiag *d) MLO_CHECKED;
void quantize_close(Quantize *x);
/* Runs the samples, or reads the profile. */
MloStatus quantize_calibrate(Quantize *x) MLO_CHECKED;
/* Rounding and biases, as the options say. */
MloStatus quantize_correct(Quantize *x) MLO_CHECKED;
/* tools/quantize_speed.c: turns off layers that are slower in integers on that variant of the target, by the options' times;
 * by estimates, with a note, if it does not run here. */
MloStatus quantize_speed(Quantize *x, const MloTarget *t) MLO_CHECKED;
MloStatus quantize_for_target(Quantize *x) MLO_CHECKED; /* that on the best variant of the options' target, if they name one */
/* That for each variant of a target: graphs to compile, which quantize_variants_free() frees; says how fast each is. */
enum { QUANTIZE_MAX_VARIANTS = 8 };
typedef struct QuantizeVariants {
	const MloTarget *target[QUANTIZE_MAX_VARIANTS];
	MloGraph *graph[QUANTIZE_MAX_VARIANTS];
	size_t n;
} QuantizeVariants;
MloStatus quantize_variants(Quantize *x, const MloTargetSet *set, QuantizeVariants *out) MLO_CHECKED;
const MloGraph *quantize_graph_of(void *variants, const MloTarget *t); /* MloCompileHooks.graph */
void quantize_variants_free(QuantizeVariants *v);
/* x->result from the numbers there are. */
MloStatus quantize_build(Quantize *x) MLO_CHECKED;
/* SQNR of layers and outputs, on up to `samples` samples. */
enum { QUANTIZE_MEASURED = 32 }; /* for a report */
MloStatus quantize_measure(Quantize *x, int64_t samples) MLO_CHECKED;
/* All of the above, with the options as they are. */
MloStatus quantize_default(Quantize *x) MLO_CHECKED;
/* x->result within the bounds of the options; MLO_ERR_MODEL with over_budget: the best there is, with a message. */
MloStatus quantize_within(Quantize *x) MLO_CHECKED;
/* What the outputs have when a layer alone is quantised, and what the metric says of the labelled samples, if there are any:
 * alone_sqnr and alone_accuracy of each contraction. The plan stays as it is; needs calibration samples. */
MloStatus quantize_rank(Quantize *x) MLO_CHECKED;
/* x->result with weights alone quantised, see mlo_ptq_blocks(); *count: of how many products. */
MloStatus quantize_weights(Quantize *x, int bits, int block, size_t *count) MLO_CHECKED;
MloStatus quantize_write(Quantize *x, const char *path) MLO_CHECKED;

const char *quantize_value_name(const MloValue *v); /* for messages */

/* -- times of layers on a variant (tools/quantize_times.c) */
typedef struct QuantizeTimer QuantizeTimer;
/* In `a`; it needs quantize_timer_close() in any case. */
MloStatus quantize_timer_open(QuantizeTimer **out, MloArena *a, Quantize *x, const MloTarget *t) MLO_CHECKED;
void quantize_timer_close(QuantizeTimer *m);
MloStatus quantize_times(void *timer, MloPtqTimes *out) MLO_CHECKED; /* a MloPtqTimesFn */
bool quantize_times_how(const char *text, QuantizeTimes *out); /* --times HOW; false: an error was printed */

/* probe_samples() with the samples of the options. */
MloStatus probe_run(const Quantize *x, Probe *const *p, size_t n, int64_t limit, const char *what, ProbeFn *see, void *user,
		    MloDiag *d) MLO_CHECKED;

/* -- corrections (tools/quantize_correct.c, tools/quantize_round.c) */
MloStatus quantize_migrate(Quantize *x, int64_t samples) MLO_CHECKED; /* before ranges are found */
bool quantize_bias_corrects(const MloPtqLayer *l);
enum { QUANTIZE_BIAS_SAMPLES = 64 };
MloStatus quantize_correct_bias(Quantize *x, int64_t samples) MLO_CHECKED;
MloStatus quantize_round(Quantize *x, int64_t samples) MLO_CHECKED;

/* -- is the data what the model was trained on? (tools/quantize_data.c): warnings */
MloStatus quantize_check_data(Quantize *x) MLO_CHECKED;

/* -- profiles (tools/quantize_profile.c): ranges of tensors by name, as JSON */
MloStatus profile_save(const MloPtq *q, const char *path, int64_t samples, MloDiag *d) MLO_CHECKED;
MloStatus profile_load(MloPtq *q, const char *path, MloDiag *d) MLO_CHECKED;

/* -- reports (tools/quantize_report.c) */
void report_text(const Quantize *x, bool all); /* all: operators that only move values, too */
void report_summary(const Quantize *x, FILE *to); /* one line */
void report_speed(const Quantize *x, const MloTarget *t); /* a note, if it was measured */
json_t *report_json(const Quantize *x);
/* tools/quantize_page.c: that as part of an HTML page; anything else than such a report is shown as far as it goes. */
void quantize_page(MloStr *out, const json_t *report);
#endif
