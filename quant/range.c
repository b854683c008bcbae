/* quant/range.c -- from what was seen of a tensor to the range that its integers cover. */
#include <math.h>
#include <string.h>

#include "quant/observe.h"

static const char *const names[RANGE_METHODS] = {
	[RANGE_MINMAX] = "minmax",     [RANGE_AVERAGE] = "average", [RANGE_PERCENTILE] = "percentile",
	[RANGE_ENTROPY] = "entropy",   [RANGE_MSE] = "mse",
};

const char *mlo_range_text(MloRangeMethod m)
{
	return names[m];
}

bool mlo_range_find(const char *text, MloRangeMethod *out)
{
	for (int i = 0; i < RANGE_METHODS; i++)
		if (!strcmp(names[i], text)) {
			*out = (MloRangeMethod)i;
			return true;
		}
	return false;
}

static MloRange with_zero(double lo, double hi)
{
	return (MloRange){lo < 0 ? lo : 0, hi > 0 ? hi : 0};
}

static double width(const MloStats *s)
{
	return 2 * s->limit / OBSERVE_BINS;
}

static double edge(const MloStats *s, int bin)
{
	return (bin - OBSERVE_BINS / 2) * width(s);
}

static double total(const MloStats *s)
{
	double sum = 0;

	for (int i = 0; i < OBSERVE_BINS; i++)
		sum += s->bin[i];
	return sum;
}

static MloRange percentile(const MloStats *s, double p)
{
	double cut = total(s) * (1 - p / 100), low = 0, high = 0;
	int a = 0, b = OBSERVE_BINS;

	while (a < OBSERVE_BINS / 2 && low + s->bin[a] <= cut)
		low += s->bin[a++];
	while (b > OBSERVE_BINS / 2 && high + s->bin[b - 1] <= cut)
		high += s->bin[--b];
	return with_zero(fmax(s->lo, edge(s, a)), fmin(s->hi, edge(s, b)));
}

double mlo_range_error(const MloStats *s, MloRange r, int levels)
{
	double step = (r.hi - r.lo) / (levels - 1), sum = 0, n = 0;

	for (int i = 0; i < OBSERVE_BINS; i++) {
		double x, out;

		if (s->bin[i] == 0)
			continue;
		x = edge(s, i) + width(s) / 2;
		out = x < r.lo ? r.lo - x : x > r.hi ? x - r.hi : 0;
		sum += s->bin[i] * (out > 0 ? out * out : step * step / 12);
		n += s->bin[i];
	}
	return n > 0 ? sum / n : 0;
}

/* Shrinks one side after the other as long as that helps. */
static MloRange least_error(const MloStats *s, int levels)
{
	enum { STEPS = 80, ROUNDS = 3 };
	MloRange full = with_zero(s->lo, s->hi), best = full;
	double least = mlo_range_error(s, best, levels);

	for (int round = 0; round < ROUNDS; round++) {
		MloRange before = best;

		for (int k = 0; k < STEPS; k++) {
			double part = 1 - (double)k / (STEPS + 10);
			MloRange high = {best.lo, full.hi * part}, low = {full.lo * part, best.hi};
			double eh = mlo_range_error(s, high, levels), el;

			if (full.hi > 0 && eh < least) {
				least = eh;
				best.hi = high.hi;
			}
			low.hi = best.hi;
			el = mlo_range_error(s, low, levels);
			if (full.lo < 0 && el < least) {
				least = el;
				best.lo = low.lo;
			}
		}
		if (before.lo == best.lo && before.hi == best.hi)
			break;
	}
	return best;
}

/* Zeros are exact whatever the range: the bin that holds them counts no more than its neighbour. */
static double seen(const MloStats *s, int bin)
{
	return s->bin[bin == OBSERVE_BINS / 2 ? bin + 1 : bin];
}

/* Divergence of the bins [a, b), outliers moved to their ends, from what `levels` equal parts of them tell. */
static double divergence(const MloStats *s, int a, int b, int levels, double sum)
{
	double kl = 0, below = 0, above = 0, shown = 0;

	for (int i = 0; i < a; i++)
		below += seen(s, i);
	for (int i = b; i < OBSERVE_BINS; i++)
		above += seen(s, i);
	for (int i = a; i < b; i++)
		shown += seen(s, i);
	for (int k = 0; k < levels; k++) {
		int from = a + (int)((int64_t)(b - a) * k / levels), to = a + (int)((int64_t)(b - a) * (k + 1) / levels);
		double part = 0;
		int filled = 0;

		for (int i = from; i < to; i++) {
			part += seen(s, i);
			filled += seen(s, i) > 0;
		}
		for (int i = from; i < to; i++) {
			double p = seen(s, i) + (i == a ? below : 0) + (i == b - 1 ? above : 0);
			double q = seen(s, i) > 0 ? part / filled : 0;

			if (p > 0)
				kl += p / sum * log((p / sum) / (q > 0 ? q / shown : 1e-6 / (double)(b - a)));
		}
	}
	return kl;
}

static MloRange least_divergence(const MloStats *s, int levels)
{
	enum { STEPS = 100 };
	const int half = OBSERVE_BINS / 2;
	double sum = total(s) - s->bin[half] + seen(s, half), least = INFINITY;
	int reach = (int)ceil(fmax(-s->lo, s->hi) / width(s)), best = reach;

	for (int k = 0; k < STEPS; k++) {
		int t = (int)lround(reach * (1 - (double)k / (STEPS + 10)));
		int a = s->lo < 0 ? half - t : half, b = s->hi > 0 ? half + t : half;
		double kl;

		if (b - a < levels)
			break;
		a = a < 0 ? 0 : a;
		b = b > OBSERVE_BINS ? OBSERVE_BINS : b;
		kl = divergence(s, a, b, levels, sum);
		if (kl < least) {
			least = kl;
			best = t;
		}
	}
	return with_zero(fmax(s->lo, -best * width(s)), fmin(s->hi, best * width(s)));
}

MloRange mlo_range(const MloStats *s, MloRangeMethod m, double p, int levels)
{
	if (m == RANGE_AVERAGE)
		return with_zero(s->mean_lo, s->mean_hi);
	if (s->limit == 0 || !s->bin)
		return with_zero(s->lo, s->hi);
	switch (m) {
	case RANGE_PERCENTILE:
		return percentile(s, p);
	case RANGE_ENTROPY:
		return least_divergence(s, levels);
	case RANGE_MSE:
		return least_error(s, levels);
	default:
		return with_zero(s->lo, s->hi);
	}
}
