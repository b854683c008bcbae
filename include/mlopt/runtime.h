/* mlopt/runtime.h -- libmlopt_rt: open a compiled package and run it.
 *
 * C11, pthreads and dl only, and libsodium where it is built with MLRT_WITH_SODIUM, to check signatures.  The shared library
 * loads libmlopt_rt_more.so, which lies beside it, for packages with control flow or sequences, for signatures, for golden
 * vectors and for states (docs/PACKAGES.md).  A model is immutable and may be shared by threads; a session has its own activation memory
 * and must be used by one thread at a time (several sessions of one model run concurrently).  A run performs no allocation
 * and no system call except thread wake-ups, once it has seen the sizes that it meets.  Every function that can fail returns 0 or an MlrtStatus and fills `err` if given. */
#ifndef MLOPT_RUNTIME_H
#define MLOPT_RUNTIME_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifndef MLRT_API
#define MLRT_API __attribute__((visibility("default")))
#endif

typedef enum MlrtStatus {
	MLRT_OK = 0,
	MLRT_ERR_IO,         /* the file cannot be read or mapped */
	MLRT_ERR_FORMAT,     /* not a package, or one whose parts contradict each other though their hashes are right */
	MLRT_ERR_VERSION,    /* a package of another major format */
	MLRT_ERR_TARGET,     /* no variant fits this CPU, for it lacks a feature */
	MLRT_ERR_ARGUMENT,   /* wrong index, name, size or pointer */
	MLRT_ERR_NOMEM,
	MLRT_ERR_THREAD,
	MLRT_ERR_DAMAGED,    /* a hash differs, or bytes that must be zero are not: some byte is not what was written */
	MLRT_ERR_TRUNCATED,  /* the file is shorter than its header says */
	MLRT_ERR_MANIFEST,   /* the manifest is not JSON, nests too deeply, has a key twice, or lacks what is needed */
	MLRT_ERR_ARCH,       /* all variants are for other architectures */
	/* Of packages that must be signed (MlrtOpenOptions.keys): */
	MLRT_ERR_UNSIGNED,   /* there are no signatures */
	MLRT_ERR_DOWNGRADED, /* of a format older than signatures, or made to look so */
	MLRT_ERR_KEY,        /* signed, but not by enough of the keys */
	MLRT_ERR_SIGNATURE,  /* a signature by one of the keys does not fit the file: it was changed */
	MLRT_ERR_NO_CRYPTO,  /* this runtime was built without MLRT_WITH_SODIUM and cannot tell */
	/* Of variants for GPUs (docs/CUDA.md): */
	MLRT_ERR_NO_DRIVER,  /* this machine has no driver for them (libcuda.so.1), or the runtime's part for them is not installed */
	MLRT_ERR_DRIVER,     /* the driver is too old for the PTX of the package, or refuses to work */
	MLRT_ERR_NO_DEVICE,  /* there is no device, none of the capability that a variant needs, or not the one asked for */
	MLRT_ERR_DEVICE_MEMORY, /* the device has no memory left; the text says how much was asked for, is free, and is there */
	MLRT_ERR_KERNEL,     /* a kernel failed.  CUDA takes a context with a failed kernel out of use: every session on that device fails
	                      * like this until all models that use it are closed, which gives the context back; then it can be used again
	                      * (where something else in the process holds it, only in a new process) */
	/* Of mlrt_model_replay(): */
	MLRT_ERR_NO_GOLDEN,  /* the package has no golden vectors */
	MLRT_ERR_REPLAY      /* results are farther from the golden ones than is allowed */
} MlrtStatus;

typedef struct MlrtError {
	MlrtStatus status;
	char text[512]; /* one line, lower case, names and values */
} MlrtError;

typedef struct MlrtModel MlrtModel;
typedef struct MlrtSession MlrtSession;

/* Memory from the application; NULL members: the C library. alloc: 64-byte aligned, or NULL. */
typedef struct MlrtAllocator {
	void *user;
	void *(*alloc)(void *user, size_t bytes);
	void (*release)(void *user, void *p, size_t bytes);
} MlrtAllocator;

/* Threads from the application.  parallel() calls task(arg, i) for every i in [0, n), on any threads,
 * and returns when all calls have returned. `threads` is how many run at once (work is cut into that many parts). */
typedef struct MlrtPool {
	void *user;
	int threads;
	void (*parallel)(void *user, void (*task)(void *arg, int i), void *arg, int n);
} MlrtPool;

/* An Ed25519 public key: what `mlopt package keygen` puts into a .pub file, there in hexadecimal. */
typedef struct MlrtPublicKey {
	unsigned char bytes[32];
} MlrtPublicKey;

typedef struct MlrtOpenOptions {
	const char *variant;     /* force a variant by name; NULL: the best that fits */
	int skip_hashes;         /* nonzero: trust blob bytes (hashes of header, manifest, table are always checked) */
	int check_all;           /* nonzero: check the hashes of weights when opening, not when the first session is made */
	/* Keys that must have signed the package; none: signatures are not looked at.  They are checked before anything
	 * in the file is, whatever skip_hashes says.  The file must not change while it is open. */
	const MlrtPublicKey *keys;
	size_t nkeys;
	size_t keys_needed;      /* how many of them (each counts once); 0: all */
} MlrtOpenOptions;

typedef struct MlrtSessionOptions {
	int threads;             /* 0: what the cgroup quota and the affinity mask allow */
	const MlrtAllocator *allocator; /* copied */
	const MlrtPool *pool;    /* copied; NULL: a pool of the session's own (none for 1 thread) */
	/* Of variants for GPUs: */
	int device;              /* number of the device, as the driver counts */
	void *stream;            /* a CUstream of the device's primary context; NULL: one of the session's own (mlrt_session_run()) */
} MlrtSessionOptions;

typedef struct MlrtTensorInfo {
	const char *name;        /* lives as long as the model */
	const char *elem;        /* "f32", "i64", "u8", "str", ...; of an object: of its items or values */
	int rank;
	const int64_t *dims;     /* -1: open, told by each run */
	size_t bytes;            /* 0 where a size is open */
	const char *kind;        /* "tensor"; objects: "seq", "opt", "opt_seq", "map", "seq_map" */
	const char *key;         /* of maps: element type of the keys, "i64" or "str"; else NULL */
	const char *const *dim_names; /* rank names or expressions ("batch", "4*n+1"), NULL where there is none;
	                               * the list may be NULL */
} MlrtTensorInfo;

/* An element of a tensor of strings: n bytes, UTF-8, not terminated. */
typedef struct MlrtText {
	const char *s;
	int64_t n;
} MlrtText;

/* A sequence of tensors, an optional tensor or sequence, a map, or a sequence of maps. */
typedef struct MlrtObject MlrtObject;

/* An input or output of a run, or an item of an object: a dense row-major tensor, or an object. */
typedef struct MlrtTensor {
	void *data;
	size_t bytes;            /* of the memory at `data` */
	int rank;
	int64_t dims[16];
	MlrtObject *object;
} MlrtTensor;

MLRT_API const char *mlrt_version(void);
MLRT_API int mlrt_checks_signatures(void); /* nonzero: built with MLRT_WITH_SODIUM */
/* Opening checks header, manifest, table, code and programs.  Weights and golden vectors, most of the bytes, are hashed
 * when the first session is made, which fails with MLRT_ERR_DAMAGED where they are damaged: nothing is computed from what was
 * not checked. `check_all` does it here, skip_hashes never. */
MLRT_API MlrtStatus mlrt_model_open(const char *path, const MlrtOpenOptions *opt, MlrtModel **out, MlrtError *err);
/* The bytes must stay valid and unchanged until close; they are copied where execution or alignment needs it. */
MLRT_API MlrtStatus mlrt_model_open_memory(const void *bytes, size_t n, const MlrtOpenOptions *opt, MlrtModel **out, MlrtError *err);
MLRT_API void mlrt_model_close(MlrtModel *m); /* after all its sessions; NULL is fine */
MLRT_API const char *mlrt_model_manifest(const MlrtModel *m, size_t *n); /* the JSON text */
MLRT_API const char *mlrt_model_variant(const MlrtModel *m); /* name of the chosen variant */
MLRT_API size_t mlrt_model_inputs(const MlrtModel *m);
MLRT_API size_t mlrt_model_outputs(const MlrtModel *m);
MLRT_API MlrtStatus mlrt_model_input(const MlrtModel *m, size_t i, MlrtTensorInfo *info);
MLRT_API MlrtStatus mlrt_model_output(const MlrtModel *m, size_t i, MlrtTensorInfo *info);
/* The output that the package declares to be this input of the next run (states, below); -1: there is none. */
MLRT_API long mlrt_model_state(const MlrtModel *m, size_t input);
MLRT_API size_t mlrt_model_arena_bytes(const MlrtModel *m);

MLRT_API MlrtStatus mlrt_session_new(MlrtModel *m, const MlrtSessionOptions *opt, MlrtSession **out, MlrtError *err);
MLRT_API void mlrt_session_free(MlrtSession *s);
MLRT_API int mlrt_session_threads(const MlrtSession *s);
/* For models all of whose inputs and outputs are tensors of known sizes.  inputs[i], outputs[i]: dense
 * row-major tensors of exactly the sizes that the infos state, aligned to their element type; an input
 * and an output must not overlap.  Those of a state (below) may be NULL. */
MLRT_API MlrtStatus mlrt_session_run(MlrtSession *s, const void *const *inputs, void *const *outputs, MlrtError *err);
/* On a GPU: pointers may be such of the session's device, and page-locked memory is copied from where it lies.  What lies in inputs on
 * the device must be there when the call is made, or be written before by the session's stream.  With a stream of the
 * application's, a run is put on it and the call returns, if all outputs are of one of these kinds: then they, and inputs of these kinds,
 * belong to the run until the stream has passed it, and what goes wrong is told by a later call.  Else the run is over on return.
 * mlrt_session_run_tensors() always is. */
/* For any model.  in[i]: data, bytes, rank and dims, or object, are given.  out[i]: with data NULL it is
 * set to memory of the session that stays as it is until the next run or reset (and cannot be an input of
 * that run: copy it, or make it a state); else results are written
 * there if `bytes` suffices (if not, the error states what is needed; bytes of strings count their MlrtText,
 * the characters stay with the session).  bytes, rank and dims become those of the result; object is set
 * to one of the session's, which also stays until then.  New sizes may take memory; sizes seen before
 * take none. */
MLRT_API MlrtStatus mlrt_session_run_tensors(MlrtSession *s, const MlrtTensor *in, MlrtTensor *out, MlrtError *err);

/* States: what one run puts out at `output` is `input` of the next, at first zeros.  An open size is then
 * 0, or that of another input's dimension with the same name.  In a run the input may be left out (data and
 * object NULL, or a NULL pointer); if it is given it takes the place of the state, once.  The output may
 * be left out of mlrt_session_run() likewise.  A package may declare states itself.  A run that fails
 * changes no state. */
MLRT_API MlrtStatus mlrt_session_state(MlrtSession *s, size_t input, size_t output, MlrtError *err);
MLRT_API void mlrt_session_reset(MlrtSession *s); /* all states, to how they were at first */

/* Objects.  Those that a run gives belong to its session; for inputs make them here.  Items are copied. */
MLRT_API MlrtObject *mlrt_object_new(const char *kind, const char *elem, const char *key); /* NULL: see errno */
MLRT_API void mlrt_object_free(MlrtObject *o); /* only of mlrt_object_new() */
/* One more item of a sequence; the content of an optional tensor; an item of an optional sequence. */
MLRT_API MlrtStatus mlrt_object_append(MlrtObject *o, const MlrtTensor *item, MlrtError *err);
/* Of a sequence of maps; or the content of a map.  keys and values: as many of either, rank 1. */
MLRT_API MlrtStatus mlrt_object_append_map(MlrtObject *o, const MlrtTensor *keys, const MlrtTensor *values, MlrtError *err);
MLRT_API void mlrt_object_clear(MlrtObject *o, int present); /* no items; `present`: of an optional sequence */
MLRT_API const char *mlrt_object_kind(const MlrtObject *o);
MLRT_API const char *mlrt_object_elem(const MlrtObject *o);
MLRT_API const char *mlrt_object_key(const MlrtObject *o); /* NULL: no maps */
MLRT_API int mlrt_object_present(const MlrtObject *o);     /* 0: an optional without content */
MLRT_API size_t mlrt_object_count(const MlrtObject *o);    /* items; optional tensor: 0 or 1; map: 1 */
MLRT_API MlrtStatus mlrt_object_item(const MlrtObject *o, size_t i, MlrtTensor *out); /* not to be written */
MLRT_API MlrtStatus mlrt_object_map(const MlrtObject *o, size_t i, MlrtTensor *keys, MlrtTensor *values);

/* Golden vectors (compile --golden): runs the package on the inputs that it brings, and compares with the outputs that
 * the reference executor computed.  `opt` as for a session.  `each` (may be NULL) is told of every output of every vector.
 * Distances are, over the elements of an output: nmse, the sum of (got - wanted)^2 divided by that of wanted^2 (or by the number
 * of elements, where all wanted are zero), and the largest |got - wanted|.  Elements that are NaN or infinite must
 * be so in both, else both distances are infinite; types that are no numbers must be equal bit by bit.
 * MLRT_OK: all are within bounds; MLRT_ERR_REPLAY: not all are. */
typedef struct MlrtReplay {
	size_t vector, output;   /* which one; of the summary: the worst */
	double nmse, max_error;
	double nmse_allowed;
	size_t vectors, failed;  /* of the summary: vectors, and outputs out of bounds */
} MlrtReplay;
typedef void MlrtReplayFn(void *user, const MlrtReplay *one);
MLRT_API MlrtStatus mlrt_model_replay(MlrtModel *m, const MlrtSessionOptions *opt, MlrtReplayFn *each, void *user,
				      MlrtReplay *summary, MlrtError *err);

/* Profiling: nanoseconds of each step of the runs made while it was on, summed.  on: 0 off, 1 time that passes,
 * 2 processor time of the thread that runs (all there is in a session of one thread).  Steps of the bodies of
 * conditions and loops follow those of the main program, and are not counted in the step they belong to. */
MLRT_API void mlrt_session_profile(MlrtSession *s, int on);
MLRT_API size_t mlrt_session_steps(const MlrtSession *s);
MLRT_API uint64_t mlrt_session_step_ns(const MlrtSession *s, size_t step);
#ifdef __cplusplus
}
#endif
#endif
