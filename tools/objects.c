/* tools/objects.c -- values to the runtime and back. */
#include "tools/objects.h"

#include <string.h>

static const char *const kind_name[] = {
	[MLO_TENSOR] = "tensor", [MLO_SEQ] = "seq", [MLO_OPT] = "opt",
	[MLO_OPT_SEQ] = "opt_seq", [MLO_MAP] = "map", [MLO_SEQ_MAP] = "seq_map",
};

const char *mlo_kind_text(MloTypeKind k)
{
	return kind_name[k];
}

/* -- to the runtime ------------------------------------------------------------------------- */

static MlrtTensor plain(const MloTensor *t)
{
	MlrtTensor out = {.data = (void *)t->data, .bytes = t->nbytes, .rank = t->rank};

	for (int i = 0; i < t->rank; i++)
		out.dims[i] = t->dim[i];
	return out;
}

static MlrtStatus append_all(MlrtObject *to, const MloObject *from, MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	if (from->kind == MLO_MAP) {
		MlrtTensor keys = plain(&from->item[0]), values = plain(&from->item[1]);

		return mlrt_object_append_map(to, &keys, &values, err);
	}
	for (int64_t i = 0; i < from->n && !st; i++) {
		const MloTensor *item = &from->item[i];
		MlrtTensor t = item->object ? (MlrtTensor){0} : plain(item);

		if (item->object && from->kind == MLO_OPT_SEQ)
			mlrt_object_clear(to, 1);
		st = item->object ? append_all(to, item->object, err) : mlrt_object_append(to, &t, err);
	}
	return st;
}

MlrtStatus mlo_to_runtime(const MloTensor *t, MlrtTensor *out, MlrtError *err)
{
	const MloObject *o = t->object;

	*out = o ? (MlrtTensor){0} : plain(t);
	if (!o)
		return MLRT_OK;
	out->object = mlrt_object_new(kind_name[o->kind], mlo_elem_text(o->elem), o->key == EL_none ? NULL : mlo_elem_text(o->key));
	if (!out->object) {
		*err = (MlrtError){.status = MLRT_ERR_NOMEM, .text = "out of memory for an object"};
		return MLRT_ERR_NOMEM;
	}
	return append_all(out->object, o, err);
}

/* -- and back ------------------------------------------------------------------------------- */

static MloElem elem_of(const char *text)
{
	return text ? mlo_elem_from_text(text, strlen(text)) : EL_none;
}

static MloTypeKind kind_of(const char *text)
{
	for (int i = 0; i < (int)(sizeof kind_name / sizeof *kind_name); i++)
		if (strcmp(kind_name[i], text) == 0)
			return (MloTypeKind)i;
	return MLO_TENSOR;
}

static void copy_tensor(MloArena *a, const MlrtTensor *t, MloElem elem, MloTensor *out)
{
	MloText *text;
	int64_t n;

	*out = (MloTensor){.elem = elem, .rank = t->rank < MLO_MAX_RANK ? t->rank : MLO_MAX_RANK};
	for (int i = 0; i < out->rank; i++)
		out->dim[i] = t->dims[i];
	n = mlo_tensor_elems(out);
	out->nbytes = (size_t)((n * (int64_t)mlo_elem_bits(elem) + 7) / 8);
	out->data = text = mlo_dup(a, out->nbytes ? t->data : "", out->nbytes ? out->nbytes : 1);
	for (int64_t i = 0; i < n && elem == EL_str; i++)
		text[i].s = mlo_dup(a, text[i].n ? text[i].s : "", (size_t)text[i].n + !text[i].n);
}

static MloObject *copy_object(MloArena *a, const MlrtObject *o);

static MloObject *copy_map(MloArena *a, const MlrtObject *o, size_t i)
{
	MloObject *out = MLO_NEW(a, MloObject);
	MloTensor *pair = MLO_NEWN(a, MloTensor, 2);
	MlrtTensor keys = {0}, values = {0};

	mlrt_object_map(o, i, &keys, &values);
	*out = (MloObject){.kind = MLO_MAP, .elem = elem_of(mlrt_object_elem(o)), .key = elem_of(mlrt_object_key(o)), .n = 2, .item = pair};
	copy_tensor(a, &keys, out->key, &pair[0]);
	copy_tensor(a, &values, out->elem, &pair[1]);
	return out;
}

static MloTensor *copy_items(MloArena *a, const MlrtObject *o, bool maps)
{
	MloTensor *item = MLO_NEWN(a, MloTensor, mlrt_object_count(o) + 1);

	for (size_t i = 0; i < mlrt_object_count(o); i++) {
		MlrtTensor t = {0};

		if (maps) {
			item[i].object = copy_map(a, o, i);
			continue;
		}
		mlrt_object_item(o, i, &t);
		copy_tensor(a, &t, elem_of(mlrt_object_elem(o)), &item[i]);
	}
	return item;
}

static MloObject *copy_object(MloArena *a, const MlrtObject *o)
{
	MloTypeKind kind = kind_of(mlrt_object_kind(o));
	MloObject *out;

	if (kind == MLO_MAP)
		return copy_map(a, o, 0);
	out = MLO_NEW(a, MloObject);
	*out = (MloObject){.kind = kind, .elem = elem_of(mlrt_object_elem(o)), .key = elem_of(mlrt_object_key(o))};
	out->n = (int64_t)mlrt_object_count(o);
	out->item = copy_items(a, o, kind == MLO_SEQ_MAP);
	if (kind == MLO_OPT_SEQ) { /* nothing, or one sequence */
		MloObject *seq = mlo_dup(a, out, sizeof *out);
		MloTensor *one = MLO_NEW(a, MloTensor);

		seq->kind = MLO_SEQ;
		one->object = seq;
		out->n = mlrt_object_present(o);
		out->item = one;
	}
	return out;
}

MloTensor *mlo_from_runtime(MloArena *a, const MlrtTensor *t, MloElem elem)
{
	MloTensor *out = MLO_NEW(a, MloTensor);

	if (t->object)
		out->object = copy_object(a, t->object);
	else
		copy_tensor(a, t, elem, out);
	return out;
}
