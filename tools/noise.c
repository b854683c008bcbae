/* tools/noise.c -- how far results are from those wanted. */
#include "tools/noise.h"

#include <math.h>

void noise_add(Noise *s, const MloTensor *want, const MloTensor *got)
{
	const float *a = want->data, *b = got->data;

	if (want->elem != EL_f32)
		return;
	for (int64_t i = 0, n = mlo_tensor_elems(want); i < n; i++) {
		s->signal += (double)a[i] * a[i];
		s->noise += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
		s->product += (double)a[i] * b[i];
		s->got += (double)b[i] * b[i];
	}
}

void noise_join(Noise *s, const Noise *other)
{
	s->signal += other->signal;
	s->noise += other->noise;
	s->product += other->product;
	s->got += other->got;
}

double noise_db(const Noise *s)
{
	return s->noise > 0 ? 10 * log10(s->signal / s->noise) : INFINITY;
}

double noise_cosine(const Noise *s)
{
	return s->signal > 0 && s->got > 0 ? s->product / sqrt(s->signal * s->got) : 1;
}
