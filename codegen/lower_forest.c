/* codegen/lower_forest.c -- a tree ensemble becomes one KForest: its tables, and how rows are walked. */
#include <math.h>
#include <string.h>

#include "codegen/forest.h"
#include "codegen/lower.h"
#include "ir/ref/ref_tree.h"

enum { MAX_PARTS = 64, MOST_ROWS = 256, WAYS = 8 };

static KForestOp combine(const MloNode *n)
{
	const char *how = mlo_attr_s(n, ATTR_tree_ensemble_aggregate);

	if (!strcmp(how, "MARKED_SUM"))
		return KF_MARK;
	return !strcmp(how, "MIN") ? KF_MIN : !strcmp(how, "MAX") ? KF_MAX : KF_ADD;
}

static bool finite_weights(const MloTensor *w)
{
	for (int64_t i = 0; i < w->dim[0]; i++)
		if (!isfinite(mlo_tensor_f64(w, i)))
			return false;
	return true;
}

static bool can_lower(const MloNode *n)
{
	const MloType *x = &n->in[TREE_X]->type;

	if (n->op != OP_tree_ensemble || x->elem != EL_f32 || n->in[TREE_WEIGHTS]->type.elem != EL_f32 ||
	    n->in[TREE_X]->layout.block)
		return false;
	for (uint32_t i = TREE_ROOTS; i < n->nin; i++)
		if (n->in[i] && !n->in[i]->data)
			return false;
	if (x->rank != 2 || !mlo_dim_known(x->dim[1]) || x->dim[1].k < 1 ||
	    (mlo_dim_known(x->dim[0]) && x->dim[0].k < 1))
		return false;
	if (mlo_attr_i(n, ATTR_tree_ensemble_parts) > MAX_PARTS)
		return false;
	/* an infinite score would look like none */
	return combine(n) == KF_ADD || combine(n) == KF_MARK || finite_weights(n->in[TREE_WEIGHTS]->data);
}

/* -- the schedule ------------------------------------------------------------------------------------- */

static int64_t at_most(int64_t v, int64_t most)
{
	return v < most ? v : most;
}

static void schedule(const MloTarget *t, const ForestTables *tab, KForest *f)
{
	int64_t bytes = (int64_t)tab->node.n * 8 / tab->trees, per_part = (tab->trees + f->parts - 1) / f->parts;

	f->ways = WAYS;
	f->bunch = (int)at_most(WAYS, per_part);
	f->places = (per_part + f->bunch - 1) / f->bunch * f->bunch;
	/* keys of a chunk in the second-level cache, the trees of a block in the first beside some keys */
	f->chunk = at_most(MOST_ROWS, t->l2 / 2 / (4 * tab->columns)) / WAYS * WAYS;
	if (f->rows > 0)
		f->chunk = at_most(f->chunk, (f->rows + WAYS - 1) / WAYS * WAYS);
	f->chunk = f->chunk < WAYS ? WAYS : f->chunk;
	f->block = t->l1d / 2 / (bytes + 1);
	f->block = f->block < 1 ? 1 : f->block;
}

/* -- arguments ---------------------------------------------------------------------------------------- */

typedef struct Binds {
	MloBinding *items;
	size_t n, cap;
} Binds;

static int packed(MloKernel *k, Binds *b, MloElem e, const void *data, int64_t count)
{
	MloTensor *t = mlo_tensor_new(k->arena, e, 1, (int64_t[]){count ? count : 1});

	if (count)
		memcpy((void *)t->data, data, (size_t)count * mlo_elem_bits(e) / 8);
	MLO_PUSH(k->arena, b, ((MloBinding){.packed = t}));
	return mlo_kernel_arg(k, KA_IN, e, count ? count : 1);
}

static int scratch(MloKernel *k, Binds *b, MloElem e, int64_t count)
{
	MLO_PUSH(k->arena, b, (MloBinding){0});
	return mlo_kernel_arg(k, KA_SCRATCH, e, count);
}

static int value(MloKernel *k, Binds *b, MloValue *v, KArgDir dir)
{
	MLO_PUSH(k->arena, b, ((MloBinding){.value = v}));
	return mlo_kernel_arg_dim(k, dir, EL_f32, mlo_value_count(k->syms, v));
}

/* Trees that fill up a part: one leaf that changes nothing. */
static int64_t add_nothing(MloKernel *k, ForestTables *t, KForestOp op)
{
	float neutral = forest_neutral(op);
	uint32_t low = 0;

	if (!t->width)
		memcpy(&low, &neutral, sizeof low);
	MLO_PUSH(k->arena, &t->node, (int64_t)low);
	return (int64_t)t->node.n - 1;
}

static int tree_table(MloKernel *k, Binds *b, const KForest *f, ForestTables *t)
{
	int64_t all = f->parts * f->places, at = 0, nothing = add_nothing(k, t, (KForestOp)f->combine);
	int32_t *table = MLO_NEWN(k->arena, int32_t, (size_t)(3 * all + all / f->bunch));

	for (int64_t i = 0; i < all; i++)
		table[i] = (int32_t)nothing;
	for (int64_t p = 0; p < f->parts; p++) {
		int64_t count = f->trees / f->parts + (p < f->trees % f->parts);

		for (int64_t i = 0; i < count; i++, at++) {
			int64_t place = p * f->places + i;
			int32_t *deepest = &table[3 * all + place / f->bunch];

			table[place] = t->root[at];
			table[all + place] = t->depth[at];
			table[2 * all + place] = t->target[at];
			*deepest = t->depth[at] > *deepest ? t->depth[at] : *deepest;
		}
	}
	return packed(k, b, EL_i32, table, 3 * all + all / f->bunch);
}

static double estimate(const KForest *f, const ForestTables *t)
{
	double steps = 0;

	for (int64_t i = 0; i < f->trees; i++)
		steps += t->depth[i] + 1;
	return steps * 8 * (double)(f->rows > 0 ? f->rows : 1);
}

MloStatus mlo_lower_forest(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out)
{
	const MloTarget *target = cx->target;
	MloNode *n = first;
	ForestTables t;
	KForest f = {.weight_arg = -1, .add = target->vector_bytes / 4};
	MloKernel *k;
	Binds b = {0};
	int64_t slots;

	if (first != last || !can_lower(n) || mlo_target_pointer_bytes(target) < 8) /* nodes are words of 8 bytes */
		return MLO_ERR_UNSUPPORTED;
	f.targets = mlo_attr_i(n, ATTR_tree_ensemble_targets);
	while (f.add > 1 && f.add / 2 >= f.targets)
		f.add /= 2;
	f.combine = combine(n);
	if (!forest_tables(cx->arena, n, (KForestOp)f.combine, f.add, &t))
		return MLO_ERR_UNSUPPORTED;
	f.rows = mlo_dim_known(n->in[TREE_X]->type.dim[0]) ? n->in[TREE_X]->type.dim[0].k : -1;
	f.features = n->in[TREE_X]->type.dim[1].k;
	f.trees = t.trees;
	f.parts = at_most(mlo_attr_i(n, ATTR_tree_ensemble_parts), t.trees);
	f.columns = t.columns;
	f.leaf_columns = t.leaf_columns;
	f.width = t.width;
	f.delta_bits = t.delta_bits;
	f.divide = strcmp(mlo_attr_s(n, ATTR_tree_ensemble_aggregate), "AVERAGE") ? 1 : t.trees;
	schedule(target, &t, &f);
	if (f.features > INT32_MAX / f.chunk || f.columns > INT32_MAX / f.chunk ||
	    f.targets > INT32_MAX / f.chunk || t.node.n >= INT32_MAX)
		return MLO_ERR_UNSUPPORTED;
	k = mlo_kernel_new(cx->arena, "forest");
	k->syms = cx->graph->syms;
	f.rows = mlo_kernel_number(k, n->in[TREE_X]->type.dim[0]);
	f.x_arg = value(k, &b, n->in[TREE_X], KA_IN);
	f.y_arg = value(k, &b, n->out[0], KA_OUT);
	f.tree_arg = tree_table(k, &b, &f, &t);
	f.node_arg = packed(k, &b, EL_i64, t.node.items, (int64_t)t.node.n);
	f.column_arg = packed(k, &b, EL_i32, t.column.items, (int64_t)t.column.n);
	f.set_arg = packed(k, &b, EL_i32, t.set.items, (int64_t)t.set.n);
	if (f.width)
		f.weight_arg = packed(k, &b, EL_f32, t.weight.items, (int64_t)t.weight.n);
	slots = f.parts * (f.width ? f.width : f.targets);
	f.key_arg = scratch(k, &b, EL_i32, f.columns * f.chunk);
	f.acc_arg = scratch(k, &b, EL_f32, slots * f.chunk);
	KCursor at = kb_top(k);
	kb_forest(&at, &f);
	k->flops = estimate(&f, &t);
	kb_finish(k);
	if (k->sizes_arg >= 0)
		MLO_PUSH(cx->arena, &b, (MloBinding){0});
	*out = (MloLowered){.kernel = k, .bind = b.items};
	return MLO_OK;
}
