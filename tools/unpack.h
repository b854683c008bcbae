/* tools/unpack.h -- a model inside an archive, as model hosts and compile services keep it: .tar.gz, one .onnx. */
#ifndef MLO_TOOLS_UNPACK_H
#define MLO_TOOLS_UNPACK_H
#include "ir/base/arena.h"
#include "ir/base/diag.h"

/* Limits of an archive: entries, bytes of all files in it. */
enum { UNPACK_MAX_ENTRIES = 4096 };
#define UNPACK_MAX_BYTES ((int64_t)16 << 30)

/* Is this an archive, by its name (.tar.gz, .tgz, .tar)?  Bytes of the name without that, else 0. */
size_t unpack_stem(const char *path);
/* Unpacks files and folders below $TMPDIR (or /tmp), into a folder that goes when the arena is freed, and finds the
 * only .onnx among them.  Links, devices, and names that lead out of the archive are refused.  A
 * process that is killed leaves the folder. */
MloStatus unpack_model(MloArena *a, const char *path, const char **model, MloDiag *d) MLO_CHECKED;
#endif
