/* codegen/forest_tables.c -- from the operator's tables to those of a compiled forest.
 *
 * The two children of a node stand side by side, so that a walk needs one load per node, and nodes of several
 * levels share a cache line: three from the root on, then two at a time.  A walk then touches half as many
 * lines as it does in a tree laid out breadth first. */
#include <math.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "codegen/forest.h"
#include "ir/ref/ref_tree.h"

enum { MAX_NODES = 1 << 28, MAX_COLUMNS = 1 << 16, MAX_LEAF_COLUMNS = 1 << 10, BLOCK_LEVELS = 2 };
/* Rows of weights may take this much more memory than the weights in lists do. */
enum { DENSE_BYTES = 16 << 20, DENSE_FACTOR = 4 };

typedef struct Build {
	MloArena *tmp;
	ForestTables *t;
	const MloNode *n;
	const int32_t *node; /* the operator's, with TREE_COLUMNS */
	const int32_t *target;
	int64_t nnodes, nweights, nmembers;
	KForestOp op;
	bool dense, failed;
	int64_t add;
	struct { uint32_t *items; size_t n, cap; } high; /* column and delta of each node, before packing */
	struct { uint32_t *items; size_t n, cap; } column;
	int32_t *column_at; /* hash tables: number + 1, 0 where empty */
	int32_t *weight_at;
	size_t column_slots, weight_slots;
	struct { int64_t *items; size_t n, cap; } queue; /* the operator's nodes of the tree at hand */
	struct { struct Pair *items; size_t n, cap; } pair; /* children to be placed, in that order */
	int64_t placed; /* nodes of the tree at hand */
} Build;

/* The children of the node that stands at `parent`. */
typedef struct Pair {
	int64_t parent, left, right;
	int32_t depth;
} Pair;

float forest_neutral(KForestOp op)
{
	static const float neutral[] = {[KF_ADD] = 0, [KF_MARK] = -0.0f, [KF_MIN] = INFINITY, [KF_MAX] = -INFINITY};

	return neutral[op];
}

static uint32_t bits_of(float f)
{
	uint32_t u;

	memcpy(&u, &f, sizeof u);
	return u;
}

static float tensor_f32(const Build *b, int operand, int64_t i)
{
	return (float)mlo_tensor_f64(b->n->in[operand]->data, i);
}

/* -- columns ---------------------------------------------------------------------------------------- */

static bool same_column(const ForestTables *t, size_t c, const int32_t *row, const int32_t *set, int64_t n)
{
	const int32_t *old = t->column.items + c * FOREST_FIELDS;

	if (old[FOREST_FEATURE] != row[FOREST_FEATURE] || old[FOREST_NAN] != row[FOREST_NAN] ||
	    (old[FOREST_FIRST] < 0) != (n < 0))
		return false;
	return n < 0 || (old[FOREST_LAST] - old[FOREST_FIRST] == n &&
	                 (n == 0 || !memcmp(t->set.items + old[FOREST_FIRST], set, (size_t)n * sizeof *set)));
}

static void grow_columns(Build *b)
{
	size_t slots = b->column_slots ? 2 * b->column_slots : 256;

	b->column_at = MLO_NEWN(b->tmp, int32_t, slots);
	b->column_slots = slots;
	for (size_t c = (size_t)b->t->leaf_columns; c < b->column.n; c++) {
		size_t i = b->column.items[c] & (slots - 1);

		while (b->column_at[i])
			i = (i + 1) & (slots - 1);
		b->column_at[i] = (int32_t)c + 1;
	}
}

/* The column of a feature, or (n >= 0) of its membership in a set of keys. */
static int32_t column(Build *b, int32_t feature, int32_t nan, const int32_t *set, int64_t n)
{
	ForestTables *t = b->t;
	int32_t row[FOREST_FIELDS] = {feature, nan, -1, 0};
	uint32_t hash =
		(uint32_t)XXH3_64bits_withSeed(n > 0 ? set : row, n > 0 ? (size_t)n * 4 : 0,
					       (uint64_t)(uint32_t)feature << 33 | (nan < 0) << 1 | (n < 0));

	if (2 * b->column.n >= b->column_slots)
		grow_columns(b);
	for (size_t i = hash & (b->column_slots - 1);; i = (i + 1) & (b->column_slots - 1)) {
		int32_t c = b->column_at[i] - 1;

		if (c >= 0 && b->column.items[c] == hash && same_column(t, (size_t)c, row, set, n))
			return c;
		if (c < 0) {
			b->column_at[i] = (int32_t)b->column.n + 1;
			break;
		}
	}
	if (n >= 0) {
		row[FOREST_FIRST] = (int32_t)t->set.n;
		for (int64_t i = 0; i < n; i++)
			MLO_PUSH(b->tmp, &t->set, set[i]);
		row[FOREST_LAST] = (int32_t)t->set.n;
	}
	for (int i = 0; i < FOREST_FIELDS; i++)
		MLO_PUSH(b->tmp, &t->column, row[i]);
	MLO_PUSH(b->tmp, &b->column, hash);
	return (int32_t)b->column.n - 1;
}

/* -- branches --------------------------------------------------------------------------------------- */

/* A branch as the walk sees it. */
typedef struct Branch {
	int32_t column, key;
	bool yes_right;
} Branch;

static int32_t set_column(Build *b, const int32_t *n, int64_t i, int32_t nan)
{
	const int32_t *row = b->node + i * TREE_COLUMNS;
	bool member = row[TREE_MODE] == TREE_MEMBER;
	int64_t first = member ? row[TREE_FIRST] : i, count = member ? row[TREE_COUNT] : 1, used = 0;
	int32_t *set = MLO_NEWN(b->tmp, int32_t, (size_t)count + 1);

	for (int64_t k = first; k < first + count; k++) {
		float v = tensor_f32(b, member ? TREE_MEMBERS : TREE_SPLITS, k);

		if (!isnan(v))
			set[used++] = forest_key(bits_of(v));
	}
	return column(b, n[TREE_FEATURE], nan, set, used);
}

static Branch branch(Build *b, int64_t i)
{
	const int32_t *n = b->node + i * TREE_COLUMNS;
	bool missing = n[TREE_MISSING] != 0;
	int mode = n[TREE_MODE];
	float split = tensor_f32(b, TREE_SPLITS, i);
	Branch r = {0};

	if (mode == TREE_EQ || mode == TREE_MEMBER) {
		r.column = set_column(b, n, i, missing ? FOREST_LEFT : FOREST_RIGHT);
		return r;
	}
	if (mode == TREE_NEQ) { /* NaN differs from everything */
		r.column = set_column(b, n, i, FOREST_RIGHT);
		r.yes_right = true;
		return r;
	}
	if (isnan(split)) { /* never holds */
		r.column = column(b, n[TREE_FEATURE], missing ? FOREST_LEFT : FOREST_RIGHT, NULL, -1);
		r.key = FOREST_LEFT;
		return r;
	}
	r.yes_right = mode == TREE_GTE || mode == TREE_GT;
	r.column = column(b, n[TREE_FEATURE], missing != r.yes_right ? FOREST_LEFT : FOREST_RIGHT, NULL, -1);
	r.key = forest_key(bits_of(split)) - (mode == TREE_LT || mode == TREE_GTE);
	return r;
}

/* -- leaves ------------------------------------------------------------------------------------------- */

/* A row of weights equal to w, added when there is none; rows are compared by their bits. */
static int64_t weight_row(Build *b, const float *w)
{
	ForestTables *t = b->t;
	size_t bytes = (size_t)t->width * sizeof *w, rows = t->weight.n / (size_t)t->width;

	if (2 * rows >= b->weight_slots) {
		b->weight_slots = b->weight_slots ? 2 * b->weight_slots : 1024;
		b->weight_at = MLO_NEWN(b->tmp, int32_t, b->weight_slots);
		for (size_t r = 0; r < rows; r++) {
			size_t i = XXH3_64bits(t->weight.items + r * (size_t)t->width, bytes) &
				   (b->weight_slots - 1);

			while (b->weight_at[i])
				i = (i + 1) & (b->weight_slots - 1);
			b->weight_at[i] = (int32_t)r + 1;
		}
	}
	size_t i = XXH3_64bits(w, bytes) & (b->weight_slots - 1);
	for (; b->weight_at[i]; i = (i + 1) & (b->weight_slots - 1))
		if (!memcmp(t->weight.items + (size_t)(b->weight_at[i] - 1) * (size_t)t->width, w, bytes))
			return b->weight_at[i] - 1;
	b->weight_at[i] = (int32_t)rows + 1;
	for (int64_t k = 0; k < t->width; k++)
		MLO_PUSH(b->tmp, &t->weight, w[k]);
	return (int64_t)rows;
}

/* What the low half of a leaf's node holds, and its column; false when a target has two weights. */
static bool leaf_content(Build *b, const int32_t *n, float *row, uint32_t *low, uint32_t *col)
{
	float neutral = forest_neutral(b->op);

	if (!b->dense) {
		*low = bits_of(n[TREE_COUNT] ? tensor_f32(b, TREE_WEIGHTS, n[TREE_FIRST]) : neutral);
		*col = b->t->leaf_columns > 1 && n[TREE_COUNT] ? (uint32_t)b->target[n[TREE_FIRST]] : 0;
		return true;
	}
	for (int64_t k = 0; k < b->t->width; k++)
		row[k] = neutral;
	for (int64_t k = n[TREE_FIRST]; k < n[TREE_FIRST] + n[TREE_COUNT]; k++) {
		for (int64_t j = n[TREE_FIRST]; j < k; j++)
			if (b->target[j] == b->target[k])
				return false;
		row[b->target[k]] = tensor_f32(b, TREE_WEIGHTS, k);
	}
	*low = (uint32_t)weight_row(b, row);
	return true;
}

/* -- trees ---------------------------------------------------------------------------------------------- */

static bool node_ok(const Build *b, int64_t i)
{
	const int32_t *n = b->node + i * TREE_COLUMNS;
	int64_t first = n[TREE_FIRST], count = n[TREE_COUNT];
	bool leaf = n[TREE_MODE] == TREE_LEAF;

	if (n[TREE_MODE] < 0 || n[TREE_MODE] > TREE_LEAF)
		return false;
	if ((leaf || n[TREE_MODE] == TREE_MEMBER) &&
	    (first < 0 || count < 0 || count > (leaf ? b->nweights : b->nmembers) - first))
		return false;
	for (int64_t k = first; leaf && k < first + count; k++)
		if (b->target[k] < 0 || b->target[k] >= b->t->targets)
			return false;
	if (leaf)
		return true;
	return n[TREE_FEATURE] >= 0 && n[TREE_YES] >= 0 && n[TREE_YES] < b->nnodes && n[TREE_NO] >= 0 &&
	       n[TREE_NO] < b->nnodes;
}

static void pad(Build *b)
{
	while (b->t->node.n % FOREST_ALIGN) {
		MLO_PUSH(b->tmp, &b->t->node, 0);
		MLO_PUSH(b->tmp, &b->high, 0);
	}
}

/* The operator's node i at the next place; its children wait in `pair`. */
static void place_node(Build *b, int64_t i, int64_t tree, int32_t depth, float *row)
{
	ForestTables *t = b->t;
	const int32_t *n = b->node + i * TREE_COLUMNS;
	uint32_t low = 0, col = 0;
	Branch r;

	if (n[TREE_MODE] == TREE_LEAF) {
		b->failed |= !leaf_content(b, n, row, &low, &col);
	} else {
		r = branch(b, i);
		low = (uint32_t)r.key;
		col = (uint32_t)r.column;
		MLO_PUSH(b->tmp, &b->pair, ((Pair){(int64_t)t->node.n, r.yes_right ? n[TREE_NO] : n[TREE_YES],
		                                  r.yes_right ? n[TREE_YES] : n[TREE_NO], depth + 1}));
	}
	MLO_PUSH(b->tmp, &t->node, (int64_t)((uint64_t)col << 32 | low));
	MLO_PUSH(b->tmp, &b->high, 0);
	t->depth[tree] = depth > t->depth[tree] ? depth : t->depth[tree];
	/* a circle, or a graph that unfolds without end */
	b->failed |= ++b->placed > 2 * b->nnodes + 1 || b->column.n > MAX_COLUMNS || t->node.n >= MAX_NODES;
}

static void place_pair(Build *b, Pair p, int64_t tree, float *row)
{
	b->high.items[p.parent] = (uint32_t)((int64_t)b->t->node.n - p.parent);
	place_node(b, p.left, tree, p.depth, row);
	place_node(b, p.right, tree, p.depth, row);
}

/* The pair and what hangs from it for BLOCK_LEVELS levels, in one cache line. Those pairs are taken out of the
 * list's order: their depth becomes 0. */
static bool place_block(Build *b, Pair top, int64_t tree, float *row)
{
	size_t begin = b->pair.n, end;
	const int32_t *l = b->node + top.left * TREE_COLUMNS, *r = b->node + top.right * TREE_COLUMNS;
	size_t size = 2 + 2 * (size_t)((l[TREE_MODE] != TREE_LEAF) + (r[TREE_MODE] != TREE_LEAF));

	if (b->t->node.n % FOREST_ALIGN + size > FOREST_ALIGN)
		pad(b);
	place_pair(b, top, tree, row);
	for (int level = 1; level < BLOCK_LEVELS; level++)
		for (end = b->pair.n; begin < end && !b->failed; begin++) {
			place_pair(b, b->pair.items[begin], tree, row);
			b->pair.items[begin].depth = 0;
		}
	return !b->failed;
}

static bool place_tree(Build *b, int64_t tree, int64_t root, float *row)
{
	ForestTables *t = b->t;

	pad(b);
	t->root[tree] = (int32_t)t->node.n;
	t->depth[tree] = 0;
	b->placed = 0;
	b->pair.n = 0;
	place_node(b, root, tree, 0, row);
	if (b->pair.n) { /* one level more than other blocks */
		b->pair.n = 0;
		if (!place_block(b, b->pair.items[0], tree, row))
			return false;
	}
	for (size_t i = 0; i < b->pair.n && !b->failed; i++)
		if (b->pair.items[i].depth && !place_block(b, b->pair.items[i], tree, row))
			return false;
	return !b->failed;
}

/* Column and delta side by side in the high half. */
static bool pack(Build *b)
{
	ForestTables *t = b->t;
	uint32_t most = 1;

	for (size_t i = 0; i < b->high.n; i++)
		most = b->high.items[i] > most ? b->high.items[i] : most;
	t->delta_bits = 32 - __builtin_clz(most);
	t->columns = (int64_t)b->column.n;
	if (t->delta_bits > 30 || (uint64_t)t->columns << t->delta_bits > (uint64_t)1 << 31)
		return false;
	for (size_t i = 0; i < t->node.n; i++) {
		uint64_t v = (uint64_t)t->node.items[i];

		t->node.items[i] =
			(int64_t)((v >> 32 << t->delta_bits | b->high.items[i]) << 32 | (uint32_t)v);
	}
	return true;
}

/* The target of a tree all of whose leaves have at most one weight, for that target; -1 otherwise. */
static int32_t only_target(Build *b, int64_t root)
{
	int32_t only = 0;
	bool any = false;

	b->queue.n = 0;
	MLO_PUSH(b->tmp, &b->queue, root);
	for (size_t at = 0; at < b->queue.n; at++) {
		const int32_t *n = b->node + b->queue.items[at] * TREE_COLUMNS;

		if (n[TREE_MODE] != TREE_LEAF) {
			MLO_PUSH(b->tmp, &b->queue, n[TREE_YES]);
			MLO_PUSH(b->tmp, &b->queue, n[TREE_NO]);
			if ((int64_t)b->queue.n > 2 * b->nnodes + 1)
				return -1;
		} else if (n[TREE_COUNT] > 1 || (n[TREE_COUNT] && any && b->target[n[TREE_FIRST]] != only)) {
			return -1;
		} else if (n[TREE_COUNT]) {
			only = b->target[n[TREE_FIRST]];
			any = true;
		}
	}
	return only;
}

static bool start(Build *b, const int64_t *root)
{
	ForestTables *t = b->t;
	int64_t leaves = 0, width = (t->targets + b->add - 1) / b->add * b->add;
	bool lists = false, mixed = false;

	for (int64_t i = 0; i < b->nnodes; i++) {
		if (!node_ok(b, i))
			return false;
		leaves += b->node[i * TREE_COLUMNS] == TREE_LEAF;
		lists |= b->node[i * TREE_COLUMNS] == TREE_LEAF && b->node[i * TREE_COLUMNS + TREE_COUNT] > 1;
	}
	for (int64_t k = 0; k < t->trees; k++) {
		if (root[k] < 0 || root[k] >= b->nnodes)
			return false;
		t->target[k] = only_target(b, root[k]);
		mixed |= t->target[k] < 0;
	}
	b->dense = mixed && (lists || t->targets > MAX_LEAF_COLUMNS);
	t->leaf_columns = mixed && !b->dense ? t->targets : 1;
	if (!b->dense)
		return true;
	t->width = width;
	for (int64_t k = 0; k < t->trees; k++)
		t->target[k] = 0;
	return width * leaves * 4 <= DENSE_BYTES || width * leaves <= DENSE_FACTOR * b->nweights;
}

bool forest_tables(MloArena *a, const MloNode *n, KForestOp op, int64_t add, ForestTables *t)
{
	const MloTensor *nodes = n->in[TREE_NODES]->data, *roots = n->in[TREE_ROOTS]->data;
	const MloTensor *targets = n->in[TREE_TARGETS]->data;
	Build b = {.tmp = a,
		   .t = t,
		   .n = n,
		   .nnodes = nodes->dim[0],
		   .nweights = targets->dim[0],
		   .op = op,
		   .add = add};
	int64_t *root = MLO_NEWN(a, int64_t, (size_t)roots->dim[0] + 1);
	float *row;
	int32_t constant[FOREST_FIELDS] = {-1, FOREST_LEFT, -1, 0};

	*t = (ForestTables){.trees = roots->dim[0], .targets = mlo_attr_i(n, ATTR_tree_ensemble_targets)};
	b.node = mlo_dup(a, nodes->data, nodes->nbytes); /* the model's bytes may lie anywhere */
	b.target = mlo_dup(a, targets->data, targets->nbytes);
	b.nmembers = n->nin > TREE_MEMBERS && n->in[TREE_MEMBERS] ? n->in[TREE_MEMBERS]->data->dim[0] : 0;
	t->root = MLO_NEWN(a, int32_t, (size_t)t->trees + 1);
	t->depth = MLO_NEWN(a, int32_t, (size_t)t->trees + 1);
	t->target = MLO_NEWN(a, int32_t, (size_t)t->trees + 1);
	for (int64_t k = 0; k < t->trees; k++)
		root[k] = mlo_tensor_i64(roots, k);
	if (t->trees < 1 || !start(&b, root))
		return false;
	for (int64_t k = 0; k < t->leaf_columns; k++) {
		for (int i = 0; i < FOREST_FIELDS; i++)
			MLO_PUSH(a, &t->column, constant[i]);
		MLO_PUSH(a, &b.column, 0);
	}
	row = MLO_NEWN(a, float, (size_t)t->width + 1);
	if (b.dense) { /* row 0: of trees that are not there */
		for (int64_t k = 0; k < t->width; k++)
			row[k] = forest_neutral(op);
		weight_row(&b, row);
	}
	for (int64_t k = 0; k < t->trees; k++)
		if (!place_tree(&b, k, root[k], row))
			return false;
	return pack(&b);
}
