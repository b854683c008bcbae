/* tools/npy.c -- NumPy's .npy files: the format is numpy.lib.format's (NEP 1). */
#include "tools/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/outfile.h"

/* -- mapped files ------------------------------------------------------------------------- */

typedef struct Map {
	void *p;
	size_t n;
} Map;

static void unmap(void *obj)
{
	Map *m = obj;

	munmap(m->p, m->n);
}

MloStatus mlo_map_file(MloArena *a, const char *path, const void **bytes, size_t *n, MloDiag *d)
{
	Map *m = MLO_NEW(a, Map);
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC), saved;

	if (fd < 0)
		return mlo_error(d, MLO_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
	if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
		saved = S_ISDIR(st.st_mode) ? EISDIR : errno;
		close(fd);
		return mlo_error(d, MLO_ERR_IO, "cannot read '%s': %s", path, strerror(saved));
	}
	*n = (size_t)st.st_size;
	*bytes = "";
	m->n = *n;
	m->p = *n ? mmap(NULL, *n, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
	saved = errno;
	close(fd);
	if (m->p == MAP_FAILED)
		return mlo_error(d, MLO_ERR_IO, "cannot map '%s': %s", path, strerror(saved));
	if (m->p) {
		mlo_defer(a, unmap, m);
		*bytes = m->p;
	}
	return MLO_OK;
}

/* -- element types ------------------------------------------------------------------------ */

static const struct Dtype {
	char kind, size;
	MloElem elem;
} dtypes[] = {
	{'b', 1, EL_bool}, {'i', 1, EL_i8},  {'i', 2, EL_i16}, {'i', 4, EL_i32}, {'i', 8, EL_i64},
	{'u', 1, EL_u8},   {'u', 2, EL_u16}, {'u', 4, EL_u32}, {'u', 8, EL_u64}, {'f', 2, EL_f16},
	{'f', 4, EL_f32},  {'f', 8, EL_f64}, {'c', 8, EL_c64},
};

/* complex128 stands alone: its size has two digits. */
static MloElem elem_of(const char *descr)
{
	if (descr[0] == 'U' && descr[1] && strspn(descr + 1, "0123456789") == strlen(descr + 1))
		return EL_str;
	if (strcmp(descr, "c16") == 0)
		return EL_c128;
	for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
		if (descr[0] == dtypes[i].kind && descr[1] == '0' + dtypes[i].size && !descr[2])
			return dtypes[i].elem;
	}
	return EL_none;
}

/* -- the header: a Python dictionary literal ---------------------------------------------- */

typedef struct Cursor {
	const char *p, *end;
} Cursor;

static void skip_space(Cursor *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t' || *c->p == '\r'))
		c->p++;
}

static bool eat(Cursor *c, char ch)
{
	skip_space(c);
	if (c->p == c->end || *c->p != ch)
		return false;
	c->p++;
	return true;
}

static bool eat_word(Cursor *c, const char *word)
{
	size_t n = strlen(word);

	skip_space(c);
	if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
		return false;
	c->p += n;
	return true;
}

/* A quoted string without escapes, at most cap-1 bytes. */
static bool read_string(Cursor *c, char *out, size_t cap)
{
	size_t n = 0;
	char quote;

	skip_space(c);
	if (c->p == c->end || (*c->p != '\'' && *c->p != '"'))
		return false;
	quote = *c->p++;
	for (; c->p < c->end && *c->p != quote; c->p++) {
		if (n + 1 >= cap || *c->p == '\\')
			return false;
		out[n++] = *c->p;
	}
	out[n] = 0;
	return c->p++ < c->end;
}

static bool read_shape(Cursor *c, int *rank, int64_t *dim)
{
	*rank = 0;
	if (!eat(c, '('))
		return false;
	while (!eat(c, ')')) {
		int64_t v = 0;
		const char *start = c->p;

		for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
			if (v > (INT64_MAX - 9) / 10)
				return false;
			v = v * 10 + (*c->p - '0');
		}
		if (c->p == start)
			return false;
		if (*rank < MLO_MAX_RANK)
			dim[*rank] = v;
		++*rank;
		if (*rank > 64)
			return false;
		eat_word(c, "L"); /* Python 2 wrote long integers so */
		if (!eat(c, ',')) {
			if (!eat(c, ')'))
				return false;
			break;
		}
	}
	return true;
}

typedef struct Header {
	char descr[32];
	bool fortran;
	int rank;
	int64_t dim[MLO_MAX_RANK];
} Header;

static bool read_header(Cursor c, Header *h)
{
	unsigned seen = 0;

	if (!eat(&c, '{'))
		return false;
	while (!eat(&c, '}')) {
		char key[32];
		unsigned bit;

		if (!read_string(&c, key, sizeof key) || !eat(&c, ':'))
			return false;
		if (strcmp(key, "descr") == 0) {
			bit = 1;
			if (!read_string(&c, h->descr, sizeof h->descr))
				return false;
		} else if (strcmp(key, "fortran_order") == 0) {
			bit = 2;
			h->fortran = eat_word(&c, "True");
			if (!h->fortran && !eat_word(&c, "False"))
				return false;
		} else if (strcmp(key, "shape") == 0) {
			bit = 4;
			if (!read_shape(&c, &h->rank, h->dim))
				return false;
		} else {
			return false;
		}
		if (seen & bit)
			return false;
		seen |= bit;
		if (!eat(&c, ',')) {
			if (!eat(&c, '}'))
				return false;
			break;
		}
	}
	return seen == 7;
}

/* -- reading ------------------------------------------------------------------------------ */

static bool host_is_little(void)
{
	const uint16_t one = 1;

	return *(const unsigned char *)&one == 1;
}

/* Copies with the bytes of each element reversed (complex numbers: of each half). */
static void copy_swapped(unsigned char *to, const unsigned char *from, size_t n, size_t unit)
{
	for (size_t i = 0; i + unit <= n; i += unit) {
		for (size_t b = 0; b < unit; b++)
			to[i + b] = from[i + unit - 1 - b];
	}
}

/* Column-major to row-major: walks the result in order and steps the source index along. */
static void copy_fortran(unsigned char *to, const unsigned char *from, int rank, const int64_t *dim,
			 size_t size, int64_t elems)
{
	int64_t index[MLO_MAX_RANK] = {0}, stride[MLO_MAX_RANK], at = 0;

	for (int i = 0; i < rank; i++)
		stride[i] = i ? stride[i - 1] * dim[i - 1] : 1;
	for (int64_t e = 0; e < elems; e++) {
		memcpy(to + (size_t)e * size, from + (size_t)at * size, size);
		for (int i = rank - 1; i >= 0; i--) {
			at += stride[i];
			if (++index[i] < dim[i])
				break;
			at -= stride[i] * dim[i];
			index[i] = 0;
		}
	}
}

static MloStatus locate_header(const unsigned char *p, size_t n, const char *name, Cursor *c, MloDiag *d)
{
	size_t len, at;

	if (n < 10 || memcmp(p, "\x93NUMPY", 6) != 0)
		return mlo_error(d, MLO_ERR_FORMAT, "'%s' is not a .npy file (no NUMPY magic, %zu bytes)",
				 name, n);
	if (p[6] < 1 || p[6] > 3)
		return mlo_error(d, MLO_ERR_UNSUPPORTED, "'%s' has .npy version %d.%d, known are 1 to 3",
				 name, p[6], p[7]);
	at = p[6] == 1 ? 10 : 12;
	if (n < at)
		return mlo_error(d, MLO_ERR_FORMAT, "'%s' ends inside its header (%zu bytes)", name, n);
	len = p[8] | (size_t)p[9] << 8;
	if (p[6] > 1)
		len |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
	if (len > n - at)
		return mlo_error(d, MLO_ERR_FORMAT,
				 "'%s' ends inside its header: %zu bytes announced, %zu there", name, len,
				 n - at);
	*c = (Cursor){(const char *)p + at, (const char *)p + at + len};
	return MLO_OK;
}

/* Points into `data` or copies it, whatever byte order, array order and alignment ask for. */
static void take_data(MloArena *a, MloTensor *t, const void *data, const Header *h)
{
	size_t size = mlo_elem_bits(t->elem) / 8;
	size_t unit = mlo_elem_class(t->elem) == EC_COMPLEX ? size / 2 : size;
	bool swap = unit > 1 && (h->descr[0] == '>') == host_is_little() && h->descr[0] != '=' &&
		    h->descr[0] != '|';
	unsigned char *copy;

	t->data = data;
	if (swap) {
		copy = mlo_alloc(a, 1, t->nbytes);
		copy_swapped(copy, t->data, t->nbytes, unit);
		t->data = copy;
	}
	if (h->fortran && t->rank > 1) {
		copy = mlo_alloc(a, 1, t->nbytes);
		copy_fortran(copy, t->data, t->rank, t->dim, size, mlo_tensor_elems(t));
		t->data = copy;
	}
	if ((uintptr_t)t->data % unit)
		t->data = mlo_dup(a, t->data, t->nbytes);
}

static size_t encode_utf8(uint32_t code, char *to)
{
	if (code < 0x80) {
		to[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		to[0] = (char)(0xc0 | code >> 6);
		to[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		to[0] = (char)(0xe0 | code >> 12);
		to[1] = (char)(0x80 | (code >> 6 & 0x3f));
		to[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | (code >> 18 & 7));
	to[1] = (char)(0x80 | (code >> 12 & 0x3f));
	to[2] = (char)(0x80 | (code >> 6 & 0x3f));
	to[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

/* One element of a 'U' array: UCS-4, filled up with zeros. */
static MloText read_text(MloArena *a, const unsigned char *p, size_t width, bool swap)
{
	char *s = mlo_alloc(a, 1, 4 * width + 1);
	size_t n = 0, len = 0;

	for (size_t i = 0; i < width; i++)
		if (p[4 * i] | p[4 * i + 1] | p[4 * i + 2] | p[4 * i + 3])
			len = i + 1;
	for (size_t i = 0; i < len; i++) {
		uint32_t code;

		memcpy(&code, p + 4 * i, 4);
		n += encode_utf8(swap ? __builtin_bswap32(code) : code, s + n);
	}
	return (MloText){s, (int64_t)n};
}

/* 'U' with a width: fixed-width text. */
static MloStatus parse_text(MloArena *a, const Header *h, const unsigned char *data, size_t have, const char *name,
			    MloTensor **out, MloDiag *d)
{
	MloType type = mlo_type(EL_str, h->rank, h->dim);
	int64_t elems = mlo_type_elems(&type);
	size_t width = strtoul(h->descr + 2, NULL, 10);
	bool swap = (h->descr[0] == '>') == host_is_little();
	MloText *text;

	if (elems < 0 || width > (1u << 20) || (uint64_t)elems * width * 4 > have)
		return mlo_error(d, MLO_ERR_FORMAT, "'%s' is truncated: %lld texts of %zu characters announced, %zu bytes there",
				 name, (long long)elems, width, have);
	if (width == 0 && elems > (int64_t)1 << 20)
		return mlo_error(d, MLO_ERR_LIMIT, "'%s' claims %lld empty texts", name, (long long)elems);
	if (h->fortran && h->rank > 1)
		return mlo_error(d, MLO_ERR_UNSUPPORTED, "'%s' holds text in Fortran order", name);
	*out = mlo_tensor_new(a, EL_str, h->rank, h->dim);
	text = (MloText *)(*out)->data;
	for (int64_t i = 0; i < elems; i++)
		text[i] = read_text(a, data + (size_t)i * width * 4, width, swap);
	return MLO_OK;
}

MloStatus mlo_npy_parse(MloArena *a, const void *bytes, size_t n, const char *name, MloTensor **out,
			MloDiag *d)
{
	Header h = {.rank = 0};
	Cursor c;
	MloTensor *t;
	MloType type;
	MloElem elem;
	int64_t want;
	size_t have;

	MLO_TRY(locate_header(bytes, n, name, &c, d));
	have = n - (size_t)(c.end - (const char *)bytes);
	if (!read_header(c, &h))
		return mlo_error(d, MLO_ERR_FORMAT, "'%s' has a malformed .npy header", name);
	elem = strchr("<>=|", h.descr[0]) && h.descr[0] ? elem_of(h.descr + 1) : EL_none;
	if (elem == EL_none)
		return mlo_error(d, MLO_ERR_UNSUPPORTED,
				 "'%s' holds elements of NumPy type '%s', only plain numbers and text are read", name,
				 h.descr);
	if (h.rank > MLO_MAX_RANK)
		return mlo_error(d, MLO_ERR_LIMIT, "'%s' has %d dimensions, at most %d are read", name,
				 h.rank, MLO_MAX_RANK);
	if (elem == EL_str)
		return parse_text(a, &h, (const unsigned char *)c.end, have, name, out, d);
	type = mlo_type(elem, h.rank, h.dim);
	want = mlo_type_bytes(&type);
	if (want < 0)
		return mlo_error(d, MLO_ERR_LIMIT, "'%s' claims more elements than can be", name);
	if ((uint64_t)want > have)
		return mlo_error(d, MLO_ERR_FORMAT,
				 "'%s' is truncated: %lld bytes of data announced, %zu there", name,
				 (long long)want, have);
	t = MLO_NEW(a, MloTensor);
	t->elem = elem;
	t->rank = h.rank;
	memcpy(t->dim, h.dim, sizeof t->dim);
	t->nbytes = (size_t)want;
	take_data(a, t, c.end, &h);
	*out = t;
	return MLO_OK;
}

MloStatus mlo_npy_read(MloArena *a, const char *path, MloTensor **out, MloDiag *d)
{
	const void *bytes;
	size_t n;

	MLO_TRY(mlo_map_file(a, path, &bytes, &n, d));
	return mlo_npy_parse(a, bytes, n, path, out, d);
}

/* -- writing ------------------------------------------------------------------------------ */

/* The type that a tensor of `e` is written as; EL_none for strings. */
static MloElem written_as(MloElem e)
{
	if (mlo_elem_bits(e) < 8)
		return mlo_elem_class(e) == EC_UINT ? EL_u8 : mlo_elem_class(e) == EC_INT ? EL_i8 : EL_f32;
	if (e == EL_c128)
		return e;
	for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
		if (dtypes[i].elem == e)
			return e;
	}
	return e == EL_str ? EL_none : EL_f32;
}

static void descr_of(MloElem e, char *out, size_t cap)
{
	const char order = mlo_elem_bits(e) == 8 ? '|' : host_is_little() ? '<' : '>';

	if (e == EL_c128)
		snprintf(out, cap, "%cc16", order);
	for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
		if (dtypes[i].elem == e)
			snprintf(out, cap, "%c%c%d", order, dtypes[i].kind, dtypes[i].size);
	}
}

/* UTF-8 to one code point; malformed bytes stand for themselves. Returns the bytes consumed. */
static int64_t decode_utf8(const unsigned char *s, int64_t n, uint32_t *code)
{
	int len = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 1;

	*code = s[0];
	if (len == 1 || len > n)
		return 1;
	*code = s[0] & (0x7f >> len);
	for (int i = 1; i < len; i++)
		*code = *code << 6 | (s[i] & 0x3f);
	return len;
}

/* Fixed-width UCS-4, as NumPy's 'U' type stores text. */
static const void *text_data(MloArena *a, const MloTensor *t, char *descr, size_t cap, size_t *nbytes)
{
	const MloText *text = t->data;
	int64_t elems = mlo_tensor_elems(t), width = 1;
	uint32_t *codes;

	for (int64_t i = 0; i < elems; i++)
		width = text[i].n > width ? text[i].n : width;
	codes = mlo_alloc(a, (size_t)(elems * width), sizeof *codes);
	for (int64_t i = 0; i < elems; i++) {
		uint32_t *to = codes + i * width;

		for (int64_t at = 0; at < text[i].n;)
			at += decode_utf8((const unsigned char *)text[i].s + at, text[i].n - at, to++);
	}
	snprintf(descr, cap, "%cU%lld", host_is_little() ? '<' : '>', (long long)width);
	*nbytes = (size_t)(elems * width) * sizeof *codes;
	return codes;
}

static const void *widened(MloArena *a, const MloTensor *t, MloElem as, size_t *nbytes)
{
	MloTensor *w = mlo_tensor_new(a, as, t->rank, t->dim);

	for (int64_t i = 0, n = mlo_tensor_elems(t); i < n; i++)
		mlo_tensor_set_f64(w, i, mlo_tensor_f64(t, i));
	*nbytes = w->nbytes;
	return w->data;
}

static MloStatus write_tensor(MloArena *a, const char *path, const MloTensor *t, MloDiag *d)
{
	MloStr head = {.arena = a};
	unsigned char prefix[10] = "\x93NUMPY\x01";
	char descr[32] = "";
	MloElem as = written_as(t->elem);
	const void *data = t->data;
	size_t nbytes = t->nbytes;
	MloOutFile o;

	if (as == EL_none)
		data = text_data(a, t, descr, sizeof descr, &nbytes);
	else
		descr_of(as, descr, sizeof descr);
	if (as != EL_none && as != t->elem)
		data = widened(a, t, as, &nbytes);
	mlo_str_add(&head, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
	for (int i = 0; i < t->rank; i++)
		mlo_str_add(&head, i && t->rank > 1 ? " %lld%s" : "%lld%s", (long long)t->dim[i],
			    i + 1 < t->rank || t->rank == 1 ? "," : "");
	mlo_str_add(&head, "), }");
	while ((sizeof prefix + head.n + 1) % 64)
		mlo_str_add(&head, " ");
	mlo_str_add(&head, "\n");
	prefix[8] = (unsigned char)(head.n & 0xff);
	prefix[9] = (unsigned char)(head.n >> 8);
	MLO_TRY(mlo_outfile_open(&o, path, d));
	MLO_TRY(mlo_outfile_write(&o, prefix, sizeof prefix, d));
	MLO_TRY(mlo_outfile_write(&o, head.s, head.n, d));
	MLO_TRY(mlo_outfile_write(&o, data, nbytes, d));
	return mlo_outfile_commit(&o, d);
}

MloStatus mlo_npy_write(const char *path, const MloTensor *t, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	MloStatus st;

	if (!a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	st = write_tensor(a, path, t, d);
	mlo_arena_free(a);
	return st;
}
