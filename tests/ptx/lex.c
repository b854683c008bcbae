/* tests/ptx/lex.c -- words, numbers and signs of PTX text. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ptx/lex.h"

void ptx_space(PtxParse *p)
{
	for (;;) {
		if (*p->p == '\n') {
			p->line++;
			p->p++;
		} else if (isspace((unsigned char)*p->p)) {
			p->p++;
		} else if (p->p[0] == '/' && p->p[1] == '/') {
			while (*p->p && *p->p != '\n')
				p->p++;
		} else if (p->p[0] == '/' && p->p[1] == '*') {
			for (p->p += 2; *p->p && !(p->p[0] == '*' && p->p[1] == '/'); p->p++)
				p->line += *p->p == '\n';
			if (*p->p)
				p->p += 2;
		} else {
			return;
		}
	}
}

bool ptx_accept(PtxParse *p, char c)
{
	ptx_space(p);
	if (*p->p != c)
		return false;
	p->p++;
	return true;
}

void ptx_expect(PtxParse *p, char c)
{
	if (!ptx_accept(p, c))
		ptx_fail(p, "'%c' expected before '%.20s'", c, p->p);
}

char *ptx_text(PtxParse *p, const char *from, size_t n)
{
	char *t = ptx_alloc(p->m, n + 1);

	memcpy(t, from, n);
	return t;
}

static bool starts_word(char c)
{
	return isalpha((unsigned char)c) || c == '_' || c == '$' || c == '%';
}

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '$';
}

bool ptx_at_word(PtxParse *p)
{
	ptx_space(p);
	return starts_word(*p->p);
}

char *ptx_word(PtxParse *p)
{
	const char *from;

	ptx_space(p);
	from = p->p;
	if (!starts_word(*from))
		ptx_fail(p, "a name expected before '%.20s'", from);
	for (p->p++; in_word(*p->p); p->p++)
		;
	/* %tid.x and such are one name */
	if (*from == '%' && p->p[0] == '.' && p->p[1] && strchr("xyzw", p->p[1]) && !in_word(p->p[2]))
		p->p += 2;
	return ptx_text(p, from, (size_t)(p->p - from));
}

bool ptx_accept_word(PtxParse *p, const char *word)
{
	const size_t n = strlen(word);

	ptx_space(p);
	if (strncmp(p->p, word, n) || in_word(p->p[n]))
		return false;
	p->p += n;
	return true;
}

const char *ptx_dotted(PtxParse *p)
{
	const char *from;

	if (*p->p != '.')
		return NULL;
	from = ++p->p;
	while (in_word(*p->p) || (p->p[0] == ':' && p->p[1] == ':'))
		p->p += *p->p == ':' ? 2 : 1;
	if (p->p == from)
		ptx_fail(p, "a name expected behind '.'");
	return ptx_text(p, from, (size_t)(p->p - from));
}

void ptx_skip_to(PtxParse *p, char c)
{
	while (*p->p && *p->p != c) {
		p->line += *p->p == '\n';
		p->p++;
	}
	if (*p->p)
		p->p++;
}

bool ptx_at_number(PtxParse *p)
{
	ptx_space(p);
	return isdigit((unsigned char)*p->p) || (*p->p == '-' && (isdigit((unsigned char)p->p[1]) || p->p[1] == '('));
}

static PtxNumber hex_float(PtxParse *p, unsigned digits)
{
	PtxNumber n = {.is_float = true, .is_f32 = digits == 8};
	char text[17] = {0}, *end;

	p->p += 2;
	for (unsigned k = 0; k < digits; k++)
		text[k] = *p->p ? *p->p++ : 0;
	n.bits = (int64_t)strtoull(text, &end, 16);
	if (end != text + digits)
		ptx_fail(p, "%u hexadecimal digits expected", digits);
	return n;
}

PtxNumber ptx_number(PtxParse *p)
{
	PtxNumber n = {0};
	bool negative;
	double value;
	char *end;

	ptx_space(p);
	negative = *p->p == '-';
	p->p += negative;
	if (p->p[0] == '0' && (p->p[1] == 'f' || p->p[1] == 'F' || p->p[1] == 'd' || p->p[1] == 'D')) {
		n = hex_float(p, tolower((unsigned char)p->p[1]) == 'f' ? 8 : 16);
		if (negative)
			n.bits ^= n.is_f32 ? INT64_C(1) << 31 : INT64_MIN;
		return n;
	}
	if (!isdigit((unsigned char)*p->p))
		ptx_fail(p, "a number expected before '%.20s'", p->p);
	if (p->p[0] == '0' && (p->p[1] == 'b' || p->p[1] == 'B'))
		n.bits = (int64_t)strtoull(p->p + 2, &end, 2);
	else
		n.bits = (int64_t)strtoull(p->p, &end, 0);
	if (*end == '.' || ((*end == 'e' || *end == 'E') && p->p[1] != 'x')) {
		value = strtod(p->p, &end);
		n.is_float = true;
		memcpy(&n.bits, &value, sizeof value);
		n.bits ^= negative ? INT64_MIN : 0;
	} else if (negative) {
		n.bits = (int64_t)-(uint64_t)n.bits;
	}
	p->p = end;
	if (*p->p == 'U')
		p->p++;
	return n;
}

int64_t ptx_integer(PtxParse *p)
{
	const PtxNumber n = ptx_number(p);

	if (n.is_float)
		ptx_fail(p, "a whole number expected");
	return n.bits;
}
