/* runtime/internal.h -- what the files of the runtime share; nothing of it is exported.
 *
 * MLRT_LOCAL marks functions that cross files: hidden in the library, static in the amalgamation. */
#ifndef MLRT_INTERNAL_H
#define MLRT_INTERNAL_H
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mlopt/runtime.h"
#include "runtime/format.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#ifndef MLRT_VERSION /* the amalgamation defines it */
#ifdef PACKAGE_VERSION
#define MLRT_VERSION PACKAGE_VERSION
#else
#define MLRT_VERSION "unknown"
#endif
#endif

#ifndef MLRT_LOCAL
#define MLRT_LOCAL __attribute__((visibility("hidden")))
#endif

#if defined(MLRT_MORE_LIBRARY) && defined(PIC) /* libtool's word for objects of the shared library */
#define MLRT_MORE_APART 1 /* what few need is apart: runtime/more.h */
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packages are little-endian and read in place"
#endif

enum { MLRT_MAX_RANK = 16, MLRT_ALIGN = 64 };

/* error.c: fill `err` (may be NULL) and return st. */
MLRT_LOCAL MlrtStatus mlrt_fail(MlrtError *err, MlrtStatus st, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* MLRT_ERR_FORMAT, "damaged: variant 'NAME': " and the rest. */
MLRT_LOCAL MlrtStatus mlrt_damaged(MlrtError *err, const char *variant, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
MLRT_LOCAL MlrtStatus mlrt_no_memory(MlrtError *err); /* MLRT_ERR_NOMEM, "out of memory" */
/* Puts "prefix: " before the text of an error. */
MLRT_LOCAL void mlrt_error_prefix(MlrtError *err, const char *prefix);

/* xxh3.c: xxh3-64. */
MLRT_LOCAL uint64_t mlrt_hash(const void *p, size_t n);
/* hash.c: of a blob (format.h says how chunks are combined); large ones by as many threads as may run.  The last
 * `forget` chunks do not stay in memory: they are mapped from a file.  False: no memory for it. */
MLRT_LOCAL bool mlrt_blob_hash(const void *p, size_t n, size_t forget, uint64_t *hash);
/* Digests of the chunks of MLRT_HASH_CHUNK bytes that p consists of, by as many threads as may run. */
typedef void ChunkHash(const void *p, size_t n, void *digest);
MLRT_LOCAL size_t mlrt_chunks(size_t n);
MLRT_LOCAL void mlrt_hash_chunks(const void *p, size_t n, size_t forget, ChunkHash *one, void *digests, size_t digest_bytes);
/* Of a header of up to MLRT_MAX_HEADER bytes, whose hash field counts as zero. */
enum { MLRT_MAX_HEADER = 4096 };
MLRT_LOCAL uint64_t mlrt_header_hash(const void *header, size_t n);

/* cpu.c: does this CPU (and its operating system) have feature `name`, spelled as LLVM does? */
typedef enum CpuAnswer { CPU_NO, CPU_YES, CPU_UNKNOWN } CpuAnswer;
MLRT_LOCAL CpuAnswer mlrt_cpu_has(const char *name);
MLRT_LOCAL const char *mlrt_cpu_arch(void); /* "x86_64", "aarch64", "riscv64" */
/* Bits that no address of an instruction has; -1: not an architecture of packages. */
MLRT_LOCAL int mlrt_arch_misaligned(const char *arch);

/* quota.c: threads that may run at once, by the affinity mask and the cgroup quotas; at least 1.
 * `root` stands before the paths read ("" in earnest). */
MLRT_LOCAL int mlrt_cpu_count(const char *root);

/* memory.c */
typedef struct Mapping { /* of a file, of copied bytes, or borrowed (base NULL) */
	const unsigned char *data;
	size_t bytes;
	void *base; /* what is unmapped or freed */
	size_t base_bytes;
} Mapping;
MLRT_LOCAL MlrtStatus mlrt_map_file(const char *path, int *fd, Mapping *m, MlrtError *err);
/* Bytes to run: mapped from fd at `offset` where that can be done (fd >= 0), else a copy of `src`. */
MLRT_LOCAL MlrtStatus mlrt_map_code(int fd, uint64_t offset, const unsigned char *src, size_t bytes,
				    Mapping *m, MlrtError *err);
MLRT_LOCAL void mlrt_unmap(Mapping *m);
/* Gives fresh memory its pages at once, where the system can: one call in place of a fault for each page. */
MLRT_LOCAL void mlrt_populate(void *p, size_t bytes);
/* Of a file's mapping that is only read: its pages leave this process until they are read again. */
MLRT_LOCAL void mlrt_forget(const void *p, size_t bytes);
MLRT_LOCAL MlrtAllocator mlrt_default_allocator(void);

/* container.c: the outer layers of a file, checked. */
typedef struct Container {
	const unsigned char *file;
	size_t file_bytes;
	MlrtHeader header;
	MlrtSignatures signatures; /* count 0 where there are none */
	char *manifest; /* a copy with a NUL behind it */
	MlrtBlob *blob; /* a copy of the table */
} Container;
enum {
	CONTAINER_TRUSTED = 1, /* blobs are not hashed */
	CONTAINER_MAPPED = 2,  /* the file's pages */
	CONTAINER_LATER = 4    /* weights and golden vectors are not hashed yet */
};
MLRT_LOCAL MlrtStatus mlrt_container_read(Container *c, const void *file, size_t n, int how, MlrtError *err);
/* The hashes that CONTAINER_LATER has left out. */
MLRT_LOCAL MlrtStatus mlrt_container_check_rest(const Container *c, int how, MlrtError *err);
MLRT_LOCAL void mlrt_container_free(Container *c);

/* signature.c: before anything in a file is read. */
/* MLRT_OK if enough of the keys of `opt`, which asks for some, have signed these bytes. */
MLRT_LOCAL MlrtStatus mlrt_signatures_check(const void *file, size_t n, const MlrtOpenOptions *opt, MlrtError *err);
#ifdef MLRT_WITH_SODIUM
/* What signatures of the file are made of, MLRT_SIGNED_TEXT and its hash; n is at least what a header takes. */
enum { MLRT_MESSAGE_BYTES = sizeof MLRT_SIGNED_TEXT + 32 };
MLRT_LOCAL MlrtStatus mlrt_signed_message(const void *file, size_t n, unsigned char message[MLRT_MESSAGE_BYTES], MlrtError *err);
#endif

/* elem.c: element types by storage. */
typedef struct Elem {
	char name[11];
	unsigned char code;        /* TensorProto.DataType */
	unsigned char bits, align; /* of an element; alignment in bytes */
} Elem;
enum { ELEM_I32 = 6, ELEM_I64 = 7, ELEM_STR = 8, ELEM_BOOL = 9 };
MLRT_LOCAL const Elem *mlrt_elem_named(const char *name); /* NULL: there is none */
MLRT_LOCAL const Elem *mlrt_elem_code(uint32_t code);
/* MlrtValueKind: "tensor", "seq", ...; false: there is none of that name. */
MLRT_LOCAL const char *mlrt_kind_text(uint32_t kind);
MLRT_LOCAL bool mlrt_kind_named(const char *name, uint32_t *kind);
/* Bytes of a dense tensor, characters of strings aside; false if a size is negative or the product too large. */
MLRT_LOCAL bool mlrt_tensor_bytes(const Elem *e, int rank, const int64_t *dims, uint64_t *bytes);

/* manifest.c: what the runtime needs of the manifest. Strings live in `strings`. */
typedef struct Tensor { /* or an object: an input or output */
	MlrtTensorInfo info;
	int64_t dims[MLRT_MAX_RANK];          /* -1: open */
	const char *dim_names[MLRT_MAX_RANK]; /* NULL: none */
	const Elem *elem, *key;
	uint32_t kind;        /* MlrtValueKind */
	bool open;            /* the number of bytes differs from run to run */
} Tensor;
typedef struct Variant {
	const char *name, *arch;
	const char *needs; /* nneeds strings, one behind the other */
	size_t nneeds;
	uint64_t code, weights, program, golden; /* blob numbers; weights, golden: UINT64_MAX if none */
	uint64_t launches, cubin; /* of a GPU; cubin: UINT64_MAX if none */
	uint64_t arena_bytes, scratch_bytes;
} Variant;
typedef struct StatePair {
	uint64_t input, output;
} StatePair;
typedef struct Manifest {
	Tensor *input, *output;
	size_t ninputs, noutputs;
	StatePair *state;
	size_t nstates;
	Variant *variant; /* best first */
	size_t nvariants;
	char *strings;
} Manifest;
MLRT_LOCAL MlrtStatus mlrt_manifest_read(Manifest *m, const Container *c, MlrtError *err);
MLRT_LOCAL void mlrt_manifest_free(Manifest *m);
/* What the user calls step `step` of a variant, for messages: the model's node, or the step's own name, or "". */
MLRT_LOCAL void mlrt_manifest_step(const Container *c, const char *variant, uint64_t step, char *out, size_t n);

/* How kernels of a GPU are started (format.h), as the file has it. */
typedef struct Launches {
	const unsigned char *record; /* n of them, at any address */
	uint32_t n;
	const char *names;
	uint64_t name_bytes;
} Launches;
static inline MlrtLaunch mlrt_launch_at(const Launches *l, uint32_t i)
{
	MlrtLaunch out;

	memcpy(&out, l->record + (size_t)i * sizeof out, sizeof out);
	return out;
}

/* list.c, list_check.c: a program of a list, its tables. */
typedef struct Body {
	const MlrtBody *head;
	const MlrtBodyStep *step;
	const MlrtBodyArg *arg;
	const MlrtExpr *expr;
	const MlrtBuffer *buffer;
	const MlrtValue *value;
	const uint32_t *ref;
	uint64_t first_step; /* its steps' numbers in the manifest and the profile begin here */
} Body;
typedef struct List {
	const MlrtProgramList *head; /* NULL: the program is flat */
	const MlrtStrings *strings;
	Body *body;
} List;

/* program.c: what one run does, checked against the spaces it touches. */
typedef struct Program {
	void *copy; /* owns what the others point into */
	const MlrtProgram *head;
	const MlrtStep *step;
	const MlrtArg *arg;
	List list;           /* in place of the three above */
	uint64_t nsteps;     /* of all programs */
	uint64_t arena_bytes, scratch_bytes;
} Program;
MLRT_LOCAL MlrtStatus mlrt_program_read(Program *p, const Container *c, const Manifest *m, const Variant *v,
					MlrtError *err);
MLRT_LOCAL void mlrt_program_free(Program *p);
/* Where an argument of a flat program lies, written or not. */
static inline uint32_t mlrt_arg_space(const MlrtArg *a)
{
	return a->space & ~(uint32_t)MLRT_WRITTEN;
}
/* Sizes of the spaces that arguments point into. */
typedef struct Spaces {
	const Manifest *manifest;
	const Variant *variant;
	const unsigned char *weight_data;
	uint64_t arena, weights;
	uint64_t code;   /* bytes, or kernels of a GPU */
} Spaces;
MLRT_LOCAL MlrtStatus mlrt_list_read(Program *p, size_t bytes, const Spaces *s, MlrtError *err);
MLRT_LOCAL MlrtStatus mlrt_body_check(const List *l, uint32_t number, const Spaces *s, MlrtError *err);
MLRT_LOCAL MlrtStatus mlrt_steps_check(const List *l, uint32_t number, const Spaces *s, MlrtError *err);

/* threads.c: a pool for one caller at a time.  threads >= 2; cpus: how many may run at once. */
typedef struct Pool Pool;
MLRT_LOCAL Pool *mlrt_pool_new(int threads, int cpus, const MlrtAllocator *al, MlrtError *err);
MLRT_LOCAL void mlrt_pool_free(Pool *p);
/* Gives task(arg, i) to the threads i in [1, n) that are awake, n <= threads; true: some sleep.  The caller works on
 * beside them, on everything that nobody else has begun, for a thread may never begin. */
MLRT_LOCAL bool mlrt_pool_start(Pool *p, void (*task)(void *arg, int i), void *arg, int n);
/* While some sleep and much is left: wakes them where that has come to pay; true: they still sleep. */
MLRT_LOCAL bool mlrt_pool_nudge(Pool *p, void (*task)(void *arg, int i), void *arg, int n);
/* Returns when all threads that have begun have returned; no other will begin.  asleep: what the calls above said. */
MLRT_LOCAL void mlrt_pool_finish(Pool *p, int n, bool asleep);

/* golden.c: mlrt_model_replay() */
MLRT_LOCAL MlrtStatus mlrt_replay(MlrtModel *m, const MlrtSessionOptions *opt, MlrtReplayFn *each, void *user,
				  MlrtReplay *summary, MlrtError *err);

struct MlrtModel {
	Mapping file, code, weights;
	MlrtText **strings; /* per MlrtStrings of the program: its elements, relocated */
	Container container;
	Manifest manifest;
	Program program;
	const Variant *variant;
	const struct DeviceApi *device; /* of a variant for GPUs, or NULL */
	struct DeviceModel *on; /* what is on devices, under the lock */
	int how;              /* as the container was read */
	pthread_mutex_t lock; /* of `unchecked` */
	bool unchecked;       /* CONTAINER_LATER, and nobody has looked since */
};
/* open.c: checks what opening has left unchecked; before anything reads weights. */
MLRT_LOCAL MlrtStatus mlrt_model_check(MlrtModel *m, MlrtError *err);
#endif
