/* tools/prune_channels.c -- output channels that cost the results least for what they take leave the model.
 *
 * In rounds: samples tell what each channel is worth to the layers that read it (summed over them, each as a share of
 * what its results become part of); those of least worth for the time or the weights that they take are left out; layers are
 * fitted to what is left.  Only in the end are they removed. */
#include <math.h>
#include <string.h>

#include "passes/pass.h"
#include "prune/groups.h"
#include "tools/cli.h"
#include "tools/prune.h"

enum { ROUNDS = 3, LEAST_SHARE = 8, STEP = 4 }; /* a group keeps at least 1/LEAST_SHARE; channels go STEP at a time */

typedef struct Channels {
	Prune *x;
	MloGroups *s;
	double **worth; /* by group, by channel */
	bool *full;     /* groups that stay whole */
	double *cost;   /* by layer, with all channels */
	int64_t lanes;  /* output channels that take as long as one */
	double total;   /* costs of all at first */
} Channels;

/* -- which groups there are ---------------------------------------------------------------------------------- */

static const char *off_by_name(const Prune *x, const MloNode *n)
{
	for (size_t i = 0; i < x->q->nlayers; i++)
		if (x->q->layer[i].n == n)
			return x->q->layer[i].off;
	return NULL;
}

/* Channels that several layers give go together: none of them alone can be asked for. */
static MloStatus check_group(Channels *c, size_t i)
{
	const MloChannelGroup *g = &c->s->group[i];
	const MloNode *off = NULL, *on = NULL;

	for (size_t k = 0; k < g->makers; k++)
		*(off_by_name(c->x, g->maker[k]) ? &off : &on) = g->maker[k];
	c->full[i] = g->whole || off || !g->makers || !g->readers;
	for (size_t k = 0; k < g->readers; k++)
		c->full[i] |= off_by_name(c->x, g->reader[k]) != NULL;
	if (!off || !on || g->whole)
		return MLO_OK;
	mlo_node_error(c->x->d, MLO_ERR_MODEL, off, "is %s, but its channels go together with those of '%s'",
		       off_by_name(c->x, off), mlo_node_name(on));
	mlo_hint(c->x->d, "name both, or neither of them");
	return MLO_ERR_MODEL;
}

static MloStatus find_groups(Channels *c)
{
	MloArena *a = c->x->a;
	bool some = false;

	c->s = mlo_groups_new(a, c->x->g);
	c->full = MLO_NEWN(a, bool, c->s->n + 1);
	c->worth = MLO_NEWN(a, double *, c->s->n + 1);
	for (size_t i = 0; i < c->s->n; i++) {
		MLO_TRY(check_group(c, i));
		c->worth[i] = MLO_NEWN(a, double, (size_t)c->s->group[i].n + 1);
		some |= !c->full[i];
	}
	return some ? MLO_OK
		    : mlo_error(c->x->d, MLO_ERR_MODEL, "no channels can be removed: all are inputs, outputs, excluded, or read by "
							"operators that need them");
}

/* -- what channels are worth ------------------------------------------------------------------------------- */

static MloStatus add_worth(void *user, size_t layer, PruneSums *sums)
{
	Channels *c = user;
	Prune *x = c->x;
	const MloPruneLayer *l = &x->list.layer[layer];
	const MloChannels *in = &c->s->of[l->n->in[0]->id];
	const bool bias = mlo_layer_bias(&x->q->layer[l->index]) != NULL;
	MloArena *a;
	double *w, *error;
	int64_t n, at = 0;
	uint8_t *keep;
	MloProblem p;

	if (!in->nruns || l->groups != 1 || !(sums->signal > 0))
		return MLO_OK;
	a = mlo_arena_new();
	if (!a)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	w = MLO_NEWN(a, double, (size_t)mlo_prune_weights(l));
	n = l->channels / in->repeat;
	keep = MLO_NEWN(a, uint8_t, (size_t)n);
	error = MLO_NEWN(a, double, (size_t)n);
	for (size_t i = 0; i < in->nruns; at += in->run[i++].n)
		memcpy(keep + at, c->s->group[in->run[i].group].keep, (size_t)in->run[i].n);
	mlo_weights_get(l, l->n, 0, w);
	if (mlo_problem_new(a, sums->of, w, bias, x->opt->damping, &p) == PROBLEM_GIVEN)
		mlo_channels_errors(&p, l, keep, in->repeat, error);
	at = 0;
	for (size_t i = 0; i < in->nruns; at += in->run[i++].n)
		for (int64_t k = 0; k < in->run[i].n; k++)
			c->worth[in->run[i].group][k] += error[at + k] / sums->signal;
	mlo_arena_free(a);
	return MLO_OK;
}

/* -- what they take ------------------------------------------------------------------------------------------ */

/* Share of the channels of v that would be left if group `less` had `left` of them. */
static double left_of(const Channels *c, const MloValue *v, size_t less, int64_t left, int64_t lanes)
{
	const MloChannels *at = &c->s->of[v->id];
	int64_t all = 0, now = 0;

	for (size_t i = 0; i < at->nruns; i++) {
		const MloChannelGroup *g = &c->s->group[at->run[i].group];

		all += g->n;
		now += at->run[i].group == less ? left : mlo_group_left(g);
	}
	return all ? (double)((now + lanes - 1) / lanes * lanes) / (double)((all + lanes - 1) / lanes * lanes) : 1;
}

static double cost_with(const Channels *c, size_t less, int64_t left)
{
	const MloPruneList *list = &c->x->list;
	double sum = 0;

	for (size_t i = 0; i < list->n; i++) {
		const MloNode *n = list->layer[i].n;
		double in = list->layer[i].groups > 1 ? 1 : left_of(c, n->in[0], less, left, 1);

		sum += c->cost[i] * in * left_of(c, n->out[0], less, left, c->lanes);
	}
	return sum;
}

static void find_costs(Channels *c)
{
	Prune *x = c->x;

	c->cost = MLO_NEWN(x->a, double, x->list.n + 1);
	c->lanes = x->opt->speedup > 0 ? x->variant->vector_bytes / (int)sizeof(float) : 1;
	for (size_t i = 0; i < x->list.n; i++) {
		c->cost[i] = x->opt->speedup > 0 ? x->ns[i * PRUNE_LEVELS] : (double)mlo_prune_weights(&x->list.layer[i]);
		c->total += c->cost[i];
	}
}

/* -- which ones go ------------------------------------------------------------------------------------------- */

typedef struct Cut {
	size_t group;
	int64_t left;
	double price; /* worth for a unit of cost */
} Cut;

/* Leaves out the least of a group until `left` are left, in keep[n]; what they are worth. */
static double least_worth(const Channels *c, size_t group, int64_t left, uint8_t *keep)
{
	const MloChannelGroup *g = &c->s->group[group];
	double sum = 0;

	memcpy(keep, g->keep, (size_t)g->n);
	for (int64_t have = mlo_group_left(g); have > left; have--) {
		int64_t least = -1;

		for (int64_t i = 0; i < g->n; i++)
			if (keep[i] && (least < 0 || c->worth[group][i] < c->worth[group][least]))
				least = i;
		sum += c->worth[group][least];
		keep[least] = 0;
	}
	return sum;
}

static void try_cut(const Channels *c, size_t group, int64_t step, double now, uint8_t *keep, Cut *best)
{
	const MloChannelGroup *g = &c->s->group[group];
	int64_t have = mlo_group_left(g), left = (have - 1) / step * step;
	double saved, price;

	if (left < 1 || left * LEAST_SHARE < g->n)
		return;
	saved = now - cost_with(c, group, left);
	if (!(saved > 0))
		return;
	price = least_worth(c, group, left, keep) / saved;
	if (best->left < 0 || price < best->price)
		*best = (Cut){group, left, price};
}

/* Down to a cost of `most`; false: less cannot be had. */
static bool cut_down(Channels *c, double most)
{
	int64_t widest = 1;
	uint8_t *keep;

	for (size_t i = 0; i < c->s->n; i++)
		widest = c->s->group[i].n > widest ? c->s->group[i].n : widest;
	keep = MLO_NEWN(c->x->a, uint8_t, (size_t)widest);
	for (double now = cost_with(c, SIZE_MAX, 0); now > most; now = cost_with(c, SIZE_MAX, 0)) {
		Cut best = {.left = -1};

		for (size_t i = 0; i < c->s->n; i++) {
			if (c->full[i])
				continue;
			try_cut(c, i, c->s->group[i].n >= 4 * STEP ? STEP : 1, now, keep, &best);
			if (c->lanes > STEP)
				try_cut(c, i, c->lanes, now, keep, &best);
		}
		if (best.left < 0)
			return false;
		least_worth(c, best.group, best.left, keep);
		memcpy(c->s->group[best.group].keep, keep, (size_t)c->s->group[best.group].n);
	}
	return true;
}

/* Weights that meet channels that are left out become 0: fitting keeps them so. */
static void leave_out(Channels *c)
{
	Prune *x = c->x;

	for (size_t i = 0; i < x->list.n; i++) {
		const MloPruneLayer *l = &x->list.layer[i];
		int64_t n, k = mlo_prune_inputs(l);
		const uint8_t *keep = mlo_groups_keep(c->s, l->n->in[0], &n);
		double *w;

		if (l->groups != 1 || !n)
			continue;
		w = MLO_NEWN(x->a, double, (size_t)(l->rows * k));
		mlo_weights_get(l, l->n, 0, w);
		for (int64_t e = 0; e < l->rows * k; e++)
			w[e] *= keep[e % k % l->channels];
		mlo_weights_set(x->g, l, l->n, w);
	}
}

/* -- all of it ----------------------------------------------------------------------------------------------- */

static double wanted(const Channels *c)
{
	const Prune *x = c->x;

	if (x->opt->speedup > 0)
		return x->dense_ns / x->opt->speedup - (x->dense_ns - c->total);
	return c->total * (1 - x->opt->sparsity);
}

static MloStatus cannot(const Channels *c)
{
	double least = cost_with(c, SIZE_MAX, 0);

	if (c->x->opt->speedup > 0)
		return mlo_error(c->x->d, MLO_ERR_MODEL,
				 "a speed-up of %g cannot be met: with all channels that can go, %.2f is predicted on %s",
				 c->x->opt->speedup, c->x->dense_ns / (c->x->dense_ns - c->total + least), c->x->variant->name);
	return mlo_error(c->x->d, MLO_ERR_MODEL, "--sparsity %g cannot be met: channels that can go are %.2f of the weights",
			 c->x->opt->sparsity, 1 - least / c->total);
}

/* x->ns_after: of a model without what is left out by now. */
static MloStatus time_now(Channels *c)
{
	Prune *x = c->x;
	MloGraph *g = mlo_graph_clone(x->g);
	MloGroups *there;
	MloStatus st;

	if (!g)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	there = mlo_groups_new(x->a, g); /* the same groups in the same order */
	for (size_t i = 0; i < there->n; i++)
		memcpy(there->group[i].keep, c->s->group[i].keep, (size_t)there->group[i].n);
	st = mlo_groups_remove(there, x->d);
	if (st == MLO_OK)
		st = prune_time_after(x, g);
	mlo_graph_free(g);
	return st;
}

/* What layers take follows from their channels only roughly: more go until the model as a whole is fast enough. */
static MloStatus cut_more(Channels *c)
{
	Prune *x = c->x;

	for (;;) {
		double over;

		MLO_TRY(time_now(c));
		over = x->ns_after - x->dense_ns / x->opt->speedup;
		if (over <= 0)
			return MLO_OK;
		if (!cut_down(c, cost_with(c, SIZE_MAX, 0) - over))
			return cannot(c);
	}
}

static MloStatus round_of(Channels *c, double most, bool last, bool fit)
{
	Prune *x = c->x;

	for (size_t i = 0; i < c->s->n; i++)
		memset(c->worth[i], 0, sizeof **c->worth * (size_t)c->s->group[i].n);
	MLO_TRY(prune_each(x, true, "worth of channels", add_worth, c));
	if (!cut_down(c, most))
		return cannot(c);
	if (c->x->opt->speedup > 0 && last)
		MLO_TRY(cut_more(c));
	if (!fit)
		return MLO_OK;
	leave_out(c);
	return prune_fit(x);
}

/* What is gone of each layer, and the time that the rest takes, as a curve of two levels. */
static void find_shares(Channels *c)
{
	Prune *x = c->x;
	const int64_t lanes = x->variant ? x->variant->vector_bytes / (int)sizeof(float) : 1;

	x->share = MLO_NEWN(x->a, double, x->list.n + 1);
	for (size_t i = 0; i < x->list.n; i++) {
		MloPruneLayer *l = &x->list.layer[i];
		double in = l->groups > 1 ? 1 : left_of(c, l->n->in[0], SIZE_MAX, 0, 1);

		x->share[i] = l->zeros = l->sparsity = 1 - in * left_of(c, l->n->out[0], SIZE_MAX, 0, 1);
		if (x->share[i] > 0)
			x->curve[i] = (MloPruneCurve){.n = 2, .level = {0, x->share[i]}};
		if (x->ns)
			x->ns[i * PRUNE_LEVELS + 1] = x->ns[i * PRUNE_LEVELS] * in * left_of(c, l->n->out[0], SIZE_MAX, 0, lanes);
	}
}

MloStatus prune_channels(Prune *x, bool plan)
{
	Channels c = {.x = x};
	const int rounds = plan ? 1 : ROUNDS;

	x->curve = MLO_NEWN(x->a, MloPruneCurve, x->list.n + 1);
	MLO_TRY(find_groups(&c));
	if (plan || x->opt->speedup > 0)
		MLO_TRY(prune_times(x));
	find_costs(&c);
	for (int i = 1; i <= rounds; i++)
		MLO_TRY(round_of(&c, c.total - (c.total - wanted(&c)) * i / rounds, i == rounds, !plan));
	find_shares(&c);
	if (plan)
		return MLO_OK;
	for (int i = 0; i < x->opt->fits; i++)
		MLO_TRY(prune_fit(x));
	find_shares(&c);
	MLO_TRY(mlo_groups_remove(c.s, x->d));
	return prune_measure(x, PRUNE_MEASURED);
}
