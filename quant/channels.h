/* quant/channels.h -- activations whose channels may be scaled: divided where they come from, multiplied into the
 * weights that meet them, so that the network computes the same. */
#ifndef MLO_QUANT_CHANNELS_H
#define MLO_QUANT_CHANNELS_H
#include "quant/ptq.h"

enum { EDGE_MAX_SHIFTS = 4 };

/* What stands between the value and where its scale can be taken out again: constants that are added, then a product,
 * a normalisation or a constant factor. */
typedef struct MloEdge {
	MloGraph *g;    /* that v is in */
	MloValue *v;    /* what is read */
	int64_t n;      /* channels */
	int inner;      /* dimensions of v behind that of the channels */
	MloNode *from;  /* conv, matmul, layer_norm, or mul by a constant */
	MloNode *shift[EDGE_MAX_SHIFTS]; /* add of a constant */
	int nshifts;
} MloEdge;

/* Is t such an activation? */
bool mlo_edge_find(const MloPtq *q, const MloPtqTensor *t, MloEdge *e);
/* Divides channel c by s[c] > 0, for all its n channels; weights of the readers are multiplied. */
void mlo_edge_scale(MloPtq *q, const MloEdge *e, const double *s);
/* Of each channel the largest weight that meets it; most[n] is zeroed at first. */
void mlo_edge_weights(const MloEdge *e, double *most);
double mlo_edge_bounded(double factor); /* none so large or small that float32 suffers */

/* Does a convolution work on each of its n channels alone? */
bool mlo_conv_is_depthwise(const MloNode *conv, int64_t n);
int64_t mlo_conv_window(const MloTensor *w); /* taps */
#endif
