/* tools/tune.h -- measures schedules of a model's contractions on this machine.
 *
 * Every measurement is made within the model: a package whose kernels have candidate schedules runs in turns
 * with one that has the cost model's, and their steps are compared, so that caches hold what they hold in use.
 * One such race measures one candidate of each of many kernels.  The best candidates are raced once more, and
 * only those that win again are kept (codegen/tuned.h): of many measurements the best is partly luck. */
#ifndef MLO_TOOLS_TUNE_H
#define MLO_TOOLS_TUNE_H
#include <jansson.h>

#include "codegen/tuned.h"
#include "tools/compile.h"

typedef struct TuneOptions {
	MloptOptions compile;     /* target, cache_dir (not NULL), jobs, no_winograd, name */
	double budget;            /* seconds */
	const volatile int *stop; /* 1: confirm what was found and end; more: end */
	void (*note)(void *user, const char *text); /* how it goes, a line at a time; NULL: nobody asks */
	void *user;
} TuneOptions;

/* A contraction of the model. */
typedef struct TuneKernel {
	MloTunable id;
	MloTuned known;
	const char *shape;        /* of its result */
	size_t steps;             /* of the model that run it */
	double ns;                /* of one run, all of them, with the cost model's schedule */
	double share;             /* of the model's time */
	bool resumed;             /* something was known before */
	size_t measured;          /* schedules, in this call */
	MloSchedule trying;
} TuneKernel;

typedef struct TuneResult {
	const char *name, *variant;
	TuneKernel *kernel;       /* the most expensive first */
	size_t n;
	double before_ms, ratio;  /* of the whole model: processor time of one thread, and the tuned one's to it */
	double seconds;
	size_t races, measured;
	bool complete;            /* no candidate is left */
} TuneResult;

/* The result is owned by `a`; the graph stays as it is. */
MloStatus tune_model(MloArena *a, const MloGraph *g, const TuneOptions *opt, TuneResult *out, MloDiag *d) MLO_CHECKED;

/* tune_report.c */
void tune_print(const TuneResult *r);
json_t *tune_json(const TuneResult *r);
#endif
