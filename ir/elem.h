/* ir/elem.h -- the element types, free of any library so that reference kernels can use it. */
#ifndef MLO_IR_ELEM_H
#define MLO_IR_ELEM_H

typedef enum MloElem {
	EL_none = 0,
#define ELEM(id, onnx, bits, cls, text) EL_##id,
#include "ir/elems.def"
	EL_COUNT,          /* of those that values may have */
	EL_tf32 = EL_COUNT /* float32 in memory of kernels, with the 10 bits of fraction that tensor cores read (PTX ISA, "TF32") */
} MloElem;

typedef enum MloElemClass { EC_FLOAT, EC_INT, EC_UINT, EC_BOOL, EC_COMPLEX, EC_STRING } MloElemClass;
#endif
