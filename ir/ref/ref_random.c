/* ir/ref/ref_random.c -- random numbers: a function of the seed and the place of the element alone.
 *
 * A counter-based generator (the SplitMix64 finaliser, Steele, Lea and Flood 2014, over the place):
 * any part of a result can be made by itself, and every run and every machine gives the same. */
#include "ir/ref/ref_elem.h"

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Number i of the stream of a seed, in [0, 1), with 24 bits: exact in float32. */
static double uniform(uint64_t key, int64_t i)
{
	return (double)(mix(key + (uint64_t)(i + 1) * UINT64_C(0x9e3779b97f4a7c15)) >> 40) * 0x1p-24;
}

static uint64_t key_of(double seed) { return mix(refm_bits(seed) ^ UINT64_C(0x6a09e667f3bcc909)); }

/* Results of a coarser type are rounded down, so that `high` is never reached. */
void ref_random_uniform(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	double low = c->attr[ATTR_random_uniform_low].f, high = c->attr[ATTR_random_uniform_high].f;
	uint64_t key = key_of(c->attr[ATTR_random_uniform_seed].f);
	double steps = y->elem == EL_f16 ? 0x1p11 : y->elem == EL_bf16 ? 0x1p8 : 0x1p24;
	for (int64_t i = 0, n = ref_count(y); i < n; i++) {
		double u = refm_floor(uniform(key, i) * steps) / steps;
		ref_put_f64(y, i, low + u * (high - low));
	}
}

/* Box and Muller. */
void ref_random_normal(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	double mean = c->attr[ATTR_random_normal_mean].f, scale = c->attr[ATTR_random_normal_scale].f;
	uint64_t key = key_of(c->attr[ATTR_random_normal_seed].f);
	for (int64_t i = 0, n = ref_count(y); i < n; i++) {
		double radius = refm_sqrt(-2.0 * refm_log(1.0 - uniform(key, 2 * i)));
		double angle = 6.283185307179586 * uniform(key, 2 * i + 1);
		ref_put_f64(y, i, mean + scale * radius * refm_cos(angle));
	}
}

/* Each sample walks the classes until their weights, exp(x - max), pass a uniform share of the sum. */
void ref_multinomial(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	uint64_t key = key_of(c->attr[ATTR_multinomial_seed].f);
	int64_t classes = x->dim[1], samples = y->dim[1];
	for (int64_t b = 0; b < x->dim[0]; b++) {
		double max = -refm_inf(), sum = 0;
		for (int64_t k = 0; k < classes; k++) {
			double v = ref_get_f64(x, b * classes + k);
			max = v > max ? v : max;
		}
		for (int64_t k = 0; k < classes; k++)
			sum += refm_exp(ref_get_f64(x, b * classes + k) - max);
		for (int64_t s = 0; s < samples; s++) {
			double left = uniform(key, b * samples + s) * sum;
			int64_t k = 0;
			for (; k + 1 < classes; k++) {
				left -= refm_exp(ref_get_f64(x, b * classes + k) - max);
				if (left < 0)
					break;
			}
			ref_put_i64(y, b * samples + s, k);
		}
	}
}
