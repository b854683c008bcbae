/* tools/cmd_eval.c -- mlopt eval: accuracy on labelled data, of one model or of two. */
#include <getopt.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/eval.h"
#include "tools/outfile.h"

enum { O_DATA = 256, O_LABELS, O_METRIC, O_PREPROCESS, O_LIMIT, O_OUTPUT, O_SHAPE, O_REFERENCE, O_JSON, O_RESAMPLES, O_SEED, O_KEY };
static const CliOption options[] = {
	{O_DATA, "data", "FILE", "samples [N, ...]: .npy or IDX (as MNIST's), also gzipped"},
	{O_LABELS, "labels", "FILE", "class numbers [N], or targets [N, ...] of a regression, in the same formats"},
	{O_METRIC, "metric", "LIST", "what is measured, see below (default: top1)"},
	{O_PREPROCESS, "preprocess", "RECIPE", "how samples become inputs, see below"},
	{O_LIMIT, "limit", "N", "use the first N samples only"},
	{O_OUTPUT, "output", "NAME", "the output that holds the scores (default: the first)"},
	{O_SHAPE, "shape", "NAME=1x3x8x8", "shape of an input of an ONNX model, or size of a dimension"},
	{O_REFERENCE, "reference", NULL, "use the reference executor instead of compiled code"},
	{O_JSON, "json", "FILE", "write the figures as JSON ('-': to standard output, instead of the text)"},
	{O_RESAMPLES, "resamples", "N", "of two models: bootstrap resamples for the interval (default: 1000; 0: none)"},
	{O_SEED, "seed", "N", "of the resamples (default: 1)"},
	{'n', "threads", "N", "threads (default: what this process may use)"},
	MODEL_KEY_OPTION(O_KEY),
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx|PACKAGE [OTHER] --data FILE --labels FILE [option]...",
	"Measures the accuracy of a classifier or a regression. Of two models: the difference, and between what\n"
	"bounds 95% of it lies when the samples are drawn anew, the same for both (bootstrap).\n\n"
	"A LIST holds, separated by commas: topK (the label is among the K best), accuracy, precision, recall, f1\n"
	"(each _macro, _micro, _weighted, or all three), specificity, roc_auc, average_precision, confusion; or\n"
	"mae, mse, rmse, r2, mape; or classification or regression, all of them. Scores that are no\n"
	"probabilities go through softmax for roc_auc and average_precision.\n\n"
	"A RECIPE is a list of scale=S, mean=M, std=D, layout=nchw and order=bgr, each optional: an element\n"
	"becomes (x * S - M) / D; M and D may list one number per channel (0.4914:0.4822:0.4465); S may be "
	"a\n"
	"fraction (1/255); layout=nchw takes pictures stored as [H,W] or [H,W,C] to [C,H,W].",
	options,
	"mlopt eval fashion.onnx --data t10k-images-idx3-ubyte.gz --labels t10k-labels-idx1-ubyte.gz \\\n"
	"    --preprocess scale=1/255,mean=0.286,std=0.353,layout=nchw\n"
	"mlopt eval cifar.mlopt --data x.npy --labels y.npy --metric top5 --limit 1000 --preprocess "
	"scale=1/255\n"
	"mlopt eval f32.onnx int8.onnx --data x.npy --labels y.npy --metric classification --json eval.json",
};

enum { MAX_SHAPES = 64 };
typedef struct Request {
	MloArena *a;
	MloDiag *d;
	const char *metric, *json;
	const char *shape[MAX_SHAPES];
	int limit, resamples, seed;
	EvalRequest eval;
	EvalResult result;
} Request;

static bool add_shape(Request *r)
{
	if (r->eval.model.nshapes == MAX_SHAPES)
		return cli_usage("more than %d --shape options", MAX_SHAPES), false;
	r->shape[r->eval.model.nshapes++] = optarg;
	return true;
}

static bool take(Request *r, int o)
{
	switch (o) {
	case O_DATA:
		r->eval.data = optarg;
		return true;
	case O_LABELS:
		r->eval.labels = optarg;
		return true;
	case O_METRIC:
		r->metric = optarg;
		return true;
	case O_PREPROCESS:
		r->eval.recipe = optarg;
		return true;
	case O_LIMIT:
		return cli_int("--limit", optarg, 1, 2000000000, &r->limit);
	case O_OUTPUT:
		r->eval.output = optarg;
		return true;
	case O_REFERENCE:
		r->eval.model.reference = true;
		return true;
	case O_JSON:
		r->json = optarg;
		return true;
	case O_RESAMPLES:
		return cli_int("--resamples", optarg, 0, 1000000, &r->resamples);
	case O_SEED:
		return cli_int("--seed", optarg, 0, 2000000000, &r->seed);
	case 'n':
		return cli_int("--threads", optarg, 0, 4096, &r->eval.model.threads);
	case O_SHAPE:
		return add_shape(r);
	case O_KEY:
		return model_take_key(&r->eval.model);
	default:
		return false;
	}
}

static void show_bootstrap(double done, double total)
{
	cli_progress("bootstrap", done, total);
}

static MloStatus compare(Request *r)
{
	EvalResult *e = &r->result;

	if (e->p[0].width != e->p[1].width)
		return mlo_error(r->d, MLO_ERR_MODEL, "%s knows %zu classes or numbers, %s %zu", e->path[0], e->p[0].width,
				 e->path[1], e->p[1].width);
	e->resamples = r->resamples;
	e->seed = (uint64_t)r->seed;
	if (e->resamples)
		e->interval = mlo_metrics_bootstrap(r->a, &r->eval.metrics, &e->p[0], &e->p[1], e->resamples, e->seed,
						    show_bootstrap);
	return MLO_OK;
}

static MloStatus report(const Request *r)
{
	if (!r->json || strcmp(r->json, "-") != 0)
		eval_print(r->a, &r->result);
	return r->json ? mlo_write_json(r->json, eval_json(r->a, &r->result), r->d) : MLO_OK;
}

static MloStatus run(Request *r)
{
	EvalData data;

	MLO_TRY(mlo_metrics_parse(r->a, r->metric, &r->eval.metrics, r->d));
	MLO_TRY(eval_read(r->a, &r->eval, &data, r->d));
	r->result.request = &r->eval;
	for (int i = 0; i < r->result.models; i++)
		MLO_TRY(eval_model(r->a, &r->eval, &data, r->result.path[i], &r->result.p[i], r->d));
	if (r->result.models == 2)
		MLO_TRY(compare(r));
	return report(r);
}

int cmd_eval(int argc, char **argv)
{
	MloDiag d = {0};
	Request r = {.d = &d, .metric = "top1", .resamples = 1000, .seed = 1, .eval = {.model = {.quiet = true}}};
	MloStatus st;
	int o;

	while ((o = cli_next(&spec, argc, argv)) != CLI_END) {
		if (o < 0)
			return cli_stop(o);
		if (!take(&r, o))
			return CLI_USAGE;
	}
	if (!cli_operands(&spec, argc, argv, 1, 2))
		return CLI_USAGE;
	if (!r.eval.data || !r.eval.labels)
		return cli_usage("'eval' needs --%s FILE", r.eval.data ? "labels" : "data");
	for (int i = optind; i < argc; i++)
		r.result.path[r.result.models++] = argv[i];
	r.eval.limit = r.limit;
	r.eval.model.shapes = r.shape; /* one sample after the other is what eval does anyway: quiet */
	r.a = mlo_arena_new();
	if (!r.a)
		return cli_finish(&d, MLO_ERR_NOMEM);
	st = run(&r);
	mlo_arena_free(r.a);
	return cli_finish(&d, st);
}
