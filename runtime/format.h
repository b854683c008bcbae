/* runtime/format.h -- the package file: what its bytes mean, shared by the writer and the runtime.
 *
 *   header    MlrtHeader, at offset 0, and since 1.4 MlrtSignatures behind it
 *   manifest  JSON (UTF-8), directly behind the header
 *   table     nblobs x MlrtBlob, 8-byte aligned
 *   blobs     in table order, each at the next multiple of MLRT_PAGE, zero padding between
 *
 * All integers are little-endian.  Every byte of the file is covered by a hash: the header by
 * header_hash (its own field taken as 0), manifest and table by theirs, each blob by its own;
 * padding must be zero.  file_bytes must equal the file's size.  These hashes find damage; whoever wants to be safe
 * from people asks for signatures (MlrtSignatures).
 *
 * A kernel is  void (*)(void *const *args, int64_t begin, int64_t end, void *scratch)  at `code` bytes
 * into the variant's CODE blob, which is position-independent, needs no relocation, and is mapped
 * read + execute.  A blob of kind PROGRAM comes in one of two forms, told apart by the first word:
 *
 *   flat   MlrtProgram, nsteps x MlrtStep, nargs x MlrtArg: the calls of one run in order, where all
 *          sizes are known, nothing branches, and every value is a tensor of numbers.
 *   list   MlrtProgramList: everything else; see there. */
#ifndef MLRT_FORMAT_H
#define MLRT_FORMAT_H
#include <stdint.h>

#define MLRT_MAGIC "MLOPTPKG"
#define MLRT_FORMAT_MAJOR 1 /* readers refuse another major */
#define MLRT_FORMAT_MINOR 6 /* readers accept any minor, but not what they do not know; 3: sets of steps; 4: signatures; 5: GPUs;
                             * 6: counters of launches */
#define MLRT_SIGNED_MINOR 4 /* the first whose header has a place for signatures */
#define MLRT_GPU_MINOR 5    /* the first with variants for GPUs */
#define MLRT_MANIFEST_MAX (16 << 20) /* bytes */
#define MLRT_PAGE 16384     /* blob alignment: a multiple of every page size in use here but 64 KiB */

typedef struct MlrtHeader {
	char magic[8];
	uint16_t major, minor;
	uint32_t header_bytes;   /* sizeof(MlrtHeader), since 1.4 + sizeof(MlrtSignatures); later minors may add to it */
	uint64_t file_bytes;
	uint64_t manifest_offset, manifest_bytes;
	uint64_t table_offset, nblobs;
	uint64_t manifest_hash, table_hash; /* xxh3-64 */
	uint64_t reserved[4];    /* zero */
	uint64_t header_hash;
} MlrtHeader;

/* Ed25519 signatures (RFC 8032), directly behind MlrtHeader.  Every package of 1.4 has the place, so that signing
 * changes these bytes and header_hash and nothing else.  A signature covers all other bytes of the file, its size and
 * version among them: the message is the 16 bytes MLRT_SIGNED_TEXT (with its NUL) and then 32 bytes of BLAKE2b-256
 * (RFC 7693), personalised "mlopt.file.1" and padded with zeros to 16 bytes, of
 *   - the header up to header_hash,
 *   - BLAKE2b-256, personalised "mlopt.chunk.1" likewise, of each chunk of MLRT_HASH_CHUNK bytes of what follows
 *     MlrtSignatures to the end of the file, in order; the last chunk may be shorter.
 * Runtimes of an older minor open such a package, and look at no signature.  One that requires signatures refuses
 * packages of an older minor, and those without them, before it looks at anything else in the file. */
enum { MLRT_MAX_SIGNATURES = 16 };
#define MLRT_SIGNED_TEXT "mlopt package 1"
typedef struct MlrtSignature {
	uint8_t key[32];         /* the public key; no key is there twice */
	uint8_t signature[64];
} MlrtSignature;
typedef struct MlrtSignatures {
	uint32_t count, reserved; /* reserved: zero */
	MlrtSignature item[MLRT_MAX_SIGNATURES]; /* zeros from `count` on */
} MlrtSignatures;

enum MlrtBlobKind {
	MLRT_CODE = 1,
	MLRT_WEIGHTS = 2,
	MLRT_PROGRAM = 3,
	MLRT_GOLDEN = 4,
	MLRT_PTX = 5,            /* of a variant of arch "nvptx64", in the place of CODE: the text of one PTX module, NUL-terminated */
	MLRT_CUBIN = 6,          /* the same module, assembled; may be absent */
	MLRT_LAUNCHES = 7        /* of such a variant: MlrtLaunches, nlaunches x MlrtLaunch, then NUL-terminated names of entries */
};

/* hash: of a blob of up to MLRT_HASH_CHUNK bytes its xxh3-64; of a longer one the xxh3-64 of the
 * xxh3-64 values of its chunks of that size (the last may be shorter), little-endian, in order.  So
 * several threads can check one blob. */
#define MLRT_HASH_CHUNK ((size_t)1 << 20)
/* flags: of WEIGHTS (since 1.2) how many of its chunks, at the end, a run reads only here and there: tables that are
 * looked up.  Opening a file does not keep those in memory once they are checked.  Else 0. */
typedef struct MlrtBlob {
	uint32_t kind, flags;
	uint64_t offset, bytes, hash;
} MlrtBlob;

/* How kernels of a GPU are started.  A variant of arch "nvptx64" has one record for each, and MlrtStep.code (MlrtBodyStep.code) is
 * the number of a record.  An entry takes as many 64-bit parameters as the step has arguments (device addresses; 0 for
 * MLRT_NONE), then the number of tasks and the address of scratch memory.  Grid and blocks have one dimension. */
#define MLRT_LAUNCHES_MAGIC 0x434c4c4du /* "MLLC" */
typedef struct MlrtLaunches {
	uint32_t magic, nlaunches;
	uint64_t bytes;          /* of the whole blob */
} MlrtLaunches;

typedef struct MlrtLaunch {
	uint32_t name;           /* offset of the entry's name in the text behind the records */
	uint32_t threads;        /* of a block: a multiple of 32, at most MLRT_MAX_THREADS */
	uint32_t blocks;         /* at least 1 */
	uint32_t tasks_per_block; /* not 0: the grid has ceil(tasks / tasks_per_block) blocks instead */
	uint32_t shared_bytes;   /* dynamic shared memory of a block */
	uint32_t counters;       /* since 1.6: words directly below scratch memory, at most MLRT_MAX_COUNTERS, for the grid as a whole.  They are
	                          * zero when a kernel starts, and zero again when it ends; other than 0 only beside tasks_per_block 0 */
	uint64_t scratch_bytes;  /* of a block, in global memory */
} MlrtLaunch;
enum { MLRT_MAX_THREADS = 1024, MLRT_MAX_SHARED = 256 << 10, MLRT_MAX_COUNTERS = 1 << 20 };

/* A GOLDEN blob: inputs, and the outputs that the reference executor computes from them.  Behind MlrtGolden comes
 * a table of nvectors x (ninputs + noutputs) MlrtGoldenTensor: inputs and then outputs of each vector, in the order of the
 * manifest.  Their elements lie dense and row-major at multiples of 64 bytes behind the table. */
#define MLRT_GOLDEN_MAGIC 0x56474c4du /* "MLGV" */
typedef struct MlrtGolden {
	uint32_t magic, nvectors, ninputs, noutputs;
	uint64_t bytes;          /* of the whole blob */
	double nmse;             /* what an output may differ by, as mlrt_model_replay() measures */
} MlrtGolden;

typedef struct MlrtGoldenTensor {
	uint32_t elem, rank;     /* TensorProto.DataType, no strings; rank at most MLRT_GOLDEN_DIMS */
	uint64_t offset, bytes;  /* from the start of the blob */
	int64_t dims[8];
} MlrtGoldenTensor;
enum { MLRT_GOLDEN_DIMS = 8 };

#define MLRT_PROGRAM_MAGIC 0x47504c4du /* "MLPG" */
typedef struct MlrtProgram {
	uint32_t magic, nsteps, nargs, reserved;
	uint64_t arena_bytes;    /* activations, per session */
	uint64_t scratch_bytes;  /* per thread */
} MlrtProgram;

typedef struct MlrtStep {
	uint64_t code;           /* offset of the kernel in the CODE blob; of a GPU, the number of its MlrtLaunch */
	uint32_t first_arg, nargs;
	uint32_t ntasks;         /* size of the task space, at least 1 */
	uint32_t flags;          /* enum MlrtStepFlags */
} MlrtStep;

/* Steps one behind the other of which all but the first are BESIDE are a set: they may run at the same time, in any
 * order.  What one of them writes no other one touches; so that this can be checked, their arguments say what is
 * written.  They state what a task costs, at least 1 ns: threads get shares of about equal cost. */
enum MlrtStepFlags {
	MLRT_STEP_WHOLE = 1,     /* too small to split: one thread runs it, the caller if it is in no set */
	MLRT_STEP_BESIDE = 2,    /* of a set with the step before it; not the first step */
	MLRT_STEP_COST = 8       /* bits from here on: nanoseconds of a task as the compiler sees it; 0: it does not say */
};
enum { MLRT_MAX_COST = (1 << 24) - 1, MLRT_MAX_SET = 8 };

enum MlrtSpace { MLRT_ARENA = 0, MLRT_WEIGHT = 1, MLRT_INPUT = 2, MLRT_OUTPUT = 3, MLRT_NONE = 4 };
enum { MLRT_WRITTEN = 0x100 }; /* added to the space: of a step in a set, which writes there */
typedef struct MlrtArg {
	uint32_t space, index;   /* index: which input or output */
	uint64_t offset;         /* bytes into that space */
	uint64_t bytes;          /* that the kernel may touch: checked at load against the space's size */
} MlrtArg;

/* -- programs with open sizes, control flow, sequences, strings ------------------------------------
 *
 * MlrtProgramList, nstrings x MlrtStrings, then `nprograms` programs one behind the other: main first,
 * bodies of IF and LOOP behind whoever names them.  Each is MlrtBody followed by its tables in the order
 * steps, args, exprs, buffers, values, refs (uint32_t each, zeros up to a multiple of 8).
 *
 * A program runs on a frame: its slots (int64_t sizes, zero at first, kept from run to run), its
 * arena, buffers and objects.  A frame belongs to a session and there is one per program, so a
 * program must not contain itself; program numbers in a step are larger than the program's own. */
#define MLRT_LIST_MAGIC 0x4c504c4du /* "MLPL" */
#define MLRT_ABSENT UINT32_MAX      /* "none" where an index, a slot or a value is named */
enum { MLRT_MAX_PROGRAMS = 4096, MLRT_MAX_NESTING = 64, MLRT_MAX_DIMS = 8 };

typedef struct MlrtProgramList {
	uint32_t magic, nprograms, nstrings, reserved;
	uint64_t bytes;          /* of the whole blob */
	uint64_t arena_bytes;    /* sum of the programs' */
	uint64_t scratch_bytes;  /* per thread */
} MlrtProgramList;

/* A constant tensor of strings: `count` MlrtStringRef at `offset` bytes into the WEIGHTS blob. */
typedef struct MlrtStrings {
	uint64_t offset, count;
} MlrtStrings;

typedef struct MlrtStringRef {
	int64_t offset, n;       /* bytes from the start of the WEIGHTS blob */
} MlrtStringRef;

typedef struct MlrtBody {
	uint32_t nsteps, nargs, nexprs, nbuffers, nvalues, nrefs;
	uint32_t ninputs, noutputs; /* refs[0, ninputs) and then noutputs more are values */
	uint32_t nslots, nobjects;
	uint32_t nprologue;      /* exprs[0, nprologue) are run when sizes of inputs differ from the last run's */
	uint32_t arena_slot;     /* bytes of the arena of PLANNED buffers; MLRT_ABSENT: there are none */
	uint64_t arena_bytes;    /* of what space MLRT_ARENA means in this program */
	uint64_t bytes;          /* of this program with its tables */
} MlrtBody;

enum MlrtStepKind {
	MLRT_STEP_KERNEL = 0,    /* calls code for [0, tasks); tasks may turn out 0: no call */
	MLRT_STEP_IF = 1,        /* operands: cond, captures; program[cond ? 0 : 1] takes the captures */
	MLRT_STEP_LOOP = 2,      /* operands: trip count or absent, condition or absent, carried[imm[0]], captures;
	                          * results: carried[imm[0]], scans.  program[0] takes iteration (i64), condition
	                          * (bool), carried, captures and gives condition, carried, scans.  Without
	                          * iterations a scan's inner dimensions are what its slots hold before. */
	MLRT_STEP_OBJECT = 3,    /* an operator of enum MlrtObjectOp */
	MLRT_STEP_COPY = 4,      /* operand 0 (tensor or object) becomes the result */
	MLRT_STEP_NEVER = 5      /* no operands: the run fails, for this branch does not fit the sizes of the model */
};

typedef struct MlrtBodyStep {
	uint32_t kind;           /* MlrtStepKind */
	uint32_t flags;          /* KERNEL: MLRT_STEP_WHOLE or 0 */
	uint32_t first_expr, nexprs; /* run right before the step */
	uint32_t first, n;       /* KERNEL: args, behind those of earlier steps; others: refs, results last */
	uint32_t nresults;       /* not KERNEL: how many of the n are results; of IF, LOOP some may be absent */
	uint32_t ntasks;         /* KERNEL, where ntasks_slot is absent: at least 1 */
	uint32_t ntasks_slot;
	uint32_t object;         /* OBJECT: MlrtObjectOp */
	uint32_t program[2];     /* IF: then, else; LOOP: body */
	uint64_t code;           /* KERNEL */
	int64_t imm[2];          /* as the kind says, else 0 */
} MlrtBodyStep;

/* Spaces of a list's arguments beside those above.  ARENA is the program's own; INPUT and its index: of this
 * program; OUTPUT: only in main, and only for outputs whose sizes are known when the prologue has run. */
enum {
	MLRT_BUFFER = 5,         /* index: of the buffer */
	MLRT_SIZES = 6,          /* the slots, offset 8 * slot: read and written by kernels */
	MLRT_STRINGS = 7         /* index: of the MlrtStrings; elements are MlrtText, 16 bytes each */
};
enum { MLRT_ARG_RESERVE = 1 }; /* in `flags`: this step begins an OWN buffer: give it the bytes of its slot */

typedef struct MlrtBodyArg {
	uint32_t space, index, flags, reserved;
	uint64_t offset, bytes;  /* constant parts */
	uint32_t offset_slot, bytes_slot; /* absent, or added to the constant parts */
} MlrtBodyArg;

/* dst, a, b are slots.  Results that do not fit 64 bits, and division by zero, are errors of the run. */
enum MlrtExprOp {
	MLRT_X_CONST = 0,        /* dst = imm */
	MLRT_X_COPY = 1,         /* dst = a */
	MLRT_X_ADD = 2,
	MLRT_X_SUB = 3,
	MLRT_X_MUL = 4,
	MLRT_X_DIV = 5,          /* rounds down */
	MLRT_X_CEILDIV = 6,
	MLRT_X_MOD = 7,          /* a - b * floor(a / b) */
	MLRT_X_MAX = 8,
	MLRT_X_MIN = 9,
	MLRT_X_ALIGN = 10,       /* dst = a rounded up to a multiple of imm > 0 */
	MLRT_X_CHECK_EQ = 11,    /* the run fails unless a == b; imm: -1, or 16 * value + dimension that is a */
	MLRT_X_CHECK_LE = 12,    /* unless a <= b; imm likewise */
	MLRT_X_CHECK_GE0 = 13,   /* unless a >= 0; imm likewise */
	MLRT_X_CHECK_GE = 14     /* unless a >= b; imm likewise */
};

typedef struct MlrtExpr {
	uint32_t op, dst, a, b;
	int64_t imm;
} MlrtExpr;

/* PLANNED: [offset, offset + bytes) of the arena whose size is slot arena_slot; both slots are set by the
 * prologue.  OWN: a block of its own, given `bytes` when a step reserves it; the block only grows. */
enum MlrtBufferKind { MLRT_PLANNED = 0, MLRT_OWN = 1 };
typedef struct MlrtBuffer {
	uint32_t kind, bytes_slot;
	uint32_t offset_slot;    /* PLANNED */
	uint32_t reserved;
} MlrtBuffer;

enum MlrtValueKind {
	MLRT_V_TENSOR = 0,
	MLRT_V_SEQ = 1,          /* of tensors */
	MLRT_V_OPT = 2,          /* tensor or nothing */
	MLRT_V_OPT_SEQ = 3,      /* sequence or nothing */
	MLRT_V_MAP = 4,
	MLRT_V_SEQ_MAP = 5
};

/* Fields that a kind of step, buffer or value has no use for: indices and slots MLRT_ABSENT (`key`, `rank`: 0).
 *
 * What steps other than kernels, and the inputs and outputs of programs, are.  A tensor's sizes lie in
 * slots first_dim and following: those of an input are set before the program runs, those of a result
 * after its step.  A tensor result goes to its arg; if it has a buffer (OWN), that is reserved first. */
typedef struct MlrtValue {
	uint32_t kind;           /* MlrtValueKind */
	uint32_t elem;           /* TensorProto.DataType of ONNX; of objects: that of their items or values */
	uint32_t key;            /* of maps: of the keys; else 0 */
	uint32_t rank, first_dim; /* tensors */
	uint32_t arg;            /* tensors: MlrtBodyArg; its bytes are what may be touched */
	uint32_t buffer;         /* tensor results: OWN buffer, or absent; its bytes_slot is set by the runtime */
	uint32_t object;         /* objects: which of the frame's */
} MlrtValue;

/* Operands -> result; positions are i64 or i32 scalars, negative from the end.  Operands that may be absent
 * may also be left out behind the others. */
enum MlrtObjectOp {
	MLRT_OBJ_SEQ_EMPTY = 0,  /* -> seq */
	MLRT_OBJ_SEQ_CONSTRUCT = 1, /* tensors -> seq */
	MLRT_OBJ_SEQ_AT = 2,     /* seq, position -> tensor, or map */
	MLRT_OBJ_SEQ_INSERT = 3, /* seq, tensor, position or absent (at the end) -> seq */
	MLRT_OBJ_SEQ_ERASE = 4,  /* seq, position or absent (the last) -> seq */
	MLRT_OBJ_SEQ_LENGTH = 5, /* seq -> i64 scalar */
	MLRT_OBJ_SPLIT = 6,      /* tensor, sizes or absent -> seq; imm: axis, keepdims */
	MLRT_OBJ_CONCAT = 7,     /* seq -> tensor; imm: axis, new_axis */
	MLRT_OBJ_OPTIONAL = 8,   /* tensor or sequence, or absent -> opt */
	MLRT_OBJ_OPTIONAL_GET = 9, /* opt -> tensor or sequence; of those: themselves */
	MLRT_OBJ_OPTIONAL_HAS = 10, /* opt, or absent -> bool scalar; of a tensor or sequence: true */
	MLRT_OBJ_ZIP_MAP = 11,   /* tensor [n,k] or [k], keys [k] -> sequence of maps */
	MLRT_OBJ_DICT_VECTORIZER = 12, /* map, vocabulary [v] -> tensor [1,v]; zero or "" where there is no entry */
	MLRT_OBJ_COUNT
};

/* Manifest, version 1:
 * { "format":1, "name":"...", "version":"1.2.0", "license":"Apache-2.0",     "version", "license" may be absent
 *   "model_hash":"xxh3 hex", "model_sha256":"hex", "external":[{"name":"w.bin","sha256":"hex"}],
 *   "tool":"mlopt X.Y.Z",
 *   "inputs":[{"name":"x","elem":"f32","dims":[1,3,224,224],"bytes":602112}], "outputs":[likewise],
 *   "variants":[{"name":"x86_64-avx512","arch":"x86_64","needs":["avx512f",...],
 *                "code":0,"weights":1,"program":2,"golden":3, blob numbers; "weights", "golden" may be absent
 *                "launches":4,"cubin":5,                      of arch "nvptx64" only; "cubin" may be absent
 *                "arena_bytes":N,"scratch_bytes":N,"precision":"f32",
 *                "steps":[{"name":"conv_relu","kernel":"hex key","nodes":["n1","n2"],"ops":["Conv","Relu"],
 *                          "flops":N,"bytes":N,"tier":"contract|loops|library","beside":true}]}],   best first
 *   "options":{...}, "golden":{"vectors":N,"nmse":1e-6}, "meta":{...}, "sbom":{...} }
 * No object has a key twice.  docs/PACKAGES.md explains what the runtime does not read.
 * "beside", of a step of a set but the first, says MLRT_STEP_BESIDE.
 * Sizes that are open are -1 in "dims", "bytes" is then 0, and "dim_names":["batch",null,...] may tell
 * their names.  Inputs and outputs that are no tensors have "kind":"seq" ("opt", "opt_seq", "map",
 * "seq_map"), "elem" of their items or values, "key" of a map, "dims":[] and "bytes":0.  Strings are
 * elem "str", 16 bytes each (MlrtText of runtime.h).  "states":[{"input":i,"output":j},...] at the top:
 * output j of one run is input i of the next.  "steps" of a list: those of main, then of each body in order.
 * The runtime reads inputs, outputs, states and variants (steps' details for messages only); tools the rest. */
#endif
