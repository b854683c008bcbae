/* tools/cmd_opt.c -- mlopt opt: passes on a graph in text form, for developers and golden tests. */
#include <getopt.h>
#include <string.h>

#include "passes/pass.h"
#include "tools/cli.h"
#include "tools/npy.h"

enum { O_PASS = 256, O_PIPELINE, O_DUMP_AFTER, O_TIME, O_VERIFY, O_LIMIT, O_FULL, O_LIST, O_PRECISION };

static const CliOption options[] = {
	{O_PASS, "pass", "P[,P]...", "run these passes, in this order"},
	{O_PIPELINE, "pipeline", "NAME", "run a pipeline (O0, import, O2)"},
	{'t', "target", "NAME", "for passes that ask for one (its best variant)"},
	{O_PRECISION, "precision", "NAME", "of products: " MLO_PRECISIONS},
	{O_FULL, "full", NULL, "print large constants too, so that the text stands alone"},
	{O_DUMP_AFTER, "dump-after", "PASS", "also print the graph after that pass, or after 'all'"},
	{O_TIME, "time-passes", NULL, "print how long each pass takes"},
	{O_VERIFY, "verify-each", NULL, "check the graph after every pass"},
	{O_LIMIT, "pass-limit", "N", "run only the first N passes"},
	{O_LIST, "list", NULL, "list the passes"},
	{0},
};
static const CliSpec spec = {
	"GRAPH.ir --pass P[,P]... [option]...",
	"Reads a graph in text form, runs passes on it and prints the result. The graph is checked before\n"
	"and after. Without --pass and --pipeline it is only read, checked and printed.",
	options,
	"mlopt opt graph.ir --pass infer,canon,dce\n"
	"mlopt opt graph.ir --pipeline import --dump-after all",
};

typedef struct Request {
	const char *file, *passes, *target;
	bool full, list;
	MloPassOptions opt;
} Request;

static void dump(void *user, const char *pass, const char *text)
{
	(void)user;
	printf("# after %s\n%s\n", pass, text);
}

static void timing(void *user, const char *pass, double seconds, size_t changed)
{
	(void)user;
	cli_note("%-12s %9.3f ms %6zu changed", pass, 1e3 * seconds, changed);
}

/* One option; false: an error was printed. */
static bool take(Request *r, int o)
{
	switch (o) {
	case O_PASS:
	case O_PIPELINE: r->passes = optarg; break;
	case 't': r->target = optarg; break;
	case O_PRECISION:
		if (mlo_precision_find(optarg, &r->opt.precision))
			break;
		cli_usage("--precision expects one of " MLO_PRECISIONS ", not '%s'", optarg);
		return false;
	case O_FULL: r->full = true; break;
	case O_LIST: r->list = true; break;
	case O_DUMP_AFTER: r->opt.dump_after = optarg; break;
	case O_TIME: r->opt.timing = timing; break;
	case O_VERIFY: r->opt.verify_each = true; break;
	case O_LIMIT: return cli_int("--pass-limit", optarg, 0, 1000, &r->opt.limit);
	default: return false;
	}
	return true;
}

static MloStatus transform(const Request *r, MloGraph *g, MloDiag *d)
{
	const MloTargetSet *set = r->target ? mlo_target_find(r->target, d) : NULL;

	if (r->target && !set)
		return MLO_ERR_USAGE;
	MLO_TRY(mlo_verify(g, d));
	if (r->passes)
		MLO_TRY(mlo_passes_run(g, r->passes, set ? set->variant[0] : NULL, &r->opt, d));
	return mlo_verify(g, d);
}

static MloStatus run(const Request *r, MloArena *a, MloDiag *d)
{
	const void *text;
	size_t n;
	MloGraph *g;
	MloStatus st;
	MloStr out = {.arena = a};

	MLO_TRY(mlo_map_file(a, r->file, &text, &n, d));
	g = mlo_parse(text, n, NULL, NULL, d);
	if (!g)
		return MLO_ERR_FORMAT;
	st = transform(r, g, d);
	if (st == MLO_OK) {
		mlo_print(&out, g, r->full);
		fputs(mlo_str_text(&out), stdout);
	}
	mlo_graph_free(g);
	return st;
}

static int list_passes(void)
{
	for (size_t i = 0; mlo_pass_at(i); i++)
		printf("%-12s %s\n", mlo_pass_at(i)->name, mlo_pass_at(i)->summary);
	return CLI_OK;
}

int cmd_opt(int argc, char **argv)
{
	Request r = {.opt = {.limit = -1, .dump = dump}};
	MloDiag d = {0};
	MloArena *a;
	MloStatus st;
	int o;

	while ((o = cli_next(&spec, argc, argv)) != CLI_END)
		if (o == CLI_BAD || o == CLI_HELP)
			return cli_stop(o);
		else if (!take(&r, o))
			return CLI_USAGE;
	if (r.list)
		return list_passes();
	if (!cli_operands(&spec, argc, argv, 1, 1))
		return CLI_USAGE;
	r.file = d.where = argv[optind];
	a = mlo_arena_new();
	st = a ? run(&r, a, &d) : mlo_error(&d, MLO_ERR_NOMEM, "out of memory");
	mlo_arena_free(a);
	return cli_finish(&d, st);
}
