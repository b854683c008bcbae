/* tools/format_source.c -- a package, and beside it the runtime as source to compile with whatever loads it. */
#include <string.h>

#include "tools/formats.h"
#include "tools/outfile.h"
#include "tools/runtime_source.h"

/* `name` in the folder of `path`. */
static const char *beside(MloArena *a, const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	return mlo_sprintf(a, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, name);
}

MloStatus format_source_runtime(const FormatRequest *r, FormatResult *out)
{
	const char *source = beside(r->arena, r->output, "mlopt_rt.c"), *header = beside(r->arena, r->output, "mlopt_rt.h");
	const char *where = r->diag->where;

	MLO_TRY(format_package(r, out));
	r->diag->where = NULL; /* messages are about the output, not the model */
	MLO_TRY(mlo_write_file(source, mlo_runtime_source, mlo_runtime_source_size, r->diag));
	MLO_TRY(mlo_write_file(header, mlo_runtime_header, mlo_runtime_header_size, r->diag));
	r->diag->where = where;
	out->details = mlo_sprintf(r->arena, "%s, %s: cc -std=c11 -O2 -pthread -c mlopt_rt.c\n", source, header);
	return MLO_OK;
}
