/* passes/fold.c -- evaluate nodes whose operands are constant, and shape arithmetic on known sizes.
 * Requires: types.  Keeps: types, order.  Breaks: nothing.  Idempotent.
 *
 * Two ways to a constant: the reference executor on constant operands, and the sizes of types for
 * values that hold shapes (a Shape of [batch,3,8] has known elements though it is not constant). */
#include <string.h>

#include "ir/exec.h"
#include "passes/match.h"

/* A folded result may take this much memory; more only when its operands are of that order too
 * (a cast or dequantised weight is, an expanded scalar is not). */
enum { FOLD_BYTES = 64 << 20, FOLD_GROWTH = 8 };
enum { MAX_SIZES = 2 * MLO_MAX_RANK, MAX_DEPTH = 24 };

/* -- values that hold sizes -------------------------------------------------------------------- */

typedef struct Sizes {
	MloDim dim[MAX_SIZES];
	int n;
} Sizes;

typedef struct Fold {
	MloGraph *g;
	MloPassCx *cx;
	bool *keep; /* by value id: a constant that quantised code wants to see unfolded */
} Fold;

static bool sizes_of(Fold *f, const MloValue *v, Sizes *s, int depth);

static bool sizes_const(const MloValue *v, Sizes *s)
{
	int64_t n = mlo_tensor_elems(v->data);

	if (!mlo_elem_is_int(v->data->elem) || v->data->rank > 1 || n > MAX_SIZES)
		return false;
	s->n = (int)n;
	for (int i = 0; i < s->n; i++) {
		int64_t k = mlo_tensor_i64(v->data, i);

		s->dim[i] = (MloDim){.k = k};
	}
	return true;
}

static bool sizes_shape(Fold *f, const MloNode *n, Sizes *s, int depth)
{
	const MloType *t = &n->in[0]->type;
	int64_t lo = mlo_attr_i(n, ATTR_shape_start), hi = mlo_attr_i(n, ATTR_shape_end);

	(void)f, (void)depth;
	if (t->rank < 0)
		return false;
	lo = lo < 0 ? lo + t->rank : lo;
	hi = hi < 0 ? hi + t->rank : hi;
	lo = lo < 0 ? 0 : lo;
	hi = hi > t->rank ? t->rank : hi;
	s->n = 0;
	for (int64_t i = lo; i < hi; i++)
		s->dim[s->n++] = t->dim[i];
	return true;
}

static bool sizes_concat(Fold *f, const MloNode *n, Sizes *s, int depth)
{
	s->n = 0;
	for (uint32_t i = 0; i < n->nin; i++) {
		Sizes part;

		if (!sizes_of(f, n->in[i], &part, depth) || s->n + part.n > MAX_SIZES)
			return false;
		memcpy(s->dim + s->n, part.dim, sizeof *part.dim * (size_t)part.n);
		s->n += part.n;
	}
	return true;
}

static bool sizes_gather(Fold *f, const MloNode *n, Sizes *s, int depth)
{
	Sizes x;
	int64_t idx[MAX_SIZES];
	int count = mlo_const_ints(n->in[1], idx, MAX_SIZES);

	if (count < 0 || !sizes_of(f, n->in[0], &x, depth))
		return false;
	s->n = count;
	for (int i = 0; i < count; i++) {
		int64_t k = idx[i] < 0 ? idx[i] + x.n : idx[i];

		if (k < 0 || k >= x.n)
			return false;
		s->dim[i] = x.dim[k];
	}
	return true;
}

static bool sizes_slice(Fold *f, const MloNode *n, Sizes *s, int depth)
{
	Sizes x;
	int64_t lo, hi, step = 1;

	if (mlo_const_ints(n->in[1], &lo, 1) != 1 || mlo_const_ints(n->in[2], &hi, 1) != 1)
		return false;
	if (n->nin > 4 && n->in[4] && (mlo_const_ints(n->in[4], &step, 1) != 1 || step < 1))
		return false;
	if (!sizes_of(f, n->in[0], &x, depth))
		return false;
	lo = lo < 0 ? lo + x.n : lo;
	hi = hi < 0 ? hi + x.n : hi;
	lo = lo < 0 ? 0 : lo;
	hi = hi > x.n ? x.n : hi;
	s->n = 0;
	for (int64_t i = lo; i < hi; i += step)
		s->dim[s->n++] = x.dim[i];
	return true;
}

static bool sizes_same(Fold *f, const MloNode *n, Sizes *s, int depth)
{
	return sizes_of(f, n->in[0], s, depth);
}

static bool sizes_binary(Fold *f, const MloNode *n, Sizes *s, int depth,
                         MloDim (*op)(MloSymbols *t, MloDim a, MloDim b))
{
	Sizes a, b;

	if (!sizes_of(f, n->in[0], &a, depth) || !sizes_of(f, n->in[1], &b, depth))
		return false;
	if (a.n != b.n && a.n != 1 && b.n != 1)
		return false;
	s->n = a.n > b.n ? a.n : b.n;
	for (int i = 0; i < s->n; i++) {
		MloDim x = a.dim[a.n == 1 ? 0 : i], y = b.dim[b.n == 1 ? 0 : i];

		/* Sizes only: a negative or zero marker takes no part in arithmetic. */
		if ((mlo_dim_known(x) && x.k < 0) || (mlo_dim_known(y) && y.k < 1))
			return false;
		s->dim[i] = op(f->g->syms, x, y);
		if (mlo_dim_known(s->dim[i]) && s->dim[i].k < 0)
			return false;
	}
	return true;
}

static bool sizes_mul(Fold *f, const MloNode *n, Sizes *s, int depth)
{
	return sizes_binary(f, n, s, depth, mlo_dim_mul);
}

static bool sizes_div(Fold *f, const MloNode *n, Sizes *s, int depth)
{
	return sizes_binary(f, n, s, depth, mlo_dim_div);
}

static bool sizes_add(Fold *f, const MloNode *n, Sizes *s, int depth)
{
	return sizes_binary(f, n, s, depth, mlo_dim_add);
}

static const struct SizeRule {
	MloOp op;
	bool (*sizes)(Fold *f, const MloNode *n, Sizes *s, int depth);
} size_rules[] = {
	{OP_shape, sizes_shape},   {OP_concat, sizes_concat},  {OP_gather, sizes_gather},
	{OP_slice, sizes_slice},   {OP_squeeze, sizes_same},   {OP_unsqueeze, sizes_same},
	{OP_reshape, sizes_same},  {OP_identity, sizes_same},  {OP_cast, sizes_same},
	{OP_mul, sizes_mul},       {OP_div, sizes_div},        {OP_add, sizes_add},
};

static bool sizes_of(Fold *f, const MloValue *v, Sizes *s, int depth)
{
	if (v->data)
		return sizes_const(v, s);
	if (!v->def || depth >= MAX_DEPTH || v->type.rank < 0 || v->type.rank > 1)
		return false;
	if (!mlo_elem_is_int(v->type.elem))
		return false;
	for (size_t i = 0; i < sizeof size_rules / sizeof *size_rules; i++)
		if (size_rules[i].op == v->def->op)
			return size_rules[i].sizes(f, v->def, s, depth + 1);
	return false;
}

/* -- replacing results by constants -------------------------------------------------------------- */

static void replace(Fold *f, MloNode *n, uint32_t i, const MloTensor *t)
{
	MloValue *old = n->out[i], *c = mlo_graph_const(f->g, t, old->name);

	/* A graph output keeps a node that defines it. */
	if (mlo_is_output(f->g, old)) {
		MloNode *id = mlo_rw_node(f->g, n, OP_identity, n, &c, 1);

		c = mlo_rw_done(f->g, id, f->cx);
		c->name = old->name;
	}
	mlo_graph_replace(f->g, old, c);
	f->cx->changed++;
}

static bool fold_sizes(Fold *f, MloNode *n)
{
	MloValue *v = n->out[0];
	MloTensor *t;
	Sizes s;

	if (n->nout != 1 || !v || v->type.rank < 0 || !sizes_of(f, v, &s, 0))
		return false;
	for (int i = 0; i < s.n; i++)
		if (!mlo_dim_known(s.dim[i]))
			return false;
	if (v->type.rank == 0 ? s.n != 1 : !mlo_has_dim(&v->type, 0, s.n))
		return false;
	t = mlo_tensor_new(f->g->arena, v->type.elem, v->type.rank, (int64_t[]){s.n});
	for (int i = 0; i < s.n; i++)
		mlo_tensor_set_i64(t, i, s.dim[i].k);
	replace(f, n, 0, t);
	return true;
}

static bool foldable(const Fold *f, const MloNode *n)
{
	int64_t in = 0, out = 0;

	if (!mlo_op_has(n->op, TR_PURE) || (n->op == OP_identity && mlo_is_output(f->g, n->out[0])))
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

static bool dequantizes(const MloValue *v, bool constant)
{
	const MloNode *d = mlo_def_op(v, OP_dequantize_linear);

	return d && !d->in[0]->data == !constant;
}

/* Quantised weights stay quantised where they meet quantised activations: dequantised they would
 * be four times as large, and the integer kernels could not see them. */
static void keep_quantized(Fold *f)
{
	f->keep = MLO_NEWN(f->cx->arena, bool, f->g->next_id + 1);
	for (const MloNode *n = f->g->first; n; n = n->next) {
		bool quantized = false;

		for (uint32_t i = 0; i < n->nin; i++)
			quantized |= dequantizes(n->in[i], false);
		for (uint32_t i = 0; quantized && i < n->nin; i++)
			if (dequantizes(n->in[i], true))
				f->keep[n->in[i]->id] = true;
	}
}

MloStatus mlo_pass_fold(MloGraph *g, MloPassCx *cx)
{
	Fold f = {.g = g, .cx = cx};

	keep_quantized(&f);
	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		if (!mlo_node_used(n))
			continue;
		if (foldable(&f, n))
			MLO_TRY(evaluate(&f, n));
		else if (!fold_sizes(&f, n))
			continue;
		mlo_rw_sweep(g, n);
	}
	return MLO_OK;
}
