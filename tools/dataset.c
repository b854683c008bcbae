/* tools/dataset.c -- arrays of samples and labels: .npy and IDX files, also gzipped.
 *
 * IDX (http://yann.lecun.com/exdb/mnist/): two zero bytes, a type code, the number of dimensions,
 * each dimension as 32 bits, then the data; everything big-endian. */
#include "tools/dataset.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tools/npy.h"

/* Unpacked data above this is refused, and data that grows implausibly (deflate reaches 1032:1). */
#define MAX_UNPACKED ((size_t)4 << 30)
enum { CHUNK = 1 << 20 };

static MloElem idx_elem(unsigned code)
{
	static const struct {
		unsigned code;
		MloElem elem;
	} types[] = {
		{0x08, EL_u8}, {0x09, EL_i8}, {0x0b, EL_i16}, {0x0c, EL_i32}, {0x0d, EL_f32}, {0x0e, EL_f64},
	};

	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (types[i].code == code)
			return types[i].elem;
	}
	return EL_none;
}

static uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void reverse_elements(unsigned char *p, size_t n, size_t size)
{
	for (size_t i = 0; i + size <= n; i += size) {
		for (size_t k = 0; k < size / 2; k++) {
			unsigned char t = p[i + k];

			p[i + k] = p[i + size - 1 - k];
			p[i + size - 1 - k] = t;
		}
	}
}

static MloStatus parse_idx(MloArena *a, const unsigned char *p, size_t n, const char *name, MloTensor **out,
			   MloDiag *d)
{
	MloElem elem = idx_elem(p[2]);
	int rank = p[3];
	size_t head = 4 + 4 * (size_t)rank, unit;
	int64_t dim[MLO_MAX_RANK];
	MloType type;
	MloTensor *t;

	if (elem == EL_none)
		return mlo_error(d, MLO_ERR_FORMAT, "'%s' has IDX type code 0x%02x, which does not exist",
				 name, p[2]);
	if (rank > MLO_MAX_RANK)
		return mlo_error(d, MLO_ERR_LIMIT, "'%s' has %d dimensions, at most %d are read", name, rank,
				 MLO_MAX_RANK);
	if (n < head)
		return mlo_error(d, MLO_ERR_FORMAT, "'%s' ends inside its IDX header (%zu bytes)", name, n);
	for (int i = 0; i < rank; i++)
		dim[i] = be32(p + 4 + 4 * i);
	type = mlo_type(elem, rank, dim);
	if (mlo_type_bytes(&type) < 0 || (uint64_t)mlo_type_bytes(&type) != n - head)
		return mlo_error(d, MLO_ERR_FORMAT,
				 "'%s' holds %zu bytes of data, its IDX header announces %lld", name,
				 n - head, (long long)mlo_type_bytes(&type));
	t = MLO_NEW(a, MloTensor);
	t->elem = elem;
	t->rank = rank;
	memcpy(t->dim, dim, sizeof *dim * (size_t)rank);
	t->nbytes = n - head;
	t->data = p + head;
	unit = mlo_elem_bits(elem) / 8;
	if (unit > 1) {
		t->data = mlo_dup(a, t->data, t->nbytes);
		if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
			reverse_elements((unsigned char *)t->data, t->nbytes, unit);
	}
	*out = t;
	return MLO_OK;
}

/* A buffer that grows as data comes out, so that a lying length costs nothing. */
static MloStatus inflate_all(z_stream *z, unsigned char **buf, size_t *n, const char *name, MloDiag *d)
{
	size_t cap = 0;
	int rc = Z_OK;

	while (rc != Z_STREAM_END) {
		if (*n == cap) {
			unsigned char *bigger =
				cap < MAX_UNPACKED ? realloc(*buf, cap ? 2 * cap : CHUNK) : NULL;

			if (cap >= MAX_UNPACKED)
				return mlo_error(d, MLO_ERR_LIMIT, "'%s' unpacks to more than %zu bytes",
						 name, MAX_UNPACKED);
			if (!bigger)
				return mlo_error(d, MLO_ERR_NOMEM, "out of memory unpacking '%s'", name);
			*buf = bigger;
			cap = cap ? 2 * cap : CHUNK;
		}
		z->next_out = *buf + *n;
		z->avail_out = cap - *n > CHUNK ? CHUNK : (uInt)(cap - *n);
		rc = inflate(z, Z_NO_FLUSH);
		*n = (size_t)(z->next_out - *buf);
		if (rc != Z_OK && rc != Z_STREAM_END)
			return mlo_error(d, MLO_ERR_FORMAT, "'%s' is damaged or truncated gzip data: %s",
					 name, z->msg ? z->msg : "it ends too early");
	}
	return MLO_OK;
}

static void free_buffer(void *p)
{
	free(p);
}

static MloStatus unpack(MloArena *a, const void *bytes, size_t n, const char *name, const void **out,
			size_t *nout, MloDiag *d)
{
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)bytes, .avail_in = (uInt)n};
	unsigned char *buf = NULL;
	MloStatus st;

	if (n > UINT32_MAX)
		return mlo_error(d, MLO_ERR_LIMIT, "'%s' is larger than 4 GiB packed", name);
	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory unpacking '%s'", name);
	*nout = 0;
	st = inflate_all(&z, &buf, nout, name, d);
	inflateEnd(&z);
	if (st != MLO_OK) {
		free(buf);
		return st;
	}
	mlo_defer(a, free_buffer, buf);
	*out = buf;
	return MLO_OK;
}

MloStatus mlo_dataset_parse(MloArena *a, const void *bytes, size_t n, const char *name, MloTensor **out,
			    MloDiag *d)
{
	const unsigned char *p = bytes;

	if (n >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
		MLO_TRY(unpack(a, bytes, n, name, &bytes, &n, d));
		p = bytes;
	}
	if (n >= 6 && memcmp(p, "\x93NUMPY", 6) == 0)
		return mlo_npy_parse(a, p, n, name, out, d);
	if (n >= 4 && p[0] == 0 && p[1] == 0)
		return parse_idx(a, p, n, name, out, d);
	return mlo_error(d, MLO_ERR_FORMAT, "'%s' is neither a .npy nor an IDX file (%zu bytes)", name, n);
}

MloStatus mlo_dataset_read(MloArena *a, const char *path, MloTensor **out, MloDiag *d)
{
	const void *bytes;
	size_t n;

	MLO_TRY(mlo_map_file(a, path, &bytes, &n, d));
	return mlo_dataset_parse(a, bytes, n, path, out, d);
}
