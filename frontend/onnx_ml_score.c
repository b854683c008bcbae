/* frontend/onnx_ml_score.c -- attributes, post-transforms and labels of domain ai.onnx.ml. */
#include <string.h>

#include "frontend/onnx_ml.h"

/* -- attributes --------------------------------------------------------------------------------------- */

MlInts ml_ints(OnnxNode *n, const char *name)
{
	int count;
	const int64_t *v = onnx_ints(n, name, &count);

	return (MlInts){v, count};
}

MlNumbers ml_tensor(OnnxNode *n, const char *name)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);
	const MloTensor *t;
	double *v;

	if (!a || !onnx_attr_is(n, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR) || !a->t)
		return (MlNumbers){0};
	t = onnx_tensor(n->im->tmp, &n->im->src, a->t, n->origin->name, n->im->diag);
	if (!t || mlo_elem_class(t->elem) == EC_STRING || mlo_elem_class(t->elem) == EC_COMPLEX) {
		onnx_fail(n, MLO_ERR_MODEL, "attribute '%s' is not a tensor of numbers", name);
		return (MlNumbers){0};
	}
	v = MLO_NEWN(n->im->tmp, double, (size_t)mlo_tensor_elems(t));
	for (int64_t i = 0; i < mlo_tensor_elems(t); i++)
		v[i] = mlo_tensor_f64(t, i);
	return (MlNumbers){v, mlo_tensor_elems(t), t->elem == EL_f64};
}

MlNumbers ml_numbers(OnnxNode *n, const char *name)
{
	const char *wide = mlo_sprintf(n->im->tmp, "%s_as_tensor", name);
	const float *f;
	double *v;
	int count;

	if (onnx_attr(n, wide)) {
		onnx_ignore(n, name);
		return ml_tensor(n, wide);
	}
	f = onnx_floats(n, name, &count);
	v = MLO_NEWN(n->im->tmp, double, (size_t)count);
	for (int i = 0; i < count; i++)
		v[i] = f[i];
	return (MlNumbers){v, count, false};
}

const MloTensor *ml_strings(OnnxNode *n, const char *name)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);
	MloTensor *t;
	MloText *text;

	if (!a || !a->n_strings || !onnx_attr_is(n, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS))
		return NULL;
	t = mlo_tensor_new(n->g->arena, EL_str, 1, (int64_t[]){(int64_t)a->n_strings});
	text = (MloText *)t->data;
	for (size_t i = 0; i < a->n_strings; i++) {
		text[i].s = mlo_strndup(n->g->arena, (const char *)a->strings[i].data, a->strings[i].len);
		text[i].n = (int64_t)a->strings[i].len;
	}
	return t;
}

/* -- small graphs --------------------------------------------------------------------------------- */

MloValue *ml_const(OnnxNode *n, MloElem e, int rank, const int64_t *dims, const double *v)
{
	MloTensor *t = mlo_tensor_new(n->g->arena, e, rank, dims);

	for (int64_t i = 0; i < mlo_tensor_elems(t); i++)
		mlo_tensor_set_f64(t, i, v[i]);
	return mlo_graph_const(n->g, t, NULL);
}

MloValue *ml_vector(OnnxNode *n, MloElem e, MlNumbers v)
{
	return ml_const(n, e, 1, &v.n, v.v);
}

MloValue *ml_cast(OnnxNode *n, MloValue *v, MloElem e)
{
	MloNode *m;

	if (v->type.elem == e)
		return v;
	m = onnx_node(n, OP_cast, &v, 1, 1);
	mlo_attr_set_i(m, ATTR_cast_to, mlo_elem_onnx(e));
	return onnx_infer(n, m);
}

MloValue *ml_axis(OnnxNode *n, MloOp op, MloValue *v, const char *axis_attr, int64_t axis)
{
	MloNode *m = onnx_node(n, op, &v, 1, 1);

	mlo_attr_set_i(m, mlo_attr_slot(op, axis_attr, strlen(axis_attr)), axis);
	return onnx_infer(n, m);
}

MloValue *ml_column(OnnxNode *n, MloValue *v, int64_t k)
{
	MloValue *in[] = {v, onnx_i64s(n, &k, 1), onnx_i64s(n, (int64_t[]){k + 1}, 1),
	                  onnx_i64s(n, (int64_t[]){1}, 1)};

	return onnx_infer(n, onnx_node(n, OP_slice, in, 4, 1));
}

MloValue *ml_pair(OnnxNode *n, MloValue *a, MloValue *b)
{
	MloValue *in[] = {a, b};
	MloNode *m = onnx_node(n, OP_concat, in, 2, 1);

	mlo_attr_set_i(m, ATTR_concat_axis, 1);
	return onnx_infer(n, m);
}

MloValue *ml_flat(OnnxNode *n, MloValue *v)
{
	return onnx_op2(n, OP_squeeze, v, onnx_i64s(n, (int64_t[]){1}, 1));
}

MloValue *ml_rows(OnnxNode *n, bool wide)
{
	MloValue *x;

	if (!onnx_arity(n, 1, 1))
		return NULL;
	x = n->in[0];
	if (!mlo_elem_is_float(x->type.elem) && !mlo_elem_is_int(x->type.elem)) {
		onnx_fail(n, MLO_ERR_MODEL, "rows '%s' are %s, numbers are needed", x->name ? x->name : "?",
			  mlo_elem_text(x->type.elem));
		return NULL;
	}
	if (x->type.rank == 1)
		x = onnx_op2(n, OP_unsqueeze, x, onnx_i64s(n, (int64_t[]){0}, 1));
	return ml_cast(n, x, wide && x->type.elem == EL_f64 ? EL_f64 : EL_f32);
}

/* -- post-transforms ------------------------------------------------------------------------------ */

MlPost ml_post_attr(OnnxNode *n)
{
	static const char *const name[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
	const char *s = onnx_str(n, "post_transform", "NONE");

	for (int i = 0; i < ML_POST_COUNT; i++)
		if (!strcmp(s, name[i]))
			return (MlPost)i;
	onnx_fail(n, MLO_ERR_MODEL, "post_transform '%s' is not known", s);
	return ML_NONE;
}

static MloValue *number(OnnxNode *n, MloValue *like, double v)
{
	return onnx_scalar(n, like->type.elem == EL_f64 ? EL_f64 : EL_f32, v);
}

/* sqrt(2) * erfinv(2 s - 1), by Winitzki's approximation with a = 0.147, as ONNX Runtime computes it. */
static MloValue *probit(OnnxNode *n, MloValue *s)
{
	MloValue *one = number(n, s, 1), *t, *l, *v, *r, *negative;

	t = onnx_op2(n, OP_sub, onnx_op2(n, OP_add, s, s), one);
	l = onnx_op1(n, OP_log,
		     onnx_op2(n, OP_mul, onnx_op2(n, OP_sub, one, t), onnx_op2(n, OP_add, one, t)));
	v = onnx_op2(n, OP_add, number(n, s, 2 / (3.14159 * 0.147)),
		     onnx_op2(n, OP_mul, l, number(n, s, 0.5)));
	r = onnx_op2(n, OP_sub, onnx_op2(n, OP_mul, v, v), onnx_op2(n, OP_mul, l, number(n, s, 1 / 0.147)));
	r = onnx_op2(n, OP_sub, onnx_op1(n, OP_sqrt, r), v);
	r = onnx_op2(n, OP_mul, onnx_op1(n, OP_sqrt, r), number(n, s, 1.41421356));
	negative = onnx_op2(n, OP_less, t, number(n, s, 0));
	return onnx_op3(n, OP_where, negative, onnx_op1(n, OP_neg, r), r);
}

/* Softmax in which scores of 0 (within 1e-7) have no share of the sum. */
static MloValue *softmax_zero(OnnxNode *n, MloValue *s)
{
	MloValue *last = onnx_i64s(n, (int64_t[]){-1}, 1), *max, *some, *e, *sum, *zero = number(n, s, 0);

	max = onnx_op2(n, OP_reduce_max, s, last);
	some = onnx_op2(n, OP_greater, onnx_op1(n, OP_abs, s), number(n, s, 1e-7));
	e = onnx_op1(n, OP_exp, onnx_op2(n, OP_sub, s, max));
	sum = onnx_op2(n, OP_reduce_sum, onnx_op3(n, OP_where, some, e, zero), last);
	s = onnx_op2(n, OP_mul, s, onnx_op1(n, OP_exp, onnx_op1(n, OP_neg, max)));
	return onnx_op2(n, OP_div, onnx_op3(n, OP_where, some, e, s), sum);
}

MloValue *ml_post(OnnxNode *n, MloValue *s, MlPost post)
{
	switch (post) {
	case ML_SOFTMAX:
		return ml_axis(n, OP_softmax, s, "axis", -1);
	case ML_LOGISTIC:
		return onnx_op1(n, OP_sigmoid, s);
	case ML_SOFTMAX_ZERO:
		return softmax_zero(n, s);
	case ML_PROBIT:
		return probit(n, s);
	default:
		return s;
	}
}

MloValue *ml_two_scores(OnnxNode *n, MloValue *s, MlPost post, bool probability)
{
	MloValue *other = onnx_op1(n, OP_neg, s);

	if (post == ML_PROBIT)
		return ml_pair(n, probit(n, s), onnx_op2(n, OP_mul, s, number(n, s, 0)));
	if (post == ML_LOGISTIC)
		return onnx_op1(n, OP_sigmoid, ml_pair(n, other, s));
	if (probability)
		other = onnx_op2(n, OP_sub, number(n, s, 1), s);
	return ml_pair(n, other, s);
}

/* -- labels --------------------------------------------------------------------------------------- */

MlLabels ml_labels(OnnxNode *n, const char *ints, const char *strings)
{
	MlLabels l = {ml_ints(n, ints), ml_strings(n, strings), 0};

	l.n = l.strings ? l.strings->dim[0] : l.ints.n;
	if (l.strings && l.ints.n)
		onnx_fail(n, MLO_ERR_MODEL, "has both '%s' and '%s'", ints, strings);
	else if (!l.n)
		onnx_fail(n, MLO_ERR_MODEL, "has neither '%s' nor '%s'", ints, strings);
	return l;
}

void ml_label_result(OnnxNode *n, const MlLabels *l, MloValue *index)
{
	MloValue *table;
	bool plain = !l->strings;

	for (int64_t i = 0; plain && i < l->n; i++)
		plain = l->ints.v[i] == i;
	if (!plain) {
		table = l->strings ? mlo_graph_const(n->g, l->strings, NULL)
				   : mlo_graph_const_i64s(n->g, 1, l->ints.v, (int)l->n);
		index = onnx_op2(n, OP_gather, table, index);
	}
	onnx_result(n, 0, index);
}

MloValue *ml_positive(OnnxNode *n, MloValue *s, double above)
{
	return ml_flat(n, ml_cast(n, onnx_op2(n, OP_greater, s, number(n, s, above)), EL_i64));
}
