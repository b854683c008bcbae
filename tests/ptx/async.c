#include "tests/ptx/ops.h"
const PtxOp ptx_async_ops[] = {{0}};
