/* frontend/onnx_import.h -- what the importers of operators work with.
 *
 * An importer is  void import_<name>(OnnxNode *n): it reads operands and attributes, appends nodes
 * to the graph and names the results.  It is bound to operator types by rows of onnx_ops.def.
 * A mistake of the model is recorded with onnx_fail(); the importer may go on or return, its
 * results are then dropped.  Attributes that it never asks for are an error of the model. */
#ifndef MLO_FRONTEND_ONNX_IMPORT_H
#define MLO_FRONTEND_ONNX_IMPORT_H
#include "frontend/onnx.h"
#include "frontend/onnx_data.h"

/* Names to pointers. Zero-initialise with the arena set; keys are not copied. */
typedef struct OnnxNames {
	MloArena *arena;
	struct OnnxName {
		const char *key;
		void *val;
	} * slots;
	size_t n, cap;
} OnnxNames;
void *onnx_names_get(const OnnxNames *m, const char *key);     /* NULL when absent */
bool onnx_names_add(OnnxNames *m, const char *key, void *val); /* false when it was there already */

/* Values from outside that a body reads: outer[i] is in[i] inside. */
typedef struct OnnxCaptures {
	struct OnnxCapture {
		const char *name;
		MloValue *outer;
	} * items;
	size_t n, cap;
} OnnxCaptures;

/* One body of nodes being imported: the main graph, a call of a model-local function, or a body of a
 * control flow operator, which sees the names of the graph around it (outer). */
typedef struct OnnxScope {
	struct OnnxScope *outer;
	OnnxCaptures *captures;         /* with outer; NULL: the body is part of the graph around it */
	MloGraph *g;                    /* with outer: the body */
	const struct OnnxScope *parent; /* of the caller; NULL for the main graph */
	const Onnx__NodeProto *call;    /* the calling node */
	const Onnx__FunctionProto *fn;
	const char *prefix; /* before names of inner nodes and values: "call/" */
	OnnxNames values;   /* MloValue by name */
} OnnxScope;

typedef struct OnnxImport {
	MloGraph *g;
	MloArena *tmp;
	MloDiag *diag;
	const MloOnnxOptions *opt;
	const Onnx__ModelProto *model;
	OnnxNames functions; /* of the model, by domain, name, overload */
	OnnxSource src;
	MloStatus status; /* of the first error */
	size_t ncreated;  /* ONNX nodes imported, inlined ones included */
	size_t max_nodes;
	MloValue poison; /* stands for results of nodes that failed */
} OnnxImport;

typedef struct OnnxNode OnnxNode;
typedef void OnnxImportFn(OnnxNode *n);

/* One row of onnx_ops.def. */
typedef struct OnnxOp {
	const char *domain, *type;
	int since;
	OnnxImportFn *fn;
	MloOp op; /* what it becomes, or its main part */
} OnnxOp;
const OnnxOp *onnx_op_find(const char *domain, const char *type, int opset); /* newest row up to opset */
const OnnxOp *onnx_op_first(const char *domain, const char *type);           /* of any opset */
const OnnxOp *onnx_op_plain(MloOp op); /* newest row that takes `op` as it is, of ai.onnx if there is one; NULL: none */
const char *onnx_op_nearest(const char *domain, const char *type);           /* similar name or NULL */

struct OnnxNode {
	OnnxImport *im;
	OnnxScope *scope;
	const Onnx__NodeProto *p;
	const OnnxOp *row;
	MloGraph *g;
	int opset;
	MloOrigin *origin;
	MloValue **in; /* nin operands, NULL where absent; trailing absent ones are cut */
	uint32_t nin;
	MloValue **out; /* nout results, to be set with onnx_result() */
	uint32_t nout;
	uint64_t asked; /* attributes that the importer looked up */
	MloStr known;   /* names of those, and of those that it would have taken */
	bool failed;
};

/* The value of that name, captured from outside when it must be; NULL when there is none. */
MloValue *onnx_value(OnnxImport *im, OnnxScope *sc, const char *name);

/* -- mistakes of the model ------------------------------------------------------------------ */
void onnx_fail(OnnxNode *n, MloStatus st, const char *fmt, ...) MLO_PRINTF(3, 4);
/* Is every element of a constant scale a number that quantization can multiply by, or (divides) divide by?  False after
 * reporting the first that is not: NaN, infinite, negative; where it divides, zero or denormal (float32), too.  A scale
 * that is not known is not looked at.  NULL: there is none. (onnx_ops_quant.c) */
bool onnx_check_scale(OnnxNode *n, const MloValue *scale, bool divides);
bool onnx_arity(OnnxNode *n, uint32_t min,
		uint32_t max); /* records an error unless min..max operands are there */

/* -- attributes: the default when absent; a wrong kind is an error of the model ---------------- */
const Onnx__AttributeProto *onnx_attr(OnnxNode *n, const char *name); /* function references resolved */
bool onnx_attr_is(OnnxNode *n, const Onnx__AttributeProto *a, Onnx__AttributeProto__AttributeType kind);
int64_t onnx_int(OnnxNode *n, const char *name, int64_t def);
double onnx_float(OnnxNode *n, const char *name, double def);
const char *onnx_str(OnnxNode *n, const char *name, const char *def);
const int64_t *onnx_ints(OnnxNode *n, const char *name, int *count); /* NULL when absent */
const float *onnx_floats(OnnxNode *n, const char *name, int *count);
void onnx_ignore(OnnxNode *n, const char *name); /* means nothing for inference */

/* -- operands ---------------------------------------------------------------------------------- */
MloValue *onnx_in(const OnnxNode *n, uint32_t i); /* NULL when absent */
MloValue *onnx_scalar(OnnxNode *n, MloElem e, double v);
MloValue *onnx_i64s(OnnxNode *n, const int64_t *v, int count); /* a vector */
MloValue *onnx_ints_operand(OnnxNode *n, const char *name);    /* attribute to vector; NULL when absent */
MloElem onnx_elem_beside(const MloValue *v); /* for a constant beside v: its type, f32 if not known */
MloValue *onnx_wide(OnnxNode *n, MloValue *v);                 /* f16 and bf16 as f32 */
MloValue *onnx_cast(OnnxNode *n, MloValue *v, MloElem e);      /* v itself when it is of that type */
MloValue *onnx_per_channel(OnnxNode *n, MloValue *v, int rank); /* [C] to [C,1,...] for a tensor of that rank */
bool onnx_empty(const MloValue *v);                            /* known to have no elements */

/* Does an activation of the recurrent operators take an alpha, a beta?  False: it is not known. */
bool onnx_activation_takes(const char *name, size_t n, bool *alpha, bool *beta);

/* -- results ------------------------------------------------------------------------------------- */
MloNode *onnx_node(OnnxNode *n, MloOp op, MloValue *const *in, uint32_t nin, uint32_t nout);
MloValue *onnx_infer(OnnxNode *n, MloNode *m); /* types of the results as far as known; the first one */
MloValue *onnx_op1(OnnxNode *n, MloOp op, MloValue *a);
MloValue *onnx_op2(OnnxNode *n, MloOp op, MloValue *a, MloValue *b);
MloValue *onnx_op3(OnnxNode *n, MloOp op, MloValue *a, MloValue *b, MloValue *c);
void onnx_attrs(OnnxNode *n, MloNode *m); /* every attribute of m's operator that the ONNX node gives */
void onnx_result(OnnxNode *n, uint32_t i, MloValue *v); /* v becomes the i-th result */
void onnx_finish(OnnxNode *n, MloNode *m);              /* infers m; its results become those of n */
void onnx_plain(OnnxNode *n, MloOp op);                 /* same operands, attributes and results */
bool onnx_wanted(const OnnxNode *n, uint32_t i);        /* does the model name result i? */

/* -- the driver's parts ---------------------------------------------------------------------------- */
static inline const char *onnx_text(const char *s)
{
	return s ? s : "";
}
const char *onnx_domain(const char *domain);                                   /* "" for ai.onnx */
int onnx_opset(const OnnxImport *im, const OnnxScope *sc, const char *domain); /* 0: not imported */
const Onnx__FunctionProto *onnx_function(const OnnxImport *im, const Onnx__NodeProto *p);
void onnx_error(OnnxImport *im, MloStatus st, const char *fmt, ...) MLO_PRINTF(3, 4);
/* Reports all that are unknown; what else there is can be imported.  False: it cannot, functions have no end. */
bool onnx_check_operators(OnnxImport *im);
/* Indices of nodes in topological order (stable), NULL after reporting a cycle. */
const size_t *onnx_sort(OnnxImport *im, Onnx__NodeProto *const *node, size_t n);
bool onnx_import_inputs(OnnxImport *im, OnnxScope *sc);
/* Initialisers become constants of im->g; false after an error. */
bool onnx_import_initialisers(OnnxImport *im, OnnxScope *sc, const Onnx__GraphProto *gp);
/* A type with sizes of its own for what is not a number; false when it is none that is supported. */
bool onnx_type(OnnxImport *im, const Onnx__TypeProto *p, MloType *out);
/* A body in the making: while it is open, nodes go into it, and names it lacks come from outside. */
typedef struct OnnxBody {
	OnnxScope scope;
	MloGraph *g;
	const Onnx__GraphProto *proto;
	OnnxNode inner; /* to make nodes inside, of the same origin */
	MloGraph *outside;
} OnnxBody;
bool onnx_body_open(OnnxNode *n, const char *attr, OnnxCaptures *captures, OnnxBody *b); /* false: failed */
/* The same for a body that is applied once: its nodes become part of the graph around it. */
bool onnx_body_inline(OnnxNode *n, const char *attr, OnnxBody *b);
void onnx_body_bind(OnnxBody *b, size_t input, MloValue *v);  /* v is what the body calls its i-th input */
void onnx_body_nodes(OnnxBody *b);
MloValue *onnx_body_result(OnnxBody *b, size_t output);       /* NULL after an error */
void onnx_body_close(OnnxBody *b);
void onnx_import_meta(OnnxImport *im);
void onnx_import_node(OnnxImport *im, OnnxScope *sc, const Onnx__NodeProto *p);
void onnx_import_nodes(OnnxImport *im, OnnxScope *sc, Onnx__NodeProto *const *node, size_t n);
#endif
