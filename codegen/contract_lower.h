/* codegen/contract_lower.h -- between describing a contraction and lowering its group. */
#ifndef MLO_CODEGEN_CONTRACT_LOWER_H
#define MLO_CODEGEN_CONTRACT_LOWER_H
#include "codegen/contract.h"
#include "codegen/lower.h"

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
/* Are all weights less their zero points numbers of i8?  channels_last: or else first. */
bool contract_weights_fit(const ContractWeights *w, int64_t channels, bool channels_last);

/* What describing a contraction yields.  `out_index` tells the epilogue the logical index of the
 * anchor's result from the contract's variables (b0, b1, y, x, c). */
typedef struct ContractPlan {
	bool dry;                   /* only ask whether it can be described: weights are not packed */
	MloKernel *k;               /* whose sizes c speaks of */
	KContract c;
	MloValue *a, *b;            /* operands as bound; b NULL when packed */
	const MloTensor *packed, *sums;
	MloValue *zero;             /* of A, where the run brings it, or NULL */
	MloValue *bias;             /* per output channel, or NULL */
	int64_t merged;             /* columns x run over the last `merged` dims of the result before channels */
	/* transposed convolution: channels are (tap row, tap column, padded channel) */
	int64_t phase_y, phase_x, phase_c;
	int64_t oc;                 /* real output channels */
	MloDim channels;            /* of a matrix product */
	bool winograd;              /* may be computed by pieces */
} ContractPlan;

/* Fills the plan (zero but for `dry` and `k`) for the anchor of a group that starts at first, or
 * MLO_ERR_UNSUPPORTED. */
MloStatus contract_describe(MloLowerCx *cx, const MloNode *first, const MloNode *anchor, ContractPlan *p);

/* View of v through the transposes and reshapes of the group that make it. */
bool contract_view(MloSymbols *syms, const MloNode *first, const MloNode *anchor, MloValue *v, StridedView *out);
#endif
