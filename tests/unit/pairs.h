/* tests/unit/pairs.h -- products of matrices in registers (Arm: SMMLA, USMMLA, BFMMLA, and SDOT beside them), for other machines. */
#ifndef MLO_TESTS_PAIRS_H
#define MLO_TESTS_PAIRS_H
#include <llvm-c/Core.h>

#include "targets/target.h"

/* Calls of m's intrinsics that d names become calls of functions in m that do what the Arm ARM says of those instructions. */
void pairs_emulate(LLVMModuleRef m, const MloDots *d);
#endif
