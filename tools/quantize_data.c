/* tools/quantize_data.c -- calibration data that is not what the model was trained on gives useless ranges. */
#include <math.h>

#include "tools/quantize.h"

/* Inputs beyond this are far from what networks are fed with; a spread this far from that of training is not chance. */
#define LARGE_INPUT 10
#define ODD_SPREAD  5
enum { CHECKED = 16 };

/* -- against the statistics of the first batch normalisation ----------------------------------------- */

/* Its operand is made by a convolution or product, and its statistics are constants. */
static MloNode *first_norm(const MloGraph *g)
{
	for (MloNode *n = g->first; n; n = n->next) {
		const MloNode *from = n->op == OP_batch_norm ? n->in[0]->def : NULL;

		if (from && mlo_op_info(from->op)->kind == OK_CONTRACT && n->in[0]->type.elem == EL_f32 &&
		    n->in[3]->data && n->in[4]->data && n->in[0]->type.rank > 1)
			return n;
	}
	return NULL;
}

typedef struct Spread {
	const MloTensor *mean, *var;
	double sum; /* of squared distances from the mean of training, in variances */
	int64_t n;
} Spread;

static MloStatus add_spread(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Spread *s = user;
	const MloTensor *t = out[0];
	int64_t channels = t->dim[1], inner = 1;
	const float *p = t->data;

	for (int i = 2; i < t->rank; i++)
		inner *= t->dim[i];
	for (int64_t i = 0, n = mlo_tensor_elems(t); i < n; i++) {
		int64_t c = i / inner % channels;
		double v = p[i] - mlo_tensor_f64(s->mean, c);

		s->sum += v * v / (mlo_tensor_f64(s->var, c) + 1e-5);
		s->n++;
	}
	return MLO_OK;
}

/* How many times as widely as in training values spread there; NAN: it cannot be said. */
static MloStatus spread(Quantize *x, const MloNode *norm, double *out)
{
	Spread s = {.mean = norm->in[3]->data, .var = norm->in[4]->data};
	Probe p, *list = &p;
	MloStatus st;

	MLO_TRY(probe_open(&p, x->source, x->d));
	p.g->noutputs = 0; /* only what leads there is needed */
	p.outputs = 0;
	probe_ask(&p, p.g, first_norm(p.g)->in[0], x->a);
	st = probe_run(x, &list, 1, CHECKED, "check", add_spread, &s, x->d);
	probe_close(&p);
	*out = s.n ? sqrt(s.sum / (double)s.n) : NAN;
	return st;
}

/* -- by themselves ----------------------------------------------------------------------------------- */

static void far_off(const Quantize *x)
{
	for (uint32_t i = 0; i < x->g->ninputs; i++) {
		const MloPtqTensor *t = mlo_ptq_tensor(x->q, x->g->inputs[i]);
		double most = t && t->wanted ? fmax(-t->stats.lo, t->stats.hi) : 0;

		if (most <= LARGE_INPUT)
			continue;
		mlo_warn(x->d, "input '%s' is %g to %g in '%s': models mostly take numbers around 0",
			 quantize_value_name(t->v), t->stats.lo, t->stats.hi, x->opt->data.calib);
		mlo_hint(x->d, "if this one was trained so, all is well; else --preprocess scale=1/255,... makes them "
			       "what it expects");
	}
}

static void constant_inputs(const Quantize *x)
{
	for (uint32_t i = 0; i < x->g->ninputs; i++) {
		const MloPtqTensor *t = mlo_ptq_tensor(x->q, x->g->inputs[i]);

		if (t && t->wanted && t->stats.lo == t->stats.hi)
			mlo_warn(x->d, "input '%s' is %g throughout '%s': its range says nothing",
				 quantize_value_name(t->v), t->stats.lo, x->opt->data.calib);
	}
}

MloStatus quantize_check_data(Quantize *x)
{
	const MloNode *norm = first_norm(x->source);
	double times = NAN;

	constant_inputs(x);
	if (norm)
		MLO_TRY(spread(x, norm, &times));
	if (isnan(times)) {
		far_off(x);
	} else if (times > ODD_SPREAD || times < 1.0 / ODD_SPREAD) {
		mlo_warn(x->d,
			 "'%s' is not what the model was trained on: in front of '%s' values spread %.*f times as "
			 "widely as then",
			 x->opt->data.calib, mlo_node_name(norm), times < 10, times);
		mlo_hint(x->d, "samples need the preprocessing of training: --preprocess scale=1/255,mean=...,std=...");
	}
	return MLO_OK;
}
