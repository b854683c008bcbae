/* codegen/lower_attention.c -- softmax(Q K^T ...) V as one kernel whose scores stay in the caches.
 *
 * A task takes a tile of queries through everything: its scores against all keys, the maps on them (scale,
 * masks), their softmax, and the sum of the values.  As in Dao et al., "FlashAttention" (2022), the scores
 * exist for one tile at a time; keys come in tiles too where the scores of all of them would leave the
 * second-level cache, with the running maximum and sum of Milakov and Gimelshein, "Online normalizer
 * calculation for softmax" (2018).
 *
 * Lanes run over the queries of the tile: scores lie as [key][query], so that the softmax is a walk down
 * the columns, and both products read one operand in vectors and broadcast the other wherever it lies.  Only
 * the tile's queries are turned around, into scratch memory.
 *
 * On a GPU it is one statement (lower_attention_device.c). */
#include <math.h>

#include "codegen/attention_lower.h"

enum { TILE = 48 /* queries */, WALK = 8 /* keys per step of the softmax */ };

/* A tile at work: queries [first, first + n), padded to `stride`; keys [key, key + nk). */
typedef struct Tile {
	const KIdx *first, *key;
	int64_t n, stride, nk;
	bool tiled;
} Tile;

static bool last_axis(const MloNode *softmax)
{
	int64_t axis = mlo_attr_i(softmax, ATTR_softmax_axis);

	return axis == -1 || axis == softmax->in[0]->type.rank - 1;
}

/* -- what can be lowered ------------------------------------------------------------------------ */

bool mlo_can_attend(MloLowerCx *cx, const MloNode *first, const MloNode *anchor, uint32_t i, bool rows)
{
	StridedView v;
	MloDim step;

	if (anchor->in[i]->type.rank < 2 || !contract_view(cx->graph->syms, first, anchor, anchor->in[i], &v))
		return false;
	step = v.stride[v.rank - 1];
	return !rows || (mlo_dim_known(step) && step.k == 1);
}

static bool batches_fit(const Attention *a)
{
	const MloType *y = &a->pv->out[0]->type, *s = &a->qk->out[0]->type;
	MloDim stride;

	for (int d = 0; d < a->nbatch; d++)
		if (!contract_batch_stride(&a->q, s, d, a->nbatch, &stride) ||
		    !contract_batch_stride(&a->kt, s, d, a->nbatch, &stride) ||
		    !contract_batch_stride(&a->v, y, d, a->nbatch, &stride) ||
		    !mlo_dim_same(s->dim[d], y->dim[d]))
			return false;
	return true;
}

static bool known(MloDim d, int64_t *n)
{
	*n = d.k;
	return mlo_dim_known(d) && d.k > 0;
}

static bool cpu_fits(Attention *a, const MloTarget *t)
{
	int64_t lanes = t->vector_bytes / 4, room = t->l2 / 2 / 4 / TILE;

	if (!known(a->queries, &a->nq) || !known(a->seen, &a->nk))
		return false;
	a->keys = a->nk <= room ? a->nk : room / WALK * WALK;
	/* a few queries would fill a part of their lanes */
	return a->keys > 0 && 2 * a->nq >= lanes && a->terms <= room;
}

/* Fills the sizes; false: another way is better, or the only one. */
static bool describe(MloLowerCx *cx, const MloNode *first, Attention *a)
{
	const MloType *s = &a->qk->out[0]->type, *y = &a->pv->out[0]->type;
	MloSymbols *syms = cx->graph->syms;

	a->nbatch = s->rank - 2;
	if (s->elem != EL_f32 || y->elem != EL_f32 || s->rank < 2 || y->rank != s->rank || s->rank > 6 ||
	    !last_axis(a->softmax) || !mlo_can_attend(cx, first, a->qk, 0, false) ||
	    !mlo_can_attend(cx, first, a->qk, 1, false) || !mlo_can_attend(cx, first, a->pv, 1, true))
		return false;
	if (!contract_view(syms, first, a->qk, a->qk->in[0], &a->q) ||
	    !contract_view(syms, first, a->qk, a->qk->in[1], &a->kt) ||
	    !contract_view(syms, first, a->pv, a->pv->in[1], &a->v))
		return false;
	a->queries = s->dim[a->nbatch];
	a->seen = s->dim[a->nbatch + 1];
	if (!known(y->dim[a->nbatch + 1], &a->nv) || !known(a->q.dim[a->q.rank - 1], &a->terms) ||
	    !mlo_dim_same(a->v.dim[a->v.rank - 2], a->seen) || !batches_fit(a))
		return false;
	return cx->target->gpu ? attention_device_fits(a, cx->target) : cpu_fits(a, cx->target);
}

bool mlo_can_lower_attention(MloLowerCx *cx, const MloNode *first, MloNode *qk, MloNode *softmax, MloNode *pv)
{
	Attention a = {.qk = qk, .softmax = softmax, .pv = pv};

	return describe(cx, first, &a);
}

/* -- pieces -------------------------------------------------------------------------------------- */

const KIdx *attention_matrix_at(Attention *a, const StridedView *v, const MloType *y)
{
	MloKernel *k = a->l.k;
	const KIdx *at = kx_const(k, 0);
	MloDim stride;

	for (int d = 0; d < a->nbatch; d++)
		if (contract_batch_stride(v, y, d, a->nbatch, &stride))
			at = kx_add(k, at, kx_mul_dim(k, a->batch[d], stride));
	return at;
}

/* a plain matrix product of rows x terms x columns, scheduled and with its variables */
static KContract product(Attention *a, int64_t rows, int64_t terms, int64_t columns)
{
	MloKernel *k = a->l.k;
	KContract c = {.nb0 = 1, .nb1 = 1, .ny = 1, .nx = rows, .nc = columns, .nk = terms, .nky = 1, .nkx = 1, .sy = 1, .sx = 1,
	               .dy = 1, .dx = 1, .in_y = 1, .in_x = rows, .group_c = columns, .dot = 1, .a.block = terms};

	for (int i = 0; i < 5; i++)
		c.var[i] = mlo_kernel_var(k, (int64_t[]){1, 1, 1, rows, columns}[i]);
	return c;
}

static void schedule(Attention *a, KContract *c)
{
	c->a.elem = a->l.k->arg.items[c->a_arg].elem;
	c->b.elem = a->l.k->arg.items[c->b_arg].elem;
	mlo_schedule_contract(a->l.cx->target, a->l.k, 1, c);
	c->y_chunk = (c->nx + c->cols - 1) / c->cols * c->cols;
	c->c_outer = true;
}

static const KIdx *score_at(Attention *a, const Tile *t, const KIdx *key, const KIdx *query)
{
	return kx_add(a->l.k, kx_mul(a->l.k, key, t->stride), query);
}

/* turned[term][query] = Q; lanes that only pad hold zeros */
static void turn_queries(Attention *a, const Tile *t, KCursor *at)
{
	MloKernel *k = a->l.k;
	const KIdx *from = attention_matrix_at(a, &a->q, &a->qk->out[0]->type), *query, *term;
	KGuard *g = NULL;
	KCursor in;
	int vq, vt;

	in = kb_loop(at, KL_SEQ, kx_const(k, a->terms), &vt);
	in = kb_loop(&in, KL_VEC, kx_const(k, t->stride), &vq);
	query = kx_var(k, vq);
	term = kx_var(k, vt);
	if (t->n < t->stride) {
		g = MLO_NEW(k->arena, KGuard);
		*g = (KGuard){.e = query, .extent = t->n};
	}
	from = kx_add(k, from, kx_mul_dim(k, kx_add(k, t->first, query), attention_stride(&a->q, 2)));
	from = kx_add(k, from, kx_mul_dim(k, term, attention_stride(&a->q, 1)));
	kb_store(&in, a->turned, kx_add(k, kx_mul(k, term, t->stride), query), NULL,
		 kb_load(&in, a->q_arg, from, g, 0));
}

MloStatus attention_score(Attention *a, const KIdx *query, const KIdx *key, int *number)
{
	const KIdx *index[MLO_MAX_RANK];
	MloNode *before = a->qk;

	a->l.done.n = 0;
	for (int d = 0; d < a->nbatch; d++)
		index[d] = a->batch[d];
	index[a->nbatch] = query;
	index[a->nbatch + 1] = key;
	contract_done(&a->l, a->qk->out[0], kb_op(&a->l.at, K_product, EL_f32, -1, -1, -1), index);
	while (before->next != a->softmax)
		before = before->next;
	MLO_TRY(contract_nodes(&a->l, a->qk, before));
	MLO_ASSERT(a->l.done.items[a->l.done.n - 1].v == a->softmax->in[0]);
	*number = a->l.done.items[a->l.done.n - 1].number;
	return MLO_OK;
}

/* score[key][query] = maps of Q K^T */
static MloStatus make_scores(Attention *a, const Tile *t, KCursor *at)
{
	MloKernel *k = a->l.k;
	KContract c = product(a, t->nk, a->terms, t->stride);
	const KIdx *key = kx_var(k, c.var[3]), *lane = kx_var(k, c.var[4]);
	KGuard g = {.e = lane, .extent = t->n};
	int number;

	c.a_arg = a->k_arg;
	c.b_arg = a->turned;
	c.a.x = mlo_kernel_number(k, attention_stride(&a->kt, 1));
	c.a.k = mlo_kernel_number(k, attention_stride(&a->kt, 2));
	c.a_at = kx_add(k, attention_matrix_at(a, &a->kt, &a->qk->out[0]->type),
			kx_mul_dim(k, t->key, attention_stride(&a->kt, 1)));
	c.b.k = t->stride;
	schedule(a, &c);
	a->l.at = kb_contract(at, &c);
	a->l.guard = t->n < t->stride ? mlo_dup(k->arena, &g, sizeof g) : NULL;
	a->l.rows_in_lanes = true;
	MLO_TRY(attention_score(a, kx_add(k, t->first, lane), kx_add(k, t->key, key), &number));
	kb_store(&a->l.at, a->score, score_at(a, t, key, lane), NULL, number);
	a->l.guard = NULL;
	a->l.rows_in_lanes = false;
	return MLO_OK;
}

static int larger(KCursor *at, int x, int y)
{
	return kb_op(at, K_select, EL_f32, kb_op(at, K_lt, EL_bool, x, y, -1), y, x);
}

static int plus(KCursor *at, int x, int y)
{
	return kb_op(at, K_add, EL_f32, x, y, -1);
}

/* One step of a walk down the scores: n of them from `key` on, joined into one value. */
typedef struct Walk {
	Attention *a;
	const Tile *t;
	const KIdx *query;
	int max; /* SSA value: scores become their exponentials, which are added; -1: the largest one is found
		  */
} Walk;

static int walk_step(const Walk *w, KCursor *at, const KIdx *key, int n)
{
	MloKernel *k = w->a->l.k;
	int v[WALK];

	for (int i = 0; i < n; i++) {
		const KIdx *place = score_at(w->a, w->t, kx_add(k, key, kx_const(k, i)), w->query);

		v[i] = kb_load(at, w->a->score, place, NULL, 0);
		if (w->max < 0)
			continue;
		v[i] = kb_op(at, K_decay, EL_f32, kb_op(at, K_sub, EL_f32, v[i], w->max, -1), -1, -1);
		kb_store(at, w->a->score, place, NULL, v[i]);
	}
	for (int step = 1; step < n; step *= 2)
		for (int i = 0; i + step < n; i += 2 * step)
			v[i] = w->max < 0 ? larger(at, v[i], v[i + step]) : plus(at, v[i], v[i + step]);
	return v[0];
}

/* All scores of the queries at hand, from `start` on; answers the SSA value. */
static int walk(const Walk *w, KCursor *at, int start)
{
	MloKernel *k = w->a->l.k;
	int64_t whole = w->t->nk / WALK, rest = w->t->nk % WALK;
	KOp op = w->max < 0 ? K_max : K_add;
	int acc = kb_acc_init(at, start), var;

	if (whole) {
		KCursor in = kb_loop(at, KL_SEQ, kx_const(k, whole), &var);

		kb_acc(&in, acc, op, walk_step(w, &in, kx_mul(k, kx_var(k, var), WALK), WALK));
	}
	if (rest)
		kb_acc(at, acc, op, walk_step(w, at, kx_const(k, whole * WALK), (int)rest));
	return kb_accum(at, acc, EL_f32);
}

/* Exponentials in place of the scores; sum[query]: of them, or with all keys at hand its reciprocal. */
static void soften(Attention *a, const Tile *t, KCursor *at)
{
	MloKernel *k = a->l.k;
	KCursor in;
	int var, before = -1, sum;
	Walk w = {.a = a, .t = t, .max = -1};

	in = kb_loop(at, KL_VEC, kx_const(k, t->stride), &var);
	w.query = kx_var(k, var);
	if (t->tiled)
		before = kb_load(&in, a->max, w.query, NULL, 0);
	w.max = walk(&w, &in, t->tiled ? before : kb_const_f(&in, EL_f32, -INFINITY));
	if (!t->tiled) {
		sum = walk(&w, &in, kb_const_f(&in, EL_f32, 0));
		kb_store(&in, a->sum, w.query, NULL,
			 kb_op(&in, K_div, EL_f32, kb_const_f(&in, EL_f32, 1), sum, -1));
		return;
	}
	/* what came before counts e^(old - new) times; nothing has while all scores are -inf */
	kb_store(&in, a->max, w.query, NULL, w.max);
	sum = kb_op(&in, K_eq, EL_bool, w.max, kb_const_f(&in, EL_f32, -INFINITY), -1);
	w.max = kb_op(&in, K_select, EL_f32, sum, kb_const_f(&in, EL_f32, 0), w.max);
	before = kb_op(&in, K_decay, EL_f32, kb_op(&in, K_sub, EL_f32, before, w.max, -1), -1, -1);
	kb_store(&in, a->carry, w.query, NULL, before);
	sum = kb_op(&in, K_mul, EL_f32, kb_load(&in, a->sum, w.query, NULL, 0), before, -1);
	kb_store(&in, a->sum, w.query, NULL, walk(&w, &in, sum));
}

/* The product of exponentials and values: the cursor is left in its epilogue. */
static KContract add_values(Attention *a, const Tile *t, KCursor *at)
{
	MloKernel *k = a->l.k;
	KContract c = product(a, t->n, t->nk, a->nv);

	c.a_arg = a->score;
	c.b_arg = a->v_arg;
	c.a.x = 1;
	c.a.k = t->stride;
	c.b.k = mlo_kernel_number(k, attention_stride(&a->v, 2));
	c.b_at = kx_add(k, attention_matrix_at(a, &a->v, &a->pv->out[0]->type),
			kx_mul_dim(k, t->key, attention_stride(&a->v, 2)));
	schedule(a, &c);
	a->l.at = kb_contract(at, &c);
	return c;
}

MloStatus attention_finish(Attention *a, int value, const KIdx *query, const KIdx *column)
{
	const KIdx *index[MLO_MAX_RANK];

	a->l.done.n = 0;
	for (int d = 0; d < a->nbatch; d++)
		index[d] = a->batch[d];
	index[a->nbatch] = query;
	index[a->nbatch + 1] = column;
	contract_done(&a->l, a->pv->out[0], value, index);
	MLO_TRY(contract_nodes(&a->l, a->pv, a->l.last));
	return contract_store_results(&a->l);
}

/* -- tiles of keys -------------------------------------------------------------------------------- */

static void clear(Attention *a, const Tile *t, KCursor *at)
{
	MloKernel *k = a->l.k;
	int var;
	KCursor in = kb_loop(at, KL_VEC, kx_const(k, t->stride), &var);

	kb_store(&in, a->max, kx_var(k, var), NULL, kb_const_f(&in, EL_f32, -INFINITY));
	kb_store(&in, a->sum, kx_var(k, var), NULL, kb_const_f(&in, EL_f32, 0));
	in = kb_loop(at, KL_VEC, kx_const(k, t->n * a->nv), &var);
	kb_store(&in, a->part, kx_var(k, var), NULL, kb_const_f(&in, EL_f32, 0));
}

static const KIdx *part_at(Attention *a, const KIdx *query, const KIdx *column)
{
	return kx_add(a->l.k, kx_mul(a->l.k, query, a->nv), column);
}

static MloStatus take_keys(Attention *a, Tile *t, KCursor *at)
{
	MloKernel *k = a->l.k;
	const KIdx *query, *place;
	KContract c;
	int v;

	MLO_TRY(make_scores(a, t, at));
	soften(a, t, at);
	c = add_values(a, t, at);
	query = kx_var(k, c.var[3]);
	place = part_at(a, query, kx_var(k, c.var[4]));
	v = kb_load(&a->l.at, a->part, place, NULL, 0);
	v = kb_op(&a->l.at, K_mul, EL_f32, v, kb_load(&a->l.at, a->carry, query, NULL, 0), -1);
	v = plus(&a->l.at, v, kb_op(&a->l.at, K_product, EL_f32, -1, -1, -1));
	kb_store(&a->l.at, a->part, place, NULL, v);
	return MLO_OK;
}

static MloStatus many_keys(Attention *a, Tile *t, KCursor *at)
{
	MloKernel *k = a->l.k;
	int64_t whole = a->nk / a->keys, rest = a->nk % a->keys;
	KCursor in;
	int vk, vq, vc, v;

	t->tiled = true;
	clear(a, t, at);
	in = kb_loop(at, KL_SEQ, kx_const(k, whole), &vk);
	t->key = kx_mul(k, kx_var(k, vk), a->keys);
	t->nk = a->keys;
	MLO_TRY(take_keys(a, t, &in));
	if (rest) {
		t->key = kx_const(k, whole * a->keys);
		t->nk = rest;
		MLO_TRY(take_keys(a, t, at));
	}
	in = kb_loop(at, KL_SEQ, kx_const(k, t->n), &vq);
	a->l.at = kb_loop(&in, KL_VEC, kx_const(k, a->nv), &vc);
	v = kb_load(&a->l.at, a->part, part_at(a, kx_var(k, vq), kx_var(k, vc)), NULL, 0);
	v = kb_op(&a->l.at, K_div, EL_f32, v, kb_load(&a->l.at, a->sum, kx_var(k, vq), NULL, 0), -1);
	return attention_finish(a, v, kx_add(k, t->first, kx_var(k, vq)), kx_var(k, vc));
}

static MloStatus all_keys(Attention *a, Tile *t, KCursor *at)
{
	KContract c;
	int v;

	t->nk = a->nk;
	t->key = kx_const(a->l.k, 0);
	MLO_TRY(make_scores(a, t, at));
	soften(a, t, at);
	c = add_values(a, t, at);
	v = kb_op(&a->l.at, K_product, EL_f32, -1, -1, -1);
	v = kb_op(&a->l.at, K_mul, EL_f32, v, kb_load(&a->l.at, a->sum, kx_var(a->l.k, c.var[3]), NULL, 0),
		  -1);
	return attention_finish(a, v, kx_add(a->l.k, t->first, kx_var(a->l.k, c.var[3])), kx_var(a->l.k, c.var[4]));
}

/* -- tiles of queries ------------------------------------------------------------------------------ */

static MloStatus take_queries(Attention *a, const KIdx *first, int64_t n, KCursor at)
{
	int64_t lanes = a->l.cx->target->vector_bytes / 4;
	Tile t = {.first = first, .n = n, .stride = (n + lanes - 1) / lanes * lanes};

	turn_queries(a, &t, &at);
	return a->keys < a->nk ? many_keys(a, &t, &at) : all_keys(a, &t, &at);
}

static int64_t tile_of(const Attention *a)
{
	return a->nq < TILE ? a->nq : TILE;
}

static void bind(Attention *a)
{
	int64_t lanes = a->l.cx->target->vector_bytes / 4, n = (tile_of(a) + lanes - 1) / lanes * lanes;

	a->q_arg = contract_bind(&a->l, KA_IN, a->q.base, NULL);
	a->k_arg = contract_bind(&a->l, KA_IN, a->kt.base, NULL);
	a->v_arg = contract_bind(&a->l, KA_IN, a->v.base, NULL);
	a->turned = contract_scratch(&a->l, a->terms * n);
	a->score = contract_scratch(&a->l, a->keys * n);
	a->sum = contract_scratch(&a->l, n);
	if (a->keys == a->nk)
		return;
	a->max = contract_scratch(&a->l, n);
	a->carry = contract_scratch(&a->l, n);
	a->part = contract_scratch(&a->l, n * a->nv);
}

static MloStatus build(Attention *a)
{
	const MloType *y = &a->pv->out[0]->type;
	MloKernel *k = a->l.k;
	KCursor at = kb_top(k), in;
	int64_t tile = tile_of(a), whole = a->nq / tile, rest = a->nq % tile;
	const KIdx *n, *first;
	int var;

	for (int d = 0; d < a->nbatch; d++) {
		at = kb_loop(&at, KL_PAR, kx_dim(k, y->dim[d]), &var);
		a->batch[d] = kx_var(k, var);
	}
	at = kb_loop(&at, KL_PAR, kx_const(k, whole + (rest > 0)), &var);
	n = kx_var(k, var);
	first = kx_mul(k, n, tile);
	if (!rest)
		return take_queries(a, first, tile, at);
	/* loops that run once or never tell the whole tiles from the last one */
	in = kb_loop(&at, KL_SEQ, kx_min(k, kx_add(k, kx_const(k, whole), kx_mul(k, n, -1)), kx_const(k, 1)),
		     &var);
	MLO_TRY(take_queries(a, first, tile, in));
	in = kb_loop(&at, KL_SEQ, kx_max(k, kx_add(k, n, kx_const(k, 1 - whole)), kx_const(k, 0)), &var);
	return take_queries(a, kx_const(k, whole * tile), rest, in);
}

static bool find_parts(Attention *a, MloNode *first, MloNode *last)
{
	for (MloNode *n = first; n; n = n == last ? NULL : n->next) {
		if (n->op == OP_matmul && !a->qk)
			a->qk = n;
		else if (n->op == OP_softmax && !a->softmax)
			a->softmax = n;
		else if (n->op == OP_matmul && a->softmax && !a->pv)
			a->pv = n;
	}
	return a->qk && a->softmax && a->pv;
}

MloStatus mlo_lower_attention(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out)
{
	Attention a = {.l = {.cx = cx, .first = first, .last = last}};
	double batches = 1;

	if (!find_parts(&a, first, last) || !describe(cx, first, &a))
		return MLO_ERR_UNSUPPORTED;
	a.l.k = mlo_kernel_new(cx->arena, "attention");
	a.l.k->syms = cx->graph->syms;
	if (cx->target->gpu) {
		MLO_TRY(attention_device_build(&a));
	} else {
		bind(&a);
		MLO_TRY(build(&a));
	}
	for (int d = 0; d < a.nbatch; d++)
		batches *= (double)mlo_kernel_guess_dim(cx->graph->syms, a.pv->out[0]->type.dim[d]);
	batches *= (double)mlo_kernel_guess_dim(cx->graph->syms, a.queries) * (double)mlo_kernel_guess_dim(cx->graph->syms, a.seen);
	a.l.k->flops = 2 * batches * (double)(a.terms + a.nv);
	kb_finish(a.l.k);
	if (a.l.k->sizes_arg >= 0)
		MLO_PUSH(cx->arena, &a.l.bind, (MloBinding){0});
	*out = (MloLowered){.kernel = a.l.k, .bind = a.l.bind.items};
	return MLO_OK;
}
