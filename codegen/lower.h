/* codegen/lower.h -- from a fused group of graph nodes to a kernel.
 *
 * Lowerings, tried in this order for a group [first, last] (contiguous nodes):
 *   attention: two matrix products with a softmax between them (counts as the contract tier);
 *   bands:    convolutions behind each other, band by band (counts as the contract tier);
 *   contract: a contraction and its elementwise epilogue;
 *   loops:    maps, movement, reductions, pooling, row-wise normalisation, fused;
 *   forest:   one tree ensemble (counts as the loop tier);
 *   recurrent: one recurrent operator that gets its input products (passes/hoist.c; likewise);
 *   call:     one node, a reference kernel of the library tier.
 * A lowering answers MLO_ERR_UNSUPPORTED without a diagnostic when the group is not its business. */
#ifndef MLO_CODEGEN_LOWER_H
#define MLO_CODEGEN_LOWER_H
#include "codegen/kernel.h"
#include "codegen/schedule.h"
#include "targets/target.h"

/* What an argument of a lowered kernel is bound to: a value of the graph, or data that lowering
 * prepared (packed weights), or (both NULL) per-thread scratch or the sizes. */
typedef struct MloBinding {
	MloValue *value;
	const MloTensor *packed;
} MloBinding;

typedef struct MloLowered {
	MloKernel *kernel;
	MloBinding *bind; /* kernel->arg.n entries; the argument of sizes is bound to nothing */
	MloChoice choice; /* of a contraction's schedule */
	CacheKey tunable; /* MloTunable.key, if the chooser was asked */
} MloLowered;

typedef struct MloLowerCx {
	MloArena *arena;
	const MloGraph *graph;
	const MloTarget *target;
	MloDiag *diag;
	bool direct_only; /* no Winograd: results closer to the sum in order */
	MloElem weights;  /* that float weights are packed as, where products read them: f32 (or EL_none), tf32, bf16, f16 */
	MloElem precision; /* what attention of a GPU may round operands to: bf16, f16; anything else: nothing */
	const MloChooser *chooser;  /* NULL: the cost model chooses schedules */
	const MloSchedule *forced;  /* contractions get this one */
	int64_t weight_bytes;       /* of all constants of the graph; 0: not known */
	bool probe;       /* contractions are lowered to be looked at: weights are not packed */
} MloLowerCx;

MloStatus mlo_lower_attention(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out) MLO_CHECKED;
MloStatus mlo_lower_bands(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out) MLO_CHECKED;
MloStatus mlo_lower_contract(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out) MLO_CHECKED;
MloStatus mlo_lower_loops(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out) MLO_CHECKED;
MloStatus mlo_lower_forest(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out) MLO_CHECKED;
MloStatus mlo_lower_recurrent(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out) MLO_CHECKED;
MloStatus mlo_lower_call(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out) MLO_CHECKED;
/* The call of n's size kernel: KCall.sizes_arg is bound to nothing. MLO_ERR_UNSUPPORTED: it has none. */
MloStatus mlo_lower_sizes(MloLowerCx *cx, MloNode *n, MloLowered *out) MLO_CHECKED;

/* Are n's values numeric tensors of known rank?  Otherwise contractions and loops do not take it, and passes
 * neither group it nor change its layout. */
bool mlo_node_lowers(const MloNode *n);
bool mlo_node_static(const MloNode *n); /* and all their sizes stand in the types */

/* Whether mlo_lower_contract has a form for the contraction `anchor` when its group starts at `first`
 * (reshapes and transposes between the two become strides of the operands). */
bool mlo_can_lower_contract(MloLowerCx *cx, const MloNode *first, const MloNode *anchor);
/* Does the anchor take the product of an image and a factor per channel that its group begins with, by scaled weights, and are
 * there fewer weights to scale than pixels?  Both take about as long each. */
bool mlo_scale_pays(MloLowerCx *cx, const MloNode *first, const MloNode *anchor);
/* How many products at once that form would take for each lane; 0: there is none. */
int mlo_contract_dot(MloLowerCx *cx, const MloNode *first, const MloNode *anchor);

/* Whether mlo_lower_attention takes a group that starts at `first` and goes through these three. */
bool mlo_can_lower_attention(MloLowerCx *cx, const MloNode *first, MloNode *qk, MloNode *softmax, MloNode *pv);
/* Whether it can read operand i of one of the products where it lies, behind the movement that starts at first;
 * rows: each row of it must be one run of memory. */
bool mlo_can_attend(MloLowerCx *cx, const MloNode *first, const MloNode *anchor, uint32_t i, bool rows);

/* Estimated cycles that mlo_lower_bands saves on each image when it takes as one group the n convolutions conv[], each
 * with the elementwise nodes up to last[], behind which only the next one reads; 0 or less: they are not worth it, or
 * not such a chain. */
enum { MLO_MAX_BANDS = 3 };
double mlo_bands_gain(MloLowerCx *cx, MloNode *const *conv, MloNode *const *last, int n);

/* Is v computed inside the group and needed nowhere else? */
bool mlo_group_internal(const MloGraph *g, const MloNode *first, const MloNode *last, const MloValue *v);

/* Shared by all lowerings: expressions of elementwise operators.  Emits at the cursor the scalar
 * computation of elementwise node n from already computed operand values; returns the value number,
 * or -1 when the operator or type has no Kernel IR form (then: library tier). */
int mlo_lower_eltwise(KCursor *at, const MloNode *n, const int *operand);
/* Whether that form reads operand i: one that is absent or becomes a constant of the kernel need not be loaded. */
bool mlo_eltwise_reads(const MloNode *n, uint32_t i);
/* Whether mlo_lower_eltwise has a form for n (fusion asks before it groups). */
bool mlo_can_lower_eltwise(const MloNode *n);

/* Whether the loop tier has a form for this node: its operator, types and attributes.
 *
 * mlo_lower_loops takes a group of contiguous nodes that all pass this test, with any number of
 * elementwise and movement nodes and at most one reduction, pooling or row-wise node ("anchor"):
 *   - before the anchor: anything. It is computed once per read: broadcasting, overlapping windows
 *     and two-pass reductions (arg_max) repeat it, so only cheap maps belong in front of those.
 *   - after a reduction or pooling: elementwise and movement nodes that keep the number of elements
 *     (no expand, and no broadcast against something larger): one kernel result depends on it.
 *   - after a row-wise node: elementwise nodes of the same shape; every result of the group has
 *     that shape, results in front of the anchor too. Dense layouts only.
 *   - results needed outside may be any values of the group; results of different shapes get a
 *     loop nest each, and what they share is computed again in each.
 *   - concat as the group's result is a nest per operand; in the middle of an expression it is a
 *     chain of guarded loads and choices (slow).
 *   - an operand and a result must not share memory unless the group is elementwise only and both
 *     have the same type and layout. */
bool mlo_can_lower_loops_node(const MloNode *n);

/* The flat element offset of v at a logical index (rank entries), respecting v->layout. */
const KIdx *mlo_lower_offset(MloKernel *k, const MloValue *v, const KIdx *const *index);
/* Elements that v's buffer holds, padding lanes of blocked layouts included. */
int64_t mlo_value_storage(const MloValue *v);           /* of known sizes */
MloDim mlo_value_count(MloSymbols *syms, const MloValue *v);
#endif
