/* tests/ptx/block.h -- between block.c and exec.c. */
#ifndef MLOPT_TESTS_PTX_BLOCK_H
#define MLOPT_TESTS_PTX_BLOCK_H

#include "tests/ptx/exec.h"

/* What PtxInst.mode of a barrier says. */
enum { PTX_BAR_SYNC, PTX_BAR_ARRIVE, PTX_BAR_AND, PTX_BAR_OR, PTX_BAR_POPC };

void ptx_warp_run(PtxWarp *w); /* until it waits, is done, fails, or has run for long */

#endif
