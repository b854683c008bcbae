/* codegen/lower_recur_int.c -- products of a recurrent operator with its state in integers (lstm_integer).
 *
 * Before each step the state becomes bytes by its own range, as ir/ref/ref_dynamic.h has it; one contraction makes
 * the sums of all gates from them, in scratch memory, and the loop over the hidden units scales these.  A fourth of
 * the weights' bytes is read in each step, four products at once. */
#include "codegen/contract_lower.h"
#include "codegen/lower_recur.h"

enum { R_SCALE = 10, R_ZERO };

static int op2(KCursor *at, KOp op, int a, int b) { return kb_op(at, op, EL_f32, a, b, -1); }

static const MloTensor *constant(const Recur *r, uint32_t i)
{
	return i < r->n->nin && r->n->in[i] ? r->n->in[i]->data : NULL;
}

/* The part of t[directions, ...] that belongs to direction `dir`. */
static const MloTensor *part(const Recur *r, const MloTensor *t, int dir)
{
	MloTensor *p;

	if (!t)
		return NULL;
	p = mlo_dup(r->cx->arena, t, sizeof *t);
	p->dim[0] = 1;
	p->nbytes = t->nbytes / (size_t)r->dirs;
	p->data = (char *)(uintptr_t)t->data + p->nbytes * (size_t)dir;
	return p;
}

static ContractWeights weights(const Recur *r, int dir)
{
	return (ContractWeights){.kind = CW_MATRIX,
	                         .w = part(r, constant(r, 2), dir),
	                         .zero = part(r, constant(r, R_ZERO), dir),
	                         .stride_k = r->gates * r->hidden,
	                         .stride_c = 1};
}

bool recur_int_fits(const Recur *r)
{
	bool ok = constant(r, R_SCALE) && (constant(r, R_ZERO) || r->n->nin <= R_ZERO || !r->n->in[R_ZERO]);

	for (int dir = 0; ok && dir < r->dirs; dir++) {
		ContractWeights w = weights(r, dir);

		ok = contract_weights_fit(&w, r->gates * r->hidden, true);
	}
	return ok;
}

static KContract product(Recur *r)
{
	const int64_t n = r->gates * r->hidden;
	KContract c = {.nb0 = 1, .nb1 = 1, .ny = 1, .nx = 1, .nc = n, .nk = r->hidden, .nky = 1, .nkx = 1, .sy = 1, .sx = 1,
	               .dy = 1, .dx = 1, .in_y = 1, .in_x = 1, .group_c = n, .dot = 4,
	               .a = {.elem = EL_u8, .block = r->hidden, .k = 1}, .b = {.elem = EL_i8, .packed = true},
	               .zero.given = true, .a_arg = r->in8.state};

	c.zero.z_arg = r->in8.zero;
	contract_choose_part(r->cx->target, &c);
	contract_choose_sign(r->cx->target, &c);
	mlo_schedule_contract(r->cx->target, r->k, 1, &c);
	c.y_chunk = c.cols;
	c.c_outer = true;
	contract_choose_sign(r->cx->target, &c);
	return c;
}

static int packed(Recur *r, const MloTensor *t)
{
	return recur_bind(r, KA_IN, NULL, t, t->elem, mlo_dim(mlo_tensor_elems(t)));
}

/* One scale for each column of each direction. */
static const MloTensor *scales(Recur *r)
{
	const MloTensor *s = constant(r, R_SCALE);
	int64_t columns = r->gates * r->hidden, n = r->dirs * columns;
	MloTensor *t = mlo_tensor_new(r->cx->arena, EL_f32, 1, &n);

	for (int64_t i = 0; i < n; i++)
		mlo_tensor_set_f64(t, i, mlo_tensor_f64(s, s->rank == 2 ? i : i / columns));
	return t;
}

void recur_int_arguments(Recur *r)
{
	r->in8.state = recur_scratch(r, EL_u8, (r->hidden + 3) / 4 * 4);
	r->in8.zero = recur_scratch(r, EL_u8, 1);
	r->in8.sum = recur_scratch(r, EL_i32, r->gates * r->hidden);
	r->in8.scale = packed(r, scales(r));
	r->in8.product = product(r);
	for (int dir = 0; dir < r->dirs; dir++) {
		ContractWeights w = weights(r, dir);

		r->in8.weights[dir] = packed(r, contract_pack(r->cx->arena, &r->in8.product, &w));
		r->in8.sums[dir] = packed(r, contract_pack_sums(r->cx->arena, &r->in8.product, &w));
	}
}

/* -- the state as bytes ------------------------------------------------------------------------------ */

static KCursor each_unit(Recur *r, KCursor *at, const KIdx **j)
{
	int var;
	KCursor in = kb_loop(at, KL_VEC, kx_const(r->k, r->hidden), &var);

	*j = kx_var(r->k, var);
	return in;
}

/* Least and largest number of the state, and 0. */
static void range(Recur *r, KCursor *at, int *lo, int *hi)
{
	int zero = kb_const_f(at, EL_f32, 0), acc_lo = kb_acc_init(at, zero), acc_hi = kb_acc_init(at, zero), h;
	const KIdx *j;
	KCursor in = each_unit(r, at, &j);

	h = kb_load(&in, r->h, j, NULL, 0);
	kb_acc(&in, acc_lo, K_min, h);
	kb_acc(&in, acc_hi, K_max, h);
	*lo = kb_accum(at, acc_lo, EL_f32);
	*hi = kb_accum(at, acc_hi, EL_f32);
}

static int in_byte(KCursor *at, int v)
{
	return op2(at, K_min, op2(at, K_max, v, kb_const_f(at, EL_f32, 0)), kb_const_f(at, EL_f32, 255));
}

static int rounded_quotient(KCursor *at, int a, int b)
{
	return kb_op(at, K_rint, EL_f32, op2(at, K_div, a, b), -1, -1);
}

static int byte(KCursor *at, int v) { return kb_op(at, K_cast, EL_u8, v, -1, -1); }

static void quantise(Recur *r, KCursor *at)
{
	int lo, hi, by, zero, v;
	const KIdx *j;
	KCursor in;

	range(r, at, &lo, &hi);
	r->in8.factor = op2(at, K_div, op2(at, K_sub, hi, lo), kb_const_f(at, EL_f32, 255));
	by = kb_op(at, K_lt, EL_bool, kb_const_f(at, EL_f32, 0), r->in8.factor, -1);
	by = kb_op(at, K_select, EL_f32, by, r->in8.factor, kb_const_f(at, EL_f32, 1)); /* a state of zeros */
	zero = in_byte(at, rounded_quotient(at, kb_op(at, K_neg, EL_f32, lo, -1, -1), by));
	kb_store(at, r->in8.zero, kx_const(r->k, 0), NULL, byte(at, zero));
	in = each_unit(r, at, &j);
	v = rounded_quotient(&in, kb_load(&in, r->h, j, NULL, 0), by);
	kb_store(&in, r->in8.state, j, NULL, byte(&in, op2(&in, K_add, v, zero)));
}

/* -- products ------------------------------------------------------------------------------------------ */

void recur_int_step(Recur *r, KCursor *at)
{
	KContract c = r->in8.product;
	KCursor in;

	quantise(r, at);
	c.b_arg = r->in8.weights[r->dir];
	c.zero.s_arg = r->in8.sums[r->dir];
	for (int i = 0; i < 5; i++)
		c.var[i] = mlo_kernel_var(r->k, i == 4 ? c.nc : 1);
	in = kb_contract(at, &c);
	kb_store(&in, r->in8.sum, kx_var(r->k, c.var[4]), NULL, kb_op(&in, K_product, EL_i32, -1, -1, -1));
}

int recur_int_sum(Recur *r, KCursor *at, int g, const KIdx *j, int start)
{
	const KIdx *i = kx_add(r->k, j, kx_const(r->k, g * r->hidden));
	const KIdx *of_dir = kx_add(r->k, i, kx_const(r->k, (int64_t)r->dir * r->gates * r->hidden));
	int scale = op2(at, K_mul, r->in8.factor, kb_load(at, r->in8.scale, of_dir, NULL, 0));
	int sum = kb_op(at, K_cast, EL_f32, kb_load(at, r->in8.sum, i, NULL, 0), -1, -1);

	return op2(at, K_add, start, op2(at, K_mul, sum, scale));
}
