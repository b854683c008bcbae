/* tools/formats.h -- the forms in which a compiled model is delivered, one function per row of tools/formats.def. */
#ifndef MLO_TOOLS_FORMATS_H
#define MLO_TOOLS_FORMATS_H
#include "tools/compile.h"

typedef struct FormatRequest {
	MloArena *arena;
	const MloGraph *graph;
	const MloptOptions *options;
	const MloCompileHooks *hooks; /* for mlo_compile_hooked(); or NULL */
	const char *output;           /* the file to write; what else there is goes beside it */
	const char *code;             /* a folder that goes along, where the form takes one; or NULL */
	MloDiag *diag;                /* its `where` is the model */
} FormatRequest;

typedef struct FormatResult {
	MloptReport report;
	const char *details;          /* lines for the user, each ended, in the request's arena; or NULL */
} FormatResult;

typedef MloStatus FormatWrite(const FormatRequest *r, FormatResult *out);
typedef struct Format {
	const char *name, *suffix, *summary;
	FormatWrite *write;
} Format;

const Format *format_at(size_t i);                        /* NULL past the end; 0 is the default */
const Format *format_find(const char *name, MloDiag *d);  /* NULL after a diagnostic that names all */

#define FORMAT(name, function, suffix, summary) FormatWrite function;
#include "tools/formats.def"
#endif
