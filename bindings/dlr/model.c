/* bindings/dlr/model.c -- the interface of DLR: models, settings, the last error. */
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/dlr/internal.h"
#include "bindings/dlr/paths.h"

static const DlrType types[] = {
#define DTYPE(elem, name, bits, code) {elem, name, bits, code},
#include "bindings/dlr/dtypes.def"
};

static _Thread_local char last_error[1024];

int dlr_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(last_error, sizeof last_error, fmt, ap);
	va_end(ap);
	return -1;
}

const char *DLRGetLastError(void)
{
	return last_error;
}

DlrModel *dlr_model(DLRModelHandle *handle)
{
	if (handle && *handle)
		return *handle;
	dlr_fail("the model handle is NULL: create a model first");
	return NULL;
}

/* -- memory ------------------------------------------------------------------------------------------ */

static pthread_mutex_t custom_lock = PTHREAD_MUTEX_INITIALIZER;
static DlrMemory custom;

int SetDLRCustomAllocatorMalloc(DLRMallocFunctionPtr custom_malloc_fn)
{
	pthread_mutex_lock(&custom_lock);
	custom.malloc = custom_malloc_fn;
	pthread_mutex_unlock(&custom_lock);
	return 0;
}

int SetDLRCustomAllocatorFree(DLRFreeFunctionPtr custom_free_fn)
{
	pthread_mutex_lock(&custom_lock);
	custom.free = custom_free_fn;
	pthread_mutex_unlock(&custom_lock);
	return 0;
}

int SetDLRCustomAllocatorMemalign(DLRMemalignFunctionPtr custom_memalign_fn)
{
	pthread_mutex_lock(&custom_lock);
	custom.memalign = custom_memalign_fn;
	pthread_mutex_unlock(&custom_lock);
	return 0;
}

static int current_memory(DlrMemory *m)
{
	pthread_mutex_lock(&custom_lock);
	*m = custom;
	pthread_mutex_unlock(&custom_lock);
	if ((m->malloc || m->memalign) && !m->free)
		return dlr_fail("a custom %s is set without a custom free", m->malloc ? "malloc" : "memalign");
	return 0;
}

void *dlr_alloc(const DlrMemory *m, size_t n, size_t size)
{
	size_t bytes;
	void *p = NULL;

	if (!__builtin_mul_overflow(n, size, &bytes))
		p = m->malloc ? m->malloc(bytes + !bytes) : malloc(bytes + !bytes);
	if (p)
		return memset(p, 0, bytes);
	dlr_fail("out of memory");
	return NULL;
}

void dlr_free(const DlrMemory *m, void *p)
{
	if (p && m->malloc)
		m->free(p);
	else
		free(p);
}

static void *session_alloc(void *user, size_t bytes)
{
	const DlrMemory *m = user;

	return m->memalign(64, (bytes + 63) / 64 * 64);
}

static void session_release(void *user, void *p, size_t bytes)
{
	const DlrMemory *m = user;

	(void)bytes;
	m->free(p);
}

/* -- models ------------------------------------------------------------------------------------------ */

static const DlrType *find_type(const MlrtTensorInfo *info)
{
	for (size_t i = 0; !strcmp(info->kind, "tensor") && i < sizeof types / sizeof *types; i++)
		if (strcmp(types[i].elem, info->elem) == 0)
			return &types[i];
	return NULL;
}

static int make_session(DlrModel *m)
{
	const MlrtAllocator from = {m, session_alloc, session_release};
	const MlrtSessionOptions opt = {.threads = m->threads, .allocator = m->memory.memalign ? &from : NULL};
	MlrtError err = {0};

	return mlrt_session_new(m->model, &opt, &m->session, &err) ? dlr_fail("%s", err.text) : 0;
}

static int fill_port(DlrPort *p, bool input, size_t i)
{
	p->type = find_type(&p->info);
	if (p->type)
		return 0;
	return dlr_fail("%s %zu '%s' is a %s of %s: this interface passes tensors of numbers only",
			input ? "input" : "output", i, p->info.name, p->info.kind, p->info.elem);
}

static int fill_ports(DlrModel *m)
{
	m->nin = mlrt_model_inputs(m->model);
	m->nout = mlrt_model_outputs(m->model);
	m->in = dlr_alloc(&m->memory, m->nin, sizeof *m->in);
	m->out = dlr_alloc(&m->memory, m->nout, sizeof *m->out);
	m->call_in = dlr_alloc(&m->memory, m->nin, sizeof *m->call_in);
	m->call_out = dlr_alloc(&m->memory, m->nout, sizeof *m->call_out);
	if (!m->in || !m->out || !m->call_in || !m->call_out)
		return -1;
	for (size_t i = 0; i < m->nin; i++) {
		mlrt_model_input(m->model, i, &m->in[i].info);
		m->in[i].state = mlrt_model_state(m->model, i) >= 0;
		if (fill_port(&m->in[i], true, i))
			return -1;
	}
	for (size_t i = 0; i < m->nout; i++) {
		mlrt_model_output(m->model, i, &m->out[i].info);
		if (fill_port(&m->out[i], false, i))
			return -1;
	}
	return 0;
}

static void free_model(DlrModel *m)
{
	const DlrMemory memory = m->memory;

	for (size_t i = 0; m->in && i < m->nin; i++)
		dlr_free(&memory, m->in[i].value.data);
	mlrt_session_free(m->session);
	mlrt_model_close(m->model);
	dlr_free(&memory, m->in);
	dlr_free(&memory, m->out);
	dlr_free(&memory, m->call_in);
	dlr_free(&memory, m->call_out);
	dlr_free(&memory, m->bytes);
	dlr_free(&memory, m);
}

static int check_device(int dev_type, int dev_id)
{
	if (dev_type != DLR_CPU)
		return dlr_fail("device type %d: models run on the CPU only, which is device type %d", dev_type,
				DLR_CPU);
	if (dev_id < 0)
		return dlr_fail("device id %d: must not be negative", dev_id);
	return 0;
}

/* From a file, or (path NULL) from n bytes. */
static int create(DLRModelHandle *handle, const char *path, const void *bytes, size_t n)
{
	MlrtError err = {0};
	DlrMemory memory;
	MlrtStatus st;
	DlrModel *m;

	if (current_memory(&memory) || !(m = dlr_alloc(&memory, 1, sizeof *m)))
		return -1;
	m->memory = memory;
	if (!path) {
		m->bytes = dlr_alloc(&memory, n, 1);
		if (!m->bytes)
			return free_model(m), -1;
		memcpy(m->bytes, bytes, n);
	}
	st = path ? mlrt_model_open(path, NULL, &m->model, &err)
		  : mlrt_model_open_memory(m->bytes, n, NULL, &m->model, &err);
	if (st ? dlr_fail("%s", err.text) : fill_ports(m) || make_session(m))
		return free_model(m), -1;
	*handle = m;
	return 0;
}

int CreateDLRModel(DLRModelHandle *handle, const char *model_path, int dev_type, int dev_id)
{
	char path[PATH_MAX];

	if (!handle)
		return dlr_fail("CreateDLRModel: there is no handle to fill");
	*handle = NULL;
	if (check_device(dev_type, dev_id) || dlr_find_package(model_path, path, sizeof path))
		return -1;
	return create(handle, path, NULL, 0);
}

int CreateDLRModelFromModelElem(DLRModelHandle *handle, const DLRModelElem *model_elems, size_t model_elems_size,
				int dev_type, int dev_id)
{
	const DLRModelElem *package = NULL;

	if (!handle || !model_elems)
		return dlr_fail("CreateDLRModelFromModelElem: the %s is NULL", handle ? "list of elements" : "handle");
	*handle = NULL;
	if (check_device(dev_type, dev_id))
		return -1;
	for (size_t i = 0; i < model_elems_size; i++) {
		const DLRModelElem *e = &model_elems[i];

		if (e->type == NEO_METADATA)
			continue;
		if (e->type != TVM_LIB)
			return dlr_fail("model element %zu has type %d: a package is one element of type TVM_LIB (%d)",
					i, (int)e->type, (int)TVM_LIB);
		if (package)
			return dlr_fail("model element %zu is another of type TVM_LIB: a package is one", i);
		package = e;
	}
	if (!package || (!package->path && !package->data))
		return dlr_fail("no model element of type TVM_LIB with a path or data: a package is one");
	return create(handle, package->path, package->data, package->data_size);
}

int CreateDLRPipeline(DLRModelHandle *handle, int num_models, const char **model_paths, int dev_type, int dev_id)
{
	if (!handle || !model_paths)
		return dlr_fail("CreateDLRPipeline: the %s is NULL", handle ? "list of paths" : "handle");
	*handle = NULL;
	if (num_models != 1)
		return dlr_fail(
			"a pipeline of %d models: only one model at a time is supported; join them as one ONNX model",
			num_models);
	return CreateDLRModel(handle, model_paths[0], dev_type, dev_id);
}

int DeleteDLRModel(DLRModelHandle *handle)
{
	DlrModel *m = dlr_model(handle);

	if (!m)
		return -1;
	free_model(m);
	*handle = NULL;
	return 0;
}

/* -- facts and settings ------------------------------------------------------------------------------ */

int GetDLRDeviceType(const char *model_path)
{
	char path[PATH_MAX];

	return dlr_find_package(model_path, path, sizeof path) ? -1 : DLR_CPU;
}

#define TEXT(x)    TEXT_OF(x)
#define TEXT_OF(x) #x

int GetDLRVersion(const char **out)
{
	if (!out)
		return dlr_fail("GetDLRVersion: the result pointer is NULL");
	*out = TEXT(DLR_MAJOR) "." TEXT(DLR_MINOR) "." TEXT(DLR_PATCH);
	return 0;
}

/* Is there a model, and a place for what is asked of it? */
static bool asked(DLRModelHandle *handle, const void *result, const char *function)
{
	if (!dlr_model(handle))
		return false;
	if (!result)
		dlr_fail("%s: the result pointer is NULL", function);
	return result != NULL;
}

int GetDLRBackend(DLRModelHandle *handle, const char **name)
{
	if (!asked(handle, name, __func__))
		return -1;
	*name = "mlopt";
	return 0;
}

int GetDLRHasMetadata(DLRModelHandle *handle, bool *has_metadata)
{
	if (!asked(handle, has_metadata, __func__))
		return -1;
	*has_metadata = true;
	return 0;
}

int GetDLRNumWeights(DLRModelHandle *handle, int *num_weights)
{
	if (!asked(handle, num_weights, __func__))
		return -1;
	*num_weights = 0;
	return 0;
}

int GetDLRWeightName(DLRModelHandle *handle, int index, const char **weight_name)
{
	(void)weight_name;
	if (!dlr_model(handle))
		return -1;
	return dlr_fail("weight %d: weights of a compiled package have no names", index);
}

static bool has_states(const DlrModel *m)
{
	for (size_t i = 0; i < m->nin; i++)
		if (m->in[i].state)
			return true;
	return false;
}

int SetDLRNumThreads(DLRModelHandle *handle, int threads)
{
	DlrModel *m = dlr_model(handle);
	MlrtSession *before;
	int old;

	if (!m)
		return -1;
	if (threads < 1)
		return dlr_fail("SetDLRNumThreads: %d threads; there must be at least 1", threads);
	if (m->begun && has_states(m))
		return dlr_fail(
			"SetDLRNumThreads: the model has states, which a change after the first run would lose");
	before = m->session;
	old = m->threads;
	m->threads = threads;
	if (make_session(m)) {
		m->session = before;
		m->threads = old;
		return -1;
	}
	mlrt_session_free(before);
	m->ran = m->begun = false;
	return 0;
}

int UseDLRCPUAffinity(DLRModelHandle *handle, int use)
{
	if (!dlr_model(handle))
		return -1;
	if (use)
		return dlr_fail("UseDLRCPUAffinity: threads are not bound to cores; bind the process instead (taskset, "
				"cgroups)");
	return 0;
}
