/* frontend/onnx_regex.c -- regular expressions to automata over bytes: Thompson's construction, then subsets.
 *
 * Strings are UTF-8: a dot or a negated class also takes whole sequences of more bytes. */
#include "frontend/onnx_regex.h"

#include <string.h>

enum { MAX_NFA = 20000, MAX_DFA = 4000, MAX_REPEAT = 1000, MAX_DEPTH = 200, NONE = -1 };

typedef struct Set { uint64_t bits[4]; } Set;

/* Goes to next on a byte of the set; without one (empty), to next and alt at once. */
typedef struct State {
	Set on;
	bool takes; /* a byte */
	bool begin, end; /* passed only where the string begins or ends */
	int next, alt;
} State;

typedef struct Frag { int first, last; } Frag; /* last: to be linked, takes no byte */

typedef struct Regex {
	const char *p, *end;
	const char *why;
	State *state;
	int n, depth;
} Regex;

static void put(Set *s, int b)
{
	s->bits[b >> 6] |= (uint64_t)1 << (b & 63);
}

static bool has(const Set *s, int b)
{
	return s->bits[b >> 6] >> (b & 63) & 1;
}

static void put_range(Set *s, int lo, int hi)
{
	for (int b = lo; b <= hi; b++)
		put(s, b);
}

static Frag fail(Regex *r, const char *why)
{
	r->why = r->why ? r->why : why;
	return (Frag){0, 0};
}

static int new_state(Regex *r, bool takes, int next, int alt)
{
	if (r->n == MAX_NFA) {
		fail(r, "the pattern is too large");
		return 0;
	}
	r->state[r->n] = (State){.takes = takes, .next = next, .alt = alt};
	return r->n++;
}

static Frag empty(Regex *r)
{
	int s = new_state(r, false, NONE, NONE);

	return (Frag){s, s};
}

static Frag sequence(Regex *r, Frag a, Frag b)
{
	r->state[a.last].next = b.first;
	return (Frag){a.first, b.last};
}

static Frag anchor(Regex *r, bool begin)
{
	Frag f = empty(r);

	r->state[f.first].begin = begin;
	r->state[f.first].end = !begin;
	return sequence(r, f, empty(r));
}

static Frag byte_of(Regex *r, const Set *on)
{
	int last = new_state(r, false, NONE, NONE), first = new_state(r, true, last, NONE);

	r->state[first].on = *on;
	return (Frag){first, last};
}

static Frag range(Regex *r, int lo, int hi)
{
	Set s = {{0}};

	put_range(&s, lo, hi);
	return byte_of(r, &s);
}

static Frag either(Regex *r, Frag a, Frag b)
{
	int last = new_state(r, false, NONE, NONE), first = new_state(r, false, a.first, b.first);

	r->state[a.last].next = last;
	r->state[b.last].next = last;
	return (Frag){first, last};
}

static Frag maybe(Regex *r, Frag a)
{
	return either(r, a, empty(r));
}

static Frag star(Regex *r, Frag a)
{
	int last = new_state(r, false, NONE, NONE), first = new_state(r, false, a.first, last);

	r->state[a.last].next = first;
	return (Frag){first, last};
}

/* A byte of the set, or any character of more bytes. */
static Frag with_multibyte(Regex *r, const Set *ascii)
{
	Frag two = sequence(r, range(r, 0xc2, 0xdf), range(r, 0x80, 0xbf));
	Frag three = sequence(r, range(r, 0xe0, 0xef), sequence(r, range(r, 0x80, 0xbf), range(r, 0x80, 0xbf)));
	Frag four = sequence(r, range(r, 0xf0, 0xf4),
			     sequence(r, range(r, 0x80, 0xbf), sequence(r, range(r, 0x80, 0xbf), range(r, 0x80, 0xbf))));

	return either(r, byte_of(r, ascii), either(r, two, either(r, three, four)));
}

/* -- classes -------------------------------------------------------------------------------- */

static void invert(Set *s)
{
	for (int i = 0; i < 2; i++)
		s->bits[i] = ~s->bits[i];
	s->bits[2] = s->bits[3] = 0;
}

/* \d \w \s and their opposites (capital letters); false: no class. */
static bool perl_class(char c, Set *s)
{
	char low = (char)(c | 0x20);
	Set x = {{0}};

	if (low == 'd' || low == 'w')
		put_range(&x, '0', '9');
	if (low == 'w') {
		put_range(&x, 'a', 'z');
		put_range(&x, 'A', 'Z');
		put(&x, '_');
	}
	if (low == 's') {
		put_range(&x, '\t', '\n');
		put_range(&x, '\f', '\r');
		put(&x, ' ');
	}
	if (low != 'd' && low != 'w' && low != 's')
		return false;
	if (c != low)
		invert(&x);
	for (int i = 0; i < 4; i++)
		s->bits[i] |= x.bits[i];
	return true;
}

/* [:alpha:] and the like inside brackets; the cursor stands behind "[:". */
static bool posix_class(Regex *r, Set *s)
{
	static const struct { const char *name, *ranges; } classes[] = {
		{"alnum:]", "09AZaz"}, {"alpha:]", "AZaz"}, {"blank:]", "\t\t  "}, {"digit:]", "09"},
		{"lower:]", "az"}, {"upper:]", "AZ"}, {"punct:]", "!/:@[`{~"}, {"space:]", "\t\r  "},
		{"word:]", "09AZaz__"}, {"xdigit:]", "09AFaf"}, {"graph:]", "!~"}, {"print:]", " ~"},
	};

	for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
		size_t n = strlen(classes[i].name);

		if ((size_t)(r->end - r->p) < n || memcmp(r->p, classes[i].name, n) != 0)
			continue;
		for (const char *x = classes[i].ranges; *x; x += 2)
			put_range(s, x[0], x[1]);
		r->p += n;
		return true;
	}
	return false;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* The character after a backslash, when it stands for a single ASCII one; -1 otherwise. */
static int escaped(Regex *r)
{
	static const char from[] = "nrtfva0", to[] = "\n\r\t\f\v\a";
	char c = r->p < r->end ? *r->p++ : 0;
	const char *at = c ? strchr(from, c) : NULL;

	if (at)
		return to[at - from];
	if (c == 'x' && r->end - r->p >= 2 && hex(r->p[0]) >= 0 && hex(r->p[0]) < 8 && hex(r->p[1]) >= 0) {
		r->p += 2;
		return hex(r->p[-2]) * 16 + hex(r->p[-1]);
	}
	if (c > 0 && c < 0x7f && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
		return c;
	fail(r, "an escape is not known");
	return -1;
}

/* One member of a class: its character, or -1 when it was a class by itself. */
static int member(Regex *r, Set *s)
{
	if (*r->p == '[' && r->end - r->p > 1 && r->p[1] == ':') {
		r->p += 2;
		if (!posix_class(r, s))
			fail(r, "a class in [: :] is not known");
		return -1;
	}
	if (*r->p == '\\') {
		r->p++;
		if (r->p < r->end && perl_class(*r->p, s)) {
			r->p++;
			return -1;
		}
		return escaped(r);
	}
	if ((unsigned char)*r->p >= 0x80) {
		fail(r, "characters in brackets that are not ASCII");
		return -1;
	}
	return *r->p++;
}

/* Behind the opening bracket. */
static Frag brackets(Regex *r)
{
	bool not = r->p < r->end && *r->p == '^', first = true;
	Set s = {{0}};

	r->p += not;
	for (; !r->why && r->p < r->end && (first || *r->p != ']'); first = false) {
		int lo = member(r, &s), hi = lo;

		if (lo < 0)
			continue;
		if (r->end - r->p > 1 && *r->p == '-' && r->p[1] != ']') {
			r->p++;
			hi = member(r, &s);
		}
		if (hi < lo)
			return fail(r, "a range in brackets runs backwards");
		put_range(&s, lo, hi);
	}
	if (r->p == r->end)
		return fail(r, "a bracket is not closed");
	r->p++;
	if (!not)
		return byte_of(r, &s);
	invert(&s);
	return with_multibyte(r, &s);
}

/* -- syntax --------------------------------------------------------------------------------- */

static Frag alternatives(Regex *r);

static Frag escape(Regex *r)
{
	Set s = {{0}};
	char c = r->p < r->end ? *r->p : 0;
	int b;

	if (c == 'z' || c == 'A') {
		r->p++;
		return anchor(r, c == 'A');
	}
	if (perl_class(c, &s)) {
		r->p++;
		return c < 'a' ? with_multibyte(r, &s) : byte_of(r, &s);
	}
	b = escaped(r);
	return b < 0 ? fail(r, "an escape is not known") : range(r, b, b);
}

static Frag group(Regex *r)
{
	Frag f;

	if (r->end - r->p > 1 && r->p[0] == '?') {
		if (r->p[1] == ':')
			r->p += 2;
		else if (r->p[1] == 'P' && r->end - r->p > 2 && r->p[2] == '<' && memchr(r->p, '>', (size_t)(r->end - r->p)))
			r->p = (const char *)memchr(r->p, '>', (size_t)(r->end - r->p)) + 1;
		else
			return fail(r, "flags in a group");
	}
	if (++r->depth > MAX_DEPTH)
		return fail(r, "groups are nested too deep");
	f = alternatives(r);
	r->depth--;
	if (r->p == r->end)
		return fail(r, "a group is not closed");
	r->p++;
	return f;
}

/* A character of more bytes counts as one. */
static Frag literal(Regex *r)
{
	int lead = (unsigned char)*r->p++;
	Frag f = range(r, lead, lead);

	while (lead >= 0xc0 && r->p < r->end && ((unsigned char)*r->p & 0xc0) == 0x80) {
		int b = (unsigned char)*r->p++;

		f = sequence(r, f, range(r, b, b));
	}
	return f;
}

static Frag atom(Regex *r)
{
	Set any = {{~((uint64_t)1 << '\n'), ~(uint64_t)0, 0, 0}};

	switch (*r->p) {
	case '(':
		r->p++;
		return group(r);
	case '[':
		r->p++;
		return brackets(r);
	case '\\':
		r->p++;
		return escape(r);
	case '.':
		r->p++;
		return with_multibyte(r, &any);
	case '^':
	case '$':
		return anchor(r, *r->p++ == '^');
	case '*': case '+': case '?':
		return fail(r, "nothing to repeat");
	default:
		return literal(r);
	}
}

static bool number(Regex *r, int *out)
{
	const char *from = r->p;

	for (*out = 0; r->p < r->end && *r->p >= '0' && *r->p <= '9' && *out <= MAX_REPEAT; r->p++)
		*out = *out * 10 + (*r->p - '0');
	return r->p > from;
}

/* {n}, {n,}, {n,m} at the cursor, which moves behind it; otherwise it stays (a brace is a character then). */
static bool counts(Regex *r, int *lo, int *hi)
{
	const char *from = r->p;

	if (r->p < r->end && *r->p++ == '{' && number(r, lo)) {
		*hi = *lo;
		if (r->p < r->end && *r->p == ',') {
			r->p++;
			if (!number(r, hi))
				*hi = NONE;
		}
		if (r->p < r->end && *r->p == '}') {
			r->p++;
			return true;
		}
	}
	r->p = from;
	return false;
}

/* The atom between `from` and `to` again: parsing it once more makes a copy. */
static Frag again(Regex *r, const char *from)
{
	const char *here = r->p;
	Frag f;

	r->p = from;
	f = atom(r);
	r->p = here;
	return f;
}

static Frag repeat(Regex *r, const char *from, Frag one, int lo, int hi)
{
	Frag all = lo ? one : empty(r);

	if (lo > MAX_REPEAT || hi > MAX_REPEAT || (hi != NONE && hi < lo))
		return fail(r, "a count of repetitions is out of range");
	for (int i = 1; i < lo && !r->why; i++)
		all = sequence(r, all, again(r, from));
	if (hi == NONE)
		return sequence(r, all, star(r, again(r, from)));
	for (int i = lo; i < hi && !r->why; i++)
		all = sequence(r, all, maybe(r, again(r, from)));
	return all;
}

static Frag repeated(Regex *r)
{
	const char *from = r->p;
	Frag f = atom(r);
	int lo, hi;

	while (!r->why && r->p < r->end) {
		bool more = true;

		if (*r->p == '*')
			f = star(r, f);
		else if (*r->p == '?')
			f = maybe(r, f);
		else if (*r->p == '+') {
			r->p++;
			f = sequence(r, f, star(r, again(r, from)));
			more = false;
		} else if (*r->p == '{' && counts(r, &lo, &hi)) {
			f = repeat(r, from, f, lo, hi);
			more = false;
		} else {
			return f;
		}
		r->p += more;
		if (r->p < r->end && *r->p == '?') /* lazy: the same strings match */
			r->p++;
		if (r->p < r->end && strchr("*+?", *r->p) && *r->p)
			return fail(r, "a repetition is repeated");
	}
	return f;
}

static Frag alternative(Regex *r)
{
	Frag f = empty(r);

	while (!r->why && r->p < r->end && *r->p != '|' && *r->p != ')')
		f = sequence(r, f, repeated(r));
	return f;
}

static Frag alternatives(Regex *r)
{
	Frag f = alternative(r);

	while (!r->why && r->p < r->end && *r->p == '|') {
		r->p++;
		f = either(r, f, alternative(r));
	}
	return f;
}

/* -- subsets -------------------------------------------------------------------------------- */

typedef struct Dfa {
	const Regex *r;
	MloArena *tmp;
	int accept;
	size_t words;
	struct { uint64_t **items; size_t n, cap; } sets; /* of states of the automaton, by state of this one */
	int *stack;
} Dfa;

/* Adds s and all that is reached from it without a byte, where the string begins, ends, or goes on. */
static void add(Dfa *d, uint64_t *set, int s, bool begin, bool end)
{
	int depth = 0;

	d->stack[depth++] = s;
	while (depth) {
		int at = d->stack[--depth];
		const State *x = &d->r->state[at];

		if (set[at >> 6] >> (at & 63) & 1)
			continue;
		set[at >> 6] |= (uint64_t)1 << (at & 63);
		if (x->takes || (x->begin && !begin) || (x->end && !end))
			continue;
		if (x->next != NONE)
			d->stack[depth++] = x->next;
		if (x->alt != NONE)
			d->stack[depth++] = x->alt;
	}
}

/* The number of that set of states; NONE when it is empty. */
static int number_of(Dfa *d, uint64_t *set)
{
	bool any = false;

	for (size_t i = 0; i < d->words; i++)
		any |= set[i] != 0;
	if (!any)
		return NONE;
	for (size_t i = 0; i < d->sets.n; i++)
		if (!memcmp(d->sets.items[i], set, d->words * sizeof *set))
			return (int)i;
	MLO_PUSH(d->tmp, &d->sets, mlo_dup(d->tmp, set, d->words * sizeof *set));
	return (int)d->sets.n - 1;
}

static void step(Dfa *d, const uint64_t *from, int byte, uint64_t *to)
{
	memset(to, 0, d->words * sizeof *to);
	for (int s = 0; s < d->r->n; s++)
		if (from[s >> 6] >> (s & 63) & 1 && d->r->state[s].takes && has(&d->r->state[s].on, byte))
			add(d, to, d->r->state[s].next, false, false);
}

/* Does the set accept when the string ends here? */
static bool accepting(Dfa *d, const uint64_t *from, uint64_t *set)
{
	memset(set, 0, d->words * sizeof *set);
	for (int s = 0; s < d->r->n; s++)
		if (from[s >> 6] >> (s & 63) & 1)
			add(d, set, s, false, true);
	return set[d->accept >> 6] >> (d->accept & 63) & 1;
}

static MloTensor *build(Dfa *d, MloArena *a, int first, const char **why)
{
	struct { int32_t (*items)[257]; size_t n, cap; } rows = {0};
	uint64_t *set = MLO_NEWN(d->tmp, uint64_t, d->words);
	MloTensor *t;

	add(d, set, first, true, false);
	number_of(d, set);
	for (size_t i = 0; i < d->sets.n; i++) {
		int32_t row[257];
		const uint64_t *from = d->sets.items[i];

		if (d->sets.n > MAX_DFA) {
			*why = "the pattern needs too many states";
			return NULL;
		}
		for (int b = 0; b < 256; b++) {
			step(d, from, b, set);
			row[b] = number_of(d, set);
		}
		row[256] = accepting(d, d->sets.items[i], set);
		rows.n++;
		if (rows.n > rows.cap)
			rows.items = mlo_grow(d->tmp, rows.items, rows.n - 1, &rows.cap, sizeof *rows.items);
		memcpy(rows.items[rows.n - 1], row, sizeof row);
	}
	t = mlo_tensor_new(a, EL_i32, 2, (int64_t[]){(int64_t)rows.n, 257});
	memcpy((void *)(uintptr_t)t->data, rows.items, rows.n * sizeof *rows.items);
	return t;
}

MloTensor *onnx_regex_table(MloArena *a, const char *pattern, size_t n, const char **why)
{
	MloArena *tmp = mlo_arena_new();
	Regex r = {.p = pattern, .end = pattern + n};
	Dfa d = {.r = &r, .tmp = tmp};
	MloTensor *t = NULL;
	Frag f;

	if (!tmp) {
		*why = "out of memory";
		return NULL;
	}
	r.state = MLO_NEWN(tmp, State, MAX_NFA);
	f = alternatives(&r);
	if (!r.why && r.p < r.end)
		fail(&r, "a parenthesis is closed that was not opened");
	d.accept = f.last;
	d.words = (size_t)r.n / 64 + 1;
	d.stack = MLO_NEWN(tmp, int, 4 * MAX_NFA + 4);
	*why = r.why;
	if (!r.why)
		t = build(&d, a, f.first, why);
	mlo_arena_free(tmp);
	return t;
}
