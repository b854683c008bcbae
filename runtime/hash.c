/* runtime/hash.c -- the hash of packages: xxh3-64, from the header-only form of xxHash. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "runtime/internal.h"
#include "runtime/xxh.h"

enum { HASH_THREADS = 8, HASH_ALONE = 8 }; /* at most; chunks that are not worth a second thread */

#if XXH_DISPATCH_AVX2
#if XXH_VERSION_NUMBER < 802 /* the step of that loop got another name */
#define XXH3_accumulate_avx2 XXH3_accumulate_512_avx2
#endif
static XXH_TARGET_AVX2 uint64_t hash_avx2(const void *p, size_t n)
{
	if (n <= XXH3_MIDSIZE_MAX)
		return XXH3_64bits(p, n);
	return XXH3_hashLong_64b_internal(p, n, XXH3_kSecret, sizeof XXH3_kSecret, XXH3_accumulate_avx2,
					  XXH3_scrambleAcc_avx2);
}
#endif

typedef uint64_t HashChunk(const void *p, size_t n);

static uint64_t hash_baseline(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

/* What hashes chunks fastest here; the loop for AVX2 takes two thirds of the baseline's time. */
static HashChunk *hash_choose(void)
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
	uint64_t *hash;
	size_t kept;            /* chunks; those behind are forgotten */
	HashChunk *one;
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
		w->hash[i] = w->one(w->data + at, n);
		if (i >= w->kept)
			mlrt_forget(w->data + at, n);
	}
}

MLRT_LOCAL uint64_t mlrt_blob_hash(const void *p, size_t n, size_t forget)
{
	ChunkWork w = {.data = p, .bytes = n, .chunks = (n + MLRT_HASH_CHUNK - 1) / MLRT_HASH_CHUNK, .one = hash_choose()};
	pthread_t thread[HASH_THREADS];
	int started = 0, wanted = 0;
	uint64_t hash;

	if (w.chunks <= 1)
		return XXH3_64bits(p, n);
	w.kept = w.chunks - forget;
	w.hash = malloc(w.chunks * sizeof *w.hash);
	if (!w.hash) {
		XXH3_state_t all;

		XXH3_64bits_reset(&all);
		for (size_t at = 0; at < n; at += MLRT_HASH_CHUNK) {
			hash = w.one(w.data + at, n - at < MLRT_HASH_CHUNK ? n - at : MLRT_HASH_CHUNK);
			XXH3_64bits_update(&all, &hash, sizeof hash);
		}
		return XXH3_64bits_digest(&all);
	}
	if (w.chunks > HASH_ALONE)
		wanted = mlrt_cpu_count("") - 1;
	while (started < wanted && started < HASH_THREADS && !pthread_create(&thread[started], NULL, hash_chunks, &w))
		started++;
	hash_chunks(&w);
	while (started > 0)
		pthread_join(thread[--started], NULL);
	hash = XXH3_64bits(w.hash, w.chunks * sizeof *w.hash);
	free(w.hash);
	return hash;
}
