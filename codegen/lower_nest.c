/* codegen/lower_nest.c -- one loop nest: its dimensions, which run together, which is vectorised.
 *
 * A nest is built twice for nothing: the probes run every dimension as a plain loop and note how
 * each memory access moves with each of them.  From that follows what can be joined into long flat
 * loops, and over which loop vectors pay. */
#include "codegen/lower_loops.h"

/* -- dimensions --------------------------------------------------------------------------- */

typedef struct Cuts { int64_t at[64]; int n; } Cuts;

static void cut(Cuts *c, int64_t at)
{
	if (c->n < 64 && at > 1)
		c->at[c->n++] = at;
}

/* Products of the inner dimensions: where the flat index of t falls apart. */
static void cut_shape(Cuts *c, const MloType *t)
{
	int64_t inner = 1;
	for (int d = t->rank - 1; d > 0 && mlo_dim_known(t->dim[d]); d--)
		cut(c, inner *= t->dim[d].k);
}

/* Cuts of the flat index of v that make the indices behind its definition simple. */
static void find_cuts(Lower *w, const MloValue *v, Cuts *c, int depth)
{
	if (!lw_inside(w, v) || depth > 24)
		return;
	const MloNode *n = v->def;
	const MloType *t = &v->type;
	if (lw_is_reshape(n)) {
		cut_shape(c, &n->in[0]->type);
		find_cuts(w, n->in[0], c, depth + 1);
	} else if (mlo_op_info(n->op)->kind == OK_ELTWISE) {
		for (uint32_t i = 0; i < n->nin; i++)
			if (n->in[i] && mlo_type_as_many(w->k->syms, &n->in[i]->type, t))
				find_cuts(w, n->in[i], c, depth + 1);
	} else if (n->op == OP_depth_to_space || n->op == OP_resize) {
		int64_t inner = 1;
		for (int d = t->rank - 1; d >= 0 && mlo_dim_known(t->dim[d]); d--) {
			int64_t from = d == 1 && n->op == OP_depth_to_space ? 1 : lw_dim(n->in[0], d);
			if (from > 1 && t->dim[d].k % from == 0)
				cut(c, inner * (t->dim[d].k / from));
			inner *= t->dim[d].k;
		}
	}
}

static void add_dim(LwNest *s, int axis, MloDim extent, int64_t scale)
{
	if (lw_is(extent, 1))
		return;
	MLO_ASSERT(s->ndim < LW_DIMS);
	s->dim[s->ndim++] = (LwDim){.extent = extent, .scale = scale, .axis = axis, .var = -1};
}

/* Axis d of size extent, `inner` elements inside it (0: an open number): one dimension, or several where
 * cuts fit. */
static void add_axis(LwNest *s, int d, MloDim size, int64_t inner, const Cuts *c)
{
	int64_t scale[16] = {1}, extent = size.k;
	int n = 1;
	if (!mlo_dim_known(size)) {
		add_dim(s, d, size, 1);
		return;
	}
	while (inner) {
		int64_t next = extent;
		for (int i = 0; i < c->n; i++) {
			int64_t f = c->at[i] % inner ? 0 : c->at[i] / inner;
			if (f > scale[n - 1] && f < next && f % scale[n - 1] == 0 && extent % f == 0)
				next = f;
		}
		if (next == extent || n == 16)
			break;
		scale[n++] = next;
	}
	for (int i = n - 1; i >= 0; i--)
		add_dim(s, d, mlo_dim((i == n - 1 ? extent : scale[i + 1]) / scale[i]), scale[i]);
}

/* Block to iterate in: that of the value, or of a blocked value that it is converted from. */
static int iteration_block(Lower *w, const MloValue *v)
{
	while (!v->layout.block && lw_inside(w, v)) {
		const MloNode *n = v->def;
		if (n->op != OP_relayout && mlo_op_info(n->op)->kind != OK_ELTWISE)
			return 0;
		if (!mlo_type_same(&n->in[0]->type, &v->type))
			return 0;
		v = n->in[0];
	}
	return v->layout.block;
}

void lw_nest_dims(Lower *w, LwNest *s)
{
	const MloValue *v = s->store[0].val;
	const MloType *t = &v->type;
	Cuts c = {.n = 0};
	bool moved = s->store[0].val != s->store[0].dst;
	int64_t B = moved ? s->store[0].dst->layout.block : iteration_block(w, v), inner[MLO_MAX_RANK + 1] = {0};
	s->rank = t->rank;
	s->block = (int)B;
	inner[t->rank] = 1;
	for (int d = t->rank - 1; d >= 0; d--) {
		s->shape[d] = t->dim[d];
		inner[d] = mlo_dim_known(t->dim[d]) ? inner[d + 1] * t->dim[d].k : 0;
	}
	for (int i = 0; !B && i < s->nstore; i++)
		find_cuts(w, s->store[i].val, &c, 0);
	for (int d = 0; d < t->rank; d++) {
		if (d == 1 && B)
			add_dim(s, 1, mlo_dim((lw_dim(v, 1) + B - 1) / B), B);
		else
			add_axis(s, d, t->dim[d], inner[d + 1], &c);
	}
	if (B)
		add_dim(s, 1, mlo_dim(B), 1);
	s->nout = s->ndim;
	for (int i = 0; i < s->nstore; i++)
		s->anchored |= lw_depends(w, s->store[i].val, w->anchor);
	if (!s->anchored)
		return;
	LwDim red[MLO_MAX_RANK];
	int n = mlo_op_info(w->anchor->op)->kind == OK_POOL ? lw_pool_dims(w->anchor, red)
	                                                     : lw_reduce_dims(w->anchor, red);
	for (int i = 0; i < n; i++)
		if (!lw_is(red[i].extent, 1))
			s->dim[s->ndim++] = red[i];
}

double lw_nest_work(const Lower *w, const LwNest *s)
{
	double n = 1;
	for (int d = 0; d < s->ndim; d++)
		n *= (double)mlo_kernel_guess_dim(w->k->syms, s->dim[d].extent);
	return n;
}

/* -- runs --------------------------------------------------------------------------------- */

static int run_end(const LwNest *s, int a)
{
	while (s->dim[a].join)
		a++;
	return a;
}

static MloDim run_size(const Lower *w, const LwNest *s, int a)
{
	MloDim n = mlo_dim(1);
	for (int d = a, end = run_end(s, a); d <= end; d++)
		n = mlo_dim_mul(w->k->syms, n, s->dim[d].extent);
	return n;
}

/* Iterations of a run, of an open one a plausible number. */
static int64_t run_extent(const Lower *w, const LwNest *s, int a)
{
	return mlo_kernel_guess_dim(w->k->syms, run_size(w, s, a));
}

/* Index v of the run that starts at a, spread over its dimensions. */
static void set_run(Lower *w, LwNest *s, int a, Ix v)
{
	for (int d = run_end(s, a); d > a; d--) {
		s->dim[d].ix = ix_mod(w, v, s->dim[d].extent);
		v = ix_div(w, v, s->dim[d].extent);
	}
	s->dim[a].ix = v;
}

static void open_run(Lower *w, LwNest *s, int a, KLoopKind kind)
{
	MloDim n = run_size(w, s, a);
	int var = lw_open(w, kind, kx_dim(w->k, n));
	s->dim[a].var = var;
	set_run(w, s, a, ix_var(w, var, n));
}

/* The part of run a that task `task` does. */
static void open_chunk(Lower *w, LwNest *s, int a, KLoopKind kind, int task)
{
	MloDim n = run_size(w, s, a);
	const KIdx *from = kx_mul_dim(w->k, kx_var(w->k, task), s->chunk), *len = kx_dim(w->k, s->chunk);
	int64_t lo, hi;
	kx_range(w->k, from, &lo, &hi);
	if (!mlo_dim_known(n) || hi + s->chunk.k > n.k) {
		const KIdx *left = kx_add(w->k, kx_dim(w->k, n), kx_mul(w->k, from, -1));
		len = kx_max(w->k, kx_min(w->k, len, left), kx_const(w->k, 0));
	}
	int var = lw_open(w, kind, len);
	set_run(w, s, a, (Ix){kx_add(w->k, from, kx_var(w->k, var)), mlo_dim(0), n});
}

void lw_red_open(Lower *w)
{
	LwNest *s = w->nest;
	w->in_red = true;
	for (int a = s->nout; a < s->ndim; a = run_end(s, a) + 1)
		if (a != s->vec)
			open_run(w, s, a, KL_SEQ);
	if (s->vec >= s->nout)
		open_run(w, s, s->vec, KL_VEC);
}

void lw_red_close(Lower *w)
{
	for (int a = w->nest->nout; a < w->nest->ndim; a = run_end(w->nest, a) + 1)
		lw_close(w);
	w->in_red = false;
}

static void store_all(Lower *w, LwNest *s)
{
	Ix ix[MLO_MAX_RANK], to[MLO_MAX_RANK];
	for (int d = 0; d < s->rank; d++)
		ix[d] = ix_const(w, 0);
	for (int i = 0; i < s->nout; i++) {
		Ix part = ix_mulc(w, s->dim[i].ix, s->dim[i].scale);
		ix[s->dim[i].axis] = ix_add(w, ix[s->dim[i].axis], part);
	}
	for (int i = 0; i < s->nstore; i++) {
		const LwStore *st = &s->store[i];
		int v = lw_expr(w, st->val, ix);
		for (int d = 0; d < s->rank; d++)
			to[d] = d == st->axis ? ix_move(w, ix[d], st->shift) : ix[d];
		lw_store(w, st->dst, to, v);
	}
}

static MloDim chunks_of(const Lower *w, MloDim n, MloDim chunk)
{
	MloSymbols *t = w->k->syms;
	return mlo_dim_div(t, mlo_dim_add(t, n, mlo_dim_sub(t, chunk, mlo_dim(1))), chunk);
}

void lw_nest_build(Lower *w, LwNest *s, int task)
{
	int base = w->top;
	w->nest = s;
	for (int i = 0; i < s->npar; i++)
		open_run(w, s, s->order[i], KL_PAR);
	if (s->split >= 0 && task < 0)
		task = lw_open(w, KL_PAR, kx_dim(w->k, chunks_of(w, run_size(w, s, s->split), s->chunk)));
	for (int i = s->npar; i < s->norder; i++) {
		int a = s->order[i];
		KLoopKind kind = a == s->vec ? KL_VEC : KL_SEQ;
		if (a == s->split)
			open_chunk(w, s, a, kind, task);
		else
			open_run(w, s, a, kind);
	}
	store_all(w, s);
	while (w->top > base)
		lw_close(w);
	w->nest = NULL;
}

/* -- probing ------------------------------------------------------------------------------ */

static void natural_order(LwNest *s)
{
	s->norder = 0;
	for (int a = 0; a < s->nout; a = run_end(s, a) + 1)
		s->order[s->norder++] = a;
	s->vec = s->split = -1;
	s->npar = 0;
}

static void probe(const Lower *w, LwNest *s, Lower *p)
{
	lw_init(p, w->cx, w->first, w->last, w->anchor, "probe");
	p->probe = true;
	for (int d = 0; d < s->ndim; d++)
		s->dim[d].var = -1;
	natural_order(s);
	lw_nest_build(p, s, -1);
}

/* How e moves per step of var; false: not linearly. */
static bool coefficient(const Lower *p, const KIdx *e, int var, MloDim *c)
{
	MloDim a = mlo_dim(0), b = mlo_dim(0);
	*c = mlo_dim(0);
	if (!e || var < 0 || !lw_uses_var(p, e, var))
		return true;
	if (e->op == KI_VAR)
		return *c = mlo_dim(1), true;
	if (e->op == KI_MUL) {
		bool ok = kx_factor(p->k, e, &b) && coefficient(p, e->a, var, &a);
		return *c = mlo_dim_mul(p->k->syms, a, b), ok;
	}
	if (e->op != KI_ADD || !coefficient(p, e->a, var, &a) || !coefficient(p, e->b, var, &b))
		return false;
	*c = mlo_dim_add(p->k->syms, a, b);
	return true;
}

static bool steps_match(const Lower *p, const KIdx *e, const LwDim *out, const LwDim *in)
{
	MloDim a, b;
	return coefficient(p, e, out->var, &a) && coefficient(p, e, in->var, &b) &&
	       mlo_dim_same(a, mlo_dim_mul(p->k->syms, b, in->extent));
}

static void join_dims(const Lower *p, LwNest *s)
{
	for (int d = 0; d + 1 < s->ndim; d++) {
		bool ok = d + 1 != s->nout && !s->dim[d].fixed && !s->dim[d + 1].fixed;
		for (size_t i = 0; ok && i < p->access.n; i++) {
			const LwAccess *a = &p->access.items[i];
			ok = steps_match(p, a->idx, &s->dim[d], &s->dim[d + 1]);
			for (const KGuard *g = a->guard; ok && g; g = g->next)
				ok = steps_match(p, g->e, &s->dim[d], &s->dim[d + 1]);
		}
		s->dim[d].join = ok;
	}
}

/* Has joining kept every access linear in the joined loops? */
static bool joins_hold(const Lower *p, const LwNest *s)
{
	MloDim c;
	for (int a = 0; a < s->ndim; a = run_end(s, a) + 1) {
		if (!s->dim[a].join)
			continue;
		for (size_t i = 0; i < p->access.n; i++) {
			const LwAccess *x = &p->access.items[i];
			if (!coefficient(p, x->idx, s->dim[a].var, &c))
				return false;
			for (const KGuard *g = x->guard; g; g = g->next)
				if (!coefficient(p, g->e, s->dim[a].var, &c))
					return false;
		}
	}
	return true;
}

/* -- choices ------------------------------------------------------------------------------ */

/* Cost of one access over a vector of `lanes`, in instructions. */
static double access_cost(const Lower *p, const LwAccess *a, int var, double lanes)
{
	MloDim c;
	if (a->number)
		return 0.3;
	bool linear = coefficient(p, a->idx, var, &c);
	double guarded = 0;
	for (const KGuard *g = a->guard; g; g = g->next)
		guarded += lw_uses_var(p, g->e, var) ? 0.5 : 0.1;
	if (linear && lw_is(c, 0))
		return 0.3 + guarded;
	if (linear && lw_is(c, 1))
		return 1 + guarded;
	return (a->store ? 0.75 : 0.5) * lanes + guarded;
}

static double run_cost(const Lower *p, const LwNest *s, int a, double lanes)
{
	double red = 1, inner = 0, outer = 0, n = (double)run_extent(p, s, a);
	double vectors = (double)(((int64_t)n + (int64_t)lanes - 1) / (int64_t)lanes);
	for (int d = s->nout; d < s->ndim; d++)
		red *= (double)mlo_kernel_guess_dim(p->k->syms, s->dim[d].extent);
	for (size_t i = 0; i < p->access.n; i++) {
		const LwAccess *x = &p->access.items[i];
		if (x->inner)
			inner += access_cost(p, x, s->dim[a].var, lanes);
		else
			outer += a >= s->nout ? lanes : access_cost(p, x, s->dim[a].var, lanes);
	}
	double waste = vectors * lanes / n;
	if (a >= s->nout) /* lanes are combined at the end, the rest runs one by one */
		return inner * waste + (outer + 8 * lanes) / red;
	return (inner + outer / red) * waste;
}

static int choose_vec(const Lower *p, const LwNest *s, double lanes)
{
	int best = -1;
	double least = 0;
	for (int a = 0; a < s->ndim; a = run_end(s, a) + 1) {
		if (s->dim[a].fixed)
			continue;
		double c = run_cost(p, s, a, lanes);
		if (best < 0 || c <= least) {
			best = a;
			least = c;
		}
	}
	return best;
}

/* About `want`, if possible a divisor of n that is a multiple of `of`. */
static int64_t good_chunk(int64_t n, int64_t want, int64_t of)
{
	if (want >= n)
		return n;
	want = (want + of - 1) / of * of;
	for (int64_t c = want; c <= 2 * want && c <= n; c += of)
		if (n % c == 0)
			return c;
	for (int64_t c = want; c >= of && 2 * c >= want; c -= of)
		if (n % c == 0)
			return c;
	return want;
}

/* A transposition at heart: vectors have unit stride on one side, and on the other side some other
 * run has it. That run then goes directly around vectors over a short piece, so that both sides
 * stay in the first-level cache.  Answers the run, -1: none. */
static int crossing_run(const Lower *p, const LwNest *s)
{
	if (p->cx->target && p->cx->target->gpu) /* threads have no lanes to turn around */
		return -1;
	if (s->vec < 0 || s->vec >= s->nout || run_extent(p, s, s->vec) < 64)
		return -1;
	for (size_t i = 0; i < p->access.n; i++) {
		const LwAccess *x = &p->access.items[i];
		MloDim c, other;
		if (x->number || x->inner || !coefficient(p, x->idx, s->dim[s->vec].var, &c) ||
		    (mlo_dim_known(c) && c.k < 2))
			continue;
		for (int a = 0; a < s->nout; a = run_end(s, a) + 1)
			if (a != s->vec && run_extent(p, s, a) >= 4 &&
			    coefficient(p, x->idx, s->dim[a].var, &other) && lw_is(other, 1))
				return a;
	}
	return -1;
}

static void to_end(LwNest *s, int a)
{
	int n = 0;
	for (int i = 0; i < s->norder; i++)
		if (s->order[i] != a)
			s->order[n++] = s->order[i];
	s->order[n] = a;
}

/* Chunks of the split run; of an open one they need not divide it. */
static MloDim run_chunk(const Lower *w, const LwNest *s, int64_t want, int64_t of)
{
	MloDim n = run_size(w, s, s->split);
	return mlo_dim(mlo_dim_known(n) ? good_chunk(n.k, want, of) : (want + of - 1) / of * of);
}

/* Tasks that keep threads busy for a while; of a GPU, whose tasks are shared out among threads, all there are. */
static int64_t wanted_tasks(const Lower *w, const LwNest *s)
{
	double wanted = lw_nest_work(w, s) / 4096;

	if (w->cx->target && w->cx->target->gpu)
		return INT32_MAX;
	return wanted < 1 ? 1 : wanted > 256 ? 256 : (int64_t)wanted;
}

static void plan_tasks(const Lower *w, LwNest *s, int64_t lanes)
{
	int64_t want = wanted_tasks(w, s), t = 1;
	for (int i = 0; i < s->norder && t < want; i++) {
		int64_t n = run_extent(w, s, s->order[i]), parts = (want + t - 1) / t;
		bool vec = s->order[i] == s->vec;
		if (!vec && n <= 2 * parts) {
			s->npar = i + 1;
			t *= n;
			continue;
		}
		int64_t chunk = (n + parts - 1) / parts;
		s->split = s->order[i];
		chunk = vec && chunk < 8 * lanes ? 8 * lanes : chunk;
		s->chunk = run_chunk(w, s, chunk, vec ? lanes : 1);
		break;
	}
}

/* Of a transposition: pieces of eight vectors, or of two where there would be less than two tasks. */
static void plan_crossing(const Lower *w, LwNest *s, int64_t lanes)
{
	MloDim n;

	s->npar = s->norder - 2;
	s->split = s->vec;
	n = run_size(w, s, s->split);
	s->chunk = run_chunk(w, s, s->npar == 0 && mlo_dim_known(n) && n.k <= 8 * lanes ? 2 * lanes : 8 * lanes, lanes);
}

void lw_nest_plan(Lower *w, LwNest *s, int64_t ntasks)
{
	Lower p, q;
	const MloTarget *t = w->cx->target;
	int64_t lanes = t ? mlo_target_lanes(t) : 4;
	probe(w, s, &p);
	join_dims(&p, s);
	probe(w, s, &q);
	if (!joins_hold(&q, s)) {
		for (int d = 0; d < s->ndim; d++)
			s->dim[d].join = false;
		probe(w, s, &q);
	}
	s->vec = choose_vec(&q, s, (double)lanes);
	int cross = crossing_run(&q, s);
	if (cross >= 0)
		to_end(s, cross);
	if (s->vec >= 0 && s->vec < s->nout)
		to_end(s, s->vec);
	if (ntasks) {
		for (int i = 0; i < s->norder; i++)
			if (s->split < 0 || run_extent(w, s, s->order[i]) > run_extent(w, s, s->split))
				s->split = s->order[i];
		if (s->split >= 0)
			s->chunk = chunks_of(w, run_size(w, s, s->split), mlo_dim(ntasks));
	} else if (cross >= 0) {
		plan_crossing(w, s, lanes);
	} else {
		plan_tasks(w, s, lanes);
	}
}
