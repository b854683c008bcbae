/* tools/outfile.h -- output files that appear whole or not at all.
 *
 * Bytes go to a temporary name in the same folder and are renamed on commit.  A path that exists
 * and is no regular file (a device, a pipe) is written directly. */
#ifndef MLO_TOOLS_OUTFILE_H
#define MLO_TOOLS_OUTFILE_H
#include <jansson.h>
#include <stdio.h>

#include "ir/base/diag.h"

typedef struct MloOutFile {
	FILE *f;
	const char *path; /* not owned */
	char *temp;       /* NULL: written directly */
} MloOutFile;

MloStatus mlo_outfile_open(MloOutFile *o, const char *path, MloDiag *d) MLO_CHECKED;
MloStatus mlo_outfile_write(MloOutFile *o, const void *bytes, size_t n, MloDiag *d) MLO_CHECKED;
MloStatus mlo_outfile_commit(MloOutFile *o, MloDiag *d) MLO_CHECKED; /* closes in any case */
void mlo_outfile_abandon(MloOutFile *o);                             /* closes and removes; twice is fine */
/* The whole of it at once. */
MloStatus mlo_write_file(const char *path, const void *bytes, size_t n, MloDiag *d) MLO_CHECKED;
/* JSON, indented, members in their order, to a file or, path "-", to standard output. Takes the reference to j; NULL: out of memory. */
MloStatus mlo_write_json(const char *path, json_t *j, MloDiag *d) MLO_CHECKED;
/* Removes the temporary files still open; async-signal-safe, for signal handlers. */
void mlo_outfile_remove_all(void);
#endif
