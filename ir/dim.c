/* ir/dim.c -- symbolic dimensions: polynomials in canonical form, their algebra and ranges. */
#include <string.h>

#include "ir/dim_impl.h"

static int dim_cmp(MloDim a, MloDim b);

static int cmp_i64(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

int mlo_atom_cmp(const Atom *a, const Atom *b)
{
	int c;

	if (a == b)
		return 0;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->kind == ATOM_SYM)
		return strcmp(a->name, b->name);
	c = dim_cmp(a->a, b->a);
	return c ? c : dim_cmp(a->b, b->b);
}

/* Higher degree first, then by atoms; the constant comes last. */
static int mono_cmp(const Term *a, const Term *b)
{
	if (a->n != b->n)
		return a->n > b->n ? -1 : 1;
	for (int i = 0; i < a->n; i++) {
		int c = mlo_atom_cmp(a->atom[i], b->atom[i]);

		if (c)
			return c;
	}
	return 0;
}

static int dim_cmp(MloDim a, MloDim b)
{
	if (!a.e || !b.e)
		return !a.e && !b.e ? cmp_i64(a.k, b.k) : a.e ? 1 : -1;
	if (a.e == b.e)
		return 0;
	if (a.e->n != b.e->n)
		return cmp_i64(a.e->n, b.e->n);
	for (int i = 0; i < a.e->n; i++) {
		int c = mono_cmp(&a.e->t[i], &b.e->t[i]);

		if (!c)
			c = cmp_i64(a.e->t[i].coef, b.e->t[i].coef);
		if (c)
			return c;
	}
	return 0;
}

/* -- the table ------------------------------------------------------------------------------ */

MloSymbols *mlo_symbols_new(MloArena *a)
{
	MloSymbols *t = MLO_NEW(a, MloSymbols);

	t->arena = a;
	return t;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

static uint64_t hash_dim(MloDim d)
{
	return d.e ? (uint64_t)(uintptr_t)d.e : (uint64_t)d.k;
}

static int dim_size(MloDim d)
{
	return d.e ? d.e->size : 0;
}

static Atom *intern_atom(MloSymbols *t, AtomKind kind, const char *name, MloDim a, MloDim b)
{
	uint64_t h = mix(kind, hash_dim(a));
	Atom **bucket, *x;

	h = mix(h, hash_dim(b));
	for (const char *s = name; s && *s; s++)
		h = mix(h, (unsigned char)*s);
	bucket = &t->atom_bucket[h % DIM_BUCKETS];
	for (x = *bucket; x; x = x->next)
		if (x->kind == kind && !(name ? strcmp(name, x->name) : dim_cmp(a, x->a) || dim_cmp(b, x->b)))
			return x;
	x = MLO_NEW(t->arena, Atom);
	x->kind = kind;
	x->name = name ? mlo_strdup(t->arena, name) : NULL;
	x->hi = MLO_MAX_ELEMS;
	x->a = a;
	x->b = b;
	x->size = 1 + dim_size(a) + dim_size(b);
	x->next = *bucket;
	*bucket = x;
	x->older = t->atoms;
	t->atoms = x;
	return x;
}

static MloDim intern(MloSymbols *t, const Poly *p)
{
	uint64_t h = 0;
	MloExpr **bucket, *e;
	int size = 0;

	if (p->n < 0)
		return mlo_dim_fresh(t, "dim");
	if (p->n == 0)
		return mlo_dim(0);
	if (p->n == 1 && p->t[0].n == 0)
		return mlo_dim(p->t[0].coef);
	for (int i = 0; i < p->n; i++) {
		h = mix(h, (uint64_t)p->t[i].coef);
		for (int j = 0; j < p->t[i].n; j++) {
			h = mix(h, (uint64_t)(uintptr_t)p->t[i].atom[j]);
			size += p->t[i].atom[j]->size;
		}
	}
	bucket = &t->expr_bucket[h % DIM_BUCKETS];
	for (e = *bucket; e; e = e->next) {
		int same = e->n == p->n;

		for (int i = 0; same && i < p->n; i++)
			same = e->t[i].coef == p->t[i].coef && !mono_cmp(&e->t[i], &p->t[i]);
		if (same)
			return (MloDim){-1, e};
	}
	e = mlo_alloc(t->arena, 1, sizeof *e + (size_t)p->n * sizeof p->t[0]);
	e->syms = t;
	e->n = p->n;
	e->size = size;
	memcpy(e->t, p->t, (size_t)p->n * sizeof p->t[0]);
	e->next = *bucket;
	*bucket = e;
	return (MloDim){-1, e};
}

static MloDim atom_dim(MloSymbols *t, const Atom *x)
{
	Poly p = {.n = 1, .t = {{.coef = 1, .n = 1, .atom = {x}}}};

	return intern(t, &p);
}

static Poly poly_of(MloDim d)
{
	Poly p;

	p.n = 0; /* the terms behind p.n stay unset: there are many */
	if (d.e) {
		p.n = d.e->n;
		memcpy(p.t, d.e->t, (size_t)p.n * sizeof p.t[0]);
	} else if (d.k) {
		p.n = 1;
		p.t[0] = (Term){.coef = d.k};
	}
	return p;
}

/* -- constructors --------------------------------------------------------------------------- */

MloDim mlo_dim(int64_t k)
{
	return (MloDim){k, NULL};
}

MloDim mlo_dim_sym(MloSymbols *t, const char *name)
{
	return atom_dim(t, intern_atom(t, ATOM_SYM, name, mlo_dim(0), mlo_dim(0)));
}

void mlo_sym_range(MloSymbols *t, const char *name, int64_t lo, int64_t hi)
{
	Atom *x = intern_atom(t, ATOM_SYM, name, mlo_dim(0), mlo_dim(0));

	x->lo = lo < 0 ? 0 : lo > MLO_MAX_ELEMS ? MLO_MAX_ELEMS : lo;
	x->hi = hi > MLO_MAX_ELEMS ? MLO_MAX_ELEMS : hi < x->lo ? x->lo : hi;
}

MloDim mlo_dim_fresh(MloSymbols *t, const char *stem)
{
	const char *name;
	Atom *newest;

	do {
		newest = t->atoms;
		name = mlo_sprintf(t->arena, "%s#%llu", stem, (unsigned long long)++t->fresh);
		intern_atom(t, ATOM_SYM, name, mlo_dim(0), mlo_dim(0));
	} while (t->atoms == newest); /* the name was taken */
	return atom_dim(t, t->atoms);
}

/* The table of a, b where the caller gives none. */
static MloSymbols *table_of(MloSymbols *t, MloDim a, MloDim b)
{
	return t ? t : a.e ? a.e->syms : b.e->syms;
}

/* -- polynomial arithmetic ------------------------------------------------------------------ */

/* p += c * s * q for the monomial s (coefficient included). */
static void poly_addmul(Poly *p, const Term *s, const Poly *q)
{
	for (int i = 0; i < q->n && p->n >= 0; i++) {
		Term x = q->t[i];
		int at = 0;

		if (__builtin_mul_overflow(x.coef, s->coef, &x.coef) || x.n + s->n > DIM_MAX_DEGREE) {
			p->n = -1;
			return;
		}
		for (int j = 0; j < s->n; j++) { /* insert, keeping the atoms sorted */
			int k = x.n++;

			for (; k > 0 && mlo_atom_cmp(x.atom[k - 1], s->atom[j]) > 0; k--)
				x.atom[k] = x.atom[k - 1];
			x.atom[k] = s->atom[j];
		}
		while (at < p->n && mono_cmp(&p->t[at], &x) < 0)
			at++;
		if (at < p->n && mono_cmp(&p->t[at], &x) == 0) {
			if (__builtin_add_overflow(p->t[at].coef, x.coef, &p->t[at].coef)) {
				p->n = -1;
			} else if (p->t[at].coef == 0) {
				p->n--;
				memmove(p->t + at, p->t + at + 1, (size_t)(p->n - at) * sizeof x);
			}
		} else if (p->n == DIM_MAX_TERMS) {
			p->n = -1;
		} else {
			memmove(p->t + at + 1, p->t + at, (size_t)(p->n - at) * sizeof x);
			p->t[at] = x;
			p->n++;
		}
	}
}

static const Term ONE = {.coef = 1}, MINUS_ONE = {.coef = -1};

/* Saturates: dimensions that large are refused by everyone anyhow. */
static int64_t sat(bool overflow, int64_t v, bool negative)
{
	return !overflow ? v : negative ? INT64_MIN : INT64_MAX;
}

MloDim mlo_dim_add(MloSymbols *t, MloDim a, MloDim b)
{
	Poly p, q;

	if (!a.e && !b.e) {
		int64_t v;
		bool o = __builtin_add_overflow(a.k, b.k, &v);

		return mlo_dim(sat(o, v, a.k < 0));
	}
	t = table_of(t, a, b);
	p = poly_of(a);
	q = poly_of(b);
	poly_addmul(&p, &ONE, &q);
	return intern(t, &p);
}

static Poly poly_sub(MloDim a, MloDim b)
{
	Poly p = poly_of(a), q = poly_of(b);

	poly_addmul(&p, &MINUS_ONE, &q);
	return p;
}

MloDim mlo_dim_sub(MloSymbols *t, MloDim a, MloDim b)
{
	Poly p;

	if (!a.e && !b.e) {
		int64_t v;
		bool o = __builtin_sub_overflow(a.k, b.k, &v);

		return mlo_dim(sat(o, v, a.k < 0));
	}
	t = table_of(t, a, b);
	p = poly_sub(a, b);
	return intern(t, &p);
}

MloDim mlo_dim_mul(MloSymbols *t, MloDim a, MloDim b)
{
	Poly p, q, r = {.n = 0};

	if (!a.e && !b.e) {
		int64_t v;
		bool o = __builtin_mul_overflow(a.k, b.k, &v);

		return mlo_dim(sat(o, v, (a.k < 0) != (b.k < 0)));
	}
	t = table_of(t, a, b);
	p = poly_of(a);
	q = poly_of(b);
	for (int i = 0; i < p.n && r.n >= 0; i++)
		poly_addmul(&r, &p.t[i], &q);
	return intern(t, &r);
}

int64_t mlo_dim_multiple(MloDim d)
{
	int64_t g = d.e ? 0 : d.k;

	for (int i = 0; d.e && i < d.e->n; i++)
		for (int64_t a = d.e->t[i].coef; a;) {
			int64_t r = g % a;

			g = a;
			a = r;
		}
	return g < 0 ? -g : g;
}

void mlo_dim_signs(MloSymbols *t, MloDim d, MloDim *plus, MloDim *minus)
{
	Poly all = poly_of(d), part[2];

	part[0].n = part[1].n = 0;
	for (int i = 0; i < all.n; i++) {
		Poly *p = &part[all.t[i].coef < 0];

		p->t[p->n] = all.t[i];
		if (p == &part[1])
			p->t[p->n].coef = -p->t[p->n].coef;
		p->n++;
	}
	*plus = intern(t, &part[0]);
	*minus = intern(t, &part[1]);
}

/* -- quotients ------------------------------------------------------------------------------ */

static int64_t floor_div(int64_t a, int64_t b)
{
	int64_t q;

	if (b == -1)
		return a == INT64_MIN ? INT64_MAX : -a;
	q = a / b;
	return q - (a % b != 0 && (a < 0) != (b < 0));
}

/* x / y for monomials, when y divides x. */
static bool mono_div(const Term *x, const Term *y, Term *q)
{
	int j = 0;

	if ((y->coef == -1 && x->coef == INT64_MIN) || x->coef % y->coef)
		return false;
	*q = (Term){.coef = x->coef / y->coef};
	for (int i = 0; i < x->n; i++) {
		if (j < y->n && mlo_atom_cmp(x->atom[i], y->atom[j]) == 0)
			j++;
		else
			q->atom[q->n++] = x->atom[i];
	}
	return j == y->n;
}

/* Exact polynomial division by leading terms: true when the remainder is 0. */
static bool poly_div(Poly a, const Poly *b, Poly *q)
{
	static const Poly one = {.n = 1, .t = {{.coef = 1}}};

	q->n = 0;
	for (int steps = 0; a.n > 0 && steps < 2 * DIM_MAX_TERMS; steps++) {
		Term m, neg;

		if (!mono_div(&a.t[0], &b->t[0], &m) || m.coef == INT64_MIN)
			return false;
		neg = m;
		neg.coef = -m.coef;
		poly_addmul(q, &m, &one);
		poly_addmul(&a, &neg, b);
		if (q->n < 0 || a.n < 0)
			return false;
	}
	return a.n == 0;
}

/* Splits a into b * q + r, r holding the terms whose coefficients b does not divide; the constant
 * gives its quotient to q and keeps a remainder in 0..b-1. */
static void split_by_const(const Poly *a, int64_t b, Poly *q, Poly *r)
{
	q->n = r->n = 0;
	for (int i = 0; i < a->n; i++) {
		Term x = a->t[i];

		if (x.n == 0) {
			int64_t quot = floor_div(x.coef, b), rest = x.coef - quot * b;

			if (quot)
				q->t[q->n++] = (Term){.coef = quot};
			if (rest)
				r->t[r->n++] = (Term){.coef = rest};
		} else if (x.coef % b == 0) {
			x.coef /= b;
			q->t[q->n++] = x;
		} else {
			r->t[r->n++] = x;
		}
	}
}

/* floor((floor(x / k) + c) / b) is floor((x + c*k) / (k*b)): num / *den becomes that quotient. */
static bool merge_quotients(MloSymbols *t, const Poly *num, int64_t b, MloDim *x, int64_t *den)
{
	const Atom *q = num->n && num->t[0].n == 1 && num->t[0].coef == 1 ? num->t[0].atom[0] : NULL;
	int64_t c = num->n == 2 && num->t[1].n == 0 ? num->t[1].coef : 0;

	if (!q || q->kind != ATOM_DIV || q->b.e || q->b.k < 1 || num->n != 1 + (c != 0))
		return false;
	if (__builtin_mul_overflow(q->b.k, b, den) || __builtin_mul_overflow(q->b.k, c, &c))
		return false;
	*x = mlo_dim_add(t, q->a, mlo_dim(c));
	return true;
}

bool mlo_dim_exact(MloSymbols *t, MloDim a, MloDim b, MloDim *q)
{
	Poly p, d, r;

	if (!a.e && !b.e) {
		*q = mlo_dim(b.k ? a.k / b.k : 0);
		return b.k && a.k % b.k == 0;
	}
	p = poly_of(a);
	d = poly_of(b);
	if (!d.n || !poly_div(p, &d, &r))
		return false;
	*q = intern(t, &r);
	return true;
}

MloDim mlo_dim_div(MloSymbols *t, MloDim a, MloDim b)
{
	int64_t den;
	Poly p, d, q, r;
	MloDim rest;

	if (!b.e && b.k == 0)
		return mlo_dim_fresh(t, "quotient");
	if (!a.e && !b.e)
		return mlo_dim(floor_div(a.k, b.k));
	p = poly_of(a);
	d = poly_of(b);
	if (poly_div(p, &d, &q))
		return intern(t, &q);
	if (b.e || b.k < 0) {
		if (dim_size(a) + dim_size(b) > DIM_MAX_SIZE)
			return mlo_dim_fresh(t, "quotient");
		return atom_dim(t, intern_atom(t, ATOM_DIV, NULL, a, b));
	}
	split_by_const(&p, b.k, &q, &r);
	if (merge_quotients(t, &r, b.k, &rest, &den))
		return mlo_dim_add(t, intern(t, &q), mlo_dim_div(t, rest, mlo_dim(den)));
	rest = intern(t, &r);
	if (!rest.e)
		return mlo_dim_add(t, intern(t, &q), mlo_dim(floor_div(rest.k, b.k)));
	if (dim_size(rest) > DIM_MAX_SIZE)
		return mlo_dim_fresh(t, "quotient");
	rest = atom_dim(t, intern_atom(t, ATOM_DIV, NULL, rest, b));
	return mlo_dim_add(t, intern(t, &q), rest);
}

MloDim mlo_dim_max(MloSymbols *t, MloDim a, MloDim b)
{
	Poly diff;

	if (!a.e && !b.e)
		return a.k >= b.k ? a : b;
	diff = poly_sub(a, b);
	if (diff.n == 0)
		return a;
	if (diff.n == 1 && diff.t[0].n == 0)
		return diff.t[0].coef > 0 ? a : b;
	if (dim_size(a) + dim_size(b) > DIM_MAX_SIZE)
		return mlo_dim_fresh(t, "max");
	if (dim_cmp(a, b) > 0)
		return atom_dim(t, intern_atom(t, ATOM_MAX, NULL, b, a));
	return atom_dim(t, intern_atom(t, ATOM_MAX, NULL, a, b));
}

/* -- questions ------------------------------------------------------------------------------ */

typedef struct Range { int64_t lo, hi; } Range;

enum { HUGE_BITS = 60 };
#define RANGE_MAX ((int64_t)1 << HUGE_BITS)

static int64_t clamp_range(__int128 v)
{
	return v > RANGE_MAX ? RANGE_MAX : v < -RANGE_MAX ? -RANGE_MAX : (int64_t)v;
}

static Range range_mul(Range a, Range b)
{
	__int128 p[4] = {(__int128)a.lo * b.lo, (__int128)a.lo * b.hi, (__int128)a.hi * b.lo,
	                 (__int128)a.hi * b.hi};
	__int128 lo = p[0], hi = p[0];

	for (int i = 1; i < 4; i++) {
		lo = p[i] < lo ? p[i] : lo;
		hi = p[i] > hi ? p[i] : hi;
	}
	return (Range){clamp_range(lo), clamp_range(hi)};
}

static Range dim_range(MloDim d);

static Range atom_range(const Atom *x)
{
	Range a, b;

	if (x->kind == ATOM_SYM)
		return (Range){x->lo, x->hi};
	a = dim_range(x->a);
	b = dim_range(x->b);
	if (x->kind == ATOM_MAX)
		return (Range){a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
	if (b.lo <= 0)
		b.lo = 1; /* a divisor of 0 means the graph is not run with that size */
	if (b.hi < b.lo)
		return (Range){-RANGE_MAX, RANGE_MAX};
	return (Range){floor_div(a.lo, a.lo < 0 ? b.lo : b.hi), floor_div(a.hi, a.hi < 0 ? b.hi : b.lo)};
}

static Range poly_range(const Term *t, int n)
{
	__int128 lo = 0, hi = 0;

	for (int i = 0; i < n; i++) {
		Range m = {clamp_range(t[i].coef), clamp_range(t[i].coef)};

		for (int j = 0; j < t[i].n; j++)
			m = range_mul(m, atom_range(t[i].atom[j]));
		lo += m.lo;
		hi += m.hi;
	}
	return (Range){clamp_range(lo), clamp_range(hi)};
}

static Range dim_range(MloDim d)
{
	if (!d.e)
		return (Range){clamp_range(d.k), clamp_range(d.k)};
	return poly_range(d.e->t, d.e->n);
}

bool mlo_dim_same(MloDim a, MloDim b)
{
	return dim_cmp(a, b) == 0;
}

bool mlo_dim_differ(MloDim a, MloDim b)
{
	Poly diff;
	Range r;

	if (!a.e && !b.e)
		return a.k != b.k;
	diff = poly_sub(a, b);
	if (diff.n < 0)
		return false;
	r = poly_range(diff.t, diff.n);
	return r.lo > 0 || r.hi < 0;
}

bool mlo_dim_le(MloDim a, MloDim b)
{
	Poly diff;

	if (!a.e && !b.e)
		return a.k <= b.k;
	diff = poly_sub(b, a);
	return diff.n >= 0 && poly_range(diff.t, diff.n).lo >= 0;
}

void mlo_dim_range(MloDim d, int64_t *lo, int64_t *hi)
{
	Range r = dim_range(d);

	*lo = r.lo < 0 && d.e ? 0 : r.lo; /* an expression used as a dimension is not negative */
	*hi = r.hi < *lo ? *lo : r.hi;
}
