/* tools/cmd_eval.c -- mlopt eval: accuracy on labelled data. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/dataset.h"
#include "tools/model.h"
#include "tools/preprocess.h"
#include "tools/score.h"

enum { O_DATA = 256, O_LABELS, O_METRIC, O_PREPROCESS, O_LIMIT, O_OUTPUT, O_SHAPE, O_REFERENCE };
static const CliOption options[] = {
	{O_DATA, "data", "FILE", "samples [N, ...]: .npy or IDX (as MNIST's), also gzipped"},
	{O_LABELS, "labels", "FILE", "class numbers [N], in the same formats"},
	{O_METRIC, "metric", "topK", "top1 (default), top5, ...: the label is among the K best"},
	{O_PREPROCESS, "preprocess", "RECIPE", "how samples become inputs, see below"},
	{O_LIMIT, "limit", "N", "use the first N samples only"},
	{O_OUTPUT, "output", "NAME", "the output that holds the scores (default: the first)"},
	{O_SHAPE, "shape", "NAME=1x3x8x8", "shape of an input of an ONNX model, or size of a dimension"},
	{O_REFERENCE, "reference", NULL, "use the reference executor instead of compiled code"},
	{'n', "threads", "N", "threads (default: what this process may use)"},
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx|PACKAGE --data FILE --labels FILE [option]...",
	"Measures the accuracy of a classifier.\n\n"
	"A RECIPE is a list of scale=S, mean=M, std=D, layout=nchw and order=bgr, each optional: an element\n"
	"becomes (x * S - M) / D; M and D may list one number per channel (0.4914:0.4822:0.4465); S may be "
	"a\n"
	"fraction (1/255); layout=nchw takes pictures stored as [H,W] or [H,W,C] to [C,H,W].",
	options,
	"mlopt eval fashion.onnx --data t10k-images-idx3-ubyte.gz --labels t10k-labels-idx1-ubyte.gz \\\n"
	"    --preprocess scale=1/255,mean=0.286,std=0.353,layout=nchw\n"
	"mlopt eval cifar.mlopt --data x.npy --labels y.npy --metric top5 --limit 1000 --preprocess "
	"scale=1/255",
};

enum { MAX_SHAPES = 64 };
typedef struct Request {
	MloArena *a;
	MloDiag *d;
	const char *path, *data, *labels, *recipe, *output;
	const char *shape[MAX_SHAPES];
	ModelOptions opt;
	int limit, top;
} Request;

typedef struct Eval {
	Model m;
	MloTensor *data, *label;
	MloPreprocess pre;
	MloTensor **in, **out;
	size_t scores; /* which output */
	int64_t batch, classes, samples, correct;
} Eval;

static MloStatus check_labels(Request *r, Eval *e)
{
	int64_t n = e->data->rank ? e->data->dim[0] : 0, have = mlo_tensor_elems(e->label);

	if (!mlo_elem_is_int(e->label->elem))
		return mlo_error(r->d, MLO_ERR_MODEL, "'%s' holds %s, labels are whole numbers", r->labels,
				 mlo_elem_text(e->label->elem));
	if (have != n)
		return mlo_error(r->d, MLO_ERR_MODEL, "'%s' holds %lld samples, '%s' %lld labels", r->data,
				 (long long)n, r->labels, (long long)have);
	e->samples = r->limit && r->limit < n ? r->limit : n;
	if (!e->samples)
		return mlo_error(r->d, MLO_ERR_MODEL, "'%s' holds no samples", r->data);
	return MLO_OK;
}

static MloStatus find_scores(Request *r, Eval *e)
{
	const ModelTensor *t;
	const MloTensor *y;

	for (e->scores = 0; r->output && e->scores < e->m.nout; e->scores++) {
		if (strcmp(e->m.out[e->scores].name, r->output) == 0)
			break;
	}
	if (e->scores >= e->m.nout)
		return mlo_error(r->d, MLO_ERR_USAGE, "%s has no output '%s'", r->path,
				 r->output ? r->output : "");
	t = &e->m.out[e->scores];
	if (t->elem == EL_str || mlo_elem_class(t->elem) == EC_COMPLEX)
		return mlo_error(r->d, MLO_ERR_UNSUPPORTED, "output '%s' holds %s, not scores", t->name,
				 mlo_elem_text(t->elem));
	y = e->out[e->scores];
	if (y->rank < 1 || y->dim[0] != e->batch)
		return mlo_error(r->d, MLO_ERR_MODEL,
				 "output '%s' is %s, its first dimension is not the batch of %lld", t->name,
				 model_type_text(r->a, t), (long long)e->batch);
	e->classes = mlo_tensor_elems(y) / (e->batch ? e->batch : 1);
	if (e->classes < 1)
		return mlo_error(r->d, MLO_ERR_MODEL, "output '%s' is %s: no scores", t->name,
				 model_type_text(r->a, t));
	return MLO_OK;
}

static MloStatus prepare(Request *r, Eval *e)
{
	MLO_TRY(mlo_preprocess_parse(&e->pre, r->recipe, r->d));
	MLO_TRY(mlo_dataset_read(r->a, r->data, &e->data, r->d));
	MLO_TRY(mlo_dataset_read(r->a, r->labels, &e->label, r->d));
	return check_labels(r, e);
}

static MloStatus bind(Request *r, Eval *e)
{
	if (e->m.nin != 1)
		return mlo_error(r->d, MLO_ERR_UNSUPPORTED, "%s has %zu inputs, eval feeds one", r->path,
				 e->m.nin);
	MLO_TRY(mlo_preprocess_bind(&e->pre, e->data, e->m.in[0].rank, e->m.in[0].pick, r->d));
	e->batch = e->m.in[0].rank ? e->m.in[0].pick[0] : 1;
	e->in = MLO_NEWN(r->a, MloTensor *, 1);
	e->in[0] = model_tensor(r->a, &e->m.in[0]);
	e->out = model_outputs(r->a, &e->m);
	MLO_TRY(model_run(&e->m, e->in, e->out, r->d)); /* tells open sizes of outputs */
	return find_scores(r, e);
}

static MloStatus evaluate(Request *r, Eval *e)
{
	for (int64_t at = 0; at < e->samples; at += e->batch) {
		int64_t n = e->samples - at < e->batch ? e->samples - at : e->batch;

		mlo_preprocess_apply(&e->pre, e->data, at, n, e->in[0]);
		MLO_TRY(model_run(&e->m, e->in, e->out, r->d));
		for (int64_t i = 0; i < n; i++)
			e->correct += score_is_hit(e->out[e->scores], i, e->classes, mlo_tensor_i64(e->label, at + i), r->top);
		cli_progress("eval", (double)(at + n), (double)e->samples);
	}
	printf("top%d %.2f%% (%lld of %lld)\n", r->top, 100.0 * (double)e->correct / (double)e->samples,
	       (long long)e->correct, (long long)e->samples);
	return MLO_OK;
}

static MloStatus run(Request *r)
{
	Eval e = {.correct = 0};
	MloStatus st;

	MLO_TRY(prepare(r, &e));
	r->opt.shapes = r->shape;
	r->opt.quiet = true; /* one sample after the other is what eval does anyway */
	MLO_TRY(model_open(&e.m, r->path, &r->opt, r->d));
	st = bind(r, &e);
	if (st == MLO_OK)
		st = evaluate(r, &e);
	model_close(&e.m);
	return st;
}

static bool take_metric(Request *r, const char *text)
{
	if (strncmp(text, "top", 3) == 0 && strspn(text + 3, "0123456789") == strlen(text + 3) &&
	    atoi(text + 3) > 0) {
		r->top = atoi(text + 3);
		return true;
	}
	cli_usage("--metric expects top1, top5 and so on, not '%s'", text);
	return false;
}

static bool take(Request *r, int o)
{
	switch (o) {
	case O_DATA:
		r->data = optarg;
		return true;
	case O_LABELS:
		r->labels = optarg;
		return true;
	case O_METRIC:
		return take_metric(r, optarg);
	case O_PREPROCESS:
		r->recipe = optarg;
		return true;
	case O_LIMIT:
		return cli_int("--limit", optarg, 1, 2000000000, &r->limit);
	case O_OUTPUT:
		r->output = optarg;
		return true;
	case O_REFERENCE:
		r->opt.reference = true;
		return true;
	case 'n':
		return cli_int("--threads", optarg, 0, 4096, &r->opt.threads);
	case O_SHAPE:
		if (r->opt.nshapes == MAX_SHAPES)
			return cli_usage("more than %d --shape options", MAX_SHAPES), false;
		r->shape[r->opt.nshapes++] = optarg;
		return true;
	default:
		return false;
	}
}

int cmd_eval(int argc, char **argv)
{
	MloDiag d = {0};
	Request r = {.d = &d, .top = 1};
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
	if (!r.data || !r.labels)
		return cli_usage("'eval' needs --%s FILE", r.data ? "labels" : "data");
	r.path = argv[optind];
	r.a = mlo_arena_new();
	if (!r.a)
		return cli_finish(&d, MLO_ERR_NOMEM);
	st = run(&r);
	mlo_arena_free(r.a);
	return cli_finish(&d, st);
}
