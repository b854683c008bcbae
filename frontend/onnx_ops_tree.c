/* frontend/onnx_ops_tree.c -- importers of tree ensembles. */
#include <stdlib.h>
#include <string.h>

#include "frontend/onnx_ml.h"
#include "ir/ref/ref_tree.h"

/* -- opsets 1 and 3: nodes are named by tree and number ------------------------------------------- */

typedef struct Name {
	int64_t tree, id, index; /* index: into the lists of the model */
} Name;

static int by_name(const void *a, const void *b)
{
	const Name *x = a, *y = b;

	if (x->tree != y->tree)
		return x->tree < y->tree ? -1 : 1;
	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* The node of that name, or -1. */
static int64_t find_node(const Name *names, int64_t count, int64_t tree, int64_t id)
{
	int64_t lo = 0, hi = count;

	while (lo < hi) {
		int64_t mid = lo + (hi - lo) / 2;
		const Name *m = &names[mid];

		if (m->tree < tree || (m->tree == tree && m->id < id))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < count && names[lo].tree == tree && names[lo].id == id ? names[lo].index : -1;
}

/* The attributes of one list per property. */
typedef struct NodeLists {
	MlInts tree, id, feature, yes, no, missing;
	MlNumbers split;
	const Onnx__AttributeProto *mode;
	Name *names; /* sorted */
} NodeLists;

static bool same_length(OnnxNode *n, const char *name, int64_t have, int64_t want)
{
	if (have == want)
		return true;
	onnx_fail(n, MLO_ERR_MODEL, "attribute '%s' has %lld elements, 'nodes_nodeids' has %lld", name,
		  (long long)have, (long long)want);
	return false;
}

static bool read_lists(OnnxNode *n, NodeLists *l)
{
	int64_t count;

	l->tree = ml_ints(n, "nodes_treeids");
	l->id = ml_ints(n, "nodes_nodeids");
	l->feature = ml_ints(n, "nodes_featureids");
	l->yes = ml_ints(n, "nodes_truenodeids");
	l->no = ml_ints(n, "nodes_falsenodeids");
	l->missing = ml_ints(n, "nodes_missing_value_tracks_true");
	l->split = ml_numbers(n, "nodes_values");
	l->mode = onnx_attr(n, "nodes_modes");
	onnx_ignore(n, "nodes_hitrates");
	onnx_ignore(n, "nodes_hitrates_as_tensor");
	count = l->id.n;
	l->names = MLO_NEWN(n->im->tmp, Name, (size_t)count + 1);
	if (n->failed || !same_length(n, "nodes_treeids", l->tree.n, count) ||
	    !same_length(n, "nodes_featureids", l->feature.n, count) ||
	    !same_length(n, "nodes_truenodeids", l->yes.n, count) ||
	    !same_length(n, "nodes_falsenodeids", l->no.n, count) ||
	    !same_length(n, "nodes_values", l->split.n, count) ||
	    !same_length(n, "nodes_modes", l->mode ? (int64_t)l->mode->n_strings : 0, count))
		return false;
	for (int64_t i = 0; i < count; i++)
		l->names[i] = (Name){l->tree.v[i], l->id.v[i], i};
	qsort(l->names, (size_t)count, sizeof *l->names, by_name);
	for (int64_t i = 1; i < count; i++)
		if (l->names[i].tree == l->names[i - 1].tree && l->names[i].id == l->names[i - 1].id) {
			onnx_fail(n, MLO_ERR_MODEL, "node %lld of tree %lld is there twice",
				  (long long)l->names[i].id, (long long)l->names[i].tree);
			return false;
		}
	return true;
}

static int mode_of(OnnxNode *n, const ProtobufCBinaryData *s)
{
	static const char *const name[] = {"BRANCH_LEQ", "BRANCH_LT",  "BRANCH_GTE",    "BRANCH_GT",
	                                   "BRANCH_EQ",  "BRANCH_NEQ", "BRANCH_MEMBER", "LEAF"};

	for (int i = 0; i <= TREE_LEAF; i++)
		if (i != TREE_MEMBER && strlen(name[i]) == s->len && !memcmp(name[i], s->data, s->len))
			return i;
	onnx_fail(n, MLO_ERR_MODEL, "node mode '%.*s' is not known", (int)(s->len < 40 ? s->len : 40),
		  (const char *)s->data);
	return TREE_LEAF;
}

static int64_t child(OnnxNode *n, const NodeLists *l, const MlTreeNode *t, int64_t id)
{
	int64_t i = find_node(l->names, l->id.n, t->tree, id);

	if (i < 0 && !n->failed)
		onnx_fail(n, MLO_ERR_MODEL, "node %lld of tree %lld leads to node %lld, which is not there",
			  (long long)t->id, (long long)t->tree, (long long)id);
	return i;
}

static bool read_nodes(OnnxNode *n, const NodeLists *l, MlForest *f)
{
	f->nnodes = l->id.n;
	f->node = MLO_NEWN(n->im->tmp, MlTreeNode, (size_t)f->nnodes + 1);
	for (int64_t i = 0; i < f->nnodes && !n->failed; i++) {
		MlTreeNode *t = &f->node[i];

		*t = (MlTreeNode){.mode = mode_of(n, &l->mode->strings[i]),
				  .tree = l->tree.v[i],
				  .id = l->id.v[i],
				  .feature = l->feature.v[i],
				  .split = l->split.v[i],
				  .missing = i < l->missing.n && l->missing.v[i] != 0};
		if (t->mode != TREE_LEAF) {
			t->yes = child(n, l, t, l->yes.v[i]);
			t->no = child(n, l, t, l->no.v[i]);
		}
	}
	return !n->failed;
}

/* The root of a tree is its first node in the lists; trees count in the order of their roots. */
static void find_roots(OnnxNode *n, const NodeLists *l, MlForest *f)
{
	bool *is_root = MLO_NEWN(n->im->tmp, bool, (size_t)f->nnodes + 1);

	for (int64_t i = 0, first = 0; i < f->nnodes; i++) {
		if (i == 0 || l->names[i].tree != l->names[i - 1].tree)
			first = l->names[i].index;
		else if (l->names[i].index < first)
			first = l->names[i].index;
		if (i + 1 == f->nnodes || l->names[i + 1].tree != l->names[i].tree)
			is_root[first] = true;
	}
	f->root = MLO_NEWN(n->im->tmp, int64_t, (size_t)f->nnodes + 1);
	for (int64_t i = 0; i < f->nnodes; i++)
		if (is_root[i])
			f->root[f->nroots++] = i;
}

/* Weights, grouped by leaf in the order of the model. Those of branches mean nothing. */
static bool read_weights(OnnxNode *n, const NodeLists *l, MlForest *f, const char *prefix)
{
	MloArena *a = n->im->tmp;
	MlInts tree = ml_ints(n, mlo_sprintf(a, "%s_treeids", prefix));
	MlInts id = ml_ints(n, mlo_sprintf(a, "%s_nodeids", prefix));
	MlInts target = ml_ints(n, mlo_sprintf(a, "%s_ids", prefix));
	MlNumbers w = ml_numbers(n, mlo_sprintf(a, "%s_weights", prefix));
	int64_t *leaf = MLO_NEWN(a, int64_t, (size_t)w.n + 1), at = 0;

	if (n->failed)
		return false;
	if (tree.n != w.n || id.n != w.n || target.n != w.n) {
		onnx_fail(n, MLO_ERR_MODEL, "%lld weights with %lld tree, %lld node and %lld target numbers",
			  (long long)w.n, (long long)tree.n, (long long)id.n, (long long)target.n);
		return false;
	}
	for (int64_t i = 0; i < w.n; i++) {
		leaf[i] = find_node(l->names, l->id.n, tree.v[i], id.v[i]);
		if (leaf[i] < 0) {
			onnx_fail(n, MLO_ERR_MODEL,
				  "a weight belongs to node %lld of tree %lld, which is not there",
				  (long long)id.v[i], (long long)tree.v[i]);
			return false;
		}
		f->node[leaf[i]].count += f->node[leaf[i]].mode == TREE_LEAF;
	}
	for (int64_t i = 0; i < f->nnodes; i++) {
		f->node[i].first = at;
		at += f->node[i].count;
		f->node[i].count = 0;
	}
	f->nweights = at;
	f->target = MLO_NEWN(a, int64_t, (size_t)at + 1);
	f->weight = MLO_NEWN(a, double, (size_t)at + 1);
	for (int64_t i = 0; i < w.n; i++) {
		MlTreeNode *t = &f->node[leaf[i]];

		if (t->mode != TREE_LEAF)
			continue;
		f->target[t->first + t->count] = target.v[i];
		f->weight[t->first + t->count++] = w.v[i];
	}
	f->wide = l->split.wide || w.wide;
	return true;
}

static bool read_forest(OnnxNode *n, MlForest *f, const char *prefix)
{
	NodeLists l = {0};

	if (!read_lists(n, &l) || !read_nodes(n, &l, f) || !read_weights(n, &l, f, prefix))
		return false;
	find_roots(n, &l, f);
	return ml_forest_check(n, f);
}

/* -- regression ----------------------------------------------------------------------------------- */

/* One value per target; ONNX Runtime takes a single one for a single target only. */
static MloValue *add_base(OnnxNode *n, MloValue *s, MlNumbers base, int64_t targets)
{
	MloElem e = s->type.elem == EL_f64 ? EL_f64 : EL_f32;

	if (base.n == targets)
		return onnx_op2(n, OP_add, s, ml_vector(n, e, base));
	if (base.n != 0)
		onnx_fail(n, MLO_ERR_MODEL, "%lld base values for %lld targets", (long long)base.n,
			  (long long)targets);
	return s;
}

/* A single target takes no transform but PROBIT, as in ONNX Runtime. */
static void regression_result(OnnxNode *n, MloValue *s, int64_t targets, MlPost post, MloElem e)
{
	s = ml_cast(n, s, e);
	onnx_result(n, 0, targets > 1 || post == ML_PROBIT ? ml_post(n, s, post) : s);
}

static const char *aggregate_attr(OnnxNode *n)
{
	const char *s = onnx_str(n, "aggregate_function", "SUM");

	if (strcmp(s, "SUM") != 0 && strcmp(s, "AVERAGE") != 0 && strcmp(s, "MIN") != 0 &&
	    strcmp(s, "MAX") != 0)
		onnx_fail(n, MLO_ERR_MODEL, "aggregate_function '%s' is not known", s);
	return s;
}

void import_tree_regressor(OnnxNode *n)
{
	MloValue *x = ml_rows(n, true), *s;
	MlForest f = {.targets = onnx_int(n, "n_targets", 1)};
	const char *how = aggregate_attr(n);
	MlNumbers base = ml_numbers(n, "base_values");
	MlPost post = ml_post_attr(n);

	if (n->failed || !read_forest(n, &f, "target"))
		return;
	s = add_base(n, ml_forest_scores(n, &f, x, how), base, f.targets);
	regression_result(n, s, f.targets, post, EL_f32);
}

/* -- classification ------------------------------------------------------------------------------- */

typedef struct Vote {
	bool used[2];  /* of two classes: has it any weight? */
	bool positive; /* no weight is below 0 */
	bool some;     /* every leaf of some tree has a weight above 0 */
} Vote;

static bool leaves_positive(const MlForest *f, int64_t first, int64_t last)
{
	for (int64_t i = first; i < last; i++) {
		const MlTreeNode *t = &f->node[i];
		bool any = t->mode != TREE_LEAF;

		for (int64_t k = t->first; k < t->first + t->count && !any; k++)
			any = f->weight[k] > 0;
		if (!any)
			return false;
	}
	return true;
}

static Vote survey(const MlForest *f)
{
	Vote v = {.positive = true};

	for (int64_t k = 0; k < f->nweights; k++) {
		if (f->target[k] < 2)
			v.used[f->target[k]] = true;
		v.positive = v.positive && !(f->weight[k] < 0);
	}
	v.some = leaves_positive(f, 0, f->nnodes);
	return v;
}

static MloValue *scalar_like(OnnxNode *n, MloValue *s, double v)
{
	return onnx_scalar(n, s->type.elem == EL_f64 ? EL_f64 : EL_f32, v);
}

static MloValue *plus(OnnxNode *n, MloValue *s, double v)
{
	return v == 0 ? s : onnx_op2(n, OP_add, s, scalar_like(n, s, v));
}

typedef struct Binary {
	MloValue *label, *scores; /* i64[N], f32[N,2] */
} Binary;

/* All votes are for class 0 (which then means the positive one) or all for class 1. */
static Binary one_sided(OnnxNode *n, MloValue *s, const Vote *v, MlNumbers base, MlPost post)
{
	int side = v->used[0] ? 0 : 1;
	double above = v->positive ? 0.5 : 0;
	MloValue *p = ml_column(n, s, side), *zero;
	Binary b;

	if (side == 0 || base.n == 2)
		p = plus(n, p, base.n == 2 ? base.v[side] : base.n == 1 ? base.v[0] : 0);
	b.label = ml_positive(n, p, above);
	p = ml_cast(n, p, EL_f32);
	if (side == 0 && base.n != 2) {
		b.scores = ml_two_scores(n, p, post, v->positive);
		return b;
	}
	zero = onnx_op2(n, OP_mul, p, onnx_scalar(n, EL_f32, 0));
	if (side == 1 && base.n == 2)
		zero = plus(n, zero, base.v[0]);
	b.scores = ml_post(n, side ? ml_pair(n, zero, p) : ml_pair(n, p, zero), post);
	return b;
}

/* Both classes have votes. A row without one for class 1 is decided by the score of class 0 alone. */
static Binary two_sided(OnnxNode *n, const MlForest *f, MloValue *x, MlNumbers base, MlPost post)
{
	bool always = ml_forest_always(n, f, 1);
	MloValue *none = NULL, *s = always ? ml_forest_scores(n, f, x, "SUM") : ml_forest_votes(n, f, x, &none);
	MloValue *s0 = plus(n, ml_column(n, s, 0), base.n ? base.v[0] : 0);
	MloValue *s1 = plus(n, ml_column(n, s, 1), base.n == 2 ? base.v[1] : 0), *pair, *alone;
	Binary b;

	pair = ml_post(n, ml_cast(n, ml_pair(n, s0, s1), EL_f32), post);
	if (always) {
		b.label = ml_positive(n, s1, 0);
		b.scores = pair;
		return b;
	}
	none = ml_column(n, none, 1);
	b.label = ml_positive(n, onnx_op3(n, OP_where, none, s0, s1), 0);
	alone = ml_two_scores(n, ml_cast(n, s0, EL_f32), post, false);
	b.scores = base.n == 2 ? pair : onnx_op3(n, OP_where, none, alone, pair);
	return b;
}

/* More than two classes: the largest score among those that have any. */
static void classify_many(OnnxNode *n, const MlForest *f, MloValue *x, MlNumbers base, const MlLabels *l)
{
	double *b = MLO_NEWN(n->im->tmp, double, (size_t)l->n);
	Vote v = survey(f);
	bool sure = base.n == l->n || (base.n == 0 && v.positive && v.some);
	MloValue *s, *best, *none = NULL;
	MloNode *m;

	for (int64_t k = 0; k < base.n; k++)
		b[k] = base.v[k];
	for (int64_t k = base.n; k < l->n && !sure; k++)
		if (!ml_forest_always(n, f, k))
			break;
		else
			sure = k + 1 == l->n;
	s = sure ? ml_forest_scores(n, f, x, "SUM") : ml_forest_votes(n, f, x, &none);
	if (base.n)
		s = onnx_op2(n, OP_add, s,
			     ml_vector(n, s->type.elem == EL_f64 ? EL_f64 : EL_f32, (MlNumbers){b, l->n, 0}));
	best = s;
	if (!sure) {
		for (int64_t k = 0; k < l->n; k++)
			b[k] = k >= base.n; /* a base value is a vote */
		none = onnx_op2(n, OP_and, none, ml_vector(n, EL_bool, (MlNumbers){b, l->n, 0}));
		best = onnx_op3(n, OP_where, none, scalar_like(n, s, -__builtin_inf()), s);
	}
	m = onnx_node(n, OP_arg_max, &best, 1, 1);
	mlo_attr_set_i(m, ATTR_arg_max_axis, 1);
	mlo_attr_set_i(m, ATTR_arg_max_keepdims, 0);
	ml_label_result(n, l, onnx_infer(n, m));
	onnx_result(n, 1, ml_post(n, ml_cast(n, s, EL_f32), ml_post_attr(n)));
}

/* A single label: the class is 1 above 0, else 0, and only PROBIT changes the score. */
static void classify_one(OnnxNode *n, MloValue *s, MlNumbers base, MlPost post, const MlLabels *l)
{
	MloValue *index;

	s = plus(n, s, base.n ? base.v[0] : 0);
	index = ml_positive(n, s, 0);
	if (l->strings)
		index = onnx_op2(n, OP_mul, index, onnx_scalar(n, EL_i64, 0));
	ml_label_result(n, &(MlLabels){.strings = l->strings, .n = l->strings ? 1 : 0}, index);
	s = ml_cast(n, s, EL_f32);
	onnx_result(n, 1, post == ML_PROBIT ? ml_post(n, s, post) : s);
}

void import_tree_classifier(OnnxNode *n)
{
	MloValue *x = ml_rows(n, true);
	MlLabels l = ml_labels(n, "classlabels_int64s", "classlabels_strings");
	MlForest f = {.targets = l.n};
	MlNumbers base = ml_numbers(n, "base_values");
	MlPost post = ml_post_attr(n);
	Vote v;
	Binary b;

	if (n->failed || !read_forest(n, &f, "class"))
		return;
	if (base.n > l.n) {
		onnx_fail(n, MLO_ERR_MODEL, "%lld base values for %lld classes", (long long)base.n,
			  (long long)l.n);
		return;
	}
	if (l.n == 1) {
		classify_one(n, ml_forest_scores(n, &f, x, "SUM"), base, post, &l);
	} else if (l.n > 2) {
		classify_many(n, &f, x, base, &l);
	} else {
		v = survey(&f);
		b = v.used[0] != v.used[1] ? one_sided(n, ml_forest_scores(n, &f, x, "SUM"), &v, base, post)
					   : two_sided(n, &f, x, base, post);
		ml_label_result(n, &l, b.label);
		onnx_result(n, 1, b.scores);
	}
}

/* -- opset 5: branches and leaves in lists of their own ------------------------------------------- */

typedef struct Lists5 {
	MlInts feature, yes, no, yes_leaf, no_leaf, missing, root, target;
	MlNumbers mode, split, weight, member;
} Lists5;

static bool read_lists5(OnnxNode *n, Lists5 *l)
{
	int64_t count;

	l->feature = ml_ints(n, "nodes_featureids");
	l->yes = ml_ints(n, "nodes_truenodeids");
	l->no = ml_ints(n, "nodes_falsenodeids");
	l->yes_leaf = ml_ints(n, "nodes_trueleafs");
	l->no_leaf = ml_ints(n, "nodes_falseleafs");
	l->missing = ml_ints(n, "nodes_missing_value_tracks_true");
	l->root = ml_ints(n, "tree_roots");
	l->target = ml_ints(n, "leaf_targetids");
	l->mode = ml_tensor(n, "nodes_modes");
	l->split = ml_tensor(n, "nodes_splits");
	l->weight = ml_tensor(n, "leaf_weights");
	l->member = ml_tensor(n, "membership_values");
	onnx_ignore(n, "nodes_hitrates");
	count = l->feature.n;
	if (n->failed)
		return false;
	if (l->yes.n != count || l->no.n != count || l->yes_leaf.n != count || l->no_leaf.n != count ||
	    l->mode.n != count || l->split.n != count || (l->missing.n && l->missing.n != count))
		onnx_fail(n, MLO_ERR_MODEL,
			  "the attributes of nodes differ in length: 'nodes_featureids' has %lld",
			  (long long)count);
	else if (l->target.n != l->weight.n)
		onnx_fail(n, MLO_ERR_MODEL, "%lld leaf_targetids, but %lld leaf_weights",
			  (long long)l->target.n, (long long)l->weight.n);
	return !n->failed;
}

/* Branch or leaf `id` in the table in which leaves follow the branches. */
static int64_t place5(OnnxNode *n, const Lists5 *l, int64_t from, int64_t id, bool leaf)
{
	int64_t count = leaf ? l->weight.n : l->feature.n;

	if ((id < 0 || id >= count) && !n->failed)
		onnx_fail(n, MLO_ERR_MODEL, "node %lld leads to %s %lld of %lld", (long long)from,
			  leaf ? "leaf" : "node", (long long)id, (long long)count);
	return leaf ? l->feature.n + id : id;
}

/* Members of all MEMBER nodes in their order, each list ended by a NaN. */
static int64_t read_members(OnnxNode *n, const Lists5 *l, MlTreeNode *t, int64_t at)
{
	t->first = at;
	while (at < l->member.n && l->member.v[at] == l->member.v[at])
		at++;
	t->count = at - t->first;
	if (at >= l->member.n && !n->failed)
		onnx_fail(n, MLO_ERR_MODEL, "membership_values end before the set of node %lld does",
			  (long long)t->id);
	return at + 1;
}

static void read_branches5(OnnxNode *n, const Lists5 *l, MlForest *f)
{
	int64_t at = 0;

	for (int64_t i = 0; i < l->feature.n && !n->failed; i++) {
		MlTreeNode *t = &f->node[i];

		*t = (MlTreeNode){.mode = (int)l->mode.v[i],
				  .feature = l->feature.v[i],
				  .split = l->split.v[i],
				  .id = i,
				  .missing = l->missing.n && l->missing.v[i] != 0};
		if (l->mode.v[i] < 0 || l->mode.v[i] > TREE_MEMBER)
			onnx_fail(n, MLO_ERR_MODEL, "node %lld has mode %g, 0 to %d are known", (long long)i,
				  l->mode.v[i], TREE_MEMBER);
		t->yes = place5(n, l, i, l->yes.v[i], l->yes_leaf.v[i] != 0);
		t->no = place5(n, l, i, l->no.v[i], l->no_leaf.v[i] != 0);
		if (t->mode == TREE_MEMBER)
			at = read_members(n, l, t, at);
	}
}

/* A tree that is one leaf is written as a branch both of whose sides are that leaf. */
static void read_roots5(OnnxNode *n, const Lists5 *l, MlForest *f)
{
	f->nroots = l->root.n;
	f->root = MLO_NEWN(n->im->tmp, int64_t, (size_t)f->nroots + 1);
	for (int64_t r = 0; r < f->nroots && !n->failed; r++) {
		int64_t i = l->root.v[r];

		if (i < 0 || i >= l->feature.n) {
			onnx_fail(n, MLO_ERR_MODEL, "the root of tree %lld is node %lld of %lld",
				  (long long)r, (long long)i, (long long)l->feature.n);
			return;
		}
		f->root[r] =
			l->yes_leaf.v[i] && l->no_leaf.v[i] && l->yes.v[i] == l->no.v[i] ? f->node[i].yes : i;
	}
}

static bool read_forest5(OnnxNode *n, MlForest *f)
{
	Lists5 l;

	if (!read_lists5(n, &l))
		return false;
	f->nnodes = l.feature.n + l.weight.n;
	f->node = MLO_NEWN(n->im->tmp, MlTreeNode, (size_t)f->nnodes + 1);
	f->target = MLO_NEWN(n->im->tmp, int64_t, (size_t)l.weight.n + 1);
	f->weight = MLO_NEWN(n->im->tmp, double, (size_t)l.weight.n + 1);
	f->nweights = l.weight.n;
	for (int64_t k = 0; k < l.weight.n; k++) {
		f->node[l.feature.n + k] = (MlTreeNode){.mode = TREE_LEAF, .id = k, .first = k, .count = 1};
		f->target[k] = l.target.v[k];
		f->weight[k] = l.weight.v[k];
	}
	f->member = l.member.v;
	f->nmembers = l.member.n;
	f->wide = l.weight.wide;
	read_branches5(n, &l, f);
	if (!n->failed)
		read_roots5(n, &l, f);
	return !n->failed && ml_forest_check(n, f);
}

void import_tree_ensemble(OnnxNode *n)
{
	static const char *const how[] = {"AVERAGE", "SUM", "MIN", "MAX"};
	MloValue *x = ml_rows(n, true);
	MlForest f = {.targets = onnx_int(n, "n_targets", 1)};
	int64_t aggregate = onnx_int(n, "aggregate_function", 1), post = onnx_int(n, "post_transform", 0);
	static const MlPost order[] = {ML_NONE, ML_SOFTMAX, ML_LOGISTIC, ML_SOFTMAX_ZERO, ML_PROBIT};

	if (n->failed || !read_forest5(n, &f))
		return;
	if (aggregate < 0 || aggregate > 3 || post < 0 || post >= ML_POST_COUNT) {
		onnx_fail(n, MLO_ERR_MODEL, "aggregate_function %lld or post_transform %lld is not known",
			  (long long)aggregate, (long long)post);
		return;
	}
	regression_result(n, ml_forest_scores(n, &f, x, how[aggregate]), f.targets, order[post],
			  n->in[0]->type.elem == EL_f16 || n->in[0]->type.elem == EL_f64 ? n->in[0]->type.elem
											 : EL_f32);
}
