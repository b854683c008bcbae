/* codegen/lower_contract.c -- a contraction and the elementwise nodes behind it, as one kernel.
 *
 * The group is [movement of operands...] anchor [elementwise, reshape, transpose...].  The operands'
 * movement becomes strides (contract_describe.c), everything behind the anchor is evaluated on the
 * accumulators: each value of the group has an index, a list of expressions in the contraction's
 * variables, and is computed from the product or loaded. */
#include <string.h>

#include "codegen/cache.h"
#include "codegen/contract_lower.h"
#include "codegen/matrix.h"
#include "codegen/sparse.h"
#include "codegen/strips.h"
#include "codegen/winograd.h"

typedef ContractLower Lower;
typedef ContractItem Item;

int contract_bind(Lower *l, KArgDir dir, MloValue *v, const MloTensor *packed)
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

int contract_scratch(Lower *l, int64_t count)
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

/* A constant matrix with its last two dimensions swapped: what lies beside each other is then read together. */
static const MloTensor *turned(Lower *l, const MloValue *v)
{
	const MloTensor *t = v->data;
	int64_t dim[MLO_MAX_RANK], rows = t->dim[t->rank - 2], cols = t->dim[t->rank - 1], count = mlo_tensor_elems(t);
	size_t size = mlo_elem_bits(t->elem) / 8;
	MloTensor *r;

	for (size_t i = 0; i < l->turned.n; i++)
		if (l->turned.items[i].of == v)
			return l->turned.items[i].data;
	memcpy(dim, t->dim, sizeof *dim * (size_t)t->rank);
	dim[t->rank - 2] = cols;
	dim[t->rank - 1] = rows;
	r = mlo_tensor_new(l->cx->arena, t->elem, t->rank, dim);
	for (int64_t i = 0; i < count; i++) {
		int64_t at = i / (rows * cols) * rows * cols + i % cols * rows + i / cols % rows;

		memcpy((char *)r->data + (size_t)at * size, (const char *)t->data + (size_t)i * size, size);
	}
	MLO_PUSH(l->cx->arena, &l->turned, ((ContractTurned){v, r}));
	return r;
}

static int load_turned(Lower *l, const MloValue *v, const KIdx *const *index)
{
	const MloTensor *t = turned(l, v);
	const KIdx *at = kx_const(l->k, 0);

	for (int d = 0; d < t->rank; d++) {
		int from = d < t->rank - 2 ? d : 2 * t->rank - 3 - d;

		at = kx_add(l->k, kx_mul(l->k, at, t->dim[d]), index[from]);
	}
	return kb_load(&l->at, contract_bind(l, KA_IN, NULL, t), at, l->guard, 0);
}

static int load_value(Lower *l, MloValue *v, const KIdx *const *index)
{
	int arg, r = v->type.rank;

	if (l->rows_in_lanes && v->data && r >= 2 && mlo_elem_bits(v->type.elem) >= 8 && v->data->dim[r - 2] != 1 &&
	    v->data->dim[r - 1] != 1)
		return load_turned(l, v, index);
	arg = contract_bind(l, KA_IN, v, NULL);
	return kb_load(&l->at, arg, mlo_lower_offset(l->k, v, index), l->guard, 0);
}

static Item *find_done(Lower *l, const MloValue *v)
{
	for (size_t i = 0; i < l->done.n; i++)
		if (l->done.items[i].v == v)
			return &l->done.items[i];
	return NULL;
}

void contract_done(Lower *l, const MloValue *v, int number, const KIdx *const *index)
{
	Item it = {.v = v, .number = number};

	memcpy(it.index, index, sizeof *index * (size_t)v->type.rank);
	MLO_PUSH(l->cx->arena, &l->done, it);
}

/* Is n a map of the group? */
static bool is_own_map(const Lower *l, const MloNode *n)
{
	const MloNode *m = l->first;

	while (m != n && m != l->last)
		m = m->next;
	return m == n && mlo_op_info(n->op)->kind == OK_ELTWISE;
}

/* Elementwise node n at `index`: operands that the group has there, or that are computed or read there. */
static MloStatus map_at(Lower *l, MloNode *n, const KIdx *const *index, int *number)
{
	int operand[8];

	if (n->nin > 8 || n->nout != 1)
		return MLO_ERR_UNSUPPORTED;
	for (uint32_t i = 0; i < n->nin; i++) {
		MloValue *v = n->in[i];
		Item *it = v ? find_done(l, v) : NULL;
		const KIdx *at[MLO_MAX_RANK];

		operand[i] = it ? it->number : -1;
		if (it || !mlo_eltwise_reads(n, i))
			continue;
		if (!broadcast_index(l, &v->type, index, &n->out[0]->type, at))
			return MLO_ERR_UNSUPPORTED;
		if (v->data && mlo_type_elems(&v->type) == 1)
			operand[i] = mlo_elem_is_float(v->type.elem)
			                     ? kb_const_f(&l->at, v->type.elem, mlo_tensor_f64(v->data, 0))
			                     : kb_const_i(&l->at, v->type.elem, mlo_tensor_i64(v->data, 0));
		else if (is_own_map(l, v->def))
			MLO_TRY(map_at(l, v->def, at, &operand[i]));
		else
			operand[i] = load_value(l, v, at);
	}
	*number = mlo_lower_eltwise(&l->at, n, operand);
	return *number < 0 ? MLO_ERR_UNSUPPORTED : MLO_OK;
}

/* Elementwise node: all operands that depend on the product must have been computed at the same place; one without
 * such operands is computed where it is needed. */
static MloStatus lower_map(Lower *l, MloNode *n)
{
	const MloType *t = &n->out[0]->type;
	const KIdx *index[MLO_MAX_RANK] = {0};
	Item *it = NULL;
	int number;

	for (uint32_t i = 0; i < n->nin && !it; i++)
		it = n->in[i] ? find_done(l, n->in[i]) : NULL;
	if (!it)
		return mlo_group_internal(l->cx->graph, l->first, l->last, n->out[0]) ? MLO_OK : MLO_ERR_UNSUPPORTED;
	/* the running value has the result's shape, else this is a broadcast over it */
	if (!mlo_type_same(&it->v->type, t) && !mlo_type_as_many(l->k->syms, &it->v->type, t))
		return MLO_ERR_UNSUPPORTED;
	for (int d = 0; d < t->rank; d++) {
		int from = d - (t->rank - it->v->type.rank);

		index[d] = from >= 0 ? it->index[from] : kx_const(l->k, 0);
	}
	MLO_TRY(map_at(l, n, index, &number));
	contract_done(l, n->out[0], number, index);
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
	contract_done(l, n->out[0], number, index);
	return MLO_OK;
}

MloStatus contract_nodes(Lower *l, MloNode *after, MloNode *last)
{
	while (after != last) {
		after = after->next;
		if (mlo_op_info(after->op)->kind == OK_ELTWISE)
			MLO_TRY(lower_map(l, after));
		else
			MLO_TRY(lower_move(l, after));
	}
	return MLO_OK;
}

static bool is_image_op(MloOp op)
{
	return op == OP_conv || op == OP_conv_transpose || op == OP_conv_integer || op == OP_conv_transpose_integer;
}

MloStatus contract_epilogue(Lower *l, MloNode *last)
{
	MloValue *y = l->anchor->out[0];
	const KIdx *index[MLO_MAX_RANK] = {0};
	int number;

	if (is_image_op(l->anchor->op))
		image_index(l, &y->type, index);
	else
		matrix_index(l, &y->type, index);
	number = kb_let(&l->at, (KInst){.op = K_product, .type = mlo_contract_sum(&l->plan.c), .a = -1, .b = -1, .c = -1});
	if (l->plan.bias) {
		/* a bias of a conv is [M]; of a gemm any shape with M elements */
		const KIdx *c = l->plan.phase_c ? kx_mod(l->k, l->var[4], l->plan.phase_c) : l->var[4];
		int arg = contract_bind(l, KA_IN, l->plan.bias, NULL);

		number = kb_op(&l->at, K_add, EL_f32, number, kb_load(&l->at, arg, c, l->guard, 0), -1);
	}
	contract_done(l, y, number, index);
	return contract_nodes(l, l->anchor, last);
}

MloStatus contract_store_results(Lower *l)
{
	size_t stored = 0;

	for (size_t i = 0; i < l->done.n; i++) {
		Item *it = &l->done.items[i];

		if (mlo_group_internal(l->cx->graph, l->first, l->last, it->v))
			continue;
		kb_store(&l->at, contract_bind(l, KA_OUT, (MloValue *)it->v, NULL),
		         mlo_lower_offset(l->k, it->v, it->index), l->guard, it->number);
		stored++;
	}
	return stored ? MLO_OK : MLO_ERR_UNSUPPORTED;
}

void contract_label(Lower *l, const MloNode *from)
{
	MloStr name = {.arena = l->cx->arena};

	for (const MloNode *n = from; n; n = n == l->last ? NULL : n->next)
		if (mlo_op_info(n->op)->kind != OK_MOVE)
			mlo_str_add(&name, "%s%s", name.n ? "_" : "", mlo_op_info(n->op)->name);
	l->k->name = mlo_str_text(&name);
}

static void estimate(Lower *l)
{
	const KContract *c = &l->plan.c;

	l->k->flops = mlo_contract_flops(l->k, c);
	if (l->plan.phase_c) /* channels that only pad a vector are not asked for */
		l->k->flops *= (double)(c->nc / l->plan.phase_c * l->plan.oc) / (double)c->nc;
	if (c->sparse.spread)
		l->k->flops *= (double)(contract_entries(&l->plan) * c->sparse.group) / (double)(c->nc * mlo_contract_steps(c) * c->nky * c->nkx);
	if (c->b.kept)
		l->k->flops /= 2;
	if (!l->plan.phase_c && c->group_k && !contract_is_depthwise(c)) {
		/* block-diagonal groups multiply zeros: count what the model asks for */
		l->k->flops *= (double)l->anchor->in[1]->type.dim[1].k / (double)c->nk;
	}
	contract_label(l, l->first);
}

void contract_vars(Lower *l, KContract *c)
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

static MloStatus lower(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out, MloTunable *t)
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
	c->a_arg = contract_bind(&l, KA_IN, l.plan.a, NULL);
	c->b_arg = contract_bind(&l, KA_IN, l.plan.b, l.plan.packed);
	if (contract_has_sums(c))
		c->zero.s_arg = contract_bind(&l, KA_IN, NULL, l.plan.sums);
	if (c->zero.given)
		c->zero.z_arg = contract_bind(&l, KA_IN, l.plan.zero, NULL);
	contract_vars(&l, c);
	if (c->scale.on)
		c->scale.g_arg = contract_bind(&l, KA_IN, l.plan.gate, NULL);
	if (c->scale.on && !cx->probe)
		c->w_arg = contract_scratch(&l, c->nk * c->vecs * c->lanes);
	if (c->wino && !cx->probe)
		c->w_arg = contract_scratch(&l, wino_scratch_elems(c));
	if (c->depth && !cx->probe)
		c->w_arg = contract_scratch(&l, (matrix_scratch_bytes(c) + 3) / 4);
	if (c->strips && !cx->probe)
		c->w_arg = contract_scratch(&l, strips_scratch_bytes(c) / 4);
	if (c->sparse.spread && !cx->probe) {
		c->sparse.i_arg = contract_bind(&l, KA_IN, NULL, l.plan.places);
		c->sparse.n_arg = contract_bind(&l, KA_IN, NULL, l.plan.starts);
		c->w_arg = contract_scratch(&l, sparse_scratch_bytes(c) / 4);
	}
	l.plan.c = *c;
	top = kb_top(l.k);
	l.at = kb_contract(&top, c);
	MLO_TRY(contract_epilogue(&l, last));
	MLO_TRY(contract_store_results(&l));
	kb_finish(l.k);
	estimate(&l);
	if (l.k->sizes_arg >= 0)
		MLO_PUSH(cx->arena, &l.bind, (MloBinding){0});
	*out = (MloLowered){.kernel = l.k, .bind = l.bind.items};
	t->winograd = l.plan.winograd;
	t->weights = l.plan.weights;
	return MLO_OK;
}

/* The key of a kernel whose schedule is left out: weights and scratch memory have their form from it.  The text
 * does not say what the cost model chose. */
static CacheKey key_of(MloLowerCx *cx, MloKernel *k, const MloTunable *t)
{
	static const MloSchedule none = {.vecs = 1, .cols = 1, .rows = 1, .y_chunk = 1};
	MloStr text = {.arena = cx->arena};
	KContract *c = k->body->contract, chosen = *c;

	mlo_schedule_set(c, &none);
	mlo_str_add(&text, "schedule%s ", t->winograd ? "" : " without pieces");
	for (int i = 0; i < MLO_SPARSE_GROUPS && t->weights.n[i]; i++)
		mlo_str_add(&text, "%lld weights ", (long long)t->weights.n[i]);
	mlo_kernel_print(&text, k, false);
	*c = chosen;
	return cache_key(cx->target, mlo_str_text(&text), text.n);
}

MloStatus mlo_lower_contract(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out)
{
	MloLowerCx own = *cx;
	MloSchedule s;
	MloTunable t = {.target = cx->target, .weights_stay = wino_weights_stay(cx->target, cx->weight_bytes)};
	MloChoice choice = {.from = MLO_CHOICE_MODEL};

	if (cx->chooser && !cx->target->gpu) {
		own.probe = true;
		MLO_TRY(lower(&own, first, last, out, &t));
		own.probe = false;
	}
	if (cx->chooser && !cx->target->gpu && !out->kernel->size.n) {
		t.key = key_of(cx, out->kernel, &t);
		t.name = out->kernel->name;
		t.c = out->kernel->body->contract;
		s = mlo_schedule_of(t.c);
		choice = cx->chooser->choose(cx->chooser->user, &t, &s);
		MLO_ASSERT(mlo_schedule_fits(&t, &s));
		own.forced = &s;
	}
	MLO_TRY(lower(&own, first, last, out, &t));
	out->choice = choice;
	out->tunable = t.key;
	return MLO_OK;
}

int mlo_contract_dot(MloLowerCx *cx, const MloNode *first, const MloNode *anchor)
{
	ContractPlan p = {.dry = true, .k = mlo_kernel_new(cx->arena, "contract")};

	p.k->syms = cx->graph->syms;
	return contract_describe(cx, first, anchor, &p) == MLO_OK ? p.c.dot : 0;
}

bool mlo_scale_pays(MloLowerCx *cx, const MloNode *first, const MloNode *anchor)
{
	ContractPlan p = {.dry = true, .k = mlo_kernel_new(cx->arena, "contract")};
	const KContract *c = &p.c;
	int64_t pixels, readings;

	p.k->syms = cx->graph->syms;
	if (cx->target->gpu || contract_describe(cx, first, anchor, &p) != MLO_OK || !p.gate || c->nx < 0 || c->ny < 0)
		return false;
	pixels = c->ny * c->nx;
	readings = c->c_outer ? 1 : mlo_contract_chunks(c);
	return mlo_contract_ctiles(c) * c->vecs * c->lanes * readings < pixels;
}

bool mlo_can_lower_contract(MloLowerCx *cx, const MloNode *first, const MloNode *anchor)
{
	return mlo_contract_dot(cx, first, anchor) > 0;
}
