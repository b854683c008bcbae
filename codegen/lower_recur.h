/* codegen/lower_recur.h -- between lowering the steps of recurrent operators (lower_recur.c) and their products of
 * integers (lower_recur_int.c). */
#ifndef MLO_CODEGEN_LOWER_RECUR_H
#define MLO_CODEGEN_LOWER_RECUR_H
#include "codegen/lower.h"

enum { RECUR_MAX_GATES = 4, RECUR_MAX_FUNCS = 3 };

typedef enum Act { ACT_NONE, ACT_RELU, ACT_TANH, ACT_SIGMOID, ACT_AFFINE, ACT_LEAKY, ACT_SCALED_TANH, ACT_HARD } Act;
typedef struct Func { Act act; double alpha, beta; } Func;

typedef struct Recur {
	MloLowerCx *cx;
	MloKernel *k;
	const MloNode *n;
	struct { MloBinding *items; size_t n, cap; } bind;
	MloDim steps, batch;
	int64_t hidden, lanes, padded;               /* padded: hidden, to whole chains */
	int dirs, gates, nfuncs;
	int x, bias, h0, c0, p, out[3];              /* arguments, -1 absent */
	int h, next, c, z;                           /* scratch: states, the update gate */
	double clip;
	Func func[2 * RECUR_MAX_FUNCS];
	const KIdx *b;                               /* the sequence at hand */
	const KIdx *block, *lane;                    /* of the unit at hand */
	int dir;
	bool reversed;                               /* this step takes the units from the last block on */
	struct {
		bool on;                             /* products are of integers */
		int state, zero, sum;                /* scratch: the state as u8, its zero point, sums of gates * hidden */
		int weights[2], sums[2], scale;      /* arguments; weights and their sums by direction */
		int factor;                          /* SSA value: the scale of the state */
		KContract product;
	} in8;
} Recur;

/* A product of some gates: which they are, and their weights. */
typedef struct Product {
	int weights, gates, gate[RECUR_MAX_GATES];
	int state; /* the scratch that holds the other factor */
} Product;

/* The argument of a value or of packed data; scratch of its own. */
int recur_bind(Recur *r, KArgDir dir, MloValue *v, const MloTensor *packed, MloElem elem, MloDim count);
int recur_scratch(Recur *r, MloElem elem, int64_t count);

/* Can products of n's weights in integers be lowered? */
bool recur_int_fits(const Recur *r);
void recur_int_arguments(Recur *r);
/* The state becomes integers, which are multiplied by the weights of all gates. */
void recur_int_step(Recur *r, KCursor *at);
/* start + the product of gate g for unit j. */
int recur_int_sum(Recur *r, KCursor *at, int g, const KIdx *j, int start);
#endif
