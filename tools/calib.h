/* tools/calib.h -- samples for calibration: a file or a folder of them, batch by batch.
 *
 *   X.npy, X (IDX), also gzipped   samples [N, ...] of the only input
 *   X.npz                          arrays [N, ...] named as the inputs, or one of any name for the only input
 *   FOLDER                         such files in the order of their names, and .pb files (TensorProto); or folders,
 *                                  each with input_0.pb, input_1.pb, ... or NAME.npy for each input
 *
 * An array in the very shape of the input is one batch. */
#ifndef MLO_TOOLS_CALIB_H
#define MLO_TOOLS_CALIB_H
#include "tools/model.h"
#include "tools/preprocess.h"

typedef struct Calib Calib;

/* `m` (open, not owned) says what inputs there are; `recipe` (may be NULL) is applied to the first input. No more
 * than `limit` samples are given. */
MloStatus calib_open(MloArena *a, const Model *m, const char *path, const char *recipe, int64_t limit, Calib **out,
		     MloDiag *d) MLO_CHECKED;
void calib_rewind(Calib *c);
/* The next batch into in[] (of model_tensor()); *count of its samples are new, 0: the end.  A batch that the data
 * does not fill is filled up with samples that were there before. */
MloStatus calib_next(Calib *c, MloTensor **in, int64_t *count, MloDiag *d) MLO_CHECKED;
int64_t calib_given(const Calib *c); /* samples since the start */
int64_t calib_limit(const Calib *c); /* how many there may be */
void calib_close(Calib *c);
#endif
