/* tools/model.h -- MODEL|PACKAGE: something that can be run, whatever it was made from.
 *
 * An ONNX model is compiled in memory for this machine, or run by the reference executor; a package
 * is opened by the runtime.  Inputs and outputs are dense tensors in the order of the model. */
#ifndef MLO_TOOLS_MODEL_H
#define MLO_TOOLS_MODEL_H
#include "ir/exec.h"
#include "mlopt/runtime.h"
#include "tools/compile.h"

typedef struct ModelOptions {
	const char *const *shapes; /* of an ONNX model; a package has its shapes */
	size_t nshapes;
	bool reference;        /* run the plain graph (an ONNX model only) */
	bool quiet;            /* no warning about dimensions taken as 1 */
	bool open;             /* dimensions that no shape binds stay open (compiled code only) */
	int threads;           /* 0: what this process may use */
	const char *variant;   /* of a package; NULL: the best that fits */
	int device;            /* number of the GPU, where the variant is for one */
	const char *cache_dir; /* NULL: the default one */
	bool no_cache;
	const char *key[8];    /* files of public keys, all of which must have signed the package */
	size_t nkeys;
} ModelOptions;
/* The option for them, and what takes it; false: an error was printed. */
#define MODEL_KEY_OPTION(id) {id, "key", "FILE.pub", "the package must be signed by that key (repeatable: by all of them)"}
bool model_take_key(ModelOptions *opt);
#define MODEL_DEVICE_OPTION(id) {id, "device", "N", "the GPU of packages for GPUs, as the driver counts (default: 0)"}

typedef struct ModelTensor {
	const char *name;
	MloElem elem;
	int rank;
	int64_t dim[MLO_MAX_RANK];  /* -1: open, each run has its own */
	int64_t pick[MLO_MAX_RANK]; /* what tensors made here have: dim, or what model_pick() chose (else 1) */
	const char *dim_name[MLO_MAX_RANK]; /* of open ones; may be NULL */
	size_t bytes;               /* 0 where a dimension is open */
	const char *kind;           /* of objects ("seq", ...); NULL: a tensor */
	MloElem key;                /* of maps */
	bool state;                 /* an input that is what the run before put out: may be left out */
} ModelTensor;

typedef struct Model {
	MloArena *arena;
	const char *path;
	MloGraph *graph;    /* as imported; NULL for a package */
	MlrtModel *package; /* NULL under `reference` */
	MlrtSession *session;
	MloExec *exec; /* under `reference` */
	size_t package_bytes;
	double compile_seconds, load_seconds;
	ModelTensor *in, *out;
	size_t nin, nout;
	MlrtTensor *call_in, *call_out; /* of the last run with open sizes; NULL: none yet */
} Model;

/* Is this file a package (by its first bytes)? */
bool model_is_package(const char *path);
/* `m` needs model_close() only after MLO_OK. */
MloStatus model_open(Model *m, const char *path, const ModelOptions *opt, MloDiag *d) MLO_CHECKED;
/* The same from a graph that the caller keeps; `keep` adds nothing, the graph's outputs are run. */
MloStatus model_open_graph(Model *m, const MloGraph *g, const ModelOptions *opt, MloDiag *d) MLO_CHECKED;
/* Only what inputs and outputs g has: nothing can be run. */
MloStatus model_describe(Model *m, const MloGraph *g, MloDiag *d) MLO_CHECKED;
/* A package in memory, which stays as it is until model_close(). */
MloStatus model_open_bytes(Model *m, const char *name, const void *bytes, size_t n, const ModelOptions *opt,
			   MloDiag *d) MLO_CHECKED;
void model_close(Model *m);
/* in[i] of a state may be NULL: it stays as it is.  out[i]->data is filled; see model_outputs().  Results of open sizes are put into memory of the model's, which
 * stays as it is until the next run: shape and data of out[i] are set. */
MloStatus model_run(Model *m, MloTensor *const *in, MloTensor *const *out, MloDiag *d) MLO_CHECKED;
/* The last model_run() of m again, with the same in and out: for measuring, nothing is converted anew. */
MloStatus model_repeat(Model *m, MloTensor *const *in, MloTensor *const *out, MloDiag *d) MLO_CHECKED;

bool model_tensor_open(const ModelTensor *t);
/* Sizes for open dimensions: shapes as of --shape, of inputs ("x=1x3x8x8") or named dimensions ("batch=8"). */
MloStatus model_pick(Model *m, const char *const *shapes, size_t n, MloDiag *d) MLO_CHECKED;
MloType model_type(const ModelTensor *t);                   /* open sizes: 0 */
MloTensor *model_tensor(MloArena *a, const ModelTensor *t); /* zeroed */
MloTensor **model_outputs(MloArena *a, const Model *m);
/* Uniform in [-1, 1) for floats, 0 or 1 for integers: the same for the same seed everywhere. */
MloTensor *model_random(MloArena *a, const ModelTensor *t, uint64_t seed);
/* That for each input that is NULL, but states; a seed of its own each. */
void model_fill(MloArena *a, const Model *m, MloTensor **in, uint64_t seed);
/* The index of an input, or an error that lists the names. */
MloStatus model_find_input(const Model *m, const char *name, size_t *index, MloDiag *d) MLO_CHECKED;
const char *model_type_text(MloArena *a, const ModelTensor *t); /* f32[1,3,224,224] */
MloStatus model_runtime_error(MloDiag *d, const MlrtError *e);
#endif
