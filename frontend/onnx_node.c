/* frontend/onnx_node.c -- what importers use: errors, attributes, operands, results. */
#include <string.h>

#include "frontend/onnx_import.h"

/* -- mistakes ------------------------------------------------------------------------------- */

void onnx_fail(OnnxNode *n, MloStatus st, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	n->failed = true;
	onnx_error(n->im, st, "node '%s' (%s, opset %d): %s", n->origin->name, n->origin->op, n->opset, text);
}

bool onnx_arity(OnnxNode *n, uint32_t min, uint32_t max)
{
	if (n->nin > max) {
		onnx_fail(n, MLO_ERR_MODEL, "has %u operands, at most %u are known", n->nin, max);
		return false;
	}
	for (uint32_t i = 0; i < min; i++)
		if (i >= n->nin || !n->in[i]) {
			onnx_fail(n, MLO_ERR_MODEL, "operand %u is missing, at least %u are needed", i, min);
			return false;
		}
	return true;
}

/* -- attributes ------------------------------------------------------------------------------- */

static const Onnx__AttributeProto *in_list(Onnx__AttributeProto *const *list, size_t n, const char *name,
					   size_t *at)
{
	for (size_t i = 0; i < n; i++)
		if (list[i]->name && !strcmp(list[i]->name, name)) {
			*at = i;
			return list[i];
		}
	return NULL;
}

/* Follows references to attributes of the calling node, and the function's defaults. */
static const Onnx__AttributeProto *resolve(const OnnxScope *sc, const Onnx__AttributeProto *a)
{
	size_t at;

	while (a && a->ref_attr_name && *a->ref_attr_name) {
		const Onnx__AttributeProto *given;

		if (!sc || !sc->fn)
			return NULL;
		given = in_list(sc->call->attribute, sc->call->n_attribute, a->ref_attr_name, &at);
		if (given) {
			a = given;
			sc = sc->parent;
		} else {
			a = in_list(sc->fn->attribute_proto, sc->fn->n_attribute_proto, a->ref_attr_name,
				    &at);
			return a && a->ref_attr_name && *a->ref_attr_name ? NULL : a;
		}
	}
	return a;
}

/* For the message about one that is not known. */
static void note_known(OnnxNode *n, const char *name)
{
	size_t len = strlen(name);

	if (!n->p->n_attribute)
		return;
	for (const char *at = n->known.s; at && (at = strstr(at, name)); at += len)
		if ((at == n->known.s || at[-1] == ' ') && (!at[len] || at[len] == ','))
			return;
	mlo_str_add(&n->known, "%s%s", n->known.n ? ", " : "", name);
}

const Onnx__AttributeProto *onnx_attr(OnnxNode *n, const char *name)
{
	size_t at;
	const Onnx__AttributeProto *a = in_list(n->p->attribute, n->p->n_attribute, name, &at);

	note_known(n, name);
	if (!a)
		return NULL;
	if (at < 64)
		n->asked |= (uint64_t)1 << at;
	return resolve(n->scope, a);
}

static Onnx__AttributeProto__AttributeType kind_of(const Onnx__AttributeProto *a)
{
	if (a->has_type && a->type != ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED)
		return a->type;
	return a->has_f      ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT
	       : a->has_i    ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT
	       : a->has_s    ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING
	       : a->t        ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR
	       : a->n_floats ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS
	       : a->n_ints   ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS
			     : ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED;
}

bool onnx_attr_is(OnnxNode *n, const Onnx__AttributeProto *a, Onnx__AttributeProto__AttributeType kind)
{
	const ProtobufCEnumValue *want, *have;

	if (kind_of(a) == kind)
		return true;
	want = protobuf_c_enum_descriptor_get_value(&onnx__attribute_proto__attribute_type__descriptor, kind);
	have = protobuf_c_enum_descriptor_get_value(&onnx__attribute_proto__attribute_type__descriptor,
						    kind_of(a));
	onnx_fail(n, MLO_ERR_MODEL, "attribute '%s' is of kind %s, %s is needed", onnx_text(a->name),
		  have ? have->name : "unknown", want->name);
	return false;
}

int64_t onnx_int(OnnxNode *n, const char *name, int64_t def)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);

	return a && onnx_attr_is(n, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT) ? a->i : def;
}

double onnx_float(OnnxNode *n, const char *name, double def)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);

	return a && onnx_attr_is(n, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT) ? a->f : def;
}

const char *onnx_str(OnnxNode *n, const char *name, const char *def)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);

	if (!a || !onnx_attr_is(n, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING))
		return def;
	return mlo_strndup(n->im->tmp, (const char *)a->s.data, a->s.len);
}

const int64_t *onnx_ints(OnnxNode *n, const char *name, int *count)
{
	static const int64_t none;
	const Onnx__AttributeProto *a = onnx_attr(n, name);

	*count = 0;
	/* an empty list without a type is indistinguishable from no value */
	if (!a || (kind_of(a) != ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED &&
		   !onnx_attr_is(n, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS)))
		return NULL;
	if (a->n_ints > INT32_MAX) {
		onnx_fail(n, MLO_ERR_LIMIT, "attribute '%s' is too long", name);
		return NULL;
	}
	*count = (int)a->n_ints;
	return *count ? a->ints : &none;
}

const float *onnx_floats(OnnxNode *n, const char *name, int *count)
{
	static const float none;
	const Onnx__AttributeProto *a = onnx_attr(n, name);

	*count = 0;
	if (!a || (kind_of(a) != ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED &&
		   !onnx_attr_is(n, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS)))
		return NULL;
	if (a->n_floats > INT32_MAX) {
		onnx_fail(n, MLO_ERR_LIMIT, "attribute '%s' is too long", name);
		return NULL;
	}
	*count = (int)a->n_floats;
	return *count ? a->floats : &none;
}

void onnx_ignore(OnnxNode *n, const char *name)
{
	onnx_attr(n, name);
}

static void copy_floats(OnnxNode *n, MloNode *m, const char *name, int slot)
{
	int count;
	const float *f = onnx_floats(n, name, &count);
	double *v;

	if (!f)
		return;
	v = MLO_NEWN(n->im->tmp, double, (size_t)count);
	for (int i = 0; i < count; i++)
		v[i] = f[i];
	mlo_attr_set_floats(n->g, m, slot, v, count);
}

static void copy_attr(OnnxNode *n, MloNode *m, int slot, const MloAttrInfo *info)
{
	const int64_t *ints;
	int count;

	switch (info->kind) {
	case AK_INT:
		mlo_attr_set_i(m, slot, onnx_int(n, info->name, 0));
		return;
	case AK_FLOAT:
		mlo_attr_set_f(m, slot, onnx_float(n, info->name, 0));
		return;
	case AK_STR:
		mlo_attr_set_s(n->g, m, slot, onnx_str(n, info->name, ""));
		return;
	case AK_INTS:
		ints = onnx_ints(n, info->name, &count);
		if (ints)
			mlo_attr_set_ints(n->g, m, slot, ints, count);
		return;
	case AK_FLOATS:
		copy_floats(n, m, info->name, slot);
		return;
	case AK_GRAPH: /* bodies are imported by their operator */
		return;
	}
}

void onnx_attrs(OnnxNode *n, MloNode *m)
{
	const MloOpInfo *info = mlo_op_info(m->op);

	for (int i = 0; i < info->nattr; i++)
		if (onnx_attr(n, info->attr[i].name))
			copy_attr(n, m, i, &info->attr[i]);
}

/* -- operands --------------------------------------------------------------------------------- */

MloValue *onnx_in(const OnnxNode *n, uint32_t i)
{
	return i < n->nin ? n->in[i] : NULL;
}

MloValue *onnx_scalar(OnnxNode *n, MloElem e, double v)
{
	const MloElemClass cls = mlo_elem_class(e);
	MloTensor *t;

	if (cls == EC_STRING || cls == EC_COMPLEX) {
		onnx_fail(n, MLO_ERR_MODEL, "an operand of %s where a real number is needed", mlo_elem_text(e));
		e = EL_f32;
	}
	t = mlo_tensor_new(n->g->arena, e, 0, NULL);
	mlo_tensor_set_f64(t, 0, v);
	return mlo_graph_const(n->g, t, NULL);
}

MloValue *onnx_i64s(OnnxNode *n, const int64_t *v, int count)
{
	return mlo_graph_const_i64s(n->g, 1, v, count);
}

MloValue *onnx_ints_operand(OnnxNode *n, const char *name)
{
	int count;
	const int64_t *v = onnx_ints(n, name, &count);

	return v ? onnx_i64s(n, v, count) : NULL;
}

MloElem onnx_elem_beside(const MloValue *v)
{
	return v->type.elem == EL_none ? EL_f32 : v->type.elem;
}

MloValue *onnx_cast(OnnxNode *n, MloValue *v, MloElem e)
{
	MloNode *m;

	if (onnx_elem_beside(v) == e)
		return v;
	m = onnx_node(n, OP_cast, &v, 1, 1);
	mlo_attr_set_i(m, ATTR_cast_to, mlo_elem_onnx(e));
	return onnx_infer(n, m);
}

MloValue *onnx_wide(OnnxNode *n, MloValue *v)
{
	return v->type.elem == EL_f16 || v->type.elem == EL_bf16 ? onnx_cast(n, v, EL_f32) : v;
}

MloValue *onnx_per_channel(OnnxNode *n, MloValue *v, int rank)
{
	int64_t axes[MLO_MAX_RANK];

	if (rank <= 2)
		return v;
	for (int i = 0; i < rank - 2; i++)
		axes[i] = i + 1;
	return onnx_op2(n, OP_unsqueeze, v, onnx_i64s(n, axes, rank - 2));
}

bool onnx_empty(const MloValue *v)
{
	return v->type.rank != MLO_RANK_UNKNOWN && mlo_type_elems(&v->type) == 0;
}

/* -- results ------------------------------------------------------------------------------------- */

MloNode *onnx_node(OnnxNode *n, MloOp op, MloValue *const *in, uint32_t nin, uint32_t nout)
{
	MloNode *m = mlo_graph_node(n->g, NULL, op, in, nin, nout);

	mlo_origin_add(n->g, m, n->origin);
	return m;
}

MloValue *onnx_infer(OnnxNode *n, MloNode *m)
{
	/* What cannot be inferred stays unknown; mlo_infer_graph() reports what is wrong. */
	if (mlo_infer_node(n->g, m, NULL) != MLO_OK)
		for (uint32_t i = 0; i < m->nout; i++)
			m->out[i]->type = (MloType){.rank = MLO_RANK_UNKNOWN};
	return m->out[0];
}

MloValue *onnx_op1(OnnxNode *n, MloOp op, MloValue *a)
{
	return onnx_infer(n, onnx_node(n, op, &a, 1, 1));
}

MloValue *onnx_op2(OnnxNode *n, MloOp op, MloValue *a, MloValue *b)
{
	MloValue *in[] = {a, b};

	return onnx_infer(n, onnx_node(n, op, in, 2, 1));
}

MloValue *onnx_op3(OnnxNode *n, MloOp op, MloValue *a, MloValue *b, MloValue *c)
{
	MloValue *in[] = {a, b, c};

	return onnx_infer(n, onnx_node(n, op, in, 3, 1));
}

bool onnx_wanted(const OnnxNode *n, uint32_t i)
{
	return i < n->nout && *n->p->output[i];
}

void onnx_result(OnnxNode *n, uint32_t i, MloValue *v)
{
	if (!onnx_wanted(n, i))
		return;
	if (!v->def || v->name) /* an operand or a constant: give the result a value of its own */
		v = onnx_op1(n, mlo_copy_op(&v->type), v);
	v->name = mlo_sprintf(n->g->arena, "%s%s", n->scope->prefix, n->p->output[i]);
	n->out[i] = v;
}

void onnx_finish(OnnxNode *n, MloNode *m)
{
	onnx_infer(n, m);
	for (uint32_t i = 0; i < m->nout; i++)
		onnx_result(n, i, m->out[i]);
}

void onnx_plain(OnnxNode *n, MloOp op)
{
	const MloOpInfo *info = mlo_op_info(op);
	uint32_t nout = n->nout ? n->nout : 1;
	MloNode *m;

	if (!onnx_arity(n, (uint32_t)info->min_in, info->max_in < 0 ? UINT32_MAX : (uint32_t)info->max_in))
		return;
	if (info->max_out >= 0 && nout > (uint32_t)info->max_out)
		nout = (uint32_t)info->max_out;
	m = onnx_node(n, op, n->in, n->nin, nout);
	onnx_attrs(n, m);
	onnx_finish(n, m);
}
