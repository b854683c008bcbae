/* tests/support/support.h -- what test programs share: compile a graph, run it somewhere, compare. */
#ifndef MLO_TESTS_SUPPORT_H
#define MLO_TESTS_SUPPORT_H
#include "ir/graph.h"
#include "mlopt/runtime.h"

typedef struct RunHow {
	const char *target;   /* of mlopt targets */
	const char *variant;  /* forced when opening; NULL: the best that fits */
	int level;            /* optimisation: 0 or 2 */
	const char *precision; /* of mlopt compile; NULL: f32 */
	int threads;
	bool file;            /* through a file on disk, else from memory */
	const char *emulator; /* command that runs `runner`, NULL: this process */
	const char *runner;   /* program for the emulator */
	const char *cpu;      /* that it emulates, as QEMU names it; NULL: as it chooses */
	const char *scratch;  /* folder for files */
	const char *cache;    /* of objects, NULL: none */
	const char **manifest; /* gets the package's manifest, unless an emulator runs it; NULL: is not wanted */
} RunHow;

/* A level of Arm that is emulated (levels.def): what to compile for, and on what to run it. */
typedef struct ArmLevel { const char *name, *target, *precision, *cpu; } ArmLevel;
extern const ArmLevel support_levels[];
extern const int support_nlevels;
/* Which of them, and by what. */
typedef struct ArmLevels {
	unsigned which;       /* bit i: support_levels[i] */
	const char *emulator; /* as in RunHow */
	const char *runner, *scratch;
} ArmLevels;
/* How to run a package at level i, at full optimisation on one thread. */
RunHow support_emulated(const ArmLevels *arm, int i);

/* Compiles g and runs it once; outputs are tensors in `a`. */
MloStatus support_run(MloArena *a, const MloGraph *g, const RunHow *how, const MloTensor *const *inputs,
                      MloTensor **outputs, MloDiag *d);

/* Normalised mean squared error of got against want: sum (got-want)^2 / sum want^2 (plain sum when
 * want is all zero); infinite when one is NaN where the other is not.  Integers: the same formula. */
double support_nmse(const MloTensor *got, const MloTensor *want);

/* Counts for the last line of a test program. */
typedef struct Score { int passed, failed, skipped; } Score;
int support_finish(const Score *s); /* prints "N passed, N failed, N skipped"; exit status */
/* The share of the work that is this process's: MLOPT_TEST_PART is "I/N", each Nth from I on; unset: all.  False: it is not that. */
bool support_part(int *part, int *parts);
/* What keeps packages for GPUs from running here; NULL: nothing, there is a driver (of the tests, tests/ptx, or a real one). */
const char *support_no_gpu(void);
/* Path of a program or "" : first of the environment variable, then PATH. */
const char *support_tool(const char *env, const char *const *names);
#endif
