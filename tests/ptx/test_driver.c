/* tests/ptx/test_driver.c -- the driver around the interpreter: memory, streams, graphs, limits, errors that are asked
 * for, the report. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/test.h"

enum { N = 32, MAX_DYNAMIC = 8 }; /* MAX_DYNAMIC: CUfunction_attribute */

static void device(void)
{
	size_t available = 0, total = 0, all = 0;
	int version = 0, major = 0, minor = 0;
	char name[64] = "";
	const char *text = NULL;

	CALL(cuDriverGetVersion(&version));
	CALL(cuDeviceGetAttribute(&major, 75, 0));
	CALL(cuDeviceGetAttribute(&minor, 76, 0));
	CALL(cuDeviceGetName(name, sizeof name, 0));
	CALL(cuMemGetInfo_v2(&available, &total));
	CALL(cuDeviceTotalMem_v2(&all, 0));
	CHECK(version == 12060 && major == 8 && minor == 0 && *name && available == total && total == all);
	CHECK(cuDeviceGet(&version, 1) == CUDA_ERROR_INVALID_DEVICE);
	CHECK(cuGetErrorName(700, &text) == 0 && !strcmp(text, "CUDA_ERROR_ILLEGAL_ADDRESS"));
	CHECK(cuGetErrorName(12345, &text) == CUDA_ERROR_INVALID_VALUE && !text);
}

static void memory(void)
{
	CUdeviceptr a = 0, b = 0;
	size_t available, total;
	uint64_t base;
	unsigned type;
	void *pinned = NULL;
	int x;

	CALL(cuMemGetInfo_v2(&available, &total));
	CHECK(cuMemAlloc_v2(&a, total + 1) == CUDA_ERROR_OUT_OF_MEMORY);
	CALL(cuMemAlloc_v2(&a, total / 2));
	CALL(cuMemAlloc_v2(&b, total / 2));
	CHECK(cuMemAlloc_v2(&base, 1) == CUDA_ERROR_OUT_OF_MEMORY);
	CALL(cuMemFree_v2(a));
	CHECK(cuMemFree_v2(a) == CUDA_ERROR_INVALID_VALUE);
	CHECK(cuMemFree_v2(b + 16) == CUDA_ERROR_INVALID_VALUE);
	CALL(cuPointerGetAttribute(&base, 11, b + 100));
	CALL(cuPointerGetAttribute(&type, 2, b + 100));
	CHECK(base == b && type == 2);
	CHECK(cuMemcpyDtoH_v2(&x, b + total / 2 - 2, 4) == CUDA_ERROR_INVALID_VALUE);
	CHECK(cuMemcpyDtoH_v2(&x, a, 4) == CUDA_ERROR_INVALID_VALUE);
	CALL(cuMemFree_v2(b));
	CALL(cuMemHostAlloc(&pinned, 1000, 0));
	CALL(cuPointerGetAttribute(&type, 2, (uintptr_t)pinned + 999));
	CHECK(type == 1);
	CHECK(cuPointerGetAttribute(&type, 2, (uintptr_t)&x) == CUDA_ERROR_INVALID_VALUE);
	CALL(cuMemFreeHost(pinned));
	CHECK(cuMemFreeHost(pinned) == CUDA_ERROR_INVALID_VALUE);
}

/* A copy to the device, a kernel, a copy back: recorded on two streams, run twice with other values. */
static void graphs(void *module)
{
	TestBuffer x = test_buffer(N * 4), y = test_buffer(N * 4);
	void *stream, *side, *forked, *joined, *graph, *exec, *function, *params[] = {&x.device, &y.device};
	size_t n = 0;
	CUdeviceptr p;
	int status;

	CALL(cuModuleGetFunction(&function, module, "twice"));
	CALL(cuStreamCreate(&stream, 1));
	CALL(cuStreamCreate(&side, 1));
	CALL(cuEventCreate(&forked, 2));
	CALL(cuEventCreate(&joined, 2));
	CALL(cuStreamBeginCapture_v2(stream, 0));
	CHECK(cuMemAlloc_v2(&p, 4) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	CALL(cuMemcpyHtoDAsync_v2(x.device, x.host, x.bytes, stream));
	CALL(cuEventRecord(forked, stream));
	CALL(cuStreamWaitEvent(side, forked, 0));
	CALL(cuLaunchKernel(function, 1, 1, 1, N, 1, 1, 0, side, params, NULL));
	CALL(cuEventRecord(joined, side));
	CALL(cuStreamWaitEvent(stream, joined, 0));
	CALL(cuMemcpyDtoHAsync_v2(y.host, y.device, y.bytes, stream));
	CALL(cuMemsetD8Async(y.device, 7, 4, stream));
	CALL(cuStreamIsCapturing(stream, &status));
	CHECK(status == 1);
	CALL(cuStreamEndCapture(stream, &graph));
	CALL(cuGraphGetNodes(graph, NULL, &n));
	CHECK(n == 4);
	CALL(cuGraphInstantiateWithFlags(&exec, graph, 0));
	CALL(cuGraphDestroy(graph));
	CHECK(((int *)y.host)[3] == 0);
	for (int run = 1; run < 3; run++) {
		int bad = 0;

		for (int k = 0; k < N; k++)
			((int *)x.host)[k] = run * 100 + k;
		CALL(cuGraphLaunch(exec, stream));
		CALL(cuStreamSynchronize(stream));
		for (int k = 0; k < N; k++)
			bad += ((int *)y.host)[k] != 2 * (run * 100 + k);
		CHECK(!bad);
	}
	test_get(&y);
	CHECK(((int *)y.host)[0] == 0x07070707);
	CALL(cuGraphExecDestroy(exec));
	CHECK(cuGraphLaunch(exec, stream) == CUDA_ERROR_INVALID_HANDLE);
	/* waiting while it records spoils what was recorded */
	CALL(cuStreamBeginCapture_v2(stream, 2));
	CHECK(cuStreamSynchronize(stream) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	CHECK(cuMemsetD8Async(y.device, 7, 4, stream) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
	CHECK(cuStreamEndCapture(stream, &graph) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED && !graph);
	CALL(cuStreamBeginCapture_v2(stream, 0));
	CALL(cuEventRecord(forked, stream));
	CALL(cuStreamWaitEvent(side, forked, 0));
	CHECK(cuStreamEndCapture(stream, &graph) == CUDA_ERROR_STREAM_CAPTURE_UNJOINED && !graph);
	CALL(cuEventDestroy_v2(forked));
	CALL(cuEventDestroy_v2(joined));
	CALL(cuStreamDestroy_v2(side));
	CALL(cuStreamDestroy_v2(stream));
	CHECK(cuStreamSynchronize(stream) == CUDA_ERROR_INVALID_HANDLE);
	test_free(&x);
	test_free(&y);
}

static void limits(void *module)
{
	TestBuffer x = test_buffer(4096);
	const uint64_t args[] = {x.device, 1, 1};
	void *f, *params[] = {(void *)(uintptr_t)&args[0], (void *)(uintptr_t)&args[1], (void *)(uintptr_t)&args[2]};
	int blocks = 0;

	CALL(cuModuleGetFunction(&f, module, "steps"));
	CHECK(cuModuleGetFunction(&f, module, "stairs") == CUDA_ERROR_NOT_FOUND);
	CHECK(cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 49153, NULL, params, NULL) == CUDA_ERROR_INVALID_VALUE);
	CHECK(cuFuncSetAttribute(f, MAX_DYNAMIC, 200000) == CUDA_ERROR_INVALID_VALUE);
	CALL(cuFuncSetAttribute(f, MAX_DYNAMIC, 100000));
	CALL(cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 100000, NULL, params, NULL));
	CHECK(cuLaunchKernel(f, 1, 1, 1, 1025, 1, 1, 0, NULL, params, NULL) == CUDA_ERROR_INVALID_VALUE);
	CHECK(cuLaunchKernel(f, 1, 0, 1, 32, 1, 1, 0, NULL, params, NULL) == CUDA_ERROR_INVALID_VALUE);
	CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 256, 60000));
	CHECK(blocks == 2);
	CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 256, 1000));
	CHECK(blocks == 8);
	CALL(cuCtxSynchronize());
	test_free(&x);
}

static void images(void)
{
	void *module;

	CHECK(cuModuleLoadDataEx(&module, "\177ELF and more", 0, NULL, NULL) == CUDA_ERROR_NO_BINARY_FOR_GPU);
	CHECK(cuModuleLoadDataEx(&module, "no module", 0, NULL, NULL) == CUDA_ERROR_INVALID_IMAGE);
	CHECK(cuModuleLoadDataEx(&module, ".version 9.5\n.target sm_75\n", 0, NULL, NULL) ==
	      CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
	/* newer devices do not have what is of 9.0 alone, nor have older ones */
	CHECK(cuModuleLoadDataEx(&module, ".version 8.0\n.target sm_90a\n", 0, NULL, NULL) == CUDA_ERROR_INVALID_PTX);
	CHECK(cuModuleLoadDataEx(&module, ".version 7.0\n.target sm_75\n.entry k( {", 0, NULL, NULL) ==
	      CUDA_ERROR_INVALID_PTX);
}

static void injection(void)
{
	CUdeviceptr p[3] = {0};

	setenv("PTX_TEST_FAIL", "cuMemAlloc:2", 1);
	CALL(cuMemAlloc_v2(&p[0], 4));
	CHECK(cuMemAlloc_v2(&p[1], 4) == CUDA_ERROR_OUT_OF_MEMORY);
	CALL(cuMemAlloc_v2(&p[2], 4));
	setenv("PTX_TEST_FAIL", "cuCtxSynchronize:1:719", 1);
	CHECK(cuCtxSynchronize() == CUDA_ERROR_LAUNCH_FAILED);
	CALL(cuCtxSynchronize());
	unsetenv("PTX_TEST_FAIL");
	CALL(cuMemFree_v2(p[0]));
	CALL(cuMemFree_v2(p[2]));
}

/* 32 lanes, words 4 apart: 4 banks of 8 words each, 16 sectors for 128 bytes, in a loop of 5. */
static void report(void *module)
{
	TestBuffer x = test_buffer(4096);
	const uint64_t args[] = {x.device, 4, 5};
	char *text;

	CALL(test_run(module, "steps", 1, 32, 4096, 3, args));
	test_free(&x);
	CALL(cuModuleUnload(module));
	test_context(); /* the report is written when a context ends */
	text = test_read(getenv("PTX_TEST_REPORT"), NULL);
	CHECK(test_number(text, "\"name\": \"steps\"", "\"launches\"") == 1);
	CHECK(test_number(text, "\"name\": \"steps\"", "\"load_global\"") == 5);
	CHECK(test_number(text, "\"name\": \"steps\"", "\"sectors\"") == 5 * 16);
	CHECK(test_number(text, "\"name\": \"steps\"", "\"ideal_sectors\"") == 5 * 4);
	CHECK(test_number(text, "\"name\": \"steps\"", "\"conflicts\"") == 5 * 3);
	CHECK(test_number(text, "\"line\": 28", "\"int\"") == 5);
	CHECK(test_number(text, "{", "\"leaks\"") == 0);
	free(text);
}

void test_driver(const char *cases)
{
	char *text = test_read(cases, "count.ptx");
	void *module;

	device();
	memory();
	images();
	injection();
	module = test_load(text);
	if (module) {
		report(module);
		module = test_load(text);
		graphs(module);
		limits(module);
		CALL(cuModuleUnload(module));
	}
	free(text);
}
