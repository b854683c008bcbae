/* package/sign.c -- key files; signing a package, and looking at who has. */
#include "package/sign.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static const char *const key_kind[] = {"mlopt public key 1", "mlopt secret key 1"};
enum { KEY_TEXT = 256 }; /* more than a key file has */

static MloStatus begin(MloDiag *d)
{
	return sodium_init() < 0 ? mlo_error(d, MLO_ERR_INTERNAL, "libsodium cannot be used") : MLO_OK;
}

MloStatus mlo_key_new(MloKey *k, MloDiag *d)
{
	MLO_TRY(begin(d));
	*k = (MloKey){.secret = true};
	crypto_sign_keypair(k->public_key, k->secret_key);
	return MLO_OK;
}

void mlo_key_forget(MloKey *k)
{
	sodium_memzero(k, sizeof *k);
}

void mlo_key_id(const unsigned char public_key[32], char id[MLO_KEY_ID])
{
	static const unsigned char personal[crypto_generichash_blake2b_PERSONALBYTES] = "mlopt.key.1";
	unsigned char hash[32];

	crypto_generichash_blake2b_salt_personal(hash, sizeof hash, public_key, 32, NULL, 0, NULL, personal);
	sodium_bin2hex(id, MLO_KEY_ID, hash, (MLO_KEY_ID - 1) / 2);
}

/* -- key files ------------------------------------------------------------------------------------- */

static MloStatus write_key(const char *path, const MloKey *k, bool secret, MloDiag *d)
{
	char text[KEY_TEXT], hex[2 * sizeof k->secret_key + 1], id[MLO_KEY_ID];
	const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, secret ? 0600 : 0644);
	int n, e = 0;

	if (fd < 0)
		return mlo_error(d, MLO_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
	mlo_key_id(k->public_key, id);
	sodium_bin2hex(hex, sizeof hex, secret ? k->secret_key : k->public_key, secret ? sizeof k->secret_key : sizeof k->public_key);
	n = snprintf(text, sizeof text, "%s\nid %s\nkey %s\n", key_kind[secret], id, hex);
	if (write(fd, text, (size_t)n) != n || fsync(fd) != 0)
		e = errno ? errno : EIO;
	if (close(fd) != 0 && !e)
		e = errno;
	sodium_memzero(text, sizeof text);
	sodium_memzero(hex, sizeof hex);
	if (!e)
		return MLO_OK;
	unlink(path);
	return mlo_error(d, MLO_ERR_IO, "%s: cannot write: %s", path, strerror(e));
}

MloStatus mlo_key_write(const MloKey *k, const char *secret_path, const char *public_path, MloDiag *d)
{
	MloStatus st;

	if (access(public_path, F_OK) == 0) /* before a secret key is there that belongs to no public one */
		return mlo_error(d, MLO_ERR_IO, "%s: cannot create: %s", public_path, strerror(EEXIST));
	MLO_TRY(write_key(secret_path, k, true, d));
	st = write_key(public_path, k, false, d);
	if (st != MLO_OK)
		unlink(secret_path);
	return st;
}

/* The bytes of a key file; NUL-terminated. */
static MloStatus read_text(const char *path, char text[KEY_TEXT], MloDiag *d)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return mlo_error(d, MLO_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
	n = read(fd, text, KEY_TEXT - 1);
	close(fd);
	if (n < 0)
		return mlo_error(d, MLO_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
	text[n] = 0;
	return MLO_OK;
}

/* Parses what write_key() writes; false: it is something else. */
static bool parse_key(const char *text, MloKey *k)
{
	const size_t kind = strlen(key_kind[0]);
	char want[MLO_KEY_ID];
	unsigned char *to;
	size_t n, got;
	const char *end, *id = text + kind + 1 + 3, *hex = id + MLO_KEY_ID + 4;

	*k = (MloKey){.secret = strncmp(text, key_kind[1], kind) == 0};
	if ((!k->secret && strncmp(text, key_kind[0], kind) != 0) || strlen(text) < (size_t)(hex - text) ||
	    memcmp(text + kind, "\nid ", 4) != 0 || memcmp(id + MLO_KEY_ID - 1, "\nkey ", 5) != 0)
		return false;
	to = k->secret ? k->secret_key : k->public_key;
	n = k->secret ? sizeof k->secret_key : sizeof k->public_key;
	if (sodium_hex2bin(to, n, hex, strlen(hex), NULL, &got, &end) != 0 || got != n || strcmp(end, "\n") != 0)
		return false;
	if (k->secret)
		crypto_sign_ed25519_sk_to_pk(k->public_key, k->secret_key);
	mlo_key_id(k->public_key, want);
	return memcmp(want, id, MLO_KEY_ID - 1) == 0;
}

MloStatus mlo_key_read(const char *path, MloKey *k, MloDiag *d)
{
	char text[KEY_TEXT];
	bool ok;

	MLO_TRY(begin(d));
	MLO_TRY(read_text(path, text, d));
	ok = parse_key(text, k);
	sodium_memzero(text, sizeof text);
	if (ok)
		return MLO_OK;
	mlo_key_forget(k);
	return mlo_error(d, MLO_ERR_FORMAT, "%s: not a key file ('mlopt package keygen' makes them)", path);
}

MloStatus mlo_key_read_public(const char *path, unsigned char public_key[32], MloDiag *d)
{
	MloStatus st = MLO_OK;
	MloKey k;

	MLO_TRY(mlo_key_read(path, &k, d));
	if (k.secret)
		st = mlo_error(d, MLO_ERR_USAGE, "%s: is a secret key, the public one (.pub) is what packages are checked with", path);
	memcpy(public_key, k.public_key, sizeof k.public_key);
	mlo_key_forget(&k);
	return st;
}

/* -- signatures -------------------------------------------------------------------------------------- */

static MloStatus check_all(const MloPackageFile *p, const unsigned char *message, size_t n, const char *path, MloDiag *d)
{
	for (uint32_t i = 0; i < p->signatures->count; i++) {
		const MlrtSignature *s = &p->signatures->item[i];
		char id[MLO_KEY_ID];

		if (crypto_sign_verify_detached(s->signature, message, n, s->key) == 0)
			continue;
		mlo_key_id(s->key, id);
		return mlo_error(d, MLO_ERR_FORMAT, "%s: the signature by key %s does not fit the file, which was changed", path, id);
	}
	return MLO_OK;
}

MloStatus mlo_package_signatures(const MloPackageFile *p, const char *path, MloDiag *d)
{
	unsigned char message[MLO_MESSAGE_BYTES];

	if (!p->signatures->count)
		return MLO_OK;
	MLO_TRY(mlo_package_message(p, path, message, d));
	return check_all(p, message, sizeof message, path, d);
}

/* The header with one more signature, owned by `a`. */
static MloStatus signed_header(MloArena *a, const MloPackageFile *p, const char *path, const MlrtSignature *s,
			       unsigned char **out, size_t *n, MloDiag *d)
{
	MlrtHeader h;
	MlrtSignatures all = *p->signatures;
	uint32_t i = 0;

	memcpy(&h, p->bytes, sizeof h);
	while (i < all.count && memcmp(all.item[i].key, s->key, sizeof s->key) != 0)
		i++;
	if (i == MLRT_MAX_SIGNATURES)
		return mlo_error(d, MLO_ERR_LIMIT, "%s: has %d signatures already, as many as there may be", path, MLRT_MAX_SIGNATURES);
	all.item[i] = *s;
	all.count += i == all.count;
	*n = h.header_bytes;
	*out = mlo_alloc(a, *n, 1);
	memcpy(*out, p->bytes, *n);
	memcpy(*out + sizeof h, &all, sizeof all);
	memset(*out + offsetof(MlrtHeader, header_hash), 0, sizeof h.header_hash);
	h.header_hash = XXH3_64bits(*out, *n);
	memcpy(*out + offsetof(MlrtHeader, header_hash), &h.header_hash, sizeof h.header_hash);
	return MLO_OK;
}

MloStatus mlo_package_sign(MloArena *a, const char *path, const MloKey *k, MloDiag *d)
{
	unsigned char message[MLO_MESSAGE_BYTES], *header = NULL;
	MlrtSignature s = {{0}, {0}};
	MloPackageFile p;
	size_t n = 0;

	MLO_ASSERT(k->secret);
	MLO_TRY(begin(d));
	MLO_TRY(mlo_package_open(a, path, &p, d));
	if (p.minor != MLRT_FORMAT_MINOR) {
		mlo_error(d, MLO_ERR_FORMAT, "%s: is of format %d.%u, signatures are put into %d.%d", path, MLRT_FORMAT_MAJOR, p.minor,
			  MLRT_FORMAT_MAJOR, MLRT_FORMAT_MINOR);
		mlo_hint(d, "compile it again");
		return MLO_ERR_FORMAT;
	}
	MLO_TRY(mlo_package_message(&p, path, message, d));
	MLO_TRY(check_all(&p, message, sizeof message, path, d));
	memcpy(s.key, k->public_key, sizeof s.key);
	crypto_sign_detached(s.signature, NULL, message, sizeof message, k->secret_key);
	MLO_TRY(signed_header(a, &p, path, &s, &header, &n, d));
	return mlo_package_replace(a, path, header, n, p.bytes + n, p.nbytes - n, d);
}
