/* tests/unit/list_programs.h -- lists of programs that several tests of the runtime use. */
#ifndef LIST_PROGRAMS_H
#define LIST_PROGRAMS_H
#include "tests/unit/list_fixture.h"

/* y[n] = 2 * (x[n] + z[n]): sizes of the prologue, a planned buffer, an output made in place. */
void lp_sums(ListFixture *f);
/* t[k] = 2 * x[n][0, k): k is read by a size kernel during the run. */
void lp_prefix(ListFixture *f);
/* acc[n] = x; m times: if (iteration < limit) acc += x; scan[m,n] and all[m*n] are its values: IF in a LOOP,
 * a sequence carried along. */
void lp_loop(ListFixture *f);
/* No kernels: operators on sequences and optionals. x[n,2], at[] -> see test_runtime_object.c */
void lp_objects(ListFixture *f);
/* Strings: text[n], x[n,3], m[] -> maps of x, row 0 looked up, text m times stacked, constants. */
void lp_texts(ListFixture *f);
/* present[p+n] = past[p] and x[n] behind it. */
void lp_append(ListFixture *f);
#endif
