/* tests/unit/test_dataset.c -- data sets and the recipes that turn samples into inputs. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tools/dataset.h"
#include "tools/preprocess.h"

void suite_dataset(void);

static const unsigned char idx[] = {0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6};

static void *gzipped(MloArena *a, const void *p, size_t n, size_t *nout)
{
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)p, .avail_in = (uInt)n};
	size_t cap = n + 1024;
	unsigned char *out = mlo_alloc(a, cap, 1);

	CU_ASSERT_EQUAL_FATAL(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_out = out;
	z.avail_out = (uInt)cap;
	CU_ASSERT_EQUAL(deflate(&z, Z_FINISH), Z_STREAM_END);
	*nout = cap - z.avail_out;
	deflateEnd(&z);
	return out;
}

static void idx_is_read_packed_and_plain(void)
{
	for (int packed = 0; packed < 2; packed++) {
		MloArena *a = mlo_arena_new();
		size_t n = sizeof idx;
		const void *p = packed ? gzipped(a, idx, sizeof idx, &n) : idx;
		MloTensor *t = NULL;
		MloDiag d = {0};

		CU_ASSERT_EQUAL_FATAL(mlo_dataset_parse(a, p, n, "x", &t, &d), MLO_OK);
		CU_ASSERT(t->elem == EL_u8 && t->rank == 2 && t->dim[0] == 2 && t->dim[1] == 3);
		CU_ASSERT_EQUAL(mlo_tensor_i64(t, 5), 6);
		mlo_arena_free(a);
	}
}

static void idx_numbers_are_big_endian(void)
{
	static const unsigned char ints[] = {0, 0, 0x0c, 1, 0, 0, 0, 2, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff};
	MloArena *a = mlo_arena_new();
	MloTensor *t = NULL;

	CU_ASSERT_EQUAL_FATAL(mlo_dataset_parse(a, ints, sizeof ints, "x", &t, NULL), MLO_OK);
	CU_ASSERT(t->elem == EL_i32 && mlo_tensor_i64(t, 0) == 256 && mlo_tensor_i64(t, 1) == -1);
	mlo_arena_free(a);
}

static void damaged_data_is_refused(void)
{
	MloArena *a = mlo_arena_new();
	size_t n;
	const char *packed = gzipped(a, idx, sizeof idx, &n);

	for (int kind = 0; kind < 2; kind++) {
		const void *whole = kind ? packed : (const char *)idx;
		size_t size = kind ? n : sizeof idx;

		for (size_t cut = 0; cut < size; cut++) {
			char *exact = malloc(cut ? cut : 1);
			MloTensor *t;
			MloDiag d = {0};

			memcpy(exact, whole, cut);
			CU_ASSERT_NOT_EQUAL(mlo_dataset_parse(a, exact, cut, "x", &t, &d), MLO_OK);
			CU_ASSERT_EQUAL(d.nerrors, 1);
			mlo_diag_free(&d);
			free(exact);
		}
	}
	mlo_arena_free(a);
}

static MloTensor *floats(MloArena *a, int rank, const int64_t *dim)
{
	return mlo_tensor_new(a, EL_f32, rank, dim);
}

/* One sample [2,2,3] of values 0..11, channel last, to [3,2,2]. */
static void channels_move_and_are_normalised(void)
{
	MloArena *a = mlo_arena_new();
	MloTensor *data = mlo_tensor_new(a, EL_u8, 4, (int64_t[]){1, 2, 2, 3});
	MloTensor *in = floats(a, 4, (int64_t[]){1, 3, 2, 2});
	MloPreprocess p;

	for (int i = 0; i < 12; i++)
		mlo_tensor_set_i64(data, i, i);
	CU_ASSERT_EQUAL_FATAL(mlo_preprocess_parse(&p, "scale=1/2,mean=0:1:2,std=1:2:4,layout=nchw", NULL),
			      MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_preprocess_bind(&p, "data", data, in->rank, in->dim, NULL), MLO_OK);
	mlo_preprocess_apply(&p, data, 0, 1, in);
	for (int c = 0; c < 3; c++)
		for (int i = 0; i < 4; i++)
			CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_f64(in, c * 4 + i),
					       (0.5 * (i * 3 + c) - c) / (1 << c), 1e-6);
	mlo_arena_free(a);
}

static void bgr_reverses_channels_and_lists_follow_the_model(void)
{
	MloArena *a = mlo_arena_new();
	MloTensor *data = floats(a, 4, (int64_t[]){1, 1, 1, 3});
	MloTensor *in = floats(a, 4, (int64_t[]){1, 3, 1, 1});
	MloPreprocess p;

	for (int i = 0; i < 3; i++)
		mlo_tensor_set_f64(data, i, 10 * i);
	CU_ASSERT_EQUAL_FATAL(mlo_preprocess_parse(&p, "layout=nchw,order=bgr,mean=1:2:3", NULL), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_preprocess_bind(&p, "data", data, in->rank, in->dim, NULL), MLO_OK);
	mlo_preprocess_apply(&p, data, 0, 1, in);
	CU_ASSERT(mlo_tensor_f64(in, 0) == 19 && mlo_tensor_f64(in, 1) == 8 && mlo_tensor_f64(in, 2) == -3);
	mlo_arena_free(a);
}

static void grey_pictures_get_a_channel(void)
{
	MloArena *a = mlo_arena_new();
	MloTensor *data = mlo_tensor_new(a, EL_u8, 3, (int64_t[]){5, 4, 4});
	MloTensor *in = floats(a, 4, (int64_t[]){2, 1, 4, 4});
	MloPreprocess p;

	for (int i = 0; i < 80; i++)
		mlo_tensor_set_i64(data, i, i);
	CU_ASSERT_EQUAL_FATAL(mlo_preprocess_parse(&p, NULL, NULL), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_preprocess_bind(&p, "data", data, in->rank, in->dim, NULL), MLO_OK);
	mlo_preprocess_apply(&p, data, 3, 2, in);
	for (int i = 0; i < 32; i++)
		CU_ASSERT_EQUAL(mlo_tensor_f64(in, i), 48 + i);
	mlo_arena_free(a);
}

static void wrong_recipes_are_refused(void)
{
	static const char *const texts[] = {"scale",   "scale=",    "scale=x", "scale=1/0",  "scale=1:2",
					    "mean=1:", "mean=1;2",  "std=0",   "layout=hwc", "order=grb",
					    "gamma=2", "scale=inf", "mean=nan"};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		MloPreprocess p;
		MloDiag d = {0};

		CU_ASSERT_EQUAL(mlo_preprocess_parse(&p, texts[i], &d), MLO_ERR_USAGE);
		CU_ASSERT_EQUAL(d.nerrors, 1);
		mlo_diag_free(&d);
	}
}

static void shapes_that_do_not_fit_are_refused(void)
{
	MloArena *a = mlo_arena_new();
	MloTensor *data = mlo_tensor_new(a, EL_u8, 4, (int64_t[]){1, 4, 5, 3});
	MloPreprocess p;

	CU_ASSERT_EQUAL_FATAL(mlo_preprocess_parse(&p, "layout=nchw", NULL), MLO_OK);
	CU_ASSERT_EQUAL(mlo_preprocess_bind(&p, "data", data, 4, (int64_t[]){1, 3, 4, 5}, NULL), MLO_OK);
	CU_ASSERT_EQUAL(mlo_preprocess_bind(&p, "data", data, 4, (int64_t[]){1, 4, 5, 3}, NULL), MLO_ERR_MODEL);
	CU_ASSERT_EQUAL(mlo_preprocess_bind(&p, "data", data, 0, NULL, NULL), MLO_ERR_MODEL);
	CU_ASSERT_EQUAL_FATAL(mlo_preprocess_parse(&p, "layout=nchw,mean=1:2", NULL), MLO_OK);
	CU_ASSERT_EQUAL(mlo_preprocess_bind(&p, "data", data, 4, (int64_t[]){1, 3, 4, 5}, NULL), MLO_ERR_MODEL);
	mlo_arena_free(a);
}

void suite_dataset(void)
{
	CU_pSuite s = CU_add_suite("dataset", NULL, NULL);

	CU_ADD_TEST(s, idx_is_read_packed_and_plain);
	CU_ADD_TEST(s, idx_numbers_are_big_endian);
	CU_ADD_TEST(s, damaged_data_is_refused);
	CU_ADD_TEST(s, channels_move_and_are_normalised);
	CU_ADD_TEST(s, bgr_reverses_channels_and_lists_follow_the_model);
	CU_ADD_TEST(s, grey_pictures_get_a_channel);
	CU_ADD_TEST(s, wrong_recipes_are_refused);
	CU_ADD_TEST(s, shapes_that_do_not_fit_are_refused);
}
