/* runtime/lists_module.c -- libmlopt_rt_lists.so: control flow and sequences, and how they call the library that loads them. */
#include <string.h>

#include "runtime/lists_calls.h"

#ifdef MLRT_LISTS_MODULE
static ListCalls calls;

#define CALL(type, name, parameters, arguments) \
	type name parameters                    \
	{                                       \
		return calls.name arguments;    \
	}
#include "runtime/lists.def"
#undef CALL

__attribute__((visibility("default"))) ListsEnter mlrt_lists_enter;

const Lists *mlrt_lists_enter(const char *version, const ListCalls *from, size_t bytes)
{
	static const Lists here = {mlrt_list_check, mlrt_list_run};

	if (bytes != sizeof calls || strcmp(version, mlrt_version()) != 0)
		return NULL;
	calls = *from;
	return &here;
}
#endif
