/* frontend/onnx_ml_table.c -- forests: checks, and the tables that tree_ensemble takes. */
#include <math.h>

#include "frontend/onnx_ml.h"
#include "ir/ref/ref_tree.h"

/* -- checks ------------------------------------------------------------------------------------------- */

static void fail_node(OnnxNode *n, const MlTreeNode *t, const char *what, int64_t value)
{
	onnx_fail(n, MLO_ERR_MODEL, "node %lld of tree %lld: %s %lld", (long long)t->id, (long long)t->tree,
		  what, (long long)value);
}

static bool check_node(OnnxNode *n, const MlForest *f, const MlTreeNode *t)
{
	if (t->mode != TREE_LEAF) {
		if (t->feature < 0 || t->feature > INT32_MAX)
			fail_node(n, t, "tests feature", t->feature);
		return !n->failed;
	}
	for (int64_t k = t->first; k < t->first + t->count && !n->failed; k++)
		if (f->target[k] < 0 || f->target[k] >= f->targets)
			fail_node(n, t, "votes for class or target", f->target[k]);
	return !n->failed;
}

/* Depth first from the roots; a node met on its own path closes a circle. */
static bool check_paths(OnnxNode *n, const MlForest *f)
{
	enum { NEW, OPEN, DONE };
	char *state = MLO_NEWN(n->im->tmp, char, (size_t)f->nnodes + 1);
	int64_t *stack = MLO_NEWN(n->im->tmp, int64_t, 2 * (size_t)f->nnodes + 2);

	for (int64_t r = 0; r < f->nroots; r++) {
		int64_t top = 0;

		if (state[f->root[r]] == NEW)
			stack[top++] = f->root[r];
		while (top > 0) {
			int64_t i = stack[top - 1];
			const MlTreeNode *t = &f->node[i];
			int64_t child[2] = {t->yes, t->no};

			if (state[i] != NEW) {
				state[i] = DONE;
				top--;
				continue;
			}
			state[i] = t->mode == TREE_LEAF ? DONE : OPEN;
			for (int k = 0; k < 2 && t->mode != TREE_LEAF; k++) {
				if (state[child[k]] == OPEN) {
					fail_node(n, t, "leads back to node", f->node[child[k]].id);
					return false;
				}
				if (state[child[k]] == NEW && top < 2 * f->nnodes + 2)
					stack[top++] = child[k];
			}
		}
	}
	return true;
}

bool ml_forest_check(OnnxNode *n, const MlForest *f)
{
	if (f->nnodes > INT32_MAX || f->nweights > INT32_MAX || f->nmembers > INT32_MAX) {
		onnx_fail(n, MLO_ERR_LIMIT, "%lld nodes with %lld weights are too many", (long long)f->nnodes,
			  (long long)f->nweights);
		return false;
	}
	if (f->nroots < 1)
		onnx_fail(n, MLO_ERR_MODEL, "there is no tree");
	for (int64_t i = 0; i < f->nnodes && !n->failed; i++)
		if (!check_node(n, f, &f->node[i]))
			return false;
	return !n->failed && check_paths(n, f);
}

/* -- tables -------------------------------------------------------------------------------------------- */

/* A split or member of float64 as a float32 that divides the float32 numbers in the same way. */
static double narrow(double v, int mode)
{
	float f = (float)v;

	if (isnan(v) || (double)f == v)
		return f;
	if (mode == TREE_LEQ || mode == TREE_GT)
		return (double)f > v ? nextafterf(f, -INFINITY) : f;
	if (mode == TREE_LT || mode == TREE_GTE)
		return (double)f < v ? nextafterf(f, INFINITY) : f;
	return NAN; /* equal to no float32 */
}

static MloValue *node_table(OnnxNode *n, const MlForest *f)
{
	MloTensor *t = mlo_tensor_new(n->g->arena, EL_i32, 2, (int64_t[]){f->nnodes, TREE_COLUMNS});
	int32_t *row = (int32_t *)t->data;

	for (int64_t i = 0; i < f->nnodes; i++, row += TREE_COLUMNS) {
		const MlTreeNode *s = &f->node[i];
		bool leaf = s->mode == TREE_LEAF;

		row[TREE_MODE] = s->mode;
		row[TREE_MISSING] = s->missing;
		row[TREE_FEATURE] = leaf ? 0 : (int32_t)s->feature;
		row[TREE_YES] = leaf ? 0 : (int32_t)s->yes;
		row[TREE_NO] = leaf ? 0 : (int32_t)s->no;
		row[TREE_FIRST] = (int32_t)s->first;
		row[TREE_COUNT] = (int32_t)s->count;
	}
	return mlo_graph_const(n->g, t, NULL);
}

static MloValue *split_table(OnnxNode *n, const MlForest *f, MloElem e)
{
	MloTensor *t = mlo_tensor_new(n->g->arena, e, 1, &f->nnodes);

	for (int64_t i = 0; i < f->nnodes; i++)
		mlo_tensor_set_f64(
			t, i, e == EL_f32 ? narrow(f->node[i].split, f->node[i].mode) : f->node[i].split);
	return mlo_graph_const(n->g, t, NULL);
}

static MloValue *member_table(OnnxNode *n, const MlForest *f, MloElem e)
{
	MloTensor *t = mlo_tensor_new(n->g->arena, e, 1, &f->nmembers);

	for (int64_t i = 0; i < f->nmembers; i++)
		mlo_tensor_set_f64(t, i, e == EL_f32 ? narrow(f->member[i], TREE_MEMBER) : f->member[i]);
	return mlo_graph_const(n->g, t, NULL);
}

static MloValue *target_table(OnnxNode *n, const MlForest *f)
{
	MloTensor *t = mlo_tensor_new(n->g->arena, EL_i32, 1, &f->nweights);

	for (int64_t i = 0; i < f->nweights; i++)
		((int32_t *)t->data)[i] = (int32_t)f->target[i];
	return mlo_graph_const(n->g, t, NULL);
}

/* The order in which ONNX Runtime adds on two threads: forests of more than FEW_TREES in two halves.
 * Sums of float32 depend on it in the last place, and labels where a sum is on the border. */
enum { FEW_TREES = 32 };

static MloValue *ensemble(OnnxNode *n, const MlForest *f, MloValue *x, const char *aggregate, MloElem e,
			  const double *weight)
{
	MloTensor *root = mlo_tensor_new(n->g->arena, EL_i64, 1, &f->nroots);
	MloValue *in[7] = {x};
	MloNode *m;

	for (int64_t i = 0; i < f->nroots; i++)
		((int64_t *)root->data)[i] = f->root[i];
	in[TREE_ROOTS] = mlo_graph_const(n->g, root, NULL);
	in[TREE_NODES] = node_table(n, f);
	in[TREE_SPLITS] = split_table(n, f, x->type.elem);
	in[TREE_TARGETS] = target_table(n, f);
	in[TREE_WEIGHTS] = ml_const(n, e, 1, &f->nweights, weight);
	if (f->nmembers)
		in[TREE_MEMBERS] = member_table(n, f, x->type.elem);
	m = onnx_node(n, OP_tree_ensemble, in, f->nmembers ? 7 : 6, 1);
	mlo_attr_set_i(m, ATTR_tree_ensemble_targets, f->targets);
	mlo_attr_set_i(m, ATTR_tree_ensemble_parts, f->nroots > FEW_TREES ? 2 : 1);
	mlo_attr_set_s(n->g, m, ATTR_tree_ensemble_aggregate, aggregate);
	return onnx_infer(n, m);
}

MloValue *ml_forest_scores(OnnxNode *n, const MlForest *f, MloValue *x, const char *aggregate)
{
	return ensemble(n, f, x, aggregate, f->wide || x->type.elem == EL_f64 ? EL_f64 : EL_f32, f->weight);
}

MloValue *ml_forest_votes(OnnxNode *n, const MlForest *f, MloValue *x, MloValue **none)
{
	bool wide = f->wide || x->type.elem == EL_f64;
	MloElem e = wide ? EL_f64 : EL_f32, bits = wide ? EL_i64 : EL_i32;
	double *weight = MLO_NEWN(n->im->tmp, double, (size_t)f->nweights + 1);
	MloValue *s;
	MloNode *m;

	for (int64_t i = 0; i < f->nweights; i++)
		weight[i] = f->weight[i] + 0.0; /* no -0 */
	s = ensemble(n, f, x, "MARKED_SUM", e, weight);
	m = onnx_node(n, OP_bit_cast, &s, 1, 1);
	mlo_attr_set_i(m, ATTR_bit_cast_to, mlo_elem_onnx(bits));
	*none = onnx_op2(n, OP_equal, onnx_infer(n, m), onnx_scalar(n, bits, wide ? -0x1p63 : -0x1p31));
	return onnx_op3(n, OP_where, *none, onnx_scalar(n, e, 0), s);
}

/* -- which targets get a weight ----------------------------------------------------------------------- */

static bool leaf_votes(const MlForest *f, const MlTreeNode *t, int64_t k)
{
	for (int64_t i = t->first; i < t->first + t->count; i++)
		if (f->target[i] == k)
			return true;
	return false;
}

/* Does every leaf below root r vote for k?  seen[i] == r + 1: node i was met in this walk. */
static bool all_vote(const MlForest *f, int64_t r, int64_t k, int64_t *stack, int64_t *seen)
{
	int64_t top = 0;

	stack[top++] = f->root[r];
	while (top > 0) {
		int64_t i = stack[--top];
		const MlTreeNode *t = &f->node[i];

		if (seen[i] == r + 1)
			continue;
		seen[i] = r + 1;
		if (t->mode == TREE_LEAF) {
			if (!leaf_votes(f, t, k))
				return false;
		} else {
			stack[top++] = t->no;
			stack[top++] = t->yes;
		}
	}
	return true;
}

bool ml_forest_always(OnnxNode *n, const MlForest *f, int64_t k)
{
	int64_t *stack = MLO_NEWN(n->im->tmp, int64_t, 2 * (size_t)f->nnodes + 2);
	int64_t *seen = MLO_NEWN(n->im->tmp, int64_t, (size_t)f->nnodes + 1);

	for (int64_t r = 0; r < f->nroots; r++)
		if (all_vote(f, r, k, stack, seen))
			return true;
	return false;
}
