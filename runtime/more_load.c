/* runtime/more_load.c -- what few need is in a library of its own: loads it once. */
#include "runtime/more_calls.h"

#ifdef MLRT_MORE_APART
#include <dlfcn.h>
#include <stdio.h>

static const More *more;
static char why[200]; /* there are none */
static pthread_once_t tried = PTHREAD_ONCE_INIT;

/* This library's run path leads to where it lies itself. */
static void load(void)
{
	void *library = dlopen(MLRT_MORE_LIBRARY, RTLD_NOW | RTLD_LOCAL);
	void *enter = library ? dlsym(library, "mlrt_more_enter") : NULL;
	MoreCalls calls;

#define CALL(type, name, parameters, arguments) calls.name = name;
#include "runtime/more.def"
#undef CALL
	more = enter ? ((MoreEnter *)(uintptr_t)enter)(mlrt_version(), &calls, sizeof calls) : NULL;
	if (!more)
		snprintf(why, sizeof why, "%s", enter ? MLRT_MORE_LIBRARY " is of another version" : dlerror());
}

MLRT_LOCAL const More *mlrt_more(const char *what, MlrtError *err)
{
	pthread_once(&tried, load);
	if (!more)
		mlrt_fail(err, MLRT_ERR_IO, "%s need a library beside this one: %s", what, why);
	return more;
}
#endif
