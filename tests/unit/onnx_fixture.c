/* tests/unit/onnx_fixture.c -- small ONNX models, built with protobuf-c structs. */
#include "tests/unit/onnx_fixture.h"

#include <stdlib.h>
#include <string.h>

/* Appends to one of protobuf-c's arrays. */
#define APPEND(f, list, count, item)                                                                         \
	do {                                                                                                 \
		void *more = mlo_alloc((f)->a, (count) + 1, sizeof *(list));                                 \
		if (count)                                                                                   \
			memcpy(more, (list), (count) * sizeof *(list));                                      \
		(list) = more;                                                                               \
		(list)[(count)++] = (item);                                                                  \
	} while (0)

static Onnx__OperatorSetIdProto *opset_of(OnnxFix *f, const char *domain, int version)
{
	Onnx__OperatorSetIdProto *o = MLO_NEW(f->a, Onnx__OperatorSetIdProto);

	onnx__operator_set_id_proto__init(o);
	o->domain = mlo_strdup(f->a, domain);
	o->has_version = true;
	o->version = version;
	return o;
}

void ox_model(OnnxFix *f, int opset)
{
	*f = (OnnxFix){.a = mlo_arena_new()};
	onnx__model_proto__init(&f->model);
	onnx__graph_proto__init(&f->graph);
	f->model.has_ir_version = true;
	f->model.ir_version = 8;
	f->model.graph = &f->graph;
	f->graph.name = mlo_strdup(f->a, "test");
	APPEND(f, f->model.opset_import, f->model.n_opset_import, opset_of(f, "", opset));
	APPEND(f, f->model.opset_import, f->model.n_opset_import, opset_of(f, "my", 1));
	APPEND(f, f->model.opset_import, f->model.n_opset_import, opset_of(f, "ai.onnx.preview.training", 1));
}

void ox_free(OnnxFix *f)
{
	if (f->g)
		mlo_graph_free(f->g);
	mlo_diag_free(&f->diag);
	mlo_arena_free(f->a);
}

static void dimension(OnnxFix *f, Onnx__TensorShapeProto *s, const char *text)
{
	Onnx__TensorShapeProto__Dimension *d = MLO_NEW(f->a, Onnx__TensorShapeProto__Dimension);

	onnx__tensor_shape_proto__dimension__init(d);
	if ((*text >= '0' && *text <= '9') || *text == '-') {
		d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
		d->dim_value = strtoll(text, NULL, 10);
	} else if (*text != '?') {
		d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
		d->dim_param = mlo_strdup(f->a, text);
	}
	APPEND(f, s->dim, s->n_dim, d);
}

static Onnx__ValueInfoProto *value_info(OnnxFix *f, const char *name, MloElem e, const char *shape)
{
	Onnx__ValueInfoProto *v = MLO_NEW(f->a, Onnx__ValueInfoProto);
	char *save = NULL;

	onnx__value_info_proto__init(v);
	v->name = mlo_strdup(f->a, name);
	v->type = MLO_NEW(f->a, Onnx__TypeProto);
	onnx__type_proto__init(v->type);
	v->type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
	v->type->tensor_type = MLO_NEW(f->a, Onnx__TypeProto__Tensor);
	onnx__type_proto__tensor__init(v->type->tensor_type);
	v->type->tensor_type->has_elem_type = true;
	v->type->tensor_type->elem_type = mlo_elem_onnx(e);
	if (!shape)
		return v;
	v->type->tensor_type->shape = MLO_NEW(f->a, Onnx__TensorShapeProto);
	onnx__tensor_shape_proto__init(v->type->tensor_type->shape);
	for (char *s = strtok_r(mlo_strdup(f->a, shape), "x", &save); s; s = strtok_r(NULL, "x", &save))
		dimension(f, v->type->tensor_type->shape, s);
	return v;
}

void ox_in(OnnxFix *f, const char *name, MloElem e, const char *shape)
{
	APPEND(f, f->graph.input, f->graph.n_input, value_info(f, name, e, shape));
}

void ox_out(OnnxFix *f, const char *name)
{
	APPEND(f, f->graph.output, f->graph.n_output, value_info(f, name, EL_f32, NULL));
}

static void names(OnnxFix *f, const char *text, char ***list, size_t *n)
{
	char *save = NULL;

	for (char *s = strtok_r(mlo_strdup(f->a, text), " ", &save); s; s = strtok_r(NULL, " ", &save))
		APPEND(f, *list, *n, strcmp(s, "-") ? s : mlo_strdup(f->a, ""));
}

static Onnx__NodeProto *new_node(OnnxFix *f, const char *type, const char *in, const char *out)
{
	Onnx__NodeProto *n = MLO_NEW(f->a, Onnx__NodeProto);
	const char *dot = strrchr(type, '.');

	onnx__node_proto__init(n);
	n->op_type = mlo_strdup(f->a, dot ? dot + 1 : type);
	if (dot)
		n->domain = mlo_strndup(f->a, type, (size_t)(dot - type));
	names(f, in, &n->input, &n->n_input);
	names(f, out, &n->output, &n->n_output);
	return n;
}

Onnx__NodeProto *ox_node(OnnxFix *f, const char *type, const char *in, const char *out)
{
	Onnx__NodeProto *n = new_node(f, type, in, out);

	APPEND(f, f->graph.node, f->graph.n_node, n);
	return n;
}

Onnx__FunctionProto *ox_function(OnnxFix *f, const char *domain, const char *name, const char *in,
				 const char *out)
{
	Onnx__FunctionProto *fn = MLO_NEW(f->a, Onnx__FunctionProto);

	onnx__function_proto__init(fn);
	fn->domain = mlo_strdup(f->a, domain);
	fn->name = mlo_strdup(f->a, name);
	names(f, in, &fn->input, &fn->n_input);
	names(f, out, &fn->output, &fn->n_output);
	APPEND(f, f->model.functions, f->model.n_functions, fn);
	return fn;
}

Onnx__NodeProto *ox_inner(OnnxFix *f, Onnx__FunctionProto *fn, const char *type, const char *in,
			  const char *out)
{
	Onnx__NodeProto *n = new_node(f, type, in, out);

	APPEND(f, fn->node, fn->n_node, n);
	return n;
}

Onnx__TensorProto *ox_tensor(OnnxFix *f, const char *name, MloElem e, const char *shape)
{
	Onnx__TensorProto *t = MLO_NEW(f->a, Onnx__TensorProto);
	char *save = NULL;

	onnx__tensor_proto__init(t);
	t->name = mlo_strdup(f->a, name);
	t->has_data_type = true;
	t->data_type = mlo_elem_onnx(e);
	for (char *s = strtok_r(mlo_strdup(f->a, shape), "x", &save); s; s = strtok_r(NULL, "x", &save))
		APPEND(f, t->dims, t->n_dims, strtoll(s, NULL, 10));
	return t;
}

void ox_raw(OnnxFix *f, Onnx__TensorProto *t, const void *p, size_t n)
{
	t->has_raw_data = true;
	t->raw_data.data = mlo_dup(f->a, p, n);
	t->raw_data.len = n;
}

void ox_weight(OnnxFix *f, Onnx__TensorProto *t)
{
	APPEND(f, f->graph.initializer, f->graph.n_initializer, t);
}

void ox_const(OnnxFix *f, const char *name, MloElem e, const char *shape, const void *p, size_t n)
{
	Onnx__TensorProto *t = ox_tensor(f, name, e, shape);

	ox_raw(f, t, p, n);
	ox_weight(f, t);
}

void ox_external(OnnxFix *f, Onnx__TensorProto *t, const char *key, const char *value)
{
	Onnx__StringStringEntryProto *e = MLO_NEW(f->a, Onnx__StringStringEntryProto);

	onnx__string_string_entry_proto__init(e);
	e->key = mlo_strdup(f->a, key);
	e->value = mlo_strdup(f->a, value);
	t->has_data_location = true;
	t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
	APPEND(f, t->external_data, t->n_external_data, e);
}

Onnx__AttributeProto *ox_attr(OnnxFix *f, Onnx__NodeProto *n, const char *name, int kind)
{
	Onnx__AttributeProto *a = MLO_NEW(f->a, Onnx__AttributeProto);

	onnx__attribute_proto__init(a);
	a->name = mlo_strdup(f->a, name);
	a->has_type = true;
	a->type = kind;
	APPEND(f, n->attribute, n->n_attribute, a);
	return a;
}

void ox_int(OnnxFix *f, Onnx__NodeProto *n, const char *name, int64_t v)
{
	Onnx__AttributeProto *a = ox_attr(f, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);

	a->has_i = true;
	a->i = v;
}

void ox_float(OnnxFix *f, Onnx__NodeProto *n, const char *name, float v)
{
	Onnx__AttributeProto *a = ox_attr(f, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);

	a->has_f = true;
	a->f = v;
}

void ox_str(OnnxFix *f, Onnx__NodeProto *n, const char *name, const char *v)
{
	Onnx__AttributeProto *a = ox_attr(f, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);

	a->has_s = true;
	a->s.data = (uint8_t *)mlo_strdup(f->a, v);
	a->s.len = strlen(v);
}

void ox_ints(OnnxFix *f, Onnx__NodeProto *n, const char *name, int count, const int64_t *v)
{
	Onnx__AttributeProto *a = ox_attr(f, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);

	a->n_ints = (size_t)count;
	a->ints = mlo_dup(f->a, v, (size_t)count * sizeof *v);
}

void *ox_bytes(OnnxFix *f, size_t *n)
{
	void *p = mlo_alloc(f->a, onnx__model_proto__get_packed_size(&f->model), 1);

	*n = onnx__model_proto__pack(&f->model, p);
	return p;
}

MloGraph *ox_load(OnnxFix *f)
{
	size_t n;
	void *p = ox_bytes(f, &n);

	f->g = mlo_onnx_load_memory(p, n, "test.onnx", f->dir, &f->opt, &f->diag);
	memset(p, 0xee, n); /* nothing may point into it any more */
	if (f->g && mlo_infer_graph(f->g, &f->diag) != MLO_OK)
		mlo_note(&f->diag, "inference failed");
	return f->g;
}

bool ox_says(const OnnxFix *f, const char *text)
{
	for (size_t i = 0; i < f->diag.n; i++)
		if (strstr(f->diag.lines[i].text, text))
			return true;
	mlo_diag_print(&f->diag, "expected something else", stderr);
	return false;
}

const char *ox_ops(OnnxFix *f)
{
	MloStr s = {.arena = f->a};

	for (const MloNode *n = f->g ? f->g->first : NULL; n; n = n->next)
		mlo_str_add(&s, "%s%s", s.n ? " " : "", mlo_op_info(n->op)->name);
	return mlo_str_text(&s);
}

const char *ox_type(OnnxFix *f, int output)
{
	MloStr s = {.arena = f->a};

	if (f->g)
		mlo_type_print(&s, &f->g->outputs[output]->type);
	return mlo_str_text(&s);
}

const MloNode *ox_at(OnnxFix *f, int node)
{
	const MloNode *n = f->g ? f->g->first : NULL;

	while (n && node--)
		n = n->next;
	return n;
}

const MloTensor *ox_operand(OnnxFix *f, int node, int operand)
{
	const MloNode *n = ox_at(f, node);

	return n && (uint32_t)operand < n->nin && n->in[operand] ? n->in[operand]->data : NULL;
}
