/* runtime/lists_load.c -- control flow and sequences are in a library of their own: loads it once. */
#include "runtime/lists_calls.h"

#ifdef MLRT_LISTS_APART
#include <dlfcn.h>
#include <stdio.h>

static const Lists *lists;
static char why[200] = "it is of another version"; /* there are none */
static pthread_once_t tried = PTHREAD_ONCE_INIT;

/* This library's run path leads to where it lies itself. */
static void load(void)
{
	void *library = dlopen(MLRT_LISTS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
	void *enter = library ? dlsym(library, "mlrt_lists_enter") : NULL;
	ListCalls calls;

	if (!enter) {
		snprintf(why, sizeof why, "%s", dlerror());
		return;
	}
#define CALL(type, name, parameters, arguments) calls.name = name;
#include "runtime/lists.def"
#undef CALL
	lists = ((ListsEnter *)(uintptr_t)enter)(mlrt_version(), &calls, sizeof calls);
}

MLRT_LOCAL const Lists *mlrt_lists(MlrtError *err)
{
	pthread_once(&tried, load);
	if (!lists)
		mlrt_fail(err, MLRT_ERR_IO, "needs " MLRT_LISTS_LIBRARY " for control flow and sequences: %s", why);
	return lists;
}
#endif
