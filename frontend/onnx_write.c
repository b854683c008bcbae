/* frontend/onnx_write.c -- values as ONNX test data has them: TensorProto, SequenceProto, OptionalProto, MapProto. */
#include <string.h>

#include "frontend/onnx.h"

enum { VARINT = 0, BYTES = 2 };
enum { TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_STRINGS = 6, TENSOR_RAW = 9 };
enum { OBJECT_TYPE = 2, TENSORS = 3, SEQUENCES = 5, MAPS = 6 };          /* of sequences and optionals */
enum { TYPE_TENSOR = 1, TYPE_SEQUENCE = 3, TYPE_MAP = 4 };
enum { MAP_KEY_TYPE = 2, MAP_KEYS = 3, MAP_STRING_KEYS = 4, MAP_VALUES = 5 };

static void varint(MloStr *o, uint64_t v)
{
	char b;

	for (; v >= 0x80; v >>= 7) {
		b = (char)(0x80 | (v & 0x7f));
		mlo_str_addn(o, &b, 1);
	}
	b = (char)v;
	mlo_str_addn(o, &b, 1);
}

static void number(MloStr *o, unsigned field, int64_t v)
{
	varint(o, field << 3 | VARINT);
	varint(o, (uint64_t)v);
}

static void bytes(MloStr *o, unsigned field, const void *p, size_t n)
{
	varint(o, field << 3 | BYTES);
	varint(o, n);
	if (n)
		mlo_str_addn(o, p, n);
}

static void tensor(MloStr *o, const MloTensor *t)
{
	const MloText *s = t->data;

	for (int i = 0; i < t->rank; i++)
		number(o, TENSOR_DIMS, t->dim[i]);
	number(o, TENSOR_TYPE, mlo_elem_onnx(t->elem));
	for (int64_t i = 0; t->elem == EL_str && i < mlo_tensor_elems(t); i++)
		bytes(o, TENSOR_STRINGS, s[i].s, (size_t)s[i].n);
	if (t->elem != EL_str)
		bytes(o, TENSOR_RAW, t->data, t->nbytes);
}

static void value(MloStr *o, const MloTensor *t);

static void inner(MloStr *o, unsigned field, const MloTensor *t)
{
	MloStr s = {.arena = o->arena};

	value(&s, t);
	bytes(o, field, s.s, s.n);
}

static void map(MloStr *o, const MloObject *m)
{
	MloObject values = {.kind = MLO_SEQ, .elem = m->elem, .n = 1, .item = &m->item[1]};
	MloTensor sequence = {.object = &values};
	const MloTensor *keys = &m->item[0];
	const MloText *s = keys->data;

	number(o, MAP_KEY_TYPE, mlo_elem_onnx(m->key));
	for (int64_t i = 0; i < mlo_tensor_elems(keys); i++) {
		if (m->key == EL_str)
			bytes(o, MAP_STRING_KEYS, s[i].s, (size_t)s[i].n);
		else
			number(o, MAP_KEYS, mlo_tensor_i64(keys, i));
	}
	inner(o, MAP_VALUES, &sequence);
}

static void value(MloStr *o, const MloTensor *t)
{
	const MloObject *x = t->object;
	unsigned field = TENSORS, type = TYPE_TENSOR;

	if (!x) {
		tensor(o, t);
		return;
	}
	if (x->kind == MLO_MAP) {
		map(o, x);
		return;
	}
	if (x->kind == MLO_OPT_SEQ) {
		field = SEQUENCES;
		type = TYPE_SEQUENCE;
	} else if (x->kind == MLO_SEQ_MAP) {
		field = MAPS;
		type = TYPE_MAP;
	}
	number(o, OBJECT_TYPE, type);
	for (int64_t i = 0; i < x->n; i++)
		inner(o, field, &x->item[i]);
}

void mlo_onnx_write_value(MloArena *a, const MloTensor *t, const void **out, size_t *n)
{
	MloStr s = {.arena = a};

	value(&s, t);
	*n = s.n;
	*out = s.s ? s.s : "";
}
