/* mlopt/mlopt.h -- libmlopt: compile an ONNX model into a package, from a program.
 *
 *   MloptModel *m;
 *   MloptOptions opt = MLOPT_OPTIONS_INIT;
 *   opt.target = "ml_m5";
 *   if (mlopt_model_load("model.onnx", &m, print, NULL) == MLOPT_OK) {
 *           mlopt_compile_file(m, &opt, "model.mlopt", NULL, print, NULL);
 *           mlopt_model_free(m);
 *   }
 *
 * Nothing is printed and nothing exits: what there is to say goes to the message callback.  A model
 * may be compiled any number of times, by one thread at a time.  Same model and options: same bytes. */
#ifndef MLOPT_MLOPT_H
#define MLOPT_MLOPT_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifndef MLOPT_API
#define MLOPT_API __attribute__((visibility("default")))
#endif

typedef enum MloptStatus {
	MLOPT_OK = 0,
	MLOPT_ERR_IO,          /* input or output failed */
	MLOPT_ERR_FORMAT,      /* malformed file */
	MLOPT_ERR_MODEL,       /* invalid model */
	MLOPT_ERR_UNSUPPORTED, /* an operator or type that is not supported */
	MLOPT_ERR_LIMIT,       /* larger than is allowed */
	MLOPT_ERR_USAGE,       /* wrong options */
	MLOPT_ERR_NOMEM,
	MLOPT_ERR_TARGET, /* unknown target, or a target problem */
	MLOPT_ERR_INTERNAL
} MloptStatus;

typedef enum MloptSeverity { MLOPT_ERROR, MLOPT_WARNING, MLOPT_NOTE, MLOPT_HINT } MloptSeverity;

/* Receives each message; `where` is the file it is about, or NULL.  Notes and hints belong to the
 * error or warning before them.  May be NULL: messages are dropped. */
typedef void MloptMessageFn(void *user, MloptSeverity severity, const char *where, const char *text);

typedef struct MloptModel MloptModel;

typedef struct MloptOptions {
	size_t size;               /* sizeof(MloptOptions): later versions add members at the end */
	const char *target;        /* a name of `mlopt targets`; NULL: this machine */
	const char *const *shapes; /* "INPUT=1x3x224x224", "SYMBOL=8" or "SYMBOL=1..64", nshapes of them */
	size_t nshapes;
	int level;             /* 0: no optimisation, 2: all */
	int jobs;              /* compile threads; 0: one per core */
	const char *cache_dir; /* object cache; NULL: none */
	const char *name;      /* model name in the package; NULL: the file's name */
	/* For developers; all optional. */
	const char *dump_after; /* pass name or "all" */
	int dump_kernels, dump_llvm, dump_asm;
	void (*dump)(void *user, const char *kind, const char *name, const char *text);
	void *dump_user;
	void (*timing)(void *user, const char *pass, double seconds, size_t changed);
	void *timing_user;
	int verify_each;
	int pass_limit; /* run at most that many passes; < 0: all */
	/* "INPUT=OUTPUT", nstates of them: that output of one run is that input of the next. */
	const char *const *states;
	size_t nstates;
	/* "INPUT=FILE" (.npy or .pb), nconsts of them: an input that is always that, and no input any more. */
	const char *const *consts;
	size_t nconsts;
	int no_winograd; /* convolutions as plain sums: slower, and closer to the sum in order */
	int no_tuned;    /* nonzero: schedules from the cost model alone, not those that `mlopt tune` has put into cache_dir */
	const char *precision; /* of products: "f32" (NULL), "tf32" (GPUs), "bf16", "fp16"; sums, inputs and outputs stay float32 */
	const char *model_version; /* in the package; NULL: what the model says of itself, if it does */
	const char *license;       /* of the model: an SPDX expression, or any text; NULL: metadata "license" of the model, if any */
	/* For comparing and bisecting: "contract" (NULL): the best kernels; "loops": none of the contract tier, nothing fused;
	 * "library": the reference kernels, plain C loops, alone. */
	const char *tier;
	int cubin; /* of GPUs also machine code for that very capability: needs NVIDIA's ptxas, and makes loading faster */
} MloptOptions;
#define MLOPT_OPTIONS_INIT                                                                                   \
	{                                                                                                    \
		.size = sizeof(MloptOptions), .level = 2, .pass_limit = -1                                   \
	}

/* What a compilation did, summed over the variants of the target. */
typedef struct MloptReport {
	size_t nodes; /* of the model as imported */
	size_t variants, groups;
	size_t contract, loops, library; /* groups by tier */
	size_t kernels, cache_hits;
	uint64_t package_bytes, code_bytes, weight_bytes, arena_bytes;
	double macs; /* multiply-adds of one run */
	double seconds;
	size_t tuned; /* groups whose schedule was measured as faster than the cost model's */
} MloptReport;

MLOPT_API const char *mlopt_version(void);
MLOPT_API const char *mlopt_status_text(MloptStatus st);
/* Reads and checks a model; external data is looked for beside it. */
MLOPT_API MloptStatus mlopt_model_load(const char *path, MloptModel **out, MloptMessageFn *msg, void *user);
MLOPT_API void mlopt_model_free(MloptModel *m); /* NULL is fine */
/* Compiles into memory: *bytes is malloc'ed, for the caller to free. `report` may be NULL. */
MLOPT_API MloptStatus mlopt_compile(MloptModel *m, const MloptOptions *opt, void **bytes, size_t *n,
				    MloptReport *report, MloptMessageFn *msg, void *user);
/* Compiles into a file that appears whole or not at all. */
MLOPT_API MloptStatus mlopt_compile_file(MloptModel *m, const MloptOptions *opt, const char *path,
					 MloptReport *report, MloptMessageFn *msg, void *user);
#ifdef __cplusplus
}
#endif
#endif
