/* runtime/json.c -- a recursive descent over JSON text into an array of nodes. */
#include "runtime/json.h"

#include <stdlib.h>
#include <string.h>

typedef struct JsonReader {
	Json *j;
	const char *text; /* text[n] is 0 */
	uint32_t at, n;
	MlrtError *err;
} JsonReader;

static MlrtStatus bad(const JsonReader *r, const char *what)
{
	return mlrt_fail(r->err, MLRT_ERR_MANIFEST, "manifest: %s at byte %u", what, (unsigned)r->at);
}

/* Length of the UTF-8 sequence at s (of n bytes left); 0 if it is not one. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
	unsigned char c = s[0];
	size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] >= 0xa0)) /* overlong; surrogates */
		return 0;
	if ((c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] >= 0x90)) /* overlong; above 10ffff */
		return 0;
	return len;
}

static uint32_t new_node(JsonReader *r, JsonKind kind, uint32_t start)
{
	Json *j = r->j;
	JsonNode *node;

	if (j->n == j->cap) {
		uint32_t cap = j->cap * 2;
		JsonNode *bigger = realloc(j->node, cap * sizeof *bigger);

		if (!bigger)
			return 0;
		j->node = bigger;
		j->cap = cap;
	}
	node = &j->node[j->n];
	node->start = start;
	node->kind = kind;
	node->end = node->next = node->child = node->n = 0;
	return j->n++;
}

/* The next byte; 0 also behind the last one. */
static int peek(const JsonReader *r)
{
	return (unsigned char)r->text[r->at];
}

static void skip_space(JsonReader *r)
{
	for (int c = peek(r); c == ' ' || c == '\n' || c == '\t' || c == '\r'; c = peek(r))
		r->at++;
}

/* The four digits at s, or -1. */
static int hex4(const char *s, size_t left)
{
	int v = 0;

	if (left < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int c = (unsigned char)s[i], d;

		if (c >= '0' && c <= '9')
			d = c - '0';
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			d = (c | 32) - 'a' + 10;
		else
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/* The character of an escape \uXXXX or a surrogate pair of them at s[0] = 'u'; *len: bytes taken. */
static int32_t unicode_escape(const char *s, size_t left, size_t *len)
{
	int high = hex4(s + 1, left - 1), low;

	*len = 5;
	if (high < 0xd800 || high > 0xdfff)
		return high; /* -1 included */
	if (high > 0xdbff || left < 11 || s[5] != '\\' || s[6] != 'u')
		return -1;
	low = hex4(s + 7, left - 7);
	*len = 11;
	if (low < 0xdc00 || low > 0xdfff)
		return -1;
	return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static MlrtStatus read_string(JsonReader *r, uint32_t *out)
{
	uint32_t node = new_node(r, JSON_STRING, r->at + 1);

	if (!node)
		return mlrt_no_memory(r->err);
	for (r->at++;;) {
		int c;
		size_t len;

		while (c = peek(r), c >= ' ' && c < 0x80 && c != '"' && c != '\\')
			r->at++;
		if (r->at == r->n)
			return bad(r, "string without end");
		if (c == '"')
			break;
		if (c < 0x20)
			return bad(r, "control character in a string");
		if (c == '\\') {
			const char *s = r->text + r->at + 1;
			size_t left = r->n - r->at - 1;

			len = 1;
			if (left == 0 || !memchr("\"\\/bfnrtu", *s, 9))
				return bad(r, "unknown escape");
			if (*s == 'u' && unicode_escape(s, left, &len) <= 0)
				return bad(r, "escape that is no character");
			r->at += 1 + (uint32_t)len;
		} else {
			len = utf8_length((const unsigned char *)r->text + r->at, r->n - r->at);
			if (len == 0)
				return bad(r, "text that is not UTF-8");
			r->at += (uint32_t)len;
		}
	}
	r->j->node[node].end = r->at++;
	*out = node;
	return MLRT_OK;
}

static bool digits(JsonReader *r)
{
	uint32_t from = r->at;

	while (peek(r) >= '0' && peek(r) <= '9')
		r->at++;
	return r->at > from;
}

static MlrtStatus read_number(JsonReader *r, uint32_t node)
{
	if (peek(r) == '-')
		r->at++;
	if (peek(r) == '0')
		r->at++;
	else if (!digits(r))
		return bad(r, "unexpected character");
	if (peek(r) == '.') {
		r->at++;
		if (!digits(r))
			return bad(r, "malformed number");
	}
	if (peek(r) == 'e' || peek(r) == 'E') {
		r->at++;
		if (peek(r) == '+' || peek(r) == '-')
			r->at++;
		if (!digits(r))
			return bad(r, "malformed number");
	}
	r->j->node[node].end = r->at;
	return MLRT_OK;
}

static MlrtStatus read_value(JsonReader *r, int depth, uint32_t *out);

/* One member or element, followed by the comma or the bracket. */
static MlrtStatus read_child(JsonReader *r, bool object, int depth, uint32_t *out)
{
	uint32_t key, value;
	MlrtStatus st;

	skip_space(r);
	if (!object)
		return read_value(r, depth, out);
	if (peek(r) != '"')
		return bad(r, "key expected");
	st = read_string(r, &key);
	if (st)
		return st;
	skip_space(r);
	if (peek(r) != ':')
		return bad(r, "':' expected");
	r->at++;
	st = read_value(r, depth, &value);
	if (st)
		return st;
	r->j->node[key].child = value;
	*out = key;
	return MLRT_OK;
}

typedef struct Key {
	const char *s;
	size_t n;
} Key;

static int compare_keys(const void *x, const void *y)
{
	const Key *a = x, *b = y;

	return a->n != b->n ? (a->n < b->n ? -1 : 1) : memcmp(a->s, b->s, a->n);
}

/* Which of two values of one key is meant would be up to the reader. */
static MlrtStatus check_keys(const JsonReader *r, uint32_t node)
{
	const Json *j = r->j;
	const uint32_t n = j->node[node].n;
	Key few[32], *key = n <= 32 ? few : malloc(n * sizeof *key);
	MlrtStatus st = MLRT_OK;
	uint32_t i = 0;

	if (!key)
		return mlrt_no_memory(r->err);
	for (uint32_t k = j->node[node].child; k; k = j->node[k].next)
		key[i++] = (Key){j->text + j->node[k].start, j->node[k].end - j->node[k].start};
	qsort(key, n, sizeof *key, compare_keys);
	for (i = 1; i < n && !st; i++)
		if (compare_keys(&key[i - 1], &key[i]) == 0)
			st = mlrt_fail(r->err, MLRT_ERR_MANIFEST, "manifest: the key '%.*s' is there twice before byte %u",
				       (int)(key[i].n < 80 ? key[i].n : 80), key[i].s, (unsigned)r->at);
	if (key != few)
		free(key);
	return st;
}

static MlrtStatus read_container(JsonReader *r, uint32_t node, bool object, int depth)
{
	const int close = object ? '}' : ']';
	uint32_t last = 0, child;

	if (depth >= JSON_MAX_DEPTH)
		return bad(r, "nesting too deep");
	r->at++;
	skip_space(r);
	for (bool first = true; peek(r) != close || !first; first = false) {
		MlrtStatus st = read_child(r, object, depth + 1, &child);

		if (st)
			return st;
		if (last)
			r->j->node[last].next = child;
		else
			r->j->node[node].child = child;
		last = child;
		r->j->node[node].n++;
		skip_space(r);
		if (peek(r) == close)
			break;
		if (peek(r) != ',')
			return bad(r, "',' or a closing bracket expected");
		r->at++;
	}
	r->j->node[node].end = ++r->at;
	return object && r->j->node[node].n > 1 ? check_keys(r, node) : MLRT_OK;
}

static MlrtStatus read_value(JsonReader *r, int depth, uint32_t *out)
{
	static const struct {
		char word[6], kind;
	} words[] = {{"true", JSON_BOOL}, {"false", JSON_BOOL}, {"null", JSON_NULL}};
	uint32_t node;
	int c;

	skip_space(r);
	c = peek(r);
	if (c == '"')
		return read_string(r, out);
	node = new_node(r, c == '{' ? JSON_OBJECT : c == '[' ? JSON_ARRAY : JSON_NUMBER, r->at);
	if (!node)
		return mlrt_no_memory(r->err);
	*out = node;
	if (c == '{' || c == '[')
		return read_container(r, node, c == '{', depth);
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		size_t len = strlen(words[i].word);

		if (r->n - r->at >= len && memcmp(r->text + r->at, words[i].word, len) == 0) {
			r->j->node[node].kind = (uint32_t)words[i].kind;
			r->at += (uint32_t)len;
			r->j->node[node].end = r->at;
			return MLRT_OK;
		}
	}
	return read_number(r, node);
}

MLRT_LOCAL MlrtStatus mlrt_json_parse(Json *j, const char *text, size_t n, MlrtError *err)
{
	JsonReader r = {j, text, 0, (uint32_t)n, err};
	uint32_t root;
	MlrtStatus st;

	*j = (Json){.text = text};
	if (n > MLRT_MANIFEST_MAX)
		return mlrt_fail(err, MLRT_ERR_MANIFEST, "manifest: %zu bytes, at most %d are read", n,
				 MLRT_MANIFEST_MAX);
	j->cap = 256;
	j->n = 1; /* number 0 is "none" */
	j->node = calloc(j->cap, sizeof *j->node);
	if (!j->node)
		return mlrt_no_memory(err);
	st = read_value(&r, 0, &root);
	if (st)
		return st;
	skip_space(&r);
	return r.at == r.n ? MLRT_OK : bad(&r, "text behind the end");
}

MLRT_LOCAL void mlrt_json_free(Json *j)
{
	free(j->node);
	*j = (Json){0};
}

MLRT_LOCAL bool mlrt_json_is(const Json *j, uint32_t node, JsonKind kind)
{
	return node && j->node[node].kind == kind;
}

MLRT_LOCAL uint32_t mlrt_json_get(const Json *j, uint32_t object, const char *key)
{
	const size_t len = strlen(key);

	if (!mlrt_json_is(j, object, JSON_OBJECT))
		return 0;
	for (uint32_t k = j->node[object].child; k; k = j->node[k].next) {
		const JsonNode *node = &j->node[k];

		if (node->end - node->start == len && memcmp(j->text + node->start, key, len) == 0)
			return node->child;
	}
	return 0;
}

MLRT_LOCAL bool mlrt_json_int(const Json *j, uint32_t node, int64_t *v)
{
	uint32_t i;
	bool minus;
	int64_t sum = 0;

	if (!mlrt_json_is(j, node, JSON_NUMBER))
		return false;
	i = j->node[node].start;
	minus = j->text[i] == '-';
	for (i += minus; i < j->node[node].end; i++) {
		int d = j->text[i] - '0';

		if (d < 0 || d > 9 || __builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_add_overflow(sum, minus ? -d : d, &sum))
			return false;
	}
	*v = sum;
	return true;
}

/* The first byte tells how many follow, with six bits each. */
static size_t put_utf8(int32_t c, char *out)
{
	const size_t more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

	for (size_t i = more; i > 0; i--, c >>= 6)
		out[i] = (char)(0x80 | (c & 63));
	out[0] = (char)(more ? (0xff00 >> (more + 1) & 0xff) | c : c);
	return more + 1;
}

MLRT_LOCAL size_t mlrt_json_string(const Json *j, uint32_t node, char *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *s = j->text + j->node[node].start, *end = j->text + j->node[node].end;
	size_t n = 0, len;

	while (s < end) {
		if (*s != '\\') {
			out[n++] = *s++;
		} else if (s[1] == 'u') {
			int32_t c = unicode_escape(s + 1, (size_t)(end - s - 1), &len);

			n += put_utf8(c, out + n);
			s += 1 + len;
		} else {
			out[n++] = to[(const char *)memchr(from, s[1], sizeof from) - from];
			s += 2;
		}
	}
	out[n] = 0;
	return n;
}
