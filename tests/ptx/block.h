/* tests/ptx/block.h -- between block.c and exec.c. */
#ifndef MLOPT_TESTS_PTX_BLOCK_H
#define MLOPT_TESTS_PTX_BLOCK_H

#include "tests/ptx/exec.h"

/* What PtxInst.mode of a barrier says. */
enum { PTX_BAR_SYNC, PTX_BAR_ARRIVE, PTX_BAR_AND, PTX_BAR_OR, PTX_BAR_POPC };

/* What others know becomes known, too. */
void ptx_learn(uint32_t *clock, uint32_t *proxy, const uint32_t *new_clock, const uint32_t *new_proxy);
void ptx_tick(PtxWarp *w);     /* what the warp does from now on is later than what it has told */
void ptx_warp_run(PtxWarp *w); /* until it waits, is done, fails, or has run for long */

#endif
