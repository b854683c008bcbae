/* frontend/onnx_gradient.c -- Gradient: derivatives of a value by others, as nodes of the same graph.
 *
 * The part of the graph between xs and y is evaluated with the given operands in the place of xs (and zs),
 * then walked backwards: each node turns the derivative by its result into those by its operands. */
#include "frontend/onnx_ops.h"

typedef struct Gradient {
	OnnxNode *n;
	/* Of the graph as it was, by id: */
	uint32_t nids;
	MloValue **now; /* the value as computed from the operands; NULL: the same */
	bool *wanted;   /* y depends on it */
	/* Of what is computed from the operands: */
	MloNode **path; /* nodes, in order */
	size_t npath;
	bool *active;   /* by id: depends on one of xs */
	MloValue **dy;  /* by id: derivative of y by it, as far as summed up */
} Gradient;

/* -- rules: the derivative of y by operand i of m, from dy, that by its result ------------------------- */

typedef MloValue *Rule(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy);

static MloValue *shape_of(OnnxNode *n, MloValue *v)
{
	return onnx_op1(n, OP_shape, v);
}

static MloValue *number(OnnxNode *n, const MloValue *beside, double v)
{
	return onnx_scalar(n, onnx_elem_beside(beside), v);
}

/* dy summed over what broadcasting made of x; NULL: sizes are not known well enough. */
static MloValue *fold_back(OnnxNode *n, MloValue *dy, MloValue *x)
{
	const MloType *a = &dy->type, *b = &x->type;
	int64_t axes[MLO_MAX_RANK];
	int count = 0;

	if (a->rank < 0 || b->rank < 0)
		return NULL;
	for (int d = 0; d < a->rank; d++) {
		int k = d - (a->rank - b->rank);
		MloDim from = a->dim[d], to = k < 0 ? mlo_dim(1) : b->dim[k];

		if (mlo_dim_same(from, to))
			continue;
		if (to.e || to.k != 1)
			return NULL;
		axes[count++] = d;
	}
	if (count)
		dy = onnx_op2(n, OP_reduce_sum, dy, onnx_i64s(n, axes, count));
	return a->rank == b->rank ? dy : onnx_op2(n, OP_reshape, dy, shape_of(n, x));
}

static MloValue *same(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	return onnx_cast(n, dy, m->in[i]->type.elem);
}

static MloValue *by_sub(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	(void)m;
	return i == 0 ? dy : onnx_op1(n, OP_neg, dy);
}

static MloValue *by_mul(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	return onnx_op2(n, OP_mul, dy, m->in[1 - i]);
}

static MloValue *by_div(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	MloValue *q = onnx_op2(n, OP_div, dy, m->in[1]);

	return i == 0 ? q : onnx_op1(n, OP_neg, onnx_op2(n, OP_mul, q, m->out[0]));
}

static MloValue *by_pow(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	MloValue *a = m->in[0], *b = onnx_cast(n, m->in[1], onnx_elem_beside(m->in[0])), *less;

	if (i == 1) {
		dy = onnx_op2(n, OP_mul, onnx_op2(n, OP_mul, dy, m->out[0]), onnx_op1(n, OP_log, a));
		return onnx_cast(n, dy, m->in[1]->type.elem);
	}
	less = onnx_op2(n, OP_pow, a, onnx_op2(n, OP_sub, b, number(n, b, 1)));
	return onnx_op2(n, OP_mul, onnx_op2(n, OP_mul, dy, b), less);
}

static MloValue *by_neg(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	return by_sub(n, m, i + 1, dy);
}

static MloValue *by_exp(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	(void)i;
	return onnx_op2(n, OP_mul, dy, m->out[0]);
}

static MloValue *by_log(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	return onnx_op2(n, OP_div, dy, m->in[i]);
}

static MloValue *by_sqrt(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	(void)i;
	return onnx_op2(n, OP_div, dy, onnx_op2(n, OP_add, m->out[0], m->out[0]));
}

static MloValue *by_reciprocal(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	(void)i;
	return onnx_op1(n, OP_neg, onnx_op2(n, OP_mul, dy, onnx_op2(n, OP_mul, m->out[0], m->out[0])));
}

static MloValue *by_sin(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	return onnx_op2(n, OP_mul, dy, onnx_op1(n, OP_cos, m->in[i]));
}

static MloValue *by_cos(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	return onnx_op1(n, OP_neg, onnx_op2(n, OP_mul, dy, onnx_op1(n, OP_sin, m->in[i])));
}

static MloValue *by_tanh(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	MloValue *y = m->out[0];

	(void)i;
	return onnx_op2(n, OP_mul, dy, onnx_op2(n, OP_sub, number(n, y, 1), onnx_op2(n, OP_mul, y, y)));
}

static MloValue *by_sigmoid(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	MloValue *y = m->out[0];

	(void)i;
	return onnx_op2(n, OP_mul, dy, onnx_op2(n, OP_mul, y, onnx_op2(n, OP_sub, number(n, y, 1), y)));
}

static MloValue *by_relu(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	MloValue *zero = number(n, m->in[i], 0);

	return onnx_op3(n, OP_where, onnx_op2(n, OP_greater, m->in[i], zero), dy, zero);
}

static MloValue *by_abs(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	return onnx_op2(n, OP_mul, dy, onnx_op1(n, OP_sign, m->in[i]));
}

static MloValue *by_where(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	MloValue *zero = number(n, dy, 0);

	return onnx_op3(n, OP_where, m->in[0], i == 1 ? dy : zero, i == 1 ? zero : dy);
}

static MloValue *transposed(OnnxNode *n, MloValue *v, const int64_t *perm, int rank)
{
	MloNode *t = onnx_node(n, OP_transpose, &v, 1, 1);

	mlo_attr_set_ints(n->g, t, ATTR_transpose_perm, perm, rank);
	return onnx_infer(n, t);
}

static MloValue *by_matmul(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	const int rank = m->in[1 - i]->type.rank;
	int64_t perm[MLO_MAX_RANK];
	MloValue *other;

	if (rank < 2 || m->in[i]->type.rank < 2)
		return NULL;
	for (int d = 0; d < rank; d++)
		perm[d] = d < rank - 2 ? d : 2 * rank - 3 - d;
	other = transposed(n, m->in[1 - i], perm, rank);
	return i == 0 ? onnx_op2(n, OP_matmul, dy, other) : onnx_op2(n, OP_matmul, other, dy);
}

static MloValue *by_transpose(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	int64_t back[MLO_MAX_RANK];
	int count;
	const int64_t *perm = mlo_attr_ints(m, ATTR_transpose_perm, &count);

	if (m->in[i]->type.rank < 0)
		return NULL;
	for (int d = 0; d < m->in[i]->type.rank; d++)
		back[count ? perm[d] : m->in[i]->type.rank - 1 - d] = d;
	return transposed(n, dy, back, m->in[i]->type.rank);
}

static MloValue *by_reshape(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	return i == 0 ? onnx_op2(n, OP_reshape, dy, shape_of(n, m->in[0])) : NULL;
}

/* dy with the reduced dimensions as ones is spread over x. */
static MloValue *by_reduce_sum(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	MloValue *in[] = {m->in[0], m->nin > 1 ? m->in[1] : NULL};
	MloNode *kept = onnx_node(n, OP_reduce_sum, in, in[1] ? 2 : 1, 1);

	kept->attr[ATTR_reduce_sum_noop_with_empty_axes] = m->attr[ATTR_reduce_sum_noop_with_empty_axes];
	dy = onnx_op2(n, OP_reshape, dy, shape_of(n, onnx_infer(n, kept)));
	return i == 0 ? onnx_op2(n, OP_expand, dy, shape_of(n, m->in[0])) : NULL;
}

static MloValue *by_reduce_mean(OnnxNode *n, const MloNode *m, uint32_t i, MloValue *dy)
{
	const int64_t all = mlo_type_elems(&m->in[0]->type), left = mlo_type_elems(&m->out[0]->type);

	if (all < 1 || left < 1)
		return NULL;
	return by_reduce_sum(n, m, i, onnx_op2(n, OP_mul, dy, number(n, dy, (double)left / (double)all)));
}

static Rule *const rules[OP_COUNT] = {
	[OP_identity] = same,         [OP_cast] = same,           [OP_add] = same,
	[OP_sub] = by_sub,            [OP_mul] = by_mul,          [OP_div] = by_div,
	[OP_pow] = by_pow,            [OP_neg] = by_neg,          [OP_exp] = by_exp,
	[OP_log] = by_log,            [OP_sqrt] = by_sqrt,        [OP_reciprocal] = by_reciprocal,
	[OP_sin] = by_sin,            [OP_cos] = by_cos,          [OP_tanh] = by_tanh,
	[OP_sigmoid] = by_sigmoid,    [OP_relu] = by_relu,        [OP_abs] = by_abs,
	[OP_where] = by_where,        [OP_matmul] = by_matmul,    [OP_transpose] = by_transpose,
	[OP_reshape] = by_reshape,    [OP_flatten] = by_reshape,  [OP_squeeze] = by_reshape,
	[OP_unsqueeze] = by_reshape,  [OP_reduce_sum] = by_reduce_sum, [OP_reduce_mean] = by_reduce_mean,
};

/* -- forwards -------------------------------------------------------------------------------------------- */

/* The value that item i of a list attribute names; NULL: there is none. */
static MloValue *named(Gradient *x, const Onnx__AttributeProto *a, size_t i)
{
	const char *name = mlo_strndup(x->n->im->tmp, (const char *)a->strings[i].data, a->strings[i].len);
	MloValue *v = onnx_value(x->n->im, x->n->scope, name);

	return v == &x->n->im->poison ? NULL : v;
}

/* The values that a list attribute names become the operands from `first` on. */
static uint32_t substitute(Gradient *x, const char *attr, uint32_t first)
{
	const Onnx__AttributeProto *a = onnx_attr(x->n, attr);

	for (size_t i = 0; a && i < a->n_strings; i++) {
		MloValue *v = named(x, a, i), *in = onnx_in(x->n, first + (uint32_t)i);

		if (!v || !in || v->id >= x->nids) { /* a capture that is made only now: nothing here reads it */
			onnx_fail(x->n, MLO_ERR_MODEL, "item %zu of '%s' %s", i, attr,
				  in ? "names nothing that was computed here" : "is given no operand");
			return first;
		}
		x->now[v->id] = onnx_op1(x->n, OP_identity, in); /* one operand may be given for several */
	}
	return first + (a ? (uint32_t)a->n_strings : 0);
}

/* Marks what y is computed from, up to the values that are given; the number of nodes. */
static size_t mark_wanted(Gradient *x, const MloValue *y, const MloNode *last)
{
	size_t n = 0;

	x->wanted[y->id] = true;
	for (const MloNode *m = last; m; m = m->prev) {
		bool any = false;

		for (uint32_t i = 0; i < m->nout; i++)
			any = any || (m->out[i] && x->wanted[m->out[i]->id] && !x->now[m->out[i]->id]);
		n += any;
		for (uint32_t i = 0; any && i < m->nin; i++)
			if (m->in[i])
				x->wanted[m->in[i]->id] = true;
	}
	return n;
}

static MloNode *evaluate(Gradient *x, const MloNode *m)
{
	MloValue **in = MLO_NEWN(x->n->im->tmp, MloValue *, m->nin + 1);
	MloNode *made;

	for (uint32_t i = 0; i < m->nin; i++)
		in[i] = m->in[i] && x->now[m->in[i]->id] ? x->now[m->in[i]->id] : m->in[i];
	made = onnx_node(x->n, m->op, in, m->nin, m->nout);
	for (int i = 0; i < mlo_op_info(m->op)->nattr; i++)
		made->attr[i] = m->attr[i]; /* of the same arena */
	onnx_infer(x->n, made);
	return made;
}

/* Nodes up to `last` that y needs are made again from what replaces their operands. */
static void forwards(Gradient *x, const MloNode *last)
{
	for (MloNode *m = x->n->g->first; m; m = m == last ? NULL : m->next) {
		bool moved = false, wanted = false;
		MloNode *made;

		for (uint32_t i = 0; i < m->nin; i++)
			moved = moved || (m->in[i] && x->now[m->in[i]->id]);
		for (uint32_t i = 0; i < m->nout; i++)
			wanted = wanted || (m->out[i] && x->wanted[m->out[i]->id] && !x->now[m->out[i]->id]);
		if (!wanted || !moved)
			continue;
		made = evaluate(x, m);
		for (uint32_t i = 0; i < m->nout; i++)
			if (m->out[i] && !x->now[m->out[i]->id])
				x->now[m->out[i]->id] = made->out[i];
		x->path[x->npath++] = made;
	}
}

/* -- backwards ------------------------------------------------------------------------------------------- */

static MloValue *filled_like(OnnxNode *n, MloValue *v, double value)
{
	MloValue *shape = shape_of(n, v);
	MloNode *m = onnx_node(n, OP_constant_of_shape, &shape, 1, 1);

	mlo_attr_set_i(m, ATTR_constant_of_shape_elem, mlo_elem_onnx(onnx_elem_beside(v)));
	mlo_attr_set_f(m, ATTR_constant_of_shape_value, value);
	return onnx_infer(n, m);
}

/* Which values depend on those that xs[i], given[i] now, stand for. */
static void mark_active(Gradient *x, MloValue *const *given, uint32_t nx)
{
	for (uint32_t i = 0; i < nx; i++)
		x->active[given[i]->id] = true;
	for (size_t k = 0; k < x->npath; k++) {
		const MloNode *m = x->path[k];
		bool any = false;

		for (uint32_t i = 0; i < m->nin; i++)
			any = any || (m->in[i] && x->active[m->in[i]->id]);
		for (uint32_t i = 0; i < m->nout; i++)
			if (m->out[i])
				x->active[m->out[i]->id] = any;
	}
}

static bool step_back(Gradient *x, const MloNode *m)
{
	MloValue *dy = m->out[0] ? x->dy[m->out[0]->id] : NULL;
	Rule *rule = m->nout == 1 ? rules[m->op] : NULL;

	for (uint32_t i = 0; dy && i < m->nin; i++) {
		MloValue *d, **sum;

		if (!m->in[i] || !x->active[m->in[i]->id])
			continue;
		d = rule ? rule(x->n, m, i, dy) : NULL;
		if (d && (mlo_op_has(m->op, TR_BCAST) || m->op == OP_matmul))
			d = fold_back(x->n, d, m->in[i]);
		if (!d) {
			onnx_fail(x->n, MLO_ERR_UNSUPPORTED, "no derivative of '%s' is known for these operands",
				  mlo_op_info(m->op)->name);
			return false;
		}
		sum = &x->dy[m->in[i]->id];
		*sum = *sum ? onnx_op2(x->n, OP_add, *sum, d) : d;
	}
	return true;
}

static void differentiate(Gradient *x, MloValue *y, MloValue *const *given, uint32_t nx)
{
	const uint32_t ids = x->n->g->next_id;

	x->active = MLO_NEWN(x->n->im->tmp, bool, ids + 1);
	x->dy = MLO_NEWN(x->n->im->tmp, MloValue *, ids + 1);
	mark_active(x, given, nx);
	x->dy[y->id] = filled_like(x->n, y, 1);
	for (size_t k = x->npath; k-- > 0;)
		if (!step_back(x, x->path[k]))
			return;
	for (uint32_t i = 0; i < x->n->nout; i++) {
		MloValue *d = x->dy[given[i]->id];

		onnx_result(x->n, i, d ? d : filled_like(x->n, given[i], 0));
	}
}

/* The values that replace xs. */
static MloValue **given_values(Gradient *x, uint32_t nx)
{
	const Onnx__AttributeProto *a = onnx_attr(x->n, "xs");
	MloValue **v = MLO_NEWN(x->n->im->tmp, MloValue *, nx + 1);

	for (uint32_t i = 0; i < nx; i++)
		v[i] = x->now[named(x, a, i)->id];
	return v;
}

void import_gradient(OnnxNode *n)
{
	const char *name = onnx_str(n, "y", "");
	MloValue *y = onnx_value(n->im, n->scope, name);
	const MloNode *last = n->g->last;
	Gradient x = {.n = n, .nids = n->g->next_id};
	uint32_t nx;

	if (!y || y == &n->im->poison) {
		onnx_fail(n, MLO_ERR_MODEL, "'y' names no value: '%s'", name);
		return;
	}
	x.now = MLO_NEWN(n->im->tmp, MloValue *, x.nids + 1);
	x.wanted = MLO_NEWN(n->im->tmp, bool, x.nids + 1);
	nx = substitute(&x, "xs", 0);
	substitute(&x, "zs", nx);
	if (n->failed)
		return;
	if (n->nout > nx) {
		onnx_fail(n, MLO_ERR_MODEL, "%u results, 'xs' names %u values", n->nout, nx);
		return;
	}
	x.path = MLO_NEWN(n->im->tmp, MloNode *, mark_wanted(&x, y, last) + 1);
	forwards(&x, last);
	differentiate(&x, x.now[y->id] ? x.now[y->id] : y, given_values(&x, nx), nx);
}
