/* codegen/cache.c -- files of the cache: DIR/xx/<key>.<kind>, each its content behind a checksum. */
#include "codegen/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <llvm/Config/llvm-config.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "config.h"
#include "ir/ref/bitcode.h"

/* Raised whenever the emitter changes the code it makes for an unchanged kernel text. */
#define EMITTER_VERSION "56"

typedef struct Header { char magic[8]; uint64_t bytes, hash; } Header;
static const char magic[8] = "MLOPTOBJ";

CacheKey cache_key(const MloTarget *t, const char *kernel_text, size_t n)
{
	static const char version[] = PACKAGE_VERSION "/" LLVM_VERSION_STRING "/" EMITTER_VERSION;
	XXH3_state_t *s = XXH3_createState();
	CacheKey key = {0, 0};
	XXH128_hash_t h;
	int width[] = {t->vector_bytes, t->register_bytes};

	if (!s)
		return key;
	XXH3_128bits_reset(s);
	XXH3_128bits_update(s, version, sizeof version);
	XXH3_128bits_update(s, t->triple, strlen(t->triple) + 1);
	XXH3_128bits_update(s, t->cpu, strlen(t->cpu) + 1);
	XXH3_128bits_update(s, t->features, strlen(t->features) + 1);
	XXH3_128bits_update(s, t->tune ? t->tune : "", t->tune ? strlen(t->tune) + 1 : 1);
	XXH3_128bits_update(s, width, sizeof width);
	XXH3_128bits_update(s, kernel_text, n);
	if (memmem(kernel_text, n, "call ", 5) || memmem(kernel_text, n, "sizes ", 6)) {
		/* made of a reference kernel, which may be another one in the next build */
		size_t bytes = 0;
		const void *library = mlo_ref_bitcode(t->arch, &bytes);

		XXH3_128bits_update(s, library ? library : "", library ? bytes : 0);
	}
	h = XXH3_128bits_digest(s);
	XXH3_freeState(s);
	return (CacheKey){h.high64, h.low64};
}

static bool path_of(const char *dir, CacheKey k, const char *kind, char *out, size_t n)
{
	return snprintf(out, n, "%s/%02x/%016llx%016llx.%s", dir, (unsigned)(k.hi >> 56), (unsigned long long)k.hi,
	                (unsigned long long)k.lo, kind) < (int)n;
}

CacheFound cache_get(const char *dir, CacheKey key, const char *kind, MloBytes *out)
{
	char path[PATH_MAX];
	Header h;
	FILE *f;
	bool ok;

	*out = (MloBytes){0};
	if (!path_of(dir, key, kind, path, sizeof path) || !(f = fopen(path, "rb")))
		return CACHE_ABSENT;
	ok = fread(&h, sizeof h, 1, f) == 1 && !memcmp(h.magic, magic, sizeof magic) && h.bytes < (1u << 30);
	if (ok) {
		out->n = h.bytes;
		out->data = malloc(h.bytes + 1);
		ok = out->data && fread(out->data, 1, h.bytes, f) == h.bytes && fgetc(f) == EOF &&
		     XXH3_64bits(out->data, h.bytes) == h.hash;
	}
	fclose(f);
	if (!ok) {
		free(out->data);
		*out = (MloBytes){0};
		unlink(path);
	}
	return ok ? CACHE_FOUND : CACHE_DAMAGED;
}

static bool make_dirs(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0700) && errno != EEXIST)
			return false;
		*p = '/';
	}
	return true;
}

bool cache_put(const char *dir, CacheKey key, const char *kind, const MloBytes *content)
{
	char path[PATH_MAX], tmp[PATH_MAX + 16];
	Header h = {.bytes = content->n, .hash = XXH3_64bits(content->data, content->n)};
	FILE *f;
	bool ok;
	int fd;

	memcpy(h.magic, magic, sizeof magic);
	if (!path_of(dir, key, kind, path, sizeof path) || !make_dirs(path))
		return false;
	snprintf(tmp, sizeof tmp, "%s.XXXXXX", path);
	fd = mkstemp(tmp);
	if (fd < 0)
		return false;
	f = fdopen(fd, "wb");
	ok = f && fwrite(&h, sizeof h, 1, f) == 1 && fwrite(content->data, 1, content->n, f) == content->n;
	if (f ? fclose(f) : close(fd))
		ok = false;
	ok = ok && rename(tmp, path) == 0;
	if (!ok)
		unlink(tmp);
	return ok;
}
