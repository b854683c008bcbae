/* codegen/contract_lower.h -- between describing a contraction and lowering its group. */
#ifndef MLO_CODEGEN_CONTRACT_LOWER_H
#define MLO_CODEGEN_CONTRACT_LOWER_H
#include "codegen/contract.h"
#include "codegen/lower.h"
#include "codegen/schedule.h"

/* A tensor seen through transposes and reshapes: a strided window on the buffer of `base`. */
typedef struct StridedView {
	MloValue *base;
	int rank;
	MloDim dim[MLO_MAX_RANK], stride[MLO_MAX_RANK];
} StridedView;

/* Constant weights, and how (output channel, term, tap) finds them. */
typedef struct ContractWeights {
	enum { CW_CONV, CW_TRANSPOSED, CW_MATRIX } kind;
	const MloTensor *w;         /* [M][C/g][kh][kw]; transposed: [C][M/g][kh][kw]; matrix: by strides */
	const MloTensor *zero;      /* of integers: one zero point, or one per output channel; or NULL */
	int64_t kh, kw, icg, ocg;
	int64_t tile_groups;        /* groups that share one run of terms (block-diagonal), else 1 */
	int64_t phase_c, phase_x;   /* transposed: channel = (ky * phase_x + kx) * phase_c + oc */
	int64_t oc;
	int64_t stride_k, stride_c;
} ContractWeights;

/* contract_pack.c: B as KContract describes it (or Winograd's), and the sums of each tap's weights. */
const MloTensor *contract_pack(MloArena *a, const KContract *c, const ContractWeights *w);
const MloTensor *contract_pack_sums(MloArena *a, const KContract *c, const ContractWeights *w);
/* How many steps of the weights are not zero; all 0 where it is plain that most of them are not. */
MloSparsity contract_sparsity(const KContract *c, const ContractWeights *w);
/* B as a stream of those (codegen/sparse.h), where they find their input, and where rows begin. */
const MloTensor *contract_pack_sparse(MloArena *a, const KContract *c, const ContractWeights *w, const MloTensor **places,
                                      const MloTensor **rows);
/* Is of each group of terms (codegen/kept.h) at most half not zero?  And B without the others. */
bool contract_weights_halved(const KContract *c, const ContractWeights *w);
const MloTensor *contract_pack_kept(MloArena *a, const KContract *c, const ContractWeights *w);
/* Are all weights less their zero points numbers of i8?  channels_last: or else first. */
bool contract_weights_fit(const ContractWeights *w, int64_t channels, bool channels_last);

/* Is none of them INT8_MIN? */
bool contract_weights_small(const ContractWeights *w);

/* What describing a contraction yields.  `out_index` tells the epilogue the logical index of the
 * anchor's result from the contract's variables (b0, b1, y, x, c). */
typedef struct ContractPlan {
	bool dry;                   /* only ask whether it can be described: weights are not packed */
	int64_t band;               /* rows of images stay apart, and so many channels are made at a time; 0: all at once */
	MloKernel *k;               /* whose sizes c speaks of */
	KContract c;
	MloValue *a, *b;            /* operands as bound; b NULL when packed */
	const MloTensor *packed, *sums;
	MloSparsity weights;
	const MloTensor *places, *starts; /* of a stream of them */
	MloValue *zero;             /* of A, where the run brings it, or NULL */
	MloValue *gate;             /* factors of the terms, or NULL */
	MloValue *bias;             /* per output channel, or NULL */
	int64_t merged;             /* columns x run over the last `merged` dims of the result before channels */
	/* transposed convolution: channels are (tap row, tap column, padded channel) */
	int64_t phase_y, phase_x, phase_c;
	int64_t oc;                 /* real output channels */
	MloDim channels;            /* of a matrix product */
	bool winograd;              /* may be computed by pieces */
} ContractPlan;

/* Entries of the stream of sparse weights that c's schedule asks for. */
static inline int64_t contract_entries(const ContractPlan *p)
{
	int i = 0;

	while (1 << i < p->c.sparse.group)
		i++;
	return p->weights.n[i];
}

/* Fills the plan (zero but for `dry`, `band` and `k`) for the anchor of a group that starts at first, or
 * MLO_ERR_UNSUPPORTED. */
MloStatus contract_describe(MloLowerCx *cx, const MloNode *first, const MloNode *anchor, ContractPlan *p);

/* View of v through the transposes and reshapes of the group that make it. */
bool contract_view(MloSymbols *syms, const MloNode *first, const MloNode *anchor, MloValue *v, StridedView *out);

/* Stride of batch dimension d (of n, right-aligned) of a view whose last two are the matrix, in a product of type
 * y; false: it is neither the result's nor 1 for sure. */
bool contract_batch_stride(const StridedView *v, const MloType *y, int d, int n, MloDim *stride);

/* A value of the group that is at hand, and the logical index at which it was computed. */
typedef struct ContractItem {
	const MloValue *v;
	int number;                         /* SSA value */
	const KIdx *index[MLO_MAX_RANK];
} ContractItem;

typedef struct ContractTurned { const MloValue *of; const MloTensor *data; } ContractTurned;

/* A group while it is lowered: what follows a contraction is evaluated on its products. */
typedef struct ContractLower {
	MloLowerCx *cx;
	MloNode *first, *last, *anchor;
	ContractPlan plan;
	MloKernel *k;
	KCursor at;                         /* in the epilogue */
	const KIdx *var[5];
	const struct KGuard *guard;         /* of lanes that only pad */
	bool rows_in_lanes;                 /* lanes run over the last dimension but one: constants are turned */
	struct { ContractItem *items; size_t n, cap; } done;
	struct { ContractTurned *items; size_t n, cap; } turned;
	struct { MloBinding *items; size_t n, cap; } bind;
} ContractLower;

/* lower_contract.c. The argument for a value or for packed data, which are bound to it once. */
int contract_bind(ContractLower *l, KArgDir dir, MloValue *v, const MloTensor *packed);
int contract_scratch(ContractLower *l, int64_t count); /* a new one of f32 */
void contract_vars(ContractLower *l, KContract *c); /* new variables for c's epilogue */
void contract_done(ContractLower *l, const MloValue *v, int number, const KIdx *const *index);
/* The anchor's result out of its product, at the logical index that the variables stand for, and what follows it up to
 * `last`. */
MloStatus contract_epilogue(ContractLower *l, MloNode *last) MLO_CHECKED;
/* Elementwise and movement nodes behind `after` up to `last`, on values that are done. */
MloStatus contract_nodes(ContractLower *l, MloNode *after, MloNode *last) MLO_CHECKED;
/* Stores what is done and needed outside of the group. */
MloStatus contract_store_results(ContractLower *l) MLO_CHECKED;
/* Names the finished kernel by the nodes from `from` on, and counts the bytes of its arguments. */
void contract_label(ContractLower *l, const MloNode *from);
#endif
