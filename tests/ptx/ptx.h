/* tests/ptx/ptx.h -- PTX modules as the tests' interpreter holds them.
 *
 * Text becomes, once, an array of decoded instructions for each function: a function to run, slots of registers and
 * what else that function needs. Registers of a warp lie in one block of memory, its file; a slot is an offset in it
 * and holds the values of 32 lanes side by side (a predicate: one bit for each lane). Immediates and addresses of
 * variables are slots too, filled once for a launch, so that instructions know nothing but slots. Source of what
 * instructions do: NVIDIA's "PTX ISA" 8.5. */
#ifndef MLOPT_TESTS_PTX_PTX_H
#define MLOPT_TESTS_PTX_PTX_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PTX_LANES = 32, PTX_MAX_WARPS = 32, PTX_MAX_MODS = 24, PTX_MAX_OPERANDS = 12 };
#define PTX_FULL 0xffffffffu

/* name, spelling, bytes, kind: u(nsigned), s(igned), b(its), f(loat), h(alf), v (two integers), p(redicate) */
#define PTX_TYPES(X)                                                                                           \
	X(U8, "u8", 1, 'u') X(U16, "u16", 2, 'u') X(U32, "u32", 4, 'u') X(U64, "u64", 8, 'u')                  \
	X(S8, "s8", 1, 's') X(S16, "s16", 2, 's') X(S32, "s32", 4, 's') X(S64, "s64", 8, 's')                  \
	X(B8, "b8", 1, 'b') X(B16, "b16", 2, 'b') X(B32, "b32", 4, 'b') X(B64, "b64", 8, 'b')                  \
	X(F16, "f16", 2, 'h') X(F16X2, "f16x2", 4, 'h') X(BF16, "bf16", 2, 'h') X(BF16X2, "bf16x2", 4, 'h')    \
	X(TF32, "tf32", 4, 'f') X(F32, "f32", 4, 'f') X(F64, "f64", 8, 'f') X(PRED, "pred", 1, 'p')            \
	X(U4, "u4", 0, 'u') X(S4, "s4", 0, 's') X(U16X2, "u16x2", 4, 'v') X(S16X2, "s16x2", 4, 'v')

typedef enum PtxType {
	PTX_NOTYPE,
#define X(name, text, bytes, kind) PTX_##name,
	PTX_TYPES(X)
#undef X
	PTX_NTYPES
} PtxType;

unsigned ptx_type_bytes(PtxType t);
char ptx_type_kind(PtxType t);
const char *ptx_type_name(PtxType t);

typedef enum PtxSpace { PTX_GENERIC, PTX_GLOBAL, PTX_CONST, PTX_SHARED, PTX_LOCAL, PTX_PARAM, PTX_REG } PtxSpace;

/* What an instruction counts as. */
#define PTX_CLASSES(X)                                                                                       \
	X(MOVE, "move")                                                                                      \
	X(INT, "int") X(FLOAT, "float") X(FMA, "fma") X(MMA, "mma") X(WGMMA, "wgmma") X(CONVERT, "convert")  \
		X(COMPARE, "compare") X(LOAD_GLOBAL, "load_global") X(STORE_GLOBAL, "store_global")          \
			X(LOAD_SHARED, "load_shared") X(STORE_SHARED, "store_shared")                        \
				X(LDMATRIX, "ldmatrix") X(ASYNC, "async_copy")                               \
					X(ASYNC_CONTROL, "async_control") X(LOCAL, "local")                  \
						X(PARAM, "param") X(ATOMIC, "atomic") X(SHUFFLE, "shuffle")  \
							X(BARRIER, "barrier") X(CONTROL, "control")

typedef enum PtxClass {
#define X(name, text) PTX_CLASS_##name,
	PTX_CLASSES(X)
#undef X
	PTX_NCLASSES
} PtxClass;

typedef struct PtxWarp PtxWarp;
typedef struct PtxInst PtxInst;
typedef struct PtxFunc PtxFunc;
typedef struct PtxModule PtxModule;

/* Runs i for the lanes in m, which is not 0 but for branches. */
typedef void PtxRun(PtxWarp *w, const PtxInst *i, uint32_t m);

/* Flags of instructions. */
enum {
	PTX_ADDR32 = 1,   /* the address is of 32 bits */
	PTX_FTZ = 2,      /* denormals count as zero */
	PTX_SAT = 4,      /* clamp to 0..1, or to the integer's range */
	PTX_RELU = 8,     /* negative results become 0 */
	PTX_NAN = 16,     /* minima and maxima of NaN are NaN */
	PTX_NOT = 32,     /* the predicate operand counts negated */
	PTX_CC = 64,      /* writes the carry */
	PTX_CARRY = 128,  /* reads the carry */
	PTX_READONLY = 256 /* what is read is not written by the same launch */
};

/* A copy between parameters of a call, both in the file: `size` bytes of each lane. */
typedef struct PtxCopy {
	int32_t from, to;
	uint32_t size, from_stride, to_stride;
} PtxCopy;

struct PtxInst {
	PtxRun *run;
	int32_t d, a, b, c;             /* slots */
	int32_t guard;                  /* slot of the predicate; 0: none */
	bool guard_not;
	uint8_t cls, type, from, mode;  /* PtxClass, PtxType, PtxType of the source, what the instruction needs */
	uint8_t space, n, bytes;        /* PtxSpace; elements of a vector; bytes of an element */
	uint16_t flags, loop;           /* loop: number of the innermost loop of the function around it; 0: none */
	uint32_t line, id;              /* id: place in the module's counters */
	int64_t imm;                    /* offset of addresses */
	const int32_t *list;            /* slots of vectors, one behind the other */
	const uint8_t *widths;          /* bytes of those registers, where they may differ */
	const PtxInst *target, *join;   /* of branches: where to, and where both ways meet; NULL: at the end */
	const PtxInst *const *targets;  /* of brx.idx */
	const PtxFunc *callee;
	const PtxCopy *copies;          /* of calls: arguments, then (from nargs on) results */
	uint16_t nargs, ncopies, ntouched;
	const int32_t *touched;         /* in modules with wgmma: registers named that are a product's, by
					   PtxWarp.registers */
	const char *text;               /* the name of the instruction, for messages */
};

typedef enum PtxSymbolKind { PTX_SYM_REG, PTX_SYM_VAR, PTX_SYM_FUNC, PTX_SYM_SPECIAL } PtxSymbolKind;

typedef struct PtxSymbol {
	struct PtxSymbol *chain, *scope; /* in the hash table; the one declared before in this scope */
	const char *name;
	PtxSymbolKind kind;
	PtxSpace space;
	PtxType type;
	uint32_t align, count;           /* count: registers of a range (name<count>); 0: a single one */
	uint64_t size, address;          /* of variables; address in their space, of shared ones given by kernel */
	bool external, dynamic;          /* dynamic: extern shared array without a size */
	bool in_file; /* a parameter of a device function or call: `slot`, one block of `stride` for each lane */
	int32_t slot, *slots;
	uint32_t stride;
	PtxFunc *func;
} PtxSymbol;

/* A slot that is filled when a kernel starts. */
typedef struct PtxConst {
	uint64_t value;
	const PtxSymbol *shared; /* its address is added */
	int32_t slot;
	uint8_t bytes;
} PtxConst;

typedef struct PtxLoop {
	uint32_t line, parent; /* of its first instruction; loop around it, 0: none */
} PtxLoop;

struct PtxFunc {
	PtxFunc *next;
	const char *name;
	bool entry, defined, visiting;
	bool atomics;                /* in global memory: blocks may work together */
	PtxModule *module;
	PtxInst *code;
	uint32_t ncode, room;
	PtxConst *consts;
	uint32_t nconsts, consts_room;
	PtxSymbol **params, **results;
	uint32_t nparams, nresults;
	uint32_t param_bytes, local_bytes;
	uint32_t file_bytes;         /* of an entry: its part of the file */
	uint32_t max_threads, req_threads[3];
	uint32_t nregs[4];           /* registers used of 1, 16, 32, 64 bits */
	const PtxFunc **callees;
	uint32_t ncallees;
	PtxLoop *loops;
	uint32_t nloops;             /* with loop 0: none */
	/* of an entry, made by ptx_func_finish() */
	const PtxFunc **reached;     /* itself and all that it calls */
	uint32_t nreached;
	uint32_t shared_bytes;       /* static; dynamic shared memory begins at dynamic_base */
	uint32_t dynamic_base;
	const PtxSymbol **shared;    /* with their addresses */
	uint32_t *shared_at;
	uint32_t nshared;
	uint32_t dynamic_bytes, max_dynamic; /* attributes set by the driver */
};

typedef struct PtxBlockMem {
	struct PtxBlockMem *next;
} PtxBlockMem;

struct PtxModule {
	PtxBlockMem *blocks;         /* all memory of the module */
	char *free;
	size_t left;
	int version, sm;             /* 85 and 80 for 8.5 and sm_80 */
	bool exact;                  /* of sm_90a: for devices of this capability alone */
	PtxFunc *funcs;
	uint32_t ninsts, device_local; /* device_local: bytes of local memory of device functions */
	int32_t device_bytes;        /* of the file, below offset 0: registers of device functions */
	uint32_t nwatched;           /* registers of products of warpgroups */
	uint64_t *vars;              /* device addresses of its variables */
	uint32_t nvars;
	char error[512];
	int error_line;
};

/* What device memory is to a module: allocates and frees addresses that ptx_memory_host() knows. */
void *ptx_alloc(PtxModule *m, size_t bytes); /* zeroed, lives as long as the module */

/* Reads a module; false: m->error says why, with its line. m is zeroed by the caller and freed by ptx_module_free() in
 * either case. `driver` is the CUDA version of the driver (12040), which bounds the version of the text; 0: any. */
bool ptx_module_load(PtxModule *m, const char *text);
void ptx_module_free(PtxModule *m);
PtxFunc *ptx_module_entry(const PtxModule *m, const char *name);

/* -- decoding: between parse*.c and decode*.c -- */

typedef enum PtxOperandKind {
	PTX_OP_REG,     /* slot, type */
	PTX_OP_IMM,     /* value */
	PTX_OP_SYMBOL,  /* address of a variable: sym, value: offset */
	PTX_OP_ADDRESS, /* [..]: base (slot or sym or neither) and value: offset */
	PTX_OP_VECTOR,  /* {..}: first, count in PtxStmt.parts */
	PTX_OP_LABEL,
	PTX_OP_SINK
} PtxOperandKind;

typedef struct PtxOperand {
	PtxOperandKind kind;
	bool negated, is_float, is_f32; /* is_f32: value is bits of float32 (0f...), else of float64 */
	PtxType type;                   /* of registers, and of the base of an address */
	int32_t slot;                   /* 0: none */
	PtxSymbol *sym;
	int64_t value;
	const char *label;
	uint8_t first, count;
	bool pair;                      /* d|p: the next operand is the second half */
} PtxOperand;

typedef struct PtxStmt {
	const char *op, *text;
	const char *mods[PTX_MAX_MODS];
	bool used[PTX_MAX_MODS];
	uint32_t nmods;
	PtxOperand ops[PTX_MAX_OPERANDS], parts[160];
	uint32_t nops, nparts;
	int line;
} PtxStmt;

typedef struct PtxFix { /* a branch whose label is not known yet */
	struct PtxFix *next;
	uint32_t inst, target;    /* target: index into targets of brx.idx, or -1 */
	const char *label;
	int line;
} PtxFix;

typedef struct PtxLabel {
	struct PtxLabel *next;
	const char *name;
	uint32_t at;
	const char **targets;     /* of .branchtargets */
	uint32_t ntargets;
} PtxLabel;

typedef struct PtxScope {
	struct PtxScope *up;
	PtxSymbol *symbols;
	PtxLabel *labels;
	PtxFix *fixes;
} PtxScope;

enum { PTX_HASH = 1024 };

typedef struct PtxParse {
	PtxModule *m;
	const char *p;
	int line;
	PtxFunc *func;            /* being read */
	PtxScope *scope;
	PtxSymbol *names[PTX_HASH];
	PtxStmt stmt;
	jmp_buf fail;
} PtxParse;

_Noreturn void ptx_fail(PtxParse *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
PtxSymbol *ptx_lookup(PtxParse *p, const char *name);
PtxSymbol *ptx_declare(PtxParse *p, const char *name, PtxSymbolKind kind);
int32_t ptx_new_slot(PtxParse *p, uint32_t bytes);
int32_t ptx_const(PtxParse *p, uint64_t value, uint32_t bytes, const PtxSymbol *shared);
void ptx_special_slots(PtxParse *p); /* declares %tid.x and so on */
PtxInst *ptx_emit(PtxParse *p);
void ptx_decode(PtxParse *p, int32_t guard, bool guard_not);
void ptx_add_fix(PtxParse *p, const char *label, uint32_t inst, uint32_t target);
void ptx_func_flow(PtxParse *p, PtxFunc *f); /* joins of branches, loops */
void ptx_func_finish(PtxModule *m, PtxFunc *f);
void ptx_func_watch(PtxParse *p,
		    PtxFunc *f); /* finds the registers of products of warpgroups, and who else names them */

/* Modifiers: each that a decoder knows it takes; what is left is an error. */
bool ptx_take(PtxStmt *s, const char *mod);
PtxType ptx_take_type(PtxParse *p);              /* fails if there is none */
PtxType ptx_type_named(const char *text);        /* PTX_NOTYPE: none */
int ptx_take_one(PtxStmt *s, const char *const *names); /* index of the first that is there, in names up to NULL; -1 */
void ptx_take_cache_levels(PtxParse *p);         /* .L1::..., .L2::... */
void ptx_need(PtxParse *p, int sm, int version, const char *what);
void ptx_need_exact(PtxParse *p, int version, const char *what); /* .target sm_90a */

/* Operands. Widths of registers must be those of the type, or, where `wider`, at least that. */
int32_t ptx_source(PtxParse *p, const PtxOperand *o, PtxType t, bool wider);
int32_t ptx_dest(PtxParse *p, const PtxOperand *o, PtxType t, bool wider);
unsigned ptx_operand_bytes(const PtxOperand *o, PtxType t); /* of its register; of the type where it is none */
void ptx_address(PtxParse *p, PtxInst *i, const PtxOperand *o, PtxSpace space); /* i->a, imm, flags */
PtxSpace ptx_take_space(PtxStmt *s);
/* Slots of a vector (or of one register) as a list. */
int32_t *ptx_list(PtxParse *p, const PtxOperand *o, PtxType t, bool dest, unsigned want);

#endif
