/* tools/quantize.c -- calibration, and the quantised graph that follows. */
#include "tools/quantize.h"

#include <math.h>
#include <string.h>

#include "frontend/onnx.h"
#include "passes/pass.h"
#include "tools/cli.h"
#include "tools/noise.h"
#include "tools/outfile.h"

/* -- the model ------------------------------------------------------------------------------------- */

/* A node of g or of its bodies that quantises; NULL: none does. */
static const MloNode *quantiser(const MloGraph *g)
{
	const MloNode *found;
	const MloGraph *b;

	for (const MloNode *n = g->first; n; n = n->next) {
		if (n->op == OP_quantize_linear || n->op == OP_dynamic_quantize_linear || n->op == OP_lstm_integer)
			return n;
		for (int at = 0; (b = mlo_node_body(n, &at));)
			if ((found = quantiser(b)))
				return found;
	}
	return NULL;
}

static MloStatus check_float(const Quantize *x)
{
	const MloNode *n = quantiser(x->g);
	bool excluded = false;

	if (n) {
		mlo_error(x->d, MLO_ERR_MODEL, "node '%s' quantises already: the model is no float model", mlo_node_name(n));
		mlo_hint(x->d, "'mlopt compile' takes quantised models as they are");
		return MLO_ERR_MODEL;
	}
	for (size_t i = 0; i < x->q->nlayers; i++) {
		excluded |= x->q->layer[i].off != NULL;
		if (x->q->layer[i].on)
			return MLO_OK;
	}
	return mlo_error(x->d, MLO_ERR_MODEL, "nothing can be quantised: %s",
			 excluded ? "all that could be is excluded"
				  : "no convolution, product or LSTM has constant weights of float32");
}

/* Patterns that are of no effect are mistakes, most likely. */
static void check_patterns(const Quantize *x, const char *option, const char *const *pattern)
{
	for (; pattern && *pattern; pattern++)
		if (!mlo_ptq_names(x->q, *pattern))
			mlo_warn(x->d, "%s '%s': no node of that name can be quantised", option, *pattern);
}

static bool ranks_known(const MloGraph *g)
{
	for (const MloNode *n = g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i] && !mlo_type_object(&n->out[i]->type) && n->out[i]->type.rank == MLO_RANK_UNKNOWN)
				return false;
	return true;
}

static MloStatus load(Quantize *x, const MloLoadOptions *lo)
{
	mlo_graph_free(x->g);
	mlo_graph_free(x->source);
	x->g = x->source = NULL;
	MLO_TRY(mlo_load_model(x->opt->data.model, lo, &x->source, x->d));
	x->d->where = x->opt->data.model;
	x->g = mlo_graph_clone(x->source);
	return mlo_passes_run(x->g, "float", NULL, NULL, x->d);
}

MloStatus quantize_open(Quantize *x, MloArena *a, const QuantizeOptions *opt, MloDiag *d)
{
	MloLoadOptions lo = {.keep_symbols = true, .quiet = true, .consts = opt->consts, .nconsts = opt->nconsts};

	*x = (Quantize){.a = a,
			.d = d,
			.opt = opt,
			.output_sqnr = NAN,
			.output_cosine = NAN,
			.accuracy = NAN,
			.speed = NAN,
			.float_accuracy = NAN};
	MLO_TRY(load(x, opt->load ? opt->load : &lo));
	if (!opt->load && opt->data.run.nshapes && !ranks_known(x->g)) { /* it could not be run otherwise */
		lo.shapes = opt->data.run.shapes;
		lo.nshapes = opt->data.run.nshapes;
		mlo_note(d, "how many dimensions values have depends on the sizes of inputs: the model that is written takes "
			    "those of --shape");
		MLO_TRY(load(x, &lo));
	}
	x->q = mlo_ptq_new(a, x->g, &opt->ptq);
	check_patterns(x, "--exclude", opt->ptq.exclude);
	check_patterns(x, "--include", opt->ptq.include);
	check_patterns(x, "--int16", opt->ptq.wide);
	return check_float(x);
}

void quantize_close(Quantize *x)
{
	if (x->d)
		x->d->where = NULL;
	mlo_graph_free(x->result);
	mlo_graph_free(x->g);
	mlo_graph_free(x->source);
	x->result = x->g = x->source = NULL;
}

MloStatus probe_run(const Quantize *x, Probe *const *p, size_t n, int64_t limit, const char *what, ProbeFn *see, void *user,
		    MloDiag *d)
{
	return probe_samples(&x->opt->data, p, n, limit, what, see, user, d);
}

/* -- calibration ----------------------------------------------------------------------------------- */

const char *quantize_value_name(const MloValue *v)
{
	return v->name ? v->name : v->def ? mlo_node_name(v->def) : "?";
}

typedef struct Watch {
	Quantize *x;
	size_t *tensor; /* by output, behind those of the model */
	size_t n, skip;
} Watch;

static MloStatus not_finite(const Watch *w, const MloPtqTensor *t, int64_t first, int64_t count, MloDiag *d)
{
	const MloValue *v = t->v;
	char which[64];

	if (count > 1)
		snprintf(which, sizeof which, "one of the samples %lld to %lld", (long long)first,
			 (long long)(first + count - 1));
	else
		snprintf(which, sizeof which, "sample %lld", (long long)first);
	if (!v->def)
		return mlo_error(d, MLO_ERR_MODEL, "'%s': %s holds NaN or infinite numbers for input '%s'",
				 w->x->opt->data.calib, which, quantize_value_name(v));
	return mlo_node_error(d, MLO_ERR_MODEL, v->def, "gives NaN or infinite numbers in '%s' for %s of '%s'",
			      quantize_value_name(v), which, w->x->opt->data.calib);
}

static MloStatus see(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Watch *w = user;

	for (size_t i = 0; i < w->n; i++) {
		MloPtqTensor *t = &w->x->q->tensor[w->tensor[i]];
		const MloTensor *v = out[w->skip + i];

		mlo_observe(&t->stats, v->data, mlo_tensor_elems(v));
		if (t->stats.bad)
			return not_finite(w, t, first, count, d);
	}
	w->x->samples = first + count;
	return MLO_OK;
}

/* Layers in branches that no sample took have no ranges: they stay float. */
static void turn_off_unseen(Quantize *x)
{
	MloPtq *q = x->q;
	size_t n = 0;

	for (size_t i = 0; i < q->nlayers; i++) {
		MloPtqLayer *l = &q->layer[i];
		const MloPtqTensor *t = mlo_ptq_tensor(q, mlo_layer_input(l));

		if (!l->on || l->g == q->g || !t || !t->wanted || t->stats.count)
			continue;
		l->off = "no sample takes its branch";
		n += mlo_ptq_contracts(l->kind);
	}
	if (!n)
		return;
	mlo_note(x->d, "%zu contractions stay float: they are in branches that no sample takes", n);
	mlo_ptq_plan(q);
}

static MloStatus observe(Quantize *x)
{
	Watch w = {.x = x, .tensor = MLO_NEWN(x->a, size_t, x->q->ntensors + 1)};
	Probe p, *list = &p;
	MloPtq *there;
	MloStatus st;

	MLO_TRY(probe_open(&p, x->g, x->d));
	w.skip = p.outputs;
	there = mlo_ptq_new(x->a, p.g, &x->opt->ptq);
	for (size_t i = 0; i < x->q->ntensors; i++) {
		MloPtqTensor *t = &x->q->tensor[i];

		if (!t->wanted)
			continue;
		t->stats = (MloStats){.bin = MLO_NEWN(x->a, float, OBSERVE_BINS)};
		t->known = false;
		w.tensor[w.n++] = i;
		probe_ask(&p, there->tensor[i].g, there->tensor[i].v, x->a);
	}
	st = probe_run(x, &list, 1, x->opt->data.samples, "calibrate", see, &w, x->d);
	probe_close(&p);
	if (st == MLO_OK)
		turn_off_unseen(x);
	return st;
}

MloStatus quantize_calibrate(Quantize *x)
{
	enum { MIGRATE_SAMPLES = 64 };

	if (x->opt->equalize)
		mlo_ptq_equalize(x->q);
	if (x->opt->load_profile) {
		MLO_TRY(profile_load(x->q, x->opt->load_profile, x->d));
	} else {
		if (x->opt->migrate != 0)
			MLO_TRY(quantize_migrate(x, MIGRATE_SAMPLES));
		MLO_TRY(observe(x));
		MLO_TRY(quantize_check_data(x));
	}
	mlo_ptq_ranges(x->q);
	if (x->opt->save_profile)
		MLO_TRY(profile_save(x->q, x->opt->save_profile, x->samples, x->d));
	return MLO_OK;
}

typedef struct Correction {
	const MloTensor *bias;
	const int8_t *rounded;
} Correction;

/* What layers have at the moment goes to `c`, and what was there to them. */
static void swap_corrections(MloPtq *q, Correction *c)
{
	for (size_t i = 0; i < q->nlayers; i++) {
		Correction now = {q->layer[i].bias, q->layer[i].rounded};

		q->layer[i].bias = c[i].bias;
		q->layer[i].rounded = c[i].rounded;
		c[i] = now;
	}
}

static MloStatus correct(Quantize *x, bool round)
{
	enum { ROUND_SAMPLES = 128 };

	if (round)
		MLO_TRY(quantize_round(x, ROUND_SAMPLES));
	return x->opt->correct_bias ? quantize_correct_bias(x, QUANTIZE_BIAS_SAMPLES) : MLO_OK;
}

/* Errors that layers make one by one may add up: rounding is kept if the outputs gain by it. */
MloStatus quantize_correct(Quantize *x)
{
	Correction *plain = MLO_NEWN(x->a, Correction, x->q->nlayers + 1);
	double sqnr;

	MLO_TRY(correct(x, false));
	if (!x->opt->round)
		return MLO_OK;
	MLO_TRY(quantize_measure(x, QUANTIZE_MEASURED));
	sqnr = x->output_sqnr;
	swap_corrections(x->q, plain);
	MLO_TRY(correct(x, true));
	MLO_TRY(quantize_measure(x, QUANTIZE_MEASURED));
	if (x->output_sqnr < sqnr) {
		mlo_note(x->d, "weights are rounded to the nearest: by what layers read, outputs have %.1f instead of %.1f dB",
			 x->output_sqnr, sqnr);
		swap_corrections(x->q, plain);
	}
	return MLO_OK;
}

/* -- the result ------------------------------------------------------------------------------------ */

MloStatus quantize_build(Quantize *x)
{
	mlo_graph_free(x->result);
	x->result = mlo_graph_clone(x->g);
	if (!x->result)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	return mlo_ptq_apply(x->q, x->result, NULL, x->d);
}

MloStatus quantize_weights(Quantize *x, int bits, int block, size_t *count)
{
	x->result = mlo_graph_clone(x->g);
	if (!x->result)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	*count = mlo_ptq_blocks(x->q, x->result, bits, block, x->d);
	if (!*count)
		return mlo_error(x->d, MLO_ERR_MODEL, "no matrix product has constant weights of float32");
	return MLO_OK;
}

MloStatus quantize_write(Quantize *x, const char *path)
{
	const void *bytes;
	size_t n;

	MLO_TRY(mlo_onnx_export(x->a, x->result, mlopt_version(), &bytes, &n, x->d));
	return mlo_write_file(path, bytes, n, x->d);
}

/* -- how good it is -------------------------------------------------------------------------------- */

typedef struct Compare {
	Quantize *x;
	Noise *noise; /* by output of the model, then by layer asked for */
	size_t n;     /* outputs of one graph */
} Compare;

static MloStatus compare(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Compare *c = user;

	for (size_t i = 0; i < c->n; i++)
		noise_add(&c->noise[i], out[i], out[c->n + i]);
	return MLO_OK;
}

MloStatus quantize_measure(Quantize *x, int64_t samples)
{
	Compare c = {.x = x};
	Probe a, b, *list[] = {&a, &b};
	MloPtq *there, *quantised;
	Noise all = {0};
	MloStatus st;
	size_t at;

	MLO_TRY(probe_open(&a, x->g, x->d));
	MLO_TRY(probe_open(&b, x->g, x->d));
	there = mlo_ptq_new(x->a, a.g, &x->opt->ptq);
	st = mlo_ptq_apply(x->q, b.g, &quantised, x->d);
	for (size_t i = 0; i < x->q->nlayers; i++)
		if (x->q->layer[i].on) {
			probe_ask(&a, there->layer[i].g, there->layer[i].result, x->a);
			probe_ask(&b, quantised->layer[i].g, quantised->layer[i].result, x->a);
		}
	c.n = a.g->noutputs;
	c.noise = MLO_NEWN(x->a, Noise, c.n + 1);
	if (st == MLO_OK)
		st = probe_run(x, list, 2, samples < x->opt->data.samples ? samples : x->opt->data.samples, "compare", compare,
			       &c, x->d);
	at = a.outputs;
	for (size_t i = 0; i < x->q->nlayers; i++)
		x->q->layer[i].sqnr = x->q->layer[i].on ? noise_db(&c.noise[at++]) : NAN;
	for (size_t i = 0; i < a.outputs; i++)
		noise_join(&all, &c.noise[i]);
	x->output_cosine = noise_cosine(&all);
	x->output_sqnr = noise_db(&all);
	probe_close(&a);
	probe_close(&b);
	return st;
}

MloStatus quantize_default(Quantize *x)
{
	MLO_TRY(quantize_calibrate(x));
	MLO_TRY(quantize_correct(x));
	MLO_TRY(quantize_for_target(x));
	if (x->opt->rank)
		MLO_TRY(quantize_rank(x));
	MLO_TRY(quantize_build(x));
	return x->opt->data.calib ? quantize_measure(x, QUANTIZE_MEASURED) : MLO_OK;
}
