/* tests/dlr/client.c -- a program that uses compiled models through the interface of DLR alone.
 *
 * usage: client FOLDER; in it are folders with one package each, made by tests/dlr/run.sh from the models of
 * tests/cli/models: two (a + b and (a + b) * b), tiny and dynamic (the same network for 1 picture and for any number),
 * append (a state that grows), gated (inputs that are bool). */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/dlr/check.h"

enum { PICTURE = 3 * 8 * 8, CLASSES = 5 };
static const char *folder;
static const int64_t square[] = {2, 2};

const char *model_path(char *room, const char *name)
{
	snprintf(room, 512, "%s/%s", folder, name);
	return room;
}

DLRModelHandle open_model(const char *name)
{
	DLRModelHandle model = NULL;
	char path[512];

	CHECK(CreateDLRModel(&model, model_path(path, name), 1, 0) == 0);
	return model;
}

static void close_model(DLRModelHandle model)
{
	CHECK(DeleteDLRModel(&model) == 0);
	CHECK(model == NULL);
}

static void fill(float *x, int n, int seed)
{
	for (int i = 0; i < n; i++)
		x[i] = (float)((i * 7 + seed * 13) % 29) / 16 - 1;
}

/* Everything that can be asked of a model with two inputs and two outputs. */
static void check_facts(const char *name)
{
	DLRModelHandle m = open_model(name);
	const char *text;
	int64_t shape[2], size;
	int n, dim;
	bool has;

	CHECK(GetDLRNumInputs(&m, &n) == 0 && n == 2);
	CHECK(GetDLRNumOutputs(&m, &n) == 0 && n == 2);
	CHECK(GetDLRNumWeights(&m, &n) == 0 && n == 0);
	CHECK(GetDLRInputName(&m, 0, &text) == 0 && !strcmp(text, "a"));
	CHECK(GetDLRInputName(&m, 1, &text) == 0 && !strcmp(text, "b"));
	CHECK(GetDLRInputType(&m, 1, &text) == 0 && !strcmp(text, "float32"));
	CHECK(GetDLRInputSizeDim(&m, 1, &size, &dim) == 0 && size == 4 && dim == 2);
	CHECK(GetDLRInputShape(&m, 0, shape) == 0 && shape[0] == 2 && shape[1] == 2);
	CHECK(GetDLROutputName(&m, 1, &text) == 0 && !strcmp(text, "a/b"));
	CHECK(GetDLROutputIndex(&m, "a/b", &n) == 0 && n == 1);
	CHECK(GetDLROutputType(&m, 0, &text) == 0 && !strcmp(text, "float32"));
	CHECK(GetDLROutputSizeDim(&m, 0, &size, &dim) == 0 && size == 4 && dim == 2);
	CHECK(GetDLROutputShape(&m, 1, shape) == 0 && shape[0] == 2 && shape[1] == 2);
	CHECK(GetDLRHasMetadata(&m, &has) == 0 && has);
	CHECK(GetDLRBackend(&m, &text) == 0 && !strcmp(text, "mlopt"));
	CHECK(GetDLRVersion(&text) == 0 && !strcmp(text, "1.6.0"));
	close_model(m);
}

static void check_types(void)
{
	DLRModelHandle m = open_model("gated");
	const char *text;
	int64_t size;
	int dim;

	CHECK(GetDLRInputType(&m, 0, &text) == 0 && !strcmp(text, "float32"));
	CHECK(GetDLRInputType(&m, 1, &text) == 0 && !strcmp(text, "bool"));
	CHECK(GetDLRInputSizeDim(&m, 1, &size, &dim) == 0 && size == 1 && dim == 0);
	CHECK(SetDLRInput(&m, "wide", NULL, (unsigned char[]){0}, 0) == 0);
	CHECK(SetDLRInput(&m, "deep", NULL, (unsigned char[]){1}, 0) == 0);
	CHECK(SetDLRInput(&m, "x", (int64_t[]){1, 8, 12}, (float[96]){0}, 3) == 0 && RunDLRModel(&m) == 0);
	close_model(m);
}

static void check_values(void)
{
	DLRModelHandle m = open_model("two");
	float a[4] = {1, 2, 3, 4}, b[4] = {10, 20, 30, 40}, back[4], out[4];
	const void *p = NULL;

	for (int round = 0; round < 2; round++, a[0] += 5) {
		bool sum = true, product = true, named = true;

		CHECK(SetDLRInput(&m, "a", square, a, 2) == 0);
		CHECK(round || SetDLRInput(&m, "b", (int64_t[]){4}, b, 1) == 0);
		CHECK(GetDLRInput(&m, "a", back) == 0 && !memcmp(a, back, sizeof a));
		memset(back, 0, sizeof back); /* what was set is a copy */
		CHECK(RunDLRModel(&m) == 0);
		CHECK(GetDLROutput(&m, 0, out) == 0);
		for (int i = 0; i < 4; i++)
			sum &= out[i] == a[i] + b[i];
		CHECK(GetDLROutputPtr(&m, 1, &p) == 0 && p);
		for (int i = 0; p && i < 4; i++)
			product &= ((const float *)p)[i] == (a[i] + b[i]) * b[i];
		CHECK(GetDLROutputByName(&m, "sum", out) == 0);
		for (int i = 0; i < 4; i++)
			named &= out[i] == a[i] + b[i];
		CHECK(sum);
		CHECK(product);
		CHECK(named);
	}
	close_model(m);
}

/* Two models at once; any number of pictures gives what each alone gives, on any number of threads. */
static void check_open_sizes(void)
{
	DLRModelHandle one = open_model("tiny"), any = open_model("dynamic/model.mlopt");
	float x[3 * PICTURE], want[3 * CLASSES], got[3 * CLASSES];
	int64_t shape[4], size;
	int dim;

	fill(x, 3 * PICTURE, 1);
	CHECK(GetDLRInputSizeDim(&any, 0, &size, &dim) == 0 && size == -1 && dim == 4);
	CHECK(GetDLRInputShape(&any, 0, shape) == 0 && shape[0] == -1 && shape[1] == 3 && shape[3] == 8);
	CHECK(GetDLROutputSizeDim(&any, 0, &size, &dim) == 0 && size == -1 && dim == 2);
	for (int i = 0; i < 3; i++) {
		CHECK(SetDLRInput(&one, "x", (int64_t[]){1, 3, 8, 8}, x + i * PICTURE, 4) == 0);
		CHECK(RunDLRModel(&one) == 0 && GetDLROutput(&one, 0, want + i * CLASSES) == 0);
	}
	for (int n = 3; n >= 1; n--) {
		bool near = true;

		CHECK(SetDLRNumThreads(&any, n) == 0);
		CHECK(SetDLRInput(&any, "x", (int64_t[]){n, 3, 8, 8}, x, 4) == 0);
		CHECK(RunDLRModel(&any) == 0);
		CHECK(GetDLROutputSizeDim(&any, 0, &size, &dim) == 0 && size == n * CLASSES && dim == 2);
		CHECK(GetDLROutputShape(&any, 0, shape) == 0 && shape[0] == n && shape[1] == CLASSES);
		CHECK(GetDLROutput(&any, 0, got) == 0);
		for (int i = 0; i < n * CLASSES; i++)
			near &= fabsf(got[i] - want[i]) < 1e-4f;
		CHECK(near);
	}
	close_model(one);
	close_model(any);
}

/* `append` puts x behind what it has seen. */
static void check_states(void)
{
	DLRModelHandle m = open_model("append");
	int64_t size = 0, before = 0;
	int dim;

	for (int run = 1; run <= 3; run++) {
		float x[64] = {(float)run};
		int64_t shape[4] = {0}, n = 1;

		CHECK(GetDLRInputSizeDim(&m, 0, &size, &dim) == 0 && GetDLRInputShape(&m, 0, shape) == 0);
		for (int i = 0; i < dim; i++)
			n *= shape[i] = shape[i] < 0 ? 1 : shape[i];
		CHECK(n <= 64 && SetDLRInput(&m, "x", shape, x, dim) == 0);
		CHECK(RunDLRModel(&m) == 0);
		CHECK(GetDLROutputSizeDim(&m, 0, &size, &dim) == 0 && size > before);
		before = size;
	}
	REFUSED(SetDLRNumThreads(&m, 1), "states");
	close_model(m);
}

/* -- DLPack: the layout that its header states ----------------------------------------------------------- */

typedef struct DLTensor {
	void *data;
	int32_t device_type, device_id, ndim;
	uint8_t code, bits;
	uint16_t lanes;
	int64_t *shape, *strides;
	uint64_t byte_offset;
} DLTensor;
typedef struct DLManagedTensor {
	DLTensor t;
	void *ctx;
	void (*deleter)(struct DLManagedTensor *self);
} DLManagedTensor;

static void check_tensors(void)
{
	DLRModelHandle m = open_model("two");
	float a[5] = {0, 1, 2, 3, 4}, out[4];
	int64_t shape[] = {2, 2}, strides[] = {2, 1}, crossed[] = {1, 2};
	DLTensor t = {.data = a,
		      .device_type = 1,
		      .ndim = 2,
		      .code = 2,
		      .bits = 32,
		      .lanes = 1,
		      .shape = shape,
		      .byte_offset = 4};
	DLTensor result = {.data = out, .device_type = 1, .ndim = 2, .code = 2, .bits = 32, .lanes = 1, .shape = shape};
	const void *p = NULL;
	DLManagedTensor *kept;

	CHECK(SetDLRInputTensor(&m, "a", &t) == 0);
	t.strides = strides;
	CHECK(SetDLRInputTensor(&m, "b", &t) == 0);
	t.strides = crossed;
	REFUSED(SetDLRInputTensor(&m, "b", &t), "strides");
	t = result;
	t.code = 0;
	REFUSED(SetDLRInputTensor(&m, "b", &t), "float32");
	t.device_type = 2;
	REFUSED(SetDLRInputTensor(&m, "b", &t), "device type 2");
	REFUSED(SetDLRInputTensor(&m, "b", NULL), "NULL");
	CHECK(RunDLRModel(&m) == 0);
	CHECK(GetDLROutputTensor(&m, 0, &result) == 0 && out[3] == 8);
	result.ndim = 1;
	REFUSED(GetDLROutputTensor(&m, 0, &result), "2x2");
	CHECK(GetDLROutputManagedTensorPtr(&m, 1, &p) == 0 && p);
	close_model(m);
	kept = (DLManagedTensor *)p; /* outlives the model */
	if (CHECK(kept && kept->t.ndim == 2 && kept->t.shape[1] == 2 && kept->t.code == 2 &&
		  ((float *)kept->t.data)[3] == 32))
		kept->deleter(kept);
}

/* -- threads, memory, other ways to create ----------------------------------------------------------------- */

static void *work(void *arg)
{
	DLRModelHandle m = open_model("tiny");
	float x[PICTURE], first[CLASSES], out[CLASSES];
	int seed = *(int *)arg;

	fill(x, PICTURE, seed);
	for (int i = 0; i < 50; i++) {
		CHECK(SetDLRInput(&m, "x", (int64_t[]){1, 3, 8, 8}, x, 4) == 0 && RunDLRModel(&m) == 0);
		CHECK(GetDLROutput(&m, 0, i ? out : first) == 0 && (!i || !memcmp(first, out, sizeof out)));
	}
	REFUSED(GetDLRInput(&m, seed ? "odd" : "even", x), seed ? "'odd'" : "'even'"); /* of this thread */
	close_model(m);
	return NULL;
}

static void check_threads(void)
{
	enum { THREADS = 4 };
	pthread_t thread[THREADS];
	int seed[THREADS] = {0, 1, 2, 3};

	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, work, &seed[i]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

static int allocated, aligned, freed;

static void *my_malloc(size_t n)
{
	allocated++;
	return malloc(n);
}

static void *my_memalign(size_t alignment, size_t n)
{
	aligned++;
	return aligned_alloc(alignment, n);
}

static void my_free(void *p)
{
	freed += p != NULL;
	free(p);
}

static void check_allocator(void)
{
	DLRModelHandle m = NULL;
	char path[512];

	CHECK(SetDLRCustomAllocatorMalloc(my_malloc) == 0 && SetDLRCustomAllocatorMemalign(my_memalign) == 0);
	REFUSED(CreateDLRModel(&m, model_path(path, "two"), 1, 0), "without a custom free");
	CHECK(SetDLRCustomAllocatorFree(my_free) == 0);
	m = open_model("two");
	CHECK(SetDLRCustomAllocatorMalloc(NULL) == 0 && SetDLRCustomAllocatorMemalign(NULL) == 0 &&
	      SetDLRCustomAllocatorFree(NULL) == 0);
	CHECK(SetDLRInput(&m, "a", square, (float[]){1, 2, 3, 4}, 2) == 0);
	CHECK(allocated > 0 && aligned > 0);
	close_model(m); /* with what it was made with */
	CHECK(freed == allocated + aligned);
}

static void check_elements(void)
{
	char path[512], *bytes = malloc(1 << 20);
	FILE *f = fopen(model_path(path, "two/model.mlopt"), "rb");
	size_t n = bytes && f ? fread(bytes, 1, 1 << 20, f) : 0;
	DLRModelElem elems[] = {{NEO_METADATA, NULL, "{}", 2},
				{TVM_LIB, NULL, bytes, n},
				{TVM_LIB, path, NULL, 0},
				{TVM_PARAMS, path, NULL, 0}};
	const char *paths[] = {path, path};
	DLRModelHandle m = NULL;
	int count;

	if (f)
		fclose(f);
	if (CHECK(CreateDLRModelFromModelElem(&m, elems, 2, 1, 0) == 0)) {
		memset(bytes, 0, n); /* it was copied */
		CHECK(GetDLRNumInputs(&m, &count) == 0 && count == 2);
		close_model(m);
	}
	free(bytes);
	if (CHECK(CreateDLRModelFromModelElem(&m, elems + 2, 1, 1, 0) == 0))
		close_model(m);
	REFUSED(CreateDLRModelFromModelElem(&m, elems + 1, 2, 1, 0), "another");
	REFUSED(CreateDLRModelFromModelElem(&m, elems + 3, 1, 1, 0), "type 4");
	REFUSED(CreateDLRModelFromModelElem(&m, elems, 1, 1, 0), "TVM_LIB");
	REFUSED(CreateDLRModelFromModelElem(&m, NULL, 1, 1, 0), "NULL");
	if (CHECK(CreateDLRPipeline(&m, 1, paths, 1, 0) == 0))
		close_model(m);
	REFUSED(CreateDLRPipeline(&m, 2, paths, 1, 0), "pipeline of 2");
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	folder = argv[1];
	CHECK(DLRGetLastError()[0] == 0);
	check_facts("two");
	check_facts("host"); /* an unpacked archive for model hosts */
	check_types();
	check_values();
	check_open_sizes();
	check_states();
	check_tensors();
	check_threads();
	check_allocator();
	check_elements();
	check_refusals();
	return check_end();
}
