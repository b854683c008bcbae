/* tools/window.c -- what one output position of a convolution reads. */
#include "tools/window.h"

#include <string.h>

bool window_known(const MloNode *n)
{
	const char *pad = mlo_attr_s(n, ATTR_conv_auto_pad);

	return !strcmp(pad, "NOTSET") || !strcmp(pad, "VALID");
}

static void list(const MloNode *n, int slot, int rank, int64_t otherwise, int64_t *out)
{
	int count;
	const int64_t *v = mlo_attr_ints(n, slot, &count);

	for (int i = 0; i < rank; i++)
		out[i] = i < count ? v[i] : otherwise;
}

void window_of(const MloNode *n, const MloTensor *x, const MloTensor *y, WindowOrder order, Window *out)
{
	const MloTensor *w = n->in[1]->data;

	*out = (Window){.x = x, .rank = w->rank - 2, .channels = w->dim[1], .taps = 1, .order = order};
	list(n, ATTR_conv_strides, out->rank, 1, out->stride);
	list(n, ATTR_conv_dilations, out->rank, 1, out->dilation);
	list(n, ATTR_conv_pads, out->rank, 0, out->pad);
	for (int i = 0; i < out->rank; i++) {
		out->size[i] = y->dim[2 + i];
		out->kernel[i] = w->dim[2 + i];
		out->taps *= w->dim[2 + i];
	}
}

int64_t window_positions(const Window *v)
{
	int64_t n = 1;

	for (int i = 0; i < v->rank; i++)
		n *= v->size[i];
	return n;
}

/* Where tap t lies in a channel of x; -1: outside. */
static int64_t position(const Window *v, const int64_t *start, int64_t t)
{
	int64_t at = 0, step = 1;

	for (int i = v->rank - 1; i >= 0; i--) {
		int64_t k = start[i] + t % v->kernel[i] * v->dilation[i];

		if (k < 0 || k >= v->x->dim[2 + i])
			return -1;
		t /= v->kernel[i];
		at += k * step;
		step *= v->x->dim[2 + i];
	}
	return at;
}

void window_read(const Window *v, int64_t image, int64_t at, float *row)
{
	int64_t start[MLO_MAX_RANK], inner = 1;
	int64_t next = v->order == WINDOW_WEIGHTS ? v->taps : 1, tap = v->order == WINDOW_WEIGHTS ? 1 : v->channels;
	const float *x = v->x->data;

	for (int i = v->rank - 1; i >= 0; i--) {
		start[i] = at % v->size[i] * v->stride[i] - v->pad[i];
		at /= v->size[i];
		inner *= v->x->dim[2 + i];
	}
	x += (image * v->x->dim[1] + v->first) * inner;
	for (int64_t t = 0; t < v->taps; t++) {
		int64_t from = position(v, start, t);

		for (int64_t c = 0; c < v->channels; c++)
			row[c * next + t * tap] = from < 0 ? 0 : x[c * inner + from];
	}
}
