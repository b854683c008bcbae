/* codegen/lower_contract.c -- a contraction and the elementwise nodes behind it, as one kernel.
 *
 * The group is [movement of operands...] anchor [elementwise, reshape, transpose...].  The operands'
 * movement becomes strides (contract_describe.c), everything behind the anchor is evaluated on the
 * accumulators: each value of the group has an index, a list of expressions in the contraction's
 * variables, and is computed from the product or loaded. */
#include <string.h>

#include "codegen/contract_lower.h"
#include "codegen/winograd.h"

typedef struct Item {
	const MloValue *v;
	int number;                         /* SSA value */
	const KIdx *index[MLO_MAX_RANK];    /* logical index of v at which it was computed */
	const struct KGuard *guard;
} Item;

typedef struct Lower {
	MloLowerCx *cx;
	MloNode *first, *last, *anchor;
	ContractPlan plan;
	MloKernel *k;
	KCursor at;                         /* in the epilogue */
	const KIdx *var[5];
	const KGuard *guard;                /* of padded channels (transposed convolution) */
	struct { Item *items; size_t n, cap; } done;
	struct { MloBinding *items; size_t n, cap; } bind;
} Lower;

static int bind_arg(Lower *l, KArgDir dir, MloValue *v, const MloTensor *packed)
{
	MloBinding b = {v, packed};
	MloElem elem = v ? mlo_value_elem(v) : packed->elem;

	for (size_t i = 0; i < l->bind.n; i++) {
		KArg *arg = &l->k->arg.items[i];

		if (l->bind.items[i].value == v && l->bind.items[i].packed == packed && arg->dir == dir)
			return (int)i;
	}
	MLO_PUSH(l->cx->arena, &l->bind, b);
	return mlo_kernel_arg_dim(l->k, dir, elem, v ? mlo_value_count(l->k->syms, v) : mlo_dim(mlo_tensor_elems(packed)));
}

static int scratch_arg(Lower *l, int64_t count)
{
	MLO_PUSH(l->cx->arena, &l->bind, (MloBinding){0});
	return mlo_kernel_arg(l->k, KA_SCRATCH, EL_f32, count);
}

/* Indices of the value's dimensions out of a flat number, last dimension fastest. */
static void unflatten(Lower *l, const KIdx *flat, const MloType *t, int from, int to, const KIdx **out)
{
	MloDim stride = mlo_dim(1);

	for (int d = to - 1; d >= from; d--) {
		out[d] = kx_div_dim(l->k, flat, stride);
		if (d > from)
			out[d] = kx_mod_dim(l->k, out[d], t->dim[d]);
		stride = mlo_dim_mul(l->k->syms, stride, t->dim[d]);
	}
}

static const KIdx *flatten(Lower *l, const KIdx *const *index, const MloType *t)
{
	const KIdx *flat = kx_const(l->k, 0);

	for (int d = 0; d < t->rank; d++)
		flat = kx_add(l->k, kx_mul_dim(l->k, flat, t->dim[d]), index[d]);
	return flat;
}

/* The logical index of the anchor's result in terms of the variables. */
static void image_index(Lower *l, const MloType *t, const KIdx **out)
{
	const ContractPlan *p = &l->plan;
	MloKernel *k = l->k;
	const KIdx *c = l->var[4], *y = l->var[2], *x = l->var[3];
	int last = t->rank - 1;

	out[0] = l->var[0];
	if (p->merged) {
		out[1] = c;
		unflatten(l, x, t, 2, t->rank, out);
		return;
	}
	if (p->phase_c) {
		const KIdx *tap = kx_div(k, c, p->phase_c);

		c = kx_mod(k, c, p->phase_c);
		y = kx_add(k, kx_mul(k, y, p->phase_y), kx_div(k, tap, p->phase_x));
		x = kx_add(k, kx_mul(k, x, p->phase_x), kx_mod(k, tap, p->phase_x));
		if (p->oc % p->phase_c) {
			KGuard *g = MLO_NEW(l->cx->arena, KGuard);

			*g = (KGuard){.e = c, .extent = p->oc};
			l->guard = g;
		}
	}
	out[1] = c;
	if (t->rank == 4)
		out[2] = y;
	out[last] = x;
}

static void matrix_index(Lower *l, const MloType *t, const KIdx **out)
{
	const KContract *c = &l->plan.c;
	int n = t->rank - 1, split = n - (int)l->plan.merged;
	const KIdx *batch = kx_add(l->k, kx_mul_dim(l->k, l->var[0], mlo_kernel_dim(l->k, c->nb1)), l->var[1]);

	out[n] = l->var[4];
	unflatten(l, l->var[3], t, split, n, out);
	if (split > 0)
		unflatten(l, batch, t, 0, split, out);
}

/* Index at which an operand of type `t` is read for an elementwise result at `index` of rank r. */
static bool broadcast_index(Lower *l, const MloType *t, const KIdx *const *index, const MloType *r, const KIdx **out)
{
	for (int d = 0; d < t->rank; d++) {
		int at = r->rank - t->rank + d;
		bool one = mlo_has_dim(t, d, 1);

		if (!one && !mlo_dim_same(t->dim[d], r->dim[at]))
			return false;
		out[d] = one ? kx_const(l->k, 0) : index[at];
	}
	return true;
}

static int load_value(Lower *l, MloValue *v, const KIdx *const *index)
{
	int arg = bind_arg(l, KA_IN, v, NULL);

	return kb_load(&l->at, arg, mlo_lower_offset(l->k, v, index), l->guard, 0);
}

static Item *find_done(Lower *l, const MloValue *v)
{
	for (size_t i = 0; i < l->done.n; i++)
		if (l->done.items[i].v == v)
			return &l->done.items[i];
	return NULL;
}

static void add_done(Lower *l, const MloValue *v, int number, const KIdx *const *index)
{
	Item it = {.v = v, .number = number};

	memcpy(it.index, index, sizeof *index * (size_t)v->type.rank);
	MLO_PUSH(l->cx->arena, &l->done, it);
}

/* Elementwise node: all operands of the group must have been computed at the same place. */
static MloStatus lower_map(Lower *l, MloNode *n)
{
	const MloType *t = &n->out[0]->type;
	const KIdx *index[MLO_MAX_RANK] = {0};
	int operand[8], number;
	bool placed = false;

	if (n->nin > 8 || n->nout != 1)
		return MLO_ERR_UNSUPPORTED;
	for (uint32_t i = 0; i < n->nin; i++) {
		Item *it = n->in[i] ? find_done(l, n->in[i]) : NULL;

		if (it && !placed) {
			/* the running value has the result's shape, else this is a broadcast over it */
			if (!mlo_type_same(&it->v->type, t) && !mlo_type_as_many(l->k->syms, &it->v->type, t))
				return MLO_ERR_UNSUPPORTED;
			for (int d = 0; d < t->rank; d++) {
				int from = d - (t->rank - it->v->type.rank);

				index[d] = from >= 0 ? it->index[from] : kx_const(l->k, 0);
			}
			placed = true;
		}
	}
	if (!placed)
		return MLO_ERR_UNSUPPORTED;
	for (uint32_t i = 0; i < n->nin; i++) {
		Item *it = n->in[i] ? find_done(l, n->in[i]) : NULL;
		const KIdx *at[MLO_MAX_RANK];

		operand[i] = -1;
		if (it) {
			operand[i] = it->number;
		} else if (mlo_eltwise_reads(n, i)) {
			if (!broadcast_index(l, &n->in[i]->type, index, t, at))
				return MLO_ERR_UNSUPPORTED;
			operand[i] = load_value(l, n->in[i], at);
		}
	}
	number = mlo_lower_eltwise(&l->at, n, operand);
	if (number < 0)
		return MLO_ERR_UNSUPPORTED;
	add_done(l, n->out[0], number, index);
	return MLO_OK;
}

static MloStatus lower_move(Lower *l, MloNode *n)
{
	Item *it = find_done(l, n->in[0]);
	const MloType *t = &n->out[0]->type;
	const KIdx *index[MLO_MAX_RANK];
	const int64_t *perm;
	int np, number;

	if (!it)
		return MLO_ERR_UNSUPPORTED;
	number = it->number;
	if (n->op == OP_reshape) {
		unflatten(l, flatten(l, it->index, &it->v->type), t, 0, t->rank, index);
	} else if (n->op == OP_transpose) {
		perm = mlo_attr_ints(n, ATTR_transpose_perm, &np);
		for (int d = 0; d < t->rank; d++)
			index[d] = it->index[np ? perm[d] : t->rank - 1 - d];
	} else if (n->op == OP_relayout) {
		memcpy(index, it->index, sizeof index);
	} else {
		return MLO_ERR_UNSUPPORTED;
	}
	add_done(l, n->out[0], number, index);
	return MLO_OK;
}

static MloStatus lower_epilogue(Lower *l)
{
	MloValue *y = l->anchor->out[0];
	const KIdx *index[MLO_MAX_RANK] = {0};
	int number;

	if (l->anchor->op == OP_conv || l->anchor->op == OP_conv_transpose || l->anchor->op == OP_conv_integer)
		image_index(l, &y->type, index);
	else
		matrix_index(l, &y->type, index);
	number = kb_let(&l->at, (KInst){.op = K_product, .type = mlo_contract_sum(&l->plan.c), .a = -1, .b = -1, .c = -1});
	if (l->plan.bias) {
		/* a bias of a conv is [M]; of a gemm any shape with M elements */
		const KIdx *c = l->plan.phase_c ? kx_mod(l->k, l->var[4], l->plan.phase_c) : l->var[4];
		int arg = bind_arg(l, KA_IN, l->plan.bias, NULL);

		number = kb_op(&l->at, K_add, EL_f32, number, kb_load(&l->at, arg, c, l->guard, 0), -1);
	}
	add_done(l, y, number, index);
	for (MloNode *n = l->anchor->next; l->anchor != l->last && n; n = n->next) {
		if (mlo_op_info(n->op)->kind == OK_ELTWISE)
			MLO_TRY(lower_map(l, n));
		else
			MLO_TRY(lower_move(l, n));
		if (n == l->last)
			break;
	}
	return MLO_OK;
}

static MloStatus store_results(Lower *l)
{
	size_t stored = 0;

	for (size_t i = 0; i < l->done.n; i++) {
		Item *it = &l->done.items[i];

		if (mlo_group_internal(l->cx->graph, l->first, l->last, it->v))
			continue;
		kb_store(&l->at, bind_arg(l, KA_OUT, (MloValue *)it->v, NULL),
		         mlo_lower_offset(l->k, it->v, it->index), l->guard, it->number);
		stored++;
	}
	return stored ? MLO_OK : MLO_ERR_UNSUPPORTED;
}

static void estimate(Lower *l)
{
	const KContract *c = &l->plan.c;
	MloStr name = {.arena = l->cx->arena};

	l->k->flops = mlo_contract_flops(l->k, c);
	if (l->plan.phase_c) /* channels that only pad a vector are not asked for */
		l->k->flops *= (double)(c->nc / l->plan.phase_c * l->plan.oc) / (double)c->nc;
	if (l->anchor->op != OP_conv_transpose && c->group_k && !contract_is_depthwise(c)) {
		/* block-diagonal groups multiply zeros: count what the model asks for */
		l->k->flops *= (double)l->anchor->in[1]->type.dim[1].k / (double)c->nk;
	}
	for (size_t i = 0; i < l->k->arg.n; i++)
		if (l->k->arg.items[i].count > 0)
			l->k->bytes += (double)l->k->arg.items[i].count * mlo_elem_bits(l->k->arg.items[i].elem) / 8;
	for (const MloNode *n = l->anchor; n; n = n->next) {
		if (mlo_op_info(n->op)->kind != OK_MOVE)
			mlo_str_add(&name, "%s%s", name.n ? "_" : "", mlo_op_info(n->op)->name);
		if (n == l->last)
			break;
	}
	l->k->name = mlo_str_text(&name);
}

static void make_vars(Lower *l, KContract *c)
{
	const int64_t extent[5] = {c->nb0, c->nb1, c->ny, c->nx, c->nc};

	for (int i = 0; i < 5; i++) {
		int64_t lo, most = extent[i];

		if (most < 0)
			mlo_dim_range(mlo_kernel_dim(l->k, extent[i]), &lo, &most);
		c->var[i] = mlo_kernel_var(l->k, most);
		l->var[i] = kx_var(l->k, c->var[i]);
	}
}

MloStatus mlo_lower_contract(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out)
{
	Lower l = {.cx = cx, .first = first, .last = last};
	KContract *c;
	KCursor top;

	for (MloNode *n = first; n; n = n == last ? NULL : n->next)
		if (mlo_op_info(n->op)->kind == OK_CONTRACT && !l.anchor)
			l.anchor = n;
	if (!l.anchor)
		return MLO_ERR_UNSUPPORTED;
	l.k = l.plan.k = mlo_kernel_new(cx->arena, "contract");
	l.k->syms = cx->graph->syms;
	MLO_TRY(contract_describe(cx, first, l.anchor, &l.plan));
	c = MLO_NEW(cx->arena, KContract);
	*c = l.plan.c;
	c->a_arg = bind_arg(&l, KA_IN, l.plan.a, NULL);
	c->b_arg = bind_arg(&l, KA_IN, l.plan.b, l.plan.packed);
	if (c->zero.sums)
		c->zero.s_arg = bind_arg(&l, KA_IN, NULL, l.plan.sums);
	if (c->zero.given)
		c->zero.z_arg = bind_arg(&l, KA_IN, l.plan.zero, NULL);
	make_vars(&l, c);
	if (c->wino)
		c->w_arg = scratch_arg(&l, wino_scratch_elems(c));
	l.plan.c = *c;
	top = kb_top(l.k);
	l.at = kb_contract(&top, c);
	MLO_TRY(lower_epilogue(&l));
	MLO_TRY(store_results(&l));
	kb_finish(l.k);
	estimate(&l);
	if (l.k->sizes_arg >= 0)
		MLO_PUSH(cx->arena, &l.bind, (MloBinding){0});
	*out = (MloLowered){.kernel = l.k, .bind = l.bind.items};
	return MLO_OK;
}

int mlo_contract_dot(MloLowerCx *cx, const MloNode *first, const MloNode *anchor)
{
	ContractPlan p = {.dry = true, .k = mlo_kernel_new(cx->arena, "contract")};

	p.k->syms = cx->graph->syms;
	return contract_describe(cx, first, anchor, &p) == MLO_OK ? p.c.dot : 0;
}

bool mlo_can_lower_contract(MloLowerCx *cx, const MloNode *first, const MloNode *anchor)
{
	return mlo_contract_dot(cx, first, anchor) > 0;
}
