/* tools/cmd_package.c -- mlopt package: looks at package files as files. */
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "package/package.h"
#include "tools/cli.h"

static const CliOption options[] = {{0}};
static const CliSpec spec = {
	"verify|list FILE...",
	"verify  checks the format and every hash of a package\n"
	"list    shows the parts of a package",
	options,
	"mlopt package verify resnet50.mlopt\nmlopt package list resnet50.mlopt",
};

static const char *kind_text(uint32_t kind)
{
	static const char *const text[] = {[MLRT_CODE] = "code",
					   [MLRT_WEIGHTS] = "weights",
					   [MLRT_PROGRAM] = "program",
					   [MLRT_GOLDEN] = "golden"};

	return kind && kind < sizeof text / sizeof *text ? text[kind] : "unknown";
}

static MloStatus verify(const char *path, const MloPackageFile *p, json_t *manifest, MloDiag *d)
{
	printf("%s: ok, %zu variants, %zu blobs, %s\n", path,
	       json_array_size(json_object_get(manifest, "variants")), p->nblobs,
	       cli_bytes((double)p->nbytes));
	return MLO_OK;
}

/* The variants that use blob `i`, separated by commas. */
static void print_users(json_t *manifest, size_t i)
{
	static const char *const roles[] = {"code", "weights", "program"};
	const char *sep = "";
	json_t *v;
	size_t k;

	json_array_foreach(json_object_get(manifest, "variants"), k, v)
	{
		for (size_t r = 0; r < 3; r++) {
			json_t *number = json_object_get(v, roles[r]);
			const char *name = json_string_value(json_object_get(v, "name"));

			if (json_is_integer(number) && json_integer_value(number) == (json_int_t)i) {
				printf("%s%s", sep, name ? name : "?");
				sep = ",";
			}
		}
	}
	putchar('\n');
}

static MloStatus list(const char *path, const MloPackageFile *p, json_t *manifest, MloDiag *d)
{
	const char *name = json_string_value(json_object_get(manifest, "name"));
	const char *tool = json_string_value(json_object_get(manifest, "tool"));

	printf("%s: %s, %zu bytes, made by %s\n", path, name ? name : "?", p->nbytes, tool ? tool : "?");
	printf("%4s %-8s %12s %12s  %-16s  %s\n", "blob", "kind", "offset", "bytes", "hash", "used by");
	printf("%4s %-8s %12zu %12zu  %-16s  %s\n", "-", "manifest", sizeof(MlrtHeader), p->manifest_bytes,
	       "", "all");
	for (size_t i = 0; i < p->nblobs; i++) {
		const MlrtBlob *b = &p->blob[i];

		printf("%4zu %-8s %12" PRIu64 " %12" PRIu64 "  %016" PRIx64 "  ", i, kind_text(b->kind),
		       b->offset, b->bytes, b->hash);
		print_users(manifest, i);
	}
	return MLO_OK;
}

typedef MloStatus Action(const char *path, const MloPackageFile *p, json_t *manifest, MloDiag *d);

static MloStatus act(Action *action, const char *path, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	MloPackageFile p;
	json_t *manifest;
	json_error_t e;
	MloStatus st;

	if (!a)
		return MLO_ERR_NOMEM;
	st = mlo_package_open(a, path, &p, d);
	if (st == MLO_OK) {
		manifest = json_loadb(p.manifest, p.manifest_bytes, 0, &e);
		st = manifest ? action(path, &p, manifest, d)
			      : mlo_error(d, MLO_ERR_FORMAT, "'%s': the manifest is not JSON: %s", path,
					  e.text);
		json_decref(manifest);
	}
	mlo_arena_free(a);
	return st;
}

int cmd_package(int argc, char **argv)
{
	static const struct {
		const char *name;
		Action *run;
	} actions[] = {{"verify", verify}, {"list", list}};
	static const char *const names[] = {"verify", "list", NULL};
	int status = CLI_OK, o;
	Action *action = NULL;
	const char *near;

	o = cli_next(&spec, argc, argv);
	if (o != CLI_END)
		return cli_stop(o);
	if (!cli_operands(&spec, argc, argv, 2, -1))
		return CLI_USAGE;
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
		if (strcmp(argv[optind], actions[i].name) == 0)
			action = actions[i].run;
	}
	if (!action) {
		near = cli_nearest(argv[optind], names);
		cli_usage("'package' does not know '%s'", argv[optind]);
		cli_note(near ? "  hint: did you mean '%s'?" : "  hint: it knows verify and list", near);
		return CLI_USAGE;
	}
	for (int i = optind + 1; i < argc; i++) {
		MloDiag d = {0};
		MloStatus st = act(action, argv[i], &d);
		int one = cli_finish(&d, st);

		status = one > status ? one : status;
	}
	return status;
}
