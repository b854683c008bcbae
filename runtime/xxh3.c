/* runtime/xxh3.c -- xxh3-64 of bytes in one piece, without a seed, with the secret of the algorithm.
 *
 * The algorithm, its constants and its secret: "XXH3 Algorithm Specification", doc/xxhash_spec.md of xxHash.  Small
 * code, but the loop over long data, which is all that takes time, is there for the vectors of each architecture. */
#include <string.h>

#include "runtime/internal.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define P32_1 0x9e3779b1u
#define P32_2 0x85ebca77u
#define P32_3 0xc2b2ae3du
#define P64_1 0x9e3779b185ebca87u
#define P64_2 0xc2b2ae3d27d4eb4fu
#define P64_3 0x165667b19e3779f9u
#define P64_4 0x85ebca77c2b2ae63u
#define P64_5 0x27d4eb2f165667c5u

enum { STRIPE = 64, BLOCK_STRIPES = 16, LANES = 8, SECRET = 192 };

static const unsigned char secret[SECRET] = {
	0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
	0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
	0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
	0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
	0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
	0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
	0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
	0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
	0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
	0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
	0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
	0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

static uint64_t read64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static uint32_t read32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

/* Both halves of the product, one on the other. */
static uint64_t fold(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
	const unsigned __int128 p = (unsigned __int128)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
#else
	const uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
	const uint64_t low = al * bl, mid = ah * bl + (low >> 32), cross = al * bh + (uint32_t)mid;

	return (cross << 32 | (uint32_t)low) ^ (ah * bh + (mid >> 32) + (cross >> 32));
#endif
}

static uint64_t avalanche(uint64_t h)
{
	h = (h ^ h >> 37) * 0x165667919e3779f9u;
	return h ^ h >> 32;
}

static uint64_t avalanche_short(uint64_t h) /* that of XXH64 */
{
	h = (h ^ h >> 33) * P64_2;
	h = (h ^ h >> 29) * P64_3;
	return h ^ h >> 32;
}

static uint64_t rotate(uint64_t v, int n)
{
	return v << n | v >> (64 - n);
}

/* -- up to 240 bytes ------------------------------------------------------------------------------------- */

static uint64_t hash_16(const unsigned char *p, size_t n)
{
	uint64_t a, b;

	if (n > 8) {
		a = read64(p) ^ read64(secret + 24) ^ read64(secret + 32);
		b = read64(p + n - 8) ^ read64(secret + 40) ^ read64(secret + 48);
		return avalanche(n + __builtin_bswap64(a) + b + fold(a, b));
	}
	if (n >= 4) {
		a = ((uint64_t)read32(p) << 32) + read32(p + n - 4);
		a ^= read64(secret + 8) ^ read64(secret + 16);
		a = (a ^ rotate(a, 49) ^ rotate(a, 24)) * 0x9fb21c651e98df25u;
		a = (a ^ ((a >> 35) + n)) * 0x9fb21c651e98df25u;
		return a ^ a >> 28;
	}
	if (n == 0)
		return avalanche_short(read64(secret + 56) ^ read64(secret + 64));
	a = (uint32_t)p[0] << 16 | (uint32_t)p[n / 2] << 24 | p[n - 1] | (uint32_t)n << 8;
	return avalanche_short(a ^ read32(secret) ^ read32(secret + 4));
}

static uint64_t mix(const unsigned char *p, const unsigned char *s)
{
	return fold(read64(p) ^ read64(s), read64(p + 8) ^ read64(s + 8));
}

static uint64_t hash_240(const unsigned char *p, size_t n)
{
	uint64_t sum = n * P64_1;

	if (n <= 128) { /* pairs from both ends */
		for (size_t i = (n - 1) / 32 + 1; i-- > 0;)
			sum += mix(p + 16 * i, secret + 32 * i) + mix(p + n - 16 * (i + 1), secret + 32 * i + 16);
		return avalanche(sum);
	}
	for (size_t i = 0; i < n / 16; i++) {
		if (i == 8)
			sum = avalanche(sum);
		sum += mix(p + 16 * i, i < 8 ? secret + 16 * i : secret + 16 * (i - 8) + 3);
	}
	sum = n / 16 == 8 ? avalanche(sum) : sum;
	return avalanche(sum + mix(p + n - 16, secret + 136 - 17));
}

/* -- long data ------------------------------------------------------------------------------------------- */

/* Adds n stripes to the sums, with the secret from s on, eight bytes further for each.  At the end of a block, which is
 * where the secret comes to its last stripe, the sums are scrambled and the secret begins anew. */
typedef void Stripes(uint64_t *sum, const unsigned char *p, size_t n, const unsigned char *s);
#define BLOCK_END (secret + SECRET - STRIPE)

#if defined(AVX2)
AVX2 static inline __m256i step_avx2(__m256i sum, const unsigned char *p, const unsigned char *s)
{
	const __m256i v = _mm256_loadu_si256((const void *)p), k = v ^ _mm256_loadu_si256((const void *)s);

	return _mm256_add_epi64(sum, _mm256_add_epi64(_mm256_shuffle_epi32(v, 0x4e), _mm256_mul_epu32(k, _mm256_srli_epi64(k, 32))));
}

AVX2 static inline __m256i scramble_avx2(__m256i sum, const unsigned char *s)
{
	const __m256i x = sum ^ _mm256_srli_epi64(sum, 47) ^ _mm256_loadu_si256((const void *)s), p = _mm256_set1_epi32((int)P32_1);

	return _mm256_add_epi64(_mm256_mul_epu32(x, p), _mm256_slli_epi64(_mm256_mul_epu32(_mm256_srli_epi64(x, 32), p), 32));
}

AVX2 static void stripes_avx2(uint64_t *sum, const unsigned char *p, size_t n, const unsigned char *s)
{
	__m256i a = _mm256_loadu_si256((const void *)sum), b = _mm256_loadu_si256((const void *)(sum + 4));

	for (; n > 0; n--, p += STRIPE) {
		_mm_prefetch((const void *)(p + 384), _MM_HINT_T0);
		a = step_avx2(a, p, s);
		b = step_avx2(b, p + 32, s + 32);
		s += 8;
		if (s == BLOCK_END) {
			a = scramble_avx2(a, s);
			b = scramble_avx2(b, s + 32);
			s = secret;
		}
	}
	_mm256_storeu_si256((void *)sum, a);
	_mm256_storeu_si256((void *)(sum + 4), b);
	_mm256_zeroupper(); /* compilers leave it out where they save space, and SSE code is slow without it */
}
#endif

/* Pair of sums by pair of sums: a block lies in the first cache, and the sums in registers. */
static void block_baseline(uint64_t *sum, const unsigned char *p, size_t n, const unsigned char *s)
{
	for (size_t k = 0; k < n; k++)
		__builtin_prefetch(p + STRIPE * (BLOCK_STRIPES + k));
	for (int i = 0; i < LANES; i += 2, p += 16, s += 16, sum += 2) {
#if defined(__x86_64__) && defined(__GNUC__)
		__m128i a = _mm_loadu_si128((const void *)sum);

		for (size_t k = 0; k < n; k++) {
			const __m128i v = _mm_loadu_si128((const void *)(p + STRIPE * k));
			const __m128i x = v ^ _mm_loadu_si128((const void *)(s + 8 * k));

			a = _mm_add_epi64(a, _mm_add_epi64(_mm_shuffle_epi32(v, 0x4e), _mm_mul_epu32(x, _mm_srli_epi64(x, 32))));
		}
		_mm_storeu_si128((void *)sum, a);
#elif defined(__aarch64__)
		uint64x2_t a = vld1q_u64(sum);

		for (size_t k = 0; k < n; k++) {
			const uint64x2_t v = vreinterpretq_u64_u8(vld1q_u8(p + STRIPE * k));
			const uint64x2_t x = veorq_u64(v, vreinterpretq_u64_u8(vld1q_u8(s + 8 * k)));

			a = vmlal_u32(vaddq_u64(a, vextq_u64(v, v, 1)), vmovn_u64(x), vshrn_n_u64(x, 32));
		}
		vst1q_u64(sum, a);
#else
		for (size_t k = 0; k < n; k++) {
			const uint64_t v = read64(p + STRIPE * k), x = v ^ read64(s + 8 * k);
			const uint64_t w = read64(p + STRIPE * k + 8), y = w ^ read64(s + 8 * k + 8);

			sum[0] += w + (uint32_t)x * (x >> 32);
			sum[1] += v + (uint32_t)y * (y >> 32);
		}
#endif
	}
}

static void stripes_baseline(uint64_t *sum, const unsigned char *p, size_t n, const unsigned char *s)
{
	for (; n > BLOCK_STRIPES - 1 && s == secret; n -= BLOCK_STRIPES, p += STRIPE * BLOCK_STRIPES) {
		block_baseline(sum, p, BLOCK_STRIPES, s);
		for (int i = 0; i < LANES; i++)
			sum[i] = (sum[i] ^ sum[i] >> 47 ^ read64(BLOCK_END + 8 * i)) * P32_1;
	}
	block_baseline(sum, p, n, s);
}

static uint64_t hash_long(const unsigned char *p, size_t n, Stripes *stripes)
{
	uint64_t sum[LANES] = {P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1}, h = n * P64_1;

	stripes(sum, p, (n - 1) / STRIPE, secret);
	stripes(sum, p + n - STRIPE, 1, BLOCK_END - 7);
	for (int i = 0; i < LANES; i += 2)
		h += fold(sum[i] ^ read64(secret + 11 + 8 * i), sum[i + 1] ^ read64(secret + 19 + 8 * i));
	return avalanche(h);
}

MLRT_LOCAL uint64_t mlrt_hash(const void *p, size_t n)
{
	if (n <= 16)
		return hash_16(p, n);
	if (n <= 240)
		return hash_240(p, n);
#if defined(AVX2)
	if (mlrt_cpu_has("avx2") == CPU_YES)
		return hash_long(p, n, stripes_avx2);
#endif
	return hash_long(p, n, stripes_baseline);
}
