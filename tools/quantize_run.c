/* tools/quantize_run.c -- runs of a graph over the calibration samples, with inner values as outputs. */
#include "tools/cli.h"
#include "tools/quantize.h"

MloStatus probe_open(Probe *p, const MloGraph *g, MloDiag *d)
{
	*p = (Probe){.g = mlo_graph_clone(g), .outputs = g->noutputs};
	return p->g ? MLO_OK : mlo_error(d, MLO_ERR_NOMEM, "out of memory");
}

void probe_close(Probe *p)
{
	mlo_graph_free(p->g);
	p->g = NULL;
}

/* Where body `b` hangs below g: the graph with the node whose branch it is. */
static MloGraph *around(MloGraph *g, const MloGraph *b, MloNode **node)
{
	MloGraph *body, *found;

	for (MloNode *n = g->first; n; n = n->next)
		for (int at = 0; (body = mlo_node_body(n, &at));) {
			*node = n;
			found = body == b ? g : around(body, b, node);
			if (found)
				return found;
		}
	return NULL;
}

/* No numbers, of as many dimensions as v. */
static MloValue *nothing(MloGraph *g, const MloValue *v)
{
	const int64_t dim[MLO_MAX_RANK] = {0};
	MloValue *c = mlo_graph_const(g, mlo_tensor_new(g->arena, v->type.elem, v->type.rank, dim), NULL);

	return mlo_graph_op(g, NULL, OP_identity, NULL, &c, 1);
}

/* v of the branch b becomes a result of the if, of which the other branch makes nothing. */
static MloValue *surface(MloGraph *g, MloNode *n, const MloGraph *b, MloValue *v)
{
	MloGraph *branch;
	MloValue *out = mlo_node_add_out(g, n);

	for (int at = 0; (branch = mlo_node_body(n, &at));)
		mlo_graph_output(branch, branch == b ? v : nothing(branch, v), NULL);
	out->type = v->type;
	for (int i = 0; i < out->type.rank; i++)
		out->type.dim[i] = mlo_dim_fresh(g->syms, "taken");
	return out;
}

void probe_ask(Probe *p, MloGraph *g, MloValue *v, MloArena *a)
{
	MloNode *n = NULL;

	while (g != p->g) {
		MloGraph *outer = around(p->g, g, &n);

		MLO_ASSERT(outer && n->op == OP_if && v->type.rank > 0);
		v = surface(outer, n, g, v);
		g = outer;
	}
	mlo_graph_output(p->g, v, mlo_sprintf(a, "probe %u", p->g->noutputs));
}

typedef struct Run {
	const Quantize *x;
	Model *m;
	MloTensor **out; /* of all graphs */
	MloTensor **in;
	size_t n, opened;
	MloArena *a;
	MloDiag *d;
} Run;

static MloStatus open_all(Run *r, Probe *const *p)
{
	size_t nout = 0;

	for (; r->opened < r->n; r->opened++) {
		MLO_TRY(model_open_graph(&r->m[r->opened], p[r->opened]->g, &r->x->opt->run, r->d));
		nout += r->m[r->opened].nout;
		r->m[r->opened].path = r->x->opt->model;
		MLO_TRY(model_pick(&r->m[r->opened], r->x->opt->run.shapes, r->x->opt->run.nshapes, r->d));
	}
	r->out = MLO_NEWN(r->a, MloTensor *, nout + 1);
	for (size_t i = 0, at = 0; i < r->n; at += r->m[i++].nout) {
		MloTensor **out = model_outputs(r->a, &r->m[i]);

		for (size_t k = 0; k < r->m[i].nout; k++)
			r->out[at + k] = out[k];
	}
	r->in = MLO_NEWN(r->a, MloTensor *, r->m[0].nin + 1);
	for (size_t i = 0; i < r->m[0].nin; i++)
		r->in[i] = model_tensor(r->a, &r->m[0].in[i]);
	return MLO_OK;
}

static MloStatus run_all(Run *r, int64_t limit, const char *what, ProbeFn *see, void *user)
{
	const QuantizeOptions *o = r->x->opt;
	int64_t count, first = 0;
	Calib *c = NULL;
	MloStatus st = calib_open(r->a, &r->m[0], o->calib, o->preprocess, limit, &c, r->d);

	while (st == MLO_OK && (st = calib_next(c, r->in, &count, r->d)) == MLO_OK && count) {
		MloTensor **out = r->out;

		for (size_t i = 0; i < r->n && st == MLO_OK; out += r->m[i++].nout)
			st = model_run(&r->m[i], r->in, out, r->d);
		if (st == MLO_OK)
			st = see(user, r->out, count, first, r->d);
		first += count;
		cli_progress(what, (double)first, (double)calib_limit(c));
	}
	cli_progress(what, 1, 1);
	calib_close(c);
	if (st == MLO_OK && !first)
		return mlo_error(r->d, MLO_ERR_MODEL, "'%s' holds no samples", o->calib);
	return st;
}

MloStatus probe_run(const Quantize *x, Probe *const *p, size_t n, int64_t limit, const char *what, ProbeFn *see,
		    void *user, MloDiag *d)
{
	Run r = {.x = x, .n = n, .a = mlo_arena_new(), .d = d};
	MloStatus st;

	if (!r.a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	r.m = MLO_NEWN(r.a, Model, n);
	st = open_all(&r, p);
	if (st == MLO_OK)
		st = run_all(&r, limit, what, see, user);
	for (size_t i = 0; i < r.opened; i++)
		model_close(&r.m[i]);
	mlo_arena_free(r.a);
	return st;
}
