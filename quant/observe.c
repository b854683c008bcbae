/* quant/observe.c -- statistics of a stream of values. */
#include "quant/observe.h"

#include <math.h>
#include <string.h>

/* Of a batch at most this many values go into the histogram, evenly spread; extremes count in full. */
enum { MAX_BINNED = 1 << 14 };
#define AVERAGE_WEIGHT 0.9

static void widen(MloStats *s, double need)
{
	const int half = OBSERVE_BINS / 2;

	if (s->limit == 0) {
		s->limit = ldexp(1, ilogb(need) + 1);
		return;
	}
	while (s->limit <= need) {
		for (int i = 0; i < half; i += 2) { /* towards the middle: nothing is overwritten before it is read */
			float up = s->bin[half + i] + s->bin[half + i + 1];
			float down = s->bin[half - 1 - i] + s->bin[half - 2 - i];

			s->bin[half + i / 2] = up;
			s->bin[half - 1 - i / 2] = down;
		}
		memset(s->bin, 0, sizeof *s->bin * (size_t)(half / 2));
		memset(s->bin + half + half / 2, 0, sizeof *s->bin * (size_t)(half / 2));
		s->limit *= 2;
	}
}

static void add_bins(MloStats *s, const float *v, int64_t n)
{
	int64_t step = n > MAX_BINNED ? n / MAX_BINNED | 1 : 1;
	float scale = (float)(OBSERVE_BINS / 2 / s->limit);

	for (int64_t i = 0; i < n; i += step) {
		float x = v[i] * scale;

		if (fabsf(x) < OBSERVE_BINS / 2)
			s->bin[(int)floorf(x) + OBSERVE_BINS / 2]++;
	}
}

void mlo_observe(MloStats *s, const float *v, int64_t n)
{
	float lo = INFINITY, hi = -INFINITY;
	int64_t bad = 0;

	if (n <= 0)
		return;
	for (int64_t i = 0; i < n; i++) {
		bool ok = fabsf(v[i]) <= 3.4028234e38f;

		bad += !ok;
		lo = ok && v[i] < lo ? v[i] : lo;
		hi = ok && v[i] > hi ? v[i] : hi;
	}
	s->count += n;
	s->bad += bad;
	if (bad == n)
		return;
	s->lo = s->calls && s->lo < lo ? s->lo : lo;
	s->hi = s->calls && s->hi > hi ? s->hi : hi;
	s->mean_lo = s->calls ? AVERAGE_WEIGHT * s->mean_lo + (1 - AVERAGE_WEIGHT) * lo : lo;
	s->mean_hi = s->calls ? AVERAGE_WEIGHT * s->mean_hi + (1 - AVERAGE_WEIGHT) * hi : hi;
	s->calls++;
	if (fmax(fabs(s->lo), fabs(s->hi)) < 1e-30)
		return; /* zeros: nothing to sort */
	if (s->limit <= fmax(fabs(s->lo), fabs(s->hi)))
		widen(s, fmax(fabs(s->lo), fabs(s->hi)));
	add_bins(s, v, n);
}
