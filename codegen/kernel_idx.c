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

static void range_mod(const MloKernel *k, const KIdx *e, int64_t *lo, int64_t *hi)
{
	int64_t l, h;

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
	int64_t l, h;

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
		kx_range(k, e->a, &l, &h);
		*lo = clamp((i128)(e->k < 0 ? h : l) * e->k);
		*hi = clamp((i128)(e->k < 0 ? l : h) * e->k);
		break;
	case KI_DIV:
		kx_range(k, e->a, &l, &h);
		*lo = l == INT64_MIN ? l : floor_div(l, e->k);
		*hi = h == INT64_MAX ? h : floor_div(h, e->k);
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
	if (a->a && (c = compare(a->a, b->a)))
		return c;
	if (a->b && (c = compare(a->b, b->b)))
		return c;
	return a->k < b->k ? -1 : a->k > b->k;
}

bool kx_equal(const KIdx *a, const KIdx *b)
{
	return compare(a, b) == 0;
}

/* -- sums --------------------------------------------------------------------------------- */

enum { MAX_TERMS = 64 };
typedef struct Sum {
	int n;
	struct { const KIdx *atom; int64_t coef; } term[MAX_TERMS];
	int64_t k;
} Sum;

static void sum_add(Sum *s, const KIdx *e, int64_t coef)
{
	if (e->op == KI_CONST) {
		s->k += e->k * coef;
		return;
	}
	if (e->op == KI_ADD) {
		sum_add(s, e->a, coef);
		sum_add(s, e->b, coef);
		return;
	}
	if (e->op == KI_MUL) {
		sum_add(s, e->a, coef * e->k);
		return;
	}
	for (int i = 0; i < s->n; i++)
		if (compare(s->term[i].atom, e) == 0) {
			s->term[i].coef += coef;
			return;
		}
	MLO_ASSERT(s->n < MAX_TERMS);
	s->term[s->n].atom = e;
	s->term[s->n++].coef = coef;
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

		if (m->op != KI_MOD)
			continue;
		for (int j = 0; j < s->n; j++) {
			const KIdx *d = s->term[j].atom;
			int64_t coef = s->term[i].coef;

			if (d->op != KI_DIV || d->k != m->k || s->term[j].coef != coef * m->k ||
			    compare(d->a, m->a) != 0)
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
			if (s->term[i].coef == 0)
				drop_term(s, i);
	} while (join_div_mod(s));
	for (int i = 1; i < s->n; i++)
		for (int j = i; j > 0 && compare(s->term[j - 1].atom, s->term[j].atom) > 0; j--) {
			__typeof__(s->term[0]) t = s->term[j];
			s->term[j] = s->term[j - 1];
			s->term[j - 1] = t;
		}
}

static const KIdx *sum_build(MloKernel *k, const Sum *s)
{
	const KIdx *e = NULL;

	for (int i = 0; i < s->n; i++) {
		const KIdx *t = s->term[i].atom;

		if (s->term[i].coef != 1)
			t = node(k, KI_MUL, s->term[i].coef, t, NULL);
		e = e ? node(k, KI_ADD, 0, e, t) : t;
	}
	if (!e)
		return kx_const(k, s->k);
	return s->k ? node(k, KI_ADD, 0, e, kx_const(k, s->k)) : e;
}

const KIdx *kx_add(MloKernel *k, const KIdx *a, const KIdx *b)
{
	Sum s = {0};

	sum_add(&s, a, 1);
	sum_add(&s, b, 1);
	sum_tidy(&s);
	return sum_build(k, &s);
}

const KIdx *kx_mul(MloKernel *k, const KIdx *a, int64_t c)
{
	Sum s = {0};

	if (c == 0)
		return kx_const(k, 0);
	if (c == 1)
		return a;
	sum_add(&s, a, c);
	sum_tidy(&s);
	return sum_build(k, &s);
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
static void split(const KIdx *e, int64_t c, Sum *quot, Sum *rest)
{
	Sum s = {0};

	sum_add(&s, e, 1);
	sum_tidy(&s);
	quot->n = rest->n = 0;
	quot->k = floor_div(s.k, c);
	rest->k = floor_mod(s.k, c);
	for (int i = 0; i < s.n; i++) {
		Sum *to = s.term[i].coef % c == 0 ? quot : rest;

		to->term[to->n] = s.term[i];
		if (to == quot)
			to->term[to->n].coef /= c;
		to->n++;
	}
}

static int64_t common(const Sum *s, int64_t c)
{
	for (int i = 0; i < s->n; i++)
		c = gcd(s->term[i].coef, c);
	return c;
}

static const KIdx *shrink(MloKernel *k, const Sum *s, int64_t g)
{
	Sum t = *s;

	for (int i = 0; i < t.n; i++)
		t.term[i].coef /= g;
	t.k = floor_div(t.k, g);
	return sum_build(k, &t);
}

const KIdx *kx_div(MloKernel *k, const KIdx *a, int64_t c)
{
	Sum quot, rest;
	const KIdx *r, *q;
	int64_t lo, hi, g;

	MLO_ASSERT(c > 0);
	if (c == 1)
		return a;
	split(a, c, &quot, &rest);
	q = sum_build(k, &quot);
	r = sum_build(k, &rest);
	kx_range(k, r, &lo, &hi);
	if (!unbounded(lo, hi) && floor_div(lo, c) == floor_div(hi, c))
		return kx_add(k, q, kx_const(k, floor_div(lo, c)));
	g = common(&rest, c);
	if (g > 1) {
		r = shrink(k, &rest, g);
		c /= g;
	}
	if (r->op == KI_DIV) /* (x / a) / b = x / (a*b) */
		return kx_add(k, q, kx_div(k, r->a, r->k * c));
	if (r->op == KI_MOD && r->k % c == 0) /* (x % (a*b)) / a = (x / a) % b */
		return kx_add(k, q, kx_mod(k, kx_div(k, r->a, c), r->k / c));
	return kx_add(k, q, node(k, KI_DIV, c, r, NULL));
}

const KIdx *kx_mod(MloKernel *k, const KIdx *a, int64_t c)
{
	Sum quot, rest;
	const KIdx *r;
	int64_t lo, hi, g;

	MLO_ASSERT(c > 0);
	if (c == 1)
		return kx_const(k, 0);
	split(a, c, &quot, &rest);
	r = sum_build(k, &rest);
	kx_range(k, r, &lo, &hi);
	if (!unbounded(lo, hi) && floor_div(lo, c) == floor_div(hi, c))
		return kx_add(k, r, kx_const(k, -floor_div(lo, c) * c));
	g = common(&rest, c);
	if (g > 1) /* (g*s + j) % (g*m) = g*(s % m) + j  for 0 <= j < g */
		return kx_add(k, kx_mul(k, kx_mod(k, shrink(k, &rest, g), c / g), g),
		              kx_const(k, floor_mod(rest.k, g)));
	if (r->op == KI_MOD && r->k % c == 0)
		return kx_mod(k, r->a, c);
	return node(k, KI_MOD, c, r, NULL);
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
