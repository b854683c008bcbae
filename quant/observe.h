/* quant/observe.h -- what is seen of a tensor during calibration, and the range that follows.
 *
 * Values stream through mlo_observe(); memory does not grow.  The histogram is symmetric around 0 and widens by
 * doubling, two bins becoming one, so that no value has to be seen twice. */
#ifndef MLO_QUANT_OBSERVE_H
#define MLO_QUANT_OBSERVE_H
#include <stdbool.h>
#include <stdint.h>

enum { OBSERVE_BINS = 8192 }; /* half of them below 0 */

typedef struct MloStats {
	int64_t count;          /* elements seen */
	int64_t bad;            /* NaN and infinite ones among them */
	double lo, hi;          /* of finite ones; 0 and 0 before any */
	double mean_lo, mean_hi; /* moving averages of the extremes of each call, after Jacob et al. 2018 */
	int64_t calls;
	double limit;           /* the histogram covers [-limit, limit), a power of two; 0 before any */
	float *bin;             /* OBSERVE_BINS counts */
} MloStats;

/* One batch of values.  stats->bin must have been allocated, zeroed. */
void mlo_observe(MloStats *s, const float *v, int64_t n);

typedef enum MloRangeMethod {
	RANGE_MINMAX,     /* everything seen */
	RANGE_AVERAGE,    /* moving averages of the extremes of each batch */
	RANGE_PERCENTILE, /* all but a share of (100 - percentile) % on either side */
	RANGE_ENTROPY,    /* least Kullback-Leibler divergence (Migacz 2017) */
	RANGE_MSE,        /* least mean square error of what quantization gives */
	RANGE_METHODS
} MloRangeMethod;
const char *mlo_range_text(MloRangeMethod m);
bool mlo_range_find(const char *text, MloRangeMethod *out);

typedef struct MloRange {
	double lo, hi; /* lo <= 0 <= hi */
} MloRange;
/* `levels` is the number of integers (256). */
MloRange mlo_range(const MloStats *s, MloRangeMethod m, double percentile, int levels);
/* Mean square error of quantising what was seen with that range. */
double mlo_range_error(const MloStats *s, MloRange r, int levels);
#endif
