/* runtime/open.c -- opening a package: checks, choice of the variant, mappings; questions to a model. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/device.h"
#include "runtime/more.h"

enum { WHY = 300 };

/* What keeps `v` from running here, into `why`; MLRT_OK if nothing does. */
static MlrtStatus misfit(const Variant *v, char *why, size_t n)
{
	const char *need = v->needs;
	const DeviceApi *gpu;

	if (mlrt_is_gpu(v)) {
		gpu = mlrt_device_api(why, n);
		return !gpu ? MLRT_ERR_NO_DRIVER : gpu->fits(need, v->nneeds, why, n);
	}
	if (strcmp(v->arch, mlrt_cpu_arch()) != 0) {
		snprintf(why, n, "is for %.40s, this is %s", v->arch, mlrt_cpu_arch());
		return MLRT_ERR_ARCH;
	}
	for (size_t i = 0; i < v->nneeds; i++, need += strlen(need) + 1) {
		CpuAnswer answer = mlrt_cpu_has(need);

		if (answer == CPU_YES)
			continue;
		snprintf(why, n, answer == CPU_NO ? "needs %.40s" : "needs %.40s, unknown to this runtime",
			 need);
		return MLRT_ERR_TARGET;
	}
	return MLRT_OK;
}

static MlrtStatus choose_named(MlrtModel *m, const char *name, MlrtError *err)
{
	char why[WHY];

	for (size_t i = 0; i < m->manifest.nvariants; i++) {
		const Variant *v = &m->manifest.variant[i];
		MlrtStatus st;

		if (strcmp(v->name, name) != 0)
			continue;
		st = misfit(v, why, sizeof why);
		if (st)
			return mlrt_fail(err, st, "variant '%.80s' does not run on this %s: it %s", name,
					 mlrt_is_gpu(v) ? "machine" : "CPU", why);
		m->variant = v;
		return MLRT_OK;
	}
	return mlrt_fail(err, MLRT_ERR_ARGUMENT, "no variant '%.80s'; the first of %zu is '%.80s'", name,
			 m->manifest.nvariants, m->manifest.variant[0].name);
}

/* The first that fits: they are listed best first. */
static MlrtStatus choose_best(MlrtModel *m, MlrtError *err)
{
	char text[400] = "", why[WHY];
	MlrtStatus worst = MLRT_ERR_ARCH;
	bool gpus = false;
	size_t used = 0;

	for (size_t i = 0; i < m->manifest.nvariants; i++) {
		const Variant *v = &m->manifest.variant[i];
		MlrtStatus st = misfit(v, why, sizeof why);

		if (!st) {
			m->variant = v;
			return MLRT_OK;
		}
		if (st != MLRT_ERR_ARCH)
			worst = st;
		if (gpus && (st == MLRT_ERR_NO_DRIVER || st == MLRT_ERR_DRIVER)) /* no variant's own fault: said once */
			continue;
		gpus |= mlrt_is_gpu(v);
		if (used < sizeof text)
			used += (size_t)snprintf(text + used, sizeof text - used, "%s'%.40s' %s",
						 i ? "; " : "", v->name, why);
	}
	return mlrt_fail(err, worst, "no variant runs on this %s: %s", gpus ? "machine" : "CPU", text);
}

/* The program of each variant that we could ever run, so that a package is sound everywhere or nowhere. */
static MlrtStatus check_programs(MlrtModel *m, MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	for (size_t i = 0; !st && i < m->manifest.nvariants; i++) {
		const Variant *v = &m->manifest.variant[i];
		Program p;

		if (mlrt_arch_misaligned(v->arch) < 0)
			continue;
		st = mlrt_program_read(&p, &m->container, &m->manifest, v, err);
		if (!st)
			mlrt_program_free(&p);
	}
	return st;
}

/* Weights are read where they lie; only bytes given at an odd address are copied. */
static MlrtStatus place_weights(MlrtModel *m, MlrtError *err)
{
	const MlrtBlob *b;
	const unsigned char *src;
	void *p;

	if (m->variant->weights == UINT64_MAX)
		return MLRT_OK;
	b = &m->container.blob[m->variant->weights];
	src = m->container.file + b->offset;
	m->weights = (Mapping){.data = src, .bytes = b->bytes};
	if (b->bytes == 0 || (uintptr_t)src % MLRT_ALIGN == 0)
		return MLRT_OK;
	p = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for %llu bytes of weights",
				 (unsigned long long)b->bytes);
	memcpy(p, src, b->bytes);
	m->weights = (Mapping){p, b->bytes, p, b->bytes};
	return MLRT_OK;
}

/* Tables of strings with addresses in place of offsets: one copy for all sessions. */
static MlrtStatus place_strings(MlrtModel *m, MlrtError *err)
{
	const List *l = &m->program.list;
	const uint32_t n = l->head ? l->head->nstrings : 0;

	if (n == 0)
		return MLRT_OK;
	m->strings = calloc(n, sizeof *m->strings);
	if (!m->strings)
		return mlrt_no_memory(err);
	for (uint32_t i = 0; i < n; i++) {
		const MlrtStrings *t = &l->strings[i];

		m->strings[i] = malloc(t->count * sizeof **m->strings + 1);
		if (!m->strings[i])
			return mlrt_no_memory(err);
		for (uint64_t k = 0; k < t->count; k++) {
			MlrtStringRef r;

			memcpy(&r, m->weights.data + t->offset + k * sizeof r, sizeof r);
			m->strings[i][k] = (MlrtText){(const char *)m->weights.data + r.offset, r.n};
		}
	}
	return MLRT_OK;
}

/* Before anything in a file is looked at. */
static MlrtStatus check_signatures_of(const MlrtModel *m, const MlrtOpenOptions *opt, MlrtError *err)
{
	const More *more;

	if (!opt || (opt->nkeys == 0 && opt->keys_needed == 0))
		return MLRT_OK;
	more = mlrt_more("signatures", err);
	return more ? more->signatures_check(m->file.data, m->file.bytes, opt, err) : MLRT_ERR_IO;
}

static MlrtStatus open_bytes(MlrtModel *m, int fd, const MlrtOpenOptions *opt, MlrtError *err)
{
	const int later = opt && (opt->skip_hashes || opt->check_all) ? 0 : CONTAINER_LATER;
	const int how = (opt && opt->skip_hashes ? CONTAINER_TRUSTED : 0) | (fd >= 0 ? CONTAINER_MAPPED : 0) | later;
	MlrtStatus st = check_signatures_of(m, opt, err);
	const MlrtBlob *code;

	if (!st)
		st = mlrt_container_read(&m->container, m->file.data, m->file.bytes, how, err);
	m->how = how;
	m->unchecked = later != 0;
	if (!st)
		st = mlrt_manifest_read(&m->manifest, &m->container, err);
	if (!st)
		st = check_programs(m, err);
	if (!st)
		st = opt && opt->variant ? choose_named(m, opt->variant, err) : choose_best(m, err);
	if (!st)
		st = mlrt_program_read(&m->program, &m->container, &m->manifest, m->variant, err);
	if (st)
		return st;
	code = &m->container.blob[m->variant->code];
	if (mlrt_is_gpu(m->variant))
		m->device = mlrt_device_api(NULL, 0);
	else
		st = mlrt_map_code(fd, code->offset, m->container.file + code->offset, code->bytes, &m->code, err);
	if (!st)
		st = place_weights(m, err);
	return st ? st : place_strings(m, err);
}

static MlrtModel *new_model(MlrtError *err)
{
	MlrtModel *m = calloc(1, sizeof *m);

	if (m)
		m->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	else
		mlrt_no_memory(err);
	return m;
}

MLRT_LOCAL MlrtStatus mlrt_model_check(MlrtModel *m, MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	pthread_mutex_lock(&m->lock);
	if (m->unchecked)
		st = mlrt_container_check_rest(&m->container, m->how, err);
	if (!st)
		m->unchecked = false;
	pthread_mutex_unlock(&m->lock);
	return st;
}

/* The file of that name, or `bytes` where there is none. */
static MlrtStatus open_model(const char *path, Mapping bytes, const MlrtOpenOptions *opt, MlrtModel **out, MlrtError *err)
{
	MlrtModel *m = new_model(err);
	int fd = -1;
	MlrtStatus st = MLRT_OK;

	*out = NULL;
	if (!m)
		return MLRT_ERR_NOMEM;
	m->file = bytes;
	if (path)
		st = mlrt_map_file(path, &fd, &m->file, err);
	if (!st)
		st = open_bytes(m, fd, opt, err);
	if (fd >= 0)
		close(fd);
	if (!st) {
		*out = m;
		return MLRT_OK;
	}
	if (path)
		mlrt_error_prefix(err, path);
	mlrt_model_close(m);
	return st;
}

MlrtStatus mlrt_model_open_memory(const void *bytes, size_t n, const MlrtOpenOptions *opt, MlrtModel **out,
				  MlrtError *err)
{
	if (err)
		*err = (MlrtError){0};
	if (!out || !bytes)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "no bytes, or nowhere to put the model");
	return open_model(NULL, (Mapping){.data = bytes, .bytes = n}, opt, out, err);
}

MlrtStatus mlrt_model_open(const char *path, const MlrtOpenOptions *opt, MlrtModel **out, MlrtError *err)
{
	if (err)
		*err = (MlrtError){0};
	if (!out || !path)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "no path, or nowhere to put the model");
	return open_model(path, (Mapping){0}, opt, out, err);
}

void mlrt_model_close(MlrtModel *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; m->strings && i < m->program.list.head->nstrings; i++)
		free(m->strings[i]);
	free(m->strings);
	if (m->on)
		m->device->model_free(m);
	mlrt_program_free(&m->program);
	mlrt_manifest_free(&m->manifest);
	mlrt_container_free(&m->container);
	mlrt_unmap(&m->weights);
	mlrt_unmap(&m->code);
	mlrt_unmap(&m->file);
	free(m);
}

MlrtStatus mlrt_model_replay(MlrtModel *m, const MlrtSessionOptions *opt, MlrtReplayFn *each, void *user, MlrtReplay *summary,
			     MlrtError *err)
{
	const More *more = mlrt_more("golden vectors", err);

	return more ? more->replay(m, opt, each, user, summary, err) : MLRT_ERR_IO;
}

const char *mlrt_model_manifest(const MlrtModel *m, size_t *n)
{
	if (n)
		*n = m->container.header.manifest_bytes;
	return m->container.manifest;
}

const char *mlrt_model_variant(const MlrtModel *m)
{
	return m->variant->name;
}

size_t mlrt_model_inputs(const MlrtModel *m)
{
	return m->manifest.ninputs;
}

size_t mlrt_model_outputs(const MlrtModel *m)
{
	return m->manifest.noutputs;
}

MlrtStatus mlrt_model_input(const MlrtModel *m, size_t i, MlrtTensorInfo *info)
{
	if (i >= m->manifest.ninputs)
		return MLRT_ERR_ARGUMENT;
	*info = m->manifest.input[i].info;
	return MLRT_OK;
}

MlrtStatus mlrt_model_output(const MlrtModel *m, size_t i, MlrtTensorInfo *info)
{
	if (i >= m->manifest.noutputs)
		return MLRT_ERR_ARGUMENT;
	*info = m->manifest.output[i].info;
	return MLRT_OK;
}

long mlrt_model_state(const MlrtModel *m, size_t input)
{
	for (size_t i = 0; i < m->manifest.nstates; i++)
		if (m->manifest.state[i].input == input)
			return (long)m->manifest.state[i].output;
	return -1;
}

size_t mlrt_model_arena_bytes(const MlrtModel *m)
{
	return m->program.arena_bytes;
}
