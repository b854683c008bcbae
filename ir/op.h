/* ir/op.h -- what operators are: the enum, the attribute slots and the table row of each. */
#ifndef MLO_IR_OP_H
#define MLO_IR_OP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum MloOp {
#define OP(id, ...) OP_##id,
#define ATTR(...)
#include "ir/ops.def"
	OP_COUNT
} MloOp;

/* How an operator behaves; passes and codegen decide by this, never by a switch over operators. */
typedef enum MloOpKind {
	OK_ELTWISE,  /* each result element from the operand elements at the same (broadcast) index */
	OK_CONTRACT, /* sums of products: conv, matmul, gemm */
	OK_REDUCE,   /* reduces axes */
	OK_POOL,     /* window reduction */
	OK_ROWWISE,  /* normalises rows: softmax, layer norm */
	OK_MOVE,     /* each result element is one operand element, or a constant */
	OK_SHAPE,    /* computed from shapes alone */
	OK_OTHER     /* the library tier */
} MloOpKind;

enum MloOpTraits {
	TR_PURE = 1,     /* no effect but its results: may be removed, shared, folded */
	TR_COMMUTES = 2, /* operands 0 and 1 may be swapped */
	TR_BCAST = 4,    /* operands broadcast as ONNX's multidirectional broadcasting says */
	TR_VARIADIC = 8, /* any number of operands from the minimum on, none of them absent */
	TR_SIZED = 16,   /* sizes of results may depend on values: size_<id>() tells them (ir/ref/ref.h) */
	TR_OBJECT = 32,  /* works on objects or runs subgraphs: executed by executor and runtime, no ref_<id> */
	TR_MOVES = 64,   /* only copies elements: takes strings and complex numbers, too */
	TR_SHARES = 128, /* ref_<id> may be called by several threads that make the results together (RefCall.part) */
};

typedef enum MloAttrKind { AK_INT, AK_FLOAT, AK_STR, AK_INTS, AK_FLOATS, AK_GRAPH } MloAttrKind;

/* Attribute slots: ATTR_conv_group is the index of conv's `group` in MloNode.attr. */
enum {
#define OP(id, ...) ATTR_NONE_##id = -1,
#define ATTR(op, name, kind, def) ATTR_##op##_##name,
#include "ir/ops.def"
	ATTR_END_
};

typedef struct MloAttrInfo {
	const char *name;
	MloAttrKind kind;
	const char *def; /* default as text: "1", "0.01", "" (absent list or string), "NOTSET" */
} MloAttrInfo;

typedef struct MloOpInfo {
	const char *name;
	int min_in, max_in; /* operands; max_in is -1 when variadic */
	int min_out, max_out;
	MloOpKind kind;
	unsigned traits;
	const char *meaning;
	const MloAttrInfo *attr;
	int nattr;
} MloOpInfo;

const MloOpInfo *mlo_op_info(MloOp op);
bool mlo_op_find(const char *name, size_t n, MloOp *out);
static inline bool mlo_op_has(MloOp op, unsigned traits) { return (mlo_op_info(op)->traits & traits) == traits; }
int mlo_attr_slot(MloOp op, const char *name, size_t n); /* -1 when the operator has no such attribute */
#endif
