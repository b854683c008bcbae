/* package/read.c -- looking into a package file for inspection, also one for another CPU.
 *
 * The checks are the runtime's own, compiled in here a second time: its library exports only what
 * runs models, and a second set of checks would be a second opinion on what a package is. */
#define MLRT_LOCAL static
#define MLRT_WITH_SODIUM /* whatever the runtime is built with */
#pragma GCC diagnostic ignored "-Wunused-function" /* the rest of the runtime is not needed here */
#include "runtime/memory.c"
#include "runtime/container.c"
#include "runtime/cpu.c"
#include "runtime/error.c"
#include "runtime/hash.c"
#include "runtime/quota.c"
#include "runtime/signature.c"
#include "runtime/xxh3.c"

#include "package/package.h"

typedef struct Opened {
	Mapping file;
	Container container;
} Opened;

static void close_opened(void *obj)
{
	Opened *o = obj;

	mlrt_container_free(&o->container);
	mlrt_unmap(&o->file);
}

MloStatus mlo_package_open_signed(MloArena *a, const char *path, const MlrtOpenOptions *keys, MloPackageFile *out, MloDiag *d)
{
	Opened *o = MLO_NEW(a, Opened);
	MlrtError err = {0};
	int fd;
	MlrtStatus st = mlrt_map_file(path, &fd, &o->file, &err);

	if (fd >= 0)
		close(fd);
	mlo_defer(a, close_opened, o);
	if (!st && keys && (keys->nkeys > 0 || keys->keys_needed > 0))
		st = mlrt_signatures_check(o->file.data, o->file.bytes, keys, &err);
	if (!st)
		st = mlrt_container_read(&o->container, o->file.data, o->file.bytes, CONTAINER_MAPPED, &err);
	if (st)
		return mlo_error(d, st == MLRT_ERR_IO ? MLO_ERR_IO : st == MLRT_ERR_NOMEM ? MLO_ERR_NOMEM : MLO_ERR_FORMAT,
		                 "%s: %s", path, err.text);
	*out = (MloPackageFile){
		o->container.manifest, o->container.header.manifest_bytes, o->container.blob, o->container.header.nblobs,
		o->file.data, o->file.bytes, o->container.header.minor, &o->container.signatures,
	};
	return MLO_OK;
}

MloStatus mlo_package_open(MloArena *a, const char *path, MloPackageFile *out, MloDiag *d)
{
	return mlo_package_open_signed(a, path, NULL, out, d);
}

_Static_assert((int)MLO_MESSAGE_BYTES == (int)MLRT_MESSAGE_BYTES, "the runtime's message");

MloStatus mlo_package_message(const MloPackageFile *p, const char *path, unsigned char message[MLO_MESSAGE_BYTES], MloDiag *d)
{
	MlrtError err = {0};

	MLO_ASSERT(p->minor >= MLRT_SIGNED_MINOR);
	if (mlrt_signed_message(p->bytes, p->nbytes, message, &err))
		return mlo_error(d, MLO_ERR_NOMEM, "%s: %s", path, err.text);
	return MLO_OK;
}
