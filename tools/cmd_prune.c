/* tools/cmd_prune.c -- mlopt prune: weights of a model become zero. */
#include <getopt.h>
#include <string.h>
#include <stdlib.h>

#include "tools/cli.h"
#include "tools/prune.h"

enum { O_CALIB = 256, O_SAMPLES, O_PREPROCESS, O_SHAPE, O_SPARSITY, O_PATTERN, O_METHOD, O_EXCLUDE, O_INCLUDE, O_JSON };
static const CliOption options[] = {
	{'o', "output", "FILE", "the model to write"},
	{O_CALIB, "calib", "DATA", "samples: X.npy, X.npz (arrays named as the inputs), IDX, or a folder of such or .pb files"},
	{O_SAMPLES, "samples", "N", "use at most N samples (default: 1024)"},
	{O_PREPROCESS, "preprocess", "RECIPE", "how samples become inputs, as for 'eval'"},
	{O_SHAPE, "shape", "NAME=1x3x8x8", "shape of an input, or size of a dimension, for the samples"},
	{O_SPARSITY, "sparsity", "S", "share of the weights that become zero, between 0 and 1"},
	{O_PATTERN, "pattern", "P", "unstructured"},
	{O_METHOD, "method", "M", "second-order (default) or magnitude"},
	{O_EXCLUDE, "exclude", "PATTERN", "nodes of that name stay dense; * and ? stand for any characters (repeatable)"},
	{O_INCLUDE, "include", "PATTERN", "only layers of that name are pruned (repeatable)"},
	{O_JSON, "json", NULL, "report as JSON"},
	{'n', "threads", "N", "threads (default: what this process may use)"},
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx -o OUT.onnx --sparsity S --calib DATA [option]...",
	"Prunes.",
	options,
	"mlopt prune resnet20.onnx -o sparse.onnx --sparsity 0.6 --calib cifar_x.npy",
};

enum { MAX_LIST = 64 };
typedef struct Request {
	PruneOptions o;
	const char *output, *shape[MAX_LIST], *exclude[MAX_LIST + 1], *include[MAX_LIST + 1];
	size_t nexclude, ninclude;
	bool json;
} Request;

static bool take(Request *r, int o)
{
	switch (o) {
	case 'o': r->output = optarg; return true;
	case 'n': return cli_int("--threads", optarg, 0, 4096, &r->o.run.threads);
	case O_CALIB: r->o.calib = optarg; return true;
	case O_SAMPLES: return cli_int("--samples", optarg, 1, 2000000000, &r->o.samples);
	case O_PREPROCESS: r->o.preprocess = optarg; return true;
	case O_SPARSITY: return cli_real("--sparsity", optarg, 0, 1, &r->o.sparsity);
	case O_PATTERN: return mlo_pattern_parse(optarg, &r->o.pattern);
	default: return false;
	}
}

int cmd_prune(int argc, char **argv)
{
	Request r = {.o = PRUNE_DEFAULTS};
	MloDiag d = {0};
	MloArena *a;
	MloStatus st;
	Prune x;
	int o;

	while ((o = cli_next(&spec, argc, argv)) != CLI_END) {
		if (o < 0)
			return cli_stop(o);
		if (!take(&r, o))
			return CLI_USAGE;
	}
	r.o.model = argv[optind];
	r.o.ptq.exclude = r.exclude;
	r.o.ptq.include = r.include;
	if (getenv("P_SWEEPS")) r.o.sweeps = atoi(getenv("P_SWEEPS"));
	if (getenv("P_DAMP")) r.o.damping = atof(getenv("P_DAMP"));
	a = mlo_arena_new();
	st = prune_open(&x, a, &r.o, &d);
	if (st == MLO_OK && getenv("P_ALLOC")) { st = prune_curves(&x); if (st == MLO_OK) st = prune_allocate(&x); }
	if (st == MLO_OK)
		st = prune_run(&x);
	if (st == MLO_OK)
		st = prune_write(&x, r.output);
	if (st == MLO_OK)
		prune_report_text(&x);
	prune_close(&x);
	mlo_arena_free(a);
	return cli_finish(&d, st);
}
