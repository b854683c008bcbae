/* tools/window.h -- what one output position of a convolution reads, as a row of numbers (im2col). */
#ifndef MLO_TOOLS_WINDOW_H
#define MLO_TOOLS_WINDOW_H
#include "ir/graph.h"

/* The order of a row: that of the weights, the taps of a channel side by side, or the channels of a tap. */
typedef enum WindowOrder { WINDOW_WEIGHTS, WINDOW_CHANNELS } WindowOrder;

typedef struct Window {
	const MloTensor *x;
	int64_t channels, taps; /* of a row */
	int64_t first;          /* channel of the group that is read: the caller sets it, 0 at first */
	int rank;               /* spatial dimensions */
	WindowOrder order;
	int64_t stride[MLO_MAX_RANK], dilation[MLO_MAX_RANK], pad[MLO_MAX_RANK], size[MLO_MAX_RANK], kernel[MLO_MAX_RANK];
} Window;

/* Are the pads of convolution n numbers? */
bool window_known(const MloNode *n);
/* Of convolution n, whose input and output in a run are x and y: dense float32. */
void window_of(const MloNode *n, const MloTensor *x, const MloTensor *y, WindowOrder order, Window *out);
int64_t window_positions(const Window *v); /* of an image */
/* row[channels * taps] for output position `at` of image `image`; outside there are zeros. */
void window_read(const Window *v, int64_t image, int64_t at, float *row);
#endif
