/* frontend/onnx_ops_ml.c -- importers of domain ai.onnx.ml: features, encoders, linear models. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/onnx_ml.h"

/* -- features ------------------------------------------------------------------------------------- */

/* Operand 0 as f64 if it is that, else as f32. */
static MloValue *real(OnnxNode *n)
{
	if (!onnx_arity(n, 1, 1))
		return NULL;
	if (!mlo_elem_is_float(n->in[0]->type.elem) && !mlo_elem_is_int(n->in[0]->type.elem)) {
		onnx_fail(n, MLO_ERR_MODEL, "operand 0 is %s, numbers are needed",
			  mlo_elem_text(n->in[0]->type.elem));
		return NULL;
	}
	return ml_cast(n, n->in[0], n->in[0]->type.elem == EL_f64 ? EL_f64 : EL_f32);
}

/* One element for all features, or one for each. */
static MloValue *per_feature(OnnxNode *n, MloElem e, MlNumbers v)
{
	return v.n == 1 ? onnx_scalar(n, e, v.v[0]) : ml_vector(n, e, v);
}

void import_scaler(OnnxNode *n)
{
	MloValue *x = real(n);
	MlNumbers offset = ml_numbers(n, "offset"), scale = ml_numbers(n, "scale");

	if (n->failed)
		return;
	if (offset.n < 1 || offset.n != scale.n) {
		onnx_fail(n, MLO_ERR_MODEL, "%lld offsets and %lld scales", (long long)offset.n,
			  (long long)scale.n);
		return;
	}
	x = onnx_op2(n, OP_sub, x, per_feature(n, x->type.elem, offset));
	x = onnx_op2(n, OP_mul, x, per_feature(n, x->type.elem, scale));
	onnx_result(n, 0, ml_cast(n, x, EL_f32));
}

/* Divides each row by its largest element, or its L1 or L2 norm; rows for which that is 0 stay. */
void import_normalizer(OnnxNode *n)
{
	const char *norm = onnx_str(n, "norm", "MAX");
	MloValue *x = real(n), *last, *by, *zero;

	if (!x)
		return;
	last = onnx_i64s(n, (int64_t[]){-1}, 1);
	if (!strcmp(norm, "MAX")) {
		by = onnx_op2(n, OP_reduce_max, x, last);
	} else if (!strcmp(norm, "L1")) {
		by = onnx_op2(n, OP_reduce_sum, onnx_op1(n, OP_abs, x), last);
	} else if (!strcmp(norm, "L2")) {
		by = onnx_op2(n, OP_reduce_l2, x, last);
	} else {
		onnx_fail(n, MLO_ERR_MODEL, "norm '%s' is not known", norm);
		return;
	}
	zero = onnx_scalar(n, x->type.elem, 0);
	by = onnx_op3(n, OP_where, onnx_op2(n, OP_equal, by, zero), onnx_scalar(n, x->type.elem, 1), by);
	onnx_result(n, 0, ml_cast(n, onnx_op2(n, OP_div, x, by), EL_f32));
}

void import_binarizer(OnnxNode *n)
{
	double threshold = onnx_float(n, "threshold", 0);
	MloValue *x = real(n), *y;

	if (!x)
		return;
	y = onnx_op2(n, OP_greater, x, onnx_scalar(n, x->type.elem, threshold));
	onnx_result(n, 0, ml_cast(n, y, n->in[0]->type.elem));
}

static MloValue *imputed(OnnxNode *n, MloElem e)
{
	MlNumbers f = ml_numbers(n, "imputed_value_floats");
	MlInts i = ml_ints(n, "imputed_value_int64s");
	double *v;

	if (mlo_elem_is_float(e) && f.n)
		return per_feature(n, e, f);
	if (mlo_elem_is_float(e) || !i.n) {
		onnx_fail(n, MLO_ERR_MODEL, "has no imputed values for %s", mlo_elem_text(e));
		return NULL;
	}
	v = MLO_NEWN(n->im->tmp, double, (size_t)i.n);
	for (int64_t k = 0; k < i.n; k++)
		v[k] = (double)i.v[k];
	return e == EL_i64 ? mlo_graph_const_i64s(n->g, 1, i.v, (int)i.n)
			   : per_feature(n, e, (MlNumbers){v, i.n, 0});
}

void import_imputer(OnnxNode *n)
{
	double old = onnx_float(n, "replaced_value_float", 0);
	int64_t old_int = onnx_int(n, "replaced_value_int64", 0);
	MloValue *x, *with, *hit;

	if (!onnx_arity(n, 1, 1))
		return;
	x = n->in[0];
	with = imputed(n, x->type.elem);
	if (!with)
		return;
	if (!mlo_elem_is_float(x->type.elem))
		hit = onnx_op2(n, OP_equal, x,
			       ml_cast(n, mlo_graph_const_i64s(n->g, 0, &old_int, 1), x->type.elem));
	else if (isnan(old))
		hit = onnx_op1(n, OP_not, onnx_op2(n, OP_equal, x, x));
	else
		hit = onnx_op2(n, OP_equal, x, onnx_scalar(n, x->type.elem, old));
	onnx_result(n, 0, onnx_op3(n, OP_where, hit, with, x));
}

/* Columns of x; the result is a matrix even for a vector. */
void import_array_feature_extractor(OnnxNode *n)
{
	MloValue *x, *index;
	MloNode *m;

	if (!onnx_arity(n, 2, 2))
		return;
	x = n->in[0];
	if (x->type.rank == 1)
		x = onnx_op2(n, OP_unsqueeze, x, onnx_i64s(n, (int64_t[]){0}, 1));
	index = onnx_op2(n, OP_reshape, n->in[1], onnx_i64s(n, (int64_t[]){-1}, 1));
	m = onnx_node(n, OP_gather, (MloValue *[]){x, index}, 2, 1);
	mlo_attr_set_i(m, ATTR_gather_axis, -1);
	onnx_finish(n, m);
}

void import_feature_vectorizer(OnnxNode *n)
{
	MlInts size = ml_ints(n, "inputdimensions");
	MloValue **in = MLO_NEWN(n->im->tmp, MloValue *, n->nin + 1);
	MloNode *m;

	if (!onnx_arity(n, 1, UINT32_MAX))
		return;
	for (uint32_t i = 0; i < n->nin; i++) {
		const MloType *t;

		if (!n->in[i]) {
			onnx_fail(n, MLO_ERR_MODEL, "operand %u is missing", i);
			return;
		}
		in[i] = ml_cast(n, n->in[i], EL_f32);
		if (in[i]->type.rank == 1)
			in[i] = onnx_op2(n, OP_unsqueeze, in[i], onnx_i64s(n, (int64_t[]){0}, 1));
		t = &in[i]->type;
		if (i < size.n && t->rank == 2 && mlo_dim_known(t->dim[1]) && t->dim[1].k != size.v[i]) {
			onnx_fail(n, MLO_ERR_MODEL, "operand %u has %lld features, inputdimensions says %lld",
				  i, (long long)t->dim[1].k, (long long)size.v[i]);
			return;
		}
	}
	m = onnx_node(n, OP_concat, in, n->nin, 1);
	mlo_attr_set_i(m, ATTR_concat_axis, 1);
	onnx_finish(n, m);
}

/* -- encoders ------------------------------------------------------------------------------------- */

/* STEM_tensor, STEM_floats, STEM_int64s or STEM_strings as a vector; NULL when none is there. */
static const MloTensor *list(OnnxNode *n, const char *stem)
{
	MloArena *a = n->im->tmp;
	const char *tensor = mlo_sprintf(a, "%s_tensor", stem);
	const Onnx__AttributeProto *t = onnx_attr(n, tensor);
	MlNumbers f = ml_numbers(n, mlo_sprintf(a, "%s_floats", stem));
	MlInts i = ml_ints(n, mlo_sprintf(a, "%s_int64s", stem));
	const MloTensor *s = ml_strings(n, mlo_sprintf(a, "%s_strings", stem));
	MloTensor *out;

	if (t && t->t) {
		out = onnx_tensor(n->g->arena, &n->im->src, t->t, tensor, n->im->diag);
		if (out) {
			out->dim[0] = mlo_tensor_elems(out);
			out->rank = 1;
		} else {
			onnx_fail(n, MLO_ERR_MODEL, "attribute '%s' is not a valid tensor", tensor);
		}
		return out;
	}
	if (s || (!f.n && !i.n))
		return s;
	if (f.n)
		return ml_vector(n, EL_f32, f)->data;
	return mlo_graph_const_i64s(n->g, 1, i.v, (int)i.n)->data;
}

typedef struct Key {
	double f;
	int64_t i, index;
	MloText text;
} Key;

/* The order that the operator lookup expects; among equal keys the first stays first. */
static int by_key(const void *a, const void *b)
{
	const Key *x = a, *y = b;
	size_t n = (size_t)(x->text.n < y->text.n ? x->text.n : y->text.n);
	int c = n ? memcmp(x->text.s, y->text.s, n) : 0;

	if (c)
		return c;
	if (x->text.n != y->text.n)
		return x->text.n < y->text.n ? -1 : 1;
	if (isnan(x->f) != isnan(y->f))
		return isnan(x->f) ? 1 : -1;
	if (x->f < y->f || x->f > y->f)
		return x->f < y->f ? -1 : 1;
	if (x->i != y->i)
		return x->i < y->i ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static MloTensor *permuted(OnnxNode *n, const MloTensor *t, const Key *k, int64_t count)
{
	MloTensor *p = mlo_tensor_new(n->g->arena, t->elem, 1, &count);
	size_t size = mlo_elem_bits(t->elem) / 8;

	for (int64_t i = 0; i < count; i++)
		memcpy((char *)p->data + (size_t)i * size, (const char *)t->data + (size_t)k[i].index * size,
		       size);
	return p;
}

/* Values where x is one of the keys, else `other` (a scalar of the values' type). */
static void look_up(OnnxNode *n, MloValue *x, const MloTensor *keys, const MloTensor *values, MloValue *other)
{
	int64_t count = keys ? mlo_tensor_elems(keys) : 0;
	MloValue *in[4] = {x, NULL, NULL, other};
	MloElem e = x->type.elem;
	Key *k;

	if (!keys || !values || mlo_tensor_elems(values) != count || mlo_elem_bits(values->elem) < 8) {
		onnx_fail(n, MLO_ERR_MODEL, "needs keys and as many values");
		return;
	}
	if ((e == EL_str) != (keys->elem == EL_str) || e == EL_none || mlo_elem_class(e) == EC_COMPLEX) {
		onnx_fail(n, MLO_ERR_MODEL, "operand 0 is %s, the keys are %s", mlo_elem_text(e),
			  mlo_elem_text(keys->elem));
		return;
	}
	k = MLO_NEWN(n->im->tmp, Key, (size_t)count);
	for (int64_t i = 0; i < count; i++) {
		k[i].index = i;
		if (keys->elem == EL_str)
			k[i].text = ((const MloText *)keys->data)[i];
		else if (mlo_elem_is_float(keys->elem))
			k[i].f = mlo_tensor_f64(keys, i);
		else
			k[i].i = mlo_tensor_i64(keys, i);
	}
	qsort(k, (size_t)count, sizeof *k, by_key);
	in[1] = ml_cast(n, mlo_graph_const(n->g, permuted(n, keys, k, count), NULL), e);
	in[2] = mlo_graph_const(n->g, permuted(n, values, k, count), NULL);
	onnx_result(n, 0, onnx_infer(n, onnx_node(n, OP_lookup, in, 4, 1)));
}

static MloValue *text_scalar(OnnxNode *n, const char *s)
{
	MloTensor *t = mlo_tensor_new(n->g->arena, EL_str, 0, NULL);

	((MloText *)t->data)->s = mlo_strdup(n->g->arena, s);
	((MloText *)t->data)->n = (int64_t)strlen(s);
	return mlo_graph_const(n->g, t, NULL);
}

static MloTensor *counted(OnnxNode *n, int64_t count)
{
	MloTensor *t = mlo_tensor_new(n->g->arena, EL_i64, 1, &count);

	for (int64_t i = 0; i < count; i++)
		((int64_t *)t->data)[i] = i;
	return t;
}

/* Two lists of equal length; the type of operand 0 says which one holds the keys. */
static void map_both_ways(OnnxNode *n, const MloTensor *text, const MloTensor *ints)
{
	const char *other = onnx_str(n, "default_string", "_Unused");
	int64_t other_int = onnx_int(n, "default_int64", -1);

	if (!onnx_arity(n, 1, 1))
		return;
	if (n->in[0]->type.elem == EL_str)
		look_up(n, n->in[0], text, ints, mlo_graph_const_i64s(n->g, 0, &other_int, 1));
	else
		look_up(n, n->in[0], ints, text, text_scalar(n, other));
}

void import_category_mapper(OnnxNode *n)
{
	const MloTensor *text = ml_strings(n, "cats_strings");
	MlInts i = ml_ints(n, "cats_int64s");

	map_both_ways(n, text, i.n ? mlo_graph_const_i64s(n->g, 1, i.v, (int)i.n)->data : NULL);
}

/* Label encoder of opset 1: the integer is the place in the list. */
void import_label_encoder_old(OnnxNode *n)
{
	const MloTensor *text = ml_strings(n, "classes_strings");

	map_both_ways(n, text, text ? counted(n, text->dim[0]) : NULL);
}

void import_label_encoder(OnnxNode *n)
{
	const MloTensor *keys = list(n, "keys"), *values = list(n, "values"), *given = NULL;
	const Onnx__AttributeProto *a = onnx_attr(n, "default_tensor");
	const char *text = onnx_str(n, "default_string", "_Unused");
	double f = onnx_float(n, "default_float", -0.0);
	int64_t i = onnx_int(n, "default_int64", -1);
	MloValue *other;

	if (!onnx_arity(n, 1, 1))
		return;
	if (a && a->t)
		given = onnx_tensor(n->g->arena, &n->im->src, a->t, "default_tensor", n->im->diag);
	if (!values || (a && (!given || mlo_tensor_elems(given) != 1 || given->elem != values->elem))) {
		onnx_fail(n, MLO_ERR_MODEL, "has no values, or a default that does not fit them");
		return;
	}
	if (given)
		other = onnx_op2(n, OP_reshape, mlo_graph_const(n->g, given, NULL), onnx_i64s(n, &i, 0));
	else if (values->elem == EL_str)
		other = text_scalar(n, text);
	else if (mlo_elem_is_float(values->elem))
		other = onnx_scalar(n, values->elem, f);
	else
		other = ml_cast(n, mlo_graph_const_i64s(n->g, 0, &i, 1), values->elem);
	look_up(n, n->in[0], keys, values, other);
}

/* One more dimension, with a 1 at the place of the category; numbers are truncated to integers. */
void import_one_hot_encoder(OnnxNode *n)
{
	MlInts cats = ml_ints(n, "cats_int64s");
	const MloTensor *text = ml_strings(n, "cats_strings");
	MloValue *x, *all, *missing;
	int64_t none = -1, axis = -1;

	onnx_ignore(n, "zeros"); /* a category that is not in the list gives zeros */
	if (!onnx_arity(n, 1, 1))
		return;
	x = n->in[0];
	if (text) {
		missing = mlo_graph_const_i64s(n->g, 0, &none, 1);
		all = mlo_graph_const(n->g, counted(n, text->dim[0]), NULL);
		look_up(n, x, text, all->data, missing);
		x = n->out[0];
		n->out[0] = NULL;
		if (n->failed || !x)
			return;
		x->name = NULL;
	} else if (cats.n) {
		all = mlo_graph_const_i64s(n->g, 1, cats.v, (int)cats.n);
		x = ml_cast(n, x, EL_i64);
	} else {
		onnx_fail(n, MLO_ERR_MODEL, "has no categories");
		return;
	}
	x = onnx_op2(n, OP_unsqueeze, x, onnx_i64s(n, &axis, 1));
	onnx_result(n, 0, ml_cast(n, onnx_op2(n, OP_equal, x, all), EL_f32));
}

/* -- linear models -------------------------------------------------------------------------------- */

/* x @ w[targets, features]^T + b */
static MloValue *linear(OnnxNode *n, MloValue *x, MlNumbers w, MlNumbers b, int64_t targets)
{
	int64_t dims[2] = {targets, targets ? w.n / targets : 0};
	MloValue *in[3] = {x};
	MloNode *m;

	if (targets < 1 || w.n % targets) {
		onnx_fail(n, MLO_ERR_MODEL, "%lld coefficients for %lld targets", (long long)w.n,
			  (long long)targets);
		return NULL;
	}
	in[1] = ml_const(n, EL_f32, 2, dims, w.v);
	if (b.n == targets)
		in[2] = ml_vector(n, EL_f32, b);
	m = onnx_node(n, OP_gemm, in, in[2] ? 3 : 2, 1);
	mlo_attr_set_i(m, ATTR_gemm_transB, 1);
	return onnx_infer(n, m);
}

void import_linear_regressor(OnnxNode *n)
{
	MloValue *x = ml_rows(n, false), *s;
	MlNumbers w = ml_numbers(n, "coefficients"), b = ml_numbers(n, "intercepts");
	int64_t targets = onnx_int(n, "targets", 1);
	MlPost post = ml_post_attr(n);

	s = n->failed ? NULL : linear(n, x, w, b, targets);
	if (s)
		onnx_result(n, 0, targets > 1 || post == ML_PROBIT ? ml_post(n, s, post) : s);
}

void import_linear_classifier(OnnxNode *n)
{
	MloValue *x = ml_rows(n, false), *s;
	MlNumbers w = ml_numbers(n, "coefficients"), b = ml_numbers(n, "intercepts");
	MlLabels l = ml_labels(n, "classlabels_ints", "classlabels_strings"), plain = {.n = 0};
	int64_t targets = b.n ? b.n : l.n;
	MlPost post = ml_post_attr(n);

	onnx_ignore(n, "multi_class");
	s = n->failed ? NULL : linear(n, x, w, b, targets);
	if (!s)
		return;
	if (targets > 1 && targets != l.n) {
		onnx_fail(n, MLO_ERR_MODEL, "%lld intercepts for %lld classes", (long long)targets,
			  (long long)l.n);
	} else if (targets > 1) {
		MloNode *m = onnx_node(n, OP_arg_max, &s, 1, 1);

		mlo_attr_set_i(m, ATTR_arg_max_axis, 1);
		mlo_attr_set_i(m, ATTR_arg_max_keepdims, 0);
		ml_label_result(n, &l, onnx_infer(n, m));
		onnx_result(n, 1, ml_post(n, s, post));
	} else {
		ml_label_result(n, l.n == 2 ? &l : &plain, ml_positive(n, s, 0));
		onnx_result(n, 1, l.n == 2 ? ml_two_scores(n, s, post, true) : ml_post(n, s, post));
	}
}
