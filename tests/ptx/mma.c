#include "tests/ptx/ops.h"
const PtxOp ptx_mma_ops[] = {{0}};
