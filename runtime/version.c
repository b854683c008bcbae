/* runtime/version.c -- the version of the library. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "runtime/internal.h"

#ifndef MLRT_VERSION /* the amalgamation defines it */
#ifdef PACKAGE_VERSION
#define MLRT_VERSION PACKAGE_VERSION
#else
#define MLRT_VERSION "unknown"
#endif
#endif

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
