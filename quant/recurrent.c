/* quant/recurrent.c -- LSTMs whose products are of integers.
 *
 * Weights become s8 with a scale per row, or one; input and states become u8 while the operator runs, by their own
 * range: DynamicQuantizeLSTM of com.microsoft.  States are sums of many steps of one layer's own results, so that a
 * range found beforehand would have to hold for all of them; their own range is never wrong. */
#include <math.h>
#include <string.h>

#include "passes/match.h"
#include "quant/ptq.h"

enum { OPERANDS = 12, W_SCALE = 8, R_SCALE = 10 };

static bool weights(const MloValue *v)
{
	return v && v->data && v->data->elem == EL_f32 && v->data->rank == 3;
}

static MloValue *operand(const MloNode *n, uint32_t i) { return i < n->nin ? n->in[i] : NULL; }

bool mlo_lstm_quantises(const MloNode *n)
{
	return n->op == OP_lstm && n->in[0]->type.elem == EL_f32 && weights(operand(n, 1)) && weights(operand(n, 2)) &&
	       !operand(n, 4);
}

/* w[directions, rows, terms] as s8[directions, terms, rows]. */
static MloValue *turned(MloGraph *g, const MloPtqWeights *w, int64_t rows, const char *name)
{
	int64_t terms = w->w->dim[1], dirs = w->channels / rows;
	MloTensor *t = mlo_tensor_new(g->arena, EL_i8, 3, (int64_t[]){dirs, terms, rows});
	int8_t *to = (int8_t *)(uintptr_t)t->data;

	for (int64_t c = 0; c < w->channels; c++)
		for (int64_t k = 0; k < terms; k++)
			to[(c / rows * terms + k) * rows + c % rows] =
				mlo_weight_round(mlo_tensor_f64(w->w, c * terms + k), w->scale[w->nscales > 1 ? c : 0]);
	return mlo_graph_const(g, t, mlo_sprintf(g->arena, "%s_quantized", name));
}

/* Weights of operand `slot` as integers, with their scale and zero point. */
static void quantise(const MloPtq *q, MloGraph *g, const MloNode *n, uint32_t slot, MloValue **to, MloValue **scale)
{
	MloTensor flat = *n->in[slot]->data;
	int64_t dirs = flat.dim[0], rows = flat.dim[1];
	const char *name = n->in[slot]->name;
	MloPtqWeights w = {.w = &flat, .axis = 0, .channels = dirs * rows};
	MloTensor *s, *zero;

	if (!name)
		name = mlo_sprintf(g->arena, "%s_%s", mlo_node_name(n), slot == 1 ? "W" : "R");
	flat.rank = 2;
	flat.dim[0] = dirs * rows;
	flat.dim[1] = flat.dim[2];
	mlo_weight_scales(q, &w);
	s = mlo_tensor_new(g->arena, EL_f32, w.nscales > 1 ? 2 : 1, (int64_t[]){dirs, rows});
	zero = mlo_tensor_new(g->arena, EL_i8, s->rank, s->dim);
	for (int64_t i = 0; i < mlo_tensor_elems(s); i++)
		mlo_tensor_set_f64(s, i, w.scale[w.nscales > 1 ? i : 0]);
	to[0] = turned(g, &w, rows, name);
	scale[0] = mlo_graph_const(g, s, mlo_sprintf(g->arena, "%s_scale", name));
	scale[1] = mlo_graph_const(g, zero, mlo_sprintf(g->arena, "%s_zero_point", name));
}

MloNode *mlo_lstm_quantise(const MloPtq *q, MloGraph *g, MloNode *n, MloDiag *d)
{
	const int nattr = mlo_op_info(OP_lstm)->nattr;
	MloValue *in[OPERANDS] = {0};
	MloNode *fresh;

	for (uint32_t i = 0; i < n->nin; i++)
		in[i] = n->in[i];
	quantise(q, g, n, 1, &in[1], &in[W_SCALE]);
	quantise(q, g, n, 2, &in[2], &in[R_SCALE]);
	fresh = mlo_graph_node(g, n, OP_lstm_integer, in, OPERANDS, n->nout);
	MLO_ASSERT(mlo_op_info(OP_lstm_integer)->nattr == nattr);
	memcpy(fresh->attr, n->attr, (size_t)nattr * sizeof *n->attr);
	mlo_origin_add(g, fresh, n->origin);
	if (mlo_infer_node(g, fresh, d) != MLO_OK)
		return NULL;
	for (uint32_t i = 0; i < n->nout; i++) {
		fresh->out[i]->type = n->out[i]->type;
		fresh->out[i]->name = n->out[i]->name;
		mlo_graph_replace(g, n->out[i], fresh->out[i]);
	}
	return fresh;
}
