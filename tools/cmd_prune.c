/* tools/cmd_prune.c -- mlopt prune: weights of a model become zero. */
#include <getopt.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/prune.h"
#include "tools/request.h"

enum {
	O_SPARSITY = 256, O_SPEEDUP, O_MAX_DROP, O_EVAL, O_LABELS, O_METRIC, O_KEEP,
	O_PATTERN, O_METHOD, O_INT8, O_UNIFORM, O_TARGET, O_DRY, O_JSON
};
static const CliOption options[] = {
	{'o', "output", "FILE", "the model to write"},
	{O_SPARSITY, "sparsity", "S", "share of the weights that become zero, between 0 and 1"},
	{O_SPEEDUP, "target-speedup", "X", "as many zeros as make the model X times as fast, as predicted"},
	{O_MAX_DROP, "max-drop", "POINTS", "as many zeros as cost no more accuracy on --eval"},
	{O_PATTERN, "pattern", "P", "which weights go together: unstructured (default), block, block=RxC, N:M, or channel"},
	{O_METHOD, "method", "NAME", "second-order (default): what costs the results least goes; magnitude: the smallest"},
	{O_INT8, "int8", NULL, "quantise as well: each layer is rounded to 8 bits as it is pruned, and QDQ form is written"},
	{O_UNIFORM, "uniform", NULL, "the same share of zeros in each layer, not more where they cost less"},
	REQUEST_SAMPLE_ROWS("samples", "1024"),
	REQUEST_SHAPE_ROW,
	REQUEST_LAYER_ROWS("layers of that name stay dense", "only layers of that name are pruned, whatever they are"),
	{O_EVAL, "eval", "FILE", "labelled samples for --max-drop, prepared like the others"},
	{O_LABELS, "labels", "FILE", "their class numbers"},
	{O_METRIC, "metric", "NAME", "what --max-drop is about: top1 (default), top5, f1_macro, ... as for 'eval'"},
	{O_KEEP, "keep-best", NULL, "write the best result even if it is over the bound"},
	{O_TARGET, "target", "NAME", "times are predicted for that target (default: this machine)"},
	{O_DRY, "dry-run", NULL, "prune nothing: show sparsity, predicted time and expected error of each layer"},
	{O_JSON, "json", NULL, "report as JSON"},
	{'n', "threads", "N", "threads (default: what this process may use)"},
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx -o OUT.onnx --sparsity S --calib DATA [option]...",
	"Makes weights of a float32 model zero and has the others make up for them, without training.  What\n"
	"comes out is plain ONNX; 'compile' makes use of the zeros where that is faster.  Patterns: 'block' is 4\n"
	"input channels of one output and tap, 'block=RxC' R outputs by C input channels, 'N:M' leaves N of M\n"
	"consecutive input channels (2:4, 4:8), 'channel' removes output channels, with all that depends on them.",
	options,
	"mlopt prune resnet20.onnx -o sparse.onnx --sparsity 0.7 --calib cifar_x.npy \\\n"
	"    --preprocess scale=1/255,mean=0.4914:0.4822:0.4465,std=0.247:0.2435:0.2616,layout=nchw\n"
	"mlopt prune resnet50.onnx --target-speedup 2 --pattern block=16x1 --calib samples/ --target ml_m7a --dry-run",
};

typedef struct Request {
	PruneOptions o;
	RequestLists lists;
	const char *output;
	bool json, dry, keep;
} Request;

static bool take_sparsity(Request *r, const char *text)
{
	if (!cli_real("--sparsity", text, 0, 1, &r->o.sparsity))
		return false;
	if (r->o.sparsity > 0 && r->o.sparsity < 1)
		return true;
	cli_usage("--sparsity is a share between 0 and 1, neither of them, not %s", text);
	return false;
}

static bool take_speedup(Request *r, const char *text)
{
	if (!cli_real("--target-speedup", text, 1, 1000, &r->o.speedup))
		return false;
	if (r->o.speedup > 1)
		return true;
	cli_usage("--target-speedup is more than 1, not %s", text);
	return false;
}

static bool take_pattern(Request *r, const char *text)
{
	if (mlo_pattern_parse(text, &r->o.pattern))
		return true;
	cli_usage("--pattern is unstructured, block, block=RxC (sizes up to 64), N:M (N < M <= 64) or channel, not '%s'", text);
	return false;
}

static bool take_method(Request *r, const char *text)
{
	r->o.magnitude = !strcmp(text, "magnitude");
	if (r->o.magnitude || !strcmp(text, "second-order"))
		return true;
	cli_usage("--method is second-order or magnitude, not '%s'", text);
	return false;
}

static bool take(Request *r, int o)
{
	if (request_has(o))
		return request_take(&r->lists, o, &r->o.data, &r->o.ptq);
	switch (o) {
	case 'o': r->output = optarg; return true;
	case 'n': return cli_int("--threads", optarg, 0, 4096, &r->o.data.run.threads);
	case O_SPARSITY: return take_sparsity(r, optarg);
	case O_SPEEDUP: return take_speedup(r, optarg);
	case O_MAX_DROP: return cli_real("--max-drop", optarg, 0, 100, &r->o.max_drop);
	case O_PATTERN: return take_pattern(r, optarg);
	case O_METHOD: return take_method(r, optarg);
	case O_INT8: r->o.int8 = true; return true;
	case O_UNIFORM: r->o.uniform = true; return true;
	case O_EVAL: r->o.eval = optarg; return true;
	case O_LABELS: r->o.labels = optarg; return true;
	case O_METRIC: r->o.metric = optarg; return true;
	case O_KEEP: r->keep = true; return true;
	case O_TARGET: r->o.target = optarg; return true;
	case O_DRY: r->dry = true; return true;
	case O_JSON: r->json = true; return true;
	default: return false;
	}
}

static bool check_amount(const Request *r)
{
	const PruneOptions *o = &r->o;
	const bool nm = o->pattern.kind == PRUNE_NM;
	int ways = (o->sparsity > 0) + (o->speedup > 0) + (o->max_drop >= 0);

	if (ways > 1)
		return cli_usage("--sparsity, --target-speedup and --max-drop exclude each other"), false;
	if (!ways && !nm)
		return cli_usage("'prune' needs --sparsity S, --target-speedup X or --max-drop POINTS"), false;
	if (nm && o->sparsity > 0)
		return cli_usage("--pattern %d:%d says how many weights stay: no --sparsity", o->pattern.keep, o->pattern.of), false;
	if (o->max_drop >= 0 && !o->eval)
		return cli_usage("--max-drop needs --eval FILE and --labels FILE"), false;
	if (o->eval && o->max_drop < 0)
		return cli_usage("--eval is of use with --max-drop POINTS only"), false;
	if (!o->eval != !o->labels)
		return cli_usage("--eval and --labels belong together"), false;
	return true;
}

static bool check(const Request *r)
{
	const PruneOptions *o = &r->o;

	if (!r->output && !r->dry)
		return cli_usage("'prune' needs -o FILE, or --dry-run"), false;
	if (!o->magnitude && !o->data.calib)
		return cli_usage("--method second-order goes by what layers read: it needs --calib DATA"), false;
	if (o->magnitude && o->speedup > 0)
		return cli_usage("--target-speedup weighs what layers lose: it needs --method second-order"), false;
	if (o->pattern.kind == PRUNE_CHANNEL && (o->max_drop >= 0 || o->magnitude || o->uniform))
		return cli_usage("--pattern channel goes with --sparsity or --target-speedup, --method second-order and no "
				 "--uniform"), false;
	if (o->int8 && !o->data.calib)
		return cli_usage("--int8 goes by what layers read: it needs --calib DATA"), false;
	if (o->int8 && (o->pattern.kind == PRUNE_CHANNEL || o->speedup > 0 || r->dry))
		return cli_usage("--int8 goes with --sparsity, --max-drop or N:M: no --target-speedup, --dry-run or --pattern channel"), false;
	if (r->dry && o->max_drop >= 0)
		return cli_usage("--max-drop is found by pruning: no --dry-run"), false;
	return check_amount(r);
}

static MloStatus prune(Request *r, Prune *x)
{
	MloStatus st = prune_all(x, r->dry);

	if (st != MLO_OK && !x->over_budget)
		return st;
	if (!r->dry && (st == MLO_OK || r->keep))
		MLO_TRY(prune_write(x, r->output));
	if (r->json)
		prune_report_json(x, r->dry);
	else
		prune_report_text(x, r->dry);
	return st;
}

static MloStatus run(Request *r, MloArena *a, MloDiag *d)
{
	MloStatus st;
	Prune x;

	if (r->o.target && !mlo_target_find(r->o.target, d)) /* before samples are run */
		return MLO_ERR_USAGE;
	st = prune_open(&x, a, &r->o, d);
	if (st == MLO_OK)
		st = prune(r, &x);
	prune_close(&x);
	return st;
}

int cmd_prune(int argc, char **argv)
{
	Request r = {.o = PRUNE_DEFAULTS};
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
	if (!cli_operands(&spec, argc, argv, 1, 1) || !check(&r))
		return CLI_USAGE;
	r.o.data.model = argv[optind];
	a = mlo_arena_new();
	if (!a)
		return cli_finish(&d, MLO_ERR_NOMEM);
	st = run(&r, a, &d);
	mlo_arena_free(a);
	return cli_finish(&d, st);
}
