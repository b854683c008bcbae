/* codegen/key.h -- the name of what is kept for a kernel: 128 bits over everything that decides it (cache.h). */
#ifndef MLO_CODEGEN_KEY_H
#define MLO_CODEGEN_KEY_H
#include <stdint.h>

typedef struct CacheKey { uint64_t hi, lo; } CacheKey;
#endif
