/* tests/unit/test_gpu_package.c -- packages with a variant for GPUs: sound ones fall back to the CPU where there is none, the others
 * are refused wherever they are opened. */
#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/format.h"
#include "tests/unit/package_fixture.h"

void suite_gpu_package(void);

static const char ptx[] = ".version 7.4\n.target sm_75\n.address_size 64\n";

/* The blob of two launches. */
typedef struct Records {
	MlrtLaunches head;
	MlrtLaunch launch[2];
	char names[10];
} Records;
enum { RECORD_BYTES = offsetof(Records, names) + 10 };

typedef struct Gpu {
	Fixture f;
	Records records;
	char ptx[sizeof ptx];
} Gpu;

/* "gpu" in front of the fixture's variants: its capability is none that a device has. */
static void gpu_init(Gpu *g)
{
	fix_init(&g->f);
	fix_edit(&g->f, "\"variants\":[",
		 "\"variants\":[{\"name\":\"gpu\",\"arch\":\"nvptx64\",\"needs\":[\"sm_999\"],\"code\":3,\"launches\":4,\"weights\":1,"
		 "\"program\":5,\"arena_bytes\":256,\"scratch_bytes\":8},");
	memcpy(g->ptx, ptx, sizeof ptx);
	g->records = (Records){{MLRT_LAUNCHES_MAGIC, 2, RECORD_BYTES},
			       {{.name = 0, .threads = 128, .tasks_per_block = 128, .blocks = 1},
				{.name = 4, .threads = 32, .blocks = 4, .scratch_bytes = 64, .shared_bytes = 1024}},
			       "add\0where"};
	g->f.device = g->f.program;
	g->f.device.step[0].code = g->f.device.step[1].code = 0;
	g->f.device.step[2].code = 1;
	g->f.ptx = g->ptx;
	g->f.nptx = sizeof g->ptx;
	g->f.launches = &g->records;
	g->f.nlaunches = RECORD_BYTES;
}

static MlrtStatus gpu_opens(Gpu *g, const char *variant, MlrtError *err)
{
	const MlrtOpenOptions opt = {.variant = variant};
	MlrtModel *m = NULL;
	MlrtStatus st;

	fix_build(&g->f);
	st = mlrt_model_open_memory(g->f.bytes, g->f.n, &opt, &m, err);
	if (!st)
		CU_ASSERT_STRING_EQUAL(mlrt_model_variant(m), "plain");
	mlrt_model_close(m);
	return st;
}

static void falls_back_to_the_cpu(void)
{
	MlrtSession *s = NULL;
	MlrtModel *m;
	MlrtError err;
	FixData d;
	Gpu g;

	gpu_init(&g);
	CU_ASSERT_EQUAL(gpu_opens(&g, NULL, &err), MLRT_OK);
	m = fix_open(&g.f);
	CU_ASSERT_EQUAL_FATAL(mlrt_session_new(m, NULL, &s, &err), MLRT_OK);
	fix_data(&d, 3);
	CU_ASSERT_EQUAL(fix_run(s, &d, &err), MLRT_OK);
	CU_ASSERT(fix_right(&d));
	mlrt_session_free(s);
	mlrt_model_close(m);
	fix_free(&g.f);
}

/* Whatever this machine has, it is no device of that capability. */
static void asked_for_it_says_what_is_missing(void)
{
	MlrtError err;
	MlrtStatus st;
	Gpu g;

	gpu_init(&g);
	st = gpu_opens(&g, "gpu", &err);
	CU_ASSERT(st == MLRT_ERR_NO_DRIVER || st == MLRT_ERR_DRIVER || st == MLRT_ERR_NO_DEVICE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "variant 'gpu' does not run on this machine: it needs "));
	fix_free(&g.f);
}

/* What is wrong is made so by `spoil`. */
static void refuse(void (*spoil)(Gpu *), MlrtStatus want)
{
	MlrtError err;
	Gpu g;

	gpu_init(&g);
	spoil(&g);
	CU_ASSERT_EQUAL(gpu_opens(&g, NULL, &err), want);
	fix_free(&g.f);
}

static void no_threads(Gpu *g) { g->records.launch[0].threads = 0; }
static void half_a_warp(Gpu *g) { g->records.launch[1].threads = 48; }
static void many_threads(Gpu *g) { g->records.launch[1].threads = MLRT_MAX_THREADS + 32; }
static void no_blocks(Gpu *g) { g->records.launch[1].blocks = 0; }
static void much_shared(Gpu *g) { g->records.launch[0].shared_bytes = MLRT_MAX_SHARED + 1; }
static void much_scratch(Gpu *g) { g->records.launch[1].scratch_bytes = UINT64_MAX; }
static void endless_scratch(Gpu *g) { g->records.launch[0].scratch_bytes = 64; } /* of blocks that only a run counts */
static void name_outside(Gpu *g) { g->records.launch[1].name = sizeof g->records.names; }
static void name_without_end(Gpu *g) { g->records.names[9] = 'x'; }
static void many_counters(Gpu *g) { g->records.launch[1].counters = MLRT_MAX_COUNTERS + 1; }
static void endless_counters(Gpu *g) { g->records.launch[0].counters = 1; } /* of a grid that only a run counts */
static void other_magic(Gpu *g) { g->records.head.magic++; }
static void other_bytes(Gpu *g) { g->records.head.bytes--; }
static void many_launches(Gpu *g) { g->records.head.nlaunches = UINT32_MAX; }
static void cut_records(Gpu *g) { g->f.nlaunches = 8; }
static void no_records(Gpu *g) { g->f.nlaunches = 0; }
static void kernel_outside(Gpu *g) { g->f.device.step[1].code = 2; }
static void text_without_end(Gpu *g) { g->f.nptx--; }
static void text_with_nul(Gpu *g) { g->ptx[5] = 0; }
static void no_text(Gpu *g) { g->f.nptx = 0; }
static void code_of_a_cpu(Gpu *g) { fix_edit(&g->f, "\"code\":3", "\"code\":0"); }
static void no_launches(Gpu *g) { fix_edit(&g->f, "\"launches\":4", "\"lunches\":4"); }
static void cubin_is_text(Gpu *g) { fix_edit(&g->f, "\"launches\":4", "\"launches\":4,\"cubin\":3"); }
static void ptx_on_a_cpu(Gpu *g) { fix_edit(&g->f, "\"needs\":[],\"code\":0", "\"needs\":[],\"code\":3"); }

static void hostile_launches_are_refused(void)
{
	static void (*const spoils[])(Gpu *) = {no_threads, half_a_warp, many_threads, no_blocks, much_shared, much_scratch,
						endless_scratch, name_outside, name_without_end, many_counters, endless_counters, other_magic, other_bytes,
						many_launches, cut_records, no_records, kernel_outside, text_without_end, text_with_nul,
						no_text};

	for (size_t i = 0; i < sizeof spoils / sizeof *spoils; i++)
		refuse(spoils[i], MLRT_ERR_FORMAT);
}

static void blobs_of_the_wrong_kind_are_refused(void)
{
	static void (*const spoils[])(Gpu *) = {code_of_a_cpu, no_launches, cubin_is_text, ptx_on_a_cpu};

	for (size_t i = 0; i < sizeof spoils / sizeof *spoils; i++)
		refuse(spoils[i], MLRT_ERR_MANIFEST);
}

void suite_gpu_package(void)
{
	CU_pSuite s = CU_add_suite("gpu_package", NULL, NULL);

	CU_ADD_TEST(s, falls_back_to_the_cpu);
	CU_ADD_TEST(s, asked_for_it_says_what_is_missing);
	CU_ADD_TEST(s, hostile_launches_are_refused);
	CU_ADD_TEST(s, blobs_of_the_wrong_kind_are_refused);
}
