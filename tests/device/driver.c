/* tests/device/driver.c -- kernels on the driver's device 0.  (CUDA Driver API.) */
#include <dlfcn.h>
#include <llvm-c/Core.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "targets/object.h"
#include "tests/device/device.h"
#include "tests/unit/kernel_random.h"

/* The functions that are used, as in cuda.h. */
#define DRIVER(X)                                                                                                       \
	X(cuInit, (unsigned))                                                                                           \
	X(cuDeviceGet, (int *, int))                                                                                    \
	X(cuDevicePrimaryCtxRetain, (void **, int))                                                                     \
	X(cuDevicePrimaryCtxRelease_v2, (int))                                                                          \
	X(cuCtxSetCurrent, (void *))                                                                                    \
	X(cuCtxSynchronize, (void))                                                                                     \
	X(cuModuleLoadDataEx, (void **, const void *, unsigned, const int *, void *const *))                            \
	X(cuModuleUnload, (void *))                                                                                     \
	X(cuModuleGetFunction, (void **, void *, const char *))                                                         \
	X(cuFuncSetAttribute, (void *, int, int))                                                                       \
	X(cuMemAlloc_v2, (uint64_t *, size_t))                                                                          \
	X(cuMemFree_v2, (uint64_t))                                                                                     \
	X(cuMemcpyHtoD_v2, (uint64_t, const void *, size_t))                                                            \
	X(cuMemcpyDtoH_v2, (void *, uint64_t, size_t))                                                                  \
	X(cuLaunchKernel, (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **))

#define X(name, args) static int (*name) args;
DRIVER(X)
#undef X

bool device_every_kernel;

static void *library;

enum { ALIGN = 256 };

static void *symbol(const char *name)
{
	return dlsym(library, name);
}

bool device_open(char *why, size_t n)
{
	void *context;
	int device;

	library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	snprintf(why, n, "%s", library ? "a function of the driver is missing" : dlerror());
#define X(name, args)                                  \
	if (!library || !(*(void **)&name = symbol(#name))) \
		return false;
	DRIVER(X)
#undef X
	snprintf(why, n, "the driver has no device");
	return !cuInit(0) && !cuDeviceGet(&device, 0) && !cuDevicePrimaryCtxRetain(&context, device) && !cuCtxSetCurrent(context);
}

void device_close(void)
{
	cuDevicePrimaryCtxRelease_v2(0);
	dlclose(library);
}

/* -- running ----------------------------------------------------------------------------------------- */

static bool fails(int error, const char *name, const char *what)
{
	if (error)
		printf("FAIL %s: %s: error %d\n", name, what, error);
	return error != 0;
}

/* For a look at it: into the folder that MLO_TEST_PTX names. */
static void write_code(const char *name, const MloBytes *code)
{
	const char *folder = getenv("MLO_TEST_PTX");
	char path[300];
	FILE *f;

	if (!folder || !code)
		return;
	snprintf(path, sizeof path, "%s/%s.ptx", folder, name);
	f = fopen(path, "w");
	if (!f)
		return;
	fwrite(code->data, 1, code->n, f);
	fclose(f);
}

/* PTX of one kernel, NUL-terminated. */
static bool make_code(const MloKernel *k, const MloTarget *t, const char *name, MloLaunch *launch, MloBytes *code, MloDiag *d)
{
	LLVMContextRef ctx = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext(name, ctx);
	bool ok = mlo_object_prepare(t, m, d) == MLO_OK;

	if (ok && device_every_kernel) {
		ok = mlo_device_emit(m, k, t, "kernel", launch, d) == MLO_OK;
	} else if (ok && !mlo_device_emit_contract(m, k, t, "kernel", launch) &&
	           !mlo_device_emit_attention(m, k, t, "kernel", launch) && !mlo_device_emit_loops(m, k, t, "kernel", launch)) {
		printf("FAIL %s: no tier takes it\n", name);
		ok = false;
	}
	ok = ok && mlo_object_emit(t, m, code, NULL, d) == MLO_OK;
	write_code(name, ok ? code : NULL);
	mlo_diag_print(d, name, stdout);
	LLVMDisposeModule(m);
	LLVMContextDispose(ctx);
	return ok;
}

static bool load(const MloBytes *code, const char *name, void **module)
{
	enum { ERROR_LOG = 5, ERROR_LOG_SIZE = 6 };
	char log[1024] = "", *text = calloc(1, code->n + 1);
	void *value[] = {log, (void *)sizeof log};
	int error;

	memcpy(text, code->data, code->n);
	error = cuModuleLoadDataEx(module, text, 2, (const int[]){ERROR_LOG, ERROR_LOG_SIZE}, value);
	free(text);
	if (error)
		printf("%s\n", log);
	return !fails(error, name, "loading");
}

/* Scratch memory, with zeros for counters below it. */
static bool scratch_open(const MloLaunch *l, unsigned blocks, const char *name, DeviceBuffer *s)
{
	unsigned most = l->counters && l->blocks > blocks ? l->blocks : blocks; /* of the grid that the launch asks for */
	size_t counters = ((size_t)l->counters * 4 + ALIGN - 1) / ALIGN * ALIGN;

	*s = (DeviceBuffer){.bytes = counters};
	if (counters + l->scratch_bytes == 0)
		return true;
	s->host = calloc(1, counters + 1);
	return !fails(cuMemAlloc_v2(&s->device, counters + (size_t)l->scratch_bytes * most), name, "scratch memory") &&
	       (!counters || !fails(cuMemcpyHtoD_v2(s->device, s->host, counters), name, "counters"));
}

/* Are counters zero again? */
static bool scratch_close(const char *name, bool ok, DeviceBuffer *s)
{
	char *at = s->host;

	if (ok && s->bytes)
		ok = !fails(cuMemcpyDtoH_v2(at, s->device, s->bytes), name, "counters");
	for (size_t i = 0; ok && i < s->bytes; i++)
		if (at[i]) {
			printf("FAIL %s: byte %zu of its counters is not zero\n", name, i);
			ok = false;
		}
	if (s->device)
		cuMemFree_v2(s->device);
	free(s->host);
	return ok;
}

static bool start(const MloKernel *k, const char *name, void *module, const MloLaunch *l, DeviceBuffer *buffer, unsigned blocks)
{
	enum { MOST = 62, SHARED_SIZE = 8, USUAL_SHARED = 48 << 10 };
	uint64_t tasks = (uint64_t)k->ntasks, scratch;
	void *param[MOST + 2], *function;
	DeviceBuffer own = {0};
	bool ok;

	MLO_ASSERT(k->arg.n <= MOST);
	if (!blocks)
		blocks = l->tasks_per_block ? (unsigned)((tasks + l->tasks_per_block - 1) / l->tasks_per_block) : l->blocks;
	for (size_t i = 0; i < k->arg.n; i++)
		param[i] = &buffer[i].device;
	param[k->arg.n] = &tasks;
	param[k->arg.n + 1] = &scratch;
	if (fails(cuModuleGetFunction(&function, module, "kernel"), name, "finding the entry"))
		return false;
	if (l->shared_bytes > USUAL_SHARED && fails(cuFuncSetAttribute(function, SHARED_SIZE, (int)l->shared_bytes), name, "shared memory"))
		return false;
	ok = scratch_open(l, blocks, name, &own);
	scratch = own.device + own.bytes;
	ok = ok && !fails(cuLaunchKernel(function, blocks, 1, 1, l->threads, 1, 1, l->shared_bytes, NULL, param, NULL), name, "starting") &&
	     !fails(cuCtxSynchronize(), name, "running");
	return scratch_close(name, ok, &own);
}

bool device_run(const MloKernel *k, const MloTarget *t, const char *name, DeviceBuffer *buffer, unsigned blocks, MloDiag *d)
{
	MloLaunch launch = {0};
	MloBytes code = {0};
	void *module = NULL;
	bool ok = make_code(k, t, name, &launch, &code, d) && load(&code, name, &module);

	for (size_t i = 0; i < k->arg.n && ok; i++)
		ok = !buffer[i].bytes || (!cuMemAlloc_v2(&buffer[i].device, buffer[i].bytes + buffer[i].skew) &&
		                          !cuMemcpyHtoD_v2(buffer[i].device += buffer[i].skew, buffer[i].host, buffer[i].bytes));
	ok = ok && start(k, name, module, &launch, buffer, blocks);
	for (size_t i = 0; i < k->arg.n; i++) {
		if (!buffer[i].device)
			continue;
		if (ok)
			cuMemcpyDtoH_v2(buffer[i].host, buffer[i].device, buffer[i].bytes);
		cuMemFree_v2(buffer[i].device - buffer[i].skew);
		buffer[i].device = 0;
	}
	if (module)
		cuModuleUnload(module);
	free(code.data);
	return ok;
}

/* -- comparing --------------------------------------------------------------------------------------- */

/* Numbers that count as the same whatever the bound is; denormals of bf16 may be zeros (Intel SDM, VCVTNEPS2BF16, of which the
 * interpreter of kernels is a model). */
static bool alike(MloElem t, double x, double y)
{
	return x == y || (isnan(x) && isnan(y)) || (t == EL_bf16 && fabs(x) < 0x1p-126 && fabs(y) < 0x1p-126);
}

static bool same_floats(const char *name, MloElem t, const char *got, const char *want, size_t bytes, double most)
{
	size_t size = mlo_elem_bits(t) / 8;
	double error = 0, all = 0;

	for (size_t i = 0; i < bytes; i += size) {
		double x = kernel_number(t, got + i), y = kernel_number(t, want + i);

		if (!alike(t, x, y) && (most == 0 || !isfinite(x) || !isfinite(y))) {
			printf("FAIL %s: element %zu is %g, expected %g\n", name, i / size, x, y);
			return false;
		}
		if (isfinite(y))
			all += y * y;
		if (!alike(t, x, y))
			error += (x - y) * (x - y);
	}
	if (error > most * all)
		printf("FAIL %s: normalised mean squared error %g, at most %g expected\n", name, error / all, most);
	return error <= most * all;
}

bool device_same(const MloKernel *k, const char *name, const DeviceBuffer *got, void *const *want, double most)
{
	for (size_t i = 0; i < k->arg.n; i++) {
		const KArg *a = &k->arg.items[i];

		if (!got[i].bytes)
			continue;
		if (mlo_elem_is_float(a->elem) ? !same_floats(name, a->elem, got[i].host, want[i], got[i].bytes, most)
		                               : memcmp(got[i].host, want[i], got[i].bytes) != 0) {
			printf("FAIL %s: argument %zu differs\n", name, i);
			return false;
		}
	}
	return true;
}
