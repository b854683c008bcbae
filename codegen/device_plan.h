/* codegen/device_plan.h -- contractions on tensor cores: which tiles, chosen by a model of their time.
 *
 * The model counts, for a multiprocessor, cycles that each of its parts is busy with a stage of a tile: tensor cores, bytes in and out of
 * shared memory, bytes from L2, instructions issued, each within a tenth or so of what tests/ptx counts.  The slowest hides the others,
 * the less so the longer these take; warps wait for fragments and each other, and few stages in flight for memory.  The device is done when
 * the multiprocessor with the most tiles is; bench/gpu.py prints the same of code that ran.  All figures are those of MloGpu; what all
 * devices share is in the enum at the head of device_plan.c. */
#ifndef MLO_CODEGEN_DEVICE_PLAN_H
#define MLO_CODEGEN_DEVICE_PLAN_H
#include "codegen/device_mma.h"

typedef struct DevicePlan {
	int rows, columns;        /* of a tile */
	int words;                /* of a row in a stage */
	int warps_m, warps_n;     /* of a slice: a warp makes rows / warps_m x columns / warps_n */
	int groups;               /* as in Mma: each makes 64 rows of all columns; 0: none */
	bool pixels;              /* of device_pixels.h: each group makes 64 columns of all rows */
	int slices, parts;        /* as in DeviceTile */
	int stages;               /* in shared memory, of a slice */
	double ns;                /* of the contraction */
} DevicePlan;

/* Can tiles of so many columns, in stages of so many words, be made of c? */
bool device_plan_takes(const KContract *c, const MmaKind *kind, int columns, int words);
/* The fastest one, of columns and words as given (0: of any that c can have); false: there is none. */
bool device_plan(const MloTarget *t, const MloKernel *k, const KContract *c, int columns, int words, DevicePlan *best);
#endif
