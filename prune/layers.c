/* prune/layers.c -- the layers of a graph as matrices, and which of them are worth pruning. */
#include "passes/match.h"
#include "prune/prune.h"

enum { FEW_CHANNELS = 4 };

bool mlo_prune_divides(const MloPrunePattern *p, const MloPruneLayer *l)
{
	return l->rows % p->rows == 0 && l->channels % (p->kind == PRUNE_NM ? p->of : p->cols) == 0;
}

static const char *why_not(MloArena *a, const MloPtq *q, const MloPrunePattern *p, const MloPruneLayer *l)
{
	const char *off = q->layer[l->index].off;
	bool named = q->opt.include && *q->opt.include; /* what is not named is off by that */

	if (off)
		return off;
	if (q->layer[l->index].g != q->g)
		return "it is in a branch";
	if (!mlo_prune_divides(p, l))
		return mlo_sprintf(a, "%s does not divide %lld outputs by %lld input channels", mlo_pattern_text(a, p),
				   (long long)l->rows, (long long)l->channels);
	if (named)
		return NULL;
	if (l->groups > 1)
		return "each output reads few channels: nothing gains";
	if (l->channels <= FEW_CHANNELS)
		return "it reads few channels: nothing gains";
	return NULL;
}

void mlo_prune_layers(MloArena *a, const MloPtq *q, const MloPrunePattern *p, MloPruneList *out)
{
	*out = (MloPruneList){.layer = MLO_NEWN(a, MloPruneLayer, q->nlayers + 1)};
	for (size_t i = 0; i < q->nlayers; i++) {
		const MloPtqLayer *from = &q->layer[i];
		const MloTensor *w = from->kind == PTQ_CONV || from->kind == PTQ_MATMUL ? from->n->in[1]->data : NULL;
		MloPruneLayer l = {.index = i, .n = from->n, .groups = 1, .taps = 1, .sqnr = NAN};

		if (!w || !mlo_tensor_elems(w))
			continue;
		if (from->kind == PTQ_CONV) {
			l.groups = mlo_attr_i(from->n, ATTR_conv_group);
			l.rows = w->dim[0] / l.groups;
			l.channels = w->dim[1];
			for (int d = 2; d < w->rank; d++)
				l.taps *= w->dim[d];
		} else {
			l.rows = w->dim[1];
			l.channels = w->dim[0];
		}
		l.off = why_not(a, q, p, &l);
		out->layer[out->n++] = l;
	}
}

/* -- weights as matrices ------------------------------------------------------------------------------- */

/* The element of the constant that is W[row][i] of a group. */
static int64_t element(const MloPruneLayer *l, const MloNode *n, int64_t group, int64_t row, int64_t i)
{
	if (n->op != OP_conv)
		return i * l->rows + row;
	return ((group * l->rows + row) * l->channels + i % l->channels) * l->taps + i / l->channels;
}

void mlo_weights_get(const MloPruneLayer *l, const MloNode *n, int64_t group, double *w)
{
	int64_t k = mlo_prune_inputs(l);

	for (int64_t r = 0; r < l->rows; r++)
		for (int64_t i = 0; i < k; i++)
			w[r * k + i] = mlo_tensor_f64(n->in[1]->data, element(l, n, group, r, i));
}

MloTensor *mlo_weights_tensor(MloArena *a, const MloPruneLayer *l, const MloNode *n, MloElem e, const double *w)
{
	const MloTensor *old = n->in[1]->data;
	MloTensor *t = mlo_tensor_new(a, e, old->rank, old->dim);
	int64_t k = mlo_prune_inputs(l);

	for (int64_t group = 0; group < l->groups; group++)
		for (int64_t r = 0; r < l->rows; r++)
			for (int64_t i = 0; i < k; i++)
				mlo_tensor_set_f64(t, element(l, n, group, r, i), w[(group * l->rows + r) * k + i]);
	return t;
}

void mlo_weights_set(MloGraph *g, const MloPruneLayer *l, MloNode *n, const double *w)
{
	mlo_node_set_in(g, n, 1, mlo_graph_const(g, mlo_weights_tensor(g->arena, l, n, EL_f32, w), n->in[1]->name));
}

void mlo_weights_smallest(MloGraph *g, const MloPruneLayer *l, MloNode *n, const MloPrunePattern *p, double sparsity)
{
	MloArena *a = mlo_arena_new();
	int64_t size = l->rows * mlo_prune_inputs(l);
	double *w, *score;
	uint8_t *keep;

	MLO_ASSERT(a);
	w = MLO_NEWN(a, double, (size_t)mlo_prune_weights(l));
	score = MLO_NEWN(a, double, (size_t)size);
	keep = MLO_NEWN(a, uint8_t, (size_t)size);
	for (int64_t group = 0; group < l->groups; group++) {
		double *v = w + group * size;

		mlo_weights_get(l, n, group, v);
		for (int64_t i = 0; i < size; i++)
			score[i] = v[i] * v[i];
		mlo_pattern_choose(p, score, l->rows, mlo_prune_inputs(l), sparsity, keep);
		for (int64_t i = 0; i < size; i++)
			v[i] *= keep[i];
	}
	mlo_weights_set(g, l, n, w);
	mlo_arena_free(a);
}

double mlo_weights_zeros(const MloTensor *w)
{
	int64_t n = mlo_tensor_elems(w), zeros = 0;

	for (int64_t i = 0; i < n; i++)
		zeros += mlo_tensor_f64(w, i) == 0;
	return n ? (double)zeros / (double)n : 0;
}
