/* tools/prune_gather.c -- streams samples through both graphs and sums up what layers read and should give. */
#include <math.h>
#include <string.h>

#include "passes/match.h"
#include "tools/cli.h"
#include "tools/prune.h"
#include "tools/window.h"

/* Inputs of a layer are enough when their sums have taken so many multiply-adds, and there are PER_COLUMN per weight of an
 * output, or when there are ALL_PER_COLUMN. */
#define MOST_MACS 3e10
/* Sums of so much memory at a time; runs of the samples may take so many multiply-adds in all. */
#define MOST_SUMS ((size_t)768 << 20)
#define MOST_RUNS 1e13
/* STEP_PER_COLUMN: for a step downhill, which is one of many.  MOST_ROWS: single ones that are kept, of a group. */
enum { PER_COLUMN = 8, ALL_PER_COLUMN = 1024, STEP_PER_COLUMN = 32, ROWS_AT_ONCE = 512, MOST_ROWS = 2048 };

typedef struct Place {
	const MloPruneLayer *l;
	const MloNode *n;
	size_t twin; /* index of the layer in the dense graph */
	const int64_t *map; /* which of its outputs each of ours is; NULL: the same */
	int64_t given;      /* how many it has */
	MloPruneStats *of;
	MloPruneRows *single;      /* NULL: none are kept */
	size_t want, add, read; /* indices of outputs; add: SIZE_MAX: nothing is added */
	int64_t seen;           /* positions, so that each batch starts at another one */
	double *sum, square;    /* of the values at `want`: by output, and of all squares */
	int64_t wants;       /* for how many inputs */
} Place;

typedef struct Gather {
	Prune *x;
	Place *place;
	size_t n;
	int64_t samples;
	float *rows, *wants; /* of ROWS_AT_ONCE inputs */
} Gather;

static size_t row_bytes(const MloPruneLayer *l)
{
	return sizeof(float) * (size_t)(l->rows + mlo_prune_inputs(l)) * (size_t)l->groups;
}

static size_t sums_bytes(const Prune *x, const MloPruneLayer *l)
{
	size_t sums = x->raw ? 0 : mlo_prune_stats_bytes(l->rows, mlo_prune_inputs(l)) * (size_t)l->groups;

	return sums + (x->hold || x->raw ? MOST_ROWS * row_bytes(l) : 0);
}

static bool held_out(const Gather *g, int64_t sample)
{
	return g->x->raw || (g->x->hold && sample % HOLD_EACH == HOLD_EACH - 1);
}

/* A row of the last buffer, or one of those that are kept; of more than there is room for, each is as likely to stay. */
static void keep_row(MloPruneRows *r, const MloPruneLayer *l, const float *row, const float *want)
{
	int64_t k = mlo_prune_inputs(l), at = r->n;

	r->seen++;
	if (r->n == MOST_ROWS) {
		r->draw = r->draw * 1664525u + 1013904223u;
		at = (int64_t)((uint64_t)r->draw * (uint64_t)r->seen >> 32);
	} else {
		r->n++;
	}
	if (at >= MOST_ROWS)
		return;
	memcpy(r->x + at * k, row, sizeof *row * (size_t)k);
	memcpy(r->y + at * l->rows, want, sizeof *want * (size_t)l->rows);
}

/* Of `total` positions in all samples every so-manieth is enough; odd, so that columns of images take turns. */
static int64_t stride_of(const Gather *g, const Place *p, double total)
{
	double k = (double)mlo_prune_inputs(p->l), most = MOST_MACS / (k * (k + 2 * (double)p->l->rows));

	most = fmin(fmax(most, PER_COLUMN * k), ALL_PER_COLUMN * k);
	if (g->x->raw || g->x->descends)
		most = 2 * MOST_ROWS + (g->x->raw ? 0 : STEP_PER_COLUMN * k);
	return total > most ? (int64_t)(total / most) | 1 : 1;
}

/* Outputs from `first` on at position `at` of `inner` in an image. */
static void wanted(Place *p, MloTensor *const *out, int64_t image, int64_t at, int64_t inner, int64_t first, float *row)
{
	const int64_t own = p->l->rows * p->l->groups;
	const float *y = (const float *)out[p->want]->data + image * p->given * inner + at;
	const float *a = p->add == SIZE_MAX ? NULL : (const float *)out[p->add]->data + image * own * inner + at;

	p->wants += first == 0;
	for (int64_t r = 0; r < p->l->rows; r++) {
		double v = y[(p->map ? p->map[first + r] : first + r) * inner];

		p->sum[first + r] += v;
		p->square += v * v;
		row[r] = (float)v - (a ? a[(first + r) * inner] : 0);
	}
}

/* Of the values at `want`, per input, summed over the outputs. */
static double variance(const Place *p)
{
	double n = (double)p->wants, v = p->square / n;

	for (int64_t r = 0; r < p->l->rows * p->l->groups; r++)
		v -= p->sum[r] / n * (p->sum[r] / n);
	return fmax(v, 0);
}

static void flush(Gather *g, Place *p, int64_t group, int64_t *have)
{
	if (*have)
		mlo_prune_add(&p->of[group], g->rows, g->wants, *have);
	*have = 0;
}

/* The row behind the first *have of the buffers is complete. */
static void take_row(Gather *g, Place *p, int64_t group, int64_t sample, int64_t *have)
{
	int64_t k = mlo_prune_inputs(p->l);

	if (held_out(g, sample))
		keep_row(&p->single[group], p->l, g->rows + *have * k, g->wants + *have * p->l->rows);
	else if (++*have == ROWS_AT_ONCE)
		flush(g, p, group, have);
}

static void add_windows(Gather *g, Place *p, MloTensor *const *out, int64_t images, int64_t first)
{
	Window v;
	int64_t per, step, have = 0, k = mlo_prune_inputs(p->l);

	window_of(p->n, out[p->read], out[p->want], WINDOW_CHANNELS, &v);
	per = window_positions(&v);
	step = stride_of(g, p, (double)per * (double)g->samples);
	for (int64_t group = 0; group < p->l->groups; group++) {
		v.first = group * v.channels;
		for (int64_t at = p->seen % step; at < per * images; at += step) {
			window_read(&v, at / per, at % per, g->rows + have * k);
			wanted(p, out, at / per, at % per, per, group * p->l->rows, g->wants + have * p->l->rows);
			take_row(g, p, group, first + at / per, &have);
		}
		flush(g, p, group, &have);
	}
	p->seen += per * images + 1;
}

static void add_rows(Gather *g, Place *p, MloTensor *const *out, int64_t images, int64_t first)
{
	int64_t k = mlo_prune_inputs(p->l), n = mlo_tensor_elems(out[p->read]) / k, step, have = 0;
	const float *x = out[p->read]->data;

	step = stride_of(g, p, (double)n / (double)images * (double)g->samples);
	for (int64_t at = p->seen % step; at < n; at += step) {
		memcpy(g->rows + have * k, x + at * k, sizeof *x * (size_t)k);
		wanted(p, out, at, 0, 1, 0, g->wants + have * p->l->rows);
		take_row(g, p, 0, first + at * images / n, &have);
	}
	flush(g, p, 0, &have);
	p->seen += n + 1;
}

static MloStatus see(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Gather *g = user;

	for (size_t i = 0; i < g->n; i++) {
		if (g->place[i].want == SIZE_MAX) /* no slope is known */
			continue;
		if (g->place[i].n->op == OP_conv)
			add_windows(g, &g->place[i], out, count, first);
		else
			add_rows(g, &g->place[i], out, count, first);
	}
	g->x->samples = first + count;
	return MLO_OK;
}

/* -- what is asked for ----------------------------------------------------------------------------------- */

/* The addition of another value of the same type that alone reads v. */
static MloNode *added_to(const MloGraph *g, const MloValue *v)
{
	MloNode *n = mlo_only_user(g, v);

	if (!n || n->op != OP_add || n->in[0]->data || n->in[1]->data || n->in[0] == n->in[1] ||
	    !mlo_type_same(&n->in[0]->type, &n->in[1]->type) || !mlo_type_same(&n->in[0]->type, &n->out[0]->type))
		return NULL;
	return n;
}

/* Where v goes on: behind its quantization, if that alone reads it. */
static MloValue *carried(const MloGraph *g, MloValue *v)
{
	const MloNode *q = mlo_only_user(g, v);
	const MloNode *dq = q && q->op == OP_quantize_linear ? mlo_only_user(g, q->out[0]) : NULL;

	return dq && dq->op == OP_dequantize_linear ? dq->out[0] : v;
}

/* What is quantised to become v; v: nothing is. */
static MloValue *unquantised(MloValue *v)
{
	const MloNode *dq = mlo_def_op(v, OP_dequantize_linear), *q = dq ? mlo_def_op(dq->in[0], OP_quantize_linear) : NULL;

	return q ? q->in[0] : v;
}

/* p[0] is of the dense graph, p[1] of the one that is pruned. */
static void ask(Gather *g, Probe *p, const MloPtq *dense, const MloPtq *pruned)
{
	size_t base;

	for (size_t i = 0; i < g->n; i++) {
		Place *at = &g->place[i];
		const MloPtqLayer *from = &dense->layer[at->twin], *to = &pruned->layer[at->l->index];
		/* of layers that are changed at the same time, one alone makes up for what comes past it */
		const MloNode *sum = i && !g->x->judging ? NULL : added_to(p[0].g, from->sum), *there;
		MloValue *behind = carried(p[1].g, to->sum), *read = mlo_layer_input(to);

		there = sum ? added_to(p[1].g, behind) : NULL;

		at->want = p[0].g->noutputs;
		probe_ask(&p[0], p[0].g, there ? sum->out[0] : from->sum, g->x->a);
		at->add = SIZE_MAX;
		if (there) {
			at->add = p[1].g->noutputs;
			probe_ask(&p[1], p[1].g, there->in[there->in[0] == behind], g->x->a);
		}
		at->read = p[1].g->noutputs;
		probe_ask(&p[1], p[1].g, g->x->raw ? unquantised(read) : read, g->x->a);
	}
	base = p[0].g->noutputs;
	for (size_t i = 0; i < g->n; i++) {
		g->place[i].read += base;
		g->place[i].add += g->place[i].add == SIZE_MAX ? 0 : base;
	}
}

static void only_probes(Probe *p) /* what does not lead to them is not run */
{
	p->g->noutputs = 0;
	p->outputs = 0;
}

/* Both models as one: what layers read, and slopes. */
static MloStatus run_slopes(Gather *g)
{
	Prune *x = g->x;
	MloValue **slope = MLO_NEWN(x->a, MloValue *, x->list.n + 1);
	Probe p, *list = &p;
	MloStatus st;
	MloPtq *q;

	MLO_TRY(probe_open(&p, x->g, x->d));
	q = mlo_ptq_new(x->a, p.g, &x->opt->ptq);
	st = distill_slopes(x, p.g, q, slope);
	only_probes(&p);
	for (size_t i = 0; i < g->n; i++) {
		Place *at = &g->place[i];

		at->want = slope[at->l - x->list.layer] ? p.g->noutputs : SIZE_MAX;
		if (at->want == SIZE_MAX)
			continue;
		probe_ask(&p, p.g, slope[at->l - x->list.layer], x->a);
		at->add = SIZE_MAX;
		at->map = NULL;
		at->given = at->l->rows * at->l->groups;
		at->read = p.g->noutputs;
		probe_ask(&p, p.g, mlo_layer_input(&q->layer[at->l->index]), x->a);
	}
	if (st == MLO_OK && p.g->noutputs)
		st = probe_samples(&x->opt->data, &list, 1, x->opt->data.samples, "run samples", see, g, x->d);
	probe_close(&p);
	return st;
}

static MloStatus run(Gather *g)
{
	Probe p[2], *list[] = {&p[0], &p[1]};
	Prune *x = g->x;
	MloStatus st;

	if (x->descends)
		return run_slopes(g);
	MLO_TRY(probe_open(&p[0], x->dense, x->d));
	MLO_TRY(probe_open(&p[1], x->g, x->d));
	only_probes(&p[0]);
	only_probes(&p[1]);
	ask(g, p, mlo_ptq_new(x->a, p[0].g, &x->opt->ptq), mlo_ptq_new(x->a, p[1].g, &x->opt->ptq));
	st = probe_samples(&x->opt->data, list, 2, x->opt->data.samples, "run samples", see, g, x->d);
	probe_close(&p[0]);
	probe_close(&p[1]);
	return st;
}

/* Outputs of a layer of the dense graph. */
static int64_t given_by(const Prune *x, size_t twin)
{
	const MloPtqLayer *l = &(x->from ? x->from : x->q)->layer[twin];

	return l->n->in[1]->data->dim[mlo_ptq_weight_axis(l->kind)];
}

static MloPruneRows *new_rows(MloArena *a, const MloPruneLayer *l)
{
	MloPruneRows *r = MLO_NEWN(a, MloPruneRows, (size_t)l->groups);

	for (int64_t g = 0; g < l->groups; g++) {
		r[g].x = MLO_NEWN(a, float, (size_t)(MOST_ROWS * mlo_prune_inputs(l)));
		r[g].y = MLO_NEWN(a, float, (size_t)(MOST_ROWS * l->rows));
	}
	return r;
}

static MloStatus gather_sums(Prune *x, MloArena *a, const size_t *which, size_t n, PruneSums *out)
{
	Gather g = {.x = x, .n = n, .place = MLO_NEWN(a, Place, n + 1), .samples = x->opt->data.samples};
	int64_t k = 1, m = 1;

	for (size_t i = 0; i < n; i++) {
		const MloPruneLayer *l = &x->list.layer[which[i]];

		out[i].of = MLO_NEWN(a, MloPruneStats, (size_t)l->groups);
		for (int64_t group = 0; group < l->groups && !x->raw; group++)
			out[i].of[group] = mlo_prune_stats(a, l->rows, mlo_prune_inputs(l));
		out[i].rows = x->hold || x->raw ? new_rows(a, l) : NULL;
		g.place[i] = (Place){.l = l, .n = l->n, .of = out[i].of, .single = out[i].rows};
		g.place[i].twin = x->twin ? x->twin[which[i]] : l->index;
		g.place[i].map = x->map ? x->map[which[i]] : NULL;
		g.place[i].given = given_by(x, g.place[i].twin);
		g.place[i].sum = MLO_NEWN(a, double, (size_t)(l->rows * l->groups));
		k = mlo_prune_inputs(l) > k ? mlo_prune_inputs(l) : k;
		m = l->rows > m ? l->rows : m;
	}
	g.rows = MLO_NEWN(a, float, (size_t)(k * ROWS_AT_ONCE));
	g.wants = MLO_NEWN(a, float, (size_t)(m * ROWS_AT_ONCE));
	MLO_TRY(run(&g));
	for (size_t i = 0; i < n; i++)
		out[i].signal = variance(&g.place[i]);
	return MLO_OK;
}

/* -- all layers ------------------------------------------------------------------------------------------- */

/* As many layers from `from` on as memory allows, but no more than `most`. */
static size_t choose(const Prune *x, size_t from, size_t most, size_t *which, size_t *n)
{
	size_t bytes = 0, i = from;

	for (*n = 0; i < x->list.n && *n < most; i++) {
		const MloPruneLayer *l = &x->list.layer[i];

		if (l->off)
			continue;
		if (*n && bytes + sums_bytes(x, l) > MOST_SUMS)
			break;
		bytes += sums_bytes(x, l);
		which[(*n)++] = i;
	}
	return i;
}

/* How many layers are changed by one run of the samples. */
static size_t at_once(const Prune *x)
{
	double runs = MOST_RUNS / fmax(mlo_graph_macs(x->dense) * x->opt->data.samples, 1);

	return (size_t)ceil((double)x->list.n / fmax(runs, 1));
}

bool prune_one_by_one(const Prune *x)
{
	return at_once(x) == 1;
}

MloStatus prune_each(Prune *x, bool together, const char *what, PruneSeeFn *see_layer, void *user)
{
	size_t *which = MLO_NEWN(x->a, size_t, x->list.n + 1), n;
	size_t most = together ? SIZE_MAX : at_once(x);

	for (size_t from = 0; from < x->list.n;) {
		MloArena *tmp = mlo_arena_new();
		PruneSums *sums;
		MloStatus st = MLO_OK;

		if (!tmp)
			return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
		from = choose(x, from, most, which, &n);
		sums = MLO_NEWN(tmp, PruneSums, n + 1);
		if (n)
			st = gather_sums(x, tmp, which, n, sums);
		for (size_t i = 0; i < n && st == MLO_OK; i++)
			st = see_layer(user, which[i], &sums[i]);
		mlo_arena_free(tmp);
		MLO_TRY(st);
		cli_progress(what, (double)from, (double)x->list.n);
	}
	return MLO_OK;
}
