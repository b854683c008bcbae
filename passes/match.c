/* passes/match.c -- helpers to match patterns of nodes and to rewrite them. */
#include "passes/match.h"

#include <string.h>

static bool is_numeric(const MloTensor *t)
{
	MloElemClass c = mlo_elem_class(t->elem);

	return c != EC_STRING && c != EC_COMPLEX;
}

bool mlo_const_scalar(const MloValue *v, double *out)
{
	if (!v || !v->data || mlo_tensor_elems(v->data) != 1 || !is_numeric(v->data))
		return false;
	*out = mlo_tensor_f64(v->data, 0);
	return true;
}

bool mlo_const_is(const MloValue *v, double k)
{
	double x;

	return mlo_const_scalar(v, &x) && x == k;
}

bool mlo_const_near(const MloValue *v, double k)
{
	double x;

	return mlo_const_scalar(v, &x) && mlo_near(x, k, 1e-5);
}

int mlo_const_ints(const MloValue *v, int64_t *out, int max)
{
	int64_t n;

	if (!v || !v->data || (v->data->elem != EL_i64 && v->data->elem != EL_i32) || v->data->rank > 1)
		return -1;
	n = mlo_tensor_elems(v->data);
	if (n > max)
		return -1;
	for (int64_t i = 0; i < n; i++)
		out[i] = mlo_tensor_i64(v->data, i);
	return (int)n;
}

bool mlo_const_all(const MloValue *v, double k)
{
	int64_t n;

	if (!v || !v->data || !is_numeric(v->data))
		return false;
	n = mlo_tensor_elems(v->data);
	for (int64_t i = 0; i < n; i++)
		if (mlo_tensor_f64(v->data, i) != k)
			return false;
	return true;
}

int mlo_const_side(const MloNode *n)
{
	for (int i = 0; i < 2; i++)
		if (n->in[i]->data && !n->in[1 - i]->data)
			return i;
	return -1;
}

int mlo_reduce_axes(const MloNode *n, int64_t *axes)
{
	int rank = n->in[0]->type.rank;
	bool has[MLO_MAX_RANK] = {false};
	int count = 0;

	if (rank < 0)
		return -1;
	if (n->nin > 1 && n->in[1])
		count = mlo_const_ints(n->in[1], axes, MLO_MAX_RANK);
	if (count < 0)
		return -1;
	for (int i = 0; i < count; i++) {
		if (axes[i] < -rank || axes[i] >= rank)
			return -1;
		has[axes[i] < 0 ? axes[i] + rank : axes[i]] = true;
	}
	if (!count) { /* slot 1 of every reduction is noop_with_empty_axes */
		if (mlo_attr_i(n, ATTR_reduce_sum_noop_with_empty_axes))
			return 0;
		memset(has, true, sizeof has);
	}
	count = 0;
	for (int i = 0; i < rank; i++)
		if (has[i])
			axes[count++] = i;
	return count;
}

MloValue *mlo_rw_view(MloGraph *g, const MloValue *c, int rank, const int64_t *dims)
{
	MloTensor *t = mlo_dup(g->arena, c->data, sizeof *t);

	t->rank = rank;
	for (int i = 0; i < rank; i++)
		t->dim[i] = dims[i];
	MLO_ASSERT(mlo_tensor_elems(t) == mlo_tensor_elems(c->data));
	return mlo_graph_const(g, t, c->name);
}

MloValue *mlo_rw_scalar(MloGraph *g, MloElem e, double v)
{
	MloTensor *t = mlo_tensor_new(g->arena, e, 0, NULL);

	mlo_tensor_set_f64(t, 0, v);
	return mlo_graph_const(g, t, NULL);
}

MloValue *mlo_rw_map(MloGraph *g, const MloValue *c, double (*f)(double x, double k), double k)
{
	MloTensor *t = mlo_tensor_new(g->arena, c->data->elem, c->data->rank, c->data->dim);
	int64_t n = mlo_tensor_elems(t);

	MLO_ASSERT(mlo_elem_is_float(t->elem));
	for (int64_t i = 0; i < n; i++)
		mlo_tensor_set_f64(t, i, f(mlo_tensor_f64(c->data, i), k));
	return mlo_graph_const(g, t, c->name);
}

MloNode *mlo_rw_node(MloGraph *g, MloNode *before, MloOp op, const MloNode *like,
                     MloValue *const *in, uint32_t nin)
{
	MloNode *n = mlo_graph_node(g, before, op, in, nin, 1);

	if (like)
		mlo_origin_add(g, n, like->origin);
	return n;
}

void mlo_rw_copy_attrs(MloNode *to, const MloNode *from)
{
	MLO_ASSERT(to->op == from->op);
	for (int i = 0; i < mlo_op_info(from->op)->nattr; i++)
		to->attr[i] = from->attr[i];
}

MloValue *mlo_rw_done(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	if (mlo_infer_node(g, n, cx->diag) != MLO_OK)
		MLO_BUG("a rewrite made an ill-typed %s for node '%s'", mlo_op_info(n->op)->name,
		        mlo_node_name(n));
	return n->out[0];
}

MloValue *mlo_rw_op(MloGraph *g, MloNode *before, MloOp op, const MloNode *like, MloPassCx *cx,
                    MloValue *a, MloValue *b)
{
	MloValue *in[2] = {a, b};

	return mlo_rw_done(g, mlo_rw_node(g, before, op, like, in, b ? 2 : 1), cx);
}

bool mlo_reshape_spec(const MloType *from, const MloType *to, int64_t *spec, bool *allowzero)
{
	int unknown = 0;
	bool empty = false, copies = false;

	if (to->rank < 0)
		return false;
	for (int i = 0; i < to->rank; i++) {
		spec[i] = to->dim[i].k;
		empty |= mlo_has_dim(to, i, 0);
		unknown += !mlo_dim_known(to->dim[i]);
	}
	for (int i = 0, left = unknown; i < to->rank; i++) {
		if (mlo_dim_known(to->dim[i]))
			continue;
		/* One size is left to be inferred; the others must be sizes of the operand. */
		spec[i] = -1;
		if (left > 1 && from->rank > i && mlo_dim_same(from->dim[i], to->dim[i])) {
			spec[i] = 0;
			copies = true;
			left--;
			unknown--;
		}
	}
	*allowzero = empty;
	return unknown <= 1 && !(empty && (copies || unknown));
}

MloValue *mlo_rw_reshape(MloGraph *g, MloNode *before, const MloNode *like, MloValue *x,
                         const MloType *to, MloPassCx *cx)
{
	int64_t spec[MLO_MAX_RANK];
	bool allowzero;
	MloValue *in[2] = {x, NULL};
	MloNode *n;

	if (mlo_type_same(&x->type, to))
		return x;
	if (!mlo_reshape_spec(&x->type, to, spec, &allowzero))
		return NULL;
	in[1] = mlo_graph_const_i64s(g, 1, spec, to->rank);
	n = mlo_rw_node(g, before, OP_reshape, like, in, 2);
	if (allowzero)
		mlo_attr_set_i(n, ATTR_reshape_allowzero, 1);
	mlo_rw_done(g, n, cx);
	n->out[0]->type = *to; /* may know a size better than inference from -1 does */
	return n->out[0];
}

void mlo_rw_sweep(MloGraph *g, MloNode *n)
{
	/* Removing clears the operands; small lists are kept here, others in the arena. */
	MloValue *few[4], **in = n->nin <= 4 ? few : MLO_NEWN(g->arena, MloValue *, n->nin);
	uint32_t nin = n->nin;

	/* No first operand: it went already, on another path from the same root. */
	if (!n->in[0] || mlo_node_used(n) || !mlo_op_has(n->op, TR_PURE))
		return;
	memcpy(in, n->in, nin * sizeof *in);
	mlo_graph_remove(g, n);
	for (uint32_t i = 0; i < nin; i++) {
		bool again = false;

		for (uint32_t j = 0; j < i; j++)
			again |= in[j] == in[i];
		if (in[i] && in[i]->def && !again)
			mlo_rw_sweep(g, in[i]->def);
	}
}

bool mlo_rw_replace(MloGraph *g, MloNode *n, MloValue *with)
{
	MloValue *old = n->out[0];

	if (!with->def && mlo_is_output(g, old))
		return false;
	MLO_ASSERT(old->type.elem == with->type.elem);
	if (with->def) {
		if (!with->name || (mlo_is_output(g, old) && !mlo_is_output(g, with)))
			with->name = old->name ? old->name : with->name;
		mlo_origin_add(g, with->def, n->origin);
	}
	mlo_graph_replace(g, old, with);
	mlo_rw_sweep(g, n);
	return true;
}
