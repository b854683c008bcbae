/* tools/cmd_tune.c -- mlopt tune: measured schedules for the kernels of a model. */
#include <getopt.h>
#include <signal.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/outfile.h"
#include "tools/tune.h"

enum { O_BUDGET = 256, O_SHAPE, O_CONST, O_JSON, O_CACHE_DIR, O_NO_WINOGRAD };
static const CliOption options[] = {
	{O_BUDGET, "budget", "TIME", "how long to measure: 90, 60s (default), 10m, 1h"},
	{'o', "output", "FILE", "then also compile the model into this package"},
	{'t', "target", "NAME", "a target that this machine runs (default: native); its best variant is tuned"},
	{O_SHAPE, "shape", "NAME=1x3x8x8", "as for 'mlopt compile': of other sizes other kernels are made (repeatable)"},
	{O_CONST, "const", "NAME=FILE", "as for 'mlopt compile' (repeatable)"},
	{O_NO_WINOGRAD, "no-winograd", NULL, "as for 'mlopt compile': schedules for packages made with it"},
	{O_JSON, "json", "FILE", "write the report as JSON ('-': to standard output, instead of the table)"},
	{'j', "jobs", "N", "compile threads (default: one per core)"},
	{O_CACHE_DIR, "cache-dir", "DIR", "where schedules and kernels are kept (default: $XDG_CACHE_HOME/mlopt)"},
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx [--budget TIME] [option]...",
	"Measures candidate schedules of the model's contractions (tiles, rows, chunks, order, Winograd or direct)\n"
	"on this machine, within the model, against those of the cost model. What is faster is kept in the cache\n"
	"folder, where 'mlopt compile', 'run' and 'bench' find it; a second call goes on where the first one ended.\n"
	"Ctrl-C ends the search and keeps what was measured; twice, at once.",
	options,
	"mlopt tune resnet50.onnx --budget 5m -o resnet50.mlopt\n"
	"mlopt tune bert.onnx --shape input_ids=1x128 --shape attention_mask=1x128 --json tune.json",
};

enum { MAX_SHAPES = 64 };
typedef struct Request {
	const char *model, *output, *json;
	const char *shapes[MAX_SHAPES], *consts[MAX_SHAPES];
	TuneOptions opt;
} Request;

static volatile int interrupted;

static void on_interrupt(int sig)
{
	(void)sig;
	interrupted++;
}

static bool take_budget(Request *r, const char *text)
{
	static const struct {
		const char *unit;
		double seconds;
	} units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}};
	char *end;
	double v = strtod(text, &end);

	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (end == text || strcmp(end, units[i].unit) != 0 || !(v > 0) || v * units[i].seconds > 1e7)
			continue;
		r->opt.budget = v * units[i].seconds;
		return true;
	}
	cli_usage("--budget expects a time such as 60s or 10m, not '%s'", text);
	return false;
}

static bool add(const char **list, size_t *n, const char *what)
{
	if (*n == MAX_SHAPES) {
		cli_usage("more than %d --%s options", MAX_SHAPES, what);
		return false;
	}
	list[(*n)++] = optarg;
	return true;
}

static bool take(Request *r, int o)
{
	switch (o) {
	case O_BUDGET:
		return take_budget(r, optarg);
	case 'o':
		r->output = optarg;
		return true;
	case 't':
		r->opt.compile.target = optarg;
		return true;
	case 'j':
		return cli_int("--jobs", optarg, 0, 1024, &r->opt.compile.jobs);
	case O_JSON:
		r->json = optarg;
		return true;
	case O_CACHE_DIR:
		r->opt.compile.cache_dir = optarg;
		return true;
	case O_NO_WINOGRAD:
		r->opt.compile.no_winograd = 1;
		return true;
	case O_SHAPE:
		return add(r->shapes, &r->opt.compile.nshapes, "shape");
	case O_CONST:
		return add(r->consts, &r->opt.compile.nconsts, "const");
	default:
		return false;
	}
}

static void note(void *user, const char *text)
{
	(void)user;
	cli_note("mlopt: tune: %s", text);
}

static MloStatus report(const Request *r, const TuneResult *result, MloDiag *d)
{
	const bool to_stdout = r->json && strcmp(r->json, "-") == 0;
	if (!to_stdout)
		tune_print(result);
	return r->json ? mlo_write_json(r->json, tune_json(result), d) : MLO_OK;
}

static MloStatus tune(Request *r, MloArena *a, const MloGraph *g, MloDiag *d)
{
	TuneResult result;
	MloCompiled made;

	MLO_TRY(tune_model(a, g, &r->opt, &result, d));
	cli_flush_diag(d);
	MLO_TRY(report(r, &result, d));
	if (!r->output)
		return MLO_OK;
	MLO_TRY(mlo_compile_graph(a, g, &r->opt.compile, r->output, &made, d));
	cli_note("%s: %s, %zu steps with measured schedules", r->output, cli_bytes((double)made.n), made.report.tuned);
	return MLO_OK;
}

static MloStatus run(Request *r, MloArena *a, MloDiag *d)
{
	MloLoadOptions lo = {.shapes = r->shapes, .nshapes = r->opt.compile.nshapes, .consts = r->consts,
			     .nconsts = r->opt.compile.nconsts, .keep_symbols = true, .provenance = true};
	MloGraph *g;
	MloStatus st;

	r->opt.compile.shapes = r->shapes;
	r->opt.compile.consts = r->consts;
	if (!r->opt.compile.cache_dir)
		r->opt.compile.cache_dir = mlo_default_cache(a);
	if (!r->opt.compile.cache_dir) {
		mlo_error(d, MLO_ERR_USAGE, "there is no folder to keep schedules in");
		mlo_hint(d, "--cache-dir DIR, or set HOME or XDG_CACHE_HOME");
		return MLO_ERR_USAGE;
	}
	MLO_TRY(mlo_load_model(r->model, &lo, &g, d));
	cli_flush_diag(d);
	d->where = r->model;
	st = tune(r, a, g, d);
	d->where = NULL;
	mlo_graph_free(g);
	return st;
}

int cmd_tune(int argc, char **argv)
{
	Request r = {.opt = {.compile = MLOPT_OPTIONS_INIT, .budget = 60, .stop = &interrupted, .note = note}};
	MloDiag d = {0};
	MloArena *a;
	MloStatus st;
	int o;

	while ((o = cli_next(&spec, argc, argv)) != CLI_END) {
		if (o < 0)
			return cli_stop(o);
		if (!take(&r, o))
			return CLI_USAGE;
	}
	if (!cli_operands(&spec, argc, argv, 1, 1))
		return CLI_USAGE;
	r.model = argv[optind];
	a = mlo_arena_new();
	if (!a)
		return cli_finish(&d, MLO_ERR_NOMEM);
	signal(SIGINT, on_interrupt);
	st = run(&r, a, &d);
	mlo_arena_free(a);
	return cli_finish(&d, st);
}
