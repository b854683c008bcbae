/* tests/ptx/driver.h -- the tests' CUDA driver: the part of the driver API that the runtime uses, for one device that
 * is the interpreter. Names, types and numbers are those of NVIDIA's "CUDA Driver API" documentation; work is done at
 * once, errors of kernels come from the calls behind, as they do from a driver.
 *
 * Environment: PTX_TEST_SM (75, 80, 86, 89, 90, 100: the device; 80 if unset), PTX_TEST_DRIVER (CUDA version of the driver:
 * 12060), PTX_TEST_MEMORY (bytes of device memory), PTX_TEST_MANAGED (0: host and device may not touch managed memory
 * at a time), PTX_TEST_ORDER (backwards: the blocks of a grid, from the last one on), PTX_TEST_BLOCKS (only so many
 * blocks of a grid run, the last one and others at equal distances; all of them of kernels with atomic operations on
 * global memory), PTX_TEST_SAMPLE (so many blocks of each grid alone, neighbours in its middle: what they do is counted,
 * results are wrong), PTX_TEST_STEPS (instructions of warps until a kernel counts as endless), PTX_TEST_FAIL=function:n[:error]
 * (the n-th call of that function fails), PTX_TEST_VERBOSE (texts that do not load say why on stderr), PTX_TEST_REPORT
 * (a file that gets what was counted and found, as JSON; %p in its name becomes the process's number). */
#ifndef MLOPT_TESTS_PTX_DRIVER_H
#define MLOPT_TESTS_PTX_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/ptx/exec.h"

typedef int CUresult, CUdevice;
typedef uint64_t CUdeviceptr;

#define CU_ERRORS(X)                                                                                                   \
	X(SUCCESS, 0, "no error")                                                                                      \
	X(ERROR_INVALID_VALUE, 1, "invalid argument")                                                                  \
	X(ERROR_OUT_OF_MEMORY, 2, "out of memory")                                                                     \
	X(ERROR_NOT_INITIALIZED, 3, "initialization error")                                                            \
	X(ERROR_NO_DEVICE, 100, "no CUDA-capable device is detected")                                                  \
	X(ERROR_INVALID_DEVICE, 101, "invalid device ordinal")                                                         \
	X(ERROR_INVALID_IMAGE, 200, "device kernel image is invalid")                                                  \
	X(ERROR_INVALID_CONTEXT, 201, "invalid device context")                                                        \
	X(ERROR_NO_BINARY_FOR_GPU, 209, "no kernel image is available for execution on the device")                    \
	X(ERROR_INVALID_PTX, 218, "a PTX JIT compilation failed")                                                      \
	X(ERROR_UNSUPPORTED_PTX_VERSION, 222, "the provided PTX was compiled with an unsupported toolchain.")          \
	X(ERROR_INVALID_HANDLE, 400, "invalid resource handle")                                                        \
	X(ERROR_ILLEGAL_STATE, 401, "the operation cannot be performed in the present state")                          \
	X(ERROR_NOT_FOUND, 500, "named symbol not found")                                                              \
	X(ERROR_NOT_READY, 600, "device not ready")                                                                    \
	X(ERROR_ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")                                      \
	X(ERROR_LAUNCH_OUT_OF_RESOURCES, 701, "too many resources requested for launch")                               \
	X(ERROR_LAUNCH_TIMEOUT, 702, "the launch timed out and was terminated")                                        \
	X(ERROR_ILLEGAL_INSTRUCTION, 715, "an illegal instruction was encountered")                                    \
	X(ERROR_MISALIGNED_ADDRESS, 716, "misaligned address")                                                         \
	X(ERROR_LAUNCH_FAILED, 719, "unspecified launch failure")                                                      \
	X(ERROR_NOT_SUPPORTED, 801, "operation not supported")                                                         \
	X(ERROR_STREAM_CAPTURE_UNSUPPORTED, 900, "operation not permitted when stream is capturing")                   \
	X(ERROR_STREAM_CAPTURE_INVALIDATED, 901, "operation failed due to a previous error during capture")            \
	X(ERROR_STREAM_CAPTURE_UNMATCHED, 903, "capture was not ended in the same stream as it began")                 \
	X(ERROR_STREAM_CAPTURE_UNJOINED, 904, "capturing stream has unjoined work")                                    \
	X(ERROR_STREAM_CAPTURE_IMPLICIT, 906,                                                                          \
	  "operation would make the legacy stream depend on a capturing blocking stream")                              \
	X(ERROR_CAPTURED_EVENT, 907, "operation not permitted on an event last recorded in a capturing stream")        \
	X(ERROR_UNKNOWN, 999, "unknown error")

enum {
#define X(name, value, text) CUDA_##name = value,
	CU_ERRORS(X)
#undef X
};

/* What stands behind handles. None is freed before the process ends, so that handles used too late are recognised. */
typedef enum CuKind { CU_STREAM = 1, CU_EVENT, CU_MODULE, CU_FUNCTION, CU_GRAPH, CU_EXEC, CU_CONTEXT } CuKind;

typedef struct CuObject {
	struct CuObject *next;
	CuKind kind;
	bool alive;
} CuObject;

typedef enum CuNodeKind { CU_NODE_KERNEL, CU_NODE_COPY, CU_NODE_SET } CuNodeKind;
typedef enum CuCopyKind { CU_TO_DEVICE, CU_TO_HOST, CU_IN_DEVICE } CuCopyKind;

typedef struct CuFunction {
	CuObject object;
	struct CuModule *module;
	PtxFunc *func;
	int max_dynamic;  /* as set; -1: what every kernel may have */
	struct CuKernelStats *stats;
} CuFunction;

typedef struct CuNode {
	CuNodeKind kind;
	CuFunction *function;
	uint32_t grid[3], threads[3], shared;
	void *params;
	CuCopyKind copy;
	uint64_t to, from, bytes;
	uint8_t value;
} CuNode;

typedef struct CuGraph {
	CuObject object;
	CuNode *nodes;
	size_t n, room;
	bool broken;
	unsigned streams; /* that take part in its capture */
} CuGraph;

typedef struct CuExec {
	CuObject object;
	CuNode *nodes;
	size_t n;
} CuExec;

typedef struct CuStream {
	CuObject object;
	CuGraph *capture;
	bool origin;
	int mode;
} CuStream;

typedef struct CuEvent {
	CuObject object;
	bool recorded, timing;
	double ms;
	CuGraph *capture;
} CuEvent;

typedef struct CuModule {
	CuObject object;
	PtxModule ptx;
	PtxCount *counts;
} CuModule;

typedef struct CuDeviceFacts {
	int sm, multiprocessors, threads_per_sm, blocks_per_sm, shared_per_sm, shared_optin, l2, clock_khz, memory_khz,
		bus;
	const char *name;
} CuDeviceFacts;

typedef struct CuState {
	const CuDeviceFacts *device;
	int version;
	bool initialised;
	CUresult sticky;      /* a kernel failed: everything fails until the primary context is released */
	CuObject *objects, context;
	unsigned retained;
	unsigned capturing;   /* streams that capture, not relaxed */
	uint64_t launches, graph_launches, findings, double_frees, leaks;
} CuState;

extern CuState cu_state;

/* Every function of the API: `name` may be told to fail. Takes the lock; errors: cu_leave() all the same. */
CUresult cu_enter(const char *name, bool context);
CUresult cu_leave(CUresult r);
void *cu_object_new(CuKind kind, size_t bytes);
/* NULL where the handle is none of that kind or was destroyed. */
void *cu_object(const void *handle, CuKind kind);
uint64_t cu_setting(const char *name, uint64_t otherwise); /* a number of the environment */
void cu_finding(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A stream by its handle; 0, 1 and 2 are the default ones. False: no such stream. *stream may be NULL. */
bool cu_stream(void *handle, CuStream **stream);
/* Does the work now, or adds it to the graph that the stream captures. */
CUresult cu_submit(void *stream, const CuNode *node);
CUresult cu_run(const CuNode *node);
CUresult cu_run_kernel(const CuNode *node);
CUresult cu_run_copy(const CuNode *node);
void cu_node_free(CuNode *node);
void cu_memory_release(void); /* all of the context's, with a finding for what was not freed */

/* report.c */
typedef struct CuKernelStats CuKernelStats;
CuKernelStats *cu_stats(const char *kernel);
void cu_stats_launch(CuKernelStats *s);
PtxCount *cu_stats_main(CuKernelStats *s); /* its PtxExec.main */
void cu_stats_add(const PtxModule *m, const PtxCount *counts); /* what a module's kernels have done */
void cu_report(void);

/* Who opens a driver has types of its own for what handles stand for: calls are right by the ABI alone. */
#if defined(__clang__) && __has_attribute(no_sanitize)
#define CU_API __attribute__((visibility("default"), no_sanitize("function")))
#else
#define CU_API __attribute__((visibility("default")))
#endif

#endif
