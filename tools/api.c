/* tools/api.c -- the public compiler API: one guard against exhausted memory, messages to a callback. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "tools/compile.h"

_Static_assert((int)MLOPT_ERR_INTERNAL == (int)MLO_ERR_INTERNAL &&
		       (int)MLOPT_ERR_LIMIT == (int)MLO_ERR_LIMIT &&
		       (int)MLOPT_ERR_INTERNAL + 1 == (int)MLO_STATUS_COUNT,
	       "MloptStatus follows ir/base/status.def");
_Static_assert((int)MLOPT_HINT == (int)MLO_DIAG_HINT, "MloptSeverity follows MloSeverity");

struct MloptModel {
	char *path;
	MloGraph *graph; /* dimensions that the model leaves open are symbolic */
};

/* One call of the API, run under the guard. */
typedef struct Call {
	MloptModel *model;
	MloptOptions opt;
	const char *path; /* to write to; NULL: memory */
	void *bytes;
	size_t n;
	MloptReport report;
	MloDiag diag;
	MloStatus status;
} Call;

const char *mlopt_version(void)
{
	return PACKAGE_VERSION;
}

const char *mlopt_status_text(MloptStatus st)
{
	return mlo_status_text((MloStatus)st);
}

static MloptStatus finish(Call *c, void (*run)(void *), MloptMessageFn *msg, void *user)
{
	if (!mlo_guarded(run, c))
		c->status = mlo_error(&c->diag, MLO_ERR_NOMEM, "out of memory");
	for (size_t i = 0; msg && i < c->diag.n; i++) {
		const MloDiagLine *l = &c->diag.lines[i];

		msg(user, (MloptSeverity)l->severity, l->where, l->text ? l->text : "");
	}
	mlo_diag_free(&c->diag);
	return (MloptStatus)c->status;
}

static void run_load(void *arg)
{
	Call *c = arg;

	c->status = mlo_load_model(c->model->path, &(MloLoadOptions){.keep_symbols = true, .provenance = true}, &c->model->graph,
				   &c->diag);
}

MloptStatus mlopt_model_load(const char *path, MloptModel **out, MloptMessageFn *msg, void *user)
{
	MloptModel *m = calloc(1, sizeof *m);
	Call c = {.model = m};
	MloptStatus st;

	*out = NULL;
	if (m)
		m->path = strdup(path);
	if (!m || !m->path) {
		free(m);
		return MLOPT_ERR_NOMEM;
	}
	st = finish(&c, run_load, msg, user);
	if (st == MLOPT_OK) {
		*out = m;
	} else {
		m->graph = NULL; /* freed by whoever failed */
		mlopt_model_free(m);
	}
	return st;
}

void mlopt_model_free(MloptModel *m)
{
	if (!m)
		return;
	mlo_graph_free(m->graph);
	free(m->path);
	free(m);
}

/* Shapes that a model computes from constants are not known before they are computed. */
static bool all_static(const MloGraph *g)
{
	for (uint32_t i = 0; i < g->ninputs; i++) {
		if (!mlo_type_static(&g->inputs[i]->type))
			return false;
	}
	for (const MloNode *n = g->first; n; n = n->next) {
		for (uint32_t i = 0; i < n->nout; i++) {
			if (n->out[i] && !mlo_type_static(&n->out[i]->type))
				return false;
		}
	}
	return true;
}

/* Compiles into c->path, or into c->bytes. */
static void run_compile(void *arg)
{
	Call *c = arg;
	MloLoadOptions lo = {.shapes = c->opt.shapes, .nshapes = c->opt.nshapes, .consts = c->opt.consts,
			     .nconsts = c->opt.nconsts, .keep_symbols = true, .provenance = true};
	MloArena *a = mlo_arena_new();
	MloGraph *loaded = NULL;
	MloCompiled out = {0};

	if (!a)
		c->status = mlo_error(&c->diag, MLO_ERR_NOMEM, "out of memory");
	else if (c->opt.nshapes || c->opt.nconsts || !all_static(c->model->graph))
		c->status = mlo_load_model(c->model->path, &lo, &loaded, &c->diag);
	if (c->status == MLO_OK)
		c->status = mlo_compile_graph(a, loaded ? loaded : c->model->graph, &c->opt, c->path, &out,
					      &c->diag);
	if (c->status == MLO_OK && !c->path) {
		c->bytes = malloc(out.n);
		if (c->bytes)
			memcpy(c->bytes, out.bytes, out.n);
		else
			c->status = mlo_error(&c->diag, MLO_ERR_NOMEM, "out of memory");
	}
	c->n = out.n;
	c->report = out.report;
	mlo_graph_free(loaded);
	mlo_arena_free(a);
}

static MloptStatus compile(MloptModel *m, const MloptOptions *opt, Call *c, MloptReport *report,
			   MloptMessageFn *msg, void *user)
{
	static const MloptOptions defaults = MLOPT_OPTIONS_INIT;
	MloptStatus st;

	c->model = m;
	c->opt = defaults;
	/* A caller built against an older header has a smaller struct: the rest keeps its default. */
	if (opt)
		memcpy(&c->opt, opt, opt->size < sizeof c->opt ? opt->size : sizeof c->opt);
	st = finish(c, run_compile, msg, user);
	if (report)
		*report = c->report;
	return st;
}

MloptStatus mlopt_compile(MloptModel *m, const MloptOptions *opt, void **bytes, size_t *n,
			  MloptReport *report, MloptMessageFn *msg, void *user)
{
	Call c = {0};
	MloptStatus st = compile(m, opt, &c, report, msg, user);

	*bytes = c.bytes;
	*n = st == MLOPT_OK ? c.n : 0;
	return st;
}

MloptStatus mlopt_compile_file(MloptModel *m, const MloptOptions *opt, const char *path, MloptReport *report,
			       MloptMessageFn *msg, void *user)
{
	Call c = {.path = path};

	return compile(m, opt, &c, report, msg, user);
}
