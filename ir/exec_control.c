/* ir/exec_control.c -- the executor's if and loop.
 *
 * What an iteration makes lies in an arena of its own: carried values move on as copies, scanned ones are
 * appended to growing blocks, and the arena is given back. */
#include <stdlib.h>
#include <string.h>

#include "ir/exec_dyn.h"

static MloStatus read_flag(DynFrame *f, const MloNode *n, const MloTensor *t, const char *what, int64_t *out)
{
	if (mlo_tensor_elems(t) != 1)
		return mlo_node_error(f->d, MLO_ERR_MODEL, n, "%s has %lld elements, one is needed", what,
		                      (long long)mlo_tensor_elems(t));
	*out = mlo_tensor_i64(t, 0);
	return MLO_OK;
}

MloStatus mlo_dyn_if(DynFrame *f, const MloNode *n, const MloTensor *const *in, MloTensor **out)
{
	const MloTensor **res = MLO_NEWN(f->arena, const MloTensor *, n->nout + 1);
	int64_t yes = 0;

	MLO_TRY(read_flag(f, n, in[0], "condition", &yes));
	MLO_TRY(mlo_dyn_run(f->arena, mlo_attr_graph(n, yes ? ATTR_if_then_branch : ATTR_if_else_branch), in + 1, res,
	                    f->blas, f->tap, f->user, f->d));
	for (uint32_t i = 0; i < n->nout; i++)
		out[i] = (MloTensor *)(uintptr_t)res[i];
	return MLO_OK;
}

/* Items of one scanned output so far. */
typedef struct Scan {
	MloTensor item; /* their shape */
	char *data;
	size_t size, cap;
} Scan;

typedef struct LoopRun {
	DynFrame *f;
	const MloNode *n;
	const MloGraph *body;
	uint32_t nc, nscan;
	int64_t done;
	const MloTensor **in; /* of the body */
	const MloTensor **res;
	MloArena *keep;       /* of the carried values in `in`; NULL: they are the node's operands */
	Scan *scan;
} LoopRun;

static MloStatus append(LoopRun *l, uint32_t i, const MloTensor *t)
{
	Scan *s = &l->scan[i];
	MloType a = mlo_tensor_type(&s->item), b = mlo_tensor_type(t);

	if (l->done == 0)
		s->item = *t;
	else if (!mlo_type_same(&a, &b))
		return mlo_node_error(l->f->d, MLO_ERR_MODEL, l->n, "scanned output %u changes its shape in iteration %lld",
		                      i, (long long)l->done);
	if (s->size + t->nbytes > s->cap) {
		size_t cap = 2 * s->cap + t->nbytes + 64;
		char *p = realloc(s->data, cap);

		if (!p)
			return mlo_error(l->f->d, MLO_ERR_NOMEM, "out of memory");
		s->data = p;
		s->cap = cap;
	}
	if (t->nbytes)
		memcpy(s->data + s->size, t->data, t->nbytes);
	for (int64_t k = 0; t->elem == EL_str && k < mlo_tensor_elems(t); k++) { /* characters stay with the frame */
		MloText *x = (MloText *)(void *)(s->data + s->size) + k;

		x->s = x->n ? mlo_dup(l->f->arena, x->s, (size_t)x->n) : "";
	}
	s->size += t->nbytes;
	return MLO_OK;
}

/* One iteration; *go on says whether there is to be another. */
static MloStatus iterate(LoopRun *l, MloArena *a, bool *go_on)
{
	MloTensor *iter = mlo_tensor_new(a, EL_i64, 0, NULL), *cond = mlo_tensor_new(a, EL_bool, 0, NULL);
	MloArena *next;
	int64_t yes = 0;

	mlo_tensor_set_i64(iter, 0, l->done);
	mlo_tensor_set_i64(cond, 0, 1);
	l->in[0] = iter;
	l->in[1] = cond;
	MLO_TRY(mlo_dyn_run(a, l->body, l->in, l->res, l->f->blas, l->f->tap, l->f->user, l->f->d));
	MLO_TRY(read_flag(l->f, l->n, l->res[0], "the condition that the body gives", &yes));
	for (uint32_t i = 0; i < l->nscan; i++)
		MLO_TRY(append(l, i, l->res[1 + l->nc + i]));
	next = mlo_arena_new();
	if (!next)
		return mlo_error(l->f->d, MLO_ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i < l->nc; i++)
		l->res[1 + i] = mlo_tensor_copy(next, l->res[1 + i]);
	for (uint32_t i = 0; i < l->nc; i++)
		l->in[2 + i] = l->res[1 + i];
	mlo_arena_free(l->keep);
	l->keep = next;
	l->done++;
	*go_on = yes != 0;
	return MLO_OK;
}

/* No iteration has run: what the type says, its unknown sizes 0. */
static MloStatus stacked(LoopRun *l, uint32_t i, MloTensor **out)
{
	Scan *s = &l->scan[i];
	const MloType *t = &l->body->outputs[1 + l->nc + i]->type;
	int64_t dims[MLO_MAX_RANK] = {l->done};
	int rank = l->done ? s->item.rank : t->rank < 0 ? 0 : t->rank;

	if (rank + 1 > MLO_MAX_RANK)
		return mlo_node_error(l->f->d, MLO_ERR_LIMIT, l->n, "result has more than %d dimensions", MLO_MAX_RANK);
	for (int k = 0; k < rank; k++)
		dims[k + 1] = l->done ? s->item.dim[k] : t->dim[k].e ? 0 : t->dim[k].k;
	MLO_TRY(mlo_dyn_tensor(l->f, l->n, t->elem, rank + 1, dims, out));
	if (s->size && s->size == (*out)->nbytes)
		memcpy((void *)(uintptr_t)(*out)->data, s->data, s->size);
	else if (s->size)
		return mlo_node_error(l->f->d, MLO_ERR_UNSUPPORTED, l->n, "elements of less than a byte are not stacked");
	return MLO_OK;
}

static MloStatus run_loop(LoopRun *l, const MloTensor *const *in)
{
	int64_t trip = INT64_MAX, yes = 1;
	bool go_on;

	if (in[0])
		MLO_TRY(read_flag(l->f, l->n, in[0], "trip count", &trip));
	if (in[1])
		MLO_TRY(read_flag(l->f, l->n, in[1], "condition", &yes));
	for (go_on = yes != 0; go_on && l->done < trip;) {
		MloArena *a = mlo_arena_new();
		MloStatus st = a ? iterate(l, a, &go_on) : mlo_error(l->f->d, MLO_ERR_NOMEM, "out of memory");

		mlo_arena_free(a);
		MLO_TRY(st);
	}
	return MLO_OK;
}

MloStatus mlo_dyn_loop(DynFrame *f, const MloNode *n, const MloTensor *const *in, MloTensor **out)
{
	LoopRun l = {.f = f, .n = n, .body = mlo_attr_graph(n, ATTR_loop_body)};
	MloStatus st;

	l.nc = (uint32_t)mlo_attr_i(n, ATTR_loop_carried);
	l.nscan = n->nout - l.nc;
	l.in = MLO_NEWN(f->arena, const MloTensor *, n->nin + 1);
	l.res = MLO_NEWN(f->arena, const MloTensor *, n->nout + 2);
	l.scan = MLO_NEWN(f->arena, Scan, l.nscan + 1);
	for (uint32_t i = 2; i < n->nin; i++)
		l.in[i] = in[i];
	st = run_loop(&l, in);
	for (uint32_t i = 0; i < l.nc && st == MLO_OK; i++)
		out[i] = mlo_tensor_copy(f->arena, l.in[2 + i]);
	for (uint32_t i = 0; i < l.nscan && st == MLO_OK; i++)
		st = stacked(&l, i, &out[l.nc + i]);
	for (uint32_t i = 0; i < l.nscan; i++)
		free(l.scan[i].data);
	mlo_arena_free(l.keep);
	return st;
}
