/* ir/infer_control.c -- result types of if and loop: their bodies are inferred with them.
 *
 * Bodies are closed in their sizes too: an input dimension that is no number is a bare size of the body's
 * own, one for each different size outside.  `Ties` keeps which is which; what a body gives is translated
 * back, and a size that the body defines is unknown outside. */
#include "ir/infer.h"

typedef struct Ties {
	InferCx *c;
	struct { struct Tie { MloDim outer, inner; } *items; size_t n, cap; } list;
	bool foreign; /* translate() met a size of the body's own */
} Ties;

static MloArena *arena(const Ties *t)
{
	return t->c->g->arena;
}

static bool is_inner(const Ties *t, MloDim d)
{
	for (size_t i = 0; i < t->list.n; i++)
		if (mlo_dim_same(t->list.items[i].inner, d))
			return true;
	return false;
}

/* The body's size for `outer`; `now` is what stands there and is kept when it can be. */
static MloDim tie(Ties *t, MloDim outer, MloDim now)
{
	const char *name;
	struct Tie x = {outer, now};

	if (!outer.e)
		return outer;
	for (size_t i = 0; i < t->list.n; i++)
		if (mlo_dim_same(t->list.items[i].outer, outer))
			return t->list.items[i].inner;
	if (!mlo_dim_symbol(now, &name) || is_inner(t, now))
		x.inner = mlo_dim_fresh(t->c->syms, "in");
	MLO_PUSH(arena(t), &t->list, x);
	return x.inner;
}

static void set_input(Ties *t, MloValue *v, const MloType *outer)
{
	MloType r = *outer;
	bool same = v->type.rank == r.rank && v->type.kind == r.kind;

	for (int i = 0; i < r.rank; i++)
		r.dim[i] = tie(t, r.dim[i], same ? v->type.dim[i] : mlo_dim(0));
	v->type = r;
}

static bool find_outer(void *user, const char *name, MloDim *out)
{
	Ties *t = user;
	const char *inner;

	for (size_t i = 0; i < t->list.n; i++)
		if (mlo_dim_symbol(t->list.items[i].inner, &inner) && inner == name &&
		    !dim_is_unknown(t->list.items[i].outer)) {
			*out = t->list.items[i].outer;
			return true;
		}
	t->foreign = true;
	return false;
}

/* A type of the body, said in sizes of the graph around it. */
static MloType translate(Ties *t, const MloType *inner)
{
	MloType r = *inner;

	for (int i = 0; i < r.rank; i++) {
		t->foreign = false;
		r.dim[i] = mlo_dim_subst(t->c->syms, inner->dim[i], find_outer, t);
		if (t->foreign)
			r.dim[i] = DIM_UNKNOWN;
	}
	return r;
}

/* What is true of both; kinds and element types must agree. */
static MloStatus join_types(InferCx *c, const char *what, size_t i, const MloType *b, MloType *a)
{
	if (a->kind != b->kind || a->elem != b->elem || a->key != b->key)
		return infer_error(c, "%s %zu is %s here and %s there", what, i, infer_type_text(c, a),
		                   infer_type_text(c, b));
	if (a->rank != b->rank) {
		a->rank = MLO_RANK_UNKNOWN;
		return MLO_OK;
	}
	for (int k = 0; k < a->rank; k++)
		if (dim_is_unknown(a->dim[k]) || dim_is_unknown(b->dim[k]) || !mlo_dim_same(a->dim[k], b->dim[k]))
			a->dim[k] = DIM_UNKNOWN;
	return MLO_OK;
}

static MloStatus need_flag(const InferCx *c, uint32_t i, MloElem elem, const char *what)
{
	const MloType *t = infer_in(c, i);

	if (!t || (!mlo_type_object(t) && t->elem == elem && t->rank <= 1))
		return MLO_OK;
	return infer_error(c, "%s '%s' is %s: one %s is needed", what, infer_name(c, i), infer_type_text(c, t),
	                   mlo_elem_text(elem));
}

static bool types_known(const MloGraph *b)
{
	for (uint32_t i = 0; i < b->noutputs; i++)
		if (b->outputs[i]->type.elem == EL_none)
			return false;
	return true;
}

/* -- if ------------------------------------------------------------------------------------- */

/* A branch need not fit the sizes that there are: models hold branches for others. Its result types then are those
 * of the other branch, and a run that takes it fails. */
typedef struct Branch {
	MloGraph *b;
	const char *name;
	MloType *out;
	MloDiag why;  /* why it cannot run */
	bool dead;
} Branch;

static MloStatus infer_branch(InferCx *c, Branch *x)
{
	MloGraph *b = x->b;
	Ties t = {.c = c};
	MloStatus st;

	if (!b)
		return infer_error(c, "%s is missing", x->name);
	if (b->ninputs != c->n->nin - 1 || b->noutputs != c->n->nout)
		return infer_error(c, "%s takes %u values and gives %u, the node has %u and %u", x->name, b->ninputs,
		                   b->noutputs, c->n->nin - 1, c->n->nout);
	for (uint32_t i = 1; i < c->n->nin; i++) {
		if (!c->n->in[i])
			return infer_error(c, "operand %u is absent, if needs it", i);
		set_input(&t, b->inputs[i - 1], infer_in(c, i));
	}
	x->why.where = c->d ? c->d->where : NULL;
	st = infer_nodes(b, &x->why);
	x->dead = st == MLO_ERR_MODEL || mlo_branch_closed(b);
	x->out = MLO_NEWN(c->g->arena, MloType, b->noutputs + 1);
	for (uint32_t i = 0; i < b->noutputs; i++)
		x->out[i] = translate(&t, &b->outputs[i]->type);
	return x->dead ? MLO_OK : st;
}

/* What a closed branch would give: sizes that are no numbers are its own. */
static void type_closed(InferCx *c, Branch *x, const MloType *as)
{
	for (uint32_t i = 0; mlo_branch_closed(x->b) && i < x->b->noutputs; i++) {
		MloType *now = &x->b->outputs[i]->type, t = as[i];

		for (int k = 0; k < t.rank; k++)
			if (dim_is_unknown(t.dim[k]) || t.dim[k].e)
				t.dim[k] = now->rank == t.rank && now->dim[k].e ? now->dim[k]
				                                                : mlo_dim_fresh(c->syms, "dim");
		*now = t;
	}
}

static MloStatus join_branches(InferCx *c, Branch *x)
{
	Branch *live = x[0].dead ? &x[1] : &x[0], *other = x[0].dead ? &x[0] : &x[1];

	if (live->dead)
		return infer_error(c, "neither branch can run with these sizes");
	for (uint32_t i = 0; types_known(live->b) && i < c->n->nout; i++) {
		if (!other->dead && other->out[i].elem == EL_none)
			return MLO_OK;
		if (!other->dead)
			MLO_TRY(join_types(c, "result", i, &other->out[i], &live->out[i]));
		MLO_TRY(infer_out(c, i, &live->out[i]));
	}
	if (other->dead && types_known(live->b))
		type_closed(c, other, live->out);
	return MLO_OK;
}

MloStatus infer_if(InferCx *c)
{
	Branch x[2] = {{.b = mlo_attr_graph(c->n, ATTR_if_then_branch), .name = "then_branch"},
	               {.b = mlo_attr_graph(c->n, ATTR_if_else_branch), .name = "else_branch"}};
	MloStatus st = need_flag(c, 0, EL_bool, "condition");

	for (int k = 0; st == MLO_OK && k < 2; k++)
		st = infer_branch(c, &x[k]);
	if (st == MLO_OK)
		st = join_branches(c, x);
	for (int k = 0; k < 2; k++) {
		if (st != MLO_OK)
			mlo_diag_move(c->d, &x[k].why);
		mlo_diag_free(&x[k].why);
	}
	return st;
}

bool mlo_branch_closed(const MloGraph *b)
{
	return b->first && b->first->op == OP_never;
}

MloStatus infer_never(InferCx *c)
{
	(void)c; /* types are those of the branch that can run */
	return MLO_OK;
}

static const char *first_error(const MloDiag *why)
{
	for (size_t i = 0; i < why->n; i++)
		if (why->lines[i].severity == MLO_DIAG_ERROR && why->lines[i].text)
			return why->lines[i].text;
	return "its operands do not fit each other";
}

MloStatus mlo_branch_close(MloGraph *g, MloNode *n, MloGraph *b, const MloDiag *why, MloDiag *d)
{
	const char *reason = first_error(why);
	MloNode *never = mlo_graph_node(b, b->first, OP_never, NULL, 0, b->noutputs);

	mlo_attr_set_s(b, never, ATTR_never_reason, reason);
	mlo_origin_add(b, never, n->origin);
	for (uint32_t i = 0; i < b->noutputs; i++)
		mlo_graph_set_output(b, i, never->out[i]);
	while (b->last != never)
		mlo_graph_remove(b, b->last);
	mlo_warn(d, "node '%s': its %s cannot run with these sizes; a run that takes it fails", mlo_node_name(n),
	         b == mlo_attr_graph(n, ATTR_if_then_branch) ? "then_branch" : "else_branch");
	mlo_note(d, "%s", reason);
	return mlo_infer_node(g, n, d); /* fails when the other one is closed, too */
}

static bool has_types(const MloGraph *b)
{
	for (const MloNode *n = b->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i] && n->out[i]->type.elem == EL_none)
				return false;
	return true;
}

MloStatus infer_close(MloGraph *g, MloDiag *d)
{
	MloGraph *b;

	for (MloNode *n = g->first; n; n = n->next)
		for (int at = 0; (b = mlo_node_body(n, &at));) {
			MloDiag why = {.where = d ? d->where : NULL};
			MloStatus st = MLO_OK;

			if (n->op != OP_if || has_types(b))
				st = infer_close(b, d);
			else if (infer_nodes(b, &why) == MLO_ERR_MODEL)
				st = mlo_branch_close(g, n, b, &why, d);
			mlo_diag_free(&why);
			MLO_TRY(st);
		}
	return MLO_OK;
}

/* -- loop ----------------------------------------------------------------------------------- */

typedef struct LoopCx {
	InferCx *c;
	MloGraph *b;
	uint32_t nc;     /* carried values */
	Ties ties;
	MloType *before; /* of the body's inputs, as they stood */
	bool (*open)[MLO_MAX_RANK]; /* by carried value: sizes that change from one iteration to the next */
	struct { struct Saved { MloValue *v; MloType t; } *items; size_t n, cap; } saved;
} LoopCx;

static MloStatus check_loop(LoopCx *l)
{
	InferCx *c = l->c;
	int64_t nc = mlo_attr_i(c->n, ATTR_loop_carried);

	MLO_TRY(need_flag(c, 0, EL_i64, "trip count"));
	MLO_TRY(need_flag(c, 1, EL_bool, "condition"));
	if (!l->b)
		return infer_error(c, "body is missing");
	if (nc < 0 || c->n->nin < 2 || nc > c->n->nin - 2 || l->b->ninputs != c->n->nin ||
	    l->b->noutputs != c->n->nout + 1 || nc > c->n->nout)
		return infer_error(c, "body takes %u values and gives %u, the node has %u and %u with %lld carried",
		                   l->b->ninputs, l->b->noutputs, c->n->nin, c->n->nout, (long long)nc);
	for (uint32_t i = 2; i < c->n->nin; i++)
		if (!c->n->in[i])
			return infer_error(c, "operand %u is absent, loop needs it", i);
	l->nc = (uint32_t)nc;
	return MLO_OK;
}

static void save(LoopCx *l, const MloGraph *b)
{
	const MloGraph *inner;

	for (uint32_t i = 0; i < b->ninputs; i++)
		MLO_PUSH(l->c->g->arena, &l->saved, ((struct Saved){b->inputs[i], b->inputs[i]->type}));
	for (const MloNode *n = b->first; n; n = n->next) {
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i])
				MLO_PUSH(l->c->g->arena, &l->saved, ((struct Saved){n->out[i], n->out[i]->type}));
		for (int at = 0; (inner = mlo_node_body(n, &at));)
			save(l, inner);
	}
}

/* A size that the body changes: its own, not that of anything outside. */
static MloDim open_size(LoopCx *l, MloDim before)
{
	const char *name;
	struct Tie x = {DIM_UNKNOWN, before};

	if (!mlo_dim_symbol(before, &name) || is_inner(&l->ties, before))
		x.inner = mlo_dim_fresh(l->c->syms, "carried");
	MLO_PUSH(arena(&l->ties), &l->ties.list, x); /* so that it is not taken again */
	return x.inner;
}

static void set_inputs(LoopCx *l)
{
	MloGraph *b = l->b;

	l->ties.list.n = 0;
	b->inputs[0]->type = (MloType){.elem = EL_i64};
	b->inputs[1]->type = (MloType){.elem = EL_bool};
	for (uint32_t i = 2; i < b->ninputs; i++) {
		MloType t = l->c->n->in[i]->type;
		bool same = l->before[i].rank == t.rank && l->before[i].kind == t.kind;

		if (i - 2 < l->nc && mlo_type_object(&t))
			t.rank = MLO_RANK_UNKNOWN; /* items come and go */
		for (int k = 0; i - 2 < l->nc && k < t.rank; k++)
			if (l->open[i - 2][k])
				t.dim[k] = open_size(l, same ? l->before[i].dim[k] : mlo_dim(0));
			else
				t.dim[k] = tie(&l->ties, t.dim[k], same ? l->before[i].dim[k] : mlo_dim(0));
		if (i - 2 < l->nc) {
			b->inputs[i]->type = t;
		} else {
			b->inputs[i]->type = l->before[i];
			set_input(&l->ties, b->inputs[i], &t);
		}
	}
}

/* Sizes of carried values that the body gives back changed are opened; *again when there are new ones. */
static MloStatus compare_carried(LoopCx *l, bool *again)
{
	for (uint32_t i = 0; i < l->nc; i++) {
		const MloType *in = &l->b->inputs[i + 2]->type, *out = &l->b->outputs[i + 1]->type;

		if (in->kind != out->kind || in->elem != out->elem || in->key != out->key ||
		    (!mlo_type_object(in) && in->rank != out->rank && in->rank >= 0 && out->rank >= 0))
			return infer_error(l->c, "carried value %u comes as %s, the body gives %s", i,
			                   infer_type_text(l->c, in), infer_type_text(l->c, out));
		for (int k = 0; !mlo_type_object(in) && k < in->rank; k++)
			if (!l->open[i][k] && (out->rank < 0 || !mlo_dim_same(in->dim[k], out->dim[k])))
				*again = l->open[i][k] = true;
	}
	return MLO_OK;
}

/* A loop that runs `trip` times, no less: its condition stays true. */
static MloDim iterations(LoopCx *l)
{
	InferCx *c = l->c;
	const MloValue *cond = c->n->in[1], *next = l->b->outputs[0];
	InferValues v;

	while (next->def && next->def->op == OP_identity)
		next = next->def->in[0];
	if (!c->n->in[0] || (cond && !(cond->data && mlo_tensor_elems(cond->data) == 1 && mlo_tensor_i64(cond->data, 0))))
		return DIM_UNKNOWN;
	if (next != l->b->inputs[1] && !(next->data && mlo_tensor_elems(next->data) == 1 && mlo_tensor_i64(next->data, 0)))
		return DIM_UNKNOWN;
	infer_values(c, c->n->in[0], &v);
	if (v.n != 1 || dim_is_unknown(v.d[0]))
		return DIM_UNKNOWN;
	return !v.d[0].e && v.d[0].k < 0 ? mlo_dim(0) : v.d[0];
}

static MloStatus loop_results(LoopCx *l)
{
	InferCx *c = l->c;

	for (uint32_t i = 0; i < c->n->nout; i++) {
		MloType t = translate(&l->ties, i < l->nc ? &l->b->inputs[i + 2]->type : &l->b->outputs[i + 1]->type);

		if (i >= l->nc) {
			if (mlo_type_object(&t))
				return infer_error(c, "scanned value %u is %s, a tensor is needed", i - l->nc,
				                   infer_type_text(c, &t));
			if (t.rank == MLO_MAX_RANK)
				return infer_error(c, "result %u has more than %d dimensions", i, MLO_MAX_RANK);
			for (int k = t.rank; k > 0; k--)
				t.dim[k] = t.dim[k - 1];
			if (t.rank >= 0) {
				t.rank++;
				t.dim[0] = iterations(l);
			}
		}
		MLO_TRY(infer_out(c, i, &t));
	}
	return MLO_OK;
}

MloStatus infer_loop(InferCx *c)
{
	LoopCx l = {.c = c, .b = mlo_attr_graph(c->n, ATTR_loop_body), .ties = {.c = c}};
	bool again = true;

	MLO_TRY(check_loop(&l));
	l.before = MLO_NEWN(c->g->arena, MloType, l.b->ninputs + 1);
	l.open = mlo_alloc(c->g->arena, l.nc + 1, sizeof *l.open);
	for (uint32_t i = 0; i < l.b->ninputs; i++)
		l.before[i] = l.b->inputs[i]->type;
	save(&l, l.b);
	while (again) {
		again = false;
		for (size_t i = 0; i < l.saved.n; i++) /* nothing may stay from a wrong guess */
			l.saved.items[i].v->type = l.saved.items[i].t;
		set_inputs(&l);
		MLO_TRY(infer_nodes(l.b, c->d));
		if (!types_known(l.b))
			return MLO_OK;
		MLO_TRY(compare_carried(&l, &again));
	}
	return loop_results(&l);
}
