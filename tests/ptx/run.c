/* tests/ptx/run.c -- the tests of the PTX interpreter.  usage: run CASES KERNELS WORK: the folder of the
 * hand-written PTX, kernels.c as a compiler has it, and a folder for PTX that the tests write. With
 * PTX_TEST_SM=90 what only such a device can do. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/test.h"

int test_passed, test_failed;

bool test_check(bool good, const char *file, int line, const char *format, ...)
{
	va_list args;

	test_passed += good;
	test_failed += !good;
	if (good)
		return true;
	printf("FAIL %s:%d: ", file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	return false;
}

CUresult test_call(CUresult r, const char *file, int line, const char *what)
{
	const char *name = NULL;

	if (!r)
		return 0;
	cuGetErrorName(r, &name);
	test_check(false, file, line, "%s: %s", what, name ? name : "?");
	return r;
}

char *test_read(const char *folder, const char *name)
{
	char path[4096];
	char *text;
	long n;
	FILE *f;

	snprintf(path, sizeof path, "%s%s%s", folder, name ? "/" : "", name ? name : "");
	f = fopen(path, "r");
	if (!f)
		return NULL;
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	text = calloc(1, (size_t)n + 1);
	if (text && fread(text, 1, (size_t)n, f) != (size_t)n) {
		free(text);
		text = NULL;
	}
	fclose(f);
	return text;
}

void *test_load(const char *text)
{
	enum { ERROR_LOG = 5, ERROR_LOG_SIZE = 6 };
	char log[1024] = "";
	const int options[] = {ERROR_LOG, ERROR_LOG_SIZE};
	void *values[] = {log, (void *)sizeof log}, *module = NULL;
	const CUresult r = text ? cuModuleLoadDataEx(&module, text, 2, options, values) : CUDA_ERROR_NOT_FOUND;

	CHECK_THAT(!r, "load: error %d: %s", r, log);
	return r ? NULL : module;
}

TestBuffer test_buffer(size_t bytes)
{
	TestBuffer b = {.bytes = bytes, .host = calloc(1, bytes)};

	CALL(cuMemAlloc_v2(&b.device, bytes));
	test_put(&b);
	return b;
}

void test_put(TestBuffer *b)
{
	CALL(cuMemcpyHtoD_v2(b->device, b->host, b->bytes));
}

void test_get(TestBuffer *b)
{
	CALL(cuMemcpyDtoH_v2(b->host, b->device, b->bytes));
}

void test_free(TestBuffer *b)
{
	CALL(cuMemFree_v2(b->device));
	free(b->host);
}

CUresult test_run(void *module, const char *name, unsigned blocks, unsigned threads, unsigned shared, unsigned n,
		  const uint64_t *args)
{
	void *params[32], *function;
	CUresult r = cuModuleGetFunction(&function, module, name);

	for (unsigned k = 0; k < n; k++)
		params[k] = (void *)(uintptr_t)&args[k];
	if (!r)
		r = cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, NULL, params, NULL);
	return r ? r : cuCtxSynchronize();
}

/* A context anew, after an error of a kernel or at first. */
void test_context(void)
{
	static bool had;
	void *context = NULL;

	if (had)
		CALL(cuDevicePrimaryCtxRelease_v2(0));
	had = true;
	CALL(cuDevicePrimaryCtxRetain(&context, 0));
	CALL(cuCtxSetCurrent(context));
}

void test_print_list(FILE *o, const char *reg, int n)
{
	fputc('{', o);
	for (int k = 0; k < n; k++)
		fprintf(o, "%s%%%s%d", k ? ", " : "", reg, k);
	fputc('}', o);
}

void test_print_loads(FILE *o, const char *reg, const char *type, const char *base, int n, int threads)
{
	fprintf(o, "\tld.param.u64 %%p, [%s];\n\tadd.u64 %%p, %%p, %%offset;\n", base);
	for (int k = 0; k < n; k++)
		fprintf(o, "\tld.global.%s %%%s%d, [%%p+%d];\n", type, reg, k, k * threads * 4);
}

long test_number(const char *report, const char *part, const char *name)
{
	const char *at = report ? strstr(report, part) : NULL;

	at = at ? strstr(at, name) : NULL;
	at = at ? strchr(at, ':') : NULL;
	return at ? strtol(at + 1, NULL, 10) : -1;
}

static char *write_kernels(const char *folder, const TestKernels *k)
{
	char path[4096];
	FILE *o;

	snprintf(path, sizeof path, "%s/%s", folder, k->file);
	o = fopen(path, "w");
	if (!o)
		return NULL;
	fprintf(o, ".version %s\n.target %s\n.address_size 64\n", k->version, k->target);
	for (size_t n = 0; n < k->n; n++) {
		fprintf(o, "\n.visible .entry %s(.param .u64 x)\n{\n", k->list[n].name);
		k->prologue(o);
		fprintf(o, "%s\tret;\n}\n", k->list[n].body);
	}
	fclose(o);
	return test_read(folder, k->file);
}

/* The context is lost with each error: everything is made anew. */
static void test_kernel(const char *text, const TestKernels *all, const TestKernel *k)
{
	void *module = test_load(text);
	TestBuffer x = test_buffer(all->bytes);
	const uint64_t args[] = {x.device};
	CUresult r;

	if (!module)
		return;
	if (all->fill)
		all->fill(&x);
	test_put(&x);
	r = test_run(module, k->name, 1, k->threads, 0, 1, args);
	CHECK_THAT(r == k->error, "%s: error %d, not %d", k->name, r, k->error);
	if (r) {
		free(x.host);
		test_context();
		return;
	}
	test_get(&x);
	CHECK_THAT(!all->good || k->error || all->good(k, &x), "%s: wrong", k->name);
	test_free(&x);
	CALL(cuModuleUnload(module));
}

void test_kernels(const char *folder, const TestKernels *k)
{
	char *text = write_kernels(folder, k);

	for (size_t n = 0; text && n < k->n; n++)
		test_kernel(text, k, &k->list[n]);
	CHECK(text);
	free(text);
}

/* What any device can do. */
static void test_any(char **argv)
{
	char *kernels;

	test_driver(argv[1]);
	kernels = test_read(argv[2], NULL);
	test_code(kernels);
	free(kernels);
	test_block(argv[1]);
	test_scalar(argv[3]);
	test_mma(argv[3]);
	test_faults(argv[1], argv[3]);
}

int main(int argc, char **argv)
{
	const char *sm = getenv("PTX_TEST_SM");
	char report[4096];

	if (argc != 4)
		return 2;
	snprintf(report, sizeof report, "%s/report.json", argv[3]);
	setenv("PTX_TEST_REPORT", report, 1);
	setenv("PTX_TEST_MEMORY", "268435456", 1);
	CALL(cuInit(0));
	test_context();
	if (sm && atoi(sm) == 90) {
		test_wgmma(argv[3]);
		test_wgmma_faults(argv[3]);
		test_mbarrier(argv[3]);
	} else {
		test_any(argv);
	}
	CALL(cuDevicePrimaryCtxRelease_v2(0));
	printf("%d passed, %d failed, 0 skipped\n", test_passed, test_failed);
	return test_failed > 0;
}
