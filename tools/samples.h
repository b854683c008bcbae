/* tools/samples.h -- latencies of repeated runs, and what is said about them. */
#ifndef MLO_TOOLS_SAMPLES_H
#define MLO_TOOLS_SAMPLES_H
#include <stddef.h>

#include "ir/base/arena.h"

typedef struct Samples {
	double *items; /* milliseconds */
	size_t n, cap;
} Samples;

typedef struct Latency {
	double min, median, p90, p99, mean;
	size_t runs;
} Latency;

void samples_add(MloArena *a, Samples *s, double ms);
/* Sorts the samples. Percentiles are the nearest ranks. No samples: all zero. */
Latency samples_latency(Samples *s);
/* How much slower than the best an ordinary run is, (median - min) / min: above 0.15 or so the
 * machine is doing something else. */
double samples_noise(const Latency *l);
#endif
