/* runtime/more_module.c -- libmlopt_rt_more.so: what few need, and how it calls the library that loads it. */
#include <string.h>

#include "runtime/more_calls.h"

#ifdef MLRT_MORE_MODULE
static MoreCalls calls;

#define CALL(type, name, parameters, arguments) \
	type name parameters                    \
	{                                       \
		return calls.name arguments;    \
	}
#include "runtime/more.def"
#undef CALL

__attribute__((visibility("default"))) MoreEnter mlrt_more_enter;

const More *mlrt_more_enter(const char *version, const MoreCalls *from, size_t bytes)
{
	static const More here = {mlrt_list_check, mlrt_list_run, mlrt_signatures_check, mlrt_replay};

	if (bytes != sizeof calls || strcmp(version, mlrt_version()) != 0)
		return NULL;
	calls = *from;
	return &here;
}
#endif
