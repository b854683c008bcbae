/* tests/models/exact.h -- whole quantised models, bit for bit. */
#ifndef MLO_TESTS_EXACT_H
#define MLO_TESTS_EXACT_H
#include "tests/support/support.h"

/* g is quantised, unless it is already; `in`, its inputs, are the samples for that.  Then all that it quantises is compared
 * with the reference executor, which runs the same graph operator by operator: on each variant of x86-64 that this
 * machine has, and at those levels of Arm.  One element that differs is a failure. */
void exact_run(const char *name, const MloGraph *g, const MloTensor *const *in, const ArmLevels *arm, Score *score);
#endif
