/* passes/bnfold.c -- fold scale and shift per channel into the contraction before them.
 * Requires: types, canon.  Keeps: types, order.  Breaks: nothing.  Idempotent.
 *
 * A chain of batch_norm, mul, add, sub and div by constants after conv, conv_transpose or matmul
 * with constant weights is one scale s and shift t per output channel:
 *     (w . x + b) * s + t  =  (w * s) . x + (b * s + t)
 * The whole chain is gathered in double precision first, so weights are rounded once. A value that
 * has another reader ends the chain before it.  In front of a matmul such a chain folds as well:
 *     (x * s + t) @ w  =  x @ (diag(s) w) + t @ w */
#include <math.h>
#include <string.h>

#include "passes/match.h"

typedef struct Affine {
	int64_t n;       /* output channels */
	int rank, axis;  /* of the contraction's result: rank, and where its channels are */
	double *scale, *shift;
	bool scaled, shifted;
} Affine;

static Affine affine_new(MloArena *a, int64_t n, int rank, int axis)
{
	Affine f = {.n = n, .rank = rank, .axis = axis};

	f.scale = MLO_NEWN(a, double, n + 1);
	f.shift = MLO_NEWN(a, double, n + 1);
	for (int64_t i = 0; i < n; i++)
		f.scale[i] = 1;
	return f;
}

typedef bool AffineStep(const MloNode *n, const MloValue *x, Affine *f);

/* The element of constant `c` for channel i, when c varies along the channel axis alone. */
typedef struct PerChannel {
	const MloTensor *t;
	int64_t step;
} PerChannel;

static bool per_channel(const MloValue *c, const Affine *f, PerChannel *p)
{
	const MloTensor *t = c->data;

	if (!t || !mlo_elem_is_float(t->elem) || t->rank > f->rank)
		return false;
	*p = (PerChannel){t, mlo_tensor_elems(t) == 1 ? 0 : 1};
	if (!p->step)
		return true;
	if (mlo_tensor_elems(t) != f->n)
		return false;
	/* Aligned to the right: dimension d of c is dimension d + rank - c.rank of the result. */
	return t->rank >= f->rank - f->axis && t->dim[f->axis - (f->rank - t->rank)] == f->n;
}

static double channel(const PerChannel *p, int64_t i)
{
	return mlo_tensor_f64(p->t, i * p->step);
}

static void compose(Affine *f, int64_t i, double s, double t)
{
	f->scale[i] *= s;
	f->shift[i] = f->shift[i] * s + t;
}

static const MloValue *other(const MloNode *n, const MloValue *x)
{
	return n->in[0] == x ? n->in[1] : n->in[0];
}

static bool step_mul(const MloNode *n, const MloValue *x, Affine *f)
{
	PerChannel c;

	if (!per_channel(other(n, x), f, &c))
		return false;
	for (int64_t i = 0; i < f->n; i++)
		compose(f, i, channel(&c, i), 0);
	f->scaled = true;
	return true;
}

static bool step_div(const MloNode *n, const MloValue *x, Affine *f)
{
	PerChannel c;

	if (n->in[0] != x || !per_channel(n->in[1], f, &c))
		return false;
	for (int64_t i = 0; i < f->n; i++)
		if (channel(&c, i) == 0)
			return false;
	for (int64_t i = 0; i < f->n; i++)
		compose(f, i, 1 / channel(&c, i), 0);
	f->scaled = true;
	return true;
}

static bool step_add(const MloNode *n, const MloValue *x, Affine *f)
{
	PerChannel c;

	if (!per_channel(other(n, x), f, &c))
		return false;
	for (int64_t i = 0; i < f->n; i++)
		compose(f, i, 1, channel(&c, i));
	f->shifted = true;
	return true;
}

static bool step_sub(const MloNode *n, const MloValue *x, Affine *f)
{
	double sign = n->in[0] == x ? 1 : -1; /* c - x = -x + c */
	PerChannel c;

	if (!per_channel(other(n, x), f, &c))
		return false;
	for (int64_t i = 0; i < f->n; i++)
		compose(f, i, sign, -sign * channel(&c, i));
	f->scaled |= sign < 0;
	f->shifted = true;
	return true;
}

static bool step_batch_norm(const MloNode *n, const MloValue *x, Affine *f)
{
	double eps = mlo_attr_f(n, ATTR_batch_norm_epsilon);

	if (n->in[0] != x || f->axis != 1)
		return false;
	for (int i = 1; i < 5; i++)
		if (!n->in[i]->data || mlo_tensor_elems(n->in[i]->data) != f->n)
			return false;
	for (int64_t i = 0; i < f->n; i++) {
		double s = mlo_tensor_f64(n->in[1]->data, i) / sqrt(mlo_tensor_f64(n->in[4]->data, i) + eps);

		compose(f, i, s, mlo_tensor_f64(n->in[2]->data, i) - mlo_tensor_f64(n->in[3]->data, i) * s);
	}
	f->scaled = f->shifted = true;
	return true;
}

static const struct Step {
	MloOp op;
	AffineStep *step;
} steps[] = {
	{OP_mul, step_mul}, {OP_div, step_div}, {OP_add, step_add}, {OP_sub, step_sub},
	{OP_batch_norm, step_batch_norm},
};

static AffineStep *step_of(MloOp op)
{
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
		if (steps[i].op == op)
			return steps[i].step;
	return NULL;
}

/* -- contractions ---------------------------------------------------------------------------- */

static bool folding_type(MloElem e)
{
	return e == EL_f32 || e == EL_f64;
}

/* Weights [M, ...]: channel = index / inner.  [C, M/group, ...] and [K, N] likewise, see below. */
typedef struct Target {
	MloValue *bias;
	int64_t n, inner; /* channel of weight element e: (e / inner) % n, plus the group's offset */
	int64_t group, per_group;
	int axis;
} Target;

static bool target_of(const MloNode *n, Target *t)
{
	const MloTensor *w = n->nin > 1 && n->in[1] ? n->in[1]->data : NULL;
	bool transposed = n->op == OP_conv_transpose;

	if (!w || !folding_type(w->elem) || n->out[0]->type.rank < 1)
		return false;
	*t = (Target){.group = 1, .inner = 1};
	if (n->op == OP_matmul) {
		if (w->rank != 2)
			return false;
		t->n = w->dim[1];
		t->axis = n->out[0]->type.rank - 1;
		return true;
	}
	if ((n->op != OP_conv && !transposed) || w->rank < 3)
		return false;
	for (int i = transposed ? 2 : 1; i < w->rank; i++)
		t->inner *= w->dim[i];
	t->group = transposed ? mlo_attr_i(n, ATTR_conv_transpose_group) : 1;
	t->n = transposed ? w->dim[1] * t->group : w->dim[0];
	t->axis = 1;
	t->bias = n->nin > 2 ? n->in[2] : NULL;
	return !t->bias || t->bias->data;
}

/* Scales each weight by its output channel's factor. */
static MloValue *scale_weights(MloGraph *g, const MloValue *weights, const Target *t, const double *scale)
{
	const MloTensor *w = weights->data;
	MloTensor *r = mlo_tensor_new(g->arena, w->elem, w->rank, w->dim);
	int64_t n = mlo_tensor_elems(w), per = t->n / t->group, group_size = t->group ? n / t->group : n;

	for (int64_t e = 0; e < n; e += t->inner) {
		int64_t c = e / t->inner % per + (group_size ? e / group_size * per : 0);
		double s = scale[c];

		if (w->elem == EL_f32)
			for (int64_t i = e; i < e + t->inner; i++) {
				float x;

				memcpy(&x, (const char *)w->data + i * 4, 4);
				((float *)r->data)[i] = (float)(x * s);
			}
		else
			for (int64_t i = e; i < e + t->inner; i++)
				mlo_tensor_set_f64(r, i, mlo_tensor_f64(w, i) * s);
	}
	return mlo_graph_const(g, r, weights->name);
}

static MloValue *make_bias(MloGraph *g, const MloNode *n, const MloValue *old, const Affine *f)
{
	MloTensor *b = mlo_tensor_new(g->arena, n->out[0]->type.elem, 1, &f->n);

	for (int64_t i = 0; i < f->n; i++)
		mlo_tensor_set_f64(b, i, (old ? mlo_tensor_f64(old->data, i) * f->scale[i] : 0) + f->shift[i]);
	return mlo_graph_const(g, b, old ? old->name : NULL);
}

/* The node that continues a chain from value v, if it is the only reader. */
static MloNode *next_step(const MloGraph *g, const MloValue *v, Affine *f)
{
	MloNode *n = v->nuse == 1 ? mlo_only_user(g, v) : NULL;
	AffineStep *step = n && mlo_type_same(&n->out[0]->type, &v->type) ? step_of(n->op) : NULL;

	return step && step(n, v, f) ? n : NULL;
}

static MloValue *rebuild(MloGraph *g, MloNode *n, const Target *t, const Affine *f, MloPassCx *cx)
{
	bool fresh_bias = f->shifted || t->bias;
	MloValue *in[3] = {n->in[0], n->in[1], NULL}, *y;
	MloNode *r;

	if (f->scaled)
		in[1] = scale_weights(g, n->in[1], t, f->scale);
	if (n->op != OP_matmul && fresh_bias)
		in[2] = make_bias(g, n, t->bias, f);
	r = mlo_rw_node(g, n, n->op, n, in, in[2] ? 3 : 2);
	mlo_rw_copy_attrs(r, n);
	y = mlo_rw_done(g, r, cx);
	y->type = n->out[0]->type;
	if (n->op == OP_matmul && fresh_bias)
		y = mlo_rw_op(g, n, OP_add, n, cx, y, make_bias(g, n, NULL, f));
	return y;
}

static bool fold_after(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	Target t;
	Affine f;
	MloNode *last = n, *step;
	int count = 0;
	MloValue *y;

	if (!target_of(n, &t))
		return false;
	f = affine_new(cx->arena, t.n, n->out[0]->type.rank, t.axis);
	while ((step = next_step(g, last->out[0], &f))) {
		last = step;
		count++;
	}
	/* A bias alone after matmul is in its final form already. */
	if (!count || (n->op == OP_matmul && count == 1 && !f.scaled))
		return false;
	y = rebuild(g, n, &t, &f, cx);
	for (MloNode *s = n; s != last; s = mlo_only_user(g, s->out[0]))
		mlo_origin_add(g, y->def, s->origin);
	return mlo_rw_replace(g, last, y);
}

/* -- chains in front of a matmul ------------------------------------------------------------- */

enum { MAX_BEFORE = 8 };

/* The chain that makes x out of the returned value, as one scale and shift along the last axis. */
static MloValue *chain_before(MloValue *x, Affine *f)
{
	MloNode *chain[MAX_BEFORE];
	int n = 0;

	while (n < MAX_BEFORE && x->nuse == 1 && x->def && step_of(x->def->op) && x->def->op != OP_batch_norm) {
		int side = mlo_const_side(x->def);
		MloValue *y = side >= 0 ? x->def->in[1 - side] : NULL;

		if (!y || !mlo_type_same(&y->type, &x->type))
			break;
		chain[n++] = x->def;
		x = y;
	}
	/* Forwards, as it is computed. One that does not fit: then nothing is done. */
	for (int i = n - 1; i >= 0; i--)
		if (!step_of(chain[i]->op)(chain[i], chain[i]->in[1 - mlo_const_side(chain[i])], f))
			return NULL;
	return n ? x : NULL;
}

static MloNode *fold_before(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	const MloTensor *w = n->op == OP_matmul ? n->in[1]->data : NULL;
	MloTensor *scaled, *bias;
	MloValue *x, *y;
	Affine f;

	if (!w || w->rank != 2 || !folding_type(w->elem) || n->in[0]->nuse != 1 || n->in[0]->type.rank < 1)
		return NULL;
	f = affine_new(cx->arena, w->dim[0], n->in[0]->type.rank, n->in[0]->type.rank - 1);
	if (!(x = chain_before(n->in[0], &f)))
		return NULL;
	scaled = mlo_tensor_new(g->arena, w->elem, 2, w->dim);
	bias = mlo_tensor_new(g->arena, w->elem, 1, &w->dim[1]);
	for (int64_t j = 0; j < w->dim[1]; j++) {
		double sum = 0;

		for (int64_t i = 0; i < w->dim[0]; i++) {
			double v = mlo_tensor_f64(w, i * w->dim[1] + j);

			mlo_tensor_set_f64(scaled, i * w->dim[1] + j, v * f.scale[i]);
			sum += v * f.shift[i];
		}
		mlo_tensor_set_f64(bias, j, sum);
	}
	y = mlo_rw_op(g, n, OP_matmul, n, cx, x, mlo_graph_const(g, scaled, n->in[1]->name));
	mlo_origin_add(g, y->def, n->in[0]->def->origin);
	if (f.shifted)
		y = mlo_rw_op(g, n, OP_add, n, cx, y, mlo_graph_const(g, bias, NULL));
	mlo_rw_replace(g, n, y);
	return f.shifted ? y->def->in[0]->def : y->def;
}

bool mlo_bn_folds(const MloNode *n)
{
	int64_t channels = mlo_tensor_elems(n->in[1]->data), elems;
	const MloValue *x = n->in[0];
	const MloNode *c = x->def;
	Target t;
	int side;

	/* Through shifts and scales, which bnfold takes in as well. */
	while (c && x->nuse == 1 && step_of(c->op) && c->op != OP_batch_norm) {
		if ((side = mlo_const_side(c)) < 0)
			return false;
		elems = mlo_tensor_elems(c->in[side]->data);
		if (elems != 1 && elems != channels)
			return false;
		x = c->in[1 - side];
		c = x->def;
	}
	return c && x->nuse == 1 && target_of(c, &t) && t.axis == 1 && t.n == channels;
}

MloStatus mlo_pass_bnfold(MloGraph *g, MloPassCx *cx)
{
	for (MloNode *n = g->first, *next; n; n = next) {
		MloNode *prev, *before = mlo_node_used(n) ? fold_before(g, n, cx) : NULL;

		cx->changed += before != NULL;
		n = before ? before : n;
		prev = n->prev;
		next = n->next;
		if (n->nout == 1 && mlo_node_used(n) && fold_after(g, n, cx)) {
			cx->changed++;
			/* The chain after n is gone, perhaps `next` too: go on after what replaced it. */
			next = prev ? prev->next : g->first;
			next = next ? next->next : NULL;
		}
	}
	return MLO_OK;
}
