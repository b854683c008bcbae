/* tests/device/tie.c -- whole numbers that may be rounded either way. */
#include <math.h>

#include "tests/device/device.h"

/* Units in the last place between a kernel's value and the reference's, before both are rounded: what elementary functions may
 * miss by (codegen/emit_vecmath.c), and half of one for each of the few operations behind them, on both sides. */
#define ULPS 8

static bool is_inexact(const MloKernel *k)
{
	for (size_t i = 0; i < k->value.n; i++) {
		const KOp op = k->value.items[i].op;

		if ((op >= K_exp && op <= K_sigmoid) || op == K_pow)
			return true;
	}
	return false;
}

/* What v was before it was rounded to a whole number, within the group that makes it; NULL: it never was. */
static const MloValue *before_rounding(const MloValue *v)
{
	const MloNode *n = v->def;
	const uint32_t group = n ? n->group : 0;

	for (; n && n->group == group; n = n->in[0]->def) {
		if (n->op == OP_round)
			return n->in[0];
		if (n->op != OP_cast && n->op != OP_clip && !(n->op == OP_add && n->in[1]->data))
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

bool device_tie(const MloKernel *k, const MloValue *v, MloTensor *const *value, int64_t at, double got, double want)
{
	const MloValue *x = before_rounding(v);
	double y;

	if (!x || !value[x->id] || value[x->id]->elem != EL_f32 || fabs(got - want) != 1 || !is_inexact(k))
		return false;
	y = mlo_tensor_f64(value[x->id], logical(v, value[x->id], at));
	return fabs(fabs(y - floor(y)) - 0.5) <= ULPS * 0x1p-23 * fabs(y);
}
