/* frontend/onnx_value.c -- sequences, optionals and maps from files of test data. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "frontend/onnx.h"
#include "frontend/onnx_data.h"

typedef struct Reader {
	MloArena *a;
	OnnxSource src;
	const char *path;
	MloDiag *d;
	bool ok;
} Reader;

static MloTensor wrap(Reader *r, MloTypeKind kind, const MloType *t, size_t n, const MloTensor *item)
{
	MloObject *o = MLO_NEW(r->a, MloObject);

	*o = (MloObject){kind, t->elem, t->key, (int64_t)n, item};
	return (MloTensor){.object = o};
}

static void wrong(Reader *r, const char *what)
{
	mlo_error(r->d, MLO_ERR_FORMAT, "%s: %s", r->path, what);
	r->ok = false;
}

static MloTensor tensor(Reader *r, const Onnx__TensorProto *p)
{
	const MloTensor *t = p ? onnx_tensor(r->a, &r->src, p, r->path, r->d) : NULL;

	if (!t)
		wrong(r, "a tensor is missing or malformed");
	return t ? *t : (MloTensor){.elem = EL_f32};
}

/* The values of a map are tensors of one element each, or one tensor of all. */
static MloTensor map_values(Reader *r, const Onnx__SequenceProto *p, const MloType *t, int64_t n)
{
	MloTensor *all;
	size_t width = mlo_elem_bits(t->elem) / 8;

	if (!p || (p->n_tensor_values != 1 && (int64_t)p->n_tensor_values != n)) {
		wrong(r, "a map has not as many values as keys");
		return (MloTensor){.elem = t->elem, .rank = 1};
	}
	if (p->n_tensor_values == 1 && n != 1)
		return tensor(r, p->tensor_values[0]);
	all = mlo_tensor_new(r->a, t->elem, 1, &n);
	for (int64_t i = 0; i < n && r->ok; i++) {
		MloTensor one = tensor(r, p->tensor_values[i]);

		if (one.elem != t->elem || one.nbytes != width)
			wrong(r, "a value of a map is not a single element of its type");
		else
			memcpy((char *)(uintptr_t)all->data + (size_t)i * width, one.data, width);
	}
	return *all;
}

static MloTensor map(Reader *r, const Onnx__MapProto *p, const MloType *t)
{
	int64_t n = (int64_t)(t->key == EL_str ? p->n_string_keys : p->n_keys);
	MloTensor *item = MLO_NEWN(r->a, MloTensor, 2), *keys = mlo_tensor_new(r->a, t->key, 1, &n);

	for (int64_t i = 0; i < n; i++) {
		if (t->key == EL_str)
			((MloText *)(uintptr_t)keys->data)[i] =
				(MloText){mlo_strndup(r->a, (const char *)p->string_keys[i].data, p->string_keys[i].len),
					  (int64_t)p->string_keys[i].len};
		else
			mlo_tensor_set_i64(keys, i, p->keys[i]);
	}
	item[0] = *keys;
	item[1] = map_values(r, p->values, t, n);
	return wrap(r, MLO_MAP, t, 2, item);
}

static MloTensor sequence(Reader *r, const Onnx__SequenceProto *p, const MloType *t)
{
	bool maps = t->kind == MLO_SEQ_MAP;
	size_t n = maps ? p->n_map_values : p->n_tensor_values;
	MloTensor *item = MLO_NEWN(r->a, MloTensor, n + 1);

	for (size_t i = 0; i < n && r->ok; i++)
		item[i] = maps ? map(r, p->map_values[i], t) : tensor(r, p->tensor_values[i]);
	return wrap(r, maps ? MLO_SEQ_MAP : MLO_SEQ, t, n, item);
}

static MloTensor optional(Reader *r, const Onnx__OptionalProto *p, const MloType *t)
{
	MloTensor *item = MLO_NEW(r->a, MloTensor);
	bool full = t->kind == MLO_OPT ? p->tensor_value != NULL : p->sequence_value != NULL;

	if (full)
		*item = t->kind == MLO_OPT ? tensor(r, p->tensor_value) : sequence(r, p->sequence_value, t);
	return wrap(r, t->kind, t, full, item);
}

static MloTensor value(Reader *r, MloArena *tmp, const MloType *t)
{
	const ProtobufCMessageDescriptor *desc = t->kind == MLO_SEQ || t->kind == MLO_SEQ_MAP
							 ? &onnx__sequence_proto__descriptor
						 : t->kind == MLO_MAP ? &onnx__map_proto__descriptor
								      : &onnx__optional_proto__descriptor;
	const void *p = onnx_unpack(tmp, desc, r->src.bytes, r->d);

	if (!p) {
		r->ok = false;
		return (MloTensor){.elem = t->elem};
	}
	if (t->kind == MLO_SEQ || t->kind == MLO_SEQ_MAP)
		return sequence(r, p, t);
	return t->kind == MLO_MAP ? map(r, p, t) : optional(r, p, t);
}

MloTensor *mlo_onnx_read_value(MloArena *a, const char *path, const MloType *t, MloDiag *d)
{
	MloArena *tmp;
	Reader r = {.a = a, .path = path, .d = d, .ok = true, .src = {.owner = a}};
	MloTensor *out = NULL;
	int fd;

	if (!mlo_type_object(t))
		return mlo_onnx_read_tensor(a, path, d);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	tmp = mlo_arena_new();
	if (fd < 0)
		mlo_error(d, MLO_ERR_IO, "%s: %s", path, strerror(errno));
	else if (tmp && onnx_map_file(tmp, fd, path, &r.src.bytes, d))
		out = mlo_dup(a, &(MloTensor[]){value(&r, tmp, t)}[0], sizeof *out);
	mlo_arena_free(tmp);
	return r.ok ? out : NULL;
}
