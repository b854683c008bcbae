/* tools/formats.c -- the table of forms, and the plain package. */
#include "tools/formats.h"

#include <stdio.h>
#include <string.h>

static const Format formats[] = {
#define FORMAT(nm, function, sfx, sum) {.name = #nm, .suffix = sfx, .summary = sum, .write = function},
#include "tools/formats.def"
};
enum { NFORMATS = sizeof formats / sizeof *formats };

const Format *format_at(size_t i)
{
	return i < NFORMATS ? &formats[i] : NULL;
}

const Format *format_find(const char *name, MloDiag *d)
{
	char known[512] = "";
	size_t n = 0;

	for (size_t i = 0; i < NFORMATS; i++) {
		if (strcmp(formats[i].name, name) == 0)
			return &formats[i];
		n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", formats[i].name);
		MLO_ASSERT(n < sizeof known);
	}
	mlo_error(d, MLO_ERR_USAGE, "there is no format '%s'", name);
	mlo_hint(d, "known: %s ('mlopt help compile' says what they are)", known);
	return NULL;
}

MloStatus format_package(const FormatRequest *r, FormatResult *out)
{
	MloCompiled made;

	MLO_TRY(mlo_compile_hooked(r->arena, r->graph, r->options, r->hooks, r->output, &made, r->diag));
	out->report = made.report;
	return MLO_OK;
}
