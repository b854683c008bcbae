/* tools/preprocess.h -- from raw samples to what a model takes.
 *
 * A recipe is text:  scale=1/255,mean=0.4914:0.4822:0.4465,std=0.247:0.2435:0.2616,layout=nchw
 *   scale=S      a number or a fraction; default 1
 *   mean=M std=D one number, or one per channel separated by colons; defaults 0 and 1
 *   layout=L     nchw: samples are [H,W] or [H,W,C] and become [C,H,W]; or FROM-TO of nhwc and nchw;
 *                without it samples stay as they are
 *   order=bgr    reverse the channels
 * Each element becomes (x * scale - mean[channel]) / std[channel]. */
#ifndef MLO_TOOLS_PREPROCESS_H
#define MLO_TOOLS_PREPROCESS_H
#include "ir/type.h"

enum { PREPROCESS_MAX_CHANNELS = 64 };
typedef struct MloPreprocess {
	double scale;
	double mean[PREPROCESS_MAX_CHANNELS], std[PREPROCESS_MAX_CHANNELS];
	int nmean, nstd;          /* 0 or 1: the same for all channels */
	bool from_last, to_first; /* where channels stand in a sample: last dimension, first dimension */
	bool reverse;
	/* Set by mlo_preprocess_bind(): */
	int64_t channels, pixels; /* of one sample */
} MloPreprocess;

/* NULL or "": nothing is changed but the element type. */
MloStatus mlo_preprocess_parse(MloPreprocess *p, const char *text, MloDiag *d) MLO_CHECKED;
/* Checks that samples of `data` ([N, ...]; `name`: for messages) become samples of a model input [B, ...]. */
MloStatus mlo_preprocess_bind(MloPreprocess *p, const char *name, const MloTensor *data, int rank, const int64_t *dim,
			      MloDiag *d) MLO_CHECKED;
/* Samples first .. first+count-1 of data into samples 0 .. count-1 of `in`. */
void mlo_preprocess_apply(const MloPreprocess *p, const MloTensor *data, int64_t first, int64_t count,
			  MloTensor *in);
#endif
