/* tests/unit/onnx_fixture.h -- small ONNX models, built with protobuf-c structs. */
#ifndef MLO_TESTS_ONNX_FIXTURE_H
#define MLO_TESTS_ONNX_FIXTURE_H
#include "frontend/onnx.h"
#include "frontend/onnx.pb-c.h"

typedef struct OnnxFix {
	MloArena *a;
	Onnx__ModelProto model;
	Onnx__GraphProto graph;
	MloDiag diag;
	MloGraph *g;     /* of ox_load(); freed by ox_free() */
	const char *dir; /* of external data, NULL: none */
	MloOnnxOptions opt;
} OnnxFix;

void ox_model(OnnxFix *f, int opset); /* an empty model */
void ox_free(OnnxFix *f);

/* Shapes are as in "1x3x?xN": sizes, unknown or named; NULL: no shape. */
void ox_in(OnnxFix *f, const char *name, MloElem e, const char *shape);
void ox_out(OnnxFix *f, const char *name);
Onnx__NodeProto *ox_node(OnnxFix *f, const char *type, const char *in,
			 const char *out); /* names separated by spaces, - is absent */
Onnx__FunctionProto *ox_function(OnnxFix *f, const char *domain, const char *name, const char *in,
				 const char *out);
Onnx__NodeProto *ox_inner(OnnxFix *f, Onnx__FunctionProto *fn, const char *type, const char *in,
			  const char *out);
Onnx__TensorProto *ox_tensor(OnnxFix *f, const char *name, MloElem e, const char *shape); /* without data */
void ox_raw(OnnxFix *f, Onnx__TensorProto *t, const void *p, size_t n);
void ox_weight(OnnxFix *f, Onnx__TensorProto *t); /* makes it an initialiser */
void ox_const(OnnxFix *f, const char *name, MloElem e, const char *shape, const void *p, size_t n);
void ox_external(OnnxFix *f, Onnx__TensorProto *t, const char *key, const char *value);

/* Attributes of a node. */
Onnx__AttributeProto *ox_attr(OnnxFix *f, Onnx__NodeProto *n, const char *name, int kind);
void ox_int(OnnxFix *f, Onnx__NodeProto *n, const char *name, int64_t v);
void ox_float(OnnxFix *f, Onnx__NodeProto *n, const char *name, float v);
void ox_str(OnnxFix *f, Onnx__NodeProto *n, const char *name, const char *v);
void ox_ints(OnnxFix *f, Onnx__NodeProto *n, const char *name, int count, const int64_t *v);

void *ox_bytes(OnnxFix *f, size_t *n);            /* the serialised model */
MloGraph *ox_load(OnnxFix *f);                    /* imports and infers; NULL when the import fails */
bool ox_says(const OnnxFix *f, const char *text); /* is it part of a diagnostic? */
const char *ox_ops(OnnxFix *f);                   /* operators in order: "conv relu" */
const char *ox_type(OnnxFix *f, int output);      /* "f32[1,3]" */
const MloTensor *ox_operand(OnnxFix *f, int node, int operand); /* the constant there, or NULL */
const MloNode *ox_at(OnnxFix *f, int node);
#endif
