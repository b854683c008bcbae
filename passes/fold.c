/* passes/fold.c -- evaluate nodes whose operands are constant, and shape arithmetic on known sizes.
 * Requires: types.  Keeps: types, order.  Breaks: nothing.  Idempotent.
 *
 * Two ways to a constant: the reference executor on constant operands, and the sizes of types for
 * values that hold shapes (a Shape of [batch,3,8] has known elements though it is not constant).
 * Types that folded operands make more precise are inferred again. */
#include "ir/exec.h"
#include "ir/infer.h"
#include "passes/match.h"

/* A folded result may take this much memory; more only when its operands are of that order too
 * (a cast or dequantised weight is, an expanded scalar is not). */
enum { FOLD_BYTES = 64 << 20, FOLD_GROWTH = 8 };

typedef struct Fold {
	MloGraph *g;
	MloPassCx *cx;
	bool *keep; /* by value id: a constant that quantised code wants to see unfolded */
} Fold;

static void replace(Fold *f, MloNode *n, uint32_t i, const MloTensor *t)
{
	MloValue *old = n->out[i];
	bool output = mlo_is_output(f->g, old);
	MloValue *c = mlo_graph_const(f->g, t, output ? NULL : old->name);

	/* A graph output keeps a node that defines it, and the name. */
	if (output) {
		MloNode *id = mlo_rw_node(f->g, n, OP_identity, n, &c, 1);

		c = mlo_rw_done(f->g, id, f->cx);
		c->name = old->name;
	}
	mlo_graph_replace(f->g, old, c);
	f->cx->changed++;
}

/* What shape inference knows of a small integer tensor, if it knows all of it. */
static bool fold_sizes(Fold *f, MloNode *n)
{
	InferCx ic = {f->g, n, f->cx->diag, f->g->syms};
	MloValue *v = n->out[0];
	InferValues s;
	MloTensor *t;

	if (n->nout != 1 || !v || !mlo_elem_is_int(v->type.elem) || !mlo_type_static(&v->type))
		return false;
	if (v->type.rank > 1 || mlo_type_elems(&v->type) > INFER_MAX_VALUES)
		return false;
	infer_values(&ic, v, &s);
	if (s.n != mlo_type_elems(&v->type))
		return false;
	for (int i = 0; i < s.n; i++)
		if (dim_is_unknown(s.d[i]) || s.d[i].e)
			return false;
	t = mlo_tensor_new(f->g->arena, v->type.elem, v->type.rank, (int64_t[]){s.n});
	for (int i = 0; i < s.n; i++)
		mlo_tensor_set_i64(t, i, s.d[i].k);
	replace(f, n, 0, t);
	return true;
}

static bool foldable(const Fold *f, const MloNode *n)
{
	int64_t in = 0, out = 0;

	if (!mlo_op_has(n->op, TR_PURE) || mlo_op_has(n->op, TR_OBJECT))
		return false;
	for (uint32_t i = 0; i < n->nin; i++) {
		if (n->in[i] && !n->in[i]->data)
			return false;
		in += n->in[i] ? (int64_t)n->in[i]->data->nbytes : 0;
	}
	for (uint32_t i = 0; i < n->nout; i++) {
		int64_t bytes;

		if (!n->out[i])
			continue;
		bytes = mlo_type_bytes(&n->out[i]->type);
		if (bytes < 0 || f->keep[n->out[i]->id])
			return false;
		if (n->out[i]->type.elem == EL_str && mlo_op_has(n->op, TR_SIZED))
			return false; /* characters need a place of their own */
		out += bytes;
	}
	return out <= FOLD_BYTES || out <= in * FOLD_GROWTH;
}

static MloStatus evaluate(Fold *f, MloNode *n)
{
	const MloTensor **in = MLO_NEWN(f->cx->arena, const MloTensor *, n->nin + 1);
	MloTensor **out = MLO_NEWN(f->cx->arena, MloTensor *, n->nout + 1);
	int64_t dims[MLO_MAX_RANK];

	for (uint32_t i = 0; i < n->nin; i++)
		in[i] = n->in[i] ? n->in[i]->data : NULL;
	for (uint32_t i = 0; i < n->nout; i++) {
		const MloType *t = n->out[i] ? &n->out[i]->type : NULL;

		for (int d = 0; t && d < t->rank; d++)
			dims[d] = t->dim[d].k;
		out[i] = t ? mlo_tensor_new(f->g->arena, t->elem, t->rank, dims) : NULL;
	}
	MLO_TRY(mlo_exec_node(f->cx->arena, n, in, out, true, f->cx->diag));
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i] && n->out[i]->nuse)
			replace(f, n, i, out[i]);
	return MLO_OK;
}

/* -- if with a constant condition ----------------------------------------------------------------------- */

typedef struct Inline {
	Fold *f;
	MloNode *at;
	MloValue **map; /* by id in the body */
} Inline;

static void inline_node(Inline *x, MloNode *n)
{
	MloGraph *g = x->f->g;
	MloValue **in = MLO_NEWN(x->f->cx->arena, MloValue *, n->nin + 1);
	MloNode *m;

	for (uint32_t i = 0; i < n->nin; i++)
		in[i] = n->in[i] ? x->map[n->in[i]->id] : NULL;
	m = mlo_graph_node(g, x->at, n->op, in, n->nin, n->nout);
	mlo_origin_add(g, m, n->origin);
	for (int i = 0; i < mlo_op_info(n->op)->nattr; i++)
		m->attr[i] = n->attr[i]; /* of the same arena; bodies move along */
	for (uint32_t i = 0; i < n->nout; i++) {
		if (n->out[i])
			m->out[i]->name = n->out[i]->name;
		else
			m->out[i] = NULL;
		if (n->out[i])
			x->map[n->out[i]->id] = m->out[i];
	}
}

/* The nodes of the branch take the place of the node; false when its condition is not known. */
static MloStatus inline_branch(Fold *f, MloNode *n, bool *done)
{
	const MloTensor *cond = n->in[0]->data;
	MloArena *a = f->cx->arena;
	const MloGraph *b;
	Inline x = {.f = f, .at = n};
	MloNode *before = n->prev;

	*done = cond && mlo_tensor_elems(cond) == 1;
	if (!*done)
		return MLO_OK;
	b = mlo_attr_graph(n, mlo_tensor_i64(cond, 0) ? ATTR_if_then_branch : ATTR_if_else_branch);
	if (mlo_branch_closed(b))
		return mlo_error(f->cx->diag, MLO_ERR_MODEL, "%s", mlo_attr_s(b->first, ATTR_never_reason));
	x.map = MLO_NEWN(a, MloValue *, b->next_id + 1);
	for (uint32_t i = 0; i < b->ninputs; i++)
		x.map[b->inputs[i]->id] = n->in[i + 1];
	for (size_t i = 0; i < b->consts.n; i++)
		if (b->consts.items[i]->nuse)
			x.map[b->consts.items[i]->id] = mlo_graph_const(f->g, b->consts.items[i]->data,
			                                               b->consts.items[i]->name);
	for (MloNode *m = b->first; m; m = m->next)
		inline_node(&x, m);
	for (MloNode *m = before ? before->next : f->g->first; m != n; m = m->next)
		MLO_TRY(mlo_infer_node(f->g, m, f->cx->diag));
	for (uint32_t i = 0; i < n->nout; i++) {
		MloValue *v = n->out[i] ? x.map[b->outputs[i]->id] : NULL;

		if (v && mlo_is_output(f->g, n->out[i]) && (!v->def || v->nuse))
			v = mlo_graph_op(f->g, n, mlo_copy_op(&v->type), n, &v, 1);
		if (v && mlo_is_output(f->g, n->out[i]))
			v->name = n->out[i]->name;
		if (v)
			mlo_graph_replace(f->g, n->out[i], v);
	}
	mlo_graph_remove(f->g, n);
	f->cx->changed++;
	return MLO_OK;
}

/* Whose elements v has, moved about. */
static const MloValue *unmoved(const MloValue *v)
{
	while (v && v->def && (mlo_op_info(v->def->op)->kind == OK_MOVE || v->def->op == OP_max_pool))
		v = v->def->in[0];
	return v;
}

static bool quantized_activation(const MloValue *v)
{
	const MloNode *d = mlo_def_op(unmoved(v), OP_dequantize_linear);

	return d && !unmoved(d->in[0])->data;
}

/* Quantised weights stay quantised where they meet quantised activations: dequantised they would
 * be four times as large, and the integer kernels could not see them. */
static void keep_quantized(Fold *f)
{
	f->keep = MLO_NEWN(f->cx->arena, bool, f->g->next_id + 1);
	for (const MloNode *n = f->g->first; n; n = n->next) {
		bool quantized = false;

		for (uint32_t i = 0; i < n->nin; i++)
			quantized |= quantized_activation(n->in[i]);
		for (uint32_t i = 0; quantized && i < n->nin; i++)
			if (mlo_def_op(n->in[i], OP_dequantize_linear))
				f->keep[n->in[i]->id] = true;
	}
}

static bool types_static(const MloNode *n)
{
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i] && !mlo_type_static(&n->out[i]->type))
			return false;
	return true;
}

MloStatus mlo_pass_fold(MloGraph *g, MloPassCx *cx)
{
	Fold f = {.g = g, .cx = cx};

	keep_quantized(&f);
	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		if (n->op == OP_if) {
			MloNode *before = n->prev;
			bool done;

			MLO_TRY(inline_branch(&f, n, &done));
			if (done)
				next = before ? before->next : g->first;
			if (done)
				keep_quantized(&f);
			continue;
		}
		if (!mlo_node_used(n))
			continue;
		if (!types_static(n)) /* an operand that became constant may tell more */
			MLO_TRY(mlo_infer_node(g, n, cx->diag));
		if (n->op == OP_identity && mlo_is_output(g, n->out[0]))
			continue;
		if (foldable(&f, n))
			MLO_TRY(evaluate(&f, n));
		else if (!fold_sizes(&f, n))
			continue;
		mlo_rw_sweep(g, n);
	}
	return MLO_OK;
}
