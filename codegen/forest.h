/* codegen/forest.h -- the tables of a compiled forest, and what lowering, emission and interpreter share.
 *
 * Features are compared as integers: a column holds one key per row, and a branch goes right when the key
 * of its column is greater than its split.  Keys of floats are their bits in an order that equals that of
 * the numbers (so denormals compare exactly in every floating-point mode), with one value for -0 and 0.
 * What NaN becomes is a property of the column: the least key always goes left, the greatest right.
 * Tests for equality with one of a set of values are columns of their own, whose key is the answer. */
#ifndef MLO_CODEGEN_FOREST_H
#define MLO_CODEGEN_FOREST_H
#include "codegen/kernel.h"

enum { FOREST_LEFT = INT32_MIN, FOREST_RIGHT = INT32_MAX };

/* Column table, i32[columns][4]. A set column compares with set[FIRST..LAST), plain ones have FIRST < 0.
 * The first columns, of which there are KForest.leaf_columns, are constant (LEFT) and have no feature: leaves,
 * which lead to themselves, test column 0, or that of the target that their weight is for. */
enum { FOREST_FEATURE, FOREST_NAN, FOREST_FIRST, FOREST_LAST, FOREST_FIELDS };

/* Node table, i64: low half the split or what a leaf holds (its weight's bits; dense: a row of weights),
 * high half column << delta_bits | delta, where this + delta is the left child and the next node the right
 * one.  FOREST_ALIGN nodes are a cache line. */
enum { FOREST_ALIGN = 8 };

/* Tree table, i32, P = parts * places: root[P], depth[P], target[P], greatest depth per bunch. The trees of
 * part p stand at places p * places on; the rest of a part are leaves that change nothing. */

/* The key of a float32 that is not NaN. */
static inline int32_t forest_key(uint32_t bits)
{
	if (bits == 0x80000000u)
		return 0;
	return (int32_t)(bits ^ (bits >> 31 ? 0x7fffffffu : 0));
}

typedef struct ForestTables {
	struct { int64_t *items; size_t n, cap; } node;
	struct { int32_t *items; size_t n, cap; } column, set;
	struct { float *items; size_t n, cap; } weight;
	int32_t *root, *depth, *target; /* per tree */
	int64_t trees, targets, columns, leaf_columns, width;
	int delta_bits;
} ForestTables;

/* The value that combining leaves alone: 0 or -0 of sums, infinities of MIN and MAX. */
float forest_neutral(KForestOp op);
static inline bool forest_sums(const KForest *f) { return f->combine == KF_ADD || f->combine == KF_MARK; }

/* Builds the tables of a tree_ensemble; false when the operator's tables have no such form (then the
 * library tier does it): wrong references, weights that repeat a target, more than the fields hold. */
bool forest_tables(MloArena *a, const MloNode *n, KForestOp op, int64_t add, ForestTables *t);

/* The arguments of a kernel and their numbers of elements; where an access outside of them was tried. */
typedef struct ForestMemory {
	unsigned char **mem;
	const int64_t *count;
	int bad_arg;
	int64_t bad_index;
} ForestMemory;
/* Runs tasks [begin, end); false at the first access outside of the arguments. */
bool forest_interp(const KForest *f, int64_t rows, int64_t begin, int64_t end, ForestMemory *m);
#endif
