/* codegen/lower_recur.c -- recurrent operators whose input products are known: the steps of one sequence.
 *
 * A task is one direction of one sequence of the batch.  Per step, a vec loop over the hidden units sums h @ r' for
 * all gates of a vector of units at a time, in several chains so that the multiply-adds do not wait
 * for each other, and computes gates and new states from the sums while they are in registers.  The
 * weights are packed in the order in which they are read,
 *   [direction][units / lanes][hidden, padded][gates][lanes],
 * each read once per step; every other step reads them from the end, so that what is still in the
 * first-level cache is used again.  The states live in scratch memory: the new one is kept apart until all
 * units have read the old one.  Appleyard, Kocisky, Blunsom, "Optimizing performance of recurrent
 * neural networks" (2016), hoist and combine products in the same way. */
#include <string.h>

#include "codegen/lower_recur.h"

enum { CHAINS = 4 };

/* -- what can be lowered ------------------------------------------------------------------------ */

static const struct { const char *name; Act act; double alpha, beta; } acts[] = {
	{"Relu", ACT_RELU, 0, 0}, {"Tanh", ACT_TANH, 0, 0}, {"Sigmoid", ACT_SIGMOID, 0, 0},
	{"Affine", ACT_AFFINE, 1, 0}, {"LeakyRelu", ACT_LEAKY, 0.01, 0},
	{"ScaledTanh", ACT_SCALED_TANH, 1, 1}, {"HardSigmoid", ACT_HARD, 0.2, 0.5},
};

static int slot(const MloNode *n, const char *name) { return mlo_attr_slot(n->op, name, strlen(name)); }

static bool is_lstm(const MloNode *n) { return n->op == OP_lstm || n->op == OP_lstm_integer; }

static bool named(const char *s, size_t n, const char *name) { return strlen(name) == n && !memcmp(s, name, n); }

static bool read_funcs(Recur *r)
{
	static const char *const usual[] = {"Sigmoid,Tanh,Tanh", "Sigmoid,Tanh", "Tanh"};
	const char *first = is_lstm(r->n) ? usual[0] : r->n->op == OP_gru ? usual[1] : usual[2];
	const char *s = mlo_attr_s(r->n, slot(r->n, "activations"));
	int na, nb;
	const double *alpha = mlo_attr_floats(r->n, slot(r->n, "activation_alpha"), &na);
	const double *beta = mlo_attr_floats(r->n, slot(r->n, "activation_beta"), &nb);
	bool given = *s != 0;

	r->nfuncs = is_lstm(r->n) ? 3 : r->n->op == OP_gru ? 2 : 1;
	for (int i = 0; i < r->dirs * r->nfuncs; i++) {
		Func *f = &r->func[i];
		size_t len;

		if (!given && i % r->nfuncs == 0)
			s = first;
		len = strcspn(s, ",");
		f->act = ACT_NONE;
		for (size_t k = 0; k < sizeof acts / sizeof *acts; k++)
			if (named(s, len, acts[k].name))
				*f = (Func){acts[k].act, acts[k].alpha, acts[k].beta};
		if (f->act == ACT_NONE)
			return false;
		f->alpha = i < na ? alpha[i] : f->alpha;
		f->beta = i < nb ? beta[i] : f->beta;
		s += len + (s[len] == ',');
	}
	return true;
}

static MloValue *operand(const MloNode *n, uint32_t i) { return i < n->nin ? n->in[i] : NULL; }

/* Are the open sizes of operands and results those of the input? */
static bool fits(const Recur *r)
{
	const MloNode *n = r->n;

	for (uint32_t i = 5; i < n->nin && i < 7; i++)
		if (n->in[i] && !mlo_dim_same(n->in[i]->type.dim[1], r->batch))
			return false;
	for (uint32_t i = 0; i < n->nout; i++)
		if (!mlo_dim_same(n->out[i]->type.dim[i == 0 ? 2 : 1], r->batch))
			return false;
	return mlo_dim_same(n->out[0]->type.dim[0], r->steps);
}

static bool can_lower(Recur *r)
{
	const MloNode *n = r->n;
	const MloValue *w = operand(n, 2), *b = operand(n, 3);

	if (n->op != OP_rnn && n->op != OP_gru && !is_lstm(n))
		return false;
	if (operand(n, 1) || operand(n, 4) || !w || !w->data || (b && !b->data))
		return false;
	for (uint32_t i = 0; i < n->nin + n->nout; i++) {
		const MloValue *v = i < n->nin ? n->in[i] : n->out[i - n->nin];

		if (v && (v->layout.block || !mlo_type_filled(&v->type)))
			return false;
		if (v && v->type.elem != EL_f32 && !(n->op == OP_lstm_integer && (i == 2 || i == 9 || i == 11)))
			return false;
		if (!v && i >= n->nin)
			return false;
	}
	r->steps = n->in[0]->type.dim[0];
	r->batch = n->in[0]->type.dim[1];
	r->dirs = (int)w->type.dim[0].k;
	r->hidden = n->out[0]->type.dim[3].k;
	r->gates = is_lstm(n) ? 4 : n->op == OP_gru ? 3 : 1;
	r->in8.on = n->op == OP_lstm_integer;
	r->lanes = r->cx->target->vector_bytes / 4;
	r->padded = (r->hidden + CHAINS - 1) / CHAINS * CHAINS;
	r->clip = mlo_attr_f(n, slot(n, "clip"));
	return fits(r) && read_funcs(r) && (!r->in8.on || recur_int_fits(r));
}

/* -- arguments ------------------------------------------------------------------------------------ */

int recur_bind(Recur *r, KArgDir dir, MloValue *v, const MloTensor *packed, MloElem elem, MloDim count)
{
	if (dir == KA_IN && !v && !packed)
		return -1;
	for (size_t i = 0; v && i < r->bind.n; i++)
		if (r->bind.items[i].value == v)
			return (int)i;
	MLO_PUSH(r->cx->arena, &r->bind, ((MloBinding){v, packed}));
	return mlo_kernel_arg_dim(r->k, dir, elem, count);
}

int recur_scratch(Recur *r, MloElem elem, int64_t count)
{
	return recur_bind(r, KA_SCRATCH, NULL, NULL, elem, mlo_dim(count));
}

static int bind_value(Recur *r, KArgDir dir, MloValue *v)
{
	return recur_bind(r, dir, v, NULL, EL_f32, v ? mlo_type_count(r->k->syms, &v->type) : mlo_dim(0));
}

static int scratch(Recur *r) { return recur_scratch(r, EL_f32, r->padded); }

/* Weights of the product's gates in the order of reading. */
static void pack(Recur *r, Product *p)
{
	const MloTensor *w = r->n->in[2]->data;
	int64_t blocks = (r->hidden + r->lanes - 1) / r->lanes;
	int64_t count = r->dirs * blocks * r->padded * p->gates * r->lanes;
	MloTensor *t = mlo_tensor_new(r->cx->arena, EL_f32, 1, &count);
	char *to = (char *)(uintptr_t)t->data;

	for (int64_t d = 0; d < r->dirs; d++)
		for (int64_t j = 0; j < r->hidden; j++)
			for (int g = 0; g < p->gates; g++)
				for (int64_t k = 0; k < r->hidden; k++) {
					int64_t row = (d * r->gates + p->gate[g]) * r->hidden + j;
					int64_t at = (d * blocks + j / r->lanes) * r->padded + k;

					at = (at * p->gates + g) * r->lanes + j % r->lanes;
					memcpy(to + at * 4, (const char *)w->data + (row * r->hidden + k) * 4, 4);
				}
	p->weights = recur_bind(r, KA_IN, NULL, t, EL_f32, mlo_dim(count));
}

/* -- expressions ---------------------------------------------------------------------------------- */

static int op2(KCursor *at, KOp op, int a, int b) { return kb_op(at, op, EL_f32, a, b, -1); }
static int op1(KCursor *at, KOp op, int a) { return kb_op(at, op, EL_f32, a, -1, -1); }
static int number(KCursor *at, double v) { return kb_const_f(at, EL_f32, v); }

static int affine(KCursor *at, int v, double a, double b)
{
	return kb_op(at, K_fma, EL_f32, v, number(at, a), number(at, b));
}

static int bounded(KCursor *at, int v, double lo, double hi)
{
	return op2(at, K_min, op2(at, K_max, v, number(at, lo)), number(at, hi));
}

/* Activation `f` of the direction at hand. */
static int act(Recur *r, KCursor *at, int f, int v)
{
	const Func *fn = &r->func[r->dir * r->nfuncs + f];

	if (r->clip > 0)
		v = bounded(at, v, -r->clip, r->clip);
	switch (fn->act) {
	case ACT_RELU: return op2(at, K_max, v, number(at, 0));
	case ACT_TANH: return op1(at, K_tanh, v);
	case ACT_SIGMOID: return op1(at, K_sigmoid, v);
	case ACT_AFFINE: return affine(at, v, fn->alpha, fn->beta);
	case ACT_LEAKY:
		return kb_op(at, K_select, EL_f32, kb_op(at, K_lt, EL_bool, v, number(at, 0), -1),
		             op2(at, K_mul, v, number(at, fn->alpha)), v);
	case ACT_SCALED_TANH:
		v = op1(at, K_tanh, op2(at, K_mul, v, number(at, fn->beta)));
		return op2(at, K_mul, v, number(at, fn->alpha));
	case ACT_HARD: return bounded(at, affine(at, v, fn->alpha, fn->beta), 0, 1);
	case ACT_NONE: break;
	}
	MLO_BUG("activation %d was not read", (int)fn->act);
}

static const KIdx *plus(Recur *r, const KIdx *a, int64_t k) { return kx_add(r->k, a, kx_const(r->k, k)); }

/* Row of `hidden` numbers of the sequence at hand: in a state [dirs, batch, hidden]. */
static const KIdx *state_row(Recur *r, const KIdx *j)
{
	const KIdx *row = kx_dim(r->k, mlo_dim_mul(r->k->syms, r->batch, mlo_dim(r->dir)));

	return kx_add(r->k, kx_mul(r->k, kx_add(r->k, r->b, row), r->hidden), j);
}

/* The step's time: the backward direction starts at the end. */
static const KIdx *time_of(Recur *r, const KIdx *t)
{
	bool back = r->dir == 1 || !strcmp(mlo_attr_s(r->n, slot(r->n, "direction")), "reverse");

	return back ? kx_add(r->k, kx_dim(r->k, r->steps), plus(r, kx_mul(r->k, t, -1), -1)) : t;
}

/* The products of all gates for the unit at hand: sum[g] = h @ r' for each gate of p.  Chain 0 starts
 * from start[g] (a value, or -1 for 0). */
static void products(Recur *r, KCursor *at, const Product *p, const int *start, int *sum)
{
	int chains = p->gates == 1 ? 4 : 2, acc[RECUR_MAX_GATES][CHAINS], var, zero = number(at, 0);
	int64_t tile = p->gates * r->lanes, block = r->padded * tile;
	int64_t blocks = (r->hidden + r->lanes - 1) / r->lanes;
	MloKernel *k = r->k;
	const KIdx *base = kx_add(k, kx_mul(k, r->block, block), r->lane);
	KCursor in;

	for (int g = 0; g < p->gates; g++)
		for (int u = 0; u < chains; u++)
			acc[g][u] = kb_acc_init(at, u == 0 && start[g] >= 0 ? start[g] : zero);
	in = kb_loop(at, KL_SEQ, kx_const(k, r->padded / chains), &var);
	for (int u = 0; u < chains; u++) {
		const KIdx *i = plus(r, kx_mul(k, kx_var(k, var), chains), u);
		int h = kb_load(&in, p->state, i, NULL, 0);

		for (int g = 0; g < p->gates; g++) {
			const KIdx *w = kx_add(k, plus(r, base, r->dir * blocks * block + g * r->lanes), kx_mul(k, i, tile));

			kb_acc(&in, acc[g][u], K_add, op2(&in, K_mul, kb_load(&in, p->weights, w, NULL, 0), h));
		}
	}
	for (int g = 0; g < p->gates; g++) {
		sum[g] = kb_accum(at, acc[g][0], EL_f32);
		for (int u = 1; u < chains; u++)
			sum[g] = op2(at, K_add, sum[g], kb_accum(at, acc[g][u], EL_f32));
	}
}

/* The input's share of a gate. */
static int input(Recur *r, KCursor *at, int gate, const KIdx *t, const KIdx *j)
{
	int64_t row = r->dirs * r->gates * r->hidden;
	const KIdx *i = kx_add(r->k, kx_mul_dim(r->k, t, r->batch), r->b);

	i = plus(r, kx_mul(r->k, i, row), (r->dir * r->gates + gate) * r->hidden);
	return kb_load(at, r->x, kx_add(r->k, i, j), NULL, 0);
}

/* v + the recurrent half of the bias. */
static int biased(Recur *r, KCursor *at, int gate, const KIdx *j, int v)
{
	int64_t row = ((2 * r->dir + 1) * r->gates + gate) * r->hidden;

	return r->bias < 0 ? v : op2(at, K_add, v, kb_load(at, r->bias, plus(r, j, row), NULL, 0));
}

static int peephole(Recur *r, KCursor *at, int which, const KIdx *j, int cell, int v)
{
	int64_t row = (3 * r->dir + which) * r->hidden;

	return r->p < 0 ? v : kb_op(at, K_fma, EL_f32, kb_load(at, r->p, plus(r, j, row), NULL, 0), cell, v);
}

/* -- cells: from the sums to the new state of unit j ---------------------------------------------- */

static KCursor units(Recur *r, KCursor *at, const KIdx **j)
{
	int var;
	KCursor in = kb_loop(at, KL_VEC, kx_const(r->k, r->hidden), &var);

	*j = kx_var(r->k, var);
	r->block = kx_div(r->k, *j, r->lanes);
	r->lane = kx_mod(r->k, *j, r->lanes);
	if (r->reversed) {
		r->block = plus(r, kx_mul(r->k, r->block, -1), r->hidden / r->lanes - 1);
		*j = kx_add(r->k, kx_mul(r->k, r->block, r->lanes), r->lane);
	}
	return in;
}

static void keep_state(Recur *r, KCursor *at, const KIdx *t, const KIdx *j, int v)
{
	MloDim step = mlo_dim_mul(r->k->syms, r->batch, mlo_dim(r->dirs * r->hidden));
	const KIdx *row = kx_add(r->k, kx_mul_dim(r->k, t, step), state_row(r, j));

	kb_store(at, r->next, j, NULL, v);
	kb_store(at, r->out[0], row, NULL, v);
}

/* One product of all gates in `p`, with input and bias. */
static void gates(Recur *r, KCursor *at, const Product *p, const KIdx *t, const KIdx *j, int *sum)
{
	int start[RECUR_MAX_GATES];

	for (int g = 0; g < p->gates; g++)
		start[g] = biased(r, at, p->gate[g], j, input(r, at, p->gate[g], t, j));
	if (!r->in8.on)
		products(r, at, p, start, sum);
	for (int g = 0; r->in8.on && g < p->gates; g++)
		sum[g] = recur_int_sum(r, at, g, j, start[g]);
}

static void rnn_step(Recur *r, KCursor *at, const Product *p, const KIdx *t)
{
	int sum[RECUR_MAX_GATES];
	const KIdx *j;
	KCursor in = units(r, at, &j);

	gates(r, &in, p, t, j, sum);
	keep_state(r, &in, t, j, act(r, &in, 0, sum[0]));
}

enum { LSTM_I, LSTM_O, LSTM_F, LSTM_C };

static void lstm_step(Recur *r, KCursor *at, const Product *p, const KIdx *t)
{
	int sum[RECUR_MAX_GATES], old, i, f, c, o;
	const KIdx *j;
	KCursor in = units(r, at, &j);

	gates(r, &in, p, t, j, sum);
	old = kb_load(&in, r->c, j, NULL, 0);
	i = act(r, &in, 0, peephole(r, &in, 0, j, old, sum[LSTM_I]));
	if (mlo_attr_i(r->n, slot(r->n, "input_forget")))
		f = op2(&in, K_sub, number(&in, 1), i);
	else
		f = act(r, &in, 0, peephole(r, &in, 2, j, old, sum[LSTM_F]));
	c = op2(&in, K_mul, i, act(r, &in, 1, sum[LSTM_C]));
	c = kb_op(&in, K_fma, EL_f32, f, old, c);
	o = act(r, &in, 0, peephole(r, &in, 1, j, c, sum[LSTM_O]));
	kb_store(&in, r->c, j, NULL, c);
	keep_state(r, &in, t, j, op2(&in, K_mul, o, act(r, &in, 2, c)));
}

enum { GRU_Z, GRU_R, GRU_H };

/* (1 - z) * new + z * old */
static int gru_mix(Recur *r, KCursor *at, const KIdx *j, int z, int fresh)
{
	int old = kb_load(at, r->h, j, NULL, 0);

	return kb_op(at, K_fma, EL_f32, z, op2(at, K_sub, old, fresh), fresh);
}

static void gru_step_after(Recur *r, KCursor *at, const Product *p, const KIdx *t)
{
	int sum[RECUR_MAX_GATES], start[RECUR_MAX_GATES] = {-1, -1, -1}, z, reset, fresh;
	const KIdx *j;
	KCursor in = units(r, at, &j);

	for (int g = 0; g < 2; g++)
		start[g] = biased(r, &in, g, j, input(r, &in, g, t, j));
	if (r->bias >= 0)
		start[GRU_H] = biased(r, &in, GRU_H, j, number(&in, 0));
	products(r, &in, p, start, sum);
	z = act(r, &in, 0, sum[GRU_Z]);
	reset = act(r, &in, 0, sum[GRU_R]);
	fresh = kb_op(&in, K_fma, EL_f32, reset, sum[GRU_H], input(r, &in, GRU_H, t, j));
	keep_state(r, &in, t, j, gru_mix(r, &in, j, z, act(r, &in, 1, fresh)));
}

/* p[0]: the gates, from h; p[1]: the new state, from reset * h, which stands in `next`. */
static void gru_step_before(Recur *r, KCursor *at, const Product *p, const KIdx *t)
{
	int sum[RECUR_MAX_GATES], v;
	const KIdx *j;
	KCursor in = units(r, at, &j);

	gates(r, &in, &p[0], t, j, sum);
	kb_store(&in, r->z, j, NULL, act(r, &in, 0, sum[GRU_Z]));
	v = op2(&in, K_mul, act(r, &in, 0, sum[GRU_R]), kb_load(&in, r->h, j, NULL, 0));
	kb_store(&in, r->c, j, NULL, v);
	in = units(r, at, &j);
	gates(r, &in, &p[1], t, j, sum);
	v = gru_mix(r, &in, j, kb_load(&in, r->z, j, NULL, 0), act(r, &in, 1, sum[0]));
	keep_state(r, &in, t, j, v);
}

/* -- the kernel ------------------------------------------------------------------------------------- */

/* to[0..hidden) = from, or zeros. */
static void load_state(Recur *r, KCursor *at, int to, int from)
{
	const KIdx *j;
	KCursor in = units(r, at, &j);

	kb_store(&in, to, j, NULL, from < 0 ? number(&in, 0) : kb_load(&in, from, state_row(r, j), NULL, 0));
}

static void zero_padding(Recur *r, KCursor *at, int to)
{
	for (int64_t i = r->hidden; i < r->padded; i++)
		kb_store(at, to, kx_const(r->k, i), NULL, number(at, 0));
}

static void store_state(Recur *r, KCursor *at, int from, int to)
{
	const KIdx *j;
	KCursor in = units(r, at, &j);

	kb_store(&in, to, state_row(r, j), NULL, kb_load(&in, from, j, NULL, 0));
}

static void take_next(Recur *r, KCursor *at)
{
	const KIdx *j;
	KCursor in = units(r, at, &j);

	kb_store(&in, r->h, j, NULL, kb_load(&in, r->next, j, NULL, 0));
}

static void step(Recur *r, KCursor *at, const Product *p, const KIdx *t)
{
	if (r->in8.on)
		recur_int_step(r, at);
	if (r->n->op == OP_rnn)
		rnn_step(r, at, p, t);
	else if (is_lstm(r->n))
		lstm_step(r, at, p, t);
	else if (p[1].gates)
		gru_step_before(r, at, p, t);
	else
		gru_step_after(r, at, p, t);
	take_next(r, at);
}

/* Whether steps go through the weights forth and back: they are more than the first-level cache
 * holds, and the last block is a whole one. */
static bool turns(const Recur *r, const Product *p)
{
	int64_t bytes = p->gates * r->hidden * r->hidden * 4;

	return !r->in8.on && !p[1].gates && !mlo_dim_le(r->steps, mlo_dim(1)) && r->hidden % r->lanes == 0 &&
	       bytes > r->cx->target->l1d / 2;
}

static void direction(Recur *r, KCursor *at, const Product *p)
{
	KCursor in;
	int var;

	load_state(r, at, r->h, r->h0);
	zero_padding(r, at, r->h);
	if (is_lstm(r->n))
		load_state(r, at, r->c, r->c0);
	else if (r->c >= 0)
		zero_padding(r, at, r->c);
	if (turns(r, p)) {
		MloDim pairs = mlo_dim_div(r->k->syms, r->steps, mlo_dim(2)), twice = mlo_dim_mul(r->k->syms, pairs, mlo_dim(2));
		MloDim rest = mlo_dim_sub(r->k->syms, r->steps, twice);

		in = kb_loop(at, KL_SEQ, kx_dim(r->k, pairs), &var);
		for (int odd = 0; odd < 2; odd++) {
			r->reversed = odd;
			step(r, &in, p, time_of(r, plus(r, kx_mul(r->k, kx_var(r->k, var), 2), odd)));
		}
		r->reversed = false;
		if (!mlo_dim_known(rest) || rest.k) {
			in = kb_loop(at, KL_SEQ, kx_dim(r->k, rest), &var);
			step(r, &in, p, time_of(r, kx_add(r->k, kx_dim(r->k, twice), kx_var(r->k, var))));
		}
	} else {
		in = kb_loop(at, KL_SEQ, kx_dim(r->k, r->steps), &var);
		step(r, &in, p, time_of(r, kx_var(r->k, var)));
	}
	store_state(r, at, r->h, r->out[1]);
	if (is_lstm(r->n))
		store_state(r, at, r->c, r->out[2]);
}

static void arguments(Recur *r, Product *p)
{
	MloNode *n = (MloNode *)(uintptr_t)r->n;
	bool two = n->op == OP_gru && !mlo_attr_i(n, ATTR_gru_linear_before_reset);

	r->x = bind_value(r, KA_IN, n->in[0]);
	r->bias = bind_value(r, KA_IN, operand(n, 3));
	r->h0 = bind_value(r, KA_IN, operand(n, 5));
	r->c0 = bind_value(r, KA_IN, operand(n, 6));
	r->p = bind_value(r, KA_IN, operand(n, 7));
	r->h = scratch(r);
	r->next = scratch(r);
	r->c = is_lstm(n) || two ? scratch(r) : -1;
	r->z = two ? scratch(r) : -1;
	p[0] = (Product){.gates = two ? 2 : r->gates, .gate = {0, 1, 2, 3}, .state = r->h};
	p[1] = (Product){.gates = two, .gate = {GRU_H}, .state = r->c};
	if (r->in8.on)
		recur_int_arguments(r);
	else
		pack(r, &p[0]);
	if (two)
		pack(r, &p[1]);
	for (uint32_t i = 0; i < n->nout; i++)
		r->out[i] = bind_value(r, KA_OUT, n->out[i]);
}

/* What only the tasks of the direction at hand do, as a loop of one round or none: `dir` is the task's. */
static KCursor only_direction(Recur *r, KCursor *at, const KIdx *dir)
{
	int var;

	if (r->dirs == 1)
		return *at;
	return kb_loop(at, KL_SEQ, r->dir ? dir : plus(r, kx_mul(r->k, dir, -1), 1), &var);
}

MloStatus mlo_lower_recurrent(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out)
{
	Recur r = {.cx = cx, .n = first};
	Product p[2];
	KCursor top, at, in;
	int dir, var;

	if (first != last || !can_lower(&r))
		return MLO_ERR_UNSUPPORTED;
	r.k = mlo_kernel_new(cx->arena, mlo_op_info(first->op)->name);
	r.k->syms = cx->graph->syms;
	arguments(&r, p);
	top = kb_top(r.k);
	at = kb_loop(&top, KL_PAR, kx_const(r.k, r.dirs), &dir);
	in = kb_loop(&at, KL_PAR, kx_dim(r.k, r.batch), &var);
	r.b = kx_var(r.k, var);
	for (r.dir = 0; r.dir < r.dirs; r.dir++) {
		at = only_direction(&r, &in, kx_var(r.k, dir));
		direction(&r, &at, p);
	}
	r.k->flops = 2.0 * (double)mlo_kernel_guess_dim(r.k->syms, r.steps) * (double)mlo_kernel_guess_dim(r.k->syms, r.batch) *
	             (double)(r.dirs * r.gates) * (double)r.hidden * (double)r.hidden;
	kb_finish(r.k);
	if (r.k->sizes_arg >= 0)
		MLO_PUSH(cx->arena, &r.bind, (MloBinding){0});
	*out = (MloLowered){.kernel = r.k, .bind = r.bind.items};
	return MLO_OK;
}
