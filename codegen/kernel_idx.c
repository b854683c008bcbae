/* codegen/kernel_idx.c -- index expressions: range analysis and simplifying builders.
 *
 * A sum is kept in one spelling: terms `atom * coefficient`, equal atoms combined, sorted, the
 * constant last.  DIV and MOD pull out what is divisible: with s = c*q + r,
 * floor(s / c) = q + floor(r / c) and s mod c = r mod c, for every integer r. */
#include "codegen/kernel.h"

#include <stdlib.h>

typedef __int128 i128;

static int64_t clamp(i128 v)
{
	return v > INT64_MAX ? INT64_MAX : v < INT64_MIN ? INT64_MIN : (int64_t)v;
}

static int64_t floor_div(int64_t a, int64_t c)
{
	int64_t q = a / c;

	return q - (a % c < 0);
}

static int64_t floor_mod(int64_t a, int64_t c)
{
	int64_t r = a % c;

	return r < 0 ? r + c : r;
}

/* -- ranges ------------------------------------------------------------------------------- */

static bool unbounded(int64_t lo, int64_t hi)
{
	return lo == INT64_MIN || hi == INT64_MAX;
}

/* Least and most of what e multiplies or divides by. */
static void range_factor(const MloKernel *k, const KIdx *e, int64_t *lo, int64_t *hi)
{
	*lo = *hi = e->k;
	if (e->b)
		kx_range(k, e->b, lo, hi);
}

static void range_mul(const MloKernel *k, const KIdx *e, int64_t *lo, int64_t *hi)
{
	int64_t l, h, fl, fh;
	i128 v[4];

	kx_range(k, e->a, &l, &h);
	range_factor(k, e, &fl, &fh);
	v[0] = (i128)l * fl;
	v[1] = (i128)l * fh;
	v[2] = (i128)h * fl;
	v[3] = (i128)h * fh;
	*lo = *hi = clamp(v[0]);
	for (int i = 1; i < 4; i++) {
		*lo = clamp(v[i]) < *lo ? clamp(v[i]) : *lo;
		*hi = clamp(v[i]) > *hi ? clamp(v[i]) : *hi;
	}
}

/* A divisor of 0 divides nothing: there are no elements then. */
static void range_div(const MloKernel *k, const KIdx *e, int64_t *lo, int64_t *hi)
{
	int64_t l, h, fl, fh;

	kx_range(k, e->a, &l, &h);
	range_factor(k, e, &fl, &fh);
	fl = fl < 1 ? 1 : fl;
	fh = fh < fl ? fl : fh;
	*lo = l == INT64_MIN ? l : floor_div(l, l < 0 ? fl : fh);
	*hi = h == INT64_MAX ? h : floor_div(h, h < 0 ? fh : fl);
}

static void range_mod(const MloKernel *k, const KIdx *e, int64_t *lo, int64_t *hi)
{
	int64_t l, h;

	if (e->b) {
		kx_range(k, e->b, &l, &h);
		*lo = 0;
		*hi = h > 0 ? h - 1 : 0;
		return;
	}
	kx_range(k, e->a, &l, &h);
	*lo = 0;
	*hi = e->k - 1;
	if (!unbounded(l, h) && floor_div(l, e->k) == floor_div(h, e->k)) {
		*lo = floor_mod(l, e->k);
		*hi = floor_mod(h, e->k);
	}
}

static void range_pair(const MloKernel *k, const KIdx *e, int64_t *lo, int64_t *hi)
{
	int64_t l, h, l2, h2;

	kx_range(k, e->a, &l, &h);
	kx_range(k, e->b, &l2, &h2);
	if (e->op == KI_ADD) {
		*lo = l == INT64_MIN || l2 == INT64_MIN ? INT64_MIN : clamp((i128)l + l2);
		*hi = h == INT64_MAX || h2 == INT64_MAX ? INT64_MAX : clamp((i128)h + h2);
	} else if (e->op == KI_MIN) {
		*lo = l < l2 ? l : l2;
		*hi = h < h2 ? h : h2;
	} else {
		*lo = l > l2 ? l : l2;
		*hi = h > h2 ? h : h2;
	}
}

void kx_range(const MloKernel *k, const KIdx *e, int64_t *lo, int64_t *hi)
{
	switch (e->op) {
	case KI_CONST:
		*lo = *hi = e->k;
		break;
	case KI_VAR:
		*lo = 0;
		*hi = k->var_extent[e->k] > 0 ? k->var_extent[e->k] - 1 : 0;
		break;
	case KI_VALUE:
		*lo = INT64_MIN;
		*hi = INT64_MAX;
		break;
	case KI_SIZE:
		*lo = k->size.items[e->k].lo;
		*hi = k->size.items[e->k].hi;
		break;
	case KI_MUL:
		range_mul(k, e, lo, hi);
		break;
	case KI_DIV:
		range_div(k, e, lo, hi);
		break;
	case KI_MOD:
		range_mod(k, e, lo, hi);
		break;
	default:
		range_pair(k, e, lo, hi);
	}
}

/* -- nodes -------------------------------------------------------------------------------- */

static const KIdx *node(MloKernel *k, KIdxOp op, int64_t c, const KIdx *a, const KIdx *b)
{
	KIdx *e = MLO_NEW(k->arena, KIdx);

	*e = (KIdx){.op = op, .k = c, .a = a, .b = b};
	return e;
}

const KIdx *kx_const(MloKernel *k, int64_t v)
{
	return node(k, KI_CONST, v, NULL, NULL);
}

const KIdx *kx_var(MloKernel *k, int var)
{
	MLO_ASSERT(var >= 0 && var < k->nvar);
	if (k->var_extent[var] == 1)
		return kx_const(k, 0);
	return node(k, KI_VAR, var, NULL, NULL);
}

const KIdx *kx_value(MloKernel *k, int value)
{
	return node(k, KI_VALUE, value, NULL, NULL);
}

const KIdx *kx_size(MloKernel *k, int size)
{
	MLO_ASSERT(size >= 0 && (size_t)size < k->size.n);
	if (k->size.items[size].lo == k->size.items[size].hi)
		return kx_const(k, k->size.items[size].lo);
	return node(k, KI_SIZE, size, NULL, NULL);
}

/* A total order of expressions; 0 means equal. */
static int compare(const KIdx *a, const KIdx *b)
{
	int c;

	if (a == b)
		return 0;
	if (a->op != b->op)
		return a->op < b->op ? -1 : 1;
	if (!a->b != !b->b)
		return a->b ? 1 : -1;
	if (a->a && (c = compare(a->a, b->a)))
		return c;
	if (a->b && (c = compare(a->b, b->b)))
		return c;
	return a->k < b->k ? -1 : a->k > b->k;
}

bool kx_has_value(const KIdx *e)
{
	return e->op == KI_VALUE || (e->a && kx_has_value(e->a)) || (e->b && kx_has_value(e->b));
}

bool kx_equal(const KIdx *a, const KIdx *b)
{
	return compare(a, b) == 0;
}

/* What e multiplies or divides by; false: a size of which only the range is known. */
bool kx_factor(const MloKernel *k, const KIdx *e, MloDim *f)
{
	*f = e->b ? k->size.items[e->b->k].dim : mlo_dim(e->k);
	return !e->b || !mlo_dim_known(*f);
}

const KIdx *kx_dim(MloKernel *k, MloDim d)
{
	MloDim plus, minus;
	const KIdx *e;

	if (mlo_dim_known(d))
		return kx_const(k, d.k);
	mlo_dim_signs(k->syms, d, &plus, &minus);
	if (mlo_dim_same(minus, mlo_dim(0)))
		return kx_size(k, mlo_kernel_size(k, d));
	e = node(k, KI_MUL, -1, kx_dim(k, minus), NULL);
	return mlo_dim_same(plus, mlo_dim(0)) ? e : node(k, KI_ADD, 0, e, kx_dim(k, plus));
}

/* -- sums --------------------------------------------------------------------------------- */

enum { MAX_TERMS = 64 };
typedef struct Sum {
	MloKernel *k;
	int n;
	struct { const KIdx *atom; MloDim coef; } term[MAX_TERMS];
	MloDim rest;
} Sum;

static bool is_zero(MloDim d)
{
	return mlo_dim_known(d) && d.k == 0;
}

static void add_term(Sum *s, const KIdx *atom, MloDim coef)
{
	for (int i = 0; i < s->n; i++)
		if (compare(s->term[i].atom, atom) == 0) {
			s->term[i].coef = mlo_dim_add(s->k->syms, s->term[i].coef, coef);
			return;
		}
	MLO_ASSERT(s->n < MAX_TERMS);
	s->term[s->n].atom = atom;
	s->term[s->n++].coef = coef;
}

static void sum_add(Sum *s, const KIdx *e, MloDim coef)
{
	MloSymbols *t = s->k->syms;
	MloDim f;

	if (e->op == KI_CONST) {
		s->rest = mlo_dim_add(t, s->rest, mlo_dim_mul(t, coef, mlo_dim(e->k)));
	} else if (e->op == KI_SIZE && !mlo_dim_known(s->k->size.items[e->k].dim)) {
		s->rest = mlo_dim_add(t, s->rest, mlo_dim_mul(t, coef, s->k->size.items[e->k].dim));
	} else if (e->op == KI_ADD) {
		sum_add(s, e->a, coef);
		sum_add(s, e->b, coef);
	} else if (e->op == KI_MUL && kx_factor(s->k, e, &f)) {
		sum_add(s, e->a, mlo_dim_mul(t, coef, f));
	} else {
		add_term(s, e, coef);
	}
}

static void drop_term(Sum *s, int i)
{
	for (s->n--; i < s->n; i++)
		s->term[i] = s->term[i + 1];
}

/* (x / c) * m*c + (x % c) * m  is  x * m. Answers whether a pair was found. */
static bool join_div_mod(Sum *s)
{
	for (int i = 0; i < s->n; i++) {
		const KIdx *m = s->term[i].atom;
		MloDim by;

		if (m->op != KI_MOD || !kx_factor(s->k, m, &by))
			continue;
		for (int j = 0; j < s->n; j++) {
			const KIdx *d = s->term[j].atom;
			MloDim coef = s->term[i].coef, same;

			if (d->op != KI_DIV || !kx_factor(s->k, d, &same) || !mlo_dim_same(by, same) ||
			    !mlo_dim_same(s->term[j].coef, mlo_dim_mul(s->k->syms, coef, by)) || compare(d->a, m->a) != 0)
				continue;
			drop_term(s, i > j ? i : j);
			drop_term(s, i > j ? j : i);
			sum_add(s, m->a, coef);
			return true;
		}
	}
	return false;
}

static void sum_tidy(Sum *s)
{
	do {
		for (int i = s->n - 1; i >= 0; i--)
			if (is_zero(s->term[i].coef))
				drop_term(s, i);
	} while (join_div_mod(s));
	for (int i = 1; i < s->n; i++)
		for (int j = i; j > 0 && compare(s->term[j - 1].atom, s->term[j].atom) > 0; j--) {
			__typeof__(s->term[0]) t = s->term[j];
			s->term[j] = s->term[j - 1];
			s->term[j - 1] = t;
		}
}

/* atom * coef; an open coefficient has no negative terms. */
static const KIdx *scaled(MloKernel *k, const KIdx *atom, MloDim coef)
{
	if (!mlo_dim_known(coef))
		return node(k, KI_MUL, 0, atom, kx_size(k, mlo_kernel_size(k, coef)));
	return coef.k == 1 ? atom : node(k, KI_MUL, coef.k, atom, NULL);
}

static const KIdx *sum_of(MloKernel *k, const KIdx *a, const KIdx *b)
{
	return a ? node(k, KI_ADD, 0, a, b) : b;
}

static const KIdx *sum_build(const Sum *s)
{
	MloKernel *k = s->k;
	const KIdx *e = NULL;

	for (int i = 0; i < s->n; i++) {
		const KIdx *atom = s->term[i].atom;
		MloDim coef = s->term[i].coef, plus, minus;

		if (mlo_dim_known(coef)) {
			e = sum_of(k, e, scaled(k, atom, coef));
			continue;
		}
		mlo_dim_signs(k->syms, coef, &plus, &minus);
		if (!is_zero(plus))
			e = sum_of(k, e, scaled(k, atom, plus));
		if (!is_zero(minus))
			e = sum_of(k, e, node(k, KI_MUL, -1, scaled(k, atom, minus), NULL));
	}
	return e && is_zero(s->rest) ? e : sum_of(k, e, kx_dim(k, s->rest));
}

static Sum sum_new(MloKernel *k)
{
	Sum s;

	s.k = k;
	s.n = 0; /* the terms behind stay unset: there are many */
	s.rest = mlo_dim(0);
	return s;
}

const KIdx *kx_add(MloKernel *k, const KIdx *a, const KIdx *b)
{
	Sum s = sum_new(k);

	sum_add(&s, a, mlo_dim(1));
	sum_add(&s, b, mlo_dim(1));
	sum_tidy(&s);
	return sum_build(&s);
}

const KIdx *kx_mul_dim(MloKernel *k, const KIdx *a, MloDim c)
{
	Sum s = sum_new(k);

	if (is_zero(c))
		return kx_const(k, 0);
	if (mlo_dim_known(c) && c.k == 1)
		return a;
	sum_add(&s, a, c);
	sum_tidy(&s);
	return sum_build(&s);
}

const KIdx *kx_mul(MloKernel *k, const KIdx *a, int64_t c)
{
	return kx_mul_dim(k, a, mlo_dim(c));
}

/* -- division ----------------------------------------------------------------------------- */

static int64_t gcd(int64_t a, int64_t b)
{
	a = a < 0 ? -a : a;
	while (b) {
		int64_t t = a % b;
		a = b;
		b = t;
	}
	return a;
}

/* e = c*quot + rest, where rest keeps a constant in [0, c). */
static void split(MloKernel *k, const KIdx *e, MloDim c, Sum *quot, Sum *rest)
{
	Sum s = sum_new(k);
	MloDim q;

	sum_add(&s, e, mlo_dim(1));
	sum_tidy(&s);
	*quot = sum_new(k);
	*rest = sum_new(k);
	if (mlo_dim_known(c) && mlo_dim_known(s.rest)) {
		quot->rest = mlo_dim(floor_div(s.rest.k, c.k));
		rest->rest = mlo_dim(floor_mod(s.rest.k, c.k));
	} else if (mlo_dim_exact(k->syms, s.rest, c, &q)) {
		quot->rest = q;
	} else {
		rest->rest = s.rest;
	}
	for (int i = 0; i < s.n; i++) {
		bool divides = mlo_dim_exact(k->syms, s.term[i].coef, c, &q);
		Sum *to = divides ? quot : rest;

		to->term[to->n] = s.term[i];
		if (divides)
			to->term[to->n].coef = q;
		to->n++;
	}
}

/* A number that divides all coefficients and c; 1 where not all are constants. */
static int64_t common(const Sum *s, MloDim c)
{
	int64_t g = c.k;

	if (!mlo_dim_known(c) || !mlo_dim_known(s->rest))
		return 1;
	for (int i = 0; i < s->n; i++) {
		if (!mlo_dim_known(s->term[i].coef))
			return 1;
		g = gcd(s->term[i].coef.k, g);
	}
	return g;
}

static const KIdx *shrink(const Sum *s, int64_t g)
{
	Sum t = *s;

	for (int i = 0; i < t.n; i++)
		t.term[i].coef.k /= g;
	t.rest.k = floor_div(t.rest.k, g);
	return sum_build(&t);
}

/* Is floor(r / c) the same for all values of r? */
static bool one_quotient(const MloKernel *k, const KIdx *r, MloDim c, int64_t *q)
{
	int64_t lo, hi, most;

	kx_range(k, r, &lo, &hi);
	if (unbounded(lo, hi))
		return false;
	*q = 0;
	if (!mlo_dim_known(c)) {
		mlo_dim_range(c, &c.k, &most);
		return lo >= 0 && hi < c.k;
	}
	*q = floor_div(lo, c.k);
	return *q == floor_div(hi, c.k);
}

static const KIdx *divided(MloKernel *k, KIdxOp op, const KIdx *a, MloDim c)
{
	if (mlo_dim_known(c))
		return node(k, op, c.k, a, NULL);
	return node(k, op, 0, a, kx_size(k, mlo_kernel_size(k, c)));
}

/* An open c that is g times m: what is left of a divided by g, where that is simpler than a quotient. */
static bool by_parts(MloKernel *k, const KIdx *a, MloDim c, const KIdx **q, int64_t *g, MloDim *m)
{
	*g = mlo_dim_known(c) ? 1 : mlo_dim_multiple(c);
	if (*g < 2)
		return false;
	*m = mlo_dim_div(k->syms, c, mlo_dim(*g));
	*q = kx_div(k, a, *g);
	return (*q)->op != KI_DIV && (*q)->op != KI_MOD;
}

const KIdx *kx_div_dim(MloKernel *k, const KIdx *a, MloDim c)
{
	Sum quot, rest;
	const KIdx *r, *q;
	int64_t g;
	MloDim f, m;

	MLO_ASSERT(!mlo_dim_known(c) || c.k > 0);
	if (mlo_dim_known(c) && c.k == 1)
		return a;
	if (by_parts(k, a, c, &q, &g, &m))
		return kx_div_dim(k, q, m);
	split(k, a, c, &quot, &rest);
	q = sum_build(&quot);
	r = sum_build(&rest);
	if (one_quotient(k, r, c, &g))
		return kx_add(k, q, kx_const(k, g));
	g = common(&rest, c);
	if (g > 1) {
		r = shrink(&rest, g);
		c.k /= g;
	}
	if (r->op == KI_DIV && kx_factor(k, r, &f)) /* (x / a) / b = x / (a*b) */
		return kx_add(k, q, kx_div_dim(k, r->a, mlo_dim_mul(k->syms, f, c)));
	if (r->op == KI_MOD && kx_factor(k, r, &f) && mlo_dim_exact(k->syms, f, c, &m)) /* (x % (a*b)) / a = (x / a) % b */
		return kx_add(k, q, kx_mod_dim(k, kx_div_dim(k, r->a, c), m));
	return kx_add(k, q, divided(k, KI_DIV, r, c));
}

const KIdx *kx_div(MloKernel *k, const KIdx *a, int64_t c)
{
	return kx_div_dim(k, a, mlo_dim(c));
}

const KIdx *kx_mod_dim(MloKernel *k, const KIdx *a, MloDim c)
{
	Sum quot, rest;
	const KIdx *r;
	int64_t g, q;
	MloDim f, m;

	MLO_ASSERT(!mlo_dim_known(c) || c.k > 0);
	if (mlo_dim_known(c) && c.k == 1)
		return kx_const(k, 0);
	if (by_parts(k, a, c, &r, &g, &m))
		return kx_add(k, kx_mul(k, kx_mod_dim(k, r, m), g), kx_mod(k, a, g));
	split(k, a, c, &quot, &rest);
	r = sum_build(&rest);
	if (one_quotient(k, r, c, &q))
		return q ? kx_add(k, r, kx_const(k, -q * c.k)) : r;
	g = common(&rest, c);
	if (g > 1) /* (g*s + j) % (g*m) = g*(s % m) + j  for 0 <= j < g */
		return kx_add(k, kx_mul(k, kx_mod(k, shrink(&rest, g), c.k / g), g),
		              kx_const(k, floor_mod(rest.rest.k, g)));
	if (r->op == KI_MOD && kx_factor(k, r, &f) && mlo_dim_exact(k->syms, f, c, &m))
		return kx_mod_dim(k, r->a, c);
	return divided(k, KI_MOD, r, c);
}

const KIdx *kx_mod(MloKernel *k, const KIdx *a, int64_t c)
{
	return kx_mod_dim(k, a, mlo_dim(c));
}

static const KIdx *extreme(MloKernel *k, KIdxOp op, const KIdx *a, const KIdx *b)
{
	int64_t la, ha, lb, hb;

	kx_range(k, a, &la, &ha);
	kx_range(k, b, &lb, &hb);
	if (ha <= lb || compare(a, b) == 0)
		return op == KI_MIN ? a : b;
	if (hb <= la)
		return op == KI_MIN ? b : a;
	return compare(a, b) < 0 ? node(k, op, 0, a, b) : node(k, op, 0, b, a);
}

const KIdx *kx_min(MloKernel *k, const KIdx *a, const KIdx *b)
{
	return extreme(k, KI_MIN, a, b);
}

const KIdx *kx_max(MloKernel *k, const KIdx *a, const KIdx *b)
{
	return extreme(k, KI_MAX, a, b);
}
