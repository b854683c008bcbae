/* codegen/estimate.h -- how long a kernel takes, as the cost model sees it. */
#ifndef MLO_CODEGEN_ESTIMATE_H
#define MLO_CODEGEN_ESTIMATE_H
#include "codegen/kernel.h"
#include "targets/target.h"

/* Nanoseconds of a run on one thread of the target, its schedules being chosen; open sizes are guessed.
 * weights_stay: those of the whole model stay in a core's caches (codegen/winograd.h). */
double mlo_kernel_ns(const MloTarget *t, const MloKernel *k, bool weights_stay);
/* Cycles of a contraction whose sizes are numbers, without its epilogue.  weights: of sparse ones, the steps that are not zero. */
double mlo_contract_cycles(const MloTarget *t, const KContract *c, int64_t weights, bool weights_stay);
#endif
