/* prune/prune.h -- one-shot pruning: weights of a float graph become zero, the others make up for them.
 *
 * A layer is a convolution or a matrix product with constant weights, seen as a matrix W of `rows` outputs and
 * k = taps * channels inputs, in this order: the channels of one tap lie side by side.  A grouped convolution is one
 * such matrix per group.  With the inputs x that a layer reads, H = sum x x', and the outputs y that it should give,
 * C = sum y x', the square error of weights W is tr(W H W' - 2 C W') and a constant: the problem of the optimal brain
 * surgeon (Hassibi and Stork 1993), layer by layer (Dong et al. 2017, Frantar and Alistarh 2022).
 *
 *   mlo_prune_layers(...)            which layers there are, and whether the pattern fits them
 *   ... mlo_prune_add(&stats, ...)   for every batch of inputs and wanted outputs
 *   mlo_problem_new(a, &stats, ...)  H, damped, and the best weights without zeros
 *   mlo_prune_allocate(...)          how many zeros each layer gets
 *   mlo_prune_search(...)            which weights stay
 *   mlo_prune_refit(...)             what they become
 *
 * Nothing here runs a graph: tools/prune*.c do. */
#ifndef MLO_PRUNE_PRUNE_H
#define MLO_PRUNE_PRUNE_H
#include <math.h>

#include "quant/ptq.h"

/* -- patterns (prune/pattern.c) */
typedef enum MloPruneKind {
	PRUNE_UNSTRUCTURED, /* each weight by itself */
	PRUNE_BLOCK,        /* `rows` outputs by `cols` input channels of one tap together */
	PRUNE_CHANNEL,      /* output channels, with all that depends on them (prune/groups.h) */
	PRUNE_NM            /* `keep` of `of` consecutive input channels of one tap and output stay */
} MloPruneKind;
typedef struct MloPrunePattern {
	MloPruneKind kind;
	int rows, cols; /* of what goes together: 1 and 1 but for blocks */
	int keep, of;
} MloPrunePattern;
/* "unstructured", "block" (1 output, 4 input channels), "block=RxC", "channel", "N:M"; false: none of these. */
bool mlo_pattern_parse(const char *text, MloPrunePattern *out);
const char *mlo_pattern_text(MloArena *a, const MloPrunePattern *p);
/* keep[rows][k] becomes 1 where a weight stays: those of which the sums of scores (>= 0) are largest, as many as the
 * pattern says, or all but the share `sparsity` of the matrix. */
void mlo_pattern_choose(const MloPrunePattern *p, const double *score, int64_t rows, int64_t k, double sparsity,
			uint8_t *keep);

/* -- layers (prune/layers.c) */
typedef struct MloPruneLayer {
	size_t index;        /* in the list of MloPtq */
	MloNode *n;
	int64_t rows, channels, taps, groups; /* rows and channels of one group */
	const char *off;     /* why it stays as it is; NULL: it is pruned */
	bool whole;          /* none of its weights goes, they are fitted and rounded alone */
	double sparsity;     /* that is asked for */
	double zeros;        /* share of its weights that are 0 in the end */
	double sqnr;         /* dB of its results, by the samples, as expected when it was pruned; NAN: not known */
	int64_t seen;        /* inputs (rows of x) that this rests on */
} MloPruneLayer;
typedef struct MloPruneList {
	MloPruneLayer *layer; /* in the order of the graph */
	size_t n;
} MloPruneList;
static inline int64_t mlo_prune_inputs(const MloPruneLayer *l)
{
	return l->channels * l->taps;
}
static inline int64_t mlo_prune_weights(const MloPruneLayer *l) /* how many there are */
{
	return l->rows * l->groups * mlo_prune_inputs(l);
}
/* All contractions with constant weights of q, in `a`.  Layers that q has `off`, those that the pattern does not
 * divide and, unless named by q's patterns, those where zeros gain nothing stay dense: grouped and depthwise
 * convolutions, and layers that read 4 channels or fewer of the graph's input. */
void mlo_prune_layers(MloArena *a, const MloPtq *q, const MloPrunePattern *p, MloPruneList *out);
bool mlo_prune_divides(const MloPrunePattern *p, const MloPruneLayer *l); /* does the pattern fit outputs and channels? */
/* Weights of a group as W[rows][k], and back, into a new constant of the same name. */
void mlo_weights_get(const MloPruneLayer *l, const MloNode *n, int64_t group, double *w);
void mlo_weights_set(MloGraph *g, const MloPruneLayer *l, MloNode *n, const double *w /* [groups][rows][k] */);
/* A tensor of elements e that lies like the weights of n, in `a`. */
MloTensor *mlo_weights_tensor(MloArena *a, const MloPruneLayer *l, const MloNode *n, MloElem e, const double *w);
/* The smallest weights by the pattern become 0, in a new constant. */
void mlo_weights_smallest(MloGraph *g, const MloPruneLayer *l, MloNode *n, const MloPrunePattern *p, double sparsity);
double mlo_weights_zeros(const MloTensor *w); /* the share of zeros */

/* -- what layers read and should give (prune/problem.c) */
typedef struct MloPruneStats {
	int64_t rows, k, n; /* n: inputs seen */
	float *h;           /* [k][k], the upper half: sum x x' */
	float *c;           /* [rows][k]: sum y x' */
	double *x, *y;      /* [k], [rows]: sums */
	double square;      /* sum of y y' */
} MloPruneStats;
MloPruneStats mlo_prune_stats(MloArena *a, int64_t rows, int64_t k);
size_t mlo_prune_stats_bytes(int64_t rows, int64_t k);
/* `n` inputs x[n][k] and the outputs y[n][rows] that are wanted for them. */
void mlo_prune_add(MloPruneStats *s, const float *x, const float *y, int64_t n);

typedef struct MloProblem {
	int64_t rows, k;
	double *h;       /* [k][k], both halves, damped; of what differs from the mean where there is a bias */
	double *best;    /* [rows][k]: weights of the least error, without zeros */
	double *mean_x, *mean_y; /* [k], [rows] of inputs and wanted outputs; NULL: there is no bias */
	double floor;    /* square error of `best`, per input */
	double signal;   /* variance of the wanted outputs, summed over the rows */
	double damping;  /* that was added to the diagonal, of its mean */
} MloProblem;
typedef enum MloProblemFound {
	PROBLEM_GIVEN,
	PROBLEM_CONSTANT, /* the inputs are all the same (with a bias), or 0 */
	PROBLEM_WILD      /* inputs or outputs are infinite or NaN */
} MloProblemFound;
/* Damping is a share of the diagonal's mean, towards the weights w[rows][k] that are there; raised as far as is needed
 * for H to be definite.  `bias`: a constant error costs nothing. */
MloProblemFound mlo_problem_new(MloArena *a, const MloPruneStats *s, const double *w, bool bias, double damping,
				MloProblem *out);
/* Square error of weights, per input. */
double mlo_problem_error(const MloProblem *p, const double *w);

/* Mean square of what weights give, less their mean where there is a bias. */
double mlo_problem_size(const MloProblem *p, const double *w);
/* Single inputs, and the outputs that are wanted for them. */
typedef struct MloPruneRows {
	float *x, *y; /* [n][k], [n][rows] */
	int64_t n, seen;
	uint32_t draw; /* state of the choice of rows, if there are more */
} MloPruneRows;
/* Mean square error of weights w[rows][k] and biases (NULL: none) on those; *signal: variance of what is wanted. `centred`: a
 * constant error of an output counts nothing. */
double mlo_rows_error(const MloPruneRows *r, int64_t rows, int64_t k, const double *w, const double *bias, bool centred,
		      double *signal);

/* -- which weights stay, and their values (prune/search.c) */
void mlo_prune_search(const MloProblem *p, const MloPrunePattern *t, double sparsity, uint8_t *keep);
/* Weights w[rows][k] of the least error that are 0 but where keep[rows][k] is set. */
void mlo_prune_refit(const MloProblem *p, const uint8_t *keep, double *w);

/* -- whole channels (prune/channels.c).  Channels of a layer's input have `repeat` elements each (more than one behind a
 * flattened image), keep[channels / repeat] of them are there. */
void mlo_channels_mask(const MloPruneLayer *l, const uint8_t *keep, int64_t repeat, uint8_t *column /* [k] */);
/* error[channels / repeat]: what leaving out that channel, too, costs by itself, per input. */
void mlo_channels_errors(const MloProblem *p, const MloPruneLayer *l, const uint8_t *keep, int64_t repeat, double *error);

/* -- how many zeros each layer gets (prune/allocate.c) */
enum { PRUNE_LEVELS = 16 };
/* What sparsity costs: error[i], per input, for level[i] of n; a quick estimate from above. */
void mlo_prune_errors(const MloProblem *p, const MloPrunePattern *t, const double *level, int n, double *error);
/* A layer at several sparsities, in rising order: what is left of its cost, in any unit, and the error that it makes. */
typedef struct MloPruneCurve {
	int n;
	double level[PRUNE_LEVELS], cost[PRUNE_LEVELS], error[PRUNE_LEVELS];
} MloPruneCurve;
/* Sparsities with the least sum of errors of which the costs are at most `most`; `partly`: between two levels cost is
 * linear, and sparsity may be there.  False: the least cost there is, which is more. */
bool mlo_prune_allocate(const MloPruneCurve *curve, size_t n, double most, bool partly, double *sparsity);
#endif
