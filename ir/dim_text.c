/* ir/dim_text.c -- symbolic dimensions as text: "batch", "4*seq+1", "(a+b)/2", "max(a,b)". */
#include <stdlib.h>
#include <string.h>

#include "ir/dim_impl.h"
#include "ir/text.h"

static void print_atom(MloStr *out, const Atom *x);

/* Operand of a quotient: in parentheses unless it is one size or a number. */
static void print_operand(MloStr *out, MloDim d)
{
	bool plain = !d.e ? d.k >= 0
	                  : d.e->n == 1 && d.e->t[0].n == 1 && d.e->t[0].coef == 1 &&
	                            d.e->t[0].atom[0]->kind != ATOM_DIV;

	mlo_str_add(out, plain ? "" : "(");
	mlo_dim_print(out, d);
	mlo_str_add(out, plain ? "" : ")");
}

static void print_atom(MloStr *out, const Atom *x)
{
	if (x->kind == ATOM_SYM) {
		mlo_text_symbol(out, x->name);
	} else if (x->kind == ATOM_MAX) {
		mlo_str_add(out, "max(");
		mlo_dim_print(out, x->a);
		mlo_str_add(out, ",");
		mlo_dim_print(out, x->b);
		mlo_str_add(out, ")");
	} else {
		print_operand(out, x->a);
		mlo_str_add(out, "/");
		print_operand(out, x->b);
	}
}

static void print_term(MloStr *out, const Term *t, bool first)
{
	uint64_t mag = t->coef < 0 ? -(uint64_t)t->coef : (uint64_t)t->coef;
	bool alone = t->n == 1 && mag == 1;

	if (t->coef < 0 || !first)
		mlo_str_add(out, t->coef < 0 ? "-" : "+");
	if (mag != 1 || t->n == 0)
		mlo_str_add(out, "%llu%s", (unsigned long long)mag, t->n ? "*" : "");
	for (int i = 0; i < t->n; i++) {
		bool wrap = t->atom[i]->kind == ATOM_DIV && !(alone && t->coef > 0);

		mlo_str_add(out, "%s%s", i ? "*" : "", wrap ? "(" : "");
		print_atom(out, t->atom[i]);
		mlo_str_add(out, wrap ? ")" : "");
	}
}

void mlo_dim_print(MloStr *out, MloDim d)
{
	if (!d.e) {
		mlo_str_add(out, "%lld", (long long)d.k);
		return;
	}
	for (int i = 0; i < d.e->n; i++)
		print_term(out, &d.e->t[i], i == 0);
}

/* -- tables --------------------------------------------------------------------------------- */

static bool narrowed(const Atom *x)
{
	return x->kind == ATOM_SYM && (x->lo != 0 || x->hi != MLO_MAX_ELEMS);
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const Atom *const *)a)->name, (*(const Atom *const *)b)->name);
}

void mlo_symbols_print(MloStr *out, const MloSymbols *t)
{
	struct { const Atom **items; size_t n, cap; } list = {0};

	for (const Atom *x = t->atoms; x; x = x->older)
		if (narrowed(x))
			MLO_PUSH(out->arena, &list, x);
	if (list.n)
		qsort(list.items, list.n, sizeof *list.items, by_name);
	for (size_t i = 0; i < list.n; i++) {
		mlo_str_add(out, "  sym ");
		mlo_text_symbol(out, list.items[i]->name);
		mlo_str_add(out, " = %lld..%lld\n", (long long)list.items[i]->lo, (long long)list.items[i]->hi);
	}
}

void mlo_symbols_copy(MloSymbols *to, const MloSymbols *from)
{
	to->fresh = from->fresh;
	for (const Atom *x = from->atoms; x; x = x->older)
		if (x->kind == ATOM_SYM)
			mlo_sym_range(to, x->name, x->lo, x->hi);
}

static MloDim copy_atom(MloSymbols *to, const Atom *x)
{
	if (x->kind == ATOM_SYM)
		return mlo_dim_sym(to, x->name);
	return (x->kind == ATOM_DIV ? mlo_dim_div : mlo_dim_max)(to, mlo_dim_copy(to, x->a),
	                                                         mlo_dim_copy(to, x->b));
}

MloDim mlo_dim_copy(MloSymbols *to, MloDim d)
{
	MloDim sum = mlo_dim(0);

	if (!d.e)
		return d;
	for (int i = 0; i < d.e->n; i++) {
		MloDim p = mlo_dim(d.e->t[i].coef);

		for (int j = 0; j < d.e->t[i].n; j++)
			p = mlo_dim_mul(to, p, copy_atom(to, d.e->t[i].atom[j]));
		sum = mlo_dim_add(to, sum, p);
	}
	return sum;
}

/* -- parsing: sum of products of factors ---------------------------------------------------- */

/* A quotient of a quotient is printed in one more pair of parentheses: no expression nests deeper than its size. */
enum { MAX_NESTING = 2 * DIM_MAX_SIZE };

typedef struct DimParser {
	MloSymbols *t;
	const char *p, *end;
	int depth;
	bool bad;
} DimParser;

static MloDim parse_sum(DimParser *c);

static bool take(DimParser *c, char ch)
{
	while (c->p < c->end && *c->p == ' ')
		c->p++;
	if (c->p == c->end || *c->p != ch)
		return false;
	c->p++;
	return true;
}

static MloDim fail(DimParser *c)
{
	c->bad = true;
	return mlo_dim(0);
}

static MloDim parse_max(DimParser *c)
{
	MloDim a = parse_sum(c), b;

	if (c->bad || !take(c, ','))
		return fail(c);
	b = parse_sum(c);
	if (c->bad || !take(c, ')'))
		return fail(c);
	return mlo_dim_max(c->t, a, b);
}

static MloDim parse_factor(DimParser *c)
{
	MloDim d;

	if (take(c, '(')) {
		d = parse_sum(c);
		return c->bad || !take(c, ')') ? fail(c) : d;
	}
	if (c->p < c->end && *c->p >= '0' && *c->p <= '9') {
		int64_t k = 0;

		for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
			if (__builtin_mul_overflow(k, 10, &k) || __builtin_add_overflow(k, *c->p - '0', &k))
				return fail(c);
		return mlo_dim(k);
	}
	if (c->p < c->end) {
		const char *start = c->p;
		char *name = mlo_text_read_symbol(c->t->arena, &c->p, c->end);

		if (!name)
			return fail(c);
		if (c->p - start == 3 && !strcmp(name, "max") && take(c, '('))
			return parse_max(c);
		return mlo_dim_sym(c->t, name);
	}
	return fail(c);
}

static MloDim parse_product(DimParser *c)
{
	MloDim d = parse_factor(c);

	while (!c->bad) {
		if (take(c, '*'))
			d = mlo_dim_mul(c->t, d, parse_factor(c));
		else if (take(c, '/'))
			d = mlo_dim_div(c->t, d, parse_factor(c));
		else
			break;
	}
	return d;
}

static MloDim parse_sum(DimParser *c)
{
	MloDim d;

	if (++c->depth > MAX_NESTING)
		return fail(c);
	d = take(c, '-') ? mlo_dim_sub(c->t, mlo_dim(0), parse_product(c)) : parse_product(c);
	while (!c->bad) {
		if (take(c, '+'))
			d = mlo_dim_add(c->t, d, parse_product(c));
		else if (take(c, '-'))
			d = mlo_dim_sub(c->t, d, parse_product(c));
		else
			break;
	}
	c->depth--;
	return d;
}

bool mlo_dim_parse(MloSymbols *t, const char *s, size_t n, MloDim *out)
{
	DimParser c = {t, s, s + n, 0, false};

	*out = parse_sum(&c);
	while (c.p < c.end && *c.p == ' ')
		c.p++;
	return !c.bad && c.p == c.end;
}
