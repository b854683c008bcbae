/* ir/parse_data.c -- numbers and the elements of constants in the text form. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/parse.h"

/* A number as a NUL-terminated string; "" when none stands here. */
static void number_text(Parser *c, char out[64])
{
	size_t n = 0;

	parse_take(c, "");
	while (c->p + n < c->end && n < 63 &&
	       strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-.", c->p[n]) && c->p[n])
		n++;
	memcpy(out, c->p, n);
	out[n] = 0;
}

MloStatus parse_int(Parser *c, int64_t *out)
{
	const char *digits;
	bool neg;
	uint64_t v = 0, limit;

	parse_take(c, "");
	neg = c->p < c->end && *c->p == '-';
	limit = neg ? (uint64_t)1 << 63 : INT64_MAX;
	digits = c->p + neg;
	for (c->p = digits; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *c->p - '0', &v) || v > limit)
			return parse_error(c, "integer does not fit 64 bits");
	if (c->p == digits)
		return parse_error(c, "an integer is expected");
	*out = neg ? (int64_t)(0 - v) : (int64_t)v;
	return MLO_OK;
}

MloStatus parse_double(Parser *c, double *out)
{
	char text[64], *end;

	number_text(c, text);
	if (text[0] == '-' || text[0] == '+' || (text[0] >= '0' && text[0] <= '9') || text[0] == '.' ||
	    !strncmp(text, "nan", 3) || !strncmp(text, "inf", 3)) {
		*out = strtod(text, &end);
		if (end > text && *end == 'f') {
			*out = (double)strtof(text, NULL);
			end++;
		}
		if (end > text && !*end) {
			c->p += end - text;
			return MLO_OK;
		}
	}
	return parse_error(c, "a number is expected");
}

/* 0x...: the bits of an element. */
static bool take_bits(Parser *c, MloElem e, uint64_t *out)
{
	char text[64], *end;

	number_text(c, text);
	if (strncmp(text, "0x", 2) || mlo_elem_bits(e) < 8 || strlen(text) != 2 + mlo_elem_bits(e) / 4)
		return false;
	*out = strtoull(text + 2, &end, 16);
	if (*end)
		return false;
	c->p += end - text;
	return true;
}

static MloStatus parse_real(Parser *c, MloTensor *t, int64_t i)
{
	uint64_t bits;
	double v;

	if (take_bits(c, t->elem, &bits)) {
		size_t n = mlo_elem_bits(t->elem) / 8;

		for (size_t b = 0; b < n; b++)
			((unsigned char *)(uintptr_t)t->data)[(size_t)i * n + b] = (unsigned char)(bits >> (8 * b));
		return MLO_OK;
	}
	if (mlo_elem_class(t->elem) == EC_FLOAT) {
		MLO_TRY(parse_double(c, &v));
		mlo_tensor_set_f64(t, i, v);
		return MLO_OK;
	} else {
		int64_t k;

		MLO_TRY(parse_int(c, &k));
		if (t->elem == EL_bool) {
			if (k < 0 || k > 255)
				return parse_error(c, "%lld does not fit bool", (long long)k);
			((unsigned char *)(uintptr_t)t->data)[i] = (unsigned char)k;
			return MLO_OK;
		}
		mlo_tensor_set_i64(t, i, k);
		if (mlo_tensor_i64(t, i) != k)
			return parse_error(c, "%lld does not fit %s", (long long)k, mlo_elem_text(t->elem));
	}
	return MLO_OK;
}

static MloStatus parse_elem(Parser *c, MloTensor *t, int64_t i)
{
	if (t->elem == EL_str) {
		MloText *s = (MloText *)(uintptr_t)t->data + i;
		size_t n = 0;

		parse_take(c, "");
		s->s = mlo_text_read_quoted(c->g->arena, &c->p, c->end, &n);
		s->n = (int64_t)n;
		return s->s ? MLO_OK : parse_error(c, "a quoted string is expected");
	}
	if (mlo_elem_class(t->elem) == EC_COMPLEX) {
		MloTensor part = *t;

		part.elem = t->elem == EL_c64 ? EL_f32 : EL_f64;
		MLO_TRY(parse_real(c, &part, 2 * i));
		MLO_TRY(parse_expect(c, ":"));
		return parse_real(c, &part, 2 * i + 1);
	}
	return parse_real(c, t, i);
}

static MloStatus parse_list(Parser *c, const MloType *t, MloTensor **out)
{
	int64_t n = mlo_type_elems(t), dims[MLO_MAX_RANK];

	/* Each element takes two characters at least: no allocation for a text that cannot be whole. */
	if (n > (c->end - c->p) / 2 + 1)
		return parse_error(c, "fewer than %lld elements", (long long)n);
	for (int i = 0; i < t->rank; i++)
		dims[i] = t->dim[i].k;
	*out = mlo_tensor_new(c->g->arena, t->elem, t->rank, dims);
	for (int64_t i = 0; i < n; i++) {
		if (i)
			MLO_TRY(parse_expect(c, ","));
		MLO_TRY(parse_elem(c, *out, i));
	}
	return parse_expect(c, "]");
}

static MloStatus expand(Parser *c, const MloType *t, MloTensor **out)
{
	int64_t dims[MLO_MAX_RANK], bytes = mlo_type_bytes(t);

	if (bytes > MLO_TEXT_EXPAND_MAX - c->expanded) {
		parse_error(c, "more than %d MiB of abbreviated constants", MLO_TEXT_EXPAND_MAX >> 20);
		return MLO_ERR_LIMIT;
	}
	c->expanded += bytes;
	for (int i = 0; i < t->rank; i++)
		dims[i] = t->dim[i].k;
	*out = mlo_tensor_new(c->g->arena, t->elem, t->rank, dims);
	return MLO_OK;
}

/* fill(V): every element V. */
static MloStatus parse_fill(Parser *c, const MloType *t, MloTensor **out)
{
	size_t size = mlo_elem_bits(t->elem) / 8;
	int64_t one = 1, n = mlo_type_elems(t);
	MloTensor *v = mlo_tensor_new(c->g->arena, t->elem, 1, &one);

	if (t->elem == EL_str || size == 0)
		return parse_error(c, "fill() of %s", mlo_elem_text(t->elem));
	MLO_TRY(expand(c, t, out));
	MLO_TRY(parse_elem(c, v, 0));
	for (int64_t i = 0; i < n; i++)
		memcpy((char *)(uintptr_t)(*out)->data + (size_t)i * size, v->data, size);
	return parse_expect(c, ")");
}

static uint64_t splitmix(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* random(SEED): floats in -1..1, integers in -128..127 (clipped to the type), bool 0 or 1. */
static MloStatus parse_random(Parser *c, const MloType *t, MloTensor **out)
{
	int64_t seed, n = mlo_type_elems(t);
	MloElemClass cls = mlo_elem_class(t->elem);
	uint64_t state;

	if (cls == EC_STRING || cls == EC_COMPLEX)
		return parse_error(c, "random() of %s", mlo_elem_text(t->elem));
	MLO_TRY(expand(c, t, out));
	MLO_TRY(parse_int(c, &seed));
	state = (uint64_t)seed;
	for (int64_t i = 0; i < n; i++) {
		uint64_t r = splitmix(&state);

		if (cls == EC_FLOAT)
			mlo_tensor_set_f64(*out, i, (double)(r >> 11) * 0x1p-52 - 1);
		else
			mlo_tensor_set_i64(*out, i, cls == EC_BOOL ? (int64_t)(r & 1) : (int64_t)(r & 255) - 128);
	}
	return parse_expect(c, ")");
}

static MloStatus parse_blob(Parser *c, const MloType *t, const MloTensor **out)
{
	char text[64], *end;
	MloType have;
	uint64_t hash;

	number_text(c, text);
	hash = strtoull(text, &end, 16);
	if (strlen(text) != 16 || *end)
		return parse_error(c, "a hash of 16 hexadecimal digits is expected");
	c->p += 16;
	MLO_TRY(parse_expect(c, ")"));
	*out = c->blobs ? c->blobs(c->user, hash) : NULL;
	if (!*out)
		return parse_error(c, "no data for blob(xxh3:%s)", text);
	have = mlo_tensor_type(*out);
	if (!mlo_type_same(&have, t))
		return parse_error(c, "the data of blob(xxh3:%s) has another type", text);
	return MLO_OK;
}

MloStatus parse_data(Parser *c, const MloType *t, const MloTensor **out)
{
	MloTensor *own = NULL;

	if (t->elem == EL_none || mlo_type_elems(t) < 0)
		return parse_error(c, "a constant needs a static shape of at most 2^40 elements");
	if (parse_take(c, "["))
		MLO_TRY(parse_list(c, t, &own));
	else if (parse_take(c, "fill("))
		MLO_TRY(parse_fill(c, t, &own));
	else if (parse_take(c, "random("))
		MLO_TRY(parse_random(c, t, &own));
	else if (parse_take(c, "blob(xxh3:"))
		return parse_blob(c, t, out);
	else
		return parse_error(c, "[...], fill(...), random(...) or blob(xxh3:...) is expected");
	*out = own;
	return MLO_OK;
}
