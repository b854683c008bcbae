/* codegen/compile.h -- one optimised graph to the code, weights and program of one variant. */
#ifndef MLO_CODEGEN_COMPILE_H
#define MLO_CODEGEN_COMPILE_H
#include "codegen/device.h"
#include "codegen/pool.h"
#include "codegen/schedule.h"
#include "ir/base/piece.h"
#include "targets/object.h"
#include "targets/target.h"

typedef enum MloTier { MLO_TIER_CONTRACT, MLO_TIER_LOOPS, MLO_TIER_LIBRARY, MLO_TIER_COUNT } MloTier;
extern const char *const mlo_tier_name[MLO_TIER_COUNT]; /* "contract", "loops", "library" */

typedef struct MloCodegenOptions {
	int jobs;                /* compile threads; 0: number of cores */
	const char *cache_dir;   /* object cache; NULL: none */
	bool direct_only;        /* no Winograd (MloLowerCx) */
	MloElem weights;         /* of products (MloLowerCx) */
	MloElem precision;       /* that was asked for: what attention of a GPU may multiply */
	MloTier tier;            /* kernels of this tier and those behind it alone; the graph has no layouts then, unless it is the first */
	const MloChooser *chooser; /* of schedules (codegen/schedule.h); NULL: the cost model */
	/* Called with the text of what was asked for: kind is "kernels", "llvm" or "asm". */
	void (*dump)(void *user, const char *kind, const char *name, const char *text);
	void *dump_user;
	bool dump_kernels, dump_llvm, dump_asm;
	MloWeightPool *pool;     /* where weights may go that other variants have as well; NULL: they do not */
	const char *function;    /* all in one object with a function of that name, instead of code and program; NULL: no */
} MloCodegenOptions;

typedef struct MloStepInfo {
	const char *name;        /* kernel's readable name */
	uint64_t key;            /* kernel identity */
	MloTier tier;
	const MloOrigin *origin; /* ONNX nodes computed here */
	double flops, bytes;     /* of open sizes: a guess */
	double ns;               /* of a run on one thread, as the cost model has it (codegen/estimate.h) */
	bool open;               /* some sizes are known to the run alone */
	int64_t ntasks;
	bool beside;             /* may run at the same time as the step before it */
	const char *shape;       /* text of the main result's type, for reports */
	const char *schedule;    /* text of the schedule chosen, "" when there is no choice */
	MloChoice choice;        /* where it comes from */
	CacheKey tunable;        /* MloTunable.key, if the chooser was asked; else 0 */
	const MloLaunch *launch; /* of a GPU, or NULL */
	const char *products;    /* of a GPU: what its products are of, as mlo_gpu_peak() takes it; NULL: there are none */
} MloStepInfo;

/* What goes into the package for one variant. Freed by mlo_variant_free. */
typedef struct MloVariant {
	MloArena *arena;         /* owns steps and their strings */
	MloBytes code, program; /* program: MlrtProgram and what follows it (runtime/format.h); code of a GPU: PTX */
	MloBytes launches;       /* of a GPU: MlrtLaunches and what follows it */
	MloBytes cubin;          /* of a GPU, where somebody has made one of the code; goes with the rest */
	MloBytes object;         /* MloCodegenOptions.function: relocatable, weights in it, void FUNCTION(inputs, outputs, arena),
	                          * where the arena takes arena_bytes and then scratch_bytes, and starts at a multiple of 64 */
	MloObjectFacts facts;    /* of the object: constants without the weights */
	bool pooled;             /* weights are in the pool; weight_bytes: its size by now */
	const MloPiece *weight;  /* else the weights blob; data lives in `arena` and in the graph's constants */
	size_t nweight;
	uint64_t weight_bytes, lookup_bytes; /* of those, at the end: tables that runs read here and there */
	uint64_t arena_bytes, scratch_bytes;
	MloStepInfo *steps;
	size_t nsteps, nkernels, cache_hits;
} MloVariant;

/* `g` has been through the O0 or O2 pipeline for `t` and stays unchanged and alive while the
 * variant is in use (origins are shared). */
MloStatus mlo_codegen(const MloGraph *g, const MloTarget *t, const MloCodegenOptions *opt, MloVariant *out, MloDiag *d) MLO_CHECKED;
void mlo_variant_free(MloVariant *v);

/* Runs `tasks` tasks, all of them, of a kernel. */
typedef struct MloKernelRunner {
	MloStatus (*run)(void *user, const MloKernel *k, void *const *args, int64_t tasks, MloDiag *d);
	void *user;
} MloKernelRunner;

/* Runs the graph's kernels with the Kernel IR interpreter instead of machine code (tests, bisecting). Results
 * are made in `a`. Branches, loops and objects are steps of the runtime's, not kernels: MLO_ERR_UNSUPPORTED. */
MloStatus mlo_codegen_interp(MloArena *a, const MloGraph *g, const MloTarget *t, const MloTensor *const *inputs,
                             MloTensor **outputs, MloDiag *d) MLO_CHECKED;
/* The same with something else in the interpreter's place. */
MloStatus mlo_codegen_run(MloArena *a, const MloGraph *g, const MloTarget *t, const MloKernelRunner *runner,
                          const MloTensor *const *inputs, MloTensor **outputs, MloDiag *d) MLO_CHECKED;
#endif
