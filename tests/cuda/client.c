/* tests/cuda/client.c -- packages for GPUs through the public interface: errors, and where inputs and outputs may lie.
 *
 * usage: client try PACKAGE      open, session, run; what went wrong, if anything did; all of it three times
 *        client ends PACKAGE     inputs and outputs on the device and in page-locked memory, on a stream of ours
 *        client share PACKAGE    what a second session and a second device take
 * It knows the driver only to have memory of it. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mlopt/runtime.h"

enum { MOST = 8, OPEN = 3 /* an open size */ };

typedef struct Call {
	MlrtModel *m;
	MlrtSession *s;
	MlrtTensor in[MOST], out[MOST];
	size_t nin, nout;
} Call;

static int passed, failed;

static void check(bool right, const char *what)
{
	passed += right;
	failed += !right;
	if (!right)
		printf("FAIL %s\n", what);
}

static size_t fill(MlrtTensor *t, const MlrtTensorInfo *info)
{
	size_t n = 1;

	*t = (MlrtTensor){.rank = info->rank};
	for (int i = 0; i < info->rank; i++)
		n *= (size_t)(t->dims[i] = info->dims[i] < 0 ? OPEN : info->dims[i]);
	t->bytes = n * 4; /* of f32 and i32 */
	return n;
}

static MlrtStatus start(Call *c, const char *path, const MlrtSessionOptions *opt, MlrtError *err)
{
	MlrtTensorInfo info;
	MlrtStatus st = mlrt_model_open(path, NULL, &c->m, err);

	if (!st)
		st = mlrt_session_new(c->m, opt, &c->s, err);
	if (st)
		return st;
	c->nin = mlrt_model_inputs(c->m);
	c->nout = mlrt_model_outputs(c->m);
	for (size_t i = 0; i < c->nin; i++) {
		size_t n;

		mlrt_model_input(c->m, i, &info);
		n = fill(&c->in[i], &info);
		c->in[i].data = aligned_alloc(64, (c->in[i].bytes + 63) / 64 * 64 + 64);
		for (size_t k = 0; k < n; k++)
			((float *)c->in[i].data)[k] = (float)((k + i) % 7) / 7;
	}
	return MLRT_OK;
}

static void stop(Call *c)
{
	for (size_t i = 0; i < c->nin; i++)
		free(c->in[i].data);
	mlrt_session_free(c->s);
	mlrt_model_close(c->m);
	*c = (Call){0};
}

static double sum(const Call *c)
{
	double all = 0;

	for (size_t o = 0; o < c->nout; o++)
		for (size_t k = 0; k < c->out[o].bytes / 4; k++)
			all += (double)(k + 1) * (double)((const float *)c->out[o].data)[k];
	return all;
}

/* Runs twice: the second one repeats what the first has set up. */
static MlrtStatus attempt(const char *path, double *result, MlrtError *err)
{
	Call c = {0};
	MlrtStatus st = start(&c, path, NULL, err);

	for (int i = 0; !st && i < 2; i++) {
		memset(c.out, 0, sizeof c.out);
		mlrt_session_reset(c.s);
		st = mlrt_session_run_tensors(c.s, c.in, c.out, err);
	}
	if (!st)
		*result = sum(&c);
	stop(&c);
	return st;
}

static int try(const char *path)
{
	for (int i = 0; i < 3; i++) {
		MlrtError err = {0};
		double result = 0;
		const MlrtStatus st = attempt(path, &result, &err);

		if (st)
			printf("error %d %s\n", (int)st, err.text[0] ? err.text : "NO TEXT");
		else
			printf("ok %.6g\n", result);
	}
	return 0;
}

/* -- the driver's memory -------------------------------------------------------------------------- */

typedef int Retain(void **context, int device);
typedef int Push(void *context);
typedef int Alloc(uint64_t *p, size_t bytes);
typedef int HostAlloc(void **p, size_t bytes, unsigned flags);
typedef int ToDevice(uint64_t to, const void *from, size_t bytes);
typedef int ToHost(void *to, uint64_t from, size_t bytes);
typedef int Stream(void **stream, unsigned flags);
typedef int Wait(void *stream);
typedef int Info(size_t *left, size_t *total);
typedef int Free(uint64_t p);
typedef int HostFree(void *p);
typedef int Release(int device);

static void *driver;

static void *function(const char *name)
{
	void *p = driver ? dlsym(driver, name) : NULL;

	if (!p) {
		printf("no %s\n0 passed, 1 failed\n", name);
		exit(1);
	}
	return p;
}
#define DRIVER(type, name) ((type *)(uintptr_t)function(name))

static void open_driver(void)
{
	void *context;

	driver = dlopen("libcuda.so.1", RTLD_NOW);
	if (DRIVER(Wait, "cuInit")(NULL) || DRIVER(Retain, "cuDevicePrimaryCtxRetain")(&context, 0) ||
	    DRIVER(Push, "cuCtxPushCurrent_v2")(context))
		exit(1);
}

typedef struct Ends {
	uint64_t device;
	float *pinned;
	void *stream;
	float *want, *got;       /* as long as the output */
	size_t in_bytes, out_bytes;
} Ends;

/* One run with the input and the output where they are said to be; on a stream of ours, it is waited for. */
static void run_ends(Call *c, const Ends *e, const void *in, void *out, bool on_device, const char *what)
{
	const void *const ins[] = {in};
	void *const outs[] = {out};
	MlrtError err = {0};
	MlrtStatus st;

	memset(e->got, 0, e->out_bytes);
	st = mlrt_session_run(c->s, ins, outs, &err);
	if (st)
		printf("%s: %s\n", what, err.text);
	if (e->stream)
		DRIVER(Wait, "cuStreamSynchronize")(e->stream);
	if (on_device)
		DRIVER(ToHost, "cuMemcpyDtoH_v2")(e->got, (uint64_t)(uintptr_t)out, e->out_bytes);
	else
		memcpy(e->got, out, e->out_bytes);
	check(!st && memcmp(e->got, e->want, e->out_bytes) == 0, what);
}

static void all_ends(Call *c, Ends *e)
{
	enum { STEP = 4096 };
	float *host = malloc(e->out_bytes);
	void *device_in = (void *)(uintptr_t)e->device, *device_out = (void *)(uintptr_t)(e->device + STEP);
	float *pinned_in = e->pinned, *pinned_out = e->pinned + STEP / 4;
	void *odd_in = (void *)(uintptr_t)(e->device + 2 * STEP + 4), *odd_out = (void *)(uintptr_t)(e->device + 3 * STEP + 4);

	DRIVER(ToDevice, "cuMemcpyHtoD_v2")((uint64_t)(uintptr_t)device_in, c->in[0].data, e->in_bytes);
	DRIVER(ToDevice, "cuMemcpyHtoD_v2")((uint64_t)(uintptr_t)odd_in, c->in[0].data, e->in_bytes);
	memcpy(pinned_in, c->in[0].data, e->in_bytes);
	for (int i = 0; i < 2; i++) { /* each twice: graphs made before are used, and made anew */
		run_ends(c, e, c->in[0].data, host, false, "host to host");
		run_ends(c, e, device_in, device_out, true, "device to device");
		run_ends(c, e, device_in, device_out, true, "device to device again");
		run_ends(c, e, pinned_in, pinned_out, false, "page-locked to page-locked");
		run_ends(c, e, odd_in, odd_out, true, "device to device, not aligned");
		run_ends(c, e, c->in[0].data, device_out, true, "host to device");
		run_ends(c, e, device_in, pinned_out, false, "device to page-locked");
	}
	free(host);
}

static int ends(const char *path)
{
	MlrtError err = {0};
	Call c = {0};
	Ends e = {0};

	open_driver();
	for (int ours = 0; ours < 2; ours++) {
		if (ours)
			DRIVER(Stream, "cuStreamCreate")(&e.stream, 1);
		if (start(&c, path, &(MlrtSessionOptions){.stream = e.stream}, &err) ||
		    mlrt_session_run_tensors(c.s, c.in, c.out, &err)) {
			printf("%s\n0 passed, 1 failed\n", err.text);
			return 1;
		}
		e.in_bytes = c.in[0].bytes;
		e.out_bytes = c.out[0].bytes;
		e.want = malloc(e.out_bytes);
		e.got = malloc(e.out_bytes);
		memcpy(e.want, c.out[0].data, e.out_bytes);
		if (DRIVER(Alloc, "cuMemAlloc_v2")(&e.device, 1 << 16) || DRIVER(HostAlloc, "cuMemHostAlloc")((void **)&e.pinned, 1 << 14, 0))
			return 1;
		all_ends(&c, &e);
		DRIVER(Free, "cuMemFree_v2")(e.device);
		DRIVER(HostFree, "cuMemFreeHost")(e.pinned);
		free(e.want);
		free(e.got);
		stop(&c);
	}
	DRIVER(Wait, "cuStreamDestroy_v2")(e.stream);
	DRIVER(Release, "cuDevicePrimaryCtxRelease_v2")(0);
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}

static size_t left(void)
{
	size_t now = 0, total;

	DRIVER(Info, "cuMemGetInfo_v2")(&now, &total);
	return now;
}

/* Weights are there once, and everything comes back. */
static int share(const char *path)
{
	MlrtError err = {0};
	MlrtSession *second = NULL;
	Call c = {0};
	size_t before, first, both;

	open_driver();
	before = left();
	if (start(&c, path, NULL, &err)) {
		printf("%s\n0 passed, 1 failed\n", err.text);
		return 1;
	}
	first = before - left();
	check(mlrt_session_new(c.m, NULL, &second, &err) == MLRT_OK, "a second session");
	both = before - left();
	check(both - first < first / 2, "a second session takes its activations alone");
	mlrt_session_free(second);
	check(before - left() == first, "a session gives back what it took");
	check(mlrt_session_new(c.m, &(MlrtSessionOptions){.device = 1}, &second, &err) == MLRT_ERR_NO_DEVICE && !second,
	      "there is one device");
	stop(&c);
	check(left() == before, "a model gives back what it took");
	DRIVER(Release, "cuDevicePrimaryCtxRelease_v2")(0);
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "try"))
		return try(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "ends"))
		return ends(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "share"))
		return share(argv[2]);
	fprintf(stderr, "usage: client try|ends|share PACKAGE\n");
	return 2;
}
