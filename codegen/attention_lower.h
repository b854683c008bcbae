/* codegen/attention_lower.h -- between recognising an attention and lowering it for a CPU or a GPU. */
#ifndef MLO_CODEGEN_ATTENTION_LOWER_H
#define MLO_CODEGEN_ATTENTION_LOWER_H
#include "codegen/contract_lower.h"

/* The group is [movement of operands...] product [maps...] softmax product [maps, movement...]. */
typedef struct Attention {
	ContractLower l;
	MloNode *qk, *softmax, *pv;
	StridedView q, kt, v;
	MloDim queries, seen;      /* extents of the scores */
	int64_t nq, nk, terms, nv; /* queries, keys, terms of a score, columns of the values; of a GPU without the first two */
	int64_t keys;              /* of a tile, on a CPU */
	int nbatch;
	const KIdx *batch[MLO_MAX_RANK];
	int q_arg, k_arg, v_arg;
	int turned, score, max, sum, carry, part; /* scratch of a CPU; the last three only where keys come in tiles */
} Attention;

/* Where the matrix of the batch at hand begins in an operand of a product of type y. */
const KIdx *attention_matrix_at(Attention *a, const StridedView *v, const MloType *y);
/* Of the last dimension of a view, 1, or of the one before it, 2. */
static inline MloDim attention_stride(const StridedView *v, int from_end)
{
	return v->stride[v->rank - from_end];
}

/* The score of a query and a key, logical indices, out of its sum of products, which the cursor can read: the SSA value. */
MloStatus attention_score(Attention *a, const KIdx *query, const KIdx *key, int *number) MLO_CHECKED;
/* What follows the result `value` of a query and a column, and its stores. */
MloStatus attention_finish(Attention *a, int value, const KIdx *query, const KIdx *column) MLO_CHECKED;

/* lower_attention_device.c.  Does the emitter of GPUs take it? */
bool attention_device_fits(const Attention *a, const MloTarget *t);
/* The statements of its kernel. */
MloStatus attention_device_build(Attention *a) MLO_CHECKED;
#endif
