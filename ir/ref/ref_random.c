/* ir/ref/ref_random.c -- random numbers: a function of the seed and the place of the element alone.
 *
 * A counter-based generator (the SplitMix64 finaliser, Steele, Lea and Flood 2014, over the place):
 * any part of a result can be made by itself, and every run and every machine gives the same.  Where a
 * definition names the numbers that a seed gives, they are those of the Mersenne Twister MT19937
 * (Matsumoto and Nishimura 1998), one after the other. */
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

/* -- MT19937 --------------------------------------------------------------------------------- */

enum { TWISTER_WORDS = 624, TWISTER_MIDDLE = 397 };
typedef struct Twister { uint32_t word[TWISTER_WORDS]; int at; } Twister;

static void twister_seed(Twister *t, uint32_t seed)
{
	t->word[0] = seed;
	for (uint32_t i = 1; i < TWISTER_WORDS; i++)
		t->word[i] = UINT32_C(1812433253) * (t->word[i - 1] ^ t->word[i - 1] >> 30) + i;
	t->at = TWISTER_WORDS;
}

static void twister_turn(Twister *t)
{
	for (int i = 0; i < TWISTER_WORDS; i++) {
		uint32_t low = t->word[(i + 1) % TWISTER_WORDS], far = t->word[(i + TWISTER_MIDDLE) % TWISTER_WORDS];
		uint32_t y = (t->word[i] & UINT32_C(0x80000000)) | (low & UINT32_C(0x7fffffff));
		t->word[i] = far ^ y >> 1 ^ (y & 1 ? UINT32_C(0x9908b0df) : 0);
	}
	t->at = 0;
}

static uint32_t twister_next(Twister *t)
{
	if (t->at == TWISTER_WORDS)
		twister_turn(t);
	uint32_t y = t->word[t->at++];
	y ^= y >> 11;
	y ^= y << 7 & UINT32_C(0x9d2c5680);
	y ^= y << 15 & UINT32_C(0xefc60000);
	return y ^ y >> 18;
}

/* 53 bits out of two words, the first word giving the higher 27. */
static void twister_fill(const RefTensor *y, double seed, double low, double high)
{
	Twister t;
	twister_seed(&t, (uint32_t)seed);
	for (int64_t i = 0, n = ref_count(y); i < n; i++) {
		double a = (double)(twister_next(&t) >> 5), b = (double)(twister_next(&t) >> 6);
		ref_put_f64(y, i, low + (high - low) * ((a * 0x1p26 + b) * 0x1p-53));
	}
}

/* -- distributions --------------------------------------------------------------------------- */

/* Results of a coarser type are rounded down, so that `high` is never reached. */
void ref_random_uniform(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	double low = c->attr[ATTR_random_uniform_low].f, high = c->attr[ATTR_random_uniform_high].f;
	uint64_t key = key_of(c->attr[ATTR_random_uniform_seed].f);
	if (c->attr[ATTR_random_uniform_twister].i) {
		twister_fill(y, c->attr[ATTR_random_uniform_seed].f, low, high);
		return;
	}
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
