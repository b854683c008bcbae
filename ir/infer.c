/* ir/infer.c -- shape inference: the driver, and what all rules share. */
#include "ir/infer.h"

#include <stdio.h>

static InferRule *const rules[OP_COUNT] = {
#define OP(id, lo, hi, olo, ohi, kind, traits, rule, meaning) [OP_##id] = infer_##rule,
#define ATTR(op, name, kind, def)
#include "ir/ops.def"
};

/* -- messages ------------------------------------------------------------------------------- */

const char *mlo_value_name(const MloValue *v, char buf[24])
{
	if (v->name)
		return v->name;
	snprintf(buf, 24, "%%%u", v->id);
	return buf;
}

static MloStatus node_error(MloDiag *d, MloStatus st, const MloNode *n, const char *fmt, va_list ap)
{
	const MloOpInfo *info = mlo_op_info(n->op);
	char text[2000]; /* longer messages are cut */
	MloArena *a;
	MloStr s;

	if (!d)
		return st;
	a = mlo_arena_new();
	if (!a)
		return mlo_error(d, st, "node '%s' is invalid", mlo_node_name(n));
	vsnprintf(text, sizeof text, fmt, ap);
	s = (MloStr){.arena = a};
	if (n->origin) {
		mlo_str_add(&s, "node '%s' (%s", mlo_node_name(n), n->origin->op ? n->origin->op : info->name);
		if (n->origin->opset)
			mlo_str_add(&s, ", opset %d", n->origin->opset);
	} else {
		char buf[24];
		const MloValue *v = n->nout ? n->out[0] : NULL;

		mlo_str_add(&s, "node '%s' (%s", v ? mlo_value_name(v, buf) : info->name, info->name);
	}
	mlo_error(d, st, "%s): %s", mlo_str_text(&s), text);
	mlo_arena_free(a);
	return st;
}

MloStatus mlo_node_error(MloDiag *d, MloStatus st, const MloNode *n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	node_error(d, st, n, fmt, ap);
	va_end(ap);
	return st;
}

MloStatus infer_error(const InferCx *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	node_error(c->d, MLO_ERR_MODEL, c->n, fmt, ap);
	va_end(ap);
	return MLO_ERR_MODEL;
}

const char *infer_name(const InferCx *c, uint32_t i)
{
	char buf[24];

	return mlo_strdup(c->g->arena, mlo_value_name(c->n->in[i], buf));
}

const char *infer_type_text(const InferCx *c, const MloType *t)
{
	MloStr s = {.arena = c->g->arena};

	mlo_type_print(&s, t);
	return mlo_str_text(&s);
}

const char *infer_dim_text(const InferCx *c, MloDim d)
{
	MloStr s = {.arena = c->g->arena};

	if (dim_is_unknown(d))
		return "?";
	mlo_dim_print(&s, d);
	return mlo_str_text(&s);
}

/* -- dimensions ----------------------------------------------------------------------------- */

#define LIFT(name)                                                         \
	MloDim infer_##name(InferCx *c, MloDim a, MloDim b)                \
	{                                                                  \
		if (dim_is_unknown(a) || dim_is_unknown(b))                \
			return DIM_UNKNOWN;                                \
		return mlo_dim_##name(c->syms, a, b);                      \
	}
LIFT(add)
LIFT(sub)
LIFT(mul)

MloDim infer_div(InferCx *c, MloDim a, MloDim b)
{
	if (dim_is_unknown(a) || dim_is_unknown(b) || dim_is(b, 0))
		return DIM_UNKNOWN;
	return mlo_dim_div(c->syms, a, b);
}

MloDim infer_max(InferCx *c, MloDim a, MloDim b)
{
	return mlo_dim_le(a, b) ? b : mlo_dim_le(b, a) ? a : mlo_dim_max(c->syms, a, b);
}

MloDim infer_min(InferCx *c, MloDim a, MloDim b)
{
	if (mlo_dim_le(a, b))
		return a;
	if (mlo_dim_le(b, a))
		return b;
	return mlo_dim_sub(c->syms, mlo_dim_add(c->syms, a, b), mlo_dim_max(c->syms, a, b));
}

bool infer_meet(MloDim a, MloDim b, MloDim *out)
{
	*out = dim_is_unknown(a) || (!dim_is_unknown(b) && !b.e) ? b : a;
	return dim_is_unknown(a) || dim_is_unknown(b) || !mlo_dim_differ(a, b);
}

static bool broadcast_dim(MloDim a, MloDim b, MloDim *out)
{
	int64_t alo, ahi, blo, bhi;

	*out = DIM_UNKNOWN;
	if (dim_is(a, 1) || dim_is(b, 1)) {
		*out = dim_is(a, 1) ? b : a;
		return true;
	}
	if (dim_is_unknown(a) || dim_is_unknown(b)) {
		MloDim k = dim_is_unknown(a) ? b : a;

		*out = dim_is_unknown(k) || k.e ? DIM_UNKNOWN : k;
		return true;
	}
	if (mlo_dim_same(a, b)) {
		*out = a;
		return true;
	}
	mlo_dim_range(a, &alo, &ahi);
	mlo_dim_range(b, &blo, &bhi);
	if (mlo_dim_differ(a, b) && (alo > 1 || ahi < 1) && (blo > 1 || bhi < 1))
		return false;
	if (!a.e || !b.e) /* one is a number other than 1: the other is 1 or equal to it */
		*out = a.e ? b : a;
	else if (alo > 1 || blo > 1)
		*out = alo > 1 ? a : b;
	return true;
}

static bool at_most_elems(void *user, const char *name, int64_t *out)
{
	*out = MLO_MAX_ELEMS;
	return name == user; /* names are unique */
}

/* Is b = min(s, K) with a symbol s and K > 1?  Beside s it then only fits where s <= K: a larger s is neither K nor 1,
 * nor is K 1.  (The first s rows of a table of K positions are added to s tokens.)  Nodes of bodies may never run:
 * there it says nothing. */
static bool cut_short(InferCx *c, MloDim s, MloDim b)
{
	const char *name;
	int64_t lo, hi, k;

	if (c->g->body || dim_is_unknown(s) || dim_is_unknown(b) || !mlo_dim_symbol(s, &name) ||
	    !mlo_dim_eval(b, at_most_elems, (char *)name, &k) || k <= 1 || !mlo_dim_same(b, infer_min(c, s, mlo_dim(k))))
		return false;
	mlo_dim_range(s, &lo, &hi);
	if (hi > k)
		mlo_sym_range(c->syms, name, lo, k);
	return true;
}

MloStatus infer_broadcast(InferCx *c, MloType *acc, const MloType *b)
{
	MloType r = *acc;

	if (acc->rank < 0 || b->rank < 0) {
		*acc = infer_unranked(acc->elem);
		return MLO_OK;
	}
	if (b->rank > r.rank)
		r.rank = b->rank;
	for (int i = 0; i < r.rank; i++) {
		int ia = i - (r.rank - acc->rank), ib = i - (r.rank - b->rank);
		MloDim da = ia < 0 ? mlo_dim(1) : acc->dim[ia], db = ib < 0 ? mlo_dim(1) : b->dim[ib];

		if (cut_short(c, da, db))
			r.dim[i] = da;
		else if (cut_short(c, db, da))
			r.dim[i] = db;
		else if (!broadcast_dim(da, db, &r.dim[i]))
			return infer_error(c, "shapes %s and %s do not broadcast: %s against %s",
			                   infer_type_text(c, acc), infer_type_text(c, b),
			                   infer_dim_text(c, da), infer_dim_text(c, db));
	}
	*acc = r;
	return MLO_OK;
}

/* -- operands and results ------------------------------------------------------------------- */

const MloType *infer_in(const InferCx *c, uint32_t i)
{
	return i < c->n->nin && c->n->in[i] ? &c->n->in[i]->type : NULL;
}

MloType infer_unranked(MloElem e)
{
	return (MloType){.elem = e, .rank = MLO_RANK_UNKNOWN};
}

MloType infer_fewer(InferCx *c, const MloType *x, uint32_t i)
{
	MloType t = {.elem = x->elem};
	InferValues axes;

	infer_values(c, c->n->in[i], &axes);
	if (axes.n < 0 || axes.n > x->rank)
		return infer_unranked(x->elem);
	for (t.rank = 0; t.rank < x->rank - axes.n; t.rank++)
		t.dim[t.rank] = DIM_UNKNOWN;
	return t;
}

MloStatus infer_out(InferCx *c, uint32_t i, const MloType *t)
{
	MloValue *v = i < c->n->nout ? c->n->out[i] : NULL;
	MloType r = *t;

	if (!v)
		return MLO_OK;
	if (r.rank < 0 && v->type.rank >= 0 && !mlo_type_object(t) && !mlo_type_object(&v->type)) {
		r = v->type; /* keep what was known of it */
		r.elem = t->elem;
	}
	for (int k = 0; k < r.rank; k++) {
		MloDim *d = &r.dim[k];

		if (dim_is_unknown(*d))
			*d = v->type.rank == r.rank ? v->type.dim[k] : mlo_dim_fresh(c->syms, "dim");
		if (!d->e && d->k < 0)
			return infer_error(c, "dimension %d of the result would be %lld", k, (long long)d->k);
		if (!d->e && d->k > MLO_MAX_ELEMS)
			return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n,
			                      "dimension %d of the result would be %lld, more than 2^40", k,
			                      (long long)d->k);
	}
	if (mlo_type_static(&r) && mlo_type_elems(&r) < 0)
		return mlo_node_error(c->d, MLO_ERR_LIMIT, c->n, "result %s has more than 2^40 elements",
		                      infer_type_text(c, &r));
	v->type = r;
	return MLO_OK;
}

MloStatus infer_axis(const InferCx *c, int64_t axis, int rank, int *out)
{
	if (axis < -rank || axis >= rank)
		return infer_error(c, "axis %lld is outside -%d..%d", (long long)axis, rank, rank - 1);
	*out = (int)(axis < 0 ? axis + rank : axis);
	return MLO_OK;
}

MloStatus infer_same_elem(const InferCx *c, uint32_t i, uint32_t j)
{
	const MloType *a = infer_in(c, i), *b = infer_in(c, j);

	if (!a || !b || a->elem == b->elem)
		return MLO_OK;
	return infer_error(c, "operand types differ: '%s' is %s, '%s' is %s", infer_name(c, i),
	                   mlo_elem_text(a->elem), infer_name(c, j), mlo_elem_text(b->elem));
}

bool infer_ints(InferCx *c, uint32_t i, int64_t *out, int *n)
{
	InferValues v;

	if (!infer_in(c, i))
		return false;
	infer_values(c, c->n->in[i], &v);
	if (v.n < 0)
		return false;
	for (int k = 0; k < v.n; k++) {
		if (v.d[k].e || dim_is_unknown(v.d[k]))
			return false;
		out[k] = v.d[k].k;
	}
	*n = v.n;
	return true;
}

MloStatus infer_axes(InferCx *c, uint32_t i, int rank, bool axis[MLO_MAX_RANK], bool *known)
{
	int64_t v[INFER_MAX_VALUES];
	int n;

	for (int k = 0; k < MLO_MAX_RANK; k++)
		axis[k] = false;
	*known = infer_ints(c, i, v, &n);
	for (int k = 0; *known && k < n; k++) {
		int a = 0;

		MLO_TRY(infer_axis(c, v[k], rank, &a));
		if (axis[a])
			return infer_error(c, "axis %lld is named twice", (long long)v[k]);
		axis[a] = true;
	}
	return MLO_OK;
}

/* -- driver --------------------------------------------------------------------------------- */

static MloStatus check_arity(const InferCx *c)
{
	const MloNode *n = c->n;
	const MloOpInfo *info = mlo_op_info(n->op);

	if ((int64_t)n->nin < info->min_in || (info->max_in >= 0 && (int64_t)n->nin > info->max_in))
		return infer_error(c, "%u operands, %s takes %d to %d", n->nin, info->name, info->min_in,
		                   info->max_in);
	if ((int64_t)n->nout < info->min_out || (info->max_out >= 0 && (int64_t)n->nout > info->max_out))
		return infer_error(c, "%u results, %s gives %d to %d", n->nout, info->name, info->min_out,
		                   info->max_out);
	for (uint32_t i = 0; i < n->nin; i++)
		if (!n->in[i] && ((int)i < info->min_in || mlo_op_has(n->op, TR_VARIADIC)))
			return infer_error(c, "operand %u is absent, %s needs it", i, info->name);
	return MLO_OK;
}

static MloStatus check_kinds(const InferCx *c)
{
	const MloOpInfo *info = mlo_op_info(c->n->op);

	for (uint32_t i = 0; i < c->n->nin && !(info->traits & TR_OBJECT); i++)
		if (c->n->in[i] && mlo_type_object(&c->n->in[i]->type))
			return infer_error(c, "operand '%s' is %s, %s takes tensors", infer_name(c, i),
			                   infer_type_text(c, &c->n->in[i]->type), info->name);
	return MLO_OK;
}

MloStatus mlo_infer_node(MloGraph *g, MloNode *n, MloDiag *d)
{
	InferCx c = {g, n, d, g->syms};

	MLO_TRY(check_arity(&c));
	/* The type of an operand is unknown when inference of its node failed: reported there. */
	for (uint32_t i = 0; i < n->nin; i++)
		if (n->in[i] && n->in[i]->type.elem == EL_none)
			return MLO_OK;
	MLO_TRY(check_kinds(&c));
	return rules[n->op](&c);
}

MloStatus mlo_infer_graph(MloGraph *g, MloDiag *d)
{
	MLO_TRY(infer_nodes(g, d));
	return infer_close(g, d);
}

MloStatus infer_nodes(MloGraph *g, MloDiag *d)
{
	MloStatus first = MLO_OK;

	for (MloNode *n = g->first; n; n = n->next) {
		MloStatus st = mlo_infer_node(g, n, d);

		if (st == MLO_OK)
			continue;
		if (first == MLO_OK)
			first = st;
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i])
				n->out[i]->type = infer_unranked(EL_none);
	}
	return first;
}
