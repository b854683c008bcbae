/* runtime/format.h -- the package file: what its bytes mean, shared by the writer and the runtime.
 *
 *   header    MlrtHeader, at offset 0
 *   manifest  JSON (UTF-8), directly behind the header
 *   table     nblobs x MlrtBlob, 8-byte aligned
 *   blobs     in table order, each at the next multiple of MLRT_PAGE, zero padding between
 *
 * All integers are little-endian.  Every byte of the file is covered by a hash: the header by
 * header_hash (its own field taken as 0), manifest and table by theirs, each blob by its own;
 * padding must be zero.  file_bytes must equal the file's size.
 *
 * A blob of kind PROGRAM holds MlrtProgram, then nsteps x MlrtStep, then nargs x MlrtArg: the calls
 * of one run in order.  A kernel is  void (*)(void *const *args, int64_t begin, int64_t end,
 * void *scratch)  at `code` bytes into the variant's CODE blob, which is position-independent, needs
 * no relocation, and is mapped read + execute. */
#ifndef MLRT_FORMAT_H
#define MLRT_FORMAT_H
#include <stdint.h>

#define MLRT_MAGIC "MLOPTPKG"
#define MLRT_FORMAT_MAJOR 1 /* readers refuse another major */
#define MLRT_FORMAT_MINOR 0 /* readers accept any minor */
#define MLRT_MANIFEST_MAX (16 << 20) /* bytes */
#define MLRT_PAGE 16384     /* blob alignment: a multiple of every page size in use for these targets but 64 KiB */

typedef struct MlrtHeader {
	char magic[8];
	uint16_t major, minor;
	uint32_t header_bytes;   /* sizeof(MlrtHeader) */
	uint64_t file_bytes;
	uint64_t manifest_offset, manifest_bytes;
	uint64_t table_offset, nblobs;
	uint64_t manifest_hash, table_hash; /* xxh3-64 */
	uint64_t reserved[4];    /* zero */
	uint64_t header_hash;
} MlrtHeader;

enum MlrtBlobKind { MLRT_CODE = 1, MLRT_WEIGHTS = 2, MLRT_PROGRAM = 3, MLRT_GOLDEN = 4 };

/* hash: of a blob of up to MLRT_HASH_CHUNK bytes its xxh3-64; of a longer one the xxh3-64 of the
 * xxh3-64 values of its chunks of that size (the last may be shorter), little-endian, in order.  So
 * several threads can check one blob. */
#define MLRT_HASH_CHUNK ((size_t)1 << 20)
typedef struct MlrtBlob {
	uint32_t kind, flags;
	uint64_t offset, bytes, hash;
} MlrtBlob;

#define MLRT_PROGRAM_MAGIC 0x47504c4du /* "MLPG" */
typedef struct MlrtProgram {
	uint32_t magic, nsteps, nargs, reserved;
	uint64_t arena_bytes;    /* activations, per session */
	uint64_t scratch_bytes;  /* per thread */
} MlrtProgram;

typedef struct MlrtStep {
	uint64_t code;           /* offset of the kernel in the CODE blob */
	uint32_t first_arg, nargs;
	uint32_t ntasks;         /* size of the task space, at least 1 */
	uint32_t flags;          /* bit 0: too small to split, run on the calling thread */
} MlrtStep;

enum MlrtSpace { MLRT_ARENA = 0, MLRT_WEIGHT = 1, MLRT_INPUT = 2, MLRT_OUTPUT = 3, MLRT_NONE = 4 };
typedef struct MlrtArg {
	uint32_t space, index;   /* index: which input or output */
	uint64_t offset;         /* bytes into that space */
	uint64_t bytes;          /* that the kernel may touch: checked at load against the space's size */
} MlrtArg;

/* Manifest, version 1:
 * { "format":1, "name":"...", "model_hash":"xxh3 hex", "tool":"mlopt X.Y.Z",
 *   "inputs":[{"name":"x","elem":"f32","dims":[1,3,224,224],"bytes":602112}], "outputs":[likewise],
 *   "variants":[{"name":"x86_64-avx512","arch":"x86_64","needs":["avx512f",...],
 *                "code":0,"weights":1,"program":2,            blob numbers; "weights" may be absent
 *                "arena_bytes":N,"scratch_bytes":N,"precision":"f32",
 *                "steps":[{"name":"conv_relu","kernel":"hex key","nodes":["n1","n2"],"ops":["Conv","Relu"],
 *                          "flops":N,"bytes":N,"tier":"contract|loops|library"}]}],   best first
 *   "options":{...}, "meta":{...} }
 * The runtime reads inputs, outputs and variants (not steps' details); tools read the rest. */
#endif
