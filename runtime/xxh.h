/* runtime/xxh.h -- the header-only form of xxHash; on x86-64 with its AVX2 loop beside the one of the baseline. */
#ifndef MLRT_XXH_H
#define MLRT_XXH_H

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define XXH_DISPATCH_AVX2 1
#define XXH_TARGET_AVX2   __attribute__((__target__("avx2")))
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>

#endif
