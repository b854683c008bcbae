/* examples/run_dlr.c -- a model through the interface of DLR: what it reads and writes, and one run on zeros.
 *
 *   cc -std=gnu11 run_dlr.c $(pkg-config --cflags --libs mlopt_dlr) -o run_dlr
 *   ./run_dlr model.mlopt                 or a folder that holds a package; open sizes become 1 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <dlr.h>

enum { MAX_RANK = 16, WIDEST = 16 };

static int fail(void)
{
	fprintf(stderr, "%s\n", DLRGetLastError());
	return -1;
}

static void print(const char *what, const char *name, const char *type, const int64_t *shape, int dim)
{
	printf("%s %s: %s[", what, name, type);
	for (int i = 0; i < dim; i++)
		printf("%s%" PRId64, i ? "," : "", shape[i]);
	printf("]\n");
}

static int set_zeros(DLRModelHandle *m, int index)
{
	int64_t shape[MAX_RANK], size, n = 1;
	const char *name, *type;
	int dim, bad;
	void *zeros;

	if (GetDLRInputName(m, index, &name) || GetDLRInputType(m, index, &type) ||
	    GetDLRInputSizeDim(m, index, &size, &dim) || GetDLRInputShape(m, index, shape))
		return fail();
	print("input", name, type, shape, dim);
	for (int i = 0; i < dim; i++)
		n *= shape[i] = shape[i] < 0 ? 1 : shape[i];
	zeros = calloc((size_t)n + 1, WIDEST);
	bad = zeros ? SetDLRInput(m, name, shape, zeros, dim) : -1;
	free(zeros);
	return bad ? fail() : 0;
}

static int show_output(DLRModelHandle *m, int index)
{
	int64_t shape[MAX_RANK], size;
	const char *name, *type;
	int dim;

	if (GetDLROutputName(m, index, &name) || GetDLROutputType(m, index, &type) ||
	    GetDLROutputSizeDim(m, index, &size, &dim) || GetDLROutputShape(m, index, shape))
		return fail();
	print("output", name, type, shape, dim);
	return 0;
}

int main(int argc, char **argv)
{
	DLRModelHandle model = NULL;
	int inputs = 0, outputs = 0, bad;

	if (argc != 2) {
		fprintf(stderr, "usage: %s PACKAGE|FOLDER\n", argv[0]);
		return 2;
	}
	if (CreateDLRModel(&model, argv[1], 1, 0))
		return fail(), 1;
	bad = GetDLRNumInputs(&model, &inputs) || GetDLRNumOutputs(&model, &outputs) ? fail() : 0;
	for (int i = 0; !bad && i < inputs; i++)
		bad = set_zeros(&model, i);
	if (!bad && RunDLRModel(&model))
		bad = fail();
	for (int i = 0; !bad && i < outputs; i++)
		bad = show_output(&model, i);
	DeleteDLRModel(&model);
	return bad != 0;
}
