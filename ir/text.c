/* ir/text.c -- quoting, identifiers and exact numbers of the text form. */
#include "ir/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mlo_text_quote(MloStr *out, const char *s, size_t n)
{
	static const char escape[256] = {['"'] = '"', ['\\'] = '\\', ['\n'] = 'n', ['\t'] = 't', ['\r'] = 'r'};

	mlo_str_addn(out, "\"", 1);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (escape[c])
			mlo_str_add(out, "\\%c", escape[c]);
		else if (c < 0x20 || c == 0x7f)
			mlo_str_add(out, "\\x%02x", c);
		else
			mlo_str_addn(out, s + i, 1);
	}
	mlo_str_addn(out, "\"", 1);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One escape after the backslash; -1 when malformed. */
static int read_escape(const char **p, const char *end)
{
	static const char plain[256] = {['"'] = '"', ['\\'] = '\\', ['n'] = '\n', ['t'] = '\t', ['r'] = '\r'};
	char c;
	int hi, lo;

	if (*p == end)
		return -1;
	c = *(*p)++;
	if (c != 'x')
		return plain[(unsigned char)c] ? plain[(unsigned char)c] : -1;
	if (end - *p < 2)
		return -1;
	hi = hex_digit((*p)[0]);
	lo = hex_digit((*p)[1]);
	*p += 2;
	return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

char *mlo_text_read_quoted(MloArena *a, const char **p, const char *end, size_t *len)
{
	const char *q = *p, *close;
	char *s;
	size_t n = 0;

	if (q == end || *q++ != '"')
		return NULL;
	for (close = q; close < end && *close != '"' && *close != '\n'; close++)
		if (*close == '\\' && close + 1 < end)
			close++;
	if (close >= end || *close != '"')
		return NULL;
	s = mlo_alloc(a, (size_t)(close - q) + 1, 1);
	while (q < close) {
		int c = (unsigned char)*q++;

		if (c == '\\')
			c = read_escape(&q, close);
		if (c < 0 || (c == 0 && !len))
			return NULL;
		s[n++] = (char)c;
	}
	if (len)
		*len = n;
	*p = close + 1;
	return s;
}

static bool starts_ident(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

size_t mlo_text_ident_len(const char *p, const char *end)
{
	const char *q = p;

	if (q == end || !starts_ident(*q))
		return 0;
	while (q < end && (starts_ident(*q) || (*q >= '0' && *q <= '9') || *q == '.' || *q == '#'))
		q++;
	return (size_t)(q - p);
}

bool mlo_text_is_ident(const char *s, size_t n)
{
	return n > 0 && mlo_text_ident_len(s, s + n) == n;
}

void mlo_text_symbol(MloStr *out, const char *name)
{
	size_t n = strlen(name);

	if (mlo_text_is_ident(name, n) && strcmp(name, "max") && strcmp(name, "_"))
		mlo_str_addn(out, name, n);
	else
		mlo_text_quote(out, name, n);
}

char *mlo_text_read_symbol(MloArena *a, const char **p, const char *end)
{
	size_t n = mlo_text_ident_len(*p, end);
	char *s;

	if (!n)
		return mlo_text_read_quoted(a, p, end, NULL);
	s = mlo_strndup(a, *p, n);
	*p += n;
	return s;
}

static bool print_special(MloStr *out, double v)
{
	if (isnan(v))
		mlo_str_add(out, signbit(v) ? "-nan" : "nan");
	else if (isinf(v))
		mlo_str_add(out, v < 0 ? "-inf" : "inf");
	return isnan(v) || isinf(v);
}

void mlo_text_f32(MloStr *out, float v)
{
	char s[40];

	if (print_special(out, (double)v))
		return;
	for (int digits = 1; digits <= 9; digits++) {
		snprintf(s, sizeof s, "%.*g", digits, (double)v);
		if (strtof(s, NULL) == v)
			break;
	}
	mlo_str_add(out, "%s", s);
}

/* Shortest text of at most `most` digits that reads back as v; false when there is none. */
static bool shortest(char *s, size_t n, double v, int most)
{
	for (int digits = 1; digits <= most; digits++) {
		snprintf(s, n, "%.*g", digits, v);
		if (strtod(s, NULL) == v)
			return true;
	}
	return false;
}

void mlo_text_f64(MloStr *out, double v)
{
	char s[40];

	if (print_special(out, v))
		return;
	shortest(s, sizeof s, v, 17);
	mlo_str_add(out, "%s", s);
}

void mlo_text_double(MloStr *out, double v)
{
	char s[40];

	if (print_special(out, v))
		return;
	if (!shortest(s, sizeof s, v, 9) && (double)(float)v == v) {
		mlo_text_f32(out, (float)v);
		mlo_str_add(out, "f");
	} else {
		shortest(s, sizeof s, v, 17);
		mlo_str_add(out, "%s", s);
	}
}
