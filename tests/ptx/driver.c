/* tests/ptx/driver.c -- the driver as such: initialisation, the device, its context, errors. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/driver.h"
#include "tests/ptx/driver_api.h"
#include "tests/ptx/memory.h"

CuState cu_state;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local void *current[16];
static _Thread_local unsigned depth; /* of the stack of current contexts */

/* What the cards are whose capabilities these are: T4, A100, A10G, L4, H100, B200. */
static const CuDeviceFacts devices[] = {
	{75, 40, 1024, 16, 65536, 65536, 4 << 20, 1590000, 5001000, 256, "interpreted sm_75"},
	{80, 108, 2048, 32, 167936, 166912, 40 << 20, 1410000, 1215000, 5120, "interpreted sm_80"},
	{86, 80, 1536, 16, 102400, 101376, 6 << 20, 1710000, 6251000, 384, "interpreted sm_86"},
	{89, 58, 1536, 24, 102400, 101376, 48 << 20, 2040000, 6251000, 192, "interpreted sm_89"},
	{90, 132, 2048, 32, 233472, 232448, 50 << 20, 1980000, 2619000, 5120, "interpreted sm_90"},
	{100, 148, 2048, 32, 233472, 232448, 126 << 20, 1965000, 3996000, 8192, "interpreted sm_100"},
};

/* -- every call -- */

/* Whether this call was told to fail, and with which error. */
static CUresult injected(const char *name)
{
	static const struct {
		const char *name;
		CUresult error;
	} usual[] = {{"cuInit", CUDA_ERROR_NO_DEVICE},
		     {"cuDevice", CUDA_ERROR_INVALID_DEVICE},
		     {"cuMemAlloc", CUDA_ERROR_OUT_OF_MEMORY},
		     {"cuMemHostAlloc", CUDA_ERROR_OUT_OF_MEMORY},
		     {"cuModuleLoad", CUDA_ERROR_INVALID_PTX},
		     {"cuModuleGetFunction", CUDA_ERROR_NOT_FOUND},
		     {"cuLaunchKernel", CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES},
		     {"cuStreamSynchronize", CUDA_ERROR_LAUNCH_FAILED},
		     {"cuGraphInstantiate", CUDA_ERROR_OUT_OF_MEMORY},
		     {"cuStreamEndCapture", CUDA_ERROR_STREAM_CAPTURE_INVALIDATED}};
	static char *told; /* what calls are counted for */
	static unsigned calls;
	const char *fail = getenv("PTX_TEST_FAIL"), *colon = fail ? strchr(fail, ':') : NULL;
	size_t n = strlen(name);
	char *end;

	if (!colon)
		return 0;
	if (!told || strcmp(told, fail)) {
		free(told);
		told = strdup(fail);
		calls = 0;
	}
	if (n > 3 && !strncmp(name + n - 3, "_v", 2) && (size_t)(colon - fail) == n - 3)
		n -= 3;
	if ((size_t)(colon - fail) != n || strncmp(fail, name, n) || ++calls != strtoul(colon + 1, &end, 10))
		return 0;
	if (*end == ':')
		return atoi(end + 1);
	for (unsigned k = 0; k < sizeof usual / sizeof *usual; k++)
		if (!strncmp(name, usual[k].name, strlen(usual[k].name)))
			return usual[k].error;
	return CUDA_ERROR_UNKNOWN;
}

CUresult cu_enter(const char *name, bool context)
{
	CUresult r;

	pthread_mutex_lock(&lock);
	r = injected(name);
	if (r)
		return r;
	if (!cu_state.initialised)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (context && (!depth || !current[depth - 1] || !cu_state.context.alive))
		return CUDA_ERROR_INVALID_CONTEXT;
	return context ? cu_state.sticky : CUDA_SUCCESS;
}

CUresult cu_leave(CUresult r)
{
	pthread_mutex_unlock(&lock);
	return r;
}

void *cu_object_new(CuKind kind, size_t bytes)
{
	CuObject *o = calloc(1, bytes);

	if (!o)
		abort();
	o->kind = kind;
	o->alive = true;
	o->next = cu_state.objects;
	cu_state.objects = o;
	return o;
}

void *cu_object(const void *handle, CuKind kind)
{
	for (CuObject *o = cu_state.objects; o; o = o->next)
		if (o == handle && o->kind == kind) {
			if (o->alive)
				return o;
			cu_finding("a handle is used that was destroyed");
			return NULL;
		}
	return NULL;
}

void cu_finding(const char *format, ...)
{
	va_list args;

	cu_state.findings++;
	fputs("ptx: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* -- initialisation -- */

uint64_t cu_setting(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);

	return v && *v ? strtoull(v, NULL, 0) : otherwise;
}

static int driver_version(void)
{
	return (int)cu_setting("PTX_TEST_DRIVER", 12060);
}

static CUresult initialise(void)
{
	const int sm = (int)cu_setting("PTX_TEST_SM", 80);

	if (cu_state.initialised)
		return 0;
	cu_state.version = driver_version();
	for (unsigned k = 0; k < sizeof devices / sizeof *devices; k++)
		if (devices[k].sm == sm)
			cu_state.device = &devices[k];
	if (!cu_state.device || !ptx_memory_init(cu_setting("PTX_TEST_MEMORY", UINT64_C(16) << 30)))
		return CUDA_ERROR_NO_DEVICE;
	cu_state.context.kind = CU_CONTEXT;
	cu_state.initialised = true;
	atexit(cu_report);
	return 0;
}

CU_API CUresult cuInit(unsigned flags)
{
	CUresult r = cu_enter("cuInit", false);

	if (r == CUDA_ERROR_NOT_INITIALIZED || !r)
		r = flags ? CUDA_ERROR_INVALID_VALUE : initialise();
	return cu_leave(r);
}

CU_API CUresult cuDriverGetVersion(int *version)
{
	CUresult r = cu_enter("cuDriverGetVersion", false);

	if (r == CUDA_ERROR_NOT_INITIALIZED) /* may be called before cuInit */
		r = 0;
	if (!r)
		*version = driver_version();
	return cu_leave(r);
}

static const struct {
	CUresult value;
	const char *name, *text;
} errors[] = {
#define X(name, value, text) {value, "CUDA_" #name, text},
	CU_ERRORS(X)
#undef X
};

CU_API CUresult cuGetErrorName(CUresult error, const char **text)
{
	for (unsigned k = 0; k < sizeof errors / sizeof *errors; k++)
		if (errors[k].value == error) {
			*text = errors[k].name;
			return 0;
		}
	*text = NULL;
	return CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuGetErrorString(CUresult error, const char **text)
{
	for (unsigned k = 0; k < sizeof errors / sizeof *errors; k++)
		if (errors[k].value == error) {
			*text = errors[k].text;
			return 0;
		}
	*text = NULL;
	return CUDA_ERROR_INVALID_VALUE;
}

/* -- the device -- */

CU_API CUresult cuDeviceGetCount(int *count)
{
	const CUresult r = cu_enter("cuDeviceGetCount", false);

	if (!r)
		*count = 1;
	return cu_leave(r);
}

CU_API CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	CUresult r = cu_enter("cuDeviceGet", false);

	if (!r)
		r = ordinal ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
	if (!r)
		*device = 0;
	return cu_leave(r);
}

CU_API CUresult cuDeviceGetName(char *name, int room, CUdevice device)
{
	CUresult r = cu_enter("cuDeviceGetName", false);

	if (!r)
		r = device ? CUDA_ERROR_INVALID_DEVICE : room < 1 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
	if (!r)
		snprintf(name, (size_t)room, "%s", cu_state.device->name);
	return cu_leave(r);
}

CU_API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
	CUresult r = cu_enter("cuDeviceTotalMem_v2", false);

	if (!r)
		r = device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
	if (!r)
		*bytes = ptx_memory_total();
	return cu_leave(r);
}

static CUresult attribute(int *value, int which)
{
	const CuDeviceFacts *d = cu_state.device;
	const int managed =
		(int)cu_setting("PTX_TEST_MANAGED", 1); /* host and device may touch managed memory at a time */
	const struct {
		int which, value;
	} values[] = {
		{1, 1024},
		{2, 1024},
		{3, 1024},
		{4, 64},
		{5, INT32_MAX},
		{6, 65535},
		{7, 65535}, /* threads, grid */
		{8, 49152},
		{9, 65536},
		{10, PTX_LANES},
		{11, INT32_MAX},
		{12, 65536},
		{13, d->clock_khz},
		{14, 512},
		{15, 1},
		{16, d->multiprocessors},
		{17, 0},
		{18, 0},
		{19, 1},
		{20, 0},
		{31, 1},
		{32, 1},
		{33, 0},
		{34, 0},
		{35, 0},
		{36, d->memory_khz},
		{37, d->bus},
		{38, d->l2},
		{39, d->threads_per_sm},
		{40, 2},
		{41, 1},
		{50, 0},
		{75, d->sm / 10},
		{76, d->sm % 10},
		{78, 1},
		{81, d->shared_per_sm},
		{82, 65536},
		{83, managed},
		{88, 0},
		{89, managed},
		{95, 1},
		{97, d->shared_optin},
		{106, d->blocks_per_sm},
		{111, d->sm >= 80 ? 1024 : 0},
		{115, 0},
	};

	for (unsigned k = 0; k < sizeof values / sizeof *values; k++)
		if (values[k].which == which) {
			*value = values[k].value;
			return 0;
		}
	return CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuDeviceGetAttribute(int *value, int which, CUdevice device)
{
	CUresult r = cu_enter("cuDeviceGetAttribute", false);

	if (!r)
		r = device ? CUDA_ERROR_INVALID_DEVICE : attribute(value, which);
	return cu_leave(r);
}

/* -- contexts: the primary one -- */

CU_API CUresult cuDevicePrimaryCtxRetain(void **context, CUdevice device)
{
	CUresult r = cu_enter("cuDevicePrimaryCtxRetain", false);

	if (!r)
		r = device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
	if (!r) {
		cu_state.retained++;
		cu_state.context.alive = true;
		*context = &cu_state.context;
	}
	return cu_leave(r);
}

/* Everything of the context goes with it; the device works again. */
static void destroy_context(void)
{
	for (CuObject *o = cu_state.objects; o; o = o->next) {
		if (o->kind == CU_MODULE && o->alive) {
			CuModule *m = (CuModule *)o;

			cu_stats_add(&m->ptx, m->counts);
			ptx_module_free(&m->ptx);
			free(m->counts);
		}
		o->alive = false;
	}
	cu_memory_release();
	cu_state.context.alive = false;
	cu_state.sticky = 0;
	cu_state.capturing = 0;
	cu_report();
}

CU_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	CUresult r = cu_enter("cuDevicePrimaryCtxRelease_v2", false);

	if (!r)
		r = device ? CUDA_ERROR_INVALID_DEVICE : !cu_state.retained ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
	if (!r && !--cu_state.retained)
		destroy_context();
	return cu_leave(r);
}

CU_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
	CUresult r = cu_enter("cuDevicePrimaryCtxReset_v2", false);

	if (!r)
		r = device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
	if (!r && cu_state.context.alive) {
		destroy_context();
		cu_state.context.alive = cu_state.retained > 0;
	}
	return cu_leave(r);
}

static bool is_context(const void *context)
{
	return !context || (context == &cu_state.context && cu_state.context.alive);
}

CU_API CUresult cuCtxSetCurrent(void *context)
{
	CUresult r = cu_enter("cuCtxSetCurrent", false);

	if (!r)
		r = is_context(context) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
	if (!r) {
		if (!depth)
			depth = 1;
		current[depth - 1] = context;
	}
	return cu_leave(r);
}

CU_API CUresult cuCtxGetCurrent(void **context)
{
	const CUresult r = cu_enter("cuCtxGetCurrent", false);

	if (!r)
		*context = depth ? current[depth - 1] : NULL;
	return cu_leave(r);
}

CU_API CUresult cuCtxPushCurrent_v2(void *context)
{
	CUresult r = cu_enter("cuCtxPushCurrent_v2", false);

	if (!r)
		r = !context || !is_context(context) || depth == 16 ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
	if (!r)
		current[depth++] = context;
	return cu_leave(r);
}

CU_API CUresult cuCtxPopCurrent_v2(void **context)
{
	CUresult r = cu_enter("cuCtxPopCurrent_v2", false);

	if (!r)
		r = depth ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
	if (!r) {
		depth--;
		if (context)
			*context = current[depth];
	}
	return cu_leave(r);
}

CU_API CUresult cuCtxGetDevice(CUdevice *device)
{
	CUresult r = cu_enter("cuCtxGetDevice", true);

	if (!r)
		*device = 0;
	return cu_leave(r);
}

CU_API CUresult cuCtxSynchronize(void)
{
	CUresult r = cu_enter("cuCtxSynchronize", true);

	if (!r && cu_state.capturing)
		r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	return cu_leave(r);
}
