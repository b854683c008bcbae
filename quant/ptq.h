/* quant/ptq.h -- post-training quantization: a float graph becomes one in QDQ form.
 *
 *   q = mlo_ptq_new(a, g, &opt);          which operators can work on integers, which tensors they read
 *   ... mlo_observe(&q->tensor[i].stats, ...) for every tensor with `wanted`
 *   mlo_ptq_ranges(q);                    scales and zero points
 *   mlo_ptq_apply(q, copy, d);            QuantizeLinear and DequantizeLinear around them, in a copy of g
 *
 * Integers are 8 bits (https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html): weights signed and symmetric, with
 * a scale per output channel or one; activations with one scale each, unsigned with a zero point, or signed and
 * symmetric; biases 32 bits in the scale of the products.  Activations that a layer reads in 16 bits have such a zero
 * point too (QuantizeLinear of opset 21).  An LSTM has no such form: it becomes DynamicQuantizeLSTM of com.microsoft,
 * which finds the ranges of its input and of its states as it runs.  An operator works on integers ("is quantised") when all
 * it reads is quantised and its result is read by one that is: contractions with constant weights always, what
 * joins, pools or moves their results in between (Jacob et al. 2018, section 2.4).  What follows an operator
 * element by element (Relu, Clip, a bias) belongs to it: only its last value is quantised. */
#ifndef MLO_QUANT_PTQ_H
#define MLO_QUANT_PTQ_H
#include "ir/graph.h"
#include "quant/observe.h"

typedef struct MloPtqOptions {
	MloRangeMethod range; /* of activations */
	double percentile;
	bool weight_mse;      /* ranges of weights with the least error; else all of them */
	bool per_tensor;      /* one scale for all output channels */
	bool symmetric;       /* activations signed, zero point 0 */
	bool products;        /* matrix products of two activations, too */
	/* patterns of node names (*, ?), NULL-terminated; may be NULL: stay float; alone are quantised; read 16 bits */
	const char *const *exclude, *const *include, *const *wide;
} MloPtqOptions;

typedef enum MloPtqKind {
	PTQ_CONV,    /* contraction with constant weights */
	PTQ_TRANSPOSED, /* convolution with constant weights, of one group, whose taps do not overlap */
	PTQ_MATMUL,
	PTQ_PRODUCT, /* of two activations */
	PTQ_LSTM,    /* its products; what they read is quantised as it runs */
	PTQ_JOIN,    /* add, mul, concat: values meet */
	PTQ_POOL,    /* means: one value, another range */
	PTQ_MOVE     /* results are operands: the same range */
} MloPtqKind;
static inline bool mlo_ptq_contracts(MloPtqKind k)
{
	return k == PTQ_CONV || k == PTQ_TRANSPOSED || k == PTQ_MATMUL || k == PTQ_PRODUCT || k == PTQ_LSTM;
}
/* Convolutions: channels of images are the dimension 1, a bias is an operand. */
static inline bool mlo_ptq_convolves(MloPtqKind k)
{
	return k == PTQ_CONV || k == PTQ_TRANSPOSED;
}
/* Weights are constants: output channels run along this dimension of them. */
static inline bool mlo_ptq_weighs(MloPtqKind k)
{
	return mlo_ptq_convolves(k) || k == PTQ_MATMUL;
}
static inline int mlo_ptq_weight_axis(MloPtqKind k)
{
	return k == PTQ_CONV ? 0 : 1;
}

/* Weights that are integers already: (q - zero) * scale, for all or for each output channel. */
typedef struct MloPtqStored {
	const MloTensor *q, *scale, *zero; /* q: 8 bits, as the weights lie in the graph; zero: NULL: 0 */
	bool bias; /* the layer's bias has 32 bits, in the scale of the products */
} MloPtqStored;

/* An operator that can work on integers. */
typedef struct MloPtqLayer {
	MloGraph *g;        /* that n is in: the graph, or a body of it */
	MloNode *n;
	MloPtqKind kind;
	MloValue *result;   /* at the end of what follows element by element */
	MloValue *sum;      /* of a contraction: its products and the bias */
	const char *off;    /* why it stays float; NULL: it may be quantised */
	const char *wide;   /* why it reads activations in 16 bits; NULL: 8 */
	bool on;            /* it is (as planned) */
	const MloTensor *bias;    /* corrected bias, f32[channels]; NULL: as in the graph */
	const int8_t *rounded;    /* weights in the order of the graph, rounded by mlo_round_layer(); NULL: to nearest */
	const MloPtqStored *stored; /* of a graph whose activations are in QDQ form, see quant/lift.h; NULL: float32 */
	double sqnr;        /* dB of the result against the float graph; NAN before it is known */
	double alone_sqnr;  /* dB of the outputs when this layer alone is quantised; NAN: not known */
	double alone_accuracy; /* and a metric of theirs, percent */
	double float_ns, int_ns; /* a run takes in either form on the target; NAN: not measured */
} MloPtqLayer;

typedef struct MloPtqTensor {
	MloGraph *g;        /* that v is in */
	MloValue *v;
	bool made;          /* by a quantised operator, or an input of the graph */
	bool wanted;        /* it is quantised as planned */
	bool wide;          /* in 16 bits: some layer reads it so, or another one of its group */
	MloStats stats;
	size_t group;       /* the smallest index of those that share its range */
	MloRange own, seen; /* by itself, from the statistics or a profile: as 8 bits have it best, and all that occurs */
	bool known;         /* those are */
	MloRange range;     /* of its group */
	double scale;
	int32_t zero;
	double *channel_lo, *channel_hi; /* of each channel the range, which holds 0, where somebody asked for it; else NULL */
	double *channel_sum, *channel_square; /* and sums of values and of squares */
	int64_t channel_count; /* values of a channel that were seen */
	double *factor;     /* that channels were divided by; NULL: they were not */
	int64_t nfactors;
} MloPtqTensor;

typedef struct MloPtq {
	MloArena *a;
	MloGraph *g;        /* not owned; unchanged */
	MloPtqOptions opt;
	MloPtqLayer *layer;
	MloPtqTensor *tensor; /* inputs, then results of nodes, in order: those of float32; then those of each branch of an if */
	size_t nlayers, ntensors;
	struct MloPtqSlot { const MloValue *v; size_t tensor; } *slot; /* tensors by value, hashed */
	size_t nslots;      /* a power of two */
} MloPtq;

MloPtq *mlo_ptq_new(MloArena *a, MloGraph *g, const MloPtqOptions *opt);
/* Which layers are on and tensors wanted, after layers were turned off (or on again). */
void mlo_ptq_plan(MloPtq *q);
MloPtqTensor *mlo_ptq_tensor(const MloPtq *q, const MloValue *v); /* NULL: none of ours */
/* What activations in 8 or 16 bits are stored as. */
MloElem mlo_ptq_elem(const MloPtq *q, bool wide);
/* Scale and zero point of integers e of 8 or 16 bits that cover r; symmetric: around 0. */
void mlo_range_numbers(MloRange r, MloElem e, bool symmetric, double *scale, int32_t *zero);
void mlo_ptq_ranges(MloPtq *q);
/* Rewrites `copy`, a clone of q->g, whose types stay inferred.  *at (may be NULL) gets the same layers and tensors,
 * in the same order, of the copy. */
MloStatus mlo_ptq_apply(const MloPtq *q, MloGraph *copy, MloPtq **at, MloDiag *d) MLO_CHECKED;

/* The first half of that alone: activations are in QDQ form, weights and biases stay as they are. */
MloStatus mlo_ptq_apply_activations(const MloPtq *q, MloGraph *copy, MloDiag *d) MLO_CHECKED;
/* The other half: layers of q that have `stored` get those weights in `copy`, a clone of q->g, and biases as they say. */
MloStatus mlo_ptq_lower(const MloPtq *q, MloGraph *copy, MloDiag *d) MLO_CHECKED;

/* Adds to `copy`, for each contraction that is on, a quantised twin that reads the float value: sum[i], else NULL. */
MloStatus mlo_ptq_alone(const MloPtq *q, MloGraph *copy, MloPtq **at, MloValue **sum, MloDiag *d) MLO_CHECKED;

/* Weights alone: matrix products of `copy`, but those that are off, become MatMulNBits (com.microsoft) of 4 or 8 bits,
 * a scale for each `size` (a power of two from 16 on) weights of a column.  Needs no ranges.  How many there are. */
size_t mlo_ptq_blocks(const MloPtq *q, MloGraph *copy, int bits, int size, MloDiag *d);

/* Is there a layer with a name like that? */
bool mlo_ptq_names(const MloPtq *q, const char *pattern);
bool mlo_pattern_match(const char *pattern, const char *text); /* '*' any characters, '?' one */

/* -- weights (quant/weights.c) */
typedef struct MloPtqWeights {
	const MloTensor *w;  /* as in the graph */
	int64_t channels;    /* of the output */
	int axis;            /* of w: its output channels */
	double *scale;       /* [channels], or one */
	int64_t nscales;
} MloPtqWeights;
#define PTQ_LEAST_SCALE 0x1p-40 /* of weights that are all zero */
/* `input` is the scale of what the layer reads: scales are large enough for the bias to fit 32 bits. */
void mlo_ptq_weights(const MloPtq *q, const MloPtqLayer *l, double input, MloPtqWeights *out);
/* Scales of w->w, whose channels and axis are set, without regard to a bias. */
void mlo_weight_scales(const MloPtq *q, MloPtqWeights *w);
int64_t mlo_weight_channel(const MloPtqWeights *w, int64_t element);
int8_t mlo_weight_round(double v, double scale);
/* The least scale of weights with which that bias fits 32 bits; `input`: scale of what the layer reads. */
double mlo_weight_room(double bias, double input);
/* The bias of a layer: of a convolution, or what is added to a product right after it. NULL: none. */
const MloValue *mlo_layer_bias(const MloPtqLayer *l);

/* -- recurrent operators (quant/recurrent.c) */
bool mlo_lstm_quantises(const MloNode *n);
/* A node in the place of n, of the same results, whose products are of integers; n stays, without readers. */
MloNode *mlo_lstm_quantise(const MloPtq *q, MloGraph *g, MloNode *n, MloDiag *d); /* NULL: an error in d */

/* -- scale moved between layers (quant/channels.c): the graph q->g changes, what it computes does not */
size_t mlo_ptq_equalize(MloPtq *q); /* how many activations had their channels scaled */
/* Is it of use to know of t's channels for the next (quant/migrate.c)?  How many there are and how many dimensions come
 * behind them; false: it is not. */
bool mlo_ptq_migrates(const MloPtq *q, const MloPtqTensor *t, int64_t *channels, int *inner);
/* By the channels of tensors; alpha 0: nothing is taken from activations, 1: all; PTQ_MIGRATE_BEST: of each activation
 * what leaves least noise in what its readers make of it.  Sets `factor` of those that were scaled and returns how many. */
#define PTQ_MIGRATE_BEST (-1.0)
size_t mlo_ptq_migrate(MloPtq *q, double alpha);
/* The same with factors that are known; false: t cannot be scaled so. */
bool mlo_ptq_scale(MloPtq *q, MloPtqTensor *t, const double *factor, int64_t n);

/* -- rounding of weights by what the layer reads (quant/round.c) */
typedef struct MloRoundInput {
	int64_t k, groups; /* weights of an output channel; groups of a convolution */
	float *h;          /* [groups][k][k], zeroed at first: sums of products of inputs */
	double *sum;       /* [groups][k], zeroed at first: of inputs; NULL: a constant error counts like any other, else
			      it does not: a bias makes up for it */
	int64_t *rows;     /* [groups], zeroed at first: how many; of use with `sum` */
} MloRoundInput;
int64_t mlo_round_taps(const MloPtqLayer *l);
int64_t mlo_round_groups(const MloPtqLayer *l);
/* `rows` inputs of a group: x[rows][k], for a convolution windows in the order of its weights. */
void mlo_round_add(MloRoundInput *in, int64_t group, const float *x, int64_t rows);
/* Weights in the order of the graph, in `a`.  Uses up `in`. */
const int8_t *mlo_round_layer(MloArena *a, const MloPtqWeights *w, MloRoundInput *in);
/* The same with scales of its own, one per channel: w->scale[channels] gets those of the least error, none below what is there. */
const int8_t *mlo_round_scaled(MloArena *a, MloPtqWeights *w, MloRoundInput *in);

/* The operand that is read as activation. */
static inline MloValue *mlo_layer_input(const MloPtqLayer *l)
{
	return l->n->in[0];
}
#endif
