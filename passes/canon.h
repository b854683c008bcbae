/* passes/canon.h -- the rules of the canon pass: see canon.def. */
#ifndef MLO_PASSES_CANON_H
#define MLO_PASSES_CANON_H
#include "passes/match.h"

typedef bool CanonRule(MloGraph *g, MloNode *n, MloPassCx *cx);

#define RULE(op, function, summary) CanonRule function;
#include "passes/canon.def"
#endif
