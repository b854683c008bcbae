/* frontend/onnx_ms.h -- steps that the importers of com.microsoft operators share. */
#ifndef MLO_FRONTEND_ONNX_MS_H
#define MLO_FRONTEND_ONNX_MS_H
#include "frontend/onnx_ops.h"

MloValue *ms_transpose(OnnxNode *n, MloValue *v, const int64_t *perm, int rank);
MloValue *ms_swap_last(OnnxNode *n, MloValue *v); /* the last two dimensions; the rank must be known */
MloValue *ms_reshape(OnnxNode *n, MloValue *v, const int64_t *dim, int rank); /* 0 copies, -1 is inferred */
/* NHWC to NCHW and back. */
MloValue *ms_channels_first(OnnxNode *n, MloValue *v);
MloValue *ms_channels_last(OnnxNode *n, MloValue *v);
MloValue *ms_slice(OnnxNode *n, MloValue *v, int64_t axis, int64_t from, int64_t to);
MloValue *ms_concat2(OnnxNode *n, MloValue *a, MloValue *b, int64_t axis);
MloValue *ms_softmax(OnnxNode *n, MloValue *v, int64_t axis);
MloValue *ms_reduce(OnnxNode *n, MloOp op, MloValue *v, int64_t axis, bool keep);
/* Size of one dimension of v as a vector of one i64. */
MloValue *ms_dim(OnnxNode *n, MloValue *v, int64_t axis);
/* v + b, where b may be absent. */
MloValue *ms_add(OnnxNode *n, MloValue *v, MloValue *b);
MloValue *ms_scale(OnnxNode *n, MloValue *v, double factor);
/* False after reporting that the rank of operand i is not one of lo..hi, or not known. */
bool ms_rank(OnnxNode *n, uint32_t i, int lo, int hi);
/* x through the activation that attribute `name` names, with its parameters; NULL after an error. */
MloValue *ms_activation(OnnxNode *n, const char *name, MloValue *x, const float *param, int nparam);
MloValue *ms_gelu(OnnxNode *n, MloValue *v, const char *approximate);
MloValue *ms_gemm(OnnxNode *n, MloValue *a, MloValue *b, MloValue *c, bool ta, bool tb, double alpha, double beta);

/* The matrix (any float type) whose quantized form is x; zero may be absent. */
MloValue *ms_dequantize(OnnxNode *n, MloValue *x, MloValue *scale, MloValue *zero, int64_t axis);
/* v quantized to the type of zero or, when that is absent, to `e`. */
MloValue *ms_quantize(OnnxNode *n, MloValue *v, MloValue *scale, MloValue *zero, int64_t axis, MloElem e);
/* x[B, S, heads, size] turned by the rows of the caches that position ids ([B, S], or a first one) name. */
MloValue *ms_rotary(OnnxNode *n, MloValue *x, MloValue *ids, MloValue *cos, MloValue *sin, bool interleaved);
#endif
