/* runtime/hash.c -- hashes of the parts of a package: chunk by chunk, by several threads. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/internal.h"

enum { HASH_THREADS = 8, HASH_ALONE = 8 }; /* at most; chunks that are not worth a second thread */

MLRT_LOCAL uint64_t mlrt_header_hash(const void *header, size_t n)
{
	unsigned char copy[MLRT_MAX_HEADER];

	memcpy(copy, header, n);
	memset(copy + offsetof(MlrtHeader, header_hash), 0, sizeof(uint64_t));
	return mlrt_hash(copy, n);
}

typedef struct ChunkWork {
	const unsigned char *data;
	size_t bytes, chunks;
	unsigned char *digest;  /* digest_bytes for each chunk */
	size_t digest_bytes;
	size_t kept;            /* chunks; those behind are forgotten */
	ChunkHash *one;
	atomic_size_t next;
} ChunkWork;

static void *hash_chunks(void *arg)
{
	ChunkWork *w = arg;

	for (;;) {
		const size_t i = atomic_fetch_add(&w->next, 1), at = i * MLRT_HASH_CHUNK;
		size_t n;

		if (i >= w->chunks)
			return NULL;
		n = w->bytes - at < MLRT_HASH_CHUNK ? w->bytes - at : MLRT_HASH_CHUNK;
		w->one(w->data + at, n, w->digest + i * w->digest_bytes);
		if (i >= w->kept)
			mlrt_forget(w->data + at, n);
	}
}

MLRT_LOCAL size_t mlrt_chunks(size_t n)
{
	return (n + MLRT_HASH_CHUNK - 1) / MLRT_HASH_CHUNK;
}

MLRT_LOCAL void mlrt_hash_chunks(const void *p, size_t n, size_t forget, ChunkHash *one, void *digests, size_t digest_bytes)
{
	ChunkWork w = {.data = p, .bytes = n, .chunks = mlrt_chunks(n), .digest = digests, .digest_bytes = digest_bytes, .one = one};
	pthread_t thread[HASH_THREADS];
	int started = 0, wanted = 0;

	w.kept = w.chunks - forget;
	if (w.chunks > HASH_ALONE)
		wanted = mlrt_cpu_count("") - 1;
	while (started < wanted && started < HASH_THREADS && !pthread_create(&thread[started], NULL, hash_chunks, &w))
		started++;
	hash_chunks(&w);
	while (started > 0)
		pthread_join(thread[--started], NULL);
}

static void hash_chunk64(const void *p, size_t n, void *digest)
{
	const uint64_t h = mlrt_hash(p, n);

	memcpy(digest, &h, sizeof h);
}

MLRT_LOCAL bool mlrt_blob_hash(const void *p, size_t n, size_t forget, uint64_t *hash)
{
	const size_t chunks = mlrt_chunks(n);
	uint64_t *each;

	if (chunks <= 1) {
		*hash = mlrt_hash(p, n);
		return true;
	}
	each = malloc(chunks * sizeof *each);
	if (!each)
		return false;
	mlrt_hash_chunks(p, n, forget, hash_chunk64, each, sizeof *each);
	*hash = mlrt_hash(each, chunks * sizeof *each);
	free(each);
	return true;
}
