/* quant/lift.h -- models in QDQ form as graphs whose weights may change: weights and biases are float32 constants,
 * activations stay behind QuantizeLinear and DequantizeLinear.
 *
 *   mlo_lift(a, g, ...)        integers out of the graph
 *   q = mlo_ptq_new(a, g, ...); mlo_lift_mark(...)   layers know theirs
 *   ... new weights in the graph and in layer.stored
 *   mlo_ptq_lower(q, copy, d)  integers back in, in a copy (quant/insert.c) */
#ifndef MLO_QUANT_LIFT_H
#define MLO_QUANT_LIFT_H
#include "quant/ptq.h"

typedef struct MloLifted {
	MloNode *n;          /* convolution or matrix product */
	MloPtqStored stored; /* where `off` is NULL */
	const char *off;     /* why its weights stay quantised in the graph */
} MloLifted;

/* Contractions of g (not of its bodies) that read dequantised activations and weights: weights of 8 bits, and biases of 32,
 * become constants of float32; convolutions without a bias get one of zeros.  How many are in *out, in `a`. */
size_t mlo_lift(MloArena *a, MloGraph *g, MloLifted **out, MloDiag *d);
/* Layers of q, a list of that graph, get their `stored`. */
void mlo_lift_mark(MloPtq *q, MloLifted *list, size_t n);

/* The DequantizeLinear that v comes from, through what only moves elements; NULL: none with one constant scale. */
MloNode *mlo_lift_source(const MloValue *v);
double mlo_lift_scale(const MloValue *v); /* its scale */

/* -- quantised activations */
typedef struct MloLiftPair {
	MloNode *quantize; /* one constant scale and zero point; all that read it dequantise by the same */
	size_t group;      /* the smallest index of those with the same numbers that movements connect */
	MloRange range;    /* that its integers cover */
	bool symmetric;    /* signed, around 0 */
	bool positive;     /* unsigned without a zero point: ranges start at 0 */
} MloLiftPair;
size_t mlo_lift_pairs(MloArena *a, const MloPtq *q, MloLiftPair **out);
/* Other numbers for it, of the same type. */
void mlo_lift_set(MloGraph *g, const MloLiftPair *p, MloRange r);
#endif
