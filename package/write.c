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

#include "runtime/format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct Blob {
	const MloPiece *piece;
	size_t npieces;
	MlrtBlob row; /* its offset is set by layout() */
} Blob;

struct MloPackage {
	MloArena *arena;
	struct {
		Blob *items;
		size_t n, cap;
	} blob;
};

/* The bytes of the file. */
typedef struct Pieces {
	MloPiece *items;
	size_t n, cap;
	uint64_t total;
} Pieces;

MloPackage *mlo_package_new(MloArena *a)
{
	MloPackage *p = MLO_NEW(a, MloPackage);

	p->arena = a;
	return p;
}

/* -- hashing pieces, as mlrt_blob_hash() of the runtime hashes them when they are one ------------ */

typedef struct Hasher {
	XXH3_state_t *chunk, *all;
	uint64_t last;       /* hash of the chunk finished last */
	size_t in_chunk, chunks;
} Hasher;

static void end_chunk(Hasher *h)
{
	h->last = XXH3_64bits_digest(h->chunk);
	XXH3_64bits_update(h->all, &h->last, sizeof h->last);
	XXH3_64bits_reset(h->chunk);
	h->chunks++;
	h->in_chunk = 0;
}

static void hash_run(Hasher *h, const void *data, size_t n)
{
	static const char zeros[4096];

	while (n > 0) {
		size_t take = MLRT_HASH_CHUNK - h->in_chunk;

		take = take < n ? take : n;
		if (!data && take > sizeof zeros)
			take = sizeof zeros;
		XXH3_64bits_update(h->chunk, data ? data : zeros, take);
		data = data ? (const char *)data + take : NULL;
		n -= take;
		h->in_chunk += take;
		if (h->in_chunk == MLRT_HASH_CHUNK)
			end_chunk(h);
	}
}

static uint64_t hash_pieces(MloArena *a, const MloPiece *piece, size_t npieces)
{
	/* the arena's alignment is what the states ask for */
	Hasher h = {.chunk = mlo_alloc(a, 1, sizeof(XXH3_state_t)), .all = mlo_alloc(a, 1, sizeof(XXH3_state_t))};

	XXH3_64bits_reset(h.chunk);
	XXH3_64bits_reset(h.all);
	for (size_t i = 0; i < npieces; i++)
		hash_run(&h, piece[i].data, piece[i].n);
	if (h.in_chunk || !h.chunks)
		end_chunk(&h);
	return h.chunks == 1 ? h.last : XXH3_64bits_digest(h.all);
}

static uint64_t total_bytes(const MloPiece *piece, size_t npieces)
{
	uint64_t n = 0;

	for (size_t i = 0; i < npieces; i++)
		n += piece[i].n;
	return n;
}

/* Equal bytes however they are cut.  Hashes of 64 bits decide first, so this rarely runs in vain. */
static bool same_pieces(const Blob *b, const MloPiece *piece, size_t npieces)
{
	static const char zeros[4096];
	size_t i = 0, j = 0, at = 0, to = 0;

	while (i < b->npieces && j < npieces) {
		size_t n = b->piece[i].n - at < piece[j].n - to ? b->piece[i].n - at : piece[j].n - to;
		const char *x = b->piece[i].data, *y = piece[j].data;

		if ((!x || !y) && n > sizeof zeros)
			n = sizeof zeros;
		if (n && memcmp(x ? x + at : zeros, y ? y + to : zeros, n) != 0)
			return false;
		at += n;
		to += n;
		if (at == b->piece[i].n)
			i++, at = 0;
		if (to == piece[j].n)
			j++, to = 0;
	}
	return true;
}

static uint64_t chunks_of(uint64_t bytes)
{
	return (bytes + MLRT_HASH_CHUNK - 1) / MLRT_HASH_CHUNK;
}

int mlo_package_pieces(MloPackage *p, enum MlrtBlobKind kind, const MloPiece *piece, size_t npieces, uint64_t lookup)
{
	const uint64_t bytes = total_bytes(piece, npieces);
	const MlrtBlob row = {.kind = kind, .bytes = bytes, .hash = hash_pieces(p->arena, piece, npieces),
	                      .flags = (uint32_t)(chunks_of(bytes) - chunks_of(bytes - lookup))};

	MLO_ASSERT(lookup <= bytes && (lookup == 0 || kind == MLRT_WEIGHTS));
	for (size_t i = 0; i < p->blob.n; i++) {
		const Blob *b = &p->blob.items[i];

		if (b->row.kind == row.kind && b->row.bytes == row.bytes && b->row.hash == row.hash && b->row.flags == row.flags &&
		    same_pieces(b, piece, npieces))
			return (int)i;
	}
	MLO_PUSH(p->arena, &p->blob, ((Blob){piece, npieces, row}));
	return (int)p->blob.n - 1;
}

int mlo_package_blob(MloPackage *p, enum MlrtBlobKind kind, const void *data, size_t n)
{
	MloPiece *piece = MLO_NEW(p->arena, MloPiece);

	*piece = (MloPiece){data, n};
	return mlo_package_pieces(p, kind, piece, 1, 0);
}

static void add(MloArena *a, Pieces *to, const void *data, size_t n)
{
	if (n == 0)
		return;
	MLO_PUSH(a, to, ((MloPiece){data, n}));
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
	const size_t header_bytes = sizeof(MlrtHeader) + sizeof(MlrtSignatures);
	unsigned char *header = mlo_alloc(a, 1, header_bytes); /* zeroed: nobody has signed */
	MlrtHeader *h = (MlrtHeader *)(void *)header;
	MlrtBlob *table = MLO_NEWN(a, MlrtBlob, p->blob.n);

	memcpy(h->magic, MLRT_MAGIC, sizeof h->magic);
	h->major = MLRT_FORMAT_MAJOR;
	h->minor = MLRT_FORMAT_MINOR;
	h->header_bytes = (uint32_t)header_bytes;
	h->manifest_offset = header_bytes;
	h->manifest_bytes = strlen(manifest);
	h->nblobs = p->blob.n;
	add(a, out, header, header_bytes);
	add(a, out, manifest, h->manifest_bytes);
	pad(a, out, 8);
	h->table_offset = out->total;
	add(a, out, table, p->blob.n * sizeof *table);
	for (size_t i = 0; i < p->blob.n; i++) {
		pad(a, out, MLRT_PAGE);
		table[i] = p->blob.items[i].row;
		table[i].offset = out->total;
		for (size_t k = 0; k < p->blob.items[i].npieces; k++)
			add(a, out, p->blob.items[i].piece[k].data, p->blob.items[i].piece[k].n);
	}
	h->file_bytes = out->total;
	h->manifest_hash = XXH3_64bits(manifest, h->manifest_bytes);
	h->table_hash = XXH3_64bits(table, p->blob.n * sizeof *table);
	h->header_hash = XXH3_64bits(header, header_bytes); /* its own field is still 0 */
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

/* All pieces to `path`, or nothing. mode: of the new file; 0: the usual one. */
static MloStatus replace_file(MloArena *a, const Pieces *pieces, const char *path, mode_t mode, MloDiag *d)
{
	const char *target, *temporary;
	bool ok;
	int fd, e;

	MLO_TRY(real_target(a, path, &target, d));
	fd = open_temporary(a, target, &temporary);
	if (fd < 0)
		return mlo_error(d, MLO_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
	ok = (!mode || fchmod(fd, mode) == 0) && write_quietly(fd, pieces);
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
				 (unsigned long long)pieces->total, strerror(e));
	}
	sync_folder(a, target);
	return MLO_OK;
}

MloStatus mlo_package_write(const MloPackage *p, const char *manifest, const char *path, MloDiag *d)
{
	Pieces pieces = {0};

	if (strlen(manifest) > MLRT_MANIFEST_MAX)
		return mlo_error(d, MLO_ERR_LIMIT, "%s: manifest of %zu bytes, at most %d are possible", path,
				 strlen(manifest), MLRT_MANIFEST_MAX);
	layout(p, manifest, &pieces);
	return replace_file(p->arena, &pieces, path, 0, d);
}

MloStatus mlo_package_replace(MloArena *a, const char *path, const void *first, size_t nfirst, const void *rest, size_t nrest,
			      MloDiag *d)
{
	Pieces pieces = {0};
	struct stat info;

	if (stat(path, &info) != 0)
		return mlo_error(d, MLO_ERR_IO, "%s: cannot examine: %s", path, strerror(errno));
	add(a, &pieces, first, nfirst);
	add(a, &pieces, rest, nrest);
	return replace_file(a, &pieces, path, info.st_mode & 07777, d);
}
