/* runtime/cuda_flat.c -- runs of flat programs: copies and kernels as one graph, made again when inputs or outputs lie elsewhere. */
#include <string.h>

#include "runtime/cuda.h"

static size_t end_bytes(const DeviceSession *on, size_t i)
{
	const Manifest *m = &on->of->manifest;

	return i < on->nin ? m->input[i].info.bytes : m->output[i - on->nin].info.bytes;
}

/* Where kernels see an input or output. */
static CuPointer end_address(const DeviceSession *on, size_t i)
{
	return on->end[i].how == END_DEVICE ? (CuPointer)(uintptr_t)on->end[i].given : on->ends + on->at[i];
}

/* From where an input comes to the device, and to where an output goes: page-locked memory. */
static void *end_host(const DeviceSession *on, size_t i)
{
	return on->end[i].how == END_PINNED ? (void *)(uintptr_t)on->end[i].given : on->pinned + on->at[i];
}

static void find_ends(DeviceSession *on, const void *const *inputs, void *const *outputs)
{
	for (size_t i = 0; i < on->nin + on->nout; i++) {
		const void *p = i < on->nin ? inputs[i] : outputs[i - on->nin];
		const EndHow how = end_bytes(on, i) ? mlrt_cuda_where(on->model, p) : END_STAGED;

		on->end[i] = (End){how, how == END_STAGED ? NULL : p};
	}
}

static bool is_captured(const DeviceSession *on)
{
	for (size_t i = 0; on->graph && i < on->nin + on->nout; i++)
		if (on->end[i].how != on->captured[i].how || on->end[i].given != on->captured[i].given)
			return false;
	return on->graph != NULL;
}

static void patch(MlrtSession *s)
{
	const DeviceSession *on = s->on;

	for (size_t i = 0; i < s->ninputs; i++)
		s->arg[s->input[i].slot] = (void *)(uintptr_t)(end_address(on, s->input[i].index) + s->input[i].offset);
	for (size_t i = 0; i < s->noutputs; i++)
		s->arg[s->output[i].slot] = (void *)(uintptr_t)(end_address(on, on->nin + s->output[i].index) + s->output[i].offset);
}

/* Those that kernels do not touch where they are. */
static CuResult copy_ends(const DeviceSession *on, bool outputs, CuStream stream)
{
	const Cuda *cu = on->model->cu;
	CuResult r = CU_OK;

	for (size_t i = outputs ? on->nin : 0; r == CU_OK && i < (outputs ? on->nin + on->nout : on->nin); i++) {
		const size_t bytes = end_bytes(on, i);
		const CuPointer at = on->ends + on->at[i], given = (CuPointer)(uintptr_t)on->end[i].given;

		if (bytes == 0 || on->end[i].how == END_DEVICE)
			continue;
		if (on->end[i].how == END_COPIED)
			r = cu->on_device_async(outputs ? given : at, outputs ? at : given, bytes, stream);
		else if (outputs)
			r = cu->to_host_async(end_host(on, i), at, bytes, stream);
		else
			r = cu->to_device_async(at, end_host(on, i), bytes, stream);
	}
	return r;
}

static CuResult launch_step(const MlrtSession *s, uint32_t i, CuStream stream)
{
	const Call *c = &s->call[i];

	return mlrt_cuda_launch(s->on, c->code, c->args, c->nargs, c->ntasks, stream);
}

static CuResult put_all(const MlrtSession *s, CuStream stream)
{
	CuResult r = copy_ends(s->on, false, stream);

	for (uint32_t i = 0; r == CU_OK && i < s->model->program.head->nsteps; i++)
		r = launch_step(s, i, stream);
	return r == CU_OK ? copy_ends(s->on, true, stream) : r;
}

/* What a run does, as a graph: the stream that records it does nothing. */
static CuResult capture(const MlrtSession *s)
{
	DeviceSession *on = s->on;
	const Cuda *cu = on->model->cu;
	CuGraph graph = NULL;
	CuResult r, end;

	if (on->graph)
		cu->graph_exec_destroy(on->graph);
	on->graph = NULL;
	r = cu->capture_begin(on->own, CU_CAPTURE_THREAD_LOCAL);
	if (r != CU_OK)
		return r;
	r = put_all(s, on->own);
	end = cu->capture_end(on->own, &graph);
	r = r == CU_OK ? end : r;
	if (r == CU_OK)
		r = cu->graph_instantiate(&on->graph, graph, 0);
	if (graph)
		cu->graph_destroy(graph);
	if (r == CU_OK)
		memcpy(on->captured, on->end, (on->nin + on->nout) * sizeof *on->end);
	else
		on->graph = NULL;
	return r;
}

/* Step by step, each between two events. */
static CuResult run_profiled(MlrtSession *s)
{
	DeviceSession *on = s->on;
	const Cuda *cu = on->model->cu;
	CuResult r = copy_ends(on, false, on->stream);

	for (uint32_t i = 0; r == CU_OK && i < s->model->program.head->nsteps; i++) {
		float ms = 0;

		r = cu->event_record(on->start, on->stream);
		if (r == CU_OK)
			r = launch_step(s, i, on->stream);
		if (r == CU_OK)
			r = cu->event_record(on->done, on->stream);
		if (r == CU_OK)
			r = cu->event_wait(on->done);
		if (r == CU_OK)
			r = cu->event_elapsed(&ms, on->start, on->done);
		s->ns[i] += (uint64_t)(1e6 * (double)ms);
	}
	return r == CU_OK ? copy_ends(on, true, on->stream) : r;
}

/* Is there an input or output, of those from `first` on, that the application's memory and ours are copied between? */
static bool has_staged(const DeviceSession *on, size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++)
		if (on->end[i].how == END_STAGED && end_bytes(on, i) > 0)
			return true;
	return false;
}

static CuResult start(MlrtSession *s, const void *const *inputs)
{
	DeviceSession *on = s->on;
	const bool fresh = !is_captured(on);
	CuResult r = CU_OK;

	if (on->pending && (fresh || has_staged(on, 0, on->nin)))
		r = on->model->cu->event_wait(on->done); /* of the last run, which may still read what is written now */
	for (size_t i = 0; r == CU_OK && i < on->nin; i++)
		if (on->end[i].how == END_STAGED && end_bytes(on, i) > 0)
			memcpy(on->pinned + on->at[i], inputs[i], end_bytes(on, i));
	if (r != CU_OK)
		return r;
	if (s->profiling) {
		patch(s);
		return run_profiled(s);
	}
	if (fresh) {
		patch(s);
		r = capture(s);
	}
	if (r == CU_OK)
		r = on->model->cu->graph_launch(on->graph, on->stream);
	return r == CU_OK ? on->model->cu->event_record(on->done, on->stream) : r;
}

MLRT_LOCAL MlrtStatus mlrt_cuda_run(MlrtSession *s, const void *const *inputs, void *const *outputs, MlrtError *err)
{
	DeviceSession *on = s->on;
	MlrtStatus st = mlrt_cuda_enter(on->model, err);
	CuResult r;

	if (st)
		return st;
	find_ends(on, inputs, outputs);
	r = start(s, inputs);
	on->pending = true;
	mlrt_cuda_leave(on->model);
	if (r != CU_OK)
		return mlrt_cuda_fail(on->model, r, err, "a run");
	if (on->stream != on->own && !has_staged(on, on->nin, on->nout))
		return MLRT_OK;
	st = mlrt_cuda_wait(s, err);
	for (size_t i = on->nin; !st && i < on->nin + on->nout; i++)
		if (on->end[i].how == END_STAGED && end_bytes(on, i) > 0)
			memcpy(outputs[i - on->nin], on->pinned + on->at[i], end_bytes(on, i));
	return st;
}
