/* tools/npz.c -- reads .npz archives by their central directory. */
#include "tools/npz.h"

#include <string.h>
#include <zlib.h>

#include "tools/npy.h"

enum { END_BYTES = 22, ENTRY_BYTES = 46, LOCAL_BYTES = 30, MAX_COMMENT = 65535, STORED = 0, DEFLATED = 8 };
/* Deflate reaches 1032:1; an entry that claims more lies. */
enum { MAX_RATIO = 1100, MAX_ARRAYS = 4096 };

typedef struct Zip {
	MloArena *a;
	const unsigned char *p;
	size_t n;
	const char *path;
	MloDiag *d;
} Zip;

static uint32_t le(const unsigned char *p, int bytes)
{
	uint32_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static MloStatus damaged(const Zip *z, const char *what)
{
	return mlo_error(z->d, MLO_ERR_FORMAT, "'%s' is no sound .npz archive: %s", z->path, what);
}

/* The record at the end that says where the directory is. */
static const unsigned char *find_end(const Zip *z)
{
	size_t last = z->n < END_BYTES ? 0 : z->n - END_BYTES;

	if (z->n < END_BYTES)
		return NULL;
	for (size_t back = 0; back <= MAX_COMMENT && back <= last; back++)
		if (le(z->p + last - back, 4) == 0x06054b50)
			return z->p + last - back;
	return NULL;
}

static MloStatus inflated(const Zip *z, const unsigned char *from, size_t packed, size_t size, const void **out)
{
	z_stream s = {.next_in = (unsigned char *)(uintptr_t)from, .avail_in = (uInt)packed};
	unsigned char *to;
	int rc;

	if (size / MAX_RATIO > packed)
		return damaged(z, "an array is packed more than is possible");
	to = mlo_alloc(z->a, size + 1, 1);
	if (inflateInit2(&s, -MAX_WBITS) != Z_OK)
		return mlo_error(z->d, MLO_ERR_NOMEM, "out of memory unpacking '%s'", z->path);
	s.next_out = to;
	s.avail_out = (uInt)size;
	rc = inflate(&s, Z_FINISH);
	inflateEnd(&s);
	if (rc != Z_STREAM_END || s.avail_out)
		return damaged(z, "an array cannot be unpacked");
	*out = to;
	return MLO_OK;
}

/* Entry e of the directory: its bytes, unpacked. */
static MloStatus contents(const Zip *z, const unsigned char *e, const void **bytes, size_t *n)
{
	size_t packed = le(e + 20, 4), at = le(e + 42, 4), start;
	unsigned method = le(e + 10, 2);

	*n = le(e + 24, 4);
	if (packed == UINT32_MAX || *n == UINT32_MAX || at == UINT32_MAX)
		return mlo_error(z->d, MLO_ERR_LIMIT, "'%s' is larger than 4 GiB", z->path);
	if (at > z->n || z->n - at < LOCAL_BYTES || le(z->p + at, 4) != 0x04034b50)
		return damaged(z, "an array is not where the directory says");
	start = at + LOCAL_BYTES + le(z->p + at + 26, 2) + le(z->p + at + 28, 2);
	if (start > z->n || packed > z->n - start)
		return damaged(z, "it ends inside an array");
	if (method == DEFLATED)
		return inflated(z, z->p + start, packed, *n, bytes);
	if (method != STORED || packed != *n)
		return damaged(z, "an array is packed in a way that is not known");
	/* Arrays start anywhere in the archive: a copy is aligned. */
	*bytes = mlo_dup(z->a, z->p + start, *n);
	return MLO_OK;
}

static MloStatus read_entry(const Zip *z, const unsigned char *e, size_t nname, MloNpz *out)
{
	const char *name = (const char *)e + ENTRY_BYTES;
	const void *bytes = NULL;
	size_t n;

	if (nname < 4 || memcmp(name + nname - 4, ".npy", 4) != 0)
		return MLO_OK;
	if (out->n == MAX_ARRAYS)
		return mlo_error(z->d, MLO_ERR_LIMIT, "'%s' holds more than %d arrays", z->path, MAX_ARRAYS);
	MLO_TRY(contents(z, e, &bytes, &n));
	out->name[out->n] = mlo_strndup(z->a, name, nname - 4);
	MLO_TRY(mlo_npy_parse(z->a, bytes, n, mlo_sprintf(z->a, "%s:%s", z->path, out->name[out->n]),
			      &out->array[out->n], z->d));
	out->n++;
	return MLO_OK;
}

MloStatus mlo_npz_parse(MloArena *a, const void *bytes, size_t n, const char *path, MloNpz *out, MloDiag *d)
{
	Zip z = {a, bytes, n, path, d};
	const unsigned char *end = find_end(&z);
	size_t count, at;

	*out = (MloNpz){0};
	if (!end)
		return damaged(&z, "its directory is missing");
	count = le(end + 10, 2);
	at = le(end + 16, 4);
	out->name = MLO_NEWN(a, const char *, count + 1);
	out->array = MLO_NEWN(a, MloTensor *, count + 1);
	for (size_t i = 0; i < count; i++) {
		size_t nname;

		if (at > n || n - at < ENTRY_BYTES || le(z.p + at, 4) != 0x02014b50)
			return damaged(&z, "its directory is cut off");
		nname = le(z.p + at + 28, 2);
		if (nname > n - at - ENTRY_BYTES)
			return damaged(&z, "its directory is cut off");
		MLO_TRY(read_entry(&z, z.p + at, nname, out));
		at += ENTRY_BYTES + nname + le(z.p + at + 30, 2) + le(z.p + at + 32, 2);
	}
	if (!out->n)
		return damaged(&z, "it holds no arrays");
	return MLO_OK;
}

MloStatus mlo_npz_read(MloArena *a, const char *path, MloNpz *out, MloDiag *d)
{
	const void *bytes;
	size_t n;

	MLO_TRY(mlo_map_file(a, path, &bytes, &n, d));
	return mlo_npz_parse(a, bytes, n, path, out, d);
}
