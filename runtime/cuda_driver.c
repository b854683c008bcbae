/* runtime/cuda_driver.c -- the driver's library: opened once in a process, when a package for GPUs is. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda.h"

static struct {
	Cuda cu;
	MlrtStatus st;
	char why[200];
} driver;
static pthread_once_t driver_once = PTHREAD_ONCE_INIT;

static void driver_lacks(MlrtStatus st, const char *fmt, const char *what)
{
	driver.st = st;
	snprintf(driver.why, sizeof driver.why, fmt, what);
}

static bool find_functions(void *lib)
{
	Cuda *cu = &driver.cu;
	const char *missing = NULL;
	void *p;

#define CUDA_FIND(member, symbol, parameters)   \
	p = dlsym(lib, symbol);                 \
	memcpy(&cu->member, &p, sizeof p);
#define CUDA_NEED(member, symbol, parameters)   \
	CUDA_FIND(member, symbol, parameters)   \
	if (!p)                                 \
		missing = symbol;
	CUDA_FUNCTIONS(CUDA_NEED, CUDA_FIND)
#undef CUDA_FIND
#undef CUDA_NEED
	if (missing)
		driver_lacks(MLRT_ERR_DRIVER, "needs a newer driver: this one has no %s (CUDA 11.4 or later)", missing);
	return !missing;
}

static void open_driver(void)
{
	void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	char text[120];
	CuResult r;

	if (!lib) {
		driver_lacks(MLRT_ERR_NO_DRIVER, "needs NVIDIA's driver: %.150s", dlerror());
		return;
	}
	if (!find_functions(lib))
		return;
	r = driver.cu.init(0);
	if (r == CU_OK)
		r = driver.cu.driver_version(&driver.cu.version);
	if (r == CU_OK)
		r = driver.cu.device_count(&driver.cu.ndevices);
	if (r == CU_NO_DEVICE || (r == CU_OK && driver.cu.ndevices == 0))
		driver_lacks(MLRT_ERR_NO_DEVICE, "needs a GPU: the driver sees none%s", "");
	else if (r != CU_OK)
		driver_lacks(MLRT_ERR_DRIVER, "needs the driver to work: %.150s", mlrt_cuda_error(&driver.cu, r, text, sizeof text));
}

MLRT_LOCAL const Cuda *mlrt_cuda(MlrtStatus *st, char *why, size_t n)
{
	pthread_once(&driver_once, open_driver);
	*st = driver.st;
	if (!driver.st)
		return &driver.cu;
	snprintf(why, n, "%s", driver.why);
	return NULL;
}

MLRT_LOCAL const char *mlrt_cuda_error(const Cuda *cu, CuResult r, char *text, size_t n)
{
	const char *name = NULL, *meaning = NULL;

	cu->error_name(r, &name);
	cu->error_string(r, &meaning);
	snprintf(text, n, "%s (%d)%s%s", name ? name : "CUDA error", r, meaning ? ": " : "", meaning ? meaning : "");
	return text;
}

MLRT_LOCAL int mlrt_cuda_capability(const Cuda *cu, int ordinal)
{
	CuDevice device;
	int major = 0, minor = 0;

	if (ordinal < 0 || ordinal >= cu->ndevices || cu->device_get(&device, ordinal) != CU_OK ||
	    cu->device_attribute(&major, CU_CAPABILITY_MAJOR, device) != CU_OK ||
	    cu->device_attribute(&minor, CU_CAPABILITY_MINOR, device) != CU_OK)
		return 0;
	return 10 * major + minor;
}

/* PTX 7.0 to 7.8 came with CUDA 11.0 to 11.8, 8.0 to 8.5 with 12.0 to 12.5 (PTX ISA, "Release Notes"). */
static int takes_ptx(const Cuda *cu, long version)
{
	return version >= 70 && version < 86 ? cu->version >= 1000 * (version / 10 + 4) + version % 10 * 10 : -1;
}

static int takes(const Cuda *cu, const char *need, int have)
{
	const bool ptx = strncmp(need, "ptx_", 4) == 0;
	const char *number = need + (ptx ? 4 : 3);
	char *end;
	long n;

	if (!ptx && strncmp(need, "sm_", 3) != 0)
		return -1;
	n = strtol(number, &end, 10);
	if (n <= 0 || n >= 1000 || (*end && (ptx || strcmp(end, "a") != 0)))
		return -1;
	return ptx ? takes_ptx(cu, n) : *end ? have == n : have >= n;
}

MLRT_LOCAL const char *mlrt_cuda_lacks(const Cuda *cu, const char *needs, size_t n, int have, int *answer)
{
	*answer = n ? 1 : -1;
	for (size_t i = 0; i < n; i++, needs += strlen(needs) + 1) {
		*answer = takes(cu, needs, have);
		if (*answer <= 0)
			return needs;
	}
	return n ? NULL : "";
}
