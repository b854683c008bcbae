/* tools/cmd_distill.c -- mlopt distill: a student's weights fitted to what its teacher computes. */
#include <getopt.h>

#include "tools/cli.h"
#include "tools/prune.h"
#include "tools/request.h"

enum { O_SWEEPS = 256, O_STEPS, O_JSON };
static const CliOption options[] = {
	{'o', "output", "FILE", "the model to write"},
	REQUEST_SAMPLE_ROWS("samples, without labels", "1024"),
	REQUEST_SHAPE_ROW,
	{O_SWEEPS, "sweeps", "N", "how often all layers are fitted, in order (default: 2)"},
	{O_STEPS, "steps", "N", "then N steps of all layers at once, downhill for the outputs' error (default: 0; float32 only)"},
	REQUEST_LAYER_ROWS("layers of that name stay as they are", "only layers of that name are fitted"),
	{O_JSON, "json", NULL, "report as JSON"},
	{'n', "threads", "N", "threads (default: what this process may use)"},
	{0},
};
static const CliSpec spec = {
	"TEACHER.onnx STUDENT.onnx -o OUT.onnx --calib DATA [option]...",
	"Fits a smaller model, such as a pruned or quantised one, to the one that it was made from: weights and biases\n"
	"of each layer of the student that gives what one of the teacher gives, by least squares; of a model in QDQ\n"
	"form, scales and ranges as well.  Zeros stay zero, integers integers.  Layers belong together by name, or in\n"
	"their order where both have as many of one shape.",
	options,
	"mlopt distill resnet20.onnx sparse.onnx -o better.onnx --calib cifar_x.npy",
};

typedef struct Request {
	PruneOptions o;
	RequestLists lists;
	const char *output, *student;
	bool json;
} Request;

static bool take(Request *r, int o)
{
	if (request_has(o))
		return request_take(&r->lists, o, &r->o.data, &r->o.ptq);
	switch (o) {
	case 'o': r->output = optarg; return true;
	case 'n': return cli_int("--threads", optarg, 0, 4096, &r->o.data.run.threads);
	case O_SWEEPS: return cli_int("--sweeps", optarg, 1, 100, &r->o.fits);
	case O_STEPS: return cli_int("--steps", optarg, 0, 10000, &r->o.steps);
	case O_JSON: r->json = true; return true;
	default: return false;
	}
}

static MloStatus run(Request *r, MloArena *a, MloDiag *d)
{
	double before;
	Prune x;
	MloStatus st = distill_open(&x, a, &r->o, r->student, d);

	if (st == MLO_OK)
		st = distill_run(&x, &before);
	if (st == MLO_OK)
		st = prune_write(&x, r->output);
	if (st == MLO_OK && r->json)
		prune_report_json(&x, false);
	else if (st == MLO_OK)
		prune_report_text(&x, false);
	if (st == MLO_OK)
		cli_note("outputs were at %.1f dB", before);
	prune_close(&x);
	return st;
}

int cmd_distill(int argc, char **argv)
{
	Request r = {.o = PRUNE_DEFAULTS};
	MloDiag d = {0};
	MloArena *a;
	MloStatus st;
	int o;

	r.o.fits = 2;
	while ((o = cli_next(&spec, argc, argv)) != CLI_END) {
		if (o < 0)
			return cli_stop(o);
		if (!take(&r, o))
			return CLI_USAGE;
	}
	if (!cli_operands(&spec, argc, argv, 2, 2))
		return CLI_USAGE;
	if (!r.output || !r.o.data.calib)
		return cli_usage("'distill' needs -o FILE and --calib DATA");
	r.o.data.model = argv[optind];
	r.student = argv[optind + 1];
	a = mlo_arena_new();
	if (!a)
		return cli_finish(&d, MLO_ERR_NOMEM);
	st = run(&r, a, &d);
	mlo_arena_free(a);
	return cli_finish(&d, st);
}
