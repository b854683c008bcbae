/* tests/ptx/test_faults.c -- kernels that are wrong are found to be, those that only look so are not; modules that no
 * device of their target could run do not load. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/test.h"

typedef struct Fault {
	const char *name;
	CUresult error;
	unsigned blocks;
	long n;           /* second argument */
	unsigned threads; /* 0: THREADS */
} Fault;

enum { WORDS = 256, THREADS = 64, SHARED = 256 };

static const Fault faults[] = {
	{"outside", 0, 1, 0, 0},
	{"outside", CUDA_ERROR_ILLEGAL_ADDRESS, 1, 4 * (WORDS - THREADS + 1), 0},
	{"outside", CUDA_ERROR_ILLEGAL_ADDRESS, 1, -4, 0},
	{"outside", CUDA_ERROR_ILLEGAL_ADDRESS, 1, -(1L << 60), 0},
	{"outside", CUDA_ERROR_MISALIGNED_ADDRESS, 1, -2, 0},
	{"constant", CUDA_ERROR_ILLEGAL_ADDRESS, 1, 0, 0},
	{"shared_outside", 0, 1, SHARED - 4, 32},
	{"shared_outside", CUDA_ERROR_ILLEGAL_ADDRESS, 1, SHARED, 0},
	{"shared_outside", CUDA_ERROR_MISALIGNED_ADDRESS, 1, 2, 0},
	{"shared_unwritten", CUDA_ERROR_LAUNCH_FAILED, 1, 0, 0},
	{"race_read", CUDA_ERROR_LAUNCH_FAILED, 1, 0, 0},
	{"race_write", CUDA_ERROR_LAUNCH_FAILED, 1, 0, 0},
	{"good_exchange", 0, 1, 0, 0},
	{"good_bytes", 0, 1, 0, 0},
	{"divergent", CUDA_ERROR_LAUNCH_FAILED, 1, 0, 0},
	{"different", CUDA_ERROR_LAUNCH_FAILED, 1, 0, 0},
	{"good_exit", 0, 1, 0, 0},
	{"shuffle", CUDA_ERROR_LAUNCH_FAILED, 1, 0, 0},
	{"early", CUDA_ERROR_LAUNCH_FAILED, 1, 0, 0},
	{"no_barrier", CUDA_ERROR_LAUNCH_FAILED, 1, 0, 0},
	{"blocks", 0, 1, 0, 0},
	{"blocks", CUDA_ERROR_LAUNCH_FAILED, 2, 0, 0},
	{"blocks_read", CUDA_ERROR_LAUNCH_FAILED, 2, 0, 0},
	{"readonly", CUDA_ERROR_LAUNCH_FAILED, 1, 0, 0},
	{"good_last", 0, 3, 0, 1},
	{"last_unfenced", CUDA_ERROR_LAUNCH_FAILED, 3, 0, 1},
	{"last_early", CUDA_ERROR_LAUNCH_FAILED, 3, 0, 1},
	{"last_block", CUDA_ERROR_LAUNCH_FAILED, 3, 0, 1},
	{"last_late", CUDA_ERROR_LAUNCH_FAILED, 3, 0, 1},
	{"good_told", 0, 2, 0, 64},
	{"untold", CUDA_ERROR_LAUNCH_FAILED, 2, 0, 64},
	{"endless", CUDA_ERROR_LAUNCH_TIMEOUT, 1, 0, 0},
	{"stop", CUDA_ERROR_ILLEGAL_INSTRUCTION, 1, 0, 0},
};

/* The context is lost with each error: everything is made anew. */
static void test_fault(const char *text, const Fault *f)
{
	void *module = test_load(text);
	TestBuffer x = test_buffer(WORDS * 4);
	const uint64_t args[] = {x.device, (uint64_t)f->n};
	CUresult r;

	if (!module)
		return;
	r = test_run(module, f->name, f->blocks, f->threads ? f->threads : THREADS, SHARED, 2, args);
	CHECK_THAT(r == f->error, "%s(%ld): error %d, not %d", f->name, f->n, r, f->error);
	if (!r) {
		test_free(&x);
		CALL(cuModuleUnload(module));
		return;
	}
	CHECK(cuMemFree_v2(x.device) == f->error);
	free(x.host);
	test_context();
}

/* -- modules that do not load -- */

static const struct {
	const char *target, *body;
	CUresult error;
	const char *says;
} modules[] = {
	{"sm_75", "mov.u32 %r1, 1;", 0, ""},
	{"sm_90", "mov.u32 %r1, 1;", CUDA_ERROR_INVALID_PTX, "newer than the device"},
	{"sm_75", "cp.async.commit_group;", CUDA_ERROR_INVALID_PTX, "requires .target sm_80"},
	{"sm_75", "redux.sync.add.s32 %r1, %r2, 0xffffffff;", CUDA_ERROR_INVALID_PTX, "requires .target sm_80"},
	{"sm_75", "fma.rn.bf16x2 %r1, %r2, %r3, %r1;", CUDA_ERROR_INVALID_PTX, "requires .target sm_80"},
	{"sm_80", "fma.rn.bf16x2 %r1, %r2, %r3, %r1;", 0, ""},
	{"sm_80", "add.rn.bf16x2 %r1, %r2, %r3;", CUDA_ERROR_INVALID_PTX, "requires .target sm_90"},
	{"sm_80", "add.s32 %r1, %r2;", CUDA_ERROR_INVALID_PTX, "operands"},
	{"sm_80", "add.s32 %r1, %r2, %rd1;", CUDA_ERROR_INVALID_PTX, "8 bytes"},
	{"sm_80", "add.f32.rn %r9, %r2, %r3;", CUDA_ERROR_INVALID_PTX, "unknown name"},
	{"sm_80", "add.sat.u32 %r1, %r2, %r3;", CUDA_ERROR_INVALID_PTX, ".sat"},
	{"sm_80", ".shared .b8 much[49153]; ld.shared.u8 %r1, [much];", CUDA_ERROR_INVALID_PTX, "too much shared"},
	{"sm_80", "frobnicate.s32 %r1;", CUDA_ERROR_INVALID_PTX, "unknown instruction"},
	{"sm_80", "bra nowhere;", CUDA_ERROR_INVALID_PTX, "no label"},
	{"sm_80", "mma.sync.aligned.m16n8k8.row.col.f32.s8.s8.f32 %r1, %r1, %r1, %r1;", CUDA_ERROR_INVALID_PTX,
	 "no such shape"},
	{"sm_80", "ld.global.v4.f64 {%rd1, %rd2, %rd3, %rd4}, [%rd5];", CUDA_ERROR_INVALID_PTX, "16 bytes"},
	{"sm_80", "div.f32 %f1, %f2, %f3;", CUDA_ERROR_INVALID_PTX, "rounding"},
	{"sm_80", "cvt.s32.f32 %r1, %f1;", CUDA_ERROR_INVALID_PTX, "whole number"},
};

/* What is refused for another reason than the device is also written down, for an assembler to refuse. */
static void write_module(const char *folder, size_t k, const char *text)
{
	char path[4096];
	FILE *o;

	snprintf(path, sizeof path, "%s/refused_%zu.txt", folder, k);
	o = fopen(path, "w");
	if (!CHECK(o))
		return;
	fputs(text, o);
	fclose(o);
}

static void test_module(const char *folder, size_t k)
{
	enum { ERROR_LOG = 5, ERROR_LOG_SIZE = 6 };
	char text[1024], log[512] = "";
	const int options[] = {ERROR_LOG, ERROR_LOG_SIZE};
	void *values[] = {log, (void *)sizeof log}, *module = NULL;
	CUresult r;

	snprintf(text, sizeof text,
		 ".version 7.8\n.target %s\n.address_size 64\n.visible .entry k()\n{\n.reg .b32 %%r<6>;\n.reg .b64 "
		 "%%rd<6>;\n"
		 ".reg .f32 %%f<6>;\n%s\nret;\n}\n",
		 modules[k].target, modules[k].body);
	r = cuModuleLoadDataEx(&module, text, 2, options, values);
	CHECK_THAT(r == modules[k].error && strstr(log, modules[k].says), "%s: error %d: %s", modules[k].body, r, log);
	if (!r)
		CALL(cuModuleUnload(module));
	else if (strcmp(modules[k].target, "sm_90"))
		write_module(folder, k, text);
}

void test_faults(const char *cases, const char *folder)
{
	char *text = test_read(cases, "faults.ptx");

	setenv("PTX_TEST_STEPS", "1000000", 1);
	for (size_t k = 0; text && k < sizeof faults / sizeof *faults; k++)
		test_fault(text, &faults[k]);
	CHECK(text);
	free(text);
	for (size_t k = 0; k < sizeof modules / sizeof *modules; k++)
		test_module(folder, k);
	unsetenv("PTX_TEST_STEPS");
}
