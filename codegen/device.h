/* codegen/device.h -- kernels for GPUs: Kernel IR to entries of a PTX module (targets of arch "nvptx64").
 *
 * A kernel of n arguments is
 *
 *   .visible .entry SYMBOL(.param .u64 arg0, ..., .param .u64 arg<n-1>, .param .u64 tasks, .param .u64 scratch)
 *
 * (PTX ISA, "Kernel Function Parameters").  Argument i is the address of MloKernel.arg i in global memory, its buffer a multiple
 * of 64 bytes plus the offset of a view; of KA_SCRATCH arguments 0.  `tasks` is the size of the task space.  `scratch` is where
 * scratch memory starts, in global memory too: block b has MloLaunch.scratch_bytes of its own at b * scratch_bytes.  Directly below it
 * lie MloLaunch.counters words for all blocks, which are zero when the kernel starts and when it ends.  Of a kernel with counters, scratch
 * memory is one of the grid that MloLaunch asks for, whatever the grid is.
 *
 * Any grid of blocks is right: blocks, or threads, walk the task space in steps of as many as there are.  MloLaunch says which
 * grid is best.  Kernels of other steps run before and behind, never beside: what they wrote is there, and no barrier between
 * blocks is needed. */
#ifndef MLO_CODEGEN_DEVICE_H
#define MLO_CODEGEN_DEVICE_H
#include <llvm-c/Types.h>

#include "codegen/kernel.h"
#include "targets/object.h"
#include "targets/target.h"

/* How a kernel is started: one-dimensional blocks in a one-dimensional grid. */
typedef struct MloLaunch {
	uint32_t threads;         /* of a block: a multiple of 32, at most MLO_DEVICE_THREADS */
	uint32_t blocks;          /* at least 1; not looked at where tasks_per_block is not 0 */
	uint32_t tasks_per_block; /* the grid has ceil(tasks / tasks_per_block) blocks; 0: `blocks` of them */
	uint32_t shared_bytes;    /* dynamic shared memory of a block; more than 48 KiB are asked for when the module is loaded */
	uint32_t counters;        /* words; else than 0 only where tasks_per_block is 0 */
	uint64_t scratch_bytes;   /* of a block, in global memory */
} MloLaunch;
enum { MLO_DEVICE_THREADS = 1024 };

/* Builds the entry `symbol` of k, and what it needs, into `module`, which was prepared for t (mlo_object_prepare).  False, and
 * nothing built: this tier does not take k. */
bool mlo_device_emit_contract(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch);
bool mlo_device_emit_attention(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch);
bool mlo_device_emit_loops(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch);
/* Takes every kernel: a thread runs a task, as a thread of a CPU would.  Errors are diagnostics. */
MloStatus mlo_device_emit_tasks(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch,
                                MloDiag *d) MLO_CHECKED;
/* By the first of those that takes k. */
MloStatus mlo_device_emit(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch,
                          MloDiag *d) MLO_CHECKED;
/* Makes the function an entry that blocks of so many threads run: ptxas gives it as many registers as that allows. */
void mlo_device_entry(LLVMValueRef fn, uint32_t threads);
/* Records (runtime/format.h) of n kernels, whose entries have these names. */
MloStatus mlo_device_records(const MloLaunch *launch, const char *const *symbol, size_t n, MloBytes *out, MloDiag *d) MLO_CHECKED;
#endif
