/* tools/distill_ranges.c -- ranges of a student's quantised activations, chosen by what layers make of them.
 *
 * One run of the student shows what values there are, and gives candidates; one run of both models gives rows that layers would
 * read without quantization, and what they should give for them.  Each candidate is tried on those. */
#include <math.h>
#include <string.h>

#include "quant/lift.h"
#include "tools/prune.h"

enum { CANDIDATES = 12 };
#define WORTH 0.99 /* a range is changed if no more of the error is left */

typedef struct Group {
	MloStats stats;
	double sum, square;    /* of all values */
	MloRange candidate[CANDIDATES]; /* the first is the present one */
	int n;
	double error[CANDIDATES]; /* summed over the layers that read it, as shares of what they should give */
	bool value;            /* something else reads it, too: what its values lose counts */
} Group;

typedef struct Ranges {
	Prune *x;
	MloLiftPair *pair;
	size_t n;
	Group *group; /* by index of the pair; of use for those that pairs name */
} Ranges;

static MloElem elem_of(const MloLiftPair *p)
{
	return p->quantize->out[0]->type.elem;
}

static int levels_of(const MloLiftPair *p)
{
	return 1 << mlo_elem_bits(elem_of(p));
}

/* -- candidates ---------------------------------------------------------------------------------------------- */

static MloStatus see(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Ranges *r = user;

	for (size_t i = 0; i < r->n; i++) {
		Group *g = &r->group[r->pair[i].group];
		const float *v = out[i]->data;
		int64_t n = mlo_tensor_elems(out[i]);

		mlo_observe(&g->stats, v, n);
		for (int64_t e = 0; e < n; e++) {
			g->sum += v[e];
			g->square += (double)v[e] * v[e];
		}
	}
	return MLO_OK;
}

static MloStatus observe(Ranges *r)
{
	Prune *x = r->x;
	Probe p, *list = &p;
	MloLiftPair *there;
	MloStatus st;
	size_t n;

	MLO_TRY(probe_open(&p, x->g, x->d));
	p.g->noutputs = 0; /* only what leads there is needed */
	p.outputs = 0;
	n = mlo_lift_pairs(x->a, mlo_ptq_new(x->a, p.g, &x->opt->ptq), &there);
	MLO_ASSERT(n == r->n);
	for (size_t i = 0; i < n; i++)
		probe_ask(&p, p.g, there[i].quantize->in[0], x->a);
	st = probe_samples(&x->opt->data, &list, 1, x->opt->data.samples, "ranges", see, r, x->d);
	probe_close(&p);
	return st;
}

static void add(const MloLiftPair *p, Group *g, MloRange r)
{
	if (p->positive)
		r.lo = 0;
	if (g->n < CANDIDATES && r.hi - r.lo > 0)
		g->candidate[g->n++] = r;
}

static void find_candidates(const MloLiftPair *p, Group *g)
{
	static const double percentiles[] = {99.9, 99.99, 99.999}, parts[] = {0.6, 0.7, 0.8, 0.9, 0.95};
	MloRange all = mlo_range(&g->stats, RANGE_MINMAX, 0, 0);

	add(p, g, p->range);
	if (g->stats.bad || !(all.hi > all.lo))
		return;
	add(p, g, all);
	if (mlo_elem_bits(elem_of(p)) > 8) /* so many levels that nothing need be cut off */
		return;
	add(p, g, mlo_range(&g->stats, RANGE_MSE, 0, levels_of(p)));
	for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++)
		add(p, g, mlo_range(&g->stats, RANGE_PERCENTILE, percentiles[i], 0));
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		add(p, g, (MloRange){all.lo * parts[i], all.hi * parts[i]});
}

/* -- trials ---------------------------------------------------------------------------------------------------- */

static size_t pair_of(const Ranges *r, const MloNode *layer)
{
	size_t i = 0;

	while (i < r->n && !(layer->in[0]->def && layer->in[0]->def->op == OP_dequantize_linear &&
			     layer->in[0]->def->in[0]->def == r->pair[i].quantize))
		i++;
	return i;
}

static void quantise(const MloLiftPair *p, MloRange range, float *v, int64_t n)
{
	const bool is_signed = mlo_elem_class(elem_of(p)) == EC_INT;
	const double lo = is_signed ? -levels_of(p) / 2 : 0, hi = lo + levels_of(p) - 1;
	double scale;
	int32_t zero;

	mlo_range_numbers(range, elem_of(p), p->symmetric, &scale, &zero);
	for (int64_t i = 0; i < n; i++) {
		double q = rint(v[i] / scale) + zero;

		v[i] = (float)(((q < lo ? lo : q > hi ? hi : q) - zero) * scale);
	}
}

/* Of all groups of the layer, for one range of what it reads. */
static double share_of_error(const Prune *x, const MloPruneLayer *l, const PruneSums *sums, const MloLiftPair *p, MloRange range)
{
	const bool bias = mlo_layer_bias(&x->q->layer[l->index]) != NULL;
	MloArena *a = mlo_arena_new();
	int64_t k = mlo_prune_inputs(l);
	double *w, error = 0, signal = 0;

	MLO_ASSERT(a);
	w = MLO_NEWN(a, double, (size_t)(l->rows * k));
	for (int64_t g = 0; g < l->groups; g++) {
		MloPruneRows r = sums->rows[g];
		double part;

		r.x = mlo_dup(a, r.x, sizeof *r.x * (size_t)(r.n * k));
		quantise(p, range, r.x, r.n * k);
		mlo_weights_get(l, l->n, g, w);
		error += mlo_rows_error(&r, l->rows, k, w, NULL, bias, &part);
		signal += part;
	}
	mlo_arena_free(a);
	return signal > 0 ? error / signal : 0;
}

static MloStatus try_layer(void *user, size_t layer, PruneSums *sums)
{
	Ranges *r = user;
	const MloPruneLayer *l = &r->x->list.layer[layer];
	size_t i = pair_of(r, l->n);
	Group *g = i < r->n ? &r->group[r->pair[i].group] : NULL;

	for (int c = 0; g && c < g->n; c++)
		g->error[c] += share_of_error(r->x, l, sums, &r->pair[i], g->candidate[c]);
	return MLO_OK;
}

/* Do others than the layers that are tried read what the pair gives? */
static bool read_otherwise(const Ranges *r, const MloLiftPair *p)
{
	const Prune *x = r->x;

	for (const MloUse *u = p->quantize->out[0]->uses; u; u = u->next)
		for (const MloUse *v = u->node->out[0]->uses; v; v = v->next) {
			size_t i = 0;

			while (i < x->list.n && (x->list.layer[i].off || x->list.layer[i].n != v->node))
				i++;
			if (i == x->list.n)
				return true;
		}
	return false;
}

static void add_values(const MloLiftPair *p, Group *g)
{
	double n = (double)g->stats.count, mean = g->sum / n, variance = g->square / n - mean * mean;

	for (int c = 0; c < g->n && variance > 0; c++)
		g->error[c] += mlo_range_error(&g->stats, g->candidate[c], levels_of(p)) / variance;
}

static bool choose(const Group *g, MloRange *out)
{
	int best = 0;

	for (int c = 1; c < g->n; c++)
		best = g->error[c] < g->error[best] ? c : best;
	*out = g->candidate[best];
	return best && g->error[best] < WORTH * g->error[0];
}

MloStatus distill_ranges(Prune *x, size_t *changed)
{
	Ranges r = {.x = x};
	MloRange range;
	MloStatus st;

	r.n = mlo_lift_pairs(x->a, x->q, &r.pair);
	*changed = 0;
	if (!r.n)
		return MLO_OK;
	r.group = MLO_NEWN(x->a, Group, r.n);
	for (size_t i = 0; i < r.n; i++) {
		Group *g = &r.group[r.pair[i].group];

		if (!g->stats.bin)
			g->stats.bin = MLO_NEWN(x->a, float, OBSERVE_BINS);
		g->value |= read_otherwise(&r, &r.pair[i]);
	}
	MLO_TRY(observe(&r));
	for (size_t i = 0; i < r.n; i++)
		if (r.pair[i].group == i)
			find_candidates(&r.pair[i], &r.group[i]);
	x->raw = true;
	st = prune_each(x, true, "ranges", try_layer, &r);
	x->raw = false;
	MLO_TRY(st);
	for (size_t i = 0; i < r.n; i++)
		if (r.pair[i].group == i && r.group[i].value)
			add_values(&r.pair[i], &r.group[i]);
	for (size_t i = 0; i < r.n; i++)
		if (choose(&r.group[r.pair[i].group], &range)) {
			mlo_lift_set(x->g, &r.pair[i], range);
			++*changed;
		}
	return MLO_OK;
}
