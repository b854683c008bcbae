/* tests/unit/test_onnx_extern.c -- external tensor data stays in the folder of the model. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/onnx_fixture.h"

void suite_onnx_extern(void);

static char dir[] = "/tmp/mlo_extern_XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[2][256];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
	return path[turn];
}

static int write_file(const char *name)
{
	static const char bytes[12] = "0123\0\0\200\77\0\0\0\100"; /* 4 bytes, then 1.0f and 2.0f */
	FILE *out = fopen(in_dir(name), "wb");

	if (!out)
		return 1;
	fwrite(bytes, 1, sizeof bytes, out);
	return fclose(out);
}

static int set_up(void)
{
	strcpy(dir, "/tmp/mlo_extern_XXXXXX");
	if (!mkdtemp(dir) || mkdir(in_dir("model"), 0700) || mkdir(in_dir("model/sub"), 0700))
		return 1;
	if (write_file("outside.bin") || write_file("model/w.bin") || write_file("model/sub/w.bin") ||
	    write_file("model/two_names.bin"))
		return 1;
	return symlink("w.bin", in_dir("model/soft.bin")) || symlink("sub", in_dir("model/soft")) ||
	       link(in_dir("model/two_names.bin"), in_dir("hard.bin")) || mkfifo(in_dir("model/fifo"), 0600);
}

static int tear_down(void)
{
	static const char *const all[] = {"model/w.bin",    "model/sub/w.bin", "model/two_names.bin",
					  "model/soft.bin", "model/soft",      "model/fifo",
					  "hard.bin",       "outside.bin"};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		unlink(in_dir(all[i]));
	return rmdir(in_dir("model/sub")) | rmdir(in_dir("model")) | rmdir(dir);
}

/* A model with one external weight of two floats. */
static void load(OnnxFix *f, const char *location, const char *offset, const char *length)
{
	Onnx__TensorProto *t;

	ox_model(f, 17);
	t = ox_tensor(f, "w", EL_f32, "2");
	if (location)
		ox_external(f, t, "location", location);
	if (offset)
		ox_external(f, t, "offset", offset);
	if (length)
		ox_external(f, t, "length", length);
	ox_weight(f, t);
	ox_in(f, "x", EL_f32, "2");
	ox_node(f, "Add", "x w", "y");
	ox_out(f, "y");
	f->dir = in_dir("model");
	ox_load(f);
}

static void data_is_found(void)
{
	static const char *const where[] = {"w.bin", "./w.bin", "sub/w.bin", "sub//w.bin"};

	for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
		OnnxFix f;

		load(&f, where[i], "4", i % 2 ? "8" : NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(f.g);
		CU_ASSERT_EQUAL(mlo_tensor_f64(ox_operand(&f, 0, 1), 0), 1);
		CU_ASSERT_EQUAL(mlo_tensor_f64(ox_operand(&f, 0, 1), 1), 2);
		ox_free(&f);
	}
}

static void paths_are_confined(void)
{
	static const struct {
		const char *where, *says;
	} rows[] = {
		{"../outside.bin", "must be relative and stay"},
		{"sub/../w.bin", "must be relative and stay"},
		{"/etc/passwd", "must be relative and stay"},
		{"", "must be relative and stay"},
		{".", "must be relative and stay"},
		{"sub/", "must be relative and stay"},
		{"soft.bin", "symbolic links are refused"},
		{"soft/w.bin", "symbolic links are refused"},
		{"two_names.bin", "hard links"},
		{"sub", "not a regular file"},
		{"fifo", "not a regular file"},
		{"nothing.bin", "No such file"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		OnnxFix f;

		load(&f, rows[i].where, "4", "8");
		CU_ASSERT_PTR_NULL(f.g);
		CU_ASSERT(ox_says(&f, rows[i].says));
		CU_ASSERT(ox_says(&f, "tensor 'w'"));
		ox_free(&f);
	}
}

static void extents_are_bounded(void)
{
	static const struct {
		const char *offset, *length, *says;
	} rows[] = {
		{"5", "8", "beyond its end at 12"},
		{"18446744073709551612", "8", "beyond its end"},
		{"18446744073709551616", "8", "is not a number"},
		{"-4", "8", "is not a number"},
		{"4", "12", "its type needs 8 bytes"},
		{"", NULL, "is not a number"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		OnnxFix f;

		load(&f, "w.bin", rows[i].offset, rows[i].length);
		CU_ASSERT_PTR_NULL(f.g);
		CU_ASSERT(ox_says(&f, rows[i].says));
		ox_free(&f);
	}
}

static void memory_has_no_folder(void)
{
	OnnxFix f;
	size_t n;
	void *p;

	load(&f, "w.bin", "4", "8");
	CU_ASSERT_PTR_NOT_NULL(f.g);
	p = ox_bytes(&f, &n);
	CU_ASSERT_PTR_NULL(mlo_onnx_load_memory(p, n, "memory", NULL, NULL, &f.diag));
	CU_ASSERT(ox_says(&f, "external data is not allowed here"));
	ox_free(&f);
}

void suite_onnx_extern(void)
{
	CU_pSuite s = CU_add_suite("onnx_extern", set_up, tear_down);

	CU_add_test(s, "data is found", data_is_found);
	CU_add_test(s, "paths are confined", paths_are_confined);
	CU_add_test(s, "extents are bounded", extents_are_bounded);
	CU_add_test(s, "memory has no folder", memory_has_no_folder);
}
