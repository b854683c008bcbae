/* tools/prune.c -- layer after layer, each by what it reads behind those that are pruned already. */
#include "tools/prune.h"

#include <math.h>
#include <string.h>

#include "frontend/onnx.h"
#include "passes/match.h"
#include "tools/noise.h"
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

static void list_layers(Prune *x, MloGraph *g)
{
	MloPruneList before = x->list;

	x->q = mlo_ptq_new(x->a, g, &x->opt->ptq);
	mlo_prune_layers(x->a, x->q, &x->opt->pattern, &x->list);
	for (size_t i = 0; i < x->list.n; i++) {
		MloPruneLayer *l = &x->list.layer[i];

		if (!l->off && l->n->op == OP_conv && !window_known(l->n))
			l->off = "its pads are not known as numbers";
		if (i < before.n)
			l->sparsity = before.layer[i].sparsity;
	}
}

MloStatus prune_reset(Prune *x)
{
	mlo_graph_free(x->g);
	x->g = mlo_graph_clone(x->dense);
	if (!x->g)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	list_layers(x, x->g);
	return MLO_OK;
}

/* Layers that stay dense only because blocks do not fit are worth a word. */
static MloStatus check_division(const Prune *x)
{
	const char *p = mlo_pattern_text(x->a, &x->opt->pattern);
	bool named = x->opt->ptq.include && *x->opt->ptq.include;
	size_t n = 0;

	for (size_t i = 0; i < x->list.n; i++) {
		const MloPruneLayer *l = &x->list.layer[i];

		if (mlo_prune_divides(&x->opt->pattern, l) || x->q->layer[l->index].off)
			continue;
		if (named)
			return mlo_node_error(x->d, MLO_ERR_MODEL, l->n, "has %lld outputs and %lld input channels, which %s does not divide",
					      (long long)l->rows, (long long)l->channels, p);
		n++;
	}
	if (n)
		mlo_warn(x->d, "%zu of %zu layers stay dense: %s does not divide their channels", n, x->list.n, p);
	return MLO_OK;
}

void prune_begin(Prune *x, MloArena *a, const PruneOptions *opt, MloDiag *d)
{
	*x = (Prune){.a = a,
		     .d = d,
		     .opt = opt,
		     .data = {opt->model, opt->calib, opt->preprocess, opt->run},
		     .output_sqnr = NAN,
		     .accuracy = NAN,
		     .float_accuracy = NAN,
		     .dense_ns = NAN,
		     .ns_after = NAN};
}

MloStatus prune_open(Prune *x, MloArena *a, const PruneOptions *opt, MloDiag *d)
{
	MloLoadOptions lo = {.keep_symbols = true, .quiet = true};
	MloPassCx cx = {.arena = a, .diag = d};

	prune_begin(x, a, opt, d);
	MLO_TRY(mlo_load_model(opt->model, &lo, &x->source, d));
	d->where = opt->model;
	x->dense = mlo_graph_clone(x->source);
	if (!x->dense)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	MLO_TRY(mlo_passes_run(x->dense, "float", NULL, NULL, d));
	list_layers(x, x->dense);
	if (opt->calib)
		add_biases(x->dense, &x->list, &cx);
	MLO_TRY(prune_reset(x));
	check_patterns(x, "--exclude", opt->ptq.exclude);
	check_patterns(x, "--include", opt->ptq.include);
	MLO_TRY(check_division(x));
	return check_layers(x);
}

void prune_close(Prune *x)
{
	if (x->d)
		x->d->where = NULL;
	mlo_graph_free(x->g);
	mlo_graph_free(x->dense);
	mlo_graph_free(x->source);
	mlo_graph_free(x->student);
	x->g = x->dense = x->source = x->student = NULL;
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

/* The groups of a layer, one after the other.  `fit`: the zeros that there are stay, and no others come. */
typedef struct Work {
	Prune *x;
	MloPruneLayer *l;
	MloArena *a;
	bool fit;
	double *w, *bias; /* of all groups; bias: NULL: there is none */
	double error, signal;
} Work;

static void prune_matrix(Work *o, const MloProblem *p, double *w)
{
	int64_t n = p->rows * p->k;
	const PruneOptions *opt = o->x->opt;
	uint8_t *keep = MLO_NEWN(o->a, uint8_t, (size_t)n);

	if (o->fit)
		for (int64_t i = 0; i < n; i++)
			keep[i] = w[i] != 0;
	else if (o->l->sparsity > 0)
		mlo_prune_search(p, &opt->pattern, o->l->sparsity, keep);
	else
		memset(keep, 1, (size_t)n);
	mlo_prune_refit(p, keep, w);
}

static void take_bias(Work *o, const MloProblem *p, int64_t group, const double *w)
{
	for (int64_t r = 0; r < p->rows && o->bias; r++) {
		double sum = p->mean_y[r];

		for (int64_t i = 0; i < p->k; i++)
			sum -= w[r * p->k + i] * p->mean_x[i];
		o->bias[group * p->rows + r] = sum;
	}
}

static void note_damping(const Work *o, const MloProblem *p, const MloPruneStats *s)
{
	const MloPruneLayer *l = o->l;

	if (o->fit)
		return;
	if (s->n < s->k)
		mlo_warn(o->x->d, "node '%s': %lld inputs were seen for %lld weights of each output: their Hessian is singular but for "
				  "its damping; more samples help", mlo_node_name(l->n), (long long)s->n, (long long)s->k);
	else if (p->damping > o->x->opt->damping)
		mlo_note(o->x->d, "node '%s': the Hessian is singular: damped by %g of its diagonal", mlo_node_name(l->n), p->damping);
}

/* *fitted: the samples say something about the weights. */
static MloStatus prune_group(Work *o, int64_t group, const MloPruneStats *s, bool *fitted)
{
	const Prune *x = o->x;
	double *w = o->w + group * s->rows * s->k;
	MloProblem p;

	mlo_weights_get(o->l, o->l->n, group, w);
	switch (mlo_problem_new(o->a, s, w, o->bias != NULL, x->opt->damping, &p)) {
	case PROBLEM_WILD:
		return mlo_node_error(x->d, MLO_ERR_MODEL, o->l->n, "reads or gives NaN or infinite numbers for samples of '%s'",
				      x->opt->calib);
	case PROBLEM_CONSTANT: *fitted = false; return MLO_OK;
	case PROBLEM_GIVEN: break;
	}
	note_damping(o, &p, s);
	if (!x->opt->magnitude)
		prune_matrix(o, &p, w);
	o->error += mlo_problem_error(&p, w);
	o->signal += p.signal;
	take_bias(o, &p, group, w);
	return MLO_OK;
}

/* Whatever the samples say. */
static void prune_smallest(Prune *x, MloPruneLayer *l)
{
	mlo_weights_smallest(x->g, l, l->n, &x->opt->pattern, l->sparsity);
}

static MloStatus prune_layer(Prune *x, MloPruneLayer *l, const MloPruneStats *of, bool fit)
{
	Work o = {.x = x, .l = l, .fit = fit};
	MloStatus st = MLO_OK;
	bool fitted = true;

	if (x->opt->magnitude)
		prune_smallest(x, l);
	o.w = MLO_NEWN(x->a, double, (size_t)mlo_prune_weights(l));
	o.bias = mlo_layer_bias(&x->q->layer[l->index]) ? MLO_NEWN(x->a, double, (size_t)(l->rows * l->groups)) : NULL;
	for (int64_t group = 0; group < l->groups && st == MLO_OK && fitted; group++) {
		o.a = mlo_arena_new();
		if (!o.a)
			return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
		st = prune_group(&o, group, &of[group], &fitted);
		mlo_arena_free(o.a);
	}
	MLO_TRY(st);
	if (!fitted) {
		mlo_warn(x->d, "node '%s' reads the same for all samples: its smallest weights go", mlo_node_name(l->n));
		if (!fit)
			prune_smallest(x, l);
		return MLO_OK;
	}
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

static MloStatus prune_layers(Prune *x)
{
	if (x->opt->calib)
		return prune_each(x, false, "prune", prune_one, x);
	for (size_t i = 0; i < x->list.n; i++)
		if (!x->list.layer[i].off)
			prune_smallest(x, &x->list.layer[i]);
	return MLO_OK;
}

static void count_zeros(Prune *x)
{
	for (size_t i = 0; i < x->list.n; i++)
		x->list.layer[i].zeros = mlo_weights_zeros(x->list.layer[i].n->in[1]->data);
}

MloStatus prune_fit(Prune *x)
{
	MLO_TRY(prune_each(x, false, "fit", fit_one, x));
	count_zeros(x);
	return MLO_OK;
}

MloStatus prune_run(Prune *x)
{
	MLO_TRY(prune_layers(x));
	/* fitted at the same time, layers would all make up for the same errors */
	for (int i = 0; i < x->opt->fits && !x->opt->magnitude && prune_one_by_one(x); i++)
		MLO_TRY(prune_fit(x));
	count_zeros(x);
	return MLO_OK;
}

/* -- how good it is ---------------------------------------------------------------------------------------- */

typedef struct Compare {
	Noise noise;
	size_t n; /* outputs of one graph */
} Compare;

static MloStatus compare(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Compare *c = user;

	for (size_t i = 0; i < c->n; i++)
		noise_add(&c->noise, out[i], out[c->n + i]);
	return MLO_OK;
}

MloStatus prune_measure(Prune *x, int64_t samples)
{
	Probe p[2], *list[] = {&p[0], &p[1]};
	Compare c = {.n = x->g->noutputs};
	MloStatus st;

	MLO_TRY(probe_open(&p[0], x->dense, x->d));
	MLO_TRY(probe_open(&p[1], x->g, x->d));
	st = probe_samples(&x->data, list, 2, samples < x->opt->samples ? samples : x->opt->samples, "compare", compare, &c, x->d);
	x->output_sqnr = noise_db(&c.noise);
	probe_close(&p[0]);
	probe_close(&p[1]);
	return st;
}

/* -- as the options say ------------------------------------------------------------------------------------ */

static MloStatus plan_speed(Prune *x)
{
	const double wanted = x->opt->speedup;
	double after = x->dense_ns;

	if (prune_allocate_speed(x, wanted))
		return MLO_OK;
	for (size_t i = 0; i < x->list.n; i++)
		after += prune_predicted(x, i, x->list.layer[i].sparsity) - prune_predicted(x, i, 0);
	mlo_error(x->d, MLO_ERR_MODEL, "a speed-up of %g cannot be met: with all zeros that gain, %.2f is predicted on %s",
		  wanted, x->dense_ns / after, x->variant->name);
	mlo_hint(x->d, "'--dry-run --sparsity 0.9' shows where the time goes");
	return MLO_ERR_MODEL;
}

static MloStatus plan_share(Prune *x)
{
	double most = 0;

	if (prune_allocate(x, x->opt->sparsity))
		return MLO_OK;
	for (size_t i = 0; i < x->list.n; i++)
		most = fmax(most, x->list.layer[i].sparsity);
	return mlo_error(x->d, MLO_ERR_MODEL, "--sparsity %g is more than a layer is pruned to, %g", x->opt->sparsity, most);
}

MloStatus prune_all(Prune *x, bool plan)
{
	const bool nm = x->opt->pattern.kind == PRUNE_NM;

	if (x->opt->pattern.kind == PRUNE_CHANNEL)
		return prune_channels(x, plan);
	MLO_TRY(prune_curves(x));
	if (plan || x->opt->speedup > 0)
		MLO_TRY(prune_times(x));
	if (x->opt->max_drop >= 0)
		MLO_TRY(prune_within(x));
	else if (x->opt->speedup > 0)
		MLO_TRY(plan_speed(x));
	else if (x->opt->sparsity > 0 || nm)
		MLO_TRY(plan_share(x));
	if (plan)
		return MLO_OK;
	if (x->opt->max_drop < 0)
		MLO_TRY(prune_run(x));
	if (x->opt->speedup > 0)
		MLO_TRY(prune_time_after(x, x->g));
	return x->opt->calib ? prune_measure(x, PRUNE_MEASURED) : MLO_OK;
}

MloStatus prune_write(Prune *x, const char *path)
{
	const void *bytes;
	size_t n;

	MLO_TRY(mlo_onnx_export(x->a, x->kept ? x->kept : x->g, mlopt_version(), &bytes, &n, x->d));
	return mlo_write_file(path, bytes, n, x->d);
}
