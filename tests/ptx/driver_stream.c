/* tests/ptx/driver_stream.c -- streams, events, graphs. */
#include <stdlib.h>
#include <time.h>

#include "tests/ptx/driver_api.h"

/* -- work -- */

bool cu_stream(void *handle, CuStream **stream)
{
	*stream = NULL;
	if ((uintptr_t)handle <= 2) /* the default streams: legacy and per thread */
		return true;
	*stream = cu_object(handle, CU_STREAM);
	return *stream;
}

CUresult cu_run(const CuNode *n)
{
	return n->kind == CU_NODE_KERNEL ? cu_run_kernel(n) : cu_run_copy(n);
}

static CuNode copy_node(const CuNode *n)
{
	CuNode c = *n;

	if (n->params) {
		c.params = malloc(n->function->func->param_bytes + 1);
		if (!c.params)
			abort();
		memcpy(c.params, n->params, n->function->func->param_bytes);
	}
	return c;
}

static void add_node(CuGraph *g, const CuNode *n)
{
	if (g->n == g->room) {
		g->room = 2 * g->room + 16;
		g->nodes = realloc(g->nodes, sizeof *g->nodes * g->room);
		if (!g->nodes)
			abort();
	}
	g->nodes[g->n++] = copy_node(n);
}

CUresult cu_submit(void *stream, const CuNode *n)
{
	CuStream *s;

	if (!cu_stream(stream, &s))
		return CUDA_ERROR_INVALID_HANDLE;
	if (s && s->capture) {
		if (s->capture->broken)
			return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
		add_node(s->capture, n);
		return 0;
	}
	if (!s && cu_state.capturing)
		return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	/* errors of kernels come from the calls behind */
	if (n->kind == CU_NODE_KERNEL) {
		cu_run(n);
		return 0;
	}
	return cu_run(n);
}

/* -- streams -- */

CU_API CUresult cuStreamCreate(void **stream, unsigned flags)
{
	CUresult r = cu_enter("cuStreamCreate", true);

	if (!r)
		r = !stream || flags > 1 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
	if (!r)
		*stream = cu_object_new(CU_STREAM, sizeof(CuStream));
	return cu_leave(r);
}

CU_API CUresult cuStreamDestroy_v2(void *stream)
{
	CUresult r = cu_enter("cuStreamDestroy_v2", true);
	CuStream *s = r ? NULL : cu_object(stream, CU_STREAM);

	if (!r && !s)
		r = CUDA_ERROR_INVALID_HANDLE;
	if (!r) {
		if (s->capture && s->mode != 2)
			cu_state.capturing--;
		s->object.alive = false;
	}
	return cu_leave(r);
}

/* Waiting for a stream that captures is not possible, and spoils the capture. */
static CUresult wait_for(void *stream)
{
	CuStream *s;

	if (!cu_stream(stream, &s))
		return CUDA_ERROR_INVALID_HANDLE;
	if (s && s->capture) {
		s->capture->broken = true;
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	}
	return !s && cu_state.capturing ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

CU_API CUresult cuStreamSynchronize(void *stream)
{
	CUresult r = cu_enter("cuStreamSynchronize", true);

	if (!r)
		r = wait_for(stream);
	return cu_leave(r);
}

CU_API CUresult cuStreamQuery(void *stream)
{
	CUresult r = cu_enter("cuStreamQuery", true);

	if (!r)
		r = wait_for(stream);
	return cu_leave(r);
}

/* -- capture -- */

static CUresult begin_capture(void *stream, int mode)
{
	CuStream *s = cu_object(stream, CU_STREAM);

	if (!s) /* the legacy stream cannot be captured */
		return (uintptr_t)stream <= 2 ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_ERROR_INVALID_HANDLE;
	if (s->capture)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (mode < 0 || mode > 2)
		return CUDA_ERROR_INVALID_VALUE;
	s->capture = cu_object_new(CU_GRAPH, sizeof *s->capture);
	s->capture->streams = 1;
	s->origin = true;
	s->mode = mode;
	cu_state.capturing += mode != 2; /* relaxed: nothing else is forbidden meanwhile */
	return 0;
}

CU_API CUresult cuStreamBeginCapture_v2(void *stream, int mode)
{
	CUresult r = cu_enter("cuStreamBeginCapture_v2", true);

	if (!r)
		r = begin_capture(stream, mode);
	return cu_leave(r);
}

static CUresult end_capture(void *stream, void **graph)
{
	CuStream *s = cu_object(stream, CU_STREAM);
	CuGraph *g;

	if (!s)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!s->capture)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (!s->origin)
		return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
	g = s->capture;
	cu_state.capturing -= s->mode != 2;
	s->capture = NULL;
	s->origin = false;
	*graph = NULL;
	for (CuObject *o = cu_state.objects; o; o = o->next) /* streams that joined leave with it */
		if (o->kind == CU_STREAM && ((CuStream *)o)->capture == g)
			((CuStream *)o)->capture = NULL;
	if (g->broken || g->streams > 1) {
		g->object.alive = false;
		return g->broken ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
	}
	*graph = g;
	return 0;
}

CU_API CUresult cuStreamEndCapture(void *stream, void **graph)
{
	CUresult r = cu_enter("cuStreamEndCapture", true);

	if (!r)
		r = graph ? end_capture(stream, graph) : CUDA_ERROR_INVALID_VALUE;
	return cu_leave(r);
}

CU_API CUresult cuStreamIsCapturing(void *stream, int *status)
{
	CUresult r = cu_enter("cuStreamIsCapturing", true);
	CuStream *s = NULL;

	if (!r)
		r = cu_stream(stream, &s) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
	if (!r)
		*status = !s || !s->capture ? 0 : s->capture->broken ? 2 : 1;
	return cu_leave(r);
}

/* -- events -- */

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

CU_API CUresult cuEventCreate(void **event, unsigned flags)
{
	CUresult r = cu_enter("cuEventCreate", true);

	if (!r)
		r = event && flags < 8 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	if (!r) {
		CuEvent *e = cu_object_new(CU_EVENT, sizeof *e);

		e->timing = !(flags & 2); /* CU_EVENT_DISABLE_TIMING */
		*event = e;
	}
	return cu_leave(r);
}

CU_API CUresult cuEventDestroy_v2(void *event)
{
	CUresult r = cu_enter("cuEventDestroy_v2", true);
	CuEvent *e = r ? NULL : cu_object(event, CU_EVENT);

	if (!r)
		r = e ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
	if (!r)
		e->object.alive = false;
	return cu_leave(r);
}

CU_API CUresult cuEventRecord(void *event, void *stream)
{
	CUresult r = cu_enter("cuEventRecord", true);
	CuEvent *e = r ? NULL : cu_object(event, CU_EVENT);
	CuStream *s = NULL;

	if (!r)
		r = e && cu_stream(stream, &s) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
	if (!r) {
		e->capture = s ? s->capture : NULL;
		/* a stream that joined a capture is back when its event is waited for */
		e->recorded = true;
		e->ms = now_ms();
	}
	return cu_leave(r);
}

static CUresult wait_event(void *stream, void *event)
{
	CuEvent *e = cu_object(event, CU_EVENT);
	CuStream *s;

	if (!e || !cu_stream(stream, &s))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!e->capture)
		return 0;
	if (!s)
		return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	if (!s->capture) {
		s->capture = e->capture;
		s->mode = 2;
		e->capture->streams++;
	} else if (s->origin && s->capture == e->capture && s->capture->streams > 1) {
		s->capture->streams--;
	}
	return 0;
}

CU_API CUresult cuStreamWaitEvent(void *stream, void *event, unsigned flags)
{
	CUresult r = cu_enter("cuStreamWaitEvent", true);

	if (!r)
		r = wait_event(stream, event);
	return cu_leave(r);
}

static CUresult event_done(void *event)
{
	CuEvent *e = cu_object(event, CU_EVENT);

	return !e ? CUDA_ERROR_INVALID_HANDLE : e->capture ? CUDA_ERROR_CAPTURED_EVENT : CUDA_SUCCESS;
}

CU_API CUresult cuEventSynchronize(void *event)
{
	CUresult r = cu_enter("cuEventSynchronize", true);

	if (!r)
		r = event_done(event);
	return cu_leave(r);
}

CU_API CUresult cuEventQuery(void *event)
{
	CUresult r = cu_enter("cuEventQuery", true);

	if (!r)
		r = event_done(event);
	return cu_leave(r);
}

CU_API CUresult cuEventElapsedTime(float *ms, void *from, void *to)
{
	CUresult r = cu_enter("cuEventElapsedTime", true);
	const CuEvent *a = r ? NULL : cu_object(from, CU_EVENT), *b = r ? NULL : cu_object(to, CU_EVENT);

	if (!r)
		r = !a || !b || !a->recorded || !b->recorded || !a->timing || !b->timing ? CUDA_ERROR_INVALID_HANDLE
											 : CUDA_SUCCESS;
	if (!r)
		*ms = (float)(b->ms - a->ms);
	return cu_leave(r);
}

/* -- graphs -- */

static void free_nodes(CuNode *nodes, size_t n)
{
	for (size_t k = 0; k < n; k++)
		free(nodes[k].params);
	free(nodes);
}

static CuExec *instantiate(const CuGraph *g)
{
	CuExec *x = cu_object_new(CU_EXEC, sizeof *x);

	x->nodes = calloc(g->n + 1, sizeof *x->nodes);
	if (!x->nodes)
		abort();
	for (x->n = 0; x->n < g->n; x->n++)
		x->nodes[x->n] = copy_node(&g->nodes[x->n]);
	return x;
}

CU_API CUresult cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags)
{
	CUresult r = cu_enter("cuGraphInstantiateWithFlags", true);
	const CuGraph *g = r ? NULL : cu_object(graph, CU_GRAPH);

	if (!r)
		r = g && exec ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	if (!r)
		*exec = instantiate(g);
	return cu_leave(r);
}

static CUresult graph_launch(void *exec, void *stream)
{
	const CuExec *x = cu_object(exec, CU_EXEC);
	CuStream *s;

	if (!x || !cu_stream(stream, &s))
		return CUDA_ERROR_INVALID_HANDLE;
	if (s && s->capture)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	cu_state.graph_launches++;
	for (size_t k = 0; k < x->n && !cu_state.sticky; k++) {
		const CUresult r = cu_run(&x->nodes[k]);

		if (r)
			cu_state.sticky =
				x->nodes[k].kind == CU_NODE_KERNEL ? cu_state.sticky : CUDA_ERROR_ILLEGAL_ADDRESS;
	}
	return 0;
}

CU_API CUresult cuGraphLaunch(void *exec, void *stream)
{
	CUresult r = cu_enter("cuGraphLaunch", true);

	if (!r)
		r = graph_launch(exec, stream);
	return cu_leave(r);
}

CU_API CUresult cuGraphExecDestroy(void *exec)
{
	CUresult r = cu_enter("cuGraphExecDestroy", true);
	CuExec *x = r ? NULL : cu_object(exec, CU_EXEC);

	if (!r)
		r = x ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	if (!r) {
		free_nodes(x->nodes, x->n);
		x->nodes = NULL;
		x->object.alive = false;
	}
	return cu_leave(r);
}

CU_API CUresult cuGraphDestroy(void *graph)
{
	CUresult r = cu_enter("cuGraphDestroy", true);
	CuGraph *g = r ? NULL : cu_object(graph, CU_GRAPH);

	if (!r)
		r = g ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	if (!r) {
		free_nodes(g->nodes, g->n);
		g->nodes = NULL;
		g->object.alive = false;
	}
	return cu_leave(r);
}

CU_API CUresult cuGraphGetNodes(void *graph, void **nodes, size_t *n)
{
	CUresult r = cu_enter("cuGraphGetNodes", true);
	const CuGraph *g = r ? NULL : cu_object(graph, CU_GRAPH);

	if (!r)
		r = g && n ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	if (!r) {
		const size_t room = *n;

		for (size_t k = 0; nodes && k < room; k++)
			nodes[k] = k < g->n ? &g->nodes[k] : NULL;
		if (!nodes || room > g->n)
			*n = g->n;
	}
	return cu_leave(r);
}
