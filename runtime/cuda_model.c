/* runtime/cuda_model.c -- what a model has on a device: its module, its weights; and what failures of the driver are called. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda.h"

enum { MANAGED_FROM = 64 << 10 }; /* bytes: less is page-locked, for it is touched by both sides all the time */

MLRT_LOCAL MlrtStatus mlrt_cuda_fail(const DeviceModel *d, CuResult r, MlrtError *err, const char *doing)
{
	char text[160];

	mlrt_cuda_error(d->cu, r, text, sizeof text);
	if (r == CU_OUT_OF_MEMORY)
		return mlrt_fail(err, MLRT_ERR_DEVICE_MEMORY, "device %d (%s): %s: no memory left", d->ordinal, d->name, doing);
	return mlrt_fail(err, MLRT_ERR_KERNEL, "device %d (%s): %s: %s", d->ordinal, d->name, doing, text);
}

MLRT_LOCAL MlrtStatus mlrt_cuda_no_memory(const DeviceModel *d, size_t bytes, const char *what, MlrtError *err)
{
	size_t left = 0, total = 0;

	d->cu->memory_info(&left, &total);
	return mlrt_fail(err, MLRT_ERR_DEVICE_MEMORY, "device %d (%s): no memory for %zu bytes of %s, %zu of %zu are free", d->ordinal, d->name,
			 bytes, what, left, total);
}

MLRT_LOCAL MlrtStatus mlrt_cuda_enter(const DeviceModel *d, MlrtError *err)
{
	const CuResult r = d->cu->context_push(d->context);

	return r == CU_OK ? MLRT_OK : mlrt_cuda_fail(d, r, err, "its context");
}

MLRT_LOCAL void mlrt_cuda_leave(const DeviceModel *d)
{
	CuContext context;

	d->cu->context_pop(&context);
}

MLRT_LOCAL void *mlrt_cuda_shared_alloc(const DeviceModel *d, size_t bytes)
{
	CuPointer managed = 0;
	void *p = NULL;

	if (d->shares && bytes >= MANAGED_FROM)
		return d->cu->managed_alloc(&managed, bytes, CU_ATTACH_GLOBAL) == CU_OK ? (void *)(uintptr_t)managed : NULL;
	return d->cu->host_alloc(&p, bytes, 0) == CU_OK ? p : NULL;
}

MLRT_LOCAL void mlrt_cuda_shared_free(const DeviceModel *d, void *p, size_t bytes)
{
	if (d->shares && bytes >= MANAGED_FROM)
		d->cu->memory_free((CuPointer)(uintptr_t)p);
	else
		d->cu->host_free(p);
}

/* A copy of memory that is not page-locked returns when it has been read, not when it has arrived; our streams do not wait for that. */
MLRT_LOCAL CuResult mlrt_cuda_upload(const DeviceModel *d, CuPointer to, const void *from, size_t bytes)
{
	const CuResult r = d->cu->to_device(to, from, bytes);

	return r == CU_OK ? d->cu->stream_wait(NULL) : r;
}

/* -- the module -------------------------------------------------------------------------------------- */

/* ".version 7.4" -> 74 */
static int ptx_version(const char *ptx)
{
	const char *at = strstr(ptx, ".version ");
	int major = 0, minor = 0;

	return at && sscanf(at, ".version %d.%d", &major, &minor) == 2 ? 10 * major + minor : 0;
}

static MlrtStatus module_failed(DeviceModel *d, const MlrtModel *m, CuResult r, const char *ptx, const char *log, MlrtError *err)
{
	const char *variant = m->variant->name;
	const int version = ptx_version(ptx);
	char text[160];

	mlrt_cuda_error(d->cu, r, text, sizeof text);
	if (r == CU_OUT_OF_MEMORY)
		return mlrt_cuda_no_memory(d, strlen(ptx), "PTX and the code made of it", err);
	if (r < CU_INVALID_IMAGE || r > CU_NO_JIT + 9) /* of no image */
		return mlrt_cuda_fail(d, r, err, "a module");
	if (r == CU_UNSUPPORTED_PTX || r == CU_NO_JIT)
		return mlrt_fail(err, MLRT_ERR_DRIVER, "variant '%.80s' is PTX %d.%d, which the driver, of CUDA %d.%d, does not take: install a newer one (%s)",
				 variant, version / 10, version % 10, d->cu->version / 1000, d->cu->version % 1000 / 10, text);
	return mlrt_fail(err, MLRT_ERR_FORMAT, "variant '%.80s': the driver makes no code of its PTX: %.100s%s%.*s", variant, text,
			 log[0] ? ": " : "", (int)strcspn(log, "\n"), log);
}

static MlrtStatus load_module(DeviceModel *d, const MlrtModel *m, MlrtError *err)
{
	const MlrtBlob *b = &m->container.blob[m->variant->code];
	const char *ptx = (const char *)m->container.file + b->offset;
	char log[1024] = "";
	int option[] = {CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_BYTES};
	void *value[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
	CuResult r = CU_NO_BINARY;

	if (m->variant->cubin != UINT64_MAX) /* of that very capability alone */
		r = d->cu->module_load(&d->module, m->container.file + m->container.blob[m->variant->cubin].offset, 0, NULL, NULL);
	if (r != CU_OK)
		r = d->cu->module_load(&d->module, ptx, 2, option, value);
	return r == CU_OK ? MLRT_OK : module_failed(d, m, r, ptx, log, err);
}

static MlrtStatus find_kernels(DeviceModel *d, const MlrtModel *m, MlrtError *err)
{
	enum { FREE_SHARED = 48 << 10 };
	Launches l;
	MlrtStatus st = mlrt_launches_read(&m->container, m->variant, &l, err);

	if (st)
		return st;
	d->nlaunches = l.n;
	d->function = calloc((size_t)l.n + 1, sizeof *d->function);
	d->launch = calloc((size_t)l.n + 1, sizeof *d->launch);
	if (!d->function || !d->launch)
		return mlrt_fail(err, MLRT_ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i < l.n; i++) {
		const char *name = l.names;
		CuResult r;

		d->launch[i] = mlrt_launch_at(&l, i);
		name += d->launch[i].name;
		r = d->cu->module_function(&d->function[i], d->module, name);
		if (r == CU_OK && d->launch[i].shared_bytes > FREE_SHARED)
			r = d->cu->function_set(d->function[i], CU_FUNCTION_DYNAMIC_SHARED, (int)d->launch[i].shared_bytes);
		if (r != CU_OK)
			return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: variant '%.80s': kernel '%.80s' is not in its PTX, or asks for too much shared memory (%d)",
					 m->variant->name, name, r);
	}
	return MLRT_OK;
}

static MlrtStatus upload_weights(DeviceModel *d, const MlrtModel *m, MlrtError *err)
{
	CuPointer p = 0;
	CuResult r;

	d->weight_bytes = m->weights.bytes;
	if (m->weights.bytes == 0)
		return MLRT_OK;
	if (m->program.list.head) {
		d->weights = mlrt_cuda_shared_alloc(d, d->weight_bytes);
		if (!d->weights)
			return mlrt_cuda_no_memory(d, d->weight_bytes, "weights", err);
		memcpy(d->weights, m->weights.data, d->weight_bytes);
		return MLRT_OK;
	}
	r = d->cu->memory_alloc(&p, d->weight_bytes);
	if (r == CU_OUT_OF_MEMORY)
		return mlrt_cuda_no_memory(d, d->weight_bytes, "weights", err);
	d->weights = (unsigned char *)(uintptr_t)p;
	if (r == CU_OK)
		r = mlrt_cuda_upload(d, p, m->weights.data, d->weight_bytes);
	return r == CU_OK ? MLRT_OK : mlrt_cuda_fail(d, r, err, "upload of weights");
}

/* -- one per model and device ------------------------------------------------------------------------ */

static void device_model_free(const MlrtModel *m, DeviceModel *d)
{
	if (d->context) {
		if (d->cu->context_push(d->context) == CU_OK) {
			if (d->weights && m->program.list.head)
				mlrt_cuda_shared_free(d, d->weights, d->weight_bytes);
			else if (d->weights)
				d->cu->memory_free((CuPointer)(uintptr_t)d->weights);
			if (d->module)
				d->cu->module_unload(d->module);
			mlrt_cuda_leave(d);
		}
		d->cu->context_release(d->device);
	}
	free(d->function);
	free(d->launch);
	free(d);
}

static MlrtStatus open_device(DeviceModel *d, const MlrtModel *m, MlrtError *err)
{
	const int have = mlrt_cuda_capability(d->cu, d->ordinal);
	const char *lacks;
	int shares = 0, answer;
	CuResult r;

	if (have == 0)
		return mlrt_fail(err, MLRT_ERR_NO_DEVICE, "there is no device %d: the driver counts %d, from 0 on", d->ordinal, d->cu->ndevices);
	d->cu->device_get(&d->device, d->ordinal);
	if (d->cu->device_name(d->name, sizeof d->name, d->device) != CU_OK)
		d->name[0] = 0;
	lacks = mlrt_cuda_lacks(d->cu, m->variant->needs, m->variant->nneeds, have, &answer);
	if (lacks)
		return mlrt_fail(err, MLRT_ERR_NO_DEVICE, "device %d (%s) is sm_%d, variant '%.80s' needs %.40s", d->ordinal, d->name, have,
				 m->variant->name, lacks);
	if (d->cu->device_attribute(&shares, CU_CONCURRENT_MANAGED, d->device) == CU_OK)
		d->shares = shares && d->cu->managed_alloc;
	r = d->cu->context_retain(&d->context, d->device);
	if (r == CU_OK)
		return MLRT_OK;
	d->context = NULL;
	return mlrt_cuda_fail(d, r, err, "its context");
}

static MlrtStatus fill_device(DeviceModel *d, const MlrtModel *m, MlrtError *err)
{
	MlrtStatus st = open_device(d, m, err);

	if (!st)
		st = mlrt_cuda_enter(d, err);
	if (st)
		return st;
	st = load_module(d, m, err);
	if (!st)
		st = find_kernels(d, m, err);
	if (!st)
		st = upload_weights(d, m, err);
	mlrt_cuda_leave(d);
	return st;
}

MLRT_LOCAL MlrtStatus mlrt_cuda_model(MlrtModel *m, int ordinal, DeviceModel **out, MlrtError *err)
{
	char why[200];
	DeviceModel *d;
	MlrtStatus st = MLRT_OK;

	pthread_mutex_lock(&m->lock);
	for (d = m->on; d && d->ordinal != ordinal; d = d->next)
		;
	if (!d) {
		d = calloc(1, sizeof *d);
		st = d ? MLRT_OK : mlrt_fail(err, MLRT_ERR_NOMEM, "out of memory");
		if (d) {
			d->ordinal = ordinal;
			d->cu = mlrt_cuda(&st, why, sizeof why);
			st = d->cu ? fill_device(d, m, err) : mlrt_fail(err, st, "%s", why);
		}
		if (st && d)
			device_model_free(m, d);
		if (!st) {
			d->next = m->on;
			m->on = d;
		}
	}
	pthread_mutex_unlock(&m->lock);
	*out = d;
	return st;
}

MLRT_LOCAL void mlrt_cuda_model_free(MlrtModel *m)
{
	while (m->on) {
		DeviceModel *d = m->on;

		m->on = d->next;
		device_model_free(m, d);
	}
}
