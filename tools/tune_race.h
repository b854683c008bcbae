/* tools/tune_race.h -- two packages of one model, run in turns, compared step by step.
 *
 * Each run is on one thread, and the processor time of that thread counts: what else the machine does is left
 * out but for what it does to caches and clock, which both contestants see alike. */
#ifndef MLO_TOOLS_TUNE_RACE_H
#define MLO_TOOLS_TUNE_RACE_H
#include "tools/model.h"
#include "tools/samples.h"

/* A package with its session; run i of it takes ns[step]. */
typedef struct Runner {
	Model m;
	MloTensor **out;
	uint64_t *sum;   /* of all runs so far, per step */
	double *ns;      /* of the last run, per step */
	size_t nsteps;
} Runner;

/* The bytes stay as they are until runner_close(), which is needed only after MLO_OK. */
MloStatus runner_open(Runner *r, const char *name, const void *bytes, size_t n, const char *variant, MloDiag *d) MLO_CHECKED;
MloStatus runner_run(Runner *r, MloTensor *const *in, MloDiag *d) MLO_CHECKED;
void runner_close(Runner *r);

/* What is compared: sums over the steps of a group, and over all steps.  group_of[step]: its number, or
 * RACE_ALONE. */
enum { RACE_ALONE = UINT32_MAX };
typedef struct RaceGroup {
	Samples ratio;          /* of the second contestant's time to the first one's, per pair of runs */
	double median;          /* of those */
	double ns;              /* the first contestant's, median */
	Samples first;
} RaceGroup;

typedef struct Race {
	MloArena *a;
	MloTensor *const *in;
	const uint32_t *group_of[2];
	size_t ngroups;
	RaceGroup *group;       /* ngroups */
	RaceGroup all;
	double seconds;         /* pairs are run for so long */
	const volatile int *stop; /* not 0: no more pairs */
	double *sum[2];         /* room for ngroups + 1 each */
} Race;

void race_new(Race *r, MloArena *a, MloTensor *const *in, size_t ngroups);
/* Fewer than a few pairs are not run. */
MloStatus race_run(Race *r, Runner *first, Runner *second, MloDiag *d) MLO_CHECKED;
#endif
