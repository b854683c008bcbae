/* runtime/signature.c -- who signed a package: checked on its bytes, before anything in them is read.
 *
 * Ed25519 and BLAKE2b are libsodium's.  Built without MLRT_WITH_SODIUM, the runtime refuses what must be signed. */
#include <stdlib.h>
#include <string.h>

#include "runtime/internal.h"

#ifndef MLRT_MORE_APART

#ifdef MLRT_WITH_SODIUM
#include <sodium.h>

/* The smallest file that has a place for signatures: only what lies at fixed places is looked at. */
enum { SIGNED_HEADER = sizeof(MlrtHeader) + sizeof(MlrtSignatures), ROOT = 32, PERSONAL = crypto_generichash_blake2b_PERSONALBYTES };
_Static_assert(ROOT == MLRT_MESSAGE_BYTES - sizeof MLRT_SIGNED_TEXT, "a message is text and root");
_Static_assert(sizeof(MlrtPublicKey) == crypto_sign_PUBLICKEYBYTES, "keys are Ed25519's");
_Static_assert(sizeof((MlrtSignature){0}.signature) == crypto_sign_BYTES, "and so are signatures");

static const unsigned char chunk_personal[PERSONAL] = "mlopt.chunk.1", file_personal[PERSONAL] = "mlopt.file.1";

static void hash_chunk(const void *p, size_t n, void *digest)
{
	crypto_generichash_blake2b_salt_personal(digest, ROOT, p, n, NULL, 0, NULL, chunk_personal);
}

MLRT_LOCAL MlrtStatus mlrt_signed_message(const void *file, size_t n, unsigned char message[MLRT_MESSAGE_BYTES], MlrtError *err)
{
	const unsigned char *body = (const unsigned char *)file + SIGNED_HEADER;
	const size_t chunks = mlrt_chunks(n - SIGNED_HEADER);
	unsigned char *digest = malloc(chunks * ROOT + 1);
	crypto_generichash_blake2b_state root;

	if (!digest)
		return mlrt_no_memory(err);
	if (sodium_init() < 0) {
		free(digest);
		return mlrt_fail(err, MLRT_ERR_NO_CRYPTO, "libsodium cannot be used");
	}
	mlrt_hash_chunks(body, n - SIGNED_HEADER, 0, hash_chunk, digest, ROOT);
	crypto_generichash_blake2b_init_salt_personal(&root, NULL, 0, ROOT, NULL, file_personal);
	crypto_generichash_blake2b_update(&root, file, offsetof(MlrtHeader, header_hash));
	crypto_generichash_blake2b_update(&root, digest, chunks * ROOT);
	memcpy(message, MLRT_SIGNED_TEXT, sizeof MLRT_SIGNED_TEXT);
	crypto_generichash_blake2b_final(&root, message + sizeof MLRT_SIGNED_TEXT, ROOT);
	free(digest);
	return MLRT_OK;
}

/* The signatures of a file that looks like a package which may have some. */
static MlrtStatus find_signatures(const void *file, size_t n, MlrtSignatures *s, MlrtError *err)
{
	MlrtHeader h = {0};

	memcpy(&h, file, n < sizeof h ? n : sizeof h);
	if (memcmp(h.magic, MLRT_MAGIC, sizeof h.magic) != 0)
		return mlrt_fail(err, MLRT_ERR_FORMAT, "not a package (no " MLRT_MAGIC " at its start)");
	if (n < sizeof h || h.file_bytes > n)
		return mlrt_fail(err, MLRT_ERR_TRUNCATED, "cut off: has %zu bytes, its header says more", n);
	if (h.major != MLRT_FORMAT_MAJOR)
		return mlrt_fail(err, MLRT_ERR_VERSION, "package of format %u.%u, this runtime reads %d.x", h.major,
				 h.minor, MLRT_FORMAT_MAJOR);
	if (h.minor < MLRT_SIGNED_MINOR || n < SIGNED_HEADER)
		return mlrt_fail(err, MLRT_ERR_DOWNGRADED, "must be signed, but is of format %u.%u, which has no signatures",
				 h.major, h.minor);
	memcpy(s, (const unsigned char *)file + sizeof h, sizeof *s);
	if (s->count == 0)
		return mlrt_fail(err, MLRT_ERR_UNSIGNED, "must be signed, and is not");
	if (s->count > MLRT_MAX_SIGNATURES)
		return mlrt_fail(err, MLRT_ERR_SIGNATURE, "has %u signatures, at most %d are possible", (unsigned)s->count,
				 MLRT_MAX_SIGNATURES);
	return MLRT_OK;
}

static const MlrtSignature *signature_of(const MlrtSignatures *s, const MlrtPublicKey *key)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (memcmp(s->item[i].key, key->bytes, sizeof key->bytes) == 0)
			return &s->item[i];
	return NULL;
}

static bool named_before(const MlrtOpenOptions *opt, size_t k)
{
	for (size_t i = 0; i < k; i++)
		if (memcmp(opt->keys[i].bytes, opt->keys[k].bytes, sizeof opt->keys[k].bytes) == 0)
			return true;
	return false;
}

/* How many of the keys have put a signature there, right or wrong. */
static size_t keys_there(const MlrtSignatures *s, const MlrtOpenOptions *opt, size_t *different)
{
	size_t there = 0;

	*different = 0;
	for (size_t k = 0; k < opt->nkeys; k++) {
		if (named_before(opt, k))
			continue;
		++*different;
		there += signature_of(s, &opt->keys[k]) != NULL;
	}
	return there;
}

static size_t keys_right(const MlrtSignatures *s, const MlrtOpenOptions *opt, const unsigned char *message)
{
	size_t right = 0;

	for (size_t k = 0; k < opt->nkeys; k++) {
		const MlrtSignature *x = signature_of(s, &opt->keys[k]);

		if (x && !named_before(opt, k))
			right += crypto_sign_verify_detached(x->signature, message, MLRT_MESSAGE_BYTES, x->key) == 0;
	}
	return right;
}

static MlrtStatus check_signatures(const void *file, size_t n, const MlrtOpenOptions *opt, MlrtError *err)
{
	unsigned char message[MLRT_MESSAGE_BYTES];
	MlrtSignatures s;
	size_t need, there, right, different;
	MlrtStatus st = find_signatures(file, n, &s, err);

	if (st)
		return st;
	there = keys_there(&s, opt, &different);
	need = opt->keys_needed ? opt->keys_needed : different;
	if (need > different)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%zu of %zu keys shall have signed", need, different);
	if (there < need)
		return mlrt_fail(err, MLRT_ERR_KEY, "must be signed by %zu of %zu keys, and has signatures by %zu of them", need,
				 different, there);
	st = mlrt_signed_message(file, n, message, err);
	if (st)
		return st;
	right = keys_right(&s, opt, message);
	if (right < need)
		return mlrt_fail(err, MLRT_ERR_SIGNATURE,
				 "a signature does not fit the file, which was changed (%zu of %zu fit, needed: %zu)", right, there,
				 need);
	return MLRT_OK;
}
#else
static MlrtStatus check_signatures(const void *file, size_t n, const MlrtOpenOptions *opt, MlrtError *err)
{
	(void)file;
	(void)n;
	(void)opt;
	return mlrt_fail(err, MLRT_ERR_NO_CRYPTO, "must be signed, and this runtime was built without signatures (MLRT_WITH_SODIUM)");
}
#endif

MLRT_LOCAL MlrtStatus mlrt_signatures_check(const void *file, size_t n, const MlrtOpenOptions *opt, MlrtError *err)
{
	if (opt->nkeys == 0 || !opt->keys)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%zu keys shall have signed, and none is given", opt->keys_needed);
	return check_signatures(file, n, opt, err);
}
#endif
