/* runtime/version.c -- the version of the library. */
#include "runtime/internal.h"

const char *mlrt_version(void)
{
	return MLRT_VERSION;
}

int mlrt_checks_signatures(void)
{
#ifdef MLRT_WITH_SODIUM
	return 1;
#else
	return 0;
#endif
}
