/* ir/exec_internal.h -- what the files of the reference executor share. */
#ifndef MLO_IR_EXEC_INTERNAL_H
#define MLO_IR_EXEC_INTERNAL_H
#include "ir/exec.h"

/* Whether OpenBLAS does this call, and how many floats of scratch it needs for that. */
bool mlo_exec_blas_takes(MloOp op, const RefCall *c, size_t *scratch);
void mlo_exec_blas(MloOp op, const RefCall *c, float *scratch);

/* Operand values that a kernel cannot refuse by itself: element types, indices. */
MloStatus mlo_exec_check_types(const MloNode *n, const RefCall *c, MloDiag *d) MLO_CHECKED;
MloStatus mlo_exec_check_values(const MloNode *n, const RefCall *c, MloDiag *d) MLO_CHECKED;

/* A view of t (NULL: absent); data that is not aligned to its element is copied. */
RefTensor mlo_exec_view(MloArena *a, const MloTensor *t);

/* Data of empty tensors: kernels take NULL for an absent operand. */
extern const char mlo_exec_empty[16];
#endif
