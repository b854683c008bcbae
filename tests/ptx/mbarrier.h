/* tests/ptx/mbarrier.h -- between mbarrier.c (barriers that are objects in shared memory) and async.c
 * (copies). */
#ifndef MLOPT_TESTS_PTX_MBARRIER_H
#define MLOPT_TESTS_PTX_MBARRIER_H

#include "tests/ptx/ops.h"

void ptx_decode_copies_arrive(PtxParse *p, PtxInst *i); /* cp.async.mbarrier.arrive */
void ptx_decode_bulk(PtxParse *p, PtxInst *i);          /* cp.async.bulk */

/* Copies of cp.async that the warp began, up to the upto-th, have arrived, and count as written at the clock.
 */
void ptx_copies_land(PtxWarp *w, uint32_t upto, uint32_t clock);

#endif
