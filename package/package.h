/* package/package.h -- putting a package file together, and looking into one (runtime/format.h). */
#ifndef MLO_PACKAGE_H
#define MLO_PACKAGE_H
#include "ir/base/arena.h"
#include "ir/base/diag.h"
#include "ir/base/piece.h"
#include "mlopt/runtime.h"
#include "runtime/format.h"

/* A package under construction.  Same calls, same bytes. */
typedef struct MloPackage MloPackage;

MloPackage *mlo_package_new(MloArena *a);
/* Adds a blob and returns its number for the manifest; equal ones of a kind are kept once.  The data
 * is not copied: it must stay until the package is written. */
int mlo_package_blob(MloPackage *p, enum MlrtBlobKind kind, const void *data, size_t n);
/* The same from pieces in order; the list too must stay.  Of weights, the last `lookup` bytes are read only here and
 * there (MlrtBlob.flags). */
int mlo_package_pieces(MloPackage *p, enum MlrtBlobKind kind, const MloPiece *piece, size_t npieces, uint64_t lookup);

/* Writes the file at `path`: all of it or nothing, also on a full disk; an older file there is
 * replaced in one step.  `manifest` is JSON text as runtime/format.h describes. */
MloStatus mlo_package_write(const MloPackage *p, const char *manifest, const char *path,
			    MloDiag *d) MLO_CHECKED;
/* The same bytes in memory of the arena `a`. */
MloStatus mlo_package_bytes(const MloPackage *p, const char *manifest, MloArena *a, unsigned char **bytes,
			    size_t *n, MloDiag *d) MLO_CHECKED;

/* A package file opened for inspection, whatever CPU it is for: mapped, and checked as the runtime
 * checks it up to the table and blobs.  Everything lives until the arena is freed. */
typedef struct MloPackageFile {
	const char *manifest; /* JSON, NUL-terminated */
	size_t manifest_bytes;
	const MlrtBlob *blob;
	size_t nblobs;
	const unsigned char *bytes; /* the file: blob i lies at bytes + blob[i].offset */
	size_t nbytes;
	unsigned minor;       /* of its format */
	const MlrtSignatures *signatures; /* never NULL */
} MloPackageFile;
MloStatus mlo_package_open(MloArena *a, const char *path, MloPackageFile *out, MloDiag *d) MLO_CHECKED;
/* The same of a package that must be signed: before anything else is looked at, enough of the keys must fit. */
MloStatus mlo_package_open_signed(MloArena *a, const char *path, const MlrtOpenOptions *keys, MloPackageFile *out,
				  MloDiag *d) MLO_CHECKED;
/* What a signature of the file is made of (MlrtSignatures); it is of a minor that has some. */
enum { MLO_MESSAGE_BYTES = sizeof MLRT_SIGNED_TEXT + 32 };
MloStatus mlo_package_message(const MloPackageFile *p, const char *path, unsigned char message[MLO_MESSAGE_BYTES],
			      MloDiag *d) MLO_CHECKED;
/* Puts a file of these bytes, one part behind the other, in the place of the one at `path` as mlo_package_write() does; the
 * mode stays as it was. */
MloStatus mlo_package_replace(MloArena *a, const char *path, const void *first, size_t nfirst, const void *rest, size_t nrest,
			      MloDiag *d) MLO_CHECKED;
#endif
