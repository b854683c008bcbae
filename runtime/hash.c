/* runtime/hash.c -- the hash of packages: xxh3-64, from the header-only form of xxHash. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/internal.h"
#include "runtime/xxh.h"

enum { HASH_THREADS = 8, HASH_ALONE = 8 }; /* at most; chunks that are not worth a second thread */

#if XXH_DISPATCH_AVX2
#if XXH_VERSION_NUMBER < 802 /* the step of that loop got another name */
#define XXH3_accumulate_avx2 XXH3_accumulate_512_avx2
#endif
static XXH_TARGET_AVX2 void hash_avx2(const void *p, size_t n, void *digest)
{
	uint64_t h = n <= XXH3_MIDSIZE_MAX ? XXH3_64bits(p, n)
					   : XXH3_hashLong_64b_internal(p, n, XXH3_kSecret, sizeof XXH3_kSecret,
									XXH3_accumulate_avx2, XXH3_scrambleAcc_avx2);

	memcpy(digest, &h, sizeof h);
}
#endif

static void hash_baseline(const void *p, size_t n, void *digest)
{
	uint64_t h = XXH3_64bits(p, n);

	memcpy(digest, &h, sizeof h);
}

/* What hashes chunks fastest here; the loop for AVX2 takes two thirds of the baseline's time. */
static ChunkHash *hash_choose(void)
{
#if XXH_DISPATCH_AVX2
	if (mlrt_cpu_has("avx2") == CPU_YES)
		return hash_avx2;
#endif
	return hash_baseline;
}

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

MLRT_LOCAL uint64_t mlrt_blob_hash(const void *p, size_t n, size_t forget)
{
	const size_t chunks = mlrt_chunks(n);
	ChunkHash *one = hash_choose();
	uint64_t hash, *each;

	if (chunks <= 1)
		return XXH3_64bits(p, n);
	each = malloc(chunks * sizeof *each);
	if (!each) {
		const unsigned char *at = p;
		XXH3_state_t all;

		XXH3_64bits_reset(&all);
		for (size_t left = n; left > 0; left -= left < MLRT_HASH_CHUNK ? left : MLRT_HASH_CHUNK) {
			one(at + (n - left), left < MLRT_HASH_CHUNK ? left : MLRT_HASH_CHUNK, &hash);
			XXH3_64bits_update(&all, &hash, sizeof hash);
		}
		return XXH3_64bits_digest(&all);
	}
	mlrt_hash_chunks(p, n, forget, one, each, sizeof *each);
	hash = XXH3_64bits(each, chunks * sizeof *each);
	free(each);
	return hash;
}
