/* runtime/cuda.h -- the CUDA driver API as far as the runtime uses it, and what its files share.
 *
 * Declared here, not taken from cuda.h, and found at run time in libcuda.so.1: nothing of CUDA is needed to build.  Names, values and
 * meanings: CUDA Driver API Reference; functions with a suffix _v2 are those that cuda.h gives the plain name. */
#ifndef MLRT_CUDA_H
#define MLRT_CUDA_H
#include "runtime/device.h"
#include "runtime/session.h"

typedef int CuResult;
typedef int CuDevice;
typedef uint64_t CuPointer;
typedef struct CuContext_ *CuContext;
typedef struct CuModule_ *CuModule;
typedef struct CuFunction_ *CuFunction;
typedef struct CuStream_ *CuStream;
typedef struct CuEvent_ *CuEvent;
typedef struct CuGraph_ *CuGraph;
typedef struct CuGraphExec_ *CuGraphExec;

enum {
	CU_OK = 0, CU_OUT_OF_MEMORY = 2, CU_NO_DEVICE = 100, CU_INVALID_IMAGE = 200, CU_NO_BINARY = 209, CU_INVALID_PTX = 218, CU_NO_JIT = 221,
	CU_UNSUPPORTED_PTX = 222, CU_NOT_READY = 600
};
enum { /* CUdevice_attribute */
	CU_CAPABILITY_MAJOR = 75, CU_CAPABILITY_MINOR = 76, CU_CONCURRENT_MANAGED = 89, CU_SHARED_OPTIN = 97
};
enum { CU_FUNCTION_DYNAMIC_SHARED = 8 };    /* CUfunction_attribute */
enum { CU_POINTER_MEMORY_TYPE = 2, CU_POINTER_DEVICE = 9 }; /* CUpointer_attribute */
enum { CU_MEMORY_HOST = 1, CU_MEMORY_DEVICE = 2 }; /* CUmemorytype */
enum { CU_JIT_ERROR_LOG = 5, CU_JIT_ERROR_LOG_BYTES = 6 }; /* CUjit_option */
enum { CU_STREAM_NON_BLOCKING = 1, CU_CAPTURE_THREAD_LOCAL = 1, CU_EVENT_DEFAULT = 0, CU_ATTACH_GLOBAL = 1 };

/* F(member, symbol, parameters): needed; O(...): may be absent, then NULL */
#define CUDA_FUNCTIONS(F, O)                                                                                                      \
	F(init, "cuInit", (unsigned flags))                                                                                      \
	F(driver_version, "cuDriverGetVersion", (int *version))                                                                  \
	F(error_name, "cuGetErrorName", (CuResult error, const char **name))                                                     \
	F(error_string, "cuGetErrorString", (CuResult error, const char **text))                                                 \
	F(device_count, "cuDeviceGetCount", (int *n))                                                                            \
	F(device_get, "cuDeviceGet", (CuDevice *device, int ordinal))                                                            \
	F(device_name, "cuDeviceGetName", (char *name, int n, CuDevice device))                                                  \
	F(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, CuDevice device))                                \
	F(context_retain, "cuDevicePrimaryCtxRetain", (CuContext *context, CuDevice device))                                     \
	F(context_release, "cuDevicePrimaryCtxRelease_v2", (CuDevice device))                                                    \
	F(context_push, "cuCtxPushCurrent_v2", (CuContext context))                                                              \
	F(context_pop, "cuCtxPopCurrent_v2", (CuContext *context))                                                               \
	F(module_load, "cuModuleLoadDataEx", (CuModule *module, const void *image, unsigned n, int *option, void **value))       \
	F(module_unload, "cuModuleUnload", (CuModule module))                                                                    \
	F(module_function, "cuModuleGetFunction", (CuFunction *function, CuModule module, const char *name))                     \
	F(function_set, "cuFuncSetAttribute", (CuFunction function, int attribute, int value))                                   \
	F(memory_alloc, "cuMemAlloc_v2", (CuPointer *pointer, size_t bytes))                                                     \
	F(memory_free, "cuMemFree_v2", (CuPointer pointer))                                                                      \
	F(memory_info, "cuMemGetInfo_v2", (size_t *free, size_t *total))                                                         \
	F(host_alloc, "cuMemHostAlloc", (void **pointer, size_t bytes, unsigned flags))                                          \
	F(host_free, "cuMemFreeHost", (void *pointer))                                                                           \
	O(managed_alloc, "cuMemAllocManaged", (CuPointer *pointer, size_t bytes, unsigned flags))                                \
	F(to_device, "cuMemcpyHtoD_v2", (CuPointer to, const void *from, size_t bytes))                                          \
	F(to_host, "cuMemcpyDtoH_v2", (void *to, CuPointer from, size_t bytes))                                                  \
	F(to_device_async, "cuMemcpyHtoDAsync_v2", (CuPointer to, const void *from, size_t bytes, CuStream stream))              \
	F(to_host_async, "cuMemcpyDtoHAsync_v2", (void *to, CuPointer from, size_t bytes, CuStream stream))                      \
	F(on_device_async, "cuMemcpyDtoDAsync_v2", (CuPointer to, CuPointer from, size_t bytes, CuStream stream))                \
	F(set_async, "cuMemsetD8Async", (CuPointer to, unsigned char value, size_t bytes, CuStream stream))                       \
	F(pointer_attribute, "cuPointerGetAttribute", (void *value, int attribute, CuPointer pointer))                           \
	F(stream_create, "cuStreamCreate", (CuStream *stream, unsigned flags))                                                   \
	F(stream_destroy, "cuStreamDestroy_v2", (CuStream stream))                                                               \
	F(stream_wait, "cuStreamSynchronize", (CuStream stream))                                                                 \
	F(capture_begin, "cuStreamBeginCapture_v2", (CuStream stream, int mode))                                                 \
	F(capture_end, "cuStreamEndCapture", (CuStream stream, CuGraph *graph))                                                  \
	F(graph_instantiate, "cuGraphInstantiateWithFlags", (CuGraphExec *exec, CuGraph graph, unsigned long long flags))        \
	F(graph_launch, "cuGraphLaunch", (CuGraphExec exec, CuStream stream))                                                    \
	F(graph_exec_destroy, "cuGraphExecDestroy", (CuGraphExec exec))                                                          \
	F(graph_destroy, "cuGraphDestroy", (CuGraph graph))                                                                      \
	F(event_create, "cuEventCreate", (CuEvent *event, unsigned flags))                                                       \
	F(event_record, "cuEventRecord", (CuEvent event, CuStream stream))                                                       \
	F(event_wait, "cuEventSynchronize", (CuEvent event))                                                                     \
	F(event_elapsed, "cuEventElapsedTime", (float *ms, CuEvent from, CuEvent to))                                            \
	F(event_destroy, "cuEventDestroy_v2", (CuEvent event))                                                                   \
	F(launch, "cuLaunchKernel",                                                                                              \
	  (CuFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,           \
	   unsigned block_z, unsigned shared_bytes, CuStream stream, void **parameter, void **extra))

typedef struct Cuda {
#define CUDA_MEMBER(member, symbol, parameters) CuResult(*member) parameters;
	CUDA_FUNCTIONS(CUDA_MEMBER, CUDA_MEMBER)
#undef CUDA_MEMBER
	int version; /* 12020 is CUDA 12.2 */
	int ndevices;
} Cuda;

/* cuda_driver.c: opened once; NULL: why says what is missing, *st is MLRT_ERR_NO_DRIVER, _DRIVER or _NO_DEVICE. */
MLRT_LOCAL const Cuda *mlrt_cuda(MlrtStatus *st, char *why, size_t n);
MLRT_LOCAL const char *mlrt_cuda_error(const Cuda *cu, CuResult r, char *text, size_t n); /* "CUDA_ERROR_...: what it means" */
MLRT_LOCAL int mlrt_cuda_capability(const Cuda *cu, int device); /* 75, 80, ...; 0: no such device */
/* Of what code needs, n strings one behind the other, the first that a device of capability `have` lacks, or NULL: "sm_80" is that capability or
 * a later one, "sm_90a" that very one, "ptx_84" a driver that takes PTX 8.4.  *answer: -1: it is no such name. */
MLRT_LOCAL const char *mlrt_cuda_lacks(const Cuda *cu, const char *needs, size_t n, int have, int *answer);

/* What a model has on one device, for all sessions there. */
typedef struct DeviceModel {
	struct DeviceModel *next;
	const Cuda *cu;
	int ordinal;
	CuDevice device;
	CuContext context;
	CuModule module;
	CuFunction *function;    /* one per launch */
	MlrtLaunch *launch;
	uint32_t nlaunches;
	unsigned char *weights;  /* the device's; of a list, memory that the host sees, too */
	size_t weight_bytes;
	bool shares;             /* host and device may use managed memory at a time (CU_CONCURRENT_MANAGED) */
	char name[64];
} DeviceModel;

/* An input or output as the graph has it. */
typedef enum EndHow { END_STAGED, END_PINNED, END_DEVICE, END_COPIED /* on the device, but not aligned */ } EndHow;
typedef struct End {
	EndHow how;
	const void *given;       /* PINNED, DEVICE, COPIED: where */
} End;

typedef struct DeviceSession {
	DeviceModel *model;
	const MlrtModel *of;
	CuStream stream, own;    /* where runs go; the session's own, where graphs are captured */
	CuEvent done, start;     /* behind the last run; profiling */
	bool pending;            /* something may still run */
	MlrtStatus failed;       /* a launch of a list failed: told by wait() */
	MlrtError error;
	uint64_t scratch_bytes;
	CuPointer memory;        /* arena, counters, scratch, inputs, outputs */
	size_t memory_bytes;
	unsigned char *pinned;   /* inputs and outputs again, page-locked */
	size_t pinned_bytes;
	CuPointer scratch;
	size_t nin, nout;
	size_t *at;              /* per input, then output: offset in `pinned`, and from `ends` in memory */
	CuPointer ends;
	End *end, *captured;     /* likewise; of the graph */
	CuGraphExec graph;
	void **parameter;        /* room for those of one launch */
	MlrtAllocator allocator; /* of memory that host and device see */
	size_t bytes;
} DeviceSession;

/* cuda_model.c */
MLRT_LOCAL MlrtStatus mlrt_cuda_model(MlrtModel *m, int ordinal, DeviceModel **out, MlrtError *err); /* makes it, if it is not there */
MLRT_LOCAL void mlrt_cuda_model_free(MlrtModel *m);
MLRT_LOCAL CuResult mlrt_cuda_upload(const DeviceModel *d, CuPointer to, const void *from, size_t bytes);
/* Failures of driver calls: what was being done. */
MLRT_LOCAL MlrtStatus mlrt_cuda_fail(const DeviceModel *d, CuResult r, MlrtError *err, const char *doing);
MLRT_LOCAL MlrtStatus mlrt_cuda_no_memory(const DeviceModel *d, size_t bytes, const char *what, MlrtError *err);
/* Makes the context current, and what was before again. */
MLRT_LOCAL MlrtStatus mlrt_cuda_enter(const DeviceModel *d, MlrtError *err);
MLRT_LOCAL void mlrt_cuda_leave(const DeviceModel *d);
/* Memory that host and device see at one address. */
MLRT_LOCAL void *mlrt_cuda_shared_alloc(const DeviceModel *d, size_t bytes);
MLRT_LOCAL void mlrt_cuda_shared_free(const DeviceModel *d, void *p, size_t bytes);

/* cuda_session.c */
MLRT_LOCAL CuResult mlrt_cuda_launch(const DeviceSession *on, uint64_t code, void *const *args, uint32_t nargs, int64_t tasks, CuStream stream);
MLRT_LOCAL EndHow mlrt_cuda_where(const DeviceModel *d, const void *p);
MLRT_LOCAL MlrtStatus mlrt_cuda_wait(MlrtSession *s, MlrtError *err);

/* cuda_flat.c */
MLRT_LOCAL MlrtStatus mlrt_cuda_run(MlrtSession *s, const void *const *inputs, void *const *outputs, MlrtError *err);
#endif
