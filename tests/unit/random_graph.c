/* tests/unit/random_graph.c -- small random graphs that hold what exporters write. */
#include "tests/unit/random_graph.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_POOL = 256 };

typedef struct Gen {
	MloGraph *g;
	uint64_t state;
	MloValue *pool[MAX_POOL];
	int npool;
} Gen;

/* -- numbers --------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *s)
{
	uint64_t z = (*s += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static int upto(Gen *r, int n) /* 0 .. n-1 */
{
	return (int)(next_random(&r->state) % (uint64_t)n);
}

static double between(uint64_t *s, double lo, double hi)
{
	return lo + (hi - lo) * (double)(next_random(s) >> 11) * 0x1p-53;
}

/* -- building -------------------------------------------------------------------------------- */

static MloValue *weights(Gen *r, double lo, double hi, int rank, const int64_t *dims)
{
	MloTensor *t = mlo_tensor_new(r->g->arena, EL_f32, rank, dims);
	int64_t n = mlo_tensor_elems(t);

	for (int64_t i = 0; i < n; i++)
		mlo_tensor_set_f64(t, i, between(&r->state, lo, hi));
	return mlo_graph_const(r->g, t, NULL);
}

static MloValue *vec(Gen *r, double lo, double hi, int64_t n)
{
	return weights(r, lo, hi, 1, &n);
}

static MloValue *num(Gen *r, float v)
{
	return mlo_graph_const_f32(r->g, v);
}

static MloValue *ints(Gen *r, int n, const int64_t *v)
{
	return mlo_graph_const_i64s(r->g, 1, v, n);
}
#define INTS(r, ...) ints(r, sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[]){__VA_ARGS__})

static MloNode *node(Gen *r, MloOp op, MloValue *a, MloValue *b, MloValue *c)
{
	MloValue *in[3] = {a, b, c};

	return mlo_graph_node(r->g, NULL, op, in, c ? 3 : b ? 2 : 1, 1);
}

static MloValue *done(Gen *r, MloNode *n)
{
	MloDiag d = {0};

	if (mlo_infer_node(r->g, n, &d) != MLO_OK) {
		mlo_diag_print(&d, "random_graph", stderr);
		abort();
	}
	return n->out[0];
}

static MloValue *op1(Gen *r, MloOp op, MloValue *a)
{
	return done(r, node(r, op, a, NULL, NULL));
}

/* In either order where the operator commutes. */
static MloValue *op2(Gen *r, MloOp op, MloValue *a, MloValue *b)
{
	bool swap = mlo_op_has(op, TR_COMMUTES) && upto(r, 2);

	return done(r, node(r, op, swap ? b : a, swap ? a : b, NULL));
}

static int64_t dim(const MloValue *v, int i)
{
	return v->type.dim[i].k;
}

static void keep(Gen *r, MloValue *v)
{
	if (r->npool < MAX_POOL && mlo_type_elems(&v->type) <= 4096 && mlo_type_elems(&v->type) > 0)
		r->pool[r->npool++] = v;
}

/* A recent value, of rank 4 if asked for (the graph input is one). */
static MloValue *pick(Gen *r, bool image)
{
	for (int tries = 0; tries < 8; tries++) {
		int back = upto(r, r->npool < 4 ? r->npool : 4);
		MloValue *v = r->pool[r->npool - 1 - back];

		if (!image || (v->type.rank == 4 && dim(v, 2) > 2 && dim(v, 3) > 2))
			return v;
	}
	return r->pool[0];
}

/* -- patterns -------------------------------------------------------------------------------- */

static MloValue *channel_const(Gen *r, const MloValue *x, double lo, double hi)
{
	int64_t form3[3] = {dim(x, 1), 1, 1}, form4[4] = {1, dim(x, 1), 1, 1};

	switch (upto(r, 3)) {
	case 0: return weights(r, lo, hi, 3, form3);
	case 1: return weights(r, lo, hi, 4, form4);
	}
	return num(r, (float)between(&r->state, lo, hi));
}

static MloValue *maybe_pad(Gen *r, MloValue *x)
{
	return upto(r, 3) ? x : op2(r, OP_pad, x, INTS(r, 0, 0, 1, 0, 0, 0, upto(r, 2), 1));
}

static MloValue *gen_conv(Gen *r)
{
	static const char *const autos[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
	MloValue *x = maybe_pad(r, pick(r, true));
	int64_t group = upto(r, 3) ? 1 : dim(x, 1), out = group * (1 + upto(r, 3)), k = 1 + upto(r, 3);
	MloValue *w = weights(r, -0.6, 0.6, 4, (int64_t[]){out, dim(x, 1) / group, k, k});
	MloNode *n = node(r, OP_conv, x, w, upto(r, 2) ? vec(r, -1, 1, out) : NULL);

	mlo_attr_set_i(n, ATTR_conv_group, group);
	mlo_attr_set_s(r->g, n, ATTR_conv_auto_pad, autos[upto(r, 4)]);
	if (upto(r, 2))
		mlo_attr_set_ints(r->g, n, ATTR_conv_strides, (int64_t[]){1 + upto(r, 2), 1}, 2);
	return done(r, n);
}

static MloValue *gen_conv_transpose(Gen *r)
{
	MloValue *x = pick(r, true);
	int64_t group = dim(x, 1) % 2 ? 1 : 2, m = 1 + upto(r, 3);
	MloValue *w = weights(r, -0.6, 0.6, 4, (int64_t[]){dim(x, 1), m, 2, 2});
	MloNode *n = node(r, OP_conv_transpose, x, w, upto(r, 2) ? vec(r, -1, 1, m * group) : NULL);

	mlo_attr_set_i(n, ATTR_conv_transpose_group, group);
	mlo_attr_set_ints(r->g, n, ATTR_conv_transpose_strides, (int64_t[]){1 + upto(r, 2), 1}, 2);
	return done(r, n);
}

static MloValue *gen_batch_norm(Gen *r)
{
	MloValue *x = upto(r, 2) ? gen_conv(r) : upto(r, 2) ? gen_conv_transpose(r) : pick(r, true);
	int64_t c = dim(x, 1);
	MloValue *in[5] = {x, vec(r, 0.5, 1.5, c), vec(r, -1, 1, c), vec(r, -1, 1, c), vec(r, 0.5, 2, c)};

	return done(r, mlo_graph_node(r->g, NULL, OP_batch_norm, in, 5, 1));
}

static MloValue *gen_affine(Gen *r)
{
	static const MloOp ops[] = {OP_add, OP_mul, OP_sub, OP_div};
	MloValue *x = upto(r, 2) ? gen_conv(r) : pick(r, true);

	for (int i = upto(r, 3); i >= 0; i--)
		x = op2(r, ops[upto(r, 4)], x, channel_const(r, x, 0.5, 2));
	return upto(r, 4) ? x : op2(r, OP_sub, num(r, 1), x);
}

static MloValue *gen_pool(Gen *r)
{
	bool max = upto(r, 2);
	MloValue *x = maybe_pad(r, pick(r, true));
	MloNode *n = node(r, max ? OP_max_pool : OP_average_pool, x, NULL, NULL);
	bool whole = !upto(r, 3);

	mlo_attr_set_ints(r->g, n, max ? ATTR_max_pool_kernel_shape : ATTR_average_pool_kernel_shape,
	                  (int64_t[]){whole ? dim(x, 2) : 2, whole ? dim(x, 3) : 2}, 2);
	if (!max && upto(r, 2))
		mlo_attr_set_i(n, ATTR_average_pool_count_include_pad, 1);
	if (upto(r, 2))
		mlo_attr_set_i(n, max ? ATTR_max_pool_ceil_mode : ATTR_average_pool_ceil_mode, 1);
	return done(r, n);
}

static MloValue *gen_activation(Gen *r)
{
	MloValue *x = pick(r, false), *y;
	MloNode *n;

	switch (upto(r, 8)) {
	case 0: return op1(r, OP_relu, op1(r, OP_relu, x));
	case 1: return op2(r, OP_max, op2(r, OP_min, x, num(r, 0.5f)), num(r, upto(r, 2) ? 0 : -0.5f));
	case 2: return done(r, node(r, OP_clip, op1(r, OP_relu, x), num(r, 0), num(r, 0.7f)));
	case 3: return op2(r, OP_mul, x, op1(r, OP_sigmoid, x));
	case 4: /* gelu */
		y = op1(r, OP_erf, op2(r, OP_div, x, num(r, 1.41421356f)));
		y = op2(r, OP_add, y, num(r, 1));
		if (upto(r, 2))
			return op2(r, OP_mul, op2(r, OP_mul, x, y), num(r, 0.5f));
		return op2(r, OP_mul, op2(r, OP_mul, x, num(r, 0.5f)), y);
	case 5: /* hard swish */
		y = done(r, node(r, OP_clip, op2(r, OP_add, x, num(r, 3)), num(r, 0), num(r, 6)));
		return op2(r, OP_div, op2(r, OP_mul, x, y), num(r, 6));
	case 6:
		n = node(r, OP_hard_sigmoid, x, NULL, NULL);
		mlo_attr_set_f(n, ATTR_hard_sigmoid_alpha, 1.0 / 6);
		return op2(r, OP_mul, done(r, n), x);
	}
	return op2(r, OP_pow, x, num(r, 2));
}

static MloValue *reduce(Gen *r, MloOp op, MloValue *x, int64_t axis)
{
	return op2(r, op, x, INTS(r, axis));
}

static MloValue *gen_norm(Gen *r)
{
	MloValue *x = pick(r, false), *d, *v;
	int64_t last = dim(x, x->type.rank - 1);

	if (upto(r, 2)) { /* softmax */
		v = op1(r, OP_exp, upto(r, 2) ? op2(r, OP_sub, x, reduce(r, OP_reduce_max, x, -1)) : x);
		return op2(r, OP_div, v, reduce(r, OP_reduce_sum, v, -1));
	}
	d = op2(r, OP_sub, x, reduce(r, OP_reduce_mean, x, -1));
	v = upto(r, 2) ? op2(r, OP_mul, d, d) : op2(r, OP_pow, d, num(r, 2));
	v = op1(r, OP_sqrt, op2(r, OP_add, reduce(r, OP_reduce_mean, v, -1), num(r, 1e-3f)));
	d = upto(r, 2) ? op2(r, OP_div, d, v) : op2(r, OP_mul, d, op1(r, OP_reciprocal, v));
	if (upto(r, 2))
		d = op2(r, OP_mul, d, vec(r, 0.5, 1.5, last));
	return upto(r, 2) ? op2(r, OP_add, d, vec(r, -1, 1, last)) : d;
}

static MloValue *gen_dense(Gen *r)
{
	MloValue *x = op1(r, OP_flatten, pick(r, false));
	int64_t k = dim(x, 1), n = 1 + upto(r, 6);
	bool trans = upto(r, 2);
	MloValue *w = weights(r, -0.3, 0.3, 2, trans ? (int64_t[]){n, k} : (int64_t[]){k, n});
	MloNode *m = node(r, OP_gemm, x, w, upto(r, 2) ? vec(r, -1, 1, n) : NULL);

	mlo_attr_set_i(m, ATTR_gemm_transB, trans);
	if (upto(r, 2))
		mlo_attr_set_f(m, ATTR_gemm_alpha, 0.75);
	if (upto(r, 2))
		mlo_attr_set_f(m, ATTR_gemm_beta, 0.5);
	if (!upto(r, 3)) { /* scaled and shifted before */
		MloValue *y = op2(r, OP_add, op2(r, OP_mul, x, vec(r, 0.5, 1.5, k)), vec(r, -1, 1, k));

		mlo_node_set_in(r->g, m, 0, y);
		mlo_graph_move(r->g, m, NULL);
	}
	x = done(r, m);
	return upto(r, 2) ? x : op2(r, OP_mul, x, vec(r, 0.5, 1.5, n));
}

static MloValue *transposed(Gen *r, MloValue *x)
{
	MloNode *n = node(r, OP_transpose, x, NULL, NULL);
	int64_t perm[MLO_MAX_RANK];

	for (int i = 0; i < x->type.rank; i++)
		perm[i] = i;
	for (int i = x->type.rank - 1; i > 0; i--) {
		int j = upto(r, i + 1);
		int64_t t = perm[i];

		perm[i] = perm[j];
		perm[j] = t;
	}
	if (upto(r, 4))
		mlo_attr_set_ints(r->g, n, ATTR_transpose_perm, perm, x->type.rank);
	return done(r, n);
}

static MloValue *gen_move(Gen *r)
{
	MloValue *x = pick(r, false), *s;
	MloNode *n;

	switch (upto(r, 6)) {
	case 0: return transposed(r, upto(r, 2) ? transposed(r, x) : x);
	case 1: return op2(r, OP_reshape, op2(r, OP_unsqueeze, x, INTS(r, 0)), INTS(r, -1));
	case 2: /* the first size of x, then the rest: as exporters flatten */
		s = op2(r, OP_gather, op1(r, OP_shape, x), INTS(r, 0));
		s = op2(r, OP_concat, s, INTS(r, -1));
		return op2(r, OP_reshape, x, s);
	case 3:
		n = node(r, OP_gather, x, mlo_graph_const_i64s(r->g, 0, (int64_t[]){-1}, 1), NULL);
		mlo_attr_set_i(n, ATTR_gather_axis, x->type.rank - 1);
		return x->type.rank > 1 ? done(r, n) : (mlo_graph_remove(r->g, n), x);
	case 4: return done(r, node(r, OP_slice, x, INTS(r, 0), INTS(r, INT64_MAX)));
	}
	return op1(r, upto(r, 2) ? OP_identity : OP_cast, x);
}

/* x0, then concat(x0, x1), concat(x0, x1, x2): as DenseNet does; or cut apart again. */
static MloValue *gen_concat(Gen *r)
{
	MloValue *part[4] = {pick(r, true)}, *all = NULL;
	int count = 2 + upto(r, 3);

	for (int i = 1; i < count; i++) {
		MloNode *n;

		part[i] = op1(r, i % 2 ? OP_relu : OP_neg, part[i - 1]);
		n = mlo_graph_node(r->g, NULL, OP_concat, part, (uint32_t)i + 1, 1);
		mlo_attr_set_i(n, ATTR_concat_axis, upto(r, 2) ? 1 : -3);
		all = done(r, n);
		keep(r, all);
	}
	if (upto(r, 2)) {
		MloNode *n = mlo_graph_node(r->g, NULL, OP_split, &all, 1, (uint32_t)count);

		mlo_attr_set_i(n, ATTR_split_axis, 1);
		done(r, n);
		for (int i = 0; i < count; i++)
			keep(r, n->out[i]);
		return n->out[upto(r, count)];
	}
	return all;
}

static MloValue *gen_sum(Gen *r)
{
	MloValue *x = pick(r, false), *y = pick(r, false);

	return op2(r, OP_add, x, mlo_type_same(&x->type, &y->type) ? y : op1(r, OP_tanh, x));
}

static MloValue *gen_mean(Gen *r)
{
	MloNode *n = node(r, OP_reduce_mean, pick(r, true), INTS(r, -1, 2), NULL);

	mlo_attr_set_i(n, ATTR_reduce_mean_keepdims, upto(r, 2));
	return done(r, n);
}

/* Scaled products of two projections, as attention makes them. */
static MloValue *gen_scores(Gen *r)
{
	MloValue *x = op1(r, OP_flatten, pick(r, false)), *side[2], *y;
	int64_t k = dim(x, 1), heads = 1 + upto(r, 3);

	for (int i = 0; i < 2; i++) {
		MloNode *t;

		side[i] = op2(r, OP_matmul, x, weights(r, -0.3, 0.3, 2, (int64_t[]){k, 4 * heads}));
		if (upto(r, 2))
			side[i] = op2(r, OP_add, side[i], vec(r, -1, 1, 4 * heads));
		side[i] = op2(r, OP_reshape, side[i], INTS(r, 0, heads, -1));
		t = node(r, OP_transpose, side[i], NULL, NULL);
		mlo_attr_set_ints(r->g, t, ATTR_transpose_perm,
		                  i ? (int64_t[]){1, 2, 0} : (int64_t[]){1, 0, 2}, 3);
		side[i] = done(r, t);
	}
	if (!upto(r, 4))
		keep(r, side[0]);
	y = op2(r, OP_matmul, side[0], side[1]);
	return op2(r, upto(r, 2) ? OP_div : OP_mul, y, num(r, 3));
}

static MloValue *(*const patterns[])(Gen *r) = {
	gen_conv, gen_conv_transpose, gen_batch_norm, gen_affine, gen_pool, gen_activation, gen_activation,
	gen_norm, gen_dense, gen_scores, gen_move, gen_move, gen_concat, gen_sum, gen_mean,
};

MloGraph *random_graph(uint64_t seed, int size)
{
	Gen r = {.g = mlo_graph_new("random"), .state = seed};
	int64_t dims[4] = {1, 1 + upto(&r, 4), 4 + upto(&r, 4), 4 + upto(&r, 4)};
	MloType t = mlo_type(EL_f32, 4, dims);
	char name[24];

	r.pool[r.npool++] = mlo_graph_input(r.g, "x", &t);
	for (int i = 0; i < size; i++)
		keep(&r, patterns[upto(&r, sizeof patterns / sizeof *patterns)](&r));
	for (int i = 0; i < 4 && i < r.npool; i++) {
		snprintf(name, sizeof name, "out%d", i);
		mlo_graph_output(r.g, r.pool[r.npool - 1 - i], name);
	}
	return r.g;
}

MloTensor *random_tensor(MloArena *a, uint64_t seed, const MloType *t)
{
	int64_t dims[MLO_MAX_RANK], n;
	MloTensor *r;

	for (int i = 0; i < t->rank; i++)
		dims[i] = t->dim[i].k;
	r = mlo_tensor_new(a, t->elem, t->rank, dims);
	n = mlo_tensor_elems(r);
	for (int64_t i = 0; i < n; i++)
		mlo_tensor_set_f64(r, i, between(&seed, -1, 1));
	return r;
}
