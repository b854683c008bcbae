/* package/sign.h -- keys, and signatures of package files (what is signed: MlrtSignatures in runtime/format.h).
 *
 * Key files are text of three lines: "mlopt secret key 1" or "mlopt public key 1", "id " and 16 hexadecimal digits,
 * "key " and the key in hexadecimal (Ed25519, RFC 8032: 64 bytes of a secret one, its seed and the public key; 32 of a public
 * one).  The id is the first 8 bytes of BLAKE2b-256 of the public key, personalised "mlopt.key.1": a name for people, which
 * nothing relies on. */
#ifndef MLO_PACKAGE_SIGN_H
#define MLO_PACKAGE_SIGN_H
#include "package/package.h"

enum { MLO_KEY_ID = 17 }; /* with its NUL */
typedef struct MloKey {
	unsigned char public_key[32];
	unsigned char secret_key[64];
	bool secret; /* there is a secret key */
} MloKey;

MloStatus mlo_key_new(MloKey *k, MloDiag *d) MLO_CHECKED;
/* Two new files, the secret one for its owner alone (mode 0600).  Existing files are never replaced: an error. */
MloStatus mlo_key_write(const MloKey *k, const char *secret_path, const char *public_path, MloDiag *d) MLO_CHECKED;
/* Of either kind. */
MloStatus mlo_key_read(const char *path, MloKey *k, MloDiag *d) MLO_CHECKED;
/* Of a public key; that of a secret one is an error, for whoever verifies should not have it. */
MloStatus mlo_key_read_public(const char *path, unsigned char public_key[32], MloDiag *d) MLO_CHECKED;
void mlo_key_id(const unsigned char public_key[32], char id[MLO_KEY_ID]);
void mlo_key_forget(MloKey *k); /* overwrites it */

/* Adds a signature, in place of an older one by the same key, to the file, which is replaced in one step and
 * keeps its mode.  A damaged file, or one that does not fit a signature it has, is refused. */
MloStatus mlo_package_sign(MloArena *a, const char *path, const MloKey *k, MloDiag *d) MLO_CHECKED;
/* Which of p->signatures fit the file; an error if one does not. */
MloStatus mlo_package_signatures(const MloPackageFile *p, const char *path, MloDiag *d) MLO_CHECKED;
#endif
