/* ir/ref/ref_geometry.h -- windows over spatial dimensions: pads, strides, dilations, auto_pad.
 *
 * Shared by convolution and pooling, and free of any library, so that shape inference can use it:
 * give the spatial sizes, get effective strides, dilations, first pads and result sizes. */
#ifndef MLO_IR_REF_GEOMETRY_H
#define MLO_IR_REF_GEOMETRY_H
#include <stdbool.h>
#include <stdint.h>

enum { REF_GEOM_DIMS = 6 };

typedef enum RefAutoPad { REF_PAD_NOTSET, REF_PAD_SAME_UPPER, REF_PAD_SAME_LOWER, REF_PAD_VALID } RefAutoPad;

typedef struct RefGeom {
	int nd;                        /* spatial dimensions */
	int64_t in[REF_GEOM_DIMS], kernel[REF_GEOM_DIMS], out[REF_GEOM_DIMS];
	int64_t stride[REF_GEOM_DIMS], dilation[REF_GEOM_DIMS];
	int64_t begin[REF_GEOM_DIMS], end[REF_GEOM_DIMS]; /* pads */
} RefGeom;

static inline RefAutoPad ref_auto_pad(const char *s)
{
	/* NOTSET, SAME_UPPER, SAME_LOWER, VALID: distinguished by first letter and sixth. */
	if (!s || !*s || *s == 'N')
		return REF_PAD_NOTSET;
	if (*s == 'V')
		return REF_PAD_VALID;
	return s[5] == 'U' ? REF_PAD_SAME_UPPER : REF_PAD_SAME_LOWER;
}

/* Lists may be absent (n == 0): strides and dilations of 1, pads of 0.  g->nd, in, kernel are set. */
static inline void ref_geom_lists(RefGeom *g, const int64_t *strides, int64_t nstrides,
                                  const int64_t *dilations, int64_t ndilations, const int64_t *pads,
                                  int64_t npads)
{
	for (int i = 0; i < g->nd; i++) {
		g->stride[i] = i < nstrides ? strides[i] : 1;
		g->dilation[i] = i < ndilations ? dilations[i] : 1;
		g->begin[i] = i + g->nd < npads ? pads[i] : 0;
		g->end[i] = i + g->nd < npads ? pads[i + g->nd] : 0;
	}
}

static inline int64_t ref_geom_reach(const RefGeom *g, int i)
{
	return (g->kernel[i] - 1) * g->dilation[i] + 1;
}

/* Convolution and pooling: pads of auto_pad, and result sizes (clamped to 0 when nothing fits). */
static inline void ref_geom_window(RefGeom *g, RefAutoPad pad, bool ceil_mode)
{
	for (int i = 0; i < g->nd; i++) {
		int64_t s = g->stride[i], reach = ref_geom_reach(g, i);
		if (pad == REF_PAD_VALID)
			g->begin[i] = g->end[i] = 0;
		if (pad == REF_PAD_SAME_UPPER || pad == REF_PAD_SAME_LOWER) {
			g->out[i] = (g->in[i] + s - 1) / s;
			int64_t total = (g->out[i] - 1) * s + reach - g->in[i];
			total = total < 0 ? 0 : total;
			g->begin[i] = pad == REF_PAD_SAME_UPPER ? total / 2 : total - total / 2;
			g->end[i] = total - g->begin[i];
			continue;
		}
		int64_t room = g->in[i] + g->begin[i] + g->end[i] - reach;
		int64_t n = room < 0 ? 0 : (ceil_mode ? room + s - 1 : room) / s + 1;
		/* A window that would start in the pad behind the input does not count. */
		if (ceil_mode && n > 0 && (n - 1) * s >= g->in[i] + g->begin[i])
			n--;
		g->out[i] = n;
	}
}

/* Transposed convolution.  output_shape (n > 0) fixes the sizes and so the pads. */
static inline void ref_geom_transposed(RefGeom *g, RefAutoPad pad, const int64_t *output_padding,
                                       int64_t noutput_padding, const int64_t *output_shape,
                                       int64_t noutput_shape)
{
	for (int i = 0; i < g->nd; i++) {
		int64_t extra = i < noutput_padding ? output_padding[i] : 0;
		int64_t full = g->stride[i] * (g->in[i] - 1) + extra + ref_geom_reach(g, i);
		bool same = pad == REF_PAD_SAME_UPPER || pad == REF_PAD_SAME_LOWER;
		if (pad == REF_PAD_VALID)
			g->begin[i] = g->end[i] = 0;
		if (noutput_shape == 0 && !same) {
			g->out[i] = full - g->begin[i] - g->end[i];
			continue;
		}
		/* output_shape may hold N and C in front of the spatial sizes */
		int64_t skip = noutput_shape > g->nd ? noutput_shape - g->nd : 0;
		g->out[i] = noutput_shape ? output_shape[skip + i] : g->in[i] * g->stride[i];
		int64_t total = full - g->out[i];
		total = total < 0 ? 0 : total;
		g->begin[i] = pad == REF_PAD_SAME_UPPER ? total / 2 : total - total / 2;
		g->end[i] = total - g->begin[i];
	}
}
#endif
