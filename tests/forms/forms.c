/* tests/forms/forms.c -- the C program that runs a model's function, and what its output must be.
 *
 *   forms main PREFIX HEADER NOUT IN.npy...      writes that program to standard output
 *   forms compare OUTPUT WANT.npy...             compares the program's output with recorded tensors */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/npy.h"

/* The bound for float32 models, as tests/models/run.c has it: normalised mean squared error of each output. */
#define BOUND 1e-8

static int fail(const char *what, MloDiag *d)
{
	fprintf(stderr, "forms: %s\n", what);
	mlo_diag_print(d, "forms", stderr);
	return 1;
}

static void print_data(const char *name, int i, const MloTensor *t)
{
	printf("static const unsigned char %s%d[] __attribute__((aligned(64))) = {", name, i);
	for (size_t k = 0; k < t->nbytes; k++)
		printf("%s%u,", k % 32 ? "" : "\n", ((const unsigned char *)t->data)[k]);
	printf("\n};\n");
}

static void print_outputs(const char *big, int nout)
{
	for (int i = 0; i < nout; i++)
		printf("static unsigned char out%d[%s_OUTPUT%d_BYTES] __attribute__((aligned(64)));\n", i, big, i);
	printf("static unsigned char arena[%s_ARENA_BYTES + 1] __attribute__((aligned(%s_ARENA_ALIGN)));\n", big, big);
}

/* The call through a pointer, so that the caller's own frame can be measured with a function that does nothing. */
static void print_call(int nin, int nout)
{
	printf("typedef void Run(");
	for (int i = 0; i < nin + nout; i++)
		printf("%s void *, ", i < nin ? "const" : "");
	printf("void *);\nstatic Run *volatile run;\nstatic void idle(");
	for (int i = 0; i < nin + nout; i++)
		printf("%s void *p%d, ", i < nin ? "const" : "", i);
	printf("void *p)\n{\n");
	for (int i = 0; i < nin + nout; i++)
		printf("\t(void)p%d;\n", i);
	printf("\t(void)p;\n}\nstatic void model(void)\n{\n\trun(");
	for (int i = 0; i < nin + nout; i++)
		printf("%s%d, ", i < nin ? "in" : "out", i < nin ? i : i - nin);
	printf("arena);\n}\n");
}

static int print_main(MloArena *a, int argc, char **argv, MloDiag *d)
{
	const char *prefix = argv[0], *header = argv[1];
	char *big = mlo_strdup(a, prefix);
	int nout = atoi(argv[2]), nin = argc - 3;

	for (char *p = big; *p; p++)
		*p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
	printf("#include \"%s\"\n#include \"harness.h\"\n", header);
	for (int i = 0; i < nin; i++) {
		MloTensor *t;

		if (mlo_npy_read(a, argv[3 + i], &t, d) != MLO_OK)
			return fail("an input cannot be read", d);
		printf("_Static_assert(%s_INPUT%d_BYTES == %zu, \"bytes of input %d\");\n", big, i, t->nbytes, i);
		print_data("in", i, t);
	}
	print_outputs(big, nout);
	print_call(nin, nout);
	printf("int main(void)\n{\n\tuint32_t frame, used;\n\n");
	printf("\tarena[%s_ARENA_BYTES] = 0x5a;\n\trun = idle;\n\tframe = harness_stack(model);\n", big);
	printf("\trun = (Run *)%s_run;\n\tused = harness_stack(model);\n", prefix);
	for (int i = 0; i < nout; i++)
		printf("\tharness_bytes(out%d, sizeof out%d);\n", i, i);
	printf("\tharness_number(\"stack\", used - frame);\n\tharness_number(\"arena\", %s_ARENA_BYTES);\n", big);
	printf("\tharness_number(\"stack-stated\", %s_STACK_BYTES);\n", big);
	printf("\tharness_number(\"code\", %s_CODE_BYTES + %s_CONSTANT_BYTES);\n", big, big);
	printf("\treturn arena[%s_ARENA_BYTES] != 0x5a;\n}\n", big);
	return 0;
}

static bool read_line(FILE *f, unsigned char *out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned byte;

		if (fscanf(f, "%2x", &byte) != 1)
			return false;
		out[i] = (unsigned char)byte;
	}
	return true;
}

static double error_of(const MloTensor *got, const MloTensor *want)
{
	double diff = 0, sum = 0;

	for (int64_t i = 0; i < mlo_tensor_elems(want); i++) {
		double x = mlo_tensor_f64(got, i), y = mlo_tensor_f64(want, i);

		diff += (x - y) * (x - y);
		sum += y * y;
	}
	return diff == 0 ? 0 : diff / sum;
}

static int compare(MloArena *a, int argc, char **argv, MloDiag *d)
{
	FILE *f = fopen(argv[0], "r");
	int status = 0;

	if (!f)
		return fail("the output cannot be read", d);
	for (int i = 1; i < argc; i++) {
		MloTensor *want, *got;
		double e;

		if (mlo_npy_read(a, argv[i], &want, d) != MLO_OK)
			return fail("a recorded output cannot be read", d);
		got = mlo_tensor_new(a, want->elem, want->rank, want->dim);
		if (!read_line(f, (unsigned char *)(uintptr_t)got->data, got->nbytes))
			return fail("an output is too short", d);
		e = error_of(got, want);
		printf("output %d: error %.3g\n", i - 1, e);
		status |= !(e <= BOUND);
	}
	fclose(f);
	return status;
}

int main(int argc, char **argv)
{
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	int status = 2;

	if (argc >= 6 && strcmp(argv[1], "main") == 0)
		status = print_main(a, argc - 2, argv + 2, &d);
	else if (argc >= 4 && strcmp(argv[1], "compare") == 0)
		status = compare(a, argc - 2, argv + 2, &d);
	else
		fprintf(stderr, "usage: forms main PREFIX HEADER NOUT IN.npy... | compare OUTPUT WANT.npy...\n");
	mlo_diag_free(&d);
	mlo_arena_free(a);
	return status;
}
