/* quant/blocks.c -- weights alone in 4 or 8 bits, with a scale for each block of a column: MatMulNBits.
 *
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits */
#include <math.h>

#include "passes/match.h"
#include "quant/ptq.h"

typedef struct Blocks {
	const MloTensor *w;  /* [K, N] */
	int64_t k, n, count; /* blocks of a column */
	int bits, size;
	uint8_t *packed; /* [N][count][size * bits / 8] */
	float *scale;    /* [N][count] */
} Blocks;

static double at(const Blocks *b, int64_t row, int64_t column)
{
	return row < b->k ? mlo_tensor_f64(b->w, row * b->n + column) : 0;
}

/* Integers are unsigned; half of them stand for 0, so that no zero points are needed. */
static void pack_block(Blocks *b, int64_t column, int64_t block)
{
	int half = 1 << (b->bits - 1), per_byte = 8 / b->bits;
	uint8_t *out = b->packed + (column * b->count + block) * b->size / per_byte;
	double most = 0, scale;

	for (int i = 0; i < b->size; i++)
		most = fmax(most, fabs(at(b, block * b->size + i, column)));
	scale = (float)(most > 1e-30 ? most / (half - 1) : 1);
	b->scale[column * b->count + block] = (float)scale;
	for (int i = 0; i < b->size; i++) {
		double q = rint(at(b, block * b->size + i, column) / scale);
		int v = (int)fmax(fmin(q, half - 1), -half) + half;

		out[i / per_byte] |= (uint8_t)(v << (i % per_byte * b->bits));
	}
}

static void replace(MloGraph *g, MloNode *n, int bits, int size, MloPassCx *cx)
{
	const MloTensor *w = n->in[1]->data;
	Blocks b = {.w = w,
		    .k = w->dim[0],
		    .n = w->dim[1],
		    .count = (w->dim[0] + size - 1) / size,
		    .bits = bits,
		    .size = size};
	int64_t packed[] = {b.n, b.count, size * bits / 8}, scales[] = {b.n * b.count};
	MloTensor *p = mlo_tensor_new(g->arena, EL_u8, 3, packed), *s = mlo_tensor_new(g->arena, EL_f32, 1, scales);
	const char *base = n->in[1]->name ? n->in[1]->name : mlo_node_name(n);
	MloValue *in[3] = {n->in[0]};
	MloNode *m;

	b.packed = (uint8_t *)(uintptr_t)p->data;
	b.scale = (float *)(uintptr_t)s->data;
	for (int64_t c = 0; c < b.n; c++)
		for (int64_t k = 0; k < b.count; k++)
			pack_block(&b, c, k);
	in[1] = mlo_graph_const(g, p, mlo_sprintf(g->arena, "%s_quantized", base));
	in[2] = mlo_graph_const(g, s, mlo_sprintf(g->arena, "%s_scale", base));
	m = mlo_rw_node(g, n, OP_matmul_nbits, n, in, 3);
	mlo_attr_set_i(m, ATTR_matmul_nbits_K, b.k);
	mlo_attr_set_i(m, ATTR_matmul_nbits_N, b.n);
	mlo_attr_set_i(m, ATTR_matmul_nbits_bits, bits);
	mlo_attr_set_i(m, ATTR_matmul_nbits_block_size, size);
	mlo_rw_replace(g, n, mlo_rw_done(g, m, cx));
}

size_t mlo_ptq_blocks(const MloPtq *q, MloGraph *copy, int bits, int size, MloDiag *d)
{
	MloPtq *there = mlo_ptq_new(q->a, copy, &q->opt);
	MloPassCx cx = {.arena = q->a, .diag = d};
	size_t n = 0;

	for (size_t i = 0; i < q->nlayers; i++) {
		if (there->layer[i].kind != PTQ_MATMUL || q->layer[i].off)
			continue;
		replace(there->layer[i].g, there->layer[i].n, bits, size, &cx);
		n++;
	}
	return n;
}
