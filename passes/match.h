/* passes/match.h -- small helpers to match patterns of nodes and to rewrite them.
 *
 * Patterns are matched from the last node (the root) towards the operands.  A rewrite makes its new
 * nodes before the root, then calls mlo_rw_replace(): that moves the uses, keeps the user's names and
 * origins, and removes the root and whatever only the root kept alive.  Nothing after the root is
 * touched, so a walk over the node list may save root->next before it rewrites. */
#ifndef MLO_PASSES_MATCH_H
#define MLO_PASSES_MATCH_H
#include "passes/pass.h"

/* The defining node of v if it is of that operator, else NULL. */
static inline MloNode *mlo_def_op(const MloValue *v, MloOp op)
{
	return v && v->def && v->def->op == op ? v->def : NULL;
}

/* The same, and v has no other use than the operand slot it was found in. */
static inline MloNode *mlo_def_only(const MloValue *v, MloOp op)
{
	return v && v->nuse == 1 ? mlo_def_op(v, op) : NULL;
}

static inline bool mlo_near(double a, double b, double rel)
{
	double diff = a > b ? a - b : b - a, size = b < 0 ? -b : b;

	return diff <= rel * size;
}

/* Constants.  A scalar is any numeric constant of one element. */
bool mlo_const_scalar(const MloValue *v, double *out);
bool mlo_const_is(const MloValue *v, double k);             /* a scalar equal to k */
bool mlo_const_near(const MloValue *v, double k);           /* within 1e-5 of k, relatively */
int mlo_const_ints(const MloValue *v, int64_t *out, int max); /* how many; -1 when not such a constant */
bool mlo_const_all(const MloValue *v, double k);            /* every element equals k */
/* Which operand of a binary node is constant while the other is not: 0 or 1; -1: neither. */
int mlo_const_side(const MloNode *n);
/* Reduction axes, made non-negative and sorted; -1 when unknown. `t` is the operand's type. */
int mlo_reduce_axes(const MloNode *n, int64_t *axes);

/* A constant's data under another shape of as many elements; nothing is copied. */
MloValue *mlo_rw_view(MloGraph *g, const MloValue *c, int rank, const int64_t *dims);
MloValue *mlo_rw_scalar(MloGraph *g, MloElem e, double v); /* rank 0 */
/* A new constant op(c) of the same type, element by element; `c` must be float. */
MloValue *mlo_rw_map(MloGraph *g, const MloValue *c, double (*f)(double x, double k), double k);

/* A new node with one result, origins copied from `like`.  Set attributes, then mlo_rw_done(). */
MloNode *mlo_rw_node(MloGraph *g, MloNode *before, MloOp op, const MloNode *like,
                     MloValue *const *in, uint32_t nin);
MloValue *mlo_rw_done(MloGraph *g, MloNode *n, MloPassCx *cx); /* infers; the result */
void mlo_rw_copy_attrs(MloNode *to, const MloNode *from); /* of the same operator */
/* Both steps for an operator whose attributes keep their defaults. */
MloValue *mlo_rw_op(MloGraph *g, MloNode *before, MloOp op, const MloNode *like,
                    MloPassCx *cx, MloValue *a, MloValue *b);
/* x in the shape `to`; x itself if it has it; NULL when no constant shape operand can say it. */
MloValue *mlo_rw_reshape(MloGraph *g, MloNode *before, const MloNode *like, MloValue *x,
                         const MloType *to, MloPassCx *cx);
/* The shape operand for a reshape from one type to another: false when it cannot be constant. */
bool mlo_reshape_spec(const MloType *from, const MloType *to, int64_t *spec, bool *allowzero);

/* Uses of n's first result become uses of `with`; n goes, with the producers only it kept alive.
 * False, and nothing done, if a graph output would lose its defining node. */
bool mlo_rw_replace(MloGraph *g, MloNode *n, MloValue *with);
void mlo_rw_sweep(MloGraph *g, MloNode *n); /* removes n if unused, then its unused producers */

/* Whether bnfold will fold batch normalisation `n` into the contraction before it. */
bool mlo_bn_folds(const MloNode *n);
#endif
