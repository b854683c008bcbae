/* passes/quant.h -- what the passes over quantised models ask of QuantizeLinear and DequantizeLinear nodes. */
#ifndef MLO_PASSES_QUANT_H
#define MLO_PASSES_QUANT_H
#include "passes/match.h"

/* One quantization for a whole tensor: q = clamp(round(x / scale) + zero, lo, hi). */
typedef struct MloQuant {
	MloElem elem;         /* of the integers */
	double scale, zero;   /* scale > 0, a float32 */
	double lo, hi;        /* all integers of the type, unless narrowed by whoever has it */
} MloQuant;

/* The range of an integer type of at most 16 bits; false: it is none. */
bool mlo_quant_range(MloElem e, double *lo, double *hi);
/* Does n quantise float32 to (dequantise to float32 from) integers with one constant scale, larger than 0, and zero
 * point for all elements?  n may be NULL. */
bool mlo_quant_to(const MloNode *n, MloQuant *q);
bool mlo_quant_from(const MloNode *n, MloQuant *q);
bool mlo_quant_same(const MloQuant *a, const MloQuant *b); /* the same integers for the same numbers */
/* The integer that x becomes. */
double mlo_quant_value(const MloQuant *q, double x);
/* The axis along which scales of a (de)quantization vary; -1: one for all; -2: they vary by blocks. */
int mlo_quant_axis(const MloNode *n);

/* Are all elements of n's results elements of its first operands, mlo_quant_moved(n) in number, the largest of some of
 * them, or a constant that n pads with?  Such operators can be done before quantization and after. */
bool mlo_quant_moves(const MloNode *n);
uint32_t mlo_quant_moved(const MloNode *n);
#endif
