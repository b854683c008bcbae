/* runtime/more.h -- what few need: control flow and sequences, signatures, golden vectors.
 *
 * Beside the shared library these are a library of their own, libmlopt_rt_more.so, which is loaded when something needs
 * it for the first time (more_load.c); what it calls of the other one comes in a table (more_module.c).  In the static
 * library and the amalgamation they are functions like all others. */
#ifndef MLRT_MORE_H
#define MLRT_MORE_H
#include "runtime/lists.h"

typedef struct More {
	bool (*list_check)(const StepCheck *c);                                                          /* lists.h */
	MlrtStatus (*list_run)(Frame *f, const MlrtBodyStep *step, Loop *loop, MlrtError *err);
	MlrtStatus (*signatures_check)(const void *file, size_t n, const MlrtOpenOptions *opt, MlrtError *err);
	MlrtStatus (*replay)(MlrtModel *m, const MlrtSessionOptions *opt, MlrtReplayFn *each, void *user, MlrtReplay *summary,
			     MlrtError *err);
} More;

/* NULL: the library that has them cannot be loaded; `what` for, says the error. */
MLRT_LOCAL const More *mlrt_more(const char *what, MlrtError *err);
#endif
