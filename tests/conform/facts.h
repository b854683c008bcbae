/* tests/conform/facts.h -- what a conformance run saw of each case, as lines of text: run.c writes them,
 * operators.c makes docs/OPERATORS.md of them.
 *
 * A line is: runner, TAB, name of the case, TAB, why it failed (empty: it passed), TAB, element types of the model's
 * inputs and outputs, TAB, operators of its main graph (DOMAIN:TYPE), TAB, tiers (TYPE=TIER) of a compiled
 * one; lists are separated by blanks. */
#ifndef MLO_TESTS_FACTS_H
#define MLO_TESTS_FACTS_H
#include <stdio.h>

#include "ir/base/arena.h"

/* `manifest`: of the package, or NULL; `why`: NULL when the case passed. */
void facts_write(FILE *f, MloArena *a, const char *runner, const char *name, const char *model, const char *manifest,
                 const char *why);
#endif
