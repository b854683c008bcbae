/* runtime/internal.h -- what the files of the runtime share; nothing of it is exported.
 *
 * MLRT_LOCAL marks functions that cross files: hidden in the library, static in the amalgamation. */
#ifndef MLRT_INTERNAL_H
#define MLRT_INTERNAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mlopt/runtime.h"
#include "runtime/format.h"

#ifndef MLRT_LOCAL
#define MLRT_LOCAL __attribute__((visibility("hidden")))
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packages are little-endian and read in place"
#endif

enum { MLRT_MAX_RANK = 16, MLRT_ALIGN = 64 };

/* error.c: fill `err` (may be NULL) and return st. */
MLRT_LOCAL MlrtStatus mlrt_fail(MlrtError *err, MlrtStatus st, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Puts "prefix: " before the text of an error. */
MLRT_LOCAL void mlrt_error_prefix(MlrtError *err, const char *prefix);

/* hash.c: xxh3-64. */
MLRT_LOCAL uint64_t mlrt_hash(const void *p, size_t n);
/* Of a blob (format.h says how chunks are combined); large ones by as many threads as may run. */
MLRT_LOCAL uint64_t mlrt_blob_hash(const void *p, size_t n);
/* Of a header whose hash field counts as zero. */
MLRT_LOCAL uint64_t mlrt_header_hash(const void *header, size_t n);

/* cpu.c: does this CPU (and its operating system) have feature `name`, spelled as LLVM does? */
typedef enum CpuAnswer { CPU_NO, CPU_YES, CPU_UNKNOWN } CpuAnswer;
MLRT_LOCAL CpuAnswer mlrt_cpu_has(const char *name);
MLRT_LOCAL const char *mlrt_cpu_arch(void); /* "x86_64", "aarch64" */

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
MLRT_LOCAL MlrtAllocator mlrt_default_allocator(void);

/* container.c: the outer layers of a file, checked. */
typedef struct Container {
	const unsigned char *file;
	size_t file_bytes;
	MlrtHeader header;
	char *manifest; /* a copy with a NUL behind it */
	MlrtBlob *blob; /* a copy of the table */
} Container;
MLRT_LOCAL MlrtStatus mlrt_container_read(Container *c, const void *file, size_t n, bool skip_hashes,
					  MlrtError *err);
MLRT_LOCAL void mlrt_container_free(Container *c);

/* manifest.c: what the runtime needs of the manifest. Strings live in `strings`. */
typedef struct Tensor {
	MlrtTensorInfo info;
	int64_t dims[MLRT_MAX_RANK];
	size_t align; /* of its elements */
} Tensor;
typedef struct Variant {
	const char *name, *arch;
	const char *needs; /* nneeds strings, one behind the other */
	size_t nneeds;
	uint64_t code, weights, program; /* blob numbers; weights: UINT64_MAX if none */
	uint64_t arena_bytes, scratch_bytes;
} Variant;
typedef struct Manifest {
	Tensor *input, *output;
	size_t ninputs, noutputs;
	Variant *variant; /* best first */
	size_t nvariants;
	char *strings;
} Manifest;
MLRT_LOCAL MlrtStatus mlrt_manifest_read(Manifest *m, const Container *c, MlrtError *err);
MLRT_LOCAL void mlrt_manifest_free(Manifest *m);

/* program.c: the calls of one run, checked against the spaces they touch. */
typedef struct Program {
	void *copy; /* owns what the others point into */
	const MlrtProgram *head;
	const MlrtStep *step;
	const MlrtArg *arg;
} Program;
MLRT_LOCAL MlrtStatus mlrt_program_read(Program *p, const Container *c, const Manifest *m, const Variant *v,
					MlrtError *err);
MLRT_LOCAL void mlrt_program_free(Program *p);

/* threads.c: a pool for one caller at a time. */
typedef struct Pool Pool;
MLRT_LOCAL Pool *mlrt_pool_new(int threads, const MlrtAllocator *al, MlrtError *err); /* threads >= 2 */
MLRT_LOCAL void mlrt_pool_free(Pool *p);
/* task(arg, i) once for each i in [0, n), n <= threads; returns when all have returned. */
MLRT_LOCAL void mlrt_pool_run(Pool *p, void (*task)(void *arg, int i), void *arg, int n);

struct MlrtModel {
	Mapping file, code, weights;
	Container container;
	Manifest manifest;
	Program program;
	const Variant *variant;
};
#endif
