/* ir/ref/ref_einsum.h -- reads an Einsum equation: which dimension of which operand carries which label.
 *
 * Free of any library: shape inference and the reference kernel read equations by the same code. */
#ifndef MLO_IR_REF_REF_EINSUM_H
#define MLO_IR_REF_REF_EINSUM_H
#include <stdbool.h>
#include <stdint.h>

/* Labels: letters are 0..51 in ASCII order, dimensions under "..." the last ones, right-aligned. */
enum { EINSUM_OPERANDS = 16, EINSUM_RANK = 8, EINSUM_LETTERS = 52, EINSUM_LABELS = EINSUM_LETTERS + EINSUM_RANK };

typedef struct EinsumTerm {
	int rank;
	int8_t label[EINSUM_RANK];
} EinsumTerm;

typedef struct Einsum {
	int nin;
	EinsumTerm in[EINSUM_OPERANDS], out;
} Einsum;

static inline int einsum_letter(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1;
}

static inline bool einsum_add(EinsumTerm *t, int label)
{
	if (t->rank == EINSUM_RANK)
		return false;
	t->label[t->rank++] = (int8_t)label;
	return true;
}

/* Reads one term; `dims` dimensions stand for "...". Stops at ',', '-' or the end; false: malformed. */
static inline bool einsum_term(const char **s, EinsumTerm *t, int dims, bool *ellipsis)
{
	const char *p = *s;
	*ellipsis = false;
	t->rank = 0;
	for (; *p && *p != ',' && *p != '-'; p++) {
		if (*p == ' ')
			continue;
		if (*p != '.') {
			if (einsum_letter(*p) < 0 || !einsum_add(t, einsum_letter(*p)))
				return false;
			continue;
		}
		if (*ellipsis || p[1] != '.' || p[2] != '.')
			return false;
		*ellipsis = true;
		for (int i = 0; i < dims; i++)
			if (!einsum_add(t, EINSUM_LABELS - dims + i))
				return false;
		p += 2;
	}
	*s = p;
	return true;
}

/* Without "->": the dimensions under "...", then the letters that occur once. */
static inline bool einsum_implicit(Einsum *e, int dims)
{
	int count[EINSUM_LETTERS];
	for (int k = 0; k < EINSUM_LETTERS; k++)
		count[k] = 0;
	for (int i = 0; i < e->nin; i++)
		for (int d = 0; d < e->in[i].rank; d++)
			if (e->in[i].label[d] < EINSUM_LETTERS)
				count[e->in[i].label[d]]++;
	e->out.rank = 0;
	for (int i = 0; i < dims; i++)
		if (!einsum_add(&e->out, EINSUM_LABELS - dims + i))
			return false;
	for (int k = 0; k < EINSUM_LETTERS; k++)
		if (count[k] == 1 && !einsum_add(&e->out, k))
			return false;
	return true;
}

/* The labels of the result come from operands, each once. */
static inline bool einsum_check_out(const Einsum *e)
{
	for (int k = 0; k < e->out.rank; k++) {
		bool known = false;
		for (int i = 0; i < e->nin; i++)
			for (int d = 0; d < e->in[i].rank; d++)
				known |= e->in[i].label[d] == e->out.label[k];
		for (int j = 0; j < k; j++)
			known &= e->out.label[j] != e->out.label[k];
		if (!known)
			return false;
	}
	return true;
}

/* How many dimensions "..." of the term at s stands for; -1: none written, or a negative number. */
static inline int einsum_ellipsis(const char *s, int rank)
{
	int letters = 0;
	bool found = false;
	for (; *s && *s != ',' && *s != '-'; s++) {
		letters += *s != ' ' && *s != '.';
		found |= *s == '.';
	}
	return found ? rank - letters : -1;
}

/* NULL, or what is wrong with the equation for operands of these ranks. */
static inline const char *einsum_parse(Einsum *e, const char *s, int nin, const int *rank)
{
	int widest = 0;
	bool dots;
	e->nin = nin;
	if (nin > EINSUM_OPERANDS)
		return "too many operands";
	for (int i = 0; i < nin; i++) {
		int dims = einsum_ellipsis(s, rank[i]);
		widest = dims > widest ? dims : widest;
		if (!einsum_term(&s, &e->in[i], dims < 0 ? 0 : dims, &dots))
			return "a term is malformed";
		if (e->in[i].rank != rank[i])
			return "a term does not fit the rank of its operand";
		if (*s != (i + 1 < nin ? ',' : *s == '-' ? '-' : 0))
			return "the number of terms is not the number of operands";
		s += i + 1 < nin;
	}
	if (!*s)
		return einsum_implicit(e, widest) ? (const char *)0 : "the result has too many dimensions";
	if (s[1] != '>')
		return "'-' without '>'";
	s += 2;
	if (!einsum_term(&s, &e->out, widest, &dots) || *s)
		return "the result is malformed";
	return einsum_check_out(e) ? (const char *)0 : "a label of the result is unknown or repeated";
}
#endif
