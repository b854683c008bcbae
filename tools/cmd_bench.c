/* tools/cmd_bench.c -- mlopt bench: how fast models are, and against what. */
#include <getopt.h>
#include <string.h>

#include "targets/target.h"
#include "tools/bench.h"
#include "tools/cli.h"
#include "tools/outfile.h"
#include "tools/page.h"
#include "tools/quantize.h"

enum { O_JSON = 256, O_HTML, O_DURATION, O_WARMUP, O_NO_PEER, O_PROFILE, O_SHAPE, O_BASELINE, O_VARIANT, O_LAYERS, O_KEY, O_DEVICE };
static const CliOption options[] = {
	{'i', "input", "NAME=FILE|random", "an input from a .npy or .pb file (default: random)"},
	{'n', "threads", "N", "threads (default: what this process may use)"},
	{O_DURATION, "duration", "S", "seconds of measurement per contestant (default: 3)"},
	{O_WARMUP, "warmup", "S", "seconds before that (default: 0.5)"},
	{O_JSON, "json", "FILE", "write the figures as JSON ('-': to standard output, instead of the table)"},
	{O_HTML, "html", "FILE", "write a page: figures, roofline, graph before and after fusion, steps"},
	{O_LAYERS, "layers", "REPORT", "the page tells of that quantization, too: what 'quantize --json' said"},
	{O_PROFILE, "profile", NULL, "also show the time of each step"},
	{O_NO_PEER, "no-peer", NULL, "no baselines"},
	{O_BASELINE, "baseline", "MODEL.onnx",
	 "the model a package was made from, to measure baselines with"},
	{O_SHAPE, "shape", "NAME=1x3x8x8", "shape of an input of an ONNX model, or size of a dimension"},
	{O_VARIANT, "variant", "NAME", "use that variant of a package"},
	MODEL_DEVICE_OPTION(O_DEVICE),
	MODEL_KEY_OPTION(O_KEY),
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx|PACKAGE... [option]...",
	"Measures latency, throughput, share of the machine's multiply-add peak, load time and memory.\n"
	"Baselines are measured in the same run, in turns of 0.1 s with the same number of threads: the\n"
	"reference executor (plain graph, OpenBLAS), and ONNX Runtime where Node.js finds onnxruntime-node\n"
	"(NODE_PATH or ./node_modules). Memory: package, arena, scratch, inputs and outputs.",
	options,
	"mlopt bench resnet50.onnx --threads 1\n"
	"mlopt bench a.mlopt b.mlopt --json bench.json\n"
	"mlopt bench resnet50.mlopt --baseline resnet50.onnx --profile\n"
	"mlopt bench resnet50.onnx --html resnet50.html",
};

enum { MAX_SHAPES = 64, MAX_INPUTS = 64 };
typedef struct Request {
	BenchOptions opt;
	const char *json, *html, *layers;
	const char *shape[MAX_SHAPES], *input[MAX_INPUTS];
} Request;

static bool take(Request *r, int o)
{
	switch (o) {
	case 'i':
		if (r->opt.ninputs == MAX_INPUTS)
			return cli_usage("more than %d --input options", MAX_INPUTS), false;
		r->input[r->opt.ninputs++] = optarg;
		return true;
	case 'n':
		return cli_int("--threads", optarg, 0, 4096, &r->opt.model.threads);
	case O_DURATION:
		return cli_real("--duration", optarg, 0, 86400, &r->opt.duration);
	case O_WARMUP:
		return cli_real("--warmup", optarg, 0, 3600, &r->opt.warmup);
	case O_JSON:
		r->json = optarg;
		return true;
	case O_HTML:
		r->html = optarg;
		r->opt.profile = true;
		return true;
	case O_LAYERS:
		r->layers = optarg;
		return true;
	case O_PROFILE:
		r->opt.profile = true;
		return true;
	case O_NO_PEER:
		r->opt.no_peer = true;
		return true;
	case O_BASELINE:
		r->opt.baseline = optarg;
		return true;
	case O_VARIANT:
		r->opt.model.variant = optarg;
		return true;
	case O_SHAPE:
		if (r->opt.model.nshapes == MAX_SHAPES)
			return cli_usage("more than %d --shape options", MAX_SHAPES), false;
		r->shape[r->opt.model.nshapes++] = optarg;
		return true;
	case O_DEVICE:
		return cli_int("--device", optarg, 0, 1023, &r->opt.model.device);
	case O_KEY:
		return model_take_key(&r->opt.model);
	default:
		return false;
	}
}

static MloStatus write_json(MloArena *a, const Request *r, json_t *models, MloDiag *d)
{
	return mlo_write_json(r->json,
			      json_pack("{s:O,s:{s:s,s:s}}", "models", models, "machine", "cpu", machine_cpu(a), "variant",
					mlo_target_native()->name),
			      d);
}

/* What `quantize --json` has written; the caller frees it. */
static MloStatus read_report(const char *path, json_t **out, MloDiag *d)
{
	json_error_t e;
	json_t *j = json_load_file(path, 0, &e);

	if (!j)
		return mlo_error(d, MLO_ERR_FORMAT, "'%s', line %d: %s", path, e.line, e.text);
	if (!json_is_array(json_object_get(j, "layers"))) {
		json_decref(j);
		return mlo_error(d, MLO_ERR_FORMAT, "'%s' has no layers: it is not what 'mlopt quantize --json' writes", path);
	}
	*out = j;
	return MLO_OK;
}

static MloStatus bench_all(MloArena *a, const Request *r, char **paths, int n, const json_t *report, json_t *models, MloDiag *d)
{
	MloStr page = {.arena = a};
	Machine *m;
	MloStatus worst = MLO_OK;

	MLO_TRY(machine_open(a, &m, d));
	bench_page_begin(&page);
	for (int i = 0; i < n; i++) {
		MloArena *own = mlo_arena_new(); /* freed with it: the baseline's process */
		BenchResult result;
		MloStatus st = own ? bench_model(own, paths[i], &r->opt, m, &result, d) : MLO_ERR_NOMEM;

		/* One bad model does not stop the others. */
		if (cli_finish(d, st) != CLI_OK)
			worst = st;
		if (st == MLO_OK && (!r->json || strcmp(r->json, "-") != 0))
			bench_print(&result);
		if (st == MLO_OK && r->html)
			bench_page_model(&page, &result);
		if (st == MLO_OK)
			json_array_append_new(models, bench_json(&result));
		mlo_arena_free(own);
	}
	if (report)
		quantize_page(&page, report);
	page_end(&page);
	if (r->json)
		MLO_TRY(write_json(a, r, models, d));
	if (r->html)
		MLO_TRY(mlo_write_file(r->html, mlo_str_text(&page), strlen(mlo_str_text(&page)), d));
	return worst;
}

int cmd_bench(int argc, char **argv)
{
	Request r = {.opt = {.duration = 3, .warmup = 0.5}};
	MloDiag d = {0};
	MloArena *a;
	MloStatus st = MLO_OK;
	json_t *models, *report = NULL;
	int o;

	while ((o = cli_next(&spec, argc, argv)) != CLI_END) {
		if (o < 0)
			return cli_stop(o);
		if (!take(&r, o))
			return CLI_USAGE;
	}
	if (!cli_operands(&spec, argc, argv, 1, -1))
		return CLI_USAGE;
	if (r.layers && !r.html)
		return cli_usage("--layers is part of the page: --html FILE");
	r.opt.model.shapes = r.shape;
	r.opt.inputs = r.input;
	a = mlo_arena_new();
	if (!a)
		return cli_finish(&d, MLO_ERR_NOMEM);
	models = json_array();
	if (r.layers)
		st = read_report(r.layers, &report, &d);
	if (st == MLO_OK)
		st = bench_all(a, &r, argv + optind, argc - optind, report, models, &d);
	json_decref(models);
	json_decref(report);
	mlo_arena_free(a);
	cli_flush_diag(&d); /* failures of single models have been printed */
	return cli_status(st);
}
