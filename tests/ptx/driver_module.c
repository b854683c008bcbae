/* tests/ptx/driver_module.c -- modules, functions, launches. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/driver_api.h"

/* -- modules -- */

/* The newest PTX that a driver of this CUDA version reads. */
static int newest_ptx(int driver)
{
	static const int table[][2] = {{13000, 90}, {12090, 88}, {12080, 87}, {12070, 86}, {12050, 85}, {12040, 84},
				       {12030, 83}, {12020, 82}, {12010, 81}, {12000, 80}, {11080, 78}, {11070, 77},
				       {11060, 76}, {11050, 75}, {11040, 74}, {11030, 73}, {11020, 72}, {11010, 71},
				       {11000, 70}, {10020, 65}, {10010, 64}};

	for (unsigned k = 0; k < sizeof table / sizeof *table; k++)
		if (driver >= table[k][0])
			return table[k][1];
	return 63;
}

enum { INFO_LOG = 3, INFO_LOG_SIZE, ERROR_LOG, ERROR_LOG_SIZE }; /* CUjit_option */

typedef struct Log {
	char *text;
	size_t room;
	void **used; /* where the caller keeps the size, which becomes what is used */
} Log;

static void write_log(const Log *log, const char *text)
{
	const size_t n = strlen(text);

	if (!log->text || !log->room)
		return;
	snprintf(log->text, log->room, "%s", text);
	if (log->used)
		*log->used = (void *)(uintptr_t)(n < log->room ? n : log->room - 1);
}

static CUresult load(CuModule *m, const char *text, const Log *log)
{
	char message[640];
	int version = 0, minor = 0;
	const char *v = strstr(text, ".version");
	bool good;

	if (!v) {
		write_log(log, "ptxas fatal   : no .version");
		return CUDA_ERROR_INVALID_IMAGE;
	}
	if (sscanf(v, ".version %d.%d", &version, &minor) == 2 && version * 10 + minor > newest_ptx(cu_state.version)) {
		snprintf(message, sizeof message,
			 "ptxas fatal   : Unsupported .version %d.%d; current version is '%d.%d'", version, minor,
			 newest_ptx(cu_state.version) / 10, newest_ptx(cu_state.version) % 10);
		write_log(log, message);
		return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
	}
	good = ptx_module_load(&m->ptx, text);
	if (!good) {
		snprintf(message, sizeof message, "ptxas application ptx input, line %d; error   : %s",
			 m->ptx.error_line, m->ptx.error);
		write_log(log, message);
		if (getenv("PTX_TEST_VERBOSE"))
			fprintf(stderr, "ptx: %s\n", message);
		return CUDA_ERROR_INVALID_PTX;
	}
	if (m->ptx.exact && m->ptx.sm != cu_state.device->sm) {
		snprintf(message, sizeof message,
			 "ptxas fatal   : PTX with .target 'sm_%da' cannot be compiled for architecture "
			 "'sm_%d'",
			 m->ptx.sm, cu_state.device->sm);
		write_log(log, message);
		return CUDA_ERROR_INVALID_PTX;
	}
	if (m->ptx.sm > cu_state.device->sm) {
		snprintf(message, sizeof message, "SM version %d of the module is newer than the device's %d",
			 m->ptx.sm, cu_state.device->sm);
		write_log(log, message);
		return CUDA_ERROR_INVALID_PTX;
	}
	return 0;
}

static bool is_text(const char *image)
{
	/* ELF (cubin) and fat binaries are not for this device */
	return memcmp(image, "\177ELF", 4) && (uint8_t)image[0] != 0x50;
}

static CUresult module_load(void **module, const void *image, const Log *log)
{
	CuModule *m;
	CUresult r;

	if (!module || !image)
		return CUDA_ERROR_INVALID_VALUE;
	if (!is_text(image))
		return CUDA_ERROR_NO_BINARY_FOR_GPU;
	m = cu_object_new(CU_MODULE, sizeof *m);
	r = load(m, image, log);
	if (r) {
		ptx_module_free(&m->ptx);
		m->object.alive = false;
		return r;
	}
	m->counts = getenv("PTX_TEST_REPORT") ? calloc(m->ptx.ninsts + 1, sizeof *m->counts) : NULL;
	*module = m;
	return 0;
}

CU_API CUresult cuModuleLoadDataEx(void **module, const void *image, unsigned n, const int *options,
				   void *const *values)
{
	CUresult r = cu_enter("cuModuleLoadDataEx", true);
	Log log = {0};

	for (unsigned k = 0; k < n; k++) {
		if (options[k] == ERROR_LOG)
			log.text = values[k];
		else if (options[k] == ERROR_LOG_SIZE) {
			log.room = (size_t)(uintptr_t)values[k];
			log.used = (void **)(uintptr_t)&values[k];
		} else if (options[k] == INFO_LOG && values[k]) {
			*(char *)values[k] = 0;
		}
	}
	if (log.text && log.room)
		*log.text = 0;
	if (!r)
		r = module_load(module, image, &log);
	return cu_leave(r);
}

CU_API CUresult cuModuleLoadData(void **module, const void *image)
{
	CUresult r = cu_enter("cuModuleLoadData", true);
	const Log log = {0};

	if (!r)
		r = module_load(module, image, &log);
	return cu_leave(r);
}

CU_API CUresult cuModuleUnload(void *module)
{
	CUresult r = cu_enter("cuModuleUnload", true);
	CuModule *m = r ? NULL : cu_object(module, CU_MODULE);

	if (!r && !m)
		r = CUDA_ERROR_INVALID_HANDLE;
	if (!r) {
		for (CuObject *o = cu_state.objects; o; o = o->next)
			if (o->kind == CU_FUNCTION && ((CuFunction *)o)->module == m)
				o->alive = false;
		cu_stats_add(&m->ptx, m->counts);
		ptx_module_free(&m->ptx);
		free(m->counts);
		m->counts = NULL;
		m->object.alive = false;
	}
	return cu_leave(r);
}

static CUresult get_function(void **function, void *module, const char *name)
{
	CuModule *m = cu_object(module, CU_MODULE);
	PtxFunc *f;
	CuFunction *c;

	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	f = ptx_module_entry(&m->ptx, name);
	if (!f)
		return CUDA_ERROR_NOT_FOUND;
	for (CuObject *o = cu_state.objects; o; o = o->next)
		if (o->alive && o->kind == CU_FUNCTION && ((CuFunction *)o)->func == f) {
			*function = o;
			return 0;
		}
	c = cu_object_new(CU_FUNCTION, sizeof *c);
	c->module = m;
	c->func = f;
	c->max_dynamic = -1;
	c->stats = cu_stats(name);
	*function = c;
	return 0;
}

CU_API CUresult cuModuleGetFunction(void **function, void *module, const char *name)
{
	CUresult r = cu_enter("cuModuleGetFunction", true);

	if (!r)
		r = get_function(function, module, name);
	return cu_leave(r);
}

/* -- functions -- */

enum {
	MAX_THREADS,
	SHARED_SIZE,
	CONST_SIZE,
	LOCAL_SIZE,
	NUM_REGS,
	PTX_VERSION,
	BINARY_VERSION,
	CACHE_MODE,
	MAX_DYNAMIC,
	CARVEOUT
};

static int max_threads(const PtxFunc *f)
{
	const uint32_t *n = f->req_threads;

	return n[0] ? (int)(n[0] * n[1] * n[2]) : f->max_threads ? (int)f->max_threads : 1024;
}

static int max_dynamic(const CuFunction *c)
{
	return c->max_dynamic >= 0             ? c->max_dynamic
	       : c->func->shared_bytes < 49152 ? 49152 - (int)c->func->shared_bytes
					       : 0;
}

/* Registers of the text: more than an assembler would leave. */
static int registers(const PtxFunc *f)
{
	const uint32_t n = 16 + f->nregs[2] + 2 * f->nregs[3];

	return n > 255 ? 255 : (int)n;
}

static CUresult func_attribute(int *value, int which, const CuFunction *c)
{
	const PtxFunc *f = c->func;
	const int values[] = {[MAX_THREADS] = max_threads(f), [SHARED_SIZE] = (int)f->shared_bytes, [CONST_SIZE] = 0,
			      [LOCAL_SIZE] = (int)(f->local_bytes + f->module->device_local), [NUM_REGS] = registers(f),
			      [PTX_VERSION] = f->module->sm, [BINARY_VERSION] = cu_state.device->sm, [CACHE_MODE] = 0,
			      [MAX_DYNAMIC] = max_dynamic(c), [CARVEOUT] = -1};

	if (which < 0 || which > CARVEOUT)
		return CUDA_ERROR_INVALID_VALUE;
	*value = values[which];
	return 0;
}

CU_API CUresult cuFuncGetAttribute(int *value, int which, void *function)
{
	CUresult r = cu_enter("cuFuncGetAttribute", true);
	const CuFunction *c = r ? NULL : cu_object(function, CU_FUNCTION);

	if (!r)
		r = c ? func_attribute(value, which, c) : CUDA_ERROR_INVALID_HANDLE;
	return cu_leave(r);
}

CU_API CUresult cuFuncSetAttribute(void *function, int which, int value)
{
	CUresult r = cu_enter("cuFuncSetAttribute", true);
	CuFunction *c = r ? NULL : cu_object(function, CU_FUNCTION);

	if (!r)
		r = !c                  ? CUDA_ERROR_INVALID_HANDLE
		    : which == CARVEOUT ? CUDA_SUCCESS
		    : which != MAX_DYNAMIC || value < 0 ||
				    value + (int)c->func->shared_bytes > cu_state.device->shared_optin
			    ? CUDA_ERROR_INVALID_VALUE
			    : CUDA_SUCCESS;
	if (!r && which == MAX_DYNAMIC)
		c->max_dynamic = value;
	return cu_leave(r);
}

static int resident(const CuFunction *c, int threads, size_t shared)
{
	const CuDeviceFacts *d = cu_state.device;
	const size_t own = c->func->dynamic_base + shared + (d->sm >= 80 ? 1024 : 0);
	const int warps = (threads + PTX_LANES - 1) / PTX_LANES;
	int n = d->threads_per_sm / (warps * PTX_LANES);

	if (n > d->blocks_per_sm)
		n = d->blocks_per_sm;
	if (own && n > (int)((size_t)d->shared_per_sm / own))
		n = (int)((size_t)d->shared_per_sm / own);
	return n;
}

CU_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int threads, size_t shared)
{
	CUresult r = cu_enter("cuOccupancyMaxActiveBlocksPerMultiprocessor", true);
	const CuFunction *c = r ? NULL : cu_object(function, CU_FUNCTION);

	if (!r)
		r = !c ? CUDA_ERROR_INVALID_HANDLE : threads < 1 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
	if (!r)
		*blocks = threads > max_threads(c->func) || (int)shared > max_dynamic(c) ? 0
											 : resident(c, threads, shared);
	return cu_leave(r);
}

/* -- launches -- */

CUresult cu_run_kernel(const CuNode *n)
{
	const char *order = getenv("PTX_TEST_ORDER");
	CuFunction *c = n->function;
	PtxExec *x;
	CUresult r;

	if (!c->object.alive) {
		cu_finding("a kernel is launched whose module is gone");
		return CUDA_ERROR_INVALID_HANDLE;
	}
	x = calloc(1, sizeof *x);
	if (!x)
		abort();
	x->kernel = c->func;
	memcpy(x->grid, n->grid, sizeof x->grid);
	memcpy(x->threads, n->threads, sizeof x->threads);
	x->dynamic_shared = n->shared;
	x->params = n->params;
	x->counts = c->module->counts;
	x->main = x->counts ? cu_stats_main(c->stats) : NULL;
	x->backwards = order && !strcmp(order, "backwards");
	x->middle = cu_setting("PTX_TEST_SAMPLE", 0);
	x->launch = ++cu_state.launches;
	x->sample = cu_setting("PTX_TEST_BLOCKS", 0);
	x->steps_left = cu_setting("PTX_TEST_STEPS", UINT64_C(1) << 31);
	cu_stats_launch(c->stats);
	ptx_exec_run(x);
	r = (CUresult)x->error;
	if (r) {
		cu_finding("%s", x->finding);
		cu_state.sticky = r;
	}
	ptx_exec_free(x);
	free(x);
	return r;
}

static CUresult check_launch(const CuFunction *c, const CuNode *n)
{
	const PtxFunc *f = c->func;
	const uint64_t threads = (uint64_t)n->threads[0] * n->threads[1] * n->threads[2];

	for (int d = 0; d < 3; d++)
		if (!n->grid[d] || !n->threads[d] || (d && n->grid[d] > 65535) ||
		    (f->req_threads[0] && n->threads[d] != f->req_threads[d]))
			return CUDA_ERROR_INVALID_VALUE;
	if (threads > 1024 || n->threads[2] > 64 || n->grid[0] > INT32_MAX || (int)n->shared > max_dynamic(c))
		return CUDA_ERROR_INVALID_VALUE;
	if ((int)threads > max_threads(f))
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	return 0;
}

/* The block of parameters, from either form. */
static void *gather_params(const PtxFunc *f, void **params, void **extra)
{
	uint8_t *block = calloc(1, f->param_bytes + 1);
	const void *buffer = NULL;
	size_t bytes = 0;

	if (!block)
		abort();
	for (; extra && *extra; extra += 2) { /* pairs up to CU_LAUNCH_PARAM_END */
		if (extra[0] == (void *)1)
			buffer = extra[1];
		else
			bytes = *(const size_t *)extra[1];
	}
	if (buffer) {
		memcpy(block, buffer, bytes < f->param_bytes ? bytes : f->param_bytes);
		return block;
	}
	for (uint32_t k = 0; k < f->nparams; k++) {
		if (!params || !params[k]) {
			free(block);
			return NULL;
		}
		memcpy(block + f->params[k]->address, params[k], f->params[k]->size);
	}
	return block;
}

CU_API CUresult cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
			       unsigned bz, unsigned shared, void *stream, void **params, void **extra)
{
	CUresult r = cu_enter("cuLaunchKernel", true);
	CuFunction *c = r ? NULL : cu_object(function, CU_FUNCTION);
	CuNode n = {
		.kind = CU_NODE_KERNEL, .function = c, .grid = {gx, gy, gz}, .threads = {bx, by, bz}, .shared = shared};

	if (!r)
		r = c ? check_launch(c, &n) : CUDA_ERROR_INVALID_HANDLE;
	if (!r) {
		n.params = gather_params(c->func, params, extra);
		r = n.params ? cu_submit(stream, &n) : CUDA_ERROR_INVALID_VALUE;
		free(n.params);
	}
	return cu_leave(r);
}
