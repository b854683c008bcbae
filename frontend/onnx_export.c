/* frontend/onnx_export.c -- a graph to a model: the driver.
 *
 * Names of inputs, outputs and values stay as they are; where one is missing or would occur twice, a new one is
 * made.  A node gets the name of the ONNX node that it came from.  Constants become initialisers. */
#include "frontend/onnx_export.h"

#include <stdlib.h>
#include <string.h>

/* The opset written at least: the oldest that has layer norm, which runtimes of years ago read. */
enum { OPSET = 17 };
/* Protocol buffers do not go beyond 2 GiB. */
#define MAX_BYTES ((size_t)INT32_MAX)

void onnx_export_fail(OnnxExportNode *x, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	mlo_node_error(x->ex->diag, MLO_ERR_UNSUPPORTED, x->n, "%s", text);
	x->ex->status = MLO_ERR_UNSUPPORTED;
}

/* -- names ----------------------------------------------------------------------------------------- */

static const char *unique(OnnxExport *ex, OnnxNames *names, const char *want)
{
	const char *name = want;

	for (int k = 1; !*name || !onnx_names_add(names, name, names); k++)
		name = mlo_sprintf(ex->a, "%s_%d", want, k);
	return name;
}

const char *onnx_export_name(OnnxExportScope *s, const MloValue *v)
{
	MLO_ASSERT(s->name[v->id] != NULL);
	return s->name[v->id];
}

const char *onnx_export_new_name(OnnxExportNode *x, const char *stem)
{
	return unique(x->ex, &x->ex->values, mlo_sprintf(x->ex->a, "%s_%s", x->p->name, stem));
}

static OnnxExportScope scope_of(OnnxExport *ex, const MloGraph *g)
{
	return (OnnxExportScope){.g = g, .name = MLO_NEWN(ex->a, const char *, g->next_id + 1)};
}

static void name_value(OnnxExport *ex, OnnxExportScope *s, const MloValue *v, const char *otherwise)
{
	if (!s->name[v->id])
		s->name[v->id] = unique(ex, &ex->values, v->name && *v->name ? v->name : otherwise);
}

static void name_rest(OnnxExport *ex, OnnxExportScope *s)
{
	for (size_t i = 0; i < s->g->consts.n; i++)
		if (s->g->consts.items[i]->nuse)
			name_value(ex, s, s->g->consts.items[i], "constant");
	for (const MloNode *n = s->g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i])
				name_value(ex, s, n->out[i], mlo_sprintf(ex->a, "%s_output", mlo_node_name(n)));
}

/* -- tensors and types ----------------------------------------------------------------------------- */

Onnx__TensorProto *onnx_export_tensor(MloArena *a, const MloTensor *t, const char *name)
{
	Onnx__TensorProto *p = MLO_NEW(a, Onnx__TensorProto);
	const MloText *s = t->data;
	int64_t n = mlo_tensor_elems(t);

	onnx__tensor_proto__init(p);
	p->name = onnx_chars(name);
	p->has_data_type = true;
	p->data_type = mlo_elem_onnx(t->elem);
	p->n_dims = (size_t)t->rank;
	p->dims = mlo_dup(a, t->dim, sizeof t->dim);
	if (t->elem != EL_str) {
		p->has_raw_data = true;
		p->raw_data = (ProtobufCBinaryData){t->nbytes, (uint8_t *)(uintptr_t)t->data};
		return p;
	}
	p->n_string_data = (size_t)n;
	p->string_data = MLO_NEWN(a, ProtobufCBinaryData, (size_t)n + 1);
	for (int64_t i = 0; i < n; i++)
		p->string_data[i] = (ProtobufCBinaryData){(size_t)s[i].n, (uint8_t *)onnx_chars(s[i].s)};
	return p;
}

const char *onnx_export_scalar(OnnxExportNode *x, MloElem e, double v)
{
	MloTensor *t = mlo_tensor_new(x->ex->a, e, 0, NULL);
	const char *name = onnx_export_new_name(x, "scalar");

	mlo_tensor_set_f64(t, 0, v);
	MLO_PUSH(x->ex->a, &x->scope->constants, onnx_export_tensor(x->ex->a, t, name));
	return name;
}

static Onnx__TypeProto *new_type(OnnxExport *ex, int kind)
{
	Onnx__TypeProto *p = MLO_NEW(ex->a, Onnx__TypeProto);

	onnx__type_proto__init(p);
	p->value_case = kind;
	return p;
}

/* Sizes that are no name of their own are left open. */
static Onnx__TensorShapeProto__Dimension *dimension(OnnxExport *ex, MloDim d)
{
	Onnx__TensorShapeProto__Dimension *p = MLO_NEW(ex->a, Onnx__TensorShapeProto__Dimension);
	const char *name;

	onnx__tensor_shape_proto__dimension__init(p);
	if (mlo_dim_known(d)) {
		p->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
		p->dim_value = d.k;
	} else if (mlo_dim_symbol(d, &name) && !strchr(name, '#')) {
		p->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
		p->dim_param = onnx_chars(name);
	}
	return p;
}

static Onnx__TypeProto *tensor_type(OnnxExport *ex, const MloType *t)
{
	Onnx__TypeProto *p = new_type(ex, ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE);
	Onnx__TypeProto__Tensor *tensor = MLO_NEW(ex->a, Onnx__TypeProto__Tensor);

	onnx__type_proto__tensor__init(tensor);
	tensor->has_elem_type = true;
	tensor->elem_type = mlo_elem_onnx(t->elem);
	p->tensor_type = tensor;
	if (t->rank == MLO_RANK_UNKNOWN)
		return p;
	tensor->shape = MLO_NEW(ex->a, Onnx__TensorShapeProto);
	onnx__tensor_shape_proto__init(tensor->shape);
	tensor->shape->n_dim = (size_t)t->rank;
	tensor->shape->dim = MLO_NEWN(ex->a, Onnx__TensorShapeProto__Dimension *, (size_t)t->rank + 1);
	for (int i = 0; i < t->rank; i++)
		tensor->shape->dim[i] = dimension(ex, t->dim[i]);
	return p;
}

static Onnx__TypeProto *map_type(OnnxExport *ex, const MloType *t)
{
	Onnx__TypeProto *p = new_type(ex, ONNX__TYPE_PROTO__VALUE_MAP_TYPE);

	p->map_type = MLO_NEW(ex->a, Onnx__TypeProto__Map);
	onnx__type_proto__map__init(p->map_type);
	p->map_type->has_key_type = true;
	p->map_type->key_type = mlo_elem_onnx(t->key);
	p->map_type->value_type = tensor_type(ex, &(MloType){.elem = t->elem});
	return p;
}

static Onnx__TypeProto *sequence_of(OnnxExport *ex, Onnx__TypeProto *item)
{
	Onnx__TypeProto *p = new_type(ex, ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE);

	p->sequence_type = MLO_NEW(ex->a, Onnx__TypeProto__Sequence);
	onnx__type_proto__sequence__init(p->sequence_type);
	p->sequence_type->elem_type = item;
	return p;
}

static Onnx__TypeProto *optional_of(OnnxExport *ex, Onnx__TypeProto *item)
{
	Onnx__TypeProto *p = new_type(ex, ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE);

	p->optional_type = MLO_NEW(ex->a, Onnx__TypeProto__Optional);
	onnx__type_proto__optional__init(p->optional_type);
	p->optional_type->elem_type = item;
	return p;
}

static Onnx__TypeProto *type_of(OnnxExport *ex, const MloType *t)
{
	switch (t->kind) {
	case MLO_TENSOR:
		return tensor_type(ex, t);
	case MLO_SEQ:
		return sequence_of(ex, tensor_type(ex, t));
	case MLO_OPT:
		return optional_of(ex, tensor_type(ex, t));
	case MLO_OPT_SEQ:
		return optional_of(ex, sequence_of(ex, tensor_type(ex, t)));
	case MLO_MAP:
		return map_type(ex, t);
	case MLO_SEQ_MAP:
		return sequence_of(ex, map_type(ex, t));
	}
	return NULL;
}

/* In bodies sizes are left to the reader: they may change from one iteration to the next. */
static Onnx__ValueInfoProto *value_info(OnnxExport *ex, const char *name, const MloType *type, bool body)
{
	Onnx__ValueInfoProto *p = MLO_NEW(ex->a, Onnx__ValueInfoProto);
	MloType t = *type;

	onnx__value_info_proto__init(p);
	p->name = onnx_chars(name);
	t.rank = body && t.rank != 0 ? MLO_RANK_UNKNOWN : t.rank;
	if (t.elem != EL_none)
		p->type = type_of(ex, &t);
	return p;
}

/* -- nodes ----------------------------------------------------------------------------------------- */

static Onnx__NodeProto *new_node(OnnxExport *ex, const char *name, const char *domain, const char *type)
{
	Onnx__NodeProto *p = MLO_NEW(ex->a, Onnx__NodeProto);

	onnx__node_proto__init(p);
	p->name = onnx_chars(unique(ex, &ex->nodes, name));
	p->op_type = onnx_chars(type);
	p->domain = *domain ? onnx_chars(domain) : NULL;
	ex->microsoft |= *domain != 0;
	return p;
}

static void simple_node(OnnxExport *ex, OnnxExportScope *s, const char *type, const char *const *in, size_t nin,
			const char *out)
{
	Onnx__NodeProto *p = new_node(ex, out, "", type);

	p->input = mlo_dup(ex->a, in, nin * sizeof *in);
	p->n_input = nin;
	p->output = mlo_dup(ex->a, &out, sizeof out);
	p->n_output = 1;
	MLO_PUSH(ex->a, &s->nodes, p);
}

const char *onnx_put_before(OnnxExportNode *x, const char *type, const char *a, const char *b, const char *stem)
{
	const char *in[] = {a, b};
	const char *out = onnx_export_new_name(x, stem);

	simple_node(x->ex, x->scope, type, in, b ? 2 : 1, out);
	return out;
}

static void write_node(OnnxExport *ex, OnnxExportScope *s, const MloNode *n)
{
	OnnxExportNode x = {.ex = ex, .scope = s, .n = n};
	OnnxForm form;

	if (!onnx_form(n->op, &form)) {
		onnx_export_fail(&x, "operator '%s' has no ONNX form", mlo_op_info(n->op)->name);
		return;
	}
	x.p = new_node(ex, mlo_node_name(n), form.domain, form.type);
	form.fn(&x);
	MLO_PUSH(ex->a, &s->nodes, x.p);
}

/* -- graphs ---------------------------------------------------------------------------------------- */

static void name_outputs(OnnxExport *ex, OnnxExportScope *s, const char **out, bool body)
{
	const MloGraph *g = s->g;

	for (uint32_t i = 0; i < g->noutputs; i++) {
		const char *want = g->output_names[i];
		const MloValue *v = g->outputs[i];

		want = want && *want ? want : v->name && *v->name ? v->name : "output";
		if (!v->def && s->name[v->id] && !strcmp(s->name[v->id], want)) { /* an input that is an output */
			out[i] = want;
			continue;
		}
		out[i] = unique(ex, &ex->values, want);
		if (!body && strcmp(out[i], want) != 0 && g->output_names[i])
			ex->status = mlo_error(ex->diag, MLO_ERR_UNSUPPORTED, "output '%s' has the name of another input or output: there is no ONNX form",
					       want);
		if (v->def && !s->name[v->id])
			s->name[v->id] = out[i];
	}
}

static void write_constants(OnnxExport *ex, OnnxExportScope *s)
{
	for (size_t i = 0; i < s->g->consts.n; i++) {
		const MloValue *c = s->g->consts.items[i];

		if (c->nuse)
			MLO_PUSH(ex->a, &s->constants, onnx_export_tensor(ex->a, c->data, onnx_export_name(s, c)));
	}
}

static void write_outputs(OnnxExport *ex, OnnxExportScope *s, const char *const *out, Onnx__GraphProto *p, bool body)
{
	const MloGraph *g = s->g;

	p->n_output = g->noutputs;
	p->output = MLO_NEWN(ex->a, Onnx__ValueInfoProto *, g->noutputs + 1);
	for (uint32_t i = 0; i < g->noutputs; i++) {
		const char *from = onnx_export_name(s, g->outputs[i]);

		if (strcmp(from, out[i]) != 0)
			simple_node(ex, s, "Identity", &from, 1, out[i]);
		p->output[i] = value_info(ex, out[i], &g->outputs[i]->type, body);
	}
}

/* The first inputs are the graph's own: what comes after them is named by the scope around it. */
static Onnx__GraphProto *write_graph(OnnxExport *ex, OnnxExportScope *s, uint32_t ninputs, bool body)
{
	const MloGraph *g = s->g;
	const char **out = MLO_NEWN(ex->a, const char *, g->noutputs + 1);
	Onnx__GraphProto *p = MLO_NEW(ex->a, Onnx__GraphProto);

	onnx__graph_proto__init(p);
	for (uint32_t i = 0; i < ninputs; i++)
		name_value(ex, s, g->inputs[i], "input");
	name_outputs(ex, s, out, body);
	name_rest(ex, s);
	p->name = onnx_chars(g->name && *g->name ? g->name : "main");
	p->n_input = ninputs;
	p->input = MLO_NEWN(ex->a, Onnx__ValueInfoProto *, ninputs + 1);
	for (uint32_t i = 0; i < ninputs; i++)
		p->input[i] = value_info(ex, onnx_export_name(s, g->inputs[i]), &g->inputs[i]->type, body);
	write_constants(ex, s);
	for (const MloNode *n = g->first; n; n = n->next)
		write_node(ex, s, n);
	write_outputs(ex, s, out, p, body);
	p->node = s->nodes.items;
	p->n_node = s->nodes.n;
	p->initializer = s->constants.items;
	p->n_initializer = s->constants.n;
	return p;
}

Onnx__GraphProto *onnx_export_body(OnnxExportNode *x, const MloGraph *body, uint32_t first, MloValue *const *captured)
{
	OnnxExportScope s = scope_of(x->ex, body);

	for (uint32_t i = first; i < body->ninputs; i++)
		s.name[body->inputs[i]->id] = onnx_export_name(x->scope, captured[i - first]);
	return write_graph(x->ex, &s, first, true);
}

/* -- operator sets --------------------------------------------------------------------------------- */

static int newest_attr(const MloNode *n)
{
	static const struct {
		MloOp op;
		int slot, since;
	} rows[] = {
#define EXPORT(op, domain, type, since, fn)
#define REQUIRED(op, attr)
#define NEWER(op, attr, since) {OP_##op, ATTR_##op##_##attr, since},
#include "frontend/onnx_export.def"
	};
	int opset = 0;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].op == n->op && n->attr[rows[i].slot].set && rows[i].since > opset)
			opset = rows[i].since;
	return opset;
}

/* Forms of operands that came later than the operator; element types count by themselves. */
static int newest_use(const MloNode *n)
{
	const char *how;

	switch (n->op) {
	case OP_pad:
		how = mlo_attr_s(n, ATTR_pad_mode);
		return !strcmp(how, "wrap") ? 19 : n->nin > 3 && n->in[3] ? 18 : 0;
	case OP_scatter_elements:
	case OP_scatter_nd:
		how = mlo_attr_s(n, mlo_attr_slot(n->op, "reduction", 9));
		return !strcmp(how, "max") || !strcmp(how, "min") ? 18 : 0;
	case OP_quantize_linear:
	case OP_dequantize_linear:
		return mlo_elem_bits(n->in[0]->type.elem) == 16 || mlo_elem_bits(n->out[0]->type.elem) == 16 ? 21 : 0;
	default:
		return 0;
	}
}

static int newest_type(MloElem e)
{
	switch (e) {
	case EL_f8e4m3fn:
	case EL_f8e4m3fnuz:
	case EL_f8e5m2:
	case EL_f8e5m2fnuz:
		return 19;
	case EL_u4:
	case EL_i4:
		return 21;
	case EL_f4e2m1:
		return 23;
	case EL_f8e8m0:
		return 24;
	case EL_u2:
	case EL_i2:
		return 25;
	default:
		return 0;
	}
}

static int larger(int a, int b)
{
	return a > b ? a : b;
}

/* The least opset that all operators are in. */
static int opset_of(const MloGraph *g)
{
	int opset = OPSET;

	for (const MloNode *n = g->first; n; n = n->next) {
		const MloGraph *body;
		OnnxForm form;
		int at = 0;

		opset = larger(opset, larger(newest_attr(n), newest_use(n)));
		if (onnx_form(n->op, &form) && !*form.domain)
			opset = larger(opset, form.since);
		for (uint32_t i = 0; i < n->nin; i++)
			opset = larger(opset, n->in[i] ? newest_type(n->in[i]->type.elem) : 0);
		for (uint32_t i = 0; i < n->nout; i++)
			opset = larger(opset, n->out[i] ? newest_type(n->out[i]->type.elem) : 0);
		while ((body = mlo_node_body(n, &at)))
			opset = larger(opset, opset_of(body));
	}
	return opset;
}

/* https://github.com/onnx/onnx/blob/main/docs/Versioning.md */
static int ir_version(int opset)
{
	return opset < 19 ? 8 : opset < 21 ? 9 : opset < 23 ? 10 : opset < 24 ? 11 : opset < 25 ? 12 : 13;
}

static const char *meta_of(const MloGraph *g, const char *key)
{
	for (const MloMeta *m = g->meta; m; m = m->next)
		if (!strcmp(m->key, key))
			return m->value;
	return NULL;
}

static Onnx__OperatorSetIdProto *operator_set(OnnxExport *ex, const char *domain, int version)
{
	Onnx__OperatorSetIdProto *p = MLO_NEW(ex->a, Onnx__OperatorSetIdProto);

	onnx__operator_set_id_proto__init(p);
	p->domain = onnx_chars(domain);
	p->has_version = true;
	p->version = version;
	return p;
}

/* -- the model ------------------------------------------------------------------------------------- */

static bool is_prefix(const char *p, const char *s)
{
	return !strncmp(p, s, strlen(p));
}

/* What the model was made with is kept; keys of ours are no part of it. */
static void write_meta(OnnxExport *ex, const MloGraph *g, Onnx__ModelProto *m)
{
	size_t n = 0;
	const char *version = meta_of(g, "onnx.model_version");

	m->domain = onnx_chars(meta_of(g, "onnx.domain"));
	m->doc_string = onnx_chars(meta_of(g, "onnx.doc_string"));
	m->graph->doc_string = onnx_chars(meta_of(g, "onnx.graph_doc_string"));
	m->has_model_version = version != NULL;
	m->model_version = version ? strtoll(version, NULL, 10) : 0;
	for (const MloMeta *x = g->meta; x; x = x->next)
		n++;
	m->metadata_props = MLO_NEWN(ex->a, Onnx__StringStringEntryProto *, n + 1);
	for (const MloMeta *x = g->meta; x; x = x->next) {
		Onnx__StringStringEntryProto *e = MLO_NEW(ex->a, Onnx__StringStringEntryProto);

		if (is_prefix("onnx.", x->key) || is_prefix("mlopt.", x->key))
			continue;
		onnx__string_string_entry_proto__init(e);
		e->key = onnx_chars(x->key);
		e->value = onnx_chars(x->value);
		m->metadata_props[m->n_metadata_props++] = e;
	}
}

static MloStatus pack(OnnxExport *ex, const Onnx__ModelProto *m, const void **bytes, size_t *n)
{
	uint8_t *buf;

	*n = onnx__model_proto__get_packed_size(m);
	if (*n > MAX_BYTES)
		return mlo_error(ex->diag, MLO_ERR_LIMIT, "the model would have %zu bytes, an ONNX file holds at most %zu",
				 *n, MAX_BYTES);
	buf = MLO_NEWN(ex->a, uint8_t, *n + 1);
	onnx__model_proto__pack(m, buf);
	*bytes = buf;
	return MLO_OK;
}

MloStatus mlo_onnx_export(MloArena *a, const MloGraph *g, const char *producer_version, const void **bytes, size_t *n,
			  MloDiag *d)
{
	OnnxExport ex = {.a = a, .diag = d, .values = {.arena = a}, .nodes = {.arena = a}};
	const char *source = meta_of(g, "onnx.opset.ai.onnx");
	OnnxExportScope s = scope_of(&ex, g);
	Onnx__OperatorSetIdProto *sets[2];
	Onnx__ModelProto m;

	ex.opset = opset_of(g);
	if (source && atoi(source) > ex.opset && atoi(source) <= MLO_ONNX_OPSET_MAX)
		ex.opset = atoi(source);
	onnx__model_proto__init(&m);
	m.graph = write_graph(&ex, &s, g->ninputs, false);
	if (ex.status != MLO_OK)
		return ex.status;
	m.has_ir_version = true;
	m.ir_version = ir_version(ex.opset);
	m.producer_name = onnx_chars("mlopt");
	m.producer_version = onnx_chars(producer_version);
	sets[0] = operator_set(&ex, "", ex.opset);
	sets[1] = operator_set(&ex, "com.microsoft", 1);
	m.opset_import = sets;
	m.n_opset_import = ex.microsoft ? 2 : 1;
	write_meta(&ex, g, &m);
	return pack(&ex, &m, bytes, n);
}
