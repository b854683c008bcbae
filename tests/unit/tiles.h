/* tests/unit/tiles.h -- the instructions of AMX in C, for machines that have none.
 *
 * They do what the Intel SDM says of TILELOADD, TDPBUSD and the others, and end the test where it says that the processor
 * raises an exception: shapes that do not fit each other, registers that are not configured. */
#ifndef MLO_TESTS_TILES_H
#define MLO_TESTS_TILES_H
#include <llvm-c/Core.h>

#include "targets/target.h"

/* Calls of m's intrinsics of the unit become calls of functions of this process: code of m runs nowhere else. */
void tiles_emulate(LLVMModuleRef m, const MloMatrix *unit);
#endif
