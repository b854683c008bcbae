/* passes/canon.c -- one spelling for equal things, so that later passes match one form only.
 * Requires: types.  Keeps: types, order.  Breaks: nothing.  Idempotent (runs to a fixed point).
 *
 * The rules are rows of canon.def. */
#include "passes/canon.h"

static const struct Rule {
	MloOp op;
	CanonRule *apply;
} rules[] = {
#define RULE(op, function, summary) {OP_##op, function},
#include "passes/canon.def"
};
enum { NRULE = sizeof rules / sizeof *rules, MAX_ROUNDS = 50 };

/* Rules by operator: the rows of `op` are order[first[op]] up to order[first[op + 1]]. */
typedef struct Index {
	uint16_t first[OP_COUNT + 1], order[NRULE];
} Index;

static Index *index_rules(MloArena *a)
{
	Index *ix = MLO_NEW(a, Index);
	uint16_t count = 0;

	for (int op = 0; op < OP_COUNT; op++) {
		ix->first[op] = count;
		for (uint16_t i = 0; i < NRULE; i++)
			if (rules[i].op == (MloOp)op)
				ix->order[count++] = i;
	}
	ix->first[OP_COUNT] = count;
	return ix;
}

static bool apply_first(const Index *ix, MloGraph *g, MloNode *n, MloPassCx *cx)
{
	for (uint16_t i = ix->first[n->op]; i < ix->first[n->op + 1]; i++)
		if (rules[ix->order[i]].apply(g, n, cx))
			return true;
	return false;
}

MloStatus mlo_pass_canon(MloGraph *g, MloPassCx *cx)
{
	const Index *ix = index_rules(cx->arena);
	bool changed = true;

	for (int round = 0; changed && round < MAX_ROUNDS; round++) {
		changed = false;
		for (MloNode *n = g->first, *next; n; n = next) {
			next = n->next;
			if (!mlo_node_used(n)) {
				mlo_rw_sweep(g, n);
			} else if (apply_first(ix, g, n, cx)) {
				changed = true;
				cx->changed++;
			}
		}
	}
	return MLO_OK;
}
