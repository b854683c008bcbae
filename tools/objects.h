/* tools/objects.h -- tensors, sequences, optionals and maps between the compiler's form and the runtime's. */
#ifndef MLO_TOOLS_OBJECTS_H
#define MLO_TOOLS_OBJECTS_H
#include "ir/type.h"
#include "mlopt/runtime.h"

const char *mlo_kind_text(MloTypeKind k); /* "tensor", "seq", ... as the runtime names them */
/* What `out` points to is t's, but for an object: that is new, for mlrt_object_free(). */
MlrtStatus mlo_to_runtime(const MloTensor *t, MlrtTensor *out, MlrtError *err);
/* A copy owned by `a`, characters of strings included; `elem`: of t itself, if it is a tensor. */
MloTensor *mlo_from_runtime(MloArena *a, const MlrtTensor *t, MloElem elem);
#endif
