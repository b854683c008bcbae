/* tests/device/tie.c -- whole numbers that may be rounded either way. */
#include <math.h>

#include "tests/device/device.h"

/* Units in the last place between a kernel's value and the reference's, before both are rounded: what elementary functions may
 * miss by (codegen/emit_vecmath.c), and half of one for each of the few operations behind them, on both sides. */
#define ULPS 8

static bool has_attention(const KStmt *s)
{
	for (; s; s = s->next)
		if (s->kind == KS_ATTENTION || has_attention(s->body))
			return true;
	return false;
}

static bool is_inexact(const MloKernel *k)
{
	for (size_t i = 0; i < k->value.n; i++) {
		const KOp op = k->value.items[i].op;

		if ((op >= K_exp && op <= K_sigmoid) || op == K_pow)
			return true;
	}
	return has_attention(k->body);
}

/* Element `at` of n's result, of type t, is which one of its operand? */
static int64_t before_transpose(const MloNode *n, const MloTensor *t, int64_t at)
{
	int64_t stride[MLO_MAX_RANK], from = 0, each = 1;
	int count;
	const int64_t *perm = mlo_attr_ints(n, ATTR_transpose_perm, &count);

	for (int i = t->rank - 1; i >= 0; i--) {
		stride[i] = each;
		each *= t->dim[i];
	}
	for (int i = t->rank - 1; i >= 0; i--) {
		const int axis = perm && count ? (int)perm[i] : t->rank - 1 - i;

		from += at % t->dim[axis] * stride[axis];
		at /= t->dim[axis];
	}
	return from;
}

/* What element *at of v was before it was rounded to a whole number, within the group that makes it, and where; NULL: it never was. */
static const MloValue *before_rounding(const MloValue *v, MloTensor *const *value, int64_t *at)
{
	const MloNode *n = v->def;
	const uint32_t group = n ? n->group : 0;

	for (; n && n->group == group; n = n->in[0]->def) {
		if (n->op == OP_round)
			return n->in[0];
		if (n->op == OP_transpose && value[n->in[0]->id])
			*at = before_transpose(n, value[n->in[0]->id], *at);
		else if (n->op != OP_cast && n->op != OP_clip && !(n->op == OP_add && n->in[1]->data))
			return NULL;
	}
	return NULL;
}

/* The place of a channel block's element in the tensor. */
static int64_t logical(const MloValue *v, const MloTensor *t, int64_t at)
{
	const int64_t block = v->layout.block, lane = block ? at % block : 0;
	int64_t blocks, each, pixel, rest;

	if (!block)
		return at;
	blocks = (t->dim[1] + block - 1) / block;
	each = mlo_tensor_elems(t) / (t->dim[0] * t->dim[1]);
	rest = at / block;
	pixel = rest % each;
	rest /= each;
	return (rest / blocks * t->dim[1] + rest % blocks * block + lane) * each + pixel;
}

/* Weighted means miss by what their largest terms do, others by what they are. */
static double scale_of(const MloKernel *k, const MloTensor *t, double y)
{
	double most = fabs(y);

	for (int64_t i = 0; has_attention(k->body) && i < mlo_tensor_elems(t); i++)
		most = fmax(most, fabs(mlo_tensor_f64(t, i)));
	return most;
}

bool device_tie(const MloKernel *k, const MloValue *v, MloTensor *const *value, int64_t at, double got, double want)
{
	const MloValue *x;
	double y;

	if (value[v->id])
		at = logical(v, value[v->id], at);
	x = before_rounding(v, value, &at);
	if (!x || !value[x->id] || value[x->id]->elem != EL_f32 || fabs(got - want) != 1 || !is_inexact(k))
		return false;
	y = mlo_tensor_f64(value[x->id], at);
	return fabs(fabs(y - floor(y)) - 0.5) <= ULPS * 0x1p-23 * scale_of(k, value[x->id], y);
}
