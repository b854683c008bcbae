/* codegen/program_sizes.c -- sizes in a program: which slot holds which dimension, and who sets it. */
#include "codegen/builder.h"
#include "ir/exec.h"

/* How a check names what it is about: a dimension of one of the runtime's values, or nothing. */
static int64_t place_of(const Builder *b, const MloValue *v, int dim)
{
	int value = b->value_of[v->id];

	for (uint32_t i = 0; i < b->p->graph->ninputs && !v->def; i++)
		if (b->p->graph->inputs[i] == v)
			value = (int)i; /* inputs are the first values */
	return value < 0 ? -1 : 16 * (int64_t)value + dim;
}

/* A symbol gets its slot; the range it is known to have is what kernels rely on. */
static void bind_symbol(Builder *b, const char *name, MloDim d, int slot, int64_t place)
{
	Slots *s = &b->p->slots;
	int64_t lo, hi;

	mlo_dim_range(d, &lo, &hi);
	slots_bind(s, name, slot);
	slots_check(s, MLRT_X_CHECK_GE0, slot, -1, place);
	if (lo > 0)
		slots_check(s, MLRT_X_CHECK_GE, slot, slots_const(s, lo), place);
	if (hi < MLO_MAX_ELEMS)
		slots_check(s, MLRT_X_CHECK_LE, slot, slots_const(s, hi), place);
}

static void bind_bare(Builder *b, const MloValue *v, int first)
{
	for (int i = 0; i < v->type.rank; i++) {
		const char *name;

		if (mlo_dim_symbol(v->type.dim[i], &name) && slots_symbol(&b->p->slots, name) < 0)
			bind_symbol(b, name, v->type.dim[i], first + i, place_of(b, v, i));
	}
}

static MloStatus unknown(Builder *b, const MloValue *v, int dim)
{
	char name[24];
	MloStr s = {.arena = b->plan->arena};

	mlo_dim_print(&s, v->type.dim[dim]);
	if (v->def)
		return mlo_node_error(b->plan->diag, MLO_ERR_UNSUPPORTED, v->def, "size %s of '%s' (dimension %d) cannot be computed",
		                      mlo_str_text(&s), mlo_value_name(v, name), dim);
	return mlo_error(b->plan->diag, MLO_ERR_UNSUPPORTED, "size %s of input '%s' (dimension %d) cannot be computed",
	                 mlo_str_text(&s), mlo_value_name(v, name), dim);
}

static MloStatus check_rest(Builder *b, const MloValue *v, int first)
{
	Slots *s = &b->p->slots;

	for (int i = 0; i < v->type.rank; i++) {
		int want = slots_dim(s, v->type.dim[i]);

		if (want < 0)
			return unknown(b, v, i);
		slots_check(s, MLRT_X_CHECK_EQ, first + i, want, place_of(b, v, i));
	}
	return MLO_OK;
}

/* Are all sizes of v known before the first step? */
static bool sized_early(Builder *b, const MloValue *v)
{
	for (int i = 0; i < v->type.rank; i++) {
		int slot = slots_dim(&b->p->slots, v->type.dim[i]);

		if (slot < 0 || !b->p->slots.slot.items[slot].early)
			return false;
	}
	return true;
}

MloStatus sizes_bind(Builder *b, MloValue *v, int first)
{
	bind_bare(b, v, first);
	if (!sized_early(b, v)) /* else they are read where they are known already */
		b->dims_of[v->id] = first;
	return check_rest(b, v, first);
}

MloStatus sizes_of_inputs(Builder *b)
{
	const MloGraph *g = b->p->graph;

	for (uint32_t i = 0; i < g->ninputs; i++) {
		MloValue *v = g->inputs[i];
		int first;

		if (v->type.rank < 0 || mlo_type_object(&v->type))
			continue;
		first = slots_new(&b->p->slots, v->type.rank, true, 0);
		for (int d = 0; d < v->type.rank; d++)
			b->p->slots.slot.items[first + d].guess = mlo_kernel_guess_dim(g->syms, v->type.dim[d]);
		b->dims_of[v->id] = first;
		bind_bare(b, v, first);
	}
	for (uint32_t i = 0; i < g->ninputs; i++)
		if (g->inputs[i]->type.rank >= 0 && !mlo_type_object(&g->inputs[i]->type))
			MLO_TRY(check_rest(b, g->inputs[i], b->dims_of[g->inputs[i]->id]));
	return MLO_OK;
}

MloStatus sizes_of(Builder *b, MloValue *v, int *first)
{
	int slot[MLO_MAX_RANK];

	if (b->dims_of[v->id] < 0) {
		for (int i = 0; i < v->type.rank; i++) {
			slot[i] = slots_dim(&b->p->slots, v->type.dim[i]);
			if (slot[i] < 0)
				return unknown(b, v, i);
		}
		b->dims_of[v->id] = slots_tuple(&b->p->slots, slot, v->type.rank);
	}
	*first = b->dims_of[v->id];
	return MLO_OK;
}

/* Elements of an open type: open sizes in the order of their slots, then the number. */
static MloStatus elements(Builder *b, const MloValue *v, int *out)
{
	Slots *s = &b->p->slots;
	int open[MLO_MAX_RANK], n = 0;
	int64_t number = 1;

	for (int i = 0; i < v->type.rank; i++) {
		int at, slot = slots_dim(s, v->type.dim[i]);
		int64_t k;

		if (slot < 0)
			return unknown(b, v, i);
		if (i == 1 && v->layout.block)
			slot = slots_expr(s, MLRT_X_ALIGN, slot, -1, v->layout.block);
		if (slots_is_const(s, slot, &k)) {
			number *= k;
			continue;
		}
		for (at = n++; at > 0 && open[at - 1] > slot; at--)
			open[at] = open[at - 1];
		open[at] = slot;
	}
	*out = n ? open[0] : slots_const(s, 1);
	for (int i = 1; i < n; i++)
		*out = slots_expr(s, MLRT_X_MUL, *out, open[i], 0);
	*out = slots_expr(s, MLRT_X_MUL, *out, slots_const(s, number), 0);
	return MLO_OK;
}

MloStatus sizes_bytes(Builder *b, MloValue *v, int64_t *bytes, int *slot)
{
	Slots *s = &b->p->slots;
	unsigned bits = mlo_elem_bits(mlo_value_elem(v));
	bool chars = v->type.elem == EL_str && b->chars_of[v->id] >= 0;

	*bytes = 0;
	*slot = -1;
	if (mlo_type_static(&v->type) && !chars) {
		*bytes = (mlo_value_storage(v) * (int64_t)bits + 7) / 8;
		return MLO_OK;
	}
	MLO_TRY(elements(b, v, slot));
	if (bits % 8 == 0) {
		*slot = slots_expr(s, MLRT_X_MUL, *slot, slots_const(s, bits / 8), 0);
	} else {
		*slot = slots_expr(s, MLRT_X_MUL, *slot, slots_const(s, bits), 0);
		*slot = slots_expr(s, MLRT_X_CEILDIV, *slot, slots_const(s, 8), 0);
	}
	if (chars)
		*slot = slots_expr(s, MLRT_X_ADD, *slot, b->chars_of[v->id], 0);
	return MLO_OK;
}

MloStatus sizes_of_kernel(Builder *b, const MloLowered *low, int *first)
{
	int *slot = MLO_NEWN(b->plan->arena, int, low->kernel->size.n + 1);

	for (size_t i = 0; i < low->kernel->size.n; i++) {
		slot[i] = slots_dim(&b->p->slots, low->kernel->size.items[i].dim);
		if (slot[i] < 0) {
			MloStr s = {.arena = b->plan->arena};

			mlo_dim_print(&s, low->kernel->size.items[i].dim);
			return mlo_error(b->plan->diag, MLO_ERR_UNSUPPORTED, "kernel '%s': size %s is not known when it runs",
			                 low->kernel->name, mlo_str_text(&s));
		}
	}
	*first = slots_tuple(&b->p->slots, slot, (int)low->kernel->size.n);
	return MLO_OK;
}

/* -- sizes that inference takes for equal ------------------------------------------------------- */

static void must_be(Builder *b, const MloValue *v, int d, MloDim want)
{
	Slots *s = &b->p->slots;
	int have, as;

	if (mlo_dim_same(v->type.dim[d], want))
		return;
	have = slots_dim(s, v->type.dim[d]);
	as = slots_dim(s, want);
	if (have >= 0 && as >= 0)
		slots_check(s, MLRT_X_CHECK_EQ, have, as, place_of(b, v, d));
}

/* n is 1 or want:  n = 1 + min((n - 1)^2, 1) * (want - 1). */
static void must_broadcast(Builder *b, const MloValue *v, int d, MloDim want)
{
	Slots *s = &b->p->slots;
	int n = slots_dim(s, v->type.dim[d]), as = slots_dim(s, want), one = slots_const(s, 1), more;

	if (mlo_dim_same(v->type.dim[d], want) || mlo_dim_same(v->type.dim[d], mlo_dim(1)) || n < 0 || as < 0)
		return;
	more = slots_expr(s, MLRT_X_SUB, n, one, 0);
	more = slots_expr(s, MLRT_X_MIN, slots_expr(s, MLRT_X_MUL, more, more, 0), one, 0);
	more = slots_expr(s, MLRT_X_MUL, more, slots_expr(s, MLRT_X_SUB, as, one, 0), 0);
	slots_check(s, MLRT_X_CHECK_EQ, n, slots_expr(s, MLRT_X_ADD, more, one, 0), place_of(b, v, d));
}

/* Dimensions [0, n) of the result, right-aligned with those of v before its last `rest`. */
static void broadcasts_to(Builder *b, const MloValue *v, const MloType *y, int n, int rest)
{
	for (int d = 0; d < v->type.rank - rest; d++)
		if (n - (v->type.rank - rest) + d >= 0)
			must_broadcast(b, v, d, y->dim[n - (v->type.rank - rest) + d]);
}

static void matmul_sizes(Builder *b, const MloNode *n)
{
	MloValue *x = n->in[0], *w = n->in[1];
	int rank = n->out[0]->type.rank;

	if (x->type.rank < 1 || w->type.rank < 1)
		return;
	must_be(b, x, x->type.rank - 1, w->type.dim[w->type.rank > 1 ? w->type.rank - 2 : 0]);
	if (x->type.rank > 1 && w->type.rank > 1) {
		broadcasts_to(b, x, &n->out[0]->type, rank - 2, 2);
		broadcasts_to(b, w, &n->out[0]->type, rank - 2, 2);
	}
}

static void concat_sizes(Builder *b, const MloNode *n)
{
	const MloType *y = &n->out[0]->type;
	int64_t axis = mlo_attr_i(n, ATTR_concat_axis);

	for (uint32_t i = 0; i < n->nin; i++)
		for (int d = 0; d < y->rank && n->in[i]->type.rank == y->rank; d++)
			if (d != (axis < 0 ? axis + y->rank : axis))
				must_be(b, n->in[i], d, y->dim[d]);
}

static void gemm_sizes(Builder *b, const MloNode *n)
{
	int terms = mlo_attr_i(n, ATTR_gemm_transB) != 0;

	must_be(b, n->in[0], !mlo_attr_i(n, ATTR_gemm_transA), n->in[1]->type.dim[terms]);
}

static void conv_sizes(Builder *b, const MloNode *n)
{
	MloDim groups = mlo_dim(mlo_attr_i(n, ATTR_conv_group));

	must_be(b, n->in[0], 1, mlo_dim_mul(b->p->graph->syms, n->in[1]->type.dim[1], groups));
}

void sizes_that_must_meet(Builder *b, const MloNode *n)
{
	if (n->nout != 1 || !mlo_node_lowers(n))
		return;
	if (mlo_op_info(n->op)->kind == OK_ELTWISE)
		for (uint32_t i = 0; i < n->nin; i++)
			if (n->in[i])
				broadcasts_to(b, n->in[i], &n->out[0]->type, n->out[0]->type.rank, 0);
	if (n->op == OP_matmul)
		matmul_sizes(b, n);
	else if (n->op == OP_concat)
		concat_sizes(b, n);
	else if (n->op == OP_gemm)
		gemm_sizes(b, n);
	else if (n->op == OP_conv)
		conv_sizes(b, n);
}

/* -- results ---------------------------------------------------------------------------------- */

static bool known(Builder *b, const MloNode *n)
{
	for (uint32_t i = 0; i < n->nout; i++) {
		const MloValue *v = n->out[i];

		if (v && v->type.elem == EL_str && mlo_op_has(n->op, TR_SIZED))
			return false; /* how many characters? */
		for (int d = 0; v && d < v->type.rank; d++)
			if (slots_dim(&b->p->slots, v->type.dim[d]) < 0)
				return false;
	}
	return true;
}

MloStatus sizes_of_results(Builder *b, MloNode *n)
{
	MloLowered low;
	int first;

	if (known(b, n))
		return MLO_OK;
	if (!mlo_size_kernel(n->op))
		return mlo_node_error(b->plan->diag, MLO_ERR_UNSUPPORTED, n, "nothing tells the sizes of its results");
	MLO_TRY(mlo_lower_sizes(&b->cx, n, &low));
	first = slots_new(&b->p->slots, REF_SIZES * (int)n->nout, false, MLO_KERNEL_GUESS);
	MLO_TRY(builder_kernel_step(b, &low, first, (MloStepInfo){.tier = MLO_TIER_LIBRARY, .schedule = "",
	        .origin = builder_origin(b, n, n), .shape = n->out[0] ? builder_type_text(b, n->out[0]) : ""}));
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i])
			bind_bare(b, n->out[i], first + REF_SIZES * (int)i);
	for (uint32_t i = 0; i < n->nout; i++) {
		int at = first + REF_SIZES * (int)i;

		if (!n->out[i])
			continue;
		MLO_TRY(sizes_bind(b, n->out[i], at));
		if (n->out[i]->type.elem == EL_str) {
			b->chars_of[n->out[i]->id] = at + REF_SIZES - 1;
			slots_check(&b->p->slots, MLRT_X_CHECK_GE0, at + REF_SIZES - 1, -1, -1);
		}
	}
	return MLO_OK;
}

MloStatus sizes_of_outputs(Builder *b, const MloNode *n)
{
	int first;

	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i] && mlo_is_output(b->p->graph, n->out[i]))
			MLO_TRY(sizes_of(b, n->out[i], &first));
	return MLO_OK;
}
