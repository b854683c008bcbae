/* mlopt/runtime.h -- libmlopt_rt: open a compiled package and run it.
 *
 * C11, pthreads and dl only.  A model is immutable and may be shared by threads; a session has its
 * own activation memory and must be used by one thread at a time (several sessions of one model run
 * concurrently).  mlrt_session_run() performs no allocation and no system call except thread
 * wake-ups.  Every function that can fail returns 0 or an MlrtStatus and fills `err` if given. */
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
	MLRT_ERR_FORMAT,     /* not a package, or damaged */
	MLRT_ERR_VERSION,    /* a package of another major format */
	MLRT_ERR_TARGET,     /* no variant fits this CPU */
	MLRT_ERR_ARGUMENT,   /* wrong index, name, size or pointer */
	MLRT_ERR_NOMEM,
	MLRT_ERR_THREAD
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

typedef struct MlrtOpenOptions {
	const char *variant;     /* force a variant by name; NULL: the best that fits */
	int skip_hashes;         /* nonzero: trust blob bytes (hashes of header, manifest, table are always checked) */
} MlrtOpenOptions;

typedef struct MlrtSessionOptions {
	int threads;             /* 0: what the cgroup quota and the affinity mask allow */
	const MlrtAllocator *allocator; /* copied */
	const MlrtPool *pool;    /* copied; NULL: a pool of the session's own (none for 1 thread) */
} MlrtSessionOptions;

typedef struct MlrtTensorInfo {
	const char *name;        /* lives as long as the model */
	const char *elem;        /* "f32", "i64", "u8", ... */
	int rank;
	const int64_t *dims;
	size_t bytes;
} MlrtTensorInfo;

MLRT_API const char *mlrt_version(void);
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
MLRT_API size_t mlrt_model_arena_bytes(const MlrtModel *m);

MLRT_API MlrtStatus mlrt_session_new(MlrtModel *m, const MlrtSessionOptions *opt, MlrtSession **out, MlrtError *err);
MLRT_API void mlrt_session_free(MlrtSession *s);
MLRT_API int mlrt_session_threads(const MlrtSession *s);
/* inputs[i], outputs[i]: dense row-major tensors of exactly the sizes that the infos state, aligned to
 * their element type; an input and an output must not overlap. */
MLRT_API MlrtStatus mlrt_session_run(MlrtSession *s, const void *const *inputs, void *const *outputs, MlrtError *err);
/* Profiling: nanoseconds of each step of the runs made while it was on, summed. */
MLRT_API void mlrt_session_profile(MlrtSession *s, int on);
MLRT_API size_t mlrt_session_steps(const MlrtSession *s);
MLRT_API uint64_t mlrt_session_step_ns(const MlrtSession *s, size_t step);
#ifdef __cplusplus
}
#endif
#endif
