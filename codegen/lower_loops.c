/* codegen/lower_loops.c -- the loop tier: a group of maps, movement and one reduction to a kernel. */
#include "codegen/lower_loops.h"

#include <string.h>

typedef struct Nests { LwNest *items; size_t n, cap; } Nests;

static bool is_anchor(const MloNode *n)
{
	MloOpKind k = mlo_op_info(n->op)->kind;
	return k == OK_REDUCE || k == OK_POOL || k == OK_ROWWISE;
}

/* "add_relu": the operators, those that only rename indices left out. */
static const char *group_name(MloArena *a, const MloNode *first, const MloNode *last)
{
	MloStr s = {.arena = a};
	const char *before = "";
	int words = 0;
	for (const MloNode *n = first;; n = n->next) {
		const char *op = mlo_op_info(n->op)->name;
		bool dull = first != last && lw_is_reshape(n);
		if (!dull && strcmp(op, before) && words < 5) {
			mlo_str_add(&s, words++ ? "_%s" : "%s", op);
			before = op;
		}
		if (n == last)
			break;
	}
	return words ? mlo_str_text(&s) : "reshape";
}

static bool same_space(const LwNest *s, const MloValue *v, const MloValue *dst)
{
	const LwStore *st = &s->store[0];
	bool same = s->nstore < LW_STORES && v == dst && st->val == st->dst && v->type.rank == st->val->type.rank &&
	            v->layout.block == st->val->layout.block;
	for (int d = 0; same && d < v->type.rank; d++)
		same = mlo_dim_same(v->type.dim[d], st->val->type.dim[d]);
	return same;
}

static void add_store(Lower *w, Nests *nests, LwStore st)
{
	for (size_t i = 0; i < nests->n; i++) {
		LwNest *s = &nests->items[i];
		if (same_space(s, st.val, st.dst)) {
			s->store[s->nstore++] = st;
			return;
		}
	}
	LwNest s = {.nstore = 1, .vec = -1, .split = -1};
	s.store[0] = st;
	MLO_PUSH(w->arena, nests, s);
}

/* May each operand of the concatenation that makes v be stored by a nest of its own? */
static bool by_parts(const Lower *w, const MloValue *v, int axis)
{
	const MloNode *n = v->def;
	int64_t B = v->layout.block;
	MloDim from = mlo_dim(0);
	if (n->op != OP_concat)
		return false;
	for (uint32_t i = 0; i < n->nin; i++) {
		if (B && axis == 1 && (!mlo_dim_known(from) || from.k % B || n->in[i]->layout.block != B))
			return false;
		from = mlo_dim_add(w->k->syms, from, lw_size(n->in[i], axis));
	}
	return true;
}

static void add_output(Lower *w, Nests *nests, const MloValue *v)
{
	const MloNode *n = v->def;
	int axis = n->op == OP_concat ? lw_axis(mlo_attr_i(n, ATTR_concat_axis), v->type.rank) : -1;
	MloDim from = mlo_dim(0);
	if (!by_parts(w, v, axis)) {
		add_store(w, nests, (LwStore){v, v, -1, from});
		return;
	}
	for (uint32_t i = 0; i < n->nin; i++) {
		LwNest s = {.nstore = 1, .vec = -1, .split = -1};
		s.store[0] = (LwStore){n->in[i], v, axis, from};
		from = mlo_dim_add(w->k->syms, from, lw_size(n->in[i], axis));
		MLO_PUSH(w->arena, nests, s);
	}
}

static Nests find_nests(Lower *w)
{
	Nests nests = {0};
	for (MloNode *n = w->first;; n = n->next) {
		for (uint32_t i = 0; i < n->nout; i++) {
			const MloValue *v = n->out[i];
			if (v && (v->nuse || n == w->last) &&
			    !mlo_group_internal(w->cx->graph, w->first, w->last, v))
				add_output(w, &nests, v);
		}
		if (n == w->last)
			break;
	}
	for (size_t i = 0; i < nests.n; i++)
		lw_nest_dims(w, &nests.items[i]);
	return nests;
}

/* The reduction must be done once per element of its result. */
static bool anchor_fits(const Lower *w, const Nests *nests)
{
	int users = 0;
	for (size_t i = 0; i < nests->n; i++) {
		const LwNest *s = &nests->items[i];
		if (!s->anchored)
			continue;
		users++;
		MloDim elems = mlo_dim(1);
		for (int d = 0; d < s->rank; d++)
			elems = mlo_dim_mul(w->k->syms, elems, s->shape[d]);
		if (!mlo_dim_same(elems, mlo_type_count(w->k->syms, &w->anchor->out[0]->type)))
			return false;
	}
	return users <= 1;
}

static void build_all(Lower *w, Nests *nests)
{
	if (nests->n == 1) {
		lw_nest_plan(w, &nests->items[0], 0);
		lw_nest_build(w, &nests->items[0], -1);
		return;
	}
	double work = 0;
	for (size_t i = 0; i < nests->n; i++)
		work += lw_nest_work(w, &nests->items[i]);
	int64_t tasks = work < 8192 ? 1 : work > 64 * 4096 ? 64 : (int64_t)(work / 4096);
	for (size_t i = 0; i < nests->n; i++)
		lw_nest_plan(w, &nests->items[i], tasks);
	int task = lw_open(w, KL_PAR, kx_const(w->k, tasks));
	for (size_t i = 0; i < nests->n; i++)
		lw_nest_build(w, &nests->items[i], task);
	lw_close(w);
}

MloStatus mlo_lower_loops(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out)
{
	MloNode *anchor = NULL;
	for (MloNode *n = first;; n = n->next) {
		if (!mlo_can_lower_loops_node(n) || (is_anchor(n) && anchor))
			return MLO_ERR_UNSUPPORTED;
		if (is_anchor(n))
			anchor = n;
		if (n == last)
			break;
	}
	Lower w;
	lw_init(&w, cx, first, last, anchor, group_name(cx->arena, first, last));
	if (anchor && mlo_op_info(anchor->op)->kind == OK_ROWWISE) {
		MLO_TRY(lw_rowwise(&w));
	} else {
		Nests nests = find_nests(&w);
		if (!nests.n || !anchor_fits(&w, &nests))
			return MLO_ERR_UNSUPPORTED;
		build_all(&w, &nests);
	}
	kb_finish(w.k);
	if (w.k->sizes_arg >= 0)
		MLO_PUSH(cx->arena, &w.bind, (MloBinding){0});
	*out = (MloLowered){.kernel = w.k, .bind = w.bind.items};
	return MLO_OK;
}
