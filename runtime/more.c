/* runtime/more.c -- what few need is here: all forms of the runtime but the shared library. */
#include "runtime/more.h"

#ifndef MLRT_MORE_APART
MLRT_LOCAL const More *mlrt_more(const char *what, MlrtError *err)
{
	static const More here = {mlrt_list_check, mlrt_list_run, mlrt_signatures_check, mlrt_replay};

	(void)what;
	(void)err;
	return &here;
}
#endif
