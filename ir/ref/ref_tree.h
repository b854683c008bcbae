/* ir/ref/ref_tree.h -- the node table of tree_ensemble: i32[M, TREE_COLUMNS], one row per node.
 *
 * A branch goes to node YES when its comparison holds, else to NO; a missing value (NaN) goes to YES when
 * MISSING is set, else where the comparison puts it.  A leaf holds weights [FIRST, FIRST + COUNT), a branch
 * of mode MEMBER compares with members [FIRST, FIRST + COUNT). */
#ifndef MLO_IR_REF_REF_TREE_H
#define MLO_IR_REF_REF_TREE_H

/* The comparison: x[FEATURE] against the node's split, in the order of ONNX's codes, then the leaf. */
enum { TREE_LEQ, TREE_LT, TREE_GTE, TREE_GT, TREE_EQ, TREE_NEQ, TREE_MEMBER, TREE_LEAF };

enum { TREE_MODE, TREE_MISSING, TREE_FEATURE, TREE_YES, TREE_NO, TREE_FIRST, TREE_COUNT, TREE_COLUMNS };

/* Operands of tree_ensemble. */
enum { TREE_X, TREE_ROOTS, TREE_NODES, TREE_SPLITS, TREE_TARGETS, TREE_WEIGHTS, TREE_MEMBERS };
#endif
