/* ir/geometry.h -- windows of convolutions and poolings: the one place that reads auto_pad,
 * ceil_mode, dilations and their defaults.
 *
 * Reads the attributes by name (auto_pad, ceil_mode, dilations, kernel_shape, pads, strides,
 * output_padding, output_shape), so it serves every operator that has some of them. */
#ifndef MLO_IR_GEOMETRY_H
#define MLO_IR_GEOMETRY_H
#include "ir/graph.h"

enum { MLO_MAX_SPATIAL = MLO_MAX_RANK - 2 };

/* Effective values per spatial dimension; the window of output o covers the padded input at
 * o * stride + k * dilation - pad_lo for k in 0..kernel-1 (transposed: input i writes there). */
typedef struct MloGeometry {
	int spatial;
	int64_t kernel[MLO_MAX_SPATIAL], stride[MLO_MAX_SPATIAL], dilation[MLO_MAX_SPATIAL];
	int64_t pad_lo[MLO_MAX_SPATIAL], pad_hi[MLO_MAX_SPATIAL]; /* ceil_mode: windows may pass pad_hi */
	int64_t out_pad[MLO_MAX_SPATIAL]; /* transposed only */
	MloDim out[MLO_MAX_SPATIAL]; /* the number INT64_MIN: not known */
	bool exact; /* false: automatic pads of a symbolic size: pad_lo and pad_hi are not known */
} MloGeometry;

/* x: type of the input with known rank >= 3 (2 when there is no spatial dimension is refused).
 * w: weights whose dimensions from 2 on are the kernel; NULL: kernel_shape alone (pooling).
 * Errors name the node. */
MloStatus mlo_geometry(MloSymbols *syms, const MloNode *n, const MloType *x, const MloType *w,
                       MloGeometry *out, MloDiag *d) MLO_CHECKED;
/* The same, of conv, conv_transpose or a pooling whose operands have known types. */
MloStatus mlo_node_geometry(const MloGraph *g, const MloNode *n, MloGeometry *out, MloDiag *d) MLO_CHECKED;
#endif
