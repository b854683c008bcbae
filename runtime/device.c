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
} device_api;
static pthread_once_t device_once = PTHREAD_ONCE_INIT;

/* The run path of this library leads to where it lies itself.  MLRT_CUDA_LIBRARY names another file. */
static void *open_library(void)
{
	const char *named = secure_getenv("MLRT_CUDA_LIBRARY");

	return dlopen(named && *named ? named : MLRT_CUDA_LIBRARY_NAME, RTLD_NOW | RTLD_LOCAL);
}

/* Once: it stays open, as what it has opened does. */
static void find_device_api(void)
{
	void *lib = open_library();
	const DeviceApi *(*get)(void) = lib ? (const DeviceApi *(*)(void))(uintptr_t)dlsym(lib, "mlrt_cuda_api") : NULL;
	const char *error = get ? NULL : dlerror();

	if (!get) {
		snprintf(device_api.why, sizeof device_api.why, "needs the runtime's library for GPUs: %.180s",
			 error ? error : MLRT_CUDA_LIBRARY_NAME);
		return;
	}
	device_api.api = get();
	if (strcmp(device_api.api->version, mlrt_version()) == 0 && device_api.api->model_bytes == sizeof(MlrtModel) &&
	    device_api.api->session_bytes == sizeof(MlrtSession))
		return;
	snprintf(device_api.why, sizeof device_api.why, "needs the runtime's library for GPUs, which is of another build (%.40s)", device_api.api->version);
	device_api.api = NULL;
}

MLRT_LOCAL const DeviceApi *mlrt_device_api(char *why, size_t n)
{
	pthread_once(&device_once, find_device_api);
	if (!device_api.api)
		snprintf(why, n, "%s", device_api.why);
	return device_api.api;
}
#endif
