/* frontend/onnx_data.c -- TensorProto to MloTensor. */
#include "frontend/onnx_data.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "frontend/onnx.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is little-endian and used as it is");

/* Which typed field of TensorProto holds an element type. */
typedef enum DataField { DF_INT32, DF_FLOAT, DF_DOUBLE, DF_INT64, DF_UINT64, DF_STRING } DataField;

static const DataField data_field[EL_COUNT] = {
	/* all others: int32_data */
	[EL_f32] = DF_FLOAT, [EL_c64] = DF_FLOAT,  [EL_f64] = DF_DOUBLE, [EL_c128] = DF_DOUBLE,
	[EL_i64] = DF_INT64, [EL_u32] = DF_UINT64, [EL_u64] = DF_UINT64, [EL_str] = DF_STRING,
};

/* Rank, dimensions and size limits; fills all of `t` but data. */
static bool tensor_shape(MloTensor *t, int code, size_t rank, const int64_t *dims, const char *what,
			 MloDiag *d)
{
	MloElem e = mlo_elem_from_onnx(code);
	MloType type;
	int64_t bytes;

	if (e == EL_none) {
		mlo_error(d, MLO_ERR_MODEL, "tensor '%s': unknown element type %d", what, code);
		return false;
	}
	if (rank > MLO_MAX_RANK) {
		mlo_error(d, MLO_ERR_LIMIT, "tensor '%s': %zu dimensions, at most %d are supported", what,
			  rank, MLO_MAX_RANK);
		return false;
	}
	for (size_t i = 0; i < rank; i++) {
		if (dims[i] < 0) {
			mlo_error(d, MLO_ERR_MODEL, "tensor '%s': dimension %zu is %lld", what, i,
				  (long long)dims[i]);
			return false;
		}
		if (dims[i] > MLO_MAX_ELEMS) { /* even where another one is 0 */
			mlo_error(d, MLO_ERR_LIMIT, "tensor '%s' is too large: dimension %zu is %lld", what, i,
				  (long long)dims[i]);
			return false;
		}
	}
	type = mlo_type(e, (int)rank, dims);
	bytes = mlo_type_bytes(&type);
	if (bytes < 0) {
		mlo_error(d, MLO_ERR_LIMIT, "tensor '%s' is too large", what);
		return false;
	}
	*t = (MloTensor){.elem = e, .rank = (int)rank, .nbytes = (size_t)bytes};
	for (size_t i = 0; i < rank; i++)
		t->dim[i] = dims[i];
	return true;
}

static bool length_is(size_t have, size_t want, const char *field, const char *what, MloDiag *d)
{
	if (have == want)
		return true;
	mlo_error(d, MLO_ERR_FORMAT, "tensor '%s': %s has %zu entries, its type and shape need %zu", what,
		  field, have, want);
	return false;
}

/* Entries of int32_data hold one element each; of types below a byte, one byte of packed elements. */
static void *narrow_int32(MloArena *a, const Onnx__TensorProto *p, const MloTensor *t)
{
	size_t width = t->nbytes / (p->n_int32_data ? p->n_int32_data : 1);
	char *data = mlo_alloc(a, t->nbytes, 1);

	for (size_t i = 0; i < p->n_int32_data; i++)
		memcpy(data + i * width, &p->int32_data[i], width);
	return data;
}

/* Integers must be of their type; floats of 16 bits are stored as their bits. */
static bool int32_fits(const Onnx__TensorProto *p, const MloTensor *t, const char *what, MloDiag *d)
{
	unsigned bits = mlo_elem_bits(t->elem);
	bool sign = mlo_elem_class(t->elem) == EC_INT;
	int64_t lo = sign ? -((int64_t)1 << (bits - 1)) : 0, hi = lo + ((int64_t)1 << bits) - 1;

	if (!mlo_elem_is_int(t->elem) || bits < 8)
		return true;
	for (size_t i = 0; i < p->n_int32_data; i++)
		if (p->int32_data[i] < lo || p->int32_data[i] > hi) {
			mlo_error(d, MLO_ERR_FORMAT, "tensor '%s': entry %zu of int32_data is %d, %s holds %lld to %lld",
				  what, i, p->int32_data[i], mlo_elem_text(t->elem), (long long)lo, (long long)hi);
			return false;
		}
	return true;
}

static void *narrow_uint64(MloArena *a, const Onnx__TensorProto *p, const MloTensor *t)
{
	size_t width = mlo_elem_bits(t->elem) / 8;
	char *data = mlo_alloc(a, t->nbytes, 1);

	for (size_t i = 0; i < p->n_uint64_data; i++)
		memcpy(data + i * width, &p->uint64_data[i], width);
	return data;
}

static void *copy_strings(MloArena *a, const Onnx__TensorProto *p)
{
	MloText *text = MLO_NEWN(a, MloText, p->n_string_data);

	for (size_t i = 0; i < p->n_string_data; i++) {
		text[i].n = (int64_t)p->string_data[i].len;
		text[i].s = mlo_strndup(a, (const char *)p->string_data[i].data, p->string_data[i].len);
	}
	return text;
}

static bool typed_data(MloArena *a, const Onnx__TensorProto *p, MloTensor *t, const char *what, MloDiag *d)
{
	size_t n = (size_t)mlo_tensor_elems(t), pair = mlo_elem_class(t->elem) == EC_COMPLEX ? 2 : 1;

	switch (data_field[t->elem]) {
	case DF_INT32:
		n = mlo_elem_bits(t->elem) < 8 ? t->nbytes : n;
		if (!length_is(p->n_int32_data, n, "int32_data", what, d) || !int32_fits(p, t, what, d))
			return false;
		t->data = narrow_int32(a, p, t);
		return true;
	case DF_FLOAT:
		if (!length_is(p->n_float_data, n * pair, "float_data", what, d))
			return false;
		t->data = mlo_dup(a, p->float_data, t->nbytes);
		return true;
	case DF_DOUBLE:
		if (!length_is(p->n_double_data, n * pair, "double_data", what, d))
			return false;
		t->data = mlo_dup(a, p->double_data, t->nbytes);
		return true;
	case DF_INT64:
		if (!length_is(p->n_int64_data, n, "int64_data", what, d))
			return false;
		t->data = mlo_dup(a, p->int64_data, t->nbytes);
		return true;
	case DF_UINT64:
		if (!length_is(p->n_uint64_data, n, "uint64_data", what, d))
			return false;
		t->data = narrow_uint64(a, p, t);
		return true;
	case DF_STRING:
		if (!length_is(p->n_string_data, n, "string_data", what, d))
			return false;
		t->data = copy_strings(a, p);
		return true;
	}
	MLO_BUG("data field of %s", mlo_elem_text(t->elem));
}

/* Anything but 0 and 1 in a bool tensor would be undefined in compiled code. */
static void normalise_bools(MloArena *a, MloTensor *t)
{
	const uint8_t *from = t->data;
	uint8_t *to;
	size_t i = 0;

	while (i < t->nbytes && from[i] <= 1)
		i++;
	if (i == t->nbytes)
		return;
	to = mlo_dup(a, t->data, t->nbytes);
	for (; i < t->nbytes; i++)
		to[i] = to[i] != 0;
	t->data = to;
}

static bool raw_data(MloArena *a, OnnxBytes raw, bool borrow, MloTensor *t, const char *what, MloDiag *d)
{
	if (t->elem == EL_str) {
		mlo_error(d, MLO_ERR_FORMAT, "tensor '%s': strings cannot be raw data", what);
		return false;
	}
	if (raw.n != t->nbytes) {
		mlo_error(d, MLO_ERR_FORMAT,
			  "tensor '%s': raw data has %zu bytes, its type and shape need %zu", what, raw.n,
			  t->nbytes);
		return false;
	}
	t->data = borrow && raw.n ? raw.p : mlo_dup(a, raw.p, raw.n);
	if (t->elem == EL_bool)
		normalise_bools(a, t);
	return true;
}

MloTensor *onnx_tensor(MloArena *a, OnnxSource *src, const Onnx__TensorProto *p, const char *what, MloDiag *d)
{
	MloTensor t, *out;
	OnnxBytes raw;
	bool ok;

	if (!tensor_shape(&t, p->data_type, p->n_dims, p->dims, what, d))
		return NULL;
	if (p->segment) {
		mlo_error(d, MLO_ERR_UNSUPPORTED, "tensor '%s' is stored in segments", what);
		return NULL;
	}
	if (p->has_data_location && p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
		ok = onnx_external_bytes(src, p, t.nbytes, what, &raw, d) &&
		     raw_data(a, raw, true, &t, what, d);
	else if (p->has_raw_data)
		ok = raw_data(a, onnx_raw_bytes(p, src->bytes), src->borrow, &t, what, d);
	else
		ok = typed_data(a, p, &t, what, d);
	if (!ok)
		return NULL;
	out = MLO_NEW(a, MloTensor);
	*out = t;
	return out;
}

/* The linear index of the i-th sparse value; -1 when it lies outside. */
static int64_t sparse_index(const MloTensor *idx, const MloTensor *dense, int64_t i)
{
	int64_t at = 0;

	if (idx->rank == 1) {
		at = mlo_tensor_i64(idx, i);
		return at >= 0 && at < mlo_tensor_elems(dense) ? at : -1;
	}
	for (int k = 0; k < dense->rank; k++) {
		int64_t v = mlo_tensor_i64(idx, i * dense->rank + k);

		if (v < 0 || v >= dense->dim[k])
			return -1;
		at = at * dense->dim[k] + v;
	}
	return at;
}

static bool fill_dense(MloTensor *dense, const MloTensor *val, const MloTensor *idx, const char *what,
		       MloDiag *d)
{
	size_t width = mlo_elem_bits(val->elem) / 8;
	int64_t n = mlo_tensor_elems(val);
	bool ok = val->rank == 1 && idx->elem == EL_i64 && (idx->rank == 1 || idx->rank == 2) &&
		  idx->dim[0] == n && (idx->rank == 1 || idx->dim[1] == dense->rank);

	if (!ok || width == 0 || val->elem == EL_str) {
		mlo_error(d, MLO_ERR_MODEL, "sparse tensor '%s': values and indices do not fit together",
			  what);
		return false;
	}
	for (int64_t i = 0; i < n; i++) {
		int64_t at = sparse_index(idx, dense, i);

		if (at < 0) {
			mlo_error(d, MLO_ERR_MODEL, "sparse tensor '%s': index of value %lld is outside",
				  what, (long long)i);
			return false;
		}
		memcpy((char *)dense->data + (size_t)at * width, (const char *)val->data + (size_t)i * width,
		       width);
	}
	return true;
}

/* A sparse tensor may claim any dense size; beyond this ratio it is refused. */
enum { SPARSE_FREE = 16 << 20, SPARSE_RATIO = 1024 };

MloTensor *onnx_sparse_tensor(MloArena *a, OnnxSource *src, const Onnx__SparseTensorProto *p,
			      const char *what, MloDiag *d)
{
	const MloTensor *val, *idx;
	MloTensor t, *dense;

	if (!p->values || !p->indices) {
		mlo_error(d, MLO_ERR_FORMAT, "sparse tensor '%s' has no values or no indices", what);
		return NULL;
	}
	val = onnx_tensor(a, src, p->values, what, d);
	idx = onnx_tensor(a, src, p->indices, what, d);
	if (!val || !idx || !tensor_shape(&t, p->values->data_type, p->n_dims, p->dims, what, d))
		return NULL;
	if (t.nbytes > SPARSE_FREE && t.nbytes / SPARSE_RATIO > val->nbytes) {
		mlo_error(d, MLO_ERR_LIMIT,
			  "sparse tensor '%s': %zu bytes when dense, for %zu bytes of values", what, t.nbytes,
			  val->nbytes);
		return NULL;
	}
	dense = mlo_tensor_new(a, t.elem, t.rank, t.dim);
	return fill_dense(dense, val, idx, what, d) ? dense : NULL;
}

MloTensor *mlo_onnx_tensor_memory(MloArena *a, const void *p, size_t n, const char *what, MloDiag *d)
{
	MloArena *tmp = mlo_arena_new();
	OnnxSource src = {.bytes = {p, n}, .owner = a};
	const Onnx__TensorProto *proto;
	MloTensor *t = NULL;

	if (!tmp) {
		mlo_error(d, MLO_ERR_NOMEM, "out of memory");
		return NULL;
	}
	proto = onnx_unpack(tmp, &onnx__tensor_proto__descriptor, src.bytes, d);
	if (proto)
		t = onnx_tensor(a, &src, proto, proto->name && *proto->name ? proto->name : what, d);
	mlo_arena_free(tmp);
	return t;
}

MloTensor *mlo_onnx_read_tensor(MloArena *a, const char *path, MloDiag *d)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	MloArena *file = mlo_arena_new();
	MloTensor *t = NULL;
	OnnxBytes bytes;

	if (fd < 0)
		mlo_error(d, MLO_ERR_IO, "%s: %s", path, strerror(errno));
	else if (file && onnx_map_file(file, fd, path, &bytes, d))
		t = mlo_onnx_tensor_memory(a, bytes.p, bytes.n, path, d);
	mlo_arena_free(file);
	return t;
}
