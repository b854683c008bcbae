/* codegen/lower_eltwise.c -- scalar expressions of the elementwise operators, one function per row.
 *
 * The functions are bound to ir/ops.def by name: an elementwise row without one does not compile.
 * They run inside loops of the loop tier and in epilogues of contractions alike. */
#include "codegen/lower.h"

#include <math.h>

#include "codegen/lower_loops.h"

/* Operand types an operator has a form for. */
enum { T_F = 1, T_INT = 2, T_BOOL = 4, T_NUM = T_F | T_INT, T_ANY = T_NUM | T_BOOL };

/* What one function works with: x[] operand values, t the type of the result. */
typedef struct El {
	KCursor *at;
	const MloNode *n;
	const int *x;
	MloElem t, in;  /* in: type of operand 0 */
} El;

static int op1(El *e, KOp op, int a) { return kb_op(e->at, op, e->t, a, -1, -1); }
static int op2(El *e, KOp op, int a, int b) { return kb_op(e->at, op, e->t, a, b, -1); }
static int cmp(El *e, KOp op, int a, int b) { return kb_op(e->at, op, EL_bool, a, b, -1); }
static int sel(El *e, int c, int a, int b) { return kb_op(e->at, K_select, e->t, c, a, b); }

static int num(El *e, double v)
{
	return mlo_elem_is_float(e->t) ? kb_const_f(e->at, e->t, v) : kb_const_i(e->at, e->t, (int64_t)v);
}

static double attr(El *e, int slot) { return mlo_attr_f(e->n, slot); }
static int clamp01(El *e, int v) { return op2(e, K_min, op2(e, K_max, v, num(e, 0)), num(e, 1)); }
static int fma_(El *e, int a, int b, int c) { return kb_op(e->at, K_fma, e->t, a, b, c); }

enum {
	ty_identity = T_ANY, ty_relu = T_NUM, ty_leaky_relu = T_F, ty_sigmoid = T_F, ty_hard_sigmoid = T_F,
	ty_hard_swish = T_F, ty_swish = T_F, ty_gelu = T_F, ty_mish = T_F, ty_elu = T_F, ty_selu = T_F,
	ty_softplus = T_F, ty_softsign = T_F, ty_tanh = T_F, ty_exp = T_F, ty_log = T_F, ty_sqrt = T_F,
	ty_reciprocal = T_F, ty_erf = T_F, ty_sin = T_F, ty_cos = T_F, ty_abs = T_NUM, ty_neg = T_NUM,
	ty_sign = T_NUM, ty_floor = T_F, ty_ceil = T_F, ty_round = T_F, ty_not = T_BOOL, ty_cast = T_ANY,
	ty_clip = T_NUM, ty_add = T_NUM, ty_sub = T_NUM, ty_mul = T_NUM, ty_div = T_NUM, ty_pow = T_F,
	ty_max = T_NUM, ty_min = T_NUM, ty_mod = T_NUM, ty_prelu = T_F, ty_equal = T_ANY, ty_less = T_NUM,
	ty_less_equal = T_NUM, ty_greater = T_NUM, ty_greater_equal = T_NUM, ty_and = T_BOOL, ty_or = T_BOOL,
	ty_xor = T_BOOL, ty_where = T_BOOL, ty_tan = T_F, ty_is_nan = T_F, ty_is_inf = T_F, ty_shrink = T_F,
	ty_bit_not = T_INT, ty_bit_and = T_INT, ty_bit_or = T_INT, ty_bit_xor = T_INT,
};

static int el_identity(El *e) { return e->x[0]; }
static int el_relu(El *e) { return op2(e, K_max, e->x[0], num(e, 0)); }

/* x < 0 ? factor * x : x */
static int leak(El *e, int factor)
{
	return sel(e, cmp(e, K_lt, e->x[0], num(e, 0)), op2(e, K_mul, e->x[0], factor), e->x[0]);
}

static int el_leaky_relu(El *e) { return leak(e, num(e, attr(e, ATTR_leaky_relu_alpha))); }
static int el_prelu(El *e) { return leak(e, e->x[1]); }
static int el_sigmoid(El *e) { return op1(e, K_sigmoid, e->x[0]); }

static int el_hard_sigmoid(El *e)
{
	int alpha = num(e, attr(e, ATTR_hard_sigmoid_alpha)), beta = num(e, attr(e, ATTR_hard_sigmoid_beta));
	return clamp01(e, op2(e, K_add, op2(e, K_mul, alpha, e->x[0]), beta));
}

static int el_hard_swish(El *e)
{
	int gate = op2(e, K_add, op2(e, K_mul, e->x[0], num(e, 1.0 / 6)), num(e, 0.5));
	return op2(e, K_mul, e->x[0], clamp01(e, gate));
}

static int el_swish(El *e)
{
	double alpha = attr(e, ATTR_swish_alpha);
	int z = alpha == 1 ? e->x[0] : op2(e, K_mul, e->x[0], num(e, alpha));
	return op2(e, K_mul, e->x[0], op1(e, K_sigmoid, z));
}

static int el_gelu(El *e)
{
	int x = e->x[0];
	const char *how = mlo_attr_s(e->n, ATTR_gelu_approximate);
	if (how && how[0] == 't') {
		int cube = op2(e, K_mul, op2(e, K_mul, x, x), x);
		int z = op2(e, K_mul, fma_(e, cube, num(e, 0.044715), x), num(e, 2 * 0.79788456080286535588));
		/* (1 + tanh(z / 2)) / 2 */
		return op2(e, K_mul, x, op1(e, K_sigmoid, z));
	}
	return op2(e, K_mul, x, op1(e, K_phi, x));
}

/* log(1 + exp(x)) without overflow: max(x, 0) + log(1 + exp(-|x|)) */
static int el_softplus(El *e)
{
	int small = op1(e, K_exp, op1(e, K_neg, op1(e, K_abs, e->x[0])));
	int log1 = op1(e, K_log, op2(e, K_add, small, num(e, 1)));
	return op2(e, K_add, op2(e, K_max, e->x[0], num(e, 0)), log1);
}

static int el_mish(El *e) { return op2(e, K_mul, e->x[0], op1(e, K_tanh, el_softplus(e))); }

/* alpha * (exp(x) - 1); the argument is kept from overflowing, the positive side is not used */
static int expm1_scaled(El *e, double alpha)
{
	int ex = op1(e, K_exp, op2(e, K_min, e->x[0], num(e, 0)));
	return op2(e, K_mul, op2(e, K_sub, ex, num(e, 1)), num(e, alpha));
}

static int el_elu(El *e)
{
	return sel(e, cmp(e, K_lt, e->x[0], num(e, 0)), expm1_scaled(e, attr(e, ATTR_elu_alpha)), e->x[0]);
}

static int el_selu(El *e)
{
	int y = sel(e, cmp(e, K_le, e->x[0], num(e, 0)), expm1_scaled(e, attr(e, ATTR_selu_alpha)), e->x[0]);
	return op2(e, K_mul, y, num(e, attr(e, ATTR_selu_gamma)));
}

static int el_softsign(El *e)
{
	return op2(e, K_div, e->x[0], op2(e, K_add, op1(e, K_abs, e->x[0]), num(e, 1)));
}

static int el_tanh(El *e) { return op1(e, K_tanh, e->x[0]); }
static int el_exp(El *e) { return op1(e, K_exp, e->x[0]); }
static int el_log(El *e) { return op1(e, K_log, e->x[0]); }
static int el_sqrt(El *e) { return op1(e, K_sqrt, e->x[0]); }
static int el_reciprocal(El *e) { return op2(e, K_div, num(e, 1), e->x[0]); }
static int el_erf(El *e) { return op1(e, K_erf, e->x[0]); }
static int el_sin(El *e) { return op1(e, K_sin, e->x[0]); }
static int el_cos(El *e) { return op1(e, K_cos, e->x[0]); }
static int el_abs(El *e) { return op1(e, K_abs, e->x[0]); }
static int el_neg(El *e) { return op1(e, K_neg, e->x[0]); }
static int el_sign(El *e) { return op1(e, K_sign, e->x[0]); }
static int el_floor(El *e) { return op1(e, K_floor, e->x[0]); }
static int el_ceil(El *e) { return op1(e, K_ceil, e->x[0]); }
static int el_round(El *e) { return op1(e, K_rint, e->x[0]); }
static int el_not(El *e) { return op1(e, K_not, e->x[0]); }
static int el_cast(El *e) { return e->in == e->t ? e->x[0] : op1(e, K_cast, e->x[0]); }

/* A bound that is known is a constant of the kernel: one instruction, where a loaded one, which may be NaN, takes
 * a load, a broadcast and four more. */
static bool known_bound(const MloNode *n, uint32_t i)
{
	return n->op == OP_clip && i > 0 && n->in[i] && n->in[i]->data && mlo_tensor_elems(n->in[i]->data) == 1;
}

static int bound(El *e, uint32_t i)
{
	if (!known_bound(e->n, i))
		return e->x[i];
	if (mlo_elem_is_float(e->t))
		return num(e, mlo_tensor_f64(e->n->in[i]->data, 0));
	return kb_const_i(e->at, e->t, mlo_tensor_i64(e->n->in[i]->data, 0));
}

static int el_clip(El *e)
{
	int v = e->x[0];
	if (e->n->nin > 1 && e->n->in[1])
		v = op2(e, K_max, v, bound(e, 1));
	if (e->n->nin > 2 && e->n->in[2])
		v = op2(e, K_min, v, bound(e, 2));
	return v;
}

static int el_add(El *e) { return op2(e, K_add, e->x[0], e->x[1]); }
static int el_sub(El *e) { return op2(e, K_sub, e->x[0], e->x[1]); }
static int el_mul(El *e) { return op2(e, K_mul, e->x[0], e->x[1]); }
static int el_div(El *e) { return op2(e, K_div, e->x[0], e->x[1]); }
static int el_max(El *e) { return op2(e, K_max, e->x[0], e->x[1]); }
static int el_min(El *e) { return op2(e, K_min, e->x[0], e->x[1]); }

static int el_pow(El *e)
{
	const MloValue *p = e->n->in[1];
	if (p->data && mlo_tensor_elems(p->data) == 1) {
		double v = mlo_tensor_f64(p->data, 0);
		if (v == 1)
			return e->x[0];
		if (v == 2)
			return op2(e, K_mul, e->x[0], e->x[0]);
		if (v == 3)
			return op2(e, K_mul, op2(e, K_mul, e->x[0], e->x[0]), e->x[0]);
		if (v == 0.5)
			return op1(e, K_sqrt, e->x[0]);
		if (v == -1)
			return op2(e, K_div, num(e, 1), e->x[0]);
	}
	int b = p->type.elem == e->t ? e->x[1] : op1(e, K_cast, e->x[1]);
	return op2(e, K_pow, e->x[0], b);
}

static int el_mod(El *e)
{
	return op2(e, mlo_attr_i(e->n, ATTR_mod_fmod) ? K_fmod : K_mod, e->x[0], e->x[1]);
}

static int el_equal(El *e) { return cmp(e, K_eq, e->x[0], e->x[1]); }
static int el_less(El *e) { return cmp(e, K_lt, e->x[0], e->x[1]); }
static int el_less_equal(El *e) { return cmp(e, K_le, e->x[0], e->x[1]); }
static int el_greater(El *e) { return cmp(e, K_lt, e->x[1], e->x[0]); }
static int el_greater_equal(El *e) { return cmp(e, K_le, e->x[1], e->x[0]); }
static int el_and(El *e) { return op2(e, K_and, e->x[0], e->x[1]); }
static int el_or(El *e) { return op2(e, K_or, e->x[0], e->x[1]); }
static int el_xor(El *e) { return op2(e, K_xor, e->x[0], e->x[1]); }
static int el_where(El *e) { return sel(e, e->x[0], e->x[1], e->x[2]); }

static int el_tan(El *e) { return op2(e, K_div, op1(e, K_sin, e->x[0]), op1(e, K_cos, e->x[0])); }
static int el_is_nan(El *e) { return op1(e, K_not, cmp(e, K_eq, e->x[0], e->x[0])); }

static int el_is_inf(El *e)
{
	bool below = mlo_attr_i(e->n, ATTR_is_inf_detect_negative);
	bool above = mlo_attr_i(e->n, ATTR_is_inf_detect_positive);
	int x = e->x[0];
	if (!below && !above)
		return kb_const_i(e->at, EL_bool, 0);
	if (below && above)
		x = kb_op(e->at, K_abs, e->in, x, -1, -1);
	return cmp(e, K_eq, x, kb_const_f(e->at, e->in, above ? INFINITY : -INFINITY));
}

static int el_shrink(El *e)
{
	int x = e->x[0], bias = num(e, attr(e, ATTR_shrink_bias)), bound = num(e, attr(e, ATTR_shrink_lambd));
	int inner = sel(e, cmp(e, K_lt, bound, x), op2(e, K_sub, x, bias), num(e, 0));
	return sel(e, cmp(e, K_lt, x, op1(e, K_neg, bound)), op2(e, K_add, x, bias), inner);
}

static int el_bit_not(El *e) { return op1(e, K_not, e->x[0]); }
static int el_bit_and(El *e) { return op2(e, K_and, e->x[0], e->x[1]); }
static int el_bit_or(El *e) { return op2(e, K_or, e->x[0], e->x[1]); }
static int el_bit_xor(El *e) { return op2(e, K_xor, e->x[0], e->x[1]); }

typedef struct ElRow {
	int (*fn)(El *e);
	int types;
} ElRow;

#define PICK_ELTWISE(id) {el_##id, ty_##id}
#define PICK_CONTRACT(id) {0}
#define PICK_REDUCE(id) {0}
#define PICK_POOL(id) {0}
#define PICK_ROWWISE(id) {0}
#define PICK_MOVE(id) {0}
#define PICK_SHAPE(id) {0}
#define PICK_OTHER(id) {0}
static const ElRow rows[OP_COUNT] = {
#define OP(id, lo, hi, olo, ohi, kind, ...) [OP_##id] = PICK_##kind(id),
#define ATTR(...)
#include "ir/ops.def"
};

static bool fits(MloElem e, int types)
{
	if (!lw_elem_ok(e))
		return false;
	if (e == EL_bool)
		return types & T_BOOL;
	return types & (mlo_elem_is_float(e) ? T_F : T_INT);
}

bool mlo_can_lower_eltwise(const MloNode *n)
{
	const ElRow *r = &rows[n->op];
	if (!r->fn || !n->out[0] || !fits(n->in[0]->type.elem, r->types) || !lw_elem_ok(n->out[0]->type.elem))
		return false;
	for (uint32_t i = 1; i < n->nin; i++)
		if (n->in[i] && !lw_elem_ok(n->in[i]->type.elem))
			return false;
	if (n->op == OP_mod && mlo_elem_is_float(n->in[0]->type.elem) && !mlo_attr_i(n, ATTR_mod_fmod))
		return false;
	return true;
}

bool mlo_eltwise_reads(const MloNode *n, uint32_t i)
{
	return n->in[i] && !known_bound(n, i);
}

int mlo_lower_eltwise(KCursor *at, const MloNode *n, const int *operand)
{
	if (!mlo_can_lower_eltwise(n))
		return -1;
	El e = {.at = at, .n = n, .x = operand, .t = n->out[0]->type.elem, .in = n->in[0]->type.elem};
	return rows[n->op].fn(&e);
}
