/* package/write.c -- the package file: collects blobs, lays them out, writes all or nothing. */
#include "package/package.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct Blob {
	const void *data;
	MlrtBlob row; /* its offset is set by layout() */
} Blob;

struct MloPackage {
	MloArena *arena;
	struct {
		Blob *items;
		size_t n, cap;
	} blob;
};

/* A run of bytes of the file; data NULL: zeros. */
typedef struct Piece {
	const void *data;
	size_t n;
} Piece;

typedef struct Pieces {
	Piece *items;
	size_t n, cap;
	uint64_t total;
} Pieces;

MloPackage *mlo_package_new(MloArena *a)
{
	MloPackage *p = MLO_NEW(a, MloPackage);

	p->arena = a;
	return p;
}

int mlo_package_blob(MloPackage *p, enum MlrtBlobKind kind, const void *data, size_t n)
{
	const MlrtBlob row = {.kind = kind, .bytes = n, .hash = XXH3_64bits(data, n)};

	for (size_t i = 0; i < p->blob.n; i++) {
		const Blob *b = &p->blob.items[i];

		if (b->row.kind == row.kind && b->row.bytes == n && b->row.hash == row.hash &&
		    (n == 0 || memcmp(b->data, data, n) == 0))
			return (int)i;
	}
	MLO_PUSH(p->arena, &p->blob, ((Blob){data, row}));
	return (int)p->blob.n - 1;
}

static void add(MloArena *a, Pieces *to, const void *data, size_t n)
{
	if (n == 0)
		return;
	MLO_PUSH(a, to, ((Piece){data, n}));
	to->total += n;
}

static void pad(MloArena *a, Pieces *to, uint64_t multiple)
{
	add(a, to, NULL, (multiple - to->total % multiple) % multiple);
}

/* Every byte of the file in order. */
static void layout(const MloPackage *p, const char *manifest, Pieces *out)
{
	MloArena *a = p->arena;
	MlrtHeader *h = MLO_NEW(a, MlrtHeader);
	MlrtBlob *table = MLO_NEWN(a, MlrtBlob, p->blob.n);

	memcpy(h->magic, MLRT_MAGIC, sizeof h->magic);
	h->major = MLRT_FORMAT_MAJOR;
	h->minor = MLRT_FORMAT_MINOR;
	h->header_bytes = sizeof *h;
	h->manifest_offset = sizeof *h;
	h->manifest_bytes = strlen(manifest);
	h->nblobs = p->blob.n;
	add(a, out, h, sizeof *h);
	add(a, out, manifest, h->manifest_bytes);
	pad(a, out, 8);
	h->table_offset = out->total;
	add(a, out, table, p->blob.n * sizeof *table);
	for (size_t i = 0; i < p->blob.n; i++) {
		pad(a, out, MLRT_PAGE);
		table[i] = p->blob.items[i].row;
		table[i].offset = out->total;
		add(a, out, p->blob.items[i].data, table[i].bytes);
	}
	h->file_bytes = out->total;
	h->manifest_hash = XXH3_64bits(manifest, h->manifest_bytes);
	h->table_hash = XXH3_64bits(table, p->blob.n * sizeof *table);
	h->header_hash = XXH3_64bits(h, sizeof *h); /* its own field is still 0 */
}

MloStatus mlo_package_bytes(const MloPackage *p, const char *manifest, MloArena *a, unsigned char **bytes,
			    size_t *n, MloDiag *d)
{
	Pieces pieces = {0};
	size_t at = 0;

	if (strlen(manifest) > MLRT_MANIFEST_MAX)
		return mlo_error(d, MLO_ERR_LIMIT, "manifest of %zu bytes, at most %d are possible",
				 strlen(manifest), MLRT_MANIFEST_MAX);
	layout(p, manifest, &pieces);
	*n = pieces.total;
	*bytes = mlo_alloc(a, pieces.total, 1); /* zeroed */
	for (size_t i = 0; i < pieces.n; at += pieces.items[i++].n)
		if (pieces.items[i].data)
			memcpy(*bytes + at, pieces.items[i].data, pieces.items[i].n);
	return MLO_OK;
}

static bool write_all(int fd, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, data, n < (1 << 30) ? n : 1 << 30);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		data += done;
		n -= (size_t)done;
	}
	return true;
}

static bool write_pieces(int fd, const Pieces *pieces)
{
	static const char zeros[MLRT_PAGE];
	bool ok = true;

	for (size_t i = 0; ok && i < pieces->n; i++)
		ok = write_all(fd, pieces->items[i].data ? pieces->items[i].data : zeros, pieces->items[i].n);
	return ok && fsync(fd) == 0;
}

/* A file size limit (ulimit -f) must end in EFBIG and a tidy folder, not in a signal that kills the
 * process: the signal is held back in this thread, and taken off before it is let through again. */
static bool write_quietly(int fd, const Pieces *pieces)
{
	const struct timespec now = {0};
	sigset_t limit, old;
	bool ok;
	int e;

	sigemptyset(&limit);
	sigaddset(&limit, SIGXFSZ);
	pthread_sigmask(SIG_BLOCK, &limit, &old);
	ok = write_pieces(fd, pieces);
	e = errno;
	if (!sigismember(&old, SIGXFSZ))
		sigtimedwait(&limit, NULL, &now);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = e;
	return ok;
}

/* Opens a new file beside `path`; its name goes to *name. */
static int open_temporary(MloArena *a, const char *path, const char **name)
{
	for (int i = 0; i < 100; i++) {
		int fd;

		*name = mlo_sprintf(a, "%s.%ld-%d.tmp", path, (long)getpid(), i);
		fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (fd >= 0 || errno != EEXIST)
			return fd;
	}
	return -1;
}

/* The name is durable once its folder is; a folder that cannot be synced is no reason to fail. */
static void sync_folder(MloArena *a, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *folder = ".";
	int fd;

	if (slash)
		folder = slash == path ? "/" : mlo_strndup(a, path, (size_t)(slash - path));
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
}

/* Where the file really goes: what a link points to. */
static MloStatus real_target(MloArena *a, const char *path, const char **out, MloDiag *d)
{
	struct stat info;
	char *real;

	*out = path;
	if (stat(path, &info) != 0)
		return MLO_OK; /* new, or a problem that opening will name */
	if (!S_ISREG(info.st_mode))
		return mlo_error(d, MLO_ERR_IO, "%s: exists and is not a regular file", path);
	real = realpath(path, NULL);
	if (real) {
		*out = mlo_strdup(a, real);
		free(real);
	}
	return MLO_OK;
}

MloStatus mlo_package_write(const MloPackage *p, const char *manifest, const char *path, MloDiag *d)
{
	Pieces pieces = {0};
	const char *target, *temporary;
	bool ok;
	int fd, e;

	if (strlen(manifest) > MLRT_MANIFEST_MAX)
		return mlo_error(d, MLO_ERR_LIMIT, "%s: manifest of %zu bytes, at most %d are possible", path,
				 strlen(manifest), MLRT_MANIFEST_MAX);
	layout(p, manifest, &pieces);
	MLO_TRY(real_target(p->arena, path, &target, d));
	fd = open_temporary(p->arena, target, &temporary);
	if (fd < 0)
		return mlo_error(d, MLO_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
	ok = write_quietly(fd, &pieces);
	e = errno;
	if (close(fd) != 0 && ok) {
		ok = false;
		e = errno;
	}
	if (ok && rename(temporary, target) != 0) {
		ok = false;
		e = errno;
	}
	if (!ok) {
		unlink(temporary);
		return mlo_error(d, MLO_ERR_IO, "%s: cannot write %llu bytes: %s", path,
				 (unsigned long long)pieces.total, strerror(e));
	}
	sync_folder(p->arena, target);
	return MLO_OK;
}
