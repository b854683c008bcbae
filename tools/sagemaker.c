/* tools/sagemaker.c -- the form `sagemaker`: an archive as model hosts unpack it, into /opt/ml/model.
 *
 * At its root: model.mlopt, the package; compiled.meta, what the model reads and writes, as JSON of the form that the
 * compile service writes and DLR reads (neo-ai/neo-ai-dlr); and, where the user gives it,
 * code/, the folder of a host's own scripts.  Same input, same bytes: no times, nobody's ids, a fixed order. */
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ir/elem.h"
#include "runtime/format.h"
#include "targets/target.h"
#include "tools/formats.h"
#include "tools/outfile.h"

typedef struct Writer {
	const FormatRequest *r;
	MloDiag *d;
	struct archive *out;
	MloOutFile file;
} Writer;

/* -- what the package says of itself ---------------------------------------------------------------------- */

/* What clients of DLR call an element type; others keep the package's name. */
static const char *dtype_text(const char *elem)
{
	static const struct {
		const char *elem, *name;
	} rows[] = {
#define DTYPE(elem, name, bits, code) {elem, name},
#include "bindings/dlr/dtypes.def"
	};

	for (size_t i = 0; elem && i < sizeof rows / sizeof *rows; i++)
		if (strcmp(rows[i].elem, elem) == 0)
			return rows[i].name;
	return elem;
}

static json_t *tensors(const json_t *list)
{
	json_t *all = json_array(), *t;
	size_t i;

	json_array_foreach((json_t *)list, i, t) {
		json_t *j = json_object();

		json_object_set(j, "name", json_object_get(t, "name"));
		json_object_set_new(j, "dtype", json_string(dtype_text(json_string_value(json_object_get(t, "elem")))));
		json_object_set(j, "shape", json_object_get(t, "dims"));
		json_array_append_new(all, j);
	}
	return all;
}

/* compiled.meta, in the arena; -1 in a shape: open. */
static MloStatus metadata(Writer *w, const MloCompiled *made, const char **out)
{
	const MlrtHeader *h = (const MlrtHeader *)made->bytes;
	json_t *m = json_loadb((const char *)made->bytes + h->manifest_offset, h->manifest_bytes, 0, NULL);
	const char *target = json_string_value(json_object_get(json_object_get(m, "options"), "target"));
	json_t *all;
	char *text;

	MLO_ASSERT(m && target);
	all = json_pack("{s:{s:s, s:s}, s:{s:O, s:s, s:s}, s:{s:o, s:o}}", "Requirements", "TargetDevice", target,
			"TargetDeviceType", "cpu", "Runtime", "tool", json_object_get(m, "tool"), "package",
			"model.mlopt", "backend", "mlopt", "Model", "Inputs", tensors(json_object_get(m, "inputs")),
			"Outputs", tensors(json_object_get(m, "outputs")));
	text = all ? json_dumps(all, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;
	if (text)
		*out = mlo_sprintf(w->r->arena, "%s\n", text);
	free(text);
	json_decref(all);
	json_decref(m);
	return text ? MLO_OK : mlo_error(w->d, MLO_ERR_NOMEM, "out of memory");
}

/* -- the archive --------------------------------------------------------------------------------------------- */

static MloStatus failed(Writer *w)
{
	return mlo_error(w->d, MLO_ERR_IO, "cannot write '%s': %s", w->r->output, archive_error_string(w->out));
}

/* The head of a file of n bytes. */
static MloStatus begin(Writer *w, const char *name, int64_t n)
{
	struct archive_entry *e = archive_entry_new();
	int bad;

	if (!e)
		return mlo_error(w->d, MLO_ERR_NOMEM, "out of memory");
	archive_entry_set_pathname(e, name);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, 0644);
	archive_entry_set_size(e, n);
	archive_entry_set_mtime(e, 0, 0);
	bad = archive_write_header(w->out, e) != ARCHIVE_OK;
	archive_entry_free(e);
	return bad ? failed(w) : MLO_OK;
}

static MloStatus add_bytes(Writer *w, const char *name, const void *bytes, size_t n)
{
	MLO_TRY(begin(w, name, (int64_t)n));
	return archive_write_data(w->out, bytes, n) == (la_ssize_t)n ? MLO_OK : failed(w);
}

static MloStatus add_file(Writer *w, const char *name, const char *path, int64_t n)
{
	FILE *f = fopen(path, "rb");
	char block[1 << 14];
	MloStatus st;
	size_t got;

	if (!f)
		return mlo_error(w->d, MLO_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
	st = begin(w, name, n);
	while (st == MLO_OK && (got = fread(block, 1, sizeof block, f)) > 0) {
		if (archive_write_data(w->out, block, got) != (la_ssize_t)got)
			st = failed(w);
		n -= (int64_t)got;
	}
	if (st == MLO_OK && (ferror(f) || n != 0))
		st = mlo_error(w->d, MLO_ERR_IO, "cannot read '%s', or it changes", path);
	fclose(f);
	return st;
}

static int visible(const struct dirent *e)
{
	return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

static MloStatus add_folder(Writer *w, const char *name, const char *path, int depth);

static MloStatus add_member(Writer *w, const char *name, const char *path, int depth)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return mlo_error(w->d, MLO_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return add_folder(w, name, path, depth + 1);
	if (!S_ISREG(st.st_mode))
		return mlo_error(w->d, MLO_ERR_USAGE, "'%s' is neither a file nor a folder", path);
	return add_file(w, name, path, st.st_size);
}

/* Byte by byte: the order of names does not depend on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static MloStatus add_folder(Writer *w, const char *name, const char *path, int depth)
{
	enum { MAX_DEPTH = 32 }; /* also ends at links that go in circles */
	struct dirent **list;
	MloStatus st = MLO_OK;
	int n;

	if (depth > MAX_DEPTH)
		return mlo_error(w->d, MLO_ERR_LIMIT, "'%s': folders in more than %d levels", path, MAX_DEPTH);
	n = scandir(path, &list, visible, by_name);
	if (n < 0)
		return mlo_error(w->d, MLO_ERR_IO, "cannot read the folder '%s': %s", path, strerror(errno));
	for (int i = 0; i < n; i++) {
		MloArena *a = w->r->arena;

		if (st == MLO_OK)
			st = add_member(w, mlo_sprintf(a, "%s/%s", name, list[i]->d_name),
					mlo_sprintf(a, "%s/%s", path, list[i]->d_name), depth);
		free(list[i]);
	}
	free(list);
	return st;
}

static MloStatus add_all(Writer *w, const MloCompiled *made)
{
	const char *meta = NULL;

	if (archive_write_set_format_pax_restricted(w->out) != ARCHIVE_OK ||
	    archive_write_add_filter_gzip(w->out) != ARCHIVE_OK ||
	    archive_write_set_filter_option(w->out, "gzip", "timestamp", NULL) != ARCHIVE_OK ||
	    archive_write_set_filter_option(w->out, "gzip", "compression-level", "6") != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(w->out, 1) != ARCHIVE_OK ||
	    archive_write_open_FILE(w->out, w->file.f) != ARCHIVE_OK)
		return failed(w);
	MLO_TRY(metadata(w, made, &meta));
	MLO_TRY(add_bytes(w, "compiled.meta", meta, strlen(meta)));
	MLO_TRY(add_bytes(w, "model.mlopt", made->bytes, made->n));
	if (w->r->code)
		MLO_TRY(add_folder(w, "code", w->r->code, 0));
	return archive_write_close(w->out) == ARCHIVE_OK ? MLO_OK : failed(w);
}

MloStatus format_sagemaker(const FormatRequest *r, FormatResult *out)
{
	Writer w = {.r = r, .d = r->diag};
	const char *where = r->diag->where;
	MloCompiled made;
	MloStatus st;

	MLO_TRY(mlo_compile_hooked(r->arena, r->graph, r->options, r->hooks, NULL, &made, r->diag));
	r->diag->where = NULL; /* messages are about the output, not the model */
	st = mlo_outfile_open(&w.file, r->output, w.d);
	w.out = archive_write_new();
	if (st == MLO_OK && !w.out)
		st = mlo_error(w.d, MLO_ERR_NOMEM, "out of memory");
	if (st == MLO_OK)
		st = add_all(&w, &made);
	archive_write_free(w.out);
	if (st == MLO_OK)
		st = mlo_outfile_commit(&w.file, w.d);
	else
		mlo_outfile_abandon(&w.file);
	r->diag->where = where;
	out->report = made.report;
	return st;
}
