/* tests/ptx/test_mbarrier.c -- barriers in shared memory, and copies that arrive there: kernels that are
 * right, and others that differ from them in a place. Warps 0 to 3 are those that other four warps, where
 * there are such, make something for. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/test.h"

#define INIT(n)                  "\t@%one mbarrier.init.shared.b64 [full], " #n ";\n"
#define INIT_BACK(n)             "\t@%one mbarrier.init.shared.b64 [empty], " #n ";\n"
#define MADE                     "\tfence.mbarrier_init.release.cluster;\n\tfence.proxy.async;\n\tbar.sync 0;\n"
#define ARRIVE                   "\tmbarrier.arrive.shared.b64 _, [full];\n"
#define WAIT_FOR(object, parity) "\tmbarrier.try_wait.parity.shared.b64 %p, [" object "], " parity ";\n"
#define WAIT(parity)             "again" parity ":\n" WAIT_FOR("full", parity) "\t@!%p bra again" parity ";\n"
#define SPIN                     "again:\n\tmbarrier.test_wait.parity.shared.b64 %p, [full], 0;\n\t@!%p bra again;\n"
#define WRITE                    "\tst.shared.u32 [%own], %t;\n"
#define READ                     "\tld.shared.u32 %v, [%other];\n"
#define PRODUCER                 "\t@%late bra consumer;\n"
#define CONSUMER                 "\tbra out;\nconsumer:\n"
#define OUT                      "out:\n"
#define RESULT                   "\tst.global.u32 [%to], %v;\n"
#define COPY                     "\tcp.async.ca.shared.global [%own], [%from], 4;\n"
#define COPIED                   "\tcp.async.mbarrier.arrive.noinc.shared.b64 [full];\n"
#define EXPECT(n)                "\tmbarrier.arrive.expect_tx.shared.b64 _, [full], " #n ";\n"
#define BULK_OF(bytes)                                                                                       \
	"\tcp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%row], [%begin], " bytes       \
	", [full];\n"
#define BULK(n) BULK_OF(#n)

enum { THREADS = 128, FAILED = CUDA_ERROR_LAUNCH_FAILED };

static const TestKernel kernels[] = {
	{"good_exchange", 0, 128, INIT(128) MADE WRITE ARRIVE WAIT("0") READ RESULT},
	{"good_spin", 0, 128, INIT(128) MADE WRITE ARRIVE SPIN READ RESULT},
	{"good_state", 0, 128,
	 INIT(128) MADE WRITE
	 "\tmbarrier.arrive.shared.b64 %state, [full];\nagain:\n"
	 "\tmbarrier.try_wait.shared.b64 %p, [full], %state;\n\t@!%p bra again;\n" READ RESULT},
	{"good_counts", 0, 128,
	 INIT(256) MADE WRITE "\tmbarrier.arrive.shared.b64 _, [full], 2;\n" WAIT("0") READ RESULT},
	{"good_two_phases", 0, 128, INIT(128) MADE WRITE ARRIVE WAIT("0") READ ARRIVE WAIT("1") WRITE RESULT},
	{"good_producer", 0, 256, INIT(128) MADE PRODUCER WRITE ARRIVE CONSUMER WAIT("0") READ RESULT OUT},
	/* two rounds: full, emptied, full again */
	{"good_ring", 0, 256,
	 INIT(128) INIT_BACK(128) MADE PRODUCER WRITE ARRIVE
	 "more:\n" WAIT_FOR("empty", "0") "\t@!%p bra more;\n" WRITE ARRIVE CONSUMER WAIT("0") READ
	 "\tmbarrier.arrive.shared.b64 _, [empty];\n" WAIT("1") READ RESULT OUT},
	{"ring_not_emptied", FAILED, 256,
	 INIT(128) MADE PRODUCER WRITE ARRIVE WRITE ARRIVE CONSUMER WAIT("0") READ RESULT OUT},
	{"good_copies", 0, 256, INIT(128) MADE PRODUCER COPY COPIED CONSUMER WAIT("0") READ RESULT OUT},
	{"good_copies_more", 0, 256,
	 INIT(128) MADE PRODUCER COPY
	 "\tcp.async.mbarrier.arrive.shared.b64 [full];\n" ARRIVE CONSUMER WAIT("0") READ RESULT OUT},
	{"copies_early", FAILED, 256, INIT(128) MADE PRODUCER COPY ARRIVE CONSUMER WAIT("0") READ RESULT OUT},
	{"good_bulk", 0, 256,
	 INIT(1) MADE PRODUCER "\t@!%one bra out;\n" EXPECT(512) BULK(512) CONSUMER WAIT("0")
		 READ RESULT OUT},
	{"good_bulk_itself", 0, 128,
	 INIT(1) MADE "\t@!%one bra there;\n" EXPECT(512)
		 BULK(256) "\tcp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%row+256], "
			   "[%begin+256], 256, [full];\nthere:\n" WAIT("0") READ RESULT},
	{"bulk_not_waited", FAILED, 256,
	 INIT(1) MADE PRODUCER "\t@!%one bra out;\n" EXPECT(512) BULK(512) CONSUMER READ RESULT OUT},
	{"bulk_no_fence", FAILED, 128, INIT(1) "\tbar.sync 0;\n\t@!%one bra there;\n" EXPECT(512) BULK(512) "there:\n" WAIT("0")},
	{"good_bulk_fence", 0, 128,
	 INIT(1) "\tfence.proxy.async;\n\tbar.sync 0;\n\t@!%one bra there;\n" EXPECT(512) BULK(512) "there:\n" WAIT("0") READ RESULT},
	{"bulk_too_short", FAILED, 256,
	 INIT(1) MADE PRODUCER "\t@!%one bra out;\n" EXPECT(512) BULK(496) CONSUMER WAIT("0")
		 READ RESULT OUT},
	{"bulk_overwrites", FAILED, 256,
	 INIT(129) MADE PRODUCER WRITE ARRIVE "\t@!%one bra out;\n" EXPECT(512) BULK(512) CONSUMER WAIT("0")
		 READ RESULT OUT},
	{"bulk_no_proxy", FAILED, 128,
	 INIT(1) MADE WRITE "\tbar.sync 0;\n\t@!%one bra there;\n" EXPECT(512) BULK(512) "there:\n" WAIT("0")
		 READ RESULT},
	{"good_bulk_proxy", 0, 128,
	 INIT(1) MADE WRITE "\tfence.proxy.async;\n\tbar.sync 0;\n\t@!%one bra there;\n" EXPECT(512)
		 BULK(512) "there:\n" WAIT("0") READ RESULT},
	{"bulk_size", CUDA_ERROR_MISALIGNED_ADDRESS, 128,
	 INIT(1) MADE "\t@!%one bra there;\n"
		      "\tmov.u32 %u, 500;\n" EXPECT(500) BULK_OF("%u") "there:\n" WAIT("0")},
	{"bulk_outside", CUDA_ERROR_ILLEGAL_ADDRESS, 128,
	 INIT(1) MADE "\t@!%one bra there;\n" EXPECT(2048) BULK(2048) "there:\n" WAIT("0")},
	{"good_named", 0, 256,
	 PRODUCER WRITE "\tbar.arrive 1, 256;\n" CONSUMER "\tbar.sync 1, 256;\n" READ RESULT OUT},
	{"named_late", FAILED, 256,
	 PRODUCER WRITE "\tbar.arrive 1, 256;\n" WRITE CONSUMER "\tbar.sync 1, 256;\n" READ RESULT OUT},
	{"not_waited", FAILED, 256, INIT(128) MADE PRODUCER WRITE ARRIVE CONSUMER READ RESULT OUT},
	{"arrives_before", FAILED, 256,
	 INIT(128) MADE PRODUCER ARRIVE WRITE CONSUMER WAIT("0") READ RESULT OUT},
	{"too_many", FAILED, 128,
	 INIT(127) "\tbar.sync 0;\n\t@%one bra there;\n"
		   "there:\n\tmbarrier.arrive.shared.b64 _, [full], 128;\n"},
	{"too_few", FAILED, 128, INIT(129) MADE ARRIVE WAIT("0")},
	{"no_object", FAILED, 128, ARRIVE},
	{"not_ordered", FAILED, 128, INIT(128) ARRIVE WAIT("0")},
	{"invalid", FAILED, 128, INIT(1) "\t@%one mbarrier.inval.shared.b64 [full];\n\tbar.sync 0;\n" ARRIVE},
	{"good_again", 0, 32,
	 INIT(1) "\t@%one mbarrier.inval.shared.b64 [full];\n" INIT(32) ARRIVE WAIT("0")},
	{"read_as_memory", FAILED, 32, INIT(32) "\tld.shared.u32 %v, [full];\n"},
	{"written_as_memory", FAILED, 32, INIT(32) "\tst.shared.u32 [full+4], %t;\n"},
	{"no_arrivals", CUDA_ERROR_ILLEGAL_INSTRUCTION, 32, INIT(0)},
	{"misaligned", CUDA_ERROR_MISALIGNED_ADDRESS, 32, "\t@%one mbarrier.init.shared.b64 [full+4], 1;\n"},
};

/* %own: a word of the thread, %other: one of another warp's; those of the second four warps are the first
 * ones', except that they write their results elsewhere. */
static void prologue(FILE *o)
{
	fputs("\t.reg .b32 %t, %own, %other, %v, %row, %u;\n\t.reg .b64 %from, %to, %begin, %state, "
	      "%n;\n\t.reg .pred %p, %one, %late;\n"
	      "\t.shared .align 8 .b64 full;\n\t.shared .align 8 .b64 empty;\n\t.shared .align 16 .b8 "
	      "row[512];\n\tmov.u32 %t, %tid.x;\n"
	      "\tsetp.eq.u32 %one, %t, 0;\n\tsetp.ge.u32 %late, %t, 128;\n\tld.param.u64 %begin, "
	      "[x];\n\tmul.wide.u32 %n, %t, 4;\n"
	      "\tadd.u64 %to, %begin, %n;\n\tadd.u64 %to, %to, 512;\n\tand.b32 %t, %t, 127;\n\tmul.wide.u32 "
	      "%n, %t, 4;\n\tadd.u64 %from, %begin, %n;\n"
	      "\tmov.u32 %row, row;\n\tmad.lo.u32 %own, %t, 4, %row;\n\txor.b32 %u, %t, 96;\n\tmad.lo.u32 "
	      "%other, %u, 4, %row;\n\tmov.u32 %v, 0;\n",
	      o);
}

/* What came from another warp: the number of the thread, or what memory held. */
static bool good_result(const TestKernel *k, const TestBuffer *x)
{
	const uint32_t *words = x->host;
	const unsigned first = k->threads == 256 ? THREADS : 0;

	if (strstr(k->name, "again"))
		return true;
	for (unsigned t = 0; t < THREADS; t++)
		if (words[THREADS + first + t] !=
		    (strstr(k->name, "bulk") || strstr(k->name, "copies") ? 1000 : 0) + (t ^ 96))
			return false;
	return true;
}

static void fill(TestBuffer *x)
{
	for (uint32_t t = 0; t < THREADS; t++)
		((uint32_t *)x->host)[t] = 1000 + t;
}

void test_mbarrier(const char *folder)
{
	const TestKernels all = {
		"mbarrier.ptx", "8.0", "sm_90",     kernels,        sizeof kernels / sizeof *kernels,
		prologue,       fill,  good_result, 3 * THREADS * 4};

	test_kernels(folder, &all);
}
