/* ir/exec_plan.c -- running whole graphs: buffers shared by liveness, repeated runs.
 *
 * A buffer returns to the free list when the last reader of its value has run; elementwise nodes
 * and shape changes take over the buffer of an operand that dies there. */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "ir/exec_dyn.h"

enum { NO_BUFFER = -1, ALIGN = 64 };

typedef struct Buffer { void *data; size_t size; bool free; } Buffer;

/* Where a value lies. */
typedef struct Place {
	int buffer;           /* NO_BUFFER: a constant or an input */
	uint32_t uses;        /* readers still to come, while planning */
	const void *fixed;    /* a constant's aligned data */
	int64_t dim[MLO_MAX_RANK];
} Place;

typedef struct Step {
	const MloNode *node;
	RefCall call;
	RefTensor *in, *out;
	bool blas;
} Step;

struct MloExec {
	MloArena *arena;
	const MloGraph *graph;
	Place *place;         /* by value id */
	struct { Buffer *items; size_t n, cap; } buffers;
	struct { Step *items; size_t n, cap; } steps;
	MloTensor *outputs;
	float *scratch;
	size_t nscratch;
	int nthreads;
	bool plain;           /* OpenBLAS is not used */
	bool dynamic;         /* no plan: mlo_dyn_run() with an arena per run */
	MloArena *run;
};

static const char *value_name(const MloValue *v)
{
	return v->name ? v->name : "(unnamed)";
}

static const char *type_text(MloArena *a, const MloType *t)
{
	MloStr s = {.arena = a};
	mlo_type_print(&s, t);
	return mlo_str_text(&s);
}

static MloStatus place_value(MloExec *e, const MloValue *v, MloDiag *d)
{
	Place *p = &e->place[v->id];
	p->buffer = NO_BUFFER;
	if (!mlo_type_static(&v->type))
		return mlo_error(d, MLO_ERR_USAGE, "value '%s' has type %s: sizes must be known to run the graph",
		                 value_name(v), type_text(e->arena, &v->type));
	if (mlo_type_bytes(&v->type) < 0)
		return mlo_error(d, MLO_ERR_LIMIT, "value '%s' has type %s: too large", value_name(v),
		                 type_text(e->arena, &v->type));
	for (int i = 0; i < v->type.rank; i++)
		p->dim[i] = v->type.dim[i].k;
	if (v->data && !p->fixed) {
		unsigned bytes = mlo_elem_bits(v->type.elem) / 8, align = bytes > 8 ? 8 : bytes ? bytes : 1;
		p->fixed = v->data->data ? v->data->data : mlo_exec_empty;
		if ((uintptr_t)p->fixed % align)
			p->fixed = mlo_dup(e->arena, p->fixed, v->data->nbytes);
	}
	return MLO_OK;
}

static MloStatus place_all(MloExec *e, MloDiag *d)
{
	const MloGraph *g = e->graph;
	for (uint32_t i = 0; i < g->ninputs; i++)
		MLO_TRY(place_value(e, g->inputs[i], d));
	for (const MloNode *n = g->first; n; n = n->next) {
		for (uint32_t i = 0; i < n->nin; i++) {
			if (!n->in[i])
				continue;
			if (n->in[i]->data)
				MLO_TRY(place_value(e, n->in[i], d));
			e->place[n->in[i]->id].uses++;
		}
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i])
				MLO_TRY(place_value(e, n->out[i], d));
	}
	for (uint32_t i = 0; i < g->noutputs; i++) {
		if (g->outputs[i]->data)
			MLO_TRY(place_value(e, g->outputs[i], d));
		e->place[g->outputs[i]->id].uses++; /* never read: lives to the end */
	}
	return MLO_OK;
}

/* The smallest free buffer that is large enough, else the largest free one, enlarged, else a new one. */
static int take_buffer(MloExec *e, size_t size)
{
	int best = NO_BUFFER;
	for (size_t i = 0; i < e->buffers.n; i++) {
		const Buffer *b = &e->buffers.items[i];
		if (!b->free)
			continue;
		size_t have = best < 0 ? 0 : e->buffers.items[best].size;
		bool fits = b->size >= size, best_fits = best >= 0 && have >= size;
		if (best < 0 || (fits && (!best_fits || b->size < have)) || (!fits && !best_fits && b->size > have))
			best = (int)i;
	}
	if (best < 0) {
		Buffer b = {NULL, 0, false};
		MLO_PUSH(e->arena, &e->buffers, b);
		best = (int)e->buffers.n - 1;
	}
	Buffer *b = &e->buffers.items[best];
	b->free = false;
	b->size = size > b->size ? size : b->size;
	return best;
}

static bool same_shape(const MloType *a, const MloType *b)
{
	if (a->elem != b->elem || a->rank != b->rank)
		return false;
	for (int i = 0; i < a->rank; i++)
		if (a->dim[i].k != b->dim[i].k)
			return false;
	return true;
}

static bool only_renames(MloOp op)
{
	return op == OP_reshape || op == OP_flatten || op == OP_squeeze || op == OP_unsqueeze ||
	       op == OP_identity || op == OP_relayout;
}

/* The buffer of an operand that dies in this node and may become the result. */
static int inherit_buffer(const MloExec *e, const MloNode *n)
{
	bool eltwise = mlo_op_info(n->op)->kind == OK_ELTWISE, renames = only_renames(n->op);
	if (n->nout != 1 || !n->out[0] || (!eltwise && !renames))
		return NO_BUFFER;
	for (uint32_t i = 0; i < n->nin && i < (renames ? 1u : 2u); i++) {
		const MloValue *v = n->in[i];
		if (!v || e->place[v->id].buffer == NO_BUFFER || e->place[v->id].uses != 1)
			continue;
		if (renames || same_shape(&v->type, &n->out[0]->type))
			return e->place[v->id].buffer;
	}
	return NO_BUFFER;
}

static void release_operands(MloExec *e, const MloNode *n)
{
	for (uint32_t i = 0; i < n->nin; i++) {
		if (!n->in[i])
			continue;
		Place *p = &e->place[n->in[i]->id];
		if (--p->uses == 0 && p->buffer != NO_BUFFER)
			e->buffers.items[p->buffer].free = true;
	}
}

static void plan_node(MloExec *e, const MloNode *n)
{
	int inherited = inherit_buffer(e, n);
	for (uint32_t i = 0; i < n->nout; i++) {
		if (!n->out[i])
			continue;
		size_t size = (size_t)mlo_type_bytes(&n->out[i]->type);
		e->place[n->out[i]->id].buffer = inherited >= 0 ? inherited : take_buffer(e, size);
	}
	release_operands(e, n);
	if (inherited >= 0)
		e->buffers.items[inherited].free = false;
	for (uint32_t i = 0; i < n->nout; i++) { /* results that nobody reads */
		const MloValue *v = n->out[i];
		if (v && e->place[v->id].uses == 0)
			e->buffers.items[e->place[v->id].buffer].free = true;
	}
}

static RefTensor tensor_at(const MloExec *e, const MloValue *v)
{
	if (!v)
		return (RefTensor){0};
	const Place *p = &e->place[v->id];
	void *data = p->buffer >= 0 ? e->buffers.items[p->buffer].data : (void *)(uintptr_t)p->fixed;
	return (RefTensor){data, p->dim, v->type.rank, (int32_t)v->type.elem};
}

static MloStatus add_step(MloExec *e, const MloNode *n, MloDiag *d)
{
	Step s = {.node = n};
	size_t nscratch;
	RefAttr *attr = MLO_NEWN(e->arena, RefAttr, (size_t)mlo_op_info(n->op)->nattr + 1);
	s.in = MLO_NEWN(e->arena, RefTensor, n->nin + 1);
	s.out = MLO_NEWN(e->arena, RefTensor, n->nout + 1);
	for (uint32_t i = 0; i < n->nin; i++)
		s.in[i] = tensor_at(e, n->in[i]);
	for (uint32_t i = 0; i < n->nout; i++)
		s.out[i] = tensor_at(e, n->out[i]);
	mlo_ref_attrs(e->arena, n, attr);
	s.call = (RefCall){.in = s.in, .out = s.out, .attr = attr, .nin = (int32_t)n->nin, .nout = (int32_t)n->nout};
	MLO_TRY(mlo_exec_check_types(n, &s.call, d));
	s.blas = !e->plain && mlo_exec_blas_takes(n->op, &s.call, &nscratch);
	if (s.blas && nscratch > e->nscratch)
		e->nscratch = nscratch;
	MLO_PUSH(e->arena, &e->steps, s);
	return MLO_OK;
}

/* Freed with the arena; NULL when out of memory. */
static void *aligned(MloArena *a, size_t size)
{
	void *p = aligned_alloc(ALIGN, (size + ALIGN) / ALIGN * ALIGN);
	if (p)
		mlo_defer(a, free, p);
	return p;
}

static MloStatus build(MloExec *e, MloDiag *d)
{
	const MloGraph *g = e->graph;
	MLO_TRY(place_all(e, d));
	for (const MloNode *n = g->first; n; n = n->next)
		plan_node(e, n);
	for (size_t i = 0; i < e->buffers.n; i++) {
		Buffer *b = &e->buffers.items[i];
		b->data = aligned(e->arena, b->size);
		if (!b->data)
			return mlo_error(d, MLO_ERR_NOMEM, "cannot allocate %zu bytes to run the graph", b->size);
	}
	for (const MloNode *n = g->first; n; n = n->next)
		MLO_TRY(add_step(e, n, d));
	e->scratch = aligned(e->arena, e->nscratch * sizeof *e->scratch);
	if (!e->scratch)
		return mlo_error(d, MLO_ERR_NOMEM, "cannot allocate scratch memory to run the graph");
	return MLO_OK;
}

static MloStatus create(const MloGraph *g, int nthreads, bool plain, MloExec **out, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	if (!a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	MloExec *e = MLO_NEW(a, MloExec);
	e->arena = a;
	e->graph = g;
	e->nthreads = nthreads;
	e->plain = plain;
	e->place = MLO_NEWN(a, Place, (size_t)g->next_id + 1);
	e->outputs = MLO_NEWN(a, MloTensor, g->noutputs + 1);
	e->dynamic = mlo_dyn_needed(g);
	MloStatus st = e->dynamic ? MLO_OK : build(e, d);
	if (st != MLO_OK)
		mlo_exec_free(e);
	*out = st == MLO_OK ? e : NULL;
	return st;
}

MloExec *mlo_exec_new(const MloGraph *g, int nthreads, MloDiag *d)
{
	MloExec *e;
	return create(g, nthreads, false, &e, d) == MLO_OK ? e : NULL;
}

MloExec *mlo_exec_new_plain(const MloGraph *g, MloDiag *d)
{
	MloExec *e;
	return create(g, 0, true, &e, d) == MLO_OK ? e : NULL;
}

void mlo_exec_free(MloExec *e)
{
	if (e)
		mlo_arena_free(e->run);
	if (e)
		mlo_arena_free(e->arena);
}

/* Inputs must be exactly what the graph says. */
static MloStatus bind_inputs(MloExec *e, const MloTensor *const *inputs, MloDiag *d)
{
	MloStatus st = MLO_OK;
	for (uint32_t i = 0; i < e->graph->ninputs; i++) {
		const MloValue *v = e->graph->inputs[i];
		if (!inputs[i]) {
			st = mlo_error(d, MLO_ERR_USAGE, "input '%s' is missing", value_name(v));
			continue;
		}
		MloType got = mlo_tensor_type(inputs[i]);
		if (!same_shape(&got, &v->type))
			st = mlo_error(d, MLO_ERR_USAGE, "input '%s' expects %s, got %s", value_name(v),
			               type_text(e->arena, &v->type), type_text(e->arena, &got));
		unsigned bytes = mlo_elem_bits(v->type.elem) / 8, align = bytes > 8 ? 8 : bytes ? bytes : 1;
		const void *data = inputs[i]->data ? inputs[i]->data : mlo_exec_empty;
		if ((uintptr_t)data % align)
			data = mlo_dup(e->arena, data, inputs[i]->nbytes);
		e->place[v->id].fixed = data;
	}
	for (size_t s = 0; s < e->steps.n && st == MLO_OK; s++) {
		const Step *step = &e->steps.items[s];
		for (uint32_t i = 0; i < step->node->nin; i++)
			if (step->node->in[i] && e->place[step->node->in[i]->id].buffer == NO_BUFFER)
				step->in[i] = tensor_at(e, step->node->in[i]);
	}
	return st;
}

static MloTensor result(const MloExec *e, const MloValue *v)
{
	RefTensor r = tensor_at(e, v);
	MloTensor t = {.elem = v->type.elem, .rank = v->type.rank, .data = r.data};
	for (int i = 0; i < t.rank; i++)
		t.dim[i] = r.dim[i];
	t.nbytes = (size_t)mlo_type_bytes(&v->type);
	return t;
}

static MloStatus run_step(const MloExec *e, const Step *s, MloDiag *d)
{
	MLO_TRY(mlo_exec_check_values(s->node, &s->call, d));
	if (s->blas)
		mlo_exec_blas(s->node->op, &s->call, e->scratch);
	else
		mlo_ref_kernel(s->node->op)(&s->call);
	return MLO_OK;
}

static MloStatus run(MloExec *e, const MloTensor *const *inputs, MloExecTap tap, void *user, MloDiag *d)
{
	MLO_TRY(bind_inputs(e, inputs, d));
	if (e->nthreads > 0)
		openblas_set_num_threads(e->nthreads);
	for (size_t i = 0; i < e->steps.n; i++) {
		const Step *s = &e->steps.items[i];
		MLO_TRY(run_step(e, s, d));
		for (uint32_t k = 0; tap && k < s->node->nout; k++) {
			if (!s->node->out[k])
				continue;
			MloTensor t = result(e, s->node->out[k]);
			tap(user, s->node, s->node->out[k], &t);
		}
	}
	return MLO_OK;
}

static MloStatus run_dynamic(MloExec *e, const MloTensor *const *inputs, const MloTensor **outputs,
                             MloExecTap tap, void *user, MloDiag *d)
{
	mlo_arena_free(e->run);
	e->run = mlo_arena_new();
	if (!e->run)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	if (e->nthreads > 0)
		openblas_set_num_threads(e->nthreads);
	return mlo_dyn_run(e->run, e->graph, inputs, outputs, !e->plain, tap, user, d);
}

MloStatus mlo_exec_run(MloExec *e, const MloTensor *const *inputs, const MloTensor **outputs, MloDiag *d)
{
	if (e->dynamic)
		return run_dynamic(e, inputs, outputs, NULL, NULL, d);
	MLO_TRY(run(e, inputs, NULL, NULL, d));
	for (uint32_t i = 0; i < e->graph->noutputs; i++) {
		e->outputs[i] = result(e, e->graph->outputs[i]);
		outputs[i] = &e->outputs[i];
	}
	return MLO_OK;
}

MloStatus mlo_exec_graph(MloArena *a, const MloGraph *g, const MloTensor *const *inputs,
                         MloTensor **outputs, MloExecTap tap, void *user, MloDiag *d)
{
	const MloTensor **res = MLO_NEWN(a, const MloTensor *, g->noutputs + 1);
	MloExec *e;
	MLO_TRY(create(g, 0, false, &e, d));
	if (e->dynamic) {
		MloStatus ran = run_dynamic(e, inputs, res, tap, user, d);
		for (uint32_t i = 0; i < g->noutputs && ran == MLO_OK; i++)
			outputs[i] = mlo_tensor_copy(a, res[i]);
		mlo_exec_free(e);
		return ran;
	}
	MloStatus st = run(e, inputs, tap, user, d);
	for (uint32_t i = 0; i < g->noutputs && st == MLO_OK; i++) {
		MloTensor t = result(e, g->outputs[i]);
		outputs[i] = mlo_tensor_new(a, t.elem, t.rank, t.dim);
		if (t.nbytes)
			memcpy((void *)(uintptr_t)outputs[i]->data, t.data, t.nbytes);
	}
	mlo_exec_free(e);
	return st;
}
