/* frontend/onnx_export.h -- what the writers of operators work with.
 *
 * A writer is  void export_<name>(OnnxExportNode *x): it fills x->p, a node whose name and type are set already.
 * It is bound to operators by rows of onnx_export.def.  What ONNX cannot say is recorded with
 * onnx_export_fail(); the writer may go on, nothing is written then. */
#ifndef MLO_FRONTEND_ONNX_EXPORT_H
#define MLO_FRONTEND_ONNX_EXPORT_H
#include "frontend/onnx_import.h"

/* One graph being written: the main graph, or a body, which sees the names of all around it. */
typedef struct OnnxExportScope {
	const MloGraph *g;
	const char **name; /* by value id */
	struct {
		Onnx__NodeProto **items;
		size_t n, cap;
	} nodes;
	struct {
		Onnx__TensorProto **items;
		size_t n, cap;
	} constants;
} OnnxExportScope;

typedef struct OnnxExport {
	MloArena *a;
	MloDiag *diag;
	MloStatus status; /* of the first error */
	OnnxNames values, nodes; /* names in use, in all scopes */
	int opset;               /* of ai.onnx */
	bool microsoft;          /* is com.microsoft in use? */
} OnnxExport;

typedef struct OnnxExportNode {
	OnnxExport *ex;
	OnnxExportScope *scope;
	const MloNode *n;
	Onnx__NodeProto *p;
} OnnxExportNode;

typedef void OnnxExportFn(OnnxExportNode *x);

/* One row of onnx_export.def, or made of one of onnx_ops.def. */
typedef struct OnnxForm {
	const char *domain, *type;
	int since;
	OnnxExportFn *fn;
} OnnxForm;
bool onnx_form(MloOp op, OnnxForm *out); /* false: the operator has no ONNX form */

#define EXPORT(op, domain, type, since, fn) OnnxExportFn export_##fn;
#define REQUIRED(op, attr)
#define NEWER(op, attr, since)
#include "frontend/onnx_export.def"

void onnx_export_fail(OnnxExportNode *x, const char *fmt, ...) MLO_PRINTF(2, 3);

/* -- parts of a node */
void onnx_put_operand(OnnxExportNode *x, const MloValue *v); /* NULL: absent */
void onnx_put_operands(OnnxExportNode *x, uint32_t count);   /* the first ones of the node */
void onnx_put_results(OnnxExportNode *x, uint32_t count);
void onnx_put_int(OnnxExportNode *x, const char *name, int64_t v);
void onnx_put_float(OnnxExportNode *x, const char *name, double v);
void onnx_put_str(OnnxExportNode *x, const char *name, const char *v);
void onnx_put_ints(OnnxExportNode *x, const char *name, const int64_t *v, int count);
void onnx_put_floats(OnnxExportNode *x, const char *name, const double *v, int count);
void onnx_put_strings(OnnxExportNode *x, const char *name, const MloText *v, int64_t count);
void onnx_put_tensor(OnnxExportNode *x, const char *name, const MloTensor *t);
void onnx_put_graph(OnnxExportNode *x, const char *name, Onnx__GraphProto *g);
/* The attributes that the node sets and those that ONNX requires, but the ones in `skip` (ends with NULL). */
void onnx_put_attrs(OnnxExportNode *x, const char *const *skip);
/* A node of its own in front of x->p; `out` is a new name like `stem`. */
const char *onnx_put_before(OnnxExportNode *x, const char *type, const char *a, const char *b, const char *stem);

/* -- the driver's parts */
Onnx__TensorProto *onnx_export_tensor(MloArena *a, const MloTensor *t, const char *name); /* borrows the data */
const char *onnx_export_new_name(OnnxExportNode *x, const char *stem);
const char *onnx_export_scalar(OnnxExportNode *x, MloElem e, double v); /* the name of a new initialiser */
const char *onnx_export_name(OnnxExportScope *s, const MloValue *v); /* of a value that was named */
/* A body: its inputs from `first` on are the values captured[0...] of the scope around it. */
Onnx__GraphProto *onnx_export_body(OnnxExportNode *x, const MloGraph *body, uint32_t first, MloValue *const *captured);
/* Strings of protobuf-c are not const, though packing does not change them. */
static inline char *onnx_chars(const char *s)
{
	return (char *)(uintptr_t)s;
}
#endif
