/* codegen/emit_forest.c -- forests: a group of rows walks each tree together, a row alone walks several trees.
 *
 * Each step is the same for all walks: load the node, load the key of its column, go left or right; leaves
 * lead to themselves, so that all walks take as many steps as the tree is deep and nothing branches.
 * Several walks go side by side to hide the latency of the loads, in scalars: two loads and a handful of
 * integer operations per step keep a core busy that has several units for them, while a gather takes a
 * load for each of its elements too, and most machines are slow at it (measured on Zen 5: 1.4 to 1.7 times
 * the time).  Rows come in chunks whose keys stay in cache, and a chunk walks a block of trees before it
 * takes the next, as in Asadi, Lin and de Vries, "Runtime optimizations for tree-based machine learning
 * models" (2014). */
#include <string.h>

#include "codegen/emit_forest.h"

static LLVMValueRef add(EmitForest *f, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildAdd(f->e->b, a, b, "");
}

static LLVMValueRef addc(EmitForest *f, LLVMValueRef a, int64_t c)
{
	return add(f, a, emit_index(f->e, c));
}

static LLVMValueRef mulc(EmitForest *f, LLVMValueRef a, int64_t c)
{
	return LLVMBuildMul(f->e->b, a, emit_index(f->e, c), "");
}

static LLVMValueRef shift(EmitForest *f, LLVMValueRef a, int bits)
{
	return LLVMBuildLShr(f->e->b, a, emit_index(f->e, bits), "");
}

static LLVMValueRef smaller(EmitForest *f, LLVMValueRef a, LLVMValueRef b)
{
	return emit_select(f->e, LLVMBuildICmp(f->e->b, LLVMIntSLT, a, b, ""), a, b);
}

/* -- walks ---------------------------------------------------------------------------------------- */

static LLVMValueRef node_at(EmitForest *f, LLVMValueRef idx)
{
	return forest_load(f, f->i64, f->e->arg[f->f->node_arg], idx);
}

/* What the high half of a node says beside its delta. */
static LLVMValueRef column_of(EmitForest *f, LLVMValueRef node)
{
	return shift(f, node, 32 + f->f->delta_bits);
}

static LLVMValueRef split_of(EmitForest *f, LLVMValueRef node)
{
	return LLVMBuildTrunc(f->e->b, node, f->i32, "");
}

/* From `node`, which stands at idx; offset: of the walk's keys. */
static LLVMValueRef next_node(EmitForest *f, LLVMValueRef idx, LLVMValueRef node, int64_t offset)
{
	Emit *e = f->e;
	LLVMValueRef key = forest_load(f, f->i32, f->keys, addc(f, column_of(f, node), offset));
	LLVMValueRef right = LLVMBuildICmp(e->b, LLVMIntSGT, key, split_of(f, node), "");
	LLVMValueRef mask = emit_index(e, ((int64_t)1 << f->f->delta_bits) - 1);
	LLVMValueRef delta = LLVMBuildAnd(e->b, shift(f, node, 32), mask, "");

	return add(f, add(f, idx, delta), LLVMBuildZExt(e->b, right, f->i64, ""));
}

/* rows: walks are of rows (else of trees, which share the keys). */
static void steps(EmitForest *f, bool rows, LLVMValueRef from, LLVMValueRef depth)
{
	Emit *e = f->e;
	EmitLoop l;

	emit_for(e, &l, from, depth, emit_index(e, 1), "level");
	for (int w = 0; w < f->ways; w++) {
		LLVMValueRef idx = LLVMBuildLoad2(e->b, f->i64, f->idx[w], "");

		idx = next_node(f, idx, node_at(f, idx), rows ? w * f->f->columns : 0);
		LLVMBuildStore(e->b, idx, f->idx[w]);
	}
	emit_end(e, &l);
}

/* All rows of a group stand at the root: its node is loaded once. */
static void step_root(EmitForest *f, LLVMValueRef root)
{
	LLVMValueRef node = node_at(f, root);

	for (int w = 0; w < f->ways; w++)
		LLVMBuildStore(f->e->b, next_node(f, root, node, w * f->f->columns), f->idx[w]);
}

/* The leaf that a walk stands at. */
static LLVMValueRef leaf_of(EmitForest *f, int way)
{
	return node_at(f, LLVMBuildLoad2(f->e->b, f->i64, f->idx[way], ""));
}

static LLVMValueRef weight_of(EmitForest *f, LLVMValueRef leaf)
{
	return LLVMBuildBitCast(f->e->b, split_of(f, leaf), f->f32, "");
}

/* -- aggregates ----------------------------------------------------------------------------------- */

static LLVMValueRef combine(EmitForest *f, LLVMValueRef a, LLVMValueRef w)
{
	LLVMRealPredicate p = f->f->combine == KF_MIN ? LLVMRealOLT : LLVMRealOGT;

	if (forest_sums(f->f))
		return LLVMBuildFAdd(f->e->b, a, w, "");
	return emit_select(f->e, LLVMBuildFCmp(f->e->b, p, w, a, ""), w, a);
}

/* Combines v with the elements at p + n. */
static void combine_at(EmitForest *f, LLVMTypeRef type, LLVMValueRef p, LLVMValueRef n, LLVMValueRef v)
{
	forest_store(f, type, p, n, combine(f, forest_load(f, type, p, n), v));
}

/* Slots of a row's aggregate: targets per part, or rows of weights per part. */
static int64_t slots(const KForest *f)
{
	return f->parts * (f->width ? f->width : f->targets);
}

/* Adds the row of weights that a leaf names to the slots at p + n. */
static void add_row(EmitForest *f, LLVMValueRef p, LLVMValueRef n, LLVMValueRef leaf)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	LLVMTypeRef type = emit_vec(f->f32, k->add > 1 ? k->add : 0);
	LLVMValueRef from = mulc(f, LLVMBuildZExt(e->b, split_of(f, leaf), f->i64, ""), k->width), at;
	EmitLoop l;

	if (k->width == k->add) {
		combine_at(f, type, p, n, forest_load(f, type, e->arg[k->weight_arg], from));
		return;
	}
	at = emit_for(e, &l, emit_index(e, 0), emit_index(e, k->width), emit_index(e, k->add), "w");
	combine_at(f, type, p, add(f, n, at), forest_load(f, type, e->arg[k->weight_arg], add(f, from, at)));
	emit_end(e, &l);
}

static void clear(EmitForest *f, LLVMValueRef count)
{
	Emit *e = f->e;
	EmitLoop l;
	LLVMValueRef n = emit_for(e, &l, emit_index(e, 0), count, emit_index(e, 1), "clear");

	forest_store(f, f->f32, e->arg[f->f->acc_arg], n,
		     LLVMConstReal(f->f32, (double)forest_neutral((KForestOp)f->f->combine)));
	emit_end(e, &l);
}

/* The score of target c from its parts, which lie `stride` apart from p + n on. */
static LLVMValueRef score(EmitForest *f, LLVMValueRef n, int64_t stride)
{
	Emit *e = f->e;
	LLVMValueRef p = e->arg[f->f->acc_arg], v = forest_load(f, f->f32, p, n),
		     zero = LLVMConstNull(f->f32), none;

	for (int64_t k = 1; k < f->f->parts; k++)
		v = combine(f, v, forest_load(f, f->f32, p, add(f, n, emit_index(e, k * stride))));
	if (!forest_sums(f->f)) {
		none = LLVMConstReal(f->f32, (double)forest_neutral((KForestOp)f->f->combine));
		v = emit_select(e, LLVMBuildFCmp(e->b, LLVMRealOEQ, v, none, ""), zero, v);
	}
	if (f->f->divide > 1)
		v = LLVMBuildFDiv(e->b, v, LLVMConstReal(f->f32, (double)f->f->divide), "");
	return v;
}

/* y[row] = scores of row r of the chunk; scalar leaves of groups lie slot by slot. */
static void finish_row(EmitForest *f, LLVMValueRef row, LLVMValueRef r, bool grouped)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	int64_t group = k->ways, per = k->width ? k->width : k->targets;
	LLVMValueRef base = mulc(f, r, slots(k)), c, n;
	EmitLoop l;

	c = emit_for(e, &l, emit_index(e, 0), emit_index(e, k->targets), emit_index(e, 1), "target");
	if (grouped && !k->width) {
		LLVMValueRef g = LLVMBuildUDiv(e->b, r, emit_index(e, group), "");
		LLVMValueRef in = LLVMBuildURem(e->b, r, emit_index(e, group), "");

		n = add(f, add(f, mulc(f, g, slots(k) * group), mulc(f, c, group)), in);
		n = score(f, n, per * group);
	} else {
		n = score(f, add(f, base, c), per);
	}
	forest_store(f, f->f32, e->arg[k->y_arg], add(f, mulc(f, row, k->targets), c), n);
	emit_end(e, &l);
}

/* -- groups of rows ------------------------------------------------------------------------------- */

static LLVMValueRef table(EmitForest *f, int which, LLVMValueRef place)
{
	const KForest *k = f->f;

	return forest_index(f, k->tree_arg, addc(f, place, which * k->parts * k->places));
}

/* The slot, of a part's first one, that a leaf's weight is for. */
static LLVMValueRef target_of(EmitForest *f, LLVMValueRef leaf, LLVMValueRef of_tree)
{
	return f->f->leaf_columns > 1 ? column_of(f, leaf) : of_tree;
}

/* Group g of the chunk walks the tree at a place of part p. */
static void group_tree(EmitForest *f, LLVMValueRef g, LLVMValueRef p, LLVMValueRef place)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	int64_t per = k->width ? k->width : k->targets;
	LLVMValueRef acc = e->arg[k->acc_arg], target = table(f, 2, place), part = mulc(f, p, per), at;

	step_root(f, table(f, 0, place));
	steps(f, true, emit_index(e, 1), table(f, 1, place));
	for (int w = 0; w < k->ways; w++) {
		LLVMValueRef leaf = leaf_of(f, w);

		if (k->width) {
			at = mulc(f, addc(f, mulc(f, g, k->ways), w), slots(k));
			add_row(f, acc, add(f, at, part), leaf);
			continue;
		}
		at = add(f, add(f, mulc(f, g, slots(k)), part), target_of(f, leaf, target));
		combine_at(f, f->f32, acc, addc(f, mulc(f, at, k->ways), w), weight_of(f, leaf));
	}
}

/* Trees of a part. */
static LLVMValueRef part_trees(EmitForest *f, LLVMValueRef p)
{
	Emit *e = f->e;
	int64_t size = f->f->trees / f->f->parts, more = f->f->trees % f->f->parts;
	LLVMValueRef larger = LLVMBuildICmp(e->b, LLVMIntSLT, p, emit_index(e, more), "");

	return emit_select(e, larger, emit_index(e, size + 1), emit_index(e, size));
}

static LLVMValueRef group_keys(EmitForest *f, LLVMValueRef g)
{
	return forest_at(f, f->i32, f->e->arg[f->f->key_arg], mulc(f, g, f->f->columns * f->f->ways));
}

/* Groups [0, ngroups) of the chunk that begins at row `first`, of which `rows` are there. */
static void emit_groups(EmitForest *f, LLVMValueRef first, LLVMValueRef ngroups, LLVMValueRef rows)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	int64_t group = k->ways;
	LLVMValueRef zero = emit_index(e, 0), one = emit_index(e, 1), g, p, b, t, end, begin;
	EmitLoop lg, lp, lb, lt;

	f->ways = k->ways;
	clear(f, mulc(f, ngroups, group * slots(k)));
	g = emit_for(e, &lg, zero, ngroups, one, "group");
	f->keys = group_keys(f, g);
	begin = mulc(f, g, group);
	forest_fill(f, forest_at(f, f->i32, e->arg[k->x_arg], mulc(f, add(f, first, begin), k->features)),
	            add(f, LLVMBuildSub(e->b, rows, begin, ""), emit_index(e, -1)));
	emit_end(e, &lg);
	p = emit_for(e, &lp, zero, emit_index(e, k->parts), one, "part");
	b = emit_for(e, &lb, zero, part_trees(f, p), emit_index(e, k->block), "block");
	end = smaller(f, add(f, b, emit_index(e, k->block)), part_trees(f, p));
	g = emit_for(e, &lg, zero, ngroups, one, "group");
	f->keys = group_keys(f, g);
	t = emit_for(e, &lt, b, end, one, "tree");
	group_tree(f, g, p, add(f, mulc(f, p, k->places), t));
	emit_end(e, &lt);
	emit_end(e, &lg);
	emit_end(e, &lb);
	emit_end(e, &lp);
	g = emit_for(e, &lg, zero, smaller(f, mulc(f, ngroups, group), rows), one, "finish");
	finish_row(f, add(f, first, g), g, true);
	emit_end(e, &lg);
}

/* -- a row alone ---------------------------------------------------------------------------------- */

/* Adds the leaves of the trees at `place` and following, in their order; with one target the sum stays in a
 * register (the alloca `sum`), else it goes to the slots of part p. */
static void add_bunch(EmitForest *f, LLVMValueRef place, LLVMValueRef p, LLVMValueRef sum)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	LLVMValueRef acc = e->arg[k->acc_arg], part = mulc(f, p, k->width ? k->width : k->targets), leaf, v;

	for (int w = 0; w < f->ways; w++) {
		leaf = leaf_of(f, w);
		if (k->width) {
			add_row(f, acc, part, leaf);
		} else if (k->targets > 1) {
			v = target_of(f, leaf, k->leaf_columns > 1 ? NULL : table(f, 2, addc(f, place, w)));
			combine_at(f, f->f32, acc, add(f, part, v), weight_of(f, leaf));
		} else {
			v = combine(f, LLVMBuildLoad2(e->b, f->f32, sum, ""), weight_of(f, leaf));
			LLVMBuildStore(e->b, v, sum);
		}
	}
}

static void walk_bunch(EmitForest *f, LLVMValueRef place)
{
	Emit *e = f->e;
	LLVMValueRef number = LLVMBuildUDiv(e->b, place, emit_index(e, f->f->bunch), "");

	for (int w = 0; w < f->ways; w++)
		LLVMBuildStore(e->b, table(f, 0, addc(f, place, w)), f->idx[w]);
	steps(f, false, emit_index(e, 0), table(f, 3, number));
}

static void emit_row(EmitForest *f, LLVMValueRef row)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	LLVMValueRef zero = emit_index(e, 0), p, place, sum = emit_alloca(e, f->f32, "sum");
	EmitLoop lp, lb;

	f->ways = 1;
	f->keys = e->arg[k->key_arg];
	forest_fill(f, forest_at(f, f->i32, e->arg[k->x_arg], mulc(f, row, k->features)), zero);
	f->ways = k->bunch;
	clear(f, emit_index(e, slots(k)));
	p = emit_for(e, &lp, zero, emit_index(e, k->parts), emit_index(e, 1), "part");
	LLVMBuildStore(e->b, LLVMConstReal(f->f32, (double)forest_neutral((KForestOp)k->combine)), sum);
	place = mulc(f, p, k->places);
	place = emit_for(e, &lb, place, add(f, place, part_trees(f, p)), emit_index(e, k->bunch), "bunch");
	walk_bunch(f, place);
	add_bunch(f, place, p, sum);
	emit_end(e, &lb);
	if (k->targets == 1 && !k->width)
		forest_store(f, f->f32, e->arg[k->acc_arg], p, LLVMBuildLoad2(e->b, f->f32, sum, ""));
	emit_end(e, &lp);
	finish_row(f, row, zero, false);
}

/* -- tasks ---------------------------------------------------------------------------------------- */

/* Up to that many rows are faster one by one than as a group with idle walks. */
static int64_t few_rows(const KForest *f)
{
	return f->ways / 2;
}

/* Rows of a chunk: groups, the last one with idle walks, or what remains row by row. */
static void emit_chunk(EmitForest *f, LLVMValueRef first, LLVMValueRef rows, bool groups)
{
	Emit *e = f->e;
	int64_t group = f->f->ways, few = few_rows(f->f);
	LLVMValueRef ngroups = emit_index(e, 0), row;
	EmitLoop l;

	if (groups) {
		ngroups = LLVMBuildUDiv(e->b, add(f, rows, emit_index(e, group - 1 - few)), emit_index(e, group),
					"");
		emit_groups(f, first, ngroups, rows);
	}
	row = add(f, first, smaller(f, mulc(f, ngroups, group), rows));
	emit_row(f, emit_for(e, &l, row, add(f, first, rows), emit_index(e, 1), "row"));
	emit_end(e, &l);
}

/* LLVM would make gathers of the walks. */
static void keep_scalar(Emit *e)
{
	static const char name[] = "noimplicitfloat";
	unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));

	LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
	                        LLVMCreateEnumAttribute(e->ctx, kind, 0));
}

void emit_forest(Emit *e, const KStmt *s)
{
	const KForest *k = s->forest;
	EmitForest f = {.e = e,
			.f = k,
			.i32 = LLVMInt32TypeInContext(e->ctx),
			.i64 = LLVMInt64TypeInContext(e->ctx),
			.f32 = LLVMFloatTypeInContext(e->ctx)};
	LLVMValueRef rows = k->rows < 0 ? e->size[-1 - k->rows] : emit_index(e, k->rows), first, left;
	EmitLoop l;

	keep_scalar(e);
	for (int w = 0; w < FOREST_MAX_WAYS; w++)
		f.idx[w] = emit_alloca(e, f.i64, "node");
	first = mulc(&f, emit_for(e, &l, e->begin, e->end, emit_index(e, 1), "task"), k->chunk);
	left = LLVMBuildSub(e->b, rows, first, "");
	emit_chunk(&f, first, smaller(&f, left, emit_index(e, k->chunk)), k->rows < 0 || k->rows > few_rows(k));
	emit_end(e, &l);
}
