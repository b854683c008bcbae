/* tools/distill_descend.c -- all layers at once, against the slope of the outputs' error.
 *
 * Layer by layer, each can only come nearer to what it should give for what it reads; what the outputs lose by it is another
 * question.  Here both models are one graph, the derivative of the outputs' square error by what each layer gives is computed in
 * it, and the change of a layer's weights that follows that derivative best, by least squares over what it reads, is a step
 * downhill for the outputs (natural in its inputs, as in K-FAC, Martens and Grosse 2015).  Steps are as long for each layer, of what
 * it gives, and are taken back where the outputs do not gain. */
#include <math.h>
#include <string.h>

#include "passes/match.h"
#include "prune/backward.h"
#include "tools/cli.h"
#include "tools/prune.h"

enum { JUDGED = 512 }; /* samples that tell whether outputs gain */
/* Lengths of steps, of what layers give: the first one, and what they are multiplied by. */
#define FIRST 0.01
#define SHORTEST 1e-5
#define SHORTER 0.4
#define LONGER 1.3

typedef struct Step {
	double *w, *bias; /* [groups][rows][k], [groups][rows]; NULL: none */
} Step;

typedef struct Descent {
	Prune *x;
	Step *step; /* by layer */
} Descent;

/* -- both models in one graph ---------------------------------------------------------------------------------- */

static bool closed(const MloGraph *g)
{
	for (const MloNode *n = g->first; n; n = n->next) {
		int at = 0;

		if (mlo_node_body(n, &at))
			return false;
	}
	return true;
}

/* The nodes of `from` behind those of g, on g's inputs; by id of its values, what they are in g. */
static MloValue **join(MloArena *a, MloGraph *g, const MloGraph *from)
{
	MloValue **of = MLO_NEWN(a, MloValue *, from->next_id + 1);

	for (uint32_t i = 0; i < from->ninputs; i++)
		of[from->inputs[i]->id] = g->inputs[i];
	for (const MloNode *n = from->first; n; n = n->next) {
		MloValue **in = MLO_NEWN(a, MloValue *, n->nin + 1);
		MloNode *copy;

		for (uint32_t i = 0; i < n->nin; i++)
			in[i] = !n->in[i] ? NULL : n->in[i]->data ? mlo_graph_const(g, n->in[i]->data, NULL) : of[n->in[i]->id];
		copy = mlo_graph_node(g, NULL, n->op, in, n->nin, n->nout);
		mlo_rw_copy_attrs(copy, n);
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i])
				of[n->out[i]->id] = copy->out[i];
	}
	return of;
}

MloStatus distill_slopes(Prune *x, MloGraph *g, const MloPtq *q, MloValue **slope)
{
	MloPassCx cx = {.arena = x->a, .diag = x->d};
	MloValue **of = join(x->a, g, x->dense);
	MloBackward b;

	MLO_TRY(mlo_infer_graph(g, x->d));
	b = mlo_backward_new(x->a, g, x->d);
	for (uint32_t i = 0; i < g->noutputs; i++)
		mlo_backward_add(&b, g->outputs[i], mlo_rw_op(g, NULL, OP_sub, NULL, &cx, g->outputs[i], of[x->dense->outputs[i]->id]));
	MLO_TRY(mlo_backward_run(&b));
	for (size_t i = 0; i < x->list.n; i++)
		slope[i] = b.by[q->layer[x->list.layer[i].index].sum->id];
	return MLO_OK;
}

/* -- steps ------------------------------------------------------------------------------------------------------- */

/* Mean squares of what a layer gives, and of what a step would change of it. */
typedef struct Sizes {
	double all, change;
} Sizes;

static void step_of_group(const Prune *x, const MloPruneLayer *l, int64_t g, const MloPruneStats *sums, Step *s, Sizes *sizes)
{
	int64_t k = mlo_prune_inputs(l), size = l->rows * k;
	MloArena *a = mlo_arena_new();
	double *w, *zero, *dw = s->w + g * size;
	uint8_t *keep;
	MloProblem p;

	MLO_ASSERT(a);
	w = MLO_NEWN(a, double, (size_t)size);
	zero = MLO_NEWN(a, double, (size_t)size);
	keep = MLO_NEWN(a, uint8_t, (size_t)size);
	mlo_weights_get(l, l->n, g, w);
	for (int64_t i = 0; i < size; i++)
		keep[i] = w[i] != 0;
	if (mlo_problem_new(a, sums, zero, s->bias != NULL, x->opt->damping, &p) == PROBLEM_GIVEN) {
		mlo_prune_refit(&p, keep, dw);
		sizes->all += mlo_problem_size(&p, w);
		sizes->change += mlo_problem_size(&p, dw);
		for (int64_t i = 0; i < size && s->bias; i++)
			s->bias[g * l->rows + i / k] += (i % k ? 0 : p.mean_y[i / k]) - dw[i] * p.mean_x[i % k];
	}
	mlo_arena_free(a);
}

static MloStatus find_step(void *user, size_t layer, PruneSums *sums)
{
	Descent *t = user;
	const MloPruneLayer *l = &t->x->list.layer[layer];
	const int64_t weights = mlo_prune_weights(l), rows = l->rows * l->groups;
	Step s = {.w = MLO_NEWN(t->x->a, double, (size_t)weights)};
	Sizes sizes = {0};
	double by;

	if (mlo_layer_bias(&t->x->q->layer[l->index]))
		s.bias = MLO_NEWN(t->x->a, double, (size_t)rows);
	for (int64_t g = 0; g < l->groups; g++)
		step_of_group(t->x, l, g, &sums->of[g], &s, &sizes);
	if (!(sizes.change > 0) || !isfinite(sizes.change))
		return MLO_OK;
	by = sqrt(sizes.all / sizes.change);
	for (int64_t i = 0; i < weights; i++)
		s.w[i] *= by;
	for (int64_t i = 0; i < rows && s.bias; i++)
		s.bias[i] *= by;
	t->step[layer] = s;
	return MLO_OK;
}

static MloStatus find_steps(Descent *t)
{
	MloStatus st;

	t->step = MLO_NEWN(t->x->a, Step, t->x->list.n + 1);
	t->x->descends = true;
	st = prune_each(t->x, true, "descend", find_step, t);
	t->x->descends = false;
	return st;
}

static void take_steps(Descent *t, double length)
{
	Prune *x = t->x;

	for (size_t i = 0; i < x->list.n; i++)
		if (t->step[i].w)
			prune_move(x, i, t->step[i].w, t->step[i].bias, -length);
}

/* The largest length up to *length, in parts, with which the outputs gain; 0: none that is worth it. */
static MloStatus go(Descent *t, double *length)
{
	Prune *x = t->x;
	const double best = x->output_sqnr;

	for (; *length > SHORTEST; *length *= SHORTER) {
		take_steps(t, *length);
		MLO_TRY(prune_measure(x, JUDGED));
		if (x->output_sqnr > best) {
			for (size_t i = 0; i < x->list.n; i++)
				x->stays[i] = x->stays[i] && !t->step[i].w;
			return MLO_OK;
		}
		take_steps(t, -*length);
	}
	*length = 0;
	x->output_sqnr = best;
	return MLO_OK;
}

MloStatus distill_descend(Prune *x)
{
	Descent t = {.x = x};
	double length = FIRST;

	if (!closed(x->dense) || !closed(x->g))
		return mlo_error(x->d, MLO_ERR_UNSUPPORTED, "--steps takes derivatives: of models with branches or loops it cannot");
	MLO_TRY(prune_measure(x, JUDGED));
	for (int i = 0; i < x->opt->steps && length > 0; i++) {
		MLO_TRY(find_steps(&t));
		MLO_TRY(go(&t, &length));
		cli_progress("descend", i + 1, x->opt->steps);
		length *= LONGER;
	}
	cli_progress("descend", 1, 1);
	return MLO_OK;
}
