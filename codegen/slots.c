/* codegen/slots.c -- numbers slots, shares equal expressions, and keeps them in order of evaluation. */
#include "codegen/slots.h"

static bool early_of(const Slots *s, int slot)
{
	return slot < 0 || s->slot.items[slot].early;
}

static int64_t guess_of(const Slots *s, int slot)
{
	return slot < 0 ? 0 : s->slot.items[slot].guess;
}

int slots_new(Slots *s, int n, bool early, int64_t guess)
{
	for (int i = 0; i < n; i++)
		MLO_PUSH(s->arena, &s->slot, ((SlotInfo){.early = early, .guess = guess, .expr.dst = MLRT_ABSENT}));
	return (int)s->slot.n - n;
}

bool slots_is_const(const Slots *s, int slot, int64_t *v)
{
	const MlrtExpr *e = &s->slot.items[slot].expr;

	*v = e->imm;
	return e->dst != MLRT_ABSENT && e->op == MLRT_X_CONST;
}

static void append(Slots *s, MlrtExpr e, bool early)
{
	if (early)
		MLO_PUSH(s->arena, &s->early, e);
	else
		MLO_PUSH(s->arena, &s->late, e);
}

bool slots_compute(enum MlrtExprOp op, int64_t a, int64_t b, int64_t imm, int64_t *out)
{
	switch (op) {
	case MLRT_X_ADD:
		return !__builtin_add_overflow(a, b, out);
	case MLRT_X_SUB:
		return !__builtin_sub_overflow(a, b, out);
	case MLRT_X_MUL:
		return !__builtin_mul_overflow(a, b, out);
	case MLRT_X_DIV:
	case MLRT_X_CEILDIV:
	case MLRT_X_MOD:
		if (b <= 0)
			return false;
		*out = a / b - (a % b < 0);
		if (op == MLRT_X_CEILDIV)
			*out += *out * b != a;
		if (op == MLRT_X_MOD)
			*out = a - *out * b;
		return true;
	case MLRT_X_MAX:
	case MLRT_X_MIN:
		*out = (a > b) == (op == MLRT_X_MAX) ? a : b;
		return true;
	case MLRT_X_ALIGN:
		if (a > INT64_MAX - imm || a < 0)
			return false;
		*out = (a + imm - 1) / imm * imm;
		return true;
	default:
		return false;
	}
}

/* The slot that holds the expression, made where there is none. */
static int define(Slots *s, enum MlrtExprOp op, int a, int b, int64_t imm, int64_t guess)
{
	uint64_t h = (uint64_t)op * 31 + (uint64_t)a * 0x9e3779b97f4a7c15u + (uint64_t)b * 0xc2b2ae3d27d4eb4fu +
	             (uint64_t)imm * 0x165667b19e3779f9u;
	int *bucket = &s->bucket[(h >> 32 ^ h) % SLOT_BUCKETS], slot;
	MlrtExpr e = {op, 0, a < 0 ? 0 : (uint32_t)a, b < 0 ? 0 : (uint32_t)b, imm};
	bool early = early_of(s, a) && early_of(s, b);

	for (int i = *bucket - 1; i >= 0; i = s->slot.items[i].next) {
		const MlrtExpr *o = &s->slot.items[i].expr;

		if (o->op == e.op && o->a == e.a && o->b == e.b && o->imm == e.imm)
			return i;
	}
	slot = slots_new(s, 1, early, guess);
	e.dst = (uint32_t)slot;
	s->slot.items[slot].expr = e;
	s->slot.items[slot].next = *bucket - 1;
	*bucket = slot + 1;
	append(s, e, early);
	return slot;
}

int slots_const(Slots *s, int64_t v)
{
	return define(s, MLRT_X_CONST, -1, -1, v, v);
}

int slots_expr(Slots *s, enum MlrtExprOp op, int a, int b, int64_t imm)
{
	int64_t x = 0, y = 0, v;
	bool ka, kb;

	if ((op == MLRT_X_ADD || op == MLRT_X_MUL || op == MLRT_X_MAX || op == MLRT_X_MIN) && a > b) {
		int t = a;
		a = b;
		b = t;
	}
	ka = slots_is_const(s, a, &x);
	kb = b < 0 || slots_is_const(s, b, &y);
	if (ka && kb && slots_compute(op, x, y, imm, &v))
		return slots_const(s, v);
	if ((op == MLRT_X_ADD && ka && x == 0) || (op == MLRT_X_MUL && ka && x == 1))
		return b;
	if (((op == MLRT_X_ADD || op == MLRT_X_SUB) && kb && y == 0) ||
	    ((op == MLRT_X_MUL || op == MLRT_X_DIV) && kb && y == 1) || (op == MLRT_X_ALIGN && imm == 1) ||
	    ((op == MLRT_X_MAX || op == MLRT_X_MIN) && a == b))
		return a;
	v = 0;
	if (!slots_compute(op, guess_of(s, a), guess_of(s, b), imm, &v))
		v = 0;
	return define(s, op, a, b, imm, v);
}

void slots_check(Slots *s, enum MlrtExprOp op, int a, int b, int64_t imm)
{
	int64_t x, y = 0;

	if (a == b && op != MLRT_X_CHECK_GE0)
		return;
	if (slots_is_const(s, a, &x) && (b < 0 || slots_is_const(s, b, &y)) &&
	    slots_holds(op, x, y))
		return;
	append(s, (MlrtExpr){op, 0, (uint32_t)a, b < 0 ? 0 : (uint32_t)b, imm}, early_of(s, a) && early_of(s, b));
}

void slots_set(Slots *s, int dst, int from)
{
	append(s, (MlrtExpr){MLRT_X_COPY, (uint32_t)dst, (uint32_t)from, 0, 0}, false);
}

void slots_bind(Slots *s, const char *symbol, int slot)
{
	__typeof__(s->symbol.items[0]) pair = {symbol, slot};

	MLO_PUSH(s->arena, &s->symbol, pair);
}

int slots_symbol(const Slots *s, const char *symbol)
{
	for (size_t i = s->symbol.n; i-- > 0;)
		if (s->symbol.items[i].name == symbol)
			return s->symbol.items[i].slot;
	return -1;
}

/* -- dimensions ------------------------------------------------------------------------------- */

static int64_t walk_number(void *user, int64_t k)
{
	return slots_const(user, k);
}

static int64_t walk_symbol(void *user, const char *name)
{
	return slots_symbol(user, name);
}

static int64_t walk_combine(void *user, char op, int64_t a, int64_t b)
{
	enum MlrtExprOp x = op == '+' ? MLRT_X_ADD : op == '*' ? MLRT_X_MUL : op == '/' ? MLRT_X_DIV : MLRT_X_MAX;

	return a < 0 || b < 0 ? -1 : slots_expr(user, x, (int)a, (int)b, 0);
}

int slots_dim(Slots *s, MloDim d)
{
	static const MloDimWalk walk = {walk_number, walk_symbol, walk_combine};

	return mlo_dim_known(d) ? slots_const(s, d.k) : (int)mlo_dim_walk(d, &walk, s);
}

static bool is_tuple(const Slots *s, int first, const int *slot, int n)
{
	for (int i = 0; i < n; i++) {
		const MlrtExpr *e = &s->slot.items[first + i].expr;

		if (first + i != slot[i] && (e->dst == MLRT_ABSENT || e->op != MLRT_X_COPY || e->a != (uint32_t)slot[i]))
			return false;
	}
	return true;
}

int slots_tuple(Slots *s, const int *slot, int n)
{
	int first;

	if (n == 0)
		return 0;
	if ((size_t)slot[0] + (size_t)n <= s->slot.n && is_tuple(s, slot[0], slot, n))
		return slot[0];
	for (size_t i = 0; i < s->tuple.n; i++)
		if (s->tuple.items[i].n >= n && is_tuple(s, s->tuple.items[i].first, slot, n))
			return s->tuple.items[i].first;
	first = slots_new(s, n, true, 0);
	for (int i = 0; i < n; i++) {
		SlotInfo *to = &s->slot.items[first + i];

		to->early = early_of(s, slot[i]);
		to->guess = guess_of(s, slot[i]);
		to->expr = (MlrtExpr){MLRT_X_COPY, (uint32_t)(first + i), (uint32_t)slot[i], 0, 0};
		append(s, to->expr, to->early);
	}
	__typeof__(s->tuple.items[0]) t = {first, n};
	MLO_PUSH(s->arena, &s->tuple, t);
	return first;
}
