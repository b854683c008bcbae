/* runtime/lists.c -- control flow and sequences are here: all forms of the runtime but the shared library. */
#include "runtime/lists.h"

#ifndef MLRT_LISTS_APART
MLRT_LOCAL const Lists *mlrt_lists(MlrtError *err)
{
	static const Lists here = {mlrt_list_check, mlrt_list_run};

	(void)err;
	return &here;
}
#endif
