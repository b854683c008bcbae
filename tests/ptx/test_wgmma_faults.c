/* tests/ptx/test_wgmma_faults.c -- what is wrong with products of warpgroups is found: by a kernel that is
 * right, and others that differ from it in a place. Kernels are put together here, and written into a file
 * for an assembler. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/test.h"

enum { THREADS = 128 };

/* 4 KiB of shared memory, written by all threads; A is in the first 2, row by row of core matrices, B behind
 * it. */
#define FILL      "\t@!%late st.shared.v4.b32 [%own], {%zero, %zero, %zero, %zero};\n" FILL_B
#define FILL_B    "\t@!%late st.shared.v4.b32 [%own+2048], {%zero, %zero, %zero, %zero};\n"
#define FILL_LATE "\t@%late st.shared.v4.b32 [%own], {%zero, %zero, %zero, %zero};\n"
#define COPY                                                                                                 \
	"\tcp.async.cg.shared.global [%own], [%from], 16;\n\tcp.async.cg.shared.global [%own+2048], "        \
	"[%from], 16;\n"                                                                                     \
	"\tcp.async.commit_group;\n"
#define LANDED "\tcp.async.wait_group 0;\n"
#define PROXY  "\tfence.proxy.async;\n"
#define BAR    "\tbar.sync 0;\n"
#define FENCE  "\twgmma.fence.sync.aligned;\n"
#define MMA                                                                                                  \
	"\twgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d0, %d1, %d2, %d3}, %da, %db, 1, 1, 1, 0, "   \
	"0;\n"
#define MMA_OTHER                                                                                            \
	"\twgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d4, %d5, %d6, %d7}, %da, %db, 0, 1, 1, 0, "   \
	"0;\n"
#define MMA_WIDE                                                                                             \
	"\twgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%d0, %d1, %d2, %d3, %d4, %d5, %d6, %d7}, "    \
	"%da, %db, 1, 1, 1, 0, 0;\n"
#define MMA_REGS                                                                                             \
	"\twgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d0, %d1, %d2, %d3}, {%a0, %a1, %a2, %a3}, "   \
	"%db, 1, 1, 1, 0;\n"
#define MMA_SUMS                                                                                             \
	"\twgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d4, %d5, %d6, %d7}, {%e0, %e1, %e2, %e3}, "   \
	"%db, 0, 1, 1, 0;\n"
#define MMA_HALF                                                                                             \
	"\twgmma.mma_async.sync.aligned.m64n16k16.f16.f16.f16 {%e0, %e1, %e2, %e3}, %da, %db, 0, 1, 1, 0, "  \
	"0;\n"
#define COMMIT  "\twgmma.commit_group.sync.aligned;\n"
#define WAIT(n) "\twgmma.wait_group.sync.aligned " #n ";\n"
#define MBARRIER(n)                                                                                          \
	"\t@%begins mbarrier.init.shared.b64 [full], " #n ";\n\tfence.mbarrier_init.release.cluster;\n" BAR
#define ARRIVE     "\tcp.async.mbarrier.arrive.noinc.shared.b64 [full];\n"
#define WHEN_THERE "again:\n\tmbarrier.try_wait.parity.shared.b64 %p, [full], 0;\n\t@!%p bra again;\n"
#define BULK                                                                                                 \
	"\tmbarrier.arrive.expect_tx.shared.b64 _, [full], 4096;\n"                                          \
	"\tcp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [memory], [%from], 4096, "      \
	"[full];\n"
#define USE     "\tadd.f32 %d0, %d0, %d0;\n"
#define SET_A   "\tmov.b32 %a2, 0;\n"
#define READY   FILL PROXY BAR
#define PRODUCT FENCE MMA COMMIT

enum { FAILED = CUDA_ERROR_LAUNCH_FAILED };

static const TestKernel faults[] = {
	{"good", 0, 128, READY PRODUCT WAIT(0) USE BAR FILL},
	{"good_two_groups", 0, 256, READY PRODUCT FENCE MMA COMMIT WAIT(1) WAIT(0) USE BAR FILL},
	{"good_chain", 0, 128,
	 READY FENCE MMA MMA COMMIT MMA COMMIT WAIT(0) USE FENCE MMA COMMIT WAIT(0) USE},
	{"good_other", 0, 128,
	 READY FENCE MMA COMMIT MMA_OTHER COMMIT WAIT(1) USE WAIT(0) "\tadd.f32 %d4, %d4, %d0;\n"},
	{"good_registers", 0, 128,
	 READY SET_A FENCE MMA_REGS COMMIT WAIT(0) SET_A FENCE MMA_REGS COMMIT WAIT(0) USE},
	{"good_copy", 0, 128, COPY LANDED PROXY BAR PRODUCT WAIT(0) USE},
	{"good_one_warpgroup", 0, 160, READY "\t@%late bra out;\n" PRODUCT WAIT(0) USE "out:\n"},
	{"good_wider", 0, 128, READY FENCE MMA COMMIT WAIT(0) FENCE MMA_WIDE COMMIT WAIT(0) USE},
	{"good_half_as_a", 0, 128, READY FENCE MMA_HALF COMMIT WAIT(0) FENCE MMA_SUMS COMMIT WAIT(0)},
	{"good_registers_moved", 0, 128,
	 READY "\tsetmaxnreg.dec.sync.aligned.u32 40;\n" PRODUCT
	       "\tsetmaxnreg.inc.sync.aligned.u32 232;\n" WAIT(0) USE},
	{"good_copies_arrive", 0, 128, MBARRIER(128) COPY ARRIVE WHEN_THERE PROXY PRODUCT WAIT(0) USE},
	{"good_bulk", 0, 128,
	 MBARRIER(1) "\t@!%begins bra there;\n" BULK "there:\n" WHEN_THERE PRODUCT WAIT(0) USE},
	{"copies_no_proxy", FAILED, 128, MBARRIER(128) COPY ARRIVE WHEN_THERE PRODUCT WAIT(0) USE},
	{"copies_proxy_early", FAILED, 128, MBARRIER(128) COPY ARRIVE PROXY WHEN_THERE PRODUCT WAIT(0) USE},
	{"bulk_not_waited", FAILED, 128,
	 MBARRIER(1) "\t@!%begins bra there;\n" BULK "there:\n" PRODUCT WAIT(0) USE},
	{"bulk_overwrites", FAILED, 128,
	 MBARRIER(1) "\t@!%begins bra there;\n" BULK "there:\n" WHEN_THERE PRODUCT BAR
		     "\t@!%begins bra behind;\n" BULK "behind:\n" WAIT(0) USE},
	/* registers */
	{"not_waited", FAILED, 128, READY PRODUCT USE WAIT(0)},
	{"waited_for_older", FAILED, 128, READY PRODUCT MMA COMMIT WAIT(1) USE WAIT(0)},
	{"not_committed", FAILED, 128, READY FENCE MMA WAIT(0) USE},
	{"written_under_way", FAILED, 128, READY PRODUCT "\tmov.f32 %d3, 0f00000000;\n" WAIT(0)},
	{"stored_under_way", FAILED, 128, READY PRODUCT "\tst.global.f32 [%from], %d1;\n" WAIT(0)},
	{"a_under_way", FAILED, 128, READY FENCE MMA_REGS COMMIT SET_A WAIT(0)},
	{"sums_as_a_under_way", FAILED, 128, READY FENCE MMA_HALF COMMIT FENCE MMA_SUMS COMMIT WAIT(0)},
	{"no_fence", FAILED, 128, READY MMA COMMIT WAIT(0)},
	{"no_fence_again", FAILED, 128, READY PRODUCT WAIT(0) USE MMA COMMIT WAIT(0)},
	{"no_fence_a", FAILED, 128, READY FENCE SET_A MMA_REGS COMMIT WAIT(0)},
	{"no_fence_half_as_a", FAILED, 128, READY FENCE MMA_HALF COMMIT WAIT(0) MMA_SUMS COMMIT WAIT(0)},
	{"no_fence_wider", FAILED, 128, READY FENCE MMA MMA_WIDE COMMIT WAIT(0)},
	/* shared memory */
	{"no_proxy", FAILED, 128, FILL BAR PRODUCT WAIT(0)},
	{"no_proxy_again", FAILED, 128, READY PRODUCT WAIT(0) BAR FILL BAR PRODUCT WAIT(0)},
	{"proxy_of_global", FAILED, 128, FILL "\tfence.proxy.async.global;\n" BAR PRODUCT WAIT(0)},
	{"proxy_of_some", FAILED, 128, FILL "\t@%some fence.proxy.async;\n" BAR PRODUCT WAIT(0)},
	{"proxy_before_write", FAILED, 128, PROXY FILL BAR PRODUCT WAIT(0)},
	{"proxy_behind_barrier", FAILED, 128, FILL BAR PROXY PRODUCT WAIT(0)},
	{"proxy_before_copy", FAILED, 128, COPY PROXY LANDED BAR PRODUCT WAIT(0)},
	{"no_barrier", FAILED, 128, FILL PROXY PRODUCT WAIT(0)},
	{"copy_under_way", FAILED, 128, COPY PROXY BAR PRODUCT WAIT(0)},
	{"overwritten", FAILED, 128, READY PRODUCT BAR FILL WAIT(0)},
	{"overwritten_by_copy", FAILED, 128, READY PRODUCT BAR COPY WAIT(0) LANDED},
	{"overwritten_no_barrier", FAILED, 128, READY PRODUCT WAIT(0) FILL},
	{"overwritten_by_others", FAILED, 256,
	 READY "\t@%late bra other;\n" PRODUCT WAIT(0) "other:\n" FILL_LATE},
	{"overwritten_later", FAILED, 128, READY PRODUCT PRODUCT WAIT(1) BAR FILL WAIT(0)},
	{"unwritten", FAILED, 128, PROXY BAR PRODUCT WAIT(0)},
	/* the warpgroup */
	{"no_warpgroup", FAILED, 96, READY PRODUCT WAIT(0)},
	{"fifth_warp", FAILED, 160, READY PRODUCT WAIT(0)},
	{"warp_missing", FAILED, 128, READY "\t@%first bra out;\n" PRODUCT WAIT(0) "out:\n"},
	{"lane_missing", FAILED, 128, READY "\t@%some bra out;\n" PRODUCT WAIT(0) "out:\n"},
	{"warps_differ", FAILED, 128,
	 READY FENCE "\t@%first bra there;\n" MMA "\tbra out;\nthere:\n" MMA "out:\n" COMMIT WAIT(0)},
	{"commits_differ", FAILED, 128,
	 READY FENCE MMA "\t@%first bra out;\n" COMMIT "out:\n" MMA COMMIT WAIT(0)},
	{"registers_of_one_warp", FAILED, 128, "\t@%first setmaxnreg.dec.sync.aligned.u32 40;\n"},
	{"registers_differ", FAILED, 128,
	 "\t@%first bra there;\n\tsetmaxnreg.dec.sync.aligned.u32 40;\n\tbra "
	 "out;\nthere:\n\tsetmaxnreg.dec.sync.aligned.u32 48;\nout:\n"},
	{"registers_not_there", FAILED, 512, "\tsetmaxnreg.inc.sync.aligned.u32 136;\n"},
	{"registers_decreased_by_more", FAILED, 128,
	 "\tsetmaxnreg.dec.sync.aligned.u32 40;\n\tsetmaxnreg.dec.sync.aligned.u32 48;\n"},
	/* descriptors */
	{"out_of_range", CUDA_ERROR_ILLEGAL_ADDRESS, 128, READY "\tadd.u64 %db, %db, 120;\n" PRODUCT WAIT(0)},
	{"descriptors_differ", CUDA_ERROR_ILLEGAL_INSTRUCTION, 128,
	 READY "\t@%some add.u64 %da, %da, 1;\n" PRODUCT WAIT(0)},
	{"reserved_bits", CUDA_ERROR_ILLEGAL_INSTRUCTION, 128,
	 READY "\tor.b64 %da, %da, 0x4000000000000;\n\tor.b64 %da, %da, 0x10000000000000;\n" PRODUCT WAIT(0)},
	{"good_swizzle", 0, 128, READY "\tor.b64 %db, %db, 0x4000000000000000;\n" PRODUCT WAIT(0)},
	{"good_swizzle_inside", 0, 128,
	 READY "\tadd.u64 %db, %db, 2;\n\tor.b64 %db, %db, 0x4000000000000000;\n" PRODUCT WAIT(0)},
	{"swizzle_begins_late", CUDA_ERROR_MISALIGNED_ADDRESS, 128,
	 READY "\tadd.u64 %db, %db, 8;\n\tor.b64 %db, %db, 0x4000000000000000;\n" PRODUCT WAIT(0)},
	{"swizzle_stride", CUDA_ERROR_MISALIGNED_ADDRESS, 128,
	 READY "\tor.b64 %da, %da, 0x4000000000000000;\n" PRODUCT WAIT(0)},
	{"scale_differs", CUDA_ERROR_ILLEGAL_INSTRUCTION, 128,
	 READY FENCE "\twgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d0, %d1, %d2, %d3}, %da, %db, "
		     "%some, 1, 1, 0, 0;\n" COMMIT WAIT(0)},
};

/* %own: where a thread writes; %late: of the warps behind the first four; %first: of warp 0; %some: of all
 * lanes but 0. */
static void prologue(FILE *o)
{
	fputs("\t.reg .b32 %t, %own, %zero, %a<4>, %e<4>, %lane;\n\t.reg .b64 %from, %da, %db, "
	      "%base;\n\t.reg .f32 %d<8>;\n"
	      "\t.reg .pred %late, %first, %some, %begins, %p;\n\t.shared .align 1024 .b8 "
	      "memory[4096];\n\t.shared .align 8 .b64 full;\n",
	      o);
	fputs("\tmov.u32 %t, %tid.x;\n\tmov.u32 %lane, %laneid;\n\tmov.b32 %zero, 0;\n\tsetp.ge.u32 %late, "
	      "%t, 128;\n"
	      "\tsetp.eq.u32 %begins, %t, 0;\n\tsetp.lt.u32 %first, %t, 32;\n\tsetp.ne.u32 %some, %lane, "
	      "0;\n\tand.b32 %t, %t, 127;\n\tmov.u32 %own, memory;\n"
	      "\tcvt.u64.u32 %base, %own;\n\tshr.u64 %base, %base, 4;\n\tor.b64 %da, %base, "
	      "0x1000080000;\n\tadd.u64 %db, %da, 128;\n"
	      "\tmad.lo.u32 %own, %t, 16, %own;\n\tld.param.u64 %from, [x];\n",
	      o);
	for (int k = 0; k < 4; k++)
		fprintf(o,
			"\tmov.b32 %%a%d, 0;\n\tmov.b32 %%e%d, 0;\n\tmov.f32 %%d%d, 0f00000000;\n\tmov.f32 "
			"%%d%d, 0f00000000;\n",
			k, k, k, k + 4);
}

/* -- modules that do not load -- */

static const struct {
	const char *version, *target, *body;
	CUresult error;
	const char *says;
} modules[] = {
	{"8.0", "sm_90a", "wgmma.fence.sync.aligned;", 0, ""},
	{"8.0", "sm_90", "fence.proxy.async.shared::cta;", 0, ""},
	{"7.8", "sm_90a", "", CUDA_ERROR_INVALID_PTX, "does not support .target sm_90a"},
	{"8.0", "sm_90", "setmaxnreg.dec.sync.aligned.u32 40;", CUDA_ERROR_INVALID_PTX, "sm_90a"},
	{"8.0", "sm_90a", "setmaxnreg.dec.sync.aligned.u32 36;", CUDA_ERROR_INVALID_PTX, "multiple of 8"},
	{"8.0", "sm_90a", "setmaxnreg.inc.sync.aligned.u32 264;", CUDA_ERROR_INVALID_PTX, "24 to 256"},
	{"8.0", "sm_80", "mbarrier.try_wait.parity.shared.b64 %p0, [%r0], %r1;", CUDA_ERROR_INVALID_PTX,
	 "requires .target sm_90"},
	{"8.0", "sm_80", "mbarrier.init.shared.b64 [%r0], %r1;", 0, ""},
	{"8.0", "sm_80", "mbarrier.arrive.shared.b64 %rd0, [%r0], 2;", CUDA_ERROR_INVALID_PTX,
	 "requires .target sm_90"},
	{"7.8", "sm_90", "mbarrier.arrive.expect_tx.shared.b64 %rd0, [%r0], 2;", CUDA_ERROR_INVALID_PTX,
	 ".version 8.0"},
	{"8.5", "sm_90",
	 "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r0], [%rd0], 16, [%r1];",
	 CUDA_ERROR_INVALID_PTX, ".version 8.6"},
	{"8.0", "sm_90",
	 "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], [%rd0], 20, [%r1];",
	 CUDA_ERROR_INVALID_PTX, "multiple of 16"},
	{"8.0", "sm_90", "wgmma.fence.sync.aligned;", CUDA_ERROR_INVALID_PTX, "sm_90a"},
	{"8.0", "sm_80", "fence.proxy.async;", CUDA_ERROR_INVALID_PTX, "requires .target sm_90"},
	{"7.8", "sm_90", "fence.proxy.async;", CUDA_ERROR_INVALID_PTX, ".version 8.0"},
	{"8.0", "sm_90a", "wgmma.wait_group.sync.aligned %r1;", CUDA_ERROR_INVALID_PTX, "number of groups"},
	{"8.0", "sm_90a",
	 "wgmma.mma_async.sync.aligned.m64n12k16.f32.f16.f16 {%f0,%f1,%f2,%f3}, %rd0, %rd1, 1, 1, 1, 0, 0;",
	 CUDA_ERROR_INVALID_PTX, "no such shape"},
	{"8.0", "sm_90a",
	 "wgmma.mma_async.sync.aligned.m64n8k8.f32.f16.f16 {%f0,%f1,%f2,%f3}, %rd0, %rd1, 1, 1, 1, 0, 0;",
	 CUDA_ERROR_INVALID_PTX, "no such shape"},
	{"8.0", "sm_90a",
	 "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.bf16 {%f0,%f1,%f2,%f3}, %rd0, %rd1, 1, 1, 1, 0, 0;",
	 CUDA_ERROR_INVALID_PTX, "types"},
	{"8.0", "sm_90a",
	 "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0,%f1,%f2}, %rd0, %rd1, 1, 1, 1, 0, 0;",
	 CUDA_ERROR_INVALID_PTX, "registers"},
	{"8.0", "sm_90a",
	 "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0,%f1,%f2,%f3}, %rd0, %rd1, 1, 1, 1, 0;",
	 CUDA_ERROR_INVALID_PTX, "operand"},
	{"8.0", "sm_90a",
	 "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0,%f1,%f2,%f3}, %rd0, %rd1, 1, 2, 1, 0, 0;",
	 CUDA_ERROR_INVALID_PTX, "1 or -1"},
	{"8.0", "sm_90a",
	 "wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%f0,%f1,%f2,%f3}, %rd0, %rd1, 1, 1, 1, 0, 0;",
	 CUDA_ERROR_INVALID_PTX, "operands"},
	{"8.0", "sm_90a", "wgmma.mma_async.sync.aligned.m64n8k32.s32.s8.u8 {%r0,%r1,%r2,%r3}, %rd0, %rd1, 1;",
	 CUDA_ERROR_INVALID_PTX, ".version 8.4"},
};

/* What is refused is also written down, for an assembler to refuse. */
static void test_module(const char *folder, size_t k)
{
	enum { ERROR_LOG = 5, ERROR_LOG_SIZE = 6 };
	char path[4096], text[1024], log[512] = "";
	const int options[] = {ERROR_LOG, ERROR_LOG_SIZE};
	void *values[] = {log, (void *)sizeof log}, *module = NULL;
	CUresult r;
	FILE *o;

	snprintf(text, sizeof text,
		 ".version %s\n.target %s\n.address_size 64\n.visible .entry k()\n{\n.reg .b32 %%r<6>;\n.reg "
		 ".b64 %%rd<6>;\n.reg .f32 %%f<6>;\n.reg .pred %%p<2>;\n"
		 "%s\nret;\n}\n",
		 modules[k].version, modules[k].target, modules[k].body);
	r = cuModuleLoadDataEx(&module, text, 2, options, values);
	CHECK_THAT(r == modules[k].error && strstr(log, modules[k].says), "%s: error %d: %s", modules[k].body,
		   r, log);
	if (!r)
		CALL(cuModuleUnload(module));
	snprintf(path, sizeof path, "%s/%s_wgmma_%zu.%s", folder, r ? "refused" : "taken", k,
		 r ? "txt" : "ptx");
	o = fopen(path, "w");
	if (!CHECK(o))
		return;
	fputs(text, o);
	fclose(o);
}

void test_wgmma_faults(const char *folder)
{
	const TestKernels all = {
		"wgmma_faults.ptx", "8.0", "sm_90a", faults,      sizeof faults / sizeof *faults,
		prologue,           NULL,  NULL,     THREADS * 32};

	test_kernels(folder, &all);
	for (size_t k = 0; k < sizeof modules / sizeof *modules; k++)
		test_module(folder, k);
}
