/* ir/ref/ref_roi.c -- pooling over regions of interest, and choosing among them. */
#include "ir/ref/ref_elem.h"

/* -- roi align ---------------------------------------------------------------------------------- */

/* A region along one dimension: `bins` of a size each, sampled at `samples` positions per bin. */
typedef struct Span {
	double start, bin;
	int64_t samples, size;
} Span;

static Span span_of(double lo, double hi, bool half_pixel, int64_t bins, int64_t ratio, int64_t size)
{
	Span s = {lo, 0, ratio, size};
	double width = hi - lo;
	if (!half_pixel && !(width > 1))
		width = 1;
	s.bin = width / (double)bins;
	if (ratio <= 0) /* as many as the bin has pixels; no more than there are elements twice over */
		s.samples = s.bin > 0 ? s.bin < (double)(2 * size) ? (int64_t)refm_ceil(s.bin) : 2 * size : 0;
	return s;
}

/* The two elements around sample i of a bin and their weights; false: outside. */
static bool neighbours(const Span *s, int64_t bin, int64_t i, int64_t *at, double *w)
{
	double p = s->start + (double)bin * s->bin + ((double)i + 0.5) * s->bin / (double)s->samples;
	if (!(p >= -1 && p <= (double)s->size))
		return false;
	p = p > 0 ? p : 0;
	int64_t low = (int64_t)p, last = s->size - 1;
	w[1] = low >= last ? 0 : p - (double)low;
	w[0] = 1 - w[1];
	at[0] = low >= last ? last : low;
	at[1] = low >= last ? last : low + 1;
	return true;
}

/* One bin: the mean of its samples, or the largest of all weighted elements that they touch. */
static double roi_bin(const RefTensor *x, int64_t base, const Span *rows, const Span *cols, int64_t row,
                      int64_t col, bool max)
{
	double sum = 0, best = 0, wr[2], wc[2];
	int64_t ar[2], ac[2], n = rows->samples * cols->samples;
	for (int64_t i = 0; i < rows->samples; i++)
		for (int64_t j = 0; j < cols->samples; j++) {
			double v = 0, most = 0;
			bool inside = neighbours(rows, row, i, ar, wr) && neighbours(cols, col, j, ac, wc);
			for (int k = 0; k < 4 && inside; k++) {
				double e = wr[k / 2] * wc[k % 2] * ref_get_f64(x, base + ar[k / 2] * cols->size + ac[k % 2]);
				v += e;
				most = k == 0 || e > most ? e : most;
			}
			sum += v;
			best = (i == 0 && j == 0) || most > best ? most : best;
		}
	return max ? best : sum / (double)(n > 1 ? n : 1);
}

/* x[N,C,H,W], rois[R,4] as (x1, y1, x2, y2), batch[R]: y[R,C,height,width]. */
void ref_roi_align(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *rois = &c->in[1], *batch = &c->in[2], *y = &c->out[0];
	const RefAttr *a = c->attr;
	bool half = ref_text_is(a[ATTR_roi_align_coordinate_transformation_mode].s, "half_pixel");
	bool max = ref_text_is(a[ATTR_roi_align_mode].s, "max");
	double scale = a[ATTR_roi_align_spatial_scale].f, shift = half ? 0.5 : 0;
	int64_t ratio = a[ATTR_roi_align_sampling_ratio].i, at[4] = {0, 0, 0, 0}, n = ref_count(y);
	int64_t height = x->dim[2], width = x->dim[3];
	ref_advance_by(at, y->dim, 4, n > 0 ? c->part : 0);
	for (int64_t i = c->part; i < n; i += ref_step(c), ref_advance_by(at, y->dim, 4, ref_step(c))) {
		double p[4];
		for (int k = 0; k < 4; k++)
			p[k] = ref_get_f64(rois, at[0] * 4 + k) * scale - shift;
		int64_t image = ref_get_i64(batch, at[0]);
		Span rows = span_of(p[1], p[3], half, y->dim[2], ratio, height);
		Span cols = span_of(p[0], p[2], half, y->dim[3], ratio, width);
		bool inside = image >= 0 && image < x->dim[0] && height > 0 && width > 0;
		int64_t base = inside ? (image * x->dim[1] + at[1]) * height * width : 0;
		ref_put_f64(y, i, inside ? roi_bin(x, base, &rows, &cols, at[2], at[3], max) : 0);
	}
}

/* -- max roi pool ------------------------------------------------------------------------------- */

static int64_t clamp_index(double v, int64_t n)
{
	return v > 0 ? v < (double)n ? (int64_t)v : n : 0;
}

/* Elements lo..hi of bin i of `bins`: the region covers whole elements, and at least one. */
static void bin_range(double from, double to, int64_t i, int64_t bins, int64_t n, int64_t *lo, int64_t *hi)
{
	double size = to - from + 1 > 1 ? to - from + 1 : 1;
	double bin = size / (double)bins;
	*lo = clamp_index(refm_floor((double)i * bin) + from, n);
	*hi = clamp_index(refm_ceil((double)(i + 1) * bin) + from, n);
}

static double round_away(double v) { return v < 0 ? refm_ceil(v - 0.5) : refm_floor(v + 0.5); }

/* x[N,C,H,W], rois[R,5] as (image, x1, y1, x2, y2); empty bins give 0. */
void ref_max_roi_pool(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *rois = &c->in[1], *y = &c->out[0];
	double scale = c->attr[ATTR_max_roi_pool_spatial_scale].f;
	int64_t at[4] = {0, 0, 0, 0}, n = ref_count(y), height = x->dim[2], width = x->dim[3];
	ref_advance_by(at, y->dim, 4, n > 0 ? c->part : 0);
	for (int64_t i = c->part; i < n; i += ref_step(c), ref_advance_by(at, y->dim, 4, ref_step(c))) {
		double p[4], best = 0;
		int64_t image = ref_get_i64(rois, at[0] * 5), r0, r1, c0, c1;
		for (int k = 0; k < 4; k++)
			p[k] = round_away(ref_get_f64(rois, at[0] * 5 + 1 + k) * scale);
		bin_range(p[1], p[3], at[2], y->dim[2], height, &r0, &r1);
		bin_range(p[0], p[2], at[3], y->dim[3], width, &c0, &c1);
		bool inside = image >= 0 && image < x->dim[0];
		int64_t base = inside ? (image * x->dim[1] + at[1]) * height * width : 0;
		for (int64_t r = r0; r < r1 && inside; r++)
			for (int64_t k = c0; k < c1; k++) {
				double v = ref_get_f64(x, base + r * width + k);
				best = (r == r0 && k == c0) || v > best || v != v ? v : best;
			}
		ref_put_f64(y, i, best);
	}
}

/* -- non-maximum suppression ------------------------------------------------------------------------ */

/* Boxes still in the running, one bit each. */
enum { NMS_WORDS = REF_NMS_BOXES / 64 };

typedef struct Nms {
	const RefTensor *boxes, *scores;
	bool centered, has_threshold;
	double iou, threshold;
	int64_t limit, n; /* of results per class; boxes */
} Nms;

static Nms nms_of(const RefCall *c)
{
	const RefTensor *limit = ref_in(c, 2), *iou = ref_in(c, 3), *threshold = ref_in(c, 4);
	Nms s = {.boxes = &c->in[0], .scores = &c->in[1]};
	s.centered = c->attr[ATTR_non_max_suppression_center_point_box].i != 0;
	s.has_threshold = threshold && ref_count(threshold) > 0;
	s.threshold = s.has_threshold ? ref_get_f64(threshold, 0) : 0;
	s.iou = iou && ref_count(iou) > 0 ? ref_get_f64(iou, 0) : 0;
	s.limit = limit && ref_count(limit) > 0 ? ref_get_i64(limit, 0) : 0;
	s.n = s.boxes->dim[1] < s.scores->dim[2] ? s.boxes->dim[1] : s.scores->dim[2];
	s.n = s.n < REF_NMS_BOXES ? s.n : REF_NMS_BOXES;
	return s;
}

/* The extent of a box in one of its two dimensions. */
static void extent(const Nms *s, int64_t box, int d, double *lo, double *hi)
{
	double a = ref_get_f64(s->boxes, box * 4 + d), b = ref_get_f64(s->boxes, box * 4 + d + 2);
	if (s->centered) {
		*lo = a - b / 2;
		*hi = a + b / 2;
	} else {
		*lo = a < b ? a : b;
		*hi = a < b ? b : a;
	}
}

static bool overlaps(const Nms *s, int64_t box, int64_t other)
{
	double common = 1, area = 1, area_other = 1;
	for (int d = 0; d < 2; d++) {
		double lo, hi, lo2, hi2;
		extent(s, box, d, &lo, &hi);
		extent(s, other, d, &lo2, &hi2);
		double from = lo > lo2 ? lo : lo2, to = hi < hi2 ? hi : hi2;
		if (!(to > from))
			return false;
		common *= to - from;
		area *= hi - lo;
		area_other *= hi2 - lo2;
	}
	/* rounded as the scores and boxes are: equality with the threshold must be found */
	return (float)(common / (area + area_other - common)) > (float)s->iou;
}

/* The best box of a class that is still in the running, or -1. */
static int64_t best_box(const Nms *s, const uint64_t *alive, int64_t scores)
{
	int64_t best = -1;
	double most = 0;
	for (int64_t i = 0; i < s->n; i++) {
		double v = ref_get_f64(s->scores, scores + i);
		if ((alive[i / 64] >> (i % 64) & 1) && (best < 0 || v > most)) {
			best = i;
			most = v;
		}
	}
	return best;
}

/* The results of one class, written to `to` (may be NULL) as far as `room` goes; how many there are. */
static int64_t nms_class(const Nms *s, int64_t image, int64_t cls, int64_t *to, int64_t room)
{
	uint64_t alive[NMS_WORDS];
	int64_t boxes = image * s->boxes->dim[1], count = 0;
	int64_t scores = (image * s->scores->dim[1] + cls) * s->scores->dim[2];
	for (int64_t i = 0; i < s->n; i++) {
		double v = ref_get_f64(s->scores, scores + i);
		uint64_t in = s->has_threshold ? v > s->threshold : v == v;
		alive[i / 64] = (i % 64 ? alive[i / 64] : 0) | in << (i % 64);
	}
	while (count < s->limit) {
		int64_t best = best_box(s, alive, scores);
		if (best < 0)
			break;
		if (to && count < room) {
			to[3 * count] = image;
			to[3 * count + 1] = cls;
			to[3 * count + 2] = best;
		}
		count++;
		alive[best / 64] &= ~(UINT64_C(1) << (best % 64));
		for (int64_t i = 0; i < s->n; i++)
			if ((alive[i / 64] >> (i % 64) & 1) && overlaps(s, boxes + best, boxes + i))
				alive[i / 64] &= ~(UINT64_C(1) << (i % 64));
	}
	return count;
}

static int64_t nms_all(const RefCall *c, int64_t *to, int64_t room)
{
	Nms s = nms_of(c);
	int64_t count = 0, images = s.boxes->dim[0];
	images = images < s.scores->dim[0] ? images : s.scores->dim[0];
	for (int64_t image = 0; image < images; image++)
		for (int64_t cls = 0; cls < s.scores->dim[1]; cls++)
			count += nms_class(&s, image, cls, to ? to + 3 * count : NULL,
			                   room > count ? room - count : 0);
	return count;
}

int64_t ref_nms_count(const RefCall *c) { return nms_all(c, NULL, 0); }

void ref_non_max_suppression(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	int64_t *to = y->data, n = y->dim[0];
	for (int64_t i = 3 * nms_all(c, to, n); i < 3 * n; i++)
		to[i] = 0;
}
