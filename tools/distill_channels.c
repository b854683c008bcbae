/* tools/distill_channels.c -- which of the teacher's channels those of a narrower layer are: the ones that behave alike.
 *
 * Both models run over the samples; of each pair of channels the correlation is taken.  Channels that were removed leave the others
 * in their order, so that the best assignment in rising order is found by dynamic programming. */
#include <math.h>
#include <string.h>

#include "tools/prune.h"

enum { PER_SAMPLE = 64 }; /* positions of an image, at most */
#define LEAST 0.5 /* correlation, on the average */

typedef struct Pair {
	size_t layer;           /* of the list */
	int64_t from, to;       /* channels of the teacher, of the student */
	bool image;             /* channels are the dimension 1, else the last */
	float *a, *b;           /* rows of both */
	float *product;         /* [to][from]: sums */
	double *sum[2], *square[2];
	double n;
} Pair;

typedef struct Pairs {
	Prune *x;
	Pair *pair;
	size_t n;
} Pairs;

/* -- what samples say ------------------------------------------------------------------------------------------ */

/* Up to PER_SAMPLE positions of a sample, as rows of channels; how many. */
static int64_t rows_of(const Pair *p, const MloTensor *t, int64_t channels, int64_t sample, int64_t samples, float *out)
{
	const float *v = t->data;
	int64_t per = mlo_tensor_elems(t) / samples / channels, step = per > PER_SAMPLE ? per / PER_SAMPLE | 1 : 1, n = 0;

	for (int64_t at = 0; at < per && n < PER_SAMPLE; at += step, n++)
		for (int64_t c = 0; c < channels; c++)
			out[n * channels + c] = v[sample * per * channels + (p->image ? c * per + at : at * channels + c)];
	return n;
}

static void add_rows(double *sum, double *square, const float *v, int64_t n, int64_t channels)
{
	for (int64_t i = 0; i < n; i++)
		for (int64_t c = 0; c < channels; c++) {
			sum[c] += v[i * channels + c];
			square[c] += (double)v[i * channels + c] * v[i * channels + c];
		}
}

static void add_products(Pair *p, int64_t n)
{
	for (int64_t r = 0; r < n; r++)
		for (int64_t i = 0; i < p->to; i++)
			for (int64_t k = 0; k < p->from; k++)
				p->product[i * p->from + k] += p->b[r * p->to + i] * p->a[r * p->from + k];
}

static MloStatus see(void *user, MloTensor *const *out, int64_t count, int64_t first, MloDiag *d)
{
	Pairs *all = user;

	for (size_t i = 0; i < all->n; i++) {
		Pair *p = &all->pair[i];
		const MloTensor *a = out[i], *b = out[all->n + i];
		int64_t batch = p->image ? a->dim[0] : mlo_tensor_elems(a) / p->from;

		for (int64_t s = 0; s < count && s < batch; s++) {
			int64_t n = rows_of(p, a, p->from, s, batch, p->a);

			rows_of(p, b, p->to, s, batch, p->b);
			add_rows(p->sum[0], p->square[0], p->a, n, p->from);
			add_rows(p->sum[1], p->square[1], p->b, n, p->to);
			add_products(p, n);
			p->n += (double)n;
		}
	}
	return MLO_OK;
}

/* -- the assignment -------------------------------------------------------------------------------------------- */

static double correlation(const Pair *p, int64_t student, int64_t teacher)
{
	double a = p->sum[0][teacher] / p->n, b = p->sum[1][student] / p->n;
	double va = p->square[0][teacher] / p->n - a * a, vb = p->square[1][student] / p->n - b * b;

	return va > 0 && vb > 0 ? (p->product[student * p->from + teacher] / p->n - a * b) / sqrt(va * vb) : 0;
}

double distill_assign(MloArena *a, const double *worth, int64_t rows, int64_t cols, int64_t *to)
{
	/* best[i][j]: of the first i rows, by the first j columns */
	double *best = MLO_NEWN(a, double, (size_t)((rows + 1) * (cols + 1)));
	int64_t width = cols + 1;

	for (int64_t i = 1; i <= rows; i++)
		for (int64_t j = i; j <= cols - (rows - i); j++) {
			double with = best[(i - 1) * width + j - 1] + worth[(i - 1) * cols + j - 1];

			best[i * width + j] = j > i ? fmax(best[i * width + j - 1], with) : with;
		}
	for (int64_t i = rows, j = cols; i > 0; i--) {
		while (j > i && best[i * width + j] == best[i * width + j - 1])
			j--;
		to[i - 1] = --j;
	}
	return best[rows * width + cols];
}

static void assign(Prune *x, const Pair *p)
{
	double *worth = MLO_NEWN(x->a, double, (size_t)(p->from * p->to));
	int64_t *to = MLO_NEWN(x->a, int64_t, (size_t)p->to);

	for (int64_t i = 0; i < p->to; i++)
		for (int64_t k = 0; k < p->from; k++)
			worth[i * p->from + k] = correlation(p, i, k);
	if (distill_assign(x->a, worth, p->to, p->from, to) < LEAST * (double)p->to)
		x->list.layer[p->layer].off = "its channels are none of the teacher's: they behave otherwise";
	else
		x->map[p->layer] = to;
}

/* -- all of it ------------------------------------------------------------------------------------------------- */

static int64_t channels_of(const MloPtqLayer *l)
{
	return l->n->in[1]->data->dim[mlo_ptq_weight_axis(l->kind)];
}

static void open_pairs(Pairs *all)
{
	Prune *x = all->x;

	for (size_t i = 0; i < x->list.n; i++) {
		const MloPtqLayer *l = &x->q->layer[x->list.layer[i].index];
		Pair *p = &all->pair[all->n];

		if (x->list.layer[i].off || channels_of(l) == channels_of(&x->from->layer[x->twin[i]]))
			continue;
		*p = (Pair){.layer = i, .from = channels_of(&x->from->layer[x->twin[i]]), .to = channels_of(l), .image = l->kind == PTQ_CONV};
		p->a = MLO_NEWN(x->a, float, (size_t)(PER_SAMPLE * p->from));
		p->b = MLO_NEWN(x->a, float, (size_t)(PER_SAMPLE * p->to));
		p->product = MLO_NEWN(x->a, float, (size_t)(p->from * p->to));
		for (int k = 0; k < 2; k++) {
			p->sum[k] = MLO_NEWN(x->a, double, (size_t)p->from);
			p->square[k] = MLO_NEWN(x->a, double, (size_t)p->from);
		}
		all->n++;
	}
}

static void ask(const Pairs *all, Probe *p, const MloPtq *q, const size_t *twin)
{
	p->g->noutputs = 0; /* only what leads there is needed */
	p->outputs = 0;
	for (size_t i = 0; i < all->n; i++) {
		size_t l = all->pair[i].layer;

		probe_ask(p, p->g, q->layer[twin ? twin[l] : all->x->list.layer[l].index].sum, all->x->a);
	}
}

MloStatus distill_channels(Prune *x)
{
	Pairs all = {.x = x, .pair = MLO_NEWN(x->a, Pair, x->list.n + 1)};
	Probe p[2], *list[] = {&p[0], &p[1]};
	MloStatus st;

	x->map = MLO_NEWN(x->a, int64_t *, x->list.n + 1);
	open_pairs(&all);
	if (!all.n)
		return MLO_OK;
	MLO_TRY(probe_open(&p[0], x->dense, x->d));
	MLO_TRY(probe_open(&p[1], x->g, x->d));
	ask(&all, &p[0], mlo_ptq_new(x->a, p[0].g, &x->opt->ptq), x->twin);
	ask(&all, &p[1], mlo_ptq_new(x->a, p[1].g, &x->opt->ptq), NULL);
	st = probe_samples(&x->opt->data, list, 2, x->opt->data.samples, "match channels", see, &all, x->d);
	probe_close(&p[0]);
	probe_close(&p[1]);
	for (size_t i = 0; i < all.n && st == MLO_OK; i++)
		assign(x, &all.pair[i]);
	return st;
}
