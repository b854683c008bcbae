/* ir/infer_value.c -- what is known of the elements of small integer tensors.
 *
 * Exporters compute shapes inside the graph (Shape, Gather, Unsqueeze, Concat, Reshape).  Following
 * such chains backwards, with symbolic sizes, gives Reshape and its like their result shapes. */
#include "ir/infer.h"

/* Graphs are not trees: without a budget a chain of x + x would be walked 2^n times. */
enum { VALUE_BUDGET = 256, VALUE_DEPTH = 64 };

typedef struct ValueCx {
	InferCx *c;
	int budget, depth;
} ValueCx;

typedef void EvalFn(ValueCx *x, const MloNode *n, InferValues *out);

static void eval(ValueCx *x, const MloValue *v, InferValues *out);

static bool is_int(MloDim d)
{
	return !d.e && !dim_is_unknown(d);
}

static void eval_pass(ValueCx *x, const MloNode *n, InferValues *out)
{
	eval(x, n->in[0], out);
}

/* Integer to integer keeps small values; wider than what a shape holds never matters. */
static void eval_cast(ValueCx *x, const MloNode *n, InferValues *out)
{
	MloElem to = n->out[0] ? n->out[0]->type.elem : EL_none;

	if (mlo_elem_is_int(n->in[0]->type.elem) && (to == EL_i64 || to == EL_i32))
		eval(x, n->in[0], out);
}

static void eval_shape(ValueCx *x, const MloNode *n, InferValues *out)
{
	const MloType *t = &n->in[0]->type;
	int64_t from = mlo_attr_i(n, ATTR_shape_start), to = mlo_attr_i(n, ATTR_shape_end);

	(void)x;
	if (t->rank < 0)
		return;
	from = from < -t->rank ? 0 : from < 0 ? from + t->rank : from;
	to = to < -t->rank ? 0 : to < 0 ? to + t->rank : to > t->rank ? t->rank : to;
	out->n = 0;
	for (int64_t i = from; i < to; i++)
		out->d[out->n++] = t->dim[i];
}

static void eval_gather(ValueCx *x, const MloNode *n, InferValues *out)
{
	InferValues from, idx;

	if (n->in[0]->type.rank != 1 || n->in[1]->type.rank < 0 || n->in[1]->type.rank > 1)
		return;
	eval(x, n->in[0], &from);
	eval(x, n->in[1], &idx);
	if (from.n < 0 || idx.n < 0 || from.n > INFER_MAX_VALUES || idx.n > INFER_MAX_VALUES)
		return;
	out->n = idx.n;
	for (int i = 0; i < idx.n; i++) {
		int64_t k = is_int(idx.d[i]) ? idx.d[i].k : INT64_MAX;

		if (k < 0)
			k += from.n;
		out->d[i] = k >= 0 && k < from.n ? from.d[k] : DIM_UNKNOWN;
	}
}

static void eval_concat(ValueCx *x, const MloNode *n, InferValues *out)
{
	InferValues all = {.n = 0}, part;

	for (uint32_t i = 0; i < n->nin; i++) {
		if (n->in[i]->type.rank != 1)
			return;
		eval(x, n->in[i], &part);
		if (part.n < 0 || all.n + part.n > INFER_MAX_VALUES)
			return;
		for (int k = 0; k < part.n; k++)
			all.d[all.n++] = part.d[k];
	}
	*out = all;
}

static bool one_int(ValueCx *x, const MloNode *n, uint32_t i, int64_t absent, int64_t *out)
{
	InferValues v;

	*out = absent;
	if (i >= n->nin || !n->in[i])
		return true;
	eval(x, n->in[i], &v);
	if (v.n != 1 || !is_int(v.d[0]))
		return false;
	*out = v.d[0].k;
	return true;
}

static void eval_slice(ValueCx *x, const MloNode *n, InferValues *out)
{
	InferValues from;
	int64_t start, end, axis, step;

	eval(x, n->in[0], &from);
	if (n->in[0]->type.rank != 1 || from.n < 0 || from.n > INFER_MAX_VALUES ||
	    !one_int(x, n, 1, 0, &start) || !one_int(x, n, 2, 0, &end) || !one_int(x, n, 3, 0, &axis) ||
	    !one_int(x, n, 4, 1, &step) || step < 1)
		return;
	start += start < 0 ? from.n : 0;
	end += end < 0 ? from.n : 0;
	start = start < 0 ? 0 : start;
	end = end > from.n ? from.n : end;
	out->n = 0;
	for (int64_t i = start; i < end; i += step) {
		out->d[out->n++] = from.d[i];
		if (step > INFER_MAX_VALUES)
			break;
	}
}

/* Elementwise: fn of the elements, where one of the operands may have a single one. */
static void eval_binary(ValueCx *x, const MloNode *n, InferValues *out, MloDim (*fn)(InferCx *, MloDim, MloDim))
{
	InferValues a, b;

	eval(x, n->in[0], &a);
	eval(x, n->in[1], &b);
	if (a.n < 0 || b.n < 0 || a.n > INFER_MAX_VALUES || b.n > INFER_MAX_VALUES ||
	    (a.n != b.n && a.n != 1 && b.n != 1))
		return;
	out->n = a.n == 1 ? b.n : a.n;
	for (int i = 0; i < out->n; i++)
		out->d[i] = fn(x->c, a.d[a.n == 1 ? 0 : i], b.d[b.n == 1 ? 0 : i]);
}

static MloDim div_dims(InferCx *c, MloDim a, MloDim b)
{
	if (is_int(a) && is_int(b)) /* the operator truncates, mlo_dim_div rounds down */
		return b.k == 0 || (a.k < 0) != (b.k < 0) ? DIM_UNKNOWN : infer_div(c, a, b);
	return is_int(b) && b.k < 1 ? DIM_UNKNOWN : infer_div(c, a, b);
}

static MloDim max_dims(InferCx *c, MloDim a, MloDim b)
{
	return dim_is_unknown(a) || dim_is_unknown(b) ? DIM_UNKNOWN : mlo_dim_max(c->syms, a, b);
}

static MloDim min_dims(InferCx *c, MloDim a, MloDim b)
{
	return infer_sub(c, infer_add(c, a, b), max_dims(c, a, b));
}

static MloDim equal_dims(InferCx *c, MloDim a, MloDim b)
{
	(void)c;
	if (dim_is_unknown(a) || dim_is_unknown(b))
		return DIM_UNKNOWN;
	if ((dim_is(a, -1) && b.e) || (dim_is(b, -1) && a.e))
		return mlo_dim(0); /* a size is not -1 */
	return mlo_dim_same(a, b) ? mlo_dim(1) : mlo_dim_differ(a, b) ? mlo_dim(0) : DIM_UNKNOWN;
}

#define EVAL_BINARY(op, fn)                                                    \
	static void eval_##op(ValueCx *x, const MloNode *n, InferValues *out)  \
	{                                                                      \
		eval_binary(x, n, out, fn);                                    \
	}
EVAL_BINARY(add, infer_add)
EVAL_BINARY(sub, infer_sub)
EVAL_BINARY(mul, infer_mul)
EVAL_BINARY(div, div_dims)
EVAL_BINARY(max, max_dims)
EVAL_BINARY(min, min_dims)
EVAL_BINARY(equal, equal_dims)

static void eval_where(ValueCx *x, const MloNode *n, InferValues *out)
{
	InferValues v[3];
	int len = 1;

	for (int i = 0; i < 3; i++) {
		eval(x, n->in[i], &v[i]);
		if (v[i].n < 0 || v[i].n > INFER_MAX_VALUES || (len != 1 && v[i].n != 1 && v[i].n != len))
			return;
		len = len == 1 ? v[i].n : len;
	}
	out->n = len;
	for (int i = 0; i < len; i++) {
		MloDim d[3];

		for (int k = 0; k < 3; k++)
			d[k] = v[k].d[v[k].n == 1 ? 0 : i];
		out->d[i] = dim_is(d[0], 1) ? d[1] : dim_is(d[0], 0) ? d[2] : DIM_UNKNOWN;
	}
}

static void eval_constant_of_shape(ValueCx *x, const MloNode *n, InferValues *out)
{
	double v = mlo_attr_f(n, ATTR_constant_of_shape_value);
	int64_t len;

	if (n->in[0]->type.rank != 1 || !mlo_type_static(&n->in[0]->type))
		return;
	if (mlo_type_elems(&n->in[0]->type) == 0)
		len = 1;
	else if (!one_int(x, n, 0, 0, &len))
		return;
	if (len < 0 || len > INFER_MAX_VALUES || !(v >= -0x1p52 && v <= 0x1p52) || v != (double)(int64_t)v)
		return;
	out->n = (int)len;
	for (int i = 0; i < out->n; i++)
		out->d[i] = mlo_dim((int64_t)v);
}

static void eval_reduce_prod(ValueCx *x, const MloNode *n, InferValues *out)
{
	InferValues v;
	MloDim p = mlo_dim(1);

	if (n->in[0]->type.rank > 1)
		return;
	eval(x, n->in[0], &v);
	if (v.n < 0 || v.n > INFER_MAX_VALUES || (n->nin > 1 && n->in[1] && n->in[0]->type.rank != 1))
		return;
	if (mlo_attr_i(n, ATTR_reduce_prod_noop_with_empty_axes))
		return;
	for (int i = 0; i < v.n; i++)
		p = infer_mul(x->c, p, v.d[i]);
	out->n = 1;
	out->d[0] = p;
}

static EvalFn *const eval_of[OP_COUNT] = {
	[OP_identity] = eval_pass,
	[OP_reshape] = eval_pass,
	[OP_flatten] = eval_pass,
	[OP_squeeze] = eval_pass,
	[OP_unsqueeze] = eval_pass,
	[OP_cast] = eval_cast,
	[OP_shape] = eval_shape,
	[OP_gather] = eval_gather,
	[OP_concat] = eval_concat,
	[OP_slice] = eval_slice,
	[OP_add] = eval_add,
	[OP_sub] = eval_sub,
	[OP_mul] = eval_mul,
	[OP_div] = eval_div,
	[OP_max] = eval_max,
	[OP_min] = eval_min,
	[OP_equal] = eval_equal,
	[OP_where] = eval_where,
	[OP_constant_of_shape] = eval_constant_of_shape,
	[OP_reduce_prod] = eval_reduce_prod,
};

static void eval_const(const MloTensor *t, int64_t n, InferValues *out)
{
	out->n = (int)n;
	for (int64_t i = 0; i < n; i++) {
		int64_t k = mlo_tensor_i64(t, i);

		out->d[i] = mlo_dim(k == INT64_MIN ? -INT64_MAX : k); /* INT64_MIN says "unknown" */
	}
}

static void eval(ValueCx *x, const MloValue *v, InferValues *out)
{
	MloElemClass cls = mlo_elem_class(v->type.elem);
	int64_t n = mlo_type_elems(&v->type);
	EvalFn *fn = v->def ? eval_of[v->def->op] : NULL;

	out->n = -1;
	if (cls != EC_INT && cls != EC_UINT && cls != EC_BOOL)
		return;
	if (n > INFER_MAX_VALUES)
		n = INFER_MAX_VALUES + 1;
	if (v->data && n >= 0 && n <= INFER_MAX_VALUES) {
		eval_const(v->data, n, out);
		return;
	}
	if (fn && n <= INFER_MAX_VALUES && --x->budget > 0 && x->depth < VALUE_DEPTH) {
		x->depth++;
		fn(x, v->def, out);
		x->depth--;
	}
	if (out->n >= 0 && (n < 0 || out->n == n))
		return;
	out->n = (int)n; /* at least the length */
	for (int i = 0; i < out->n; i++)
		out->d[i] = DIM_UNKNOWN;
}

void infer_values(InferCx *c, const MloValue *v, InferValues *out)
{
	ValueCx x = {c, VALUE_BUDGET, 0};

	eval(&x, v, out);
}
