/* passes/batch.c -- a model whose only open size is the number of samples becomes one of a single sample.
 *
 * Most models that are open at all are open in their batch: one symbol, always dimension 0, and every
 * node computes each sample by itself.  Then the types get a 1 there, the inputs note what they are one
 * of (MloValue.each), and all that follows (layout, fusion, generated kernels) works with constants; code
 * generation makes kernels that run once per sample.
 * Requires: types.  Keeps: values of each sample.  All or nothing: one node that mixes samples, or a
 * second open size, leaves the graph as it is. */
#include "passes/match.h"

typedef struct BatchCx {
	MloDim n;
	bool *each; /* by value id: one of n samples along dimension 0 */
} BatchCx;

typedef bool Rule(const BatchCx *b, const MloNode *n);

static bool each(const BatchCx *b, const MloValue *v)
{
	return v && b->each[v->id];
}

/* Only the first operand holds samples; so do all results. */
static bool rule_first(const BatchCx *b, const MloNode *n)
{
	for (uint32_t i = 0; i < n->nin; i++)
		if (each(b, n->in[i]) != (i == 0))
			return false;
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i] && !each(b, n->out[i]))
			return false;
	return true;
}

/* Operands without samples are broadcast over them. */
static bool rule_eltwise(const BatchCx *b, const MloNode *n)
{
	int rank = n->out[0]->type.rank;

	for (uint32_t i = 0; i < n->nin; i++) {
		const MloType *t = n->in[i] ? &n->in[i]->type : NULL;

		if (t && t->rank == rank && !each(b, n->in[i]) && !mlo_has_dim(t, 0, 1))
			return false;
		if (t && t->rank != rank && each(b, n->in[i]))
			return false;
	}
	return each(b, n->out[0]);
}

/* Indices of maxima count through all samples. */
static bool rule_pool(const BatchCx *b, const MloNode *n)
{
	return (n->nout < 2 || !n->out[1]) && rule_first(b, n);
}

static bool other_axis(const MloNode *n, int slot)
{
	int64_t axis = mlo_attr_i(n, slot);

	return axis != 0 && axis != -n->in[0]->type.rank;
}

static bool rule_softmax(const BatchCx *b, const MloNode *n) { return other_axis(n, ATTR_softmax_axis) && rule_first(b, n); }
static bool rule_log_softmax(const BatchCx *b, const MloNode *n) { return other_axis(n, ATTR_log_softmax_axis) && rule_first(b, n); }
static bool rule_layer_norm(const BatchCx *b, const MloNode *n) { return other_axis(n, ATTR_layer_norm_axis) && rule_first(b, n); }
static bool rule_arg_max(const BatchCx *b, const MloNode *n) { return other_axis(n, ATTR_arg_max_axis) && rule_first(b, n); }
static bool rule_arg_min(const BatchCx *b, const MloNode *n) { return other_axis(n, ATTR_arg_min_axis) && rule_first(b, n); }
static bool rule_split(const BatchCx *b, const MloNode *n) { return other_axis(n, ATTR_split_axis) && rule_first(b, n); }

static bool rule_reduce(const BatchCx *b, const MloNode *n)
{
	int64_t axes[MLO_MAX_RANK];
	int count = mlo_reduce_axes(n, axes);

	for (int i = 0; i < count; i++)
		if (axes[i] == 0)
			return false;
	return count >= 0 && rule_first(b, n);
}

static bool rule_matmul(const BatchCx *b, const MloNode *n)
{
	const MloValue *x = n->in[0], *y = n->in[1];
	int rank = n->out[0]->type.rank;

	if (!each(b, n->out[0]))
		return false;
	if (!each(b, y)) /* rows of samples, or a product per sample */
		return x->type.rank == rank && rank >= 2 && (y->type.rank < rank || rank == 2 || mlo_has_dim(&y->type, 0, 1));
	if (y->type.rank != rank || rank < 3)
		return false;
	return x->type.rank == rank ? each(b, x) || mlo_has_dim(&x->type, 0, 1) : !each(b, x);
}

static bool rule_gemm(const BatchCx *b, const MloNode *n)
{
	const MloValue *c = n->nin > 2 ? n->in[2] : NULL;

	if (mlo_attr_i(n, ATTR_gemm_transA) || !each(b, n->in[0]) || each(b, n->in[1]) || !each(b, n->out[0]))
		return false;
	return !c || each(b, c) || c->type.rank < 2 || mlo_has_dim(&c->type, 0, 1);
}

static bool rule_transpose(const BatchCx *b, const MloNode *n)
{
	int count;
	const int64_t *perm = mlo_attr_ints(n, ATTR_transpose_perm, &count);

	return count && perm[0] == 0 && rule_first(b, n);
}

static bool rule_concat(const BatchCx *b, const MloNode *n)
{
	for (uint32_t i = 0; i < n->nin; i++)
		if (!each(b, n->in[i]))
			return false;
	return other_axis(n, ATTR_concat_axis) && each(b, n->out[0]);
}

static bool rule_slice(const BatchCx *b, const MloNode *n)
{
	int64_t axes[MLO_MAX_RANK];
	int count = n->nin > 3 && n->in[3] ? mlo_const_ints(n->in[3], axes, MLO_MAX_RANK) : -1;

	for (int i = 0; i < count; i++)
		if (axes[i] == 0 || axes[i] == -n->in[0]->type.rank)
			return false;
	return count >= 0 && rule_first(b, n);
}

static bool rule_pad(const BatchCx *b, const MloNode *n)
{
	int64_t pads[2 * MLO_MAX_RANK];
	int count = mlo_const_ints(n->in[1], pads, 2 * MLO_MAX_RANK), rank = n->in[0]->type.rank;

	return count == 2 * rank && (n->nin < 4 || !n->in[3]) && !pads[0] && !pads[rank] && rule_first(b, n);
}

static bool rule_gather(const BatchCx *b, const MloNode *n)
{
	if (each(b, n->in[1]))
		return !each(b, n->in[0]) && !other_axis(n, ATTR_gather_axis) && each(b, n->out[0]);
	return other_axis(n, ATTR_gather_axis) && rule_first(b, n);
}

static bool rule_tile(const BatchCx *b, const MloNode *n)
{
	int64_t times[MLO_MAX_RANK];

	return mlo_const_ints(n->in[1], times, MLO_MAX_RANK) > 0 && times[0] == 1 && rule_first(b, n);
}

/* Operators that work sample by sample; elementwise ones beside these. */
static Rule *rule_of(MloOp op)
{
	static Rule *const rule[OP_COUNT] = {
		[OP_conv] = rule_first, [OP_conv_transpose] = rule_first, [OP_max_pool] = rule_pool,
		[OP_average_pool] = rule_first, [OP_global_average_pool] = rule_first, [OP_global_max_pool] = rule_first,
		[OP_lp_pool] = rule_first, [OP_global_lp_pool] = rule_first, [OP_batch_norm] = rule_first,
		[OP_matmul] = rule_matmul, [OP_gemm] = rule_gemm, [OP_softmax] = rule_softmax,
		[OP_log_softmax] = rule_log_softmax, [OP_layer_norm] = rule_layer_norm, [OP_reduce_sum] = rule_reduce,
		[OP_reduce_mean] = rule_reduce, [OP_reduce_max] = rule_reduce, [OP_reduce_min] = rule_reduce,
		[OP_reduce_prod] = rule_reduce, [OP_reduce_l2] = rule_reduce, [OP_arg_max] = rule_arg_max,
		[OP_arg_min] = rule_arg_min, [OP_reshape] = rule_first, [OP_flatten] = rule_first,
		[OP_squeeze] = rule_first, [OP_unsqueeze] = rule_first, [OP_expand] = rule_first,
		[OP_transpose] = rule_transpose, [OP_concat] = rule_concat, [OP_split] = rule_split,
		[OP_slice] = rule_slice, [OP_pad] = rule_pad, [OP_gather] = rule_gather, [OP_tile] = rule_tile,
		[OP_resize] = rule_first, [OP_depth_to_space] = rule_first, [OP_space_to_depth] = rule_first,
	};

	return mlo_op_info(op)->kind == OK_ELTWISE ? rule_eltwise : rule[op];
}

static bool batched_type(const MloType *t, MloDim n)
{
	if (t->rank < 1 || !mlo_dim_same(t->dim[0], n))
		return false;
	for (int i = 1; i < t->rank; i++)
		if (!mlo_dim_known(t->dim[i]))
			return false;
	return true;
}

/* v is one of n samples, or does not depend on n; false: something else is open. */
static bool note(BatchCx *b, const MloValue *v)
{
	b->each[v->id] = batched_type(&v->type, b->n);
	return b->each[v->id] || mlo_type_static(&v->type);
}

static bool node_fits(BatchCx *b, const MloNode *n)
{
	bool any = false;
	Rule *rule = rule_of(n->op);

	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i] && !note(b, n->out[i]))
			return false;
	for (uint32_t i = 0; i < n->nin + n->nout; i++)
		any = any || each(b, i < n->nin ? n->in[i] : n->out[i - n->nin]);
	return !any || (rule && n->nout && n->out[0] && rule(b, n));
}

/* The first open dimension of an input; it is the batch if it is a plain symbol. */
static bool find_size(const MloGraph *g, MloDim *n)
{
	for (uint32_t i = 0; i < g->ninputs; i++) {
		const MloType *t = &g->inputs[i]->type;

		if (t->rank > 0 && !mlo_dim_known(t->dim[0])) {
			const char *name;

			*n = t->dim[0];
			return mlo_dim_symbol(*n, &name);
		}
	}
	return false;
}

static bool graph_fits(BatchCx *b, const MloGraph *g)
{
	for (uint32_t i = 0; i < g->ninputs; i++)
		if (!note(b, g->inputs[i]))
			return false;
	for (const MloNode *n = g->first; n; n = n->next)
		if (!node_fits(b, n))
			return false;
	return true;
}

/* The shape operand of a reshape whose result has one open size need not be computed. */
static void plain_shapes(MloGraph *g, MloPassCx *cx)
{
	for (MloNode *n = g->first; n; n = n->next) {
		const MloType *t = n->op == OP_reshape && n->out[0] ? &n->out[0]->type : NULL;
		int64_t shape[MLO_MAX_RANK];
		int open = 0;

		for (int i = 0; t && i < t->rank; i++) {
			bool known = mlo_dim_known(t->dim[i]);

			shape[i] = known ? t->dim[i].k : -1;
			open += !known;
		}
		if (!t || open != 1 || n->in[1]->data || t->rank < 1)
			continue;
		mlo_attr_set_i(n, ATTR_reshape_allowzero, 1);
		mlo_node_set_in(g, n, 1, mlo_graph_const_i64s(g, 1, shape, t->rank));
		cx->changed++;
	}
}

MloStatus mlo_pass_batch(MloGraph *g, MloPassCx *cx)
{
	BatchCx b;

	if (!find_size(g, &b.n))
		return MLO_OK;
	plain_shapes(g, cx);
	MLO_TRY(mlo_pass_dce(g, cx));
	b.each = MLO_NEWN(cx->arena, bool, g->next_id);
	if (!graph_fits(&b, g))
		return MLO_OK;
	for (uint32_t i = 0; i < g->ninputs; i++) {
		if (each(&b, g->inputs[i])) {
			g->inputs[i]->each = b.n;
			g->inputs[i]->type.dim[0] = mlo_dim(1);
		}
	}
	for (MloNode *n = g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++)
			if (each(&b, n->out[i]))
				n->out[i]->type.dim[0] = mlo_dim(1);
	cx->changed++;
	return MLO_OK;
}
