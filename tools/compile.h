/* tools/compile.h -- the compiler as a whole: model file to graph, graph to package. */
#ifndef MLO_TOOLS_COMPILE_H
#define MLO_TOOLS_COMPILE_H
#include "codegen/compile.h"
#include "ir/base/piece.h"
#include "ir/graph.h"
#include "mlopt/mlopt.h"

typedef struct MloLoadOptions {
	const char *const *shapes; /* "INPUT=1x3x224x224", "SYMBOL=8" and (kept symbols) "SYMBOL=1..64" */
	size_t nshapes;
	const char *const *consts; /* "INPUT=FILE" (.npy or .pb): inputs that become constants */
	size_t nconsts;
	bool keep_symbols;   /* leave dimensions that no shape binds symbolic */
	bool as_written;     /* compute nothing, even where that would tell shapes */
	bool quiet;          /* no warning about them */
	bool provenance;     /* hash what the model consists of, cryptographically */
	MloGraph **partial;  /* not NULL: gets what a failed load made so far, to be freed; else NULL */
	MloStatus *inferred; /* not NULL: what type inference says goes there, and is no failure */
} MloLoadOptions;

/* Graph meta of a loaded model: xxh3 of the file, in hexadecimal; its SHA-256, if provenance was asked for, which
 * is then also the value of what MLO_ONNX_EXTERNAL (frontend/onnx.h) begins. */
#define MLO_MODEL_HASH "mlopt.model_hash"
#define MLO_MODEL_SHA256 "mlopt.model_sha256"

/* Imports a model and infers its types.  Dimensions of inputs that nothing binds become 1, with a
 * warning that shows the option. `opt` may be NULL. The graph's name is the file's, without suffix. */
MloStatus mlo_load_model(const char *path, const MloLoadOptions *opt, MloGraph **out, MloDiag *d) MLO_CHECKED;

typedef struct MloCompiled {
	unsigned char *bytes; /* the package, when it was not written to a file */
	size_t n;
	MloptReport report;
} MloCompiled;
/* A package from a graph, which is left as it is: a file at `path`, or (NULL)
 * bytes in `a`.  opt->shapes are only recorded. */
MloStatus mlo_compile_graph(MloArena *a, const MloGraph *g, const MloptOptions *opt, const char *path,
			    MloCompiled *out, MloDiag *d) MLO_CHECKED;

/* The same with schedules from `hooks`, whatever the cache holds. */
typedef struct MloCompileHooks {
	MloChooser chooser;    /* without a function: as without hooks */
	const MloGraph *(*graph)(void *user, const MloTarget *t); /* what that variant is made from; NULL: the same graph for all */
	void (*made)(void *user, const MloVariant *v); /* of each variant; NULL: none */
	/* Golden vectors, a blob as runtime/format.h has it, in `a`, of each graph that variants are made from; NULL: none. */
	MloStatus (*golden)(void *golden_user, MloArena *a, const MloGraph *g, MloElem precision, MloPiece *out, MloDiag *d);
	void *golden_user;
	const char *const (*options)[2]; /* names and values that the manifest lists among the options, beside MloptOptions */
	size_t noptions;
	const MloTarget *only; /* the target's only variant that is compiled; NULL: all are */
	void *user;
} MloCompileHooks;
MloStatus mlo_compile_hooked(MloArena *a, const MloGraph *g, const MloptOptions *opt, const MloCompileHooks *hooks,
			     const char *path, MloCompiled *out, MloDiag *d) MLO_CHECKED;

/* One object with one function in place of a package (MloCodegenOptions.function), for one variant: of several, the last,
 * which runs wherever the others do. */
typedef struct MloObjectRequest {
	const char *function;
	/* Takes what was made: `typed` tells the inputs and outputs.  Both live until it returns. */
	MloStatus (*take)(void *user, const MloGraph *typed, const MloTarget *t, const MloVariant *v, MloDiag *d);
	void *user;
} MloObjectRequest;
MloStatus mlo_compile_object(const MloGraph *g, const MloptOptions *opt, const MloCompileHooks *hooks,
			     const MloObjectRequest *want, MloptReport *report, MloDiag *d) MLO_CHECKED;

/* Multiply-adds of one run of a graph with static shapes, and of one node. */
double mlo_graph_macs(const MloGraph *g);
double mlo_node_macs(const MloNode *n);
/* Elements of all constants that nodes use, but shapes, indices and the like. */
int64_t mlo_graph_params(const MloGraph *g);

/* Where objects are kept by default: $XDG_CACHE_HOME/mlopt or ~/.cache/mlopt, or NULL; owned by `a`. */
const char *mlo_default_cache(MloArena *a);
#endif
