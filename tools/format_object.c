/* tools/format_object.c -- a model as one function: an object to link, or a shared library; and its C header. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "tools/c_header.h"
#include "tools/formats.h"
#include "tools/outfile.h"

typedef struct Making {
	const FormatRequest *r;
	bool shared;
	const char *prefix, *header; /* path */
	const char *details;
} Making;

/* The library's name as the linker takes it. */
static const char *soname(MloArena *a, const char *path)
{
	const char *base = strrchr(path, '/');
	char *name = mlo_strdup(a, base ? base + 1 : path);

	for (char *p = name; *p; p++)
		if (strchr("\"\\ \t\n", *p))
			*p = '_';
	return name;
}

static MloStatus write_object(const Making *m, const MloTarget *t, const MloVariant *v, MloDiag *d)
{
	MloBytes file;
	MloStatus st;

	if (!m->shared)
		return mlo_write_file(m->r->output, v->object.data, v->object.n, d);
	MLO_TRY(mlo_shared_link(t, &v->object, soname(m->r->arena, m->r->output), &file, d));
	st = mlo_write_file(m->r->output, file.data, file.n, d);
	free(file.data);
	return st;
}

static const char *sizes(const Making *m, const CHeader *h)
{
	return mlo_sprintf(m->r->arena,
			   "%s: code %" PRIu64 ", constants %" PRIu64 ", weights %" PRIu64 " bytes; RAM: arena %" PRIu64
			   " (of it scratch %" PRIu64 "), stack %" PRIu64 " bytes\n",
			   m->header, h->code_bytes, h->constant_bytes, h->weight_bytes, h->arena_bytes + h->scratch_bytes,
			   h->scratch_bytes, h->stack_bytes);
}

static MloStatus take(void *user, const MloGraph *typed, const MloTarget *t, const MloVariant *v, MloDiag *d)
{
	Making *m = user;
	CHeader h = {.prefix = m->prefix,
		     .target = t->name,
		     .tool = "mlopt " PACKAGE_VERSION,
		     .typed = typed,
		     .arena_bytes = v->arena_bytes,
		     .scratch_bytes = v->scratch_bytes,
		     .stack_bytes = v->facts.stack,
		     .code_bytes = v->facts.code,
		     .constant_bytes = v->facts.constants,
		     .weight_bytes = v->weight_bytes};
	const char *text = c_header_text(m->r->arena, &h), *where = d->where;

	d->where = NULL; /* messages are about the output, not the model */
	MLO_TRY(write_object(m, t, v, d));
	MLO_TRY(mlo_write_file(m->header, text, strlen(text), d));
	d->where = where;
	m->details = sizes(m, &h);
	return MLO_OK;
}

/* "dir/kws.o" -> "dir/kws.h" */
static const char *header_path(MloArena *a, const char *output)
{
	const char *base = strrchr(output, '/'), *dot = strrchr(base ? base + 1 : output, '.');
	size_t n = dot && dot != output && strcmp(dot, ".h") != 0 ? (size_t)(dot - output) : strlen(output);

	return mlo_sprintf(a, "%.*s.h", (int)n, output);
}

static MloStatus format_object(const FormatRequest *r, bool shared, FormatResult *out)
{
	const char *name = r->options->name ? r->options->name : r->graph->name;
	Making m = {.r = r, .shared = shared, .prefix = c_identifier(r->arena, name), .header = header_path(r->arena, r->output)};
	MloObjectRequest want = {.function = mlo_sprintf(r->arena, "%s_run", m.prefix), .take = take, .user = &m};

	if (r->options->nstates) {
		mlo_error(r->diag, MLO_ERR_USAGE, "--state %s: a function keeps nothing from run to run", r->options->states[0]);
		mlo_hint(r->diag, "give that output of a run to the next one as its input, or compile a package");
		return MLO_ERR_USAGE;
	}
	MLO_TRY(mlo_compile_object(r->graph, r->options, r->hooks, &want, &out->report, r->diag));
	out->details = m.details;
	return MLO_OK;
}

MloStatus format_static(const FormatRequest *r, FormatResult *out)
{
	return format_object(r, false, out);
}

MloStatus format_shared(const FormatRequest *r, FormatResult *out)
{
	return format_object(r, true, out);
}
