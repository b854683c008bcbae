/* quant/plan.c -- which operators work on integers, and which tensors are quantised for them. */
#include <math.h>
#include <string.h>

#include "passes/match.h"
#include "quant/ptq.h"

bool mlo_pattern_match(const char *p, const char *s)
{
	const char *star = NULL, *retry = NULL;

	while (*s) {
		if (*p == '*') {
			star = p++;
			retry = s;
		} else if (*p == '?' || *p == *s) {
			p++;
			s++;
		} else if (star) {
			p = star + 1;
			s = ++retry;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return !*p;
}

/* -- what an operator is --------------------------------------------------------------------------- */

static bool is_f32(const MloValue *v)
{
	return v && v->type.elem == EL_f32 && !mlo_type_object(&v->type);
}

static bool data(const MloValue *v) /* a float32 activation */
{
	return is_f32(v) && !v->data;
}

/* Only the first operand moves; the others say how. */
static bool moves(const MloNode *n)
{
	switch (n->op) {
	case OP_reshape:
	case OP_transpose:
	case OP_flatten:
	case OP_squeeze:
	case OP_unsqueeze:
	case OP_slice:
	case OP_max_pool:
	case OP_global_max_pool:
	case OP_depth_to_space:
	case OP_space_to_depth:
	case OP_expand:
		return n->nout < 2 || !n->out[1] || !n->out[1]->nuse;
	case OP_resize:
		return !strcmp(mlo_attr_s(n, ATTR_resize_mode), "nearest");
	case OP_pad:
		return n->nin < 3 || !n->in[2] || mlo_const_is(n->in[2], 0) ||
		       strcmp(mlo_attr_s(n, ATTR_pad_mode), "constant") != 0;
	default:
		return false;
	}
}

static bool averages(const MloNode *n)
{
	return n->op == OP_average_pool || n->op == OP_global_average_pool ||
	       (n->op == OP_reduce_mean && n->out[0]->type.rank != MLO_RANK_UNKNOWN) ||
	       (n->op == OP_resize && !strcmp(mlo_attr_s(n, ATTR_resize_mode), "linear"));
}

/* A transposed convolution whose taps lie side by side in the result. */
static bool tiles(const MloNode *n, const MloTensor *w)
{
	int count;
	const int64_t *stride = mlo_attr_ints(n, ATTR_conv_transpose_strides, &count);

	if (count != w->rank - 2 || mlo_attr_i(n, ATTR_conv_transpose_group) != 1)
		return false;
	for (int i = 0; i < count; i++)
		if (stride[i] != w->dim[i + 2])
			return false;
	return true;
}

static bool kind_of(const MloNode *n, bool products, MloPtqKind *kind)
{
	const MloTensor *w = n->nin > 1 && n->in[1] ? n->in[1]->data : NULL;
	const MloValue *bias = (n->op == OP_conv || n->op == OP_conv_transpose) && n->nin > 2 ? n->in[2] : NULL;

	if (mlo_lstm_quantises(n)) {
		*kind = PTQ_LSTM;
		return true;
	}
	if (n->nout < 1 || !n->out[0] || !is_f32(n->out[0]) || n->nin < 1 || !is_f32(n->in[0]))
		return false;
	if (n->op == OP_conv && data(n->in[0]) && w && w->elem == EL_f32 && (!bias || bias->data)) {
		*kind = PTQ_CONV;
	} else if (n->op == OP_conv_transpose && data(n->in[0]) && w && w->elem == EL_f32 && (!bias || bias->data) && tiles(n, w)) {
		*kind = PTQ_TRANSPOSED;
	} else if (n->op == OP_matmul && data(n->in[0]) && w && w->elem == EL_f32 && w->rank == 2) {
		*kind = PTQ_MATMUL;
	} else if (n->op == OP_matmul && products && data(n->in[0]) && data(n->in[1])) {
		*kind = PTQ_PRODUCT;
	} else if ((n->op == OP_add || n->op == OP_mul) && data(n->in[0]) && data(n->in[1]) && n->in[0] != n->in[1]) {
		*kind = PTQ_JOIN;
	} else if (n->op == OP_concat) {
		*kind = PTQ_JOIN;
	} else if (data(n->in[0]) && moves(n)) {
		*kind = PTQ_MOVE;
	} else if (data(n->in[0]) && averages(n)) {
		*kind = PTQ_POOL;
	} else {
		return false;
	}
	return true;
}

/* The node that goes on element by element from v, which nobody else reads. */
static MloNode *follower(const MloGraph *g, const MloValue *v)
{
	MloNode *n = v->nuse == 1 ? mlo_only_user(g, v) : NULL;

	if (!n || mlo_op_info(n->op)->kind != OK_ELTWISE || n->nout != 1 || !mlo_type_same(&n->out[0]->type, &v->type))
		return NULL;
	for (uint32_t i = 0; i < n->nin; i++)
		if (n->in[i] && n->in[i] != v && !n->in[i]->data)
			return NULL;
	return n;
}

static MloValue *result_of(const MloGraph *g, const MloNode *n)
{
	MloValue *v = n->out[0];
	const MloNode *next;

	while ((next = follower(g, v)))
		v = next->out[0];
	return v;
}

static bool named(const MloNode *n, const char *pattern)
{
	for (const MloOrigin *o = n->origin; o; o = o->next)
		if (mlo_pattern_match(pattern, o->name))
			return true;
	return false;
}

static bool listed(const char *const *patterns, const MloNode *n)
{
	for (; patterns && *patterns; patterns++)
		if (named(n, *patterns))
			return true;
	return false;
}

bool mlo_ptq_names(const MloPtq *q, const char *pattern)
{
	for (size_t i = 0; i < q->nlayers; i++)
		if (named(q->layer[i].n, pattern))
			return true;
	return false;
}

/* -- the lists ------------------------------------------------------------------------------------- */

/* The place of v in the table of tensors, or the free one that it would take. */
static struct MloPtqSlot *slot_of(const MloPtq *q, const MloValue *v)
{
	size_t i = ((uintptr_t)v >> 4) * 0x9e3779b97f4a7c15u >> 20;

	while (q->slot[i & (q->nslots - 1)].v && q->slot[i & (q->nslots - 1)].v != v)
		i++;
	return &q->slot[i & (q->nslots - 1)];
}

static size_t index_of(const MloPtq *q, const MloValue *v) { return slot_of(q, v)->tensor; }

static void add_tensor(MloPtq *q, MloGraph *g, MloValue *v)
{
	if (!v || !is_f32(v))
		return;
	*slot_of(q, v) = (struct MloPtqSlot){v, q->ntensors};
	q->tensor[q->ntensors++] = (MloPtqTensor){.g = g, .v = v, .stats = {0}};
}

/* Have values of n, of which a run may see none, dimensions to say so? */
static bool ranked(const MloNode *n)
{
	for (uint32_t i = 0; i < n->nin; i++)
		if (data(n->in[i]) && n->in[i]->type.rank < 1 && n->op != OP_lstm)
			return false;
	return n->out[0]->type.rank > 0;
}

static void add_layer(MloPtq *q, MloGraph *g, MloNode *n)
{
	MloPtqLayer l = {.g = g, .n = n, .sqnr = NAN, .alone_sqnr = NAN, .alone_accuracy = NAN, .float_ns = NAN, .int_ns = NAN};

	if (!kind_of(n, q->opt.products, &l.kind) || (g != q->g && !ranked(n)))
		return;
	l.result = l.kind == PTQ_LSTM ? n->out[0] : result_of(g, n);
	l.sum = l.kind == PTQ_MATMUL && mlo_layer_bias(&l) ? n->out[0]->uses->node->out[0] : n->out[0];
	if (listed(q->opt.exclude, n))
		l.off = "excluded";
	else if (mlo_ptq_contracts(l.kind) && q->opt.include && *q->opt.include && !listed(q->opt.include, n))
		l.off = "not included";
	if (l.kind != PTQ_LSTM && listed(q->opt.wide, n))
		l.wide = "asked for";
	q->layer[q->nlayers++] = l;
}

/* The next branch of n, an if; bodies of loops stay float. */
static MloGraph *branch_of(const MloNode *n, int *at)
{
	return n->op == OP_if ? mlo_node_body(n, at) : NULL;
}

static void count_graph(const MloGraph *g, size_t *nodes, size_t *values)
{
	const MloGraph *b;

	*values += g->ninputs;
	for (const MloNode *n = g->first; n; n = n->next) {
		++*nodes;
		*values += n->nout;
		for (int at = 0; (b = branch_of(n, &at));)
			count_graph(b, nodes, values);
	}
}

static void list_graph(MloPtq *q, MloGraph *g)
{
	MloGraph *b;

	for (uint32_t i = 0; i < g->ninputs; i++)
		add_tensor(q, g, g->inputs[i]);
	for (MloNode *n = g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++)
			add_tensor(q, g, n->out[i]);
	for (MloNode *n = g->first; n; n = n->next)
		add_layer(q, g, n);
	for (MloNode *n = g->first; n; n = n->next)
		for (int at = 0; (b = branch_of(n, &at));)
			list_graph(q, b);
}

MloPtq *mlo_ptq_new(MloArena *a, MloGraph *g, const MloPtqOptions *opt)
{
	MloPtq *q = MLO_NEW(a, MloPtq);
	size_t nodes = 0, values = 0;

	*q = (MloPtq){.a = a, .g = g, .opt = *opt, .nslots = 2};
	count_graph(g, &nodes, &values);
	while (q->nslots < 2 * values)
		q->nslots *= 2;
	q->slot = MLO_NEWN(a, struct MloPtqSlot, q->nslots);
	q->layer = MLO_NEWN(a, MloPtqLayer, nodes);
	q->tensor = MLO_NEWN(a, MloPtqTensor, values);
	list_graph(q, g);
	mlo_ptq_plan(q);
	return q;
}

MloPtqTensor *mlo_ptq_tensor(const MloPtq *q, const MloValue *v)
{
	const struct MloPtqSlot *s = v ? slot_of(q, v) : NULL;

	return s && s->v ? &q->tensor[s->tensor] : NULL;
}

/* -- the plan -------------------------------------------------------------------------------------- */

/* Operands that are read as quantised activations: 1, but for products and joins, and LSTMs, which quantise theirs
 * themselves. */
static uint32_t reads(const MloPtqLayer *l)
{
	return l->kind == PTQ_LSTM ? 0 : l->kind == PTQ_PRODUCT ? 2 : l->kind == PTQ_JOIN ? l->n->nin : 1;
}

/* Layers whose operands all are or can be integers; what they make then is, too. */
static void find_possible(MloPtq *q)
{
	for (size_t i = 0; i < q->nlayers; i++) {
		MloPtqLayer *l = &q->layer[i];
		bool ok = !l->off;

		for (uint32_t k = 0; k < reads(l) && !mlo_ptq_contracts(l->kind); k++) {
			MloPtqTensor *t = mlo_ptq_tensor(q, l->n->in[k]);

			ok = ok && (l->n->in[k]->data || (t && (t->made || t->wanted)));
		}
		l->on = ok;
		if (ok && l->kind != PTQ_LSTM)
			mlo_ptq_tensor(q, l->result)->made = true;
	}
}

/* From the end: joins that no quantised operator reads stay float. */
static void drop_unread(MloPtq *q)
{
	for (size_t i = q->nlayers; i-- > 0;) {
		MloPtqLayer *l = &q->layer[i];

		l->on = l->on && (mlo_ptq_contracts(l->kind) || mlo_ptq_tensor(q, l->result)->wanted);
		for (uint32_t k = 0; l->on && k < reads(l); k++)
			if (!l->n->in[k]->data)
				mlo_ptq_tensor(q, l->n->in[k])->wanted = true;
	}
}

static size_t root(const MloPtq *q, size_t i)
{
	while (q->tensor[i].group != i)
		i = q->tensor[i].group;
	return i;
}

static void share(MloPtq *q, const MloValue *a, const MloValue *b)
{
	size_t i = root(q, index_of(q, a)), k = root(q, index_of(q, b));

	q->tensor[i > k ? i : k].group = i > k ? k : i;
}

/* Tensors that a layer reads in 16 bits, and whatever shares their range. */
static void find_wide(MloPtq *q)
{
	for (size_t i = 0; i < q->nlayers; i++) {
		const MloPtqLayer *l = &q->layer[i];

		for (uint32_t k = 0; l->on && l->wide && k < reads(l); k++)
			if (!l->n->in[k]->data)
				q->tensor[root(q, index_of(q, l->n->in[k]))].wide = true;
	}
	for (size_t i = 0; i < q->ntensors; i++)
		q->tensor[i].wide = q->tensor[root(q, i)].wide;
}

void mlo_ptq_plan(MloPtq *q)
{
	for (size_t i = 0; i < q->ntensors; i++) {
		MloPtqTensor *t = &q->tensor[i];

		t->made = !t->v->def;
		t->wanted = t->wide = false;
		t->group = i;
	}
	for (size_t i = 0; i < q->nlayers; i++)
		for (uint32_t k = 0; k < reads(&q->layer[i]) && mlo_ptq_contracts(q->layer[i].kind) && !q->layer[i].off; k++)
			mlo_ptq_tensor(q, q->layer[i].n->in[k])->wanted = true;
	find_possible(q);
	drop_unread(q);
	for (size_t i = 0; i < q->ntensors; i++)
		q->tensor[i].made = !q->tensor[i].v->def;
	for (size_t i = 0; i < q->nlayers; i++) {
		const MloPtqLayer *l = &q->layer[i];

		if (!l->on || l->kind == PTQ_LSTM)
			continue;
		mlo_ptq_tensor(q, l->result)->made = true;
		if (l->kind == PTQ_MOVE && l->result == l->n->out[0])
			share(q, l->n->in[0], l->result);
	}
	find_wide(q);
}

/* -- ranges ---------------------------------------------------------------------------------------- */

static MloRange joined(MloRange a, MloRange b)
{
	return (MloRange){fmin(a.lo, b.lo), fmax(a.hi, b.hi)};
}

/* Parts of a concatenation whose ranges are nearly the same get one: they need not be scaled then. */
static void share_parts(MloPtq *q)
{
	for (size_t i = 0; i < q->nlayers; i++) {
		const MloPtqLayer *l = &q->layer[i];
		const MloPtqTensor *whole;
		const MloRange *r;

		if (!l->on || l->n->op != OP_concat || l->result != l->n->out[0])
			continue;
		whole = &q->tensor[root(q, index_of(q, l->result))];
		r = &whole->range;
		for (uint32_t k = 0; k < l->n->nin; k++) {
			const MloValue *v = l->n->in[k];
			const MloPtqTensor *part = v->data ? NULL : &q->tensor[root(q, index_of(q, v))];

			if (part && part->wide == whole->wide && 1.5 * (part->range.hi - part->range.lo) >= r->hi - r->lo)
				share(q, v, l->result);
		}
	}
}

/* The members of a group all are wanted: a layer that is on reads them. */
static void group_ranges(MloPtq *q)
{
	for (size_t i = 0; i < q->ntensors; i++)
		if (q->tensor[i].wanted)
			q->tensor[root(q, i)].range = joined(q->tensor[root(q, i)].range, q->tensor[i].range);
}

MloElem mlo_ptq_elem(const MloPtq *q, bool wide)
{
	return q->opt.symmetric ? wide ? EL_i16 : EL_i8 : wide ? EL_u16 : EL_u8;
}

void mlo_range_numbers(MloRange r, MloElem e, bool symmetric, double *scale, int32_t *zero)
{
	const int32_t levels = mlo_elem_bits(e) == 16 ? UINT16_MAX : UINT8_MAX;
	const int32_t least = mlo_elem_class(e) == EC_INT ? -levels / 2 - 1 : 0;
	const double most = fmax(-r.lo, r.hi);

	*zero = 0;
	if (most < 1e-30) { /* nothing but zeros */
		*scale = 1;
	} else if (symmetric) {
		*scale = (float)(most / (levels / 2));
	} else {
		*scale = (float)((r.hi - r.lo) / levels);
		*zero = (int32_t)lrint(least - r.lo / *scale);
		*zero = *zero < least ? least : *zero > least + levels ? least + levels : *zero;
	}
}

void mlo_ptq_ranges(MloPtq *q)
{
	for (size_t i = 0; i < q->ntensors; i++) {
		MloPtqTensor *t = &q->tensor[i];

		if (t->wanted && !t->known) {
			t->own = mlo_range(&t->stats, q->opt.range, q->opt.percentile, 256);
			t->seen = mlo_range(&t->stats, RANGE_MINMAX, 0, 0);
		}
		t->known |= t->wanted;
		t->range = t->wide ? t->seen : t->own; /* so many levels that nothing need be cut off */
	}
	group_ranges(q);
	share_parts(q);
	group_ranges(q);
	for (size_t i = 0; i < q->ntensors; i++) {
		MloPtqTensor *t = &q->tensor[i];

		if (!t->wanted)
			continue;
		t->range = q->tensor[root(q, i)].range;
		mlo_range_numbers(t->range, mlo_ptq_elem(q, t->wide), q->opt.symmetric, &t->scale, &t->zero);
	}
}
