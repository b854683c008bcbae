/* tools/cmd_run.c -- mlopt run: one run of a model on given or random inputs. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "frontend/onnx.h"
#include "tools/cli.h"
#include "tools/inputs.h"
#include "tools/model.h"
#include "tools/npy.h"
#include "tools/objects.h"
#include "tools/outfile.h"

enum { O_SHAPE = 256, O_SEED, O_OUTPUT_DIR, O_REFERENCE, O_VARIANT, O_RUNS, O_KEY, O_DEVICE };
static const CliOption options[] = {
	{'i', "input", "NAME=FILE|random",
	 "an input from a .npy or .pb file (NAME= may be left out if there is one)"},
	{O_OUTPUT_DIR, "output-dir", "DIR", "write each output to DIR/NAME.npy (a sequence or map: NAME.pb)"},
	{O_RUNS, "runs", "N", "run N times, so that states go on; the last run counts (default: 1)"},
	{O_SEED, "seed", "N", "seed of random inputs (default: 1)"},
	{O_SHAPE, "shape", "NAME=1x3x8x8", "shape of an input of an ONNX model (default: from its file)"},
	{O_REFERENCE, "reference", NULL, "use the reference executor instead of compiled code"},
	{O_VARIANT, "variant", "NAME", "use that variant of a package"},
	{'n', "threads", "N", "threads (default: what this process may use)"},
	MODEL_DEVICE_OPTION(O_DEVICE),
	MODEL_KEY_OPTION(O_KEY),
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx|PACKAGE [--input NAME=FILE]... [--output-dir DIR] [option]...",
	"Runs a model and prints a summary of each output. Inputs that are not given are random; states of a package\n"
	"(compile --state) begin with zeros.",
	options,
	"mlopt run resnet50.mlopt --input image=cat.npy --output-dir out\n"
	"mlopt run model.onnx --reference",
};

enum { MAX_INPUTS = 256 };
typedef struct Request {
	MloArena *a;
	const char *path, *output_dir;
	const char *input[MAX_INPUTS];
	size_t ninputs;
	const char *shape[2 * MAX_INPUTS];
	Inputs inputs;
	ModelOptions opt;
	int seed, runs;
} Request;

/* A --shape text from the file given for an input that the model leaves open. */
static MloStatus shape_from_file(Request *r, const MloValue *in, MloDiag *d)
{
	for (size_t i = 0; i < r->ninputs; i++) {
		GivenInput *g = &r->inputs.given[i];
		MloStr s = {.arena = r->a};

		if (!g->name || strcmp(g->name, in->name) == 0)
			MLO_TRY(inputs_read_pb(&r->inputs, g, &in->type, d));
		if (!g->tensor || g->tensor->object || (g->name && strcmp(g->name, in->name) != 0) ||
		    r->opt.nshapes == 2 * MAX_INPUTS)
			continue;
		mlo_str_add(&s, "%s=", in->name);
		for (int k = 0; k < g->tensor->rank; k++)
			mlo_str_add(&s, "%s%lld", k ? "x" : "", (long long)g->tensor->dim[k]);
		r->shape[r->opt.nshapes++] = mlo_str_text(&s);
	}
	return MLO_OK;
}

static bool shape_is_given(const Request *r, const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strncmp(r->shape[i], name, strlen(name)) == 0 && r->shape[i][strlen(name)] == '=')
			return true;
	}
	return false;
}

/* Looks at the model with its dimensions open, to take them from the files. */
static MloStatus shapes_from_files(Request *r, MloDiag *d)
{
	MloLoadOptions lo = {.shapes = r->shape, .nshapes = r->opt.nshapes, .keep_symbols = true};
	size_t given = r->opt.nshapes;
	MloGraph *g;
	MloStatus st;

	r->opt.shapes = r->shape;
	if (!r->ninputs || !r->opt.reference || model_is_package(r->path))
		return MLO_OK;
	MLO_TRY(mlo_load_model(r->path, &lo, &g, d));
	st = MLO_OK;
	for (uint32_t i = 0; i < g->ninputs && st == MLO_OK; i++) {
		if (!mlo_type_static(&g->inputs[i]->type) && !shape_is_given(r, g->inputs[i]->name, given))
			st = shape_from_file(r, g->inputs[i], d);
	}
	mlo_graph_free(g);
	MLO_TRY(st);
	mlo_diag_free(d); /* warnings come again when the model is loaded in earnest */
	return MLO_OK;
}

static MloStatus collect_inputs(Request *r, Model *m, MloTensor **in, MloDiag *d)
{
	MLO_TRY(inputs_take(&r->inputs, m, (uint64_t)r->seed, in, d));
	for (size_t i = 0; i < m->nin; i++) {
		if (!in[i] && m->in[i].kind && !m->in[i].state)
			return mlo_error(d, MLO_ERR_USAGE, "input '%s' is %s: give it with --input %s=FILE.pb", m->in[i].name,
					 model_type_text(r->a, &m->in[i]), m->in[i].name);
	}
	model_fill(r->a, m, in, (uint64_t)r->seed);
	return MLO_OK;
}

/* -- results -------------------------------------------------------------------------------- */

static void print_text(const MloText *t, int64_t n)
{
	for (int64_t i = 0; i < n && i < 8; i++)
		printf(" %.*s", (int)t[i].n, t[i].s);
	putchar('\n');
}

static const char *item_text(MloArena *a, const MloTensor *x)
{
	ModelTensor have = {.elem = x->elem, .rank = x->rank};

	memcpy(have.dim, x->dim, sizeof have.dim);
	return x->object ? "..." : model_type_text(a, &have);
}

static void print_object(MloArena *a, const ModelTensor *t, const MloObject *o)
{
	printf("%s: %s of %s, %lld item%s:", t->name, t->kind, mlo_elem_text(o->elem), (long long)o->n, o->n == 1 ? "" : "s");
	for (int64_t i = 0; i < o->n && i < 8; i++)
		printf(" %s", item_text(a, &o->item[i]));
	printf("%s\n", o->n > 8 ? " ..." : "");
}

static void print_output(MloArena *a, const ModelTensor *t, const MloTensor *x)
{
	int64_t n = mlo_tensor_elems(x), nans = 0;
	double lo = INFINITY, hi = -INFINITY, sum = 0;
	ModelTensor have = {.elem = x->elem, .rank = x->rank};

	if (x->object) {
		print_object(a, t, x->object);
		return;
	}
	memcpy(have.dim, x->dim, sizeof have.dim);
	printf("%s: %s", t->name, model_type_text(a, &have));
	if (t->elem == EL_str) {
		print_text(x->data, n);
		return;
	}
	if (mlo_elem_class(t->elem) == EC_COMPLEX) {
		putchar('\n');
		return;
	}
	for (int64_t i = 0; i < n; i++) {
		double v = mlo_tensor_f64(x, i);

		nans += isnan(v) != 0;
		lo = v < lo ? v : lo;
		hi = v > hi ? v : hi;
		sum += v;
	}
	if (n > 0)
		printf(" min %.6g max %.6g mean %.6g first", lo, hi, sum / (double)n);
	for (int64_t i = 0; i < n && i < 5; i++)
		printf(" %.6g", mlo_tensor_f64(x, i));
	if (nans)
		printf(" (%lld NaN)", (long long)nans);
	putchar('\n');
}

/* NAME with characters unfit for a file name replaced by '_'; "_2" and so on where that collides. */
static const char *file_name(MloArena *a, const Model *m, size_t index, const char **taken)
{
	char *base = mlo_strdup(a, *m->out[index].name ? m->out[index].name : "_");
	const char *name = base;

	for (char *p = base; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr("._-+", *p))
			*p = '_';
	}
	if (base[0] == '.')
		base[0] = '_';
	for (int again = 2;; again++) {
		size_t i = 0;

		while (i < index && strcmp(taken[i], name) != 0)
			i++;
		if (i == index)
			break;
		name = mlo_sprintf(a, "%s_%d", base, again);
	}
	return taken[index] = name;
}

static MloStatus write_outputs(Request *r, const Model *m, MloTensor *const *out, MloDiag *d)
{
	const char **taken = MLO_NEWN(r->a, const char *, m->nout);

	if (mkdir(r->output_dir, 0777) != 0 && errno != EEXIST)
		return mlo_error(d, MLO_ERR_IO, "cannot create folder '%s': %s", r->output_dir,
				 strerror(errno));
	for (size_t i = 0; i < m->nout; i++) {
		const char *path = mlo_sprintf(r->a, "%s/%s.%s", r->output_dir, file_name(r->a, m, i, taken),
					       out[i]->object ? "pb" : "npy");
		const void *bytes;
		size_t n;

		if (!out[i]->object) {
			MLO_TRY(mlo_npy_write(path, out[i], d));
			continue;
		}
		mlo_onnx_write_value(r->a, out[i], &bytes, &n);
		MLO_TRY(mlo_write_file(path, bytes, n, d));
	}
	return MLO_OK;
}

/* A state that was given stands for the first run alone. */
static void leave_out_states(const Model *m, MloTensor **in)
{
	for (size_t i = 0; i < m->nin; i++)
		if (m->in[i].state)
			in[i] = NULL;
}

static MloStatus run(Request *r, MloDiag *d)
{
	Model m;
	MloTensor **in, **out;
	MloStatus st;

	MLO_TRY(inputs_read(&r->inputs, r->a, r->input, r->ninputs, d));
	MLO_TRY(shapes_from_files(r, d));
	r->opt.open = true;
	MLO_TRY(model_open(&m, r->path, &r->opt, d));
	in = MLO_NEWN(r->a, MloTensor *, m.nin);
	out = model_outputs(r->a, &m);
	st = m.graph ? MLO_OK : model_pick(&m, r->shape, r->opt.nshapes, d);
	if (st == MLO_OK)
		st = collect_inputs(r, &m, in, d);
	for (int i = 0; st == MLO_OK && i < r->runs; i++) {
		st = model_run(&m, in, out, d);
		leave_out_states(&m, in);
	}
	for (size_t i = 0; st == MLO_OK && i < m.nout; i++)
		print_output(r->a, &m.out[i], out[i]);
	if (st == MLO_OK && r->output_dir)
		st = write_outputs(r, &m, out, d);
	model_close(&m);
	return st;
}

static bool take(Request *r, int o)
{
	switch (o) {
	case 'i':
		if (r->ninputs == MAX_INPUTS)
			return cli_usage("more than %d --input options", MAX_INPUTS), false;
		r->input[r->ninputs++] = optarg;
		return true;
	case O_SHAPE:
		if (r->opt.nshapes == MAX_INPUTS)
			return cli_usage("more than %d --shape options", MAX_INPUTS), false;
		r->shape[r->opt.nshapes++] = optarg;
		return true;
	case O_OUTPUT_DIR:
		r->output_dir = optarg;
		return true;
	case O_SEED:
		return cli_int("--seed", optarg, 0, 1000000000, &r->seed);
	case O_RUNS:
		return cli_int("--runs", optarg, 1, 1000000000, &r->runs);
	case O_REFERENCE:
		r->opt.reference = true;
		return true;
	case O_VARIANT:
		r->opt.variant = optarg;
		return true;
	case 'n':
		return cli_int("--threads", optarg, 0, 4096, &r->opt.threads);
	case O_DEVICE:
		return cli_int("--device", optarg, 0, 1023, &r->opt.device);
	case O_KEY:
		return model_take_key(&r->opt);
	default:
		return false;
	}
}

int cmd_run(int argc, char **argv)
{
	Request *r;
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloStatus st;
	int o;

	if (!a)
		return cli_finish(&d, MLO_ERR_NOMEM);
	r = MLO_NEW(a, Request);
	r->a = a;
	r->seed = r->runs = 1;
	while ((o = cli_next(&spec, argc, argv)) != CLI_END) {
		if (o < 0 || !take(r, o)) {
			mlo_arena_free(a);
			return o < 0 ? cli_stop(o) : CLI_USAGE;
		}
	}
	if (!cli_operands(&spec, argc, argv, 1, 1)) {
		mlo_arena_free(a);
		return CLI_USAGE;
	}
	r->path = argv[optind];
	st = run(r, &d);
	mlo_arena_free(a);
	return cli_finish(&d, st);
}
