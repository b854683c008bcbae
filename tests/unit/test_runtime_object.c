/* tests/unit/test_runtime_object.c -- sequences, optionals, maps and strings: operators, and what applications do with them. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/list_programs.h"

void suite_runtime_object(void);

static MlrtStatus run(MlrtSession *s, const MlrtTensor *in, MlrtTensor *out)
{
	MlrtError err = {0};
	MlrtStatus st = mlrt_session_run_tensors(s, in, out, &err);

	if (st)
		puts(err.text);
	return st;
}

static void fails(MlrtSession *s, const MlrtTensor *in, MlrtTensor *out, const char *part)
{
	MlrtError err = {0};

	CU_ASSERT_EQUAL(mlrt_session_run_tensors(s, in, out, &err), MLRT_ERR_ARGUMENT);
	if (!strstr(err.text, part)) {
		printf("\n  '%s' lacks '%s'", err.text, part);
		CU_FAIL("wrong message");
	}
}

static const int64_t *ints(const MlrtTensor *t)
{
	return t->data;
}

static int is_text(const MlrtTensor *t, size_t i, const char *want)
{
	const MlrtText *x = (const MlrtText *)t->data + i;

	return (size_t)x->n == strlen(want) && memcmp(x->s, want, strlen(want)) == 0;
}

/* An optional sequence of two: [1,2] and [1,1], which stand side by side as [1,3]. */
static MlrtObject *two_items(void)
{
	MlrtObject *o = mlrt_object_new("opt_seq", "i64", NULL);
	int64_t a[] = {7, 8}, b[] = {9};
	const MlrtTensor first = lf_ints(a, 2, 1, 2), second = lf_ints(b, 2, 1, 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	CU_ASSERT_EQUAL(mlrt_object_present(o), 0);
	CU_ASSERT_EQUAL(mlrt_object_append(o, &first, NULL), MLRT_OK);
	CU_ASSERT_EQUAL(mlrt_object_append(o, &second, NULL), MLRT_OK);
	CU_ASSERT_EQUAL(mlrt_object_present(o), 1);
	CU_ASSERT_EQUAL(mlrt_object_count(o), 2);
	return o;
}

static void check_objects(const MlrtTensor *out, const int64_t *x, int n, int at)
{
	MlrtTensor item;
	int left = 0;

	at = at < 0 ? at + n : at;
	CU_ASSERT_STRING_EQUAL(mlrt_object_kind(out[0].object), "seq");
	CU_ASSERT_EQUAL(mlrt_object_count(out[0].object), (size_t)n - 1);
	for (int i = 0; i < n; i++) {
		if (i == at)
			continue;
		CU_ASSERT_EQUAL(mlrt_object_item(out[0].object, (size_t)left++, &item), MLRT_OK);
		CU_ASSERT(item.rank == 1 && item.dims[0] == 2 && !memcmp(item.data, x + 2 * i, 16));
	}
	CU_ASSERT_EQUAL(mlrt_object_item(out[0].object, (size_t)n - 1, &item), MLRT_ERR_ARGUMENT);
	CU_ASSERT(out[1].rank == 0 && ints(&out[1])[0] == n);
	CU_ASSERT(!memcmp(out[2].data, x + 2 * at, 16));
	CU_ASSERT(out[3].rank == 2 && out[3].dims[0] == 2 && out[3].dims[1] == n);
	for (int i = 0; i < n; i++)
		CU_ASSERT(ints(&out[3])[i] == x[2 * i] && ints(&out[3])[n + i] == x[2 * i + 1]);
	CU_ASSERT(*(unsigned char *)out[4].data == 1 && *(unsigned char *)out[5].data == 0);
	CU_ASSERT(out[6].dims[0] == 1 && out[6].dims[1] == 3 && !memcmp(out[6].data, (int64_t[]){7, 8, 9}, 24));
}

static void sequences_and_optionals(void)
{
	int64_t x[40], at;
	ListFixture f;
	MlrtObject *opt = two_items(), *wrong = mlrt_object_new("opt_seq", "f32", NULL);

	for (int i = 0; i < 40; i++)
		x[i] = i * i;
	lp_objects(&f);
	MlrtModel *m = lf_open(&f);
	MlrtSession *s = lf_session(m, 1);
	MlrtTensor in[] = {{0}, lf_ints(&at, 0), {.object = opt}};
	for (int n = 2; n <= 20; n += 3)
		for (at = 0; at < n; at++) {
			MlrtTensor out[7] = {{0}};

			in[0] = lf_ints(x, 2, n, 2);
			/* what is taken out at `at` is put back there, so the rows come in order again */
			CU_ASSERT_EQUAL_FATAL(run(s, in, out), MLRT_OK);
			check_objects(out, x, n, (int)at);
		}
	at = 20;
	fails(s, in, (MlrtTensor[7]){{0}}, "position 20 in a sequence of 20");
	at = -21;
	fails(s, in, (MlrtTensor[7]){{0}}, "position -21 in a sequence of 20");
	at = 0;
	in[2].object = NULL;
	fails(s, in, (MlrtTensor[7]){{0}}, "input 'opt' is a opt_seq, no object is given");
	in[2].object = wrong;
	fails(s, in, (MlrtTensor[7]){{0}}, "a opt_seq of f32 is given");
	in[2].object = opt;
	mlrt_object_clear(opt, 0);
	fails(s, in, (MlrtTensor[7]){{0}}, "no content");
	mlrt_object_clear(opt, 1);
	fails(s, in, (MlrtTensor[7]){{0}}, "sequence without items");
	mlrt_session_free(s);
	mlrt_model_close(m);
	mlrt_object_free(opt);
	mlrt_object_free(wrong);
	lf_free(&f);
}

static void strings_and_maps(void)
{
	static const MlrtText text[] = {{"eins", 4}, {"", 0}, {"drei drei", 9}};
	int64_t x[] = {10, 20, 30, 40, 50, 60}, repeat;
	MlrtTensor in[] = {{.data = (void *)(uintptr_t)text, .bytes = sizeof text, .rank = 1, .dims = {3}},
			   lf_ints(x, 2, 2, 3), lf_ints(&repeat, 0)};
	ListFixture f;
	MlrtTensor keys, values;

	lp_texts(&f);
	MlrtModel *m = lf_open(&f);
	MlrtSession *s = lf_session(m, 1);
	for (repeat = 5; repeat >= 0; repeat--) {
		MlrtText words[3];
		MlrtTensor out[5] = {[4] = {.data = words, .bytes = sizeof words}};

		CU_ASSERT_EQUAL_FATAL(run(s, in, out), MLRT_OK);
		CU_ASSERT_EQUAL(mlrt_object_count(out[0].object), 2);
		CU_ASSERT_STRING_EQUAL(mlrt_object_key(out[0].object), "str");
		CU_ASSERT_EQUAL(mlrt_object_map(out[0].object, 1, &keys, &values), MLRT_OK);
		CU_ASSERT(is_text(&keys, 0, "ant") && is_text(&keys, 1, "") && is_text(&keys, 2, "gnu's not"));
		CU_ASSERT(!memcmp(values.data, x + 3, 24));
		CU_ASSERT(!memcmp(out[1].data, (int64_t[]){30, 0, 10}, 24));
		CU_ASSERT(out[2].dims[0] == 3 && is_text(&out[2], 0, "eins") && is_text(&out[2], 2, "drei drei"));
		CU_ASSERT(out[3].dims[0] == repeat && out[3].dims[1] == 3);
		for (size_t i = 0; i < (size_t)repeat; i++)
			CU_ASSERT(is_text(&out[3], 3 * i, "eins") && is_text(&out[3], 3 * i + 1, "") &&
			          is_text(&out[3], 3 * i + 2, "drei drei"));
		CU_ASSERT(is_text(&out[4], 0, "ant") && is_text(&out[4], 2, "gnu's not"));
	}
	repeat = 1;
	in[1] = lf_ints(x, 2, 3, 2);
	fails(s, in, (MlrtTensor[5]){{0}}, "dimension 1 is 2, it must be 3");
	in[1] = lf_ints(x, 2, 0, 3);
	fails(s, in, (MlrtTensor[5]){{0}}, "position 0 in a sequence of 0");
	mlrt_session_free(s);
	mlrt_model_close(m);
	lf_free(&f);
}

static void strings_outside_the_weights_are_refused(void)
{
	ListFixture f;
	MlrtModel *m;
	MlrtError err;

	lp_texts(&f);
	memcpy(f.weights + f.strings[1].offset + 16, &(int64_t){(int64_t)f.nweights - 1}, 8); /* 4 characters from there */
	lf_package(&f);
	CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, NULL, &m, &err), MLRT_ERR_FORMAT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "string 1 of table 1 lies outside"));
	lf_free(&f);
}

static void objects_of_the_application(void)
{
	static const MlrtText k[] = {{"a", 1}, {"bc", 2}};
	int64_t v[] = {1, 2};
	MlrtTensor keys = {.data = (void *)(uintptr_t)k, .bytes = sizeof k, .rank = 1, .dims = {2}}, values = lf_ints(v, 1, 2);
	MlrtTensor t;
	MlrtError err;

	errno = 0;
	CU_ASSERT(!mlrt_object_new("heap", "i64", NULL) && errno == EINVAL);
	CU_ASSERT_PTR_NULL(mlrt_object_new("tensor", "i64", NULL));
	CU_ASSERT_PTR_NULL(mlrt_object_new("seq", "i65", NULL));
	CU_ASSERT_PTR_NULL(mlrt_object_new("seq", "i64", "str"));
	CU_ASSERT_PTR_NULL(mlrt_object_new("map", "i64", NULL));
	CU_ASSERT_PTR_NULL(mlrt_object_new("map", "i64", "f32"));
	MlrtObject *map = mlrt_object_new("map", "i64", "str"), *opt = mlrt_object_new("opt", "i64", NULL);
	CU_ASSERT_FATAL(map && opt);
	CU_ASSERT_EQUAL(mlrt_object_append(map, &values, &err), MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL(mlrt_object_append_map(opt, &keys, &values, &err), MLRT_ERR_ARGUMENT);
	values.dims[0] = 1;
	CU_ASSERT_EQUAL(mlrt_object_append_map(map, &keys, &values, &err), MLRT_ERR_ARGUMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "as many keys as values"));
	values.dims[0] = 3;
	CU_ASSERT_EQUAL(mlrt_object_append_map(map, &keys, &values, &err), MLRT_ERR_ARGUMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "its sizes need 24"));
	values.dims[0] = 2;
	CU_ASSERT_EQUAL(mlrt_object_append_map(map, &keys, &values, &err), MLRT_OK);
	CU_ASSERT_EQUAL(mlrt_object_append_map(map, &keys, &values, &err), MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL(mlrt_object_map(map, 0, &keys, &t), MLRT_OK);
	CU_ASSERT(keys.data != k && is_text(&keys, 1, "bc") && ints(&t)[1] == 2);
	CU_ASSERT_EQUAL(mlrt_object_item(map, 0, &t), MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL(mlrt_object_append(opt, &values, &err), MLRT_OK);
	CU_ASSERT_EQUAL(mlrt_object_append(opt, &values, &err), MLRT_ERR_ARGUMENT);
	values.rank = 9;
	mlrt_object_clear(opt, 0);
	CU_ASSERT_EQUAL(mlrt_object_append(opt, &values, &err), MLRT_ERR_ARGUMENT);
	mlrt_object_free(map);
	mlrt_object_free(opt);
	mlrt_object_free(NULL);
}

void suite_runtime_object(void)
{
	CU_pSuite s = CU_add_suite("runtime_object", NULL, NULL);

	CU_ADD_TEST(s, sequences_and_optionals);
	CU_ADD_TEST(s, strings_and_maps);
	CU_ADD_TEST(s, strings_outside_the_weights_are_refused);
	CU_ADD_TEST(s, objects_of_the_application);
}
