/* codegen/cache.h -- content-addressed files of finished objects, tuned schedules and measured times, safe under concurrent
 * writers. */
#ifndef MLO_CODEGEN_CACHE_H
#define MLO_CODEGEN_CACHE_H
#include "codegen/key.h"
#include "targets/object.h"

/* Over the compiler's version, the target and the text. */
CacheKey cache_key(const MloTarget *t, const char *kernel_text, size_t n);

/* What a file holds: its suffix. */
#define CACHE_OBJECT "o"
#define CACHE_TUNED "tuned"
#define CACHE_TIMES "times"
typedef enum CacheFound { CACHE_ABSENT, CACHE_FOUND, CACHE_DAMAGED } CacheFound;

/* Reads a file; a damaged one is removed. *out is empty unless it was found. */
CacheFound cache_get(const char *dir, CacheKey key, const char *kind, MloBytes *out);
/* Stores it, by a temporary name and rename.  Of objects failure costs only time later, so it is silent. */
bool cache_put(const char *dir, CacheKey key, const char *kind, const MloBytes *content);
#endif
