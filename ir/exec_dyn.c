/* ir/exec_dyn.c -- runs graphs whose sizes are known only during the run.
 *
 * Each node is inferred again on the shapes and values that are really there, which both checks that its
 * operands fit each other and gives the shapes of its results.  What the graph's own types say of them
 * must then hold: sizes are bound where a result is the first to have them. */
#include "ir/exec_dyn.h"

#include <stdlib.h>
#include <string.h>

#include "ir/infer.h"

bool mlo_dyn_needed(const MloGraph *g)
{
	for (uint32_t i = 0; i < g->ninputs; i++)
		if (!mlo_type_static(&g->inputs[i]->type))
			return true;
	for (const MloNode *n = g->first; n; n = n->next) {
		if (mlo_op_has(n->op, TR_OBJECT))
			return true;
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i] && (!mlo_type_static(&n->out[i]->type) ||
			                  (n->out[i]->type.elem == EL_str && mlo_op_has(n->op, TR_SIZED))))
				return true;
	}
	return false;
}

/* -- sizes ---------------------------------------------------------------------------------- */

static DynSize *size_slot(DynFrame *f, const char *name)
{
	size_t i = ((uintptr_t)name >> 4) * 0x9e3779b97f4a7c15u % f->cap;

	while (f->size[i].name && f->size[i].name != name)
		i = (i + 1) % f->cap;
	return &f->size[i];
}

static void bind(DynFrame *f, const char *name, int64_t k)
{
	if (2 * f->nsize + 2 > f->cap) {
		DynSize *old = f->size;
		size_t n = f->cap;

		f->cap = n ? 4 * n : 32;
		f->size = MLO_NEWN(f->arena, DynSize, f->cap);
		for (size_t i = 0; i < n; i++)
			if (old[i].name)
				*size_slot(f, old[i].name) = old[i];
	}
	*size_slot(f, name) = (DynSize){name, k};
	f->nsize++;
}

static bool look_up(void *user, const char *name, int64_t *out)
{
	DynFrame *f = user;
	const DynSize *s = f->cap ? size_slot(f, name) : NULL;

	if (!s || !s->name)
		return false;
	*out = s->k;
	return true;
}

static const char *shape_text(MloArena *a, const MloTensor *t)
{
	MloType ty = mlo_tensor_type(t);
	MloStr s = {.arena = a};

	mlo_type_print(&s, &ty);
	return mlo_str_text(&s);
}

static const char *type_text(MloArena *a, const MloType *t)
{
	MloStr s = {.arena = a};

	mlo_type_print(&s, t);
	return mlo_str_text(&s);
}

/* What is known of v against what it is now; sizes that only now are known get bound. */
static bool conform(DynFrame *f, const MloType *t, const MloTensor *is)
{
	const char *name;

	if (mlo_type_object(t))
		return is->object && (is->object->kind == t->kind) && is->object->elem == t->elem &&
		       (t->key == EL_none || is->object->key == t->key);
	if (is->object || is->elem != t->elem || (t->rank >= 0 && t->rank != is->rank))
		return false;
	for (int i = 0; i < t->rank; i++) {
		int64_t k;

		if (mlo_dim_eval(t->dim[i], look_up, f, &k)) {
			if (k != is->dim[i])
				return false;
		} else if (mlo_dim_symbol(t->dim[i], &name)) {
			bind(f, name, is->dim[i]);
		}
	}
	return true;
}

/* -- values --------------------------------------------------------------------------------- */

MloStatus mlo_dyn_tensor(DynFrame *f, const MloNode *n, MloElem e, int rank, const int64_t *dims, MloTensor **out)
{
	MloType t = {.elem = e, .rank = rank};

	for (int i = 0; i < rank; i++)
		t.dim[i] = mlo_dim(dims[i]);
	if (mlo_type_bytes(&t) < 0 || mlo_type_bytes(&t) > (int64_t)1 << 40)
		return mlo_node_error(f->d, MLO_ERR_LIMIT, n, "result %s is too large", type_text(f->arena, &t));
	*out = mlo_tensor_new(f->arena, e, rank, dims);
	return MLO_OK;
}

/* -- one node ------------------------------------------------------------------------------- */

/* Sizes as the operator's own kernel tells them; *chars: bytes behind result i, when it holds strings. */
static MloStatus run_size_kernel(DynFrame *f, const MloNode *n, const MloTensor *const *in, const MloType *type,
                                 int64_t *dims)
{
	RefTensor *ti = MLO_NEWN(f->arena, RefTensor, n->nin + 1), *to = MLO_NEWN(f->arena, RefTensor, n->nout + 1);
	RefAttr *attr = MLO_NEWN(f->arena, RefAttr, (size_t)mlo_op_info(n->op)->nattr + 1);

	for (uint32_t i = 0; i < n->nin; i++)
		ti[i] = mlo_exec_view(f->arena, in[i]);
	for (uint32_t i = 0; i < n->nout; i++)
		to[i] = (RefTensor){.rank = type[i].rank, .elem = (int32_t)type[i].elem};
	mlo_ref_attrs(f->arena, n, attr);
	mlo_size_kernel(n->op)(&(RefCall){.in = ti, .out = to, .attr = attr, .nin = (int32_t)n->nin, .nout = (int32_t)n->nout}, dims);
	for (uint32_t i = 0; i < n->nout; i++)
		for (int k = 0; k < MLO_MAX_RANK; k++)
			if ((k < type[i].rank || (k == MLO_MAX_RANK - 1 && type[i].elem == EL_str)) &&
			    dims[i * REF_SIZES + (uint32_t)k] < 0)
				return mlo_node_error(f->d, MLO_ERR_MODEL, n, "its operands do not fit each other");
	return MLO_OK;
}

/* The node as it is now: operands of known shape and value. */
static MloStatus infer_now(DynFrame *f, const MloNode *n, const MloTensor *const *in, MloType *type)
{
	MloGraph scratch = {.arena = f->arena, .syms = f->g->syms, .next_id = f->g->next_id};
	MloNode now = *n;
	MloValue *v = MLO_NEWN(f->arena, MloValue, n->nin + n->nout + 1);

	now.in = MLO_NEWN(f->arena, MloValue *, n->nin + 1);
	now.out = MLO_NEWN(f->arena, MloValue *, n->nout + 1);
	for (uint32_t i = 0; i < n->nin; i++) {
		if (!in[i])
			continue;
		now.in[i] = &v[i];
		v[i] = (MloValue){.name = n->in[i]->name, .type = mlo_tensor_type(in[i]), .data = in[i], .id = n->in[i]->id};
	}
	for (uint32_t i = 0; i < n->nout; i++) {
		now.out[i] = &v[n->nin + i];
		*now.out[i] = (MloValue){.type = {.rank = MLO_RANK_UNKNOWN}, .def = &now, .out_index = i};
	}
	MLO_TRY(mlo_infer_node(&scratch, &now, f->d));
	for (uint32_t i = 0; i < n->nout; i++)
		type[i] = now.out[i]->type;
	return MLO_OK;
}

static bool all_static(const MloNode *n, const MloType *type)
{
	for (uint32_t i = 0; i < n->nout; i++)
		if (!mlo_type_static(&type[i]))
			return false;
	return true;
}

static bool makes_strings(const MloNode *n, const MloType *type)
{
	for (uint32_t i = 0; i < n->nout; i++)
		if (type[i].elem == EL_str)
			return mlo_op_has(n->op, TR_SIZED);
	return false;
}

static MloStatus make_results(DynFrame *f, const MloNode *n, const MloTensor *const *in, MloTensor **out)
{
	MloType *type = MLO_NEWN(f->arena, MloType, n->nout + 1);
	int64_t *dims = MLO_NEWN(f->arena, int64_t, (size_t)n->nout * REF_SIZES + 1);
	bool sized;

	MLO_TRY(infer_now(f, n, in, type));
	sized = !all_static(n, type) || makes_strings(n, type);
	for (uint32_t i = 0; i < n->nout; i++)
		if (type[i].rank < 0 || (sized && !mlo_size_kernel(n->op)))
			return mlo_node_error(f->d, MLO_ERR_UNSUPPORTED, n, "the shape of result %u cannot be told", i);
	if (sized)
		MLO_TRY(run_size_kernel(f, n, in, type, dims));
	for (uint32_t i = 0; i < n->nout; i++) {
		MloTensor *t;

		for (int k = 0; k < type[i].rank; k++)
			if (!type[i].dim[k].e)
				dims[i * REF_SIZES + (uint32_t)k] = type[i].dim[k].k;
		MLO_TRY(mlo_dyn_tensor(f, n, type[i].elem, type[i].rank, &dims[i * REF_SIZES], &t));
		if (sized && type[i].elem == EL_str) {
			int64_t chars = dims[i * REF_SIZES + REF_SIZES - 1];

			if (chars > MLO_MAX_ELEMS)
				return mlo_node_error(f->d, MLO_ERR_LIMIT, n, "result %u has too many characters", i);
			t->data = mlo_alloc(f->arena, t->nbytes + (size_t)chars + 1, 1);
		}
		out[i] = t;
	}
	return MLO_OK;
}

static MloStatus run_kernel(DynFrame *f, const MloNode *n, const MloTensor *const *in, MloTensor **out)
{
	MloArena *scratch = mlo_arena_new();
	MloTensor **some;
	MloStatus st;

	if (!scratch)
		return mlo_error(f->d, MLO_ERR_NOMEM, "out of memory");
	st = make_results(f, n, in, out);
	if (st == MLO_OK) {
		some = MLO_NEWN(scratch, MloTensor *, n->nout + 1);
		for (uint32_t i = 0; i < n->nout; i++)
			some[i] = n->out[i] ? out[i] : NULL;
		st = mlo_exec_node(scratch, n, in, some, f->blas, f->d);
	}
	mlo_arena_free(scratch);
	return st;
}

static MloStatus keep_results(DynFrame *f, const MloNode *n, MloTensor *const *out)
{
	for (uint32_t i = 0; i < n->nout; i++) {
		const MloValue *v = n->out[i];
		char buf[24];

		if (!v)
			continue;
		if (!conform(f, &v->type, out[i]))
			return mlo_node_error(f->d, MLO_ERR_MODEL, n, "result '%s' is %s, %s was expected",
			                      mlo_value_name(v, buf),
			                      out[i]->object ? "an object" : shape_text(f->arena, out[i]),
			                      type_text(f->arena, &v->type));
		f->value[v->id] = out[i];
		if (f->tap && !out[i]->object)
			f->tap(f->user, n, v, out[i]);
	}
	return MLO_OK;
}

static MloStatus run_node(DynFrame *f, const MloNode *n)
{
	const MloTensor **in = MLO_NEWN(f->arena, const MloTensor *, n->nin + 1);
	MloTensor **out = MLO_NEWN(f->arena, MloTensor *, n->nout + 1);

	for (uint32_t i = 0; i < n->nin; i++)
		if (n->in[i])
			in[i] = n->in[i]->data ? n->in[i]->data : f->value[n->in[i]->id];
	if (n->op == OP_if)
		MLO_TRY(mlo_dyn_if(f, n, in, out));
	else if (n->op == OP_loop)
		MLO_TRY(mlo_dyn_loop(f, n, in, out));
	else if (n->op == OP_never)
		return mlo_error(f->d, MLO_ERR_MODEL, "%s", mlo_attr_s(n, ATTR_never_reason));
	else if (mlo_op_has(n->op, TR_OBJECT))
		MLO_TRY(mlo_dyn_object(f, n, in, out));
	else
		MLO_TRY(run_kernel(f, n, in, out));
	return keep_results(f, n, out);
}

/* -- a graph -------------------------------------------------------------------------------- */

static MloStatus bind_inputs(DynFrame *f, const MloTensor *const *in)
{
	char buf[24];

	for (uint32_t i = 0; i < f->g->ninputs; i++) {
		const MloValue *v = f->g->inputs[i];

		if (!in[i])
			return mlo_error(f->d, MLO_ERR_USAGE, "input '%s' is missing", mlo_value_name(v, buf));
		if (!conform(f, &v->type, in[i]))
			return mlo_error(f->d, MLO_ERR_USAGE, "input '%s' expects %s, got %s", mlo_value_name(v, buf),
			                 type_text(f->arena, &v->type),
			                 in[i]->object ? "another object" : shape_text(f->arena, in[i]));
		f->value[v->id] = (MloTensor *)(uintptr_t)in[i];
	}
	return MLO_OK;
}

MloStatus mlo_dyn_run(MloArena *a, const MloGraph *g, const MloTensor *const *in, const MloTensor **out,
                      bool blas, MloExecTap tap, void *user, MloDiag *d)
{
	DynFrame f = {.arena = a, .g = g, .blas = blas, .tap = tap, .user = user, .d = d};

	f.value = MLO_NEWN(a, MloTensor *, (size_t)g->next_id + 1);
	MLO_TRY(bind_inputs(&f, in));
	for (const MloNode *n = g->first; n; n = n->next)
		MLO_TRY(run_node(&f, n));
	for (uint32_t i = 0; i < g->noutputs; i++)
		out[i] = g->outputs[i]->data ? g->outputs[i]->data : f.value[g->outputs[i]->id];
	return MLO_OK;
}
