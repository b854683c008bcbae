/* tests/ptx/warp.c -- instructions that exchange values between the lanes of a warp. */
#include "tests/ptx/ops.h"

enum { UP, DOWN, BFLY, IDX };
enum { ALL, ANY, UNI, BALLOT };
enum { RED_ADD, RED_MIN, RED_MAX, RED_AND, RED_OR, RED_XOR };

/* The mask of lanes that take part, the same for all that execute; all of them that are alive must be here. */
static bool members(PtxWarp *w, const PtxInst *i, uint32_t m, uint32_t *mask)
{
	const uint32_t *given = SLOT(uint32_t, i->list[0]);

	*mask = 0;
	for (uint32_t left = m; left; left &= left - 1)
		*mask |= given[__builtin_ctz(left)];
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);

		for (uint32_t others = m & given[l]; others; others &= others - 1)
			if (!(given[l] >> l & 1) || given[__builtin_ctz(others)] != given[l]) {
				ptx_finding(w, i, l, PTX_LAUNCH_FAILED, "lanes name different members");
				return false;
			}
	}
	if ((*mask & m) != m || (*mask & w->live) & ~m) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "members %#x, but lanes %#x are here", *mask, m);
		return false;
	}
	return true;
}

static void run_shfl(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t *a = SLOT(uint32_t, i->a), *b = SLOT(uint32_t, i->b), *c = SLOT(uint32_t, i->c);
	uint32_t mask, good = 0, t[PTX_LANES];

	if (!members(w, i, m, &mask))
		return;
	for (int l = 0; l < PTX_LANES; l++) {
		const int bound = c[l] & 31, segment = c[l] >> 8 & 31, n = b[l] & 31;
		const int low = l & segment, high = low | (bound & ~segment);
		const int from = i->mode == UP     ? l - n
				 : i->mode == DOWN ? l + n
				 : i->mode == BFLY ? (l ^ n)
						   : (low | (n & ~segment));
		const bool valid = i->mode == UP ? from >= high : from <= high;
		const int source = valid ? from & 31 : l;

		if (IN(m, l) && valid && !IN(m, source) && i->list[1] == 0) {
			ptx_finding(w, i, l, PTX_LAUNCH_FAILED, "takes the value of lane %d, which is not here",
				    source);
			return;
		}
		good |= (uint32_t)valid << l;
		t[l] = a[source];
	}
	ptx_put(w, i->d, t, 4, m);
	if (i->list[1])
		ptx_put_pred(w, i->list[1], good, m);
}

/* The lanes of *left that are members together with its first one; takes them away. */
static uint32_t next_group(const PtxWarp *w, const PtxInst *i, uint32_t *left)
{
	const uint32_t group = SLOT(const uint32_t, i->list[0])[__builtin_ctz(*left)] & *left;

	*left &= ~group;
	return group;
}

static void put_same(PtxWarp *w, int32_t slot, uint32_t value, uint32_t m)
{
	uint32_t t[PTX_LANES];

	EACH t[l] = value;
	ptx_put(w, slot, t, 4, m);
}

static void run_vote(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t yes = i->flags & PTX_NOT ? ~PRED(i->a) : PRED(i->a);
	uint32_t mask, left = m;

	if (!members(w, i, m, &mask))
		return;
	while (left) {
		const uint32_t group = next_group(w, i, &left), p = yes & group;
		const bool r = i->mode == ALL ? p == group : i->mode == ANY ? p != 0 : p == group || !p;

		if (i->mode == BALLOT)
			put_same(w, i->d, p, group);
		else
			ptx_put_pred(w, i->d, r ? PTX_FULL : 0, group);
	}
}

/* Lanes of a group whose values are that of lane l. */
static uint32_t alike(const PtxWarp *w, const PtxInst *i, uint32_t group, unsigned l)
{
	uint32_t r = 0;

	for (uint32_t left = group; left; left &= left - 1) {
		const unsigned k = (unsigned)__builtin_ctz(left);

		r |= (uint32_t)!memcmp(w->file + i->a + l * i->bytes, w->file + i->a + k * i->bytes, i->bytes) << k;
	}
	return r;
}

static void run_match(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint32_t mask, t[PTX_LANES] = {0}, left = m, good = 0;

	if (!members(w, i, m, &mask))
		return;
	while (left) {
		const uint32_t group = next_group(w, i, &left);
		const bool all = alike(w, i, group, (unsigned)__builtin_ctz(group)) == group;

		good |= all ? group : 0;
		EACH if (IN(group, l))
			t[l] = i->mode == ANY ? alike(w, i, group, (unsigned)l) : all ? group : 0;
	}
	if (i->mode == ALL && i->list[1])
		ptx_put_pred(w, i->list[1], good, m);
	ptx_put(w, i->d, t, 4, m);
}

static uint32_t reduce(int op, bool is_signed, uint32_t x, uint32_t y)
{
	switch (op) {
	case RED_ADD:
		return x + y;
	case RED_MIN:
		return is_signed ? ((int32_t)x < (int32_t)y ? x : y) : x < y ? x : y;
	case RED_MAX:
		return is_signed ? ((int32_t)x > (int32_t)y ? x : y) : x > y ? x : y;
	case RED_AND:
		return x & y;
	case RED_OR:
		return x | y;
	default:
		return x ^ y;
	}
}

static void run_redux(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t *a = SLOT(uint32_t, i->a);
	uint32_t mask, left = m, t[PTX_LANES] = {0};

	if (!members(w, i, m, &mask))
		return;
	while (left) {
		const uint32_t group = next_group(w, i, &left);
		uint32_t r = a[__builtin_ctz(group)];

		for (uint32_t others = group & (group - 1); others; others &= others - 1)
			r = reduce(i->mode, i->type == PTX_S32, r, a[__builtin_ctz(others)]);
		EACH t[l] = IN(group, l) ? r : t[l];
	}
	ptx_put(w, i->d, t, 4, m);
}

static void run_activemask(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	put_same(w, i->d, m, m);
}

static void run_elect(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint32_t mask, left = m;

	if (!members(w, i, m, &mask))
		return;
	while (left) {
		const uint32_t group = next_group(w, i, &left), first = (uint32_t)__builtin_ctz(group);

		if (i->d)
			put_same(w, i->d, first, group);
		ptx_put_pred(w, i->list[1], 1u << first, group);
	}
}

/* -- decoding -- */

/* list: slot of the mask of members, slot of the predicate or 0. */
static void exchange(PtxParse *p, PtxInst *i, PtxRun *run, unsigned mask, bool pair)
{
	int32_t *list = ptx_alloc(p->m, 2 * sizeof *list);

	if (!ptx_take(&p->stmt, "sync"))
		ptx_fail(p, "%s: only forms with .sync are supported", p->stmt.text);
	i->run = run;
	i->cls = PTX_CLASS_SHUFFLE;
	i->list = list;
	list[0] = ptx_source(p, ptx_operand(p, mask), PTX_B32, false);
	list[1] = pair ? ptx_dest(p, ptx_operand(p, 1), PTX_PRED, false) : 0;
}

static void decode_shfl(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const modes[] = {"up", "down", "bfly", "idx", NULL};
	const int mode = ptx_take_one(&p->stmt, modes);
	const unsigned pair = ptx_operand(p, 0)->pair;

	(void)ptx_take_type(p);
	if (mode < 0)
		ptx_fail(p, "%s: a mode is missing", p->stmt.text);
	ptx_operands(p, 5 + pair);
	exchange(p, i, run_shfl, 4 + pair, pair);
	i->mode = (uint8_t)mode;
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_B32, false);
	i->a = ptx_source(p, ptx_operand(p, 1 + pair), PTX_B32, false);
	i->b = ptx_source(p, ptx_operand(p, 2 + pair), PTX_B32, false);
	i->c = ptx_source(p, ptx_operand(p, 3 + pair), PTX_B32, false);
}

static void decode_vote(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const modes[] = {"all", "any", "uni", "ballot", NULL};
	const int mode = ptx_take_one(&p->stmt, modes);
	const PtxType t = ptx_take_type(p);

	if (mode < 0)
		ptx_fail(p, "%s: a mode is missing", p->stmt.text);
	ptx_operands(p, 3);
	exchange(p, i, run_vote, 2, false);
	i->mode = (uint8_t)mode;
	i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
	i->a = ptx_source(p, ptx_operand(p, 1), PTX_PRED, false);
	i->flags |= ptx_operand(p, 1)->negated ? PTX_NOT : 0;
}

static void decode_match(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const modes[] = {"all", "any", NULL};
	const int mode = ptx_take_one(&p->stmt, modes);
	const PtxType t = ptx_take_type(p);
	const unsigned pair = ptx_operand(p, 0)->pair;

	if (mode < 0)
		ptx_fail(p, "%s: a mode is missing", p->stmt.text);
	ptx_operands(p, 3 + pair);
	exchange(p, i, run_match, 2 + pair, pair);
	i->mode = (uint8_t)mode;
	i->bytes = (uint8_t)ptx_type_bytes(t);
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_B32, false);
	i->a = ptx_source(p, ptx_operand(p, 1 + pair), t, false);
}

static void decode_redux(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const modes[] = {"add", "min", "max", "and", "or", "xor", NULL};
	const int mode = ptx_take_one(&p->stmt, modes);
	const PtxType t = ptx_take_type(p);

	if (mode < 0)
		ptx_fail(p, "%s: an operation is missing", p->stmt.text);
	ptx_need(p, 80, 70, "redux");
	ptx_operands(p, 3);
	exchange(p, i, run_redux, 2, false);
	i->mode = (uint8_t)mode;
	i->type = (uint8_t)t;
	i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
}

static void decode_activemask(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	(void)ptx_take_type(p);
	ptx_operands(p, 1);
	i->run = run_activemask;
	i->cls = PTX_CLASS_SHUFFLE;
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_B32, false);
}

static void decode_elect(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	ptx_need(p, 90, 80, "elect");
	ptx_operands(p, 3);
	exchange(p, i, run_elect, 2, true);
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_B32, false);
}

const PtxOp ptx_warp_ops[] = {
	{"shfl", NULL, decode_shfl, 0, NULL},
	{"vote", NULL, decode_vote, 0, NULL},
	{"match", NULL, decode_match, 0, NULL},
	{"redux", NULL, decode_redux, 0, NULL},
	{"activemask", NULL, decode_activemask, 0, NULL},
	{"elect", NULL, decode_elect, 0, NULL},
	{0},
};
