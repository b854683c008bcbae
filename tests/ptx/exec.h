/* tests/ptx/exec.h -- running kernels: warps, blocks, what instructions see and report. */
#ifndef MLOPT_TESTS_PTX_EXEC_H
#define MLOPT_TESTS_PTX_EXEC_H

#include <string.h>

#include "tests/ptx/ptx.h"

/* Errors of the driver that a kernel can end with; values of cuda.h. */
typedef enum PtxError {
	PTX_OK = 0,
	PTX_ILLEGAL_ADDRESS = 700,
	PTX_LAUNCH_TIMEOUT = 702,
	PTX_ILLEGAL_INSTRUCTION = 715,
	PTX_MISALIGNED = 716,
	PTX_LAUNCH_FAILED = 719
} PtxError;

/* Slots of special registers, at the beginning of each file. */
enum {
	PTX_SLOT = PTX_LANES * 4,
	PTX_TID = PTX_SLOT, /* x, y, z, one behind the other; slot 0 is where results go that nobody wants */
	PTX_NTID = 5 * PTX_SLOT,
	PTX_CTAID = 9 * PTX_SLOT,
	PTX_NCTAID = 13 * PTX_SLOT,
	PTX_LANEID = 17 * PTX_SLOT,
	PTX_WARPID = 18 * PTX_SLOT,
	PTX_NWARPID = 19 * PTX_SLOT,
	PTX_MASK_EQ = 20 * PTX_SLOT, /* eq, le, lt, ge, gt */
	PTX_DYNAMIC_SIZE = 25 * PTX_SLOT,
	PTX_TOTAL_SIZE = 26 * PTX_SLOT,
	PTX_CLOCK = 27 * PTX_SLOT,   /* 64 bits */
	PTX_ZERO = 29 * PTX_SLOT,    /* 64 bits */
	PTX_SPECIAL_END = 64 * PTX_SLOT
};

typedef struct PtxFrame { /* lanes that run together */
	const PtxInst *pc, *join;
	uint32_t mask, call; /* call: depth of calls */
} PtxFrame;

typedef struct PtxPending { /* a copy that cp.async has begun */
	uint64_t from; /* device address */
	uint32_t to;
	uint8_t bytes, valid;
} PtxPending;

typedef struct PtxCount { /* of one instruction, or of one class of them */
	uint64_t warps, lanes;
	uint64_t requests, sectors, ideal,
		conflicts, cycles; /* warp requests; sectors of 32 bytes; cycles lost to bank conflicts; cycles of shared memory */
	uint64_t products, multiplies,
		operand_bytes; /* of warpgroups: multiply-adds, bytes read by descriptors */
} PtxCount;

/* Of each warp its clock up to which is known what it has done, and how often it has made its writes known to
 * the asynchronous proxy. */
typedef struct PtxKnown {
	uint32_t clock[PTX_MAX_WARPS], proxy[PTX_MAX_WARPS];
} PtxKnown;

/* A register that holds a part of a warpgroup's product. */
typedef struct PtxRegister {
	const PtxInst *product,
		*touched;        /* the last product with it; what else named it since; NULL: nothing */
	uint32_t number, fences; /* of that product; fences when it was named last */
	bool sum;                /* of that product: of D, else of A */
} PtxRegister;

typedef enum PtxState { PTX_RUNNING, PTX_WAITING, PTX_DONE } PtxState;

/* PTX_WARPGROUP: the barrier, and those behind it, at which the warps of a warpgroup meet for a product;
 * PTX_AT_MBARRIER: warps wait for an mbarrier. */
enum {
	PTX_MAX_FRAMES = 256,
	PTX_MAX_GROUPS = 64,
	PTX_WARPGROUP = 16,
	PTX_AT_MBARRIER = 32,
	PTX_MAX_WARPGROUPS = PTX_MAX_WARPS / 4
};

typedef struct PtxFlight PtxFlight;
typedef struct PtxMbarrier PtxMbarrier;
typedef struct PtxBlock PtxBlock;
typedef struct PtxExec PtxExec;

struct PtxWarp {
	char *file;              /* slot 0 */
	PtxBlock *block;
	PtxExec *x;
	uint32_t number, live, exists, carry;
	PtxFrame now;            /* running */
	PtxFrame stack[PTX_MAX_FRAMES];
	uint32_t depth;
	PtxState state;
	uint32_t barrier, barrier_count, awaited; /* awaited: address of an mbarrier */
	bool yields;                              /* others may have to run before this one goes on */
	const PtxInst *at;       /* the barrier it waits at */
	uint8_t *local, *device_local;
	uint64_t steps;
	bool updated;            /* has taken part in an atomic operation on global memory */
	uint32_t wrote;          /* its clock when it wrote to global memory last; 0: not in this block */
	PtxPending *pending;     /* of all groups, oldest first */
	uint32_t npending, pending_room, landed; /* landed: those that are over */
	uint32_t groups[PTX_MAX_GROUPS],
		ngroups;               /* copies in each committed group; those behind them belong to the open one */
	uint32_t clock[PTX_MAX_WARPS]; /* what of each warp is known to have happened before */
	uint32_t proxy[PTX_MAX_WARPS]; /* likewise: how often each has made its writes known to the
					  asynchronous proxy */
	uint32_t unfenced;             /* lanes that have written since they did that last */
	uint32_t fenced_at;            /* when it did that last, in PtxBlock.proxy_fences */
	PtxRegister *registers;        /* of products, PtxModule.nwatched */
	uint32_t fences;               /* wgmma.fence, so far */
	uint16_t max_registers;        /* of setmaxnreg; 0: never */
	uint32_t products, products_done,
		products_groups; /* begun, waited for, and groups of them committed */
	uint32_t product_ends[PTX_MAX_GROUPS],
		nproduct_ends; /* last products of committed groups that may be under way */
	bool multiplied;         /* has issued a product of matrices in this block; since then, by PtxClass: */
	PtxCount since[PTX_NCLASSES];
};

enum { PTX_MIXED = -1 };

typedef struct PtxShadow { /* of 4 bytes of shared memory */
	uint32_t write_clock, read_clock, readers; /* read_clock: of all readers, or PTX_MIXED */
	uint32_t vector; /* where their own are then, in PtxBlock.vectors, less 1; 0: nowhere yet */
	uint8_t writer, bytes, init,
		async; /* bytes: written by the writer since; writer 255: several, of different bytes */
	uint32_t proxy;   /* PtxWarp.proxy of the last one that wrote, at that time */
	uint16_t flights; /* products under way that read it */
	uint8_t last;     /* the warp that wrote last, or PTX_BY_... */
	bool object;      /* it is one of an mbarrier */
} PtxShadow;

/* How a block knows that others are done: these write, then a fence behind all they have written, then an atomic operation; it has
 * an atomic operation, and then a fence, before it reads. */
typedef struct PtxOrder {
	bool fenced;             /* a fence stands behind all that was written */
	unsigned epoch;          /* how often the block has told others */
	bool acquired;           /* a fence stands behind an atomic operation, of this warp at this time of its clock */
	unsigned acquirer;
	uint32_t acquire_clock;
} PtxOrder;

struct PtxBlock {
	PtxExec *x;
	uint32_t id[3], linear, nwarps;
	PtxWarp *warps;
	uint8_t *shared;
	PtxShadow *shadow;
	uint32_t shared_bytes, clock;
	PtxOrder order;          /* with other blocks */
	uint32_t arrived[16];    /* threads, by bar.arrive */
	PtxKnown told[16];       /* what they knew then */
	uint32_t red_and[16], red_or[16], red_count[16];
	uint32_t (*vectors)[PTX_MAX_WARPS], nvectors, vectors_room; /* clocks of readers that differ */
	PtxMbarrier *mbarriers;
	uint32_t proxy_fences;                  /* of all warps, so far */
	PtxFlight *flights[PTX_MAX_WARPGROUPS]; /* products under way */
};

struct PtxExec {
	const PtxFunc *kernel;
	uint32_t grid[3], threads[3], dynamic_shared;
	const uint8_t *params;
	PtxCount *counts;        /* by PtxInst.id; NULL: not wanted */
	PtxCount *main;          /* by PtxClass: from the first product of matrices of a warp in a block to its last one; NULL likewise */
	PtxError error;
	char finding[512];       /* what the error is */
	bool backwards;          /* the last block comes first */
	uint64_t launch;         /* number of the launch */
	uint64_t sample;         /* only so many blocks run, the last one and others at equal distances, but all that use atomics; 0: all */
	uint64_t middle;         /* only so many blocks run, neighbours from a multiple of as many in the middle on; 0: all */
	uint64_t steps_left;     /* instructions of warps until the launch counts as endless */
	PtxBlock block;
	uint8_t *published;      /* by block: what it wrote in so many epochs can be read by who has acquired that; NULL: nothing yet */
	char *files;
	size_t file_bytes;
};

/* A fence for all of the device. */
void ptx_check_fence(PtxWarp *w);

/* Runs a kernel: the grid's blocks, one after the other. x->kernel, grid, threads, dynamic_shared,
 * params, counts, backwards, sample, middle and steps_left are given. */
void ptx_exec_run(PtxExec *x);
void ptx_exec_free(PtxExec *x);

/* Records why a launch failed; the first finding stays. lane: -1 for the whole warp. */
void ptx_finding(PtxWarp *w, const PtxInst *i, int lane, PtxError error, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* What memory is accessed for. */
typedef enum PtxAccess { PTX_READ, PTX_WRITE, PTX_ATOMIC, PTX_ASYNC_READ, PTX_ASYNC_WRITE } PtxAccess;

/* Where the bytes of each lane in m are; false after a finding. Checks bounds, alignment, races; counts. */
bool ptx_access(PtxWarp *w, const PtxInst *i, uint32_t m, PtxSpace space, const uint64_t *address, unsigned bytes,
		PtxAccess access, uint8_t **host);
void ptx_addresses(const PtxWarp *w, const PtxInst *i, uint64_t *address);

/* Windows of generic addresses; global memory lies at addresses of ptx_memory_alloc(). */
#define PTX_SHARED_WINDOW UINT64_C(0x010000000000)
#define PTX_LOCAL_WINDOW UINT64_C(0x020000000000)
#define PTX_PARAM_WINDOW UINT64_C(0x030000000000)
#define PTX_WINDOW UINT64_C(0x000100000000) /* size of each */
#define PTX_LOCAL_DEVICE UINT64_C(0x1000000) /* where local memory of device functions begins, in local addresses */




/* check.c */
/* Whether this warp has read, or written, these 4 bytes at this time already, with nobody between: the usual case,
 * asked for first. */
static inline bool ptx_shadow_seen(const PtxWarp *w, const PtxShadow *s, PtxAccess access)
{
	const uint32_t now = w->clock[w->number];

	if (s->async || s->init != 15)
		return false;
	if (access == PTX_READ)
		return s->readers >> w->number & 1 && s->read_clock == now;
	return access == PTX_WRITE && s->writer == w->number && s->bytes == 15 && s->write_clock == now &&
	       !s->readers && s->proxy == w->proxy[w->number];
}

bool ptx_check_shared(PtxWarp *w, const PtxInst *i, int lane, uint32_t at, unsigned bytes, PtxAccess access);
/* What a copy has written: the warp that waited for it, as other writes; the asynchronous proxy, which needs
 * no fence to read it; a copy of a warp that did not wait, but somebody else at an mbarrier: PtxShadow.proxy
 * is PtxBlock.proxy_fences then. */
enum { PTX_BY_ITSELF, PTX_BY_COPY = 253, PTX_BY_ASYNC_PROXY = 254 };
void ptx_check_landed(PtxWarp *w, uint32_t at, unsigned bytes, uint32_t clock, unsigned by);
bool ptx_check_goal(PtxWarp *w, const PtxInst *i, int lane, uint32_t at,
		    unsigned bytes); /* that the asynchronous proxy writes */
bool ptx_known_to_proxy(const PtxWarp *w, uint32_t at); /* what was written there last */
void ptx_check_object(PtxBlock *b, uint32_t at, unsigned bytes, bool object);
/* Reads of the pieces of 16 bytes that a product of four warps, from w on, has as operands, until it is over
 * for each of them. */
bool ptx_check_operands(PtxWarp *w, const PtxInst *i, const uint32_t *at, unsigned n);
bool ptx_check_operands_over(PtxWarp *w, const PtxInst *i, const uint32_t *at, unsigned n, bool for_all);
bool ptx_check_global(PtxWarp *w, const PtxInst *i, int lane, uint64_t at, unsigned bytes, PtxAccess access);
/* mbarrier.c */
void ptx_mbarrier_clear(PtxBlock *b);
/* wgmma.c */
bool ptx_wgmma_touch(
	PtxWarp *w,
	const PtxInst *i); /* an instruction that names registers of products; false after a finding */
void ptx_wgmma_clear(PtxBlock *b); /* nothing is under way */
/* count.c */
void ptx_count(PtxWarp *w, const PtxInst *i, uint32_t m);
void ptx_count_product(PtxWarp *w, const PtxInst *i, uint64_t multiplies, uint64_t operand_bytes); /* of a warpgroup, once */
void ptx_count_global(PtxWarp *w, const PtxInst *i, uint32_t m, const uint64_t *address, unsigned bytes);
void ptx_count_shared(PtxWarp *w, const PtxInst *i, uint32_t m, const uint64_t *address, unsigned bytes);

#define PTX_RUNNER(name) void ptx_run_##name(PtxWarp *w, const PtxInst *i, uint32_t m)
PTX_RUNNER(bra);
PTX_RUNNER(brx);
PTX_RUNNER(call);
PTX_RUNNER(ret);
PTX_RUNNER(exit);
PTX_RUNNER(trap);
PTX_RUNNER(nop);
PTX_RUNNER(bar);
PTX_RUNNER(warp_sync);
PTX_RUNNER(fence);
PTX_RUNNER(fence_proxy);
PTX_RUNNER(fence_init);

#define EACH for (int l = 0; l < PTX_LANES; l++)
#define SLOT(T, slot) ((T *)(void *)(w->file + (slot)))
#define PRED(slot) (*SLOT(uint32_t, slot))
#define IN(m, l) ((m) >> (l) & 1)

static inline void ptx_put(PtxWarp *w, int32_t slot, const void *values, unsigned bytes, uint32_t m)
{
	if (m == PTX_FULL) {
		memcpy(w->file + slot, values, (size_t)PTX_LANES * bytes);
	} else if (bytes == 4) {
		uint32_t *d = SLOT(uint32_t, slot);
		const uint32_t *s = values;

		EACH d[l] = IN(m, l) ? s[l] : d[l];
	} else if (bytes == 8) {
		uint64_t *d = SLOT(uint64_t, slot);
		const uint64_t *s = values;

		EACH d[l] = IN(m, l) ? s[l] : d[l];
	} else {
		uint16_t *d = SLOT(uint16_t, slot);
		const uint16_t *s = values;

		EACH d[l] = IN(m, l) ? s[l] : d[l];
	}
}

static inline void ptx_put_pred(PtxWarp *w, int32_t slot, uint32_t value, uint32_t m)
{
	PRED(slot) = (PRED(slot) & ~m) | (value & m);
}

#endif
