/* tools/prune.c -- layer after layer, each by what it reads behind those that are pruned already. */
#include "tools/prune.h"

#include <math.h>
#include <string.h>

#include "frontend/onnx.h"
#include "passes/match.h"
#include "tools/cli.h"
#include "tools/compile.h"
#include "tools/outfile.h"
#include "tools/window.h"

/* -- the model ------------------------------------------------------------------------------------------- */

/* Convolutions without a bias get one of zeros: it makes up for errors. */
static void add_biases(MloGraph *g, const MloPruneList *list, MloPassCx *cx)
{
	for (size_t i = 0; i < list->n; i++) {
		MloNode *n = list->layer[i].n, *with;
		int64_t rows = list->layer[i].rows * list->layer[i].groups;
		MloValue *in[3] = {n->in[0], n->in[1]};

		if (list->layer[i].off || n->op != OP_conv || (n->nin > 2 && n->in[2]))
			continue;
		in[2] = mlo_graph_const(g, mlo_tensor_new(g->arena, EL_f32, 1, &rows),
					mlo_sprintf(g->arena, "%s_bias", mlo_node_name(n)));
		with = mlo_rw_node(g, n, OP_conv, n, in, 3);
		mlo_rw_copy_attrs(with, n);
		mlo_rw_replace(g, n, mlo_rw_done(g, with, cx));
	}
}

static MloStatus check_layers(const Prune *x)
{
	const PruneOptions *o = x->opt;
	size_t undivided = 0;

	for (size_t i = 0; i < x->list.n; i++) {
		if (!x->list.layer[i].off)
			return MLO_OK;
		undivided += x->q->layer[x->list.layer[i].index].off == NULL;
	}
	return mlo_error(x->d, MLO_ERR_MODEL, "nothing can be pruned: %s",
			 undivided ? mlo_sprintf(x->a, "%s fits no layer that is worth it", mlo_pattern_text(x->a, &o->pattern))
			 : x->list.n ? "all that could be is excluded"
				     : "no convolution or product has constant weights of float32");
}

static void check_patterns(const Prune *x, const char *option, const char *const *pattern)
{
	for (; pattern && *pattern; pattern++)
		if (!mlo_ptq_names(x->q, *pattern))
			mlo_warn(x->d, "%s '%s': no node of that name can be pruned", option, *pattern);
}

MloStatus prune_open(Prune *x, MloArena *a, const PruneOptions *opt, MloDiag *d)
{
	MloLoadOptions lo = {.keep_symbols = true, .quiet = true};
	MloPassCx cx = {.arena = a, .diag = d};

	*x = (Prune){.a = a, .d = d, .opt = opt, .output_sqnr = NAN, .data = {opt->model, opt->calib, opt->preprocess, opt->run}};
	MLO_TRY(mlo_load_model(opt->model, &lo, &x->source, d));
	d->where = opt->model;
	x->dense = mlo_graph_clone(x->source);
	if (!x->dense)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	MLO_TRY(mlo_passes_run(x->dense, "float", NULL, NULL, d));
	x->from = mlo_ptq_new(a, x->dense, &opt->ptq);
	mlo_prune_layers(a, x->from, &opt->pattern, &x->list);
	add_biases(x->dense, &x->list, &cx);
	x->g = mlo_graph_clone(x->dense);
	if (!x->g)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	x->from = mlo_ptq_new(a, x->dense, &opt->ptq);
	x->q = mlo_ptq_new(a, x->g, &opt->ptq);
	mlo_prune_layers(a, x->q, &opt->pattern, &x->list);
	for (size_t i = 0; i < x->list.n; i++)
		x->list.layer[i].sparsity = opt->sparsity;
	check_patterns(x, "--exclude", opt->ptq.exclude);
	check_patterns(x, "--include", opt->ptq.include);
	return check_layers(x);
}

void prune_close(Prune *x)
{
	if (x->d)
		x->d->where = NULL;
	mlo_graph_free(x->g);
	mlo_graph_free(x->dense);
	mlo_graph_free(x->source);
	x->g = x->dense = x->source = NULL;
}

/* -- a layer ---------------------------------------------------------------------------------------------- */

static void set_bias(Prune *x, const MloPruneLayer *l, const double *bias)
{
	const MloPtqLayer *p = &x->q->layer[l->index];
	const MloValue *old = mlo_layer_bias(p);
	int64_t n = l->rows * l->groups;
	MloTensor *t = mlo_tensor_new(x->g->arena, EL_f32, 1, &n);
	MloValue *v;

	for (int64_t i = 0; i < n; i++)
		mlo_tensor_set_f64(t, i, bias[i]);
	v = mlo_graph_const(x->g, t, old->name);
	if (l->n->op == OP_conv) {
		mlo_node_set_in(x->g, l->n, 2, v);
	} else {
		MloNode *add = l->n->out[0]->uses->node;

		mlo_node_set_in(x->g, add, (uint32_t)mlo_const_side(add), v);
	}
}

/* The groups of a layer, one after the other.  `fixed`: the zeros that there are stay, and no others come. */
typedef struct Work {
	Prune *x;
	MloPruneLayer *l;
	MloArena *a;
	bool fixed;
	double *w, *bias;      /* of all groups */
	double error, signal;
} Work;

static void prune_matrix(Work *o, const MloProblem *p, double *w)
{
	int64_t n = p->rows * p->k;
	const PruneOptions *opt = o->x->opt;
	uint8_t *keep = MLO_NEWN(o->a, uint8_t, (size_t)n);

	if (o->fixed)
		for (int64_t i = 0; i < n; i++)
			keep[i] = w[i] != 0;
	else if (o->l->sparsity > 0)
		mlo_prune_search(p, &opt->pattern, o->l->sparsity, keep);
	else
		memset(keep, 1, (size_t)n);
	mlo_prune_refit(p, keep, w);
}

static MloStatus prune_group(Work *o, int64_t group, MloPruneStats *s)
{
	const Prune *x = o->x;
	int64_t k = mlo_prune_inputs(o->l), m = o->l->rows;
	double *w = o->w + group * m * k;
	MloProblem p;

	mlo_weights_get(o->l, o->l->n, group, w);
	if (!mlo_problem_new(o->a, s, w, o->bias != NULL, x->opt->damping, &p))
		return mlo_node_error(x->d, MLO_ERR_MODEL, o->l->n, "reads nothing but constants");
	prune_matrix(o, &p, w);
	o->error += mlo_problem_error(&p, w);
	o->signal += p.signal;
	for (int64_t r = 0; r < m && o->bias; r++) {
		double sum = p.mean_y[r];

		for (int64_t i = 0; i < k; i++)
			sum -= w[r * k + i] * p.mean_x[i];
		o->bias[group * m + r] = sum;
	}
	return MLO_OK;
}

static MloStatus prune_layer(Prune *x, MloPruneLayer *l, MloPruneStats *of, bool fixed)
{
	Work o = {.x = x, .l = l, .fixed = fixed};
	MloStatus st = MLO_OK;

	o.w = MLO_NEWN(x->a, double, (size_t)mlo_prune_weights(l));
	o.bias = mlo_layer_bias(&x->q->layer[l->index]) ? MLO_NEWN(x->a, double, (size_t)(l->rows * l->groups)) : NULL;
	for (int64_t group = 0; group < l->groups && st == MLO_OK; group++) {
		o.a = mlo_arena_new();
		if (!o.a)
			return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
		st = prune_group(&o, group, &of[group]);
		l->seen = of[group].n;
		mlo_arena_free(o.a);
	}
	MLO_TRY(st);
	l->sqnr = o.error > 0 ? 10 * log10(o.signal / o.error) : INFINITY;
	mlo_weights_set(x->g, l, l->n, o.w);
	if (o.bias)
		set_bias(x, l, o.bias);
	return MLO_OK;
}

/* -- all layers ------------------------------------------------------------------------------------------- */

static MloStatus prune_one(void *user, size_t layer, PruneSums *sums)
{
	Prune *x = user;

	return prune_layer(x, &x->list.layer[layer], sums->of, false);
}

static MloStatus fit_one(void *user, size_t layer, PruneSums *sums)
{
	Prune *x = user;

	return prune_layer(x, &x->list.layer[layer], sums->of, true);
}

MloStatus prune_run(Prune *x)
{
	MLO_TRY(prune_each(x, false, "prune", prune_one, x));
	for (int i = 0; i < x->opt->sweeps; i++)
		MLO_TRY(prune_each(x, false, "fit", fit_one, x));
	for (size_t i = 0; i < x->list.n; i++)
		x->list.layer[i].zeros = mlo_weights_zeros(x->list.layer[i].n->in[1]->data);
	return MLO_OK;
}

MloStatus prune_write(Prune *x, const char *path)
{
	const void *bytes;
	size_t n;

	MLO_TRY(mlo_onnx_export(x->a, x->g, mlopt_version(), &bytes, &n, x->d));
	return mlo_write_file(path, bytes, n, x->d);
}
