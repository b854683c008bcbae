/* codegen/kernel_parse.c -- reads the text of kernel_text.c, structure for structure.
 *
 * Nothing is simplified on the way: the parsed kernel is the printed one.  The first error stops. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/kernel.h"
#include "codegen/kernel_text.h"

enum { MAX_DEPTH = 64, MAX_NUMBER = 1 << 20 };

typedef struct Parser {
	MloArena *a;
	const char *p, *start, *end;
	MloKernel *k;
	MloDiag *d;
	bool failed;
	int depth;
	struct { char *items; size_t n, cap; } defined; /* per value: has a LET */
} Parser;

/* -- tokens -------------------------------------------------------------------------------------- */

static void fail(Parser *s, const char *what)
{
	int line = 1;

	if (s->failed)
		return;
	s->failed = true;
	for (const char *q = s->start; q < s->p; q++)
		line += *q == '\n';
	mlo_error(s->d, MLO_ERR_FORMAT, "kernel text, line %d: expected %s, found '%.*s'", line, what,
	          (int)(s->end - s->p < 16 ? s->end - s->p : 16), s->p);
}

static void skip(Parser *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
		s->p++;
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Takes `t` if it comes next. A word must end where `t` ends. */
static bool accept(Parser *s, const char *t)
{
	size_t n = strlen(t);

	skip(s);
	if ((size_t)(s->end - s->p) < n || memcmp(s->p, t, n) != 0)
		return false;
	if (is_word(t[n - 1]) && s->p + n < s->end && is_word(s->p[n]))
		return false;
	s->p += n;
	return true;
}

static void expect(Parser *s, const char *t)
{
	if (!s->failed && !accept(s, t))
		fail(s, t);
}

static int64_t integer(Parser *s)
{
	char buf[32], *stop;
	size_t n = 0;
	long long v;

	skip(s);
	while (s->p + n < s->end && n < sizeof buf - 1 &&
	       ((s->p[n] >= '0' && s->p[n] <= '9') || (n == 0 && s->p[n] == '-')))
		n++;
	memcpy(buf, s->p, n);
	buf[n] = 0;
	v = strtoll(buf, &stop, 10);
	if (stop == buf || *stop) {
		fail(s, "an integer");
		return 0;
	}
	s->p += n;
	return v;
}

static double number(Parser *s)
{
	char buf[64], *stop;
	size_t n = 0;
	double v;

	skip(s);
	while (s->p + n < s->end && n < sizeof buf - 1 && (is_word(s->p[n]) || strchr("+-.", s->p[n])))
		n++;
	memcpy(buf, s->p, n);
	buf[n] = 0;
	v = strtod(buf, &stop);
	if (stop == buf || *stop)
		fail(s, "a number");
	s->p += n;
	return v;
}

/* A name and a number without space: v3, %4, a0, acc1. */
static int numbered(Parser *s, const char *prefix)
{
	size_t n = strlen(prefix);
	int64_t v;

	skip(s);
	if ((size_t)(s->end - s->p) <= n || memcmp(s->p, prefix, n) != 0 || s->p[n] < '0' || s->p[n] > '9') {
		fail(s, prefix);
		return 0;
	}
	s->p += n;
	v = integer(s);
	if (v > MAX_NUMBER)
		fail(s, "a smaller number");
	return s->failed ? 0 : (int)v;
}

static bool looking_at(Parser *s, const char *prefix)
{
	size_t n = strlen(prefix);

	skip(s);
	return (size_t)(s->end - s->p) > n && memcmp(s->p, prefix, n) == 0 && s->p[n] >= '0' && s->p[n] <= '9';
}

static const char *word(Parser *s, size_t *n)
{
	const char *w;

	skip(s);
	w = s->p;
	while (s->p < s->end && is_word(*s->p))
		s->p++;
	*n = (size_t)(s->p - w);
	return w;
}

static int one_of(Parser *s, const char *const *names, int n, const char *what)
{
	for (int i = 0; i < n; i++)
		if (accept(s, names[i]))
			return i;
	fail(s, what);
	return 0;
}

static MloElem elem(Parser *s)
{
	size_t n;
	const char *w = word(s, &n);
	MloElem e = n == 4 && !memcmp(w, "tf32", n) ? EL_tf32 : mlo_elem_from_text(w, n);

	if (e == EL_none)
		fail(s, "an element type");
	return e;
}

/* -- index expressions --------------------------------------------------------------------------- */

static const KIdx *sum(Parser *s);

static const KIdx *node(Parser *s, KIdxOp op, int64_t k, const KIdx *a, const KIdx *b)
{
	KIdx *e = MLO_NEW(s->a, KIdx);

	*e = (KIdx){.op = op, .k = k, .a = a, .b = b};
	return e;
}

static int size_number(Parser *s)
{
	int v = numbered(s, "s");

	if ((size_t)v >= s->k->size.n)
		fail(s, "a declared size");
	return v;
}

static const KIdx *atom(Parser *s)
{
	const KIdx *a, *b;
	bool min;

	if (s->failed || ++s->depth > MAX_DEPTH) {
		fail(s, "less nesting");
		return node(s, KI_CONST, 0, NULL, NULL);
	}
	if (looking_at(s, "v")) {
		a = node(s, KI_VAR, numbered(s, "v"), NULL, NULL);
		if (a->k >= s->k->nvar)
			fail(s, "a declared variable");
	} else if (looking_at(s, "s")) {
		a = node(s, KI_SIZE, size_number(s), NULL, NULL);
	} else if (looking_at(s, "%")) {
		a = node(s, KI_VALUE, numbered(s, "%"), NULL, NULL);
	} else if (accept(s, "(")) {
		a = sum(s);
		expect(s, ")");
	} else if ((min = accept(s, "min")) || accept(s, "max")) {
		expect(s, "(");
		a = sum(s);
		expect(s, ",");
		b = sum(s);
		expect(s, ")");
		a = node(s, min ? KI_MIN : KI_MAX, 0, a, b);
	} else {
		a = node(s, KI_CONST, integer(s), NULL, NULL);
	}
	s->depth--;
	return a;
}

static const KIdx *product(Parser *s)
{
	const KIdx *a = atom(s);

	while (!s->failed) {
		KIdxOp op = accept(s, "*") ? KI_MUL : accept(s, "/") ? KI_DIV : accept(s, "mod") ? KI_MOD : KI_CONST;

		if (op == KI_CONST)
			break;
		if (looking_at(s, "s")) {
			a = node(s, op, 0, a, node(s, KI_SIZE, size_number(s), NULL, NULL));
			continue;
		}
		a = node(s, op, integer(s), a, NULL);
		if (op != KI_MUL && a->k <= 0)
			fail(s, "a positive divisor");
	}
	return a;
}

static const KIdx *sum(Parser *s)
{
	const KIdx *a = product(s);

	while (!s->failed && accept(s, "+"))
		a = node(s, KI_ADD, 0, a, product(s));
	return a;
}

static const KGuard *guards(Parser *s)
{
	KGuard *first = NULL, **tail = &first;

	if (!accept(s, "if"))
		return NULL;
	do {
		KGuard *g = MLO_NEW(s->a, KGuard);

		g->e = sum(s);
		expect(s, "<");
		g->extent = looking_at(s, "s") ? -1 - size_number(s) : integer(s);
		*tail = g;
		tail = (KGuard **)&g->next;
	} while (!s->failed && accept(s, "&"));
	return first;
}

/* -- statements ----------------------------------------------------------------------------------- */

static void place(Parser *s, int value, KInst in)
{
	while (s->k->value.n <= (size_t)value && !s->failed) {
		MLO_PUSH(s->a, &s->k->value, (KInst){0});
		MLO_PUSH(s->a, &s->defined, 0);
	}
	if (s->failed)
		return;
	if (s->defined.items[value])
		fail(s, "a value number used once");
	s->defined.items[value] = 1;
	s->k->value.items[value] = in;
}

static void let(Parser *s, KStmt *st)
{
	KInst in = {.a = -1, .b = -1, .c = -1};
	int *operand[3] = {&in.a, &in.b, &in.c};

	st->kind = KS_LET;
	st->value = numbered(s, "%");
	expect(s, "=");
	in.op = (KOp)one_of(s, mlo_kop_name, K_COUNT, "an operation");
	expect(s, ".");
	in.type = elem(s);
	for (int i = 0; i < mlo_kop_operands[in.op] && !s->failed; i++) {
		if (i)
			expect(s, ",");
		*operand[i] = numbered(s, "%");
	}
	if (s->failed)
		return;
	if (in.op == K_const && mlo_elem_is_float(in.type)) {
		in.imm = number(s);
	} else if (in.op == K_const) {
		in.ival = integer(s);
	} else if (in.op == K_accum) {
		in.arg = numbered(s, "acc");
	} else if (in.op == K_index) {
		in.idx = sum(s);
	} else if (in.op == K_load) {
		in.arg = numbered(s, "a");
		expect(s, "[");
		in.idx = sum(s);
		expect(s, "]");
		in.guard = guards(s);
		if (in.guard) {
			expect(s, "else");
			in.other = number(s);
		}
	}
	place(s, st->value, in);
}

static void acc(Parser *s, KStmt *st)
{
	st->acc = numbered(s, "acc");
	if (st->acc >= s->k->nacc)
		s->k->nacc = st->acc + 1;
	if (accept(s, "=")) {
		st->kind = KS_ACC_INIT;
	} else {
		st->kind = KS_ACC;
		st->accop = (KOp)one_of(s, mlo_kop_name, K_COUNT, "an operation");
	}
	st->value = numbered(s, "%");
}

static void store(Parser *s, KStmt *st)
{
	st->kind = KS_STORE;
	st->arg = numbered(s, "a");
	expect(s, "[");
	st->idx = sum(s);
	expect(s, "]");
	expect(s, "=");
	st->value = numbered(s, "%");
	st->guard = guards(s);
}

static void fields(Parser *s, void *of, const KField *f)
{
	for (; f->name && !s->failed; f++) {
		char *p = (char *)of + f->offset;
		int64_t v;

		expect(s, f->name);
		expect(s, "=");
		if (f->kind == KF_ELEM) {
			*(MloElem *)p = elem(s);
			continue;
		}
		v = integer(s);
		if (f->kind == KF_I64)
			*(int64_t *)p = v;
		else if (f->kind == KF_INT)
			*(int *)p = (int)v;
		else
			*(bool *)p = v != 0;
	}
}

static KCallTensor *call_tensors(Parser *s, int *n)
{
	struct { KCallTensor *items; size_t n, cap; } list = {0};

	expect(s, "(");
	while (!s->failed && !accept(s, ")")) {
		KCallTensor t = {.arg = -1};

		if (list.n)
			expect(s, ",");
		if (!accept(s, "none")) {
			t.arg = accept(s, "shape") ? KC_SHAPE : numbered(s, "a");
			t.elem = elem(s);
			expect(s, "[");
			while (!s->failed && !accept(s, "]")) {
				if (t.rank)
					expect(s, ",");
				if (t.rank == MLO_MAX_RANK)
					fail(s, "at most 8 dimensions");
				else
					t.dim[t.rank++] = looking_at(s, "s") ? -1 - size_number(s) : integer(s);
			}
		}
		MLO_PUSH(s->a, &list, t);
	}
	*n = (int)list.n;
	return list.items;
}

static const char *text(Parser *s)
{
	MloStr o = {.arena = s->a};

	expect(s, "\"");
	while (!s->failed && s->p < s->end && *s->p != '"') {
		char hex[3] = {0}, c = *s->p++;

		if (c == '\\' && s->end - s->p >= 2) {
			memcpy(hex, s->p, 2);
			s->p += 2;
			c = (char)strtol(hex, NULL, 16);
		}
		mlo_str_addn(&o, &c, 1);
	}
	expect(s, "\"");
	return mlo_str_text(&o);
}

static void attr(Parser *s, MloAttr *a, MloAttrKind kind)
{
	struct { int64_t *items; size_t n, cap; } ints = {0};
	struct { double *items; size_t n, cap; } floats = {0};

	a->set = true;
	if (kind == AK_INT)
		a->i = integer(s);
	else if (kind == AK_FLOAT)
		a->f = number(s);
	else if (kind == AK_STR)
		a->s = text(s);
	if (kind < AK_INTS)
		return;
	expect(s, "[");
	while (!s->failed && !accept(s, "]")) {
		if (a->n++)
			expect(s, ",");
		if (kind == AK_INTS)
			MLO_PUSH(s->a, &ints, integer(s));
		else
			MLO_PUSH(s->a, &floats, number(s));
	}
	a->ints = ints.items;
	a->floats = floats.items;
}

static void call(Parser *s, KStmt *st, bool sizes)
{
	KCall *c = MLO_NEW(s->a, KCall);
	MloNode *n = MLO_NEW(s->a, MloNode);
	size_t len;
	const char *w = word(s, &len);
	bool first = true;

	st->kind = KS_CALL;
	st->call = c;
	c->node = n;
	if (!mlo_op_find(w, len, &c->op)) {
		fail(s, "an operator");
		return;
	}
	n->op = c->op;
	n->attr = MLO_NEWN(s->a, MloAttr, (size_t)mlo_op_info(c->op)->nattr + 1);
	c->in = call_tensors(s, &c->nin);
	expect(s, "->");
	c->out = call_tensors(s, &c->nout);
	c->sizes = sizes;
	if (sizes)
		c->sizes_arg = numbered(s, "a");
	expect(s, "{");
	while (!s->failed && !accept(s, "}")) {
		int slot;

		if (!first)
			expect(s, ",");
		first = false;
		w = word(s, &len);
		slot = mlo_attr_slot(c->op, w, len);
		expect(s, "=");
		if (slot < 0)
			fail(s, "an attribute of the operator");
		else
			attr(s, &n->attr[slot], mlo_op_info(c->op)->attr[slot].kind);
	}
}

static KStmt *body(Parser *s);

static void attention(Parser *s, KStmt *st)
{
	KAttention *t = MLO_NEW(s->a, KAttention);
	const KIdx **const place[] = {&t->q_at, &t->k_at, &t->v_at, &t->first};
	static const char *const word[] = {"q_at", "k_at", "v_at", "first"};

	st->kind = KS_ATTENTION;
	st->attention = t;
	fields(s, t, mlo_kattention_fields);
	for (int i = 0; i < 4; i++) {
		expect(s, word[i]);
		expect(s, "=");
		*place[i] = sum(s);
	}
	t->scores = body(s);
	t->score = numbered(s, "%");
	st->body = body(s);
}

static void stmt(Parser *s, KStmt *st)
{
	if (looking_at(s, "%")) {
		let(s, st);
	} else if (looking_at(s, "acc")) {
		acc(s, st);
	} else if (looking_at(s, "a")) {
		store(s, st);
	} else if (accept(s, "contract")) {
		st->kind = KS_CONTRACT;
		st->contract = MLO_NEW(s->a, KContract);
		fields(s, st->contract, mlo_kcontract_fields);
		if (accept(s, "a_at="))
			st->contract->a_at = sum(s);
		if (accept(s, "b_at="))
			st->contract->b_at = sum(s);
		if (accept(s, "y_lo="))
			st->contract->y_lo = sum(s);
		if (accept(s, "y_hi="))
			st->contract->y_hi = sum(s);
		st->body = body(s);
	} else if (accept(s, "attention")) {
		attention(s, st);
	} else if (accept(s, "forest")) {
		st->kind = KS_FOREST;
		st->forest = MLO_NEW(s->a, KForest);
		fields(s, st->forest, mlo_kforest_fields);
	} else if (accept(s, "call")) {
		call(s, st, false);
	} else if (accept(s, "sizes")) {
		call(s, st, true);
	} else {
		st->kind = KS_LOOP;
		st->loop = (KLoopKind)one_of(s, mlo_kloop_name, 3, "a statement");
		st->var = numbered(s, "v");
		if (st->var >= s->k->nvar)
			fail(s, "a declared variable");
		expect(s, "<");
		st->extent = sum(s);
		st->body = body(s);
	}
}

static KStmt *body(Parser *s)
{
	KStmt *first = NULL, **tail = &first;

	if (++s->depth > MAX_DEPTH)
		fail(s, "less nesting");
	expect(s, "{");
	while (!s->failed && !accept(s, "}")) {
		*tail = MLO_NEW(s->a, KStmt);
		stmt(s, *tail);
		tail = &(*tail)->next;
	}
	s->depth--;
	return first;
}

/* How many elements an argument has. Sizes are declared behind the arguments: expressions of them wait. */
static void argument(Parser *s, const char **elems)
{
	KArgDir dir = (KArgDir)one_of(s, mlo_kdir_name, 5, "in, out, inout, scratch or sizes");
	MloElem e = elem(s);
	int64_t count = -1;

	expect(s, "[");
	skip(s);
	*elems = NULL;
	if (!accept(s, "*")) {
		*elems = s->p;
		while (s->p < s->end && *s->p != ']' && *s->p != '\n')
			s->p++;
		if (s->p > *elems && *s->p == ']' && strspn(*elems, "0123456789") == (size_t)(s->p - *elems)) {
			s->p = *elems;
			*elems = NULL;
			count = integer(s);
		}
	}
	expect(s, "]");
	if (dir == KA_SIZES)
		s->k->sizes_arg = (int)s->k->arg.n;
	mlo_kernel_arg(s->k, dir, e, count);
}

static void sizes(Parser *s)
{
	if (!accept(s, "sizes"))
		return;
	expect(s, "(");
	while (!s->failed && !accept(s, ")")) {
		KSize z = {.of = 1};

		if (s->k->size.n)
			expect(s, ",");
		z.lo = integer(s);
		expect(s, "..");
		z.hi = integer(s);
		z.of = accept(s, "of") ? integer(s) : 1;
		if (z.lo < 0 || z.hi < z.lo || z.of < 1)
			fail(s, "a range of sizes");
		MLO_PUSH(s->a, &s->k->size, z);
	}
}

static void header(Parser *s)
{
	struct { const char **items; size_t n, cap; } elems = {0};
	size_t n;
	const char *w, *at;
	bool first = true;

	expect(s, "kernel");
	w = word(s, &n);
	s->k = mlo_kernel_new(s->a, mlo_strndup(s->a, w, n));
	expect(s, "(");
	while (!s->failed && !accept(s, ")")) {
		if (s->k->arg.n)
			expect(s, ",");
		argument(s, &at);
		MLO_PUSH(s->a, &elems, at);
	}
	sizes(s);
	if (accept(s, "tasks"))
		s->k->ntasks = -1 - size_number(s);
	at = s->p;
	for (size_t i = 0; i < elems.n && !s->failed; i++) {
		if (!elems.items[i])
			continue;
		s->p = elems.items[i];
		s->k->arg.items[i].elems = sum(s);
		expect(s, "]");
		s->p = s->failed ? s->p : at;
	}
	expect(s, "vars");
	expect(s, "(");
	while (!s->failed && !accept(s, ")")) {
		if (!first)
			expect(s, ",");
		first = false;
		mlo_kernel_var(s->k, integer(s));
	}
}

MloKernel *mlo_kernel_parse(MloArena *a, const char *t, size_t n, MloDiag *d)
{
	Parser s = {.a = a, .p = t, .start = t, .end = t + n, .d = d};

	header(&s);
	s.k->body = body(&s);
	skip(&s);
	if (!s.failed && s.p < s.end)
		fail(&s, "the end");
	for (size_t i = 0; i < s.defined.n && !s.failed; i++)
		if (!s.defined.items[i])
			fail(&s, "a definition of every value");
	if (s.failed || mlo_kernel_verify(s.k, d) != MLO_OK)
		return NULL;
	kb_finish(s.k);
	return s.k;
}
