/* tests/support/support.c -- compile, run, compare. */
#include "tests/support/support.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/values.h"
#include "tools/compile.h"
#include "tools/objects.h"

const ArmLevel support_levels[] = {
#define LEVEL(...) {__VA_ARGS__},
#include "tests/support/levels.def"
};
const int support_nlevels = sizeof support_levels / sizeof *support_levels;

static MloStatus run_twice(MlrtModel *m, MlrtSession *s, MloArena *a, const MloTensor *const *in, MloTensor **out, MlrtError *err)
{
	size_t nin = mlrt_model_inputs(m), nout = mlrt_model_outputs(m);
	MlrtTensor *x = MLO_NEWN(a, MlrtTensor, nin + 1), *y = MLO_NEWN(a, MlrtTensor, nout + 1);
	MlrtTensorInfo info;

	for (size_t i = 0; i < nin; i++)
		if (mlo_to_runtime(in[i], &x[i], err))
			return MLO_ERR_INTERNAL;
	/* twice: the second run finds memory as the first left it */
	for (int i = 0; i < 2; i++) {
		memset(y, 0, (nout + 1) * sizeof *y);
		if (mlrt_session_run_tensors(s, x, y, err))
			return MLO_ERR_INTERNAL;
	}
	for (size_t i = 0; i < nout; i++) {
		if (mlrt_model_output(m, i, &info))
			return MLO_ERR_INTERNAL;
		out[i] = mlo_from_runtime(a, &y[i], mlo_elem_from_text(info.elem, strlen(info.elem)));
	}
	for (size_t i = 0; i < nin; i++)
		mlrt_object_free(x[i].object);
	return MLO_OK;
}

static MloStatus here(MloArena *a, const char *path, const MloCompiled *c, const RunHow *how, const MloTensor *const *in,
                      MloTensor **out, MloDiag *d)
{
	MlrtOpenOptions oo = {.variant = how->variant};
	MlrtSessionOptions so = {.threads = how->threads};
	MlrtModel *m = NULL;
	MlrtSession *s = NULL;
	MlrtError err = {0};
	MlrtStatus st = path ? mlrt_model_open(path, &oo, &m, &err) : mlrt_model_open_memory(c->bytes, c->n, &oo, &m, &err);
	MloStatus ran = MLO_ERR_INTERNAL;

	if (!st && how->manifest) {
		size_t n;
		const char *text = mlrt_model_manifest(m, &n);

		*how->manifest = mlo_strndup(a, text, n);
	}
	if (!st)
		st = mlrt_session_new(m, &so, &s, &err);
	if (!st)
		ran = run_twice(m, s, a, in, out, &err);
	mlrt_session_free(s);
	mlrt_model_close(m);
	return ran != MLO_OK ? mlo_error(d, ran, "runtime: %s", err.text) : MLO_OK;
}

/* The element types of all inputs or outputs. */
static const char **elems(MloArena *a, MloValue *const *v, uint32_t n)
{
	const char **e = MLO_NEWN(a, const char *, n + 1);

	for (uint32_t i = 0; i < n; i++)
		e[i] = mlo_elem_text(v[i]->type.elem);
	return e;
}

static MloStatus emulated(MloArena *a, const MloGraph *g, const char *path, const RunHow *how,
                          const MloTensor *const *in, MloTensor **out, MloDiag *d)
{
	MlrtTensor *v = MLO_NEWN(a, MlrtTensor, g->ninputs + g->noutputs + 1);
	char file[4096], cmd[16384];
	MlrtError err = {0};
	bool ok = true;
	void *block;
	int status;

	for (uint32_t i = 0; i < g->ninputs; i++)
		ok = ok && mlo_to_runtime(in[i], &v[i], &err) == MLRT_OK;
	snprintf(file, sizeof file, "%s/in.bin", how->scratch);
	ok = ok && values_write(file, v, elems(a, g->inputs, g->ninputs), g->ninputs);
	for (uint32_t i = 0; i < g->ninputs; i++)
		mlrt_object_free(v[i].object);
	if (!ok)
		return mlo_error(d, MLO_ERR_IO, "cannot write %s", file);
	snprintf(cmd, sizeof cmd, "%s%s %s %s %s %d %s", how->cpu ? "QEMU_CPU=" : "", how->cpu ? how->cpu : "", how->emulator, how->runner, path, how->threads, how->scratch);
	status = system(cmd);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return mlo_error(d, MLO_ERR_INTERNAL, "'%s' failed with status %d", cmd, status);
	snprintf(file, sizeof file, "%s/out.bin", how->scratch);
	block = values_read(file, v, g->noutputs);
	if (!block)
		return mlo_error(d, MLO_ERR_IO, "cannot read %s", file);
	for (uint32_t i = 0; i < g->noutputs; i++) {
		out[i] = mlo_from_runtime(a, &v[i], g->outputs[i]->type.elem);
		mlrt_object_free(v[i].object);
	}
	free(block);
	return MLO_OK;
}

MloStatus support_run(MloArena *a, const MloGraph *g, const RunHow *how, const MloTensor *const *inputs,
                      MloTensor **outputs, MloDiag *d)
{
	MloptOptions opt = MLOPT_OPTIONS_INIT;
	char path[4096];
	bool file = how->file || how->emulator;
	MloCompiled c;
	MloStatus st;

	opt.target = how->target;
	opt.level = how->level;
	opt.precision = how->precision;
	opt.cache_dir = how->cache;
	opt.verify_each = 1;
	MLO_ASSERT(g->ninputs <= 64 && g->noutputs <= 64);
	snprintf(path, sizeof path, "%s/case.mlopt", how->scratch ? how->scratch : ".");
	MLO_TRY(mlo_compile_graph(a, g, &opt, file ? path : NULL, &c, d));
	if (how->emulator)
		st = emulated(a, g, path, how, inputs, outputs, d);
	else
		st = here(a, file ? path : NULL, &c, how, inputs, outputs, d);
	if (file)
		unlink(path);
	return st;
}

RunHow support_emulated(const ArmLevels *arm, int i)
{
	const ArmLevel *l = &support_levels[i];

	return (RunHow){.target = l->target, .level = 2, .precision = l->precision, .threads = 1, .emulator = arm->emulator,
	                .runner = arm->runner, .cpu = l->cpu, .scratch = arm->scratch};
}

double support_nmse(const MloTensor *got, const MloTensor *want)
{
	int64_t n = mlo_tensor_elems(want);
	double err = 0, ref = 0;

	if (mlo_tensor_elems(got) != n || got->elem != want->elem)
		return INFINITY;
	for (int64_t i = 0; i < n; i++) {
		double x = mlo_tensor_f64(got, i), y = mlo_tensor_f64(want, i);

		if (isnan(x) != isnan(y) || isinf(x) != isinf(y) || (isinf(x) && x != y))
			return INFINITY;
		if (isnan(x) || isinf(x))
			continue;
		err += (x - y) * (x - y);
		ref += y * y;
	}
	return ref > 0 ? err / ref : err;
}

int support_finish(const Score *s)
{
	printf("%d passed, %d failed, %d skipped\n", s->passed, s->failed, s->skipped);
	return s->failed != 0;
}

const char *support_no_gpu(void)
{
	static char why[256];
	void *driver = dlopen("libcuda.so.1", RTLD_NOW); /* stays open, as the runtime's will */

	snprintf(why, sizeof why, "%.200s", driver ? "" : dlerror());
	return driver ? NULL : why;
}

const char *support_tool(const char *env, const char *const *names)
{
	const char *set = getenv(env);
	static char cmd[4096];

	if (set)
		return set;
	for (; *names; names++) {
		snprintf(cmd, sizeof cmd, "command -v %s >/dev/null 2>&1", *names);
		if (system(cmd) == 0)
			return *names;
	}
	return "";
}

bool support_part(int *part, int *parts)
{
	const char *share = getenv("MLOPT_TEST_PART");

	*part = 0;
	*parts = 1;
	return !share || (sscanf(share, "%d/%d", part, parts) == 2 && *part >= 0 && *part < *parts);
}
