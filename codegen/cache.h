/* codegen/cache.h -- content-addressed files of finished objects, safe under concurrent writers. */
#ifndef MLO_CODEGEN_CACHE_H
#define MLO_CODEGEN_CACHE_H
#include "targets/object.h"

/* A key of 128 bits over everything that decides the object's bytes. */
typedef struct CacheKey { uint64_t hi, lo; } CacheKey;
CacheKey cache_key(const MloTarget *t, const char *kernel_text, size_t n);

/* Reads the object; false when absent or damaged (a damaged file is removed). */
bool cache_get(const char *dir, CacheKey key, MloBytes *out);
/* Stores it, by a temporary name and rename. Failure costs only time later, so it is silent. */
void cache_put(const char *dir, CacheKey key, const MloBytes *object);
#endif
