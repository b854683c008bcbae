/* tools/random.h -- reproducible pseudo-random numbers: splitmix64 (Steele, Lea and Flood, "Fast splittable
 * pseudorandom number generators", 2014). */
#ifndef MLO_TOOLS_RANDOM_H
#define MLO_TOOLS_RANDOM_H
#include <stdint.h>

static inline uint64_t mlo_random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}
#endif
