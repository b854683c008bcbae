/* ir/elem.c -- the table of element types. */
#include <string.h>

#include "ir/type.h"

typedef struct ElemInfo {
	const char *text;
	int onnx;
	unsigned bits;
	MloElemClass cls;
} ElemInfo;

static const ElemInfo elems[EL_COUNT + 1] = {
	[EL_none] = {"?", 0, 0, EC_STRING},
#define ELEM(id, onnx, bits, cls, text) [EL_##id] = {text, onnx, bits, EC_##cls},
#include "ir/elems.def"
	[EL_tf32] = {"tf32", 0, 32, EC_FLOAT},
};

static const ElemInfo *info(MloElem e)
{
	MLO_ASSERT((unsigned)e <= EL_COUNT);
	return &elems[e];
}

const char *mlo_elem_text(MloElem e)
{
	return info(e)->text;
}

MloElem mlo_elem_from_text(const char *s, size_t n)
{
	for (int e = 1; e < EL_COUNT; e++)
		if (strlen(elems[e].text) == n && !memcmp(elems[e].text, s, n))
			return (MloElem)e;
	return EL_none;
}

MloElem mlo_elem_from_onnx(int code)
{
	for (int e = 1; e < EL_COUNT; e++)
		if (elems[e].onnx == code)
			return (MloElem)e;
	return EL_none;
}

int mlo_elem_onnx(MloElem e)
{
	return info(e)->onnx;
}

unsigned mlo_elem_bits(MloElem e)
{
	return info(e)->bits;
}

MloElemClass mlo_elem_class(MloElem e)
{
	return info(e)->cls;
}

bool mlo_elem_is_float(MloElem e)
{
	return e != EL_none && info(e)->cls == EC_FLOAT;
}

bool mlo_elem_is_int(MloElem e)
{
	return e != EL_none && (info(e)->cls == EC_INT || info(e)->cls == EC_UINT);
}
