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
		if (!x->list.layer[i].off && !x->list.layer[i].whole)
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
	x->g = mlo_graph_clone(x->start ? x->start : x->dense);
	if (!x->g)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	list_layers(x, x->g);
	if (x->int8)
		prune_int8_mark(x);
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
		     .output_sqnr = NAN,
		     .accuracy = NAN,
		     .float_accuracy = NAN,
		     .dense_ns = NAN,
		     .ns_after = NAN};
}

static MloStatus open_float(Prune *x)
{
	MloLoadOptions lo = {.keep_symbols = true, .quiet = true};

	MLO_TRY(mlo_load_model(x->opt->data.model, &lo, &x->source, x->d));
	x->d->where = x->opt->data.model;
	x->dense = mlo_graph_clone(x->source);
	if (!x->dense)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	return mlo_passes_run(x->dense, "float", NULL, NULL, x->d);
}

MloStatus prune_open(Prune *x, MloArena *a, const PruneOptions *opt, MloDiag *d)
{
	MloPassCx cx = {.arena = a, .diag = d};
	MloGraph *g;

	prune_begin(x, a, opt, d);
	MLO_TRY(opt->int8 ? prune_int8_open(x) : open_float(x));
	g = x->start ? x->start : x->dense;
	list_layers(x, g);
	if (opt->data.calib)
		add_biases(g, &x->list, &cx);
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
	mlo_graph_free(x->start);
	mlo_graph_free(x->dense);
	mlo_graph_free(x->source);
	mlo_graph_free(x->student);
	x->g = x->start = x->dense = x->source = x->student = NULL;
	prune_int8_close(x);
}

/* -- all layers ------------------------------------------------------------------------------------------- */

static MloStatus prune_one(void *user, size_t layer, PruneSums *sums)
{
	Prune *x = user;

	return prune_layer(x, layer, sums, false);
}

static MloStatus fit_one(void *user, size_t layer, PruneSums *sums)
{
	Prune *x = user;

	return prune_layer(x, layer, sums, true);
}

static MloStatus prune_layers(Prune *x)
{
	if (x->opt->data.calib)
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
	st = probe_samples(&x->opt->data, list, 2, samples < x->opt->data.samples ? samples : x->opt->data.samples, "compare", compare, &c, x->d);
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
	return x->opt->data.calib ? prune_measure(x, PRUNE_MEASURED) : MLO_OK;
}

MloStatus prune_write(Prune *x, const char *path)
{
	const MloGraph *g = x->kept ? x->kept : x->g;
	MloGraph *lowered = NULL;
	const void *bytes;
	MloStatus st = MLO_OK;
	size_t n;

	if (x->quantised && !x->kept) {
		g = lowered = mlo_graph_clone(x->g);
		st = lowered ? mlo_ptq_lower(x->q, lowered, x->d) : mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	}
	if (st == MLO_OK)
		st = mlo_onnx_export(x->a, g, mlopt_version(), &bytes, &n, x->d);
	if (st == MLO_OK)
		st = mlo_write_file(path, bytes, n, x->d);
	mlo_graph_free(lowered);
	return st;
}
