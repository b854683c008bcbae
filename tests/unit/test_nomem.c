/* tests/unit/test_nomem.c -- memory ends at every block of a compilation in turn: it is reported, all is given back. */
#include <CUnit/CUnit.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/base/arena.h"
#include "mlopt/mlopt.h"
#include "tests/unit/onnx_fixture.h"
#include "tools/outfile.h"

void suite_nomem(void);

/* The smallest block of an arena is 16 KiB; LLVM itself keeps a few more KiB with every compilation. */
enum { MOST_BLOCKS = 2000, SLACK = 12 << 10, TRIES = 3 };

/* y = softmax(relu(x * w)): a contraction with an epilogue, and a row-wise kernel. */
static void write_model(char *path)
{
	float w[16 * 24];
	OnnxFix f;
	size_t n;
	void *p;
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	close(fd);
	for (int i = 0; i < 16 * 24; i++)
		w[i] = (float)(i % 7) - 3;
	ox_model(&f, 17);
	ox_in(&f, "x", EL_f32, "4x16");
	ox_const(&f, "w", EL_f32, "16x24", w, sizeof w);
	ox_node(&f, "MatMul", "x w", "h");
	ox_node(&f, "Relu", "h", "r");
	ox_node(&f, "Softmax", "r", "y");
	ox_out(&f, "y");
	p = ox_bytes(&f, &n);
	CU_ASSERT_EQUAL_FATAL(mlo_write_file(path, p, n, NULL), MLO_OK);
	ox_free(&f);
}

/* Loads and compiles; a package may only be there on success. */
static MloptStatus whole_way(const char *path)
{
	MloptOptions opt = MLOPT_OPTIONS_INIT;
	MloptModel *m = NULL;
	void *bytes = NULL;
	size_t n = 0;
	MloptStatus st = mlopt_model_load(path, &m, NULL, NULL);

	opt.jobs = 1;
	if (st == MLOPT_OK)
		st = mlopt_compile(m, &opt, &bytes, &n, NULL, NULL, NULL);
	CU_ASSERT_EQUAL(st == MLOPT_OK, bytes != NULL);
	free(bytes);
	mlopt_model_free(m);
	return st;
}

static size_t taken(void)
{
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* The whole way with its n-th block missing; *lost: how much memory that cost at least. */
static MloptStatus without_block(const char *path, unsigned n, size_t *lost)
{
	MloptStatus st = MLOPT_OK;

	*lost = SIZE_MAX;
	for (int i = 0; i < TRIES; i++) {
		size_t before = taken(), after;

		mlo_arena_fail_block(NULL, n);
		st = whole_way(path);
		mlo_arena_fail_block(NULL, 0);
		after = taken();
		if (after <= before)
			*lost = 0;
		else if (after - before < *lost)
			*lost = after - before;
	}
	return st;
}

static void every_block_may_be_missing(void)
{
	char path[] = "/tmp/mlopt-nomem-XXXXXX";
	unsigned n = 1, wrong = 0, leaks = 0;
	MloptStatus st = MLOPT_ERR_NOMEM;

	write_model(path);
	CU_ASSERT_EQUAL_FATAL(whole_way(path), MLOPT_OK); /* LLVM sets itself up once */
	for (; n < MOST_BLOCKS && st != MLOPT_OK; n++) {
		size_t lost;

		st = without_block(path, n, &lost);
		wrong += st != MLOPT_OK && st != MLOPT_ERR_NOMEM;
		leaks += lost > SLACK;
	}
	CU_ASSERT_EQUAL(st, MLOPT_OK);
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(leaks, 0);
	CU_ASSERT(n > 20); /* there were blocks to fail */
	unlink(path);
}

void suite_nomem(void)
{
	CU_pSuite s = CU_add_suite("nomem", NULL, NULL);

	CU_ADD_TEST(s, every_block_may_be_missing);
}
