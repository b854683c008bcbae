/* frontend/onnx_ops_const.c -- importers of constants and of operators over shapes. */
#include <string.h>

#include "frontend/onnx_ops.h"

static MloTensor *list_tensor(OnnxNode *n, MloElem e, int rank, int64_t count, const void *data)
{
	MloTensor *t = mlo_tensor_new(n->g->arena, e, rank, &count);

	if (t->nbytes)
		memcpy((void *)t->data, data, t->nbytes);
	return t;
}

static MloTensor *string_tensor(OnnxNode *n, int rank, const ProtobufCBinaryData *s, size_t count)
{
	MloTensor *t = mlo_tensor_new(n->g->arena, EL_str, rank, (int64_t[]){(int64_t)count});
	MloText *text = (MloText *)t->data;

	for (size_t i = 0; i < count; i++) {
		text[i].s = mlo_strndup(n->g->arena, (const char *)s[i].data, s[i].len);
		text[i].n = (int64_t)s[i].len;
	}
	return t;
}

static const MloTensor *tensor_attr(OnnxNode *n, const Onnx__AttributeProto *a)
{
	const MloTensor *t;

	if (!onnx_attr_is(n, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR) || !a->t) {
		n->failed = true;
		return NULL;
	}
	t = onnx_tensor(n->g->arena, &n->im->src, a->t, n->origin->name, n->im->diag);
	if (!t)
		onnx_fail(n, MLO_ERR_MODEL, "attribute '%s' is not a valid tensor", onnx_text(a->name));
	return t;
}

static const MloTensor *sparse_attr(OnnxNode *n, const Onnx__AttributeProto *a)
{
	const MloTensor *t = NULL;

	if (a->sparse_tensor)
		t = onnx_sparse_tensor(n->g->arena, &n->im->src, a->sparse_tensor, n->origin->name,
				       n->im->diag);
	if (!t)
		onnx_fail(n, MLO_ERR_MODEL, "attribute '%s' is not a valid sparse tensor",
			  onnx_text(a->name));
	return t;
}

static const MloTensor *constant_value(OnnxNode *n)
{
	const Onnx__AttributeProto *a;
	const int64_t *ints;
	const float *floats;
	int count;

	if ((a = onnx_attr(n, "value")))
		return tensor_attr(n, a);
	if ((a = onnx_attr(n, "sparse_value")))
		return sparse_attr(n, a);
	if (onnx_attr(n, "value_float"))
		return list_tensor(n, EL_f32, 0, 1, (float[]){(float)onnx_float(n, "value_float", 0)});
	if (onnx_attr(n, "value_int"))
		return list_tensor(n, EL_i64, 0, 1, (int64_t[]){onnx_int(n, "value_int", 0)});
	if ((floats = onnx_floats(n, "value_floats", &count)))
		return list_tensor(n, EL_f32, 1, count, floats);
	if ((ints = onnx_ints(n, "value_ints", &count)))
		return list_tensor(n, EL_i64, 1, count, ints);
	if ((a = onnx_attr(n, "value_string")))
		return string_tensor(n, 0, &a->s, 1);
	if ((a = onnx_attr(n, "value_strings")))
		return string_tensor(n, 1, a->strings, a->n_strings);
	onnx_fail(n, MLO_ERR_MODEL, "has no value");
	return NULL;
}

void import_constant(OnnxNode *n)
{
	const MloTensor *t = constant_value(n);

	if (t && !n->failed && onnx_wanted(n, 0))
		n->out[0] = mlo_graph_const(
			n->g, t, mlo_sprintf(n->g->arena, "%s%s", n->scope->prefix, n->p->output[0]));
}

/* The fill value is a float attribute of the IR; integers that it cannot hold are expanded. */
static bool fits_double(const MloTensor *t)
{
	int64_t v;

	if (t->elem != EL_i64 && t->elem != EL_u64)
		return true;
	v = mlo_tensor_i64(t, 0);
	return v >= -((int64_t)1 << 53) && v <= (int64_t)1 << 53;
}

void import_constant_of_shape(OnnxNode *n)
{
	const Onnx__AttributeProto *a = onnx_attr(n, "value");
	const MloTensor *t = NULL;
	MloNode *m;

	if (!onnx_arity(n, 1, 1))
		return;
	if (a) {
		t = tensor_attr(n, a);
		if (!t)
			return;
		if (mlo_tensor_elems(t) != 1 || mlo_elem_class(t->elem) == EC_STRING ||
		    mlo_elem_class(t->elem) == EC_COMPLEX) {
			onnx_fail(n, MLO_ERR_MODEL, "attribute 'value' is not one number");
			return;
		}
		if (!fits_double(t)) {
			onnx_result(n, 0, onnx_op2(n, OP_expand, mlo_graph_const(n->g, t, NULL), n->in[0]));
			return;
		}
	}
	m = onnx_node(n, OP_constant_of_shape, n->in, 1, 1);
	if (t) {
		mlo_attr_set_f(m, ATTR_constant_of_shape_value, mlo_tensor_f64(t, 0));
		mlo_attr_set_i(m, ATTR_constant_of_shape_elem, mlo_elem_onnx(t->elem));
	}
	onnx_finish(n, m);
}

/* The number of elements, a scalar. */
void import_size(OnnxNode *n)
{
	MloValue *shape;
	MloNode *m;

	if (!onnx_arity(n, 1, 1))
		return;
	shape = onnx_op1(n, OP_shape, n->in[0]);
	m = onnx_node(n, OP_reduce_prod, &shape, 1, 1);
	mlo_attr_set_i(m, ATTR_reduce_prod_keepdims, 0);
	onnx_finish(n, m);
}
