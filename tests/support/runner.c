/* tests/support/runner.c -- runs a package once on raw files; built statically for other machines
 * too and run under an emulator.  usage: runner PACKAGE THREADS FOLDER: reads FOLDER/in<i>.bin, writes
 * FOLDER/out<i>.bin. */
#include <stdio.h>
#include <stdlib.h>

#include "mlopt/runtime.h"

static void *buffer(const char *folder, const char *kind, size_t i, size_t bytes, int read)
{
	char path[4096];
	void *p = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
	FILE *f;

	snprintf(path, sizeof path, "%s/%s%zu.bin", folder, kind, i);
	if (!p || !read)
		return p;
	f = fopen(path, "rb");
	if (!f || fread(p, 1, bytes, f) != bytes) {
		fprintf(stderr, "runner: cannot read %zu bytes of %s\n", bytes, path);
		exit(1);
	}
	fclose(f);
	return p;
}

static int store(const char *folder, size_t i, const void *p, size_t bytes)
{
	char path[4096];
	FILE *f;
	int ok;

	snprintf(path, sizeof path, "%s/out%zu.bin", folder, i);
	f = fopen(path, "wb");
	ok = f && fwrite(p, 1, bytes, f) == bytes;
	return (f ? fclose(f) : 1) == 0 && ok;
}

int main(int argc, char **argv)
{
	MlrtModel *m;
	MlrtSession *s;
	MlrtError err;
	MlrtSessionOptions opt = {0};
	const void *in[64];
	void *out[64];
	MlrtTensorInfo info;

	if (argc != 4)
		return 2;
	opt.threads = atoi(argv[2]);
	if (mlrt_model_open(argv[1], NULL, &m, &err) || mlrt_session_new(m, &opt, &s, &err)) {
		fprintf(stderr, "runner: %s\n", err.text);
		return 1;
	}
	if (mlrt_model_inputs(m) > 64 || mlrt_model_outputs(m) > 64)
		return 2;
	for (size_t i = 0; i < mlrt_model_inputs(m); i++) {
		mlrt_model_input(m, i, &info);
		in[i] = buffer(argv[3], "in", i, info.bytes, 1);
	}
	for (size_t i = 0; i < mlrt_model_outputs(m); i++) {
		mlrt_model_output(m, i, &info);
		out[i] = buffer(argv[3], "out", i, info.bytes, 0);
	}
	if (mlrt_session_run(s, in, out, &err)) {
		fprintf(stderr, "runner: %s\n", err.text);
		return 1;
	}
	for (size_t i = 0; i < mlrt_model_outputs(m); i++) {
		mlrt_model_output(m, i, &info);
		if (!store(argv[3], i, out[i], info.bytes))
			return 1;
	}
	mlrt_session_free(s);
	mlrt_model_close(m);
	return 0;
}
