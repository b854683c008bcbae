/* ir/ref/ref_string.c -- operators that make, cut and count strings.
 *
 * Each has one walk that does the work; with no place to put characters it only counts them, and that is
 * what tells the sizes. */
#include "ir/ref/ref_elem.h"

enum { CHARS = REF_SIZES - 1 }; /* where a size kernel says how many bytes of characters a result has */

/* Where characters go: counted, and stored if there is a place. */
typedef struct Out {
	char *to; /* NULL: only counted */
	int64_t n;
} Out;

static void put(Out *o, const char *s, int64_t n)
{
	for (int64_t i = 0; o->to && i < n; i++)
		o->to[o->n + i] = s[i];
	o->n += n;
}

/* The characters of a result of strings lie behind its elements. */
static Out chars_of(const RefTensor *t)
{
	return (Out){(char *)t->data + ref_count(t) * (int64_t)sizeof(RefText), 0};
}

static const RefText *texts(const RefTensor *t)
{
	return t->data;
}

/* -- string_concat -------------------------------------------------------------------------- */

/* Element i of a tensor of shape `dim` is element ... of x, broadcast to it. */
static int64_t source(const RefTensor *x, const int64_t *dim, int rank, int64_t i)
{
	int64_t at = 0, step = 1;

	for (int k = rank - 1; k >= 0; k--) {
		int64_t c = dim[k] ? i % dim[k] : 0;
		int own = k - (rank - x->rank);

		i /= dim[k] ? dim[k] : 1;
		if (own >= 0) {
			at += x->dim[own] == 1 ? 0 : c * step;
			step *= x->dim[own];
		}
	}
	return at;
}

void ref_string_concat(const RefCall *c)
{
	const RefTensor *a = &c->in[0], *b = &c->in[1], *y = &c->out[0];
	RefText *to = y->data;
	Out o = chars_of(y);

	for (int64_t i = 0, n = ref_count(y); i < n; i++) {
		const RefText *s = &texts(a)[source(a, y->dim, y->rank, i)], *t = &texts(b)[source(b, y->dim, y->rank, i)];

		to[i] = (RefText){o.to + o.n, s->n + t->n};
		put(&o, s->s, s->n);
		put(&o, t->s, t->n);
	}
}

void size_string_concat(const RefCall *c, int64_t *dims)
{
	const RefTensor *a = &c->in[0], *b = &c->in[1];
	int rank = c->out[0].rank;
	int64_t n = 1;

	size_broadcast(c, dims);
	for (int k = 0; k < rank; k++) {
		if (dims[k] < 0)
			return;
		n *= dims[k];
	}
	dims[CHARS] = 0;
	for (int64_t i = 0; i < n; i++)
		dims[CHARS] += texts(a)[source(a, dims, rank, i)].n + texts(b)[source(b, dims, rank, i)].n;
}

/* -- string_split --------------------------------------------------------------------------- */

static bool is_blank(char ch)
{
	return ch == ' ' || (ch >= '\t' && ch <= '\r');
}

/* Does the delimiter stand at s->s[i]? */
static bool delimits(const RefText *s, int64_t i, const char *delimiter, int64_t len)
{
	for (int64_t k = 0; k < len; k++)
		if (i + k >= s->n || s->s[i + k] != delimiter[k])
			return false;
	return true;
}

/* The piece from *at on, and *at moved behind it; false: there is none left.  `rest`: all that is left. */
static bool next_piece(const RefText *s, int64_t *at, const char *delimiter, int64_t len, bool rest, RefText *piece)
{
	int64_t from = *at, to;

	if (!len) {
		while (from < s->n && is_blank(s->s[from]))
			from++;
		if (from >= s->n)
			return false;
		for (to = from; to < s->n && (rest || !is_blank(s->s[to]));)
			to++;
		*at = to;
		while (rest && to > from && is_blank(s->s[to - 1]))
			to--;
	} else {
		if (from > s->n)
			return false;
		for (to = from; to < s->n && (rest || !delimits(s, to, delimiter, len));)
			to++;
		*at = to + len > s->n || to == s->n ? s->n + 1 : to + len;
	}
	*piece = (RefText){s->s + from, to - from};
	return true;
}

typedef struct Split {
	const char *delimiter;
	int64_t len, most; /* pieces at most */
} Split;

static Split split_of(const RefCall *c)
{
	Split p = {c->attr[ATTR_string_split_delimiter].s, 0, c->attr[ATTR_string_split_maxsplit].i};

	while (p.delimiter && p.delimiter[p.len])
		p.len++;
	p.most = p.most < 0 ? INT64_MAX : p.most + 1;
	return p;
}

/* Pieces of s; the first `room` of them are stored. */
static int64_t split(const Split *p, const RefText *s, RefText *to, int64_t room)
{
	int64_t n = 0, at = 0;
	RefText piece;

	if (p->len && !s->n)
		return 0;
	for (; n < p->most && next_piece(s, &at, p->delimiter, p->len, n + 1 == p->most, &piece); n++)
		if (n < room)
			to[n] = piece;
	return n;
}

/* Pieces point into the strings they were cut from. */
void ref_string_split(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0], *counts = c->nout > 1 ? &c->out[1] : NULL;
	int64_t room = y->dim[y->rank - 1];
	RefText *to = y->data;
	Split p = split_of(c);

	for (int64_t i = 0, n = ref_count(x); i < n; i++) {
		int64_t have = split(&p, &texts(x)[i], to + i * room, room);

		for (int64_t k = have; k < room; k++)
			to[i * room + k] = (RefText){"", 0};
		if (counts && counts->data)
			ref_put_i64(counts, i, have);
	}
}

void size_string_split(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0];
	Split p = split_of(c);
	int64_t most = 0;

	for (int k = 0; k < x->rank; k++) {
		dims[k] = x->dim[k];
		if (c->nout > 1)
			dims[REF_SIZES + k] = x->dim[k];
	}
	for (int64_t i = 0, n = ref_count(x); i < n; i++) {
		int64_t have = split(&p, &texts(x)[i], NULL, 0);

		most = have > most ? have : most;
	}
	dims[x->rank] = most;
	dims[CHARS] = 0;
}

/* -- string_normalizer ---------------------------------------------------------------------- */

/* The other case of a code point, for Latin, Greek and Cyrillic letters whose code has as many bytes. */
static int64_t change_case(int64_t ch, bool upper)
{
	static const struct { int16_t upper, last, shift; } ranges[] = {
		{'A', 'Z', 32}, {0xc0, 0xde, 32}, {0x391, 0x3ab, 32}, {0x410, 0x42f, 32}, {0x400, 0x40f, 80},
	};

	for (int k = 0; k < (int)(sizeof ranges / sizeof *ranges); k++) {
		int64_t from = ranges[k].upper, to = ranges[k].last, shift = ranges[k].shift;

		if (ch == 0xd7 || ch == 0xf7 || ch == 0x3a2 || ch == 0x3c2)
			return ch;
		if (!upper && ch >= from && ch <= to)
			return ch + shift;
		if (upper && ch >= from + shift && ch <= to + shift)
			return ch - shift;
	}
	return ch;
}

/* The next letter of s, in the other case; its bytes are put into `to`. */
static int64_t next_letter(const RefText *s, int64_t *at, int action, char to[2])
{
	unsigned char a = (unsigned char)s->s[*at], b = *at + 1 < s->n ? (unsigned char)s->s[*at + 1] : 0;
	bool two = a >= 0xc2 && a < 0xe0 && (b & 0xc0) == 0x80;
	int64_t ch = two ? (a & 0x1f) << 6 | (b & 0x3f) : a;

	*at += two ? 2 : 1;
	if (action && (two || a < 0x80))
		ch = change_case(ch, action > 0);
	if (two) {
		to[0] = (char)(0xc0 | ch >> 6);
		to[1] = (char)(0x80 | (ch & 0x3f));
	} else {
		to[0] = (char)ch;
	}
	return two ? 2 : 1;
}

static bool same_letters(const RefText *s, const RefText *t, bool exact)
{
	int64_t i = 0, k = 0;

	while (i < s->n && k < t->n) {
		char a[2] = {0}, b[2] = {0};
		int64_t na = next_letter(s, &i, exact ? 0 : -1, a), nb = next_letter(t, &k, exact ? 0 : -1, b);

		if (na != nb || a[0] != b[0] || a[1] != b[1])
			return false;
	}
	return i == s->n && k == t->n;
}

static bool is_stopword(const RefCall *c, const RefText *s)
{
	const RefTensor *stop = &c->in[1];
	bool exact = c->attr[ATTR_string_normalizer_is_case_sensitive].i != 0;

	for (int64_t i = 0; c->nin > 1 && stop->data && i < ref_count(stop); i++)
		if (same_letters(s, &texts(stop)[i], exact))
			return true;
	return false;
}

/* -1: to lower case, 1: to upper case */
static int case_action(const RefCall *c)
{
	char first = c->attr[ATTR_string_normalizer_case_change_action].s[0];

	return first == 'L' ? -1 : first == 'U' ? 1 : 0;
}

void ref_string_normalizer(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *y = &c->out[0];
	int64_t done = 0, room = ref_count(y);
	RefText *to = y->data;
	Out o = chars_of(y);

	for (int64_t i = 0, n = ref_count(x); i < n && done < room; i++) {
		const RefText *s = &texts(x)[i];

		if (is_stopword(c, s))
			continue;
		to[done++] = (RefText){o.to + o.n, s->n};
		for (int64_t at = 0; at < s->n;) {
			char letter[2];
			int64_t bytes = next_letter(s, &at, case_action(c), letter);

			put(&o, letter, bytes);
		}
	}
	while (done < room) /* nothing is left: one empty string */
		to[done++] = (RefText){"", 0};
}

void size_string_normalizer(const RefCall *c, int64_t *dims)
{
	const RefTensor *x = &c->in[0];
	int64_t left = 0;

	dims[CHARS] = 0;
	for (int64_t i = 0, n = ref_count(x); i < n; i++)
		if (!is_stopword(c, &texts(x)[i])) {
			left++;
			dims[CHARS] += texts(x)[i].n;
		}
	if (x->rank == 2)
		dims[0] = 1;
	dims[x->rank - 1] = left ? left : 1;
	if (x->rank == 2 && x->dim[0] != 1)
		dims[0] = -1;
}

/* -- regex_full_match ----------------------------------------------------------------------- */

/* The table: a row of 257 entries per state, the next state for each byte (-1: none) and whether to accept. */
enum { ROW = 257 };

void ref_regex_full_match(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *table = &c->in[1];
	const int32_t *row = table->data;
	int64_t nstates = table->dim[0];
	bool *y = c->out[0].data;

	for (int64_t i = 0, n = ref_count(x); i < n; i++) {
		const RefText *s = &texts(x)[i];
		int64_t state = 0;

		for (int64_t k = 0; k < s->n && state >= 0 && state < nstates; k++)
			state = row[state * ROW + (unsigned char)s->s[k]];
		y[i] = state >= 0 && state < nstates && row[state * ROW + ROW - 1] != 0;
	}
}

/* -- tfidf_vectorizer ----------------------------------------------------------------------- */

static bool same_item(const RefTensor *x, int64_t i, const RefTensor *pool, int64_t k)
{
	const RefText *s = &texts(x)[i], *t = &texts(pool)[k];

	if (x->elem != EL_str)
		return ref_get_i64(x, i) == ref_get_i64(pool, k);
	if (s->n != t->n)
		return false;
	for (int64_t b = 0; b < s->n; b++)
		if (s->s[b] != t->s[b])
			return false;
	return true;
}

/* How often the n items of the pool from `first` on stand in a row of x with `skip` between them. */
static int64_t occurrences(const RefCall *c, int64_t row, int64_t len, int64_t first, int64_t n, int64_t skip)
{
	const RefTensor *x = &c->in[0], *pool = &c->in[1];
	int64_t found = 0;

	for (int64_t start = 0; start + (n - 1) * (skip + 1) < len; start++) {
		bool same = true;

		for (int64_t k = 0; k < n && same; k++)
			same = same_item(x, row * len + start + k * (skip + 1), pool, first + k);
		found += same;
	}
	return found;
}

/* The frequency of n-gram `gram` of length n, at `first` in the pool, weighted as the mode says. */
static void score(const RefCall *c, int64_t row, int64_t len, int64_t first, int64_t n, int64_t gram)
{
	const RefTensor *indexes = &c->in[3], *weights = c->nin > 4 ? &c->in[4] : NULL, *y = &c->out[0];
	const char *mode = c->attr[ATTR_tfidf_vectorizer_mode].s;
	int64_t size = y->dim[y->rank - 1], at = gram < ref_count(indexes) ? ref_get_i64(indexes, gram) : -1;
	int64_t skips = n > 1 ? c->attr[ATTR_tfidf_vectorizer_max_skip_count].i : 0, count = 0;
	bool weighted = weights && weights->data && gram < ref_count(weights);
	float w = weighted ? (float)ref_get_f64(weights, gram) : 1;

	if (at < 0 || at >= size)
		return;
	for (int64_t skip = 0; skip <= skips && skip < len; skip++)
		count += occurrences(c, row, len, first, n, skip);
	if (mode[0] == 'I')
		count = count > 0;
	((float *)y->data)[row * size + at] += (float)count * (mode[0] == 'T' && mode[1] == 'F' && !mode[2] ? 1 : w);
}

void ref_tfidf_vectorizer(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *pool = &c->in[1], *starts = &c->in[2], *y = &c->out[0];
	int64_t len = x->dim[x->rank - 1], rows = x->rank == 2 ? x->dim[0] : 1, gram = 0;
	int64_t lo = c->attr[ATTR_tfidf_vectorizer_min_gram_length].i;
	int64_t hi = c->attr[ATTR_tfidf_vectorizer_max_gram_length].i, total = ref_count(pool);

	for (int64_t i = 0, n = ref_count(y); i < n; i++)
		((float *)y->data)[i] = 0;
	for (int64_t n = 1; n <= ref_count(starts); n++) {
		int64_t from = ref_get_i64(starts, n - 1), to = n < ref_count(starts) ? ref_get_i64(starts, n) : total;

		if (from < 0 || to > total)
			return;
		for (; from + n <= to; from += n, gram++)
			for (int64_t row = 0; n >= lo && n <= hi && row < rows; row++)
				score(c, row, len, from, n, gram);
	}
}
