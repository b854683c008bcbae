/* frontend/onnx_wire.h -- protobuf bytes to protobuf-c structs, without copying tensor contents. */
#ifndef MLO_FRONTEND_ONNX_WIRE_H
#define MLO_FRONTEND_ONNX_WIRE_H
#include "frontend/onnx.pb-c.h"
#include "ir/base/arena.h"
#include "ir/base/diag.h"

typedef struct OnnxBytes {
	const uint8_t *p;
	size_t n;
} OnnxBytes;

/* Unpacks `src` as the message `desc`; NULL on error, with a diagnostic.  The result lives until
 * `a` is freed.  Every TensorProto.raw_data in it does not hold tensor contents but says where in
 * `src` they are: read it with onnx_raw_bytes() only.  Memory is bounded by the size of `src`. */
void *onnx_unpack(MloArena *a, const ProtobufCMessageDescriptor *desc, OnnxBytes src, MloDiag *d);
OnnxBytes onnx_raw_bytes(const Onnx__TensorProto *t, OnnxBytes src);
#endif
