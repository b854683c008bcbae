/* passes/fuse.c -- put nodes into groups that become one kernel each.
 *
 * Requires: types, layouts.  Keeps: values, types, layouts.  Gives: groups.
 *
 * A group is grown from an anchor: a contraction takes the reshapes and transposes of its operands
 * (they become strides), a factor per channel of its image (it goes to the weights) and the elementwise nodes behind it (they
 * work on the accumulators), and so do
 * two products with a softmax between them, and convolutions with a depthwise one among them, which are one anchor; a
 * reduction, a row-wise normalisation or an elementwise node takes elementwise neighbours.  A node
 * joins only if its operand is read by nobody else, so that nothing is computed twice.  Members move
 * down to the last one: what lies between cannot depend on them. */
#include "codegen/lower.h"
#include "passes/pass.h"

typedef struct Fuser {
	MloGraph *g;
	MloPassCx *cx;
	MloLowerCx lower;
	uint32_t groups;
	int lanes;
} Fuser;

static MloOpKind kind_of(const MloNode *n)
{
	return mlo_op_info(n->op)->kind;
}

static bool same_storage(const MloValue *a, const MloValue *b)
{
	return a->layout.block == b->layout.block && mlo_type_as_many(NULL, &a->type, &b->type);
}

/* Moves the contiguous nodes first..last before `at`, in order. */
static void move_down(Fuser *f, MloNode *first, MloNode *last, MloNode *at)
{
	for (MloNode *n = first, *next;; n = next) {
		bool end = n == last;

		next = n->next;
		if (at != n)
			mlo_graph_move(f->g, n, at);
		if (end)
			return;
	}
}

/* -- contractions --------------------------------------------------------------------------- */

/* Whether the group can read operand i of the anchor where it lies if it starts at that node. */
typedef bool Reads(Fuser *f, const MloNode *first, const MloNode *anchor, uint32_t i);

/* Strides that take products one by one are not worth it where a copy would let several be taken at once. */
static bool contract_reads(Fuser *f, const MloNode *first, const MloNode *anchor, uint32_t i)
{
	int dot = mlo_contract_dot(&f->lower, first, anchor);

	(void)i;
	return dot > 0 && dot >= mlo_contract_dot(&f->lower, anchor, anchor);
}

/* Reshapes and transposes that only feed operand i of the anchor become part of the group if the
 * operand can then be read by strides.  Answers the new first node. */
static MloNode *absorb_operand(Fuser *f, MloNode *first, MloNode *anchor, uint32_t i, Reads *reads)
{
	MloNode *chain[8];
	int n = 0;

	for (MloValue *v = anchor->in[i]; n < 8 && v && v->def; v = v->def->in[0]) {
		MloNode *d = v->def;

		if ((d->op != OP_transpose && d->op != OP_reshape) || d->group || !mlo_only_user(f->g, v) || d->in[0]->layout.block ||
		    !mlo_node_lowers(d))
			break;
		chain[n++] = d;
	}
	while (n > 0) {
		MloNode *start = chain[n - 1];

		for (int k = n - 1; k >= 0; k--)
			mlo_graph_move(f->g, chain[k], first);
		if (reads(f, start, anchor, i))
			return start;
		n--;
	}
	return first;
}

/* Does every run of `lanes` channels stay one run in memory behind this movement? */
static bool keeps_lanes(Fuser *f, const MloNode *n)
{
	const MloType *x = &n->in[0]->type, *y = &n->out[0]->type;
	const int64_t *perm;
	int np;

	if (x->rank < 1 || y->rank < 1 || n->in[0]->layout.block || n->out[0]->layout.block)
		return false;
	if (n->op == OP_reshape) {
		MloDim from = x->dim[x->rank - 1], to = y->dim[y->rank - 1];

		if (!mlo_type_as_many(NULL, x, y) || !mlo_dim_known(from) || !mlo_dim_known(to))
			return false;
		return from.k == to.k || (to.k % f->lanes == 0 && from.k % to.k == 0);
	}
	if (n->op != OP_transpose)
		return false;
	perm = mlo_attr_ints(n, ATTR_transpose_perm, &np);
	return np == x->rank && perm[np - 1] == x->rank - 1;
}

static bool joins_epilogue(Fuser *f, const MloValue *v, const MloNode *u, bool matrix)
{
	if (!u || u->group || u->nout != 1 || !mlo_node_lowers(u))
		return false;
	if (kind_of(u) == OK_ELTWISE)
		return same_storage(v, u->out[0]) && mlo_can_lower_eltwise(u);
	return matrix && keeps_lanes(f, u);
}

static void set_group(Fuser *f, MloNode *first, MloNode *last)
{
	f->groups++;
	for (MloNode *n = first;; n = n->next) {
		n->group = f->groups;
		if (n == last)
			return;
	}
}

/* The operand of n that is not constant; NULL: there is none, or more than one. */
static MloValue *varying_operand(const MloNode *n, const MloValue *but)
{
	MloValue *found = NULL;

	for (uint32_t i = 0; i < n->nin; i++) {
		if (!n->in[i] || n->in[i]->data || n->in[i] == but)
			continue;
		if (found)
			return NULL;
		found = n->in[i];
	}
	return found;
}

/* The bytes that v is made of by a short chain of elementwise nodes which nobody else reads, as dequantization is;
 * NULL: there is no such chain. */
enum { DEQUANTIZES = 3 };
static MloValue *bytes_of(const Fuser *f, MloValue *v)
{
	for (int n = 0; v && v->def && n < DEQUANTIZES; n++) {
		if (kind_of(v->def) != OK_ELTWISE || !mlo_only_user(f->g, v))
			return NULL;
		v = varying_operand(v->def, NULL);
		if (v && mlo_elem_bits(v->type.elem) == 8)
			return v;
	}
	return NULL;
}

/* Where an operand of u beside the running value is made of bytes by a chain of elementwise nodes, as dequantization
 * is, the chain moves before u and is done on the accumulators, too.  Answers its first node, or u. */
static MloNode *absorb_bytes(Fuser *f, MloNode *u, const MloValue *running)
{
	MloNode *chain[8];
	MloValue *v = varying_operand(u, running);
	int n = 0;

	while (v && mlo_elem_bits(v->type.elem) > 8) {
		MloNode *d = v->def;

		if (n == 8 || !d || d->group || kind_of(d) != OK_ELTWISE || !mlo_only_user(f->g, v) ||
		    !same_storage(v, u->out[0]) || !mlo_can_lower_eltwise(d))
			return u;
		chain[n++] = d;
		v = varying_operand(d, NULL);
	}
	if (!v || !n)
		return u;
	for (int k = n - 1; k >= 0; k--)
		mlo_graph_move(f->g, chain[k], u);
	return chain[n - 1];
}

/* Grows first..last by single users of the running value while `joins` allows. */
static MloNode *grow_down(Fuser *f, MloNode **first, MloNode *last, bool contract, bool matrix)
{
	for (;;) {
		MloValue *v = last->out[0];
		MloNode *u = mlo_only_user(f->g, v), *start = *first, *at;

		if (!joins_epilogue(f, v, u, matrix))
			return last;
		at = contract ? absorb_bytes(f, u, v) : u;
		if (last->next != at)
			move_down(f, start, last, at);
		last = u;
		f->cx->changed++;
	}
}

/* -- attention ------------------------------------------------------------------------------ */

static bool attention_reads(Fuser *f, const MloNode *first, const MloNode *anchor, uint32_t i)
{
	return mlo_can_attend(&f->lower, first, anchor, i, false);
}

static bool attention_reads_rows(Fuser *f, const MloNode *first, const MloNode *anchor, uint32_t i)
{
	return mlo_can_attend(&f->lower, first, anchor, i, true);
}

/* The softmax that takes the products of qk behind maps of their shape alone, and the product that takes it. */
static MloNode *find_softmax(Fuser *f, MloNode *qk, MloNode **pv)
{
	MloNode *n = qk, *u;

	for (;;) {
		MloValue *v = n->out[0];

		u = mlo_only_user(f->g, v);
		if (!u || u->group || u->nout != 1 || !mlo_node_lowers(u) || !mlo_type_same(&v->type, &u->out[0]->type))
			return NULL;
		n = u;
		if (u->op == OP_softmax)
			break;
		if (kind_of(u) != OK_ELTWISE || !mlo_can_lower_eltwise(u))
			return NULL;
	}
	*pv = mlo_only_user(f->g, n->out[0]);
	u = *pv;
	if (!u || u->op != OP_matmul || u->in[0] != n->out[0] || u->in[1] == n->out[0] || u->group || !mlo_node_lowers(u))
		return NULL;
	return n;
}

/* matmul, maps, softmax, matmul: one group where the target does them as one kernel. */
static void fuse_attention(Fuser *f, MloNode *qk)
{
	MloNode *pv, *softmax = find_softmax(f, qk, &pv), *first = qk, *last = qk;

	if (!softmax)
		return;
	while (last != pv) {
		MloNode *u = mlo_only_user(f->g, last->out[0]);

		if (last->next != u)
			move_down(f, first, last, u);
		last = u;
	}
	first = absorb_operand(f, first, pv, 1, attention_reads_rows);
	for (uint32_t i = 0; i < 2; i++)
		first = absorb_operand(f, first, qk, i, attention_reads);
	if (!mlo_can_lower_attention(&f->lower, first, qk, softmax, pv))
		return;
	last = grow_down(f, &first, pv, false, true);
	set_group(f, first, last);
	f->cx->changed++;
}

/* Members move down, past nodes that were not visited: all candidates are noted first. */
static void fuse_attentions(Fuser *f)
{
	struct { MloNode **items; size_t n, cap; } found = {0};

	for (MloNode *n = f->g->first; n; n = n->next)
		if (n->op == OP_matmul && mlo_node_lowers(n))
			MLO_PUSH(f->cx->arena, &found, n);
	for (size_t i = 0; i < found.n; i++)
		if (!found.items[i]->group)
			fuse_attention(f, found.items[i]);
}

/* -- bands ------------------------------------------------------------------------------------ */

/* Convolutions that each feed the next one through elementwise nodes, and nobody else. */
typedef struct Chain {
	MloNode *conv[MLO_MAX_BANDS], *last[MLO_MAX_BANDS];
	int n;
} Chain;

static Chain chain_from(Fuser *f, MloNode *conv)
{
	Chain c = {.n = 0};

	while (conv && conv->op == OP_conv && !conv->group && conv->nout == 1 && mlo_node_lowers(conv) && c.n < MLO_MAX_BANDS) {
		MloNode *u = mlo_only_user(f->g, conv->out[0]);

		c.conv[c.n] = c.last[c.n] = conv;
		while (joins_epilogue(f, c.last[c.n]->out[0], u, false)) {
			c.last[c.n] = u;
			u = mlo_only_user(f->g, u->out[0]);
		}
		conv = u && u->in[0] == c.last[c.n]->out[0] ? u : NULL;
		c.n++;
	}
	return c;
}

/* The part of a chain that gains most from being one kernel: [from, from + n); n is 0 where none does. */
static void choose_bands(Fuser *f, const Chain *c, int *from, int *n)
{
	double most = 0;

	*from = *n = 0;
	for (int i = 0; i + 2 <= c->n; i++)
		for (int k = 2; i + k <= c->n; k++) {
			double gain = mlo_bands_gain(&f->lower, c->conv + i, c->last + i, k);

			if (gain > most) {
				most = gain;
				*from = i;
				*n = k;
			}
		}
}

/* Convolutions with a depthwise one among them: one group where images between them would leave the caches. */
static void fuse_bands(Fuser *f, MloNode *conv)
{
	Chain c = chain_from(f, conv);
	MloNode *first = conv, *last = conv;
	int from, n;

	choose_bands(f, &c, &from, &n);
	if (!n || from) /* a better start is further down: it is visited later */
		return;
	while (last != c.last[n - 1]) {
		MloNode *u = mlo_only_user(f->g, last->out[0]);

		if (last->next != u)
			move_down(f, first, last, u);
		last = u;
	}
	last = grow_down(f, &first, last, true, false);
	set_group(f, first, last);
	f->cx->changed++;
}

/* -- one anchor ------------------------------------------------------------------------------ */

/* Bytes of few channels that become a block of them: one pass over the image quantises it, too. */
static bool weaves(const MloNode *n)
{
	const MloType *t = &n->out[0]->type;

	return n->op == OP_relayout && n->out[0]->layout.block && mlo_dim_known(t->dim[1]) &&
	       t->dim[1].k <= n->out[0]->layout.block && mlo_elem_bits(t->elem) == 8;
}

/* Pooling reads elements several times: it takes no more than a dequantization. */
static bool takes_prologue(const Fuser *f, const MloNode *n)
{
	MloOpKind k = kind_of(n);

	return weaves(n) || k == OK_ELTWISE || k == OK_REDUCE || k == OK_ROWWISE || (k == OK_POOL && bytes_of(f, n->in[0]));
}

/* What dequantises the result for a node that can do that itself is left to it: bytes are stored. */
static MloNode *leave_bytes(Fuser *f, MloNode *anchor, MloNode *last)
{
	MloNode *u = mlo_only_user(f->g, last->out[0]);
	MloValue *bytes = bytes_of(f, last->out[0]);

	if (!bytes || !u || u->group || u->in[0] != last->out[0] || !takes_prologue(f, u) || !mlo_can_lower_loops_node(u))
		return last;
	for (MloNode *n = anchor; n != last; n = n->next)
		if (n == bytes->def && n != anchor)
			return n;
	return last;
}

/* A factor per channel (squeeze and excite) of the anchor's image goes to the weights where these are fewer.  Answers the new
 * first node. */
static MloNode *absorb_gate(Fuser *f, MloNode *anchor)
{
	MloNode *d = anchor->op == OP_conv ? anchor->in[0]->def : NULL;

	if (!d || d->op != OP_mul || d->group || !mlo_only_user(f->g, d->out[0]) || !mlo_node_lowers(d))
		return anchor;
	mlo_graph_move(f->g, d, anchor);
	if (!mlo_scale_pays(&f->lower, d, anchor))
		return anchor;
	f->cx->changed++;
	return d;
}

static void fuse_contraction(Fuser *f, MloNode *anchor)
{
	MloNode *first = absorb_gate(f, anchor), *last;
	bool matrix = anchor->op == OP_matmul || anchor->op == OP_gemm || anchor->op == OP_matmul_integer;

	if (matrix)
		for (uint32_t i = 0; i < 2; i++)
			first = absorb_operand(f, first, anchor, i, contract_reads);
	if (!mlo_can_lower_contract(&f->lower, first, anchor))
		return;
	last = leave_bytes(f, anchor, grow_down(f, &first, anchor, true, matrix));
	set_group(f, first, last);
}

/* -- loops ---------------------------------------------------------------------------------- */

/* Nodes behind each other; what lies deeper is left alone, each in a kernel of its own. */
enum { DEEPEST = 32 };

/* Elementwise producers that only feed `n` move before it and join; up_to_bytes: those behind the last bytes. Answers
 * the new first node. */
static MloNode *absorb_producers(Fuser *f, MloNode *first, MloNode *n, const MloValue *shape, bool up_to_bytes,
                                 int depth)
{
	for (uint32_t i = 0; i < n->nin && depth < DEEPEST; i++) {
		MloNode *d = n->in[i] ? n->in[i]->def : NULL;

		if (up_to_bytes && n->in[i] && mlo_elem_bits(n->in[i]->type.elem) == 8)
			continue;
		if (!d || d->group || kind_of(d) != OK_ELTWISE || d->nout != 1 || !mlo_only_user(f->g, n->in[i]) ||
		    !same_storage(n->in[i], shape) || !mlo_can_lower_loops_node(d))
			continue;
		mlo_graph_move(f->g, d, first);
		first = absorb_producers(f, d, d, shape, up_to_bytes, depth + 1);
		f->cx->changed++;
	}
	return first;
}

/* Are these the bytes that pooling reads? */
static bool feeds_pool(const Fuser *f, const MloValue *bytes)
{
	const MloValue *v = bytes;

	if (mlo_elem_bits(v->type.elem) != 8)
		return false;
	for (int n = 0; n <= DEQUANTIZES; n++) {
		MloNode *u = mlo_only_user(f->g, v);

		if (u && kind_of(u) == OK_POOL)
			return bytes_of(f, u->in[0]) == bytes;
		if (!u || kind_of(u) != OK_ELTWISE)
			return false;
		v = u->out[0];
	}
	return false;
}

static void fuse_loops(Fuser *f, MloNode *n)
{
	MloNode *first = n, *last = n;
	MloOpKind k = kind_of(n);

	if (!mlo_can_lower_loops_node(n) || n->nout != 1)
		return;
	if (k == OK_ELTWISE) {
		/* an elementwise node whose only reader takes it is absorbed from there */
		MloNode *u = mlo_only_user(f->g, n->out[0]);

		if (u && !u->group && takes_prologue(f, u) && !feeds_pool(f, n->out[0]) && u->nout == 1 &&
		    mlo_can_lower_loops_node(u) &&
		    same_storage(n->out[0], kind_of(u) == OK_ELTWISE ? u->out[0] : u->in[0]) && u->in[0] &&
		    (kind_of(u) == OK_ELTWISE || u->in[0] == n->out[0]))
			return;
	}
	if (takes_prologue(f, n) && n->in[0])
		first = absorb_producers(f, n, n, k == OK_ELTWISE ? n->out[0] : n->in[0], k == OK_POOL, 0);
	if (k == OK_REDUCE || k == OK_ROWWISE || k == OK_POOL)
		last = grow_down(f, &first, n, false, false);
	set_group(f, first, last);
}

MloStatus mlo_pass_fuse(MloGraph *g, MloPassCx *cx)
{
	Fuser f = {.g = g, .cx = cx, .lanes = cx->target->vector_bytes / 4};
	struct { MloNode **items; size_t n, cap; } list = {0};

	f.lower = (MloLowerCx){.arena = cx->arena, .graph = g, .target = cx->target};
	fuse_attentions(&f);
	/* groups move down, also past contractions that come later: they are listed first */
	for (MloNode *n = g->first; n; n = n->next)
		if (kind_of(n) == OK_CONTRACT && !n->group && mlo_node_lowers(n))
			MLO_PUSH(cx->arena, &list, n);
	for (size_t i = 0; i < list.n; i++)
		if (!list.items[i]->group)
			fuse_bands(&f, list.items[i]);
	for (size_t i = 0; i < list.n; i++)
		if (!list.items[i]->group)
			fuse_contraction(&f, list.items[i]);
	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		if (!n->group && kind_of(n) != OK_CONTRACT && mlo_node_lowers(n))
			fuse_loops(&f, n);
	}
	return MLO_OK;
}
