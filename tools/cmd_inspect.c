/* tools/cmd_inspect.c -- mlopt inspect: what is inside a model or package, and what it costs. */
#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/onnx.h"
#include "package/package.h"
#include "targets/target.h"
#include "tools/cli.h"
#include "tools/inspect.h"
#include "tools/model.h"

enum { O_NODE = 256, O_JSON, O_SHAPE, O_OPS, O_VARIANT, O_GRAPH, O_PTXAS };
static const CliOption options[] = {
	{O_NODE, "node", "NAME", "show the nodes of that name, with their operands"},
	{O_JSON, "json", NULL, "the same figures for programs"},
	{O_GRAPH, "graph", NULL, "print the graph of a model in text form"},
	{O_SHAPE, "shape", "NAME=1x3x8x8", "shape of an input of an ONNX model, or size of a dimension"},
	{O_VARIANT, "variant", "NAME", "show the steps of that variant (default: the one for this machine)"},
	{O_PTXAS, "ptxas", NULL, "of a variant for GPUs, also registers and spills, by NVIDIA's ptxas (compile --cubin says where it is)"},
	{O_OPS, "ops", NULL, "list the ONNX operators that can be imported"},
	{0},
};
static const CliSpec spec = {
	"MODEL.onnx|PACKAGE [option]...",
	"Shows inputs, outputs, operators and cost of a model, or variants and steps of a package.",
	options,
	"mlopt inspect resnet50.onnx\n"
	"mlopt inspect resnet50.onnx --node layer1/conv1\n"
	"mlopt inspect resnet50.mlopt --json",
};

enum { MAX_SHAPES = 64 };
typedef struct Request {
	const char *path, *node, *variant;
	const char *shape[MAX_SHAPES];
	size_t nshapes;
	bool json, ops, graph, ptxas;
} Request;

static int list_operators(void)
{
	MloOnnxOperator o;

	for (size_t i = 0; mlo_onnx_operator(i, &o); i++)
		if (!o.why)
			printf("%-14s %-28s since opset %d\n", *o.domain ? o.domain : "ai.onnx", o.type, o.since);
	return CLI_OK;
}

static MloStatus inspect_model(const Request *r, MloDiag *d)
{
	MloStatus st, inferred;
	MloLoadOptions lo = {.shapes = r->shape, .nshapes = r->nshapes, .quiet = true, .inferred = &inferred};
	MloGraph *g;

	MLO_TRY(mlo_load_model(r->path, &lo, &g, d));
	d->where = r->path;
	if (r->graph) {
		MloStr s = {.arena = g->arena};

		mlo_print(&s, g, false);
		fputs(mlo_str_text(&s), stdout);
		st = MLO_OK;
	} else {
		st = r->node ? inspect_node(g, r->node, d) : inspect_graph(g, r->json, d);
	}
	d->where = NULL;
	mlo_graph_free(g);
	return st == MLO_OK ? inferred : st; /* a model with a mistake can be looked at */
}

static MloStatus inspect_package_file(const Request *r, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	MloPackageFile p;
	json_t *manifest;
	json_error_t e;
	MloStatus st;

	if (!a)
		return MLO_ERR_NOMEM;
	st = mlo_package_open(a, r->path, &p, d);
	if (st == MLO_OK) {
		manifest = json_loadb(p.manifest, p.manifest_bytes, 0, &e);
		st = manifest ? inspect_package(manifest, &p, r->variant, r->node, r->json, r->ptxas, d)
			      : mlo_error(d, MLO_ERR_FORMAT, "'%s': the manifest is not JSON: %s", r->path,
					  e.text);
		json_decref(manifest);
	}
	mlo_arena_free(a);
	return st;
}

static bool take(Request *r, int o)
{
	switch (o) {
	case O_NODE:
		r->node = optarg;
		return true;
	case O_JSON:
		r->json = true;
		return true;
	case O_OPS:
		r->ops = true;
		return true;
	case O_GRAPH:
		r->graph = true;
		return true;
	case O_PTXAS:
		r->ptxas = true;
		return true;
	case O_VARIANT:
		r->variant = optarg;
		return true;
	case O_SHAPE:
		if (r->nshapes == MAX_SHAPES)
			return cli_usage("more than %d --shape options", MAX_SHAPES), false;
		r->shape[r->nshapes++] = optarg;
		return true;
	default:
		return false;
	}
}

int cmd_inspect(int argc, char **argv)
{
	Request r = {.path = NULL};
	MloDiag d = {0};
	MloStatus st;
	int o;

	while ((o = cli_next(&spec, argc, argv)) != CLI_END) {
		if (o < 0)
			return cli_stop(o);
		if (!take(&r, o))
			return CLI_USAGE;
	}
	if (r.ops)
		return cli_operands(&spec, argc, argv, 0, 0) ? list_operators() : CLI_USAGE;
	if (!cli_operands(&spec, argc, argv, 1, 1))
		return CLI_USAGE;
	r.path = argv[optind];
	st = model_is_package(r.path) ? inspect_package_file(&r, &d) : inspect_model(&r, &d);
	return cli_finish(&d, st);
}
