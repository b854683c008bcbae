/* tools/quantize_round.c -- gathers what layers read, and has their weights rounded by it. */
#include <string.h>

#include "tools/cli.h"
#include "tools/quantize.h"
#include "tools/window.h"

/* Rows per layer, memory of the sums at a time, and the widest layer that is worth it. */
enum { MAX_ROWS = 4096, MAX_TAPS = 8192, ROWS_AT_ONCE = 256 };
#define MAX_SUMS ((size_t)512 << 20)

typedef struct Layer {
	size_t index;
	MloRoundInput in;
	int64_t rows; /* seen */
} Layer;

typedef struct Gather {
	Quantize *x;
	Layer *layer;
	size_t n, skip;
	int64_t per_sample;
	float *rows; /* [ROWS_AT_ONCE][MAX_TAPS] */
} Gather;

/* -- inputs ---------------------------------------------------------------------------------------- */

static void add_windows(Gather *g, Layer *l, const MloNode *n, const MloTensor *x, const MloTensor *y, int64_t images)
{
	int64_t per, total, step;
	Window v;

	window_of(n, x, y, WINDOW_WEIGHTS, &v);
	per = window_positions(&v);
	total = per * images;
	step = total > g->per_sample * images ? total / (g->per_sample * images) | 1 : 1;
	for (int64_t group = 0; group < l->in.groups; group++) {
		int64_t have = 0;

		v.first = group * v.channels;
		for (int64_t at = l->rows % step; at < total; at += step) {
			window_read(&v, at / per, at % per, g->rows + have++ * l->in.k);
			if (have == ROWS_AT_ONCE || at + step >= total) {
				mlo_round_add(&l->in, group, g->rows, have);
				have = 0;
			}
		}
	}
	l->rows += total / step;
}

/* Rows of a matrix; of a batch that was not filled up to the end, the last ones are repeated: that is no harm. */
static void add_matrix(Gather *g, Layer *l, const MloTensor *x)
{
	int64_t rows = mlo_tensor_elems(x) / l->in.k;
	int64_t step = rows > g->per_sample ? rows / g->per_sample | 1 : 1;
	const float *p = x->data;
	int64_t have = 0;

	for (int64_t at = 0; at < rows; at += step) {
		memcpy(g->rows + have++ * l->in.k, p + at * l->in.k, sizeof *p * (size_t)l->in.k);
		if (have == ROWS_AT_ONCE || at + step >= rows) {
			mlo_round_add(&l->in, 0, g->rows, have);
			have = 0;
		}
	}
	l->rows += rows / step;
}

/* Outputs: for each layer what it reads and what it gives. */
static MloStatus gather(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Gather *g = user;

	for (size_t i = 0; i < g->n; i++) {
		Layer *l = &g->layer[i];
		const MloPtqLayer *p = &g->x->q->layer[l->index];
		const MloTensor *x = out[g->skip + 2 * i];

		if (!mlo_tensor_elems(x)) /* in a branch that was not taken */
			continue;
		if (p->kind == PTQ_CONV)
			add_windows(g, l, p->n, x, out[g->skip + 2 * i + 1], count);
		else
			add_matrix(g, l, x);
	}
	return MLO_OK;
}

/* -- layers ---------------------------------------------------------------------------------------- */

static size_t sums_of(const MloPtqLayer *l)
{
	size_t k = (size_t)mlo_round_taps(l);

	return k * k * (size_t)mlo_round_groups(l) * sizeof(float);
}

static bool roundable(const MloPtqLayer *l)
{
	if (!l->on || (l->kind != PTQ_CONV && l->kind != PTQ_MATMUL) || mlo_round_taps(l) > MAX_TAPS ||
	    sums_of(l) > MAX_SUMS)
		return false;
	return l->kind != PTQ_CONV || window_known(l->n);
}

static MloRoundInput new_input(const Quantize *x, MloArena *a, const MloPtqLayer *l)
{
	MloRoundInput in = {.k = mlo_round_taps(l), .groups = mlo_round_groups(l), .h = mlo_alloc(a, sums_of(l), 1)};

	if (x->opt->correct_bias && quantize_bias_corrects(l)) {
		in.sum = MLO_NEWN(a, double, (size_t)(in.k * in.groups));
		in.rows = MLO_NEWN(a, int64_t, (size_t)in.groups);
	}
	return in;
}

/* As many layers from `from` on as memory allows; the index behind them. */
static size_t choose(Gather *g, MloArena *tmp, size_t from)
{
	MloPtq *q = g->x->q;
	size_t bytes = 0, i = from;

	g->n = 0;
	for (; i < q->nlayers; i++) {
		const MloPtqLayer *l = &q->layer[i];

		if (!roundable(l))
			continue;
		if (g->n && bytes + sums_of(l) > MAX_SUMS)
			break;
		bytes += sums_of(l);
		g->layer[g->n++] = (Layer){.index = i, .in = new_input(g->x, tmp, l)};
	}
	return i;
}

static MloStatus watch(Gather *g, int64_t samples)
{
	Probe p, *one = &p;
	MloPtq *there;
	MloStatus st;

	MLO_TRY(probe_open(&p, g->x->g, g->x->d));
	there = mlo_ptq_new(g->x->a, p.g, &g->x->opt->ptq);
	g->skip = p.outputs;
	for (size_t i = 0; i < g->n; i++) {
		const MloPtqLayer *l = &there->layer[g->layer[i].index];

		probe_ask(&p, l->g, mlo_layer_input(l), g->x->a);
		probe_ask(&p, l->g, l->n->out[0], g->x->a);
	}
	st = probe_run(g->x, &one, 1, samples, "round weights", gather, g, g->x->d);
	probe_close(&p);
	return st;
}

static void round_layers(Gather *g)
{
	for (size_t i = 0; i < g->n; i++) {
		MloPtqLayer *l = &g->x->q->layer[g->layer[i].index];
		MloPtqWeights w;

		if (!g->layer[i].rows)
			continue;
		mlo_ptq_weights(g->x->q, l, mlo_ptq_tensor(g->x->q, mlo_layer_input(l))->scale, &w);
		l->rounded = mlo_round_layer(g->x->a, &w, &g->layer[i].in);
	}
}

MloStatus quantize_round(Quantize *x, int64_t samples)
{
	Gather g = {.x = x, .layer = MLO_NEWN(x->a, Layer, x->q->nlayers + 1)};
	MloStatus st = MLO_OK;

	samples = samples < x->opt->data.samples ? samples : x->opt->data.samples;
	g.per_sample = MAX_ROWS / samples + 1;
	g.rows = MLO_NEWN(x->a, float, (size_t)ROWS_AT_ONCE *MAX_TAPS);
	for (size_t from = 0; from < x->q->nlayers && st == MLO_OK;) {
		MloArena *tmp = mlo_arena_new();

		if (!tmp)
			return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
		from = choose(&g, tmp, from);
		if (g.n)
			st = watch(&g, samples);
		if (st == MLO_OK)
			round_layers(&g);
		mlo_arena_free(tmp);
	}
	return st;
}
