/* tools/cmd_compile.c -- mlopt compile: an ONNX model to a package. */
#include <getopt.h>
#include <string.h>

#include "frontend/onnx.h"
#include "passes/pass.h"
#include "tools/cli.h"
#include "tools/compile.h"
#include "tools/formats.h"
#include "tools/golden.h"
#include "tools/job.h"
#include "tools/npy.h"
#include "tools/outfile.h"
#include "tools/quantize.h"
#include "tools/request.h"
#include "tools/unpack.h"

enum {
	O_SHAPE = 256,
	O_FORMAT,
	O_JOB,
	O_CODE,
	O_CONST,
	O_STATE,
	O_INT8,
	O_INT16,
	O_TIMES,
	O_EXTRACT,
	O_JOBS,
	O_CACHE_DIR,
	O_NO_CACHE,
	O_NAME,
	O_NO_WINOGRAD,
	O_PRECISION,
	O_NO_TUNED,
	O_CUBIN,
	O_DUMP_AFTER,
	O_DUMP_KERNELS,
	O_DUMP_LLVM,
	O_DUMP_ASM,
	O_TIME,
	O_VERIFY,
	O_LIMIT,
	O_TIER,
	O_GOLDEN,
	O_MODEL_VERSION,
	O_LICENSE
};

static const CliOption options[] = {
	{'o', "output", "FILE", "the file to write (default: the model's name with .mlopt, or what the format has)"},
	{'t', "target", "NAME", "what to compile for (default: native; see 'mlopt targets')"},
	{O_FORMAT, "format", "NAME", "what to write (default: package; see above)"},
	{O_JOB, "job", "FILE", "a request of CreateCompilationJob as JSON: model, shapes, target, output (docs/CLOUD.md)"},
	{O_CODE, "code", "DIR", "for --format sagemaker: a folder of scripts that goes into the archive as code/"},
	{O_SHAPE, "shape", "NAME=1x3x8x8",
	 "shape of an input; size or range (1..64) of a named dimension; others stay open (repeatable)"},
	{O_CONST, "const", "NAME=FILE",
	 "an input that is always the same becomes part of the package: a .npy or .pb file (repeatable)"},
	{O_STATE, "state", "IN=OUT", "output OUT of one run is input IN of the next (repeatable)"},
	{O_INT8, "int8", NULL, "quantise a float model first, as 'quantize' does by default; needs --calib"},
	REQUEST_SAMPLE_ROWS("samples for --int8", "300"),
	{O_INT16, "int16", "PATTERN", "with --int8: nodes of that name read activations in 16 bits (repeatable)"},
	{O_TIMES, "times", "HOW", "of layers for --int8: measured (default; kept in the cache), anew, or estimated"},
	{'O', "optimize", "LEVEL", "0: only what code generation needs, 2: everything (default)"},
	{O_NO_WINOGRAD, "no-winograd", NULL,
	 "convolutions as plain sums only: slower, with the smallest rounding errors"},
	{O_PRECISION, "precision", "NAME",
	 "of products: f32 (default); tf32, on GPUs; bf16: activations and weights; fp16: weights. Sums stay float32"},
	{O_CUBIN, "cubin", NULL, "for GPUs, also machine code, by NVIDIA's ptxas (MLOPT_PTXAS, the path, /usr/local/cuda/bin)"},
	{O_NO_TUNED, "no-tuned", NULL, "no schedules that 'mlopt tune' has measured, the cost model's alone"},
	{O_NAME, "name", "NAME", "the model's name in the package (default: the file's)"},
	{O_MODEL_VERSION, "model-version", "TEXT", "the model's version in the package (default: what the model says)"},
	{O_LICENSE, "license", "TEXT", "the model's licence in the package (default: the model's metadata 'license')"},
	{O_GOLDEN, "golden", "WHAT", "store inputs, and outputs of the reference executor, to check devices with ('package verify\n"
	 "                                 --replay'): random[:N], calib[:N], or DATA as for --calib, of which 4 batches"},
	{'j', "jobs", "N", "compile threads (default: one per core)"},
	{O_CACHE_DIR, "cache-dir", "DIR", "where compiled kernels are kept (default: $XDG_CACHE_HOME/mlopt)"},
	{O_NO_CACHE, "no-cache", NULL, "neither read nor keep compiled kernels"},
	{O_EXTRACT, "extract-failing", "FILE",
	 "where a node cannot be compiled, write it to FILE as a model of its own"},
	{O_DUMP_AFTER, "dump-after", "PASS", "print the graph after that pass, or after 'all'"},
	{O_DUMP_KERNELS, "dump-kernels", NULL, "print the kernels"},
	{O_DUMP_LLVM, "dump-llvm", NULL, "print the LLVM IR of the kernels"},
	{O_DUMP_ASM, "dump-asm", NULL, "print the assembly of the kernels"},
	{O_TIME, "time-passes", NULL, "print how long each pass takes"},
	{O_VERIFY, "verify-each", NULL, "check the graph after every pass"},
	{O_LIMIT, "pass-limit", "N", "run only the first N passes (to find a faulty one)"},
	{O_TIER, "tier", "NAME", "for comparing: contract (default), loops: no kernels of the contract tier, library: plain C loops alone"},
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx|MODEL.tar.gz [-o FILE] [--target NAME] [option]...",
	"Compiles an ONNX model into a package that the runtime loads. Same model and options: same bytes.\n"
	"Formats:"
#define FORMAT(name, function, suffix, summary) "\n  " #name " (" suffix "): " summary
#include "tools/formats.def"
	,
	options,
	"mlopt compile resnet50.onnx\n"
	"mlopt compile resnet50.onnx --target ml_m5 -o resnet50.mlopt\n"
	"mlopt compile resnet50.onnx --int8 --calib images.npy --preprocess scale=1/255,layout=nchw\n"
	"mlopt compile bert.onnx --shape input_ids=1x128 --shape attention_mask=1x128\n"
	"mlopt compile --job job.json --format sagemaker",
};

enum { MAX_SHAPES = 64 };
typedef struct Request {
	const char *model, *output, *extract;
	const char *shapes[MAX_SHAPES], *states[MAX_SHAPES], *consts[MAX_SHAPES], *wide[MAX_SHAPES + 1];
	MloptOptions opt;
	const char *format_name, *code, *job_path;
	Job job;
	const Format *format;
	bool no_cache, int8;
	size_t nwide;
	QuantizeOptions quantize;
	GoldenOptions golden;
	RequestLists lists;
} Request;

static void dump(void *user, const char *kind, const char *name, const char *text)
{
	size_t n = strlen(text);

	printf("; ---- %s %s\n%s%s", kind, name, text, n && text[n - 1] == '\n' ? "" : "\n");
}

static void timing(void *user, const char *pass, double seconds, size_t changed)
{
	fprintf(stderr, "%-12s %9.3f ms %6zu changed\n", pass, 1e3 * seconds, changed);
}

static bool take_level(Request *r, const char *text)
{
	if (strcmp(text, "0") != 0 && strcmp(text, "2") != 0) {
		cli_usage("-O expects 0 or 2, not '%s'", text);
		return false;
	}
	r->opt.level = text[0] - '0';
	return true;
}

static bool take_pass(Request *r, const char *name)
{
	const char *names[64] = {NULL}, *near;
	size_t n = 0;

	r->opt.dump_after = name;
	if (strcmp(name, "all") == 0 || mlo_pass_find(name))
		return true;
	for (; n < 63 && mlo_pass_at(n); n++)
		names[n] = mlo_pass_at(n)->name;
	near = cli_nearest(name, names);
	cli_usage("--dump-after: there is no pass '%s'", name);
	if (near)
		cli_note("  hint: did you mean '%s'?", near);
	return false;
}

/* One option; false: an error was printed. */
static bool take(Request *r, int o)
{
	if (request_has(o))
		return request_take(&r->lists, o, &r->quantize.data, &r->quantize.ptq);
	switch (o) {
	case 'o':
		r->output = optarg;
		break;
	case 't':
		r->opt.target = optarg;
		break;
	case 'O':
		return take_level(r, optarg);
	case 'j':
		return cli_int("--jobs", optarg, 0, 1024, &r->opt.jobs);
	case O_FORMAT:
		r->format_name = optarg;
		break;
	case O_JOB:
		r->job_path = optarg;
		break;
	case O_CODE:
		r->code = optarg;
		break;
	case O_NAME:
		r->opt.name = optarg;
		break;
	case O_CACHE_DIR:
		r->opt.cache_dir = optarg;
		break;
	case O_PRECISION:
		r->opt.precision = optarg;
		break;
	case O_NO_WINOGRAD:
		r->opt.no_winograd = 1;
		break;
	case O_CUBIN:
		r->opt.cubin = 1;
		return true;
	case O_NO_TUNED:
		r->opt.no_tuned = 1;
		break;
	case O_NO_CACHE:
		r->no_cache = true;
		break;
	case O_DUMP_AFTER:
		return take_pass(r, optarg);
	case O_DUMP_KERNELS:
		r->opt.dump_kernels = 1;
		break;
	case O_DUMP_LLVM:
		r->opt.dump_llvm = 1;
		break;
	case O_DUMP_ASM:
		r->opt.dump_asm = 1;
		break;
	case O_TIME:
		r->opt.timing = timing;
		break;
	case O_VERIFY:
		r->opt.verify_each = 1;
		break;
	case O_LIMIT:
		return cli_int("--pass-limit", optarg, 0, 1000, &r->opt.pass_limit);
	case O_TIER:
		r->opt.tier = optarg;
		break;
	case O_SHAPE:
		if (r->opt.nshapes == MAX_SHAPES)
			return cli_usage("more than %d --shape options", MAX_SHAPES), false;
		r->shapes[r->opt.nshapes++] = optarg;
		break;
	case O_CONST:
		if (r->opt.nconsts == MAX_SHAPES)
			return cli_usage("more than %d --const options", MAX_SHAPES), false;
		r->consts[r->opt.nconsts++] = optarg;
		break;
	case O_INT8:
		r->int8 = true;
		break;
	case O_INT16:
		if (r->nwide == MAX_SHAPES)
			return cli_usage("more than %d --int16 options", MAX_SHAPES), false;
		r->wide[r->nwide++] = optarg;
		break;
	case O_TIMES:
		return quantize_times_how(optarg, &r->quantize.times);
	case O_EXTRACT:
		r->extract = optarg;
		break;
	case O_GOLDEN:
		r->golden.what = optarg;
		break;
	case O_MODEL_VERSION:
		r->opt.model_version = optarg;
		break;
	case O_LICENSE:
		r->opt.license = optarg;
		break;
	case O_STATE:
		if (r->opt.nstates == MAX_SHAPES)
			return cli_usage("more than %d --state options", MAX_SHAPES), false;
		r->states[r->opt.nstates++] = optarg;
		break;
	default:
		return false;
	}
	return true;
}

/* "dir/model.onnx" -> "dir/model.mlopt", beside the model, or with another suffix; never the model itself */
static const char *default_output(MloArena *a, const char *model, const char *suffix)
{
	const char *base = strrchr(model, '/'), *dot = strrchr(base ? base + 1 : model, '.');
	size_t stem = unpack_stem(model), n = stem ? stem : dot && dot != model ? (size_t)(dot - model) : strlen(model);

	if (strcmp(model + n, suffix) == 0)
		n = strlen(model);
	return mlo_sprintf(a, "%.*s%s", (int)n, model, suffix);
}

static void print_summary(const Request *r, const MloptReport *m)
{
	fprintf(stderr, "%s: %zu nodes -> %zu groups (%zu contract, %zu loops, %zu library)", r->output,
		m->nodes, m->groups, m->contract, m->loops, m->library);
	if (m->variants > 1)
		fprintf(stderr, " in %zu variants", m->variants);
	if (m->tuned)
		fprintf(stderr, ", %zu with measured schedules", m->tuned);
	fprintf(stderr, ", %zu kernels (%zu cached); %s: code %s, weights %s; arena %s; %.2f s\n", m->kernels,
		m->cache_hits, cli_bytes((double)m->package_bytes), cli_bytes((double)m->code_bytes),
		cli_bytes((double)m->weight_bytes), cli_bytes((double)m->arena_bytes), m->seconds);
}

/* The name of the node that the first error about one names, or NULL. */
static const char *failing_node(MloArena *a, const MloDiag *d)
{
	for (size_t i = 0; i < d->n; i++) {
		const char *text = d->lines[i].text;
		size_t len = text && strncmp(text, "node '", 6) == 0 ? strcspn(text + 6, "'") : 0;

		if (len && d->lines[i].severity == MLO_DIAG_ERROR)
			return mlo_strndup(a, text + 6, len);
	}
	return NULL;
}

/* That node as a model; what goes wrong here adds to the errors. */
static void extract(Request *r, MloArena *a, const MloGraph *g, MloDiag *d)
{
	const char *node = r->extract ? failing_node(a, d) : NULL;
	const void *model, *bytes;
	size_t n, nbytes;

	if (r->extract && !node)
		mlo_hint(d, "no node is at fault: there is nothing to write to %s", r->extract);
	if (node && mlo_map_file(a, r->model, &model, &n, d) == MLO_OK &&
	    mlo_onnx_extract(a, model, n, node, g, &bytes, &nbytes, d) == MLO_OK &&
	    mlo_write_file(r->extract, bytes, nbytes, d) == MLO_OK)
		mlo_hint(d, "a model of this node alone is in %s", r->extract);
}

/* Quantised graphs of the model that `lo` loads, for each variant. */
static MloStatus quantized(Request *r, MloArena *a, const MloLoadOptions *lo, Quantize *x, QuantizeVariants *v, MloDiag *d)
{
	const MloTargetSet *set = mlo_target_find(r->opt.target ? r->opt.target : "native", d);

	if (!set)
		return MLO_ERR_USAGE;
	r->quantize.target = r->opt.target;
	r->quantize.data.model = r->model;
	r->quantize.load = lo;
	r->quantize.ptq.wide = r->wide;
	r->quantize.data.run.cache_dir = r->opt.cache_dir;
	r->quantize.data.run.no_cache = r->no_cache;
	MLO_TRY(quantize_open(x, a, &r->quantize, d));
	MLO_TRY(quantize_calibrate(x));
	MLO_TRY(quantize_correct(x));
	MLO_TRY(quantize_variants(x, set, v));
	MLO_TRY(quantize_measure(x, QUANTIZE_MEASURED));
	report_summary(x, stderr);
	return MLO_OK;
}

static MloStatus compile_graph(Request *r, MloArena *a, const MloGraph *g, const MloCompileHooks *hooks, MloDiag *d)
{
	FormatRequest want = {.arena = a, .graph = g, .options = &r->opt, .hooks = hooks, .output = r->output,
			      .code = r->code, .diag = d};
	FormatResult made = {0};
	MloStatus st;

	cli_flush_diag(d);
	r->opt.shapes = r->shapes;
	r->opt.consts = r->consts;
	r->opt.states = r->states;
	if (r->no_cache)
		r->opt.cache_dir = NULL;
	else if (!r->opt.cache_dir)
		r->opt.cache_dir = mlo_default_cache(a);
	d->where = r->model;
	st = r->format->write(&want, &made);
	if (st != MLO_OK)
		extract(r, a, g, d);
	d->where = NULL;
	MLO_TRY(st);
	print_summary(r, &made.report);
	if (made.details)
		fputs(made.details, stderr);
	return MLO_OK;
}

/* Options of this command beside those of the library, that decide about the package. */
enum { MAX_RECORDED = 8 };
static size_t record(const Request *r, MloArena *a, const char *out[MAX_RECORDED][2])
{
	static const char *const times[] = {"measured", "anew", "estimated"};
	MloStr wide = {.arena = a};
	size_t n = 0;

	if (!r->int8)
		return 0;
	for (size_t i = 0; i < r->nwide; i++)
		mlo_str_add(&wide, "%s%s", i ? "," : "", r->wide[i]);
	out[n][0] = "int8", out[n++][1] = "yes";
	out[n][0] = "samples", out[n++][1] = mlo_sprintf(a, "%d", r->quantize.data.samples);
	if (r->quantize.data.preprocess)
		out[n][0] = "preprocess", out[n++][1] = r->quantize.data.preprocess;
	if (r->nwide)
		out[n][0] = "int16", out[n++][1] = mlo_str_text(&wide);
	out[n][0] = "times", out[n++][1] = times[r->quantize.times];
	return n;
}

static MloStatus compile(Request *r, MloArena *a, MloDiag *d)
{
	MloGraph *g = NULL, *partial = NULL;
	MloLoadOptions lo = {.shapes = r->shapes, .nshapes = r->opt.nshapes, .consts = r->consts,
			     .nconsts = r->opt.nconsts, .keep_symbols = true, .provenance = true, .partial = &partial};
	Quantize x = {0};
	QuantizeVariants v = {0};
	const char *recorded[MAX_RECORDED][2];
	MloCompileHooks hooks = {.options = recorded, .noptions = record(r, a, recorded)};
	MloStatus st = r->golden.what ? golden_check(&r->golden, d) : MLO_OK;

	MLO_TRY(st);
	hooks.graph = r->int8 ? quantize_graph_of : NULL;
	hooks.user = &v;
	hooks.golden = r->golden.what ? golden_make : NULL;
	hooks.golden_user = &r->golden;
	st = r->int8 ? quantized(r, a, &lo, &x, &v, d) : mlo_load_model(r->model, &lo, &g, d);

	if (st != MLO_OK)
		extract(r, a, partial, d);
	mlo_graph_free(partial);
	if (st == MLO_OK)
		st = compile_graph(r, a, r->int8 ? v.graph[0] : g, &hooks, d);
	mlo_graph_free(g);
	quantize_variants_free(&v);
	quantize_close(&x);
	return st;
}

/* What the job says goes where the command line says nothing. */
static MloStatus take_job(Request *r, MloArena *a, MloDiag *d)
{
	r->job = (Job){.model = r->model, .output = r->output, .target = r->opt.target, .name = r->opt.name,
		       .suffix = r->format->suffix, .given = r->shapes, .ngiven = r->opt.nshapes};
	MLO_TRY(job_read(a, r->job_path, &r->job, d));
	r->model = r->job.model;
	r->output = r->job.output;
	r->opt.target = r->job.target;
	r->opt.name = r->job.name;
	return MLO_OK;
}

/* Which model, which output, which shapes. */
static MloStatus settle(Request *r, MloArena *a, MloDiag *d)
{
	r->format = r->format_name ? format_find(r->format_name, d) : format_at(0);
	if (!r->format)
		return MLO_ERR_USAGE;
	if (r->code && r->format->write != format_sagemaker)
		return mlo_error(d, MLO_ERR_USAGE, "--code is for --format sagemaker");
	if (r->job_path)
		MLO_TRY(take_job(r, a, d));
	if (!r->output)
		r->output = default_output(a, r->model, r->format->suffix);
	if (unpack_stem(r->model))
		MLO_TRY(unpack_model(a, r->model, &r->model, d));
	r->job.model = r->model;
	return job_bind(a, &r->job, r->shapes, &r->opt.nshapes, MAX_SHAPES, d);
}

int cmd_compile(int argc, char **argv)
{
	Request r = {.opt = MLOPT_OPTIONS_INIT, .quantize = QUANTIZE_DEFAULTS};
	MloDiag d = {0};
	MloArena *a;
	MloStatus st;
	int o;

	r.opt.dump = dump;
	while ((o = cli_next(&spec, argc, argv)) != CLI_END) {
		if (o < 0)
			return cli_stop(o);
		if (!take(&r, o))
			return CLI_USAGE;
	}
	if (!cli_operands(&spec, argc, argv, r.job_path ? 0 : 1, 1))
		return CLI_USAGE;
	if (r.int8 && !r.quantize.data.calib)
		return cli_usage("--int8 needs --calib DATA");
	if (!r.int8 && r.quantize.data.calib && !r.golden.what)
		return cli_usage("--calib is for --int8 and --golden");
	r.golden.calib = r.quantize.data.calib;
	r.golden.recipe = r.quantize.data.preprocess;
	if ((r.nwide || r.quantize.times != QUANTIZE_TIMES_MEASURED) && !r.int8)
		return cli_usage("--int16 and --times are for --int8");
	a = mlo_arena_new();
	if (!a)
		return cli_finish(&d, MLO_ERR_NOMEM);
	r.model = argv[optind]; /* NULL: there is none */
	st = settle(&r, a, &d);
	if (st == MLO_OK)
		st = compile(&r, a, &d);
	mlo_arena_free(a);
	return cli_finish(&d, st);
}
