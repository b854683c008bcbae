/* runtime/cuda_session.c -- a session's memory and stream on a device, launches, and the table that the rest of the runtime calls. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda.h"

enum { DEVICE_ALIGN = 256 };

static size_t device_round(size_t n)
{
	return (n + DEVICE_ALIGN - 1) / DEVICE_ALIGN * DEVICE_ALIGN;
}

/* -- launches ------------------------------------------------------------------------------------------ */

MLRT_LOCAL CuResult mlrt_cuda_launch(const DeviceSession *on, uint64_t code, void *const *args, uint32_t nargs, int64_t tasks, CuStream stream)
{
	const DeviceModel *d = on->model;
	const MlrtLaunch *l = &d->launch[code];
	CuPointer scratch = on->scratch;
	int64_t blocks = l->blocks;

	if (l->tasks_per_block)
		blocks = (tasks - 1) / l->tasks_per_block + 1;
	if (blocks > INT32_MAX) /* any grid is right */
		blocks = INT32_MAX;
	for (uint32_t i = 0; i < nargs; i++)
		on->parameter[i] = (void *)(uintptr_t)&args[i];
	on->parameter[nargs] = &tasks;
	on->parameter[nargs + 1] = &scratch;
	return d->cu->launch(d->function[code], (unsigned)blocks, 1, 1, l->threads, 1, 1, l->shared_bytes, stream, on->parameter, NULL);
}

static void device_call(MlrtSession *s, uint64_t code, void *const *args, uint32_t nargs, int64_t tasks)
{
	DeviceSession *on = s->on;
	CuResult r;

	if (on->failed)
		return;
	on->failed = mlrt_cuda_enter(on->model, &on->error);
	if (on->failed)
		return;
	r = mlrt_cuda_launch(on, code, args, nargs, tasks, on->stream);
	if (r != CU_OK)
		on->failed = mlrt_cuda_fail(on->model, r, &on->error, "a launch");
	on->pending = true;
	mlrt_cuda_leave(on->model);
}

MLRT_LOCAL MlrtStatus mlrt_cuda_wait(MlrtSession *s, MlrtError *err)
{
	DeviceSession *on = s->on;
	MlrtStatus st = on->failed;
	CuResult r;

	if (st) {
		if (err)
			*err = on->error;
		on->failed = MLRT_OK;
		return st;
	}
	if (!on->pending)
		return MLRT_OK;
	on->pending = false;
	st = mlrt_cuda_enter(on->model, err);
	if (st)
		return st;
	r = on->model->cu->stream_wait(on->stream);
	mlrt_cuda_leave(on->model);
	return r == CU_OK ? MLRT_OK : mlrt_cuda_fail(on->model, r, err, "a kernel");
}

/* -- memory of the application -------------------------------------------------------------------------- */

MLRT_LOCAL EndHow mlrt_cuda_where(const DeviceModel *d, const void *p)
{
	unsigned type = 0;
	int ordinal = -1;

	if (d->cu->pointer_attribute(&type, CU_POINTER_MEMORY_TYPE, (CuPointer)(uintptr_t)p) != CU_OK)
		return END_STAGED; /* nothing that CUDA knows of */
	if (type != CU_MEMORY_DEVICE)
		return type == CU_MEMORY_HOST ? END_PINNED : END_STAGED;
	if (d->cu->pointer_attribute(&ordinal, CU_POINTER_DEVICE, (CuPointer)(uintptr_t)p) != CU_OK || ordinal != d->ordinal)
		return END_COPIED;
	return (uintptr_t)p % MLRT_ALIGN ? END_COPIED : END_DEVICE;
}

static MlrtStatus device_copy(MlrtSession *s, void *to, const void *from, size_t bytes, const void *given, MlrtError *err)
{
	DeviceModel *d = s->on->model;
	MlrtStatus st = mlrt_cuda_enter(d, err);
	CuResult r = CU_OK;
	EndHow how;

	if (st)
		return st;
	how = mlrt_cuda_where(d, given);
	if (how != END_DEVICE && how != END_COPIED)
		memcpy(to, from, bytes);
	else if (given == to)
		r = mlrt_cuda_upload(d, (CuPointer)(uintptr_t)to, from, bytes);
	else
		r = d->cu->to_host(to, (CuPointer)(uintptr_t)from, bytes);
	mlrt_cuda_leave(d);
	return r == CU_OK ? MLRT_OK : mlrt_cuda_fail(d, r, err, "a copy");
}

static MlrtStatus device_take(MlrtSession *s, void *to, const void *given, size_t bytes, MlrtError *err)
{
	return device_copy(s, to, given, bytes, given, err);
}

static MlrtStatus device_give(MlrtSession *s, void *given, const void *from, size_t bytes, MlrtError *err)
{
	return device_copy(s, given, from, bytes, given, err);
}

/* -- memory of lists: the host walks their steps, so it sees their values ---------------------------------- */

static void *shared_alloc(void *user, size_t bytes)
{
	DeviceSession *on = user;
	void *p = NULL;

	if (!mlrt_cuda_enter(on->model, NULL)) {
		p = mlrt_cuda_shared_alloc(on->model, bytes ? bytes : 1);
		mlrt_cuda_leave(on->model);
	}
	return p;
}

static void shared_free(void *user, void *p, size_t bytes)
{
	DeviceSession *on = user;

	if (on->model->cu->context_push(on->model->context) == CU_OK) {
		mlrt_cuda_shared_free(on->model, p, bytes ? bytes : 1);
		mlrt_cuda_leave(on->model);
	}
}

/* -- sessions -------------------------------------------------------------------------------------------- */

static uint32_t most_arguments(const Program *p)
{
	uint32_t most = 0;

	for (uint32_t i = 0; p->head && i < p->head->nsteps; i++)
		most = p->step[i].nargs > most ? p->step[i].nargs : most;
	for (uint32_t b = 0; p->list.head && b < p->list.head->nprograms; b++)
		for (uint32_t i = 0; i < p->list.body[b].head->nsteps; i++)
			most = p->list.body[b].step[i].n > most ? p->list.body[b].step[i].n : most;
	return most;
}

static uint64_t scratch_bytes(const DeviceModel *d)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < d->nlaunches; i++) {
		const uint64_t n = d->launch[i].blocks * d->launch[i].scratch_bytes; /* both are bounded: launch.c */

		most = n > most ? n : most;
	}
	return most;
}

/* Their words lie at the end of so many bytes. */
static size_t counter_bytes(const DeviceModel *d)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < d->nlaunches; i++)
		most = d->launch[i].counters > most ? d->launch[i].counters : most;
	return device_round(most * sizeof(uint32_t));
}

/* Kernels leave them as they find them: zeros. */
static CuResult clear_counters(const DeviceSession *on, size_t bytes)
{
	const Cuda *cu = on->model->cu;
	const CuResult r = bytes ? cu->set_async(on->scratch - bytes, 0, bytes, on->own) : CU_OK;

	return r == CU_OK && bytes ? cu->stream_wait(on->own) : r;
}

/* Places of inputs and outputs, one behind the other. */
static size_t place_ends(DeviceSession *on, const Manifest *m)
{
	size_t at = 0;

	for (size_t i = 0; i < on->nin + on->nout; i++) {
		on->at[i] = at;
		at += device_round(i < on->nin ? m->input[i].info.bytes : m->output[i - on->nin].info.bytes);
	}
	return at;
}

static MlrtStatus reserve_memory(DeviceSession *on, MlrtSession *s, MlrtError *err)
{
	const Program *p = &s->model->program;
	const size_t arena = p->head ? device_round(p->arena_bytes) : 0, scratch = device_round(scratch_bytes(on->model));
	const size_t counters = counter_bytes(on->model);
	CuResult r;

	on->pinned_bytes = p->head ? place_ends(on, &s->model->manifest) : 0;
	if (arena > SIZE_MAX / 4 || scratch > SIZE_MAX / 4)
		return mlrt_cuda_no_memory(on->model, SIZE_MAX / 4, "activations", err);
	on->memory_bytes = arena + counters + scratch + on->pinned_bytes;
	r = on->memory_bytes ? on->model->cu->memory_alloc(&on->memory, on->memory_bytes) : CU_OK;
	if (r == CU_OUT_OF_MEMORY)
		return mlrt_cuda_no_memory(on->model, on->memory_bytes, "activations, inputs and outputs", err);
	if (r == CU_OK && on->pinned_bytes)
		r = on->model->cu->host_alloc((void **)&on->pinned, on->pinned_bytes, 0);
	if (r == CU_OUT_OF_MEMORY)
		return mlrt_fail(err, MLRT_ERR_NOMEM, "no page-locked memory for %zu bytes of inputs and outputs", on->pinned_bytes);
	if (r != CU_OK)
		return mlrt_cuda_fail(on->model, r, err, "memory");
	s->memory = (unsigned char *)(uintptr_t)on->memory;
	on->scratch = on->memory + arena + counters;
	on->ends = on->scratch + scratch;
	r = clear_counters(on, counters);
	return r == CU_OK ? MLRT_OK : mlrt_cuda_fail(on->model, r, err, "clearing counters");
}

static DeviceSession *new_tables_on(const MlrtModel *m)
{
	const size_t n = m->manifest.ninputs + m->manifest.noutputs, nparams = (size_t)most_arguments(&m->program) + 2;
	DeviceSession *on = calloc(1, sizeof *on + n * (2 * sizeof(End) + sizeof(size_t)) + nparams * sizeof(void *));

	if (!on)
		return NULL;
	on->of = m;
	on->nin = m->manifest.ninputs;
	on->nout = m->manifest.noutputs;
	on->end = (End *)(on + 1);
	on->captured = on->end + n;
	on->at = (size_t *)(on->captured + n);
	on->parameter = (void **)(on->at + n);
	return on;
}

static MlrtStatus fill_session(DeviceSession *on, MlrtSession *s, void *stream, MlrtError *err)
{
	const Cuda *cu = on->model->cu;
	MlrtStatus st = mlrt_cuda_enter(on->model, err);
	CuResult r;

	if (st)
		return st;
	r = cu->stream_create(&on->own, CU_STREAM_NON_BLOCKING);
	if (r == CU_OK)
		r = cu->event_create(&on->start, CU_EVENT_DEFAULT);
	if (r == CU_OK)
		r = cu->event_create(&on->done, CU_EVENT_DEFAULT);
	on->stream = stream ? stream : on->own;
	st = r == CU_OK ? reserve_memory(on, s, err) : mlrt_cuda_fail(on->model, r, err, "a stream");
	mlrt_cuda_leave(on->model);
	return st;
}

static void device_session_free(MlrtSession *s)
{
	DeviceSession *on = s->on;
	const Cuda *cu = on->model->cu;

	s->on = NULL;
	if (cu->context_push(on->model->context) == CU_OK) {
		if (on->own) {
			cu->stream_wait(on->stream);
			cu->stream_wait(on->own);
		}
		if (on->graph)
			cu->graph_exec_destroy(on->graph);
		if (on->start)
			cu->event_destroy(on->start);
		if (on->done)
			cu->event_destroy(on->done);
		if (on->own) /* with a capture that never ended, during which memory is not freed */
			cu->stream_destroy(on->own);
		if (on->memory)
			cu->memory_free(on->memory);
		if (on->pinned)
			cu->host_free(on->pinned);
		mlrt_cuda_leave(on->model);
	}
	free(on);
}

static MlrtStatus device_session_new(MlrtModel *m, MlrtSession *s, int ordinal, void *stream, MlrtError *err)
{
	DeviceModel *d = NULL;
	MlrtStatus st = mlrt_cuda_model(m, ordinal, &d, err);
	DeviceSession *on;

	if (st)
		return st;
	on = new_tables_on(m);
	if (!on)
		return mlrt_fail(err, MLRT_ERR_NOMEM, "out of memory");
	on->model = d;
	s->on = on;
	st = fill_session(on, s, stream, err);
	s->weights = d->weights;
	if (m->program.list.head)
		s->allocator = (MlrtAllocator){on, shared_alloc, shared_free};
	return st;
}

/* -- the table ------------------------------------------------------------------------------------------- */

static MlrtStatus device_fits(const char *needs, size_t nneeds, char *why, size_t n)
{
	MlrtStatus st;
	const Cuda *cu = mlrt_cuda(&st, why, n);
	const char *lacks = NULL;
	int best = 0, answer = 0;

	if (!cu)
		return st;
	for (int i = 0; i < cu->ndevices; i++) {
		const int have = mlrt_cuda_capability(cu, i);

		lacks = mlrt_cuda_lacks(cu, needs, nneeds, have, &answer);
		if (!lacks)
			return MLRT_OK;
		best = have > best ? have : best;
	}
	if (!lacks || answer < 0)
		snprintf(why, n, "needs %.40s, unknown to this runtime", lacks ? lacks : "a device");
	else if (strncmp(lacks, "ptx_", 4) == 0)
		snprintf(why, n, "needs %.40s, which the driver, of CUDA %d.%d, does not take", lacks, cu->version / 1000, cu->version % 1000 / 10);
	else
		snprintf(why, n, "needs %.40s%s, the best of %d devices is sm_%d", lacks, strchr(lacks, 'a') ? " and no later one" : "",
			 cu->ndevices, best);
	return MLRT_ERR_NO_DEVICE;
}

const DeviceApi *mlrt_cuda_api(void)
{
	static const DeviceApi api = {
		.version = MLRT_VERSION,
		.model_bytes = sizeof(MlrtModel),
		.session_bytes = sizeof(MlrtSession),
		.fits = device_fits,
		.session_new = device_session_new,
		.session_free = device_session_free,
		.model_free = mlrt_cuda_model_free,
		.run = mlrt_cuda_run,
		.call = device_call,
		.wait = mlrt_cuda_wait,
		.take = device_take,
		.give = device_give,
	};

	return &api;
}
