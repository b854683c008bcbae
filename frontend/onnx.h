/* frontend/onnx.h -- reading ONNX models and tensors. */
#ifndef MLO_FRONTEND_ONNX_H
#define MLO_FRONTEND_ONNX_H
#include "ir/graph.h"

/* A size the user gives: the shape of an input ("x=1x3x224x224") or, with rank 1, the value of a
 * named dimension ("batch=8").  An entry of -1 leaves the dimension as the model has it.  With a value
 * the input becomes that constant (copied), whose shape is here. */
typedef struct MloBindDim {
	const char *name;
	int rank;
	int64_t dim[MLO_MAX_RANK];
	const MloTensor *value;
} MloBindDim;

typedef struct MloOnnxOptions {
	const MloBindDim *bind;
	size_t nbind;
	MloGraph **partial; /* not NULL: gets what a failed import made so far (types), to be freed; else NULL */
} MloOnnxOptions;

/* Parses "NAME=1x3x224x224" ("?" leaves a dimension open; "NAME=" is a scalar). The name is copied into `a`.
 */
MloStatus mlo_bind_parse(MloArena *a, const char *text, MloBindDim *out, MloDiag *d) MLO_CHECKED;

/* A model file to a graph; NULL on error, all independent errors reported.  `opt` may be NULL.
 * Operators are adapted to the forms of ir/ops.def.  Input types are as declared (sizes that are
 * not known become symbols); results have types only as far as the import needed them: run
 * mlo_infer_graph() or the pass `infer`.  Weights point into the mapped file, which stays mapped
 * until the graph is freed.  Model data is kept as graph meta: keys "onnx.ir_version",
 * "onnx.opset.DOMAIN", "onnx.producer_name", "onnx.producer_version", "onnx.domain",
 * "onnx.model_version", "onnx.doc_string", "onnx.graph_doc_string", and metadata_props as they are, but those that begin
 * with "mlopt.", which are ours: MLO_ONNX_EXTERNAL and the name of each file of external data, without a value. */
#define MLO_ONNX_EXTERNAL "mlopt.external:"
MloGraph *mlo_onnx_load(const char *path, const MloOnnxOptions *opt, MloDiag *d);
/* The same from memory, which may go away afterwards (weights are copied). `where` names it in
 * messages; external data must lie in `dir` (NULL: is refused). */
MloGraph *mlo_onnx_load_memory(const void *p, size_t n, const char *where, const char *dir,
			       const MloOnnxOptions *opt, MloDiag *d);

/* A tensor from a .pb file (a serialised TensorProto, as in ONNX test data) or from such bytes.
 * NULL on error; the result is a copy owned by `a`. `what` names the tensor if it has no name. */
MloTensor *mlo_onnx_read_tensor(MloArena *a, const char *path, MloDiag *d);
MloTensor *mlo_onnx_tensor_memory(MloArena *a, const void *p, size_t n, const char *what, MloDiag *d);
/* A value of that type: a tensor, or what SequenceProto, OptionalProto and MapProto hold (MloTensor.object). */
MloTensor *mlo_onnx_read_value(MloArena *a, const char *path, const MloType *t, MloDiag *d);

/* The bytes of a value as such a file has them: TensorProto, SequenceProto, OptionalProto or MapProto. */
void mlo_onnx_write_value(MloArena *a, const MloTensor *t, const void **bytes, size_t *n);

/* The bytes of an ONNX model of a graph whose types are inferred, in `a`: opset 17, or a newer one where the graph
 * came from one or an operator needs it.  Names of inputs, outputs, values and nodes stay.  Operators without an
 * ONNX form (layouts, forests, what passes for one target make) are errors that name the node, all of them
 * reported: MLO_ERR_UNSUPPORTED.  More than 2 GiB: MLO_ERR_LIMIT.  `producer_version` is that of this program. */
MloStatus mlo_onnx_export(MloArena *a, const MloGraph *g, const char *producer_version, const void **bytes, size_t *n,
			  MloDiag *d) MLO_CHECKED;

/* A model of one node of a model: its constants stay, what else it reads becomes an input.  `node`: as errors
 * name it; of one in a body or a function the node that runs it is taken.  `types` (may be NULL): the imported
 * graph, also a partial one, for types that the model does not state; a value that has none stays with the
 * node that makes it. */
MloStatus mlo_onnx_extract(MloArena *a, const void *model, size_t n, const char *node, const MloGraph *types,
			   const void **bytes, size_t *nbytes, MloDiag *d) MLO_CHECKED;

/* A row of the table of importers, for documentation. */
typedef struct MloOnnxOperator {
	const char *domain, *type;
	int since;       /* the first opset of this form */
	MloOp op;        /* what it becomes, or its main part */
	const char *why; /* NULL; else why it cannot be read yet (since and op mean nothing) */
} MloOnnxOperator;
bool mlo_onnx_operator(size_t i, MloOnnxOperator *out); /* false past the end */

/* Calls see() for each node of the main graph of a model, supported or not; `a` takes what is read. */
typedef void MloOnnxNodeFn(void *user, const char *domain, const char *type);
MloStatus mlo_onnx_nodes(MloArena *a, const void *model, size_t n, MloOnnxNodeFn *see, void *user,
			 MloDiag *d) MLO_CHECKED;
enum { MLO_ONNX_OPSET_MIN = 1, MLO_ONNX_OPSET_MAX = 28 };
#endif
