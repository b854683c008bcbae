/* ir/graph.h -- the Graph IR: SSA values, nodes in topological order, one arena.
 *
 * Ownership: the graph owns everything through its arena, except tensor data that points into a
 * mapped file.  Pointers stay valid until mlo_graph_free().  Node lists are always in topological
 * order: a node stands after the definitions of its operands; editing functions keep use counts. */
#ifndef MLO_IR_GRAPH_H
#define MLO_IR_GRAPH_H
#include "ir/op.h"
#include "ir/type.h"

typedef struct MloNode MloNode;
typedef struct MloGraph MloGraph;

/* Physical form of a value in memory, chosen by the layout pass.
 * block == 0: dense row-major in logical order.
 * block == B: dimension 1 (channels) is split: [d0][ceil(d1/B)][d2]...[dn][B]; lanes past d1 are
 * unspecified (finite or not) and nobody may read them into a result.
 * stored: elements of f32 are rounded to that when they are stored: bf16, f16 or tf32; EL_none: they are not. */
typedef struct MloLayout {
	int16_t block;
	MloElem stored;
} MloLayout;

/* One operand slot that names a value: node->in[slot]. */
typedef struct MloUse {
	MloNode *node;
	uint32_t slot;
	struct MloUse *prev, *next;
} MloUse;

typedef struct MloValue {
	const char *name;      /* the user's name, may be NULL for values passes made */
	MloType type;
	MloLayout layout;
	MloNode *def;          /* NULL: graph input or constant */
	uint32_t out_index;    /* which output of def */
	uint32_t id;           /* unique in the graph, never reused */
	uint32_t nuse;         /* operand slots (and graph outputs) that name it */
	const MloTensor *data; /* a constant, when not NULL */
	MloUse *uses;          /* its operand slots, newest first; graph outputs are not among them */
} MloValue;

/* The type of v's elements in memory. */
static inline MloElem mlo_value_elem(const MloValue *v)
{
	return v->layout.stored ? v->layout.stored : v->type.elem;
}

/* Where a node came from. Fusion concatenates the lists. */
typedef struct MloOrigin {
	const char *name; /* ONNX node name, or the name of its first output when unnamed */
	const char *op;   /* ONNX operator type */
	int opset;
	struct MloOrigin *next;
} MloOrigin;

/* An attribute value; its kind is fixed by the operator table. */
typedef struct MloAttr {
	bool set;          /* false: the default of the table */
	int64_t i;
	double f;
	const char *s;
	const int64_t *ints;
	const double *floats;
	int32_t n;         /* length of ints or floats */
	MloGraph *graph;   /* a body: mlo_graph_body() */
} MloAttr;

struct MloNode {
	MloOp op;
	uint32_t nin, nout;
	MloValue **in;     /* NULL for an optional operand that is absent */
	MloValue **out;    /* NULL for an optional result that nobody wants */
	MloAttr *attr;     /* mlo_op_info(op)->nattr entries, in table order */
	MloOrigin *origin;
	uint32_t group;    /* fused group (1..), 0 while ungrouped; members of one group are contiguous */
	MloNode *prev, *next;
	MloUse *use;       /* nin entries, linked into the uses of the operands */
};

/* A mapped file that tensor data points into. */
typedef struct MloMapped { void *p; size_t bytes; struct MloMapped *next; } MloMapped;

typedef struct MloMeta { const char *key, *value; struct MloMeta *next; } MloMeta;

struct MloGraph {
	MloArena *arena;
	MloSymbols *syms;
	const char *name;
	MloNode *first, *last;
	bool body;                     /* an attribute of a node, made by mlo_graph_body() */
	MloValue **inputs, **outputs;
	const char **output_names;     /* user's names, parallel to outputs (a value may serve twice) */
	uint32_t ninputs, noutputs;
	uint32_t next_id;
	struct { MloValue **items; size_t n, cap; } consts; /* constants ever created, dead ones included */
	MloMeta *meta;                 /* producer, metadata_props, ... */
	MloMapped *mapped;             /* owned by the arena; clones have none */
};

MloGraph *mlo_graph_new(const char *name);  /* with an arena of its own; NULL when out of memory */
void mlo_graph_free(MloGraph *g);

enum { MLO_MAX_DEPTH = 16 }; /* of bodies in bodies */
/* An empty graph in the arena of g and with its symbol table, to be a graph attribute (a body).
 * Bodies are closed: they read only their inputs and constants of their own, and their types name only
 * sizes that are bare dimensions of their inputs or defined by their nodes.  What they need of the graph
 * around them is passed by the node as operands.  Freed with g. */
MloGraph *mlo_graph_body(MloGraph *g, const char *name);

MloValue *mlo_graph_input(MloGraph *g, const char *name, const MloType *t);
void mlo_graph_output(MloGraph *g, MloValue *v, const char *name);
MloValue *mlo_graph_const(MloGraph *g, const MloTensor *t, const char *name);
MloValue *mlo_graph_const_i64s(MloGraph *g, int rank /* 0 or 1 */, const int64_t *v, int n);
MloValue *mlo_graph_const_f32(MloGraph *g, float v);         /* scalar */

/* Appends (before == NULL) or inserts a node. in[] is copied. Result values are created with
 * unknown types: call mlo_infer_node(), or set the types. All attributes start at their defaults. */
MloNode *mlo_graph_node(MloGraph *g, MloNode *before, MloOp op, MloValue *const *in, uint32_t nin, uint32_t nout);
/* One more result of n, of unknown type; of a node with a body, whose own results the caller sees to. */
MloValue *mlo_node_add_out(MloGraph *g, MloNode *n);
/* The common case: one result; infers its type; inherits origin from `like` (may be NULL). */
MloValue *mlo_graph_op(MloGraph *g, MloNode *before, MloOp op, const MloNode *like, MloValue *const *in, uint32_t nin);

/* The operator that copies a value of that type: identity, or same_object. */
static inline MloOp mlo_copy_op(const MloType *t) { return mlo_type_object(t) ? OP_same_object : OP_identity; }

void mlo_node_set_in(MloGraph *g, MloNode *n, uint32_t i, MloValue *v);
void mlo_graph_replace(MloGraph *g, MloValue *old, MloValue *with); /* every use, graph outputs too */
void mlo_graph_set_output(MloGraph *g, uint32_t i, MloValue *v);     /* another value under the same name */
void mlo_graph_remove(MloGraph *g, MloNode *n);                     /* its results must be unused */
void mlo_graph_move(MloGraph *g, MloNode *n, MloNode *before);      /* NULL: to the end */
bool mlo_node_used(const MloNode *n);
bool mlo_is_output(const MloGraph *g, const MloValue *v);
/* Consumers of v: for (MloUse *u = v->uses; u; u = u->next). Editing v's uses invalidates u. */
MloNode *mlo_only_user(const MloGraph *g, const MloValue *v); /* the node, if exactly one use and not an output */
void mlo_origin_add(MloGraph *g, MloNode *n, const MloOrigin *from); /* appends copies, no duplicates */
const char *mlo_node_name(const MloNode *n);                        /* first origin's name, or the op's */

/* Adds a name and a value to the graph's metadata; a key that exists already gets the new value. */
void mlo_graph_meta(MloGraph *g, const char *key, const char *value);

/* Pages of the mapped files count as memory in use once they were read: gives them back.  They are
 * read again, from the file, when somebody looks at them. */
void mlo_graph_unload(const MloGraph *g);

/* Typed attributes by table slot: ATTR_<op>_<name>. */
int64_t mlo_attr_i(const MloNode *n, int slot);
double mlo_attr_f(const MloNode *n, int slot);
const char *mlo_attr_s(const MloNode *n, int slot);
const int64_t *mlo_attr_ints(const MloNode *n, int slot, int *count); /* *count 0 when absent */
const double *mlo_attr_floats(const MloNode *n, int slot, int *count);
MloGraph *mlo_attr_graph(const MloNode *n, int slot); /* NULL when absent */
/* All bodies of n: for (int at = 0; (b = mlo_node_body(n, &at));) */
MloGraph *mlo_node_body(const MloNode *n, int *at);
/* Setting a value equal to the default makes the attribute unset: `set` says "differs from it".
 * A float within float32 rounding of the default counts as the default. */
void mlo_attr_set_i(MloNode *n, int slot, int64_t v);
void mlo_attr_set_f(MloNode *n, int slot, double v);
void mlo_attr_set_s(MloGraph *g, MloNode *n, int slot, const char *v);
void mlo_attr_set_ints(MloGraph *g, MloNode *n, int slot, const int64_t *v, int count);
void mlo_attr_set_floats(MloGraph *g, MloNode *n, int slot, const double *v, int count);
void mlo_attr_set_graph(MloNode *n, int slot, MloGraph *body);

/* An error about a node: "node 'NAME' (TYPE, opset N): TEXT", in the user's words. */
MloStatus mlo_node_error(MloDiag *d, MloStatus st, const MloNode *n, const char *fmt, ...) MLO_PRINTF(4, 5);
/* The value's name, or "%ID" written into buf. */
const char *mlo_value_name(const MloValue *v, char buf[24]);

/* Result types of one node from its operands (values of constant operands are read too).
 * On failure a diagnostic that names the node and the values is recorded. */
MloStatus mlo_infer_node(MloGraph *g, MloNode *n, MloDiag *d) MLO_CHECKED;
MloStatus mlo_infer_graph(MloGraph *g, MloDiag *d) MLO_CHECKED;    /* all nodes; all errors reported; see mlo_branch_close() */

/* A branch of an `if` that inference or a pass finds impossible (MLO_ERR_MODEL), for the reason in `why`, becomes
 * one node `never`, with a warning; the node's result types then are those of the other branch.  An error when
 * that is closed, too. */
MloStatus mlo_branch_close(MloGraph *g, MloNode *n, MloGraph *branch, const MloDiag *why, MloDiag *d) MLO_CHECKED;
bool mlo_branch_closed(const MloGraph *branch);

/* Checks every invariant; each broken one has its own message. */
MloStatus mlo_verify(const MloGraph *g, MloDiag *d) MLO_CHECKED;

/* The text form (docs/IR.md). parse(print(g)) is g; print(parse(t)) is a fixed point.
 * Constants of up to 16 elements are printed inline, larger ones as blob(xxh3:...) unless
 * `full`: then all are inline, and the text stands alone. */
void mlo_print(MloStr *out, const MloGraph *g, bool full);
/* `blobs` (may be NULL) resolves blob(xxh3:...) references: hash to tensor, NULL when unknown. */
typedef const MloTensor *(*MloBlobLookup)(void *user, uint64_t hash);
MloGraph *mlo_parse(const char *text, size_t n, MloBlobLookup blobs, void *user, MloDiag *d); /* NULL on error */

/* Deep copy into a new arena (tensor data is shared, not copied: keep the original alive). */
MloGraph *mlo_graph_clone(const MloGraph *g);
/* A copy of `body` as a body of g; both are of one symbol table. */
MloGraph *mlo_body_clone(MloGraph *g, const MloGraph *body);
#endif
