/* ir/infer.h -- inside of shape inference: what the rules (infer_<rule> of ops.def) work with.
 *
 * A rule reads operand types (all present ones have a known element type when it is called) and
 * constant operands, and sets each result type by infer_out().  Sizes that it cannot know are
 * DIM_UNKNOWN; the driver turns them into fresh symbols, or keeps what an earlier run found. */
#ifndef MLO_IR_INFER_H
#define MLO_IR_INFER_H
#include "ir/graph.h"

typedef struct InferCx {
	MloGraph *g;
	MloNode *n;
	MloDiag *d;
	MloSymbols *syms;
} InferCx;

typedef MloStatus InferRule(InferCx *c);
#define OP(id, lo, hi, olo, ohi, kind, traits, rule, meaning) InferRule infer_##rule;
#define ATTR(op, name, kind, def)
#include "ir/ops.def"

/* The number INT64_MIN stands for "unknown" while a rule works; it never leaves infer_out(). */
#define DIM_UNKNOWN ((MloDim){INT64_MIN, NULL})
static inline bool dim_is_unknown(MloDim d) { return !d.e && d.k == INT64_MIN; }
static inline bool dim_is(MloDim d, int64_t k) { return !d.e && d.k == k; }

/* Algebra in which unknown operands give unknown results. */
MloDim infer_add(InferCx *c, MloDim a, MloDim b);
MloDim infer_sub(InferCx *c, MloDim a, MloDim b);
MloDim infer_mul(InferCx *c, MloDim a, MloDim b);
MloDim infer_div(InferCx *c, MloDim a, MloDim b);
/* Of sizes that are known, or symbolic. */
MloDim infer_min(InferCx *c, MloDim a, MloDim b);
MloDim infer_max(InferCx *c, MloDim a, MloDim b);

/* All nodes, where sizes may be guesses: branches that do not fit them stay, some of their types unknown. */
MloStatus infer_nodes(MloGraph *g, MloDiag *d) MLO_CHECKED;
/* Closes those branches, in bodies too. */
MloStatus infer_close(MloGraph *g, MloDiag *d) MLO_CHECKED;

/* Operands: the type (NULL when absent), and whether one is present. */
const MloType *infer_in(const InferCx *c, uint32_t i);
MloType infer_unranked(MloElem e);
/* x without the dimensions that operand i, a list of axes, names: they are not known, but how many may be. */
MloType infer_fewer(InferCx *c, const MloType *x, uint32_t i);
/* infer_out() for all results of an operator with TR_SIZED, t[] having nout entries: sizes that are still
 * unknown are computed when every operand is a constant. */
MloStatus infer_sized_out(InferCx *c, MloType *t) MLO_CHECKED;
MloStatus infer_out(InferCx *c, uint32_t i, const MloType *t) MLO_CHECKED;

/* Records "node ...: text". */
MloStatus infer_error(const InferCx *c, const char *fmt, ...) MLO_PRINTF(2, 3);
/* Texts for messages; they live in the graph's arena. */
const char *infer_name(const InferCx *c, uint32_t i);
const char *infer_type_text(const InferCx *c, const MloType *t);
const char *infer_dim_text(const InferCx *c, MloDim d);

/* axis in -rank..rank-1, made non-negative. */
MloStatus infer_axis(const InferCx *c, int64_t axis, int rank, int *out) MLO_CHECKED;
/* Operands i and j must have the same element type. */
MloStatus infer_same_elem(const InferCx *c, uint32_t i, uint32_t j) MLO_CHECKED;
/* What a and b, which must be equal, are known to be; false: provably different. */
bool infer_meet(MloDim a, MloDim b, MloDim *out);
/* Broadcasts b into *acc as ONNX does.  A size that only fits up to a number is at most that from here on: the
 * range of its symbol narrows, so that a run which exceeds it is refused by its inputs. */
MloStatus infer_broadcast(InferCx *c, MloType *acc, const MloType *b) MLO_CHECKED;

/* A small integer tensor of rank 0 or 1 (or a reshape of one) whose elements are partly known:
 * constants, and what shape subgraphs compute.  n < 0: not even the length is known; more than
 * INFER_MAX_VALUES elements: n is one more than that, and none is known. */
enum { INFER_MAX_VALUES = 2 * MLO_MAX_RANK };
typedef struct InferValues {
	int n;
	MloDim d[INFER_MAX_VALUES + 1];
} InferValues;
void infer_values(InferCx *c, const MloValue *v, InferValues *out);
/* Operand i as a list of integers: false when absent or not all known. */
bool infer_ints(InferCx *c, uint32_t i, int64_t *out, int *n);
/* Axes from operand i: normalised against rank, sorted flags. *known false when absent or not known. */
MloStatus infer_axes(InferCx *c, uint32_t i, int rank, bool axis[MLO_MAX_RANK], bool *known) MLO_CHECKED;
#endif
