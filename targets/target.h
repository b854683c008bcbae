/* targets/target.h -- what the compiler knows of a machine: facts, and nothing of graphs.
 *
 * A *variant* (MloTarget) is one concrete machine level; a *target* the user names (MloTargetSet)
 * is a list of variants that go into one package, best first.  The runtime takes the first one whose
 * required features the machine has. Adding a CPU level: one row in targets/variants.def (a GPU: targets/gpus.def) and, if users
 * name it, one in targets/targets.def. */
#ifndef MLO_TARGETS_TARGET_H
#define MLO_TARGETS_TARGET_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ir/base/arena.h"
#include "ir/base/diag.h"

/* Instructions of quantised arithmetic for each lane of 32 bits, most of which take several products at once, as LLVM
 * names its intrinsics for registers, or i16 for single lanes; NULL: the target has none.  (Intel SDM, VPDPBUSD, VPDPBSSD, VPMADDWD,
 * VDPBF16PS, VCVTPS2DQ; Arm ARM, USDOT, SDOT, BFDOT, USMMLA, SMMLA, BFMMLA, SMLAD, SMULL, SADDLP.) */
typedef struct MloDots {
	const char *u8s8;        /* sum + 4 products of u8 with i8, in i32 */
	const char *s8s8;        /* sum + 4 products of i8 with i8, in i32 */
	const char *i16;         /* 2 products of i16 with i16, in i32, without a sum; of single lanes: sum + */
	const char *bf16;        /* sum + 2 products of bf16 with bf16, in f32 */
	const char *mm_u8s8, *mm_s8s8, *mm_bf16; /* per 128 bits: 2 x 2 sums + 2 rows of 8 bytes (4 bf16) of A by 2 of B */
	const char *half_s8s8;   /* products of i8 with i8, in i16: of half a register, where there is nothing of the above for bytes, */
	const char *neighbours;  /* and the sums of each two of them that are neighbours, in i32 */
	const char *round;       /* f32 to the nearest i32, halves to even; INT32_MIN for whatever does not fit */
} MloDots;

/* Are activations multiplied as they are where they are i8, rather than u8? */
static inline bool mlo_dots_signed(const MloDots *d)
{
	return !d->u8s8 && (d->s8s8 || d->half_s8s8);
}

/* A unit that multiplies matrices in registers of their own, as LLVM names its intrinsics: they take numbers of such registers
 * as constants.  A register has up to `rows` rows of up to `row_bytes` bytes, as configured; a product adds, to each lane of 32
 * bits of one of them, the products of its row of A and its column of B, lanes of which hold as many elements side by side as
 * make 32 bits.  (Intel SDM, chapter on AMX; LDTILECFG, TILELOADD, TDPBUSD, TDPBF16PS.) */
typedef struct MloMatrix {
	const char *config;      /* takes 64 bytes: palette 1, from byte 16 on u16 bytes per row, from byte 48 on u8 rows */
	const char *release, *zero, *load, *store; /* load, store: register, address, bytes from row to row */
	const char *u8s8, *s8s8, *bf16; /* sum, A, B; NULL: none */
	int registers, rows, row_bytes;
	double product_cycles, product_latency; /* of whole registers: from one to the next, and until its sum is there */
	double row_cycles;       /* of a load or store, per row */
} MloMatrix;

/* A GPU: what NVIDIA calls its compute capability, and the device of that capability that costs are estimated for. */
typedef struct MloGpu {
	int capability;          /* 75, 80, ...: code for it runs on this one and later ones, */
	bool warpgroups;         /* or, as it has instructions for groups of four warps, on this one alone (wgmma; PTX ISA) */
	int ptx;                 /* version of PTX that code is written in: 74 is 7.4 */
	const char *device;      /* "A100" */
	int sms;                 /* multiprocessors */
	double clock_ghz;        /* boost */
	int sm_threads, sm_blocks; /* resident on a multiprocessor */
	int sm_registers;        /* of 32 bits */
	int sm_shared, block_shared; /* bytes of shared memory of a multiprocessor; that a block may ask for */
	int64_t l2;              /* bytes */
	double gbytes;           /* of its memory, in 1e9 bytes a second */
	double f32, tf32, f16, i8; /* peak 1e12 operations a second, multiply-adds count 2; bf16 is like f16; 0: it has none */
} MloGpu;

/* Peak of products, as reports of packages name them: "tf32", "f16", "bf16", "i8" on tensor cores; anything else, or none there: f32. */
double mlo_gpu_peak(const MloGpu *g, const char *products);
/* Blocks of so many threads, registers a thread and bytes of shared memory that a multiprocessor has room for (CUDA C++ Programming
 * Guide, "Multiprocessor Level": warps get registers in units of 256, blocks have 1 KiB of shared memory more from 8.0 on). */
int mlo_gpu_resident(const MloGpu *g, int threads, int registers, int64_t shared);

typedef struct MloTarget {
	const char *name;        /* "x86_64-avx512" */
	const char *arch;        /* "x86_64", "aarch64", "nvptx64": names the bitcode library and the loader's check */
	const char *triple, *cpu, *features; /* for LLVM */
	const char *tune;        /* the core that LLVM schedules for, where `cpu` is one of which less may be used; or NULL */
	const char *needs;       /* runtime feature names, comma separated: "avx2,fma" */
	int vector_bytes;        /* of what code is written in: one register, or several side by side */
	int register_bytes;      /* of one register, at most vector_bytes; where it is more than NEON's on Arm, SVE's at that length */
	int vector_regs;         /* how many vectors the registers hold */
	int tile_vecs;           /* vectors of channels of a tile where another number gains next to nothing: variants of the same
	                          * length of vectors then pack weights alike; 0: whatever is best */
	int block;               /* channels per block of the blocked layout */
	const MloDots *dots;     /* never NULL */
	const MloMatrix *matrix; /* or NULL */
	const MloGpu *gpu;       /* NULL: a CPU */
	int64_t l1d, l2, l3;     /* bytes, per core (l3: per core share) */
	int l1d_ways;            /* associativity */
	double clock_ghz;        /* typical, for cost estimates */
	double fma_per_cycle;    /* vector multiply-adds */
	double bytes_per_cycle;  /* sustained from memory, one core */
	double fork_ns;          /* a fork and join of threads, with what it costs that their data changes cores */
} MloTarget;

enum { MLO_NEON_BYTES = 16 }; /* of a register of NEON, and of the pieces that SVE's consist of */

/* What takes one thread less than this is not divided: a few forks and joins. */
static inline double mlo_target_divides_ns(const MloTarget *t)
{
	return 4 * t->fork_ns;
}

/* Channels side by side that layouts and schedules are made for: those of a vector, of a GPU those of a block. */
static inline int mlo_target_lanes(const MloTarget *t)
{
	return t->gpu ? t->block : t->vector_bytes / 4;
}

/* Does it multiply numbers of bf16? */
static inline bool mlo_target_bf16(const MloTarget *t)
{
	return t->dots->bf16 || (t->matrix && t->matrix->bf16) || (t->gpu && t->gpu->capability >= 80);
}

/* Does it multiply numbers of f16 (GPUs: all capabilities that there are)? */
static inline bool mlo_target_f16(const MloTarget *t)
{
	return t->gpu != NULL;
}

/* Does it multiply float32 rounded to tf32, faster than float32? */
static inline bool mlo_target_tf32(const MloTarget *t)
{
	return t->gpu && t->gpu->capability >= 80;
}

/* No system is there that loads packages: only objects are made for it, and their code is to be small. */
bool mlo_target_bare(const MloTarget *t);
unsigned mlo_target_pointer_bytes(const MloTarget *t);
unsigned mlo_target_stack_align(const MloTarget *t); /* that the stack has at every call (the psABIs) */
unsigned mlo_target_call_bytes(const MloTarget *t);  /* that a call itself puts on the stack */

enum { MLO_MAX_VARIANTS = 12 };
typedef struct MloTargetSet {
	const char *name;
	const char *aliases;     /* comma separated */
	const char *summary;     /* what is assumed */
	const MloTarget *variant[MLO_MAX_VARIANTS + 1]; /* best first, NULL-terminated */
} MloTargetSet;

/* Are registers those of SVE, at the length that the target fixes? */
bool mlo_target_sve(const MloTarget *t);
/* Do multiplications take one lane of an operand for all lanes (NEON)?  Bringing an element into all lanes takes a unit that multiplies. */
bool mlo_target_by_lane(const MloTarget *t);

/* By name: "native" included, and the name of a variant that no target has; NULL + known names. */
const MloTargetSet *mlo_target_find(const char *name, MloDiag *d);
/* Several names, comma separated: their variants one after the other ("cuda,ml_m5": GPUs first, else a CPU). */
const MloTargetSet *mlo_target_find_list(MloArena *a, const char *names, MloDiag *d);
const MloTargetSet *mlo_target_at(size_t i);                      /* NULL past the end */
const MloTarget *mlo_target_native(void);                          /* best variant this CPU runs */
void mlo_target_llvm(unsigned version[3]);                          /* of the LLVM that makes code */
bool mlo_target_runs_here(const MloTarget *t, char *why, size_t n); /* why: the missing feature */
#endif
