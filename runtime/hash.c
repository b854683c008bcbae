/* runtime/hash.c -- the hash of packages: xxh3-64, from the header-only form of xxHash. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "runtime/internal.h"

MLRT_LOCAL uint64_t mlrt_hash(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

MLRT_LOCAL uint64_t mlrt_header_hash(const void *header, size_t n)
{
	static const unsigned char zero[sizeof(uint64_t)];
	const size_t at = offsetof(MlrtHeader, header_hash);
	XXH3_state_t state;

	XXH3_64bits_reset(&state);
	XXH3_64bits_update(&state, header, at);
	XXH3_64bits_update(&state, zero, sizeof zero);
	XXH3_64bits_update(&state, (const char *)header + at + sizeof zero, n - at - sizeof zero);
	return XXH3_64bits_digest(&state);
}
