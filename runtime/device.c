/* runtime/device.c -- finding the part of the runtime that runs kernels on GPUs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device.h"
#include "runtime/session.h"

#ifdef MLRT_WITH_CUDA
MLRT_LOCAL const DeviceApi *mlrt_device_api(char *why, size_t n)
{
	(void)why;
	(void)n;
	return mlrt_cuda_api();
}
#elif defined(MLRT_WITHOUT_CUDA) /* programs that cannot open libraries */
MLRT_LOCAL const DeviceApi *mlrt_device_api(char *why, size_t n)
{
	snprintf(why, n, "needs a runtime built for GPUs");
	return NULL;
}
#else

static struct {
	const DeviceApi *api;
	char why[256];
} found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Beside the file that this code is in; else where the system looks.  MLRT_CUDA_LIBRARY names another file. */
static void *open_library(void)
{
	const char *named = secure_getenv("MLRT_CUDA_LIBRARY");
	char path[4096];
	const char *slash;
	void *lib;
	Dl_info info;

	if (named && *named)
		return dlopen(named, RTLD_NOW | RTLD_LOCAL);
	if (dladdr((const void *)(uintptr_t)open_library, &info) && info.dli_fname && (slash = strrchr(info.dli_fname, '/')) &&
	    snprintf(path, sizeof path, "%.*s/%s", (int)(slash - info.dli_fname), info.dli_fname, MLRT_CUDA_LIBRARY_NAME) <
		    (int)sizeof path &&
	    (lib = dlopen(path, RTLD_NOW | RTLD_LOCAL)))
		return lib;
	return dlopen(MLRT_CUDA_LIBRARY_NAME, RTLD_NOW | RTLD_LOCAL);
}

/* Once: it stays open, as what it has opened does. */
static void find(void)
{
	void *lib = open_library();
	const DeviceApi *(*get)(void) = lib ? (const DeviceApi *(*)(void))(uintptr_t)dlsym(lib, "mlrt_cuda_api") : NULL;
	const char *error = get ? NULL : dlerror();

	if (!get) {
		snprintf(found.why, sizeof found.why, "needs the runtime's library for GPUs: %.180s",
			 error ? error : MLRT_CUDA_LIBRARY_NAME);
		return;
	}
	found.api = get();
	if (strcmp(found.api->version, mlrt_version()) == 0 && found.api->model_bytes == sizeof(MlrtModel) &&
	    found.api->session_bytes == sizeof(MlrtSession))
		return;
	snprintf(found.why, sizeof found.why, "needs the runtime's library for GPUs, which is of another build (%.40s)", found.api->version);
	found.api = NULL;
}

MLRT_LOCAL const DeviceApi *mlrt_device_api(char *why, size_t n)
{
	pthread_once(&once, find);
	if (!found.api)
		snprintf(why, n, "%s", found.why);
	return found.api;
}
#endif
