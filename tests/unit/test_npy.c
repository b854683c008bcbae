/* tests/unit/test_npy.c -- .npy files: every type both ways, orders, and malformed headers. */
#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/npy.h"

void suite_npy(void);

/* A version-1 file from a header text and data, in the arena. */
static void *file_of(MloArena *a, int version, const char *head, const void *data, size_t ndata, size_t *n)
{
	size_t nhead = strlen(head), prefix = version == 1 ? 10 : 12;
	unsigned char *p = mlo_alloc(a, prefix + nhead + ndata, 1);

	memcpy(p, "\x93NUMPY", 6);
	p[6] = (unsigned char)version;
	p[8] = (unsigned char)(nhead & 255);
	p[9] = (unsigned char)(nhead >> 8);
	memcpy(p + prefix, head, nhead);
	if (ndata)
		memcpy(p + prefix + nhead, data, ndata);
	*n = prefix + nhead + ndata;
	return p;
}

static MloTensor *parse(MloArena *a, int version, const char *head, const void *data, size_t ndata)
{
	MloTensor *t = NULL;
	MloDiag d = {0};
	size_t n;
	void *p = file_of(a, version, head, data, ndata, &n);
	MloStatus st = mlo_npy_parse(a, p, n, "x.npy", &t, &d);

	CU_ASSERT_EQUAL(st == MLO_OK, d.nerrors == 0); /* a refusal explains itself */
	mlo_diag_free(&d);
	return st == MLO_OK ? t : NULL;
}

static void round_trip_of_every_type(void)
{
	static const MloElem types[] = {EL_f32, EL_f64, EL_f16, EL_i8,  EL_i16,  EL_i32, EL_i64,
					EL_u8,  EL_u16, EL_u32, EL_u64, EL_bool, EL_c64, EL_c128};
	char dir[] = "/tmp/mlopt-npy-XXXXXX", path[64];

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/t.npy", dir);
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		for (int rank = 0; rank <= 3; rank++) {
			MloArena *a = mlo_arena_new();
			MloTensor *t = mlo_tensor_new(a, types[i], rank, (int64_t[]){2, 3, 4}), *back = NULL;
			MloDiag d = {0};

			for (size_t b = 0; b < t->nbytes; b++)
				((unsigned char *)t->data)[b] =
					types[i] == EL_bool ? b & 1 : (unsigned char)(b * 37 + 1);
			CU_ASSERT_EQUAL(mlo_npy_write(path, t, &d), MLO_OK);
			CU_ASSERT_EQUAL_FATAL(mlo_npy_read(a, path, &back, &d), MLO_OK);
			CU_ASSERT(mlo_tensor_equal(t, back));
			CU_ASSERT_EQUAL((uintptr_t)back->data % 64,
					0); /* mapped, and aligned for the runtime */
			mlo_diag_free(&d);
			mlo_arena_free(a);
		}
	}
	unlink(path);
	rmdir(dir);
}

static void types_without_a_numpy_form_are_widened(void)
{
	char path[] = "/tmp/mlopt-npy-XXXXXX";
	MloArena *a = mlo_arena_new();
	MloTensor *t = mlo_tensor_new(a, EL_bf16, 1, (int64_t[]){2}), *back = NULL;
	MloDiag d = {0};
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	close(fd);
	mlo_tensor_set_f64(t, 0, 1.5);
	mlo_tensor_set_f64(t, 1, -2);
	CU_ASSERT_EQUAL(mlo_npy_write(path, t, &d), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_npy_read(a, path, &back, &d), MLO_OK);
	CU_ASSERT_EQUAL(back->elem, EL_f32);
	CU_ASSERT(mlo_tensor_f64(back, 0) == 1.5 && mlo_tensor_f64(back, 1) == -2);
	unlink(path);
	mlo_arena_free(a);
}

static void fortran_order_is_transposed(void)
{
	MloArena *a = mlo_arena_new();
	const int16_t columns[] = {1, 4, 2, 5, 3, 6}; /* of [[1,2,3],[4,5,6]] */
	MloTensor *t = parse(a, 1, "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }\n", columns,
			     sizeof columns);

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	for (int i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(mlo_tensor_i64(t, i), i + 1);
	mlo_arena_free(a);
}

static void big_endian_is_swapped(void)
{
	MloArena *a = mlo_arena_new();
	const unsigned char bytes[] = {0, 0, 1, 2, 0xff, 0xff, 0xff, 0xfe};
	MloTensor *t = parse(a, 1, "{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }\n", bytes, 8);

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_EQUAL(mlo_tensor_i64(t, 0), 258);
	CU_ASSERT_EQUAL(mlo_tensor_i64(t, 1), -2);
	mlo_arena_free(a);
}

static void headers_may_be_written_in_other_ways(void)
{
	static const char *const heads[] = {
		"{'shape':(2,),'fortran_order':False,'descr':'|u1'}",
		"{\"descr\": \"|u1\", \"shape\": (2L,), \"fortran_order\": False}   \n",
		"{'descr': '|u1',\n 'fortran_order': True, 'shape': (2,), }\n",
		"{'descr': '<u1', 'fortran_order': False, 'shape': (2), }\n",
	};

	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		for (int version = 1; version <= 3; version++) {
			MloArena *a = mlo_arena_new();
			MloTensor *t = parse(a, version, heads[i], "\7\11", 2);

			CU_ASSERT_PTR_NOT_NULL(t);
			CU_ASSERT(t && t->rank == 1 && t->dim[0] == 2 && mlo_tensor_i64(t, 1) == 9);
			mlo_arena_free(a);
		}
	}
}

static void malformed_headers_are_refused(void)
{
	static const char *const heads[] = {
		"",
		"{",
		"{}",
		"{'descr': '<f4', 'fortran_order': False}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'shape': (1,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
		"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
		"{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '<f3', 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '<f16', 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '<U3', 'fortran_order': False, 'shape': (1,)}",
		"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '', 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 4)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
	};

	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		MloArena *a = mlo_arena_new();

		CU_ASSERT_PTR_NULL(parse(a, 1, heads[i], "12345678", 8));
		mlo_arena_free(a);
	}
}

static void every_truncation_is_refused(void)
{
	MloArena *a = mlo_arena_new();
	size_t n;
	const char *p = file_of(a, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n",
				"12345678", 8, &n);

	for (size_t cut = 0; cut < n; cut++) {
		MloTensor *t;
		MloDiag d = {0};
		char *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees a read past the end */

		memcpy(exact, p, cut);
		CU_ASSERT_NOT_EQUAL(mlo_npy_parse(a, exact, cut, "x.npy", &t, &d), MLO_OK);
		CU_ASSERT_EQUAL(d.nerrors, 1);
		mlo_diag_free(&d);
		free(exact);
	}
	mlo_arena_free(a);
}

static void files_that_cannot_be_are_errors(void)
{
	MloArena *a = mlo_arena_new();
	MloTensor *t = mlo_tensor_new(a, EL_f32, 1, (int64_t[]){100000}), *back;
	MloDiag d = {0};

	CU_ASSERT_EQUAL(mlo_npy_read(a, "/nonexistent/x.npy", &back, &d), MLO_ERR_IO);
	CU_ASSERT_EQUAL(mlo_npy_read(a, "/", &back, &d), MLO_ERR_IO);
	CU_ASSERT_EQUAL(mlo_npy_write("/nonexistent/x.npy", t, &d), MLO_ERR_IO);
	if (access("/dev/full", W_OK) == 0) {
		CU_ASSERT_EQUAL(mlo_npy_write("/dev/full", t, &d), MLO_ERR_IO);
	}
	CU_ASSERT(d.nerrors >= 3);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

void suite_npy(void)
{
	CU_pSuite s = CU_add_suite("npy", NULL, NULL);

	CU_ADD_TEST(s, round_trip_of_every_type);
	CU_ADD_TEST(s, types_without_a_numpy_form_are_widened);
	CU_ADD_TEST(s, fortran_order_is_transposed);
	CU_ADD_TEST(s, big_endian_is_swapped);
	CU_ADD_TEST(s, headers_may_be_written_in_other_ways);
	CU_ADD_TEST(s, malformed_headers_are_refused);
	CU_ADD_TEST(s, every_truncation_is_refused);
	CU_ADD_TEST(s, files_that_cannot_be_are_errors);
}
