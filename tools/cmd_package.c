/* tools/cmd_package.c -- mlopt package: keys, signatures, checks and lists of package files. */
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/cli.h"
#include "tools/model.h"
#include "tools/package_list.h"

enum { O_KEY = 256, O_ANY, O_REPLAY, O_VARIANT, O_DEVICE };
static const CliOption options[] = {
	{O_KEY, "key", "FILE", "sign: the secret key; verify: a public key that must have signed (repeatable)"},
	{O_ANY, "any", NULL, "verify: one of the keys is enough, where all must have signed otherwise"},
	{O_REPLAY, "replay", NULL, "verify: run the golden vectors (compile --golden) on this machine, and compare"},
	{O_VARIANT, "variant", "NAME", "of --replay: use that variant"},
	{'n', "threads", "N", "of --replay: threads (default: what this process may use)"},
	{O_DEVICE, "device", "N", "of --replay: the GPU of packages for GPUs, as the driver counts (default: 0)"},
	{0},
};
static const CliSpec spec = {
	"keygen NAME | sign --key NAME.key FILE... | verify [option]... FILE... | list FILE|FOLDER...",
	"keygen  makes a pair of keys: NAME.key, to sign with and to be kept secret, and NAME.pub\n"
	"sign    adds a signature to packages; one by the same key is replaced\n"
	"verify  checks the signatures, the format and every hash of a package\n"
	"list    shows the parts of a package, or the packages of a folder: versions, who signed, what runs here",
	options,
	"mlopt package keygen release\n"
	"mlopt package sign --key release.key resnet50.mlopt\n"
	"mlopt package verify --key release.pub --replay resnet50.mlopt\n"
	"mlopt package list models/",
};

enum { MAX_KEYS = 64 };
typedef struct Request {
	const char *path[MAX_KEYS];
	size_t nkeys;
	bool any, replay;
	ModelOptions run;
	NamedKey named[MAX_KEYS];
	MlrtPublicKey key[MAX_KEYS];
} Request;

/* -- keygen, sign -------------------------------------------------------------------------------------- */

static MloStatus keygen(Request *r, const char *name, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	char id[MLO_KEY_ID];
	MloKey k;
	MloStatus st = a ? mlo_key_new(&k, d) : MLO_ERR_NOMEM;

	if (st == MLO_OK)
		st = mlo_key_write(&k, mlo_sprintf(a, "%s.key", name), mlo_sprintf(a, "%s.pub", name), d);
	if (st == MLO_OK) {
		mlo_key_id(k.public_key, id);
		printf("%s.key, %s.pub: key %s\n", name, name, id);
	}
	mlo_key_forget(&k);
	mlo_arena_free(a);
	return st;
}

static MloStatus sign(Request *r, const char *path, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	char id[MLO_KEY_ID];
	MloKey k;
	MloStatus st = a ? mlo_key_read(r->path[0], &k, d) : MLO_ERR_NOMEM;

	if (st == MLO_OK && !k.secret)
		st = mlo_error(d, MLO_ERR_USAGE, "%s: is a public key, the secret one signs", r->path[0]);
	if (st == MLO_OK)
		st = mlo_package_sign(a, path, &k, d);
	if (st == MLO_OK) {
		mlo_key_id(k.public_key, id);
		printf("%s: signed by %s\n", path, id);
	}
	mlo_key_forget(&k);
	mlo_arena_free(a);
	return st;
}

/* -- verify ---------------------------------------------------------------------------------------------- */

static MlrtOpenOptions open_options(const Request *r)
{
	return (MlrtOpenOptions){.variant = r->run.variant, .keys = r->key, .nkeys = r->nkeys, .keys_needed = r->any};
}

/* What the runtime says of manifest and programs; that nothing fits this machine makes no package unsound. */
static MloStatus check_contents(const char *path, MloDiag *d)
{
	MlrtError err = {0};
	MlrtModel *m;
	const MlrtStatus st = mlrt_model_open(path, &(MlrtOpenOptions){.skip_hashes = 1}, &m, &err);

	mlrt_model_close(m);
	return st == MLRT_OK || st == MLRT_ERR_TARGET || st == MLRT_ERR_ARCH ? MLO_OK : model_runtime_error(d, &err);
}

static void print_replay(void *user, const MlrtReplay *one)
{
	MlrtTensorInfo info = {.name = "?"};

	if (mlrt_model_output(user, one->output, &info) != MLRT_OK)
		return;
	printf("  vector %zu, output '%s': NMSE %.3g, max error %.3g%s\n", one->vector, info.name, one->nmse, one->max_error,
	       one->failed ? " FAILED" : "");
}

static MloStatus replay(const Request *r, const char *path, MloDiag *d)
{
	const MlrtOpenOptions opt = open_options(r);
	MlrtError err = {0};
	MlrtReplay sum;
	MlrtModel *m;
	MlrtStatus st;

	if (mlrt_model_open(path, &opt, &m, &err))
		return model_runtime_error(d, &err);
	st = mlrt_model_replay(m, &(MlrtSessionOptions){.threads = r->run.threads, .device = r->run.device}, print_replay, m, &sum, &err);
	if (!st)
		printf("  replay: ok, %zu vector%s by %s, NMSE at most %.3g of %.3g\n", sum.vectors, sum.vectors == 1 ? "" : "s",
		       mlrt_model_variant(m), sum.nmse, sum.nmse_allowed);
	mlrt_model_close(m);
	return st ? mlo_error(d, MLO_ERR_MODEL, "%s: %s", path, err.text) : MLO_OK;
}

static MloStatus verify_open(const Request *r, MloArena *a, const char *path, MloDiag *d)
{
	const MlrtOpenOptions opt = open_options(r);
	const NamedKeys keys = {r->named, r->nkeys};
	MloPackageFile p;
	json_t *manifest;

	MLO_TRY(mlo_package_open_signed(a, path, &opt, &p, d));
	MLO_TRY(mlo_package_signatures(&p, path, d));
	MLO_TRY(check_contents(path, d));
	MLO_TRY(package_manifest(&p, path, &manifest, d));
	printf("%s: ok, %zu variants, %zu blobs, %s", path, json_array_size(json_object_get(manifest, "variants")), p.nblobs,
	       cli_bytes((double)p.nbytes));
	if (p.signatures->count)
		printf(", signed by %s", package_signers(a, &p, &keys));
	putchar('\n');
	json_decref(manifest);
	return MLO_OK;
}

static MloStatus verify(Request *r, const char *path, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	MloStatus st = a ? verify_open(r, a, path, d) : MLO_ERR_NOMEM;

	mlo_arena_free(a);
	return st == MLO_OK && r->replay ? replay(r, path, d) : st;
}

static MloStatus list(Request *r, const char *path, MloDiag *d)
{
	const NamedKeys keys = {r->named, r->nkeys};
	struct stat info;

	return stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? package_list_folder(path, &keys, d)
							       : package_list_parts(path, &keys, d);
}

/* -- the command --------------------------------------------------------------------------------------------- */

typedef struct Action {
	const char *name;
	MloStatus (*run)(Request *r, const char *operand, MloDiag *d);
} Action;
static const Action actions[] = {{"keygen", keygen}, {"sign", sign}, {"verify", verify}, {"list", list}};
enum { ACTIONS = sizeof actions / sizeof *actions };

static const Action *find_action(const char *name)
{
	const char *names[ACTIONS + 1] = {NULL}, *near;

	for (size_t i = 0; i < ACTIONS; i++) {
		names[i] = actions[i].name;
		if (strcmp(name, names[i]) == 0)
			return &actions[i];
	}
	near = cli_nearest(name, names);
	cli_usage("'package' does not know '%s'", name);
	cli_note(near ? "  hint: did you mean '%s'?" : "  hint: it knows keygen, sign, verify and list", near);
	return NULL;
}

/* Options that `action` has no use for are mistakes. False: an error was printed. */
static bool options_fit(const Request *r, const Action *action)
{
	if (action->run == sign && r->nkeys != 1)
		return cli_usage("'package sign' needs one --key NAME.key"), false;
	if (action->run == keygen && r->nkeys)
		return cli_usage("'package keygen' takes no --key"), false;
	if ((r->any || r->replay) && action->run != verify)
		return cli_usage("--any and --replay are for 'package verify'"), false;
	if (r->any && !r->nkeys)
		return cli_usage("--any is about keys: --key FILE"), false;
	if ((r->run.variant || r->run.threads || r->run.device) && !r->replay)
		return cli_usage("--variant, --threads and --device are for --replay"), false;
	return true;
}

static bool take(Request *r, int o)
{
	switch (o) {
	case O_KEY:
		return cli_push("--key", r->path, MAX_KEYS, &r->nkeys);
	case O_ANY:
		r->any = true;
		return true;
	case O_REPLAY:
		r->replay = true;
		return true;
	case O_VARIANT:
		r->run.variant = optarg;
		return true;
	case 'n':
		return cli_int("--threads", optarg, 0, 4096, &r->run.threads);
	case O_DEVICE:
		return cli_int("--device", optarg, 0, 1023, &r->run.device);
	default:
		return false;
	}
}

static MloStatus read_keys(Request *r, MloDiag *d)
{
	for (size_t i = 0; i < r->nkeys; i++) {
		MLO_TRY(mlo_key_read_public(r->path[i], r->key[i].bytes, d));
		r->named[i] = (NamedKey){r->path[i], r->key[i]};
	}
	return MLO_OK;
}

int cmd_package(int argc, char **argv)
{
	Request r = {.path = {NULL}};
	int status = CLI_OK, o;
	const Action *action;
	MloDiag d = {0};

	while ((o = cli_next(&spec, argc, argv)) != CLI_END) {
		if (o < 0)
			return cli_stop(o);
		if (!take(&r, o))
			return CLI_USAGE;
	}
	if (!cli_operands(&spec, argc, argv, 2, -1))
		return CLI_USAGE;
	action = find_action(argv[optind]);
	if (!action || !options_fit(&r, action))
		return CLI_USAGE;
	if (action->run != sign)
		status = cli_finish(&d, read_keys(&r, &d));
	if (status != CLI_OK)
		return status;
	for (int i = optind + 1; i < argc; i++) {
		int one = cli_finish(&d, action->run(&r, argv[i], &d));

		status = one > status ? one : status;
	}
	return status;
}
