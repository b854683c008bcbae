/* tools/package_list.c -- listing a package's parts, and the packages of a folder. */
#include "tools/package_list.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mlopt/runtime.h"
#include "tools/cli.h"

MloStatus package_manifest(const MloPackageFile *p, const char *path, json_t **out, MloDiag *d)
{
	json_error_t e;

	*out = json_loadb(p->manifest, p->manifest_bytes, JSON_REJECT_DUPLICATES, &e);
	return *out ? MLO_OK : mlo_error(d, MLO_ERR_FORMAT, "'%s': the manifest is not JSON: %s", path, e.text);
}

const char *package_signers(MloArena *a, const MloPackageFile *p, const NamedKeys *keys)
{
	MloStr s = {.arena = a};

	for (uint32_t i = 0; i < p->signatures->count; i++) {
		const MlrtSignature *x = &p->signatures->item[i];
		char id[MLO_KEY_ID];
		const char *name = id;

		mlo_key_id(x->key, id);
		for (size_t k = 0; k < keys->n; k++)
			if (memcmp(keys->items[k].key.bytes, x->key, sizeof x->key) == 0)
				name = keys->items[k].path;
		mlo_str_add(&s, "%s%s", i ? "," : "", name);
	}
	return p->signatures->count ? mlo_str_text(&s) : "-";
}

static const char *text_of(json_t *j, const char *key, const char *otherwise)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : otherwise;
}

/* -- the parts of one package ------------------------------------------------------------------------ */

static const char *kind_text(uint32_t kind)
{
	static const char *const text[] = {[MLRT_CODE] = "code",
					   [MLRT_WEIGHTS] = "weights",
					   [MLRT_PROGRAM] = "program",
					   [MLRT_GOLDEN] = "golden",
					   [MLRT_PTX] = "ptx",
					   [MLRT_CUBIN] = "cubin",
					   [MLRT_LAUNCHES] = "launches"};

	return kind && kind < sizeof text / sizeof *text ? text[kind] : "unknown";
}

/* The variants that use blob `i`, separated by commas. */
static void print_users(json_t *manifest, size_t i)
{
	static const char *const roles[] = {"code", "weights", "program", "golden", "launches", "cubin"};
	const char *sep = "";
	json_t *v;
	size_t k;

	json_array_foreach(json_object_get(manifest, "variants"), k, v)
	{
		for (size_t r = 0; r < sizeof roles / sizeof *roles; r++) {
			json_t *number = json_object_get(v, roles[r]);

			if (json_is_integer(number) && json_integer_value(number) == (json_int_t)i) {
				printf("%s%s", sep, text_of(v, "name", "?"));
				sep = ",";
			}
		}
	}
	putchar('\n');
}

static void print_parts(MloArena *a, const char *path, const MloPackageFile *p, json_t *manifest, const NamedKeys *keys)
{
	MlrtHeader h;

	memcpy(&h, p->bytes, sizeof h);
	printf("%s: %s%s%s, %zu bytes, made by %s\n", path, text_of(manifest, "name", "?"),
	       json_object_get(manifest, "version") ? " " : "", text_of(manifest, "version", ""), p->nbytes,
	       text_of(manifest, "tool", "?"));
	printf("%4s %-8s %12s %12s  %-16s  %s\n", "blob", "kind", "offset", "bytes", "hash", "used by");
	printf("%4s %-8s %12" PRIu64 " %12zu  %-16s  %s\n", "-", "manifest", h.manifest_offset, p->manifest_bytes, "", "all");
	for (size_t i = 0; i < p->nblobs; i++) {
		const MlrtBlob *b = &p->blob[i];

		printf("%4zu %-8s %12" PRIu64 " %12" PRIu64 "  %016" PRIx64 "  ", i, kind_text(b->kind),
		       b->offset, b->bytes, b->hash);
		print_users(manifest, i);
	}
	if (p->signatures->count)
		printf("signed by %s\n", package_signers(a, p, keys));
}

MloStatus package_list_parts(const char *path, const NamedKeys *keys, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	MloPackageFile p;
	json_t *manifest = NULL;
	MloStatus st;

	if (!a)
		return MLO_ERR_NOMEM;
	st = mlo_package_open(a, path, &p, d);
	if (st == MLO_OK)
		st = package_manifest(&p, path, &manifest, d);
	if (st == MLO_OK)
		print_parts(a, path, &p, manifest, keys);
	json_decref(manifest);
	mlo_arena_free(a);
	return st;
}

/* -- the packages of a folder ------------------------------------------------------------------------ */

typedef struct Row {
	const char *file, *name, *version, *variants, *size, *signers;
	const char *here;  /* the variant that runs on this machine, or why none does */
	const char *fault; /* why it is no sound package; NULL: it is one */
} Row;

static const char *variants_of(MloArena *a, json_t *manifest)
{
	MloStr s = {.arena = a};
	json_t *v;
	size_t k;

	json_array_foreach(json_object_get(manifest, "variants"), k, v)
		mlo_str_add(&s, "%s%s", k ? "," : "", text_of(v, "name", "?"));
	return mlo_str_text(&s);
}

/* Whether it runs here; its hashes were checked.  False: the runtime finds it unsound. */
static bool try_here(MloArena *a, const char *path, Row *r)
{
	MlrtError err = {0};
	MlrtModel *m;
	const MlrtStatus st = mlrt_model_open(path, &(MlrtOpenOptions){.skip_hashes = 1}, &m, &err);

	r->here = st == MLRT_OK ? mlo_strdup(a, mlrt_model_variant(m)) : "no";
	mlrt_model_close(m);
	if (st == MLRT_OK || st == MLRT_ERR_TARGET || st == MLRT_ERR_ARCH)
		return true;
	r->fault = mlo_strdup(a, err.text);
	return false;
}

static void describe(MloArena *a, const char *path, const NamedKeys *keys, Row *r)
{
	MloDiag d = {0};
	MloPackageFile p;
	json_t *manifest = NULL;

	if (mlo_package_open(a, path, &p, &d) == MLO_OK && mlo_package_signatures(&p, path, &d) == MLO_OK &&
	    package_manifest(&p, path, &manifest, &d) == MLO_OK && try_here(a, path, r)) {
		r->name = mlo_strdup(a, text_of(manifest, "name", "?"));
		r->version = mlo_strdup(a, text_of(manifest, "version", "-"));
		r->variants = variants_of(a, manifest);
		r->size = mlo_strdup(a, cli_bytes((double)p.nbytes));
		r->signers = package_signers(a, &p, keys);
	} else if (!r->fault) {
		r->fault = mlo_strdup(a, d.n && d.lines[0].text ? d.lines[0].text : "out of memory");
	}
	json_decref(manifest);
	mlo_diag_free(&d);
}

/* By name and version; broken ones last, by file. */
static int compare_rows(const void *x, const void *y)
{
	const Row *a = x, *b = y;
	int by = (a->fault != NULL) - (b->fault != NULL);

	if (!by && !a->fault)
		by = strcmp(a->name, b->name);
	if (!by && !a->fault)
		by = strverscmp(a->version, b->version);
	return by ? by : strcmp(a->file, b->file);
}

static void print_rows(const Row *row, size_t n)
{
	int width[6] = {4, 7, 4, 9, 9, 8}; /* of the headings */

	for (size_t i = 0; i < n; i++) {
		const char *const cell[] = {row[i].name, row[i].version, row[i].size, row[i].signers, row[i].here, row[i].variants};

		for (size_t k = 0; !row[i].fault && k < 6; k++)
			width[k] = (int)strlen(cell[k]) > width[k] ? (int)strlen(cell[k]) : width[k];
	}
	printf("%-*s  %-*s  %*s  %-*s  %-*s  %-*s  %s\n", width[0], "name", width[1], "version", width[2], "size", width[3],
	       "signed by", width[4], "runs here", width[5], "variants", "file");
	for (size_t i = 0; i < n; i++) {
		const Row *r = &row[i];

		if (r->fault)
			printf("broken: %s\n", r->fault);
		else
			printf("%-*s  %-*s  %*s  %-*s  %-*s  %-*s  %s\n", width[0], r->name, width[1], r->version, width[2],
			       r->size, width[3], r->signers, width[4], r->here, width[5], r->variants, r->file);
	}
}

static int is_package_name(const struct dirent *e)
{
	const size_t n = strlen(e->d_name), k = strlen(".mlopt");

	return e->d_name[0] != '.' && n > k && strcmp(e->d_name + n - k, ".mlopt") == 0;
}

MloStatus package_list_folder(const char *path, const NamedKeys *keys, MloDiag *d)
{
	struct dirent **list;
	const int n = scandir(path, &list, is_package_name, alphasort);
	MloArena *a = n < 0 ? NULL : mlo_arena_new();
	Row *row = a ? MLO_NEWN(a, Row, (size_t)n + 1) : NULL;

	if (n < 0)
		return mlo_error(d, MLO_ERR_IO, "folder '%s' cannot be read", path);
	for (int i = 0; i < n; i++) {
		MloArena *own = row ? mlo_arena_new() : NULL; /* files are unmapped with it */

		if (own) {
			row[i].file = mlo_strdup(a, list[i]->d_name);
			describe(a, mlo_sprintf(own, "%s/%s", path, list[i]->d_name), keys, &row[i]);
		}
		mlo_arena_free(own);
		free(list[i]);
	}
	free(list);
	if (!row)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	qsort(row, (size_t)n, sizeof *row, compare_rows);
	print_rows(row, (size_t)n);
	mlo_arena_free(a);
	return MLO_OK;
}
