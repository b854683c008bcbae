/* frontend/onnx_ops_object.c -- types that are no tensors, and operators on sequences, optionals, maps. */
#include <string.h>

#include "frontend/onnx_ops.h"

/* -- types ---------------------------------------------------------------------------------- */

static bool tensor_type(OnnxImport *im, const Onnx__TypeProto *p, MloType *out)
{
	const Onnx__TensorShapeProto *s;

	if (!p || p->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
		return false;
	s = p->tensor_type->shape;
	out->elem = mlo_elem_from_onnx(p->tensor_type->elem_type);
	out->rank = s && s->n_dim <= MLO_MAX_RANK ? (int)s->n_dim : MLO_RANK_UNKNOWN;
	for (int i = 0; i < out->rank; i++) {
		bool known = s->dim[i]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
			     s->dim[i]->dim_value >= 0 && s->dim[i]->dim_value <= MLO_MAX_ELEMS;

		out->dim[i] = known ? mlo_dim(s->dim[i]->dim_value) : mlo_dim_fresh(im->g->syms, "dim");
	}
	return out->elem != EL_none;
}

static bool map_type(OnnxImport *im, const Onnx__TypeProto *p, MloType *out)
{
	if (!tensor_type(im, p->map_type->value_type, out))
		return false;
	out->rank = MLO_RANK_UNKNOWN;
	out->key = mlo_elem_from_onnx(p->map_type->key_type);
	return out->key == EL_i64 || out->key == EL_str;
}

/* Shapes of items count no more than their rank: items may differ. */
static bool sequence_type(OnnxImport *im, const Onnx__TypeProto *p, MloType *out)
{
	const Onnx__TypeProto *item = p->sequence_type->elem_type;

	if (item && item->value_case == ONNX__TYPE_PROTO__VALUE_MAP_TYPE) {
		out->kind = MLO_SEQ_MAP;
		return map_type(im, item, out);
	}
	out->kind = MLO_SEQ;
	return tensor_type(im, item, out);
}

bool onnx_type(OnnxImport *im, const Onnx__TypeProto *p, MloType *out)
{
	const Onnx__TypeProto *inner;

	*out = (MloType){.rank = MLO_RANK_UNKNOWN};
	if (!p)
		return false;
	switch (p->value_case) {
	case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE:
		return tensor_type(im, p, out);
	case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
		return sequence_type(im, p, out);
	case ONNX__TYPE_PROTO__VALUE_MAP_TYPE:
		out->kind = MLO_MAP;
		return map_type(im, p, out);
	case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE:
		inner = p->optional_type->elem_type;
		if (inner && inner->value_case == ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE) {
			if (!sequence_type(im, inner, out) || out->kind != MLO_SEQ)
				return false;
			out->kind = MLO_OPT_SEQ;
			return true;
		}
		out->kind = MLO_OPT;
		return tensor_type(im, inner, out);
	default:
		return false;
	}
}

/* -- operators ------------------------------------------------------------------------------ */

void import_identity(OnnxNode *n)
{
	if (!onnx_arity(n, 1, 1))
		return;
	onnx_plain(n, mlo_copy_op(&n->in[0]->type));
}

void import_sequence_empty(OnnxNode *n)
{
	MloNode *m = onnx_node(n, OP_sequence_empty, NULL, 0, 1);

	mlo_attr_set_i(m, ATTR_sequence_empty_elem, onnx_int(n, "dtype", 1));
	onnx_finish(n, m);
}

void import_optional(OnnxNode *n)
{
	const Onnx__AttributeProto *a = onnx_attr(n, "type");
	MloNode *m = onnx_node(n, OP_optional, n->in, n->nin, 1);
	MloType t = {0};

	if (n->nin == 0) {
		if (!a || !a->tp || !onnx_type(n->im, a->tp, &t) || (t.kind != MLO_TENSOR && t.kind != MLO_SEQ)) {
			onnx_fail(n, MLO_ERR_MODEL, "neither an operand nor a type of tensors or sequences of them");
			return;
		}
		mlo_attr_set_i(m, ATTR_optional_elem, mlo_elem_onnx(t.elem));
		mlo_attr_set_i(m, ATTR_optional_seq, t.kind == MLO_SEQ);
	}
	onnx_finish(n, m);
}

/* Keys from one of two list attributes. */
static MloValue *keys(OnnxNode *n, const char *ints, const char *strings)
{
	const Onnx__AttributeProto *s = onnx_attr(n, strings);
	int count;
	const int64_t *v = onnx_ints(n, ints, &count);
	MloTensor *t;
	MloText *text;

	if (v && count)
		return onnx_i64s(n, v, count);
	if (!s || s->n_strings == 0) {
		onnx_fail(n, MLO_ERR_MODEL, "neither '%s' nor '%s' is given", ints, strings);
		return NULL;
	}
	t = mlo_tensor_new(n->g->arena, EL_str, 1, (int64_t[]){(int64_t)s->n_strings});
	text = (MloText *)(uintptr_t)t->data;
	for (size_t i = 0; i < s->n_strings; i++)
		text[i] = (MloText){mlo_strndup(n->g->arena, (const char *)s->strings[i].data, s->strings[i].len),
				    (int64_t)s->strings[i].len};
	return mlo_graph_const(n->g, t, NULL);
}

void import_zip_map(OnnxNode *n)
{
	MloValue *k = keys(n, "classlabels_int64s", "classlabels_strings");
	MloValue *in[] = {onnx_in(n, 0), k};

	if (onnx_arity(n, 1, 1) && k)
		onnx_finish(n, onnx_node(n, OP_zip_map, in, 2, 1));
}

void import_dict_vectorizer(OnnxNode *n)
{
	MloValue *k = keys(n, "int64_vocabulary", "string_vocabulary");
	MloValue *in[] = {onnx_in(n, 0), k};

	if (onnx_arity(n, 1, 1) && k)
		onnx_finish(n, onnx_node(n, OP_dict_vectorizer, in, 2, 1));
}
