/* tools/cmd_compare.c -- mlopt compare: compiled results against the reference executor, layer by layer; with data,
 * two models (tools/compare.c).
 *
 * The groups that fusion makes are found by compiling once; their results, as far as they are values
 * of the model, become extra outputs of a second compilation, and each is compared with what the
 * reference executor computed for it in the plain graph. */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "passes/pass.h"
#include "targets/target.h"
#include "tools/cli.h"
#include "tools/compare.h"
#include "tools/npy.h"
#include "tools/outfile.h"

enum {
	O_SHAPE = 256, O_SEED, O_TOLERANCE, O_ALL, O_DATA, O_PREPROCESS, O_LIMIT, O_REFERENCE, O_MIN_COSINE, O_MIN_SQNR, O_MIN_EQUAL,
	O_JSON
};
static const CliOption options[] = {
	{'i', "input", "NAME=FILE.npy", "an input (default: random)"},
	{O_SEED, "seed", "N", "seed of random inputs (default: 1)"},
	{O_TOLERANCE, "tolerance", "NMSE",
	 "largest normalised mean square error that passes (default: 1e-6)"},
	{O_ALL, "all-values", NULL, "compare every value of the model, which keeps nodes from being fused"},
	{O_DATA, "data", "DATA", "compare two models over samples: a file or a folder, as for 'quantize --calib'"},
	{O_PREPROCESS, "preprocess", "RECIPE", "how samples become inputs, as for 'eval'"},
	{O_LIMIT, "limit", "N", "use the first N samples only"},
	{O_REFERENCE, "reference", NULL, "run the first model by the reference executor"},
	{O_MIN_COSINE, "min-cosine", "C", "with --data: least cosine of a sample that passes"},
	{O_MIN_SQNR, "min-sqnr", "DB", "with --data: least signal to noise that passes"},
	{O_MIN_EQUAL, "min-equal", "SHARE", "with --data: least share (0..1) of equal elements that passes"},
	{O_JSON, "json", "FILE", "with --data: write the figures as JSON ('-': to standard output, instead of the text)"},
	{O_SHAPE, "shape", "NAME=1x3x8x8", "shape of an input of an ONNX model, or size of a dimension"},
	{'n', "threads", "N", "threads (default: what this process may use)"},
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx [PACKAGE] [option]... | MODEL|PACKAGE MODEL|PACKAGE --data DATA [option]...",
	"Compares compiled results with the reference executor: the result of every fused group, or, when a\n"
	"PACKAGE of the model is given, its outputs. Prints the error of each and exits with 1 if one is "
	"above\n"
	"the tolerance. NMSE: sum of squared differences over sum of squared reference values.\n\n"
	"With --data: runs two models, such as a float model and its quantised form, over samples, and prints for\n"
	"each output the cosine between both (mean, and least of a sample), the ratio of signal to noise, the\n"
	"largest difference and how many elements are equal. Exits with 1 if an output is below a bound.",
	options,
	"mlopt compare resnet50.onnx\n"
	"mlopt compare resnet50.onnx resnet50.mlopt --input image=cat.npy\n"
	"mlopt compare resnet20.onnx resnet20_int8.onnx --data cifar_x.npy --preprocess scale=1/255,layout=nchw",
};

enum { MAX_SHAPES = 64, MAX_INPUTS = 64 };
typedef struct Request {
	MloArena *a;
	MloDiag *d;
	const char *path, *package;
	const char *shape[MAX_SHAPES], *input[MAX_INPUTS];
	size_t ninputs;
	ModelOptions opt;
	int seed, limit;
	double tolerance;
	bool all;
	CompareRequest over; /* with data */
	const char *json;
} Request;

/* -- which values --------------------------------------------------------------------------- */

static const MloValue *value_named(const MloGraph *g, const char *name)
{
	for (const MloNode *n = g->first; name && n; n = n->next) {
		for (uint32_t i = 0; i < n->nout; i++) {
			if (n->out[i] && n->out[i]->name && strcmp(n->out[i]->name, name) == 0)
				return n->out[i];
		}
	}
	return NULL;
}

static bool used_outside(const MloGraph *g, const MloNode *n, const MloValue *v)
{
	if (n->group == 0 || mlo_is_output(g, v))
		return true;
	for (const MloNode *u = g->first; u; u = u->next) {
		for (uint32_t i = 0; u->group != n->group && i < u->nin; i++) {
			if (u->in[i] == v)
				return true;
		}
	}
	return false;
}

/* Optimises a copy to learn its groups; their results become outputs of `to`. */
static MloStatus add_group_results(Request *r, const MloGraph *model, MloGraph *to)
{
	MloGraph *g = mlo_graph_clone(model);
	MloStatus st;

	if (!g)
		return MLO_ERR_NOMEM;
	st = mlo_passes_run(g, "O2", mlo_target_native(), NULL, r->d);
	for (const MloNode *n = g->first; st == MLO_OK && n; n = n->next) {
		for (uint32_t i = 0; i < n->nout; i++) {
			const MloValue *v = n->out[i] && used_outside(g, n, n->out[i])
						    ? value_named(to, n->out[i]->name)
						    : NULL;

			if (v && mlo_type_static(&v->type) && !mlo_is_output(to, v))
				mlo_graph_output(to, (MloValue *)v, v->name);
		}
	}
	mlo_graph_free(g);
	return st;
}

static void add_all_results(MloGraph *g)
{
	for (const MloNode *n = g->first; n; n = n->next) {
		for (uint32_t i = 0; i < n->nout; i++) {
			MloValue *v = n->out[i];

			if (v && v->name && mlo_type_static(&v->type) && !mlo_is_output(g, v))
				mlo_graph_output(g, v, v->name);
		}
	}
}

/* -- errors --------------------------------------------------------------------------------- */

typedef struct Error {
	double nmse, max_abs;
	int64_t worst;   /* element with the largest difference */
	bool wrong_kind; /* a NaN or infinity on one side only */
} Error;

static Error error_of(const MloTensor *want, const MloTensor *have)
{
	Error e = {.worst = -1};
	double sum = 0, scale = 0;

	if (mlo_tensor_elems(want) != mlo_tensor_elems(have))
		return (Error){.wrong_kind = true, .worst = -1, .nmse = INFINITY, .max_abs = INFINITY};
	for (int64_t i = 0, n = mlo_tensor_elems(want); i < n; i++) {
		double w = mlo_tensor_f64(want, i), h = mlo_tensor_f64(have, i), diff = fabs(w - h);

		if (w == h || (isnan(w) && isnan(h)))
			diff = 0;
		else if (!isfinite(w) || !isfinite(h))
			e.wrong_kind = true;
		if (isfinite(diff)) {
			sum += diff * diff;
			scale += isfinite(w) ? w * w : 0;
		}
		if (diff > e.max_abs || (e.wrong_kind && e.worst < 0)) {
			e.max_abs = isfinite(diff) ? diff : INFINITY;
			e.worst = i;
		}
	}
	e.nmse = sum == 0 ? 0 : sum / (scale > 0 ? scale : 1e-30);
	return e;
}

/* -- comparing ------------------------------------------------------------------------------ */

static MloStatus given_input(Request *r, Model *m, MloTensor **in, const char *text)
{
	const char *eq = strchr(text, '=');
	MloTensor *t;
	size_t at = 0;

	if (eq)
		MLO_TRY(model_find_input(m, mlo_strndup(r->a, text, (size_t)(eq - text)), &at, r->d));
	MLO_TRY(mlo_npy_read(r->a, eq ? eq + 1 : text, &t, r->d));
	if (t->elem != m->in[at].elem || t->nbytes != m->in[at].bytes)
		return mlo_error(r->d, MLO_ERR_MODEL, "input '%s' is %s, '%s' holds %lld elements of %s",
				 m->in[at].name, model_type_text(r->a, &m->in[at]), eq ? eq + 1 : text,
				 (long long)mlo_tensor_elems(t), mlo_elem_text(t->elem));
	in[at] = t;
	return MLO_OK;
}

static MloStatus make_inputs(Request *r, Model *m, MloTensor **in)
{
	for (size_t i = 0; i < r->ninputs; i++)
		MLO_TRY(given_input(r, m, in, r->input[i]));
	for (size_t i = 0; i < m->nin; i++) {
		if (!in[i])
			in[i] = model_random(r->a, &m->in[i], (uint64_t)r->seed + i * 1000003);
	}
	return MLO_OK;
}

/* The node that makes an output, as the user knows it. */
static const char *maker(Request *r, const MloGraph *g, size_t i)
{
	const MloNode *n = g->outputs[i]->def;

	return n ? mlo_sprintf(r->a, "%s (%s)", mlo_node_name(n),
			       n->origin ? n->origin->op : mlo_op_info(n->op)->name)
		 : "graph input";
}

static MloStatus report(Request *r, const MloGraph *g, const Model *m, MloTensor *const *want,
			MloTensor *const *have)
{
	size_t bad = 0, width = 20;

	for (size_t i = 0; i < m->nout; i++)
		width = strlen(m->out[i].name) > width ? strlen(m->out[i].name) : width;
	printf("%-*s %-22s %10s %10s  %s\n", (int)width, "value", "type", "NMSE", "max error", "node");
	for (size_t i = 0; i < m->nout; i++) {
		Error e;

		if (m->out[i].elem == EL_str || mlo_elem_class(m->out[i].elem) == EC_COMPLEX)
			continue;
		e = error_of(want[i], have[i]);
		printf("%-*s %-22s %10.2e %10.2e  %s", (int)width, m->out[i].name,
		       model_type_text(r->a, &m->out[i]), e.nmse, e.max_abs, maker(r, g, i));
		if (e.nmse > r->tolerance || e.wrong_kind) {
			if (e.worst < 0)
				printf("  <- has another size");
			else
				printf("  <- differs at element %lld: %g, expected %g", (long long)e.worst,
				       mlo_tensor_f64(have[i], e.worst), mlo_tensor_f64(want[i], e.worst));
			bad++;
		}
		putchar('\n');
	}
	if (bad)
		return mlo_error(r->d, MLO_ERR_MODEL, "%s: %zu of %zu values differ by more than NMSE %g",
				 r->path, bad, m->nout, r->tolerance);
	printf("all %zu values agree within NMSE %g\n", m->nout, r->tolerance);
	return MLO_OK;
}

static bool same_tensors(const ModelTensor *a, size_t na, const ModelTensor *b, size_t nb)
{
	for (size_t i = 0; i < na && na == nb; i++) {
		bool open = model_tensor_open(&a[i]) || model_tensor_open(&b[i]);

		if (a[i].elem != b[i].elem || strcmp(a[i].name, b[i].name) != 0 || a[i].rank != b[i].rank ||
		    (!open && a[i].bytes != b[i].bytes))
			return false;
	}
	return na == nb;
}

static MloStatus compare_models(Request *r, const MloGraph *g, Model *reference, Model *compiled)
{
	MloTensor **in = MLO_NEWN(r->a, MloTensor *, reference->nin);
	MloTensor **want = model_outputs(r->a, reference), **have = model_outputs(r->a, compiled);

	if (!same_tensors(reference->in, reference->nin, compiled->in, compiled->nin) ||
	    !same_tensors(reference->out, reference->nout, compiled->out, compiled->nout))
		return mlo_error(r->d, MLO_ERR_MODEL,
				 "'%s' has other inputs or outputs than %s: is it made from that model, "
				 "with these shapes?",
				 r->package, r->path);
	MLO_TRY(make_inputs(r, reference, in));
	MLO_TRY(model_run(reference, in, want, r->d));
	MLO_TRY(model_run(compiled, in, have, r->d));
	return report(r, g, reference, want, have);
}

static MloStatus compare_graph(Request *r, const MloGraph *g)
{
	ModelOptions ro = r->opt;
	Model reference, compiled;
	MloStatus st;

	ro.reference = true;
	MLO_TRY(model_open_graph(&reference, g, &ro, r->d));
	st = r->package ? model_open(&compiled, r->package, &r->opt, r->d)
			: model_open_graph(&compiled, g, &r->opt, r->d);
	if (st == MLO_OK) {
		st = compare_models(r, g, &reference, &compiled);
		model_close(&compiled);
	}
	model_close(&reference);
	return st;
}

/* Two models over a data set. */
static MloStatus run_over(Request *r)
{
	CompareResult result;

	r->over.path[0] = r->path;
	r->over.path[1] = r->package;
	r->over.limit = r->limit;
	r->over.model.shapes = r->shape;
	r->over.model.nshapes = r->opt.nshapes;
	r->over.model.threads = r->opt.threads;
	r->over.model.quiet = true;
	MLO_TRY(compare_models_over(r->a, &r->over, &result, r->d));
	if (!r->json || strcmp(r->json, "-") != 0)
		compare_print(r->a, &result);
	if (r->json)
		MLO_TRY(mlo_write_json(r->json, compare_json(&result), r->d));
	return compare_within(&result, r->d);
}

static MloStatus run(Request *r)
{
	MloLoadOptions lo = {.shapes = r->shape, .nshapes = r->opt.nshapes};
	MloGraph *model, *g;
	MloStatus st = MLO_OK;

	if (model_is_package(r->path))
		return mlo_error(r->d, MLO_ERR_USAGE, "'%s' is a package: name its ONNX model first",
				 r->path);
	if (r->package && !model_is_package(r->package))
		return mlo_error(r->d, MLO_ERR_USAGE, "'%s' is not a package; two models are compared over --data", r->package);
	MLO_TRY(mlo_load_model(r->path, &lo, &model, r->d));
	cli_flush_diag(r->d);
	g = mlo_graph_clone(model);
	if (!g)
		st = MLO_ERR_NOMEM;
	else if (!r->package && r->all)
		add_all_results(g);
	else if (!r->package)
		st = add_group_results(r, model, g);
	if (st == MLO_OK)
		st = compare_graph(r, g);
	mlo_graph_free(g);
	mlo_graph_free(model);
	return st;
}

/* Options of a comparison over data. */
static bool take_over(Request *r, int o)
{
	switch (o) {
	case O_DATA:
		r->over.data = optarg;
		return true;
	case O_PREPROCESS:
		r->over.recipe = optarg;
		return true;
	case O_LIMIT:
		return cli_int("--limit", optarg, 1, 2000000000, &r->limit);
	case O_REFERENCE:
		r->over.model.reference = true;
		return true;
	case O_MIN_COSINE:
		return cli_real("--min-cosine", optarg, 0, 1, &r->over.min_cosine);
	case O_MIN_SQNR:
		return cli_real("--min-sqnr", optarg, 0, 400, &r->over.min_sqnr);
	case O_MIN_EQUAL:
		return cli_real("--min-equal", optarg, 0, 1, &r->over.min_equal);
	case O_JSON:
		r->json = optarg;
		return true;
	default:
		return false;
	}
}

static bool take(Request *r, int o)
{
	switch (o) {
	case 'n':
		return cli_int("--threads", optarg, 0, 4096, &r->opt.threads);
	case O_SEED:
		return cli_int("--seed", optarg, 0, 1000000000, &r->seed);
	case O_TOLERANCE:
		return cli_real("--tolerance", optarg, 0, 1, &r->tolerance);
	case O_ALL:
		r->all = true;
		return true;
	case 'i':
		if (r->ninputs == MAX_INPUTS)
			return cli_usage("more than %d --input options", MAX_INPUTS), false;
		r->input[r->ninputs++] = optarg;
		return true;
	case O_SHAPE:
		if (r->opt.nshapes == MAX_SHAPES)
			return cli_usage("more than %d --shape options", MAX_SHAPES), false;
		r->shape[r->opt.nshapes++] = optarg;
		return true;
	default:
		return take_over(r, o);
	}
}

static bool fits(const Request *r)
{
	const bool over = r->over.recipe || r->limit || r->over.model.reference || r->json || r->over.min_cosine > 0 ||
			  r->over.min_sqnr > 0 || r->over.min_equal > 0;

	if (!r->over.data && over)
		return cli_usage("--preprocess, --limit, --reference, --json and bounds need --data"), false;
	if (r->over.data && !r->package)
		return cli_usage("--data needs two models to compare"), false;
	if (r->over.data && (r->all || r->ninputs))
		return cli_usage("--data goes without --%s", r->all ? "all-values" : "input"), false;
	return true;
}

int cmd_compare(int argc, char **argv)
{
	MloDiag d = {0};
	Request r = {.d = &d, .seed = 1, .tolerance = 1e-6};
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
	r.path = argv[optind];
	r.package = optind + 1 < argc ? argv[optind + 1] : NULL;
	if (!fits(&r))
		return CLI_USAGE;
	r.opt.shapes = r.shape;
	r.a = mlo_arena_new();
	if (!r.a)
		return cli_finish(&d, MLO_ERR_NOMEM);
	st = r.over.data ? run_over(&r) : run(&r);
	mlo_arena_free(r.a);
	return cli_finish(&d, st);
}
