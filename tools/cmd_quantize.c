/* tools/cmd_quantize.c -- mlopt quantize: a float model to one in QDQ form. */
#include <getopt.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/outfile.h"
#include "tools/page.h"
#include "tools/quantize.h"
#include "tools/request.h"

enum {
	O_CONST = 256, O_RANGE, O_PERCENTILE, O_WEIGHTS, O_PER_TENSOR, O_SYMMETRIC, O_PRODUCTS,
	O_INT16, O_FALLBACK, O_EQUALIZE, O_MIGRATE, O_ROUND, O_NO_BIAS, O_SAVE, O_LOAD, O_JSON, O_ALL,
	O_MAX_DROP, O_EVAL, O_LABELS, O_METRIC, O_MIN_SQNR, O_MIN_COSINE, O_KEEP, O_WEIGHT_ONLY, O_BLOCK, O_TARGET, O_TIMES, O_RANK, O_HTML
};
static const CliOption options[] = {
	{'o', "output", "FILE", "the model to write"},
	REQUEST_SAMPLE_ROWS("samples", "300"),
	REQUEST_SHAPE_ROW,
	{O_CONST, "const", "NAME=FILE", "an input that is always the same becomes part of the model: a .npy or .pb file (repeatable)"},
	{O_RANGE, "range", "METHOD", "ranges of activations: mse (default), minmax, average, percentile, entropy"},
	{O_PERCENTILE, "percentile", "P", "for --range percentile (default: 99.99)"},
	{O_WEIGHTS, "weights", "METHOD", "ranges of weights: minmax (default) or mse"},
	{O_PER_TENSOR, "per-tensor", NULL, "one scale for all output channels of weights"},
	{O_SYMMETRIC, "symmetric", NULL, "activations as signed integers around 0"},
	{O_PRODUCTS, "products", NULL, "matrix products of two activations, too"},
	REQUEST_LAYER_ROWS("nodes of that name stay float", "only contractions of that name are quantised"),
	{O_INT16, "int16", "PATTERN", "nodes of that name read activations in 16 bits (repeatable)"},
	{O_EQUALIZE, "equalize", NULL, "weights of neighbouring layers equally large; for --per-tensor"},
	{O_MIGRATE, "migrate", "ALPHA", "0..1: how far weights take over the spread of activation channels; 0: not (default: as noise is least)"},
	{O_ROUND, "round", NULL, "round weights by what layers read, not each to the nearest"},
	{O_NO_BIAS, "no-correct-bias", NULL, "biases stay, where they could make up for the mean error of each channel"},
	{O_SAVE, "save-profile", "FILE", "keep the ranges that were found"},
	{O_LOAD, "load-profile", "FILE", "take ranges from such a file instead of --calib"},
	{O_MAX_DROP, "max-drop", "POINTS", "layers go back to float until no more accuracy is lost on --eval"},
	{O_EVAL, "eval", "FILE", "labelled samples for --max-drop and --rank, prepared like the others"},
	{O_LABELS, "labels", "FILE", "their class numbers"},
	{O_METRIC, "metric", "NAME", "what --max-drop is about: top1 (default), top5, f1_macro, ... as for 'eval'"},
	{O_MIN_SQNR, "min-sqnr", "DB", "a bound without labels: signal to noise of the outputs"},
	{O_MIN_COSINE, "min-cosine", "C", "a bound without labels: cosine between outputs and those of the float model"},
	{O_FALLBACK, "fallback", "KIND", "where bounds send layers: float (default), or int16 first and then float"},
	{O_KEEP, "keep-best", NULL, "write the best result even if it is over the bound"},
	{O_WEIGHT_ONLY, "weight-only", "BITS", "only weights of matrix products, in 4 or 8 bits (MatMulNBits); no samples needed"},
	{O_BLOCK, "block", "N", "weights per scale for --weight-only: 16, 32 (default), 64, 128 or 256"},
	{O_TARGET, "target", "NAME", "layers that are slower in integers on that target stay float"},
	{O_TIMES, "times", "HOW", "of layers: measured (default; kept in the cache), anew, or estimated"},
	{O_RANK, "rank", NULL, "report what each layer alone costs: SQNR of the outputs and, with --eval, the metric"},
	{O_JSON, "json", NULL, "report as JSON"},
	{O_HTML, "html", "FILE", "write the report as a page, too"},
	{O_ALL, "all", NULL, "report operators that only move values, too"},
	{'n', "threads", "N", "threads (default: what this process may use)"},
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx -o OUT.onnx --calib DATA [option]...",
	"Quantises a float32 model to 8-bit integers and writes it as plain ONNX, with QuantizeLinear and\n"
	"DequantizeLinear around what works on integers.  Reports what became of each layer: its scheme, the\n"
	"range of its input, and the signal to noise ratio of its result.",
	options,
	"mlopt quantize resnet20.onnx -o resnet20_int8.onnx --calib cifar_x.npy \\\n"
	"    --preprocess scale=1/255,mean=0.4914:0.4822:0.4465,std=0.247:0.2435:0.2616,layout=nchw\n"
	"mlopt quantize bert.onnx -o bert_int8.onnx --calib samples/ --exclude '*/embeddings/*' --range percentile",
};

typedef struct Request {
	QuantizeOptions o;
	RequestLists lists;
	const char *output, *consts[REQUEST_MOST], *wide[REQUEST_MOST + 1];
	size_t nwide;
	const char *html;
	bool json, all, keep, bounded;
	int bits, block;
} Request;

static bool take_range(Request *r, const char *text)
{
	if (mlo_range_find(text, &r->o.ptq.range))
		return true;
	cli_usage("--range is mse, minmax, average, percentile or entropy, not '%s'", text);
	return false;
}

static bool take_weights(Request *r, const char *text)
{
	r->o.ptq.weight_mse = strcmp(text, "mse") == 0;
	if (r->o.ptq.weight_mse || strcmp(text, "minmax") == 0)
		return true;
	cli_usage("--weights is minmax or mse, not '%s'", text);
	return false;
}

static bool take_bits(Request *r, const char *text)
{
	if (strcmp(text, "4") != 0 && strcmp(text, "8") != 0)
		return cli_usage("--weight-only is 4 or 8, not '%s'", text), false;
	r->bits = text[0] - '0';
	return true;
}

static bool take_block(Request *r, const char *text)
{
	if (!cli_int("--block", text, 16, 256, &r->block))
		return false;
	if (r->block & (r->block - 1))
		return cli_usage("--block is a power of two from 16 to 256, not %d", r->block), false;
	return true;
}

static bool take_fallback(Request *r, const char *text)
{
	r->o.raise = strcmp(text, "int16") == 0;
	if (r->o.raise || strcmp(text, "float") == 0)
		return true;
	cli_usage("--fallback is float or int16, not '%s'", text);
	return false;
}

/* Options about what may be lost, and about weights alone. */
static bool take_bound(Request *r, int o)
{
	r->bounded |= o == O_MAX_DROP || o == O_MIN_SQNR || o == O_MIN_COSINE;
	switch (o) {
	case O_MAX_DROP: return cli_real("--max-drop", optarg, 0, 100, &r->o.max_drop);
	case O_EVAL: r->o.eval = optarg; return true;
	case O_LABELS: r->o.labels = optarg; return true;
	case O_METRIC: r->o.metric = optarg; return true;
	case O_MIN_SQNR: return cli_real("--min-sqnr", optarg, 0, 200, &r->o.min_sqnr);
	case O_MIN_COSINE: return cli_real("--min-cosine", optarg, 0, 1, &r->o.min_cosine);
	case O_FALLBACK: return take_fallback(r, optarg);
	case O_KEEP: r->keep = true; return true;
	case O_WEIGHT_ONLY: return take_bits(r, optarg);
	case O_BLOCK: return take_block(r, optarg);
	default: return false;
	}
}

static bool take(Request *r, int o)
{
	if (request_has(o))
		return request_take(&r->lists, o, &r->o.data, &r->o.ptq);
	switch (o) {
	case 'o': r->output = optarg; return true;
	case 'n': return cli_int("--threads", optarg, 0, 4096, &r->o.data.run.threads);
	case O_CONST: return cli_push("--const", r->consts, REQUEST_MOST, &r->o.nconsts);
	case O_RANGE: return take_range(r, optarg);
	case O_PERCENTILE: return cli_real("--percentile", optarg, 50, 100, &r->o.ptq.percentile);
	case O_WEIGHTS: return take_weights(r, optarg);
	case O_PER_TENSOR: r->o.ptq.per_tensor = true; return true;
	case O_SYMMETRIC: r->o.ptq.symmetric = true; return true;
	case O_PRODUCTS: r->o.ptq.products = true; return true;
	case O_INT16: return cli_push("--int16", r->wide, REQUEST_MOST, &r->nwide);
	case O_EQUALIZE: r->o.equalize = true; return true;
	case O_MIGRATE: return cli_real("--migrate", optarg, 0, 1, &r->o.migrate);
	case O_ROUND: r->o.round = true; return true;
	case O_NO_BIAS: r->o.correct_bias = false; return true;
	case O_SAVE: r->o.save_profile = optarg; return true;
	case O_LOAD: r->o.load_profile = optarg; return true;
	case O_TARGET: r->o.target = optarg; return true;
	case O_TIMES: return quantize_times_how(optarg, &r->o.times);
	case O_RANK: r->o.rank = true; return true;
	case O_JSON: r->json = true; return true;
	case O_HTML: r->html = optarg; return true;
	case O_ALL: r->all = true; return true;
	default: return take_bound(r, o);
	}
}

static MloStatus within(Quantize *x)
{
	MLO_TRY(quantize_calibrate(x));
	MLO_TRY(quantize_correct(x));
	MLO_TRY(quantize_for_target(x));
	return quantize_within(x);
}

static MloStatus weights_alone(Request *r, Quantize *x)
{
	size_t n;

	MLO_TRY(quantize_weights(x, r->bits, r->block, &n));
	MLO_TRY(quantize_write(x, r->output));
	printf("weights of %zu matrix products in %d bits, a scale for each %d\n", n, r->bits, r->block);
	return MLO_OK;
}

static MloStatus write_page(const Request *r, const Quantize *x)
{
	MloStr page = {.arena = x->a};
	json_t *j = report_json(x);

	page_begin(&page, "mlopt quantize");
	quantize_page(&page, j);
	page_end(&page);
	json_decref(j);
	return mlo_write_file(r->html, mlo_str_text(&page), strlen(mlo_str_text(&page)), x->d);
}

static void print_json(const Quantize *x)
{
	json_t *j = report_json(x);

	json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	printf("\n");
	json_decref(j);
}

static MloStatus quantize(Request *r, Quantize *x)
{
	MloStatus st = r->bounded ? within(x) : quantize_default(x);

	if (st != MLO_OK && !x->over_budget)
		return st;
	if (st == MLO_OK || r->keep)
		MLO_TRY(quantize_write(x, r->output));
	if (r->html)
		MLO_TRY(write_page(r, x));
	if (r->json)
		print_json(x);
	else
		report_text(x, r->all);
	return st;
}

static MloStatus run(Request *r, MloArena *a, MloDiag *d)
{
	Quantize x;
	MloStatus st;

	if (r->o.target && !mlo_target_find(r->o.target, d)) /* before samples are run */
		return MLO_ERR_USAGE;
	st = quantize_open(&x, a, &r->o, d);
	if (st == MLO_OK)
		st = r->bits ? weights_alone(r, &x) : quantize(r, &x);
	quantize_close(&x);
	return st;
}

static bool check_bounds(const Request *r)
{
	const QuantizeOptions *o = &r->o;

	if (!o->eval != !o->labels)
		return cli_usage("--eval and --labels belong together"), false;
	if (o->max_drop >= 0 && !o->eval)
		return cli_usage("--max-drop needs --eval FILE and --labels FILE; --min-sqnr and --min-cosine need no labels"), false;
	if (o->eval && o->max_drop < 0 && !o->rank)
		return cli_usage("--eval is of use with --max-drop POINTS or --rank only"), false;
	if (o->raise && !r->bounded)
		return cli_usage("--fallback is about --max-drop, --min-sqnr and --min-cosine: none of them is there"), false;
	if (o->rank && !o->data.calib)
		return cli_usage("--rank runs samples: it needs --calib"), false;
	if (r->bounded && !o->data.calib)
		return cli_usage("bounds are checked by running samples: they need --calib"), false;
	return true;
}

int cmd_quantize(int argc, char **argv)
{
	Request r = {.o = QUANTIZE_DEFAULTS, .block = 32};
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
	if (!r.output)
		return cli_usage("'quantize' needs -o FILE");
	if (r.bits && (r.o.data.calib || r.o.load_profile || r.json || r.html))
		return cli_usage("--weight-only runs no samples: no --calib, --load-profile, --json or --html");
	if (!r.bits && !r.o.data.calib == !r.o.load_profile)
		return cli_usage(r.o.data.calib ? "--calib and --load-profile exclude each other"
					   : "'quantize' needs --calib DATA, or --load-profile FILE");
	if (r.o.load_profile && (r.o.migrate > 0 || r.o.round))
		return cli_usage("--migrate and --round run samples: they need --calib, not --load-profile");
	r.o.correct_bias = r.o.correct_bias && r.o.data.calib;
	if (r.o.times != QUANTIZE_TIMES_MEASURED && !r.o.target)
		return cli_usage("--times is about --target NAME");
	if (!check_bounds(&r))
		return CLI_USAGE;
	r.o.data.model = argv[optind];
	r.o.consts = r.consts;
	r.o.ptq.wide = r.wide;
	a = mlo_arena_new();
	if (!a)
		return cli_finish(&d, MLO_ERR_NOMEM);
	st = run(&r, a, &d);
	mlo_arena_free(a);
	return cli_finish(&d, st);
}
