/* frontend/onnx_ops.h -- declares every importer that onnx_ops.def binds. */
#ifndef MLO_FRONTEND_ONNX_OPS_H
#define MLO_FRONTEND_ONNX_OPS_H
#include "frontend/onnx_import.h"

#define ONNX(domain, type, since, fn, op) OnnxImportFn import_##fn;
#define ONNX_NOT(domain, type, why)
#include "frontend/onnx_ops.def"
#endif
