/* tests/unit/test_runtime_open.c -- opening packages: what is told of them, which are refused and why. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tests/unit/package_fixture.h"

void suite_runtime_open(void);

static void tells_what_is_inside(void)
{
	Fixture f;
	MlrtTensorInfo info;
	size_t n;

	fix_init(&f);
	fix_build(&f);
	MlrtModel *m = fix_open(&f);
	CU_ASSERT_STRING_EQUAL(mlrt_model_variant(m), "plain");
	CU_ASSERT_STRING_EQUAL(mlrt_model_manifest(m, &n), f.manifest);
	CU_ASSERT_EQUAL(n, strlen(f.manifest));
	CU_ASSERT_EQUAL(mlrt_model_inputs(m), 1);
	CU_ASSERT_EQUAL(mlrt_model_outputs(m), 2);
	CU_ASSERT_EQUAL(mlrt_model_arena_bytes(m), 256);
	CU_ASSERT_EQUAL(mlrt_model_input(m, 0, &info), MLRT_OK);
	CU_ASSERT_STRING_EQUAL(info.name, "x");
	CU_ASSERT_STRING_EQUAL(info.elem, "f32");
	CU_ASSERT(info.rank == 2 && info.dims[0] == 5 && info.dims[1] == 8 && info.bytes == 160);
	CU_ASSERT_EQUAL(mlrt_model_output(m, 1, &info), MLRT_OK);
	CU_ASSERT_STRING_EQUAL(info.name, "w\xc3\xa4re \xf0\x9f\x98\x80");
	CU_ASSERT_EQUAL(mlrt_model_input(m, 1, &info), MLRT_ERR_ARGUMENT);
	CU_ASSERT_EQUAL(mlrt_model_output(m, 2, &info), MLRT_ERR_ARGUMENT);
	mlrt_model_close(m);
	fix_free(&f);
}

/* Opens the bytes, which must be refused with `st` and a text that holds `part`. */
static void refused(const void *bytes, size_t n, MlrtStatus st, const char *part)
{
	const MlrtOpenOptions all = {.check_all = 1};
	MlrtModel *m = (MlrtModel *)1;
	MlrtError err;

	CU_ASSERT_EQUAL(mlrt_model_open_memory(bytes, n, &all, &m, &err), st);
	CU_ASSERT_PTR_NULL(m);
	CU_ASSERT_EQUAL(err.status, st);
	if (!strstr(err.text, part)) {
		printf("\n  '%s' lacks '%s'", err.text, part);
		CU_FAIL("wrong message");
	}
}

static void opens_files(void)
{
	Fixture f;
	char path[64];
	MlrtModel *m = NULL;
	MlrtError err;

	fix_init(&f);
	fix_build(&f);
	fix_write(&f, path);
	CU_ASSERT_EQUAL(mlrt_model_open(path, NULL, &m, &err), MLRT_OK);
	CU_ASSERT_PTR_NOT_NULL(m);
	mlrt_model_close(m);
	CU_ASSERT_EQUAL(truncate(path, (off_t)f.n - 1), 0);
	CU_ASSERT_EQUAL(mlrt_model_open(path, NULL, &m, &err), MLRT_ERR_TRUNCATED);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
	CU_ASSERT_EQUAL(truncate(path, 0), 0);
	CU_ASSERT_EQUAL(mlrt_model_open(path, NULL, &m, &err), MLRT_ERR_FORMAT);
	unlink(path);
	CU_ASSERT_EQUAL(mlrt_model_open(path, NULL, &m, &err), MLRT_ERR_IO);
	CU_ASSERT_EQUAL(mlrt_model_open(".", NULL, &m, &err), MLRT_ERR_IO);
	CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
	CU_ASSERT_EQUAL(mlrt_model_open(path, NULL, &m, NULL), MLRT_ERR_IO); /* and does not hang */
	unlink(path);
	CU_ASSERT_EQUAL(mlrt_model_open(NULL, NULL, &m, NULL), MLRT_ERR_ARGUMENT);
	fix_free(&f);
}

static void any_flipped_byte_is_refused(void)
{
	Fixture f;
	size_t accepted = 0;

	fix_init(&f);
	fix_build(&f);
	for (size_t i = 0; i < f.n; i++) {
		f.bytes[i] ^= (unsigned char)(1 << i % 8);
		accepted += fix_starts(&f, NULL) == MLRT_OK;
		accepted += fix_starts(&f, &(MlrtOpenOptions){.check_all = 1}) == MLRT_OK;
		f.bytes[i] ^= (unsigned char)(1 << i % 8);
	}
	CU_ASSERT_EQUAL(accepted, 0);
	mlrt_model_close(fix_open(&f));
	fix_free(&f);
}

static void any_cut_is_refused(void)
{
	Fixture f;
	MlrtModel *m;
	size_t accepted = 0;

	fix_init(&f);
	fix_build(&f);
	for (size_t n = 0; n < f.n; n += n < 3000 || n > f.n - 300 ? 1 : 61) {
		unsigned char *cut = malloc(n + 1); /* its own block: a sanitizer sees reads behind it */

		memcpy(cut, f.bytes, n);
		accepted += mlrt_model_open_memory(cut, n, NULL, &m, NULL) == MLRT_OK;
		free(cut);
	}
	CU_ASSERT_EQUAL(accepted, 0);
	fix_free(&f);
}

static void skipping_hashes_keeps_the_other_checks(void)
{
	const MlrtOpenOptions trust = {.skip_hashes = 1};
	Fixture f;
	MlrtModel *m = NULL;

	fix_init(&f);
	fix_build(&f);
	f.bytes[MLRT_PAGE + FIX_CODE_BYTES - 1] ^= 1; /* in the code blob */
	CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, &trust, &m, NULL), MLRT_OK);
	mlrt_model_close(m);
	refused(f.bytes, f.n, MLRT_ERR_DAMAGED, "hash of blob 0");
	f.bytes[MLRT_PAGE + FIX_CODE_BYTES] ^= 1; /* behind it */
	CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, &trust, &m, NULL), MLRT_ERR_DAMAGED);
	fix_free(&f);
}

/* Weights are checked when the first session is made: by each attempt until one succeeds, and then no more. */
static void weights_are_checked_before_they_are_used(void)
{
	Fixture f;
	MlrtSession *s = (MlrtSession *)1;
	MlrtError err;
	MlrtModel *m;

	fix_init(&f);
	fix_build(&f);
	f.bytes[2 * MLRT_PAGE + 5] ^= 1;
	m = fix_open(&f);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(mlrt_session_new(m, NULL, &s, &err), MLRT_ERR_DAMAGED);
		CU_ASSERT_PTR_NULL(s);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "hash of blob 1"));
	}
	f.bytes[2 * MLRT_PAGE + 5] ^= 1;
	CU_ASSERT_EQUAL(mlrt_session_new(m, NULL, &s, &err), MLRT_OK);
	mlrt_session_free(s);
	f.bytes[2 * MLRT_PAGE + 5] ^= 1;
	CU_ASSERT_EQUAL(mlrt_session_new(m, NULL, &s, &err), MLRT_OK);
	mlrt_session_free(s);
	mlrt_model_close(m);
	CU_ASSERT_EQUAL(fix_starts(&f, &(MlrtOpenOptions){.skip_hashes = 1}), MLRT_OK);
	fix_free(&f);
}

static void odd_addresses_are_fine(void)
{
	Fixture f;

	fix_init(&f);
	fix_build(&f);
	for (int shift = 1; shift < 64; shift += 20) {
		unsigned char *bytes = malloc(f.n + 64);
		MlrtModel *m = NULL;
		MlrtSession *s = NULL;
		FixData d;

		memcpy(bytes + shift, f.bytes, f.n);
		CU_ASSERT_EQUAL(mlrt_model_open_memory(bytes + shift, f.n, NULL, &m, NULL), MLRT_OK);
		CU_ASSERT_EQUAL(mlrt_session_new(m, NULL, &s, NULL), MLRT_OK);
		fix_data(&d, shift);
		CU_ASSERT_EQUAL(fix_run(s, &d, NULL), MLRT_OK);
		CU_ASSERT(fix_right(&d));
		mlrt_session_free(s);
		mlrt_model_close(m);
		free(bytes);
	}
	fix_free(&f);
}

static void versions(void)
{
	Fixture f;
	MlrtModel *m = NULL;
	uint16_t major = MLRT_FORMAT_MAJOR + 1, minor = MLRT_FORMAT_MINOR + 5;
	char text[40];

	fix_init(&f);
	fix_build(&f);
	memcpy(f.bytes + offsetof(MlrtHeader, minor), &minor, sizeof minor);
	fix_seal(&f);
	m = fix_open(&f);
	mlrt_model_close(m);
	memcpy(f.bytes + offsetof(MlrtHeader, major), &major, sizeof major);
	fix_seal(&f);
	snprintf(text, sizeof text, "format %u.%u", (unsigned)major, (unsigned)minor);
	refused(f.bytes, f.n, MLRT_ERR_VERSION, text);
	refused("MLOPT", 5, MLRT_ERR_TRUNCATED, "cut off");
	refused("Ml", 2, MLRT_ERR_FORMAT, "not a package");
	fix_free(&f);
}

static void variants_are_chosen_by_features(void)
{
	const MlrtOpenOptions better = {.variant = "better"}, plain = {.variant = "plain"}, none = {.variant = "nope"};
	Fixture f;
	MlrtModel *m = NULL;
	MlrtError err;

	fix_init(&f);
	fix_build(&f);
	CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, &plain, &m, &err), MLRT_OK);
	mlrt_model_close(m);
	CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, &better, &m, &err), MLRT_ERR_TARGET);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'better'"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "needs time-travel"));
	CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, &none, &m, &err), MLRT_ERR_ARGUMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "nope"));
	fix_edit(&f, "\"plain\",\"arch\":\"", "\"plain\",\"arch\":\"un");
	fix_build(&f);
	CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, NULL, &m, &err), MLRT_ERR_TARGET);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'better' needs time-travel"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'plain' is for un"));
	fix_free(&f);
}

/* The program, which does not fit the manifest, is refused by another code. */
static MlrtStatus code_of(const char *says)
{
	if (strstr(says, "of format"))
		return MLRT_ERR_VERSION;
	return strstr(says, "touches") || strstr(says, "memory sizes") ? MLRT_ERR_FORMAT : MLRT_ERR_MANIFEST;
}

static void bad_manifests_are_refused(void)
{
	static const struct { const char *from, *to, *says; } edits[] = {
		{"{\"format\":1", "{\"format\":2", "manifest of format 2"},
		{"{\"format\":1", "{\"format\":1.0", "no format"},
		{"{\"format\":1", "{\"format\":1,\"format\":1", "the key 'format' is there twice"},
		{"\"ok\":true", "\"ok\":true,\"pi\":3", "the key 'pi' is there twice"},
		{"\"inputs\":[", "\"inputs\":{", "key expected"},
		{"\"inputs\"", "\"nope\"", "no list of inputs"},
		{"\"variants\"", "\"nope\"", "no list of variants"},
		{"\"dims\":[5,8]", "\"dims\":[5,9]", "its shape differs"},
		{"\"dims\":[5,8]", "\"dims\":[-5,-8]", "no usable 'dims'"},
		{"\"dims\":[5,8]", "\"dims\":[4294967296,4294967296]", "no usable 'dims'"},
		{"\"dims\":[5,8]", "\"dims\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,40]", "no usable 'dims'"},
		{"\"bytes\":160", "\"bytes\":99999999999999999999", "no usable 'bytes'"},
		{"\"elem\":\"f32\"", "\"elem\":\"f33\"", "unknown element type 'f33'"},
		{"\"name\":\"x\"", "\"name\":7", "no usable 'name'"},
		{"\"name\":\"x\"", "\"name\":\"\\u0000\"", "no character"},
		{"\"name\":\"x\"", "\"name\":\"\\ud800\"", "no character"},
		{"\"name\":\"x\"", "\"name\":\"\\x\"", "unknown escape"},
		{"\"name\":\"x\"", "\"name\":\"\xc0\x80\"", "not UTF-8"},
		{"\"name\":\"x\"", "\"name\":\"\xed\xa0\x80\"", "not UTF-8"},
		{"\"name\":\"x\"", "\"name\":\"\n\"", "control character"},
		{"\"needs\":[\"time-travel\"]", "\"needs\":[1]", "no usable 'needs'"},
		{"\"code\":0", "\"code\":1", "no usable 'code'"},
		{"\"code\":0", "\"code\":-1", "no usable 'code'"},
		{"\"weights\":1", "\"weights\":9", "no usable 'weights'"},
		{"\"weights\":1,", "", "argument 1 touches 160 bytes at 0 of 0"},
		{"\"program\":2", "\"program\":0", "no usable 'program'"},
		{"\"arena_bytes\":256", "\"arena_bytes\":255", "different memory sizes"},
		{"\"scratch_bytes\":8", "\"scratch_bytes\":null", "no usable 'scratch_bytes'"},
		{"\"ok\":true", "\"ok\":tru", "unexpected character"},
		{"\"pi\":3.14e0", "\"pi\":03", "',' or a closing bracket"},
		{"\"pi\":3.14e0", "\"pi\":3.", "malformed number"},
		{"null}}", "null,}}", "key expected"},
		{"null}}", "null}} x", "behind the end"},
		{"null}}", "null}", "',' or a closing bracket"},
		{"null}}", "\"x", "string without end"},
	};

	for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
		Fixture f;

		fix_init(&f);
		fix_edit(&f, edits[i].from, edits[i].to);
		fix_build(&f);
		refused(f.bytes, f.n, code_of(edits[i].says), edits[i].says);
		fix_free(&f);
	}
}

static void deep_manifests_are_refused(void)
{
	Fixture f;
	char deep[2001];

	fix_init(&f);
	memset(deep, '[', 2000);
	deep[2000] = 0;
	fix_edit(&f, "3.14e0", deep);
	fix_build(&f);
	refused(f.bytes, f.n, MLRT_ERR_MANIFEST, "nesting too deep");
	fix_free(&f);
}

typedef void Damage(FixProgram *p);
static void no_magic(FixProgram *p) { p->head.magic++; }
static void many_steps(FixProgram *p) { p->head.nsteps = UINT32_MAX; }
static void many_args(FixProgram *p) { p->head.nargs++; }
static void big_arena(FixProgram *p) { p->head.arena_bytes = UINT64_MAX; }
static void code_behind(FixProgram *p) { p->step[1].code = FIX_CODE_BYTES; }
static void code_far(FixProgram *p) { p->step[2].code = UINT64_MAX; }
static void args_behind(FixProgram *p) { p->step[2].first_arg = 7; }
static void args_wrap(FixProgram *p) { p->step[0].first_arg = 4; p->step[0].nargs = UINT32_MAX; }
static void no_tasks(FixProgram *p) { p->step[0].ntasks = 0; }
static void odd_flags(FixProgram *p) { p->step[0].flags = 4; }
static void no_space(FixProgram *p) { p->arg[0].space = 5; }
static void no_input(FixProgram *p) { p->arg[0].index = 1; }
static void arena_index(FixProgram *p) { p->arg[2].index = 1; }
static void output_long(FixProgram *p) { p->arg[5].bytes++; }
static void input_far(FixProgram *p) { p->arg[0].offset = UINT64_MAX; p->arg[0].bytes = 1; }
static void arena_over(FixProgram *p) { p->arg[2].offset = 128; }
static void weights_over(FixProgram *p) { p->arg[1].offset = 4; }
static void none_with_bytes(FixProgram *p) { p->arg[1] = (MlrtArg){MLRT_NONE, 0, 0, 1}; }

static void bad_programs_are_refused(void)
{
	static const struct { Damage *damage; const char *says; } rows[] = {
		{no_magic, "program of 3 steps"},   {many_steps, "program of 4294967295 steps"},
		{many_args, "8 arguments"},         {big_arena, "different memory sizes"},
		{code_behind, "step 1 starts at 128 of 128"}, {code_far, "step 2 starts at"},
		{args_behind, "step 2 has arguments"}, {args_wrap, "step 0 has arguments"},
		{no_tasks, "0 tasks"},              {odd_flags, "flags 4"},
		{no_space, "argument 0 is in space 5"}, {no_input, "argument 0 is in space 2, index 1"},
		{arena_index, "argument 2"},        {output_long, "argument 5 touches 161 bytes at 0 of 160"},
		{input_far, "argument 0 touches"},  {arena_over, "argument 2 touches 160 bytes at 128 of 256"},
		{weights_over, "argument 1 touches"}, {none_with_bytes, "argument 1 touches 1 bytes at 0 of 0"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		Fixture f;

		fix_init(&f);
		rows[i].damage(&f.program);
		fix_build(&f);
		refused(f.bytes, f.n, MLRT_ERR_FORMAT, rows[i].says);
		fix_free(&f);
	}
}

static void misplaced_blobs_are_refused(void)
{
	Fixture f;
	MlrtHeader h;
	MlrtBlob table[3];

	for (int row = 0; row < 7; row++) {
		fix_init(&f);
		fix_build(&f);
		memcpy(&h, f.bytes, sizeof h);
		memcpy(table, f.bytes + h.table_offset, sizeof table);
		table[0].offset += row == 0 ? 64 : 0;            /* not on a page */
		table[1].offset -= row == 1 ? MLRT_PAGE : 0;     /* overlaps */
		table[2].bytes += row == 2 ? 1 : 0;              /* beyond the end */
		table[1].bytes = row == 3 ? UINT64_MAX : table[1].bytes;
		table[1].kind = row == 4 ? 99 : table[1].kind;
		table[0].flags = row == 5;                       /* code is no table to look up in */
		table[1].flags = row == 6 ? 2 : 0;               /* more chunks than there are */
		memcpy(f.bytes + h.table_offset, table, sizeof table);
		h.table_hash = XXH3_64bits(table, sizeof table);
		memcpy(f.bytes, &h, sizeof h);
		fix_seal(&f);
		refused(f.bytes, f.n, MLRT_ERR_FORMAT, "damaged: blob");
		fix_free(&f);
	}
}

/* Pages of this process that are in memory. */
static long resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long all, in = 0;

	CU_ASSERT_FATAL(f && fscanf(f, "%ld %ld", &all, &in) == 2);
	fclose(f);
	return in;
}

/* Tables at the end of the weights are checked like all else, and then not kept in memory. */
static void tables_are_not_kept(void)
{
	enum { TABLE = 16 << 20 };
	const long pages = TABLE / sysconf(_SC_PAGESIZE);
	MloPiece piece[2];
	char path[64];

	for (int lookup = 0; lookup < 2; lookup++) {
		Fixture f;
		FixData d;
		MlrtModel *m;
		MlrtSession *s;
		MlrtError err;
		long before;

		fix_init(&f);
		piece[0] = (MloPiece){f.weights, sizeof f.weights};
		piece[1] = (MloPiece){NULL, TABLE};
		fix_build_with(&f, piece, 2, lookup ? TABLE : 0);
		fix_write(&f, path);
		before = resident();
		CU_ASSERT_EQUAL_FATAL(mlrt_model_open(path, &(MlrtOpenOptions){.check_all = 1}, &m, &err), MLRT_OK);
		if (lookup)
			CU_ASSERT(resident() - before < pages / 2)
		else
			CU_ASSERT(resident() - before >= pages)
		CU_ASSERT_EQUAL_FATAL(mlrt_session_new(m, NULL, &s, &err), MLRT_OK);
		fix_data(&d, 3);
		CU_ASSERT_EQUAL(fix_run(s, &d, &err), MLRT_OK);
		CU_ASSERT(fix_right(&d));
		mlrt_session_free(s);
		mlrt_model_close(m);
		f.bytes[f.n - 3 * MLRT_PAGE] ^= 1; /* in the table */
		refused(f.bytes, f.n, MLRT_ERR_DAMAGED, "hash of blob 1");
		unlink(path);
		fix_free(&f);
	}
}

void suite_runtime_open(void)
{
	CU_pSuite s = CU_add_suite("runtime_open", NULL, NULL);

	CU_ADD_TEST(s, tells_what_is_inside);
	CU_ADD_TEST(s, opens_files);
	CU_ADD_TEST(s, tables_are_not_kept);
	CU_ADD_TEST(s, any_flipped_byte_is_refused);
	CU_ADD_TEST(s, any_cut_is_refused);
	CU_ADD_TEST(s, skipping_hashes_keeps_the_other_checks);
	CU_ADD_TEST(s, weights_are_checked_before_they_are_used);
	CU_ADD_TEST(s, odd_addresses_are_fine);
	CU_ADD_TEST(s, versions);
	CU_ADD_TEST(s, variants_are_chosen_by_features);
	CU_ADD_TEST(s, bad_manifests_are_refused);
	CU_ADD_TEST(s, deep_manifests_are_refused);
	CU_ADD_TEST(s, bad_programs_are_refused);
	CU_ADD_TEST(s, misplaced_blobs_are_refused);
}
