/* ir/ref/ref_text.c -- numbers to text and back.
 *
 * A float is written with as few digits as tell it from its neighbours.  Digits are those of the exact
 * decimal expansion, which is finite: m * 2^e by repeated doubling or halving of a decimal number. */
#include "ir/ref/ref_elem.h"

enum { CHARS = REF_SIZES - 1, LIMBS = 140, BASE = 1000000000, DIGITS = 9 * LIMBS, MAX_TEXT = 32 };

/* 0.d1 d2 d3 ... * 10^point, d1 not 0; n == 0: zero. */
typedef struct Decimal {
	int n, point;
	unsigned char d[DIGITS];
} Decimal;

/* Cuts zeros at both ends. */
static void trim(Decimal *x)
{
	int lead = 0;

	while (lead < x->n && !x->d[lead])
		lead++;
	for (int i = lead; lead && i < x->n; i++)
		x->d[i - lead] = x->d[i];
	x->n -= lead;
	x->point -= lead;
	while (x->n && !x->d[x->n - 1])
		x->n--;
}

/* m * 2^e exactly. */
static void expand(Decimal *x, uint64_t m, int e)
{
	uint32_t limb[LIMBS]; /* least first; those below `frac` are behind the point */
	int frac = e < 0 ? (-e + 8) / 9 : 0, n = frac;

	for (int i = 0; i < frac; i++)
		limb[i] = 0;
	for (; m; m /= BASE)
		limb[n++] = (uint32_t)(m % BASE);
	for (; e > 0; e--) {
		uint32_t carry = 0;

		for (int i = 0; i < n; i++) {
			uint32_t v = 2 * limb[i] + carry;

			carry = v >= BASE;
			limb[i] = v - (carry ? BASE : 0);
		}
		if (carry)
			limb[n++] = carry;
	}
	for (; e < 0; e++) {
		uint32_t carry = 0;

		for (int i = n - 1; i >= 0; i--) {
			uint32_t v = limb[i] + (carry ? BASE : 0);

			limb[i] = v / 2;
			carry = v % 2;
		}
	}
	x->n = 9 * n;
	x->point = 9 * (n - frac);
	for (int i = 0; i < n; i++) {
		uint32_t v = limb[n - 1 - i];

		for (int k = 8; k >= 0; k--, v /= 10)
			x->d[9 * i + k] = (unsigned char)(v % 10);
	}
	trim(x);
}

static int compare(const Decimal *a, const Decimal *b)
{
	if (!a->n || !b->n)
		return (a->n > 0) - (b->n > 0);
	if (a->point != b->point)
		return a->point < b->point ? -1 : 1;
	for (int i = 0; i < a->n || i < b->n; i++) {
		int da = i < a->n ? a->d[i] : 0, db = i < b->n ? b->d[i] : 0;

		if (da != db)
			return da < db ? -1 : 1;
	}
	return 0;
}

/* x to n digits, halves to even. */
static void round_to(Decimal *x, int n)
{
	bool up;

	if (x->n <= n)
		return;
	up = x->d[n] > 5 || (x->d[n] == 5 && (x->n > n + 1 || (n && x->d[n - 1] % 2)));
	x->n = n;
	while (up && n > 0) {
		up = x->d[n - 1] == 9;
		x->d[n - 1] = up ? 0 : x->d[n - 1] + 1;
		n--;
	}
	if (up) {
		x->d[0] = 1;
		x->n = 1;
		x->point++;
	}
	trim(x);
}

/* -- floats as m * 2^e ---------------------------------------------------------------------- */

typedef struct Parts { uint64_t m; int e; } Parts;

/* A finite, positive double, with as few bits in m as the type holds. */
static Parts parts_of(double v, int bits, int least)
{
	uint64_t u = refm_bits(v), m = u & (((uint64_t)1 << 52) - 1);
	int e = (int)(u >> 52 & 0x7ff);
	Parts p = {e ? m | (uint64_t)1 << 52 : m, (e ? e : 1) - 1075};

	while (p.m && !(p.m >> 52)) { /* subnormal in double: normal in no smaller type, but neither in this one */
		if (p.e <= -1074)
			break;
		p.m <<= 1;
		p.e--;
	}
	while (p.e < least || (p.m >> bits)) {
		p.m >>= 1;
		p.e++;
	}
	return p;
}

/* Mantissa bits, the hidden one included, and exponent of the smallest number. */
static void type_of(int elem, int *bits, int *least)
{
	*bits = elem == EL_f64 ? 53 : elem == EL_f32 ? 24 : elem == EL_f16 ? 11 : elem == EL_bf16 ? 8 : 4;
	*least = elem == EL_f64 ? -1074 : elem == EL_f32 ? -149 : elem == EL_f16 ? -24 : elem == EL_bf16 ? -133 : -20;
}

/* The shortest decimal between the middles to both neighbours. */
static void shortest(Decimal *x, double v, int elem)
{
	Decimal lo, hi;
	int bits, least;

	type_of(elem, &bits, &least);
	Parts p = parts_of(v, bits, least);
	bool power = p.m == (uint64_t)1 << (bits - 1) && p.e > least; /* the neighbour below is nearer */

	expand(&lo, power ? 4 * p.m - 1 : 4 * p.m - 2, p.e - 2);
	expand(&hi, 4 * p.m + 2, p.e - 2);
	for (int n = 1; n <= 17; n++) {
		bool even = p.m % 2 == 0;

		expand(x, p.m, p.e);
		round_to(x, n);
		int below = compare(x, &lo), above = compare(x, &hi);
		if ((below > 0 || (even && below == 0)) && (above < 0 || (even && above == 0)))
			return;
	}
}

/* -- writing -------------------------------------------------------------------------------- */

static int put_int(char *to, int64_t v, bool is_unsigned)
{
	char digits[24];
	bool minus = !is_unsigned && v < 0;
	uint64_t u = minus ? -(uint64_t)v : (uint64_t)v;
	int n = 0, len = 0;

	do
		digits[n++] = (char)('0' + u % 10);
	while (u /= 10);
	if (minus)
		to[len++] = '-';
	while (n)
		to[len++] = digits[--n];
	return len;
}

static int put_text(char *to, const char *s)
{
	int n = 0;

	for (; s[n]; n++)
		to[n] = s[n];
	return n;
}

static char digit_at(const Decimal *x, int i)
{
	return i < x->n ? (char)('0' + x->d[i]) : '0';
}

/* 1.5e-07 */
static int put_scientific(char *to, const Decimal *x)
{
	int n = 0, e = x->point - 1;

	to[n++] = digit_at(x, 0);
	if (x->n > 1)
		to[n++] = '.';
	for (int i = 1; i < x->n; i++)
		to[n++] = digit_at(x, i);
	to[n++] = 'e';
	to[n++] = e < 0 ? '-' : '+';
	e = e < 0 ? -e : e;
	if (e < 10)
		to[n++] = '0';
	return n + put_int(to + n, e, false);
}

/* 0.00015, 15.0, 1500000.0 */
static int put_plain(char *to, const Decimal *x)
{
	int n = 0;

	if (x->point <= 0)
		to[n++] = '0';
	for (int i = 0; i < x->point; i++)
		to[n++] = digit_at(x, i);
	to[n++] = '.';
	for (int i = x->point; i < 0; i++)
		to[n++] = '0';
	for (int i = x->point > 0 ? x->point : 0; i < x->n; i++)
		to[n++] = digit_at(x, i);
	if (to[n - 1] == '.')
		to[n++] = '0';
	return n;
}

/* As Python writes floats; at most MAX_TEXT characters. */
static int put_float(char *to, double v, int elem)
{
	Decimal x;
	int n = 0;

	if (refm_isnan(v))
		return put_text(to, "NaN");
	if (refm_bits(v) >> 63)
		to[n++] = '-';
	v = refm_abs(v);
	if (v == refm_inf())
		return n + put_text(to + n, "INF");
	if (v == 0)
		return n + put_text(to + n, "0.0");
	shortest(&x, v, elem);
	return n + (x.point < -3 || x.point > 16 ? put_scientific(to + n, &x) : put_plain(to + n, &x));
}

static int put_element(char *to, const RefTensor *x, int64_t i)
{
	if (ref_is_float(x->elem))
		return put_float(to, ref_get_f64(x, i), x->elem);
	return put_int(to, ref_get_i64(x, i), ref_is_unsigned(x->elem));
}

void ref_to_string(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t n = ref_count(y);
	RefText *to = y->data;
	char *at = (char *)(to + n), text[MAX_TEXT];

	for (int64_t i = 0; i < n; i++) {
		int len = put_element(text, x, i);

		to[i] = (RefText){at, len};
		for (int k = 0; k < len; k++)
			*at++ = text[k];
	}
}

void size_to_string(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0];
	char text[MAX_TEXT];

	for (int k = 0; k < x->rank; k++)
		dims[k] = x->dim[k];
	dims[CHARS] = 0;
	for (int64_t i = 0, n = ref_count(x); i < n; i++)
		dims[CHARS] += put_element(text, x, i);
}

/* -- reading -------------------------------------------------------------------------------- */

typedef struct Number {
	Decimal x;
	bool minus, special, integer;
	double value; /* of a special one */
	int64_t i;    /* of an integer, saturated */
} Number;

static bool is_word(const RefText *s, int64_t at, const char *word)
{
	int64_t k = 0;

	for (; word[k]; k++)
		if (at + k >= s->n || (s->s[at + k] | 0x20) != word[k])
			return false;
	return at + k == s->n;
}

static void read_exponent(const RefText *s, int64_t at, Decimal *x)
{
	bool minus = at < s->n && s->s[at] == '-';
	int e = 0;

	at += at < s->n && (s->s[at] == '-' || s->s[at] == '+');
	for (; at < s->n && s->s[at] >= '0' && s->s[at] <= '9'; at++)
		e = e < 100000 ? 10 * e + (s->s[at] - '0') : e;
	x->point += minus ? -e : e;
}

/* What cannot be read is NaN, 0 as an integer. */
static void read_number(const RefText *s, Number *r)
{
	int64_t at = 0;
	bool point = false, any = false;

	*r = (Number){.integer = true};
	while (at < s->n && (s->s[at] == ' ' || (s->s[at] >= '\t' && s->s[at] <= '\r')))
		at++;
	r->minus = at < s->n && s->s[at] == '-';
	at += at < s->n && (s->s[at] == '-' || s->s[at] == '+');
	r->special = is_word(s, at, "inf") || is_word(s, at, "infinity");
	r->value = refm_inf();
	for (; !r->special && at < s->n; at++) {
		char ch = s->s[at];

		if (ch == '.' && !point) {
			point = true;
			r->integer = false;
			continue;
		}
		if (ch < '0' || ch > '9')
			break;
		any = true;
		if (r->x.n < DIGITS)
			r->x.d[r->x.n++] = (unsigned char)(ch - '0');
		r->x.point += !point;
		if (r->i > (INT64_MAX - (ch - '0')) / 10)
			r->i = INT64_MAX;
		else if (!point)
			r->i = 10 * r->i + (ch - '0');
	}
	if (!any && !r->special) {
		r->special = true;
		r->value = refm_nan();
	}
	if (any && at < s->n && (s->s[at] | 0x20) == 'e') {
		r->integer = false;
		read_exponent(s, at + 1, &r->x);
	}
	trim(&r->x);
}

/* The double nearest to x: bits of doubles are ordered as they are. */
static double nearest(const Decimal *x)
{
	uint64_t lo = 0, hi = (uint64_t)0x7ff << 52; /* x is at least the double lo, below hi */
	Decimal at;

	if (x->n == 0 || x->point < -330)
		return 0;
	if (x->point > 310)
		return refm_inf();
	while (hi - lo > 1) {
		uint64_t mid = lo + (hi - lo) / 2;
		Parts p = parts_of(refm_from_bits(mid), 53, -1074);

		expand(&at, p.m, p.e);
		if (compare(&at, x) <= 0)
			lo = mid;
		else
			hi = mid;
	}
	Parts p = parts_of(refm_from_bits(lo), 53, -1074);
	expand(&at, 2 * p.m + 1, p.e - 1);
	int c = compare(x, &at);
	return refm_from_bits(c > 0 || (c == 0 && p.m % 2) ? hi : lo);
}

/* Up to 15 digits and a small power of ten: both exact, so one operation rounds right. */
static bool easy(const Decimal *x, double *out)
{
	static const double power[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	int e = x->point - x->n;
	int64_t m = 0;

	if (x->n > 15 || e < -22 || e > 22)
		return false;
	for (int i = 0; i < x->n; i++)
		m = 10 * m + x->d[i];
	*out = e < 0 ? (double)m / power[-e] : (double)m * power[e];
	return true;
}

void ref_from_string(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	const RefText *s = x->data;

	for (int64_t i = 0, n = ref_count(y); i < n; i++) {
		Number r;
		double v;

		read_number(&s[i], &r);
		if (r.integer && !r.special && !ref_is_float(y->elem)) {
			ref_put_i64(y, i, r.minus ? -r.i : r.i);
			continue;
		}
		if (r.special)
			v = r.value;
		else if (!easy(&r.x, &v))
			v = nearest(&r.x);
		ref_put_f64(y, i, r.minus ? -v : v);
	}
}
