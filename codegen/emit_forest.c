/* codegen/emit_forest.c -- forests: groups of rows walk each tree together, a row alone walks many trees.
 *
 * A lane of a walk is a row (of a group) or a tree (for a row alone).  Each step is the same for all lanes:
 * load the node, load the key of its column, go left or right; leaves lead to themselves, so that all lanes
 * take as many steps as the tree is deep and nothing branches.  Several vectors (or, without gathers,
 * several scalars) go side by side to hide the latency of the loads.  Rows come in chunks whose keys stay
 * in cache, and a chunk walks a block of trees before it takes the next, as in Asadi, Lin and de Vries,
 * "Runtime optimizations for tree-based machine learning models" (2014). */
#include "codegen/emit_forest.h"

static LLVMValueRef add(EmitForest *f, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildAdd(f->e->b, a, b, "");
}

static LLVMValueRef mulc(EmitForest *f, LLVMValueRef a, int64_t c)
{
	return LLVMBuildMul(f->e->b, a, emit_i64(f->e, c), "");
}

static LLVMValueRef smaller(EmitForest *f, LLVMValueRef a, LLVMValueRef b)
{
	return emit_select(f->e, LLVMBuildICmp(f->e->b, LLVMIntSLT, a, b, ""), a, b);
}

/* -- walks ---------------------------------------------------------------------------------------- */

/* Both halves of the nodes at idx. */
static void fetch(EmitForest *f, LLVMValueRef idx, LLVMValueRef *low, LLVMValueRef *high)
{
	Emit *e = f->e;
	LLVMValueRef nodes = e->arg[f->f->node_arg], half[2], n;
	int lanes = f->lanes;

	if (!lanes) {
		n = forest_gather(f, f->i64, f->i64, nodes, idx);
		*low = LLVMBuildTrunc(e->b, n, f->i32, "");
		*high = LLVMBuildTrunc(e->b, LLVMBuildLShr(e->b, n, emit_i64(e, 32), ""), f->i32, "");
		return;
	}
	for (int h = 0; h < 2; h++) {
		LLVMValueRef part =
			LLVMBuildAdd(e->b, emit_iota(e, f->i32, lanes / 2, 1),
				     emit_const_i(emit_vec(f->i32, lanes / 2), (int64_t)h * lanes / 2), "");

		part = LLVMBuildShuffleVector(e->b, idx, LLVMGetPoison(LLVMTypeOf(idx)), part, "");
		half[h] = LLVMBuildBitCast(e->b, forest_gather(f, f->i64, f->i64, nodes, part),
					   emit_vec(f->i32, lanes), "");
	}
	n = emit_iota(e, f->i32, lanes, 2);
	*low = LLVMBuildShuffleVector(e->b, half[0], half[1], n, "");
	n = LLVMBuildAdd(e->b, n, forest_const(f, 1), "");
	*high = LLVMBuildShuffleVector(e->b, half[0], half[1], n, "");
}

static LLVMValueRef next_node(EmitForest *f, LLVMValueRef idx, LLVMValueRef high, LLVMValueRef right)
{
	LLVMValueRef delta =
		LLVMBuildAnd(f->e->b, high, forest_const(f, ((int64_t)1 << f->f->delta_bits) - 1), "");

	right = LLVMBuildZExt(f->e->b, right, LLVMTypeOf(idx), "");
	return add(f, add(f, idx, delta), right);
}

/* One step of each lane; rows: the lanes are rows (else trees, which share the keys). */
static void step(EmitForest *f, bool rows)
{
	Emit *e = f->e;
	LLVMTypeRef type = emit_vec(f->i32, f->lanes);

	for (int w = 0; w < f->ways; w++) {
		LLVMValueRef idx = LLVMBuildLoad2(e->b, type, f->idx[w], ""), low, high, at, right;

		fetch(f, idx, &low, &high);
		at = LLVMBuildLShr(e->b, high, forest_const(f, f->f->delta_bits), "");
		if (rows)
			at = add(f, LLVMBuildShl(e->b, at, forest_const(f, f->shift), ""), forest_iota(f, w));
		right = LLVMBuildICmp(e->b, LLVMIntSGT, forest_gather(f, f->i32, f->i32, f->keys, at), low,
				      "");
		LLVMBuildStore(e->b, next_node(f, idx, high, right), f->idx[w]);
	}
}

static void steps(EmitForest *f, bool rows, LLVMValueRef from, LLVMValueRef depth)
{
	EmitLoop l;

	emit_for(f->e, &l, from, depth, emit_i64(f->e, 1), "level");
	step(f, rows);
	emit_end(f->e, &l);
}

/* All rows of a group stand at the root: its node is loaded once, its keys side by side. */
static void step_root(EmitForest *f, LLVMValueRef root)
{
	Emit *e = f->e;
	LLVMTypeRef type = emit_vec(f->i32, f->lanes);
	LLVMValueRef node =
		forest_load(f, f->i64, e->arg[f->f->node_arg], LLVMBuildSExt(e->b, root, f->i64, ""));
	LLVMValueRef low = LLVMBuildTrunc(e->b, node, f->i32, ""), right, at;
	LLVMValueRef high = LLVMBuildTrunc(e->b, LLVMBuildLShr(e->b, node, emit_i64(e, 32), ""), f->i32, "");

	at = LLVMBuildLShr(e->b, high, LLVMConstInt(f->i32, (unsigned long long)f->f->delta_bits, 0), "");
	at = LLVMBuildShl(e->b, LLVMBuildZExt(e->b, at, f->i64, ""), emit_i64(e, f->shift), "");
	low = emit_splat(e, low, f->lanes);
	high = emit_splat(e, high, f->lanes);
	root = emit_splat(e, root, f->lanes);
	for (int w = 0; w < f->ways; w++) {
		LLVMValueRef n = add(f, at, emit_i64(e, (int64_t)w * (f->lanes ? f->lanes : 1)));

		right = LLVMBuildICmp(e->b, LLVMIntSGT, forest_load(f, type, f->keys, n), low, "");
		LLVMBuildStore(e->b, next_node(f, root, high, right), f->idx[w]);
	}
}

/* What the leaves hold that a vector of lanes stands at. */
static LLVMValueRef leaves(EmitForest *f, int way, LLVMTypeRef type)
{
	Emit *e = f->e;
	LLVMValueRef idx = LLVMBuildLoad2(e->b, emit_vec(f->i32, f->lanes), f->idx[way], "");

	return forest_gather(f, type, f->i64, e->arg[f->f->node_arg], idx);
}

/* -- aggregates ----------------------------------------------------------------------------------- */

static LLVMValueRef combine(EmitForest *f, LLVMValueRef a, LLVMValueRef w)
{
	LLVMRealPredicate p = f->f->combine == KF_MIN ? LLVMRealOLT : LLVMRealOGT;

	if (f->f->combine == KF_ADD)
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

/* Adds row `number` (i32) of the weights to the slots at p + n. */
static void add_row(EmitForest *f, LLVMValueRef p, LLVMValueRef n, LLVMValueRef number)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	LLVMTypeRef type = emit_vec(f->f32, k->add > 1 ? k->add : 0);
	LLVMValueRef from = mulc(f, LLVMBuildZExt(e->b, number, f->i64, ""), k->width), at;
	EmitLoop l;

	if (k->width == k->add) {
		combine_at(f, type, p, n, forest_load(f, type, e->arg[k->weight_arg], from));
		return;
	}
	at = emit_for(e, &l, emit_i64(e, 0), emit_i64(e, k->width), emit_i64(e, k->add), "w");
	combine_at(f, type, p, add(f, n, at), forest_load(f, type, e->arg[k->weight_arg], add(f, from, at)));
	emit_end(e, &l);
}

static void clear(EmitForest *f, LLVMValueRef count)
{
	Emit *e = f->e;
	EmitLoop l;
	LLVMValueRef n = emit_for(e, &l, emit_i64(e, 0), count, emit_i64(e, 1), "clear");

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
		v = combine(f, v, forest_load(f, f->f32, p, add(f, n, emit_i64(e, k * stride))));
	if (f->f->combine != KF_ADD) {
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
	int64_t group = forest_group(k), per = k->width ? k->width : k->targets;
	LLVMValueRef base = mulc(f, r, slots(k)), c, n;
	EmitLoop l;

	c = emit_for(e, &l, emit_i64(e, 0), emit_i64(e, k->targets), emit_i64(e, 1), "target");
	if (grouped && !k->width) {
		LLVMValueRef g = LLVMBuildUDiv(e->b, r, emit_i64(e, group), "");
		LLVMValueRef in = LLVMBuildURem(e->b, r, emit_i64(e, group), "");

		n = add(f, add(f, mulc(f, g, slots(k) * group), mulc(f, c, group)), in);
		n = score(f, n, per * group);
	} else {
		n = score(f, add(f, base, c), per);
	}
	forest_store(f, f->f32, e->arg[k->y_arg], add(f, mulc(f, row, k->targets), c), n);
	emit_end(e, &l);
}

/* -- groups of rows ------------------------------------------------------------------------------- */

static void by_rows(EmitForest *f)
{
	f->lanes = f->f->lanes > 1 ? f->f->lanes : 0;
	f->ways = f->f->ways;
	f->shift = __builtin_ctzll((unsigned long long)forest_group(f->f));
}

static LLVMValueRef table(EmitForest *f, int which, LLVMValueRef place)
{
	const KForest *k = f->f;

	return forest_load(f, f->i32, f->e->arg[k->tree_arg],
			   add(f, place, emit_i64(f->e, which * k->parts * k->places)));
}

/* Group g of the chunk walks the tree at a place of part p. */
static void group_tree(EmitForest *f, LLVMValueRef g, LLVMValueRef p, LLVMValueRef place)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	int64_t group = forest_group(k), per = k->width ? k->width : k->targets;
	LLVMTypeRef i32s = emit_vec(f->i32, f->lanes), f32s = emit_vec(f->f32, f->lanes);
	LLVMValueRef acc = e->arg[k->acc_arg], leaf = e->arg[k->leaf_arg], slot, r;
	LLVMValueRef depth = LLVMBuildSExt(e->b, table(f, 1, place), f->i64, "");
	EmitLoop l;

	step_root(f, table(f, 0, place));
	steps(f, true, emit_i64(e, 1), depth);
	slot = add(f, mulc(f, p, per), LLVMBuildSExt(e->b, table(f, 2, place), f->i64, ""));
	for (int w = 0; w < f->ways; w++) {
		LLVMValueRef lane = emit_i64(e, (int64_t)w * (f->lanes ? f->lanes : 1));

		if (k->width) {
			forest_store(f, i32s, leaf, lane, leaves(f, w, f->i32));
			continue;
		}
		r = add(f, mulc(f, add(f, mulc(f, g, slots(k)), slot), group), lane);
		combine_at(f, f32s, acc, r, leaves(f, w, f->f32));
	}
	if (!k->width)
		return;
	r = emit_for(e, &l, emit_i64(e, 0), emit_i64(e, group), emit_i64(e, 1), "row");
	add_row(f, acc, add(f, mulc(f, add(f, mulc(f, g, group), r), slots(k)), slot),
		forest_load(f, f->i32, leaf, r));
	emit_end(e, &l);
}

/* Trees of a part. */
static LLVMValueRef part_trees(EmitForest *f, LLVMValueRef p)
{
	Emit *e = f->e;
	int64_t size = f->f->trees / f->f->parts, more = f->f->trees % f->f->parts;
	LLVMValueRef larger = LLVMBuildICmp(e->b, LLVMIntSLT, p, emit_i64(e, more), "");

	return emit_select(e, larger, emit_i64(e, size + 1), emit_i64(e, size));
}

static LLVMValueRef group_keys(EmitForest *f, LLVMValueRef g)
{
	return forest_at(f, f->i32, f->e->arg[f->f->key_arg], mulc(f, g, f->f->columns * forest_group(f->f)));
}

/* Groups [0, ngroups) of the chunk that begins at row `first`, of which `rows` are there. */
static void emit_groups(EmitForest *f, LLVMValueRef first, LLVMValueRef ngroups, LLVMValueRef rows)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	int64_t group = forest_group(k);
	LLVMValueRef zero = emit_i64(e, 0), one = emit_i64(e, 1), g, p, b, t, end, begin;
	EmitLoop lg, lp, lb, lt;

	by_rows(f);
	clear(f, mulc(f, ngroups, group * slots(k)));
	g = emit_for(e, &lg, zero, ngroups, one, "group");
	f->keys = group_keys(f, g);
	begin = mulc(f, g, group);
	forest_fill(f, forest_at(f, f->i32, e->arg[k->x_arg], mulc(f, add(f, first, begin), k->features)),
	            add(f, LLVMBuildSub(e->b, rows, begin, ""), emit_i64(e, -1)));
	emit_end(e, &lg);
	p = emit_for(e, &lp, zero, emit_i64(e, k->parts), one, "part");
	b = emit_for(e, &lb, zero, part_trees(f, p), emit_i64(e, k->block), "block");
	end = smaller(f, add(f, b, emit_i64(e, k->block)), part_trees(f, p));
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

/* Adds the leaves of a bunch of trees to the row's slots, in the order of the trees. */
static void add_bunch(EmitForest *f, LLVMValueRef place, LLVMValueRef p)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	int64_t per = k->width ? k->width : k->targets;
	LLVMTypeRef i32s = emit_vec(f->i32, f->lanes);
	LLVMValueRef leaf = e->arg[k->leaf_arg], acc = e->arg[k->acc_arg], t, slot, v;
	EmitLoop l;

	for (int w = 0; w < f->ways; w++)
		forest_store(f, i32s, leaf, emit_i64(e, (int64_t)w * (f->lanes ? f->lanes : 1)),
			     leaves(f, w, f->i32));
	t = emit_for(e, &l, emit_i64(e, 0), emit_i64(e, k->bunch), emit_i64(e, 1), "tree");
	slot = add(f, mulc(f, p, per), LLVMBuildSExt(e->b, table(f, 2, add(f, place, t)), f->i64, ""));
	v = forest_load(f, k->width ? f->i32 : f->f32, leaf, t);
	if (k->width)
		add_row(f, acc, slot, v);
	else
		combine_at(f, f->f32, acc, slot, v);
	emit_end(e, &l);
}

/* With one target the sum stays in a register (the alloca `sum`). */
static void sum_bunch(EmitForest *f, LLVMValueRef sum)
{
	Emit *e = f->e;
	LLVMValueRef v = LLVMBuildLoad2(e->b, f->f32, sum, "");

	for (int w = 0; w < f->ways; w++) {
		LLVMValueRef leaf = leaves(f, w, f->f32);

		for (int i = 0; i < f->lanes; i++)
			v = combine(f, v, LLVMBuildExtractElement(e->b, leaf, emit_i64(e, i), ""));
		if (!f->lanes)
			v = combine(f, v, leaf);
	}
	LLVMBuildStore(e->b, v, sum);
}

static void walk_bunch(EmitForest *f, LLVMValueRef place)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	LLVMTypeRef type = emit_vec(f->i32, f->lanes);
	LLVMValueRef number = LLVMBuildUDiv(e->b, place, emit_i64(e, k->bunch), ""), depth;

	for (int w = 0; w < f->ways; w++) {
		LLVMValueRef at = add(f, place, emit_i64(e, (int64_t)w * (f->lanes ? f->lanes : 1)));

		LLVMBuildStore(e->b, forest_load(f, type, e->arg[k->tree_arg], at), f->idx[w]);
	}
	depth = table(f, 3, number);
	steps(f, false, emit_i64(e, 0), LLVMBuildSExt(e->b, depth, f->i64, ""));
}

/* The keys of one row, with scalars. */
static void row_keys(EmitForest *f, LLVMValueRef row)
{
	Emit *e = f->e;
	LLVMValueRef x = forest_at(f, f->i32, e->arg[f->f->x_arg], mulc(f, row, f->f->features));

	f->lanes = 0;
	f->ways = 1;
	f->shift = 0;
	f->keys = e->arg[f->f->key_arg];
	forest_fill(f, x, emit_i64(e, 0));
	f->lanes = f->f->lanes > 1 ? f->f->lanes : 0;
	f->ways = f->f->bunch / f->f->lanes;
}

static void emit_row(EmitForest *f, LLVMValueRef row)
{
	Emit *e = f->e;
	const KForest *k = f->f;
	bool alone = k->targets == 1 && !k->width;
	LLVMValueRef zero = emit_i64(e, 0), p, place, sum = emit_alloca(e, f->f32, "sum");
	EmitLoop lp, lb;

	row_keys(f, row);
	clear(f, emit_i64(e, slots(k)));
	p = emit_for(e, &lp, zero, emit_i64(e, k->parts), emit_i64(e, 1), "part");
	LLVMBuildStore(e->b, LLVMConstReal(f->f32, (double)forest_neutral((KForestOp)k->combine)), sum);
	place = mulc(f, p, k->places);
	place = emit_for(e, &lb, place, add(f, place, part_trees(f, p)), emit_i64(e, k->bunch), "bunch");
	walk_bunch(f, place);
	if (alone)
		sum_bunch(f, sum);
	else
		add_bunch(f, place, p);
	emit_end(e, &lb);
	if (alone)
		forest_store(f, f->f32, e->arg[k->acc_arg], p, LLVMBuildLoad2(e->b, f->f32, sum, ""));
	emit_end(e, &lp);
	finish_row(f, row, zero, false);
}

/* -- tasks ---------------------------------------------------------------------------------------- */

/* Up to that many rows are faster one by one than as a group with idle lanes. */
static int64_t few_rows(const KForest *f)
{
	return forest_group(f) / 4;
}

/* Rows of a chunk: groups, the last one with idle lanes, or what remains row by row. */
static void emit_chunk(EmitForest *f, LLVMValueRef first, LLVMValueRef rows, bool groups)
{
	Emit *e = f->e;
	int64_t group = forest_group(f->f), few = few_rows(f->f);
	LLVMValueRef ngroups = emit_i64(e, 0), row;
	EmitLoop l;

	if (groups) {
		ngroups = LLVMBuildUDiv(e->b, add(f, rows, emit_i64(e, group - 1 - few)), emit_i64(e, group),
					"");
		emit_groups(f, first, ngroups, rows);
	}
	row = add(f, first, smaller(f, mulc(f, ngroups, group), rows));
	emit_row(f, emit_for(e, &l, row, add(f, first, rows), emit_i64(e, 1), "row"));
	emit_end(e, &l);
}

void emit_forest(Emit *e, const KStmt *s)
{
	const KForest *k = s->forest;
	EmitForest f = {.e = e,
			.f = k,
			.i32 = LLVMInt32TypeInContext(e->ctx),
			.i64 = LLVMInt64TypeInContext(e->ctx),
			.f32 = LLVMFloatTypeInContext(e->ctx)};
	LLVMTypeRef type = emit_vec(f.i32, k->lanes > 1 ? k->lanes : 0);
	LLVMValueRef rows = k->rows < 0 ? e->size[-1 - k->rows] : emit_i64(e, k->rows), first, left;
	EmitLoop l;

	for (int w = 0; w < FOREST_MAX_WAYS; w++)
		f.idx[w] = emit_alloca(e, type, "node");
	first = mulc(&f, emit_for(e, &l, e->begin, e->end, emit_i64(e, 1), "task"), k->chunk);
	left = LLVMBuildSub(e->b, rows, first, "");
	emit_chunk(&f, first, smaller(&f, left, emit_i64(e, k->chunk)), k->rows < 0 || k->rows > few_rows(k));
	emit_end(e, &l);
}
