/* tools/noise.h -- how far the results of one graph are from those of another. */
#ifndef MLO_TOOLS_NOISE_H
#define MLO_TOOLS_NOISE_H
#include "ir/type.h"

typedef struct Noise {
	double signal, noise, product, got; /* sums of squares, and of products of both */
} Noise;

void noise_add(Noise *s, const MloTensor *want, const MloTensor *got); /* of as many elements; other than float32: nothing */
void noise_join(Noise *s, const Noise *other);
double noise_db(const Noise *s);     /* signal to noise; INFINITY: they are equal */
double noise_cosine(const Noise *s); /* between all of one and all of the other */
#endif
