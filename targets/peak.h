/* targets/peak.h -- code that does nothing but multiply-adds, to measure what a machine can do. */
#ifndef MLO_TARGETS_PEAK_H
#define MLO_TARGETS_PEAK_H
#include "targets/object.h"

/* An image (as mlo_image_link makes) whose function at `entry` is
 * void (*)(int64_t n, float *sink): n rounds of independent float32 vector multiply-adds. */
typedef struct MloPeakCode {
	MloBytes image;
	uint64_t entry;
	double flops_per_round;
} MloPeakCode;
MloStatus mlo_peak_code(const MloTarget *t, MloPeakCode *out, MloDiag *d) MLO_CHECKED;
#endif
