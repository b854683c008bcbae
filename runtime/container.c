/* runtime/container.c -- the outer layers of a package file: header, manifest text, table, blobs.
 *
 * Nothing in the file is trusted: every offset and size is derived or compared before it is used,
 * all bytes between the parts must be zero, and hashes cover the rest, so that a damaged file is
 * refused whichever byte is wrong. */
#include <stdlib.h>
#include <string.h>

#include "runtime/internal.h"

enum { MAX_BLOBS = 1 << 16 };

static bool is_zero(const unsigned char *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* What a later minor version may use is known to be unused only up to ours. */
static bool header_fits(const Container *c)
{
	const MlrtHeader *h = &c->header;
	const MlrtSignatures *s = &c->signatures;
	const size_t known = sizeof *h + (h->minor >= MLRT_SIGNED_MINOR ? sizeof *s : 0);

	if (h->minor > MLRT_FORMAT_MINOR)
		return h->header_bytes >= known;
	return h->header_bytes == known && is_zero((const void *)h->reserved, sizeof h->reserved) && s->reserved == 0 &&
	       s->count <= MLRT_MAX_SIGNATURES &&
	       is_zero((const void *)&s->item[s->count], (MLRT_MAX_SIGNATURES - s->count) * sizeof *s->item);
}

static MlrtStatus check_header(Container *c, MlrtError *err)
{
	const MlrtHeader *h = &c->header;

	if (memcmp(h->magic, MLRT_MAGIC, sizeof h->magic) != 0)
		return mlrt_fail(err, MLRT_ERR_FORMAT, "not a package (no " MLRT_MAGIC " at its start)");
	if (h->major != MLRT_FORMAT_MAJOR)
		return mlrt_fail(err, MLRT_ERR_VERSION, "package of format %u.%u, this runtime reads %d.x",
				 h->major, h->minor, MLRT_FORMAT_MAJOR);
	if (h->header_bytes < sizeof *h || h->header_bytes > MLRT_MAX_HEADER)
		return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: header of %u bytes", (unsigned)h->header_bytes);
	if (h->header_bytes > c->file_bytes)
		return mlrt_fail(err, MLRT_ERR_TRUNCATED, "cut off: has %zu bytes, its header alone %u", c->file_bytes,
				 (unsigned)h->header_bytes);
	if (mlrt_header_hash(c->file, h->header_bytes) != h->header_hash)
		return mlrt_fail(err, MLRT_ERR_DAMAGED, "damaged: hash of the header differs");
	if (h->file_bytes != c->file_bytes)
		return mlrt_fail(err, h->file_bytes > c->file_bytes ? MLRT_ERR_TRUNCATED : MLRT_ERR_DAMAGED,
				 "%s: has %zu bytes, its header says %llu", h->file_bytes > c->file_bytes ? "cut off" : "damaged",
				 c->file_bytes, (unsigned long long)h->file_bytes);
	if (h->minor >= MLRT_SIGNED_MINOR && h->header_bytes >= sizeof *h + sizeof c->signatures)
		memcpy(&c->signatures, c->file + sizeof *h, sizeof c->signatures);
	if (!header_fits(c))
		return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: header of %u bytes, %u signatures, for format %u.%u",
				 (unsigned)h->header_bytes, (unsigned)c->signatures.count, h->major, h->minor);
	return MLRT_OK;
}

/* Manifest and table lie one behind the other: header, manifest, zeros up to a multiple of 8, table. */
static MlrtStatus check_places(const Container *c, MlrtError *err)
{
	const MlrtHeader *h = &c->header;
	const uint64_t n = c->file_bytes;
	uint64_t end = h->manifest_offset + h->manifest_bytes; /* used only once both are known to be small */

	if (h->manifest_offset != h->header_bytes || h->manifest_bytes > n - h->manifest_offset ||
	    h->manifest_bytes > MLRT_MANIFEST_MAX)
		return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: manifest at %llu of %llu bytes",
				 (unsigned long long)h->manifest_offset,
				 (unsigned long long)h->manifest_bytes);
	if (h->table_offset != ((end + 7) & ~7ull) || h->table_offset > n || h->nblobs > MAX_BLOBS ||
	    h->nblobs > (n - h->table_offset) / sizeof(MlrtBlob))
		return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: table at %llu of %llu blobs",
				 (unsigned long long)h->table_offset, (unsigned long long)h->nblobs);
	if (!is_zero(c->file + end, h->table_offset - end))
		return mlrt_fail(err, MLRT_ERR_DAMAGED, "damaged: padding before the table is not zero");
	if (mlrt_hash(c->file + h->manifest_offset, h->manifest_bytes) != h->manifest_hash)
		return mlrt_fail(err, MLRT_ERR_DAMAGED, "damaged: hash of the manifest differs");
	if (mlrt_hash(c->file + h->table_offset, h->nblobs * sizeof(MlrtBlob)) != h->table_hash)
		return mlrt_fail(err, MLRT_ERR_DAMAGED, "damaged: hash of the table differs");
	return MLRT_OK;
}

/* Of weights the flags are a number of chunks; nothing else has any. */
static bool flags_fit(const MlrtBlob *b)
{
	return b->flags <= (b->kind == MLRT_WEIGHTS ? mlrt_chunks(b->bytes) : 0);
}

/* Of the kinds that the package's minor knows. */
static uint32_t last_kind(const Container *c)
{
	return c->header.minor >= MLRT_GPU_MINOR ? MLRT_LAUNCHES : MLRT_GOLDEN;
}

/* What nothing reads before there is a session, and what most bytes are. */
static bool may_wait(const MlrtBlob *b)
{
	return b->kind == MLRT_WEIGHTS || b->kind == MLRT_GOLDEN;
}

static MlrtStatus check_hash(const Container *c, size_t i, int how, MlrtError *err)
{
	const MlrtBlob *b = &c->blob[i];
	const size_t forget = how & CONTAINER_MAPPED && b->kind == MLRT_WEIGHTS && flags_fit(b) ? b->flags : 0;
	uint64_t hash;

	if (!mlrt_blob_hash(c->file + b->offset, b->bytes, forget, &hash))
		return mlrt_no_memory(err);
	if (hash != b->hash)
		return mlrt_fail(err, MLRT_ERR_DAMAGED, "damaged: hash of blob %zu differs", i);
	return MLRT_OK;
}

MLRT_LOCAL MlrtStatus mlrt_container_check_rest(const Container *c, int how, MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	for (size_t i = 0; i < c->header.nblobs && !st; i++)
		st = may_wait(&c->blob[i]) ? check_hash(c, i, how, err) : MLRT_OK;
	return st;
}

/* Blobs follow each other in table order, each at the next multiple of MLRT_PAGE. */
static MlrtStatus check_blobs(const Container *c, int how, MlrtError *err)
{
	uint64_t end = c->header.table_offset + c->header.nblobs * sizeof(MlrtBlob);

	for (size_t i = 0; i < c->header.nblobs; i++) {
		const MlrtBlob *b = &c->blob[i];
		uint64_t at = (end + MLRT_PAGE - 1) / MLRT_PAGE * MLRT_PAGE;
		MlrtStatus st = MLRT_OK;

		if (b->offset != at || at > c->file_bytes || b->bytes > c->file_bytes - at)
			return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: blob %zu at %llu of %llu bytes", i,
					 (unsigned long long)b->offset, (unsigned long long)b->bytes);
		if (c->header.minor <= MLRT_FORMAT_MINOR &&
		    (b->kind < MLRT_CODE || b->kind > last_kind(c) || !flags_fit(b)))
			return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: blob %zu has kind %u, flags %u", i,
					 (unsigned)b->kind, (unsigned)b->flags);
		if (!is_zero(c->file + end, at - end))
			return mlrt_fail(err, MLRT_ERR_DAMAGED, "damaged: padding before blob %zu is not zero",
					 i);
		if (!(how & CONTAINER_TRUSTED) && !(how & CONTAINER_LATER && may_wait(b)))
			st = check_hash(c, i, how, err);
		if (st)
			return st;
		end = at + b->bytes;
	}
	if (end != c->file_bytes)
		return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: bytes behind the last blob");
	return MLRT_OK;
}

MLRT_LOCAL MlrtStatus mlrt_container_read(Container *c, const void *file, size_t n, int how, MlrtError *err)
{
	MlrtStatus st;

	*c = (Container){.file = file, .file_bytes = n};
	if (n < sizeof c->header)
		return memcmp(file, MLRT_MAGIC, n < strlen(MLRT_MAGIC) ? n : strlen(MLRT_MAGIC)) == 0 && n > 0
			       ? mlrt_fail(err, MLRT_ERR_TRUNCATED, "cut off: has %zu bytes, its header alone %zu", n,
					   sizeof c->header)
			       : mlrt_fail(err, MLRT_ERR_FORMAT, "not a package (%zu bytes)", n);
	memcpy(&c->header, file, sizeof c->header);
	st = check_header(c, err);
	if (!st)
		st = check_places(c, err);
	if (st)
		return st;
	c->manifest = malloc(c->header.manifest_bytes + 1);
	c->blob = malloc(c->header.nblobs * sizeof *c->blob + 1);
	if (!c->manifest || !c->blob) {
		mlrt_container_free(c);
		return mlrt_no_memory(err);
	}
	memcpy(c->manifest, c->file + c->header.manifest_offset, c->header.manifest_bytes);
	c->manifest[c->header.manifest_bytes] = 0;
	memcpy(c->blob, c->file + c->header.table_offset, c->header.nblobs * sizeof *c->blob);
	st = check_blobs(c, how, err);
	if (st)
		mlrt_container_free(c);
	return st;
}

MLRT_LOCAL void mlrt_container_free(Container *c)
{
	free(c->manifest);
	free(c->blob);
	*c = (Container){0};
}
