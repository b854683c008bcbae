/* frontend/onnx_export_ops.c -- writers of operators, and what they are made of. */
#include <math.h>
#include <string.h>

#include "frontend/onnx_export.h"
#include "frontend/onnx_ops.h"

#define LIST(a, n, type) ((type **)mlo_alloc((a), (n) ? (n) : 1, sizeof(type *)))

/* -- parts of a node ------------------------------------------------------------------------------- */

void onnx_put_operands(OnnxExportNode *x, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		onnx_put_operand(x, x->n->in[i]);
	while (x->p->n_input && !*x->p->input[x->p->n_input - 1])
		x->p->n_input--;
}

void onnx_put_operand(OnnxExportNode *x, const MloValue *v)
{
	Onnx__NodeProto *p = x->p;
	size_t cap = p->n_input;
	char **list = LIST(x->ex->a, cap + 1, char);

	if (cap)
		memcpy(list, p->input, cap * sizeof *list);
	list[p->n_input++] = onnx_chars(v ? onnx_export_name(x->scope, v) : "");
	p->input = list;
}

void onnx_put_results(OnnxExportNode *x, uint32_t count)
{
	x->p->output = LIST(x->ex->a, count, char);
	for (uint32_t i = 0; i < count; i++)
		x->p->output[i] = onnx_chars(x->n->out[i] ? onnx_export_name(x->scope, x->n->out[i]) : "");
	while (count && !*x->p->output[count - 1])
		count--;
	x->p->n_output = count;
}

static Onnx__AttributeProto *attribute(OnnxExportNode *x, const char *name, Onnx__AttributeProto__AttributeType type)
{
	Onnx__AttributeProto *a = MLO_NEW(x->ex->a, Onnx__AttributeProto), **list;
	Onnx__NodeProto *p = x->p;

	onnx__attribute_proto__init(a);
	a->name = onnx_chars(name);
	a->has_type = true;
	a->type = type;
	list = LIST(x->ex->a, p->n_attribute + 1, Onnx__AttributeProto);
	if (p->n_attribute)
		memcpy(list, p->attribute, p->n_attribute * sizeof *list);
	list[p->n_attribute++] = a;
	p->attribute = list;
	return a;
}

void onnx_put_int(OnnxExportNode *x, const char *name, int64_t v)
{
	Onnx__AttributeProto *a = attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);

	a->has_i = true;
	a->i = v;
}

void onnx_put_float(OnnxExportNode *x, const char *name, double v)
{
	Onnx__AttributeProto *a = attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);

	a->has_f = true;
	a->f = (float)v;
}

void onnx_put_str(OnnxExportNode *x, const char *name, const char *v)
{
	Onnx__AttributeProto *a = attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);

	a->has_s = true;
	a->s = (ProtobufCBinaryData){strlen(v), (uint8_t *)onnx_chars(v)};
}

void onnx_put_ints(OnnxExportNode *x, const char *name, const int64_t *v, int count)
{
	Onnx__AttributeProto *a = attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);

	a->n_ints = (size_t)count;
	a->ints = count ? mlo_dup(x->ex->a, v, (size_t)count * sizeof *v) : NULL;
}

void onnx_put_floats(OnnxExportNode *x, const char *name, const double *v, int count)
{
	Onnx__AttributeProto *a = attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS);

	a->n_floats = (size_t)count;
	a->floats = MLO_NEWN(x->ex->a, float, (size_t)count + 1);
	for (int i = 0; i < count; i++)
		a->floats[i] = (float)v[i];
}

void onnx_put_strings(OnnxExportNode *x, const char *name, const MloText *v, int64_t count)
{
	Onnx__AttributeProto *a = attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS);

	a->n_strings = (size_t)count;
	a->strings = MLO_NEWN(x->ex->a, ProtobufCBinaryData, (size_t)count + 1);
	for (int64_t i = 0; i < count; i++)
		a->strings[i] = (ProtobufCBinaryData){(size_t)v[i].n, (uint8_t *)onnx_chars(v[i].s)};
}

void onnx_put_tensor(OnnxExportNode *x, const char *name, const MloTensor *t)
{
	attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR)->t = onnx_export_tensor(x->ex->a, t, NULL);
}

void onnx_put_graph(OnnxExportNode *x, const char *name, Onnx__GraphProto *g)
{
	attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)->g = g;
}

static bool required(MloOp op, int slot)
{
	static const struct {
		MloOp op;
		int slot;
	} rows[] = {
#define EXPORT(op, domain, type, since, fn)
#define REQUIRED(op, attr) {OP_##op, ATTR_##op##_##attr},
#define NEWER(op, attr, since)
#include "frontend/onnx_export.def"
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].op == op && rows[i].slot == slot)
			return true;
	return false;
}

static void put_attr(OnnxExportNode *x, int slot, const MloAttrInfo *info)
{
	const int64_t *ints;
	const double *floats;
	int count;

	switch (info->kind) {
	case AK_INT:
		onnx_put_int(x, info->name, mlo_attr_i(x->n, slot));
		return;
	case AK_FLOAT:
		onnx_put_float(x, info->name, mlo_attr_f(x->n, slot));
		return;
	case AK_STR:
		onnx_put_str(x, info->name, mlo_attr_s(x->n, slot));
		return;
	case AK_INTS:
		ints = mlo_attr_ints(x->n, slot, &count);
		onnx_put_ints(x, info->name, ints, count);
		return;
	case AK_FLOATS:
		floats = mlo_attr_floats(x->n, slot, &count);
		onnx_put_floats(x, info->name, floats, count);
		return;
	case AK_GRAPH: /* bodies are written by their operator */
		return;
	}
}

/* Dilations of 1 say nothing, and poolings came to know them late. */
bool onnx_attr_written(const MloNode *n, int slot)
{
	int count;
	const int64_t *v;

	if (!n->attr[slot].set || (n->op != OP_average_pool && n->op != OP_lp_pool) ||
	    strcmp(mlo_op_info(n->op)->attr[slot].name, "dilations") != 0)
		return n->attr[slot].set || required(n->op, slot);
	v = mlo_attr_ints(n, slot, &count);
	for (int i = 0; i < count; i++)
		if (v[i] != 1)
			return true;
	return false;
}

void onnx_put_attrs(OnnxExportNode *x, const char *const *skip)
{
	const MloOpInfo *info = mlo_op_info(x->n->op);

	for (int i = 0; i < info->nattr; i++) {
		const char *const *s = skip;

		while (s && *s && strcmp(*s, info->attr[i].name) != 0)
			s++;
		if (!(s && *s) && onnx_attr_written(x->n, i))
			put_attr(x, i, &info->attr[i]);
	}
}

/* -- writers --------------------------------------------------------------------------------------- */

void export_plain(OnnxExportNode *x)
{
	onnx_put_operands(x, x->n->nin);
	onnx_put_results(x, x->n->nout);
	onnx_put_attrs(x, NULL);
}

static bool wanted(const OnnxExportNode *x, uint32_t i)
{
	const MloValue *v = i < x->n->nout ? x->n->out[i] : NULL;

	return v && v->nuse;
}

/* The results up to the last that is read: the importer makes all of them. */
static void wanted_results(OnnxExportNode *x)
{
	uint32_t n = x->n->nout;

	while (n > 1 && !wanted(x, n - 1))
		n--;
	onnx_put_results(x, n);
}

void export_whole(OnnxExportNode *x)
{
	onnx_put_operands(x, x->n->nin);
	wanted_results(x);
	onnx_put_attrs(x, NULL);
	if (x->n->op == OP_det && wanted(x, 1))
		onnx_export_fail(x, "the triangular form has no ONNX form");
}

void export_attention(OnnxExportNode *x)
{
	static const char *const stage[] = {"qk_matmul_output_mode", NULL};

	onnx_put_operands(x, x->n->nin);
	wanted_results(x);
	onnx_put_attrs(x, wanted(x, 3) ? NULL : stage);
}

/* Without sizes the parts are equal, and ONNX wants their number from opset 18 on. */
void export_split(OnnxExportNode *x)
{
	export_plain(x);
	if (x->p->n_input == 1 && x->ex->opset >= 18)
		onnx_put_int(x, "num_outputs", x->n->nout);
}

/* Both results must have names. */
void export_top_k(OnnxExportNode *x)
{
	export_plain(x);
	for (uint32_t i = 0; i < 2; i++)
		if (i >= x->p->n_output || !*x->p->output[i])
			x->p->output[i] = onnx_chars(onnx_export_new_name(x, "unused"));
	x->p->n_output = 2;
}

/* Swish is younger than most runtimes. */
void export_swish(OnnxExportNode *x)
{
	const char *v = onnx_export_name(x->scope, x->n->in[0]), *gate = v;
	double alpha = mlo_attr_f(x->n, ATTR_swish_alpha);

	if (x->ex->opset >= 24) {
		export_plain(x);
		return;
	}
	if (alpha != 1)
		gate = onnx_put_before(x, "Mul", v, onnx_export_scalar(x, x->n->in[0]->type.elem, alpha), "scaled");
	gate = onnx_put_before(x, "Sigmoid", gate, NULL, "gate");
	x->p->op_type = onnx_chars("Mul");
	onnx_put_operand(x, x->n->in[0]);
	x->p->input = mlo_dup(x->ex->a, (char *[]){x->p->input[0], onnx_chars(gate)}, 2 * sizeof(char *));
	x->p->n_input = 2;
	onnx_put_results(x, 1);
}

static const MloTensor *constant(OnnxExportNode *x, uint32_t i, const char *what)
{
	const MloValue *v = i < x->n->nin ? x->n->in[i] : NULL;

	if (v && !v->data)
		onnx_export_fail(x, "%s that are no constant have no ONNX form", what);
	return v ? v->data : NULL;
}

void export_random(OnnxExportNode *x)
{
	static const char *const ours[] = {"twister", "dtype", NULL};
	const MloTensor *t = constant(x, 0, "sizes");
	int64_t dim[MLO_MAX_RANK] = {0};
	const MloNode *n = x->n;

	for (int64_t i = 0; t && i < mlo_tensor_elems(t) && i < MLO_MAX_RANK; i++)
		dim[i] = mlo_tensor_i64(t, i);
	if (n->op == OP_random_uniform && mlo_attr_i(n, ATTR_random_uniform_twister))
		onnx_export_fail(x, "numbers of NumPy's generator have no ONNX form");
	onnx_put_results(x, 1);
	onnx_put_attrs(x, ours);
	onnx_put_int(x, "dtype", mlo_elem_onnx(n->out[0]->type.elem));
	onnx_put_ints(x, "shape", dim, t ? (int)mlo_tensor_elems(t) : 0);
}

void export_constant_of_shape(OnnxExportNode *x)
{
	MloElem e = mlo_elem_from_onnx((int)mlo_attr_i(x->n, ATTR_constant_of_shape_elem));
	MloTensor *t = mlo_tensor_new(x->ex->a, e, 1, (int64_t[]){1});

	mlo_tensor_set_f64(t, 0, mlo_attr_f(x->n, ATTR_constant_of_shape_value));
	onnx_put_operands(x, 1);
	onnx_put_results(x, 1);
	onnx_put_tensor(x, "value", t);
}

void export_sequence_empty(OnnxExportNode *x)
{
	onnx_put_results(x, 1);
	onnx_put_int(x, "dtype", mlo_attr_i(x->n, ATTR_sequence_empty_elem));
}

void export_string_normalizer(OnnxExportNode *x)
{
	const MloTensor *stop = constant(x, 1, "stopwords");

	onnx_put_operands(x, 1);
	onnx_put_results(x, 1);
	onnx_put_attrs(x, NULL);
	if (stop)
		onnx_put_strings(x, "stopwords", stop->data, mlo_tensor_elems(stop));
}

/* -- recurrent operators --------------------------------------------------------------------------- */

/* The names, and of alpha and beta those that the functions take. */
static void put_activations(OnnxExportNode *x)
{
	enum { MAX = 16 };
	const MloNode *n = x->n;
	const char *text = mlo_attr_s(n, mlo_attr_slot(n->op, "activations", 11));
	int na, nb, count = 0, ka = 0, kb = 0;
	const double *alpha = mlo_attr_floats(n, mlo_attr_slot(n->op, "activation_alpha", 16), &na);
	const double *beta = mlo_attr_floats(n, mlo_attr_slot(n->op, "activation_beta", 15), &nb);
	double a[MAX], b[MAX];
	MloText name[MAX];

	while (*text && count < MAX) {
		size_t len = strcspn(text, ",");
		bool has_alpha, has_beta;

		onnx_activation_takes(text, len, &has_alpha, &has_beta);
		name[count] = (MloText){text, (int64_t)len};
		if (has_alpha && count < na)
			a[ka++] = alpha[count];
		if (has_beta && count < nb)
			b[kb++] = beta[count];
		count++;
		text += len + (text[len] == ',');
	}
	if (!count)
		return;
	onnx_put_strings(x, "activations", name, count);
	if (ka)
		onnx_put_floats(x, "activation_alpha", a, ka);
	if (kb)
		onnx_put_floats(x, "activation_beta", b, kb);
}

void export_recurrent(OnnxExportNode *x)
{
	static const char *const lists[] = {"activations", "activation_alpha", "activation_beta", NULL};
	const MloValue *r = x->n->in[2];
	int states = x->n->op == OP_lstm_integer ? 1 : 2; /* dimension of r */

	if (x->n->nin < 3 || !x->n->in[1])
		onnx_export_fail(x, "input products outside of the operator have no ONNX form");
	onnx_put_operands(x, x->n->nin);
	wanted_results(x);
	onnx_put_attrs(x, lists);
	put_activations(x);
	if (r && r->type.rank == 3 && mlo_dim_known(r->type.dim[states]))
		onnx_put_int(x, "hidden_size", r->type.dim[states].k);
	else
		onnx_export_fail(x, "the number of states is not known");
}

/* -- bodies ---------------------------------------------------------------------------------------- */

void export_if(OnnxExportNode *x)
{
	onnx_put_operands(x, 1);
	onnx_put_results(x, x->n->nout);
	onnx_put_graph(x, "then_branch",
		       onnx_export_body(x, mlo_attr_graph(x->n, ATTR_if_then_branch), 0, x->n->in + 1));
	onnx_put_graph(x, "else_branch",
		       onnx_export_body(x, mlo_attr_graph(x->n, ATTR_if_else_branch), 0, x->n->in + 1));
}

void export_loop(OnnxExportNode *x)
{
	uint32_t own = (uint32_t)mlo_attr_i(x->n, ATTR_loop_carried) + 2;

	for (uint32_t i = 0; i < own; i++)
		onnx_put_operand(x, x->n->in[i]);
	onnx_put_results(x, x->n->nout);
	onnx_put_graph(x, "body", onnx_export_body(x, mlo_attr_graph(x->n, ATTR_loop_body), own, x->n->in + own));
}

/* -- which one ------------------------------------------------------------------------------------- */

bool onnx_form(MloOp op, OnnxForm *out)
{
	static const struct {
		MloOp op;
		OnnxForm form;
	} rows[] = {
#define EXPORT(op, domain, type, since, fn) {OP_##op, {domain, type, since, export_##fn}},
#define REQUIRED(op, attr)
#define NEWER(op, attr, since)
#include "frontend/onnx_export.def"
	};
	const OnnxOp *plain;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].op == op) {
			*out = rows[i].form;
			return true;
		}
	plain = onnx_op_plain(op);
	if (plain)
		*out = (OnnxForm){plain->domain, plain->type, plain->since, export_plain};
	return plain != NULL;
}
