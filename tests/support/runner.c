/* tests/support/runner.c -- runs a package once on values from a file; built statically for other machines
 * and run under an emulator.  usage: runner PACKAGE THREADS FOLDER: reads FOLDER/in.bin, writes
 * FOLDER/out.bin. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/values.h"

enum { MAX_IO = 64 };

static int run(MlrtModel *m, MlrtSession *s, const char *folder, MlrtError *err)
{
	const size_t nin = mlrt_model_inputs(m), nout = mlrt_model_outputs(m);
	MlrtTensor in[MAX_IO], out[MAX_IO] = {{0}};
	const char *elem[MAX_IO];
	char path[4096];
	MlrtTensorInfo info;
	void *block;
	int bad = 0;

	if (nin > MAX_IO || nout > MAX_IO) {
		snprintf(err->text, sizeof err->text, "%zu inputs, %zu outputs", nin, nout);
		return 1;
	}
	snprintf(path, sizeof path, "%s/in.bin", folder);
	block = values_read(path, in, nin);
	if (!block) {
		snprintf(err->text, sizeof err->text, "cannot read %.400s", path);
		return 1;
	}
	if (mlrt_session_run_tensors(s, in, out, err))
		bad = 1;
	for (size_t i = 0; !bad && i < nout; i++) {
		mlrt_model_output(m, i, &info);
		elem[i] = info.elem;
	}
	snprintf(path, sizeof path, "%s/out.bin", folder);
	if (!bad && !values_write(path, out, elem, nout)) {
		snprintf(err->text, sizeof err->text, "cannot write %.400s", path);
		bad = 1;
	}
	for (size_t i = 0; i < nin; i++)
		mlrt_object_free(in[i].object);
	free(block);
	return bad;
}

int main(int argc, char **argv)
{
	MlrtModel *m = NULL;
	MlrtSession *s = NULL;
	MlrtError err = {0};
	MlrtSessionOptions opt = {0};
	int bad;

	if (argc != 4)
		return 2;
	opt.threads = atoi(argv[2]);
	bad = mlrt_model_open(argv[1], NULL, &m, &err) || mlrt_session_new(m, &opt, &s, &err) ||
	      run(m, s, argv[3], &err);
	if (bad)
		fprintf(stderr, "runner: %s\n", err.text);
	mlrt_session_free(s);
	mlrt_model_close(m);
	return bad;
}
